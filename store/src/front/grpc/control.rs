//! What operators ask.

use link::rpc::control_server::Control;
use link::status::RENEW_NOW;
use proto::identity::Caller;
use proto::pb;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use super::peer_of;
use crate::front::Stage;
use crate::service::{Call, CallName, Service};

pub(super) struct Front(pub(super) Stage);

impl Front {
    async fn carry_out<C: Call>(
        &self,
        request: Request<C>,
    ) -> Result<Response<C::Response>, Status> {
        let peer = peer_of(&request)?;
        let serving = self.0.serving()?;
        let caller = serving.service.authenticate(&peer).await?;
        let answer = serving.service.route(caller, request.into_inner()).await?;
        Ok(answered(&serving.service, caller, answer))
    }
}

/// An answer, which says so if whoever asked is to renew its certificate: tools have no session in which
/// they could be told.
fn answered<T>(service: &Service, caller: Caller, answer: T) -> Response<T> {
    let mut response = Response::new(answer);
    if service.asks_to_renew(caller) {
        response.metadata_mut().insert(RENEW_NOW, MetadataValue::from_static("1"));
    }
    response
}

macro_rules! control {
    ($($method:ident($request:ident) -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl Control for Front {
            $(
                async fn $method(
                    &self,
                    request: Request<pb::$request>,
                ) -> Result<Response<pb::$response>, Status> {
                    self.carry_out(request).await
                }
            )*

            /// Answered by whoever is asked: when there is no leader is when it is needed.
            async fn get_cluster_status(
                &self,
                request: Request<pb::GetClusterStatusRequest>,
            ) -> Result<Response<pb::ClusterStatus>, Status> {
                let peer = peer_of(&request)?;
                let serving = self.0.serving()?;
                let service = &serving.service;
                let caller = service.authenticate(&peer).await?;
                service.authorise(caller, CallName::GetClusterStatus)?;
                let status = service.get_cluster_status(caller, request.into_inner()).await?;
                Ok(answered(service, caller, status))
            }

            type BackUpStream = ReceiverStream<Result<pb::BackupPiece, Status>>;

            /// Taken by whoever is asked; the leader records it.
            async fn back_up(
                &self,
                request: Request<pb::BackUpRequest>,
            ) -> Result<Response<Self::BackUpStream>, Status> {
                let peer = peer_of(&request)?;
                let serving = self.0.serving()?;
                let service = &serving.service;
                let caller = service.authenticate(&peer).await?;
                let pieces = service.back_up(caller, request.into_inner()).await?;
                Ok(Response::new(ReceiverStream::new(pieces)))
            }

            type StreamOutputStream = ReceiverStream<Result<pb::OutputRecord, Status>>;

            async fn stream_output(
                &self,
                request: Request<pb::OutputSelector>,
            ) -> Result<Response<Self::StreamOutputStream>, Status> {
                let peer = peer_of(&request)?;
                let serving = self.0.serving()?;
                let caller = serving.service.authenticate(&peer).await?;
                let selector = request.into_inner();
                let service = serving.service.readable_output(caller, &selector).await?;
                Ok(Response::new(serving.dispatcher.output_of_all(service, selector)))
            }

            type ExecTaskStream = ReceiverStream<Result<pb::ExecOutput, Status>>;

            /// Carried by whoever is asked; the leader authorises and records it.
            async fn exec_task(
                &self,
                request: Request<Streaming<pb::ExecInput>>,
            ) -> Result<Response<Self::ExecTaskStream>, Status> {
                let peer = peer_of(&request)?;
                let serving = self.0.serving()?;
                let caller = serving.service.authenticate(&peer).await?;
                let outputs = serving.dispatcher.exec(caller, request.into_inner()).await?;
                Ok(Response::new(outputs))
            }
        }
    };
}

control! {
    get_transit_key(GetTransitKeyRequest) -> TransitKey;
    create_secret(CreateSecretRequest) -> CreateSecretResponse;
    rotate_secret(RotateSecretRequest) -> RotateSecretResponse;
    get_compare_key(GetCompareKeyRequest) -> CompareKey;
    compare_secret(CompareSecretRequest) -> CompareSecretResponse;
    list_secrets(ListSecretsRequest) -> ListSecretsResponse;
    get_secret(GetSecretRequest) -> SecretInfo;
    remove_secret(RemoveSecretRequest) -> RemoveSecretResponse;
    list_removed_secrets(ListRemovedSecretsRequest) -> ListRemovedSecretsResponse;
    create_config(CreateConfigRequest) -> CreateConfigResponse;
    list_configs(ListConfigsRequest) -> ListConfigsResponse;
    get_config(GetConfigRequest) -> ConfigInfo;
    update_config(UpdateConfigRequest) -> ConfigInfo;
    remove_config(RemoveConfigRequest) -> RemoveConfigResponse;
    create_service(CreateServiceRequest) -> CreateServiceResponse;
    update_service(UpdateServiceRequest) -> ServiceInfo;
    remove_service(RemoveServiceRequest) -> RemoveServiceResponse;
    list_services(ListServicesRequest) -> ListServicesResponse;
    get_service(GetServiceRequest) -> ServiceInfo;
    list_tasks(ListTasksRequest) -> ListTasksResponse;
    list_nodes(ListNodesRequest) -> ListNodesResponse;
    get_node(GetNodeRequest) -> NodeInfo;
    update_node(UpdateNodeRequest) -> NodeInfo;
    remove_node(RemoveNodeRequest) -> RemoveNodeResponse;
    remove_member(RemoveMemberRequest) -> MemberInfo;
    set_member_address(SetMemberAddressRequest) -> MemberInfo;
    replace_member(ReplaceMemberRequest) -> ReplaceMemberResponse;
    update_locking(UpdateLockingRequest) -> UpdateLockingResponse;
    keep_unlock_key(KeepUnlockKeyRequest) -> KeepUnlockKeyResponse;
    forget_unlock_key(ForgetUnlockKeyRequest) -> ForgetUnlockKeyResponse;
    read_unlock_key(ReadUnlockKeyRequest) -> ReadUnlockKeyResponse;
    update_peers(UpdatePeersRequest) -> UpdatePeersResponse;
    approve_release(ApproveReleaseRequest) -> PendingRelease;
    clear_alarm(ClearAlarmRequest) -> ClearAlarmResponse;
    list_slots(ListSlotsRequest) -> ListSlotsResponse;
    add_slot(AddSlotRequest) -> SlotsChanged;
    remove_slot(RemoveSlotRequest) -> SlotsChanged;
    prove_slot(ProveSlotRequest) -> ProveSlotResponse;
    create_join_token(CreateJoinTokenRequest) -> CreateJoinTokenResponse;
    list_join_tokens(ListJoinTokensRequest) -> ListJoinTokensResponse;
    revoke_join_token(RevokeJoinTokenRequest) -> RevokeJoinTokenResponse;
    add_operator(AddOperatorRequest) -> AddOperatorResponse;
    list_operators(ListOperatorsRequest) -> ListOperatorsResponse;
    remove_operator(RemoveOperatorRequest) -> RemoveOperatorResponse;
    list_audit(ListAuditRequest) -> ListAuditResponse;
    rotate_log_keys(RotateLogKeysRequest) -> RotateLogKeysResponse;
    rotate_root_key(RotateRootKeyRequest) -> RotateRootKeyResponse;
    rotate_ca(RotateCaRequest) -> RotateCaResponse;
    rotate_certificates(RotateCertificatesRequest) -> RotateCertificatesResponse;
    get_cluster_keys(GetClusterKeysRequest) -> ClusterKeys;
    list_backups(ListBackupsRequest) -> ListBackupsResponse;
    forget_backup(ForgetBackupRequest) -> BackupInfo;
}
