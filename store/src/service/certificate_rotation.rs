//! The rotation of certificates, as operators ask for it and see it, and who is asked to renew.
//!
//! Not here: what is accepted and when it is complete (state), how managers, agents and operators'
//! tools renew (manager, agent, secretctl), who was seen to use what (`ca_rotation`).

use link::Failure;
use proto::id::Serial;
use proto::identity::{Caller, Role};
use proto::{Kind, pb};
use state::State;
use state::command::Command;

use super::ca_rotation::Stragglers;
use super::{Service, mark};

impl Service {
    pub(super) async fn rotate_certificates(
        &self,
        caller: Caller,
        request: pb::RotateCertificatesRequest,
    ) -> Result<pb::RotateCertificatesResponse, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        let command = if request.cut_missing {
            Command::CutFormerCertificates
        } else {
            Command::BeginCertificateRotation
        };
        let done = self.propose(caller, Some(mark), command).await;
        done.map_err(|failure| self.with_steps(failure))?;
        let number = self.raft.machine.state().certificate_rotations().number;
        Ok(pb::RotateCertificatesResponse { number })
    }

    /// What can be done about a refusal, by whom the rotation under way waits for.
    fn with_steps(&self, failure: Failure) -> Failure {
        if failure.kind != Kind::Precondition {
            return failure;
        }
        let pending = {
            let state = self.raft.machine.state();
            let rotations = state.certificate_rotations();
            rotations.rotation.as_ref().map(|_| state.certificate_rotation_pending())
        };
        let failure = failure.hint("`secretctl cluster keys` shows how far it is");
        match pending {
            None => failure,
            // Nobody is left behind before the last manager has renewed.
            Some(pending) if !pending.members.is_empty() => failure
                .hint("a manager that is gone for good: `secretctl cluster member rm --lost`"),
            Some(_) => failure
                .hint(
                    "who is gone for good is removed: `secretctl node rm`, `secretctl operator rm`",
                )
                .hint(
                    "or all are left behind: `secretctl cluster rotate certificates --cut-missing`",
                ),
        }
    }

    /// Whether this manager is to renew the certificate that it presents.
    pub(crate) fn is_to_renew(&self, own: Serial) -> bool {
        let state = self.raft.machine.state();
        // One that is not known yet was issued a moment ago.
        state.certificate(own).is_some() && state.owes_renewal(own)
    }

    /// Whether an operator's tool is to be told to renew its certificate.
    pub(crate) fn asks_to_renew(&self, caller: Caller) -> bool {
        let Caller::Certified { subject, serial } = caller else { return false };
        subject.role() == Role::Operator && self.raft.machine.state().owes_renewal(serial)
    }
}

/// The rotation that was asked for last; none if none was.
pub(super) fn rotation(state: &State) -> Option<pb::CertificateRotation> {
    let rotations = state.certificate_rotations();
    let number = rotations.number;
    let Some(rotation) = &rotations.rotation else {
        return rotations.last.as_ref().map(|last| pb::CertificateRotation {
            number,
            began_at: last.began_at.0,
            ended_at: last.ended_at.0,
            left_behind: last.left_behind,
            ..pb::CertificateRotation::default()
        });
    };
    let stragglers = Stragglers::of(state, &state.certificate_rotation_pending());
    Some(pb::CertificateRotation {
        number,
        began_at: rotation.began_at.0,
        ended_at: 0,
        left_behind: 0,
        renewed: rotation.renewed.len() as u64,
        managers: stragglers.managers,
        nodes: stragglers.nodes,
        operators: stragglers.operators,
        nodes_left: stragglers.nodes_left,
        operators_left: stragglers.operators_left,
    })
}
