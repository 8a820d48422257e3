//! The operator's tool of secretd.
//!
//! Read it in this order: [`cli`] says what can be typed; [`command`] does it, one file a group;
//! `connection` finds a manager that answers; `value` and `transit` are a secret's way from the
//! user to the sealed box; `message` is all that is printed. Contexts are in `context`, getting
//! one in `enroll`. A backup's file is in `age_file` and `backup_file`. A whole cluster inside this program, for `demo` and `dev`, is in `throwaway`.
//!
//! Not here: deciding what a request means (the manager does), and reading secrets back (nobody
//! does).
#![forbid(unsafe_code)]

mod age_file;
mod backup_file;
mod cli;
mod command;
mod compose;
mod connection;
mod context;
mod enroll;
mod error;
mod generate;
mod instant;
mod message;
mod progress;
mod reference;
mod table;
#[cfg(feature = "cluster")]
mod throwaway;
mod transit;
mod value;
mod view;
mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::FromArgMatches as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use link::Failure;
use proto::Kind;
use sys::harden::NewPrivileges;

use crate::cli::{Cli, definition};
use crate::error::{Error, chain};
use crate::message::Printer;

/// The program `secretctl`.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // A manager or an agent: it hardens itself, in its own way, and starts its own threads.
    #[cfg(feature = "cluster")]
    if let Some(code) = throwaway::daemon(&arguments) {
        return code;
    }
    // Errors in the arguments are told as asked for, too.
    let before_command = arguments.iter().take_while(|argument| *argument != "--");
    let json = before_command.clone().any(|argument| argument == "--json");
    let printer = Printer { json, quiet: false };
    let ended = harden().and_then(|()| parse(arguments, printer)).and_then(|cli| {
        let Some(cli) = cli else { return Ok(()) };
        run(cli)
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = error.exit_code();
            printer.error(error);
            ExitCode::from(code)
        }
    }
}

/// Before the first secret is read: no core dumps, no debugger, no new privileges.
fn harden() -> Result<(), Error> {
    sys::harden::harden(NewPrivileges::Deny).map(|_| ()).map_err(|error| {
        Failure::new(Kind::Internal, "this process cannot be protected")
            .because(chain(&error))
            .hint("nothing was read; lift what forbids prctl(2) and setrlimit(2) here")
            .into()
    })
}

/// Reads the arguments; none if all they asked for was help or the version.
fn parse(arguments: Vec<OsString>, printer: Printer) -> Result<Option<Cli>, Error> {
    let parsed = definition()
        .try_get_matches_from(arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    match parsed {
        Ok(cli) => Ok(Some(cli)),
        Err(error) if !error.use_stderr() => {
            printer.bytes(error.render().to_string().as_bytes())?;
            Ok(None)
        }
        Err(error) => Err(usage(&error)),
    }
}

/// A usage error in this program's own words: what, and where it is explained.
fn usage(error: &clap::Error) -> Error {
    if matches!(error.kind(), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand) {
        let failure = Error::usage("a command is missing");
        return Error::Usage(failure.hint("`--help` after what was typed lists the commands"));
    }
    let rendered = error.render().to_string();
    let text = rendered.strip_prefix("error: ").unwrap_or(&rendered);
    let about = text.split("\n\n").next().unwrap_or(text);
    let what: Vec<&str> = about.lines().map(str::trim).collect();
    let mut failure = Error::usage(what.join(" "));
    for line in text.lines() {
        if let Some(tip) = line.trim().strip_prefix("tip: ") {
            failure = failure.hint(tip);
        }
    }
    if let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) {
        let usage = usage.to_string();
        let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage);
        failure = failure.hint(format!("usage: {usage}"));
    }
    Error::Usage(failure.hint("`--help` after any command explains it"))
}

fn run(cli: Cli) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Failure::new(Kind::Internal, "the program cannot start")
            .because(error.to_string())
            .hint("the limits on this process may be too tight: see `ulimit -a`")
    })?;
    runtime.block_on(command::run(cli))
}
