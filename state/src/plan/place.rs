//! One place of a service: a replica's slot, or a node of a global service.
//!
//! At most one task there is of what is declared and wanted; one of an earlier declaration may run
//! beside it until it runs (`start-first`); ended ones are history. Not here: how many places an
//! update may touch at a time (`rollout`).
//!
//! Invariant: a place that nothing is wanted in waits for its predecessor to stop, or for time, but
//! for nothing else.

use std::sync::Arc;

use proto::id::{NodeId, Revision, ServiceId, TaskId, Timestamp};
use proto::limits::HISTORY_MAX;
use proto::spec::{RestartCondition, UpdateOrder};
use proto::task::{DesiredState, TaskState};

use super::rollout::Rollout;
use super::{NO_ROOM_MS, Planner};
use crate::command::Step;
use crate::object::{Availability, NodeState, Place, Service, Task};
use crate::rollout::MadeBy;
use crate::schedule;
use crate::state::State;

type Entry<'a> = (TaskId, &'a Arc<Task>);

/// What there is in one place.
pub(super) struct Look<'a> {
    /// Whether what is there is only kept.
    pub(super) held: bool,
    /// Lives, is wanted and of what is declared.
    wanted: Option<Entry<'a>>,
    /// Live, wanted, of an earlier declaration.
    outdated: Vec<Entry<'a>>,
    /// Live and wanted, but cannot stay where it is; or there is one already.
    unplaced: Vec<Entry<'a>>,
    /// On their way down.
    stopping: Vec<Entry<'a>>,
    /// Whether one of those is on a node that will say when it is over.
    leaving: bool,
    /// The newest that ended and was not replaced yet.
    ended: Option<Entry<'a>>,
    /// The newest of what is declared, for what it counted.
    newest: Option<&'a Arc<Task>>,
    /// Everything that ended, oldest first.
    history: Vec<Entry<'a>>,
    declared: Revision,
    /// Whether the update that is the service's last made a task here.
    reached: bool,
    /// The one it made in an older one's place.
    pub(super) made: Option<&'a Arc<Task>>,
}

/// What a new task takes over from the one before it.
#[derive(Default)]
struct Restarts {
    not_before: Timestamp,
    attempts: u64,
    at: Vec<Timestamp>,
    /// Whether the running update made the task in an older one's place.
    counts: bool,
}

impl<'a> Look<'a> {
    pub(super) fn at(
        state: &State,
        service: &Service,
        mut tasks: Vec<Entry<'a>>,
        held: bool,
    ) -> Self {
        tasks.sort_by_key(|(id, task)| (task.created_at, task.revision, *id));
        let declared = service.spec_revision;
        let began = service.update.as_ref().map(|update| update.began);
        let mut look = Self {
            held,
            wanted: None,
            outdated: Vec::new(),
            unplaced: Vec::new(),
            stopping: Vec::new(),
            leaving: false,
            ended: None,
            newest: None,
            history: Vec::new(),
            declared,
            reached: false,
            made: None,
        };
        for entry in tasks {
            let (_, task) = entry;
            let is_declared = task.spec_revision == declared;
            if is_declared {
                look.newest = Some(task);
                let by_last = task.made_by.is_some_and(|by| Some(by.began) == began);
                look.reached |= by_last || began.is_none();
                if task.made_by.is_some_and(|by| Some(by.began) == began && by.counts) {
                    look.made = Some(task);
                }
            }
            if !task.is_live() {
                if task.is_wanted() {
                    look.ended = Some(entry);
                }
                look.history.push(entry);
            } else if !task.is_wanted() {
                look.leaving |= task.node_id.is_some() && !is_node_lost(state, task.node_id);
                look.stopping.push(entry);
            } else if must_leave(state, task) || (is_declared && look.wanted.is_some()) {
                look.leaving |= !is_node_lost(state, task.node_id);
                look.unplaced.push(entry);
            } else if is_declared {
                look.wanted = Some(entry);
            } else {
                look.outdated.push(entry);
            }
        }
        look
    }

    /// Whether an older task went, or goes, and none of what is declared has come.
    pub(super) fn is_between(&self) -> bool {
        let empty = self.wanted.is_none() && self.outdated.is_empty() && self.ended.is_none();
        let outdated = |entries: &[Entry<'_>]| {
            entries.iter().any(|(_, task)| task.spec_revision != self.declared)
        };
        let went = outdated(&self.stopping) || outdated(&self.unplaced) || outdated(&self.history);
        empty && went && !self.reached
    }
}

fn is_node_lost(state: &State, node: Option<NodeId>) -> bool {
    let node = node.and_then(|id| state.nodes.get(&id));
    node.is_none_or(|node| node.state == NodeState::Down)
}

/// Whether a wanted task cannot stay where it is: its node is down, draining or gone, or is not one
/// any more that the task may be on.
fn must_leave(state: &State, task: &Task) -> bool {
    let Some(id) = task.node_id else { return false };
    state.nodes.get(&id).is_none_or(|node| {
        node.state == NodeState::Down
            || node.availability == Availability::Drain
            || !schedule::meets(&task.spec.placement, id, node)
    })
}

impl Planner<'_> {
    /// Tends one place.
    pub(super) fn tend(
        &mut self,
        id: ServiceId,
        service: &Service,
        place: Place,
        look: &Look<'_>,
        rollout: &mut Rollout,
    ) {
        for (task_id, task) in &look.unplaced {
            self.stop(*task_id, task);
            self.give_up_if_lost(*task_id, task);
        }
        for (task_id, task) in &look.stopping {
            self.give_up_if_lost(*task_id, task);
        }
        if let Some((task_id, task)) = look.wanted {
            self.assign(task_id, task);
            if task.status.state == TaskState::Running {
                look.outdated.iter().for_each(|(id, task)| self.stop(*id, task));
            } else {
                // It may never run: what it is to replace runs until then, though it had no node yet.
                look.outdated.iter().for_each(|(id, task)| self.assign(*id, task));
            }
            return self.trim(&look.history, true);
        }
        let next = self.next(service, look, rollout);
        let mut replaced = false;
        if let Some(restarts) = next {
            replaced = self.create(id, service, place, restarts);
        }
        self.trim(&look.history, replaced);
    }

    /// What comes into a place in which nothing of what is declared is wanted; none if nothing does
    /// yet, or ever.
    fn next(
        &mut self,
        service: &Service,
        look: &Look<'_>,
        rollout: &mut Rollout,
    ) -> Option<Restarts> {
        let ended = look.ended.map(|(_, task)| task);
        let declared = ended.filter(|task| task.spec_revision == look.declared);
        if look.held {
            return None;
        }
        if !look.outdated.is_empty() {
            if let Some(task) = declared {
                // Beside an older one that runs: it is replaced as its policy says.
                let next = self.restart(service, task);
                if next.is_none() && task.is_done() {
                    // Nothing comes any more that the older one would have to make room for.
                    look.outdated.iter().for_each(|(id, task)| self.stop(*id, task));
                } else {
                    look.outdated.iter().for_each(|(id, task)| self.assign(*id, task));
                }
                return next;
            }
            if !self.begin(rollout) {
                // Until it is this place's turn, its tasks run on: those without a node, too.
                look.outdated.iter().for_each(|(id, task)| self.assign(*id, task));
                return None;
            }
            return match service.rollout_config().order {
                UpdateOrder::StopFirst => {
                    look.outdated.iter().for_each(|(id, task)| self.stop(*id, task));
                    // Spoken for: what it gets is made once they have stopped.
                    self.room = self.room.saturating_sub(1);
                    None
                }
                UpdateOrder::StartFirst => Some(Restarts { counts: true, ..Restarts::default() }),
            };
        }
        if look.leaving {
            return None;
        }
        match ended {
            // What is declared since is something else: it comes at once, if the update may go on
            // here, and else as a restart.
            Some(_) if declared.is_none() && rollout.begin() => {
                Some(Restarts { counts: true, ..Restarts::default() })
            }
            Some(task) => self.restart(service, task),
            None => {
                let counts = look.is_between();
                rollout.owed = rollout.owed.saturating_sub(usize::from(counts));
                let newest = look.newest.filter(|_| !counts);
                Some(Restarts {
                    attempts: newest.map_or(0, |task| task.attempts),
                    at: newest.and_then(|task| task.restarts.clone()).unwrap_or_default(),
                    counts,
                    ..Restarts::default()
                })
            }
        }
    }

    /// How an ended task is replaced, if it is. Swarm's rule: attempts count for one declaration, and
    /// only those within the window before the end.
    fn restart(&self, service: &Service, task: &Task) -> Option<Restarts> {
        let policy = &task.spec.restart;
        let status = &task.status;
        let same = task.spec_revision == service.spec_revision;
        let attempts = if same { task.attempts } else { 0 };
        let known = task.restarts.iter().flatten().copied().filter(|_| same);
        let wanted = match policy.condition {
            RestartCondition::Any => true,
            RestartCondition::OnFailure => status.state != TaskState::Complete,
            RestartCondition::None => false,
        };
        let counted = policy.attempts_max > 0 && policy.window_ms > 0;
        let within = known.filter(|at| counted && status.at.ms_since(*at) <= policy.window_ms);
        let mut at: Vec<_> = within.collect();
        let so_far = if counted { at.len() as u64 } else { attempts };
        if !wanted || (policy.attempts_max > 0 && so_far >= policy.attempts_max) {
            return None;
        }
        if counted {
            at.push(self.now);
        }
        let not_before = status.at.after_ms(policy.delay_ms);
        Some(Restarts { not_before, attempts: attempts + 1, at, counts: false })
    }

    /// Whether an older task is replaced now: it is its place's turn, and the cluster has room for the
    /// new one. What has ended is kept and counts, so to stop the old one makes no room, and its place
    /// would stay empty.
    fn begin(&mut self, rollout: &mut Rollout) -> bool {
        if self.room > rollout.owed || !rollout.may_begin() {
            return rollout.begin();
        }
        rollout.waiting = true;
        self.no_room();
        false
    }

    fn no_room(&mut self) {
        self.plan.no_room_for += 1;
        self.wake_at(self.now.after_ms(NO_ROOM_MS));
    }

    /// Makes a task, if the cluster has room for one more: `apply` refuses it else, and what is refused
    /// would be planned again at once. False if it has not.
    fn create(
        &mut self,
        service_id: ServiceId,
        service: &Service,
        place: Place,
        from: Restarts,
    ) -> bool {
        if self.room == 0 {
            self.no_room();
            return false;
        }
        self.room -= 1;
        let update = service.update.as_ref();
        let id = (self.ids)();
        self.push(Step::CreateTask {
            id,
            service_id,
            spec_revision: service.spec_revision,
            slot: place.slot,
            not_before: from.not_before,
            attempts: from.attempts,
            window_start: from.at.first().copied().unwrap_or(self.now),
            for_node: place.node,
            made_by: update.map(|update| MadeBy { began: update.began, counts: from.counts }),
            restarts: (!from.at.is_empty()).then_some(from.at),
        });
        true
    }

    /// Ended tasks of a place: wanted ones are done with once replaced, the oldest are forgotten.
    fn trim(&mut self, history: &[Entry<'_>], replaced: bool) {
        let excess = history.len().saturating_sub(HISTORY_MAX);
        for (position, (id, task)) in history.iter().enumerate() {
            let wanted = task.is_wanted();
            if position < excess && (!wanted || replaced) || task.desired == DesiredState::Remove {
                self.push(Step::RemoveTask { id: *id, revision: task.revision });
            } else if wanted && replaced {
                self.stop(*id, task);
            }
        }
    }
}
