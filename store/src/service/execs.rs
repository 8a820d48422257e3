//! Commands in tasks: who may run one, that it is recorded, and which node has the task.
//!
//! Not here: the way to the node and back (`dispatcher/execs`).

use link::Failure;
use proto::id::TaskId;
use proto::identity::Caller;
use proto::{Kind, pb};
use state::command::Command;

use super::{Service, mark, parse_failure};

impl Service {
    /// Records one, for the manager that was asked for it.
    pub(super) async fn record_exec(
        &self,
        caller: Caller,
        request: pb::RecordExecRequest,
    ) -> Result<pb::RecordExecResponse, Failure> {
        let mark = mark(&caller, &request.request_key, &request)?;
        let task: TaskId =
            proto::convert::text("task", &request.task).map_err(|error| parse_failure(&error))?;
        let recorded = self.propose(caller, Some(mark), Command::RecordExec { task }).await;
        recorded.map_err(|failure| match failure.kind {
            Kind::NotFound | Kind::Precondition => {
                failure.hint("`secretctl service ps` shows the tasks that run")
            }
            _ => failure,
        })?;
        let state = self.raft.machine.state();
        let node_id = state.task(task).and_then(|task| task.node_id);
        let node_id = node_id
            .ok_or_else(|| Failure::new(Kind::Precondition, "the task is on no node any more"))?;
        Ok(pb::RecordExecResponse { node_id: node_id.to_string() })
    }
}
