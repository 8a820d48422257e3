//! Rollouts: how far a new declaration has got on its way to a service's tasks.
//!
//! What is kept of an update or a rollback, in Swarm's words. Kept by `apply`; decided on by
//! [`plan`](crate::plan()), which works out everything else from the tasks. Not here: how updates
//! roll (`proto::spec::UpdateConfig`).
//!
//! Invariant: which update made a task stands in the task, so that no leader needs to remember it.

use minicbor::{Decode, Encode};
use proto::id::{Revision, TaskId, Timestamp};
use proto::spec::{FailureAction, UpdateConfig};

use crate::object::{Service, Task};

/// Where an update is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum UpdateState {
    /// The new declaration is being rolled out.
    #[n(0)]
    Updating,
    /// It failed, and waits for an operator.
    #[n(1)]
    Paused,
    /// Every task is of the new declaration.
    #[n(2)]
    Completed,
    /// The previous declaration is being rolled out again.
    #[n(3)]
    RollbackStarted,
    /// That failed, too.
    #[n(4)]
    RollbackPaused,
    /// Every task is of the previous declaration again.
    #[n(5)]
    RollbackCompleted,
}

impl UpdateState {
    /// Whether tasks are being replaced.
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Updating | Self::RollbackStarted)
    }

    /// Whether it waits for an operator.
    pub const fn is_paused(self) -> bool {
        matches!(self, Self::Paused | Self::RollbackPaused)
    }

    /// Whether it goes back to the previous declaration.
    pub const fn is_rollback(self) -> bool {
        matches!(self, Self::RollbackStarted | Self::RollbackPaused | Self::RollbackCompleted)
    }

    /// What a failure makes of it.
    pub(crate) const fn paused(self) -> Self {
        if self.is_rollback() { Self::RollbackPaused } else { Self::Paused }
    }

    /// What it becomes when every task is of the declaration.
    pub(crate) const fn completed(self) -> Self {
        if self.is_rollback() { Self::RollbackCompleted } else { Self::Completed }
    }
}

/// An update or rollback of a service: the one that runs, or the last one.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct UpdateStatus {
    /// Where it is.
    #[n(0)]
    pub state: UpdateState,
    /// The log entry at which it began; tasks made since then name it.
    #[n(1)]
    pub began: Revision,
    /// When it began; a rollback that a failure began counts from the update's beginning.
    #[n(2)]
    pub started_at: Timestamp,
    /// When it completed.
    #[n(3)]
    pub completed_at: Option<Timestamp>,
    /// For people, in Swarm's words.
    #[n(4)]
    pub message: String,
    /// Replicas or nodes that it had to reach when it began.
    #[n(5)]
    pub places: u64,
    /// How many of the tasks it made failed while they were watched.
    #[n(6)]
    pub failures: u64,
    /// The last of them.
    #[n(7)]
    pub failed_task: Option<TaskId>,
}

impl UpdateStatus {
    /// Whether more tasks failed than `config` tolerates.
    pub(crate) fn failed_too_often(&self, config: &UpdateConfig) -> bool {
        let failed = u128::from(self.failures) * 1_000_000;
        let tolerated =
            u128::from(config.failure_ratio_millionths_max) * u128::from(self.places.max(1));
        config.failure_action != FailureAction::Continue && failed > tolerated
    }
}

/// Under which update a task was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct MadeBy {
    /// The log entry at which the update began.
    #[n(0)]
    pub began: Revision,
    /// Whether the update put it in an older task's place, so that its failure counts; a task that
    /// only replaces one that ended does not.
    #[n(1)]
    pub counts: bool,
}

impl Service {
    /// How what is rolling out now rolls: rollbacks have a configuration of their own.
    pub const fn rollout_config(&self) -> &UpdateConfig {
        match &self.update {
            Some(update) if update.state.is_rollback() => &self.spec.rollback,
            _ => &self.spec.update,
        }
    }

    /// The update or rollback that is replacing tasks.
    pub fn active_update(&self) -> Option<&UpdateStatus> {
        self.update.as_ref().filter(|update| update.state.is_active())
    }

    /// Whether a task that just ended, by itself, counts as a failure of the update.
    pub(crate) fn counts_as_failure(&self, task: &Task, now: Timestamp) -> bool {
        let Some(update) = self.active_update() else { return false };
        let by_it = task.made_by == Some(MadeBy { began: update.began, counts: true });
        // Swarm's rule: while it comes up, and for the monitor's time after it ran.
        let watched = task
            .ran_at
            .is_none_or(|ran_at| now.ms_since(ran_at) <= self.rollout_config().monitor_ms);
        by_it && watched && task.spec_revision == self.spec_revision
    }
}
