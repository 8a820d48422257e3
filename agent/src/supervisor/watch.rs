//! The supervisor's loop: the task's end, its output, the agents' requests, the grace period, and the
//! commands that operators run in it.
//!
//! One thread waits for all of them. Nothing in it blocks: connections that cannot take an answer
//! are closed, and a later agent connects again.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use proto::id::Timestamp;
use sys::poll::{PollError, readable};
use sys::process::{ProcessError, Signals, Threads};
use sys::socket::{Connection, Listener};

use super::capture::Capture;
use super::definition::Definition;
use super::exec::Execs;
use super::init::Word;
use super::protocol::{self, Phase, Reply, Request};
use super::start::Task;
use super::status::{Ending, Outcome, explained};
use super::wire;

/// Agents that are connected at a time. There is one; the others are its successor and people who
/// read output through it.
const CONNECTIONS_MAX: usize = 16;

/// Largest word of init, in bytes: a reason and a few numbers.
const WORD_BYTES_MAX: usize = 4096;

/// SIGKILL.
const KILL: u8 = 9;

/// SIGTERM: to a supervisor it means that its task is to stop, and itself if that is over.
const TERM: u8 = 15;

/// Something the loop cannot go on without failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    /// Waiting failed.
    #[error("the supervisor cannot wait for its task")]
    Poll(#[source] PollError),
    /// The task cannot be waited for or stopped.
    #[error("the supervisor lost its task")]
    Process(#[source] ProcessError),
}

/// One agent.
struct Peer {
    connection: Connection,
    /// It wants records from this number on, and perhaps waits for them.
    asked_for_output: Option<(u64, bool)>,
}

/// A supervisor at work.
pub(super) struct Watch<'a> {
    definition: &'a Definition,
    listener: Listener,
    signals: Signals,
    peers: Vec<Peer>,
    capture: Capture,
    /// The task, while it has processes.
    task: Option<Task>,
    /// Commands that are run beside its program.
    execs: Execs<'a>,
    phase: Phase,
    kill_at: Option<Instant>,
    released: bool,
}

impl<'a> Watch<'a> {
    /// A supervisor that is connected to the agent that started it.
    pub(super) fn new(
        definition: &'a Definition,
        listener: Listener,
        signals: Signals,
        agent: Connection,
        capture: Capture,
        threads: Threads,
    ) -> Self {
        // A connection that cannot be switched is one that fails at its first use.
        agent.set_nonblocking(true).ok();
        let peers = vec![Peer { connection: agent, asked_for_output: None }];
        let execs = Execs::new(definition, threads);
        let (task, phase, kill_at, released) = (None, Phase::Waiting, None, false);
        Self {
            definition,
            listener,
            signals,
            peers,
            capture,
            task,
            execs,
            phase,
            kill_at,
            released,
        }
    }

    /// Where the output goes.
    pub(super) const fn capture(&mut self) -> &mut Capture {
        &mut self.capture
    }

    /// Waits for the end of the task; returns how it ended. All its processes are gone then, also
    /// if waiting failed.
    pub(super) fn until_over(&mut self, task: Task) -> Result<Outcome, WatchError> {
        self.task = Some(task);
        let watched = self.watch_task();
        let Some(task) = self.task.take() else {
            return watched;
        };
        // Waiting failed, so that nothing would stop it any more. An init ends after all of its namespace,
        // and what runs beside the program is for this process to reap.
        let killed = task.init.signal(KILL).and_then(|()| self.execs.end());
        killed.and_then(|()| task.init.wait()).map_err(WatchError::Process)?;
        self.capture.finish();
        watched
    }

    fn watch_task(&mut self) -> Result<Outcome, WatchError> {
        let exit = loop {
            self.turn()?;
            let Some(task) = &self.task else { continue };
            if let Some(exit) = task.init.try_wait().map_err(WatchError::Process)? {
                break exit;
            }
        };
        // What init said just before it ended.
        self.hear();
        let said = self.task.take().and_then(|task| task.said);
        self.capture.finish();
        // If it said nothing, it was killed, and the program with it; a container may still be there.
        Ok(said.unwrap_or_else(|| match &self.definition.container {
            Some(_) => Outcome::Lost("what drove its container was killed".into()),
            None => exit.into(),
        }))
    }

    /// Tells everybody of the end, and stays for readers of a ring in memory until released.
    pub(super) fn after_end(&mut self, ending: Ending) -> Result<(), WatchError> {
        self.kill_at = None;
        self.enter(Phase::Over(ending));
        self.answer_waiting();
        while self.capture.is_in_memory() && !self.released {
            self.turn()?;
        }
        Ok(())
    }

    /// Waits once and deals with what came.
    fn turn(&mut self) -> Result<(), WatchError> {
        let mut waiting: Vec<BorrowedFd<'_>> = vec![self.listener.as_fd(), self.signals.as_fd()];
        let peers_from = waiting.len();
        waiting.extend(self.peers.iter().map(|peer| peer.connection.as_fd()));
        let pipes_from = waiting.len();
        waiting.extend(self.capture.descriptors());
        let execs_from = waiting.len();
        waiting.extend(self.execs.descriptors());
        let task_from = waiting.len();
        let words = self.task.iter().filter_map(|task| task.words.as_ref());
        waiting.extend(words.map(|words| words.as_fd()));
        waiting.extend(self.task.iter().map(|task| task.init.as_fd()));
        let timeout = self.kill_at.map(|at| at.saturating_duration_since(Instant::now()));
        let ready = readable(&waiting, timeout).map_err(WatchError::Poll)?;
        let is_ready = |index: &usize| ready.get(*index).copied().unwrap_or(false);

        if (task_from..ready.len()).any(|index| is_ready(&index)) {
            self.hear();
        }
        self.kill_if_due()?;
        if (pipes_from..execs_from).any(|index| is_ready(&index)) {
            self.capture.read();
            self.answer_waiting();
        }
        if (execs_from..task_from).any(|index| is_ready(&index)) {
            self.execs.attend().map_err(WatchError::Process)?;
        }
        while let Some(number) = self.signals.next_pending().map_err(WatchError::Process)? {
            match self.task {
                Some(_) if number == TERM => self.stop(None)?,
                None if number == TERM => self.released = true,
                _ => {}
            }
        }
        let peers: Vec<usize> =
            (peers_from..pipes_from).filter(is_ready).map(|index| index - peers_from).collect();
        self.serve(&peers)?;
        if is_ready(&0) {
            self.accept();
        }
        Ok(())
    }

    /// Takes what init says.
    fn hear(&mut self) {
        let mut buffer = vec![0; WORD_BYTES_MAX];
        loop {
            let Some(task) = &mut self.task else { return };
            let Some(words) = &task.words else { return };
            let packet = match words.receive(&mut buffer) {
                Ok(Some(packet)) => packet,
                Err(error) if error.is_would_block() => return,
                // Nothing more will come; it must not keep the loop awake.
                Ok(None) | Err(_) => {
                    task.words = None;
                    return;
                }
            };
            match wire::decode(buffer.get(..packet.bytes).unwrap_or_default()) {
                Ok(Word::Started) => {
                    let since = crate::clock::now();
                    self.enter(match self.phase {
                        Phase::Stopping { .. } => Phase::Stopping { since: Some(since) },
                        _ => Phase::Running { since },
                    });
                }
                Ok(Word::Over(outcome)) => task.said = Some(outcome),
                Err(error) => task.said = Some(Outcome::Lost(explained(&error))),
            }
        }
    }

    /// Since when the program runs, if it was started, and whether it was told to stop.
    pub(super) fn history(&self) -> (Option<Timestamp>, bool) {
        match &self.phase {
            Phase::Waiting => (None, false),
            Phase::Running { since } => (Some(*since), false),
            Phase::Stopping { since } => (*since, true),
            Phase::Over(ending) => (ending.started_at, ending.was_told_to_stop),
        }
    }

    fn stop(&mut self, grace_ms: Option<u64>) -> Result<(), WatchError> {
        let Some(task) = &self.task else {
            return Ok(());
        };
        let (since, was_told) = self.history();
        if !was_told {
            let signal = self.definition.stop_signal;
            task.signal(signal).map_err(WatchError::Process)?;
            self.enter(Phase::Stopping { since });
        }
        let declared = self.definition.stop_grace_ms;
        let grace = Duration::from_millis(grace_ms.map_or(declared, |grace| grace.min(declared)));
        let kill_at = Instant::now().checked_add(grace);
        self.kill_at = match (self.kill_at, kill_at) {
            (Some(before), Some(at)) => Some(before.min(at)),
            (before, at) => before.or(at),
        };
        Ok(())
    }

    fn kill_if_due(&mut self) -> Result<(), WatchError> {
        if let Some(task) = &self.task
            && self.kill_at.is_some_and(|at| at <= Instant::now())
        {
            self.kill_at = None;
            task.signal(KILL).map_err(WatchError::Process)?;
        }
        Ok(())
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        let reply = Reply::Phase(self.phase.clone());
        self.peers.retain(|peer| protocol::send(&peer.connection, &reply, &[]).is_ok());
    }

    fn accept(&mut self) {
        // Who could enter the folder may connect; a connection that fails is the agent's to retry.
        while let Ok(Some(connection)) = self.listener.accept() {
            if self.peers.len() < CONNECTIONS_MAX && connection.set_nonblocking(true).is_ok() {
                self.peers.push(Peer { connection, asked_for_output: None });
            }
        }
    }

    /// Deals with one request of each peer that has one; closes those that have gone.
    fn serve(&mut self, peers: &[usize]) -> Result<(), WatchError> {
        // From the last, so that removing one leaves the others where they are. Should one move
        // all the same, it is asked for nothing it has, and the next turn finds it.
        for index in peers.iter().rev() {
            let Some(peer) = self.peers.get(*index) else {
                continue;
            };
            let (request, descriptors) = match protocol::receive::<Request>(&peer.connection) {
                Ok(Some(received)) => received,
                Err(error) if error.is_would_block() => continue,
                // Closed, or not to be understood.
                Ok(None) | Err(_) => {
                    self.peers.swap_remove(*index);
                    continue;
                }
            };
            match request {
                Request::Query => {
                    let reply = Reply::Phase(self.phase.clone());
                    if protocol::send(&peer.connection, &reply, &[]).is_err() {
                        self.peers.swap_remove(*index);
                    }
                }
                Request::Stop { grace_ms } => self.stop(grace_ms)?,
                Request::Output { from, wait } => {
                    if let Some(peer) = self.peers.get_mut(*index) {
                        peer.asked_for_output = Some((from, wait));
                    }
                }
                Request::Release => self.released = true,
                Request::Exec { argv } => {
                    let peer = self.peers.swap_remove(*index);
                    let is_running = matches!(self.phase, Phase::Running { .. });
                    let task = self.task.as_ref().filter(|_| is_running);
                    self.execs.begin(task, peer.connection, &argv, descriptors);
                }
                // Said once, before this loop began.
                Request::Start => {}
            }
        }
        self.answer_waiting();
        Ok(())
    }

    /// Answers those who wait for output, as far as there is any.
    fn answer_waiting(&mut self) {
        let capture = &self.capture;
        self.peers.retain_mut(|peer| {
            let asked = peer.asked_for_output;
            let answer = asked.and_then(|(from, wait)| capture.answer(from, wait));
            let Some(output) = answer else { return true };
            peer.asked_for_output = None;
            protocol::send(&peer.connection, &Reply::Output(output), &[]).is_ok()
        });
    }
}
