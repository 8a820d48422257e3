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
use serde::de::{Deserializer, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::answer::{Code, Problem};

/// Under which name the rest is kept.
const EXTENSION: &str = "docker";

const NANOS_PER_MS: u64 = 1_000_000;

/// Millionths, which failure ratios are kept in.
const MILLION: f64 = 1_000_000.0;

/// Swarm's defaults, where a client leaves a part of a policy out (swarmkit `api/defaults`).
const RESTART_DELAY_MS: u64 = 5_000;
const MONITOR_MS: u64 = 5_000;

/// What is not taken over.
type Rest = Map<String, Value>;

/// Go leaves lists, maps and structs out, or writes null, as it happens.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A declaration.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Declaration {
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
    image: String,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    command: Vec<String>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    args: Vec<String>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    env: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    dir: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    stop_signal: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_grace_period: Option<u64>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<SecretReference>,
    #[serde(deserialize_with = "or_default", skip_serializing)]
    configs: Vec<IgnoredAny>,
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
#[serde(rename_all = "PascalCase", default)]
struct Mode {
    #[serde(skip_serializing_if = "Option::is_none")]
    replicated: Option<Replicated>,
    #[serde(skip_serializing_if = "Option::is_none")]
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

/// What says nothing: clients of different ages leave it out or do not.
fn without_nothing(rest: Rest) -> Rest {
    let says = |value: &Value| match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    };
    rest.into_iter().filter(|(_, value)| says(value)).collect()
}

const fn ms(nanos: u64) -> u64 {
    nanos / NANOS_PER_MS
}

const fn nanos(ms: u64) -> u64 {
    ms.saturating_mul(NANOS_PER_MS)
}

fn owner(what: &str, text: &str) -> Result<Option<u32>, Problem> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            refused(format!("invalid {what} {text:?} of a secret's file: it is not a number"))
        }),
    }
}

impl Rolling {
    fn read(self, what: &str) -> Result<pb::UpdateConfig, Problem> {
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
        let monitor_ms = if self.monitor == 0 { MONITOR_MS } else { ms(self.monitor) };
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
            window: Some(nanos(policy.window_ms)),
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
        let text = |number: Option<u32>| number.map(|n| n.to_string()).unwrap_or_default();
        let mode = reference.mode.unwrap_or(proto::spec::FileMode::OWNER_READS.bits());
        let file = File {
            name: reference.target.clone(),
            uid: text(reference.uid),
            gid: text(reference.gid),
            mode,
        };
        Self {
            file: Some(file),
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

    /// Takes over what is declared. What Docker has no word for stays as in the declaration before.
    pub(super) fn read(self, before: Option<&pb::ServiceSpec>) -> Result<pb::ServiceSpec, Problem> {
        let mut kept = Kept { service: without_nothing(self.rest), ..Kept::default() };
        let before_task = before.and_then(|before| before.task.as_ref());
        let task = self.task_template.read(before_task, &mut kept)?;
        let mut extensions = before.map(|before| before.extensions.clone()).unwrap_or_default();
        extensions.remove(EXTENSION);
        if kept != Kept::default() {
            let bytes = serde_json::to_vec(&kept)
                .map_err(|_| Problem::invalid("what is declared cannot be kept"))?;
            extensions.insert(EXTENSION.to_owned(), bytes.into());
        }
        Ok(pb::ServiceSpec {
            name: self.name,
            labels: self.labels,
            task: Some(task),
            mode: Some(self.mode.read()?),
            update: self.update_config.map(|config| config.read("update")).transpose()?,
            rollback: self.rollback_config.map(|config| config.read("rollback")).transpose()?,
            extensions,
        })
    }

    /// As Docker writes it.
    pub(super) fn of(spec: &pb::ServiceSpec) -> Self {
        let kept = spec.extensions.get(EXTENSION).map(|bytes| serde_json::from_slice(bytes));
        // It was written here; what another has put there is not shown.
        let mut kept: Kept = kept.and_then(Result::ok).unwrap_or_default();
        let task = spec.task.clone().unwrap_or_default();
        Self {
            name: spec.name.clone(),
            labels: spec.labels.clone(),
            mode: Mode::of(spec.mode.as_ref()),
            update_config: spec.update.as_ref().map(Rolling::of),
            rollback_config: spec.rollback.as_ref().map(Rolling::of),
            rest: std::mem::take(&mut kept.service),
            task_template: TaskTemplate::of(task, kept),
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
    fn read(self, before: Option<&pb::TaskSpec>, kept: &mut Kept) -> Result<pb::TaskSpec, Problem> {
        if !matches!(self.runtime.as_str(), "" | "container") {
            return Err(Problem::unimplemented("secretd runs containers, not plugins"));
        }
        let Self { container_spec: container, resources, placement, networks, .. } = self;
        if !container.configs.is_empty() {
            return Err(Problem::unimplemented("secretd has no configs"));
        }
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
        kept.task = without_nothing(self.rest);
        kept.container = without_nothing(container.rest);
        kept.resources = without_nothing(resources.rest);
        kept.reservations = without_nothing(resources.reservations.rest);
        kept.placement = without_nothing(placement.rest);
        let rests = networks.iter().map(|network| without_nothing(network.rest.clone()));
        let rests: Vec<Rest> = rests.collect();
        if !rests.iter().all(Rest::is_empty) {
            kept.networks = rests;
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
        })
    }

    fn of(task: pb::TaskSpec, kept: Kept) -> Self {
        // Nothing that a client could make of a program of the node.
        let runtime = if task.image.is_empty() { "" } else { "container" };
        let restart_policy = task.restart.as_ref().map(RestartPolicy::of);
        let secrets = task.secrets.iter().map(SecretReference::of).collect();
        let placement = task.placement.unwrap_or_default();
        let resources = task.resources.unwrap_or_default();
        let spreads = placement
            .spread_over
            .into_iter()
            .map(|spread_descriptor| Preference { spread: Some(Spread { spread_descriptor }) });
        let rests = kept.networks.into_iter().chain(std::iter::repeat_with(Rest::new));
        let networks = task.networks.into_iter().zip(rests);
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
                configs: Vec::new(),
                rest: kept.container,
            },
            resources: Resources {
                reservations: Reservations {
                    nano_cpus: resources.reserved_nano_cpus,
                    memory_bytes: resources.reserved_memory_bytes,
                    rest: kept.reservations,
                },
                rest: kept.resources,
            },
            restart_policy,
            placement: Placement {
                constraints: placement.constraints,
                preferences: spreads.collect(),
                max_replicas: placement.replicas_per_node_max,
                rest: kept.placement,
            },
            networks: networks.map(|(target, rest)| Network { target, rest }).collect(),
            force_update: task.force_update,
            runtime: runtime.to_owned(),
            rest: kept.task,
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::spec::ServiceSpec;

    use super::*;

    /// What the client of 28.2 sends for a service with everything on.
    const BODY: &str = r#"{
        "Name": "web", "Labels": {"tier": "front"},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "alpine:3", "Args": ["sleep", "100"], "Env": ["A=B"], "Init": false,
                "DNSConfig": {}, "Dir": "/srv", "User": "1000", "StopSignal": "SIGINT",
                "StopGracePeriod": 20000000000, "TTY": true,
                "Mounts": [{"Type": "tmpfs", "Target": "/tmp"}],
                "Secrets": [
                    {"File": {"Name": "pw", "UID": "0", "GID": "7", "Mode": 292},
                     "SecretID": "2l3kmcw9ch0vgsl0x47v7rk3e", "SecretName": "db_pw"}
                ]
            },
            "Resources": {
                "Limits": {"MemoryBytes": 1073741824},
                "Reservations": {"NanoCPUs": 500000000, "MemoryBytes": 8388608}
            },
            "RestartPolicy": {
                "Condition": "on-failure", "Delay": 1000000000, "MaxAttempts": 3,
                "Window": 60000000000
            },
            "Placement": {
                "Constraints": ["node.role==worker"],
                "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.zone"}}],
                "MaxReplicas": 2, "Platforms": [{"Architecture": "amd64", "OS": "linux"}]
            },
            "Networks": [{"Target": "front"}, {"Target": "back", "Aliases": ["web"]}],
            "ForceUpdate": 3
        },
        "Mode": {"Replicated": {"Replicas": 2}},
        "UpdateConfig": {
            "Parallelism": 2, "Delay": 3000000000, "FailureAction": "rollback",
            "Monitor": 7000000000, "MaxFailureRatio": 0.25, "Order": "start-first"
        },
        "RollbackConfig": {"Parallelism": 0, "MaxFailureRatio": 0},
        "EndpointSpec": {"Mode": "vip", "Ports": [{"TargetPort": 80, "PublishedPort": 8080}]}
    }"#;

    fn declared(body: &str) -> Declaration {
        serde_json::from_str(body).unwrap()
    }

    fn said(body: &str) -> String {
        declared(body).read(None).unwrap_err().message().to_owned()
    }

    /// What is stored has been through the types of all fronts.
    fn stored(spec: pb::ServiceSpec) -> pb::ServiceSpec {
        ServiceSpec::try_from(spec).unwrap().into()
    }

    #[test]
    fn what_is_read_and_rendered_is_what_was_declared() {
        let spec = stored(declared(BODY).read(None).unwrap());
        let task = spec.task.as_ref().unwrap();
        assert_eq!((task.image.as_str(), task.runtime()), ("alpine:3", pb::RuntimeKind::Docker));
        assert_eq!(task.networks, ["front", "back"]);
        assert_eq!(task.stop_grace_ms, Some(20_000));
        assert_eq!((task.secrets[0].uid, task.secrets[0].gid), (Some(0), Some(7)));
        let update = spec.update.as_ref().unwrap();
        assert_eq!((update.failure_ratio_millionths_max, update.delay_ms), (250_000, 3_000));
        assert_eq!(spec.rollback.as_ref().unwrap().monitor_ms, 5_000, "Swarm's default");
        let shown = serde_json::to_value(Declaration::of(&spec)).unwrap();
        let mut expected: Value = serde_json::from_str(BODY).unwrap();
        // What Docker fills in, and what says nothing.
        expected["TaskTemplate"]["Runtime"] = "container".into();
        expected["TaskTemplate"]["ContainerSpec"].as_object_mut().unwrap().remove("DNSConfig");
        expected["RollbackConfig"] = serde_json::json!({
            "Parallelism": 0, "Delay": 0, "FailureAction": "pause", "Monitor": 5_000_000_000_u64,
            "MaxFailureRatio": 0.0, "Order": "stop-first",
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_declaration_that_comes_back_as_it_was_shown_changes_nothing() {
        let first = stored(declared(BODY).read(None).unwrap());
        let mut native = first.clone();
        native.extensions.clear();
        let task = native.task.as_mut().unwrap();
        (task.image, task.runtime) = (String::new(), pb::RuntimeKind::Process.into());
        task.command = vec!["sleep".to_owned()];
        task.logs = pb::LogPolicy::Memory.into();
        let reference = &mut task.secrets[0];
        (reference.pinned_version, reference.uid, reference.mode) = (4, None, None);
        let minimal = pb::ServiceSpec {
            name: "m".into(),
            task: Some(pb::TaskSpec { command: vec!["x".into()], ..Default::default() }),
            ..Default::default()
        };
        for spec in [first, stored(native), stored(minimal)] {
            let shown = serde_json::to_string(&Declaration::of(&spec)).unwrap();
            assert_eq!(stored(declared(&shown).read(Some(&spec)).unwrap()), spec, "{shown}");
        }
    }

    #[test]
    fn null_and_nothing_are_the_same() {
        let bare = r#"{"Name":"a","TaskTemplate":{"ContainerSpec":{"Image":"i"}}}"#;
        let nulls = r#"{"Name":"a","Labels":null,"TaskTemplate":{"ContainerSpec":{"Image":"i",
            "Args":null,"Env":null,"Secrets":null,"Configs":null,"Mounts":null},"Resources":null,
            "Placement":null,"Networks":null,"RestartPolicy":null},
            "Mode":{"Replicated":{"Replicas":null}},"UpdateConfig":null,"EndpointSpec":null}"#;
        let [bare, nulls] = [bare, nulls].map(|body| declared(body).read(None).unwrap());
        assert_eq!(bare, nulls);
        assert_eq!(bare.mode, Some(pb::service_spec::Mode::Replicas(1)));
        assert!(bare.extensions.is_empty());
    }

    #[test]
    fn what_cannot_be_is_refused_in_dockers_words() {
        let with = |container: &str, task: &str, rest: &str| {
            format!(
                r#"{{"Name":"a","TaskTemplate":{{"ContainerSpec":{{{container}}}{task}}}{rest}}}"#
            )
        };
        let image = r#""Image":"i""#;
        for (body, words) in [
            (with("", "", ""), "ContainerSpec: image reference must be provided"),
            (with(image, r#","Runtime":"plugin""#, ""), "not plugins"),
            (with(r#""Image":"i","Configs":[{}]"#, "", ""), "no configs"),
            (with(r#""Image":"i","Secrets":[{"SecretID":"x"}]"#, "", ""), "no target"),
            (with(image, r#","RestartPolicy":{"Condition":"often"}"#, ""), "RestartCondition"),
            (with(image, "", r#","Mode":{"Global":{},"Replicated":{}}"#), "only one service mode"),
            (with(image, "", r#","Mode":{"ReplicatedJob":{}}"#), "not jobs"),
            (with(image, "", r#","UpdateConfig":{"Order":"both"}"#), "unrecognized update order"),
            (
                with(image, "", r#","RollbackConfig":{"FailureAction":"rollback"}"#),
                "unrecognized rollback failure action rollback",
            ),
            (with(image, "", r#","UpdateConfig":{"MaxFailureRatio":1.1}"#), "bigger than 1"),
            (with(image, "", r#","UpdateConfig":{"MaxFailureRatio":-0.1}"#), "less than 0"),
        ] {
            assert!(said(&body).contains(words), "{body}: {}", said(&body));
        }
        let owner = r#""Image":"i","Secrets":[{"File":{"Name":"a","UID":"root"}}]"#;
        assert!(said(&with(owner, "", "")).contains(r#"invalid UID "root""#));
    }
}
