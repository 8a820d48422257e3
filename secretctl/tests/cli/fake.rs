//! The fake manager: the real RPCs over a unix socket or TLS, in front of a [`World`].

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use futures_util::stream;
use link::Failure;
use link::accept::{Accepted, Connections, Peer, accept_tls, accept_unix};
use link::certificate::{NewCertificate, issue, make_serial};
use link::rpc::control_server::{Control, ControlServer};
use link::rpc::enroll_server::{Enroll, EnrollServer};
use link::rpc::local_server::LocalServer;
use proto::Kind;
use proto::id::{MemberId, NodeId, Timestamp};
use proto::identity::{Identity, Principal, Role, Subject};
use proto::pb;
use proto::token::JoinToken;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::world::{Fault, World, clock, refused};

/// The runtime that all fake managers of this test process share.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    })
}

#[derive(Clone)]
pub(crate) struct Fake {
    world: Arc<Mutex<World>>,
}

/// A fake manager that serves; it stops when this is dropped.
pub(crate) struct Serving {
    stop: CancellationToken,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self { world: Arc::new(Mutex::new(World::new())) }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn serve(&self, accepted: Accepted, stop: CancellationToken) -> Serving {
        let server = tonic::transport::Server::builder()
            .add_service(ControlServer::new(self.clone()))
            .add_service(LocalServer::new(self.clone()))
            .add_service(EnrollServer::new(self.clone()))
            .serve_with_incoming_shutdown(accepted, stop.clone().cancelled_owned());
        runtime().spawn(server);
        Serving { stop }
    }

    pub(crate) fn serve_unix(&self, path: &Path) -> Serving {
        let stop = CancellationToken::new();
        let _guard = runtime().enter();
        let listener = UnixListener::bind(path).unwrap();
        let accepted = accept_unix(listener, Connections::new(), stop.clone());
        self.serve(accepted, stop)
    }

    /// Serves TLS on a free port; returns its address.
    pub(crate) fn serve_tls(&self) -> (Serving, String) {
        let stop = CancellationToken::new();
        let _guard = runtime().enter();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let listener = TcpListener::from_std(listener).unwrap();
        let config = {
            let world = self.world();
            let pair = link::certificate::make_key_pair().unwrap();
            let subject = Subject::Manager(NodeId::from_entropy([9; 17]), MemberId(1));
            let end = world.now + 86_400_000;
            let certificate = certificate_for(&world, subject, &pair.public, end);
            let ca = &world.ca_certificate;
            let own = link::tls::OwnCertificate::new(certificate.into(), ca.clone(), &pair.private);
            let cluster = link::tls::Cluster { realm: world.realm, incarnation: world.incarnation };
            link::tls::server_config(own.unwrap(), ca, cluster).unwrap()
        };
        let config = Arc::new(arc_swap::ArcSwap::new(config));
        let accepted = accept_tls(listener, config, Connections::new(), stop.clone());
        (self.serve(accepted, stop), address)
    }

    fn enrolled(world: &World, subject: Subject, public_key: &[u8]) -> pb::Enrolled {
        // Certificates carry whole seconds.
        let not_after = (world.now / 1000 + 3600) * 1000;
        pb::Enrolled {
            certificate: certificate_for(world, subject, public_key, not_after).into(),
            ca_certificate: world.ca_certificate.to_vec().into(),
            subject: subject.to_string(),
            realm: world.realm.as_bytes().to_vec().into(),
            incarnation: world.incarnation.0,
            not_after,
            manager_addresses: Vec::new(),
            authorities: None,
        }
    }

    /// One call: what goes wrong first, then the work.
    pub(crate) fn answer<Q, A>(
        &self,
        request: Request<Q>,
        work: impl FnOnce(&mut World, &Principal, Q) -> Result<A, Failure>,
    ) -> Result<Response<A>, Status> {
        let principal = match request.extensions().get::<Peer>() {
            Some(Peer::Local { uid }) => Principal::Local { uid: *uid },
            Some(Peer::Remote { certificate: Some(certificate), .. }) => {
                Principal::Subject(certificate.identity.subject)
            }
            _ => return Err(Failure::new(Kind::Unauthenticated, "who is there?").into()),
        };
        let mut world = self.world();
        let fault = world.faults.pop_front();
        match &fault {
            Some(Fault::Says(failure)) => return Err(failure.clone().into()),
            Some(Fault::RetiresTransitKey) => {
                world.transit = seal::TransitSecretKey::make();
                return Err(Failure::new(Kind::Conflict, "the transit key was retired").into());
            }
            _ => {}
        }
        let answer = work(&mut world, &principal, request.into_inner())?;
        if matches!(fault, Some(Fault::LosesAnswer)) {
            return Err(Status::unavailable("connection reset"));
        }
        Ok(Response::new(answer))
    }
}

fn certificate_for(world: &World, subject: Subject, public_key: &[u8], end: u64) -> Vec<u8> {
    let identity = Identity { realm: world.realm, incarnation: world.incarnation, subject };
    let new = NewCertificate {
        identity,
        public_key,
        serial: make_serial(),
        now: Timestamp(world.now),
        not_after: Timestamp(end),
    };
    issue(&world.ca_certificate, &world.ca.private, &new).unwrap().to_vec()
}

pub(crate) type Answer<A> = Result<Response<A>, Status>;

#[tonic::async_trait]
impl Control for Fake {
    async fn get_transit_key(
        &self,
        request: Request<pb::GetTransitKeyRequest>,
    ) -> Answer<pb::TransitKey> {
        self.answer(request, |world, caller, _| Ok(world.transit_key(caller)))
    }

    async fn create_secret(
        &self,
        request: Request<pb::CreateSecretRequest>,
    ) -> Answer<pb::CreateSecretResponse> {
        self.answer(request, World::create_secret)
    }

    async fn rotate_secret(
        &self,
        request: Request<pb::RotateSecretRequest>,
    ) -> Answer<pb::RotateSecretResponse> {
        self.answer(request, World::rotate_secret)
    }

    async fn get_compare_key(
        &self,
        request: Request<pb::GetCompareKeyRequest>,
    ) -> Answer<pb::CompareKey> {
        self.answer(request, |world, _, request| world.compare_key(&request))
    }

    async fn compare_secret(
        &self,
        request: Request<pb::CompareSecretRequest>,
    ) -> Answer<pb::CompareSecretResponse> {
        self.answer(request, |world, caller, request| Ok(world.compare(caller, request)))
    }

    async fn list_secrets(
        &self,
        request: Request<pb::ListSecretsRequest>,
    ) -> Answer<pb::ListSecretsResponse> {
        self.answer(request, |world, _, request| {
            let filter = request.filter.unwrap_or_default();
            let any =
                filter.ids.is_empty() && filter.names.is_empty() && filter.name_prefixes.is_empty();
            let matches = |info: &&pb::SecretInfo| {
                let named = any
                    || filter.ids.iter().any(|id| info.id.starts_with(id))
                    || filter.names.iter().any(|name| info.name.eq_ignore_ascii_case(name))
                    || filter.name_prefixes.iter().any(|prefix| info.name.starts_with(prefix));
                let labelled = filter.labels.iter().all(|(key, value)| {
                    info.labels.get(key).is_some_and(|has| value.is_empty() || has == value)
                });
                named && labelled
            };
            Ok(pb::ListSecretsResponse {
                secrets: world.secrets.values().filter(matches).cloned().collect(),
            })
        })
    }

    async fn get_secret(&self, request: Request<pb::GetSecretRequest>) -> Answer<pb::SecretInfo> {
        self.answer(request, |world, _, request| {
            let id = world.find_secret(&request.secret)?;
            Ok(world.secrets[&id].clone())
        })
    }

    async fn remove_secret(
        &self,
        request: Request<pb::RemoveSecretRequest>,
    ) -> Answer<pb::RemoveSecretResponse> {
        self.answer(request, |world, _, request| world.remove_secret(&request))
    }

    async fn list_removed_secrets(
        &self,
        request: Request<pb::ListRemovedSecretsRequest>,
    ) -> Answer<pb::ListRemovedSecretsResponse> {
        self.answer(request, |world, _, request| Ok(world.list_removed(&request)))
    }

    async fn create_config(
        &self,
        request: Request<pb::CreateConfigRequest>,
    ) -> Answer<pb::CreateConfigResponse> {
        self.answer(request, |world, _, request| world.create_config(request))
    }

    async fn list_configs(
        &self,
        request: Request<pb::ListConfigsRequest>,
    ) -> Answer<pb::ListConfigsResponse> {
        self.answer(request, |world, _, request| Ok(world.list_configs(&request)))
    }

    async fn get_config(&self, request: Request<pb::GetConfigRequest>) -> Answer<pb::ConfigInfo> {
        self.answer(request, |world, _, request| world.get_config(&request.config))
    }

    async fn update_config(
        &self,
        request: Request<pb::UpdateConfigRequest>,
    ) -> Answer<pb::ConfigInfo> {
        self.answer(request, |world, _, request| world.update_config(request))
    }

    async fn remove_config(
        &self,
        request: Request<pb::RemoveConfigRequest>,
    ) -> Answer<pb::RemoveConfigResponse> {
        self.answer(request, |world, _, request| world.remove_config(&request))
    }

    async fn create_service(
        &self,
        request: Request<pb::CreateServiceRequest>,
    ) -> Answer<pb::CreateServiceResponse> {
        self.answer(request, |world, _, request| world.create_service(request.spec.unwrap()))
    }

    async fn update_service(
        &self,
        request: Request<pb::UpdateServiceRequest>,
    ) -> Answer<pb::ServiceInfo> {
        self.answer(request, |world, _, request| world.update_service(request))
    }

    async fn remove_service(
        &self,
        request: Request<pb::RemoveServiceRequest>,
    ) -> Answer<pb::RemoveServiceResponse> {
        self.answer(request, |world, _, request| {
            let id = world.find_service(&request.service)?;
            let name = world.services.remove(&id).unwrap().spec.unwrap().name;
            world.tasks.retain(|task| task.service_id != id);
            for secret in world.secrets.values_mut() {
                secret.used_by.retain(|user| *user != name);
            }
            Ok(pb::RemoveServiceResponse { id, name })
        })
    }

    async fn list_services(
        &self,
        request: Request<pb::ListServicesRequest>,
    ) -> Answer<pb::ListServicesResponse> {
        self.answer(request, |world, _, _| {
            Ok(pb::ListServicesResponse { services: world.services.values().cloned().collect() })
        })
    }

    async fn get_service(
        &self,
        request: Request<pb::GetServiceRequest>,
    ) -> Answer<pb::ServiceInfo> {
        self.answer(request, |world, _, request| {
            let id = world.find_service(&request.service)?;
            let info = world.services.get_mut(&id).unwrap();
            if info.update.is_some()
                && let Some(next) = world.updates.pop_front()
            {
                info.update = Some(next);
            }
            Ok(info.clone())
        })
    }

    async fn list_tasks(
        &self,
        request: Request<pb::ListTasksRequest>,
    ) -> Answer<pb::ListTasksResponse> {
        self.answer(request, |world, _, request| {
            Ok(pb::ListTasksResponse { tasks: world.look_at_tasks(&request.service) })
        })
    }

    type StreamOutputStream =
        Pin<Box<dyn futures_util::Stream<Item = Result<pb::OutputRecord, Status>> + Send>>;

    type BackUpStream =
        Pin<Box<dyn futures_util::Stream<Item = Result<pb::BackupPiece, Status>> + Send>>;

    async fn back_up(&self, request: Request<pb::BackUpRequest>) -> Answer<Self::BackUpStream> {
        let pieces = self.answer(request, |world, _, request| Ok(world.back_up(request)))?;
        Ok(Response::new(Box::pin(stream::iter(pieces.into_inner()))))
    }

    async fn list_backups(
        &self,
        request: Request<pb::ListBackupsRequest>,
    ) -> Answer<pb::ListBackupsResponse> {
        self.answer(request, |world, _, _| {
            let backups = world.backups.clone();
            Ok(pb::ListBackupsResponse { backups, ..Default::default() })
        })
    }

    async fn forget_backup(
        &self,
        request: Request<pb::ForgetBackupRequest>,
    ) -> Answer<pb::BackupInfo> {
        self.answer(request, |world, _, request| world.forget_backup(&request))
    }

    async fn stream_output(
        &self,
        request: Request<pb::OutputSelector>,
    ) -> Answer<Self::StreamOutputStream> {
        let records = self.answer(request, |world, _, selector| {
            let first_task = world.tasks[0].clone();
            let mut records = world.output.clone();
            for record in &mut records {
                record.task_id.clone_from(&first_task.id);
                record.node_id.clone_from(&first_task.node_id);
            }
            let keep = selector.tail.map_or(records.len(), |tail| usize::try_from(tail).unwrap());
            Ok(records.split_off(records.len().saturating_sub(keep)))
        })?;
        let records = records.into_inner().into_iter().map(Ok);
        Ok(Response::new(Box::pin(stream::iter(records))))
    }

    type ExecTaskStream = crate::exec::Outputs;

    async fn exec_task(
        &self,
        request: Request<tonic::Streaming<pb::ExecInput>>,
    ) -> Answer<Self::ExecTaskStream> {
        crate::exec::answer(self, request).await
    }

    async fn list_nodes(
        &self,
        request: Request<pb::ListNodesRequest>,
    ) -> Answer<pb::ListNodesResponse> {
        self.answer(request, |world, _, _| {
            Ok(pb::ListNodesResponse { nodes: world.nodes.values().cloned().collect() })
        })
    }

    async fn get_node(&self, request: Request<pb::GetNodeRequest>) -> Answer<pb::NodeInfo> {
        self.answer(request, |world, _, request| {
            let id = world.find_node(&request.node)?;
            Ok(world.nodes[&id].clone())
        })
    }

    async fn update_node(&self, request: Request<pb::UpdateNodeRequest>) -> Answer<pb::NodeInfo> {
        self.answer(request, |world, _, request| {
            let id = world.find_node(&request.node)?;
            let node = world.nodes.get_mut(&id).unwrap();
            node.labels.extend(request.label_add);
            node.labels.retain(|key, _| !request.label_rm.contains(key));
            if let Some(availability) = request.availability {
                node.availability = availability;
            }
            Ok(node.clone())
        })
    }

    async fn remove_node(
        &self,
        request: Request<pb::RemoveNodeRequest>,
    ) -> Answer<pb::RemoveNodeResponse> {
        self.answer(request, |world, _, request| {
            let id = world.find_node(&request.node)?;
            let hostname = world.nodes[&id].hostname.clone();
            if !request.force && world.nodes[&id].state() == pb::NodeState::Ready {
                let hint = "stop its agent first, or evict it with `--force`";
                return Err(refused(Kind::Precondition, format!("node {hostname} is up"), hint));
            }
            world.nodes.remove(&id);
            let delivered_secrets = world.delivered.remove(&hostname).unwrap_or_default();
            Ok(pb::RemoveNodeResponse { id, hostname, delivered_secrets })
        })
    }

    async fn get_cluster_status(
        &self,
        request: Request<pb::GetClusterStatusRequest>,
    ) -> Answer<pb::ClusterStatus> {
        self.answer(request, |world, _, _| Ok(world.status()))
    }

    async fn remove_member(
        &self,
        request: Request<pb::RemoveMemberRequest>,
    ) -> Answer<pb::MemberInfo> {
        self.answer(request, |world, _, request| {
            let at = world.members.iter().position(|member| member.id == request.member).unwrap();
            if request.lost && world.members[at].reachable {
                let text = format!("manager {} is not lost", request.member);
                let hint = "`secretctl cluster leave` there takes it out, and destroys its keys";
                return Err(refused(Kind::Precondition, text, hint));
            }
            let member = world.members.remove(at);
            if !request.leaving {
                world.remember_unproved(&member);
            }
            Ok(member)
        })
    }

    async fn update_locking(
        &self,
        request: Request<pb::UpdateLockingRequest>,
    ) -> Answer<pb::UpdateLockingResponse> {
        self.answer(request, |world, _, request| world.update_locking(request))
    }

    async fn keep_unlock_key(
        &self,
        request: Request<pb::KeepUnlockKeyRequest>,
    ) -> Answer<pb::KeepUnlockKeyResponse> {
        self.answer(request, |world, caller, request| world.keep_unlock_key(*caller, request))
    }

    async fn forget_unlock_key(
        &self,
        request: Request<pb::ForgetUnlockKeyRequest>,
    ) -> Answer<pb::ForgetUnlockKeyResponse> {
        self.answer(request, |world, _, _| Ok(world.forget_unlock_key()))
    }

    async fn read_unlock_key(
        &self,
        request: Request<pb::ReadUnlockKeyRequest>,
    ) -> Answer<pb::ReadUnlockKeyResponse> {
        self.answer(request, |world, caller, request| Ok(world.read_unlock_key(*caller, request)))
    }

    async fn update_peers(
        &self,
        request: Request<pb::UpdatePeersRequest>,
    ) -> Answer<pb::UpdatePeersResponse> {
        self.answer(request, |world, _, request| {
            world.peers.policy = request.policy;
            Ok(pb::UpdatePeersResponse {})
        })
    }

    async fn approve_release(
        &self,
        request: Request<pb::ApproveReleaseRequest>,
    ) -> Answer<pb::PendingRelease> {
        self.answer(request, |world, _, request| world.approve(&request))
    }

    async fn clear_alarm(
        &self,
        request: Request<pb::ClearAlarmRequest>,
    ) -> Answer<pb::ClearAlarmResponse> {
        self.answer(request, |world, _, request| world.clear_alarm(request.member))
    }

    async fn list_slots(
        &self,
        request: Request<pb::ListSlotsRequest>,
    ) -> Answer<pb::ListSlotsResponse> {
        self.answer(request, |world, _, _| Ok(world.listed_slots()))
    }

    async fn add_slot(&self, request: Request<pb::AddSlotRequest>) -> Answer<pb::SlotsChanged> {
        self.answer(request, |world, _, request| Ok(world.add_slot(request)))
    }

    async fn remove_slot(
        &self,
        request: Request<pb::RemoveSlotRequest>,
    ) -> Answer<pb::SlotsChanged> {
        self.answer(request, |world, _, request| Ok(world.remove_slot(&request)))
    }

    async fn prove_slot(
        &self,
        request: Request<pb::ProveSlotRequest>,
    ) -> Answer<pb::ProveSlotResponse> {
        self.answer(request, |world, _, request| Ok(world.prove_slot(&request)))
    }

    async fn set_member_address(
        &self,
        request: Request<pb::SetMemberAddressRequest>,
    ) -> Answer<pb::MemberInfo> {
        self.answer(request, |world, _, request| {
            let member =
                world.members.iter_mut().find(|member| member.id == request.member).unwrap();
            member.address = request.address;
            Ok(member.clone())
        })
    }

    async fn replace_member(
        &self,
        request: Request<pb::ReplaceMemberRequest>,
    ) -> Answer<pb::ReplaceMemberResponse> {
        self.answer(request, |world, _, request| {
            let at = world.members.iter().position(|member| member.id == request.dead).unwrap();
            let removed = Some(world.members.remove(at));
            let added = world.members.iter().find(|member| member.id == request.new).cloned();
            Ok(pb::ReplaceMemberResponse { removed, added })
        })
    }

    async fn create_join_token(
        &self,
        request: Request<pb::CreateJoinTokenRequest>,
    ) -> Answer<pb::CreateJoinTokenResponse> {
        self.answer(request, |world, caller, request| {
            let role = if request.role == "agent" { Role::Agent } else { Role::Manager };
            let id = world.new_token_id();
            let uses = if request.uses == 0 { 1 } else { request.uses };
            let info = pb::JoinTokenInfo {
                id: id.to_string(),
                role: request.role,
                created_at: world.before(),
                expires_at: world.now + 86_400_000 + 60_000,
                uses_left: uses,
                created_by: caller.to_string(),
            };
            let expires_at = info.expires_at;
            world.tokens.insert(id.to_string(), info);
            let token = token(world, id, role).reveal();
            Ok(pb::CreateJoinTokenResponse { id: id.to_string(), token, expires_at, uses })
        })
    }

    async fn list_join_tokens(
        &self,
        request: Request<pb::ListJoinTokensRequest>,
    ) -> Answer<pb::ListJoinTokensResponse> {
        self.answer(request, |world, _, _| {
            Ok(pb::ListJoinTokensResponse { tokens: world.tokens.values().cloned().collect() })
        })
    }

    async fn revoke_join_token(
        &self,
        request: Request<pb::RevokeJoinTokenRequest>,
    ) -> Answer<pb::RevokeJoinTokenResponse> {
        self.answer(request, |world, _, request| {
            let id = request.id;
            let gone = world.tokens.remove(&id);
            gone.ok_or_else(|| Failure::new(Kind::NotFound, format!("token `{id}` not found")))?;
            Ok(pb::RevokeJoinTokenResponse {})
        })
    }

    async fn add_operator(
        &self,
        request: Request<pb::AddOperatorRequest>,
    ) -> Answer<pb::AddOperatorResponse> {
        self.answer(request, |world, _, request| {
            let id = world.new_operator_id();
            let group = if request.group.is_empty() { &request.name } else { &request.group };
            let info = pb::OperatorInfo {
                id: id.to_string(),
                name: request.name.clone(),
                role: request.role,
                group: group.clone(),
                created_at: world.before(),
                enrolled: false,
                certificate_not_after: 0,
            };
            world.operators.insert(id.to_string(), info);
            let token_id = id.to_string().parse().unwrap();
            let token = token(world, token_id, Role::Operator).reveal();
            let expires_at = world.now + 3_600_000;
            Ok(pb::AddOperatorResponse { id: id.to_string(), token, expires_at })
        })
    }

    async fn list_operators(
        &self,
        request: Request<pb::ListOperatorsRequest>,
    ) -> Answer<pb::ListOperatorsResponse> {
        self.answer(request, |world, _, _| {
            Ok(pb::ListOperatorsResponse { operators: world.operators.values().cloned().collect() })
        })
    }

    async fn remove_operator(
        &self,
        request: Request<pb::RemoveOperatorRequest>,
    ) -> Answer<pb::RemoveOperatorResponse> {
        self.answer(request, |world, _, request| {
            let known: Vec<_> =
                world.operators.values().map(|info| (info.id.clone(), info.name.clone())).collect();
            let id = World::find("operator", &request.operator, &known)?;
            let name = world.operators.remove(&id).unwrap().name;
            Ok(pb::RemoveOperatorResponse { id, name })
        })
    }

    async fn list_audit(
        &self,
        request: Request<pb::ListAuditRequest>,
    ) -> Answer<pb::ListAuditResponse> {
        self.answer(request, |world, _, request| {
            let records = world.audit.iter().filter(|record| record.index > request.after);
            let limit = usize::try_from(request.limit).unwrap();
            Ok(pb::ListAuditResponse { records: records.take(limit).cloned().collect() })
        })
    }

    async fn rotate_log_keys(
        &self,
        request: Request<pb::RotateLogKeysRequest>,
    ) -> Answer<pb::RotateLogKeysResponse> {
        self.answer(request, |world, _, _| {
            if let Some(member) = world.behind() {
                let text = format!(
                    "log key rotation {} is in progress: it waits for manager {member}",
                    world.rotation
                );
                let hint = "`secretctl cluster keys` shows how far each manager is";
                return Err(refused(Kind::Precondition, text, hint));
            }
            world.rotation += 1;
            Ok(pb::RotateLogKeysResponse { epoch: world.rotation })
        })
    }

    async fn rotate_root_key(
        &self,
        request: Request<pb::RotateRootKeyRequest>,
    ) -> Answer<pb::RotateRootKeyResponse> {
        self.answer(request, |world, _, _| {
            let number = world.root_rotation.as_ref().map_or(0, |rotation| rotation.number);
            if let Some(member) = world.root_is_waiting_for() {
                let text = format!(
                    "root key rotation {number} is in progress: it waits for manager {member}"
                );
                let hint = "`secretctl cluster keys` shows how far it is";
                return Err(refused(Kind::Precondition, text, hint));
            }
            world.begin_with_the_root(number + 1);
            Ok(pb::RotateRootKeyResponse { number: number + 1 })
        })
    }

    async fn rotate_ca(
        &self,
        request: Request<pb::RotateCaRequest>,
    ) -> Answer<pb::RotateCaResponse> {
        self.answer(request, |world, _, request| world.rotate_ca(request.drop_missing))
    }

    async fn rotate_certificates(
        &self,
        request: Request<pb::RotateCertificatesRequest>,
    ) -> Answer<pb::RotateCertificatesResponse> {
        self.answer(request, |world, _, request| world.rotate_certificates(request.cut_missing))
    }

    /// At each look one more member has finished.
    async fn get_cluster_keys(
        &self,
        request: Request<pb::GetClusterKeysRequest>,
    ) -> Answer<pb::ClusterKeys> {
        self.answer(request, |world, _, request| {
            let members = world.members.iter();
            let members = members.map(|member| world.keys_of(member, request.verify)).collect();
            let keys = pb::ClusterKeys {
                root_key_id: vec![3; 16].into(),
                transit_key_id: vec![4; 16].into(),
                log_key_epoch: world.rotation,
                log_key_wanted_at: world.before(),
                members,
                log_key_epoch_last: world.rotation + u64::from(world.rotates_again),
                shredding: world.removed.iter().filter(|it| it.needs.is_some()).count() as u64,
                root_rotation: world.root_rotation.clone(),
                removed_without_proof: world.unproved.clone(),
                ca_rotation: world.ca_rotation.clone(),
                certificate_rotation: world.certificate_rotation.clone(),
            };
            world.go_on_with_the_ca();
            world.go_on_with_certificates();
            world.rotate_one();
            world.go_on_with_the_root();
            Ok(keys)
        })
    }
}

/// A token of this cluster: its secret is its id's bytes.
pub(crate) fn token(world: &World, id: proto::id::TokenId, role: Role) -> JoinToken {
    JoinToken {
        id,
        role,
        realm: world.realm,
        ca_digest: seal::digest_of(&world.ca.public),
        secret: seal::make_token_secret(),
    }
}

#[tonic::async_trait]
impl Enroll for Fake {
    async fn enroll_agent(&self, _: Request<pb::EnrollAgentRequest>) -> Answer<pb::Enrolled> {
        Err(Status::unimplemented("not an operator"))
    }

    async fn enroll_manager(&self, _: Request<pb::EnrollManagerRequest>) -> Answer<pb::Enrolled> {
        Err(Status::unimplemented("not an operator"))
    }

    async fn enroll_operator(
        &self,
        request: Request<pb::EnrollOperatorRequest>,
    ) -> Answer<pb::Enrolled> {
        let mut world = self.world();
        let request = request.into_inner();
        let id = request.token.unwrap().token_id;
        let Some(operator) = world.operators.get_mut(&id).filter(|operator| !operator.enrolled)
        else {
            let hint = "an admin makes another one with `secretctl operator add`";
            let message = "join token was not accepted: used up";
            return Err(refused(Kind::Unauthenticated, message, hint).into());
        };
        operator.enrolled = true;
        operator.certificate_not_after = clock() + 30 * 86_400_000 + 60_000;
        let subject = Subject::Operator(id.parse().unwrap());
        Ok(Response::new(Self::enrolled(&world, subject, &request.public_key)))
    }

    async fn renew(&self, request: Request<pb::RenewRequest>) -> Answer<pb::Enrolled> {
        self.answer(request, |world, caller, request| {
            let Principal::Subject(subject) = *caller else {
                return Err(Failure::new(Kind::Unauthenticated, "who is there?"));
            };
            Ok(Self::enrolled(world, subject, &request.public_key))
        })
    }
}
