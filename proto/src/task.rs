//! Tasks as everybody sees them: states, statuses, what is mounted.
//!
//! States and their order are Swarm's (a task only moves forward). Not here: who moves a task
//! (state's orchestrator up to `Assigned`, the agent from there on).

use core::fmt;

use crate::id::{SecretId, TaskId, Timestamp, Version};
use crate::pb;

/// Where a task is in its life. The order is that of life: a task never moves back.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode,
)]
#[cbor(index_only)]
pub enum TaskState {
    /// Made, not placed.
    #[n(0)]
    New,
    /// Waits for a node; its message says why.
    #[n(1)]
    Pending,
    /// Has a node.
    #[n(2)]
    Assigned,
    /// The node knows.
    #[n(3)]
    Accepted,
    /// The node gathers what it needs.
    #[n(4)]
    Preparing,
    /// It could start.
    #[n(5)]
    Ready,
    /// It is being started.
    #[n(6)]
    Starting,
    /// It runs.
    #[n(7)]
    Running,
    /// It ended well.
    #[n(8)]
    Complete,
    /// It was stopped.
    #[n(9)]
    Shutdown,
    /// It ended badly.
    #[n(10)]
    Failed,
    /// It could not be started.
    #[n(11)]
    Rejected,
    /// Its node is gone.
    #[n(12)]
    Orphaned,
}

impl TaskState {
    /// Every state, in order.
    pub const ALL: [Self; 13] = [
        Self::New,
        Self::Pending,
        Self::Assigned,
        Self::Accepted,
        Self::Preparing,
        Self::Ready,
        Self::Starting,
        Self::Running,
        Self::Complete,
        Self::Shutdown,
        Self::Failed,
        Self::Rejected,
        Self::Orphaned,
    ];

    /// Whether the task is over.
    pub fn is_terminal(self) -> bool {
        self > Self::Running
    }

    /// Swarm's name of the state.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Pending => "pending",
            Self::Assigned => "assigned",
            Self::Accepted => "accepted",
            Self::Preparing => "preparing",
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Shutdown => "shutdown",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Orphaned => "orphaned",
        }
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the cluster wants of a task.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode,
)]
#[cbor(index_only)]
pub enum DesiredState {
    /// Be ready to run (an update that starts later).
    #[n(0)]
    Ready,
    /// Run.
    #[n(1)]
    Running,
    /// Stop.
    #[n(2)]
    Shutdown,
    /// Stop and be forgotten.
    #[n(3)]
    Remove,
}

impl DesiredState {
    /// Swarm's name of the state.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Shutdown => "shutdown",
            Self::Remove => "remove",
        }
    }
}

impl fmt::Display for DesiredState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl pb::UpdateState {
    /// Swarm's name of the state.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Updating => "updating",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::RollbackStarted => "rollback_started",
            Self::RollbackPaused => "rollback_paused",
            Self::RollbackCompleted => "rollback_completed",
        }
    }
}

/// One version of a secret on the tmpfs of a running task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Mounted {
    /// The secret.
    #[n(0)]
    pub secret_id: SecretId,
    /// Which of its values.
    #[n(1)]
    pub version: Version,
    /// Since when, by the node's clock.
    #[n(2)]
    pub since: Timestamp,
}

/// What an agent says of one of its tasks.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct TaskStatus {
    /// Which task.
    #[n(0)]
    pub task_id: TaskId,
    /// Where it is.
    #[n(1)]
    pub state: TaskState,
    /// When it got there, by the node's clock.
    #[n(2)]
    pub at: Timestamp,
    /// What there is to say, for people; never a secret.
    #[n(3)]
    pub message: String,
    /// How it ended: the exit code, or 128 and the signal's number, as shells say it.
    #[n(4)]
    pub exit_code: Option<i32>,
    /// What is mounted.
    #[n(5)]
    pub mounted: Vec<Mounted>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn life_goes_forward() {
        let mut sorted = TaskState::ALL;
        sorted.sort();
        assert_eq!(sorted, TaskState::ALL);
        assert!(!TaskState::Running.is_terminal());
        assert!(TaskState::Complete.is_terminal());
    }
}
