//! One agent's session: assignments down, statuses and output up.
//!
//! The session keeps what it has sent, works out the difference to what the node may have now, and
//! sends it as one set: secrets and configs first, then tasks. Every delivery of a secret has a number and is recorded
//! before it leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use link::Failure;
use link::certificate::PeerCertificate;
use proto::convert::EnumField as _;
use proto::id::{ConfigId, NodeId, Revision, SecretId, SessionId, TaskId, Version};
use proto::identity::{Caller, Subject};
use proto::limits::STATUSES_MAX;
use proto::sealed::StoredPayload;
use proto::spec::DOCKER_EXTENSION;
use proto::task::TaskStatus;
use proto::{Kind, pb};
use seal::{Delivery, SessionBinding, SessionPublicKey, SessionSender};
use state::CaPhase;
use state::object::Task;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tonic::{Status, Streaming};

use super::Dispatcher;
use crate::keys::KeyringError;
use crate::service::networks;

/// How often an agent says that it is there.
const BEAT_EVERY: Duration = Duration::from_secs(2);

/// Silence after which a session is dead.
const SILENCE_MAX: Duration = Duration::from_secs(8);

/// Tasks and secrets that an agent may say it holds.
const HELD_MAX: usize = 10_000;

/// How far apart agents of one manager are told to get certificates of another CA, on average.
const MOVE_EVERY: Duration = Duration::from_millis(5);

type Outgoing = mpsc::Sender<Result<pb::ManagerMessage, Status>>;
type Message = pb::manager_message::Message;
type Value = (SecretId, Version);
/// How many rotations were begun, of the CA and of certificates.
type Rotations = [u64; 2];

pub(super) struct Session {
    dispatcher: Arc<Dispatcher>,
    id: SessionId,
    node_id: NodeId,
    caller: Caller,
    sender: SessionSender,
    outgoing: Outgoing,
    incarnation: u64,
    /// The managers' addresses, as the agent was last told.
    managers: Vec<String>,
    /// What the agent has, as far as it was sent or said so.
    tasks: BTreeMap<TaskId, Revision>,
    secrets: BTreeSet<Value>,
    configs: BTreeSet<ConfigId>,
    results_in: u64,
    deliveries: u64,
    complete_next: bool,
    /// The rotations of the CA and of certificates for which the agent was last told to get another
    /// certificate.
    told_to_move: Rotations,
}

/// A set of changes that is about to be sent.
#[derive(Default)]
struct Set {
    complete: bool,
    deliver: Vec<(TaskId, Value)>,
    configs: Vec<(TaskId, ConfigId)>,
    tasks: Vec<(TaskId, Arc<Task>)>,
    gone_tasks: Vec<TaskId>,
    gone_secrets: Vec<Value>,
    gone_configs: Vec<ConfigId>,
}

impl Set {
    fn is_empty(&self) -> bool {
        !self.complete
            && self.deliver.is_empty()
            && self.configs.is_empty()
            && self.tasks.is_empty()
            && self.gone_tasks.is_empty()
            && self.gone_secrets.is_empty()
            && self.gone_configs.is_empty()
    }
}

impl Session {
    pub(super) fn new(
        dispatcher: Arc<Dispatcher>,
        id: SessionId,
        node_id: NodeId,
        certificate: &PeerCertificate,
        open: &pb::Open,
        outgoing: &Outgoing,
    ) -> Result<Self, Failure> {
        let malformed = |what: &str| Failure::new(Kind::Invalid, format!("malformed {what}"));
        let cluster = dispatcher.service.cluster()?;
        if open.incarnation_seen > cluster.incarnation.0 {
            return Err(Failure::new(
                Kind::Precondition,
                "the agent has seen a later incarnation of the cluster",
            ));
        }
        if [open.tasks.len(), open.secrets.len(), open.configs.len()].iter().any(|n| *n > HELD_MAX)
        {
            return Err(malformed("open: the agent holds too much"));
        }
        let session_key = SessionPublicKey::parse(open.session_public_key.clone())
            .map_err(|_| malformed("session key"))?;
        let binding = SessionBinding {
            realm: cluster.realm,
            incarnation: cluster.incarnation,
            node_id,
            certificate_key_digest: certificate.key_digest,
            session_id: id,
            session_key,
        };
        let sender = SessionSender::set_up(&binding).map_err(|_| malformed("session key"))?;
        let subject = Subject::Agent(node_id);
        Ok(Self {
            secrets: held(&dispatcher, node_id, open),
            configs: held_configs(&dispatcher, node_id, open),
            managers: addresses(&dispatcher),
            dispatcher,
            id,
            node_id,
            caller: Caller::Certified { subject, serial: certificate.serial },
            sender,
            outgoing: outgoing.clone(),
            incarnation: cluster.incarnation.0,
            tasks: BTreeMap::new(),
            results_in: 0,
            deliveries: 0,
            complete_next: true,
            told_to_move: Rotations::default(),
        })
    }

    async fn send(&self, message: Message) -> Result<(), Failure> {
        let message = pb::ManagerMessage { message: Some(message) };
        let gone = |_| Failure::new(Kind::Unavailable, "the agent is gone");
        self.outgoing.send(Ok(message)).await.map_err(gone)
    }

    /// Tells the agent that its session is open: the first message, before anybody can find the
    /// session and send another.
    pub(super) async fn announce(&self) -> Result<(), Failure> {
        self.send(Message::Opened(pb::Opened {
            session_id: self.id.as_bytes().to_vec().into(),
            encapsulation: self.sender.encapsulation().as_bytes().clone(),
            node_id: self.node_id.to_string(),
            incarnation: self.incarnation,
            beat_every_ms: u64::try_from(BEAT_EVERY.as_millis()).unwrap_or(u64::MAX),
            manager_addresses: self.managers.clone(),
        }))
        .await
    }

    pub(super) async fn run(
        &mut self,
        incoming: &mut Streaming<pb::AgentMessage>,
        wake: &Notify,
    ) -> Result<(), Failure> {
        self.synchronise().await?;
        let mut moves_at = self.is_to_move().map(|_| self.its_turn());
        let (acknowledge, mut acknowledged) = mpsc::unbounded_channel();
        loop {
            tokio::select! {
                next = tokio::time::timeout(SILENCE_MAX, incoming.message()) => {
                    let next = next
                        .map_err(|_| Failure::new(Kind::Timeout, "the agent is silent"))??;
                    let Some(message) = next.and_then(|message| message.message) else {
                        return Ok(());
                    };
                    self.take(message, &acknowledge).await?;
                }
                () = wait_until(moves_at), if moves_at.is_some() => {
                    moves_at = None;
                    if let Some(numbers) = self.is_to_move() {
                        self.told_to_move = numbers;
                        self.send(Message::RenewNow(pb::RenewNow {})).await?;
                    }
                }
                () = wake.notified() => {
                    self.synchronise().await?;
                    if moves_at.is_none() {
                        moves_at = self.is_to_move().map(|_| self.its_turn());
                    }
                    let now = addresses(&self.dispatcher);
                    if now != self.managers {
                        self.managers.clone_from(&now);
                        self.send(Message::Managers(pb::Managers { addresses: now })).await?;
                    }
                }
                Some(number) = acknowledged.recv() => {
                    self.send(Message::Acknowledged(pb::Acknowledged { number })).await?;
                }
            }
        }
    }

    /// The rotations there were, if one of them wants another certificate of this agent than the one
    /// that its session is by, and it was not told yet.
    fn is_to_move(&self) -> Option<Rotations> {
        let state = self.dispatcher.service.raft.machine.state();
        let (cas, certificates) = (state.ca_rotations(), state.certificate_rotations());
        let Caller::Certified { serial, .. } = self.caller else { return None };
        let has_moved = state.certificate(serial).is_some_and(|kept| state.is_of_next_ca(kept));
        let phase = cas.rotation.as_ref().map(|rotation| rotation.phase);
        let moves = phase == Some(CaPhase::Clients) && !has_moved;
        let [of_ca, of_certificates] = self.told_to_move;
        let is_wanted = moves && of_ca < cas.number
            || state.owes_renewal(serial) && of_certificates < certificates.number;
        is_wanted.then_some([cas.number, certificates.number])
    }

    /// When this agent is told to get another certificate: not all of them at once.
    fn its_turn(&self) -> Instant {
        let sessions = u32::try_from(self.dispatcher.session_count()).unwrap_or(u32::MAX);
        let [random] = seal::random::<1>();
        Instant::now() + MOVE_EVERY * sessions / 255 * u32::from(random)
    }

    async fn take(
        &mut self,
        message: pb::agent_message::Message,
        acknowledge: &mpsc::UnboundedSender<u64>,
    ) -> Result<(), Failure> {
        use pb::agent_message::Message as From;
        match message {
            From::Open(_) => Err(Failure::new(Kind::Invalid, "the session is open already")),
            // An agent that hears nothing for three beats takes its manager for dead.
            From::Beat(_) => self.send(Message::Beat(pb::Beat {})).await,
            From::WantEverything(_) => {
                self.complete_next = true;
                // It passed over a set, and with it over what was delivered in that.
                self.secrets.clear();
                self.configs.clear();
                self.synchronise().await
            }
            From::Output(chunk) => {
                self.dispatcher.outputs.take(&self.dispatcher, self.node_id, self.id, chunk).await;
                Ok(())
            }
            From::Statuses(statuses) => {
                let number = statuses.number;
                let statuses = self.check_statuses(statuses)?;
                let acknowledge = acknowledge.clone();
                // Told once it is committed; the session may be gone by then.
                let done = move || {
                    let _unheard = acknowledge.send(number);
                };
                self.dispatcher.outbox.statuses(self.node_id, statuses, Box::new(done));
                Ok(())
            }
        }
    }

    /// Statuses of this node's own tasks. One of another node's task is a refusal.
    fn check_statuses(&self, statuses: pb::Statuses) -> Result<Vec<TaskStatus>, Failure> {
        if statuses.statuses.len() > STATUSES_MAX {
            return Err(Failure::new(Kind::TooLarge, "too many statuses at once"));
        }
        let mut own = Vec::with_capacity(statuses.statuses.len());
        let state = self.dispatcher.service.raft.machine.state();
        for status in statuses.statuses {
            let status = TaskStatus::try_from(status)
                .map_err(|error| Failure::new(Kind::Invalid, error.to_string()))?;
            match state.task(status.task_id) {
                Some(task) if task.node_id == Some(self.node_id) => own.push(status),
                // It was forgotten already: nothing to say of it.
                None => {}
                Some(_) => self.dispatcher.service.denials.count(self.caller, "foreign_status"),
            }
        }
        Ok(own)
    }

    /// Sends what has changed since the last set.
    async fn synchronise(&mut self) -> Result<(), Failure> {
        self.dispatcher.fresh_barrier().await?;
        self.dispatcher.service.still_stands(self.caller)?;
        let set = self.difference();
        if set.is_empty() {
            return Ok(());
        }
        let applies_to = if set.complete { 0 } else { self.results_in };
        self.send(Message::Begin(pb::Begin { applies_to, complete: set.complete })).await?;
        for (task, value) in set.deliver {
            self.deliver(task, value).await?;
        }
        for (task, config) in set.configs {
            self.deliver_config(task, config).await?;
        }
        for (id, task) in set.tasks {
            self.tasks.insert(id, task.revision);
            let mut assignment = assignment(id, &task);
            self.complete_for_containers(&mut assignment, &task);
            self.send(Message::Task(assignment)).await?;
        }
        for id in set.gone_tasks {
            self.tasks.remove(&id);
            let removal = pb::TaskRemoval { task_id: id.to_string() };
            self.send(Message::TaskRemoval(removal)).await?;
        }
        for (secret, version) in set.gone_secrets {
            self.secrets.remove(&(secret, version));
            let removal = pb::SecretRemoval { secret_id: secret.to_string(), version: version.0 };
            self.send(Message::SecretRemoval(removal)).await?;
        }
        for config in set.gone_configs {
            self.configs.remove(&config);
            let removal = pb::ConfigRemoval { config_id: config.to_string() };
            self.send(Message::ConfigRemoval(removal)).await?;
        }
        let just_opened = self.results_in == 0;
        self.results_in += 1;
        self.complete_next = false;
        self.send(Message::End(pb::End { results_in: self.results_in })).await?;
        let outputs = &self.dispatcher.outputs;
        for wanted in outputs.followed(&self.dispatcher, self.node_id, self.id, just_opened) {
            self.send(Message::OutputWanted(wanted)).await?;
        }
        Ok(())
    }

    /// Adds what only containers need: what the docker front kept with the declaration that the task was
    /// made from, if that is not known to be another one by now, and what its networks are called.
    fn complete_for_containers(&self, assignment: &mut pb::TaskAssignment, task: &Task) {
        let state = self.dispatcher.service.raft.machine.state();
        for network in assignment.spec.iter_mut().flat_map(|spec| &mut spec.networks) {
            *network = networks::name_of(&state, network);
        }
        let service = state.services().get(&task.service_id);
        let made_from = service.and_then(|service| service.declared_at(task.spec_revision));
        let kept = made_from.map(|spec| spec.extensions.get(DOCKER_EXTENSION));
        assignment.declared =
            kept.map(|kept| kept.map(|kept| kept.0.clone()).unwrap_or_default().into());
    }

    fn difference(&mut self) -> Set {
        let state = self.dispatcher.service.raft.machine.state();
        let assigned = state::assignments(&state, self.node_id);
        let complete = self.complete_next;
        if complete {
            self.tasks.clear();
        }
        let mut set = Set { complete, ..Set::default() };
        let wanted: BTreeSet<TaskId> = assigned.tasks.iter().map(|(id, _)| *id).collect();
        for (id, task) in assigned.tasks {
            for reference in &task.secrets {
                let value = (reference.secret_id, reference.version);
                let needed = assigned.secrets.contains(&value) && !self.secrets.contains(&value);
                if !needed || set.deliver.iter().any(|(_, other)| *other == value) {
                    continue;
                }
                // For a task that may have it: one on its way out refers to it as well, and would
                // be refused for all that share the value.
                let (secret, version) = value;
                if state::entitled(&state, self.node_id, id, secret, version).is_some() {
                    set.deliver.push((id, value));
                }
            }
            for config in task.spec.configs.iter().map(|reference| reference.config_id) {
                let needed = assigned.configs.contains(&config) && !self.configs.contains(&config);
                if needed
                    && set.configs.iter().all(|(_, other)| *other != config)
                    && state::entitled_to_config(&state, self.node_id, id, config).is_some()
                {
                    set.configs.push((id, config));
                }
            }
            if self.tasks.get(&id) != Some(&task.revision) {
                set.tasks.push((id, task));
            }
        }
        if complete {
            // A complete set names every task; what none of them needs is let go by the agent.
            self.secrets.retain(|value| assigned.secrets.contains(value));
            self.configs.retain(|config| assigned.configs.contains(config));
        } else {
            set.gone_tasks = self.tasks.keys().filter(|id| !wanted.contains(id)).copied().collect();
            set.gone_secrets = self.secrets.difference(&assigned.secrets).copied().collect();
            set.gone_configs = self.configs.difference(&assigned.configs).copied().collect();
        }
        set
    }

    /// Delivers one config for one task, if this node may have it at this moment: a message each, of
    /// which few wait for a slow agent.
    async fn deliver_config(&mut self, task_id: TaskId, id: ConfigId) -> Result<(), Failure> {
        self.dispatcher.fresh_barrier().await?;
        self.dispatcher.service.still_stands(self.caller)?;
        let config = {
            let state = self.dispatcher.service.raft.machine.state();
            state::entitled_to_config(&state, self.node_id, task_id, id).cloned()
        };
        // If it was removed, the agent finds it missing, and says so in the task's status.
        let Some(config) = config else { return Ok(()) };
        self.configs.insert(id);
        self.send(Message::Config(pb::ConfigDelivery {
            task_id: task_id.to_string(),
            config_id: id.to_string(),
            data: config.data.0.clone(),
        }))
        .await
    }

    /// Delivers one value for one task, if this node may have it at this moment.
    async fn deliver(
        &mut self,
        task_id: TaskId,
        (secret_id, version): Value,
    ) -> Result<(), Failure> {
        self.dispatcher.fresh_barrier().await?;
        self.dispatcher.service.still_stands(self.caller)?;
        let stored = {
            let state = self.dispatcher.service.raft.machine.state();
            state::entitled(&state, self.node_id, task_id, secret_id, version)
                .map(|value| value.payload.clone())
        };
        let Some(stored) = stored else {
            // It was removed: the agent finds it missing, and says so in the task's status.
            tracing::info!(
                node.id = %self.node_id, task.id = %task_id, secret.id = %secret_id,
                version = version.0, "secret_not_delivered"
            );
            return Ok(());
        };
        let StoredPayload { payload_id, .. } = stored;
        let message_number = self.deliveries + 1;
        let delivery = Delivery { message_number, task_id, secret_id, version, payload_id };
        let sealed = self.dispatcher.service.keyring.deliver(&stored, &self.sender, &delivery);
        let sealed_dek = sealed.map_err(|error| {
            if error == KeyringError::NoRoot {
                // The root key was rotated a moment ago: another manager has it, or this one soon.
                return Failure::new(Kind::Unavailable, "this manager fetches the root key");
            }
            tracing::error!(%error, secret.id = %secret_id, version = version.0, "secret_unusable");
            Failure::new(Kind::Internal, "a stored secret cannot be opened")
        })?;
        // Recorded before it leaves.
        tracing::info!(
            target: "audit", action = "deliver", node.id = %self.node_id, task.id = %task_id,
            secret.id = %secret_id, version = version.0, session.id = %self.id,
            message_number, caller = %self.caller, "secret_delivered"
        );
        self.deliveries = message_number;
        self.secrets.insert((secret_id, version));
        self.send(Message::Secret(pb::SecretDelivery {
            message_number,
            task_id: task_id.to_string(),
            secret_id: secret_id.to_string(),
            version: version.0,
            payload_id: payload_id.as_bytes().to_vec().into(),
            sealed_dek: sealed_dek.as_bytes().clone(),
            ciphertext: stored.ciphertext.as_bytes().clone(),
        }))
        .await
    }
}

/// Configs the agent says it holds, if they are its business: the value of one never changes.
fn held_configs(dispatcher: &Dispatcher, node_id: NodeId, open: &pb::Open) -> BTreeSet<ConfigId> {
    let state = dispatcher.service.raft.machine.state();
    let assigned = state::assignments(&state, node_id).configs;
    let said = open.configs.iter().filter_map(|held| held.parse().ok());
    said.filter(|id| assigned.contains(id)).collect()
}

async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn addresses(dispatcher: &Dispatcher) -> Vec<String> {
    let state = dispatcher.service.raft.machine.state();
    state.members().values().map(|member| member.address.clone()).collect()
}

/// Values the agent says it holds, if they are the ones the cluster has. What it says here can
/// only save it deliveries.
fn held(dispatcher: &Dispatcher, node_id: NodeId, open: &pb::Open) -> BTreeSet<Value> {
    let state = dispatcher.service.raft.machine.state();
    let assigned = state::assignments(&state, node_id).secrets;
    let said = open.secrets.iter().filter_map(|held| {
        let value = (held.secret_id.parse().ok()?, Version(held.version));
        let stored = state.secret(value.0)?.versions.get(&value.1)?;
        let same = stored.payload.payload_id.as_bytes()[..] == held.payload_id[..];
        (same && assigned.contains(&value)).then_some(value)
    });
    said.collect()
}

fn assignment(id: TaskId, task: &Task) -> pb::TaskAssignment {
    pb::TaskAssignment {
        task_id: id.to_string(),
        service_id: task.service_id.to_string(),
        service_name: task.service_name.to_string(),
        slot: task.slot,
        revision: task.revision.0,
        desired_state: task.desired.number(),
        spec: Some(task.spec.clone().into()),
        secrets: task
            .secrets
            .iter()
            .map(|reference| pb::ResolvedReference {
                secret_id: reference.secret_id.to_string(),
                secret_name: reference.secret_name.to_string(),
                version: reference.version.0,
                target: reference.target.to_string(),
                uid: reference.uid,
                gid: reference.gid,
                mode: reference.mode.bits(),
            })
            .collect(),
        declared: None,
    }
}
