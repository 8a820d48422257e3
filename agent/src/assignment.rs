//! What a manager assigns to this node: tasks, with every reference settled on a version.
//!
//! Read from the session's messages; what is malformed is refused as a whole, so that nothing
//! further in parses text. Not here: which assignments hold now (the session) and what follows
//! from them ([`crate::plan`]).

use proto::convert::{EnumField as _, ParseError, text};
use proto::id::{Revision, SecretId, ServiceId, TaskId, Version};
use proto::limits::{EXTENSION_BYTES_MAX, REFERENCES_MAX};
use proto::name::{SecretName, ServiceName, Target};
use proto::pb;
use proto::spec::{FileMode, TaskSpec};
use proto::task::DesiredState;

/// One version of one secret: what is held, and what a file is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretVersion {
    /// The secret.
    pub secret_id: SecretId,
    /// Which of its values.
    pub version: Version,
}

/// A reference whose version was settled when the task was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedReference {
    /// What the file holds.
    pub secret: SecretVersion,
    /// The secret's name as the user gave it, for messages.
    pub secret_name: SecretName,
    /// The file.
    pub target: Target,
    /// Its owner; the task's own user unless given.
    pub uid: Option<u32>,
    /// Its group; the task's own group unless given.
    pub gid: Option<u32>,
    /// Its permissions.
    pub mode: FileMode,
}

/// One task of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Which task.
    pub task_id: TaskId,
    /// Of which service.
    pub service_id: ServiceId,
    /// The service's name, for messages.
    pub service_name: ServiceName,
    /// Which of the service's slots.
    pub slot: u64,
    /// The task's revision in the cluster's state.
    pub revision: Revision,
    /// What the cluster wants of it.
    pub desired: DesiredState,
    /// What runs.
    pub spec: TaskSpec,
    /// Its files, and no others.
    pub secrets: Vec<ResolvedReference>,
    /// What a front was told of its container beyond the spec, as it was kept there: JSON, or nothing;
    /// none if no manager says.
    pub declared: Option<Vec<u8>>,
}

impl TryFrom<pb::ResolvedReference> for ResolvedReference {
    type Error = ParseError;

    fn try_from(message: pb::ResolvedReference) -> Result<Self, ParseError> {
        Ok(Self {
            secret: SecretVersion {
                secret_id: text("secrets.secret_id", &message.secret_id)?,
                version: Version(message.version),
            },
            secret_name: text("secrets.secret_name", &message.secret_name)?,
            target: text("secrets.target", &message.target)?,
            uid: message.uid,
            gid: message.gid,
            mode: FileMode::new(message.mode).map_err(|e| ParseError::new("secrets.mode", e))?,
        })
    }
}

impl TryFrom<pb::TaskAssignment> for Assignment {
    type Error = ParseError;

    fn try_from(message: pb::TaskAssignment) -> Result<Self, ParseError> {
        if message.secrets.len() > REFERENCES_MAX {
            return Err(ParseError::new("secrets", "more than a service may refer to"));
        }
        if message.declared.as_ref().is_some_and(|text| text.len() > EXTENSION_BYTES_MAX) {
            return Err(ParseError::new("declared", "more than a front may keep"));
        }
        Ok(Self {
            task_id: text("task_id", &message.task_id)?,
            service_id: text("service_id", &message.service_id)?,
            service_name: text("service_name", &message.service_name)?,
            slot: message.slot,
            revision: Revision(message.revision),
            desired: DesiredState::from_number(message.desired_state)?,
            spec: message.spec.ok_or_else(|| ParseError::missing("spec"))?.try_into()?,
            secrets: message
                .secrets
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            declared: message.declared.map(Into::into),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> pb::TaskAssignment {
        let reference = pb::ResolvedReference {
            secret_id: SecretId::from_entropy([1; 17]).to_string(),
            secret_name: "db".into(),
            version: 3,
            target: "db_password".into(),
            uid: Some(7),
            gid: None,
            mode: 0o440,
        };
        pb::TaskAssignment {
            task_id: TaskId::from_entropy([2; 17]).to_string(),
            service_id: ServiceId::from_entropy([3; 17]).to_string(),
            service_name: "web".into(),
            slot: 4,
            revision: 5,
            desired_state: pb::DesiredState::Shutdown.into(),
            spec: Some(pb::TaskSpec::default()),
            secrets: vec![reference],
            declared: Some(vec![b' '; EXTENSION_BYTES_MAX].into()),
        }
    }

    #[test]
    fn a_message_becomes_an_assignment() {
        let assignment = Assignment::try_from(message()).unwrap();
        assert_eq!(assignment.desired, DesiredState::Shutdown);
        assert_eq!(assignment.secrets[0].secret.version, Version(3));
        assert_eq!(assignment.secrets[0].mode.bits(), 0o440);
    }

    #[test]
    fn a_malformed_message_is_refused_by_field() {
        let refused = |change: fn(&mut pb::TaskAssignment)| {
            let mut message = message();
            change(&mut message);
            Assignment::try_from(message).unwrap_err().field
        };
        assert_eq!(refused(|m| m.task_id = "x".into()), "task_id");
        assert_eq!(refused(|m| m.desired_state = 9), "desired_state");
        assert_eq!(refused(|m| m.spec = None), "spec");
        assert_eq!(refused(|m| m.secrets[0].target = "../x".into()), "secrets.target");
        assert_eq!(refused(|m| m.secrets[0].mode = 0o10000), "secrets.mode");
        let too_many = |m: &mut pb::TaskAssignment| {
            m.secrets = vec![m.secrets[0].clone(); REFERENCES_MAX + 1];
        };
        assert_eq!(refused(too_many), "secrets");
        let too_long = |m: &mut pb::TaskAssignment| {
            m.declared = Some(vec![b' '; EXTENSION_BYTES_MAX + 1].into());
        };
        assert_eq!(refused(too_long), "declared");
    }
}
