//! A manager of secretd.
//!
//! A request comes in by a front (`front`), is authorised and understood in one place (`service`),
//! becomes a command in the log (`raft` over `disk`), and is applied by every manager (the crate
//! `state`). What that changes reaches the agents concerned through their sessions (`dispatcher`).
//! The leader plans and judges (`leader`), everybody reports to it (`report`). `manager` composes
//! all this; `keys` and `ca` hold what must not leave.
//!
//! Not here: cryptography (the crate `seal`), TLS (`link`), decisions that every manager must make
//! alike (`state`).
#![forbid(unsafe_code)]

mod ca;
mod config;
mod disk;
mod dispatcher;
mod events;
mod front;
mod keys;
mod leader;
mod manager;
mod memory;
mod panics;
mod raft;
mod report;
mod roots;
mod service;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use clap::error::ErrorKind;
use sys::harden::NewPrivileges;
use tracing_subscriber::EnvFilter;

pub use self::config::{ConfigError, Options};
pub use self::disk::DiskError;
pub use self::manager::{ManagerError, run};
pub use self::raft::{LogError, Profile, SnapshotFileError, StartError};

/// Exit status for a wrong command line or configuration (as sysexits.h has it for usage).
const EX_USAGE: u8 = 2;

/// Exit status of a manager that its cluster went on without, as of an agent that was evicted: no
/// start of it will end otherwise.
const EX_SUPERSEDED: u8 = 77;

/// How often a manager gives freed memory back. sled's buffers and a group's are some tens of
/// megabytes that come back many times a second; with mimalloc's own one second most of them were
/// cleared anew by the kernel each second.
const FREED_GIVEN_BACK_EVERY: Duration = Duration::from_secs(10);

/// The program `secretd`, for its own binary and for whoever embeds it.
///
/// The caller's binary has `sys::alloc::ZeroizingAllocator` as its global allocator.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let hardened = sys::harden::harden(NewPrivileges::Deny);
    sys::alloc::keep_freed(FREED_GIVEN_BACK_EVERY);
    panics::install_hook();
    let arguments = match config::Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors; there is no log yet to put the others in.
            drop(error.print());
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return ExitCode::from(if asked { 0 } else { EX_USAGE });
        }
    };
    let options = match arguments.resolve() {
        Ok(options) => options,
        Err(error) => {
            start_log(false, "info");
            tracing::error!(error = chain(&error), "configuration_refused");
            return ExitCode::from(EX_USAGE);
        }
    };
    start_log(options.log_json, &options.log);
    match hardened {
        Ok(hardened) => tracing::info!(%hardened, "process_hardened"),
        Err(error) => {
            tracing::error!(error = chain(&error), "process_not_hardened");
            return ExitCode::FAILURE;
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(options)),
        Err(source) => Err(ManagerError::System { what: "cannot start its threads", source }),
    };
    let Err(error) = ended else { return ExitCode::SUCCESS };
    tracing::error!(error = chain(&error), "manager_failed");
    match error {
        ManagerError::NotForced(_) => ExitCode::from(EX_USAGE),
        ManagerError::Superseded { .. } => ExitCode::from(EX_SUPERSEDED),
        _ => ExitCode::FAILURE,
    }
}

fn start_log(json: bool, filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json {
        log.json().init();
    } else {
        log.with_ansi(false).init();
    }
}

/// An error with what caused it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        // Errors that pass their cause through say it once.
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}
