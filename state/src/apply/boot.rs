//! Generations of the slots that peers open: staged, acknowledged, granted, ended.
//!
//! Whatever says that a member's disk is of a generation settles the same thing: that one is current
//! and every other one ends. What comes with a generation that ended changes nothing.

use proto::id::MemberId;
use proto::limits::ADDRESS_BYTES_MAX;

use super::{Applying, Context};
use crate::boot::{
    Alarm, AlarmReason, Asked, BootCommand, BootGeneration, BootKey, CONSENT_MS, Consent, Granted,
    MemberBoot, NewGeneration, PeerPolicy,
};
use crate::object::{MemberState, ObjectId};
use crate::refusal::{Refusal, ReleaseRefusal};
use crate::remembered::Outcome;

/// Bytes of a public key with its KEM id: what seal writes, and room for a hybrid one.
const PUBLIC_KEY_BYTES_MAX: usize = 2 << 10;

impl Context<'_> {
    pub(super) fn boot(&mut self, command: BootCommand) -> Applying {
        match command {
            BootCommand::SetPolicy { policy } => self.set_peer_policy(policy),
            BootCommand::Stage { member, held, made_of, replaces } => {
                self.stage_boot(member, held, *made_of, replaces)
            }
            BootCommand::Acknowledge { member, generation } => {
                self.acknowledge_boot(member, generation)
            }
            BootCommand::Grant { member, generation, by, host } => {
                self.grant_release(member, generation, &by, &host)
            }
            BootCommand::Approve { member, generation, host } => {
                self.approve_release(member, generation, host)
            }
            BootCommand::RaiseAlarm { member, reason, generation, from, count } => {
                self.raise_alarm(member, reason, generation, from, count)
            }
            BootCommand::ClearAlarm { member } => self.clear_alarm(member),
        }
    }

    /// The member is one, and peers unlock at all.
    fn unlockable(&self, id: MemberId) -> Result<(), Refusal> {
        let refused = |reason| Err(Refusal::Release { member: id, reason });
        if self.state.removed_members.contains(&id) {
            return refused(ReleaseRefusal::Evicted);
        }
        let Some(member) = self.state.members.get(&id) else {
            return Err(Refusal::not_found("manager", &id));
        };
        if member.state == MemberState::Leaving {
            return refused(ReleaseRefusal::Evicted);
        }
        if self.state.boot.policy == PeerPolicy::Off {
            return refused(ReleaseRefusal::Off);
        }
        Ok(())
    }

    fn set_peer_policy(&mut self, policy: PeerPolicy) -> Applying {
        if self.state.cluster.is_none() {
            return Err(Refusal::precondition("there is no cluster yet"));
        }
        let boot = &mut self.state.boot;
        boot.policy = policy;
        match policy {
            // Not a pause: what was sealed so far opens nothing any more, here or in a copy.
            PeerPolicy::Off => boot.members.clear(),
            PeerPolicy::Auto | PeerPolicy::Approve => {
                boot.members.values_mut().for_each(|member| member.consent = None);
            }
        }
        self.updated(ObjectId::Cluster);
        Ok((Outcome::Done, ObjectId::Cluster))
    }

    /// A member begins to turn: its next generation is known, and its disk is not of it yet.
    fn stage_boot(
        &mut self,
        id: MemberId,
        held: Option<u64>,
        made_of: NewGeneration,
        replaces: Option<u64>,
    ) -> Applying {
        self.unlockable(id)?;
        let cluster = self.state.cluster.as_ref();
        if cluster.is_none_or(|cluster| made_of.wrapped_key.key_id() != cluster.active_root) {
            return Err(Refusal::WrongRoot);
        }
        if made_of.public_key.0.len() > PUBLIC_KEY_BYTES_MAX {
            return Err(Refusal::limit("the size of a peer key", PUBLIC_KEY_BYTES_MAX));
        }
        if made_of.boot.not_after <= self.now {
            return Err(Refusal::precondition("the certificate of the boot key has ended"));
        }
        let mut boot = self.state.boot.member(id).cloned().unwrap_or_default();
        // What came of the other one is not known to who sent this one; it asks again.
        if boot.staged.as_ref().map(|staged| staged.number) != replaces {
            return Err(Refusal::precondition(format!(
                "another turn of manager {id} was begun meanwhile"
            )));
        }
        // A member that has no generation, because peers did not unlock for a while, say, may still
        // hold the slot of one that ended.
        let is_known = match held {
            Some(held) if boot.current.is_some() || boot.staged.is_some() => boot.settle(held),
            Some(_) => true,
            None => boot.current.is_none(),
        };
        if !is_known {
            return Err(Refusal::Release { member: id, reason: ReleaseRefusal::Stale });
        }
        let (number, staged_at) = (self.index, self.now);
        boot.staged = Some(BootGeneration { number, staged_at, made_of });
        self.put_boot(id, boot);
        Ok((Outcome::Entry { index: self.index }, ObjectId::Member(id)))
    }

    /// A member's disk is of this generation.
    fn acknowledge_boot(&mut self, id: MemberId, generation: u64) -> Applying {
        self.unlockable(id)?;
        let mut boot = self.state.boot.member(id).cloned().unwrap_or_default();
        if !boot.settle(generation) {
            return Err(Refusal::Release { member: id, reason: ReleaseRefusal::Stale });
        }
        self.put_boot(id, boot);
        Ok((Outcome::Done, ObjectId::Member(id)))
    }

    /// A locked member is given what opens its key file: the order of this entry and of a removal is
    /// what counts.
    fn grant_release(
        &mut self,
        id: MemberId,
        generation: u64,
        by: &BootKey,
        host: &str,
    ) -> Applying {
        let refused = |reason| Refusal::Release { member: id, reason };
        let asked = Asked { generation, serial: by.serial, key_digest: &by.key_digest, host };
        let known = self.state.releasable(id, asked, self.now).map_err(refused)?;
        if known.made_of.boot != *by {
            return Err(refused(ReleaseRefusal::Stale));
        }
        let mut boot = self.state.boot.member(id).cloned().unwrap_or_default();
        boot.consent = None;
        if !boot.settle(generation) {
            return Err(refused(ReleaseRefusal::Stale));
        }
        boot.granted = Some(Granted { index: self.index, generation, at: self.now });
        self.put_boot(id, boot);
        Ok((Outcome::Entry { index: self.index }, ObjectId::Member(id)))
    }

    /// An operator agrees to one release, to who asks from a host.
    fn approve_release(&mut self, id: MemberId, generation: u64, host: String) -> Applying {
        self.unlockable(id)?;
        if host.len() > ADDRESS_BYTES_MAX {
            return Err(Refusal::limit("the length of an address", ADDRESS_BYTES_MAX));
        }
        if self.state.boot.policy != PeerPolicy::Approve {
            return Err(Refusal::precondition("peers unlock managers without being asked to"));
        }
        let mut boot = self.state.boot.member(id).cloned().unwrap_or_default();
        if boot.generation(generation).is_none() {
            return Err(Refusal::Release { member: id, reason: ReleaseRefusal::Stale });
        }
        let until = self.now.after_ms(CONSENT_MS);
        boot.consent = Some(Consent { generation, until, host });
        self.put_boot(id, boot);
        Ok((Outcome::Done, ObjectId::Member(id)))
    }

    fn put_boot(&mut self, id: MemberId, boot: MemberBoot) {
        self.state.boot.members.insert(id, boot);
        self.updated(ObjectId::Member(id));
    }

    /// Somebody asked in a member's name who cannot be it, or not alone.
    fn raise_alarm(
        &mut self,
        id: MemberId,
        reason: AlarmReason,
        generation: u64,
        from: String,
        count: u64,
    ) -> Applying {
        let was_here =
            self.state.members.contains_key(&id) || self.state.removed_members.contains(&id);
        if !was_here {
            return Err(Refusal::not_found("manager", &id));
        }
        if from.len() > ADDRESS_BYTES_MAX {
            return Err(Refusal::limit("the length of an address", ADDRESS_BYTES_MAX));
        }
        let (first_at, last_at) = (self.now, self.now);
        let alarm = Alarm { reason, generation, from, first_at, last_at, count };
        self.state.boot.note(id, alarm);
        self.updated(ObjectId::Cluster);
        Ok((Outcome::Done, ObjectId::Member(id)))
    }

    /// An admin has seen to it.
    fn clear_alarm(&mut self, id: MemberId) -> Applying {
        if self.state.boot.alarms.remove(&id).is_none() {
            return Err(Refusal::precondition(format!("there is no alarm of manager {id}")));
        }
        self.updated(ObjectId::Cluster);
        Ok((Outcome::Done, ObjectId::Member(id)))
    }
}
