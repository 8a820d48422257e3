//! `node`: the machines that run tasks.

use clap::{Args, Subcommand};

use super::parse_label;

/// What to do with nodes.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// List nodes
    ///
    /// A `*` marks the node of the manager that leads.
    #[command(alias = "list")]
    Ls,

    /// Show what is known of nodes
    ///
    /// A node is found by its full id, its exact hostname, or a unique beginning of its id.
    Inspect {
        /// Hostnames or ids
        #[arg(required = true, value_name = "NODE")]
        nodes: Vec<String>,
    },

    /// Change a node's labels or availability
    ///
    /// `drain` moves its tasks to other nodes; `pause` keeps them and sends no new ones; `active`
    /// is the rule. Labels are what `--constraint node.labels.KEY==VALUE` compares with.
    Update(UpdateArgs),

    /// Say how a node becomes a manager
    ///
    /// Whether a machine is a manager is for that machine to say: a manager makes its own keys, and a
    /// token that admits one is good for one use and one hour. So nothing is changed from here; what is
    /// to be typed, and where, is told. A node that is a manager already is said to be.
    Promote {
        /// Hostname or id
        node: String,
    },

    /// Say how a manager stops being one
    ///
    /// A manager leaves by itself, destroys its keys and gives word of that; so it is told to, on its
    /// own machine. What is to be typed is told; nothing is changed from here.
    Demote {
        /// Hostname or id
        node: String,
    },

    /// Evict nodes
    ///
    /// A node that is up is refused without `--force`: drain it, stop its agent, then remove it.
    /// Once this command answers, no manager serves the node any more. What it was given before,
    /// it has: the command lists those secrets, and only new values help if the machine is not
    /// trusted.
    #[command(alias = "remove")]
    Rm {
        /// Hostnames or ids
        #[arg(required = true, value_name = "NODE")]
        nodes: Vec<String>,

        /// Evict it though it is up
        #[arg(long, short)]
        force: bool,
    },
}

/// `node update`
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// Hostname or id
    pub(crate) node: String,

    /// Set a label, KEY=VALUE; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_label)]
    pub(crate) label_add: Vec<(String, String)>,

    /// Remove a label; may be repeated
    #[arg(long, value_name = "KEY")]
    pub(crate) label_rm: Vec<String>,

    /// Whether it takes tasks
    #[arg(long, value_enum)]
    pub(crate) availability: Option<AvailabilityArg>,
}

/// Whether a node takes tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum AvailabilityArg {
    /// It takes tasks
    Active,
    /// It keeps its tasks and takes no new ones
    Pause,
    /// Its tasks move elsewhere
    Drain,
}
