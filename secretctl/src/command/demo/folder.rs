//! Where nothing can be mounted: this process stands in for the agent, and puts the secret into a
//! private folder in memory.
//!
//! No agent does this. The way to the value is as on any node (token, certificate, session, sealed
//! key); what is weaker from there on is in [`super::mount`]. Not here: the cluster's side, which
//! knows no difference.
//!
//! Invariant: the folder is the keeper's to remove before it holds anything.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use agent::assignment::Assignment;
use agent::mount::SecretSource;
use agent::stand_in::StandIn;
use proto::Kind;
use proto::token::JoinToken;
use sys::file::Folder;
use sys::process::PATH_DEFAULT;
use tokio::process::Command;

use super::broken;
use super::task::FOLDER;
use crate::error::{Error, chain};
use crate::throwaway::{NODE, Throwaway, make_folder_in};

/// Where files are in memory.
const IN_MEMORY: &str = "/dev/shm";

/// Takes the task as a node, runs it, and returns the lines it prints.
pub(super) async fn run(cluster: &mut Throwaway<'_>, reason: &str) -> Result<Vec<String>, Error> {
    let folder =
        make_folder_in(Path::new(IN_MEMORY)).map_err(|error| no_folder(&error.to_string()))?;
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

fn no_folder(reason: &str) -> Error {
    Error::failed(Kind::Precondition, "there is no folder in memory for the secret")
        .because(format!("{IN_MEMORY}: {reason}"))
        .hint("run it as root, or where user namespaces are allowed: then secrets are mounted")
        .into()
}

async fn carry_out(
    task: &Assignment,
    source: &dyn SecretSource,
    folder: PathBuf,
) -> Result<Vec<String>, Error> {
    let into = Folder::open_private(&folder).map_err(|error| no_folder(&chain(&error)))?;
    for reference in &task.secrets {
        let mut file = into
            .create_new(reference.target.as_str(), reference.mode.bits())
            .map_err(|error| no_folder(&chain(&error)))?;
        source
            .open(task.task_id, reference.secret, &mut |value| file.write_all(value))
            .map_err(|error| no_folder(&chain(&error)))?;
    }
    let failed = |reason: String| broken("the task's command cannot be run", reason);
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
