//! Planning: what the leader proposes so that what runs becomes what is declared.
//!
//! Pure: state, time and a supply of fresh ids go in, steps come out. Each step names the
//! revisions it was computed from, so a plan that is late does no harm. No timer lives only in
//! memory: a delayed restart is a task with `not_before`, an update's delays and watches follow from
//! when its tasks ran, and a new leader plans on from the state.
//!
//! `place` tends one replica, or one node of a global service; `rollout` says how many of them an
//! update may touch at a time, and what becomes of it.
//!
//! Invariant: planning again after all steps took effect yields no steps (a fixpoint), but for
//! what waits for time or for agents.

mod place;
mod rollout;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::id::{NodeId, Revision, ServiceId, TaskId, Timestamp};
use proto::limits::{STEPS_MAX, TASKS_MAX};
use proto::spec::Mode;
use proto::task::{DesiredState, TaskState};

use self::place::Look;
use self::rollout::Rollout;
use crate::command::Step;
use crate::object::{Availability, Node, NodeState, Place, Service, Task};
use crate::schedule::{self, Load};
use crate::state::State;

/// What to propose, and when to look again though nothing changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to propose.
    pub steps: Vec<Step>,
    /// The next moment at which time alone makes a difference.
    pub wake_at: Option<Timestamp>,
    /// Whether there is more than fits one command.
    pub more: bool,
    /// Tasks that are not made because the cluster has as many as it may.
    pub no_room_for: u64,
}

/// Which services to plan for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All, and whatever is left of services that are gone.
    Everything,
    /// These; their ids may be of services that are gone.
    Services(BTreeSet<ServiceId>),
}

/// How long tasks for which there is no room wait until somebody looks again, in milliseconds: what
/// makes room is a change of any service.
const NO_ROOM_MS: u64 = 10_000;

struct Planner<'a> {
    state: &'a State,
    now: Timestamp,
    ids: &'a mut dyn FnMut() -> TaskId,
    load: Load,
    /// Why no node takes a task of this declaration, for this node of a global service; until the next
    /// task is placed.
    refused: BTreeMap<(ServiceId, Revision, Option<NodeId>), String>,
    /// How many tasks may yet be made.
    room: usize,
    plan: Plan,
}

/// Plans orchestration and placement.
pub fn plan(state: &State, now: Timestamp, scope: &Scope, ids: &mut dyn FnMut() -> TaskId) -> Plan {
    plan_within(TASKS_MAX, state, now, scope, ids)
}

/// Plans for a cluster of so many tasks.
fn plan_within(
    tasks_max: usize,
    state: &State,
    now: Timestamp,
    scope: &Scope,
    ids: &mut dyn FnMut() -> TaskId,
) -> Plan {
    let now = now.max(state.now());
    let load = Load::of(state);
    let room = tasks_max.saturating_sub(state.tasks.len());
    let refused = BTreeMap::new();
    let mut planner = Planner { state, now, ids, load, refused, room, plan: Plan::default() };
    match scope {
        Scope::Everything => {
            let known = state.services.keys();
            let with_tasks = state.tasks_by_service.keys();
            let all: BTreeSet<_> = known.chain(with_tasks).copied().collect();
            planner.services(&all);
        }
        Scope::Services(services) => planner.services(services),
    }
    planner.plan
}

/// Whether a global service has a task on this node: it may run one, and the constraints hold.
fn belongs_on(service: &Service, id: NodeId, node: &Node) -> bool {
    node.has_agent
        && node.state != NodeState::Down
        && node.availability != Availability::Drain
        && schedule::meets(&service.spec.task.placement, id, node)
}

/// Whether a node keeps the task that a global service has there, and gets none: it is paused, or has
/// nothing to run an image with.
fn gets_none(service: &Service, node: &Node) -> bool {
    node.availability == Availability::Pause
        || !schedule::has_runtime(node, service.spec.task.runtime)
}

/// How many tasks of what is declared a service is to have: its replicas, or the nodes that a global
/// one belongs on. A node that gets none counts if it has one.
pub fn places_wanted(state: &State, id: ServiceId, service: &Service) -> u64 {
    if let Mode::Replicated(replicas) = service.spec.mode {
        return replicas;
    }
    let tasks = state.tasks_of_service(id).filter(|(_, task)| {
        task.is_live() && task.is_wanted() && task.spec_revision == service.spec_revision
    });
    let has: BTreeSet<_> = tasks.filter_map(|(_, task)| task.for_node).collect();
    let nodes = state.nodes.iter().filter(|(id, node)| {
        belongs_on(service, **id, node) && (!gets_none(service, node) || has.contains(id))
    });
    nodes.count() as u64
}

impl<'a> Planner<'a> {
    fn services(&mut self, ids: &BTreeSet<ServiceId>) {
        for id in ids {
            if self.is_full() {
                return;
            }
            match self.state.services.get(id) {
                Some(service) => self.service(*id, &service.clone()),
                None => self.leftovers(*id),
            }
        }
    }

    /// Whether the command is full; the rest is planned next.
    fn is_full(&mut self) -> bool {
        self.plan.more |= self.plan.steps.len() >= STEPS_MAX;
        self.plan.more
    }

    /// The only way into the plan: one place alone may need more steps than there is room for.
    fn push(&mut self, step: Step) {
        if !self.is_full() {
            self.plan.steps.push(step);
        }
    }

    fn wake_at(&mut self, at: Timestamp) {
        self.plan.wake_at = Some(self.plan.wake_at.map_or(at, |known| known.min(at)));
    }

    /// Tasks of a service that is gone.
    fn leftovers(&mut self, id: ServiceId) {
        let tasks: Vec<_> = self.state.tasks_of_service(id).collect();
        for (id, task) in tasks {
            if self.is_full() {
                return;
            }
            self.let_go(id, task);
        }
    }

    fn service(&mut self, id: ServiceId, service: &Service) {
        let mut by_place: BTreeMap<Place, Vec<(TaskId, &'a Arc<Task>)>> = BTreeMap::new();
        for (task_id, task) in self.state.tasks_of_service(id) {
            by_place.entry(task.place()).or_default().push((task_id, task));
        }
        let looks: Vec<_> = self
            .places(service)
            .into_iter()
            .map(|(place, held)| {
                let tasks = by_place.remove(&place).unwrap_or_default();
                (place, Look::at(self.state, service, tasks, held))
            })
            .collect();
        if let Some(step) = rollout::verdict(self.state, id, service) {
            self.push(step);
            return;
        }
        let mut rollout = Rollout::of(service, looks.iter().map(|(_, look)| look), self.now);
        for (place, look) in &looks {
            if self.is_full() {
                return;
            }
            self.tend(id, service, *place, look, &mut rollout);
        }
        if let Some(at) = rollout.next_free.filter(|_| rollout.waiting) {
            self.wake_at(at);
        }
        self.complete(id, service, &rollout);
        for (place, tasks) in by_place {
            let known = place.node.is_some_and(|node| self.state.nodes.contains_key(&node));
            for (task_id, task) in tasks {
                if self.is_full() {
                    return;
                }
                if known && service.spec.mode == Mode::Global {
                    self.stand_down(task_id, task);
                } else {
                    self.let_go(task_id, task);
                }
            }
        }
    }

    /// Where the service has a task, and whether what is there is only kept.
    fn places(&self, service: &Service) -> Vec<(Place, bool)> {
        match service.spec.mode {
            Mode::Replicated(replicas) => {
                (1..=replicas).map(|slot| (Place { slot, node: None }, false)).collect()
            }
            Mode::Global => {
                let nodes = self.state.nodes.iter();
                let nodes = nodes.filter(|(id, node)| belongs_on(service, **id, node));
                let place = |id: &NodeId| Place { slot: 0, node: Some(*id) };
                nodes.map(|(id, node)| (place(id), gets_none(service, node))).collect()
            }
        }
    }

    /// An update that has reached every place, and whose last tasks were watched long enough.
    fn complete(&mut self, id: ServiceId, service: &Service, rollout: &Rollout) {
        let Some(update) = service.active_update() else { return };
        if rollout.waiting || rollout.in_flight {
            return;
        }
        let monitor_ms = service.rollout_config().monitor_ms;
        if let Some(at) = rollout.last_up.map(|at| at.after_ms(monitor_ms))
            && at > self.now
        {
            return self.wake_at(at);
        }
        let to = update.state.completed();
        let message = if to.is_rollback() { "rollback completed" } else { "update completed" };
        self.push(Step::MoveUpdate {
            service_id: id,
            began: update.began,
            from: update.state,
            to,
            message: message.into(),
        });
    }

    fn stop(&mut self, id: TaskId, task: &Task) {
        let desired = DesiredState::Shutdown;
        if task.desired < desired {
            self.push(Step::SetDesired { id, revision: task.revision, desired });
        }
    }

    /// A task of a global service on a node where it does not belong now: stopped, kept as history.
    fn stand_down(&mut self, id: TaskId, task: &Task) {
        if task.desired == DesiredState::Remove {
            self.let_go(id, task);
        } else if task.is_live() {
            self.stop(id, task);
            self.give_up_if_lost(id, task);
        }
    }

    /// A task that nothing declares any more: stopped if it may run, forgotten once it does not.
    fn let_go(&mut self, id: TaskId, task: &Task) {
        let never_ran = task.node_id.is_none();
        if task.status.state.is_terminal() || never_ran {
            self.push(Step::RemoveTask { id, revision: task.revision });
        } else if task.desired < DesiredState::Remove {
            let desired = DesiredState::Remove;
            self.push(Step::SetDesired { id, revision: task.revision, desired });
        } else {
            self.give_up_if_lost(id, task);
        }
    }

    /// A task on its way down whose node is gone for good will never say so.
    fn give_up_if_lost(&mut self, id: TaskId, task: &Task) {
        let gone = match task.node_id {
            None => true,
            Some(node) => !self.state.nodes.contains_key(&node),
        };
        if gone && task.desired > DesiredState::Running {
            self.push(Step::OrphanTask {
                id,
                revision: task.revision,
                message: "stopped before it had a node".into(),
            });
        }
    }

    fn assign(&mut self, id: TaskId, task: &Task) {
        if task.node_id.is_some() {
            return;
        }
        if task.not_before > self.now {
            return self.wake_at(task.not_before);
        }
        // Tasks of one declaration are alike: what was found of one is true of the next.
        let alike = (task.service_id, task.spec_revision, task.for_node);
        let found = match self.refused.get(&alike) {
            Some(message) => Err(message.clone()),
            None => schedule::place(self.state, task, &self.load),
        };
        match found {
            Ok(node_id) => {
                self.refused.clear();
                self.load.add(task, node_id);
                let node_revision = self.state.nodes.get(&node_id).map(|node| node.revision);
                self.push(Step::AssignTask {
                    id,
                    revision: task.revision,
                    node_id,
                    node_revision: node_revision.unwrap_or_default(),
                });
            }
            Err(message) => {
                self.refused.entry(alike).or_insert_with(|| message.clone());
                let told =
                    task.status.state == TaskState::Pending && task.status.message == message;
                if !told {
                    let revision = task.revision;
                    self.push(Step::ExplainPending { id, revision, message });
                }
            }
        }
    }
}
