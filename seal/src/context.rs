//! The one encoder of contexts: what binds a ciphertext, a signature or a hash to its place.
//!
//! Encoding: domain (length-prefixed text) ‖ format (u16) ‖ each field as type tag ‖ u32 length ‖
//! bytes, big endian, in the order of the variant. Fixed per kind, self-delimiting, so two
//! different contexts never encode alike (property-tested; the table stands in
//! docs/design/contexts.md and is compared with this file by a test).
//!
//! Two identities are in them. The **realm** is for ever and binds payloads and keys to one
//! cluster. The **incarnation** rises with every restore and binds what is local to one manager,
//! or one session, to the cluster's present life.

use proto::id::{
    BackupId, Incarnation, KeyId, MemberId, NodeId, PayloadId, Realm, RequestKey, SecretId,
    SessionId, TaskId, TokenId, Version,
};
use proto::identity::Principal;
use proto::name::FoldedName;

/// The format of every context below. A changed field list is a new format.
const FORMAT: u16 = 1;

/// Where a ciphertext, signature or hash belongs. One variant a kind; the fields are the context.
#[derive(Clone, Copy)]
pub enum Context<'a> {
    /// A payload under its DEK: nothing that a manager assigns.
    Payload {
        /// The cluster.
        realm: Realm,
        /// Chosen by the sealer.
        payload_id: PayloadId,
    },
    /// HPKE info of a client's connection to the transit key.
    TransitSetup {
        /// The cluster.
        realm: Realm,
        /// The key.
        transit_key_id: KeyId,
        /// Who the service takes the caller for.
        principal: Principal,
    },
    /// A DEK on its way from a client to the service. Rebuilt from the request, never read from
    /// the message: a captured box is worth nothing to another caller, under another name, or
    /// with another ciphertext.
    TransitDek {
        /// The cluster.
        realm: Realm,
        /// The key the connection was set up to.
        transit_key_id: KeyId,
        /// The payload.
        payload_id: PayloadId,
        /// SHA-256 of its ciphertext.
        ciphertext_digest: &'a [u8; 32],
        /// What is asked for.
        operation: Operation,
        /// The secret's name, folded.
        name: &'a FoldedName,
        /// The caller.
        principal: Principal,
    },
    /// A DEK under the root key, in the state.
    StoredDek {
        /// The cluster.
        realm: Realm,
        /// The secret.
        secret_id: SecretId,
        /// Which of its values.
        version: Version,
        /// The payload.
        payload_id: PayloadId,
        /// SHA-256 of its ciphertext.
        ciphertext_digest: &'a [u8; 32],
    },
    /// The CA's private key under the root key.
    CaKey {
        /// The cluster.
        realm: Realm,
        /// SHA-256 of its public key.
        ca_digest: &'a [u8; 32],
    },
    /// A transit private key under the root key.
    TransitKey {
        /// The cluster.
        realm: Realm,
        /// The key.
        transit_key_id: KeyId,
    },
    /// The CA's signature over a transit public key.
    TransitAnnouncement {
        /// The cluster.
        realm: Realm,
        /// The key.
        transit_key_id: KeyId,
        /// KEM id and key.
        public_key: &'a [u8],
        /// When it ends, in milliseconds since the epoch.
        not_after_ms: u64,
    },
    /// One record of a manager's log.
    LogRecord {
        /// Whose disk.
        disk: Disk,
        /// Term of the entry.
        term: u64,
        /// Leader that made it.
        leader: MemberId,
        /// Its index.
        index: u64,
    },
    /// One block of a manager's head file.
    Head {
        /// Whose disk.
        disk: Disk,
        /// Which of the two blocks.
        block: u64,
    },
    /// A small named value of a manager's disk.
    Meta {
        /// Whose disk.
        disk: Disk,
        /// Its name.
        name: &'a str,
    },
    /// One chunk of a manager's snapshot file.
    SnapshotChunk {
        /// Whose disk.
        disk: Disk,
        /// Random, of the file.
        snapshot: &'a [u8; 16],
        /// Which chunk.
        number: u64,
        /// Whether it is the last.
        last: bool,
    },
    /// The body of a manager's key file.
    KeyFile {
        /// Whose disk.
        disk: Disk,
        /// How often the recipients changed.
        generation: u64,
        /// SHA-256 of the header, recipients and all.
        header_digest: &'a [u8; 32],
    },
    /// The file key of a key file, sealed to one slot; HPKE info and associated data.
    KeyFileSlot {
        /// Whose disk.
        disk: Disk,
        /// How often the recipients changed.
        generation: u64,
        /// The slot's key.
        slot_key_id: KeyId,
    },
    /// HPKE info of a session between a dispatcher and an agent.
    Session {
        /// The cluster.
        realm: Realm,
        /// Its life.
        incarnation: Incarnation,
        /// The agent's node.
        node_id: NodeId,
        /// SHA-256 of the public key in the agent's certificate.
        certificate_key_digest: &'a [u8; 32],
        /// Random, of the dispatcher.
        session_id: SessionId,
        /// KEM id and key.
        session_public_key: &'a [u8],
    },
    /// A DEK on its way from a dispatcher to an agent.
    Delivery {
        /// Counts the deliveries of the session from 1.
        message_number: u64,
        /// The task it is for.
        task_id: TaskId,
        /// The secret.
        secret_id: SecretId,
        /// Which of its values.
        version: Version,
        /// The payload.
        payload_id: PayloadId,
        /// SHA-256 of its ciphertext.
        ciphertext_digest: &'a [u8; 32],
    },
    /// HPKE info of a member's fetch of root keys.
    RootFetch {
        /// The cluster.
        realm: Realm,
        /// Its life.
        incarnation: Incarnation,
        /// The member that asked.
        member: MemberId,
        /// KEM id and key it made for the call.
        public_key: &'a [u8],
    },
    /// HPKE info of a call that brings a backup's root key.
    BackupKey {
        /// The cluster.
        realm: Realm,
        /// The life of it that the backup is of.
        incarnation: Incarnation,
        /// The backup.
        backup_id: BackupId,
        /// SHA-256 of its copy of the state.
        copy_digest: &'a [u8; 32],
        /// Out of the cluster, or into it.
        way: BackupWay,
        /// KEM id and key that was made for the call.
        public_key: &'a [u8],
    },
    /// One root key on its way to a member, or a backup's in its call.
    RootKey {
        /// Which.
        root_key_id: KeyId,
    },
    /// The hash of a join token's secret part, as the state keeps it.
    Token {
        /// The cluster.
        realm: Realm,
        /// The token.
        token_id: TokenId,
    },
    /// What a join token is derived from.
    TokenRequest {
        /// The cluster.
        realm: Realm,
        /// Who asked for it.
        principal: Principal,
        /// With which key.
        request_key: RequestKey,
    },
    /// What the hash of a share begins with.
    Share {
        /// The split.
        split: &'a [u8; 8],
        /// Which share it is, from 1.
        number: u64,
        /// How many are needed.
        needed: u64,
        /// How many there are.
        of: u64,
    },
    /// A boot file that is sealed.
    BootFile {
        /// Whose.
        disk: Disk,
    },
    /// An unlock key on its way to the cluster: in a client's connection to the transit key.
    SentUnlockKey {
        /// The cluster.
        realm: Realm,
        /// The key the connection was set up to.
        transit_key_id: KeyId,
        /// Which unlock key.
        unlock_key_id: KeyId,
        /// The caller.
        principal: Principal,
    },
    /// The tag of a value that is to be compared with the stored one: in a client's connection to the
    /// transit key.
    SentCompareTag {
        /// The cluster.
        realm: Realm,
        /// The key the connection was set up to.
        transit_key_id: KeyId,
        /// Which secret.
        secret_id: SecretId,
        /// Which value of it.
        version: Version,
        /// The caller.
        principal: Principal,
    },
    /// An unlock key under the root key.
    KeptUnlockKey {
        /// The cluster.
        realm: Realm,
        /// Which unlock key.
        unlock_key_id: KeyId,
    },
    /// An unlock key on its way back to who reads it.
    ReadBack {
        /// The cluster.
        realm: Realm,
        /// Which unlock key.
        unlock_key_id: KeyId,
        /// Who reads it.
        principal: Principal,
        /// The key pair of the call: KEM id and public half.
        public_key: &'a [u8],
    },
    /// The private half of a member's peer key under the root key.
    PeerKey {
        /// The cluster.
        realm: Realm,
        /// Whose disk it helps to open.
        member: MemberId,
        /// The key.
        peer_key_id: KeyId,
    },
    /// The peers' half of a slot, sealed to a peer key; HPKE info and associated data.
    PeerBox {
        /// Whose disk.
        disk: Disk,
        /// Of which generation.
        generation: u64,
        /// The key it is sealed to.
        peer_key_id: KeyId,
    },
    /// The seed of a slot that peers help to open.
    PeerSlot {
        /// Whose disk.
        disk: Disk,
        /// Of which generation.
        generation: u64,
    },
    /// The peers' half on its way to the manager that asked; HPKE info and associated data.
    Release {
        /// Whose disk.
        disk: Disk,
        /// Of which generation.
        generation: u64,
        /// SHA-256 of the public key in the certificate it asked with.
        boot_key_digest: &'a [u8; 32],
        /// SHA-256 of the box that was opened for it.
        box_digest: &'a [u8; 32],
        /// KEM id and key it made for the request.
        public_key: &'a [u8],
        /// Random, of the request.
        nonce: &'a [u8; 32],
        /// The log entry that granted it.
        grant: u64,
    },
    /// A manager's signature that an agent is on its machine.
    SameNode {
        /// The cluster.
        realm: Realm,
        /// The machine.
        node_id: NodeId,
        /// SHA-256 of the agent's public key.
        agent_key_digest: &'a [u8; 32],
    },
    /// One link of the log's chain, equal on all managers and independent of keys.
    ChainLink {
        /// The link before.
        previous: &'a [u8; 32],
        /// Term of the entry.
        term: u64,
        /// Leader that made it.
        leader: MemberId,
        /// Its index.
        index: u64,
    },
}

/// What a sealed payload is for: part of the context of its box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A new secret.
    Create,
    /// A new version of a secret.
    Rotate,
}

impl Operation {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Rotate => "rotate",
        }
    }
}

/// Which way a backup's root key goes: part of the context of its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupWay {
    /// From the cluster to who keeps the backup.
    Out,
    /// From who keeps the backup to the manager that restores it.
    In,
}

impl BackupWay {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::In => "in",
        }
    }
}

/// One manager's disk in one life of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// The cluster.
    pub realm: Realm,
    /// Its life.
    pub incarnation: Incarnation,
    /// The manager.
    pub member: MemberId,
}

/// Type tags of fields.
const BYTES: u8 = 1;
const NUMBER: u8 = 2;
const TEXT: u8 = 3;

struct Encoder {
    out: Vec<u8>,
}

impl Encoder {
    fn new(domain: &str) -> Self {
        let mut encoder = Self { out: Vec::with_capacity(256) };
        encoder.field(TEXT, domain.as_bytes());
        encoder.out.extend_from_slice(&FORMAT.to_be_bytes());
        encoder
    }

    fn field(&mut self, tag: u8, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("fields of a context are short");
        self.out.push(tag);
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(bytes);
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.field(BYTES, bytes);
        self
    }

    fn number(mut self, number: u64) -> Self {
        self.field(NUMBER, &number.to_be_bytes());
        self
    }

    fn text(mut self, text: &str) -> Self {
        self.field(TEXT, text.as_bytes());
        self
    }

    fn disk(self, disk: &Disk) -> Self {
        self.bytes(disk.realm.as_bytes()).number(disk.incarnation.0).number(disk.member.0)
    }
}

impl Context<'_> {
    /// The domain of the kind: the first field of its encoding.
    pub const fn domain(&self) -> &'static str {
        match self {
            Self::Payload { .. } => "secretd payload",
            Self::TransitSetup { .. } => "secretd transit setup",
            Self::TransitDek { .. } => "secretd transit dek",
            Self::StoredDek { .. } => "secretd stored dek",
            Self::CaKey { .. } => "secretd ca key",
            Self::TransitKey { .. } => "secretd transit key",
            Self::TransitAnnouncement { .. } => "secretd transit announcement",
            Self::LogRecord { .. } => "secretd log record",
            Self::Head { .. } => "secretd head",
            Self::Meta { .. } => "secretd meta",
            Self::SnapshotChunk { .. } => "secretd snapshot chunk",
            Self::KeyFile { .. } => "secretd key file",
            Self::KeyFileSlot { .. } => "secretd key file slot",
            Self::Session { .. } => "secretd session",
            Self::Delivery { .. } => "secretd delivery",
            Self::RootFetch { .. } => "secretd root fetch",
            Self::BackupKey { .. } => "secretd backup key",
            Self::RootKey { .. } => "secretd root key",
            Self::Token { .. } => "secretd token",
            Self::TokenRequest { .. } => "secretd token request",
            Self::Share { .. } => "secretd share",
            Self::SentUnlockKey { .. } => "secretd sent unlock key",
            Self::SentCompareTag { .. } => "secretd sent compare tag",
            Self::KeptUnlockKey { .. } => "secretd kept unlock key",
            Self::ReadBack { .. } => "secretd read back",
            Self::BootFile { .. } => "secretd boot file",
            Self::PeerKey { .. } => "secretd peer key",
            Self::PeerBox { .. } => "secretd peer box",
            Self::PeerSlot { .. } => "secretd peer slot",
            Self::Release { .. } => "secretd release",
            Self::SameNode { .. } => "secretd same node",
            Self::ChainLink { .. } => "secretd chain link",
        }
    }

    /// The encoding: the associated data, HPKE info, signed message or hashed prefix of its kind.
    #[expect(
        clippy::too_many_lines,
        reason = "a table: one arm for each kind, the fields in order"
    )]
    pub fn encode(&self) -> Vec<u8> {
        let e = Encoder::new(self.domain());
        match *self {
            Self::Payload { realm, payload_id } => {
                e.bytes(realm.as_bytes()).bytes(payload_id.as_bytes())
            }
            Self::TransitSetup { realm, transit_key_id, principal } => e
                .bytes(realm.as_bytes())
                .bytes(transit_key_id.as_bytes())
                .text(&principal.to_string()),
            Self::TransitDek {
                realm,
                transit_key_id,
                payload_id,
                ciphertext_digest,
                operation,
                name,
                principal,
            } => e
                .bytes(realm.as_bytes())
                .bytes(transit_key_id.as_bytes())
                .bytes(payload_id.as_bytes())
                .bytes(ciphertext_digest)
                .text(operation.as_str())
                .text(name.as_str())
                .text(&principal.to_string()),
            Self::StoredDek { realm, secret_id, version, payload_id, ciphertext_digest } => e
                .bytes(realm.as_bytes())
                .text(secret_id.as_str())
                .number(version.0)
                .bytes(payload_id.as_bytes())
                .bytes(ciphertext_digest),
            Self::CaKey { realm, ca_digest } => e.bytes(realm.as_bytes()).bytes(ca_digest),
            Self::TransitKey { realm, transit_key_id } => {
                e.bytes(realm.as_bytes()).bytes(transit_key_id.as_bytes())
            }
            Self::TransitAnnouncement { realm, transit_key_id, public_key, not_after_ms } => e
                .bytes(realm.as_bytes())
                .bytes(transit_key_id.as_bytes())
                .bytes(public_key)
                .number(not_after_ms),
            Self::LogRecord { disk, term, leader, index } => {
                e.disk(&disk).number(term).number(leader.0).number(index)
            }
            Self::Head { disk, block } => e.disk(&disk).number(block),
            Self::Meta { disk, name } => e.disk(&disk).text(name),
            Self::SnapshotChunk { disk, snapshot, number, last } => {
                e.disk(&disk).bytes(snapshot).number(number).number(last.into())
            }
            Self::KeyFile { disk, generation, header_digest } => {
                e.disk(&disk).number(generation).bytes(header_digest)
            }
            Self::KeyFileSlot { disk, generation, slot_key_id } => {
                e.disk(&disk).number(generation).bytes(slot_key_id.as_bytes())
            }
            Self::Session {
                realm,
                incarnation,
                node_id,
                certificate_key_digest,
                session_id,
                session_public_key,
            } => e
                .bytes(realm.as_bytes())
                .number(incarnation.0)
                .text(node_id.as_str())
                .bytes(certificate_key_digest)
                .bytes(session_id.as_bytes())
                .bytes(session_public_key),
            Self::Delivery {
                message_number,
                task_id,
                secret_id,
                version,
                payload_id,
                ciphertext_digest,
            } => e
                .number(message_number)
                .text(task_id.as_str())
                .text(secret_id.as_str())
                .number(version.0)
                .bytes(payload_id.as_bytes())
                .bytes(ciphertext_digest),
            Self::RootFetch { realm, incarnation, member, public_key } => {
                e.bytes(realm.as_bytes()).number(incarnation.0).number(member.0).bytes(public_key)
            }
            Self::BackupKey { realm, incarnation, backup_id, copy_digest, way, public_key } => e
                .bytes(realm.as_bytes())
                .number(incarnation.0)
                .bytes(backup_id.as_bytes())
                .bytes(copy_digest)
                .text(way.as_str())
                .bytes(public_key),
            Self::RootKey { root_key_id } => e.bytes(root_key_id.as_bytes()),
            Self::Token { realm, token_id } => e.bytes(realm.as_bytes()).text(token_id.as_str()),
            Self::TokenRequest { realm, principal, request_key } => {
                e.bytes(realm.as_bytes()).text(&principal.to_string()).bytes(request_key.as_bytes())
            }
            Self::Share { split, number, needed, of } => {
                e.bytes(split).number(number).number(needed).number(of)
            }
            Self::SentUnlockKey { realm, transit_key_id, unlock_key_id, principal } => e
                .bytes(realm.as_bytes())
                .bytes(transit_key_id.as_bytes())
                .bytes(unlock_key_id.as_bytes())
                .text(&principal.to_string()),
            Self::SentCompareTag { realm, transit_key_id, secret_id, version, principal } => e
                .bytes(realm.as_bytes())
                .bytes(transit_key_id.as_bytes())
                .text(secret_id.as_str())
                .number(version.0)
                .text(&principal.to_string()),
            Self::KeptUnlockKey { realm, unlock_key_id } => {
                e.bytes(realm.as_bytes()).bytes(unlock_key_id.as_bytes())
            }
            Self::ReadBack { realm, unlock_key_id, principal, public_key } => e
                .bytes(realm.as_bytes())
                .bytes(unlock_key_id.as_bytes())
                .text(&principal.to_string())
                .bytes(public_key),
            Self::BootFile { disk } => e.disk(&disk),
            Self::PeerKey { realm, member, peer_key_id } => {
                e.bytes(realm.as_bytes()).number(member.0).bytes(peer_key_id.as_bytes())
            }
            Self::PeerBox { disk, generation, peer_key_id } => {
                e.disk(&disk).number(generation).bytes(peer_key_id.as_bytes())
            }
            Self::PeerSlot { disk, generation } => e.disk(&disk).number(generation),
            Self::Release {
                disk,
                generation,
                boot_key_digest,
                box_digest,
                public_key,
                nonce,
                grant,
            } => e
                .disk(&disk)
                .number(generation)
                .bytes(boot_key_digest)
                .bytes(box_digest)
                .bytes(public_key)
                .bytes(nonce)
                .number(grant),
            Self::SameNode { realm, node_id, agent_key_digest } => {
                e.bytes(realm.as_bytes()).text(node_id.as_str()).bytes(agent_key_digest)
            }
            Self::ChainLink { previous, term, leader, index } => {
                e.bytes(previous).number(term).number(leader.0).number(index)
            }
        }
        .out
    }
}

#[cfg(test)]
mod tests;
