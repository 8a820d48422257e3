//! Objects to messages: what may be read of them. There is no message with a secret's value.

use std::collections::BTreeMap;

use proto::convert::EnumField as _;
use proto::id::{MemberId, NodeId, SecretId, ServiceId, TaskId};
use proto::pb;
use proto::task::{DesiredState, TaskState, TaskStatus};
use state::object::{
    Availability, Followed, Member, MemberState, Node, NodeState, Secret, Service, StatusChange,
    Task, VersionState,
};
use state::{State, UpdateState, UpdateStatus};

use super::releases::since;
use crate::keys::recipients::unlock_key_at;

pub(super) fn secret(state: &State, id: SecretId, secret: &Secret) -> pb::SecretInfo {
    let versions = secret.versions.iter().map(|(version, value)| pb::SecretVersionInfo {
        version: version.0,
        created_at: value.created_at.0,
        created_by: value.created_by.to_string(),
        sealed_bytes: value.payload.ciphertext.as_bytes().len() as u64,
        root_key_id: value.payload.wrapped_dek.key_id().as_bytes().to_vec().into(),
        state: match value.state {
            VersionState::Live => "live".into(),
        },
    });
    let used_by = state.services_of_secret(id).map(|(_, service)| service.spec.name.to_string());
    pb::SecretInfo {
        id: id.to_string(),
        name: secret.name.to_string(),
        labels: secret.labels.as_map().clone(),
        created_at: secret.created_at.0,
        updated_at: secret.updated_at.0,
        revision: secret.revision.0,
        current_version: secret.current.0,
        versions: versions.collect(),
        usable_by: secret.usable_by.iter().map(ToString::to_string).collect(),
        used_by: used_by.collect(),
    }
}

pub(super) fn service(state: &State, id: ServiceId, service: &Service) -> pb::ServiceInfo {
    let running = state.tasks_of_service(id).filter(|(_, task)| {
        task.desired == DesiredState::Running && task.status.state == TaskState::Running
    });
    pb::ServiceInfo {
        id: id.to_string(),
        spec: Some(service.spec.clone().into()),
        previous_spec: service.previous_spec.clone().map(Into::into),
        created_at: service.created_at.0,
        updated_at: service.updated_at.0,
        revision: service.revision.0,
        spec_revision: service.spec_revision.0,
        running_tasks: running.count() as u64,
        desired_tasks: state::places_wanted(state, id, service),
        update: service.update.as_ref().map(update),
        followed: followed(service.followed.as_ref()),
    }
}

fn followed(settled: Option<&Followed>) -> BTreeMap<String, u64> {
    Followed::iter(settled).map(|(id, version)| (id.to_string(), version.0)).collect()
}

/// Where an update is, in the words that clients are told.
pub(crate) const fn update_state(state: UpdateState) -> pb::UpdateState {
    match state {
        UpdateState::Updating => pb::UpdateState::Updating,
        UpdateState::Paused => pb::UpdateState::Paused,
        UpdateState::Completed => pb::UpdateState::Completed,
        UpdateState::RollbackStarted => pb::UpdateState::RollbackStarted,
        UpdateState::RollbackPaused => pb::UpdateState::RollbackPaused,
        UpdateState::RollbackCompleted => pb::UpdateState::RollbackCompleted,
    }
}

fn update(update: &UpdateStatus) -> pb::UpdateStatus {
    pb::UpdateStatus {
        state: update_state(update.state).into(),
        started_at: update.started_at.0,
        completed_at: update.completed_at.map_or(0, |at| at.0),
        message: update.message.clone(),
    }
}

fn status(id: TaskId, change: &StatusChange, task: &Task) -> pb::TaskStatus {
    TaskStatus {
        task_id: id,
        state: change.state,
        at: change.at,
        message: change.message.clone(),
        exit_code: change.exit_code,
        mounted: task.mounted.clone(),
    }
    .into()
}

pub(super) fn task(state: &State, id: TaskId, task: &Task) -> pb::TaskInfo {
    // A global service's task has its node from the start.
    let node_id = task.node_id.or(task.for_node);
    let node = node_id.and_then(|id| state.node(id));
    pb::TaskInfo {
        id: id.to_string(),
        service_id: task.service_id.to_string(),
        service_name: task.service_name.to_string(),
        slot: task.slot,
        node_id: node_id.map(|id| id.to_string()).unwrap_or_default(),
        node_hostname: node.map(|node| node.hostname.to_string()).unwrap_or_default(),
        desired_state: task.desired.number(),
        status: Some(status(id, &task.status, task)),
        created_at: task.created_at.0,
        spec_revision: task.spec_revision.0,
        secrets: task.spec.secrets.iter().cloned().map(Into::into).collect(),
        history: task.history.iter().map(|change| status(id, change, task)).collect(),
        followed: followed(task.followed.as_ref()),
    }
}

pub(super) fn node(state: &State, id: NodeId, node: &Node) -> pb::NodeInfo {
    let availability = match node.availability {
        Availability::Active => pb::Availability::Active,
        Availability::Pause => pb::Availability::Pause,
        Availability::Drain => pb::Availability::Drain,
    };
    let node_state = match node.state {
        NodeState::Unknown => pb::NodeState::Unknown,
        NodeState::Ready => pb::NodeState::Ready,
        NodeState::Down => pb::NodeState::Down,
    };
    let certificates = state.certificates().values();
    let newest = certificates
        .filter(|c| !c.revoked && c.superseded_at.is_none())
        .filter(|c| c.subject == proto::identity::Subject::Agent(id))
        .map(|c| c.not_after.0)
        .max();
    let member = node.member.and_then(|member_id| {
        state.member(member_id).map(|object| member(state, member_id, object))
    });
    pb::NodeInfo {
        id: id.to_string(),
        hostname: node.hostname.to_string(),
        labels: node.labels.as_map().clone(),
        availability: availability.into(),
        state: node_state.into(),
        created_at: node.created_at.0,
        updated_at: node.updated_at.0,
        revision: node.revision.0,
        has_agent: node.has_agent,
        member,
        message: node.report.message.clone(),
        agent_version: node.report.agent_version.clone(),
        certificate_not_after: newest.unwrap_or(0),
        machine: node.machine.as_ref().map(|machine| pb::Machine {
            nano_cpus: machine.nano_cpus,
            memory_bytes: machine.memory_bytes,
            os: machine.os.clone(),
            architecture: machine.architecture.clone(),
        }),
    }
}

pub(super) fn member(state: &State, id: MemberId, member: &Member) -> pb::MemberInfo {
    let member_state = match member.state {
        MemberState::Joining => pb::MemberState::Joining,
        MemberState::Learner => pb::MemberState::Learner,
        MemberState::Voter => pb::MemberState::Voter,
        MemberState::Leaving => pb::MemberState::Leaving,
    };
    let hostname = state.node(member.node_id).map(|node| node.hostname.to_string());
    let generation = member.key_file_generation;
    let key = state.cluster().and_then(|cluster| unlock_key_at(&cluster.recipients, generation));
    pb::MemberInfo {
        id: id.0,
        node_id: member.node_id.to_string(),
        hostname: hostname.unwrap_or_default(),
        address: member.address.clone(),
        state: member_state.into(),
        level_max: member.level_max.into(),
        key_file_generation: generation,
        unlock_key_id: key.map(|id| id.as_bytes().to_vec().into()).unwrap_or_default(),
        peers_since: since(state, id).map_or(0, |at| at.0),
        ..pb::MemberInfo::default()
    }
}
