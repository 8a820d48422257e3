//! Nodes: looking at them, changing them, evicting them.

use std::collections::BTreeSet;

use link::Failure;
use proto::id::Revision;
use proto::identity::{Caller, Subject};
use proto::{Kind, pb};
use state::command::{Command, UpdateNode};
use state::object::{Availability, NodeState};

use super::{Service, lookup, mark, parse_failure, render};

impl Service {
    pub(super) async fn list_nodes(
        &self,
        _: Caller,
        _: pb::ListNodesRequest,
    ) -> Result<pb::ListNodesResponse, Failure> {
        self.barrier().await?;
        let mut nodes: Vec<_> = {
            let state = self.raft.machine.state();
            state.nodes().iter().map(|(id, node)| render::node(&state, *id, node)).collect()
        };
        self.complete_members(&mut nodes).await;
        Ok(pb::ListNodesResponse { nodes })
    }

    pub(super) async fn get_node(
        &self,
        _: Caller,
        request: pb::GetNodeRequest,
    ) -> Result<pb::NodeInfo, Failure> {
        self.barrier().await?;
        let mut node = {
            let state = self.raft.machine.state();
            let (id, node) = lookup::node(&state, &request.node)?;
            render::node(&state, id, node)
        };
        self.complete_members(std::slice::from_mut(&mut node)).await;
        Ok(node)
    }

    /// Adds what the managers among the nodes say of themselves now.
    async fn complete_members(&self, nodes: &mut [pb::NodeInfo]) {
        if nodes.iter().all(|node| node.member.is_none()) {
            return;
        }
        let described = self.describe_members().await;
        for known in nodes.iter_mut().filter_map(|node| node.member.as_mut()) {
            if let Some(said) = described.iter().find(|said| said.id == known.id) {
                known.clone_from(said);
            }
        }
    }

    pub(super) async fn update_node(
        &self,
        caller: Caller,
        request: pb::UpdateNodeRequest,
    ) -> Result<pb::NodeInfo, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        let availability = match request.availability {
            None => None,
            Some(number) => Some(match pb::Availability::try_from(number) {
                Ok(pb::Availability::Active) => Availability::Active,
                Ok(pb::Availability::Pause) => Availability::Pause,
                Ok(pb::Availability::Drain) => Availability::Drain,
                Err(_) => {
                    let reason = format!("{number} is not known");
                    let error = proto::convert::ParseError::new("availability", reason);
                    return Err(parse_failure(&error));
                }
            }),
        };
        let id = {
            let state = self.raft.machine.state();
            lookup::node(&state, &request.node)?.0
        };
        let update = UpdateNode {
            id,
            revision: (request.revision > 0).then_some(Revision(request.revision)),
            label_add: request.label_add,
            label_rm: request.label_rm,
            availability,
        };
        self.propose(caller, Some(mark), Command::UpdateNode(update)).await?;
        let state = self.raft.machine.state();
        let (id, node) = lookup::node(&state, id.as_str())?;
        Ok(render::node(&state, id, node))
    }

    /// Evicts a node. Answers once it holds everywhere: it is committed, applied here and this
    /// node's connections are cut; and no other manager can serve it past its read barrier, which
    /// is younger than one lease.
    pub(super) async fn remove_node(
        &self,
        caller: Caller,
        request: pb::RemoveNodeRequest,
    ) -> Result<pb::RemoveNodeResponse, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        let (id, hostname, delivered_secrets, is_up) = {
            let state = self.raft.machine.state();
            let (id, node) = lookup::node(&state, &request.node)?;
            let tasks = state.tasks_of_node(id).flat_map(|(_, task)| &task.secrets);
            let names: BTreeSet<_> = tasks.map(|s| s.secret_name.to_string()).collect();
            let is_up = node.member.is_none() && node.state == NodeState::Ready;
            (id, node.hostname.to_string(), names.into_iter().collect(), is_up)
        };
        let command = Command::RemoveNode { id, force: request.force };
        let removed = self.propose(caller, Some(mark), command).await;
        removed.map_err(|failure| match failure.kind {
            Kind::Precondition if is_up => failure.hint("`--force` does it all the same"),
            _ => failure,
        })?;
        self.connections.cut(|subject| subject == Subject::Agent(id));
        tokio::time::sleep(self.raft.profile.lease()).await;
        Ok(pb::RemoveNodeResponse { id: id.to_string(), hostname, delivered_secrets })
    }
}
