//! The fake manager's calls that are for its own machine.

use link::rpc::local_server::Local;
use proto::token::JoinToken;
use proto::{Kind, pb};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::fake::{Answer, Fake, runtime};
use crate::world::refused;

#[tonic::async_trait]
impl Local for Fake {
    async fn get_local_status(
        &self,
        request: Request<pb::GetLocalStatusRequest>,
    ) -> Answer<pb::LocalStatus> {
        self.answer(request, |world, _, _| {
            Ok(pb::LocalStatus {
                phase: world.phase.clone(),
                version: "0.1.0".into(),
                address: "10.0.0.1:7443".into(),
                slots: vec!["unlock-key".into()],
                unlock_key_id: world.unlock_key_id.clone(),
                key_file_slots: world.slots.clone(),
                entered_shares: world.entered.clone().into_iter().collect(),
                peers_refusal: world.peers_refusal.clone(),
                ..Default::default()
            })
        })
    }

    async fn init(&self, request: Request<pb::InitRequest>) -> Answer<pb::InitResponse> {
        self.answer(request, |world, _, request| {
            if world.phase != "empty" {
                let hint = "leave the present one first with `secretctl cluster leave`";
                let message = "this manager is already part of a cluster";
                return Err(refused(Kind::Precondition, message, hint));
            }
            world.phase = "serving".into();
            if !request.unlock_public_key.is_empty() {
                let public = seal::SlotPublicKey::parse(request.unlock_public_key).unwrap();
                world.unlock_key_id = public.id().as_bytes().to_vec().into();
            }
            Ok(pb::InitResponse {
                realm: world.realm.as_bytes().to_vec().into(),
                node_id: world.members[0].node_id.clone(),
                member: 1,
                address: request.advertise_address,
                ca_digest: vec![2; 32].into(),
            })
        })
    }

    async fn join(&self, request: Request<pb::JoinRequest>) -> Answer<pb::JoinResponse> {
        self.answer(request, |world, _, request| {
            request.token.parse::<JoinToken>().unwrap();
            world.phase = "serving".into();
            Ok(pb::JoinResponse {
                node_id: world.members[0].node_id.clone(),
                member: 7,
                address: request.advertise_address,
            })
        })
    }

    async fn unlock(&self, request: Request<pb::UnlockRequest>) -> Answer<pb::UnlockResponse> {
        self.answer(request, |world, _, request| {
            let seed = request.seed.as_ref().try_into().unwrap();
            let id = seal::SlotSecretKey::derive_from_seed(seed).public().id();
            if world.unlock_key_id != id.as_bytes()[..] {
                let hint = "look for the other one";
                return Err(refused(Kind::Denied, "this unlock key was replaced", hint));
            }
            world.phase = "serving".into();
            let key_id = id.as_bytes().to_vec().into();
            Ok(pb::UnlockResponse { slot: "unlock-key".into(), key_id })
        })
    }

    async fn enter_share(
        &self,
        request: Request<pb::EnterShareRequest>,
    ) -> Answer<pb::EnterShareResponse> {
        self.answer(request, |world, _, request| Ok(world.enter_share(&request.share)))
    }

    type RestoreStream = ReceiverStream<Result<pb::RestoreResponse, Status>>;

    async fn restore(
        &self,
        request: Request<tonic::Streaming<pb::RestoreRequest>>,
    ) -> Answer<Self::RestoreStream> {
        let (answers, outgoing) = mpsc::channel(2);
        runtime().spawn(self.clone().restore_from(request.into_inner(), answers));
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }

    async fn leave(&self, request: Request<pb::LeaveRequest>) -> Answer<pb::LeaveResponse> {
        self.answer(request, |_, _, request| {
            if request.force {
                return Ok(pb::LeaveResponse {});
            }
            let hint = "add a manager first, or leave all the same with `--force`";
            let message = "the others would lose their majority";
            Err(refused(Kind::Precondition, message, hint))
        })
    }
}
