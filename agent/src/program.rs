//! The agent as a program: hardened first, then settings, identity, tasks, sessions; and its end.
//!
//! Everything is put together here and nowhere else. Not here: what the parts do.
//!
//! Invariant: tasks outlive this program, whichever way it ends, unless its owner said otherwise or
//! the cluster evicted the node.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use link::Failure;
use proto::pb;
use sys::harden::{Hardened, NewPrivileges, harden};
use sys::host;
use sys::notify::{Standing, notify};
use sys::slab::Protection;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;

use crate::Program;
use crate::clock;
use crate::config::{ConfigError, Settings, TokenSourceError};
use crate::engine::presence;
use crate::enrol::told;
use crate::failure::{EVICTED, Fatal};
use crate::identity::{DataFolder, Identity, Own};
use crate::join::join;
use crate::logging;
use crate::memory;
use crate::runtime::docker::Place;
use crate::session::{self, Local};
use crate::supervisor::launch::Launcher;
use crate::supervisor::status::shortened;
use crate::vault::Vault;
use crate::worker::{self, Worker};

/// Threads for sessions and tasks. A slow one, such as a large payload that is unwrapped, does not
/// hold up a beat.
const THREADS: usize = 2;

/// How long what still runs on threads of its own may hold up the exit. All of it may be cut short.
const EXIT_WITHIN: Duration = Duration::from_secs(2);

/// Runs the agent until it is told to stop.
pub(crate) fn run(args: Vec<OsString>, program: Program) -> ExitCode {
    match start(args, program) {
        Ok(code) => code,
        Err(fatal) => fatal.tell(),
    }
}

fn start(args: Vec<OsString>, program: Program) -> Result<ExitCode, Fatal> {
    // Before anything is read: an argument may be a token.
    let hardened = harden(NewPrivileges::Allow).map_err(|error| Fatal::of(&error))?;
    let settings = match Settings::read(args) {
        Ok(settings) => settings,
        Err(ConfigError::Arguments(error)) => {
            // Help and version are no errors; clap knows where each belongs.
            error.print().ok();
            return Ok(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)));
        }
        Err(error) => return Err(error.into()),
    };
    logging::start(settings.log_format, &settings.log_level).map_err(|error| {
        Fatal::of(&error).code(2).hint("e.g. `--log-level info`, or `--log-level info,agent=debug`")
    })?;
    logging::abort_on_panic();
    let protection = protected_keys(&settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .map_err(|error| Fatal::of(&error))?;
    let outcome = runtime.block_on(Box::pin(live(settings, &hardened, protection, program)));
    runtime.shutdown_timeout(EXIT_WITHIN);
    outcome
}

/// A place for keys that is good enough.
fn protected_keys(settings: &Settings) -> Result<Protection, Fatal> {
    let protection = memory::install().map_err(|error| Fatal::of(&error))?;
    if protection == Protection::None && !settings.allow_unlocked_memory {
        return Err(Fatal::new("keys can be neither hidden nor locked in memory")
            .because("memfd_secret(2) and mlock(2) are refused to this process")
            .hint("raise the limit of locked memory: `ulimit -l`, LimitMEMLOCK=")
            .hint("or accept it with `--allow-unlocked-memory`: keys may be swapped out then"));
    }
    Ok(protection)
}

async fn live(
    settings: Settings,
    hardened: &Hardened,
    protection: Protection,
    program: Program,
) -> Result<ExitCode, Fatal> {
    let folder = DataFolder::open(&settings.data)?;
    let identity = joined(&folder, &settings).await?;
    let launcher = Launcher::this_program(program.args);
    let node_id = identity.node_id;
    // An engine serves root, and so does all that is needed beside it.
    let may_use_engine = sys::user::current_uid() == 0;
    let engine = settings.docker_socket.clone().filter(|_| may_use_engine);
    let engine = engine.map(|socket| Place { socket, node_id });
    let (report, reported) = watch::channel(report(&settings, &launcher, engine.as_ref()).await);
    let first = reported.borrow().clone();
    let vault = Arc::new(Vault::new(identity.realm));
    let config = worker::Config {
        root: settings.tasks.clone(),
        launcher,
        hide: vec![settings.data.clone()],
        core_limit: program.core_limit.unwrap_or(hardened.inherited_core_limit),
        engine: engine.clone(),
    };
    let source = Arc::clone(&vault);
    let (worker, handle) = Worker::open(config, source)?;
    let mut working = tokio::spawn(worker.run());
    let mut signals = Signals::new()?;
    let boot_id = host::boot_id().map_err(|error| Fatal::of(&error))?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        node.id = %identity.node_id,
        cluster.incarnation = %identity.incarnation_seen,
        managers = ?identity.managers,
        hardening = %hardened,
        key_memory = %protection,
        mount_kind = first.mount_kind,
        runtimes = first.runtimes.join(","),
        "agent_started"
    );
    let local = Local {
        own: Own::new(folder, identity),
        named_managers: settings.managers.clone(),
        vault,
        worker: handle,
        report: reported,
        boot_id,
        renew: Notify::new(),
    };
    if local.own.current().evicted {
        // It may have been killed before all was stopped.
        return Err(evicted(&local, None, &mut signals).await);
    }
    if let Some(engine) = engine {
        tokio::spawn(presence::watch(engine, local.worker.clone(), report));
    }
    tell(Standing::Ready);
    tokio::select! {
        name = signals.next() => {
            tell(Standing::Stopping);
            tracing::info!(signal = name, "agent_stopping");
            if settings.stop_tasks_on_exit {
                tokio::select! {
                    () = local.worker.stop_all() => {}
                    name = signals.next() => tracing::warn!(signal = name, "tasks_left_running"),
                }
            }
            local.vault.wipe();
            tracing::info!("agent_stopped");
            Ok(ExitCode::SUCCESS)
        }
        failure = session::keep(&local) => Err(evicted(&local, Some(failure), &mut signals).await),
        result = &mut working => Err(worker_ended(result)),
    }
}

/// Tells whoever started this program how it stands; that they cannot be told is no failure.
fn tell(standing: Standing) {
    if let Err(error) = notify(standing) {
        tracing::warn!(%error, "service_manager_not_told");
    }
}

/// The identity that is kept, or the one that a token brings.
async fn joined(folder: &DataFolder, settings: &Settings) -> Result<Identity, Fatal> {
    let kept = folder.identity()?;
    let token = match (&settings.join, &kept) {
        (None, Some(_)) => None,
        (None, None) => {
            return Err(Fatal::new("this agent has not joined a cluster")
                .code(2)
                .hint("make a token with `secretctl cluster join-token agent` on a manager")
                .hint("then `secret-agent --join - --manager HOST:PORT`"));
        }
        (Some(source), _) => match source.read() {
            Ok(token) => Some(token),
            // It was removed once it had done its part.
            Err(error) if kept.is_some() && error.is_not_found() => None,
            Err(error) => return Err(TokenSourceError::into(error)),
        },
    };
    let Some(token) = token else {
        return kept.ok_or_else(|| Fatal::new("this agent has not joined a cluster"));
    };
    match kept {
        Some(kept) if kept.token_id == token.id => return Ok(kept),
        Some(kept) if !kept.evicted => {
            return Err(Fatal::new("this agent has joined already, with another token")
                .because(format!(
                    "{} holds the identity of node {} in cluster {}, got with token {}; the token \
                     given now is {}",
                    settings.data.display(),
                    kept.node_id,
                    kept.realm,
                    kept.token_id,
                    token.id
                ))
                .hint("start it without --join to go on as that node")
                .hint(
                    "to be another node, remove this one (`secretctl node rm`), stop the agent, \
                     and give it a new folder with `--data`",
                ));
        }
        _ => {}
    }
    let identity = join(folder, &token, &settings.managers, &settings.hostname).await?;
    tracing::info!(node.id = %identity.node_id, cluster.realm = %identity.realm, "node_joined");
    Ok(identity)
}

/// What is said of this machine.
async fn report(settings: &Settings, launcher: &Launcher, engine: Option<&Place>) -> pb::Report {
    let launcher = launcher.clone();
    let probed = spawn_blocking(move || launcher.probe().map_err(|error| error.message()));
    let mount_kind = match probed.await {
        Ok(Ok(kind)) => kind.to_string(),
        Ok(Err(reason)) => {
            tracing::warn!(error = reason, "secrets_cannot_be_mounted_here");
            shortened(format!("none: {reason}"))
        }
        Err(error) => shortened(format!("none: {error}")),
    };
    let mut report = pb::Report {
        hostname: settings.hostname.clone(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: host::kernel(),
        runtimes: vec!["process".to_owned()],
        nano_cpus: host::cpus().saturating_mul(1_000_000_000),
        memory_bytes: host::memory_bytes().unwrap_or_default(),
        mount_kind,
    };
    if let Some(engine) = engine {
        presence::note(&mut report, presence::is_there(engine).await);
    }
    report
}

/// Gives up everything this node had of the cluster. What the cluster said is there at the first
/// time only.
///
/// Tasks may take long to stop: one in a container as long as its engine is away. A signal ends the
/// waiting.
async fn evicted(local: &Local, failure: Option<Failure>, signals: &mut Signals) -> Fatal {
    let identity = local.own.current();
    tracing::error!(
        node.id = %identity.node_id,
        error = failure.as_ref().map(told),
        "node_evicted"
    );
    // First, so that it is not forgotten if this process ends now.
    if let Err(error) = local.own.remember_eviction().await {
        tracing::error!(%error, "eviction_not_remembered");
    }
    // A task that is just being started fails by it, and is to stop anyway.
    local.vault.wipe();
    let started_at = clock::now();
    let stands = tokio::select! {
        () = local.worker.stop_all() => {
            let took_ms = clock::now().ms_since(started_at);
            tracing::info!(
                node.id = %identity.node_id, took_ms, "tasks_stopped_and_secrets_unmounted"
            );
            "its tasks are stopped and their secrets unmounted"
        }
        name = signals.next() => {
            tracing::warn!(signal = name, "tasks_left_running");
            "it was ended before all of its tasks were; start it again to have them stopped"
        }
    };
    let fatal = Fatal::new(format!("node {} was evicted from its cluster", identity.node_id))
        .code(EVICTED)
        .hint(stands)
        .hint(
            "to bring this machine back, join with a new token: \
             `secret-agent --join - --manager HOST:PORT`",
        );
    match failure {
        Some(failure) => fatal.because(told(&failure)),
        None => fatal,
    }
}

fn worker_ended(result: Result<(), tokio::task::JoinError>) -> Fatal {
    match result {
        Ok(()) => Fatal::new("the worker ended without being told to"),
        Err(error) => Fatal::of(&error),
    }
}

/// The signals that end this program.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Fatal> {
        let listen = |kind| signal(kind).map_err(|error| Fatal::of(&error));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
