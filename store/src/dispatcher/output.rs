//! Output of tasks on the nodes whose sessions this manager holds: bounded, nothing through Raft.
//!
//! A subscription is a selector and a channel. Every session whose node has tasks that match is
//! asked, and while somebody follows also one whose node gets such a task later; a node without
//! one does not learn that somebody reads. An agent's records are taken only
//! for tasks of its own node and of the service that was asked for. Not here: the other managers'
//! sessions (`gather`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use link::Failure;
use proto::id::{NodeId, ServiceId, SessionId, TaskId};
use proto::identity::{Caller, Subject};
use proto::{Kind, pb};
use tokio::sync::mpsc;

use super::Dispatcher;
use crate::service::now;

/// Records on their way to one reader.
const RECORDS_MAX: usize = 1024;

/// Readers at a time.
const SUBSCRIPTIONS_MAX: usize = 256;

struct Subscription {
    selector: pb::OutputSelector,
    service: ServiceId,
    task: Option<TaskId>,
    records: mpsc::Sender<pb::OutputRecord>,
    /// Sessions that were asked and have not ended.
    asked: BTreeSet<SessionId>,
    /// The time of the newest record, or when the subscription began: from there on a session is
    /// asked that opens later.
    newest: u64,
}

impl Subscription {
    /// Whether a node has tasks that match.
    fn concerns(&self, dispatcher: &Dispatcher, node: NodeId) -> bool {
        let state = dispatcher.service.raft.machine.state();
        state.tasks_of_node(node).any(|(id, task)| {
            task.service_id == self.service && self.task.is_none_or(|task| task == id)
        })
    }
}

/// Who reads what.
#[derive(Default)]
pub(crate) struct Outputs {
    next: AtomicU64,
    open: Mutex<BTreeMap<u64, Subscription>>,
}

impl Outputs {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Subscription>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is followed of a node's tasks and its session has not been asked for. A session that
    /// has just opened may stand in for one that was asked: it goes on where that one ended.
    pub(super) fn followed(
        &self,
        dispatcher: &Dispatcher,
        node: NodeId,
        session: SessionId,
        just_opened: bool,
    ) -> Vec<pb::OutputWanted> {
        let mut open = self.lock();
        let followed = open.iter_mut().filter(|(_, subscription)| {
            subscription.selector.follow
                && !subscription.asked.contains(&session)
                && subscription.concerns(dispatcher, node)
        });
        let wanted = followed.map(|(number, subscription)| {
            subscription.asked.insert(session);
            let mut selector = subscription.selector.clone();
            if just_opened {
                selector.since = selector.since.max(subscription.newest);
                selector.tail = None;
            }
            pb::OutputWanted { subscription: *number, selector: Some(selector) }
        });
        wanted.collect()
    }

    pub(super) fn session_closed(&self, session: SessionId) {
        self.lock().retain(|_, subscription| {
            subscription.asked.remove(&session);
            subscription.selector.follow || !subscription.asked.is_empty()
        });
    }

    /// Asks one node's session for a subscription's output, if the node has matching tasks.
    fn ask(&self, dispatcher: &Dispatcher, number: u64, node: NodeId) {
        let sessions = dispatcher.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(session) = sessions.get(&node) else { return };
        let mut open = self.lock();
        let Some(subscription) = open.get_mut(&number) else { return };
        if subscription.asked.contains(&session.id) || !subscription.concerns(dispatcher, node) {
            return;
        }
        let selector = Some(subscription.selector.clone());
        let wanted = pb::OutputWanted { subscription: number, selector };
        let message = pb::manager_message::Message::OutputWanted(wanted);
        let message = pb::ManagerMessage { message: Some(message) };
        if session.outgoing.try_send(Ok(message)).is_ok() {
            subscription.asked.insert(session.id);
        }
    }

    /// Takes a chunk from an agent: records of its own node's tasks of that service.
    pub(super) async fn take(
        &self,
        dispatcher: &Dispatcher,
        node: NodeId,
        session: SessionId,
        chunk: pb::OutputChunk,
    ) {
        let number = chunk.subscription;
        let Some((records, service, only)) = ({
            let open = self.lock();
            open.get(&number).map(|s| (s.records.clone(), s.service, s.task))
        }) else {
            Self::unwanted(dispatcher, node, number);
            return;
        };
        for mut record in chunk.records {
            let own = record.task_id.parse::<TaskId>().ok().is_some_and(|id| {
                let state = dispatcher.service.raft.machine.state();
                only.is_none_or(|only| only == id)
                    && state
                        .task(id)
                        .is_some_and(|t| t.node_id == Some(node) && t.service_id == service)
            });
            if !own {
                let serial = proto::id::Serial::from_bytes([0; 16]);
                let caller = Caller::Certified { subject: Subject::Agent(node), serial };
                dispatcher.service.denials.count(caller, "foreign_output");
                continue;
            }
            record.node_id = node.to_string();
            if let Some(subscription) = self.lock().get_mut(&number) {
                subscription.newest = subscription.newest.max(record.at);
            }
            if records.send(record).await.is_err() {
                self.lock().remove(&number);
                Self::unwanted(dispatcher, node, number);
                return;
            }
        }
        if chunk.end {
            let mut open = self.lock();
            if let Some(subscription) = open.get_mut(&number) {
                subscription.asked.remove(&session);
                if subscription.asked.is_empty() && !subscription.selector.follow {
                    open.remove(&number);
                }
            }
        }
    }

    fn unwanted(dispatcher: &Dispatcher, node: NodeId, number: u64) {
        let message = pb::manager_message::Message::OutputUnwanted(pb::OutputUnwanted {
            subscription: number,
        });
        let message = pb::ManagerMessage { message: Some(message) };
        let sessions = dispatcher.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = sessions.get(&node) {
            // A session that is too busy is told with its next chunk.
            drop(session.outgoing.try_send(Ok(message)));
        }
    }
}

impl Dispatcher {
    /// Output of the tasks whose sessions this manager holds; ends when all of it was sent, or,
    /// when it is followed, never by itself.
    ///
    /// # Errors
    ///
    /// If there are too many readers.
    pub(crate) fn output(
        &self,
        service: ServiceId,
        selector: pb::OutputSelector,
    ) -> Result<mpsc::Receiver<pb::OutputRecord>, Failure> {
        let (records, stream) = mpsc::channel(RECORDS_MAX);
        let number = self.outputs.next.fetch_add(1, Ordering::Relaxed);
        let task = selector.task_id.parse().ok();
        {
            let mut open = self.outputs.lock();
            open.retain(|_, subscription| !subscription.records.is_closed());
            if open.len() >= SUBSCRIPTIONS_MAX {
                return Err(Failure::new(Kind::Unavailable, "too many readers of output")
                    .hint("try again when some of them have ended"));
            }
            let (asked, newest) = (BTreeSet::new(), now().0);
            open.insert(number, Subscription { selector, service, task, records, asked, newest });
        }
        let nodes: Vec<NodeId> = {
            let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.keys().copied().collect()
        };
        for node in nodes {
            self.outputs.ask(self, number, node);
        }
        let mut open = self.outputs.lock();
        let idle = open.get(&number).is_some_and(|subscription| {
            subscription.asked.is_empty() && !subscription.selector.follow
        });
        if idle {
            open.remove(&number);
        }
        Ok(stream)
    }
}
