//! An engine that does what the tests say, behind a front.

use std::time::Duration;

use link::Failure;
use proto::Kind;
use tokio::io::DuplexStream;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};

use super::super::swarm::Desk;
use super::super::{Stage, Times, converse, routes};
use super::*;
use crate::front::Phase;

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);

/// An engine of version 1.41, and what it was asked beside that.
struct Rig {
    engine: Engine,
    asked: mpsc::UnboundedReceiver<(String, UnixStream)>,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

/// Reads a head, with nothing behind it.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let (send, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let send = send.clone();
                tokio::spawn(async move {
                    let mut first = head(&mut stream).await;
                    if first.starts_with("GET /_ping ") {
                        let pong =
                            b"HTTP/1.1 200 OK\r\napi-version: 1.41\r\ncontent-length: 2\r\n\r\nOK";
                        stream.write_all(pong).await.unwrap();
                        first = head(&mut stream).await;
                    }
                    send.send((first, stream)).unwrap();
                });
            }
        });
        let engine = Engine::at(Some(socket));
        Self { engine, asked, stop: CancellationToken::new(), _folder: folder }
    }

    /// The client's end of a connection.
    fn connected(&self, peer: Peer, desk: Desk) -> DuplexStream {
        let (_, phase) = watch::channel(Phase::Empty);
        let stage = Stage::new(phase);
        let (engine, stop) = (self.engine.clone(), self.stop.clone());
        let front = Front { stage: stage.clone(), peer, desk, engine, stop: stop.clone() };
        let times = Times { head: LONG, answer: SHORT, written: LONG };
        let (client, server) = tokio::io::duplex(1 << 10);
        tokio::spawn(converse(routes(front), stage, server, times, stop));
        client
    }

    async fn ask(&self, request: &str) -> DuplexStream {
        let mut client = self.connected(Peer::Local { uid: 0 }, Desk::idle());
        client.write_all(request.as_bytes()).await.unwrap();
        client
    }
}

async fn rest(client: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    tokio::time::timeout(LONG, client.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

#[test]
fn what_is_the_engines_is_told_from_what_is_the_swarms() {
    let (get, post) = (Method::GET, Method::POST);
    for path in [
        "/containers/json",
        "/containers/a/exec",
        "/exec/a/start",
        "/images/create",
        "/build",
        "/session",
        "/volumes",
        "/system/df",
        "/auth",
        "/networks/a/connect",
    ] {
        assert!(is_its(&post, path), "{path}");
    }
    assert!(is_its(&get, "/distribution/localhost:5000/a/json"));
    assert!(!is_its(&post, "/distribution/a/json"), "a registry is only asked");
    for path in [
        "/",
        "",
        "/containersx",
        "//containers/json",
        "/secrets",
        "/services/containers/logs",
        "/networks/connect",
        "/networks/a",
        "/nodes",
        "/swarm",
        "/events",
        "/info",
        "/distribution",
    ] {
        assert!(!is_its(&get, path), "{path}");
    }
}

#[tokio::test]
async fn a_request_is_passed_as_it_came_in_a_version_that_the_engine_knows() {
    let mut rig = Rig::new();
    for (asked, passed) in [
        ("/v1.50/containers/a/wait?x=%20", "/v1.41/containers/a/wait?x=%20"),
        ("/v1.30/containers/a/wait", "/v1.30/containers/a/wait"),
        ("/containers/a/wait", "/containers/a/wait"),
    ] {
        let request = format!(
            "POST {asked} HTTP/1.1\r\nhost: d\r\nx-registry-auth: e30\r\nx-hop: 1\r\n\
             connection: x-hop, keep-alive\r\ncontent-length: 3\r\n\r\nabc"
        );
        let mut client = rig.ask(&request).await;
        let (head, mut engine) = rig.asked.recv().await.unwrap();
        assert!(head.starts_with(&format!("POST {passed} HTTP/1.1\r\n")), "{head}");
        assert!(head.contains("x-registry-auth: e30") && !head.contains("x-hop"), "{head}");
        let mut body = [0; 3];
        engine.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"abc");
        // It takes longer than swarm's own requests may.
        tokio::time::sleep(2 * SHORT).await;
        let answer = b"HTTP/1.1 409 Conflict\r\nx-its: own\r\ntransfer-encoding: chunked\r\n\r\n\
                       3\r\nno!\r\n0\r\n\r\n";
        engine.write_all(answer).await.unwrap();
        let answer = rest(&mut client).await.to_lowercase();
        assert!(answer.starts_with("http/1.1 409 ") && answer.contains("x-its: own"), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert!(answer.contains("\r\n3\r\nno!\r\n"), "{answer}");
    }
}

/// A client and the engine on a stream that they agreed on.
async fn switched(rig: &mut Rig) -> (DuplexStream, UnixStream) {
    let request = "POST /exec/a/start HTTP/1.1\r\nhost: d\r\nconnection: Upgrade\r\nupgrade: tcp\r\n\
                   content-length: 2\r\n\r\n{}";
    let mut client = rig.ask(request).await;
    let (asked, mut engine) = rig.asked.recv().await.unwrap();
    assert!(asked.to_lowercase().contains("\r\nupgrade: tcp\r\n"), "{asked}");
    engine.read_exact(&mut [0; 2]).await.unwrap();
    let answer = "HTTP/1.1 101 UPGRADED\r\ncontent-type: raw\r\nconnection: Upgrade\r\n\
                  upgrade: tcp\r\n\r\nhello";
    engine.write_all(answer.as_bytes()).await.unwrap();
    let answer = head(&mut client).await.to_lowercase();
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    for has in ["connection: upgrade\r\n", "upgrade: tcp\r\n", "content-type: raw\r\n"] {
        assert!(answer.contains(has), "{answer}");
    }
    let mut hello = [0; 5];
    client.read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"hello", "what came right behind the head is not lost");
    (client, engine)
}

#[tokio::test]
async fn a_stream_is_carried_both_ways_and_ends_one_way_after_the_other() {
    let mut rig = Rig::new();
    let (mut client, mut engine) = switched(&mut rig).await;
    let long = "x".repeat(5 * PIECE_BYTES);
    let sent = long.clone();
    let sending = tokio::spawn(async move {
        client.write_all(sent.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        rest(&mut client).await
    });
    assert_eq!(rest(&mut engine).await, long, "its end is passed on");
    engine.write_all(b"and the rest").await.unwrap();
    drop(engine);
    assert_eq!(sending.await.unwrap(), "and the rest");
    assert_eq!(rig.engine.room.available_permits(), PASSED_MAX);

    // Whoever does not hang up is hung up on.
    let (mut client, engine) = switched(&mut rig).await;
    drop(engine);
    assert_eq!(rest(&mut client).await, "");
    assert_eq!(rig.engine.room.available_permits(), PASSED_MAX - 1);
    let gone = async {
        while client.write_all(&[0; 4096]).await.is_ok() {
            tokio::time::sleep(SHORT).await;
        }
    };
    tokio::time::timeout(LONG, gone).await.unwrap();
}

#[tokio::test]
async fn a_stop_ends_streams_and_breaks_bodies_off() {
    let mut rig = Rig::new();
    let (mut streaming, _engine) = switched(&mut rig).await;
    let mut following = rig.ask("GET /containers/a/logs HTTP/1.1\r\nhost: d\r\n\r\n").await;
    let (_, mut engine) = rig.asked.recv().await.unwrap();
    let begin = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n";
    engine.write_all(begin).await.unwrap();
    head(&mut following).await;
    following.read_exact(&mut [0; 7]).await.unwrap();
    rig.stop.cancel();
    assert_eq!(rest(&mut streaming).await, "");
    assert_eq!(rest(&mut following).await, "", "and no chunk that says it is the last");
}

#[tokio::test]
async fn nobody_reaches_an_engine_who_could_not_without_secretd() {
    const ASKED: &str = "GET /containers/json HTTP/1.1\r\nhost: d\r\nconnection: close\r\n\r\n";
    let mut rig = Rig::new();
    let refuses = |uid| {
        let text = format!("uid {uid} may not use this manager's socket");
        Err(Failure::new(Kind::Denied, text))
    };
    let local = Peer::Local { uid: 7 };
    let remote = Peer::Remote { certificate: None, address: "192.0.2.1:9".into() };
    let mut strict = Desk::idle();
    strict.admits = Arc::new(refuses);
    for (peer, desk, status, said) in [
        (local, strict, 403, "uid 7 may not use"),
        (
            remote,
            Desk::idle(),
            403,
            "/containers is passed to a manager's own engine at its own socket",
        ),
    ] {
        let mut client = rig.connected(peer, desk);
        client.write_all(ASKED.as_bytes()).await.unwrap();
        let answer = rest(&mut client).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains(said), "{answer}");
    }
    assert!(rig.asked.try_recv().is_err(), "and the engine has heard of neither");
    // Without one there is something to set.
    rig.engine = Engine::at(None);
    let answer = rest(&mut rig.ask(ASKED).await).await;
    assert!(answer.starts_with("HTTP/1.1 501 ") && answer.contains("--docker-engine"), "{answer}");
}

#[tokio::test]
async fn so_many_requests_are_with_an_engine_and_no_more() {
    const ASKED: &str = "GET /containers/a/json HTTP/1.1\r\nhost: d\r\n\r\n";
    let mut rig = Rig::new();
    let mut held = Vec::new();
    for _ in 0..PASSED_MAX {
        let client = rig.ask(ASKED).await;
        held.push((client, rig.asked.recv().await.unwrap()));
    }
    let mut client = rig.ask(&ASKED.replace("host", "connection: close\r\nhost")).await;
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("128 requests are with the engine already"), "{answer}");
    // One that hangs up makes room.
    let (client, (_, mut engine)) = held.pop().unwrap();
    drop(client);
    assert_eq!(rest(&mut engine).await, "", "the engine is told");
    let _client = rig.ask(ASKED).await;
    rig.asked.recv().await.unwrap();
}

#[tokio::test]
async fn an_engine_that_does_not_answer_is_named() {
    const ASKED: &str =
        "GET /v1.41/containers/json HTTP/1.1\r\nhost: d\r\nconnection: close\r\n\r\n";
    let rig = Rig::new();
    let folder = tempfile::tempdir().unwrap();
    let silent = folder.path().join("silent");
    let _listener = UnixListener::bind(&silent).unwrap();
    for (socket, why) in [(folder.path().join("none"), "No such file"), (silent, "timed out")] {
        let mut engine = Engine::at(Some(socket.clone()));
        engine.connect_within = SHORT;
        let mut client = Rig { engine, ..Rig::new() }.ask(ASKED).await;
        let answer = rest(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        let said = format!("the container engine at {} does not answer: {why}", socket.display());
        assert!(answer.contains(&said), "{answer}");
    }
    drop(rig);
}
