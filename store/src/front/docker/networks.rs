//! `/networks`: what `docker network ls|create|inspect|rm|prune`, and a stack that is deployed, ask.
//!
//! A network is an object here and connects nothing. It has what it was declared with, and services
//! refer to it. Those that Docker has from the beginning are not kept: they are the same everywhere.
//! Not here: whether one is in use (`state`).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use proto::identity::Caller;
use proto::name::ServiceName;
use proto::{Kind, pb};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::{Code, Problem, empty, json as answered};
use super::declaration::{Declaration, or_default};
use super::filters::{self, Filters};
use super::parameters::{Path, Query};
use super::{Front, body, time};
use crate::front::Serving;
use crate::service::networks::{OF_ENGINES, predefined_id};

/// Docker's keys of filters for a list.
const FILTERS: &[&str] = &["dangling", "driver", "id", "label", "name", "scope", "type"];

/// Docker's keys of filters for what is pruned, but for `until`.
const PRUNE_FILTERS: &[&str] = &["label", "label!"];

/// The driver of networks that a cluster has.
const OVERLAY: &str = "overlay";

/// What whoever makes one is told, though docker's client does not show it; it does when a service is
/// attached to one (`service`).
const NOT_SPANNING: &str = "networks do not span nodes: tasks of other nodes are not on them";

/// The label by which clients know that a network was not made by anybody.
const PREDEFINED_LABEL: &str = "com.docker.swarm.predefined";

/// Where a network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Scope {
    Local,
    Swarm,
}

/// Networks of each machine, by name and driver.
const LOCAL: &[(&str, &str)] = &[("bridge", "bridge"), ("host", "host"), ("none", "null")];

/// What engines call the network of whoever asks for none.
const ENGINES_DEFAULT: &str = "default";

/// The network of published ports.
const INGRESS: &str = "ingress";

/// What is kept of a network that is declared.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Kept {
    #[serde(rename = "EnableIPv4", skip_serializing_if = "Option::is_none")]
    enable_ipv4: Option<bool>,
    #[serde(rename = "EnableIPv6", deserialize_with = "or_default")]
    enable_ipv6: bool,
    #[serde(rename = "IPAM", deserialize_with = "or_default")]
    ipam: Ipam,
    internal: bool,
    attachable: bool,
    options: Option<BTreeMap<String, String>>,
    labels: Option<BTreeMap<String, String>>,
}

/// Which addresses are asked for.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Ipam {
    #[serde(deserialize_with = "or_default")]
    driver: String,
    options: Option<BTreeMap<String, String>>,
    #[serde(deserialize_with = "or_default")]
    config: Vec<Addresses>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Addresses {
    #[serde(skip_serializing_if = "String::is_empty")]
    subnet: String,
    #[serde(rename = "IPRange", skip_serializing_if = "String::is_empty")]
    range: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    gateway: String,
    #[serde(
        rename = "AuxiliaryAddresses",
        deserialize_with = "or_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    reserved: BTreeMap<String, String>,
}

/// A network as it is asked for.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Declared {
    name: String,
    driver: String,
    #[serde(deserialize_with = "or_default")]
    ingress: bool,
    #[serde(deserialize_with = "or_default")]
    config_only: bool,
    #[serde(deserialize_with = "or_default")]
    config_from: ConfigFrom,
    #[serde(flatten)]
    kept: Kept,
}

/// From which network a configuration is taken.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ConfigFrom {
    network: String,
}

/// A network as it is shown.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    name: String,
    id: String,
    created: String,
    scope: Scope,
    driver: String,
    #[serde(flatten)]
    kept: Kept,
    ingress: bool,
    config_from: ConfigFrom,
    config_only: bool,
    containers: Option<()>,
    #[serde(skip)]
    is_used: bool,
}

impl Shown {
    fn predefined(name: &str, driver: &str, scope: Scope, created: &str) -> Self {
        let id = match scope {
            Scope::Local => {
                proto::hex::encode(&seal::digest_of(format!("Local network {name}").as_bytes()))
            }
            Scope::Swarm => predefined_id(name).to_string(),
        };
        Self {
            name: name.to_owned(),
            id,
            created: created.to_owned(),
            scope,
            driver: driver.to_owned(),
            kept: Kept {
                ipam: Ipam { driver: "default".into(), ..Ipam::default() },
                ..Kept::default()
            },
            ingress: false,
            config_from: ConfigFrom::default(),
            config_only: false,
            containers: None,
            is_used: true,
        }
    }

    /// Whether it was there from the beginning, and stays.
    fn is_predefined(&self) -> bool {
        self.scope == Scope::Local || self.is_hidden() || self.ingress
    }

    /// Whether it is found and not listed.
    fn is_hidden(&self) -> bool {
        self.scope == Scope::Swarm && self.driver != OVERLAY
    }
}

impl From<pb::NetworkInfo> for Shown {
    fn from(network: pb::NetworkInfo) -> Self {
        // What another version kept, and this one does not read, is shown as nothing.
        let kept = serde_json::from_slice(&network.body).unwrap_or_default();
        Self {
            name: network.name,
            id: network.id,
            created: time(network.created_at),
            scope: Scope::Swarm,
            driver: OVERLAY.to_owned(),
            kept,
            ingress: false,
            config_from: ConfigFrom::default(),
            config_only: false,
            containers: None,
            is_used: network.is_used,
        }
    }
}

/// Every network there is, hidden ones included.
fn all(list: pb::ListNetworksResponse) -> Vec<Shown> {
    let created = time(list.cluster_created_at);
    let local =
        LOCAL.iter().map(|(name, driver)| Shown::predefined(name, driver, Scope::Local, &created));
    // Found and not listed.
    let of_engines = OF_ENGINES.iter().map(|name| {
        let mut shown = Shown::predefined(name, name, Scope::Swarm, &created);
        shown.kept.labels = Some([(PREDEFINED_LABEL.to_owned(), "true".to_owned())].into());
        shown
    });
    let ingress =
        Shown { ingress: true, ..Shown::predefined(INGRESS, OVERLAY, Scope::Swarm, &created) };
    let made = list.networks.into_iter().map(Shown::from);
    made.chain([ingress]).chain(local).chain(of_engines).collect()
}

async fn known(serving: &Serving, caller: Caller) -> Result<Vec<Shown>, Problem> {
    Ok(all(serving.service.route(caller, pb::ListNetworksRequest {}).await?))
}

/// The one that is meant: by its id, its name, or the beginning of its id.
fn one_of<'a>(
    networks: impl Iterator<Item = &'a Shown> + Clone,
    text: &str,
) -> Result<&'a Shown, Problem> {
    let whole = networks.clone().find(|network| network.id == text);
    if let Some(found) = whole.or_else(|| networks.clone().find(|network| network.name == text)) {
        return Ok(found);
    }
    let mut found = networks.filter(|network| !text.is_empty() && network.id.starts_with(text));
    match (found.next(), found.count()) {
        (Some(network), 0) => Ok(network),
        (Some(_), more) => {
            let count = more + 1;
            let text =
                format!("network {text} is ambiguous ({count} matches found based on ID prefix)");
            Err(Problem::invalid(text))
        }
        (None, _) => Err(Problem::not_found(format!("network {text} not found"))),
    }
}

/// Whether a network is what is looked for: one of the values of each key, all labels.
fn fits(network: &Shown, filters: &Filters) -> bool {
    let scope = match network.scope {
        Scope::Local => "local",
        Scope::Swarm => "swarm",
    };
    let labels = network.kept.labels.clone().unwrap_or_default();
    filters.iter().all(|(key, values)| {
        let any = |is: &dyn Fn(&str) -> bool| values.iter().any(|value| is(value));
        match key.as_str() {
            "id" => any(&|id| network.id.starts_with(id)),
            "name" => any(&|name| network.name.contains(name)),
            "driver" => any(&|driver| network.driver == driver),
            "scope" => any(&|asked| asked == scope),
            "type" => any(&|kind| (kind == "builtin") == network.is_predefined()),
            "dangling" => any(&|is| super::is_true(is) != network.is_used),
            _ => filters::has_labels(&labels, values),
        }
    })
}

/// How one is looked for.
#[derive(Deserialize)]
pub(super) struct Where {
    #[serde(default)]
    scope: String,
}

/// `GET /networks`.
pub(super) async fn list(
    State(front): State<Front>,
    Query(query): Query<filters::Query>,
) -> Result<Response, Problem> {
    let filters = query.filters(FILTERS)?;
    let (serving, caller) = front.serving().await?;
    let networks = known(&serving, caller).await?;
    let found = networks.iter().filter(|one| !one.is_hidden() && fits(one, &filters));
    Ok(answered(StatusCode::OK, &found.collect::<Vec<_>>()))
}

/// `GET /networks/{id}`: an id, a name, or the beginning of an id.
pub(super) async fn inspect(
    State(front): State<Front>,
    Path(network): Path<String>,
    Query(wanted): Query<Where>,
) -> Result<Response, Problem> {
    let (serving, caller) = front.serving().await?;
    let networks = known(&serving, caller).await?;
    let there = networks.iter().filter(|one| match wanted.scope.as_str() {
        "swarm" => one.scope == Scope::Swarm,
        "local" => one.scope == Scope::Local,
        _ => !one.is_hidden(),
    });
    Ok(answered(StatusCode::OK, one_of(there, &network)?))
}

/// `POST /networks/create` and `/networks/prune`.
pub(super) async fn post(
    State(front): State<Front>,
    Path(route): Path<String>,
    Query(query): Query<filters::Query>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    match route.as_str() {
        "create" => create(&front, &headers, body).await,
        "prune" => prune(&front, &query).await,
        _ => Err(Problem::page_not_found()),
    }
}

/// The name of a network, in Docker's words where it is none.
fn name_of(text: &str) -> Result<ServiceName, Problem> {
    let refused = |message: &str| Problem::of_swarm(Code::InvalidArgument, message);
    if text.is_empty() {
        return Err(refused("meta: name must be provided"));
    }
    if text.len() > proto::limits::DNS_NAME_BYTES_MAX {
        return Err(refused("name must be 63 characters or fewer"));
    }
    text.parse().map_err(|_| refused("name must be valid as a DNS name component"))
}

async fn create(front: &Front, headers: &HeaderMap, body: Body) -> Result<Response, Problem> {
    let (serving, caller) = front.serving().await?;
    let declared: Declared = body::read_up_to(body::NETWORK_BYTES_MAX, headers, body).await?;
    let request = declared.read()?;
    let taken = format!("network with name {} already exists", request.name);
    let own = [INGRESS, ENGINES_DEFAULT];
    if own.iter().chain(LOCAL.iter().map(|(name, _)| name)).any(|name| *name == request.name) {
        return Err(Problem::conflict(taken));
    }
    match serving.service.route(caller, request).await {
        Ok(made) => {
            let made = json!({ "Id": made.id, "Warning": NOT_SPANNING });
            Ok(answered(StatusCode::CREATED, &made))
        }
        Err(failure) if failure.kind == Kind::Exists => Err(Problem::conflict(taken)),
        Err(failure) => Err(failure.into()),
    }
}

impl Declared {
    pub(super) fn read(self) -> Result<pb::CreateNetworkRequest, Problem> {
        let name = name_of(&self.name)?;
        if self.driver != OVERLAY {
            return Err(Problem::unimplemented(&format!(
                "secretd keeps networks of the driver {OVERLAY}, not of {:?}",
                self.driver
            )));
        }
        if self.ingress || self.config_only || self.config_from != ConfigFrom::default() {
            let text = "secretd has no routing mesh, and no networks that are configurations";
            return Err(Problem::unimplemented(text));
        }
        if self.kept.internal {
            // It would be shown as cut off, and would not be.
            let text = "secretd does not cut networks off: a node's engine makes a bridge of the \
                        network's name, by which containers reach the outside";
            return Err(Problem::unimplemented(text));
        }
        let body = serde_json::to_vec(&self.kept)
            .map_err(|_| Problem::invalid("what is declared cannot be kept"))?;
        Ok(pb::CreateNetworkRequest {
            request_key: seal::random::<16>().to_vec().into(),
            name: name.to_string(),
            body: body.into(),
        })
    }
}

/// Removes every network that no service uses.
async fn prune(front: &Front, query: &filters::Query) -> Result<Response, Problem> {
    let filters = query.filters(PRUNE_FILTERS)?;
    let (serving, caller) = front.serving().await?;
    let list = serving.service.route(caller, pb::ListNetworksRequest {}).await?;
    let mut removed = Vec::new();
    for network in list.networks.into_iter().map(Shown::from) {
        if network.is_used || !may_be_pruned(&network, &filters) {
            continue;
        }
        match remove_one(&serving, caller, network.id).await {
            Ok(()) => removed.push(network.name),
            // It was used, or removed, a moment ago.
            Err(failure) if matches!(failure.kind, Kind::InUse | Kind::NotFound) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(answered(StatusCode::OK, &json!({ "NetworksDeleted": removed })))
}

fn may_be_pruned(network: &Shown, filters: &Filters) -> bool {
    let labels = network.kept.labels.clone().unwrap_or_default();
    filters.iter().all(|(key, values)| match key.as_str() {
        "label!" => !filters::has_labels(&labels, values),
        _ => filters::has_labels(&labels, values),
    })
}

async fn remove_one(serving: &Serving, caller: Caller, id: String) -> Result<(), link::Failure> {
    let request_key = seal::random::<16>().to_vec().into();
    serving.service.route(caller, pb::RemoveNetworkRequest { request_key, id }).await.map(drop)
}

/// `DELETE /networks/{id}`.
pub(super) async fn remove(
    State(front): State<Front>,
    Path(network): Path<String>,
) -> Result<Response, Problem> {
    let (serving, caller) = front.serving().await?;
    let networks = known(&serving, caller).await?;
    let found = one_of(networks.iter().filter(|one| !one.is_hidden()), &network)?;
    if found.is_predefined() {
        let text = format!("{} is a pre-defined network and cannot be removed", found.name);
        return Err(Problem::forbidden(text));
    }
    match remove_one(&serving, caller, found.id.clone()).await {
        Ok(()) => Ok(empty(StatusCode::NO_CONTENT)),
        Err(failure) if failure.kind == Kind::InUse => {
            Err(Problem::of_swarm(Code::FailedPrecondition, &failure.message))
        }
        Err(failure) => Err(failure.into()),
    }
}

/// Puts ids in the place of names of networks that a service is to be attached to. What it was attached
/// to before stays, whether it is there or not.
pub(super) async fn resolve(
    (serving, caller): (&Arc<Serving>, Caller),
    declared: &mut Declaration,
    before: Option<&pb::ServiceSpec>,
) -> Result<(), Problem> {
    let before = before.and_then(|before| before.task.as_ref());
    let had = before.map(|task| task.networks.as_slice()).unwrap_or_default();
    let mut targets: Vec<_> = declared.networks_mut().collect();
    targets.retain(|target| !had.contains(target));
    if targets.is_empty() {
        return Ok(());
    }
    let networks = known(serving, caller).await?;
    let of_cluster = networks.iter().filter(|network| network.scope == Scope::Swarm);
    for target in targets {
        let found = one_of(of_cluster.clone(), target)?;
        if found.ingress {
            let text = format!(
                "Service cannot be explicitly attached to the ingress network {:?}",
                found.name
            );
            return Err(Problem::of_swarm(Code::InvalidArgument, &text));
        }
        found.id.clone_into(target);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks() -> Vec<Shown> {
        let kept = Kept {
            labels: Some([("tier".to_owned(), "front".to_owned())].into()),
            ..Kept::default()
        };
        let network = |id: &str, name: &str, is_used| pb::NetworkInfo {
            id: id.into(),
            name: name.into(),
            body: serde_json::to_vec(&kept).unwrap().into(),
            created_at: 1,
            is_used,
        };
        let networks = vec![network("zz1", "front", true), network("zz2", "zz1x", false)];
        all(pb::ListNetworksResponse { networks, cluster_created_at: 2 })
    }

    fn found(text: &str) -> Result<String, String> {
        let networks = networks();
        let found = one_of(networks.iter(), text).map(|network| network.name.clone());
        found.map_err(|problem| problem.message().to_owned())
    }

    #[test]
    fn a_network_is_found_by_id_name_or_the_beginning_of_its_id() {
        assert_eq!(found("zz1").as_deref(), Ok("front"));
        assert_eq!(found("front").as_deref(), Ok("front"));
        assert_eq!(found("zz2").as_deref(), Ok("zz1x"));
        assert_eq!(found("zz1x").as_deref(), Ok("zz1x"));
        let said = "network zz is ambiguous (2 matches found based on ID prefix)";
        assert_eq!(found("zz"), Err(said.to_owned()));
        for none in ["", "fron", "-"] {
            assert_eq!(found(none), Err(format!("network {none} not found")));
        }
    }

    #[test]
    fn those_of_the_beginning_have_ids_that_stay() {
        let one = networks();
        let ids = |of: &[Shown]| -> Vec<String> {
            of.iter().filter(|one| one.is_predefined()).map(|one| one.id.clone()).collect()
        };
        assert_eq!(ids(&one), ids(&networks()));
        let distinct: std::collections::BTreeSet<_> = ids(&one).into_iter().collect();
        assert_eq!(distinct.len(), LOCAL.len() + OF_ENGINES.len() + 1);
    }

    #[test]
    fn a_network_is_listed_by_all_that_is_asked_of_it() {
        let networks = networks();
        let listed = |filters: &[(&str, &str)]| -> Vec<&str> {
            let one = |(key, value): &(&str, &str)| ((*key).to_owned(), vec![(*value).to_owned()]);
            let filters = filters.iter().map(one).collect();
            let found = networks.iter().filter(|one| !one.is_hidden() && fits(one, &filters));
            found.map(|network| network.name.as_str()).collect()
        };
        assert_eq!(listed(&[]), ["front", "zz1x", "ingress", "bridge", "host", "none"]);
        assert_eq!(listed(&[("driver", "overlay"), ("type", "custom")]), ["front", "zz1x"]);
        assert_eq!(listed(&[("scope", "local")]), ["bridge", "host", "none"]);
        assert_eq!(listed(&[("name", "ron"), ("label", "tier=front")]), ["front"]);
        assert_eq!(listed(&[("label", "tier=back")]), [""; 0]);
        assert_eq!(listed(&[("id", "zz2"), ("dangling", "true")]), ["zz1x"]);
        assert_eq!(listed(&[("id", "zz"), ("dangling", "false")]), ["front"]);
    }

    #[test]
    fn what_is_pruned_is_what_is_asked_for() {
        let networks = networks();
        let may = |key: &str, value: &str| {
            may_be_pruned(&networks[0], &[(key.to_owned(), vec![value.to_owned()])].into())
        };
        assert!(may("label", "tier") && may("label!", "tier=back"));
        assert!(!may("label", "tier=back") && !may("label!", "tier"));
    }

    #[test]
    fn what_is_declared_is_kept_or_refused() {
        let read = |body: &str| -> Result<pb::CreateNetworkRequest, String> {
            let declared: Declared = serde_json::from_str(body).unwrap();
            declared.read().map_err(|problem| problem.message().to_owned())
        };
        let made = read(
            r#"{"Name":"front","Driver":"overlay","Scope":"","CheckDuplicate":true,"IPAM":{"Driver":
            "default","Options":{},"Config":[{"Subnet":"10.9.0.0/24"}]},"Internal":false,"Labels":
            {"a":"b"},"Attachable":false,"ConfigFrom":null,"EnableIPv6":null,"Options":null}"#,
        );
        let made = made.unwrap();
        let info = pb::NetworkInfo { name: made.name, body: made.body, ..Default::default() };
        let shown = json!(Shown::from(info));
        assert_eq!(shown["IPAM"]["Config"], json!([{ "Subnet": "10.9.0.0/24" }]));
        assert_eq!(shown["Labels"], json!({ "a": "b" }));
        assert!(read(r#"{"Name":"front","Driver":"overlay","IPAM":null}"#).is_ok());
        for (body, said) in [
            (r#"{"Driver":"overlay"}"#, "desc = meta: name must be provided"),
            (r#"{"Name":"a b","Driver":"overlay"}"#, "must be valid as a DNS name component"),
            (r#"{"Name":"a","Driver":"bridge"}"#, "the driver overlay, not of \"bridge\""),
            (r#"{"Name":"a"}"#, "the driver overlay, not of \"\""),
            (r#"{"Name":"a","Driver":"overlay","Ingress":true}"#, "no routing mesh"),
            (r#"{"Name":"a","Driver":"overlay","Internal":true}"#, "does not cut networks off"),
            (r#"{"Name":"a","Driver":"overlay","ConfigFrom":{"Network":"b"}}"#, "no routing mesh"),
        ] {
            assert!(read(body).unwrap_err().contains(said), "{body}");
        }
        let long = format!(r#"{{"Name":"{}","Driver":"overlay"}}"#, "a".repeat(64));
        assert!(read(&long).unwrap_err().ends_with("name must be 63 characters or fewer"));
        assert!(read(&long.replacen("aa", "a", 1)).is_ok());
    }
}
