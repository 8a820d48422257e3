//! Tables in which things are looked up, and nothing else.
//!
//! The maps that each create of a secret searches: hashed, since a search in a tree of some hundred
//! thousand keys waits for memory at each of its levels. In parts that grow one by one: a table of that
//! size that grows at once keeps every request waiting meanwhile. Not here: the objects themselves,
//! which are read in the order of their ids.
//!
//! Invariant: nothing that a state says or writes depends on the order of a table, which differs
//! from manager to manager. So there is no iterator; who needs all of it gets it sorted.
#![expect(clippy::disallowed_types, reason = "the one door to it shows no order")]

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};

/// Parts of a table. With a million keys, the most secrets there may be, each has some 12,500: an eighth
/// below where it would grow, and what grows at once is a small part.
const PARTS: usize = 80;

/// Values by key. The hashes are keyed at random: callers choose some of the keys.
#[derive(Clone)]
pub(crate) struct Table<K, V> {
    /// Says in which part a key is; another hash than the parts' own.
    hash: RandomState,
    /// [`PARTS`] of them.
    parts: Vec<HashMap<K, V>>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { hash: RandomState::new(), parts: (0..PARTS).map(|_| HashMap::new()).collect() }
    }
}

impl<K: Eq + Hash, V> Table<K, V> {
    fn place(&self, key: &K) -> usize {
        usize::try_from(self.hash.hash_one(key) % PARTS as u64).expect("less than the parts")
    }

    fn part_of(&mut self, key: &K) -> &mut HashMap<K, V> {
        let place = self.place(key);
        self.parts.get_mut(place).expect("there are as many parts as places")
    }

    /// What stands under a key.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.parts.get(self.place(key))?.get(key)
    }

    /// Whether something stands under a key.
    pub(crate) fn contains(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Puts a value under a key, and says what stood there.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.part_of(&key).insert(key, value)
    }

    /// Takes away what stands under a key.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.part_of(key).remove(key)
    }

    /// Takes away everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl<K: Copy + Ord, V> Table<K, V> {
    /// All keys, in their order.
    pub(crate) fn sorted_keys(&self) -> Vec<K> {
        let mut keys: Vec<K> = self.parts.iter().flat_map(HashMap::keys).copied().collect();
        keys.sort_unstable();
        keys
    }
}

#[cfg(any(test, debug_assertions))]
impl<K: Eq + Hash + std::fmt::Debug, V: PartialEq + std::fmt::Debug> Table<K, V> {
    /// A difference is a fault of this crate.
    pub(crate) fn assert_same(&self, other: &Self, what: &str) {
        let all = |table: &Self| table.parts.iter().map(HashMap::len).sum::<usize>();
        assert_eq!(all(self), all(other), "{what}");
        for (key, value) in self.parts.iter().flatten() {
            assert_eq!(Some(value), other.get(key), "{what}: {key:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_found_until_it_is_taken_and_comes_out_sorted() {
        let mut table = Table::default();
        for key in (0..10_000_u32).rev() {
            assert_eq!(table.insert(key, key + 1), None);
        }
        assert_eq!(table.insert(7, 70), Some(8));
        assert_eq!(table.get(&7), Some(&70));
        assert!(!table.contains(&10_000));
        let mut copy = table.clone();
        for key in (0..10_000).step_by(2) {
            assert!(table.remove(&key).is_some());
            assert!(!table.contains(&key));
        }
        assert!(table.sorted_keys().into_iter().eq((1..10_000).step_by(2)));
        assert!(copy.sorted_keys().into_iter().eq(0..10_000));
        let largest = copy.parts.iter().map(HashMap::len).max().unwrap();
        assert!(largest < 2 * 10_000 / PARTS, "{largest} keys in one part");
        copy.clear();
        assert!(copy.sorted_keys().is_empty());
    }
}
