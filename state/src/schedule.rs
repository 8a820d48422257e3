//! Scheduling: which node a task goes to, and why none will do.
//!
//! A pipeline of filters, each of which can explain itself, then spread: the node with the fewest
//! tasks of the service, then the fewest at all, then the lowest id. Only what is admitted or
//! declared counts (id, role, labels, hostname, availability): nothing that an agent reports after
//! its admission can widen what it is eligible for.

use std::collections::BTreeMap;

use proto::id::{NodeId, ServiceId};
use proto::spec::{Comparison, Constraint, Placement, RuntimeKind};

use crate::object::{Availability, Node, NodeState, Task};
use crate::state::State;

/// Why a node does not take a task: the first filter that refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Objection {
    NoAgent,
    NotReady,
    Paused,
    Draining,
    Runtime(RuntimeName),
    Constraint(String),
    Full(u64),
}

/// Ordered by name, so that explanations are stable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct RuntimeName(&'static str);

impl Objection {
    /// One clause of the explanation, for so many nodes.
    fn explain(&self, nodes: usize) -> String {
        let (s, is, has, lacks) =
            if nodes == 1 { ("", "is", "has", "lacks") } else { ("s", "are", "have", "lack") };
        match self {
            Self::NoAgent => format!("{nodes} node{s} {has} no agent"),
            Self::NotReady => format!("{nodes} node{s} {is} not ready"),
            Self::Paused => format!("{nodes} node{s} {is} paused"),
            Self::Draining => format!("{nodes} node{s} {is} draining"),
            Self::Runtime(name) => format!("{nodes} node{s} {has} no {} runtime", name.0),
            Self::Constraint(text) => match text.strip_prefix("label ") {
                Some(label) => format!("{nodes} node{s} {lacks} label {label}"),
                None => format!("{nodes} node{s} {is} not {text}"),
            },
            Self::Full(limit) => {
                format!("{nodes} node{s} {has} the most replicas allowed ({limit})")
            }
        }
    }
}

/// Tasks on each node, as far as a plan has got.
#[derive(Default)]
pub(crate) struct Load {
    total: BTreeMap<NodeId, u64>,
    of_service: BTreeMap<(ServiceId, NodeId), u64>,
}

impl Load {
    /// Counts the tasks that run or will.
    pub(crate) fn of(state: &State) -> Self {
        let mut load = Self::default();
        for task in state.tasks.values() {
            if let Some(node) = task.node_id
                && task.is_live()
                && task.is_wanted()
            {
                load.add(task, node);
            }
        }
        load
    }

    pub(crate) fn add(&mut self, task: &Task, node: NodeId) {
        *self.total.entry(node).or_default() += 1;
        *self.of_service.entry((task.service_id, node)).or_default() += 1;
    }

    fn of_service(&self, service: ServiceId, node: NodeId) -> u64 {
        self.of_service.get(&(service, node)).copied().unwrap_or(0)
    }

    fn total(&self, node: NodeId) -> u64 {
        self.total.get(&node).copied().unwrap_or(0)
    }
}

/// What a node's record says under a constraint's key; none for a label it lacks or an unknown key.
fn value_of(key: &str, id: NodeId, node: &Node) -> Option<String> {
    match key {
        "node.id" => Some(id.to_string()),
        "node.hostname" => Some(node.hostname.to_string()),
        "node.role" => Some(if node.member.is_some() { "manager" } else { "worker" }.into()),
        _ => node.labels.value(key.strip_prefix("node.labels.")?).map(str::to_owned),
    }
}

fn describe(constraint: &Constraint) -> String {
    let value = constraint.value();
    match (constraint.key().strip_prefix("node.labels."), constraint.comparison()) {
        (Some(label), Comparison::Equal) => format!("label {label}={value}"),
        _ => constraint.to_string(),
    }
}

/// The first constraint that a node does not satisfy.
fn unmet<'a>(placement: &'a Placement, id: NodeId, node: &Node) -> Option<&'a Constraint> {
    let mut constraints = placement.constraints.iter();
    constraints
        .find(|constraint| !constraint.accepts(value_of(constraint.key(), id, node).as_deref()))
}

/// Whether a node satisfies every constraint.
pub(crate) fn meets(placement: &Placement, id: NodeId, node: &Node) -> bool {
    unmet(placement, id, node).is_none()
}

/// The filters, in order.
fn objection(task: &Task, id: NodeId, node: &Node, of_service: u64) -> Option<Objection> {
    if !node.has_agent {
        return Some(Objection::NoAgent);
    }
    if node.state != NodeState::Ready {
        return Some(Objection::NotReady);
    }
    match node.availability {
        Availability::Active => {}
        Availability::Pause => return Some(Objection::Paused),
        Availability::Drain => return Some(Objection::Draining),
    }
    if task.spec.runtime != RuntimeKind::Process {
        return Some(Objection::Runtime(RuntimeName(task.spec.runtime.as_str())));
    }
    let placement = &task.spec.placement;
    if let Some(constraint) = unmet(placement, id, node) {
        return Some(Objection::Constraint(describe(constraint)));
    }
    let limit = placement.replicas_per_node_max;
    (limit > 0 && of_service >= limit).then_some(Objection::Full(limit))
}

/// Whether the scheduler could choose this node for this task, by the state alone.
pub(crate) fn fits(state: &State, task: &Task, id: NodeId, node: &Node) -> bool {
    if task.for_node.is_some_and(|wanted| wanted != id) {
        return false;
    }
    let others = state.tasks_of_node(id).filter(|(_, other)| {
        other.service_id == task.service_id && other.is_live() && other.is_wanted()
    });
    objection(task, id, node, others.count() as u64).is_none()
}

/// The node for a task, or why there is none.
pub(crate) fn place(state: &State, task: &Task, load: &Load) -> Result<NodeId, String> {
    let mut objections: BTreeMap<Objection, usize> = BTreeMap::new();
    let mut best: Option<(u64, u64, NodeId)> = None;
    let for_this = |id: &NodeId| task.for_node.is_none_or(|wanted| wanted == *id);
    for (id, node) in state.nodes().iter().filter(|(id, _)| for_this(id)) {
        let of_service = load.of_service(task.service_id, *id);
        if let Some(objection) = objection(task, *id, node, of_service) {
            *objections.entry(objection).or_default() += 1;
        } else {
            let candidate = (of_service, load.total(*id), *id);
            best = Some(best.map_or(candidate, |best| best.min(candidate)));
        }
    }
    if let Some((_, _, id)) = best {
        return Ok(id);
    }
    if objections.is_empty() {
        return Err("no suitable node: the cluster has no nodes".into());
    }
    let clauses = objections.iter().map(|(objection, nodes)| objection.explain(*nodes));
    Err(format!("no suitable node: {}", clauses.collect::<Vec<_>>().join(", ")))
}
