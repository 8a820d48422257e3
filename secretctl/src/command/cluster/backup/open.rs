//! Opening a backup's file, with what the operator brings: an identity's file, or a passphrase.
//!
//! Not here: what is done with what is in it.

use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::Path;

use proto::pb::BackupHead;
use proto::{Kind, hex};
use seal::BackupRoot;
use zeroize::Zeroizing;

use super::super::typed;
use crate::age_file::{Locked, NotOpened, Opener, Opening};
use crate::backup_file::{self, BackupError, Passing};
use crate::error::{Error, chain};

/// Longest file of identities, in bytes: hundreds of them.
const IDENTITIES_BYTES_MAX: u64 = 64 << 10;

/// A backup's file that was opened, before its copy of the state is read.
pub(in super::super) struct Opened {
    pub(in super::super) head: BackupHead,
    pub(in super::super) root: BackupRoot,
    file: Opening<BufReader<File>>,
    passing: Option<Passing>,
}

fn refused(path: &Path, because: impl Into<String>) -> link::Failure {
    let what = format!("{} cannot be opened as a backup", path.display());
    Error::failed(Kind::Invalid, what).because(because)
}

/// It does not authenticate, or is not what it says.
pub(in super::super) fn damaged(error: &BackupError) -> Error {
    let failure = Error::failed(Kind::Invalid, "the backup cannot be used").because(chain(error));
    match error {
        BackupError::Format(_) => failure.hint("use the secretctl of the version that made it"),
        BackupError::NotABackup => failure.hint("name the file that `cluster backup` wrote"),
        BackupError::Read(_) | BackupError::Damaged(_) => failure
            .hint("the file was cut off or changed since it was written: take another copy of it"),
    }
    .into()
}

fn identities(path: &Path) -> Result<Opener, Error> {
    let wrong = |because: String| {
        let what = format!("{} is not a file of age identities", path.display());
        let failure = Error::failed(Kind::Invalid, what).because(because);
        Error::from(
            failure.hint("`age-keygen` writes one; a line of it begins with AGE-SECRET-KEY-1"),
        )
    };
    let mut text = Zeroizing::new(Vec::with_capacity(4096));
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    let read = file.take(IDENTITIES_BYTES_MAX).read_to_end(&mut text);
    read.map_err(|error| wrong(error.to_string()))?;
    Opener::identities(&text).map_err(wrong)
}

impl Opened {
    /// Opens a file; asks for its passphrase if it has one.
    ///
    /// # Errors
    ///
    /// If it is not a backup, or does not open with this.
    pub(in super::super) fn at(path: &Path, identity: Option<&Path>) -> Result<Self, Error> {
        let file = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Error::failed(Kind::NotFound, format!("there is no file {}", path.display()))
                    .hint("name the file that `secretctl cluster backup` wrote")
            }
            _ => refused(path, error.to_string()),
        })?;
        let locked = Locked::read(BufReader::new(file)).map_err(|_| {
            refused(path, "it is not an age file, or its head is damaged")
                .hint("name the file that `secretctl cluster backup` wrote")
        })?;
        let under_passphrase = locked.is_under_passphrase();
        let opener = match identity {
            None if under_passphrase => {
                let typed = typed::existing_passphrase("passphrase of the backup: ")?;
                Opener::passphrase(typed.line())?
            }
            None => {
                return Err(refused(path, "it is encrypted to age recipients")
                    .hint("name the file with an identity of one of them: `--identity FILE`")
                    .into());
            }
            Some(_) if under_passphrase => {
                return Err(refused(
                    path,
                    "it is encrypted under a passphrase, not to a recipient",
                )
                .hint("leave `--identity` out; the passphrase is asked for")
                .into());
            }
            Some(path) => identities(path)?,
        };
        let mut file = locked.open(opener).map_err(|error| match error {
            NotOpened::WrongKey if under_passphrase => {
                refused(path, "the passphrase is another one, or has a slip in it")
                    .hint("every character counts: case, spaces, the keyboard's layout")
            }
            NotOpened::WrongKey => refused(path, "it is encrypted to other recipients")
                .hint("an identity of one of its recipients opens it"),
            NotOpened::TooMuchWork => refused(path, "it asks for too much work")
                .hint("it was not written by `secretctl cluster backup`"),
            NotOpened::NotAgeFile => refused(path, "its head is damaged")
                .hint("the file was changed since it was written: take another copy of it"),
        })?;
        let (head, root) = backup_file::read_head(&mut file).map_err(|error| damaged(&error))?;
        let passing = Some(Passing::of(&head));
        Ok(Self { head, root, file, passing })
    }

    /// Its id.
    pub(in super::super) fn id(&self) -> String {
        hex::encode(&self.head.id)
    }

    /// The next piece of its copy of the state; none once all of it was read, and is what the head
    /// says.
    ///
    /// # Errors
    ///
    /// If it is not.
    pub(in super::super) fn next_piece(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let Some(passing) = &mut self.passing else { return Ok(None) };
        let piece = backup_file::next_piece(&mut self.file, passing);
        let piece = piece.map_err(|error| damaged(&error))?;
        if piece.is_none()
            && let Some(passing) = self.passing.take()
        {
            passing.end().map_err(|error| damaged(&error))?;
        }
        Ok(piece)
    }
}
