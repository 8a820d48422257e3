//! The subset of the Docker Engine's HTTP API that the docker client needs for secrets, services, the
//! tasks and networks of these, nodes, and the swarm as a whole.
//!
//! For people whose fingers know `docker secret create`: the unmodified client, with `DOCKER_HOST`
//! at the socket that `--docker-socket` names. Versions 1.24 to 1.50 of the API
//! (<https://docs.docker.com/reference/api/engine/>). Like the other fronts it parses, has the
//! service layer carry the call out, and renders, with Docker's own codes and texts. What it serves
//! so far: `docs/design/docker.md`.
//!
//! Not here: sealing what a client brings in clear (`service::clear`); who may what (`service`).
//!
//! Invariant: a connection that brought a body is closed after its answer, so that no buffer of it
//! lives on with a value in it; what is freed is wiped by the allocator.

mod answer;
mod body;
mod configs;
mod declaration;
mod engine;
mod events;
mod filters;
#[cfg(test)]
mod fuzz;
mod logs;
mod networks;
mod nodes;
mod parameters;
mod secrets;
mod services;
mod swarm;
mod system;
mod tasks;
#[cfg(test)]
mod tests;
mod unread;
mod version;
mod written;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use link::accept::{Accepted, Connection, Peer};
use proto::Kind;
use proto::id::Timestamp;
use proto::identity::Caller;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::util::ServiceExt as _;

use self::answer::Problem;
pub(crate) use self::engine::Engine;
use self::swarm::Desk;
pub(crate) use self::system::host_of;
use self::unread::Lent;
use self::written::WrittenWithin;
use super::grpc::LocalCalls;
use super::{Serving, Stage};
use crate::service::Call;

/// Connections at a time: the client opens one or two for each command.
const CONNECTIONS_MAX: usize = 256;

/// Time for the head of a request: the client is on this machine.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Time for a whole request, until its answer begins: longer than the service layer looks for a
/// leader.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Time for an answer to be written, all of it: the client is on this machine, and has the longest list
/// there is, of a million secrets, in a few seconds.
const WRITTEN_WITHIN: Duration = Duration::from_secs(30);

/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// How long a connection may take for each.
#[derive(Clone, Copy)]
struct Times {
    head: Duration,
    answer: Duration,
    written: Duration,
}

impl Times {
    const USUAL: Self = Self { head: HEAD_WITHIN, answer: ANSWER_WITHIN, written: WRITTEN_WITHIN };
}

/// What a handler works with: the manager, and who asks.
#[derive(Clone)]
struct Front {
    stage: Stage,
    peer: Peer,
    desk: Desk,
    /// Where goes what is not swarm's.
    engine: Engine,
    /// What ends what would not end by itself.
    stop: CancellationToken,
}

impl Front {
    /// A manager at work, and the caller by its name.
    async fn serving(&self) -> Result<(Arc<Serving>, Caller), Problem> {
        let serving = self.stage.serving().map_err(|_| Problem::of_phase(&self.stage.phase()))?;
        let caller = serving.service.authenticate(&self.peer).await?;
        Ok((serving, caller))
    }

    /// Has an object looked up by what a client names it. Docker has less to say about what is missing
    /// than we do.
    async fn find<C: Call>(
        &self,
        what: &str,
        name: &str,
        request: C,
    ) -> Result<C::Response, Problem> {
        let (serving, caller) = self.serving().await?;
        serving.service.route(caller, request).await.map_err(|failure| match failure.kind {
            Kind::NotFound => Problem::not_found(format!("{what} {name} not found")),
            // Of which there are several.
            Kind::Invalid => Problem::invalid(failure.message),
            _ => failure.into(),
        })
    }

    /// Has a call carried out.
    async fn call<C: Call>(&self, request: C) -> Result<C::Response, Problem> {
        let (serving, caller) = self.serving().await?;
        Ok(serving.service.route(caller, request).await?)
    }
}

/// A switch in a query, as Go reads it.
fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "True" | "TRUE")
}

/// An instant as Docker writes it.
fn time(ms: u64) -> String {
    Timestamp(ms).to_rfc3339()
}

fn routes(front: Front) -> Router {
    Router::new()
        .route("/_ping", get(system::ping).head(system::ping))
        .route("/version", get(system::version))
        .route("/info", get(system::info))
        .route("/secrets", get(secrets::list))
        // `create` is no route of its own: that would hide the secret of this name.
        .route("/secrets/{id}", get(secrets::inspect).delete(secrets::remove).post(secrets::create))
        .route("/secrets/{id}/update", post(secrets::update))
        .route("/services", get(services::list))
        .route(
            "/services/{id}",
            get(services::inspect).delete(services::remove).post(services::create),
        )
        .route("/services/{id}/update", post(services::update))
        .route("/services/{id}/logs", get(logs::of_service))
        .route("/events", get(events::follow))
        .route("/configs", get(configs::list))
        .route("/configs/{id}", get(configs::inspect).delete(configs::remove).post(configs::create))
        .route("/configs/{id}/update", post(configs::update))
        .route("/networks", get(networks::list))
        .route(
            "/networks/{id}",
            get(networks::inspect).delete(networks::remove).post(networks::post),
        )
        .route("/swarm", get(swarm::inspect))
        .route("/swarm/unlockkey", get(swarm::unlock_key))
        .route("/swarm/{route}", post(swarm::post))
        .route("/tasks", get(tasks::list))
        .route("/tasks/{id}", get(tasks::inspect))
        .route("/tasks/{id}/logs", get(logs::of_task))
        .route("/nodes", get(nodes::list))
        .route("/nodes/{id}", get(nodes::inspect).delete(nodes::remove))
        .route("/nodes/{id}/update", post(nodes::update))
        .fallback(elsewhere)
        .method_not_allowed_fallback(elsewhere)
        .with_state(front)
}

/// What is no route of swarm's: the engine's, or nobody's.
async fn elsewhere(State(front): State<Front>, request: Request) -> Result<Response, Problem> {
    if engine::is_its(request.method(), request.uri().path()) {
        return engine::pass(&front, request).await;
    }
    Err(Problem::page_not_found())
}

/// What all connections of a front share.
#[derive(Clone)]
struct Shared {
    stage: Stage,
    desk: Desk,
    engine: Engine,
}

/// Serves a socket until `stop`.
pub(crate) async fn serve(
    stage: Stage,
    calls: impl LocalCalls,
    engine: Engine,
    mut accepted: Accepted,
    stop: CancellationToken,
) {
    let shared = Shared { stage, desk: Desk::new(calls), engine };
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    loop {
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            // Never closed.
            Ok(permit) = room.clone().acquire_owned() => permit,
        };
        let connection = tokio::select! {
            () = stop.cancelled() => break,
            connection = accepted.next() => connection,
        };
        let Some(Ok(connection)) = connection else { break };
        let served = serve_one(shared.clone(), connection, stop.clone());
        connections.spawn(async move {
            served.await;
            drop(permit);
        });
    }
    connections.close();
    connections.wait().await;
}

async fn serve_one(shared: Shared, connection: Connection, stop: CancellationToken) {
    let Shared { stage, desk, engine } = shared;
    let (stage_of_front, peer) = (stage.clone(), connection.peer().clone());
    let front = Front { stage: stage_of_front, peer, desk, engine, stop: stop.clone() };
    converse(routes(front), stage, connection, Times::USUAL, stop).await;
}

/// One connection, from its first request to its last answer.
async fn converse(
    routes: Router,
    stage: Stage,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    times: Times,
    stop: CancellationToken,
) {
    let answer = service_fn(move |request| {
        let (routes, phase) = (routes.clone(), stage.phase());
        async move {
            let answer = answer(routes, request, times.answer).await;
            Ok::<_, Infallible>(answer::with_headers(answer, &phase))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(times.head).max_buf_size(HEAD_BYTES_MAX);
    let io = TokioIo::new(WrittenWithin::new(io, times.written));
    let mut serving = std::pin::pin!(http.serve_connection(io, answer).with_upgrades());
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "docker_connection_failed");
    }
}

/// One request: its version is looked at, and what is left of its path routed.
async fn answer(routes: Router, request: hyper::Request<Incoming>, within: Duration) -> Response {
    let had_body = !hyper::body::Body::is_end_stream(request.body());
    let (head, body) = request.into_parts();
    let (lent, unread) = Lent::of(body);
    let request = hyper::Request::from_parts(head, Body::new(lent));
    let mut response = match version::routed(request) {
        // What an engine takes as long as it takes: waiting for a container's end is a request.
        Ok(request) if engine::is_its(request.method(), request.uri().path()) => {
            let Ok(response) = routes.oneshot(request).await;
            response
        }
        Ok(request) => match tokio::time::timeout(within, routes.oneshot(request)).await {
            Ok(Ok(response)) => response,
            Err(_) => Problem::timed_out().into_response(),
        },
        Err(problem) => problem.into_response(),
    };
    if had_body && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        unread.read().await;
        let close = header::HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}
