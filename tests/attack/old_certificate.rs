//! Who has a key that leaked, when certificates are rotated: shut out with the holder's first use of
//! its next one, also if the key was used to renew in time.

use link::Failure;
use proto::{Kind, pb};
use tests::{Lab, PATIENCE, until};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use crate::PROGRAMS;
use crate::client::{Client, refused_in_the_handshake};

fn begin(lab: &Lab) {
    lab.ctl().ok(&["cluster", "rotate", "certificates", "--no-wait"]);
}

async fn status(client: &Client, address: &str) -> Result<(), Failure> {
    let request = pb::GetClusterStatusRequest {};
    Ok(client.control(address).get_cluster_status(request).await.map(|_| ())?)
}

fn assert_superseded<T>(answer: Result<T, Failure>) {
    let failure = answer.err().expect("it is refused");
    assert_eq!(failure.kind, Kind::Unauthenticated, "{failure:?}");
    assert!(failure.message.contains("not in force any more"), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaked_key_is_worth_nothing_once_its_holder_has_renewed() {
    let lab = Lab::with_managers(PROGRAMS, 1);
    let address = lab.address();
    let agent = Client::agent(&address, &lab.token("agent"), "n1").await;
    let token = lab.ctl().ok(&["operator", "add", "ada", "--role", "admin"]);
    let admin = Client::operator(&address, token.lines().next().unwrap()).await;
    let manager = Client::manager(&lab.managers[0].data);
    let mut session = agent.open(&address).await.unwrap();
    session.set().await;
    let (_appends, queue) = mpsc::channel(1);
    let mut thief = manager.peer(&address);
    let mut answers = thief.append(ReceiverStream::new(queue)).await.unwrap().into_inner();

    begin(&lab);
    // The manager renews by itself: what its old key opened is cut, and opens nothing more.
    let ended = timeout(PATIENCE, answers.message()).await.expect("the manager's appends end");
    ended.unwrap_err();
    let again = async || {
        let (_appends, queue) = mpsc::channel(1);
        Ok(manager.peer(&address).append(ReceiverStream::new(queue)).await?)
    };
    refused_in_the_handshake(again, "CertificateRevoked").await;

    // Until its holder renews and uses it, a key is as good as it was, and renews, too.
    let raced = agent.renewed(&address).await.unwrap();
    let honest = agent.renewed(&address).await.unwrap();
    status(&admin, &address).await.unwrap();
    let mut theirs = honest.open(&address).await.unwrap();
    theirs.set().await;
    until("it was seen in use", || {
        let keys = lab.ctl().json(&["cluster", "keys"]);
        let waits = &keys["certificate_rotation"]["waits_for"]["nodes"];
        (waits.as_array().unwrap().is_empty()).then_some(())
    });
    timeout(PATIENCE, async { while let Ok(Some(_)) = session.next().await {} })
        .await
        .expect("the session of before ends");
    for old in [&agent, &raced] {
        assert_superseded(old.open(&address).await);
        assert_superseded(old.renewed(&address).await);
    }
    let renewed = admin.renewed(&address).await.unwrap();
    status(&renewed, &address).await.unwrap();
    until("it is complete", || {
        let keys = lab.ctl().json(&["cluster", "keys"]);
        (keys["certificate_rotation"]["complete"] == true).then_some(())
    });
    assert_superseded(status(&admin, &address).await);
    assert_superseded(admin.renewed(&address).await);
    // Those that are in force go on as ever, also by what they are renewed to.
    let next = honest.renewed(&address).await.unwrap();
    next.open(&address).await.unwrap();
}
