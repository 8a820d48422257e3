//! An unlock key that the cluster keeps for admins to read back, where that was asked for.
//!
//! It lies in the state under the root key. On its way there it is sealed like a data key, in the
//! connection of the client that made it; on its way back to a key pair made for the one call. Who
//! has a root key and the state reads it; who has only disks does not, since the root key is in key
//! files that it opens. Not here: whether it is kept (state), who may read it (store).
//!
//! Invariant: it opens in its place only: this cluster, this unlock key, this caller; and what opens
//! is the key of that id.

use proto::id::{KeyId, Realm};
use proto::identity::Principal;
use proto::sealed::{Encapsulation, WrappedKey};

use crate::OpenError;
use crate::context::Context;
use crate::hazmat::{self, KEY_BYTES};
use crate::key::{KeyBytes, key_pair};
use crate::root::{RootKey, wrapped};
use crate::transit::{TransitReceiver, TransitSender};
use crate::unlock_key::UnlockKey;

key_pair!(
    /// The key pair of one call that reads an unlock key back.
    ReadBackSecretKey,
    ReadBackPublicKey,
    "read back"
);

fn read(id: KeyId, bytes: &[u8; KEY_BYTES]) -> Result<UnlockKey, OpenError> {
    let key = UnlockKey::of(KeyBytes::born(|seed| seed.copy_from_slice(bytes)));
    if key.id() == id { Ok(key) } else { Err(OpenError) }
}

impl TransitSender {
    /// Seals an unlock key for the cluster to keep.
    pub fn seal_unlock_key(&self, key: &UnlockKey) -> WrappedKey {
        let context = self.unlock_key_context(key.id());
        let (under, id) = self.wrapping();
        wrapped(hazmat::encrypt(under.bytes(), id, &context.encode(), &[key.expose_seed()]))
    }
}

impl TransitReceiver {
    /// Opens an unlock key that the connection's client sealed, and checks its id.
    ///
    /// # Errors
    ///
    /// Always the same one, whatever is wrong.
    pub fn open_unlock_key(&self, id: KeyId, sealed: &WrappedKey) -> Result<UnlockKey, OpenError> {
        let context = self.unlock_key_context(id).encode();
        let bytes = hazmat::decrypt_exact(self.wrapping().bytes(), &context, sealed.as_bytes())?;
        read(id, &bytes)
    }
}

impl RootKey {
    /// Wraps an unlock key.
    pub fn wrap_unlock_key(&self, realm: Realm, key: &UnlockKey) -> WrappedKey {
        let context = Context::KeptUnlockKey { realm, unlock_key_id: key.id() }.encode();
        let under = self.of_unlock_keys().bytes();
        wrapped(hazmat::encrypt(under, self.id(), &context, &[key.expose_seed()]))
    }

    /// Unwraps an unlock key and checks its id.
    ///
    /// # Errors
    ///
    /// Always the same one, whatever is wrong.
    pub fn unwrap_unlock_key(
        &self,
        realm: Realm,
        id: KeyId,
        key: &WrappedKey,
    ) -> Result<UnlockKey, OpenError> {
        let context = Context::KeptUnlockKey { realm, unlock_key_id: id }.encode();
        let under = self.of_unlock_keys().bytes();
        let bytes = hazmat::decrypt_exact(under, &context, key.as_bytes())?;
        read(id, &bytes)
    }
}

/// One reading of the unlock key.
pub struct ReadBack {
    /// The cluster.
    pub realm: Realm,
    /// Which key.
    pub unlock_key_id: KeyId,
    /// Who reads it.
    pub principal: Principal,
    /// To which key it is sealed.
    pub public_key: ReadBackPublicKey,
}

impl ReadBack {
    fn info(&self) -> Vec<u8> {
        Context::ReadBack {
            realm: self.realm,
            unlock_key_id: self.unlock_key_id,
            principal: self.principal,
            public_key: self.public_key.as_bytes(),
        }
        .encode()
    }

    /// Seals the key to who reads it.
    ///
    /// # Errors
    ///
    /// If that key is not one that can be agreed with (RFC 9180 §7.1.4).
    pub fn seal(&self, unlock_key: &UnlockKey) -> Result<(Encapsulation, WrappedKey), OpenError> {
        let info = self.info();
        let mut encapsulated = [0; 32];
        let key = KeyBytes::try_born(|key| {
            encapsulated = hazmat::encapsulate(self.public_key.key(), &info, key)?;
            Ok(())
        })?;
        let seed = unlock_key.expose_seed();
        let sealed = hazmat::encrypt(key.bytes(), key.id("read back"), &info, &[seed]);
        Ok((Encapsulation::x25519(&encapsulated), wrapped(sealed)))
    }

    /// Opens the key that was sealed to `secret`, and checks its id.
    ///
    /// # Errors
    ///
    /// Always the same one, whatever is wrong.
    pub fn open(
        &self,
        secret: &ReadBackSecretKey,
        encapsulation: &Encapsulation,
        sealed: &WrappedKey,
    ) -> Result<UnlockKey, OpenError> {
        let info = self.info();
        let key = KeyBytes::try_born(|key| {
            hazmat::decapsulate(secret.bytes.bytes(), encapsulation.key(), &info, key)
        })?;
        let bytes = hazmat::decrypt_exact(key.bytes(), &info, sealed.as_bytes())?;
        read(self.unlock_key_id, &bytes)
    }
}
