//! Assignments: what each node may have, now.
//!
//! The one property above all: a node is never assigned what none of its tasks needs. The
//! dispatcher asks [`entitled`] at every unwrap, and [`entitled_to_config`] for every config, against
//! applied state, not when a session opens.

use std::collections::BTreeSet;
use std::sync::Arc;

use proto::id::{ConfigId, NodeId, SecretId, TaskId, Version};
use proto::task::DesiredState;

use crate::object::{Config, SecretVersion, Task, VersionState};
use crate::state::State;

/// What one node may have.
#[derive(Default)]
pub struct Assignments {
    /// Tasks it should run or stop, in order of their ids.
    pub tasks: Vec<(TaskId, Arc<Task>)>,
    /// Values its running tasks need.
    pub secrets: BTreeSet<(SecretId, Version)>,
    /// Configs they need.
    pub configs: BTreeSet<ConfigId>,
}

/// Works out what a node may have.
pub fn assignments(state: &State, node: NodeId) -> Assignments {
    let mut assigned = Assignments::default();
    // A node that was evicted has nothing, whatever its tasks' records still say.
    if !state.nodes.get(&node).is_some_and(|node| node.has_agent) {
        return assigned;
    }
    for (id, task) in state.tasks_of_node(node) {
        if task.status.state.is_terminal() {
            continue;
        }
        if needs_files(task) {
            assigned.configs.extend(task.spec.configs.iter().map(|config| config.config_id));
            assigned.secrets.extend(task.secrets.iter().map(|s| (s.secret_id, s.version)));
        }
        assigned.tasks.push((id, task.clone()));
    }
    assigned
}

fn needs_files(task: &Task) -> bool {
    task.is_live() && task.desired <= DesiredState::Running
}

/// The value, if this node may have it for this task at this moment.
pub fn entitled(
    state: &State,
    node: NodeId,
    task: TaskId,
    secret: SecretId,
    version: Version,
) -> Option<&SecretVersion> {
    state.nodes.get(&node).filter(|node| node.has_agent)?;
    let task = state.tasks.get(&task)?;
    let for_this_node = task.node_id == Some(node) && needs_files(task);
    let refers = task.secrets.iter().any(|s| s.secret_id == secret && s.version == version);
    if !for_this_node || !refers {
        return None;
    }
    let value = state.secrets.get(&secret)?.versions.get(&version)?;
    (value.state == VersionState::Live).then_some(value)
}

/// The config, if this node may have it for this task at this moment. It is no secret, but no node is
/// told what is not its business.
pub fn entitled_to_config(
    state: &State,
    node: NodeId,
    task: TaskId,
    config: ConfigId,
) -> Option<&Arc<Config>> {
    state.nodes.get(&node).filter(|node| node.has_agent)?;
    let task = state.tasks.get(&task)?;
    let for_this_node = task.node_id == Some(node) && needs_files(task);
    let refers = task.spec.configs.iter().any(|reference| reference.config_id == config);
    if for_this_node && refers { state.configs.get(&config) } else { None }
}
