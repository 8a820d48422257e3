//! A whole cluster inside this program, for a while: managers and an agent, in one private
//! temporary folder.
//!
//! Each is a process of its own, this same program once more under a first word that nobody types
//! ([`daemon`]). They are the children of a [`keeper`], a process without threads that outlives
//! whoever asked for the cluster just long enough to end everything and remove the folder;
//! [`cluster`] is the asking side. Not here: what is done with the cluster.
//!
//! Invariant: whichever way the asking process ends, kill -9 included, nothing is left: no process,
//! no mount, no folder.

mod cluster;
mod keeper;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(crate) use cluster::{Deaths, NODE, Throwaway, make_folder_in, with};

/// The first word.
const DAEMON: &str = "daemon";

/// After it: what keeps the others.
const KEEPER: &str = "keeper";

/// After it: a manager; the keeper's number and a manager's options follow.
const MANAGER: &str = "manager";

/// After it: an agent; the keeper's number and an agent's options follow.
const AGENT: &str = "agent";

/// After it: what an agent starts itself, a supervisor or a probe.
const TASK: &str = "task";

/// Said to the keeper: a folder elsewhere is to be removed too.
const ALSO: &str = "also";

/// Words that make this program what an agent starts.
pub(crate) fn task_words() -> Vec<OsString> {
    vec![DAEMON.into(), TASK.into()]
}

/// Runs what the first words say, if they are not a user's. To be called first in `main`: it may
/// fork, and hardens itself.
pub(crate) fn daemon(arguments: &[OsString]) -> Option<ExitCode> {
    let (program, words) = arguments.split_first()?;
    let (first, words) = words.split_first()?;
    let (what, words) = words.split_first().filter(|_| first == DAEMON)?;
    let embedded = || agent::Program { args: task_words(), core_limit: None };
    let rest = words.get(1..).unwrap_or_default().to_vec();
    if what == KEEPER {
        return words.first().map(|folder| keeper::run(Path::new(folder)));
    }
    if what == TASK {
        return Some(agent::run(words.to_vec(), embedded()));
    }
    if what != MANAGER && what != AGENT {
        return None;
    }
    if !tie_to(words.first()?) {
        return Some(ExitCode::FAILURE);
    }
    Some(if what == MANAGER {
        store::main([program.clone()].into_iter().chain(rest))
    } else {
        agent::run(rest, embedded())
    })
}

/// Makes this an ordinary process that the kernel ends with its keeper; whether the keeper is still there.
fn tie_to(keeper: &OsStr) -> bool {
    let is_parent = || keeper.to_str() == Some(&std::os::unix::process::parent_id().to_string());
    // The keeper blocks all signals, and may have ended before the kernel was told.
    sys::process::unblock_signals().is_ok()
        && sys::process::die_with_parent().is_ok()
        && is_parent()
}

/// What is where in the folder of a throwaway cluster. Names are short: a unix socket's path has
/// 107 bytes at most.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    folder: PathBuf,
}

/// How the names of folders begin that are a throwaway cluster's.
const FOLDER_PREFIX: &str = "secretd-";

/// The longest path from the folder to a socket in it.
const TO_SOCKET: &str = "/m9/s/secretd.sock";

/// Longest path of a unix socket, in bytes (unix(7)).
const SOCKET_PATH_MAX: usize = 107;

impl Layout {
    /// The folder itself.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Everything of one process.
    pub(crate) fn of(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What a process logs.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.of(name).join("log")
    }

    /// What a process keeps.
    fn data(&self, name: &str) -> PathBuf {
        self.of(name).join("data")
    }

    /// A manager's unix socket.
    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.of(name).join("s/secretd.sock")
    }

    /// Running tasks of an agent.
    fn tasks(&self, name: &str) -> PathBuf {
        self.of(name).join("tasks")
    }

    /// The token an agent joins with.
    pub(crate) fn token(&self, name: &str) -> PathBuf {
        self.of(name).join("token")
    }
}
