//! Rotating log keys: one at a time, done when every manager has given word of a new key.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proto::id::{KeyId, MemberId};
use proto::limits::MANAGERS_MAX;
use state::command::Command;
use state::object::{Blob, SlotRecipient};
use state::{Refusal, SnapshotReader, State};

use crate::world::*;

pub(crate) fn key(n: u8) -> KeyId {
    KeyId::from_bytes([n; 16])
}

pub(crate) fn word(member: MemberId, epoch: u64, n: u8) -> Command {
    Command::AcknowledgeLogKey { member, epoch, key: key(n) }
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
    let (founder, other) = (MemberId(1), world.join_manager(2));
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
    let early = world.join_manager(2);
    world.did(Command::RotateLogKeys);
    world.did(word(founder, 1, 1));
    world.did(Command::RemoveMember { member: early, destroys: None });
    assert!(world.state.log_keys_pending().is_empty());
    let late = world.join_manager(3);
    assert!(world.state.log_keys_pending().is_empty(), "all that it is sent is under new keys");
    world.did(Command::RotateLogKeys);
    assert_eq!(world.state.log_keys_pending(), [founder, late]);
    assert!(world.state.log_keys().members.len() <= MANAGERS_MAX);
}

/// It is sent what a manager has that has not rotated yet.
#[test]
fn who_joins_while_log_keys_rotate_rotates_too() {
    let mut world = World::founded();
    let founder = MemberId(1);
    for epoch in 1..=2 {
        world.did(Command::RotateLogKeys);
        let n = u8::try_from(epoch).unwrap();
        let late = world.join_manager(10 + n);
        assert!(world.state.log_keys_pending().contains(&late));
        world.did(word(founder, epoch, n));
        assert_eq!(world.state.log_keys_pending(), [late]);
        for member in world.state.log_keys_pending() {
            world.did(word(member, epoch, 100 + n));
        }
        assert!(world.state.log_keys_pending().is_empty());
        world.did(Command::RemoveMember { member: late, destroys: None });
    }
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

/// Seals to unlock keys of these numbers from now on.
pub(crate) fn seal_to(world: &mut World, keys: &[u8]) {
    let generation = world.state.cluster().unwrap().recipients_generation;
    let slot = |n: &u8| SlotRecipient {
        kind: "unlock-key".into(),
        member: None,
        public_key: Blob(vec![*n; 34].into()),
        parameters: Blob(generation.to_be_bytes().to_vec().into()),
    };
    let recipients = keys.iter().map(slot).collect();
    world.did(Command::SetRecipients { generation, recipients });
}

/// The rotation that is wanted, and the last one that is or will be.
fn numbers(world: &World) -> (u64, u64) {
    (world.state.log_keys().wanted, world.state.log_keys().last())
}

pub(crate) fn read_back(world: &World) -> State {
    let mut reader = SnapshotReader::new();
    world.state.write(&mut |piece| reader.feed(piece)).unwrap();
    reader.finish().unwrap()
}

#[test]
fn a_slot_that_is_taken_away_takes_the_log_keys_with_it() {
    let mut world = World::founded();
    let founder = MemberId(1);
    seal_to(&mut world, &[1]);
    world.did(word(founder, 0, 1));
    seal_to(&mut world, &[1, 2]);
    assert_eq!(numbers(&world), (0, 0), "one was added, and its parameters changed");
    seal_to(&mut world, &[2, 1]);
    assert_eq!(numbers(&world), (0, 0), "the order says nothing");
    let generation = world.state.cluster().unwrap().recipients_generation;
    world.run(Command::SetRecipients { generation, recipients: vec![] }).outcome.unwrap_err();
    assert_eq!(numbers(&world), (0, 0), "it was refused");
    seal_to(&mut world, &[2]);
    assert_eq!(numbers(&world), (1, 1), "one was taken away");
    assert_eq!(world.state.log_keys_pending(), [founder]);
    world.did(word(founder, 1, 2));
    seal_to(&mut world, &[3]);
    assert_eq!(numbers(&world), (2, 2), "one took its place");
}

#[test]
fn a_slot_that_goes_while_log_keys_rotate_has_a_rotation_of_its_own_afterwards() {
    for removed in [false, true] {
        let mut world = World::founded();
        let (founder, down) = (MemberId(1), world.join_manager(2));
        seal_to(&mut world, &[1, 2, 3]);
        for member in [founder, down] {
            world.did(word(member, 0, 1));
        }
        world.did(Command::RotateLogKeys);
        // Two at once need one rotation: it begins after both.
        seal_to(&mut world, &[1, 2]);
        seal_to(&mut world, &[1]);
        assert_eq!(numbers(&world), (1, 2));
        world.did(word(founder, 1, 2));
        assert_eq!(numbers(&world), (1, 2), "{down} is waited for");
        let text = refused(&mut world, Command::RotateLogKeys);
        assert!(text.contains("is in progress"), "{text}");
        let read = read_back(&world);
        assert_eq!(read.log_keys(), world.state.log_keys(), "a snapshot knows of it");
        assert!(read.log_keys().next_since.is_some());
        if removed {
            world.did(Command::RemoveMember { member: down, destroys: None });
        } else {
            world.did(word(down, 1, 2));
        }
        assert_eq!(numbers(&world), (2, 2));
        assert_eq!(world.state.log_keys_pending().first(), Some(&founder));
        for member in world.state.log_keys_pending() {
            world.did(word(member, 2, 3));
        }
        assert_eq!(numbers(&world), (2, 2), "and no more follow");
        assert!(world.state.log_keys_pending().is_empty());
    }
}

#[derive(Debug, Clone)]
enum Act {
    Rotate,
    /// Slots whose bits are set stay or come.
    SealTo(u8),
    /// Of those that are waited for, this one gives word.
    Word(prop::sample::Index),
    Join,
    Remove(prop::sample::Index),
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        1 => Just(Act::Rotate),
        3 => (1_u8..16).prop_map(Act::SealTo),
        6 => any::<prop::sample::Index>().prop_map(Act::Word),
        1 => Just(Act::Join),
        1 => any::<prop::sample::Index>().prop_map(Act::Remove),
        1 => Just(Act::Restart),
    ]
}

/// What a thief may know: who has a log key that stood in a key file of a slot that was taken away.
#[derive(Default)]
struct Thief {
    /// By member: the command that took the last slot away meanwhile.
    exposed: BTreeMap<MemberId, usize>,
    /// By rotation: the command that it began with.
    began: BTreeMap<u64, usize>,
}

proptest! {
    /// A key that was made for a rotation from before may have stood in a key file from before.
    #[test]
    fn a_rotation_is_complete_only_when_no_former_slot_ever_opened_the_present_log_keys(
        acts in prop::collection::vec(act(), 1..60),
    ) {
        let mut world = World::founded();
        seal_to(&mut world, &[0, 1, 2, 3]);
        let mut slots = 0b1111_u8;
        let mut thief = Thief::default();
        let mut asked = 0;
        for (at, act) in acts.iter().enumerate() {
            let n = u8::try_from(at + 2).unwrap();
            let before = world.state.log_keys().clone();
            let pending = world.state.log_keys_pending();
            match act {
                Act::Rotate => {
                    let done = world.run(Command::RotateLogKeys).outcome.is_ok();
                    prop_assert_eq!(done, pending.is_empty());
                    asked += u64::from(done);
                }
                Act::SealTo(to) => {
                    seal_to(&mut world, &(0..4).filter(|n| to >> n & 1 == 1).collect::<Vec<_>>());
                    if slots & !to != 0 {
                        let all = world.state.members().keys().map(|id| (*id, at));
                        thief.exposed.extend(all);
                        asked += 1;
                    }
                    slots = *to;
                }
                Act::Word(pick) => {
                    if pending.is_empty() {
                        continue;
                    }
                    let member = *pick.get(&pending);
                    world.did(word(member, before.wanted, n));
                    if thief.exposed.get(&member).is_some_and(|s| thief.began[&before.wanted] >= *s) {
                        thief.exposed.remove(&member);
                    }
                }
                Act::Join => {
                    if world.state.members().len() < MANAGERS_MAX {
                        world.join_manager(n);
                    }
                }
                Act::Remove(pick) => {
                    let members: Vec<_> = world.state.members().keys().copied().collect();
                    if members.len() > 1 {
                        let member = *pick.get(&members);
                        world.did(Command::RemoveMember { member, destroys: None });
                        thief.exposed.remove(&member);
                    }
                }
                Act::Restart => world.state = read_back(&world),
            }
            let now = world.state.log_keys();
            prop_assert!(now.wanted - before.wanted <= 1);
            if now.wanted > before.wanted {
                thief.began.insert(now.wanted, at);
                let reached = |id: &MemberId| now.of(*id).epoch >= before.wanted;
                prop_assert!(world.state.members().keys().all(reached), "two at a time");
            }
            prop_assert!(now.last() <= asked, "a rotation that nothing asked for");
            let is_complete = now.last() == now.wanted && world.state.log_keys_pending().is_empty();
            if is_complete {
                prop_assert!(thief.exposed.is_empty(), "{:?}", thief.exposed);
            }
        }
        // It comes to an end once everybody answers, at most with the one that follows.
        for n in [254, 255] {
            let wanted = world.state.log_keys().wanted;
            for member in world.state.log_keys_pending() {
                world.did(word(member, wanted, n));
            }
        }
        prop_assert!(world.state.log_keys_pending().is_empty());
        prop_assert_eq!(world.state.log_keys().next_since, None);
    }
}
