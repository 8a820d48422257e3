//! A command that an operator runs in a task: how it is started, its streams, its end.
//!
//! In a process's task its supervisor starts it, as it started the task's program, with pipes whose
//! other ends are here. What has the supervisor kill it is that its connection closes: when this is
//! dropped, and when the agent dies. In a container the engine runs it ([`container`]). Not here: who
//! asked, and how bytes travel (the session).
//!
//! Invariant: nothing is read that there is no room for, so that a slow reader slows the command.

mod container;

use std::fs::File;
use std::future::Future;
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::AsFd as _;
use std::pin::Pin;

use bytes::Bytes;
use proto::Kind;
use proto::id::TaskId;
use proto::limits::EXEC_DATA_BYTES_MAX;
use sys::file::{FileError, Folder};
use sys::process::{self, ProcessError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;

use crate::engine::EngineError;
use crate::supervisor::client::{ConnectError, Supervised};
use crate::supervisor::definition::{Definition, DefinitionError};
use crate::supervisor::protocol::{ExecPhase, ProtocolError, Request};

/// What a pipe holds (pipe(7)): a command that has ended cannot have left more.
const PIPE_BYTES: usize = 64 << 10;

/// What shells say of a command that SIGKILL ended.
const KILLED: i32 = 137;

/// A command cannot be run in a task, or what became of it is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// This node has no such task, or cannot read its folder.
    #[error("this node has no task {task_id}")]
    Folder {
        /// The task.
        task_id: TaskId,
        /// Why.
        #[source]
        source: FileError,
    },
    /// The task's definition cannot be read.
    #[error("cannot tell how the task is run")]
    Definition(#[source] DefinitionError),
    /// Its supervisor cannot be reached.
    #[error("cannot reach the supervisor of the task")]
    Connect(#[source] ConnectError),
    /// Its supervisor does not answer.
    #[error("the supervisor of the task does not answer")]
    Talk(#[source] ProtocolError),
    /// Its supervisor has gone.
    #[error("the supervisor of the task has ended")]
    Gone,
    /// Its supervisor is of a version that runs no commands.
    #[error(
        "the task was started by an agent of an earlier version, which runs no commands in tasks"
    )]
    Earlier,
    /// It was not tried.
    #[error("{0}")]
    Refused(String),
    /// No pipes can be made for it.
    #[error("cannot make the streams of the command")]
    Pipe(#[source] ProcessError),
    /// Its streams cannot be used.
    #[error("cannot use the streams of the command")]
    Stream(#[source] io::Error),
    /// The container engine does not run it.
    #[error("the container engine does not run the command")]
    Engine(#[source] EngineFailure),
}

/// What a container engine said, or did not.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct EngineFailure(EngineError);

impl From<EngineError> for ExecError {
    fn from(error: EngineError) -> Self {
        Self::Engine(EngineFailure(error))
    }
}

impl ExecError {
    /// What kind of failure it is to whoever asked.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Folder { source, .. } if source.is_not_found() => Kind::NotFound,
            Self::Gone
            | Self::Earlier
            | Self::Refused(_)
            | Self::Connect(ConnectError::NobodyThere) => Kind::Precondition,
            _ => Kind::Unavailable,
        }
    }
}

/// What became of asking for a command.
pub enum Begun {
    /// It runs.
    Running(Running),
    /// It could not be started: what shells would say, 127 or 126, and why.
    NotStarted(i32, String),
}

/// Starts a command in a task of this node.
pub async fn start(
    tasks: &Folder,
    task_id: TaskId,
    argv: Vec<String>,
    takes_input: bool,
) -> Result<Begun, ExecError> {
    let in_folder = |source| ExecError::Folder { task_id, source };
    let folder = tasks.private_folder(task_id.as_str()).map_err(in_folder)?;
    let definition = Definition::read(&folder).map_err(ExecError::Definition)?;
    match &definition.container {
        None => start_process(&folder, argv, takes_input).await,
        Some(container) => container::start(container, &argv, takes_input).await,
    }
}

async fn start_process(
    folder: &Folder,
    argv: Vec<String>,
    takes_input: bool,
) -> Result<Begun, ExecError> {
    let supervised = Supervised::connect(folder).map_err(ExecError::Connect)?;
    let (stdin, input) = if takes_input {
        let (reader, writer) = process::pipe(false).map_err(ExecError::Pipe)?;
        (reader, Some(pipe::Sender::from_file(writer).map_err(ExecError::Stream)?))
    } else {
        (File::open("/dev/null").map_err(ExecError::Stream)?, None)
    };
    let (output, stdout) = process::pipe(true).map_err(ExecError::Pipe)?;
    let (error, stderr) = process::pipe(true).map_err(ExecError::Pipe)?;
    let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    supervised.exec(argv, streams).map_err(ExecError::Talk)?;
    // Only the command has these ends now, so that they close with it.
    drop((stdin, stdout, stderr));
    let phase = supervised.exec_phase().await.map_err(ExecError::Talk)?;
    match phase {
        Some(ExecPhase::Started) => {}
        Some(ExecPhase::NotStarted(code, why)) => return Ok(Begun::NotStarted(code, why)),
        // It has the code of a command that ended before it was heard of.
        Some(ExecPhase::Over(code)) => return Ok(Begun::NotStarted(code, "it was killed".into())),
        Some(ExecPhase::Refused(why)) => return Err(ExecError::Refused(why)),
        None => return Err(why_silent(folder).await),
    }
    let end = async move { supervised.exec_phase().await };
    let reader = |stream, pipe| Reader::new(stream, pipe).map_err(ExecError::Stream);
    let process = Process {
        stdout: Some(reader(Stream::Stdout, output)?),
        stderr: Some(reader(Stream::Stderr, error)?),
        end: Box::pin(end),
        code: None,
    };
    Ok(Begun::Running(Running { input: input.map(Input::Pipe), output: Output::Process(process) }))
}

/// A supervisor that closes the connection on a command, and answers what it always could, is one of
/// before there were commands.
async fn why_silent(folder: &Folder) -> ExecError {
    let Ok(supervised) = Supervised::connect(folder) else { return ExecError::Gone };
    let answers = supervised.request(&Request::Query).is_ok()
        && matches!(supervised.next().await, Ok(Some(_)));
    if answers { ExecError::Earlier } else { ExecError::Gone }
}

/// A command that runs. Dropped, it is killed.
pub struct Running {
    input: Option<Input>,
    output: Output,
}

/// Its standard input; dropped, it is closed.
pub enum Input {
    /// A pipe.
    Pipe(pipe::Sender),
    /// By way of a container engine.
    Engine(container::Input),
}

/// Which of its streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What it does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// It prints.
    Printed(Stream, Bytes),
    /// It has ended, with what shells would say; nothing follows.
    Ended(i32),
}

enum Output {
    Process(Process),
    Container(container::Output),
}

impl Running {
    /// Its standard input, once, if it takes any.
    pub const fn take_input(&mut self) -> Option<Input> {
        self.input.take()
    }

    /// What it does next; at most `room` bytes, of which there must be some.
    pub async fn next(&mut self, room: usize) -> Result<Event, ExecError> {
        match &mut self.output {
            Output::Process(process) => process.next(room).await,
            Output::Container(container) => container.next(room).await,
        }
    }
}

impl Input {
    /// Writes all of it. Fails if the command does not read any more.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Pipe(pipe) => pipe.write_all(bytes).await,
            Self::Engine(input) => input.write(bytes).await,
        }
    }

    /// Closes it, once all is written.
    pub async fn close(self) {
        match self {
            Self::Pipe(pipe) => drop(pipe),
            Self::Engine(input) => input.close().await,
        }
    }
}

type Phase = Result<Option<ExecPhase>, ProtocolError>;

/// A command of a supervisor.
struct Process {
    stdout: Option<Reader>,
    stderr: Option<Reader>,
    /// Tells when it is over. It holds the connection that keeps the command alive.
    end: Pin<Box<dyn Future<Output = Phase> + Send>>,
    /// Once it is over.
    code: Option<i32>,
}

impl Process {
    async fn next(&mut self, room: usize) -> Result<Event, ExecError> {
        loop {
            if let Some(code) = self.code {
                // What it has written, and no more: what it left running may hold the pipes for ever, and
                // fill them as fast as they are read.
                let left = left(&mut self.stdout, room).or_else(|| left(&mut self.stderr, room));
                return Ok(left.unwrap_or(Event::Ended(code)));
            }
            let Self { stdout, stderr, end, .. } = self;
            let printed = tokio::select! {
                printed = read(stdout, room) => printed.map_err(ExecError::Stream)?,
                printed = read(stderr, room) => printed.map_err(ExecError::Stream)?,
                phase = end => {
                    self.code = Some(match phase.map_err(ExecError::Talk)? {
                        Some(ExecPhase::Over(code) | ExecPhase::NotStarted(code, _)) => code,
                        // The task is over, and the command with it.
                        _ => KILLED,
                    });
                    None
                }
            };
            if let Some(event) = printed {
                return Ok(event);
            }
        }
    }
}

/// Reads, if there is what to read from; none at its end.
async fn read(place: &mut Option<Reader>, room: usize) -> io::Result<Option<Event>> {
    let Some(reader) = place else { return std::future::pending().await };
    let buffer = cut(&mut reader.buffer, room);
    match reader.pipe.read(buffer).await? {
        0 => {
            *place = None;
            Ok(None)
        }
        bytes => Ok(Some(printed(reader.stream, buffer, bytes))),
    }
}

/// Reads what is there at this moment, a pipe of it at most; none if that is nothing.
fn left(place: &mut Option<Reader>, room: usize) -> Option<Event> {
    loop {
        let reader = place.as_mut()?;
        let buffer = cut(&mut reader.buffer, room.min(reader.left_bytes));
        match reader.spare.read(buffer) {
            Ok(bytes) if bytes > 0 => {
                reader.left_bytes -= bytes;
                return Some(printed(reader.stream, buffer, bytes));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            _ => *place = None,
        }
    }
}

/// One stream of a command.
struct Reader {
    stream: Stream,
    pipe: pipe::Receiver,
    /// The same pipe: whether it is empty at this moment is what the kernel says, not the runtime, which
    /// may not have heard yet.
    spare: File,
    /// What is read of it at most once the command is over.
    left_bytes: usize,
    buffer: Vec<u8>,
}

impl Reader {
    fn new(stream: Stream, pipe: File) -> io::Result<Self> {
        let spare = pipe.try_clone()?;
        let pipe = pipe::Receiver::from_file(pipe)?;
        let buffer = vec![0; EXEC_DATA_BYTES_MAX];
        Ok(Self { stream, pipe, spare, left_bytes: PIPE_BYTES, buffer })
    }
}

fn cut(buffer: &mut [u8], room: usize) -> &mut [u8] {
    let room = room.min(buffer.len());
    buffer.get_mut(..room).unwrap_or_default()
}

/// A copy of its own size: what is on its way is not a whole buffer for each byte.
fn printed(stream: Stream, buffer: &[u8], bytes: usize) -> Event {
    Event::Printed(stream, Bytes::copy_from_slice(buffer.get(..bytes).unwrap_or_default()))
}
