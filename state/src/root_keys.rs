//! The rotation of the root key: who has the new one, what is still under the old one, who has
//! destroyed that.
//!
//! A root key is never here, only its id. A rotation goes through [`Phase`]s, each of which begins
//! with one entry: the key is announced; once a majority of the voters holds it, new wraps are made
//! under it; what lies under the old key is wrapped anew, item by item; once nothing does and every
//! member holds the new key, the old one is retired, and every member destroys it; then log keys
//! rotate, since logs and snapshots of before hold wraps under it. Not here: making, fetching,
//! destroying keys, wrapping (store).
//!
//! Invariants: one rotation at a time; no wrap is made under a key that is not active; an item is
//! wrapped anew only in place of the wrap that it was made from; a key is retired only when nothing
//! is under it and every member has said that it holds the next.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use proto::id::{KeyId, MemberId, SecretId, Timestamp, Version};
use proto::identity::Principal;
use proto::sealed::WrappedKey;
use sha2::Digest as _;

use crate::object::{Digest, MemberState};
use crate::state::State;

/// Where a rotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Phase {
    /// The new key's id is known; members fetch it. Nothing is under it yet.
    #[n(0)]
    Announced,
    /// New wraps are made under it, and the others are made anew.
    #[n(1)]
    Active,
    /// Nothing is under the old key: members destroy it.
    #[n(2)]
    Retired,
    /// All have. Log keys rotate.
    #[n(3)]
    LogKeys {
        /// The rotation of log keys that this one ends with.
        #[n(0)]
        epoch: u64,
    },
}

/// A rotation that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RootRotation {
    /// The new key.
    #[n(0)]
    pub id: KeyId,
    /// The one it takes the place of.
    #[n(1)]
    pub old: KeyId,
    /// When it began.
    #[n(2)]
    pub began_at: Timestamp,
    /// Who asked for it.
    #[n(3)]
    pub asked_by: Principal,
    /// Who made the key.
    #[n(4)]
    pub announced_by: MemberId,
    /// Where it is.
    #[n(5)]
    pub phase: Phase,
    /// Members that said they hold the new key, durably.
    #[n(6)]
    pub held_by: BTreeSet<MemberId>,
    /// Members that said they have destroyed the old one.
    #[n(7)]
    pub destroyed_by: BTreeSet<MemberId>,
    /// How many objects were under the old key when the new one became active.
    #[n(8)]
    pub objects: u64,
}

/// The last rotation that was completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct FinishedRoot {
    /// The key that it brought.
    #[n(0)]
    pub id: KeyId,
    /// The key that it destroyed.
    #[n(1)]
    pub old: KeyId,
    /// When it began.
    #[n(2)]
    pub began_at: Timestamp,
    /// When it ended.
    #[n(3)]
    pub ended_at: Timestamp,
}

/// A member that was removed without having shown that its keys are destroyed: its disk is to be
/// treated as stolen.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Unproved {
    /// Its hostname.
    #[n(0)]
    pub hostname: String,
    /// Where it was reached.
    #[n(1)]
    pub address: String,
    /// When it was removed.
    #[n(2)]
    pub removed_at: Timestamp,
    /// The root key that was active then.
    #[n(3)]
    pub root: Option<KeyId>,
}

/// Root keys, by their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct RootKeys {
    /// How many rotations were begun so far.
    #[n(0)]
    pub number: u64,
    /// The one that is under way.
    #[n(1)]
    pub rotation: Option<RootRotation>,
    /// The last one that was completed.
    #[n(2)]
    pub last: Option<FinishedRoot>,
    /// Members that were removed without proof.
    #[n(3)]
    pub unproved: BTreeMap<MemberId, Unproved>,
}

/// What a root key wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Wrapped {
    /// The CA's key.
    #[n(0)]
    Authority,
    /// A transit key's private half.
    #[n(1)]
    Transit(#[n(0)] KeyId),
    /// The data key of a secret's version.
    #[n(2)]
    Secret {
        /// Which secret.
        #[n(0)]
        id: SecretId,
        /// Which of its values.
        #[n(1)]
        version: Version,
    },
    /// The private half of a member's peer key.
    #[n(3)]
    Peer {
        /// Whose.
        #[n(0)]
        member: MemberId,
        /// Of which of its generations.
        #[n(1)]
        generation: u64,
    },
    /// The unlock key that is kept.
    #[n(10)]
    UnlockKey,
    /// The key of the CA that is rotated in.
    #[n(11)]
    NextAuthority,
}

/// The digest by which a wrap is named: SHA-256 of its bytes.
pub fn wrap_digest(wrap: &WrappedKey) -> Digest {
    Digest(sha2::Sha256::digest(wrap.as_bytes()).into())
}

impl RootRotation {
    /// Whether the old key is still needed.
    pub const fn needs_old(&self) -> bool {
        matches!(self.phase, Phase::Announced | Phase::Active)
    }
}

impl State {
    /// Root keys, by their ids.
    pub const fn root_keys(&self) -> &RootKeys {
        &self.root_keys
    }

    /// Root keys that a member is to hold: those that something is, or will be, under.
    pub fn root_keys_wanted(&self) -> BTreeSet<KeyId> {
        let active = self.cluster.as_ref().map(|cluster| cluster.active_root);
        let rotation = self.root_keys.rotation.as_ref().filter(|rotation| rotation.needs_old());
        let both = rotation.into_iter().flat_map(|rotation| [rotation.old, rotation.id]);
        active.into_iter().chain(both).collect()
    }

    /// How many objects are wrapped under a root key.
    pub fn wraps_under(&self, root: KeyId) -> u64 {
        let secrets = self.wraps_by_root.get(&root).copied().unwrap_or_default();
        let Some(cluster) = &self.cluster else { return secrets };
        let transit = cluster.transit_keys.values().map(|key| &key.wrapped_key);
        let peers = self.boot.generations().map(|(_, one)| &one.made_of.wrapped_key);
        let kept = cluster.kept_unlock_key.iter().map(|kept| &kept.wrapped_key);
        let others = transit.chain(peers).chain(kept);
        let others = others.chain(self.authorities().map(|authority| &authority.wrapped_key));
        secrets + others.filter(|wrap| wrap.key_id() == root).count() as u64
    }

    /// Members that the rotation under way waits for; nobody if none is, or if it waits for what
    /// is wrapped anew.
    pub fn root_rotation_pending(&self) -> Vec<MemberId> {
        let Some(rotation) = &self.root_keys.rotation else { return Vec::new() };
        let is_behind = |id: &MemberId| match rotation.phase {
            Phase::Announced | Phase::Active => !rotation.held_by.contains(id),
            Phase::Retired => !rotation.destroyed_by.contains(id),
            Phase::LogKeys { epoch } => self.log_keys.of(*id).epoch < epoch,
        };
        self.members.keys().filter(|id| is_behind(id)).copied().collect()
    }

    /// Whether a majority of the voters holds the key that is rotated in. Members that are about to
    /// vote count, too: they may vote by now, though this state has not heard of it.
    pub fn root_is_held_by_majority(&self) -> bool {
        let Some(rotation) = &self.root_keys.rotation else { return false };
        let holds = |may_count: fn(MemberState) -> bool| {
            let counted = self.members.iter().filter(|(_, member)| may_count(member.state));
            let (all, held) = counted.fold((0, 0), |(all, held), (id, _)| {
                (all + 1, held + usize::from(rotation.held_by.contains(id)))
            });
            held > all / 2
        };
        holds(|state| matches!(state, MemberState::Voter | MemberState::Leaving))
            && holds(|state| state != MemberState::Joining)
    }
}
