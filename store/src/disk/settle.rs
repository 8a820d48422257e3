//! Changes on their way: durable in the journal at once, taken over by sled later.
//!
//! A change is written to the journal and kept in memory. When enough of them are there, the
//! journal's other half is begun and a thread (`log-settler`) puts the changes of the finished half
//! into sled, many groups at a time and beside the next ones. What is read is looked up in memory
//! first. On opening, what the journal holds is put into sled; on closing, too.
//!
//! Not here: the journal's form (disk::journal), sled (disk::records).
//!
//! Invariant: a half of the journal is begun anew only after sled made everything in it durable;
//! what is read is the same before, while and after a change is taken over.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use sys::file::Folder;

use super::journal::{self, Change, Frame, Journal};
use super::packs::{LogKey, key_bytes, log_key};
use super::records::Records;
use super::{DiskError, GROUP_BYTES_MAX, Key};

/// The two trees, by their number in the journal.
const LOG: u8 = 0;
const META: u8 = 1;

/// Changes are taken over when there are so many bytes of them: what sled may write at once.
const SETTLE_BYTES: usize = GROUP_BYTES_MAX;

/// Changes by key: a value, or none where the key is removed.
#[derive(Default)]
struct Changes {
    log: BTreeMap<LogKey, Option<Vec<u8>>>,
    meta: BTreeMap<&'static str, Option<Vec<u8>>>,
    bytes: usize,
}

impl Changes {
    fn add(&mut self, key: Key, value: Option<Vec<u8>>) {
        self.bytes += size_of::<LogKey>() + value.as_ref().map_or(0, Vec::len);
        match key {
            Key::Log { index, piece } => drop(self.log.insert((index, piece), value)),
            Key::Meta(name) => drop(self.meta.insert(name, value)),
        }
    }

    fn get(&self, key: Key) -> Option<&Option<Vec<u8>>> {
        match key {
            Key::Log { index, piece } => self.log.get(&(index, piece)),
            Key::Meta(name) => self.meta.get(name),
        }
    }
}

struct Waiting {
    /// In the half of the journal that is being written.
    new: Changes,
    /// In the other half; sled is taking them over.
    settling: Option<Arc<Changes>>,
    /// sled failed; told once, and nothing works any more.
    failed: Option<DiskError>,
    has_failed: bool,
    stop: bool,
}

struct Shared {
    records: Records,
    waiting: Mutex<Waiting>,
    /// Told when something is to be taken over, or was.
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, waiting: MutexGuard<'a, Waiting>) -> MutexGuard<'a, Waiting> {
        self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what is to be taken over, until told to stop or sled fails.
    fn settle(&self) {
        let mut waiting = self.lock();
        while !waiting.has_failed {
            let Some(changes) = waiting.settling.clone() else {
                if waiting.stop {
                    return;
                }
                waiting = self.wait(waiting);
                continue;
            };
            drop(waiting);
            let outcome = self.records.take_over(
                changes.log.iter().map(|(key, value)| (*key, value.as_deref())),
                changes.meta.iter().map(|(name, value)| (name.as_bytes(), value.as_deref())),
            );
            waiting = self.lock();
            match outcome {
                Ok(()) => waiting.settling = None,
                Err(error) => (waiting.failed, waiting.has_failed) = (Some(error), true),
            }
            self.changed.notify_all();
        }
    }
}

/// What a crash left in the journal, the later changes over the earlier ones.
fn left_over(frames: &[Vec<Change>]) -> Option<LeftOver<'_>> {
    let mut left = LeftOver::default();
    for change in frames.iter().flatten() {
        let value = change.value.as_deref();
        match change.tree {
            LOG => drop(left.log.insert(log_key(&change.key)?, value)),
            META => drop(left.meta.insert(&change.key, value)),
            _ => return None,
        }
    }
    Some(left)
}

#[derive(Default)]
struct LeftOver<'a> {
    log: BTreeMap<LogKey, Option<&'a [u8]>>,
    meta: BTreeMap<&'a [u8], Option<&'a [u8]>>,
}

struct Writing {
    journal: Journal,
    frame: Frame,
}

/// Records behind a journal.
pub(super) struct Settled {
    shared: Arc<Shared>,
    writing: Mutex<Writing>,
    settler: Option<JoinHandle<()>>,
}

impl Settled {
    /// Opens both, and lets sled take over what a crash left in the journal.
    pub(super) fn open(folder: &Folder) -> Result<Self, DiskError> {
        let records = Records::open(folder)?;
        let (mut journal, frames) = Journal::open(folder)?;
        let unknown = || DiskError::Journal { path: folder.path().join(journal::NAME) };
        let left = left_over(&frames).ok_or_else(unknown)?;
        records.take_over(left.log.into_iter(), left.meta.into_iter())?;
        journal.reset()?;
        let waiting = Waiting {
            new: Changes::default(),
            settling: None,
            failed: None,
            has_failed: false,
            stop: false,
        };
        let shared =
            Arc::new(Shared { records, waiting: Mutex::new(waiting), changed: Condvar::new() });
        let settler = {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name("log-settler".into())
                .spawn(move || shared.settle())
                .map_err(|source| DiskError::Io {
                    operation: "start a thread for",
                    path: folder.path().join(journal::NAME),
                    source,
                })?
        };
        let writing = Mutex::new(Writing { journal, frame: Frame::default() });
        Ok(Self { shared, writing, settler: Some(settler) })
    }

    /// Writes changes; readable at once, durable after the next [`Self::sync`].
    pub(super) fn change(&self, changes: Vec<(Key, Option<Vec<u8>>)>) -> Result<(), DiskError> {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let Writing { journal, frame } = &mut *writing;
        frame.clear();
        for (key, value) in &changes {
            match key {
                Key::Log { index, piece } => {
                    frame.add(LOG, &key_bytes((*index, *piece)), value.as_deref());
                }
                Key::Meta(name) => frame.add(META, name.as_bytes(), value.as_deref()),
            }
        }
        if !journal.has_room(frame) {
            self.begin_half(journal)?;
        }
        journal.write(frame)?;
        let mut waiting = self.shared.lock();
        for (key, value) in changes {
            waiting.new.add(key, value);
        }
        Ok(())
    }

    /// Makes every change so far survive a power cut.
    pub(super) fn sync(&self) -> Result<(), DiskError> {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        writing.journal.sync()?;
        let due = {
            let mut waiting = self.shared.lock();
            self.refuse_failed(&mut waiting)?;
            waiting.new.bytes >= SETTLE_BYTES && waiting.settling.is_none()
        };
        if due {
            self.begin_half(&mut writing.journal)?;
        }
        Ok(())
    }

    /// Hands the changes of the half that is being written to the settler, once it is done with
    /// those of the other, and goes on there.
    fn begin_half(&self, journal: &mut Journal) -> Result<(), DiskError> {
        // What sled takes over must be durable here.
        journal.sync()?;
        let mut waiting = self.shared.lock();
        while waiting.settling.is_some() && !waiting.has_failed {
            waiting = self.shared.wait(waiting);
        }
        self.refuse_failed(&mut waiting)?;
        waiting.settling = Some(Arc::new(std::mem::take(&mut waiting.new)));
        self.shared.changed.notify_all();
        drop(waiting);
        journal.begin_half()
    }

    fn refuse_failed(&self, waiting: &mut Waiting) -> Result<(), DiskError> {
        match waiting.failed.take() {
            Some(error) => Err(error),
            None if waiting.has_failed => {
                Err(DiskError::NotSettled { path: self.shared.records.path().to_owned() })
            }
            None => Ok(()),
        }
    }

    pub(super) fn get(&self, key: Key) -> Result<Option<Vec<u8>>, DiskError> {
        let waiting = self.shared.lock();
        let in_settling = || waiting.settling.as_ref().and_then(|changes| changes.get(key));
        if let Some(value) = waiting.new.get(key).or_else(in_settling) {
            return Ok(value.clone());
        }
        drop(waiting);
        match key {
            Key::Log { index, piece } => self.shared.records.record((index, piece)),
            Key::Meta(name) => self.shared.records.meta(name),
        }
    }

    /// Keys of the log from `first` on, in order, at most `count`.
    pub(super) fn log_keys(&self, first: u64, count: usize) -> Result<Vec<LogKey>, DiskError> {
        let from = (first, 0);
        // Held until sled was read: what is taken over meanwhile must not be missed.
        let waiting = self.shared.lock();
        let mut changed: BTreeMap<LogKey, bool> = BTreeMap::new();
        let settling = waiting.settling.as_deref();
        for changes in settling.into_iter().chain([&waiting.new]) {
            let log = changes.log.range(from..);
            changed.extend(log.map(|(key, value)| (*key, value.is_some())));
        }
        let mut keys = Vec::new();
        self.shared.records.log_keys(from, |key| {
            // A pack that the settler removed between two looks shows the one before it again.
            if !changed.contains_key(&key) && keys.last().is_none_or(|last| *last < key) {
                keys.push(key);
            }
            keys.len() < count
        })?;
        // What sled has beyond the last key taken is beyond `count` too.
        keys.extend(changed.into_iter().filter(|(_, is_there)| *is_there).map(|(key, _)| key));
        keys.sort_unstable();
        keys.truncate(count);
        Ok(keys)
    }

    /// Lets sled take everything over, and empties the journal. The settler ends in any case, and
    /// sled's files are free then.
    fn close(&mut self) -> Result<(), DiskError> {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let handed_over = self.begin_half(&mut writing.journal);
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        let ended = self.settler.take().is_none_or(|settler| settler.join().is_ok());
        handed_over?;
        if !ended {
            return Err(DiskError::NotSettled { path: self.shared.records.path().to_owned() });
        }
        self.refuse_failed(&mut self.shared.lock())?;
        writing.journal.reset()
    }
}

impl Drop for Settled {
    fn drop(&mut self) {
        // What is not taken over now is when the journal is opened again.
        if let Err(error) = self.close() {
            tracing::warn!(error = %error, "log_store_not_settled");
        }
    }
}

#[cfg(test)]
mod tests;
