//! Reading back what a task printed, for `service logs`: since, tail, follow.
//!
//! From the files of the task's folder, or from its supervisor's memory; a follower is woken by
//! the supervisor, nothing is polled. Not here: who asks, and how lines travel (the session).
//!
//! Invariant: memory is bounded by one batch and the channel to the reader; a slow reader holds up
//! itself only.

use proto::id::TaskId;
use proto::spec::LogPolicy;
use sys::file::{FileError, Folder};
use tokio::sync::mpsc;
use tokio::task::{JoinError, spawn_blocking};

use crate::output::files::Reader;
use crate::output::{Line, Record, Selection, Selector};
use crate::supervisor::client::{ConnectError, Supervised};
use crate::supervisor::definition::{Definition, DefinitionError};
use crate::supervisor::protocol::ProtocolError;

/// A task's output cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogsError {
    /// This node has no such task, or cannot read its folder.
    #[error("cannot read the output of task {task_id}")]
    Folder {
        /// The task.
        task_id: TaskId,
        /// Why.
        #[source]
        source: FileError,
    },
    /// The task's definition, which says where its output is, cannot be read.
    #[error("cannot tell where the output of the task is")]
    Definition(#[source] DefinitionError),
    /// The task keeps no output.
    #[error("the service keeps no output (logs=none)")]
    NotKept,
    /// A file of output cannot be read.
    #[error("cannot read the output of the task")]
    Read(#[source] FileError),
    /// The supervisor that has it cannot be reached.
    #[error("cannot reach the supervisor of the task")]
    Connect(#[source] ConnectError),
    /// The supervisor that has it does not answer.
    #[error("the supervisor of the task does not answer")]
    Talk(#[source] ProtocolError),
    /// Reading was cut short by the end of this process.
    #[error("reading was cut short")]
    Cut(#[source] JoinError),
}

/// Sends the wanted lines of a task to `lines`, batch by batch, and with `follow` those to come,
/// until the task ends or nobody receives any more.
pub async fn read(
    tasks: &Folder,
    task_id: TaskId,
    selection: Selection,
    follow: bool,
    lines: mpsc::Sender<Vec<Line>>,
) -> Result<(), LogsError> {
    let in_folder = |source| LogsError::Folder { task_id, source };
    let folder = tasks.private_folder(task_id.as_str()).map_err(in_folder)?;
    match Definition::read(&folder).map_err(LogsError::Definition)?.logs {
        LogPolicy::None => Err(LogsError::NotKept),
        LogPolicy::Memory => read_memory(&folder, selection, follow, &lines).await,
        LogPolicy::Files => {
            let supervisor = if follow { connect(&folder)? } else { None };
            let reader = Reader::open(folder, selection).map_err(LogsError::Read)?;
            read_files(reader, supervisor, &lines).await
        }
    }
}

fn connect(folder: &Folder) -> Result<Option<Supervised>, LogsError> {
    match Supervised::connect(folder) {
        Ok(supervisor) => Ok(Some(supervisor)),
        Err(ConnectError::NobodyThere) => Ok(None),
        Err(error) => Err(LogsError::Connect(error)),
    }
}

/// Reads to the end of the files, then waits for the supervisor to say that there is more.
async fn read_files(
    mut reader: Reader,
    supervisor: Option<Supervised>,
    lines: &mpsc::Sender<Vec<Line>>,
) -> Result<(), LogsError> {
    let mut next = 0;
    let mut ended = supervisor.is_none();
    loop {
        loop {
            let read = spawn_blocking(move || (reader.read(), reader));
            let (batch, back) = read.await.map_err(LogsError::Cut)?;
            reader = back;
            let batch = batch.map_err(LogsError::Read)?;
            if batch.is_empty() {
                break;
            }
            if lines.send(batch).await.is_err() {
                return Ok(());
            }
        }
        let Some(supervisor) = supervisor.as_ref().filter(|_| !ended) else {
            return Ok(());
        };
        let output = tokio::select! {
            output = supervisor.output(next, true) => output.map_err(LogsError::Talk)?,
            () = lines.closed() => return Ok(()),
        };
        // Whichever way it ended, what it wrote last is still to be read.
        ended = output.as_ref().is_none_or(|output| output.end);
        next = output.map_or(next, |output| output.next);
    }
}

/// Asks the supervisor for what it has, then for what comes.
async fn read_memory(
    folder: &Folder,
    selection: Selection,
    follow: bool,
    lines: &mpsc::Sender<Vec<Line>>,
) -> Result<(), LogsError> {
    let Some(supervisor) = connect(folder)? else {
        return Ok(());
    };
    let mut next = 0;
    let mut history: Vec<Record> = Vec::new();
    // All of the ring, which is bounded: only then is it known where the tail begins.
    let mut ended = loop {
        let Some(output) = supervisor.output(next, false).await.map_err(LogsError::Talk)? else {
            break true;
        };
        next = output.next;
        if output.records.is_empty() {
            break output.end;
        }
        history.extend(output.records);
    };
    let available = history.iter().filter(|record| selection.wants(record)).count();
    let mut selector = Selector::new(selection, available as u64);
    let mut records = history;
    loop {
        let batch: Vec<Line> = records.into_iter().filter_map(|r| selector.pick(r)).collect();
        if !batch.is_empty() && lines.send(batch).await.is_err() {
            return Ok(());
        }
        if ended || !follow {
            return Ok(());
        }
        let output = tokio::select! {
            output = supervisor.output(next, true) => output.map_err(LogsError::Talk)?,
            () = lines.closed() => return Ok(()),
        };
        let Some(output) = output else { return Ok(()) };
        (records, next, ended) = (output.records, output.next, output.end);
    }
}
