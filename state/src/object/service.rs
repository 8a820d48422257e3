//! Services and their tasks, as they are kept.
//!
//! Not here: how they change (`apply`), how far an update has got ([`crate::rollout`]).
//!
//! Invariant: a task holds the declaration it was made from; what its service declares later does not
//! reach it.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use proto::id::{NodeId, Revision, SecretId, ServiceId, Timestamp, Version};
use proto::name::{SecretName, ServiceName, Target};
use proto::spec::{
    FileMode, RestartCondition, SecretReference, ServiceSpec, TaskSpec, VersionChoice,
};
use proto::task::{DesiredState, Mounted, TaskState};

use super::RequestMark;
use crate::rollout::{MadeBy, UpdateStatus};

/// Which versions a declaration means where it follows secrets: those that are not the first.
///
/// Settled when it is declared, and when a secret is rotated; so a way back leads to the values of
/// then, and a task gets what was meant when it was made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct Followed(#[n(0)] BTreeMap<SecretId, Version>);

impl Followed {
    /// The value of a new secret.
    pub const FIRST: Version = Version(1);

    /// With what one secret means from now on.
    pub(crate) fn with(settled: Option<&Self>, secret: SecretId, version: Version) -> Option<Self> {
        let mut followed = settled.cloned().unwrap_or_default();
        if version == Self::FIRST {
            followed.0.remove(&secret);
        } else {
            followed.0.insert(secret, version);
        }
        (!followed.0.is_empty()).then_some(followed)
    }

    /// The versions that are not the first.
    pub fn iter(settled: Option<&Self>) -> impl Iterator<Item = (SecretId, Version)> {
        settled.into_iter().flat_map(|it| it.0.iter().map(|(id, version)| (*id, *version)))
    }

    /// The version that a reference of the declaration means.
    pub fn version_of(settled: Option<&Self>, reference: &SecretReference) -> Version {
        match reference.version {
            VersionChoice::Pinned(version) => version,
            VersionChoice::Follow => {
                let version = settled.and_then(|followed| followed.0.get(&reference.secret_id));
                version.copied().unwrap_or(Self::FIRST)
            }
        }
    }
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Service {
    /// What is declared.
    #[n(0)]
    pub spec: ServiceSpec,
    /// What was declared before.
    #[n(1)]
    pub previous_spec: Option<ServiceSpec>,
    /// When it was created.
    #[n(2)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[n(3)]
    pub updated_at: Timestamp,
    /// Revision of the last change.
    #[n(4)]
    pub revision: Revision,
    /// Revision of the last change that concerns its tasks.
    #[n(5)]
    pub spec_revision: Revision,
    /// The request that created it.
    #[n(6)]
    pub request: Option<RequestMark>,
    /// The `spec_revision` of what was declared before.
    #[n(7)]
    pub previous_spec_revision: Option<Revision>,
    /// The update or rollback that runs, or the last one.
    #[n(8)]
    pub update: Option<UpdateStatus>,
    /// Which versions it means where it follows secrets.
    #[n(9)]
    pub followed: Option<Followed>,
    /// Which what was declared before means.
    #[n(10)]
    pub previous_followed: Option<Followed>,
}

impl Service {
    /// The declaration of a revision, if it is this one or the one before.
    pub fn declared_at(&self, spec_revision: Revision) -> Option<&ServiceSpec> {
        if spec_revision == self.spec_revision {
            return Some(&self.spec);
        }
        self.previous_spec.as_ref().filter(|_| self.previous_spec_revision == Some(spec_revision))
    }
}

/// A reference whose version was settled when its task was assigned.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ResolvedReference {
    /// The secret.
    #[n(0)]
    pub secret_id: SecretId,
    /// Its name as the user gave it.
    #[n(1)]
    pub secret_name: SecretName,
    /// Which of its values.
    #[n(2)]
    pub version: Version,
    /// The file.
    #[n(3)]
    pub target: Target,
    /// Owner of the file.
    #[n(4)]
    pub uid: Option<u32>,
    /// Group of the file.
    #[n(5)]
    pub gid: Option<u32>,
    /// Its permissions.
    #[n(6)]
    pub mode: FileMode,
}

/// Where a task is, since when, and what there is to say.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct StatusChange {
    /// The state.
    #[n(0)]
    pub state: TaskState,
    /// Since when.
    #[n(1)]
    pub at: Timestamp,
    /// For people.
    #[n(2)]
    pub message: String,
    /// How it ended.
    #[n(3)]
    pub exit_code: Option<i32>,
}

/// One run of a service.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Task {
    /// Of which service.
    #[n(0)]
    pub service_id: ServiceId,
    /// Its name, kept for the time after the service is gone.
    #[n(1)]
    pub service_name: ServiceName,
    /// Which replica, from 1; 0 for a task of a global service.
    #[n(2)]
    pub slot: u64,
    /// What runs.
    #[n(3)]
    pub spec: TaskSpec,
    /// Of which declaration.
    #[n(4)]
    pub spec_revision: Revision,
    /// Where, once assigned.
    #[n(5)]
    pub node_id: Option<NodeId>,
    /// What is wanted of it.
    #[n(6)]
    pub desired: DesiredState,
    /// Where it is.
    #[n(7)]
    pub status: StatusChange,
    /// Where it was, oldest first.
    #[n(8)]
    pub history: Vec<StatusChange>,
    /// What is mounted, as its agent says.
    #[n(9)]
    pub mounted: Vec<Mounted>,
    /// Which values it gets, once assigned.
    #[n(10)]
    pub secrets: Vec<ResolvedReference>,
    /// Not to be placed before.
    #[n(11)]
    pub not_before: Timestamp,
    /// Restarts of its slot in the current window, this one included.
    #[n(12)]
    pub attempts: u64,
    /// When the first of the restarts that count was.
    #[n(13)]
    pub window_start: Timestamp,
    /// When it was made.
    #[n(14)]
    pub created_at: Timestamp,
    /// Revision of the last change that is not status.
    #[n(15)]
    pub revision: Revision,
    /// The node it is for, if its service is global.
    #[n(16)]
    pub for_node: Option<NodeId>,
    /// The update it was made under.
    #[n(17)]
    pub made_by: Option<MadeBy>,
    /// When it first ran, by the leader's clock.
    #[n(18)]
    pub ran_at: Option<Timestamp>,
    /// When its place was restarted within the policy's window, oldest first.
    #[n(19)]
    pub restarts: Option<Vec<Timestamp>>,
    /// Which versions it gets where its declaration follows secrets.
    #[n(20)]
    pub followed: Option<Followed>,
}

/// Where a task belongs: a replica's slot, or a node for a global service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which replica, from 1; 0 for a global service.
    pub slot: u64,
    /// Which node, for a global service.
    pub node: Option<NodeId>,
}

impl Task {
    /// Where it belongs.
    pub const fn place(&self) -> Place {
        Place { slot: self.slot, node: self.for_node }
    }

    /// Whether it is meant to run.
    pub fn is_wanted(&self) -> bool {
        self.desired <= DesiredState::Running
    }

    /// Whether it did what it was made for, by what its service declared, and is over.
    pub(crate) fn is_done(&self) -> bool {
        self.status.state == TaskState::Complete
            && self.spec.restart.condition != RestartCondition::Any
    }

    /// Whether the task holds, or may still come to hold, secrets on its node.
    pub fn is_live(&self) -> bool {
        !self.status.state.is_terminal()
    }
}
