//! Tasks: what plans and agents change of them.
//!
//! A step whose revisions moved is stale and skipped; the loop that made it plans again. What an
//! agent says counts only for tasks assigned to its own node, and only forward.

use std::sync::Arc;

use proto::id::{NodeId, Revision, ServiceId, TaskId, Timestamp};
use proto::limits::{HISTORY_MAX, STATUS_MESSAGE_BYTES_MAX, TASKS_MAX};
use proto::task::{DesiredState, TaskState, TaskStatus};

use super::Context;
use crate::command::{NodeStatuses, Step};
use crate::object::{Followed, ObjectId, Place, ResolvedReference, StatusChange, Task};
use crate::remembered::Outcome;
use crate::rollout::{MadeBy, UpdateState, UpdateStatus};
use crate::schedule;

/// What a new task is made from.
struct NewTask {
    id: TaskId,
    service_id: ServiceId,
    spec_revision: Revision,
    slot: u64,
    not_before: Timestamp,
    attempts: u64,
    window_start: Timestamp,
    for_node: Option<NodeId>,
    made_by: Option<MadeBy>,
    restarts: Option<Vec<Timestamp>>,
}

impl NewTask {
    const fn place(&self) -> Place {
        Place { slot: self.slot, node: self.for_node }
    }
}

/// A step is stale: what it was computed from has moved.
pub(super) struct StaleStep;

impl Context<'_> {
    pub(super) fn follow_plan(&mut self, steps: Vec<Step>) -> (Outcome, ObjectId) {
        let (mut applied, mut stale) = (0, 0);
        for step in steps {
            match self.follow_step(step) {
                Ok(()) => applied += 1,
                Err(StaleStep) => stale += 1,
            }
        }
        (Outcome::Steps { applied, stale }, ObjectId::Cluster)
    }

    fn follow_step(&mut self, step: Step) -> Result<(), StaleStep> {
        match step {
            Step::CreateTask {
                id,
                service_id,
                spec_revision,
                slot,
                not_before,
                attempts,
                window_start,
                for_node,
                made_by,
                restarts,
            } => self.create_task(NewTask {
                id,
                service_id,
                spec_revision,
                slot,
                not_before,
                attempts,
                window_start,
                for_node,
                made_by,
                restarts,
            }),
            Step::AssignTask { id, revision, node_id, node_revision } => {
                self.assign_task(id, revision, node_id, node_revision)
            }
            Step::SetDesired { id, revision, desired } => {
                let mut task = self.task_at(id, revision)?;
                if desired <= task.desired {
                    return Err(StaleStep);
                }
                task.desired = desired;
                self.change_task(id, task);
                Ok(())
            }
            Step::ExplainPending { id, revision, message } => {
                let mut task = self.task_at(id, revision)?;
                if task.status.state > TaskState::Pending {
                    return Err(StaleStep);
                }
                self.move_status(&mut task, TaskState::Pending, message);
                self.state.put_task(id, task);
                self.updated(ObjectId::Task(id));
                Ok(())
            }
            Step::OrphanTask { id, revision, message } => {
                let mut task = self.task_at(id, revision)?;
                if task.status.state.is_terminal() {
                    return Err(StaleStep);
                }
                self.move_status(&mut task, TaskState::Orphaned, message);
                self.change_task(id, task);
                Ok(())
            }
            Step::RemoveTask { id, revision } => {
                let task = self.task_at(id, revision)?;
                self.state.take_task(id);
                self.assignments(task.node_id);
                self.removed(ObjectId::Task(id));
                self.replan(Some(task.service_id));
                Ok(())
            }
            Step::MoveUpdate { service_id, began, from, to, message } => {
                self.move_update(service_id, (began, from), to, message)
            }
            Step::RollBack { service_id, revision, message } => {
                self.roll_back(service_id, revision, &message)
            }
        }
    }

    /// An update completed or was paused. What it is about stays as it is: no revision moves.
    fn move_update(
        &mut self,
        id: ServiceId,
        was: (Revision, UpdateState),
        state: UpdateState,
        message: String,
    ) -> Result<(), StaleStep> {
        let service = self.state.services.get_mut(&id).ok_or(StaleStep)?;
        let at = |update: &UpdateStatus| (update.began, update.state) == was;
        if !service.update.as_ref().is_some_and(at) {
            return Err(StaleStep);
        }
        if let Some(update) = &mut Arc::make_mut(service).update {
            update.state = state;
            update.message = message;
            update.completed_at = (!state.is_active() && !state.is_paused()).then_some(self.now);
        }
        self.updated(ObjectId::Service(id));
        self.replan(Some(id));
        Ok(())
    }

    fn task_at(&self, id: TaskId, revision: Revision) -> Result<Task, StaleStep> {
        let task = self.state.tasks.get(&id).filter(|task| task.revision == revision);
        task.map(|task| (**task).clone()).ok_or(StaleStep)
    }

    /// Stores a task after a change that is not only of its status.
    fn change_task(&mut self, id: TaskId, mut task: Task) {
        task.revision = self.revision();
        self.assignments(task.node_id);
        self.replan(Some(task.service_id));
        self.state.put_task(id, task);
        self.updated(ObjectId::Task(id));
    }

    fn move_status(&self, task: &mut Task, state: TaskState, message: String) {
        let status = StatusChange { state, at: self.now, message, exit_code: None };
        if state == TaskState::Running && task.ran_at.is_none() {
            task.ran_at = Some(self.now);
        }
        let before = std::mem::replace(&mut task.status, status);
        task.history.push(before);
        if task.history.len() > HISTORY_MAX {
            task.history.remove(0);
        }
    }

    fn create_task(&mut self, new: NewTask) -> Result<(), StaleStep> {
        let service = self.state.services.get(&new.service_id);
        let service = service
            .filter(|service| service.spec_revision == new.spec_revision)
            .ok_or(StaleStep)?;
        if !self.task_id_free(new.id) || self.state.tasks.len() >= TASKS_MAX {
            return Err(StaleStep);
        }
        // One live task of a declaration a place: two leaders in a row must not fill it twice. One of
        // another declaration may run on until this one runs.
        let occupied = self.state.tasks_in_place(new.service_id, new.place()).any(|task| {
            task.is_live() && task.is_wanted() && task.spec_revision == new.spec_revision
        });
        if occupied {
            return Err(StaleStep);
        }
        let task = Task {
            service_id: new.service_id,
            service_name: service.spec.name.clone(),
            slot: new.slot,
            spec: service.spec.task.clone(),
            spec_revision: new.spec_revision,
            node_id: None,
            desired: DesiredState::Running,
            status: StatusChange {
                state: TaskState::New,
                at: self.now,
                message: "created".into(),
                exit_code: None,
            },
            history: Vec::new(),
            mounted: Vec::new(),
            secrets: Vec::new(),
            not_before: new.not_before,
            attempts: new.attempts,
            window_start: new.window_start,
            created_at: self.now,
            revision: self.revision(),
            for_node: new.for_node,
            made_by: new.made_by,
            ran_at: None,
            restarts: new.restarts,
            followed: service.followed.clone(),
        };
        self.state.put_task(new.id, task);
        self.created(ObjectId::Task(new.id));
        self.replan(Some(new.service_id));
        Ok(())
    }

    /// Gives a task a node and settles which values it gets. The node is checked again: it must
    /// still be one the scheduler could have chosen.
    fn assign_task(
        &mut self,
        id: TaskId,
        revision: Revision,
        node_id: NodeId,
        node_revision: Revision,
    ) -> Result<(), StaleStep> {
        let mut task = self.task_at(id, revision)?;
        let node = self.state.nodes.get(&node_id);
        let node = node.filter(|node| node.revision == node_revision).ok_or(StaleStep)?;
        let unassigned = task.node_id.is_none() && task.status.state <= TaskState::Pending;
        if !unassigned || !schedule::fits(self.state, &task, node_id, node) {
            return Err(StaleStep);
        }
        let mut secrets = Vec::with_capacity(task.spec.secrets.len());
        for reference in &task.spec.secrets {
            // Should the secret be gone, the agent says that it is missing; the task does not start.
            let version = Followed::version_of(task.followed.as_ref(), reference);
            secrets.push(ResolvedReference {
                secret_id: reference.secret_id,
                secret_name: reference.secret_name.clone(),
                version,
                target: reference.target.clone(),
                uid: reference.uid,
                gid: reference.gid,
                mode: reference.mode,
            });
        }
        task.secrets = secrets;
        task.node_id = Some(node_id);
        self.move_status(&mut task, TaskState::Assigned, "assigned to a node".into());
        self.change_task(id, task);
        Ok(())
    }

    pub(super) fn report_tasks(&mut self, reports: Vec<NodeStatuses>) -> (Outcome, ObjectId) {
        for report in reports {
            for status in report.statuses {
                self.report_task(report.node_id, status);
            }
        }
        (Outcome::Done, ObjectId::Cluster)
    }

    fn report_task(&mut self, node_id: NodeId, status: TaskStatus) {
        let Some(task) = self.state.tasks.get(&status.task_id) else { return };
        // A task of another node, or one whose end is known, is not this agent's to speak of.
        if task.node_id != Some(node_id) || task.status.state.is_terminal() {
            return;
        }
        // An agent speaks from ACCEPTED on, and life goes forward.
        if status.state < TaskState::Accepted || status.state < task.status.state {
            return;
        }
        // That its node is gone is not for its agent to say.
        if status.state == TaskState::Orphaned {
            return;
        }
        let mut task = (**task).clone();
        if status.state != task.status.state || status.message != task.status.message {
            let mut message = status.message;
            truncate(&mut message, STATUS_MESSAGE_BYTES_MAX);
            self.move_status(&mut task, status.state, message);
            task.status.exit_code = status.exit_code;
        }
        task.mounted = status.mounted;
        task.mounted.retain(|mounted| {
            task.secrets
                .iter()
                .any(|s| s.secret_id == mounted.secret_id && s.version == mounted.version)
        });
        let over = task.status.state.is_terminal();
        if over {
            task.mounted.clear();
            self.assignments(task.node_id);
            self.count_failure(status.task_id, &task);
        }
        let service_id = task.service_id;
        self.state.put_task(status.task_id, task);
        self.updated(ObjectId::Task(status.task_id));
        self.replan(Some(service_id));
    }

    /// A task ended. If nobody wanted it to, an update that is watching it takes note; whether it goes
    /// on is for the plan to say.
    fn count_failure(&mut self, id: TaskId, task: &Task) {
        if !task.is_wanted() || task.is_done() {
            return;
        }
        let Some(service) = self.state.services.get_mut(&task.service_id) else { return };
        if !service.counts_as_failure(task, self.now) {
            return;
        }
        if let Some(update) = &mut Arc::make_mut(service).update {
            update.failures += 1;
            update.failed_task = Some(id);
        }
        self.updated(ObjectId::Service(task.service_id));
    }
}

/// Cuts a text to at most `bytes`, at the end of a character.
pub(crate) fn truncate(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        let end = (0..=bytes).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
}
