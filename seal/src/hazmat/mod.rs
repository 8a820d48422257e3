//! The primitives, and nothing but: each function is one standard, used one way.
//!
//! Nothing here leaves the crate but [`Nonces`], which shows none of them. What the rest of the crate adds is which key, which context and
//! which bytes; a reviewer of the mathematics reads this folder and `context.rs` alone.
//!
//! Invariants: no function takes a nonce; every encryption draws its own, alone or with those of its
//! neighbours ([`Nonces`]). None leaves a key on the stack (`stack`).

mod argon2id;
mod gf256;
mod hpke_base;
mod stack;

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use hmac::Mac as _;
use proto::id::KeyId;
use proto::sealed::{ALGORITHM_XCHACHA20_POLY1305, FORMAT, HEADER_BYTES, TAG_BYTES};
use sha2::Digest as _;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

pub(crate) use argon2id::{Costs, argon2id};
pub(crate) use gf256::{evaluate, interpolate_at_zero};
pub(crate) use hpke_base::{decapsulate, derive_key_pair, encapsulate, public_key_of};

use crate::OpenError;

/// Bytes of every key.
pub(crate) const KEY_BYTES: usize = 32;

/// Bytes of a nonce.
const NONCE_BYTES: usize = 24;

/// Header bytes that are authenticated beside the context: format, algorithm, key id.
const AUTHENTICATED_HEADER_BYTES: usize = 1 + 1 + 16;

/// Nonces drawn together, for encryptions that follow at once: one call of the kernel for all of them.
///
/// Each is given once. Not to be kept: a copy of the machine would have the same ones.
#[must_use]
pub struct Nonces(Vec<[u8; NONCE_BYTES]>);

impl Nonces {
    /// Draws so many.
    pub fn draw(count: usize) -> Self {
        let mut drawn = vec![[0; NONCE_BYTES]; count];
        fill_random(drawn.as_flattened_mut());
        Self(drawn)
    }

    /// The next one; when none is left, one that is drawn now.
    fn next(&mut self) -> [u8; NONCE_BYTES] {
        self.0.pop().unwrap_or_else(|| {
            let mut nonce = [0; NONCE_BYTES];
            fill_random(&mut nonce);
            nonce
        })
    }
}

impl std::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} nonces", self.0.len())
    }
}

/// Fills `bytes` from the kernel's random source (getrandom(2)).
pub(crate) fn fill_random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the kernel's random source answers once the system has booted");
}

/// SHA-256 (FIPS 180-4) of the parts, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    // What is hashed may be a share, or a token.
    stack::wiped(|| {
        let mut hash = sha2::Sha256::new();
        for part in parts {
            hash.update(part);
        }
        hash.finalize().into()
    })
}

/// HKDF-SHA256 (RFC 5869) with an empty salt: `out = Expand(Extract("", key), info)`.
///
/// The input keys are uniform 32-byte keys, so the salt adds nothing.
pub(crate) fn hkdf(key: &[u8; KEY_BYTES], info: &[u8], out: &mut [u8]) {
    stack::wiped(|| {
        hkdf::Hkdf::<sha2::Sha256>::new(None, key)
            .expand(info, out)
            .expect("no output here is longer than 255 hashes");
    });
}

/// HKDF-SHA256 (RFC 5869) of two keys: `out = Expand(Extract(salt, key), info)`.
///
/// Both are uniform, and the output is uniform to whoever lacks one of them: it is HMAC keyed by
/// the salt, and extraction from the key.
pub(crate) fn hkdf_of_two(
    salt: &[u8; KEY_BYTES],
    key: &[u8; KEY_BYTES],
    info: &[u8],
    out: &mut [u8; KEY_BYTES],
) {
    stack::wiped(|| {
        hkdf::Hkdf::<sha2::Sha256>::new(Some(salt), key)
            .expand(info, out)
            .expect("one hash is not longer than 255");
    });
}

/// HMAC-SHA256 (RFC 2104).
pub(crate) fn hmac_sha256(key: &[u8; KEY_BYTES], message: &[u8]) -> [u8; 32] {
    stack::wiped(|| {
        let mut mac =
            hmac::Hmac::<sha2::Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        mac.update(message);
        mac.finalize().into_bytes().into()
    })
}

/// Equality in constant time.
pub(crate) fn equal(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

/// `encrypt[key, nonce, aad](buffer)` in place, and the tag: XChaCha20-Poly1305
/// (draft-irtf-cfrg-xchacha).
fn xchacha_encrypt(
    key: &[u8; KEY_BYTES],
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    buffer: &mut [u8],
) -> [u8; TAG_BYTES] {
    stack::wiped(|| {
        XChaCha20Poly1305::new(key.into())
            .encrypt_inout_detached(&XNonce::from(*nonce), aad, InOutBuf::from(buffer))
            .expect("no plaintext here is near 256 GiB")
            .into()
    })
}

/// `decrypt[key, nonce, aad](buffer, tag)` in place.
fn xchacha_decrypt(
    key: &[u8; KEY_BYTES],
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    buffer: &mut [u8],
    tag: &[u8; TAG_BYTES],
) -> Result<(), OpenError> {
    stack::wiped(|| {
        XChaCha20Poly1305::new(key.into())
            .decrypt_inout_detached(
                &XNonce::from(*nonce),
                aad,
                InOutBuf::from(buffer),
                &Tag::from(*tag),
            )
            .map_err(|_| OpenError)
    })
}

/// `encrypt[key, context](buffer[HEADER_BYTES..len - TAG_BYTES])` in place.
///
/// `buffer` is laid out `header ‖ plaintext ‖ room for the tag`; header and tag are written here.
/// The nonce is random and 192 bits long: no counter has to survive a crash, a clone or a restored
/// machine. The associated data is `context ‖ format ‖ algorithm ‖ key id`; the context is
/// self-delimiting, so the concatenation is injective.
pub(crate) fn encrypt_in_place(
    key: &[u8; KEY_BYTES],
    key_id: KeyId,
    context: &[u8],
    buffer: &mut [u8],
) {
    encrypt_in_place_with(key, key_id, context, &mut Nonces(Vec::new()), buffer);
}

/// [`encrypt_in_place`] with the next one of nonces that were drawn together.
fn encrypt_in_place_with(
    key: &[u8; KEY_BYTES],
    key_id: KeyId,
    context: &[u8],
    nonces: &mut Nonces,
    buffer: &mut [u8],
) {
    let (header, rest) = buffer
        .split_first_chunk_mut::<HEADER_BYTES>()
        .expect("the caller lays out header, plaintext and tag");
    let (plaintext, tag) = rest
        .split_last_chunk_mut::<TAG_BYTES>()
        .expect("the caller lays out header, plaintext and tag");
    let nonce = nonces.next();
    header[0] = FORMAT;
    header[1] = ALGORITHM_XCHACHA20_POLY1305;
    header[2..AUTHENTICATED_HEADER_BYTES].copy_from_slice(key_id.as_bytes());
    header[AUTHENTICATED_HEADER_BYTES..].copy_from_slice(&nonce);
    let aad = [context, &header[..AUTHENTICATED_HEADER_BYTES]].concat();
    *tag = xchacha_encrypt(key, &nonce, &aad, plaintext);
}

/// Opens what [`encrypt_in_place`] made, in place, and returns the plaintext within the buffer.
///
/// On failure the buffer's contents are unspecified and the error says nothing.
pub(crate) fn decrypt_in_place<'a>(
    key: &[u8; KEY_BYTES],
    context: &[u8],
    buffer: &'a mut [u8],
) -> Result<&'a mut [u8], OpenError> {
    let (header, rest) = buffer.split_first_chunk_mut::<HEADER_BYTES>().ok_or(OpenError)?;
    let (ciphertext, tag) = rest.split_last_chunk_mut::<TAG_BYTES>().ok_or(OpenError)?;
    let (authenticated, nonce) = header.split_at(AUTHENTICATED_HEADER_BYTES);
    let [FORMAT, ALGORITHM_XCHACHA20_POLY1305, ..] = authenticated else { return Err(OpenError) };
    let nonce = nonce.first_chunk().ok_or(OpenError)?;
    let aad = [context, authenticated].concat();
    xchacha_decrypt(key, nonce, &aad, ciphertext, tag)?;
    Ok(ciphertext)
}

/// The key id of a ciphertext's header; none if it is not a ciphertext of a known format.
pub(crate) fn key_id_of(ciphertext: &[u8]) -> Option<KeyId> {
    let [FORMAT, ALGORITHM_XCHACHA20_POLY1305, rest @ ..] = ciphertext else { return None };
    KeyId::try_from(rest.get(..16)?).ok()
}

/// `header ‖ encrypt[key, context](plaintext) ‖ tag` in a buffer made once.
pub(crate) fn encrypt(
    key: &[u8; KEY_BYTES],
    key_id: KeyId,
    context: &[u8],
    plaintext: &[&[u8]],
) -> Vec<u8> {
    encrypt_with(key, key_id, context, &mut Nonces(Vec::new()), plaintext)
}

/// [`encrypt`] with the next one of nonces that were drawn together.
pub(crate) fn encrypt_with(
    key: &[u8; KEY_BYTES],
    key_id: KeyId,
    context: &[u8],
    nonces: &mut Nonces,
    plaintext: &[&[u8]],
) -> Vec<u8> {
    let length: usize = plaintext.iter().map(|part| part.len()).sum();
    let mut buffer = Vec::with_capacity(HEADER_BYTES + length + TAG_BYTES);
    buffer.resize(HEADER_BYTES, 0);
    for part in plaintext {
        buffer.extend_from_slice(part);
    }
    buffer.resize(HEADER_BYTES + length + TAG_BYTES, 0);
    encrypt_in_place_with(key, key_id, context, nonces, &mut buffer);
    buffer
}

/// Opens a small ciphertext into exactly `N` bytes that are wiped on drop, on the heap: returning
/// them moves no secret.
pub(crate) fn decrypt_exact<const N: usize>(
    key: &[u8; KEY_BYTES],
    context: &[u8],
    ciphertext: &[u8],
) -> Result<Box<Zeroizing<[u8; N]>>, OpenError> {
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let opened = decrypt_in_place(key, context, &mut buffer)?;
    let mut out = Box::new(Zeroizing::new([0; N]));
    if opened.len() != N {
        return Err(OpenError);
    }
    out.copy_from_slice(opened);
    Ok(out)
}

#[cfg(test)]
mod tests;
