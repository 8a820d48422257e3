//! What a supervisor is to run: written by the agent into the task's folder before the supervisor
//! is started, read by it, and by a later agent that takes over.
//!
//! All names are resolved: users are numbers, defaults are filled in, so that a supervisor asks
//! nobody. Not here: plaintext. The secrets are named, with the version that is mounted, and their
//! bytes never pass through this file or the supervisor's memory.

use proto::id::{SecretId, TaskId, Timestamp, Version};
use proto::limits::{EXTENSION_BYTES_MAX, SPEC_BYTES_MAX};
use proto::spec::LogPolicy;
use proto::task::Mounted;
use sys::file::{FileError, Folder, PRIVATE_FILE_MODE};
use sys::harden::CoreLimit;
use sys::mount::Limits;

use super::wire::{self, WireError};
use crate::assignment::SecretVersion;

/// The file's name in the task's folder.
const NAME: &str = "task";

/// Largest definition, in bytes: the texts of a spec, twice over for what is added to them, and for a
/// container once more, six-fold where JSON escapes each byte, beside what a front kept.
const BYTES_MAX: usize = 2 * SPEC_BYTES_MAX + 6 * (SPEC_BYTES_MAX + EXTENSION_BYTES_MAX);

/// One task, ready to be run.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Definition {
    /// Which task.
    #[n(0)]
    pub task_id: TaskId,
    /// The kernel's boot that it belongs to: after another one nothing of it is left.
    #[n(1)]
    pub boot_id: String,
    /// The program and its arguments.
    #[n(2)]
    pub argv: Vec<String>,
    /// Its whole environment, `KEY=VALUE` each.
    #[n(3)]
    pub env: Vec<String>,
    /// Its working directory.
    #[n(4)]
    pub dir: String,
    /// Its user.
    #[n(5)]
    pub uid: u32,
    /// Its group.
    #[n(6)]
    pub gid: u32,
    /// Every group it is in.
    #[n(7)]
    pub groups: Vec<u32>,
    /// The signal that asks it to stop.
    #[n(8)]
    pub stop_signal: u8,
    /// Milliseconds between that and SIGKILL.
    #[n(9)]
    pub stop_grace_ms: u64,
    /// Where its output goes.
    #[n(10)]
    pub logs: LogPolicy,
    /// What is mounted.
    #[n(11)]
    pub secrets: Vec<DefinedSecret>,
    /// Bytes that the secrets filesystem may hold.
    #[n(12)]
    pub mount_bytes_max: u64,
    /// Files and folders that it may hold.
    #[n(13)]
    pub mount_inodes_max: u64,
    /// The soft core limit to give back to the task; none is unlimited.
    #[n(14)]
    pub core_soft: Option<u64>,
    /// The hard core limit; none is unlimited.
    #[n(15)]
    pub core_hard: Option<u64>,
    /// Folders that the task must not see: the agent's own.
    #[n(16)]
    pub hide: Vec<String>,
    /// The container, if it is not to run as a process of the node.
    #[n(17)]
    pub container: Option<Container>,
}

/// A container, ready to be made.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Container {
    /// The socket of the engine.
    #[n(0)]
    pub socket: String,
    /// Its name, which no other has: an engine makes no second one of a task.
    #[n(1)]
    pub name: String,
    /// What it is made of.
    #[n(2)]
    pub image: String,
    /// What the engine is told of it, JSON. It holds no secret.
    #[n(3)]
    pub body: String,
    /// Where, for the engine, the secrets are while it starts: a folder in the task's.
    #[n(4)]
    pub place: String,
    /// Whether it has any, or configs, which are beside them.
    #[n(5)]
    pub has_secrets: bool,
    /// Whether its output is that of a terminal.
    #[n(6)]
    pub has_terminal: bool,
    /// Whether the stop signal was declared; else the image may have one.
    #[n(7)]
    pub has_stop_signal: bool,
    /// Networks of the engine that it needs, which are made if they are missing.
    #[n(8)]
    pub networks: Vec<String>,
}

/// One version of a secret that a task has mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct DefinedSecret {
    /// The secret.
    #[n(0)]
    pub secret_id: SecretId,
    /// Which of its values.
    #[n(1)]
    pub version: Version,
}

impl From<SecretVersion> for DefinedSecret {
    fn from(secret: SecretVersion) -> Self {
        Self { secret_id: secret.secret_id, version: secret.version }
    }
}

/// A task's definition cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// The file cannot be read or written.
    #[error("cannot use the definition of the task")]
    File(#[source] FileError),
    /// The file does not hold a definition.
    #[error("cannot read the definition of the task")]
    Content(#[source] WireError),
}

impl Definition {
    /// Writes it into the task's folder.
    pub fn write(&self, folder: &Folder) -> Result<(), DefinitionError> {
        folder.replace(NAME, PRIVATE_FILE_MODE, &wire::encode(self)).map_err(DefinitionError::File)
    }

    /// Reads it from the task's folder.
    pub fn read(folder: &Folder) -> Result<Self, DefinitionError> {
        let bytes = folder.read(NAME, BYTES_MAX).map_err(DefinitionError::File)?;
        wire::decode(&bytes).map_err(DefinitionError::Content)
    }

    /// What is mounted once the task has started.
    pub fn mounted(&self, since: Timestamp) -> Vec<Mounted> {
        let secrets = self.secrets.iter();
        let mounted = secrets.map(|secret| Mounted {
            secret_id: secret.secret_id,
            version: secret.version,
            since,
        });
        mounted.collect()
    }

    /// What the secrets filesystem may hold.
    pub const fn mount_limits(&self) -> Limits {
        Limits { bytes_max: self.mount_bytes_max, inodes_max: self.mount_inodes_max }
    }

    /// The core limit to give back to the task.
    pub const fn core_limit(&self) -> CoreLimit {
        CoreLimit { soft: self.core_soft, hard: self.core_hard }
    }
}
