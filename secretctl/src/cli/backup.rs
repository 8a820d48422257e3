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
    ///
    /// Only its record goes: the cluster cannot reach the file. With all copies of it gone, nobody can
    /// read from it what was removed since.
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

/// `cluster restore`
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The backup's file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// A file with an age identity of one of its recipients; without it, its passphrase is asked for
    #[arg(long, short, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,

    /// Where others reach this manager; the address it listens on unless given
    ///
    /// Agents and operators know the addresses of before: one of those lets them carry on by
    /// themselves.
    #[arg(long, value_name = "HOST:PORT", default_value = "", hide_default_value = true)]
    pub(crate) advertise_address: String,

    /// This machine's name in the cluster; its hostname unless given
    ///
    /// The name of a node that is in the backup makes this machine that node.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub(crate) hostname: String,

    /// Lock managers: show a new unlock key once, which every start of a manager needs
    ///
    /// Whatever opened managers before opens none of the restored cluster.
    #[arg(long)]
    pub(crate) autolock: bool,

    /// The incarnation that begins; the one after that of the backup unless given
    ///
    /// Agents and operators remember the highest one they met and refuse a lower one: give one above
    /// it if the cluster was restored, or forced, after this backup was taken.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    pub(crate) incarnation: u64,

    /// Make a new CA: the backup, or the CA's key in it, may be in the wrong hands
    ///
    /// Nothing that the CA of before signed is trusted any more, whenever it was signed. Agents and
    /// managers join anew with new tokens, operators enrol anew. Nodes stay, with their labels, and
    /// wait for their agents; what ran on them is placed on nodes whose agents have joined. On the
    /// machines tasks run on until they are ended there. Without this the CA stays, and agents and
    /// operators carry on by themselves.
    #[arg(long)]
    pub(crate) new_ca: bool,
}
