//! The head file: two blocks, written in turn, preallocated.
//!
//! It tells a lost tail from a torn write. A torn block is the one that was being written; the
//! other one is whole. Not here: what a block says (raft::log).

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use sys::file::{Folder, PRIVATE_FILE_MODE};

use super::DiskError;

/// Blocks of the head file.
pub(crate) const HEAD_BLOCKS: usize = 2;

/// Bytes of one block: two pages, so that a torn block never tears the other.
pub(crate) const HEAD_BLOCK_BYTES: usize = 8 << 10;

/// Its name in the data folder.
pub(super) const NAME: &str = "head";

/// An open head file.
pub(super) struct HeadFile {
    file: File,
    path: PathBuf,
}

impl HeadFile {
    /// Opens the head file, or makes it with both blocks empty.
    pub(super) fn open(folder: &Folder) -> Result<Self, DiskError> {
        let path = folder.path().join(NAME);
        let failed = |operation| {
            let path = path.clone();
            move |source| DiskError::Io { operation, path, source }
        };
        let file = match folder.open_file(NAME) {
            Ok(_) => open_for_update(&path).map_err(failed("open"))?,
            Err(error) if error.is_not_found() => {
                folder.create_new(NAME, PRIVATE_FILE_MODE)?;
                let mut file = open_for_update(&path).map_err(failed("open"))?;
                // Zeros, not a hole: later writes change no metadata, so syncing them is cheap.
                let zeros = [0; HEAD_BLOCK_BYTES];
                for _ in 0..HEAD_BLOCKS {
                    file.write_all(&zeros).map_err(failed("write"))?;
                }
                file.sync_all().map_err(failed("make durable"))?;
                folder.sync()?;
                file
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { file, path })
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(io::Error) -> DiskError {
        let path = self.path.clone();
        move |source| DiskError::Io { operation, path, source }
    }

    pub(super) fn write(&self, block: usize, bytes: &[u8]) -> Result<(), DiskError> {
        assert!(block < HEAD_BLOCKS && bytes.len() <= HEAD_BLOCK_BYTES, "a head fits its block");
        let offset = (block * HEAD_BLOCK_BYTES) as u64;
        self.file.write_all_at(bytes, offset).map_err(self.failed("write"))?;
        self.file.sync_data().map_err(self.failed("make durable"))
    }

    pub(super) fn read(&self, block: usize) -> Result<Vec<u8>, DiskError> {
        let mut bytes = vec![0; HEAD_BLOCK_BYTES];
        let mut file = &self.file;
        file.seek(SeekFrom::Start((block * HEAD_BLOCK_BYTES) as u64))
            .map_err(self.failed("read"))?;
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read(rest).map_err(self.failed("read"))? {
                0 => break,
                read => filled += read,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

fn open_for_update(path: &std::path::Path) -> io::Result<File> {
    std::fs::OpenOptions::new().read(true).write(true).open(path)
}
