//! Steps of a plan: what orchestrator and scheduler decided, as it stands in the log.
//!
//! Not here: deciding (`plan`), carrying out (`apply`).
//!
//! Invariant: a step names what it was computed from, so that it is skipped if that has moved.

use minicbor::{Decode, Encode};
use proto::id::{NodeId, Revision, ServiceId, TaskId, Timestamp};
use proto::task::DesiredState;

use crate::rollout::{MadeBy, UpdateState};

/// One decision of orchestrator or scheduler. Each names the revisions it was computed from.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Step {
    /// A new task for a slot.
    #[n(0)]
    CreateTask {
        /// Made before proposing.
        #[n(0)]
        id: TaskId,
        /// Of which service.
        #[n(1)]
        service_id: ServiceId,
        /// Of which declaration.
        #[n(2)]
        spec_revision: Revision,
        /// Which replica; 0 for a global service.
        #[n(3)]
        slot: u64,
        /// Not to be placed before.
        #[n(4)]
        not_before: Timestamp,
        /// Restarts of the slot in the current window.
        #[n(5)]
        attempts: u64,
        /// When the first of the restarts that count was.
        #[n(6)]
        window_start: Timestamp,
        /// The node it is for, if the service is global.
        #[n(7)]
        for_node: Option<NodeId>,
        /// The update it is made under.
        #[n(8)]
        made_by: Option<MadeBy>,
        /// When the place was restarted within the policy's window.
        #[n(9)]
        restarts: Option<Vec<Timestamp>>,
    },
    /// A node for a task.
    #[n(1)]
    AssignTask {
        /// Which task.
        #[n(0)]
        id: TaskId,
        /// As it was.
        #[n(1)]
        revision: Revision,
        /// Where.
        #[n(2)]
        node_id: NodeId,
        /// The node as it was.
        #[n(3)]
        node_revision: Revision,
    },
    /// Something else is wanted of a task.
    #[n(2)]
    SetDesired {
        /// Which task.
        #[n(0)]
        id: TaskId,
        /// As it was.
        #[n(1)]
        revision: Revision,
        /// What is wanted.
        #[n(2)]
        desired: DesiredState,
    },
    /// Why a task has no node.
    #[n(3)]
    ExplainPending {
        /// Which task.
        #[n(0)]
        id: TaskId,
        /// As it was.
        #[n(1)]
        revision: Revision,
        /// For people.
        #[n(2)]
        message: String,
    },
    /// A task on a node that is gone ends.
    #[n(4)]
    OrphanTask {
        /// Which task.
        #[n(0)]
        id: TaskId,
        /// As it was.
        #[n(1)]
        revision: Revision,
        /// For people.
        #[n(2)]
        message: String,
    },
    /// A task is forgotten.
    #[n(5)]
    RemoveTask {
        /// Which task.
        #[n(0)]
        id: TaskId,
        /// As it was.
        #[n(1)]
        revision: Revision,
    },
    /// An update or rollback completed, or failed and waits.
    #[n(100)]
    MoveUpdate {
        /// Of which service.
        #[n(0)]
        service_id: ServiceId,
        /// Which: the entry at which it began.
        #[n(1)]
        began: Revision,
        /// Where it was.
        #[n(2)]
        from: UpdateState,
        /// Where it is.
        #[n(3)]
        to: UpdateState,
        /// For people.
        #[n(4)]
        message: String,
    },
    /// An update failed: back to what was declared before.
    #[n(101)]
    RollBack {
        /// Of which service.
        #[n(0)]
        service_id: ServiceId,
        /// As it was.
        #[n(1)]
        revision: Revision,
        /// For people.
        #[n(2)]
        message: String,
    },
}
