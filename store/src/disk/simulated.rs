//! A disk in memory that forgets what was not made durable.
//!
//! For tests: a power cut is [`SimulatedDisk::cut`], which keeps what was synced and, of what was
//! not, whatever the caller chooses. Faults can be ordered. Not here: sled's own failures; those
//! are tried on the real thing, with crash images.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::head::HEAD_BLOCKS;
use super::{Disk, DiskError, Key, NewFile, Space};

#[derive(Clone)]
enum Change {
    Put(Vec<(Key, Vec<u8>)>),
    Remove(Vec<Key>),
}

#[derive(Default, Clone)]
struct Contents {
    records: BTreeMap<Key, Vec<u8>>,
    heads: [Vec<u8>; HEAD_BLOCKS],
    files: BTreeMap<String, Vec<u8>>,
}

impl Contents {
    fn change(&mut self, change: &Change) {
        match change {
            Change::Put(records) => self.records.extend(records.iter().cloned()),
            Change::Remove(keys) => keys.iter().for_each(|key| drop(self.records.remove(key))),
        }
    }
}

#[derive(Default)]
struct Inner {
    visible: Contents,
    durable: Contents,
    /// What happened since the last sync, in order.
    pending: Vec<Change>,
    syncs: u64,
    fail_after_syncs: Option<u64>,
    /// What a power cut at each durable operation would have left, if that is recorded.
    cuts: Vec<Cut>,
    note: Option<Arc<AtomicU64>>,
}

impl Inner {
    /// Called before whatever makes something durable.
    fn record(&mut self) {
        if let Some(note) = &self.note {
            let note = note.load(Ordering::SeqCst);
            let (durable, pending) = (self.durable.clone(), self.pending.clone());
            self.cuts.push(Cut { durable, pending, note });
        }
    }
}

/// What a power cut at one instant leaves.
#[derive(Clone)]
pub(crate) struct Cut {
    durable: Contents,
    pending: Vec<Change>,
    /// The caller's note at that instant.
    pub(crate) note: u64,
}

impl Cut {
    /// Changes that were not synced.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The disk that is left if the first `survivors` of them survive.
    pub(crate) fn disk(&self, survivors: usize) -> SimulatedDisk {
        let mut left = self.durable.clone();
        self.pending.iter().take(survivors).for_each(|change| left.change(change));
        let after = Inner { visible: left.clone(), durable: left, ..Inner::default() };
        SimulatedDisk { inner: Arc::new(Mutex::new(after)) }
    }
}

/// A disk in memory.
#[derive(Clone, Default)]
pub(crate) struct SimulatedDisk {
    inner: Arc<Mutex<Inner>>,
}

impl SimulatedDisk {
    /// An empty disk.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a power cut leaves: everything synced, and the first `survivors` of the changes since.
    #[must_use]
    pub(crate) fn cut(&self, survivors: usize) -> Self {
        let inner = self.lock();
        let mut left = inner.durable.clone();
        inner.pending.iter().take(survivors).for_each(|change| left.change(change));
        drop(inner);
        let after = Inner { visible: left.clone(), durable: left, ..Inner::default() };
        Self { inner: Arc::new(Mutex::new(after)) }
    }

    /// Keeps, from now on, what a power cut before each durable operation would leave, with what
    /// `note` says at that instant.
    pub(crate) fn record_cuts(&self, note: Arc<AtomicU64>) {
        self.lock().note = Some(note);
    }

    /// What was recorded, and what a power cut now would leave.
    pub(crate) fn cuts(&self) -> Vec<Cut> {
        let mut inner = self.lock();
        inner.record();
        inner.note = None;
        std::mem::take(&mut inner.cuts)
    }

    /// Gives a file another name, durably, in the place of what has it.
    pub(crate) fn rename_file(&self, from: &str, to: &str) {
        let mut inner = self.lock();
        inner.record();
        let Inner { visible, durable, .. } = &mut *inner;
        for files in [&mut visible.files, &mut durable.files] {
            let file = files.remove(from).expect("it is there");
            files.insert(to.to_owned(), file);
        }
    }

    /// Changes since the last sync.
    pub(crate) fn pending(&self) -> usize {
        self.lock().pending.len()
    }

    /// How often it was synced.
    pub(crate) fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Lets every sync after the next `syncs` fail.
    pub(crate) fn fail_after(&self, syncs: u64) {
        let mut inner = self.lock();
        inner.fail_after_syncs = Some(inner.syncs + syncs);
    }

    /// Damages a record: flips the lowest bit of its byte at `at`.
    pub(crate) fn damage(&self, key: Key, at: usize) {
        let mut inner = self.lock();
        if let Some(byte) = inner.visible.records.get_mut(&key).and_then(|value| value.get_mut(at))
        {
            *byte ^= 1;
        }
        inner.durable = inner.visible.clone();
    }

    /// Loses records without a trace, as sled does with what it cannot read.
    pub(crate) fn lose(&self, keys: &[Key]) {
        let mut inner = self.lock();
        for key in keys {
            inner.visible.records.remove(key);
        }
        inner.durable = inner.visible.clone();
    }

    /// Every key, in order.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.lock().visible.records.keys().copied().collect()
    }
}

impl Disk for SimulatedDisk {
    fn put(&self, records: Vec<(Key, Vec<u8>)>) -> Result<(), DiskError> {
        let mut inner = self.lock();
        let (log, meta): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|(key, _)| matches!(key, Key::Log { .. }));
        for part in [log, meta].into_iter().filter(|part| !part.is_empty()) {
            let change = Change::Put(part);
            inner.visible.change(&change);
            inner.pending.push(change);
        }
        Ok(())
    }

    fn remove(&self, keys: Vec<Key>) -> Result<(), DiskError> {
        let mut inner = self.lock();
        let change = Change::Remove(keys);
        inner.visible.change(&change);
        inner.pending.push(change);
        Ok(())
    }

    fn get(&self, key: Key) -> Result<Option<Vec<u8>>, DiskError> {
        Ok(self.lock().visible.records.get(&key).cloned())
    }

    fn log_keys(&self, first: u64, count: usize) -> Result<Vec<(u64, u16)>, DiskError> {
        let inner = self.lock();
        let from = Key::Log { index: first, piece: 0 };
        let keys = inner.visible.records.range(from..).map_while(|(key, _)| match key {
            Key::Log { index, piece } => Some((*index, *piece)),
            Key::Meta(_) => None,
        });
        Ok(keys.take(count).collect())
    }

    fn sync(&self) -> Result<(), DiskError> {
        let mut inner = self.lock();
        if inner.fail_after_syncs.is_some_and(|limit| inner.syncs >= limit) {
            return Err(DiskError::Io {
                operation: "make durable",
                path: PathBuf::from("simulated"),
                source: io::Error::from_raw_os_error(5),
            });
        }
        inner.record();
        inner.syncs += 1;
        let pending = std::mem::take(&mut inner.pending);
        for change in &pending {
            inner.durable.change(change);
        }
        Ok(())
    }

    fn write_head(&self, block: usize, bytes: &[u8]) -> Result<(), DiskError> {
        let mut inner = self.lock();
        inner.record();
        if let Some(head) = inner.visible.heads.get_mut(block) {
            *head = bytes.to_vec();
        }
        if let Some(head) = inner.durable.heads.get_mut(block) {
            *head = bytes.to_vec();
        }
        Ok(())
    }

    fn read_head(&self, block: usize) -> Result<Vec<u8>, DiskError> {
        Ok(self.lock().visible.heads.get(block).cloned().unwrap_or_default())
    }

    fn create_file(&self, name: &str) -> Result<Box<dyn NewFile>, DiskError> {
        Ok(Box::new(SimulatedFile { disk: self.clone(), name: name.to_owned(), bytes: Vec::new() }))
    }

    fn open_file(&self, name: &str) -> Result<Option<Box<dyn io::Read + Send>>, DiskError> {
        let bytes = self.lock().visible.files.get(name).cloned();
        Ok(bytes.map(|bytes| Box::new(io::Cursor::new(bytes)) as Box<dyn io::Read + Send>))
    }

    fn files(&self, prefix: &str) -> Result<Vec<String>, DiskError> {
        let inner = self.lock();
        Ok(inner.visible.files.keys().filter(|name| name.starts_with(prefix)).cloned().collect())
    }

    fn remove_file(&self, name: &str) -> Result<(), DiskError> {
        let mut inner = self.lock();
        inner.record();
        inner.visible.files.remove(name);
        inner.durable.files.remove(name);
        Ok(())
    }

    fn space(&self) -> Result<Space, DiskError> {
        Ok(Space { available_bytes: u64::MAX })
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    name: String,
    bytes: Vec<u8>,
}

impl NewFile for SimulatedFile {
    fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), DiskError> {
        let mut inner = self.disk.lock();
        inner.record();
        inner.visible.files.insert(self.name.clone(), self.bytes.clone());
        inner.durable.files.insert(self.name, self.bytes);
        Ok(())
    }
}
