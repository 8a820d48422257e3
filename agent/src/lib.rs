//! A node agent: what should be mounted, mounting it, running tasks under supervisors.
//!
//! Read it in this order: a [`session`] with a manager brings what is assigned; an [`assignment`]
//! says what a task is; [`plan`] says what follows from all of them; the [`worker`] carries it out;
//! a [`runtime`] settles how a task is run on this host; its [`supervisor`] runs it; [`mount`] fills
//! its files from the [`vault`]; [`output`] and [`logs`] are what it prints, and [`exec`] what operators run beside it. [`program`] puts it
//! together: [`config`], [`identity`], [`join`]. [`stand_in`] is a node without a worker, for
//! demonstrations.
//!
//! # Embedding
//!
//! The agent starts its own program again for every task. A program that embeds it therefore has
//! words of its own after which it hands over, here `agent`:
//!
//! ```text
//! tool agent --join - --manager …     ->  agent::run(args after "agent", Program { args: ["agent"], .. })
//! tool agent supervise FOLDER         ->  the same call: the agent itself starts this, and
//! tool agent clear FOLDER             ->  this
//! tool agent probe-mount              ->  and this
//! ```
//!
//! The call is to be the first thing in such a process, before threads are started; the program
//! declares [`sys::alloc::ZeroizingAllocator`] itself. It returns when the agent has ended.
//!
//! Not here: cryptography (`seal`), connections (`link`), kernel calls (`sys`).
#![forbid(unsafe_code)]

pub mod assignment;
mod clock;
mod config;
mod engine;
mod enrol;
pub mod exec;
mod failure;
mod identity;
mod join;
mod logging;
pub mod logs;
mod machine;
mod memory;
pub mod mount;
pub mod output;
pub mod plan;
mod program;
pub mod runtime;
mod session;
pub mod stand_in;
pub mod supervisor;
mod vault;
pub mod worker;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use sys::harden::CoreLimit;

use supervisor::launch::{CLEAR, PROBE, SUPERVISE};

/// How the program that runs is started again as an agent.
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// Arguments after its name that make it call [`run`] with those that follow them.
    pub args: Vec<OsString>,
    /// The core limit that tasks get: the one from before the program, or whoever started it, was
    /// hardened. If absent, it is the one that the agent finds.
    pub core_limit: Option<CoreLimit>,
}

/// The program `secret-agent`.
pub fn main() -> ExitCode {
    run(std::env::args_os().skip(1), Program::default())
}

/// The agent, with the arguments after its name; returns when it has ended, with its exit code.
///
/// It is hardened, its events go to standard error, and it listens to SIGTERM and SIGINT.
pub fn run(args: impl IntoIterator<Item = OsString>, program: Program) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    match args.as_slice() {
        [command, folder] if command == SUPERVISE => supervisor::run(Path::new(folder)),
        [command, folder] if command == CLEAR => supervisor::clear(Path::new(folder)),
        [command] if command == PROBE => supervisor::probe(),
        _ => program::run(args, program),
    }
}
