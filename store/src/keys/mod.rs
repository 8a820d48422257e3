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

/// What a new manager's key file holds, with a TLS key that signs nothing.
#[cfg(test)]
pub(crate) fn made_contents() -> seal::KeyFileContents {
    let (root, log) = (seal::RootKey::make(), seal::LogKey::make());
    seal::KeyFileContents {
        active_root: root.id(),
        roots: vec![root.into()],
        active_log: log.id(),
        logs: vec![log.into()],
        tls_key: seal::SigningKeyDer::new(Box::<[u8]>::from([7; 64]).into()),
    }
}
