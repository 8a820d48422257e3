//! `task exec`: a command in a task, with its streams here.
//!
//! What comes is written by a thread of its own, and what is typed is read by another, so that neither a
//! full pipe nor an idle terminal holds up the connection; between them and it there is at most a window
//! ([`proto::exec`]). Nothing is tried again: a command is run once. Not here: who may (the managers).

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};

use bytes::Bytes;
use link::Failure;
use proto::Kind;
use proto::convert::EnumField as _;
use proto::exec::{Flow, Taken, check_arguments};
use proto::limits::EXEC_DATA_BYTES_MAX;
use proto::pb;
use proto::pb::exec_input::Input;
use proto::pb::exec_output::Output;
use proto::task::{DesiredState, TaskState};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::Session;
use crate::cli::{TaskCommand, TaskExecArgs};
use crate::connection::{self, Connection, ask};
use crate::error::Error;
use crate::message::{raw_stderr, raw_stdout};
use crate::value;
use crate::view::task_name;

/// Messages between this and the transport.
const MESSAGES_MAX: usize = 4;

/// Ids that are shown of tasks that fit.
const CANDIDATES_SHOWN: usize = 5;

pub(super) async fn run(session: &Session, command: TaskCommand) -> Result<(), Error> {
    match command {
        TaskCommand::Exec(args) => exec(session, args).await,
    }
}

async fn exec(session: &Session, args: TaskExecArgs) -> Result<(), Error> {
    let wrong = |message: String| Error::usage(message).hint("see `secretctl task exec --help`");
    if session.printer.json {
        let failure = wrong("`--json` is of no use here".into());
        return Err(Error::Usage(failure.because("what comes is what the command prints")));
    }
    check_arguments(&args.command).map_err(|error| Error::Usage(wrong(error.reason)))?;
    let connection = session.connect().await?;
    let task_id = find(&connection, &args.task).await?;
    let start = pb::ExecStart { task_id, argv: args.command, input: args.interactive };
    let flow = Flow::new(&start);
    let (outgoing, queue) = mpsc::channel(MESSAGES_MAX);
    // There is room for one.
    drop(outgoing.try_send(pb::ExecInput { input: Some(Input::Start(start)) }));
    let mut client = connection::control(connection.answering());
    tokio::select! {
        ended = async {
            let outputs = client.exec_task(ReceiverStream::new(queue)).await;
            let outputs = outputs.map_err(Failure::from)?.into_inner();
            let typed = args.interactive.then(read_stdin).transpose()?;
            Conversation::new(flow, typed)?.carry(outputs, &outgoing, session).await
        } => ended,
        // That the connection ends kills the command.
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted(None)),
    }
}

/// A task by the name of what runs in its place, by its id, or by a unique beginning of that.
async fn find(connection: &Connection, wanted: &str) -> Result<String, Error> {
    let request = pb::ListTasksRequest { all: true, ..Default::default() };
    let tasks = ask!(connection, control.list_tasks(request))?.tasks;
    if let Some(task) = tasks.iter().find(|task| task.id == wanted) {
        return Ok(task.id.clone());
    }
    let is_wanted = |task: &&pb::TaskInfo| task.desired_state <= DesiredState::Running.number();
    let runs = |task: &&pb::TaskInfo| {
        task.status.as_ref().is_some_and(|status| status.state == TaskState::Running.number())
    };
    let named: Vec<_> = tasks.iter().filter(|task| task_name(task) == wanted).collect();
    let of_name = |choose: &dyn Fn(&&pb::TaskInfo) -> bool| -> Vec<&pb::TaskInfo> {
        named.iter().copied().filter(|task| choose(task)).collect()
    };
    let choices = [
        of_name(&|task| runs(task) && is_wanted(task)),
        of_name(&|task| runs(task)),
        of_name(&|task| is_wanted(task)),
        tasks.iter().filter(|task| !wanted.is_empty() && task.id.starts_with(wanted)).collect(),
        named.clone(),
    ];
    let found = choices.into_iter().find(|choice| !choice.is_empty()).unwrap_or_default();
    match found.as_slice() {
        [] => Err(Error::failed(Kind::NotFound, format!("no such task: {wanted}"))
            .hint("`secretctl service ps` shows those there are, `--json` their whole ids")
            .into()),
        [task] => Ok(task.id.clone()),
        // Those that are over, the newest first, are told apart by nothing else.
        [task, ..] if named.len() > 1 && found.iter().all(|task| !runs(task)) => {
            Ok(task.id.clone())
        }
        several => {
            let ids = several.iter().take(CANDIDATES_SHOWN).map(|task| task.id.as_str());
            let ids = ids.collect::<Vec<_>>().join(", ");
            Err(Error::failed(Kind::Invalid, format!("task {wanted} is ambiguous"))
                .because(format!("it could be {ids}"))
                .hint("give the id, or more of it")
                .into())
        }
    }
}

/// Reads standard input on a thread of its own, which ends with the program: a read cannot be called off.
fn read_stdin() -> Result<mpsc::Receiver<Bytes>, Error> {
    let failed = |error: io::Error| {
        Error::failed(Kind::Invalid, "standard input cannot be read").because(error.to_string())
    };
    let mut stdin = value::stdin().map_err(failed)?;
    let (sender, typed) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut buffer = vec![0; EXEC_DATA_BYTES_MAX];
        loop {
            let bytes = match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(bytes) => Bytes::copy_from_slice(buffer.get(..bytes).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // As its end: what came is what there is.
                Err(_) => return,
            };
            if sender.blocking_send(bytes).is_err() {
                return;
            }
        }
    });
    Ok(typed)
}

/// Writes what comes on a thread of its own; says of each piece how it was written.
struct Writer {
    pieces: std::sync::mpsc::Sender<pb::ExecData>,
    written: mpsc::UnboundedReceiver<io::Result<usize>>,
}

impl Writer {
    fn start() -> Result<Self, Error> {
        let mut stdout = raw_stdout().map_err(Error::Output)?;
        let mut stderr = raw_stderr().map_err(Error::Output)?;
        // Bounded by the window, both.
        let (pieces, queue) = std::sync::mpsc::channel::<pb::ExecData>();
        let (done, written) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for piece in queue {
                let result = match piece.stream() {
                    pb::OutputStream::Stderr => stderr.write_all(&piece.data),
                    _ => stdout.write_all(&piece.data),
                };
                if done.send(result.map(|()| piece.data.len())).is_err() {
                    return;
                }
            }
        });
        Ok(Self { pieces, written })
    }
}

/// A command that was asked for.
struct Conversation {
    flow: Flow,
    /// What is to be said, in order.
    queue: VecDeque<pb::ExecInput>,
    /// Until standard input has ended.
    typed: Option<mpsc::Receiver<Bytes>>,
    /// What was typed and there was no room for yet.
    rest: Bytes,
    writer: Writer,
    taken: Taken,
    is_started: bool,
}

impl Conversation {
    fn new(flow: Flow, typed: Option<mpsc::Receiver<Bytes>>) -> Result<Self, Error> {
        Ok(Self {
            flow,
            queue: VecDeque::new(),
            typed,
            rest: Bytes::new(),
            writer: Writer::start()?,
            taken: Taken::default(),
            is_started: false,
        })
    }

    /// Carries it to its end, and ends as it does.
    async fn carry(
        mut self,
        mut outputs: Streaming<pb::ExecOutput>,
        outgoing: &mpsc::Sender<pb::ExecInput>,
        session: &Session,
    ) -> Result<(), Error> {
        let ended = loop {
            self.cut_typed()?;
            let is_started = self.is_started;
            let failed = |failure: Failure| if is_started { cut_short(failure) } else { failure };
            let reads = self.typed.as_mut().filter(|_| self.is_started && self.rest.is_empty());
            tokio::select! {
                next = outputs.message() => match next.map_err(|status| failed(status.into()))? {
                    Some(message) => {
                        if let Some(ended) = self.take(message)? {
                            break ended;
                        }
                    }
                    None => return Err(failed(hung_up()).into()),
                },
                permit = outgoing.reserve(), if !self.queue.is_empty() => {
                    match (permit, self.queue.pop_front()) {
                        (Ok(permit), Some(message)) => permit.send(message),
                        // Why, is what comes.
                        _ => self.queue.clear(),
                    }
                }
                bytes = receive(reads) => if let Some(bytes) = bytes {
                    self.rest = bytes;
                } else {
                    self.typed = None;
                    self.say(Input::End(pb::ExecInputEnd {}))?;
                },
                Some(written) = self.writer.written.recv() => self.note(written)?,
            }
        };
        // What came is written before this ends.
        let Writer { pieces, mut written } = self.writer;
        drop(pieces);
        while let Some(written) = written.recv().await {
            written.map_err(not_written)?;
        }
        finish(session, ended)
    }

    /// Queues something, which must be in order.
    fn say(&mut self, input: Input) -> Result<(), Error> {
        let message = pb::ExecInput { input: Some(input) };
        self.flow.input(&message)?;
        self.queue.push_back(message);
        Ok(())
    }

    /// Queues what there is room for of what was typed, if nothing waits.
    fn cut_typed(&mut self) -> Result<(), Error> {
        let bytes = self.rest.len().min(self.flow.input_room());
        if bytes > 0 && self.queue.is_empty() {
            let piece = self.rest.split_to(bytes);
            self.say(Input::Data(piece))?;
        }
        Ok(())
    }

    fn take(&mut self, message: pb::ExecOutput) -> Result<Option<pb::ExecEnded>, Error> {
        self.flow.output(&message)?;
        match message.output {
            Some(Output::Started(_)) => self.is_started = true,
            // A writer that has gone says why.
            Some(Output::Data(data)) => drop(self.writer.pieces.send(data)),
            Some(Output::Ended(ended)) => return Ok(Some(ended)),
            Some(Output::Refused(detail)) => {
                let failure = Failure::from_detail(detail);
                let failure = if self.is_started { cut_short(failure) } else { failure };
                return Err(failure.into());
            }
            Some(Output::Granted(_) | Output::ExecId(_)) | None => {}
        }
        Ok(None)
    }

    fn note(&mut self, written: io::Result<usize>) -> Result<(), Error> {
        let written = written.map_err(not_written)?;
        match self.taken.note(written) {
            Some(granted) => self.say(Input::Granted(granted)),
            None => Ok(()),
        }
    }
}

/// The next that was typed; waits for ever where nothing is read.
async fn receive(typed: Option<&mut mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    match typed {
        Some(typed) => typed.recv().await,
        None => std::future::pending().await,
    }
}

fn not_written(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::BrokenPipe { Error::Closed } else { Error::Output(error) }
}

fn hung_up() -> Failure {
    Error::failed(Kind::Unavailable, "the command was cut off")
        .because("the manager ended the connection")
        .hint("it is killed on its node; `secretctl cluster status` shows the managers")
}

/// Of a command that has begun no failure says, by its kind or its status, that it may be run again.
fn cut_short(mut failure: Failure) -> Failure {
    failure.kind = Kind::Precondition;
    failure.hint("what it had done by then is done: look before it is run again")
}

/// As a shell tells how a command ended.
fn finish(session: &Session, ended: pb::ExecEnded) -> Result<(), Error> {
    if !ended.reason.is_empty() {
        let failure = Error::failed(Kind::Invalid, "the command could not be started")
            .because(ended.reason)
            .hint("it is looked for as the task's own program is, in the task's PATH");
        session.printer.error(failure.into());
    }
    match ended.code {
        0 => Ok(()),
        code => Err(Error::Reported(u8::try_from(code).unwrap_or(u8::MAX))),
    }
}
