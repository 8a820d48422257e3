//! The disk of a manager: its records, its head file, the files beside them.
//!
//! Not here: how records become durable (disk::settle, disk::journal), what makes sled safe
//! (disk::records).

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use sys::file::{FileError, Folder};

use super::head::{self, HeadFile};
use super::settle::Settled;
use super::{Disk, DiskError, GROUP_BYTES_MAX, Key, NewFile, Space, UNFINISHED, VALUE_BYTES_MAX};
use super::{journal, records};

/// What of a disk is in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Nothing.
    Nothing,
    /// Its records, its journal or its head file, not all.
    Part,
    /// All.
    Whole,
}

/// The disk of a manager: sled behind a journal for records, files beside it.
pub(crate) struct SledDisk {
    records: Settled,
    head: HeadFile,
    folder: Folder,
    /// Files that were begun beside the records.
    begun: AtomicU64,
}

impl SledDisk {
    /// What of a disk is in a folder: its records, its journal, its head file.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read.
    pub(crate) fn presence(folder: &Folder) -> Result<Presence, FileError> {
        let names = folder.entries()?;
        let has = |name: &str| names.iter().any(|other| other == name);
        let parts = [records::FOLDER, journal::NAME, head::NAME].map(has);
        Ok(match parts {
            [true, true, true] => Presence::Whole,
            [false, false, false] => Presence::Nothing,
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
        folder.remove_if_there(journal::NAME)?;
        for name in folder.entries()? {
            if let Some(name) = name.to_str().filter(|name| name.starts_with(prefix)) {
                folder.remove(name)?;
            }
        }
        if Self::presence(folder)? == Presence::Nothing {
            return Ok(());
        }
        // sled's own folder has folders: nothing of it is worth keeping.
        let path = folder.path().join(records::FOLDER);
        std::fs::remove_dir_all(&path)
            .map_err(|source| folder.write_failed(records::FOLDER, source))
    }

    /// Opens, or makes, the disk in a private folder that the caller has locked.
    ///
    /// # Errors
    ///
    /// If the folder cannot be used, or sled's files cannot be read.
    pub(crate) fn open(folder: Folder) -> Result<Self, DiskError> {
        super::remove_leftovers(&folder, UNFINISHED)?;
        let records = Settled::open(&folder)?;
        let head = HeadFile::open(&folder)?;
        Ok(Self { records, head, folder, begun: AtomicU64::new(0) })
    }
}

impl Disk for SledDisk {
    fn put(&self, records: Vec<(Key, Vec<u8>)>) -> Result<(), DiskError> {
        let bytes: usize = records.iter().map(|(_, value)| value.len()).sum();
        let are_small = records.iter().all(|(_, value)| value.len() <= VALUE_BYTES_MAX);
        assert!(are_small, "larger values are written in pieces");
        assert!(bytes <= GROUP_BYTES_MAX + VALUE_BYTES_MAX, "larger groups are synced in between");
        self.records.change(records.into_iter().map(|(key, value)| (key, Some(value))).collect())
    }

    fn remove(&self, keys: Vec<Key>) -> Result<(), DiskError> {
        self.records.change(keys.into_iter().map(|key| (key, None)).collect())
    }

    fn get(&self, key: Key) -> Result<Option<Vec<u8>>, DiskError> {
        self.records.get(key)
    }

    fn log_keys(&self, first: u64, count: usize) -> Result<Vec<(u64, u16)>, DiskError> {
        self.records.log_keys(first, count)
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.records.sync()
    }

    fn write_head(&self, block: usize, bytes: &[u8]) -> Result<(), DiskError> {
        self.head.write(block, bytes)
    }

    fn read_head(&self, block: usize) -> Result<Vec<u8>, DiskError> {
        self.head.read(block)
    }

    fn create_file(&self, name: &str) -> Result<Box<dyn NewFile>, DiskError> {
        // Its own: the same may be built here and arrive from another manager at a time.
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let unfinished = format!("{name}.{number}{UNFINISHED}");
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
        // A file that is being written is not there yet.
        let there = names.filter(|name| name.starts_with(prefix) && !name.ends_with(UNFINISHED));
        let mut names: Vec<_> = there.collect();
        names.sort();
        Ok(names)
    }

    fn remove_file(&self, name: &str) -> Result<(), DiskError> {
        Ok(self.folder.remove_for_good(name)?)
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

impl Drop for FileBeside {
    fn drop(&mut self) {
        // Not there if it was finished. If it cannot be removed now, the next start does.
        self.folder.remove_if_there(&self.unfinished).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_being_written_is_not_there_yet() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::create_private(folder.path().join("data")).unwrap();
        let disk = SledDisk::open(folder).unwrap();
        disk.create_file("snapshot-1").unwrap().finish().unwrap();
        let mut next = disk.create_file("snapshot-2").unwrap();
        next.write(b"half").unwrap();
        assert_eq!(disk.files("snapshot-").unwrap(), ["snapshot-1"]);
        next.finish().unwrap();
        assert_eq!(disk.files("snapshot-").unwrap(), ["snapshot-1", "snapshot-2"]);
    }

    #[test]
    fn files_of_one_name_are_written_side_by_side() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("data");
        let disk = SledDisk::open(Folder::create_private(&path).unwrap()).unwrap();
        let mut files: Vec<_> = (0..3).map(|_| disk.create_file("snapshot-1").unwrap()).collect();
        for (content, file) in ["one", "two", "three"].into_iter().zip(&mut files) {
            file.write(content.as_bytes()).unwrap();
        }
        drop(files.pop());
        for (content, file) in ["one", "two"].into_iter().zip(files) {
            file.finish().unwrap();
            let mut read = String::new();
            let mut file = disk.open_file("snapshot-1").unwrap().unwrap();
            file.read_to_string(&mut read).unwrap();
            assert_eq!(read, content);
        }
        let left = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name());
        let unfinished = left.filter(|name| name.to_string_lossy().contains(UNFINISHED));
        assert_eq!(unfinished.count(), 0, "one was given up, and two were finished");
    }
}
