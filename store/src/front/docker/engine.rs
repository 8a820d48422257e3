//! What is not swarm's, passed on to this machine's container engine: containers and exec, images,
//! volumes, and what else moby's routers beside swarm's have.
//!
//! So one socket is enough for `docker service create` and `docker container exec`. A request goes to
//! the engine as it came, over a connection of its own, piece by piece; an answer comes back in the same
//! way, and a stream that the two agreed on is carried until one of them ends it. Only for who could
//! open the engine's own socket anyway: root and the manager's own user, at the manager's own socket.
//! Over the network there is no such way, whatever the role: it would be root on this machine.
//!
//! Not here: what anything of it means, and where it is written down (the engine's own log).
//!
//! Invariant: no more of a request or an answer is held than a piece, in [`PASSED_MAX`] of them at most.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use futures_util::stream;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use link::accept::Peer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::answer::Problem;
use super::version::Asked;
use super::{Front, HEAD_BYTES_MAX};

/// Requests that are with the engine at a time, streams among them: half of the connections, so that
/// who follows the output of many containers does not keep swarm's own commands out.
const PASSED_MAX: usize = 128;

/// Time for the engine to take a connection and say which versions it knows: it is on this machine.
/// What is asked of it may take as long as it takes; a container's end is waited for, too.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Time for a client to hang up once the engine has ended their stream: what comes from it then is
/// for nobody.
const HANG_UP_WITHIN: Duration = Duration::from_secs(10);

/// Bytes of the engine's answer to a ping.
const PING_BYTES_MAX: usize = 1 << 10;

/// Bytes of a stream in each direction that are on their way here.
const PIECE_BYTES: usize = 16 << 10;

/// First parts of paths that are the engine's: moby's routers `build`, `checkpoint`, `container`, `grpc`,
/// `image`, `plugin`, `session`, `volume`, and of `system` what is not about the server itself.
const ITS: &[&str] = &[
    "auth",
    "build",
    "commit",
    "containers",
    "exec",
    "grpc",
    "images",
    "plugins",
    "session",
    "system",
    "volumes",
];

/// Headers that are about one connection (RFC 9110, 7.6.1), and what was answered here already.
const OF_A_CONNECTION: &[&str] = &[
    "connection",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Where the engine is, and how much is with it.
#[derive(Clone)]
pub(crate) struct Engine {
    socket: Option<Arc<Path>>,
    room: Arc<Semaphore>,
    connect_within: Duration,
}

impl Engine {
    /// The one that listens at a socket; or none.
    pub(crate) fn at(socket: Option<PathBuf>) -> Self {
        let room = Arc::new(Semaphore::new(PASSED_MAX));
        Self { socket: socket.map(Into::into), room, connect_within: CONNECT_WITHIN }
    }
}

/// Whether a request, without its version, is one for an engine.
pub(super) fn is_its(method: &Method, path: &str) -> bool {
    let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
    match (parts.next(), parts.next_back()) {
        // Which platforms an image is for: a registry is asked.
        (Some("distribution"), Some("json")) => method == Method::GET,
        // Networks are the swarm's; which containers are on one is the engine's.
        (Some("networks"), Some("connect" | "disconnect")) => parts.next().is_some(),
        (Some(first), _) => ITS.contains(&first),
        (None, _) => false,
    }
}

/// Passes a request on.
pub(super) async fn pass(front: &Front, request: Request) -> Result<Response, Problem> {
    let first = request.uri().path().split('/').nth(1).unwrap_or_default();
    let Peer::Local { uid } = front.peer else {
        let text = format!("/{first} is passed to a manager's own engine at its own socket only");
        return Err(Problem::forbidden(text));
    };
    let Some(socket) = &front.engine.socket else {
        return Err(Problem::unimplemented(&format!(
            "/{first} is not swarm's: start secretd with --docker-engine FILE, this machine's own engine, \
             to have it passed on"
        )));
    };
    front.desk.admits(uid)?;
    let permit = front.engine.room.clone().try_acquire_owned().map_err(|_| {
        Problem::unavailable(format!("{PASSED_MAX} requests are with the engine already"))
    })?;
    let passed = passed((socket, front.engine.connect_within), request, permit, front.stop.clone());
    passed.await.map_err(|error| {
        let (socket, error) = (socket.display(), innermost(&error));
        Problem::unavailable(format!("the container engine at {socket} does not answer: {error}"))
    })
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

async fn passed(
    (socket, within): (&Path, Duration),
    mut request: Request,
    permit: OwnedSemaphorePermit,
    stop: CancellationToken,
) -> io::Result<Response> {
    let asked = request.extensions().get::<Asked>().copied();
    let connecting = tokio::time::timeout(within, connect(socket, asked));
    let (mut engine, version) = connecting.await.map_err(|_| io::ErrorKind::TimedOut)??;
    let wanted = request.headers().get(header::UPGRADE).cloned();
    let client = wanted.as_ref().map(|_| hyper::upgrade::on(&mut request));
    let (mut parts, body) = request.into_parts();
    parts.uri = with_version(&parts.uri, version)?;
    strip(&mut parts.headers);
    if let Some(wanted) = wanted {
        ask_for(&mut parts.headers, wanted);
    }
    let answer = engine.send_request(Request::from_parts(parts, body)).await;
    let mut answer: Response<Incoming> = answer.map_err(io::Error::other)?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        // Nobody is switched who did not ask for it.
        let client = client.ok_or_else(|| io::Error::other("it switched protocols unasked"))?;
        let switched_to = answer.headers().get(header::UPGRADE).cloned();
        tokio::spawn(carry(client, hyper::upgrade::on(&mut answer), permit, stop));
        let (mut parts, _) = answer.into_parts();
        strip(&mut parts.headers);
        ask_for(&mut parts.headers, switched_to.unwrap_or(HeaderValue::from_static("tcp")));
        return Ok(Response::from_parts(parts, Body::empty()));
    }
    let (mut parts, body) = answer.into_parts();
    strip(&mut parts.headers);
    // A request may have had a password of a registry in its head: nothing of it stays in a buffer.
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(Response::from_parts(parts, piecewise(body, permit, stop)))
}

/// A connection to the engine, and the version of the API to ask it in: as it was asked here, and no
/// newer than the engine is.
async fn connect(
    socket: &Path,
    asked: Option<Asked>,
) -> io::Result<(http1::SendRequest<Body>, Option<u32>)> {
    let io = TokioIo::new(UnixStream::connect(socket).await?);
    let mut http = http1::Builder::new();
    http.max_buf_size(HEAD_BYTES_MAX);
    let (mut engine, connection) = http.handshake(io).await.map_err(io::Error::other)?;
    // It ends with the last request and answer that it is for.
    tokio::spawn(connection.with_upgrades());
    let Some(Asked(minor)) = asked else { return Ok((engine, None)) };
    let ping = Request::get("/_ping").header(header::HOST, "docker").body(Body::empty());
    let ping = ping.map_err(io::Error::other)?;
    let answer = engine.send_request(ping).await.map_err(io::Error::other)?;
    let newest = answer.headers().get("api-version").and_then(|version| version.to_str().ok());
    let newest = newest.and_then(|version| version.strip_prefix("1.")?.parse().ok());
    let body = Body::new(answer.into_body());
    axum::body::to_bytes(body, PING_BYTES_MAX).await.map_err(io::Error::other)?;
    engine.ready().await.map_err(io::Error::other)?;
    Ok((engine, Some(newest.unwrap_or(minor).min(minor))))
}

fn with_version(uri: &Uri, version: Option<u32>) -> io::Result<Uri> {
    let rest = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let version = version.map_or_else(String::new, |minor| format!("/v1.{minor}"));
    Uri::try_from(format!("{version}{rest}")).map_err(io::Error::other)
}

/// Takes away what is about the connection that a head came over.
fn strip(headers: &mut HeaderMap) {
    let values = headers.get_all(header::CONNECTION).iter();
    let texts = values.filter_map(|value| value.to_str().ok().map(ToOwned::to_owned));
    for value in texts.collect::<Vec<_>>() {
        for name in value.split(',') {
            headers.remove(name.trim());
        }
    }
    for name in OF_A_CONNECTION {
        headers.remove(*name);
    }
}

fn ask_for(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// A body as it comes, until it ends or the manager stops: that breaks it off, so that nobody takes it
/// for whole.
fn piecewise(body: Incoming, permit: OwnedSemaphorePermit, stop: CancellationToken) -> Body {
    if hyper::body::Body::is_end_stream(&body) {
        return Body::empty();
    }
    let pieces = Body::new(body).into_data_stream();
    Body::from_stream(stream::unfold(Some((pieces, permit)), move |reading| {
        let stop = stop.clone();
        async move {
            let (mut pieces, permit) = reading?;
            tokio::select! {
                piece = pieces.next() => {
                    let piece = piece?.map_err(io::Error::other);
                    Some((piece, Some((pieces, permit))))
                }
                () = stop.cancelled() => Some((Err(io::ErrorKind::Interrupted.into()), None)),
            }
        }
    }))
}

/// Carries a stream both ways until the engine ends it. A client that has no more to say still hears
/// the rest.
async fn carry(
    client: OnUpgrade,
    engine: OnUpgrade,
    _permit: OwnedSemaphorePermit,
    stop: CancellationToken,
) {
    let carried = async {
        let (client, engine) = tokio::try_join!(client, engine).map_err(io::Error::other)?;
        both_ways(client, engine).await
    };
    let ended = tokio::select! {
        ended = carried => ended,
        () = stop.cancelled() => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "passed_stream_failed");
    }
}

async fn both_ways(client: Upgraded, engine: Upgraded) -> io::Result<()> {
    let (from_client, to_client) = tokio::io::split(TokioIo::new(client));
    let (from_engine, to_engine) = tokio::io::split(TokioIo::new(engine));
    let mut there = std::pin::pin!(one_way(from_client, to_engine));
    let mut back = std::pin::pin!(one_way(from_engine, to_client));
    tokio::select! {
        sent = &mut there => {
            sent?;
            back.await
        }
        answered = &mut back => {
            answered?;
            tokio::time::timeout(HANG_UP_WITHIN, there).await.unwrap_or(Ok(()))
        }
    }
}

/// Copies until the end, and passes that on. Each piece is written whole before the next is read.
async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = from.read(&mut piece).await?;
        let read = piece.get(..count).unwrap_or_default();
        if read.is_empty() {
            return to.shutdown().await;
        }
        to.write_all(read).await?;
        to.flush().await?;
    }
}

#[cfg(test)]
mod tests;
