//! Against a plain map: after any changes, and after any first groups of the last ones.

use proptest::prelude::*;

use super::*;

type Sled = BTreeMap<LogKey, Vec<u8>>;
type Model = BTreeMap<LogKey, Vec<u8>>;
type Changes = BTreeMap<LogKey, Option<Vec<u8>>>;

fn around(sled: &Sled, key: LogKey) -> Around {
    let before = sled.range(..=key).next_back().map(|(key, bytes)| (*key, bytes.clone()));
    let next = sled.range((std::ops::Bound::Excluded(key), std::ops::Bound::Unbounded));
    Around { before, next: next.map(|(key, _)| *key).next() }
}

fn planned(sled: &Sled, changes: &Changes) -> Vec<Group> {
    let changes = changes.iter().map(|(key, value)| (*key, value.as_deref()));
    plan(changes, |key| Ok::<_, ()>(around(sled, key)), || ()).unwrap()
}

fn make(sled: &mut Sled, groups: impl IntoIterator<Item = Group>) {
    for (key, bytes) in groups.into_iter().flatten() {
        match bytes {
            Some(bytes) => {
                assert!(bytes.len() <= PACK_BYTES_MAX);
                sled.insert(key, bytes);
            }
            None => drop(sled.remove(&key)),
        }
    }
}

fn change(model: &mut Model, changes: &Changes) {
    for (key, value) in changes {
        match value {
            Some(value) => drop(model.insert(*key, value.clone())),
            None => drop(model.remove(key)),
        }
    }
}

/// Everything that there is, each pack in its place.
fn read(sled: &Sled) -> Model {
    let mut found = Model::new();
    for (first, bytes) in sled {
        let end = around(sled, *first).next;
        let pack = Pack::read(bytes).unwrap();
        for key in pack.keys() {
            assert!(key >= *first && end.is_none_or(|end| key < end), "{key:?} in {first:?}");
            found.insert(key, pack.get(key).unwrap().to_vec());
        }
    }
    found
}

fn changes() -> impl Strategy<Value = Changes> {
    let value = (0..=VALUE_BYTES_MAX, any::<u8>()).prop_map(|(bytes, byte)| vec![byte; bytes]);
    let small = (0..900usize, any::<u8>()).prop_map(|(bytes, byte)| vec![byte; bytes]);
    let change = prop_oneof![small.prop_map(Some), value.prop_map(Some), Just(None)];
    let at = |indices| (0..indices, 0..3u16);
    // Few of many, many of few, and a record in the midst of a pack.
    prop_oneof![
        proptest::collection::btree_map(at(40u64), change.clone(), 1..30),
        proptest::collection::btree_map(at(8u64), change.clone(), 1..24),
        proptest::collection::btree_map(at(40u64), change, 1..3),
    ]
}

proptest! {
    #[test]
    fn packs_hold_what_a_map_holds(rounds in proptest::collection::vec(changes(), 1..8), part in any::<prop::sample::Index>()) {
        let (mut sled, mut model) = (Sled::new(), Model::new());
        for round in &rounds {
            let groups = planned(&sled, round);
            // A part of it, as after a power cut, or while it is carried out.
            let mut torn = sled.clone();
            make(&mut torn, groups[..part.index(groups.len() + 1)].to_vec());
            let others = |mut model: Model| { model.retain(|key, _| !round.contains_key(key)); model };
            prop_assert_eq!(others(read(&torn)), others(model.clone()));
            // Then all of it anew, as the journal has it.
            let again = planned(&torn, round);
            make(&mut torn, again);

            make(&mut sled, groups);
            change(&mut model, round);
            prop_assert_eq!(&read(&sled), &model);
            prop_assert_eq!(&read(&torn), &model);
            sled = torn;
        }
    }

    #[test]
    fn what_is_no_pack_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        drop(Pack::read(&bytes));
    }
}

#[test]
fn neighbours_share_a_value_up_to_its_bound() {
    let mut changes = Changes::new();
    for index in 0..8 {
        changes.insert((index, 0), Some(vec![7; 1000]));
    }
    let groups = planned(&Sled::new(), &changes);
    let firsts: Vec<_> = groups.iter().flatten().map(|(key, _)| key.0).collect();
    assert_eq!(firsts, [0, 4]);
    // Appending leaves what is there alone.
    let mut sled = Sled::new();
    make(&mut sled, groups);
    let more = Changes::from([((8, 0), Some(vec![8; 10]))]);
    assert_eq!(planned(&sled, &more).len(), 1);
    // A value of the largest size is a pack of its own.
    let large = Changes::from([((9, 0), Some(vec![9; VALUE_BYTES_MAX])), ((9, 1), Some(vec![1]))]);
    assert_eq!(planned(&sled, &large).len(), 2);
}

#[test]
fn a_record_in_the_midst_of_others_is_set_in_between_them() {
    let neighbours = (0..5).map(|index| ((index, 0), Some(vec![1; 10])));
    let mut sled = Sled::new();
    make(&mut sled, planned(&Sled::new(), &neighbours.collect()));
    let one = Changes::from([((2, 0), Some(vec![2; VALUE_BYTES_MAX]))]);
    let firsts = |group: &Group| group.iter().map(|(key, _)| key.0).collect::<Vec<_>>();
    let groups = planned(&sled, &one);
    assert_eq!(groups.iter().map(firsts).collect::<Vec<_>>(), [vec![0, 0, 3], vec![2]]);
}
