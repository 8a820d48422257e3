//! An unlock key that is kept: which, for how long, and who may be handed it.

use proto::id::KeyId;
use proto::sealed::WrappedKey;
use state::command::Command;
use state::object::{Blob, SlotRecipient};
use state::{KeptUnlockKey, ReadBackCommand, Refusal};

use crate::world::*;

fn slot(kind: &str, n: u8) -> SlotRecipient {
    SlotRecipient {
        kind: kind.into(),
        member: None,
        public_key: Blob(vec![n; 34].into()),
        parameters: Blob::default(),
    }
}

fn kept(n: u8, root: KeyId) -> KeptUnlockKey {
    KeptUnlockKey {
        public_key: Blob(vec![n; 34].into()),
        wrapped_key: WrappedKey::new(sealed(root, n, 32)).unwrap(),
    }
}

fn set(world: &mut World, recipients: Vec<SlotRecipient>) {
    let generation = world.state.cluster().unwrap().recipients_generation;
    world.did(Command::SetRecipients { generation, recipients });
}

fn run(world: &mut World, command: ReadBackCommand) -> Result<(), Refusal> {
    world.run(Command::from(command)).outcome.map(|_| ())
}

fn is_kept(world: &World) -> bool {
    world.state.cluster().unwrap().kept_unlock_key.is_some()
}

fn read(n: u8) -> ReadBackCommand {
    ReadBackCommand::Read { public_key: Blob(vec![n; 34].into()) }
}

#[test]
fn only_the_unlock_key_in_use_is_kept_and_only_under_the_active_root_key() {
    let mut world = World::founded();
    let refused = |outcome: Result<(), Refusal>| outcome.unwrap_err();
    let precondition = |refusal| matches!(refusal, Refusal::Precondition { .. });
    assert!(precondition(refused(run(&mut world, ReadBackCommand::Keep(kept(3, ROOT))))));
    set(&mut world, vec![slot("unlock-key", 3), slot("passphrase", 4)]);
    for other in [4, 5] {
        let command = ReadBackCommand::Keep(kept(other, ROOT));
        assert!(precondition(refused(run(&mut world, command))), "{other}");
    }
    let command = ReadBackCommand::Keep(kept(3, KeyId::from_bytes([9; 16])));
    assert_eq!(refused(run(&mut world, command)), Refusal::WrongRoot);
    assert!(precondition(refused(run(&mut world, read(3)))), "it is not kept yet");
    run(&mut world, ReadBackCommand::Keep(kept(3, ROOT))).unwrap();
    assert!(is_kept(&world));
    run(&mut world, read(3)).unwrap();
    assert!(precondition(refused(run(&mut world, read(4)))), "that is another one");
}

#[test]
fn it_goes_with_its_slot_and_stays_while_others_change() {
    let mut world = World::founded();
    set(&mut world, vec![slot("unlock-key", 3)]);
    run(&mut world, ReadBackCommand::Keep(kept(3, ROOT))).unwrap();
    set(&mut world, vec![slot("unlock-key", 3), slot("passphrase", 4)]);
    assert!(is_kept(&world));
    set(&mut world, vec![slot("unlock-key", 5), slot("passphrase", 4)]);
    assert!(!is_kept(&world), "another key is in use");
}

/// What is forgotten is in logs of before: their keys go, too.
#[test]
fn what_is_forgotten_takes_the_log_keys_with_it() {
    let mut world = World::founded();
    set(&mut world, vec![slot("unlock-key", 3)]);
    assert!(run(&mut world, ReadBackCommand::Forget).is_err());
    run(&mut world, ReadBackCommand::Keep(kept(3, ROOT))).unwrap();
    let before = world.state.log_keys().last();
    run(&mut world, ReadBackCommand::Forget).unwrap();
    assert!(!is_kept(&world));
    assert!(world.state.log_keys().last() > before);
}

#[test]
fn it_is_counted_under_its_root_key_and_has_no_place_in_a_backup() {
    let mut world = World::founded();
    set(&mut world, vec![slot("unlock-key", 3)]);
    let before = world.state.wraps_under(ROOT);
    run(&mut world, ReadBackCommand::Keep(kept(3, ROOT))).unwrap();
    assert_eq!(world.state.wraps_under(ROOT), before + 1);
    assert!(world.state.for_backup().cluster().unwrap().kept_unlock_key.is_none());
}
