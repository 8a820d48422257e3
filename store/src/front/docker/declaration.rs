//! A service's declaration as Docker writes it, read into ours and rendered from it.
//!
//! What we have types for is taken over. What else tells how a container is made (mounts, health
//! checks, limits, published ports …) is kept as it came, in the declaration's extension `docker`, and
//! given back: clients send all of what they read when they change a part. It belongs to what tasks are
//! made from, so tasks are replaced when it changes. Not here: whether what is declared may be
//! (`service`); objects around it (`services`).
//!
//! Invariant: what is rendered and read again, over what it was rendered from, is the same declaration.

use std::collections::BTreeMap;

use proto::pb;
use proto::spec::DOCKER_EXTENSION;
use serde::de::{Deserializer, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::answer::{Code, Problem};

#[cfg(test)]
mod tests;

const NANOS_PER_MS: u64 = 1_000_000;

/// Millionths, which failure ratios are kept in.
const MILLION: f64 = 1_000_000.0;

/// Swarm's defaults, where a client leaves a part of a policy out (swarmkit `api/defaults`).
const RESTART_DELAY_MS: u64 = 5_000;
const MONITOR_MS: u64 = 5_000;

/// What is not taken over.
type Rest = Map<String, Value>;

/// Go leaves lists, maps and structs out, or writes null, as it happens.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A declaration.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Declaration {
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    task_template: TaskTemplate,
    #[serde(deserialize_with = "or_default")]
    mode: Mode,
    #[serde(skip_serializing_if = "Option::is_none")]
    update_config: Option<Rolling>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollback_config: Option<Rolling>,
    #[serde(flatten)]
    rest: Rest,
}

/// What tasks are made from.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct TaskTemplate {
    #[serde(deserialize_with = "or_default")]
    container_spec: Container,
    #[serde(deserialize_with = "or_default")]
    resources: Resources,
    #[serde(skip_serializing_if = "Option::is_none")]
    restart_policy: Option<RestartPolicy>,
    #[serde(deserialize_with = "or_default")]
    placement: Placement,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    networks: Vec<Network>,
    force_update: u64,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    runtime: String,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Container {
    #[serde(deserialize_with = "or_default")]
    image: String,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    command: Vec<String>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    args: Vec<String>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    env: Vec<String>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    dir: String,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    user: String,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    stop_signal: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_grace_period: Option<u64>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<SecretReference>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    configs: Vec<ConfigReference>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct SecretReference {
    #[serde(rename = "File")]
    file: Option<File>,
    #[serde(rename = "SecretID")]
    secret_id: String,
    #[serde(rename = "SecretName")]
    secret_name: String,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct ConfigReference {
    #[serde(rename = "File")]
    file: Option<File>,
    /// For what is not mounted: Windows' credential specs.
    #[serde(rename = "Runtime", skip_serializing)]
    runtime: Option<IgnoredAny>,
    #[serde(rename = "ConfigID")]
    config_id: String,
    #[serde(rename = "ConfigName")]
    config_name: String,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct File {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "UID")]
    uid: String,
    #[serde(rename = "GID")]
    gid: String,
    #[serde(rename = "Mode")]
    mode: u32,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Resources {
    #[serde(deserialize_with = "or_default")]
    reservations: Reservations,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Reservations {
    #[serde(rename = "NanoCPUs", skip_serializing_if = "is_zero")]
    nano_cpus: u64,
    #[serde(rename = "MemoryBytes", skip_serializing_if = "is_zero")]
    memory_bytes: u64,
    #[serde(flatten)]
    rest: Rest,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RestartPolicy {
    condition: String,
    delay: Option<u64>,
    max_attempts: Option<u64>,
    window: Option<u64>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Placement {
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    constraints: Vec<String>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    preferences: Vec<Preference>,
    #[serde(skip_serializing_if = "is_zero")]
    max_replicas: u64,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Preference {
    spread: Option<Spread>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Spread {
    spread_descriptor: String,
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Network {
    target: String,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct Mode {
    // Docker's SDK for Python writes both so.
    #[serde(alias = "replicated", skip_serializing_if = "Option::is_none")]
    replicated: Option<Replicated>,
    #[serde(alias = "global", skip_serializing_if = "Option::is_none")]
    global: Option<Global>,
    #[serde(skip_serializing)]
    replicated_job: Option<IgnoredAny>,
    #[serde(skip_serializing)]
    global_job: Option<IgnoredAny>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Replicated {
    replicas: Option<u64>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Global {}

/// How a change reaches the tasks.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Rolling {
    parallelism: u64,
    delay: u64,
    failure_action: String,
    monitor: u64,
    max_failure_ratio: f64,
    order: String,
}

/// Names of the fields that are read into types.
mod typed {
    pub(super) const DECLARATION: &[&str] =
        &["Name", "Labels", "TaskTemplate", "Mode", "UpdateConfig", "RollbackConfig"];
    pub(super) const TASK: &[&str] = &[
        "ContainerSpec",
        "Resources",
        "RestartPolicy",
        "Placement",
        "Networks",
        "ForceUpdate",
        "Runtime",
    ];
    pub(super) const CONTAINER: &[&str] = &[
        "Image",
        "Command",
        "Args",
        "Env",
        "Dir",
        "User",
        "StopSignal",
        "StopGracePeriod",
        "Secrets",
        "Configs",
    ];
    pub(super) const RESOURCES: &[&str] = &["Reservations"];
    pub(super) const RESERVATIONS: &[&str] = &["NanoCPUs", "MemoryBytes"];
    pub(super) const PLACEMENT: &[&str] = &["Constraints", "Preferences", "MaxReplicas"];
    pub(super) const NETWORK: &[&str] = &["Target"];
}

/// What of a declaration is kept as it came.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    #[serde(skip_serializing_if = "Rest::is_empty")]
    service: Rest,
    #[serde(skip_serializing_if = "Rest::is_empty")]
    task: Rest,
    #[serde(skip_serializing_if = "Rest::is_empty")]
    container: Rest,
    #[serde(skip_serializing_if = "Rest::is_empty")]
    resources: Rest,
    #[serde(skip_serializing_if = "Rest::is_empty")]
    reservations: Rest,
    #[serde(skip_serializing_if = "Rest::is_empty")]
    placement: Rest,
    /// Of each network, in order; all or none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    networks: Vec<Rest>,
}

fn refused(message: impl AsRef<str>) -> Problem {
    Problem::of_swarm(Code::InvalidArgument, message.as_ref())
}

/// Whether a key could be taken for one that is read into a type: Go, which clients are written in,
/// matches names without regard to case, and folds letters of other alphabets into ours.
fn is_like(key: &str, typed: &[&str]) -> bool {
    !key.is_ascii() || typed.iter().any(|name| name.eq_ignore_ascii_case(key))
}

/// What is kept of a rest: without what says nothing, which clients of different ages leave out or do
/// not.
fn kept(rest: Rest, typed: &[&str]) -> Result<Rest, Problem> {
    if let Some(key) = rest.keys().find(|key| is_like(key, typed)) {
        return Err(Problem::invalid(format!("{key:?} is spelled in another way by Docker")));
    }
    Ok(pruned(rest))
}

/// What is shown of a rest. Nothing in it speaks for what is read into a type: of that it was checked
/// who may use a secret for it.
fn shown(rest: Rest, typed: &[&str]) -> Rest {
    rest.into_iter().filter(|(key, _)| !is_like(key, typed)).collect()
}

/// Without null, empty lists and empty objects, at any depth; places of lists stay, since they count.
fn pruned(fields: Rest) -> Rest {
    let says = |value: &Value| match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    };
    let inside = |value| match value {
        Value::Object(fields) => Value::Object(pruned(fields)),
        other => other,
    };
    let each = |value| match value {
        Value::Array(list) => list.into_iter().map(inside).collect(),
        other => inside(other),
    };
    let fields = fields.into_iter().map(|(key, value)| (key, each(value)));
    fields.filter(|(_, value)| says(value)).collect()
}

const fn ms(nanos: u64) -> u64 {
    nanos / NANOS_PER_MS
}

const fn nanos(ms: u64) -> u64 {
    signed(ms.saturating_mul(NANOS_PER_MS))
}

/// As much of a number as fits where clients have no larger ones: one that they cannot read spoils a
/// whole list.
const fn signed(number: u64) -> u64 {
    if number > i64::MAX as u64 { i64::MAX as u64 } else { number }
}

fn owner(what: &str, text: &str) -> Result<Option<u32>, Problem> {
    match text {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| refused(format!("invalid {what} {text:?} of a file: it is not a number"))),
    }
}

impl File {
    fn of(name: &str, uid: Option<u32>, gid: Option<u32>, mode: u32) -> Self {
        let text = |number: Option<u32>| number.map(|n| n.to_string()).unwrap_or_default();
        Self { name: name.to_owned(), uid: text(uid), gid: text(gid), mode }
    }
}

impl ConfigReference {
    fn read(self) -> Result<pb::ConfigReference, Problem> {
        if self.runtime.is_some() {
            return Err(Problem::unimplemented("secretd mounts configs, and knows no other use"));
        }
        let Some(file) = self.file else {
            return Err(refused("malformed config reference, no target: a file is needed"));
        };
        Ok(pb::ConfigReference {
            config_id: self.config_id,
            config_name: self.config_name,
            uid: owner("UID", &file.uid)?,
            gid: owner("GID", &file.gid)?,
            mode: Some(file.mode),
            target: file.name,
        })
    }

    fn of(reference: &pb::ConfigReference) -> Self {
        let mode = reference.mode.unwrap_or(proto::spec::FileMode::ALL_READ.bits());
        Self {
            file: Some(File::of(&reference.target, reference.uid, reference.gid, mode)),
            runtime: None,
            config_id: reference.config_id.clone(),
            config_name: reference.config_name.clone(),
        }
    }
}

impl Rolling {
    fn read(
        self,
        what: &str,
        before: Option<&pb::UpdateConfig>,
    ) -> Result<pb::UpdateConfig, Problem> {
        let failure_action = match self.failure_action.as_str() {
            "" | "pause" => pb::FailureAction::Pause,
            "continue" => pb::FailureAction::Continue,
            "rollback" if what == "update" => pb::FailureAction::Rollback,
            other => {
                let text = format!("unrecognized {what} failure action {other}");
                return Err(Problem::invalid(text));
            }
        };
        let order = match self.order.as_str() {
            "" | "stop-first" => pb::UpdateOrder::StopFirst,
            "start-first" => pb::UpdateOrder::StartFirst,
            other => return Err(Problem::invalid(format!("unrecognized {what} order {other}"))),
        };
        if !(0.0..=1.0).contains(&self.max_failure_ratio) {
            let text = "update-maxfailureratio cannot be less than 0 or bigger than 1";
            return Err(refused(format!("TaskSpec: {text}")));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 0 and a million"
        )]
        let millionths = (self.max_failure_ratio * MILLION).round() as u32;
        // Docker takes 0 for nothing said; here it can be declared.
        let monitor_ms = match (self.monitor, before.map(|before| before.monitor_ms)) {
            (0, Some(0)) => 0,
            (0, _) => MONITOR_MS,
            (nanos, _) => nanos.div_ceil(NANOS_PER_MS),
        };
        Ok(pb::UpdateConfig {
            parallelism: self.parallelism,
            delay_ms: ms(self.delay),
            failure_action: failure_action.into(),
            monitor_ms,
            failure_ratio_millionths_max: millionths,
            order: order.into(),
        })
    }

    fn of(config: &pb::UpdateConfig) -> Self {
        let failure_action = match config.failure_action() {
            pb::FailureAction::Pause => "pause",
            pb::FailureAction::Continue => "continue",
            pb::FailureAction::Rollback => "rollback",
        };
        let order = match config.order() {
            pb::UpdateOrder::StopFirst => "stop-first",
            pb::UpdateOrder::StartFirst => "start-first",
        };
        Self {
            parallelism: config.parallelism,
            delay: nanos(config.delay_ms),
            failure_action: failure_action.to_owned(),
            monitor: nanos(config.monitor_ms),
            max_failure_ratio: f64::from(config.failure_ratio_millionths_max) / MILLION,
            order: order.to_owned(),
        }
    }
}

impl RestartPolicy {
    fn read(self) -> Result<pb::RestartPolicy, Problem> {
        let condition = match self.condition.as_str() {
            "" | "any" => pb::RestartCondition::Any,
            "on-failure" => pb::RestartCondition::OnFailure,
            "none" => pb::RestartCondition::None,
            other => return Err(Problem::invalid(format!("invalid RestartCondition: {other:?}"))),
        };
        Ok(pb::RestartPolicy {
            condition: condition.into(),
            delay_ms: self.delay.map_or(RESTART_DELAY_MS, ms),
            attempts_max: self.max_attempts.unwrap_or(0),
            window_ms: self.window.map_or(0, ms),
        })
    }

    fn of(policy: &pb::RestartPolicy) -> Self {
        let condition = match policy.condition() {
            pb::RestartCondition::Any => "any",
            pb::RestartCondition::OnFailure => "on-failure",
            pb::RestartCondition::None => "none",
        };
        Self {
            condition: condition.to_owned(),
            delay: Some(nanos(policy.delay_ms)),
            max_attempts: Some(policy.attempts_max),
            window: (policy.window_ms > 0).then(|| nanos(policy.window_ms)),
        }
    }
}

impl SecretReference {
    /// What docker cannot say of a reference stays as it is.
    fn read(self, before: &[pb::SecretReference]) -> Result<pb::SecretReference, Problem> {
        let Some(file) = self.file else {
            return Err(refused("malformed secret reference, no target: a file is needed"));
        };
        let same =
            |one: &&pb::SecretReference| one.secret_id == self.secret_id && one.target == file.name;
        let before = before.iter().find(same);
        Ok(pb::SecretReference {
            secret_id: self.secret_id,
            secret_name: self.secret_name,
            pinned_version: before.map_or(0, |before| before.pinned_version),
            uid: owner("UID", &file.uid)?,
            gid: owner("GID", &file.gid)?,
            mode: Some(file.mode),
            on_change: before.map(|before| before.on_change).unwrap_or_default(),
            target: file.name,
        })
    }

    fn of(reference: &pb::SecretReference) -> Self {
        let mode = reference.mode.unwrap_or(proto::spec::FileMode::OWNER_READS.bits());
        Self {
            file: Some(File::of(&reference.target, reference.uid, reference.gid, mode)),
            secret_id: reference.secret_id.clone(),
            secret_name: reference.secret_name.clone(),
        }
    }
}

impl Mode {
    fn read(self) -> Result<pb::service_spec::Mode, Problem> {
        if self.replicated_job.is_some() || self.global_job.is_some() {
            return Err(Problem::unimplemented("secretd runs services, not jobs"));
        }
        match (self.replicated, self.global) {
            (Some(_), Some(_)) => Err(Problem::invalid("must specify only one service mode")),
            (None, Some(_)) => Ok(pb::service_spec::Mode::Global(true)),
            (replicated, None) => {
                let replicas = replicated.and_then(|replicated| replicated.replicas);
                Ok(pb::service_spec::Mode::Replicas(replicas.unwrap_or(1)))
            }
        }
    }

    fn of(mode: Option<&pb::service_spec::Mode>) -> Self {
        match mode {
            Some(pb::service_spec::Mode::Global(true)) => {
                Self { global: Some(Global {}), ..Self::default() }
            }
            Some(pb::service_spec::Mode::Replicas(replicas)) => {
                let replicated = Replicated { replicas: Some(*replicas) };
                Self { replicated: Some(replicated), ..Self::default() }
            }
            _ => Self { replicated: Some(Replicated { replicas: Some(1) }), ..Self::default() },
        }
    }
}

impl Declaration {
    /// The name that is declared.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The networks that its tasks are attached to, by id or name.
    pub(super) fn networks_mut(&mut self) -> impl Iterator<Item = &mut String> {
        self.task_template.networks.iter_mut().map(|network| &mut network.target)
    }

    /// Takes over what is declared. What Docker has no word for stays as in the declaration before.
    pub(super) fn read(self, before: Option<&pb::ServiceSpec>) -> Result<pb::ServiceSpec, Problem> {
        let service = kept(self.rest, typed::DECLARATION)?;
        let mut rests = Kept { service, ..Kept::default() };
        let before_task = before.and_then(|before| before.task.as_ref());
        let task = self.task_template.read(before_task, &mut rests)?;
        let mut extensions = before.map(|before| before.extensions.clone()).unwrap_or_default();
        extensions.remove(DOCKER_EXTENSION);
        if rests != Kept::default() {
            let bytes = serde_json::to_vec(&rests)
                .map_err(|_| Problem::invalid("what is declared cannot be kept"))?;
            extensions.insert(DOCKER_EXTENSION.to_owned(), bytes.into());
        }
        let update = before.and_then(|before| before.update.as_ref());
        let rollback = before.and_then(|before| before.rollback.as_ref());
        Ok(pb::ServiceSpec {
            name: self.name,
            labels: self.labels,
            task: Some(task),
            mode: Some(self.mode.read()?),
            update: self.update_config.map(|new| new.read("update", update)).transpose()?,
            rollback: self.rollback_config.map(|new| new.read("rollback", rollback)).transpose()?,
            extensions,
        })
    }

    /// As Docker writes it.
    pub(super) fn of(spec: &pb::ServiceSpec) -> Self {
        let rests =
            spec.extensions.get(DOCKER_EXTENSION).map(|bytes| serde_json::from_slice(bytes));
        let mut rests: Kept = rests.and_then(Result::ok).unwrap_or_default();
        let task = spec.task.clone().unwrap_or_default();
        Self {
            name: spec.name.clone(),
            labels: spec.labels.clone(),
            mode: Mode::of(spec.mode.as_ref()),
            update_config: spec.update.as_ref().map(Rolling::of),
            rollback_config: spec.rollback.as_ref().map(Rolling::of),
            rest: shown(std::mem::take(&mut rests.service), typed::DECLARATION),
            task_template: TaskTemplate::of(task, rests),
        }
    }

    /// What its tasks are made from.
    pub(super) fn into_task_template(self) -> TaskTemplate {
        self.task_template
    }

    /// How it is reached, as it was declared.
    pub(super) fn endpoint(&self) -> Value {
        self.rest.get("EndpointSpec").cloned().unwrap_or_else(|| Value::Object(Rest::new()))
    }
}

impl TaskTemplate {
    fn read(
        self,
        before: Option<&pb::TaskSpec>,
        rests: &mut Kept,
    ) -> Result<pb::TaskSpec, Problem> {
        if !matches!(self.runtime.as_str(), "" | "container") {
            return Err(Problem::unimplemented("secretd runs containers, not plugins"));
        }
        let Self { container_spec: container, resources, placement, networks, .. } = self;
        // Without an image it can only be what it was.
        let was_process = before.is_some_and(|task| task.runtime() == pb::RuntimeKind::Process);
        let runtime = match (container.image.is_empty(), was_process) {
            (false, _) => pb::RuntimeKind::Docker,
            (true, true) => pb::RuntimeKind::Process,
            (true, false) => {
                return Err(refused("ContainerSpec: image reference must be provided"));
            }
        };
        let had = before.map(|task| task.secrets.as_slice()).unwrap_or_default();
        let secrets = container.secrets.into_iter().map(|reference| reference.read(had));
        let secrets = secrets.collect::<Result<_, _>>()?;
        let configs = container.configs.into_iter().map(ConfigReference::read);
        let configs = configs.collect::<Result<_, _>>()?;
        rests.task = kept(self.rest, typed::TASK)?;
        rests.container = kept(container.rest, typed::CONTAINER)?;
        rests.resources = kept(resources.rest, typed::RESOURCES)?;
        rests.reservations = kept(resources.reservations.rest, typed::RESERVATIONS)?;
        rests.placement = kept(placement.rest, typed::PLACEMENT)?;
        let of_networks = networks.iter().map(|one| kept(one.rest.clone(), typed::NETWORK));
        let of_networks = of_networks.collect::<Result<Vec<_>, _>>()?;
        if !of_networks.iter().all(Rest::is_empty) {
            rests.networks = of_networks;
        }
        let spreads = placement.preferences.into_iter().filter_map(|preference| preference.spread);
        Ok(pb::TaskSpec {
            runtime: runtime.into(),
            image: container.image,
            command: container.command,
            args: container.args,
            env: container.env,
            dir: container.dir,
            user: container.user,
            stop_signal: container.stop_signal,
            stop_grace_ms: container.stop_grace_period.map(ms),
            secrets,
            restart: self.restart_policy.map(RestartPolicy::read).transpose()?,
            placement: Some(pb::Placement {
                constraints: placement.constraints,
                spread_over: spreads.map(|spread| spread.spread_descriptor).collect(),
                replicas_per_node_max: placement.max_replicas,
            }),
            resources: Some(pb::Resources {
                reserved_nano_cpus: resources.reservations.nano_cpus,
                reserved_memory_bytes: resources.reservations.memory_bytes,
            }),
            logs: before.map(|task| task.logs).unwrap_or_default(),
            force_update: self.force_update,
            networks: networks.into_iter().map(|network| network.target).collect(),
            configs,
        })
    }

    fn of(task: pb::TaskSpec, rests: Kept) -> Self {
        // Nothing that a client could make of a program of the node.
        let runtime = if task.image.is_empty() { "" } else { "container" };
        let restart_policy = task.restart.as_ref().map(RestartPolicy::of);
        let secrets = task.secrets.iter().map(SecretReference::of).collect();
        let configs = task.configs.iter().map(ConfigReference::of).collect();
        let placement = task.placement.unwrap_or_default();
        let resources = task.resources.unwrap_or_default();
        let spreads = placement
            .spread_over
            .into_iter()
            .map(|spread_descriptor| Preference { spread: Some(Spread { spread_descriptor }) });
        let of_networks = rests.networks.into_iter().map(|rest| shown(rest, typed::NETWORK));
        let of_networks = of_networks.chain(std::iter::repeat_with(Rest::new));
        let networks = task.networks.into_iter().zip(of_networks);
        Self {
            container_spec: Container {
                image: task.image,
                command: task.command,
                args: task.args,
                env: task.env,
                dir: task.dir,
                user: task.user,
                stop_signal: task.stop_signal,
                stop_grace_period: task.stop_grace_ms.map(nanos),
                secrets,
                configs,
                rest: shown(rests.container, typed::CONTAINER),
            },
            resources: Resources {
                reservations: Reservations {
                    nano_cpus: signed(resources.reserved_nano_cpus),
                    memory_bytes: signed(resources.reserved_memory_bytes),
                    rest: shown(rests.reservations, typed::RESERVATIONS),
                },
                rest: shown(rests.resources, typed::RESOURCES),
            },
            restart_policy,
            placement: Placement {
                constraints: placement.constraints,
                preferences: spreads.collect(),
                max_replicas: placement.replicas_per_node_max,
                rest: shown(rests.placement, typed::PLACEMENT),
            },
            networks: networks.map(|(target, rest)| Network { target, rest }).collect(),
            force_update: task.force_update,
            runtime: runtime.to_owned(),
            rest: shown(rests.task, typed::TASK),
        }
    }
}
