//! Commands that are run in tasks: who may, and that it is in the audit.

use proto::id::TaskId;
use proto::task::TaskState;

use super::{Applying, Context};
use crate::object::ObjectId;
use crate::refusal::Refusal;
use crate::remembered::Outcome;

impl Context<'_> {
    /// Before it is run. Whoever runs a command in a task reads its secrets: the right is that of whoever
    /// may deploy with them, with those of the task and with those that its service has now.
    pub(super) fn record_exec(&self, task_id: TaskId) -> Applying {
        let task = self.state.task(task_id);
        let task = task.ok_or_else(|| Refusal::not_found("task", &task_id))?;
        if let Some(refusal) = self.state.refuses_to_show(self.principal(), task) {
            return Err(refusal);
        }
        if task.status.state != TaskState::Running || task.node_id.is_none() {
            let state = task.status.state.as_str();
            return Err(Refusal::precondition(format!("the task does not run: it is {state}")));
        }
        Ok((Outcome::Done, ObjectId::Task(task_id)))
    }
}
