//! Rotating certificates: begun, renewed by one holder after the other, complete.
//!
//! Who has renewed is said by the same command as who has moved to another CA; when it is complete
//! follows from the state, so `apply` goes on by itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use proto::id::{NodeId, Serial};
use proto::identity::Subject;

use super::{Applying, Context};
use crate::certificate_rotation::{CertificateRotation, CompleteCertificateRotation};
use crate::object::ObjectId;
use crate::refusal::Refusal;
use crate::remembered::Outcome;

impl Context<'_> {
    /// Everybody is to renew.
    pub(super) fn begin_certificate_rotation(&mut self) -> Applying {
        self.cluster()?;
        let number = self.state.certificate_rotations.number;
        if self.state.certificate_rotations.rotation.is_some() {
            return Err(Refusal::precondition(format!(
                "certificate rotation {number} is in progress: it waits for {}",
                self.waits_for(&self.state.certificate_rotation_pending())
            )));
        }
        if self.state.ca_rotations.rotation.is_some() {
            return Err(Refusal::precondition(format!(
                "CA rotation {} is in progress, which replaces every certificate: it waits for {}",
                self.state.ca_rotations.number,
                self.waits_for(&self.state.ca_rotation_pending())
            )));
        }
        self.state.certificate_rotations.number = number + 1;
        self.state.certificate_rotations.rotation = Some(CertificateRotation {
            began: self.revision(),
            began_at: self.now,
            asked_by: self.principal(),
            renewed: BTreeSet::new(),
        });
        // Their sessions tell them.
        let agents = self.state.nodes.iter().filter(|(_, node)| node.has_agent);
        let agents: Vec<NodeId> = agents.map(|(id, _)| *id).collect();
        for node in agents {
            self.assignments(Some(node));
        }
        self.updated(ObjectId::Cluster);
        Ok((Outcome::Done, ObjectId::Cluster))
    }

    /// A certificate of the rotation under way was seen in use: it is the one of its holder.
    pub(super) fn has_renewed(&mut self, serial: Serial, subject: Subject) {
        let Some(rotation) = &mut self.state.certificate_rotations.rotation else { return };
        if rotation.renewed.insert(subject) {
            self.supersede(|other, of| of == subject && other != serial);
        }
    }

    /// Certificates that stand are refused from now on. Their records stay while they live, and those of
    /// managers longer: Raft takes what nobody knows, and a cluster that is restored from a backup takes
    /// what has no record for one that was issued after it.
    fn supersede(&mut self, matches: impl Fn(Serial, Subject) -> bool) {
        let (now, mut superseded) = (self.now, Vec::new());
        let mut certificates = std::mem::take(&mut self.state.certificates);
        certificates.retain(|serial, certificate| {
            if certificate.revoked || !matches(*serial, certificate.subject) {
                return true;
            }
            if certificate.superseded_at.is_some() {
                return matches!(certificate.subject, Subject::Manager(..))
                    || certificate.not_after > now;
            }
            Arc::make_mut(certificate).superseded_at = Some(now);
            superseded.push(*serial);
            true
        });
        self.state.certificates = certificates;
        for serial in superseded {
            self.updated(ObjectId::Certificate(serial));
        }
    }

    /// Agents and operators that have not renewed are left behind.
    pub(super) fn cut_former_certificates(&mut self) -> Applying {
        if self.state.certificate_rotations.rotation.is_none() {
            return Err(Refusal::precondition("no certificate rotation is in progress"));
        }
        let pending = self.state.certificate_rotation_pending();
        if !pending.members.is_empty() {
            return Err(Refusal::precondition(format!(
                "certificate rotation {} waits for {}: managers are never left behind",
                self.state.certificate_rotations.number,
                self.waits_for(&pending)
            )));
        }
        self.finish_certificate_rotation();
        Ok((Outcome::Done, ObjectId::Cluster))
    }

    /// It is complete once nobody is waited for.
    pub(super) fn follow_certificate_rotation(&mut self) {
        let is_under_way = self.state.certificate_rotations.rotation.is_some();
        let none_left = self.state.certificate_rotation_pending().is_empty();
        if is_under_way && none_left && !self.state.members.is_empty() {
            self.finish_certificate_rotation();
        }
    }

    fn finish_certificate_rotation(&mut self) {
        let pending = self.state.certificate_rotation_pending();
        let certificates = self.state.certificates.iter();
        let of_before: BTreeSet<Serial> = certificates
            .filter(|(_, certificate)| self.state.is_to_be_renewed(certificate))
            .map(|(serial, _)| *serial)
            .collect();
        self.supersede(|serial, _| of_before.contains(&serial));
        let Some(rotation) = self.state.certificate_rotations.rotation.take() else { return };
        self.state.certificate_rotations.last = Some(CompleteCertificateRotation {
            began_at: rotation.began_at,
            ended_at: self.now,
            left_behind: (pending.nodes.len() + pending.operators.len()) as u64,
        });
        self.updated(ObjectId::Cluster);
    }
}
