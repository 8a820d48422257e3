//! Refusals, counted by caller and action until the leader commits them as a summary.
//!
//! Bounded: a caller that is refused a million times is one line with a count.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use proto::identity::Caller;
use state::command::Denial;

/// Callers and actions counted at a time; further ones are dropped, and logged anyway.
const LINES_MAX: usize = 1024;

/// Refusals since the last summary.
#[derive(Default)]
pub(crate) struct Denials {
    counts: Mutex<BTreeMap<(Caller, String), u64>>,
}

impl Denials {
    /// Counts one refusal.
    pub(crate) fn count(&self, caller: Caller, action: &str) {
        tracing::warn!(target: "audit", caller = %caller, action, "request_denied");
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (caller, action.to_owned());
        if counts.len() < LINES_MAX || counts.contains_key(&key) {
            *counts.entry(key).or_default() += 1;
        }
    }

    /// Takes what was counted.
    pub(crate) fn take(&self) -> Vec<Denial> {
        let counts =
            std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        let lines = counts.into_iter();
        lines.map(|((caller, action), count)| Denial { caller, action, count }).collect()
    }

    /// Takes back what could not be committed.
    pub(crate) fn put_back(&self, denials: Vec<Denial>) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for denial in denials {
            *counts.entry((denial.caller, denial.action)).or_default() += denial.count;
        }
    }
}
