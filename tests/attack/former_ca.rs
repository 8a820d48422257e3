//! Connections that began while the old CA was trusted, when that is dropped.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tests::{Lab, PATIENCE, until};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use crate::PROGRAMS;
use crate::client::Client;

/// Begins a rotation, and waits until the managers have moved.
fn rotate(lab: &Lab) {
    lab.ctl().ok(&["cluster", "rotate", "ca", "--no-wait"]);
    until("the managers have moved", || {
        let rotation = lab.ctl().json(&["cluster", "keys"])["ca_rotation"].clone();
        (rotation["phase"] == "clients").then_some(())
    });
}

/// Drops the old CA, whoever is left behind.
fn drop_former_ca(lab: &Lab) {
    lab.ctl().ok(&["cluster", "rotate", "ca", "--drop-missing"]);
}

/// Begins a rotation, and ends it without those who have not moved.
pub(crate) fn rotate_and_drop(lab: &Lab) {
    rotate(lab);
    drop_former_ca(lab);
}

/// Who had the old CA's key had such a certificate of a manager: it carries Raft, whatever the state
/// has of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_opened_under_the_old_ca_ends_when_that_is_dropped() {
    let lab = Lab::with_managers(PROGRAMS, 1);
    let address = lab.address();
    let agent = Client::agent(&address, &lab.token("agent"), "n1").await;
    let mut session = agent.open(&address).await.unwrap();
    let (_appends, queue) = mpsc::channel(1);
    let mut thief = Client::manager(&lab.managers[0].data).peer(&address);
    let mut answers = thief.append(ReceiverStream::new(queue)).await.unwrap().into_inner();

    rotate(&lab);
    session.set().await;
    let quiet = timeout(std::time::Duration::from_millis(100), answers.message()).await;
    assert!(quiet.is_err(), "the old CA is trusted still");
    drop_former_ca(&lab);
    let ended = timeout(PATIENCE, async { while let Ok(Some(_)) = session.next().await {} });
    ended.await.expect("the agent's session ends");
    let ended = timeout(PATIENCE, answers.message()).await.expect("the manager's appends end");
    ended.unwrap_err();
}

/// Stands between managers, and sees which connections are open.
#[derive(Clone, Default)]
struct Relay(Arc<Mutex<BTreeSet<u64>>>);

impl Relay {
    async fn to(&self, to: String) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let open = self.0.clone();
        tokio::spawn(async move {
            for number in 0.. {
                let (mut from, _) = listener.accept().await.unwrap();
                let (to, open) = (to.clone(), open.clone());
                open.lock().unwrap().insert(number);
                tokio::spawn(async move {
                    if let Ok(mut to) = TcpStream::connect(to).await {
                        drop(copy_bidirectional(&mut from, &mut to).await);
                    }
                    open.lock().unwrap().remove(&number);
                });
            }
        });
        address
    }

    fn open(&self) -> BTreeSet<u64> {
        self.0.lock().unwrap().clone()
    }
}

/// The other end may have shown a certificate of the old CA when they began.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_manager_opened_under_the_old_ca_ends_when_that_is_dropped() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let relay = Relay::default();
    let between = relay.to(port.to_string()).await;
    let second = lab.start_manager(&["--listen", &port.to_string(), "--advertise", &between]);
    let (token, first) = (lab.token("manager"), lab.address());
    let join = ["cluster", "join", "--token", &token, "--hostname", "m2", &first];
    lab.ctl_of(second).ok(&join);
    let agent = Client::agent(&first, &lab.token("agent"), "n1").await;

    rotate(&lab);
    lab.ctl_of(0).ok_with(&["create", "before", "-"], b"value");
    let before = relay.open();
    assert!(!before.is_empty(), "the first one has dialled the second");
    drop_former_ca(&lab);
    until("all of them have ended", || relay.open().is_disjoint(&before).then_some(()));
    // There are others.
    lab.ctl_of(0).ok_with(&["create", "after", "-"], b"value");
    assert!(!relay.open().is_empty());
    drop(agent);
}
