//! Everything this program prints.
//!
//! The contract: standard output is data, standard error is talk. Talk is `secretctl: …`, lower
//! case, without a final period: what happened, why (`because`), what to do (`hint`). With
//! `--json` data is JSON and so are errors. A reader who closes standard output early has what he
//! wanted.
//!
//! Invariant: no other file prints; control characters that came over the network do not reach the
//! terminal, but for what a task printed, which is passed on as it is.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::error::Error;

/// Prints as the user asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    /// JSON instead of text.
    pub(crate) json: bool,
    /// No progress, ids only.
    pub(crate) quiet: bool,
}

/// An error as JSON.
#[derive(Serialize)]
struct ErrorView<'a> {
    error: ErrorFields<'a>,
}

#[derive(Serialize)]
struct ErrorFields<'a> {
    kind: &'a str,
    message: &'a str,
    because: Option<&'a str>,
    hints: &'a [String],
}

impl Printer {
    /// A line, or several, of data.
    pub(crate) fn data(self, text: &str) -> Result<(), Error> {
        let mut text = printable(text).into_owned();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        self.bytes(text.as_bytes())
    }

    /// Data as it is: what a task printed, a generated file.
    #[expect(clippy::unused_self, reason = "printing is the printer's business")]
    pub(crate) fn bytes(self, bytes: &[u8]) -> Result<(), Error> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                Error::Closed
            } else {
                Error::Output(error)
            }
        })
    }

    /// A key in clear, with a newline, by the descriptor itself: the buffer of the standard library
    /// would keep it. That nobody reads it is an error here.
    #[expect(clippy::unused_self, reason = "printing is the printer's business")]
    pub(crate) fn secret(self, text: &str) -> Result<(), Error> {
        let line = Zeroizing::new(format!("{text}\n"));
        let stdout = io::stdout().as_fd().try_clone_to_owned().map(File::from);
        stdout.and_then(|mut file| file.write_all(line.as_bytes())).map_err(Error::Output)
    }

    /// Data as JSON, readable.
    pub(crate) fn json(self, value: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Error::Output(io::Error::other(error)))?;
        self.data(&text)
    }

    /// Data as one line of JSON, for streams.
    pub(crate) fn json_line(self, value: &impl Serialize) -> Result<(), Error> {
        let text =
            serde_json::to_string(value).map_err(|error| Error::Output(io::Error::other(error)))?;
        self.data(&text)
    }

    /// What went wrong; nothing if there is nothing to say.
    pub(crate) fn error(self, error: Error) {
        let Some((kind, failure)) = error.telling() else { return };
        if self.json {
            let fields = ErrorFields {
                kind,
                message: &failure.message,
                because: failure.because.as_deref(),
                hints: &failure.hints,
            };
            if let Ok(text) = serde_json::to_string(&ErrorView { error: fields }) {
                tell(format!("{text}\n").as_bytes());
            }
            return;
        }
        let mut text = format!("secretctl: error: {}\n", one_line(&failure.message));
        if let Some(reason) = &failure.because {
            writeln!(text, "secretctl:   because {}", one_line(reason)).ok();
        }
        for hint in &failure.hints {
            writeln!(text, "secretctl: hint: {}", one_line(hint)).ok();
        }
        tell(text.as_bytes());
    }

    /// Something is not as it should be, and the command goes on.
    pub(crate) fn warning(self, text: &str) {
        if self.json {
            let view = serde_json::json!({ "warning": text });
            return tell(format!("{view}\n").as_bytes());
        }
        tell(format!("secretctl: warning: {}\n", one_line(text)).as_bytes());
    }

    /// What to do next, after something was done.
    pub(crate) fn hint(self, text: &str) {
        if !self.quiet && !self.json {
            tell(format!("secretctl: hint: {}\n", one_line(text)).as_bytes());
        }
    }

    /// What is being waited for.
    pub(crate) fn progress(self, text: &str) {
        if !self.quiet && !self.json {
            tell(format!("secretctl: {}\n", one_line(text)).as_bytes());
        }
    }
}

/// Whether standard output is a terminal.
pub(crate) fn shows_on_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Standard output by its descriptor, for bytes that are data and many.
pub(crate) fn raw_stdout() -> io::Result<File> {
    io::stdout().as_fd().try_clone_to_owned().map(File::from)
}

/// Standard error by its descriptor, for what a command in a task writes there.
pub(crate) fn raw_stderr() -> io::Result<File> {
    io::stderr().as_fd().try_clone_to_owned().map(File::from)
}

/// What a task wrote to its standard error, as it is.
pub(crate) fn task_stderr(bytes: &[u8]) {
    tell(bytes);
}

/// To standard error; if that is closed there is nobody to tell.
fn tell(bytes: &[u8]) {
    io::stderr().lock().write_all(bytes).ok();
}

fn is_hidden(c: char) -> bool {
    // Direction marks can make a line read as another one.
    let direction = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (c.is_control() && c != '\n') || direction
}

/// Without control characters, newlines excepted.
fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(is_hidden) {
        Cow::Owned(text.replace(is_hidden, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// On one line, without control characters.
fn one_line(text: &str) -> String {
    printable(text).lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_over_the_network_cannot_drive_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\r\u{9b}1m\n"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}1m\n");
        assert_eq!(printable("\u{202e}abc"), "\u{fffd}abc");
        assert_eq!(one_line("one\n  two\n"), "one two");
        assert_eq!(printable("ünï ☃"), "ünï ☃");
    }
}
