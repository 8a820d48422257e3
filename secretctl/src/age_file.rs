//! The age file (age-encryption.org/v1) that a backup is kept in: who opens it, and its two streams.
//!
//! Anybody's age opens it as well; what is inside is `backup_file`'s. Not here: asking for a
//! passphrase (`command`), making key pairs (age-keygen does).
//!
//! Invariant: no other file names the library; what it says is not shown, so that an error is told
//! in this program's words and tells nothing of what was typed.

use std::io::{self, Read, Write};

use age::secrecy::SecretString;
use age::{Decryptor, Encryptor, scrypt, x25519};
use link::Failure;
use proto::Kind;

use crate::error::Error;

/// scrypt's work for a passphrase, as a power of two: 2^18, what age itself takes. 256 MiB, and a
/// second.
const WORK_FACTOR: u8 = 18;

/// The most of it that is done for a file that somebody brings: sixteen times as much.
const WORK_FACTOR_MAX: u8 = 22;

/// What a file is encrypted to.
pub(crate) enum Lock {
    /// Each of these opens it.
    Recipients(Vec<x25519::Recipient>),
    /// Whoever knows this.
    Passphrase(SecretString),
}

/// What opens a file.
pub(crate) enum Opener {
    /// One of these has to be a recipient's.
    Identities(Vec<x25519::Identity>),
    /// The passphrase.
    Passphrase(SecretString),
}

/// A stream into a file, encrypted piece by piece.
pub(crate) type Sealing<W> = age::stream::StreamWriter<W>;

/// A stream out of a file; each piece is authenticated before it is handed out.
pub(crate) type Opening<R> = age::stream::StreamReader<R>;

/// What was typed, as the library takes it.
fn secret(typed: &[u8]) -> Result<SecretString, Failure> {
    let text = std::str::from_utf8(typed);
    let text = text.map_err(|_| Error::failed(Kind::Invalid, "the passphrase is not UTF-8"))?;
    Ok(SecretString::from(text))
}

impl Lock {
    /// Recipients as `age-keygen` prints them.
    ///
    /// # Errors
    ///
    /// If one is not a recipient.
    pub(crate) fn to(recipients: &[String]) -> Result<Self, Failure> {
        let parsed = recipients.iter().map(|text| {
            text.parse().map_err(|_| {
                let what = format!("`{text}` is not an age recipient");
                Error::failed(Kind::Invalid, what)
                    .hint("one begins with `age1`; `age-keygen -y FILE` prints that of an identity")
                    .hint("recipients of plugins and of SSH are not taken here")
            })
        });
        parsed.collect::<Result<_, _>>().map(Self::Recipients)
    }

    /// Under a passphrase that was typed.
    ///
    /// # Errors
    ///
    /// If it is not text.
    pub(crate) fn under(passphrase: &[u8]) -> Result<Self, Failure> {
        secret(passphrase).map(Self::Passphrase)
    }

    /// Begins a file.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub(crate) fn begin<W: Write>(self, file: W) -> io::Result<Sealing<W>> {
        let encryptor = match self {
            Self::Recipients(recipients) => {
                Encryptor::with_recipients(recipients.iter().map(|one| one as &dyn age::Recipient))
            }
            Self::Passphrase(passphrase) => {
                let mut recipient = scrypt::Recipient::new(passphrase);
                recipient.set_work_factor(WORK_FACTOR);
                Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
            }
        };
        encryptor.map_err(|_| io::Error::other("there is nobody to encrypt to"))?.wrap_output(file)
    }
}

impl Opener {
    /// Identities as `age-keygen` writes them: a line each, comments and empty lines between.
    ///
    /// # Errors
    ///
    /// With the number of a line that is something else; if there is none.
    pub(crate) fn identities(text: &[u8]) -> Result<Self, String> {
        let mut identities = Vec::new();
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let parsed = std::str::from_utf8(line).ok().and_then(|line| line.parse().ok());
            let wrong = || format!("line {} is not an age identity", at + 1);
            identities.push(parsed.ok_or_else(wrong)?);
        }
        if identities.is_empty() {
            return Err("there is no identity in it".into());
        }
        Ok(Self::Identities(identities))
    }

    /// What was typed.
    ///
    /// # Errors
    ///
    /// If it is not text.
    pub(crate) fn passphrase(typed: &[u8]) -> Result<Self, Failure> {
        secret(typed).map(Self::Passphrase)
    }
}

/// Why a file does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotOpened {
    /// It is no age file, or its head is damaged.
    NotAgeFile,
    /// It was not encrypted to any of these identities, or under another passphrase.
    WrongKey,
    /// It asks for more work than anybody would have chosen.
    TooMuchWork,
}

/// A file whose head was read.
pub(crate) struct Locked<R>(Decryptor<R>);

impl<R: Read> Locked<R> {
    /// Reads the head.
    ///
    /// # Errors
    ///
    /// If it is not one.
    pub(crate) fn read(file: R) -> Result<Self, NotOpened> {
        Decryptor::new(file).map(Self).map_err(|_| NotOpened::NotAgeFile)
    }

    /// Whether a passphrase opens it; else an identity does.
    pub(crate) fn is_under_passphrase(&self) -> bool {
        self.0.is_scrypt()
    }

    /// Opens it.
    ///
    /// # Errors
    ///
    /// If this does not open it.
    pub(crate) fn open(self, with: Opener) -> Result<Opening<R>, NotOpened> {
        let opened = match with {
            Opener::Identities(identities) => {
                self.0.decrypt(identities.iter().map(|one| one as &dyn age::Identity))
            }
            Opener::Passphrase(passphrase) => {
                let mut identity = scrypt::Identity::new(passphrase);
                identity.set_max_work_factor(WORK_FACTOR_MAX);
                self.0.decrypt(std::iter::once(&identity as &dyn age::Identity))
            }
        };
        opened.map_err(|error| match error {
            age::DecryptError::ExcessiveWork { .. } => NotOpened::TooMuchWork,
            age::DecryptError::NoMatchingKeys
            | age::DecryptError::KeyDecryptionFailed
            | age::DecryptError::DecryptionFailed => NotOpened::WrongKey,
            _ => NotOpened::NotAgeFile,
        })
    }
}

#[cfg(test)]
mod tests {
    use age::secrecy::ExposeSecret as _;

    use super::*;

    const TEXT: &[u8] = b"what is kept";

    fn sealed(lock: Lock) -> Vec<u8> {
        let mut writer = lock.begin(Vec::new()).unwrap();
        writer.write_all(TEXT).unwrap();
        writer.finish().unwrap()
    }

    fn opened(file: &[u8], with: Opener) -> Result<Vec<u8>, NotOpened> {
        let mut text = Vec::new();
        Locked::read(file)?.open(with)?.read_to_end(&mut text).unwrap();
        Ok(text)
    }

    fn pair() -> (String, String) {
        let identity = x25519::Identity::generate();
        (identity.to_public().to_string(), identity.to_string().expose_secret().to_owned())
    }

    #[test]
    fn each_recipient_opens_it_and_nobody_else() {
        let (one, two, other) = (pair(), pair(), pair());
        let file = sealed(Lock::to(&[one.0, two.0]).unwrap());
        for identity in [&one.1, &two.1] {
            let text = format!("# created by somebody\n\n{identity}\n");
            let opener = Opener::identities(text.as_bytes()).unwrap();
            assert_eq!(opened(&file, opener).unwrap(), TEXT);
        }
        let foreign = Opener::identities(other.1.as_bytes()).unwrap();
        assert_eq!(opened(&file, foreign), Err(NotOpened::WrongKey));
        let typed = Opener::passphrase(b"a passphrase of some length").unwrap();
        assert_eq!(opened(&file, typed), Err(NotOpened::WrongKey));
    }

    #[test]
    fn the_passphrase_opens_it_and_no_other() {
        let file = sealed(Lock::under(b"correct horse battery").unwrap());
        assert!(Locked::read(&file[..]).unwrap().is_under_passphrase());
        let opener = Opener::passphrase(b"correct horse battery").unwrap();
        assert_eq!(opened(&file, opener).unwrap(), TEXT);
        let opener = Opener::passphrase(b"correct horse batterz").unwrap();
        assert_eq!(opened(&file, opener), Err(NotOpened::WrongKey));
    }

    #[test]
    fn a_file_that_asks_for_too_much_work_is_refused_before_any_is_done() {
        let file = sealed(Lock::under(b"correct horse battery").unwrap());
        let own = format!(" {WORK_FACTOR}\n").into_bytes();
        let at = file.windows(own.len()).position(|bytes| bytes == own).unwrap();
        let more = format!(" {}\n", WORK_FACTOR_MAX + 1).into_bytes();
        let asking = [&file[..at], &more, &file[at + own.len()..]].concat();
        let opener = Opener::passphrase(b"correct horse battery").unwrap();
        assert_eq!(opened(&asking, opener), Err(NotOpened::TooMuchWork));
    }

    #[test]
    fn what_is_no_recipient_and_no_identity_is_named() {
        let failure = Lock::to(&["age1nobody".into()]).err().unwrap();
        assert!(failure.message.contains("age1nobody"), "{failure:?}");
        let error = Opener::identities(b"# one\nAGE-SECRET-KEY-1NOTHING\n").err().unwrap();
        assert_eq!(error, "line 2 is not an age identity");
        assert_eq!(Opener::identities(b"# none\n").err().unwrap(), "there is no identity in it");
        assert_eq!(Locked::read(&b"no age file"[..]).err(), Some(NotOpened::NotAgeFile));
    }
}
