//! The rotation of the CA: the next one, who has a certificate of it and uses it, and when the one
//! before is dropped.
//!
//! A rotation goes through two [`CaPhase`]s. Managers move first, while everybody else stays: they
//! show certificates of the next CA with the bridge to it, so that who knows the one before gets to
//! them. Once all have, agents and operators move. Who moves trusts the next CA alone, so by then no
//! manager may be left behind. When all have moved, the one before is dropped: its certificates are
//! forgotten. Not here: keys, certificates, TLS (store, link).
//!
//! Invariants: one rotation at a time; a certificate stands only under a CA that is trusted; somebody
//! has moved only once a certificate of the next CA was seen in use, since one that was issued may
//! never have arrived; a CA is dropped only when every manager has moved, and, unless an operator says
//! otherwise, everybody else.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use proto::id::{KeyId, MemberId, NodeId, OperatorId, Revision, Timestamp};
use proto::identity::{Principal, Role, Subject};

use crate::boot::MemberBoot;
use crate::object::{Authority, Blob, Certificate, Digest, Token};
use crate::restore::MadeAnew;
use crate::state::State;

/// Who moves to the next CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum CaPhase {
    /// The managers.
    #[n(0)]
    Managers,
    /// All have: agents and operators.
    #[n(1)]
    Clients,
}

/// A rotation that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CaRotation {
    /// The next CA.
    #[n(0)]
    pub authority: Authority,
    /// Its key, signed by the present CA; a certificate, DER.
    #[n(1)]
    pub bridge: Blob,
    /// When it began.
    #[n(2)]
    pub began_at: Timestamp,
    /// Who asked for it.
    #[n(3)]
    pub asked_by: Principal,
    /// Who moves.
    #[n(4)]
    pub phase: CaPhase,
    /// Those of whom a certificate of the next CA was seen in use.
    #[n(5)]
    pub moved: BTreeSet<Subject>,
    /// The entry that began it: what was issued before that is of the present CA.
    #[n(6)]
    pub began: Revision,
}

/// The CA that was dropped last.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FormerCa {
    /// SHA-256 of its public key.
    #[n(0)]
    pub digest: Digest,
    /// Its certificate, DER.
    #[n(1)]
    pub certificate: Blob,
    /// The key of the CA that took its place, signed by it; a certificate, DER.
    #[n(2)]
    pub bridge: Blob,
    /// When the rotation began.
    #[n(3)]
    pub began_at: Timestamp,
    /// When it was dropped.
    #[n(4)]
    pub dropped_at: Timestamp,
    /// Nodes and operators that were left behind with certificates of it.
    #[n(5)]
    pub left_behind: u64,
    /// The entry that began the rotation.
    #[n(6)]
    pub began: Revision,
    /// The entry that dropped it.
    #[n(7)]
    pub dropped: Revision,
}

/// The CAs beside the present one, which is the cluster's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct CaRotations {
    /// How many were begun so far.
    #[n(0)]
    pub number: u64,
    /// The one that is under way.
    #[n(1)]
    pub rotation: Option<CaRotation>,
    /// What the last one that was completed dropped.
    #[n(2)]
    pub former: Option<FormerCa>,
    /// A restore that put another CA in the place of its backup's; nothing leads over from that one.
    #[n(3)]
    pub made_anew: Option<MadeAnew>,
}

impl CaRotations {
    /// Whether no CA took, or takes, the place of the cluster's first.
    pub(crate) const fn is_first(&self) -> bool {
        self.former.is_none() && self.made_anew.is_none()
    }
}

/// Begins a rotation.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BeginCaRotation {
    /// The present CA, which signed the bridge.
    #[n(0)]
    pub from: Digest,
    /// The next one, its key under the active root key.
    #[n(1)]
    pub authority: Authority,
    /// Its key, signed by the present one.
    #[n(2)]
    pub bridge: Blob,
    /// Its signature over each transit key there is.
    #[n(3)]
    pub signatures: BTreeMap<KeyId, Blob>,
}

/// Whom a rotation of the CA, or of certificates, waits for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaPending {
    /// Managers.
    pub members: Vec<MemberId>,
    /// Nodes with an agent; looked at once the managers have moved.
    pub nodes: Vec<NodeId>,
    /// Operators that have a certificate of before; looked at with the nodes.
    pub operators: Vec<OperatorId>,
}

impl CaPending {
    /// Whether nobody is waited for.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.nodes.is_empty() && self.operators.is_empty()
    }
}

impl State {
    /// The CAs beside the present one.
    pub const fn ca_rotations(&self) -> &CaRotations {
        &self.ca_rotations
    }

    /// The CAs whose certificates stand: the present one, and one that is rotated in. None before
    /// the first command.
    pub fn authorities(&self) -> impl Iterator<Item = &Authority> {
        let present = self.cluster.as_ref().map(|cluster| &cluster.authority);
        let next = self.ca_rotations.rotation.as_ref().map(|rotation| &rotation.authority);
        present.into_iter().chain(next)
    }

    fn is_trusted(&self, ca: Option<Digest>) -> bool {
        match ca {
            Some(digest) => self.authorities().any(|authority| authority.digest == digest),
            // Those of the first CA do not say so.
            None => self.ca_rotations.is_first(),
        }
    }

    /// The CA that signs the next certificate of a role: of a manager, and its boot key, the next one
    /// from the start.
    pub fn issuer(&self, role: Role) -> Option<&Authority> {
        let rotation = self.ca_rotations.rotation.as_ref();
        let is_managers = matches!(role, Role::Manager | Role::Boot);
        let moves = |phase| phase == CaPhase::Clients || is_managers;
        let next = rotation.filter(|rotation| moves(rotation.phase)).map(|one| &one.authority);
        next.or_else(|| self.cluster.as_ref().map(|cluster| &cluster.authority))
    }

    /// The CA that new tokens name: joiners find it at every manager.
    pub fn pinned_authority(&self) -> Option<&Authority> {
        self.issuer(Role::Agent)
    }

    /// Whether a certificate may be put down: its CA is one that is trusted.
    pub(crate) fn may_stand(&self, certificate: &Certificate) -> bool {
        self.is_trusted(certificate.authority)
    }

    /// Whether a token leads to a CA that is trusted still.
    pub fn leads_here(&self, token: &Token) -> bool {
        self.is_trusted(token.authority)
    }

    fn has_moved(&self, subject: Subject) -> bool {
        let rotation = self.ca_rotations.rotation.as_ref();
        rotation.is_some_and(|rotation| rotation.moved.contains(&subject))
    }

    /// Whether a certificate is one of the CA that is rotated in.
    pub fn is_of_next_ca(&self, certificate: &Certificate) -> bool {
        let rotation = self.ca_rotations.rotation.as_ref();
        rotation.is_some_and(|rotation| certificate.authority == Some(rotation.authority.digest))
    }

    /// Whether that a certificate is in use is news: for a rotation of the CA, or of certificates.
    pub fn is_move(&self, certificate: &Certificate) -> bool {
        !certificate.revoked && (self.moves_to_next_ca(certificate) || self.is_renewal(certificate))
    }

    pub(crate) fn moves_to_next_ca(&self, certificate: &Certificate) -> bool {
        self.is_of_next_ca(certificate) && !self.has_moved(certificate.subject)
    }

    /// Whom the rotation under way waits for; nobody if none is.
    pub fn ca_rotation_pending(&self) -> CaPending {
        let Some(rotation) = &self.ca_rotations.rotation else { return CaPending::default() };
        let pending = self.awaited(
            &rotation.moved,
            |id| self.asks_by_former_ca(id),
            |certificate| !certificate.revoked && !self.is_of_next_ca(certificate),
        );
        match rotation.phase {
            CaPhase::Managers => CaPending { members: pending.members, ..CaPending::default() },
            CaPhase::Clients => pending,
        }
    }

    /// Who is not done with a rotation: managers that are not, or are to turn; agents; operators with
    /// a certificate of before.
    pub(crate) fn awaited(
        &self,
        done: &BTreeSet<Subject>,
        is_to_turn: impl Fn(MemberId) -> bool,
        is_of_before: impl Fn(&Certificate) -> bool,
    ) -> CaPending {
        let members = self.members.iter().filter(|(id, member)| {
            !done.contains(&Subject::Manager(member.node_id, **id)) || is_to_turn(**id)
        });
        let nodes = self.nodes.iter();
        let nodes =
            nodes.filter(|(id, node)| node.has_agent && !done.contains(&Subject::Agent(**id)));
        // A certificate that has ended stands for nobody who would be missed.
        let of_before = self
            .certificates
            .values()
            .filter(|certificate| certificate.not_after > self.now && is_of_before(certificate));
        let operators: BTreeSet<_> = of_before
            .filter_map(|certificate| match certificate.subject {
                Subject::Operator(id) if self.operators.contains_key(&id) => Some(id),
                _ => None,
            })
            .filter(|id| !done.contains(&Subject::Operator(*id)))
            .collect();
        CaPending {
            members: members.map(|(id, _)| *id).collect(),
            nodes: nodes.map(|(id, _)| *id).collect(),
            operators: operators.into_iter().collect(),
        }
    }

    /// Whether a member would ask its peers to open it with a certificate of a CA that another takes,
    /// or took, the place of: it has to turn to another generation first.
    pub fn asks_by_former_ca(&self, id: MemberId) -> bool {
        let rotations = &self.ca_rotations;
        let under_way = rotations.rotation.as_ref().map(|rotation| rotation.began);
        let began = under_way.or_else(|| rotations.former.as_ref().map(|former| former.began));
        began.is_some_and(|began| self.turned_before(id, began))
    }

    /// Whether a member turned last before an entry.
    pub(crate) fn turned_before(&self, id: MemberId, began: Revision) -> bool {
        let mut generations = self.boot.member(id).into_iter().flat_map(MemberBoot::generations);
        // By the log and not by its clock, which may stand still: who turns has turned.
        generations.any(|one| Revision(one.number) < began)
    }
}
