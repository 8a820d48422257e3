//! Why this program ends, for people: what happened, because of what, what to do; and the exit
//! code.
//!
//! Not here: what goes wrong while the agent runs; that is logged, and it goes on.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use link::Failure;
use proto::Kind;

use crate::config::{ConfigError, TokenSourceError};
use crate::identity::IdentityError;
use crate::join::JoinError;
use crate::supervisor::status::explained;
use crate::worker::OpenError;

/// Exit code of a wrong command line or configuration.
const USAGE: u8 = 2;

/// Exit code of a node that was evicted (sysexits(3), `EX_NOPERM`).
pub(crate) const EVICTED: u8 = 77;

/// The end of the program.
#[derive(Debug)]
pub(crate) struct Fatal {
    /// What happened.
    pub(crate) message: String,
    /// Why, if known.
    pub(crate) because: Option<String>,
    /// What to do next.
    pub(crate) hints: Vec<String>,
    /// The exit code.
    pub(crate) code: u8,
}

impl Fatal {
    /// A failure without a remedy that is known here.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        let (because, hints) = (None, Vec::new());
        Self { message: message.into(), because, hints, code: Kind::Internal.exit_code() }
    }

    /// An error and its causes.
    pub(crate) fn of(error: &dyn std::error::Error) -> Self {
        let fatal = Self::new(error.to_string());
        match error.source() {
            Some(source) => fatal.because(explained(source)),
            None => fatal,
        }
    }

    /// Adds why.
    pub(crate) fn because(mut self, reason: impl Into<String>) -> Self {
        self.because = Some(reason.into());
        self
    }

    /// Adds what to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Sets the exit code.
    pub(crate) const fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// What the cluster said, instead of our own words.
    fn said(mut self, failure: Failure) -> Self {
        self.because = Some(match failure.because {
            Some(because) => format!("{}: {because}", failure.message),
            None => failure.message,
        });
        self.hints.extend(failure.hints);
        self.code = failure.kind.exit_code();
        self
    }

    /// Tells it on standard error.
    pub(crate) fn tell(&self) -> ExitCode {
        let mut text = format!("secret-agent: error: {}\n", self.message);
        // Into memory, which does not fail.
        if let Some(because) = &self.because {
            writeln!(text, "secret-agent:   because {because}").ok();
        }
        for hint in &self.hints {
            writeln!(text, "secret-agent: hint: {hint}").ok();
        }
        // Nobody listens: then there is nobody to tell that either.
        std::io::stderr().write_all(text.as_bytes()).ok();
        ExitCode::from(self.code)
    }
}

impl From<ConfigError> for Fatal {
    fn from(error: ConfigError) -> Self {
        let fatal = Self::of(&error).code(USAGE);
        match error {
            ConfigError::Address(_) => fatal.hint("e.g. `--manager 10.0.0.4:7443`"),
            ConfigError::Hostname { .. } => fatal.hint("give another name with `--hostname`"),
            ConfigError::SameFolder(_) => {
                fatal.hint("keep the identity on disk, and tasks in memory: see --help")
            }
            ConfigError::Content { .. } => {
                fatal.hint("`secret-agent --help` has the names of all keys")
            }
            ConfigError::Read { .. } | ConfigError::Arguments(_) => fatal,
        }
    }
}

impl From<TokenSourceError> for Fatal {
    fn from(error: TokenSourceError) -> Self {
        Self::of(&error).code(USAGE).hint("make a token with `secretctl cluster join-token agent`")
    }
}

impl From<IdentityError> for Fatal {
    fn from(error: IdentityError) -> Self {
        let fatal = Self::of(&error);
        match error {
            IdentityError::Folder(error) if error.is_not_found() => {
                fatal.hint("make its parent folder, or name another one with `--data`")
            }
            IdentityError::Content { .. } | IdentityError::Unsound(_) | IdentityError::Tls(_) => {
                fatal.hint("move the data folder away and join again with a new token")
            }
            _ => fatal,
        }
    }
}

impl From<OpenError> for Fatal {
    fn from(error: OpenError) -> Self {
        let fatal = Self::of(&error);
        match error {
            OpenError::Folder(_) => fatal.hint("name another folder with `--tasks`"),
            OpenError::Boot(_) => fatal,
        }
    }
}

impl From<JoinError> for Fatal {
    fn from(error: JoinError) -> Self {
        let fatal = Self::of(&error);
        match error {
            JoinError::Role(_) => {
                fatal.hint("make one for agents with `secretctl cluster join-token agent`")
            }
            JoinError::NoManager => fatal.code(USAGE).hint("name one with `--manager HOST:PORT`"),
            JoinError::Foreign(_) => fatal
                .hint("nothing was sent to it")
                .hint("check the address; if it is right, somebody else answers there")
                .hint("a token of another cluster, or made before its CA was, says the same"),
            JoinError::Refused(failure) => Self { because: None, ..fatal }.said(failure),
            JoinError::Unavailable(failure) => Self { because: None, ..fatal }
                .said(failure)
                .code(Kind::Unavailable.exit_code())
                .hint("nothing is lost: the next start makes the same request again"),
            JoinError::Identity(error) => error.into(),
            JoinError::Key(_) | JoinError::Tls(_) => fatal,
        }
    }
}
