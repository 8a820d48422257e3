//! Records in sled, made durable by us.
//!
//! sled 0.34's `flush` on Linux is not durable: it asks for the pages to be written
//! (sync_file_range(2)), not for file sizes, extents or the device's cache. So: our own descriptor
//! on its one file, `fdatasync` after every flush; values small enough that it makes no blob files
//! (never synced), and a guard that notices one; no background flusher; leftovers of a crash in its
//! open removed before ours. It reads a damaged log as a shorter one, and panics on some damage:
//! its calls are fenced, and whether a log is whole is decided above.
//!
//! Invariant: nothing outside this file names sled.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use sys::file::{FileError, Folder};

use super::head::{self, HeadFile};
use super::{Disk, DiskError, GROUP_BYTES_MAX, Key, NewFile, Space, VALUE_BYTES_MAX};

/// sled's page cache. Entries in use are in our own tail; the rest is read once, at start.
const CACHE_BYTES: u64 = 64 << 20;

/// The folder of sled's files, and its one file with data.
const FOLDER: &str = "log";
const DATA: &str = "db";
const BLOBS: &str = "blobs";

/// What a file is called while it is written.
const UNFINISHED: &str = ".unfinished";

/// What of a disk is in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Nothing.
    Nothing,
    /// Its records or its head file, not both.
    Part,
    /// Both.
    Whole,
}

/// The disk of a manager: sled for records, files beside it.
pub(crate) struct SledDisk {
    log: ::sled::Tree,
    meta: ::sled::Tree,
    db: ::sled::Db,
    data: File,
    head: HeadFile,
    folder: Folder,
    path: PathBuf,
}

impl SledDisk {
    /// What of a disk is in a folder: its records, its head file.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read.
    pub(crate) fn presence(folder: &Folder) -> Result<Presence, FileError> {
        let names = folder.entries()?;
        let has = |name: &str| names.iter().any(|other| other == name);
        Ok(match (has(FOLDER), has(head::NAME)) {
            (true, true) => Presence::Whole,
            (false, false) => Presence::Nothing,
            _ => Presence::Part,
        })
    }

    /// Removes a disk that nobody has open, and the files beside it whose names start with
    /// `prefix`.
    ///
    /// # Errors
    ///
    /// If a file cannot be removed.
    pub(crate) fn destroy(folder: &Folder, prefix: &str) -> Result<(), FileError> {
        folder.remove_if_there(head::NAME)?;
        for name in folder.entries()? {
            if let Some(name) = name.to_str().filter(|name| name.starts_with(prefix)) {
                folder.remove(name)?;
            }
        }
        if Self::presence(folder)? == Presence::Nothing {
            return Ok(());
        }
        // sled's own folder has folders: nothing of it is worth keeping.
        let path = folder.path().join(FOLDER);
        std::fs::remove_dir_all(&path).map_err(|source| folder.write_failed(FOLDER, source))
    }

    /// Opens, or makes, the disk in a private folder that the caller has locked.
    ///
    /// # Errors
    ///
    /// If the folder cannot be used, or sled's files cannot be read.
    pub(crate) fn open(folder: Folder) -> Result<Self, DiskError> {
        let sled_folder = folder.create_private_folder(FOLDER)?;
        let path = sled_folder.path().to_owned();
        remove_leftovers(&folder, UNFINISHED)?;
        remove_generating(&sled_folder)?;
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
        let head = HeadFile::open(&folder)?;
        let disk = Self { log, meta, db, data, head, folder, path };
        disk.make_names_durable(&sled_folder)?;
        disk.sync()?;
        Ok(disk)
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
        sled_folder.sync()?;
        Ok(self.folder.sync()?)
    }

    /// Applies what there is: an empty batch would be written to sled's log too.
    fn apply(
        &self,
        log: Option<::sled::Batch>,
        meta: Option<::sled::Batch>,
    ) -> Result<(), DiskError> {
        fenced(&self.path, || {
            log.map_or(Ok(()), |log| self.log.apply_batch(log))?;
            meta.map_or(Ok(()), |meta| self.meta.apply_batch(meta))
        })
    }

    fn tree(&self, key: Key) -> (&::sled::Tree, Vec<u8>) {
        match key {
            Key::Log { index, piece } => {
                (&self.log, [&index.to_be_bytes()[..], &piece.to_be_bytes()].concat())
            }
            Key::Meta(name) => (&self.meta, name.as_bytes().to_vec()),
        }
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

/// An index that was being written when the machine stopped makes sled unopenable.
fn remove_generating(folder: &Folder) -> Result<(), DiskError> {
    remove_leftovers(folder, ".generating")
}

fn remove_leftovers(folder: &Folder, suffix: &str) -> Result<(), DiskError> {
    for name in folder.entries()? {
        if let Some(name) = name.to_str().filter(|name| name.ends_with(suffix)) {
            folder.remove(name)?;
        }
    }
    Ok(())
}

fn remove_index(folder: &Folder) -> Result<(), DiskError> {
    for name in folder.entries()? {
        if let Some(name) = name.to_str().filter(|name| name.starts_with("snap.")) {
            folder.remove(name)?;
        }
    }
    Ok(())
}

impl Disk for SledDisk {
    fn put(&self, records: Vec<(Key, Vec<u8>)>) -> Result<(), DiskError> {
        let (mut log, mut meta) = (None::<::sled::Batch>, None::<::sled::Batch>);
        let mut bytes = 0;
        for (key, value) in records {
            assert!(value.len() <= VALUE_BYTES_MAX, "larger values are written in pieces");
            bytes += value.len();
            match key {
                Key::Log { .. } => log.get_or_insert_default().insert(self.tree(key).1, value),
                Key::Meta(_) => meta.get_or_insert_default().insert(self.tree(key).1, value),
            }
        }
        assert!(bytes <= GROUP_BYTES_MAX + VALUE_BYTES_MAX, "larger groups are synced in between");
        self.apply(log, meta)
    }

    fn remove(&self, keys: Vec<Key>) -> Result<(), DiskError> {
        let (mut log, mut meta) = (None::<::sled::Batch>, None::<::sled::Batch>);
        for key in keys {
            match key {
                Key::Log { .. } => log.get_or_insert_default().remove(self.tree(key).1),
                Key::Meta(_) => meta.get_or_insert_default().remove(self.tree(key).1),
            }
        }
        self.apply(log, meta)
    }

    fn get(&self, key: Key) -> Result<Option<Vec<u8>>, DiskError> {
        let (tree, key) = self.tree(key);
        fenced(&self.path, || Ok(tree.get(key)?.map(|value| value.to_vec())))
    }

    fn log_keys(&self, first: u64, count: usize) -> Result<Vec<(u64, u16)>, DiskError> {
        fenced(&self.path, || {
            let keys = self.log.range(first.to_be_bytes()..).keys().take(count);
            keys.map(|key| {
                let key = key?;
                let index = key.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
                let piece = key.last_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes));
                match (index, piece) {
                    (Some(index), Some(piece)) if key.len() == 10 => Ok((index, piece)),
                    _ => Err(::sled::Error::Corruption { at: None, bt: () }),
                }
            })
            .collect()
        })
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

    fn write_head(&self, block: usize, bytes: &[u8]) -> Result<(), DiskError> {
        self.head.write(block, bytes)
    }

    fn read_head(&self, block: usize) -> Result<Vec<u8>, DiskError> {
        self.head.read(block)
    }

    fn create_file(&self, name: &str) -> Result<Box<dyn NewFile>, DiskError> {
        let unfinished = format!("{name}{UNFINISHED}");
        self.folder.remove_if_there(&unfinished)?;
        let file = self.folder.create_new(&unfinished, 0o600)?;
        let folder = self.folder.try_clone()?;
        Ok(Box::new(FileBeside { file, folder, unfinished, name: name.to_owned() }))
    }

    fn open_file(&self, name: &str) -> Result<Option<Box<dyn io::Read + Send>>, DiskError> {
        match self.folder.open_file(name) {
            Ok(file) => Ok(Some(Box::new(io::BufReader::with_capacity(1 << 20, file)))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn files(&self, prefix: &str) -> Result<Vec<String>, DiskError> {
        let names = self.folder.entries()?.into_iter().filter_map(|name| name.into_string().ok());
        let mut names: Vec<_> = names.filter(|name| name.starts_with(prefix)).collect();
        names.sort();
        Ok(names)
    }

    fn remove_file(&self, name: &str) -> Result<(), DiskError> {
        self.folder.remove(name)?;
        Ok(self.folder.sync()?)
    }

    fn space(&self) -> Result<Space, DiskError> {
        Ok(Space { available_bytes: self.folder.space()?.available_bytes })
    }
}

struct FileBeside {
    file: File,
    folder: Folder,
    unfinished: String,
    name: String,
}

impl NewFile for FileBeside {
    fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        io::Write::write_all(&mut self.file, bytes).map_err(|source| DiskError::Io {
            operation: "write",
            path: self.folder.path().join(&self.unfinished),
            source,
        })
    }

    fn finish(self: Box<Self>) -> Result<(), DiskError> {
        self.file.sync_all().map_err(|source| DiskError::Io {
            operation: "make durable",
            path: self.folder.path().join(&self.unfinished),
            source,
        })?;
        Ok(self.folder.rename(&self.unfinished, &self.name)?)
    }
}
