//! Making a cluster of one manager out of what was in a backup.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::id::{KeyId, MemberId, NodeId};
use proto::identity::Subject;

use super::{Applying, Context};
use crate::log_keys::MemberLogKey;
use crate::object::{Cluster, Member, MemberState, Node, NodeReport, NodeState, ObjectId};
use crate::refusal::Refusal;
use crate::remembered::Outcome;
use crate::restore::{MadeAnew, RestoreCluster, Restored};

/// What is said of a node and of its tasks until its agent has joined anew.
const JOINS_ANEW: &str = "its agent joins anew: the cluster was restored with another CA";

impl Context<'_> {
    /// Only on a copy that was in a backup, which has no transit key: in a cluster that runs it is
    /// refused.
    fn check_restore(&self, restore: &RestoreCluster) -> Result<Arc<Cluster>, Refusal> {
        let Some(cluster) = self.state.cluster.clone() else {
            return Err(Refusal::precondition("the backup holds no cluster"));
        };
        if !cluster.transit_keys.is_empty() {
            return Err(Refusal::precondition("this cluster runs: only a backup is restored"));
        }
        if restore.incarnation <= cluster.incarnation {
            return Err(Refusal::precondition(format!(
                "incarnation {} is not above that of the backup, {}",
                restore.incarnation, cluster.incarnation
            )));
        }
        let root = restore.root;
        let is_under_root = self.state.roots_in_use().iter().all(|id| *id == root)
            && cluster.active_root == root
            && restore.transit.wrapped_key.key_id() == root
            && restore.authority.as_ref().is_none_or(|ca| ca.wrapped_key.key_id() == root);
        if !is_under_root {
            return Err(Refusal::WrongRoot);
        }
        let present = cluster.authority.digest;
        if restore.authority.as_ref().is_some_and(|ca| ca.digest == present) {
            return Err(Refusal::precondition("the CA's key is not a new one"));
        }
        if restore.revision >= self.revision() || restore.taken_at > self.now {
            return Err(Refusal::precondition("the backup is of a state that is still to come"));
        }
        let subject = Subject::Manager(restore.node_id, MemberId(self.index));
        if restore.certificate.subject != subject {
            return Err(Refusal::precondition("the certificate is another's"));
        }
        let of_name = self.state.node_by_hostname(restore.hostname.as_str());
        if of_name.is_some_and(|(id, _)| id != restore.node_id)
            || of_name.is_none() && self.state.nodes.contains_key(&restore.node_id)
        {
            return Err(Refusal::precondition("the node has another hostname"));
        }
        Ok(cluster)
    }

    /// Managers of before are removed as `RemoveMember` removes them; nobody has their word that
    /// their keys are destroyed. Everything that is not about managers, keys and tokens stays, unless
    /// the cluster gets another CA: then no certificate of before stands, and agents join anew.
    pub(super) fn restore_cluster(&mut self, restore: RestoreCluster) -> Applying {
        let mut cluster = self.check_restore(&restore)?;
        // Every check comes before: from here on nothing is refused.
        let (revision, now, me) = (self.revision(), self.now, MemberId(self.index));
        let RestoreCluster { incarnation, backup, node_id, taken_at, .. } = restore;
        self.state.root_keys.rotation = None;
        self.state.log_keys.next_since = None;
        self.state.certificate_rotations.rotation = None;
        let node_before = self.state.nodes.get(&node_id).cloned();
        let others: Vec<_> = self.state.members.keys().copied().collect();
        for other in &others {
            self.remove_member(*other, Some(false))?;
        }
        for other in others {
            // Under which root key it was is not known here: a backup does not say.
            if let Some(unproved) = self.state.root_keys.unproved.get_mut(&other) {
                unproved.root = None;
            }
        }
        self.revoke_certificates(|of| matches!(of, Subject::Manager(..) | Subject::Boot(_)));
        let keeps_ca = restore.authority.is_none();
        if let Some(authority) = restore.authority {
            self.begin_with_another_ca();
            Arc::make_mut(&mut cluster).authority = authority;
        }
        self.put_certificate(restore.serial, restore.certificate);
        let node = match node_before {
            Some(node) => {
                let has_agent = node.has_agent && keeps_ca;
                Node { member: Some(me), revision, has_agent, ..(*node).clone() }
            }
            None => Node { member: Some(me), ..self.new_node(restore.hostname) },
        };
        self.state.put_node(node_id, node);
        let generation = cluster.recipients_generation + 1;
        let member = Member {
            node_id,
            address: restore.address,
            state: MemberState::Voter,
            admitted_at: now,
            level_max: restore.level_max,
            acknowledged_root: Some(restore.root),
            key_file_generation: generation,
            revision,
        };
        self.state.members.insert(me, Arc::new(member));
        let said = MemberLogKey {
            epoch: self.state.log_keys.wanted,
            key: Some(restore.log_key),
            since: now,
        };
        self.state.log_keys.members.insert(me, said);
        for (token, _) in std::mem::take(&mut self.state.tokens) {
            self.removed(ObjectId::Token(token));
        }
        let changed = Arc::make_mut(&mut cluster);
        changed.incarnation = incarnation;
        changed.announced_root = None;
        changed.transit_keys = BTreeMap::from([(restore.transit_id, restore.transit)]);
        changed.current_transit = restore.transit_id;
        changed.recipients_generation = generation;
        changed.recipients = restore.recipients;
        changed.slots = None;
        changed.revision = revision;
        self.state.cluster = Some(cluster);
        self.retire_transit_keys_of_before();
        // Nothing on its disk is under older keys, whatever was waited for.
        self.settle_tombstones();
        self.put_backup(backup, restore.revision, taken_at);
        self.state.restored = Some(Restored { backup, incarnation, at: now, taken_at });
        self.created(ObjectId::Member(me));
        self.updated(ObjectId::Node(node_id));
        self.updated(ObjectId::Cluster);
        self.replan(None);
        Ok((Outcome::Member { id: me, node_id }, ObjectId::Cluster))
    }

    /// Nothing that was issued before is worth anything: it is forgotten, and each agent joins anew, as
    /// the node that it was. What ran there is given up: it is placed elsewhere.
    fn begin_with_another_ca(&mut self) {
        for (serial, _) in std::mem::take(&mut self.state.certificates) {
            self.removed(ObjectId::Certificate(serial));
        }
        let (at, revision) = (self.now, self.revision());
        // A bridge would lead from the CA of before.
        self.state.ca_rotations.rotation = None;
        self.state.ca_rotations.former = None;
        self.state.ca_rotations.made_anew = Some(MadeAnew { at, revision });
        let agents = self.state.nodes.iter().filter(|(_, node)| node.has_agent);
        let agents: Vec<NodeId> = agents.map(|(id, _)| *id).collect();
        for id in agents {
            let Some(node) = self.state.nodes.get(&id) else { continue };
            let report = NodeReport { message: JOINS_ANEW.into(), ..NodeReport::default() };
            let node = Node {
                has_agent: false,
                state: NodeState::Unknown,
                state_since: at,
                revision,
                report,
                ..(**node).clone()
            };
            self.state.put_node(id, node);
            self.updated(ObjectId::Node(id));
            self.orphan_tasks(id, JOINS_ANEW);
        }
    }

    /// The private halves of transit keys of before are in no restored cluster.
    fn retire_transit_keys_of_before(&mut self) {
        let needed = self.state.shredding.needs();
        let needed: BTreeSet<KeyId> =
            needed.flat_map(|need| need.transit_keys.iter().copied()).collect();
        for id in needed {
            self.transit_key_is_retired(id);
        }
    }
}
