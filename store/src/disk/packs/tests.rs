//! Against a plain map: after any changes, and after any part of the last ones.

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

fn planned(sled: &Sled, changes: &Changes) -> Vec<Step> {
    let changes = changes.iter().map(|(key, value)| (*key, value.as_deref()));
    plan(changes, |key| Ok::<_, ()>(around(sled, key)), || ()).unwrap()
}

fn make(sled: &mut Sled, steps: impl IntoIterator<Item = Step>) {
    for (key, bytes) in steps {
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

/// Everything that a reader finds.
fn read(sled: &Sled) -> Model {
    let mut found = Model::new();
    for (first, bytes) in sled {
        let end = around(sled, *first).next;
        let pack = Pack::read(bytes).unwrap();
        for key in pack.keys().filter(|key| end.is_none_or(|end| *key < end)) {
            found.insert(key, pack.get(key).unwrap().to_vec());
        }
    }
    found
}

fn changes() -> impl Strategy<Value = Changes> {
    let value = (0..=VALUE_BYTES_MAX, any::<u8>()).prop_map(|(bytes, byte)| vec![byte; bytes]);
    let small = (0..900usize, any::<u8>()).prop_map(|(bytes, byte)| vec![byte; bytes]);
    let change = prop_oneof![small.prop_map(Some), value.prop_map(Some), Just(None)];
    proptest::collection::btree_map((0..40u64, 0..3u16), change, 1..30)
}

proptest! {
    #[test]
    fn packs_hold_what_a_map_holds(rounds in proptest::collection::vec(changes(), 1..8), part in any::<prop::sample::Index>()) {
        let (mut sled, mut model) = (Sled::new(), Model::new());
        for round in &rounds {
            let steps = planned(&sled, round);
            // A part of it, as after a power cut; then all of it anew, as the journal has it.
            let mut torn = sled.clone();
            make(&mut torn, steps[..part.index(steps.len() + 1)].to_vec());
            let again = planned(&torn, round);
            make(&mut torn, again);

            make(&mut sled, steps);
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
    let steps = planned(&Sled::new(), &changes);
    let firsts: Vec<_> = steps.iter().map(|(key, _)| key.0).collect();
    assert_eq!(firsts, [4, 0]);
    // Appending leaves what is there alone.
    let mut sled = Sled::new();
    make(&mut sled, steps);
    let more = Changes::from([((8, 0), Some(vec![8; 10]))]);
    assert_eq!(planned(&sled, &more).len(), 1);
    // A value of the largest size is a pack of its own.
    let large = Changes::from([((9, 0), Some(vec![9; VALUE_BYTES_MAX])), ((9, 1), Some(vec![1]))]);
    assert_eq!(planned(&sled, &large).len(), 2);
}
