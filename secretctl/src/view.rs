//! What `--json` prints: stable field names over the messages of the wire.
//!
//! Instants are RFC 3339 in UTC, ids and keys as text; what is absent is null or empty. Tables are
//! made from the same values, so text and JSON cannot disagree. Not here: printing.
//!
//! Invariant: fields are added, never renamed or removed.

mod backup;
mod ca_rotation;
mod config;
#[cfg(feature = "cluster")]
mod demo;
mod keys;
mod locking;
mod peers;
mod removed;
mod root_keys;
mod rotated;
mod stack;

use std::collections::BTreeMap;

use proto::convert::EnumField as _;
use proto::id::Timestamp;
use proto::spec::{FileMode, LogPolicy, OnChange, RestartCondition, RuntimeKind};
use proto::task::{DesiredState, TaskState};
use proto::{hex, pb};
use serde::Serialize;

pub(crate) use self::backup::{
    Backup, BackupChecked, BackupMade, Backups, RemovedFromAllBut, Restored,
};
pub(crate) use self::ca_rotation::{CaRotation, CertificateRotation, Renewing};
pub(crate) use self::config::{Config, ConfigReference};
#[cfg(feature = "cluster")]
pub(crate) use self::demo::{Demo, DemoSearch, DemoSecret, DemoTask, Dev};
pub(crate) use self::keys::{Check, ClusterKeys, Held, MemberKeys};
pub(crate) use self::locking::{
    Compromised, EnteredShares, FailedCommand, FollowingRotation, ListedSlot, Locking,
    NewPassphrase, NewShares, NewUnlockKey, Proved, ReadBack, RootRotated, Slot, SlotTrial,
    SlotsChanged, ToReplace, Unlocked, WaitedFor,
};
pub(crate) use self::peers::{PeerPolicy, Peers, PendingRelease, ReleaseAlarm, policy};
pub(crate) use self::removed::{RemovedSecret, StillNeeded};
pub(crate) use self::root_keys::{RootRotation, Unproved};
pub(crate) use self::rotated::RotatedSecret;
pub(crate) use self::stack::{Stack, StackChange};

pub(crate) fn at(ms: u64) -> Option<String> {
    (ms > 0).then(|| Timestamp(ms).to_rfc3339())
}

/// What a change made or removed.
#[derive(Serialize)]
pub(crate) struct Named {
    pub(crate) id: String,
    pub(crate) name: String,
}

/// A new secret.
#[derive(Serialize)]
pub(crate) struct CreatedSecret {
    pub(crate) id: String,
    pub(crate) version: u64,
}

/// A new service.
#[derive(Serialize)]
pub(crate) struct CreatedService {
    pub(crate) id: String,
    pub(crate) warnings: Vec<String>,
}

#[derive(Serialize)]
pub(crate) struct SecretVersion {
    pub(crate) version: u64,
    pub(crate) created_at: Option<String>,
    pub(crate) created_by: String,
    pub(crate) sealed_bytes: u64,
    pub(crate) root_key_id: String,
    pub(crate) state: String,
}

/// A secret: everything but its value.
#[derive(Serialize)]
pub(crate) struct Secret {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) created_at: Option<String>,
    pub(crate) updated_at: Option<String>,
    pub(crate) revision: u64,
    pub(crate) current_version: u64,
    pub(crate) versions: Vec<SecretVersion>,
    pub(crate) usable_by: Vec<String>,
    pub(crate) used_by: Vec<String>,
}

impl From<pb::SecretInfo> for Secret {
    fn from(info: pb::SecretInfo) -> Self {
        let versions = info.versions.into_iter().map(|version| SecretVersion {
            version: version.version,
            created_at: at(version.created_at),
            created_by: version.created_by,
            sealed_bytes: version.sealed_bytes,
            root_key_id: hex::encode(&version.root_key_id),
            state: version.state,
        });
        Self {
            id: info.id,
            name: info.name,
            labels: info.labels,
            created_at: at(info.created_at),
            updated_at: at(info.updated_at),
            revision: info.revision,
            current_version: info.current_version,
            versions: versions.collect(),
            usable_by: info.usable_by,
            used_by: info.used_by,
        }
    }
}

/// One secret of a service.
#[derive(Serialize)]
pub(crate) struct Reference {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) pinned_version: Option<u64>,
    /// Which it gets.
    pub(crate) version: u64,
    /// What a new version does to running tasks.
    pub(crate) on_change: &'static str,
    pub(crate) target: String,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) mode: String,
}

impl Reference {
    /// `followed` says by id which version following means, where that is not the first.
    fn new(reference: pb::SecretReference, followed: &BTreeMap<String, u64>) -> Self {
        let pinned = Some(reference.pinned_version).filter(|version| *version > 0);
        let followed = followed.get(&reference.secret_id).copied().unwrap_or(1);
        let bits = reference.mode.unwrap_or_else(|| FileMode::OWNER_READS.bits());
        Self {
            id: reference.secret_id,
            name: reference.secret_name,
            pinned_version: pinned,
            version: pinned.unwrap_or(followed),
            on_change: match OnChange::from_number(reference.on_change) {
                Ok(OnChange::Restart) => "restart",
                Err(_) => UNKNOWN,
            },
            target: reference.target,
            uid: reference.uid,
            gid: reference.gid,
            mode: format!("{bits:04o}"),
        }
    }
}

fn references(
    references: Vec<pb::SecretReference>,
    followed: &BTreeMap<String, u64>,
) -> Vec<Reference> {
    references.into_iter().map(|reference| Reference::new(reference, followed)).collect()
}

#[derive(Serialize)]
pub(crate) struct Restart {
    pub(crate) condition: &'static str,
    pub(crate) delay_ms: u64,
    pub(crate) attempts_max: u64,
    pub(crate) window_ms: u64,
}

/// How updates or rollbacks roll.
#[derive(Serialize)]
pub(crate) struct UpdateConfig {
    pub(crate) parallelism: u64,
    pub(crate) delay_ms: u64,
    pub(crate) monitor_ms: u64,
    pub(crate) order: &'static str,
    pub(crate) failure_action: &'static str,
    pub(crate) max_failure_ratio: f64,
}

impl From<pb::UpdateConfig> for UpdateConfig {
    fn from(config: pb::UpdateConfig) -> Self {
        Self {
            parallelism: config.parallelism,
            delay_ms: config.delay_ms,
            monitor_ms: config.monitor_ms,
            order: match config.order() {
                pb::UpdateOrder::StopFirst => "stop-first",
                pb::UpdateOrder::StartFirst => "start-first",
            },
            failure_action: match config.failure_action() {
                pb::FailureAction::Pause => "pause",
                pb::FailureAction::Continue => "continue",
                pb::FailureAction::Rollback => "rollback",
            },
            max_failure_ratio: f64::from(config.failure_ratio_millionths_max) / 1e6,
        }
    }
}

/// The update or rollback that runs, or the last one.
#[derive(Serialize)]
pub(crate) struct UpdateStatus {
    pub(crate) state: &'static str,
    pub(crate) started_at: Option<String>,
    pub(crate) completed_at: Option<String>,
    pub(crate) message: String,
}

impl From<pb::UpdateStatus> for UpdateStatus {
    fn from(status: pb::UpdateStatus) -> Self {
        Self {
            state: status.state().as_str(),
            started_at: at(status.started_at),
            completed_at: at(status.completed_at),
            message: status.message,
        }
    }
}

/// A service, and what its tasks are.
#[derive(Serialize)]
pub(crate) struct Service {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) mode: &'static str,
    pub(crate) replicas: Option<u64>,
    pub(crate) running_tasks: u64,
    pub(crate) desired_tasks: u64,
    pub(crate) runtime: &'static str,
    pub(crate) image: String,
    pub(crate) command: Vec<String>,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) dir: String,
    pub(crate) user: String,
    pub(crate) stop_signal: String,
    pub(crate) stop_grace_ms: Option<u64>,
    pub(crate) secrets: Vec<Reference>,
    pub(crate) configs: Vec<ConfigReference>,
    pub(crate) restart: Option<Restart>,
    pub(crate) constraints: Vec<String>,
    pub(crate) replicas_per_node_max: u64,
    pub(crate) spread_over: Vec<String>,
    pub(crate) reserved_nano_cpus: u64,
    pub(crate) reserved_memory_bytes: u64,
    pub(crate) update_config: Option<UpdateConfig>,
    pub(crate) rollback_config: Option<UpdateConfig>,
    pub(crate) force_update: u64,
    pub(crate) logs: &'static str,
    pub(crate) created_at: Option<String>,
    pub(crate) updated_at: Option<String>,
    pub(crate) revision: u64,
    pub(crate) spec_revision: u64,
    pub(crate) has_previous_spec: bool,
    pub(crate) update: Option<UpdateStatus>,
}

const UNKNOWN: &str = "unknown";

fn condition(number: i32) -> &'static str {
    match RestartCondition::from_number(number) {
        Ok(RestartCondition::Any) => "any",
        Ok(RestartCondition::OnFailure) => "on-failure",
        Ok(RestartCondition::None) => "none",
        Err(_) => UNKNOWN,
    }
}

fn log_policy(number: i32) -> &'static str {
    match LogPolicy::from_number(number) {
        Ok(LogPolicy::Files) => "files",
        Ok(LogPolicy::Memory) => "memory",
        Ok(LogPolicy::None) => "none",
        Err(_) => UNKNOWN,
    }
}

impl From<pb::ServiceInfo> for Service {
    fn from(info: pb::ServiceInfo) -> Self {
        let spec = info.spec.unwrap_or_default();
        let task = spec.task.unwrap_or_default();
        let placement = task.placement.unwrap_or_default();
        let resources = task.resources.unwrap_or_default();
        let (mode, replicas) = match spec.mode {
            Some(pb::service_spec::Mode::Replicas(replicas)) => ("replicated", Some(replicas)),
            Some(pb::service_spec::Mode::Global(_)) => ("global", None),
            None => ("replicated", Some(1)),
        };
        Self {
            id: info.id,
            name: spec.name,
            labels: spec.labels,
            mode,
            replicas,
            running_tasks: info.running_tasks,
            desired_tasks: info.desired_tasks,
            runtime: RuntimeKind::from_number(task.runtime).map_or(UNKNOWN, RuntimeKind::as_str),
            image: task.image,
            command: task.command,
            args: task.args,
            env: task.env,
            dir: task.dir,
            user: task.user,
            stop_signal: task.stop_signal,
            stop_grace_ms: task.stop_grace_ms,
            secrets: references(task.secrets, &info.followed),
            configs: task.configs.into_iter().map(Into::into).collect(),
            restart: task.restart.map(|restart| Restart {
                condition: condition(restart.condition),
                delay_ms: restart.delay_ms,
                attempts_max: restart.attempts_max,
                window_ms: restart.window_ms,
            }),
            constraints: placement.constraints,
            replicas_per_node_max: placement.replicas_per_node_max,
            spread_over: placement.spread_over,
            reserved_nano_cpus: resources.reserved_nano_cpus,
            reserved_memory_bytes: resources.reserved_memory_bytes,
            update_config: spec.update.map(Into::into),
            rollback_config: spec.rollback.map(Into::into),
            force_update: task.force_update,
            logs: log_policy(task.logs),
            created_at: at(info.created_at),
            updated_at: at(info.updated_at),
            revision: info.revision,
            spec_revision: info.spec_revision,
            has_previous_spec: info.previous_spec.is_some(),
            update: info.update.map(Into::into),
        }
    }
}

/// A secret on a running task's tmpfs.
#[derive(Serialize)]
pub(crate) struct Mounted {
    pub(crate) secret_id: String,
    pub(crate) version: u64,
    pub(crate) since: Option<String>,
}

/// A task.
#[derive(Serialize)]
pub(crate) struct Task {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) service_id: String,
    pub(crate) service: String,
    pub(crate) slot: u64,
    pub(crate) node_id: String,
    pub(crate) node: String,
    pub(crate) desired_state: &'static str,
    pub(crate) state: &'static str,
    pub(crate) state_since: Option<String>,
    pub(crate) message: String,
    pub(crate) exit_code: Option<i32>,
    pub(crate) created_at: Option<String>,
    pub(crate) spec_revision: u64,
    pub(crate) secrets: Vec<Reference>,
    pub(crate) mounted: Vec<Mounted>,
}

/// `SERVICE.SLOT`, or `SERVICE.NODE` for a task of a global service, which has no slot.
pub(crate) fn task_name(task: &pb::TaskInfo) -> String {
    match task.slot {
        0 => format!("{}.{}", task.service_name, task.node_id),
        slot => format!("{}.{slot}", task.service_name),
    }
}

/// The name of a task's state.
pub(crate) fn state_name(number: i32) -> &'static str {
    TaskState::from_number(number).map_or(UNKNOWN, TaskState::as_str)
}

impl From<pb::TaskInfo> for Task {
    fn from(info: pb::TaskInfo) -> Self {
        let name = task_name(&info);
        let status = info.status.unwrap_or_default();
        let mounted = status.mounted.into_iter().map(|mounted| Mounted {
            secret_id: mounted.secret_id,
            version: mounted.version,
            since: at(mounted.since),
        });
        Self {
            id: info.id,
            name,
            service_id: info.service_id,
            service: info.service_name,
            slot: info.slot,
            node_id: info.node_id,
            node: info.node_hostname,
            desired_state: DesiredState::from_number(info.desired_state)
                .map_or(UNKNOWN, DesiredState::as_str),
            state: state_name(status.state),
            state_since: at(status.at),
            message: status.message,
            exit_code: status.exit_code,
            created_at: at(info.created_at),
            spec_revision: info.spec_revision,
            secrets: references(info.secrets, &info.followed),
            mounted: mounted.collect(),
        }
    }
}

/// A line of a task's output.
#[derive(Serialize)]
pub(crate) struct OutputLine {
    pub(crate) task_id: String,
    pub(crate) task: String,
    pub(crate) node: String,
    pub(crate) at: Option<String>,
    pub(crate) stream: &'static str,
    /// Bytes that are no text are replaced.
    pub(crate) line: String,
    pub(crate) dropped: u64,
}

/// An id that may be missing.
pub(crate) fn some_hex(id: &[u8]) -> Option<String> {
    (!id.is_empty()).then(|| hex::encode(id))
}

/// A manager as a member.
#[derive(Serialize)]
pub(crate) struct Member {
    pub(crate) id: u64,
    pub(crate) node_id: String,
    pub(crate) hostname: String,
    pub(crate) address: String,
    pub(crate) state: &'static str,
    pub(crate) leader: bool,
    pub(crate) reachable: bool,
    pub(crate) matched_index: u64,
    pub(crate) version: String,
    pub(crate) level_max: u32,
    pub(crate) disk_free_bytes: u64,
    pub(crate) memory_protection: String,
    pub(crate) unlocked_by: String,
    pub(crate) key_file_generation: u64,
    /// The unlock key that its key file needs.
    pub(crate) unlock_key_id: Option<String>,
    pub(crate) unlock_seed_left: Option<String>,
    /// When its peers were last given what opens it.
    pub(crate) peers_since: Option<String>,
}

impl From<pb::MemberInfo> for Member {
    fn from(info: pb::MemberInfo) -> Self {
        Self {
            state: match info.state() {
                pb::MemberState::Joining => "joining",
                pb::MemberState::Learner => "learner",
                pb::MemberState::Voter => "voter",
                pb::MemberState::Leaving => "leaving",
            },
            id: info.id,
            node_id: info.node_id,
            hostname: info.hostname,
            address: info.address,
            leader: info.leader,
            reachable: info.reachable,
            matched_index: info.matched_index,
            version: info.version,
            level_max: info.level_max,
            disk_free_bytes: info.disk_free_bytes,
            memory_protection: info.memory_protection,
            unlocked_by: info.unlocked_by,
            key_file_generation: info.key_file_generation,
            unlock_key_id: some_hex(&info.unlock_key_id),
            unlock_seed_left: Some(info.unlock_seed_left).filter(|path| !path.is_empty()),
            peers_since: at(info.peers_since),
        }
    }
}

/// What a node's agent said of its machine when it was admitted.
#[derive(Serialize)]
pub(crate) struct Machine {
    pub(crate) nano_cpus: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) os: String,
    pub(crate) architecture: String,
}

/// A machine.
#[derive(Serialize)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) hostname: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) availability: &'static str,
    pub(crate) state: &'static str,
    pub(crate) has_agent: bool,
    pub(crate) member: Option<Member>,
    pub(crate) message: String,
    pub(crate) agent_version: String,
    pub(crate) certificate_not_after: Option<String>,
    pub(crate) created_at: Option<String>,
    pub(crate) updated_at: Option<String>,
    pub(crate) revision: u64,
    pub(crate) machine: Option<Machine>,
}

impl From<pb::NodeInfo> for Node {
    fn from(info: pb::NodeInfo) -> Self {
        Self {
            availability: match info.availability() {
                pb::Availability::Active => "active",
                pb::Availability::Pause => "pause",
                pb::Availability::Drain => "drain",
            },
            state: match info.state() {
                pb::NodeState::Unknown => UNKNOWN,
                pb::NodeState::Ready => "ready",
                pb::NodeState::Down => "down",
            },
            id: info.id,
            hostname: info.hostname,
            labels: info.labels,
            has_agent: info.has_agent,
            member: info.member.map(Into::into),
            message: info.message,
            agent_version: info.agent_version,
            certificate_not_after: at(info.certificate_not_after),
            created_at: at(info.created_at),
            updated_at: at(info.updated_at),
            revision: info.revision,
            machine: info.machine.map(|machine| Machine {
                nano_cpus: machine.nano_cpus,
                memory_bytes: machine.memory_bytes,
                os: machine.os,
                architecture: machine.architecture,
            }),
        }
    }
}

/// A node that was evicted.
#[derive(Serialize)]
pub(crate) struct RemovedNode {
    pub(crate) id: String,
    pub(crate) hostname: String,
    pub(crate) delivered_secrets: Vec<String>,
}

#[derive(Serialize)]
pub(crate) struct Problem {
    pub(crate) severity: String,
    pub(crate) message: String,
    pub(crate) hints: Vec<String>,
}

/// The cluster.
#[derive(Serialize)]
pub(crate) struct Cluster {
    pub(crate) phase: String,
    pub(crate) problems: Vec<Problem>,
    pub(crate) realm: String,
    pub(crate) incarnation: u64,
    pub(crate) created_at: Option<String>,
    pub(crate) leader: Option<u64>,
    pub(crate) term: u64,
    pub(crate) applied_index: u64,
    pub(crate) answered_by: u64,
    pub(crate) members: Vec<Member>,
    pub(crate) secrets: u64,
    pub(crate) services: u64,
    pub(crate) tasks: u64,
    pub(crate) nodes: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) payload_quota_bytes: u64,
    pub(crate) level: u32,
    pub(crate) autolock: bool,
    pub(crate) ca_digest: String,
    pub(crate) root_key_id: String,
    pub(crate) transit_key_id: String,
    pub(crate) recipients_generation: u64,
    pub(crate) unlock_key_id: Option<String>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) root_key_rotation: Option<RootRotation>,
    pub(crate) peers: Option<Peers>,
    pub(crate) unlock_key_readable: bool,
    pub(crate) ca_rotation: Option<CaRotation>,
    pub(crate) certificate_rotation: Option<CertificateRotation>,
}

impl From<pb::ClusterStatus> for Cluster {
    fn from(status: pb::ClusterStatus) -> Self {
        let problems = status.problems.into_iter().map(|problem| Problem {
            severity: problem.severity,
            message: problem.message,
            hints: problem.hints,
        });
        Self {
            phase: "serving".into(),
            problems: problems.collect(),
            realm: hex::encode(&status.realm),
            incarnation: status.incarnation,
            created_at: at(status.created_at),
            leader: Some(status.leader).filter(|leader| *leader > 0),
            term: status.term,
            applied_index: status.applied_index,
            answered_by: status.answered_by,
            members: status.members.into_iter().map(Into::into).collect(),
            secrets: status.secrets,
            services: status.services,
            tasks: status.tasks,
            nodes: status.nodes,
            payload_bytes: status.payload_bytes,
            payload_quota_bytes: status.payload_quota_bytes,
            level: status.level,
            autolock: status.autolock,
            ca_digest: hex::encode(&status.ca_digest),
            root_key_id: hex::encode(&status.root_key_id),
            transit_key_id: hex::encode(&status.transit_key_id),
            recipients_generation: status.recipients_generation,
            unlock_key_id: some_hex(&status.unlock_key_id),
            slots: status.slots.iter().map(Into::into).collect(),
            root_key_rotation: status.root_rotation.map(Into::into),
            peers: status.peers.as_ref().map(Into::into),
            unlock_key_readable: status.unlock_key_readable,
            ca_rotation: status.ca_rotation.map(Into::into),
            certificate_rotation: status.certificate_rotation.map(Into::into),
        }
    }
}

/// A manager that is not serving, as its own machine sees it.
#[derive(Serialize)]
pub(crate) struct LocalManager {
    pub(crate) phase: String,
    pub(crate) problems: Vec<Problem>,
    pub(crate) version: String,
    pub(crate) realm: String,
    pub(crate) incarnation: u64,
    pub(crate) member: u64,
    pub(crate) node_id: String,
    pub(crate) address: String,
    pub(crate) slots: Vec<String>,
    pub(crate) unlock_key_id: Option<String>,
    pub(crate) entered_shares: Vec<EnteredShares>,
    pub(crate) failed_commands: Vec<FailedCommand>,
    /// Why its peers did not open it.
    pub(crate) peers_refusal: Option<String>,
}

/// A manager that became a member.
#[derive(Serialize)]
pub(crate) struct Joined {
    pub(crate) realm: Option<String>,
    pub(crate) node_id: String,
    pub(crate) member: u64,
    pub(crate) address: String,
    pub(crate) ca_digest: Option<String>,
    /// Of the key that was shown before.
    pub(crate) unlock_key_id: Option<String>,
}

/// A token, shown once.
#[derive(Serialize)]
pub(crate) struct NewToken {
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) expires_at: Option<String>,
    pub(crate) uses: Option<u32>,
}

/// A join token that can still be used.
#[derive(Serialize)]
pub(crate) struct Token {
    pub(crate) id: String,
    pub(crate) role: String,
    pub(crate) created_at: Option<String>,
    pub(crate) expires_at: Option<String>,
    pub(crate) uses_left: u32,
    pub(crate) created_by: String,
}

impl From<pb::JoinTokenInfo> for Token {
    fn from(info: pb::JoinTokenInfo) -> Self {
        Self {
            id: info.id,
            role: info.role,
            created_at: at(info.created_at),
            expires_at: at(info.expires_at),
            uses_left: info.uses_left,
            created_by: info.created_by,
        }
    }
}

/// Two members that changed places.
#[derive(Serialize)]
pub(crate) struct Replaced {
    pub(crate) removed: Option<Member>,
    pub(crate) added: Option<Member>,
}

/// An operator.
#[derive(Serialize)]
pub(crate) struct Operator {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) group: String,
    pub(crate) created_at: Option<String>,
    pub(crate) enrolled: bool,
    pub(crate) certificate_not_after: Option<String>,
}

impl From<pb::OperatorInfo> for Operator {
    fn from(info: pb::OperatorInfo) -> Self {
        Self {
            id: info.id,
            name: info.name,
            role: info.role,
            group: info.group,
            created_at: at(info.created_at),
            enrolled: info.enrolled,
            certificate_not_after: at(info.certificate_not_after),
        }
    }
}

/// A change that was made.
#[derive(Serialize)]
pub(crate) struct Audit {
    pub(crate) index: u64,
    pub(crate) at: Option<String>,
    pub(crate) caller: String,
    pub(crate) action: String,
    pub(crate) object: String,
    pub(crate) outcome: String,
    pub(crate) chain: String,
}

impl From<pb::AuditRecord> for Audit {
    fn from(record: pb::AuditRecord) -> Self {
        Self {
            index: record.index,
            at: at(record.at),
            caller: record.caller,
            action: record.action,
            object: record.object,
            outcome: record.outcome,
            chain: hex::encode(&record.chain),
        }
    }
}

/// A context, without its key.
#[derive(Serialize)]
pub(crate) struct ContextView {
    pub(crate) name: String,
    pub(crate) current: bool,
    pub(crate) realm: String,
    pub(crate) incarnation: u64,
    pub(crate) subject: String,
    pub(crate) managers: Vec<String>,
    pub(crate) certificate_not_after: Option<String>,
    pub(crate) renews_at: Option<String>,
    pub(crate) folder: String,
}

impl ContextView {
    /// What can be shown of a context that was read.
    pub(crate) fn of(stored: &crate::context::Stored, current: bool, folder: String) -> Self {
        Self {
            name: stored.name.clone(),
            current,
            realm: stored.facts.realm.clone(),
            incarnation: stored.facts.incarnation,
            subject: stored.says.identity.subject.to_string(),
            managers: stored.facts.managers.clone(),
            certificate_not_after: at(stored.says.not_after.0),
            renews_at: at(stored.facts.renew_at),
            folder,
        }
    }
}
