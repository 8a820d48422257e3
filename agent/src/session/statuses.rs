//! Which statuses a manager has still to be told, and in which messages.
//!
//! A pure machine; the clock is a parameter. A status is sent until the message that carried it is
//! acknowledged, so that none is lost while a manager looks for its leader; only the last status of
//! a task matters, so that none piles up. Not here: the statuses themselves ([`crate::worker`]).
//!
//! Invariant: a message has at most [`STATUSES_MAX`] statuses and about [`BATCH_BYTES`] bytes, at
//! most [`IN_FLIGHT_MAX`] wait for their acknowledgement, and every status that differs from the
//! last acknowledged one of its task is on its way or due.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use prost::Message as _;
use proto::id::TaskId;
use proto::limits::STATUSES_MAX;
use proto::pb;
use proto::task::TaskStatus;
use tokio::time::Instant;

use crate::worker::Statuses;

/// How long a status waits for others to go with it.
const GATHER: Duration = Duration::from_millis(50);

/// Bytes of statuses in one message, but for the last one in it.
const BATCH_BYTES: usize = 256 << 10;

/// Messages that wait for their acknowledgement.
const IN_FLIGHT_MAX: usize = 4;

/// How long an acknowledgement is waited for before the statuses are sent again. An election takes
/// a second.
const RESEND_AFTER: Duration = Duration::from_secs(5);

struct Batch {
    number: u64,
    tasks: Vec<TaskId>,
    sent_at: Instant,
}

/// What one session has told and has still to tell.
#[derive(Default)]
pub(crate) struct Untold {
    known: BTreeMap<TaskId, TaskStatus>,
    due: BTreeSet<TaskId>,
    due_since: Option<Instant>,
    in_flight: VecDeque<Batch>,
    number_last: u64,
}

impl Untold {
    /// A session that begins with these statuses: all of them are due at once.
    pub(crate) fn new(statuses: &Statuses, now: Instant) -> Self {
        let mut untold = Self::default();
        untold.note(statuses, now);
        untold.due_since =
            untold.due_since.and_then(|since| since.checked_sub(GATHER)).or(Some(now));
        untold
    }

    /// Notes all statuses as they are now.
    pub(crate) fn note(&mut self, statuses: &Statuses, now: Instant) {
        // What is not assigned any more, nobody waits for.
        self.known.retain(|task_id, _| statuses.contains_key(task_id));
        self.due.retain(|task_id| statuses.contains_key(task_id));
        for (task_id, status) in statuses {
            if self.known.get(task_id) != Some(status) {
                self.known.insert(*task_id, status.clone());
                self.due.insert(*task_id);
            }
        }
        self.set_due_since(now);
    }

    fn set_due_since(&mut self, now: Instant) {
        self.due_since = if self.due.is_empty() { None } else { self.due_since.or(Some(now)) };
    }

    /// When there will be something to do, as far as is known.
    pub(crate) fn wakes_at(&self) -> Option<Instant> {
        let has_room = self.in_flight.len() < IN_FLIGHT_MAX;
        let gathered = self
            .due_since
            .filter(|_| has_room)
            .map(|since| if self.due.len() >= STATUSES_MAX { since } else { since + GATHER });
        let unanswered = self.in_flight.front().map(|batch| batch.sent_at + RESEND_AFTER);
        gathered.into_iter().chain(unanswered).min()
    }

    /// The next message, if it is time for one.
    pub(crate) fn next(&mut self, now: Instant) -> Option<pb::Statuses> {
        while self.in_flight.front().is_some_and(|batch| batch.sent_at + RESEND_AFTER <= now) {
            let batch = self.in_flight.pop_front()?;
            let still_known = batch.tasks.into_iter().filter(|id| self.known.contains_key(id));
            self.due.extend(still_known);
            self.due_since = self.due_since.or(Some(batch.sent_at));
        }
        let since = self.due_since?;
        let gathered = self.due.len() >= STATUSES_MAX || since + GATHER <= now;
        if !gathered || self.in_flight.len() >= IN_FLIGHT_MAX {
            return None;
        }
        let (mut statuses, mut tasks, mut bytes) = (Vec::new(), Vec::new(), 0);
        while statuses.len() < STATUSES_MAX && bytes < BATCH_BYTES {
            let Some(task_id) = self.due.pop_first() else { break };
            let Some(status) = self.known.get(&task_id) else { continue };
            let status = pb::TaskStatus::from(status.clone());
            bytes += status.encoded_len();
            statuses.push(status);
            tasks.push(task_id);
        }
        if self.due.is_empty() {
            self.due_since = None;
        }
        if statuses.is_empty() {
            return None;
        }
        self.number_last += 1;
        let number = self.number_last;
        self.in_flight.push_back(Batch { number, tasks, sent_at: now });
        Some(pb::Statuses { number, statuses })
    }

    /// The manager stands by every message up to this one.
    pub(crate) fn acknowledged(&mut self, number: u64) {
        self.in_flight.retain(|batch| batch.number > number);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proto::id::Timestamp;
    use proto::limits::{MESSAGE_BYTES_MAX, REFERENCES_MAX, STATUS_MESSAGE_BYTES_MAX};
    use proto::task::{Mounted, TaskState};

    use super::*;

    fn task_id(number: usize) -> TaskId {
        let mut entropy = [0; 17];
        entropy[..8].copy_from_slice(&number.to_be_bytes());
        TaskId::from_entropy(entropy)
    }

    fn status(number: usize, at: u64) -> TaskStatus {
        TaskStatus {
            task_id: task_id(number),
            state: TaskState::Running,
            at: Timestamp(at),
            message: String::new(),
            exit_code: None,
            mounted: Vec::new(),
        }
    }

    fn all(count: usize, at: u64) -> Statuses {
        (0..count).map(|number| (task_id(number), status(number, at))).collect()
    }

    #[test]
    fn a_new_session_is_told_everything_at_once() {
        let now = Instant::now();
        assert!(Untold::new(&Statuses::new(), now).next(now).is_none());
        let mut untold = Untold::new(&all(3, 1), now);
        let message = untold.next(now).unwrap();
        assert_eq!((message.number, message.statuses.len()), (1, 3));
        assert!(untold.next(now).is_none());
    }

    #[test]
    fn what_changes_is_gathered_and_only_that_is_sent() {
        let now = Instant::now();
        let mut untold = Untold::new(&all(3, 1), now);
        untold.next(now).unwrap();
        let mut statuses = all(3, 1);
        statuses.insert(task_id(1), status(1, 2));
        untold.note(&statuses, now);
        untold.note(&statuses, now + GATHER / 2);
        assert!(untold.next(now + GATHER / 2).is_none());
        assert_eq!(untold.wakes_at(), Some(now + GATHER));
        let message = untold.next(now + GATHER).unwrap();
        assert_eq!((message.number, message.statuses.len()), (2, 1));
        assert_eq!(message.statuses[0].at, 2);
        statuses.remove(&task_id(2));
        untold.note(&statuses, now + GATHER);
        assert!(untold.next(now + 2 * GATHER).is_none(), "what is gone is not told");
    }

    #[test]
    fn a_full_message_does_not_wait_and_the_rest_follows() {
        let now = Instant::now();
        for count in [STATUSES_MAX, STATUSES_MAX + 1] {
            let mut untold = Untold::default();
            untold.note(&all(count, 1), now);
            assert_eq!(untold.next(now).unwrap().statuses.len(), STATUSES_MAX);
            let rest = untold.next(now + GATHER).map(|message| message.statuses.len());
            assert_eq!(rest, (count > STATUSES_MAX).then_some(1));
        }
    }

    #[test]
    fn messages_of_the_largest_statuses_stay_within_the_bound() {
        let now = Instant::now();
        let secret_id = proto::id::SecretId::from_entropy([1; 17]);
        let mounted = Mounted {
            secret_id,
            version: proto::id::Version(u64::MAX),
            since: Timestamp(u64::MAX),
        };
        let large = |number| TaskStatus {
            message: "x".repeat(STATUS_MESSAGE_BYTES_MAX),
            exit_code: Some(-1),
            mounted: vec![mounted; REFERENCES_MAX],
            ..status(number, u64::MAX)
        };
        let statuses = (0..500).map(|number| (task_id(number), large(number))).collect();
        let mut untold = Untold::new(&statuses, now);
        let message = untold.next(now).unwrap();
        assert!(message.statuses.len() < 100);
        assert!(message.encoded_len() < MESSAGE_BYTES_MAX / 4);
        let mut told = message.statuses.len();
        while let Some(message) = untold.next(now) {
            told += message.statuses.len();
            untold.acknowledged(message.number);
        }
        assert_eq!(told, 500);
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_as_it_is_then() {
        let now = Instant::now();
        let mut untold = Untold::new(&all(2, 1), now);
        assert_eq!(untold.next(now).unwrap().number, 1);
        assert_eq!(untold.wakes_at(), Some(now + RESEND_AFTER));
        let mut statuses = all(2, 1);
        statuses.insert(task_id(0), status(0, 2));
        untold.note(&statuses, now);
        untold.next(now + GATHER).unwrap();
        let again = untold.next(now + RESEND_AFTER).unwrap();
        assert_eq!((again.number, again.statuses.len()), (3, 2));
        assert_eq!(again.statuses.iter().map(|status| status.at).sum::<u64>(), 3);
        untold.acknowledged(3);
        assert_eq!(untold.wakes_at(), None);
        untold.acknowledged(99);
    }

    #[test]
    fn a_manager_that_acknowledges_nothing_is_not_flooded() {
        let now = Instant::now();
        let mut untold = Untold::default();
        let mut sent = 0;
        for at in 0..100 {
            let time = now + GATHER * at / 2;
            untold.note(&all(1, u64::from(at)), time);
            sent += usize::from(untold.next(time).is_some());
        }
        assert_eq!(sent, IN_FLIGHT_MAX);
    }

    proptest! {
        #[test]
        fn in_the_end_the_manager_knows_the_last_status_of_every_task(
            steps in prop::collection::vec((0_usize..4, 0_u64..5, 0_u64..4), 1..60),
        ) {
            let mut now = Instant::now();
            let mut statuses = Statuses::new();
            let mut untold = Untold::default();
            let mut told = Statuses::new();
            let mut lost = BTreeSet::new();
            for (number, at, action) in steps {
                match action {
                    0 => drop(statuses.remove(&task_id(number))),
                    1 => drop(statuses.insert(task_id(number), status(number, at))),
                    // Time passes, and the manager forgets what it got.
                    _ => {
                        now += GATHER;
                        if let Some(message) = untold.next(now) {
                            if action == 2 {
                                lost.insert(message.number);
                            } else {
                                for status in message.statuses {
                                    let status = TaskStatus::try_from(status).unwrap();
                                    told.insert(status.task_id, status);
                                }
                                // Acknowledgements are of all before, so not past a loss.
                                if lost.is_empty() {
                                    untold.acknowledged(message.number);
                                }
                            }
                        }
                    }
                }
                untold.note(&statuses, now);
            }
            for _ in 0..10 {
                now += RESEND_AFTER;
                while let Some(message) = untold.next(now) {
                    for status in message.statuses {
                        let status = TaskStatus::try_from(status).unwrap();
                        told.insert(status.task_id, status);
                    }
                    untold.acknowledged(message.number);
                }
            }
            prop_assert_eq!(untold.wakes_at(), None);
            for (task_id, status) in &statuses {
                prop_assert_eq!(told.get(task_id), Some(status));
            }
        }
    }
}
