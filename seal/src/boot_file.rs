//! The boot file: what a manager keeps beside its key file, so that its peers can open that.
//!
//! Of one generation, or of two while the manager turns to the next: its own half, the boot key and
//! that key's certificate. It is in clear, as an unlock seed is, and protects what the place it lies
//! in protects. Layout, numbers big endian:
//!
//! ```text
//! magic (16) ‖ realm (16) ‖ incarnation (u64) ‖ member (u64) ‖ count (1) ‖ generations ‖ SHA-256 (32)
//! generation = number (u64) ‖ own half (32) ‖ length (u32) ‖ boot key ‖ length (u32) ‖ certificate
//! ```
//!
//! The digest tells a damaged file from a wrong one. It is no protection: whoever can write the file
//! can make another, which opens nothing.
//!
//! Where a secret of 32 bytes is at hand, from a credential or a TPM, the file is sealed under a key
//! that is derived from it, and protects what that protects:
//!
//! ```text
//! magic (16) ‖ realm (16) ‖ incarnation (u64) ‖ member (u64) ‖ the file as above, sealed
//! ```
//!
//! Not here: reading and writing it (store).
//!
//! Invariant: one or two generations, the later one last; a file has one encoding; one that is
//! sealed opens for the disk that it names only.

use bytes::Bytes;
use proto::id::{Incarnation, MemberId, Realm};
use zeroize::Zeroizing;

use crate::context::{Context, Disk};
use crate::hazmat::{self, KEY_BYTES};
use crate::key::KeyBytes;
use crate::keyfile::SIGNING_KEY_BYTES_MAX;
use crate::peers::OwnHalf;
use crate::root::SigningKeyDer;

const MAGIC: &[u8; 16] = b"secretd bootfil1";

const DIGEST_BYTES: usize = 32;

/// Bytes of the largest certificate; ours have under 1 KiB.
const CERTIFICATE_BYTES_MAX: usize = 4 << 10;

/// Bytes of the largest boot file.
pub const BOOT_FILE_BYTES_MAX: usize = 32 << 10;

const SEALED_MAGIC: &[u8; 16] = b"secretd bootsea1";

/// Bytes of the secret that a boot file's key is derived from.
pub const BOOT_FILE_SECRET_BYTES: usize = 32;

/// What a boot file is sealed under.
pub struct BootFileKey(KeyBytes);

impl BootFileKey {
    /// The key of a secret that something outside keeps.
    pub fn derive_from_secret(secret: &[u8; BOOT_FILE_SECRET_BYTES]) -> Self {
        let secret = KeyBytes::born(|bytes| bytes.copy_from_slice(secret));
        Self(secret.derive(b"secretd/1 boot file"))
    }
}

/// Generations of one file: the one that the key file is of, and the next.
const GENERATIONS_MAX: usize = 2;

/// The bytes are not a boot file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a secretd boot file, one of a later format, or damaged")]
pub struct NotABootFile;

/// What a manager keeps of one generation.
pub struct BootEntry {
    /// Its number.
    pub generation: u64,
    /// The half of the slot's seed that is the manager's.
    pub own: OwnHalf,
    /// What it asks with.
    pub key: SigningKeyDer,
    /// The certificate of that key, DER.
    pub certificate: Bytes,
}

/// A boot file's contents.
pub struct BootFile {
    disk: Disk,
    /// One or two, in order of their numbers.
    entries: Vec<BootEntry>,
}

impl BootFile {
    /// Of a manager that begins its first turn.
    pub fn new(disk: Disk, first: BootEntry) -> Self {
        Self { disk, entries: vec![first] }
    }

    /// Whose it is, as it says.
    pub const fn disk(&self) -> &Disk {
        &self.disk
    }

    /// What is kept of a generation: the one that the key file is of.
    pub fn entry(&self, generation: u64) -> Option<&BootEntry> {
        self.entries.iter().find(|entry| entry.generation == generation)
    }

    /// The same, to be used; others are wiped.
    pub fn into_entry(self, generation: u64) -> Option<BootEntry> {
        self.entries.into_iter().find(|entry| entry.generation == generation)
    }

    /// The file before the key file is sealed to `next`: it and what is `held` are kept, and nothing
    /// else.
    #[must_use]
    pub fn turning(mut self, held: Option<u64>, next: BootEntry) -> Self {
        let number = next.generation;
        self.entries.retain(|entry| Some(entry.generation) == held && entry.generation < number);
        self.entries.push(next);
        self
    }

    /// The file after the turn to a generation: others are wiped. None if it has not that one.
    pub fn turned(mut self, generation: u64) -> Option<Self> {
        self.entries.retain(|entry| entry.generation == generation);
        (!self.entries.is_empty()).then_some(self)
    }

    /// The file, in a buffer made once, since it holds keys.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let size = |entry: &BootEntry| {
            8 + KEY_BYTES + 4 + entry.key.expose().len() + 4 + entry.certificate.len()
        };
        let head = MAGIC.len() + 16 + 8 + 8 + 1;
        let size = head + self.entries.iter().map(size).sum::<usize>() + DIGEST_BYTES;
        let mut bytes = Zeroizing::new(Vec::with_capacity(size));
        let capacity = bytes.capacity();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(self.disk.realm.as_bytes());
        bytes.extend_from_slice(&self.disk.incarnation.0.to_be_bytes());
        bytes.extend_from_slice(&self.disk.member.0.to_be_bytes());
        bytes.push(u8::try_from(self.entries.len()).expect("there are two at most"));
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.generation.to_be_bytes());
            bytes.extend_from_slice(entry.own.bytes());
            for part in [entry.key.expose(), &entry.certificate] {
                let length = u32::try_from(part.len()).expect("keys and certificates are short");
                bytes.extend_from_slice(&length.to_be_bytes());
                bytes.extend_from_slice(part);
            }
        }
        let digest = hazmat::sha256(&[&bytes]);
        bytes.extend_from_slice(&digest);
        assert_eq!(bytes.capacity(), capacity, "a buffer of keys is never grown");
        bytes
    }

    /// The file, sealed.
    pub fn seal(&self, key: &BootFileKey) -> Vec<u8> {
        let context = Context::BootFile { disk: self.disk }.encode();
        let id = key.0.id("boot file");
        let sealed = hazmat::encrypt(key.0.bytes(), id, &context, &[&self.to_bytes()]);
        let Disk { realm, incarnation, member } = self.disk;
        let (incarnation, member) = (incarnation.0.to_be_bytes(), member.0.to_be_bytes());
        [SEALED_MAGIC, &realm.as_bytes()[..], &incarnation, &member, &sealed].concat()
    }

    /// Whether bytes begin as a boot file does, whatever follows.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC) || Self::is_sealed(bytes)
    }

    /// Whether bytes are those of a file that is sealed.
    pub fn is_sealed(bytes: &[u8]) -> bool {
        bytes.starts_with(SEALED_MAGIC)
    }

    /// Reads what [`Self::seal`] wrote.
    ///
    /// # Errors
    ///
    /// Always the same one, whatever is wrong: another key, another disk's, a damaged one.
    pub fn open(bytes: &[u8], key: &BootFileKey) -> Result<Self, NotABootFile> {
        let mut rest = bytes.strip_prefix(SEALED_MAGIC).ok_or(NotABootFile)?;
        if bytes.len() > BOOT_FILE_BYTES_MAX {
            return Err(NotABootFile);
        }
        let disk = disk(&mut rest)?;
        let context = Context::BootFile { disk }.encode();
        let mut buffer = Zeroizing::new(rest.to_vec());
        let opened = hazmat::decrypt_in_place(key.0.bytes(), &context, &mut buffer);
        let file = Self::parse(opened.map_err(|_| NotABootFile)?)?;
        if file.disk == disk { Ok(file) } else { Err(NotABootFile) }
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    ///
    /// If it is not that, whole and undamaged.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotABootFile> {
        let (content, digest) = bytes.split_last_chunk::<DIGEST_BYTES>().ok_or(NotABootFile)?;
        if bytes.len() > BOOT_FILE_BYTES_MAX || hazmat::sha256(&[content]) != *digest {
            return Err(NotABootFile);
        }
        let mut rest = content.strip_prefix(MAGIC).ok_or(NotABootFile)?;
        let disk = disk(&mut rest)?;
        let [count] = *take::<1>(&mut rest)?;
        if !(1..=GENERATIONS_MAX).contains(&usize::from(count)) {
            return Err(NotABootFile);
        }
        let mut entries: Vec<BootEntry> = Vec::with_capacity(GENERATIONS_MAX);
        for _ in 0..count {
            let generation = number(&mut rest)?;
            if entries.last().map_or(0, |entry| entry.generation) >= generation {
                return Err(NotABootFile);
            }
            let own = take::<KEY_BYTES>(&mut rest)?;
            let own = OwnHalf::of(KeyBytes::born(|half| half.copy_from_slice(own)));
            let key = part(&mut rest, SIGNING_KEY_BYTES_MAX)?;
            let key = SigningKeyDer::new(Zeroizing::new(Box::from(key)));
            let certificate = Bytes::copy_from_slice(part(&mut rest, CERTIFICATE_BYTES_MAX)?);
            entries.push(BootEntry { generation, own, key, certificate });
        }
        if rest.is_empty() { Ok(Self { disk, entries }) } else { Err(NotABootFile) }
    }
}

fn disk(rest: &mut &[u8]) -> Result<Disk, NotABootFile> {
    Ok(Disk {
        realm: Realm::from_bytes(*take::<16>(rest)?),
        incarnation: Incarnation(number(rest)?),
        member: MemberId(number(rest)?),
    })
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N], NotABootFile> {
    let (taken, after) = rest.split_first_chunk::<N>().ok_or(NotABootFile)?;
    *rest = after;
    Ok(taken)
}

fn number(rest: &mut &[u8]) -> Result<u64, NotABootFile> {
    take::<8>(rest).map(|bytes| u64::from_be_bytes(*bytes))
}

/// `length (u32) ‖ bytes`, at most `max` of them.
fn part<'a>(rest: &mut &'a [u8], max: usize) -> Result<&'a [u8], NotABootFile> {
    let length = u32::from_be_bytes(*take::<4>(rest)?) as usize;
    let (part, after) =
        rest.split_at_checked(length).filter(|_| length <= max).ok_or(NotABootFile)?;
    *rest = after;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: Disk = Disk {
        realm: Realm::from_bytes([4; 16]),
        incarnation: Incarnation(5),
        member: MemberId(6),
    };

    fn entry(generation: u64, key_bytes: usize, certificate_bytes: usize) -> BootEntry {
        BootEntry {
            generation,
            own: OwnHalf::of(KeyBytes::born(|half| half.fill(generation.to_be_bytes()[7]))),
            key: SigningKeyDer::new(Zeroizing::new(vec![8; key_bytes].into())),
            certificate: vec![9; certificate_bytes].into(),
        }
    }

    fn numbers(file: &BootFile) -> Vec<u64> {
        file.entries.iter().map(|entry| entry.generation).collect()
    }

    /// The digest made anew, so that only what is under it is wrong.
    fn with_digest(content: &[u8]) -> Vec<u8> {
        [content, &hazmat::sha256(&[content])].concat()
    }

    #[test]
    fn a_boot_file_survives_its_bytes_and_no_damage() {
        let file = BootFile::new(DISK, entry(30, 138, 600)).turning(Some(30), entry(31, 138, 500));
        let bytes = file.to_bytes();
        let read = BootFile::parse(&bytes).unwrap();
        assert_eq!((read.disk(), numbers(&read)), (&DISK, vec![30, 31]));
        let later = read.entry(31).unwrap();
        assert_eq!(later.own.bytes(), &[31; 32]);
        assert_eq!((later.key.expose(), &later.certificate[..]), (&[8; 138][..], &[9; 500][..]));
        assert!(read.entry(32).is_none());
        assert_eq!(*read.to_bytes(), *bytes);
        for at in 0..bytes.len() {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1;
            assert_eq!(BootFile::parse(&flipped).err(), Some(NotABootFile), "byte {at}");
        }
        for length in 0..bytes.len() {
            assert_eq!(BootFile::parse(&bytes[..length]).err(), Some(NotABootFile));
        }
    }

    #[test]
    fn a_sealed_boot_file_opens_with_its_key_for_its_disk_only() {
        let file = BootFile::new(DISK, entry(30, 138, 600));
        let key = BootFileKey::derive_from_secret(&[7; 32]);
        let sealed = file.seal(&key);
        assert!(BootFile::is_sealed(&sealed) && !BootFile::is_sealed(&file.to_bytes()));
        assert_eq!(*BootFile::open(&sealed, &key).unwrap().to_bytes(), *file.to_bytes());
        assert!(!sealed.windows(32).any(|part| part == [30; 32]), "its own half is not there");
        let other = BootFileKey::derive_from_secret(&[8; 32]);
        assert_eq!(BootFile::open(&sealed, &other).err(), Some(NotABootFile));
        assert_eq!(BootFile::parse(&sealed).err(), Some(NotABootFile));
        assert_eq!(BootFile::open(&file.to_bytes(), &key).err(), Some(NotABootFile));
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert_eq!(BootFile::open(&flipped, &key).err(), Some(NotABootFile), "byte {at}");
            assert_eq!(BootFile::open(&sealed[..at], &key).err(), Some(NotABootFile));
        }
    }

    #[test]
    fn what_is_well_digested_is_within_bounds_all_the_same() {
        let parse = |content: &[u8]| BootFile::parse(&with_digest(content)).map(|_| ());
        let content = |file: &BootFile| {
            let bytes = file.to_bytes();
            bytes[..bytes.len() - DIGEST_BYTES].to_vec()
        };
        let large = |generation| entry(generation, SIGNING_KEY_BYTES_MAX, CERTIFICATE_BYTES_MAX);
        let largest = BootFile::new(DISK, large(1)).turning(Some(1), large(2));
        assert!(largest.to_bytes().len() <= BOOT_FILE_BYTES_MAX);
        assert_eq!(parse(&content(&largest)), Ok(()));
        let refused = Err(NotABootFile);
        for (key, certificate) in [(SIGNING_KEY_BYTES_MAX + 1, 1), (1, CERTIFICATE_BYTES_MAX + 1)] {
            let larger = BootFile::new(DISK, entry(1, key, certificate));
            assert_eq!(parse(&content(&larger)), refused);
        }
        let good = content(&BootFile::new(DISK, entry(1, 4, 4)));
        assert_eq!(parse(&good), Ok(()));
        assert_eq!(parse(&[&good[..], &[0]].concat()), refused);
        // How many there are stands at 48, the number of the first after it.
        for (at, to) in [(48, 0), (48, 2), (48, 3), (56, 0), (0, b'S')] {
            let mut strange = good.clone();
            strange[at] = to;
            assert_eq!(parse(&strange), refused, "{at}");
        }
        let turned = BootFile { disk: DISK, entries: vec![entry(2, 4, 4), entry(2, 4, 4)] };
        assert_eq!(parse(&content(&turned)), refused, "not in order");
    }

    #[test]
    fn a_turn_keeps_what_the_key_file_may_be_of_and_nothing_else() {
        let file = || BootFile::new(DISK, entry(30, 4, 4));
        assert_eq!(numbers(&file().turning(Some(30), entry(40, 4, 4))), [30, 40]);
        // A turn before this one was cut short.
        let cut = || file().turning(Some(30), entry(40, 4, 4));
        assert_eq!(numbers(&cut().turning(Some(30), entry(50, 4, 4))), [30, 50]);
        assert_eq!(numbers(&cut().turning(Some(40), entry(50, 4, 4))), [40, 50]);
        assert_eq!(numbers(&cut().turning(None, entry(50, 4, 4))), [50]);
        assert_eq!(numbers(&cut().turned(40).unwrap()), [40]);
        assert!(cut().turned(41).is_none());
    }
}
