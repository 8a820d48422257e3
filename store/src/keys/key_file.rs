//! The key file of a manager's data folder, and the slot that opens it.
//!
//! `keys` in the data folder is sealed to the operators' slots. The `file` slot opens it by itself:
//! a seed in a private file whose path is configured, so that it can live on another mount, in a
//! credential or on a TPM-backed filesystem; it protects a stolen disk only as far as that file is
//! elsewhere. Every other slot needs an operator, who brings its seed.
//!
//! Not here: what it holds while it is open (`held`), who the recipients are (`recipients`), when
//! they are followed (`manager::reseal`).
//!
//! Invariant: the file is replaced whole and durably, or not at all.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use proto::id::KeyId;
use seal::{
    Disk, KeyFileContents, KeyFileOwner, LockedKeyFile, Recipient, SlotKind, SlotPublicKey,
    SlotSecretKey,
};
use sys::file::{FileError, Folder};

use super::place::{Files, KeyPlace};
use super::recipients::UnlockKeys;

/// Bytes of a slot's seed.
pub(super) const SEED_BYTES: usize = 32;

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
    /// A recipient of a kind that this version does not know.
    #[error("key files are to be sealed to a slot of the kind `{}`, which this version does not know: docs/operations/upgrade.md", .0)]
    UnknownSlot(String),
}

/// What opening a key file gives.
pub(crate) struct Unlocked {
    pub(crate) owner: KeyFileOwner,
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) contents: KeyFileContents,
    /// Which slot opened it.
    pub(crate) by: SlotKind,
    /// Its public half, if an operator brought it.
    pub(crate) brought: Option<SlotPublicKey>,
}

/// Where a manager's key file and its seed are.
pub(crate) struct KeyFile {
    place: Box<dyn KeyPlace>,
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
    Locked(Needed),
}

/// What a locked manager waits for. None of it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Needed {
    /// The slots its key file is sealed to.
    pub(crate) slots: Vec<Recipient>,
    /// Where its seed is looked for, if one would open it.
    pub(crate) seed: Option<PathBuf>,
    /// Counts changes of the recipients: those of this file.
    pub(crate) generation: u64,
    /// Whose file it claims to be.
    pub(crate) disk: Disk,
}

impl Needed {
    /// The unlock key that opens the file.
    pub(crate) fn unlock_key(&self) -> Option<KeyId> {
        let slot = self.slots.iter().find(|slot| slot.kind == SlotKind::UnlockKey);
        slot.map(|slot| slot.public.id())
    }
}

/// A slot's key does not open the key file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpeningError {
    /// The file itself failed.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// It is sealed to other slots.
    #[error("the key is none of this manager's")]
    Stranger {
        /// The unlock key that is needed, if one is.
        needed: Option<KeyId>,
        /// Whether the key that was given was this manager's before.
        former: bool,
    },
}

impl KeyFile {
    pub(crate) fn new(folder: Folder, seed: PathBuf) -> Self {
        Self::at(Files::new(folder, seed))
    }

    pub(super) fn at(place: impl KeyPlace) -> Self {
        Self { place: Box::new(place), destroyed: Mutex::new(false) }
    }

    /// A key file on the simulated disk of a log.
    #[cfg(test)]
    pub(crate) fn on_simulated(disk: &crate::disk::SimulatedDisk) -> Self {
        Self::at(super::place::SimulatedPlace::new(disk))
    }

    /// Removes what a power cut left of replacing the key file or its seed.
    pub(crate) fn remove_leftovers(&self) -> Result<(), KeyFileError> {
        self.place.remove_leftovers()
    }

    fn read(&self) -> Result<Option<LockedKeyFile>, KeyFileError> {
        let Some(bytes) = self.place.read()? else { return Ok(None) };
        LockedKeyFile::parse(&bytes).map(Some).map_err(|_| self.damaged())
    }

    fn damaged(&self) -> KeyFileError {
        KeyFileError::Damaged { path: self.place.path() }
    }

    /// Opens the key file with the `file` slot, if it has one.
    pub(crate) fn unlock(&self) -> Result<Unlocking, KeyFileError> {
        let Some(locked) = self.read()? else { return Ok(Unlocking::Empty) };
        let slots = locked.recipients().to_vec();
        let KeyFileOwner { generation, disk, .. } = *locked.owner();
        let has_file_slot = locked.recipients().iter().any(|r| r.kind == SlotKind::File);
        if !has_file_slot {
            return Ok(Unlocking::Locked(Needed { slots, seed: None, generation, disk }));
        }
        let Some(slot) = self.read_seed()? else {
            let seed = Some(self.seed_path().to_owned());
            return Ok(Unlocking::Locked(Needed { slots, seed, generation, disk }));
        };
        let contents = locked
            .open(&slot)
            .map_err(|_| KeyFileError::WrongSeed { path: self.seed_path().to_owned() })?;
        Ok(Unlocking::Unlocked(Box::new(unlocked(&locked, contents, SlotKind::File, None))))
    }

    /// Opens the key file with a slot's key that an operator brought.
    pub(crate) fn unlock_with(&self, slot: &SlotSecretKey) -> Result<Unlocked, OpeningError> {
        let locked = self.read()?.ok_or(KeyFileError::Destroyed)?;
        let id = slot.public().id();
        let Some(by) = locked.recipients().iter().find(|r| r.public.id() == id) else {
            let parameters = locked.recipients().iter().map(|r| &*r.parameters);
            let former = parameters.flat_map(UnlockKeys::read).any(|(_, known)| known == id);
            let mut keys = locked.recipients().iter().filter(|r| r.kind == SlotKind::UnlockKey);
            let needed = keys.next().map(|r| r.public.id());
            return Err(OpeningError::Stranger { needed, former });
        };
        let contents = locked.open(slot).map_err(|_| self.damaged())?;
        // Nobody brought what peers help to open.
        let brought = (by.kind != SlotKind::Peers).then(|| by.public.clone());
        Ok(unlocked(&locked, contents, by.kind, brought))
    }

    /// The seed; none if it is not there, or was overwritten and then not removed for want of time:
    /// zeros are a seed that everybody knows.
    fn read_seed(&self) -> Result<Option<SlotSecretKey>, KeyFileError> {
        let Some(seed) = self.place.read_seed()? else { return Ok(None) };
        let seed: &[u8; SEED_BYTES] = seed
            .as_slice()
            .try_into()
            .map_err(|_| KeyFileError::NotASeed { path: self.seed_path().to_owned() })?;
        Ok((*seed != [0; SEED_BYTES]).then(|| SlotSecretKey::derive_from_seed(seed)))
    }

    /// The `file` slot as a recipient; its seed is made if there is none yet.
    pub(crate) fn file_slot(&self, parameters: Vec<u8>) -> Result<Recipient, KeyFileError> {
        let slot = if let Some(slot) = self.read_seed()? {
            slot
        } else {
            let seed = seal::make_slot_seed();
            self.place.write_seed(&seed)?;
            SlotSecretKey::derive_from_seed(&seed)
        };
        Ok(Recipient { kind: SlotKind::File, public: slot.public().clone(), parameters })
    }

    /// Overwrites and removes the seed, once nothing is sealed to it any more; whether there was
    /// one. A copy of an older key file still opens with a copy of it.
    pub(crate) fn destroy_seed(&self) -> Result<bool, KeyFileError> {
        if !self.has_seed() {
            return Ok(false);
        }
        self.place.destroy_seed()?;
        Ok(true)
    }

    /// Whether there is a seed where one is looked for.
    pub(crate) fn has_seed(&self) -> bool {
        self.place.has_seed()
    }

    /// Where the seed is looked for.
    pub(crate) fn seed_path(&self) -> &Path {
        self.place.seed_path()
    }

    /// Removes the key file: what is sealed on this disk opens no more. Nothing writes it again.
    pub(crate) fn destroy(&self) -> Result<(), KeyFileError> {
        let mut destroyed = self.destroyed.lock().unwrap_or_else(PoisonError::into_inner);
        *destroyed = true;
        self.place.remove()
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
        self.place.write(&sealed.0)
    }
}

fn unlocked(
    locked: &LockedKeyFile,
    contents: KeyFileContents,
    by: SlotKind,
    brought: Option<SlotPublicKey>,
) -> Unlocked {
    let recipients = locked.recipients().to_vec();
    Unlocked { owner: *locked.owner(), recipients, contents, by, brought }
}

/// A key file on its way to the disk.
pub(crate) struct SealedKeyFile(Vec<u8>);
