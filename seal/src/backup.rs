//! The root key of a backup, and its way to and from who keeps the file.
//!
//! A backup is a copy of the state with every wrap made anew under a root key of its own, made for
//! that and used for nothing else: it opens that one copy, outlives every rotation of the cluster's
//! own root key, and gives none of it away. It travels sealed (HPKE base mode, RFC 9180) to a key
//! pair made for the one call: from the manager that made it to secretctl, and back from secretctl
//! to the manager that restores. Not here: the file's own encryption (secretctl).
//!
//! Invariant: a sealed backup root key opens for the call, the backup and the copy that it was
//! sealed for, and only as the key of its id.

use proto::id::{BackupId, Incarnation, KeyId, Realm};
use proto::sealed::{Encapsulation, WrappedKey};
use sha2::Digest as _;

use crate::OpenError;
use crate::context::{BackupWay, Context};
use crate::hazmat::{self, KEY_BYTES};
use crate::key::{KeyBytes, key_pair};
use crate::root::{RootKey, wrapped};

key_pair!(
    /// The key pair of one call that brings a backup's root key.
    BackupSecretKey,
    BackupPublicKey,
    "backup"
);

/// The root key of one backup: everything in its copy of the state is wrapped under it.
pub struct BackupRoot(RootKey);

impl BackupRoot {
    /// A fresh random key.
    pub fn make() -> Self {
        Self(RootKey::make())
    }

    /// The key of a file, filled in by who reads that.
    ///
    /// # Errors
    ///
    /// What `fill` returns.
    pub fn read<E>(fill: impl FnOnce(&mut [u8; KEY_BYTES]) -> Result<(), E>) -> Result<Self, E> {
        let mut filled = Ok(());
        let key = KeyBytes::born(|bytes| filled = fill(bytes));
        filled.map(|()| Self(RootKey::of(key)))
    }

    /// Its id.
    pub const fn id(&self) -> KeyId {
        self.0.id()
    }

    /// What wraps and unwraps with it.
    pub const fn root(&self) -> &RootKey {
        &self.0
    }

    /// The key itself, for the file that is about to be encrypted.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        self.0.master().bytes()
    }
}

/// What a backup's root key is sealed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupCall<'a> {
    /// The cluster.
    pub realm: Realm,
    /// The life of it that the copy is of.
    pub incarnation: Incarnation,
    /// The backup.
    pub backup_id: BackupId,
    /// SHA-256 of the copy, as it is written.
    pub copy_digest: &'a [u8; 32],
    /// Out of the cluster, or into it.
    pub way: BackupWay,
}

impl BackupCall<'_> {
    fn info(&self, to: &BackupPublicKey) -> Vec<u8> {
        Context::BackupKey {
            realm: self.realm,
            incarnation: self.incarnation,
            backup_id: self.backup_id,
            copy_digest: self.copy_digest,
            way: self.way,
            public_key: to.as_bytes(),
        }
        .encode()
    }

    /// Seals the key to the other side of the call.
    ///
    /// # Errors
    ///
    /// If the other side's key is not one that can be agreed with (RFC 9180 §7.1.4).
    pub fn seal(
        &self,
        to: &BackupPublicKey,
        root: &BackupRoot,
    ) -> Result<(Encapsulation, WrappedKey), OpenError> {
        let mut encapsulated = [0; 32];
        let key = KeyBytes::try_born(|key| {
            encapsulated = hazmat::encapsulate(to.key(), &self.info(to), key)?;
            Ok(())
        })?;
        let context = Context::RootKey { root_key_id: root.id() }.encode();
        let sealed =
            hazmat::encrypt(key.bytes(), key.id("backup call"), &context, &[root.expose()]);
        Ok((Encapsulation::x25519(&encapsulated), wrapped(sealed)))
    }

    /// Opens the key that was sealed to `secret`, and checks that it is the one of that id.
    ///
    /// # Errors
    ///
    /// Always the same one, whatever is wrong.
    pub fn open(
        &self,
        secret: &BackupSecretKey,
        encapsulation: &Encapsulation,
        sealed: &WrappedKey,
        root_key_id: KeyId,
    ) -> Result<BackupRoot, OpenError> {
        let info = self.info(secret.public());
        let key = KeyBytes::try_born(|key| {
            hazmat::decapsulate(secret.bytes.bytes(), encapsulation.key(), &info, key)
        })?;
        let context = Context::RootKey { root_key_id }.encode();
        let bytes = hazmat::decrypt_exact::<KEY_BYTES>(key.bytes(), &context, sealed.as_bytes())?;
        let root = RootKey::of(KeyBytes::born(|master| master.copy_from_slice(&**bytes)));
        if root.id() == root_key_id { Ok(BackupRoot(root)) } else { Err(OpenError) }
    }
}

/// SHA-256 (FIPS 180-4) of public bytes that come piece by piece.
#[derive(Default)]
pub struct DigestOfPieces(sha2::Sha256);

impl DigestOfPieces {
    /// Takes the next piece.
    pub fn add(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all that was taken.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
