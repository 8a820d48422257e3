//! Commands that operators run in tasks of this node, each on a stream of its own by the session's
//! connection.
//!
//! The manager names one in the session; this opens a stream for it, learns there what is to be run, and
//! carries bytes and grants ([`proto::exec`]) until one side is done. Not here: starting it
//! ([`crate::exec`]), and who may (the managers).
//!
//! Invariants: between a command's pipes and the transport there is at most a window each way; a command
//! ends with its stream, and every stream with the session.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use link::Failure;
use link::rpc::dispatcher_client::DispatcherClient;
use proto::exec::{Flow, Taken, check_arguments};
use proto::id::TaskId;
use proto::limits::{EXECS_OF_NODE_MAX, EXECS_OF_TASK_MAX};
use proto::pb::exec_input::Input as From;
use proto::pb::exec_output::Output as To;
use proto::{Kind, pb};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::exec::{self, Begun, Event, ExecError, Input, Running, Stream};
use crate::supervisor::status::explained;
use crate::worker::Handle;

/// Time for the manager to answer a stream, and to say what is to be run.
const START_WITHIN: Duration = Duration::from_secs(10);

/// Time for a command to be started: it is forked, or an engine does so.
const BEGIN_WITHIN: Duration = Duration::from_secs(30);

/// Time for the manager to close a stream on which everything was said.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// Messages between this module and the transport: bytes are bounded by the window.
const OUTGOING_MAX: usize = 4;

/// Streams of one session at a time, refusals included: a manager that asks for more is not answered.
const STREAMS_MAX: usize = 2 * EXECS_OF_NODE_MAX;

type Client = DispatcherClient<Channel>;
type Outgoing = mpsc::Sender<pb::ExecOutput>;

/// The commands of one session. They end with it.
pub(crate) struct Execs {
    client: Client,
    worker: Handle,
    running: JoinSet<()>,
    places: Arc<Places>,
}

impl Execs {
    /// None yet.
    pub(crate) fn new(client: Client, worker: &Handle) -> Self {
        let (running, places) = (JoinSet::new(), Arc::default());
        Self { client, worker: worker.clone(), running, places }
    }

    /// Answers a manager that has one to be run.
    pub(crate) fn want(&mut self, wanted: pb::ExecWanted) {
        while self.running.try_join_next().is_some() {}
        if self.running.len() >= STREAMS_MAX {
            return tracing::warn!("command_not_answered");
        }
        let (client, worker, places) =
            (self.client.clone(), self.worker.clone(), Arc::clone(&self.places));
        self.running.spawn(async move {
            if let Err(failure) = serve(client, wanted.exec_id, &worker, &places).await {
                tracing::debug!(%failure, "command_stream_ended");
            }
        });
    }
}

/// How many run, by task.
#[derive(Default)]
struct Places(Mutex<BTreeMap<TaskId, usize>>);

/// One of them.
struct Place<'a>(&'a Places, TaskId);

impl Places {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<TaskId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, task_id: TaskId) -> Result<Place<'_>, Failure> {
        let mut taken = self.lock();
        let full = |text: String| {
            Err(Failure::new(Kind::Unavailable, text).hint("try again when one of them has ended"))
        };
        if taken.values().sum::<usize>() >= EXECS_OF_NODE_MAX {
            return full(format!("{EXECS_OF_NODE_MAX} commands are run on the node already"));
        }
        let of_task = taken.entry(task_id).or_default();
        if *of_task >= EXECS_OF_TASK_MAX {
            return full(format!("{EXECS_OF_TASK_MAX} commands are run in the task already"));
        }
        *of_task += 1;
        Ok(Place(self, task_id))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.0.lock();
        if let Some(count) = taken.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.1);
            }
        }
    }
}

fn said(output: To) -> pb::ExecOutput {
    pb::ExecOutput { output: Some(output) }
}

fn malformed(error: &proto::convert::ParseError) -> Failure {
    Failure::new(Kind::Invalid, error.reason.clone())
}

async fn serve(
    mut client: Client,
    exec_id: Bytes,
    worker: &Handle,
    places: &Places,
) -> Result<(), Failure> {
    let (outgoing, queue) = mpsc::channel(OUTGOING_MAX);
    // There is room for one.
    drop(outgoing.try_send(said(To::ExecId(exec_id))));
    let opening = async {
        let mut inputs = client.exec(ReceiverStream::new(queue)).await?.into_inner();
        let first = inputs.message().await?.and_then(|message| message.input);
        Ok::<_, tonic::Status>((inputs, first))
    };
    let late = |_| Failure::new(Kind::Timeout, "the manager did not say what is to be run");
    let (mut inputs, first) = timeout(START_WITHIN, opening).await.map_err(late)??;
    let Some(From::Start(start)) = first else {
        return Err(Failure::new(Kind::Invalid, "a command begins with `start`"));
    };
    let flow = Flow::new(&start);
    let last = match begin(start, worker, places).await {
        Ok((Begun::Running(running), _place)) => {
            Conversation::new(flow, outgoing.clone()).carry(running, &mut inputs).await
        }
        Ok((Begun::NotStarted(code, reason), _)) => Some(ended(code, reason)),
        Err(failure) => Some(said(To::Refused(failure.into_detail()))),
    };
    // One that is not heard has nobody to hear it.
    if let Some(last) = last
        && outgoing.send(last).await.is_ok()
    {
        drop(outgoing);
        let closed = async { while let Ok(Some(_)) = inputs.message().await {} };
        timeout(CLOSE_WITHIN, closed).await.ok();
    }
    Ok(())
}

fn ended(code: i32, reason: String) -> pb::ExecOutput {
    said(To::Ended(pb::ExecEnded { code, reason }))
}

async fn begin<'a>(
    start: pb::ExecStart,
    worker: &Handle,
    places: &'a Places,
) -> Result<(Begun, Place<'a>), Failure> {
    let invalid = |_| Failure::new(Kind::Invalid, "malformed task");
    let task_id: TaskId = start.task_id.parse().map_err(invalid)?;
    check_arguments(&start.argv).map_err(|error| malformed(&error))?;
    let place = places.take(task_id)?;
    let begun = exec::start(worker.tasks(), task_id, start.argv, start.input);
    let late = |_| Failure::new(Kind::Timeout, "the command was not started in time");
    let begun = timeout(BEGIN_WITHIN, begun).await.map_err(late)?;
    Ok((begun.map_err(|error| not_run(&error))?, place))
}

fn not_run(error: &ExecError) -> Failure {
    let failure = Failure::new(error.kind(), explained(error));
    match error {
        ExecError::Earlier => failure.hint("run the task anew: `secretctl service update --force`"),
        ExecError::Gone | ExecError::Refused(_) | ExecError::Folder { .. } => {
            failure.hint("`secretctl service ps` shows the tasks that run")
        }
        _ => failure.hint("the agent's log on that node may say more"),
    }
}

/// A command that runs, and its stream.
struct Conversation {
    flow: Mutex<Flow>,
    /// There is room for output again.
    granted: Notify,
    outgoing: Outgoing,
}

impl Conversation {
    fn new(flow: Flow, outgoing: Outgoing) -> Self {
        Self { flow: Mutex::new(flow), granted: Notify::new(), outgoing }
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something; whether it was heard. What this side says keeps to the rules by itself; a window
    /// that is less than was thought ends the stream.
    async fn say(&self, output: To) -> bool {
        let message = said(output);
        let is_in_order = self.flow().output(&message).is_ok();
        is_in_order && self.outgoing.send(message).await.is_ok()
    }

    /// Carries it to its end; none if the other side has gone before. The command is killed then, as it is
    /// dropped.
    async fn carry(
        &self,
        mut running: Running,
        inputs: &mut Streaming<pb::ExecInput>,
    ) -> Option<pb::ExecOutput> {
        if !self.say(To::Started(pb::ExecStarted {})).await {
            return None;
        }
        // Bounded by the window.
        let (typed, queue) = mpsc::unbounded_channel();
        let input = running.take_input();
        tokio::select! {
            () = self.hear(inputs, typed) => None,
            () = self.write(input, queue) => None,
            last = self.print(&mut running) => last,
        }
    }

    /// Takes what comes until the other side has gone, or does what it may not.
    async fn hear(
        &self,
        inputs: &mut Streaming<pb::ExecInput>,
        typed: mpsc::UnboundedSender<Bytes>,
    ) {
        let mut typed = Some(typed);
        while let Ok(Some(message)) = inputs.message().await {
            if let Err(error) = self.flow().input(&message) {
                return tracing::warn!(%error, "command_stream_out_of_order");
            }
            match message.input {
                Some(From::Data(bytes)) => {
                    typed.as_ref().map(|typed| typed.send(bytes));
                }
                Some(From::End(_)) => typed = None,
                Some(From::Granted(_)) => self.granted.notify_one(),
                Some(From::Start(_)) | None => {}
            }
        }
    }

    /// Writes what was typed; never ends by itself, unless nobody hears what was taken.
    async fn write(&self, mut input: Option<Input>, mut queue: mpsc::UnboundedReceiver<Bytes>) {
        let mut taken = Taken::default();
        while let Some(bytes) = queue.recv().await {
            if let Some(open) = &mut input
                && open.write(&bytes).await.is_err()
            {
                // It reads no more, and goes on; what comes is dropped, as by a pipe.
                input = None;
            }
            if let Some(granted) = taken.note(bytes.len())
                && !self.say(To::Granted(granted)).await
            {
                return;
            }
        }
        if let Some(input) = input {
            input.close().await;
        }
        std::future::pending::<()>().await;
    }

    /// Sends what it prints, as there is room for it; gives its end.
    async fn print(&self, running: &mut Running) -> Option<pb::ExecOutput> {
        loop {
            let room = self.flow().output_room();
            if room == 0 {
                self.granted.notified().await;
                continue;
            }
            match running.next(room).await {
                Ok(Event::Printed(stream, data)) => {
                    let stream = match stream {
                        Stream::Stdout => pb::OutputStream::Stdout,
                        Stream::Stderr => pb::OutputStream::Stderr,
                    };
                    let data = pb::ExecData { stream: stream.into(), data };
                    if !self.say(To::Data(data)).await {
                        return None;
                    }
                }
                Ok(Event::Ended(code)) => return Some(ended(code, String::new())),
                Err(error) => {
                    let error = explained(&error);
                    tracing::warn!(error, "command_lost");
                    return None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(number: usize) -> TaskId {
        TaskId::from_entropy([u8::try_from(number).unwrap(); 17])
    }

    #[test]
    fn a_task_has_so_many_places_and_a_node_so_many() {
        let places = Places::default();
        let refused = |task_id| match places.take(task_id) {
            Ok(_) => panic!("there is no place"),
            Err(failure) => failure.message,
        };
        let mut of_one: Vec<_> =
            (0..EXECS_OF_TASK_MAX).map(|_| places.take(task(0)).unwrap()).collect();
        assert_eq!(refused(task(0)), "4 commands are run in the task already");
        of_one.pop();
        of_one.push(places.take(task(0)).unwrap());
        let others: Vec<_> = (EXECS_OF_TASK_MAX..EXECS_OF_NODE_MAX)
            .map(|number| places.take(task(number)).unwrap())
            .collect();
        assert_eq!(refused(task(100)), "8 commands are run on the node already");
        drop((of_one, others));
        assert!(places.lock().is_empty());
    }
}
