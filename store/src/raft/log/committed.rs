//! How far the log is committed, on its way from openraft to the log's writer.
//!
//! It changes with every entry and is worth no sync of its own: it goes with what is written next, or
//! with the head. So it is no job in the writer's queue, which would wake the writer's thread once more
//! for each entry. It is kept here, and the writer looks when it has something to do anyway.
//!
//! Not here: sealing it and writing it (raft::log).
//!
//! Invariant: it is taken only after every job that was queued before it was noted; a writer that rests
//! is woken by the first note.

use std::sync::{Mutex, MutexGuard, PoisonError};

use seal::RecordPlace;

#[derive(Default)]
struct Noted {
    place: Option<RecordPlace>,
    /// Jobs that were queued before.
    after: u64,
    /// Whether the writer waits for a job, and looks at nothing before one comes.
    writer_rests: bool,
}

/// Where the log is committed to, noted by one thread and taken by the writer's.
#[derive(Default)]
pub(super) struct Committed(Mutex<Noted>);

impl Committed {
    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a place that is committed, when so many jobs had been queued. True if the writer rests:
    /// it is to be woken.
    pub(super) fn note(&self, place: RecordPlace, queued: u64) -> bool {
        let mut noted = self.lock();
        noted.place = Some(place);
        noted.after = queued;
        std::mem::take(&mut noted.writer_rests)
    }

    /// Whether there is nothing to take. If so, the next note finds that the writer rests.
    pub(super) fn rest(&self) -> bool {
        let mut noted = self.lock();
        noted.writer_rests = noted.place.is_none();
        noted.writer_rests
    }

    /// The place, once the writer has carried out what was queued before.
    pub(super) fn take(&self, carried_out: u64) -> Option<RecordPlace> {
        let mut noted = self.lock();
        if noted.after > carried_out { None } else { noted.place.take() }
    }
}

#[cfg(test)]
mod tests {
    use proto::id::MemberId;

    use super::*;

    fn place(index: u64) -> RecordPlace {
        RecordPlace { term: 1, leader: MemberId(1), index }
    }

    #[test]
    fn it_is_taken_after_what_was_queued_before_and_once() {
        let committed = Committed::default();
        assert_eq!(committed.take(9), None);
        committed.note(place(1), 3);
        committed.note(place(2), 4);
        assert_eq!(committed.take(3), None);
        assert_eq!(committed.take(4), Some(place(2)));
        assert_eq!(committed.take(4), None);
    }

    #[test]
    fn a_writer_is_woken_only_if_it_rests_and_once() {
        let committed = Committed::default();
        assert!(!committed.note(place(1), 0), "it is busy");
        assert!(!committed.rest(), "there is something to take");
        assert_eq!(committed.take(0), Some(place(1)));
        assert!(committed.rest());
        assert!(committed.note(place(2), 0));
        assert!(!committed.note(place(3), 0), "it was woken already");
    }
}
