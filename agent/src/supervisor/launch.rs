//! The agent's side of a start: the task's folder, the supervisor's process, the filling of its
//! filesystem.
//!
//! Blocking, and quick: to be called where blocking is allowed. Not here: what becomes of the task
//! afterwards ([`super::client`]).
//!
//! Invariant: a start that fails leaves no process, no mount and no folder.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sys::file::{FileError, Folder};
use sys::mount::{Kind, MountError, SecretsMount};
use sys::socket::{self, Connection, SocketError};

use super::definition::{Definition, DefinitionError};
use super::protocol::{self, ProtocolError, Reply, Request};
use super::status::{Ending, explained};

/// The argument after the program's own that makes it a supervisor; a folder follows.
pub const SUPERVISE: &str = "supervise";

/// The argument that makes it a probe.
pub const PROBE: &str = "probe-mount";

/// The argument that makes it clear up after a supervisor; a folder follows.
pub const CLEAR: &str = "clear";

/// How long a supervisor may take for its first steps. It takes milliseconds; this is for a host
/// that swaps.
const PATIENCE: Duration = Duration::from_secs(30);

/// A task could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Its folder cannot be made.
    #[error("cannot make the folder of the task")]
    Folder(#[source] FileError),
    /// There is a folder of that task already.
    #[error("the task was started before")]
    Exists,
    /// Its definition cannot be written.
    #[error("cannot define the task")]
    Define(#[source] DefinitionError),
    /// A connection cannot be made.
    #[error("cannot connect to a supervisor")]
    Connect(#[source] SocketError),
    /// The supervisor's process cannot be started.
    #[error("cannot start a supervisor")]
    Spawn(#[source] std::io::Error),
    /// The supervisor cannot be talked to.
    #[error("cannot talk to the supervisor")]
    Talk(#[source] ProtocolError),
    /// The supervisor could not do its part, and says why.
    #[error("{0}")]
    Supervisor(String),
    /// What the supervisor sent is not the filesystem it says.
    #[error("cannot use the secrets filesystem")]
    Mount(#[source] MountError),
    /// The files could not be filled, and why.
    #[error("{0}")]
    Fill(String),
}

/// Starts supervisors.
#[derive(Debug, Clone)]
pub struct Launcher {
    program: PathBuf,
    args: Vec<OsString>,
}

/// A supervisor that has been told to start its task.
#[derive(Debug)]
pub struct Launched {
    pub(super) connection: Connection,
    /// To be waited for when the connection has closed.
    pub(super) process: Child,
}

impl Launcher {
    /// By executing this very program again; `args` make it hand over to [`crate::main`] where the
    /// agent is embedded in another program.
    pub fn this_program(args: Vec<OsString>) -> Self {
        // The kernel's link leads to the program that runs, also if its file was replaced.
        Self::new("/proc/self/exe".into(), args)
    }

    /// By executing a program that is an agent, or becomes one by `args`.
    pub const fn new(program: PathBuf, args: Vec<OsString>) -> Self {
        Self { program, args }
    }

    /// Starts a task: makes its folder among `tasks`, starts its supervisor, has `fill` write the
    /// files, and says "start". `fill` says why it cannot, for the task's owner.
    ///
    /// Fails with nothing left behind.
    pub fn launch(
        &self,
        tasks: &Folder,
        definition: &Definition,
        fill: impl FnOnce(&SecretsMount) -> Result<(), String>,
    ) -> Result<Launched, LaunchError> {
        let name = definition.task_id.as_str();
        let folder = tasks.create_private_folder(name).map_err(LaunchError::Folder)?;
        if !folder.entries().map_err(LaunchError::Folder)?.is_empty() {
            return Err(LaunchError::Exists);
        }
        let launched = self.launch_in(&folder, definition, fill);
        if launched.is_err() {
            // The first error is the one to tell.
            tasks.remove_folder(name).ok();
        }
        launched
    }

    fn launch_in(
        &self,
        folder: &Folder,
        definition: &Definition,
        fill: impl FnOnce(&SecretsMount) -> Result<(), String>,
    ) -> Result<Launched, LaunchError> {
        definition.write(folder).map_err(LaunchError::Define)?;
        let words = [SUPERVISE.as_ref(), folder.path().as_os_str()];
        let (connection, process) = self.spawn(&words)?;
        let mut launched = Launched { connection, process };
        let result = hand_over(&launched.connection, fill);
        if let Err(error) = result {
            // The end of the connection is all it needs to know, unless it hangs.
            drop(launched.connection);
            if matches!(&error, LaunchError::Talk(error) if error.is_would_block()) {
                launched.process.kill().map_err(LaunchError::Spawn)?;
            }
            launched.process.wait().map_err(LaunchError::Spawn)?;
            let said = match Ending::read(folder) {
                Ok(Some(ending)) if matches!(error, LaunchError::Talk(_)) => {
                    LaunchError::Supervisor(ending.report().message)
                }
                _ => error,
            };
            return Err(said);
        }
        Ok(launched)
    }

    /// Finds out on which filesystem secrets would be mounted, in the way that a task's would be.
    ///
    /// Fails with the reasons if on none, so that every task with secrets would be refused.
    pub fn probe(&self) -> Result<Kind, LaunchError> {
        let (connection, mut process) = self.spawn(&[PROBE.as_ref()])?;
        let reply = protocol::receive::<Reply>(&connection).map_err(LaunchError::Talk);
        drop(connection);
        process.wait().map_err(LaunchError::Spawn)?;
        let out_of_turn = |what| LaunchError::Talk(ProtocolError::OutOfTurn(what));
        match reply? {
            Some((Reply::Mount { kind }, _)) => {
                protocol::kind(&kind).ok_or_else(|| out_of_turn("an unknown filesystem"))
            }
            Some((Reply::Refused(reason), _)) => Err(LaunchError::Supervisor(reason)),
            Some(_) => Err(out_of_turn("something else than a filesystem")),
            None => Err(out_of_turn("nothing")),
        }
    }

    /// Clears up after a supervisor that is dead: what it had with a container engine. Takes as long as
    /// an engine that is away may hold it up.
    ///
    /// Fails with the reason, if something may be left.
    pub fn clear(&self, folder: &Folder) -> Result<(), LaunchError> {
        let (connection, mut process) = self.spawn(&[CLEAR.as_ref(), folder.path().as_os_str()])?;
        connection.set_timeout(None).map_err(LaunchError::Connect)?;
        let reply = protocol::receive::<Reply>(&connection).map_err(LaunchError::Talk);
        process.wait().map_err(LaunchError::Spawn)?;
        match reply? {
            None => Ok(()),
            Some((Reply::Refused(reason), _)) => Err(LaunchError::Supervisor(reason)),
            Some(_) => Err(LaunchError::Talk(ProtocolError::OutOfTurn("something else"))),
        }
    }

    fn spawn(&self, words: &[&OsStr]) -> Result<(Connection, Child), LaunchError> {
        let (ours, theirs) = socket::pair().map_err(LaunchError::Connect)?;
        ours.set_timeout(Some(PATIENCE)).map_err(LaunchError::Connect)?;
        let process = Command::new(&self.program)
            .args(&self.args)
            .args(words)
            .env_clear()
            .current_dir("/")
            .stdin(theirs.into_fd())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(LaunchError::Spawn)?;
        Ok((ours, process))
    }
}

/// Takes the empty filesystem, has it filled, and says "start".
fn hand_over(
    connection: &Connection,
    fill: impl FnOnce(&SecretsMount) -> Result<(), String>,
) -> Result<(), LaunchError> {
    let out_of_turn = |what| LaunchError::Talk(ProtocolError::OutOfTurn(what));
    let received = protocol::receive::<Reply>(connection).map_err(LaunchError::Talk)?;
    let (reply, descriptor) = match received {
        Some((reply, mut descriptors)) => (reply, descriptors.pop()),
        None => return Err(out_of_turn("nothing")),
    };
    let (Reply::Mount { kind }, Some(fd)) = (reply, descriptor) else {
        return Err(out_of_turn("something else than a filesystem"));
    };
    let kind = protocol::kind(&kind).ok_or_else(|| out_of_turn("an unknown filesystem"))?;
    let mount = SecretsMount::from_fd(fd, kind).map_err(LaunchError::Mount)?;
    fill(&mount).map_err(LaunchError::Fill)?;
    // Before it is made read-only: nothing of ours holds it any more.
    drop(mount);
    protocol::send(connection, &Request::Start, &[]).map_err(LaunchError::Talk)?;
    connection.set_timeout(None).map_err(LaunchError::Connect)
}

impl LaunchError {
    /// What is said to the task's owner.
    pub fn message(&self) -> String {
        explained(self)
    }
}
