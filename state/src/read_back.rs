//! An unlock key that the cluster keeps, so that admins can read it back.
//!
//! It is under the root key, and kept only where an admin asked for that: by default nobody but
//! operators has it. Not here: cryptography (seal), who may read it (store).
//!
//! Invariants: what is kept is the unlock key that key files are sealed to now; when that is replaced
//! or removed, it goes in the same entry; none is taken in while log keys or the root key rotate, so
//! that it lies under no key that the one before opens; each reading is an entry of its own, before
//! anything is handed out.

use minicbor::{Decode, Encode};
use proto::sealed::WrappedKey;

use crate::command::Command;
use crate::object::{Blob, Cluster, SlotRecipient};

/// An unlock key that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct KeptUnlockKey {
    /// Its slot's public half: KEM id and key.
    #[n(0)]
    pub public_key: Blob,
    /// The key under the root key.
    #[n(1)]
    pub wrapped_key: WrappedKey,
}

/// What may be asked of an unlock key that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ReadBackCommand {
    /// The present unlock key is kept from now on.
    #[n(0)]
    Keep(#[n(0)] KeptUnlockKey),
    /// It is kept no more.
    #[n(1)]
    Forget,
    /// It is about to be handed out.
    #[n(2)]
    Read {
        /// Which one, by its slot's public half.
        #[n(0)]
        public_key: Blob,
    },
}

impl ReadBackCommand {
    /// The name in the audit and in metrics.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Keep(_) => "keep_unlock_key",
            Self::Forget => "forget_unlock_key",
            Self::Read { .. } => "read_unlock_key",
        }
    }
}

impl From<ReadBackCommand> for Command {
    fn from(command: ReadBackCommand) -> Self {
        Self::ReadBack(command)
    }
}

impl Cluster {
    /// Whether key files are sealed to the unlock key with this public half.
    pub(crate) fn has_unlock_key(&self, public_key: &Blob) -> bool {
        let is_it = |slot: &SlotRecipient| {
            slot.kind == SlotRecipient::UNLOCK_KEY && slot.public_key == *public_key
        };
        self.recipients.iter().any(is_it)
    }
}
