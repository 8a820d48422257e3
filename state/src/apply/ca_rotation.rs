//! Rotating the CA: begun, moved to by one after the other, the one before dropped.
//!
//! When to go on follows from the state alone, so `apply` goes on by itself; the leader only says
//! whose certificate was seen in use.

use std::collections::BTreeSet;
use std::sync::Arc;

use proto::id::{NodeId, Serial};
use proto::limits::MOVES_MAX;

use super::{Applying, Context};
use crate::ca_rotation::{BeginCaRotation, CaPending, CaPhase, CaRotation, FormerCa};
use crate::object::{Cluster, ObjectId, TransitKey};
use crate::refusal::Refusal;
use crate::remembered::Outcome;

/// How many of each kind a refusal names.
const NAMED_MAX: usize = 10;

fn listed(what: &str, names: &[String]) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let plural = if names.len() == 1 { "" } else { "s" };
    let more = names.len().saturating_sub(NAMED_MAX);
    let shown = names.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("{what}{plural} {shown}{more}"))
}

impl Context<'_> {
    /// Whom a rotation waits for, for people.
    pub(super) fn waits_for(&self, pending: &CaPending) -> String {
        let members: Vec<_> = pending.members.iter().map(ToString::to_string).collect();
        let hostname = |id| self.state.nodes.get(id).map(|node| node.hostname.to_string());
        let nodes: Vec<_> = pending.nodes.iter().filter_map(hostname).collect();
        let name = |id| self.state.operators.get(id).map(|operator| operator.name.to_string());
        let operators: Vec<_> = pending.operators.iter().filter_map(name).collect();
        let parts =
            [listed("manager", &members), listed("node", &nodes), listed("operator", &operators)];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        if parts.is_empty() { "nobody".into() } else { parts.join("; ") }
    }

    /// Another CA takes the place of the present one.
    pub(super) fn begin_ca_rotation(&mut self, begin: BeginCaRotation) -> Applying {
        let Some(mut cluster) = self.state.cluster.clone() else {
            return Err(Refusal::precondition("there is no cluster yet"));
        };
        if self.state.ca_rotations.rotation.is_some() {
            return Err(Refusal::precondition(format!(
                "CA rotation {} is in progress: it waits for {}",
                self.state.ca_rotations.number,
                self.waits_for(&self.state.ca_rotation_pending())
            )));
        }
        let BeginCaRotation { from, authority, bridge, mut signatures } = begin;
        let former = self.state.ca_rotations.former.as_ref().map(|former| former.digest);
        if authority.digest == cluster.authority.digest || former == Some(authority.digest) {
            return Err(Refusal::precondition("the CA's key is not a new one"));
        }
        if authority.wrapped_key.key_id() != cluster.active_root {
            return Err(Refusal::WrongRoot);
        }
        let signs_all = signatures.keys().eq(cluster.transit_keys.keys());
        if from != cluster.authority.digest || !signs_all {
            return Err(Refusal::Stale { current: cluster.revision });
        }
        let changed = Arc::make_mut(&mut cluster);
        for (id, key) in &mut changed.transit_keys {
            let next = signatures.remove(id).map(|signature| (authority.digest, signature));
            let present = (changed.authority.digest, key.signature.clone());
            key.signatures = Some([present].into_iter().chain(next).collect());
        }
        changed.revision = self.revision();
        self.state.cluster = Some(cluster);
        self.state.ca_rotations.number += 1;
        self.state.ca_rotations.rotation = Some(CaRotation {
            authority,
            bridge,
            began_at: self.now,
            asked_by: self.principal(),
            phase: CaPhase::Managers,
            moved: BTreeSet::new(),
            began: self.revision(),
        });
        self.updated(ObjectId::Cluster);
        Ok((Outcome::Done, ObjectId::Cluster))
    }

    /// Certificates of the next CA were seen in use; others say nothing.
    pub(super) fn note_moves(&mut self, serials: &[Serial]) -> Applying {
        if serials.len() > MOVES_MAX {
            return Err(Refusal::limit(
                "the number of certificates seen in use at once",
                MOVES_MAX,
            ));
        }
        let mut applied = 0;
        for serial in serials {
            let known = self.state.certificates.get(serial);
            let Some(certificate) = known.filter(|one| self.state.is_move(one)) else { continue };
            let subject = certificate.subject;
            let moves = self.state.moves_to_next_ca(certificate);
            let renews = self.state.is_renewal(certificate);
            applied += 1;
            if let Some(rotation) = self.state.ca_rotations.rotation.as_mut().filter(|_| moves) {
                rotation.moved.insert(subject);
            }
            if renews {
                self.has_renewed(*serial, subject);
            }
        }
        let stale = serials.len() as u64 - applied;
        self.follow_rotations();
        Ok((Outcome::Steps { applied, stale }, ObjectId::Cluster))
    }

    /// Agents and operators that have not moved are left behind.
    pub(super) fn drop_former_ca(&mut self) -> Applying {
        let pending = self.state.ca_rotation_pending();
        let Some(rotation) = &self.state.ca_rotations.rotation else {
            return Err(Refusal::precondition("no CA rotation is in progress"));
        };
        if rotation.phase == CaPhase::Managers || !pending.members.is_empty() {
            return Err(Refusal::precondition(format!(
                "CA rotation {} waits for {}: managers are never left behind",
                self.state.ca_rotations.number,
                self.waits_for(&pending)
            )));
        }
        self.finish_ca_rotation();
        Ok((Outcome::Done, ObjectId::Cluster))
    }

    /// Who is waited for may be somebody else.
    pub(super) fn follow_rotations(&mut self) {
        self.follow_ca_rotation();
        self.follow_certificate_rotation();
    }

    /// Goes on once nobody is waited for.
    fn follow_ca_rotation(&mut self) {
        let pending = self.state.ca_rotation_pending();
        let none_left = !self.state.members.is_empty() && pending.is_empty();
        let rotation = self.state.ca_rotations.rotation.as_mut().filter(|_| none_left);
        let Some(rotation) = rotation else { return };
        if rotation.phase == CaPhase::Managers {
            rotation.phase = CaPhase::Clients;
            // Their sessions tell them to move.
            let agents = self.state.nodes.iter().filter(|(_, node)| node.has_agent);
            let agents: Vec<NodeId> = agents.map(|(id, _)| *id).collect();
            for node in agents {
                self.assignments(Some(node));
            }
            self.updated(ObjectId::Cluster);
            return self.follow_ca_rotation();
        }
        self.finish_ca_rotation();
    }

    /// The next CA is the present one, and its certificates are all there are.
    fn finish_ca_rotation(&mut self) {
        let pending = self.state.ca_rotation_pending();
        let revision = self.revision();
        // What names the CA that is dropped now is kept for a while, to say so; not what names one
        // that was dropped earlier.
        let mut tokens = std::mem::take(&mut self.state.tokens);
        tokens.retain(|_, token| self.state.leads_here(token));
        self.state.tokens = tokens;
        let Some(rotation) = self.state.ca_rotations.rotation.take() else { return };
        let CaRotation { authority, bridge, began_at, began, .. } = rotation;
        let digest = authority.digest;
        if let Some(cluster) = self.state.cluster.as_mut() {
            let cluster = Arc::make_mut(cluster);
            cluster.revision = revision;
            let former = std::mem::replace(&mut cluster.authority, authority);
            for key in cluster.transit_keys.values_mut() {
                let signature = key.signatures.take().and_then(|mut all| all.remove(&digest));
                if let Some(signature) = signature {
                    key.signatures = Some([(digest, signature.clone())].into());
                    key.signature = signature;
                }
            }
            self.state.ca_rotations.former = Some(FormerCa {
                digest: former.digest,
                certificate: former.certificate,
                bridge,
                began_at,
                dropped_at: self.now,
                left_behind: (pending.nodes.len() + pending.operators.len()) as u64,
                began,
                dropped: revision,
            });
        }
        let mut certificates = std::mem::take(&mut self.state.certificates);
        certificates.retain(|serial, certificate| {
            let stays = certificate.authority == Some(digest);
            if !stays {
                self.removed(ObjectId::Certificate(*serial));
            }
            stays
        });
        self.state.certificates = certificates;
        self.updated(ObjectId::Cluster);
    }

    /// A transit key that comes in has the signature of every CA that somebody may go by.
    pub(super) fn settle_signatures(
        &self,
        cluster: &Cluster,
        key: &mut TransitKey,
    ) -> Result<(), Refusal> {
        let rotations = &self.state.ca_rotations;
        let Some(signatures) = &mut key.signatures else {
            // Of the first CA, which nothing follows yet.
            let is_first = rotations.rotation.is_none() && rotations.is_first();
            return if is_first { Ok(()) } else { Err(Refusal::OtherAuthority) };
        };
        let trusted: BTreeSet<_> = self.state.authorities().map(|ca| ca.digest).collect();
        if !trusted.iter().all(|digest| signatures.contains_key(digest)) {
            return Err(Refusal::OtherAuthority);
        }
        signatures.retain(|digest, _| trusted.contains(digest));
        let present = signatures.get(&cluster.authority.digest).ok_or(Refusal::OtherAuthority)?;
        key.signature = present.clone();
        Ok(())
    }
}
