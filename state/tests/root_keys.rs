//! Rotating the root key: one at a time, nothing under two keys at once for long, nobody forgotten.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proto::id::{KeyId, MemberId, SecretId, Version};
use proto::limits::{MANAGERS_MAX, REWRAPS_MAX};
use proto::name::Labels;
use proto::sealed::WrappedKey;
use state::command::{Command, CreateSecret, Rewrap};
use state::object::MemberState;
use state::{
    BeginIncarnation, BootCommand, Outcome, PeerPolicy, Phase, Refusal, SnapshotReader, State,
    Wrapped, wrap_digest,
};

use crate::world::*;

const FOUNDER: MemberId = MemberId(1);

fn key(n: u8) -> KeyId {
    KeyId::from_bytes([n; 16])
}

fn is_now(world: &mut World, member: MemberId, state: MemberState) {
    world.did(Command::SetMemberState { member, state });
}

fn voter(world: &mut World, n: u8) -> MemberId {
    let member = world.join_manager(n);
    is_now(world, member, MemberState::Voter);
    member
}

fn announce(id: u8) -> Command {
    Command::AnnounceRoot { id: key(id), member: FOUNDER, replaces: None }
}

fn held(member: MemberId, id: u8) -> Command {
    Command::AcknowledgeRoot { member, id: key(id) }
}

fn destroyed(member: MemberId, id: KeyId) -> Command {
    Command::AcknowledgeRootDestroyed { member, id }
}

fn gone(member: MemberId) -> Command {
    Command::RemoveMember { member, destroys: Some(false) }
}

fn refused(world: &mut World, command: Command) -> String {
    let before = objects(&world.state);
    let refusal = world.run(command).outcome.unwrap_err();
    assert_eq!(objects(&world.state), before, "what is refused changes nothing");
    match refusal {
        Refusal::Precondition { reason } => reason,
        other => other.to_string(),
    }
}

fn phase(world: &World) -> Option<Phase> {
    world.state.root_keys().rotation.as_ref().map(|rotation| rotation.phase)
}

/// Everything that is wrapped, and its wrap.
fn wraps(state: &State) -> BTreeMap<Wrapped, WrappedKey> {
    let cluster = state.cluster().unwrap();
    let transit = cluster.transit_keys.iter();
    let transit = transit.map(|(id, key)| (Wrapped::Transit(*id), key.wrapped_key.clone()));
    let secrets = state.secrets().iter().flat_map(|(id, secret)| {
        secret.versions.iter().map(|(version, value)| {
            let object = Wrapped::Secret { id: *id, version: *version };
            (object, value.payload.wrapped_dek.clone())
        })
    });
    let authority = (Wrapped::Authority, cluster.authority.wrapped_key.clone());
    let peers = state.boot().generations().map(|(member, one)| {
        let object = Wrapped::Peer { member, generation: one.number };
        (object, one.made_of.wrapped_key.clone())
    });
    transit.chain(secrets).chain(peers).chain([authority]).collect()
}

/// What is wrapped in these bytes: in this world a key is told by the byte it is filled with.
fn content(wrap: &WrappedKey) -> (u8, usize) {
    (*wrap.as_bytes().last().unwrap(), wrap.as_bytes().len())
}

/// The same key under another root key.
fn anew(object: Wrapped, wrap: &WrappedKey, root: KeyId) -> Rewrap {
    let (fill, length) = content(wrap);
    let new = WrappedKey::new(sealed(root, fill, length - 58)).unwrap();
    Rewrap { object, old: wrap_digest(wrap), new }
}

fn rewraps(world: &World, root: KeyId) -> Vec<Rewrap> {
    let wraps = wraps(&world.state);
    let old = wraps.iter().filter(|(_, wrap)| wrap.key_id() != root);
    old.map(|(object, wrap)| anew(*object, wrap, root)).collect()
}

fn wrap_all_anew(world: &mut World, root: KeyId) {
    let items = rewraps(world, root);
    world.did(Command::Rewrap(items));
}

fn log_key_words(world: &mut World, n: u8) {
    let epoch = world.state.log_keys().wanted;
    for member in world.state.log_keys_pending() {
        world.did(Command::AcknowledgeLogKey { member, epoch, key: key(n) });
    }
}

fn create(n: u8, root: KeyId) -> Command {
    Command::CreateSecret(CreateSecret {
        id: secret_id(n),
        name: format!("s{n}").parse().unwrap(),
        labels: Labels::default(),
        usable_by: vec![],
        payload: payload(n, root, 64),
        transit_key_id: TRANSIT,
    })
}

fn read_back(world: &World) -> State {
    let mut reader = SnapshotReader::new();
    world.state.write(&mut |piece| reader.feed(piece)).unwrap();
    reader.finish().unwrap()
}

#[test]
fn a_root_key_is_announced_held_activated_wrapped_under_retired_and_destroyed() {
    let mut world = World::founded();
    let others = [voter(&mut world, 2), voter(&mut world, 3)];
    world.did(create(1, ROOT));
    world.did(create(2, ROOT));
    world.did(announce(9));
    assert_eq!(world.state.cluster().unwrap().announced_root, Some(key(9)));
    assert_eq!(world.state.cluster().unwrap().active_root, ROOT, "nothing is under it yet");
    assert_eq!(world.state.root_rotation_pending(), others);
    let text = refused(&mut world, announce(10));
    let [second, third] = others;
    let who = format!("it waits for managers {second}, {third}");
    assert_eq!(text, format!("root key rotation 1 is in progress: {who}"));

    let text = refused(&mut world, Command::ActivateRoot { id: key(9) });
    assert!(text.contains("no majority"), "{text}");
    world.did(held(second, 9));
    world.did(held(second, 9));
    world.did(Command::ActivateRoot { id: key(9) });
    let cluster = world.state.cluster().unwrap();
    assert_eq!((cluster.active_root, cluster.announced_root), (key(9), None));
    // Who wrapped a moment too early wraps again.
    assert_eq!(world.run(create(3, ROOT)).outcome, Err(Refusal::WrongRoot));
    world.did(create(3, key(9)));

    assert_eq!(world.state.wraps_under(ROOT), 4, "two secrets, the CA, a transit key");
    let text = refused(&mut world, announce(10));
    let left = "4 of 4 objects are to be wrapped anew";
    assert_eq!(
        text,
        format!("root key rotation 1 is in progress: {left}, it waits for manager {third}")
    );
    let text = refused(&mut world, Command::RetireRoot { id: ROOT });
    assert!(text.contains("4 objects are under it"), "{text}");
    let (first, rest) = {
        let mut all = rewraps(&world, key(9));
        let rest = all.split_off(2);
        (all, rest)
    };
    world.did(Command::Rewrap(first));
    assert_eq!(world.state.wraps_under(ROOT), 2);
    world.did(Command::Rewrap(rest));
    assert_eq!((world.state.wraps_under(ROOT), world.state.wraps_under(key(9))), (0, 5));
    let text = refused(&mut world, Command::RetireRoot { id: ROOT });
    assert!(text.contains(&format!("manager {third} may not hold the next one")), "{text}");
    world.did(held(third, 9));
    world.did(Command::RetireRoot { id: ROOT });
    assert_eq!(world.state.root_keys_wanted(), [key(9)].into());

    assert_eq!(world.state.log_keys().wanted, 0);
    for member in [FOUNDER, second, third] {
        world.did(destroyed(member, ROOT));
    }
    assert_eq!(phase(&world), Some(Phase::LogKeys { epoch: 1 }), "logs hold wraps under it");
    assert_eq!(world.state.root_rotation_pending(), [FOUNDER, second, third]);
    assert!(refused(&mut world, announce(10)).contains("it waits for managers"));
    assert_eq!(read_back(&world).root_keys(), world.state.root_keys());
    log_key_words(&mut world, 60);
    assert_eq!(phase(&world), None);
    let last = world.state.root_keys().last.unwrap();
    assert_eq!((last.id, last.old), (key(9), ROOT));
    world.did(announce(10));
    assert_eq!(world.state.root_keys().number, 2);
}

#[test]
fn an_announced_key_that_nobody_can_get_is_replaced_until_something_is_under_it() {
    let mut world = World::founded();
    let other = voter(&mut world, 2);
    world.did(announce(9));
    let again = |id: u8, lost: u8| Command::AnnounceRoot {
        id: key(id),
        member: other,
        replaces: Some(key(lost)),
    };
    assert!(refused(&mut world, again(10, 8)).contains("another root key"));
    assert!(refused(&mut world, again(9, 9)).contains("not a new one"));
    world.did(again(10, 9));
    let rotation = world.state.root_keys().rotation.clone().unwrap();
    assert_eq!((rotation.id, rotation.announced_by), (key(10), other));
    assert_eq!(rotation.held_by, [other].into(), "who held the one before is asked again");
    assert_eq!(world.state.root_keys().number, 1, "it is the same rotation");
    assert_eq!(world.state.root_keys_wanted(), [ROOT, key(10)].into());
    assert!(refused(&mut world, held(FOUNDER, 9)).contains("elsewhere"));
    world.did(held(FOUNDER, 10));
    world.did(Command::ActivateRoot { id: key(10) });
    assert!(refused(&mut world, again(11, 10)).contains("another root key"));
}

/// A learner may vote before this state hears of it: so it counts, too.
#[test]
fn a_key_is_active_only_when_a_majority_of_those_who_vote_or_may_vote_holds_it() {
    let mut world = World::founded();
    let (second, third) = (world.join_manager(2), world.join_manager(3));
    world.did(announce(9));
    let active = |world: &World| world.state.root_is_held_by_majority();
    assert!(active(&world), "who joins has no vote");
    is_now(&mut world, second, MemberState::Learner);
    assert!(!active(&world));
    assert!(refused(&mut world, Command::ActivateRoot { id: key(9) }).contains("no majority"));
    is_now(&mut world, third, MemberState::Voter);
    world.did(held(second, 9));
    assert!(!active(&world), "two of three hold it, but one of two who vote");
    world.did(held(third, 9));
    assert!(active(&world));
}

#[test]
fn a_wrap_is_exchanged_only_for_one_that_was_made_from_it() {
    let mut world = World::founded();
    world.did(create(1, ROOT));
    let early = rewraps(&world, key(9));
    let text = refused(&mut world, Command::Rewrap(early));
    assert!(text.contains("not wrapped under the active root key"), "{text}");
    world.did(announce(9));
    world.did(Command::ActivateRoot { id: key(9) });
    let made = rewraps(&world, key(9));
    world.did(Command::RemoveSecret { id: secret_id(1), forget_previous: false, shred: None });
    // The same name and id again, with another value.
    let mut another = payload(7, key(9), 64);
    another.payload_id = proto::id::PayloadId::from_bytes([77; 16]);
    let Command::CreateSecret(create) = create(1, key(9)) else { panic!("it creates one") };
    world.did(Command::CreateSecret(CreateSecret { payload: another, ..create }));
    let applied = world.did(Command::Rewrap(made.clone()));
    assert_eq!(applied.outcome, Ok(Outcome::Steps { applied: 2, stale: 1 }));
    let wrap = world.state.wrap_of_secret(secret_id(1), Version(1)).unwrap();
    assert_eq!(content(wrap).0, 7, "the new value kept its own key");
    let applied = world.did(Command::Rewrap(made));
    assert_eq!(applied.outcome, Ok(Outcome::Steps { applied: 0, stale: 3 }), "once is enough");
    assert_eq!(applied.changes, []);
}

#[test]
fn a_wrap_under_another_key_spoils_its_whole_batch_and_so_does_one_too_many() {
    let mut world = World::founded();
    world.did(create(1, ROOT));
    world.did(announce(9));
    world.did(Command::ActivateRoot { id: key(9) });
    let mut items = rewraps(&world, key(9));
    let object = Wrapped::Authority;
    let wrap = world.state.cluster().unwrap().authority.wrapped_key.clone();
    items.push(anew(object, &wrap, ROOT));
    refused(&mut world, Command::Rewrap(items));
    let item = anew(object, &wrap, key(9));
    let many = |count: usize| Command::Rewrap(vec![item.clone(); count]);
    assert!(refused(&mut world, many(REWRAPS_MAX + 1)).contains("256"));
    let applied = world.did(many(REWRAPS_MAX)).outcome;
    assert_eq!(applied, Ok(Outcome::Steps { applied: 1, stale: REWRAPS_MAX as u64 - 1 }));
}

#[test]
fn a_rewrap_changes_nothing_that_operators_see() {
    let mut world = World::founded();
    world.did(create(1, ROOT));
    world.did(announce(9));
    world.did(Command::ActivateRoot { id: key(9) });
    let before = (**world.state.secret(secret_id(1)).unwrap()).clone();
    let audited = world.state.audit().records().count();
    wrap_all_anew(&mut world, key(9));
    let mut after = (**world.state.secret(secret_id(1)).unwrap()).clone();
    let value = after.versions.get_mut(&Version(1)).unwrap();
    value.payload.wrapped_dek = before.versions[&Version(1)].payload.wrapped_dek.clone();
    assert_eq!(before, after);
    assert_eq!(world.state.audit().records().count(), audited, "hundreds of entries are no news");
}

#[test]
fn who_joins_during_a_rotation_is_waited_for_and_who_is_removed_is_not() {
    let mut world = World::founded();
    let dead = voter(&mut world, 2);
    let third = voter(&mut world, 3);
    world.did(announce(9));
    world.did(held(third, 9));
    world.did(Command::ActivateRoot { id: key(9) });
    wrap_all_anew(&mut world, key(9));
    let late = world.join_manager(4);
    assert_eq!(world.state.root_rotation_pending(), [dead, late]);
    world.did(gone(dead));
    world.did(held(late, 9));
    let text = refused(&mut world, Command::RetireRoot { id: ROOT });
    assert!(text.contains(&format!("manager {late} may be fetching it")), "{text}");
    is_now(&mut world, late, MemberState::Learner);
    world.did(Command::RetireRoot { id: ROOT });
    world.did(destroyed(FOUNDER, ROOT));
    world.did(destroyed(third, ROOT));
    assert_eq!(world.state.root_rotation_pending(), [late]);
    world.did(gone(late));
    assert!(matches!(phase(&world), Some(Phase::LogKeys { .. })), "its removal unblocks it");
    let epoch = world.state.log_keys().wanted;
    world.did(Command::AcknowledgeLogKey { member: FOUNDER, epoch, key: key(60) });
    world.did(gone(third));
    assert_eq!(phase(&world), None, "and ends it");

    let unproved = &world.state.root_keys().unproved;
    assert_eq!(unproved.keys().copied().collect::<Vec<_>>(), [dead, third, late]);
    assert_eq!(unproved[&dead].hostname, "mgr-2");
    assert_eq!((unproved[&dead].root, unproved[&third].root), (Some(key(9)), Some(key(9))));
}

#[test]
fn who_gave_word_to_destroy_its_keys_is_not_listed() {
    let mut world = World::founded();
    for (n, destroys) in [(2, Some(true)), (3, None), (4, Some(false))] {
        let member = voter(&mut world, n);
        world.did(Command::RemoveMember { member, destroys });
    }
    let unproved: Vec<_> = world.state.root_keys().unproved.values().collect();
    assert_eq!(unproved.len(), 1);
    assert_eq!(unproved[0].hostname, "mgr-4");
    assert_eq!(read_back(&world).root_keys(), world.state.root_keys());
}

#[test]
fn the_only_one_that_holds_the_active_key_does_not_go() {
    let mut world = World::founded();
    world.did(announce(9));
    world.did(Command::ActivateRoot { id: key(9) });
    let late = voter(&mut world, 2);
    let text = refused(&mut world, gone(FOUNDER));
    assert!(text.contains("alone is known to hold the active root key"), "{text}");
    world.did(held(late, 9));
    world.did(gone(FOUNDER));
}

/// Log keys that a rotation under way made before are among those that must go.
#[test]
fn a_rotation_of_log_keys_that_is_under_way_has_one_more_after_it() {
    let mut world = World::founded();
    let other = voter(&mut world, 2);
    world.did(Command::RotateLogKeys);
    world.did(announce(9));
    world.did(held(other, 9));
    world.did(Command::ActivateRoot { id: key(9) });
    wrap_all_anew(&mut world, key(9));
    world.did(Command::RetireRoot { id: ROOT });
    world.did(destroyed(FOUNDER, ROOT));
    world.did(destroyed(other, ROOT));
    assert_eq!(phase(&world), Some(Phase::LogKeys { epoch: 2 }));
    log_key_words(&mut world, 60);
    assert_eq!((world.state.log_keys().wanted, phase(&world).is_some()), (2, true));
    log_key_words(&mut world, 61);
    assert_eq!(phase(&world), None);
}

#[derive(Debug, Clone)]
enum Act {
    Announce,
    Replace,
    Held(prop::sample::Index),
    Activate,
    /// Makes wraps of some objects anew; they are proposed later.
    Wrap(u8),
    /// Proposes what was made some time ago.
    Propose(prop::sample::Index),
    Retire,
    Destroyed(prop::sample::Index),
    Word(prop::sample::Index),
    Create {
        n: u8,
        root: prop::sample::Index,
    },
    Remove(u8),
    Join,
    Advance(prop::sample::Index),
    Gone(prop::sample::Index),
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        2 => Just(Act::Announce),
        1 => Just(Act::Replace),
        4 => index().prop_map(Act::Held),
        4 => Just(Act::Activate),
        4 => any::<u8>().prop_map(Act::Wrap),
        6 => index().prop_map(Act::Propose),
        4 => Just(Act::Retire),
        6 => index().prop_map(Act::Destroyed),
        4 => index().prop_map(Act::Word),
        4 => (0_u8..5, index()).prop_map(|(n, root)| Act::Create { n, root }),
        1 => (0_u8..5).prop_map(Act::Remove),
        1 => Just(Act::Join),
        1 => index().prop_map(Act::Advance),
        1 => index().prop_map(Act::Gone),
        1 => Just(Act::Restart),
    ]
}

/// What an onlooker knows beside the state.
struct Onlooker {
    /// Every root key there ever was.
    roots: Vec<KeyId>,
    /// Batches that were made and may be proposed, once or more, late or never.
    made: Vec<Vec<Rewrap>>,
    /// The content of each secret's key.
    contents: BTreeMap<SecretId, u8>,
    /// Which member holds which root keys, by its own word.
    held: BTreeMap<MemberId, Vec<KeyId>>,
}

impl Onlooker {
    #[expect(clippy::too_many_lines, reason = "one arm for each act")]
    fn act(&mut self, world: &mut World, n: u8, act: &Act) {
        let members: Vec<_> = world.state.members().keys().copied().collect();
        let rotation = world.state.root_keys().rotation.clone();
        let active = world.state.cluster().unwrap().active_root;
        let named = |n: u8| KeyId::from_bytes([n; 16]);
        match act {
            Act::Announce | Act::Replace => {
                let member = members[usize::from(n) % members.len()];
                let replaces = matches!(act, Act::Replace)
                    .then(|| rotation.as_ref().map_or(ROOT, |rotation| rotation.id));
                let command = Command::AnnounceRoot { id: named(n), member, replaces };
                if world.run(command).outcome.is_ok() {
                    self.roots.push(named(n));
                    self.held.entry(member).or_default().push(named(n));
                }
            }
            Act::Held(pick) => {
                let (member, id) = (*pick.get(&members), *self.roots.last().unwrap());
                if world.run(Command::AcknowledgeRoot { member, id }).outcome.is_ok() {
                    self.held.entry(member).or_default().push(id);
                }
            }
            Act::Activate => {
                world.run(Command::ActivateRoot { id: *self.roots.last().unwrap() }).outcome.ok();
            }
            Act::Wrap(some) => {
                let all = wraps(&world.state).into_iter();
                let some = all.enumerate().filter(|(at, _)| some >> (at % 8) & 1 == 1);
                let root = *self.roots.last().unwrap();
                self.made.push(some.map(|(_, (object, wrap))| anew(object, &wrap, root)).collect());
            }
            Act::Propose(pick) => {
                if !self.made.is_empty() {
                    world.run(Command::Rewrap(pick.get(&self.made).clone())).outcome.ok();
                }
            }
            Act::Retire => {
                let old = rotation.map_or(ROOT, |rotation| rotation.old);
                world.run(Command::RetireRoot { id: old }).outcome.ok();
            }
            Act::Destroyed(pick) => {
                let old = rotation.map_or(ROOT, |rotation| rotation.old);
                world.run(destroyed(*pick.get(&members), old)).outcome.ok();
            }
            Act::Word(pick) => {
                let pending = world.state.log_keys_pending();
                if !pending.is_empty() {
                    let (member, epoch) = (*pick.get(&pending), world.state.log_keys().wanted);
                    world.did(Command::AcknowledgeLogKey { member, epoch, key: named(n) });
                }
            }
            Act::Create { n: number, root } => {
                let root = *root.get(&self.roots);
                let Command::CreateSecret(mut secret) = create(*number, root) else {
                    panic!("it creates one")
                };
                secret.payload = payload(n, root, 64);
                let outcome = world.run(Command::CreateSecret(secret)).outcome;
                if outcome.is_ok() {
                    assert_eq!(root, active, "a wrap under another key than the active one");
                    self.contents.insert(secret_id(*number), n);
                }
            }
            Act::Remove(number) => {
                let id = secret_id(*number);
                world
                    .run(Command::RemoveSecret { id, forget_previous: false, shred: None })
                    .outcome
                    .ok();
                self.contents.remove(&id);
            }
            Act::Join => {
                if members.len() < MANAGERS_MAX {
                    world.join_manager(n);
                }
            }
            Act::Advance(pick) => {
                let member = *pick.get(&members);
                let next = match world.state.member(member).unwrap().state {
                    MemberState::Joining => MemberState::Learner,
                    _ => MemberState::Voter,
                };
                is_now(world, member, next);
            }
            Act::Gone(pick) => {
                if members.len() > 1 {
                    world.run(gone(*pick.get(&members))).outcome.ok();
                }
            }
            Act::Restart => world.state = read_back(world),
        }
    }

    /// What holds after every entry.
    fn look(&self, before: &State, world: &World) {
        let (state, keys) = (&world.state, world.state.root_keys());
        let active = state.cluster().unwrap().active_root;
        let wanted = state.root_keys_wanted();
        for (object, wrap) in wraps(state) {
            assert!(
                wanted.contains(&wrap.key_id()),
                "{object:?} is under a key that is not wanted"
            );
            if let Wrapped::Secret { id, .. } = object {
                assert_eq!(content(&wrap).0, self.contents[&id], "{object:?} has another's key");
            }
        }
        // Everybody holds what everything is under once the one before is no longer wanted.
        let was = before.root_keys_wanted();
        if let Some(old) = was.difference(&wanted).find(|old| before.wraps_under(**old) > 0) {
            panic!("{old} is given up though it is needed");
        }
        let retired = keys.rotation.as_ref().filter(|rotation| rotation.phase == Phase::Retired);
        if let Some(rotation) = retired {
            let early = |id: &MemberId| before.member(*id).is_some();
            for member in state.members().keys().filter(|id| early(id)) {
                let holds = self.held.get(member).is_some_and(|ids| ids.contains(&rotation.id));
                let joined_later = !rotation.held_by.contains(member);
                assert!(holds || joined_later, "{member} lacks the active key");
            }
            assert_eq!(state.wraps_under(rotation.old), 0);
        }
        if keys.rotation.is_none() && before.root_keys().rotation.is_some() {
            let last = keys.last.unwrap();
            assert_eq!((last.id, state.wraps_under(last.old)), (active, 0));
            let Phase::LogKeys { epoch } = before.root_keys().rotation.as_ref().unwrap().phase
            else {
                panic!("it ended without new log keys")
            };
            assert!(state.members().keys().all(|id| state.log_keys().of(*id).epoch >= epoch));
        }
        let count = wraps(state).values().filter(|wrap| wrap.key_id() == active).count();
        assert_eq!(state.wraps_under(active), count as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_key_is_given_up_that_something_is_under_and_no_object_gets_anothers_key(
        acts in prop::collection::vec(act(), 1..120),
    ) {
        let mut world = World::founded();
        let mut onlooker = Onlooker {
            roots: vec![ROOT],
            made: Vec::new(),
            contents: BTreeMap::new(),
            held: [(FOUNDER, vec![ROOT])].into(),
        };
        for (at, act) in acts.iter().enumerate() {
            let before = world.state.clone();
            onlooker.act(&mut world, u8::try_from(at + 10).unwrap(), act);
            onlooker.look(&before, &world);
        }
        finish(&mut world);
    }
}

/// Everybody answers from now on: whatever is under way comes to its end.
fn finish(world: &mut World) {
    let members: Vec<_> = world.state.members().keys().copied().collect();
    for member in &members {
        is_now(world, *member, MemberState::Voter);
    }
    if let Some(rotation) = world.state.root_keys().rotation.clone() {
        let (id, old) = (rotation.id, rotation.old);
        for member in &members {
            world.run(Command::AcknowledgeRoot { member: *member, id }).outcome.ok();
        }
        world.run(Command::ActivateRoot { id }).outcome.ok();
        if world.state.cluster().unwrap().active_root == id {
            wrap_all_anew(world, id);
        }
        world.run(Command::RetireRoot { id: old }).outcome.ok();
        for member in &members {
            world.run(destroyed(*member, old)).outcome.ok();
        }
    }
    log_key_words(world, 254);
    log_key_words(world, 255);
    assert_eq!(phase(world), None, "{:?}", world.state.root_keys());
}

/// The one that is left holds the active key, whether or not it has said so: nobody is asked to stay.
#[test]
fn a_rotation_goes_on_with_the_one_manager_that_is_left() {
    let mut world = World::founded();
    let left = voter(&mut world, 40);
    let dead = voter(&mut world, 41);
    world.did(announce(7));
    world.did(held(dead, 7));
    world.did(Command::ActivateRoot { id: key(7) });
    let root = crate::incarnation::begin(left, 40, 2).root;
    assert_ne!(root, key(7), "it was the active one");
    let begin = BeginIncarnation { root: key(7), ..crate::incarnation::begin(left, 40, 2) };
    world.did(Command::BeginIncarnation(Box::new(begin)));
    let members: Vec<_> = world.state.members().keys().copied().collect();
    assert_eq!((members, phase(&world)), (vec![left], Some(Phase::Active)));
    let unproved: Vec<_> = world.state.root_keys().unproved.keys().copied().collect();
    assert_eq!(unproved, [MemberId(1), dead], "their disks are to be treated as stolen");
    wrap_all_anew(&mut world, key(7));
    world.did(Command::RetireRoot { id: ROOT });
    world.did(destroyed(left, ROOT));
    assert!(matches!(phase(&world), Some(Phase::LogKeys { .. })));
}

#[test]
fn a_peer_key_is_wrapped_anew_like_others_and_keeps_the_old_root_until_it_is() {
    let mut world = World::founded();
    world.did(BootCommand::SetPolicy { policy: PeerPolicy::Auto });
    let turn = |world: &mut World, held, n| {
        let made_of = Box::new(new_generation(n));
        world.did(BootCommand::Stage { member: FOUNDER, held, made_of, replaces: None });
        world.state.index()
    };
    let current = turn(&mut world, None, 62);
    world.did(BootCommand::Acknowledge { member: FOUNDER, generation: current });
    let staged = turn(&mut world, Some(current), 63);
    world.did(announce(7));
    world.did(Command::ActivateRoot { id: key(7) });
    let peer = |generation| Wrapped::Peer { member: FOUNDER, generation };
    let (of_peers, others): (Vec<_>, Vec<_>) = rewraps(&world, key(7))
        .into_iter()
        .partition(|item| matches!(item.object, Wrapped::Peer { .. }));
    let objects: Vec<_> = of_peers.iter().map(|item| item.object).collect();
    assert_eq!(objects, [peer(current), peer(staged)]);
    world.did(Command::Rewrap(others));
    let said = refused(&mut world, Command::RetireRoot { id: ROOT });
    assert!(said.contains("2 objects are under it"), "{said}");

    // Each only in the place of the wrap that it was made from.
    let exchanged = Rewrap { object: peer(staged), ..of_peers[0].clone() };
    let gone = Rewrap { object: peer(1), ..of_peers[0].clone() };
    let foreign = Wrapped::Peer { member: MemberId(9), generation: current };
    let foreign = Rewrap { object: foreign, ..of_peers[0].clone() };
    let taken = world.run(Command::Rewrap(vec![exchanged, gone, foreign])).outcome.unwrap();
    assert_eq!(taken, Outcome::Steps { applied: 0, stale: 3 });
    world.did(Command::Rewrap(of_peers));
    let kept: Vec<_> = world.state.boot().generations().map(|(_, one)| one.number).collect();
    assert_eq!(kept, [current, staged], "nothing else of a generation changes");
    world.did(Command::RetireRoot { id: ROOT });
}
