//! The Docker front's port: for clients that look for names in a server's certificate.
//!
//! A manager's own certificate has none: who talks to managers knows them by their cluster. So this port
//! has a certificate of its own, signed by this manager with the cluster's CA, for the names by which it
//! is reached. Its key is in this process only. It names nobody of the cluster, and none of its members
//! takes it for one of theirs. Who may use the port is what the other port goes by, too: the same CAs,
//! certificates that are refused, list of connections that are cut. Not here: what is answered (`front`).
//!
//! Invariant: nobody gets past the handshake without the certificate of an operator of this cluster.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use link::accept::accept_tls;
use link::certificate::make_key_pair;
use link::tls::{self, Cluster, OwnCertificate};
use link::trust::{Authorities, Trust};
use proto::id::Timestamp;
use proto::identity::Role;
use rustls_pki_types::CertificateDer;
use seal::SigningKeyDer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Manager, ManagerError, listen};
use crate::ca;
use crate::front::docker::{self, Engine, host_of};
use crate::front::{Serving, Stage};
use crate::raft::cluster_changed;
use crate::service::now;

/// How long such a certificate lives: a week, of which a new one is made each day. A manager that runs
/// makes one whenever it starts.
const LIFE_MS: u64 = 7 * 24 * 3600 * 1000;
const MADE_EVERY: Duration = Duration::from_secs(24 * 3600);

/// How long until it is tried again, where the cluster or its keys are not there yet.
const TRIED_EVERY: Duration = Duration::from_millis(200);

/// The same for the next one, while there is one.
const RENEWED_WITHIN: Duration = Duration::from_secs(60);

/// What a certificate is made from.
struct Made {
    certificate: CertificateDer<'static>,
    authorities: Authorities,
    key: SigningKeyDer,
}

/// The names by which a manager is reached.
fn names(serving: &Serving, listening: SocketAddr) -> Vec<String> {
    let state = serving.service.raft.machine.state();
    let member = state.member(serving.service.raft.me);
    let node = member.and_then(|member| state.node(member.node_id));
    let mut names = vec![host_of(&serving.address).to_owned()];
    names.extend(node.map(|node| node.hostname.to_string()));
    if !listening.ip().is_unspecified() {
        names.push(listening.ip().to_string());
    }
    names.sort();
    names.dedup();
    names
}

fn make(serving: &Serving, listening: SocketAddr) -> Result<Made, String> {
    let names = names(serving, listening);
    let service = &serving.service;
    let (issuer, authorities) = {
        let state = service.raft.machine.state();
        (state.issuer(Role::Manager).cloned(), ca::authorities(&state))
    };
    let cluster = service.cluster().map_err(|failure| failure.message)?;
    let issuer = issuer.unwrap_or_else(|| cluster.authority.clone());
    let authorities = authorities.ok_or("the cluster has no CA")?;
    let pair = make_key_pair().map_err(|error| error.to_string())?;
    let at = now();
    let times = (at, Timestamp(at.0.saturating_add(LIFE_MS)));
    let made = ca::issue_for_names(&service.keyring, &issuer, &names, &pair.public, times);
    let certificate = made.map_err(|error| error.to_string())?;
    Ok(Made { certificate, authorities, key: pair.private })
}

/// Opens the port, if there is to be one. Before anything else of a manager is begun.
///
/// # Errors
///
/// If its address cannot be listened on.
pub(super) async fn open(manager: &Manager) -> Result<Option<TcpListener>, ManagerError> {
    match manager.0.options.docker_address {
        Some(address) => Ok(Some(listen(address).await?)),
        None => Ok(None),
    }
}

/// Has the port served until `stop`, if it was opened.
pub(super) fn serve_if_asked(
    manager: &Manager,
    serving: &Arc<Serving>,
    listener: Option<TcpListener>,
    for_clients: (Trust, Cluster),
    duties: &TaskTracker,
    stop: CancellationToken,
) {
    if let Some(listener) = listener {
        duties.spawn(serve(manager.clone(), serving.clone(), listener, for_clients, stop));
    }
}

async fn serve(
    manager: Manager,
    serving: Arc<Serving>,
    listener: TcpListener,
    (trust, cluster): (Trust, Cluster),
    stop: CancellationToken,
) {
    let served = async {
        let listening = listener.local_addr().map_err(|error| error.to_string())?;
        let mut changes = serving.service.raft.machine.changes();
        let first = loop {
            // Until the log is read, there is no cluster to see.
            match make(&serving, listening) {
                Ok(made) => break made,
                Err(error) => tracing::debug!(error, "docker_certificate_not_made"),
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(TRIED_EVERY) => {}
            }
        };
        let own = OwnCertificate::of(first.certificate, &first.authorities, &first.key);
        let own = own.map_err(|error| error.to_string())?;
        let config = tls::docker_config(own.clone(), trust, cluster);
        let config = config.map_err(|error| error.to_string())?;
        let config = Arc::new(ArcSwap::new(config));
        let connections = serving.service.connections.clone();
        let accepted = accept_tls(listener, config, connections, stop.clone());
        let stage = Stage::new(manager.0.phase.subscribe());
        // Over the network nothing is passed to an engine.
        let front = docker::serve(stage, manager.clone(), Engine::at(None), accepted, stop.clone());
        tracing::info!(listen = %listening, names = ?names(&serving, listening), "docker_port_listening");
        let renewing = async {
            let mut within = MADE_EVERY;
            loop {
                tokio::select! {
                    () = tokio::time::sleep(within) => {}
                    is_going_on = cluster_changed(&mut changes) => if !is_going_on { return },
                }
                let prepared = make(&serving, listening).and_then(|made| {
                    let prepared = own.prepare(made.certificate, &made.authorities, &made.key);
                    prepared.map_err(|error| error.to_string())
                });
                within = match prepared {
                    Ok(prepared) => {
                        own.present(prepared);
                        MADE_EVERY
                    }
                    Err(error) => {
                        tracing::warn!(error, "docker_certificate_not_made");
                        RENEWED_WITHIN
                    }
                };
            }
        };
        tokio::join!(front, async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = renewing => {}
            }
        });
        Ok::<_, String>(())
    };
    if let Err(error) = served.await {
        tracing::error!(error, "docker_port_failed");
    }
}
