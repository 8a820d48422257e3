//! Routing: a call is carried out by the leader, wherever it arrived.
//!
//! A follower hands it on with its caller, and tries again while an election is under way; what is
//! tried again carries the same request key, so that nothing is done twice. The caller's identity
//! is authenticated here, where its connection ends, and authorised on the leader.
//!
//! Invariant: a call that ends in `no_leader` was not carried out; one whose fate nobody knows, since it
//! was sent to a leader that did not answer, says so.

use std::error::Error;
use std::time::{Duration, Instant};

use link::Failure;
use prost::Message as _;
use proto::identity::Caller;
use proto::{Kind, pb};
use state::Refusal;
use tonic::Code;

use super::{Call, CallName, Service, lookup, no_leader, refused};
use crate::raft::Purpose;

/// How long a call looks for a leader: several elections, and less than a client's patience.
const LEADER_WITHIN: Duration = Duration::from_secs(5);

/// Pause between two tries: a tenth of an election.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Time for the leader's answer: longer than a proposal may take there.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Why one try came to nothing.
enum Miss {
    /// There is an answer, which may be that there is no leader.
    Told(Failure),
    /// It was sent to the leader, and not answered: it may have been carried out.
    Lost,
}

impl From<Failure> for Miss {
    fn from(failure: Failure) -> Self {
        Self::Told(failure)
    }
}

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
        let once = || self.try_once(caller, &request);
        let is_over = || began.elapsed() > LEADER_WITHIN;
        let outcome = match until_led(is_over, once, || self.pause()).await {
            Err(failure) if failure.kind == Kind::NoLeader => {
                Err(self.name_the_missing(failure).await)
            }
            outcome => outcome,
        };
        self.figures.count(C::METHOD, &outcome, began.elapsed());
        outcome
    }

    async fn pause(&self) {
        let mut leadership = self.raft.leadership();
        // A new leader may show itself sooner.
        drop(tokio::time::timeout(RETRY_AFTER, leadership.changed()).await);
    }

    async fn try_once<C: Call>(&self, caller: Caller, request: &C) -> Result<C::Response, Miss> {
        let leadership = *self.raft.leadership().borrow();
        match leadership.leader {
            None => Err(no_leader().into()),
            Some(leader) if leader == self.raft.me => {
                Ok(self.call(caller, request.clone()).await?)
            }
            Some(leader) => self.forward(leader, caller, request).await,
        }
    }

    async fn forward<C: Call>(
        &self,
        leader: proto::id::MemberId,
        caller: Caller,
        request: &C,
    ) -> Result<C::Response, Miss> {
        use pb::forward_response::Outcome;
        let client = self.raft.pool.client(leader, Purpose::Calls);
        let mut client = client.map_err(Failure::from)?;
        let message = pb::ForwardRequest {
            caller: minicbor::to_vec(caller).unwrap_or_default().into(),
            method: C::METHOD.into(),
            request: request.encode_to_vec().into(),
        };
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, client.forward(message)).await;
        let answer = answer.map_err(|_| Miss::Lost)?;
        let answer = answer.map_err(|status| unanswered(&status))?.into_inner();
        let malformed = || Failure::new(Kind::Internal, "the leader's answer does not decode");
        match answer.outcome {
            Some(Outcome::Response(bytes)) => {
                Ok(C::Response::decode(bytes).map_err(|_| malformed())?)
            }
            Some(Outcome::Error(detail)) => Err(Failure::from_detail(detail).into()),
            None => Err(malformed().into()),
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

/// Tries until somebody leads, or the time is over.
async fn until_led<T, F, P>(
    is_over: impl Fn() -> bool,
    once: impl Fn() -> F,
    pause: impl Fn() -> P,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Miss>>,
    P: Future<Output = ()>,
{
    let mut is_lost = false;
    loop {
        let failure = match once().await {
            Ok(answer) => return Ok(answer),
            Err(Miss::Told(failure)) if failure.kind != Kind::NoLeader => {
                let is_undecided = is_lost && failure.kind.is_retryable();
                return Err(if is_undecided { look_first(failure) } else { failure });
            }
            Err(Miss::Told(failure)) => failure,
            Err(Miss::Lost) => {
                is_lost = true;
                no_leader()
            }
        };
        if is_over() {
            return Err(if is_lost { look_first(failure) } else { failure });
        }
        pause().await;
    }
}

/// What was not done now may have been done by the leader that did not answer.
fn look_first(mut failure: Failure) -> Failure {
    failure.hints.clear();
    failure
        .hint("if it changes anything, look whether it was done before you ask for it again")
        .hint("`secretctl cluster status` shows who is missing; docs/operations/lost-quorum.md")
}

/// The leader was not reached, or turned the connection down: another may lead by now.
fn unanswered(status: &tonic::Status) -> Miss {
    tracing::debug!(%status, "forward_failed");
    let failure = Failure::from(status.clone());
    match failure.kind {
        Kind::Denied | Kind::Unauthenticated | Kind::Evicted => failure.into(),
        // The leader is there and has answered: once more would be the same.
        _ if status.code() == Code::OutOfRange => {
            Failure::new(Kind::TooLarge, "the answer is larger than managers send one another")
                .hint("ask for less, or ask the manager that leads")
                .into()
        }
        _ if was_sent(status) => Miss::Lost,
        _ => no_leader().into(),
    }
}

/// Whether a call that failed may have reached the other end: not if no connection was made.
fn was_sent(status: &tonic::Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return false;
        }
        source = error.source();
    }
    true
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use super::*;

    /// What a caller is told of tries that end so, one after another, until the time is over.
    async fn told(tries: impl IntoIterator<Item = Result<(), Miss>>) -> Result<(), Failure> {
        let tries = RefCell::new(VecDeque::from_iter(tries));
        let is_over = || tries.borrow().is_empty();
        let once = async || tries.borrow_mut().pop_front().unwrap();
        until_led(is_over, once, async || ()).await
    }

    fn told_so(kind: Kind) -> Result<(), Miss> {
        Err(Failure::new(kind, "told").into())
    }

    #[tokio::test]
    async fn what_was_sent_and_not_answered_is_not_said_to_be_undone() {
        let nobody_leads = || Err(no_leader().into());
        let none_led = told([nobody_leads(), nobody_leads()]).await.unwrap_err();
        assert!(none_led.hints.join(" ").contains("nothing was changed"));
        for tries in [
            [Err(Miss::Lost), nobody_leads()],
            [nobody_leads(), Err(Miss::Lost)],
            [Err(Miss::Lost), told_so(Kind::Unavailable)],
        ] {
            let failure = told(tries).await.unwrap_err();
            let hints = failure.hints.join(" ");
            assert!(failure.kind.is_retryable());
            assert!(hints.contains("look whether it was done"), "{hints}");
            assert!(!hints.contains("nothing was changed"), "{hints}");
        }
    }

    #[tokio::test]
    async fn a_call_is_tried_again_while_nobody_leads() {
        let until = async |last| told([Err(Miss::Lost), told_so(Kind::NoLeader), last]).await;
        until(Ok(())).await.unwrap();
        assert_eq!(until(told_so(Kind::Exists)).await.unwrap_err().kind, Kind::Exists);
    }

    #[tokio::test]
    async fn a_call_that_found_no_connection_was_not_sent() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let channel = tonic::transport::Endpoint::from_shared(address).unwrap().connect_lazy();
        let mut client = link::rpc::peer_client::PeerClient::new(channel);
        let status = client.forward(pb::ForwardRequest::default()).await.unwrap_err();
        assert!(!was_sent(&status), "{status:?}");
        assert!(
            matches!(unanswered(&status), Miss::Told(failure) if failure.kind == Kind::NoLeader)
        );
        let large = tonic::Status::out_of_range("decoded message length too large");
        assert!(
            matches!(unanswered(&large), Miss::Told(failure) if failure.kind == Kind::TooLarge)
        );
        let broken = tonic::Status::unknown("h2 protocol error: connection reset");
        assert!(was_sent(&broken) && matches!(unanswered(&broken), Miss::Lost));
    }
}
