//! Refusals, counted by caller and action until the leader commits them as a summary.
//!
//! The first of a caller and an action is told at once, in the log and to the leader; what follows
//! within a minute is one more line with a count. So a caller that is refused a million times, or a
//! manager that was removed and calls on for ever, is one line a minute. What is counted and not
//! told yet when a manager ends is lost: at most the last minute's repetitions.
//!
//! Invariant: memory, log and audit are bounded whatever a caller does.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use proto::identity::Caller;
use state::command::Denial;

/// Callers and actions counted at a time; further ones are dropped, and logged anyway.
const LINES_MAX: usize = 1024;

/// How long repetitions are gathered.
const GATHER: Duration = Duration::from_secs(60);

/// One caller and one action.
struct Line {
    /// When it was last told; never, or it has to be told again.
    told: Option<Instant>,
    count: u64,
}

impl Line {
    fn is_over(&self, now: Instant) -> bool {
        self.told.is_none_or(|told| now.duration_since(told) >= GATHER)
    }
}

/// Refusals since the last summary.
#[derive(Default)]
pub(crate) struct Denials {
    lines: Mutex<BTreeMap<(Caller, String), Line>>,
}

impl Denials {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Caller, String), Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one refusal.
    pub(crate) fn count(&self, caller: Caller, action: &str) {
        if self.is_first(caller, action) {
            tracing::warn!(target: "audit", caller = %caller, action, "request_denied");
        }
    }

    /// Counts one; whether it is no repetition.
    fn is_first(&self, caller: Caller, action: &str) -> bool {
        let mut lines = self.lock();
        let key = (caller, action.to_owned());
        if let Some(line) = lines.get_mut(&key) {
            line.count += 1;
            return false;
        }
        if lines.len() < LINES_MAX {
            lines.insert(key, Line { told: None, count: 1 });
        }
        true
    }

    /// Takes what is to be told by now.
    pub(crate) fn take(&self) -> Vec<Denial> {
        let (denials, repeated) = self.take_at(Instant::now());
        for Denial { caller, action, count } in repeated {
            tracing::warn!(target: "audit", caller = %caller, action, count, "requests_denied");
        }
        denials
    }

    /// What is to be told at an instant, and which of that are repetitions.
    fn take_at(&self, now: Instant) -> (Vec<Denial>, Vec<Denial>) {
        let (mut denials, mut repeated) = (Vec::new(), Vec::new());
        self.lock().retain(|(caller, action), line| {
            if !line.is_over(now) {
                return true;
            }
            if line.count == 0 {
                return false;
            }
            let count = std::mem::take(&mut line.count);
            let denial = Denial { caller: *caller, action: action.clone(), count };
            if line.told.replace(now).is_some() {
                repeated.push(denial.clone());
            }
            denials.push(denial);
            true
        });
        (denials, repeated)
    }

    /// Takes back what could not be committed: it is told with the next summary.
    pub(crate) fn put_back(&self, denials: Vec<Denial>) {
        let mut lines = self.lock();
        for denial in denials {
            let line = lines.entry((denial.caller, denial.action));
            let line = line.or_insert(Line { told: None, count: 0 });
            line.told = None;
            line.count += denial.count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: Caller = Caller::Local { uid: 7, member: proto::id::MemberId(1) };

    fn counts(denials: &[Denial]) -> Vec<(&str, u64)> {
        denials.iter().map(|denial| (denial.action.as_str(), denial.count)).collect()
    }

    #[test]
    fn the_first_is_told_at_once_and_what_follows_once_a_minute() {
        let denials = Denials::default();
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut told = Vec::new();
        // Five refusals a second, for three minutes; another action once.
        for second in 0..180 {
            for _ in 0..5 {
                denials.is_first(CALLER, "append");
            }
            if second == 70 {
                assert!(denials.is_first(CALLER, "vote"), "another action is another line");
            }
            let (taken, repeated) = denials.take_at(at(second));
            assert!(repeated.len() <= taken.len());
            told.extend(
                counts(&taken).iter().map(|(what, count)| (second, *what == "vote", *count)),
            );
        }
        let lines = [(0, false, 5), (60, false, 300), (70, true, 1), (120, false, 300)];
        assert_eq!(told, lines, "one line a minute");
        // What was gathered is told when its minute is over, and then it is forgotten.
        let (rest, repeated) = denials.take_at(at(180));
        assert_eq!(counts(&rest), [("append", 295)]);
        assert_eq!(counts(&repeated), counts(&rest));
        assert!(denials.take_at(at(240)).0.is_empty());
        assert!(denials.lock().is_empty());
        assert!(denials.is_first(CALLER, "append"), "it is news again");
    }

    #[test]
    fn what_could_not_be_committed_is_told_with_the_next_summary() {
        let denials = Denials::default();
        let now = Instant::now();
        denials.is_first(CALLER, "append");
        let (taken, _) = denials.take_at(now);
        denials.is_first(CALLER, "append");
        denials.put_back(taken);
        assert_eq!(counts(&denials.take_at(now).0), [("append", 2)]);
        assert!(denials.take_at(now).0.is_empty());
    }

    #[test]
    fn so_many_lines_are_counted_and_no_more() {
        let denials = Denials::default();
        for number in 0..=LINES_MAX {
            assert!(denials.is_first(CALLER, &number.to_string()));
        }
        assert_eq!(denials.take_at(Instant::now()).0.len(), LINES_MAX);
    }
}
