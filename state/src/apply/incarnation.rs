//! Beginning a new life of the cluster with the one manager that is left.

use std::sync::Arc;

use proto::id::Incarnation;
use proto::identity::Subject;

use super::{Applying, Context};
use crate::incarnation::BeginIncarnation;
use crate::log_keys::MemberLogKey;
use crate::object::{MemberState, ObjectId};
use crate::refusal::Refusal;
use crate::remembered::Outcome;
use crate::root_keys::Phase;

impl Context<'_> {
    /// The others are removed as `RemoveMember` removes them: their ids are never used again and
    /// their certificates are revoked. Join tokens end: one that was used up or revoked in an entry
    /// which is lost would be good again.
    pub(super) fn begin_incarnation(&mut self, begin: BeginIncarnation) -> Applying {
        let BeginIncarnation { incarnation, member: me, .. } = begin;
        let Some(cluster) = self.state.cluster.as_deref() else {
            return Err(Refusal::precondition("there is no cluster yet"));
        };
        if incarnation != Incarnation(cluster.incarnation.0.saturating_add(1)) {
            return Err(Refusal::precondition(format!(
                "incarnation {incarnation} does not follow {}",
                cluster.incarnation
            )));
        }
        if begin.root != cluster.active_root {
            return Err(Refusal::WrongRoot);
        }
        let Some(member) = self.state.members.get(&me) else {
            return Err(Refusal::not_found("manager", &me));
        };
        let node_id = member.node_id;
        let subject = Subject::Manager(node_id, me);
        if begin.certificate.subject != subject {
            return Err(Refusal::precondition("the certificate is another's"));
        }
        // Every check comes before: from here on nothing is refused.
        let revision = self.revision();
        let said = MemberLogKey {
            epoch: self.state.log_keys.wanted,
            key: Some(begin.log_key),
            since: self.now,
        };
        self.state.log_keys.members.insert(me, said);
        let others: Vec<_> = self.state.members.keys().filter(|id| **id != me).copied().collect();
        if let Some(rotation) = &mut self.state.root_keys.rotation
            && rotation.phase == Phase::Active
        {
            // It has the active key, whether or not it has said so.
            rotation.held_by.insert(me);
        }
        for other in others {
            self.remove_member(other, Some(false))?;
        }
        // Contexts name the incarnation: no box of before opens, so nobody has a generation.
        self.state.boot.members.clear();
        // Nothing on its disk is under older keys, whatever it waited for.
        self.settle_tombstones();
        self.revoke_certificates(|of| of == subject || of == Subject::Boot(me));
        self.put_certificate(begin.serial, begin.certificate);
        if let Some(member) = self.state.members.get_mut(&me) {
            let member = Arc::make_mut(member);
            member.state = MemberState::Voter;
            member.level_max = begin.level_max;
            member.acknowledged_root = Some(begin.root);
            member.key_file_generation = begin.key_file_generation;
            member.revision = revision;
        }
        for (token, _) in std::mem::take(&mut self.state.tokens) {
            self.removed(ObjectId::Token(token));
        }
        if let Some(cluster) = self.state.cluster.as_mut() {
            let cluster = Arc::make_mut(cluster);
            cluster.incarnation = incarnation;
            cluster.revision = revision;
        }
        self.updated(ObjectId::Member(me));
        self.updated(ObjectId::Cluster);
        self.replan(None);
        Ok((Outcome::Member { id: me, node_id }, ObjectId::Cluster))
    }
}
