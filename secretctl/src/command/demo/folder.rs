//! Where nothing can be mounted: this process stands in for the agent, and puts the secret into a
//! private folder in memory.
//!
//! No agent does this. The way to the value is as on any node (token, certificate, session, sealed
//! key); what is weaker from there on is in [`super::mount`]. Not here: the cluster's side, which
//! knows no difference.
//!
//! Invariant: the folder is private, in memory, and the keeper's to remove before it holds
//! anything.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use agent::assignment::Assignment;
use agent::mount::{self, SecretSource};
use agent::stand_in::StandIn;
use proto::token::JoinToken;
use sys::file::Folder;
use sys::mount::{Kind, SecretsMount};
use sys::process::PATH_DEFAULT;
use tokio::process::Command;

use super::broken;
use super::task::FOLDER;
use crate::error::{Error, chain};
use crate::throwaway::{NODE, Throwaway, make_folder_in};

/// Where files are in memory, everywhere.
const IN_MEMORY: &str = "/dev/shm";

/// Names where they are for this user alone.
const OWN_IN_MEMORY: &str = "XDG_RUNTIME_DIR";

/// Takes the task as a node, runs it, and returns the lines it prints.
pub(super) async fn run(cluster: &mut Throwaway<'_>, reason: &str) -> Result<Vec<String>, Error> {
    let folder = make_folder()?;
    cluster.remove_also(&folder).await?;
    let token = cluster.token("agent").await?;
    let token: JoinToken =
        token.parse().map_err(|error| broken("the cluster's token is no token", chain(&error)))?;
    let stand_in = StandIn {
        token,
        managers: cluster.managers.iter().map(|manager| manager.address.clone()).collect(),
        hostname: NODE.to_owned(),
        data: cluster.layout().of(NODE),
        reason: reason.to_owned(),
    };
    stand_in
        .first_task(async |task, source| carry_out(task, source, folder).await)
        .await
        .map_err(|error| broken("no task came to this node", error.to_string()))?
}

/// A private folder in memory, which the keeper is still to be told of.
fn make_folder() -> Result<PathBuf, Error> {
    let own = std::env::var_os(OWN_IN_MEMORY).filter(|path| !path.is_empty());
    let parents = [PathBuf::from(IN_MEMORY)].into_iter().chain(own.map(PathBuf::from));
    let mut reasons = Vec::new();
    for parent in parents {
        match make_folder_in(&parent) {
            Err(error) => reasons.push(format!("{}: {error}", parent.display())),
            Ok(folder) => match in_memory(&folder) {
                Ok(_) => return Ok(folder),
                Err(error) => {
                    // Nothing is in it.
                    std::fs::remove_dir(&folder).ok();
                    reasons.push(format!("{}: {}", parent.display(), chain(&*error)));
                }
            },
        }
    }
    Err(no_folder(&reasons.join("; ")))
}

/// The folder as a filesystem for secrets. Fails if it is not private, or not in memory.
fn in_memory(folder: &Path) -> Result<SecretsMount, Box<dyn std::error::Error>> {
    let folder = Folder::open_private(folder)?;
    Ok(SecretsMount::from_fd(folder.as_fd().try_clone_to_owned()?, Kind::Tmpfs)?)
}

fn no_folder(reason: &str) -> Error {
    Error::failed(proto::Kind::Precondition, "there is no folder in memory for the secret")
        .because(reason)
        .hint("run it as root, or where user namespaces are allowed: then secrets are mounted")
        .into()
}

async fn carry_out(
    task: &Assignment,
    source: &dyn SecretSource,
    folder: PathBuf,
) -> Result<Vec<String>, Error> {
    let into = in_memory(&folder).map_err(|error| no_folder(&chain(&*error)))?;
    let failed = |reason: String| broken("the task cannot be run", reason);
    let user = sys::user::current().map_err(|error| failed(chain(&error)))?;
    mount::fill(&into, task.task_id, &task.secrets, (user.uid, user.gid), source)
        .map_err(|error| failed(error.message()))?;
    let (program, arguments) =
        task.spec.command.split_first().ok_or_else(|| failed("there is none".into()))?;
    let ran = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH_DEFAULT)
        .env(FOLDER, &folder)
        .current_dir("/")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| failed(error.to_string()))?;
    let printed = [ran.stdout, ran.stderr].concat();
    Ok(String::from_utf8_lossy(&printed).lines().map(str::to_owned).collect())
}
