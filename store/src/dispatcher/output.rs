//! Output of tasks on the nodes whose sessions this manager holds: bounded, nothing through Raft.
//!
//! A subscription is a selector and a channel. Every session whose node has tasks that match is
//! asked, sessions that open later too while somebody follows. An agent's records are taken only
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

    /// Asks a session that has just opened for what is being followed.
    pub(super) fn session_opened(&self, dispatcher: &Dispatcher, node: NodeId) {
        let following: Vec<_> = {
            let open = self.lock();
            open.iter().filter(|(_, s)| s.selector.follow).map(|(number, _)| *number).collect()
        };
        for number in following {
            self.ask(dispatcher, number, node, true);
        }
    }

    pub(super) fn session_closed(&self, session: SessionId) {
        self.lock().retain(|_, subscription| {
            subscription.asked.remove(&session);
            subscription.selector.follow || !subscription.asked.is_empty()
        });
    }

    /// Asks one node's session for a subscription's output, if the node has matching tasks.
    fn ask(&self, dispatcher: &Dispatcher, number: u64, node: NodeId, later: bool) {
        let sessions = dispatcher.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(session) = sessions.get(&node) else { return };
        let mut open = self.lock();
        let Some(subscription) = open.get_mut(&number) else { return };
        let matches = {
            let state = dispatcher.service.raft.machine.state();
            state.tasks_of_node(node).any(|(id, task)| {
                task.service_id == subscription.service
                    && subscription.task.is_none_or(|task| task == id)
            })
        };
        if !matches && !subscription.selector.follow {
            return;
        }
        let mut selector = subscription.selector.clone();
        if later {
            selector.since = selector.since.max(subscription.newest);
            selector.tail = None;
        }
        let wanted = pb::OutputWanted { subscription: number, selector: Some(selector) };
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
            self.outputs.ask(self, number, node, false);
        }
        let mut open = self.outputs.lock();
        let idle = open
            .get(&number)
            .is_some_and(|subscription| subscription.asked.is_empty() && !subscription.selector.follow);
        if idle {
            open.remove(&number);
        }
        Ok(stream)
    }
}
