//! `service`: commands that run on nodes with their secrets mounted.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::parse_label;
use crate::instant;
use crate::reference::SecretOption;

/// What to do with services.
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Run a command on nodes, with secrets mounted
    ///
    /// The command runs as declared, in its own mount and pid namespace, with its secrets in
    /// memory at /run/secrets. Prints the service's id and waits until every task runs, and stays
    /// up for a moment; what it waits for is told on standard error. An interrupt ends the waiting,
    /// not the service.
    ///
    /// The native default for a secret is a file with the secret's name, owned by the task's own
    /// user, mode 0400.
    Create(Box<ServiceCreateArgs>),

    /// List services
    ///
    /// With how many of their tasks run.
    #[command(alias = "list")]
    Ls,

    /// List the tasks of services
    ///
    /// Where each runs, how it is, and since when; with `--all` also those before it.
    Ps(PsArgs),

    /// Show what is known of services
    ///
    /// A service is found by its full id, its exact name, or a unique beginning of its id.
    Inspect {
        /// Names or ids
        #[arg(required = true, value_name = "SERVICE")]
        services: Vec<String>,
    },

    /// Show what the tasks of a service print
    ///
    /// Each line begins with the task and its node. What tasks wrote to standard output goes to
    /// standard output, what they wrote to standard error to standard error.
    Logs(LogsArgs),

    /// Stop and remove services
    ///
    /// Their tasks are stopped, what was mounted for them is unmounted. Goes on after a service
    /// that cannot be removed, and exits with 1 then.
    #[command(alias = "remove")]
    Rm(ServiceRmArgs),

    /// Change how many tasks services run
    ///
    /// Waits until they do.
    Scale(ScaleArgs),
}

/// `service create`
#[derive(Debug, Args)]
pub(crate) struct ServiceCreateArgs {
    /// The service's name: one DNS label, up to 63 characters
    #[arg(long, value_name = "NAME", required = true)]
    pub(crate) name: String,

    /// A secret: NAME, or source=NAME,target=FILE,uid=N,gid=N,mode=0400,version=N; may be repeated
    ///
    /// NAME alone mounts it as /run/secrets/NAME. The mode is octal, always. The task's own user
    /// owns the file unless uid or gid is given. A version is pinned for ever; without one the
    /// current value is used.
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Vec<SecretOption>,

    /// How many tasks; 1 unless given
    #[arg(long, value_name = "NUMBER")]
    pub(crate) replicas: Option<u64>,

    /// So many tasks anywhere, or one on every node
    #[arg(long, value_enum, default_value = "replicated")]
    pub(crate) mode: ModeArg,

    /// Where tasks may go, e.g. node.labels.zone==eu or node.hostname!=n1; may be repeated
    #[arg(long, value_name = "CONSTRAINT")]
    pub(crate) constraint: Vec<String>,

    /// At most so many tasks on one node; 0 is without bound
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) replicas_max_per_node: u64,

    /// An environment variable, KEY=VALUE; may be repeated
    ///
    /// The environment is part of the spec, which is not secret: whoever may look at services sees
    /// it.
    #[arg(long, short, value_name = "KEY=VALUE")]
    pub(crate) env: Vec<String>,

    /// A label, KEY=VALUE; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = parse_label)]
    pub(crate) label: Vec<(String, String)>,

    /// Who runs the command: name, uid, or user:group
    #[arg(long, short, value_name = "USER", default_value = "", hide_default_value = true)]
    pub(crate) user: String,

    /// The working directory
    #[arg(long, short, value_name = "DIR", default_value = "", hide_default_value = true)]
    pub(crate) workdir: String,

    /// The signal that asks a task to stop; SIGTERM unless given
    #[arg(long, value_name = "SIGNAL", default_value = "", hide_default_value = true)]
    pub(crate) stop_signal: String,

    /// How long it may take to stop; 10s unless given
    #[arg(long, value_name = "DURATION", value_parser = instant::parse_duration)]
    pub(crate) stop_grace_period: Option<Duration>,

    /// When a task that ended is replaced
    #[arg(long, value_enum, default_value = "any")]
    pub(crate) restart_condition: RestartArg,

    /// How long to wait before it is
    #[arg(long, value_name = "DURATION", default_value = "5s",
          value_parser = instant::parse_duration)]
    pub(crate) restart_delay: Duration,

    /// How often it is, within the window; 0 is without bound
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) restart_max_attempts: u64,

    /// The time in which attempts count; 0s is for ever
    #[arg(long, value_name = "DURATION", default_value = "0s",
          value_parser = instant::parse_duration)]
    pub(crate) restart_window: Duration,

    /// How long a new task must stay up to count
    #[arg(long, value_name = "DURATION", default_value = "5s",
          value_parser = instant::parse_duration)]
    pub(crate) update_monitor: Duration,

    /// Where the tasks' output is kept on their nodes
    #[arg(long, value_enum, default_value = "files")]
    pub(crate) logs: LogsArg,

    /// Do not wait until the tasks run
    #[arg(long, short)]
    pub(crate) detach: bool,

    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// So many tasks, or one on every node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ModeArg {
    /// As many as `--replicas` says
    Replicated,
    /// One on every node that fits: managers of this version refuse it
    #[value(hide = true)]
    Global,
}

/// When a task that ended is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RestartArg {
    /// However it ended
    Any,
    /// When it failed
    OnFailure,
    /// Never
    None,
}

/// Where output is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogsArg {
    /// In two rotated files of 8 MiB
    Files,
    /// In memory
    Memory,
    /// Nowhere
    None,
}

/// `service ps`
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Names or ids; all services unless given
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,

    /// Tasks that are over, too
    #[arg(long, short)]
    pub(crate) all: bool,
}

/// `service logs`
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// A service, by name or id, or a task, by id
    #[arg(value_name = "SERVICE")]
    pub(crate) service: String,

    /// Go on with what is printed from now on
    #[arg(long, short)]
    pub(crate) follow: bool,

    /// Only lines since then: a duration back from now (10m), or an instant
    /// (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,

    /// Only the last lines of each task: a number, or `all`
    #[arg(long, short = 'n', value_name = "LINES", default_value = "all")]
    pub(crate) tail: String,

    /// Begin each line with its time
    #[arg(long, short)]
    pub(crate) timestamps: bool,

    /// Do not begin each line with its task
    #[arg(long)]
    pub(crate) no_prefix: bool,
}

/// `service rm`
#[derive(Debug, Args)]
pub(crate) struct ServiceRmArgs {
    /// Names or ids
    #[arg(required = true, value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// `service scale`
#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// How many tasks of which service
    #[arg(required = true, value_name = "SERVICE=REPLICAS")]
    pub(crate) scales: Vec<String>,

    /// Do not wait until they run
    #[arg(long, short)]
    pub(crate) detach: bool,
}
