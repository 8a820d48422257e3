//! Commands that operators run in a task: children of its supervisor, beside its program.
//!
//! The supervisor has made the task's pid namespace and is in its mount namespace, so that what it forks
//! is where the task is, and becomes a program as the task's own did: the same user, environment, folder
//! and limits. The streams are pipes of the agent that asked; nothing of them passes through here. One
//! connection is one command: who closes it has it killed, with all of its process group.
//!
//! Not here: what is typed and printed (the agent), commands in containers, which the engine runs.
//!
//! Invariant: a command is reaped here and ends with the task at the latest: the end of the task's init
//! kills all of its namespace, and waits until this process has reaped what is its child.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use proto::limits::EXECS_OF_TASK_MAX;
use sys::process::{self, Child, Exit, ProcessError, Threads};
use sys::socket::Connection;

use super::definition::Definition;
use super::init::{self, Stdio};
use super::protocol::{self, ExecPhase, Reply};
use super::start::Task;
use super::status::explained;

/// Longest reason why a command could not be started, in bytes.
const WHY_BYTES_MAX: usize = 1024;

/// SIGKILL.
const KILL: u8 = 9;

/// The commands of one task.
pub(super) struct Execs<'a> {
    definition: &'a Definition,
    threads: Threads,
    running: Vec<Exec>,
}

/// One of them.
struct Exec {
    /// Who asked for it, until that has gone.
    agent: Option<Connection>,
    child: Child,
    /// Open until the program is executed; then, or before, it may carry why that failed.
    failure: Option<File>,
    why: Vec<u8>,
}

impl<'a> Execs<'a> {
    /// None yet.
    pub(super) const fn new(definition: &'a Definition, threads: Threads) -> Self {
        Self { definition, threads, running: Vec::new() }
    }

    /// What to wait for.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.running.iter().flat_map(|exec| {
            let agent = exec.agent.iter().map(|agent| agent.as_fd());
            let failure = exec.failure.iter().map(|failure| failure.as_fd());
            agent.chain(failure).chain([exec.child.as_fd()])
        })
    }

    /// Starts a command, or says why not; `task` is the one that it is run in, if that runs.
    pub(super) fn begin(
        &mut self,
        task: Option<&Task>,
        agent: Connection,
        argv: &[String],
        descriptors: Vec<OwnedFd>,
    ) {
        match self.start(task, argv, descriptors) {
            Ok((child, failure)) => {
                let (agent, failure) = (Some(agent), Some(failure));
                self.running.push(Exec { agent, child, failure, why: Vec::new() });
            }
            // One that does not hear it has gone.
            Err(why) => drop(say(&agent, ExecPhase::Refused(why))),
        }
    }

    fn start(
        &self,
        task: Option<&Task>,
        argv: &[String],
        descriptors: Vec<OwnedFd>,
    ) -> Result<(Child, File), String> {
        match task {
            None => return Err("the task does not run".into()),
            Some(task) if task.is_container => {
                return Err("the task is a container, whose engine runs commands in it".into());
            }
            Some(_) => {}
        }
        if self.running.len() >= EXECS_OF_TASK_MAX {
            return Err(format!("{EXECS_OF_TASK_MAX} commands are run in the task already"));
        }
        proto::exec::check_arguments(argv).map_err(|error| error.reason)?;
        let files: Vec<File> = descriptors.into_iter().map(File::from).collect();
        let Ok([input, output, error]) = <[File; 3]>::try_from(files) else {
            return Err("a command has three streams".into());
        };
        let stdio = Stdio { input, output, error };
        let program = init::program(self.definition, argv)?;
        let (reader, writer) = process::pipe(true).map_err(|error| explained(&error))?;
        let keep = [stdio.input.as_fd(), stdio.output.as_fd(), stdio.error.as_fd(), writer.as_fd()];
        let become_it = || init::become_program(&program, &stdio, &writer);
        let child = self.threads.fork(&keep, become_it).map_err(|error| explained(&error))?;
        Ok((child, reader))
    }

    /// Deals with whatever has happened.
    pub(super) fn attend(&mut self) -> Result<(), ProcessError> {
        let mut over = Vec::new();
        for (index, exec) in self.running.iter_mut().enumerate() {
            exec.hear();
            if let Some(exit) = exec.child.try_wait()? {
                exec.tell_end(exit);
                over.push(index);
            }
        }
        for index in over.into_iter().rev() {
            self.running.swap_remove(index);
        }
        Ok(())
    }

    /// Kills and reaps all of them.
    pub(super) fn end(&mut self) -> Result<(), ProcessError> {
        for exec in self.running.drain(..) {
            exec.kill();
            exec.child.wait()?;
        }
        Ok(())
    }
}

impl Exec {
    /// Hears whether it was started, and whether who asked for it has gone.
    fn hear(&mut self) {
        self.learn_of_start();
        let has_gone = |agent: &Connection| match agent.receive(&mut [0; 1]) {
            Err(error) => !error.is_would_block(),
            // Closed, or out of turn: nothing is said after the command.
            Ok(_) => true,
        };
        if self.agent.as_ref().is_some_and(has_gone) {
            self.agent = None;
            self.kill();
        }
    }

    /// The pipe closes when the program is executed; before, it may carry why it is not.
    fn learn_of_start(&mut self) {
        let Some(pipe) = &mut self.failure else { return };
        let mut buffer = [0; WHY_BYTES_MAX];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(bytes) => {
                    let room = WHY_BYTES_MAX.saturating_sub(self.why.len());
                    self.why.extend(buffer.iter().take(bytes.min(room)));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => break,
            }
        }
        self.failure = None;
        if self.why.is_empty() {
            self.tell(ExecPhase::Started);
        }
    }

    fn tell_end(&mut self, exit: Exit) {
        // It is all there now.
        self.learn_of_start();
        let code = exit.shell_code();
        let why = String::from_utf8_lossy(&self.why).into_owned();
        let phase =
            if why.is_empty() { ExecPhase::Over(code) } else { ExecPhase::NotStarted(code, why) };
        self.tell(phase);
    }

    fn tell(&mut self, phase: ExecPhase) {
        // One that does not hear it has gone, and that is noticed next.
        self.agent.as_ref().map(|agent| say(agent, phase));
    }

    /// Its number is nobody else's: it was not reaped. It leads a group once it has come to that. What
    /// cannot be killed now ends with the task.
    fn kill(&self) {
        self.child.signal(KILL).ok();
        process::kill_group(self.child.pid()).ok();
    }
}

fn say(agent: &Connection, phase: ExecPhase) -> Result<(), protocol::ProtocolError> {
    protocol::send(agent, &Reply::Exec(phase), &[])
}
