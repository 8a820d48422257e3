//! A cluster that was restored with a CA of its own: what the backup's CA signed is worth nothing in
//! it, and whoever joins anew is as good as before.

use link::Failure;
use proto::pb;
use tests::{Lab, until};
use tokio_stream::wrappers::ReceiverStream;

use crate::PROGRAMS;
use crate::client::{Client, refused_in_the_handshake};

const PASSPHRASE: &[u8] = b"correct horse battery staple\n";

const SCRIPT: &str = "cat /run/secrets/key; echo; exec sleep 1000";

/// Where the laboratory's operator finds `olive`'s context.
const OLIVE: &str = "olive";

/// The status of the node of that name, as `node ls` has it.
fn node(lab: &Lab, hostname: &str) -> serde_json::Value {
    let nodes = lab.ctl().json(&["node", "ls"]);
    let node = nodes.as_array().unwrap().iter().find(|node| node["hostname"] == hostname);
    node.expect("it is there").clone()
}

/// Enrols `olive`, whose context is kept under the laboratory's folder.
fn enrol(lab: &Lab) -> tests::Ctl {
    let token = lab.ctl().ok(&["operator", "add", OLIVE, "--role", "writer"]);
    let home = lab.path().join(OLIVE);
    std::fs::create_dir_all(&home).unwrap();
    let ctl = lab.ctl().at_home(&home);
    let add = ["context", "add", "here", "--token", "-", "--manager", &lab.address()];
    ctl.ok_with(&add, token.lines().next().unwrap().as_bytes());
    ctl.with_context("here")
}

/// Puts an empty manager in the place of the first, and restores into it.
fn restore(lab: &mut Lab, file: &str, options: &[&str]) -> tests::Ran {
    let address = lab.address();
    lab.managers[0].daemon.kill();
    std::fs::remove_dir_all(&lab.managers[0].data).unwrap();
    let words = lab.managers[0].daemon.arguments();
    let at = words.iter().position(|word| word == "--listen").unwrap();
    words[at + 1] = address;
    lab.managers[0].daemon.start_again();
    lab.await_socket(0);
    let words = [&["cluster", "restore", file, "--hostname", "m1"], options].concat();
    let ran = lab.ctl_of(0).run_with(&words, PASSPHRASE);
    assert_eq!(ran.status, 0, "{ran:?}");
    lab.leader();
    ran
}

/// That a certificate of before is refused in the handshake, by a client that itself would take the
/// new CA: whoever answers decides.
async fn assert_unknown_ca<T>(ask: impl AsyncFn() -> Result<T, Failure>) {
    refused_in_the_handshake(ask, "UnknownCA").await;
}

/// Tokens of before.
fn assert_tokens_admit_nobody(lab: &Lab, newcomer: usize, tokens: [&str; 2]) {
    let address = lab.address();
    for token in tokens {
        let join = ["cluster", "join", "--token", token, "--hostname", "m2", &address];
        let ran = lab.ctl_of(newcomer).run(&join);
        assert_ne!(ran.status, 0, "{ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_backups_ca_signed_is_refused_and_who_joins_anew_gets_its_secrets() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    let first = lab.address();
    let n1 = lab.agent("n1");
    lab.ctl().ok(&["node", "update", "--label-add", "zone=eu", "n1"]);
    lab.ctl().ok_with(&["create", "key", "-"], b"value of then");
    let serve = ["service", "create", "--name", "web", "--secret", "key"];
    let place = ["--constraint", "node.labels.zone==eu", "--", "sh", "-c", SCRIPT];
    lab.ctl().ok(&[&serve[..], &place[..]].concat());
    let task = lab.await_tasks("web", 1, "running").remove(0);
    let before = node(&lab, "n1");
    let olive = enrol(&lab);
    // Whatever a thief may have: of an agent, an operator, a manager.
    let agent = Client::agent(&first, &lab.token("agent"), "n2").await;
    let admin = lab.ctl().ok(&["operator", "add", "ada", "--role", "admin"]);
    let admin = Client::operator(&first, admin.lines().next().unwrap()).await;
    let manager = Client::manager(&lab.managers[0].data);
    let (old_agents, old_managers) = (lab.token("agent"), lab.token("manager"));
    let file = lab.path().join("b.age");
    let file = file.to_str().unwrap();
    lab.ctl().ok_with(&["cluster", "backup", file, "--passphrase"], PASSPHRASE);
    let old_ca = lab.ctl().json(&["cluster", "status"])["ca_digest"].clone();
    // One that has no record in the backup either.
    let renewed = admin.renewed(&first).await.unwrap();

    let ran = restore(&mut lab, file, &["--new-ca"]);
    assert!(ran.stderr.contains("nothing that the backup's CA signed is trusted"), "{ran:?}");
    assert!(ran.stderr.contains("2 nodes and 2 operators of before"), "{ran:?}");
    assert!(ran.stderr.contains(old_ca.as_str().unwrap()), "{ran:?}");
    let ca = lab.ctl().json(&["cluster", "status"])["ca_digest"].clone();
    assert_ne!(ca, old_ca);

    // They take no manager of the new CA, and if they did, no manager takes them.
    let address = lab.address();
    for client in [&agent, &admin, &renewed] {
        assert!(client.renewed(&address).await.is_err(), "it is a stranger to them");
    }
    let trusted = lab.managers[0].data.join("ca.der");
    let posing = |client: Client| client.that_trusts(&std::fs::read(&trusted).unwrap());
    let (agent, admin, renewed) = (posing(agent), posing(admin), posing(renewed));
    for client in [&agent, &admin, &renewed] {
        assert_unknown_ca(async || client.renewed(&address).await).await;
    }
    assert_unknown_ca(async || agent.open(&address).await).await;
    assert_unknown_ca(async || {
        let status = pb::GetClusterStatusRequest {};
        Ok(admin.control(&address).get_cluster_status(status).await?)
    })
    .await;
    let thief = posing(manager);
    assert_unknown_ca(async || {
        let (_appends, queue) = tokio::sync::mpsc::channel(1);
        Ok(thief.peer(&address).append(ReceiverStream::new(queue)).await?)
    })
    .await;
    let why = olive.refused(69, &["--timeout", "1s", "ls"], b"");
    assert!(why.contains("or the cluster was restored since"), "{why}");

    let newcomer = lab.start_manager(&[]);
    assert_tokens_admit_nobody(&lab, newcomer, [&old_agents, &old_managers]);

    // The node waits, with its label; what ran there has no place, and runs on unseen.
    let waiting = node(&lab, "n1");
    assert_eq!((&waiting["id"], &waiting["has_agent"]), (&before["id"], &false.into()));
    let pending = lab.await_tasks("web", 1, "pending").remove(0);
    assert_ne!(pending["id"], task["id"]);

    // On its machine: end the agent, remove its data folder, join under its name.
    // What it finds there of before is nobody's.
    let token = lab.token("agent");
    lab.file("token1", token.as_bytes());
    let mine = &mut lab.agents[n1];
    let left = mine.tasks.join("tasks").join(task["id"].as_str().unwrap());
    assert!(left.exists(), "it runs on until then");
    mine.daemon.kill();
    std::fs::remove_dir_all(&mine.data).unwrap();
    mine.daemon.start_again();
    lab.await_node("n1", "ready");
    until("the task of before is ended", || (!left.exists()).then_some(()));
    let now = node(&lab, "n1");
    assert_eq!((&now["id"], &now["labels"]), (&before["id"], &before["labels"]));
    lab.await_tasks("web", 1, "running");
    until("the task reads what was backed up", || {
        let said = lab.ctl().ok(&["service", "logs", "web"]);
        said.contains("value of then").then_some(())
    });

    // A manager, and an operator, by tokens of now.
    let token = lab.token("manager");
    let join = ["cluster", "join", "--token", &token, "--hostname", "m2", &address];
    lab.ctl_of(newcomer).ok(&join);
    lab.ctl().ok(&["operator", "rm", OLIVE]);
    olive.ok(&["context", "rm", "here"]);
    enrol(&lab).ok_with(&["create", "another", "-"], b"value");
}
