//! `cluster backup` and `cluster restore`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

/// `cluster backup`
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    group = ArgGroup::new("opens").required(true).args(["recipients", "passphrase"])
)]
pub(crate) struct BackupArgs {
    #[command(subcommand)]
    pub(crate) command: Option<BackupCommand>,

    /// Where to write it, or `-` for standard output; a file that is there already is not replaced
    #[arg(value_name = "FILE", required = true)]
    pub(crate) file: Option<PathBuf>,

    /// Who can open it: an age recipient, as `age-keygen` prints it; may be repeated, and each of
    /// them opens it
    #[arg(long = "recipient", value_name = "AGE1…")]
    pub(crate) recipients: Vec<String>,

    /// Open it with a passphrase instead
    ///
    /// Asked for twice on the terminal, without echo, or read from standard input: one line, at
    /// least 14 characters.
    #[arg(long)]
    pub(crate) passphrase: bool,
}

/// What to do with the backups that were made.
#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// List the backups that were made, oldest first
    ///
    /// As the cluster recorded them before it handed them out. It does not know where their files
    /// are, nor whether they were written to their end.
    #[command(alias = "list")]
    Ls,

    /// Open a backup's file and read it to its end, as restoring would
    ///
    /// Nothing is sent anywhere and no manager is needed: try on the machine where what opens it is
    /// kept. What cannot be read here could not be restored.
    Check(BackupCheckArgs),

    /// Say that a backup's file is destroyed, so that nobody is warned of it any more
    Forget {
        /// Its id, or the beginning of it
        #[arg(value_name = "BACKUP")]
        id: String,
    },
}

/// `cluster backup check`
#[derive(Debug, Args)]
pub(crate) struct BackupCheckArgs {
    /// The backup's file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// A file with an age identity of one of its recipients; without it, its passphrase is asked for
    #[arg(long, short, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
}
