//! From a client to the cluster: data keys under the transit key.
//!
//! HPKE is set up once per connection; its exported key wraps the data key of each payload. The
//! context of a wrap is rebuilt by the service from the request: realm, transit key, payload,
//! SHA-256 of the ciphertext, operation, folded name, and the caller as authenticated. So a
//! captured box is worth nothing to another caller, under another name, or with another
//! ciphertext.
//!
//! Invariant: the service never decrypts a payload here; it unwraps 32 bytes and their tag.

use bytes::Bytes;
use proto::id::{KeyId, PayloadId, Realm, SecretId, Version};
use proto::identity::Principal;
use proto::name::FoldedName;
use proto::sealed::{Encapsulation, SealedPayload, WrappedKey};

use crate::context::{Context, Operation};
use crate::hazmat;
use crate::key::{KeyBytes, key_pair};
use crate::payload::{self, BUNDLE_BYTES, DekBundle, Encrypted};
use crate::plaintext::Plaintext;
use crate::{OpenError, digest_of};

key_pair!(
    /// The cluster's key that clients seal data keys to; wrapped under the root key at rest.
    TransitSecretKey,
    TransitPublicKey,
    "transit"
);

impl TransitSecretKey {
    /// The pair of a private key that was unwrapped.
    pub(crate) fn from_private(private: KeyBytes) -> Self {
        let public = TransitPublicKey::of(&hazmat::public_key_of(private.bytes()));
        Self { bytes: private, public }
    }
}

/// A client's half of a connection to the transit key.
pub struct TransitSender {
    wrapping_key: KeyBytes,
    wrapping_key_id: KeyId,
    encapsulation: Encapsulation,
    transit: TransitPublicKey,
    realm: Realm,
    principal: Principal,
}

impl TransitSender {
    /// Sets up a connection: one public-key operation, for any number of payloads.
    ///
    /// `principal` is whom the service takes the client for, as it said with the key.
    ///
    /// # Errors
    ///
    /// If the public key is not one that can be agreed with (RFC 9180 §7.1.4).
    pub fn set_up(
        transit: TransitPublicKey,
        realm: Realm,
        principal: Principal,
    ) -> Result<Self, OpenError> {
        let info =
            Context::TransitSetup { realm, transit_key_id: transit.id(), principal }.encode();
        let mut encapsulated = [0; 32];
        let wrapping_key = KeyBytes::try_born(|key| {
            encapsulated = hazmat::encapsulate(transit.key(), &info, key)?;
            Ok(())
        })?;
        let encapsulation = Encapsulation::x25519(&encapsulated);
        let wrapping_key_id = wrapping_key.id("connection");
        Ok(Self { wrapping_key, wrapping_key_id, encapsulation, transit, realm, principal })
    }

    /// What the service sets its half up from.
    pub const fn encapsulation(&self) -> &Encapsulation {
        &self.encapsulation
    }

    /// The key that it is set up to.
    pub fn transit_key_id(&self) -> KeyId {
        self.transit.id()
    }

    /// The cluster.
    pub const fn realm(&self) -> Realm {
        self.realm
    }

    /// Whom the service takes the client for.
    pub const fn principal(&self) -> Principal {
        self.principal
    }

    pub(crate) const fn wrapping(&self) -> (&KeyBytes, KeyId) {
        (&self.wrapping_key, self.wrapping_key_id)
    }

    pub(crate) fn unlock_key_context(&self, unlock_key_id: KeyId) -> Context<'static> {
        let (realm, principal) = (self.realm, self.principal);
        let transit_key_id = self.transit.id();
        Context::SentUnlockKey { realm, transit_key_id, unlock_key_id, principal }
    }

    pub(crate) fn compare_tag_context(
        &self,
        secret_id: SecretId,
        version: Version,
    ) -> Context<'static> {
        let (realm, principal, transit_key_id) = (self.realm, self.principal, self.transit.id());
        Context::SentCompareTag { realm, transit_key_id, secret_id, version, principal }
    }

    /// Seals a value for one operation on one name. The value is encrypted in place.
    pub fn seal(&self, value: Plaintext, operation: Operation, name: &FoldedName) -> SealedPayload {
        self.seal_key(&self.encrypt(value), operation, name)
    }

    /// Encrypts a value in place under a fresh data key, which is sealed afterwards.
    pub fn encrypt(&self, value: Plaintext) -> Encrypted {
        let mut id = [0; 16];
        hazmat::fill_random(&mut id);
        let payload_id = PayloadId::from_bytes(id);
        let (ciphertext, bundle) = payload::seal(self.realm, payload_id, value);
        Encrypted { payload_id, ciphertext, bundle }
    }

    /// Seals the data key of an encrypted value for one operation on one name. The value may have
    /// been encrypted for another connection to the same cluster.
    pub fn seal_key(
        &self,
        encrypted: &Encrypted,
        operation: Operation,
        name: &FoldedName,
    ) -> SealedPayload {
        let Encrypted { payload_id, ciphertext, bundle } = encrypted;
        let context = Context::TransitDek {
            realm: self.realm,
            transit_key_id: self.transit.id(),
            payload_id: *payload_id,
            ciphertext_digest: &digest_of(ciphertext.as_bytes()),
            operation,
            name,
            principal: self.principal,
        };
        let wrapped = hazmat::encrypt(
            self.wrapping_key.bytes(),
            self.wrapping_key_id,
            &context.encode(),
            &[&**bundle.write()],
        );
        SealedPayload {
            payload_id: *payload_id,
            transit_key_id: self.transit.id(),
            encapsulation: self.encapsulation.clone(),
            sealed_dek: WrappedKey::new(Bytes::from(wrapped))
                .expect("what was just wrapped has a whole header"),
            ciphertext: ciphertext.clone(),
        }
    }
}

/// The service's half of a connection to the transit key. Worth keeping: setting it up is the
/// expensive part.
pub struct TransitReceiver {
    wrapping_key: KeyBytes,
    transit_key_id: KeyId,
    realm: Realm,
    principal: Principal,
}

impl TransitReceiver {
    /// Recomputes the connection's key from what the client sent.
    ///
    /// # Errors
    ///
    /// If the encapsulation is not a usable key. A wrong one shows only when a data key is opened.
    pub fn set_up(
        transit: &TransitSecretKey,
        realm: Realm,
        principal: Principal,
        encapsulation: &Encapsulation,
    ) -> Result<Self, OpenError> {
        let transit_key_id = transit.public().id();
        let info = Context::TransitSetup { realm, transit_key_id, principal }.encode();
        let wrapping_key = KeyBytes::try_born(|key| {
            hazmat::decapsulate(transit.bytes.bytes(), encapsulation.key(), &info, key)
        })?;
        Ok(Self { wrapping_key, transit_key_id, realm, principal })
    }

    pub(crate) const fn wrapping(&self) -> &KeyBytes {
        &self.wrapping_key
    }

    pub(crate) const fn unlock_key_context(&self, unlock_key_id: KeyId) -> Context<'static> {
        let (realm, principal, transit_key_id) = (self.realm, self.principal, self.transit_key_id);
        Context::SentUnlockKey { realm, transit_key_id, unlock_key_id, principal }
    }

    pub(crate) const fn compare_tag_context(
        &self,
        secret_id: SecretId,
        version: Version,
    ) -> Context<'static> {
        let (realm, principal, transit_key_id) = (self.realm, self.principal, self.transit_key_id);
        Context::SentCompareTag { realm, transit_key_id, secret_id, version, principal }
    }

    /// Unwraps the data key of a payload that arrived for this operation, under this name, from
    /// this caller.
    ///
    /// `ciphertext_digest` is [`crate::ciphertext_digest`] of the payload's own ciphertext.
    ///
    /// # Errors
    ///
    /// Always the same one, whatever is wrong.
    pub fn open_dek(
        &self,
        payload: &SealedPayload,
        ciphertext_digest: &[u8; 32],
        operation: Operation,
        name: &FoldedName,
    ) -> Result<DekBundle, OpenError> {
        let context = Context::TransitDek {
            realm: self.realm,
            transit_key_id: self.transit_key_id,
            payload_id: payload.payload_id,
            ciphertext_digest,
            operation,
            name,
            principal: self.principal,
        };
        let bytes = hazmat::decrypt_exact::<BUNDLE_BYTES>(
            self.wrapping_key.bytes(),
            &context.encode(),
            payload.sealed_dek.as_bytes(),
        )?;
        Ok(DekBundle::read(&bytes))
    }
}
