//! Clusters that lost their majority for good: what is left goes on, once, and the dead stay dead.

use std::path::Path;

use serde_json::Value;
use tests::{Ctl, Lab, until};

use crate::PROGRAMS;
use crate::lifecycle::{output, serve};
use crate::locking::{await_locked, key_in, three, unlock};
use crate::rotation::{assert_under_none, await_voters, open_stolen, steal_keys, stolen_slot};

const FORCE: &str = "--force-new-cluster";

/// What the manager's log says of the last that ended it.
fn last_failure(lab: &Lab, index: usize) -> String {
    let log = lab.managers[index].daemon.log();
    let line = log.lines().rfind(|line| line.contains("manager_failed"));
    line.expect("it says why it ended").to_owned()
}

/// Starts a manager that is to refuse, and gives why.
fn refuses(lab: &mut Lab, index: usize) -> String {
    lab.managers[index].daemon.start_again();
    ends(lab, index)
}

/// Waits until a manager has ended in such a way that it is not to be started again, and gives why.
fn ends(lab: &mut Lab, index: usize) -> String {
    let status = lab.managers[index].daemon.wait().code();
    let why = last_failure(lab, index);
    let expected = if why.contains("belongs to incarnation") { 77 } else { 2 };
    assert_eq!(status, Some(expected), "{why}");
    why
}

fn start_with_force(lab: &mut Lab, index: usize) {
    lab.managers[index].daemon.arguments().push(FORCE.into());
    lab.managers[index].daemon.start_again();
    lab.await_socket(index);
}

fn restart_without_force(lab: &mut Lab, index: usize) {
    let daemon = &mut lab.managers[index].daemon;
    daemon.stop();
    daemon.arguments().retain(|word| word != FORCE);
    daemon.start_again();
    lab.await_socket(index);
}

/// The cluster's status by one manager, once it leads a cluster of that incarnation.
fn await_life(lab: &Lab, index: usize, incarnation: u64) -> Value {
    until(&format!("manager {index} leads incarnation {incarnation}"), || {
        let ran = lab.ctl_of(index).run(&["--timeout", "2s", "cluster", "status", "--json"]);
        let status: Value = serde_json::from_str(&ran.stdout).ok()?;
        (status["leader"].is_u64() && status["incarnation"] == incarnation).then_some(status)
    })
}

fn hostnames(status: &Value) -> Vec<&str> {
    status["members"].as_array().unwrap().iter().map(|m| m["hostname"].as_str().unwrap()).collect()
}

fn join(lab: &mut Lab, index: usize, at: usize) {
    let token = lab.ctl_of(at).ok(&["cluster", "join-token", "manager", "--quiet"]);
    let status = lab.ctl_of(at).json(&["cluster", "status"]);
    let address = status["members"][0]["address"].as_str().unwrap().to_owned();
    let name = format!("m{}", index + 1);
    let join = ["cluster", "join", "--token", token.trim(), "--hostname", &name, &address];
    lab.ctl_of(index).ok(&join);
}

fn empty(data: &Path) {
    for entry in std::fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
}

/// A task that shows its secret whenever there is a file `again`.
fn serve_witness(lab: &Lab) -> Value {
    let script = format!(
        "echo started; while :; do if test -e {0}; then rm {0}; cat /run/secrets/key; echo; fi; \
         sleep 0.05; done",
        lab.path().join("again").display()
    );
    serve(lab, "web", &["--secret", "key"], &script);
    lab.await_tasks("web", 1, "running").remove(0)
}

/// An admin with a context of all managers.
fn operator(lab: &Lab) -> Ctl {
    let token = lab.ctl().ok(&["operator", "add", "ada", "--role", "admin"]);
    let home = lab.path().join("ada");
    std::fs::create_dir(&home).unwrap();
    let ada = lab.ctl().at_home(&home);
    let addresses = lab.addresses();
    let mut add = vec!["context", "add", "here", "--token", "-"];
    for address in &addresses {
        add.extend(["--manager", address]);
    }
    ada.ok_with(&add, token.lines().next().unwrap().as_bytes());
    ada.with_context("here")
}

/// A majority of the life before: all are told, stay away, and join like any other once they are
/// empty.
fn dead_come_back(lab: &mut Lab, dead: [usize; 2], left: usize) {
    for index in dead {
        lab.managers[index].daemon.start_again();
    }
    for index in dead {
        let why = ends(lab, index);
        assert!(why.contains("belongs to incarnation 1; the cluster is now 2"), "{why}");
        assert!(why.contains("docs/operations/evicted-manager.md"), "{why}");
        // At every later start at once, whatever it is asked for.
        lab.managers[index].daemon.arguments().push(FORCE.into());
        assert!(refuses(lab, index).contains("the cluster is now 2"));
        lab.managers[index].daemon.arguments().retain(|word| word != FORCE);
    }
    for index in dead {
        empty(&lab.managers[index].data);
        lab.managers[index].daemon.start_again();
        lab.await_socket(index);
        join(lab, index, left);
    }
    await_voters(lab);
}

#[test]
fn the_manager_that_is_left_goes_on_alone_and_everybody_follows_it() {
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    await_voters(&lab);
    lab.agent("n1");
    lab.ctl().ok_with(&["create", "key", "-"], b"value");
    let task = serve_witness(&lab);
    let ada = operator(&lab);
    let seen = |ada: &Ctl| ada.json(&["context", "ls"])[0]["incarnation"].clone();
    let old_token = lab.token("agent");

    // One that does not lead is left; the others die for good.
    let left = (lab.leader() + 1) % 3;
    let dead = [(left + 1) % 3, (left + 2) % 3];
    lab.ctl_of(left).ok_with(&["create", "last", "-"], b"x");
    // While the others are there nothing is forced: two clusters would go on from one state.
    lab.managers[left].daemon.stop();
    lab.managers[left].daemon.arguments().push(FORCE.into());
    let why = refuses(&mut lab, left);
    assert!(why.contains("3 of 3 managers are there"), "{why}");
    assert!(why.contains("start without it"), "{why}");
    assert!(!lab.managers[left].data.join("next-incarnation").exists());
    for index in dead {
        lab.managers[index].daemon.kill();
    }
    let stolen = steal_keys(&lab, "stolen");
    lab.managers[left].daemon.start_again();
    lab.await_socket(left);

    let status = await_life(&lab, left, 2);
    assert_eq!(hostnames(&status), [format!("m{}", left + 1)]);
    assert!(lab.managers[left].daemon.log().contains("cluster_forced"));
    let names = |lab: &Lab| {
        let secrets = lab.ctl_of(left).json(&["ls"]);
        let mut names: Vec<_> =
            secrets.as_array().unwrap().iter().map(|s| s["name"].to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&lab), ["\"key\"", "\"last\""]);
    let audit = lab.ctl_of(left).json(&["cluster", "audit"]).to_string();
    assert!(audit.contains("begin_incarnation"), "{audit}");
    // The keys of the life before open nothing of this one, and nothing of that one is left.
    let data = lab.managers[left].data.clone();
    let stolen = stolen.join(left.to_string());
    assert_under_none(&data, &open_stolen(&stolen, &stolen_slot(&stolen)));
    for name in ["next-incarnation", "unfinished-incarnation"] {
        assert!(!data.join(name).exists(), "{name}");
    }

    // The agent comes by itself, with its certificate of the life before; its task never noticed.
    lab.await_node("n1", "ready");
    lab.file("again", b"");
    assert_eq!(output(&lab, "web", 2), "started\nvalue\n");
    let now = lab.await_tasks("web", 1, "running").remove(0);
    assert_eq!(now["id"], task["id"], "the task was not restarted");
    lab.ctl_of(left).ok_with(&["create", "new", "-"], b"new value");
    serve(&lab, "next", &["--secret", "new"], "cat /run/secrets/new; echo; exec sleep 1000");
    assert_eq!(output(&lab, "next", 1), "new value\n");
    // So does the operator.
    ada.ok(&["ls"]);
    assert_eq!(seen(&ada), 1, "not told yet");
    ada.ok(&["cluster", "status"]);
    assert_eq!(seen(&ada), 2);
    // Tokens of the life before are void.
    let text = lab.ctl_of(left).ok(&["cluster", "status"]);
    assert!(!text.contains("no majority"), "{text}");
    let stray = lab.start_manager(&[]);
    let address = status["members"][0]["address"].as_str().unwrap().to_owned();
    let said = lab.ctl_of(stray).run(&["cluster", "join", "--token", &old_token, &address]);
    assert_ne!(said.status, 0, "{said:?}");
    lab.managers[stray].daemon.stop();

    dead_come_back(&mut lab, dead, left);
    // The option is still there: a restart does not do it again, with three or alone.
    lab.managers[left].daemon.stop();
    lab.managers[left].daemon.start_again();
    lab.await_socket(left);
    assert_eq!(hostnames(&await_life(&lab, left, 2)).len(), 3);
    assert!(lab.managers[left].daemon.log().contains("new_cluster_forced_before"));
    restart_without_force(&mut lab, left);
    assert_eq!(hostnames(&await_life(&lab, left, 2)).len(), 3);
    assert!(!data.join("forced").exists());
    lab.file("again", b"");
    assert_eq!(output(&lab, "web", 3), "started\nvalue\nvalue\n");
}

#[test]
fn a_locked_manager_that_is_left_waits_for_its_key_and_goes_on_alone() {
    let mut lab = three();
    lab.ctl().ok_with(&["create", "key", "-"], b"value");
    let key = key_in(&lab.ctl().ok(&["cluster", "update", "--autolock", "on"]));
    until("every key file is sealed to it", || {
        lab.members().iter().all(|m| m["key_file_generation"] == 2).then_some(())
    });
    for manager in &mut lab.managers {
        manager.daemon.kill();
    }
    start_with_force(&mut lab, 1);
    await_locked(&lab, 1);
    unlock(&lab, 1, &key);
    let status = await_life(&lab, 1, 2);
    assert_eq!(hostnames(&status), ["m2"]);
    assert_eq!(lab.ctl_of(1).json(&["ls"])[0]["name"], "key");
    // The new key file is sealed to the same key.
    restart_without_force(&mut lab, 1);
    await_locked(&lab, 1);
    unlock(&lab, 1, &key);
    await_life(&lab, 1, 2);
    lab.ctl_of(1).ok_with(&["create", "more", "-"], b"value");
}

#[test]
fn there_is_nothing_to_force_where_there_is_no_cluster_or_nobody_else() {
    let mut lab = Lab::new(PROGRAMS);
    lab.start_manager(&[]);
    lab.managers[0].daemon.stop();
    lab.managers[0].daemon.arguments().push(FORCE.into());
    let why = refuses(&mut lab, 0);
    assert!(why.contains("holds no cluster"), "{why}");
    assert!(why.contains("secretctl cluster init"), "{why}");
    lab.managers[0].daemon.arguments().retain(|word| word != FORCE);
    lab.managers[0].daemon.start_again();
    lab.await_socket(0);
    lab.ctl().ok(&["cluster", "init", "--hostname", "m1"]);

    lab.managers[0].daemon.stop();
    start_with_force(&mut lab, 0);
    await_life(&lab, 0, 1);
    assert!(lab.managers[0].daemon.log().contains("no_other_manager_votes"));
    // Others join later, and die: with the option still there it is not carried out by itself.
    for _ in 0..2 {
        lab.join();
    }
    await_voters(&lab);
    for manager in &mut lab.managers {
        manager.daemon.kill();
    }
    lab.managers[0].daemon.start_again();
    lab.await_socket(0);
    until("it says so", || {
        lab.managers[0].daemon.log().contains("new_cluster_forced_before").then_some(())
    });
    let status = until("it serves what it has", || {
        let ran = lab.ctl_of(0).run(&["--timeout", "2s", "cluster", "status", "--json"]);
        let status: Value = serde_json::from_str(&ran.stdout).ok()?;
        (status["phase"] == "serving" && status["members"].is_array()).then_some(status)
    });
    assert_eq!(status["incarnation"], 1, "{status}");
    assert!(status["leader"].is_null(), "{status}");
    // Once it was started without, it may be asked for again.
    restart_without_force(&mut lab, 0);
    lab.managers[0].daemon.stop();
    start_with_force(&mut lab, 0);
    assert_eq!(hostnames(&await_life(&lab, 0, 2)), ["m1"]);
}
