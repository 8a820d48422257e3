//! Which manager to try next, and how long to wait before.
//!
//! A pure machine; chance is a parameter. Agents start at a random manager and go round: within a
//! round the next is tried almost at once, so that the failure of one manager costs no more than a
//! new connection; after a round in which nobody would serve, the wait doubles. Not here: dialling.
//!
//! Invariant: whoever is known is tried once a round, and the wait is at most [`PAUSE_MAX`].

use std::time::Duration;

/// Spread of the attempts within a round: all agents of a dead manager come at the same moment.
const SPREAD: Duration = Duration::from_millis(50);

/// The first wait between two rounds, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(8);

/// A session that held so long shows that its manager serves.
pub(crate) const SETTLED: Duration = PAUSE_MAX;

/// A random number below a bound.
pub(crate) trait Chance {
    /// From 0 to `bound - 1`; 0 if the bound is 0.
    fn below(&mut self, bound: u64) -> u64;
}

/// The kernel's.
pub(crate) struct Random;

impl Chance for Random {
    fn below(&mut self, bound: u64) -> u64 {
        // A bias of a few in 2^64 is of no matter here.
        u64::from_be_bytes(seal::random()).checked_rem(bound).unwrap_or_default()
    }
}

/// A random time up to `most`.
pub(crate) fn up_to(most: Duration, chance: &mut impl Chance) -> Duration {
    let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX - 1);
    Duration::from_nanos(chance.below(nanos + 1))
}

/// Waits that double, with chance: from half of each to all of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    next: Duration,
    first: Duration,
    most: Duration,
}

impl Backoff {
    /// Waits from `first` to `most`.
    pub(crate) const fn new(first: Duration, most: Duration) -> Self {
        Self { next: first, first, most }
    }

    /// The next wait.
    pub(crate) fn pause(&mut self, chance: &mut impl Chance) -> Duration {
        let half = self.next / 2;
        self.next = (self.next * 2).min(self.most);
        half + up_to(half, chance)
    }

    /// Begins anew.
    pub(crate) const fn reset(&mut self) {
        self.next = self.first;
    }
}

/// The order and the times of attempts.
#[derive(Debug)]
pub(crate) struct Schedule {
    at: usize,
    tried: usize,
    backoff: Backoff,
}

impl Schedule {
    /// Begins at a random manager.
    pub(crate) fn new(chance: &mut impl Chance) -> Self {
        // Taken modulo their number, which may change.
        let at = usize::try_from(chance.below(1 << 16)).unwrap_or_default();
        Self { at, tried: 0, backoff: Backoff::new(PAUSE_MIN, PAUSE_MAX) }
    }

    /// The manager to try now.
    pub(crate) fn current<'a, T>(&self, managers: &'a [T]) -> Option<&'a T> {
        managers.get(self.at.checked_rem(managers.len())?)
    }

    /// The manager would not serve, or not any more: the wait before the next one is tried.
    /// `settled` is whether it had served for [`SETTLED`].
    pub(crate) fn next(
        &mut self,
        managers: usize,
        settled: bool,
        chance: &mut impl Chance,
    ) -> Duration {
        if settled {
            self.tried = 0;
            self.backoff.reset();
        }
        self.at = (self.at + 1).checked_rem(managers).unwrap_or_default();
        self.tried += 1;
        if self.tried < managers {
            return up_to(SPREAD, chance);
        }
        self.tried = 0;
        self.backoff.pause(chance)
    }

    /// Whether a round has just come to its end.
    pub(crate) const fn round_is_over(&self) -> bool {
        self.tried == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Always the most.
    struct Most;

    impl Chance for Most {
        fn below(&mut self, bound: u64) -> u64 {
            bound.saturating_sub(1)
        }
    }

    /// Always the least.
    struct Least;

    impl Chance for Least {
        fn below(&mut self, _: u64) -> u64 {
            0
        }
    }

    #[test]
    fn after_a_failure_the_next_manager_is_tried_almost_at_once() {
        let managers = ["a", "b", "c"];
        let mut schedule = Schedule::new(&mut Least);
        assert_eq!(schedule.current(&managers), Some(&"a"));
        assert_eq!(schedule.next(3, false, &mut Most), SPREAD);
        assert_eq!(schedule.current(&managers), Some(&"b"));
        assert_eq!(schedule.next(3, false, &mut Least), Duration::ZERO);
        assert_eq!(schedule.current(&managers), Some(&"c"));
        assert!(!schedule.round_is_over());
        assert_eq!(schedule.next(3, false, &mut Most), PAUSE_MIN);
        assert!(schedule.round_is_over());
        assert_eq!(schedule.current(&managers), Some(&"a"));
    }

    #[test]
    fn rounds_without_success_are_further_and_further_apart_up_to_a_bound() {
        let mut schedule = Schedule::new(&mut Least);
        let pauses: Vec<u128> =
            (0..9).map(|_| schedule.next(1, false, &mut Most).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 8000, 8000]);
        assert_eq!(schedule.next(1, false, &mut Least), PAUSE_MAX / 2);
        assert_eq!(schedule.next(1, true, &mut Most), PAUSE_MIN, "one that served begins anew");
    }

    #[test]
    fn a_settled_session_that_ends_costs_no_wait_where_others_are_known() {
        let mut schedule = Schedule::new(&mut Least);
        for _ in 0..7 {
            schedule.next(2, false, &mut Most);
        }
        assert_eq!(schedule.next(2, true, &mut Most), SPREAD);
    }

    #[test]
    fn any_list_will_do() {
        let mut schedule = Schedule::new(&mut Most);
        assert_eq!(schedule.current::<u8>(&[]), None);
        schedule.next(0, false, &mut Random);
        for managers in [5, 1, 0, 3] {
            schedule.next(managers, false, &mut Random);
            let list: Vec<usize> = (0..managers).collect();
            assert_eq!(schedule.current(&list).is_some(), managers > 0);
        }
        assert_eq!(Random.below(0), 0);
        assert!(Random.below(3) < 3);
    }

    #[test]
    fn agents_do_not_all_start_at_the_same_manager() {
        let managers: Vec<usize> = (0..3).collect();
        let starts: std::collections::BTreeSet<usize> = (0..100)
            .filter_map(|_| Schedule::new(&mut Random).current(&managers).copied())
            .collect();
        assert_eq!(starts.len(), 3);
    }
}
