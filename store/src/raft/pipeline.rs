//! Pipelining appends without lending answers to younger requests.
//!
//! openraft 0.10.0-alpha.37 credits an answer "matched up to L" to *every* request in flight that
//! ends at or before L, with that request's own sending time. A commit-only request (no entries,
//! same end) sent after an append is so confirmed by the append's older answer: a deposed leader
//! could take a lease, or a read index, for confirmed though nobody answered anything sent since.
//! Two rules restore it:
//!
//! 1. an answer is withheld while the next request in flight has no entries and ends where the
//!    answer does: that request's own answer follows, and says the same;
//! 2. no request is made between handing out an answer and openraft's next poll for one.
//!
//! Invariant: openraft sees an answer only when every request it will credit has been answered.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use futures_util::Stream;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};

use super::type_config::{LogId, TypeConfig};

struct Sent {
    ends_at: Option<LogId>,
    is_empty: bool,
}

#[derive(Default)]
struct Pipeline {
    in_flight: VecDeque<Sent>,
    answer_is_out: bool,
    held_back: Option<Waker>,
}

type Shared = Arc<Mutex<Pipeline>>;

fn lock(shared: &Shared) -> MutexGuard<'_, Pipeline> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Requests on their way out.
pub(super) struct Requests<S> {
    inner: S,
    shared: Shared,
}

/// Answers on their way in.
pub(super) struct Answers<R> {
    inner: R,
    shared: Shared,
}

/// Joins the answers to the requests of one stream.
pub(super) struct Joint(Shared);

/// Watches a stream of requests; its answers go through [`Joint::answers`].
pub(super) fn requests<S>(inner: S) -> (Requests<S>, Joint) {
    let shared = Shared::default();
    (Requests { inner, shared: shared.clone() }, Joint(shared))
}

impl Joint {
    /// Watches the answers to the requests.
    pub(super) fn answers<R>(self, inner: R) -> Answers<R> {
        Answers { inner, shared: self.0 }
    }
}

impl<S> Stream for Requests<S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    type Item = AppendEntriesRequest<TypeConfig>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let shared = self.shared.clone();
        let mut pipeline = lock(&shared);
        if pipeline.answer_is_out {
            pipeline.held_back = Some(cx.waker().clone());
            return Poll::Pending;
        }
        // openraft records the request inside this poll: under one lock, the two never differ.
        let request = ready!(Pin::new(&mut self.inner).poll_next(cx));
        if let Some(request) = &request {
            let last = request.entries.last().map(|entry| entry.log_id);
            pipeline.in_flight.push_back(Sent {
                ends_at: last.or(request.prev_log_id),
                is_empty: request.entries.is_empty(),
            });
        }
        Poll::Ready(request)
    }
}

impl<R, E> Stream for Answers<R>
where
    R: Stream<Item = Result<StreamAppendResult<TypeConfig>, E>> + Unpin,
{
    type Item = R::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let shared = self.shared.clone();
        {
            let mut pipeline = lock(&shared);
            pipeline.answer_is_out = false;
            if let Some(waker) = pipeline.held_back.take() {
                waker.wake();
            }
        }
        loop {
            let answer = ready!(Pin::new(&mut self.inner).poll_next(cx));
            let mut pipeline = lock(&shared);
            if let Some(Ok(Ok(matched))) = &answer {
                pipeline.in_flight.pop_front();
                let next = pipeline.in_flight.front();
                if next.is_some_and(|next| next.is_empty && next.ends_at <= *matched) {
                    continue;
                }
            }
            pipeline.answer_is_out = answer.is_some();
            return Poll::Ready(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::task::noop_waker_ref;
    use openraft::Vote;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::UnboundedReceiverStream;

    use super::super::type_config::{Entry, LeaderId, Payload};
    use super::*;

    fn id(index: u64) -> LogId {
        LogId::new(LeaderId { term: 1, node_id: 1 }, index)
    }

    fn append(previous: u64, entries: &[u64]) -> AppendEntriesRequest<TypeConfig> {
        let entry = |index: &u64| Entry { log_id: id(*index), payload: Payload::Blank };
        AppendEntriesRequest {
            vote: Vote::new_committed(1, 1),
            prev_log_id: Some(id(previous)),
            leader_commit: None,
            entries: entries.iter().map(entry).collect(),
        }
    }

    type Answered = Result<StreamAppendResult<TypeConfig>, ()>;

    struct Rig {
        send: mpsc::UnboundedSender<AppendEntriesRequest<TypeConfig>>,
        answer: mpsc::UnboundedSender<Answered>,
        requests: Requests<UnboundedReceiverStream<AppendEntriesRequest<TypeConfig>>>,
        answers: Answers<UnboundedReceiverStream<Answered>>,
    }

    fn rig() -> Rig {
        let (send, sent) = mpsc::unbounded_channel();
        let (answer, answered) = mpsc::unbounded_channel();
        let (requests, joint) = requests(UnboundedReceiverStream::new(sent));
        let answers = joint.answers(UnboundedReceiverStream::new(answered));
        Rig { send, answer, requests, answers }
    }

    impl Rig {
        fn next_request(&mut self) -> bool {
            let cx = &mut Context::from_waker(noop_waker_ref());
            matches!(Pin::new(&mut self.requests).poll_next(cx), Poll::Ready(Some(_)))
        }

        #[expect(clippy::option_option, reason = "whether there is an answer, and what it matched")]
        fn next_answer(&mut self) -> Option<Option<u64>> {
            let cx = &mut Context::from_waker(noop_waker_ref());
            match Pin::new(&mut self.answers).poll_next(cx) {
                Poll::Ready(Some(Ok(Ok(matched)))) => Some(matched.map(|id| id.index)),
                _ => None,
            }
        }
    }

    #[test]
    fn an_answer_is_not_lent_to_a_younger_commit() {
        let mut rig = rig();
        rig.send.send(append(4, &[5])).unwrap();
        assert!(rig.next_request());
        // The commit of 5, sent later: it ends at 5 too.
        rig.send.send(append(5, &[])).unwrap();
        assert!(rig.next_request());
        rig.answer.send(Ok(Ok(Some(id(5))))).unwrap();
        assert_eq!(rig.next_answer(), None, "only the older request was answered");
        rig.answer.send(Ok(Ok(Some(id(5))))).unwrap();
        assert_eq!(rig.next_answer(), Some(Some(5)));
    }

    #[test]
    fn answers_to_entries_are_not_held_back() {
        let mut rig = rig();
        for (previous, entry) in [(4, 5), (5, 6)] {
            rig.send.send(append(previous, &[entry])).unwrap();
            assert!(rig.next_request());
        }
        rig.answer.send(Ok(Ok(Some(id(5))))).unwrap();
        assert_eq!(rig.next_answer(), Some(Some(5)));
    }

    #[test]
    fn no_request_is_made_while_an_answer_is_out() {
        let mut rig = rig();
        rig.send.send(append(4, &[5])).unwrap();
        assert!(rig.next_request());
        rig.answer.send(Ok(Ok(Some(id(5))))).unwrap();
        assert_eq!(rig.next_answer(), Some(Some(5)));
        rig.send.send(append(5, &[])).unwrap();
        assert!(!rig.next_request(), "openraft has not looked at the answer yet");
        assert_eq!(rig.next_answer(), None);
        assert!(rig.next_request());
    }
}
