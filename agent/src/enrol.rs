//! Asking managers for a certificate: one after the other, until one answers for good.
//!
//! Joining and renewing share it. Not here: what is asked, and what is made of the answer.
//!
//! Invariant: the request is the same in every try, its key included, so that a manager which has
//! done it already answers as it did then.

use std::time::Duration;

use link::Failure;
use proto::{Kind, pb};
use tonic::{Response, Status};

use crate::session::schedule::{Chance as _, Random};

/// How long one manager may take: it may have to wait for a new leader.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Nobody gave a certificate.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// A manager said no; another would say the same.
    Refused(Failure),
    /// Nobody could, for now: what the most telling of them said.
    Unavailable(Failure),
    /// Whoever answered is not of the cluster that is meant, at any of these addresses.
    Foreign(String),
}

/// Asks each manager once, beginning at a random one.
pub(crate) async fn round<F, A>(managers: &[String], ask: F) -> Result<pb::Enrolled, Unanswered>
where
    F: Fn(String) -> A,
    A: Future<Output = Result<Response<pb::Enrolled>, Status>>,
{
    let start = usize::try_from(Random.below(managers.len() as u64)).unwrap_or_default();
    let mut unavailable: Option<Failure> = None;
    let mut foreign = Vec::new();
    for address in managers.iter().cycle().skip(start).take(managers.len()) {
        let failure = match tokio::time::timeout(ANSWER_WITHIN, ask(address.clone())).await {
            Ok(Ok(enrolled)) => return Ok(enrolled.into_inner()),
            Ok(Err(status)) => {
                let said = !status.details().is_empty();
                let failure = Failure::from(status);
                if said && !failure.kind.is_retryable() {
                    return Err(Unanswered::Refused(failure));
                }
                failure
            }
            Err(_) => Failure::new(Kind::Timeout, "no answer"),
        };
        tracing::debug!(peer.addr = %address, error = told(&failure), "enrolment_failed");
        if failure.is_of_foreign_peer() {
            foreign.push(address.clone());
            continue;
        }
        // What a manager said goes before what the network did.
        let is_better =
            unavailable.as_ref().is_none_or(|known| rank(failure.kind) < rank(known.kind));
        if is_better {
            let because = failure.because.unwrap_or(failure.message);
            unavailable = Some(Failure::new(failure.kind, format!("{address}: {because}")));
        }
    }
    Err(match unavailable {
        None if !foreign.is_empty() => Unanswered::Foreign(foreign.join(", ")),
        failure => Unanswered::Unavailable(
            failure.unwrap_or_else(|| Failure::new(Kind::Unavailable, "no manager is known")),
        ),
    })
}

const fn rank(kind: Kind) -> u8 {
    match kind {
        Kind::NoLeader => 0,
        Kind::Locked => 1,
        Kind::Timeout => 2,
        _ => 3,
    }
}

/// A failure in one line.
pub(crate) fn told(failure: &Failure) -> String {
    match &failure.because {
        Some(because) => format!("{}: {because}", failure.message),
        None => failure.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn managers(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("host-{number}:1")).collect()
    }

    async fn answered(
        count: usize,
        answer: impl Fn(&str) -> Result<(), Status>,
    ) -> (Vec<String>, Result<pb::Enrolled, Unanswered>) {
        let asked = std::cell::RefCell::new(Vec::new());
        let result = round(&managers(count), |address| {
            let answer = answer(&address);
            asked.borrow_mut().push(address);
            async { answer.map(|()| Response::new(pb::Enrolled::default())) }
        })
        .await;
        (asked.into_inner(), result)
    }

    #[tokio::test]
    async fn the_next_manager_is_asked_until_one_answers() {
        let no_leader = || Status::from(Failure::new(Kind::NoLeader, "no leader"));
        let (asked, result) = answered(3, |address| match address {
            "host-1:1" => Ok(()),
            _ => Err(no_leader()),
        })
        .await;
        assert!(result.is_ok() && asked.last().unwrap() == "host-1:1", "{asked:?}");
        let (asked, result) = answered(3, |_| Err(no_leader())).await;
        assert_eq!(asked.len(), 3);
        assert!(matches!(result, Err(Unanswered::Unavailable(f)) if f.kind == Kind::NoLeader));
        let (_, result) = answered(0, |_| Ok(())).await;
        assert!(matches!(result, Err(Unanswered::Unavailable(_))));
    }

    #[tokio::test]
    async fn a_refusal_is_final_and_a_bare_status_is_not() {
        let refused = || Status::from(Failure::new(Kind::Unauthenticated, "used up"));
        let (asked, result) = answered(3, |_| Err(refused())).await;
        assert_eq!(asked.len(), 1);
        assert!(matches!(result, Err(Unanswered::Refused(f)) if f.message == "used up"));
        let (asked, _) = answered(3, |_| Err(Status::unknown("transport error"))).await;
        assert_eq!(asked.len(), 3);
    }
}
