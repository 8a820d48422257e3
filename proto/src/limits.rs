//! Every bound of the system, one constant each, with its reason.
//!
//! Not here: timeouts (they belong to the connection that waits) and tuning of the disk.
//! Invariant: each bound is tested at the bound and one past it, where it is enforced.

/// Longest secret or config name, in bytes. Docker Swarm's bound, so that names move over.
pub const NAME_BYTES_MAX: usize = 64;

/// Longest service, node or network name, in bytes: one DNS label (RFC 1035 §2.3.4).
pub const DNS_NAME_BYTES_MAX: usize = 63;

/// Longest hostname, in bytes: `HOST_NAME_MAX` of Linux.
pub const HOSTNAME_BYTES_MAX: usize = 64;

/// Largest secret value, in bytes. Room for a key store or a CA bundle; more is a file, and
/// every manager holds every value in memory.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Largest sealed payload, in bytes: the bucket of the largest value (an eighth more), the frame's
/// length, the header of its ciphertext and the tag.
pub const CIPHERTEXT_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + PAYLOAD_BYTES_MAX / 8 + 256;

/// Largest wrapped key, in bytes. A wrapped DEK is 122; an ML-KEM box would be 1.2 KiB.
pub const WRAPPED_KEY_BYTES_MAX: usize = 2048;

/// Largest value of a config, in bytes: Docker's number, below the largest message with room to spare.
pub const CONFIG_BYTES_MAX: usize = 1_000 << 10;

/// Configs of one cluster: each stack has a few, and managers keep all of them in memory.
pub const CONFIGS_MAX: usize = 10_000;

/// Bytes of the values of all configs of a cluster. Every manager keeps them in memory, and each of its
/// snapshots has them: what is larger is data, for which there are file servers.
pub const CONFIGS_BYTES_MAX: u64 = 256 << 20;

/// Labels of one object. More is a database.
pub const LABELS_MAX: usize = 64;

/// Longest label key, in bytes.
pub const LABEL_KEY_BYTES_MAX: usize = 128;

/// Longest label value, in bytes.
pub const LABEL_VALUE_BYTES_MAX: usize = 1024;

/// Longest file name under `/run/secrets`: `NAME_MAX` of Linux, per component.
pub const TARGET_COMPONENT_BYTES_MAX: usize = 255;

/// Longest target path, in bytes. Well under `PATH_MAX`, so that the prefix always fits.
pub const TARGET_BYTES_MAX: usize = 1024;

/// Secrets, and once more configs, that one service may refer to. The tmpfs of a task is sized for them.
pub const REFERENCES_MAX: usize = 128;

/// Arguments of a command, and entries of an environment.
pub const ARGUMENTS_MAX: usize = 1024;

/// Total bytes of the texts in one service spec: a bound on what a deployer can put in the log.
pub const SPEC_BYTES_MAX: usize = 256 << 10;

/// Bytes of one front's extension of a service spec, kept verbatim for it.
pub const EXTENSION_BYTES_MAX: usize = 64 << 10;

/// Placement constraints of one service.
pub const CONSTRAINTS_MAX: usize = 64;

/// Longest placement constraint, in bytes.
pub const CONSTRAINT_BYTES_MAX: usize = 512;

/// Placement preferences of one service: each is another look at every node, and who has more kinds of
/// places within places has no more nodes.
pub const PREFERENCES_MAX: usize = 16;

/// Networks of one service: every task has a copy of the list, and a machine has fewer interfaces.
pub const NETWORKS_MAX: usize = 64;

/// Networks of one cluster: a stack has a few, and every manager holds all of them.
pub const CLUSTER_NETWORKS_MAX: usize = 1_000;

/// Bytes of what a front keeps with a network: addresses, options and labels, of which there are a few.
/// All networks go into one message between managers.
pub const NETWORK_BODY_BYTES_MAX: usize = 4 << 10;

/// Longest name of an operating system or an architecture that an agent may give, in bytes: those
/// that there are have a dozen.
pub const PLATFORM_BYTES_MAX: usize = 64;

/// Restarts within a window that a policy may allow: the time of each is kept in the task, and who
/// restarts more often within a window means no bound.
pub const RESTARTS_IN_WINDOW_MAX: u64 = 100;

/// Replicas of one service.
pub const REPLICAS_MAX: u64 = 10_000;

/// Alarms of requests in members' names that stand until an admin clears them. Members that were
/// removed have them, too: far more than a cluster of seven is asked about at a time.
pub const ALARMS_MAX: usize = 64;

/// Hosts that ask in one locked manager's name at a time, and that are shown to an operator: one is
/// the manager, and one more is news already.
pub const ASKING_HOSTS_MAX: usize = 8;

/// Managers of one cluster. Seven tolerate three failures; more only slow down every write.
pub const MANAGERS_MAX: usize = 7;

/// Nodes of one cluster.
pub const NODES_MAX: usize = 10_000;

/// Secrets of one cluster; each costs memory on every manager.
pub const SECRETS_MAX: usize = 1_000_000;

/// Services of one cluster.
pub const SERVICES_MAX: usize = 100_000;

/// Tasks of one cluster, history included.
pub const TASKS_MAX: usize = 1_000_000;

/// Operators of one cluster.
pub const OPERATORS_MAX: usize = 10_000;

/// Join tokens alive at a time.
pub const TOKENS_MAX: usize = 1_000;

/// Standing certificates, renewals of the same subject included.
pub const CERTIFICATES_MAX: usize = 100_000;

/// Certificates that were seen in use, in one entry of a CA rotation: an entry of 20 KiB, and each
/// makes the state look for who is left.
pub const MOVES_MAX: usize = 1_000;

/// Who may use a secret, beside its creator: entries of `usable_by`.
pub const USABLE_BY_MAX: usize = 64;

/// Bytes of sealed payloads a cluster holds, unless configured otherwise. Every manager keeps
/// all of it in memory.
pub const PAYLOAD_QUOTA_BYTES_DEFAULT: u64 = 1 << 30;

/// Answers remembered for retries, over all callers.
pub const REMEMBERED_REQUESTS_MAX: usize = 65_536;

/// Audit records kept in the state; older ones are only in the log of who exported them.
pub const AUDIT_RECORDS_MAX: usize = 10_000;

/// Versions of one secret that are kept.
pub const VERSIONS_MAX: usize = 16;

/// Removed secrets that are remembered by name. As many as audit records: whoever removes more has a
/// list of its own. Beyond it the oldest that are shredded are forgotten; of those that are not,
/// only the names.
pub const TOMBSTONES_MAX: usize = 10_000;

/// Time after which a log key rotation begins by itself if something that was removed still waits
/// for one, in milliseconds: 7 days, as often as transit keys rotate. More often would cost every
/// manager a snapshot; whoever cannot wait asks for it (`secretctl rm --shred`).
pub const SHREDDING_BEGINS_WITHIN_MS: u64 = 7 * 24 * 3600 * 1000;

/// Backups that are remembered, until an operator says that their files are destroyed: one a day for
/// nearly three years. Beyond it the oldest are counted, no longer named.
pub const BACKUPS_MAX: usize = 1_000;

/// Finished tasks kept per slot, and status changes kept per task (Swarm's number).
pub const HISTORY_MAX: usize = 5;

/// Longest message an agent may attach to a task status, in bytes.
pub const STATUS_MESSAGE_BYTES_MAX: usize = 512;

/// Keys wrapped anew in one log entry, during a rotation of the root key: 50 KiB, and a millisecond
/// of applying, so that what others propose waits no longer for it than for any group.
pub const REWRAPS_MAX: usize = 256;

/// Steps of a plan in one log entry: of the largest, a mebibyte, which leaves room in an entry.
pub const STEPS_MAX: usize = 1_000;

/// Task statuses in one message from an agent, and in one log entry.
pub const STATUSES_MAX: usize = 1_000;

/// Mounted values in one log entry of statuses: a megabyte, which leaves room for the statuses.
pub const MOUNTED_MAX: usize = 20_000;

/// Nodes in one log entry of what became known of them: 640 KiB, if each says what it may.
pub const NODE_NEWS_MAX: usize = 1_000;

/// Longest version of itself that an agent may give, in bytes.
pub const AGENT_VERSION_BYTES_MAX: usize = 64;

/// Largest message on any RPC, in bytes, but for the bulk streams of Raft: the largest sealed
/// payload and its envelope.
pub const MESSAGE_BYTES_MAX: usize = 2 << 20;

/// Largest command in one log entry, in bytes: a payload and the largest spec beside it. More is
/// refused before it is written: the log does not read it back.
pub const COMMAND_BYTES_MAX: usize = CIPHERTEXT_BYTES_MAX + (512 << 10);

/// One piece of a snapshot on the wire and on disk, in bytes.
pub const SNAPSHOT_CHUNK_BYTES: usize = 256 << 10;

/// One piece of a backup on the wire, in bytes: as one of a snapshot. Four are on their way at most,
/// so that a client that is slow costs a manager a megabyte.
pub const BACKUP_CHUNK_BYTES: usize = 256 << 10;

/// Longest line of a task's output that travels as one record; longer ones are split.
pub const OUTPUT_LINE_BYTES_MAX: usize = 16 << 10;

/// Arguments of a command that an operator runs in a task, its name included: what a shell is given, or
/// a list of files. Who has more pipes them.
pub const EXEC_ARGUMENTS_MAX: usize = 256;

/// Bytes of all of them: they fit one packet to the task's supervisor with room to spare.
pub const EXEC_ARGUMENTS_BYTES_MAX: usize = 32 << 10;

/// Bytes of input or output of such a command in one message: half of what a pipe holds, so that one
/// read empties what a program has written and memory is not asked for what does not come.
pub const EXEC_DATA_BYTES_MAX: usize = 32 << 10;

/// Bytes of one direction that are on their way at most, from the pipe of the command to whoever runs it
/// or back: what everything in between may hold. On a LAN it is some 100 MB/s; with 100 ms of way 2.5.
pub const EXEC_WINDOW_BYTES: u32 = 256 << 10;

/// Such commands at a time in one task: a few people who look at it, and a script.
pub const EXECS_OF_TASK_MAX: usize = 4;

/// On one node, whose agent's session shares a connection with them: with a window each they fit the
/// connection's four times.
pub const EXECS_OF_NODE_MAX: usize = 8;

/// By way of one manager, as long as they are asked of it: with a window each they fit a connection to
/// another manager with room to spare.
pub const EXECS_OF_MANAGER_MAX: usize = 24;

/// How long such a command may be silent in both directions, in seconds: a shell that somebody forgot
/// does not hold its place for ever. Four hours, as Kubernetes has it.
pub const EXEC_IDLE_SECONDS_MAX: u64 = 4 * 3600;

/// Longest network address accepted as text, in bytes: a DNS name and a port.
pub const ADDRESS_BYTES_MAX: usize = 260;

/// Fewest characters of a passphrase that unlocks managers. What people make up has two to three
/// bits a character; a generated one has 96.
pub const PASSPHRASE_CHARACTERS_MIN: usize = 14;

/// Longest passphrase, in bytes. Longer ones are files, for which there are other slots.
pub const PASSPHRASE_BYTES_MAX: usize = 1024;

/// Least memory of argon2id, in KiB: 64 MiB, the second recommendation of RFC 9106 (section 4). A
/// key file that asks for less was made by somebody else.
pub const ARGON2_MEMORY_KIB_MIN: u32 = 64 << 10;

/// Most memory of argon2id, in KiB: 1 GiB. A key file is not authenticated before it is opened, so
/// what it asks for is bounded by what a manager's host can spare.
pub const ARGON2_MEMORY_KIB_MAX: u32 = 1 << 20;

/// Fewest passes of argon2id: with 64 MiB, the second recommendation of RFC 9106.
pub const ARGON2_PASSES_MIN: u32 = 3;

/// Most passes of argon2id: with the most memory, some twenty seconds.
pub const ARGON2_PASSES_MAX: u32 = 16;

/// Most lanes of argon2id. They are computed one after the other: more would only help whoever
/// guesses. Four are those of RFC 9106's recommendations.
pub const ARGON2_LANES_MAX: u32 = 4;

/// Shares of one seed. More people are never in one room; each costs a hash in every key file.
pub const SHARES_MAX: u8 = 16;

/// How long a locked manager holds the shares that were entered, in seconds, from the first on: k
/// people come to a machine in that time, and who reads its memory afterwards finds none.
pub const SHARES_HELD_SECONDS: u64 = 600;

/// Slots that key files are sealed to; each costs bytes in every key file, and a look at locking.
pub const RECIPIENTS_MAX: usize = 16;

/// Bytes of what one slot keeps beside its public key: salts, costs, a path, ids of keys. A key
/// file with the most slots stays well under its bound.
pub const SLOT_PARAMETERS_BYTES_MAX: usize = 1 << 10;

/// Unlock keys that are remembered by id, so that an older one is told from a wrong one: whoever
/// keeps more than these has lost count.
pub const UNLOCK_KEYS_REMEMBERED: usize = 8;

/// Longest path of a command that unlocks, in bytes: half of what a slot may keep.
pub const SLOT_COMMAND_BYTES_MAX: usize = 512;

/// Longest time that a command that unlocks may have, in seconds: a manager stays locked while it
/// runs, and who tries it out waits.
pub const SLOT_COMMAND_SECONDS_MAX: u32 = 60;
