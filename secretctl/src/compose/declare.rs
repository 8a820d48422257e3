//! What a stack declares: its secrets, configs and services, under the stack's name.
//!
//! Names and labels are those that the docker client gives, so that its `stack ls` and this program's
//! agree. Not here: the ids of secrets, which managers give.
//!
//! Invariant: what is declared keeps every rule that a manager would refuse it by, but those on ids.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proto::convert::{EnumField as _, ParseError};
use proto::id::{ConfigId, SecretId};
use proto::name::{Labels, NameError, SecretName, ServiceName};
use proto::pb;
use proto::spec::{
    FailureAction, FileMode, RestartCondition, RestartPolicy, RuntimeKind, SECRETS_FOLDER,
    ServiceSpec, UpdateConfig, UpdateOrder,
};

use super::{
    Action, Condition, Mode, Order, Restart, Rolls, Runtime, Secret, SecretFrom, SecretUse,
    Service, Stack,
};

/// The label that says which stack something is of.
pub(crate) const NAMESPACE: &str = "com.docker.stack.namespace";

/// The label that says which image was written.
pub(super) const IMAGE: &str = "com.docker.stack.image";

/// A stack cannot be declared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub(crate) struct DeclareError {
    /// Which part of it.
    what: String,
    /// Why.
    why: String,
}

fn wrong(what: impl Into<String>, why: impl Into<String>) -> DeclareError {
    DeclareError { what: what.into(), why: why.into() }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ValueFrom {
    /// A file, as the compose file names it.
    File(PathBuf),
    /// A variable of whoever deploys.
    Variable(String),
    /// The compose file itself.
    Text(String),
    /// It is there: somebody else's.
    Cluster,
}

/// A secret or config that a stack declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StackSecret {
    /// Its name in the cluster.
    pub(crate) name: SecretName,
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Where its value comes from.
    pub(crate) from: ValueFrom,
}

/// The secrets of a stack, by their names in its files.
pub(crate) fn secrets(
    name: &str,
    stack: &Stack,
) -> Result<BTreeMap<String, StackSecret>, DeclareError> {
    named("secret", name, &stack.secrets)
}

/// Its configs, by theirs.
pub(crate) fn configs(
    name: &str,
    stack: &Stack,
) -> Result<BTreeMap<String, StackSecret>, DeclareError> {
    named("config", name, &stack.configs)
}

fn named(
    kind: &str,
    name: &str,
    all: &BTreeMap<String, Secret>,
) -> Result<BTreeMap<String, StackSecret>, DeclareError> {
    let declared = all.iter().map(|(key, secret)| {
        let from = match &secret.from {
            SecretFrom::File(path) => ValueFrom::File(path.into()),
            SecretFrom::Content(text) => ValueFrom::Text(text.clone()),
            SecretFrom::Environment(variable) => ValueFrom::Variable(variable.clone()),
            SecretFrom::External(_) => ValueFrom::Cluster,
        };
        let scoped = match &from {
            ValueFrom::Cluster => key.clone(),
            ValueFrom::File(_) | ValueFrom::Variable(_) | ValueFrom::Text(_) => {
                format!("{name}_{key}")
            }
        };
        let full = secret.name.clone().unwrap_or(scoped);
        let full = full
            .parse()
            .map_err(|error: NameError| wrong(format!("{kind} `{key}`"), error.to_string()));
        let mut labels = secret.labels.clone();
        labels.insert(NAMESPACE.into(), name.into());
        Labels::new(labels.clone())
            .map_err(|error| wrong(format!("{kind} `{key}`"), error.to_string()))?;
        Ok((key.clone(), StackSecret { name: full?, labels, from }))
    });
    let declared: BTreeMap<_, StackSecret> = declared.collect::<Result<_, _>>()?;
    let mut known: BTreeMap<_, (&String, &StackSecret)> = BTreeMap::new();
    for (key, secret) in &declared {
        let is_external = |secret: &StackSecret| secret.from == ValueFrom::Cluster;
        match known.insert(secret.name.folded(), (key, secret)) {
            // Nothing is made of either.
            Some((_, other)) if is_external(other) && is_external(secret) => {}
            Some((other, _)) => return Err(twice(kind, key, other)),
            None => {}
        }
    }
    Ok(declared)
}

fn twice(kind: &str, key: &str, other: &str) -> DeclareError {
    let why =
        format!("it has the name of {kind} `{other}` in the cluster, where case does not count");
    wrong(format!("{kind} `{key}`"), why)
}

/// Whether a service keeps every rule of managers, whatever ids its secrets are to have.
pub(crate) fn check(spec: &pb::ServiceSpec) -> Result<(), ParseError> {
    let mut spec = spec.clone();
    if let Some(task) = &mut spec.task {
        for reference in &mut task.secrets {
            reference.secret_id = SecretId::from_entropy([0; 17]).to_string();
        }
        for reference in &mut task.configs {
            reference.config_id = ConfigId::from_entropy([0; 17]).to_string();
        }
    }
    ServiceSpec::try_from(spec).map(|_| ())
}

/// The services of a stack. References name their secrets as the cluster does, and lack their ids.
pub(crate) fn declare(
    name: &str,
    stack: &Stack,
    secrets: &BTreeMap<String, StackSecret>,
) -> Result<Vec<pb::ServiceSpec>, DeclareError> {
    let configs = configs(name, stack)?;
    let mut known = BTreeMap::new();
    let services = stack.services.iter().map(|(key, service)| {
        if let Some(other) = known.insert(key.to_ascii_lowercase(), key) {
            return Err(twice("service", key, other));
        }
        let spec = declaration(name, key, service, (secrets, &configs))?;
        check(&spec).map_err(|error| wrong(format!("service `{key}`"), error.reason))?;
        Ok(spec)
    });
    services.collect()
}

fn declaration(
    stack: &str,
    key: &str,
    service: &Service,
    (secrets, configs): (&BTreeMap<String, StackSecret>, &BTreeMap<String, StackSecret>),
) -> Result<pb::ServiceSpec, DeclareError> {
    let what = || format!("service `{key}`");
    let name: ServiceName = format!("{stack}_{key}")
        .parse()
        .map_err(|error: NameError| wrong(what(), error.to_string()))?;
    let runtime = runtime(service).map_err(|why| wrong(what(), why))?;
    let deploy = &service.deploy;
    let mut labels = deploy.labels.clone();
    labels.insert(NAMESPACE.into(), stack.into());
    if let Some(image) = &service.image {
        labels.insert(IMAGE.into(), image.clone());
    }
    let undeclared = |kind: &str, source: &str| {
        wrong(what(), format!("it uses {kind} `{source}`, which the file does not declare"))
    };
    let mut references = Vec::with_capacity(service.secrets.len());
    for used in &service.secrets {
        let secret = secrets.get(&used.source);
        let secret = secret.ok_or_else(|| undeclared("secret", &used.source))?;
        references.push(reference(used, secret, runtime));
    }
    let mut config_references = Vec::with_capacity(service.configs.len());
    for used in &service.configs {
        let config = configs.get(&used.source);
        let config = config.ok_or_else(|| undeclared("config", &used.source))?;
        config_references.push(config_reference(used, config, runtime));
    }
    let (entrypoint, arguments) = (
        service.entrypoint.clone().unwrap_or_default(),
        service.command.clone().unwrap_or_default(),
    );
    let (command, args) = match runtime {
        RuntimeKind::Docker => (entrypoint, arguments),
        RuntimeKind::Process => ([entrypoint, arguments].concat(), Vec::new()),
    };
    let pairs = service.environment.iter();
    let resources = &deploy.resources.reservations;
    let task = pb::TaskSpec {
        runtime: runtime.number(),
        image: service.image.clone().unwrap_or_default(),
        command,
        args,
        env: pairs.map(|(key, value)| format!("{key}={value}")).collect(),
        dir: service.working_dir.clone().unwrap_or_default(),
        user: service.user.clone().unwrap_or_default(),
        stop_signal: service.stop_signal.clone().unwrap_or_default(),
        stop_grace_ms: service.stop_grace_period.map(|span| span.0),
        secrets: references,
        configs: config_references,
        restart: Some(deploy.restart_policy.declared()),
        placement: Some(pb::Placement {
            constraints: deploy.placement.constraints.clone(),
            spread_over: deploy.placement.preferences.iter().map(|it| it.spread.clone()).collect(),
            replicas_per_node_max: deploy.placement.max_replicas_per_node.unwrap_or(0),
        }),
        resources: Some(pb::Resources {
            reserved_nano_cpus: resources.cpus.unwrap_or(0),
            reserved_memory_bytes: resources.memory.unwrap_or(0),
        }),
        ..Default::default()
    };
    let mode = match (deploy.mode, deploy.replicas) {
        (Some(Mode::Global), Some(_)) => {
            return Err(wrong(
                what(),
                "a global service has no replicas: it has a task on every node",
            ));
        }
        (Some(Mode::Global), None) => pb::service_spec::Mode::Global(true),
        (_, replicas) => pb::service_spec::Mode::Replicas(replicas.unwrap_or(1)),
    };
    Ok(pb::ServiceSpec {
        name: name.to_string(),
        labels,
        task: Some(task),
        mode: Some(mode),
        update: Some(deploy.update_config.declared()),
        rollback: Some(deploy.rollback_config.declared()),
        ..Default::default()
    })
}

/// Where a service's tasks run, if it says enough for that.
fn runtime(service: &Service) -> Result<RuntimeKind, &'static str> {
    let has_command = service.entrypoint.iter().chain(&service.command).any(|it| !it.is_empty());
    match (&service.image, service.extension.map(|it| it.runtime)) {
        (Some(_), None | Some(Runtime::Docker)) => Ok(RuntimeKind::Docker),
        (None, Some(Runtime::Process)) if has_command => Ok(RuntimeKind::Process),
        (None, Some(Runtime::Process)) => Err("a process needs a `command` to run"),
        (Some(_), Some(Runtime::Process)) => Err("a process has no `image`: leave one of them out"),
        (None, _) => Err("it has no `image`; for a program of the nodes themselves, give it a \
                          `command` and `x-secretd: {runtime: process}`"),
    }
}

/// In a container as Docker has it: root's, readable by all. For a process as everywhere here: the
/// task's own user's, readable by nobody else.
fn reference(used: &SecretUse, secret: &StackSecret, runtime: RuntimeKind) -> pb::SecretReference {
    let (owner, mode) = match runtime {
        RuntimeKind::Docker => (Some(0), 0o444),
        RuntimeKind::Process => (None, FileMode::OWNER_READS.bits()),
    };
    pb::SecretReference {
        secret_name: secret.name.to_string(),
        target: used.target.clone().unwrap_or_else(|| used.source.clone()),
        uid: used.uid.or(owner),
        gid: used.gid.or(owner),
        mode: Some(used.mode.map_or(mode, FileMode::bits)),
        ..Default::default()
    }
}

/// In a container as Docker has it: below the root folder, root's. A process has its own place for them.
fn config_reference(
    used: &SecretUse,
    config: &StackSecret,
    runtime: RuntimeKind,
) -> pb::ConfigReference {
    let (owner, default) = match runtime {
        RuntimeKind::Docker => (Some(0), used.source.clone()),
        RuntimeKind::Process => (None, format!("{SECRETS_FOLDER}/{}", used.source)),
    };
    pb::ConfigReference {
        config_name: config.name.to_string(),
        target: used.target.clone().unwrap_or(default),
        uid: used.uid.or(owner),
        gid: used.gid.or(owner),
        mode: Some(used.mode.unwrap_or(FileMode::ALL_READ).bits()),
        ..Default::default()
    }
}

impl Rolls {
    fn declared(&self) -> pb::UpdateConfig {
        let default = UpdateConfig::default();
        UpdateConfig {
            parallelism: self.parallelism.unwrap_or(default.parallelism),
            delay_ms: self.delay.map_or(default.delay_ms, |span| span.0),
            failure_action: match self.failure_action {
                None => default.failure_action,
                Some(Action::Pause) => FailureAction::Pause,
                Some(Action::Continue) => FailureAction::Continue,
                Some(Action::Rollback) => FailureAction::Rollback,
            },
            monitor_ms: self.monitor.map_or(default.monitor_ms, |span| span.0),
            failure_ratio_millionths_max: self
                .max_failure_ratio
                .unwrap_or(default.failure_ratio_millionths_max),
            order: match self.order {
                None => default.order,
                Some(Order::StopFirst) => UpdateOrder::StopFirst,
                Some(Order::StartFirst) => UpdateOrder::StartFirst,
            },
        }
        .into()
    }
}

impl Restart {
    fn declared(&self) -> pb::RestartPolicy {
        let default = RestartPolicy::default();
        RestartPolicy {
            condition: match self.condition {
                None => default.condition,
                Some(Condition::Any) => RestartCondition::Any,
                Some(Condition::OnFailure) => RestartCondition::OnFailure,
                Some(Condition::None) => RestartCondition::None,
            },
            delay_ms: self.delay.map_or(default.delay_ms, |span| span.0),
            attempts_max: self.max_attempts.unwrap_or(default.attempts_max),
            window_ms: self.window.map_or(default.window_ms, |span| span.0),
        }
        .into()
    }
}
