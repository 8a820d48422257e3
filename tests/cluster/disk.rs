//! A thief with every current key: opens all that opens of a copy of a manager's data folder.
//!
//! Not by the store's own ways, which go by what is valid: every byte of every file is looked at,
//! sled's freed places and the journal among them, for anything that a log key of the key file
//! sealed. What opens is searched for data keys and transit keys, and they are used.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use memchr::memmem;
use proto::id::{KeyId, MemberId, SecretId, Version};
use proto::sealed::{StoredPayload, WrappedKey};
use seal::{KeyFileContents, LockedKeyFile, LogKey, RecordPlace, StoredAt, ciphertext_digest};

use crate::rotation::stolen_slot;

/// How a snapshot file begins.
const SNAPSHOT_MAGIC: &[u8] = b"secretd snapshot";

/// The small values of the log.
const METAS: [&str; 3] = ["vote", "purged", "committed"];

/// More than any of them, or a block of the head, has.
const SMALL_MAX: usize = 512;

/// Before a record's ciphertext: term, leader, pieces, length.
const RECORD_HEAD: usize = 8 + 8 + 2 + 4;

/// Bytes of a header before the id of the key: format, algorithm.
const BEFORE_ID: usize = 2;

/// Of a stored payload's encoding before the id of its wrap's key: an array of three; the payload
/// id as a byte string; a byte string's head of two bytes; format, algorithm.
const PAYLOAD_BEFORE_ID: usize = 1 + 17 + 2 + BEFORE_ID;

/// A transit private key under the root key.
const WRAPPED_TRANSIT: usize = 42 + 32 + 16;

/// What a copy of a disk gave.
#[derive(Default)]
pub(crate) struct Loot {
    /// Values that could be read, and in which files.
    pub(crate) values: BTreeMap<Vec<u8>, BTreeSet<String>>,
    /// Transit keys whose private halves could be read.
    pub(crate) transit: BTreeSet<KeyId>,
    /// Records that opened, copies of one counted each.
    pub(crate) records: usize,
    /// Small values and blocks of the head that opened.
    pub(crate) small: usize,
    /// Chunks of snapshots that opened.
    pub(crate) chunks: usize,
    /// What names a key of the key file and does not open: where.
    pub(crate) strange: Vec<String>,
}

/// A data folder's copy, its keys in hand.
struct Thief<'a> {
    disk: seal::Disk,
    keys: KeyFileContents,
    secrets: &'a [SecretId],
    transit: &'a [KeyId],
    /// Where records' copies stood, so that a second copy opens at once.
    known: BTreeMap<Vec<u8>, u64>,
    next: u64,
    last: u64,
    /// The file that is looked at.
    file: String,
    loot: Loot,
}

/// Opens what opens. `secrets` and `transit` are what is looked for; `last` the last record there
/// can be.
pub(crate) fn rob(copy: &Path, secrets: &[SecretId], transit: &[KeyId], last: u64) -> Loot {
    let file = LockedKeyFile::parse(&std::fs::read(copy.join("keys")).unwrap()).unwrap();
    let keys = file.open(&stolen_slot(copy)).unwrap();
    let disk = file.owner().disk;
    let known = BTreeMap::new();
    let (file, loot) = (String::new(), Loot::default());
    let mut thief = Thief { disk, keys, secrets, transit, known, next: 0, last, file, loot };
    thief.folder(copy);
    thief.loot
}

impl Thief<'_> {
    fn folder(&mut self, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                self.folder(&entry.path());
                continue;
            }
            let bytes = std::fs::read(entry.path()).unwrap();
            self.file = entry.file_name().to_string_lossy().into_owned();
            for key in self.keys.logs.clone() {
                if bytes.starts_with(SNAPSHOT_MAGIC) {
                    self.snapshot(&bytes, &key);
                } else {
                    self.sealed(&bytes, &key);
                }
            }
            // In clear it must not be either.
            self.search(&bytes);
        }
    }

    /// Everything that a key sealed, wherever it lies.
    fn sealed(&mut self, bytes: &[u8], key: &Arc<LogKey>) {
        for at in memmem::find_iter(bytes, key.id().as_bytes()) {
            let Some(from) = at.checked_sub(BEFORE_ID) else { continue };
            if self.record(bytes, from, key) {
                self.loot.records += 1;
            } else if self.small(&bytes[from..], key) {
                self.loot.small += 1;
            } else {
                self.loot.strange.push(format!("{} at {from}", self.file));
            }
        }
    }

    fn record(&mut self, bytes: &[u8], from: usize, key: &Arc<LogKey>) -> bool {
        let head = from.checked_sub(RECORD_HEAD).and_then(|head| bytes.get(head..from));
        let Some(head) = head else { return false };
        let number = |part: &[u8]| part.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
        let (term, leader) = (number(&head[..8]), MemberId(number(&head[8..16])));
        let length = usize::try_from(number(&head[18..])).unwrap();
        let Some(sealed) = bytes[from..].get(..length) else { return false };
        // At which index it is says only the place in a valid log.
        let likely = self.known.get(sealed).copied().unwrap_or(self.next);
        for index in std::iter::once(likely).chain(0..=self.last) {
            let mut opened = sealed.to_vec();
            let place = RecordPlace { term, leader, index };
            if let Ok((_, entry)) = key.open_record(self.disk, place, &mut opened) {
                let entry = entry.to_vec();
                self.search(&entry);
                self.next = index + 1;
                self.known.insert(sealed.to_vec(), index);
                return true;
            }
        }
        false
    }

    /// A small value of the log, or a block of the head file; they do not say how long they are.
    fn small(&self, bytes: &[u8], key: &Arc<LogKey>) -> bool {
        let lengths = (seal::SEALED_OVERHEAD_BYTES..=SMALL_MAX).filter_map(|to| bytes.get(..to));
        lengths.into_iter().any(|sealed| {
            let meta = |name: &&str| key.open_meta(self.disk, name, &mut sealed.to_vec()).is_ok();
            let head = |block: &u64| key.open_head(self.disk, *block, &mut sealed.to_vec()).is_ok();
            METAS.iter().any(meta) || [0, 1].iter().any(head)
        })
    }

    /// A file that is a snapshot under a key.
    fn snapshot(&mut self, bytes: &[u8], key: &Arc<LogKey>) {
        let after = &bytes[SNAPSHOT_MAGIC.len()..];
        let Some((id, mut rest)) = after.split_first_chunk::<16>() else { return };
        let mut whole = Vec::new();
        for number in 0.. {
            let Some((length, sealed)) = rest.split_first_chunk::<4>() else { break };
            let length = u32::from_be_bytes(*length) as usize;
            let Some((sealed, next)) = sealed.split_at_checked(length) else { break };
            for last in [false, true] {
                let mut sealed = sealed.to_vec();
                if let Ok(opened) = key.open_chunk(self.disk, id, number, last, &mut sealed) {
                    whole.extend_from_slice(opened);
                    self.loot.chunks += 1;
                }
            }
            rest = next;
        }
        self.search(&whole);
    }

    /// What was opened: wraps under a root key, and what they open.
    fn search(&mut self, opened: &[u8]) {
        for root in self.keys.roots.clone() {
            for at in memmem::find_iter(opened, root.id().as_bytes()) {
                let payload = at.checked_sub(PAYLOAD_BEFORE_ID).and_then(|from| opened.get(from..));
                let payload = payload.and_then(|it| minicbor::decode::<StoredPayload>(it).ok());
                if let Some(payload) = payload {
                    self.value(&root, &payload);
                }
                let wrap = opened.get(at - BEFORE_ID..).and_then(|it| it.get(..WRAPPED_TRANSIT));
                let Some(wrap) = wrap else { continue };
                let Ok(wrap) = WrappedKey::new(wrap.to_vec().into()) else { continue };
                let opens =
                    |id: &&KeyId| root.unwrap_transit_key(self.disk.realm, **id, &wrap).is_ok();
                self.loot.transit.extend(self.transit.iter().find(opens));
            }
        }
    }

    fn value(&mut self, root: &seal::RootKey, payload: &StoredPayload) {
        let digest = ciphertext_digest(&payload.ciphertext);
        for secret_id in self.secrets {
            let at = StoredAt {
                realm: self.disk.realm,
                secret_id: *secret_id,
                version: Version(1),
                payload_id: payload.payload_id,
            };
            let Ok(bundle) = root.unwrap_dek(&at, &digest, &payload.wrapped_dek) else { continue };
            let dek = bundle.into_dek();
            let value = dek.open(self.disk.realm, payload.payload_id, &payload.ciphertext);
            let value = value.unwrap().expose().to_vec();
            self.loot.values.entry(value).or_default().insert(self.file.clone());
        }
    }
}
