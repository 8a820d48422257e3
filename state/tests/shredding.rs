//! What was removed is `shredded` when no disk of a member can show it any more, and not before.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;
use proto::id::{KeyId, MemberId, PayloadId, SecretId, Timestamp};
use proto::limits::{MANAGERS_MAX, SHREDDING_BEGINS_WITHIN_MS, TOMBSTONES_MAX};
use proto::name::Labels;
use proto::sealed::WrappedKey;
use state::command::{Command, CreateSecret, Envelope};
use state::object::{Blob, ObjectId, TransitKey};
use state::{Refusal, ShreddingStep, State, Tombstone, apply, shredding_step};

use crate::log_keys::{key, read_back, seal_to, word};
use crate::world::*;

const FOUNDER: MemberId = MemberId(1);
const WEEK: u64 = SHREDDING_BEGINS_WITHIN_MS;

fn transit_key() -> TransitKey {
    TransitKey {
        public_key: Blob(Bytes::from_static(b"public")),
        wrapped_key: WrappedKey::new(sealed(ROOT, 4, 32)).unwrap(),
        created_at: Timestamp(0),
        not_after: Timestamp(1_000_000_000),
        signature: Blob(Bytes::from_static(b"signature")),
        signatures: None,
    }
}

fn rm(n: u8) -> Command {
    Command::RemoveSecret { id: secret_id(n), forget_previous: false, shred: None }
}

fn rm_and_shred(n: u8) -> Command {
    Command::RemoveSecret { id: secret_id(n), forget_previous: false, shred: Some(true) }
}

fn tombstone(world: &World, n: u8) -> &Tombstone {
    world.state.shredding().of(secret_id(n)).unwrap().1
}

fn is_shredded(world: &World, n: u8) -> bool {
    tombstone(world, n).shredded.is_some()
}

/// Another transit key for the one that secrets came under so far.
fn retire_transit(world: &mut World) {
    world.did(Command::AddTransitKey { id: key(50), key: transit_key() });
    world.did(Command::RetireTransitKey { id: TRANSIT });
}

/// Everybody who is waited for gives word.
fn all_rotate(world: &mut World, n: u8) {
    let wanted = world.state.log_keys().wanted;
    for member in world.state.log_keys_pending() {
        world.did(word(member, wanted, n));
    }
}

#[test]
fn a_removed_secret_is_shredding_until_all_gave_word_of_a_rotation_that_began_later() {
    let mut world = World::founded();
    let other = world.join_manager(2);
    world.create_secret(1, "gone");
    retire_transit(&mut world);
    for member in [FOUNDER, other] {
        world.did(word(member, 0, 1));
    }
    // One that is under way at the removal: its keys may be older than the removal.
    world.did(Command::RotateLogKeys);
    world.did(word(FOUNDER, 1, 2));
    world.did(rm(1));
    assert!(world.state.secret(secret_id(1)).is_none(), "it is gone from the state at once");
    world.did(word(other, 1, 2));
    assert!(!is_shredded(&world, 1), "that rotation began before the removal");
    assert_eq!(tombstone(&world, 1).need.epoch, 2);
    world.did(Command::RotateLogKeys);
    world.did(word(FOUNDER, 2, 3));
    assert!(!is_shredded(&world, 1), "{other} is missing");
    world.did(word(other, 2, 3));
    let done = tombstone(&world, 1).shredded.clone().unwrap();
    assert_eq!(done.at, world.state.now());
    let words: Vec<_> = done.words.iter().map(|word| (word.member, word.epoch)).collect();
    assert_eq!(words, [(FOUNDER, 2), (other, 2)]);
    let (record, _) = world.state.audit().records().rev().nth(1).unwrap().clone();
    assert_eq!((record.action.as_str(), record.count), ("secrets_shredded", 1));
    assert_eq!(record.object, ObjectId::Secret(secret_id(1)));
    assert_eq!(read_back(&world).shredding(), world.state.shredding(), "a snapshot knows of it");
}

#[test]
fn a_rotation_for_a_slot_that_was_taken_away_counts_too() {
    let mut world = World::founded();
    seal_to(&mut world, &[1, 2]);
    world.create_secret(1, "gone");
    retire_transit(&mut world);
    world.did(rm(1));
    seal_to(&mut world, &[2]);
    all_rotate(&mut world, 2);
    assert!(is_shredded(&world, 1));
}

/// The private half is in the log of when it was made, until that log is gone.
#[test]
fn the_transit_key_of_its_time_goes_first_and_a_rotation_after_that() {
    let mut world = World::founded();
    world.create_secret(1, "young");
    world.did(rm(1));
    assert_eq!(tombstone(&world, 1).need.transit_keys, BTreeSet::from([TRANSIT]));
    world.did(Command::RotateLogKeys);
    all_rotate(&mut world, 2);
    assert!(!is_shredded(&world, 1), "the transit key is there");
    retire_transit(&mut world);
    assert!(!is_shredded(&world, 1), "its private half is in the log");
    let need = &tombstone(&world, 1).need;
    assert_eq!((need.epoch, need.transit_keys.len()), (2, 0));
    world.did(Command::RotateLogKeys);
    all_rotate(&mut world, 3);
    assert!(is_shredded(&world, 1));
    // One whose transit key went long before needs one rotation.
    world.did(Command::CreateSecret(create(9, key(50))));
    world.did(Command::AddTransitKey { id: key(51), key: transit_key() });
    world.did(Command::RetireTransitKey { id: key(50) });
    world.did(rm(9));
    assert!(tombstone(&world, 9).need.transit_keys.is_empty());
}

#[test]
fn who_left_without_word_is_listed_and_not_waited_for() {
    let mut world = World::founded();
    let early = world.join_manager(2);
    world.did(Command::RemoveMember { member: early, destroys: None });
    world.create_secret(1, "gone");
    retire_transit(&mut world);
    let [before, silent, honest] = [3, 4, 5].map(|n| world.join_manager(n));
    world.did(Command::RemoveMember { member: before, destroys: None });
    world.did(rm(1));
    world.did(Command::RotateLogKeys);
    world.did(word(FOUNDER, 1, 1));
    world.did(word(honest, 1, 2));
    world.did(Command::RemoveMember { member: honest, destroys: None });
    assert!(!is_shredded(&world, 1));
    world.did(Command::RemoveMember { member: silent, destroys: None });
    assert!(is_shredded(&world, 1), "nobody else is waited for");
    let of = |world: &World| -> Vec<_> {
        world.state.shredding().without_proof(tombstone(world, 1)).collect()
    };
    // The first left before the secret was there.
    assert_eq!(of(&world), [before, silent]);
    let words = &tombstone(&world, 1).shredded.as_ref().unwrap().words;
    assert_eq!(words.iter().map(|word| word.member).collect::<Vec<_>>(), [FOUNDER]);
    // Who joins and leaves later had nothing of it.
    let late = world.join_manager(6);
    world.did(Command::RemoveMember { member: late, destroys: None });
    assert_eq!(of(&world), [before, silent]);
}

/// It may be sent a snapshot of before the removal.
#[test]
fn who_joins_before_the_last_word_is_waited_for() {
    let mut world = World::founded();
    world.create_secret(1, "gone");
    retire_transit(&mut world);
    world.did(rm(1));
    world.did(Command::RotateLogKeys);
    let late = world.join_manager(2);
    world.did(word(FOUNDER, 1, 1));
    assert!(!is_shredded(&world, 1), "{late} has what the founder had");
    world.did(word(late, 1, 2));
    assert!(is_shredded(&world, 1));
}

/// An id that no other key has.
fn fresh_key(world: &World) -> KeyId {
    let mut id = [77; 16];
    id[..8].copy_from_slice(&world.state.index().to_be_bytes());
    KeyId::from_bytes(id)
}

/// Carries out what the leader would, once.
fn step(world: &mut World, now: u64) -> Option<ShreddingStep> {
    let step = shredding_step(&world.state, Timestamp(now))?;
    world.did(match step {
        ShreddingStep::RetireTransitKey(id) => Command::RetireTransitKey { id },
        ShreddingStep::MakeTransitKey => {
            Command::AddTransitKey { id: fresh_key(world), key: transit_key() }
        }
        ShreddingStep::RotateLogKeys => Command::RotateLogKeys,
    });
    Some(step)
}

#[test]
fn the_leader_waits_a_week_for_a_rotation_that_comes_anyway() {
    let mut world = World::founded();
    world.create_secret(1, "gone");
    world.did(rm(1));
    let removed_at = world.now;
    assert_eq!(shredding_step(&world.state, Timestamp(removed_at + WEEK - 1)), None);
    assert_eq!(step(&mut world, removed_at + WEEK), Some(ShreddingStep::RotateLogKeys));
    assert_eq!(step(&mut world, removed_at + 9 * WEEK), None, "it is under way");
    all_rotate(&mut world, 2);
    assert_eq!(step(&mut world, removed_at + 9 * WEEK), None, "the transit key rotates weekly");
    world.now = removed_at + 2 * WEEK;
    retire_transit(&mut world);
    let retired_at = world.now;
    assert_eq!(shredding_step(&world.state, Timestamp(retired_at + WEEK - 1)), None);
    assert_eq!(step(&mut world, retired_at + WEEK), Some(ShreddingStep::RotateLogKeys));
    all_rotate(&mut world, 3);
    assert!(is_shredded(&world, 1));
    assert_eq!(step(&mut world, retired_at + 9 * WEEK), None, "nothing is left to do");
}

#[test]
fn at_once_means_transit_keys_first_and_one_rotation() {
    use ShreddingStep::{MakeTransitKey, RetireTransitKey, RotateLogKeys};
    let mut world = World::founded();
    let down = world.join_manager(2);
    world.did(Command::AddTransitKey { id: key(50), key: transit_key() });
    world.did(Command::CreateSecret(create(1, TRANSIT)));
    world.did(Command::CreateSecret(create(2, key(50))));
    world.did(Command::RotateLogKeys);
    world.did(rm(1));
    assert_eq!(step(&mut world, 0), None, "nobody asked for it");
    world.did(Command::ShredSecret { id: secret_id(1) });
    world.did(rm_and_shred(2));
    // The key that is needed last makes room for the next one.
    let made = [step(&mut world, 0), step(&mut world, 0), step(&mut world, 0)];
    let expected = [RetireTransitKey(TRANSIT), MakeTransitKey, RetireTransitKey(key(50))];
    assert_eq!(made, expected.map(Some));
    assert_eq!(step(&mut world, 0), None, "the rotation before waits for {down}");
    all_rotate(&mut world, 1);
    assert_eq!(step(&mut world, 0), Some(RotateLogKeys));
    assert_eq!(step(&mut world, 0), None);
    all_rotate(&mut world, 2);
    assert!(is_shredded(&world, 1) && is_shredded(&world, 2));
}

#[test]
fn an_older_transit_key_makes_room_though_nothing_waits_for_it() {
    let mut world = World::founded();
    world.did(Command::AddTransitKey { id: key(50), key: transit_key() });
    world.did(Command::CreateSecret(create(2, key(50))));
    world.did(rm_and_shred(2));
    assert_eq!(step(&mut world, 0), Some(ShreddingStep::RetireTransitKey(TRANSIT)));
    assert_eq!(step(&mut world, 0), Some(ShreddingStep::MakeTransitKey));
    assert_eq!(step(&mut world, 0), Some(ShreddingStep::RetireTransitKey(key(50))));
}

#[test]
fn only_what_was_removed_can_be_shredded() {
    let mut world = World::founded();
    world.create_secret(1, "there");
    let refused = world.run(Command::ShredSecret { id: secret_id(1) }).outcome;
    assert!(matches!(refused, Err(Refusal::NotFound { .. })), "{refused:?}");
    assert!(world.state.secret(secret_id(1)).is_some());
}

fn create(n: u8, transit: KeyId) -> CreateSecret {
    CreateSecret {
        id: secret_id(n),
        name: format!("s{n}").parse().unwrap(),
        labels: Labels::default(),
        usable_by: vec![],
        payload: payload(n, ROOT, 64),
        transit_key_id: transit,
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Answers that are remembered, the audit, refusals and tombstones among it.
#[test]
fn nothing_of_a_payload_or_its_wrap_stays_in_the_state() {
    let mut world = World::founded();
    let stored = payload(7, ROOT, 64);
    let traces = |state: &State| {
        let bytes = bytes_of(state);
        // Without the header: the sixteen bytes of a key's id are not secret.
        let wrap = contains(&bytes, &stored.wrapped_dek.as_bytes()[18..]);
        (wrap, contains(&bytes, &stored.ciphertext.as_bytes()[18..]))
    };
    let mark = world.mark(1);
    let mut answers = Vec::new();
    for round in 0..2 {
        // The second is answered as the first was.
        let envelope = world.envelope(Command::CreateSecret(create(7, TRANSIT)));
        answers.push(world.apply(Envelope { request: Some(mark), ..envelope }));
        // Others are refused, and on record.
        let again = CreateSecret { id: secret_id(8 + round), ..create(7, TRANSIT) };
        answers.push(world.run(Command::CreateSecret(again)));
    }
    assert_eq!(traces(&world.state), (true, true), "the search finds what is there");
    answers.push(world.did(rm(7)));
    answers.push(world.run(Command::CreateSecret(create(7, TRANSIT))));
    assert_eq!(answers.iter().filter(|answer| answer.outcome.is_err()).count(), 3);
    assert_eq!(world.state.secrets().len(), 0);
    assert_eq!(traces(&world.state), (false, false));
    // Whichever way bytes are shown.
    let forms = ["\\x07\\x07\\x07", "7, 7, 7, 7", "070707", "777777"];
    let shown = format!("{answers:?}");
    let said = answers.iter().filter_map(|it| it.outcome.as_ref().err()).map(ToString::to_string);
    for text in said.chain([shown]) {
        assert!(forms.iter().all(|form| !text.contains(form)), "{text}");
    }
}

/// Creates and removes a secret of a number, without what a test world checks at each step.
fn pass_by(state: &mut State, n: usize) -> SecretId {
    let mut entropy = [0; 17];
    entropy[9..].copy_from_slice(&(n as u64).to_be_bytes());
    let id = SecretId::from_entropy(entropy);
    let mut seen = [0; 16];
    seen[8..].copy_from_slice(&(n as u64).to_be_bytes());
    let mut payload = payload(1, ROOT, 64);
    payload.payload_id = PayloadId::from_bytes(seen);
    let create =
        CreateSecret { id, name: format!("n{n}").parse().unwrap(), payload, ..create(1, key(50)) };
    run(state, Command::CreateSecret(create));
    run(state, Command::RemoveSecret { id, forget_previous: false, shred: None });
    id
}

fn run(state: &mut State, body: Command) {
    let at = Timestamp(state.now().0 + 1);
    let envelope = Envelope { format: 1, request: None, caller: ADMIN, at, body };
    apply(state, state.index() + 1, envelope).unwrap().outcome.unwrap();
}

#[test]
fn what_is_shredding_is_never_forgotten_though_names_are() {
    let mut world = World::founded();
    retire_transit(&mut world);
    world.did(Command::CreateSecret(create(1, key(50))));
    world.did(rm(1));
    world.did(Command::AddTransitKey { id: key(51), key: transit_key() });
    world.did(Command::RetireTransitKey { id: key(50) });
    world.did(Command::RotateLogKeys);
    world.did(word(FOUNDER, 1, 1));
    assert!(is_shredded(&world, 1));
    world.did(Command::AddTransitKey { id: key(50), key: transit_key() });
    let mut state = world.state;
    let waiting: Vec<_> = (2..=TOMBSTONES_MAX).map(|n| pass_by(&mut state, n)).collect();
    let known = |state: &State, id| state.shredding().of(id).is_some();
    assert_eq!(state.shredding().tombstones().len(), TOMBSTONES_MAX);
    assert!(known(&state, secret_id(1)));
    // One past it: the one that is shredded goes, though it is not alone.
    pass_by(&mut state, TOMBSTONES_MAX + 1);
    assert_eq!(state.shredding().tombstones().len(), TOMBSTONES_MAX);
    assert!(!known(&state, secret_id(1)) && known(&state, waiting[0]));
    assert_eq!(state.shredding().unnamed(), None);
    // None is shredded any more: the oldest two lose their names.
    let first = state.shredding().of(waiting[0]).unwrap().1.removed_at;
    pass_by(&mut state, TOMBSTONES_MAX + 2);
    run(&mut state, Command::RotateLogKeys);
    pass_by(&mut state, TOMBSTONES_MAX + 3);
    assert_eq!(state.shredding().tombstones().len(), TOMBSTONES_MAX);
    assert!(!known(&state, waiting[1]) && known(&state, waiting[2]));
    let unnamed = state.shredding().unnamed().unwrap();
    assert_eq!((unnamed.count, unnamed.removed_from), (2, first));
    assert_eq!(unnamed.need.transit_keys, BTreeSet::from([key(50)]));
    // They are waited for as ever.
    run(&mut state, Command::AcknowledgeLogKey { member: FOUNDER, epoch: 2, key: key(2) });
    run(&mut state, Command::RetireTransitKey { id: key(51) });
    run(&mut state, Command::AddTransitKey { id: key(52), key: transit_key() });
    run(&mut state, Command::RetireTransitKey { id: key(50) });
    assert_eq!(state.shredding().unnamed().unwrap().count, 2);
    assert_eq!(
        shredding_step(&state, Timestamp(state.now().0 + WEEK)),
        Some(ShreddingStep::RotateLogKeys)
    );
    run(&mut state, Command::RotateLogKeys);
    run(&mut state, Command::AcknowledgeLogKey { member: FOUNDER, epoch: 3, key: key(3) });
    assert_eq!(state.shredding().unnamed(), None);
    assert_eq!(state.shredding().needs().count(), 0);
    let records = state.audit().records().rev();
    let shredded = records.map(|(record, _)| record).find(|it| it.action == "secrets_shredded");
    assert_eq!(shredded.unwrap().count, TOMBSTONES_MAX as u64 + 2);
}

#[derive(Debug, Clone)]
enum Act {
    Create,
    Remove(prop::sample::Index, bool),
    Shred(prop::sample::Index),
    Rotate,
    /// Of those that are waited for, this one gives word.
    Word(prop::sample::Index),
    Join,
    Leave(prop::sample::Index),
    /// What happens weekly.
    Transit,
    /// The leader looks after so many days.
    Lead(u8),
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        3 => Just(Act::Create),
        3 => (index(), any::<bool>()).prop_map(|(pick, shred)| Act::Remove(pick, shred)),
        1 => index().prop_map(Act::Shred),
        1 => Just(Act::Rotate),
        6 => index().prop_map(Act::Word),
        1 => Just(Act::Join),
        1 => index().prop_map(Act::Leave),
        1 => Just(Act::Transit),
        2 => (0_u8..9).prop_map(Act::Lead),
        1 => Just(Act::Restart),
    ]
}

/// What may be found on one disk with the keys that its manager has now: secrets by the index of
/// their command, private halves of transit keys.
#[derive(Debug, Clone, Default)]
struct Disk {
    secrets: BTreeSet<SecretId>,
    transit: BTreeSet<KeyId>,
}

/// Everything that can be known of disks, at its worst.
#[derive(Default)]
struct Disks {
    of: BTreeMap<MemberId, Disk>,
    /// Of those who left, as they were.
    left: BTreeMap<MemberId, Disk>,
    /// By rotation: the index it began with.
    began: BTreeMap<u64, u64>,
    /// When each secret and transit key went from the state, if it did.
    secrets: BTreeMap<SecretId, Option<u64>>,
    transit: BTreeMap<KeyId, Option<u64>>,
    /// The transit key that a secret came under.
    under: BTreeMap<SecretId, KeyId>,
}

impl Disks {
    /// Follows what one act did to the state.
    fn follow(&mut self, before: &State, now: &State) {
        let index = now.index();
        for wanted in before.log_keys().wanted + 1..=now.log_keys().wanted {
            self.began.insert(wanted, index);
        }
        // A new log key is made on a state in which the rotation began: what went before is on no
        // record, no snapshot under it.
        for (id, disk) in &mut self.of {
            let (old, new) = (before.log_keys().of(*id).epoch, now.log_keys().of(*id).epoch);
            if new > old {
                let began = self.began[&new];
                let stays = |gone: &Option<u64>| gone.is_none_or(|gone| gone >= began);
                disk.secrets.retain(|id| stays(&self.secrets[id]));
                disk.transit.retain(|id| stays(&self.transit[id]));
            }
        }
        for id in now.secrets().keys().filter(|id| !before.secrets().contains_key(id)) {
            self.secrets.insert(*id, None);
            self.of.values_mut().for_each(|disk| disk.secrets.extend([*id]));
        }
        for id in before.secrets().keys().filter(|id| !now.secrets().contains_key(id)) {
            self.secrets.insert(*id, Some(index));
        }
        let keys = |state: &State| -> BTreeSet<_> {
            state.cluster().unwrap().transit_keys.keys().copied().collect()
        };
        for id in keys(now).difference(&keys(before)) {
            self.transit.insert(*id, None);
            self.of.values_mut().for_each(|disk| disk.transit.extend([*id]));
        }
        for id in keys(before).difference(&keys(now)) {
            self.transit.insert(*id, Some(index));
        }
        // Who joins may be sent all that any of the others has.
        for id in now.members().keys().filter(|id| !before.members().contains_key(id)) {
            let mut all = Disk::default();
            for disk in self.of.values() {
                all.secrets.extend(&disk.secrets);
                all.transit.extend(&disk.transit);
            }
            self.of.insert(*id, all);
        }
        for id in before.members().keys().filter(|id| !now.members().contains_key(id)) {
            let disk = self.of.remove(id).unwrap();
            self.left.insert(*id, disk);
        }
    }

    /// The claim.
    fn check(&self, state: &State) {
        for tombstone in state.shredding().tombstones().values() {
            let Some(done) = &tombstone.shredded else { continue };
            let id = tombstone.secret_id;
            for (member, disk) in &self.of {
                assert!(!disk.secrets.contains(&id), "{member} has {id}");
                assert!(!disk.transit.contains(&self.under[&id]), "{member} has its transit key");
            }
            let listed: BTreeSet<_> = state.shredding().without_proof(tombstone).collect();
            for (member, _) in self.left.iter().filter(|(_, disk)| disk.secrets.contains(&id)) {
                assert!(listed.contains(member), "{member} left with {id}, and is not listed");
            }
            assert!(done.words.iter().all(|word| word.epoch >= tombstone.need.epoch));
        }
    }
}

fn lead(world: &mut World) -> bool {
    let days = world.now;
    step(world, days).is_some()
}

fn weekly(world: &mut World) {
    let cluster = world.state.cluster().unwrap().clone();
    let old = cluster.transit_keys.keys().find(|id| **id != cluster.current_transit);
    if let Some(id) = old {
        world.did(Command::RetireTransitKey { id: *id });
    } else {
        let id = fresh_key(world);
        world.did(Command::AddTransitKey { id, key: transit_key() });
    }
}

proptest! {
    #[test]
    fn what_is_shredded_opens_on_no_disk_of_a_member(
        acts in prop::collection::vec(act(), 1..80),
    ) {
        let mut world = World::founded();
        let mut disks = Disks::default();
        disks.of.insert(FOUNDER, Disk { transit: [TRANSIT].into(), ..Disk::default() });
        disks.transit.insert(TRANSIT, None);
        for (at, act) in acts.iter().enumerate() {
            let n = u8::try_from(at + 2).unwrap();
            let before = world.state.clone();
            let pending = world.state.log_keys_pending();
            match act {
                Act::Create => {
                    let under = world.state.cluster().unwrap().current_transit;
                    disks.under.insert(secret_id(n), under);
                    world.did(Command::CreateSecret(create(n, under)));
                }
                Act::Remove(pick, shred) => {
                    let ids: Vec<_> = world.state.secrets().keys().copied().collect();
                    if let Some(id) = (!ids.is_empty()).then(|| *pick.get(&ids)) {
                        let shred = Some(*shred);
                        world.did(Command::RemoveSecret { id, forget_previous: false, shred });
                    }
                }
                Act::Shred(pick) => {
                    let all = world.state.shredding().tombstones().values();
                    let ids: Vec<_> = all.map(|it| it.secret_id).collect();
                    if let Some(id) = (!ids.is_empty()).then(|| *pick.get(&ids)) {
                        world.did(Command::ShredSecret { id });
                    }
                }
                Act::Rotate => drop(world.run(Command::RotateLogKeys)),
                Act::Word(pick) => {
                    if let Some(member) = (!pending.is_empty()).then(|| *pick.get(&pending)) {
                        world.did(word(member, before.log_keys().wanted, n));
                    }
                }
                Act::Join => {
                    if world.state.members().len() < MANAGERS_MAX {
                        world.join_manager(n);
                    }
                }
                Act::Leave(pick) => {
                    let members: Vec<_> = world.state.members().keys().copied().collect();
                    if members.len() > 1 {
                        world.did(Command::RemoveMember { member: *pick.get(&members), destroys: None });
                    }
                }
                Act::Transit => weekly(&mut world),
                Act::Lead(days) => {
                    world.now += u64::from(*days) * WEEK / 7;
                    lead(&mut world);
                }
                Act::Restart => world.state = read_back(&world),
            }
            disks.follow(&before, &world.state);
            disks.check(&world.state);
        }
        // It comes to an end by itself, once everybody answers.
        for n in 200..206 {
            world.now += WEEK;
            weekly(&mut world);
            while lead(&mut world) {}
            all_rotate(&mut world, n);
            all_rotate(&mut world, n + 10);
        }
        prop_assert_eq!(world.state.shredding().needs().count(), 0);
    }
}
