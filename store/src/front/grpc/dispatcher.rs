//! Agents' sessions, and their streams for commands in tasks.

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use link::Failure;
use link::rpc::dispatcher_server::Dispatcher;
use proto::identity::Role;
use proto::{Kind, pb};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::peer_of;
use crate::front::Stage;
use crate::service::agent_node;

pub(super) struct Front(pub(super) Stage);

#[tonic::async_trait]
impl Dispatcher for Front {
    type SessionStream = ReceiverStream<Result<pb::ManagerMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<pb::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let peer = peer_of(&request)?;
        let serving = self.0.serving()?;
        let certificate = serving.service.authenticate_as(&peer, Role::Agent).await?;
        let node = agent_node(&certificate)
            .ok_or_else(|| Failure::new(Kind::Denied, "this call is for an agent"))?;
        let session = serving.dispatcher.open(certificate, node, request.into_inner());
        Ok(Response::new(session))
    }

    type ExecStream = BoxStream<'static, Result<pb::ExecInput, Status>>;

    async fn exec(
        &self,
        request: Request<Streaming<pb::ExecOutput>>,
    ) -> Result<Response<Self::ExecStream>, Status> {
        let peer = peer_of(&request)?;
        let serving = self.0.serving()?;
        let certificate = serving.service.authenticate_as(&peer, Role::Agent).await?;
        let node = agent_node(&certificate)
            .ok_or_else(|| Failure::new(Kind::Denied, "this call is for an agent"))?;
        let inputs =
            serving.dispatcher.agent_answers(&certificate, node, request.into_inner()).await?;
        Ok(Response::new(ReceiverStream::new(inputs).map(Ok).boxed()))
    }
}
