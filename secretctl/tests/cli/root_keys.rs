//! The root key of the fake cluster: one step of its rotation at each look.

use proto::pb;

use crate::world::World;

/// Objects that are wrapped under it.
const OBJECTS: u64 = 5;

impl World {
    pub(crate) fn begin_with_the_root(&mut self, number: u64) {
        self.root_rotation = Some(pb::RootRotation {
            number,
            phase: pb::RootPhase::Announced.into(),
            new_key_id: vec![5; 16].into(),
            old_key_id: vec![3; 16].into(),
            began_at: self.now,
            waits_for: self.members.iter().map(|member| member.id).skip(1).collect(),
            ..Default::default()
        });
    }

    pub(crate) fn root_phase(&self) -> pb::RootPhase {
        self.root_rotation.as_ref().map_or(pb::RootPhase::Complete, pb::RootRotation::phase)
    }

    /// The member that a rotation in progress waits for.
    pub(crate) fn root_is_waiting_for(&self) -> Option<u64> {
        let rotation = self.root_rotation.as_ref()?;
        let is_over = rotation.phase() == pb::RootPhase::Complete;
        rotation.waits_for.first().copied().filter(|_| !is_over)
    }

    /// Ids of the root keys that every member holds, the active one last.
    pub(crate) fn root_keys(&self) -> Vec<bytes::Bytes> {
        let (old, new) = (vec![3; 16].into(), vec![5; 16].into());
        match self.root_phase() {
            pb::RootPhase::Announced => vec![new, old],
            pb::RootPhase::Active => vec![old, new],
            _ if self.root_rotation.is_some() => vec![new],
            _ => vec![old],
        }
    }

    pub(crate) fn root_waits_for(&self, member: u64, silent: bool) -> String {
        let waits = self.root_rotation.as_ref().is_some_and(|one| one.waits_for.contains(&member));
        match (waits, silent) {
            (false, _) => String::new(),
            (true, false) => "it is at it".into(),
            (true, true) => "it does not answer; it fetches the new root key once it runs".into(),
        }
    }

    /// The next step, as far as those that do not answer let it.
    pub(crate) fn go_on_with_the_root(&mut self) {
        use pb::RootPhase::{Active, Announced, Complete, LogKeys, Retired};
        let missing = self.members.iter().filter(|m| self.silent.contains(&m.id) || !m.reachable);
        let missing: Vec<_> = missing.map(|member| member.id).collect();
        let everybody: Vec<_> = self.members.iter().map(|member| member.id).collect();
        let now = self.now;
        let Some(rotation) = &mut self.root_rotation else { return };
        let (phase, waits_for) = match rotation.phase() {
            Announced => {
                (rotation.objects, rotation.objects_left) = (OBJECTS, OBJECTS);
                (Active, missing)
            }
            Active if rotation.objects_left > 0 => {
                rotation.objects_left = rotation.objects_left.saturating_sub(2);
                (Active, missing)
            }
            Active if missing.is_empty() => (Retired, everybody),
            Retired => (LogKeys, everybody),
            LogKeys => {
                rotation.ended_at = now;
                (Complete, Vec::new())
            }
            other => (other, missing),
        };
        rotation.phase = phase.into();
        rotation.waits_for = waits_for;
    }

    pub(crate) fn remember_unproved(&mut self, member: &pb::MemberInfo) {
        self.unproved.push(pb::UnprovedMember {
            member: member.id,
            hostname: member.hostname.clone(),
            address: member.address.clone(),
            removed_at: self.now,
            root_key_id: vec![3; 16].into(),
        });
    }
}
