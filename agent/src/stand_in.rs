//! A node without a worker: a program that embeds the agent carries out one assignment itself.
//!
//! For demonstrations on machines where nothing can be mounted: no agent starts a task there, and
//! none must be made to. Everything up to the value in this process's memory is as it is on any
//! node: the token, the certificate, the session, the sealed keys. What becomes of the value is the
//! caller's doing, and its responsibility. No option of the agent's command line leads here.
//!
//! Not here: mounting, supervising, being there after the assignment was carried out.
//!
//! Invariant: the caller is handed a value only through [`SecretSource`], for a task that was
//! assigned to this node.

use std::path::PathBuf;
use std::sync::Arc;

use link::Failure;
use proto::pb;
use proto::task::{DesiredState, TaskState, TaskStatus};
use proto::token::JoinToken;
use sys::file::{FileError, Folder};
use sys::host::{self, HostError};
use sys::slab::SlabError;
use tokio::sync::{Notify, watch};

use crate::assignment::Assignment;
use crate::clock;
use crate::identity::{DataFolder, IdentityError, Own};
use crate::join::{JoinError, join};
use crate::memory;
use crate::mount::SecretSource;
use crate::session::{self, Local};
use crate::supervisor::status::explained;
use crate::vault::Vault;
use crate::worker::{Handle, Statuses};

/// Who stands in for an agent.
pub struct StandIn {
    /// What admits it.
    pub token: JoinToken,
    /// Managers.
    pub managers: Vec<String>,
    /// The node's name.
    pub hostname: String,
    /// A folder for its identity; its parent must exist.
    pub data: PathBuf,
    /// Why an agent would mount nothing here.
    pub reason: String,
}

/// It could not take part in the cluster.
#[derive(Debug, thiserror::Error)]
#[error("{}", explained(.0))]
pub struct StandInError(#[source] Cause);

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("its folder cannot be used")]
    Folder(#[source] FileError),
    #[error("its identity cannot be kept")]
    Identity(#[source] IdentityError),
    #[error("there is no memory for keys")]
    Memory(#[source] SlabError),
    #[error("the kernel does not say which boot this is")]
    Boot(#[source] HostError),
    #[error("it could not join")]
    Join(#[source] JoinError),
    #[error("the node was evicted")]
    Evicted(#[source] Failure),
    #[error("nothing will be assigned any more")]
    Gone,
}

impl StandIn {
    /// Joins, and has `carry_out` do the first task that is assigned, with its secrets; reports it
    /// as running meanwhile. Returns what that returns.
    ///
    /// # Errors
    ///
    /// If the cluster does not admit this node, or evicts it.
    pub async fn first_task<T>(
        self,
        carry_out: impl AsyncFnOnce(&Assignment, &dyn SecretSource) -> T,
    ) -> Result<T, StandInError> {
        Box::pin(self.take_part(carry_out)).await.map_err(StandInError)
    }

    async fn take_part<T>(
        self,
        carry_out: impl AsyncFnOnce(&Assignment, &dyn SecretSource) -> T,
    ) -> Result<T, Cause> {
        memory::install().map_err(Cause::Memory)?;
        let folder = DataFolder::open(&self.data).map_err(Cause::Identity)?;
        let tasks = Folder::open(&self.data).map_err(Cause::Folder)?;
        let identity = join(&folder, &self.token, &self.managers, &self.hostname).await;
        let identity = identity.map_err(Cause::Join)?;
        let vault = Arc::new(Vault::new(identity.realm));
        let (worker, mut orders, statuses) = Handle::without_worker(tasks);
        let local = Local {
            own: Own::new(folder, identity),
            named_managers: self.managers,
            vault: Arc::clone(&vault),
            worker,
            report: watch::channel(pb::Report {
                hostname: self.hostname,
                agent_version: env!("CARGO_PKG_VERSION").to_owned(),
                kernel: host::kernel(),
                runtimes: vec!["process".to_owned()],
                mount_kind: format!("none: {}", self.reason),
                ..pb::Report::default()
            })
            .1,
            boot_id: host::boot_id().map_err(Cause::Boot)?,
            renew: Notify::new(),
        };
        let work = async {
            loop {
                let assigned = orders.borrow_and_update().clone().unwrap_or_default();
                let to_run = |task: &&Assignment| task.desired == DesiredState::Running;
                if let Some(task) = assigned.values().find(to_run) {
                    statuses.send_replace(Statuses::from([(task.task_id, running(task))]));
                    return Ok(carry_out(task, &*vault).await);
                }
                orders.changed().await.map_err(|_| Cause::Gone)?;
            }
        };
        let outcome = tokio::select! {
            evicted = session::keep(&local) => Err(Cause::Evicted(evicted)),
            done = work => done,
        };
        vault.wipe();
        outcome
    }
}

fn running(task: &Assignment) -> TaskStatus {
    TaskStatus {
        task_id: task.task_id,
        state: TaskState::Running,
        at: clock::now(),
        message: String::new(),
        exit_code: None,
        mounted: Vec::new(),
    }
}
