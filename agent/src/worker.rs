//! The one owner of this node's tasks: plans, carries out, notes what became of it, plans again.
//!
//! The session with a manager tells it through a [`Handle`] what is assigned, and takes statuses
//! from it; sessions come and go, the worker stays. What it knows it can rebuild from the tasks'
//! folders, so that an agent may be killed at any instant. Not here: what to do ([`crate::plan`])
//! and how a task is run ([`crate::supervisor`]).
//!
//! Invariant: until the first assignments have come, nothing is stopped, started or forgotten.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;

use proto::id::TaskId;
use proto::spec::RuntimeKind;
use proto::task::{TaskState, TaskStatus};
use sys::file::{FileError, Folder, Lock};
use sys::harden::CoreLimit;
use sys::host::{self, HostError};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;

use crate::assignment::{Assignment, ResolvedReference};
use crate::clock;
use crate::engine::presence::{self, Found};
use crate::mount::{self, SecretSource};
use crate::plan::{Action, Held, Life, Observed, Report, plan};
use crate::runtime::docker::{Docker, Place};
use crate::runtime::process::Process;
use crate::runtime::{Node, Runtime};
use crate::supervisor::client::{ConnectError, Supervised};
use crate::supervisor::definition::Definition;
use crate::supervisor::launch::{Launched, Launcher};
use crate::supervisor::protocol::{Phase, ProtocolError, Reply, Request};
use crate::supervisor::status::{Ending, Outcome, explained};

/// The folder of the agent's state that holds the tasks' folders.
const TASKS: &str = "tasks";

/// The file that keeps two agents from owning one folder.
const LOCK: &str = "lock";

/// Events that wait for the worker; more, and the supervisors' watchers wait.
const EVENTS_MAX: usize = 256;

/// Everything assigned to this node, by task.
pub type Assigned = BTreeMap<TaskId, Assignment>;

/// The last status of every task of this node.
pub type Statuses = BTreeMap<TaskId, TaskStatus>;

/// Where and how an agent keeps its tasks.
#[derive(Debug, Clone)]
pub struct Config {
    /// The agent's folder, `/run/secret-agent` unless rootless. Its parent must exist.
    pub root: PathBuf,
    /// How supervisors are started.
    pub launcher: Launcher,
    /// Folders that no task may see, beside `root`: where the agent keeps its identity.
    pub hide: Vec<PathBuf>,
    /// The core limit that tasks get: the agent's before it was hardened.
    pub core_limit: CoreLimit,
    /// The container engine, if there may be one.
    pub engine: Option<Place>,
}

/// The worker cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The agent's folder cannot be used.
    #[error("cannot use the agent's folder")]
    Folder(#[source] FileError),
    /// The kernel does not say which boot this is.
    #[error("cannot tell this boot from others")]
    Boot(#[source] HostError),
}

/// The session's end of a worker. When the last one is dropped, the worker ends; the tasks run on.
#[derive(Debug, Clone)]
pub struct Handle {
    orders: watch::Sender<Option<Arc<Assigned>>>,
    statuses: watch::Receiver<Statuses>,
    nothing_left: watch::Receiver<bool>,
    events: mpsc::Sender<Event>,
    tasks: Arc<Folder>,
}

impl Handle {
    /// A handle without a worker: what is assigned comes out at the first receiver, and what
    /// becomes of it is said by the sender.
    pub(crate) fn without_worker(
        tasks: Folder,
    ) -> (Self, watch::Receiver<Option<Arc<Assigned>>>, watch::Sender<Statuses>) {
        let (orders, assigned) = watch::channel(None);
        let (status_sender, statuses) = watch::channel(Statuses::new());
        let (_, nothing_left) = watch::channel(true);
        let (events, _) = mpsc::channel(1);
        let tasks = Arc::new(tasks);
        (Self { orders, statuses, nothing_left, events, tasks }, assigned, status_sender)
    }

    /// Sets what is assigned from now on: all of it. What was assigned before and is not any more
    /// is stopped and forgotten.
    pub fn assign(&self, assigned: Arc<Assigned>) {
        self.orders.send_replace(Some(assigned));
    }

    /// Has the worker plan again, because the secrets that are held have changed.
    pub fn held_has_changed(&self) {
        self.orders.send_modify(|_| {});
    }

    /// The last status of every task; a new session sends all of them, then what changes.
    pub fn statuses(&self) -> watch::Receiver<Statuses> {
        self.statuses.clone()
    }

    /// What is assigned, now and as it changes; none before the first assignments.
    pub fn assigned(&self) -> watch::Receiver<Option<Arc<Assigned>>> {
        self.orders.subscribe()
    }

    /// Stops every task and waits until all of them are over, their secrets unmounted and their
    /// folders gone; also of tasks that were found and never assigned to this agent.
    pub async fn stop_all(&self) {
        self.assign(Arc::new(Assigned::new()));
        let mut nothing_left = self.nothing_left.clone();
        // Without a worker there is nothing that could be waited for.
        drop(nothing_left.wait_for(|nothing_left| *nothing_left).await);
    }

    /// Tells which containers of this agent's the engine has; those whose tasks are over go.
    pub(crate) async fn containers_found(&self, found: Vec<Found>) {
        // Without a worker none is started.
        self.events.send(Event::Containers(found)).await.ok();
    }

    /// The tasks' folders, for [`crate::logs::read`].
    pub fn tasks(&self) -> &Folder {
        &self.tasks
    }
}

/// What became of something the worker has started.
#[derive(Debug)]
enum Event {
    Launched { task_id: TaskId, launched: Result<Box<(Launched, Definition)>, String> },
    Phase { task_id: TaskId, phase: Phase },
    Gone { task_id: TaskId, ending: Ending },
    Containers(Vec<Found>),
}

/// One task, as the worker knows it.
#[derive(Default)]
struct Task {
    observed: Observed,
    definition: Option<Definition>,
    supervised: Option<Arc<Supervised>>,
    phase: Option<Phase>,
}

/// The owner of this node's tasks.
pub struct Worker {
    launcher: Launcher,
    node: Node,
    tasks: Arc<Folder>,
    _lock: Lock,
    source: Arc<dyn SecretSource>,
    known: BTreeMap<TaskId, Task>,
    orders: watch::Receiver<Option<Arc<Assigned>>>,
    statuses: watch::Sender<Statuses>,
    /// Whether nothing is assigned and nothing is known of any task.
    nothing_left: watch::Sender<bool>,
    events: mpsc::Receiver<Event>,
    event_sender: mpsc::Sender<Event>,
}

impl Worker {
    /// Opens the agent's folder and finds the tasks that an earlier agent has left. Must be called
    /// within a tokio runtime.
    ///
    /// Fails if the folder cannot be made, is open to others, or belongs to another agent.
    pub fn open(
        config: Config,
        source: Arc<dyn SecretSource>,
    ) -> Result<(Self, Handle), OpenError> {
        let root = Folder::create_private(&config.root).map_err(OpenError::Folder)?;
        // As an engine finds it, which follows no link there.
        let place = config.root.canonicalize().unwrap_or_else(|_| config.root.clone());
        let lock = root.lock(LOCK).map_err(OpenError::Folder)?;
        let tasks = root.create_private_folder(TASKS).map_err(OpenError::Folder)?;
        let tasks = Arc::new(tasks);
        let boot_id = host::boot_id().map_err(OpenError::Boot)?;
        // A task is shielded from the folders themselves, not from one of their names.
        let hide = config.hide.into_iter().chain([config.root]);
        let hide = hide.map(|folder| folder.canonicalize().unwrap_or(folder)).collect();
        let (order_sender, orders) = watch::channel(None);
        let (statuses, status_receiver) = watch::channel(Statuses::new());
        let (nothing_left, nothing_left_receiver) = watch::channel(false);
        let (event_sender, events) = mpsc::channel(EVENTS_MAX);
        let mut worker = Self {
            launcher: config.launcher,
            node: Node {
                boot_id,
                core_limit: config.core_limit,
                hide,
                tasks: place.join(TASKS),
                engine: config.engine,
            },
            tasks: Arc::clone(&tasks),
            _lock: lock,
            source,
            known: BTreeMap::new(),
            orders,
            statuses,
            nothing_left,
            events,
            event_sender: event_sender.clone(),
        };
        worker.find_tasks().map_err(OpenError::Folder)?;
        let handle = Handle {
            orders: order_sender,
            statuses: status_receiver,
            nothing_left: nothing_left_receiver,
            events: event_sender,
            tasks,
        };
        Ok((worker, handle))
    }

    /// Works until the last handle is dropped.
    pub async fn run(mut self) {
        loop {
            // Looked at before planning, so that what is set during it is not overlooked.
            let assigned = self.orders.borrow_and_update().clone();
            if let Some(assigned) = assigned {
                self.work(&assigned);
                self.nothing_left.send_replace(assigned.is_empty() && self.known.is_empty());
            }
            tokio::select! {
                changed = self.orders.changed() => if changed.is_err() { return },
                Some(event) = self.events.recv() => self.note(event),
            }
        }
    }

    fn work(&mut self, assigned: &Assigned) {
        let observed: BTreeMap<TaskId, Observed> =
            self.known.iter().map(|(task_id, task)| (*task_id, task.observed.clone())).collect();
        let held = Held { secrets: self.source.held(), configs: self.source.configs() };
        for action in plan(assigned, &held, &observed) {
            match action {
                Action::Start { task_id, files } => {
                    if let Some(assignment) = assigned.get(&task_id) {
                        self.start(assignment.clone(), files);
                    }
                }
                Action::Stop { task_id } => self.stop(task_id),
                Action::Forget { task_id } => self.forget(task_id),
                Action::Report { task_id, report } => self.report(task_id, report),
            }
        }
    }

    /// Starts a task off this thread: users are looked up, files are written.
    fn start(&mut self, assignment: Assignment, files: Vec<ResolvedReference>) {
        let task_id = assignment.task_id;
        self.known.entry(task_id).or_default().observed.life = Life::Starting;
        let (node, launcher) = (self.node.clone(), self.launcher.clone());
        let (tasks, source) = (Arc::clone(&self.tasks), Arc::clone(&self.source));
        let events = self.event_sender.clone();
        let launch = move || -> Result<Box<(Launched, Definition)>, String> {
            let runtime = runtime(assignment.spec.runtime);
            let mut definition = runtime.define(&assignment, &node).map_err(|why| why.0)?;
            let files = runtime.files(files).map_err(|why| why.0)?;
            let configs = runtime.configs(assignment.spec.configs.clone()).map_err(|why| why.0)?;
            let limits = mount::limits(&files, &configs, &*source);
            definition.mount_bytes_max = limits.bytes_max;
            definition.mount_inodes_max = limits.inodes_max;
            let owner = (definition.uid, definition.gid);
            let launched = launcher.launch(&tasks, &definition, |filesystem| {
                mount::fill(filesystem, task_id, &files, owner, &*source)
                    .and_then(|()| mount::fill_configs(filesystem, &configs, owner, &*source))
                    .map_err(|error| error.message())
            });
            launched
                .map(|launched| Box::new((launched, definition)))
                .map_err(|error| error.message())
        };
        tokio::spawn(async move {
            let launched = spawn_blocking(launch).await;
            let launched = launched.unwrap_or_else(|error| Err(explained(&error)));
            // Without a worker there is nobody to tell; the supervisor goes its own way.
            events.send(Event::Launched { task_id, launched }).await.ok();
        });
    }

    fn stop(&mut self, task_id: TaskId) {
        let task = self.known.entry(task_id).or_default();
        task.observed.life = Life::Stopping;
        ask_to_stop(task);
    }

    fn forget(&mut self, task_id: TaskId) {
        let Some(task) = self.known.remove(&task_id) else {
            return;
        };
        if let Some(supervised) = task.supervised {
            // One that has gone already needs no release.
            supervised.request(&Request::Release).ok();
        }
        if task.definition.is_some() {
            self.remove_folder(task_id);
        }
        self.statuses.send_if_modified(|statuses| statuses.remove(&task_id).is_some());
    }

    /// Removes a task's folder. What cannot be removed is found again by the next agent.
    fn remove_folder(&self, task_id: TaskId) {
        if let Err(error) = self.tasks.remove_folder(task_id.as_str())
            && !error.is_not_found()
        {
            tracing::warn!(task.id = %task_id, error = explained(&error), "task_folder_stays");
        }
    }

    fn report(&mut self, task_id: TaskId, report: Report) {
        let task = self.known.entry(task_id).or_default();
        let since = match (&task.phase, report.state) {
            (Some(Phase::Running { since }), TaskState::Running) => Some(*since),
            _ => None,
        };
        let mounted = task.definition.as_ref().zip(since).map(|(d, since)| d.mounted(since));
        let status = TaskStatus {
            task_id,
            state: report.state,
            at: clock::now(),
            message: report.message.clone(),
            exit_code: report.exit_code,
            mounted: mounted.unwrap_or_default(),
        };
        task.observed.reported = Some(report);
        self.statuses.send_modify(|statuses| drop(statuses.insert(task_id, status)));
    }

    /// Has those containers removed that no task has any more.
    fn remove_leftovers(&self, mut found: Vec<Found>) {
        let Some(place) = self.node.engine.clone() else {
            return;
        };
        let is_over =
            |task: &Task| task.supervised.is_none() && matches!(task.observed.life, Life::Over(_));
        found.retain(|found| self.known.get(&found.task_id).is_none_or(is_over));
        if !found.is_empty() {
            tokio::spawn(presence::remove(place, found));
        }
    }

    /// Notes what became of a task. One that was forgotten meanwhile is not made again.
    fn note(&mut self, event: Event) {
        let task_id = match event {
            Event::Launched { task_id, .. }
            | Event::Phase { task_id, .. }
            | Event::Gone { task_id, .. } => task_id,
            Event::Containers(found) => return self.remove_leftovers(found),
        };
        let Some(task) = self.known.get_mut(&task_id) else {
            return;
        };
        match event {
            Event::Launched { launched: Ok(launched), .. } => {
                let (launched, definition) = *launched;
                task.definition = Some(definition);
                match Supervised::of(launched) {
                    Ok((supervised, process)) => self.watch(task_id, supervised, Some(process)),
                    Err(error) => {
                        task.observed.life = Life::Over(lost(&error).report());
                    }
                }
            }
            Event::Launched { launched: Err(reason), .. } => {
                task.observed.life = Life::Over(Report::new(TaskState::Rejected, reason));
            }
            Event::Phase { phase, .. } => {
                task.phase = Some(phase.clone());
                task.observed.life = match (phase, &task.observed.life) {
                    (Phase::Over(ending), _) => Life::Over(ending.report()),
                    (_, Life::Over(_)) => return,
                    // Told, though the supervisor may not know yet.
                    (_, Life::Stopping) | (Phase::Stopping { .. }, _) => Life::Stopping,
                    (Phase::Running { .. }, _) => Life::Running,
                    (Phase::Waiting, _) => Life::Starting,
                };
            }
            Event::Gone { ending, .. } => {
                task.supervised = None;
                if matches!(task.observed.life, Life::Over(_)) {
                    return;
                }
                if ending.outcome == Outcome::Abandoned {
                    // An earlier agent had not come to starting it: as if it had never been tried.
                    task.observed.life = Life::Idle;
                    self.remove_folder(task_id);
                } else {
                    task.observed.life = Life::Over(ending.report());
                }
            }
            // Of no one task: dealt with above.
            Event::Containers(_) => {}
        }
    }

    /// Listens to a supervisor until it is gone.
    fn watch(&mut self, task_id: TaskId, supervised: Supervised, process: Option<Child>) {
        let supervised = Arc::new(supervised);
        let task = self.known.entry(task_id).or_default();
        task.supervised = Some(Arc::clone(&supervised));
        if task.observed.life == Life::Stopping {
            ask_to_stop(task);
        }
        let (events, tasks) = (self.event_sender.clone(), Arc::clone(&self.tasks));
        let (launcher, boot_id) = (self.launcher.clone(), self.node.boot_id.clone());
        tokio::spawn(async move {
            loop {
                let phase = match supervised.next().await {
                    Ok(Some(Reply::Phase(phase))) => phase,
                    Ok(Some(_)) => continue,
                    Err(ProtocolError::Wire(error)) => {
                        // A newer supervisor's news. How the task ends is in the status file.
                        let error = explained(&error);
                        tracing::warn!(task.id = %task_id, error, "supervisor_not_understood");
                        continue;
                    }
                    Ok(None) | Err(_) => break,
                };
                if events.send(Event::Phase { task_id, phase }).await.is_err() {
                    return;
                }
            }
            let ended = spawn_blocking(move || {
                if let Some(mut process) = process {
                    // It was ours to reap, whatever its exit code.
                    process.wait().ok();
                }
                how_it_ended(&tasks, task_id, &launcher, &boot_id)
            });
            let ending = ended.await.unwrap_or_else(|error| lost(&error));
            events.send(Event::Gone { task_id, ending }).await.ok();
        });
    }

    /// Clears up after a supervisor that died while no agent was there, and notes the end then.
    fn clear_up(&self, task_id: TaskId) {
        let (events, tasks) = (self.event_sender.clone(), Arc::clone(&self.tasks));
        let (launcher, boot_id) = (self.launcher.clone(), self.node.boot_id.clone());
        tokio::spawn(async move {
            let ended = spawn_blocking(move || how_it_ended(&tasks, task_id, &launcher, &boot_id));
            let ending = ended.await.unwrap_or_else(|error| lost(&error));
            events.send(Event::Gone { task_id, ending }).await.ok();
        });
    }

    /// Rebuilds what is known from the tasks' folders.
    fn find_tasks(&mut self) -> Result<(), FileError> {
        for name in self.tasks.entries()? {
            let Some(task_id) = name.to_str().and_then(|name| name.parse::<TaskId>().ok()) else {
                tracing::warn!(name = ?name, "task_folder_not_known");
                continue;
            };
            let folder = self.tasks.private_folder(task_id.as_str())?;
            let definition = Definition::read(&folder);
            let task = self.known.entry(task_id).or_default();
            match (Supervised::connect(&folder), definition) {
                (Ok(supervised), Ok(definition)) => {
                    task.definition = Some(definition);
                    task.observed.life = Life::Starting;
                    supervised.request(&Request::Query).ok();
                    tracing::info!(task.id = %task_id, "task_taken_over");
                    self.watch(task_id, supervised, None);
                }
                (Err(ConnectError::NobodyThere), Ok(definition)) => {
                    let same_boot = definition.boot_id == self.node.boot_id;
                    let ending = Ending::found(&folder, same_boot, clock::now());
                    if ending.outcome == Outcome::Abandoned {
                        self.known.remove(&task_id);
                        self.remove_folder(task_id);
                        continue;
                    }
                    let is_left = definition.container.is_some();
                    task.definition = Some(definition);
                    if is_left && matches!(ending.outcome, Outcome::Lost(_)) {
                        task.observed.life = Life::Stopping;
                        self.clear_up(task_id);
                    } else {
                        task.observed.life = Life::Over(ending.report());
                    }
                }
                (Err(error), Ok(definition)) => {
                    task.definition = Some(definition);
                    task.observed.life = Life::Over(lost(&error).report());
                }
                // Killed between making the folder and starting the supervisor.
                (_, Err(error)) => {
                    tracing::warn!(
                        task.id = %task_id, error = explained(&error), "task_folder_removed"
                    );
                    self.known.remove(&task_id);
                    self.remove_folder(task_id);
                }
            }
        }
        Ok(())
    }
}

fn ask_to_stop(task: &Task) {
    if let Some(supervised) = &task.supervised {
        // If it does not hear it, it is gone, and that is noted next.
        supervised.request(&Request::Stop { grace_ms: None }).ok();
    }
}

fn runtime(kind: RuntimeKind) -> &'static dyn Runtime {
    match kind {
        RuntimeKind::Process => &Process,
        RuntimeKind::Docker => &Docker,
    }
}

fn lost(error: &dyn std::error::Error) -> Ending {
    Ending::lost(explained(error), clock::now())
}

/// How a task ended whose supervisor has gone. One that died has cleared nothing up: what it had with
/// a container engine goes before the end is told, so that the task cannot run on.
fn how_it_ended(tasks: &Folder, task_id: TaskId, launcher: &Launcher, boot_id: &str) -> Ending {
    let folder = match tasks.private_folder(task_id.as_str()) {
        Ok(folder) => folder,
        Err(error) => return lost(&error),
    };
    let definition = Definition::read(&folder).ok();
    let same_boot = definition.as_ref().is_some_and(|definition| definition.boot_id == boot_id);
    let mut ending = Ending::found(&folder, same_boot, clock::now());
    let has_container = definition.is_some_and(|definition| definition.container.is_some());
    if has_container
        && matches!(ending.outcome, Outcome::Lost(_))
        && let Err(error) = launcher.clear(&folder)
    {
        ending.complaint = Some(format!("its container may be left: {}", error.message()));
    }
    ending
}
