//! Why a command ends without having done what was asked.
//!
//! One type for all commands: a failure (what, why, what to do), a mistake in the command line, an
//! interrupt. Not here: printing it (`message`).
//!
//! Invariant: whatever is told to a user has a next step; [`Error::telling`] adds one to answers
//! that came without.

use std::io;

use link::Failure;
use proto::Kind;
use proto::convert::ParseError;

/// Exit code of an interrupted command: 128 and SIGINT's number, as shells have it.
const INTERRUPTED: u8 = 130;

/// Why a command ends without having done what was asked.
#[derive(Debug, thiserror::Error)]
#[expect(clippy::error_impl_error, reason = "the one error of this program's commands")]
pub(crate) enum Error {
    /// It was refused, or failed.
    #[error("{0}")]
    Failed(Failure),
    /// What was typed makes no sense. The failure's kind does not count.
    #[error("{0}")]
    Usage(Failure),
    /// The user pressed `^C`. What that means is said where it is caught.
    #[error("interrupted")]
    Interrupted(Option<String>),
    /// Whoever read standard output went away: no error.
    #[error("standard output was closed")]
    Closed,
    /// Standard output cannot be written.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    /// Everything there is to say was said while it happened.
    #[error("reported")]
    Reported(u8),
}

impl Error {
    /// A failure with why it happened and what to do.
    pub(crate) fn failed(kind: Kind, message: impl Into<String>) -> Failure {
        Failure::new(kind, message)
    }

    /// A mistake in the command line.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Kind::Invalid, message)
    }

    /// The exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(failure) => failure.kind.exit_code(),
            Self::Usage(_) => 2,
            Self::Interrupted(_) => INTERRUPTED,
            Self::Closed => 0,
            Self::Output(_) => 1,
            Self::Reported(code) => *code,
        }
    }

    /// What to say, and its kind by the name used in `--json` errors; none if there is nothing.
    pub(crate) fn telling(self) -> Option<(&'static str, Failure)> {
        match self {
            Self::Failed(failure) => Some((failure.kind.as_str(), with_next_step(failure))),
            Self::Usage(failure) => Some(("usage", failure)),
            Self::Interrupted(None) | Self::Closed | Self::Reported(_) => None,
            Self::Interrupted(Some(hint)) => {
                Some(("interrupted", Failure::new(Kind::Unavailable, "interrupted").hint(hint)))
            }
            Self::Output(source) => {
                let failure = Failure::new(Kind::Internal, "cannot write to standard output")
                    .because(source.to_string())
                    .hint("what was asked for may have been done; look before doing it again");
                Some(("internal", failure))
            }
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<ParseError> for Error {
    /// An answer of a manager holds what cannot be.
    fn from(error: ParseError) -> Self {
        Failure::new(Kind::Internal, "the manager's answer cannot be read")
            .because(error.to_string())
            .hint(
                "the manager may be of another version: compare `secretctl --version` with \
                   `secretctl cluster status`",
            )
            .into()
    }
}

/// A message without a next step is a bug: what a manager leaves out is added by kind.
fn with_next_step(failure: Failure) -> Failure {
    if !failure.hints.is_empty() {
        return failure;
    }
    let hint = match failure.kind {
        Kind::Invalid => "see the command's `--help` for what it takes",
        Kind::NotFound => "see what there is with the command's `ls`",
        Kind::Exists => "choose another name, or see the one there is with `inspect`",
        Kind::InUse => "see who uses it with `inspect`",
        Kind::Denied => {
            "ask an admin of the cluster; `secretctl operator ls` shows who may do what"
        }
        Kind::Unauthenticated => {
            "enrol again: an admin runs `secretctl operator add`, then `secretctl context add` here"
        }
        Kind::Evicted => "this identity is of no use any more; enrol again under a new one",
        Kind::Conflict => "look at it again, then repeat the command",
        Kind::Precondition | Kind::Internal => {
            "see what is wrong with `secretctl cluster status`, and the manager's log"
        }
        Kind::TooLarge => "remove what is not needed, or use less",
        Kind::Full => "make room on the disk of the manager that is named; it recovers by itself",
        Kind::Locked => "unlock the manager on its own machine",
        Kind::NoLeader => {
            "nothing was changed; start the managers that are missing, then repeat the command"
        }
        Kind::Unavailable | Kind::Timeout => {
            "see what is wrong with `secretctl cluster status`, then repeat the command"
        }
        Kind::Unimplemented => "the manager is older than this program: upgrade it",
    };
    failure.hint(hint)
}

/// An error and everything under it, in one line: for `because`.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        // Some libraries repeat their source in their own text.
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_next_step() {
        for kind in Kind::ALL {
            let (name, failure) =
                Error::from(Failure::new(*kind, "what")).telling().expect("it is told");
            assert_eq!(name, kind.as_str());
            assert_eq!(failure.hints.len(), 1, "{kind}");
        }
        let hinted = Failure::new(Kind::Locked, "what").hint("do");
        assert_eq!(Error::from(hinted).telling().unwrap().1.hints, ["do"]);
    }
}
