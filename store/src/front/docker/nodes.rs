//! `/nodes`: what `docker node ls|inspect|update|rm` ask.
//!
//! A node is a manager here if one of ours is on its machine. Whether it is one is for that machine to
//! say (`secretctl cluster join` and `leave`), so roles are shown and not changed.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use proto::{Kind, pb};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::{Code, Problem, empty, json as answered};
use super::filters::{self, Filters};
use super::parameters::{Path, Query};
use super::system::host_of;
use super::{Front, body, is_true, swarm, time};

/// Swarm's keys of filters.
const FILTERS: &[&str] = &["id", "label", "membership", "name", "node.label", "role"];

/// What is declared of a node.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Spec {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    role: Role,
    availability: Availability,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    Manager,
    Worker,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Availability {
    Active,
    Pause,
    Drain,
}

/// How a change is asked for.
#[derive(Deserialize)]
pub(super) struct Update {
    #[serde(default)]
    version: String,
}

/// How a removal is asked for.
#[derive(Deserialize)]
pub(super) struct Removal {
    #[serde(default)]
    force: String,
}

const fn role_of(node: &pb::NodeInfo) -> Role {
    if node.member.is_some() { Role::Manager } else { Role::Worker }
}

fn spec_of(node: &pb::NodeInfo) -> Spec {
    let availability = match node.availability() {
        pb::Availability::Active => Availability::Active,
        pb::Availability::Pause => Availability::Pause,
        pb::Availability::Drain => Availability::Drain,
    };
    Spec { labels: Some(node.labels.clone()), role: role_of(node), availability }
}

/// A manager without an agent is as well as it can be reached.
fn state_of(node: &pb::NodeInfo) -> &'static str {
    match (node.has_agent, &node.member) {
        (false, Some(member)) => {
            if member.reachable {
                "ready"
            } else {
                "down"
            }
        }
        _ => match node.state() {
            pb::NodeState::Unknown => "unknown",
            pb::NodeState::Ready => "ready",
            pb::NodeState::Down => "down",
        },
    }
}

fn shown(node: &pb::NodeInfo, tls: &Value) -> Value {
    let machine = node.machine.clone().unwrap_or_default();
    let version = match &node.member {
        Some(member) if node.agent_version.is_empty() => &member.version,
        _ => &node.agent_version,
    };
    let address = node.member.as_ref().map(|member| host_of(&member.address));
    let mut shown = json!({
        "ID": node.id,
        "Version": { "Index": node.revision },
        "CreatedAt": time(node.created_at),
        "UpdatedAt": time(node.updated_at),
        "Spec": spec_of(node),
        "Description": {
            "Hostname": node.hostname,
            "Platform": { "Architecture": machine.architecture, "OS": machine.os },
            "Resources": { "NanoCPUs": machine.nano_cpus, "MemoryBytes": machine.memory_bytes },
            "Engine": { "EngineVersion": version },
            "TLSInfo": tls,
        },
        "Status": {
            "State": state_of(node),
            "Message": node.message,
            "Addr": address.unwrap_or_default(),
        },
    });
    if let (Some(member), Some(fields)) = (&node.member, shown.as_object_mut()) {
        let reachability = if member.reachable { "reachable" } else { "unreachable" };
        let status = json!({
            "Leader": member.leader, "Reachability": reachability, "Addr": member.address,
        });
        fields.insert("ManagerStatus".into(), status);
    }
    shown
}

/// Whether a node is what is looked for: one of the values of each key, all labels.
fn fits(node: &pb::NodeInfo, filters: &Filters) -> bool {
    let role = match role_of(node) {
        Role::Manager => "manager",
        Role::Worker => "worker",
    };
    filters.iter().all(|(key, values)| match key.as_str() {
        "id" => values.iter().any(|value| node.id.starts_with(value)),
        "name" => values.iter().any(|value| node.hostname.starts_with(value)),
        "role" => values.iter().any(|value| value == role),
        "membership" => values.iter().any(|value| value == "accepted"),
        _ => filters::has_labels(&node.labels, values),
    })
}

/// `GET /nodes`.
pub(super) async fn list(
    State(front): State<Front>,
    Query(query): Query<filters::Query>,
) -> Result<Response, Problem> {
    let filters = query.filters(FILTERS)?;
    let list = front.call(pb::ListNodesRequest {}).await?;
    let tls = tls_info(&front).await?;
    let found = list.nodes.iter().filter(|node| fits(node, &filters));
    Ok(answered(StatusCode::OK, &found.map(|node| shown(node, &tls)).collect::<Vec<_>>()))
}

/// `GET /nodes/{id}`: an id, a hostname, or the beginning of an id.
pub(super) async fn inspect(
    State(front): State<Front>,
    Path(node): Path<String>,
) -> Result<Response, Problem> {
    let found = get(&front, node).await?;
    Ok(answered(StatusCode::OK, &shown(&found, &tls_info(&front).await?)))
}

/// By which CA nodes are known. While another one is about to take its place, it is not said who has moved.
async fn tls_info(front: &Front) -> Result<Value, Problem> {
    let (serving, _) = front.serving().await?;
    let anchor = serving.service.tls_anchor()?;
    Ok(if anchor.is_settled { swarm::tls_info(&anchor) } else { json!({}) })
}

async fn get(front: &Front, node: String) -> Result<pb::NodeInfo, Problem> {
    front.find("node", &node, pb::GetNodeRequest { node: node.clone() }).await
}

/// `POST /nodes/{id}/update`: labels and availability.
pub(super) async fn update(
    State(front): State<Front>,
    Path(node): Path<String>,
    Query(update): Query<Update>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (serving, caller) = front.serving().await?;
    let Ok(revision @ 1..) = update.version.parse::<u64>() else {
        return Err(Problem::invalid(format!("invalid node version '{}'", update.version)));
    };
    let spec: Spec = body::read(&headers, body).await?;
    let found = get(&front, node).await?;
    if spec.role != role_of(&found) {
        return Err(Problem::unimplemented(
            "secretd does not change the role of a node; on its own machine: secretctl cluster join \
             or leave",
        ));
    }
    let labels = spec.labels.unwrap_or_default();
    let is_gone = |key: &&String| !labels.contains_key(*key);
    let label_rm = found.labels.keys().filter(is_gone).cloned().collect();
    let availability = match spec.availability {
        Availability::Active => pb::Availability::Active,
        Availability::Pause => pb::Availability::Pause,
        Availability::Drain => pb::Availability::Drain,
    };
    let request = pb::UpdateNodeRequest {
        request_key: seal::random::<16>().to_vec().into(),
        node: found.id,
        revision,
        label_add: labels,
        label_rm,
        availability: Some(availability.into()),
    };
    match serving.service.route(caller, request).await {
        Ok(_) => Ok(empty(StatusCode::OK)),
        Err(failure) if failure.kind == Kind::Conflict => Err(Problem::out_of_sequence()),
        Err(failure) => Err(failure.into()),
    }
}

/// `DELETE /nodes/{id}`. The node is evicted.
pub(super) async fn remove(
    State(front): State<Front>,
    Path(node): Path<String>,
    Query(removal): Query<Removal>,
) -> Result<Response, Problem> {
    let found = get(&front, node).await?;
    let (serving, caller) = front.serving().await?;
    let request = pb::RemoveNodeRequest {
        request_key: seal::random::<16>().to_vec().into(),
        node: found.id.clone(),
        force: is_true(&removal.force),
    };
    let Err(failure) = serving.service.route(caller, request).await else {
        return Ok(empty(StatusCode::OK));
    };
    let id = &found.id;
    Err(match failure.kind {
        Kind::Precondition if found.member.is_some() => Problem::of_swarm(
            Code::FailedPrecondition,
            &format!(
                "node {id} is a cluster manager and is a member of the raft cluster. It must be \
                 demoted to worker before removal"
            ),
        ),
        Kind::Precondition => Problem::of_swarm(
            Code::FailedPrecondition,
            &format!("node {id} is not down and can't be removed"),
        ),
        _ => failure.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(member: bool) -> pb::NodeInfo {
        pb::NodeInfo {
            id: "abc".into(),
            hostname: "web1".into(),
            labels: [("zone".to_owned(), "a".to_owned())].into(),
            member: member.then(pb::MemberInfo::default),
            has_agent: !member,
            state: pb::NodeState::Ready.into(),
            ..pb::NodeInfo::default()
        }
    }

    #[test]
    fn a_node_is_found_by_all_that_is_asked_of_it() {
        let fits = |filters: &[(&str, &str)]| {
            let mut all = Filters::new();
            for (key, value) in filters {
                all.entry((*key).to_owned()).or_default().push((*value).to_owned());
            }
            fits(&node(false), &all)
        };
        assert!(fits(&[]));
        assert!(fits(&[("id", "ab"), ("name", "web"), ("role", "worker"), ("label", "zone")]));
        assert!(fits(&[("name", "db"), ("name", "web1"), ("node.label", "zone=a")]));
        for other in
            [("id", "b"), ("name", "eb"), ("role", "manager"), ("label", "zone=b"), ("label", "x")]
        {
            assert!(!fits(&[other]), "{other:?}");
        }
    }

    #[test]
    fn a_manager_without_an_agent_is_ready_while_it_answers() {
        let (mut node, tls) = (node(true), json!({}));
        assert_eq!(
            (state_of(&node), shown(&node, &tls)["Spec"]["Role"].as_str()),
            ("down", Some("manager"))
        );
        node.member.as_mut().unwrap().reachable = true;
        assert_eq!(state_of(&node), "ready");
        assert_eq!(shown(&node, &tls)["ManagerStatus"]["Reachability"], "reachable");
        let worker = self::node(false);
        assert_eq!((state_of(&worker), shown(&worker, &tls).get("ManagerStatus")), ("ready", None));
    }
}
