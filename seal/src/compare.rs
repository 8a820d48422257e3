//! Asking whether a stored value is this one, without showing either.
//!
//! Beside each data key lies the tag of its value, `HMAC-SHA256(HKDF(DEK, "compare"), value)`. Whoever
//! may ask is given the key of that tag, which says nothing without the tag; makes the tag of the value
//! that it has; and sends it, sealed in its connection to the transit key. It is compared with the one
//! that is stored, and answered with a word. Not here: who may ask, and how often (store).
//!
//! Invariant: a tag opens for its own secret, version and caller only; the stored one never leaves.

use proto::id::{SecretId, Version};
use proto::sealed::WrappedKey;

use crate::hazmat::{self, KEY_BYTES};
use crate::key::KeyBytes;
use crate::payload::DekBundle;
use crate::root::wrapped;
use crate::transit::{TransitReceiver, TransitSender};
use crate::{OpenError, Plaintext};

/// What the tag of one stored value is keyed with.
pub struct CompareKey(KeyBytes);

/// The tag of a value. With the key beside it, guesses can be tried on it.
pub struct CompareTag(KeyBytes);

impl CompareKey {
    /// Takes one that was sent.
    ///
    /// # Errors
    ///
    /// If it has not 32 bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, OpenError> {
        let bytes: &[u8; KEY_BYTES] = bytes.try_into().map_err(|_| OpenError)?;
        Ok(Self(KeyBytes::born(|key| key.copy_from_slice(bytes))))
    }

    /// Its bytes, to be sent.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        self.0.bytes()
    }

    /// The tag of a value.
    pub fn tag(&self, value: &Plaintext) -> CompareTag {
        let tag = hazmat::hmac_sha256(self.0.bytes(), value.expose());
        CompareTag(KeyBytes::born(|bytes| bytes.copy_from_slice(&tag)))
    }
}

impl DekBundle {
    /// The key that its tag was made with.
    pub fn compare_key(&self) -> CompareKey {
        CompareKey(self.dek.compare_key())
    }

    /// Whether its value has this tag: in constant time.
    pub fn has_tag(&self, tag: &CompareTag) -> bool {
        hazmat::equal(&self.compare_tag, tag.0.bytes())
    }
}

impl TransitSender {
    /// Seals the tag of a value that is to be compared with that version of a secret.
    pub fn seal_tag(&self, tag: &CompareTag, secret_id: SecretId, version: Version) -> WrappedKey {
        let context = self.compare_tag_context(secret_id, version).encode();
        let (under, id) = self.wrapping();
        wrapped(hazmat::encrypt(under.bytes(), id, &context, &[tag.0.bytes()]))
    }
}

impl TransitReceiver {
    /// Opens a tag that the connection's client sealed for that version of a secret.
    ///
    /// # Errors
    ///
    /// Always the same one, whatever is wrong.
    pub fn open_tag(
        &self,
        secret_id: SecretId,
        version: Version,
        sealed: &WrappedKey,
    ) -> Result<CompareTag, OpenError> {
        let context = self.compare_tag_context(secret_id, version).encode();
        let bytes = hazmat::decrypt_exact::<KEY_BYTES>(
            self.wrapping().bytes(),
            &context,
            sealed.as_bytes(),
        )?;
        Ok(CompareTag(KeyBytes::born(|tag| tag.copy_from_slice(&**bytes))))
    }
}

#[cfg(test)]
mod tests {
    use proto::id::Realm;
    use proto::identity::Principal;
    use proto::name::SecretName;

    use super::*;
    use crate::{Operation, TransitSecretKey};

    const REALM: Realm = Realm::from_bytes([1; 16]);

    fn value(byte: u8) -> Plaintext {
        Plaintext::born(3, |value| value.fill(byte)).unwrap()
    }

    #[test]
    fn a_value_is_told_from_another_by_its_tag_and_a_tag_opens_in_its_place_only() {
        let transit = TransitSecretKey::make();
        let (uid, other) = (Principal::Local { uid: 0 }, Principal::Local { uid: 1 });
        let sender = TransitSender::set_up(transit.public().clone(), REALM, uid).unwrap();
        let receiver = |principal| {
            TransitReceiver::set_up(&transit, REALM, principal, sender.encapsulation()).unwrap()
        };
        let name = "db".parse::<SecretName>().unwrap().folded();
        let payload = sender.seal(value(7), Operation::Create, &name);
        let digest = crate::ciphertext_digest(&payload.ciphertext);
        let bundle = receiver(uid).open_dek(&payload, &digest, Operation::Create, &name).unwrap();

        let sent = bundle.compare_key();
        let key = CompareKey::parse(sent.expose()).unwrap();
        assert!(CompareKey::parse(&sent.expose()[1..]).is_err());
        assert!(bundle.has_tag(&key.tag(&value(7))));
        assert!(!bundle.has_tag(&key.tag(&value(8))));
        let longer = Plaintext::born(4, |value| value.fill(7)).unwrap();
        assert!(!bundle.has_tag(&key.tag(&longer)));

        let [one, two] = [1, 2].map(|byte| SecretId::from_entropy([byte; 17]));
        let sealed = sender.seal_tag(&key.tag(&value(7)), one, Version(1));
        let opened = receiver(uid).open_tag(one, Version(1), &sealed).unwrap();
        assert!(bundle.has_tag(&opened));
        assert!(receiver(uid).open_tag(two, Version(1), &sealed).is_err(), "another secret");
        assert!(receiver(uid).open_tag(one, Version(2), &sealed).is_err(), "another version");
        assert!(receiver(other).open_tag(one, Version(1), &sealed).is_err(), "another caller");
        let other_bundle = {
            let payload = sender.seal(value(7), Operation::Create, &name);
            let digest = crate::ciphertext_digest(&payload.ciphertext);
            receiver(uid).open_dek(&payload, &digest, Operation::Create, &name).unwrap()
        };
        assert!(!other_bundle.has_tag(&opened), "each value has a key of its own");
    }
}
