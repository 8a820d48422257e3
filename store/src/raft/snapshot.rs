//! Snapshot files: the written state, sealed chunk by chunk under this manager's log key.
//!
//! Layout: `magic (16) ‖ snapshot id (16)`, then chunks, each `length (u32) ‖ sealed`; chunk 0
//! holds the head (log id, membership, chain link), the last one says that it is the last. Written
//! beside the old one, made durable, then renamed; older ones are removed when a newer one stands.
//! A snapshot on the wire is the same pieces in clear inside TLS; each manager seals its own.
//!
//! Invariant: a file that opens to its end is whole and this manager's own.

use std::io;
use std::sync::Arc;

use prost::Message as _;
use proto::id::KeyId;
use proto::limits::SNAPSHOT_CHUNK_BYTES;
use proto::pb;
use seal::SEALED_OVERHEAD_BYTES;
use state::{SnapshotReader, State};

use super::codec::{log_id_from_pb, log_id_to_pb, membership_to_pb, stored_membership_from_pb};
use super::log::{FileKey, Link, LogKeys};
use super::type_config::SnapshotMeta;
use crate::disk::{Disk, DiskError, NewFile, RUNBOOK};

const MAGIC: &[u8; 16] = b"secretd snapshot";

/// How the names of snapshots on disk begin; the index, which follows, makes the newest the last.
pub(crate) const PREFIX: &str = "snapshot-";

/// A snapshot file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotFileError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Reading failed.
    #[error("cannot read snapshot {name}")]
    Read {
        /// Which file.
        name: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A chunk does not open.
    #[error(
        "chunk {chunk} of {name} failed authentication; this manager stops rather than serve a guess: {RUNBOOK}"
    )]
    Damaged {
        /// Which file.
        name: String,
        /// Which chunk.
        chunk: u64,
    },
    /// It opened, and is not a state this version reads.
    #[error("{name} cannot be read: {source}")]
    State {
        /// Which file.
        name: String,
        /// Why not.
        source: state::SnapshotError,
    },
}

impl From<SnapshotFileError> for io::Error {
    fn from(error: SnapshotFileError) -> Self {
        Self::other(error)
    }
}

/// Where a manager's snapshots are.
#[derive(Clone)]
pub(crate) struct Snapshots {
    disk: Arc<dyn Disk>,
    keys: Arc<LogKeys>,
}

/// A snapshot as openraft moves it around.
pub(crate) struct SnapshotData {
    /// Whose disk it is on, and sealed for.
    pub(crate) place: Snapshots,
    /// Its file there.
    pub(crate) name: String,
    /// Bytes of the written state.
    pub(crate) bytes: u64,
    /// The state, where it was just received and decoded.
    pub(crate) state: Option<Box<State>>,
    /// The chain's link at its last entry.
    pub(crate) link: Link,
}

/// What a file says of itself.
pub(crate) struct Head {
    pub(crate) meta: SnapshotMeta,
    pub(crate) link: Link,
}

pub(crate) fn head_to_pb(meta: &SnapshotMeta, link: &Link) -> pb::SnapshotHead {
    let membership = &meta.last_membership;
    pb::SnapshotHead {
        vote: None,
        last: meta.last_log_id.as_ref().map(log_id_to_pb),
        membership_id: membership.log_id().as_ref().map(log_id_to_pb),
        membership: Some(membership_to_pb(membership.membership())),
        chain_link: link.to_vec().into(),
        target: 0,
    }
}

pub(crate) fn head_from_pb(head: pb::SnapshotHead) -> io::Result<Head> {
    let meta = SnapshotMeta {
        last_log_id: head.last.map(log_id_from_pb),
        last_membership: stored_membership_from_pb(head.membership_id, head.membership)?,
    };
    let link = head.chain_link.as_ref().try_into().map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, "malformed snapshot: it has no chain link")
    })?;
    Ok(Head { meta, link })
}

/// Bytes of a file up to the end of its first chunk's header: magic, id, length, header and tag.
const START_BYTES: usize = 16 + 16 + 4 + SEALED_OVERHEAD_BYTES;

/// Under which key a snapshot file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotKey {
    /// The last entry it covers.
    pub(crate) index: u64,
    /// Its key; none if the file's beginning cannot be read.
    pub(crate) key: Option<KeyId>,
}

/// A snapshot file that is being written.
pub(crate) struct SnapshotWriter {
    file: Box<dyn NewFile>,
    place: Snapshots,
    key: FileKey,
    id: [u8; 16],
    number: u64,
    pending: Vec<u8>,
    bytes: u64,
    name: String,
    link: Link,
}

impl SnapshotWriter {
    /// Appends pieces of the written state.
    pub(crate) fn write(&mut self, mut piece: &[u8]) -> Result<(), DiskError> {
        self.bytes += piece.len() as u64;
        while !piece.is_empty() {
            if self.pending.len() == SNAPSHOT_CHUNK_BYTES {
                self.chunk(false)?;
            }
            let room = SNAPSHOT_CHUNK_BYTES - self.pending.len();
            let (now, later) = piece.split_at(piece.len().min(room));
            self.pending.extend_from_slice(now);
            piece = later;
        }
        Ok(())
    }

    fn chunk(&mut self, last: bool) -> Result<(), DiskError> {
        let (disk, key) = (self.place.keys.disk, self.key.key());
        let sealed = key.seal_chunk(disk, &self.id, self.number, last, &self.pending);
        let length = u32::try_from(sealed.len()).expect("a chunk is at most 256 KiB");
        self.file.write(&length.to_be_bytes())?;
        self.file.write(&sealed)?;
        self.number += 1;
        self.pending.clear();
        Ok(())
    }

    /// Makes the file durable under its name.
    pub(crate) fn finish(mut self) -> Result<SnapshotData, DiskError> {
        self.chunk(true)?;
        self.file.finish()?;
        let Self { place, name, bytes, link, .. } = self;
        Ok(SnapshotData { place, name, bytes, state: None, link })
    }
}

/// Reads a snapshot file chunk by chunk.
pub(crate) struct ChunkReader {
    file: Box<dyn io::Read + Send>,
    keys: Arc<LogKeys>,
    name: String,
    id: [u8; 16],
    number: u64,
    ended: bool,
}

impl ChunkReader {
    fn read_failed(&self, source: io::Error) -> SnapshotFileError {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            return SnapshotFileError::Damaged { name: self.name.clone(), chunk: self.number };
        }
        SnapshotFileError::Read { name: self.name.clone(), source }
    }

    /// The next chunk in clear; none after the last one.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, SnapshotFileError> {
        if self.ended {
            return Ok(None);
        }
        let damaged = SnapshotFileError::Damaged { name: self.name.clone(), chunk: self.number };
        let mut length = [0; 4];
        self.file.read_exact(&mut length).map_err(|source| self.read_failed(source))?;
        let length = u32::from_be_bytes(length) as usize;
        if length > SNAPSHOT_CHUNK_BYTES + SEALED_OVERHEAD_BYTES {
            return Err(damaged);
        }
        let mut sealed = vec![0; length];
        self.file.read_exact(&mut sealed).map_err(|source| self.read_failed(source))?;
        let keys = self.keys.clone();
        let Some(key) = keys.of(&sealed) else { return Err(damaged) };
        // Whether a chunk is the last is part of its context: try what it must be by its place.
        for last in [false, true] {
            let mut attempt = sealed.clone();
            let opened = key.open_chunk(keys.disk, &self.id, self.number, last, &mut attempt);
            if let Ok(opened) = opened {
                let opened = opened.to_vec();
                self.number += 1;
                self.ended = last;
                return Ok(Some(opened));
            }
        }
        Err(damaged)
    }
}

impl Snapshots {
    pub(crate) fn new(disk: Arc<dyn Disk>, keys: Arc<LogKeys>) -> Self {
        Self { disk, keys }
    }

    /// The keys that snapshots are sealed under.
    pub(crate) fn keys(&self) -> &LogKeys {
        &self.keys
    }

    /// Under which key each finished file is, as its first chunk says; oldest first.
    pub(crate) fn key_ids(&self) -> Result<Vec<SnapshotKey>, DiskError> {
        let mut ids = Vec::new();
        for name in self.disk.files(PREFIX)? {
            // It may be replaced by a newer one at this moment.
            let Some(mut file) = self.disk.open_file(&name)? else { continue };
            let mut start = [0; START_BYTES];
            let key = file.read_exact(&mut start).ok().and_then(|()| {
                start.get(START_BYTES - SEALED_OVERHEAD_BYTES..).and_then(seal::sealed_under)
            });
            let index = name.get(PREFIX.len()..PREFIX.len() + 20);
            let index = index.and_then(|index| index.parse().ok()).unwrap_or(0);
            ids.push(SnapshotKey { index, key });
        }
        Ok(ids)
    }

    /// Opens every chunk of the newest file; how many bytes that were.
    pub(crate) fn read_newest(&self) -> Result<u64, SnapshotFileError> {
        let Some(name) = self.disk.files(PREFIX)?.pop() else { return Ok(0) };
        let read = || -> Result<u64, SnapshotFileError> {
            let (_, mut chunks) = self.open(&name)?;
            let mut bytes = 0;
            while let Some(chunk) = chunks.next()? {
                bytes += chunk.len() as u64;
            }
            Ok(bytes)
        };
        match read() {
            // A newer one took its place meanwhile, and that one was just written.
            Err(_) if !self.disk.files(PREFIX)?.contains(&name) => Ok(0),
            other => other,
        }
    }

    /// Whether these are the same manager's snapshots.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.keys, &other.keys)
    }

    /// Begins the file of a snapshot.
    pub(crate) fn create(
        &self,
        meta: &SnapshotMeta,
        link: Link,
    ) -> Result<SnapshotWriter, DiskError> {
        let index = meta.last_log_id.map_or(0, |id| id.index);
        let term = meta.last_log_id.map_or(0, |id| id.leader_id.term);
        // Two snapshots of one entry hold one state: the later file may replace the earlier.
        let name = format!("{PREFIX}{index:020}-{term:020}");
        let id: [u8; 16] = seal::random();
        let mut file = self.disk.create_file(&name)?;
        file.write(MAGIC)?;
        file.write(&id)?;
        let (place, key) = (self.clone(), self.keys.for_file());
        let pending = head_to_pb(meta, &link).encode_to_vec();
        let mut writer =
            SnapshotWriter { file, place, key, id, number: 0, pending, bytes: 0, name, link };
        writer.chunk(false)?;
        Ok(writer)
    }

    /// Opens a file and reads its head.
    pub(crate) fn open(&self, name: &str) -> Result<(Head, ChunkReader), SnapshotFileError> {
        let damaged = || SnapshotFileError::Damaged { name: name.to_owned(), chunk: 0 };
        let mut file = self.disk.open_file(name)?.ok_or_else(damaged)?;
        let mut start = [0; 32];
        file.read_exact(&mut start).map_err(|_| damaged())?;
        let (magic, id) = start.split_at(16);
        let id: [u8; 16] = id.try_into().map_err(|_| damaged())?;
        if magic != MAGIC {
            return Err(damaged());
        }
        let keys = self.keys.clone();
        let name = name.to_owned();
        let mut chunks = ChunkReader { file, keys, name, id, number: 0, ended: false };
        let head = chunks.next()?.ok_or_else(damaged)?;
        let head = pb::SnapshotHead::decode(head.as_slice()).map_err(|_| damaged())?;
        Ok((head_from_pb(head).map_err(|_| damaged())?, chunks))
    }

    /// The newest file; older ones, which a crash may have left, are removed.
    pub(crate) fn newest(&self) -> Result<Option<String>, DiskError> {
        let mut names = self.disk.files(PREFIX)?;
        let newest = names.pop();
        for older in names {
            self.disk.remove_file(&older)?;
        }
        Ok(newest)
    }

    /// The head of the newest file, and its name. One that a newer one took the place of before it
    /// was opened is not the newest.
    pub(crate) fn head_of_newest(&self) -> Result<Option<(String, Head)>, SnapshotFileError> {
        loop {
            let Some(name) = self.disk.files(PREFIX)?.pop() else { return Ok(None) };
            match self.open(&name) {
                Ok((head, _)) => return Ok(Some((name, head))),
                Err(_) if !self.disk.files(PREFIX)?.contains(&name) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes the files that this one takes the place of: not a newer one, which was received
    /// meanwhile and waits to be installed.
    pub(crate) fn remove_older(&self, name: &str) -> Result<(), DiskError> {
        for other in self.disk.files(PREFIX)? {
            if other.as_str() < name {
                self.disk.remove_file(&other)?;
            }
        }
        Ok(())
    }

    /// Reads the whole state of a file.
    pub(crate) fn load(&self, name: &str) -> Result<(Head, State, u64), SnapshotFileError> {
        let (head, mut chunks) = self.open(name)?;
        let failed = |source| SnapshotFileError::State { name: name.to_owned(), source };
        let mut reader = SnapshotReader::new();
        let mut bytes = 0;
        while let Some(chunk) = chunks.next()? {
            bytes += chunk.len() as u64;
            reader.feed(&chunk).map_err(failed)?;
        }
        Ok((head, reader.finish().map_err(failed)?, bytes))
    }
}

#[cfg(test)]
mod tests {
    use proto::id::{Incarnation, MemberId, Realm};
    use seal::LogKey;
    use sys::file::Folder;

    use super::*;
    use crate::disk::SledDisk;
    use crate::raft::type_config::{LeaderId, LogId};

    /// A manager builds its own while one arrives, and reads the newest for a third.
    #[test]
    fn snapshots_are_built_installed_and_read_at_a_time() {
        const EACH: u64 = 100;
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::create_private(temp.path().join("data")).unwrap();
        let place = seal::Disk {
            realm: Realm::from_bytes([1; 16]),
            incarnation: Incarnation(1),
            member: MemberId(1),
        };
        let key = LogKey::make();
        let id = key.id();
        let keys = Arc::new(LogKeys::new(place, vec![key.into()], id));
        let snapshots = Snapshots::new(Arc::new(SledDisk::open(folder).unwrap()), keys);
        let write = |index| {
            let last_log_id = Some(LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index });
            let meta = SnapshotMeta { last_log_id, ..SnapshotMeta::default() };
            snapshots.create(&meta, [7; 32]).unwrap().finish().unwrap().name
        };
        write(0);
        std::thread::scope(|scope| {
            let built = scope.spawn(|| {
                for index in 1..=EACH {
                    write(2 * index);
                    snapshots.newest().unwrap();
                }
            });
            scope.spawn(|| {
                for index in 1..=EACH {
                    snapshots.remove_older(&write(2 * index + 1)).unwrap();
                }
            });
            while !built.is_finished() {
                snapshots.head_of_newest().unwrap();
            }
        });
        let (newest, _) = snapshots.head_of_newest().unwrap().unwrap();
        // One of before that is installed only now.
        snapshots.remove_older(&write(EACH)).unwrap();
        assert_eq!(snapshots.newest().unwrap(), Some(newest));
    }
}
