//! Clients that are silent, too many, or nobody, at ports with small bounds.

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as ClientStream;
use tokio_stream::StreamExt as _;

use super::*;
use crate::tls::tests::{Ca, agent, manager};

/// No test waits for it to pass.
const NEVER: Duration = Duration::from_secs(3_600);

/// What should happen does so long before this.
const PATIENCE: Duration = Duration::from_secs(60);

/// Room for what a test does not ask about.
const WIDE: Bounds =
    Bounds { handshakes: 100, handshake_within: NEVER, connections: 100, strangers: 100 };

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it should have happened by now")
}

/// A port, and what it accepted.
struct Port {
    address: std::net::SocketAddr,
    accepted: Accepted,
    connections: Connections,
    ca: Ca,
}

type Client = ClientStream<TcpStream>;

impl Port {
    async fn open(bounds: Bounds) -> Self {
        let ca = Ca::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = Arc::new(ArcSwap::new(ca.server(manager())));
        let connections = Connections::new();
        let stop = CancellationToken::new();
        let accepted = accept_within(bounds, listener, config, connections.clone(), stop);
        Self { address, accepted, connections, ca }
    }

    /// A client that says nothing.
    async fn silent(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn connect(&self, config: Arc<ClientConfig>) -> io::Result<Client> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("secretd").unwrap();
        soon(TlsConnector::from(config).connect(name, stream)).await
    }

    /// A client with a certificate that has said all of its handshake but the last byte, and that.
    async fn halfway(&self) -> (TcpStream, u8) {
        let name = ServerName::try_from("secretd").unwrap();
        let mut tls = rustls::ClientConnection::new(self.ca.client(agent()), name).unwrap();
        let (mut stream, mut bytes) = (self.silent().await, [0; 4096]);
        loop {
            let mut says = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut says).unwrap();
            }
            if !tls.is_handshaking() {
                let last = says.pop().unwrap();
                stream.write_all(&says).await.unwrap();
                return (stream, last);
            }
            stream.write_all(&says).await.unwrap();
            let count = soon(stream.read(&mut bytes)).await.unwrap();
            let mut heard = &bytes[..count];
            while !heard.is_empty() {
                tls.read_tls(&mut heard).unwrap();
                tls.process_new_packets().unwrap();
            }
        }
    }

    /// A client with a certificate, and the server's end of its connection.
    async fn agent(&mut self) -> (Client, Connection) {
        let client = self.connect(self.ca.client(agent())).await.unwrap();
        let connection = soon(self.accepted.next()).await.unwrap().unwrap();
        assert!(matches!(connection.peer(), Peer::Remote { certificate: Some(_), .. }));
        (client, connection)
    }

    /// A client without one, and the server's end of its connection.
    async fn stranger(&mut self) -> (Client, Connection) {
        let client = self.connect(self.ca.joiner()).await.unwrap();
        let connection = soon(self.accepted.next()).await.unwrap().unwrap();
        assert!(matches!(connection.peer(), Peer::Remote { certificate: None, .. }));
        (client, connection)
    }
}

/// Nothing has come and nobody has closed.
#[track_caller]
fn still_open(stream: &TcpStream) {
    let error = stream.try_read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}

async fn closed(stream: &mut TcpStream) {
    assert_eq!(soon(stream.read(&mut [0])).await.unwrap(), 0, "closed, and nothing said");
}

/// Whether a byte passes each way.
async fn works((client, connection): &mut (Client, Connection)) -> bool {
    let mut byte = [0];
    let there = async {
        client.write_all(b"a").await?;
        client.flush().await?;
        connection.read_exact(&mut byte).await?;
        connection.write_all(b"b").await?;
        connection.flush().await?;
        client.read_exact(&mut byte).await
    };
    soon(there).await.is_ok()
}

#[tokio::test]
async fn a_silent_client_blocks_nobody_and_its_time_ends() {
    let mut port = Port::open(WIDE).await;
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(port.silent().await);
    }
    let mut served = port.agent().await;
    assert!(works(&mut served).await);
    for stream in &silent {
        still_open(stream);
    }

    let port = Port::open(Bounds { handshake_within: Duration::ZERO, ..WIDE }).await;
    closed(&mut port.silent().await).await;
    // Half a handshake is no more than none.
    let mut halting = port.silent().await;
    halting.write_all(&[22, 3, 1]).await.ok();
    // With bytes that nobody read, the kernel may say "reset" instead of "closed".
    assert!(matches!(soon(halting.read(&mut [0])).await, Ok(0) | Err(_)));
    assert_eq!(port.connections.count(), 0);
}

#[tokio::test]
async fn one_handshake_too_many_takes_the_place_of_the_oldest() {
    let mut port = Port::open(Bounds { handshakes: 3, ..WIDE }).await;
    let mut silent = Vec::new();
    for _ in 0..2 {
        silent.push(port.silent().await);
    }
    // At the bound: nobody has to go.
    let _third = port.agent().await;
    silent.push(port.silent().await);
    for stream in &silent {
        still_open(stream);
    }
    // One past it, who came last is served and who came first is not waited for any longer.
    let mut served = port.agent().await;
    assert!(works(&mut served).await);
    closed(&mut silent[0]).await;
    still_open(&silent[1]);
    still_open(&silent[2]);
    // However many say nothing, whoever speaks is heard.
    for _ in 0..20 {
        silent.push(port.silent().await);
    }
    let mut served = port.agent().await;
    assert!(works(&mut served).await);
}

#[tokio::test]
async fn one_connection_too_many_is_refused_until_another_ends() {
    let mut port = Port::open(Bounds { connections: 2, ..WIDE }).await;
    let (mut first, mut second) = (port.agent().await, port.agent().await);
    assert_eq!(port.connections.count(), 2);
    assert!(port.connect(port.ca.client(agent())).await.is_err());
    assert!(port.connect(port.ca.joiner()).await.is_err());
    assert!(works(&mut first).await && works(&mut second).await);
    drop(first);
    let mut third = port.agent().await;
    assert!(works(&mut second).await && works(&mut third).await);
}

#[tokio::test]
async fn a_handshake_that_ends_after_the_last_room_was_taken_is_refused() {
    let mut port = Port::open(Bounds { connections: 1, ..WIDE }).await;
    // It was let in when there was room.
    let early = port.silent().await;
    let mut first = port.agent().await;
    let name = ServerName::try_from("secretd").unwrap();
    let late = soon(TlsConnector::from(port.ca.client(agent())).connect(name, early)).await;
    // In TLS 1.3 the client is through before the server is.
    let mut byte = [0];
    let refused = match late {
        Ok(mut late) => !matches!(soon(late.read(&mut byte)).await, Ok(1)),
        Err(_) => true,
    };
    assert!(refused);
    assert_eq!(port.connections.count(), 1);
    assert!(works(&mut first).await);
}

#[tokio::test]
async fn a_stranger_too_many_takes_the_place_of_the_oldest_stranger() {
    let mut port = Port::open(Bounds { strangers: 2, ..WIDE }).await;
    let mut known = port.agent().await;
    let (mut first, mut second) = (port.stranger().await, port.stranger().await);
    assert!(works(&mut first).await && works(&mut second).await);
    let mut third = port.stranger().await;
    assert!(!works(&mut first).await);
    assert!(works(&mut second).await && works(&mut third).await && works(&mut known).await);
    // One that ended by itself makes room without anybody having to go.
    drop(third);
    let mut fourth = port.stranger().await;
    assert!(works(&mut second).await && works(&mut fourth).await && works(&mut known).await);
}

#[tokio::test]
async fn a_connection_that_was_cut_fails_both_ways_at_once() {
    let mut port = Port::open(WIDE).await;
    let mut known = port.agent().await;
    let mut stranger = port.stranger().await;
    port.connections.cut(|subject| subject == manager().subject);
    assert!(works(&mut known).await, "it is not the one that was meant");
    port.connections.cut(|subject| subject == agent().subject);
    let (client, mut connection) = known;
    let aborted = io::ErrorKind::ConnectionAborted;
    assert_eq!(soon(connection.read(&mut [0])).await.unwrap_err().kind(), aborted);
    assert_eq!(connection.write(&[0]).await.unwrap_err().kind(), aborted);
    assert_eq!(connection.flush().await.unwrap_err().kind(), aborted);
    assert!(works(&mut stranger).await, "who is nobody is not meant either");
    drop((client, connection));
    assert_eq!(port.connections.count(), 1);
}

/// A certificate is checked when it arrives: the end of the handshake may come much later.
#[tokio::test]
async fn a_handshake_that_is_under_way_comes_to_nothing_when_what_does_not_stand_is_cut() {
    let mut port = Port::open(WIDE).await;
    let mut known = port.agent().await;
    let (mut late, last) = port.halfway().await;
    port.connections.cut_all_but(|_| true);
    late.write_all(&[last]).await.ok();
    // With bytes that nobody read, the kernel may say "reset" instead of "closed".
    assert!(matches!(soon(late.read(&mut [0])).await, Ok(0) | Err(_)));
    assert_eq!(port.connections.count(), 1);
    assert!(works(&mut known).await);
    port.connections.cut_all_but(|_| false);
    assert!(!works(&mut known).await);
    let mut anew = port.agent().await;
    assert!(works(&mut anew).await);
}
