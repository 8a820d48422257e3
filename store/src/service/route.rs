//! Routing: a call is carried out by the leader, wherever it arrived.
//!
//! A follower hands it on with its caller, and tries again while an election is under way; what is
//! tried again carries the same request key, so that nothing is done twice. The caller's identity
//! is authenticated here, where its connection ends, and authorised on the leader.
//!
//! Invariant: a call that ends in `no_leader` was not carried out, or not acknowledged.

use std::time::{Duration, Instant};

use link::Failure;
use prost::Message as _;
use proto::identity::Caller;
use proto::{Kind, pb};
use state::Refusal;

use super::{Call, CallName, Service, lookup, no_leader, refused};
use crate::raft::Purpose;

/// How long a call looks for a leader: several elections, and less than a client's patience.
const LEADER_WITHIN: Duration = Duration::from_secs(5);

/// Pause between two tries: a tenth of an election.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Time for the leader's answer: longer than a proposal may take there.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

impl Service {
    /// Has a call carried out by the leader.
    ///
    /// # Errors
    ///
    /// What the caller is told.
    pub(crate) async fn route<C: Call>(
        &self,
        caller: Caller,
        request: C,
    ) -> Result<C::Response, Failure> {
        let began = Instant::now();
        let outcome = self.try_until_led(caller, request, began).await;
        self.figures.count(C::METHOD, &outcome, began.elapsed());
        outcome
    }

    async fn try_until_led<C: Call>(
        &self,
        caller: Caller,
        request: C,
        began: Instant,
    ) -> Result<C::Response, Failure> {
        loop {
            let failure = match self.try_once(caller, &request).await {
                Err(failure) if failure.kind == Kind::NoLeader => failure,
                other => return other,
            };
            if began.elapsed() > LEADER_WITHIN {
                return Err(self.name_the_missing(failure).await);
            }
            let mut leadership = self.raft.leadership();
            // A new leader may show itself sooner.
            drop(tokio::time::timeout(RETRY_AFTER, leadership.changed()).await);
        }
    }

    async fn try_once<C: Call>(&self, caller: Caller, request: &C) -> Result<C::Response, Failure> {
        let leadership = *self.raft.leadership().borrow();
        match leadership.leader {
            None => Err(no_leader()),
            Some(leader) if leader == self.raft.me => self.call(caller, request.clone()).await,
            Some(leader) => self.forward(leader, caller, request).await,
        }
    }

    async fn forward<C: Call>(
        &self,
        leader: proto::id::MemberId,
        caller: Caller,
        request: &C,
    ) -> Result<C::Response, Failure> {
        use pb::forward_response::Outcome;
        let mut client = self.raft.pool.client(leader, Purpose::Calls)?;
        let message = pb::ForwardRequest {
            caller: minicbor::to_vec(caller).unwrap_or_default().into(),
            method: C::METHOD.into(),
            request: request.encode_to_vec().into(),
        };
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, client.forward(message)).await;
        let answer = answer.map_err(|_| no_leader())?;
        let answer = answer.map_err(|status| unanswered(&status))?.into_inner();
        let malformed = || Failure::new(Kind::Internal, "the leader's answer does not decode");
        match answer.outcome {
            Some(Outcome::Response(bytes)) => C::Response::decode(bytes).map_err(|_| malformed()),
            Some(Outcome::Error(detail)) => Err(Failure::from_detail(detail)),
            None => Err(malformed()),
        }
    }

    /// Says which managers are missing, when a majority is.
    async fn name_the_missing(&self, failure: Failure) -> Failure {
        let members = self.describe_members().await;
        let voter = pb::MemberState::Voter as i32;
        let voters: Vec<_> = members.iter().filter(|member| member.state == voter).collect();
        let missing: Vec<_> = voters.iter().filter(|member| !member.reachable).collect();
        if missing.is_empty() {
            return failure;
        }
        let names = missing.iter().map(|m| format!("{} ({})", m.hostname, m.address));
        failure.because(format!(
            "{} of {} managers can be reached, {} are needed; missing: {}",
            voters.len() - missing.len(),
            voters.len(),
            voters.len() / 2 + 1,
            names.collect::<Vec<_>>().join(", ")
        ))
    }

    /// The service whose output a caller wants, if it may: who may deploy with its secrets can
    /// read what it does with them.
    ///
    /// # Errors
    ///
    /// If the caller may not, or the service is not there.
    pub(crate) async fn readable_output(
        &self,
        caller: Caller,
        selector: &pb::OutputSelector,
    ) -> Result<proto::id::ServiceId, Failure> {
        self.barrier().await?;
        self.authorise(caller, CallName::StreamOutput)?;
        let state = self.raft.machine.state();
        let (id, service) = lookup::service(&state, &selector.service_id)?;
        let of_spec = service.spec.task.secrets.iter().map(|reference| reference.secret_id);
        let of_tasks = state
            .tasks_of_service(id)
            .flat_map(|(_, task)| task.secrets.iter().map(|reference| reference.secret_id));
        for secret in of_spec.chain(of_tasks) {
            if let Some(secret) = state.secret(secret)
                && !state.may_use(caller.principal(), secret)
            {
                let secret = secret.name.to_string();
                let caller = caller.principal().to_string();
                return Err(refused(&Refusal::NotUsable { secret, caller }));
            }
        }
        Ok(id)
    }
}

/// The leader was not reached, or turned the connection down: another may lead by now.
fn unanswered(status: &tonic::Status) -> Failure {
    tracing::debug!(%status, "forward_failed");
    let failure = Failure::from(status.clone());
    match failure.kind {
        Kind::Denied | Kind::Unauthenticated | Kind::Evicted => failure,
        _ => no_leader(),
    }
}
