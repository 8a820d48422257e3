//! What may be asked of the state machine: commands, in envelopes.
//!
//! An envelope says in which format, for which request, on whose behalf and when (by the leader's
//! clock). Ids are random and made before proposing; `apply` makes none. Old bytes of every format
//! are committed as fixtures.
//!
//! Invariant: a number once given to a field or a variant is never given to another.

mod describe;
mod statuses;
mod step;

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use proto::id::{
    BackupId, ConfigId, KeyId, MemberId, NetworkId, NodeId, OperatorId, Revision, SecretId, Serial,
    ServiceId, TaskId, Timestamp, TokenId, Version,
};
use proto::identity::{Caller, Role};
use proto::name::{Hostname, Labels, OperatorName, SecretName, ServiceName};
use proto::sealed::{StoredPayload, WrappedKey};
use proto::spec::ServiceSpec;
use proto::task::TaskStatus;

pub use self::statuses::cut_status;
pub use self::step::Step;

use crate::boot::BootCommand;
use crate::ca_rotation::BeginCaRotation;
use crate::incarnation::BeginIncarnation;
use crate::object::{
    Authority, Availability, Blob, Certificate, Digest, Machine, MemberState, NodeReport,
    NodeState, OperatorRole, RequestMark, SlotRecipient, TransitKey,
};
use crate::read_back::ReadBackCommand;
use crate::restore::RestoreCluster;
use crate::root_keys::Wrapped;

/// The highest format of commands that this version can apply.
pub const LEVEL: u16 = 1;

/// One log entry of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Envelope {
    /// Format of the body; never above the cluster's level.
    #[n(0)]
    pub format: u16,
    /// The request it carries out; none for what the cluster decides itself.
    #[n(1)]
    pub request: Option<RequestMark>,
    /// On whose behalf.
    #[n(2)]
    pub caller: Caller,
    /// When it was proposed, by the leader's clock.
    #[n(3)]
    pub at: Timestamp,
    /// What to do.
    #[n(4)]
    pub body: Command,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    /// The first command of a cluster.
    #[n(0)]
    InitCluster(#[n(0)] Box<InitCluster>),
    /// A new secret with its first value.
    #[n(1)]
    CreateSecret(#[n(0)] CreateSecret),
    /// Removes a secret and all its values.
    #[n(2)]
    RemoveSecret {
        /// Which.
        #[n(0)]
        id: SecretId,
        /// Whether previous specs that refer to it are given up.
        #[n(1)]
        forget_previous: bool,
        /// Whether log and transit keys rotate at once for it, as [`Command::ShredSecret`] asks.
        #[n(2)]
        shred: Option<bool>,
    },
    /// A new service.
    #[n(3)]
    CreateService {
        /// Made before proposing.
        #[n(0)]
        id: ServiceId,
        /// What is declared.
        #[n(1)]
        spec: Box<ServiceSpec>,
    },
    /// A new declaration of a service.
    #[n(4)]
    UpdateService {
        /// Which.
        #[n(0)]
        id: ServiceId,
        /// As the caller saw it.
        #[n(1)]
        revision: Revision,
        /// What is declared.
        #[n(2)]
        spec: Box<ServiceSpec>,
    },
    /// Removes a service; its tasks stop.
    #[n(5)]
    RemoveService {
        /// Which.
        #[n(0)]
        id: ServiceId,
    },
    /// Another value of a secret; services that follow it are redeployed.
    #[n(112)]
    RotateSecret(#[n(0)] RotateSecret),
    /// What orchestrator and scheduler decided.
    #[n(6)]
    Plan(#[n(0)] Vec<Step>),
    /// What agents said of their tasks.
    #[n(7)]
    ReportTasks(#[n(0)] Vec<NodeStatuses>),
    /// Which nodes came up and went down, and what they say of themselves.
    #[n(8)]
    ReportNodes(#[n(0)] Vec<NodeNews>),
    /// An operator's change of a node.
    #[n(9)]
    UpdateNode(#[n(0)] UpdateNode),
    /// Evicts a node: its certificates are revoked, its tasks move.
    #[n(10)]
    RemoveNode {
        /// Which.
        #[n(0)]
        id: NodeId,
        /// Though it is up.
        #[n(1)]
        force: bool,
    },
    /// Admits an agent by token.
    #[n(11)]
    AdmitAgent(#[n(0)] AdmitAgent),
    /// Admits a manager by token; its member id is the index of this entry.
    #[n(12)]
    AdmitManager(#[n(0)] AdmitManager),
    /// A certificate for somebody who has one, or was just admitted.
    #[n(13)]
    IssueCertificate {
        /// Its serial number.
        #[n(0)]
        serial: Serial,
        /// What the cluster stands by.
        #[n(1)]
        certificate: Certificate,
    },
    /// A join token for agents or managers.
    #[n(14)]
    CreateToken(#[n(0)] CreateToken),
    /// Ends a token.
    #[n(15)]
    RevokeToken {
        /// Which.
        #[n(0)]
        id: TokenId,
    },
    /// A new operator, and the token that enrols it.
    #[n(16)]
    AddOperator(#[n(0)] AddOperator),
    /// The first certificate of an operator, by token.
    #[n(17)]
    EnrollOperator {
        /// Which token.
        #[n(0)]
        token_id: TokenId,
        /// Hash of the secret part that was presented.
        #[n(1)]
        hash: Digest,
        /// The certificate's serial number.
        #[n(2)]
        serial: Serial,
        /// What the cluster stands by.
        #[n(3)]
        certificate: Certificate,
    },
    /// Removes an operator; its certificates are revoked.
    #[n(18)]
    RemoveOperator {
        /// Which.
        #[n(0)]
        id: OperatorId,
    },
    /// A member says what it holds durably.
    #[n(19)]
    AcknowledgeKeys {
        /// Which member.
        #[n(0)]
        member: MemberId,
        /// The root key it holds.
        #[n(1)]
        root: KeyId,
        /// The recipients' generation of its key file.
        #[n(2)]
        key_file_generation: u64,
        /// The highest format it can apply.
        #[n(3)]
        level_max: u16,
    },
    /// The leader followed up a change of the Raft membership.
    #[n(20)]
    SetMemberState {
        /// Which member.
        #[n(0)]
        member: MemberId,
        /// Where it is now.
        #[n(1)]
        state: MemberState,
    },
    /// A member is reached elsewhere.
    #[n(21)]
    SetMemberAddress {
        /// Which member.
        #[n(0)]
        member: MemberId,
        /// Host and port.
        #[n(1)]
        address: String,
    },
    /// A member is gone; its certificates are revoked.
    #[n(22)]
    RemoveMember {
        /// Which.
        #[n(0)]
        member: MemberId,
        /// Whether it gave its word to destroy its keys; logs of before do not say.
        #[n(1)]
        destroys: Option<bool>,
    },
    /// Refusals of the last while, counted.
    #[n(23)]
    RecordDenials(#[n(0)] Vec<Denial>),
    /// All members can apply a higher format.
    #[n(24)]
    RaiseLevel {
        /// The new level.
        #[n(0)]
        level: u16,
    },
    /// What the leader's state was at an index; who disagrees stops.
    #[n(25)]
    CheckDigest {
        /// After which entry.
        #[n(0)]
        index: u64,
        /// Digest of the state.
        #[n(1)]
        digest: Digest,
    },
    /// A new transit key.
    #[n(26)]
    AddTransitKey {
        /// Its id.
        #[n(0)]
        id: KeyId,
        /// The key.
        #[n(1)]
        key: TransitKey,
    },
    /// An old transit key ends.
    #[n(27)]
    RetireTransitKey {
        /// Which.
        #[n(0)]
        id: KeyId,
    },
    /// New bounds of the cluster.
    #[n(28)]
    SetQuota {
        /// Bytes of sealed payloads it may hold.
        #[n(0)]
        payload_bytes: u64,
    },
    /// Every manager is to rotate its log key.
    #[n(60)]
    RotateLogKeys,
    /// A member says which log key everything on its disk is under.
    #[n(61)]
    AcknowledgeLogKey {
        /// Which member.
        #[n(0)]
        member: MemberId,
        /// The rotation it finished.
        #[n(1)]
        epoch: u64,
        /// Its key.
        #[n(2)]
        key: KeyId,
    },
    /// Key files are to be sealed to others.
    #[n(29)]
    SetRecipients {
        /// As the caller saw it: changes are one after the other.
        #[n(0)]
        generation: u64,
        /// All of them, from now on.
        #[n(1)]
        recipients: Vec<SlotRecipient>,
    },
    /// A slot was shown to open.
    #[n(30)]
    ProveSlot {
        /// Its public half.
        #[n(0)]
        public_key: Blob,
    },
    /// A new root key was made; members fetch it.
    #[n(31)]
    AnnounceRoot {
        /// Its id.
        #[n(0)]
        id: KeyId,
        /// Who made it, and holds it durably.
        #[n(1)]
        member: MemberId,
        /// The announced key in whose place it comes, if nobody can get that any more.
        #[n(2)]
        replaces: Option<KeyId>,
    },
    /// A member says that it holds the announced root key, durably.
    #[n(32)]
    AcknowledgeRoot {
        /// Which member.
        #[n(0)]
        member: MemberId,
        /// Which key.
        #[n(1)]
        id: KeyId,
    },
    /// The announced root key is the active one from now on.
    #[n(33)]
    ActivateRoot {
        /// Which.
        #[n(0)]
        id: KeyId,
    },
    /// Keys wrapped anew, under the active root key.
    #[n(34)]
    Rewrap(#[n(0)] Vec<Rewrap>),
    /// Nothing is under the old root key any more: members destroy it.
    #[n(35)]
    RetireRoot {
        /// Which.
        #[n(0)]
        id: KeyId,
    },
    /// A member says that it has destroyed the old root key.
    #[n(36)]
    AcknowledgeRootDestroyed {
        /// Which member.
        #[n(0)]
        member: MemberId,
        /// Which key.
        #[n(1)]
        id: KeyId,
    },
    /// Log and transit keys rotate at once for a secret that was removed.
    #[n(40)]
    ShredSecret {
        /// Which.
        #[n(0)]
        id: SecretId,
    },
    /// The cluster goes on as one manager, in a new life.
    #[n(50)]
    BeginIncarnation(#[n(0)] Box<BeginIncarnation>),
    /// Of the slots that peers open.
    #[n(62)]
    Boot(#[n(0)] BootCommand),
    /// Of the unlock key, if it is kept to be read back.
    #[n(63)]
    ReadBack(#[n(0)] ReadBackCommand),
    /// A service goes back to what was declared before; what it leaves becomes the previous.
    #[n(100)]
    RollBackService {
        /// Which.
        #[n(0)]
        id: ServiceId,
        /// As the caller saw it.
        #[n(1)]
        revision: Revision,
    },
    /// A backup was taken, and is about to be handed out.
    #[n(70)]
    RecordBackup {
        /// Made before proposing.
        #[n(0)]
        id: BackupId,
        /// The last entry that is in it.
        #[n(1)]
        revision: Revision,
        /// The time of that entry.
        #[n(2)]
        taken_at: Timestamp,
    },
    /// The file of a backup is destroyed.
    #[n(71)]
    ForgetBackup {
        /// Which.
        #[n(0)]
        id: BackupId,
    },
    /// The first command of a cluster that is made of a backup.
    #[n(72)]
    RestoreCluster(#[n(0)] Box<RestoreCluster>),
    /// Another CA is to take the place of the present one.
    #[n(80)]
    BeginCaRotation(#[n(0)] Box<BeginCaRotation>),
    /// Certificates of the CA that is rotated in were seen in use.
    #[n(81)]
    NoteMoves(#[n(0)] Vec<Serial>),
    /// The CA of before is dropped, though agents or operators are left behind.
    #[n(82)]
    DropFormerCa,
    /// Everybody is to get a certificate for another key.
    #[n(83)]
    BeginCertificateRotation,
    /// Certificates of before are refused, though agents or operators are left behind.
    #[n(84)]
    CutFormerCertificates,
    /// A new config.
    #[n(120)]
    CreateConfig(#[n(0)] CreateConfig),
    /// Other labels of a config. Its value never changes.
    #[n(121)]
    UpdateConfigLabels {
        /// Which.
        #[n(0)]
        id: ConfigId,
        /// As the caller saw it.
        #[n(1)]
        revision: Revision,
        /// All of them, from now on.
        #[n(2)]
        labels: Labels,
    },
    /// Removes a config that no service uses.
    #[n(122)]
    RemoveConfig {
        /// Which.
        #[n(0)]
        id: ConfigId,
        /// Whether previous specs that refer to it are given up.
        #[n(1)]
        forget_previous: bool,
    },
    /// A command is about to be run in a task, on the caller's behalf. Which one is not said: its arguments
    /// may hold secrets.
    #[n(130)]
    RecordExec {
        /// In which.
        #[n(0)]
        task: TaskId,
    },
    /// A new network.
    #[n(110)]
    CreateNetwork(#[n(0)] CreateNetwork),
    /// Removes a network that no service uses.
    #[n(111)]
    RemoveNetwork {
        /// Which.
        #[n(0)]
        id: NetworkId,
    },
}

/// What a cluster starts with; all of it made by the founder.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct InitCluster {
    /// Random, for ever.
    #[n(0)]
    pub realm: proto::id::Realm,
    /// 1, or more after a restore.
    #[n(1)]
    pub incarnation: proto::id::Incarnation,
    /// Its CA.
    #[n(2)]
    pub authority: Authority,
    /// Its first root key's id.
    #[n(3)]
    pub root: KeyId,
    /// Its first transit key's id.
    #[n(4)]
    pub transit_id: KeyId,
    /// Its first transit key.
    #[n(5)]
    pub transit: TransitKey,
    /// Whom key files are sealed to.
    #[n(6)]
    pub recipients: Vec<SlotRecipient>,
    /// Bytes of sealed payloads it may hold.
    #[n(7)]
    pub payload_quota_bytes: u64,
    /// The founder's member id.
    #[n(8)]
    pub member: MemberId,
    /// The founder's machine.
    #[n(9)]
    pub node_id: NodeId,
    /// Its hostname.
    #[n(10)]
    pub hostname: Hostname,
    /// Where it is reached.
    #[n(11)]
    pub address: String,
    /// Serial number of its certificate.
    #[n(12)]
    pub serial: Serial,
    /// Its certificate.
    #[n(13)]
    pub certificate: Certificate,
    /// The highest format it can apply.
    #[n(14)]
    pub level_max: u16,
}

/// A new secret with its first value.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CreateSecret {
    /// Made before proposing; in the wrap's context.
    #[n(0)]
    pub id: SecretId,
    /// Unique without regard to case.
    #[n(1)]
    pub name: SecretName,
    /// Given by the caller.
    #[n(2)]
    pub labels: Labels,
    /// Operators and groups whose services may refer to it.
    #[n(3)]
    pub usable_by: Vec<OperatorName>,
    /// The value; its DEK wrapped under the active root key for this id and version 1.
    #[n(4)]
    pub payload: StoredPayload,
    /// The transit key it came under: its payload id is remembered with it.
    #[n(5)]
    pub transit_key_id: KeyId,
}

/// Another value of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RotateSecret {
    /// Which.
    #[n(0)]
    pub id: SecretId,
    /// The one after the current one; in the wrap's context.
    #[n(1)]
    pub version: Version,
    /// The value; its DEK wrapped under the active root key for this id and version.
    #[n(2)]
    pub payload: StoredPayload,
    /// The transit key it came under: its payload id is remembered with it.
    #[n(3)]
    pub transit_key_id: KeyId,
}

/// A new network.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CreateNetwork {
    /// Made before proposing.
    #[n(0)]
    pub id: NetworkId,
    /// Unique without regard to case.
    #[n(1)]
    pub name: ServiceName,
    /// What the front that makes it was given, for that front.
    #[n(2)]
    pub body: Blob,
}

/// A new config.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CreateConfig {
    /// Made before proposing.
    #[n(0)]
    pub id: ConfigId,
    /// Unique without regard to case.
    #[n(1)]
    pub name: SecretName,
    /// Given by the caller.
    #[n(2)]
    pub labels: Labels,
    /// The value.
    #[n(3)]
    pub data: Blob,
}

/// What one agent said of its tasks.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NodeStatuses {
    /// The agent's node, as its certificate says.
    #[n(0)]
    pub node_id: NodeId,
    /// What it said.
    #[n(1)]
    pub statuses: Vec<TaskStatus>,
}

/// What became known of one node.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NodeNews {
    /// Which.
    #[n(0)]
    pub node_id: NodeId,
    /// Whether its agent is in touch, if that changed.
    #[n(1)]
    pub state: Option<NodeState>,
    /// What it says of itself, if that changed.
    #[n(2)]
    pub report: Option<NodeReport>,
}

/// An operator's change of a node.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct UpdateNode {
    /// Which.
    #[n(0)]
    pub id: NodeId,
    /// As the caller saw it; none means whatever it is now.
    #[n(1)]
    pub revision: Option<Revision>,
    /// Labels to set.
    #[n(2)]
    pub label_add: BTreeMap<String, String>,
    /// Labels to take away.
    #[n(3)]
    pub label_rm: Vec<String>,
    /// Whether it takes tasks.
    #[n(4)]
    pub availability: Option<Availability>,
}

/// Admits an agent.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AdmitAgent {
    /// By which token.
    #[n(0)]
    pub token_id: TokenId,
    /// Hash of the secret part that was presented.
    #[n(1)]
    pub hash: Digest,
    /// The machine: a new one, that of a manager which vouched for the agent, or the one of its
    /// hostname that waits for its agent.
    #[n(2)]
    pub node_id: NodeId,
    /// Whether the node is there: a manager on the machine vouched, or it waits for its agent.
    #[n(3)]
    pub same_node: bool,
    /// Its hostname, fixed from now on.
    #[n(4)]
    pub hostname: Hostname,
    /// The certificate's serial number.
    #[n(5)]
    pub serial: Serial,
    /// What the cluster stands by.
    #[n(6)]
    pub certificate: Certificate,
    /// What it says of its machine, fixed from now on.
    #[n(7)]
    pub machine: Option<Machine>,
}

/// Admits a manager.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AdmitManager {
    /// By which token.
    #[n(0)]
    pub token_id: TokenId,
    /// Hash of the secret part that was presented.
    #[n(1)]
    pub hash: Digest,
    /// A new machine, or one that an agent runs on.
    #[n(2)]
    pub node_id: NodeId,
    /// Its hostname.
    #[n(3)]
    pub hostname: Hostname,
    /// Where it will be reached.
    #[n(4)]
    pub address: String,
    /// The highest format it can apply.
    #[n(5)]
    pub level_max: u16,
}

/// A join token for agents or managers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CreateToken {
    /// Made before proposing; in the hash's context.
    #[n(0)]
    pub id: TokenId,
    /// As what it admits.
    #[n(1)]
    pub role: Role,
    /// Hash of its secret part.
    #[n(2)]
    pub hash: Digest,
    /// When it ends.
    #[n(3)]
    pub expires_at: Timestamp,
    /// How often it admits.
    #[n(4)]
    pub uses: u32,
}

/// A new operator, and the token that enrols it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AddOperator {
    /// Made before proposing.
    #[n(0)]
    pub id: OperatorId,
    /// Unique.
    #[n(1)]
    pub name: OperatorName,
    /// What it may do.
    #[n(2)]
    pub role: OperatorRole,
    /// Whose secrets it may use.
    #[n(3)]
    pub group: OperatorName,
    /// The token that enrols it.
    #[n(4)]
    pub token: CreateToken,
}

/// One key that was wrapped anew. The wrap before is named by its digest: the log is not to hold it
/// once more.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Rewrap {
    /// What it is the key of.
    #[n(0)]
    pub object: Wrapped,
    /// Digest of the wrap it was made from.
    #[n(1)]
    pub old: Digest,
    /// The key under the active root key.
    #[n(2)]
    pub new: WrappedKey,
}

/// Refusals of one caller.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Denial {
    /// Who was refused.
    #[n(0)]
    pub caller: Caller,
    /// What.
    #[n(1)]
    pub action: String,
    /// How often.
    #[n(2)]
    pub count: u64,
}
