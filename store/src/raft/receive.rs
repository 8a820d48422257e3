//! Receiving: what a peer sends, checked, handed to openraft.
//!
//! A peer speaks for itself alone: its certificate's member id must be the leader or candidate of
//! the message, and the message must be meant for this member. Not here: whether the certificate
//! may speak Raft at all (front).

use std::io;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use openraft::raft::AppendEntriesRequest;
use proto::id::MemberId;
use proto::pb;
use state::SnapshotReader;
use tokio::sync::Semaphore;
use tonic::{Status, Streaming};

use super::codec::{
    append_from_pb, append_result_to_pb, transfer_from_pb, transfer_response_to_pb, vote_from_pb,
    vote_request_from_pb, vote_response_to_pb, vote_to_pb,
};
use super::snapshot::{SnapshotData, SnapshotWriter, head_from_pb};
use super::type_config::{SnapshotMeta, TypeConfig};
use super::{Raft, log_id_to_pb};

/// No piece of a snapshot for this long: its sender is dead.
const SNAPSHOT_STALL: Duration = Duration::from_secs(30);

/// What a restarted voter must not do yet.
pub(super) struct VoteGuard {
    /// A voter forgets with its memory the lease it acknowledged to a leader; until any such lease
    /// is over it grants no vote, or a second leader could be elected under the first one's lease.
    not_before: Instant,
    receiving_snapshot: Semaphore,
}

impl VoteGuard {
    pub(super) fn new(not_before: Instant) -> Self {
        Self { not_before, receiving_snapshot: Semaphore::new(1) }
    }

    /// Whether a vote may be granted at that moment. To whom the leader itself hands over, at any:
    /// it gives its lease up with that.
    pub(super) fn allows(&self, at: Instant, for_transfer: bool) -> bool {
        for_transfer || at >= self.not_before
    }
}

fn refused(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(error.to_string())
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

/// Nobody speaks for another member.
fn own(peer: MemberId, vote: Option<&pb::Vote>) -> Result<(), Status> {
    match vote {
        Some(vote) if vote.leader == peer.0 => Ok(()),
        _ => Err(Status::permission_denied("this message speaks for another manager")),
    }
}

impl Raft {
    fn meant_for_me(&self, target: u64) -> Result<(), Status> {
        if target == self.me.0 {
            return Ok(());
        }
        Err(Status::permission_denied(format!("this is manager {}, not {target}", self.me)))
    }

    fn check_append(
        &self,
        peer: MemberId,
        request: pb::AppendRequest,
    ) -> Result<AppendEntriesRequest<TypeConfig>, Status> {
        own(peer, request.vote.as_ref())?;
        self.meant_for_me(request.target)?;
        append_from_pb(request).map_err(refused)
    }

    /// A heartbeat, or a single append.
    pub(crate) async fn receive_append(
        &self,
        peer: MemberId,
        request: pb::AppendRequest,
    ) -> Result<pb::AppendResult, Status> {
        let request = self.check_append(peer, request)?;
        let previous = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id).or(previous);
        let response = self.inner.append_entries(request).await.map_err(stopped)?;
        Ok(append_result_to_pb(&response.into_stream_result(previous, last)))
    }

    /// A stream of appends; it ends at the first message that is not one.
    pub(crate) fn receive_appends(
        &self,
        peer: MemberId,
        requests: Streaming<pb::AppendRequest>,
    ) -> BoxStream<'static, Result<pb::AppendResult, Status>> {
        let raft = self.clone();
        let checked = requests.map(move |request| {
            let request = request.inspect_err(|status| {
                tracing::debug!(%status, peer.member = %peer, "append_stream_ended");
            });
            let checked = request.and_then(|request| raft.check_append(peer, request));
            checked.inspect_err(|status| {
                tracing::debug!(%status, peer.member = %peer, "append_refused");
            })
        });
        let valid = checked
            .take_while(|request| std::future::ready(request.is_ok()))
            .filter_map(|request| std::future::ready(request.ok()));
        let results = self.inner.clone().stream_append(valid);
        Box::pin(results.map(|result| match result {
            Ok(result) => Ok(append_result_to_pb(&result)),
            Err(fatal) => Err(stopped(fatal)),
        }))
    }

    fn may_vote(&self, for_transfer: bool) -> Result<(), Status> {
        if self.guard.allows(Instant::now(), for_transfer) {
            return Ok(());
        }
        Err(Status::unavailable("the lease of a leader before the restart is not over yet"))
    }

    /// A candidate's request.
    pub(crate) async fn receive_vote(
        &self,
        peer: MemberId,
        request: pb::VoteRequest,
        pre_vote: bool,
    ) -> Result<pb::VoteResponse, Status> {
        own(peer, request.vote.as_ref())?;
        self.meant_for_me(request.target)?;
        let request = vote_request_from_pb(request).map_err(refused)?;
        self.may_vote(request.leadership_transfer && !pre_vote)?;
        let response = if pre_vote {
            self.inner.pre_vote(request).await
        } else {
            self.inner.vote(request).await
        };
        Ok(vote_response_to_pb(&response.map_err(stopped)?))
    }

    /// A leader's wish that this member takes over.
    pub(crate) async fn receive_transfer(
        &self,
        peer: MemberId,
        request: pb::TransferLeaderRequest,
    ) -> Result<pb::TransferLeaderResponse, Status> {
        own(peer, request.from.as_ref())?;
        let request = transfer_from_pb(request).map_err(refused)?;
        let response = self.inner.handle_transfer_leader(request).await.map_err(stopped)?;
        Ok(transfer_response_to_pb(response))
    }

    /// A snapshot: sealed to disk and decoded while it arrives, so that installing it is a swap of
    /// pointers (openraft answers nothing while it installs).
    pub(crate) async fn receive_snapshot(
        &self,
        peer: MemberId,
        mut chunks: Streaming<pb::SnapshotChunk>,
    ) -> Result<pb::SnapshotResult, Status> {
        use pb::snapshot_chunk::Chunk;
        let first = chunks.message().await?.and_then(|chunk| chunk.chunk);
        let Some(Chunk::Head(head)) = first else { return Err(refused("no head")) };
        own(peer, head.vote.as_ref())?;
        self.meant_for_me(head.target)?;
        let vote = vote_from_pb(head.vote).map_err(refused)?;
        // A leader of the past is turned away before it sends everything.
        let mine = self.inner.with_raft_state(|state| *state.vote_ref()).await.map_err(stopped)?;
        if mine > vote {
            return Ok(pb::SnapshotResult { vote: Some(vote_to_pb(&mine)) });
        }
        // What this manager has applied may have been removed since: it would come back to the disk.
        if !is_ahead(&head, self.applied_index()) {
            return Ok(pb::SnapshotResult { vote: Some(vote_to_pb(&mine)) });
        }
        // Given back however this ends: who sent it may hang up in the middle.
        let Ok(_one_at_a_time) = self.guard.receiving_snapshot.try_acquire() else {
            return Err(Status::resource_exhausted("another snapshot is being received"));
        };
        let (meta, snapshot) = self.receive_chunks(head, &mut chunks).await?;
        let snapshot = openraft::Snapshot { meta, snapshot };
        let response = self.inner.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
        Ok(pb::SnapshotResult { vote: Some(vote_to_pb(&response.vote)) })
    }

    async fn receive_chunks(
        &self,
        head: pb::SnapshotHead,
        chunks: &mut Streaming<pb::SnapshotChunk>,
    ) -> Result<(SnapshotMeta, SnapshotData), Status> {
        use pb::snapshot_chunk::Chunk;
        let head = head_from_pb(head).map_err(refused)?;
        let file = self.machine.snapshots().create(&head.meta, head.link).map_err(disk_failed)?;
        let mut receiver = Receiver { file, reader: SnapshotReader::new(), bytes: 0 };
        loop {
            let next = tokio::time::timeout(SNAPSHOT_STALL, chunks.message());
            let next =
                next.await.map_err(|_| Status::deadline_exceeded("the snapshot stalled"))??;
            match next.and_then(|chunk| chunk.chunk) {
                Some(Chunk::Data(data)) => receiver = receiver.take(data).await?,
                Some(Chunk::Tail(tail)) if tail.bytes == receiver.bytes => {
                    return Ok((head.meta, receiver.finish().await?));
                }
                _ => return Err(refused("the snapshot is not whole")),
            }
        }
    }

    /// The index that a linearizable read elsewhere must wait for.
    pub(crate) async fn receive_read_index(&self) -> Result<pb::ReadIndexResponse, Status> {
        let linearizer = self.confirm().await?;
        Ok(pb::ReadIndexResponse {
            id: Some(log_id_to_pb(linearizer.read_log_id().log_id())),
            lease_ms: u64::try_from(self.profile.lease().as_millis()).unwrap_or(u64::MAX),
        })
    }
}

/// Whether a snapshot covers more than what is applied here. One that does not must not be written:
/// it may hold what was removed, under a log key that everything from before is rid of.
fn is_ahead(head: &pb::SnapshotHead, applied: u64) -> bool {
    head.last.as_ref().is_some_and(|last| last.index > applied)
}

fn disk_failed(error: impl Into<io::Error>) -> Status {
    let error = error.into();
    tracing::error!(%error, "snapshot_not_received");
    Status::unavailable("the snapshot could not be stored")
}

/// A snapshot that is arriving.
struct Receiver {
    file: SnapshotWriter,
    reader: SnapshotReader,
    bytes: u64,
}

impl Receiver {
    /// Seals and decodes one piece off the runtime's threads.
    async fn take(mut self, data: bytes::Bytes) -> Result<Self, Status> {
        tokio::task::spawn_blocking(move || {
            self.bytes += data.len() as u64;
            self.file.write(&data).map_err(disk_failed)?;
            self.reader.feed(&data).map_err(refused)?;
            Ok(self)
        })
        .await
        .map_err(stopped)?
    }

    async fn finish(self) -> Result<SnapshotData, Status> {
        tokio::task::spawn_blocking(move || {
            let state = self.reader.finish().map_err(refused)?;
            let mut snapshot = self.file.finish().map_err(disk_failed)?;
            snapshot.state = Some(Box::new(state));
            Ok(snapshot)
        })
        .await
        .map_err(stopped)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_of_what_was_applied_long_ago_is_not_written() {
        let head = |index| pb::SnapshotHead {
            last: Some(pb::LogId { term: 1, leader: 1, index }),
            ..pb::SnapshotHead::default()
        };
        assert!(is_ahead(&head(8), 7));
        assert!(!is_ahead(&head(7), 7), "what it holds is held");
        assert!(!is_ahead(&head(6), 7));
        assert!(!is_ahead(&pb::SnapshotHead::default(), 0));
    }
}
