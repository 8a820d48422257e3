//! The root key's rotation, and managers that were removed without proof.

use proto::{hex, pb};
use serde::Serialize;

use super::{at, some_hex};

/// The root key rotation that was asked for last.
#[derive(Serialize)]
pub(crate) struct RootRotation {
    /// How many were asked for so far.
    pub(crate) number: u64,
    /// `announced`, `active`, `retired`, `log-keys`, `complete`.
    pub(crate) phase: &'static str,
    pub(crate) complete: bool,
    pub(crate) new_key: String,
    pub(crate) old_key: String,
    pub(crate) began_at: Option<String>,
    pub(crate) ended_at: Option<String>,
    /// How many objects were to be wrapped anew, and are still.
    pub(crate) objects: u64,
    pub(crate) objects_left: u64,
    /// Members, by number.
    pub(crate) waits_for: Vec<u64>,
}

impl RootRotation {
    /// How far it is, for people.
    pub(crate) fn standing(&self) -> String {
        let done = self.objects.saturating_sub(self.objects_left);
        match self.phase {
            "announced" => "the managers fetch the new key".into(),
            "active" => format!("{done} of {} objects are wrapped anew", self.objects),
            "retired" => "the managers destroy the old key".into(),
            "log-keys" => "the managers rotate their log keys".into(),
            "complete" => "complete".into(),
            _ => "in a phase that this program does not know".into(),
        }
    }
}

impl From<pb::RootRotation> for RootRotation {
    fn from(rotation: pb::RootRotation) -> Self {
        let phase = match rotation.phase() {
            pb::RootPhase::Announced => "announced",
            pb::RootPhase::Active => "active",
            pb::RootPhase::Retired => "retired",
            pb::RootPhase::LogKeys => "log-keys",
            pb::RootPhase::Complete => "complete",
            pb::RootPhase::Unspecified => "unknown",
        };
        Self {
            number: rotation.number,
            phase,
            complete: phase == "complete",
            new_key: hex::encode(&rotation.new_key_id),
            old_key: hex::encode(&rotation.old_key_id),
            began_at: at(rotation.began_at),
            ended_at: at(rotation.ended_at),
            objects: rotation.objects,
            objects_left: rotation.objects_left,
            waits_for: rotation.waits_for,
        }
    }
}

/// A manager that was removed without its word that it destroys its keys.
#[derive(Serialize)]
pub(crate) struct Unproved {
    pub(crate) member: u64,
    pub(crate) hostname: String,
    pub(crate) address: String,
    pub(crate) removed_at: Option<String>,
    /// The root key that was active then.
    pub(crate) root_key: Option<String>,
}

impl From<pb::UnprovedMember> for Unproved {
    fn from(member: pb::UnprovedMember) -> Self {
        Self {
            member: member.member,
            hostname: member.hostname,
            address: member.address,
            removed_at: at(member.removed_at),
            root_key: some_hex(&member.root_key_id),
        }
    }
}
