//! The objects of the cluster, as they are kept.
//!
//! Every object has `created_at`, `updated_at` and `revision` (the Raft index of its last change,
//! for compare-and-set); a status never bumps the revision. Not here: how they change (`apply`).
//!
//! Invariant: nothing here is secret in clear; keys stand wrapped, payloads sealed.

mod machine;
mod service;

use std::collections::BTreeMap;

use bytes::Bytes;
use minicbor::{Decode, Encode};
use proto::id::{
    ConfigId, Incarnation, KeyId, MemberId, NetworkId, NodeId, OperatorId, Realm, RequestKey,
    Revision, SecretId, Serial, ServiceId, TaskId, Timestamp, TokenId, Version,
};
use proto::identity::{Principal, Role, Subject};
use proto::limits::{AGENT_VERSION_BYTES_MAX, STATUS_MESSAGE_BYTES_MAX};
use proto::name::{Hostname, Labels, OperatorName, SecretName, ServiceName};
use proto::sealed::{StoredPayload, WrappedKey};

pub use self::machine::Machine;
pub use self::service::{Followed, Place, ResolvedReference, Service, StatusChange, Task};
use crate::apply::truncate;
use crate::read_back::KeptUnlockKey;

/// Which request made an object: its caller, its key, the digest of what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct RequestMark {
    /// Who asked.
    #[n(0)]
    pub principal: Principal,
    /// With which key.
    #[n(1)]
    pub key: RequestKey,
    /// SHA-256 of the request as its caller sent it.
    #[n(2)]
    pub digest: Digest,
}

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct Digest(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 32]);

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&proto::hex::encode(&self.0))
    }
}

/// Public bytes that are shared, not copied: certificates, public keys.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Blob(pub Bytes);

impl<C> Encode<C> for Blob {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Blob {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Ok(Self(Bytes::copy_from_slice(d.bytes()?)))
    }
}

/// The cluster's certificate authority.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Authority {
    /// Its certificate, DER.
    #[n(0)]
    pub certificate: Blob,
    /// SHA-256 of its public key (SubjectPublicKeyInfo, DER): what tokens and contexts pin.
    #[n(1)]
    pub digest: Digest,
    /// Its private key under the active root key.
    #[n(2)]
    pub wrapped_key: WrappedKey,
}

/// A key that clients seal to.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TransitKey {
    /// KEM id and public key.
    #[n(0)]
    pub public_key: Blob,
    /// The private key under the active root key.
    #[n(1)]
    pub wrapped_key: WrappedKey,
    /// When it was made.
    #[n(2)]
    pub created_at: Timestamp,
    /// When it ends: clients refuse it from then on.
    #[n(3)]
    pub not_after: Timestamp,
    /// The CA's signature over it.
    #[n(4)]
    pub signature: Blob,
    /// That of each CA that somebody may go by, the present one's among them; nothing until the CA
    /// was rotated.
    #[n(5)]
    pub signatures: Option<BTreeMap<Digest, Blob>>,
}

impl TransitKey {
    /// The signature of a CA, the present one of which is `present`.
    pub fn signature_of(&self, ca: &Digest, present: &Digest) -> Option<&Blob> {
        if ca == present {
            return Some(&self.signature);
        }
        self.signatures.as_ref()?.get(ca)
    }
}

/// Whom every manager seals its key file to.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SlotRecipient {
    /// The slot's kind, by the name `seal` gives it.
    #[n(0)]
    pub kind: String,
    /// The member it is for; none means all.
    #[n(1)]
    pub member: Option<MemberId>,
    /// KEM id and public key.
    #[n(2)]
    pub public_key: Blob,
    /// What recovering the seed needs beside the secret.
    #[n(3)]
    pub parameters: Blob,
}

impl SlotRecipient {
    /// The kind of an operators' unlock key.
    pub const UNLOCK_KEY: &str = "unlock-key";
    /// The kind of each manager's own seed.
    pub const FILE: &str = "file";

    /// Whether a slot of this kind works from the start: an unlock key was shown before it was sent,
    /// a seed is made by the manager that uses it.
    pub(crate) fn works_from_the_start(&self) -> bool {
        self.kind == Self::UNLOCK_KEY || self.kind == Self::FILE
    }

    /// Whether what opened the one opens the other. Parameters of those that work from the start
    /// say what happened, those of others how the seed is recovered.
    pub(crate) fn opens_as(&self, other: &Self) -> bool {
        let recovers_alike = self.works_from_the_start() || self.parameters == other.parameters;
        (&self.kind, self.member, &self.public_key)
            == (&other.kind, other.member, &other.public_key)
            && recovers_alike
    }
}

/// What became of a slot since it was put in the list. Kept by `apply` alone.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SlotRecord {
    /// Which slot: another secret is another key.
    #[n(0)]
    pub public_key: Blob,
    /// The recipients' generation it came with.
    #[n(1)]
    pub generation: u64,
    /// When that was.
    #[n(2)]
    pub changed_at: Timestamp,
    /// When it was last shown to open.
    #[n(3)]
    pub opened_at: Option<Timestamp>,
}

/// What is true of the cluster as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Cluster {
    /// For ever.
    #[n(0)]
    pub realm: Realm,
    /// Of this life.
    #[n(1)]
    pub incarnation: Incarnation,
    /// When it was made.
    #[n(2)]
    pub created_at: Timestamp,
    /// Its CA.
    #[n(3)]
    pub authority: Authority,
    /// The root key that new wraps are made under.
    #[n(4)]
    pub active_root: KeyId,
    /// A root key that is being rotated in.
    #[n(5)]
    pub announced_root: Option<KeyId>,
    /// Keys that clients may seal to, newest last; two at a time.
    #[n(6)]
    pub transit_keys: BTreeMap<KeyId, TransitKey>,
    /// The one new clients are given.
    #[n(7)]
    pub current_transit: KeyId,
    /// Counts changes of the recipients.
    #[n(8)]
    pub recipients_generation: u64,
    /// Whom key files are sealed to.
    #[n(9)]
    pub recipients: Vec<SlotRecipient>,
    /// The highest format of commands that may be proposed.
    #[n(10)]
    pub level: u16,
    /// Bytes of sealed payloads it may hold.
    #[n(11)]
    pub payload_quota_bytes: u64,
    /// Revision of the last change of any of this.
    #[n(12)]
    pub revision: Revision,
    /// What became of the slots; nothing until the list changed, or a slot was opened.
    #[n(13)]
    pub slots: Option<Vec<SlotRecord>>,
    /// The unlock key, if it is kept to be read back.
    #[n(16)]
    pub kept_unlock_key: Option<KeptUnlockKey>,
}

impl Cluster {
    /// What became of a slot of the list.
    pub fn record_of(&self, slot: &SlotRecipient) -> SlotRecord {
        let known = self.slots.iter().flatten().find(|record| record.public_key == slot.public_key);
        known.cloned().unwrap_or_else(|| SlotRecord {
            public_key: slot.public_key.clone(),
            generation: 1,
            changed_at: self.created_at,
            opened_at: None,
        })
    }

    /// Whether a slot of the list counts as working: it was opened since its last change, or works
    /// from the start.
    pub fn slot_works(&self, slot: &SlotRecipient) -> bool {
        slot.works_from_the_start() || self.record_of(slot).opened_at.is_some()
    }
}

/// A manager as a Raft member.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Member {
    /// Its machine.
    #[n(0)]
    pub node_id: NodeId,
    /// Where its peers and clients reach it.
    #[n(1)]
    pub address: String,
    /// Where it is in its life.
    #[n(2)]
    pub state: MemberState,
    /// When it was admitted.
    #[n(3)]
    pub admitted_at: Timestamp,
    /// The highest format of commands it can apply.
    #[n(4)]
    pub level_max: u16,
    /// The root key it has acknowledged to hold durably.
    #[n(5)]
    pub acknowledged_root: Option<KeyId>,
    /// The recipients' generation its key file was last sealed for.
    #[n(6)]
    pub key_file_generation: u64,
    /// Revision of the last change.
    #[n(7)]
    pub revision: Revision,
}

/// Where a member is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum MemberState {
    /// Admitted; has no root key yet.
    #[n(0)]
    Joining,
    /// Follows the log without a vote.
    #[n(1)]
    Learner,
    /// Votes.
    #[n(2)]
    Voter,
    /// Being removed.
    #[n(3)]
    Leaving,
}

/// Whether a node takes tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(index_only)]
pub enum Availability {
    /// It does.
    #[default]
    #[n(0)]
    Active,
    /// It keeps what it has.
    #[n(1)]
    Pause,
    /// It gives up what it has.
    #[n(2)]
    Drain,
}

/// Whether a node's agent is in touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(index_only)]
pub enum NodeState {
    /// It never was.
    #[default]
    #[n(0)]
    Unknown,
    /// It is.
    #[n(1)]
    Ready,
    /// It was not for longer than the grace period.
    #[n(2)]
    Down,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Node {
    /// Fixed and unique at admission.
    #[n(0)]
    pub hostname: Hostname,
    /// Given by operators.
    #[n(1)]
    pub labels: Labels,
    /// Given by operators.
    #[n(2)]
    pub availability: Availability,
    /// Whether its agent is in touch.
    #[n(3)]
    pub state: NodeState,
    /// Since when.
    #[n(4)]
    pub state_since: Timestamp,
    /// Whether an agent was admitted here.
    #[n(5)]
    pub has_agent: bool,
    /// The manager here, if any.
    #[n(6)]
    pub member: Option<MemberId>,
    /// When it was admitted.
    #[n(7)]
    pub created_at: Timestamp,
    /// When an operator last changed it.
    #[n(8)]
    pub updated_at: Timestamp,
    /// Revision of the last change that is not status.
    #[n(9)]
    pub revision: Revision,
    /// What its agent says beside this record.
    #[n(10)]
    pub report: NodeReport,
    /// What its agent said of the machine when it was admitted.
    #[n(11)]
    pub machine: Option<Machine>,
}

impl Node {
    /// Whether it is there for an agent that has to join anew: nothing else of it is here.
    pub const fn waits_for_agent(&self) -> bool {
        !self.has_agent && self.member.is_none()
    }
}

/// What an agent says of its machine: shown to people. Of it only that there is no container engine is
/// used to place tasks: it keeps them away.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct NodeReport {
    /// A difference from the record, or another remark.
    #[n(0)]
    pub message: String,
    /// The agent's version.
    #[n(1)]
    pub agent_version: String,
    /// Whether a container engine answers it; none if nobody says, as with older agents and managers.
    #[n(2)]
    pub has_engine: Option<bool>,
}

impl NodeReport {
    /// Cuts what an agent says to what is kept of it.
    pub fn cut(&mut self) {
        truncate(&mut self.message, STATUS_MESSAGE_BYTES_MAX);
        truncate(&mut self.agent_version, AGENT_VERSION_BYTES_MAX);
    }
}

/// What an operator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum OperatorRole {
    /// Everything.
    #[n(0)]
    Admin,
    /// Services, and secrets through them.
    #[n(1)]
    Deployer,
    /// Secrets.
    #[n(2)]
    Writer,
    /// Reading, the audit included.
    #[n(3)]
    Auditor,
}

impl OperatorRole {
    /// The name in commands and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Deployer => "deployer",
            Self::Writer => "writer",
            Self::Auditor => "auditor",
        }
    }

    /// Every role.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Deployer, Self::Writer, Self::Auditor];
}

impl std::str::FromStr for OperatorRole {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or("expected admin, deployer, writer or auditor")
    }
}

/// A person or a program that may change the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Operator {
    /// Unique.
    #[n(0)]
    pub name: OperatorName,
    /// What it may do.
    #[n(1)]
    pub role: OperatorRole,
    /// Whose secrets it may use.
    #[n(2)]
    pub group: OperatorName,
    /// When it was added.
    #[n(3)]
    pub created_at: Timestamp,
    /// Revision of the last change.
    #[n(4)]
    pub revision: Revision,
    /// The request that added it.
    #[n(5)]
    pub request: Option<RequestMark>,
}

/// A certificate that the CA signed and the cluster stands by.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Certificate {
    /// Whom it names.
    #[n(0)]
    pub subject: Subject,
    /// SHA-256 of its public key (SubjectPublicKeyInfo, DER).
    #[n(1)]
    pub key_digest: Digest,
    /// When it was issued.
    #[n(2)]
    pub issued_at: Timestamp,
    /// When it ends.
    #[n(3)]
    pub not_after: Timestamp,
    /// Whether it was taken back.
    #[n(4)]
    pub revoked: bool,
    /// SHA-256 of the public key of the CA that signed it; those of the first need not say so.
    #[n(5)]
    pub authority: Option<Digest>,
    /// Which rotation of certificates was begun last when it was put down; kept by `apply` alone.
    #[n(6)]
    pub rotation: Option<u64>,
    /// Since when another one is its holder's in its place: it is refused.
    #[n(7)]
    pub superseded_at: Option<Timestamp>,
}

impl Certificate {
    /// How long one of a role lives, in milliseconds: what the CA gives it, and what a certificate
    /// that has no record is measured by.
    pub const fn life_ms(role: Role) -> u64 {
        const DAY_MS: u64 = 24 * 3600 * 1000;
        match role {
            Role::Manager | Role::Agent | Role::Boot => 30 * DAY_MS,
            Role::Operator => 90 * DAY_MS,
        }
    }
}

/// A token that admits a node, a manager or an operator.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Token {
    /// As what it admits.
    #[n(0)]
    pub role: Role,
    /// Hash of its secret part.
    #[n(1)]
    pub hash: Digest,
    /// When it was made.
    #[n(2)]
    pub created_at: Timestamp,
    /// When it ends.
    #[n(3)]
    pub expires_at: Timestamp,
    /// How often it still admits.
    #[n(4)]
    pub uses_left: u32,
    /// Who made it.
    #[n(5)]
    pub created_by: Principal,
    /// The operator it enrols, for that role.
    #[n(6)]
    pub operator: Option<OperatorId>,
    /// The CA that it names; none until the CA was rotated: the first.
    #[n(7)]
    pub authority: Option<Digest>,
}

/// Where a version of a secret is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum VersionState {
    /// It can be delivered.
    #[n(0)]
    Live,
    // 1 was for versions that are shredding; they have tombstones instead (`shredding`).
}

/// One value of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SecretVersion {
    /// The sealed value.
    #[n(0)]
    pub payload: StoredPayload,
    /// When it was created.
    #[n(1)]
    pub created_at: Timestamp,
    /// By whom.
    #[n(2)]
    pub created_by: Principal,
    /// Where it is in its life.
    #[n(3)]
    pub state: VersionState,
}

/// A secret.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Secret {
    /// Unique without regard to case.
    #[n(0)]
    pub name: SecretName,
    /// Given by operators.
    #[n(1)]
    pub labels: Labels,
    /// Operators and groups whose services may refer to it; admins always may.
    #[n(2)]
    pub usable_by: Vec<OperatorName>,
    /// Its values. Boxed: a map has room for eleven from its first on, and most secrets have one.
    #[n(3)]
    pub versions: BTreeMap<Version, Box<SecretVersion>>,
    /// The one that references follow.
    #[n(4)]
    pub current: Version,
    /// When it was created.
    #[n(5)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[n(6)]
    pub updated_at: Timestamp,
    /// Revision of the last change.
    #[n(7)]
    pub revision: Revision,
    /// The request that created it.
    #[n(8)]
    pub request: Option<RequestMark>,
}

/// A network, kept for compose files; nothing is connected by it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Network {
    /// Unique.
    #[n(0)]
    pub name: ServiceName,
    /// What the front that made it was given, verbatim.
    #[n(1)]
    pub body: Blob,
    /// When it was created.
    #[n(2)]
    pub created_at: Timestamp,
    /// Revision of the last change.
    #[n(3)]
    pub revision: Revision,
}

/// A config: a value that is not secret.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Config {
    /// Unique without regard to case.
    #[n(0)]
    pub name: SecretName,
    /// Given by operators.
    #[n(1)]
    pub labels: Labels,
    /// The value.
    #[n(2)]
    pub data: Blob,
    /// When it was created.
    #[n(3)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[n(4)]
    pub updated_at: Timestamp,
    /// Revision of the last change.
    #[n(5)]
    pub revision: Revision,
}

/// Any object, by kind and id: what a change, an audit record or a denial is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum ObjectId {
    /// The cluster as a whole.
    #[n(0)]
    Cluster,
    /// A secret.
    #[n(1)]
    Secret(#[n(0)] SecretId),
    /// A service.
    #[n(2)]
    Service(#[n(0)] ServiceId),
    /// A task.
    #[n(3)]
    Task(#[n(0)] TaskId),
    /// A node.
    #[n(4)]
    Node(#[n(0)] NodeId),
    /// A member.
    #[n(5)]
    Member(#[n(0)] MemberId),
    /// An operator.
    #[n(6)]
    Operator(#[n(0)] OperatorId),
    /// A certificate.
    #[n(7)]
    Certificate(#[n(0)] Serial),
    /// A token.
    #[n(8)]
    Token(#[n(0)] TokenId),
    /// A network.
    #[n(9)]
    Network(#[n(0)] NetworkId),
    /// A config.
    #[n(10)]
    Config(#[n(0)] ConfigId),
}

impl std::fmt::Display for ObjectId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cluster => f.write_str("cluster"),
            Self::Secret(id) => write!(f, "secret/{id}"),
            Self::Service(id) => write!(f, "service/{id}"),
            Self::Task(id) => write!(f, "task/{id}"),
            Self::Node(id) => write!(f, "node/{id}"),
            Self::Member(id) => write!(f, "member/{id}"),
            Self::Operator(id) => write!(f, "operator/{id}"),
            Self::Certificate(id) => write!(f, "certificate/{id}"),
            Self::Token(id) => write!(f, "token/{id}"),
            Self::Network(id) => write!(f, "network/{id}"),
            Self::Config(id) => write!(f, "config/{id}"),
        }
    }
}
