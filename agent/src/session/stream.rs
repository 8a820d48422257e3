//! One session: opening it, and exchanging messages until it ends.
//!
//! The agent makes a key pair for the session, sends its public half with what it holds, and gets
//! the dispatcher's half; of the pair only the key derived from both is kept, until the session is
//! over. Everything is handled on one task: what comes in is taken at once, and what goes out waits
//! in a short queue, output last, so that a manager that does not read holds up its own answers
//! and nothing else. Not here: what sets of assignments mean ([`super::sets`]).
//!
//! Invariants: a session is with a manager of this realm and of the highest incarnation met; every
//! queue is bounded; what was not applied by the end of a set is forgotten with the session.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use link::Failure;
use link::certificate::PeerCertificate;
use link::rpc::dispatcher_client::DispatcherClient;
use proto::convert::{ParseError, bytes_16, text};
use proto::id::{Incarnation, NodeId, SessionId, TaskId};
use proto::limits::MESSAGE_BYTES_MAX;
use proto::pb::agent_message::Message as Up;
use proto::pb::manager_message::Message as Down;
use proto::sealed::Encapsulation;
use proto::task::{TaskState, TaskStatus};
use proto::{Kind, pb};
use seal::{Dek, SessionBinding, SessionReceiver, SessionSecretKey};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::Local;
use super::execs::Execs;
use super::output::Subscriptions;
use super::sets::{Holdings, Message, SetError, Sets, Step};
use super::statuses::Untold;
use crate::clock;
use crate::identity::{Identity, IdentityError};
use crate::supervisor::status::shortened;
use crate::worker::Statuses;

/// Time to dial, shake hands and be answered.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// Messages between this module and the transport: the next one, while one is being written.
const OUTGOING_MAX: usize = 1;

/// Beats between which a manager must have said something.
const SILENT_BEATS: u32 = 3;

/// Beats that a manager may ask for, in milliseconds.
const BEAT_MS_MIN: u64 = 50;
const BEAT_MS_MAX: u64 = 60_000;

/// A session that could not be opened, or has ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// The connection could not be prepared, or what was learned could not be kept.
    #[error("the session could not be prepared")]
    Identity(#[from] IdentityError),
    /// The manager, or the way to it, failed.
    #[error("the manager does not serve this session")]
    Failed(#[source] Failure),
    /// This node was evicted.
    #[error("this node was evicted")]
    Evicted(#[source] Failure),
    /// No answer.
    #[error("the manager did not open the session in time")]
    NotOpened,
    /// The manager ended it.
    #[error("the manager closed the session")]
    Closed,
    /// The certificate that it was opened by was renewed.
    #[error("this agent has another certificate by now")]
    Moved,
    /// What it said of itself when it was opened holds no more.
    #[error("this agent has another thing to say of its machine by now")]
    Outdated,
    /// Nothing was heard for too long.
    #[error("the manager was silent for {SILENT_BEATS} beats")]
    Silent,
    /// A message came that has no place there.
    #[error("the manager sent {0} out of turn")]
    OutOfTurn(&'static str),
    /// The manager's first message is not usable.
    #[error("the manager's opening is malformed")]
    Malformed(#[source] ParseError),
    /// The manager takes this agent for somebody else.
    #[error("the manager opened a session for node {0}, which this is not")]
    OtherNode(NodeId),
    /// The cluster went back in time.
    #[error(
        "the manager is in life {offered} of the cluster, and life {seen} was seen: it was \
             started over from old data, or is not what it says"
    )]
    Earlier {
        /// The manager's.
        offered: Incarnation,
        /// The highest met.
        seen: Incarnation,
    },
    /// The two halves of the session's key do not go together.
    #[error("the session's key cannot be agreed on")]
    Key,
    /// The assignments are not what they may be.
    #[error("the manager's assignments were refused")]
    Set(#[from] SetError),
}

impl SessionError {
    fn of(status: tonic::Status) -> Self {
        let failure = Failure::from(status);
        if failure.kind == Kind::Evicted { Self::Evicted(failure) } else { Self::Failed(failure) }
    }

    /// Whether no honest manager would have done it.
    pub(crate) const fn is_violation(&self) -> bool {
        match self {
            Self::OutOfTurn(_)
            | Self::Malformed(_)
            | Self::OtherNode(_)
            | Self::Earlier { .. }
            | Self::Key
            | Self::Set(_) => true,
            Self::Identity(_)
            | Self::Failed(_)
            | Self::Evicted(_)
            | Self::NotOpened
            | Self::Closed
            | Self::Moved
            | Self::Outdated
            | Self::Silent => false,
        }
    }

    /// Whether the manager does not know the CA of this agent's certificate.
    pub(crate) fn is_of_dropped_ca(&self) -> bool {
        matches!(self, Self::Failed(failure) if failure.is_of_unknown_ca())
    }

    /// Whether the manager does not accept the certificate.
    pub(crate) const fn is_unauthenticated(&self) -> bool {
        matches!(self, Self::Failed(failure) if matches!(failure.kind, Kind::Unauthenticated))
    }
}

/// Ends once there is something else to say of this machine. It is said by opening a session anew: a
/// machine changes rarely, and every manager there ever was understands that.
async fn outdated(report: &mut watch::Receiver<pb::Report>) {
    if report.changed().await.is_err() {
        // Nobody is there who could change it.
        std::future::pending::<()>().await;
    }
}

/// An open session.
pub(crate) struct Session {
    /// By the same connection.
    client: DispatcherClient<Channel>,
    incoming: Streaming<pb::ManagerMessage>,
    outgoing: mpsc::Sender<pb::AgentMessage>,
    receiver: SessionReceiver,
    beat_every: Duration,
    /// By whose certificate it was opened.
    identity: Arc<Identity>,
    /// As it was told.
    report: watch::Receiver<pb::Report>,
}

/// Ends once this agent has another certificate than `before`.
async fn moved(identities: &mut watch::Receiver<Arc<Identity>>, before: &Identity) {
    // The sender is in `Local`.
    drop(identities.wait_for(|now| now.says.serial != before.says.serial).await);
}

fn up(message: Up) -> pb::AgentMessage {
    pb::AgentMessage { message: Some(message) }
}

/// Opens a session with one manager.
pub(crate) async fn open(
    local: &Local,
    address: &str,
    holdings: &Holdings<Dek>,
) -> Result<Session, SessionError> {
    // The certificate of this connection, whatever is renewed meanwhile.
    let identity = local.own.current();
    let channel = identity.channel(address)?;
    let key = SessionSecretKey::make();
    let (outgoing, queue) = mpsc::channel(OUTGOING_MAX);
    let (tasks, secrets) = holdings.statement();
    let mut report = local.report.clone();
    let open = pb::Open {
        session_public_key: key.public().as_bytes().clone(),
        tasks,
        secrets,
        boot_id: local.boot_id.clone(),
        report: Some(report.borrow_and_update().clone()),
        incarnation_seen: identity.incarnation_seen.0,
        configs: holdings.configs.keys().map(ToString::to_string).collect(),
        execs: true,
    };
    // There is room for one.
    drop(outgoing.try_send(up(Up::Open(open))));
    let mut client = DispatcherClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let opening = async {
        let answer = client.session(ReceiverStream::new(queue)).await.map_err(SessionError::of)?;
        let mut incoming = answer.into_inner();
        match incoming.message().await.map_err(SessionError::of)?.and_then(|m| m.message) {
            Some(Down::Opened(opened)) => Ok((incoming, opened)),
            Some(_) => Err(SessionError::OutOfTurn("something else than an opening")),
            None => Err(SessionError::Closed),
        }
    };
    let opening = timeout(OPEN_WITHIN, Box::pin(opening)).await;
    let (incoming, opened) = opening.map_err(|_| SessionError::NotOpened)??;
    let (session_id, receiver) = agree(&opened, &identity, &key)?;
    local.own.remember_incarnation(Incarnation(opened.incarnation)).await?;
    local.own.remember_managers(&opened.manager_addresses).await?;
    tracing::info!(
        session.id = %session_id,
        node.id = %identity.node_id,
        peer.addr = address,
        cluster.incarnation = opened.incarnation,
        "session_opened"
    );
    let beat_every = Duration::from_millis(opened.beat_every_ms.clamp(BEAT_MS_MIN, BEAT_MS_MAX));
    Ok(Session { client, incoming, outgoing, receiver, beat_every, identity, report })
}

/// Checks who the manager takes this for, and makes this side's half of the session's key.
fn agree(
    opened: &pb::Opened,
    identity: &Identity,
    key: &SessionSecretKey,
) -> Result<(SessionId, SessionReceiver), SessionError> {
    let session_id = bytes_16("session_id", &opened.session_id).map_err(SessionError::Malformed)?;
    let encapsulation = Encapsulation::new(opened.encapsulation.clone())
        .map_err(|e| SessionError::Malformed(ParseError::new("encapsulation", e)))?;
    let node_id = text("node_id", &opened.node_id).map_err(SessionError::Malformed)?;
    if node_id != identity.node_id {
        return Err(SessionError::OtherNode(node_id));
    }
    let (offered, seen) = (Incarnation(opened.incarnation), identity.incarnation_seen);
    if offered < seen {
        return Err(SessionError::Earlier { offered, seen });
    }
    let PeerCertificate { key_digest, .. } = identity.says;
    let binding = SessionBinding {
        realm: identity.realm,
        incarnation: offered,
        node_id,
        certificate_key_digest: key_digest,
        session_id,
        session_key: key.public().clone(),
    };
    let receiver =
        SessionReceiver::set_up(key, &binding, &encapsulation).map_err(|_| SessionError::Key)?;
    Ok((session_id, receiver))
}

/// Exchanges messages until the session ends, and says why. `holdings` is what is in force, before
/// and after.
pub(crate) async fn exchange(
    session: Session,
    local: &Local,
    holdings: &mut Holdings<Dek>,
) -> SessionError {
    let Session { client, mut incoming, outgoing, receiver, beat_every, identity, mut report } =
        session;
    let execs = Execs::new(client, &local.worker);
    let mut exchange = Exchange::new(local, holdings, receiver, beat_every, execs);
    // Whether the manager still listens; if it does not, why is what it says next.
    let mut is_heard = true;
    let mut identities = local.own.watch();
    loop {
        if let Err(error) = exchange.look_at_the_clock(Instant::now()) {
            return error;
        }
        let can_send = !exchange.queue.is_empty() && is_heard;
        let has_nothing_else = exchange.queue.is_empty();
        let wakes_at = exchange.wakes_at();
        tokio::select! {
            message = incoming.message() => {
                let message = match message {
                    Ok(Some(message)) => message,
                    Ok(None) => return SessionError::Closed,
                    Err(status) => return SessionError::of(status),
                };
                if let Err(error) = exchange.take(message).await {
                    return error;
                }
            }
            permit = outgoing.reserve(), if can_send => {
                is_heard = permit.is_ok();
                if let (Ok(permit), Some(message)) = (permit, exchange.queue.pop_front()) {
                    permit.send(message);
                }
            }
            chunk = exchange.subscriptions.next(), if has_nothing_else => {
                exchange.queue.push_back(up(Up::Output(chunk)));
            }
            () = moved(&mut identities, &identity) => return SessionError::Moved,
            () = outdated(&mut report) => return SessionError::Outdated,
            Ok(()) = exchange.worker_statuses.changed() => exchange.note_statuses(Instant::now()),
            () = sleep_until(wakes_at) => {}
        }
    }
}

/// The state of an open session.
struct Exchange<'a> {
    local: &'a Local,
    holdings: &'a mut Holdings<Dek>,
    sets: Sets<Dek>,
    receiver: SessionReceiver,
    worker_statuses: watch::Receiver<Statuses>,
    untold: Untold,
    /// Statuses of tasks whose assignment is not understood: no worker knows of them.
    not_understood: BTreeMap<TaskId, TaskStatus>,
    subscriptions: Subscriptions,
    execs: Execs,
    /// What waits for the transport: at most a beat, a wish, a chunk, and the statuses that may be
    /// in flight.
    queue: VecDeque<pb::AgentMessage>,
    beat_every: Duration,
    beat_at: Instant,
    heard_at: Instant,
}

impl<'a> Exchange<'a> {
    fn new(
        local: &'a Local,
        holdings: &'a mut Holdings<Dek>,
        receiver: SessionReceiver,
        beat_every: Duration,
        execs: Execs,
    ) -> Self {
        let now = Instant::now();
        let mut worker_statuses = local.worker.statuses();
        let mut exchange = Self {
            sets: Sets::new(holdings.clone()),
            receiver,
            untold: Untold::default(),
            not_understood: BTreeMap::new(),
            subscriptions: Subscriptions::new(&local.worker, local.own.current().node_id),
            execs,
            queue: VecDeque::new(),
            beat_every,
            beat_at: now + beat_every,
            heard_at: now,
            local,
            holdings,
            worker_statuses: worker_statuses.clone(),
        };
        exchange.note_not_understood();
        let statuses = joined(&worker_statuses.borrow_and_update(), &exchange.not_understood);
        exchange.untold = Untold::new(&statuses, now);
        exchange
    }

    /// Queues what is due.
    fn look_at_the_clock(&mut self, now: Instant) -> Result<(), SessionError> {
        if now >= self.heard_at + self.beat_every * SILENT_BEATS {
            return Err(SessionError::Silent);
        }
        while let Some(statuses) = self.untold.next(now) {
            self.queue.push_front(up(Up::Statuses(statuses)));
        }
        if now >= self.beat_at {
            self.beat_at = now + self.beat_every;
            let is_beat = |queued: &pb::AgentMessage| matches!(queued.message, Some(Up::Beat(_)));
            // One that could not be sent yet stands for all.
            if !self.queue.iter().any(is_beat) {
                self.queue.push_front(up(Up::Beat(pb::Beat {})));
            }
        }
        Ok(())
    }

    fn wakes_at(&self) -> Instant {
        let silent_at = self.heard_at + self.beat_every * SILENT_BEATS;
        let wakes_at = silent_at.min(self.beat_at);
        self.untold.wakes_at().map_or(wakes_at, |at| at.min(wakes_at))
    }

    /// Takes what the manager says.
    async fn take(&mut self, message: pb::ManagerMessage) -> Result<(), SessionError> {
        self.heard_at = Instant::now();
        // One that this version does not know.
        let Some(message) = message.message else { return Ok(()) };
        match message {
            Down::Opened(_) => return Err(SessionError::OutOfTurn("a second opening")),
            Down::Begin(begin) => self.take_change(Message::Begin(begin))?,
            Down::Task(task) => self.take_change(Message::Task(Box::new(task)))?,
            Down::Secret(delivery) => self.take_change(Message::Secret(delivery))?,
            Down::TaskRemoval(removal) => self.take_change(Message::TaskRemoval(removal))?,
            Down::SecretRemoval(removal) => self.take_change(Message::SecretRemoval(removal))?,
            Down::Config(delivery) => self.take_change(Message::Config(delivery))?,
            Down::ConfigRemoval(removal) => self.take_change(Message::ConfigRemoval(removal))?,
            Down::End(end) => self.take_change(Message::End(end))?,
            Down::Acknowledged(acknowledged) => self.untold.acknowledged(acknowledged.number),
            Down::OutputWanted(wanted) => self.subscriptions.want(wanted),
            Down::OutputUnwanted(unwanted) => self.subscriptions.unwant(unwanted.subscription),
            Down::Managers(managers) => {
                self.local.own.remember_managers(&managers.addresses).await?;
            }
            Down::ExecWanted(wanted) => self.execs.want(wanted),
            Down::RenewNow(_) => self.local.renew.notify_one(),
            // That it came is all it says.
            Down::Beat(_) => {}
        }
        Ok(())
    }

    fn take_change(&mut self, message: Message) -> Result<(), SessionError> {
        match self.sets.take(message, &self.receiver)? {
            Step::Nothing => {}
            Step::WantEverything => {
                tracing::warn!("assignments_have_a_gap");
                self.queue.push_front(up(Up::WantEverything(pb::WantEverything {})));
            }
            Step::Applied => self.apply(),
        }
        Ok(())
    }

    /// Puts new holdings in force: secrets first, so that no task misses one.
    fn apply(&mut self) {
        *self.holdings = self.sets.holdings().clone();
        let Holdings { assigned, not_understood, held, configs } = &*self.holdings;
        tracing::debug!(
            tasks = assigned.len(),
            not_understood = not_understood.len(),
            secrets = held.len(),
            configs = configs.len(),
            results_in = self.sets.results_in(),
            "assignments_applied"
        );
        self.local.vault.hold(Arc::clone(held));
        self.local.vault.hold_configs(Arc::clone(configs));
        self.local.worker.assign(Arc::clone(assigned));
        self.note_not_understood();
        self.note_statuses(Instant::now());
    }

    /// Such a task is rejected, so that its owner learns why it does not run.
    fn note_not_understood(&mut self) {
        let reasons = &self.holdings.not_understood;
        self.not_understood.retain(|task_id, _| reasons.contains_key(task_id));
        for (task_id, reason) in &**reasons {
            let message = format!("this node's agent does not understand its assignment: {reason}");
            let (task_id, message) = (*task_id, shortened(message));
            self.not_understood.entry(task_id).or_insert_with(|| {
                tracing::warn!(task.id = %task_id, "assignment_not_understood");
                TaskStatus {
                    task_id,
                    state: TaskState::Rejected,
                    at: clock::now(),
                    message,
                    exit_code: None,
                    mounted: Vec::new(),
                }
            });
        }
    }

    fn note_statuses(&mut self, now: Instant) {
        let statuses = self.worker_statuses.borrow_and_update();
        if self.not_understood.is_empty() {
            self.untold.note(&statuses, now);
        } else {
            self.untold.note(&joined(&statuses, &self.not_understood), now);
        }
    }
}

fn joined(statuses: &Statuses, further: &BTreeMap<TaskId, TaskStatus>) -> Statuses {
    let further = further.iter().map(|(id, status)| (*id, status.clone()));
    statuses.clone().into_iter().chain(further).collect()
}
