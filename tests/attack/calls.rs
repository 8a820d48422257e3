//! Every call there is, by somebody who may make none of them.
//!
//! The calls are read from the `.proto` files: one that is added and not tried here fails the test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use link::Failure;
use link::certificate::{PeerCertificate, make_key_pair, sign};
use link::rpc::control_client::ControlClient;
use link::rpc::dispatcher_client::DispatcherClient;
use link::rpc::enroll_client::EnrollClient;
use link::rpc::local_client::LocalClient;
use link::rpc::peer_client::PeerClient;
use proto::id::TokenId;
use proto::token::JoinToken;
use proto::{Kind, pb};
use tests::{Ctl, Lab, until};
use tokio_stream::iter;
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::PROGRAMS;
use crate::client::{Client, bare_channel, joiner, proof, request_key};

/// The name of what the attacker is after.
const NAME: &str = "psql_pass";

/// What the attacker knows of what is not its own: everything but the value.
#[derive(Default)]
pub(crate) struct Theirs {
    secret: String,
    service: String,
    task: String,
    node: String,
}

/// What each call was refused with.
#[derive(Default)]
pub(crate) struct Refusals(BTreeMap<&'static str, BTreeSet<&'static str>>);

impl Refusals {
    fn expect<T>(&mut self, method: &'static str, kind: Kind, answer: Result<Response<T>, Status>) {
        let Err(status) = answer else { panic!("{method} was answered") };
        let failure = Failure::from(status);
        assert_eq!(failure.kind, kind, "{method}: {failure:?}");
        assert!(!format!("{failure:?}").contains(NAME), "{method} tells a name: {failure:?}");
        self.0.entry(method).or_default().insert(kind.as_str());
    }
}

/// `Service.Method` of everything in the `.proto` files.
fn methods() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/proto/secretd/v1");
    let mut methods = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let mut service = String::new();
        for line in text.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("service ") {
                rest.split(' ').next().unwrap().clone_into(&mut service);
            } else if let Some(rest) = line.strip_prefix("rpc ") {
                methods.insert(format!("{service}.{}", rest.split('(').next().unwrap()));
            }
        }
    }
    assert!(methods.len() > 40, "the search finds them: {methods:?}");
    methods
}

/// The name of a call in the audit.
fn action(method: &str) -> String {
    let mut action = String::new();
    for letter in method.chars() {
        if letter.is_ascii_uppercase() && !action.is_empty() {
            action.push('_');
        }
        action.push(letter.to_ascii_lowercase());
    }
    action
}

macro_rules! expect {
    ($refusals:ident, $kind:expr, $client:ident, $($name:literal: $method:ident($request:expr);)*) => {
        $($refusals.expect($name, $kind, $client.$method($request).await);)*
    };
}

/// What operators ask of secrets, services and nodes: an agent is none.
#[expect(clippy::too_many_lines, reason = "one entry for each call")]
pub(crate) async fn ask_as_an_operator(
    client: &Client,
    address: &str,
    them: &Theirs,
    refusals: &mut Refusals,
) {
    let mut control = client.control(address);
    let key = || request_key().into();
    let (secret, service) = (|| them.secret.clone(), || them.service.clone());
    let node = || them.node.clone();
    let spec = || pb::ServiceSpec {
        name: "mine".into(),
        task: Some(pb::TaskSpec {
            command: vec!["cat".into(), format!("/run/secrets/{NAME}")],
            secrets: vec![pb::SecretReference {
                secret_id: secret(),
                target: NAME.into(),
                ..pb::SecretReference::default()
            }],
            ..pb::TaskSpec::default()
        }),
        ..pb::ServiceSpec::default()
    };
    let by_id = pb::SecretFilter { ids: vec![secret()], ..pb::SecretFilter::default() };
    let output = pb::OutputSelector {
        service_id: service(),
        task_id: them.task.clone(),
        stdout: true,
        ..pb::OutputSelector::default()
    };
    expect!(refusals, Kind::Denied, control,
        "Control.GetTransitKey": get_transit_key(pb::GetTransitKeyRequest {});
        "Control.CreateSecret": create_secret(pb::CreateSecretRequest {
            request_key: key(), name: "mine".into(), ..pb::CreateSecretRequest::default()
        });
        "Control.ListSecrets": list_secrets(pb::ListSecretsRequest { filter: None });
        "Control.ListSecrets": list_secrets(pb::ListSecretsRequest { filter: Some(by_id) });
        "Control.GetSecret": get_secret(pb::GetSecretRequest { secret: secret() });
        "Control.GetSecret": get_secret(pb::GetSecretRequest { secret: NAME.into() });
        "Control.RotateSecret": rotate_secret(pb::RotateSecretRequest {
            request_key: key(), secret: "mine".into(), ..pb::RotateSecretRequest::default()
        });
        "Control.GetCompareKey": get_compare_key(pb::GetCompareKeyRequest { secret: secret() });
        "Control.CompareSecret": compare_secret(pb::CompareSecretRequest {
            secret: secret(), version: 1, ..pb::CompareSecretRequest::default()
        });
        "Control.RemoveSecret": remove_secret(pb::RemoveSecretRequest {
            request_key: key(), secret: secret(), forget_previous: true, shred: true
        });
        "Control.ListRemovedSecrets": list_removed_secrets(pb::ListRemovedSecretsRequest {
            ids: vec![secret()], before: 0
        });
        "Control.CreateConfig": create_config(pb::CreateConfigRequest {
            request_key: key(), name: "mine".into(), data: "x".into(),
            ..pb::CreateConfigRequest::default()
        });
        "Control.ListConfigs": list_configs(pb::ListConfigsRequest { filter: None });
        "Control.GetConfig": get_config(pb::GetConfigRequest { config: "site".into() });
        "Control.UpdateConfig": update_config(pb::UpdateConfigRequest {
            request_key: key(), config: "site".into(), ..pb::UpdateConfigRequest::default()
        });
        "Control.RemoveConfig": remove_config(pb::RemoveConfigRequest {
            request_key: key(), config: "site".into(), forget_previous: true
        });
        "Control.CreateService": create_service(pb::CreateServiceRequest {
            request_key: key(), spec: Some(spec())
        });
        "Control.UpdateService": update_service(pb::UpdateServiceRequest {
            request_key: key(), service: service(), revision: 1, spec: Some(spec()),
            rollback: false
        });
        "Control.RemoveService": remove_service(pb::RemoveServiceRequest {
            request_key: key(), service: service()
        });
        "Control.ListServices": list_services(pb::ListServicesRequest {});
        "Control.GetService": get_service(pb::GetServiceRequest { service: service() });
        "Control.ListTasks": list_tasks(pb::ListTasksRequest { all: true, ..Default::default() });
        "Control.StreamOutput": stream_output(output);
        "Control.ExecTask": exec_task(iter([command(&them.task)]));
        "Control.ListNodes": list_nodes(pb::ListNodesRequest {});
        "Control.GetNode": get_node(pb::GetNodeRequest { node: node() });
        "Control.GetNode": get_node(pb::GetNodeRequest { node: client.own_node() });
        "Control.UpdateNode": update_node(pb::UpdateNodeRequest {
            request_key: key(),
            node: client.own_node(),
            label_add: [("zone".into(), "theirs".into())].into(),
            ..pb::UpdateNodeRequest::default()
        });
        "Control.RemoveNode": remove_node(pb::RemoveNodeRequest {
            request_key: key(), node: node(), force: true
        });
    );
}

/// A command to be run in a task.
fn command(task: &str) -> pb::ExecInput {
    let argv = vec!["cat".into(), "/run/secrets/key".into()];
    let start = pb::ExecStart { task_id: task.to_owned(), argv, input: false };
    pb::ExecInput { input: Some(pb::exec_input::Input::Start(start)) }
}

/// What operators ask of the cluster.
pub(crate) async fn ask_as_an_admin(client: &Client, address: &str, refusals: &mut Refusals) {
    let mut control = client.control(address);
    let key = || request_key().into();
    let own_key = seal::BackupSecretKey::make().public().as_bytes().clone();
    let add = pb::AddOperatorRequest {
        request_key: key(),
        name: "mallory".into(),
        role: "admin".into(),
        group: String::new(),
    };
    expect!(refusals, Kind::Denied, control,
        "Control.GetClusterStatus": get_cluster_status(pb::GetClusterStatusRequest {});
        "Control.RemoveMember": remove_member(pb::RemoveMemberRequest {
            request_key: key(), member: 1, lost: false, leaving: true
        });
        "Control.SetMemberAddress": set_member_address(pb::SetMemberAddressRequest {
            request_key: key(), member: 1, address: "127.0.0.1:1".into()
        });
        "Control.ReplaceMember": replace_member(pb::ReplaceMemberRequest {
            request_key: key(), dead: 1, new: 2
        });
        "Control.UpdateLocking": update_locking(pb::UpdateLockingRequest {
            request_key: key(), change: pb::LockingChange::Off.into(), recipients_generation: 1,
            ..Default::default()
        });
        "Control.KeepUnlockKey": keep_unlock_key(pb::KeepUnlockKeyRequest {
            request_key: key(), ..Default::default()
        });
        "Control.ForgetUnlockKey": forget_unlock_key(pb::ForgetUnlockKeyRequest {
            request_key: key()
        });
        "Control.ReadUnlockKey": read_unlock_key(pb::ReadUnlockKeyRequest {
            public_key: vec![1; 34].into()
        });
        "Control.UpdatePeers": update_peers(pb::UpdatePeersRequest {
            request_key: key(), policy: pb::PeerPolicy::Auto.into()
        });
        "Control.ApproveRelease": approve_release(pb::ApproveReleaseRequest {
            request_key: key(), member: 1, from: "10.0.0.1".into()
        });
        "Control.ClearAlarm": clear_alarm(pb::ClearAlarmRequest { request_key: key(), member: 1 });
        "Control.ListSlots": list_slots(pb::ListSlotsRequest {});
        "Control.AddSlot": add_slot(pb::AddSlotRequest {
            request_key: key(), recipients_generation: 1, kind: "passphrase".into(),
            ..Default::default()
        });
        "Control.RemoveSlot": remove_slot(pb::RemoveSlotRequest {
            request_key: key(), recipients_generation: 1, id: vec![1; 16].into()
        });
        "Control.ProveSlot": prove_slot(pb::ProveSlotRequest {
            request_key: key(), id: vec![1; 16].into()
        });
        "Control.CreateJoinToken": create_join_token(pb::CreateJoinTokenRequest {
            request_key: key(), role: "manager".into(), ..Default::default()
        });
        "Control.ListJoinTokens": list_join_tokens(pb::ListJoinTokensRequest {});
        "Control.RevokeJoinToken": revoke_join_token(pb::RevokeJoinTokenRequest {
            request_key: key(), id: "x".into()
        });
        "Control.AddOperator": add_operator(add);
        "Control.ListOperators": list_operators(pb::ListOperatorsRequest {});
        "Control.RemoveOperator": remove_operator(pb::RemoveOperatorRequest {
            request_key: key(), operator: "alice".into()
        });
        "Control.ListAudit": list_audit(pb::ListAuditRequest { after: 0, limit: 0 });
        "Control.RotateLogKeys": rotate_log_keys(pb::RotateLogKeysRequest { request_key: key() });
        "Control.RotateRootKey": rotate_root_key(pb::RotateRootKeyRequest { request_key: key() });
        "Control.RotateCa":
            rotate_ca(pb::RotateCaRequest { request_key: key(), drop_missing: false });
        "Control.RotateCertificates": rotate_certificates(pb::RotateCertificatesRequest {
            request_key: key(), cut_missing: false
        });
        "Control.GetClusterKeys": get_cluster_keys(pb::GetClusterKeysRequest { verify: true });
        "Control.BackUp": back_up(pb::BackUpRequest { public_key: own_key });
        "Control.ListBackups": list_backups(pb::ListBackupsRequest {});
        "Control.ForgetBackup": forget_backup(pb::ForgetBackupRequest {
            request_key: key(), id: "0".into()
        });
    );
}

/// What managers say to each other: an agent is none, whatever it claims in the message.
pub(crate) async fn ask_as_a_manager(
    client: &Client,
    address: &str,
    them: &Theirs,
    refusals: &mut Refusals,
) {
    let mut peer = PeerClient::new(client.channel(address));
    let vote = Some(pb::Vote { term: 1_000_000, leader: 1, committed: true });
    let last = Some(pb::LogId { term: 1_000_000, leader: 1, index: 1_000_000 });
    let append = || pb::AppendRequest { vote, commit: last, target: 1, ..Default::default() };
    let ballot = || pb::VoteRequest { vote, last, leadership_transfer: true, target: 1 };
    let head =
        pb::snapshot_chunk::Chunk::Head(pb::SnapshotHead { vote, last, ..Default::default() });
    // In the name of the first manager's root: what a manager would be believed.
    let forged = pb::ForwardRequest {
        caller: vec![0x82, 0x00, 0x82, 0x00, 0x01].into(),
        method: "list_secrets".into(),
        request: Vec::new().into(),
    };
    let (_, open) = client.opening();
    let report = pb::ReportRequest {
        ready_nodes: vec![them.node.clone()],
        statuses: vec![pb::NodeStatuses {
            node_id: them.node.clone(),
            statuses: vec![pb::TaskStatus { task_id: them.task.clone(), ..Default::default() }],
        }],
        ..pb::ReportRequest::default()
    };
    let selector = pb::OutputSelector { service_id: them.service.clone(), ..Default::default() };
    expect!(refusals, Kind::Denied, peer,
        "Peer.Append": append(iter([append()]));
        "Peer.Heartbeat": heartbeat(append());
        "Peer.Vote": vote(ballot());
        "Peer.PreVote": pre_vote(ballot());
        "Peer.Snapshot": snapshot(iter([pb::SnapshotChunk { chunk: Some(head) }]));
        "Peer.TransferLeader": transfer_leader(pb::TransferLeaderRequest {
            from: vote, to: 1, last
        });
        "Peer.ReadIndex": read_index(pb::ReadIndexRequest {});
        "Peer.Forward": forward(forged);
        "Peer.FetchRootKeys": fetch_root_keys(pb::FetchRootKeysRequest {
            public_key: open.session_public_key
        });
        "Peer.Report": report(report);
        "Peer.StreamOutput": stream_output(pb::PeerOutputRequest { selector: Some(selector) });
        "Peer.Exec": exec(iter([command(&them.task)]));
        "Peer.Describe": describe(pb::DescribeRequest {});
        "Peer.DescribeKeys": describe_keys(pb::DescribeKeysRequest { verify: true });
        "Peer.TrySlot": try_slot(pb::TrySlotRequest { id: vec![0; 16].into() });
    );
    // What only the manager's own machine may ask is not even there.
    let mut local = LocalClient::new(client.channel(address));
    expect!(refusals, Kind::Unimplemented, local,
        "Local.GetLocalStatus": get_local_status(pb::GetLocalStatusRequest {});
        "Local.Init": init(pb::InitRequest::default());
        "Local.Join": join(pb::JoinRequest::default());
        "Local.Unlock": unlock(pb::UnlockRequest { seed: vec![0; 32].into() });
        "Local.EnterShare": enter_share(pb::EnterShareRequest { share: vec![0; 98].into() });
        "Local.Restore": restore(iter([pb::RestoreRequest::default()]));
        "Local.Leave": leave(pb::LeaveRequest { force: true });
    );
}

/// Tokens that are not good, or not for this, and claims beside good ones.
async fn enrol_as_somebody_else(
    client: &Client,
    address: &str,
    (used, good): (&JoinToken, &JoinToken),
    them: &Theirs,
    refusals: &mut Refusals,
) {
    let pair = make_key_pair().unwrap();
    let mut enroll = joiner(address, good);
    let request = |token: &JoinToken| pb::EnrollAgentRequest {
        request_key: request_key().into(),
        token: Some(proof(token)),
        public_key: pair.public.clone().into(),
        hostname: "n3".into(),
        ..pb::EnrollAgentRequest::default()
    };
    let another_key = pb::EnrollAgentRequest {
        token: Some(pb::TokenProof {
            token_id: good.id.to_string(),
            secret: seal::random::<32>().to_vec().into(),
        }),
        ..request(good)
    };
    let made_up = pb::EnrollAgentRequest {
        token: Some(pb::TokenProof {
            token_id: TokenId::from_entropy(seal::random()).to_string(),
            secret: seal::random::<32>().to_vec().into(),
        }),
        ..request(good)
    };
    expect!(refusals, Kind::Unauthenticated, enroll,
        "Enroll.EnrollAgent": enroll_agent(made_up);
        "Enroll.EnrollAgent": enroll_agent(request(used));
        "Enroll.EnrollAgent": enroll_agent(another_key);
        "Enroll.EnrollAgent": enroll_agent(pb::EnrollAgentRequest { token: None, ..request(good) });
        "Enroll.EnrollManager": enroll_manager(pb::EnrollManagerRequest {
            request_key: request_key().into(),
            token: Some(proof(good)),
            public_key: pair.public.clone().into(),
            hostname: "m9".into(),
            address: "127.0.0.1:9".into(),
            level_max: 1,
        });
        "Enroll.EnrollOperator": enroll_operator(pb::EnrollOperatorRequest {
            request_key: request_key().into(),
            token: Some(proof(good)),
            public_key: pair.public.clone().into(),
        });
    );
    // The other's node, vouched for by nobody and by a key that is no manager's.
    let node_id: proto::id::NodeId = them.node.parse().unwrap();
    let context = seal::Context::SameNode {
        realm: good.realm,
        node_id,
        agent_key_digest: &seal::digest_of(&pair.public),
    };
    let vouched = sign(&client.pair.private, &context.encode()).unwrap();
    let vouched = [&client.pair.public[..], &vouched].concat();
    for node_proof in [Vec::new(), vouched] {
        let request = pb::EnrollAgentRequest {
            node_id: them.node.clone(),
            node_proof: node_proof.into(),
            ..request(good)
        };
        expect!(refusals, Kind::Denied, enroll, "Enroll.EnrollAgent": enroll_agent(request););
    }
    let taken = pb::EnrollAgentRequest { hostname: "n1".into(), ..request(good) };
    expect!(refusals, Kind::Exists, enroll, "Enroll.EnrollAgent": enroll_agent(taken););

    // A certificate is renewed for its own subject, and for nobody without one.
    let renewal = || pb::RenewRequest {
        request_key: request_key().into(),
        public_key: pair.public.clone().into(),
        ..pb::RenewRequest::default()
    };
    expect!(refusals, Kind::Unauthenticated, enroll, "Enroll.Renew": renew(renewal()););
    let mut certified: EnrollClient<Channel> = EnrollClient::new(client.channel(address));
    let unusable = pb::RenewRequest { public_key: b"no key".as_slice().into(), ..renewal() };
    expect!(refusals, Kind::Invalid, certified, "Enroll.Renew": renew(unusable););
    let renewed = certified.renew(renewal()).await.unwrap().into_inner();
    let says = PeerCertificate::parse(&renewed.certificate).unwrap();
    assert_eq!(says.identity.subject, client.subject(), "nobody else");
}

/// Without a certificate there is enrolment and nothing else. A session is tried here only: for an
/// agent it is the one call it may make (`session.rs`).
async fn ask_without_a_certificate(address: &str, token: &JoinToken, refusals: &mut Refusals) {
    let mut control = ControlClient::new(bare_channel(address, token));
    let mut dispatcher = DispatcherClient::new(bare_channel(address, token));
    let mut peer = PeerClient::new(bare_channel(address, token));
    let open = pb::AgentMessage::default();
    expect!(refusals, Kind::Unauthenticated, control,
        "Control.ListSecrets": list_secrets(pb::ListSecretsRequest { filter: None });
    );
    expect!(refusals, Kind::Unauthenticated, dispatcher,
        "Dispatcher.Session": session(iter([open]));
        "Dispatcher.Exec": exec(iter([pb::ExecOutput::default()]));
    );
    expect!(refusals, Kind::Denied, peer,
        "Peer.FetchRootKeys": fetch_root_keys(pb::FetchRootKeysRequest::default());
    );
    expect!(refusals, Kind::Unauthenticated, peer,
        "Peer.Release": release(pb::ReleaseRequest::default());
    );
}

/// Who was refused what, as the audit tells it.
pub(crate) fn refusals_on_record(ctl: &Ctl) -> BTreeSet<(String, String, String)> {
    let records = ctl.json(&["cluster", "audit"]);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let records = records.as_array().unwrap().iter().map(|record| {
        let caller = text(&record["caller"]);
        let caller = caller.split('#').next().unwrap().to_owned();
        let outcome = text(&record["outcome"]);
        let outcome = outcome.split(" (").next().unwrap().to_owned();
        (caller, text(&record["action"]), outcome)
    });
    records.filter(|(_, _, outcome)| outcome != "ok").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_calls_everything_gets_nothing_and_it_is_on_record() {
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    lab.agent("n1");
    let ctl = lab.ctl();
    let secret = ctl.ok_with(&["create", NAME, "-"], b"value").trim().to_owned();
    let service = ["service", "create", "--detach", "--name", "db", "--secret", NAME];
    let service = ctl.ok(&[&service[..], &["--", "sleep", "1000"]].concat()).trim().to_owned();
    let task = lab.await_tasks("db", 1, "running").remove(0);
    let theirs = Theirs {
        secret,
        service,
        task: task["id"].as_str().unwrap().to_owned(),
        node: ctl.json(&["node", "inspect", "n1"])[0]["id"].as_str().unwrap().to_owned(),
    };
    let addresses = lab.addresses();
    // In this order: a token that was used up is forgotten when the next one is made.
    let good: JoinToken = lab.token("agent").parse().unwrap();
    let used = ctl.ok(&["cluster", "join-token", "agent", "--uses", "1", "--quiet"]);
    let client = Client::agent(&addresses[0], &used, "n2").await;
    let used: JoinToken = used.parse().unwrap();

    // At the leader and at those that hand on to it.
    let mut refusals = Refusals::default();
    for address in &addresses {
        ask_as_an_operator(&client, address, &theirs, &mut refusals).await;
        ask_as_an_admin(&client, address, &mut refusals).await;
        ask_as_a_manager(&client, address, &theirs, &mut refusals).await;
        enrol_as_somebody_else(&client, address, (&used, &good), &theirs, &mut refusals).await;
        // What a boot key may ask: `boot.rs`.
        let mut peer = PeerClient::new(client.channel(address));
        expect!(refusals, Kind::Denied, peer,
            "Peer.Release": release(pb::ReleaseRequest::default());
        );
    }
    ask_without_a_certificate(&addresses[0], &good, &mut refusals).await;
    for (method, kinds) in &refusals.0 {
        println!("{method}: {kinds:?}");
    }
    let tried: BTreeSet<String> = refusals.0.keys().map(ToString::to_string).collect();
    assert_eq!(tried, methods(), "every call is tried");

    // Nothing came of it.
    let now = lab.await_tasks("db", 1, "running").remove(0);
    assert_eq!(now["id"], theirs.task.as_str());
    assert_eq!(ctl.ok(&["ls", "--quiet"]).lines().count(), 1);
    assert_eq!(ctl.ok(&["service", "ls", "--quiet"]).lines().count(), 1);
    assert_eq!(ctl.ok(&["node", "ls", "--quiet"]).lines().count(), 5, "three managers, n1, n2");
    assert_eq!(ctl.json(&["operator", "ls"]), serde_json::json!([]));

    // And each refusal is on record, under whoever was refused.
    let me = client.subject().to_string();
    let own = |action: String| (me.clone(), action, "denied".to_owned());
    let by_token = |token: &JoinToken, action: &str, outcome: &str| {
        (format!("token/{}", token.id), action.to_owned(), outcome.to_owned())
    };
    let control = methods()
        .into_iter()
        .filter_map(|method| method.strip_prefix("Control.").map(|method| own(action(method))));
    let expected = control.chain([
        own("manager".to_owned()),
        own("release".to_owned()),
        by_token(&used, "admit_agent", "unauthenticated"),
        by_token(&good, "admit_agent", "unauthenticated"),
        by_token(&good, "admit_agent", "exists"),
        by_token(&good, "admit_manager", "unauthenticated"),
        by_token(&good, "enroll_operator", "denied"),
        by_token(&good, "vouched_node", "denied"),
        // Whoever makes ids up fills one line, not the audit.
        (
            format!("token/{}", TokenId::from_entropy([0; 17])),
            "unknown_token".into(),
            "denied".into(),
        ),
    ]);
    for refusal in expected {
        until(&format!("{refusal:?} is on record"), || {
            refusals_on_record(&ctl).contains(&refusal).then_some(())
        });
    }
}
