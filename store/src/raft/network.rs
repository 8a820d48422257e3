//! Sending: openraft's network over gRPC, a few connections per peer.
//!
//! Replication, heartbeats with votes, snapshots and other calls have a connection each: a large
//! append must not delay a heartbeat. Replication is one long stream, pipelined, with a bound on
//! the bytes in flight. Every message names the member it is meant for; the receiver compares.
//!
//! Invariant: a call that gets no answer ends; nothing here waits without a limit.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use link::dial::{self, Patience, Scissors};
use link::rpc::peer_client::PeerClient;
use openraft::OptionalSend;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use prost::Message as _;
use proto::id::MemberId;
use proto::pb;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use super::codec::{
    append_result_from_pb, append_to_pb, transfer_to_pb, vote_from_pb, vote_request_to_pb,
    vote_response_from_pb, vote_to_pb,
};
use super::pipeline;
use super::snapshot::{SnapshotData, Snapshots, head_to_pb};
use super::type_config::{LeaderId, PeerNode, TypeConfig, Vote};

/// No answer for this long with appends in flight: the stream is dead. Longer than a slow disk
/// takes for the bytes in flight.
const STREAM_STALL: Duration = Duration::from_secs(2);

/// No progress for this long: a snapshot's receiver is dead.
const SNAPSHOT_STALL: Duration = Duration::from_secs(30);

/// Kibibytes of appends in flight to one follower: enough to keep its disk busy, little enough
/// that a heartbeat's answer does not wait behind many flushes.
const WINDOW_KIB: u32 = 2 << 10;

/// Largest message between managers, in bytes: an append of the largest entry.
pub(crate) const PEER_MESSAGE_BYTES_MAX: usize = 8 << 20;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Appends.
    Replication,
    /// Heartbeats, votes, read indexes.
    Heartbeat,
    /// Snapshots.
    Bulk,
    /// Everything that is not Raft's.
    Calls,
    /// Commands in tasks: who does not read what one prints holds up no call.
    Execs,
}

/// Connections to the other managers.
pub(crate) struct Pool {
    pub(crate) me: MemberId,
    config: Arc<rustls::ClientConfig>,
    addresses: Mutex<BTreeMap<MemberId, String>>,
    channels: Mutex<BTreeMap<(MemberId, Purpose), Channel>>,
    scissors: Scissors,
}

impl Pool {
    pub(crate) fn new(me: MemberId, config: Arc<rustls::ClientConfig>) -> Arc<Self> {
        let (addresses, channels) = (Mutex::default(), Mutex::default());
        Arc::new(Self { me, config, addresses, channels, scissors: Scissors::default() })
    }

    /// Notes where a member is reached; its connections are made anew if that changed.
    pub(crate) fn set_address(&self, member: MemberId, address: &str) {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if addresses.get(&member).is_some_and(|known| known == address) {
            return;
        }
        addresses.insert(member, address.to_owned());
        drop(addresses);
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.retain(|(other, _), _| *other != member);
    }

    /// Makes every connection anew when it is next used: with the certificate that this manager has
    /// by then. One that is in use goes on until its call ends.
    pub(crate) fn reconnect(&self) {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Cuts every connection, whatever it is used for: whom it leads to was checked by what was
    /// trusted when it began. Each is made anew when it is next used.
    pub(crate) fn cut(&self) {
        self.reconnect();
        self.scissors.cut();
    }

    /// Where a member is reached, as far as this manager knows.
    pub(crate) fn address(&self, member: MemberId) -> Option<String> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).get(&member).cloned()
    }

    /// A connection to a member; it connects when it is used.
    pub(crate) fn channel(&self, member: MemberId, purpose: Purpose) -> Result<Channel, Status> {
        let unknown = || Status::unavailable(format!("manager {member} has no known address"));
        let address = self.address(member).ok_or_else(unknown)?;
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(&(member, purpose)) {
            return Ok(channel.clone());
        }
        let (config, scissors) = (self.config.clone(), &self.scissors);
        let channel = dial::channel_with(&address, config, Patience::PEER, scissors)
            .map_err(|error| Status::unavailable(error.to_string()))?;
        channels.insert((member, purpose), channel.clone());
        Ok(channel)
    }

    /// A client of a member.
    pub(crate) fn client(
        &self,
        member: MemberId,
        purpose: Purpose,
    ) -> Result<PeerClient<Channel>, Status> {
        Ok(PeerClient::new(self.channel(member, purpose)?)
            .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX))
    }
}

/// Makes openraft's clients.
#[derive(Clone)]
pub(crate) struct Network {
    pool: Arc<Pool>,
    snapshots: Snapshots,
}

impl Network {
    pub(crate) fn new(pool: Arc<Pool>, snapshots: Snapshots) -> Self {
        Self { pool, snapshots }
    }

    fn to(&self, target: u64, node: &PeerNode, purpose: Purpose) -> PeerLink {
        let target = MemberId(target);
        self.pool.set_address(target, &node.address);
        PeerLink { pool: self.pool.clone(), snapshots: self.snapshots.clone(), target, purpose }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = PeerLink;

    async fn new_client(&mut self, target: u64, node: &PeerNode) -> PeerLink {
        self.to(target, node, Purpose::Replication)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &PeerNode) -> PeerLink {
        self.to(target, node, Purpose::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &PeerNode) -> PeerLink {
        self.to(target, node, Purpose::Bulk)
    }
}

/// openraft's client of one member, for one purpose.
pub(crate) struct PeerLink {
    pool: Arc<Pool>,
    snapshots: Snapshots,
    target: MemberId,
    purpose: Purpose,
}

type Failed = RPCError<TypeConfig>;

/// Out of reach is backed off at once; anything else is tried again a few times first.
fn failed(status: &Status) -> Failed {
    match status.code() {
        Code::Unavailable | Code::PermissionDenied | Code::Unauthenticated | Code::Unknown => {
            RPCError::Unreachable(Unreachable::from_string(status.message()))
        }
        _ => RPCError::Network(NetworkError::from_string(status.message())),
    }
}

fn malformed(error: &std::io::Error) -> Failed {
    RPCError::Network(NetworkError::from_string(error))
}

fn silent(limit: Duration) -> Failed {
    let text = format!("no answer within {} ms", limit.as_millis());
    RPCError::Network(NetworkError::from_string(text))
}

impl PeerLink {
    fn client(&self, purpose: Purpose) -> Result<PeerClient<Channel>, Failed> {
        self.pool.client(self.target, purpose).map_err(|status| failed(&status))
    }
}

async fn answered<T>(
    limit: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Failed> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(failed(&status)),
        Err(_) => Err(silent(limit)),
    }
}

/// Appends that were sent and not answered: how many, and how large.
struct InFlight {
    count: AtomicU64,
    room: Semaphore,
    sizes: Mutex<VecDeque<u32>>,
}

impl InFlight {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            count: AtomicU64::new(0),
            room: Semaphore::new(WINDOW_KIB as usize),
            sizes: Mutex::default(),
        })
    }

    /// Waits for room for one more append.
    async fn add(&self, bytes: usize) {
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(WINDOW_KIB).min(WINDOW_KIB);
        if let Ok(permit) = self.room.acquire_many(kib).await {
            permit.forget();
        }
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner).push_back(kib);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// One append was answered: answers come in the order of the appends.
    fn answered(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        let size = self.sizes.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        self.room.add_permits(size.unwrap_or(0) as usize);
    }

    fn is_idle(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }
}

/// Answers as openraft takes them, until the stream ends, stalls or says no.
fn answers(
    stream: tonic::Streaming<pb::AppendResult>,
    in_flight: Arc<InFlight>,
) -> BoxStream<'static, Result<StreamAppendResult<TypeConfig>, Failed>> {
    Box::pin(futures_util::stream::unfold(Some((stream, in_flight)), |open| async move {
        let (mut stream, in_flight) = open?;
        let mut was_idle = in_flight.is_idle();
        loop {
            match tokio::time::timeout(STREAM_STALL, stream.next()).await {
                // Nothing was in flight when the wait began: it is quiet, not dead.
                Err(_) if was_idle => was_idle = in_flight.is_idle(),
                Err(_) => return Some((Err(silent(STREAM_STALL)), None)),
                Ok(None) => return None,
                Ok(Some(Err(status))) => return Some((Err(failed(&status)), None)),
                Ok(Some(Ok(result))) => {
                    in_flight.answered();
                    return Some(match append_result_from_pb(result) {
                        Err(error) => (Err(malformed(&error)), None),
                        Ok(Ok(matched)) => (Ok(Ok(matched)), Some((stream, in_flight))),
                        Ok(Err(refused)) => (Ok(Err(refused)), None),
                    });
                }
            }
        }
    }))
}

impl RaftNetworkV2<TypeConfig> for PeerLink {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, Failed> {
        // A heartbeat must be quick; an append may carry megabytes.
        let limit =
            if self.purpose == Purpose::Heartbeat { option.soft_ttl() } else { STREAM_STALL };
        let mut client = self.client(self.purpose)?;
        let request = append_to_pb(&rpc, self.target.0);
        let result = answered(limit, client.heartbeat(request)).await?;
        let result = append_result_from_pb(result).map_err(|error| malformed(&error))?;
        Ok(result.into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, Failed>>, Failed>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        if self.purpose != Purpose::Replication {
            return stream_append_sequential(self, input, option);
        }
        Box::pin(async move {
            let (mut input, joint) = pipeline::requests(input);
            // The first request is taken before connecting: openraft waits out its backoff inside
            // this stream, and would spin if connecting failed without asking for one.
            let Some(first) = input.next().await else {
                return Ok(Box::pin(futures_util::stream::empty()) as BoxStream<'s, _>);
            };
            let mut client = self.client(Purpose::Replication)?;
            let in_flight = InFlight::new();
            let (window, target) = (in_flight.clone(), self.target.0);
            let all = futures_util::stream::once(std::future::ready(first)).chain(input);
            let requests = all.then(move |request| {
                let window = window.clone();
                async move {
                    let request = append_to_pb(&request, target);
                    window.add(request.encoded_len()).await;
                    request
                }
            });
            let stream = answered(STREAM_STALL, client.append(requests)).await?;
            Ok(Box::pin(joint.answers(answers(stream, in_flight))) as BoxStream<'s, _>)
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failed> {
        let mut client = self.client(Purpose::Heartbeat)?;
        let request = vote_request_to_pb(&rpc, self.target.0);
        let response = answered(option.soft_ttl(), client.vote(request)).await?;
        vote_response_from_pb(response).map_err(|error| malformed(&error))
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failed> {
        let mut client = self.client(Purpose::Heartbeat)?;
        let request = vote_request_to_pb(&rpc, self.target.0);
        let response = answered(option.soft_ttl(), client.pre_vote(request)).await?;
        vote_response_from_pb(response).map_err(|error| malformed(&error))
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Failed> {
        let mut client = self.client(Purpose::Heartbeat)?;
        let call = client.transfer_leader(transfer_to_pb(&req));
        let response = answered(option.soft_ttl(), call).await?;
        if response.refused.is_empty() {
            return Ok(Ok(()));
        }
        Err(RPCError::Network(NetworkError::from_string(response.refused)))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: openraft::Snapshot<LeaderId, u64, PeerNode, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let mut client = self.client(Purpose::Bulk)?;
        let mut head = head_to_pb(&snapshot.meta, &snapshot.snapshot.link);
        head.vote = Some(vote_to_pb(&vote));
        head.target = self.target.0;
        let sent = Arc::new(AtomicU64::new(0));
        let chunks = send_chunks(self.snapshots.clone(), snapshot.snapshot.name, head, &sent);
        let call = client.snapshot(chunks);
        tokio::select! {
            response = call => {
                let response = response.map_err(|status| failed(&status))?.into_inner();
                let vote = vote_from_pb(response.vote).map_err(|error| malformed(&error))?;
                Ok(SnapshotResponse::new(vote))
            }
            closed = cancel => Err(StreamingError::Closed(closed)),
            () = stalled(sent) => Err(silent(SNAPSHOT_STALL).into()),
        }
    }
}

/// Reads and opens a snapshot file off the runtime's threads, a few chunks ahead of the network.
fn send_chunks(
    snapshots: Snapshots,
    name: String,
    head: pb::SnapshotHead,
    sent: &Arc<AtomicU64>,
) -> ReceiverStream<pb::SnapshotChunk> {
    use pb::snapshot_chunk::Chunk;
    let (chunks, stream) = mpsc::channel(4);
    let sent = sent.clone();
    tokio::task::spawn_blocking(move || {
        let send = |chunk| {
            sent.fetch_add(1, Ordering::Relaxed);
            chunks.blocking_send(pb::SnapshotChunk { chunk: Some(chunk) }).is_ok()
        };
        let mut file = match snapshots.open(&name) {
            Ok((_, file)) => file,
            Err(error) => {
                tracing::error!(%error, "snapshot_not_sent");
                return;
            }
        };
        if !send(Chunk::Head(head)) {
            return;
        }
        let mut bytes = 0;
        loop {
            match file.next() {
                Ok(Some(chunk)) => {
                    bytes += chunk.len() as u64;
                    if !send(Chunk::Data(chunk.into())) {
                        return;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    // Without its tail the receiver throws it away.
                    tracing::error!(%error, "snapshot_not_sent");
                    return;
                }
            }
        }
        send(Chunk::Tail(pb::SnapshotTail { bytes, sha256: bytes::Bytes::new() }));
    });
    ReceiverStream::new(stream)
}

/// Ends when nothing was sent for a while: a limit on progress, not on the whole transfer.
async fn stalled(sent: Arc<AtomicU64>) {
    let mut last = sent.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(SNAPSHOT_STALL).await;
        let now = sent.load(Ordering::Relaxed);
        if now == last {
            return;
        }
        last = now;
    }
}
