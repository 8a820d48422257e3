//! What opens managers, and how far they followed a change of it.

use core::fmt;

use proto::pb;
use serde::Serialize;

use super::{Member, MemberKeys, at, some_hex};
use crate::instant::format_duration;

/// An unlock key that was just made: in clear, this once.
#[derive(Serialize)]
pub(crate) struct NewUnlockKey<'a> {
    pub(crate) unlock_key: &'a str,
    pub(crate) unlock_key_id: String,
}

/// How far the managers followed a change of the locking.
#[derive(Serialize)]
pub(crate) struct Locking {
    pub(crate) autolock: bool,
    pub(crate) unlock_key_id: Option<String>,
    pub(crate) recipients_generation: u64,
    /// Whether every manager followed, and has a new log key.
    pub(crate) done: bool,
    pub(crate) followed: Vec<Member>,
    pub(crate) pending: Vec<Member>,
    pub(crate) log_key_rotation: FollowingRotation,
}

/// Whether the unlock key is kept.
#[derive(Serialize)]
pub(crate) struct ReadBack {
    pub(crate) read_back: bool,
    /// What forgetting it asked for.
    pub(crate) rotation: Option<FollowingRotation>,
}

/// The log key rotation that a change of the locking asked for.
#[derive(Serialize)]
pub(crate) struct FollowingRotation {
    pub(crate) number: u64,
    /// False while the one before is in progress.
    pub(crate) begun: bool,
    pub(crate) complete: bool,
    /// Managers that it, or the one before, waits for.
    pub(crate) waits_for: Vec<WaitedFor>,
}

/// A manager that a rotation waits for.
#[derive(Serialize)]
pub(crate) struct WaitedFor {
    pub(crate) member: u64,
    pub(crate) hostname: String,
    pub(crate) reason: Option<String>,
}

impl From<MemberKeys> for WaitedFor {
    fn from(member: MemberKeys) -> Self {
        Self { member: member.member, hostname: member.hostname, reason: member.waits_for }
    }
}

/// A slot that opens managers.
#[derive(Serialize)]
pub(crate) struct Slot {
    pub(crate) id: Option<String>,
    pub(crate) kind: String,
    /// The recipients' generation it came with.
    pub(crate) generation: u64,
    pub(crate) changed_at: Option<String>,
    pub(crate) opened_at: Option<String>,
    /// Whether it was opened since its last change, or works from the start.
    pub(crate) works: bool,
}

impl From<&pb::SlotInfo> for Slot {
    fn from(slot: &pb::SlotInfo) -> Self {
        Self {
            id: some_hex(&slot.id),
            kind: slot.kind.clone(),
            generation: slot.generation,
            changed_at: at(slot.changed_at),
            opened_at: Some(slot.opened_at).filter(|at| *at > 0).and_then(at),
            works: slot.works,
        }
    }
}

/// A slot with its parameters in words.
#[derive(Serialize)]
pub(crate) struct ListedSlot {
    #[serde(flatten)]
    pub(crate) slot: Slot,
    pub(crate) parameters: String,
}

/// A passphrase that was just made: in clear, this once.
#[derive(Serialize)]
pub(crate) struct NewPassphrase<'a> {
    pub(crate) passphrase: &'a str,
    pub(crate) slot_id: String,
}

/// Shares that were just made: in clear, this once.
#[derive(Serialize)]
pub(crate) struct NewShares<'a> {
    pub(crate) shares: &'a [&'a str],
    pub(crate) needed: u8,
    pub(crate) slot_id: String,
}

/// The shares of one slot that a locked manager holds.
#[derive(Serialize)]
pub(crate) struct EnteredShares {
    pub(crate) slot_id: Option<String>,
    pub(crate) numbers: Vec<u32>,
    pub(crate) needed: u32,
    pub(crate) forgotten_in_ms: u64,
}

impl From<&pb::EnteredShares> for EnteredShares {
    fn from(entered: &pb::EnteredShares) -> Self {
        Self {
            slot_id: some_hex(&entered.slot_id),
            numbers: entered.numbers.clone(),
            needed: entered.needed,
            forgotten_in_ms: entered.forgotten_in_ms,
        }
    }
}

impl fmt::Display for EnteredShares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.numbers.iter().map(u32::to_string).collect();
        let seconds = self.forgotten_in_ms / 1_000;
        write!(
            f,
            "{} of {} are there ({}), forgotten in {}",
            numbers.len(),
            self.needed,
            numbers.join(", "),
            format_duration(seconds * 1_000)
        )
    }
}

/// What came of a slot's command on one manager.
#[derive(Serialize)]
pub(crate) struct SlotTrial {
    pub(crate) member: u64,
    pub(crate) hostname: String,
    /// Whether the manager was there to try it.
    pub(crate) answered: bool,
    /// Why it did not open the slot.
    pub(crate) reason: Option<String>,
}

impl From<&pb::SlotTrial> for SlotTrial {
    fn from(trial: &pb::SlotTrial) -> Self {
        Self {
            member: trial.member,
            hostname: trial.hostname.clone(),
            answered: trial.answered,
            reason: Some(trial.reason.clone()).filter(|reason| !reason.is_empty()),
        }
    }
}

/// A slot that counts as working.
#[derive(Serialize)]
pub(crate) struct Proved {
    pub(crate) slot_id: Option<String>,
    /// What came of its command, if it has one.
    pub(crate) trials: Vec<SlotTrial>,
}

/// A slot's command that did not open a locked manager.
#[derive(Serialize)]
pub(crate) struct FailedCommand {
    pub(crate) slot_id: Option<String>,
    pub(crate) reason: String,
}

impl From<&pb::FailedCommand> for FailedCommand {
    fn from(failed: &pb::FailedCommand) -> Self {
        Self { slot_id: some_hex(&failed.slot_id), reason: failed.reason.clone() }
    }
}

/// How far the managers followed a change of the slots.
#[derive(Serialize)]
pub(crate) struct SlotsChanged {
    pub(crate) slot_id: String,
    pub(crate) recipients_generation: u64,
    /// Whether every manager followed and, after a removal, has a new log key.
    pub(crate) done: bool,
    pub(crate) followed: Vec<Member>,
    pub(crate) pending: Vec<Member>,
    /// What a removal asked for; nothing when a slot was added.
    pub(crate) log_key_rotation: Option<FollowingRotation>,
}

/// A manager that was unlocked.
#[derive(Serialize)]
pub(crate) struct Unlocked {
    pub(crate) slot: String,
    pub(crate) key_id: String,
    pub(crate) phase: String,
}

/// What no rotation helps.
#[derive(Serialize)]
pub(crate) struct Compromised {
    /// Values that somebody may have.
    pub(crate) replace: Vec<ToReplace>,
}

/// How far the root key was rotated with the unlock key.
#[derive(Serialize)]
pub(crate) struct RootRotated {
    /// Its number.
    pub(crate) root_key_rotation: u64,
    /// Whether every manager has destroyed the old key.
    pub(crate) complete: bool,
}

/// A value to replace.
#[derive(Serialize)]
pub(crate) struct ToReplace {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) used_by: Vec<String>,
}

impl From<&pb::SecretInfo> for ToReplace {
    fn from(secret: &pb::SecretInfo) -> Self {
        Self {
            id: secret.id.clone(),
            name: secret.name.clone(),
            version: secret.current_version,
            used_by: secret.used_by.clone(),
        }
    }
}
