//! Files that must survive power loss, and files that nobody else may read.
//!
//! Everything happens relative to an open [`Folder`], so that what is checked is what is used,
//! whatever is renamed or mounted over meanwhile. Not here: what the bytes mean, and the disk
//! formats of `store`.
//!
//! Invariant: [`Folder::replace`] leaves the old bytes or the new ones, whole and with their final
//! mode, at every instant and after every crash; when it has returned, the new ones.

use core::fmt;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FallocateFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, Stat,
};
use rustix::io::Errno;
use zeroize::Zeroizing;

/// What was being done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Opening it.
    Open,
    /// Making it.
    Create,
    /// Reading its metadata.
    Inspect,
    /// Reading it.
    Read,
    /// Writing it.
    Write,
    /// Setting its permissions.
    SetMode,
    /// Making it durable.
    Sync,
    /// Renaming it.
    Rename,
    /// Removing it.
    Remove,
    /// Locking it.
    Lock,
    /// Reserving room for it.
    Preallocate,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Create => "create",
            Self::Inspect => "inspect",
            Self::Read => "read",
            Self::Write => "write",
            Self::SetMode => "set the permissions of",
            Self::Sync => "make durable",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::Lock => "lock",
            Self::Preallocate => "reserve room for",
        })
    }
}

/// A file or folder is not usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The kernel refused an operation.
    #[error("cannot {operation} {}", path.display())]
    Failed {
        /// What was tried.
        operation: Operation,
        /// On what.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// It is a folder, a device or a pipe.
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// Others may read or write it.
    #[error("{} is open to other users (mode {mode:04o}): run `chmod {wanted:04o} {}`", path.display(), path.display())]
    TooOpen {
        /// The file or folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// Permissions that would do.
        wanted: u32,
    },
    /// Somebody else owns it and could change or read it.
    #[error("{} belongs to uid {owner}, not to uid {wanted} that needs it private", path.display())]
    ForeignOwner {
        /// The file or folder.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who should.
        wanted: u32,
    },
    /// It is larger than anything it should hold.
    #[error("{} is larger than {bytes_max} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound.
        bytes_max: usize,
    },
    /// Another process holds the lock.
    #[error("{} is in use by {}", path.display(), Holder(*holder))]
    InUse {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it, if it said so.
        holder: Option<u32>,
    },
}

struct Holder(Option<u32>);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("another process"),
        }
    }
}

impl FileError {
    /// Whether the file was simply not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Failed { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether something has the name already.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Failed { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
    }
}

fn failed<E: Into<io::Error>>(operation: Operation, path: &Path) -> impl FnOnce(E) -> FileError {
    move |source| FileError::Failed { operation, path: path.to_owned(), source: source.into() }
}

/// Permissions of a private folder.
pub const PRIVATE_FOLDER_MODE: u32 = 0o700;

/// Permissions of a private file.
pub const PRIVATE_FILE_MODE: u32 = 0o600;

fn mode_of(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}

/// Checks that nobody but this process's user and root can use what `stat` describes.
///
/// Group-read counts only if the group is not root's: systemd hands credentials over by an access
/// list, which shows as that bit.
fn check_private(path: &Path, stat: &Stat, wanted: u32) -> Result<(), FileError> {
    let own = rustix::process::geteuid().as_raw();
    if stat.st_uid != own && stat.st_uid != 0 {
        return Err(FileError::ForeignOwner { path: path.into(), owner: stat.st_uid, wanted: own });
    }
    let harmless = if stat.st_gid == 0 { 0o040 } else { 0 };
    let mode = mode_of(stat);
    if mode & 0o077 & !harmless == 0 {
        Ok(())
    } else {
        Err(FileError::TooOpen { path: path.into(), mode, wanted })
    }
}

/// The name under which a file is written before it takes the place of the one of its name.
fn beside(name: &str) -> String {
    format!(".{name}.new")
}

/// An open folder. Names given to its methods are single components.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Folder {
    /// Opens a folder (open(2)). Fails if it is not there or not a folder.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let path = path.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty());
        Ok(Self { fd: fd.map_err(failed(Operation::Open, path))?, path: path.to_owned() })
    }

    /// Opens a folder and checks that it is private: owned by this user, mode 0700 or stricter.
    pub fn open_private(path: impl AsRef<Path>) -> Result<Self, FileError> {
        Self::open(path)?.checked_private()
    }

    /// Makes a private folder, or opens it if it is there and private. Its parent must exist.
    ///
    /// Fails as mkdir(2) does, or if the folder is there and others can use it.
    pub fn create_private(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let path = path.as_ref();
        match rustix::fs::mkdir(path, Mode::from_raw_mode(PRIVATE_FOLDER_MODE)) {
            Ok(()) => {
                if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty())
                {
                    Self::open(parent)?.sync()?;
                }
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(Operation::Create, path)(errno)),
        }
        Self::open_private(path)
    }

    /// Opens a folder in this one and checks that it is private. A symlink is refused.
    pub fn private_folder(&self, name: &str) -> Result<Self, FileError> {
        let path = self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty())
            .map_err(failed(Operation::Open, &path))?;
        Self { fd, path }.checked_private()
    }

    /// Makes a private folder in this one, or opens it if it is there and private.
    pub fn create_private_folder(&self, name: &str) -> Result<Self, FileError> {
        match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(PRIVATE_FOLDER_MODE)) {
            Ok(()) => self.sync()?,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(Operation::Create, &self.path.join(name))(errno)),
        }
        self.private_folder(name)
    }

    fn checked_private(self) -> Result<Self, FileError> {
        let stat = rustix::fs::fstat(&self.fd).map_err(failed(Operation::Inspect, &self.path))?;
        check_private(&self.path, &stat, PRIVATE_FOLDER_MODE)?;
        Ok(self)
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same folder once more, by a descriptor of its own.
    pub fn try_clone(&self) -> Result<Self, FileError> {
        let fd = self.fd.try_clone().map_err(failed(Operation::Open, &self.path))?;
        Ok(Self { fd, path: self.path.clone() })
    }

    /// The error of a read of a file of this folder that the caller has made itself.
    pub fn read_failed(&self, name: &str, source: io::Error) -> FileError {
        failed(Operation::Read, &self.path.join(name))(source)
    }

    /// The error of a write to a file of this folder that the caller has made itself.
    pub fn write_failed(&self, name: &str, source: io::Error) -> FileError {
        failed(Operation::Write, &self.path.join(name))(source)
    }

    /// Makes the names in this folder durable (fsync(2)).
    pub fn sync(&self) -> Result<(), FileError> {
        rustix::fs::fsync(&self.fd).map_err(failed(Operation::Sync, &self.path))
    }

    /// Replaces a whole file: written beside it with its final mode from birth, made durable,
    /// renamed over it, and the rename made durable. One writer a file at a time.
    ///
    /// Fails with the old file untouched (open(2), write(2), fsync(2), rename(2)).
    pub fn replace(&self, name: &str, mode: u32, contents: &[u8]) -> Result<(), FileError> {
        let beside = beside(name);
        // What a crash in an earlier call left; it was never renamed, so nobody relies on it.
        self.remove_if_there(&beside)?;
        let written = self.create_new(&beside, mode).and_then(|mut file| {
            let path = self.path.join(&beside);
            file.write_all(contents).map_err(failed(Operation::Write, &path))?;
            file.sync_all().map_err(failed(Operation::Sync, &path))
        });
        let renamed = written.and_then(|()| self.rename(&beside, name));
        if renamed.is_err() {
            // The first error is the one to tell.
            self.remove_if_there(&beside).ok();
        }
        renamed
    }

    /// Removes what a power cut in [`Self::replace`] left beside a file, durably. Nothing is written
    /// where there is nothing, so that the folder may be read-only.
    pub fn remove_unfinished(&self, name: &str) -> Result<(), FileError> {
        let beside = beside(name);
        match rustix::fs::statat(&self.fd, &beside, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => self.remove(&beside),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed(Operation::Inspect, &self.path.join(beside))(errno)),
        }
    }

    /// Makes an empty file, born with mode 0 and given its permissions before anything is written,
    /// whatever the umask. Fails if the name is taken (`O_EXCL`).
    pub fn create_new(&self, name: &str, mode: u32) -> Result<File, FileError> {
        let path = self.path.join(name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(&self.fd, name, flags | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed(Operation::Create, &path))?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))
            .map_err(failed(Operation::SetMode, &path))?;
        Ok(fd.into())
    }

    /// Opens a regular file for reading and writing at its end, made with `mode` if it is missing.
    pub fn append(&self, name: &str, mode: u32) -> Result<File, FileError> {
        let path = self.path.join(name);
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW;
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(mode))
            .map_err(failed(Operation::Open, &path))?;
        regular(&path, fd).map(|(file, _)| file)
    }

    /// Opens a regular file for reading; a symlink is refused.
    pub fn open_file(&self, name: &str) -> Result<File, FileError> {
        self.open_regular(name).map(|(file, _)| file)
    }

    fn open_regular(&self, name: &str) -> Result<(File, Stat), FileError> {
        let path = self.path.join(name);
        // NONBLOCK: opening a pipe must not wait for its writer before it is refused.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty())
            .map_err(failed(Operation::Open, &path))?;
        regular(&path, fd)
    }

    /// Reads a whole file of at most `bytes_max` bytes.
    pub fn read(&self, name: &str, bytes_max: usize) -> Result<Vec<u8>, FileError> {
        let (file, stat) = self.open_regular(name)?;
        let mut contents = read_bounded(&self.path.join(name), &file, &stat, bytes_max)?;
        Ok(core::mem::take(&mut *contents))
    }

    /// Reads a whole file of at most `bytes_max` bytes that nobody else may read: it must belong
    /// to this user or to root and be closed to others. The buffer never grows, and is wiped.
    pub fn read_private(
        &self,
        name: &str,
        bytes_max: usize,
    ) -> Result<Zeroizing<Vec<u8>>, FileError> {
        let (file, stat) = self.open_regular(name)?;
        let path = self.path.join(name);
        check_private(&path, &stat, PRIVATE_FILE_MODE)?;
        read_bounded(&path, &file, &stat, bytes_max)
    }

    /// Renames a file within the folder, durably.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), FileError> {
        self.rename_unsynced(from, to)?;
        self.sync()
    }

    /// Renames a file within the folder, durably, unless something has the name already.
    pub fn rename_new(&self, from: &str, to: &str) -> Result<(), FileError> {
        let renamed =
            rustix::fs::renameat_with(&self.fd, from, &self.fd, to, RenameFlags::NOREPLACE);
        match renamed {
            // A filesystem that cannot (rename(2)): most of those have links.
            Err(Errno::INVAL | Errno::NOSYS) => self.link_new(from, to)?,
            renamed => renamed.map_err(failed(Operation::Rename, &self.path.join(from)))?,
        }
        self.sync()
    }

    /// Gives a file another name, which nothing may have, and takes the first one away.
    fn link_new(&self, from: &str, to: &str) -> Result<(), FileError> {
        rustix::fs::linkat(&self.fd, from, &self.fd, to, AtFlags::empty())
            .map_err(failed(Operation::Rename, &self.path.join(from)))?;
        self.remove_if_there(from)
    }

    /// Renames a file within the folder, at once for everybody but not durably: for what a crash
    /// may undo.
    pub fn rename_unsynced(&self, from: &str, to: &str) -> Result<(), FileError> {
        rustix::fs::renameat(&self.fd, from, &self.fd, to)
            .map_err(failed(Operation::Rename, &self.path.join(from)))
    }

    /// Takes a file or folder from another folder of the same filesystem under the name that it has
    /// there, in the place of a file of that name here, durably.
    pub fn take_from(&self, other: &Self, name: &str) -> Result<(), FileError> {
        rustix::fs::renameat(&other.fd, name, &self.fd, name)
            .map_err(failed(Operation::Rename, &other.path.join(name)))?;
        // Here first: a name in both places is found in one.
        self.sync()?;
        other.sync()
    }

    /// Removes a file, durably. Fails if it is not there.
    pub fn remove(&self, name: &str) -> Result<(), FileError> {
        rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())
            .map_err(failed(Operation::Remove, &self.path.join(name)))?;
        self.sync()
    }

    /// Removes a file if it is there, durably: also where a call before this one was cut short after
    /// it removed it.
    pub fn remove_for_good(&self, name: &str) -> Result<(), FileError> {
        self.remove_if_there(name)?;
        self.sync()
    }

    /// Removes a file if it is there; not durably, for what the next start would remove as well.
    pub fn remove_if_there(&self, name: &str) -> Result<(), FileError> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed(Operation::Remove, &self.path.join(name))(errno)),
        }
    }

    /// Removes a folder in this one with the files in it; folders in it are refused (rmdir(2)).
    pub fn remove_folder(&self, name: &str) -> Result<(), FileError> {
        let inner = self.private_folder(name)?;
        for entry in inner.entries()? {
            match rustix::fs::unlinkat(&inner.fd, &entry, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => {
                    return Err(failed(Operation::Remove, &inner.path.join(entry))(errno));
                }
            }
        }
        rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)
            .map_err(failed(Operation::Remove, &inner.path))?;
        self.sync()
    }

    /// The names in the folder, sorted.
    pub fn entries(&self) -> Result<Vec<OsString>, FileError> {
        let read = || -> Result<Vec<OsString>, Errno> {
            let mut names = Vec::new();
            for entry in Dir::read_from(&self.fd)? {
                let name = entry?.file_name().to_bytes().to_vec();
                if name != b"." && name != b".." {
                    names.push(OsString::from_vec(name));
                }
            }
            names.sort();
            Ok(names)
        };
        read().map_err(failed(Operation::Read, &self.path))
    }

    /// Takes the folder for this process alone, by a lock file (flock(2)). It is free again when
    /// the lock is dropped or the process ends, however it ends.
    ///
    /// Fails with [`FileError::InUse`], naming the holder, if another process has it.
    pub fn lock(&self, name: &str) -> Result<Lock, FileError> {
        let path = self.path.join(name);
        let mut file = self.append(name, PRIVATE_FILE_MODE)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let said = file.rewind().and_then(|()| file.take(16).read_to_string(&mut text));
                let holder = said.ok().and_then(|_| text.trim().parse().ok());
                return Err(FileError::InUse { path, holder });
            }
            Err(errno) => return Err(failed(Operation::Lock, &path)(errno)),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed(Operation::Write, &path))?;
        Ok(Lock { _file: file })
    }

    /// Bytes that this process may still use on the folder's filesystem, and its size
    /// (statvfs(3)).
    pub fn space(&self) -> Result<Space, FileError> {
        let stat =
            rustix::fs::fstatvfs(&self.fd).map_err(failed(Operation::Inspect, &self.path))?;
        Ok(Space {
            available_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }
}

/// A folder taken for this process alone.
#[derive(Debug)]
pub struct Lock {
    // The kernel releases the lock with the last descriptor.
    _file: File,
}

/// Room on a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this process may still use.
    pub available_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// Reads a whole file of at most `bytes_max` bytes that nobody else may read, given by path: a key
/// file or a credential. Symlinks are followed; what counts is the file they end in.
///
/// Fails if the file is open to others, belongs to somebody else, or is larger than the bound.
pub fn read_private(path: &Path, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())
        .map_err(failed(Operation::Open, path))?;
    let (file, stat) = regular(path, fd)?;
    check_private(path, &stat, PRIVATE_FILE_MODE)?;
    read_bounded(path, &file, &stat, bytes_max)
}

/// Reserves the first `bytes` bytes of a file on its disk, so that writing them later cannot fail
/// for want of room (fallocate(2)); where the filesystem cannot, zeros are written.
pub fn preallocate(file: &File, path: &Path, bytes: u64) -> Result<(), FileError> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP) => {
            extend_with_zeros(file, bytes).map_err(failed(Operation::Preallocate, path))
        }
        Err(errno) => Err(failed(Operation::Preallocate, path)(errno)),
    }
}

fn extend_with_zeros(mut file: &File, bytes: u64) -> io::Result<()> {
    let end = file.seek(io::SeekFrom::End(0))?;
    io::copy(&mut io::repeat(0).take(bytes.saturating_sub(end)), &mut file)?;
    Ok(())
}

fn regular(path: &Path, fd: OwnedFd) -> Result<(File, Stat), FileError> {
    let stat = rustix::fs::fstat(&fd).map_err(failed(Operation::Inspect, path))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok((fd.into(), stat)),
        _ => Err(FileError::NotAFile(path.to_owned())),
    }
}

fn read_bounded(
    path: &Path,
    mut file: &File,
    stat: &Stat,
    bytes_max: usize,
) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let too_large = || FileError::TooLarge { path: path.to_owned(), bytes_max };
    let size = usize::try_from(stat.st_size).map_err(|_| too_large())?;
    if size > bytes_max {
        return Err(too_large());
    }
    // One byte more than there should be shows a file that grew; the buffer is never reallocated,
    // which would leave a copy behind.
    let mut contents = Zeroizing::new(vec![0; size + 1]);
    let mut filled = 0;
    while let Some(rest) = contents.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(Operation::Read, path)(error)),
        }
    }
    if filled > size {
        return Err(FileError::Failed {
            operation: Operation::Read,
            path: path.to_owned(),
            source: io::Error::other("it grew while it was read"),
        });
    }
    contents.truncate(filled);
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    fn private() -> (tempfile::TempDir, Folder) {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::create_private(temp.path().join("private")).unwrap();
        (temp, folder)
    }

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_is_taken_from_another_folder_is_in_one_of_them() {
        let (_temp, folder) = private();
        let other = folder.create_private_folder("other").unwrap();
        folder.replace("key", 0o600, b"old").unwrap();
        other.replace("key", 0o600, b"new").unwrap();
        other.create_private_folder("more").unwrap().replace("x", 0o600, b"x").unwrap();
        for name in ["key", "more"] {
            folder.take_from(&other, name).unwrap();
            assert!(folder.take_from(&other, name).unwrap_err().is_not_found());
        }
        assert_eq!(folder.read("key", 3).unwrap(), b"new");
        assert_eq!(folder.private_folder("more").unwrap().read("x", 1).unwrap(), b"x");
        assert!(other.entries().unwrap().is_empty());
    }

    #[test]
    fn a_new_name_is_given_to_one_file_only() {
        let (_temp, folder) = private();
        for name in ["renamed", "linked"] {
            let give = |from| match name {
                "renamed" => folder.rename_new(from, name),
                _ => folder.link_new(from, name),
            };
            folder.replace("first", 0o600, b"1").unwrap();
            give("first").unwrap();
            folder.replace("second", 0o600, b"2").unwrap();
            assert!(give("second").unwrap_err().is_taken());
            assert_eq!(folder.read(name, 1).unwrap(), b"1");
            assert_eq!(folder.read("second", 1).unwrap(), b"2");
            assert!(folder.read("first", 1).unwrap_err().is_not_found());
        }
    }

    #[test]
    fn a_file_is_not_said_to_be_gone_for_good_before_that_is_durable() {
        let (_temp, folder) = private();
        folder.replace("key", 0o600, b"key").unwrap();
        // By this, names are removed and nothing is made durable.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(folder.path(), flags, Mode::empty()).unwrap();
        let lame = Folder { fd, path: folder.path().to_owned() };
        for is_there in [true, false] {
            assert_eq!(folder.open_file("key").is_ok(), is_there);
            let error = lame.remove_for_good("key").unwrap_err();
            assert!(
                matches!(error, FileError::Failed { operation: Operation::Sync, .. }),
                "{error:?}"
            );
        }
        folder.remove_for_good("key").unwrap();
    }

    #[test]
    fn a_file_is_replaced_whole_with_its_mode() {
        let (_temp, folder) = private();
        folder.replace("key", 0o600, b"one").unwrap();
        folder.replace("key", 0o640, b"three").unwrap();
        assert_eq!(folder.read("key", 5).unwrap(), b"three");
        assert_eq!(folder.path().join("key").metadata().unwrap().mode() & 0o7777, 0o640);
        assert_eq!(folder.entries().unwrap(), ["key"]);
    }

    #[test]
    fn what_a_crash_left_does_not_stop_the_next_replace() {
        let (_temp, folder) = private();
        folder.create_new(".key.new", 0o600).unwrap();
        folder.replace("key", 0o600, b"new").unwrap();
        assert_eq!(folder.entries().unwrap(), ["key"]);
    }

    #[test]
    fn what_a_crash_left_is_removed_and_nothing_else() {
        let (_temp, folder) = private();
        folder.replace("key", 0o600, b"old").unwrap();
        folder.remove_unfinished("key").unwrap();
        for name in [".key.new", ".other.new"] {
            folder.create_new(name, 0o600).unwrap();
        }
        folder.remove_unfinished("key").unwrap();
        assert_eq!(folder.entries().unwrap(), [".other.new", "key"]);
    }

    #[test]
    fn a_failed_replace_leaves_the_old_file_and_no_other() {
        let (_temp, folder) = private();
        folder.replace("key", 0o600, b"old").unwrap();
        std::fs::create_dir(folder.path().join("taken")).unwrap();
        let error = folder.replace("taken", 0o600, b"x").unwrap_err();
        assert!(matches!(error, FileError::Failed { operation: Operation::Rename, .. }), "{error}");
        assert_eq!(folder.entries().unwrap(), ["key", "taken"]);
    }

    #[test]
    fn a_folder_that_others_can_use_is_refused_with_the_remedy() {
        let (_temp, folder) = private();
        chmod(folder.path(), 0o750);
        let error = Folder::create_private(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is open to other users"), "{error}");
        assert!(error.contains("chmod 0700"), "{error}");
        chmod(folder.path(), 0o700);
        Folder::open_private(folder.path()).unwrap();
    }

    #[test]
    fn a_private_file_that_others_can_read_is_refused() {
        let (_temp, folder) = private();
        folder.replace("key", 0o604, b"x").unwrap();
        let error = folder.read_private("key", 10).unwrap_err();
        assert!(matches!(error, FileError::TooOpen { mode: 0o604, .. }), "{error}");
        let error = read_private(&folder.path().join("key"), 10).unwrap_err();
        assert!(matches!(error, FileError::TooOpen { .. }), "{error}");
        folder.replace("key", 0o600, b"x").unwrap();
        assert_eq!(**folder.read_private("key", 1).unwrap(), *b"x");
    }

    #[test]
    fn a_private_file_of_somebody_else_is_refused() {
        if !crate::require::root("a_private_file_of_somebody_else_is_refused") {
            return;
        }
        let (_temp, folder) = private();
        folder.replace("key", 0o600, b"x").unwrap();
        std::os::unix::fs::chown(folder.path().join("key"), Some(1), None).unwrap();
        let error = folder.read_private("key", 10).unwrap_err();
        assert!(matches!(error, FileError::ForeignOwner { owner: 1, .. }), "{error}");
    }

    #[test]
    fn reads_are_bounded() {
        let (_temp, folder) = private();
        folder.replace("key", 0o600, b"12345").unwrap();
        assert_eq!(folder.read("key", 5).unwrap(), b"12345");
        let error = folder.read("key", 4).unwrap_err();
        assert!(matches!(error, FileError::TooLarge { bytes_max: 4, .. }), "{error}");
        assert!(folder.read("none", 4).unwrap_err().is_not_found());
    }

    #[test]
    fn symlinks_and_pipes_are_refused() {
        let (_temp, folder) = private();
        folder.replace("key", 0o600, b"x").unwrap();
        symlink("key", folder.path().join("link")).unwrap();
        assert!(folder.read("link", 1).is_err());
        assert!(folder.append("link", 0o600).is_err());
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(&folder, "pipe", FileType::Fifo, mode, 0).unwrap();
        assert!(matches!(folder.read("pipe", 1), Err(FileError::NotAFile(_))));
        symlink(".", folder.path().join("folder")).unwrap();
        assert!(folder.private_folder("folder").is_err());
    }

    #[test]
    fn a_locked_folder_names_its_holder() {
        let (_temp, folder) = private();
        let lock = folder.lock("lock").unwrap();
        // flock(2) is per open file, so that this process is as good as another.
        let error = folder.lock("lock").unwrap_err().to_string();
        assert!(
            error.ends_with(&format!("is in use by process {}", std::process::id())),
            "{error}"
        );
        drop(lock);
        folder.lock("lock").unwrap();
    }

    #[test]
    fn room_is_reserved_and_known() {
        let (_temp, folder) = private();
        let file = folder.create_new("head", 0o600).unwrap();
        preallocate(&file, Path::new("head"), 8192).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 8192);
        let space = folder.space().unwrap();
        assert!(space.available_bytes > 0 && space.available_bytes <= space.total_bytes);
        let other = folder.create_new("zeros", 0o600).unwrap();
        extend_with_zeros(&other, 100).unwrap();
        assert_eq!(folder.read("zeros", 100).unwrap(), [0; 100]);
    }

    #[test]
    fn a_folder_of_files_is_removed_but_not_a_tree() {
        let (_temp, folder) = private();
        let inner = folder.create_private_folder("inner").unwrap();
        inner.replace("file", 0o600, b"x").unwrap();
        let deeper = inner.create_private_folder("deeper").unwrap();
        assert!(folder.remove_folder("inner").is_err());
        std::fs::remove_dir(deeper.path()).unwrap();
        folder.remove_folder("inner").unwrap();
        assert!(folder.private_folder("inner").unwrap_err().is_not_found());
    }
}
