//! Tombstones on their way: left by a removal, completed by the members' words.
//!
//! Whatever can complete one settles them: a word of a log key, a transit key that is retired, a
//! member that is removed. Not here: what a tombstone is (shredding).

use std::collections::BTreeSet;

use proto::id::{KeyId, MemberId, SecretId};
use proto::limits::TOMBSTONES_MAX;

use super::{Applying, Context};
use crate::audit::AuditRecord;
use crate::object::{ObjectId, Secret};
use crate::refusal::Refusal;
use crate::remembered::Outcome;
use crate::shredding::{Departed, Need, Shredded, Tombstone, Unnamed, Word};

impl Context<'_> {
    /// Leaves a tombstone for a secret, or some of its versions, that leave the state.
    pub(super) fn bury(&mut self, id: SecretId, secret: &Secret, urgent: bool) {
        let payloads: BTreeSet<_> =
            secret.versions.values().map(|version| version.payload.payload_id).collect();
        let made_at = secret.versions.values().map(|version| version.created_at).min();
        // Keys that are retired have no list any more.
        let came_under = self.state.payloads_seen.iter();
        let came_under = came_under.filter(|(_, seen)| payloads.iter().any(|id| seen.contains(id)));
        let need = Need {
            epoch: self.state.log_keys.wanted + 1,
            transit_keys: came_under.map(|(id, _)| *id).collect(),
            since: self.now,
            urgent,
        };
        let tombstone = Tombstone {
            secret_id: id,
            name: secret.name.clone(),
            versions: secret.versions.keys().copied().collect(),
            created_at: made_at.unwrap_or(secret.created_at),
            removed_at: self.now,
            removed_by: self.principal(),
            need,
            shredded: None,
        };
        self.make_room_for_a_tombstone();
        let revision = self.revision();
        self.state.shredding_mut().tombstones.insert(revision, tombstone);
    }

    /// The oldest of those that are shredded goes. If none is, the oldest loses its name: a removal
    /// is never refused, and what it waits for is never forgotten.
    fn make_room_for_a_tombstone(&mut self) {
        let shredding = self.state.shredding_mut();
        if shredding.tombstones.len() < TOMBSTONES_MAX {
            return;
        }
        let mut all = shredding.tombstones.iter();
        if let Some((done, _)) = all.find(|(_, it)| it.shredded.is_some()) {
            let done = *done;
            shredding.tombstones.remove(&done);
            return;
        }
        let Some((_, oldest)) = shredding.tombstones.pop_first() else { return };
        match &mut shredding.unnamed {
            Some(unnamed) => {
                unnamed.count += 1;
                unnamed.removed_from = unnamed.removed_from.min(oldest.removed_at);
                unnamed.need.join(oldest.need);
            }
            none => {
                let removed_from = oldest.removed_at;
                *none = Some(Unnamed { count: 1, removed_from, need: oldest.need });
            }
        }
    }

    /// An operator does not want to wait for a secret that was removed already.
    pub(super) fn shred_secret(&mut self, id: SecretId) -> Applying {
        let mut tombstones = self.state.shredding.tombstones.values();
        let tombstone = tombstones.find(|it| it.secret_id == id);
        tombstone.ok_or_else(|| Refusal::not_found("removed secret", &id))?;
        self.hurry(id);
        Ok((Outcome::Done, ObjectId::Secret(id)))
    }

    /// Nothing of a secret that was removed is to be waited for: versions that went before it neither.
    pub(super) fn hurry(&mut self, id: SecretId) {
        let mut are_more = false;
        for tombstone in self.state.shredding_mut().tombstones.values_mut() {
            let waits = tombstone.secret_id == id && tombstone.shredded.is_none();
            if waits && !tombstone.need.urgent {
                tombstone.need.urgent = true;
                are_more = true;
            }
        }
        if are_more {
            self.updated(ObjectId::Secret(id));
        }
    }

    /// The private half is still in the logs of now: only a rotation that begins after this takes
    /// it along.
    pub(super) fn transit_key_is_retired(&mut self, id: KeyId) {
        if !self.state.shredding.needs().any(|need| need.transit_keys.contains(&id)) {
            return;
        }
        let (next, now) = (self.state.log_keys.wanted + 1, self.now);
        for need in self.state.shredding_mut().needs_mut() {
            if need.transit_keys.remove(&id) {
                need.epoch = next;
                need.since = now;
            }
        }
    }

    /// A member is no more: what it gave word of stays known.
    pub(super) fn member_departed(&mut self, id: MemberId) {
        let epoch = self.state.log_keys.of(id).epoch;
        self.state.shredding_mut().departed.insert(id, Departed { at: self.now, epoch });
    }

    /// Completes what nothing is needed for any more.
    pub(super) fn settle_tombstones(&mut self) {
        let of = |member| Word { member, epoch: self.state.log_keys.of(member).epoch };
        let words: Vec<_> = self.state.members.keys().copied().map(of).collect();
        let Some(reached) = words.iter().map(|word| word.epoch).min() else { return };
        let is_met = |need: &Need| need.transit_keys.is_empty() && need.epoch <= reached;
        if !self.state.shredding.needs().any(is_met) {
            return;
        }
        let mut done = Vec::new();
        let shredding = self.state.shredding_mut();
        for tombstone in shredding.tombstones.values_mut() {
            if tombstone.shredded.is_none() && is_met(&tombstone.need) {
                tombstone.shredded = Some(Shredded { at: self.now, words: words.clone() });
                done.push(tombstone.secret_id);
            }
        }
        let unnamed = shredding.unnamed.take_if(|unnamed| is_met(&unnamed.need));
        let count = done.len() as u64 + unnamed.map_or(0, |unnamed| unnamed.count);
        let object = match done.as_slice() {
            [one] if count == 1 => ObjectId::Secret(*one),
            _ => ObjectId::Cluster,
        };
        for id in done {
            self.updated(ObjectId::Secret(id));
        }
        // One record however many: thousands would push out all others.
        self.state.audit.push(AuditRecord {
            index: self.index,
            at: self.now,
            caller: self.caller,
            action: "secrets_shredded".into(),
            object,
            outcome: "ok".into(),
            count,
        });
    }
}
