//! The node's wall clock, for what is shown to people. No decision depends on it.

use std::time::{SystemTime, UNIX_EPOCH};

use proto::id::Timestamp;

/// Now; the epoch if the clock is before it.
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
