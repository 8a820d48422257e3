//! Root keys: what everything that must stay secret in the state is wrapped under.
//!
//! A root key is used only through HKDF subkeys, one per kind of use, and wraps only keys: data
//! keys, the CA's key, private halves of transit and peer keys, an unlock key that may be read back. It
//! never stands in the log or in a snapshot; it lives in each manager's key file, and a new member
//! gets it sealed to a key made for the call.
//!
//! Invariant: a wrap opens only in its place: this secret, version and payload; this CA; this
//! transit key; this member's peer key.

use bytes::Bytes;
use proto::id::{
    Incarnation, KeyId, MemberId, PayloadId, Realm, RequestKey, SecretId, TokenId, Version,
};
use proto::identity::Principal;
use proto::sealed::{Encapsulation, WrappedKey};
use proto::token::{TOKEN_SECRET_BYTES, TokenSecret};
use zeroize::Zeroizing;

use crate::OpenError;
use crate::context::Context;
use crate::hazmat::{self, KEY_BYTES};
use crate::key::{KeyBytes, key_pair};
use crate::payload::{BUNDLE_BYTES, DekBundle};
use crate::peers::PeerSecretKey;
use crate::transit::TransitSecretKey;

/// A key of the cluster, under which keys in the state are wrapped.
pub struct RootKey {
    master: KeyBytes,
    deks: KeyBytes,
    ca: KeyBytes,
    transit: KeyBytes,
    tokens: KeyBytes,
    peers: KeyBytes,
    unlock_keys: KeyBytes,
    id: KeyId,
}

/// Where a stored data key belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredAt {
    /// The cluster.
    pub realm: Realm,
    /// The secret.
    pub secret_id: SecretId,
    /// Which of its values.
    pub version: Version,
    /// The payload.
    pub payload_id: PayloadId,
}

impl StoredAt {
    fn context(&self, ciphertext_digest: &[u8; 32]) -> Vec<u8> {
        Context::StoredDek {
            realm: self.realm,
            secret_id: self.secret_id,
            version: self.version,
            payload_id: self.payload_id,
            ciphertext_digest,
        }
        .encode()
    }
}

/// A private key for signatures, in PKCS#8 DER: the CA's, or one of a TLS certificate.
pub struct SigningKeyDer(Zeroizing<Box<[u8]>>);

impl SigningKeyDer {
    /// Takes the bytes over.
    pub fn new(der: Zeroizing<Box<[u8]>>) -> Self {
        Self(der)
    }

    /// The DER, for the signer that is about to use it.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

pub(crate) fn wrapped(bytes: Vec<u8>) -> WrappedKey {
    WrappedKey::new(Bytes::from(bytes)).expect("what was just wrapped has a whole header")
}

impl RootKey {
    /// A fresh random root key.
    pub fn make() -> Self {
        Self::of(KeyBytes::make())
    }

    pub(crate) fn of(master: KeyBytes) -> Self {
        Self {
            deks: master.derive(b"secretd/1 root: deks"),
            ca: master.derive(b"secretd/1 root: ca"),
            transit: master.derive(b"secretd/1 root: transit"),
            tokens: master.derive(b"secretd/1 root: tokens"),
            peers: master.derive(b"secretd/1 root: peers"),
            unlock_keys: master.derive(b"secretd/1 root: unlock keys"),
            id: master.id("root"),
            master,
        }
    }

    pub(crate) const fn of_unlock_keys(&self) -> &KeyBytes {
        &self.unlock_keys
    }

    pub(crate) fn master(&self) -> &KeyBytes {
        &self.master
    }

    /// Its id.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The id and secret of the join token that a request makes: derived from who asked and the
    /// request's key, so that a retry after a lost answer shows the same token.
    pub fn derive_token(
        &self,
        realm: Realm,
        principal: Principal,
        request_key: RequestKey,
    ) -> (TokenId, TokenSecret) {
        let request = Context::TokenRequest { realm, principal, request_key }.encode();
        let mut id = [0; 17];
        hazmat::hkdf(self.tokens.bytes(), &[b"id ".as_slice(), &request].concat(), &mut id);
        let mut secret = Box::new([0; TOKEN_SECRET_BYTES]);
        let info = [b"secret ".as_slice(), &request].concat();
        hazmat::hkdf(self.tokens.bytes(), &info, &mut *secret);
        (TokenId::from_entropy(id), TokenSecret::new(secret))
    }

    /// Wraps a data key for its place in the state.
    pub fn wrap_dek(
        &self,
        at: &StoredAt,
        ciphertext_digest: &[u8; 32],
        bundle: &DekBundle,
    ) -> WrappedKey {
        let context = at.context(ciphertext_digest);
        wrapped(hazmat::encrypt(self.deks.bytes(), self.id, &context, &[&**bundle.write()]))
    }

    /// Unwraps a data key from its place in the state.
    ///
    /// # Errors
    ///
    /// Always the same one, whatever is wrong.
    pub fn unwrap_dek(
        &self,
        at: &StoredAt,
        ciphertext_digest: &[u8; 32],
        dek: &WrappedKey,
    ) -> Result<DekBundle, OpenError> {
        let context = at.context(ciphertext_digest);
        let bytes =
            hazmat::decrypt_exact::<BUNDLE_BYTES>(self.deks.bytes(), &context, dek.as_bytes())?;
        Ok(DekBundle::read(&bytes))
    }

    /// Wraps the CA's private key.
    pub fn wrap_ca_key(
        &self,
        realm: Realm,
        ca_digest: &[u8; 32],
        key: &SigningKeyDer,
    ) -> WrappedKey {
        let context = Context::CaKey { realm, ca_digest }.encode();
        wrapped(hazmat::encrypt(self.ca.bytes(), self.id, &context, &[key.expose()]))
    }

    /// Unwraps the CA's private key.
    ///
    /// # Errors
    ///
    /// Always the same one, whatever is wrong.
    pub fn unwrap_ca_key(
        &self,
        realm: Realm,
        ca_digest: &[u8; 32],
        key: &WrappedKey,
    ) -> Result<SigningKeyDer, OpenError> {
        let context = Context::CaKey { realm, ca_digest }.encode();
        let mut buffer = Zeroizing::new(key.as_bytes().to_vec());
        let der = hazmat::decrypt_in_place(self.ca.bytes(), &context, &mut buffer)?;
        Ok(SigningKeyDer(Zeroizing::new(Box::from(&*der))))
    }

    /// Wraps a transit private key.
    pub fn wrap_transit_key(&self, realm: Realm, key: &TransitSecretKey) -> WrappedKey {
        let context = Context::TransitKey { realm, transit_key_id: key.public().id() }.encode();
        wrapped(hazmat::encrypt(self.transit.bytes(), self.id, &context, &[key.bytes.bytes()]))
    }

    /// Unwraps a transit private key and checks that it is the one of that id.
    ///
    /// # Errors
    ///
    /// Always the same one, whatever is wrong.
    pub fn unwrap_transit_key(
        &self,
        realm: Realm,
        transit_key_id: KeyId,
        key: &WrappedKey,
    ) -> Result<TransitSecretKey, OpenError> {
        let context = Context::TransitKey { realm, transit_key_id }.encode();
        let bytes =
            hazmat::decrypt_exact::<KEY_BYTES>(self.transit.bytes(), &context, key.as_bytes())?;
        let secret =
            TransitSecretKey::from_private(KeyBytes::born(|key| key.copy_from_slice(&**bytes)));
        if secret.public().id() == transit_key_id { Ok(secret) } else { Err(OpenError) }
    }
}

impl RootKey {
    /// Wraps the private half of a member's peer key.
    pub fn wrap_peer_key(&self, realm: Realm, member: MemberId, key: &PeerSecretKey) -> WrappedKey {
        let context = Context::PeerKey { realm, member, peer_key_id: key.public().id() }.encode();
        wrapped(hazmat::encrypt(self.peers.bytes(), self.id, &context, &[key.bytes.bytes()]))
    }

    /// Unwraps the private half of a member's peer key and checks that it is the one of that id.
    ///
    /// # Errors
    ///
    /// Always the same one, whatever is wrong.
    pub fn unwrap_peer_key(
        &self,
        realm: Realm,
        member: MemberId,
        peer_key_id: KeyId,
        key: &WrappedKey,
    ) -> Result<PeerSecretKey, OpenError> {
        let context = Context::PeerKey { realm, member, peer_key_id }.encode();
        let bytes =
            hazmat::decrypt_exact::<KEY_BYTES>(self.peers.bytes(), &context, key.as_bytes())?;
        let secret =
            PeerSecretKey::from_private(KeyBytes::born(|key| key.copy_from_slice(&**bytes)));
        if secret.public().id() == peer_key_id { Ok(secret) } else { Err(OpenError) }
    }
}

key_pair!(
    /// A member's key for one fetch of root keys.
    FetchSecretKey,
    FetchPublicKey,
    "fetch"
);

/// Who fetches root keys, with which key.
#[derive(Clone)]
pub struct Fetch {
    /// The cluster.
    pub realm: Realm,
    /// Its life.
    pub incarnation: Incarnation,
    /// The member that asked.
    pub member: MemberId,
    /// The key it made for the call.
    pub public_key: FetchPublicKey,
}

impl Fetch {
    fn info(&self) -> Vec<u8> {
        Context::RootFetch {
            realm: self.realm,
            incarnation: self.incarnation,
            member: self.member,
            public_key: self.public_key.as_bytes(),
        }
        .encode()
    }

    /// Seals root keys to the member that asked.
    ///
    /// # Errors
    ///
    /// If its key is not one that can be agreed with.
    pub fn seal(&self, roots: &[&RootKey]) -> Result<(Encapsulation, Vec<WrappedKey>), OpenError> {
        let mut encapsulated = [0; 32];
        let key = KeyBytes::try_born(|key| {
            encapsulated = hazmat::encapsulate(self.public_key.key(), &self.info(), key)?;
            Ok(())
        })?;
        let sealed = roots.iter().map(|root| {
            let context = Context::RootKey { root_key_id: root.id }.encode();
            wrapped(hazmat::encrypt(key.bytes(), key.id("fetch"), &context, &[root.master.bytes()]))
        });
        Ok((Encapsulation::x25519(&encapsulated), sealed.collect()))
    }

    /// Opens one of the root keys that were sealed to `secret`, and checks that it is the one of
    /// that id.
    ///
    /// # Errors
    ///
    /// Always the same one, whatever is wrong.
    pub fn open(
        &self,
        secret: &FetchSecretKey,
        encapsulation: &Encapsulation,
        sealed: &WrappedKey,
        root_key_id: KeyId,
    ) -> Result<RootKey, OpenError> {
        let key = KeyBytes::try_born(|key| {
            hazmat::decapsulate(secret.bytes.bytes(), encapsulation.key(), &self.info(), key)
        })?;
        let context = Context::RootKey { root_key_id }.encode();
        let bytes = hazmat::decrypt_exact::<KEY_BYTES>(key.bytes(), &context, sealed.as_bytes())?;
        let root = RootKey::of(KeyBytes::born(|master| master.copy_from_slice(&**bytes)));
        if root.id == root_key_id { Ok(root) } else { Err(OpenError) }
    }
}
