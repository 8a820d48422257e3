//! Compose files: what a stack is, read from YAML and merged.
//!
//! Version 3.1 and later, and the present specification, as far as managers have what a key asks for.
//! A key that is known and not supported is named in a warning; one that is not known is refused with
//! its line and column; one without which something else would run than was written is refused, too.
//! Pure: files come as texts, variables and `env_file`s through [`Outside`]. Not here: values of secrets,
//! managers (`command::stack`).
//!
//! Invariant: a text is read or refused, whatever it is; what is read can be declared, but for the ids
//! of its secrets.

mod declare;
mod interpolate;
mod merge;
mod node;
mod read;
mod service;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use proto::spec::FileMode;
use serde::{Serialize, Serializer};

pub(crate) use self::declare::{
    DeclareError, NAMESPACE, StackSecret, ValueFrom, check, configs, declare, secrets,
};
pub(crate) use self::node::FILE_BYTES_MAX;
use self::node::Place;
use crate::instant::format_duration;

/// Files of one stack: a base and what others put over it.
pub(crate) const FILES_MAX: usize = 16;

/// What a stack is read from, beside its files.
pub(crate) struct Outside<'a> {
    /// The value of a variable of whoever deploys.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
    /// The text of an `env_file`, by the path in the compose file; none if there is no such file.
    pub(crate) env_file: &'a dyn Fn(&str) -> Result<Option<String>, String>,
}

/// A file cannot be read as a stack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub(crate) struct ComposeError {
    place: Place,
    message: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl Place {
    fn wrong(&self, message: impl Into<String>) -> ComposeError {
        ComposeError { place: self.clone(), message: message.into() }
    }
}

/// What is read, and what its author may not have meant.
#[derive(Debug)]
pub(crate) struct Read {
    /// The stack.
    pub(crate) stack: Stack,
    /// Sentences, each with its place.
    pub(crate) warnings: Vec<String>,
}

/// Reads files and puts each over those before it.
///
/// # Errors
///
/// If one of them is malformed, or asks for what cannot be.
pub(crate) fn read(files: &[(&str, &str)], outside: &Outside<'_>) -> Result<Read, ComposeError> {
    let mut reader = read::Reader::new(outside);
    let mut stack = Stack::default();
    for (name, text) in files {
        let root = node::parse(&Rc::from(*name), text)?;
        let next = reader.file(root)?;
        stack.put_over(next);
    }
    let warnings = reader.warnings();
    Ok(Read { stack, warnings })
}

/// A stack as a compose file that is read as the same stack: its dollars are meant.
pub(crate) fn shown(stack: &Stack) -> serde_json::Result<serde_json::Value> {
    let mut value = serde_json::to_value(stack)?;
    double_dollars(&mut value);
    Ok(value)
}

fn double_dollars(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => *text = text.replace('$', "$$"),
        serde_json::Value::Array(items) => items.iter_mut().for_each(double_dollars),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(double_dollars),
        _ => {}
    }
}

/// A stack: what its files say together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Stack {
    pub(crate) services: BTreeMap<String, Service>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) secrets: BTreeMap<String, Secret>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) configs: BTreeMap<String, Secret>,
}

/// A service of a stack. What was not said is absent, so that another file can say it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Service {
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(rename = "x-secretd", skip_serializing_if = "Option::is_none")]
    extension: Option<Extension>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<Vec<String>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    environment: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_grace_period: Option<Span>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<SecretUse>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    configs: Vec<SecretUse>,
    deploy: Deploy,
}

/// What compose files have no key for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Extension {
    runtime: Runtime,
}

/// Where a service's tasks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Runtime {
    Process,
    Docker,
}

/// A secret or config that a service uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct SecretUse {
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "texts::plain")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "texts::plain")]
    gid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "texts::plain")]
    mode: Option<FileMode>,
}

/// How a service is deployed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
struct Deploy {
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replicas: Option<u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Rolls::is_silent")]
    update_config: Rolls,
    #[serde(skip_serializing_if = "Rolls::is_silent")]
    rollback_config: Rolls,
    #[serde(skip_serializing_if = "Restart::is_silent")]
    restart_policy: Restart,
    #[serde(skip_serializing_if = "Placed::is_silent")]
    placement: Placed,
    #[serde(skip_serializing_if = "Resources::is_silent")]
    resources: Resources,
}

/// So many tasks anywhere, or one on each node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Replicated,
    Global,
}

/// How something rolls.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
struct Rolls {
    #[serde(skip_serializing_if = "Option::is_none")]
    parallelism: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_action: Option<Action>,
    #[serde(skip_serializing_if = "Option::is_none")]
    monitor: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "texts::ratio")]
    max_failure_ratio: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<Order>,
}

/// What a failure does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Pause,
    Continue,
    Rollback,
}

/// Which of two tasks of a place goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Order {
    StopFirst,
    StartFirst,
}

/// How ended tasks are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
struct Restart {
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Condition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<Span>,
}

/// When an ended task is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Condition {
    Any,
    OnFailure,
    None,
}

/// Where tasks may go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
struct Placed {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    constraints: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    preferences: Vec<Preference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_replicas_per_node: Option<u64>,
}

/// What tasks are spread over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Preference {
    spread: String,
}

/// What tasks need.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
struct Resources {
    reservations: Reservations,
}

/// What a task needs free.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
struct Reservations {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "texts::processors")]
    cpus: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "texts::plain")]
    memory: Option<u64>,
}

/// A secret of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Secret {
    #[serde(flatten)]
    from: SecretFrom,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
}

/// Where a secret's value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum SecretFrom {
    File(String),
    Content(String),
    Environment(String),
    External(bool),
}

/// A span of time, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span(u64);

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(self.0))
    }
}

/// Serializes a number as a text: one that YAML would read in another way. The signatures are serde's.
mod texts {
    use std::fmt::Display;

    use serde::Serializer;

    use super::decimal;

    #[expect(clippy::ref_option, reason = "serde calls it")]
    pub(super) fn plain<T: Display, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    #[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
    pub(super) fn ratio<S: Serializer>(
        millionths: &Option<u32>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        plain(&millionths.map(|parts| decimal(parts.into(), 1_000_000)), serializer)
    }

    #[expect(clippy::ref_option, reason = "serde calls it")]
    pub(super) fn processors<S: Serializer>(
        nanos: &Option<u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        plain(&nanos.map(|parts| decimal(parts, 1_000_000_000)), serializer)
    }
}

/// So many parts of one as a decimal number.
fn decimal(parts: u64, of_one: u64) -> String {
    let digits = of_one.ilog10() as usize;
    let text = format!("{}.{:0digits$}", parts / of_one, parts % of_one);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

macro_rules! silent {
    ($($kind:ident),*) => {
        $(impl $kind {
            fn is_silent(&self) -> bool {
                *self == Self::default()
            }
        })*
    };
}

silent!(Rolls, Restart, Placed, Resources);
