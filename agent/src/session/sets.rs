//! What is assigned, as a manager tells it: a begin, changes, and an end that puts them in force.
//!
//! A pure machine without I/O and clock. What it makes of messages is either nothing yet, a request
//! for everything, new holdings, or a reason to end the session. Not here: the stream the messages
//! come on ([`super::stream`]), and what follows from the holdings ([`crate::plan`]).
//!
//! Invariants, each with its test below:
//! - nothing of a set is in force before its end, and then all of it is;
//! - a set applies to the end of the one before, or it is complete; after a gap nothing is taken
//!   until a complete one comes;
//! - each number of a delivery is taken once, in order, also by deliveries that are not used;
//! - a secret is held only if it was delivered and opened, for a task whose assignment names it,
//!   and only as long as a task that may still start names it;
//! - what is staged and held is bounded.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proto::convert::{ParseError, bytes_16, text};
use proto::id::{ConfigId, PayloadId, SecretId, TaskId, Version};
use proto::limits::{CONFIG_BYTES_MAX, CONFIGS_BYTES_MAX, CONFIGS_MAX};
use proto::pb;
use proto::sealed::{Ciphertext, WrappedKey};
use proto::task::DesiredState;
use seal::{Dek, Delivery, OpenError, SessionReceiver};

use crate::assignment::{Assignment, SecretVersion};
use crate::worker::Assigned;

/// Tasks of one node. A machine runs hundreds; this bounds what a broken manager can make of it.
pub(crate) const TASKS_MAX: usize = 10_000;

/// Versions of secrets held at a time; with [`TASKS_MAX`] tasks the statement of what is held still
/// fits one message.
pub(crate) const HELD_MAX: usize = 16_384;

/// Bytes of sealed payloads held at a time: the whole quota of a cluster, unless it was raised.
const HELD_BYTES_MAX: usize = 1 << 30;

/// One version of a secret, sealed, and the key that opens it.
pub(crate) struct Held<K> {
    /// Which payload it is.
    pub(crate) payload_id: PayloadId,
    /// The payload.
    pub(crate) ciphertext: Ciphertext,
    /// Its key.
    pub(crate) key: K,
}

/// Everything that is held.
pub(crate) type HeldSecrets<K> = BTreeMap<SecretVersion, Arc<Held<K>>>;

/// The values of configs that are held.
pub(crate) type HeldConfigs = BTreeMap<ConfigId, Bytes>;

/// What is in force on this node: the outcome of the last set that came to its end. It outlives
/// sessions.
pub(crate) struct Holdings<K> {
    /// The tasks.
    pub(crate) assigned: Arc<Assigned>,
    /// Tasks whose assignment this version does not understand, and why.
    pub(crate) not_understood: Arc<BTreeMap<TaskId, String>>,
    /// The secrets of tasks that may still start.
    pub(crate) held: Arc<HeldSecrets<K>>,
    /// Their configs.
    pub(crate) configs: Arc<HeldConfigs>,
}

impl<K> Default for Holdings<K> {
    fn default() -> Self {
        Self {
            assigned: Arc::default(),
            not_understood: Arc::default(),
            held: Arc::new(BTreeMap::new()),
            configs: Arc::default(),
        }
    }
}

impl<K> Clone for Holdings<K> {
    fn clone(&self) -> Self {
        Self {
            assigned: Arc::clone(&self.assigned),
            not_understood: Arc::clone(&self.not_understood),
            held: Arc::clone(&self.held),
            configs: Arc::clone(&self.configs),
        }
    }
}

impl<K> Holdings<K> {
    /// What a new session is told, so that the manager sends only the difference.
    pub(crate) fn statement(&self) -> (Vec<pb::HeldTask>, Vec<pb::HeldSecret>) {
        let tasks = self.assigned.values().map(|assignment| pb::HeldTask {
            task_id: assignment.task_id.to_string(),
            revision: assignment.revision.0,
        });
        let secrets = self.held.iter().map(|(secret, held)| pb::HeldSecret {
            secret_id: secret.secret_id.to_string(),
            version: secret.version.0,
            payload_id: Bytes::copy_from_slice(held.payload_id.as_bytes()),
        });
        (tasks.collect(), secrets.collect())
    }
}

/// Unwraps the key of a delivery.
pub(crate) trait Opener {
    /// What opens the payload.
    type Key;

    /// The key of one delivery, if that is what it says it is.
    fn open(
        &self,
        delivery: &Delivery,
        sealed_dek: &WrappedKey,
        ciphertext: &Ciphertext,
    ) -> Result<Self::Key, OpenError>;
}

impl Opener for SessionReceiver {
    type Key = Dek;

    fn open(
        &self,
        delivery: &Delivery,
        sealed_dek: &WrappedKey,
        ciphertext: &Ciphertext,
    ) -> Result<Dek, OpenError> {
        let dek = self.unwrap(delivery, sealed_dek, ciphertext)?;
        // The payload itself stays sealed until a task needs it; that this key is its key shows
        // in its header.
        if dek.id() == ciphertext.key_id() { Ok(dek) } else { Err(OpenError) }
    }
}

/// One message of a set.
pub(crate) enum Message {
    /// A set begins.
    Begin(pb::Begin),
    /// A task is assigned, or its assignment changes.
    Task(Box<pb::TaskAssignment>),
    /// A task is not assigned any more.
    TaskRemoval(pb::TaskRemoval),
    /// A secret is delivered.
    Secret(pb::SecretDelivery),
    /// A secret is to be dropped.
    SecretRemoval(pb::SecretRemoval),
    /// A config is delivered.
    Config(pb::ConfigDelivery),
    /// A config is to be dropped.
    ConfigRemoval(pb::ConfigRemoval),
    /// The set is whole.
    End(pb::End),
}

/// What follows from a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing yet.
    Nothing,
    /// The manager is to be asked for everything.
    WantEverything,
    /// The holdings are new.
    Applied,
}

/// A message that must not come from an honest manager: the session ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SetError {
    /// A change outside of a set, or a set within a set.
    #[error("{0} came out of turn")]
    OutOfTurn(&'static str),
    /// A field is not what it is for.
    #[error("{what} is malformed")]
    Malformed {
        /// Which message.
        what: &'static str,
        /// Which field, and why.
        #[source]
        source: ParseError,
    },
    /// A delivery under a number that was taken.
    #[error("delivery {number} came after delivery {last}: it is a replay")]
    Replayed {
        /// Its number.
        number: u64,
        /// The last one taken.
        last: u64,
    },
    /// A delivery that was sealed for something else, or altered.
    #[error("secret {secret_id} version {version} for task {task_id} does not open")]
    DoesNotOpen {
        /// The task it says it is for.
        task_id: TaskId,
        /// The secret it says it is.
        secret_id: SecretId,
        /// The version it says it is.
        version: Version,
    },
    /// A delivery that no assignment names.
    #[error(
        "secret {secret_id} version {version} was delivered for task {task_id}, which is not \
             assigned to this node with it"
    )]
    Foreign {
        /// The task it was sealed for.
        task_id: TaskId,
        /// The secret.
        secret_id: SecretId,
        /// Its version.
        version: Version,
    },
    /// A config that no assignment names.
    #[error(
        "config {config_id} was delivered for task {task_id}, which is not assigned to this node \
             with it"
    )]
    ForeignConfig {
        /// The task it was sent for.
        task_id: TaskId,
        /// The config.
        config_id: ConfigId,
    },
    /// More than a node can have.
    #[error("more than {limit} {what} were assigned")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
}

fn malformed(what: &'static str) -> impl FnOnce(ParseError) -> SetError {
    move |source| SetError::Malformed { what, source }
}

/// What a set says of one task.
enum TaskChange {
    Assigned(Box<Assignment>),
    NotUnderstood(String),
    Removed,
}

/// A set that has begun.
struct Draft<K> {
    complete: bool,
    tasks: BTreeMap<TaskId, TaskChange>,
    /// Delivered, or removed.
    secrets: BTreeMap<SecretVersion, Option<Arc<Held<K>>>>,
    /// For which tasks, to be compared with the assignments at the end.
    delivered_for: Vec<(TaskId, SecretVersion)>,
    /// Delivered, or removed.
    configs: BTreeMap<ConfigId, Option<Bytes>>,
    configs_for: Vec<(TaskId, ConfigId)>,
    bytes: usize,
}

enum Stage<K> {
    Between,
    Within(Draft<K>),
    /// Everything was asked for; until it comes, nothing is taken.
    Skipping,
}

/// One session's sets.
pub(crate) struct Sets<K> {
    holdings: Holdings<K>,
    results_in: u64,
    number_last: u64,
    stage: Stage<K>,
}

impl<K> Sets<K> {
    /// The sets of a new session, which begins with what is in force.
    pub(crate) const fn new(holdings: Holdings<K>) -> Self {
        Self { holdings, results_in: 0, number_last: 0, stage: Stage::Between }
    }

    /// What is in force.
    pub(crate) const fn holdings(&self) -> &Holdings<K> {
        &self.holdings
    }

    /// The end of the last set.
    pub(crate) const fn results_in(&self) -> u64 {
        self.results_in
    }

    /// Takes one message.
    pub(crate) fn take(
        &mut self,
        message: Message,
        opener: &impl Opener<Key = K>,
    ) -> Result<Step, SetError> {
        match message {
            Message::Begin(begin) => self.begin(begin),
            Message::Task(task) => self.change("a task", |draft| draft.task(*task)),
            Message::TaskRemoval(removal) => {
                self.change("a removal of a task", |draft| draft.task_removal(&removal))
            }
            Message::Secret(delivery) => self.delivery(&delivery, opener),
            Message::SecretRemoval(removal) => {
                self.change("a removal of a secret", |draft| draft.secret_removal(&removal))
            }
            Message::Config(delivery) => self.change("a config", |draft| draft.config(&delivery)),
            Message::ConfigRemoval(removal) => {
                self.change("a removal of a config", |draft| draft.config_removal(&removal))
            }
            Message::End(end) => self.end(end),
        }
    }

    fn begin(&mut self, begin: pb::Begin) -> Result<Step, SetError> {
        match &self.stage {
            Stage::Within(_) => Err(SetError::OutOfTurn("a begin")),
            Stage::Skipping if !begin.complete => Ok(Step::Nothing),
            Stage::Between if !begin.complete && begin.applies_to != self.results_in => {
                self.stage = Stage::Skipping;
                Ok(Step::WantEverything)
            }
            Stage::Between | Stage::Skipping => {
                self.stage = Stage::Within(Draft::new(begin.complete));
                Ok(Step::Nothing)
            }
        }
    }

    fn change(
        &mut self,
        what: &'static str,
        change: impl FnOnce(&mut Draft<K>) -> Result<(), SetError>,
    ) -> Result<Step, SetError> {
        match &mut self.stage {
            Stage::Between => return Err(SetError::OutOfTurn(what)),
            Stage::Skipping => {}
            Stage::Within(draft) => change(draft)?,
        }
        Ok(Step::Nothing)
    }

    fn delivery(
        &mut self,
        message: &pb::SecretDelivery,
        opener: &impl Opener<Key = K>,
    ) -> Result<Step, SetError> {
        let number = message.message_number;
        if number <= self.number_last {
            return Err(SetError::Replayed { number, last: self.number_last });
        }
        self.number_last = number;
        self.change("a delivery", |draft| draft.delivery(message, opener))
    }

    fn end(&mut self, end: pb::End) -> Result<Step, SetError> {
        let draft = match core::mem::replace(&mut self.stage, Stage::Between) {
            Stage::Between => return Err(SetError::OutOfTurn("an end")),
            Stage::Skipping => {
                self.stage = Stage::Skipping;
                return Ok(Step::Nothing);
            }
            Stage::Within(draft) => draft,
        };
        self.holdings = draft.applied_to(&self.holdings)?;
        self.results_in = end.results_in;
        Ok(Step::Applied)
    }
}

impl<K> Draft<K> {
    const fn new(complete: bool) -> Self {
        Self {
            complete,
            tasks: BTreeMap::new(),
            secrets: BTreeMap::new(),
            delivered_for: Vec::new(),
            configs: BTreeMap::new(),
            configs_for: Vec::new(),
            bytes: 0,
        }
    }

    /// Without an id there is nobody to tell about it; else one task that is not understood does
    /// not keep the others from their node.
    fn task(&mut self, message: pb::TaskAssignment) -> Result<(), SetError> {
        let task_id: TaskId = text("task_id", &message.task_id).map_err(malformed("a task"))?;
        let change = match Assignment::try_from(message) {
            Ok(assignment) => TaskChange::Assigned(Box::new(assignment)),
            Err(error) => TaskChange::NotUnderstood(error.to_string()),
        };
        self.stage_task(task_id, change)
    }

    fn task_removal(&mut self, message: &pb::TaskRemoval) -> Result<(), SetError> {
        let task_id = text("task_id", &message.task_id).map_err(malformed("a removal"))?;
        self.stage_task(task_id, TaskChange::Removed)
    }

    fn stage_task(&mut self, task_id: TaskId, change: TaskChange) -> Result<(), SetError> {
        self.tasks.insert(task_id, change);
        // Twice: as many may go as may come.
        bounded("tasks", self.tasks.len(), 2 * TASKS_MAX)
    }

    fn secret_removal(&mut self, message: &pb::SecretRemoval) -> Result<(), SetError> {
        let secret_id = text("secret_id", &message.secret_id).map_err(malformed("a removal"))?;
        let secret = SecretVersion { secret_id, version: Version(message.version) };
        self.secrets.insert(secret, None);
        bounded("secrets", self.secrets.len(), 2 * HELD_MAX)
    }

    fn delivery(
        &mut self,
        message: &pb::SecretDelivery,
        opener: &impl Opener<Key = K>,
    ) -> Result<(), SetError> {
        let (delivery, sealed_dek, ciphertext) =
            parse_delivery(message).map_err(malformed("a delivery"))?;
        let Delivery { task_id, secret_id, version, payload_id, .. } = delivery;
        self.bytes = self.bytes.saturating_add(ciphertext.as_bytes().len());
        bounded("bytes of secrets", self.bytes, HELD_BYTES_MAX)?;
        bounded("secrets", self.delivered_for.len() + 1, HELD_MAX)?;
        let key = opener
            .open(&delivery, &sealed_dek, &ciphertext)
            .map_err(|OpenError| SetError::DoesNotOpen { task_id, secret_id, version })?;
        let secret = SecretVersion { secret_id, version };
        self.secrets.insert(secret, Some(Arc::new(Held { payload_id, ciphertext, key })));
        self.delivered_for.push((task_id, secret));
        Ok(())
    }

    fn config(&mut self, message: &pb::ConfigDelivery) -> Result<(), SetError> {
        let task_id = text("task_id", &message.task_id).map_err(malformed("a config"))?;
        let config_id = text("config_id", &message.config_id).map_err(malformed("a config"))?;
        if message.data.is_empty() {
            return Err(malformed("a config")(ParseError::missing("data")));
        }
        bounded("bytes of one config", message.data.len(), CONFIG_BYTES_MAX)?;
        bounded("configs", self.configs_for.len() + 1, CONFIGS_MAX)?;
        // A copy of its own: what came is part of a larger buffer, which would live as long.
        let data = Bytes::copy_from_slice(&message.data);
        self.configs.insert(config_id, Some(data));
        self.configs_for.push((task_id, config_id));
        let staged = self.configs.values().flatten();
        bounded_configs(staged.map(Bytes::len).sum())
    }

    fn config_removal(&mut self, message: &pb::ConfigRemoval) -> Result<(), SetError> {
        let config_id = text("config_id", &message.config_id).map_err(malformed("a removal"))?;
        self.configs.insert(config_id, None);
        bounded("configs", self.configs.len(), 2 * CONFIGS_MAX)
    }

    /// The configs of tasks that may start, as far as they came.
    fn configs_of(
        &self,
        assigned: &Assigned,
        not_understood: &BTreeMap<TaskId, String>,
        old: &HeldConfigs,
    ) -> Result<HeldConfigs, SetError> {
        for (task_id, config_id) in self.configs_for.iter().copied() {
            let names = |task: &Assignment| {
                task.spec.configs.iter().any(|reference| reference.config_id == config_id)
            };
            let is_named =
                not_understood.contains_key(&task_id) || assigned.get(&task_id).is_some_and(names);
            if !is_named {
                return Err(SetError::ForeignConfig { task_id, config_id });
            }
        }
        let starting = assigned.values().filter(|task| may_start(task));
        let named = starting.flat_map(|task| &task.spec.configs).map(|it| it.config_id);
        let source = |id: ConfigId| match self.configs.get(&id) {
            Some(staged) => staged.clone(),
            None => old.get(&id).cloned(),
        };
        let configs: HeldConfigs = named.filter_map(|id| Some((id, source(id)?))).collect();
        bounded("configs", configs.len(), CONFIGS_MAX)?;
        bounded_configs(configs.values().map(Bytes::len).sum())?;
        Ok(configs)
    }

    /// The holdings with the changes in force; the old ones stay if the set is not what it may be.
    fn applied_to(mut self, old: &Holdings<K>) -> Result<Holdings<K>, SetError> {
        let (mut assigned, mut not_understood) = if self.complete {
            (Assigned::new(), BTreeMap::new())
        } else {
            ((*old.assigned).clone(), (*old.not_understood).clone())
        };
        for (task_id, change) in std::mem::take(&mut self.tasks) {
            assigned.remove(&task_id);
            not_understood.remove(&task_id);
            match change {
                TaskChange::Assigned(assignment) => drop(assigned.insert(task_id, *assignment)),
                TaskChange::NotUnderstood(why) => drop(not_understood.insert(task_id, why)),
                TaskChange::Removed => {}
            }
        }
        bounded("tasks", assigned.len() + not_understood.len(), TASKS_MAX)?;
        let configs = self.configs_of(&assigned, &not_understood, &old.configs)?;
        for (task_id, secret) in self.delivered_for {
            // What such a task needs is not known; its secrets are not kept either.
            let is_named = not_understood.contains_key(&task_id)
                || assigned.get(&task_id).is_some_and(|task| names(task, secret));
            if !is_named {
                let SecretVersion { secret_id, version } = secret;
                return Err(SetError::Foreign { task_id, secret_id, version });
            }
        }
        let mut held = HeldSecrets::new();
        let starting = assigned.values().filter(|task| may_start(task));
        for secret in starting.flat_map(|task| &task.secrets).map(|reference| reference.secret) {
            let source = match self.secrets.get(&secret) {
                Some(staged) => staged.as_ref(),
                None => old.held.get(&secret),
            };
            if let Some(source) = source {
                held.insert(secret, Arc::clone(source));
            }
        }
        bounded("secrets", held.len(), HELD_MAX)?;
        let bytes = held.values().map(|held| held.ciphertext.as_bytes().len()).sum();
        bounded("bytes of secrets", bytes, HELD_BYTES_MAX)?;
        Ok(Holdings {
            assigned: Arc::new(assigned),
            not_understood: Arc::new(not_understood),
            held: Arc::new(held),
            configs: Arc::new(configs),
        })
    }
}

const fn bounded(what: &'static str, count: usize, limit: usize) -> Result<(), SetError> {
    if count > limit { Err(SetError::TooMany { what, limit }) } else { Ok(()) }
}

/// As many as a whole cluster may have.
fn bounded_configs(bytes: usize) -> Result<(), SetError> {
    bounded("bytes of configs", bytes, usize::try_from(CONFIGS_BYTES_MAX).unwrap_or(usize::MAX))
}

fn names(task: &Assignment, secret: SecretVersion) -> bool {
    task.secrets.iter().any(|reference| reference.secret == secret)
}

/// Whether the cluster may still want it to start, so that it needs its secrets.
const fn may_start(task: &Assignment) -> bool {
    matches!(task.desired, DesiredState::Ready | DesiredState::Running)
}

fn parse_delivery(
    message: &pb::SecretDelivery,
) -> Result<(Delivery, WrappedKey, Ciphertext), ParseError> {
    let delivery = Delivery {
        message_number: message.message_number,
        task_id: text("task_id", &message.task_id)?,
        secret_id: text("secret_id", &message.secret_id)?,
        version: Version(message.version),
        payload_id: bytes_16("payload_id", &message.payload_id)?,
    };
    let sealed_dek = WrappedKey::new(message.sealed_dek.clone())
        .map_err(|error| ParseError::new("sealed_dek", error))?;
    // A copy of its own: what came is part of a larger buffer, which would live as long.
    let ciphertext = Ciphertext::new(Bytes::copy_from_slice(&message.ciphertext))
        .map_err(|error| ParseError::new("ciphertext", error))?;
    Ok((delivery, sealed_dek, ciphertext))
}

#[cfg(test)]
mod tests;
