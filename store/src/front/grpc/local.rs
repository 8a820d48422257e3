//! What only this machine may ask: making, joining, unlocking and leaving a cluster.

use std::future::Future;

use link::Failure;
use link::accept::Peer;
use link::rpc::local_server::Local;
use proto::{Kind, pb};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::peer_of;
use crate::front::Stage;

/// Answers of one call that are on their way: a key, and what came of it.
const ANSWERS_MAX: usize = 2;

/// What is brought to be restored.
pub(crate) type Incoming = Streaming<pb::RestoreRequest>;

/// What who brings it is told.
pub(crate) type Outgoing = mpsc::Sender<Result<pb::RestoreResponse, Status>>;

/// What a manager does for the operator on its own machine.
pub(crate) trait LocalCalls: Clone + Send + Sync + 'static {
    /// Whether a local user may.
    fn admits(&self, uid: u32) -> Result<(), Failure>;
    /// How the manager stands.
    fn status(&self) -> pb::LocalStatus;
    /// Makes a cluster.
    fn init(
        &self,
        request: pb::InitRequest,
    ) -> impl Future<Output = Result<pb::InitResponse, Failure>> + Send;
    /// Joins one.
    fn join(
        &self,
        request: pb::JoinRequest,
    ) -> impl Future<Output = Result<pb::JoinResponse, Failure>> + Send;
    /// Makes one out of a backup that comes in; tells what came of it.
    fn restore(&self, incoming: Incoming, outgoing: Outgoing) -> impl Future<Output = ()> + Send;
    /// Opens a locked manager's key file.
    fn unlock(
        &self,
        uid: u32,
        request: pb::UnlockRequest,
    ) -> impl Future<Output = Result<pb::UnlockResponse, Failure>> + Send;

    /// Takes a share of what opens the key file, from this uid.
    fn enter_share(
        &self,
        uid: u32,
        request: pb::EnterShareRequest,
    ) -> impl Future<Output = Result<pb::EnterShareResponse, Failure>> + Send;
    /// Leaves it for good.
    fn leave(
        &self,
        uid: u32,
        request: pb::LeaveRequest,
    ) -> impl Future<Output = Result<pb::LeaveResponse, Failure>> + Send;
}

pub(super) struct Front<C> {
    pub(super) stage: Stage,
    pub(super) calls: C,
}

impl<C: LocalCalls> Front<C> {
    fn admit<T>(&self, request: &Request<T>) -> Result<u32, Status> {
        match peer_of(request)? {
            Peer::Local { uid } => {
                self.calls.admits(uid)?;
                Ok(uid)
            }
            Peer::Remote { .. } => {
                Err(Failure::new(Kind::Denied, "only the manager's own machine may ask").into())
            }
        }
    }
}

#[tonic::async_trait]
impl<C: LocalCalls> Local for Front<C> {
    async fn get_local_status(
        &self,
        request: Request<pb::GetLocalStatusRequest>,
    ) -> Result<Response<pb::LocalStatus>, Status> {
        self.admit(&request)?;
        let mut status = self.calls.status();
        self.stage.phase().as_str().clone_into(&mut status.phase);
        Ok(Response::new(status))
    }

    async fn init(
        &self,
        request: Request<pb::InitRequest>,
    ) -> Result<Response<pb::InitResponse>, Status> {
        self.admit(&request)?;
        Ok(Response::new(self.calls.init(request.into_inner()).await?))
    }

    async fn join(
        &self,
        request: Request<pb::JoinRequest>,
    ) -> Result<Response<pb::JoinResponse>, Status> {
        self.admit(&request)?;
        Ok(Response::new(self.calls.join(request.into_inner()).await?))
    }

    type RestoreStream = ReceiverStream<Result<pb::RestoreResponse, Status>>;

    async fn restore(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Self::RestoreStream>, Status> {
        self.admit(&request)?;
        let (outgoing, answers) = mpsc::channel(ANSWERS_MAX);
        let calls = self.calls.clone();
        // On its own: whoever asked may go away in the middle of what must be whole.
        tokio::spawn(async move { calls.restore(request.into_inner(), outgoing).await });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn unlock(
        &self,
        request: Request<pb::UnlockRequest>,
    ) -> Result<Response<pb::UnlockResponse>, Status> {
        let uid = self.admit(&request)?;
        Ok(Response::new(self.calls.unlock(uid, request.into_inner()).await?))
    }

    async fn enter_share(
        &self,
        request: Request<pb::EnterShareRequest>,
    ) -> Result<Response<pb::EnterShareResponse>, Status> {
        let uid = self.admit(&request)?;
        Ok(Response::new(self.calls.enter_share(uid, request.into_inner()).await?))
    }

    async fn leave(
        &self,
        request: Request<pb::LeaveRequest>,
    ) -> Result<Response<pb::LeaveResponse>, Status> {
        let uid = self.admit(&request)?;
        Ok(Response::new(self.calls.leave(uid, request.into_inner()).await?))
    }
}
