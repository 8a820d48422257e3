//! Names to ids: full id, exact name, unique id prefix, in that order.
//!
//! Swarm's order, with one difference that its users expect anyway: the name of a secret is found
//! without regard to case, as it is unique without regard to case.

use std::collections::BTreeMap;
use std::sync::Arc;

use link::Failure;
use proto::Kind;
use proto::id::{ConfigId, NodeId, OperatorId, SecretId, ServiceId};
use state::State;
use state::object::{Config, Node, Operator, Secret, Service as ServiceObject};

/// Objects listed when a prefix fits several.
const CANDIDATES_SHOWN: usize = 5;

fn by_prefix<'a, K: Copy + Ord + ToString, V>(
    what: &str,
    text: &str,
    objects: &'a BTreeMap<K, Arc<V>>,
) -> Result<(K, &'a Arc<V>), Failure> {
    let fits = |id: &K| !text.is_empty() && id.to_string().starts_with(text);
    let mut candidates = objects.iter().filter(|(id, _)| fits(id));
    match (candidates.next(), candidates.next()) {
        (Some((id, object)), None) => Ok((*id, object)),
        (None, _) => Err(Failure::new(Kind::NotFound, format!("{what} {text} not found"))
            .hint(format!("`secretctl {}` lists them", list_command(what)))),
        (Some(_), Some(_)) => {
            let all: Vec<_> =
                objects.keys().filter(|id| fits(id)).map(ToString::to_string).collect();
            let some = all.iter().take(CANDIDATES_SHOWN).cloned().collect::<Vec<_>>().join(", ");
            Err(Failure::new(
                Kind::Invalid,
                format!("{what} {text} is ambiguous ({} matches found)", all.len()),
            )
            .because(format!("it could be {some}"))
            .hint("give more of the id, or the name"))
        }
    }
}

fn list_command(what: &str) -> String {
    match what {
        "secret" => "ls".into(),
        other => format!("{other} ls"),
    }
}

/// A secret by id, name or prefix.
pub(super) fn secret<'a>(
    state: &'a State,
    text: &str,
) -> Result<(SecretId, &'a Arc<Secret>), Failure> {
    let by_id = text.parse().ok().and_then(|id| Some((id, state.secret(id)?)));
    let by_name = || {
        let name: proto::name::SecretName = text.parse().ok()?;
        state.secret_by_name(&name.folded())
    };
    match by_id.or_else(by_name) {
        Some(found) => Ok(found),
        None => by_prefix("secret", text, state.secrets()),
    }
}

/// A config by id, name or prefix.
pub(super) fn config<'a>(
    state: &'a State,
    text: &str,
) -> Result<(ConfigId, &'a Arc<Config>), Failure> {
    let by_id = text.parse().ok().and_then(|id| Some((id, state.config(id)?)));
    let by_name = || {
        let name: proto::name::SecretName = text.parse().ok()?;
        state.config_by_name(&name.folded())
    };
    match by_id.or_else(by_name) {
        Some(found) => Ok(found),
        None => by_prefix("config", text, state.configs()),
    }
}

/// A service by id, name or prefix.
pub(super) fn service<'a>(
    state: &'a State,
    text: &str,
) -> Result<(ServiceId, &'a Arc<ServiceObject>), Failure> {
    let by_id = text.parse().ok().and_then(|id| Some((id, state.service(id)?)));
    match by_id.or_else(|| state.service_by_name(text)) {
        Some(found) => Ok(found),
        None => by_prefix("service", text, state.services()),
    }
}

/// A node by id, hostname or prefix.
pub(super) fn node<'a>(state: &'a State, text: &str) -> Result<(NodeId, &'a Arc<Node>), Failure> {
    let by_id = text.parse().ok().and_then(|id| Some((id, state.node(id)?)));
    match by_id.or_else(|| state.node_by_hostname(text)) {
        Some(found) => Ok(found),
        None => by_prefix("node", text, state.nodes()),
    }
}

/// An operator by id, name or prefix.
pub(super) fn operator<'a>(
    state: &'a State,
    text: &str,
) -> Result<(OperatorId, &'a Arc<Operator>), Failure> {
    let by_id = text.parse().ok().and_then(|id| Some((id, state.operator(id)?)));
    let by_name = || {
        let operators = state.operators().iter();
        operators
            .filter(|(_, operator)| operator.name.as_str().eq_ignore_ascii_case(text))
            .map(|(id, operator)| (*id, operator))
            .next()
    };
    match by_id.or_else(by_name) {
        Some(found) => Ok(found),
        None => by_prefix("operator", text, state.operators()),
    }
}
