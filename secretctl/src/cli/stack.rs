//! `stack`: services and secrets of compose files.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What to do with stacks.
#[derive(Debug, Subcommand)]
pub(crate) enum StackCommand {
    /// Create what compose files declare, or change what is there
    ///
    /// Secrets first, then services, each under the stack's name: NAME_SECRET, NAME_SERVICE. What is
    /// there already and is as declared stays untouched; a service that is not is updated as its
    /// `update_config` says. Says what it does, a line each.
    ///
    /// Files are merged, each over those before it. Variables come from the environment. What a key
    /// asks for and managers do not have is named in a warning; a key that is not known is refused,
    /// before anything is sent. A service has an `image`, or runs as a process of its node:
    /// `x-secretd: {runtime: process}` with a `command`.
    ///
    /// A secret whose file has another value than the cluster gets that, as a new version, and
    /// services that follow it are redeployed. Values are compared by a keyed tag: neither is shown.
    /// A secret that is there keeps its value where its file is not.
    #[command(alias = "up")]
    Deploy(StackDeployArgs),

    /// List stacks
    ///
    /// Those that this program made and those that a docker client made.
    #[command(alias = "list")]
    Ls,

    /// List the tasks of a stack
    ///
    /// As `service ps` does.
    Ps {
        /// The stack
        name: String,

        /// Tasks that are over, too
        #[arg(long, short)]
        all: bool,
    },

    /// List the services of a stack
    ///
    /// As `service ls` does.
    Services {
        /// The stack
        name: String,
    },

    /// Remove stacks
    ///
    /// Their services, then their secrets; secrets that are external stay. Goes on after what cannot be
    /// removed, and exits with 1 then.
    #[command(aliases = ["remove", "down"])]
    Rm {
        /// The stacks
        #[arg(required = true, value_name = "STACK")]
        names: Vec<String>,
    },

    /// Show what compose files say together
    ///
    /// With files merged and variables put in, as JSON, which is YAML and is read again as the same
    /// stack. Nothing is sent, and no value of a secret is read.
    Config {
        /// A compose file, or `-` for standard input; may be repeated
        #[arg(long, short = 'c', required = true, value_name = "FILE")]
        compose_file: Vec<PathBuf>,
    },
}

/// `stack deploy`
#[derive(Debug, Args)]
pub(crate) struct StackDeployArgs {
    /// A compose file, or `-` for standard input; may be repeated
    ///
    /// Paths in it count from the folder of the first.
    #[arg(long, short = 'c', required = true, value_name = "FILE")]
    pub(crate) compose_file: Vec<PathBuf>,

    /// The stack's name
    pub(crate) name: String,

    /// Remove services of the stack that the files do not declare any more
    #[arg(long)]
    pub(crate) prune: bool,

    /// Give each secret the value of its file as a new version, though it is the same
    #[arg(long)]
    pub(crate) rotate_secrets: bool,

    /// Wait until what was changed runs
    ///
    /// Exits with 1 if an update was paused or rolled back. An interrupt ends the waiting only.
    #[arg(long)]
    pub(crate) wait: bool,
}
