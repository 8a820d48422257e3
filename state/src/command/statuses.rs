//! What agents said of their tasks, cut to what is kept of it and to what a log entry has room for.
//!
//! An agent may be a liar. The manager that holds its session cuts what it says, so that it fits a
//! report to the leader beside what others say; the leader does, and chooses what goes together.
//!
//! Invariant: a command has at most [`STATUSES_MAX`] statuses with [`MOUNTED_MAX`] mounted values, and
//! no status is longer than what `apply` keeps.

use proto::id::NodeId;
use proto::limits::{MOUNTED_MAX, REFERENCES_MAX, STATUS_MESSAGE_BYTES_MAX, STATUSES_MAX};
use proto::task::TaskStatus;

use super::{Command, NodeStatuses};
use crate::apply::truncate;

/// Cuts what an agent says of a task to what is kept of it.
pub fn cut_status(status: &mut TaskStatus) {
    truncate(&mut status.message, STATUS_MESSAGE_BYTES_MAX);
    // A task has no more values than its service has references.
    status.mounted.truncate(REFERENCES_MAX);
}

/// What one command has room for.
#[derive(Default)]
struct Entry {
    reports: Vec<NodeStatuses>,
    statuses: usize,
    mounted: usize,
}

impl Entry {
    fn has_room(&self, status: &TaskStatus) -> bool {
        self.statuses < STATUSES_MAX && self.mounted + status.mounted.len() <= MOUNTED_MAX
    }

    fn add(&mut self, node_id: NodeId, status: TaskStatus) {
        self.statuses += 1;
        self.mounted += status.mounted.len();
        match self.reports.last_mut() {
            Some(last) if last.node_id == node_id => last.statuses.push(status),
            _ => self.reports.push(NodeStatuses { node_id, statuses: vec![status] }),
        }
    }
}

impl Command {
    /// What agents said, as commands in the order in which it was said.
    pub fn report_tasks(said: Vec<NodeStatuses>) -> Vec<Self> {
        let mut entries: Vec<Entry> = Vec::new();
        for NodeStatuses { node_id, statuses } in said {
            for mut status in statuses {
                cut_status(&mut status);
                match entries.last_mut() {
                    Some(entry) if entry.has_room(&status) => entry.add(node_id, status),
                    _ => {
                        let mut entry = Entry::default();
                        entry.add(node_id, status);
                        entries.push(entry);
                    }
                }
            }
        }
        entries.into_iter().map(|entry| Self::ReportTasks(entry.reports)).collect()
    }
}
