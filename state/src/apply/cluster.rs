//! The cluster as a whole, and its members.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::id::{KeyId, MemberId};
use proto::identity::Subject;
use proto::limits::{ADDRESS_BYTES_MAX, RECIPIENTS_MAX, SLOT_PARAMETERS_BYTES_MAX};
use proto::name::Labels;

use super::{Applying, Context};
use crate::audit::AuditRecord;
use crate::command::{Denial, InitCluster, LEVEL};
use crate::object::{
    Availability, Blob, Cluster, Member, MemberState, Node, NodeReport, NodeState, ObjectId,
    SlotRecipient, SlotRecord, TransitKey,
};
use crate::refusal::Refusal;
use crate::remembered::Outcome;

/// Transit keys alive at a time: the current one and the one before.
const TRANSIT_KEYS_MAX: usize = 2;

impl Context<'_> {
    pub(super) fn init_cluster(&mut self, init: InitCluster) -> Applying {
        if self.state.cluster.is_some() {
            return Err(Refusal::precondition("the cluster exists already"));
        }
        let cluster = Cluster {
            realm: init.realm,
            incarnation: init.incarnation,
            created_at: self.now,
            authority: init.authority,
            active_root: init.root,
            announced_root: None,
            transit_keys: BTreeMap::from([(init.transit_id, init.transit)]),
            current_transit: init.transit_id,
            recipients_generation: 1,
            recipients: init.recipients,
            level: 1,
            payload_quota_bytes: init.payload_quota_bytes,
            revision: self.revision(),
            slots: None,
            kept_unlock_key: None,
        };
        let node = Node {
            hostname: init.hostname,
            labels: Labels::default(),
            availability: Availability::Active,
            state: NodeState::Unknown,
            state_since: self.now,
            has_agent: false,
            member: Some(init.member),
            created_at: self.now,
            updated_at: self.now,
            revision: self.revision(),
            report: NodeReport::default(),
            machine: None,
        };
        let member = Member {
            node_id: init.node_id,
            address: init.address,
            state: MemberState::Voter,
            admitted_at: self.now,
            level_max: init.level_max,
            acknowledged_root: Some(init.root),
            key_file_generation: 1,
            revision: self.revision(),
        };
        self.state.cluster = Some(Arc::new(cluster));
        self.state.put_node(init.node_id, node);
        self.state.members.insert(init.member, Arc::new(member));
        self.state.certificates.insert(init.serial, Arc::new(init.certificate));
        self.created(ObjectId::Cluster);
        self.created(ObjectId::Member(init.member));
        Ok((Outcome::Member { id: init.member, node_id: init.node_id }, ObjectId::Cluster))
    }

    pub(super) fn cluster(&self) -> Result<&Cluster, Refusal> {
        let cluster = self.state.cluster.as_deref();
        cluster.ok_or_else(|| Refusal::precondition("there is no cluster yet"))
    }

    /// The cluster, to be changed: every check comes before.
    pub(super) fn cluster_mut(&mut self) -> Result<&mut Cluster, Refusal> {
        let revision = self.revision();
        let cluster = self.state.cluster.as_mut();
        let cluster = cluster.ok_or_else(|| Refusal::precondition("there is no cluster yet"))?;
        let cluster = Arc::make_mut(cluster);
        cluster.revision = revision;
        Ok(cluster)
    }

    fn member_mut(&mut self, id: MemberId) -> Result<&mut Member, Refusal> {
        let revision = self.revision();
        let member = self.state.members.get_mut(&id);
        let member = member.ok_or_else(|| Refusal::not_found("manager", &id))?;
        let member = Arc::make_mut(member);
        member.revision = revision;
        Ok(member)
    }

    pub(super) fn acknowledge_keys(
        &mut self,
        id: MemberId,
        root: KeyId,
        key_file_generation: u64,
        level_max: u16,
    ) -> Applying {
        let member = self.member_mut(id)?;
        member.acknowledged_root = Some(root);
        member.key_file_generation = key_file_generation;
        member.level_max = level_max;
        self.updated(ObjectId::Member(id));
        Ok((Outcome::Done, ObjectId::Member(id)))
    }

    pub(super) fn set_member_state(&mut self, id: MemberId, state: MemberState) -> Applying {
        self.member_mut(id)?.state = state;
        self.updated(ObjectId::Member(id));
        Ok((Outcome::Done, ObjectId::Member(id)))
    }

    pub(super) fn set_member_address(&mut self, id: MemberId, address: String) -> Applying {
        if address.len() > ADDRESS_BYTES_MAX {
            return Err(Refusal::limit("the length of an address", ADDRESS_BYTES_MAX));
        }
        let taken = self
            .state
            .members
            .iter()
            .find(|(other, member)| **other != id && member.address == address);
        if let Some((other, _)) = taken {
            return Err(Refusal::Exists {
                what: "manager at".into(),
                name: address,
                id: other.to_string(),
            });
        }
        self.member_mut(id)?.address = address;
        self.updated(ObjectId::Member(id));
        Ok((Outcome::Done, ObjectId::Member(id)))
    }

    /// Forgets a member: its id is never used again and its certificates are revoked. The node
    /// stays if an agent runs on it.
    pub(super) fn remove_member(&mut self, id: MemberId, destroys: Option<bool>) -> Applying {
        self.root_outlives(id)?;
        let Some(member) = self.state.members.remove(&id) else {
            return Err(Refusal::not_found("manager", &id));
        };
        self.forget_root_of(id, &member, destroys);
        self.state.removed_members.insert(id);
        self.member_departed(id);
        self.state.log_keys.members.remove(&id);
        self.state.boot.members.remove(&id);
        let node_id = member.node_id;
        self.revoke_certificates(|subject| subject == Subject::Manager(node_id, id));
        if let Some(node) = self.state.nodes.get(&node_id) {
            if node.has_agent {
                let mut node = (**node).clone();
                node.member = None;
                node.revision = self.revision();
                self.state.put_node(node_id, node);
                self.updated(ObjectId::Node(node_id));
            } else {
                self.state.take_node(node_id);
                self.removed(ObjectId::Node(node_id));
            }
        }
        self.removed(ObjectId::Member(id));
        self.settle_tombstones();
        self.begin_next_log_keys();
        self.follow_root_rotation();
        self.follow_rotations();
        Ok((Outcome::Done, ObjectId::Member(id)))
    }

    /// One audit record a caller and action: refusals leave a trace, and cannot flood it.
    pub(super) fn record_denials(&mut self, denials: Vec<Denial>) -> (Outcome, ObjectId) {
        for denial in denials {
            self.state.audit.push(AuditRecord {
                index: self.index,
                at: self.now,
                caller: denial.caller,
                action: denial.action,
                object: ObjectId::Cluster,
                outcome: "denied".into(),
                count: denial.count,
            });
        }
        (Outcome::Done, ObjectId::Cluster)
    }

    pub(super) fn raise_level(&mut self, level: u16) -> Applying {
        let lags = self.state.members.iter().find(|(_, member)| member.level_max < level);
        if let Some((id, member)) = lags {
            return Err(Refusal::precondition(format!(
                "manager {id} applies only up to format {}",
                member.level_max
            )));
        }
        if level > LEVEL {
            return Err(Refusal::precondition("the level is not known to this version"));
        }
        if level <= self.cluster()?.level {
            return Err(Refusal::precondition("the level only rises"));
        }
        self.cluster_mut()?.level = level;
        self.updated(ObjectId::Cluster);
        Ok((Outcome::Done, ObjectId::Cluster))
    }

    pub(super) fn add_transit_key(&mut self, id: KeyId, mut key: TransitKey) -> Applying {
        let cluster = self.cluster()?;
        if key.wrapped_key.key_id() != cluster.active_root {
            return Err(Refusal::WrongRoot);
        }
        if cluster.transit_keys.len() >= TRANSIT_KEYS_MAX {
            return Err(Refusal::limit("the number of transit keys", TRANSIT_KEYS_MAX));
        }
        self.settle_signatures(cluster, &mut key)?;
        let cluster = self.cluster_mut()?;
        cluster.transit_keys.insert(id, key);
        cluster.current_transit = id;
        self.updated(ObjectId::Cluster);
        Ok((Outcome::Done, ObjectId::Cluster))
    }

    pub(super) fn retire_transit_key(&mut self, id: KeyId) -> Applying {
        let cluster = self.cluster()?;
        if cluster.current_transit == id {
            return Err(Refusal::precondition("the current transit key cannot be retired"));
        }
        if !cluster.transit_keys.contains_key(&id) {
            return Err(Refusal::not_found("transit key", &id));
        }
        self.cluster_mut()?.transit_keys.remove(&id);
        self.state.payloads_seen.remove(&id);
        self.transit_key_is_retired(id);
        self.updated(ObjectId::Cluster);
        Ok((Outcome::Done, ObjectId::Cluster))
    }

    pub(super) fn set_quota(&mut self, payload_bytes: u64) -> Applying {
        self.cluster_mut()?.payload_quota_bytes = payload_bytes;
        self.updated(ObjectId::Cluster);
        Ok((Outcome::Done, ObjectId::Cluster))
    }
    /// Key files are sealed to these from now on; each member says when its own is.
    pub(super) fn set_recipients(
        &mut self,
        generation: u64,
        recipients: Vec<SlotRecipient>,
    ) -> Applying {
        let current = self.cluster()?.recipients_generation;
        if generation != current {
            return Err(Refusal::RecipientsChanged { generation: current });
        }
        if recipients.is_empty() {
            return Err(Refusal::precondition("a key file that nobody can open is a lost disk"));
        }
        if recipients.len() > RECIPIENTS_MAX {
            return Err(Refusal::limit("the number of slots", RECIPIENTS_MAX));
        }
        let large = |slot: &SlotRecipient| {
            let bytes = slot.kind.len() + slot.public_key.0.len() + slot.parameters.0.len();
            bytes > SLOT_PARAMETERS_BYTES_MAX
        };
        if recipients.iter().any(large) {
            return Err(Refusal::limit("the size of a slot", SLOT_PARAMETERS_BYTES_MAX));
        }
        let slots = self.slot_records(generation + 1, &recipients)?;
        let cluster = self.cluster_mut()?;
        let stays = |old: &SlotRecipient| recipients.iter().any(|one| one.opens_as(old));
        let is_taken_away = !cluster.recipients.iter().all(stays);
        cluster.slots = Some(slots);
        cluster.recipients_generation = generation + 1;
        cluster.recipients = recipients;
        self.forget_replaced_unlock_key();
        self.updated(ObjectId::Cluster);
        if is_taken_away {
            self.rotate_log_keys_at_once_or_next();
        }
        Ok((Outcome::Done, ObjectId::Cluster))
    }

    /// The slots of a new list, each with what is known of it from the list before.
    ///
    /// Refuses a list with a slot twice, and one in which no slot counts as working: managers would
    /// be sealed to what nobody ever opened anything with.
    fn slot_records(
        &self,
        generation: u64,
        recipients: &[SlotRecipient],
    ) -> Result<Vec<SlotRecord>, Refusal> {
        let cluster = self.cluster()?;
        let mut records: Vec<SlotRecord> = Vec::with_capacity(recipients.len());
        for slot in recipients {
            if records.iter().any(|record| record.public_key == slot.public_key) {
                return Err(Refusal::precondition("the slot is in the list already"));
            }
            let stays = cluster.recipients.iter().any(|one| one.opens_as(slot));
            let record = if stays {
                cluster.record_of(slot)
            } else {
                SlotRecord {
                    public_key: slot.public_key.clone(),
                    generation,
                    changed_at: self.now,
                    opened_at: None,
                }
            };
            records.push(record);
        }
        let works = |(slot, record): (&SlotRecipient, &SlotRecord)| {
            slot.works_from_the_start() || record.opened_at.is_some()
        };
        if !recipients.iter().zip(&records).any(works) {
            return Err(Refusal::precondition(
                "it would leave no slot that counts as working: the others were never opened since \
                 they were added",
            ));
        }
        Ok(records)
    }

    /// A slot opened something: from now on it counts as working.
    pub(super) fn prove_slot(&mut self, public_key: &Blob) -> Applying {
        let cluster = self.cluster()?;
        let is_it = |slot: &&SlotRecipient| slot.public_key == *public_key;
        let slot = cluster.recipients.iter().find(is_it);
        let slot = slot.filter(|slot| slot.kind != SlotRecipient::FILE);
        let slot = slot.ok_or_else(|| Refusal::precondition("there is no such slot any more"))?;
        let record = SlotRecord { opened_at: Some(self.now), ..cluster.record_of(slot) };
        let cluster = self.cluster_mut()?;
        let slots = cluster.slots.get_or_insert_default();
        slots.retain(|other| other.public_key != record.public_key);
        slots.push(record);
        self.updated(ObjectId::Cluster);
        Ok((Outcome::Done, ObjectId::Cluster))
    }
}
