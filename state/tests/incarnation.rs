//! A new life of the cluster: who and what is left, and what is not.

use proto::id::{Incarnation, KeyId, MemberId, SecretId, Serial, Timestamp};
use proto::identity::Subject;
use proto::sealed::WrappedKey;
use proto::task::TaskState;
use state::command::Command;
use state::object::{Blob, Digest, MemberState, TransitKey};
use state::{BeginIncarnation, BootCommand, PeerPolicy, Refusal, Standing};

use crate::world::*;

const LOG_KEY: KeyId = KeyId::from_bytes([61; 16]);

/// With the manager that was admitted as number `n`.
pub(crate) fn begin(member: MemberId, n: u8, incarnation: u64) -> BeginIncarnation {
    BeginIncarnation {
        incarnation: Incarnation(incarnation),
        member,
        serial: Serial::from_bytes([99; 16]),
        certificate: certificate(Subject::Manager(node_id(n), member)),
        log_key: LOG_KEY,
        root: ROOT,
        key_file_generation: 3,
        level_max: 1,
    }
}

fn did(world: &mut World, begin: BeginIncarnation) {
    world.did(Command::BeginIncarnation(Box::new(begin)));
}

fn refused(world: &mut World, begin: BeginIncarnation) -> Refusal {
    let before = objects(&world.state);
    let refusal = world.run(Command::BeginIncarnation(Box::new(begin))).outcome.unwrap_err();
    assert_eq!(objects(&world.state), before, "a refusal changes nothing");
    refusal
}

#[test]
fn one_manager_is_left_and_all_that_is_not_about_managers_stays() {
    let mut world = World::founded();
    let (left, former) = world.certified_manager(40);
    let (dead, dead_serial) = world.certified_manager(41);
    let agent = world.add_node(1, &[]);
    world.create_secret(1, "db_password");
    let service = world.create_service(1, World::spec("web", 1, &[(1, "db_password")]));
    world.settle();
    let (task, _) = world.state.tasks_of_service(service).next().unwrap();
    world.report(agent, task, TaskState::Running);
    world.operator(9, state::object::OperatorRole::Admin, "team");
    assert!(!world.state.tokens().is_empty());
    let task_before = world.state.task(task).unwrap().clone();
    let secret_before = world.state.secret(secret_id(1)).unwrap().clone();

    did(&mut world, begin(left, 40, 2));
    let state = &world.state;
    let cluster = state.cluster().unwrap();
    assert_eq!(cluster.incarnation, Incarnation(2));
    let members: Vec<_> = state.members().keys().copied().collect();
    assert_eq!(members, [left]);
    let member = state.member(left).unwrap();
    assert_eq!(member.state, MemberState::Voter);
    assert_eq!((member.acknowledged_root, member.key_file_generation), (Some(ROOT), 3));
    for gone in [MemberId(1), dead] {
        assert!(state.is_removed_member(gone));
    }
    assert!(state.node_by_hostname("mgr-41").is_none(), "its name is free for its successor");
    assert!(state.node_by_hostname("mgr-40").is_some());

    // Its own certificate of the life before is revoked too: a copy of its disk has it.
    let standing = |serial, n, member| {
        state.standing(serial, Subject::Manager(node_id(n), member), &Digest([9; 32]))
    };
    assert_eq!(standing(dead_serial, 41, dead), Standing::Revoked);
    assert_eq!(standing(former, 40, left), Standing::Revoked);
    assert_eq!(standing(Serial::from_bytes([99; 16]), 40, left), Standing::Good);
    // Agents carry on with theirs.
    let of_agent = Subject::Agent(agent);
    assert_eq!(
        state.standing(Serial::from_bytes([1; 16]), of_agent, &Digest([9; 32])),
        Standing::Good
    );
    assert!(state.tokens().is_empty(), "tokens end: what is lost may have revoked them");
    assert_eq!(state.operators().len(), 1);
    assert_eq!(*state.task(task).unwrap(), task_before);
    assert_eq!(*state.secret(secret_id(1)).unwrap(), secret_before);
    let (last, _) = state.audit().records().next_back().unwrap();
    assert_eq!((last.action.as_str(), last.outcome.as_str()), ("begin_incarnation", "ok"));

    // The next one follows; a manager that comes has an id that nobody had.
    did(&mut world, begin(left, 40, 3));
    let (new, _) = world.certified_manager(42);
    assert!(new > dead);
}

#[test]
fn a_rotation_of_log_keys_that_waited_for_the_dead_is_finished() {
    let mut world = World::founded();
    let (left, _) = world.certified_manager(40);
    world.certified_manager(41);
    world.did(Command::RotateLogKeys);
    assert_eq!(world.state.log_keys_pending().len(), 3);
    did(&mut world, begin(left, 40, 2));
    assert!(world.state.log_keys_pending().is_empty());
    let kept = &world.state.log_keys().members;
    assert_eq!(kept.keys().copied().collect::<Vec<_>>(), [left]);
    assert_eq!(world.state.log_keys().of(left).key, Some(LOG_KEY));
}

#[test]
fn what_was_removed_is_shredded_by_the_one_that_is_left_and_the_others_are_named() {
    let mut world = World::founded();
    let (left, _) = world.certified_manager(40);
    let (dead, _) = world.certified_manager(41);
    let secret = world.create_secret(1, "db_password");
    let other = world.create_secret(2, "other");
    let remove = |id: SecretId| Command::RemoveSecret { id, forget_previous: false, shred: None };
    world.did(Command::AddTransitKey {
        id: KeyId::from_bytes([50; 16]),
        key: TransitKey {
            public_key: Blob::default(),
            wrapped_key: WrappedKey::new(sealed(ROOT, 4, 32)).unwrap(),
            created_at: Timestamp(1),
            not_after: Timestamp(9),
            signature: Blob::default(),
            signatures: None,
        },
    });
    world.did(remove(secret));
    world.did(Command::RetireTransitKey { id: TRANSIT });
    world.did(Command::RotateLogKeys);
    // A rotation that was under way when it was removed does not count, not for the new life either.
    world.did(remove(other));
    did(&mut world, begin(left, 40, 2));
    let shredding = world.state.shredding();
    let (_, tombstone) = shredding.of(secret).unwrap();
    let words = &tombstone.shredded.as_ref().unwrap().words;
    assert_eq!(words.iter().map(|word| word.member).collect::<Vec<_>>(), [left]);
    let without: Vec<_> = shredding.without_proof(tombstone).collect();
    assert_eq!(without, [MemberId(1), dead]);
    let (_, waits) = shredding.of(other).unwrap();
    assert!(waits.shredded.is_none());
}

#[test]
fn only_a_member_with_the_active_root_key_begins_the_next_life() {
    let mut world = World::founded();
    let (left, _) = world.certified_manager(40);
    for incarnation in [0, 1, 3, u64::MAX] {
        let refusal = refused(&mut world, begin(left, 40, incarnation));
        assert!(matches!(refusal, Refusal::Precondition { .. }), "{refusal:?}");
    }
    let stranger = begin(MemberId(77), 40, 2);
    assert!(matches!(refused(&mut world, stranger), Refusal::NotFound { .. }));
    let another = BeginIncarnation {
        certificate: certificate(Subject::Manager(node_id(41), left)),
        ..begin(left, 40, 2)
    };
    assert!(matches!(refused(&mut world, another), Refusal::Precondition { .. }));
    let rootless = BeginIncarnation { root: KeyId::from_bytes([5; 16]), ..begin(left, 40, 2) };
    assert_eq!(refused(&mut world, rootless), Refusal::WrongRoot);
    did(&mut world, begin(left, 40, 2));
    assert_eq!(world.state.cluster().unwrap().incarnation, Incarnation(2));
}

#[test]
fn nobody_keeps_what_peers_open_it_with() {
    let mut world = World::founded();
    let (left, _) = world.certified_manager(40);
    world.did(BootCommand::SetPolicy { policy: PeerPolicy::Auto });
    for member in [MemberId(1), left] {
        let made_of = Box::new(new_generation(62));
        world.did(BootCommand::Stage { member, held: None, made_of, replaces: None });
    }
    did(&mut world, begin(left, 40, 2));
    assert_eq!(world.state.boot().generations().count(), 0, "contexts name the incarnation");
}
