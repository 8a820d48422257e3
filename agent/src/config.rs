//! What the agent's owner says: options of the command line, and a file of the same names.
//!
//! An option goes before the file, the file before the default. Not here: what is done with it
//! ([`crate::program`]).
//!
//! Invariant: a key that is not known, and a value that cannot be used, is refused by its name;
//! nothing is guessed.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use clap::{Parser as _, ValueEnum};
use proto::name::Hostname;
use proto::token::{JoinToken, TokenError};
use sys::file::FileError;
use zeroize::Zeroizing;

use crate::identity::is_address;

/// Where the identity is kept unless told otherwise.
const DATA: &str = "/var/lib/secret-agent";

/// Where tasks are kept unless told otherwise.
const TASKS: &str = "/run/secret-agent";

/// Where an engine is unless told otherwise: where Docker is, and what stands for it.
const DOCKER_SOCKET: &str = "/run/docker.sock";

/// Longest join token, in bytes; one has about 230.
const TOKEN_BYTES_MAX: usize = 1024;

/// Longest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;

const LONG_ABOUT: &str = "\
A node agent of secretd: runs the tasks that the cluster places on this node, each in namespaces \
of its own or, where it has an image, as a container of this node's Docker or Podman engine, and \
mounts their secrets, in memory only, at /run/secrets.

The first start needs a join token (`secretctl cluster join-token agent` makes one) and the address \
of a manager; from then on the agent has a certificate, which it renews by itself, and knows the \
managers. Without root it runs tasks of its own user, if the kernel allows user namespaces.";

const EXAMPLES: &str = "\
Examples:
  # join, reading the token from standard input, and stay
  secretctl cluster join-token agent | ssh node1 secret-agent --join - --manager 10.0.0.4:7443

  # every later start
  secret-agent

  # as an ordinary user, for a try
  secret-agent --data ~/.local/state/secret-agent --tasks $XDG_RUNTIME_DIR/secret-agent \\
      --join-file token --manager localhost:7443

Configuration file (--config), the same names as the options:
  manager = [\"10.0.0.4:7443\", \"10.0.0.5:7443\"]
  join-file = \"/etc/secret-agent/token\"
  log-format = \"json\"

Exit status:
  0   stopped by SIGTERM or SIGINT; tasks run on, and the next start finds them
  1   failed, or the cluster refused this node
  2   the command line or the configuration file is wrong
  69  no manager could be reached to join; try again later
  77  this node was evicted: its tasks are stopped, and it must join with a new token

Security:
  Arguments are visible to every user of this machine (`ps`): give a token by `--join -` or
  `--join-file`. The folder of --data holds the node's private key: whoever can read it can be this
  node. The folder of --tasks holds what tasks print; keep it in memory.";

#[derive(clap::Parser)]
#[command(
    name = "secret-agent",
    version,
    about = "A node agent of secretd",
    long_about = LONG_ABOUT,
    after_long_help = EXAMPLES,
    max_term_width = 100
)]
struct Arguments {
    /// Join a cluster with this token; `-` reads it from standard input
    ///
    /// Prefer `-` or --join-file: arguments are visible to every user of this machine. A token that
    /// was used for joining before is no error; another one is, unless this node was evicted.
    #[arg(long, value_name = "TOKEN", conflicts_with = "join_file")]
    join: Option<String>,

    /// Join a cluster with the token in this file, which others must not be able to read
    ///
    /// Once the agent has joined, the file may be removed, and the option may stay.
    #[arg(long, value_name = "PATH")]
    join_file: Option<PathBuf>,

    /// A manager's address; may be given several times
    ///
    /// Needed for joining. Later on they are tried beside those that the cluster lists.
    #[arg(long, value_name = "HOST:PORT")]
    manager: Vec<String>,

    /// Folder for the identity of this node: certificate, key, addresses [default:
    /// /var/lib/secret-agent]
    ///
    /// Made if it is missing; its parent must exist. No other agent may use it.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Folder for running tasks: sockets, statuses, what they print [default: /run/secret-agent]
    ///
    /// Its filesystem should be in memory. Secrets are not in it.
    #[arg(long, value_name = "DIR")]
    tasks: Option<PathBuf>,

    /// Socket of the Docker or Podman engine that runs tasks with an image; `none` for no engine
    /// [default: /run/docker.sock]
    ///
    /// Asked at the start and again and again: an engine that is not there yet is found when it comes.
    /// Needs root. Whoever may declare services may have it do what the engine can, which is
    /// everything that root can.
    #[arg(long, value_name = "PATH")]
    docker_socket: Option<PathBuf>,

    /// The node's name in the cluster [default: the machine's hostname]
    ///
    /// Settled when the node joins; unique in the cluster.
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,

    /// Configuration file (TOML), with the names of these options as keys
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,

    /// Form of the log on standard error [default: text]
    #[arg(long, value_name = "FORMAT", value_enum)]
    log_format: Option<LogFormat>,

    /// What to log: error, warn, info, debug or trace, also by module [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,

    /// Stop all tasks before exiting, for demonstrations and development
    ///
    /// Without it they run on, and the next start finds them.
    #[arg(long)]
    stop_tasks_on_exit: bool,

    /// Start also where keys can be neither hidden nor locked in memory
    ///
    /// They could reach a swap device then. Raise the limit of locked memory (`ulimit -l`) instead.
    #[arg(long)]
    allow_unlocked_memory: bool,
}

/// The configuration file.
#[derive(serde::Deserialize, Default)]
#[expect(clippy::struct_field_names, reason = "they are the options' names")]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct File {
    join_file: Option<PathBuf>,
    manager: Vec<String>,
    data: Option<PathBuf>,
    tasks: Option<PathBuf>,
    docker_socket: Option<PathBuf>,
    hostname: Option<String>,
    log_format: Option<LogFormat>,
    log_level: Option<String>,
    stop_tasks_on_exit: bool,
    allow_unlocked_memory: bool,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// An object for programs.
    Json,
}

/// Where the join token comes from.
pub(crate) enum TokenSource {
    /// The command line.
    Argument(Zeroizing<String>),
    /// Standard input, one line.
    Input,
    /// A private file.
    File(PathBuf),
}

/// Everything the agent was told.
pub(crate) struct Settings {
    /// How to join, if so.
    pub(crate) join: Option<TokenSource>,
    /// Managers that were named.
    pub(crate) managers: Vec<String>,
    /// The data folder.
    pub(crate) data: PathBuf,
    /// The tasks' folder.
    pub(crate) tasks: PathBuf,
    /// The container engine's socket, if there may be one.
    pub(crate) docker_socket: Option<PathBuf>,
    /// The node's name.
    pub(crate) hostname: String,
    /// The form of the log.
    pub(crate) log_format: LogFormat,
    /// What is logged.
    pub(crate) log_level: String,
    /// Whether tasks are stopped before exiting.
    pub(crate) stop_tasks_on_exit: bool,
    /// Whether keys may live in memory that can be swapped out.
    pub(crate) allow_unlocked_memory: bool,
}

/// The command line or the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// What clap has to say: an error, the help or the version, in its own words.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("cannot use the configuration file {}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Which key, and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// An address is none.
    #[error("`{0}` is not the address of a manager: expected HOST:PORT")]
    Address(String),
    /// A name cannot be a node's.
    #[error("`{name}` cannot be the name of a node")]
    Hostname {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: proto::name::NameError,
    },
    /// Identity and tasks would be in one folder.
    #[error("--data and --tasks name the same folder, {}", .0.display())]
    SameFolder(PathBuf),
}

impl Settings {
    /// Reads the arguments after the program's name, and the file they name.
    pub(crate) fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, ConfigError> {
        let name = OsString::from("secret-agent");
        let given = Arguments::try_parse_from(std::iter::once(name).chain(args))?;
        let file = given.config.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let join = match (given.join, given.join_file.or(file.join_file)) {
            (Some(word), _) if word == "-" => Some(TokenSource::Input),
            (Some(word), _) => Some(TokenSource::Argument(word.into())),
            (None, path) => path.map(TokenSource::File),
        };
        let managers = if given.manager.is_empty() { file.manager } else { given.manager };
        let settings = Self {
            join,
            managers,
            data: given.data.or(file.data).unwrap_or_else(|| DATA.into()),
            tasks: given.tasks.or(file.tasks).unwrap_or_else(|| TASKS.into()),
            docker_socket: Some(
                given.docker_socket.or(file.docker_socket).unwrap_or_else(|| DOCKER_SOCKET.into()),
            )
            .filter(|path| path.as_os_str() != "none"),
            hostname: given.hostname.or(file.hostname).unwrap_or_else(sys::host::hostname),
            log_format: given.log_format.or(file.log_format).unwrap_or_default(),
            log_level: given.log_level.or(file.log_level).unwrap_or_else(|| "info".into()),
            stop_tasks_on_exit: given.stop_tasks_on_exit || file.stop_tasks_on_exit,
            allow_unlocked_memory: given.allow_unlocked_memory || file.allow_unlocked_memory,
        };
        settings.checked()
    }

    fn checked(self) -> Result<Self, ConfigError> {
        if let Some(address) = self.managers.iter().find(|address| !is_address(address)) {
            return Err(ConfigError::Address(address.clone()));
        }
        if let Err(source) = self.hostname.parse::<Hostname>() {
            return Err(ConfigError::Hostname { name: self.hostname, source });
        }
        if self.data == self.tasks {
            return Err(ConfigError::SameFolder(self.data));
        }
        Ok(self)
    }
}

fn read_file(path: &Path) -> Result<File, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(failed)?;
    toml::from_str(&text)
        .map_err(|source| ConfigError::Content { path: path.to_owned(), source: source.into() })
}

/// The join token cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenSourceError {
    /// The file cannot be used.
    #[error("cannot read the join token")]
    File(#[source] FileError),
    /// Standard input cannot be used.
    #[error("cannot read the join token from standard input")]
    Input(#[source] std::io::Error),
    /// It is no token.
    #[error("cannot use the join token")]
    Token(#[source] TokenError),
}

impl TokenSourceError {
    /// Whether the file is not there: after joining it is not needed.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::File(error) if error.is_not_found())
    }
}

impl TokenSource {
    /// Reads the token; what it was read into is wiped.
    pub(crate) fn read(&self) -> Result<JoinToken, TokenSourceError> {
        let parse = |text: &str| text.parse().map_err(TokenSourceError::Token);
        match self {
            Self::Argument(text) => parse(text),
            Self::Input => {
                // Not by the library's buffer, which is never wiped.
                let input = std::io::stdin().as_fd().try_clone_to_owned().map(std::fs::File::from);
                let bytes = input.and_then(read_line).map_err(TokenSourceError::Input)?;
                parse(str::from_utf8(&bytes).unwrap_or_default())
            }
            Self::File(path) => {
                let bytes = sys::file::read_private(path, TOKEN_BYTES_MAX)
                    .map_err(TokenSourceError::File)?;
                parse(str::from_utf8(&bytes).unwrap_or_default())
            }
        }
    }
}

/// Reads up to a newline or the end: at a terminal nobody ends the input.
fn read_line(mut input: impl std::io::Read) -> std::io::Result<Zeroizing<Vec<u8>>> {
    // Never grown, so that there are no copies to wipe.
    let mut line = Zeroizing::new(Vec::with_capacity(TOKEN_BYTES_MAX));
    let mut byte = [0];
    while line.len() < TOKEN_BYTES_MAX && input.read(&mut byte)? == 1 && byte != *b"\n" {
        line.extend_from_slice(&byte);
    }
    Ok(line)
}

#[cfg(test)]
mod tests;
