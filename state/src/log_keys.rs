//! Which log key every manager has: what is wanted of all, and what each gave word of.
//!
//! Log keys are each manager's own and never here; their ids are, so that a rotation can be proved
//! done. The cluster counts rotations it wants (*epochs*); a manager whose epoch is behind rotates
//! and gives word. Not here: how a manager rotates (store).
//!
//! Invariants: a manager's epoch rises only with a key that it did not have before; no epoch is
//! wanted before every manager has reached the last one; after a slot was taken from the recipients,
//! or a root key was destroyed, an epoch begins, at once or after the one that is under way.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use proto::id::{KeyId, MemberId, Timestamp};

/// What is known of one manager's log key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct MemberLogKey {
    /// The last rotation it finished, or the one that was wanted when it was admitted.
    #[n(0)]
    pub epoch: u64,
    /// The key it had when it last gave word; none before that.
    #[n(1)]
    pub key: Option<KeyId>,
    /// When it gave word.
    #[n(2)]
    pub since: Timestamp,
}

/// The log keys of all managers, by their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct LogKeys {
    /// How many rotations were wanted so far.
    #[n(0)]
    pub wanted: u64,
    /// When the last one was.
    #[n(1)]
    pub wanted_at: Timestamp,
    /// Managers that gave word, or were admitted after a rotation.
    #[n(2)]
    pub members: BTreeMap<MemberId, MemberLogKey>,
    /// Since when another one is to follow the last, which is under way; none if none is.
    #[n(3)]
    pub next_since: Option<Timestamp>,
}

impl LogKeys {
    /// What is known of a manager's key.
    pub fn of(&self, member: MemberId) -> MemberLogKey {
        self.members.get(&member).copied().unwrap_or_default()
    }

    /// The last rotation that is wanted or is to follow.
    pub const fn last(&self) -> u64 {
        if self.next_since.is_some() { self.wanted + 1 } else { self.wanted }
    }
}
