//! Refusals, counted by caller and action until the leader commits them as a summary.
//!
//! A caller is who it is, whatever its certificate: an agent that renews its own is one caller. The
//! first of a caller and an action is told at once, in the log and to the leader; what follows
//! within a minute is one more line with a count. So a caller that is refused a million times, or a
//! manager that was removed and calls on for ever, is one line a minute. What is counted and not
//! told yet when a manager ends is lost: at most the last minute's repetitions. Of more callers and
//! actions than are counted at a time, the log has one line a minute, with their number.
//!
//! Invariant: memory, log and audit are bounded whatever a caller does.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use proto::identity::{Caller, Principal};
use state::command::Denial;

/// Callers and actions counted at a time; further ones are a number in the log.
const LINES_MAX: usize = 1024;

/// How long repetitions are gathered.
const GATHER: Duration = Duration::from_secs(60);

/// One caller and one action.
struct Line {
    /// As it was seen last.
    caller: Caller,
    /// When it was last told; never, or it has to be told again.
    told: Option<Instant>,
    count: u64,
}

impl Line {
    fn is_over(&self, now: Instant) -> bool {
        self.told.is_none_or(|told| now.duration_since(told) >= GATHER)
    }
}

#[derive(Default)]
struct Counted {
    lines: BTreeMap<(Principal, String), Line>,
    /// Refusals that had no line, since that was last told.
    beyond: u64,
    /// When it was.
    beyond_told: Option<Instant>,
}

/// Refusals since the last summary.
#[derive(Default)]
pub(crate) struct Denials {
    counted: Mutex<Counted>,
}

impl Denials {
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one refusal.
    pub(crate) fn count(&self, caller: Caller, action: &str) {
        if self.is_first(caller, action) {
            tracing::warn!(target: "audit", caller = %caller, action, "request_denied");
        }
    }

    /// Counts one; whether it has to be told at once, for it is no repetition.
    fn is_first(&self, caller: Caller, action: &str) -> bool {
        let mut counted = self.lock();
        let key = (caller.principal(), action.to_owned());
        if let Some(line) = counted.lines.get_mut(&key) {
            line.caller = caller;
            line.count += 1;
            return false;
        }
        if counted.lines.len() >= LINES_MAX {
            counted.beyond += 1;
            return false;
        }
        counted.lines.insert(key, Line { caller, told: None, count: 1 });
        true
    }

    /// Takes what is to be told by now.
    pub(crate) fn take(&self) -> Vec<Denial> {
        let now = Instant::now();
        if let Some(count) = self.take_beyond(now) {
            tracing::warn!(target: "audit", count, "requests_denied_beyond_what_is_counted");
        }
        let (denials, repeated) = self.take_at(now);
        for Denial { caller, action, count } in repeated {
            tracing::warn!(target: "audit", caller = %caller, action, count, "requests_denied");
        }
        denials
    }

    /// What is to be told at an instant, and which of that are repetitions.
    fn take_at(&self, now: Instant) -> (Vec<Denial>, Vec<Denial>) {
        let (mut denials, mut repeated) = (Vec::new(), Vec::new());
        self.lock().lines.retain(|(_, action), line| {
            if !line.is_over(now) {
                return true;
            }
            if line.count == 0 {
                return false;
            }
            let count = std::mem::take(&mut line.count);
            let denial = Denial { caller: line.caller, action: action.clone(), count };
            if line.told.replace(now).is_some() {
                repeated.push(denial.clone());
            }
            denials.push(denial);
            true
        });
        (denials, repeated)
    }

    /// How many had no line, if that is to be told at an instant.
    fn take_beyond(&self, now: Instant) -> Option<u64> {
        let mut counted = self.lock();
        let is_over = counted.beyond_told.is_none_or(|told| now.duration_since(told) >= GATHER);
        if counted.beyond == 0 || !is_over {
            return None;
        }
        counted.beyond_told = Some(now);
        Some(std::mem::take(&mut counted.beyond))
    }

    /// Takes back what could not be committed: it is told with the next summary.
    pub(crate) fn put_back(&self, denials: Vec<Denial>) {
        let mut counted = self.lock();
        for denial in denials {
            let line = counted.lines.entry((denial.caller.principal(), denial.action));
            let line = line.or_insert(Line { caller: denial.caller, told: None, count: 0 });
            line.told = None;
            line.count += denial.count;
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::id::{NodeId, Serial};
    use proto::identity::Subject;

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
        assert!(denials.lock().lines.is_empty());
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
    fn so_many_lines_are_counted_and_more_are_one_line_a_minute() {
        let denials = Denials::default();
        for number in 0..LINES_MAX {
            assert!(denials.is_first(CALLER, &number.to_string()));
        }
        let begin = Instant::now();
        assert_eq!(denials.take_beyond(begin), None);
        // A refusal a second that has no line, for three minutes.
        let mut told = Vec::new();
        for second in 0..180 {
            assert!(!denials.is_first(CALLER, &format!("another {second}")), "no line of its own");
            let now = begin + Duration::from_secs(second);
            told.extend(denials.take_beyond(now).map(|count| (second, count)));
        }
        assert_eq!(told, [(0, 1), (60, 60), (120, 60)]);
        assert_eq!(denials.take_at(begin).0.len(), LINES_MAX);
    }

    #[test]
    fn a_caller_that_renews_its_certificate_is_the_same_caller() {
        let denials = Denials::default();
        let subject = Subject::Agent(NodeId::from_entropy([1; 17]));
        let caller = |n: u8| Caller::Certified { subject, serial: Serial::from_bytes([n; 16]) };
        assert!(denials.is_first(caller(0), "append"));
        for number in 1..=u8::MAX {
            assert!(!denials.is_first(caller(number), "append"), "renewed {number} times");
        }
        let (told, _) = denials.take_at(Instant::now());
        assert_eq!(counts(&told), [("append", 256)]);
        assert_eq!(told[0].caller, caller(u8::MAX), "as it was seen last");
    }
}
