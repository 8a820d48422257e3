//! Planning: what the leader proposes so that what runs becomes what is declared.
//!
//! Pure: state, time and a supply of fresh ids go in, steps come out. Each step names the
//! revisions it was computed from, so a plan that is late does no harm. No timer lives only in
//! memory: a delayed restart is a task with `not_before`, and a new leader plans from the state.
//!
//! Invariant: planning again after all steps took effect yields no steps (a fixpoint), but for
//! what waits for time or for agents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::id::{NodeId, ServiceId, TaskId, Timestamp};
use proto::limits::HISTORY_MAX;
use proto::spec::{Mode, RestartCondition, RestartPolicy};
use proto::task::{DesiredState, TaskState};

use crate::command::Step;
use crate::object::{Availability, NodeState, Service, Task};
use crate::schedule::{Load, place};
use crate::state::State;

/// Steps in one command: it stays well under the largest log entry.
const STEPS_MAX: usize = 1_000;

/// What to propose, and when to look again though nothing changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to propose.
    pub steps: Vec<Step>,
    /// The next moment at which time alone makes a difference.
    pub wake_at: Option<Timestamp>,
    /// Whether there is more than fits one command.
    pub more: bool,
}

/// Which services to plan for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All, and whatever is left of services that are gone.
    Everything,
    /// These; their ids may be of services that are gone.
    Services(BTreeSet<ServiceId>),
}

struct Planner<'a> {
    state: &'a State,
    now: Timestamp,
    ids: &'a mut dyn FnMut() -> TaskId,
    load: Load,
    plan: Plan,
}

/// Plans orchestration and placement.
pub fn plan(state: &State, now: Timestamp, scope: &Scope, ids: &mut dyn FnMut() -> TaskId) -> Plan {
    let now = now.max(state.now());
    let load = Load::of(state);
    let mut planner = Planner { state, now, ids, load, plan: Plan::default() };
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

impl Planner<'_> {
    fn services(&mut self, ids: &BTreeSet<ServiceId>) {
        for id in ids {
            if self.plan.steps.len() >= STEPS_MAX {
                self.plan.more = true;
                return;
            }
            match self.state.services.get(id) {
                Some(service) => self.service(*id, &service.clone()),
                None => self.leftovers(*id),
            }
        }
    }

    /// Tasks of a service that is gone.
    fn leftovers(&mut self, id: ServiceId) {
        let tasks: Vec<_> = self.state.tasks_of_service(id).collect();
        for (id, task) in tasks {
            self.let_go(id, task);
        }
    }

    fn service(&mut self, id: ServiceId, service: &Service) {
        let Mode::Replicated(replicas) = service.spec.mode else { return };
        let mut slots: BTreeMap<u64, Vec<(TaskId, &Arc<Task>)>> = BTreeMap::new();
        for (task_id, task) in self.state.tasks_of_service(id) {
            slots.entry(task.slot).or_default().push((task_id, task));
        }
        for slot in 1..=replicas {
            if self.plan.steps.len() >= STEPS_MAX {
                self.plan.more = true;
                return;
            }
            let tasks = slots.remove(&slot).unwrap_or_default();
            self.slot(id, service, slot, tasks);
        }
        // Slots beyond the number of replicas.
        for (task_id, task) in slots.into_values().flatten() {
            self.let_go(task_id, task);
        }
    }

    /// One replica: at most one task that is wanted, ended ones as history.
    fn slot(
        &mut self,
        id: ServiceId,
        service: &Service,
        slot: u64,
        mut tasks: Vec<(TaskId, &Arc<Task>)>,
    ) {
        tasks.sort_by_key(|(id, task)| (task.created_at, task.revision, *id));
        let mut occupied = false;
        let mut stopping = false;
        let mut ended: Option<&Arc<Task>> = None;
        let mut history = Vec::new();
        for (task_id, task) in &tasks {
            let wanted = task.desired <= DesiredState::Running;
            if task.status.state.is_terminal() {
                if wanted {
                    ended = Some(task);
                }
                history.push((*task_id, *task));
            } else if !wanted {
                stopping |= task.node_id.is_some() && !self.is_node_lost(task.node_id);
                self.give_up_if_lost(*task_id, task);
            } else if occupied || task.spec_revision != service.spec_revision {
                self.stop(*task_id, task);
                stopping |= task.node_id.is_some();
            } else if self.must_leave(task.node_id) {
                self.stop(*task_id, task);
                self.give_up_if_lost(*task_id, task);
            } else {
                occupied = true;
                self.assign(*task_id, task);
            }
        }
        let restart = ended.map(|task| self.restart(task, &service.spec.task.restart));
        match restart {
            _ if occupied || stopping => {}
            Some(None) => {}
            Some(Some((not_before, attempts, window_start))) => {
                self.create(id, service, slot, (not_before, attempts, window_start));
            }
            None => self.create(id, service, slot, (Timestamp(0), 0, self.now)),
        }
        let restarted = matches!(restart, Some(Some(_)));
        self.trim(&history, restarted && !stopping);
    }

    /// When an ended task is replaced, if it is: not before, attempts so far, start of the window.
    fn restart(&self, task: &Task, policy: &RestartPolicy) -> Option<(Timestamp, u64, Timestamp)> {
        let status = &task.status;
        if status.state == TaskState::Orphaned {
            return Some((self.now, task.attempts, task.window_start));
        }
        let failed = status.state != TaskState::Complete;
        let wanted = match policy.condition {
            RestartCondition::Any => true,
            RestartCondition::OnFailure => failed,
            RestartCondition::None => false,
        };
        let window_over =
            policy.window_ms > 0 && self.now.ms_since(task.window_start) > policy.window_ms;
        let (attempts, window_start) =
            if window_over { (0, self.now) } else { (task.attempts, task.window_start) };
        let allowed = policy.attempts_max == 0 || attempts < policy.attempts_max;
        (wanted && allowed)
            .then(|| (status.at.after_ms(policy.delay_ms), attempts + 1, window_start))
    }

    fn create(
        &mut self,
        service_id: ServiceId,
        service: &Service,
        slot: u64,
        (not_before, attempts, window_start): (Timestamp, u64, Timestamp),
    ) {
        self.plan.steps.push(Step::CreateTask {
            id: (self.ids)(),
            service_id,
            spec_revision: service.spec_revision,
            slot,
            not_before,
            attempts,
            window_start,
        });
    }

    /// Ended tasks of a slot: wanted ones are done with once replaced, the oldest are forgotten.
    fn trim(&mut self, history: &[(TaskId, &Arc<Task>)], replaced: bool) {
        let excess = history.len().saturating_sub(HISTORY_MAX);
        for (position, (id, task)) in history.iter().enumerate() {
            let wanted = task.desired <= DesiredState::Running;
            if position < excess && (!wanted || replaced) || task.desired == DesiredState::Remove {
                self.plan.steps.push(Step::RemoveTask { id: *id, revision: task.revision });
            } else if wanted && replaced {
                self.stop(*id, task);
            }
        }
    }

    fn stop(&mut self, id: TaskId, task: &Task) {
        let desired = DesiredState::Shutdown;
        if task.desired < desired {
            self.plan.steps.push(Step::SetDesired { id, revision: task.revision, desired });
        }
    }

    /// A task that nothing declares any more: stopped if it may run, forgotten once it does not.
    fn let_go(&mut self, id: TaskId, task: &Task) {
        let never_ran = task.node_id.is_none();
        if task.status.state.is_terminal() || never_ran {
            self.plan.steps.push(Step::RemoveTask { id, revision: task.revision });
        } else if task.desired < DesiredState::Remove {
            let desired = DesiredState::Remove;
            self.plan.steps.push(Step::SetDesired { id, revision: task.revision, desired });
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
            self.plan.steps.push(Step::OrphanTask {
                id,
                revision: task.revision,
                message: "stopped before it had a node".into(),
            });
        }
    }

    fn is_node_lost(&self, node: Option<NodeId>) -> bool {
        let node = node.and_then(|id| self.state.nodes.get(&id));
        node.is_none_or(|node| node.state == NodeState::Down)
    }

    /// Whether a wanted task cannot stay where it is: its node is down, draining or gone.
    fn must_leave(&self, node: Option<NodeId>) -> bool {
        let Some(id) = node else { return false };
        self.state.nodes.get(&id).is_none_or(|node| {
            node.state == NodeState::Down || node.availability == Availability::Drain
        })
    }

    fn assign(&mut self, id: TaskId, task: &Task) {
        if task.node_id.is_some() {
            return;
        }
        if task.not_before > self.now {
            let wake = self.plan.wake_at.map_or(task.not_before, |at| at.min(task.not_before));
            self.plan.wake_at = Some(wake);
            return;
        }
        match place(self.state, task, &self.load) {
            Ok(node_id) => {
                self.load.add(task.service_id, node_id);
                let node_revision = self.state.nodes.get(&node_id).map(|node| node.revision);
                self.plan.steps.push(Step::AssignTask {
                    id,
                    revision: task.revision,
                    node_id,
                    node_revision: node_revision.unwrap_or_default(),
                });
            }
            Err(message) => {
                let told =
                    task.status.state == TaskState::Pending && task.status.message == message;
                if !told {
                    let revision = task.revision;
                    self.plan.steps.push(Step::ExplainPending { id, revision, message });
                }
            }
        }
    }
}
