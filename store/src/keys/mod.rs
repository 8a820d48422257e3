//! A manager's keys: what is held while it is unlocked, and the files they come from.
//!
//! Not here: cryptography (seal), where the key file's slot is recovered from when it is not a
//! file (a later format of `slots`).

pub(crate) mod credentials;
mod held;
mod key_file;
mod keyring;

pub(crate) use credentials::{Chain, CredentialsError};
pub(crate) use held::HeldKeys;
pub(crate) use key_file::{KeyFile, KeyFileError, SealedKeyFile, Unlocked, Unlocking};
pub(crate) use keyring::{AcceptedFor, Keyring, KeyringError};
