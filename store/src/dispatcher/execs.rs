//! Commands in tasks: from whoever asked, by way of the manager that holds the node's session, to its
//! agent, and back.
//!
//! The manager that is asked has the leader authorise and record it, then looks for the session: its own,
//! or another manager's, which is asked with the same messages. The agent is told by its session, and
//! opens a stream for the command. Messages are passed on ([`relay`]); nothing of them is kept. Not here:
//! who may (`service`), what they mean (`proto::exec`), running it (the agent).
//!
//! Invariants: a command is in the audit before its agent hears of it; an agent gets only the streams that
//! it was asked for; when either side goes, the other is told, and the command ends.

mod relay;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use link::Failure;
use link::certificate::PeerCertificate;
use proto::exec::{Flow, check_arguments};
use proto::id::{MemberId, NodeId, TaskId};
use proto::identity::Caller;
use proto::limits::{EXEC_IDLE_SECONDS_MAX, EXECS_OF_MANAGER_MAX};
use proto::pb::exec_input::Input;
use proto::{Kind, pb};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{Dispatcher, SessionHandle};
use crate::raft::Purpose;
use crate::service::{certified, parse_failure};

/// Time for whoever asks to say what it wants.
const START_WITHIN: Duration = Duration::from_secs(10);

/// Time for an agent to open its stream, once it was told.
const AGENT_WITHIN: Duration = Duration::from_secs(10);

/// Time for another manager to say whether it holds the session, and to hear from its agent.
const PEER_WITHIN: Duration = Duration::from_secs(15);

/// Messages between two connections: what they hold is bounded by the windows.
const MESSAGES_MAX: usize = 4;

/// Silence after which a command is ended.
const IDLE_MAX: Duration = Duration::from_secs(EXEC_IDLE_SECONDS_MAX);

type ExecId = [u8; 16];
type Outputs = ReceiverStream<Result<pb::ExecOutput, Status>>;

/// The way to a command: to its agent, or to the manager that has its agent's session.
struct Way {
    inputs: mpsc::Sender<pb::ExecInput>,
    outputs: Streaming<pb::ExecOutput>,
}

/// A command whose agent was told of it.
struct Waiting {
    node: NodeId,
    start: pb::ExecStart,
    way: oneshot::Sender<Way>,
}

/// The commands that go by way of this manager.
pub(super) struct Execs {
    waiting: Mutex<BTreeMap<ExecId, Waiting>>,
    /// For those that were asked of it.
    places: Arc<Semaphore>,
}

impl Default for Execs {
    fn default() -> Self {
        Self { waiting: Mutex::default(), places: Arc::new(Semaphore::new(EXECS_OF_MANAGER_MAX)) }
    }
}

impl Execs {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ExecId, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more.
    fn place(&self) -> Result<OwnedSemaphorePermit, Failure> {
        self.places.clone().try_acquire_owned().map_err(|_| {
            let text = format!("{EXECS_OF_MANAGER_MAX} commands are run by way of this manager");
            Failure::new(Kind::Unavailable, text).hint("ask another manager, or try again later")
        })
    }
}

/// Ends the wait for an agent, however it ended.
struct Wait<'a>(&'a Execs, ExecId);

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}

impl Dispatcher {
    /// Runs a command for an operator.
    ///
    /// # Errors
    ///
    /// If the caller may not; if there is no such task, or it does not run; if its node cannot be asked.
    pub(crate) async fn exec(
        self: &Arc<Self>,
        caller: Caller,
        mut inputs: Streaming<pb::ExecInput>,
    ) -> Result<Outputs, Failure> {
        let start = first(&mut inputs).await?;
        check_arguments(&start.argv).map_err(|error| parse_failure(&error))?;
        let record = pb::RecordExecRequest {
            request_key: seal::random::<16>().to_vec().into(),
            task: start.task_id.clone(),
        };
        let place = self.execs.place()?;
        let recorded = self.service.route(caller, record).await?;
        let node: NodeId = proto::convert::text("node_id", &recorded.node_id)
            .map_err(|error| parse_failure(&error))?;
        tracing::info!(
            target: "audit", action = "exec_task", task.id = start.task_id, node.id = %node,
            caller = %caller, "command_to_be_run"
        );
        let way = self.way_to(node, &start).await?;
        Ok(self.carry(&start, inputs, way, Some(place)))
    }

    /// Runs a command for another manager, which has authorised it, on a node whose session is here.
    ///
    /// # Errors
    ///
    /// `NotFound` if the session is not here; else why it is not run.
    pub(crate) async fn exec_for_peer(
        self: &Arc<Self>,
        mut inputs: Streaming<pb::ExecInput>,
    ) -> Result<Outputs, Failure> {
        let start = first(&mut inputs).await?;
        let task: TaskId = proto::convert::text("task_id", &start.task_id)
            .map_err(|error| parse_failure(&error))?;
        self.service.barrier().await?;
        let node = self.service.raft.machine.state().task(task).and_then(|task| task.node_id);
        let node = node.ok_or_else(|| not_here(&start.task_id))?;
        let way = self.way_to_agent(node, &start).await?;
        Ok(self.carry(&start, inputs, way, None))
    }

    /// Passes messages on until it is over, on a task of its own.
    fn carry(
        self: &Arc<Self>,
        start: &pb::ExecStart,
        inputs: Streaming<pb::ExecInput>,
        way: Way,
        place: Option<OwnedSemaphorePermit>,
    ) -> Outputs {
        let (outgoing, outputs) = mpsc::channel(MESSAGES_MAX);
        let (dispatcher, flow) = (self.clone(), Flow::new(start));
        tokio::spawn(async move {
            let _place = place;
            let Way { inputs: further, outputs } = way;
            tokio::select! {
                () = relay::relay(flow, inputs, further, outputs, &outgoing, IDLE_MAX) => {}
                () = dispatcher.stop.cancelled() => {
                    let failure = Failure::new(Kind::Unavailable, "this manager is stopping");
                    drop(outgoing.try_send(Err(failure.into())));
                }
            }
        });
        ReceiverStream::new(outputs)
    }

    /// The way to a node's agent, whichever manager has its session.
    async fn way_to(self: &Arc<Self>, node: NodeId, start: &pb::ExecStart) -> Result<Way, Failure> {
        match self.way_to_agent(node, start).await {
            Err(failure) if failure.kind == Kind::NotFound => {}
            settled => return settled,
        }
        let mut asked = JoinSet::new();
        let me = self.service.raft.me;
        for member in self.service.raft.members().into_iter().filter(|member| *member != me) {
            let (dispatcher, start) = (self.clone(), start.clone());
            asked.spawn(async move { (member, dispatcher.way_by_peer(member, start).await) });
        }
        let (mut refused, mut silent) = (None, Vec::new());
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok((_, Ok(way))) => return Ok(way),
                Ok((_, Err(Some(failure)))) if failure.kind == Kind::NotFound => {}
                // Another may have the session all the same, and have begun: to leave it now would be to
                // kill what runs.
                Ok((_, Err(Some(failure)))) => refused = refused.or(Some(failure)),
                Ok((member, Err(None))) => silent.push(format!("manager {member}")),
                Err(_) => {}
            }
        }
        Err(refused.unwrap_or_else(|| self.out_of_touch(node, &silent)))
    }

    fn out_of_touch(&self, node: NodeId, silent: &[String]) -> Failure {
        let state = self.service.raft.machine.state();
        let name = state.node(node).map_or_else(String::new, |node| node.hostname.to_string());
        let failure = Failure::new(
            Kind::Unavailable,
            format!("node {name} is out of reach: its agent has no session with any manager"),
        );
        let failure = if silent.is_empty() {
            failure
        } else {
            failure.because(format!("or with one that does not answer: {}", silent.join(", ")))
        };
        failure.hint("`secretctl node ls` shows which nodes are ready")
    }

    /// The way by another manager; no failure if that did not answer.
    async fn way_by_peer(
        &self,
        member: MemberId,
        start: pb::ExecStart,
    ) -> Result<Way, Option<Failure>> {
        let client = self.service.raft.pool.client(member, Purpose::Execs);
        let mut client = client.map_err(|_| None)?;
        let (inputs, queue) = mpsc::channel(MESSAGES_MAX);
        // There is room for one.
        drop(inputs.try_send(begun(start)));
        let answer = timeout(PEER_WITHIN, client.exec(ReceiverStream::new(queue))).await;
        match answer {
            Ok(Ok(answer)) => Ok(Way { inputs, outputs: answer.into_inner() }),
            // In its own words; without any, it did not come to that.
            Ok(Err(status)) if !status.details().is_empty() => Err(Some(status.into())),
            Ok(Err(status)) if status.code() == tonic::Code::Unimplemented => {
                let text = format!("manager {member} runs no commands in tasks: it is older");
                Err(Some(
                    Failure::new(Kind::Unimplemented, text).hint("docs/operations/upgrade.md"),
                ))
            }
            Ok(Err(_)) | Err(_) => Err(None),
        }
    }

    /// The way to an agent whose session is here.
    async fn way_to_agent(&self, node: NodeId, start: &pb::ExecStart) -> Result<Way, Failure> {
        let exec_id: ExecId = seal::random();
        let (way, answered) = oneshot::channel();
        let _wait = {
            let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            let session = sessions.get(&node).ok_or_else(|| not_here(&start.task_id))?;
            self.execs.lock().insert(exec_id, Waiting { node, start: start.clone(), way });
            let wait = Wait(&self.execs, exec_id);
            tell(session, exec_id)?;
            wait
        };
        let silent = || {
            Failure::new(Kind::Timeout, "the node's agent does not answer")
                .hint("the agent's log on that node may say why")
        };
        let way = timeout(AGENT_WITHIN, answered).await.map_err(|_| silent())?;
        way.map_err(|_| silent())
    }

    /// Takes the stream that an agent opened; gives what it is sent.
    ///
    /// # Errors
    ///
    /// If it was not asked for that.
    pub(crate) async fn agent_answers(
        &self,
        certificate: &PeerCertificate,
        node: NodeId,
        mut outputs: Streaming<pb::ExecOutput>,
    ) -> Result<mpsc::Receiver<pb::ExecInput>, Failure> {
        let first = timeout(START_WITHIN, outputs.message()).await;
        let first = first.map_err(|_| Failure::new(Kind::Timeout, "the agent is silent"))?;
        let Some(pb::exec_output::Output::ExecId(id)) = first?.and_then(|first| first.output)
        else {
            return Err(Failure::new(Kind::Invalid, "the stream begins with what it answers"));
        };
        let waiting = {
            let mut waiting = self.execs.lock();
            let id = ExecId::try_from(&id[..]).ok();
            let is_own = |id: &ExecId| waiting.get(id).is_some_and(|it| it.node == node);
            id.filter(is_own).and_then(|id| waiting.remove(&id))
        };
        let Some(Waiting { start, way, .. }) = waiting else {
            // It may be late, and an honest one.
            self.service.denials.count(certified(certificate), "exec");
            return Err(Failure::new(Kind::NotFound, "nobody waits for that command"));
        };
        let (inputs, queue) = mpsc::channel(MESSAGES_MAX);
        // There is room for one.
        drop(inputs.try_send(begun(start)));
        let gone = |_| Failure::new(Kind::NotFound, "nobody waits for that command any more");
        way.send(Way { inputs, outputs }).map_err(gone)?;
        Ok(queue)
    }
}

/// What is to be run: the first message.
async fn first(inputs: &mut Streaming<pb::ExecInput>) -> Result<pb::ExecStart, Failure> {
    let first = timeout(START_WITHIN, inputs.message()).await;
    let first = first.map_err(|_| Failure::new(Kind::Timeout, "nothing was asked for"))?;
    match first?.and_then(|first| first.input) {
        Some(Input::Start(start)) => Ok(start),
        _ => Err(Failure::new(Kind::Invalid, "a command begins with `start`")),
    }
}

fn begun(start: pb::ExecStart) -> pb::ExecInput {
    pb::ExecInput { input: Some(Input::Start(start)) }
}

fn not_here(task: &str) -> Failure {
    Failure::new(Kind::NotFound, format!("the session of the node of task {task} is not here"))
}

/// Tells an agent that it is to open a stream, if it knows of that.
fn tell(session: &SessionHandle, exec_id: ExecId) -> Result<(), Failure> {
    if !session.runs_commands {
        let text = "the agent of the task's node is of an earlier version, which runs no commands";
        return Err(Failure::new(Kind::Precondition, text)
            .hint("upgrade the agent on that node: docs/operations/upgrade.md"));
    }
    let wanted = pb::ExecWanted { exec_id: exec_id.to_vec().into() };
    let message = pb::manager_message::Message::ExecWanted(wanted);
    let message = pb::ManagerMessage { message: Some(message) };
    session.outgoing.try_send(Ok(message)).map_err(|_| {
        Failure::new(Kind::Unavailable, "the agent of the task's node is busy")
            .hint("try again in a moment")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_has_so_many_places() {
        let execs = Execs::default();
        let mut taken: Vec<_> = (0..EXECS_OF_MANAGER_MAX).map(|_| execs.place().unwrap()).collect();
        let refused = execs.place().unwrap_err();
        assert_eq!(refused.kind, Kind::Unavailable);
        assert_eq!(refused.message, "24 commands are run by way of this manager");
        taken.pop();
        drop(execs.place().unwrap());
    }
}
