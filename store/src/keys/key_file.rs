//! The key file of a manager's data folder, and the slot that opens it.
//!
//! `keys` in the data folder is sealed to the operators' slots. In this version the `file` slot
//! opens it: a seed in a private file whose path is configured, so that it can live on another
//! mount, in a credential or on a TPM-backed filesystem. Status says which slot opened it, and that
//! the `file` slot protects a stolen disk only as far as that file is elsewhere.
//!
//! Invariant: the file is replaced whole and durably, or not at all.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use seal::{
    KEY_FILE_BYTES_MAX, KeyFileContents, KeyFileOwner, LockedKeyFile, Recipient, SlotKind,
    SlotSecretKey,
};
use sys::file::{FileError, Folder, PRIVATE_FILE_MODE};

/// Its name in the data folder.
const NAME: &str = "keys";

/// Bytes of a slot's seed.
const SEED_BYTES: usize = 32;

/// The manager's keys cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    /// A file failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The key file is not one.
    #[error("{} is damaged: it is not a key file; this manager cannot open its disk: docs/operations/replace-manager.md", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
    },
    /// The seed does not open the key file.
    #[error("the seed in {} does not open this manager's key file: it is another's, or the key file is damaged: docs/operations/replace-manager.md", path.display())]
    WrongSeed {
        /// The seed's file.
        path: PathBuf,
    },
    /// The seed's file is not one.
    #[error("{} is not an unlock seed: expected {SEED_BYTES} bytes", path.display())]
    NotASeed {
        /// The file.
        path: PathBuf,
    },
    /// Sealing to a recipient failed.
    #[error("the key file could not be sealed")]
    Seal,
    /// The manager left its cluster meanwhile.
    #[error("the key file was destroyed: this manager left its cluster")]
    Destroyed,
}

/// What opening a key file gives.
pub(crate) struct Unlocked {
    pub(crate) owner: KeyFileOwner,
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) contents: KeyFileContents,
    /// Which slot opened it.
    pub(crate) by: SlotKind,
}

/// Where a manager's key file and its seed are.
pub(crate) struct KeyFile {
    folder: Folder,
    seed: PathBuf,
    /// Held while the file changes; whether it was destroyed.
    destroyed: Mutex<bool>,
}

/// How a key file is found.
pub(crate) enum Unlocking {
    /// There is none: the manager is not part of a cluster.
    Empty,
    /// It was opened.
    Unlocked(Box<Unlocked>),
    /// It is there, and no slot at hand opens it.
    Locked,
}

impl KeyFile {
    pub(crate) fn new(folder: Folder, seed: PathBuf) -> Self {
        Self { folder, seed, destroyed: Mutex::new(false) }
    }

    /// Opens the key file with the `file` slot.
    pub(crate) fn unlock(&self) -> Result<Unlocking, KeyFileError> {
        let bytes = match self.folder.read_private(NAME, KEY_FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(Unlocking::Empty),
            Err(error) => return Err(error.into()),
        };
        let path = self.folder.path().join(NAME);
        let locked = LockedKeyFile::parse(&bytes).map_err(|_| KeyFileError::Damaged { path })?;
        let has_file_slot = locked.recipients().iter().any(|r| r.kind == SlotKind::File);
        if !has_file_slot {
            return Ok(Unlocking::Locked);
        }
        let slot = match self.read_seed() {
            Ok(slot) => slot,
            Err(KeyFileError::File(error)) if error.is_not_found() => {
                tracing::warn!(path = %self.seed.display(), "unlock_seed_not_found");
                return Ok(Unlocking::Locked);
            }
            Err(error) => return Err(error),
        };
        let contents =
            locked.open(&slot).map_err(|_| KeyFileError::WrongSeed { path: self.seed.clone() })?;
        Ok(Unlocking::Unlocked(Box::new(Unlocked {
            owner: *locked.owner(),
            recipients: locked.recipients().to_vec(),
            contents,
            by: SlotKind::File,
        })))
    }

    fn read_seed(&self) -> Result<SlotSecretKey, KeyFileError> {
        let seed = sys::file::read_private(&self.seed, SEED_BYTES + 1)?;
        let seed: &[u8; SEED_BYTES] = seed
            .as_slice()
            .try_into()
            .map_err(|_| KeyFileError::NotASeed { path: self.seed.clone() })?;
        Ok(SlotSecretKey::derive_from_seed(seed))
    }

    /// The `file` slot as a recipient; its seed is made if there is none yet.
    pub(crate) fn file_slot(&self) -> Result<Recipient, KeyFileError> {
        let slot = match self.read_seed() {
            Ok(slot) => slot,
            Err(KeyFileError::File(error)) if error.is_not_found() => {
                let seed = seal::make_slot_seed();
                let parent = self.seed.parent().unwrap_or_else(|| Path::new("."));
                let name = self.seed.file_name().and_then(std::ffi::OsStr::to_str);
                let name =
                    name.ok_or_else(|| KeyFileError::NotASeed { path: self.seed.clone() })?;
                Folder::open(parent)?.replace(name, PRIVATE_FILE_MODE, &*seed)?;
                SlotSecretKey::derive_from_seed(&seed)
            }
            Err(error) => return Err(error),
        };
        Ok(Recipient {
            kind: SlotKind::File,
            public: slot.public().clone(),
            parameters: Vec::new(),
        })
    }

    /// Removes the key file: what is sealed on this disk opens no more. Nothing writes it again.
    pub(crate) fn destroy(&self) -> Result<(), KeyFileError> {
        let mut destroyed = self.destroyed.lock().unwrap_or_else(PoisonError::into_inner);
        *destroyed = true;
        Ok(self.folder.remove_if_there(NAME)?)
    }

    /// Seals a key file; it is not written yet.
    pub(crate) fn seal(
        owner: &KeyFileOwner,
        recipients: &[Recipient],
        contents: &KeyFileContents,
    ) -> Result<SealedKeyFile, KeyFileError> {
        seal::seal_key_file(owner, recipients, contents)
            .map(SealedKeyFile)
            .map_err(|_| KeyFileError::Seal)
    }

    /// Writes a key file whole, durably.
    pub(crate) fn write(&self, sealed: &SealedKeyFile) -> Result<(), KeyFileError> {
        let destroyed = self.destroyed.lock().unwrap_or_else(PoisonError::into_inner);
        if *destroyed {
            return Err(KeyFileError::Destroyed);
        }
        Ok(self.folder.replace(NAME, PRIVATE_FILE_MODE, &sealed.0)?)
    }
}

/// A key file on its way to the disk.
pub(crate) struct SealedKeyFile(Vec<u8>);
