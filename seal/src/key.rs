//! Keys as types: what each may do is which type it is.
//!
//! All keys are 32 uniform bytes in [`KeyBytes`], which lives in the key memory the program
//! installed (a slab of secret memory) or, without one, in a box; it is wiped on drop and has no
//! `Debug`, `Clone`, `Display` or `Serialize`. `make_` draws randomness, `derive_` does not. There
//! are no conversions between key types.
//!
//! Every key has a 128-bit id derived from it, so keys are found by id and an id cannot be given
//! to another key.
//!
//! Invariant: key bytes are born in their final place and are never grown or copied elsewhere but
//! into a cipher's own state.

use std::sync::OnceLock;

use proto::id::KeyId;
use zeroize::Zeroize as _;

use crate::OpenError;
use crate::hazmat::{self, KEY_BYTES};

/// Where long-lived keys live: a slab that the program took from the kernel.
///
/// Without one, keys live in ordinary heap memory, wiped on drop.
pub trait KeyMemory: Sync {
    /// A zeroed slot, or none when the slab is full.
    fn take(&self) -> Option<&'static mut [u8; KEY_BYTES]>;
    /// Takes a slot back; it was wiped.
    fn give_back(&self, slot: &'static mut [u8; KEY_BYTES]);
}

static KEY_MEMORY: OnceLock<&'static dyn KeyMemory> = OnceLock::new();

/// Makes all keys from now on live in `memory`. Returns false if another was installed before.
pub fn install_key_memory(memory: &'static dyn KeyMemory) -> bool {
    KEY_MEMORY.set(memory).is_ok()
}

enum Place {
    Slab(Option<&'static mut [u8; KEY_BYTES]>),
    Heap(Box<[u8; KEY_BYTES]>),
}

/// 32 bytes of key, wherever they live.
pub(crate) struct KeyBytes(Place);

impl KeyBytes {
    /// Bytes of its own, filled by `fill`, for as long as the key lives.
    pub(crate) fn born(fill: impl FnOnce(&mut [u8; KEY_BYTES])) -> Self {
        let mut key = match KEY_MEMORY.get().and_then(|memory| memory.take()) {
            Some(slot) => Self(Place::Slab(Some(slot))),
            None => Self(Place::Heap(Box::new([0; KEY_BYTES]))),
        };
        fill(key.bytes_mut());
        key
    }

    /// As [`Self::born`], when filling may fail.
    pub(crate) fn try_born(
        fill: impl FnOnce(&mut [u8; KEY_BYTES]) -> Result<(), OpenError>,
    ) -> Result<Self, OpenError> {
        let mut outcome = Ok(());
        let key = Self::born(|bytes| outcome = fill(bytes));
        outcome.map(|()| key)
    }

    pub(crate) fn make() -> Self {
        Self::born(|bytes| hazmat::fill_random(bytes))
    }

    /// `HKDF(self, info)`.
    pub(crate) fn derive(&self, info: &[u8]) -> Self {
        Self::born(|bytes| hazmat::hkdf(self.bytes(), info, bytes))
    }

    /// The 128-bit id: `HKDF(self, "secretd/1 key id " ‖ kind)[..16]`.
    pub(crate) fn id(&self, kind: &str) -> KeyId {
        let mut id = [0; 16];
        hazmat::hkdf(self.bytes(), format!("secretd/1 key id {kind}").as_bytes(), &mut id);
        KeyId::from_bytes(id)
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        match &self.0 {
            Place::Slab(slot) => slot.as_deref().expect("the slot is given back only on drop"),
            Place::Heap(bytes) => bytes,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8; KEY_BYTES] {
        match &mut self.0 {
            Place::Slab(slot) => slot.as_deref_mut().expect("the slot is given back only on drop"),
            Place::Heap(bytes) => bytes,
        }
    }
}

impl Drop for KeyBytes {
    fn drop(&mut self) {
        self.bytes_mut().zeroize();
        if let Place::Slab(slot) = &mut self.0
            && let (Some(memory), Some(slot)) = (KEY_MEMORY.get(), slot.take())
        {
            memory.give_back(slot);
        }
    }
}

/// Defines a symmetric key type: its bytes, its id, making one.
macro_rules! symmetric_key {
    ($(#[$doc:meta])* $visibility:vis struct $name:ident, $kind:literal) => {
        $(#[$doc])*
        $visibility struct $name {
            pub(crate) bytes: $crate::key::KeyBytes,
            id: proto::id::KeyId,
        }

        impl $name {
            /// A fresh random key.
            pub(crate) fn make() -> Self {
                Self::of($crate::key::KeyBytes::make())
            }

            pub(crate) fn of(bytes: $crate::key::KeyBytes) -> Self {
                let id = bytes.id($kind);
                Self { bytes, id }
            }

            /// Its id.
            $visibility const fn id(&self) -> proto::id::KeyId {
                self.id
            }
        }
    };
}
pub(crate) use symmetric_key;

/// Defines an X25519 key pair type for HPKE: the private key and its public half.
macro_rules! key_pair {
    ($(#[$doc:meta])* $secret:ident, $public:ident, $kind:literal) => {
        $(#[$doc])*
        pub struct $secret {
            pub(crate) bytes: $crate::key::KeyBytes,
            public: $public,
        }

        impl $secret {
            /// A fresh random key pair.
            pub fn make() -> Self {
                Self::derive(&$crate::key::KeyBytes::make())
            }

            /// The pair of a seed: `DeriveKeyPair` of RFC 9180 §7.1.3.
            pub(crate) fn derive(seed: &$crate::key::KeyBytes) -> Self {
                let (private, public) = $crate::hazmat::derive_key_pair(seed.bytes());
                Self {
                    bytes: $crate::key::KeyBytes::born(|bytes| bytes.copy_from_slice(&**private)),
                    public: $public::of(&public),
                }
            }

            /// The public half.
            pub const fn public(&self) -> &$public {
                &self.public
            }
        }

        #[doc = concat!("The public half of a [`", stringify!($secret), "`].")]
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct $public {
            encoded: proto::sealed::Encapsulation,
            id: proto::id::KeyId,
        }

        impl $public {
            fn of(public: &[u8; 32]) -> Self {
                Self::from_encoded(proto::sealed::Encapsulation::x25519(public))
            }

            fn from_encoded(encoded: proto::sealed::Encapsulation) -> Self {
                let digest = $crate::hazmat::sha256(&[
                    concat!("secretd/1 public key id ", $kind).as_bytes(),
                    encoded.as_bytes(),
                ]);
                let mut id = [0; 16];
                id.copy_from_slice(&digest[..16]);
                Self { encoded, id: proto::id::KeyId::from_bytes(id) }
            }

            /// Reads `kem id ‖ key`.
            pub fn parse(bytes: bytes::Bytes) -> Result<Self, proto::sealed::SealedError> {
                proto::sealed::Encapsulation::new(bytes).map(Self::from_encoded)
            }

            /// `kem id ‖ key`, as it travels.
            pub const fn as_bytes(&self) -> &bytes::Bytes {
                self.encoded.as_bytes()
            }

            /// The id of the pair: SHA-256 of the public key, cut to 128 bits.
            pub const fn id(&self) -> proto::id::KeyId {
                self.id
            }

            pub(crate) fn key(&self) -> &[u8] {
                self.encoded.key()
            }
        }
    };
}
pub(crate) use key_pair;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_in_another_role_have_another_id() {
        let bytes = |fill: u8| KeyBytes::born(|bytes| bytes.fill(fill));
        assert_eq!(bytes(7).id("one"), bytes(7).id("one"));
        assert_ne!(bytes(7).id("one"), bytes(7).id("other"));
        assert_ne!(bytes(7).id("one"), bytes(8).id("one"));
        assert_ne!(KeyBytes::make().id("one"), KeyBytes::make().id("one"));
    }
}
