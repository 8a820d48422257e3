//! How many data keys and values in clear there are in this process at this moment.
//!
//! Key memory cannot be looked into from outside; so whoever wants to know that nothing lingers in it
//! asks this. Numbers only. Not here: keys that are meant to live long.
//!
//! Invariant: one is counted from its birth until it is wiped.

use std::sync::atomic::{AtomicUsize, Ordering};

static DATA_KEYS: AtomicUsize = AtomicUsize::new(0);
static VALUES: AtomicUsize = AtomicUsize::new(0);

/// What there is at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveSecrets {
    /// Data keys, each of which opens one payload.
    pub data_keys: usize,
    /// Values in clear. A manager never has any.
    pub values: usize,
}

/// Counts what there is now.
pub fn live_secrets() -> LiveSecrets {
    let now = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    LiveSecrets { data_keys: now(&DATA_KEYS), values: now(&VALUES) }
}

/// One of what is counted, for as long as it lives.
pub(crate) struct Live(&'static AtomicUsize);

impl Live {
    pub(crate) fn one_of(count: &'static AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }

    pub(crate) fn data_key() -> Self {
        Self::one_of(&DATA_KEYS)
    }

    pub(crate) fn value() -> Self {
        Self::one_of(&VALUES)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
