//! What the key file holds, while the manager is unlocked: so that it can be written anew.
//!
//! Sealing to a slot takes its public half only, so a manager that an operator unlocked can change
//! its keys and its recipients without asking again. Whom it is sealed to is what the file said
//! when it was opened, never what lies on the disk by now. Not here: who uses the keys (keyring,
//! raft::log), who the recipients are to be (recipients).
//!
//! Invariant: what is held in memory is what the last successful writing made durable.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::id::KeyId;
use seal::{
    Disk, KEYS_MAX, KeyFileContents, KeyFileOwner, LogKey, Recipient, RootKey, SigningKeyDer,
    SlotKind, SlotParameters,
};
use tokio::sync::watch;

use super::key_file::{KeyFile, KeyFileError};
use crate::raft::KeyKeeper;
use crate::roots::RootKeeper;

struct Kept {
    owner: KeyFileOwner,
    recipients: Vec<Recipient>,
    contents: KeyFileContents,
}

/// The opened key file of a manager that serves.
pub(crate) struct HeldKeys {
    file: Arc<KeyFile>,
    kept: Mutex<Kept>,
    /// The owner's, for those who wait for it.
    generation: watch::Sender<u64>,
}

/// What a manager holds durably: the leader records it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyIdentity {
    /// The active root key.
    pub(crate) root: KeyId,
    /// The generation of the recipients that the file is sealed to.
    pub(crate) generation: u64,
}

impl HeldKeys {
    /// Takes what opening the file gave, or what it was just made of.
    pub(crate) fn new(
        file: Arc<KeyFile>,
        owner: KeyFileOwner,
        recipients: Vec<Recipient>,
        contents: KeyFileContents,
    ) -> Self {
        let generation = watch::Sender::new(owner.generation);
        Self { file, kept: Mutex::new(Kept { owner, recipients, contents }), generation }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, kept: &Kept) -> Result<(), KeyFileError> {
        let sealed = KeyFile::seal(&kept.owner, &kept.recipients, &kept.contents)?;
        self.file.write(&sealed)
    }

    /// Whose disk it is.
    pub(crate) fn disk(&self) -> Disk {
        self.kept().owner.disk
    }

    /// Where the file is, and its seed.
    pub(crate) fn file(&self) -> &KeyFile {
        &self.file
    }

    /// What the file holds, by id, and for whom.
    pub(crate) fn identity(&self) -> KeyIdentity {
        let kept = self.kept();
        KeyIdentity { root: kept.contents.active_root, generation: kept.owner.generation }
    }

    /// The generation of the slot that peers help to open; none if the file has no such slot.
    pub(crate) fn peers_generation(&self) -> Option<u64> {
        let kept = self.kept();
        let slot = kept.recipients.iter().find(|slot| slot.kind == SlotKind::Peers)?;
        match slot.slot_parameters() {
            Ok(SlotParameters::Peers(peers)) => Some(peers.generation()),
            _ => None,
        }
    }

    /// Seals the file to another slot of this kind in place of the one it has, or to none.
    ///
    /// # Errors
    ///
    /// If it could not be made durable; the one before stays.
    pub(crate) fn set_peers_slot(&self, slot: Option<Recipient>) -> Result<(), KeyFileError> {
        assert!(slot.as_ref().is_none_or(|slot| slot.kind == SlotKind::Peers), "no other slot");
        let mut kept = self.kept();
        let others = kept.recipients.iter().filter(|slot| slot.kind != SlotKind::Peers);
        let recipients = others.cloned().chain(slot).collect();
        self.replace_recipients(&mut kept, recipients)
    }

    fn replace_recipients(
        &self,
        kept: &mut Kept,
        recipients: Vec<Recipient>,
    ) -> Result<(), KeyFileError> {
        let before = std::mem::replace(&mut kept.recipients, recipients);
        let written = self.write(kept);
        if written.is_err() {
            kept.recipients = before;
        }
        written
    }

    /// Seals the file to other recipients. The slot that peers help to open is on nobody's list: it
    /// stays.
    ///
    /// # Errors
    ///
    /// If it could not be made durable; those before stay.
    pub(crate) fn seal_to(
        &self,
        generation: u64,
        recipients: Vec<Recipient>,
    ) -> Result<(), KeyFileError> {
        let mut kept = self.kept();
        let before = std::mem::replace(&mut kept.owner.generation, generation);
        let own = kept.recipients.iter().filter(|slot| slot.kind == SlotKind::Peers);
        let recipients = recipients.into_iter().chain(own.cloned()).collect();
        let written = self.replace_recipients(&mut kept, recipients);
        match written {
            Ok(()) => _ = self.generation.send_replace(generation),
            Err(_) => kept.owner.generation = before,
        }
        written
    }

    /// Keeps the private key of the next certificate.
    ///
    /// # Errors
    ///
    /// If it could not be made durable; the one before stays.
    pub(crate) fn set_tls_key(&self, key: SigningKeyDer) -> Result<(), KeyFileError> {
        let mut kept = self.kept();
        let before = std::mem::replace(&mut kept.contents.tls_key, key);
        let written = self.write(&kept);
        if written.is_err() {
            kept.contents.tls_key = before;
        }
        written
    }
}

impl KeyKeeper for HeldKeys {
    fn log_ids(&self) -> (Vec<KeyId>, KeyId) {
        let kept = self.kept();
        (kept.contents.logs.iter().map(|key| key.id()).collect(), kept.contents.active_log)
    }

    fn generation(&self) -> u64 {
        self.kept().owner.generation
    }

    fn log_key(&self, id: KeyId) -> Option<Arc<LogKey>> {
        self.kept().contents.logs.iter().find(|key| key.id() == id).cloned()
    }

    fn add_log_key(&self, key: Arc<LogKey>) -> io::Result<()> {
        let mut kept = self.kept();
        let before = std::mem::replace(&mut kept.contents.active_log, key.id());
        kept.contents.logs.push(key);
        let written = self.write(&kept);
        if written.is_err() {
            kept.contents.logs.pop();
            kept.contents.active_log = before;
        }
        written.map_err(io::Error::other)
    }

    fn destroy_log_keys(&self, gone: &[KeyId]) -> io::Result<()> {
        let mut kept = self.kept();
        let (active, before) = (kept.contents.active_log, kept.contents.logs.clone());
        kept.contents.logs.retain(|key| key.id() == active || !gone.contains(&key.id()));
        let written = self.write(&kept);
        if written.is_err() {
            kept.contents.logs = before;
        }
        written.map_err(io::Error::other)
    }
}

impl RootKeeper for HeldKeys {
    fn root_ids(&self) -> (Vec<KeyId>, KeyId) {
        let kept = self.kept();
        (kept.contents.roots.iter().map(|key| key.id()).collect(), kept.contents.active_root)
    }

    fn recipients_generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    fn add_root_key(&self, key: Arc<RootKey>) -> io::Result<()> {
        let mut kept = self.kept();
        if kept.contents.roots.len() >= KEYS_MAX {
            return Err(io::Error::other("the key file has no room for one more root key"));
        }
        kept.contents.roots.push(key);
        let written = self.write(&kept);
        if written.is_err() {
            kept.contents.roots.pop();
        }
        written.map_err(io::Error::other)
    }

    fn settle_root_keys(&self, active: KeyId, gone: &[KeyId]) -> io::Result<()> {
        let mut kept = self.kept();
        let before = (kept.contents.active_root, kept.contents.roots.clone());
        kept.contents.roots.retain(|key| key.id() == active || !gone.contains(&key.id()));
        kept.contents.active_root = active;
        let written = self.write(&kept);
        if written.is_err() {
            (kept.contents.active_root, kept.contents.roots) = before;
        }
        written.map_err(io::Error::other)
    }
}
