//! A restored cluster: who and what is left of the one that was backed up, and what is not.

use proto::id::{
    BackupId, Incarnation, KeyId, MemberId, Revision, SecretId, Serial, Timestamp, TokenId,
};
use proto::identity::{Role, Subject};
use proto::sealed::WrappedKey;
use proto::task::TaskState;
use state::command::{AdmitAgent, Command, CreateToken, LEVEL};
use state::object::{
    Authority, Blob, Certificate, Digest, MemberState, NodeState, OperatorRole, SlotRecipient,
    TransitKey,
};
use state::{Refusal, RestoreCluster, Standing, State, apply};

use crate::backup::{copy_said_to_be_under, copy_under};
use crate::ca_rotation::begin_under;
use crate::world::*;

const NEW_ROOT: KeyId = KeyId::from_bytes([90; 16]);
const LOG_KEY: KeyId = KeyId::from_bytes([91; 16]);
const NEW_TRANSIT: KeyId = KeyId::from_bytes([92; 16]);
const SERIAL: Serial = Serial::from_bytes([99; 16]);

/// On a machine that the cluster did not know.
pub(crate) fn restore(copy: &State, incarnation: u64) -> RestoreCluster {
    let (node_id, member) = (node_id(201), MemberId(copy.index() + 1));
    RestoreCluster {
        incarnation: Incarnation(incarnation),
        backup: BackupId::from_bytes([5; 16]),
        root: NEW_ROOT,
        transit_id: NEW_TRANSIT,
        transit: TransitKey {
            public_key: Blob(vec![1].into()),
            wrapped_key: WrappedKey::new(sealed(NEW_ROOT, 4, 32)).unwrap(),
            created_at: Timestamp(1),
            not_after: Timestamp(9),
            signature: Blob(vec![2].into()),
            signatures: None,
        },
        recipients: vec![SlotRecipient {
            kind: "unlock-key".into(),
            member: None,
            public_key: Blob(vec![3; 34].into()),
            parameters: Blob(vec![4; 24].into()),
        }],
        node_id,
        hostname: "new-1".parse().unwrap(),
        address: "127.0.0.1:7450".into(),
        serial: SERIAL,
        certificate: certificate(Subject::Manager(node_id, member)),
        log_key: LOG_KEY,
        level_max: LEVEL,
        revision: Revision(copy.index()),
        taken_at: copy.now(),
        authority: None,
    }
}

/// On a machine that the cluster did not know, with a CA of its own.
fn restore_with_ca(copy: &State, incarnation: u64, ca: u8) -> RestoreCluster {
    let restore = restore(copy, incarnation);
    let authority = Authority {
        certificate: Blob(vec![ca].into()),
        digest: Digest([ca; 32]),
        wrapped_key: WrappedKey::new(sealed(NEW_ROOT, ca, 138)).unwrap(),
    };
    let of_it = Certificate { authority: Some(authority.digest), ..restore.certificate };
    RestoreCluster { certificate: of_it, authority: Some(authority), ..restore }
}

pub(crate) fn restored(world: &World, copy: State, restore: RestoreCluster) -> State {
    let (mut state, mut envelopes) = (copy, World::founded());
    envelopes.now = world.now;
    let envelope = envelopes.envelope(Command::RestoreCluster(Box::new(restore)));
    let index = state.index() + 1;
    apply(&mut state, index, envelope).unwrap().outcome.unwrap();
    state.check();
    state
}

fn refused(copy: &State, restore: RestoreCluster) -> Refusal {
    let (mut state, mut envelopes) = (copy.clone(), World::founded());
    envelopes.now = copy.now().0;
    let envelope = envelopes.envelope(Command::RestoreCluster(Box::new(restore)));
    let index = state.index() + 1;
    let refusal = apply(&mut state, index, envelope).unwrap().outcome.unwrap_err();
    assert_eq!(objects(&state), objects(copy), "a refusal changes nothing");
    refusal
}

/// Two managers, an agent with a task, an operator, secrets.
fn lived_in() -> (World, MemberId, Serial) {
    let mut world = World::founded();
    let (second, serial) = world.certified_manager(40);
    let agent = world.add_node(1, &[]);
    world.create_secret(1, "db_password");
    let service = world.create_service(1, World::spec("web", 1, &[(1, "db_password")]));
    world.settle();
    let (task, _) = world.state.tasks_of_service(service).next().unwrap();
    world.report(agent, task, TaskState::Running);
    world.operator(9, OperatorRole::Admin, "team");
    (world, second, serial)
}

#[test]
fn one_manager_is_there_and_all_that_is_not_about_managers_and_keys_stays() {
    let (world, second, serial) = lived_in();
    let copy = copy_under(&world.state, NEW_ROOT);
    let state = restored(&world, copy.clone(), restore(&copy, 2));
    let me = MemberId(copy.index() + 1);
    let cluster = state.cluster().unwrap();
    assert_eq!(cluster.incarnation, Incarnation(2));
    assert_eq!(cluster.active_root, NEW_ROOT);
    assert_eq!(state.roots_in_use(), [NEW_ROOT]);
    assert_eq!(cluster.transit_keys.keys().copied().collect::<Vec<_>>(), [NEW_TRANSIT]);
    assert_eq!(cluster.current_transit, NEW_TRANSIT);
    assert_eq!(cluster.recipients.len(), 1);
    assert_eq!(cluster.recipients_generation, 2, "key files of before are of another list");
    assert_eq!(cluster.authority.digest, world.state.cluster().unwrap().authority.digest);

    assert_eq!(state.members().keys().copied().collect::<Vec<_>>(), [me]);
    let member = state.member(me).unwrap();
    assert_eq!((member.state, member.key_file_generation), (MemberState::Voter, 2));
    for gone in [MemberId(1), second] {
        assert!(state.is_removed_member(gone));
        assert_eq!(state.root_keys().unproved[&gone].root, None, "its disk is out there");
    }
    let standing = |serial, n, member| {
        state.standing(serial, Subject::Manager(node_id(n), member), &Digest([9; 32]))
    };
    assert_eq!(standing(serial, 40, second), Standing::Revoked);
    assert_eq!(standing(Serial::from_bytes([0; 16]), 200, MemberId(1)), Standing::Revoked);
    assert_eq!(standing(SERIAL, 201, me), Standing::Good);
    assert!(state.node_by_hostname("mgr-40").is_none(), "its name is free for its successor");

    // Agents, operators, secrets, services and tasks carry on.
    let agent = Subject::Agent(node_id(1));
    let serial = Serial::from_bytes([1; 16]);
    assert_eq!(state.standing(serial, agent, &Digest([9; 32])), Standing::Good);
    assert_eq!(state.operators(), world.state.operators());
    assert_eq!(state.tasks(), world.state.tasks());
    assert_eq!(state.services(), world.state.services());
    assert!(state.tokens().is_empty());
    let values = |state: &State| {
        let secrets = state.secrets().iter();
        let one = |(id, secret): (&SecretId, &std::sync::Arc<state::object::Secret>)| {
            let value = secret.versions.values().next().unwrap();
            (*id, secret.name.clone(), value.payload.ciphertext.clone())
        };
        secrets.map(one).collect::<Vec<_>>()
    };
    assert_eq!(values(&state), values(&world.state));

    // It knows of the backup that it came from, and when that was.
    let known = &state.backups().known()[&BackupId::from_bytes([5; 16])];
    assert_eq!((known.revision, known.taken_at), (Revision(copy.index()), copy.now()));
    assert_eq!(state.restored().unwrap().incarnation, Incarnation(2));
    let (last, _) = state.audit().records().next_back().unwrap();
    assert_eq!((last.action.as_str(), last.outcome.as_str()), ("restore_cluster", "ok"));
    assert_eq!(state.audit().records().count(), world.state.audit().records().count() + 1);
}

#[test]
fn rotations_that_were_under_way_are_over() {
    let (mut world, second, _) = lived_in();
    world.did(Command::SetMemberState { member: second, state: MemberState::Voter });
    world.did(Command::RotateLogKeys);
    let id = KeyId::from_bytes([70; 16]);
    world.did(Command::AnnounceRoot { id, member: MemberId(1), replaces: None });
    world.did(Command::RemoveService { id: service_id(1) });
    world.settle();
    let removed = world.create_secret(2, "removed");
    world.did(Command::RemoveSecret { id: removed, forget_previous: false, shred: Some(true) });
    let copy = copy_under(&world.state, NEW_ROOT);
    let state = restored(&world, copy.clone(), restore(&copy, 2));
    assert!(state.root_keys().rotation.is_none());
    assert!(state.log_keys_pending().is_empty());
    assert_eq!(state.root_keys_wanted().into_iter().collect::<Vec<_>>(), [NEW_ROOT]);
    // The transit key it came under is in no restored cluster: only a rotation is left to wait for.
    let (_, tombstone) = state.shredding().of(removed).unwrap();
    assert!(tombstone.need.transit_keys.is_empty() && tombstone.shredded.is_none());
}

#[test]
fn what_needs_no_more_than_new_log_keys_is_gone_and_what_was_to_follow_is_forgotten() {
    let (mut world, ..) = lived_in();
    let removed = world.create_secret(2, "removed");
    world.did(Command::RemoveSecret { id: removed, forget_previous: false, shred: None });
    let transit = world.state.cluster().unwrap().transit_keys[&TRANSIT].clone();
    world.did(Command::AddTransitKey { id: KeyId::from_bytes([71; 16]), key: transit });
    world.did(Command::RetireTransitKey { id: TRANSIT });
    world.did(Command::RotateLogKeys);
    // Another one is to follow that, since a slot is taken away.
    for n in [1, 2] {
        let generation = world.state.cluster().unwrap().recipients_generation;
        let mut recipients = restore(&world.state, 2).recipients;
        recipients[0].public_key = Blob(vec![n; 34].into());
        world.did(Command::SetRecipients { generation, recipients });
    }
    assert!(world.state.log_keys().next_since.is_some());
    let shredded = |state: &State| state.shredding().of(removed).unwrap().1.shredded.is_some();
    assert!(!shredded(&world.state));
    let copy = copy_under(&world.state, NEW_ROOT);
    let state = restored(&world, copy.clone(), restore(&copy, 2));
    assert!(shredded(&state), "its only manager has a log key of its own");
    let wanted = |state: &State| (state.log_keys().wanted, state.log_keys().next_since);
    assert_eq!(wanted(&state), (wanted(&world.state).0, None), "none is to follow");
}

#[test]
fn tokens_and_announced_keys_of_before_are_void_though_a_copy_has_them() {
    let (mut world, ..) = lived_in();
    // A copy that this version would not have made.
    let mut copy = copy_under(&world.state, NEW_ROOT);
    let token = CreateToken {
        id: TokenId::from_entropy([7; 17]),
        role: Role::Agent,
        hash: Digest([7; 32]),
        expires_at: Timestamp(1_000_000),
        uses: 2,
    };
    let id = KeyId::from_bytes([70; 16]);
    let announce = Command::AnnounceRoot { id, member: MemberId(1), replaces: None };
    for command in [Command::CreateToken(token), announce] {
        let (envelope, index) = (world.envelope(command), copy.index() + 1);
        apply(&mut copy, index, envelope).unwrap().outcome.unwrap();
    }
    let state = restored(&world, copy.clone(), restore(&copy, 2));
    assert!(state.tokens().is_empty());
    assert!(state.cluster().unwrap().announced_root.is_none());
}

#[test]
fn the_machine_of_a_node_that_is_known_stays_that_node() {
    let (world, ..) = lived_in();
    let copy = copy_under(&world.state, NEW_ROOT);
    let member = MemberId(copy.index() + 1);
    // An agent runs there, or a manager ran there.
    for n in [1, 40] {
        let hostname = world.state.node(node_id(n)).unwrap().hostname.clone();
        let on_it = RestoreCluster {
            node_id: node_id(n),
            hostname,
            certificate: certificate(Subject::Manager(node_id(n), member)),
            ..restore(&copy, 2)
        };
        let state = restored(&world, copy.clone(), on_it);
        let node = state.node(node_id(n)).unwrap();
        assert_eq!(node.member, Some(member));
        assert_eq!(node.has_agent, n == 1);
    }
    let hostname = world.state.node(node_id(1)).unwrap().hostname.clone();
    let taken = RestoreCluster { hostname, ..restore(&copy, 2) };
    assert!(matches!(refused(&copy, taken), Refusal::Precondition { .. }));
    let renamed = RestoreCluster {
        node_id: node_id(1),
        certificate: certificate(Subject::Manager(node_id(1), member)),
        ..restore(&copy, 2)
    };
    assert!(matches!(refused(&copy, renamed), Refusal::Precondition { .. }));
}

#[test]
fn what_was_issued_after_the_backup_stands_with_its_subject() {
    let (world, ..) = lived_in();
    let copy = copy_under(&world.state, NEW_ROOT);
    let state = restored(&world, copy.clone(), restore(&copy, 3));
    let agent = Subject::Agent(node_id(1));
    let standing = |state: &State, subject, incarnation| {
        state.standing_without_record(subject, Incarnation(incarnation), state.now())
    };
    assert_eq!(standing(&state, agent, 1), Standing::Good);
    assert_eq!(standing(&state, agent, 2), Standing::Good, "of a life that the backup missed");
    assert_eq!(standing(&state, agent, 3), Standing::Unknown, "its own it would know");
    assert_eq!(standing(&state, Subject::Agent(node_id(77)), 1), Standing::Unknown);
    let manager = Subject::Manager(node_id(40), MemberId(2));
    assert_eq!(standing(&state, manager, 1), Standing::Unknown);
    assert_eq!(standing(&world.state, agent, 0), Standing::Unknown, "it was never restored");
    // Whoever is evicted has nothing left.
    let mut state = state;
    let mut envelopes = World::founded();
    let envelope = envelopes.envelope(Command::RemoveNode { id: node_id(1), force: true });
    let index = state.index() + 1;
    apply(&mut state, index, envelope).unwrap().outcome.unwrap();
    assert_eq!(standing(&state, agent, 1), Standing::Unknown);
}

#[test]
fn a_certificate_without_a_record_ends_when_one_of_before_the_restore_has_to() {
    let (world, ..) = lived_in();
    let copy = copy_under(&world.state, NEW_ROOT);
    let state = restored(&world, copy.clone(), restore(&copy, 2));
    let (operator, _) = state.operators().iter().next().unwrap();
    let day_ms = 24 * 3600 * 1000;
    for (subject, days) in [(Subject::Agent(node_id(1)), 30), (Subject::Operator(*operator), 90)] {
        let latest = state.restored().unwrap().at.after_ms(days * day_ms);
        let standing =
            |not_after| state.standing_without_record(subject, Incarnation(1), not_after);
        assert_eq!(standing(latest), Standing::Good);
        assert_eq!(standing(latest.after_ms(1)), Standing::Unknown, "{subject:?}: it is forged");
    }
}

/// It is of the backup's CA. A manager that has not heard of the drop may still take it, and hand on
/// what it asks.
#[test]
fn no_certificate_without_a_record_stands_once_the_ca_of_the_backup_is_dropped() {
    let (world, ..) = lived_in();
    let copy = copy_under(&world.state, NEW_ROOT);
    let state = restored(&world, copy.clone(), restore(&copy, 2));
    let mut world = World::founded();
    world.state = state;
    let agent = Subject::Agent(node_id(1));
    let standing =
        |world: &World| world.state.standing_without_record(agent, Incarnation(1), Timestamp(0));
    let cluster = world.state.cluster().unwrap().clone();
    let (member, known) = world.state.members().iter().next().unwrap();
    let founder = Subject::Manager(known.node_id, *member);
    world.did(begin_under(NEW_ROOT, cluster.authority.digest, 81, &[NEW_TRANSIT]));
    let serial = Serial::from_bytes([81; 16]);
    let certificate = Certificate { authority: Some(Digest([81; 32])), ..certificate(founder) };
    world.did(Command::IssueCertificate { serial, certificate });
    world.did(Command::NoteMoves(vec![serial]));
    assert_eq!(standing(&world), Standing::Good, "it may yet renew");
    world.did(Command::DropFormerCa);
    assert_eq!(standing(&world), Standing::Unknown);
}

#[test]
fn only_a_backup_is_restored_and_only_into_a_later_life() {
    let (world, ..) = lived_in();
    let copy = copy_under(&world.state, NEW_ROOT);
    for incarnation in [0, 1] {
        assert!(matches!(
            refused(&copy, restore(&copy, incarnation)),
            Refusal::Precondition { .. }
        ));
    }
    assert!(matches!(refused(&State::new(), restore(&copy, 2)), Refusal::Precondition { .. }));
    // A cluster that runs.
    assert!(matches!(
        refused(&world.state, restore(&world.state, 2)),
        Refusal::Precondition { .. }
    ));
    // All of it is under the new root key, and it says so.
    for still_wrapped in [
        copy_under(&world.state, ROOT),
        copy_said_to_be_under(&world.state, NEW_ROOT, ROOT),
        copy_said_to_be_under(&world.state, ROOT, NEW_ROOT),
    ] {
        assert_eq!(refused(&still_wrapped, restore(&copy, 2)), Refusal::WrongRoot);
    }
    let mut old_transit = restore(&copy, 2);
    old_transit.transit.wrapped_key = WrappedKey::new(sealed(ROOT, 4, 32)).unwrap();
    assert_eq!(refused(&copy, old_transit), Refusal::WrongRoot);
    let another = RestoreCluster {
        certificate: certificate(Subject::Manager(node_id(201), MemberId(1))),
        ..restore(&copy, 2)
    };
    assert!(matches!(refused(&copy, another), Refusal::Precondition { .. }));
    let later = copy.now().after_ms(1_000_000);
    for of_tomorrow in [
        RestoreCluster { revision: Revision(10_000), ..restore(&copy, 2) },
        RestoreCluster { taken_at: later, ..restore(&copy, 2) },
    ] {
        assert!(matches!(refused(&copy, of_tomorrow), Refusal::Precondition { .. }));
    }
}

#[test]
fn with_another_ca_no_certificate_of_before_stands_and_nothing_leads_to_it() {
    let (mut world, ..) = lived_in();
    // One that took the place of an earlier one: who knows that must not be led on.
    let cluster = world.state.cluster().unwrap().clone();
    world.did(begin_under(ROOT, cluster.authority.digest, 81, &[TRANSIT]));
    let members = world.state.members().iter().map(|(id, member)| (*id, member.node_id));
    for (n, (member, node)) in (81..).zip(members.collect::<Vec<_>>()) {
        let serial = Serial::from_bytes([n; 16]);
        let of_it = certificate(Subject::Manager(node, member));
        let certificate = Certificate { authority: Some(Digest([81; 32])), ..of_it };
        world.did(Command::IssueCertificate { serial, certificate });
        world.did(Command::NoteMoves(vec![serial]));
    }
    world.did(Command::DropFormerCa);
    assert!(world.state.ca_rotations().former.is_some());
    let copy = copy_under(&world.state, NEW_ROOT);
    let state = restored(&world, copy.clone(), restore_with_ca(&copy, 2, 90));
    let cluster = state.cluster().unwrap();
    assert_eq!(cluster.authority.digest, Digest([90; 32]));
    assert_eq!(state.roots_in_use(), [NEW_ROOT]);
    assert_eq!(state.authorities().count(), 1);
    let rotations = state.ca_rotations();
    assert!(rotations.rotation.is_none() && rotations.former.is_none(), "there is no bridge");
    assert_eq!(state.certificates().keys().copied().collect::<Vec<_>>(), [SERIAL]);
    let (operator, _) = state.operators().iter().next().unwrap();
    for subject in [Subject::Agent(node_id(1)), Subject::Operator(*operator)] {
        let standing = state.standing_without_record(subject, Incarnation(1), Timestamp(0));
        assert_eq!(standing, Standing::Unknown, "{subject}");
    }
    assert_eq!(state.operators(), world.state.operators());
    // All backups of before bring another CA back, the one that was restored included.
    let known = &state.backups().known()[&BackupId::from_bytes([5; 16])];
    assert!(state.is_of_former_ca(known));

    // Of a later life with the same CA what came after its backup stands again.
    let mut world = World::founded();
    (world.now, world.state) = (state.now().0 + 1, state);
    join_anew(&mut world);
    let copy = copy_under(&world.state, NEW_ROOT);
    let again = RestoreCluster { revision: Revision(copy.index()), ..restore(&copy, 3) };
    let again = RestoreCluster { hostname: "new-2".parse().unwrap(), ..again };
    let member = MemberId(copy.index() + 1);
    let again = RestoreCluster {
        node_id: node_id(202),
        certificate: certificate(Subject::Manager(node_id(202), member)),
        ..again
    };
    let state = restored(&world, copy, again);
    let agent = Subject::Agent(node_id(1));
    let standing = state.standing_without_record(agent, Incarnation(2), Timestamp(0));
    assert_eq!(standing, Standing::Good);
}

/// The agent of `node-1`, by a token of now.
fn join_anew(world: &mut World) {
    let (id, hash) = (TokenId::from_entropy([60; 17]), Digest([60; 32]));
    let expires_at = Timestamp(u64::MAX);
    world.did(Command::CreateToken(CreateToken {
        id,
        role: Role::Agent,
        hash,
        expires_at,
        uses: 1,
    }));
    let hostname = "node-1".parse().unwrap();
    let node = world.state.node_that_waits(&hostname);
    let authority = world.state.cluster().unwrap().authority.digest;
    let of_it = certificate(Subject::Agent(node_id(1)));
    world.did(Command::AdmitAgent(AdmitAgent {
        token_id: id,
        hash,
        node_id: node.unwrap(),
        same_node: true,
        hostname,
        serial: Serial::from_bytes([60; 16]),
        certificate: Certificate { authority: Some(authority), ..of_it },
        machine: machine_of(1),
    }));
}

#[test]
fn with_another_ca_nodes_wait_for_their_agents_and_what_ran_there_is_placed_anew() {
    let (mut world, ..) = lived_in();
    world.add_node(2, &[("zone", "eu")]);
    let copy = copy_under(&world.state, NEW_ROOT);
    let state = restored(&world, copy.clone(), restore_with_ca(&copy, 2, 90));
    let mut world = World::founded();
    (world.now, world.state, world.tasks_made) = (state.now().0, state, 1_000);
    assert_eq!(world.state.nodes_that_wait(), 2);
    let node = world.state.node(node_id(2)).unwrap();
    assert!(node.waits_for_agent() && node.report.message.contains("joins anew"));
    assert_eq!(node.labels.as_map()["zone"], "eu");
    let of_node = |world: &World, n| {
        let tasks = world.state.tasks_of_node(node_id(n));
        tasks.map(|(_, task)| task.status.state).collect::<Vec<_>>()
    };
    assert_eq!(of_node(&world, 1), [TaskState::Orphaned], "nobody says what becomes of it");
    world.settle();
    let [(_, task)] = &world.wanted(service_id(1))[..] else { panic!("one in its place") };
    assert_eq!((task.status.state, task.node_id), (TaskState::Pending, None));

    // Its agent comes as the node that it was, and gets what belongs there.
    let hostname = "node-1".parse().unwrap();
    assert_eq!(world.state.node_that_waits(&hostname), Some(node_id(1)));
    join_anew(&mut world);
    assert_eq!(world.state.node_that_waits(&hostname), None, "nobody else is that node");
    assert_eq!(world.state.node(node_id(1)).unwrap().report.message, "");
    let serial = Serial::from_bytes([60; 16]);
    let standing = world.state.standing(serial, Subject::Agent(node_id(1)), &Digest([9; 32]));
    assert_eq!(standing, Standing::Good);
    world.node_is(node_id(1), NodeState::Ready);
    world.settle();
    let [(_, task)] = &world.wanted(service_id(1))[..] else { panic!("one in its place") };
    assert_eq!(task.node_id, Some(node_id(1)));
    // Who does not come back is removed like any other.
    world.did(Command::RemoveNode { id: node_id(2), force: false });
    assert_eq!(world.state.nodes_that_wait(), 0);
}

#[test]
fn another_ca_is_a_new_one_under_the_new_root_key_and_its_manager_is_not_waited_for() {
    let (world, ..) = lived_in();
    let copy = copy_under(&world.state, NEW_ROOT);
    let of_before = world.state.cluster().unwrap().authority.digest;
    let mut same = restore_with_ca(&copy, 2, 90);
    same.authority.as_mut().unwrap().digest = of_before;
    assert!(matches!(refused(&copy, same), Refusal::Precondition { .. }));
    let mut old_wrap = restore_with_ca(&copy, 2, 90);
    let wrap = WrappedKey::new(sealed(ROOT, 90, 138)).unwrap();
    old_wrap.authority.as_mut().unwrap().wrapped_key = wrap;
    assert_eq!(refused(&copy, old_wrap), Refusal::WrongRoot);
    // The manager's machine had an agent, which has to find another place.
    let member = MemberId(copy.index() + 1);
    let on_it = restore_with_ca(&copy, 2, 90);
    let of_it = certificate(Subject::Manager(node_id(1), member));
    let on_it = RestoreCluster {
        node_id: node_id(1),
        hostname: "node-1".parse().unwrap(),
        certificate: Certificate { authority: Some(Digest([90; 32])), ..of_it },
        ..on_it
    };
    let state = restored(&world, copy, on_it);
    let node = state.node(node_id(1)).unwrap();
    assert_eq!((node.member, node.has_agent), (Some(member), false));
    assert_eq!(state.nodes_that_wait(), 0);
}
