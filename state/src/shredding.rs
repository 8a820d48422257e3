//! What was removed, until no manager's disk can show it any more: tombstones.
//!
//! A secret that is removed leaves the state at once. The log that brought it, and snapshots of its
//! time, stay on the managers' disks until each manager has destroyed the log key they are under. A
//! tombstone says what that still takes, and, once it is done, who gave word of it.
//!
//! Not here: when entries bring that about (apply), how a log key is destroyed (store), whether a
//! manager's word is true.
//!
//! Invariants: a tombstone is `shredded` only when every member of that moment has given word of a
//! log key rotation that began after the removal, and after the retirement of the transit key that
//! the value came under; one that is not shredded is never dropped, only its name may be; a
//! tombstone holds neither a payload nor a wrap.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use proto::id::{KeyId, MemberId, Revision, SecretId, Timestamp, Version};
use proto::identity::Principal;
use proto::limits::SHREDDING_BEGINS_WITHIN_MS;
use proto::name::SecretName;

use crate::state::State;

/// What has to happen before something that was removed is gone from every disk.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Need {
    /// The log key rotation of which every member has to give word: the first that began, or will
    /// begin, after the removal and after the last of the transit keys was retired.
    #[n(0)]
    pub epoch: u64,
    /// Transit keys that the value came under and that are not retired yet. With one, and a
    /// recording of the client's request, the value opens.
    #[n(1)]
    pub transit_keys: BTreeSet<KeyId>,
    /// When that rotation began to be needed.
    #[n(2)]
    pub since: Timestamp,
    /// Whether an operator asked not to wait for what happens anyway.
    #[n(3)]
    pub urgent: bool,
}

impl Need {
    /// The need of both: fulfilled when each of them is.
    pub(crate) fn join(&mut self, other: Self) {
        self.epoch = self.epoch.max(other.epoch);
        self.transit_keys.extend(other.transit_keys);
        self.since = self.since.min(other.since);
        self.urgent |= other.urgent;
    }
}

/// One member's word that nothing on its disk is under the log keys of before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Word {
    /// Whose.
    #[n(0)]
    pub member: MemberId,
    /// The last log key rotation it had finished.
    #[n(1)]
    pub epoch: u64,
}

/// That something is gone from every disk, by the members' words.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Shredded {
    /// When the last word came.
    #[n(0)]
    pub at: Timestamp,
    /// Every member of that moment.
    #[n(1)]
    pub words: Vec<Word>,
}

/// A secret that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Tombstone {
    /// Its id.
    #[n(0)]
    pub secret_id: SecretId,
    /// The name it had.
    #[n(1)]
    pub name: SecretName,
    /// The versions that went with it.
    #[n(2)]
    pub versions: Vec<Version>,
    /// When the first of them was made: members that left since then may have kept it.
    #[n(3)]
    pub created_at: Timestamp,
    /// When it was removed.
    #[n(4)]
    pub removed_at: Timestamp,
    /// By whom.
    #[n(5)]
    pub removed_by: Principal,
    /// What is, or was, needed.
    #[n(6)]
    pub need: Need,
    /// Set once nothing is needed any more.
    #[n(7)]
    pub shredded: Option<Shredded>,
}

/// Removed secrets whose names were given up, since there were too many that wait.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Unnamed {
    /// How many.
    #[n(0)]
    pub count: u64,
    /// When the first of them was removed.
    #[n(1)]
    pub removed_from: Timestamp,
    /// What all of them need.
    #[n(2)]
    pub need: Need,
}

/// A member that is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Departed {
    /// When it was removed.
    #[n(0)]
    pub at: Timestamp,
    /// The last log key rotation it gave word of.
    #[n(1)]
    pub epoch: u64,
}

/// Everything that was removed and is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shredding {
    /// By the index of the removal: oldest first.
    pub(crate) tombstones: BTreeMap<Revision, Tombstone>,
    pub(crate) unnamed: Option<Unnamed>,
    /// Every member that was ever removed.
    pub(crate) departed: BTreeMap<MemberId, Departed>,
}

impl Shredding {
    /// What was removed, by the index of the removal: oldest first.
    pub const fn tombstones(&self) -> &BTreeMap<Revision, Tombstone> {
        &self.tombstones
    }

    /// What is shredding though its name is forgotten.
    pub const fn unnamed(&self) -> Option<&Unnamed> {
        self.unnamed.as_ref()
    }

    /// What was removed of a secret of this id: what is not shredded yet, else the last of it.
    pub fn of(&self, id: SecretId) -> Option<(Revision, &Tombstone)> {
        let newest_first = || self.tombstones.iter().rev().filter(|(_, it)| it.secret_id == id);
        let waits = newest_first().find(|(_, it)| it.shredded.is_none());
        waits.or_else(|| newest_first().next()).map(|(at, it)| (*at, it))
    }

    /// Members that left with a disk on which it may still open: they were removed after it was
    /// made, and without word of a rotation that counts for it.
    pub fn without_proof(&self, tombstone: &Tombstone) -> impl Iterator<Item = MemberId> {
        let left = self.departed.iter().filter(move |(_, departed)| {
            departed.at >= tombstone.created_at && departed.epoch < tombstone.need.epoch
        });
        left.map(|(id, _)| *id)
    }

    /// What is needed by all that is not shredded.
    pub fn needs(&self) -> impl Iterator<Item = &Need> {
        let waiting = self.tombstones.values().filter(|it| it.shredded.is_none());
        waiting.map(|it| &it.need).chain(self.unnamed.iter().map(|it| &it.need))
    }

    pub(crate) fn needs_mut(&mut self) -> impl Iterator<Item = &mut Need> {
        let waiting = self.tombstones.values_mut().filter(|it| it.shredded.is_none());
        waiting.map(|it| &mut it.need).chain(self.unnamed.iter_mut().map(|it| &mut it.need))
    }
}

/// What the leader does next so that what was removed is shredded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShreddingStep {
    /// Retire a transit key.
    RetireTransitKey(KeyId),
    /// Make another transit key, so that the current one can be retired.
    MakeTransitKey,
    /// Want a log key rotation.
    RotateLogKeys,
}

/// What to propose next so that what was removed is shredded in time; nothing if that waits for
/// somebody, or for time alone.
///
/// Where an operator asked for it, transit keys first: the rotation that follows takes the log of
/// their retirement along. Else only a rotation, and only if none came by itself within
/// [`SHREDDING_BEGINS_WITHIN_MS`]; transit keys rotate weekly.
pub fn shredding_step(state: &State, now: Timestamp) -> Option<ShreddingStep> {
    let cluster = state.cluster()?;
    let urgent = state.shredding().needs().filter(|need| need.urgent);
    let transit: BTreeSet<_> = urgent.flat_map(|need| need.transit_keys.iter().copied()).collect();
    let current = cluster.current_transit;
    if let Some(old) = transit.iter().find(|id| **id != current) {
        return Some(ShreddingStep::RetireTransitKey(*old));
    }
    if transit.contains(&current) {
        let other = cluster.transit_keys.keys().find(|id| **id != current);
        // Two live at a time: the older one makes room.
        return Some(other.map_or(ShreddingStep::MakeTransitKey, |other| {
            ShreddingStep::RetireTransitKey(*other)
        }));
    }
    let keys = state.log_keys();
    let due = |need: &Need| {
        let old = now.ms_since(need.since) >= SHREDDING_BEGINS_WITHIN_MS;
        need.epoch > keys.wanted && (need.urgent || old)
    };
    let wanted = state.shredding().needs().any(due) && state.log_keys_pending().is_empty();
    wanted.then_some(ShreddingStep::RotateLogKeys)
}
