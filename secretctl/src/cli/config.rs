//! `config`: values that are not secret, for the files of tasks.

use std::path::PathBuf;

use clap::Subcommand;

use super::parse_label;

/// What to do with configs.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Create a config from standard input or a file
    ///
    /// Reads the value from FILE, or from standard input if FILE is `-`: 1 byte to 1,000 KiB of anything,
    /// taken as it is. It is no secret: managers hold it in clear in memory, and whoever may look at
    /// configs is shown it. What nobody is to read is a secret: `secretctl create`.
    ///
    /// A value never changes: make another config, and have services use that one. Prints the id. Names
    /// are unique without regard to case.
    Create {
        /// The name: 1 to 64 of a-z A-Z 0-9 - _ . , starting and ending with a letter or digit
        name: String,

        /// The file with the value, or `-` for standard input
        file: PathBuf,

        /// A label, KEY=VALUE; may be repeated
        #[arg(long, short, value_name = "KEY=VALUE", value_parser = parse_label)]
        label: Vec<(String, String)>,
    },

    /// List configs
    ///
    /// Without their values.
    #[command(alias = "list")]
    Ls,

    /// Show what is known of configs
    ///
    /// Labels, which services use it, how large it is; with `--json`, the value: as `data` if it is text,
    /// else as `data_hex`. A config is found by its full id, its exact name, or a unique beginning of its
    /// id, in this order.
    Inspect {
        /// Names or ids
        #[arg(required = true, value_name = "CONFIG")]
        configs: Vec<String>,
    },

    /// Remove configs
    ///
    /// A config that a service uses is not removed, nor one that a service used before its last update and
    /// would need to go back; `--forget-previous` gives up the latter. Goes on after a config that cannot
    /// be removed, and exits with 1 then.
    #[command(alias = "remove")]
    Rm {
        /// Names or ids
        #[arg(required = true, value_name = "CONFIG")]
        configs: Vec<String>,

        /// Remove it though a service would need it to go back to its previous spec
        #[arg(long)]
        forget_previous: bool,
    },
}
