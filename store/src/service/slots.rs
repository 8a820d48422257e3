//! The operators' slots: listed, added, taken away and proved, one change after the other.
//!
//! A slot's secret is made and recovered in secretctl, and only its public half comes here: nothing
//! in this file could open anything. A proof is an admin's word that secretctl recovered the seed
//! and compared it: it guards against a secret that was written down wrong, not against an admin who
//! lies. Not here: the unlock key and the `file` slot (`locking`), which slots count as working
//! (`state`), opening (`manager::unlock`).
//!
//! Invariant: what is taken in can be sealed to, and its parameters are within their bounds.

use link::Failure;
use proto::id::KeyId;
use proto::identity::Caller;
use proto::{Kind, pb};
use seal::{SlotKind, SlotParameters, SlotPublicKey};
use state::command::Command;
use state::object::{Blob, Cluster, SlotRecipient};

use super::{Service, mark};
use crate::keys::recipients;

impl Service {
    pub(super) async fn list_slots(
        &self,
        _: Caller,
        _: pb::ListSlotsRequest,
    ) -> Result<pb::ListSlotsResponse, Failure> {
        self.barrier().await?;
        let cluster = self.cluster()?;
        let whole = |slot: &SlotRecipient| pb::SlotInfo {
            public_key: slot.public_key.0.clone(),
            parameters: slot.parameters.0.clone(),
            ..in_status(&cluster, slot)
        };
        Ok(pb::ListSlotsResponse {
            recipients_generation: cluster.recipients_generation,
            slots: cluster.recipients.iter().map(whole).collect(),
        })
    }

    pub(super) async fn add_slot(
        &self,
        caller: Caller,
        request: pb::AddSlotRequest,
    ) -> Result<pb::SlotsChanged, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        let cluster = self.cluster()?;
        let generation = request.recipients_generation;
        let slot = new_slot(&request)?;
        if generation == cluster.recipients_generation {
            self.must_be_followed(generation).await?;
        }
        let recipients = cluster.recipients.iter().cloned().chain([slot]).collect();
        let command = Command::SetRecipients { generation, recipients };
        self.propose(caller, Some(mark), command).await?;
        Ok(pb::SlotsChanged { recipients_generation: generation + 1, log_key_epoch: 0 })
    }

    pub(super) async fn remove_slot(
        &self,
        caller: Caller,
        request: pb::RemoveSlotRequest,
    ) -> Result<pb::SlotsChanged, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        let cluster = self.cluster()?;
        let generation = request.recipients_generation;
        if generation == cluster.recipients_generation {
            let slot = find(&cluster, &request.id)?;
            self.must_be_followed(generation).await?;
            let members = self.describe_members().await;
            let behind = members.iter().find(|m| m.key_file_generation < generation);
            if slot.kind == SlotKind::UnlockKey.as_str()
                && let Some(member) = behind
            {
                // Which key it needs stands beside the unlock key, and would go with it.
                let reason = format!(
                    "manager {} ({}) has not followed the last change, and needs an unlock key",
                    member.id, member.hostname
                );
                return Err(Failure::new(Kind::Precondition, "the unlock key is still needed")
                    .because(reason)
                    .hint("start it, or remove it: `secretctl cluster member rm`"));
            }
        }
        // A retry of what was done finds nothing to take away, and is answered from memory.
        let is_it = |slot: &&SlotRecipient| has_id(slot, &request.id);
        let recipients = cluster.recipients.iter().filter(|slot| !is_it(slot)).cloned().collect();
        let command = Command::SetRecipients { generation, recipients };
        self.propose(caller, Some(mark), command).await?;
        let log_key_epoch = self.raft.machine.state().log_keys().last();
        Ok(pb::SlotsChanged { recipients_generation: generation + 1, log_key_epoch })
    }

    pub(super) async fn prove_slot(
        &self,
        caller: Caller,
        request: pb::ProveSlotRequest,
    ) -> Result<pb::ProveSlotResponse, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        let cluster = self.cluster()?;
        let slot = find(&cluster, &request.id)?;
        let public_key = slot.public_key.clone();
        let trials = if slot.kind == SlotKind::Command.as_str() {
            self.trials(slot, &request.id).await?
        } else {
            Vec::new()
        };
        // It opened some, and none that answers is left out.
        let opens = trials.iter().all(|trial| !trial.answered || trial.reason.is_empty());
        if opens && (trials.is_empty() || trials.iter().any(|trial| trial.answered)) {
            self.propose(caller, Some(mark), Command::ProveSlot { public_key }).await?;
        }
        Ok(pb::ProveSlotResponse { trials })
    }
}

fn has_id(slot: &SlotRecipient, id: &[u8]) -> bool {
    recipients::id_of(slot).is_some_and(|known| known.as_bytes() == id)
}

pub(super) fn find<'c>(cluster: &'c Cluster, id: &[u8]) -> Result<&'c SlotRecipient, Failure> {
    cluster.recipients.iter().find(|slot| has_id(slot, id)).ok_or_else(|| {
        let shown = KeyId::try_from(id).map_or_else(|_| "of that id".into(), |id| id.to_string());
        Failure::new(Kind::NotFound, format!("slot {shown} not found"))
            .hint("`secretctl cluster unlock-slot ls` lists them")
    })
}

/// A slot as it may be put in the list.
fn new_slot(request: &pb::AddSlotRequest) -> Result<SlotRecipient, Failure> {
    let invalid = |what: &str, why: String| {
        Failure::new(Kind::Invalid, what)
            .because(why)
            .hint("let secretctl make the slot: `secretctl cluster unlock-slot add`")
    };
    let can_be_added = |kind: &SlotKind| {
        matches!(kind, SlotKind::Passphrase | SlotKind::Shares | SlotKind::Command)
    };
    let Some(kind) = SlotKind::of_name(&request.kind).filter(can_be_added) else {
        let why = "slots that are added are `passphrase`, `shares` and `command`".to_owned();
        return Err(invalid("no slot of this kind can be added", why));
    };
    let public = SlotPublicKey::parse(request.public_key.clone()).ok();
    let public = public.filter(SlotPublicKey::can_be_sealed_to).ok_or_else(|| {
        invalid("the slot's public half is not one", "nothing can be sealed to it".into())
    })?;
    let parameters = SlotParameters::parse(kind, &request.parameters)
        .map_err(|error| invalid("the slot's parameters are not taken", error.to_string()))?;
    Ok(SlotRecipient {
        kind: kind.as_str().into(),
        member: None,
        public_key: Blob(public.as_bytes().clone()),
        parameters: Blob(parameters.to_bytes().into()),
    })
}

/// A slot as everybody who may see the status sees it: nothing to try guesses with.
pub(super) fn in_status(cluster: &Cluster, slot: &SlotRecipient) -> pb::SlotInfo {
    let record = cluster.record_of(slot);
    pb::SlotInfo {
        id: recipients::id_of(slot).map(|id| id.as_bytes().to_vec().into()).unwrap_or_default(),
        kind: slot.kind.clone(),
        generation: record.generation,
        changed_at: record.changed_at.0,
        opened_at: record.opened_at.map_or(0, |at| at.0),
        works: cluster.slot_works(slot),
        ..pb::SlotInfo::default()
    }
}

#[cfg(test)]
mod tests {
    use seal::{Passphrase, PassphraseCosts, Recipient};

    use super::*;

    fn made() -> pb::AddSlotRequest {
        let passphrase = Passphrase::parse(b"correct horse battery").unwrap();
        let (costs, slot) = PassphraseCosts::make_slot(&passphrase).unwrap();
        let slot = Recipient::new(slot.public().clone(), &SlotParameters::Passphrase(costs));
        pb::AddSlotRequest {
            kind: slot.kind.as_str().into(),
            public_key: slot.public.as_bytes().clone(),
            parameters: slot.parameters.into(),
            ..pb::AddSlotRequest::default()
        }
    }

    #[test]
    fn what_could_lock_managers_or_cost_them_is_not_taken_in() {
        let good = made();
        let taken = new_slot(&good).unwrap();
        assert_eq!((taken.kind.as_str(), taken.member), ("passphrase", None));
        let refused = |change: &dyn Fn(&mut pb::AddSlotRequest)| {
            let mut request = good.clone();
            change(&mut request);
            let failure = new_slot(&request).unwrap_err();
            assert_eq!(failure.kind, Kind::Invalid);
            failure.message
        };
        for kind in ["unlock-key", "file", "peers", "later", ""] {
            let said = refused(&|request| request.kind = kind.into());
            assert_eq!(said, "no slot of this kind can be added", "{kind}");
        }
        // A point of low order: nobody could seal to it.
        let low = [&good.public_key[..2], &[0; 32]].concat();
        let said = refused(&|request| request.public_key = low.clone().into());
        assert_eq!(said, "the slot's public half is not one");
        refused(&|request| request.public_key = bytes::Bytes::new());
        // Another kind's parameters, and costs that are out of bounds.
        for kind in ["shares", "command"] {
            let said = refused(&|request| request.kind = kind.into());
            assert_eq!(said, "the slot's parameters are not taken");
        }
        let mut cheap = good.parameters.to_vec();
        *cheap.last_mut().unwrap() = 9;
        let said = refused(&|request| request.parameters = cheap.clone().into());
        assert_eq!(said, "the slot's parameters are not taken");
        refused(&|request| request.parameters = bytes::Bytes::new());
    }
}
