//! `cluster`: making one, joining, its managers, its tokens, what is wrong with it.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::backup::{BackupArgs, RestoreArgs};
use crate::instant;

/// What to do with the cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Make a new cluster with the manager on this machine
    ///
    /// The manager, secretd, must be running and not yet part of a cluster. It makes the
    /// cluster's keys and its CA, and becomes the first member.
    Init(InitArgs),

    /// Turn locking on or off, or have managers unlock one another
    ///
    /// With locking off, each manager opens its own keys at start, with a seed that lies in a file
    /// beside its data or where `--unlock-seed` says. With locking on, a manager that starts waits
    /// for `secretctl cluster unlock`: whoever has its disk has nothing that opens it. Turning it
    /// on makes an unlock key here and shows it once; only its public half is sent, so the cluster
    /// cannot show it again. Either way the managers rotate their log keys, too: what opened them
    /// before, with a copy of their disks from before, reads nothing that they hold from now on. The
    /// managers that answer are waited for; one that is down follows when it starts.
    ///
    /// With `--peers auto` a manager that was restarted is unlocked by the others, as long as most of
    /// them serve: no disk, and not all of them together, opens without that. It does let in whoever
    /// starts a stolen disk while its manager is down and was not removed; `--peers approve` asks an
    /// operator each time. `--peers off` is how it is unless set otherwise.
    Update(ClusterUpdateArgs),

    /// Open the manager on this machine, which is locked
    ///
    /// Asks for the unlock key, or for a passphrase or a share if the cluster has such slots, on the
    /// terminal, without echo, or reads it from standard input; never an argument, which others
    /// could see. It goes to this machine's manager over its unix socket and over no network. A
    /// typing slip in an unlock key or a share is noticed here, before anything is sent; of a key
    /// that does not open this manager it is said which key it is and which is needed. A passphrase
    /// is tried here, and nothing is sent if it opens no slot. Shares are entered one after the
    /// other, by this command each time; the manager holds them for ten minutes at most.
    Unlock {
        /// How long to wait until the manager serves
        #[arg(long, value_name = "DURATION", value_parser = instant::parse_duration,
              default_value = "1m")]
        wait: Duration,

        /// Taken only to say that it is not taken, without repeating it
        #[arg(hide = true, value_name = "KEY")]
        typed: Option<OsString>,
    },

    /// Replace the unlock key
    ///
    /// With `--rotate`, makes a new key here, shows it once and has every manager seal its keys to
    /// it instead, and then rotate its log key. Those that answer are waited for; one that is down
    /// is named: it still opens with the key before, once, and follows when it has started. Until
    /// then keep both. If a log key rotation is in progress, another one follows it. Without
    /// `--rotate` it shows the key where that is kept (`secretctl cluster update --read-back on`), and
    /// each reading is on record; otherwise the cluster has the key's public half only.
    ///
    /// It heals a key that leaked: that opens no manager any more and, once this is done, though
    /// with a copy of a key file, nothing that the disks hold from then on. It does not heal: such a
    /// copy opens copies of a disk from before, and has the root keys, which stay the same unless
    /// `--compromised` replaces them.
    UnlockKey(UnlockKeyArgs),

    /// Other ways to open locked managers: passphrases beside the unlock key
    ///
    /// A slot opens the key files of all managers, each slot by itself. What opens it is made and
    /// checked here, by secretctl: the cluster gets a public half, with which nothing opens. A slot
    /// counts as working once it has opened something since it was added: prove it, so that nobody
    /// finds out on a bad day that a passphrase was written down wrong.
    #[command(subcommand)]
    UnlockSlot(UnlockSlotCommand),

    /// Consent to the others' unlocking a manager that was restarted
    ///
    /// Under `secretctl cluster update --peers approve`. Good once, within ten minutes, for the host
    /// that you name: see in `secretctl cluster status` from where it asks, be sure that this is the
    /// manager's, and that you know why it was down.
    Approve {
        /// The member, by number or hostname
        member: String,
        /// The host that may be unlocked
        #[arg(long, value_name = "HOST")]
        from: String,
    },

    /// Requests to be unlocked that no true manager makes
    ///
    /// A copy of a manager's disk asked: an old one (`stale`), one whose manager runs (`alive`), or
    /// that of a manager that was removed (`evicted`). They were given nothing. `let-in` is said by a
    /// manager that found a copy of itself let in while it was down: all that the manager held is in
    /// other hands (docs/operations/peers.md).
    #[command(subcommand)]
    Alarm(AlarmCommand),

    /// Make the manager on this machine a member of a cluster
    ///
    /// Takes a token of `secretctl cluster join-token manager` and the address of one manager or
    /// more. Nodes that only run tasks join with secret-agent instead.
    Join(JoinArgs),

    /// Take the manager on this machine out of its cluster, for good
    ///
    /// Its data folder is of no use afterwards. Refused while the others would lose their
    /// majority by it, unless forced.
    Leave {
        /// Leave though the others may lose their majority
        #[arg(long, short)]
        force: bool,
    },

    /// Show what is wrong, then who the managers are
    ///
    /// Problems come first, most urgent first, each with what to do. Exits with 0 all the same,
    /// unless `--check` is given.
    Status {
        /// Exit with 1 if anything is wrong
        #[arg(long)]
        check: bool,
    },

    /// Make a token that admits a node or a manager
    ///
    /// The token is shown once. Who has it can join: hand it over as you would a password. Unless
    /// given, a token for agents is good for 24 hours, one for a manager for one hour and one use.
    JoinToken(JoinTokenArgs),

    /// See and revoke join tokens
    ///
    /// The tokens themselves are not kept: the cluster has a hash of each.
    #[command(subcommand)]
    Token(TokenCommand),

    /// See and change the cluster's managers
    ///
    /// A member is a manager that takes part in the cluster's decisions.
    #[command(subcommand)]
    Member(MemberCommand),

    /// Put a new manager in the place of a dead one
    ///
    /// The new manager has joined and caught up; the dead one is removed in the same step, so that
    /// the number of votes stays the same.
    Replace {
        /// The dead member, by number or hostname
        dead: String,
        /// The new member, by number or hostname
        new: String,
    },

    /// Keep a copy of the whole cluster in one encrypted file
    ///
    /// An age file (age-encryption.org/v1) with everything that a new manager needs to go on as this
    /// cluster after all of its managers are gone: `secretctl cluster restore`. Values are in it
    /// sealed, under a root key made for this backup, which is in it, too: so it outlives rotations
    /// of the cluster's root key and gives none of its keys away. Not in it: transit keys, join
    /// tokens, what opens managers.
    ///
    /// Whoever opens the file has every secret of the cluster, and its CA. The cluster records each
    /// backup before it hands it out; `secretctl rm` names those that may still hold what is
    /// removed.
    Backup(BackupArgs),

    /// Make a cluster of the manager on this machine out of a backup
    ///
    /// For a cluster whose managers are all gone. The manager, secretd, must be running and not part
    /// of a cluster, as for `init`. It goes on as the cluster was when the backup was taken, as its
    /// only manager, with new keys of its own and the same CA: agents and operators carry on with
    /// their certificates once they reach it, and tasks run on. Join tokens of before are void;
    /// managers of before are removed, and if one comes back it finds that the cluster went on.
    ///
    /// All of it or nothing: a file that is damaged or cut off changes nothing. What was made,
    /// removed or evicted after the backup is as it was before.
    Restore(RestoreArgs),

    /// Show who changed what
    ///
    /// The newest, oldest first. Each record's chain is the hash of the record and the chain before it:
    /// with a copy of one chain value, nothing before it can be changed unnoticed.
    Audit {
        /// Only records after this index, the oldest of them: to go on from those that were read
        #[arg(long, value_name = "INDEX")]
        after: Option<u64>,

        /// At most so many records
        #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
        limit: u32,
    },

    /// Replace keys while the cluster serves
    ///
    /// One rotation of a kind at a time. It goes on by itself, through restarts and elections,
    /// until every manager has finished; `secretctl cluster keys` shows how far it is.
    #[command(subcommand)]
    Rotate(RotateCommand),

    /// Show which keys each manager holds, and what its disk is under
    ///
    /// By ids: no key is ever shown. What waits for whom comes first. For each manager: the log
    /// keys in its key file (the one that seals is marked), the oldest one that anything on its
    /// disk is under, and its root keys. A manager is asked, not searched: this is the receipt of
    /// honest managers.
    Keys {
        /// Have each manager read all that is on its disk, and compare chains
        ///
        /// Every record and the snapshot are opened, beside what the manager does otherwise, and
        /// the log's chain is compared with the leader's. Exits with 1 if anything does not open,
        /// differs, or was not checked.
        #[arg(long)]
        verify: bool,
    },
}

/// What to do with slots.
#[derive(Debug, Subcommand)]
pub(crate) enum UnlockSlotCommand {
    /// Add a slot
    ///
    /// It opens every manager once that has sealed its keys to it; those that answer are waited for.
    #[command(subcommand)]
    Add(AddSlotCommand),

    /// List the slots that open managers
    ///
    /// WORKS says whether a slot was opened since it was added; an unlock key, which was shown, and
    /// the managers' own seeds (`file`) count as working from the start.
    #[command(alias = "list")]
    Ls,

    /// Remove a slot
    ///
    /// It opens no manager that answers any more; one that is down is named, and still opens with
    /// it until it has started once. Refused for the last slot that counts as working. An older
    /// copy of a key file still opens with the slot, so every manager takes a new log key, too: such
    /// a copy opens nothing that the disks hold from then on.
    #[command(alias = "remove")]
    Rm {
        /// The slot's id, or the beginning of it
        #[arg(value_name = "SLOT")]
        id: String,

        /// How long to wait until the managers that answer have followed and have new log keys
        #[arg(long, value_name = "DURATION", value_parser = instant::parse_duration,
              default_value = "5m")]
        wait: Duration,
    },

    /// Try a slot without restarting anything, and record that it works
    ///
    /// Asks for the passphrase, the unlock key or, one after the other, the shares on the terminal,
    /// or reads standard input, recovers the slot's key here and compares it. Only that it worked is
    /// sent. A slot's command is run by every manager that answers, and has to open it on each.
    Prove {
        /// The slot's id, or the beginning of it
        #[arg(value_name = "SLOT")]
        id: String,
    },
}

/// Which slot to add.
#[derive(Debug, Subcommand)]
pub(crate) enum AddSlotCommand {
    /// A passphrase that people can remember, or type from paper
    ///
    /// Asked for twice on the terminal, without echo, or read from standard input: one line, at
    /// least 14 characters. A copy of a manager's disk lets its owner guess as fast as he can pay
    /// for, so take a generated one where you can. The salt and the costs of argon2id are made
    /// here; the passphrase stays here.
    Passphrase {
        /// Make a passphrase of 96 random bits and show it once
        #[arg(long)]
        generate: bool,

        /// How long to wait until the managers that answer have followed
        #[arg(long, value_name = "DURATION", value_parser = instant::parse_duration,
              default_value = "1m")]
        wait: Duration,
    },

    /// Shares, so many of which open the managers together
    ///
    /// A random seed is split here (Shamir's scheme), and each share is shown once, as a word
    /// `SECSHARE-1-…` on a line of its own: give each holder one. Fewer than the threshold say
    /// nothing. To open a manager the holders run `secretctl cluster unlock` on its machine, one
    /// after the other, within ten minutes; a wrong share is named when it is entered.
    Shares {
        /// How many shares open a manager
        #[arg(long, value_name = "K")]
        threshold: u8,

        /// How many shares there are, at most 16
        #[arg(long, value_name = "N")]
        shares: u8,

        /// How long to wait until the managers that answer have followed
        #[arg(long, value_name = "DURATION", value_parser = instant::parse_duration,
              default_value = "1m")]
        wait: Duration,
    },

    /// A program on each manager's machine that fetches the seed: from a KMS, a TPM, systemd
    ///
    /// A manager that starts locked runs it and opens by itself: no shell, no argument, no
    /// environment, exactly 32 bytes on its standard output. It is run only if nobody but root and
    /// the manager's user could have changed it. The same program has to be at this path on every
    /// manager, and print the same seed. Here the seed is read from standard input, once, to make
    /// the slot's public half, which is what is sent: run the program and pipe it.
    Command {
        /// The program's absolute path on the managers' machines
        path: String,

        /// How long it may take, at most 1m
        #[arg(long, value_name = "DURATION", value_parser = instant::parse_duration,
              default_value = "20s")]
        give_up_after: Duration,

        /// How long to wait until the managers that answer have followed
        #[arg(long, value_name = "DURATION", value_parser = instant::parse_duration,
              default_value = "1m")]
        wait: Duration,
    },
}

/// What to rotate.
#[derive(Debug, Subcommand)]
pub(crate) enum RotateCommand {
    /// Replace the key that each manager's disk is encrypted under
    ///
    /// Each manager makes a key of its own, writes under it, makes a snapshot, gives up its older
    /// log, and destroys the old key. A manager that is down does it when it starts; until then
    /// the rotation is in progress and another one is refused.
    ///
    /// Heals a log key that leaked, against whoever gets at a disk afterwards. Does not heal what
    /// was copied before, and changes neither root keys nor values.
    LogKey(RotateArgs),

    /// Replace the key that all data keys, the CA's key and transit keys are wrapped under
    ///
    /// The leader makes a key; every manager fetches it; new wraps are made under it once a majority
    /// holds it; everything else is wrapped anew, while secrets are created and delivered as ever;
    /// then every manager destroys the old key, and log keys rotate, since logs hold wraps of before.
    /// A manager that is down does its part when it starts; until then the rotation is in progress
    /// and another one is refused.
    ///
    /// Heals a root key that leaked, if who has it has no copy of the state of its time. Does not
    /// heal what was copied together: values keep their data keys, so only new values help.
    RootKey(RotateArgs),

    /// Replace the CA, and every certificate with it
    ///
    /// The leader makes another CA, whose key the present one signs. Managers get certificates of it
    /// first, then agents, as they are told over their sessions, and operators, whose contexts follow
    /// when they are used. Tasks go on. When everybody has moved, the old CA is dropped: what it
    /// signed is refused, join tokens of before included. It waits for managers, nodes and operators
    /// that are away, and names them; until then another one is refused. Remove who is gone for good,
    /// or leave agents and operators behind with `--drop-missing`.
    ///
    /// Heals a CA key that leaked. Does not heal what was read or changed with a certificate that
    /// was made with it.
    Ca(RotateCaArgs),

    /// Replace every manager's, agent's and operator's certificate, and its key
    ///
    /// Managers renew at once, agents as they are told over their sessions, operators' contexts with
    /// the next command that they are used for. Each makes another key. Once a holder was seen to use
    /// its new certificate every other that it had is refused, and what began with one is cut. Tasks go
    /// on. It waits for managers, nodes and operators that are away, and names them; until then another
    /// one is refused. Remove who is gone for good, or leave agents and operators behind with
    /// `--cut-missing`. Not while the CA is rotated, which replaces all certificates, too.
    ///
    /// Heals a holder's key that leaked, as far as managers look at it. Does not heal a leaked CA key;
    /// and to agents and operators who has a manager's old key can pose as that manager until its
    /// certificate ends.
    #[command(visible_alias = "certs")]
    Certificates(RotateCertificatesArgs),
}

/// `cluster rotate certificates`
#[derive(Debug, Args)]
pub(crate) struct RotateCertificatesArgs {
    #[command(flatten)]
    pub(crate) rotation: RotateArgs,

    /// Do not begin one: end the one in progress, whoever has not renewed
    ///
    /// Nodes are removed and join anew then, operators enrol anew. Managers are never left behind.
    #[arg(long)]
    pub(crate) cut_missing: bool,
}

/// `cluster rotate ca`
#[derive(Debug, Args)]
pub(crate) struct RotateCaArgs {
    #[command(flatten)]
    pub(crate) rotation: RotateArgs,

    /// Do not begin one: end the one in progress, whoever has not moved
    ///
    /// Nodes are removed and join anew then, operators enrol anew. Managers are never left behind.
    #[arg(long)]
    pub(crate) drop_missing: bool,
}

/// Options of a rotation.
#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// Wait until every manager has finished; so it is unless told otherwise
    #[arg(long, conflicts_with = "no_wait")]
    pub(crate) wait: bool,

    /// Return once the rotation has begun
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// `cluster init`
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Where others reach this manager; the address it listens on unless given
    #[arg(long, value_name = "HOST:PORT", default_value = "", hide_default_value = true)]
    pub(crate) advertise_address: String,

    /// This machine's name in the cluster; its hostname unless given
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub(crate) hostname: String,

    /// Bytes of sealed secrets the cluster may hold; 1 GiB unless given
    ///
    /// Every manager keeps all of them in memory.
    #[arg(long, value_name = "BYTES", default_value_t = 0, hide_default_value = true)]
    pub(crate) payload_quota: u64,

    /// Lock managers: show an unlock key once, which every start of a manager needs
    ///
    /// The key is made here, and only its public half is sent. See `secretctl cluster update`.
    #[arg(long)]
    pub(crate) autolock: bool,
}

/// What to do with alarms.
#[derive(Debug, Subcommand)]
pub(crate) enum AlarmCommand {
    /// List the alarms that nobody cleared
    ///
    /// REASON is `stale` for a disk that is not the manager's last one, `alive` for a copy of it that
    /// asked while the manager ran, `evicted` for one of a manager that was removed.
    #[command(alias = "list")]
    Ls,

    /// Say that an alarm was seen to
    ///
    /// It comes back if somebody asks again.
    Clear {
        /// The member, by number or hostname
        member: String,
    },
}

/// Whether managers unlock one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PeersArg {
    /// They do not
    Off,
    /// With an operator's consent each time
    Approve,
    /// By themselves
    Auto,
}

/// `cluster update`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub(crate) struct ClusterUpdateArgs {
    /// Whether a manager that starts waits for the unlock key
    #[arg(long, value_enum, value_name = "ON|OFF", group = "change")]
    pub(crate) autolock: Option<SwitchArg>,

    /// Whether the cluster keeps the unlock key, so that admins can read it back
    ///
    /// Turning it on asks for the key. It is kept under the root key: who has a manager's memory, or a
    /// root key and the state, has it as well. It goes when it is replaced or forgotten; a rotation
    /// keeps the next one, too.
    #[arg(long, value_enum, value_name = "ON|OFF", group = "change")]
    pub(crate) read_back: Option<SwitchArg>,

    /// Whether a manager that was restarted is unlocked by the others
    #[arg(long, value_enum, value_name = "POLICY", group = "change")]
    pub(crate) peers: Option<PeersArg>,

    /// How long to wait until the managers that answer have followed and have new log keys
    #[arg(long, value_name = "DURATION", value_parser = instant::parse_duration,
          default_value = "5m")]
    pub(crate) wait: Duration,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SwitchArg {
    /// It is done
    #[value(alias = "true")]
    On,
    /// It is not done
    #[value(alias = "false")]
    Off,
}

/// `cluster unlock-key`
#[derive(Debug, Args)]
pub(crate) struct UnlockKeyArgs {
    /// Make a new unlock key in place of the present one
    #[arg(long)]
    pub(crate) rotate: bool,

    /// Somebody may have had a copy of a manager's disk, too: rotate the root key with it, and list
    /// the values to replace
    #[arg(long, requires = "rotate")]
    pub(crate) compromised: bool,

    /// How long to wait until the managers that answer have followed and have new log keys
    #[arg(long, value_name = "DURATION", value_parser = instant::parse_duration,
          default_value = "5m")]
    pub(crate) wait: Duration,
}

/// `cluster join`
#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// Managers of the cluster
    #[arg(required = true, value_name = "HOST:PORT")]
    pub(crate) managers: Vec<String>,

    /// The token that `secretctl cluster join-token manager` printed, or `-` to read it from
    /// standard input
    #[arg(long)]
    pub(crate) token: String,

    /// Where others reach this manager; the address it listens on unless given
    #[arg(long, value_name = "HOST:PORT", default_value = "", hide_default_value = true)]
    pub(crate) advertise_address: String,

    /// This machine's name in the cluster; its hostname unless given
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub(crate) hostname: String,
}

/// `cluster join-token`
#[derive(Debug, Args)]
pub(crate) struct JoinTokenArgs {
    /// What it admits
    #[arg(value_enum, default_value = "agent")]
    pub(crate) role: JoinRoleArg,

    /// How long it is good for
    #[arg(long, value_name = "DURATION", value_parser = instant::parse_duration)]
    pub(crate) expires: Option<Duration>,

    /// How often it can be used
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) uses: Option<u32>,
}

/// What a join token admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum JoinRoleArg {
    /// A node that runs tasks
    #[value(alias = "worker")]
    Agent,
    /// A manager
    Manager,
}

/// What to do with join tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// List the join tokens that can still be used
    ///
    /// By id: the tokens themselves were shown once and are not kept.
    #[command(alias = "list")]
    Ls,

    /// Revoke join tokens
    ///
    /// Who joined with one stays.
    #[command(alias = "remove")]
    Rm {
        /// Ids of tokens
        #[arg(required = true, value_name = "TOKEN")]
        tokens: Vec<String>,
    },
}

/// What to do with members.
#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// List the cluster's managers
    ///
    /// The same table as in `secretctl cluster status`.
    #[command(alias = "list")]
    Ls,

    /// Remove a manager from the cluster
    ///
    /// The others must be able to decide without it. A manager that is up leaves by itself with
    /// `secretctl cluster leave`, and destroys its keys. Nobody sees that of one that is removed: its
    /// disk is to be treated as stolen, and `secretctl cluster keys` lists it from then on.
    #[command(alias = "remove")]
    Rm {
        /// The member, by number or hostname
        member: String,

        /// It is gone for good; refused if it answers
        #[arg(long)]
        lost: bool,
    },

    /// Tell the others where a manager is reached now
    ///
    /// For a machine that moved: the manager itself keeps its data and its certificate.
    SetAddress {
        /// The member, by number or hostname
        member: String,
        /// Its new address
        #[arg(value_name = "HOST:PORT")]
        address: String,
    },
}
