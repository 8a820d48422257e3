//! Slots: one change after the other, what is known of each stays with it, and one always works.

use proptest::prelude::*;
use proto::id::Timestamp;
use state::command::Command;
use state::object::{Blob, SlotRecipient};
use state::{Refusal, SnapshotReader};

use crate::world::*;

fn slot(kind: &str, n: u8, parameters: u8) -> SlotRecipient {
    SlotRecipient {
        kind: kind.into(),
        member: None,
        public_key: if kind == "file" { Blob::default() } else { Blob(vec![n; 34].into()) },
        parameters: Blob(vec![parameters; 24].into()),
    }
}

fn generation(world: &World) -> u64 {
    world.state.cluster().unwrap().recipients_generation
}

fn seal_to(world: &mut World, recipients: Vec<SlotRecipient>) -> Result<(), Refusal> {
    let generation = generation(world);
    world.run(Command::SetRecipients { generation, recipients }).outcome.map(|_| ())
}

fn prove(world: &mut World, slot: &SlotRecipient) -> Result<(), Refusal> {
    let public_key = slot.public_key.clone();
    world.run(Command::ProveSlot { public_key }).outcome.map(|_| ())
}

fn reason(refused: Result<(), Refusal>) -> String {
    match refused.unwrap_err() {
        Refusal::Precondition { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_last_slot_that_works_stays_until_another_was_opened() {
    let mut world = World::founded();
    let (key, passphrase) = (slot("unlock-key", 1, 0), slot("passphrase", 2, 0));
    seal_to(&mut world, vec![key.clone(), passphrase.clone()]).unwrap();
    let alone = vec![passphrase.clone()];
    let text = reason(seal_to(&mut world, alone.clone()));
    assert!(text.contains("no slot that counts as working"), "{text}");
    assert_eq!(world.state.cluster().unwrap().recipients.len(), 2);
    prove(&mut world, &passphrase).unwrap();
    seal_to(&mut world, alone).unwrap();
    let cluster = world.state.cluster().unwrap();
    assert!(cluster.slot_works(&passphrase));
    // Another salt is another slot, though it says it is the same.
    let salted = slot("passphrase", 2, 9);
    reason(seal_to(&mut world, vec![salted]));
    seal_to(&mut world, vec![key, slot("passphrase", 2, 9)]).unwrap();
    assert!(!world.state.cluster().unwrap().slot_works(&slot("passphrase", 2, 9)));
}

#[test]
fn a_proof_is_of_a_slot_that_is_there_and_goes_with_it() {
    let mut world = World::founded();
    let (key, passphrase) = (slot("unlock-key", 1, 0), slot("passphrase", 2, 0));
    reason(prove(&mut world, &passphrase));
    seal_to(&mut world, vec![slot("file", 0, 0), passphrase.clone()]).unwrap();
    reason(prove(&mut world, &slot("file", 0, 0)));
    let added = world.state.cluster().unwrap().record_of(&passphrase);
    assert_eq!((added.generation, added.opened_at), (generation(&world), None));
    world.now += 5_000;
    prove(&mut world, &passphrase).unwrap();
    // Other changes of the list leave it.
    seal_to(&mut world, vec![key.clone(), passphrase.clone()]).unwrap();
    let proved = world.state.cluster().unwrap().record_of(&passphrase);
    assert_eq!((proved.generation, proved.changed_at), (added.generation, added.changed_at));
    assert!(proved.opened_at > Some(Timestamp(added.changed_at.0)));

    let mut reader = SnapshotReader::new();
    world.state.write(&mut |piece| reader.feed(piece)).unwrap();
    assert_eq!(
        reader.finish().unwrap().cluster().unwrap().slots,
        world.state.cluster().unwrap().slots
    );

    seal_to(&mut world, vec![key.clone()]).unwrap();
    seal_to(&mut world, vec![key, passphrase.clone()]).unwrap();
    assert!(!world.state.cluster().unwrap().slot_works(&passphrase), "it is a new one");
}

#[test]
fn a_slot_is_in_the_list_once() {
    let mut world = World::founded();
    let text =
        reason(seal_to(&mut world, vec![slot("unlock-key", 1, 0), slot("passphrase", 1, 0)]));
    assert!(text.contains("in the list already"), "{text}");
}

#[derive(Debug, Clone)]
enum Act {
    /// Kinds and keys of the new list; whether it was read one change ago.
    SealTo(Vec<(bool, u8)>, bool),
    Prove(u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (prop::collection::vec((prop::bool::weighted(0.2), 0..5_u8), 0..5), prop::bool::weighted(0.1))
            .prop_map(|(list, stale)| Act::SealTo(list, stale)),
        2 => (0..5_u8).prop_map(Act::Prove),
    ]
}

proptest! {
    /// Whatever is asked: some slot of the list is one that works, a proof never outlives its slot,
    /// and what was read before another change changes nothing.
    #[test]
    fn some_slot_always_works_and_proofs_are_of_slots_that_are_there(
        acts in prop::collection::vec(act(), 1..60),
    ) {
        let mut world = World::founded();
        seal_to(&mut world, vec![slot("unlock-key", 0, 0)]).unwrap();
        // By an oracle of its own: which keys were opened since they came.
        let mut opened = std::collections::BTreeSet::new();
        for act in acts {
            let before = world.state.cluster().unwrap().clone();
            match act {
                Act::SealTo(list, stale) => {
                    let kind = |is_key: bool| if is_key { "unlock-key" } else { "passphrase" };
                    let list: Vec<_> = list.into_iter().map(|(is, n)| slot(kind(is), n, 0)).collect();
                    let generation = generation(&world) - u64::from(stale);
                    let command = Command::SetRecipients { generation, recipients: list.clone() };
                    let done = world.run(command).outcome.is_ok();
                    let kept = |one: &SlotRecipient| before.recipients.contains(one);
                    let still: std::collections::BTreeSet<u8> = list
                        .iter()
                        .filter(|one| kept(one) && opened.contains(&one.public_key.0[0]))
                        .map(|one| one.public_key.0[0])
                        .collect();
                    let keys: std::collections::BTreeSet<_> =
                        list.iter().map(|one| one.public_key.0[0]).collect();
                    let may = !stale
                        && keys.len() == list.len()
                        && (list.iter().any(|one| one.kind == "unlock-key") || !still.is_empty());
                    prop_assert_eq!(done, may);
                    if done {
                        opened = still;
                    }
                }
                Act::Prove(n) => {
                    let is_there = before.recipients.iter().any(|one| one.public_key.0[0] == n);
                    let done = prove(&mut world, &slot("passphrase", n, 0)).is_ok();
                    prop_assert_eq!(done, is_there);
                    if done {
                        opened.insert(n);
                    }
                }
            }
            let after = world.state.cluster().unwrap();
            prop_assert!(after.recipients.iter().any(|one| after.slot_works(one)));
            for one in &after.recipients {
                let is_opened = after.record_of(one).opened_at.is_some();
                prop_assert_eq!(is_opened, opened.contains(&one.public_key.0[0]));
            }
        }
    }
}
