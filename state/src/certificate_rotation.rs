//! The rotation of certificates: everybody gets one for another key, under the present CA, and what
//! they had before is refused.
//!
//! A certificate that is put down notes which rotation was begun last. Somebody has renewed once one
//! of the rotation under way was seen in use, since one that was issued may never have arrived. From
//! that entry on that one stands alone: all others of its holder are *superseded*, those that
//! somebody else may have got by an older key in the meantime included. Not here: keys, certificates,
//! who is told (store, agent, secretctl).
//!
//! Invariants: one rotation at a time, and none while the CA rotates; of each holder one certificate
//! stands once it has renewed, until that one renews; a rotation is complete only when every manager
//! has renewed, and, unless an operator says otherwise, everybody else; then none of before stands.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};
use proto::id::{MemberId, Revision, Serial, Timestamp};
use proto::identity::{Principal, Subject};

use crate::ca_rotation::CaPending;
use crate::object::Certificate;
use crate::state::State;

/// A rotation that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CertificateRotation {
    /// The entry that began it.
    #[n(0)]
    pub began: Revision,
    /// When that was.
    #[n(1)]
    pub began_at: Timestamp,
    /// Who asked for it.
    #[n(2)]
    pub asked_by: Principal,
    /// Those of whom a certificate of this rotation was seen in use.
    #[n(3)]
    pub renewed: BTreeSet<Subject>,
}

/// The last rotation that was completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct CompleteCertificateRotation {
    /// When it began.
    #[n(0)]
    pub began_at: Timestamp,
    /// When it was complete.
    #[n(1)]
    pub ended_at: Timestamp,
    /// Nodes and operators that were left behind with certificates that are refused.
    #[n(2)]
    pub left_behind: u64,
}

/// What is known of rotations of certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct CertificateRotations {
    /// How many were begun so far.
    #[n(0)]
    pub number: u64,
    /// The one that is under way.
    #[n(1)]
    pub rotation: Option<CertificateRotation>,
    /// The last one that was completed.
    #[n(2)]
    pub last: Option<CompleteCertificateRotation>,
}

impl State {
    /// What is known of rotations of certificates.
    pub const fn certificate_rotations(&self) -> &CertificateRotations {
        &self.certificate_rotations
    }

    /// Whether a certificate is one that its holder is to renew: of before the rotation under way.
    pub(crate) fn is_to_be_renewed(&self, certificate: &Certificate) -> bool {
        let rotations = &self.certificate_rotations;
        rotations.rotation.is_some()
            && certificate.rotation.unwrap_or(0) < rotations.number
            && certificate.superseded_at.is_none()
            && !certificate.revoked
    }

    /// Whether somebody who was authenticated by a certificate is to renew it now. One without a
    /// record, in a restored cluster, is of before.
    pub fn owes_renewal(&self, serial: Serial) -> bool {
        let known = self.certificates.get(&serial);
        let is_under_way = self.certificate_rotations.rotation.is_some();
        is_under_way && known.is_none_or(|certificate| self.is_to_be_renewed(certificate))
    }

    /// Whether a certificate is its holder's of the rotation under way, and was not seen in use yet.
    pub(crate) fn is_renewal(&self, certificate: &Certificate) -> bool {
        let rotations = &self.certificate_rotations;
        rotations.rotation.as_ref().is_some_and(|rotation| {
            certificate.rotation == Some(rotations.number)
                && certificate.superseded_at.is_none()
                && !rotation.renewed.contains(&certificate.subject)
        })
    }

    /// Whom the rotation under way waits for; nobody if none is.
    pub fn certificate_rotation_pending(&self) -> CaPending {
        let Some(rotation) = &self.certificate_rotations.rotation else {
            return CaPending::default();
        };
        self.awaited(
            &rotation.renewed,
            |id| self.turned_before(id, rotation.began),
            |certificate| self.is_to_be_renewed(certificate),
        )
    }

    /// Whether a member is to turn to another generation, since the key that it would ask its peers
    /// to open it with is of before a rotation.
    pub fn owes_turn(&self, id: MemberId) -> bool {
        let began = self.certificate_rotations.rotation.as_ref().map(|rotation| rotation.began);
        self.asks_by_former_ca(id) || began.is_some_and(|began| self.turned_before(id, began))
    }

    /// Certificates that were superseded, and whose they are.
    pub fn superseded(&self) -> impl Iterator<Item = (Serial, Subject)> {
        let any = self.certificate_rotations.number > 0;
        let certificates = any.then_some(&self.certificates).into_iter().flatten();
        let superseded = certificates.filter(|(_, one)| one.superseded_at.is_some());
        superseded.map(|(serial, certificate)| (*serial, certificate.subject))
    }
}
