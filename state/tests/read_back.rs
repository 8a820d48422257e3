//! An unlock key that is kept: which, for how long, and who may be handed it.

use proto::id::{KeyId, MemberId};
use proto::sealed::WrappedKey;
use state::command::Command;
use state::object::{Blob, SlotRecipient};
use state::{KeptUnlockKey, ReadBackCommand, Refusal};

use crate::log_keys::word;
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

/// Every manager has the log key that is wanted.
fn rotated(world: &mut World) {
    let epoch = world.state.log_keys().wanted;
    for member in world.state.log_keys_pending() {
        world.did(word(member, epoch, u8::try_from(10 * epoch).unwrap()));
    }
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

/// Whoever has the unlock key of before opens key files of before, and in those are the keys that the
/// log is under until it rotated.
#[test]
fn none_is_taken_in_while_log_keys_or_the_root_key_rotate() {
    let mut world = World::founded();
    let (member, other) = (MemberId(1), world.join_manager(2));
    set(&mut world, vec![slot("unlock-key", 2)]);
    set(&mut world, vec![slot("unlock-key", 3)]);
    let keep = |world: &mut World, root| match run(world, ReadBackCommand::Keep(kept(3, root))) {
        Ok(()) => String::new(),
        Err(refusal) => refusal.to_string(),
    };
    assert_eq!(
        keep(&mut world, ROOT),
        "log key rotation 1 is in progress: it waits for managers 1, 3"
    );
    world.did(word(member, 1, 1));
    assert_eq!(keep(&mut world, ROOT), "log key rotation 1 is in progress: it waits for manager 3");
    world.did(word(other, 1, 2));
    assert_eq!(keep(&mut world, ROOT), "");
    run(&mut world, ReadBackCommand::Forget).unwrap();
    rotated(&mut world);

    let id = KeyId::from_bytes([9; 16]);
    world.did(Command::AnnounceRoot { id, member, replaces: None });
    for root in [ROOT, id] {
        let refusal = keep(&mut world, root);
        assert!(
            refusal.starts_with("root key rotation 1 is in progress: it waits for"),
            "{refusal}"
        );
    }
    assert!(!is_kept(&world));
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
