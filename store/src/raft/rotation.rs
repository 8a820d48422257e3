//! Rotating this manager's log key: what comes next, worked out from what is durable.
//!
//! A new key is made durable in the key file and seals everything from then on. Records are never
//! sealed anew: once all of those under the old key are applied, a snapshot under the new one
//! covers them and they are purged. When nothing on the disk is under the old key any more it is
//! destroyed: what sled, the filesystem and the medium keep of deleted bytes opens no more, and
//! that alone is the proof.
//!
//! [`next_step`] is pure and has no memory: a manager that was killed goes on where its disk says
//! it is. [`Rotation`] carries steps out. Not here: whether a rotation is wanted (state), telling
//! that it is done (manager, report).
//!
//! Invariants: a key is made only when the key file is sealed to the present recipients, so that no
//! slot that was taken away before ever opens a file that it stands in; a key is destroyed only when
//! nothing on the disk is under it, nothing is being written under it, and nothing can begin to be.

#[cfg(test)]
pub(crate) mod alone;
mod carry_out;
#[cfg(test)]
mod crash_tests;

use std::io;
use std::sync::Arc;

use proto::id::KeyId;
use seal::LogKey;

pub(crate) use self::carry_out::Rotation;
use super::log::LogKeyIds;
use super::snapshot::SnapshotKey;

/// Where log keys are kept: the key file.
pub(crate) trait KeyKeeper: Send + Sync + 'static {
    /// Ids of the log keys that are kept, oldest first, and the one that seals.
    fn log_ids(&self) -> (Vec<KeyId>, KeyId);

    /// The generation of the recipients that the keys are sealed to, durably.
    fn generation(&self) -> u64;

    /// One of the keys that are kept.
    fn log_key(&self, id: KeyId) -> Option<Arc<LogKey>>;

    /// Keeps a new key as the one that seals, durably.
    ///
    /// # Errors
    ///
    /// If it could not be made durable: it must not be used.
    fn add_log_key(&self, key: Arc<LogKey>) -> io::Result<()>;

    /// Keeps these keys no longer, durably; the one that seals stays.
    ///
    /// # Errors
    ///
    /// If that could not be made durable.
    fn destroy_log_keys(&self, gone: &[KeyId]) -> io::Result<()>;
}

/// Where a manager is: its key file, its memory, its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    /// Whether the key file is sealed to the recipients of this manager's state.
    pub(crate) sealed_anew: bool,
    /// Ids of the log keys in the key file, oldest first.
    pub(crate) kept: Vec<KeyId>,
    /// The one that the key file says seals.
    pub(crate) active: KeyId,
    /// The one that seals in this process.
    pub(crate) used: KeyId,
    /// Under which keys the log is.
    pub(crate) log: LogKeyIds,
    /// Under which keys the snapshot files are, oldest first.
    pub(crate) snapshots: Vec<SnapshotKey>,
    /// Whether a file is being written under an old key.
    pub(crate) old_files: bool,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: one key, and everything is under it.
    Rest,
    /// Make a key and keep it.
    MakeKey,
    /// Seal under the key that the key file says, and the small values at once.
    Use(KeyId),
    /// Seal the small values and the head anew.
    Rewrite,
    /// Make a snapshot, once everything up to here is applied.
    Snapshot {
        /// The last record that it must cover.
        covering: u64,
    },
    /// Give up the records that the snapshot covers.
    Purge {
        /// The last of them.
        to: u64,
    },
    /// Wait for what is going on: records being removed, files being written.
    Await(&'static str),
    /// Keep these keys no longer.
    Destroy(Vec<KeyId>),
}

impl Step {
    /// What it waits for or does, for people.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Rest => String::new(),
            Self::MakeKey => "makes a new log key".into(),
            Self::Use(_) | Self::Rewrite => "seals vote and head under the new key".into(),
            Self::Snapshot { covering } => {
                format!("applies its log up to {covering} and makes a snapshot under the new key")
            }
            Self::Purge { to } => format!("gives up its log up to {to}"),
            Self::Await(what) => (*what).into(),
            Self::Destroy(_) => "destroys the old key".into(),
        }
    }
}

/// What comes next for a manager that is there; `due` says whether a new key is wanted. A rotation
/// that has begun is finished whether or not one is wanted.
pub(crate) fn next_step(position: &Position, due: bool) -> Step {
    let Position { sealed_anew, kept, active, used, log, snapshots, old_files } = position;
    let current = |id: &Option<KeyId>| *id == Some(*active);
    let gone: Vec<_> = kept.iter().filter(|id| *id != active).copied().collect();
    if used != active {
        return Step::Use(*active);
    }
    if gone.is_empty() {
        return match due {
            false => Step::Rest,
            true if !sealed_anew => Step::Await("waits until its key file is sealed anew"),
            true => Step::MakeKey,
        };
    }
    if !log.metas.iter().chain(&log.heads).all(current) {
        return Step::Rewrite;
    }
    if let Some(covering) = log.last_old_record {
        return match snapshots.last() {
            Some(newest) if newest.index >= covering && current(&newest.key) => {
                Step::Purge { to: newest.index }
            }
            _ => Step::Snapshot { covering },
        };
    }
    if log.leftovers {
        return Step::Await("waits until the old records are removed");
    }
    if let Some(newest) = snapshots.last()
        && !snapshots.iter().all(|snapshot| current(&snapshot.key))
    {
        return Step::Snapshot { covering: newest.index };
    }
    if *old_files {
        return Step::Await("waits until a snapshot that is being written is finished");
    }
    Step::Destroy(gone)
}

/// What a manager that has one key, under which everything is, still owes the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owes {
    /// Nothing.
    Nothing,
    /// A new key, for this epoch.
    Rotation(u64),
    /// Word that its key is the one of this epoch.
    Word(u64),
}

/// Compares what the cluster wants and knows with the key that is held. `told` is the epoch and
/// key of the last word of this manager that was committed; `finished` what it finished itself
/// since it started.
///
/// No manager is asked for a second rotation before all have given word of the first: so a key that
/// is not the one the cluster knows was made for the epoch that is wanted now.
pub(crate) fn owes(
    wanted: u64,
    told: (u64, Option<KeyId>),
    held: KeyId,
    finished: Option<(u64, KeyId)>,
) -> Owes {
    let (epoch, known) = told;
    if let Some((finished, key)) = finished
        && key == held
        && finished > epoch
    {
        return Owes::Word(finished);
    }
    match known {
        Some(known) if known == held && epoch < wanted => Owes::Rotation(wanted),
        Some(known) if known == held => Owes::Nothing,
        None if epoch < wanted => Owes::Rotation(wanted),
        Some(_) | None => Owes::Word(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: KeyId = KeyId::from_bytes([1; 16]);
    const B: KeyId = KeyId::from_bytes([2; 16]);

    fn snapshot(index: u64, key: KeyId) -> SnapshotKey {
        SnapshotKey { index, key: Some(key) }
    }

    /// A manager that has just made key B durable.
    fn begun() -> Position {
        Position {
            sealed_anew: true,
            kept: vec![A, B],
            active: B,
            used: A,
            log: LogKeyIds {
                oldest_record: Some(A),
                last_old_record: Some(9),
                leftovers: false,
                metas: vec![Some(A); 3],
                heads: vec![Some(A); 2],
            },
            snapshots: vec![snapshot(5, A)],
            old_files: true,
        }
    }

    #[test]
    fn every_position_has_its_step_in_order() {
        let mut at = Position { kept: vec![A], active: A, ..begun() };
        assert_eq!(next_step(&at, false), Step::Rest);
        assert_eq!(next_step(&at, true), Step::MakeKey);
        at = begun();
        assert_eq!(next_step(&at, true), Step::Use(B));
        at.used = B;
        assert_eq!(next_step(&at, true), Step::Rewrite);
        at.log.metas = vec![Some(B), Some(A), Some(B)];
        assert_eq!(next_step(&at, true), Step::Rewrite);
        at.log.metas = vec![Some(B); 3];
        at.log.heads = vec![Some(B), None];
        assert_eq!(next_step(&at, true), Step::Rewrite, "what cannot be read is not under B");
        at.log.heads = vec![Some(B); 2];
        assert_eq!(next_step(&at, true), Step::Snapshot { covering: 9 });
        at.snapshots = vec![snapshot(5, A), snapshot(12, A)];
        assert_eq!(next_step(&at, true), Step::Snapshot { covering: 9 }, "it is under the old key");
        at.snapshots = vec![snapshot(5, A), snapshot(8, B)];
        assert_eq!(next_step(&at, true), Step::Snapshot { covering: 9 }, "it covers too little");
        at.snapshots = vec![snapshot(5, A), snapshot(12, B)];
        assert_eq!(next_step(&at, true), Step::Purge { to: 12 });
        at.log.last_old_record = None;
        at.log.leftovers = true;
        assert!(matches!(next_step(&at, true), Step::Await(_)));
        at.log.leftovers = false;
        assert_eq!(next_step(&at, true), Step::Snapshot { covering: 12 }, "an old file is there");
        at.snapshots = vec![snapshot(12, B)];
        assert!(matches!(next_step(&at, true), Step::Await(_)), "a file is being written under A");
        at.old_files = false;
        assert_eq!(next_step(&at, true), Step::Destroy(vec![A]));
        at.kept = vec![B];
        assert_eq!(next_step(&at, false), Step::Rest);
    }

    /// A key goes only when no part of the disk is under it, each part by itself.
    #[test]
    fn no_single_trace_of_the_old_key_lets_it_go() {
        let clean = Position {
            used: B,
            log: LogKeyIds {
                oldest_record: Some(B),
                last_old_record: None,
                leftovers: false,
                metas: vec![Some(B); 3],
                heads: vec![Some(B); 2],
            },
            snapshots: vec![snapshot(12, B)],
            old_files: false,
            ..begun()
        };
        assert_eq!(next_step(&clean, false), Step::Destroy(vec![A]));
        let traces: [fn(&mut Position); 7] = [
            |at| at.used = A,
            |at| at.log.last_old_record = Some(3),
            |at| at.log.leftovers = true,
            |at| at.log.metas[2] = Some(A),
            |at| at.log.heads[1] = Some(A),
            |at| at.snapshots.insert(0, snapshot(1, A)),
            |at| at.old_files = true,
        ];
        for (number, trace) in traces.into_iter().enumerate() {
            let mut at = clean.clone();
            trace(&mut at);
            assert!(!matches!(next_step(&at, false), Step::Destroy(_)), "trace {number}");
        }
    }

    #[test]
    fn a_rotation_that_has_begun_is_finished_first() {
        // Another one is wanted meanwhile: no third key is made.
        let mut at = begun();
        for used in [A, B] {
            at.used = used;
            assert_ne!(next_step(&at, true), Step::MakeKey);
        }
        // Nobody knows of it any more: it is finished all the same.
        assert_eq!(next_step(&begun(), false), Step::Use(B));
    }

    /// A slot that was taken away opens the key file until it is sealed anew.
    #[test]
    fn no_key_is_made_for_a_file_that_former_recipients_open() {
        let mut at = Position { sealed_anew: false, kept: vec![A], active: A, ..begun() };
        assert!(matches!(next_step(&at, true), Step::Await(_)));
        assert_eq!(next_step(&at, false), Step::Rest);
        at.sealed_anew = true;
        assert_eq!(next_step(&at, true), Step::MakeKey);
        // What has begun is finished, whoever opens the file meanwhile: another one follows.
        assert_eq!(next_step(&Position { sealed_anew: false, ..begun() }, true), Step::Use(B));
    }

    #[test]
    fn what_is_owed_follows_from_the_key() {
        assert_eq!(owes(0, (0, None), A, None), Owes::Word(0), "the first word");
        assert_eq!(owes(0, (0, Some(A)), A, None), Owes::Nothing);
        assert_eq!(owes(1, (0, Some(A)), A, None), Owes::Rotation(1));
        assert_eq!(owes(1, (0, None), A, None), Owes::Rotation(1), "nobody knows how old A is");
        // Killed between destroying the old key and the word of it.
        assert_eq!(owes(1, (0, Some(A)), B, None), Owes::Word(1));
        assert_eq!(owes(1, (0, None), B, Some((1, B))), Owes::Word(1));
        assert_eq!(owes(1, (1, Some(B)), B, Some((1, B))), Owes::Nothing);
        assert_eq!(owes(2, (1, Some(B)), B, Some((1, B))), Owes::Rotation(2));
    }
}
