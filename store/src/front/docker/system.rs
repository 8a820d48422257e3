//! `_ping`, `version`, `info`: what the client asks before everything else.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use proto::pb;
use serde_json::{Value, json};

use super::answer::{Problem, state_of, uncached};
use super::version::{API, API_MIN};
use super::{Front, swarm};
use crate::front::Phase;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Go's name of this machine's processor.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `GET` and `HEAD /_ping`. Answered in every phase: it says in its headers which one.
pub(super) async fn ping() -> Response {
    let mut headers = HeaderMap::new();
    uncached(&mut headers);
    (headers, "OK").into_response()
}

/// `GET /version`. Answered in every phase.
pub(super) async fn version() -> Json<Value> {
    let (api, api_min) = (format!("1.{API}"), format!("1.{API_MIN}"));
    Json(json!({
        "Platform": { "Name": "secretd" },
        "Components": [{
            "Name": "secretd",
            "Version": VERSION,
            "Details": { "ApiVersion": api, "MinAPIVersion": api_min },
        }],
        "Version": VERSION,
        "ApiVersion": api,
        "MinAPIVersion": api_min,
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": architecture(),
    }))
}

/// `GET /info`. In every phase there is an answer, with what can be told then.
pub(super) async fn info(State(front): State<Front>) -> Result<Json<Value>, Problem> {
    let mut info = json!({
        "ID": "",
        "Name": sys::host::hostname(),
        "ServerVersion": VERSION,
        "OperatingSystem": "secretd",
        "OSType": "linux",
        "Architecture": architecture(),
        "Swarm": { "LocalNodeState": state_of(&front.stage.phase()), "ControlAvailable": false },
    });
    if !matches!(front.stage.phase(), Phase::Serving(_)) {
        return Ok(Json(info));
    }
    let (serving, caller) = front.serving().await?;
    let status = swarm::status_of(&serving, caller).await?;
    let cluster = swarm::cluster(&status, &serving.service.tls_anchor()?);
    if let Some(known) = info.get_mut("Swarm") {
        *known = standing(&status, &cluster);
    }
    Ok(Json(info))
}

fn standing(status: &pb::ClusterStatus, cluster: &Value) -> Value {
    let own = status.members.iter().find(|member| member.id == status.answered_by);
    let remote =
        |member: &pb::MemberInfo| json!({ "NodeID": member.node_id, "Addr": member.address });
    json!({
        "NodeID": own.map(|member| member.node_id.as_str()).unwrap_or_default(),
        "NodeAddr": own.map(|member| host_of(&member.address)).unwrap_or_default(),
        "LocalNodeState": "active",
        "ControlAvailable": true,
        "Error": "",
        "RemoteManagers": status.members.iter().map(remote).collect::<Vec<_>>(),
        "Nodes": status.nodes,
        "Managers": status.members.len(),
        "Cluster": cluster,
    })
}

/// An address without its port.
pub(crate) fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host.trim_matches(['[', ']']))
}
