//! How the log's writer is doing, for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Durations of the last syncs that are kept for the percentile.
const RECENT_SYNCS: usize = 512;

/// Counts since this manager started.
#[derive(Default)]
pub(crate) struct LogStats {
    pub(super) groups: AtomicU64,
    pub(super) entries: AtomicU64,
    pub(super) bytes: AtomicU64,
    syncs: AtomicU64,
    put_micros: AtomicU64,
    sync_micros: AtomicU64,
    recent_micros: Mutex<Recent>,
}

#[derive(Default)]
struct Recent {
    micros: Vec<u32>,
    next: usize,
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

impl LogStats {
    /// Records were handed to the disk.
    pub(super) fn put(&self, took: Duration) {
        self.put_micros.fetch_add(micros(took), Ordering::Relaxed);
    }

    /// What was handed to the disk is durable.
    pub(super) fn synced(&self, took: Duration) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        let took = micros(took);
        self.sync_micros.fetch_add(took, Ordering::Relaxed);
        let took = u32::try_from(took).unwrap_or(u32::MAX);
        let mut recent = self.recent_micros.lock().unwrap_or_else(PoisonError::into_inner);
        let next = recent.next;
        match recent.micros.get_mut(next) {
            Some(slot) => *slot = took,
            None => recent.micros.push(took),
        }
        recent.next = (next + 1) % RECENT_SYNCS;
    }

    /// Each count by its name in the metrics.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 6] {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("groups", count(&self.groups)),
            ("entries", count(&self.entries)),
            ("bytes", count(&self.bytes)),
            ("syncs", count(&self.syncs)),
            ("put_microseconds", count(&self.put_micros)),
            ("sync_microseconds", count(&self.sync_micros)),
        ]
    }

    /// The 99th percentile of the last syncs, in microseconds.
    pub(crate) fn sync_p99_micros(&self) -> u64 {
        let mut micros =
            self.recent_micros.lock().unwrap_or_else(PoisonError::into_inner).micros.clone();
        micros.sort_unstable();
        let at = micros.len().saturating_sub(1) * 99 / 100;
        micros.get(at).copied().unwrap_or(0).into()
    }
}
