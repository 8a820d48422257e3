//! Trying a slot's command: on this manager, and on every one that answers.
//!
//! A command is the same path on every manager and a program of each host's own: that it opens one
//! says nothing of the others. So a slot with a command is proved when it opened on every manager
//! that answers, and each of them tries for itself; what the program prints stays where it is. Not
//! here: running it (`keys::command`), what a proof is good for (`state`).
//!
//! Invariant: a manager runs one trial at a time, whoever asks.

use std::time::Duration;

use futures_util::future::join_all;
use link::Failure;
use proto::id::MemberId;
use proto::{Kind, pb};
use seal::{SlotCommand, SlotKind, SlotParameters, SlotPublicKey};
use state::object::SlotRecipient;

use super::Service;
use super::slots::find;
use crate::keys::command;
use crate::raft::Purpose;

/// Time for a manager to answer beside what its command may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Held while a manager runs a trial.
#[derive(Default)]
pub(crate) struct Trial(tokio::sync::Mutex<()>);

/// The command of a slot, and what it has to open.
fn command_of(slot: &SlotRecipient) -> Result<(SlotCommand, SlotPublicKey), Failure> {
    let damaged = || Failure::new(Kind::Invalid, "the slot's parameters are not a command's");
    match SlotParameters::parse(SlotKind::Command, &slot.parameters.0) {
        Ok(SlotParameters::Command(command)) => {
            let public = SlotPublicKey::parse(slot.public_key.0.clone()).map_err(|_| damaged())?;
            Ok((command, public))
        }
        _ => Err(damaged()),
    }
}

impl Service {
    /// Runs a slot's command here; why it did not open the slot, or nothing.
    pub(crate) async fn try_slot(
        &self,
        request: pb::TrySlotRequest,
    ) -> Result<pb::TrySlotResponse, Failure> {
        let cluster = self.cluster()?;
        let (command, public) = command_of(find(&cluster, &request.id)?)?;
        let Ok(_one) = self.key_desk.trial.0.try_lock() else {
            return Err(Failure::new(
                Kind::Unavailable,
                "another trial is under way on this manager",
            )
            .hint("try again in a moment"));
        };
        let tried = command::run(&command, &public).await;
        let reason = tried.err().map(|failure| failure.to_string()).unwrap_or_default();
        tracing::info!(target: "audit", action = "try_slot", path = command.path(), reason, "slot_tried");
        Ok(pb::TrySlotResponse { member: self.raft.me.0, reason })
    }

    /// Has every manager try a slot's command.
    pub(super) async fn trials(
        &self,
        slot: &SlotRecipient,
        id: &[u8],
    ) -> Result<Vec<pb::SlotTrial>, Failure> {
        let (command, _) = command_of(slot)?;
        let limit = ANSWER_TIMEOUT + Duration::from_secs(command.seconds().into());
        let members: Vec<_> = {
            let state = self.raft.machine.state();
            let hostname = |node| state.node(node).map(|node| node.hostname.to_string());
            let members = state.members().iter();
            members.map(|(id, one)| (*id, hostname(one.node_id).unwrap_or_default())).collect()
        };
        let asked = members.into_iter().map(|(member, hostname)| async move {
            let request = pb::TrySlotRequest { id: id.to_vec().into() };
            let said = self.try_slot_of(member, request, limit).await;
            let answered = said.is_ok();
            let reason = said.map_or_else(|failure| failure.message, |said| said.reason);
            pb::SlotTrial { member: member.0, hostname, answered, reason }
        });
        Ok(join_all(asked).await)
    }

    async fn try_slot_of(
        &self,
        member: MemberId,
        request: pb::TrySlotRequest,
        limit: Duration,
    ) -> Result<pb::TrySlotResponse, Failure> {
        if member == self.raft.me {
            return self.try_slot(request).await;
        }
        let mut client = self.raft.pool.client(member, Purpose::Calls)?;
        let answer = tokio::time::timeout(limit, client.try_slot(request)).await;
        let silent = |_| Failure::new(Kind::Timeout, format!("manager {member} is silent"));
        let said = answer.map_err(silent)??.into_inner();
        // Another member may answer at an address that moved.
        if said.member != member.0 {
            return Err(Failure::new(Kind::Unavailable, "another manager answers there"));
        }
        Ok(said)
    }
}
