//! Dialling: channels to managers, over TLS or a unix socket, with keepalive.
//!
//! A channel connects when it is first used and again after a failure; keepalive finds out about
//! a partition that closed nothing. Not here: choosing another manager (whoever has the list).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

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
    let bad = || AddressError { address: address.to_owned() };
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(bad());
    }
    let address: Arc<str> = address.into();
    let connector = TlsConnector::from(config);
    let connect = tower::service_fn(move |_: Uri| {
        let (address, connector) = (address.clone(), connector.clone());
        async move {
            let stream = TcpStream::connect(&*address).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(SERVER_NAME).map_err(std::io::Error::other)?;
            connector.connect(name, stream).await.map(TokioIo::new)
        }
    });
    Ok(endpoint(patience).connect_with_connector_lazy(connect))
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

    use super::*;

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
}
