//! Proposals on their way to openraft: those that wait for one another go together.
//!
//! A group costs openraft, the log and each follower about the same whatever its size: messages,
//! wake-ups, syncs. So while a group is on its way, what arrives is gathered and goes as the next
//! one. Alone, a proposal goes at once and by itself.
//!
//! Not here: bounds and time limits (raft), what a proposal means.
//!
//! Invariant: every proposal is answered once, with its own outcome; those that wait go in the
//! order in which they came.

use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures_util::StreamExt as _;
use openraft::errors::ClientWriteError;
use state::Outcome;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::machine::Machine;
use super::type_config::{Answer, Proposal, TypeConfig};
use super::{ProposeError, Proposed};

/// Groups on their way at a time: with one, all that arrives meanwhile shares the next.
const GROUPS_MAX: usize = 1;

/// Proposals in one group: as many as openraft sends a follower at once.
const GROUP_PROPOSALS_MAX: usize = 1024;

type Inner = openraft::Raft<TypeConfig, Machine>;
type Written = Result<Proposed, ProposeError>;

/// Counts since this manager started.
#[derive(Default)]
struct Stats {
    proposals: AtomicU64,
    groups: AtomicU64,
    queue_nanos: AtomicU64,
}

impl Stats {
    /// Counts a group.
    fn count(&self, proposals: u64, queue_nanos: u64) {
        self.proposals.fetch_add(proposals, Ordering::Relaxed);
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.queue_nanos.fetch_add(queue_nanos, Ordering::Relaxed);
    }
}

struct Waiting {
    since: Instant,
    proposal: Proposal,
    answer: oneshot::Sender<Written>,
    /// Given back when the outcome is known, whether or not anybody still waits for it.
    room: OwnedSemaphorePermit,
}

/// Where proposals go in.
pub(super) struct Proposals {
    inner: Inner,
    groups: Arc<Semaphore>,
    queue: mpsc::UnboundedSender<Waiting>,
    stats: Arc<Stats>,
}

impl Proposals {
    pub(super) fn new(inner: Inner) -> Self {
        let groups = Arc::new(Semaphore::new(GROUPS_MAX));
        // Bounded by the room that each proposal holds.
        let (queue, waiting) = mpsc::unbounded_channel();
        let stats = Arc::new(Stats::default());
        tokio::spawn(send_groups(inner.clone(), groups.clone(), waiting, stats.clone()));
        Self { inner, groups, queue, stats }
    }

    /// Each count by its name in the metrics.
    pub(super) fn figures(&self) -> [(&'static str, u64); 3] {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("proposals", count(&self.stats.proposals)),
            ("groups", count(&self.stats.groups)),
            ("queue_nanoseconds", count(&self.stats.queue_nanos)),
        ]
    }

    /// Proposes, and waits until it is applied here.
    pub(super) async fn write(&self, proposal: Proposal, room: OwnedSemaphorePermit) -> Written {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { since: Instant::now(), proposal, answer, room };
        match self.groups.clone().try_acquire_owned() {
            // In a task: whoever gives up must not give back what is on its way.
            Ok(group) => {
                self.stats.count(1, 0);
                let inner = self.inner.clone();
                tokio::spawn(async move {
                    send_group(&inner, iter::once(waiting)).await;
                    drop(group);
                });
            }
            Err(_) => self.queue.send(waiting).map_err(|_| ProposeError::Stopped)?,
        }
        answered.await.unwrap_or(Err(ProposeError::Stopped))
    }
}

fn outcome(answer: Answer) -> Proposed {
    answer.outcome.unwrap_or(Ok(Outcome::Done))
}

fn not_written(error: &ClientWriteError<TypeConfig>) -> ProposeError {
    match error {
        ClientWriteError::ForwardToLeader(_) => ProposeError::NotLeader,
        _ => ProposeError::Unknown,
    }
}

/// Sends what waits whenever a group may go.
async fn send_groups(
    inner: Inner,
    groups: Arc<Semaphore>,
    mut queue: mpsc::UnboundedReceiver<Waiting>,
    stats: Arc<Stats>,
) {
    let mut waiting = Vec::new();
    while queue.recv_many(&mut waiting, GROUP_PROPOSALS_MAX).await > 0 {
        let Ok(group) = groups.clone().acquire_owned().await else { return };
        while waiting.len() < GROUP_PROPOSALS_MAX
            && let Ok(next) = queue.try_recv()
        {
            waiting.push(next);
        }
        // Whoever gave up was told that the outcome is unknown: better that nothing happens.
        waiting.retain(|waiting| !waiting.answer.is_closed());
        let queued: u128 = waiting.iter().map(|waiting| waiting.since.elapsed().as_nanos()).sum();
        stats.count(waiting.len() as u64, u64::try_from(queued).unwrap_or(u64::MAX));
        send_group(&inner, waiting.drain(..)).await;
        drop(group);
    }
}

async fn send_group(inner: &Inner, waiting: impl Iterator<Item = Waiting>) {
    let (proposals, waiting): (Vec<_>, Vec<_>) =
        waiting.map(|waiting| (waiting.proposal, (waiting.answer, waiting.room))).unzip();
    // Answers come in the order of the proposals; those that do not come leave `Stopped` behind.
    let Ok(mut answers) = inner.client_write_many(proposals).await else { return };
    for (answer, room) in waiting {
        let written = match answers.next().await {
            Some(Ok(Ok(response))) => Ok(outcome(response.response)),
            Some(Ok(Err(error))) => Err(not_written(&error)),
            Some(Err(_)) | None => return,
        };
        drop(room);
        // Whoever gave up has been answered already.
        drop(answer.send(written));
    }
}
