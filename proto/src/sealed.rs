//! Sealed things as they travel and rest: opaque bytes with a header, bounds and a key id.
//!
//! One layout serves every ciphertext of the system ([`HEADER_BYTES`] then ciphertext then tag):
//! `format (1) ‖ algorithm (1) ‖ key id (16) ‖ nonce (24)`. The key id says which key opens it;
//! nothing is ever trial-decrypted. Not here: sealing and opening (`seal`).
//!
//! Invariant: a value of these types has a whole header of a known format and is within bounds.

use core::fmt;

use bytes::Bytes;
use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};

use crate::id::{KeyId, PayloadId};
use crate::limits::{CIPHERTEXT_BYTES_MAX, WRAPPED_KEY_BYTES_MAX};

/// The one layout in use.
pub const FORMAT: u8 = 1;

/// XChaCha20-Poly1305 with a random 192-bit nonce (draft-irtf-cfrg-xchacha).
pub const ALGORITHM_XCHACHA20_POLY1305: u8 = 1;

/// Bytes before the ciphertext: format, algorithm, key id, nonce.
pub const HEADER_BYTES: usize = 1 + 1 + 16 + 24;

/// Bytes after the ciphertext: the Poly1305 tag.
pub const TAG_BYTES: usize = 16;

/// KEM of an encapsulation: DHKEM(X25519, HKDF-SHA256), RFC 9180 §7.1.
pub const KEM_X25519_HKDF_SHA256: u16 = 0x0020;

/// Bytes are not a sealed thing of a format this version knows, or are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}")]
pub struct SealedError {
    what: &'static str,
}

fn key_id_of(what: &'static str, bytes: &[u8], bytes_max: usize) -> Result<KeyId, SealedError> {
    let malformed = SealedError { what };
    let [format, algorithm, rest @ ..] = bytes else { return Err(malformed) };
    let known = *format == FORMAT && *algorithm == ALGORITHM_XCHACHA20_POLY1305;
    if !known || bytes.len() < HEADER_BYTES + TAG_BYTES || bytes.len() > bytes_max {
        return Err(malformed);
    }
    rest.get(..16).and_then(|id| KeyId::try_from(id).ok()).ok_or(malformed)
}

macro_rules! sealed_bytes {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name {
            bytes: Bytes,
            key_id: KeyId,
        }

        impl $name {
            /// Checks header and bounds.
            pub fn new(bytes: Bytes) -> Result<Self, SealedError> {
                let key_id = key_id_of($what, &bytes, $max)?;
                Ok(Self { bytes, key_id })
            }

            /// The key that opens it.
            pub const fn key_id(&self) -> KeyId {
                self.key_id
            }

            /// Header, ciphertext and tag.
            pub const fn as_bytes(&self) -> &Bytes {
                &self.bytes
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({} bytes under {})", $what, self.bytes.len(), self.key_id)
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: Write>(
                &self,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), EncodeError<W::Error>> {
                e.bytes(&self.bytes)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                Self::new(Bytes::copy_from_slice(d.bytes()?))
                    .map_err(|_| DecodeError::message(concat!("malformed ", $what)))
            }
        }
    };
}

sealed_bytes!(
    /// A payload, framed, padded and encrypted under its own DEK.
    Ciphertext,
    "ciphertext",
    CIPHERTEXT_BYTES_MAX
);
sealed_bytes!(
    /// A key wrapped under another key.
    WrappedKey,
    "wrapped key",
    WRAPPED_KEY_BYTES_MAX
);

/// The public half of a key agreement, with the KEM it belongs to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Encapsulation {
    bytes: Bytes,
}

impl Encapsulation {
    /// `kem id (2, big endian) ‖ encapsulated key`, as it travels.
    pub fn new(bytes: Bytes) -> Result<Self, SealedError> {
        let kem = bytes.first_chunk::<2>().map(|id| u16::from_be_bytes(*id));
        match kem {
            Some(KEM_X25519_HKDF_SHA256) if bytes.len() == 2 + 32 => Ok(Self { bytes }),
            _ => Err(SealedError { what: "encapsulation" }),
        }
    }

    /// Puts the KEM id of X25519 before its 32 bytes.
    pub fn x25519(key: &[u8; 32]) -> Self {
        let mut bytes = Vec::with_capacity(34);
        bytes.extend_from_slice(&KEM_X25519_HKDF_SHA256.to_be_bytes());
        bytes.extend_from_slice(key);
        Self { bytes: bytes.into() }
    }

    /// KEM id and key, as they travel.
    pub const fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The encapsulated key, without the KEM id.
    pub fn key(&self) -> &[u8] {
        self.bytes.get(2..).unwrap_or_default()
    }
}

/// A payload as its sealer sends it: the DEK wrapped for one connection to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedPayload {
    /// Chosen at random by the sealer.
    pub payload_id: PayloadId,
    /// The transit key the box is sealed to.
    pub transit_key_id: KeyId,
    /// The connection's encapsulation to that key.
    pub encapsulation: Encapsulation,
    /// DEK and compare tag, wrapped under the connection's exported key.
    pub sealed_dek: WrappedKey,
    /// The payload under its DEK.
    pub ciphertext: Ciphertext,
}

/// A payload as the cluster keeps it: the DEK wrapped under the root key.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct StoredPayload {
    /// Chosen at random by the sealer.
    #[n(0)]
    pub payload_id: PayloadId,
    /// DEK and compare tag, wrapped under a root key.
    #[n(1)]
    pub wrapped_dek: WrappedKey,
    /// The payload under its DEK.
    #[n(2)]
    pub ciphertext: Ciphertext,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(len: usize) -> Bytes {
        let mut bytes = vec![7; len];
        bytes[0] = FORMAT;
        bytes[1] = ALGORITHM_XCHACHA20_POLY1305;
        bytes.into()
    }

    #[test]
    fn bounds_hold_at_the_bound_and_one_past_it() {
        assert!(Ciphertext::new(bytes(CIPHERTEXT_BYTES_MAX)).is_ok());
        assert!(Ciphertext::new(bytes(CIPHERTEXT_BYTES_MAX + 1)).is_err());
        assert!(WrappedKey::new(bytes(WRAPPED_KEY_BYTES_MAX)).is_ok());
        assert!(WrappedKey::new(bytes(WRAPPED_KEY_BYTES_MAX + 1)).is_err());
        assert!(WrappedKey::new(bytes(HEADER_BYTES + TAG_BYTES)).is_ok());
        assert!(WrappedKey::new(bytes(HEADER_BYTES + TAG_BYTES - 1)).is_err());
        assert!(WrappedKey::new(Bytes::new()).is_err());
    }

    #[test]
    fn unknown_formats_are_refused() {
        for at in [0, 1] {
            let mut unknown = bytes(100).to_vec();
            unknown[at] = 2;
            assert!(WrappedKey::new(unknown.into()).is_err());
        }
        assert!(Encapsulation::new(Bytes::from_static(&[0; 34])).is_err());
        assert!(Encapsulation::new(Encapsulation::x25519(&[1; 32]).bytes).is_ok());
    }

    #[test]
    fn the_header_names_the_key() {
        assert_eq!(WrappedKey::new(bytes(100)).unwrap().key_id(), KeyId::from_bytes([7; 16]));
    }
}
