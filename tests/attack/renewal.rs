//! Renewing a certificate that the cluster has no record of: who has one was not removed, and is not
//! told so, since an agent stops its tasks then.

use link::Failure;
use prost::Message as _;
use proto::identity::Caller;
use proto::{Kind, pb};
use tests::Lab;

use crate::PROGRAMS;
use crate::client::{Client, request_key};
use crate::former_ca::rotate_and_drop;

const PASSPHRASE: &[u8] = b"correct horse battery staple\n";

/// What came after the backup is lost, the records of certificates with it. Who renewed in between
/// renews again, as the rotation of the CA asks of everybody at once.
#[tokio::test(flavor = "multi_thread")]
async fn who_renewed_after_the_backup_renews_in_the_restored_cluster() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    let address = lab.address();
    let agent = Client::agent(&address, &lab.token("agent"), "n1").await;
    let evicted = Client::agent(&address, &lab.token("agent"), "n2").await;
    let token = lab.ctl().ok(&["operator", "add", "ada", "--role", "admin"]);
    let admin = Client::operator(&address, token.lines().next().unwrap()).await;
    let file = lab.path().join("b.age");
    let file = file.to_str().unwrap();
    lab.ctl().ok_with(&["cluster", "backup", file, "--passphrase"], PASSPHRASE);
    let agent = agent.renewed(&address).await.unwrap();
    let evicted = evicted.renewed(&address).await.unwrap();
    let admin = admin.renewed(&address).await.unwrap();

    lab.managers[0].daemon.kill();
    std::fs::remove_dir_all(&lab.managers[0].data).unwrap();
    lab.managers[0].daemon.start_again();
    lab.await_socket(0);
    lab.ctl().ok_with(&["cluster", "restore", file, "--hostname", "m1"], PASSPHRASE);
    lab.leader();
    let address = lab.address();
    let renewed = agent.renewed(&address).await.unwrap();
    renewed.open(&address).await.unwrap();
    admin.renewed(&address).await.unwrap();
    // Whoever is no node any more has nothing to stand on.
    lab.ctl().ok(&["node", "rm", "--force", "n2"]);
    let refused = evicted.renewed(&address).await.err().unwrap();
    assert_eq!(refused.kind, Kind::Unauthenticated, "{refused:?}");
    lab.ctl().ok(&["node", "rm", "--force", "n1"]);
    let refused = renewed.renewed(&address).await.err().unwrap();
    assert_eq!(refused.kind, Kind::Evicted, "{refused:?}");
}

/// A manager that has not applied the drop yet hands the renewal on: the leader has no record then.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_left_behind_with_the_old_ca_is_not_told_that_it_was_removed() {
    let lab = Lab::with_managers(PROGRAMS, 1);
    let address = lab.address();
    let agent = Client::agent(&address, &lab.token("agent"), "n1").await;
    let evicted = Client::agent(&address, &lab.token("agent"), "n2").await;
    lab.ctl().ok(&["node", "rm", "--force", "n2"]);
    let renewal = |client: &Client| {
        let request = pb::RenewRequest {
            request_key: request_key().into(),
            public_key: client.pair.public.clone().into(),
            incarnation: client.cluster().incarnation.0,
            not_after: u64::MAX,
        };
        let caller = Caller::Certified { subject: client.subject(), serial: client.serial() };
        pb::ForwardRequest {
            caller: minicbor::to_vec(caller).unwrap().into(),
            method: "renew".into(),
            request: request.encode_to_vec().into(),
        }
    };
    let said = async |renewal| {
        let mut manager = Client::manager(&lab.managers[0].data).peer(&address);
        let answer = manager.forward(renewal).await.unwrap().into_inner();
        match answer.outcome {
            Some(pb::forward_response::Outcome::Error(detail)) => Err(Failure::from_detail(detail)),
            _ => Ok(()),
        }
    };
    said(renewal(&agent)).await.unwrap();
    assert_eq!(said(renewal(&evicted)).await.unwrap_err().kind, Kind::Evicted);
    rotate_and_drop(&lab);
    let refused = said(renewal(&agent)).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Unauthenticated, "{refused:?}");
}
