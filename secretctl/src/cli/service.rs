//! `service`: commands that run on nodes with their secrets mounted.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::parse_label;
use super::quantity::{parse_bytes, parse_cpus, parse_preference, parse_ratio};
use crate::instant;
use crate::reference::{ConfigOption, SecretOption};

/// What to do with services.
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Run a command on nodes, with secrets mounted
    ///
    /// The command runs as declared, in its own mount and pid namespace, with its secrets in
    /// memory at /run/secrets; with --image, in a container of that image. Prints the service's id and waits until every task runs, and stays
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

    /// Change a service
    ///
    /// What concerns its tasks is rolled out: as many at a time as `--update-parallelism` says, each
    /// watched for a while. A label, the number of replicas or how updates roll restart nothing; a
    /// changed constraint only tasks that do not fit it. Prints the service's name and waits until
    /// the update is through; what it waits for is told on standard error. An interrupt ends the
    /// waiting, not the update. Exits with 1 if the update was paused or rolled back.
    Update(Box<ServiceUpdateArgs>),

    /// Go back to what was declared before the last change
    ///
    /// A second time undoes it. Rolls as the `--rollback-…` options of the restored declaration say.
    Rollback(RollbackArgs),
}

/// `service create`
#[derive(Debug, Args)]
pub(crate) struct ServiceCreateArgs {
    /// The service's name: one DNS label, up to 63 characters
    #[arg(long, value_name = "NAME", required = true)]
    pub(crate) name: String,

    /// A secret: NAME, or source=NAME,target=FILE,uid=N,gid=N,mode=0400,version=N,on-change=restart;
    /// may be repeated
    ///
    /// NAME alone mounts it as /run/secrets/NAME. The mode is octal, always. The task's own user
    /// owns the file unless uid or gid is given. A version is pinned for ever; without one the
    /// current value is used, and the service is redeployed when `secretctl rotate` makes another:
    /// that is what on-change=restart says, and the only way there is.
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Vec<SecretOption>,

    /// A config: NAME, or source=NAME,target=FILE,uid=N,gid=N,mode=0444; may be repeated
    ///
    /// NAME alone is the file /NAME in a container, and /run/secrets/NAME for a command of the nodes,
    /// which has no other place of its own; a target is a path from the root folder on. The mode is
    /// octal, always. The task's own user owns the file unless uid or gid is given.
    #[arg(long, value_name = "CONFIG")]
    pub(crate) config: Vec<ConfigOption>,

    /// So many tasks anywhere, or one on every node that fits
    #[arg(long, value_enum, default_value = "replicated")]
    pub(crate) mode: ModeArg,

    /// Where tasks may go, e.g. node.labels.zone==eu or node.hostname!=n1; may be repeated
    #[arg(long, value_name = "CONSTRAINT")]
    pub(crate) constraint: Vec<String>,

    /// Spread tasks over the values of a node label: spread=node.labels.KEY; may be repeated
    #[arg(long, value_name = "PREFERENCE", value_parser = parse_preference)]
    pub(crate) placement_pref: Vec<String>,

    /// An environment variable, KEY=VALUE; may be repeated
    ///
    /// The environment is part of the spec, which is not secret: whoever may look at services sees
    /// it.
    #[arg(long, short, value_name = "KEY=VALUE")]
    pub(crate) env: Vec<String>,

    /// A label, KEY=VALUE; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = parse_label)]
    pub(crate) label: Vec<(String, String)>,

    #[command(flatten)]
    pub(crate) spec: SpecArgs,

    /// Do not wait until the tasks run
    #[arg(long, short)]
    pub(crate) detach: bool,

    /// The command and its arguments; with --image, the arguments of what the image runs
    #[arg(required_unless_present = "image", last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// What `service create` declares and `service update` changes, as it is given.
#[derive(Debug, Default, Args)]
pub(crate) struct SpecArgs {
    /// Run a container of this image, on nodes with a container engine
    ///
    /// The node's engine pulls it if it is not there. Files of secrets belong to the --user if that
    /// is a number, else to root.
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,

    /// How many tasks; 1 unless given
    #[arg(long, value_name = "NUMBER")]
    pub(crate) replicas: Option<u64>,

    /// At most so many tasks on one node; 0 is without bound
    #[arg(long, value_name = "NUMBER")]
    pub(crate) replicas_max_per_node: Option<u64>,

    /// Processors to keep free for each task, such as 0.5
    ///
    /// It goes only where they are; nothing keeps it from taking more.
    #[arg(long, value_name = "NUMBER", value_parser = parse_cpus)]
    pub(crate) reserve_cpu: Option<u64>,

    /// Memory to keep free for each task, such as 512m or 2g
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) reserve_memory: Option<u64>,

    /// Who runs the command: name, uid, or user:group
    #[arg(long, short, value_name = "USER")]
    pub(crate) user: Option<String>,

    /// The working directory
    #[arg(long, short, value_name = "DIR")]
    pub(crate) workdir: Option<String>,

    /// The signal that asks a task to stop; SIGTERM unless given
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop_signal: Option<String>,

    /// How long it may take to stop; 10s unless given
    #[arg(long, value_name = "DURATION", value_parser = instant::parse_duration)]
    pub(crate) stop_grace_period: Option<Duration>,

    /// When a task that ended is replaced; any unless given
    #[arg(long, value_enum)]
    pub(crate) restart_condition: Option<RestartArg>,

    /// How long to wait before it is; 5s unless given
    #[arg(long, value_name = "DURATION", value_parser = instant::parse_duration)]
    pub(crate) restart_delay: Option<Duration>,

    /// How often it is, within the window; 0 is without bound
    #[arg(long, value_name = "NUMBER")]
    pub(crate) restart_max_attempts: Option<u64>,

    /// The time before its end in which attempts count; 0s is for ever
    #[arg(long, value_name = "DURATION", value_parser = instant::parse_duration)]
    pub(crate) restart_window: Option<Duration>,

    /// Where the tasks' output is kept on their nodes; files unless given
    #[arg(long, value_enum)]
    pub(crate) logs: Option<LogsArg>,

    /// How many tasks an update replaces at a time; 0 is all, 1 unless given
    #[arg(long, value_name = "NUMBER")]
    pub(crate) update_parallelism: Option<u64>,

    /// How long to wait between them
    #[arg(long, value_name = "DURATION", value_parser = instant::parse_duration)]
    pub(crate) update_delay: Option<Duration>,

    /// Which of the two tasks is alone for a moment; stop-first unless given
    #[arg(long, value_enum, value_name = "ORDER")]
    pub(crate) update_order: Option<OrderArg>,

    /// How long a new task must stay up to count; 5s unless given
    #[arg(long, value_name = "DURATION", value_parser = instant::parse_duration)]
    pub(crate) update_monitor: Option<Duration>,

    /// What a new task that fails does to the update; pause unless given
    #[arg(long, value_enum, value_name = "ACTION")]
    pub(crate) update_failure_action: Option<FailureArg>,

    /// Which part of the tasks may fail, from 0 to 1
    #[arg(long, value_name = "RATIO", value_parser = parse_ratio)]
    pub(crate) update_max_failure_ratio: Option<u32>,

    /// How many tasks a rollback replaces at a time; 0 is all, 1 unless given
    #[arg(long, value_name = "NUMBER")]
    pub(crate) rollback_parallelism: Option<u64>,

    /// How long a rollback waits between them
    #[arg(long, value_name = "DURATION", value_parser = instant::parse_duration)]
    pub(crate) rollback_delay: Option<Duration>,

    /// A rollback's order; stop-first unless given
    #[arg(long, value_enum, value_name = "ORDER")]
    pub(crate) rollback_order: Option<OrderArg>,

    /// How long a task must stay up after a rollback; 5s unless given
    #[arg(long, value_name = "DURATION", value_parser = instant::parse_duration)]
    pub(crate) rollback_monitor: Option<Duration>,

    /// What a task that fails does to a rollback; pause unless given
    #[arg(long, value_enum, value_name = "ACTION")]
    pub(crate) rollback_failure_action: Option<RollbackFailureArg>,

    /// Which part of the tasks may fail in a rollback, from 0 to 1
    #[arg(long, value_name = "RATIO", value_parser = parse_ratio)]
    pub(crate) rollback_max_failure_ratio: Option<u32>,
}

/// `service update`
#[derive(Debug, Args)]
pub(crate) struct ServiceUpdateArgs {
    /// Name or id
    #[arg(value_name = "SERVICE")]
    pub(crate) service: String,

    /// Use one more secret, as `service create --secret` takes it; may be repeated
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret_add: Vec<SecretOption>,

    /// Use a secret no more, by its name or id; may be repeated
    ///
    /// Together with `--secret-add` of the same name it changes how the secret is mounted.
    #[arg(long, value_name = "NAME")]
    pub(crate) secret_rm: Vec<String>,

    /// Use one more config, as `service create --config` takes it; may be repeated
    #[arg(long, value_name = "CONFIG")]
    pub(crate) config_add: Vec<ConfigOption>,

    /// Use a config no more, by its name or id; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) config_rm: Vec<String>,

    /// Set an environment variable, KEY=VALUE; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) env_add: Vec<String>,

    /// Remove an environment variable; may be repeated
    #[arg(long, value_name = "KEY")]
    pub(crate) env_rm: Vec<String>,

    /// Set a label of the service, KEY=VALUE; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_label)]
    pub(crate) label_add: Vec<(String, String)>,

    /// Remove a label of the service; may be repeated
    #[arg(long, value_name = "KEY")]
    pub(crate) label_rm: Vec<String>,

    /// One more constraint; may be repeated
    #[arg(long, value_name = "CONSTRAINT")]
    pub(crate) constraint_add: Vec<String>,

    /// Remove a constraint; may be repeated
    #[arg(long, value_name = "CONSTRAINT")]
    pub(crate) constraint_rm: Vec<String>,

    /// One more preference, spread=node.labels.KEY; may be repeated
    #[arg(long, value_name = "PREFERENCE", value_parser = parse_preference)]
    pub(crate) placement_pref_add: Vec<String>,

    /// Remove a preference; may be repeated
    #[arg(long, value_name = "PREFERENCE", value_parser = parse_preference)]
    pub(crate) placement_pref_rm: Vec<String>,

    /// The arguments after the program, in one text; quotes keep words together
    #[arg(long, value_name = "TEXT", conflicts_with = "command", allow_hyphen_values = true)]
    pub(crate) args: Option<String>,

    /// Replace every task though nothing changes for it
    #[arg(long)]
    pub(crate) force: bool,

    /// Go back to what was declared before, as `service rollback` does
    #[arg(long)]
    pub(crate) rollback: bool,

    #[command(flatten)]
    pub(crate) spec: SpecArgs,

    /// Do not wait until the update is through
    #[arg(long, short)]
    pub(crate) detach: bool,

    /// Another command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// `service rollback`
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// Name or id
    #[arg(value_name = "SERVICE")]
    pub(crate) service: String,

    /// Do not wait until the rollback is through
    #[arg(long, short)]
    pub(crate) detach: bool,
}

/// So many tasks, or one on every node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ModeArg {
    /// As many as `--replicas` says
    Replicated,
    /// One on every node that fits, as nodes come and go
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

/// Which of the two tasks is alone for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OrderArg {
    /// The old one stops before the new one starts
    StopFirst,
    /// The new one runs before the old one stops
    StartFirst,
}

/// What a failure does to an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FailureArg {
    /// It stops and waits for an operator
    Pause,
    /// It goes on
    Continue,
    /// It goes back to what was declared before
    Rollback,
}

/// What a failure does to a rollback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RollbackFailureArg {
    /// It stops and waits for an operator
    Pause,
    /// It goes on
    Continue,
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
