//! How tasks are run on this node: what a runtime makes of an assignment.
//!
//! A runtime settles everything that depends on the host, users above all, and refuses what it
//! cannot do before anything is started. The rest, the secrets filesystem and the supervisor, is
//! the same for all. Not here: how a program or a container is started ([`crate::supervisor`]).

pub mod docker;
pub mod process;

use std::path::PathBuf;

use proto::spec::{ConfigReference, RuntimeKind};
use sys::harden::CoreLimit;

use crate::assignment::{Assignment, ResolvedReference};
use crate::supervisor::definition::Definition;

/// What of the node goes into every definition.
#[derive(Debug, Clone)]
pub struct Node {
    /// The kernel's boot.
    pub boot_id: String,
    /// The core limit that tasks get: the agent's before it was hardened.
    pub core_limit: CoreLimit,
    /// Folders that no task may see: the agent's own.
    pub hide: Vec<PathBuf>,
    /// Where tasks have their folders.
    pub tasks: PathBuf,
    /// The container engine, if there may be one.
    pub engine: Option<docker::Place>,
}

/// An assignment that cannot be run on this node, and why, as a sentence for its owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// A way to run tasks.
pub trait Runtime: Send + Sync + 'static {
    /// Which one, in specs.
    fn kind(&self) -> RuntimeKind;

    /// Settles what is to be run. May block: users may be looked up over the network.
    ///
    /// Fails if the assignment asks for what this runtime, or this host, does not have.
    fn define(&self, assignment: &Assignment, node: &Node) -> Result<Definition, Refused>;

    /// Where in the secrets filesystem the files are. A task that sees the whole of it has them where
    /// they are declared.
    fn files(&self, files: Vec<ResolvedReference>) -> Result<Vec<ResolvedReference>, Refused> {
        Ok(files)
    }

    /// Where in the secrets filesystem those of configs are, which are declared from the root folder on.
    fn configs(&self, configs: Vec<ConfigReference>) -> Result<Vec<ConfigReference>, Refused> {
        let placed = configs.into_iter().enumerate().map(|(position, mut file)| {
            let place = self.config_place(&file, position)?;
            file.target = place
                .parse()
                .map_err(|error: proto::name::NameError| Refused(error.to_string()))?;
            Ok(file)
        });
        placed.collect()
    }

    /// Where one of them is.
    fn config_place(&self, file: &ConfigReference, position: usize) -> Result<String, Refused>;
}
