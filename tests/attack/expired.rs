//! Certificates that have ended, in a cluster that was off for longer than they live.

use link::rpc::peer_client::PeerClient;
use proto::{Kind, pb};
use tests::{Lab, faketime, until};
use tokio::time::Duration;

use crate::PROGRAMS;
use crate::client::Client;

/// Longer than an operator's certificate lives, which is longest.
const DAYS: u64 = 100;
const AHEAD: Duration = Duration::from_secs(DAYS * 24 * 3600);

const TEST: &str = "an_expired_certificate_renews_and_does_nothing_else";

/// The certificate has ended: that is why, and nothing else.
fn assert_expired<T>(what: &str, answer: Result<T, link::Failure>) {
    let Err(failure) = answer else { panic!("{what} was answered") };
    assert_eq!(failure.kind, Kind::Unauthenticated, "{what}: {failure:?}");
    assert!(failure.message.contains("has expired"), "{what}: {failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_renews_and_does_nothing_else() {
    let Some(library) = faketime(TEST) else { return };
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    let address = lab.address();
    let mut agent = Client::agent(&address, &lab.token("agent"), "n1").await;
    let token = lab.ctl().ok(&["operator", "add", "ada", "--role", "admin"]);
    let mut admin = Client::operator(&address, token.lines().next().unwrap()).await;
    let mut evicted = Client::agent(&address, &lab.token("agent"), "n2").await;
    lab.ctl().ok(&["node", "rm", "--force", "n2"]);

    lab.managers[0].daemon.stop();
    lab.managers[0].daemon.set_clock_ahead(&library, DAYS);
    lab.managers[0].daemon.start_again();
    lab.await_socket(0);
    for client in [&mut agent, &mut admin, &mut evicted] {
        client.set_clock_ahead(AHEAD);
    }
    // Clients are first answered once the manager itself has renewed.
    until("the manager has renewed its own", || {
        lab.managers[0].daemon.log().contains("certificate_renewed").then_some(())
    });

    assert_expired("a session", agent.open(&address).await);
    let mut peer = PeerClient::new(agent.channel(&address));
    assert!(peer.describe(pb::DescribeRequest {}).await.is_err());
    let mut control = admin.control(&address);
    let listed = control.list_secrets(pb::ListSecretsRequest { filter: None }).await;
    assert_expired("a list of secrets", listed.map_err(Into::into));
    let status = control.get_cluster_status(pb::GetClusterStatusRequest {}).await;
    assert_expired("the status", status.map_err(Into::into));
    until("it is on record", || {
        let audit = lab.ctl().json(&["cluster", "audit"]).to_string();
        audit.contains("expired_certificate").then_some(())
    });

    // The first answer may be lost: the same certificate renews again.
    drop(agent.renewed(&address).await.unwrap());
    let agent = agent.renewed(&address).await.unwrap();
    agent.open(&address).await.unwrap();
    let admin = admin.renewed(&address).await.unwrap();
    admin.control(&address).list_secrets(pb::ListSecretsRequest { filter: None }).await.unwrap();
    // Nobody is renewed whom the cluster does not stand by.
    let refused = evicted.renewed(&address).await.err().unwrap();
    assert_eq!(refused.kind, Kind::Evicted, "{refused:?}");
}
