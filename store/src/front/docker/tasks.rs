//! `/tasks`: what `docker service ps`, `node ps` and `stack ps` ask, and clients that wait for a
//! service to come up.

use std::collections::BTreeMap;
use std::str::FromStr;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use link::Failure;
use proto::convert::EnumField as _;
use proto::id::{NodeId, ServiceId};
use proto::task::{DesiredState, TaskState};
use proto::{Kind, pb};
use serde_json::{Value, json};

use super::answer::{Problem, json as answered};
use super::declaration::Declaration;
use super::filters::{self, Filters};
use super::parameters::{Path, Query};
use super::{Front, time};

/// Swarm's keys of filters.
const FILTERS: &[&str] =
    &["_up-to-date", "desired-state", "id", "label", "name", "node", "runtime", "service"];

/// Services by id: what a task is made from stands there.
type Services = BTreeMap<String, pb::ServiceInfo>;

fn state_of(status: &pb::TaskStatus) -> TaskState {
    TaskState::from_number(status.state).unwrap_or(TaskState::New)
}

fn desired_of(task: &pb::TaskInfo) -> DesiredState {
    DesiredState::from_number(task.desired_state).unwrap_or(DesiredState::Running)
}

/// Whether what is said of a task is why it does not run: clients show it as an error then.
const fn is_error(state: TaskState) -> bool {
    use TaskState as State;
    matches!(state, State::Pending | State::Failed | State::Rejected | State::Orphaned)
}

fn is_up_to_date(task: &pb::TaskInfo, services: &Services) -> bool {
    let service = services.get(&task.service_id);
    service.is_some_and(|service| service.spec_revision == task.spec_revision)
}

/// What a task is made from, as long as it is kept: what is declared, or was before.
fn declared<'a>(task: &pb::TaskInfo, services: &'a Services) -> Option<&'a pb::ServiceSpec> {
    let service = services.get(&task.service_id)?;
    if service.spec_revision == task.spec_revision {
        return service.spec.as_ref();
    }
    service.previous_spec.as_ref().or(service.spec.as_ref())
}

fn shown(task: &pb::TaskInfo, services: &Services) -> Value {
    let status = task.status.clone().unwrap_or_default();
    let state = state_of(&status);
    let made_from = declared(task, services).map(Declaration::of).unwrap_or_default();
    let (message, error) = match (is_error(state), state) {
        (false, _) => (status.message.as_str(), ""),
        (true, TaskState::Pending) => ("pending task scheduling", status.message.as_str()),
        (true, _) => (state.as_str(), status.message.as_str()),
    };
    let mut shown_status = json!({
        "Timestamp": time(status.at),
        "State": state.as_str(),
        "Message": message,
        "PortStatus": {},
    });
    if let Some(fields) = shown_status.as_object_mut() {
        if !error.is_empty() {
            fields.insert("Err".into(), json!(error));
        }
        if let Some(code) = status.exit_code {
            let container = json!({ "ContainerID": "", "PID": 0, "ExitCode": code });
            fields.insert("ContainerStatus".into(), container);
        }
    }
    let mut shown = json!({
        "ID": task.id,
        "Version": { "Index": task.spec_revision },
        "CreatedAt": time(task.created_at),
        "UpdatedAt": time(status.at),
        "Labels": {},
        "Spec": made_from.into_task_template(),
        "ServiceID": task.service_id,
        "NodeID": task.node_id,
        "Status": shown_status,
        "DesiredState": desired_of(task).as_str(),
        "NetworksAttachments": [],
    });
    // A global service's tasks have none.
    if let Some(fields) = shown.as_object_mut().filter(|_| task.slot > 0) {
        fields.insert("Slot".into(), json!(task.slot));
    }
    shown
}

/// A task's name in Docker: `web.1.jkd01q…`, with the node's id for a global service.
fn name_of(task: &pb::TaskInfo) -> String {
    let place = if task.slot > 0 { task.slot.to_string() } else { task.node_id.clone() };
    format!("{}.{place}.{}", task.service_name, task.id)
}

/// Whether a task is what is looked for: one of the values of each key, all labels of its service.
fn fits(task: &pb::TaskInfo, services: &Services, filters: &Filters) -> bool {
    let any = |values: &[String], is: &dyn Fn(&str) -> bool| values.iter().any(|value| is(value));
    filters.iter().all(|(key, values)| match key.as_str() {
        "id" => any(values, &|id| task.id.starts_with(id)),
        "name" => any(values, &|name| name_of(task).starts_with(name)),
        "node" => any(values, &|node| {
            task.node_hostname == node || (!node.is_empty() && task.node_id.starts_with(node))
        }),
        "service" => any(values, &|service| {
            task.service_name == service || task.service_id.starts_with(service)
        }),
        "desired-state" => any(values, &|state| match state {
            // As Docker has it: on its way to running.
            "accepted" => desired_of(task) == DesiredState::Ready,
            state => desired_of(task).as_str() == state,
        }),
        "runtime" => any(values, &|runtime| runtime == "container"),
        "_up-to-date" => any(values, &|is| (is == "true") == is_up_to_date(task, services)),
        _ => services
            .get(&task.service_id)
            .and_then(|service| service.spec.as_ref())
            .is_some_and(|spec| filters::has_labels(&spec.labels, values)),
    })
}

/// The one that a filter asks for by its whole id, as the client does several times in a second.
fn only<'a, T: FromStr>(filters: &'a Filters, key: &str) -> &'a str {
    match filters.get(key).map(Vec::as_slice) {
        Some([one]) if one.parse::<T>().is_ok() => one,
        _ => "",
    }
}

/// Tasks that may be looked for, and the services that they are of, by id.
async fn some(front: &Front, filters: &Filters) -> Result<(Vec<pb::TaskInfo>, Services), Problem> {
    let (serving, caller) = front.serving().await?;
    let service = only::<ServiceId>(filters, "service");
    let node = only::<NodeId>(filters, "node");
    let asked = pb::ListTasksRequest { service: service.into(), node: node.into(), all: true };
    let found = async {
        let tasks = serving.service.route(caller, asked).await?.tasks;
        let services = match service {
            "" => {
                let all = pb::ListServicesRequest {};
                serving.service.route(caller, all).await?.services
            }
            one => {
                let one = pb::GetServiceRequest { service: one.to_owned() };
                vec![serving.service.route(caller, one).await?]
            }
        };
        Ok::<_, Failure>((tasks, services))
    };
    let (tasks, services) = match found.await {
        // What is not there has no tasks.
        Err(failure) if failure.kind == Kind::NotFound => Default::default(),
        found => found?,
    };
    let services = services.into_iter().map(|service| (service.id.clone(), service));
    Ok((tasks, services.collect()))
}

/// `GET /tasks`.
pub(super) async fn list(
    State(front): State<Front>,
    Query(query): Query<filters::Query>,
) -> Result<Response, Problem> {
    let filters = query.filters(FILTERS)?;
    let (tasks, services) = some(&front, &filters).await?;
    let found = tasks.iter().filter(|task| fits(task, &services, &filters));
    Ok(answered(StatusCode::OK, &found.map(|task| shown(task, &services)).collect::<Vec<_>>()))
}

/// `GET /tasks/{id}`: an id, or the beginning of one.
pub(super) async fn inspect(
    State(front): State<Front>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (tasks, services) = some(&front, &Filters::new()).await?;
    Ok(answered(StatusCode::OK, &shown(&one_of(tasks, &id)?, &services)))
}

/// One task by its id, or the beginning of that.
pub(super) async fn get(front: &Front, id: &str) -> Result<pb::TaskInfo, Problem> {
    one_of(front.call(pb::ListTasksRequest { all: true, ..Default::default() }).await?.tasks, id)
}

fn one_of(tasks: Vec<pb::TaskInfo>, id: &str) -> Result<pb::TaskInfo, Problem> {
    let mut found = tasks.into_iter().filter(|task| task.id.starts_with(id));
    match (found.next(), found.next()) {
        (Some(task), None) => Ok(task),
        (Some(_), Some(_)) => Err(Problem::invalid(format!("task {id} is ambiguous"))),
        (None, _) => Err(Problem::not_found(format!("task {id} not found"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(state: pb::TaskState, spec_revision: u64) -> pb::TaskInfo {
        let status = pb::TaskStatus {
            state: state.into(),
            message: "why".into(),
            exit_code: (state == pb::TaskState::Failed).then_some(3),
            ..Default::default()
        };
        pb::TaskInfo {
            id: "task1".into(),
            service_id: "service1".into(),
            service_name: "web".into(),
            slot: 2,
            node_id: "node1".into(),
            node_hostname: "n1".into(),
            desired_state: pb::DesiredState::Running.into(),
            status: Some(status),
            spec_revision,
            ..Default::default()
        }
    }

    /// One service, of which the second declaration is the present one.
    fn services() -> Services {
        let spec = |image: &str| pb::ServiceSpec {
            name: "web".into(),
            labels: [("tier".to_owned(), "front".to_owned())].into(),
            task: Some(pb::TaskSpec { image: image.into(), ..Default::default() }),
            ..Default::default()
        };
        let service = pb::ServiceInfo {
            id: "service1".into(),
            spec: Some(spec("now")),
            previous_spec: Some(spec("before")),
            spec_revision: 7,
            ..Default::default()
        };
        [(service.id.clone(), service)].into()
    }

    #[test]
    fn a_task_is_found_by_all_that_is_asked_of_it() {
        let fits = |filters: &[(&str, &str)]| {
            let one = |(key, value): &(&str, &str)| ((*key).to_owned(), vec![(*value).to_owned()]);
            let filters = filters.iter().map(one).collect();
            fits(&task(pb::TaskState::Running, 7), &services(), &filters)
        };
        assert!(fits(&[]));
        assert!(fits(&[("service", "web"), ("node", "n1"), ("label", "tier=front")]));
        assert!(fits(&[("service", "serv"), ("node", "node1"), ("_up-to-date", "true")]));
        assert!(fits(&[("id", "task"), ("name", "web.2"), ("desired-state", "running")]));
        for other in [
            ("id", "ask"),
            ("name", "web.1"),
            ("node", "1"),
            ("node", ""),
            ("service", "we"),
            ("label", "tier=back"),
            ("desired-state", "shutdown"),
            ("desired-state", "accepted"),
            ("_up-to-date", "false"),
            ("runtime", "plugin"),
        ] {
            assert!(!fits(&[other]), "{other:?}");
        }
        let is_current = [("_up-to-date".to_owned(), vec!["true".to_owned()])].into();
        let of_before = task(pb::TaskState::Running, 3);
        assert!(!super::fits(&of_before, &services(), &is_current));
    }

    #[test]
    fn what_is_asked_for_by_its_whole_id_is_asked_for_alone() {
        let id = ServiceId::from_entropy([1; 17]);
        let asked = |values: &[&str]| -> Filters {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            [("service".to_owned(), values)].into()
        };
        assert_eq!(only::<ServiceId>(&asked(&[id.as_str()]), "service"), id.as_str());
        for other in [&["web"][..], &[id.as_str(), id.as_str()], &[]] {
            assert_eq!(only::<ServiceId>(&asked(other), "service"), "", "{other:?}");
        }
        assert_eq!(only::<NodeId>(&asked(&[id.as_str()]), "node"), "");
    }

    #[test]
    fn a_task_shows_what_it_is_made_from_and_why_it_does_not_run() {
        let shown = |state, spec_revision| shown(&task(state, spec_revision), &services());
        let runs = shown(pb::TaskState::Running, 7);
        assert_eq!(runs["Spec"]["ContainerSpec"]["Image"], "now");
        assert_eq!((&runs["Status"]["Message"], runs["Status"].get("Err")), (&json!("why"), None));
        let waits = shown(pb::TaskState::Pending, 3);
        assert_eq!(waits["Spec"]["ContainerSpec"]["Image"], "before");
        assert_eq!(waits["Status"]["Message"], "pending task scheduling");
        assert_eq!(waits["Status"]["Err"], "why");
        let failed = shown(pb::TaskState::Failed, 7);
        assert_eq!(failed["Status"]["Err"], "why");
        assert_eq!(failed["Status"]["ContainerStatus"]["ExitCode"], 3);
        // Its service may be gone meanwhile; clients take a task without this apart nevertheless.
        let alone = super::shown(&task(pb::TaskState::Running, 7), &Services::new());
        assert_eq!(alone["Spec"]["ContainerSpec"]["Image"], "");
    }
}
