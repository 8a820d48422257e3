//! Rotating log keys: one at a time, done when every manager has given word of a new key.

use proto::id::{KeyId, MemberId, TokenId};
use proto::identity::Role;
use proto::{id::Timestamp, limits::MANAGERS_MAX};
use state::command::{AdmitManager, Command, CreateToken};
use state::object::Digest;
use state::{Refusal, SnapshotReader, State};

use crate::world::*;

fn key(n: u8) -> KeyId {
    KeyId::from_bytes([n; 16])
}

fn word(member: MemberId, epoch: u64, n: u8) -> Command {
    Command::AcknowledgeLogKey { member, epoch, key: key(n) }
}

fn join(world: &mut World, n: u8) -> MemberId {
    let token_id = TokenId::from_entropy([n; 17]);
    world.did(Command::CreateToken(CreateToken {
        id: token_id,
        role: Role::Manager,
        hash: Digest([n; 32]),
        expires_at: Timestamp(1_000_000),
        uses: 1,
    }));
    world.did(Command::AdmitManager(AdmitManager {
        token_id,
        hash: Digest([n; 32]),
        node_id: node_id(n),
        hostname: format!("mgr-{n}").parse().unwrap(),
        address: format!("127.0.0.1:{n}"),
        level_max: 1,
    }));
    MemberId(world.state.index())
}

fn refused(world: &mut World, command: Command) -> String {
    match world.run(command).outcome.unwrap_err() {
        Refusal::Precondition { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rotation_is_refused_until_every_manager_has_given_word_of_the_last_one() {
    let mut world = World::founded();
    let (founder, other) = (MemberId(1), join(&mut world, 2));
    world.did(word(founder, 0, 1));
    world.did(Command::RotateLogKeys);
    assert_eq!(world.state.log_keys().wanted, 1);
    assert_eq!(world.state.log_keys_pending(), [founder, other]);
    let text = refused(&mut world, Command::RotateLogKeys);
    let expected =
        format!("log key rotation 1 is in progress: it waits for managers {founder}, {other}");
    assert_eq!(text, expected);
    world.did(word(founder, 1, 2));
    let text = refused(&mut world, Command::RotateLogKeys);
    assert_eq!(text, format!("log key rotation 1 is in progress: it waits for manager {other}"));
    world.did(word(other, 1, 3));
    assert!(world.state.log_keys_pending().is_empty());
    world.did(Command::RotateLogKeys);
    assert_eq!(world.state.log_keys().wanted, 2);
}

#[test]
fn word_counts_only_with_a_new_key_and_for_a_rotation_that_is_wanted() {
    let mut world = World::founded();
    let founder = MemberId(1);
    world.did(word(founder, 0, 1));
    let text = refused(&mut world, word(founder, 1, 2));
    assert!(text.contains("rotation 1: 0 is wanted"), "{text}");
    world.did(Command::RotateLogKeys);
    let text = refused(&mut world, word(founder, 1, 1));
    assert!(text.contains("has the log key that it had before"), "{text}");
    assert_eq!(world.state.log_keys_pending(), [founder]);
    world.did(word(founder, 1, 2));
    world.did(word(founder, 1, 2));
    let text = refused(&mut world, word(founder, 0, 1));
    assert!(text.contains("it had finished 1"), "{text}");
    let unknown = world.run(word(MemberId(77), 1, 1)).outcome;
    assert!(matches!(unknown, Err(Refusal::NotFound { .. })));
}

#[test]
fn who_joins_later_has_nothing_to_rotate_and_who_is_removed_is_not_waited_for() {
    let mut world = World::founded();
    let founder = MemberId(1);
    let early = join(&mut world, 2);
    world.did(Command::RotateLogKeys);
    world.did(word(founder, 1, 1));
    let late = join(&mut world, 3);
    assert_eq!(world.state.log_keys_pending(), [early]);
    world.did(Command::RemoveMember { member: early });
    assert!(world.state.log_keys_pending().is_empty());
    world.did(Command::RotateLogKeys);
    assert_eq!(world.state.log_keys_pending(), [founder, late]);
    assert!(world.state.log_keys().members.len() <= MANAGERS_MAX);
}

#[test]
fn what_is_known_of_log_keys_survives_a_snapshot() {
    let mut world = World::founded();
    world.did(Command::RotateLogKeys);
    world.did(word(MemberId(1), 1, 9));
    let mut reader = SnapshotReader::new();
    world.state.write(&mut |piece| reader.feed(piece)).unwrap();
    let read: State = reader.finish().unwrap();
    assert_eq!(read.log_keys(), world.state.log_keys());
    assert_eq!(read.log_keys().of(MemberId(1)).key, Some(key(9)));
}
