//! `service`: ls, ps, inspect, rm, scale; what declares services is in `declare`.

mod card;
mod declare;

use std::time::Duration;

use proto::Kind;
use proto::pb;

use super::{Session, Tally, logs, secret};
use crate::cli::{PsArgs, ScaleArgs, ServiceCommand};
use crate::connection::{Connection, ask, request_key};
use crate::error::Error;
use crate::progress::{self, Goal};
use crate::table::{Table, natural_order};
use crate::view::{self, Named};

/// Times a service is read again when somebody else changed it meanwhile.
const CONFLICTS_MAX: usize = 5;

pub(super) async fn run(session: &Session, command: ServiceCommand) -> Result<(), Error> {
    match command {
        ServiceCommand::Create(args) => declare::create(session, *args).await,
        ServiceCommand::Update(args) => declare::update(session, *args).await,
        ServiceCommand::Rollback(args) => declare::rollback(session, args).await,
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

fn replicas(service: &view::Service) -> String {
    format!("{}/{}", service.running_tasks, service.desired_tasks)
}

async fn ls(session: &Session) -> Result<(), Error> {
    let connection = session.connect().await?;
    list(session, ask!(connection, control.list_services(pb::ListServicesRequest {}))?.services)
}

/// Shows services, in the order of their names.
pub(super) fn list(session: &Session, services: Vec<pb::ServiceInfo>) -> Result<(), Error> {
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

pub(super) async fn ps(session: &Session, args: PsArgs) -> Result<(), Error> {
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
            .then_with(|| view::task_name(one).cmp(&view::task_name(other)))
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
    let mut place: Option<String> = None;
    for task in tasks {
        let at = task.status.as_ref().map_or(task.created_at, |status| status.at);
        let view = view::Task::from(task);
        // Docker's shape: under the newest task of a place those before it.
        let is_earlier = place.as_ref() == Some(&view.name);
        let name = if is_earlier { format!(r" \_ {}", view.name) } else { view.name.clone() };
        place = Some(view.name);
        table.row(vec![
            view.id.chars().take(12).collect(),
            name,
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
            session.printer.data(&card::of(view))?;
        }
    }
    tally.end()
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
            progress::wait(&connection, &service.id, Goal::Declared, session.printer).await?;
        }
    }
    tally.end()
}

async fn scale_one(
    connection: &Connection,
    name: &str,
    count: u64,
) -> Result<pb::ServiceInfo, Error> {
    changed(connection, name, |info| {
        let mut spec = info.spec.clone().unwrap_or_default();
        if matches!(spec.mode, Some(pb::service_spec::Mode::Global(_))) {
            let what = format!("service `{}` is global, and cannot be scaled", spec.name);
            return Err(Error::failed(Kind::Precondition, what)
                .because("a global service has one task on every node that fits")
                .hint("bound where it goes with constraints and labels of nodes")
                .into());
        }
        spec.mode = Some(pb::service_spec::Mode::Replicas(count));
        Ok(Some(spec))
    })
    .await
}

/// Declares a service anew, from what it is now; `change` makes the spec, or none to roll back. If
/// somebody else changed it meanwhile it counts on what it is then.
pub(super) async fn changed(
    connection: &Connection,
    name: &str,
    change: impl Fn(&pb::ServiceInfo) -> Result<Option<pb::ServiceSpec>, Error>,
) -> Result<pb::ServiceInfo, Error> {
    let mut conflicts = 0;
    loop {
        let request = pb::GetServiceRequest { service: name.to_owned() };
        let info = ask!(connection, control.get_service(request))?;
        let spec = change(&info)?;
        let request = pb::UpdateServiceRequest {
            request_key: request_key(),
            service: info.id,
            revision: info.revision,
            rollback: spec.is_none(),
            spec,
        };
        match ask!(connection, control.update_service(request)) {
            Err(Error::Failed(failure))
                if failure.kind == Kind::Conflict && conflicts < CONFLICTS_MAX =>
            {
                conflicts += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            outcome => return outcome,
        }
    }
}
