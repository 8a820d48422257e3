//! The CA's rotation, as operators ask for it and see it, and as managers see it in use.
//!
//! Not here: making a CA (ca), what is accepted and when it goes on (state), what a manager shows and
//! trusts (manager).
//!
//! Invariant: a certificate counts as in use only once somebody was authenticated by it here.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use link::Failure;
use link::certificate::PeerCertificate;
use proto::id::{MemberId, NodeId, OperatorId, Serial};
use proto::identity::Caller;
use proto::limits::MOVES_MAX;
use proto::{Kind, pb};
use state::command::Command;
use state::object::NodeState;
use state::{CaPending, CaPhase, Refusal, State};
use tokio::sync::Notify;

use super::{Service, internal, mark, refused, root_keys};
use crate::ca::{self, CaError};
use crate::keys::KeyringError;

/// How often a CA is made again when what it signs changes under the request.
const TRIES_MAX: usize = 3;

/// How many nodes and operators are named in an answer.
const NAMED_MAX: usize = 100;

/// Certificates of the CA that is rotated in, or that were renewed for a rotation, and were seen in use
/// at this manager, until the state has it.
#[derive(Default)]
pub(crate) struct Moves {
    seen: Mutex<BTreeSet<Serial>>,
    /// There is one more.
    pub(crate) news: Notify,
}

impl Moves {
    /// Those to tell the leader of.
    pub(crate) fn pending(&self, state: &State) -> Vec<Serial> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|serial| state.certificate(*serial).is_some_and(|kept| state.is_move(kept)));
        seen.iter().take(MOVES_MAX).copied().collect()
    }
}

/// What everybody's certificates come from.
pub(crate) struct TlsAnchor {
    /// The CA's certificate, DER.
    pub(crate) certificate: bytes::Bytes,
    /// Its subject, DER.
    pub(crate) subject: Vec<u8>,
    /// Its public key, DER.
    pub(crate) public_key: Vec<u8>,
    /// Whether no other one is about to take its place.
    pub(crate) is_settled: bool,
}

impl Service {
    /// The CA, as this manager knows it.
    pub(crate) fn tls_anchor(&self) -> Result<TlsAnchor, Failure> {
        let certificate = self.cluster()?.authority.certificate.0.clone();
        let is_settled = self.raft.machine.state().ca_rotations().rotation.is_none();
        Ok(TlsAnchor {
            subject: link::certificate::subject_of(&certificate).map_err(|e| internal(&e))?,
            public_key: link::certificate::public_key_of(&certificate).map_err(|e| internal(&e))?,
            certificate,
            is_settled,
        })
    }

    /// Somebody was authenticated by a certificate, or this manager presents it.
    pub(crate) fn note_use(&self, certificate: &PeerCertificate) {
        let is_news = {
            let state = self.raft.machine.state();
            let under_way = state.ca_rotations().rotation.is_some()
                || state.certificate_rotations().rotation.is_some();
            let kept = state.certificate(certificate.serial).filter(|_| under_way);
            kept.is_some_and(|kept| state.is_move(kept))
        };
        if is_news {
            let mut seen = self.moves.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.insert(certificate.serial) {
                self.moves.news.notify_one();
            }
        }
    }

    pub(super) async fn rotate_ca(
        &self,
        caller: Caller,
        request: pb::RotateCaRequest,
    ) -> Result<pb::RotateCaResponse, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        if request.drop_missing {
            let dropped = self.propose(caller, Some(mark), Command::DropFormerCa).await;
            dropped.map_err(|failure| self.with_next_steps(failure))?;
        } else {
            self.begin_ca_rotation(caller, mark).await?;
        }
        Ok(pb::RotateCaResponse { number: self.raft.machine.state().ca_rotations().number })
    }

    async fn begin_ca_rotation(
        &self,
        caller: Caller,
        mark: state::object::RequestMark,
    ) -> Result<(), Failure> {
        for _ in 0..TRIES_MAX {
            let cluster = self.cluster()?;
            let begin = ca::succeed(&self.keyring, &cluster, super::now());
            let begin = begin.map_err(|error| match error {
                CaError::Key(KeyringError::NoRoot) => root_keys::no_root_key(),
                error => internal(&error),
            })?;
            let command = Command::BeginCaRotation(Box::new(begin));
            match self.propose_raw(caller, Some(mark), command).await? {
                Ok(_) => return Ok(()),
                // A root key or a transit key was exchanged in between.
                Err(Refusal::WrongRoot | Refusal::Stale { .. }) => {}
                Err(refusal) => return Err(self.with_next_steps(refused(&refusal))),
            }
        }
        Err(Failure::new(Kind::Unavailable, "the cluster's keys keep changing").hint("try again"))
    }

    fn with_next_steps(&self, failure: Failure) -> Failure {
        let pending = {
            let state = self.raft.machine.state();
            state.ca_rotations().rotation.as_ref().map(|_| state.ca_rotation_pending())
        };
        with_hints(failure, pending.as_ref())
    }
}

/// What can be done about a refusal, by whom the rotation under way waits for; none if none is.
fn with_hints(failure: Failure, pending: Option<&CaPending>) -> Failure {
    if failure.kind != Kind::Precondition {
        return failure;
    }
    let Some(pending) = pending else {
        return failure.hint(
            "`secretctl cluster keys` shows the last one, `secretctl cluster rotate ca` begins one",
        );
    };
    let failure = failure.hint("`secretctl cluster keys` shows how far it is");
    // Nobody is left behind before the last manager has moved.
    if !pending.members.is_empty() {
        return failure
            .hint("a manager that is gone for good: `secretctl cluster member rm --lost`");
    }
    failure
        .hint("who is gone for good is removed: `secretctl node rm`, `secretctl operator rm`")
        .hint("or all are left behind: `secretctl cluster rotate ca --drop-missing`")
}

fn digest(digest: &state::object::Digest) -> bytes::Bytes {
    digest.0.to_vec().into()
}

/// The rotation that was asked for last; none if none was.
pub(super) fn rotation(state: &State) -> Option<pb::CaRotation> {
    let (rotations, cluster) = (state.ca_rotations(), state.cluster()?);
    let number = rotations.number;
    let present = digest(&cluster.authority.digest);
    let Some(rotation) = &rotations.rotation else {
        return rotations.former.as_ref().map(|former| pb::CaRotation {
            number,
            phase: pb::CaPhase::Complete.into(),
            new_ca_digest: present,
            old_ca_digest: digest(&former.digest),
            began_at: former.began_at.0,
            ended_at: former.dropped_at.0,
            left_behind: former.left_behind,
            ..pb::CaRotation::default()
        });
    };
    let phase = match rotation.phase {
        CaPhase::Managers => pb::CaPhase::Managers,
        CaPhase::Clients => pb::CaPhase::Clients,
    };
    let stragglers = Stragglers::of(state, &state.ca_rotation_pending());
    Some(pb::CaRotation {
        number,
        phase: phase.into(),
        new_ca_digest: digest(&rotation.authority.digest),
        old_ca_digest: present,
        began_at: rotation.began_at.0,
        ended_at: 0,
        left_behind: 0,
        managers: stragglers.managers,
        nodes_left: stragglers.nodes_left,
        operators_left: stragglers.operators_left,
        nodes: stragglers.nodes,
        operators: stragglers.operators,
    })
}

/// Whom a rotation waits for, as it is told.
pub(super) struct Stragglers {
    pub(super) managers: Vec<pb::CaStraggler>,
    /// The first of them, and how many there are.
    pub(super) nodes: Vec<pb::CaStraggler>,
    pub(super) nodes_left: u64,
    pub(super) operators: Vec<pb::CaStraggler>,
    pub(super) operators_left: u64,
}

impl Stragglers {
    pub(super) fn of(state: &State, pending: &CaPending) -> Self {
        let CaPending { members, nodes, operators } = pending;
        let node = |id: &NodeId| {
            let node = state.node(*id);
            pb::CaStraggler {
                id: id.to_string(),
                name: node.map(|node| node.hostname.to_string()).unwrap_or_default(),
                down: node.is_some_and(|node| node.state != NodeState::Ready),
            }
        };
        let operator = |id: &OperatorId| pb::CaStraggler {
            id: id.to_string(),
            name: state.operator(*id).map(|one| one.name.to_string()).unwrap_or_default(),
            down: false,
        };
        Self {
            managers: members.iter().map(|id| manager(state, *id)).collect(),
            nodes: nodes.iter().take(NAMED_MAX).map(node).collect(),
            nodes_left: nodes.len() as u64,
            operators: operators.iter().take(NAMED_MAX).map(operator).collect(),
            operators_left: operators.len() as u64,
        }
    }
}

fn manager(state: &State, id: MemberId) -> pb::CaStraggler {
    let node = state.member(id).and_then(|member| state.node(member.node_id));
    pb::CaStraggler {
        id: id.to_string(),
        name: node.map(|node| node.hostname.to_string()).unwrap_or_default(),
        down: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(pending: Option<&CaPending>) -> String {
        with_hints(Failure::new(Kind::Precondition, "no"), pending).hints.join("; ")
    }

    #[test]
    fn only_what_would_not_be_refused_is_a_next_step() {
        let node = NodeId::from_entropy([1; 17]);
        let mut pending = CaPending { nodes: vec![node], ..CaPending::default() };
        assert!(hints(Some(&pending)).contains("`secretctl cluster rotate ca --drop-missing`"));
        pending.members = vec![MemberId(3)];
        assert!(hints(Some(&pending)).contains("`secretctl cluster member rm --lost`"));
        assert!(!hints(Some(&pending)).contains("--drop-missing"));
        assert!(hints(None).contains("`secretctl cluster rotate ca` begins one"));
        assert!(!hints(None).contains("--drop-missing"));
        let other = with_hints(Failure::new(Kind::Denied, "no"), Some(&pending));
        assert!(other.hints.is_empty(), "{other:?}");
    }
}
