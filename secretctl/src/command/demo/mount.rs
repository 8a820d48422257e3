//! How secrets can be mounted here, and what is weaker than in earnest.
//!
//! An agent's own probe is asked: nobody else can say, and it says what an agent would do. Not
//! here: mounting.

use agent::supervisor::launch::{LaunchError, Launcher};
use proto::Kind;
use sys::mount;

use crate::error::Error;
use crate::throwaway::task_words;

/// How secrets reach tasks here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mounting {
    /// As in earnest.
    Root(mount::Kind),
    /// In a user namespace.
    User(mount::Kind),
    /// Not at all, and why.
    Impossible(String),
}

/// Asks what an agent of this user could do.
pub(crate) fn look() -> Result<Mounting, Error> {
    let is_root = sys::user::current_uid() == 0 && is_in_first_user_namespace();
    match Launcher::this_program(task_words()).probe() {
        Ok(kind) if is_root => Ok(Mounting::Root(kind)),
        Ok(kind) => Ok(Mounting::User(kind)),
        Err(LaunchError::Supervisor(reason)) => Ok(Mounting::Impossible(reason)),
        Err(error) => {
            Err(Error::failed(Kind::Internal, "whether secrets can be mounted is not known")
                .because(error.message())
                .hint("repeat the command; if it stays so, this is a bug")
                .into())
        }
    }
}

/// Whether users are what they are to the machine: root of another namespace has its rights there
/// only. Not known is no.
fn is_in_first_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

impl Mounting {
    /// The name in `--json`.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Root(_) => "root",
            Self::User(_) => "user_namespace",
            Self::Impossible(_) => "folder",
        }
    }

    /// What is weaker than on a node whose agent is root, a sentence each.
    pub(crate) fn weaknesses(&self) -> Vec<String> {
        let mut all: Vec<&str> = Vec::new();
        let refused;
        match self {
            Self::Root(_) => {}
            Self::User(_) => all.extend([
                "without root, tasks run as your own user in a user namespace: whatever else runs \
                 as your user can enter it and read their secrets",
                "without root, a secret's file can be given to no other user",
            ]),
            Self::Impossible(reason) => {
                refused = format!(
                    "secrets cannot be mounted here ({reason}): this command puts its own into a \
                     private folder in memory, which no agent does"
                );
                all.extend([
                refused.as_str(),
                "secrets are not in a mount of their own: whatever runs as your user can read them",
                "the folder with them is not read-only, and allows programs and links",
                "they can be swapped to disk",
                "the task has no mount and pid namespace of its own: it sees every process, and \
                 what it starts can outlive it",
                "the task has no supervisor: it does not outlive this command",
            ]);
            }
        }
        if let Self::Root(kind) | Self::User(kind) = self {
            match kind {
                mount::Kind::TmpfsNoswap => {}
                mount::Kind::Ramfs => all.push(
                    "secrets are on ramfs, for tmpfs without swap is not to be had: it is never \
                     swapped either, but the kernel does not bound its size",
                ),
                mount::Kind::Tmpfs => all.push(
                    "secrets are on plain tmpfs: no swap is on now, but they could be swapped if \
                     some is turned on later",
                ),
            }
        }
        all.into_iter().map(str::to_owned).collect()
    }
}
