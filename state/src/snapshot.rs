//! Snapshots: the whole state as bytes, the same on every manager.
//!
//! A header and then one item after the other, each `kind (1) ‖ length (u32) ‖ CBOR`, in order of
//! kind and id; written piece by piece, read piece by piece, so that neither side needs the whole
//! in one buffer. Derived indexes are not written. A reader of a later format than this version
//! knows stops.
//!
//! Invariant: `read(write(state)) == state`, and equal states write equal bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use proto::id::{
    BackupId, ConfigId, KeyId, MemberId, NetworkId, NodeId, OperatorId, PayloadId, RequestKey,
    Revision, SecretId, Serial, ServiceId, TaskId, Timestamp, TokenId,
};
use proto::identity::Principal;
use proto::limits::{CIPHERTEXT_BYTES_MAX, VERSIONS_MAX};
use sha2::Digest as _;

use crate::audit::{AuditLog, AuditRecord};
use crate::backup::Backup;
use crate::boot::Boot;
use crate::ca_rotation::CaRotations;
use crate::certificate_rotation::CertificateRotations;
use crate::log_keys::LogKeys;
use crate::object::{
    Certificate, Cluster, Config, Digest, Member, Network, Node, Operator, Secret, Service, Task,
    Token,
};
use crate::remembered::Remembered;
use crate::root_keys::RootKeys;
use crate::shredding::{Departed, Tombstone};
use crate::state::State;

/// The format this version writes, and the highest it reads.
pub(crate) const FORMAT: u16 = 1;

/// Largest item, in bytes: a secret with all its versions at the largest payload, and room.
const ITEM_BYTES_MAX: usize = 2 * VERSIONS_MAX * CIPHERTEXT_BYTES_MAX;

/// Bytes before each item.
const ITEM_HEAD_BYTES: usize = 5;

/// A snapshot cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It was written by a later version.
    #[error("the snapshot has format {0}, this version reads up to {FORMAT}")]
    Format(u16),
    /// The bytes are not a snapshot, or not a whole one.
    #[error("the snapshot is malformed: {0}")]
    Malformed(&'static str),
}

#[derive(Encode, Decode)]
struct Head {
    #[n(0)]
    format: u16,
    #[n(1)]
    index: u64,
    #[n(2)]
    now: Timestamp,
    #[n(3)]
    audit_chain: Digest,
}

/// Kinds of items, in the order in which they are written.
mod kind {
    pub(super) const HEAD: u8 = 0;
    pub(super) const CLUSTER: u8 = 1;
    pub(super) const MEMBER: u8 = 2;
    pub(super) const REMOVED_MEMBER: u8 = 3;
    pub(super) const NODE: u8 = 4;
    pub(super) const OPERATOR: u8 = 5;
    pub(super) const CERTIFICATE: u8 = 6;
    pub(super) const TOKEN: u8 = 7;
    pub(super) const SECRET: u8 = 8;
    pub(super) const SERVICE: u8 = 9;
    pub(super) const TASK: u8 = 10;
    pub(super) const NETWORK: u8 = 11;
    pub(super) const CONFIG: u8 = 12;
    pub(super) const PAYLOAD_SEEN: u8 = 13;
    pub(super) const REMEMBERED: u8 = 14;
    pub(super) const AUDIT: u8 = 15;
    pub(super) const LOG_KEYS: u8 = 60;
    pub(super) const ROOT_KEYS: u8 = 61;
    pub(super) const TOMBSTONE: u8 = 70;
    pub(super) const UNNAMED_TOMBSTONES: u8 = 71;
    pub(super) const DEPARTED_MEMBER: u8 = 72;
    pub(super) const BOOT: u8 = 62;
    pub(super) const BACKUP: u8 = 73;
    pub(super) const FORGOTTEN_BACKUPS: u8 = 74;
    pub(super) const RESTORED: u8 = 75;
    pub(super) const CA_ROTATIONS: u8 = 80;
    pub(super) const CERTIFICATE_ROTATIONS: u8 = 81;
    pub(super) const END: u8 = 255;
}

/// Writes one item after the other into `sink`.
struct Writer<'a, E> {
    sink: &'a mut dyn FnMut(&[u8]) -> Result<(), E>,
    buffer: Vec<u8>,
}

impl<E> Writer<'_, E> {
    fn item(&mut self, kind: u8, item: impl Encode<()>) -> Result<(), E> {
        self.buffer.clear();
        self.buffer.extend_from_slice(&[kind, 0, 0, 0, 0]);
        minicbor::encode(item, &mut self.buffer).expect("encoding into memory cannot fail");
        let length = u32::try_from(self.buffer.len() - ITEM_HEAD_BYTES)
            .expect("an item is bounded where its object is");
        if let Some(field) = self.buffer.get_mut(1..ITEM_HEAD_BYTES) {
            field.copy_from_slice(&length.to_be_bytes());
        }
        (self.sink)(&self.buffer)
    }

    fn items<K: Encode<()> + Copy, V: Encode<()>>(
        &mut self,
        kind: u8,
        objects: &std::collections::BTreeMap<K, Arc<V>>,
    ) -> Result<(), E> {
        objects.iter().try_for_each(|(id, object)| self.item(kind, (*id, &**object)))
    }
}

impl State {
    /// Writes the state, piece by piece.
    ///
    /// # Errors
    ///
    /// What `sink` returned first.
    pub fn write<E>(&self, sink: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut out = Writer { sink, buffer: Vec::new() };
        let audit_chain = self.audit.chain();
        let head = Head { format: FORMAT, index: self.index, now: self.now, audit_chain };
        out.item(kind::HEAD, head)?;
        if let Some(cluster) = &self.cluster {
            out.item(kind::CLUSTER, &**cluster)?;
        }
        out.items(kind::MEMBER, &self.members)?;
        for member in &self.removed_members {
            out.item(kind::REMOVED_MEMBER, *member)?;
        }
        out.items(kind::NODE, &self.nodes)?;
        out.items(kind::OPERATOR, &self.operators)?;
        out.items(kind::CERTIFICATE, &self.certificates)?;
        out.items(kind::TOKEN, &self.tokens)?;
        out.items(kind::SECRET, &self.secrets)?;
        out.items(kind::SERVICE, &self.services)?;
        out.items(kind::TASK, &self.tasks)?;
        out.items(kind::NETWORK, &self.networks)?;
        out.items(kind::CONFIG, &self.configs)?;
        for (key, payloads) in &self.payloads_seen {
            for payload in payloads.sorted_keys() {
                out.item(kind::PAYLOAD_SEEN, (*key, payload))?;
            }
        }
        for key in &self.remembered_order {
            if let Some(remembered) = self.remembered.get(key) {
                out.item(kind::REMEMBERED, (key.0, key.1, remembered))?;
            }
        }
        for (record, chain) in self.audit.records() {
            out.item(kind::AUDIT, (record, *chain))?;
        }
        if self.log_keys != LogKeys::default() {
            out.item(kind::LOG_KEYS, &self.log_keys)?;
        }
        if self.root_keys != RootKeys::default() {
            out.item(kind::ROOT_KEYS, &self.root_keys)?;
        }
        for (revision, tombstone) in &self.shredding.tombstones {
            out.item(kind::TOMBSTONE, (*revision, tombstone))?;
        }
        if let Some(unnamed) = &self.shredding.unnamed {
            out.item(kind::UNNAMED_TOMBSTONES, unnamed)?;
        }
        for (member, departed) in &self.shredding.departed {
            out.item(kind::DEPARTED_MEMBER, (*member, departed))?;
        }
        if self.boot != Boot::default() {
            out.item(kind::BOOT, &self.boot)?;
        }
        for (id, backup) in &self.backups.known {
            out.item(kind::BACKUP, (*id, backup))?;
        }
        if let Some(forgotten) = &self.backups.forgotten {
            out.item(kind::FORGOTTEN_BACKUPS, forgotten)?;
        }
        if let Some(restored) = &self.restored {
            out.item(kind::RESTORED, restored)?;
        }
        if self.ca_rotations != CaRotations::default() {
            out.item(kind::CA_ROTATIONS, &self.ca_rotations)?;
        }
        if self.certificate_rotations != CertificateRotations::default() {
            out.item(kind::CERTIFICATE_ROTATIONS, &self.certificate_rotations)?;
        }
        out.item(kind::END, ())
    }

    /// SHA-256 of the written state: equal on every manager after the same entry.
    pub fn digest(&self) -> Digest {
        let mut hash = sha2::Sha256::new();
        let written = self.write(&mut |piece| {
            hash.update(piece);
            Ok::<(), std::convert::Infallible>(())
        });
        match written {
            Ok(()) => Digest(hash.finalize().into()),
            Err(never) => match never {},
        }
    }
}

/// Reads a snapshot piece by piece.
#[derive(Default)]
pub struct SnapshotReader {
    pending: Vec<u8>,
    state: State,
    audit: VecDeque<(AuditRecord, Digest)>,
    audit_chain: Option<Digest>,
    ended: bool,
}

impl SnapshotReader {
    /// A reader before its first piece.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece, of any size.
    ///
    /// # Errors
    ///
    /// If the bytes so far are not the beginning of a snapshot that this version reads.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), SnapshotError> {
        self.pending.extend_from_slice(piece);
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.as_slice();
        while let Some((head, after)) = rest.split_first_chunk::<ITEM_HEAD_BYTES>() {
            let [kind, length @ ..] = *head;
            let length = u32::from_be_bytes(length) as usize;
            if length > ITEM_BYTES_MAX {
                return Err(SnapshotError::Malformed("an item is too large"));
            }
            let Some((item, next)) = after.split_at_checked(length) else { break };
            self.item(kind, item)?;
            rest = next;
        }
        self.pending = rest.to_vec();
        Ok(())
    }

    /// The state, once everything was fed.
    ///
    /// # Errors
    ///
    /// If the end is missing or something follows it.
    pub fn finish(mut self) -> Result<State, SnapshotError> {
        if !self.ended || !self.pending.is_empty() {
            return Err(SnapshotError::Malformed("it has no end"));
        }
        let chain = self.audit_chain.ok_or(SnapshotError::Malformed("it has no head"))?;
        self.state.audit = AuditLog::restore(chain, self.audit);
        self.state.rebuild_indexes();
        Ok(self.state)
    }

    fn item(&mut self, kind: u8, item: &[u8]) -> Result<(), SnapshotError> {
        if self.ended || (self.audit_chain.is_none() && kind != kind::HEAD) {
            return Err(SnapshotError::Malformed("an item is out of place"));
        }
        let state = &mut self.state;
        match kind {
            kind::HEAD => {
                let head: Head = decode(item)?;
                if head.format > FORMAT {
                    return Err(SnapshotError::Format(head.format));
                }
                state.index = head.index;
                state.now = head.now;
                self.audit_chain = Some(head.audit_chain);
            }
            kind::CLUSTER => state.cluster = Some(Arc::new(decode::<Cluster>(item)?)),
            kind::MEMBER => put(&mut state.members, decode::<(MemberId, Member)>(item)?),
            kind::REMOVED_MEMBER => {
                state.removed_members.insert(decode(item)?);
            }
            kind::NODE => put(&mut state.nodes, decode::<(NodeId, Node)>(item)?),
            kind::OPERATOR => put(&mut state.operators, decode::<(OperatorId, Operator)>(item)?),
            kind::CERTIFICATE => {
                put(&mut state.certificates, decode::<(Serial, Certificate)>(item)?);
            }
            kind::TOKEN => put(&mut state.tokens, decode::<(TokenId, Token)>(item)?),
            kind::SECRET => put(&mut state.secrets, decode::<(SecretId, Secret)>(item)?),
            kind::SERVICE => put(&mut state.services, decode::<(ServiceId, Service)>(item)?),
            kind::TASK => put(&mut state.tasks, decode::<(TaskId, Task)>(item)?),
            kind::NETWORK => put(&mut state.networks, decode::<(NetworkId, Network)>(item)?),
            kind::CONFIG => put(&mut state.configs, decode::<(ConfigId, Config)>(item)?),
            kind::PAYLOAD_SEEN => {
                let (key, payload): (KeyId, PayloadId) = decode(item)?;
                state.payloads_seen.entry(key).or_default().insert(payload, ());
            }
            kind::REMEMBERED => {
                let (principal, key, remembered): (Principal, RequestKey, Remembered) =
                    decode(item)?;
                state.remembered.insert((principal, key), remembered);
                state.remembered_order.push_back((principal, key));
            }
            kind::AUDIT => self.audit.push_back(decode(item)?),
            kind::LOG_KEYS => state.log_keys = decode(item)?,
            kind::ROOT_KEYS => state.root_keys = decode(item)?,
            kind::TOMBSTONE => {
                let (revision, tombstone): (Revision, Tombstone) = decode(item)?;
                state.shredding_mut().tombstones.insert(revision, tombstone);
            }
            kind::UNNAMED_TOMBSTONES => state.shredding_mut().unnamed = Some(decode(item)?),
            kind::DEPARTED_MEMBER => {
                let (member, departed): (MemberId, Departed) = decode(item)?;
                state.shredding_mut().departed.insert(member, departed);
            }
            kind::BOOT => state.boot = decode(item)?,
            kind::BACKUP => {
                let (id, backup): (BackupId, Backup) = decode(item)?;
                state.backups_mut().known.insert(id, backup);
            }
            kind::FORGOTTEN_BACKUPS => state.backups_mut().forgotten = Some(decode(item)?),
            kind::RESTORED => state.restored = Some(decode(item)?),
            kind::CA_ROTATIONS => state.ca_rotations = decode(item)?,
            kind::CERTIFICATE_ROTATIONS => state.certificate_rotations = decode(item)?,
            kind::END => self.ended = true,
            _ => return Err(SnapshotError::Malformed("an item is of an unknown kind")),
        }
        Ok(())
    }
}

fn put<K: Ord, V>(objects: &mut std::collections::BTreeMap<K, Arc<V>>, (id, object): (K, V)) {
    objects.insert(id, Arc::new(object));
}

fn decode<'b, T: Decode<'b, ()>>(item: &'b [u8]) -> Result<T, SnapshotError> {
    minicbor::decode(item).map_err(|_| SnapshotError::Malformed("an item does not decode"))
}
