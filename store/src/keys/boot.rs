//! The boot file of this manager, where the configuration says it lies; and the address book.
//!
//! Both are for the next start: with the boot file a manager asks its peers to open its key file,
//! the address book says where they were. What is in a boot file, and what it protects: seal's
//! `boot_file` and `docs/design/peers.md`. Nothing vouches for the address book, and nothing has to.
//!
//! Invariant: either file is replaced whole and durably, or not at all.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use proto::id::MemberId;
use proto::limits::{ADDRESS_BYTES_MAX, MANAGERS_MAX};
use seal::{BOOT_FILE_BYTES_MAX, BOOT_FILE_SECRET_BYTES, BootFile, BootFileKey};
use sys::file::{FileError, Folder, PRIVATE_FILE_MODE};

/// The address book's name in the data folder.
const BOOK: &str = "peers";

/// Members in it: as many as there may be, and those on their way in and out.
const BOOK_MAX: usize = 2 * MANAGERS_MAX;

/// Bytes of the largest address book: a number and an address for each member.
const BOOK_BYTES_MAX: usize = BOOK_MAX * (ADDRESS_BYTES_MAX + 22);

/// The boot file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootFileError {
    /// A file failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not one.
    #[error("{} is {}", path.display(), seal::NotABootFile)]
    Damaged { path: PathBuf },
    /// It is sealed, and nothing says what opens it.
    #[error("{} is sealed: `boot-file-key` says where its key is", path.display())]
    Sealed { path: PathBuf },
    /// What seals it is not that.
    #[error("{} is not the key of a boot file: expected {BOOT_FILE_SECRET_BYTES} bytes", path.display())]
    NotAKey { path: PathBuf },
    /// Its path names no file.
    #[error("{} is not the path of a file", path.display())]
    NotAPath { path: PathBuf },
}

impl BootFileError {
    /// Whether the same file may be read later: its mount, or what opens it, is away.
    pub(crate) const fn may_pass(&self) -> bool {
        matches!(self, Self::File(FileError::Failed { .. }) | Self::NotAKey { .. })
    }
}

/// Where the boot file lies, and the secret that it is sealed under, if it is.
#[derive(Debug, Clone)]
pub(crate) struct BootPlace {
    path: PathBuf,
    key: Option<PathBuf>,
}

impl BootPlace {
    pub(crate) const fn new(path: PathBuf, key: Option<PathBuf>) -> Self {
        Self { path, key }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it is sealed under; none if it is not to be.
    fn key(&self) -> Result<Option<BootFileKey>, BootFileError> {
        let Some(path) = &self.key else { return Ok(None) };
        let secret = sys::file::read_private(path, BOOT_FILE_SECRET_BYTES + 1)?;
        let secret = secret.as_slice().try_into();
        let secret = secret.map_err(|_| BootFileError::NotAKey { path: path.clone() })?;
        Ok(Some(BootFileKey::derive_from_secret(secret)))
    }

    /// What is there; none if there is no such file.
    pub(crate) fn read(&self) -> Result<Option<BootFile>, BootFileError> {
        let bytes = match sys::file::read_private(&self.path, BOOT_FILE_BYTES_MAX) {
            Err(error) if error.is_not_found() => return Ok(None),
            other => other?,
        };
        let path = || self.path.clone();
        // One that is in clear was written before there was a key: the next turn seals it.
        let file = if BootFile::is_sealed(&bytes) {
            let key = self.key()?.ok_or_else(|| BootFileError::Sealed { path: path() })?;
            BootFile::open(&bytes, &key)
        } else {
            BootFile::parse(&bytes)
        };
        file.map(Some).map_err(|_| BootFileError::Damaged { path: path() })
    }

    pub(crate) fn write(&self, file: &BootFile) -> Result<(), BootFileError> {
        let (folder, name) = self.place()?;
        let written = match self.key()? {
            Some(key) => folder.replace(name, PRIVATE_FILE_MODE, &file.seal(&key)),
            None => folder.replace(name, PRIVATE_FILE_MODE, &file.to_bytes()),
        };
        Ok(written?)
    }

    /// Whether a boot file is there, whole or not: not anything else that a path may lead to.
    pub(crate) fn is_there(&self) -> bool {
        let bytes = sys::file::read_private(&self.path, BOOT_FILE_BYTES_MAX);
        bytes.is_ok_and(|bytes| BootFile::is_one(&bytes))
    }

    /// Removes it, if it is there.
    pub(crate) fn remove(&self) -> Result<(), BootFileError> {
        if !self.is_there() {
            return Ok(());
        }
        let (folder, name) = self.place()?;
        Ok(folder.remove(name)?)
    }

    /// Removes what a power cut left of replacing it.
    pub(crate) fn remove_leftovers(&self) -> Result<(), BootFileError> {
        match self.place() {
            Ok((folder, name)) => Ok(folder.remove_unfinished(name)?),
            // Another mount may not be there yet.
            Err(BootFileError::File(error)) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn place(&self) -> Result<(Folder, &str), BootFileError> {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let name = self.path.file_name().and_then(OsStr::to_str);
        let name = name.ok_or_else(|| BootFileError::NotAPath { path: self.path.clone() })?;
        Ok((Folder::open(parent.unwrap_or_else(|| Path::new(".")))?, name))
    }
}

/// Where the other managers are reached: a line each, `member address`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AddressBook(pub(crate) BTreeMap<MemberId, String>);

impl AddressBook {
    /// What was last known; nothing of a file that is not there, or is not one.
    pub(crate) fn read(folder: &Folder) -> Result<Self, FileError> {
        match folder.read(BOOK, BOOK_BYTES_MAX) {
            Ok(bytes) => Ok(Self::parse(&String::from_utf8_lossy(&bytes))),
            Err(error) if error.is_not_found() => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn write(&self, folder: &Folder) -> Result<(), FileError> {
        folder.replace(BOOK, PRIVATE_FILE_MODE, self.to_text().as_bytes())
    }

    pub(crate) fn remove(folder: &Folder) -> Result<(), FileError> {
        folder.remove_if_there(BOOK)
    }

    /// Removes what a power cut left of replacing it.
    pub(crate) fn remove_leftovers(folder: &Folder) -> Result<(), FileError> {
        folder.remove_unfinished(BOOK)
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        for (member, address) in &self.0 {
            // Writing to a string cannot fail.
            let _written = writeln!(text, "{member} {address}");
        }
        text
    }

    /// Lines that are not of this form say nothing.
    fn parse(text: &str) -> Self {
        let entry = |line: &str| {
            let (member, address) = line.split_once(' ')?;
            let is_address = !address.is_empty() && address.len() <= ADDRESS_BYTES_MAX;
            let member = member.parse().ok().map(MemberId).filter(|_| is_address)?;
            Some((member, address.to_owned()))
        };
        Self(text.lines().filter_map(entry).take(BOOK_MAX).collect())
    }
}

#[cfg(test)]
mod tests {
    use proto::id::{Incarnation, Realm};
    use seal::{BootEntry, Disk, PeerSecretKey};

    use super::*;

    fn file(generation: u64) -> BootFile {
        let realm = Realm::from_bytes([1; 16]);
        let disk = Disk { realm, incarnation: Incarnation(1), member: MemberId(2) };
        let slot = PeerSecretKey::make().public().make_slot(disk, generation).unwrap();
        let pair = link::certificate::make_key_pair().unwrap();
        let certificate = vec![7; 500].into();
        BootFile::new(disk, BootEntry { generation, own: slot.own, key: pair.private, certificate })
    }

    #[test]
    fn a_boot_file_is_replaced_and_removed_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::create_private(folder.path().join("data")).unwrap();
        let place = BootPlace::new(folder.path().join("boot"), None);
        assert!(place.read().unwrap().is_none());
        place.write(&file(5)).unwrap();
        place.write(&file(6)).unwrap();
        assert!(place.read().unwrap().unwrap().entry(6).is_some());
        folder.replace("boot", PRIVATE_FILE_MODE, b"something else").unwrap();
        assert!(matches!(place.read(), Err(BootFileError::Damaged { .. })));
        place.remove().unwrap();
        assert!(folder.path().join("boot").exists(), "it is no boot file, and not ours to remove");
        let mut damaged = file(6).to_bytes().to_vec();
        damaged.pop();
        folder.replace("boot", PRIVATE_FILE_MODE, &damaged).unwrap();
        assert!(matches!(place.read(), Err(BootFileError::Damaged { .. })));
        place.remove().unwrap();
        place.remove().unwrap();
        folder.replace(".boot.new", PRIVATE_FILE_MODE, b"half of one").unwrap();
        place.remove_leftovers().unwrap();
        assert!(!folder.path().join(".boot.new").exists());
        assert!(place.read().unwrap().is_none());
    }

    #[test]
    fn a_boot_file_is_sealed_where_there_is_a_key_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::create_private(folder.path().join("data")).unwrap();
        let (path, key) = (folder.path().join("boot"), folder.path().join("key"));
        let plain = BootPlace::new(path.clone(), None);
        let sealed = BootPlace::new(path.clone(), Some(key.clone()));
        assert!(matches!(sealed.write(&file(5)), Err(BootFileError::File(_))), "no key, no file");
        folder.replace("key", PRIVATE_FILE_MODE, &[7; 33]).unwrap();
        assert!(matches!(sealed.write(&file(5)), Err(BootFileError::NotAKey { .. })));
        folder.replace("key", PRIVATE_FILE_MODE, &[7; 32]).unwrap();
        plain.write(&file(5)).unwrap();
        assert!(sealed.read().unwrap().unwrap().entry(5).is_some(), "it was there before the key");
        sealed.write(&file(6)).unwrap();
        assert!(sealed.read().unwrap().unwrap().entry(6).is_some());
        assert!(matches!(plain.read(), Err(BootFileError::Sealed { .. })));
        folder.replace("key", PRIVATE_FILE_MODE, &[8; 32]).unwrap();
        assert!(matches!(sealed.read(), Err(BootFileError::Damaged { .. })));
    }

    #[test]
    fn a_boot_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::create_private(folder.path().join("data")).unwrap();
        let place = BootPlace::new(folder.path().join("boot"), None);
        folder.replace("boot", 0o644, &file(5).to_bytes()).unwrap();
        assert!(matches!(place.read(), Err(BootFileError::File(_))));
    }

    #[test]
    fn an_address_book_is_read_as_far_as_it_is_one() {
        let book = AddressBook(
            [(MemberId(1), "10.0.0.1:7443".into()), (MemberId(9), "[::1]:80".into())].into(),
        );
        assert_eq!(AddressBook::parse(&book.to_text()), book);
        let long = "a".repeat(ADDRESS_BYTES_MAX + 1);
        let text = format!("1 10.0.0.1:7443\nnonsense\n2 \nx y\n3 {long}\n9 [::1]:80\n");
        assert_eq!(AddressBook::parse(&text), book);
        let many: Vec<_> = (1..100).map(|n| format!("{n} host:1")).collect();
        assert_eq!(AddressBook::parse(&many.join("\n")).0.len(), BOOK_MAX);
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::create_private(folder.path().join("data")).unwrap();
        assert_eq!(AddressBook::read(&folder).unwrap(), AddressBook::default());
        book.write(&folder).unwrap();
        assert_eq!(AddressBook::read(&folder).unwrap(), book);
    }
}
