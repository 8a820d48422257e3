//! A small world to try commands in: a founded cluster, ids from small pools, an oracle's view.

use std::collections::BTreeMap;

use bytes::Bytes;
use proto::id::{
    ConfigId, Incarnation, KeyId, MemberId, NetworkId, NodeId, OperatorId, PayloadId, Realm,
    RequestKey, Revision, SecretId, Serial, ServiceId, TaskId, Timestamp, TokenId,
};
use proto::identity::{Caller, Principal, Role, Subject};
use proto::name::Labels;
use proto::sealed::{ALGORITHM_XCHACHA20_POLY1305, Ciphertext, FORMAT, StoredPayload, WrappedKey};
use proto::spec::{
    ConfigReference, FileMode, Mode, OnChange, SecretReference, ServiceSpec, VersionChoice,
};
use proto::task::TaskState;
use state::command::{
    AdmitAgent, AdmitManager, Command, CreateSecret, CreateToken, Envelope, InitCluster, LEVEL,
    NodeNews, NodeStatuses,
};
use state::object::{
    Authority, Blob, Certificate, Digest, Machine, NodeState, RequestMark, Task, TransitKey,
};
use state::{Applied, BootKey, NewGeneration, Plan, Scope, SnapshotReader, State, apply, plan};

pub(crate) const ROOT: KeyId = KeyId::from_bytes([1; 16]);
pub(crate) const TRANSIT: KeyId = KeyId::from_bytes([2; 16]);
pub(crate) const ADMIN: Caller = Caller::Local { uid: 0, member: MemberId(1) };

pub(crate) fn sealed(key: KeyId, fill: u8, length: usize) -> Bytes {
    let mut bytes = vec![FORMAT, ALGORITHM_XCHACHA20_POLY1305];
    bytes.extend_from_slice(key.as_bytes());
    bytes.resize(42 + length + 16, fill);
    bytes.into()
}

pub(crate) fn payload(n: u8, root: KeyId, length: usize) -> StoredPayload {
    StoredPayload {
        payload_id: PayloadId::from_bytes([n; 16]),
        wrapped_dek: WrappedKey::new(sealed(root, n, 64)).unwrap(),
        ciphertext: Ciphertext::new(sealed(KeyId::from_bytes([n; 16]), n, length)).unwrap(),
    }
}

pub(crate) fn secret_id(n: u8) -> SecretId {
    SecretId::from_entropy([n; 17])
}

pub(crate) fn service_id(n: u8) -> ServiceId {
    ServiceId::from_entropy([n; 17])
}

pub(crate) fn network_id(n: u8) -> NetworkId {
    NetworkId::from_entropy([n; 17])
}

pub(crate) fn config_id(n: u8) -> ConfigId {
    ConfigId::from_entropy([n; 17])
}

pub(crate) fn config_reference(n: u8, name: &str) -> ConfigReference {
    ConfigReference {
        config_id: config_id(n),
        config_name: name.parse().unwrap(),
        target: name.parse().unwrap(),
        uid: Some(0),
        gid: Some(0),
        mode: FileMode::ALL_READ,
    }
}

pub(crate) fn node_id(n: u8) -> NodeId {
    NodeId::from_entropy([n; 17])
}

pub(crate) fn certificate(subject: Subject) -> Certificate {
    Certificate {
        subject,
        key_digest: Digest([9; 32]),
        issued_at: Timestamp(0),
        not_after: Timestamp(1_000_000_000),
        revoked: false,
        authority: None,
        rotation: None,
        superseded_at: None,
    }
}

pub(crate) fn new_generation(n: u8) -> NewGeneration {
    NewGeneration {
        boot: BootKey {
            serial: Serial::from_bytes([n; 16]),
            key_digest: Digest([n; 32]),
            not_after: Timestamp(1_000_000_000),
        },
        public_key: Blob(vec![n; 34].into()),
        wrapped_key: WrappedKey::new(sealed(ROOT, n, 32)).unwrap(),
    }
}

/// Machines of these tests have four processors and 1 GiB; from 100 on, nobody knows.
pub(crate) fn machine_of(n: u8) -> Option<Machine> {
    (n < 100).then(|| Machine {
        nano_cpus: 4_000_000_000,
        memory_bytes: 1 << 30,
        os: "linux".into(),
        architecture: if n < 50 { "x86_64".into() } else { "aarch64".into() },
    })
}

pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) now: u64,
    pub(crate) log: Vec<(u64, Envelope)>,
    pub(crate) tasks_made: u64,
    requests: u64,
}

impl World {
    /// A cluster with its founder.
    pub(crate) fn founded() -> Self {
        let mut world =
            Self { state: State::new(), now: 1_000, log: Vec::new(), tasks_made: 0, requests: 0 };
        let founder = node_id(200);
        let init = InitCluster {
            realm: Realm::from_bytes([7; 16]),
            incarnation: Incarnation(1),
            authority: Authority {
                certificate: Blob(Bytes::from_static(b"ca")),
                digest: Digest([1; 32]),
                wrapped_key: WrappedKey::new(sealed(ROOT, 3, 138)).unwrap(),
            },
            root: ROOT,
            transit_id: TRANSIT,
            transit: TransitKey {
                public_key: Blob(Bytes::from_static(b"public")),
                wrapped_key: WrappedKey::new(sealed(ROOT, 4, 32)).unwrap(),
                created_at: Timestamp(0),
                not_after: Timestamp(1_000_000_000),
                signature: Blob(Bytes::from_static(b"signature")),
                signatures: None,
            },
            recipients: vec![],
            payload_quota_bytes: 100_000,
            member: MemberId(1),
            node_id: founder,
            hostname: "mgr-1".parse().unwrap(),
            address: "127.0.0.1:7443".into(),
            serial: Serial::from_bytes([0; 16]),
            certificate: certificate(Subject::Manager(founder, MemberId(1))),
            level_max: LEVEL,
        };
        world.did(Command::InitCluster(Box::new(init)));
        world
    }

    pub(crate) fn envelope(&mut self, body: Command) -> Envelope {
        self.now += 1;
        Envelope { format: 1, request: None, caller: ADMIN, at: Timestamp(self.now), body }
    }

    pub(crate) fn apply(&mut self, envelope: Envelope) -> Applied {
        let index = self.state.index() + 1;
        self.log.push((index, envelope.clone()));
        let applied = apply(&mut self.state, index, envelope).unwrap();
        self.state.check();
        applied
    }

    /// Proposes on behalf of the local admin.
    pub(crate) fn run(&mut self, body: impl Into<Command>) -> Applied {
        let envelope = self.envelope(body.into());
        self.apply(envelope)
    }

    /// Proposes what must succeed.
    pub(crate) fn did(&mut self, body: impl Into<Command>) -> Applied {
        let applied = self.run(body);
        assert!(applied.outcome.is_ok(), "{:?}", applied.outcome);
        applied
    }

    pub(crate) fn mark(&mut self, digest: u8) -> RequestMark {
        self.requests += 1;
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.requests.to_be_bytes());
        RequestMark {
            principal: Principal::Local { uid: 0 },
            key: RequestKey::from_bytes(key),
            digest: Digest([digest; 32]),
        }
    }

    pub(crate) fn create_secret(&mut self, n: u8, name: &str) -> SecretId {
        let create = CreateSecret {
            id: secret_id(n),
            name: name.parse().unwrap(),
            labels: Labels::default(),
            usable_by: vec![],
            payload: payload(n, ROOT, 64),
            transit_key_id: TRANSIT,
        };
        self.did(Command::CreateSecret(create));
        secret_id(n)
    }

    pub(crate) fn spec(name: &str, replicas: u64, secrets: &[(u8, &str)]) -> ServiceSpec {
        let mut spec = ServiceSpec::new(name.parse().unwrap());
        spec.mode = Mode::Replicated(replicas);
        spec.task.command = vec!["sleep".into(), "1000".into()];
        spec.task.restart.delay_ms = 100;
        spec.task.secrets = secrets
            .iter()
            .map(|(n, name)| SecretReference {
                secret_id: secret_id(*n),
                secret_name: name.parse().unwrap(),
                version: VersionChoice::Follow,
                target: name.parse().unwrap(),
                uid: None,
                gid: None,
                mode: FileMode::OWNER_READS,
                on_change: OnChange::Restart,
            })
            .collect();
        spec
    }

    pub(crate) fn create_service(&mut self, n: u8, spec: ServiceSpec) -> ServiceId {
        self.did(Command::CreateService { id: service_id(n), spec: Box::new(spec) });
        service_id(n)
    }

    /// An agent that was admitted and is in touch.
    pub(crate) fn add_node(&mut self, n: u8, labels: &[(&str, &str)]) -> NodeId {
        self.add_node_with(n, labels, |_| ())
    }

    /// One whose machine is another.
    pub(crate) fn add_node_with(
        &mut self,
        n: u8,
        labels: &[(&str, &str)],
        change: impl FnOnce(&mut Machine),
    ) -> NodeId {
        let token = CreateToken {
            id: TokenId::from_entropy([n; 17]),
            role: Role::Agent,
            hash: Digest([n; 32]),
            expires_at: Timestamp(u64::MAX),
            uses: 1,
        };
        self.did(Command::CreateToken(token));
        let id = node_id(n);
        let mut machine = machine_of(n);
        if let Some(machine) = &mut machine {
            change(machine);
        }
        self.did(Command::AdmitAgent(AdmitAgent {
            token_id: TokenId::from_entropy([n; 17]),
            hash: Digest([n; 32]),
            node_id: id,
            same_node: false,
            hostname: format!("node-{n}").parse().unwrap(),
            serial: Serial::from_bytes([n; 16]),
            certificate: certificate(Subject::Agent(id)),
            machine,
        }));
        let label_add: BTreeMap<String, String> =
            labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        self.did(Command::UpdateNode(state::command::UpdateNode {
            id,
            revision: None,
            label_add,
            label_rm: vec![],
            availability: None,
        }));
        self.node_is(id, NodeState::Ready);
        id
    }

    /// A manager is admitted, as number `n`.
    pub(crate) fn join_manager(&mut self, n: u8) -> MemberId {
        let token_id = TokenId::from_entropy([n; 17]);
        self.did(Command::CreateToken(CreateToken {
            id: token_id,
            role: Role::Manager,
            hash: Digest([n; 32]),
            expires_at: Timestamp(u64::MAX),
            uses: 1,
        }));
        self.did(Command::AdmitManager(AdmitManager {
            token_id,
            hash: Digest([n; 32]),
            node_id: node_id(n),
            hostname: format!("mgr-{n}").parse().unwrap(),
            address: format!("127.0.0.1:{n}"),
            level_max: 1,
        }));
        MemberId(self.state.index())
    }

    /// A manager that was admitted, and has its certificate.
    pub(crate) fn certified_manager(&mut self, n: u8) -> (MemberId, Serial) {
        let member = self.join_manager(n);
        let serial = Serial::from_bytes([n; 16]);
        let certificate = certificate(Subject::Manager(node_id(n), member));
        self.did(Command::IssueCertificate { serial, certificate });
        (member, serial)
    }

    pub(crate) fn node_is(&mut self, id: NodeId, state: NodeState) {
        let news = NodeNews { node_id: id, state: Some(state), report: None };
        self.did(Command::ReportNodes(vec![news]));
    }

    /// What a leader would propose now.
    pub(crate) fn plan(&mut self) -> Plan {
        let now = Timestamp(self.now);
        // A leader that takes over in the middle starts from a snapshot: it plans the same.
        let restored = restored(&self.state);
        let plans = [&self.state, &restored].map(|state| {
            let mut made = self.tasks_made;
            let mut ids = || {
                made += 1;
                let mut entropy = [0; 17];
                entropy[9..].copy_from_slice(&made.to_be_bytes());
                TaskId::from_entropy(entropy)
            };
            (plan(state, now, &Scope::Everything, &mut ids), made)
        });
        let [(plan, made), (again, _)] = plans;
        assert_eq!(plan, again, "a new leader plans on");
        self.tasks_made = made;
        plan
    }

    /// Plans and applies until nothing is left to do; returns how many rounds it took.
    pub(crate) fn settle(&mut self) -> usize {
        for round in 0..50 {
            let plan = self.plan();
            if plan.steps.is_empty() {
                return round;
            }
            self.did(Command::Plan(plan.steps));
        }
        panic!("planning does not come to rest");
    }

    /// Lets the time pass that a plan waits for; false if it waits for none.
    pub(crate) fn wake(&mut self) -> bool {
        let Some(at) = self.plan().wake_at else { return false };
        self.now = self.now.max(at.0);
        self.settle();
        true
    }

    /// The tasks of a service that live and are wanted, by slot.
    pub(crate) fn wanted(&self, id: ServiceId) -> Vec<(TaskId, Task)> {
        let tasks = self.state.tasks_of_service(id);
        let wanted = tasks.filter(|(_, task)| task.is_live() && task.is_wanted());
        let mut wanted: Vec<_> = wanted.map(|(id, task)| (id, (**task).clone())).collect();
        wanted.sort_by_key(|(id, task)| (task.slot, *id));
        wanted
    }

    /// Declares a service anew.
    pub(crate) fn update_service(&mut self, id: ServiceId, change: impl FnOnce(&mut ServiceSpec)) {
        let mut spec = self.state.service(id).unwrap().spec.clone();
        change(&mut spec);
        let revision = self.revision_of_service(id);
        self.did(Command::UpdateService { id, revision, spec: Box::new(spec) });
    }

    /// Agents do what they are told: what is to run runs, or fails if its command is `bad`; what is
    /// to stop stops. Time passes only as commands do.
    pub(crate) fn agents_act(&mut self) -> usize {
        let tasks: Vec<_> = self.state.tasks().iter().map(|(id, t)| (*id, t.clone())).collect();
        let mut acted = 0;
        for (id, task) in tasks {
            let up = |node: &NodeId| {
                self.state.node(*node).is_some_and(|node| node.state == NodeState::Ready)
            };
            let Some(node) = task.node_id.filter(up) else { continue };
            let to = match task.status.state {
                state if state.is_terminal() => continue,
                _ if !task.is_wanted() => TaskState::Shutdown,
                TaskState::Running => continue,
                _ if task.spec.command == ["bad"] => TaskState::Failed,
                _ => TaskState::Running,
            };
            self.report(node, id, to);
            acted += 1;
        }
        acted
    }

    /// Plans and lets agents act until neither changes anything; no time passes for it.
    pub(crate) fn go_on(&mut self) {
        for _ in 0..200 {
            if self.settle() + self.agents_act() == 0 {
                return;
            }
        }
        panic!("it goes on for ever");
    }

    pub(crate) fn report(&mut self, node: NodeId, task: TaskId, state: TaskState) {
        let status = proto::task::TaskStatus {
            task_id: task,
            state,
            at: Timestamp(self.now),
            message: state.as_str().into(),
            exit_code: None,
            mounted: vec![],
        };
        let statuses = vec![NodeStatuses { node_id: node, statuses: vec![status] }];
        self.did(Command::ReportTasks(statuses));
    }

    pub(crate) fn revision_of_service(&self, id: ServiceId) -> Revision {
        self.state.service(id).unwrap().revision
    }

    pub(crate) fn operator(
        &mut self,
        n: u8,
        role: state::object::OperatorRole,
        group: &str,
    ) -> Caller {
        let id = OperatorId::from_entropy([n; 17]);
        let token = CreateToken {
            id: TokenId::from_entropy([n; 17]),
            role: Role::Operator,
            hash: Digest([n; 32]),
            expires_at: Timestamp(u64::MAX),
            uses: 1,
        };
        self.did(Command::AddOperator(state::command::AddOperator {
            id,
            name: format!("op-{n}").parse().unwrap(),
            role,
            group: group.parse().unwrap(),
            token,
        }));
        Caller::Certified { subject: Subject::Operator(id), serial: Serial::from_bytes([n; 16]) }
    }
}

/// A state as a manager has it that starts from a snapshot.
pub(crate) fn restored(state: &State) -> State {
    let mut reader = SnapshotReader::new();
    reader.feed(&bytes_of(state)).unwrap();
    reader.finish().unwrap()
}

/// Every item of a written state but its head and its audit: the objects.
pub(crate) fn objects(state: &State) -> Vec<Vec<u8>> {
    let mut items = Vec::new();
    state
        .write(&mut |item| {
            // Kinds 0 and 15: see `snapshot::kind`.
            if !matches!(item[0], 0 | 15) {
                items.push(item.to_vec());
            }
            Ok::<(), ()>(())
        })
        .unwrap();
    items
}

pub(crate) fn bytes_of(state: &State) -> Vec<u8> {
    let mut bytes = Vec::new();
    state
        .write(&mut |item| {
            bytes.extend_from_slice(item);
            Ok::<(), ()>(())
        })
        .unwrap();
    bytes
}
