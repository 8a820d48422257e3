//! What users declare: services, the tasks they run, and the secrets and configs those refer to.
//!
//! The types are shared by the wire (through `convert`), the log and the scheduler. Names,
//! defaults and rules are Swarm's where Swarm has them. Not here: whether a referred object
//! exists (state decides).
//!
//! Invariant: a [`ServiceSpec`] made by [`ServiceSpec::check`] is within every bound and has no
//! two references with one target.

mod reference;

use core::fmt;
use core::str::FromStr;
use std::collections::BTreeMap;

pub use self::reference::{
    ConfigReference, FileMode, OnChange, SECRETS_FOLDER, SecretReference, VersionChoice,
};

use self::reference::{distinct_files, distinct_targets};
use crate::limits::{
    ARGUMENTS_MAX, CONSTRAINT_BYTES_MAX, CONSTRAINTS_MAX, EXTENSION_BYTES_MAX, NETWORKS_MAX,
    PREFERENCES_MAX, REFERENCES_MAX, REPLICAS_MAX, RESTARTS_IN_WINDOW_MAX, SPEC_BYTES_MAX,
};
use crate::name::{Labels, SecretName, ServiceName, Target};

/// A spec breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Two references write the same file.
    #[error("{what} references `{first}` and `{second}` have a conflicting target: `{target}`")]
    ConflictingTarget {
        /// Of secrets, of configs, or one of each.
        what: &'static str,
        /// The object named first.
        first: SecretName,
        /// The object named second.
        second: SecretName,
        /// The file both would write.
        target: Target,
    },
    /// A list or a text is too long.
    #[error("{what} is over its limit of {limit}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// A value is malformed.
    #[error("invalid {what}: {rule}")]
    Value {
        /// Which value.
        what: &'static str,
        /// The rule it breaks.
        rule: String,
    },
}

/// Where a task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum RuntimeKind {
    /// A process of the node's own system, in namespaces of its own.
    #[default]
    #[n(0)]
    Process,
    /// A container of the node's engine.
    #[n(1)]
    Docker,
}

impl RuntimeKind {
    /// The name in specs and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Docker => "docker",
        }
    }
}

/// Where a task's output is kept on its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum LogPolicy {
    /// Two rotated files in a 0700 folder.
    #[default]
    #[n(0)]
    Files,
    /// A ring in the supervisor's memory.
    #[n(1)]
    Memory,
    /// Nowhere.
    #[n(2)]
    None,
}

/// A signal, by number: 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct Signal(#[n(0)] u8);

/// signal(7), the numbers of x86-64 and arm64.
const SIGNALS: &[(&str, u8)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ABRT", 6),
    ("KILL", 9),
    ("USR1", 10),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("CONT", 18),
    ("WINCH", 28),
    ("PWR", 30),
];

impl Signal {
    /// SIGTERM, the default stop signal.
    pub const TERM: Self = Self(15);

    /// The number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl FromStr for Signal {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let upper = text.to_ascii_uppercase();
        let short = upper.strip_prefix("SIG").unwrap_or(&upper);
        let by_name = SIGNALS.iter().find(|(name, _)| *name == short).map(|(_, number)| *number);
        by_name
            .or_else(|| short.parse().ok().filter(|number| (1..=64).contains(number)))
            .map(Self)
            .ok_or_else(|| SpecError::Value {
                what: "stop signal",
                rule: format!("`{text}` is neither a signal's name nor a number from 1 to 64"),
            })
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIGNALS.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// When an ended task is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum RestartCondition {
    /// However it ended.
    #[default]
    #[n(0)]
    Any,
    /// When it failed.
    #[n(1)]
    OnFailure,
    /// Never.
    #[n(2)]
    None,
}

/// How ended tasks are replaced (Swarm's restart policy).
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct RestartPolicy {
    /// When.
    #[n(0)]
    pub condition: RestartCondition,
    /// Milliseconds between the end and the next start.
    #[n(1)]
    pub delay_ms: u64,
    /// Restarts of one slot within the window; 0 is without bound.
    #[n(2)]
    pub attempts_max: u64,
    /// Milliseconds in which attempts count; 0 is for ever.
    #[n(3)]
    pub window_ms: u64,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self { condition: RestartCondition::Any, delay_ms: 5_000, attempts_max: 0, window_ms: 0 }
    }
}

/// What stops an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum FailureAction {
    /// Stop and wait for an operator.
    #[default]
    #[n(0)]
    Pause,
    /// Go on.
    #[n(1)]
    Continue,
    /// Go back to the previous spec.
    #[n(2)]
    Rollback,
}

/// Which of the two tasks of a slot runs alone for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum UpdateOrder {
    /// The old one stops before the new one starts.
    #[default]
    #[n(0)]
    StopFirst,
    /// The new one runs before the old one stops.
    #[n(1)]
    StartFirst,
}

/// How a new spec reaches the tasks (Swarm's update config).
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct UpdateConfig {
    /// Slots updated at a time; 0 is all.
    #[n(0)]
    pub parallelism: u64,
    /// Milliseconds between two groups.
    #[n(1)]
    pub delay_ms: u64,
    /// What a failure does.
    #[n(2)]
    pub failure_action: FailureAction,
    /// Milliseconds a new task is watched for failure.
    #[n(3)]
    pub monitor_ms: u64,
    /// Failed tasks tolerated, in millionths of all.
    #[n(4)]
    pub failure_ratio_millionths_max: u32,
    /// Order within a slot.
    #[n(5)]
    pub order: UpdateOrder,
}

impl Default for UpdateConfig {
    fn default() -> Self {
        Self {
            parallelism: 1,
            delay_ms: 0,
            failure_action: FailureAction::Pause,
            monitor_ms: 5_000,
            failure_ratio_millionths_max: 0,
            order: UpdateOrder::StopFirst,
        }
    }
}

/// How many tasks, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub enum Mode {
    /// So many, anywhere.
    #[n(0)]
    Replicated(#[n(0)] u64),
    /// One on each node that fits.
    #[n(1)]
    Global,
}

/// `==` or `!=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// The node's value is this one.
    Equal,
    /// The node's value is not this one.
    NotEqual,
}

/// A rule on where tasks go: `node.labels.zone==eu`.
#[derive(Clone, PartialEq, Eq)]
pub struct Constraint {
    key: Box<str>,
    comparison: Comparison,
    value: Box<str>,
}

impl Constraint {
    /// What is compared, e.g. `node.hostname`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How.
    pub const fn comparison(&self) -> Comparison {
        self.comparison
    }

    /// With what; compared without regard to case.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a node whose value is `actual` (none if it has no such label) satisfies the rule.
    pub fn accepts(&self, actual: Option<&str>) -> bool {
        let equal = actual.is_some_and(|actual| actual.eq_ignore_ascii_case(&self.value));
        match self.comparison {
            Comparison::Equal => equal,
            Comparison::NotEqual => !equal,
        }
    }
}

impl FromStr for Constraint {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let wrong = |rule: &str| SpecError::Value { what: "constraint", rule: rule.into() };
        if text.len() > CONSTRAINT_BYTES_MAX {
            return Err(wrong("it must be 512 bytes or shorter"));
        }
        let (key, comparison, value) = if let Some((key, value)) = text.split_once("!=") {
            (key, Comparison::NotEqual, value)
        } else if let Some((key, value)) = text.split_once("==") {
            (key, Comparison::Equal, value)
        } else {
            return Err(wrong("constraint expected one operator from ==, !="));
        };
        let (key, value) = (key.trim(), value.trim());
        let key_fits = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && key.len() > 1
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !key_fits {
            return Err(wrong(&format!("key '{key}' is invalid")));
        }
        let value_fits = !value.is_empty()
            && value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b":-_ .*()?+[]\\^$|/".contains(&b));
        if !value_fits {
            return Err(wrong(&format!("value '{value}' is invalid")));
        }
        Ok(Self { key: key.into(), comparison, value: value.into() })
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = match self.comparison {
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
        };
        write!(f, "{}{operator}{}", self.key, self.value)
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<C> minicbor::Encode<C> for Constraint {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(&self.to_string())?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Constraint {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        d.str()?.parse().map_err(|_| minicbor::decode::Error::message("bad constraint"))
    }
}

/// Where the tasks of a service may go.
#[derive(Debug, Clone, PartialEq, Eq, Default, minicbor::Encode, minicbor::Decode)]
pub struct Placement {
    /// All of them must hold.
    #[n(0)]
    pub constraints: Vec<Constraint>,
    /// Node labels to spread over, most important first.
    #[n(1)]
    pub spread_over: Vec<String>,
    /// Tasks of the service on one node; 0 is without bound.
    #[n(2)]
    pub replicas_per_node_max: u64,
}

/// Processor and memory, as declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, minicbor::Encode, minicbor::Decode)]
pub struct Resources {
    /// Billionths of a processor that a task needs free.
    #[n(0)]
    pub reserved_nano_cpus: u64,
    /// Bytes of memory that a task needs free.
    #[n(1)]
    pub reserved_memory_bytes: u64,
}

/// One run of a service, as declared.
#[derive(Debug, Clone, PartialEq, Eq, Default, minicbor::Encode, minicbor::Decode)]
pub struct TaskSpec {
    /// Where it runs.
    #[n(0)]
    pub runtime: RuntimeKind,
    /// The image, for runtimes that have images.
    #[n(1)]
    pub image: String,
    /// The program and its arguments; for an image, what replaces its entry point.
    #[n(2)]
    pub command: Vec<String>,
    /// Arguments after the command.
    #[n(3)]
    pub args: Vec<String>,
    /// The environment, `KEY=VALUE` each.
    #[n(4)]
    pub env: Vec<String>,
    /// The working directory; the root folder unless given.
    #[n(5)]
    pub dir: String,
    /// The user: `name`, `uid`, `user:group`; root, or the agent's own user, unless given.
    #[n(6)]
    pub user: String,
    /// The signal that asks it to stop.
    #[n(7)]
    pub stop_signal: Option<Signal>,
    /// Milliseconds between that and SIGKILL.
    #[n(8)]
    pub stop_grace_ms: Option<u64>,
    /// The secrets it uses.
    #[n(9)]
    pub secrets: Vec<SecretReference>,
    /// How it is replaced when it ends.
    #[n(10)]
    pub restart: RestartPolicy,
    /// Where it may go.
    #[n(11)]
    pub placement: Placement,
    /// What it needs.
    #[n(12)]
    pub resources: Resources,
    /// Where its output is kept.
    #[n(13)]
    pub logs: LogPolicy,
    /// A counter that makes two equal specs differ, to force a redeploy.
    #[n(14)]
    pub force_update: u64,
    /// Networks it is attached to, by id or name; kept for the fronts that know networks.
    #[n(15)]
    pub networks: Vec<String>,
    /// The configs it uses. Not written where there are none: those of before had none.
    #[cbor(n(16), skip_if = "Vec::is_empty")]
    pub configs: Vec<ConfigReference>,
}

/// Milliseconds a task has to stop unless declared otherwise (Swarm's number).
pub const STOP_GRACE_MS_DEFAULT: u64 = 10_000;

/// A service, as declared.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct ServiceSpec {
    /// Its name, unique.
    #[n(0)]
    pub name: ServiceName,
    /// Its labels; changing them restarts nothing.
    #[n(1)]
    pub labels: Labels,
    /// What runs.
    #[n(2)]
    pub task: TaskSpec,
    /// How many.
    #[n(3)]
    pub mode: Mode,
    /// How updates roll.
    #[n(4)]
    pub update: UpdateConfig,
    /// How rollbacks roll.
    #[n(5)]
    pub rollback: UpdateConfig,
    /// What a front was given beyond the typed part, verbatim, by front: part of the dirty check,
    /// so that a foreign client's whole-spec update loses nothing.
    #[n(6)]
    pub extensions: BTreeMap<String, Extension>,
}

/// The extension of the Docker front: what else it was told of a container, which agents get as well.
pub const DOCKER_EXTENSION: &str = "docker";

/// Bytes that belong to one front.
#[derive(Clone, PartialEq, Eq, Debug, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct Extension(#[cbor(n(0), with = "minicbor::bytes")] pub Vec<u8>);

impl ServiceSpec {
    /// A spec with Swarm's defaults: one replica of nothing yet.
    pub fn new(name: ServiceName) -> Self {
        Self {
            name,
            labels: Labels::default(),
            task: TaskSpec::default(),
            mode: Mode::Replicated(1),
            update: UpdateConfig::default(),
            rollback: UpdateConfig::default(),
            extensions: BTreeMap::new(),
        }
    }

    /// Checks the rules that no single field can keep.
    pub fn check(&self) -> Result<(), SpecError> {
        let bound = |what, count: usize, limit: usize| {
            if count > limit { Err(SpecError::Limit { what, limit }) } else { Ok(()) }
        };
        let task = &self.task;
        bound("the number of secrets", task.secrets.len(), REFERENCES_MAX)?;
        bound("the number of configs", task.configs.len(), REFERENCES_MAX)?;
        bound("the number of arguments", task.command.len() + task.args.len(), ARGUMENTS_MAX)?;
        bound("the environment", task.env.len(), ARGUMENTS_MAX)?;
        bound("the number of constraints", task.placement.constraints.len(), CONSTRAINTS_MAX)?;
        bound("the number of preferences", task.placement.spread_over.len(), PREFERENCES_MAX)?;
        bound("the number of networks", task.networks.len(), NETWORKS_MAX)?;
        bound("the number of extensions", self.extensions.len(), 8)?;
        let named = [("preference", &task.placement.spread_over), ("network", &task.networks)];
        if let Some((what, _)) = named.iter().find(|(_, all)| all.iter().any(String::is_empty)) {
            return Err(SpecError::Value { what, rule: "it is empty".into() });
        }
        let restart = &task.restart;
        if restart.window_ms > 0 && restart.attempts_max > RESTARTS_IN_WINDOW_MAX {
            return Err(SpecError::Limit { what: "restarts within a window", limit: 100 });
        }
        for extension in self.extensions.values() {
            bound("an extension", extension.0.len(), EXTENSION_BYTES_MAX)?;
        }
        let texts = [&task.image, &task.dir, &task.user].into_iter();
        let texts = texts.chain(&task.command).chain(&task.args).chain(&task.env);
        let texts = texts.chain(&task.networks).chain(&task.placement.spread_over);
        let mut bytes = 0_usize;
        for text in texts {
            if text.contains('\0') {
                return Err(SpecError::Value {
                    what: "text",
                    rule: "NUL characters cannot be passed to a program".into(),
                });
            }
            bytes = bytes.saturating_add(text.len());
        }
        bound("the text of the spec", bytes, SPEC_BYTES_MAX)?;
        if let Some(odd) = task.env.iter().find(|e| e.split('=').next().is_none_or(str::is_empty)) {
            return Err(SpecError::Value {
                what: "environment",
                rule: format!("`{odd}` has no name before its `=`"),
            });
        }
        if let Mode::Replicated(replicas) = self.mode
            && replicas > REPLICAS_MAX
        {
            return Err(SpecError::Limit { what: "the number of replicas", limit: 10_000 });
        }
        distinct_targets(&task.secrets)?;
        distinct_files(&task.secrets, &task.configs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ConfigId, SecretId};

    fn reference(name: &str, target: &str) -> SecretReference {
        SecretReference {
            secret_id: SecretId::from_entropy([1; 17]),
            secret_name: name.parse().unwrap(),
            version: VersionChoice::Follow,
            target: target.parse().unwrap(),
            uid: None,
            gid: None,
            mode: FileMode::OWNER_READS,
            on_change: OnChange::Restart,
        }
    }

    fn spec(references: Vec<SecretReference>) -> ServiceSpec {
        let mut spec = ServiceSpec::new("web".parse().unwrap());
        spec.task.secrets = references;
        spec
    }

    #[test]
    fn one_secret_may_have_two_targets_but_not_two_one() {
        assert!(spec(vec![reference("a", "x"), reference("a", "y")]).check().is_ok());
        let error = spec(vec![reference("a", "x"), reference("b", "x")]).check().unwrap_err();
        assert_eq!(
            error.to_string(),
            "secret references `a` and `b` have a conflicting target: `x`"
        );
        assert!(spec(vec![reference("a", "x"), reference("b", "x/y")]).check().is_err());
        assert!(spec(vec![reference("a", "x/y"), reference("b", "x")]).check().is_err());
        assert!(spec(vec![reference("a", "x"), reference("b", "xy")]).check().is_ok());
    }

    #[test]
    fn bounds_hold_at_the_bound_and_one_past_it() {
        let many = |n: usize| (0..n).map(|i| reference("a", &format!("t{i}"))).collect();
        assert!(spec(many(REFERENCES_MAX)).check().is_ok());
        assert!(spec(many(REFERENCES_MAX + 1)).check().is_err());

        let mut configs = spec(vec![]);
        let config = |i: usize| ConfigReference {
            config_id: ConfigId::from_entropy([1; 17]),
            config_name: "site".parse().unwrap(),
            target: format!("c{i}").parse().unwrap(),
            uid: None,
            gid: None,
            mode: FileMode::ALL_READ,
        };
        configs.task.configs = (0..REFERENCES_MAX).map(config).collect();
        assert!(configs.check().is_ok());
        configs.task.configs.push(config(REFERENCES_MAX));
        assert!(configs.check().is_err());

        let mut env = spec(vec![]);
        env.task.env = vec!["A=B".into(); ARGUMENTS_MAX];
        assert!(env.check().is_ok());
        env.task.env.push("A=B".into());
        assert!(env.check().is_err());

        let mut replicas = spec(vec![]);
        replicas.mode = Mode::Replicated(REPLICAS_MAX);
        assert!(replicas.check().is_ok());
        replicas.mode = Mode::Replicated(REPLICAS_MAX + 1);
        assert!(replicas.check().is_err());

        let mut restarts = spec(vec![]);
        restarts.task.restart.window_ms = 1;
        restarts.task.restart.attempts_max = RESTARTS_IN_WINDOW_MAX;
        assert!(restarts.check().is_ok());
        restarts.task.restart.attempts_max += 1;
        assert!(restarts.check().is_err());
        restarts.task.restart.window_ms = 0;
        assert!(restarts.check().is_ok(), "without a window no times are kept");

        let mut text = spec(vec![]);
        text.task.args = vec!["x".repeat(SPEC_BYTES_MAX)];
        assert!(text.check().is_ok());
        text.task.dir = "/".into();
        assert!(text.check().is_err());

        let mut extension = spec(vec![]);
        extension.extensions.insert("docker".into(), Extension(vec![0; EXTENSION_BYTES_MAX]));
        assert!(extension.check().is_ok());
        extension.extensions.insert("docker".into(), Extension(vec![0; EXTENSION_BYTES_MAX + 1]));
        assert!(extension.check().is_err());

        let mut constraints = spec(vec![]);
        let constraint: Constraint = "node.id==x".parse().unwrap();
        constraints.task.placement.constraints = vec![constraint.clone(); CONSTRAINTS_MAX];
        assert!(constraints.check().is_ok());
        constraints.task.placement.constraints.push(constraint);
        assert!(constraints.check().is_err());
    }

    #[test]
    fn odd_texts_are_refused() {
        let mut nul = spec(vec![]);
        nul.task.command = vec!["a\0b".into()];
        assert!(nul.check().is_err());
        let mut nameless = spec(vec![]);
        nameless.task.env = vec!["=x".into()];
        assert!(nameless.check().is_err());
    }

    #[test]
    fn constraints_read_as_swarm_reads_them() {
        let constraint: Constraint = " node.labels.zone == eu ".parse().unwrap();
        assert_eq!(constraint.key(), "node.labels.zone");
        assert!(constraint.accepts(Some("EU")));
        assert!(!constraint.accepts(None));
        let not: Constraint = "node.hostname!=a".parse().unwrap();
        assert!(not.accepts(None));
        assert!(!not.accepts(Some("a")));
        for bad in ["node.id", "==x", "node.id==", "node id==x", "node.id==snowman☃"] {
            assert!(bad.parse::<Constraint>().is_err(), "{bad}");
        }
        assert_eq!(constraint.to_string().parse::<Constraint>().unwrap(), constraint);
    }

    #[test]
    fn signals_have_names_and_numbers() {
        assert_eq!("SIGTERM".parse::<Signal>().unwrap(), Signal::TERM);
        assert_eq!("term".parse::<Signal>().unwrap(), Signal::TERM);
        assert_eq!("34".parse::<Signal>().unwrap().number(), 34);
        for bad in ["", "0", "65", "SIGNOPE"] {
            assert!(bad.parse::<Signal>().is_err(), "{bad}");
        }
    }
}
