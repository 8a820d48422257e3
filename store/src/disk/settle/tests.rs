//! Against a map that does everything at once: what is read is the same, whatever sled has.

use std::collections::BTreeMap;

use super::super::VALUE_BYTES_MAX;
use super::*;

fn folder(base: &std::path::Path) -> Folder {
    Folder::create_private(base.join("data")).unwrap()
}

fn log(index: u64, piece: u16) -> Key {
    Key::Log { index, piece }
}

/// Numbers that look random; the same for a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

fn check(settled: &Settled, model: &BTreeMap<Key, Vec<u8>>) {
    let keys: Vec<_> = model
        .keys()
        .filter_map(|key| match key {
            Key::Log { index, piece } => Some((*index, *piece)),
            Key::Meta(_) => None,
        })
        .collect();
    assert_eq!(settled.log_keys(0, usize::MAX).unwrap(), keys);
    for (first, count) in [(0, 5), (20, 7), (40, 1000)] {
        let expected: Vec<_> =
            keys.iter().copied().filter(|(index, _)| *index >= first).take(count).collect();
        assert_eq!(settled.log_keys(first, count).unwrap(), expected, "{first} {count}");
    }
    for index in 0..60 {
        for piece in 0..3 {
            let key = log(index, piece);
            assert_eq!(settled.get(key).unwrap().as_ref(), model.get(&key), "{key:?}");
        }
    }
    let meta = Key::Meta("vote");
    assert_eq!(settled.get(meta).unwrap().as_ref(), model.get(&meta));
}

fn step(settled: &Settled, model: &mut BTreeMap<Key, Vec<u8>>, random: &mut Random) {
    let mut changes = Vec::new();
    for _ in 0..=random.below(20) {
        let key = match random.below(12) {
            0 => Key::Meta("vote"),
            _ => log(random.below(60), u16::try_from(random.below(3)).unwrap()),
        };
        let length = usize::try_from(random.below(VALUE_BYTES_MAX as u64)).unwrap();
        let byte = u8::try_from(random.below(256)).unwrap();
        changes.push((key, (random.below(3) > 0).then(|| vec![byte; length])));
    }
    for (key, value) in &changes {
        match value {
            Some(value) => drop(model.insert(*key, value.clone())),
            None => drop(model.remove(key)),
        }
    }
    settled.change(changes).unwrap();
    settled.sync().unwrap();
}

/// Enough steps that halves are begun many times, with openings in between.
#[test]
fn reads_are_those_of_a_plain_map() {
    let base = tempfile::tempdir().unwrap();
    let (mut model, mut random) = (BTreeMap::new(), Random(7));
    for _ in 0..4 {
        let settled = Settled::open(&folder(base.path())).unwrap();
        check(&settled, &model);
        for number in 0..120 {
            step(&settled, &mut model, &mut random);
            if number % 20 == 0 {
                check(&settled, &model);
            }
        }
        check(&settled, &model);
    }
}

/// An opening finds in the journal alone what sled had not taken over.
#[test]
fn what_was_not_taken_over_is_in_the_journal() {
    let (base, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(Settled::open(&folder(copy.path())).unwrap());
    let (mut model, mut random) = (BTreeMap::new(), Random(11));
    let settled = Settled::open(&folder(base.path())).unwrap();
    for _ in 0..4 {
        step(&settled, &mut model, &mut random);
    }
    assert!(settled.shared.lock().new.bytes < SETTLE_BYTES && !model.is_empty());
    let journal = |base: &std::path::Path| base.join("data").join(journal::NAME);
    std::fs::copy(journal(base.path()), journal(copy.path())).unwrap();
    check(&Settled::open(&folder(copy.path())).unwrap(), &model);
}

/// Closing leaves nothing in the journal: damage to it is harmless then.
#[test]
fn a_closed_journal_is_empty() {
    let base = tempfile::tempdir().unwrap();
    let (mut model, mut random) = (BTreeMap::new(), Random(13));
    let settled = Settled::open(&folder(base.path())).unwrap();
    step(&settled, &mut model, &mut random);
    drop(settled);
    let bytes = std::fs::read(base.path().join("data").join(journal::NAME)).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0));
    check(&Settled::open(&folder(base.path())).unwrap(), &model);
}

/// sled fails: what is not durable is not called so, and nothing works from then on.
#[test]
fn a_failure_to_take_over_ends_everything() {
    let base = tempfile::tempdir().unwrap();
    let settled = Settled::open(&folder(base.path())).unwrap();
    {
        let mut waiting = settled.shared.lock();
        let path = base.path().to_owned();
        (waiting.failed, waiting.has_failed) = (Some(DiskError::Blob { path }), true);
    }
    settled.change(vec![(log(1, 0), Some(vec![1]))]).unwrap();
    assert!(matches!(settled.sync(), Err(DiskError::Blob { .. })));
    assert!(matches!(settled.sync(), Err(DiskError::NotSettled { .. })));
}
