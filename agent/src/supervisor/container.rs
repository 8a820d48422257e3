//! What drives a task's container: a fork of the supervisor, in the place of its init.
//!
//! It has the engine make and start the container, writes its output into the supervisor's pipes, passes
//! on what the supervisor says (signals, by number) and tells it how the container ended. The secrets
//! are mounted where the engine finds them just before the container is started, apart from everything
//! else, and taken away from there as soon as it has its own mount of them. The engine may restart
//! meanwhile: what became of the container is asked until it answers.
//!
//! Not here: what the engine is told ([`crate::runtime::docker`]) and how it is asked
//! ([`crate::engine`]).
//!
//! Invariant: when this process has ended, and the engine answered, nothing is left of the container. If
//! the supervisor dies, it removes the container and ends.

use std::cell::{Cell, OnceCell};
use std::convert::Infallible;
use std::fs::File;
use std::future::{Future, pending};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use proto::spec::{LogPolicy, Signal};
use serde_json::{Value, json};
use sys::mount::{self, SecretsMount};
use sys::mountpoint::{mounts_of, provide_apart, take_away};
use sys::namespace::Mounts;
use sys::process::End;
use sys::socket::Connection;
use tokio::net::UnixDatagram;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::definition::{Container, Definition};
use super::init::{Stdio, Word, say};
use super::status::{Outcome, explained};
use crate::engine::{Demultiplexer, Engine, EngineError, NOTHING, encoded, with_tag};

/// The folder, in the place, that the secrets are attached at.
pub(crate) const FILES: &str = "m";

/// The label of networks that agents make, with the network's name.
const NETWORK_LABEL: &str = "secretd.network";

/// Between two questions to an engine that is away.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Between two looks at a process whose end is waited for: one system call each.
const END_SEEN_WITHIN: Duration = Duration::from_millis(100);

/// How long an engine that is away may hold up the end of what was lost.
const CLEAR_WITHIN: Duration = Duration::from_secs(30);

/// How long the last of the output may take after the end. It is there already; this is for an engine
/// that hangs.
const OUTPUT_WITHIN: Duration = Duration::from_secs(10);

/// How often a container that somebody else is removing is looked for.
const REMOVE_TRIES: u32 = 30;

/// Looks at a container that cannot be looked into: an engine notices within moments that one has ended.
const RESTRICT_TRIES: u32 = 10;

/// The process that has its files where this kernel's first one has: the host's own.
const FIRST: i32 = 1;

/// Drives the container to its end; returns the exit code of the process.
pub(super) fn run(
    definition: &Definition,
    container: &Container,
    files: &SecretsMount,
    supervisor: &Connection,
    stdio: &Stdio,
) -> u8 {
    let drive = || -> Ended<Outcome> {
        let cloned = || Ok((stdio.output.try_clone()?, stdio.error.try_clone()?));
        let pipes: std::io::Result<(File, File)> = cloned();
        let pipes = Arc::new(pipes.map_err(refused)?);
        let engine = Engine::at(Path::new(&container.socket));
        let (mounts, is_asked_for) = (OnceCell::new(), Cell::new(false));
        let driver = Driver {
            engine,
            definition,
            container,
            files,
            supervisor,
            pipes,
            mounts,
            is_asked_for,
        };
        runtime().map_err(Outcome::Refused)?.block_on(driver.drive())
    };
    let outcome = drive();
    say(supervisor, &Word::Over(outcome.unwrap_or_else(|outcome| outcome)));
    0
}

/// Removes what may be left of a container whose driver is gone, and of its secrets where the engine
/// found them. Says why it could not.
pub(super) fn clear(container: &Container) -> Result<(), String> {
    runtime()?.block_on(async {
        let engine = Engine::at(Path::new(&container.socket));
        let cleared = timeout(CLEAR_WITHIN, async {
            loop {
                match remove(&engine, container).await {
                    Err(error) if error.is_away() => sleep(AGAIN_AFTER).await,
                    result => return result,
                }
            }
        });
        // The mounts are of no engine.
        let pid = engine.process().await.unwrap_or(FIRST);
        let mounts = Mounts::of(pid).map_err(|error| explained(&error));
        let taken = mounts.and_then(|mounts| take_away_from(&mounts, container));
        let late = || format!("{} does not answer", container.socket);
        cleared.await.map_err(|_| late())?.map_err(|error| explained(&error))?;
        taken
    })
}

/// One thread, since this process forks, and joins namespaces.
fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| explained(&error))
}

fn take_away_from(mounts: &Mounts, container: &Container) -> Result<(), String> {
    let taken = mounts.within(|| take_away(Path::new(&container.place)));
    taken.map_err(|error| explained(&error))?.map_err(|error| explained(&error))
}

/// Removes the container, running or not, with its anonymous volumes, and the networks of ours that it
/// was the last on.
async fn remove(engine: &Engine, container: &Container) -> Result<(), EngineError> {
    let path = format!("/containers/{}?force=true&v=true", encoded(&container.name));
    let mut tries = 1..REMOVE_TRIES;
    loop {
        match engine.call("DELETE", &path, NOTHING).await {
            Ok(_) => break,
            Err(error) if error.is_not_found() => break,
            // Somebody else is at it.
            Err(error) if error.is_conflict() && tries.next().is_some() => {
                sleep(AGAIN_AFTER).await;
            }
            Err(error) => return Err(error),
        }
    }
    for name in &container.networks {
        for network in networks(engine, name).await.unwrap_or_default() {
            if is_ours(&network, name)
                && let Some(id) = network.get("Id").and_then(Value::as_str)
            {
                // The engine refuses while others are on it.
                engine.call("DELETE", &format!("/networks/{}", encoded(id)), NOTHING).await.ok();
            }
        }
    }
    Ok(())
}

/// The engine's networks of exactly that name, which may be several. Asked for one by name, an engine
/// also finds one by the beginning of its id.
async fn networks(engine: &Engine, name: &str) -> Result<Vec<Value>, EngineError> {
    let filters = json!({ "name": [name] });
    let path = format!("/networks?filters={}", encoded(&filters.to_string()));
    match engine.call("GET", &path, NOTHING).await? {
        Value::Array(mut networks) => {
            let is_of_name = |network: &Value| network.get("Name").is_some_and(|own| own == name);
            networks.retain(is_of_name);
            Ok(networks)
        }
        Value::Null => Ok(Vec::new()),
        _ => Err(EngineError::Malformed("no list of networks")),
    }
}

/// Whether an agent has made it: what else a host has under that name is nobody's to join or remove.
fn is_ours(network: &Value, name: &str) -> bool {
    network
        .get("Labels")
        .and_then(|labels| labels.get(NETWORK_LABEL))
        .is_some_and(|own| own == name)
}

/// A start that did not come to its end: how the task ended.
type Ended<T> = Result<T, Outcome>;

fn refused(error: impl std::error::Error) -> Outcome {
    Outcome::Refused(explained(&error))
}

/// A container that runs.
struct Running {
    /// The engine's name of it.
    id: String,
    /// What writes its output, if that is kept.
    output: Option<JoinHandle<()>>,
}

struct Driver<'a> {
    engine: Engine,
    definition: &'a Definition,
    container: &'a Container,
    files: &'a SecretsMount,
    supervisor: &'a Connection,
    /// Where output goes.
    pipes: Arc<(File, File)>,
    /// Where the secrets were attached for the engine. Held open, since an engine that has died cannot
    /// be asked where it had its files.
    mounts: OnceCell<Mounts>,
    /// Whether the engine may have made the container: from the question on, not from the answer on.
    is_asked_for: Cell<bool>,
}

/// What the supervisor says: numbers of signals; its end is that of the orders.
struct Orders(UnixDatagram);

impl Orders {
    fn of(supervisor: &Connection) -> Result<Self, Outcome> {
        let socket = || -> std::io::Result<UnixDatagram> {
            let fd = supervisor.as_fd().try_clone_to_owned()?;
            // It keeps packets apart as a datagram socket does, which is the kind that tokio knows.
            let socket = std::os::unix::net::UnixDatagram::from(fd);
            socket.set_nonblocking(true)?;
            UnixDatagram::from_std(socket)
        };
        socket().map(Self).map_err(refused)
    }

    /// The next signal; `None` when the supervisor is dead.
    async fn next(&self) -> Option<u8> {
        let mut packet = [0; 1];
        match self.0.recv(&mut packet).await {
            Ok(1) => Some(packet).map(|[number]| number),
            _ => None,
        }
    }
}

impl Driver<'_> {
    async fn drive(&self) -> Ended<Outcome> {
        let orders = Orders::of(self.supervisor)?;
        // Its first word says that it is there, as to an init; silence is an end of file.
        if orders.next().await.is_none() {
            return Err(Outcome::Abandoned);
        }
        let started = tokio::select! {
            started = self.start() => started,
            order = orders.next() => Err(Outcome::Refused(match order {
                Some(_) => "stopped before it was started".to_owned(),
                None => "its supervisor died".to_owned(),
            })),
        };
        let outcome = match started {
            Ok(running) => {
                say(self.supervisor, &Word::Started);
                self.attend(running, &orders).await
            }
            Err(outcome) => {
                // It may have been stopped anywhere in between.
                return Ok(match self.undo().await {
                    Ok(()) => outcome,
                    Err(error) => left(outcome, &error),
                });
            }
        };
        // What is left if that fails is found by an agent.
        remove(&self.engine, self.container).await.ok();
        Ok(outcome)
    }

    /// Takes back a start that did not come to its end.
    async fn undo(&self) -> Result<(), String> {
        let taken = self.take_away();
        let removed = remove(&self.engine, self.container).await;
        if self.is_asked_for.get() {
            removed.map_err(|error| explained(&error))?;
        }
        taken
    }

    /// Has the container made and started.
    async fn start(&self) -> Ended<Running> {
        self.provide_image().await?;
        self.provide_networks().await?;
        let pid = self.engine.process().await.map_err(refused)?;
        let mounts = Mounts::of(pid).map_err(refused)?;
        let mounts = self.mounts.get_or_init(|| mounts);
        if self.container.has_secrets {
            let attach = || -> Result<(), mount::MountError> {
                let at = provide_apart(Path::new(&self.container.place), FILES)?;
                self.files.attach(&at)
            };
            mounts.within(attach).map_err(refused)?.map_err(refused)?;
        }
        let path = format!("/containers/create?name={}", encoded(&self.container.name));
        let body = self.container.body.clone().into_bytes();
        self.is_asked_for.set(true);
        let made = self.engine.call("POST", &path, Some(body)).await.map_err(refused)?;
        let Some(id) = made.get("Id").and_then(Value::as_str).map(encoded) else {
            return Err(refused(EngineError::Malformed("a container without an id")));
        };
        // Podman readies the program for this, and says already here that there is none.
        let output = self.follow(&id).await.map_err(|error| not_started(&error))?;
        let path = format!("/containers/{id}/start");
        let mut started = self.engine.call("POST", &path, NOTHING).await;
        if started.as_ref().is_err_and(EngineError::is_not_found) {
            // A container that was never started is on no network: the end of another task may have taken
            // one away as nobody's.
            self.provide_networks().await?;
            started = self.engine.call("POST", &path, NOTHING).await;
        }
        started.map_err(|error| not_started(&error))?;
        if self.container.has_secrets {
            // The container has its own mount of them by now.
            self.take_away().map_err(Outcome::Refused)?;
            self.restrict(&id).await?;
        }
        Ok(Running { id, output })
    }

    /// Has the image fetched if it is not there.
    async fn provide_image(&self) -> Ended<()> {
        let image = &self.container.image;
        let path = format!("/images/{}/json", encoded(image));
        match self.engine.call("GET", &path, NOTHING).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(refused(error)),
        }
        self.engine.pull(image).await.map_err(|error| {
            Outcome::Refused(format!("No such image: {}; {}", with_tag(image), explained(&error)))
        })
    }

    /// Makes the networks that are missing: bridges of this engine.
    async fn provide_networks(&self) -> Ended<()> {
        for name in &self.container.networks {
            let mut found = networks(&self.engine, name).await.map_err(refused)?;
            if found.is_empty() {
                let body = json!({
                    "Name": name, "Driver": "bridge", "CheckDuplicate": true,
                    "Labels": { NETWORK_LABEL: name },
                });
                let body = Some(body.to_string().into());
                match self.engine.call("POST", "/networks/create", body).await {
                    // Somebody else was first, another task or not.
                    Err(error) if error.is_conflict() => {
                        found = networks(&self.engine, name).await.map_err(refused)?;
                    }
                    result => drop(result.map_err(refused)?),
                }
            }
            if !found.iter().all(|network| is_ours(network, name)) {
                return Err(Outcome::Refused(format!(
                    "this node's engine has a network `{name}` that was not made for the cluster; remove \
                     it, or give the cluster's another name"
                )));
            }
        }
        Ok(())
    }

    /// Engines have their runtime bind the secrets read-only, and drop what else they are mounted with.
    async fn restrict(&self, id: &str) -> Ended<()> {
        let Some(pid) = self.look(id).await.map_err(refused)?.pid else {
            // It is over already.
            return Ok(());
        };
        let looked = || -> Result<(Mounts, Vec<PathBuf>), String> {
            let mounts = Mounts::of(pid).map_err(|error| explained(&error))?;
            let device = self.files.device().map_err(|error| explained(&error))?;
            let points = mounts_of(pid, device).map_err(|error| explained(&error))?;
            Ok((mounts, points))
        };
        let mut tries = 1..RESTRICT_TRIES;
        let (mounts, points) = loop {
            let looked = looked();
            if self.look(id).await.map_err(refused)?.pid != Some(pid) {
                // It has ended, and its mounts with it: what was looked at may be another process's.
                return Ok(());
            }
            match looked {
                Ok(looked) => break looked,
                // It may have ended, and the engine not noticed yet.
                Err(_) if tries.next().is_some() => sleep(AGAIN_AFTER).await,
                Err(why) => return Err(Outcome::Refused(why)),
            }
        };
        let restricted =
            mounts.within(|| points.iter().try_for_each(|point| mount::restrict(point)));
        restricted.map_err(refused)?.map_err(refused)
    }

    /// Begins to write the container's output into the pipes.
    async fn follow(&self, id: &str) -> Result<Option<JoinHandle<()>>, EngineError> {
        if self.definition.logs == LogPolicy::None {
            return Ok(None);
        }
        let path = format!("/containers/{id}/attach?stream=true&stdout=true&stderr=true");
        let mut pieces = self.engine.follow("POST", &path).await?;
        let pipes = Arc::clone(&self.pipes);
        let mut streams = (!self.container.has_terminal).then(Demultiplexer::default);
        Ok(Some(tokio::spawn(async move {
            // Where it ends early, the engine is away, and it is begun again when that is back.
            while let Ok(Some(piece)) = pieces.next().await {
                // The supervisor reads what is in the pipes; if it does not, it is dead.
                match &mut streams {
                    None => drop((&pipes.0).write_all(&piece)),
                    Some(streams) => streams.take(&piece, |is_error, data| {
                        let mut pipe = if is_error { &pipes.1 } else { &pipes.0 };
                        pipe.write_all(data).ok();
                    }),
                }
            }
        })))
    }

    /// Passes on signals until the container has ended.
    async fn attend(&self, running: Running, orders: &Orders) -> Outcome {
        let id = running.id.clone();
        let mut ended = pin!(self.until_ended(running));
        let mut signalled: Pin<Box<dyn Future<Output = Infallible>>> = Box::pin(pending());
        loop {
            tokio::select! {
                outcome = &mut ended => return outcome,
                never = &mut signalled => match never {},
                order = orders.next() => match order {
                    Some(number) => signalled = Box::pin(self.signal(&id, number)),
                    None => return Outcome::Lost("its supervisor died, and the task with it".into()),
                },
            }
        }
    }

    /// Sends the container a signal, as soon as the engine answers; then does nothing for ever.
    async fn signal(&self, id: &str, number: u8) -> Infallible {
        let mut name = number.to_string();
        if number == Signal::TERM.number() && !self.container.has_stop_signal {
            let path = format!("/containers/{id}/json");
            let record = self.engine.call("GET", &path, NOTHING).await.unwrap_or_default();
            if let Some(own) = record.pointer("/Config/StopSignal").and_then(Value::as_str) {
                name = encoded(own);
            }
        }
        let path = format!("/containers/{id}/kill?signal={name}");
        while let Err(error) = self.engine.call("POST", &path, NOTHING).await {
            if !error.is_away() {
                // It has ended, or does not allow it; the grace period goes on either way.
                break;
            }
            sleep(AGAIN_AFTER).await;
        }
        pending().await
    }

    /// Has the engine say how the container ended, once it has.
    ///
    /// Podman 4 looks whether it has for as long as it is asked, without a pause, which takes a processor
    /// for each container. So its end is seen here first. What ends before that, because the engine is
    /// away, is its output.
    async fn wait(&self, running: &mut Running) -> Result<Value, EngineError> {
        let path = format!("/containers/{}/wait?condition=not-running", running.id);
        if self.engine.is_podman().await?
            && let Some(end) = self.end_of(&running.id).await?
        {
            let is_cut_off = match running.output.as_mut().filter(|output| !output.is_finished()) {
                None => {
                    come(&end).await;
                    false
                }
                Some(output) => tokio::select! {
                    () = come(&end) => false,
                    _ = output => true,
                },
            };
            if is_cut_off {
                running.output = None;
                // Its output may be over a moment before it is.
                timeout(AGAIN_AFTER, come(&end)).await.map_err(|_| EngineError::Late)?;
            }
        }
        self.engine.wait("POST", &path).await
    }

    /// The end of the container's first process, if it runs and can be seen from here.
    async fn end_of(&self, id: &str) -> Result<Option<End>, EngineError> {
        let Some(pid) = self.look(id).await?.pid else { return Ok(None) };
        let Ok(end) = End::of(pid) else { return Ok(None) };
        // By now the number may have been another process's.
        let is_its = self.look(id).await?.pid == Some(pid);
        Ok(is_its.then_some(end))
    }

    /// Waits for the end of the container, and of its output.
    async fn until_ended(&self, mut running: Running) -> Outcome {
        let outcome = loop {
            match self.wait(&mut running).await {
                Ok(answer) => break ended_with(&answer),
                Err(error) if error.is_not_found() => break removed(),
                Err(error) if error.is_away() => {}
                Err(error) => break Outcome::Lost(explained(&error)),
            }
            sleep(AGAIN_AFTER).await;
            if let Ok(state) = self.look(&running.id).await
                && state.pid.is_some()
                && running.output.as_ref().is_none_or(JoinHandle::is_finished)
                && let Ok(output) = self.follow(&running.id).await
            {
                running.output = output;
            }
        };
        if let Some(output) = running.output {
            timeout(OUTPUT_WITHIN, output).await.ok();
        }
        outcome
    }

    async fn look(&self, id: &str) -> Result<State, EngineError> {
        let record = self.engine.call("GET", &format!("/containers/{id}/json"), NOTHING).await?;
        let pid = record.pointer("/State/Pid").and_then(Value::as_i64);
        Ok(State { pid: pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0) })
    }

    /// Takes away what the engine found the secrets by, whether it answers or not.
    fn take_away(&self) -> Result<(), String> {
        self.mounts.get().map_or(Ok(()), |mounts| take_away_from(mounts, self.container))
    }
}

/// A start that failed and could not be taken back: the container may run, so that the task is not told
/// as rejected, and the supervisor clears up ([`clear`]).
fn left(outcome: Outcome, error: &str) -> Outcome {
    match outcome {
        Outcome::Refused(why) | Outcome::NotStarted(_, why) => {
            Outcome::Lost(format!("{why}; {error}"))
        }
        _ => Outcome::Lost(error.to_owned()),
    }
}

/// Waits until a process has ended.
async fn come(end: &End) {
    while !end.has_come() {
        sleep(END_SEEN_WITHIN).await;
    }
}

/// What is looked at of a container's record.
struct State {
    /// Its first process, while it runs.
    pid: Option<i32>,
}

fn ended_with(answer: &Value) -> Outcome {
    // Podman has a code of zero beside it.
    if let Some(error) = answer.pointer("/Error/Message").and_then(Value::as_str)
        && !error.is_empty()
    {
        return Outcome::Lost(format!("the container engine did not see how it ended: {error}"));
    }
    let code = answer.get("StatusCode").and_then(Value::as_i64);
    match code.and_then(|code| i32::try_from(code).ok()) {
        Some(code) => Outcome::Exited(code),
        None => Outcome::Lost("the container engine did not say how it ended".into()),
    }
}

fn removed() -> Outcome {
    Outcome::Lost("its container was removed from the engine by somebody else".into())
}

/// The program could not be started, with the code that shells have for that.
fn not_started(error: &EngineError) -> Outcome {
    let message = format!("starting container failed: {}", explained(error));
    let is_missing =
        message.contains("executable file not found") || message.contains("no such file");
    match error {
        EngineError::Refused { .. } if is_missing => Outcome::NotStarted(127, message),
        EngineError::Refused { .. } if message.contains("permission denied") => {
            Outcome::NotStarted(126, message)
        }
        _ => Outcome::Refused(message),
    }
}
