//! openraft's log storage over our log: the in-memory tail, and reads behind it.
//!
//! Appended entries are readable at once, from the tail; the writer makes them durable and then
//! tells openraft. The tail keeps decoded entries (32 MiB, shared, not copied), so that apply and
//! replication decrypt from disk only what is older. Not here: the bytes on disk (`log`).
//!
//! Invariant: an entry leaves the tail only when it is durable, so every reader sees every entry
//! that was appended.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{Stream, StreamExt as _};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend};
use tokio::sync::oneshot;

use super::codec::{
    entry_from_log, entry_to_log, log_id_of, place_of, vote_from_bytes, vote_to_bytes,
};
use super::log::{Link, LogEntry, LogKeyIds, LogReader, LogWriter, Opened};
use super::type_config::{Entry, LogId, TypeConfig, Vote};

/// Bytes of decoded entries kept in memory: a few seconds of writes, for followers that are near.
const TAIL_BYTES_MAX: usize = 32 << 20;

/// Bytes of entries in one append to a follower (at least one entry): heartbeats and votes wait
/// no longer than this takes.
pub(super) const APPEND_BYTES_MAX: usize = 1 << 20;

/// Bytes of entries read at a time for applying.
const APPLY_BYTES_MAX: usize = 4 << 20;

struct Tail {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The last entry that is known to be durable.
    durable: Option<u64>,
    last: Option<LogId>,
    purged: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
}

fn size_of(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(proposal) => 64 + proposal.bytes().len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 64,
    }
}

impl Tail {
    fn first(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.log_id.index)
    }

    fn push(&mut self, entry: Entry) {
        self.bytes += size_of(&entry);
        self.last = Some(entry.log_id);
        self.entries.push_back(entry);
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= size_of(&entry);
        }
    }

    /// Gives up the oldest entries over the bound, but none that is not durable.
    fn trim(&mut self) {
        while self.bytes > TAIL_BYTES_MAX && self.first() <= self.durable {
            self.pop_front();
        }
    }

    fn truncate_after(&mut self, last: Option<LogId>) {
        let keep = last.map(|id| id.index);
        while self.entries.back().is_some_and(|entry| Some(entry.log_id.index) > keep) {
            if let Some(entry) = self.entries.pop_back() {
                self.bytes -= size_of(&entry);
            }
        }
        self.last = last;
        self.durable = self.durable.min(keep);
    }
}

struct Shared {
    tail: Mutex<Tail>,
    writer: LogWriter,
    disk: LogReader,
    /// Chain links of snapshots' last entries, for a log that is purged past its end.
    anchors: Anchors,
}

/// Chain links that did not come from this log.
#[derive(Clone, Default)]
pub(crate) struct Anchors(Arc<Mutex<BTreeMap<u64, Link>>>);

impl Anchors {
    /// Remembers the link of a snapshot's last entry.
    pub(crate) fn set(&self, index: u64, link: Link) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(index, link);
    }

    fn get(&self, index: u64) -> Option<Link> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&index).copied()
    }

    fn forget_up_to(&self, index: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|at, _| *at > index);
    }
}

/// The log as openraft uses it; a handle.
#[derive(Clone)]
pub(crate) struct LogStore(Arc<Shared>);

fn stopped<E>(_: E) -> io::Error {
    io::Error::other("the log's writer has stopped")
}

impl LogStore {
    /// Over an opened log.
    pub(crate) fn new(
        opened: &Opened,
        writer: LogWriter,
        disk: LogReader,
        anchors: Anchors,
    ) -> io::Result<Self> {
        let tail = Tail {
            entries: VecDeque::new(),
            bytes: 0,
            durable: opened.last.map(|place| place.index),
            last: opened.last.map(log_id_of),
            purged: opened.purged.map(log_id_of),
            vote: opened.vote.as_deref().map(vote_from_bytes).transpose()?,
            committed: opened.committed.map(log_id_of),
        };
        Ok(Self(Arc::new(Shared { tail: Mutex::new(tail), writer, disk, anchors })))
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.0.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log's writer, for its figures.
    pub(crate) fn writer(&self) -> &LogWriter {
        &self.0.writer
    }

    /// The last record that was given up, and the last one there is.
    pub(crate) fn bounds(&self) -> (Option<u64>, Option<u64>) {
        let tail = self.tail();
        (tail.purged.map(|id| id.index), tail.last.map(|id| id.index))
    }

    /// The last entry's term and index; zeros if there is none.
    pub(crate) fn last_entry(&self) -> (u64, u64) {
        self.tail().last.map_or((0, 0), |id| (id.leader_id.term, id.index))
    }

    /// Whether there must be a record.
    pub(crate) fn is_within(&self, index: u64) -> bool {
        let (purged, last) = self.bounds();
        Some(index) > purged && Some(index) <= last
    }

    /// One record from the disk, and its link.
    pub(crate) fn read_record(&self, index: u64) -> io::Result<Option<(LogEntry, Link)>> {
        let durable = self.tail().durable;
        if Some(index) > durable {
            // It may be on its way: what is not there was cut off.
            return Ok(None);
        }
        Ok(self.0.disk.read(index)?)
    }

    /// Under which keys the log is.
    pub(crate) fn key_ids(&self) -> io::Result<LogKeyIds> {
        let (purged, last) = self.bounds();
        Ok(self.0.disk.key_ids(purged, last)?)
    }

    /// The oldest entry that is kept in memory.
    pub(crate) fn first_in_memory(&self) -> Option<u64> {
        self.tail().first()
    }

    /// The chain's link at an index of the log.
    pub(crate) async fn link_at(&self, index: u64) -> io::Result<Link> {
        let (tell, told) = oneshot::channel();
        self.0.writer.link_at(
            index,
            Box::new(move |link| {
                let _unheard = tell.send(link);
            }),
        );
        let link = told.await.map_err(stopped)?;
        link.or_else(|| self.0.anchors.get(index))
            .ok_or_else(|| io::Error::other(format!("the log has no link at {index}")))
    }

    /// Entries from `start`, before `end`, up to `bytes_max` (at least one, if there is one).
    async fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let first_in_tail = {
            let tail = self.tail();
            let start = start.max(tail.purged.map_or(0, |id| id.index + 1));
            match tail.first() {
                Some(first) if start >= first => {
                    return Ok(take(&tail.entries, start, end, bytes_max));
                }
                first => first,
            }
        };
        // Older than the tail: durable, so on disk. Reading decrypts, and may wait for the disk.
        let disk_end = first_in_tail.unwrap_or(end).min(end);
        let store = self.clone();
        let mut entries =
            tokio::task::spawn_blocking(move || store.read_disk(start, disk_end, bytes_max))
                .await
                .map_err(io::Error::other)??;
        // The rest, if all of it is wanted, is in the tail. Nothing at all on disk is no hole.
        let reached = entries.last().is_none_or(|entry| entry.log_id.index + 1 == disk_end);
        let wanted = bytes_max == usize::MAX || entries.is_empty();
        if wanted && reached && disk_end < end {
            let tail = self.tail();
            entries.extend(take(&tail.entries, disk_end, end, bytes_max));
        }
        Ok(entries)
    }

    fn read_disk(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let (purged, last) = {
            let tail = self.tail();
            (tail.purged, tail.last)
        };
        let start = start.max(purged.map_or(0, |id| id.index + 1));
        let end = end.min(last.map_or(0, |id| id.index + 1));
        let mut entries = Vec::new();
        let mut bytes = 0;
        for index in start..end {
            let Some((logged, _)) = self.0.disk.read(index)? else {
                // Purged meanwhile: what is gone at the beginning is no hole.
                if entries.is_empty() {
                    continue;
                }
                return Err(io::Error::other(format!("log record {index} is missing")));
            };
            let entry = entry_from_log(&logged)?;
            bytes += size_of(&entry);
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

/// Some entries of the tail. They are consecutive, so the first one wanted is found by counting:
/// the tail holds tens of thousands, and is read for every append.
fn take(entries: &VecDeque<Entry>, start: u64, end: u64, bytes_max: usize) -> Vec<Entry> {
    let mut taken = Vec::new();
    let mut bytes = 0;
    let first = entries.front().map_or(start, |entry| entry.log_id.index);
    let before = usize::try_from(start.saturating_sub(first)).unwrap_or(usize::MAX);
    let wanted = entries.iter().skip(before).take_while(|entry| entry.log_id.index < end);
    for entry in wanted {
        bytes += size_of(entry);
        if bytes > bytes_max && !taken.is_empty() {
            break;
        }
        taken.push(entry.clone());
    }
    taken
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (start, end) = bounds(&range);
        self.read(start, end, usize::MAX).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.tail().vote)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(start, end, APPEND_BYTES_MAX).await
    }

    /// For applying: a bounded piece at a time, not the whole range in one buffer.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        let first = Some((self.clone(), start));
        futures_util::stream::unfold(first, move |state| async move {
            let (store, start) = state?;
            if start >= end {
                return None;
            }
            match store.read(start, end, APPLY_BYTES_MAX).await {
                Ok(entries) => {
                    let next = entries.last()?.log_id.index + 1;
                    let items =
                        futures_util::stream::iter(entries.into_iter().map(Ok)).left_stream();
                    Some((items, Some((store, next))))
                }
                Err(error) => {
                    let item = futures_util::stream::once(std::future::ready(Err(error)));
                    Some((item.right_stream(), None))
                }
            }
        })
        .flatten()
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let tail = self.tail();
        Ok(LogState { last_purged_log_id: tail.purged, last_log_id: tail.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (tell, told) = oneshot::channel();
        let done = Box::new(move |outcome| drop(tell.send(outcome)));
        self.0.writer.save_vote(vote_to_bytes(vote), done);
        told.await.map_err(stopped)??;
        self.tail().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        if let Some(id) = committed {
            self.0.writer.save_committed(place_of(&id));
            self.tail().committed = committed;
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let tail = self.tail();
        // It is made durable with whatever comes next: never claim more than the log holds.
        Ok(tail.committed.filter(|id| Some(id.index) <= tail.last.map(|last| last.index)))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut logged = Vec::new();
        let mut tail = self.tail();
        for entry in entries {
            logged.push(entry_to_log(&entry));
            tail.push(entry);
        }
        drop(tail);
        let last = logged.last().map(|entry| entry.place.index);
        // Weak: what waits in the writer's queue must not keep the writer alive.
        let store = Arc::downgrade(&self.0);
        let done = move |outcome: Result<(), io::Error>| {
            if let (Ok(()), Some(shared)) = (&outcome, store.upgrade()) {
                let mut tail = shared.tail.lock().unwrap_or_else(PoisonError::into_inner);
                tail.durable = tail.durable.max(last);
                tail.trim();
            }
            callback.io_completed(outcome);
        };
        self.0.writer.append(logged, Box::new(done));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let (tell, told) = oneshot::channel();
        let done = Box::new(move |outcome| drop(tell.send(outcome)));
        self.0.writer.truncate_after(last_log_id.as_ref().map(place_of), done);
        {
            let mut tail = self.tail();
            if last_log_id < tail.last {
                tail.truncate_after(last_log_id);
            }
        }
        told.await.map_err(stopped)??;
        // Appends that were reported durable meanwhile are gone too.
        let mut tail = self.tail();
        tail.durable = tail.durable.min(last_log_id.map(|id| id.index));
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let (tell, told) = oneshot::channel();
        let done = Box::new(move |outcome| drop(tell.send(outcome)));
        let link = self.0.anchors.get(log_id.index);
        self.0.writer.purge(place_of(&log_id), link, done);
        {
            let mut tail = self.tail();
            while tail.first().is_some_and(|first| first <= log_id.index) {
                tail.pop_front();
            }
            tail.purged = tail.purged.max(Some(log_id));
            if tail.last < Some(log_id) {
                tail.last = Some(log_id);
                tail.durable = Some(log_id.index);
            }
        }
        told.await.map_err(stopped)??;
        self.0.anchors.forget_up_to(log_id.index.saturating_sub(1));
        Ok(())
    }
}
