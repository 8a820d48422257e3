//! Where a manager's key file and its seed lie: bytes, replaced whole and durably.
//!
//! Two implementations: [`Files`], and for tests `SimulatedPlace`, on the simulated disk of the log,
//! so that one power cut is a power cut for both. Not here: what the bytes mean (`key_file`).
//!
//! Invariant: what was written is there as a whole after every crash, or not at all.

use std::io;
use std::path::{Path, PathBuf};

use seal::KEY_FILE_BYTES_MAX;
use sys::file::{FileError, Folder, PRIVATE_FILE_MODE};
use zeroize::Zeroizing;

use super::key_file::{KeyFileError, SEED_BYTES};

/// The key file's name in the data folder.
const NAME: &str = "keys";

/// Bytes of a file that nobody else may read; none if it is not there.
type Found = Result<Option<Zeroizing<Vec<u8>>>, FileError>;

/// Where a key file and its seed are kept.
pub(super) trait KeyPlace: Send + Sync + 'static {
    /// Where the key file is.
    fn path(&self) -> PathBuf;

    /// Reads the key file.
    fn read(&self) -> Found;

    /// Replaces the key file, durably.
    fn write(&self, sealed: &[u8]) -> Result<(), KeyFileError>;

    /// Removes the key file, if it is there, durably: who leaves says that its keys are destroyed.
    fn remove(&self) -> Result<(), KeyFileError>;

    /// Where the seed is looked for.
    fn seed_path(&self) -> &Path;

    /// Whether there is something where the seed is looked for.
    fn has_seed(&self) -> bool;

    /// Reads the seed: one byte more than it has, so that what is too long is seen to be.
    fn read_seed(&self) -> Found;

    /// Replaces the seed, durably.
    fn write_seed(&self, seed: &[u8; SEED_BYTES]) -> Result<(), KeyFileError>;

    /// Overwrites the seed that is there with zeros, durably, and removes it.
    fn destroy_seed(&self) -> Result<(), KeyFileError>;

    /// Removes what a power cut left of replacing either.
    fn remove_leftovers(&self) -> Result<(), KeyFileError>;
}

/// Files: the data folder, and the seed wherever its path says.
pub(super) struct Files {
    folder: Folder,
    seed: PathBuf,
}

impl Files {
    pub(super) const fn new(folder: Folder, seed: PathBuf) -> Self {
        Self { folder, seed }
    }

    /// The folder of the seed, and its name there.
    fn seed_place(&self) -> Result<(Folder, &str), KeyFileError> {
        let parent = self.seed.parent().filter(|parent| !parent.as_os_str().is_empty());
        let name = self.seed.file_name().and_then(std::ffi::OsStr::to_str);
        let name = name.ok_or_else(|| KeyFileError::NotASeed { path: self.seed.clone() })?;
        Ok((Folder::open(parent.unwrap_or_else(|| Path::new(".")))?, name))
    }
}

fn there(read: Result<Zeroizing<Vec<u8>>, FileError>) -> Found {
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

impl KeyPlace for Files {
    fn path(&self) -> PathBuf {
        self.folder.path().join(NAME)
    }

    fn read(&self) -> Found {
        there(self.folder.read_private(NAME, KEY_FILE_BYTES_MAX))
    }

    fn write(&self, sealed: &[u8]) -> Result<(), KeyFileError> {
        Ok(self.folder.replace(NAME, PRIVATE_FILE_MODE, sealed)?)
    }

    fn remove(&self) -> Result<(), KeyFileError> {
        Ok(self.folder.remove_for_good(NAME)?)
    }

    fn seed_path(&self) -> &Path {
        &self.seed
    }

    fn has_seed(&self) -> bool {
        self.seed.symlink_metadata().is_ok()
    }

    fn read_seed(&self) -> Found {
        there(sys::file::read_private(&self.seed, SEED_BYTES + 1))
    }

    fn write_seed(&self, seed: &[u8; SEED_BYTES]) -> Result<(), KeyFileError> {
        let (folder, name) = self.seed_place()?;
        Ok(folder.replace(name, PRIVATE_FILE_MODE, seed)?)
    }

    fn destroy_seed(&self) -> Result<(), KeyFileError> {
        let (folder, name) = self.seed_place()?;
        overwrite(&self.seed).map_err(|source| folder.write_failed(name, source))?;
        Ok(folder.remove(name)?)
    }

    fn remove_leftovers(&self) -> Result<(), KeyFileError> {
        self.folder.remove_unfinished(NAME)?;
        // A folder of a credential or of another mount may not be there yet.
        match self.seed_place() {
            Ok((folder, name)) => Ok(folder.remove_unfinished(name)?),
            Err(KeyFileError::File(error)) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Writes zeros over a file in place, durably.
fn overwrite(path: &Path) -> io::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::options().write(true).open(path)?;
    let length = file.metadata()?.len().min(SEED_BYTES as u64);
    file.write_all(&vec![0; usize::try_from(length).unwrap_or(SEED_BYTES)])?;
    file.sync_all()
}

#[cfg(test)]
pub(crate) use self::simulated::SimulatedPlace;

#[cfg(test)]
mod simulated {
    use std::io::Read as _;

    use super::*;
    use crate::disk::{Disk as _, SimulatedDisk};

    const SEED: &str = "unlock-seed";

    /// A key file and a seed on the simulated disk of the log. Each replacing takes two durable
    /// steps, the new file and its name.
    pub(crate) struct SimulatedPlace {
        disk: SimulatedDisk,
    }

    fn beside(name: &str) -> String {
        format!(".{name}.new")
    }

    impl SimulatedPlace {
        pub(crate) fn new(disk: &SimulatedDisk) -> Self {
            Self { disk: disk.clone() }
        }

        fn found(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
            let mut file = self.disk.open_file(name).unwrap()?;
            let mut bytes = Zeroizing::new(Vec::new());
            file.read_to_end(&mut bytes).unwrap();
            Some(bytes)
        }

        fn replace(&self, name: &str, bytes: &[u8]) {
            self.put(&beside(name), bytes);
            self.disk.rename_file(&beside(name), name);
        }

        fn put(&self, name: &str, bytes: &[u8]) {
            let mut file = self.disk.create_file(name).unwrap();
            file.write(bytes).unwrap();
            file.finish().unwrap();
        }

        /// Whether a power cut left something of replacing a file.
        pub(crate) fn has_leftovers(&self) -> bool {
            [NAME, SEED].iter().any(|name| self.found(&beside(name)).is_some())
        }
    }

    impl KeyPlace for SimulatedPlace {
        fn path(&self) -> PathBuf {
            NAME.into()
        }

        fn read(&self) -> Found {
            Ok(self.found(NAME))
        }

        fn write(&self, sealed: &[u8]) -> Result<(), KeyFileError> {
            self.replace(NAME, sealed);
            Ok(())
        }

        fn remove(&self) -> Result<(), KeyFileError> {
            self.disk.remove_file(NAME).unwrap();
            Ok(())
        }

        fn seed_path(&self) -> &Path {
            Path::new(SEED)
        }

        fn has_seed(&self) -> bool {
            self.found(SEED).is_some()
        }

        fn read_seed(&self) -> Found {
            Ok(self.found(SEED))
        }

        fn write_seed(&self, seed: &[u8; SEED_BYTES]) -> Result<(), KeyFileError> {
            self.replace(SEED, seed);
            Ok(())
        }

        fn destroy_seed(&self) -> Result<(), KeyFileError> {
            self.put(SEED, &[0; SEED_BYTES]);
            self.disk.remove_file(SEED).unwrap();
            Ok(())
        }

        fn remove_leftovers(&self) -> Result<(), KeyFileError> {
            for name in [NAME, SEED] {
                self.disk.remove_file(&beside(name)).unwrap();
            }
            Ok(())
        }
    }
}
