//! A manager's keys: what is held while it is unlocked, and the files they come from.
//!
//! Not here: cryptography (seal), how an operator recovers a slot's seed (secretctl).

mod boot;
pub(crate) mod command;
pub(crate) mod credentials;
mod held;
mod key_file;
mod keyring;
mod place;
pub(crate) mod recipients;

pub(crate) use boot::{AddressBook, BootFileError, BootPlace};
pub(crate) use credentials::{Chain, CredentialsError};
pub(crate) use held::HeldKeys;
pub(crate) use key_file::{
    KeyFile, KeyFileError, Needed, OpeningError, SealedKeyFile, Unlocked, Unlocking,
};
pub(crate) use keyring::{AcceptedFor, Keyring, KeyringError, wrap_anew};
#[cfg(test)]
pub(crate) use place::SimulatedPlace;
