//! The secrets filesystem of one task: in memory, detached from every path until it is complete,
//! read-only from then on.
//!
//! Made with the mount API of Linux 5.2 (fsopen(2), fsmount(2), move_mount(2)). Of the kinds of
//! memory filesystem the first that this kernel, here and now, really makes is taken: tmpfs with
//! `noswap`, else ramfs, else plain tmpfs if no swap is on; else the mount is refused and says
//! why. Not here: what the files hold, and namespaces ([`crate::namespace`]).
//!
//! Invariant: a file never exists with an owner or mode other than its final one once it holds a
//! byte, and nothing is visible at a path before [`SecretsMount::attach`].
#![expect(unsafe_code, reason = "mount_setattr(2) and a probe of move_mount(2) have no wrapper")]

use core::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags,
};

use crate::host;

/// Which filesystem holds the secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// tmpfs whose pages are never swapped (Linux 6.4, and only outside of user namespaces).
    TmpfsNoswap,
    /// ramfs: never swapped either, but **without any bound on its size**; who writes to it must
    /// check sizes.
    Ramfs,
    /// tmpfs, taken only while no swap is on.
    Tmpfs,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::TmpfsNoswap, Self::Ramfs, Self::Tmpfs];

    /// The name in reports and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TmpfsNoswap => "tmpfs-noswap",
            Self::Ramfs => "ramfs",
            Self::Tmpfs => "tmpfs",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the filesystem may hold. ramfs ignores both bounds (see [`Kind::Ramfs`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all files, each rounded up to whole pages.
    pub bytes_max: u64,
    /// Files and folders.
    pub inodes_max: u64,
}

/// The secrets filesystem could not be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// No kind of memory filesystem that keeps secrets off the disk can be made.
    #[error("cannot mount secrets: {}; turn swap off, or use Linux 6.4 or later", Refusals(.0))]
    Refused(Vec<Refusal>),
    /// A file could not be made.
    #[error("cannot create {}", path.display())]
    CreateFile {
        /// The file, relative to the mount.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// A file's owner could not be set.
    #[error("cannot give {} to user {uid} and group {gid}", path.display())]
    SetOwner {
        /// The file, relative to the mount.
        path: PathBuf,
        /// The owner.
        uid: u32,
        /// The group.
        gid: u32,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The path of a file leaves the mount or is empty.
    #[error("{} is not a path below the mount", .0.display())]
    NotBelow(PathBuf),
    /// The filesystem could not be made read-only or writable. `EBUSY`: a file is still open for
    /// writing.
    #[error("cannot make the secrets filesystem {}", if *read_only { "read-only" } else { "writable" })]
    SetReadOnly {
        /// Which was wanted.
        read_only: bool,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The place to mount at is not there.
    #[error("there is no folder {}", .0.display())]
    NoMountPoint(PathBuf),
    /// A symlink stands in the way of the place to mount at, and is never followed.
    #[error("{} is a symlink or lies behind one, which is never followed", .0.display())]
    Symlink(PathBuf),
    /// Something that is not a folder stands where secrets are to be mounted.
    #[error("{} is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// The mount could not be attached, moved or taken away.
    #[error("cannot {operation} {}", path.display())]
    Path {
        /// What was tried.
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The contents could not be overwritten.
    #[error("cannot overwrite the secrets")]
    Overwrite(#[source] io::Error),
    /// Another mount of the same files could not be made.
    #[error("cannot mount the secrets a second time")]
    Copy(#[source] io::Error),
    /// A descriptor that was said to be a secrets filesystem is something else.
    #[error("the descriptor is not a {0} mount")]
    NotTheMount(Kind),
}

impl MountError {
    /// Whether a file of the filesystem is still open for writing somewhere.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::SetReadOnly { source, .. }
            if source.kind() == io::ErrorKind::ResourceBusy)
    }
}

/// Why one kind of filesystem was not taken.
#[derive(Debug)]
pub struct Refusal {
    /// Which kind.
    pub kind: Kind,
    /// Why not.
    pub reason: String,
}

struct Refusals<'a>(&'a [Refusal]);

impl fmt::Display for Refusals<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, refusal) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(f, "{separator}{} is not possible ({})", refusal.kind, refusal.reason)?;
        }
        Ok(())
    }
}

/// A secrets filesystem, by a descriptor of its root.
#[derive(Debug)]
pub struct SecretsMount {
    fd: OwnedFd,
    kind: Kind,
}

/// Of every mount of ours.
pub(crate) const ATTRIBUTES: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Of the secrets: a task's own link among them leads nowhere.
const SECRETS_ATTRIBUTES: MountAttrFlags = ATTRIBUTES.union(MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW);

/// Makes a filesystem and a detached mount of it.
pub(crate) fn detached(
    name: &str,
    options: &[(&str, &str)],
    flags: &[&str],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(&context, *key, *value)?;
    }
    for flag in flags {
        rustix::mount::fsconfig_set_flag(&context, *flag)?;
    }
    rustix::mount::fsconfig_create(&context)?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

impl SecretsMount {
    /// Makes an empty filesystem, attached nowhere; its root folder has mode 0755 and belongs to
    /// the caller. Needs CAP_SYS_ADMIN in the user namespace that owns the current mount
    /// namespace.
    ///
    /// Fails with [`MountError::Refused`], one reason a kind, if none can be made.
    pub fn create(limits: Limits) -> Result<Self, MountError> {
        let mut refusals = Vec::new();
        for kind in Kind::ALL {
            match Self::create_kind(kind, limits) {
                Ok(mount) => return Ok(mount),
                Err(reason) => refusals.push(Refusal { kind, reason }),
            }
        }
        Err(MountError::Refused(refusals))
    }

    /// Makes one kind, or says why not.
    fn create_kind(kind: Kind, limits: Limits) -> Result<Self, String> {
        let size = limits.bytes_max.to_string();
        let inodes = limits.inodes_max.to_string();
        let root = [("source", "secrets"), ("mode", "0755")];
        let bounded = [root[0], root[1], ("size", &*size), ("nr_inodes", &*inodes)];
        let fd = match kind {
            Kind::TmpfsNoswap => detached("tmpfs", &bounded, &["noswap"], SECRETS_ATTRIBUTES),
            Kind::Ramfs => detached("ramfs", &root, &[], SECRETS_ATTRIBUTES),
            Kind::Tmpfs => match host::swap_is_on() {
                Ok(false) => detached("tmpfs", &bounded, &[], SECRETS_ATTRIBUTES),
                Ok(true) => return Err("swap is on".into()),
                Err(error) => return Err(format!("whether swap is on is not known: {error}")),
            },
        };
        Ok(Self { fd: fd.map_err(|errno| errno.to_string())?, kind })
    }

    /// Takes over a mount that another process has made and sent.
    ///
    /// Fails if the descriptor is not of that kind of filesystem (fstatfs(2)).
    pub fn from_fd(fd: OwnedFd, kind: Kind) -> Result<Self, MountError> {
        const TMPFS_MAGIC: i64 = 0x0102_1994;
        const RAMFS_MAGIC: i64 = 0x8584_58f6;
        let magic = match kind {
            Kind::TmpfsNoswap | Kind::Tmpfs => TMPFS_MAGIC,
            Kind::Ramfs => RAMFS_MAGIC,
        };
        match rustix::fs::fstatfs(&fd) {
            Ok(stat) if stat.f_type == magic => Ok(Self { fd, kind }),
            _ => Err(MountError::NotTheMount(kind)),
        }
    }

    /// Which filesystem it is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Makes a file that has its owner and mode before it can be written, and opens it for the one
    /// time it is written. Folders on its way are made with mode 0755 and belong to the caller.
    ///
    /// Fails if the path leaves the mount, the file is there already (`O_EXCL`), the owner is not
    /// one this process may give (`EPERM`, or `EINVAL` in a user namespace that does not map it),
    /// or the filesystem is full or read-only.
    pub fn create_file(
        &self,
        path: &Path,
        uid: u32,
        gid: u32,
        mode: u32,
    ) -> Result<File, MountError> {
        let failed =
            |errno: Errno| MountError::CreateFile { path: path.to_owned(), source: errno.into() };
        let mut names = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => names.push(name),
                _ => return Err(MountError::NotBelow(path.to_owned())),
            }
        }
        let Some((name, folders)) = names.split_last() else {
            return Err(MountError::NotBelow(path.to_owned()));
        };
        let mut parent = rustix::io::fcntl_dupfd_cloexec(&self.fd, 0).map_err(failed)?;
        for folder in folders {
            parent = open_or_create_folder(&parent, folder.as_ref()).map_err(failed)?;
        }
        // Mode 0 whatever the umask: nobody may open the file before it has its owner.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(&parent, *name, flags | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed)?;
        // In this order: chown(2) clears the set-id bits.
        rustix::fs::fchown(&fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(
            |errno| MountError::SetOwner { path: path.to_owned(), uid, gid, source: errno.into() },
        )?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode)).map_err(failed)?;
        Ok(fd.into())
    }

    /// Makes the filesystem itself read-only, and this mount of it as well. Needs CAP_SYS_ADMIN in
    /// the user namespace that the filesystem was made in.
    ///
    /// Fails with `EBUSY` while any file is open for writing.
    pub fn set_read_only(&self) -> Result<(), MountError> {
        self.reconfigure(true)
    }

    fn reconfigure(&self, read_only: bool) -> Result<(), MountError> {
        let failed = |errno: Errno| MountError::SetReadOnly { read_only, source: errno.into() };
        if !read_only {
            self.set_mount_read_only(false).map_err(failed)?;
        }
        let flags = FsPickFlags::FSPICK_EMPTY_PATH | FsPickFlags::FSPICK_CLOEXEC;
        let context = rustix::mount::fspick(&self.fd, "", flags).map_err(failed)?;
        if self.kind == Kind::TmpfsNoswap {
            // Not naming it would mean turning swap on, which tmpfs refuses.
            rustix::mount::fsconfig_set_flag(&context, "noswap").map_err(failed)?;
        }
        let flag = if read_only { "ro" } else { "rw" };
        rustix::mount::fsconfig_set_flag(&context, flag).map_err(failed)?;
        rustix::mount::fsconfig_reconfigure(&context).map_err(failed)?;
        if read_only {
            self.set_mount_read_only(true).map_err(failed)?;
        }
        Ok(())
    }

    fn set_mount_read_only(&self, read_only: bool) -> Result<(), Errno> {
        let bit = MountAttrFlags::MOUNT_ATTR_RDONLY;
        let none = MountAttrFlags::empty();
        let (set, clear) = if read_only { (bit, none) } else { (none, bit) };
        set_attributes(&self.fd, set, clear)
    }

    /// The same files by another mount, attached nowhere: what is done to the one is not done to the
    /// other. This one must be attached in the current mount namespace (open_tree(2)).
    pub fn copy(&self) -> Result<Self, MountError> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        let fd = rustix::mount::open_tree(&self.fd, "", flags);
        fd.map(|fd| Self { fd, kind: self.kind }).map_err(|errno| MountError::Copy(errno.into()))
    }

    /// The filesystem, as the kernel lists mounts of it (proc_pid_mountinfo(5)).
    pub fn device(&self) -> Result<Device, MountError> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|errno| MountError::Copy(errno.into()))?;
        Ok(Device(stat.st_dev))
    }

    /// Attaches the mount at a folder of the current mount namespace. No symlink on the way is
    /// followed: the folder is resolved to a descriptor first and the mount moved onto that.
    ///
    /// Fails if the folder is missing, is no folder, or lies behind a symlink.
    pub fn attach(&self, at: &Path) -> Result<(), MountError> {
        self.move_to(at, MoveMountFlags::empty())
    }

    /// Attaches the mount under the one that is at `at`; [`detach`] then uncovers it. Who reads
    /// there sees all old or all new files (Linux 6.5; see [`can_mount_beneath`]).
    pub fn attach_beneath(&self, at: &Path) -> Result<(), MountError> {
        self.move_to(at, MoveMountFlags::MOVE_MOUNT_BENEATH)
    }

    fn move_to(&self, at: &Path, flags: MoveMountFlags) -> Result<(), MountError> {
        let folder = open_mount_point(at)?;
        move_mount(&self.fd, &folder, flags).map_err(|errno| MountError::Path {
            operation: "attach secrets at",
            path: at.to_owned(),
            source: errno.into(),
        })
    }

    /// Overwrites every file with zeros. The files must not be in use by anybody who matters any
    /// more: they read zeros from then on. Must be called from the mount namespace it is attached
    /// in, before it is detached.
    ///
    /// Fails if the filesystem cannot be made writable or a file not be written.
    pub fn overwrite(&self) -> Result<(), MountError> {
        self.reconfigure(false)?;
        overwrite_folder(&self.fd).map_err(|errno| MountError::Overwrite(errno.into()))
    }
}

/// A filesystem, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device(u64);

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", rustix::fs::major(self.0), rustix::fs::minor(self.0))
    }
}

impl AsFd for SecretsMount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Gives a mount of secrets all attributes that one of ours has, where somebody else mounted the
/// filesystem and did not.
pub fn restrict(at: &Path) -> Result<(), MountError> {
    let failed = |errno: Errno| MountError::Path {
        operation: "restrict",
        path: at.to_owned(),
        source: errno.into(),
    };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mount = rustix::fs::open(at, flags, Mode::empty()).map_err(failed)?;
    let attributes = SECRETS_ATTRIBUTES | MountAttrFlags::MOUNT_ATTR_RDONLY;
    set_attributes(&mount, attributes, MountAttrFlags::empty()).map_err(failed)
}

/// mount_setattr(2) on the mount whose root, or an entry of it that is mounted, is open.
fn set_attributes(
    mount: &OwnedFd,
    set: MountAttrFlags,
    clear: MountAttrFlags,
) -> Result<(), Errno> {
    let attributes = libc::mount_attr {
        attr_set: set.bits().into(),
        attr_clr: clear.bits().into(),
        propagation: 0,
        userns_fd: 0,
    };
    // JUSTIFICATION: neither nix nor rustix wraps mount_setattr(2).
    // SAFETY: the path is a NUL-terminated string, the structure outlives the call, and the
    // size passed is its size; the kernel only reads both.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Takes the topmost mount at a folder out of the current mount namespace (umount2(2),
/// `MNT_DETACH`); its memory is free once nobody has a file of it open any more.
pub fn detach(at: &Path) -> Result<(), MountError> {
    rustix::mount::unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).map_err(|errno| {
        MountError::Path { operation: "unmount", path: at.to_owned(), source: errno.into() }
    })
}

/// Whether this kernel can replace a mount in place (`MOVE_MOUNT_BENEATH`, Linux 6.5). `None` if
/// this process may not mount at all, so that the kernel does not say.
pub fn can_mount_beneath() -> Option<bool> {
    // JUSTIFICATION: the question is asked with descriptors that are none, which no wrapper takes.
    // SAFETY: both paths are NUL-terminated strings that the kernel only reads.
    unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            -1,
            c"".as_ptr(),
            -1,
            c"".as_ptr(),
            MoveMountFlags::MOVE_MOUNT_BENEATH.bits()
                | MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH.bits()
                | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH.bits(),
        )
    };
    // The kernel looks at the right, then at the flags, then at the descriptors.
    match last_errno() {
        Errno::PERM => None,
        errno => Some(errno == Errno::BADF),
    }
}

/// Resolves a mount point without following symlinks.
pub(crate) fn open_mount_point(at: &Path) -> Result<OwnedFd, MountError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(CWD, at, flags, Mode::empty(), resolve).map_err(|errno| match errno {
        Errno::NOENT => MountError::NoMountPoint(at.to_owned()),
        Errno::LOOP => MountError::Symlink(at.to_owned()),
        Errno::NOTDIR => MountError::NotAFolder(at.to_owned()),
        errno => {
            MountError::Path { operation: "resolve", path: at.to_owned(), source: errno.into() }
        }
    })
}

/// Moves a mount onto (or, by a flag, beneath what is on) an open folder or file.
pub(crate) fn move_mount(
    mount: &impl AsFd,
    onto: &impl AsFd,
    flags: MoveMountFlags,
) -> Result<(), Errno> {
    let by_descriptor =
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", onto, "", by_descriptor | flags)
}

fn open_or_create_folder(parent: &OwnedFd, name: &Path) -> Result<OwnedFd, Errno> {
    let mode = Mode::from_raw_mode(0o755);
    let made = match rustix::fs::mkdirat(parent, name, mode) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(errno) => return Err(errno),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    if made {
        // The umask had its say in mkdirat.
        rustix::fs::fchmod(&folder, mode)?;
    }
    Ok(folder)
}

/// Bytes written at a time when a file is overwritten.
const ZEROS: [u8; 4096] = [0; 4096];

fn overwrite_folder(folder: &OwnedFd) -> Result<(), Errno> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Opened again: the descriptor of a mount is not one to read.
    let readable = OFlags::RDONLY | OFlags::DIRECTORY | flags;
    for entry in Dir::new(rustix::fs::openat(folder, c".", readable, Mode::empty())?)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let kind = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(kind.st_mode) {
            FileType::Directory => {
                overwrite_folder(&rustix::fs::openat(folder, name, readable, Mode::empty())?)?;
            }
            FileType::RegularFile => {
                let file = rustix::fs::openat(folder, name, flags | OFlags::WRONLY, Mode::empty())?;
                overwrite_file(file.into(), kind.st_size)?;
            }
            // We made no others, and they hold nothing.
            _ => {}
        }
    }
    Ok(())
}

fn overwrite_file(mut file: File, size: i64) -> Result<(), Errno> {
    let mut left = usize::try_from(size).unwrap_or(0);
    while left > 0 {
        let piece = ZEROS.get(..left.min(ZEROS.len())).unwrap_or(&ZEROS);
        file.write_all(piece).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        left -= piece.len();
    }
    Ok(())
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_why_for_each_kind_and_what_to_do() {
        let error = MountError::Refused(vec![
            Refusal { kind: Kind::TmpfsNoswap, reason: "Invalid argument".into() },
            Refusal { kind: Kind::Ramfs, reason: "No such device".into() },
            Refusal { kind: Kind::Tmpfs, reason: "swap is on".into() },
        ]);
        assert_eq!(
            error.to_string(),
            "cannot mount secrets: tmpfs-noswap is not possible (Invalid argument), ramfs is not \
             possible (No such device), tmpfs is not possible (swap is on); turn swap off, or use \
             Linux 6.4 or later"
        );
    }

    #[test]
    fn a_descriptor_of_something_else_is_not_taken_for_a_mount() {
        let proc = rustix::fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
        let error = SecretsMount::from_fd(proc.unwrap(), Kind::Ramfs).unwrap_err();
        assert_eq!(error.to_string(), "the descriptor is not a ramfs mount");
    }
}
