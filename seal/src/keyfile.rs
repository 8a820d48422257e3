//! A manager's key file: everything that opens its disk, sealed to the operators' slots.
//!
//! Written whole each time with a fresh file key, which is sealed to each recipient (HPKE to the
//! slot's public half: a manager can write the file without being able to open it). Layout:
//!
//! ```text
//! magic (16) ‖ header length (u32) ‖ header (CBOR) ‖ commitment (32) ‖ body (sealed)
//! ```
//!
//! The header names cluster, incarnation, member, generation and recipients and is authenticated
//! by the body's context. The commitment, `HKDF(file key, "commit")`, is compared before anything
//! is decrypted: XChaCha20-Poly1305 does not commit to its key, and a file that a passphrase will
//! open must not double as an oracle (Len, Grubbs, Ristenpart, USENIX Security 2021).
//!
//! Not here: reading and writing the file (store), what opens a slot (store, secretctl).
//! Invariant: bytes that were not sealed for this member, generation and header do not open, and
//! all fail alike.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use proto::id::{Incarnation, KeyId, MemberId, NodeId, Realm};
use proto::sealed::{Encapsulation, WrappedKey};
use zeroize::Zeroizing;

use crate::context::{Context, Disk};
use crate::disk::LogKey;
use crate::hazmat::{self, KEY_BYTES};
use crate::key::{KeyBytes, key_pair, symmetric_key};
use crate::root::{RootKey, SigningKeyDer};
use crate::{OpenError, digest_of};

const MAGIC: &[u8; 16] = b"secretd key fil1";

/// Root keys, and log keys, that one file may hold: the live one, one being rotated in, and a few
/// that wait for a slow member.
pub const KEYS_MAX: usize = 16;

/// Recipients of one file: those that all members have, and the `peers` slot of its own.
pub const SLOTS_MAX: usize = 17;

/// Bytes of the largest key file.
pub const KEY_FILE_BYTES_MAX: usize = 64 << 10;

/// Bytes of the largest signing key in DER (ECDSA P-256 has 138, RSA 4096 2,400).
pub(crate) const SIGNING_KEY_BYTES_MAX: usize = 8 << 10;

symmetric_key!(
    /// The key of one writing of the key file.
    struct FileKey,
    "file"
);

key_pair!(
    /// What a slot recovers: the pair of its 32-byte seed.
    SlotSecretKey,
    SlotPublicKey,
    "slot"
);

impl SlotSecretKey {
    /// The pair of a slot's seed, 32 bytes that something outside keeps.
    pub fn derive_from_seed(seed: &[u8; KEY_BYTES]) -> Self {
        Self::derive(&KeyBytes::born(|bytes| bytes.copy_from_slice(seed)))
    }
}

impl SlotPublicKey {
    /// Whether a key file can be sealed to it: a point of low order agrees with nobody, and
    /// whoever takes a recipient in must know that before all managers have to follow.
    pub fn can_be_sealed_to(&self) -> bool {
        KeyBytes::try_born(|key| hazmat::encapsulate(self.key(), b"", key).map(|_| ())).is_ok()
    }
}

/// A fresh random seed for a slot, to be kept outside the key file; wiped on drop, and on the heap:
/// returning it leaves no copy on the stack.
pub fn make_slot_seed() -> Box<Zeroizing<[u8; KEY_BYTES]>> {
    let mut seed = Box::new(Zeroizing::new([0; KEY_BYTES]));
    hazmat::fill_random(&mut **seed);
    seed
}

/// How a slot's seed is recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum SlotKind {
    /// It is printed once, for an operator to keep.
    #[n(0)]
    UnlockKey,
    /// From a passphrase, through argon2id.
    #[n(1)]
    Passphrase,
    /// From k of n shares.
    #[n(2)]
    Shares,
    /// From a file beside the data folder.
    #[n(3)]
    File,
    /// From a command's output.
    #[n(4)]
    Command,
    /// From the living majority.
    #[n(5)]
    Peers,
}

impl SlotKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::UnlockKey, Self::Passphrase, Self::Shares, Self::File, Self::Command, Self::Peers];

    /// The kind of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The name in messages and in `unlocked_by`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnlockKey => "unlock-key",
            Self::Passphrase => "passphrase",
            Self::Shares => "shares",
            Self::File => "file",
            Self::Command => "command",
            Self::Peers => "peers",
        }
    }
}

/// Whom a key file is sealed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// How the slot's seed is recovered.
    pub kind: SlotKind,
    /// The slot's public half.
    pub public: SlotPublicKey,
    /// What recovering needs beside the secret: a salt, costs, a path. Public.
    pub parameters: Vec<u8>,
}

/// What a key file holds. Keys are shared with who uses them, so that the file can be written anew.
pub struct KeyFileContents {
    /// Root keys; those of a rotation in progress included.
    pub roots: Vec<Arc<RootKey>>,
    /// The one new wraps are made under.
    pub active_root: KeyId,
    /// Log keys, oldest first.
    pub logs: Vec<Arc<LogKey>>,
    /// The one new records are sealed under.
    pub active_log: KeyId,
    /// The private key of this manager's certificate.
    pub tls_key: SigningKeyDer,
}

#[derive(Encode, Decode)]
struct Slot {
    #[n(0)]
    kind: SlotKind,
    #[cbor(n(1), with = "minicbor::bytes")]
    public: Vec<u8>,
    #[cbor(n(2), with = "minicbor::bytes")]
    parameters: Vec<u8>,
    #[cbor(n(3), with = "minicbor::bytes")]
    encapsulation: Vec<u8>,
    #[n(4)]
    sealed_file_key: WrappedKey,
}

#[derive(Encode, Decode)]
struct Header {
    #[n(0)]
    realm: Realm,
    #[n(1)]
    incarnation: Incarnation,
    #[n(2)]
    member: MemberId,
    #[n(3)]
    node_id: NodeId,
    #[n(4)]
    generation: u64,
    #[n(5)]
    slots: Vec<Slot>,
}

/// Whose key file it is and how often its recipients changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFileOwner {
    /// Cluster, life and member.
    pub disk: Disk,
    /// The member's machine.
    pub node_id: NodeId,
    /// Counts changes of the recipients.
    pub generation: u64,
}

/// Seals a key file to its recipients.
///
/// # Errors
///
/// If a recipient's key is not one that can be agreed with.
pub fn seal(
    owner: &KeyFileOwner,
    recipients: &[Recipient],
    contents: &KeyFileContents,
) -> Result<Vec<u8>, OpenError> {
    assert!(!recipients.is_empty(), "a key file that nobody can open is a lost disk");
    assert!(recipients.len() <= SLOTS_MAX, "slots are bounded where they are added");
    let file_key = FileKey::make();
    let slots = recipients.iter().map(|recipient| seal_slot(owner, recipient, &file_key));
    let header = Header {
        realm: owner.disk.realm,
        incarnation: owner.disk.incarnation,
        member: owner.disk.member,
        node_id: owner.node_id,
        generation: owner.generation,
        slots: slots.collect::<Result<_, _>>()?,
    };
    let header = minicbor::to_vec(header).expect("encoding into memory cannot fail");
    let context = Context::KeyFile {
        disk: owner.disk,
        generation: owner.generation,
        header_digest: &digest_of(&header),
    };
    let body = write_body(contents);
    let body = hazmat::encrypt(file_key.bytes.bytes(), file_key.id(), &context.encode(), &[&body]);
    let length = u32::try_from(header.len()).expect("so few slots are a few KiB");
    Ok([&MAGIC[..], &length.to_be_bytes(), &header, &commitment(&file_key), &body].concat())
}

fn seal_slot(
    owner: &KeyFileOwner,
    recipient: &Recipient,
    file_key: &FileKey,
) -> Result<Slot, OpenError> {
    let context = slot_context(owner, recipient.public.id());
    let mut encapsulated = [0; 32];
    let key = KeyBytes::try_born(|key| {
        encapsulated = hazmat::encapsulate(recipient.public.key(), &context, key)?;
        Ok(())
    })?;
    let sealed = hazmat::encrypt(key.bytes(), key.id("slot"), &context, &[file_key.bytes.bytes()]);
    Ok(Slot {
        kind: recipient.kind,
        public: recipient.public.as_bytes().to_vec(),
        parameters: recipient.parameters.clone(),
        encapsulation: Encapsulation::x25519(&encapsulated).as_bytes().to_vec(),
        sealed_file_key: WrappedKey::new(sealed.into())
            .expect("what was just wrapped has a whole header"),
    })
}

fn slot_context(owner: &KeyFileOwner, slot_key_id: KeyId) -> Vec<u8> {
    Context::KeyFileSlot { disk: owner.disk, generation: owner.generation, slot_key_id }.encode()
}

fn commitment(file_key: &FileKey) -> [u8; 32] {
    let mut commitment = [0; 32];
    hazmat::hkdf(file_key.bytes.bytes(), b"secretd/1 commit", &mut commitment);
    commitment
}

/// A key file as read, not opened: it says whose it is and what opens it.
pub struct LockedKeyFile {
    owner: KeyFileOwner,
    recipients: Vec<Recipient>,
    slots: Vec<Slot>,
    header_digest: [u8; 32],
    commitment: [u8; 32],
    body: Vec<u8>,
}

/// The bytes are not a key file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a secretd key file, or one of a later format")]
pub struct NotAKeyFile;

impl LockedKeyFile {
    /// Reads a key file without opening it.
    ///
    /// # Errors
    ///
    /// If the bytes are not a key file of a known format. What it says is not authenticated yet.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotAKeyFile> {
        let bounded = bytes.len() <= KEY_FILE_BYTES_MAX;
        let rest = bytes.strip_prefix(MAGIC).filter(|_| bounded).ok_or(NotAKeyFile)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(NotAKeyFile)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (header_bytes, rest) = rest.split_at_checked(length).ok_or(NotAKeyFile)?;
        let (commitment, body) = rest.split_first_chunk::<32>().ok_or(NotAKeyFile)?;
        let header: Header = minicbor::decode(header_bytes).map_err(|_| NotAKeyFile)?;
        if header.slots.len() > SLOTS_MAX {
            return Err(NotAKeyFile);
        }
        let recipients = header.slots.iter().map(|slot| {
            Ok(Recipient {
                kind: slot.kind,
                public: SlotPublicKey::parse(slot.public.clone().into())
                    .map_err(|_| NotAKeyFile)?,
                parameters: slot.parameters.clone(),
            })
        });
        Ok(Self {
            owner: KeyFileOwner {
                disk: Disk {
                    realm: header.realm,
                    incarnation: header.incarnation,
                    member: header.member,
                },
                node_id: header.node_id,
                generation: header.generation,
            },
            recipients: recipients.collect::<Result<_, _>>()?,
            slots: header.slots,
            header_digest: digest_of(header_bytes),
            commitment: *commitment,
            body: body.to_vec(),
        })
    }

    /// Whose it claims to be; true once [`Self::open`] succeeded.
    pub const fn owner(&self) -> &KeyFileOwner {
        &self.owner
    }

    /// Whom it is sealed to.
    pub fn recipients(&self) -> &[Recipient] {
        &self.recipients
    }

    /// Opens the file with the key of one of its slots.
    ///
    /// # Errors
    ///
    /// Always the same one, whatever is wrong: not a recipient, a damaged file, a file of another
    /// member.
    pub fn open(&self, slot_key: &SlotSecretKey) -> Result<KeyFileContents, OpenError> {
        let id = slot_key.public().id();
        let at = self.recipients.iter().position(|r| r.public.id() == id).ok_or(OpenError)?;
        let slot = self.slots.get(at).ok_or(OpenError)?;
        let context = slot_context(&self.owner, id);
        let encapsulation =
            Encapsulation::new(slot.encapsulation.clone().into()).map_err(|_| OpenError)?;
        let key = KeyBytes::try_born(|key| {
            hazmat::decapsulate(slot_key.bytes.bytes(), encapsulation.key(), &context, key)
        })?;
        let bytes = hazmat::decrypt_exact::<KEY_BYTES>(
            key.bytes(),
            &context,
            slot.sealed_file_key.as_bytes(),
        )?;
        let file_key = FileKey::of(KeyBytes::born(|key| key.copy_from_slice(&**bytes)));
        if !hazmat::equal(&commitment(&file_key), &self.commitment) {
            return Err(OpenError);
        }
        let context = Context::KeyFile {
            disk: self.owner.disk,
            generation: self.owner.generation,
            header_digest: &self.header_digest,
        };
        let mut body = Zeroizing::new(self.body.clone());
        let opened =
            hazmat::decrypt_in_place(file_key.bytes.bytes(), &context.encode(), &mut body)?;
        read_body(opened)
    }
}

/// `count ‖ roots ‖ active id ‖ count ‖ logs ‖ active id ‖ length ‖ TLS key`, in a buffer made
/// once, since it holds keys.
fn write_body(contents: &KeyFileContents) -> Zeroizing<Vec<u8>> {
    let tls_key = contents.tls_key.expose();
    let keys = contents.roots.len() + contents.logs.len();
    let mut body =
        Zeroizing::new(Vec::with_capacity(2 + keys * KEY_BYTES + 32 + 4 + tls_key.len()));
    let capacity = body.capacity();
    body.push(u8::try_from(contents.roots.len()).expect("root keys are bounded"));
    for root in &contents.roots {
        body.extend_from_slice(root.master().bytes());
    }
    body.extend_from_slice(contents.active_root.as_bytes());
    body.push(u8::try_from(contents.logs.len()).expect("log keys are bounded"));
    for log in &contents.logs {
        body.extend_from_slice(log.master().bytes());
    }
    body.extend_from_slice(contents.active_log.as_bytes());
    let length = u32::try_from(tls_key.len()).expect("a signing key is a few KiB");
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(tls_key);
    assert_eq!(body.capacity(), capacity, "a buffer of keys is never grown");
    body
}

fn read_body(body: &[u8]) -> Result<KeyFileContents, OpenError> {
    let mut rest = body;
    let (roots, active_root) = read_keys(&mut rest)?;
    let (logs, active_log) = read_keys(&mut rest)?;
    let (length, tls_key) = rest.split_first_chunk::<4>().ok_or(OpenError)?;
    if u32::from_be_bytes(*length) as usize != tls_key.len()
        || tls_key.len() > SIGNING_KEY_BYTES_MAX
    {
        return Err(OpenError);
    }
    let contents = KeyFileContents {
        roots: roots.into_iter().map(|key| Arc::new(RootKey::of(key))).collect(),
        active_root,
        logs: logs.into_iter().map(|key| Arc::new(LogKey::of(key))).collect(),
        active_log,
        tls_key: SigningKeyDer::new(Zeroizing::new(Box::from(tls_key))),
    };
    let has_active = contents.roots.iter().any(|root| root.id() == active_root)
        && contents.logs.iter().any(|log| log.id() == active_log);
    if has_active { Ok(contents) } else { Err(OpenError) }
}

fn read_keys(rest: &mut &[u8]) -> Result<(Vec<KeyBytes>, KeyId), OpenError> {
    let (count, mut after) = rest.split_first().ok_or(OpenError)?;
    if usize::from(*count) > KEYS_MAX {
        return Err(OpenError);
    }
    let mut keys = Vec::with_capacity(usize::from(*count));
    for _ in 0..*count {
        let (key, next) = after.split_first_chunk::<KEY_BYTES>().ok_or(OpenError)?;
        keys.push(KeyBytes::born(|bytes| bytes.copy_from_slice(key)));
        after = next;
    }
    let (active, next) = after.split_first_chunk::<16>().ok_or(OpenError)?;
    *rest = next;
    Ok((keys, KeyId::from_bytes(*active)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_that_agrees_with_nobody_is_no_recipient() {
        let fine = SlotSecretKey::derive_from_seed(&make_slot_seed());
        assert!(fine.public().can_be_sealed_to());
        // Of low order (RFC 7748 §6.1): every private key agrees on zeros with it.
        for first in [0, 1] {
            let mut point = [0; 32];
            point[0] = first;
            let encoded = Encapsulation::x25519(&point).as_bytes().clone();
            assert!(!SlotPublicKey::parse(encoded).unwrap().can_be_sealed_to());
        }
    }

    #[test]
    fn kinds_are_known_by_their_names() {
        for kind in SlotKind::ALL {
            assert_eq!(SlotKind::of_name(kind.as_str()), Some(kind));
        }
        assert_eq!(SlotKind::of_name("keys"), None);
    }
}
