//! Accepting: TCP with TLS, and unix sockets with the peer's uid, as streams for tonic's server.
//!
//! Every handshake runs in a task of its own, bounded in number and time, so that a silent client
//! blocks nobody: where too many are under way, the oldest makes room. So it is with clients that
//! show no certificate, of which anybody can be one. Every accepted connection is listed with whom
//! it belongs to and can be cut: eviction must not leave an open stream behind.
//!
//! Invariants: a connection that was cut yields errors on both directions at once; who shows no
//! certificate keeps nobody out but others who show none.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use proto::identity::Subject;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use crate::certificate::PeerCertificate;
use crate::cut::Cut;
use crate::gather::Gather;

/// Time for a handshake. A LAN needs milliseconds, a loaded client a second.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Handshakes at a time. One takes milliseconds, so whoever is dropped for a newcomer has had his
/// time, unless tens of thousands come in a second; one may hold 64 KiB of what a client sent.
const HANDSHAKES_MAX: usize = 512;

/// Connections at a time: agents, operators and peers of the largest cluster fit.
const CONNECTIONS_MAX: usize = 16_384;

/// Connections at a time without a client's certificate: whoever enrols has one for a second.
const STRANGERS_MAX: usize = 1_024;

/// Accepted connections that wait for the server.
const ACCEPTED_MAX: usize = 64;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A TLS client; without a certificate it may only enrol.
    Remote {
        /// What its certificate says.
        certificate: Option<PeerCertificate>,
        /// Where it comes from.
        address: String,
    },
    /// A process on this machine.
    Local {
        /// The uid the kernel gave.
        uid: u32,
    },
}

/// The open connections of a server, by whom they belong to, and the handshakes that are under way.
#[derive(Clone, Default)]
pub struct Connections {
    open: Arc<Mutex<Open>>,
    underway: Handshakes,
}

#[derive(Default)]
struct Open {
    next: u64,
    by_id: BTreeMap<u64, (Option<PeerCertificate>, CancellationToken)>,
    /// Remote clients without a certificate that were not cut.
    strangers: BTreeSet<u64>,
}

/// What a port takes at a time.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    handshakes: usize,
    handshake_within: Duration,
    connections: usize,
    strangers: usize,
}

impl Bounds {
    const USUAL: Self = Self {
        handshakes: HANDSHAKES_MAX,
        handshake_within: HANDSHAKE_TIMEOUT,
        connections: CONNECTIONS_MAX,
        strangers: STRANGERS_MAX,
    };
}

impl Connections {
    /// No connections yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts every connection of the subjects that match.
    pub fn cut(&self, matches: impl Fn(Subject) -> bool) {
        self.cut_certified(|certificate| matches(certificate.identity.subject));
    }

    /// Cuts every connection that began with a certificate which matches.
    pub fn cut_certified(&self, matches: impl Fn(&PeerCertificate) -> bool) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for (certificate, token) in open.by_id.values() {
            if certificate.as_ref().is_some_and(&matches) {
                token.cancel();
            }
        }
    }

    /// Cuts every connection that began with a certificate which does not stand, and every handshake
    /// that is under way: its certificate may have been checked already, by what was trusted then.
    /// Whoever has another one connects anew.
    pub fn cut_all_but(&self, stands: impl Fn(&PeerCertificate) -> bool) {
        // Handshakes first: one that ends meanwhile is either listed by then, or finds itself dropped.
        self.underway.drop_all();
        self.cut_certified(|certificate| !stands(certificate));
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).by_id.len()
    }

    /// Lists a connection of this machine.
    fn add_local(&self) -> Listed {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (id, token) = open.list(None);
        drop(open);
        self.listed(id, token)
    }

    /// Lists a connection from elsewhere, if there is room. A stranger takes the place of the
    /// oldest one where there are too many of them.
    fn add_remote(&self, certificate: Option<PeerCertificate>, bounds: Bounds) -> Option<Listed> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.by_id.len() >= bounds.connections {
            return None;
        }
        let (id, token) = open.list(certificate);
        if certificate.is_none() {
            open.strangers.insert(id);
            while open.strangers.len() > bounds.strangers {
                let oldest = open.strangers.pop_first();
                if let Some((_, token)) = oldest.and_then(|id| open.by_id.get(&id)) {
                    token.cancel();
                }
            }
        }
        drop(open);
        Some(self.listed(id, token))
    }

    fn listed(&self, id: u64, token: CancellationToken) -> Listed {
        Listed { id, connections: self.clone(), cut: Cut::by(token) }
    }
}

impl Open {
    fn list(&mut self, certificate: Option<PeerCertificate>) -> (u64, CancellationToken) {
        let id = self.next;
        self.next += 1;
        let token = CancellationToken::new();
        self.by_id.insert(id, (certificate, token.clone()));
        (id, token)
    }
}

/// A connection's entry in the list; gone when it is dropped.
struct Listed {
    id: u64,
    connections: Connections,
    cut: Cut,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.by_id.remove(&self.id);
        open.strangers.remove(&self.id);
    }
}

/// The handshakes that are under way, oldest first.
#[derive(Clone, Default)]
struct Handshakes {
    open: Arc<Mutex<(u64, BTreeMap<u64, CancellationToken>)>>,
}

impl Handshakes {
    /// Begins one more; the oldest is dropped where there are `max` already.
    fn begin(&self, max: usize) -> Underway {
        let token = CancellationToken::new();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, by_id) = &mut *open;
        let id = *next;
        *next += 1;
        by_id.insert(id, token.clone());
        while by_id.len() > max {
            if let Some((_, oldest)) = by_id.pop_first() {
                oldest.cancel();
            }
        }
        drop(open);
        Underway { id, all: self.clone(), dropped: token }
    }

    fn drop_all(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.1.values().for_each(CancellationToken::cancel);
    }
}

/// A handshake's entry in the list; gone when it is dropped.
struct Underway {
    id: u64,
    all: Handshakes,
    dropped: CancellationToken,
}

impl Drop for Underway {
    fn drop(&mut self) {
        let mut open = self.all.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.1.remove(&self.id);
    }
}

enum Io {
    Tls(Box<Gather<TlsStream<TcpStream>>>),
    Unix(UnixStream),
}

/// An accepted connection.
pub struct Connection {
    io: Io,
    peer: Peer,
    listed: Listed,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl Connection {
    /// Where the peer is, once the kernel or the handshake said so.
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.listed.cut.check(cx)?;
        match &mut self.io {
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            Io::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.listed.cut.check(cx)?;
        match &mut self.io {
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Io::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.listed.cut.check(cx)?;
        match &mut self.io {
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Io::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.listed.cut.check(cx)?;
        match &mut self.io {
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.listed.cut.check(cx)?;
        match &mut self.io {
            Io::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, buffers),
            Io::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Tls(stream) => stream.is_write_vectored(),
            Io::Unix(stream) => stream.is_write_vectored(),
        }
    }
}

/// Connections as tonic's server takes them.
pub type Accepted = ReceiverStream<io::Result<Connection>>;

/// Accepts TLS connections until `stop`. The configuration can be swapped while serving.
pub fn accept_tls(
    listener: TcpListener,
    config: Arc<arc_swap::ArcSwap<ServerConfig>>,
    connections: Connections,
    stop: CancellationToken,
) -> Accepted {
    accept_within(Bounds::USUAL, listener, config, connections, stop)
}

fn accept_within(
    bounds: Bounds,
    listener: TcpListener,
    config: Arc<arc_swap::ArcSwap<ServerConfig>>,
    connections: Connections,
    stop: CancellationToken,
) -> Accepted {
    let (accepted, stream) = mpsc::channel(ACCEPTED_MAX);
    tokio::spawn(async move {
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => return,
                next = listener.accept() => next,
            };
            let (stream, address) = match next {
                Ok(next) => next,
                Err(error) => {
                    // Out of descriptors, or a connection that died early: the next may do.
                    tracing::warn!(%error, "accept_failed");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            if connections.count() >= bounds.connections {
                tracing::warn!(peer.addr = %address, "connection_refused_too_many");
                continue;
            }
            let underway = connections.underway.begin(bounds.handshakes);
            let acceptor = TlsAcceptor::from(config.load_full());
            let (accepted, connections) = (accepted.clone(), connections.clone());
            tokio::spawn(async move {
                let connection = tokio::select! {
                    () = underway.dropped.cancelled() => Err(io::ErrorKind::ResourceBusy.into()),
                    connection = handshake(acceptor, stream, &connections, bounds) => connection,
                };
                let was_dropped = underway.dropped.is_cancelled();
                drop(underway);
                match connection {
                    // As it ended. It may have been listed too late for whoever cuts those there are.
                    Ok(_) if was_dropped => {
                        tracing::debug!(peer.addr = %address, "handshake_dropped");
                    }
                    Ok(connection) => drop(accepted.send(Ok(connection)).await),
                    Err(error) => tracing::debug!(peer.addr = %address, %error, "handshake_failed"),
                }
            });
        }
    });
    ReceiverStream::new(stream)
}

async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    connections: &Connections,
    bounds: Bounds,
) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    let address = stream.peer_addr()?.to_string();
    let stream = tokio::time::timeout(bounds.handshake_within, acceptor.accept(stream))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let certificate =
        leaf.map(|leaf| PeerCertificate::parse(leaf)).transpose().map_err(io::Error::other)?;
    let listed = connections.add_remote(certificate, bounds);
    let listed = listed.ok_or_else(|| io::Error::other("there are too many connections"))?;
    Ok(Connection {
        io: Io::Tls(Box::new(Gather::new(stream))),
        peer: Peer::Remote { certificate, address },
        listed,
    })
}

/// Accepts connections on a unix socket until `stop`; the kernel says whose they are.
pub fn accept_unix(
    listener: UnixListener,
    connections: Connections,
    stop: CancellationToken,
) -> Accepted {
    let (accepted, stream) = mpsc::channel(ACCEPTED_MAX);
    tokio::spawn(async move {
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => return,
                next = listener.accept() => next,
            };
            let connection = next.and_then(|(stream, _)| {
                let peer = Peer::Local { uid: stream.peer_cred()?.uid() };
                Ok(Connection { io: Io::Unix(stream), peer, listed: connections.add_local() })
            });
            match connection {
                Ok(connection) => {
                    if accepted.send(Ok(connection)).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "accept_failed");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    });
    ReceiverStream::new(stream)
}

#[cfg(test)]
mod tests;
