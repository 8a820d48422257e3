//! Old bytes of every format are read as they always were.
//!
//! `fixtures/format_1.hex` holds a log of format 1, an entry a line, and the digest of the state
//! it makes. `SECRETD_REGENERATE=1` writes it anew: only ever to add, never to change a line.

use proto::id::{BackupId, KeyId, MemberId, Revision, TaskId, Timestamp, Version};
use proto::identity::{Caller, Role, Subject};
use proto::name::Labels;
use proto::sealed::WrappedKey;
use proto::task::{DesiredState, TaskState};
use state::command::{
    AdmitManager, Command, CreateConfig, CreateNetwork, CreateSecret, CreateToken, Denial,
    Envelope, LEVEL, NodeNews, Rewrap, RotateSecret, Step, UpdateNode,
};
use state::object::{
    Availability, Blob, Certificate, Digest, MemberState, NodeReport, OperatorRole, SlotRecipient,
    TransitKey,
};
use state::{
    AlarmReason, BootCommand, KeptUnlockKey, MadeBy, PeerPolicy, ReadBackCommand, State,
    UpdateState, Wrapped, apply, wrap_digest,
};

use crate::ca_rotation::begin_under;
use crate::world::*;

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/format_1.hex");

/// A log with every command, so that no variant changes its bytes unseen.
fn log_of_everything() -> World {
    let mut world = World::founded();
    let secret = world.create_secret(1, "db_password");
    world.create_secret(2, "unused");
    let node = world.add_node(1, &[("zone", "eu")]);
    let mut spec = World::spec("web", 2, &[(1, "db_password")]);
    spec.task.placement.constraints = vec!["node.labels.zone==eu".parse().unwrap()];
    let service = world.create_service(1, spec.clone());
    world.settle();
    let (task, _) = world.state.tasks_of_service(service).next().unwrap();
    world.report(node, task, TaskState::Running);
    world.did(Command::ReportNodes(vec![NodeNews {
        node_id: node,
        state: None,
        report: Some(NodeReport {
            message: "hello".into(),
            agent_version: "0.1.0".into(),
            has_engine: None,
        }),
    }]));
    world.did(Command::UpdateNode(UpdateNode {
        id: node,
        revision: None,
        label_add: [("disk".to_owned(), "ssd".to_owned())].into(),
        label_rm: vec!["none".into()],
        availability: Some(Availability::Pause),
    }));
    let revision = world.revision_of_service(service);
    spec.task.force_update = 1;
    world.did(Command::UpdateService { id: service, revision, spec: Box::new(spec) });
    let revision = world.revision_of_service(service);
    world.did(Command::RollBackService { id: service, revision });
    steps_of_every_kind(&mut world);
    members_and_operators(&mut world);
    world.did(Command::RemoveService { id: service });
    world.settle();
    world.run(Command::RemoveSecret { id: secret, forget_previous: true, shred: None });
    world.did(Command::RemoveSecret { id: secret_id(2), forget_previous: false, shred: None });
    world.did(Command::RemoveNode { id: node, force: true });
    log_keys(&mut world);
    world.did(Command::SetRecipients {
        generation: 1,
        recipients: vec![SlotRecipient {
            kind: "unlock-key".into(),
            member: None,
            public_key: Blob(vec![3; 34].into()),
            parameters: Blob(vec![4; 24].into()),
        }],
    });
    world.did(Command::ProveSlot { public_key: Blob(vec![3; 34].into()) });
    let public_key = Blob(vec![3; 34].into());
    world.did(ReadBackCommand::Keep(KeptUnlockKey {
        public_key: public_key.clone(),
        wrapped_key: WrappedKey::new(sealed(ROOT, 4, 32)).unwrap(),
    }));
    world.did(ReadBackCommand::Read { public_key });
    world.did(ReadBackCommand::Forget);
    peers(&mut world);
    removed_at_once(&mut world);
    let begin = crate::incarnation::begin(MemberId(1), 200, 2);
    world.did(Command::BeginIncarnation(Box::new(begin)));
    root_keys(&mut world);
    backups(&mut world);
    ca_rotation(&mut world);
    rotated(&mut world);
    networks(&mut world);
    certificate_rotation(&mut world);
    configs(&mut world);
    exec(&mut world);
    world
}

fn steps_of_every_kind(world: &mut World) {
    let (id, revision) = (TaskId::from_entropy([99; 17]), Revision(1));
    let steps = vec![
        Step::CreateTask {
            id,
            service_id: service_id(9),
            spec_revision: revision,
            slot: 1,
            not_before: Timestamp(5),
            attempts: 2,
            window_start: Timestamp(3),
            for_node: Some(node_id(1)),
            made_by: Some(MadeBy { began: revision, counts: true }),
            restarts: Some(vec![Timestamp(4)]),
        },
        Step::AssignTask { id, revision, node_id: node_id(1), node_revision: revision },
        Step::SetDesired { id, revision, desired: DesiredState::Shutdown },
        Step::ExplainPending { id, revision, message: "no node".into() },
        Step::OrphanTask { id, revision, message: "gone".into() },
        Step::RemoveTask { id, revision },
        Step::MoveUpdate {
            service_id: service_id(9),
            began: revision,
            from: UpdateState::Updating,
            to: UpdateState::Paused,
            message: "a task failed".into(),
        },
        Step::RollBack { service_id: service_id(9), revision, message: "a task failed".into() },
    ];
    world.did(Command::Plan(steps));
}

fn members_and_operators(world: &mut World) {
    let operator = world.operator(9, OperatorRole::Deployer, "team");
    let Caller::Certified { subject: Subject::Operator(operator_id), serial } = operator else {
        panic!("operators are certified")
    };
    world.did(Command::EnrollOperator {
        token_id: proto::id::TokenId::from_entropy([9; 17]),
        hash: Digest([9; 32]),
        serial,
        certificate: certificate(Subject::Operator(operator_id)),
    });
    let token_id = proto::id::TokenId::from_entropy([8; 17]);
    world.did(Command::CreateToken(CreateToken {
        id: token_id,
        role: Role::Manager,
        hash: Digest([8; 32]),
        expires_at: Timestamp(1_000_000),
        uses: 2,
    }));
    world.did(Command::AdmitManager(AdmitManager {
        token_id,
        hash: Digest([8; 32]),
        node_id: node_id(8),
        hostname: "mgr-2".parse().unwrap(),
        address: "127.0.0.1:7444".into(),
        level_max: 1,
    }));
    let member = MemberId(world.state.index());
    world.did(Command::IssueCertificate {
        serial: proto::id::Serial::from_bytes([8; 16]),
        certificate: certificate(Subject::Manager(node_id(8), member)),
    });
    world.did(Command::AcknowledgeKeys {
        member,
        root: ROOT,
        key_file_generation: 1,
        level_max: 1,
    });
    world.did(Command::SetMemberState { member, state: MemberState::Voter });
    world.did(Command::SetMemberAddress { member, address: "127.0.0.1:7445".into() });
    world.did(Command::RemoveMember { member, destroys: None });
    world.did(Command::RevokeToken { id: token_id });
    world.did(Command::RecordDenials(vec![Denial {
        caller: operator,
        action: "create_secret".into(),
        count: 3,
    }]));
    let new = KeyId::from_bytes([50; 16]);
    world.did(Command::AddTransitKey {
        id: new,
        key: TransitKey {
            public_key: Blob(vec![1].into()),
            wrapped_key: WrappedKey::new(sealed(ROOT, 4, 32)).unwrap(),
            created_at: Timestamp(1),
            not_after: Timestamp(9),
            signature: Blob(vec![2].into()),
            signatures: None,
        },
    });
    world.did(Command::RetireTransitKey { id: TRANSIT });
    world.did(Command::SetQuota { payload_bytes: 1 << 20 });
    world.did(Command::RemoveOperator { id: operator_id });
    world.run(Command::RaiseLevel { level: LEVEL });
    let (index, digest) = (world.state.index(), world.state.digest());
    world.did(Command::CheckDigest { index, digest });
}

fn log_keys(world: &mut World) {
    world.did(Command::RotateLogKeys);
    let key = KeyId::from_bytes([60; 16]);
    world.did(Command::AcknowledgeLogKey { member: MemberId(1), epoch: 1, key });
}

fn removed_at_once(world: &mut World) {
    world.did(Command::ShredSecret { id: secret_id(2) });
    world.did(Command::CreateSecret(CreateSecret {
        id: secret_id(3),
        name: "short_lived".parse().unwrap(),
        labels: Labels::default(),
        usable_by: vec![],
        payload: payload(3, ROOT, 64),
        transit_key_id: KeyId::from_bytes([50; 16]),
    }));
    world.did(Command::RemoveSecret {
        id: secret_id(3),
        forget_previous: false,
        shred: Some(true),
    });
}

fn root_keys(world: &mut World) {
    let (member, id) = (MemberId(1), KeyId::from_bytes([70; 16]));
    let secret = secret_id(70);
    world.did(Command::CreateSecret(CreateSecret {
        id: secret,
        name: "wrapped_anew".parse().unwrap(),
        labels: Labels::default(),
        usable_by: vec![],
        payload: payload(70, ROOT, 64),
        transit_key_id: KeyId::from_bytes([50; 16]),
    }));
    world.did(Command::AnnounceRoot { id: KeyId::from_bytes([69; 16]), member, replaces: None });
    let replaces = Some(KeyId::from_bytes([69; 16]));
    world.did(Command::AnnounceRoot { id, member, replaces });
    world.did(Command::AcknowledgeRoot { member, id });
    world.did(Command::ActivateRoot { id });
    let wrap = world.state.wrap_of_secret(secret, Version(1)).unwrap();
    let authority = &world.state.cluster().unwrap().authority;
    let (transit, key) = world.state.cluster().unwrap().transit_keys.first_key_value().unwrap();
    let object = Wrapped::Secret { id: secret, version: Version(1) };
    let items = [
        (object, wrap, 64),
        (Wrapped::Authority, &authority.wrapped_key, 138),
        (Wrapped::Transit(*transit), &key.wrapped_key, 32),
    ];
    let items = items.map(|(object, wrap, length)| Rewrap {
        object,
        old: wrap_digest(wrap),
        new: WrappedKey::new(sealed(id, 71, length)).unwrap(),
    });
    world.did(Command::Rewrap(items.to_vec()));
    world.did(Command::RetireRoot { id: ROOT });
    world.did(Command::AcknowledgeRootDestroyed { member, id: ROOT });
    let epoch = world.state.log_keys().wanted;
    let key = KeyId::from_bytes([72; 16]);
    world.did(Command::AcknowledgeLogKey { member, epoch, key });
    assert!(world.state.root_keys().last.is_some());
}

fn peers(world: &mut World) {
    let member = MemberId(1);
    world.did(BootCommand::SetPolicy { policy: PeerPolicy::Approve });
    let made_of = new_generation(62);
    let by = made_of.boot;
    let made_of = Box::new(made_of);
    world.did(BootCommand::Stage { member, held: None, made_of, replaces: None });
    let generation = world.state.index();
    world.did(BootCommand::Acknowledge { member, generation });
    let host = "192.0.2.1".to_owned();
    world.did(BootCommand::Approve { member, generation, host: host.clone() });
    world.did(BootCommand::Grant { member, generation, by, host });
    let reason = AlarmReason::Stale;
    let from = "192.0.2.1:7443".to_owned();
    world.did(BootCommand::RaiseAlarm { member, reason, generation: 1, from, count: 2 });
    world.did(BootCommand::ClearAlarm { member });
    world.did(BootCommand::Stage {
        member,
        held: Some(generation),
        made_of: Box::new(new_generation(63)),
        replaces: None,
    });
}

fn backups(world: &mut World) {
    for n in [1, 2] {
        world.did(Command::RecordBackup {
            id: BackupId::from_bytes([n; 16]),
            revision: Revision(world.state.index()),
            taken_at: world.state.now(),
        });
    }
    world.did(Command::ForgetBackup { id: BackupId::from_bytes([1; 16]) });
    // In a cluster that runs it is refused; what it is in a log that begins with it: `restore`.
    let restore = crate::restore::restore(&world.state, 2);
    world.run(Command::RestoreCluster(Box::new(restore)));
}

fn ca_rotation(world: &mut World) {
    let (digest, root) = (Digest([81; 32]), KeyId::from_bytes([70; 16]));
    world.add_node(83, &[]);
    let cluster = world.state.cluster().unwrap().clone();
    let transit: Vec<KeyId> = cluster.transit_keys.keys().copied().collect();
    world.did(begin_under(root, cluster.authority.digest, 81, &transit));
    let founder = world.state.member(MemberId(1)).unwrap().node_id;
    let serial = proto::id::Serial::from_bytes([81; 16]);
    let subject = Subject::Manager(founder, MemberId(1));
    let certificate = Certificate { authority: Some(digest), ..certificate(subject) };
    world.did(Command::IssueCertificate { serial, certificate });
    world.did(Command::NoteMoves(vec![serial]));
    world.did(Command::DropFormerCa);
    assert!(world.state.ca_rotations().former.is_some());
}

fn rotated(world: &mut World) {
    let root = world.state.cluster().unwrap().active_root;
    let transit = world.state.cluster().unwrap().current_transit;
    let id = secret_id(70);
    let spec = World::spec("follows", 1, &[(70, "wrapped_anew")]);
    let service = world.create_service(110, spec);
    world.did(Command::RotateSecret(RotateSecret {
        id,
        version: Version(2),
        payload: payload(110, root, 64),
        transit_key_id: transit,
    }));
    assert!(world.state.service(service).unwrap().followed.is_some());
}

fn networks(world: &mut World) {
    let network = |n: u8, name: &str| CreateNetwork {
        id: network_id(n),
        name: name.parse().unwrap(),
        body: Blob(vec![n].into()),
    };
    world.did(Command::CreateNetwork(network(1, "front")));
    world.did(Command::CreateNetwork(network(2, "back")));
    world.did(Command::RemoveNetwork { id: network_id(1) });
}

fn certificate_rotation(world: &mut World) {
    world.did(Command::BeginCertificateRotation);
    let founder = world.state.member(MemberId(1)).unwrap().node_id;
    let serial = proto::id::Serial::from_bytes([82; 16]);
    let authority = Some(world.state.cluster().unwrap().authority.digest);
    let subject = Subject::Manager(founder, MemberId(1));
    let certificate = Certificate { authority, ..certificate(subject) };
    world.did(Command::IssueCertificate { serial, certificate });
    world.did(Command::NoteMoves(vec![serial]));
    world.did(Command::CutFormerCertificates);
    assert!(world.state.certificate_rotations().last.is_some());
}

fn configs(world: &mut World) {
    let config = |n: u8, name: &str| CreateConfig {
        id: config_id(n),
        name: name.parse().unwrap(),
        labels: Labels::default(),
        data: Blob(vec![n; 3].into()),
    };
    world.did(Command::CreateConfig(config(1, "site")));
    world.did(Command::CreateConfig(config(2, "unused")));
    let labels = Labels::new([("tier".to_owned(), "web".to_owned())].into()).unwrap();
    let revision = world.state.config(config_id(1)).unwrap().revision;
    world.did(Command::UpdateConfigLabels { id: config_id(1), revision, labels });
    let mut spec = World::spec("proxy", 1, &[]);
    spec.task.configs = vec![config_reference(1, "site")];
    world.create_service(20, spec);
    world.did(Command::RemoveConfig { id: config_id(2), forget_previous: false });
}

fn exec(world: &mut World) {
    // Of a task that is not there: it is refused, and on record all the same.
    let task = TaskId::from_entropy([130; 17]);
    assert!(world.run(Command::RecordExec { task }).outcome.is_err());
}

fn lines(world: &World) -> String {
    let mut text = String::new();
    for (_, envelope) in &world.log {
        text.push_str(&proto::hex::encode(&minicbor::to_vec(envelope).unwrap()));
        text.push('\n');
    }
    text.push_str(&proto::hex::encode(&world.state.digest().0));
    text.push('\n');
    text
}

fn bytes(line: &str) -> Vec<u8> {
    let pairs = line.as_bytes().chunks(2);
    pairs.map(|p| proto::hex::decode::<1>(str::from_utf8(p).unwrap()).unwrap()[0]).collect()
}

#[test]
fn a_log_of_format_1_makes_the_state_it_always_made() {
    let world = log_of_everything();
    if std::env::var_os("SECRETD_REGENERATE").is_some() {
        std::fs::File::create(FIXTURE)
            .and_then(|mut file| std::io::Write::write_all(&mut file, lines(&world).as_bytes()))
            .unwrap();
    }
    let fixture = std::fs::read_to_string(FIXTURE).unwrap();
    let (log, digest) = fixture.trim_end().rsplit_once('\n').unwrap();
    let mut state = State::new();
    let mut names = std::collections::BTreeSet::new();
    for (index, line) in (1..).zip(log.lines()) {
        let stored = bytes(line);
        let envelope: Envelope = minicbor::decode(&stored).unwrap();
        assert_eq!(minicbor::to_vec(&envelope).unwrap(), stored, "entry {index}");
        names.insert(envelope.body.name());
        apply(&mut state, index, envelope).unwrap();
    }
    assert_eq!(proto::hex::encode(&state.digest().0), digest);
    assert_eq!(names.len(), 67, "every command is in the fixture: {names:?}");
    // What this version writes is still what the fixture holds.
    assert_eq!(lines(&world), fixture);
}
