//! Records in sled, made durable by us.
//!
//! sled 0.34's `flush` on Linux is not durable: it asks for the pages to be written
//! (sync_file_range(2)), not for file sizes, extents or the device's cache. So: our own descriptor
//! on its one file, `fdatasync` after every flush; values small enough that it makes no blob files
//! (never synced), and a guard that notices one; no background flusher; leftovers of a crash in its
//! open removed before ours. It reads a damaged log as a shorter one, and panics on some damage:
//! its calls are fenced, and whether a log is whole is decided above.
//!
//! Not here: when a change gets here, and where it is until then (disk::settle).
//!
//! Invariant: nothing outside this file names sled.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use sys::file::Folder;

use super::packs::{self, Around, LogKey, Pack, key_bytes, log_key};
use super::{DiskError, GROUP_BYTES_MAX};

/// sled's page cache, for its inner nodes and the pack at the end. Entries in use are in the tail in
/// memory; the rest is read once, at start.
const CACHE_BYTES: u64 = 8 << 20;

/// What a removal counts as: it may make sled write the page anew.
const REMOVAL_BYTES: usize = 512;

/// The folder of sled's files, and its one file with data.
pub(super) const FOLDER: &str = "log";
const DATA: &str = "db";
const BLOBS: &str = "blobs";

/// sled, open.
pub(super) struct Records {
    log: ::sled::Tree,
    meta: ::sled::Tree,
    db: ::sled::Db,
    data: File,
    path: PathBuf,
}

impl Records {
    /// Opens, or makes, the records of a data folder.
    pub(super) fn open(folder: &Folder) -> Result<Self, DiskError> {
        let sled_folder = folder.create_private_folder(FOLDER)?;
        let path = sled_folder.path().to_owned();
        // An index that was being written when the machine stopped makes sled unopenable.
        super::remove_leftovers(&sled_folder, ".generating")?;
        let db = match open_sled(&path) {
            Ok(db) => db,
            // Its index is only a shortcut: without it the log itself is read, whole.
            Err(error) => {
                tracing::warn!(error = error.to_string(), "log_store_reopened_without_index");
                remove_index(&sled_folder)?;
                open_sled(&path)?
            }
        };
        let tree = |name: &str| fenced(&path, || db.open_tree(name));
        let (log, meta) = (tree("log")?, tree("meta")?);
        let data_path = path.join(DATA);
        let data = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&data_path)
            .map_err(|source| DiskError::Io { operation: "open", path: data_path, source })?;
        let records = Self { log, meta, db, data, path };
        records.make_names_durable(&sled_folder)?;
        folder.sync()?;
        records.sync()?;
        Ok(records)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Once after opening: sled never syncs its configuration or its folders.
    fn make_names_durable(&self, sled_folder: &Folder) -> Result<(), DiskError> {
        for name in ["conf", DATA] {
            let path = self.path.join(name);
            File::open(&path).and_then(|file| file.sync_all()).map_err(|source| DiskError::Io {
                operation: "make durable",
                path,
                source,
            })?;
        }
        let blobs = self.path.join(BLOBS);
        if blobs.is_dir() {
            Folder::open(&blobs)?.sync()?;
        }
        Ok(sled_folder.sync()?)
    }

    /// Carries out changes, each kind in the order of its keys, and makes them durable. Between two
    /// syncs no more is written than sled's reuse of segments allows. A batch is whole in sled after
    /// a power cut, or not there.
    pub(super) fn take_over<'a>(
        &self,
        log: impl Iterator<Item = (LogKey, Option<&'a [u8]>)>,
        meta: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<(), DiskError> {
        let groups = packs::plan(log, |key| self.around(key), || self.damaged())?;
        let (mut batch, mut bytes) = (::sled::Batch::default(), 0);
        for group in groups {
            for (key, value) in group {
                bytes += value.as_ref().map_or(REMOVAL_BYTES, Vec::len);
                match value {
                    Some(value) => batch.insert(&key_bytes(key), value),
                    None => batch.remove(&key_bytes(key)),
                }
            }
            if bytes >= GROUP_BYTES_MAX {
                self.apply(&self.log, std::mem::take(&mut batch))?;
                self.sync()?;
                bytes = 0;
            }
        }
        self.apply(&self.log, batch)?;
        let mut batch = ::sled::Batch::default();
        for (name, value) in meta {
            match value {
                Some(value) => batch.insert(name, value),
                None => batch.remove(name),
            }
        }
        self.apply(&self.meta, batch)?;
        self.sync()
    }

    fn around(&self, key: LogKey) -> Result<Around, DiskError> {
        let bytes = key_bytes(key);
        let (before, next) = fenced(&self.path, || {
            let before = self.log.range(..=bytes).next_back().transpose()?;
            Ok((before, self.log.get_gt(bytes)?))
        })?;
        let key = |bytes: ::sled::IVec| log_key(&bytes).ok_or_else(|| self.damaged());
        let before = match before {
            Some((at, pack)) => Some((key(at)?, pack.to_vec())),
            None => None,
        };
        Ok(Around { before, next: next.map(|(at, _)| key(at)).transpose()? })
    }

    fn damaged(&self) -> DiskError {
        DiskError::Damaged { path: self.path.clone(), source: None }
    }

    fn apply(&self, tree: &::sled::Tree, batch: ::sled::Batch) -> Result<(), DiskError> {
        fenced(&self.path, || tree.apply_batch(batch))
    }

    /// A small value.
    pub(super) fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
        fenced(&self.path, || Ok(self.meta.get(name)?.map(|value| value.to_vec())))
    }

    /// A record of the log.
    pub(super) fn record(&self, key: LogKey) -> Result<Option<Vec<u8>>, DiskError> {
        let bytes = key_bytes(key);
        let pack = fenced(&self.path, || self.log.range(..=bytes).next_back().transpose())?;
        let Some((_, pack)) = pack else { return Ok(None) };
        let pack = Pack::read(&pack).ok_or_else(|| self.damaged())?;
        Ok(pack.get(key).map(<[u8]>::to_vec))
    }

    /// Keys of the log from one on, in order, while `take` wants more.
    pub(super) fn log_keys(
        &self,
        first: LogKey,
        mut take: impl FnMut(LogKey) -> bool,
    ) -> Result<(), DiskError> {
        let mut at = self.around(first)?;
        loop {
            if let Some((_, pack)) = &at.before {
                let pack = Pack::read(pack).ok_or_else(|| self.damaged())?;
                for key in pack.keys().filter(|key| *key >= first) {
                    if !take(key) {
                        return Ok(());
                    }
                }
            }
            let Some(next) = at.next else { return Ok(()) };
            at = self.around(next)?;
        }
    }

    fn sync(&self) -> Result<(), DiskError> {
        fenced(&self.path, || self.db.flush())?;
        self.data.sync_data().map_err(|source| DiskError::Io {
            operation: "make durable",
            path: self.path.join(DATA),
            source,
        })?;
        self.refuse_blobs()
    }

    /// A value that is too large for a page becomes a file that sled never syncs.
    fn refuse_blobs(&self) -> Result<(), DiskError> {
        let path = self.path.join(BLOBS);
        match std::fs::read_dir(&path).map(|mut entries| entries.next().is_some()) {
            Ok(false) => Ok(()),
            Ok(true) => Err(DiskError::Blob { path: self.path.clone() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(DiskError::Io { operation: "read", path, source }),
        }
    }
}

/// Runs a call of sled; an error or a panic of its becomes an error of ours.
fn fenced<T>(path: &Path, call: impl FnOnce() -> Result<T, ::sled::Error>) -> Result<T, DiskError> {
    let outcome = crate::panics::fence(|| catch_unwind(AssertUnwindSafe(call)));
    match outcome {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(::sled::Error::Io(source))) => {
            Err(DiskError::Io { operation: "use the log store in", path: path.to_owned(), source })
        }
        Ok(Err(error)) => {
            Err(DiskError::Damaged { path: path.to_owned(), source: Some(Box::new(error)) })
        }
        Err(_) => Err(DiskError::Damaged { path: path.to_owned(), source: None }),
    }
}

fn open_sled(path: &Path) -> Result<::sled::Db, DiskError> {
    fenced(path, || {
        ::sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            // We flush, and make durable, ourselves.
            .flush_every_ms(None)
            .open()
    })
}

fn remove_index(folder: &Folder) -> Result<(), DiskError> {
    for name in folder.entries()? {
        if let Some(name) = name.to_str().filter(|name| name.starts_with("snap.")) {
            folder.remove(name)?;
        }
    }
    Ok(())
}
