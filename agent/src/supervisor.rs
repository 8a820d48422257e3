//! The supervisor of one task: the same program once more, single-threaded, in a session of its
//! own.
//!
//! It is the parent of the task's PID 1, holds the secrets filesystem, captures output, and writes
//! down how the task ended; it overwrites and removes the secrets then, whether an agent is there
//! or not. An agent that restarts finds it by its folder ([`client`]).
//!
//! It starts in a fixed order, each step of which may end it with a reason in the status file:
//! definition → namespaces → empty filesystem, sent to the agent, which fills it → "start" →
//! read-only, attached, agent's folders hidden → pid namespace, init, program.
//!
//! While the program runs, an operator's commands may run beside it ([`exec`]), as its user and in its
//! namespaces. The task of a container engine has, in the place of an init, what drives its container
//! ([`container`]); all else is the same.
//!
//! Not here: which tasks there are ([`crate::plan`]) and what is in the files ([`crate::mount`]).
//!
//! Invariant: plaintext is in no message, file or buffer of a supervisor, only in the filesystem
//! it holds.

mod capture;
pub mod client;
pub(crate) mod container;
pub mod definition;
mod exec;
mod init;
pub mod launch;
pub mod protocol;
pub(crate) mod start;
pub mod status;
mod watch;
pub(crate) mod wire;

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;

use sys::file::Folder;
use sys::mount::{Limits, SecretsMount};
use sys::process::{self, Signals, Threads};
use sys::socket::{Connection, Listener};

use crate::clock;
use capture::Capture;
use definition::Definition;
use protocol::{Reply, Request, SOCKET};
use status::{Draft, Ending, Outcome, explained};
use watch::Watch;

/// Runs as the supervisor of the task in `folder`, connected to the agent by standard input.
///
/// There is nobody to print to: what goes wrong is in the status file, and if even that cannot be
/// written, the exit code is all there is.
pub fn run(folder: &Path) -> ExitCode {
    process::close_inherited();
    process::make_files_private();
    match supervise(folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Runs as a probe, connected to the agent by standard input: says which filesystem secrets would
/// be mounted on here, or why none. Nobody else can say: it depends on what this user may do, and
/// an agent with threads cannot try.
pub fn probe() -> ExitCode {
    process::close_inherited();
    let Ok(agent) = take_over_stdio() else {
        return ExitCode::FAILURE;
    };
    let limits = Limits { bytes_max: 1, inodes_max: 1 };
    let reply = match start::prepare(limits) {
        Ok(mount) => Reply::Mount { kind: mount.kind().as_str().to_owned() },
        Err(reason) => Reply::Refused(reason),
    };
    match protocol::send(&agent, &reply, &[]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Clears up after the supervisor of the task in `folder`, which is dead: what it had with a container
/// engine. Says why it could not, to the agent that is standard input.
pub fn clear(folder: &Path) -> ExitCode {
    process::close_inherited();
    let Ok(agent) = take_over_stdio() else {
        return ExitCode::FAILURE;
    };
    let cleared = || -> Result<(), String> {
        let folder = Folder::open_private(folder).map_err(|error| explained(&error))?;
        let definition = Definition::read(&folder).map_err(|error| explained(&error))?;
        definition.container.as_ref().map_or(Ok(()), container::clear)
    };
    let Err(reason) = cleared() else { return ExitCode::SUCCESS };
    protocol::send(&agent, &Reply::Refused(reason), &[]).ok();
    ExitCode::FAILURE
}

fn supervise(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let folder = Folder::open_private(folder)?;
    let definition = Definition::read(&folder)?;
    let draft = Draft::reserve(&folder)?;
    let (ending, mut watch) = match run_task(&folder, &definition) {
        Ok((ending, watch)) => (ending, Some(watch)),
        Err(reason) => (not_begun(Outcome::Refused(reason)), None),
    };
    draft.publish(&folder, &ending)?;
    if let Some(watch) = &mut watch {
        watch.after_end(ending)?;
    }
    Ok(())
}

/// The end of a task that never had a process.
fn not_begun(outcome: Outcome) -> Ending {
    let (started_at, ended_at) = (None, clock::now());
    Ending { outcome, started_at, ended_at, was_told_to_stop: false, complaint: None }
}

/// From the first step to the end of the task and of its secrets. `Err` says why this process
/// could not even make a filesystem for them.
fn run_task<'a>(
    folder: &Folder,
    definition: &'a Definition,
) -> Result<(Ending, Watch<'a>), String> {
    let agent = take_over_stdio().map_err(|error| explained(&*error))?;
    process::new_session().map_err(|error| explained(&error))?;
    let threads = Threads::of_this_process().map_err(|error| explained(&error))?;
    let signals = Signals::block_all().map_err(|error| explained(&error))?;
    let listener = Listener::bind(folder, SOCKET).map_err(|error| explained(&error))?;
    let capture = Capture::new(definition.logs, folder).map_err(|error| explained(&error))?;
    let mount = start::prepare(definition.mount_limits())?;
    let filled = wait_for_files(&agent, &mount);
    let mut watch = Watch::new(definition, listener, signals, agent, capture, threads);
    let attached = match filled {
        Ok(()) => start::attach(&mount, definition).map_err(Outcome::Refused),
        Err(outcome) => Err(outcome),
    };
    let is_attached = attached.is_ok();
    let started = attached
        .and_then(|()| start::start(definition, &mount, watch.capture()).map_err(Outcome::Refused));
    let outcome = match started {
        Ok(task) => watch.until_over(task).unwrap_or_else(|e| Outcome::Lost(explained(&e))),
        Err(outcome) => outcome,
    };
    let outcome = match (outcome, &definition.container) {
        (Outcome::Lost(why), Some(container)) => match container::clear(container) {
            Ok(()) => Outcome::Lost(why),
            Err(error) => Outcome::Lost(format!("{why}; it may still be there: {error}")),
        },
        (outcome, _) => outcome,
    };
    // Nobody reads them any more, and whether an agent is there does not matter.
    let complaint = start::remove_secrets(mount, definition, is_attached);
    let complaint = complaint.map(|why| format!("the secrets were not overwritten: {why}"));
    let (started_at, was_told_to_stop) = watch.history();
    let ending = Ending { started_at, was_told_to_stop, complaint, ..not_begun(outcome) };
    Ok((ending, watch))
}

/// The connection that is standard input, which becomes /dev/null like the other two.
fn take_over_stdio() -> Result<Connection, Box<dyn std::error::Error>> {
    let agent = Connection::from_fd(std::io::stdin().as_fd().try_clone_to_owned()?)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    process::replace_stdio(null.as_fd(), null.as_fd(), null.as_fd())?;
    Ok(agent)
}

/// Sends the empty filesystem and waits until the agent has filled it.
fn wait_for_files(agent: &Connection, mount: &SecretsMount) -> Result<(), Outcome> {
    let kind = mount.kind().as_str().to_owned();
    protocol::send(agent, &Reply::Mount { kind }, &[mount.as_fd()])
        .map_err(|_| Outcome::Abandoned)?;
    loop {
        match protocol::receive::<Request>(agent) {
            Ok(Some((Request::Start, _))) => return Ok(()),
            Ok(Some((Request::Stop { .. }, _)) | None) => return Err(Outcome::Abandoned),
            Ok(Some(_)) => {}
            Err(error) => return Err(Outcome::Refused(explained(&error))),
        }
    }
}
