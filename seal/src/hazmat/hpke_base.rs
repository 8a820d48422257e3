//! HPKE base mode (RFC 9180) with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305.
//!
//! Only set-up and export are used: one public-key operation makes an exporter secret (§5.3) from
//! which a wrapping key comes; messages are sealed by `encrypt_in_place` under that key. So one
//! set-up serves a whole connection, and no HPKE sequence number has to be kept in step.
//!
//! Invariant: the exported key depends on both keys, the `info` and nothing else.

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use zeroize::Zeroizing;

use super::{KEY_BYTES, stack};
use crate::OpenError;

type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;
type PublicKey = <X25519HkdfSha256 as Kem>::PublicKey;
type Encapped = <X25519HkdfSha256 as Kem>::EncappedKey;

/// What the exporter is asked for: the label of the one key taken from a set-up.
const EXPORT_LABEL: &[u8] = b"secretd/1 wrapping key";

/// `DeriveKeyPair(seed)` (RFC 9180 §7.1.3): the private and the public key of a 32-byte seed.
pub(crate) fn derive_key_pair(
    seed: &[u8; KEY_BYTES],
) -> (Box<Zeroizing<[u8; KEY_BYTES]>>, [u8; 32]) {
    let mut secret = Box::new(Zeroizing::new([0; KEY_BYTES]));
    let public = stack::wiped_deep(|| {
        let (private, public) = X25519HkdfSha256::derive_keypair(seed);
        private.write_exact(&mut **secret);
        public.to_bytes().into()
    });
    (secret, public)
}

/// The public key of a private one.
pub(crate) fn public_key_of(private: &[u8; KEY_BYTES]) -> [u8; 32] {
    stack::wiped_deep(|| {
        let private = PrivateKey::from_bytes(private).expect("every 32 bytes are an X25519 key");
        X25519HkdfSha256::sk_to_pk(&private).to_bytes().into()
    })
}

/// `SetupBaseS(pk, info)` then `Export`: the encapsulation to send and the wrapping key.
pub(crate) fn encapsulate(
    public: &[u8],
    info: &[u8],
    wrapping_key: &mut [u8; KEY_BYTES],
) -> Result<[u8; 32], OpenError> {
    stack::wiped_deep(|| {
        let public = PublicKey::from_bytes(public).map_err(|_| OpenError)?;
        let (encapped, context) = hpke::setup_sender::<
            ChaCha20Poly1305,
            HkdfSha256,
            X25519HkdfSha256,
        >(&OpModeS::Base, &public, info)
        .map_err(|_| OpenError)?;
        context.export(EXPORT_LABEL, wrapping_key).map_err(|_| OpenError)?;
        Ok(encapped.to_bytes().into())
    })
}

/// `SetupBaseR(enc, sk, info)` then `Export`: the wrapping key.
pub(crate) fn decapsulate(
    private: &[u8; KEY_BYTES],
    encapsulated: &[u8],
    info: &[u8],
    wrapping_key: &mut [u8; KEY_BYTES],
) -> Result<(), OpenError> {
    receive_and_export(private, encapsulated, info, EXPORT_LABEL, wrapping_key)
}

/// `SetupBaseR(enc, sk, info).Export(label, 32)` (RFC 9180 §5.1.1 and §5.3).
pub(super) fn receive_and_export(
    private: &[u8; KEY_BYTES],
    encapsulated: &[u8],
    info: &[u8],
    label: &[u8],
    exported: &mut [u8; KEY_BYTES],
) -> Result<(), OpenError> {
    stack::wiped_deep(|| {
        let private = PrivateKey::from_bytes(private).map_err(|_| OpenError)?;
        let encapped = Encapped::from_bytes(encapsulated).map_err(|_| OpenError)?;
        let context = hpke::setup_receiver::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &private,
            &encapped,
            info,
        )
        .map_err(|_| OpenError)?;
        context.export(label, exported).map_err(|_| OpenError)
    })
}
