//! The `docker` runtime: an image, as a container of the node's own engine.
//!
//! What is declared, the typed part and what the Docker front kept beside it, becomes one request to the
//! engine. Names and labels are Swarm's, so that tools which look for them find them; one more label
//! says which agent's the container is. The secrets are where they are for every task, at `/run/secrets`,
//! or at an absolute path. Not here: the asking ([`crate::supervisor::container`]), which tasks' containers
//! may stay ([`crate::worker`]).
//!
//! Invariant: what is declared is in the request, or the task is refused with the reason; nothing is left
//! out in silence. No secret is in the request.

mod declared;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proto::id::NodeId;
use proto::name::Target;
use proto::spec::{ConfigReference, RuntimeKind, SECRETS_FOLDER, STOP_GRACE_MS_DEFAULT, Signal};
use serde_json::{Map, Value, json};

use self::declared::Declared;
use super::{Node, Refused, Runtime};
use crate::assignment::{Assignment, ResolvedReference};
use crate::supervisor::container::FILES;
use crate::supervisor::definition::{Container, Definition};

/// The label that says which node's agent made a container.
pub(crate) const NODE_LABEL: &str = "secretd.node";

/// The label that says which task it is.
pub(crate) const TASK_LABEL: &str = "com.docker.swarm.task.id";

/// The folder in a task's in which its secrets are, for the engine, while it starts.
const PLACE: &str = "secrets";

/// The folder of the secrets filesystem with what goes to `/run/secrets`.
const RELATIVE: &str = "files";

/// That with what goes elsewhere, by position.
const ABSOLUTE: &str = "others";

/// That with configs, by position.
const CONFIGS: &str = "configs";

/// Where an engine is, and whose containers are this agent's there.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its socket.
    pub socket: PathBuf,
    /// This node.
    pub node_id: NodeId,
}

/// Runs containers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Docker;

impl Runtime for Docker {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Docker
    }

    fn define(&self, assignment: &Assignment, node: &Node) -> Result<Definition, Refused> {
        let spec = &assignment.spec;
        let Some(place) = &node.engine else {
            return Err(Refused("this node has no docker runtime".into()));
        };
        if spec.image.is_empty() {
            return Err(Refused("no image was declared".into()));
        }
        if let Some(odd) = assignment.secrets.iter().find(|file| file.mode.bits() & 0o7000 != 0) {
            return Err(Refused(format!(
                "the mode {} of secret `{}` has more than permissions, which a container does not get",
                odd.mode, odd.secret_name
            )));
        }
        if let Some(odd) = spec.configs.iter().find(|file| file.mode.bits() & 0o7000 != 0) {
            return Err(Refused(format!(
                "the mode {} of config `{}` has more than permissions, which a container does not get",
                odd.mode, odd.config_name
            )));
        }
        check_places(assignment)?;
        let Some(declared) = &assignment.declared else {
            return Err(Refused(
                "what its service declared of its container is not known: it was declared anew since, \
                 or the manager is an older one"
                    .into(),
            ));
        };
        let declared = Declared::read(declared)?;
        let at = node.tasks.join(assignment.task_id.as_str()).join(PLACE);
        let text = |path: &Path| path.to_str().map(str::to_owned);
        let not_text = || Refused("the tasks' folder has a name that is not UTF-8".into());
        let at = text(&at).ok_or_else(not_text)?;
        let name = name(assignment, place.node_id);
        declared.check_binds(node)?;
        let body = body(assignment, &declared, &name, place.node_id, &at)?;
        // Names are known to the image alone: who has none by number is root, as for Docker.
        let (uid, gid) = numbers(&spec.user);
        Ok(Definition {
            task_id: assignment.task_id,
            boot_id: node.boot_id.clone(),
            argv: Vec::new(),
            env: Vec::new(),
            dir: String::new(),
            uid,
            gid,
            groups: Vec::new(),
            stop_signal: spec.stop_signal.unwrap_or(Signal::TERM).number(),
            stop_grace_ms: spec.stop_grace_ms.unwrap_or(STOP_GRACE_MS_DEFAULT),
            logs: spec.logs,
            secrets: assignment.secrets.iter().map(|file| file.secret.into()).collect(),
            mount_bytes_max: 0,
            mount_inodes_max: 0,
            core_soft: node.core_limit.soft,
            core_hard: node.core_limit.hard,
            hide: Vec::new(),
            container: Some(Container {
                socket: text(&place.socket).ok_or_else(not_text)?,
                name,
                image: spec.image.clone(),
                body: body.to_string(),
                place: at,
                has_secrets: !(assignment.secrets.is_empty() && spec.configs.is_empty()),
                has_terminal: declared.has_terminal(),
                has_stop_signal: spec.stop_signal.is_some(),
                networks: made_networks(&spec.networks),
            }),
        })
    }

    fn files(&self, files: Vec<ResolvedReference>) -> Result<Vec<ResolvedReference>, Refused> {
        let placed = files.into_iter().enumerate().map(|(position, mut file)| {
            file.target = place_of(&file.target, position)
                .parse()
                .map_err(|error: proto::name::NameError| Refused(error.to_string()))?;
            Ok(file)
        });
        placed.collect()
    }

    fn config_place(&self, file: &ConfigReference, position: usize) -> Result<String, Refused> {
        Ok(place_of_config(&file.path(), position))
    }
}

/// Where in the secrets filesystem a config's file is.
fn place_of_config(path: &str, position: usize) -> String {
    match path.strip_prefix(SECRETS_FOLDER).and_then(|rest| rest.strip_prefix('/')) {
        Some(name) => format!("{RELATIVE}/{name}"),
        None => format!("{CONFIGS}/{position}"),
    }
}

/// Relative to `/run/secrets`, if it is in there.
fn below_secrets(target: &Target) -> Option<&str> {
    let text = target.as_str();
    if !target.is_absolute() {
        return Some(text);
    }
    text.strip_prefix(SECRETS_FOLDER)?.strip_prefix('/')
}

/// Where in the secrets filesystem a file is.
fn place_of(target: &Target, position: usize) -> String {
    match below_secrets(target) {
        Some(name) => format!("{RELATIVE}/{name}"),
        None => format!("{ABSOLUTE}/{position}"),
    }
}

/// Two names of one place would be one file.
fn check_places(assignment: &Assignment) -> Result<(), Refused> {
    let mut places = BTreeMap::new();
    for file in &assignment.secrets {
        let Some(place) = below_secrets(&file.target) else { continue };
        if let Some(first) = places.insert(place, file) {
            return Err(Refused(format!(
                "secret `{}` as `{}` and secret `{}` as `{}` would be one file",
                first.secret_name,
                first.target.as_str(),
                file.secret_name,
                file.target.as_str()
            )));
        }
    }
    Ok(())
}

/// `NAME.SLOT.TASK`, or the node for a task of a global service.
fn name(assignment: &Assignment, node_id: NodeId) -> String {
    let Assignment { service_name, slot, task_id, .. } = assignment;
    match slot {
        0 => format!("{service_name}.{node_id}.{task_id}"),
        slot => format!("{service_name}.{slot}.{task_id}"),
    }
}

fn numbers(user: &str) -> (u32, u32) {
    let (user, group) = user.split_once(':').unwrap_or((user, ""));
    (user.parse().unwrap_or(0), group.parse().unwrap_or(0))
}

/// What an engine has by itself.
const ENGINES_OWN: &[&str] = &["bridge", "default", "host", "none"];

fn made_networks(declared: &[String]) -> Vec<String> {
    declared.iter().filter(|name| !ENGINES_OWN.contains(&name.as_str())).cloned().collect()
}

/// What is bound where: the folder of secrets, and each file that goes elsewhere, configs too.
fn secrets(assignment: &Assignment, at: &str) -> Vec<Value> {
    let bound = |from: String, to: &str| {
        json!({
            "Type": "bind", "Source": format!("{at}/{FILES}/{from}"), "Target": to, "ReadOnly": true,
            "BindOptions": { "Propagation": "private", "NonRecursive": true },
        })
    };
    let targets = || assignment.secrets.iter().map(|file| &file.target).enumerate();
    let configs = assignment.spec.configs.iter().map(ConfigReference::path).enumerate();
    let configs = configs.map(|(at, path)| (place_of_config(&path, at), path));
    let (within, outside): (Vec<_>, Vec<_>) =
        configs.partition(|(place, _)| !place.starts_with(CONFIGS));
    let mut mounts = Vec::new();
    if !within.is_empty() || targets().any(|(_, target)| below_secrets(target).is_some()) {
        mounts.push(bound(RELATIVE.into(), SECRETS_FOLDER));
    }
    let elsewhere = targets().filter(|(_, target)| below_secrets(target).is_none());
    mounts.extend(elsewhere.map(|(at, target)| bound(place_of(target, at), target.as_str())));
    mounts.extend(outside.into_iter().map(|(place, path)| bound(place, &path)));
    mounts
}

/// What the engine is told.
fn body(
    assignment: &Assignment,
    declared: &Declared,
    name: &str,
    node_id: NodeId,
    at: &str,
) -> Result<Value, Refused> {
    let spec = &assignment.spec;
    let mut labels = declared.labels().clone();
    let mut label = |key: &str, value: String| labels.insert(key.to_owned(), value.into());
    label("com.docker.swarm.node.id", node_id.to_string());
    label("com.docker.swarm.service.id", assignment.service_id.to_string());
    label("com.docker.swarm.service.name", assignment.service_name.to_string());
    label("com.docker.swarm.task", String::new());
    label(TASK_LABEL, assignment.task_id.to_string());
    label("com.docker.swarm.task.name", name.to_owned());
    label(NODE_LABEL, node_id.to_string());

    let mut mounts = declared.mounts()?;
    mounts.extend(secrets(assignment, at));
    let mut host = Map::new();
    host.insert("Mounts".into(), mounts.into());
    // Output is kept once, where the service's logs are read from, and on no disk.
    host.insert("LogConfig".into(), json!({ "Type": "none" }));
    host.insert("RestartPolicy".into(), json!({ "Name": "no" }));
    if spec.resources.reserved_memory_bytes > 0 {
        host.insert("MemoryReservation".into(), spec.resources.reserved_memory_bytes.into());
    }
    let mut body = Map::new();
    body.insert("Image".into(), spec.image.clone().into());
    body.insert("Labels".into(), labels.into());
    let mut given = |key: &str, value: Value, is_given: bool| {
        if is_given {
            body.insert(key.to_owned(), value);
        }
    };
    given("Entrypoint", json!(spec.command), !spec.command.is_empty());
    given("Cmd", json!(spec.args), !spec.args.is_empty());
    given("Env", json!(spec.env), !spec.env.is_empty());
    given("WorkingDir", json!(spec.dir), !spec.dir.is_empty());
    given("User", json!(spec.user), !spec.user.is_empty());
    declared.fill(&mut body, &mut host)?;
    networks(assignment, declared, &mut body, &mut host);
    body.insert("HostConfig".into(), host.into());
    Ok(body.into())
}

/// The container joins its networks under its service's name and the names declared for it. The first
/// is named twice: older engines take one network with a container, and others fail with more.
fn networks(
    assignment: &Assignment,
    declared: &Declared,
    body: &mut Map<String, Value>,
    host: &mut Map<String, Value>,
) {
    let Some(first) = assignment.spec.networks.first() else { return };
    host.insert("NetworkMode".into(), first.clone().into());
    let made = made_networks(&assignment.spec.networks);
    if made.is_empty() {
        return;
    }
    let endpoint = |network: &String| {
        let mut aliases = declared.aliases(&assignment.spec.networks, network);
        aliases.push(assignment.service_name.to_string());
        (network.clone(), json!({ "Aliases": aliases }))
    };
    let endpoints: Map<String, Value> = made.iter().map(endpoint).collect();
    body.insert("NetworkingConfig".into(), json!({ "EndpointsConfig": endpoints }));
}

#[cfg(test)]
mod tests;
