//! Liveness: which nodes are up, from what the managers see of their agents' sessions.
//!
//! Heartbeats never enter the log. The leader hears which sessions exist and proposes only
//! changes: up at once, down after a grace period. After an election nothing goes down for two
//! grace periods, since the new leader has not heard from everybody yet.

use std::collections::{BTreeMap, BTreeSet};

use proto::id::{NodeId, Timestamp};
use proto::limits::NODE_NEWS_MAX;

use crate::command::NodeNews;
use crate::object::{NodeReport, NodeState};
use crate::state::State;

/// How long a node may be out of touch before it is down, in milliseconds: a manager's restart or
/// an agent's reconnect must fit (Swarm: 3 beats of 5 s).
pub const GRACE_MS: u64 = 15_000;

/// What the leader has heard.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Since when this manager leads.
    pub leading_since: Timestamp,
    /// Nodes whose agent has a session with some manager.
    pub in_touch: BTreeSet<NodeId>,
    /// Nodes out of touch, and since when.
    pub out_of_touch: BTreeMap<NodeId, Timestamp>,
    /// What agents say of themselves.
    pub reports: BTreeMap<NodeId, NodeReport>,
}

/// What to propose, and when to look again. As much as one log entry has room for: with the most
/// there is, there may be more.
pub fn liveness(
    state: &State,
    observed: &Observed,
    now: Timestamp,
) -> (Vec<NodeNews>, Option<Timestamp>) {
    let mut news = Vec::new();
    let mut wake_at: Option<Timestamp> = None;
    let settled_at = observed.leading_since.after_ms(2 * GRACE_MS);
    for (id, node) in state.nodes().iter().filter(|(_, node)| node.has_agent) {
        if news.len() >= NODE_NEWS_MAX {
            break;
        }
        let report = observed.reports.get(id).cloned().map(|mut report| {
            report.cut();
            report
        });
        let report = report.filter(|report| *report != node.report);
        let mut change = None;
        if observed.in_touch.contains(id) {
            change = (node.state != NodeState::Ready).then_some(NodeState::Ready);
        } else if node.state == NodeState::Ready {
            let since = observed.out_of_touch.get(id).copied().unwrap_or(observed.leading_since);
            let due = since.after_ms(GRACE_MS).max(settled_at);
            if due <= now {
                change = Some(NodeState::Down);
            } else {
                wake_at = Some(wake_at.map_or(due, |at| at.min(due)));
            }
        }
        if change.is_some() || report.is_some() {
            news.push(NodeNews { node_id: *id, state: change, report });
        }
    }
    (news, wake_at)
}
