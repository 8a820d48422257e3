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

impl Calls {
    fn add(&mut self, took: Duration) {
        self.count += 1;
        self.total += took;
    }
}

/// Calls by name and outcome, and parts of creates by name: bounded sets, since names and outcomes
/// are constants of the program.
#[derive(Default)]
pub(crate) struct Figures {
    calls: Mutex<BTreeMap<(&'static str, &'static str), Calls>>,
    parts: Mutex<BTreeMap<&'static str, Calls>>,
}

impl Figures {
    pub(crate) fn count<T>(
        &self,
        call: &'static str,
        outcome: &Result<T, Failure>,
        took: Duration,
    ) {
        let outcome = outcome.as_ref().map_or_else(|failure| failure.kind.as_str(), |_| "ok");
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.entry((call, outcome)).or_default().add(took);
    }

    /// Counts a part of a create: where its time goes.
    pub(crate) fn count_part(&self, part: &'static str, took: Duration) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.entry(part).or_default().add(took);
    }

    pub(crate) fn all(&self) -> BTreeMap<(&'static str, &'static str), Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn parts(&self) -> BTreeMap<&'static str, Calls> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
