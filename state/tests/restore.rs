//! A restored cluster: who and what is left of the one that was backed up, and what is not.

use proto::id::{BackupId, Incarnation, KeyId, MemberId, Revision, SecretId, Serial, Timestamp};
use proto::identity::Subject;
use proto::sealed::WrappedKey;
use proto::task::TaskState;
use state::command::{Command, LEVEL};
use state::object::{
    Blob, Certificate, Digest, MemberState, OperatorRole, SlotRecipient, TransitKey,
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
    }
}

fn restored(world: &World, copy: State, restore: RestoreCluster) -> State {
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
    let token = state::command::CreateToken {
        id: proto::id::TokenId::from_entropy([7; 17]),
        role: proto::identity::Role::Agent,
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
