//! Calls as types: a request knows its name, its answer and who carries it out.
//!
//! So a call that arrives at a follower is forwarded, and carried out on the leader, by the same
//! code as one that arrived there. Operators' calls are authorised by the table; those of
//! enrolment, and managers', by what they carry: a token, or the caller's own certificate.

use link::Failure;
use prost::Message;
use proto::identity::Caller;
use proto::{Kind, pb};
use std::future::Future;

use super::{CallName, Service};

/// A request that the leader carries out.
pub(crate) trait Call: Message + Default + Clone + 'static {
    /// Its name between managers.
    const METHOD: &'static str;
    /// Its line in the table of roles; none if it authorises itself.
    const ROLES: Option<CallName>;
    /// Its answer.
    type Response: Message + Default + 'static;
    /// Carries it out, on the leader.
    fn run(
        service: &Service,
        caller: Caller,
        request: Self,
    ) -> impl Future<Output = Result<Self::Response, Failure>> + Send;
}

macro_rules! calls {
    (
        operators { $($request:ident => $response:ident, $name:ident, $run:ident;)* }
        by_caller { $($joining:ident => $joined:ident, $method:literal, $enroll:ident;)* }
    ) => {
        $(impl Call for pb::$request {
            const METHOD: &'static str = CallName::$name.as_str();
            const ROLES: Option<CallName> = Some(CallName::$name);
            type Response = pb::$response;

            fn run(
                service: &Service,
                caller: Caller,
                request: Self,
            ) -> impl Future<Output = Result<Self::Response, Failure>> + Send {
                service.$run(caller, request)
            }
        })*

        $(impl Call for pb::$joining {
            const METHOD: &'static str = $method;
            const ROLES: Option<CallName> = None;
            type Response = pb::$joined;

            fn run(
                service: &Service,
                caller: Caller,
                request: Self,
            ) -> impl Future<Output = Result<Self::Response, Failure>> + Send {
                service.$enroll(caller, request)
            }
        })*

        /// Carries out a request that another manager received.
        pub(crate) async fn forwarded(
            service: &Service,
            caller: Caller,
            method: &str,
            request: bytes::Bytes,
        ) -> Result<Vec<u8>, Failure> {
            $(if method == <pb::$request as Call>::METHOD {
                return one_forwarded::<pb::$request>(service, caller, request).await;
            })*
            $(if method == <pb::$joining as Call>::METHOD {
                return one_forwarded::<pb::$joining>(service, caller, request).await;
            })*
            Err(Failure::new(Kind::Unimplemented, format!("`{method}` is not known here"))
                .because("the managers run different versions")
                .hint("docs/operations/upgrade.md"))
        }
    };
}

async fn one_forwarded<C: Call>(
    service: &Service,
    caller: Caller,
    request: bytes::Bytes,
) -> Result<Vec<u8>, Failure> {
    let request = C::decode(request)
        .map_err(|_| Failure::new(Kind::Invalid, "a forwarded request does not decode"))?;
    Ok(service.call(caller, request).await?.encode_to_vec())
}

calls! {
    operators {
        GetTransitKeyRequest => TransitKey, GetTransitKey, get_transit_key;
        CreateSecretRequest => CreateSecretResponse, CreateSecret, create_secret;
        RotateSecretRequest => RotateSecretResponse, RotateSecret, rotate_secret;
        GetCompareKeyRequest => CompareKey, GetCompareKey, get_compare_key;
        CompareSecretRequest => CompareSecretResponse, CompareSecret, compare_secret;
        ListSecretsRequest => ListSecretsResponse, ListSecrets, list_secrets;
        GetSecretRequest => SecretInfo, GetSecret, get_secret;
        RemoveSecretRequest => RemoveSecretResponse, RemoveSecret, remove_secret;
        ListRemovedSecretsRequest => ListRemovedSecretsResponse,
            ListRemovedSecrets, list_removed_secrets;
        CreateConfigRequest => CreateConfigResponse, CreateConfig, create_config;
        ListConfigsRequest => ListConfigsResponse, ListConfigs, list_configs;
        GetConfigRequest => ConfigInfo, GetConfig, get_config;
        UpdateConfigRequest => ConfigInfo, UpdateConfig, update_config;
        RemoveConfigRequest => RemoveConfigResponse, RemoveConfig, remove_config;
        CreateServiceRequest => CreateServiceResponse, CreateService, create_service;
        UpdateServiceRequest => ServiceInfo, UpdateService, update_service;
        RemoveServiceRequest => RemoveServiceResponse, RemoveService, remove_service;
        ListServicesRequest => ListServicesResponse, ListServices, list_services;
        GetServiceRequest => ServiceInfo, GetService, get_service;
        ListTasksRequest => ListTasksResponse, ListTasks, list_tasks;
        RecordExecRequest => RecordExecResponse, ExecTask, record_exec;
        CreateNetworkRequest => CreateNetworkResponse, CreateNetwork, create_network;
        ListNetworksRequest => ListNetworksResponse, ListNetworks, list_networks;
        RemoveNetworkRequest => RemoveNetworkResponse, RemoveNetwork, remove_network;
        ListNodesRequest => ListNodesResponse, ListNodes, list_nodes;
        GetNodeRequest => NodeInfo, GetNode, get_node;
        UpdateNodeRequest => NodeInfo, UpdateNode, update_node;
        RemoveNodeRequest => RemoveNodeResponse, RemoveNode, remove_node;
        GetClusterStatusRequest => ClusterStatus, GetClusterStatus, get_cluster_status;
        RemoveMemberRequest => MemberInfo, RemoveMember, remove_member;
        SetMemberAddressRequest => MemberInfo, SetMemberAddress, set_member_address;
        ReplaceMemberRequest => ReplaceMemberResponse, ReplaceMember, replace_member;
        UpdateLockingRequest => UpdateLockingResponse, UpdateLocking, update_locking;
        KeepUnlockKeyRequest => KeepUnlockKeyResponse, KeepUnlockKey, keep_unlock_key;
        ForgetUnlockKeyRequest => ForgetUnlockKeyResponse, ForgetUnlockKey, forget_unlock_key;
        ReadUnlockKeyRequest => ReadUnlockKeyResponse, ReadUnlockKey, read_unlock_key;
        UpdatePeersRequest => UpdatePeersResponse, UpdatePeers, update_peers;
        ApproveReleaseRequest => PendingRelease, ApproveRelease, approve_release;
        ClearAlarmRequest => ClearAlarmResponse, ClearAlarm, clear_alarm;
        ListSlotsRequest => ListSlotsResponse, ListSlots, list_slots;
        AddSlotRequest => SlotsChanged, AddSlot, add_slot;
        RemoveSlotRequest => SlotsChanged, RemoveSlot, remove_slot;
        ProveSlotRequest => ProveSlotResponse, ProveSlot, prove_slot;
        CreateJoinTokenRequest => CreateJoinTokenResponse, CreateJoinToken, create_join_token;
        ListJoinTokensRequest => ListJoinTokensResponse, ListJoinTokens, list_join_tokens;
        RevokeJoinTokenRequest => RevokeJoinTokenResponse, RevokeJoinToken, revoke_join_token;
        AddOperatorRequest => AddOperatorResponse, AddOperator, add_operator;
        ListOperatorsRequest => ListOperatorsResponse, ListOperators, list_operators;
        RemoveOperatorRequest => RemoveOperatorResponse, RemoveOperator, remove_operator;
        ListAuditRequest => ListAuditResponse, ListAudit, list_audit;
        RotateLogKeysRequest => RotateLogKeysResponse, RotateLogKeys, rotate_log_keys;
        RotateRootKeyRequest => RotateRootKeyResponse, RotateRootKey, rotate_root_key;
        RotateCaRequest => RotateCaResponse, RotateCa, rotate_ca;
        RotateCertificatesRequest => RotateCertificatesResponse,
            RotateCertificates, rotate_certificates;
        GetClusterKeysRequest => ClusterKeys, GetClusterKeys, get_cluster_keys;
        RecordBackupRequest => RecordBackupResponse, BackUp, record_backup;
        ListBackupsRequest => ListBackupsResponse, ListBackups, list_backups;
        ForgetBackupRequest => BackupInfo, ForgetBackup, forget_backup;
    }
    by_caller {
        EnrollAgentRequest => Enrolled, "enroll_agent", enroll_agent;
        EnrollManagerRequest => Enrolled, "enroll_manager", enroll_manager;
        EnrollOperatorRequest => Enrolled, "enroll_operator", enroll_operator;
        RenewRequest => Enrolled, "renew", renew;
        ReleaseRequest => ReleaseResponse, "release", release;
        StageBootRequest => StageBootResponse, "stage_boot", stage_boot;
        AcknowledgeBootRequest => AcknowledgeBootResponse, "acknowledge_boot", acknowledge_boot;
        ReportCopyRequest => ReportCopyResponse, "report_copy", report_copy;
    }
}
