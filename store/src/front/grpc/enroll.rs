//! Enrolment: the one service for callers without a certificate.

use link::Failure;
use link::accept::Peer;
use link::rpc::enroll_server::Enroll;
use proto::identity::Caller;
use proto::{Kind, pb};
use tonic::{Request, Response, Status};

use super::peer_of;
use crate::front::Stage;
use crate::service::{Call, certified};

pub(super) struct Front(pub(super) Stage);

impl Front {
    async fn by_token<C: Call>(
        &self,
        token: Option<&pb::TokenProof>,
        request: C,
    ) -> Result<Response<C::Response>, Status> {
        let serving = self.0.serving()?;
        // Which token says nothing yet: its secret is compared on the leader.
        let id = token.and_then(|token| token.token_id.parse().ok());
        let id = id.ok_or_else(|| {
            Failure::new(Kind::Unauthenticated, "a join token is needed")
                .hint("make one on a manager: `secretctl cluster join-token`")
        })?;
        Ok(Response::new(serving.service.route(Caller::Token { id }, request).await?))
    }
}

#[tonic::async_trait]
impl Enroll for Front {
    async fn enroll_agent(
        &self,
        request: Request<pb::EnrollAgentRequest>,
    ) -> Result<Response<pb::Enrolled>, Status> {
        let request = request.into_inner();
        self.by_token(request.token.clone().as_ref(), request).await
    }

    async fn enroll_manager(
        &self,
        request: Request<pb::EnrollManagerRequest>,
    ) -> Result<Response<pb::Enrolled>, Status> {
        let request = request.into_inner();
        self.by_token(request.token.clone().as_ref(), request).await
    }

    async fn enroll_operator(
        &self,
        request: Request<pb::EnrollOperatorRequest>,
    ) -> Result<Response<pb::Enrolled>, Status> {
        let request = request.into_inner();
        self.by_token(request.token.clone().as_ref(), request).await
    }

    /// Open to an expired certificate, if the cluster still stands by it.
    async fn renew(
        &self,
        request: Request<pb::RenewRequest>,
    ) -> Result<Response<pb::Enrolled>, Status> {
        let Peer::Remote { certificate: Some(certificate), .. } = peer_of(&request)? else {
            return Err(Failure::new(Kind::Unauthenticated, "a certificate is needed").into());
        };
        let serving = self.0.serving()?;
        serving.service.check_standing(&certificate).await?;
        let request = pb::RenewRequest {
            incarnation: certificate.identity.incarnation.0,
            not_after: certificate.not_after.0,
            ..request.into_inner()
        };
        Ok(Response::new(serving.service.route(certified(&certificate), request).await?))
    }
}
