//! A folder to mount at where there is none, and folders that a task must not see.
//!
//! `/run/secrets` does not exist on most hosts, and making it there would leave a trace on a
//! filesystem that is not ours. So the task's mount namespace gets a tmpfs over `/run` in which
//! every old entry is bound back and the missing folder is added. Not here: the secrets
//! themselves ([`crate::mount`]).
//!
//! Invariant: nothing outside the current mount namespace changes by [`provide`] and [`hide`], whose
//! mounts must be private ([`crate::namespace`]) before; what is mounted in a place apart
//! ([`provide_apart`]) is not propagated to another namespace either.

use std::ffi::{CStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use crate::mount::{ATTRIBUTES, Device, MountError, detached, move_mount, open_mount_point};

/// Room for what a task itself puts directly under `/run` (pid files, sockets).
const COVER_SIZE: &str = "1m";

/// Names directly under `/run`, and what a task adds. A host has a few dozen.
const COVER_INODES: &str = "4096";

/// Makes sure that the folder `at` exists in the current mount namespace, so that something can be
/// mounted there. If its parent lacks it, a tmpfs with the parent's mode is put over the parent,
/// with every old entry bound back (symlinks are copied) and the new, empty folder added. Entries
/// that appear in the parent's old folder later are not seen.
///
/// Fails if the parent is missing, or if anything on the way is a symlink or no folder.
pub fn provide(at: &Path) -> Result<(), MountError> {
    match open_mount_point(at) {
        Err(MountError::NoMountPoint(_)) => {}
        Err(error) => return Err(error),
        Ok(_) => return Ok(()),
    }
    let (Some(parent), Some(name)) = (at.parent(), at.file_name()) else {
        return Err(MountError::NoMountPoint(at.to_owned()));
    };
    let old = open_mount_point(parent)?;
    let failed = |operation| {
        move |errno: Errno| MountError::Path {
            operation,
            path: at.to_owned(),
            source: errno.into(),
        }
    };
    let mode = rustix::fs::fstat(&old).map_err(failed("inspect the parent of"))?.st_mode & 0o7777;
    let mode = format!("{mode:04o}");
    let options =
        [("source", "secrets"), ("size", COVER_SIZE), ("nr_inodes", COVER_INODES), ("mode", &mode)];
    let cover =
        detached("tmpfs", &options, &[], ATTRIBUTES).map_err(failed("make a filesystem for"))?;
    // Attached first: a mount can receive others only inside a mount namespace. Its root is the
    // same folder before and after, so the descriptors stay good.
    move_mount(&cover, &old, MoveMountFlags::empty()).map_err(failed("cover the parent of"))?;
    bind_entries(&old, &cover).map_err(failed("keep what is beside"))?;
    rustix::fs::mkdirat(&cover, name, Mode::from_raw_mode(0o755)).map_err(failed("make the folder"))
}

/// Hides a folder from everything in the current mount namespace behind an empty filesystem that
/// nobody can write to. Descriptors that are open below it stay good. A folder that does not exist
/// is hidden already.
///
/// Fails if the path is not a folder or lies behind a symlink.
pub fn hide(folder: &Path) -> Result<(), MountError> {
    let onto = match open_mount_point(folder) {
        Ok(onto) => onto,
        Err(MountError::NoMountPoint(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    let options = [("source", "none"), ("size", "4k"), ("nr_inodes", "1"), ("mode", "0555")];
    detached("tmpfs", &options, &["ro"], ATTRIBUTES)
        .and_then(|cover| move_mount(&cover, &onto, MoveMountFlags::empty()))
        .map_err(|errno| MountError::Path {
            operation: "hide",
            path: folder.to_owned(),
            source: errno.into(),
        })
}

/// Makes a place to mount at that other mount namespaces do not follow: an empty folder `name` in a
/// filesystem of its own at `at`, which only root may enter. The folder `at` is made if it is missing.
/// Gives the folder's path; [`take_away`] undoes it, in this namespace.
///
/// A namespace that is copied from this one while something is mounted there (unshare(2)) has it too,
/// for as long as it lives: nothing reaches it afterwards.
///
/// Fails if the parent of `at` is missing, or if anything on the way is a symlink or no folder.
pub fn provide_apart(at: &Path, name: &str) -> Result<PathBuf, MountError> {
    let failed = |operation| {
        move |errno: Errno| MountError::Path {
            operation,
            path: at.to_owned(),
            source: errno.into(),
        }
    };
    match rustix::fs::mkdir(at, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed("make the folder")(errno)),
    }
    let onto = open_mount_point(at)?;
    let options = [("source", "secrets"), ("size", "4k"), ("nr_inodes", "2"), ("mode", "0700")];
    let cover = detached("tmpfs", &options, &[], ATTRIBUTES).map_err(failed("cover"))?;
    move_mount(&cover, &onto, MoveMountFlags::empty()).map_err(failed("cover"))?;
    // Attached, it is as shared as what it is on. From here on nothing that is mounted in it appears in
    // the namespaces that follow this one.
    let inside = at.join(name);
    rustix::mount::mount_change(at, MountPropagationFlags::PRIVATE)
        .and_then(|()| rustix::fs::mkdir(&inside, Mode::from_raw_mode(0o700)))
        .map_err(failed("set apart"))?;
    Ok(inside)
}

/// Takes away whatever is mounted at a folder or below it, and the empty folder. That there is nothing
/// is no error.
pub fn take_away(at: &Path) -> Result<(), MountError> {
    let failed = |errno: Errno| MountError::Path {
        operation: "take away",
        path: at.to_owned(),
        source: errno.into(),
    };
    let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    loop {
        match rustix::mount::unmount(at, flags) {
            Ok(()) => {}
            // No mount any more, or no folder.
            Err(Errno::INVAL | Errno::NOENT) => break,
            Err(errno) => return Err(failed(errno)),
        }
    }
    match rustix::fs::rmdir(at) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(failed(errno)),
    }
}

/// Where in the mount namespace of a process a filesystem is mounted, as that process names it
/// (proc_pid_mountinfo(5)).
pub fn mounts_of(pid: i32, device: Device) -> Result<Vec<PathBuf>, MountError> {
    let path = format!("/proc/{pid}/mountinfo");
    let table = std::fs::read(&path).map_err(|source| MountError::Path {
        operation: "read",
        path: path.into(),
        source,
    })?;
    Ok(points_of(&table, device))
}

fn points_of(table: &[u8], device: Device) -> Vec<PathBuf> {
    let device = device.to_string();
    let points = table.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        (fields.nth(2)? == device.as_bytes()).then(|| fields.nth(1).map(unescaped))?
    });
    points.collect()
}

/// A path of that table, in which blanks, ends of lines and backslashes are written as `\` and three
/// octal digits.
fn unescaped(mut text: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(text.len());
    while let Some((first, after)) = text.split_first() {
        match after {
            [high @ b'0'..=b'3', middle @ b'0'..=b'7', low @ b'0'..=b'7', after @ ..]
                if *first == b'\\' =>
            {
                path.push((high - b'0') << 6 | (middle - b'0') << 3 | (low - b'0'));
                text = after;
            }
            _ => {
                path.push(*first);
                text = after;
            }
        }
    }
    OsString::from_vec(path).into()
}

/// Binds each entry of `old` to the same name in `new`.
fn bind_entries(old: &OwnedFd, new: &OwnedFd) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    for entry in Dir::new(rustix::fs::openat(old, c".", flags, Mode::empty())?)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match bind_entry(old, new, name) {
            // It went away while we looked; so it does on the host.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn bind_entry(old: &OwnedFd, new: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    let stat = rustix::fs::statat(old, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(old, name, Vec::new())?;
            return rustix::fs::symlinkat(&target, new, name);
        }
        FileType::Directory => {
            rustix::fs::mkdirat(new, name, Mode::from_raw_mode(0o755))?;
        }
        _ => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(new, name, flags, Mode::from_raw_mode(0o600))?;
        }
    }
    // Recursive: what is mounted below must not be uncovered, and in a user namespace may not be.
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let tree = rustix::mount::open_tree(old, name, flags)?;
    let onto = rustix::fs::openat(
        new,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    move_mount(&tree, &onto, MoveMountFlags::empty())
}
