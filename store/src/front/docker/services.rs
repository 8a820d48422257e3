//! `/services`: what `docker service create|ls|inspect|update|scale|rollback|rm` and `docker stack` ask.
//!
//! A service that docker declares has an image, and so needs a node with an engine. One that was
//! declared with secretctl runs a program of its node; docker shows, scales, changes and removes it.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use proto::{Kind, pb};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::{Code, Problem, empty, json as answered};
use super::body::DECLARATION_BYTES_MAX;
use super::declaration::Declaration;
use super::filters::{self, Filters};
use super::parameters::{Path, Query};
use super::{Front, body, is_true, networks, time};

/// Swarm's keys of filters.
const FILTERS: &[&str] = &["id", "label", "mode", "name", "runtime"];

/// How a list is asked for.
#[derive(Deserialize)]
pub(super) struct Listing {
    filters: Option<String>,
    /// With how many tasks each has.
    #[serde(default)]
    status: String,
}

/// How a change is asked for.
#[derive(Deserialize)]
pub(super) struct Update {
    #[serde(default)]
    version: String,
    #[serde(default)]
    rollback: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    #[serde(rename = "ID")]
    id: String,
    warnings: Vec<String>,
}

fn shown(service: &pb::ServiceInfo, with_status: bool) -> Value {
    let spec = service.spec.as_ref().map(Declaration::of).unwrap_or_default();
    let mut shown = json!({
        "ID": service.id,
        "Version": { "Index": service.revision },
        "CreatedAt": time(service.created_at),
        "UpdatedAt": time(service.updated_at),
        "Endpoint": { "Spec": spec.endpoint() },
        "Spec": spec,
    });
    let Some(fields) = shown.as_object_mut() else { return shown };
    if let Some(previous) = &service.previous_spec {
        fields.insert("PreviousSpec".into(), json!(Declaration::of(previous)));
    }
    if let Some(update) = &service.update {
        let mut status = json!({
            "State": update.state().as_str(),
            "StartedAt": time(update.started_at),
            "Message": update.message,
        });
        if let Some(status) = status.as_object_mut().filter(|_| update.completed_at > 0) {
            status.insert("CompletedAt".into(), json!(time(update.completed_at)));
        }
        fields.insert("UpdateStatus".into(), status);
    }
    if with_status {
        let status = json!({
            "RunningTasks": service.running_tasks,
            "DesiredTasks": service.desired_tasks,
            "CompletedTasks": 0,
        });
        fields.insert("ServiceStatus".into(), status);
    }
    shown
}

/// Whether a service is what is looked for: one of the values of each key, all labels.
fn fits(service: &pb::ServiceInfo, filters: &Filters) -> bool {
    let spec = service.spec.clone().unwrap_or_default();
    let mode = match spec.mode {
        Some(pb::service_spec::Mode::Global(true)) => "global",
        _ => "replicated",
    };
    filters.iter().all(|(key, values)| match key.as_str() {
        "id" => values.iter().any(|value| service.id.starts_with(value)),
        "name" => values.iter().any(|value| spec.name.starts_with(value)),
        "mode" => values.iter().any(|value| value == mode),
        "runtime" => values.iter().any(|value| value == "container"),
        _ => filters::has_labels(&spec.labels, values),
    })
}

/// `GET /services`.
pub(super) async fn list(
    State(front): State<Front>,
    Query(listing): Query<Listing>,
) -> Result<Response, Problem> {
    let filters = filters::Query::from(listing.filters).filters(FILTERS)?;
    let with_status = is_true(&listing.status);
    let list = front.call(pb::ListServicesRequest {}).await?;
    let found = list.services.iter().filter(|service| fits(service, &filters));
    let shown = found.map(|service| shown(service, with_status));
    Ok(answered(StatusCode::OK, &shown.collect::<Vec<_>>()))
}

/// `GET /services/{id}`: an id, a name, or the beginning of an id.
pub(super) async fn inspect(
    State(front): State<Front>,
    Path(service): Path<String>,
) -> Result<Response, Problem> {
    Ok(answered(StatusCode::OK, &shown(&get(&front, service).await?, false)))
}

pub(super) async fn get(front: &Front, service: String) -> Result<pb::ServiceInfo, Problem> {
    front.find("service", &service, pb::GetServiceRequest { service: service.clone() }).await
}

/// `POST /services/create`.
pub(super) async fn create(
    State(front): State<Front>,
    Path(route): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if route != "create" {
        return Err(Problem::page_not_found());
    }
    let (serving, caller) = front.serving().await?;
    let mut declared: Declaration = body::read_up_to(DECLARATION_BYTES_MAX, &headers, body).await?;
    networks::resolve((&serving, caller), &mut declared, None).await?;
    let taken = format!(
        "name conflicts with an existing object: service {} already exists",
        declared.name()
    );
    let request = pb::CreateServiceRequest {
        request_key: seal::random::<16>().to_vec().into(),
        spec: Some(declared.read(None)?),
    };
    match serving.service.route(caller, request).await {
        Ok(made) => {
            let created = Created { id: made.id, warnings: made.warnings };
            Ok(answered(StatusCode::CREATED, &created))
        }
        Err(failure) if failure.kind == Kind::Exists => {
            Err(Problem::of_swarm(Code::AlreadyExists, &taken))
        }
        Err(failure) => Err(failure.into()),
    }
}

/// `POST /services/{id}/update`: all that is declared, or the previous declaration again.
pub(super) async fn update(
    State(front): State<Front>,
    Path(service): Path<String>,
    Query(update): Query<Update>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (serving, caller) = front.serving().await?;
    let Ok(revision @ 1..) = update.version.parse::<u64>() else {
        return Err(Problem::invalid(format!("invalid service version '{}'", update.version)));
    };
    let rollback = match update.rollback.as_str() {
        "" => false,
        "previous" => true,
        other => {
            let text = format!("unrecognized rollback option {other}");
            return Err(Problem::invalid(text));
        }
    };
    let mut declared: Declaration = body::read_up_to(DECLARATION_BYTES_MAX, &headers, body).await?;
    let found = get(&front, service).await?;
    let before = found.spec.as_ref();
    if !rollback {
        networks::resolve((&serving, caller), &mut declared, before).await?;
    }
    let spec = if rollback { None } else { Some(declared.read(before)?) };
    let request = pb::UpdateServiceRequest {
        request_key: seal::random::<16>().to_vec().into(),
        service: found.id,
        revision,
        spec,
        rollback,
    };
    match serving.service.route(caller, request).await {
        Ok(_) => Ok(answered(StatusCode::OK, &json!({ "Warnings": null }))),
        Err(failure) if failure.kind == Kind::Conflict => Err(Problem::out_of_sequence()),
        Err(failure) => Err(failure.into()),
    }
}

/// `DELETE /services/{id}`.
pub(super) async fn remove(
    State(front): State<Front>,
    Path(service): Path<String>,
) -> Result<Response, Problem> {
    let found = get(&front, service).await?;
    let request = pb::RemoveServiceRequest {
        request_key: seal::random::<16>().to_vec().into(),
        service: found.id,
    };
    front.call(request).await?;
    Ok(empty(StatusCode::OK))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> pb::ServiceInfo {
        let spec = pb::ServiceSpec {
            name: "web".into(),
            labels: [("tier".to_owned(), "front".to_owned())].into(),
            mode: Some(pb::service_spec::Mode::Global(true)),
            ..Default::default()
        };
        pb::ServiceInfo { id: "abc".into(), spec: Some(spec), revision: 5, ..Default::default() }
    }

    #[test]
    fn a_service_is_found_by_all_that_is_asked_of_it() {
        let fits = |filters: &[(&str, &str)]| {
            let one = |(key, value): &(&str, &str)| ((*key).to_owned(), vec![(*value).to_owned()]);
            fits(&service(), &filters.iter().map(one).collect())
        };
        assert!(fits(&[]));
        assert!(fits(&[("id", "a"), ("name", "we"), ("mode", "global"), ("label", "tier")]));
        assert!(fits(&[("runtime", "container"), ("label", "tier=front")]));
        for other in [
            ("id", "b"),
            ("name", "eb"),
            ("mode", "replicated"),
            ("runtime", "plugin"),
            ("label", "tier=back"),
        ] {
            assert!(!fits(&[other]), "{other:?}");
        }
    }

    #[test]
    fn how_an_update_stands_is_told_as_docker_tells_it() {
        let mut service = service();
        let plain = shown(&service, false);
        for field in ["UpdateStatus", "PreviousSpec", "ServiceStatus"] {
            assert_eq!(plain.get(field), None, "{field}");
        }
        let mut update = pb::UpdateStatus { message: "m".into(), ..Default::default() };
        service.previous_spec = service.spec.clone();
        service.update = Some(update.clone());
        (service.running_tasks, service.desired_tasks) = (1, 2);
        let under_way = shown(&service, true);
        assert_eq!(under_way["UpdateStatus"]["State"], "updating");
        assert_eq!(under_way["UpdateStatus"].get("CompletedAt"), None);
        assert_eq!(under_way["PreviousSpec"]["Name"], "web");
        let counts = json!({ "RunningTasks": 1, "DesiredTasks": 2, "CompletedTasks": 0 });
        assert_eq!(under_way["ServiceStatus"], counts);
        update.set_state(pb::UpdateState::RollbackCompleted);
        update.completed_at = 1;
        service.update = Some(update);
        let done = shown(&service, true);
        assert_eq!(done["UpdateStatus"]["State"], "rollback_completed");
        assert_eq!(done["UpdateStatus"]["CompletedAt"], "1970-01-01T00:00:00.001Z");
    }
}
