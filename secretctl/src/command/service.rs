//! `service`: create, ls, ps, inspect, rm, scale.

use std::time::Duration;

use proto::Kind;
use proto::convert::EnumField as _;
use proto::name::{ServiceName, Target};
use proto::pb;
use proto::spec::{LogPolicy, RestartCondition, ServiceSpec, UpdateConfig, VersionChoice};

use super::{Session, Tally, labels, logs, secret};
use crate::cli::{
    LogsArg, ModeArg, PsArgs, RestartArg, ScaleArgs, ServiceCommand, ServiceCreateArgs,
};
use crate::connection::{Connection, ask, request_key};
use crate::error::Error;
use crate::instant::{format_duration, millis};
use crate::progress;
use crate::reference::SecretOption;
use crate::table::{Card, Table, natural_order};
use crate::view::{self, Named};

/// Times `scale` reads the service again when somebody else changed it meanwhile.
const CONFLICTS_MAX: usize = 5;

pub(super) async fn run(session: &Session, command: ServiceCommand) -> Result<(), Error> {
    match command {
        ServiceCommand::Create(args) => create(session, *args).await,
        ServiceCommand::Ls => ls(session).await,
        ServiceCommand::Ps(args) => ps(session, args).await,
        ServiceCommand::Inspect { services } => inspect(session, &services).await,
        ServiceCommand::Logs(args) => logs::run(session, args).await,
        ServiceCommand::Rm(args) => rm(session, args.services).await,
        ServiceCommand::Scale(args) => scale(session, args).await,
    }
}

fn wrong(message: impl Into<String>, hint: &str) -> Error {
    Error::Usage(Error::usage(message).hint(hint))
}

const SEE_HELP: &str = "see `secretctl service create --help`";

async fn create(session: &Session, args: ServiceCreateArgs) -> Result<(), Error> {
    args.name.parse::<ServiceName>().map_err(|error| wrong(error.to_string(), SEE_HELP))?;
    for variable in &args.env {
        if variable.split_once('=').is_none_or(|(key, _)| key.is_empty()) {
            return Err(wrong(
                format!("invalid environment variable `{variable}`"),
                "give it as KEY=VALUE",
            ));
        }
    }
    for constraint in &args.constraint {
        constraint
            .parse::<proto::spec::Constraint>()
            .map_err(|error| wrong(error.to_string(), "such as `node.labels.zone==eu`"))?;
    }
    let connection = session.connect().await?;
    let secrets = resolve(&connection, &args.secret).await?;
    let (detach, spec) = (args.detach, spec(args, secrets)?);
    // Whatever the manager would refuse for its form is refused here, before anything is sent.
    ServiceSpec::try_from(spec.clone()).map_err(|error| wrong(error.reason, SEE_HELP))?;
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
    progress::wait(&connection, &id, session.printer).await
}

/// The message of what was typed; `secrets` are its references.
fn spec(
    args: ServiceCreateArgs,
    secrets: Vec<pb::SecretReference>,
) -> Result<pb::ServiceSpec, Error> {
    let mode = match (args.mode, args.replicas) {
        (ModeArg::Global, Some(_)) => {
            return Err(wrong(
                "replicas can only be used with replicated mode",
                "leave out `--replicas`: a global service has one task on every node",
            ));
        }
        (ModeArg::Global, None) => pb::service_spec::Mode::Global(true),
        (ModeArg::Replicated, replicas) => pb::service_spec::Mode::Replicas(replicas.unwrap_or(1)),
    };
    let condition = match args.restart_condition {
        RestartArg::Any => RestartCondition::Any,
        RestartArg::OnFailure => RestartCondition::OnFailure,
        RestartArg::None => RestartCondition::None,
    };
    let logs = match args.logs {
        LogsArg::Files => LogPolicy::Files,
        LogsArg::Memory => LogPolicy::Memory,
        LogsArg::None => LogPolicy::None,
    };
    let update =
        UpdateConfig { monitor_ms: millis(args.update_monitor), ..UpdateConfig::default() };
    let task = pb::TaskSpec {
        command: args.command,
        env: args.env,
        dir: args.workdir,
        user: args.user,
        stop_signal: args.stop_signal,
        stop_grace_ms: args.stop_grace_period.map(millis),
        secrets,
        restart: Some(pb::RestartPolicy {
            condition: condition.number(),
            delay_ms: millis(args.restart_delay),
            attempts_max: args.restart_max_attempts,
            window_ms: millis(args.restart_window),
        }),
        placement: Some(pb::Placement {
            constraints: args.constraint,
            replicas_per_node_max: args.replicas_max_per_node,
            ..Default::default()
        }),
        logs: logs.number(),
        ..Default::default()
    };
    Ok(pb::ServiceSpec {
        name: args.name,
        labels: args.label.into_iter().collect(),
        task: Some(task),
        mode: Some(mode),
        update: Some(update.into()),
        ..Default::default()
    })
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
            on_change: 0,
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

fn replicas(service: &view::Service) -> String {
    format!("{}/{}", service.running_tasks, service.desired_tasks)
}

async fn ls(session: &Session) -> Result<(), Error> {
    let connection = session.connect().await?;
    let services = ask!(connection, control.list_services(pb::ListServicesRequest {}))?.services;
    let mut services: Vec<view::Service> = services.into_iter().map(Into::into).collect();
    services.sort_by(|one, other| natural_order(&one.name, &other.name));
    if session.printer.json {
        return session.printer.json(&services);
    }
    if session.printer.quiet {
        return secret::ids(session, services.into_iter().map(|service| service.id));
    }
    let mut table = Table::new(&["ID", "NAME", "MODE", "REPLICAS", "SECRETS", "COMMAND"]);
    for service in services {
        let replicas = replicas(&service);
        let secrets: Vec<String> =
            service.secrets.iter().map(|secret| secret.name.clone()).collect();
        table.row(vec![
            service.id,
            service.name,
            service.mode.to_owned(),
            replicas,
            secrets.join(", "),
            shortened(&service.command.join(" ")),
        ]);
    }
    session.printer.data(&table.render())
}

/// Longest command in a table, in characters.
const COMMAND_CHARACTERS_MAX: usize = 40;

fn shortened(text: &str) -> String {
    if text.chars().count() <= COMMAND_CHARACTERS_MAX {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(COMMAND_CHARACTERS_MAX - 1).collect();
    short.push('…');
    short
}

async fn ps(session: &Session, args: PsArgs) -> Result<(), Error> {
    let connection = session.connect().await?;
    let mut tally = Tally::default();
    let mut tasks = Vec::new();
    let services = if args.services.is_empty() { vec![String::new()] } else { args.services };
    for service in services {
        if tally.is_over() {
            break;
        }
        let answer = tasks_of(&connection, service, args.all).await;
        tasks.extend(tally.count(session.printer, answer).unwrap_or_default());
    }
    tasks.sort_by(|one, other| {
        natural_order(&one.service_name, &other.service_name)
            .then(one.slot.cmp(&other.slot))
            .then(other.created_at.cmp(&one.created_at))
            .then(one.id.cmp(&other.id))
    });
    if session.printer.json {
        let views: Vec<view::Task> = tasks.into_iter().map(Into::into).collect();
        session.printer.json(&views)?;
        return tally.end();
    }
    if session.printer.quiet {
        secret::ids(session, tasks.into_iter().map(|task| task.id))?;
        return tally.end();
    }
    let mut table = Table::new(&["ID", "NAME", "NODE", "DESIRED", "CURRENT", "MESSAGE"]);
    for task in tasks {
        let at = task.status.as_ref().map_or(task.created_at, |status| status.at);
        let view = view::Task::from(task);
        table.row(vec![
            view.id.chars().take(12).collect(),
            view.name,
            view.node,
            view.desired_state.to_owned(),
            format!("{} {}", view.state, session.ago(at)),
            view.message,
        ]);
    }
    session.printer.data(&table.render())?;
    tally.end()
}

/// The tasks of a service by name or id; of all if it is empty.
async fn tasks_of(
    connection: &Connection,
    service: String,
    all: bool,
) -> Result<Vec<pb::TaskInfo>, Error> {
    let service = if service.is_empty() {
        service
    } else {
        ask!(connection, control.get_service(pb::GetServiceRequest { service }))?.id
    };
    let request = pb::ListTasksRequest { service, node: String::new(), all };
    Ok(ask!(connection, control.list_tasks(request))?.tasks)
}

async fn inspect(session: &Session, services: &[String]) -> Result<(), Error> {
    let connection = session.connect().await?;
    let mut tally = Tally::default();
    let mut views = Vec::new();
    for service in services {
        if tally.is_over() {
            break;
        }
        let request = pb::GetServiceRequest { service: service.clone() };
        let answer = ask!(connection, control.get_service(request));
        if let Some(info) = tally.count(session.printer, answer) {
            views.push(view::Service::from(info));
        }
    }
    if session.printer.json {
        session.printer.json(&views)?;
    } else {
        for view in views {
            session.printer.data(&card(view))?;
        }
    }
    tally.end()
}

fn card(service: view::Service) -> String {
    let mut card = Card::new(&service.name);
    card.line("tasks", replicas(&service));
    card.line("id", service.id);
    card.line("labels", labels(&service.labels));
    card.line("mode", service.mode);
    let command: Vec<String> = [service.command, service.args].concat();
    card.line("command", command.join(" "));
    card.line("user", service.user);
    card.line("working directory", service.dir);
    for variable in service.env {
        card.line("environment", variable);
    }
    for secret in service.secrets {
        let version =
            secret.pinned_version.map_or_else(|| "current".into(), |version| version.to_string());
        let owner = |id: Option<u32>| id.map_or_else(|| "task's own".into(), |id| id.to_string());
        card.line(
            "secret",
            format!(
                "{} as /run/secrets/{}, mode {}, uid {}, gid {}, version {version}",
                secret.name,
                secret.target,
                secret.mode,
                owner(secret.uid),
                owner(secret.gid),
            ),
        );
    }
    card.line("constraints", service.constraints.join(", "));
    if let Some(restart) = service.restart {
        let delay = format_duration(restart.delay_ms);
        card.line("restart", format!("{}, after {delay}", restart.condition));
    }
    card.line("stop signal", service.stop_signal);
    card.line("stop grace period", service.stop_grace_ms.map(format_duration).unwrap_or_default());
    card.line("logs", service.logs);
    card.line("created", service.created_at.unwrap_or_default());
    card.line("updated", service.updated_at.unwrap_or_default());
    card.line("revision", service.revision.to_string());
    card.render()
}

async fn rm(session: &Session, services: Vec<String>) -> Result<(), Error> {
    let connection = session.connect().await?;
    let mut tally = Tally::default();
    let mut removed = Vec::new();
    for service in services {
        if tally.is_over() {
            break;
        }
        let request = pb::RemoveServiceRequest { request_key: request_key(), service };
        let answer = ask!(connection, control.remove_service(request));
        if let Some(answer) = tally.count(session.printer, answer) {
            if !session.printer.json {
                session.printer.data(&answer.name)?;
            }
            removed.push(Named { id: answer.id, name: answer.name });
        }
    }
    if session.printer.json {
        session.printer.json(&removed)?;
    }
    tally.end()
}

async fn scale(session: &Session, args: ScaleArgs) -> Result<(), Error> {
    let mut scales = Vec::new();
    for text in &args.scales {
        let parsed = text.split_once('=').filter(|(name, _)| !name.is_empty());
        let parsed = parsed.and_then(|(name, count)| Some((name, count.parse::<u64>().ok()?)));
        scales.push(parsed.ok_or_else(|| {
            wrong(format!("invalid scale specifier '{text}'"), "give it as SERVICE=REPLICAS")
        })?);
    }
    let connection = session.connect().await?;
    let mut tally = Tally::default();
    let mut scaled = Vec::new();
    for (name, count) in scales {
        if tally.is_over() {
            break;
        }
        let outcome = scale_one(&connection, name, count).await;
        if let Some(info) = tally.count(session.printer, outcome) {
            let view = view::Service::from(info);
            if !session.printer.json {
                session.printer.data(&format!("{} scaled to {count}", view.name))?;
            }
            scaled.push(view);
        }
    }
    if session.printer.json {
        session.printer.json(&scaled)?;
    }
    if !args.detach {
        for service in &scaled {
            progress::wait(&connection, &service.id, session.printer).await?;
        }
    }
    tally.end()
}

async fn scale_one(
    connection: &Connection,
    name: &str,
    count: u64,
) -> Result<pb::ServiceInfo, Error> {
    let mut conflicts = 0;
    loop {
        let request = pb::GetServiceRequest { service: name.to_owned() };
        let info = ask!(connection, control.get_service(request))?;
        let mut spec = info.spec.unwrap_or_default();
        if matches!(spec.mode, Some(pb::service_spec::Mode::Global(_))) {
            let what = format!("service `{}` is global, and cannot be scaled", spec.name);
            return Err(Error::failed(Kind::Precondition, what)
                .because("a global service has one task on every node that fits")
                .hint("bound where it goes with constraints and labels of nodes")
                .into());
        }
        spec.mode = Some(pb::service_spec::Mode::Replicas(count));
        let request = pb::UpdateServiceRequest {
            request_key: request_key(),
            service: info.id,
            revision: info.revision,
            spec: Some(spec),
        };
        match ask!(connection, control.update_service(request)) {
            Err(Error::Failed(failure))
                if failure.kind == Kind::Conflict && conflicts < CONFLICTS_MAX =>
            {
                // Somebody changed it since it was read: count on what it is now.
                conflicts += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            outcome => return outcome,
        }
    }
}
