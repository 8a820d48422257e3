//! Log keys in use: which one seals, which ones open, and under which the disk's bytes are.
//!
//! Everything on the disk carries the id of its key in clear, so what is under which key is read
//! without opening anything. An entry is sealed when it is appended and never again: the records
//! under one key are a run, and the oldest key is that of the first record. Not here: when keys
//! come and go (raft::rotation), where they are kept (the key file).
//!
//! Invariant: after [`LogKeys::use_key`] has returned nothing new begins under the key before.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use proto::id::KeyId;
use seal::LogKey;

use super::{
    LogError, LogKeys, LogReader, META_COMMITTED, META_PURGED, META_VOTE, RecordHead, StoredPlace,
    StoredVote, Writer,
};
use crate::disk::{HEAD_BLOCKS, Key};

/// One key, and how many files are being written under it.
struct Entry {
    key: Arc<LogKey>,
    files: Arc<()>,
}

impl Entry {
    fn new(key: Arc<LogKey>) -> Arc<Self> {
        Arc::new(Self { key, files: Arc::new(()) })
    }
}

/// What [`LogKeys`] holds at a time.
pub(super) struct Held {
    keys: BTreeMap<KeyId, Arc<Entry>>,
    active: Arc<Entry>,
}

/// The key a file is written under from its beginning to its end.
pub(crate) struct FileKey {
    entry: Arc<Entry>,
    _files: Arc<()>,
}

impl FileKey {
    pub(crate) fn key(&self) -> &LogKey {
        &self.entry.key
    }
}

impl LogKeys {
    /// # Panics
    ///
    /// If the active key is not among the keys: key files are checked when they are opened.
    pub(crate) fn new(disk: seal::Disk, keys: Vec<Arc<LogKey>>, active: KeyId) -> Self {
        let keys: BTreeMap<_, _> =
            keys.into_iter().map(|key| (key.id(), Entry::new(key))).collect();
        let active = keys.get(&active).expect("the active log key is among the keys").clone();
        Self { disk, held: RwLock::new(Held { keys, active }) }
    }

    fn held(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key that seals.
    pub(crate) fn active(&self) -> Arc<LogKey> {
        self.held().active.key.clone()
    }

    /// The key that seals, for a file that is written over a while.
    pub(crate) fn for_file(&self) -> FileKey {
        let held = self.held();
        FileKey { entry: held.active.clone(), _files: held.active.files.clone() }
    }

    /// The key that sealed these bytes, by the id in their header.
    pub(crate) fn of(&self, sealed: &[u8]) -> Option<Arc<LogKey>> {
        let id = seal::sealed_under(sealed)?;
        self.held().keys.get(&id).map(|entry| entry.key.clone())
    }

    /// Seals under this key from now on.
    pub(crate) fn use_key(&self, key: Arc<LogKey>) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let entry = held.keys.entry(key.id()).or_insert_with(|| Entry::new(key)).clone();
        held.active = entry;
    }

    /// Forgets keys: what is under them opens no more. The one that seals stays.
    pub(crate) fn forget(&self, gone: &[KeyId]) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let active = held.active.key.id();
        held.keys.retain(|id, _| *id == active || !gone.contains(id));
    }

    /// Whether a file is being written under another key than the one that seals.
    pub(crate) fn old_files(&self) -> bool {
        let held = self.held();
        let active = held.active.key.id();
        let mut others = held.keys.iter().filter(|(id, _)| **id != active);
        others.any(|(_, entry)| Arc::strong_count(&entry.files) > 1)
    }
}

/// Under which keys a disk's bytes are. An id that cannot be read counts as none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LogKeyIds {
    /// The key of the oldest record; none if there is no record.
    pub(crate) oldest_record: Option<KeyId>,
    /// The last record that is not under the key that seals.
    pub(crate) last_old_record: Option<u64>,
    /// Whether records that were given up are still there.
    pub(crate) leftovers: bool,
    /// The keys of the small values.
    pub(crate) metas: Vec<Option<KeyId>>,
    /// The keys of the head file's blocks.
    pub(crate) heads: Vec<Option<KeyId>>,
}

impl LogReader {
    /// Under which keys the log is, as the headers say; `purged` and `last` bound what is in it.
    pub(crate) fn key_ids(
        &self,
        purged: Option<u64>,
        last: Option<u64>,
    ) -> Result<LogKeyIds, LogError> {
        let active = self.keys.active().id();
        let first = purged.map_or(0, |index| index + 1);
        let mut ids = LogKeyIds::default();
        if let Some((lowest, _)) = self.disk.log_keys(0, 1)?.first() {
            ids.leftovers = *lowest < first;
        }
        if let Some((lowest, _)) = self.disk.log_keys(first, 1)?.first().copied() {
            ids.oldest_record = self.record_key(lowest)?;
            // Its first piece is gone: a purge is under way, and what follows must not be missed.
            ids.leftovers |= ids.oldest_record.is_none();
            let old = |index| self.record_key(index).map(|id| id.is_some_and(|id| id != active));
            if old(lowest)? {
                // The records under other keys are the first ones: their end is found by halving.
                let (mut low, mut high) = (lowest, last.map_or(0, |last| last + 1));
                while high.saturating_sub(low) > 1 {
                    let middle = low + (high - low) / 2;
                    if old(middle)? { low = middle } else { high = middle }
                }
                ids.last_old_record = Some(low);
            }
        }
        for name in [META_VOTE, META_PURGED, META_COMMITTED] {
            if let Some(sealed) = self.disk.get(Key::Meta(name))? {
                ids.metas.push(seal::sealed_under(&sealed));
            }
        }
        for block in 0..HEAD_BLOCKS {
            let bytes = self.disk.read_head(block)?;
            // A block that was never written is zeros.
            if bytes.iter().any(|byte| *byte != 0) {
                ids.heads.push(bytes.get(4..).and_then(seal::sealed_under));
            }
        }
        Ok(ids)
    }

    fn record_key(&self, index: u64) -> Result<Option<KeyId>, LogError> {
        let first = self.disk.get(Key::Log { index, piece: 0 })?;
        let sealed = first.as_deref().and_then(RecordHead::split).map(|(_, sealed)| sealed);
        Ok(sealed.and_then(seal::sealed_under))
    }
}

impl Writer {
    /// Seals the small values and both blocks of the head anew, under the key that seals now.
    pub(super) fn rewrite(&mut self) -> Result<(), LogError> {
        if self.head.vote_number > 0 {
            let (number, vote) = (self.head.vote_number, self.head.vote.clone());
            self.put_meta(META_VOTE, &StoredVote { number, vote })?;
        }
        if let Some(purged) = self.head.purged {
            self.put_meta(META_PURGED, &purged)?;
        }
        let committed = match self.committed.take(self.carried_out) {
            Some(place) => Some(StoredPlace::from(place)),
            None => self.reader.meta(META_COMMITTED)?,
        };
        if let Some(committed) = committed {
            self.put_meta(META_COMMITTED, &committed)?;
        }
        self.sync_group()?;
        for _ in 0..HEAD_BLOCKS {
            self.write_head()?;
        }
        Ok(())
    }
}
