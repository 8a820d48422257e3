//! `service create`, `update` and `rollback`: what declares services.
//!
//! An update is a change of what the service is now: read, changed as the options say, proposed with
//! the revision that was read. Not here: waiting for it (`progress`).
//!
//! Invariant: what a manager would refuse for its form is refused here, before anything is sent.

use proto::Kind;
use proto::convert::EnumField as _;
use proto::name::{ServiceName, Target};
use proto::pb;
use proto::spec::{
    Constraint, FailureAction, LogPolicy, RestartCondition, RestartPolicy, RuntimeKind,
    ServiceSpec, UpdateConfig, UpdateOrder, VersionChoice,
};

use super::{changed, wrong};
use crate::cli::{
    FailureArg, LogsArg, ModeArg, OrderArg, RestartArg, RollbackArgs, RollbackFailureArg,
    ServiceCreateArgs, ServiceUpdateArgs, SpecArgs,
};
use crate::command::{Session, config};
use crate::connection::{Connection, ask, request_key};
use crate::error::Error;
use crate::instant::millis;
use crate::progress::{self, Goal};
use crate::reference::SecretOption;
use crate::view;
use crate::words::split;

const SEE_HELP: &str = "see `secretctl service create --help`";
const SEE_UPDATE_HELP: &str = "see `secretctl service update --help`";

pub(super) async fn create(session: &Session, args: ServiceCreateArgs) -> Result<(), Error> {
    args.name.parse::<ServiceName>().map_err(|error| wrong(error.to_string(), SEE_HELP))?;
    args.env.iter().try_for_each(|variable| check_variable(variable))?;
    args.constraint.iter().try_for_each(|text| check_constraint(text).map(|_| ()))?;
    let connection = session.connect().await?;
    let secrets = resolve(&connection, &args.secret).await?;
    let configs = config::resolve(&connection, &args.config).await?;
    let (detach, mut spec) = (args.detach, new_spec(args, secrets)?);
    let task = spec.task.get_or_insert_default();
    task.configs = configs;
    config::place(&mut task.configs, task.runtime);
    check(&spec, SEE_HELP)?;
    let name = spec.name.clone();
    let request = pb::CreateServiceRequest { request_key: request_key(), spec: Some(spec) };
    let created = ask!(connection, control.create_service(request))?;
    let id = created.id.clone();
    if session.printer.json {
        let view = view::CreatedService { id: created.id, warnings: created.warnings };
        session.printer.json(&view)?;
    } else {
        session.printer.data(&created.id)?;
        for warning in &created.warnings {
            session.printer.warning(warning);
        }
    }
    if detach {
        session.printer.hint(&format!("see how it does with `secretctl service ps {name}`"));
        return Ok(());
    }
    progress::wait(&connection, &id, Goal::Declared, session.printer).await
}

fn check(spec: &pb::ServiceSpec, hint: &str) -> Result<(), Error> {
    ServiceSpec::try_from(spec.clone()).map(|_| ()).map_err(|error| wrong(error.reason, hint))
}

fn check_variable(variable: &str) -> Result<(), Error> {
    if variable.split_once('=').is_some_and(|(key, _)| !key.is_empty()) {
        return Ok(());
    }
    Err(wrong(format!("invalid environment variable `{variable}`"), "give it as KEY=VALUE"))
}

fn check_constraint(text: &str) -> Result<Constraint, Error> {
    text.parse().map_err(|error: proto::spec::SpecError| {
        wrong(error.to_string(), "such as `node.labels.zone==eu`")
    })
}

/// The message of what was typed; `secrets` are its references.
fn new_spec(
    args: ServiceCreateArgs,
    secrets: Vec<pb::SecretReference>,
) -> Result<pb::ServiceSpec, Error> {
    let mode = match args.mode {
        ModeArg::Global => pb::service_spec::Mode::Global(true),
        ModeArg::Replicated => pb::service_spec::Mode::Replicas(1),
    };
    let placement = pb::Placement {
        constraints: args.constraint,
        spread_over: args.placement_pref,
        ..Default::default()
    };
    // What an image runs takes arguments, as with docker.
    let (runtime, command, arguments) = match args.spec.image {
        Some(_) => (RuntimeKind::Docker, Vec::new(), args.command),
        None => (RuntimeKind::Process, args.command, Vec::new()),
    };
    let task = pb::TaskSpec {
        runtime: runtime.number(),
        command,
        args: arguments,
        env: args.env,
        secrets,
        placement: Some(placement),
        ..Default::default()
    };
    let mut spec = pb::ServiceSpec {
        name: args.name,
        labels: args.label.into_iter().collect(),
        task: Some(task),
        mode: Some(mode),
        ..Default::default()
    };
    args.spec.change(&mut spec)?;
    Ok(spec)
}

/// Puts a value in its place, if it was given.
fn set<T>(place: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *place = value;
    }
}

/// How something rolls, as it was given.
struct Rolls {
    parallelism: Option<u64>,
    delay: Option<std::time::Duration>,
    monitor: Option<std::time::Duration>,
    order: Option<OrderArg>,
    failure_action: Option<FailureAction>,
    ratio: Option<u32>,
}

impl Rolls {
    fn change(self, config: &mut Option<pb::UpdateConfig>) {
        let config = config.get_or_insert_with(|| UpdateConfig::default().into());
        set(&mut config.parallelism, self.parallelism);
        set(&mut config.delay_ms, self.delay.map(millis));
        set(&mut config.monitor_ms, self.monitor.map(millis));
        set(&mut config.failure_ratio_millionths_max, self.ratio);
        set(&mut config.failure_action, self.failure_action.map(FailureAction::number));
        let order = self.order.map(|order| match order {
            OrderArg::StopFirst => UpdateOrder::StopFirst.number(),
            OrderArg::StartFirst => UpdateOrder::StartFirst.number(),
        });
        set(&mut config.order, order);
    }
}

impl SpecArgs {
    /// Changes what was given, and nothing else.
    fn change(&self, spec: &mut pb::ServiceSpec) -> Result<(), Error> {
        if let Some(replicas) = self.replicas {
            if matches!(spec.mode, Some(pb::service_spec::Mode::Global(_))) {
                return Err(wrong(
                    "replicas can only be used with replicated mode",
                    "leave out `--replicas`: a global service has one task on every node",
                ));
            }
            spec.mode = Some(pb::service_spec::Mode::Replicas(replicas));
        }
        let task = spec.task.get_or_insert_default();
        if self.image.is_some() && task.runtime != RuntimeKind::Docker.number() {
            return Err(wrong(
                "a service that runs a command of its nodes has no image",
                "declare another service: `secretctl service create --image IMAGE …`",
            ));
        }
        set(&mut task.image, self.image.clone());
        set(&mut task.user, self.user.clone());
        set(&mut task.dir, self.workdir.clone());
        set(&mut task.stop_signal, self.stop_signal.clone());
        if let Some(grace) = self.stop_grace_period {
            task.stop_grace_ms = Some(millis(grace));
        }
        let logs = self.logs.map(|logs| match logs {
            LogsArg::Files => LogPolicy::Files,
            LogsArg::Memory => LogPolicy::Memory,
            LogsArg::None => LogPolicy::None,
        });
        set(&mut task.logs, logs.map(LogPolicy::number));
        let restart = task.restart.get_or_insert_with(|| RestartPolicy::default().into());
        let condition = self.restart_condition.map(|condition| match condition {
            RestartArg::Any => RestartCondition::Any,
            RestartArg::OnFailure => RestartCondition::OnFailure,
            RestartArg::None => RestartCondition::None,
        });
        set(&mut restart.condition, condition.map(RestartCondition::number));
        set(&mut restart.delay_ms, self.restart_delay.map(millis));
        set(&mut restart.attempts_max, self.restart_max_attempts);
        set(&mut restart.window_ms, self.restart_window.map(millis));
        let placement = task.placement.get_or_insert_default();
        set(&mut placement.replicas_per_node_max, self.replicas_max_per_node);
        let resources = task.resources.get_or_insert_default();
        set(&mut resources.reserved_nano_cpus, self.reserve_cpu);
        set(&mut resources.reserved_memory_bytes, self.reserve_memory);
        let update = Rolls {
            parallelism: self.update_parallelism,
            delay: self.update_delay,
            monitor: self.update_monitor,
            order: self.update_order,
            failure_action: self.update_failure_action.map(|action| match action {
                FailureArg::Pause => FailureAction::Pause,
                FailureArg::Continue => FailureAction::Continue,
                FailureArg::Rollback => FailureAction::Rollback,
            }),
            ratio: self.update_max_failure_ratio,
        };
        update.change(&mut spec.update);
        let rollback = Rolls {
            parallelism: self.rollback_parallelism,
            delay: self.rollback_delay,
            monitor: self.rollback_monitor,
            order: self.rollback_order,
            failure_action: self.rollback_failure_action.map(|action| match action {
                RollbackFailureArg::Pause => FailureAction::Pause,
                RollbackFailureArg::Continue => FailureAction::Continue,
            }),
            ratio: self.rollback_max_failure_ratio,
        };
        rollback.change(&mut spec.rollback);
        Ok(())
    }
}

pub(super) async fn update(session: &Session, args: ServiceUpdateArgs) -> Result<(), Error> {
    args.env_add.iter().try_for_each(|variable| check_variable(variable))?;
    for text in args.constraint_add.iter().chain(&args.constraint_rm) {
        check_constraint(text)?;
    }
    let arguments = args.args.as_deref().map(split).transpose();
    let arguments = arguments.map_err(|error| wrong(error.to_string(), SEE_UPDATE_HELP))?;
    let connection = session.connect().await?;
    let detach = args.detach;
    if args.rollback {
        let name = args.service.clone();
        let no_change = |info: &pb::ServiceInfo| {
            let mut spec = info.spec.clone().unwrap_or_default();
            change(&args, arguments.as_deref(), Vec::new(), &mut spec)?;
            let touches_configs = !(args.config_rm.is_empty() && args.config_add.is_empty());
            if !touches_configs && Some(normal(&spec)) == info.spec.as_ref().map(normal) {
                return Ok(None);
            }
            Err(wrong("a rollback changes nothing else", "leave out the other options"))
        };
        let info = changed(&connection, &name, no_change).await?;
        return declared(session, &connection, info, Goal::RolledBack, detach).await;
    }
    let secrets = resolve(&connection, &args.secret_add).await?;
    let configs = config::resolve(&connection, &args.config_add).await?;
    let make = |info: &pb::ServiceInfo| {
        let mut spec = info.spec.clone().unwrap_or_default();
        change(&args, arguments.as_deref(), secrets.clone(), &mut spec)?;
        change_configs(&args.config_rm, configs.clone(), &mut spec)?;
        check(&spec, SEE_UPDATE_HELP)?;
        Ok(Some(spec))
    };
    let info = changed(&connection, &args.service, make).await?;
    declared(session, &connection, info, Goal::Declared, detach).await
}

/// A spec with every default in its place, so that two can be compared.
fn normal(spec: &pb::ServiceSpec) -> Option<ServiceSpec> {
    ServiceSpec::try_from(spec.clone()).ok()
}

pub(super) async fn rollback(session: &Session, args: RollbackArgs) -> Result<(), Error> {
    let connection = session.connect().await?;
    let info = changed(&connection, &args.service, |_| Ok(None)).await?;
    declared(session, &connection, info, Goal::RolledBack, args.detach).await
}

/// Tells what was declared, and waits for it.
async fn declared(
    session: &Session,
    connection: &Connection,
    info: pb::ServiceInfo,
    goal: Goal,
    detach: bool,
) -> Result<(), Error> {
    let view = view::Service::from(info);
    if session.printer.json {
        session.printer.json(&view)?;
    } else {
        session.printer.data(&view.name)?;
    }
    if detach {
        let name = &view.name;
        session.printer.hint(&format!("see how it does with `secretctl service inspect {name}`"));
        return Ok(());
    }
    progress::wait(connection, &view.id, goal, session.printer).await
}

/// Takes configs away and adds others.
fn change_configs(
    removed: &[String],
    added: Vec<pb::ConfigReference>,
    spec: &mut pb::ServiceSpec,
) -> Result<(), Error> {
    let task = spec.task.get_or_insert_default();
    for config in removed {
        let before = task.configs.len();
        task.configs.retain(|reference| {
            !reference.config_name.eq_ignore_ascii_case(config) && reference.config_id != *config
        });
        if task.configs.len() == before {
            let name = &spec.name;
            let message = format!("service {name} does not use config {config}");
            return Err(Error::failed(Kind::NotFound, message)
                .hint(format!("`secretctl service inspect {name}` shows what it uses"))
                .into());
        }
    }
    task.configs.extend(added);
    config::place(&mut task.configs, task.runtime);
    Ok(())
}

/// Changes a spec as the options say: what is removed goes first.
fn change(
    args: &ServiceUpdateArgs,
    arguments: Option<&[String]>,
    secrets: Vec<pb::SecretReference>,
    spec: &mut pb::ServiceSpec,
) -> Result<(), Error> {
    for key in &args.label_rm {
        spec.labels.remove(key);
    }
    spec.labels.extend(args.label_add.iter().cloned());
    args.spec.change(spec)?;
    let name = spec.name.clone();
    let task = spec.task.get_or_insert_default();
    for secret in &args.secret_rm {
        let before = task.secrets.len();
        task.secrets.retain(|reference| {
            !reference.secret_name.eq_ignore_ascii_case(secret) && reference.secret_id != *secret
        });
        if task.secrets.len() == before {
            return Err(Error::failed(
                Kind::NotFound,
                format!("service {name} does not use secret {secret}"),
            )
            .hint(format!("`secretctl service inspect {name}` shows what it uses"))
            .into());
        }
    }
    for reference in secrets {
        if task.secrets.iter().any(|other| other.target == reference.target) {
            return Err(wrong(
                format!("duplicate secret target for {} not allowed", reference.target),
                "remove the other in the same command, with `--secret-rm`",
            ));
        }
        task.secrets.push(reference);
    }
    let key = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    task.env.retain(|variable| !args.env_rm.contains(&key(variable)));
    for variable in &args.env_add {
        match task.env.iter_mut().find(|known| key(known) == key(variable)) {
            Some(known) => known.clone_from(variable),
            None => task.env.push(variable.clone()),
        }
    }
    let placement = task.placement.get_or_insert_default();
    for text in &args.constraint_rm {
        let removed = check_constraint(text)?;
        placement
            .constraints
            .retain(|known| check_constraint(known).ok().as_ref() != Some(&removed));
    }
    for text in &args.constraint_add {
        let added = check_constraint(text)?.to_string();
        if !placement.constraints.contains(&added) {
            placement.constraints.push(added);
        }
    }
    placement.spread_over.retain(|over| !args.placement_pref_rm.contains(over));
    placement.spread_over.extend(args.placement_pref_add.iter().cloned());
    let has_image = task.runtime == RuntimeKind::Docker.number();
    if !args.command.is_empty() && has_image {
        task.args.clone_from(&args.command);
    } else if !args.command.is_empty() {
        task.command.clone_from(&args.command);
        task.args.clear();
    }
    if let Some(arguments) = arguments {
        if !has_image {
            task.command.truncate(1);
        }
        task.args = arguments.to_vec();
    }
    task.force_update += u64::from(args.force);
    Ok(())
}

/// Finds the secrets that are referred to, by full id or exact name: one call for all of them.
async fn resolve(
    connection: &Connection,
    options: &[SecretOption],
) -> Result<Vec<pb::SecretReference>, Error> {
    if options.is_empty() {
        return Ok(Vec::new());
    }
    let sources = || options.iter().map(|option| option.source.clone());
    let is_id = |source: &String| source.parse::<proto::id::SecretId>().is_ok();
    let filter = pb::SecretFilter {
        ids: sources().filter(is_id).collect(),
        names: sources().collect(),
        ..Default::default()
    };
    let request = pb::ListSecretsRequest { filter: Some(filter) };
    let found = ask!(connection, control.list_secrets(request))?.secrets;
    let mut references = Vec::with_capacity(options.len());
    let mut missing = Vec::new();
    let mut targets: Vec<String> = Vec::new();
    for option in options {
        let by_id = found.iter().find(|secret| secret.id == option.source);
        let by_name =
            || found.iter().find(|secret| secret.name.eq_ignore_ascii_case(&option.source));
        let Some(secret) = by_id.or_else(by_name) else {
            missing.push(option.source.clone());
            continue;
        };
        // An id is no name for a file; the name is taken as it was given.
        let default = if by_id.is_some() { &secret.name } else { &option.source };
        let target = option.target.as_ref().map_or_else(|| default.clone(), Target::to_string);
        if targets.contains(&target) {
            return Err(wrong(
                format!("duplicate secret target for {target} not allowed"),
                "give each its own file with `target=`",
            ));
        }
        targets.push(target.clone());
        references.push(pb::SecretReference {
            secret_id: secret.id.clone(),
            secret_name: secret.name.clone(),
            pinned_version: match option.version {
                VersionChoice::Follow => 0,
                VersionChoice::Pinned(version) => version.0,
            },
            target,
            uid: option.uid,
            gid: option.gid,
            mode: Some(option.mode.bits()),
            on_change: option.on_change.number(),
        });
    }
    match missing.as_slice() {
        [] => Ok(references),
        [first, ..] => {
            let s = if missing.len() == 1 { "" } else { "s" };
            Err(Error::failed(
                Kind::NotFound,
                format!("secret{s} not found: {}", missing.join(", ")),
            )
            .hint(format!("create it first: `secretctl create {first} -`"))
            .hint("`secretctl ls` shows those there are")
            .into())
        }
    }
}
