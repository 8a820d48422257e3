//! What managers say to each other.
//!
//! Raft accepts a manager by its certificate of the present incarnation and "not known to be
//! removed": a follower that lags cannot know newer members. Everything else asks the applied state.

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use link::Failure;
use link::accept::Peer as Caller;
use link::rpc::peer_server::Peer;
use proto::id::MemberId;
use proto::identity::{Role, Subject};
use proto::{Kind, pb};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::peer_of;
use crate::front::{Serving, Stage};
use crate::service::{certified, forwarded};

pub(super) struct Front(pub(super) Stage);

type Answer<T> = Result<Response<T>, Status>;

impl Front {
    /// A manager, as far as this one can know: enough for Raft.
    fn member<T>(
        &self,
        request: &Request<T>,
    ) -> Result<(std::sync::Arc<Serving>, MemberId), Status> {
        let denied = || Failure::new(Kind::Denied, "this call is for a manager");
        let Caller::Remote { certificate: Some(certificate), .. } = peer_of(request)? else {
            return Err(denied().into());
        };
        let serving = self.0.serving()?;
        let denials = &serving.service.denials;
        let caller = certified(&certificate);
        let Subject::Manager(_, member) = certificate.identity.subject else {
            denials.count(caller, Role::Manager.as_str());
            return Err(denied().into());
        };
        let (theirs, ours) = (certificate.identity.incarnation, serving.service.local.incarnation);
        if theirs != ours {
            denials.count(caller, "former_incarnation");
            let text = format!(
                "manager {member} belongs to incarnation {theirs}; the cluster is now {ours}"
            );
            return Err(Failure::new(Kind::Evicted, text)
                .hint("empty its data folder and join anew: docs/operations/evicted-manager.md")
                .into());
        }
        let removed = {
            let state = serving.service.raft.machine.state();
            state.is_removed_member(member)
        };
        if removed {
            denials.count(caller, "revoked_certificate");
            return Err(Failure::new(Kind::Evicted, format!("manager {member} was removed")).into());
        }
        Ok((serving, member))
    }

    /// A manager that the cluster stands by, and as whom it calls.
    async fn standing<T>(
        &self,
        request: &Request<T>,
    ) -> Result<(std::sync::Arc<Serving>, (MemberId, proto::identity::Caller)), Status> {
        let (serving, member) = self.member(request)?;
        let certificate =
            serving.service.authenticate_as(&peer_of(request)?, Role::Manager).await?;
        Ok((serving, (member, certified(&certificate))))
    }
}

#[tonic::async_trait]
impl Peer for Front {
    type AppendStream = BoxStream<'static, Result<pb::AppendResult, Status>>;

    async fn append(
        &self,
        request: Request<Streaming<pb::AppendRequest>>,
    ) -> Answer<Self::AppendStream> {
        let (serving, member) = self.member(&request)?;
        Ok(Response::new(serving.service.raft.receive_appends(member, request.into_inner())))
    }

    async fn heartbeat(&self, request: Request<pb::AppendRequest>) -> Answer<pb::AppendResult> {
        let (serving, member) = self.member(&request)?;
        let result = serving.service.raft.receive_append(member, request.into_inner()).await?;
        Ok(Response::new(result))
    }

    async fn vote(&self, request: Request<pb::VoteRequest>) -> Answer<pb::VoteResponse> {
        let (serving, member) = self.member(&request)?;
        let vote = serving.service.raft.receive_vote(member, request.into_inner(), false).await?;
        Ok(Response::new(vote))
    }

    async fn pre_vote(&self, request: Request<pb::VoteRequest>) -> Answer<pb::VoteResponse> {
        let (serving, member) = self.member(&request)?;
        let vote = serving.service.raft.receive_vote(member, request.into_inner(), true).await?;
        Ok(Response::new(vote))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotChunk>>,
    ) -> Answer<pb::SnapshotResult> {
        let (serving, member) = self.member(&request)?;
        let result = serving.service.raft.receive_snapshot(member, request.into_inner()).await?;
        Ok(Response::new(result))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Answer<pb::TransferLeaderResponse> {
        let (serving, member) = self.member(&request)?;
        let answer = serving.service.raft.receive_transfer(member, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn read_index(
        &self,
        request: Request<pb::ReadIndexRequest>,
    ) -> Answer<pb::ReadIndexResponse> {
        let (serving, _) = self.member(&request)?;
        Ok(Response::new(serving.service.raft.receive_read_index().await?))
    }

    async fn forward(&self, request: Request<pb::ForwardRequest>) -> Answer<pb::ForwardResponse> {
        use pb::forward_response::Outcome;
        let (serving, _) = self.standing(&request).await?;
        let pb::ForwardRequest { caller, method, request } = request.into_inner();
        let caller = minicbor::decode(&caller)
            .map_err(|_| Failure::new(Kind::Invalid, "the caller does not decode"))?;
        let outcome = match forwarded(&serving.service, caller, &method, request).await {
            Ok(response) => Outcome::Response(response.into()),
            Err(failure) => Outcome::Error(failure.into_detail()),
        };
        Ok(Response::new(pb::ForwardResponse { outcome: Some(outcome) }))
    }

    async fn fetch_root_keys(
        &self,
        request: Request<pb::FetchRootKeysRequest>,
    ) -> Answer<pb::FetchRootKeysResponse> {
        let (serving, caller) = self.standing(&request).await?;
        let answer = serving.service.release_root_keys(caller, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn report(&self, request: Request<pb::ReportRequest>) -> Answer<pb::ReportResponse> {
        let (serving, (member, _)) = self.standing(&request).await?;
        serving.inbox.take(&serving.service, member, request.into_inner()).await?;
        Ok(Response::new(pb::ReportResponse {}))
    }

    type StreamOutputStream = BoxStream<'static, Result<pb::OutputRecord, Status>>;

    async fn stream_output(
        &self,
        request: Request<pb::PeerOutputRequest>,
    ) -> Answer<Self::StreamOutputStream> {
        let (serving, _) = self.standing(&request).await?;
        let selector = request.into_inner().selector.unwrap_or_default();
        let service = selector
            .service_id
            .parse()
            .map_err(|_| Failure::new(Kind::Invalid, "the selector names no service by its id"))?;
        let records = serving.dispatcher.output(service, selector)?;
        Ok(Response::new(ReceiverStream::new(records).map(Ok).boxed()))
    }

    type ExecStream = ReceiverStream<Result<pb::ExecOutput, Status>>;

    async fn exec(&self, request: Request<Streaming<pb::ExecInput>>) -> Answer<Self::ExecStream> {
        let (serving, _) = self.standing(&request).await?;
        Ok(Response::new(serving.dispatcher.exec_for_peer(request.into_inner()).await?))
    }

    async fn describe(
        &self,
        request: Request<pb::DescribeRequest>,
    ) -> Answer<pb::DescribeResponse> {
        let (serving, _) = self.member(&request)?;
        Ok(Response::new(serving.service.describe_self()))
    }

    async fn describe_keys(
        &self,
        request: Request<pb::DescribeKeysRequest>,
    ) -> Answer<pb::HeldKeys> {
        let (serving, _) = self.standing(&request).await?;
        Ok(Response::new(serving.service.describe_own_keys(request.into_inner()).await?))
    }

    /// The one call of boot keys. Whether the cluster stands by this one is said by who leads, with
    /// the reason.
    async fn release(&self, request: Request<pb::ReleaseRequest>) -> Answer<pb::ReleaseResponse> {
        let Caller::Remote { certificate: Some(certificate), address } = peer_of(&request)? else {
            return Err(Failure::new(Kind::Unauthenticated, "a boot certificate is needed").into());
        };
        let serving = self.0.serving()?;
        let request = pb::ReleaseRequest {
            boot_key_digest: certificate.key_digest.to_vec().into(),
            from: address,
            ..request.into_inner()
        };
        Ok(Response::new(serving.service.route(certified(&certificate), request).await?))
    }

    async fn try_slot(&self, request: Request<pb::TrySlotRequest>) -> Answer<pb::TrySlotResponse> {
        let (serving, _) = self.standing(&request).await?;
        Ok(Response::new(serving.service.try_slot(request.into_inner()).await?))
    }
}
