//! Log keys: what one manager's disk is encrypted under.
//!
//! Records, head blocks, small values and snapshot chunks, each under its own HKDF subkey and in a
//! context that names cluster, incarnation, member and place: a record moved to another index,
//! another manager or another life does not open. Every header carries the key's id, so a disk in
//! the middle of a rotation opens with the keys of the key file, by id.
//!
//! Also here: the chain, `link = SHA-256(context of the link ‖ entry)`, equal on all managers and
//! independent of keys, which tells a log that lost its tail from one that never had it.

use proto::id::{KeyId, MemberId};
use proto::sealed::{HEADER_BYTES, TAG_BYTES};

use crate::OpenError;
use crate::context::{Context, Disk};
use crate::hazmat::{self, Nonces};
use crate::key::KeyBytes;

/// A key of one manager, under which it encrypts its disk.
pub struct LogKey {
    master: KeyBytes,
    records: KeyBytes,
    heads: KeyBytes,
    metas: KeyBytes,
    snapshots: KeyBytes,
    id: KeyId,
}

/// Bytes that sealing adds to whatever is sealed here.
pub const SEALED_OVERHEAD_BYTES: usize = HEADER_BYTES + TAG_BYTES;

/// Bytes of a chain link.
pub const LINK_BYTES: usize = 32;

/// Which record of the log: part of its context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordPlace {
    /// Term of the entry.
    pub term: u64,
    /// Leader that made it.
    pub leader: MemberId,
    /// Its index.
    pub index: u64,
}

impl LogKey {
    /// A fresh random log key.
    pub fn make() -> Self {
        Self::of(KeyBytes::make())
    }

    pub(crate) fn of(master: KeyBytes) -> Self {
        Self {
            records: master.derive(b"secretd/1 log: records"),
            heads: master.derive(b"secretd/1 log: heads"),
            metas: master.derive(b"secretd/1 log: metas"),
            snapshots: master.derive(b"secretd/1 log: snapshots"),
            id: master.id("log"),
            master,
        }
    }

    pub(crate) fn master(&self) -> &KeyBytes {
        &self.master
    }

    /// Its id.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Seals one record: its chain link and its entry. The nonces are those of its group.
    pub fn seal_record(
        &self,
        disk: Disk,
        place: RecordPlace,
        link: &[u8; LINK_BYTES],
        entry: &[u8],
        nonces: &mut Nonces,
    ) -> Vec<u8> {
        let context = record_context(disk, place);
        let key = self.records.bytes();
        hazmat::encrypt_with(key, self.id, &context, nonces, &[link, entry])
    }

    /// Opens one record in place: its chain link and its entry.
    ///
    /// # Errors
    ///
    /// Always the same one, whatever is wrong.
    pub fn open_record<'a>(
        &self,
        disk: Disk,
        place: RecordPlace,
        sealed: &'a mut [u8],
    ) -> Result<(&'a [u8; LINK_BYTES], &'a [u8]), OpenError> {
        let context = record_context(disk, place);
        let opened = hazmat::decrypt_in_place(self.records.bytes(), &context, sealed)?;
        opened.split_first_chunk::<LINK_BYTES>().ok_or(OpenError)
    }

    /// Seals one block of the head file.
    pub fn seal_head(&self, disk: Disk, block: u64, head: &[u8]) -> Vec<u8> {
        let context = Context::Head { disk, block }.encode();
        hazmat::encrypt(self.heads.bytes(), self.id, &context, &[head])
    }

    /// Opens one block of the head file in place.
    ///
    /// # Errors
    ///
    /// Always the same one, whatever is wrong.
    pub fn open_head<'a>(
        &self,
        disk: Disk,
        block: u64,
        sealed: &'a mut [u8],
    ) -> Result<&'a [u8], OpenError> {
        let context = Context::Head { disk, block }.encode();
        hazmat::decrypt_in_place(self.heads.bytes(), &context, sealed).map(|opened| &*opened)
    }

    /// Seals a small named value.
    pub fn seal_meta(&self, disk: Disk, name: &str, value: &[u8]) -> Vec<u8> {
        let context = Context::Meta { disk, name }.encode();
        hazmat::encrypt(self.metas.bytes(), self.id, &context, &[value])
    }

    /// Opens a small named value in place.
    ///
    /// # Errors
    ///
    /// Always the same one, whatever is wrong.
    pub fn open_meta<'a>(
        &self,
        disk: Disk,
        name: &str,
        sealed: &'a mut [u8],
    ) -> Result<&'a [u8], OpenError> {
        let context = Context::Meta { disk, name }.encode();
        hazmat::decrypt_in_place(self.metas.bytes(), &context, sealed).map(|opened| &*opened)
    }

    /// Seals one chunk of a snapshot file. The last chunk says so, so that a file cut short at a
    /// chunk's end does not pass for a whole one.
    pub fn seal_chunk(
        &self,
        disk: Disk,
        snapshot: &[u8; 16],
        number: u64,
        last: bool,
        chunk: &[u8],
    ) -> Vec<u8> {
        let context = Context::SnapshotChunk { disk, snapshot, number, last }.encode();
        hazmat::encrypt(self.snapshots.bytes(), self.id, &context, &[chunk])
    }

    /// Opens one chunk of a snapshot file in place.
    ///
    /// # Errors
    ///
    /// Always the same one, whatever is wrong.
    pub fn open_chunk<'a>(
        &self,
        disk: Disk,
        snapshot: &[u8; 16],
        number: u64,
        last: bool,
        sealed: &'a mut [u8],
    ) -> Result<&'a [u8], OpenError> {
        let context = Context::SnapshotChunk { disk, snapshot, number, last }.encode();
        hazmat::decrypt_in_place(self.snapshots.bytes(), &context, sealed).map(|opened| &*opened)
    }
}

fn record_context(disk: Disk, place: RecordPlace) -> Vec<u8> {
    let RecordPlace { term, leader, index } = place;
    Context::LogRecord { disk, term, leader, index }.encode()
}

/// The id of the key that sealed these bytes; none if they are not sealed in a known format.
pub fn sealed_under(sealed: &[u8]) -> Option<KeyId> {
    hazmat::key_id_of(sealed)
}

/// The chain's next link: `SHA-256(context(previous, log id) ‖ entry)`.
pub fn chain_link(
    previous: &[u8; LINK_BYTES],
    place: RecordPlace,
    entry: &[u8],
) -> [u8; LINK_BYTES] {
    let RecordPlace { term, leader, index } = place;
    let context = Context::ChainLink { previous, term, leader, index }.encode();
    hazmat::sha256(&[&context, entry])
}
