//! The manager as a whole: its phases, its doors, its end.
//!
//! Empty until it founds or joins a cluster, locked until its key file opens, then serving. The
//! unix socket is open throughout; the port only while it serves. Not here: what it does for its
//! callers (service), who leads (raft, leader).
//!
//! Invariants: one manager per data folder; the log is opened only with the key file that belongs
//! to it; what cannot be persisted ends the process.

mod ask;
mod authorities;
mod found;
mod incarnation;
mod join;
mod leave;
mod names;
mod renew;
mod reseal;
mod restore;
mod room;
mod rotate;
mod rotate_root;
mod serve;
mod shares;
mod turn;
mod unlock;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use link::Failure;
use link::accept::{Connections, accept_unix};
use proto::{Kind, pb};
use sys::file::{FileError, Folder, PRIVATE_FILE_MODE};
use sys::notify::{Standing, notify};
use sys::slab::Protection;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::serve::{Running, Unsealed};
use crate::config::Options;
use crate::disk::{Presence, SledDisk};
use crate::front::grpc::{Incoming, LocalCalls, Outgoing, serve_local};
use crate::front::{Phase, Stage, docker, http};
use crate::keys::{
    AddressBook, BootFileError, BootPlace, CredentialsError, KeyFile, KeyFileError, Unlocking,
    credentials,
};
use crate::raft::{SNAPSHOT_PREFIX, StartError};

/// The file that keeps two managers from using one folder.
const LOCK: &str = "lock";

/// There while a cluster is founded or joined, and until its log was first opened: what it leaves
/// behind may be thrown away. Without it, a key file without a log is a damaged manager.
const UNFINISHED: &str = "unfinished";

/// Where other machines reach this one, as it said when it founded or joined.
const ADDRESS: &str = "address";

/// How often a locked manager looks for its seed.
const UNLOCK_EVERY: Duration = Duration::from_secs(2);

/// How long open calls may take to end when a manager stops.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// A manager cannot start, or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManagerError {
    /// A file or folder cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its keys cannot be read.
    #[error("the keys cannot be used")]
    Keys(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Its disk or Raft failed.
    #[error("the log cannot be used")]
    Start(#[from] StartError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Something of the operating system failed.
    #[error("{what}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its keys would lie in memory like anything else.
    #[error(
        "keys can be neither hidden nor locked in memory: memfd_secret(2) and mlock(2) are refused \
         to this process; raise the limit of locked memory (`ulimit -l`, LimitMEMLOCK=), or accept \
         it with --allow-unlocked-memory"
    )]
    Unprotected,
    /// The data folder holds a log and no key file, or the other way round.
    #[error("{}", .0)]
    Incomplete(String),
    /// The cluster went on without it.
    #[error(
        "this manager belongs to incarnation {own}; the cluster is now {now}: empty its data folder \
         and join anew: docs/operations/evicted-manager.md"
    )]
    Superseded {
        /// Its own incarnation.
        own: String,
        /// The one that it met.
        now: String,
    },
    /// There is no new cluster to begin, or there must not be.
    #[error("--force-new-cluster was not carried out: {}", .0)]
    NotForced(String),
    /// It could not go on: what it cannot persist it must not acknowledge.
    #[error("stopped: {}", .0)]
    Stopped(String),
}

impl From<KeyFileError> for ManagerError {
    fn from(error: KeyFileError) -> Self {
        Self::Keys(Box::new(error))
    }
}

impl From<BootFileError> for ManagerError {
    fn from(error: BootFileError) -> Self {
        Self::Keys(Box::new(error))
    }
}

impl From<CredentialsError> for ManagerError {
    fn from(error: CredentialsError) -> Self {
        Self::Keys(Box::new(error))
    }
}

/// What ends a serving manager's round.
enum Event {
    /// It cannot go on.
    Fatal(String),
    /// It left its cluster and starts anew.
    Left,
    /// It met a later life of its cluster.
    Superseded(ManagerError),
}

/// What founding, joining, leaving and serving share.
struct Shared {
    options: Options,
    protection: String,
    folder: Folder,
    key_file: Arc<KeyFile>,
    boot: BootPlace,
    phase: watch::Sender<Phase>,
    /// Held by whoever changes the phase.
    running: Mutex<Option<Running>>,
    events: mpsc::UnboundedSender<Event>,
    /// What an operator opened while the manager was locked, on its way to who serves with it.
    opened: unlock::Opened,
}

/// A handle for the local front.
#[derive(Clone)]
struct Manager(Arc<Shared>);

/// Runs a manager until it is told to stop by SIGTERM or SIGINT.
///
/// # Errors
///
/// If it cannot start, or cannot go on.
pub async fn run(mut options: Options) -> Result<(), ManagerError> {
    let system = |what| move |source| ManagerError::System { what, source };
    let protection = crate::memory::install()
        .map_err(|error| system("cannot take memory for keys")(io::Error::other(error)))?;
    if protection == Protection::None && !options.allow_unlocked_memory {
        return Err(ManagerError::Unprotected);
    }
    let protection = protection.as_str().to_owned();
    let mut terminate = signal(SignalKind::terminate()).map_err(system("cannot catch SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("cannot catch SIGINT"))?;
    let folder = Folder::create_private(&options.data)?;
    let _lock = folder.lock(LOCK)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"), data = %options.data.display(),
        memory_protection = protection, "manager_starting"
    );
    incarnation::check_not_superseded(&folder)?;
    incarnation::settle(&folder)?;
    KeyFile::new(folder.try_clone()?, options.unlock_seed.clone()).remove_leftovers()?;
    BootPlace::new(options.boot_file.clone(), None).remove_leftovers()?;
    AddressBook::remove_leftovers(&folder)?;
    loop {
        let (events, mut happened) = mpsc::unbounded_channel();
        let (phase, seen) = watch::channel(Phase::Starting);
        let manager = Manager(Arc::new(Shared {
            protection: protection.clone(),
            key_file: Arc::new(KeyFile::new(folder.try_clone()?, options.unlock_seed.clone())),
            boot: BootPlace::new(options.boot_file.clone(), options.boot_file_key.clone()),
            folder: folder.try_clone()?,
            options: options.clone(),
            phase,
            running: Mutex::new(None),
            events,
            opened: unlock::Opened::default(),
        }));
        let doors = Doors::open(&manager, &Stage::new(seen)).await?;
        let ended = tokio::select! {
            _ = terminate.recv() => Ok(None),
            _ = interrupt.recv() => Ok(None),
            event = happened.recv() => Ok(event),
            Err(error) = manager.unlock() => Err(error),
        };
        told(Standing::Stopping);
        manager.stop().await;
        doors.close().await;
        match ended? {
            None => {
                tracing::info!("manager_stopped");
                return Ok(());
            }
            Some(Event::Fatal(reason)) => return Err(ManagerError::Stopped(reason)),
            Some(Event::Superseded(error)) => return Err(error),
            Some(Event::Left) => {
                tracing::info!("cluster_left");
                // It was meant for the cluster that was left.
                options.force_new_cluster = false;
            }
        }
    }
}

fn told(standing: Standing) {
    if let Err(error) = notify(standing) {
        tracing::warn!(%error, "service_manager_not_told");
    }
}

/// The doors that are open in every phase.
struct Doors {
    stop: CancellationToken,
    servers: Vec<tokio::task::JoinHandle<()>>,
    sockets: Vec<PathBuf>,
}

impl Doors {
    async fn open(manager: &Manager, stage: &Stage) -> Result<Self, ManagerError> {
        let options = &manager.0.options;
        let stop = CancellationToken::new();
        let socket = options.socket.clone();
        let listener = listen_unix(&socket).await?;
        let accepted = accept_unix(listener, Connections::new(), stop.clone());
        let stopped = stop.clone().cancelled_owned();
        let local = serve_local(stage.clone(), manager.clone(), accepted, stopped);
        let mut sockets = vec![socket.clone()];
        let mut servers = vec![tokio::spawn(async move {
            if let Err(error) = local.await {
                tracing::error!(%error, "local_server_failed");
            }
        })];
        if let Some(path) = &options.docker_socket {
            let accepted = accept_unix(listen_unix(path).await?, Connections::new(), stop.clone());
            servers.push(tokio::spawn(docker::serve(
                stage.clone(),
                manager.clone(),
                docker::Engine::at(options.docker_engine.clone()),
                accepted,
                stop.clone(),
            )));
            sockets.push(path.clone());
            tracing::info!(socket = %path.display(), "docker_front_listening");
        }
        if let Some(address) = options.http {
            let listener = listen(address).await?;
            let http = http::serve(stage.clone(), listener, stop.clone());
            servers.push(tokio::spawn(async move {
                if let Err(error) = http.await {
                    tracing::error!(%error, "http_server_failed");
                }
            }));
        }
        tracing::info!(socket = %socket.display(), "listening");
        Ok(Self { stop, servers, sockets })
    }

    async fn close(self) {
        self.stop.cancel();
        for server in self.servers {
            let mut server = server;
            if tokio::time::timeout(STOP_WITHIN, &mut server).await.is_err() {
                server.abort();
            }
        }
        for socket in self.sockets {
            if let Err(error) = std::fs::remove_file(&socket) {
                tracing::debug!(%error, "socket_not_removed");
            }
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ManagerError> {
    let failed = |source| ManagerError::Listen { address: address.to_string(), source };
    TcpListener::bind(address).await.map_err(failed)
}

/// Listens on a unix socket that only this user may open, in a folder only it may enter.
async fn listen_unix(path: &Path) -> Result<UnixListener, ManagerError> {
    use std::os::unix::fs::PermissionsExt as _;
    let failed = |source| ManagerError::Listen { address: path.display().to_string(), source };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    Folder::create_private(parent.unwrap_or_else(|| Path::new(".")))?;
    if UnixStream::connect(path).await.is_ok() {
        return Err(failed(io::ErrorKind::AddrInUse.into()));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    let mode = std::fs::Permissions::from_mode(PRIVATE_FILE_MODE);
    std::fs::set_permissions(path, mode).map_err(failed)?;
    Ok(listener)
}

/// Reads a small text that may be missing.
fn read_text(folder: &Folder, name: &str) -> Result<Option<String>, FileError> {
    match folder.read(name, proto::limits::ADDRESS_BYTES_MAX) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned())),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

impl Manager {
    /// Opens the key file, now or once its seed is there or an operator opened it, and serves;
    /// returns only when that fails.
    async fn unlock(&self) -> Result<std::convert::Infallible, ManagerError> {
        let shared = &self.0;
        let mut told_locked = false;
        // They are tried as long as it is locked.
        let mut tries = Vec::new();
        loop {
            let mut running = shared.running.lock().await;
            let unlocked = match shared.key_file.unlock()? {
                Unlocking::Unlocked(unlocked) => unlocked,
                Unlocking::Locked(needed) => {
                    if !told_locked {
                        let slots: Vec<_> = needed.slots.iter().map(|s| s.kind.as_str()).collect();
                        let key = needed.unlock_key().map(|id| id.to_string());
                        let seed = needed.seed.as_ref().map(|path| path.display().to_string());
                        tracing::warn!(?slots, key, seed, "manager_locked");
                        told(Standing::Ready);
                        told_locked = true;
                        let commands = self.clone().try_commands(needed.slots.clone());
                        let peers = self.clone().ask_peers(needed.slots.clone(), needed.disk);
                        tries.push(AbortOnDropHandle::new(tokio::spawn(commands)));
                        tries.push(AbortOnDropHandle::new(tokio::spawn(peers)));
                    }
                    shared.phase.send_replace(Phase::Locked(Arc::new(needed)));
                    drop(running);
                    // Whether the time passed or there are news, what counts is what is there.
                    shared.opened.news(UNLOCK_EVERY).await;
                    running = shared.running.lock().await;
                    match shared.opened.take() {
                        Some(unlocked) => unlocked,
                        None => continue,
                    }
                }
                Unlocking::Empty if shared.options.force_new_cluster => {
                    return Err(ManagerError::NotForced(format!(
                        "{} holds no cluster; to make one: `secretctl cluster init`",
                        shared.folder.path().display()
                    )));
                }
                Unlocking::Empty => {
                    shared.clear_unfinished()?;
                    shared.phase.send_replace(Phase::Empty);
                    tracing::info!("manager_empty");
                    told(Standing::Ready);
                    drop(running);
                    return std::future::pending().await;
                }
            };
            shared.phase.send_replace(Phase::Starting);
            tries.clear();
            shared.check_log_is_there()?;
            let unlocked = shared.forced_if_asked(unlocked).await?;
            let address = read_text(&shared.folder, ADDRESS)?.unwrap_or_default();
            let listener = listen(shared.listen_address(&address)).await?;
            let unsealed = Unsealed::from_disk(*unlocked, &shared.folder, address)?;
            *running = Some(Running::start(self.clone(), unsealed, listener).await?);
            shared.folder.remove_if_there(UNFINISHED)?;
            told(Standing::Ready);
            drop(running);
            return std::future::pending().await;
        }
    }

    /// Stops serving, in order.
    async fn stop(&self) {
        let running = self.0.running.lock().await.take();
        // Its peers are answered until another leads: it learns of that from them.
        if let Some(running) = &running {
            running.hand_over().await;
        }
        self.0.phase.send_replace(Phase::Stopping);
        if let Some(running) = running {
            running.stop().await;
        }
    }
}

impl Shared {
    /// Where to listen: as configured; a port that was left to the kernel stays the one it was.
    fn listen_address(&self, known: &str) -> SocketAddr {
        let mut address = self.options.listen;
        let port = known.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        if let (0, Some(port)) = (address.port(), port) {
            address.set_port(port);
        }
        address
    }

    /// Where other machines reach this manager: as asked, as configured, or as the routing table
    /// would have it.
    fn advertised(&self, asked: &str, listening: SocketAddr) -> Result<String, Failure> {
        let configured = self.options.advertise.clone().unwrap_or_default();
        let given = if asked.is_empty() { configured } else { asked.to_owned() };
        if !given.is_empty() {
            // A host alone goes with the port that is listened on.
            let has_port = given.parse::<SocketAddr>().is_ok()
                || given
                    .rsplit_once(':')
                    .is_some_and(|(host, port)| !host.contains(':') && port.parse::<u16>().is_ok());
            return Ok(if has_port { given } else { format!("{given}:{}", listening.port()) });
        }
        if !listening.ip().is_unspecified() {
            return Ok(listening.to_string());
        }
        let ip = own_address().ok_or_else(|| {
            Failure::new(Kind::Invalid, "this machine's address could not be found out")
                .because(format!("it listens on {listening} and has no default route"))
                .hint("name it: `--advertise HOST:PORT`")
        })?;
        Ok(SocketAddr::new(ip, listening.port()).to_string())
    }

    /// Throws away what founding or joining left behind when it was cut short.
    fn clear_unfinished(&self) -> Result<(), ManagerError> {
        if read_text(&self.folder, UNFINISHED)?.is_none() {
            if SledDisk::presence(&self.folder)? != Presence::Nothing {
                return Err(ManagerError::Incomplete(format!(
                    "{} holds a log and no key file: without its keys it cannot be read; put the \
                     key file back, or empty the folder and join anew: \
                     docs/operations/replace-manager.md",
                    self.folder.path().display()
                )));
            }
            return Ok(());
        }
        tracing::warn!("unfinished_start_cleared");
        SledDisk::destroy(&self.folder, SNAPSHOT_PREFIX)?;
        credentials::remove(&self.folder)?;
        AddressBook::remove(&self.folder)?;
        self.boot.remove()?;
        incarnation::forget_forced(&self.folder)?;
        self.folder.remove_if_there(ADDRESS)?;
        Ok(self.folder.remove_if_there(UNFINISHED)?)
    }

    /// A key file without a log is a manager that has forgotten its votes: it must not take part.
    fn check_log_is_there(&self) -> Result<(), ManagerError> {
        let unfinished = read_text(&self.folder, UNFINISHED)?.is_some();
        if unfinished || SledDisk::presence(&self.folder)? == Presence::Whole {
            return Ok(());
        }
        Err(ManagerError::Incomplete(format!(
            "{} holds a key file and no log: this manager has forgotten how it voted and must not \
             take part; replace it: docs/operations/replace-manager.md",
            self.folder.path().display()
        )))
    }

    /// Refuses unless the manager is empty.
    fn must_be_empty(&self) -> Result<(), Failure> {
        match &*self.phase.borrow() {
            Phase::Empty => Ok(()),
            Phase::Starting => Err(Failure::new(Kind::Unavailable, "this manager is starting")),
            Phase::Serving(_) => {
                Err(Failure::new(Kind::Precondition, "this manager is part of a cluster already")
                    .hint("to leave it for good: `secretctl cluster leave`"))
            }
            Phase::Locked(_) => Err(Failure::new(Kind::Locked, "this manager is locked")
                .because("it is part of a cluster already")
                .hint("to open it: `secretctl cluster unlock`")),
            Phase::Stopping => Err(Failure::new(Kind::Unavailable, "this manager is stopping")),
        }
    }
}

/// The address from which this machine would reach others; nothing is sent.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    // An address for documentation (RFC 5737): only the routing table is asked.
    socket.connect(("192.0.2.1", 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// A failure of this machine, told to the operator who is on it.
fn local_failure(error: impl Into<ManagerError>) -> Failure {
    let error = error.into();
    let mut failure = Failure::new(Kind::Precondition, error.to_string());
    let mut because = Vec::new();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        because.push(error.to_string());
        source = error.source();
    }
    if !because.is_empty() {
        failure = failure.because(because.join(": "));
    }
    failure
}

impl LocalCalls for Manager {
    fn admits(&self, uid: u32) -> Result<(), Failure> {
        let own = own_uid();
        if uid == 0 || uid == own {
            return Ok(());
        }
        Err(Failure::new(Kind::Denied, format!("uid {uid} may not use this manager's socket"))
            .hint(format!("run the command as root or as uid {own}")))
    }

    fn status(&self) -> pb::LocalStatus {
        let mut status = pb::LocalStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            memory_protection: self.0.protection.clone(),
            ..pb::LocalStatus::default()
        };
        let phase = self.0.phase.borrow();
        if let Phase::Locked(needed) = &*phase {
            status.slots = needed.slots.iter().map(|slot| slot.kind.as_str().into()).collect();
            // Asked on its own machine, by those who may read the key file itself.
            status.key_file_slots = needed.slots.iter().map(described).collect();
            status.key_file_generation = needed.generation;
            let key = needed.unlock_key().map(|id| id.as_bytes().to_vec().into());
            status.unlock_key_id = key.unwrap_or_default();
            let seed = needed.seed.as_ref().map(|path| path.display().to_string());
            status.seed_path = seed.unwrap_or_default();
            status.entered_shares = self.0.opened.entered();
            status.failed_commands = self.0.opened.failed_commands();
            status.peers_refusal = self.0.opened.peers_refusal();
        }
        if let Phase::Serving(serving) = &*phase {
            let service = &serving.service;
            status.member = service.raft.me.0;
            status.address.clone_from(&serving.address);
            status.unlocked_by.clone_from(&service.local.unlocked_by);
            status.key_file_generation = service.keys.identity().generation;
            let state = service.raft.machine.state();
            if let Some(cluster) = state.cluster() {
                status.realm = cluster.realm.as_bytes().to_vec().into();
                status.incarnation = cluster.incarnation.0;
            }
            if let Some(member) = state.member(service.raft.me) {
                status.node_id = member.node_id.to_string();
            }
        }
        status
    }

    async fn init(&self, request: pb::InitRequest) -> Result<pb::InitResponse, Failure> {
        self.found(request).await
    }

    async fn join(&self, request: pb::JoinRequest) -> Result<pb::JoinResponse, Failure> {
        self.join_cluster(request).await
    }

    async fn restore(&self, incoming: Incoming, outgoing: Outgoing) {
        let restored = self.restore_from(incoming, &outgoing).await;
        let answer = restored.map(|restored| pb::RestoreResponse {
            part: Some(pb::restore_response::Part::Restored(restored)),
        });
        // Who asked may be gone.
        drop(outgoing.send(answer.map_err(Into::into)).await);
    }

    async fn unlock(
        &self,
        uid: u32,
        request: pb::UnlockRequest,
    ) -> Result<pb::UnlockResponse, Failure> {
        self.unlock_with(uid, request).await
    }

    async fn enter_share(
        &self,
        uid: u32,
        request: pb::EnterShareRequest,
    ) -> Result<pb::EnterShareResponse, Failure> {
        self.take_share(uid, request).await
    }

    async fn leave(
        &self,
        uid: u32,
        request: pb::LeaveRequest,
    ) -> Result<pb::LeaveResponse, Failure> {
        self.leave_cluster(uid, &request).await
    }
}

/// The uid this manager runs as.
/// A slot as a key file tells of it.
fn described(slot: &seal::Recipient) -> pb::SlotInfo {
    pb::SlotInfo {
        id: slot.public.id().as_bytes().to_vec().into(),
        kind: slot.kind.as_str().into(),
        public_key: slot.public.as_bytes().clone(),
        parameters: slot.parameters.clone().into(),
        ..pb::SlotInfo::default()
    }
}

fn own_uid() -> u32 {
    sys::user::current_uid()
}
