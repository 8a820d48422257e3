//! Dialling: channels to managers, over TLS or a unix socket, with keepalive.
//!
//! A channel connects when it is first used and again after a failure; keepalive finds out about
//! a partition that closed nothing. Whoever is at the other end was checked when a connection began,
//! by what was trusted then: whoever trusts less from now on cuts it. Not here: choosing another
//! manager (whoever has the list).

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::cut::Cut;
use crate::gather::Gather;

/// How patient a connection is.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For the connection and its handshake.
    pub connect: Duration,
    /// Between two keepalive pings.
    pub ping_every: Duration,
    /// For the answer to one.
    pub ping_answer: Duration,
}

impl Patience {
    /// Between managers: a dead peer is noticed before it matters to an election.
    pub const PEER: Self = Self {
        connect: Duration::from_secs(1),
        ping_every: Duration::from_secs(1),
        ping_answer: Duration::from_secs(1),
    };

    /// Of agents and operators.
    pub const CLIENT: Self = Self {
        connect: Duration::from_secs(5),
        ping_every: Duration::from_secs(5),
        ping_answer: Duration::from_secs(5),
    };
}

/// Bytes in flight of one call, and of one connection: a largest message and a few behind it.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// The name in the handshake. Identity is in the certificates, so it is the same everywhere.
const SERVER_NAME: &str = "secretd";

/// Cuts what was dialled with them.
#[derive(Clone, Default)]
pub struct Scissors(Arc<ArcSwap<CancellationToken>>);

impl Scissors {
    /// Cuts every connection that was begun before now, those whose handshake is under way included.
    /// Channels connect anew when they are next used.
    pub fn cut(&self) {
        self.0.swap(Arc::new(CancellationToken::new())).cancel();
    }

    fn now(&self) -> CancellationToken {
        CancellationToken::clone(&self.0.load())
    }
}

/// A connection that can be cut.
struct Dialled {
    stream: Gather<TlsStream<TcpStream>>,
    cut: Cut,
}

impl AsyncRead for Dialled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.cut.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Dialled {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.cut.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cut.check(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cut.check(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.cut.check(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// An address cannot be dialled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{address}` is not an address: expected HOST:PORT")]
pub struct AddressError {
    address: String,
}

fn endpoint(patience: Patience) -> Endpoint {
    Endpoint::from_static("http://secretd")
        .connect_timeout(patience.connect)
        .http2_keep_alive_interval(patience.ping_every)
        .keep_alive_timeout(patience.ping_answer)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .tcp_nodelay(true)
}

/// A channel to a manager at `HOST:PORT`, which connects when it is used.
///
/// # Errors
///
/// If the address is not of that form.
pub fn channel(
    address: &str,
    config: Arc<ClientConfig>,
    patience: Patience,
) -> Result<Channel, AddressError> {
    channel_with(address, config, patience, &Scissors::default())
}

/// As [`channel`], and its connections can be cut.
///
/// # Errors
///
/// If the address is not of that form.
pub fn channel_with(
    address: &str,
    config: Arc<ClientConfig>,
    patience: Patience,
    scissors: &Scissors,
) -> Result<Channel, AddressError> {
    let bad = || AddressError { address: address.to_owned() };
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(bad());
    }
    let address: Arc<str> = address.into();
    let connector = TlsConnector::from(config);
    let scissors = scissors.clone();
    let connect = tower::service_fn(move |_: Uri| {
        let (address, connector) = (address.clone(), connector.clone());
        // Before the handshake: one that is under way is cut, too.
        let cut = scissors.now();
        async move { dial(&address, &connector, cut).await.map(TokioIo::new) }
    });
    Ok(endpoint(patience).connect_with_connector_lazy(connect))
}

async fn dial(
    address: &str,
    connector: &TlsConnector,
    cut: CancellationToken,
) -> io::Result<Dialled> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(SERVER_NAME).map_err(io::Error::other)?;
    let stream = connector.connect(name, stream).await?;
    Ok(Dialled { stream: Gather::new(stream), cut: Cut::by(cut) })
}

/// A channel to the unix socket at `path`.
pub fn local_channel(path: PathBuf) -> Channel {
    let connect = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    endpoint(Patience::CLIENT).connect_with_connector_lazy(connect)
}

#[cfg(test)]
mod tests {
    use proto::id::Realm;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::timeout;
    use tokio_stream::StreamExt as _;

    use super::*;
    use crate::accept::{Connections, accept_tls};
    use crate::tls::tests::{Ca, agent, manager};

    /// What should happen does so long before this.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn addresses_are_hosts_with_ports() {
        let config = || crate::tls::joiner_config([0; 32], Realm::from_bytes([0; 16])).unwrap();
        for good in ["127.0.0.1:7443", "host.example:1", "[::1]:7443"] {
            assert!(channel(good, config(), Patience::CLIENT).is_ok(), "{good}");
        }
        for bad in ["", "host", ":7443", "host:", "host:70000", "host:http"] {
            assert!(channel(bad, config(), Patience::CLIENT).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_cut_ends_what_was_begun_before_it_and_nothing_else() {
        let ca = Ca::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let config = Arc::new(ArcSwap::new(ca.server(manager())));
        let mut accepted =
            accept_tls(listener, config, Connections::new(), CancellationToken::new());
        let (connector, scissors) = (TlsConnector::from(ca.client(agent())), Scissors::default());
        let begin = || dial(&address, &connector, scissors.now());

        let (open, underway) = (begin().await, begin());
        scissors.cut();
        let aborted = io::ErrorKind::ConnectionAborted;
        for dialled in [open, underway.await] {
            let mut dialled = dialled.unwrap();
            let read = timeout(PATIENCE, dialled.read(&mut [0])).await.expect("it was cut");
            assert_eq!(read.unwrap_err().kind(), aborted);
            assert_eq!(dialled.write(&[0]).await.unwrap_err().kind(), aborted);
            assert_eq!(dialled.flush().await.unwrap_err().kind(), aborted);
            drop(accepted.next().await.unwrap().unwrap());
        }
        let mut later = begin().await.unwrap();
        later.write_all(b"a").await.unwrap();
        later.flush().await.unwrap();
        let mut byte = [0];
        let mut connection = accepted.next().await.unwrap().unwrap();
        connection.read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, b"a");
    }
}
