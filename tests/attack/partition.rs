//! A manager that is cut off from the others, while who was evicted or removed still reaches it.
//!
//! Each manager has a network of its own, and a bridge connects them; the test runs in the bridge's
//! network, where the agent is, which reaches all of them whatever they can reach. A manager is cut
//! off by telling it, and the others of it, an address on the link that nobody has: what is sent
//! is lost without a word, as in a real partition.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use proto::pb::manager_message::Message as Down;
use proto::{Kind, pb};
use sys::require::Need;
use tests::{Lab, until};

use crate::PROGRAMS;
use crate::client::Client;

/// The name of the networks, for the part of the test that runs inside.
const NETWORK: &str = "SECRETD_TEST_NETWORK";

/// Nobody's address on a link.
const NOBODY: &str = "02:00:00:00:00:01";

/// Attempts at the old leader after the eviction that are waited for.
const ATTEMPTS_MIN: usize = 3;

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {output:?}");
}

/// Three networks and the one that connects them.
struct Network {
    name: String,
}

impl Network {
    /// Those of a test: the two run at the same time.
    fn make(test: &str) -> Self {
        let word =
            test.rsplit("::").next().unwrap_or_default().split('_').next().unwrap_or_default();
        let network = Self { name: format!("secretd-{}-{word}", std::process::id()) };
        let hub = network.of("hub");
        ip(&["netns", "add", &hub]);
        ip(&["-n", &hub, "link", "set", "lo", "up"]);
        ip(&["-n", &hub, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &hub, "address", "add", "10.0.0.254/24", "dev", "br0"]);
        ip(&["-n", &hub, "link", "set", "br0", "up"]);
        for number in 1..=3 {
            let (own, port) = (network.of(&format!("m{number}")), format!("p{number}"));
            let address = format!("10.0.0.{number}/24");
            ip(&["netns", "add", &own]);
            let pair = ["type", "veth", "peer", "name", "eth0", "netns", &own];
            ip(&[&["-n", &hub, "link", "add", &port][..], &pair].concat());
            ip(&["-n", &hub, "link", "set", &port, "master", "br0", "up"]);
            ip(&["-n", &own, "link", "set", "lo", "up"]);
            ip(&["-n", &own, "address", "add", &address, "dev", "eth0"]);
            ip(&["-n", &own, "link", "set", "eth0", "up"]);
        }
        network
    }

    fn of(&self, part: &str) -> String {
        format!("{}-{part}", self.name)
    }

    /// The two directions between a manager and each of the others.
    fn links(&self, manager: usize) -> Vec<(String, String)> {
        let others = (0..3).filter(|other| *other != manager);
        let pairs = others.flat_map(|other| [(manager, other), (other, manager)]);
        pairs
            .map(|(at, of)| (self.of(&format!("m{}", at + 1)), format!("10.0.0.{}", of + 1)))
            .collect()
    }

    fn cut_off(&self, manager: usize) {
        for (at, address) in self.links(manager) {
            let neighbour = ["neighbour", "replace", &address, "lladdr", NOBODY, "dev", "eth0"];
            ip(&[&["-n", &at][..], &neighbour, &["nud", "permanent"]].concat());
        }
    }

    fn heal(&self, manager: usize) {
        for (at, address) in self.links(manager) {
            ip(&["-n", &at, "neighbour", "delete", &address, "dev", "eth0"]);
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for part in ["m1", "m2", "m3", "hub"] {
            // What was not made is not there.
            Command::new("ip").args(["netns", "delete", &self.of(part)]).output().ok();
        }
    }
}

/// Runs a part of a test inside the bridge's network.
fn in_networks(test: &str, part: impl AsyncFnOnce(&Network)) {
    if !sys::require::root(test) {
        return;
    }
    if let Ok(name) = std::env::var(NETWORK) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        // Whoever made the networks removes them.
        let network = std::mem::ManuallyDrop::new(Network { name });
        return runtime.block_on(part(&network));
    }
    if Command::new("ip").arg("-V").output().is_err() {
        return sys::require::skip(test, Need::Root, "it needs `ip` of iproute2");
    }
    let network = Network::make(test);
    let inside = ["netns", "exec", &network.of("hub")].map(ToOwned::to_owned);
    let own = std::env::current_exe().unwrap();
    let mut command = Command::new("ip");
    command.args(inside).arg(own).args([test, "--exact", "--nocapture"]);
    let status = command.env(NETWORK, &network.name).status().unwrap();
    assert!(status.success(), "the part inside the network: {status}");
}

#[test]
fn an_old_leader_delivers_nothing_after_its_lease() {
    let test = "partition::an_old_leader_delivers_nothing_after_its_lease";
    in_networks(test, evict_behind_its_back);
}

#[test]
fn who_was_removed_behind_a_managers_back_is_cut_off_by_the_snapshot_that_tells() {
    let test =
        "partition::who_was_removed_behind_a_managers_back_is_cut_off_by_the_snapshot_that_tells";
    in_networks(test, remove_behind_its_back);
}

/// What became of one attempt to be given the secret.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Attempt {
    Delivered,
    Refused(Kind),
}

/// Attempts in their order, each with whether the eviction had been acknowledged before it ended.
#[derive(Debug, Default)]
struct Attempts {
    evicted: AtomicBool,
    made: Mutex<Vec<(bool, Attempt)>>,
}

impl Attempts {
    fn note(&self, attempt: Attempt) {
        let evicted = self.evicted.load(Ordering::SeqCst);
        self.made.lock().unwrap().push((evicted, attempt));
    }

    fn count(&self, wanted: impl Fn(bool, Attempt) -> bool) -> usize {
        let made = self.made.lock().unwrap();
        made.iter().filter(|(evicted, attempt)| wanted(*evicted, *attempt)).count()
    }
}

/// Opens one session after the other, as a node that has nothing and wants everything.
async fn ask_again_and_again(client: Arc<Client>, address: String, attempts: Arc<Attempts>) {
    loop {
        let mut session = match client.open(&address).await {
            Ok(session) => session,
            Err(failure) => {
                attempts.note(Attempt::Refused(failure.kind));
                continue;
            }
        };
        let attempt = loop {
            match session.next().await {
                Ok(Some(Down::Secret(_))) => break Attempt::Delivered,
                Ok(Some(Down::End(_)) | None) => break Attempt::Refused(Kind::NotFound),
                Ok(Some(_)) => {}
                Err(failure) => break Attempt::Refused(failure.kind),
            }
        };
        attempts.note(attempt);
    }
}

fn member(lab: &Lab, manager: usize) -> serde_json::Value {
    let name = format!("m{}", manager + 1);
    lab.members().into_iter().find(|member| member["hostname"] == name.as_str()).unwrap()
}

/// Three managers, each in its own network.
fn start(network: &Network) -> Lab {
    let mut lab = Lab::new(PROGRAMS);
    for number in 1..=3 {
        let (hostname, listen) = (format!("m{number}"), format!("10.0.0.{number}:0"));
        let under = ["ip", "netns", "exec", &network.of(&hostname)].map(ToOwned::to_owned);
        let under: Vec<&str> = under.iter().map(String::as_str).collect();
        let known = (number > 1).then(|| (lab.token("manager"), lab.address()));
        let index = lab.start_manager_under(&under, &["--listen", &listen]);
        match known {
            None => lab.ctl_of(index).ok(&["cluster", "init", "--hostname", &hostname]),
            Some((token, address)) => {
                let join = ["cluster", "join", "--hostname", &hostname, "--token", &token];
                lab.ctl_of(index).ok(&[&join[..], &[&address]].concat())
            }
        };
    }
    until("three managers vote", || {
        let ready = lab.members().into_iter().filter(|m| m["state"] == "voter");
        (ready.filter(|m| m["reachable"] == true).count() == 3).then_some(())
    });
    lab
}

async fn evict_behind_its_back(network: &Network) {
    let lab = start(network);
    let old = lab.leader();
    let new = (old + 1) % 3;
    let address = member(&lab, old)["address"].as_str().unwrap().to_owned();
    let client = Arc::new(Client::agent(&address, &lab.token("agent"), "n1").await);
    lab.ctl().ok_with(&["create", "key", "-"], b"value");
    let service = ["service", "create", "--detach", "--name", "web", "--secret", "key"];
    lab.ctl().ok(&[&service[..], &["--", "sleep", "1000"]].concat());
    let attempts = Arc::new(Attempts::default());
    let asking = ask_again_and_again(client.clone(), address.clone(), attempts.clone());
    let asking = tokio::spawn(asking);
    let delivered = |evicted: bool, attempt| !evicted && attempt == Attempt::Delivered;
    until("the leader delivers", || (attempts.count(delivered) >= 3).then_some(()));

    // A node that asks for nothing and keeps its session.
    let idle = Client::agent(&address, &lab.token("agent"), "n2").await;
    let mut idle = idle.open(&address).await.unwrap();

    network.cut_off(old);
    let closed = loop {
        match idle.next().await {
            Ok(Some(_)) => {}
            closed => break closed,
        }
    };
    let kind = closed.expect_err("it says why").kind;
    assert!(matches!(kind, Kind::Unavailable | Kind::NoLeader), "{kind}");
    until("the others have a leader", || {
        let status = lab.ctl_of(new).run(&["--json", "cluster", "status"]);
        let status: serde_json::Value = serde_json::from_str(&status.stdout).ok()?;
        let name = format!("m{}", old + 1);
        let mut members = status["members"].as_array()?.iter();
        members.any(|m| m["leader"] == true && m["hostname"] != name.as_str()).then_some(())
    });
    until("the node is evicted", || {
        let ran = lab.ctl_of(new).run(&["node", "rm", "--force", "n1"]);
        (ran.status == 0).then_some(())
    });
    attempts.evicted.store(true, Ordering::SeqCst);
    let delivered_by_its_log =
        || lab.managers[old].daemon.log().matches("secret_delivered").count();
    let before = delivered_by_its_log();
    assert!(before >= 3, "its log tells of deliveries");

    // It knows nothing of the eviction, and serves the node no more than anybody else.
    until("it is asked again", || {
        (attempts.count(|evicted, _| evicted) >= ATTEMPTS_MIN).then_some(())
    });
    let refused = |evicted: bool, attempt| {
        let refusals = [Kind::NoLeader, Kind::Unavailable].map(Attempt::Refused);
        !evicted || refusals.contains(&attempt)
    };
    assert_eq!(attempts.count(|evicted, attempt| !refused(evicted, attempt)), 0, "{attempts:?}");
    lab.ctl_of(old).refused(69, &["ls"], b"");

    // When it is back among the others it says why.
    network.heal(old);
    let evicted = |_: bool, attempt| attempt == Attempt::Refused(Kind::Evicted);
    until("it has heard of the eviction", || (attempts.count(evicted) >= 1).then_some(()));
    asking.abort();
    let late = attempts.count(|evicted, attempt| evicted && attempt == Attempt::Delivered);
    assert_eq!(late, 0, "{attempts:?}");
    assert_eq!(delivered_by_its_log(), before);
}

/// Connections from this network to a manager.
fn connections(address: &str) -> usize {
    let established = ["-Htn", "state", "established", "dst", address];
    let listed = Command::new("ss").args(established).output().unwrap();
    assert!(listed.status.success(), "{listed:?}");
    String::from_utf8(listed.stdout).unwrap().lines().count()
}

/// The entry that removed the operator is in no log any more: the manager never sees it.
async fn remove_behind_its_back(network: &Network) {
    let lab = start(network);
    let leader = lab.leader();
    let behind = (leader + 1) % 3;
    let address = member(&lab, behind)["address"].as_str().unwrap().to_owned();
    let mut kept = Vec::new();
    for name in ["ann", "bob"] {
        let added = lab.ctl().json(&["operator", "add", name, "--role", "auditor"]);
        let client = Client::operator(&address, added["token"].as_str().unwrap()).await;
        let mut control = client.control(&address);
        control.list_secrets(pb::ListSecretsRequest::default()).await.unwrap();
        kept.push(control);
    }
    until("both are connected, and nobody else", || (connections(&address) == 2).then_some(()));

    network.cut_off(behind);
    let ctl = lab.ctl_of(leader);
    ctl.ok(&["operator", "rm", "ann"]);
    ctl.ok(&["cluster", "rotate", "log-key", "--no-wait"]);
    until("the others have given up their logs", || {
        let keys = ctl.json(&["cluster", "keys"]);
        let members = keys["members"].as_array().unwrap().iter();
        (members.filter(|member| member["rotation"] == 1).count() == 2).then_some(())
    });
    assert_eq!(connections(&address), 2, "it knows nothing yet");

    network.heal(behind);
    until("she is cut off, he is not", || (connections(&address) == 1).then_some(()));
    let (mut bob, mut ann) = (kept.pop().unwrap(), kept.pop().unwrap());
    bob.list_secrets(pb::ListSecretsRequest::default()).await.unwrap();
    ann.list_secrets(pb::ListSecretsRequest::default()).await.unwrap_err();
}
