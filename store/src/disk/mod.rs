//! The disk: bytes in, bytes out, and durable when it says so.
//!
//! One small trait, two implementations: [`SledDisk`], and `SimulatedDisk` for tests, which
//! forgets what was not made durable. Whatever is put here is sealed already. Not here: what the
//! bytes are, order of records, encryption (raft::log, raft::snapshot).
//!
//! Invariant: when [`Disk::sync`] has returned, every earlier `put` and `remove` survives a power
//! cut; when it fails, nothing more may be acknowledged and the process stops.

mod head;
mod journal;
mod packs;
mod records;
mod settle;
#[cfg(test)]
mod simulated;
mod sled;

use std::io;
use std::path::PathBuf;

use sys::file::{FileError, Folder};

pub(crate) use self::head::HEAD_BLOCKS;
#[cfg(test)]
pub(crate) use self::simulated::{Cut, SimulatedDisk};
pub(crate) use self::sled::{Presence, SledDisk};

/// Largest value of one record, in bytes. sled turns larger messages into separate files that it
/// never makes durable (and loses or corrupts them), and a leaf page that gathers a group of 8 KiB
/// values is such a message: with 4 KiB none was seen, and the guard notices one.
pub(crate) const VALUE_BYTES_MAX: usize = 4 << 10;

/// Largest group between two syncs, in bytes: less than a segment of sled's log, which reuses a
/// freed segment once *it* believes the next one stable, before we made it durable.
pub(crate) const GROUP_BYTES_MAX: usize = 256 << 10;

/// How the name of a file ends while it is written.
const UNFINISHED: &str = ".unfinished";

/// The page of docs/operations that every damage message names.
pub(crate) const RUNBOOK: &str = "docs/operations/replace-manager.md";

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// A piece of a log record: its index, and which piece; piece 0 is written last.
    Log {
        /// The entry's index.
        index: u64,
        /// Which piece.
        piece: u16,
    },
    /// A small named value.
    Meta(&'static str),
}

/// The disk failed.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The kernel refused an operation.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file beside the records failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The store of records cannot be read: it is damaged.
    #[error("the log store in {} is damaged; this manager stops rather than serve a torn log: {RUNBOOK}", path.display())]
    Damaged {
        /// Its folder.
        path: PathBuf,
        /// What it said.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The journal lost what it had made durable.
    #[error("{} is damaged: a part that was durable cannot be read; this manager stops rather than lose acknowledged writes: {RUNBOOK}", path.display())]
    Journal {
        /// Which file.
        path: PathBuf,
    },
    /// What takes records over from the journal has stopped.
    #[error("the log store in {} could not take over what the journal holds, and this manager stops; the error before this one says why: {RUNBOOK}", path.display())]
    NotSettled {
        /// Its folder.
        path: PathBuf,
    },
    /// The store wrote outside of what is made durable.
    #[error("the log store in {} wrote a file that is never made durable; this manager stops rather than lose it: {RUNBOOK}", path.display())]
    Blob {
        /// Its folder.
        path: PathBuf,
    },
}

impl DiskError {
    /// Whether there was no room.
    pub(crate) fn is_full(&self) -> bool {
        let source: Option<&io::Error> = match self {
            Self::Io { source, .. } | Self::File(FileError::Failed { source, .. }) => Some(source),
            _ => None,
        };
        source.is_some_and(|error| error.kind() == io::ErrorKind::StorageFull)
    }
}

impl From<DiskError> for io::Error {
    fn from(error: DiskError) -> Self {
        Self::other(error)
    }
}

/// A file that is being written: not there until it is finished.
pub(crate) trait NewFile: Send {
    /// Appends bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError>;
    /// Makes the file durable under its name, replacing what was there.
    fn finish(self: Box<Self>) -> Result<(), DiskError>;
}

/// Removes what a crash left unfinished.
fn remove_leftovers(folder: &Folder, suffix: &str) -> Result<(), FileError> {
    for name in folder.entries()? {
        if let Some(name) = name.to_str().filter(|name| name.ends_with(suffix)) {
            folder.remove(name)?;
        }
    }
    Ok(())
}

/// Room on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    /// Bytes that may still be used.
    pub available_bytes: u64,
}

/// Where a manager keeps what must survive.
pub(crate) trait Disk: Send + Sync + 'static {
    /// Writes records; readable at once, durable after the next [`Self::sync`]. Of one call, all
    /// pieces of the log or none survive, and small values only after them.
    fn put(&self, records: Vec<(Key, Vec<u8>)>) -> Result<(), DiskError>;

    /// Removes records; gone at once, durably so after the next [`Self::sync`].
    fn remove(&self, keys: Vec<Key>) -> Result<(), DiskError>;

    /// Reads one record.
    fn get(&self, key: Key) -> Result<Option<Vec<u8>>, DiskError>;

    /// The keys of the log that are there, from `first` on, in order, at most `count`.
    fn log_keys(&self, first: u64, count: usize) -> Result<Vec<(u64, u16)>, DiskError>;

    /// Makes everything put and removed so far survive a power cut.
    fn sync(&self) -> Result<(), DiskError>;

    /// Writes one of the two blocks of the head file, durably.
    fn write_head(&self, block: usize, bytes: &[u8]) -> Result<(), DiskError>;

    /// Reads one of the two blocks of the head file.
    fn read_head(&self, block: usize) -> Result<Vec<u8>, DiskError>;

    /// Begins a file beside the records. One that is dropped unfinished is gone; of two of one name,
    /// the one that is finished later stays.
    fn create_file(&self, name: &str) -> Result<Box<dyn NewFile>, DiskError>;

    /// Opens a file beside the records; none if it is not there.
    fn open_file(&self, name: &str) -> Result<Option<Box<dyn io::Read + Send>>, DiskError>;

    /// Names of the files beside the records that start with `prefix`.
    fn files(&self, prefix: &str) -> Result<Vec<String>, DiskError>;

    /// Removes a file beside the records, durably, if it is there: several may do at a time.
    fn remove_file(&self, name: &str) -> Result<(), DiskError>;

    /// Room on the disk.
    fn space(&self) -> Result<Space, DiskError>;
}
