//! A command in a container: the engine runs it, as `docker exec` has it.
//!
//! One connection carries its streams, both ways; the engine is asked for its exit code once that has
//! ended. An engine does not end a command whose client hangs up, so its first process is killed by its
//! number, which the engine tells, and its group with it.
//!
//! Invariant: a number is signalled only while the engine says that the command runs under it.

use std::io;
use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Begun, Event, ExecError, Output as Outputs, Running, Stream, cut};
use crate::engine::{Demultiplexer, Engine, EngineError, NOTHING, ReadHalf, WriteHalf, encoded};
use crate::supervisor::definition::Container;

/// Starts a command in a container.
pub(super) async fn start(
    container: &Container,
    argv: &[String],
    takes_input: bool,
) -> Result<Begun, ExecError> {
    let engine = Engine::at(Path::new(&container.socket));
    let path = format!("/containers/{}/exec", encoded(&container.name));
    let body = json!({
        "AttachStdin": takes_input, "AttachStdout": true, "AttachStderr": true, "Tty": false,
        "Cmd": argv,
    });
    let made = engine.call("POST", &path, Some(body.to_string().into())).await;
    let made = made.map_err(|error| match error {
        error @ EngineError::Refused { status: 404 | 409, .. } => {
            ExecError::Refused(error.to_string())
        }
        error => error.into(),
    })?;
    let id = made.get("Id").and_then(Value::as_str).map(encoded);
    let id = id.ok_or(EngineError::Malformed("a command without an id"))?;
    let command = Command { engine, id, is_over: false };
    let path = format!("/exec/{}/start", command.id);
    let body = json!({ "Detach": false, "Tty": false });
    let (reader, writer) = command.engine.hijack("POST", &path, body.to_string().into()).await?;
    let input = takes_input.then(|| super::Input::Engine(Input(writer)));
    let output = Output {
        reader: Some(reader),
        demultiplexer: Demultiplexer::default(),
        waiting: Vec::new(),
        buffer: vec![0; proto::limits::EXEC_DATA_BYTES_MAX],
        command,
    };
    Ok(Begun::Running(Running { input, output: Outputs::Container(output) }))
}

/// Standard input, by way of the engine.
pub struct Input(WriteHalf);

impl Input {
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write(bytes).await
    }

    pub(super) async fn close(self) {
        // An engine that does not hear it has ended.
        self.0.close().await.ok();
    }
}

/// What comes back.
pub(super) struct Output {
    /// Until the engine has closed it.
    reader: Option<ReadHalf>,
    demultiplexer: Demultiplexer,
    /// What was read and not handed on: of at most one buffer.
    waiting: Vec<(Stream, Vec<u8>)>,
    buffer: Vec<u8>,
    command: Command,
}

impl Output {
    pub(super) async fn next(&mut self, room: usize) -> Result<Event, ExecError> {
        loop {
            if let Some((stream, bytes)) = self.waiting.first_mut() {
                let rest = bytes.split_off(room.min(bytes.len()));
                let event = Event::Printed(*stream, Bytes::copy_from_slice(bytes));
                *bytes = rest;
                if bytes.is_empty() {
                    self.waiting.remove(0);
                }
                return Ok(event);
            }
            let Some(reader) = &mut self.reader else {
                return self.command.code().await.map(Event::Ended);
            };
            let buffer = cut(&mut self.buffer, room);
            let bytes = reader.read(buffer).await.map_err(ExecError::Stream)?;
            let piece = buffer.get(..bytes).unwrap_or_default();
            if piece.is_empty() {
                self.reader = None;
            }
            let waiting = &mut self.waiting;
            self.demultiplexer.take(piece, |is_error, data| {
                let stream = if is_error { Stream::Stderr } else { Stream::Stdout };
                if !data.is_empty() {
                    waiting.push((stream, data.to_vec()));
                }
            });
        }
    }
}

/// A command as the engine knows it. Dropped before its end, it is killed.
struct Command {
    engine: Engine,
    id: String,
    is_over: bool,
}

impl Command {
    async fn look(&self) -> Result<Value, EngineError> {
        self.engine.call("GET", &format!("/exec/{}/json", self.id), NOTHING).await
    }

    /// Its exit code, now that its streams have ended.
    async fn code(&mut self) -> Result<i32, ExecError> {
        loop {
            let record = self.look().await?;
            if is_running(&record) {
                // It has closed its streams and goes on; or the engine has not noticed yet.
                tokio::time::sleep(AGAIN_AFTER).await;
                continue;
            }
            self.is_over = true;
            let code = record.get("ExitCode").and_then(Value::as_i64);
            let code = code.and_then(|code| i32::try_from(code).ok());
            return Ok(code.ok_or(EngineError::Malformed("no exit code"))?);
        }
    }
}

/// Between two looks at a command whose streams have ended.
const AGAIN_AFTER: std::time::Duration = std::time::Duration::from_millis(50);

/// Time for an engine to start a command that nobody waits for any more, so that it can be killed.
const BEGUN_WITHIN: std::time::Duration = std::time::Duration::from_secs(60);

fn is_running(record: &Value) -> bool {
    record.get("Running").and_then(Value::as_bool).unwrap_or_default()
}

impl Drop for Command {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let command = Self { engine: self.engine.clone(), id: self.id.clone(), is_over: true };
        // Without a runtime there is no agent any more, and what it ran goes on until it ends.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { command.kill().await });
        }
    }
}

impl Command {
    async fn kill(self) {
        let begun = tokio::time::timeout(BEGUN_WITHIN, self.begun()).await;
        let Ok(Some(pid)) = begun else { return };
        let Ok(process) = sys::process::Held::open(pid) else { return };
        // Held from here on: if it runs still, it is the one that was meant.
        if self.look().await.is_ok_and(|record| is_running(&record)) {
            // It may have ended by now.
            process.kill_with_group().ok();
        } else {
            tracing::debug!("command_ended_meanwhile");
        }
    }

    /// Its number, once it has one: an engine hands over the streams before it starts the command. None if
    /// it has ended, or the engine does not answer.
    async fn begun(&self) -> Option<i32> {
        loop {
            let record = self.look().await.ok()?;
            let pid = record.get("Pid").and_then(Value::as_i64);
            let pid = pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0);
            if is_running(&record) && pid.is_some() {
                return pid;
            }
            if record.get("ExitCode").is_some_and(Value::is_i64) {
                return None;
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
}
