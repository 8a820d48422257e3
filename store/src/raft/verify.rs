//! Reading every record and the snapshot, while the manager serves: does all of it still open?
//!
//! What opening does at start ([`super::log`]), on a thread of its own, one record in memory at a
//! time, one check at a time. The chain is followed, and the link at a point that is applied is
//! kept, for the leader to compare with its own. Not here: what is done about damage; the next
//! start, or the next read, stops the manager.
//!
//! Invariant: a check that ends without damage has opened every record that was in the log when it
//! began and is still there, and the whole of a snapshot.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::pb;

use super::Raft;
use super::log::{Link, LogError};
use crate::service::now;

/// Records between two notes of how far a check is.
const NOTE_EVERY: u64 = 64;

/// Checks of one manager's disk; a handle.
#[derive(Clone)]
pub(crate) struct LogChecker {
    raft: Raft,
    last: Arc<Mutex<Option<pb::LogCheck>>>,
}

impl LogChecker {
    pub(crate) fn new(raft: Raft) -> Self {
        Self { raft, last: Arc::default() }
    }

    fn last(&self) -> MutexGuard<'_, Option<pb::LogCheck>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the last check found, or how far the one under way is.
    pub(crate) fn told(&self) -> Option<pb::LogCheck> {
        self.last().clone()
    }

    /// Begins a check, unless one is under way.
    pub(crate) fn begin(&self) {
        {
            let mut last = self.last();
            if last.as_ref().is_some_and(|check| check.running) {
                return;
            }
            *last = Some(pb::LogCheck { running: true, ..pb::LogCheck::default() });
        }
        let checker = self.clone();
        tokio::spawn(async move { checker.run().await });
    }

    async fn run(self) {
        let checker = self.clone();
        let read = tokio::task::spawn_blocking(move || checker.read_all()).await;
        let mut check = match read.map_err(io::Error::other) {
            Ok(Ok(check)) => check,
            Ok(Err(error)) | Err(error) => {
                pb::LogCheck { damaged: error.to_string(), ..self.told().unwrap_or_default() }
            }
        };
        if check.damaged.is_empty() {
            let at = self.raft.applied_index().min(check.last);
            // It may have been given up meanwhile: then there is nothing to compare.
            if let Ok(link) = self.raft.link_at(at).await {
                (check.link, check.link_at) = (link.to_vec().into(), at);
            }
            tracing::info!(records = check.records, "log_checked");
        } else {
            tracing::error!(damaged = check.damaged, "log_check_failed");
        }
        (check.running, check.finished_at) = (false, now().0);
        *self.last() = Some(check);
    }

    fn read_all(&self) -> io::Result<pb::LogCheck> {
        let log = &self.raft.log;
        let (purged, last) = log.bounds();
        let first = purged.map_or(0, |purged| purged + 1);
        let last = last.unwrap_or(0);
        let mut check = pb::LogCheck { running: true, first, last, ..pb::LogCheck::default() };
        let mut previous: Option<Link> = None;
        for index in first..=last {
            match log.read_record(index)? {
                Some((entry, link)) => {
                    let continues = previous.is_none_or(|previous| {
                        seal::chain_link(&previous, entry.place, &entry.bytes) == link
                    });
                    if !continues {
                        return Err(LogError::Chain { index }.into());
                    }
                    previous = Some(link);
                    check.records += 1;
                }
                // Given up, or cut off by a new leader, since the check began.
                None if !log.is_within(index) => previous = None,
                None => return Err(LogError::Gap { index }.into()),
            }
            if index % NOTE_EVERY == 0 {
                let noted = pb::LogCheck { last: index, ..check.clone() };
                *self.last() = Some(noted);
            }
        }
        check.snapshot_bytes = self.raft.machine.snapshots().read_newest()?;
        Ok(check)
    }
}

impl Raft {
    /// The chain's link at an index of this manager's log, or at its purge point.
    ///
    /// # Errors
    ///
    /// If it is not in the log.
    pub(crate) async fn link_at(&self, index: u64) -> io::Result<Link> {
        self.log.link_at(index).await
    }
}
