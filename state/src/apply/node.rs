//! Nodes: what operators change of them, what becomes known of them, how they are evicted.

use std::sync::Arc;

use proto::id::NodeId;
use proto::identity::Subject;
use proto::name::Labels;
use proto::task::{DesiredState, TaskState};

use super::{Applying, Context};
use crate::command::{NodeNews, UpdateNode};
use crate::object::{NodeState, ObjectId, StatusChange};
use crate::refusal::Refusal;
use crate::remembered::Outcome;

impl Context<'_> {
    pub(super) fn update_node(&mut self, update: UpdateNode) -> Applying {
        let Some(node) = self.state.nodes.get(&update.id) else {
            return Err(Refusal::not_found("node", &update.id));
        };
        if let Some(revision) = update.revision {
            Self::expect_revision(node.revision, revision)?;
        }
        let mut node = (**node).clone();
        let mut labels = node.labels.as_map().clone();
        for key in &update.label_rm {
            labels.remove(key);
        }
        labels.extend(update.label_add);
        node.labels =
            Labels::new(labels).map_err(|error| Refusal::precondition(error.to_string()))?;
        if let Some(availability) = update.availability {
            node.availability = availability;
        }
        node.updated_at = self.now;
        node.revision = self.revision();
        self.state.put_node(update.id, node);
        self.updated(ObjectId::Node(update.id));
        self.replan(None);
        Ok((Outcome::Node { id: update.id }, ObjectId::Node(update.id)))
    }

    pub(super) fn report_nodes(&mut self, news: Vec<NodeNews>) -> (Outcome, ObjectId) {
        for news in news {
            let Some(node) = self.state.nodes.get(&news.node_id) else { continue };
            let mut node = (**node).clone();
            let mut has_news = false;
            if let Some(mut report) = news.report {
                report.cut();
                has_news |= report.has_engine != node.report.has_engine;
                node.report = report;
            }
            let moved = news.state.filter(|state| *state != node.state);
            if let Some(state) = moved {
                node.state = state;
                node.state_since = self.now;
            }
            self.state.put_node(news.node_id, node);
            self.updated(ObjectId::Node(news.node_id));
            if moved.is_some() || has_news {
                self.replan(None);
            }
        }
        (Outcome::Done, ObjectId::Cluster)
    }

    /// Evicts a node: its agent's certificates are revoked, its tasks are over.
    pub(super) fn remove_node(&mut self, id: NodeId, force: bool) -> Applying {
        let Some(node) = self.state.nodes.get(&id) else {
            return Err(Refusal::not_found("node", &id));
        };
        if let Some(member) = node.member {
            return Err(Refusal::precondition(format!(
                "node {} is manager {member}: remove the manager first",
                node.hostname
            )));
        }
        if node.state == NodeState::Ready && !force {
            return Err(Refusal::precondition(format!(
                "node {} is up: its tasks would be moved and its certificate revoked",
                node.hostname
            )));
        }
        self.state.take_node(id);
        self.revoke_certificates(|subject| subject == Subject::Agent(id));
        self.removed(ObjectId::Node(id));
        self.assignments(Some(id));
        self.follow_rotations();
        self.orphan_tasks(id, "its node was removed");
        self.replan(None);
        Ok((Outcome::Node { id }, ObjectId::Node(id)))
    }

    /// Gives up what runs on a node: nobody will say any more what becomes of it.
    pub(super) fn orphan_tasks(&mut self, id: NodeId, why: &str) {
        let tasks: Vec<_> =
            self.state.tasks_of_node(id).map(|(id, task)| (id, task.clone())).collect();
        for (task_id, task) in tasks {
            if task.status.state.is_terminal() {
                continue;
            }
            let mut task = (*task).clone();
            let status = StatusChange {
                state: TaskState::Orphaned,
                at: self.now,
                message: why.into(),
                exit_code: None,
            };
            task.history.push(std::mem::replace(&mut task.status, status));
            task.mounted.clear();
            task.desired = task.desired.max(DesiredState::Shutdown);
            task.revision = self.revision();
            self.state.put_task(task_id, task);
            self.updated(ObjectId::Task(task_id));
        }
    }

    /// Revokes every standing certificate of the subjects that match.
    pub(super) fn revoke_certificates(&mut self, matches: impl Fn(Subject) -> bool) {
        let serials: Vec<_> = self
            .state
            .certificates
            .iter()
            .filter(|(_, certificate)| !certificate.revoked && matches(certificate.subject))
            .map(|(serial, _)| *serial)
            .collect();
        for serial in serials {
            if let Some(certificate) = self.state.certificates.get_mut(&serial) {
                Arc::make_mut(certificate).revoked = true;
            }
            self.updated(ObjectId::Certificate(serial));
        }
    }
}
