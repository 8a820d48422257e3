//! From a task's folder to its running program: the steps of a supervisor, each of which may say
//! why it goes no further.
//!
//! Order matters: the namespaces come first, for without root only a user namespace may mount; the
//! files are complete and the filesystem read-only before it is attached anywhere; what the task
//! must not see is hidden before its first process exists.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use proto::spec::SECRETS_FOLDER;
use sys::harden::{NewPrivileges, harden};
use sys::mount::{self, Limits, SecretsMount};
use sys::poll::readable;
use sys::process::{self, Child, ProcessError, fork};
use sys::socket::{self, Connection};
use sys::{mountpoint, namespace};

use super::capture::Capture;
use super::container;
use super::definition::Definition;
use super::init::{self, Stdio};
use super::status::{Outcome, explained};

/// Where a supervisor holds what is for a container: a folder that every host has and no supervisor
/// needs, in its own mount namespace. Not `/run/secrets`: covering `/run` would hide the socket that an
/// engine makes anew when it restarts.
const HELD: &str = "/sys";

fn place(definition: &Definition) -> &'static Path {
    Path::new(if definition.container.is_some() { HELD } else { SECRETS_FOLDER })
}

/// Why a task is not started, as a sentence for its owner.
pub(super) type Refusal = String;

fn refusal(error: impl std::error::Error) -> Refusal {
    explained(&error)
}

/// Moves this process into a mount namespace of its own, with a user namespace around it if it may
/// not do that otherwise, and makes the empty secrets filesystem.
pub(super) fn prepare(limits: Limits) -> Result<SecretsMount, Refusal> {
    match namespace::unshare_mounts() {
        Err(error) if error.is_not_permitted() => namespace::unshare_user_and_mounts(),
        result => result,
    }
    .map_err(refusal)?;
    // Not earlier: the maps of a user namespace can be written only by a dumpable process.
    harden(NewPrivileges::Allow).map_err(refusal)?;
    SecretsMount::create(limits).map_err(refusal)
}

/// Makes the filled filesystem read-only and shows it to the task, and hides what it must not see.
pub(super) fn attach(mount: &SecretsMount, definition: &Definition) -> Result<(), Refusal> {
    let at = place(definition);
    set_read_only(mount)?;
    mountpoint::provide(at).map_err(refusal)?;
    for folder in &definition.hide {
        mountpoint::hide(Path::new(folder)).map_err(refusal)?;
    }
    // The last step, so that a failure means that it is not attached.
    mount.attach(at).map_err(refusal)
}

/// Between fork and exec, a process that the agent is just starting has all descriptors of the agent,
/// also of a file that another thread is filling: for that moment the filesystem is busy.
fn set_read_only(mount: &SecretsMount) -> Result<(), Refusal> {
    const TRIES: u32 = 5_000;
    for _ in 1..TRIES {
        match mount.set_read_only() {
            Err(error) if error.is_busy() => {
                // There is no event to wait for: nobody tells when a descriptor is closed.
                readable(&[], Some(Duration::from_millis(1))).map_err(refusal)?;
            }
            result => return result.map_err(refusal),
        }
    }
    mount.set_read_only().map_err(refusal)
}

/// A task that was started: its init, and what that says of the program.
pub(super) struct Task {
    /// Or what drives its container.
    pub(super) init: Child,
    pub(super) is_container: bool,
    /// Until init has closed its end.
    pub(super) words: Option<Connection>,
    /// How the program ended, once init has said so.
    pub(super) said: Option<Outcome>,
}

impl Task {
    /// Sends its program a signal; SIGKILL ends all of its processes.
    pub(super) fn signal(&self, number: u8) -> Result<(), ProcessError> {
        if !self.is_container {
            // Killing init kills its whole pid namespace.
            return self.init.signal(number);
        }
        if let Some(words) = &self.words {
            // One that does not hear it has ended, and the supervisor clears up after it.
            words.send(&[number], &[]).ok();
        }
        Ok(())
    }
}

/// Makes the pid namespace and its init, which starts the program; or what drives the container.
pub(super) fn start(
    definition: &Definition,
    mount: &SecretsMount,
    capture: &mut Capture,
) -> Result<Task, Refusal> {
    let (stdio, pipes) = stdio(definition)?;
    let (words, inits) = socket::pair().map_err(refusal)?;
    let mut keep = vec![inits.as_fd()];
    keep.extend([&stdio.input, &stdio.output, &stdio.error].map(|file| file.as_fd()));
    let init = if let Some(container) = &definition.container {
        let files = mount.copy().map_err(refusal)?;
        keep.push(files.as_fd());
        fork(&keep, || container::run(definition, container, &files, &inits, &stdio))
    } else {
        namespace::unshare_pids().map_err(refusal)?;
        fork(&keep, || init::run(definition, &inits, &stdio))
    }
    .map_err(refusal)?;
    if let Some((stdout, stderr)) = pipes {
        capture.connect(stdout, stderr);
    }
    // Tells init that its parent is there. Should it fail, init ends by itself.
    words.send(b".", &[]).and_then(|()| words.set_nonblocking(true)).map_err(refusal)?;
    let is_container = definition.container.is_some();
    Ok(Task { init, is_container, words: Some(words), said: None })
}

/// The program's standard input, output and error, and our ends of the latter.
fn stdio(definition: &Definition) -> Result<(Stdio, Option<(File, File)>), Refusal> {
    let null = || {
        let opened = File::options().read(true).write(true).open("/dev/null");
        opened.map_err(|error| format!("cannot open /dev/null: {error}"))
    };
    if definition.logs == proto::spec::LogPolicy::None {
        return Ok((Stdio { input: null()?, output: null()?, error: null()? }, None));
    }
    let (stdout, output) = process::pipe(true).map_err(refusal)?;
    let (stderr, error) = process::pipe(true).map_err(refusal)?;
    Ok((Stdio { input: null()?, output, error }, Some((stdout, stderr))))
}

/// Overwrites the secrets and takes them away, if they were attached; returns what went wrong, if
/// anything.
pub(super) fn remove_secrets(
    mount: SecretsMount,
    definition: &Definition,
    is_attached: bool,
) -> Option<Refusal> {
    let overwritten = mount.overwrite();
    // Also if they could not be overwritten: detached, they go with the last descriptor.
    let detached = if is_attached { mount::detach(place(definition)) } else { Ok(()) };
    drop(mount);
    overwritten.and(detached).err().map(refusal)
}
