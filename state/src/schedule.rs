//! Scheduling: which node a task goes to, and why none will do.
//!
//! A pipeline of filters, each of which can explain itself in Swarm's words, then spread: over the
//! preferred labels, then the node with the fewest tasks of the service, then the fewest at all, then
//! the lowest id. Only what is admitted or declared counts (id, role, labels, hostname, availability,
//! the machine as it was admitted), with one exception: whether there is a container engine comes and
//! goes. An agent that lies about it gets the tasks of containers that constraints let it have, as it
//! would with an engine.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use proto::id::{NodeId, ServiceId};
use proto::limits::STATUS_MESSAGE_BYTES_MAX;
use proto::spec::{Constraint, Placement, Resources, RuntimeKind};

use crate::apply::truncate;
use crate::object::{Availability, Node, NodeState, Task};
use crate::state::State;

/// Why a node does not take a task: the first filter that refused, in the filters' order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Objection {
    Unavailable(&'static str),
    Resources,
    Runtime(&'static str),
    Constraint(String),
    Full,
}

impl Objection {
    /// The filter's own words, for so many nodes.
    fn filter(&self, nodes: usize) -> String {
        let s = if nodes == 1 { "" } else { "s" };
        match self {
            Self::Unavailable(_) => format!("{nodes} node{s} not available for new tasks"),
            Self::Resources => format!("insufficient resources on {nodes} node{s}"),
            Self::Runtime(name) => format!("no {name} runtime on {nodes} node{s}"),
            Self::Constraint(_) => {
                format!("scheduling constraints not satisfied on {nodes} node{s}")
            }
            Self::Full => format!("max replicas per node limit exceed on {nodes} node{s}"),
        }
    }

    /// What is particular to some of the nodes.
    const fn detail(&self) -> Option<&str> {
        match self {
            Self::Unavailable(detail) => Some(detail),
            Self::Constraint(constraint) => Some(constraint.as_str()),
            Self::Resources | Self::Runtime(_) | Self::Full => None,
        }
    }
}

/// Tasks on each node, as far as a plan has got.
#[derive(Default)]
pub(crate) struct Load {
    total: BTreeMap<NodeId, u64>,
    of_service: BTreeMap<(ServiceId, NodeId), u64>,
    reserved: BTreeMap<NodeId, Resources>,
}

impl Load {
    /// Counts the tasks that run or will; what they reserve is theirs until they are over.
    pub(crate) fn of(state: &State) -> Self {
        let mut load = Self::default();
        for task in state.tasks.values().filter(|task| task.is_live()) {
            let Some(node) = task.node_id else { continue };
            if task.is_wanted() {
                load.add(task, node);
            } else {
                load.reserve(task, node);
            }
        }
        load
    }

    pub(crate) fn add(&mut self, task: &Task, node: NodeId) {
        *self.total.entry(node).or_default() += 1;
        *self.of_service.entry((task.service_id, node)).or_default() += 1;
        self.reserve(task, node);
    }

    fn reserve(&mut self, task: &Task, node: NodeId) {
        add_reserved(self.reserved.entry(node).or_default(), &task.spec.resources);
    }

    fn of_service(&self, service: ServiceId, node: NodeId) -> u64 {
        self.of_service.get(&(service, node)).copied().unwrap_or(0)
    }

    fn total(&self, node: NodeId) -> u64 {
        self.total.get(&node).copied().unwrap_or(0)
    }

    /// What counts on one node for a task.
    fn on(&self, service: ServiceId, node: NodeId) -> OnNode {
        let reserved = self.reserved.get(&node).copied().unwrap_or_default();
        OnNode { of_service: self.of_service(service, node), reserved }
    }
}

fn add_reserved(sum: &mut Resources, resources: &Resources) {
    sum.reserved_nano_cpus = sum.reserved_nano_cpus.saturating_add(resources.reserved_nano_cpus);
    sum.reserved_memory_bytes =
        sum.reserved_memory_bytes.saturating_add(resources.reserved_memory_bytes);
}

/// What is on a node already.
#[derive(Default)]
struct OnNode {
    /// Tasks of the service.
    of_service: u64,
    /// What all tasks reserve.
    reserved: Resources,
}

/// What a node's record says under a constraint's key; none for a label it lacks or an unknown key.
fn value_of(key: &str, id: NodeId, node: &Node) -> Option<String> {
    let machine = node.machine.as_ref();
    match key {
        "node.id" => Some(id.to_string()),
        "node.hostname" => Some(node.hostname.to_string()),
        "node.role" => Some(if node.member.is_some() { "manager" } else { "worker" }.into()),
        "node.platform.os" => machine.map(|machine| machine.os.clone()),
        "node.platform.arch" => machine.map(|machine| machine.architecture.clone()),
        _ => label_of(key, node).map(str::to_owned),
    }
}

fn label_of<'a>(key: &str, node: &'a Node) -> Option<&'a str> {
    node.labels.value(key.strip_prefix("node.labels.")?)
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

/// Whether a node has what a task needs beside what is reserved on it. A node of which nobody knows
/// what it has takes only tasks that need nothing.
fn has_room(node: &Node, needed: &Resources, reserved: &Resources) -> bool {
    if *needed == Resources::default() {
        return true;
    }
    let mut sum = *reserved;
    add_reserved(&mut sum, needed);
    node.machine.as_ref().is_some_and(|machine| {
        sum.reserved_nano_cpus <= machine.nano_cpus
            && sum.reserved_memory_bytes <= machine.memory_bytes
    })
}

/// The filters, in order.
/// Whether tasks of a runtime can be run on a node.
pub(crate) fn has_runtime(node: &Node, runtime: RuntimeKind) -> bool {
    match runtime {
        RuntimeKind::Process => true,
        RuntimeKind::Docker => node.report.has_engine == Some(true),
    }
}

fn objection(task: &Task, id: NodeId, node: &Node, on_node: &OnNode) -> Option<Objection> {
    let unavailable = match (node.has_agent, node.state, node.availability) {
        (false, _, _) => Some("without an agent"),
        (_, NodeState::Unknown, _) => Some("not seen yet"),
        (_, NodeState::Down, _) => Some("down"),
        (_, _, Availability::Pause) => Some("paused"),
        (_, _, Availability::Drain) => Some("draining"),
        (true, NodeState::Ready, Availability::Active) => None,
    };
    if let Some(why) = unavailable {
        return Some(Objection::Unavailable(why));
    }
    if !has_room(node, &task.spec.resources, &on_node.reserved) {
        return Some(Objection::Resources);
    }
    if !has_runtime(node, task.spec.runtime) {
        return Some(Objection::Runtime(task.spec.runtime.as_str()));
    }
    let placement = &task.spec.placement;
    if let Some(constraint) = unmet(placement, id, node) {
        return Some(Objection::Constraint(constraint.to_string()));
    }
    let limit = placement.replicas_per_node_max;
    (limit > 0 && on_node.of_service >= limit).then_some(Objection::Full)
}

/// Whether the scheduler could choose this node for this task, by the state alone.
pub(crate) fn fits(state: &State, task: &Task, id: NodeId, node: &Node) -> bool {
    if task.for_node.is_some_and(|wanted| wanted != id) {
        return false;
    }
    let mut on_node = OnNode::default();
    for (_, other) in state.tasks_of_node(id).filter(|(_, other)| other.is_live()) {
        let counts = other.service_id == task.service_id && other.is_wanted();
        on_node.of_service += u64::from(counts);
        add_reserved(&mut on_node.reserved, &other.spec.resources);
    }
    objection(task, id, node, &on_node).is_none()
}

/// The node for a task, or why there is none.
pub(crate) fn place(state: &State, task: &Task, load: &Load) -> Result<NodeId, String> {
    let mut objections: BTreeMap<Objection, usize> = BTreeMap::new();
    let mut fitting = Vec::new();
    let for_this = |id: &NodeId| task.for_node.is_none_or(|wanted| wanted == *id);
    for (id, node) in state.nodes().iter().filter(|(id, _)| for_this(id)) {
        match objection(task, *id, node, &load.on(task.service_id, *id)) {
            Some(objection) => *objections.entry(objection).or_default() += 1,
            None => fitting.push((*id, &**node)),
        }
    }
    let rank = |id: NodeId| (load.of_service(task.service_id, id), load.total(id), id);
    let mut all: Vec<_> = state.nodes().iter().map(|(id, node)| (*id, &**node)).collect();
    for preference in &task.spec.placement.spread_over {
        // The value with the fewest tasks of the service on all of its nodes, full ones included;
        // those that lack the label are a value of their own (Swarm's rule).
        let value = |node: &Node| label_of(preference, node).unwrap_or_default().to_owned();
        let mut tasks: BTreeMap<String, u64> = BTreeMap::new();
        for (id, node) in &all {
            *tasks.entry(value(node)).or_default() += load.of_service(task.service_id, *id);
        }
        let count = |node: &Node| tasks.get(&value(node)).copied().unwrap_or(0);
        let best = fitting.iter().min_by_key(|(id, node)| (count(node), rank(*id)));
        let Some(best) = best.map(|(_, node)| value(node)) else { break };
        fitting.retain(|(_, node)| value(node) == best);
        all.retain(|(_, node)| value(node) == best);
    }
    let best = fitting.into_iter().map(|(id, _)| id).min_by_key(|id| rank(*id));
    best.ok_or_else(|| explain(&objections))
}

/// Why no node takes the task: each filter in Swarm's words, then what is particular. Cut here and
/// not where it is kept: a plan is full of these, and compares them with what was told.
fn explain(objections: &BTreeMap<Objection, usize>) -> String {
    if objections.is_empty() {
        return "no suitable node (the cluster has none)".into();
    }
    let all: Vec<_> = objections.iter().collect();
    let filters = all.chunk_by(|(one, _), (other, _)| {
        std::mem::discriminant(*one) == std::mem::discriminant(*other)
    });
    let clauses = filters.filter_map(|filter| {
        let nodes = filter.iter().map(|(_, nodes)| **nodes).sum();
        let mut clause = filter.first()?.0.filter(nodes);
        for (position, (objection, nodes)) in filter.iter().enumerate() {
            let Some(detail) = objection.detail() else { continue };
            clause.push_str(if position == 0 { ": " } else { ", " });
            if filter.len() > 1 {
                write!(clause, "{nodes} ").ok();
            }
            clause.push_str(detail);
        }
        Some(clause)
    });
    let mut message = format!("no suitable node ({})", clauses.collect::<Vec<_>>().join("; "));
    truncate(&mut message, STATUS_MESSAGE_BYTES_MAX);
    message
}
