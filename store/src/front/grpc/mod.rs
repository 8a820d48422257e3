//! gRPC: one set of services on the port, another on the unix socket.
//!
//! The port serves operators, agents and managers over mTLS; the socket serves this machine. Who
//! is at the other end was settled when the connection was accepted and travels with the request.

mod control;
mod dispatcher;
mod enroll;
mod local;
mod peer;

use std::future::Future;
use std::time::Duration;

use link::accept::{Accepted, Peer};
use link::rpc::control_server::ControlServer;
use link::rpc::dispatcher_server::DispatcherServer;
use link::rpc::enroll_server::EnrollServer;
use link::rpc::local_server::LocalServer;
use link::rpc::peer_server::PeerServer;
use proto::limits::MESSAGE_BYTES_MAX;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Request, Status};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

pub(crate) use self::local::{Incoming, LocalCalls, Outgoing};
use super::Stage;
use crate::raft::PEER_MESSAGE_BYTES_MAX;

/// Calls at a time on one connection: a manager's forwarding of many clients fits.
const STREAMS_MAX: u32 = 4_096;

/// Bytes in flight of one call, and of one connection: a largest message and a few behind it.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// How a server notices that a client is gone without having said so.
const PING_EVERY: Duration = Duration::from_secs(5);
const PING_ANSWER: Duration = Duration::from_secs(5);

/// Largest header list of a request, in bytes: ours are a few hundred.
const HEADERS_BYTES_MAX: u32 = 16 << 10;

/// Largest message of enrolment, in bytes: a token and a public key.
const ENROLL_BYTES_MAX: usize = 16 << 10;

/// Who is at the other end of the connection that a request came by.
fn peer_of<T>(request: &Request<T>) -> Result<Peer, Status> {
    let peer = request.extensions().get::<Peer>().cloned();
    peer.ok_or_else(|| Status::internal("a connection without a peer"))
}

/// The services on the port.
fn remote(stage: &Stage) -> Routes {
    Routes::default()
        .add_service(control(stage))
        .add_service(
            EnrollServer::new(enroll::Front(stage.clone()))
                .max_decoding_message_size(ENROLL_BYTES_MAX),
        )
        .add_service(
            DispatcherServer::new(dispatcher::Front(stage.clone()))
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
        )
        .add_service(
            PeerServer::new(peer::Front(stage.clone()))
                .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
                .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX),
        )
}

fn control(stage: &Stage) -> ControlServer<control::Front> {
    ControlServer::new(control::Front(stage.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(ANSWER_BYTES_MAX)
}

/// Largest answer to an operator, in bytes: the list of every secret of a large cluster.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Serves the port until `stop`.
pub(crate) async fn serve_remote(
    stage: Stage,
    accepted: Accepted,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    serve(remote(&stage), stage, accepted, stop).await
}

/// Serves the unix socket until `stop`.
pub(crate) async fn serve_local(
    stage: Stage,
    calls: impl LocalCalls,
    accepted: Accepted,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let local = local::Front { stage: stage.clone(), calls };
    let routes = Routes::default()
        .add_service(control(&stage))
        .add_service(LocalServer::new(local).max_decoding_message_size(MESSAGE_BYTES_MAX));
    serve(routes, stage, accepted, stop).await
}

async fn serve(
    routes: Routes,
    stage: Stage,
    accepted: Accepted,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let watcher = tokio::spawn(report_health(stage, reporter));
    let served = Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_ANSWER))
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .add_routes(routes.add_service(health))
        .serve_with_incoming_shutdown(accepted, stop)
        .await;
    watcher.abort();
    served
}

/// Tells gRPC's health service when this manager serves.
async fn report_health(mut stage: Stage, reporter: HealthReporter) {
    loop {
        let status = match stage.serving() {
            Ok(_) => ServingStatus::Serving,
            Err(_) => ServingStatus::NotServing,
        };
        reporter.set_service_status("", status).await;
        if stage.0.changed().await.is_err() {
            return;
        }
    }
}
