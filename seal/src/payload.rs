//! A payload and its data key: made together, once, by who seals it.
//!
//! `seal` frames and encrypts a value under a fresh [`Dek`], and makes the compare tag
//! (`HMAC-SHA256(HKDF(DEK, "compare"), value)`) with which an authorised writer can later ask
//! whether another value equals this one, without anybody opening it.
//!
//! Invariant: a DEK encrypts one payload, ever; there is no way to seal under a given one.

use bytes::Bytes;
use proto::id::{KeyId, PayloadId, Realm};
use proto::sealed::Ciphertext;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::hazmat;
use crate::key::KeyBytes;
use crate::live::Live;
use crate::plaintext::{Frame, Plaintext};
use crate::{OpenError, digest_of};

/// A data key: opens the one payload it was made with.
pub struct Dek {
    pub(crate) bytes: KeyBytes,
    id: KeyId,
    _live: Live,
}

/// A value that was encrypted and whose data key is not sealed to anybody yet. It can be sealed to
/// the next transit key, too, should the first be retired meanwhile.
pub struct Encrypted {
    pub(crate) payload_id: PayloadId,
    pub(crate) ciphertext: Ciphertext,
    pub(crate) bundle: DekBundle,
}

/// A data key and the compare tag of its payload: what is wrapped on the way to the cluster and
/// at rest.
pub struct DekBundle {
    pub(crate) dek: Dek,
    pub(crate) compare_tag: [u8; 32],
}

/// Bytes of a bundle in clear.
pub(crate) const BUNDLE_BYTES: usize = 64;

impl DekBundle {
    #[expect(
        clippy::unnecessary_box_returns,
        reason = "what is returned by value leaves a copy on the stack"
    )]
    pub(crate) fn write(&self) -> Box<Zeroizing<[u8; BUNDLE_BYTES]>> {
        let mut bytes = Box::new(Zeroizing::new([0; BUNDLE_BYTES]));
        let (dek, compare_tag) = bytes.split_at_mut(32);
        dek.copy_from_slice(self.dek.bytes.bytes());
        compare_tag.copy_from_slice(&self.compare_tag);
        bytes
    }

    pub(crate) fn read(bytes: &[u8; BUNDLE_BYTES]) -> Self {
        let mut compare_tag = [0; 32];
        compare_tag.copy_from_slice(&bytes[32..]);
        Self { dek: Dek::of(KeyBytes::born(|dek| dek.copy_from_slice(&bytes[..32]))), compare_tag }
    }

    /// Whether the payload's value equals `candidate`: compared by tag, in constant time.
    pub fn value_equals(&self, candidate: &Plaintext) -> bool {
        hazmat::equal(&self.compare_tag, &self.dek.compare_tag(candidate))
    }

    /// The data key alone, for delivery.
    pub fn into_dek(self) -> Dek {
        self.dek
    }
}

impl Dek {
    fn make() -> Self {
        Self::of(KeyBytes::make())
    }

    pub(crate) fn of(bytes: KeyBytes) -> Self {
        let id = bytes.id("dek");
        Self { bytes, id, _live: Live::data_key() }
    }

    /// Its id.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    pub(crate) fn compare_key(&self) -> KeyBytes {
        self.bytes.derive(b"secretd/1 compare")
    }

    fn compare_tag(&self, value: &Plaintext) -> [u8; 32] {
        hazmat::hmac_sha256(self.compare_key().bytes(), value.expose())
    }

    /// Opens the payload this key was made with.
    ///
    /// # Errors
    ///
    /// Always the same one, whatever is wrong.
    pub fn open(
        &self,
        realm: Realm,
        payload_id: PayloadId,
        ciphertext: &Ciphertext,
    ) -> Result<Plaintext, OpenError> {
        let context = Context::Payload { realm, payload_id }.encode();
        if ciphertext.key_id() != self.id() {
            return Err(OpenError);
        }
        let mut frame = Frame::sealed(ciphertext.as_bytes().to_vec());
        hazmat::decrypt_in_place(self.bytes.bytes(), &context, frame.buffer())?;
        Plaintext::from_frame(frame)
    }
}

/// Encrypts `value` in place under a fresh data key.
pub(crate) fn seal(
    realm: Realm,
    payload_id: PayloadId,
    value: Plaintext,
) -> (Ciphertext, DekBundle) {
    let dek = Dek::make();
    let compare_tag = dek.compare_tag(&value);
    let mut frame = value.into_frame();
    let context = Context::Payload { realm, payload_id }.encode();
    hazmat::encrypt_in_place(dek.bytes.bytes(), dek.id(), &context, frame.buffer());
    let sealed = Bytes::from(core::mem::take(frame.buffer()));
    let ciphertext = Ciphertext::new(sealed).expect("what was just sealed has a whole header");
    (ciphertext, DekBundle { dek, compare_tag })
}

/// SHA-256 of a ciphertext: what stands for it in every context.
pub fn ciphertext_digest(ciphertext: &Ciphertext) -> [u8; 32] {
    digest_of(ciphertext.as_bytes())
}
