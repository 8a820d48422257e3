//! Serving: everything a manager runs once its keys are open, started and stopped in order.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use link::accept::{Connections, accept_tls};
use link::tls::{self, Cluster, OwnCertificate};
use proto::id::Incarnation;
use seal::{KeyFileContents, KeyFileOwner, Recipient, SlotKind, SlotPublicKey};
use sys::file::Folder;
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::authorities::{self, Known};
use super::room::Room;
use super::turn::{self, Turning};
use super::{
    Event, Manager, ManagerError, STOP_WITHIN, Shared, incarnation, names, renew, reseal, rotate,
    rotate_root,
};
use crate::config::Options;
use crate::disk::{Disk, SledDisk};
use crate::dispatcher::Dispatcher;
use crate::events::Events;
use crate::front::grpc::serve_remote;
use crate::front::{Phase, Serving, Stage};
use crate::keys::{Chain, HeldKeys, Keyring, Unlocked, credentials};
use crate::leader::{self, Inbox};
use crate::raft::{Fatal, LogKeys, Pool, Raft, Start, StartError};
use crate::report::{self, Outbox};
use crate::roots::Roots;
use crate::service::{
    BackupDesk, Comparing, Denials, DiskRoom, Figures, KeyDesk, LocalFacts, MemberWatch, Moves,
    Releases, Service,
};

/// How often a manager without a leader asks the others whether they removed it.
const LOOK_FOR_REMOVAL_EVERY: Duration = Duration::from_secs(2);

/// What a manager needs to serve.
pub(super) struct Unsealed {
    pub(super) owner: KeyFileOwner,
    /// Whom the key file is sealed to.
    pub(super) recipients: Vec<Recipient>,
    pub(super) contents: KeyFileContents,
    pub(super) by: SlotKind,
    /// The slot that an operator opened it with.
    pub(super) brought: Option<SlotPublicKey>,
    pub(super) chain: Chain,
    pub(super) own: Arc<OwnCertificate>,
    /// Where other machines reach this one.
    pub(super) address: String,
}

impl Unsealed {
    /// Puts together what the key file held and what lies beside it.
    pub(super) fn from_disk(
        unlocked: Unlocked,
        folder: &Folder,
        address: String,
    ) -> Result<Self, ManagerError> {
        let (chain, own) = Chain::read(folder, &unlocked.contents.tls_key)?;
        let Unlocked { owner, recipients, contents, by, brought } = unlocked;
        Ok(Self { owner, recipients, contents, by, brought, chain, own, address })
    }

    pub(super) fn cluster(&self) -> Cluster {
        Cluster { realm: self.owner.disk.realm, incarnation: self.owner.disk.incarnation }
    }
}

fn tls_failed(error: tls::TlsError) -> ManagerError {
    ManagerError::Keys(Box::new(error))
}

/// A serving manager.
pub(super) struct Running {
    pub(super) serving: Arc<Serving>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    duties: TaskTracker,
    /// Stops the duties and closes the sessions.
    stop_duties: CancellationToken,
    /// Stops the port.
    stop_port: CancellationToken,
}

impl Running {
    /// Opens the log, takes part in Raft, opens the port.
    pub(super) async fn start(
        manager: Manager,
        unsealed: Unsealed,
        listener: TcpListener,
    ) -> Result<Self, ManagerError> {
        let shared = &manager.0;
        let docker_port = names::open(&manager).await?;
        let cluster = unsealed.cluster();
        let (met, later) = watch::channel(cluster.incarnation);
        let trust = credentials::trust(&shared.folder, &unsealed.chain.authorities)?;
        let to_peers = tls::peer_config(unsealed.own.clone(), trust.clone(), cluster, met)
            .map_err(tls_failed)?;
        let for_clients = tls::manager_config(unsealed.own.clone(), trust.clone(), cluster)
            .map_err(tls_failed)?;
        let Unsealed { owner, recipients, contents, by, brought, own, address, chain } = unsealed;
        let known = Arc::new(Known::new(own.clone(), trust.clone(), chain.authorities));
        let KeyFileContents { roots, logs, active_log, .. } = &contents;
        let keyring = Arc::new(Keyring::new(owner.disk.realm, roots.clone()));
        let log_keys = Arc::new(LogKeys::new(owner.disk, logs.clone(), *active_log));
        let keys = Arc::new(HeldKeys::new(shared.key_file.clone(), owner, recipients, contents));

        let disk = open_disk(shared.folder.try_clone()?).await?;
        let raft = Raft::start(Start {
            disk: disk.clone(),
            keys: log_keys,
            pool: Pool::new(owner.disk.member, to_peers),
            profile: shared.options.profile,
            fatal: ends_with(shared.events.clone()),
        })
        .await?;
        let local = local_facts(shared, by, brought, cluster.incarnation);
        let connections = Connections::new();
        let service = Arc::new(Service {
            roots: Roots::new(raft.clone(), keyring.clone(), keys.clone()),
            key_desk: KeyDesk::new(keys.clone(), &raft),
            backup_desk: BackupDesk::default(),
            raft,
            keyring,
            keys,
            denials: Arc::new(Denials::default()),
            connections: connections.clone(),
            members: MemberWatch::default(),
            releases: Releases::default(),
            own_uid: super::own_uid(),
            disk: DiskRoom::default(),
            figures: Figures::default(),
            moves: Moves::default(),
            comparing: Comparing::default(),
            local,
        });
        let stop_duties = CancellationToken::new();
        let stop_port = CancellationToken::new();
        let (inbox, outbox) = (Arc::new(Inbox::default()), Arc::new(Outbox::default()));
        let dispatcher = Dispatcher::new(service.clone(), outbox.clone(), stop_duties.clone());
        let serving = Arc::new(Serving {
            service: service.clone(),
            inbox: inbox.clone(),
            dispatcher: dispatcher.clone(),
            events: tell_events(&shared.options, &service),
            address,
        });

        let duties = TaskTracker::new();
        duties.spawn(leader::duties(service.clone(), inbox.clone(), stop_duties.clone()));
        follow_keys(&duties, &service, &outbox, &stop_duties, turning(&manager, &service)?);
        duties.spawn(report::report(service.clone(), outbox, inbox, stop_duties.clone()));
        duties.spawn(dispatcher.clone().follow_changes());
        duties.spawn(dispatcher.watch_quorum());
        let room = Room::new(disk, &shared.folder, shared.options.disk_reserve_bytes)?;
        duties.spawn(room.watch(service.clone(), stop_duties.clone()));
        follow_authorities(&manager, &duties, service, own, known, &stop_duties);
        watch_for_the_end(&manager, &serving, later, &duties, &stop_duties);
        let stop = stop_duties.clone();
        names::serve_if_asked(&manager, &serving, docker_port, (trust, cluster), &duties, stop);
        duties.close();

        shared.phase.send_replace(Phase::Serving(serving.clone()));
        let bound = listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
        let config = Arc::new(ArcSwap::new(for_clients));
        let accepted = accept_tls(listener, config, connections, stop_port.clone());
        let stage = Stage::new(shared.phase.subscribe());
        let stopped = stop_port.clone().cancelled_owned();
        let server = tokio::spawn(serve_remote(stage, accepted, stopped));
        tell(&owner, &serving, &bound);
        Ok(Self { serving, server, duties, stop_duties, stop_port })
    }

    /// Lets another manager lead, if this one does and there is another.
    pub(super) async fn hand_over(&self) {
        self.serving.service.raft.hand_over().await;
    }

    /// Closes sessions and the port, stops Raft.
    pub(super) async fn stop(self) {
        let raft = self.serving.service.raft.clone();
        self.stop_duties.cancel();
        self.stop_port.cancel();
        raft.shut_down().await;
        let mut server = self.server;
        if tokio::time::timeout(STOP_WITHIN, &mut server).await.is_err() {
            // Streams of peers and agents end only with their connections.
            server.abort();
        }
        if tokio::time::timeout(STOP_WITHIN, self.duties.wait()).await.is_err() {
            tracing::warn!("duties_not_finished");
        }
    }
}

fn local_facts(
    shared: &Shared,
    by: SlotKind,
    brought: Option<SlotPublicKey>,
    incarnation: Incarnation,
) -> LocalFacts {
    LocalFacts {
        memory_protection: shared.protection.clone(),
        unlocked_by: by.as_str().into(),
        brought,
        incarnation,
    }
}

/// Has the state machine tell what happens, if there is a front that passes it on.
fn tell_events(options: &Options, service: &Service) -> Arc<Events> {
    let events = Arc::new(Events::default());
    if options.docker_socket.is_some() || options.docker_address.is_some() {
        service.raft.machine.tell(events.clone());
    }
    events
}

fn tell(owner: &KeyFileOwner, serving: &Serving, bound: &str) {
    tracing::info!(
        member = %owner.disk.member, node.id = %owner.node_id, listen = bound,
        address = serving.address, unlocked_by = serving.service.local.unlocked_by,
        "manager_serving"
    );
}

/// What turning needs of a manager.
fn turning(manager: &Manager, service: &Arc<Service>) -> Result<Turning, ManagerError> {
    let shared = &manager.0;
    Ok(Turning {
        service: service.clone(),
        place: shared.boot.clone(),
        folder: shared.folder.try_clone()?,
        events: shared.events.clone(),
        opened_by: shared.opened.grant(),
    })
}

/// Follows what the cluster wants of this manager's keys.
fn follow_keys(
    duties: &TaskTracker,
    service: &Arc<Service>,
    outbox: &Arc<Outbox>,
    stop: &CancellationToken,
    turning: Turning,
) {
    duties.spawn(turn::follow(turning, stop.clone()));
    duties.spawn(reseal::follow(service.clone(), outbox.clone(), stop.clone()));
    duties.spawn(rotate_root::follow(service.clone(), outbox.clone(), stop.clone()));
    duties.spawn(rotate::keep_log_key(service.clone(), stop.clone()));
}

/// Follows which CAs there are, and keeps a certificate of the newest.
fn follow_authorities(
    manager: &Manager,
    duties: &TaskTracker,
    service: Arc<Service>,
    own: Arc<OwnCertificate>,
    known: Arc<Known>,
    stop: &CancellationToken,
) {
    let (manager, stop) = (manager.clone(), stop.clone());
    let follow = authorities::follow(manager.clone(), service.clone(), known.clone(), stop.clone());
    duties.spawn(follow);
    duties.spawn(renew::keep_renewed(manager, service, own, known, stop));
}

/// Ends the manager when its disk fails.
fn ends_with(events: UnboundedSender<Event>) -> Fatal {
    Box::new(move |error| {
        tracing::error!(%error, runbook = error.runbook(), "log_failed");
        // Nobody listens when the manager is stopping anyway.
        drop(events.send(Event::Fatal(error.to_string())));
    })
}

/// Watches for what ends a manager, or should.
fn watch_for_the_end(
    manager: &Manager,
    serving: &Serving,
    later: watch::Receiver<Incarnation>,
    duties: &TaskTracker,
    stop: &CancellationToken,
) {
    let (service, events) = (&serving.service, manager.0.events.clone());
    let own = service.local.incarnation;
    duties.spawn(watch_removal(service.clone(), stop.clone()));
    duties.spawn(watch_raft(service.raft.clone(), events, stop.clone()));
    duties.spawn(watch_later_life(manager.clone(), own, later, stop.clone()));
}

/// Opens the store of records, off the runtime: a large one takes seconds.
pub(super) async fn open_disk(folder: Folder) -> Result<Arc<dyn Disk>, ManagerError> {
    let opening = tokio::task::spawn_blocking(move || SledDisk::open(folder)).await;
    let disk = opening
        .map_err(|error| ManagerError::Stopped(error.to_string()))?
        .map_err(|error| StartError::Log(error.into()))?;
    Ok(Arc::new(disk))
}

/// Tells in the log, once, when others say that the cluster removed this manager. It goes on: they
/// may be wrong, and a leader that a majority confirms to it again proves that.
async fn watch_removal(service: Arc<Service>, stop: CancellationToken) {
    let mut told = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_FOR_REMOVAL_EVERY) => {}
        }
        // Who leads is not asked: whoever was removed while it was away remembers a leader.
        if service.raft.barrier().await.is_ok() {
            told = false;
            continue;
        }
        let by = service.removed_by().await;
        if !by.is_empty() && !told {
            tracing::error!(
                member = %service.raft.me,
                said_by = ?by,
                runbook = "docs/operations/evicted-manager.md",
                "manager_removed"
            );
            told = true;
        }
    }
}

/// Ends the manager for good when another showed a certificate of a later life of the cluster: agents
/// that have not met it must not take this one for the cluster.
async fn watch_later_life(
    manager: Manager,
    own: Incarnation,
    mut met: watch::Receiver<Incarnation>,
    stop: CancellationToken,
) {
    let now = tokio::select! {
        () = stop.cancelled() => return,
        now = met.wait_for(|met| *met > own) => match now {
            Ok(now) => *now,
            Err(_) => return,
        },
    };
    let error = incarnation::supersede(&manager.0.folder, own, now);
    tracing::error!(%error, "manager_superseded");
    // Nobody listens when the manager is stopping anyway.
    drop(manager.0.events.send(Event::Superseded(error)));
}

/// Ends the manager when Raft ends by itself.
async fn watch_raft(raft: Raft, events: UnboundedSender<Event>, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        reason = raft.failed() => {
            tracing::error!(reason, "raft_failed");
            // Nobody listens when the manager is stopping anyway.
            drop(events.send(Event::Fatal(reason)));
        }
    }
}
