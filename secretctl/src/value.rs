//! The value of a new secret: from standard input, a file or the terminal into a [`Plaintext`].
//!
//! Read by the descriptor itself, without a buffer of the standard library in between, straight
//! into the memory that is encrypted in place and wiped. Never from an argument or the
//! environment. Not here: sealing.
//!
//! Invariant: nothing here looks at a value but to compare the two that were typed.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use link::Failure;
use proto::Kind;
use proto::limits::PAYLOAD_BYTES_MAX;
use seal::{Plaintext, ReadError};
use sys::tty::TtyError;
use zeroize::Zeroizing;

use crate::error::{Error, chain};

/// Longest value that can be typed, in bytes. Whoever has more has a file.
const TYPED_BYTES_MAX: usize = 4096;

/// A value could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ValueError {
    /// The file cannot be opened.
    #[error("cannot open {}", shown(path))]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be read, is empty or too large.
    #[error("no secret in {from}")]
    Read {
        /// Where it should come from.
        from: String,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// It cannot be typed.
    #[error("the secret could not be asked for")]
    Ask(#[source] TtyError),
    /// The two that were typed differ.
    #[error("the two values that were typed differ")]
    Differ,
}

/// A path as it can be shown. A word that is no path may be the secret itself.
fn shown(path: &Path) -> String {
    if path.components().count() > 1 {
        format!("`{}`", path.display())
    } else {
        "the file that FILE names".to_owned()
    }
}

impl From<ValueError> for Error {
    fn from(error: ValueError) -> Self {
        let because = std::error::Error::source(&error).map(chain);
        let (kind, hint) = match &error {
            ValueError::Ask(TtyError::Interrupted) => return Self::Interrupted(None),
            ValueError::Open { source, .. } if source.kind() == io::ErrorKind::NotFound => (
                Kind::NotFound,
                "FILE is the name of a file, or `-` for standard input; if what you typed was the \
                 secret itself, it is in your shell's history now: take another one",
            ),
            ValueError::Open { .. } => (Kind::Invalid, "give a file that this user may read"),
            ValueError::Read { source: ReadError::Empty, .. } => (
                Kind::Invalid,
                "check the command that the value is piped from; a secret has at least one byte",
            ),
            ValueError::Read { source: ReadError::TooLarge, .. } => (
                Kind::TooLarge,
                "encrypt what is large with a key of its own, and store that key as the secret",
            ),
            ValueError::Read { source: ReadError::Io(_), .. } => {
                (Kind::Invalid, "give a file that can be read, or pipe the value")
            }
            ValueError::Ask(_) => (Kind::Invalid, "pipe the value, or name a file"),
            ValueError::Differ => (Kind::Invalid, "nothing was created; repeat the command"),
        };
        let mut failure = Failure::new(kind, error.to_string()).hint(hint);
        failure.because = because;
        failure.into()
    }
}

/// Whether the value will be asked for on the terminal.
pub(crate) fn is_typed(file: &Path) -> bool {
    is_stdin(file) && io::stdin().is_terminal()
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// Standard input by its descriptor: `Stdin` buffers, and that copy would not be wiped.
pub(crate) fn stdin() -> io::Result<File> {
    io::stdin().as_fd().try_clone_to_owned().map(File::from)
}

/// Reads the value of the secret `name` from `file`, or from standard input if that is `-`.
pub(crate) fn read(name: &str, file: &Path) -> Result<Plaintext, ValueError> {
    if is_typed(file) {
        return ask(name);
    }
    if is_stdin(file) {
        let from = "standard input";
        let failed = |source| ValueError::Read { from: from.to_owned(), source };
        let stdin = stdin().map_err(|error| failed(ReadError::Io(error)))?;
        return Plaintext::read_from(stdin).map_err(failed);
    }
    let source =
        File::open(file).map_err(|source| ValueError::Open { path: file.to_owned(), source })?;
    Plaintext::read_from(source).map_err(|source| ValueError::Read { from: shown(file), source })
}

/// Asks twice on the terminal, without echo.
fn ask(name: &str) -> Result<Plaintext, ValueError> {
    const _: () = assert!(TYPED_BYTES_MAX <= PAYLOAD_BYTES_MAX);
    let first = ask_once(&format!("value of {name}: "))?;
    let second = ask_once(&format!("value of {name}, again: "))?;
    let (first, second) = (first.typed(), second.typed());
    if !seal::equal(first, second) {
        return Err(ValueError::Differ);
    }
    Plaintext::born(first.len(), |bytes| bytes.copy_from_slice(first))
        .map_err(|source| ValueError::Read { from: "what was typed".into(), source })
}

/// One line that was typed, in memory that never grows and is wiped.
struct Typed {
    buffer: Zeroizing<Vec<u8>>,
    length: usize,
}

impl Typed {
    fn typed(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }
}

fn ask_once(prompt: &str) -> Result<Typed, ValueError> {
    let mut buffer = Zeroizing::new(vec![0; TYPED_BYTES_MAX]);
    let length = sys::tty::read_secret(prompt, &mut buffer).map_err(ValueError::Ask)?;
    Ok(Typed { buffer, length })
}
