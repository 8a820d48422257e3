//! What a manager is started with: a file, and options that override it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Parser;
use serde::Deserialize;

use crate::raft::Profile;

/// Read if it is there.
const FILE_DEFAULT: &str = "/etc/secretd/secretd.toml";

/// The port of managers.
const LISTEN_DEFAULT: &str = "0.0.0.0:7443";

/// The port of `/metrics` and the probes: this machine only.
const HTTP_DEFAULT: &str = "127.0.0.1:7444";

/// Below this much free disk, changes that make the state larger are refused: room for a snapshot
/// of a small cluster and for the log until it is purged.
const RESERVE_DEFAULT: u64 = 256 << 20;

/// openraft tells a lot: its own failures come back to us as values.
const LOG_DEFAULT: &str = "info,openraft=warn";

/// Options of `secretd`.
#[derive(Debug, Parser)]
#[command(
    name = "secretd",
    version,
    about = "A manager of secretd: keeps secrets in an encrypted, replicated log",
    long_about = "A manager of secretd: keeps secrets in an encrypted, replicated log and hands \
                  them to the agents of the nodes whose tasks need them.\n\n\
                  A new manager is empty: `secretctl cluster init` makes a cluster of it, \
                  `secretctl cluster join` adds it to one. Both talk to its unix socket.\n\n\
                  Every option but --config and --force-new-cluster can stand in the configuration file, \
                  by its name."
)]
pub(crate) struct Arguments {
    /// Configuration file [default: /etc/secretd/secretd.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Begin a new cluster with what this manager has, alone; only when the majority of the managers
    /// is gone for good. On the command line only, once: docs/operations/lost-quorum.md
    #[arg(long)]
    force_new_cluster: bool,
    #[command(flatten)]
    settings: Settings,
}

/// What can be set, in the file and on the command line.
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Settings {
    /// Folder of what must survive: the log, snapshots, the key file [default: /var/lib/secretd]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Address and port for managers, agents and operators [default: 0.0.0.0:7443]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Host and port where other machines reach this one [default: found by the routing table]
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Unix socket for this machine's operators, in a folder of its own
    /// [default: /run/secretd/secretd.sock]
    #[arg(long, value_name = "FILE")]
    socket: Option<PathBuf>,
    /// Address and port of /metrics, /livez and /readyz, or `none` [default: 127.0.0.1:7444]
    #[arg(long, value_name = "ADDRESS:PORT")]
    http: Option<String>,
    /// Unix socket for the docker client and its like, in a folder of its own; secrets that are made
    /// over it come here in clear: docs/operations/docker.md [default: none]
    #[arg(long, value_name = "FILE")]
    docker_socket: Option<PathBuf>,
    /// Address and port for the docker client on other machines, with the certificate of an operator
    /// (`secretctl context export-docker`): docs/operations/docker.md [default: none]
    #[arg(long, value_name = "ADDRESS:PORT")]
    docker_address: Option<SocketAddr>,
    /// Unix socket of this machine's container engine: what docker asks at --docker-socket that is not
    /// swarm's (containers, exec, images, volumes) is passed on to it [default: none]
    #[arg(long, value_name = "FILE")]
    docker_engine: Option<PathBuf>,
    /// The seed that opens the key file at start; best on another mount, in a credential or on a
    /// TPM [default: unlock-seed in the data folder]
    #[arg(long, value_name = "FILE")]
    unlock_seed: Option<PathBuf>,
    /// What asks the other managers to open this one after a restart, if the cluster does that; best
    /// on another mount than the data [default: boot in the data folder]
    #[arg(long, value_name = "FILE")]
    boot_file: Option<PathBuf>,
    /// A secret of 32 bytes that the boot file is sealed under, best a credential that a TPM holds
    /// [default: none, it is in clear]
    #[arg(long, value_name = "FILE")]
    boot_file_key: Option<PathBuf>,
    /// How patient elections are: `lan` (150 to 300 ms) or `wan` (1 to 2 s) [default: lan]
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
    /// Free disk below which growing changes are refused, in MiB [default: 256]
    #[arg(long, value_name = "MIB")]
    disk_reserve_mib: Option<u64>,
    /// Start though keys can be neither hidden nor locked in memory: they may be swapped out
    #[arg(long)]
    allow_unlocked_memory: bool,
    /// `text` or `json` [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// What is logged, e.g. `info` or `store=debug` [default: info, and warn of openraft]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

/// What a manager is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of what must survive.
    pub data: PathBuf,
    /// Where the port listens.
    pub listen: SocketAddr,
    /// Where other machines reach this one; else found out.
    pub advertise: Option<String>,
    /// The unix socket.
    pub socket: PathBuf,
    /// Where `/metrics` and the probes listen.
    pub http: Option<SocketAddr>,
    /// The unix socket of the Docker front.
    pub docker_socket: Option<PathBuf>,
    /// Where the Docker front listens for other machines.
    pub docker_address: Option<SocketAddr>,
    /// The unix socket of this machine's container engine.
    pub docker_engine: Option<PathBuf>,
    /// The seed of the `file` slot.
    pub unlock_seed: PathBuf,
    /// What asks the other managers to open this one after a restart.
    pub boot_file: PathBuf,
    /// A secret that the boot file is sealed under.
    pub boot_file_key: Option<PathBuf>,
    /// How patient elections are.
    pub profile: Profile,
    /// Free disk below which growing changes are refused, in bytes.
    pub disk_reserve_bytes: u64,
    /// Start though keys can be neither hidden nor locked in memory.
    pub allow_unlocked_memory: bool,
    /// Begin a new cluster with what this manager has.
    pub force_new_cluster: bool,
    /// Log as JSON.
    pub log_json: bool,
    /// What is logged.
    pub log: String,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration in {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("the configuration in {} is wrong: {reason}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// Where, and why.
        reason: String,
    },
    /// A value is not one.
    #[error("`{value}` is not a value of `{name}`: expected {expected}")]
    Value {
        /// Of which option.
        name: &'static str,
        /// What it says.
        value: String,
        /// What it could say.
        expected: &'static str,
    },
}

fn read(path: &Path) -> Result<Settings, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    toml::from_str(&text)
        .map_err(|error| ConfigError::Content { path: path.to_owned(), reason: error.to_string() })
}

impl Arguments {
    /// The options, from the command line and the file.
    ///
    /// # Errors
    ///
    /// If the file or a value is wrong.
    pub(crate) fn resolve(self) -> Result<Options, ConfigError> {
        let file = match &self.config {
            Some(path) => read(path)?,
            None if Path::new(FILE_DEFAULT).exists() => read(Path::new(FILE_DEFAULT))?,
            None => Settings::default(),
        };
        let options = merge(self.settings, file)?;
        Ok(Options { force_new_cluster: self.force_new_cluster, ..options })
    }
}

fn merge(given: Settings, file: Settings) -> Result<Options, ConfigError> {
    let bad = |name, value: &str, expected| ConfigError::Value {
        name,
        value: value.to_owned(),
        expected,
    };
    let data = given.data.or(file.data).unwrap_or_else(|| "/var/lib/secretd".into());
    let listen = match given.listen.or(file.listen) {
        Some(listen) => listen,
        None => {
            LISTEN_DEFAULT.parse().map_err(|_| bad("listen", LISTEN_DEFAULT, "ADDRESS:PORT"))?
        }
    };
    let http = given.http.or(file.http);
    let http = match http.as_deref().unwrap_or(HTTP_DEFAULT) {
        "none" => None,
        text => Some(text.parse().map_err(|_| bad("http", text, "ADDRESS:PORT or none"))?),
    };
    let profile = given.profile.or(file.profile);
    let profile = match profile.as_deref().unwrap_or("lan") {
        "lan" => Profile::Lan,
        "wan" => Profile::Wan,
        other => return Err(bad("profile", other, "lan or wan")),
    };
    let log_format = given.log_format.or(file.log_format);
    let log_json = match log_format.as_deref().unwrap_or("text") {
        "text" => false,
        "json" => true,
        other => return Err(bad("log-format", other, "text or json")),
    };
    let docker_socket = given.docker_socket.or(file.docker_socket);
    let docker_engine = given.docker_engine.or(file.docker_engine);
    if let (Some(engine), None) = (&docker_engine, &docker_socket) {
        let engine = engine.display().to_string();
        return Err(bad("docker-engine", &engine, "docker-socket beside it"));
    }
    let reserve = given.disk_reserve_mib.or(file.disk_reserve_mib);
    Ok(Options {
        unlock_seed: given
            .unlock_seed
            .or(file.unlock_seed)
            .unwrap_or_else(|| data.join("unlock-seed")),
        boot_file: given.boot_file.or(file.boot_file).unwrap_or_else(|| data.join("boot")),
        boot_file_key: given.boot_file_key.or(file.boot_file_key),
        data,
        listen,
        advertise: given.advertise.or(file.advertise),
        socket: given.socket.or(file.socket).unwrap_or_else(|| "/run/secretd/secretd.sock".into()),
        docker_socket,
        docker_address: given.docker_address.or(file.docker_address),
        docker_engine,
        http,
        profile,
        disk_reserve_bytes: reserve.map_or(RESERVE_DEFAULT, |mib| mib.saturating_mul(1 << 20)),
        allow_unlocked_memory: given.allow_unlocked_memory || file.allow_unlocked_memory,
        force_new_cluster: false,
        log_json,
        log: given.log.or(file.log).unwrap_or_else(|| LOG_DEFAULT.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str], file: &str) -> Result<Options, ConfigError> {
        let given = Arguments::parse_from(["secretd"].iter().chain(arguments));
        merge(given.settings, toml::from_str(file).expect("a configuration"))
    }

    #[test]
    fn the_command_line_overrides_the_file() {
        let file = "data = \"/srv/a\"\nlisten = \"127.0.0.1:1\"\nprofile = \"wan\"";
        let options = options(&["--listen", "127.0.0.1:2"], file).expect("options");
        assert_eq!(options.data, Path::new("/srv/a"));
        assert_eq!(options.unlock_seed, Path::new("/srv/a/unlock-seed"));
        assert_eq!(options.boot_file, Path::new("/srv/a/boot"));
        assert_eq!(options.listen.port(), 2);
        assert_eq!(options.profile, Profile::Wan);
        assert_eq!(options.http, Some("127.0.0.1:7444".parse().expect("an address")));
    }

    #[test]
    fn wrong_values_name_the_option() {
        let error = options(&["--profile", "moon"], "").expect_err("no such profile");
        assert_eq!(error.to_string(), "`moon` is not a value of `profile`: expected lan or wan");
        let error = options(&["--docker-engine", "/run/docker.sock"], "").expect_err("no front");
        assert!(error.to_string().ends_with("expected docker-socket beside it"), "{error}");
        assert!(options(&["--http", "none"], "").expect("options").http.is_none());
        assert!(toml::from_str::<Settings>("lisen = \"x\"").is_err(), "a typing slip is told");
    }
}
