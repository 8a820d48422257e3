//! The log on disk: sealed, chained, written in groups by one thread.
//!
//! Each record is sealed under the manager's log key in a context that names its place, and holds
//! the chain's link: `SHA-256(previous link ‖ log id ‖ entry)`, equal on all managers. One writer
//! takes whatever waits, writes it, makes it durable once, and reports in order; votes and
//! truncations keep their place in the same queue. The head file, up to [`HEAD_LAG`] behind, says
//! how far the log reached, so that a disk which lost its tail is told from one that never had it.
//!
//! Opening it is [`recovery`], its keys are [`keys`]. Not here: what an entry means, the in-memory
//! tail (raft::storage), when keys rotate (raft::rotation).
//!
//! Invariant: nothing is reported done before it would survive a power cut; a record that is
//! missing, moved or damaged is an error with its index, never a shorter log.

mod committed;
mod keys;
mod recovery;
mod stats;

use std::cmp::Reverse;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use minicbor::{Decode, Encode};
use proto::id::MemberId;
use seal::{LINK_BYTES, Nonces, RecordPlace};

use self::committed::Committed;
pub(crate) use self::keys::{FileKey, LogKeyIds};
pub(crate) use self::recovery::open;
use self::stats::LogStats;
use crate::disk::{Disk, DiskError, GROUP_BYTES_MAX, HEAD_BLOCKS, Key, RUNBOOK, VALUE_BYTES_MAX};

/// How far the head file may lag behind the log: the window in which a tail could be lost unseen,
/// against a write and a sync of its own per group.
const HEAD_LAG: Duration = Duration::from_millis(50);

/// Jobs taken into one group: enough for every waiting client, little enough to bound a group.
const GROUP_JOBS_MAX: usize = 4096;

/// Records removed per group while purging, so that writes do not wait for a long purge.
const PURGE_RECORDS: usize = 512;

/// Before the first entry.
const GENESIS: Link = [0; LINK_BYTES];

/// A chain link.
pub(crate) type Link = [u8; LINK_BYTES];

const META_VOTE: &str = "vote";
const META_PURGED: &str = "purged";
const META_COMMITTED: &str = "committed";

/// The log cannot be used: this manager stops rather than serve a guess.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A record is not there though later ones are.
    #[error(
        "log record {index} is missing though later ones are there; this manager stops rather than serve a torn log: {RUNBOOK}"
    )]
    Gap {
        /// Which.
        index: u64,
    },
    /// A record does not open.
    #[error(
        "log record {index} failed authentication; this manager stops rather than serve a torn log: {RUNBOOK}"
    )]
    Damaged {
        /// Which.
        index: u64,
    },
    /// A record does not follow the one before it.
    #[error(
        "log record {index} does not continue the chain; this manager stops rather than serve a torn log: {RUNBOOK}"
    )]
    Chain {
        /// Which.
        index: u64,
    },
    /// The log ends before the point that was durable.
    #[error(
        "the log ends at record {found} though record {expected} was durable; this manager stops rather than lose acknowledged writes: {RUNBOOK}"
    )]
    TailLost {
        /// Where it ends.
        found: u64,
        /// Where it ended.
        expected: u64,
    },
    /// The head file does not open.
    #[error(
        "the head file failed authentication; this manager stops since it cannot tell whether its log is whole: {RUNBOOK}"
    )]
    Head,
    /// The snapshot that a purged log goes on from is not there.
    #[error(
        "the log begins after record {purged} though no snapshot reaches it; this manager stops rather than serve a torn state: {RUNBOOK}"
    )]
    NoSnapshot {
        /// The last record that was given up.
        purged: u64,
    },
    /// A small value does not open.
    #[error(
        "the log's `{name}` value failed authentication or is older than it was; this manager stops: {RUNBOOK}"
    )]
    Meta {
        /// Which.
        name: &'static str,
    },
}

impl LogError {
    /// The page for whoever has to mend it.
    pub(crate) fn runbook(&self) -> &'static str {
        match self {
            Self::Disk(error) if error.is_full() => "docs/operations/disk-full.md",
            _ => RUNBOOK,
        }
    }
}

impl From<LogError> for io::Error {
    fn from(error: LogError) -> Self {
        Self::other(error)
    }
}

/// An entry as it is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogEntry {
    pub(crate) place: RecordPlace,
    pub(crate) bytes: Bytes,
}

/// The keys a manager's disk is sealed under.
pub(crate) struct LogKeys {
    pub(crate) disk: seal::Disk,
    held: RwLock<keys::Held>,
}

/// A place in the log, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
struct StoredPlace {
    #[n(0)]
    term: u64,
    #[n(1)]
    leader: u64,
    #[n(2)]
    index: u64,
}

impl From<RecordPlace> for StoredPlace {
    fn from(place: RecordPlace) -> Self {
        Self { term: place.term, leader: place.leader.0, index: place.index }
    }
}

impl From<StoredPlace> for RecordPlace {
    fn from(place: StoredPlace) -> Self {
        Self { term: place.term, leader: MemberId(place.leader), index: place.index }
    }
}

/// A point of the log and the chain's link there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
struct Anchor {
    #[n(0)]
    place: StoredPlace,
    #[cbor(n(1), with = "minicbor::bytes")]
    link: Link,
}

/// What the head file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
struct Head {
    /// Counts writings; the higher of the two blocks counts.
    #[n(0)]
    counter: u64,
    #[n(1)]
    last: Option<Anchor>,
    #[n(2)]
    purged: Option<Anchor>,
    #[cbor(n(3), with = "minicbor::bytes")]
    vote: Vec<u8>,
    /// Counts votes, so that an older one is not taken for the newest.
    #[n(4)]
    vote_number: u64,
}

#[derive(Encode, Decode)]
struct StoredVote {
    #[n(0)]
    number: u64,
    #[cbor(n(1), with = "minicbor::bytes")]
    vote: Vec<u8>,
}

/// What an opened log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) purged: Option<RecordPlace>,
    pub(crate) last: Option<RecordPlace>,
    pub(crate) vote: Option<Bytes>,
    pub(crate) committed: Option<RecordPlace>,
    /// Bytes of all records: a measure for the next snapshot.
    pub(crate) bytes: u64,
}

/// Told once something is durable, or will never be.
pub(crate) type Done = Box<dyn FnOnce(Result<(), io::Error>) + Send>;

/// Told when the disk failed; it stops the process.
pub(crate) type Fatal = Box<dyn Fn(&LogError) + Send>;

enum Job {
    Append(Vec<LogEntry>, Done),
    Vote(Bytes, Done),
    /// Wakes the writer: there is something to look at.
    Look,
    TruncateAfter(Option<RecordPlace>, Done),
    Purge(RecordPlace, Option<Link>, Done),
    LinkAt(u64, Box<dyn FnOnce(Option<Link>) + Send>),
    Rewrite(Done),
    Stop,
}

/// A handle to the writer's queue.
pub(crate) struct LogWriter {
    jobs: Sender<Job>,
    /// How many jobs were queued.
    queued: AtomicU64,
    committed: Arc<Committed>,
    thread: Mutex<Option<JoinHandle<()>>>,
    pub(crate) stats: Arc<LogStats>,
}

impl LogWriter {
    fn new(
        jobs: Sender<Job>,
        committed: Arc<Committed>,
        thread: JoinHandle<()>,
        stats: Arc<LogStats>,
    ) -> Self {
        let thread = Mutex::new(Some(thread));
        Self { jobs, queued: AtomicU64::new(0), committed, thread, stats }
    }

    /// Queues entries; `done` is told once they are durable.
    pub(crate) fn append(&self, entries: Vec<LogEntry>, done: Done) {
        self.send(Job::Append(entries, done));
    }

    /// Queues a vote.
    pub(crate) fn save_vote(&self, vote: Bytes, done: Done) {
        self.send(Job::Vote(vote, done));
    }

    /// Notes how far the log is committed; made durable with whatever comes next.
    pub(crate) fn save_committed(&self, place: RecordPlace) {
        if self.committed.note(place, self.queued.load(Ordering::Acquire)) {
            self.send(Job::Look);
        }
    }

    /// Queues the removal of everything after `last`.
    pub(crate) fn truncate_after(&self, last: Option<RecordPlace>, done: Done) {
        self.send(Job::TruncateAfter(last, done));
    }

    /// Queues the removal of everything up to `place`. `link` is the chain's link there, for a
    /// place that this log never had (a snapshot was installed).
    pub(crate) fn purge(&self, place: RecordPlace, link: Option<Link>, done: Done) {
        self.send(Job::Purge(place, link, done));
    }

    /// Asks for the chain's link at an index that is in the log.
    pub(crate) fn link_at(&self, index: u64, answer: Box<dyn FnOnce(Option<Link>) + Send>) {
        self.send(Job::LinkAt(index, answer));
    }

    /// Queues the sealing anew of everything that is not a record. Once it is done, so is whatever
    /// was sealed under the key before.
    pub(crate) fn rewrite(&self, done: Done) {
        self.send(Job::Rewrite(done));
    }

    fn send(&self, job: Job) {
        self.queued.fetch_add(1, Ordering::AcqRel);
        if let Err(mpsc::SendError(job)) = self.jobs.send(job) {
            // The writer stopped: whoever waits is told, nobody is left waiting.
            let stopped = || io::Error::other("the log's writer has stopped");
            match job {
                Job::Append(_, done)
                | Job::Vote(_, done)
                | Job::TruncateAfter(_, done)
                | Job::Purge(_, _, done)
                | Job::Rewrite(done) => done(Err(stopped())),
                Job::LinkAt(_, answer) => answer(None),
                Job::Look | Job::Stop => {}
            }
        }
    }

    /// Finishes what is queued and ends the thread.
    pub(crate) fn stop(&self) {
        self.send(Job::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            // The last handle may be one that the writer itself just let go.
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("log_writer_panicked");
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Reads records that are on disk.
#[derive(Clone)]
pub(crate) struct LogReader {
    disk: Arc<dyn Disk>,
    keys: Arc<LogKeys>,
}

impl LogReader {
    /// One record and its link; none if it is not there.
    pub(crate) fn read(&self, index: u64) -> Result<Option<(LogEntry, Link)>, LogError> {
        let Some(first) = self.disk.get(Key::Log { index, piece: 0 })? else { return Ok(None) };
        let damaged = LogError::Damaged { index };
        let Some((head, piece)) = RecordHead::split(&first) else { return Err(damaged) };
        let mut sealed = Vec::with_capacity(head.length as usize);
        sealed.extend_from_slice(piece);
        for piece in 1..=head.pieces {
            let Some(next) = self.disk.get(Key::Log { index, piece })? else { return Err(damaged) };
            sealed.extend_from_slice(&next);
        }
        if sealed.len() != head.length as usize {
            return Err(damaged);
        }
        let place = RecordPlace { term: head.term, leader: MemberId(head.leader), index };
        let Some(key) = self.keys.of(&sealed) else { return Err(damaged) };
        let (link, bytes) =
            key.open_record(self.keys.disk, place, &mut sealed).map_err(|_| damaged)?;
        let entry = LogEntry { place, bytes: Bytes::copy_from_slice(bytes) };
        Ok(Some((entry, *link)))
    }

    fn meta<T: for<'b> Decode<'b, ()>>(&self, name: &'static str) -> Result<Option<T>, LogError> {
        let Some(mut sealed) = self.disk.get(Key::Meta(name))? else { return Ok(None) };
        let Some(key) = self.keys.of(&sealed) else { return Err(LogError::Meta { name }) };
        let opened = key
            .open_meta(self.keys.disk, name, &mut sealed)
            .map_err(|_| LogError::Meta { name })?;
        minicbor::decode(opened).map(Some).map_err(|_| LogError::Meta { name })
    }

    fn head(&self) -> Result<Option<Head>, LogError> {
        let mut newest: Option<Head> = None;
        let mut written = false;
        for block in 0..HEAD_BLOCKS {
            let bytes = self.disk.read_head(block)?;
            // A block: length (4), sealed head, zeros.
            let Some((length, rest)) = bytes.split_first_chunk::<4>() else { continue };
            let length = u32::from_be_bytes(*length) as usize;
            written |= bytes.iter().any(|byte| *byte != 0);
            let Some(mut sealed) = rest.get(..length).map(<[u8]>::to_vec) else { continue };
            let Some(key) = self.keys.of(&sealed) else { continue };
            let opened = key.open_head(self.keys.disk, block as u64, &mut sealed);
            let head = opened.ok().and_then(|opened| minicbor::decode::<Head>(opened).ok());
            if let Some(head) = head
                && newest.as_ref().is_none_or(|newest| head.counter > newest.counter)
            {
                newest = Some(head);
            }
        }
        match newest {
            None if written => Err(LogError::Head),
            newest => Ok(newest),
        }
    }
}

/// What stands before the first piece of a record, in clear: openraft's log id and the layout.
struct RecordHead {
    term: u64,
    leader: u64,
    pieces: u16,
    length: u32,
}

impl RecordHead {
    const BYTES: usize = 8 + 8 + 2 + 4;

    /// Writes it, with room for the piece behind it and no more: what is not used is wiped as well.
    fn write(&self, piece: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::BYTES + piece.len());
        bytes.extend_from_slice(&self.term.to_be_bytes());
        bytes.extend_from_slice(&self.leader.to_be_bytes());
        bytes.extend_from_slice(&self.pieces.to_be_bytes());
        bytes.extend_from_slice(&self.length.to_be_bytes());
        bytes.extend_from_slice(piece);
        bytes
    }

    fn split(value: &[u8]) -> Option<(Self, &[u8])> {
        let (term, rest) = value.split_first_chunk::<8>()?;
        let (leader, rest) = rest.split_first_chunk::<8>()?;
        let (pieces, rest) = rest.split_first_chunk::<2>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let head = Self {
            term: u64::from_be_bytes(*term),
            leader: u64::from_be_bytes(*leader),
            pieces: u16::from_be_bytes(*pieces),
            length: u32::from_be_bytes(*length),
        };
        let bounded = head.length as usize <= proto::limits::COMMAND_BYTES_MAX + 4096;
        bounded.then_some((head, rest))
    }
}

struct Writer {
    disk: Arc<dyn Disk>,
    keys: Arc<LogKeys>,
    reader: LogReader,
    stats: Arc<LogStats>,
    fatal: Fatal,
    head: Head,
    head_written_at: Instant,
    head_dirty: bool,
    /// Records still to be removed: from, to.
    to_purge: Option<(u64, u64)>,
    /// Records written that a purge has not kept pace with.
    records_put: usize,
    group: Vec<(Key, Vec<u8>)>,
    group_bytes: usize,
    waiting: Vec<Done>,
    /// Goes with the next group: a sync of its own would only hold up the next entry.
    committed: Arc<Committed>,
    /// How many jobs of the queue were carried out.
    carried_out: u64,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Job>) {
        loop {
            let first = match self.next_job(queue) {
                Ok(Some(job)) => job,
                Ok(None) => continue,
                Err(error) => return self.fail(&error, queue),
            };
            let mut stop = false;
            let outcome = self.group_of(first, queue, &mut stop);
            if let Err(error) = outcome {
                self.fail(&error, queue);
                return;
            }
            if stop {
                return;
            }
        }
    }

    /// Waits for a job; meanwhile the head catches up and a purge goes on.
    fn next_job(&mut self, queue: &Receiver<Job>) -> Result<Option<Job>, LogError> {
        let wait = if self.to_purge.is_some() {
            Duration::ZERO
        } else if self.head_dirty || !self.committed.rest() {
            HEAD_LAG.saturating_sub(self.head_written_at.elapsed())
        } else {
            Duration::from_secs(3600)
        };
        match queue.recv_timeout(wait) {
            Ok(job) => Ok(Some(job)),
            Err(RecvTimeoutError::Disconnected) => Ok(Some(Job::Stop)),
            Err(RecvTimeoutError::Timeout) => {
                self.purge_some()?;
                if !self.committed.rest() && self.to_purge.is_none() {
                    self.sync_group()?;
                }
                self.write_head_if_due()?;
                Ok(None)
            }
        }
    }

    /// Carries out a job and all that wait behind it, with as few syncs as the bounds allow.
    fn group_of(
        &mut self,
        first: Job,
        queue: &Receiver<Job>,
        stop: &mut bool,
    ) -> Result<(), LogError> {
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(job) = next {
            taken += 1;
            match job {
                Job::Append(entries, done) => {
                    // What is complete is not kept waiting for what needs syncs of its own.
                    let bytes: usize = entries.iter().map(|entry| entry.bytes.len()).sum();
                    if self.group_bytes + bytes > GROUP_BYTES_MAX {
                        self.finish_group()?;
                    }
                    self.waiting.push(done);
                    let mut nonces = Nonces::draw(entries.len());
                    for entry in entries {
                        self.append(&entry, &mut nonces)?;
                    }
                }
                Job::Vote(vote, done) => {
                    self.waiting.push(done);
                    self.vote(&vote)?;
                    // Rare, and the head must know: a vote that is lost could be given twice.
                    self.finish_group()?;
                    self.write_head()?;
                }
                Job::Look => {}
                Job::TruncateAfter(last, done) => {
                    self.finish_group()?;
                    self.waiting.push(done);
                    self.truncate_after(last)?;
                    self.finish_group()?;
                }
                Job::Purge(place, link, done) => {
                    self.finish_group()?;
                    self.waiting.push(done);
                    self.purge(place, link)?;
                    self.finish_group()?;
                    self.write_head()?;
                }
                Job::LinkAt(index, answer) => {
                    self.finish_group()?;
                    answer(self.link_at(index)?);
                }
                Job::Rewrite(done) => {
                    self.finish_group()?;
                    self.waiting.push(done);
                    self.rewrite()?;
                    self.finish_group()?;
                }
                Job::Stop => {
                    *stop = true;
                    break;
                }
            }
            self.carried_out += 1;
            next = (taken < GROUP_JOBS_MAX).then(|| queue.try_recv().ok()).flatten();
        }
        self.finish_group()?;
        if *stop && let Some(committed) = self.take_committed() {
            self.group.push(committed);
            self.sync_group()?;
        }
        if *stop && self.head_dirty {
            self.write_head()?;
        }
        self.write_head_if_due()?;
        self.purge_some()
    }

    fn append(&mut self, entry: &LogEntry, nonces: &mut Nonces) -> Result<(), LogError> {
        let place = entry.place;
        let previous = self.head.last.map_or(GENESIS, |anchor| anchor.link);
        let link = seal::chain_link(&previous, place, &entry.bytes);
        let (key, disk) = (self.keys.active(), self.keys.disk);
        let sealed = key.seal_record(disk, place, &link, &entry.bytes, nonces);
        let room = VALUE_BYTES_MAX - RecordHead::BYTES;
        let (first, rest) = sealed.split_at(sealed.len().min(room));
        let pieces = rest.chunks(VALUE_BYTES_MAX);
        let head = RecordHead {
            term: place.term,
            leader: place.leader.0,
            pieces: u16::try_from(pieces.len()).expect("an entry is at most a few MiB"),
            length: u32::try_from(sealed.len()).expect("an entry is at most a few MiB"),
        };
        for (number, piece) in (1..).zip(pieces) {
            self.put(Key::Log { index: place.index, piece: number }, piece.to_vec())?;
        }
        // Last: a record whose head is there is whole.
        self.put(Key::Log { index: place.index, piece: 0 }, head.write(first))?;
        self.head.last = Some(Anchor { place: place.into(), link });
        self.head_dirty = true;
        self.stats.entries.fetch_add(1, Ordering::Relaxed);
        self.stats.bytes.fetch_add(entry.bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn put(&mut self, key: Key, value: Vec<u8>) -> Result<(), LogError> {
        if self.group_bytes + value.len() > GROUP_BYTES_MAX {
            self.sync_group()?;
        }
        self.group_bytes += value.len();
        self.records_put += 1;
        self.group.push((key, value));
        Ok(())
    }

    fn put_meta<T: Encode<()>>(&mut self, name: &'static str, value: &T) -> Result<(), LogError> {
        let sealed = self.seal_meta(name, value);
        self.put(Key::Meta(name), sealed)
    }

    fn seal_meta<T: Encode<()>>(&self, name: &'static str, value: &T) -> Vec<u8> {
        let bytes = minicbor::to_vec(value).expect("encoding into memory cannot fail");
        self.keys.active().seal_meta(self.keys.disk, name, &bytes)
    }

    fn vote(&mut self, vote: &Bytes) -> Result<(), LogError> {
        self.head.vote_number += 1;
        self.head.vote = vote.to_vec();
        self.head_dirty = true;
        let stored = StoredVote { number: self.head.vote_number, vote: vote.to_vec() };
        self.put_meta(META_VOTE, &stored)
    }

    /// The head goes first: a log that is longer than its head says is no loss, a shorter one is.
    fn truncate_after(&mut self, last: Option<RecordPlace>) -> Result<(), LogError> {
        let end = self.head.last.map(|anchor| anchor.place.index);
        if last.map(|place| place.index) >= end {
            return Ok(());
        }
        let link = match last {
            Some(place) => {
                self.link_at(place.index)?.ok_or(LogError::Gap { index: place.index })?
            }
            None => GENESIS,
        };
        let from = last.map_or(0, |place| place.index + 1);
        self.head.last = last.map(|place| Anchor { place: place.into(), link });
        self.write_head()?;
        // From the end backwards, so that what a crash leaves has no hole; of each record its head
        // first, so that what is left of one is a leftover and not a damaged record.
        let mut keys = self.disk.log_keys(from, usize::MAX)?;
        keys.sort_unstable_by_key(|(index, piece)| (Reverse(*index), *piece));
        for some in keys.chunks(PURGE_RECORDS) {
            let some = some.iter().map(|(index, piece)| Key::Log { index: *index, piece: *piece });
            self.disk.remove(some.collect())?;
            self.sync()?;
        }
        Ok(())
    }

    fn purge(&mut self, place: RecordPlace, link: Option<Link>) -> Result<(), LogError> {
        if self.head.purged.is_some_and(|purged| purged.place.index >= place.index) {
            return Ok(());
        }
        let known = self.link_at(place.index)?.or(link);
        let link = known.ok_or(LogError::Gap { index: place.index })?;
        let anchor = Anchor { place: place.into(), link };
        let from = self.head.purged.map_or(0, |purged| purged.place.index + 1);
        let last = self.head.last.map_or(0, |anchor| anchor.place.index);
        self.head.purged = Some(anchor);
        if self.head.last.is_none_or(|last| last.place.index < place.index) {
            self.head.last = Some(anchor);
        }
        self.head_dirty = true;
        // The pointer first, then the records: a crash in between leaves leftovers, not a hole.
        self.put_meta(META_PURGED, &anchor)?;
        let from = self.to_purge.map_or(from, |(earlier, _)| earlier.min(from));
        self.to_purge = Some((from, place.index.min(last)));
        Ok(())
    }

    /// Removes a few of the records that a purge has given up.
    fn purge_some(&mut self) -> Result<(), LogError> {
        let Some((from, to)) = self.to_purge else { return Ok(()) };
        let keys = self.disk.log_keys(from, PURGE_RECORDS)?;
        let keys: Vec<_> = keys.into_iter().filter(|(index, _)| *index <= to).collect();
        let Some((last, _)) = keys.last().copied() else {
            self.to_purge = None;
            return Ok(());
        };
        self.disk
            .remove(keys.into_iter().map(|(index, piece)| Key::Log { index, piece }).collect())?;
        self.to_purge = Some((last, to));
        self.sync()
    }

    /// The link of a record that is on disk, or of the point where the log was purged.
    fn link_at(&self, index: u64) -> Result<Option<Link>, LogError> {
        for anchor in [self.head.last, self.head.purged].into_iter().flatten() {
            if anchor.place.index == index {
                return Ok(Some(anchor.link));
            }
        }
        Ok(self.reader.read(index)?.map(|(_, link)| link))
    }

    /// Makes the group durable and tells whoever waits.
    fn finish_group(&mut self) -> Result<(), LogError> {
        if self.group.is_empty() && self.waiting.is_empty() {
            return Ok(());
        }
        self.sync_group()?;
        self.stats.groups.fetch_add(1, Ordering::Relaxed);
        for done in self.waiting.drain(..) {
            done(Ok(()));
        }
        self.write_head_if_due()?;
        // Half as much again as was written: a purge ends though the queue is never empty.
        while self.records_put >= PURGE_RECORDS * 2 / 3 {
            self.records_put -= PURGE_RECORDS * 2 / 3;
            self.purge_some()?;
        }
        Ok(())
    }

    fn sync_group(&mut self) -> Result<(), LogError> {
        let mut group = std::mem::take(&mut self.group);
        self.group_bytes = 0;
        // With the head, not with every group: a restart replays to here and learns the rest from
        // the leader, and a second tree in a group costs as much as the first.
        if self.head_written_at.elapsed() >= HEAD_LAG {
            group.extend(self.take_committed());
        }
        if !group.is_empty() {
            let started = Instant::now();
            self.disk.put(group)?;
            self.stats.put(started.elapsed());
        }
        self.sync()
    }

    fn take_committed(&mut self) -> Option<(Key, Vec<u8>)> {
        let place = self.committed.take(self.carried_out)?;
        let sealed = self.seal_meta(META_COMMITTED, &StoredPlace::from(place));
        Some((Key::Meta(META_COMMITTED), sealed))
    }

    fn sync(&self) -> Result<(), LogError> {
        let started = Instant::now();
        self.disk.sync()?;
        self.stats.synced(started.elapsed());
        Ok(())
    }

    fn write_head_if_due(&mut self) -> Result<(), LogError> {
        if self.head_dirty && self.head_written_at.elapsed() >= HEAD_LAG {
            self.write_head()?;
        }
        Ok(())
    }

    fn write_head(&mut self) -> Result<(), LogError> {
        self.head.counter += 1;
        let block = usize::try_from(self.head.counter % HEAD_BLOCKS as u64).unwrap_or(0);
        let bytes = minicbor::to_vec(&self.head).expect("encoding into memory cannot fail");
        let sealed = self.keys.active().seal_head(self.keys.disk, block as u64, &bytes);
        let length = u32::try_from(sealed.len()).expect("a head is a few hundred bytes");
        self.disk.write_head(block, &[&length.to_be_bytes()[..], &sealed].concat())?;
        self.head_written_at = Instant::now();
        self.head_dirty = false;
        Ok(())
    }

    /// The disk failed: whoever waits is told, and the process stops. Never a second try: after a
    /// failed sync the kernel counts the lost pages as clean.
    fn fail(&mut self, error: &LogError, queue: &Receiver<Job>) {
        let failed = || io::Error::other("the log could not be made durable");
        self.waiting.drain(..).for_each(|done| done(Err(failed())));
        (self.fatal)(error);
        // Where the process is a test, everybody who comes later is told too.
        for job in queue {
            match job {
                Job::Append(_, done)
                | Job::Vote(_, done)
                | Job::TruncateAfter(_, done)
                | Job::Purge(_, _, done)
                | Job::Rewrite(done) => done(Err(failed())),
                Job::LinkAt(_, answer) => answer(None),
                Job::Look => {}
                Job::Stop => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
