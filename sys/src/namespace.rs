//! Namespaces of the calling process: user, mount, pid.
//!
//! All calls change the calling thread or process for good and are meant for a supervisor that has
//! one thread. Not here: what is mounted in them ([`crate::mount`], [`crate::mountpoint`]).
//!
//! Invariant: a new mount namespace is private before this module returns it, so that no mount of
//! ours reaches the host.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::sched::{CloneFlags, setns, unshare};
use rustix::mount::{MountPropagationFlags, MoveMountFlags};

use crate::mount::{ATTRIBUTES, detached, move_mount, open_mount_point};

/// A namespace could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamespaceError {
    /// unshare(2) refused.
    #[error("cannot make a {0} namespace")]
    Unshare(&'static str, #[source] io::Error),
    /// The mount namespace of another process could not be joined, or the way back not be found.
    #[error("cannot join the mount namespace of process {pid}")]
    Join {
        /// The process; 0 where it is held open already.
        pid: i32,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The maps of a user namespace could not be written.
    #[error("cannot write {path}")]
    Map {
        /// The file of /proc.
        path: &'static str,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// Mounts could not be cut off from the host's.
    #[error("cannot make the mounts private")]
    Private(#[source] io::Error),
    /// A /proc of the new pid namespace could not be mounted.
    #[error("cannot mount /proc")]
    Proc(#[source] io::Error),
}

impl NamespaceError {
    /// Whether the caller lacks the right, so that a user namespace of its own may help.
    pub fn is_not_permitted(&self) -> bool {
        matches!(self, Self::Unshare(_, error)
            if error.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// Moves this process into a new mount namespace whose mounts are all private (unshare(2)).
/// Needs CAP_SYS_ADMIN. In a process with threads it moves the calling thread alone, which must
/// then not go back to a pool.
pub fn unshare_mounts() -> Result<(), NamespaceError> {
    unshare(CloneFlags::CLONE_NEWNS)
        .map_err(|errno| NamespaceError::Unshare("mount", errno.into()))?;
    make_private()
}

/// Moves this process into a new user namespace, in which it has every capability, and a new mount
/// namespace owned by it. Its own user and group are mapped to themselves and no other exists;
/// setgroups(2) is denied, which the kernel asks for before an ordinary user may map a group
/// (user_namespaces(7)).
///
/// Fails if the host forbids user namespaces to this user, or if the process has threads.
pub fn unshare_user_and_mounts() -> Result<(), NamespaceError> {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
        .map_err(|errno| NamespaceError::Unshare("user", errno.into()))?;
    write_map("/proc/self/setgroups", "deny")?;
    write_map("/proc/self/uid_map", &format!("{uid} {uid} 1"))?;
    write_map("/proc/self/gid_map", &format!("{gid} {gid} 1"))?;
    make_private()
}

/// Makes a new pid namespace for the children of this process; the first one is its PID 1
/// (pid_namespaces(7)). Needs CAP_SYS_ADMIN.
pub fn unshare_pids() -> Result<(), NamespaceError> {
    unshare(CloneFlags::CLONE_NEWPID).map_err(|errno| NamespaceError::Unshare("pid", errno.into()))
}

/// Mounts a /proc that shows the caller's pid namespace, in the current mount namespace. To be
/// called by PID 1 of a new pid namespace. The process that made the namespace sees that /proc as
/// well, and is itself not in it.
pub fn mount_proc() -> Result<(), NamespaceError> {
    let failed = |source: io::Error| NamespaceError::Proc(source);
    let proc = detached("proc", &[("source", "proc")], &[], ATTRIBUTES)
        .map_err(|errno| failed(errno.into()))?;
    let onto =
        open_mount_point(Path::new("/proc")).map_err(|error| failed(io::Error::other(error)))?;
    move_mount(&proc, &onto, MoveMountFlags::empty()).map_err(|errno| failed(errno.into()))
}

/// The mount namespace of a process, held open: it is the same one also when the process has gone.
#[derive(Debug)]
pub struct Mounts(File);

impl Mounts {
    /// That of a process. Needs to be allowed to look into it.
    pub fn of(pid: i32) -> Result<Self, NamespaceError> {
        let opened = File::open(format!("/proc/{pid}/ns/mnt"));
        opened.map(Self).map_err(|source| NamespaceError::Join { pid, source })
    }

    /// Does something in there, and comes back (setns(2)). Paths mean what they mean in there; what is
    /// open stays open. Needs CAP_SYS_ADMIN, and that this process has one thread.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> Result<T, NamespaceError> {
        let failed = |source| NamespaceError::Join { pid: 0, source };
        let own = File::open("/proc/self/ns/mnt").map_err(failed)?;
        setns(&self.0, CloneFlags::CLONE_NEWNS).map_err(|errno| failed(errno.into()))?;
        let done = work();
        setns(&own, CloneFlags::CLONE_NEWNS).map_err(|errno| failed(errno.into()))?;
        Ok(done)
    }
}

fn make_private() -> Result<(), NamespaceError> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).map_err(|errno| NamespaceError::Private(errno.into()))
}

/// A map is written in one write(2), once.
fn write_map(path: &'static str, text: &str) -> Result<(), NamespaceError> {
    use std::io::Write as _;
    File::options()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| NamespaceError::Map { path, source })
}
