//! The dispatcher: sessions with agents, on every manager.
//!
//! Each session gets what its node may have, and the difference when that changes. A payload
//! leaves only after a read barrier younger than the leader lease, and its entitlement is checked
//! against applied state at that moment; a manager without quorum contact sends none and closes
//! its sessions. Not here: who may open one (front), what a node may have (`state::assignments`).
//!
//! Invariant: nothing is delivered that `state::entitled` and `state::entitled_to_config` do not allow
//! at the moment of sending.

mod execs;
mod gather;
mod output;
mod session;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use link::Failure;
use link::certificate::PeerCertificate;
use proto::id::{NodeId, SessionId};
use proto::{Kind, pb};
use state::Change;
use state::object::{NodeReport, ObjectId};
use tokio::sync::{Notify, broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use self::execs::Execs;
pub(crate) use self::output::Outputs;
use self::session::Session;
use crate::report::{Outbox, has_engine};
use crate::service::{Service, certified};

/// Messages that wait for a slow agent: a handful of the largest payloads.
const OUTGOING_MAX: usize = 16;

/// Time for an agent to say what it has, once connected.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// An open session, as the dispatcher holds it.
pub(crate) struct SessionHandle {
    id: SessionId,
    /// Something of this node may have changed.
    wake: Arc<Notify>,
    /// Ends the session.
    cancel: CancellationToken,
    /// Whether its agent knows of commands in tasks.
    runs_commands: bool,
    /// For requests of output, and of commands.
    outgoing: mpsc::Sender<Result<pb::ManagerMessage, Status>>,
}

/// Sessions with agents.
pub(crate) struct Dispatcher {
    service: Arc<Service>,
    pub(crate) outbox: Arc<Outbox>,
    sessions: Mutex<BTreeMap<NodeId, SessionHandle>>,
    outputs: Outputs,
    execs: Execs,
    barrier: tokio::sync::Mutex<Option<Instant>>,
    stop: CancellationToken,
}

impl Dispatcher {
    pub(crate) fn new(
        service: Arc<Service>,
        outbox: Arc<Outbox>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            service,
            outbox,
            sessions: Mutex::default(),
            outputs: Outputs::default(),
            execs: Execs::default(),
            barrier: tokio::sync::Mutex::new(None),
            stop,
        })
    }

    /// Opens a session for an agent whose certificate was checked.
    pub(crate) fn open(
        self: &Arc<Self>,
        certificate: PeerCertificate,
        node_id: NodeId,
        incoming: Streaming<pb::AgentMessage>,
    ) -> ReceiverStream<Result<pb::ManagerMessage, Status>> {
        let (outgoing, stream) = mpsc::channel(OUTGOING_MAX);
        let dispatcher = self.clone();
        tokio::spawn(async move {
            let ended = dispatcher.serve(&certificate, node_id, incoming, outgoing.clone()).await;
            if let Err(failure) = ended {
                tracing::debug!(node.id = %node_id, %failure, "session_ended");
                // An honest agent keeps to the order and the bounds of messages.
                if matches!(failure.kind, Kind::Invalid | Kind::TooLarge | Kind::Precondition) {
                    dispatcher.service.denials.count(certified(&certificate), "session");
                }
                // The agent may be gone already.
                drop(outgoing.send(Err(failure.into())).await);
            }
        });
        ReceiverStream::new(stream)
    }

    async fn serve(
        self: &Arc<Self>,
        certificate: &PeerCertificate,
        node_id: NodeId,
        mut incoming: Streaming<pb::AgentMessage>,
        outgoing: mpsc::Sender<Result<pb::ManagerMessage, Status>>,
    ) -> Result<(), Failure> {
        let first = tokio::time::timeout(OPEN_TIMEOUT, incoming.message()).await;
        let first =
            first.map_err(|_| Failure::new(Kind::Timeout, "the agent did not open its session"))?;
        let Some(pb::agent_message::Message::Open(open)) = first?.and_then(|m| m.message) else {
            return Err(Failure::new(Kind::Invalid, "a session begins with `open`"));
        };
        self.fresh_barrier().await?;
        let id = SessionId::from_bytes(seal::random());
        let mut session = Session::new(self.clone(), id, node_id, certificate, &open, &outgoing)?;
        session.announce().await?;
        let cancel = self.stop.child_token();
        let wake = Arc::new(Notify::new());
        self.enter(
            node_id,
            SessionHandle {
                id,
                wake: wake.clone(),
                cancel: cancel.clone(),
                runs_commands: open.execs,
                outgoing: outgoing.clone(),
            },
        );
        tracing::info!(node.id = %node_id, session.id = %id, "session_opened");
        self.note_report(node_id, open.report.unwrap_or_default());
        let ended = tokio::select! {
            () = cancel.cancelled() => Err(Failure::new(Kind::Unavailable, "the session was closed")
                .hint("connect to a manager again")),
            ended = session.run(&mut incoming, &wake) => ended,
        };
        self.leave(node_id, id);
        tracing::info!(node.id = %node_id, session.id = %id, "session_closed");
        ended
    }

    /// Registers a session; an older one of the same node is closed.
    fn enter(&self, node_id: NodeId, handle: SessionHandle) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(older) = sessions.insert(node_id, handle) {
            older.cancel.cancel();
        }
        drop(sessions);
        self.outbox.node_is_in_touch(node_id);
    }

    fn leave(&self, node_id: NodeId, id: SessionId) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.get(&node_id).is_some_and(|session| session.id == id) {
            sessions.remove(&node_id);
            drop(sessions);
            self.outbox.node_is_gone(node_id);
        }
        self.outputs.session_closed(id);
    }

    /// What an agent says of its machine, if it differs from the record: shown. Whether it has a
    /// container engine decides what it may be given.
    fn note_report(&self, node_id: NodeId, report: pb::Report) {
        let recorded = {
            let state = self.service.raft.machine.state();
            state.node(node_id).map(|node| node.hostname.to_string())
        };
        let mut remarks = Vec::new();
        if let Some(recorded) = recorded.filter(|recorded| *recorded != report.hostname) {
            remarks.push(format!("says its hostname is {}, not {recorded}", report.hostname));
        }
        if !report.mount_kind.is_empty() && report.mount_kind != "tmpfs-noswap" {
            remarks.push(format!("mounts secrets as {}", report.mount_kind));
        }
        let said = NodeReport {
            message: remarks.join("; "),
            agent_version: report.agent_version,
            has_engine: has_engine(&report.runtimes),
        };
        self.outbox.node_says(node_id, said);
    }

    /// A read barrier that is younger than the lease: shared by all sessions of this manager.
    async fn fresh_barrier(&self) -> Result<(), Failure> {
        let lease = self.service.raft.profile.lease();
        let mut last = self.barrier.lock().await;
        if last.is_some_and(|began| began.elapsed() < lease / 2) {
            return Ok(());
        }
        let began = self.service.raft.barrier().await.map_err(|error| {
            Failure::new(Kind::NoLeader, error.to_string())
                .because("this manager is not in touch with a majority and delivers nothing")
        })?;
        *last = Some(began);
        Ok(())
    }

    /// Follows what changes and wakes the sessions concerned; cuts those whose node is gone.
    pub(crate) async fn follow_changes(self: Arc<Self>) {
        let mut changes = self.service.raft.machine.changes();
        loop {
            let next = tokio::select! {
                () = self.stop.cancelled() => return,
                next = changes.recv() => next,
            };
            match next {
                Ok(changes) => {
                    changes.iter().for_each(|change| self.follow_change(*change));
                    // A snapshot was installed, or a node came, went or changed.
                    if changes.contains(&Change::Replan(None)) {
                        self.look_anew();
                    }
                }
                // Too many at once.
                Err(broadcast::error::RecvError::Lagged(_)) => self.look_anew(),
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    fn follow_change(&self, change: Change) {
        match change {
            Change::Assignments(node) => self.wake(node),
            Change::Removed(ObjectId::Node(node)) => {
                self.service
                    .connections
                    .cut(|subject| subject == proto::identity::Subject::Agent(node));
                let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(session) = sessions.get(&node) {
                    session.cancel.cancel();
                }
            }
            Change::Removed(ObjectId::Member(member)) => self.service.cut_member(member),
            Change::Removed(ObjectId::Operator(operator)) => {
                self.service
                    .connections
                    .cut(|subject| subject == proto::identity::Subject::Operator(operator));
            }
            _ => {}
        }
    }

    fn wake(&self, node: NodeId) {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = sessions.get(&node) {
            session.wake.notify_one();
        }
    }

    /// Anything may be different: whoever is gone is cut off, and every session looks.
    fn look_anew(&self) {
        self.service.cut_revoked();
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.values().for_each(|session| session.wake.notify_one());
    }

    /// Closes every session when this manager loses touch with a majority: an agent finds another,
    /// and what was evicted meanwhile is served by nobody.
    pub(crate) async fn watch_quorum(self: Arc<Self>) {
        let lease = self.service.raft.profile.lease();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(lease) => {}
            }
            let any = !self.sessions.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
            if any && self.fresh_barrier().await.is_err() {
                let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
                tracing::warn!(sessions = sessions.len(), "sessions_closed_without_quorum");
                sessions.values().for_each(|session| session.cancel.cancel());
            }
        }
    }

    /// How many sessions are open.
    pub(crate) fn session_count(&self) -> usize {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
