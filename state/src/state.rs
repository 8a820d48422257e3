//! The state: every object, and the indexes over them.
//!
//! Objects sit behind `Arc` in ordered maps, so that a clone of the whole state copies pointers, and
//! tables of small values, and is taken under the lock in milliseconds. Indexes are derived, never stored.
//!
//! Invariant: an index agrees with the objects (`State::check`, used by the property tests), and
//! the same log gives the same state on every manager.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use proto::id::{
    ConfigId, KeyId, MemberId, NetworkId, NodeId, OperatorId, PayloadId, RequestKey, SecretId,
    Serial, ServiceId, TaskId, Timestamp, TokenId, Version,
};
use proto::identity::{Principal, Subject};
use proto::name::FoldedName;
use proto::sealed::WrappedKey;

use crate::audit::AuditLog;
use crate::backup::Backups;
use crate::boot::Boot;
use crate::ca_rotation::CaRotations;
use crate::certificate_rotation::CertificateRotations;
use crate::log_keys::LogKeys;
use crate::object::{
    Certificate, Cluster, Config, Digest, Member, Network, Node, Operator, OperatorRole, Place,
    Secret, Service, Task, Token,
};
use crate::refusal::Refusal;
use crate::remembered::Remembered;
use crate::restore::Restored;
use crate::root_keys::RootKeys;
use crate::shredding::Shredding;
use crate::table::Table;

/// Everything the cluster knows.
#[derive(Clone, Default)]
pub struct State {
    /// The last entry that was applied.
    pub(crate) index: u64,
    /// The latest time any entry carried.
    pub(crate) now: Timestamp,
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) members: BTreeMap<MemberId, Arc<Member>>,
    /// Members that were removed: the Raft transport refuses them.
    pub(crate) removed_members: BTreeSet<MemberId>,
    pub(crate) nodes: BTreeMap<NodeId, Arc<Node>>,
    pub(crate) operators: BTreeMap<OperatorId, Arc<Operator>>,
    pub(crate) certificates: BTreeMap<Serial, Arc<Certificate>>,
    pub(crate) tokens: BTreeMap<TokenId, Arc<Token>>,
    pub(crate) secrets: BTreeMap<SecretId, Arc<Secret>>,
    pub(crate) services: BTreeMap<ServiceId, Arc<Service>>,
    pub(crate) tasks: BTreeMap<TaskId, Arc<Task>>,
    pub(crate) networks: BTreeMap<NetworkId, Arc<Network>>,
    pub(crate) configs: BTreeMap<ConfigId, Arc<Config>>,
    /// Payload ids seen under each live transit key, and who sent them.
    pub(crate) payloads_seen: BTreeMap<KeyId, Table<PayloadId, ()>>,
    pub(crate) remembered: Table<(Principal, RequestKey), Remembered>,
    /// The order in which answers are forgotten.
    pub(crate) remembered_order: VecDeque<(Principal, RequestKey)>,
    pub(crate) audit: AuditLog,
    pub(crate) log_keys: LogKeys,
    pub(crate) shredding: Arc<Shredding>,
    pub(crate) root_keys: RootKeys,
    pub(crate) boot: Boot,
    pub(crate) backups: Arc<Backups>,
    pub(crate) restored: Option<Restored>,
    pub(crate) ca_rotations: CaRotations,
    pub(crate) certificate_rotations: CertificateRotations,

    // Derived from here on.
    pub(crate) secrets_by_name: Table<FoldedName, SecretId>,
    pub(crate) secrets_by_request: Table<(Principal, RequestKey), SecretId>,
    pub(crate) services_by_name: BTreeMap<String, ServiceId>,
    pub(crate) services_by_secret: BTreeMap<SecretId, BTreeSet<ServiceId>>,
    pub(crate) tasks_by_service: BTreeMap<ServiceId, BTreeSet<TaskId>>,
    pub(crate) tasks_by_place: BTreeMap<(ServiceId, Place), BTreeSet<TaskId>>,
    pub(crate) tasks_by_node: BTreeMap<NodeId, BTreeSet<TaskId>>,
    pub(crate) nodes_by_hostname: BTreeMap<String, NodeId>,
    pub(crate) payload_bytes: u64,
    pub(crate) config_bytes: u64,
    /// How many data keys are wrapped under each root key.
    pub(crate) wraps_by_root: BTreeMap<KeyId, u64>,
}

impl State {
    /// A state before its first entry.
    pub fn new() -> Self {
        Self::default()
    }

    /// The last entry that was applied.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The latest time any entry carried.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The cluster; none before its first command.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.as_ref()
    }

    /// Bytes of sealed payloads held.
    pub const fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// The audit records kept.
    pub const fn audit(&self) -> &AuditLog {
        &self.audit
    }

    /// The managers' log keys, by their ids.
    pub const fn log_keys(&self) -> &LogKeys {
        &self.log_keys
    }

    /// What was removed, and what that still waits for.
    pub fn shredding(&self) -> &Shredding {
        &self.shredding
    }

    /// Managers that their peers may unlock.
    pub const fn boot(&self) -> &Boot {
        &self.boot
    }

    /// Managers that have not finished the log key rotation that was wanted last.
    pub fn log_keys_pending(&self) -> Vec<MemberId> {
        let behind = |id: &&MemberId| self.log_keys.of(**id).epoch < self.log_keys.wanted;
        self.members.keys().filter(behind).copied().collect()
    }

    /// A secret by its name, without regard to case.
    pub fn secret_by_name(&self, name: &FoldedName) -> Option<(SecretId, &Arc<Secret>)> {
        let id = *self.secrets_by_name.get(name)?;
        Some((id, self.secrets.get(&id)?))
    }

    /// A config by its name, without regard to case.
    pub fn config_by_name(&self, name: &FoldedName) -> Option<(ConfigId, &Arc<Config>)> {
        let mut configs = self.configs.iter();
        let is_it = |config: &Config| config.name.as_str().eq_ignore_ascii_case(name.as_str());
        configs.find(|(_, config)| is_it(config)).map(|(id, config)| (*id, config))
    }

    /// Bytes of the values of all configs.
    pub const fn config_bytes(&self) -> u64 {
        self.config_bytes
    }

    /// A service by its exact name.
    pub fn service_by_name(&self, name: &str) -> Option<(ServiceId, &Arc<Service>)> {
        let id = *self.services_by_name.get(&name.to_ascii_lowercase())?;
        self.services.get(&id).filter(|s| s.spec.name.as_str() == name).map(|s| (id, s))
    }

    /// A node by its hostname.
    pub fn node_by_hostname(&self, hostname: &str) -> Option<(NodeId, &Arc<Node>)> {
        let id = *self.nodes_by_hostname.get(&hostname.to_ascii_lowercase())?;
        Some((id, self.nodes.get(&id)?))
    }

    /// The services whose current spec refers to a secret.
    pub fn services_of_secret(
        &self,
        id: SecretId,
    ) -> impl Iterator<Item = (ServiceId, &Arc<Service>)> {
        let ids = self.services_by_secret.get(&id).into_iter().flatten();
        ids.filter_map(|id| Some((*id, self.services.get(id)?)))
    }

    /// A service whose current spec refers to a network, by its id or its name.
    pub(crate) fn service_on_network(&self, id: NetworkId, network: &Network) -> Option<ServiceId> {
        let is_it = |text: &String| *text == id.as_str() || *text == network.name.as_str();
        let uses = |service: &Service| service.spec.task.networks.iter().any(is_it);
        self.services.iter().find(|(_, service)| uses(service)).map(|(id, _)| *id)
    }

    /// The tasks of a service, ended ones included.
    pub fn tasks_of_service(&self, id: ServiceId) -> impl Iterator<Item = (TaskId, &Arc<Task>)> {
        let ids = self.tasks_by_service.get(&id).into_iter().flatten();
        ids.filter_map(|id| Some((*id, self.tasks.get(id)?)))
    }

    /// The tasks in a place of a service, ended ones included.
    pub(crate) fn tasks_in_place(
        &self,
        id: ServiceId,
        place: Place,
    ) -> impl Iterator<Item = &Arc<Task>> {
        let ids = self.tasks_by_place.get(&(id, place)).into_iter().flatten();
        ids.filter_map(|id| self.tasks.get(id))
    }

    /// The tasks assigned to a node, ended ones included.
    pub fn tasks_of_node(&self, id: NodeId) -> impl Iterator<Item = (TaskId, &Arc<Task>)> {
        let ids = self.tasks_by_node.get(&id).into_iter().flatten();
        ids.filter_map(|id| Some((*id, self.tasks.get(id)?)))
    }

    /// Whether a member was removed from the cluster.
    pub fn is_removed_member(&self, member: MemberId) -> bool {
        self.removed_members.contains(&member)
    }

    /// What the cluster thinks of a certificate, now.
    pub fn standing(&self, serial: Serial, subject: Subject, key_digest: &Digest) -> Standing {
        if let Subject::Boot(member) = subject {
            let stands = self.boot.stands(member, serial, key_digest);
            return if stands { Standing::Good } else { Standing::Revoked };
        }
        let Some(certificate) = self.certificates.get(&serial) else { return Standing::Unknown };
        if certificate.subject != subject || certificate.key_digest != *key_digest {
            return Standing::Unknown;
        }
        if certificate.revoked {
            return Standing::Revoked;
        }
        if certificate.superseded_at.is_some() {
            return Standing::Superseded;
        }
        let stands = match subject {
            Subject::Manager(_, member) => self.members.contains_key(&member),
            Subject::Boot(_) => false,
            Subject::Agent(node) => self.nodes.get(&node).is_some_and(|node| node.has_agent),
            Subject::Operator(operator) => self.operators.contains_key(&operator),
        };
        if stands { Standing::Good } else { Standing::Revoked }
    }

    /// The role of a caller among operators; none if it is not one.
    pub fn operator_role(&self, principal: Principal) -> Option<OperatorRole> {
        match principal {
            Principal::Local { .. } | Principal::Cluster => Some(OperatorRole::Admin),
            Principal::Subject(Subject::Operator(id)) => {
                self.operators.get(&id).map(|operator| operator.role)
            }
            Principal::Subject(_) | Principal::Token(_) => None,
        }
    }

    /// Whether a caller's services may refer to a secret, and so whether it may read what they do
    /// with it: who may deploy with a secret can read it.
    pub fn may_use(&self, principal: Principal, secret: &Secret) -> bool {
        if self.operator_role(principal) == Some(OperatorRole::Admin) {
            return true;
        }
        let Principal::Subject(Subject::Operator(id)) = principal else { return false };
        self.operators.get(&id).is_some_and(|operator| {
            secret.usable_by.iter().any(|user| *user == operator.name || *user == operator.group)
        })
    }

    /// Why a caller may not see what a task does, if it may not: it would see secrets that its own services
    /// may not refer to. Those of the task count, and those that its service refers to by now.
    pub fn refuses_to_show(&self, principal: Principal, task: &Task) -> Option<Refusal> {
        let of_task = task.secrets.iter().map(|reference| reference.secret_id);
        let service = self.services.get(&task.service_id);
        let of_spec = service.iter().flat_map(|service| &service.spec.task.secrets);
        let of_spec = of_spec.map(|reference| reference.secret_id);
        let mut secrets = of_task.chain(of_spec).filter_map(|id| self.secrets.get(&id));
        secrets.find(|secret| !self.may_use(principal, secret)).map(|secret| Refusal::NotUsable {
            secret: secret.name.to_string(),
            caller: principal.to_string(),
        })
    }

    /// Compares every index with the objects; a difference is a fault of this crate.
    #[cfg(any(test, debug_assertions))]
    pub fn check(&self) {
        let mut rebuilt = self.clone();
        rebuilt.rebuild_indexes();
        self.secrets_by_name.assert_same(&rebuilt.secrets_by_name, "names of secrets");
        self.secrets_by_request.assert_same(&rebuilt.secrets_by_request, "requests of secrets");
        assert_eq!(self.services_by_name, rebuilt.services_by_name, "names of services");
        assert_eq!(self.services_by_secret, rebuilt.services_by_secret, "users of secrets");
        assert_eq!(self.tasks_by_service, rebuilt.tasks_by_service, "tasks of services");
        assert_eq!(self.tasks_by_place, rebuilt.tasks_by_place, "tasks in places");
        assert_eq!(self.tasks_by_node, rebuilt.tasks_by_node, "tasks of nodes");
        assert_eq!(self.nodes_by_hostname, rebuilt.nodes_by_hostname, "hostnames");
        assert_eq!(self.payload_bytes, rebuilt.payload_bytes, "bytes of payloads");
        assert_eq!(self.config_bytes, rebuilt.config_bytes, "bytes of configs");
        assert_eq!(self.wraps_by_root, rebuilt.wraps_by_root, "wraps by root key");
    }

    /// Makes every index anew from the objects.
    pub(crate) fn rebuild_indexes(&mut self) {
        self.secrets_by_name.clear();
        self.secrets_by_request.clear();
        self.services_by_name.clear();
        self.services_by_secret.clear();
        self.tasks_by_service.clear();
        self.tasks_by_place.clear();
        self.tasks_by_node.clear();
        self.nodes_by_hostname.clear();
        self.payload_bytes = 0;
        self.wraps_by_root.clear();
        for (id, secret) in self.secrets.clone() {
            self.index_secret(id, &secret);
        }
        for (id, service) in self.services.clone() {
            self.index_service(id, &service);
        }
        for (id, task) in self.tasks.clone() {
            self.index_task(id, &task);
        }
        self.config_bytes = self.configs.values().map(|config| config.data.0.len() as u64).sum();
        for (id, node) in &self.nodes {
            self.nodes_by_hostname.insert(node.hostname.as_str().to_ascii_lowercase(), *id);
        }
    }

    fn index_secret(&mut self, id: SecretId, secret: &Secret) {
        self.secrets_by_name.insert(secret.name.folded(), id);
        if let Some(mark) = secret.request {
            self.secrets_by_request.insert((mark.principal, mark.key), id);
        }
        self.payload_bytes += payload_bytes(secret);
        for version in secret.versions.values() {
            self.count_wrap(version.payload.wrapped_dek.key_id());
        }
    }

    fn unindex_secret(&mut self, secret: &Secret) {
        self.secrets_by_name.remove(&secret.name.folded());
        if let Some(mark) = secret.request {
            self.secrets_by_request.remove(&(mark.principal, mark.key));
        }
        self.payload_bytes -= payload_bytes(secret);
        for version in secret.versions.values() {
            self.discount_wrap(version.payload.wrapped_dek.key_id());
        }
    }

    fn count_wrap(&mut self, root: KeyId) {
        *self.wraps_by_root.entry(root).or_default() += 1;
    }

    fn discount_wrap(&mut self, root: KeyId) {
        if let std::collections::btree_map::Entry::Occupied(mut entry) =
            self.wraps_by_root.entry(root)
        {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }

    /// The wrap of a secret's data key.
    pub fn wrap_of_secret(&self, id: SecretId, version: Version) -> Option<&WrappedKey> {
        let version = self.secrets.get(&id)?.versions.get(&version)?;
        Some(&version.payload.wrapped_dek)
    }

    /// Puts another wrap in the place of one. Nothing else of the secret changes: its revision is
    /// that of what operators see.
    pub(crate) fn put_wrap_of_secret(&mut self, id: SecretId, version: Version, wrap: WrappedKey) {
        let Some(secret) = self.secrets.get_mut(&id) else { return };
        let Some(version) = Arc::make_mut(secret).versions.get_mut(&version) else { return };
        let (new, bytes) = (wrap.key_id(), wrap.as_bytes().len() as u64);
        let old = std::mem::replace(&mut version.payload.wrapped_dek, wrap);
        self.payload_bytes = self.payload_bytes + bytes - old.as_bytes().len() as u64;
        self.discount_wrap(old.key_id());
        self.count_wrap(new);
    }

    fn index_service(&mut self, id: ServiceId, service: &Service) {
        self.services_by_name.insert(service.spec.name.as_str().to_ascii_lowercase(), id);
        for reference in &service.spec.task.secrets {
            self.services_by_secret.entry(reference.secret_id).or_default().insert(id);
        }
    }

    fn index_task(&mut self, id: TaskId, task: &Task) {
        self.tasks_by_service.entry(task.service_id).or_default().insert(id);
        self.tasks_by_place.entry((task.service_id, task.place())).or_default().insert(id);
        if let Some(node) = task.node_id {
            self.tasks_by_node.entry(node).or_default().insert(id);
        }
    }

    pub(crate) fn shredding_mut(&mut self) -> &mut Shredding {
        Arc::make_mut(&mut self.shredding)
    }

    pub(crate) fn put_secret(&mut self, id: SecretId, secret: Secret) {
        let secret = Arc::new(secret);
        if let Some(replaced) = self.secrets.insert(id, Arc::clone(&secret)) {
            self.unindex_secret(&replaced);
        }
        self.index_secret(id, &secret);
    }

    pub(crate) fn take_secret(&mut self, id: SecretId) -> Option<Arc<Secret>> {
        let secret = self.secrets.remove(&id)?;
        self.unindex_secret(&secret);
        Some(secret)
    }

    pub(crate) fn put_config(&mut self, id: ConfigId, config: Config) {
        self.take_config(id);
        self.config_bytes += config.data.0.len() as u64;
        self.configs.insert(id, Arc::new(config));
    }

    pub(crate) fn take_config(&mut self, id: ConfigId) {
        if let Some(config) = self.configs.remove(&id) {
            self.config_bytes -= config.data.0.len() as u64;
        }
    }

    pub(crate) fn put_service(&mut self, id: ServiceId, service: Service) {
        self.take_service(id);
        self.index_service(id, &service);
        self.services.insert(id, Arc::new(service));
    }

    pub(crate) fn take_service(&mut self, id: ServiceId) -> Option<Arc<Service>> {
        let service = self.services.remove(&id)?;
        self.services_by_name.remove(&service.spec.name.as_str().to_ascii_lowercase());
        for reference in &service.spec.task.secrets {
            remove_from(&mut self.services_by_secret, reference.secret_id, &id);
        }
        Some(service)
    }

    pub(crate) fn put_task(&mut self, id: TaskId, task: Task) {
        let moved = self.tasks.get(&id).is_none_or(|old| old.node_id != task.node_id);
        if moved {
            self.take_task(id);
            self.index_task(id, &task);
        }
        self.tasks.insert(id, Arc::new(task));
    }

    pub(crate) fn take_task(&mut self, id: TaskId) -> Option<Arc<Task>> {
        let task = self.tasks.remove(&id)?;
        remove_from(&mut self.tasks_by_service, task.service_id, &id);
        remove_from(&mut self.tasks_by_place, (task.service_id, task.place()), &id);
        if let Some(node) = task.node_id {
            remove_from(&mut self.tasks_by_node, node, &id);
        }
        Some(task)
    }

    pub(crate) fn put_node(&mut self, id: NodeId, node: Node) {
        self.nodes_by_hostname.insert(node.hostname.as_str().to_ascii_lowercase(), id);
        self.nodes.insert(id, Arc::new(node));
    }

    pub(crate) fn take_node(&mut self, id: NodeId) -> Option<Arc<Node>> {
        let node = self.nodes.remove(&id)?;
        self.nodes_by_hostname.remove(&node.hostname.as_str().to_ascii_lowercase());
        Some(node)
    }
}

/// Read access to one kind of object: all of them in order of their ids, and one of them.
macro_rules! objects {
    ($($all:ident, $one:ident, $id:ty, $object:ty, $what:literal;)*) => {
        impl State {
            $(
                #[doc = concat!("All ", $what, ", in order of their ids.")]
                pub const fn $all(&self) -> &BTreeMap<$id, Arc<$object>> {
                    &self.$all
                }

                #[doc = concat!("One of the ", $what, ".")]
                pub fn $one(&self, id: $id) -> Option<&Arc<$object>> {
                    self.$all.get(&id)
                }
            )*
        }
    };
}

objects! {
    members, member, MemberId, Member, "members";
    nodes, node, NodeId, Node, "nodes";
    operators, operator, OperatorId, Operator, "operators";
    certificates, certificate, Serial, Certificate, "certificates";
    tokens, token, TokenId, Token, "tokens";
    secrets, secret, SecretId, Secret, "secrets";
    services, service, ServiceId, Service, "services";
    tasks, task, TaskId, Task, "tasks";
    networks, network, NetworkId, Network, "networks";
    configs, config, ConfigId, Config, "configs";
}

/// What the cluster thinks of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It stands.
    Good,
    /// The CA signed it, but the cluster never committed it, or it is another one's.
    Unknown,
    /// It was taken back, or its subject is gone.
    Revoked,
    /// Certificates were rotated, and another one is its subject's in its place; or none, if it was
    /// left behind.
    Superseded,
}

fn payload_bytes(secret: &Secret) -> u64 {
    let bytes = |payload: &proto::sealed::StoredPayload| {
        payload.ciphertext.as_bytes().len() + payload.wrapped_dek.as_bytes().len()
    };
    secret.versions.values().map(|version| bytes(&version.payload) as u64).sum()
}

fn remove_from<K: Ord, V: Ord>(index: &mut BTreeMap<K, BTreeSet<V>>, key: K, value: &V) {
    if let std::collections::btree_map::Entry::Occupied(mut entry) = index.entry(key) {
        entry.get_mut().remove(value);
        if entry.get().is_empty() {
            entry.remove();
        }
    }
}
