//! Wire messages to validated types and back.
//!
//! Every value that a message carries as text, number or bytes becomes a type of its own here, or
//! a [`ParseError`] that names the field. Not here: rules that need the cluster's state.
//!
//! Invariant: `parse(render(x)) == x` for every spec (property-tested below).

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use bytes::Bytes;

use crate::id::{KeyId, PayloadId, RequestKey, Timestamp, Version};
use crate::name::Labels;
use crate::pb;
use crate::sealed::{Ciphertext, Encapsulation, SealedPayload, WrappedKey};
use crate::spec::{
    ConfigReference, Extension, FailureAction, FileMode, LogPolicy, Mode, OnChange, Placement,
    Resources, RestartCondition, RestartPolicy, RuntimeKind, SecretReference, ServiceSpec,
    TaskSpec, UpdateConfig, UpdateOrder, VersionChoice,
};
use crate::task::{DesiredState, Mounted, TaskState, TaskStatus};

/// A message holds a value that is not what its field is for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct ParseError {
    /// The field, by its name in the message.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl ParseError {
    /// An error of one field.
    pub fn new(field: &'static str, reason: impl Display) -> Self {
        Self { field, reason: reason.to_string() }
    }

    /// A message lacks a field that it must have.
    pub fn missing(field: &'static str) -> Self {
        Self::new(field, "must be provided")
    }
}

/// Reads a text field.
pub fn text<T>(field: &'static str, text: &str) -> Result<T, ParseError>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse().map_err(|reason| ParseError::new(field, reason))
}

/// Reads a field of exactly 16 bytes.
pub fn bytes_16<'a, T>(field: &'static str, bytes: &'a [u8]) -> Result<T, ParseError>
where
    T: TryFrom<&'a [u8]>,
    T::Error: Display,
{
    T::try_from(bytes).map_err(|reason| ParseError::new(field, reason))
}

/// Reads the request key of a changing call.
pub fn request_key(bytes: &[u8]) -> Result<RequestKey, ParseError> {
    bytes_16("request_key", bytes)
}

/// Reads labels.
pub fn labels(labels: BTreeMap<String, String>) -> Result<Labels, ParseError> {
    Labels::new(labels).map_err(|reason| ParseError::new("labels", reason))
}

impl TryFrom<pb::SealedPayload> for SealedPayload {
    type Error = ParseError;

    fn try_from(message: pb::SealedPayload) -> Result<Self, ParseError> {
        Ok(Self {
            payload_id: bytes_16::<PayloadId>("payload_id", &message.payload_id)?,
            transit_key_id: bytes_16::<KeyId>("transit_key_id", &message.transit_key_id)?,
            encapsulation: Encapsulation::new(message.encapsulation)
                .map_err(|e| ParseError::new("encapsulation", e))?,
            sealed_dek: WrappedKey::new(message.sealed_dek)
                .map_err(|e| ParseError::new("sealed_dek", e))?,
            // It is kept for long: as a slice it would keep the buffer of the whole message, which
            // for a small payload is a page or two.
            ciphertext: Ciphertext::new(Bytes::copy_from_slice(&message.ciphertext))
                .map_err(|e| ParseError::new("ciphertext", e))?,
        })
    }
}

impl From<SealedPayload> for pb::SealedPayload {
    fn from(payload: SealedPayload) -> Self {
        Self {
            payload_id: payload.payload_id.as_bytes().to_vec().into(),
            transit_key_id: payload.transit_key_id.as_bytes().to_vec().into(),
            encapsulation: payload.encapsulation.as_bytes().clone(),
            sealed_dek: payload.sealed_dek.as_bytes().clone(),
            ciphertext: payload.ciphertext.as_bytes().clone(),
        }
    }
}

/// One-to-one enums: a number that names no variant is refused, never guessed.
macro_rules! same_enum {
    ($field:literal, $pb:ident, $ours:ident { $($theirs:ident = $mine:ident),* $(,)? }) => {
        impl From<$ours> for pb::$pb {
            fn from(value: $ours) -> Self {
                match value { $($ours::$mine => Self::$theirs,)* }
            }
        }

        impl TryFrom<pb::$pb> for $ours {
            type Error = ParseError;

            fn try_from(value: pb::$pb) -> Result<Self, ParseError> {
                match value { $(pb::$pb::$theirs => Ok(Self::$mine),)* }
            }
        }

        impl EnumField for $ours {
            fn from_number(number: i32) -> Result<Self, ParseError> {
                pb::$pb::try_from(number)
                    .map_err(|_| ParseError::new($field, format!("{number} is not known")))?
                    .try_into()
            }

            fn number(self) -> i32 {
                i32::from(pb::$pb::from(self))
            }
        }
    };
}

/// An enum as protobuf carries it.
pub trait EnumField: Sized {
    /// Reads the number of a field.
    fn from_number(number: i32) -> Result<Self, ParseError>;
    /// The number for a field.
    fn number(self) -> i32;
}

same_enum!("on_change", OnChange, OnChange { Restart = Restart });
same_enum!("runtime", RuntimeKind, RuntimeKind { Process = Process, Docker = Docker });
same_enum!("logs", LogPolicy, LogPolicy { Files = Files, Memory = Memory, None = None });
same_enum!("restart.condition", RestartCondition, RestartCondition {
    Any = Any, OnFailure = OnFailure, None = None,
});
same_enum!("failure_action", FailureAction, FailureAction {
    Pause = Pause, Continue = Continue, Rollback = Rollback,
});
same_enum!("order", UpdateOrder, UpdateOrder { StopFirst = StopFirst, StartFirst = StartFirst });
same_enum!("desired_state", DesiredState, DesiredState {
    Ready = Ready, Running = Running, Shutdown = Shutdown, Remove = Remove,
});
same_enum!("state", TaskState, TaskState {
    New = New, Pending = Pending, Assigned = Assigned, Accepted = Accepted, Preparing = Preparing,
    Ready = Ready, Starting = Starting, Running = Running, Complete = Complete,
    Shutdown = Shutdown, Failed = Failed, Rejected = Rejected, Orphaned = Orphaned,
});

impl TryFrom<pb::SecretReference> for SecretReference {
    type Error = ParseError;

    fn try_from(message: pb::SecretReference) -> Result<Self, ParseError> {
        let mode = message.mode.unwrap_or_else(|| FileMode::OWNER_READS.bits());
        Ok(Self {
            secret_id: text("secret_id", &message.secret_id)?,
            secret_name: text("secret_name", &message.secret_name)?,
            version: match message.pinned_version {
                0 => VersionChoice::Follow,
                version => VersionChoice::Pinned(Version(version)),
            },
            target: text("target", &message.target)?,
            uid: message.uid,
            gid: message.gid,
            mode: FileMode::new(mode).map_err(|e| ParseError::new("mode", e))?,
            on_change: OnChange::from_number(message.on_change)?,
        })
    }
}

impl From<SecretReference> for pb::SecretReference {
    fn from(reference: SecretReference) -> Self {
        Self {
            secret_id: reference.secret_id.to_string(),
            secret_name: reference.secret_name.to_string(),
            pinned_version: match reference.version {
                VersionChoice::Follow => 0,
                VersionChoice::Pinned(version) => version.0,
            },
            target: reference.target.to_string(),
            uid: reference.uid,
            gid: reference.gid,
            mode: Some(reference.mode.bits()),
            on_change: reference.on_change.number(),
        }
    }
}

impl TryFrom<pb::ConfigReference> for ConfigReference {
    type Error = ParseError;

    fn try_from(message: pb::ConfigReference) -> Result<Self, ParseError> {
        let mode = message.mode.unwrap_or_else(|| FileMode::ALL_READ.bits());
        Ok(Self {
            config_id: text("config_id", &message.config_id)?,
            config_name: text("config_name", &message.config_name)?,
            target: text("target", &message.target)?,
            uid: message.uid,
            gid: message.gid,
            mode: FileMode::new(mode).map_err(|e| ParseError::new("mode", e))?,
        })
    }
}

impl From<ConfigReference> for pb::ConfigReference {
    fn from(reference: ConfigReference) -> Self {
        Self {
            config_id: reference.config_id.to_string(),
            config_name: reference.config_name.to_string(),
            target: reference.target.to_string(),
            uid: reference.uid,
            gid: reference.gid,
            mode: Some(reference.mode.bits()),
        }
    }
}

impl TryFrom<pb::RestartPolicy> for RestartPolicy {
    type Error = ParseError;

    fn try_from(message: pb::RestartPolicy) -> Result<Self, ParseError> {
        Ok(Self {
            condition: RestartCondition::from_number(message.condition)?,
            delay_ms: message.delay_ms,
            attempts_max: message.attempts_max,
            window_ms: message.window_ms,
        })
    }
}

impl From<RestartPolicy> for pb::RestartPolicy {
    fn from(policy: RestartPolicy) -> Self {
        Self {
            condition: policy.condition.number(),
            delay_ms: policy.delay_ms,
            attempts_max: policy.attempts_max,
            window_ms: policy.window_ms,
        }
    }
}

impl TryFrom<pb::UpdateConfig> for UpdateConfig {
    type Error = ParseError;

    fn try_from(message: pb::UpdateConfig) -> Result<Self, ParseError> {
        Ok(Self {
            parallelism: message.parallelism,
            delay_ms: message.delay_ms,
            failure_action: FailureAction::from_number(message.failure_action)?,
            monitor_ms: message.monitor_ms,
            failure_ratio_millionths_max: message.failure_ratio_millionths_max,
            order: UpdateOrder::from_number(message.order)?,
        })
    }
}

impl From<UpdateConfig> for pb::UpdateConfig {
    fn from(config: UpdateConfig) -> Self {
        Self {
            parallelism: config.parallelism,
            delay_ms: config.delay_ms,
            failure_action: config.failure_action.number(),
            monitor_ms: config.monitor_ms,
            failure_ratio_millionths_max: config.failure_ratio_millionths_max,
            order: config.order.number(),
        }
    }
}

impl TryFrom<pb::TaskSpec> for TaskSpec {
    type Error = ParseError;

    fn try_from(message: pb::TaskSpec) -> Result<Self, ParseError> {
        let placement = message.placement.unwrap_or_default();
        let constraints = placement.constraints.iter().map(|c| text("constraints", c));
        let resources = message.resources.unwrap_or_default();
        let stop_signal = match message.stop_signal.as_str() {
            "" => None,
            signal => Some(text("stop_signal", signal)?),
        };
        Ok(Self {
            runtime: RuntimeKind::from_number(message.runtime)?,
            image: message.image,
            command: message.command,
            args: message.args,
            env: message.env,
            dir: message.dir,
            user: message.user,
            stop_signal,
            stop_grace_ms: message.stop_grace_ms,
            secrets: message
                .secrets
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            restart: message.restart.map(TryInto::try_into).transpose()?.unwrap_or_default(),
            placement: Placement {
                constraints: constraints.collect::<Result<_, _>>()?,
                spread_over: placement.spread_over,
                replicas_per_node_max: placement.replicas_per_node_max,
            },
            resources: Resources {
                reserved_nano_cpus: resources.reserved_nano_cpus,
                reserved_memory_bytes: resources.reserved_memory_bytes,
            },
            logs: LogPolicy::from_number(message.logs)?,
            force_update: message.force_update,
            networks: message.networks,
            configs: message
                .configs
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl From<TaskSpec> for pb::TaskSpec {
    fn from(task: TaskSpec) -> Self {
        Self {
            runtime: task.runtime.number(),
            image: task.image,
            command: task.command,
            args: task.args,
            env: task.env,
            dir: task.dir,
            user: task.user,
            stop_signal: task.stop_signal.map(|signal| signal.to_string()).unwrap_or_default(),
            stop_grace_ms: task.stop_grace_ms,
            secrets: task.secrets.into_iter().map(Into::into).collect(),
            restart: Some(task.restart.into()),
            placement: Some(pb::Placement {
                constraints: task.placement.constraints.iter().map(ToString::to_string).collect(),
                spread_over: task.placement.spread_over,
                replicas_per_node_max: task.placement.replicas_per_node_max,
            }),
            resources: Some(pb::Resources {
                reserved_nano_cpus: task.resources.reserved_nano_cpus,
                reserved_memory_bytes: task.resources.reserved_memory_bytes,
            }),
            logs: task.logs.number(),
            force_update: task.force_update,
            networks: task.networks,
            configs: task.configs.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::ServiceSpec> for ServiceSpec {
    type Error = ParseError;

    /// Reads a spec and checks it whole.
    fn try_from(message: pb::ServiceSpec) -> Result<Self, ParseError> {
        let mode = match message.mode {
            None => Mode::Replicated(1),
            Some(pb::service_spec::Mode::Replicas(replicas)) => Mode::Replicated(replicas),
            Some(pb::service_spec::Mode::Global(_)) => Mode::Global,
        };
        let config = |config: Option<pb::UpdateConfig>| {
            config.map(UpdateConfig::try_from).transpose().map(Option::unwrap_or_default)
        };
        let extensions = message.extensions.into_iter();
        let spec = Self {
            name: text("name", &message.name)?,
            labels: labels(message.labels)?,
            task: message.task.unwrap_or_default().try_into()?,
            mode,
            update: config(message.update)?,
            rollback: config(message.rollback)?,
            extensions: extensions.map(|(front, bytes)| (front, Extension(bytes.into()))).collect(),
        };
        spec.check().map_err(|e| ParseError::new("spec", e))?;
        Ok(spec)
    }
}

impl From<ServiceSpec> for pb::ServiceSpec {
    fn from(spec: ServiceSpec) -> Self {
        let extensions = spec.extensions.into_iter();
        Self {
            name: spec.name.to_string(),
            labels: spec.labels.as_map().clone(),
            task: Some(spec.task.into()),
            mode: Some(match spec.mode {
                Mode::Replicated(replicas) => pb::service_spec::Mode::Replicas(replicas),
                Mode::Global => pb::service_spec::Mode::Global(true),
            }),
            update: Some(spec.update.into()),
            rollback: Some(spec.rollback.into()),
            extensions: extensions.map(|(front, extension)| (front, extension.0.into())).collect(),
        }
    }
}

impl TryFrom<pb::TaskStatus> for TaskStatus {
    type Error = ParseError;

    fn try_from(message: pb::TaskStatus) -> Result<Self, ParseError> {
        let mounted = message.mounted.into_iter().map(|mounted| {
            Ok(Mounted {
                secret_id: text("mounted.secret_id", &mounted.secret_id)?,
                version: Version(mounted.version),
                since: Timestamp(mounted.since),
            })
        });
        Ok(Self {
            task_id: text("task_id", &message.task_id)?,
            state: TaskState::from_number(message.state)?,
            at: Timestamp(message.at),
            message: message.message,
            exit_code: message.exit_code,
            mounted: mounted.collect::<Result<_, ParseError>>()?,
        })
    }
}

impl From<TaskStatus> for pb::TaskStatus {
    fn from(status: TaskStatus) -> Self {
        let mounted = status.mounted.into_iter();
        Self {
            task_id: status.task_id.to_string(),
            state: status.state.number(),
            at: status.at.0,
            message: status.message,
            exit_code: status.exit_code,
            mounted: mounted
                .map(|mounted| pb::Mounted {
                    secret_id: mounted.secret_id.to_string(),
                    version: mounted.version.0,
                    since: mounted.since.0,
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::SecretId;

    #[test]
    fn a_payload_does_not_keep_the_message_that_it_came_in() {
        let sealed = |length: usize| {
            let mut bytes = vec![0; length];
            bytes[..2].copy_from_slice(&[crate::sealed::FORMAT, 1]);
            Bytes::from(bytes)
        };
        let message = sealed(8 << 10);
        let payload = pb::SealedPayload {
            payload_id: vec![1; 16].into(),
            transit_key_id: vec![2; 16].into(),
            encapsulation: Encapsulation::x25519(&[3; 32]).as_bytes().clone(),
            sealed_dek: sealed(100),
            ciphertext: message.slice(..200),
        };
        let payload = SealedPayload::try_from(payload).unwrap();
        assert_eq!(payload.ciphertext.as_bytes(), &message.slice(..200));
        assert!(message.is_unique());
    }

    fn reference() -> impl Strategy<Value = SecretReference> {
        (any::<[u8; 17]>(), "[a-z]{1,8}", 0_u64..3, any::<Option<u32>>(), 0_u32..=0o7777).prop_map(
            |(id, name, version, uid, mode)| SecretReference {
                secret_id: SecretId::from_entropy(id),
                secret_name: name.parse().unwrap(),
                version: match version {
                    0 => VersionChoice::Follow,
                    version => VersionChoice::Pinned(Version(version)),
                },
                target: SecretId::from_entropy(id).as_str().parse().unwrap(),
                uid,
                gid: uid,
                mode: FileMode::new(mode).unwrap(),
                on_change: OnChange::Restart,
            },
        )
    }

    fn config() -> impl Strategy<Value = ConfigReference> {
        reference().prop_map(|like| ConfigReference {
            config_id: like.secret_id.as_str().parse().unwrap(),
            config_name: like.secret_name,
            target: like.target,
            uid: like.uid,
            gid: like.gid,
            mode: like.mode,
        })
    }

    prop_compose! {
        fn spec()(
            name in "[a-z]{1,8}",
            labels in prop::collection::btree_map("[a-z]{1,4}", "[a-z]{0,4}", 0..4),
            command in prop::collection::vec("[a-z ]{0,8}", 0..4),
            env in prop::collection::vec("[A-Z]{1,4}=[a-z]{0,4}", 0..4),
            secrets in prop::collection::vec(reference(), 0..4),
            configs in prop::collection::vec(config(), 0..4),
            replicas in prop::option::of(0_u64..10),
            numbers in any::<[u32; 6]>(),
            signal in prop::option::of(1_u8..=64),
            extension in prop::option::of(prop::collection::vec(any::<u8>(), 0..64)),
        ) -> ServiceSpec {
            let mut spec = ServiceSpec::new(name.parse().unwrap());
            spec.labels = Labels::new(labels).unwrap();
            spec.task.command = command;
            spec.task.env = env;
            spec.task.secrets = secrets;
            spec.task.configs = configs;
            spec.task.stop_signal = signal.map(|number| number.to_string().parse().unwrap());
            spec.task.stop_grace_ms = replicas;
            spec.task.restart.delay_ms = numbers[0].into();
            spec.task.restart.condition = RestartCondition::OnFailure;
            spec.task.placement.constraints = vec!["node.labels.zone==eu".parse().unwrap()];
            spec.task.resources.reserved_memory_bytes = numbers[1].into();
            spec.task.logs = LogPolicy::Memory;
            spec.task.force_update = numbers[2].into();
            spec.mode = replicas.map_or(Mode::Global, Mode::Replicated);
            spec.update.parallelism = numbers[3].into();
            spec.update.order = UpdateOrder::StartFirst;
            spec.rollback.failure_ratio_millionths_max = numbers[4];
            spec.extensions = extension.map(|e| ("docker".into(), Extension(e))).into_iter().collect();
            spec
        }
    }

    proptest! {
        #[test]
        fn a_spec_survives_the_wire(spec in spec()) {
            prop_assume!(spec.check().is_ok());
            let message = pb::ServiceSpec::from(spec.clone());
            prop_assert_eq!(ServiceSpec::try_from(message), Ok(spec));
        }

        #[test]
        fn a_spec_survives_the_log(spec in spec()) {
            let bytes = minicbor::to_vec(&spec).unwrap();
            prop_assert_eq!(minicbor::decode::<ServiceSpec>(&bytes).unwrap(), spec);
        }
    }

    #[test]
    fn absent_parts_get_swarms_defaults() {
        let message = pb::ServiceSpec { name: "web".into(), ..Default::default() };
        let spec = ServiceSpec::try_from(message).unwrap();
        assert_eq!(spec, ServiceSpec::new("web".parse().unwrap()));
    }

    #[test]
    fn unknown_numbers_are_refused_by_field() {
        let mut message = pb::ServiceSpec { name: "web".into(), ..Default::default() };
        message.task = Some(pb::TaskSpec { runtime: 9, ..Default::default() });
        assert_eq!(
            ServiceSpec::try_from(message).unwrap_err().to_string(),
            "runtime: 9 is not known"
        );
    }

    #[test]
    fn a_status_survives_the_wire() {
        let status = TaskStatus {
            task_id: crate::id::TaskId::from_entropy([4; 17]),
            state: TaskState::Failed,
            at: Timestamp(17),
            message: "exit status 3".into(),
            exit_code: Some(3),
            mounted: vec![Mounted {
                secret_id: SecretId::from_entropy([5; 17]),
                version: Version(2),
                since: Timestamp(16),
            }],
        };
        assert_eq!(TaskStatus::try_from(pb::TaskStatus::from(status.clone())), Ok(status));
    }
}
