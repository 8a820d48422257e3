//! `create`, `rotate`, `ls`, `inspect`, `rm`: secrets.

use clap::{Args, Subcommand};

use super::parse_label;

/// What to do with secrets.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Create a secret from standard input or a file
    ///
    /// Reads the value from FILE, or from standard input if FILE is `-`; on a terminal it is asked
    /// for twice and not shown. The value is 1 byte to 1 MiB of anything, taken as it is: a
    /// trailing newline is part of it (`printf %s` writes none). It is sealed here and never
    /// leaves this program in clear.
    ///
    /// A value is never taken from an argument or from the environment: both are visible to other
    /// programs, and arguments end up in the shell's history.
    ///
    /// Prints the id of the new secret. Names are unique without regard to case.
    Create(CreateArgs),

    /// Give a secret a new value
    ///
    /// Reads the value as `create` does. It becomes the secret's next version and the current one.
    /// Services that follow the secret are redeployed, as their updates roll: so many tasks at a time,
    /// watched for a while; an update that fails pauses, or goes back to the version of before. Until
    /// it is its turn a task runs on with what it has. A reference with `version=N` keeps its version.
    ///
    /// Prints the version, and which services are redeployed. Whether the value is another one than
    /// before is not looked at: a manager cannot tell, and this program has no way to read it.
    ///
    /// A secret keeps 16 versions. The oldest that nothing uses makes room for the next.
    Rotate(RotateSecretArgs),

    /// List secrets
    ///
    /// Values are never shown: nothing in this system reads one back.
    #[command(alias = "list")]
    Ls {
        /// Only secrets that match: name=PREFIX, names=NAME, id=PREFIX, label=KEY or
        /// label=KEY=VALUE
        ///
        /// Names and ids that are given are alternatives; labels must all match.
        #[arg(long, short, value_name = "FILTER")]
        filter: Vec<String>,

        /// List secrets that were removed instead
        ///
        /// What was removed is `shredding` until every manager has given word that no log key of
        /// before is left, and then `shredded`, with those managers listed. WITHOUT PROOF are
        /// managers that left the cluster with a disk on which it may still open.
        #[arg(long, conflicts_with = "filter")]
        removed: bool,
    },

    /// Show what is known of secrets
    ///
    /// Labels, versions, who may use it, which services do. Never the value. A secret is found by
    /// its full id, its exact name, or a unique beginning of its id, in this order.
    Inspect {
        /// Names or ids
        #[arg(required = true, value_name = "SECRET")]
        secrets: Vec<String>,
    },

    /// Remove secrets
    ///
    /// A secret that a service uses is not removed, nor one that a service used before its last
    /// update and would need to go back; `--forget-previous` gives up the latter. Goes on after a
    /// secret that cannot be removed, and exits with 1 then.
    ///
    /// What was mounted for a running task is not taken back. Managers' disks are rid of a removed
    /// secret within three weeks: `ls --removed` says how far that is.
    #[command(alias = "remove")]
    Rm(RmArgs),
}

/// `create`
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The name: 1 to 64 of a-z A-Z 0-9 - _ . , starting and ending with a letter or digit
    pub(crate) name: String,

    /// The file with the value, or `-` for standard input
    pub(crate) file: Option<std::path::PathBuf>,

    /// A label, KEY=VALUE; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = parse_label)]
    pub(crate) label: Vec<(String, String)>,

    /// An operator or group whose services may use the secret; may be repeated
    ///
    /// The creator's group unless given. Who may deploy with a secret can read it.
    #[arg(long, value_name = "NAME")]
    pub(crate) usable_by: Vec<String>,

    /// What looks like a value: refused.
    #[arg(hide = true, value_name = "VALUE")]
    pub(crate) excess: Vec<std::ffi::OsString>,

    /// What looks like a value: refused.
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "", alias = "data",
          alias = "from-literal")]
    pub(crate) value: Option<std::ffi::OsString>,
}

/// `rotate`
#[derive(Debug, Args)]
pub(crate) struct RotateSecretArgs {
    /// The secret, by name or id
    #[arg(value_name = "SECRET")]
    pub(crate) name: String,

    /// The file with the value, or `-` for standard input
    pub(crate) file: Option<std::path::PathBuf>,

    /// Wait until the services that follow it run with the new value
    ///
    /// Exits with 1 if an update was paused or rolled back. An interrupt ends the waiting, not the
    /// updates.
    #[arg(long)]
    pub(crate) wait: bool,

    /// What looks like a value: refused.
    #[arg(hide = true, value_name = "VALUE")]
    pub(crate) excess: Vec<std::ffi::OsString>,

    /// What looks like a value: refused.
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "", alias = "data",
          alias = "from-literal")]
    pub(crate) value: Option<std::ffi::OsString>,
}

/// `rm`
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Names or ids
    #[arg(required = true, value_name = "SECRET")]
    pub(crate) secrets: Vec<String>,

    /// Remove it though a service would need it to go back to its previous spec
    #[arg(long)]
    pub(crate) forget_previous: bool,

    /// Have it gone from every manager's disk now, and wait for that
    ///
    /// Replaces the transit key that its value came under and rotates the log keys of all managers;
    /// both happen by themselves otherwise. Works for a secret that was removed before, too. Admins
    /// only.
    #[arg(long)]
    pub(crate) shred: bool,

    /// Wait until every manager gave word; so it is with `--shred` unless told otherwise
    #[arg(long, requires = "shred", conflicts_with = "no_wait")]
    pub(crate) wait: bool,

    /// Return once `--shred` has been asked for
    #[arg(long, requires = "shred")]
    pub(crate) no_wait: bool,

    /// Only say what would happen
    #[arg(long)]
    pub(crate) dry_run: bool,
}
