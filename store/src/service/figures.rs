//! Counts of calls, for `/metrics`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use link::Failure;

/// How often a call ended how, and how long that took in all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Calls {
    pub(crate) count: u64,
    pub(crate) total: Duration,
}

/// Calls by name and outcome: a bounded set, since both are constants of the program.
#[derive(Default)]
pub(crate) struct Figures(Mutex<BTreeMap<(&'static str, &'static str), Calls>>);

impl Figures {
    pub(crate) fn count<T>(
        &self,
        call: &'static str,
        outcome: &Result<T, Failure>,
        took: Duration,
    ) {
        let outcome = outcome.as_ref().map_or_else(|failure| failure.kind.as_str(), |_| "ok");
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = calls.entry((call, outcome)).or_default();
        calls.count += 1;
        calls.total += took;
    }

    pub(crate) fn all(&self) -> BTreeMap<(&'static str, &'static str), Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
