//! Services that change, and nodes that come and go, on real managers and agents.
//!
//! The rules are tested on the state machine (`state/tests`); here it is shown that the leader keeps
//! to them with real tasks, and that operators see it.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;
use tests::{Lab, until};

use crate::PROGRAMS;

/// What runs until it is stopped.
const STAYS: &str = "exec sleep 1000";

/// Makes a service of a shell script that runs.
fn serve(lab: &Lab, name: &str, options: &[&str], script: &str) {
    let create = ["service", "create", "--name", name, "--update-monitor", "1s"];
    let command = ["--", "/bin/sh", "-c", script];
    lab.ctl().ok(&[&create, options, &command].concat());
}

fn service(lab: &Lab, name: &str) -> Value {
    lab.ctl().json(&["service", "inspect", name]).as_array_mut().unwrap().remove(0)
}

/// The ids of the tasks that are wanted.
fn ids(lab: &Lab, name: &str) -> BTreeSet<String> {
    let tasks = lab.ctl().json(&["service", "ps", name]);
    let tasks = tasks.as_array().unwrap().iter();
    tasks.map(|task| task["id"].as_str().unwrap().to_owned()).collect()
}

/// The nodes of the tasks that run, once there are so many.
fn nodes(lab: &Lab, name: &str, count: usize) -> Vec<String> {
    let tasks = lab.await_tasks(name, count, "running");
    let mut nodes: Vec<_> =
        tasks.iter().map(|task| task["node"].as_str().unwrap().to_owned()).collect();
    nodes.sort_unstable();
    nodes
}

/// Waits until the service's tasks run on these nodes and nowhere else.
fn await_nodes(lab: &Lab, name: &str, wanted: &[&str]) {
    until(&format!("{name} runs on {wanted:?}"), || {
        let tasks = lab.ctl().json(&["service", "ps", name]);
        let tasks = tasks.as_array().unwrap();
        let mut nodes: Vec<_> = tasks
            .iter()
            .filter(|task| task["state"] == "running")
            .map(|task| task["node"].as_str().unwrap())
            .collect();
        nodes.sort_unstable();
        (nodes == wanted && tasks.len() == wanted.len()).then_some(())
    });
}

#[test]
fn a_failing_version_pauses_and_an_operator_goes_back() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.agent("n1");
    // The next one's turn is long after a task that ends at once has failed.
    serve(&lab, "web", &["--replicas", "3", "--update-delay", "1m"], STAYS);
    let before = ids(&lab, "web");
    let failing = ["service", "update", "web", "--", "/bin/sh", "-c", "exit 3"];
    let said = lab.ctl().run(&failing);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.stderr.contains("the update of service web is paused"), "{}", said.stderr);
    let why = "update paused due to failure or early termination of task ";
    assert!(said.stderr.contains(why), "{}", said.stderr);
    let update = &service(&lab, "web")["update"];
    assert_eq!(update["state"], "paused", "{update}");
    assert_eq!(ids(&lab, "web").intersection(&before).count(), 2, "the others run on");

    lab.ctl().ok(&["service", "rollback", "web"]);
    let update = &service(&lab, "web")["update"];
    assert_eq!(
        (&update["state"], &update["message"]),
        (&"rollback_completed".into(), &"rollback completed".into())
    );
    let now: BTreeSet<_> = lab
        .await_tasks("web", 3, "running")
        .iter()
        .map(|task| task["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(now.intersection(&before).count(), 2, "and were not touched");
    // What came before is under the task of its place.
    let text = lab.ctl().ok(&["service", "ps", "--all", "web"]);
    assert!(text.contains(r" \_ web.1 "), "{text}");
}

#[test]
fn a_failing_version_rolls_back_by_itself_if_it_is_to() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.agent("n1");
    serve(&lab, "web", &["--replicas", "2", "--update-failure-action", "rollback"], STAYS);
    let before = service(&lab, "web");
    let said = lab.ctl().run(&["service", "update", "web", "--", "/bin/sh", "-c", "exit 3"]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.stderr.contains("service web was rolled back"), "{}", said.stderr);
    assert!(
        said.stderr.contains("update rolled back due to failure or early termination of task"),
        "{}",
        said.stderr
    );
    let now = service(&lab, "web");
    assert_eq!(now["command"], before["command"]);
    assert_eq!(now["spec_revision"], before["spec_revision"]);
    assert_eq!(now["update"]["state"], "rollback_completed");
    lab.await_tasks("web", 2, "running");
    let said = lab.ctl().refused(1, &["service", "rollback", "web"], b"");
    assert!(said.contains("service web does not have a previous spec"), "{said}");
}

#[test]
fn a_label_restarts_nothing_and_another_secret_everything() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.agent("n1");
    lab.ctl().ok_with(&["create", "key", "-"], b"first\n");
    lab.ctl().ok_with(&["create", "key2", "-"], b"second\n");
    serve(
        &lab,
        "web",
        &["--replicas", "2", "--secret", "key"],
        "cat /run/secrets/key; exec sleep 1000",
    );
    let before = ids(&lab, "web");
    lab.ctl().ok(&[
        "service",
        "update",
        "web",
        "--label-add",
        "tier=front",
        "--update-parallelism",
        "2",
    ]);
    assert_eq!(ids(&lab, "web"), before);
    assert_eq!(service(&lab, "web")["labels"]["tier"], "front");

    let swap = ["--secret-rm", "key", "--secret-add", "source=key2,target=key"];
    lab.ctl().ok(&[&["service", "update", "web"][..], &swap].concat());
    assert!(ids(&lab, "web").is_disjoint(&before));
    assert_eq!(service(&lab, "web")["update"]["state"], "completed");
    let output = lab.ctl().ok(&["service", "logs", "--no-prefix", "web"]);
    assert_eq!(output.matches("second").count(), 2, "{output}");
    // What was declared before still needs it.
    let said = lab.ctl().refused(1, &["rm", "key"], b"");
    assert!(said.contains("is in use by the following service: web"), "{said}");
    lab.ctl().ok(&["rm", "--forget-previous", "key"]);
}

#[test]
fn an_update_goes_on_under_the_next_leader() {
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    lab.agent("n1");
    serve(&lab, "web", &["--replicas", "4", "--update-delay", "1s"], STAYS);
    let before = ids(&lab, "web");
    lab.ctl().ok(&["service", "update", "web", "--force", "--detach"]);
    until("the first task is another", || (ids(&lab, "web") != before).then_some(()));
    let leader = lab.leader();
    lab.managers[leader].daemon.kill();
    until("the update completes", || {
        (service(&lab, "web")["update"]["state"] == "completed").then_some(())
    });
    assert!(ids(&lab, "web").is_disjoint(&before));
    lab.await_tasks("web", 4, "running");
}

#[test]
fn a_restart_waits_for_its_delay_and_not_longer_for_anything_else() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.agent("n1");
    let flag = lab.path().join("failed-once");
    let script = format!("test -e {0} || {{ touch {0}; exit 1; }}; {STAYS}", flag.display());
    // Longer than the leader's tick: what it waits for must survive that.
    let create = ["service", "create", "--name", "web", "--restart-delay", "2s", "--detach"];
    lab.ctl().ok(&[&create[..], &["--", "/bin/sh", "-c", &script]].concat());
    lab.await_tasks("web", 1, "running");
    assert!(flag.exists());
}

#[test]
fn a_drained_node_is_left_and_a_global_service_follows_the_nodes() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.agent("n1");
    lab.agent("n2");
    serve(&lab, "web", &["--replicas", "2"], STAYS);
    assert_eq!(nodes(&lab, "web", 2), ["n1", "n2"]);
    let everywhere = ["--mode", "global", "--constraint", "node.hostname!=n4"];
    serve(&lab, "agent", &everywhere, STAYS);
    await_nodes(&lab, "agent", &["n1", "n2"]);

    lab.ctl().ok(&["node", "update", "n1", "--availability", "drain"]);
    await_nodes(&lab, "web", &["n2", "n2"]);
    await_nodes(&lab, "agent", &["n2"]);
    lab.ctl().ok(&["node", "update", "n1", "--availability", "active"]);
    await_nodes(&lab, "agent", &["n1", "n2"]);
    await_nodes(&lab, "web", &["n2", "n2"]);

    lab.agent("n3");
    await_nodes(&lab, "agent", &["n1", "n2", "n3"]);
    lab.ctl().ok(&["node", "rm", "--force", "n3"]);
    await_nodes(&lab, "agent", &["n1", "n2"]);

    // Nobody has so much memory: the one that waits says so.
    let create = ["service", "create", "--name", "large", "--reserve-memory", "100t", "--detach"];
    lab.ctl().ok(&[&create[..], &["--", "/bin/true"]].concat());
    let waits = lab.await_tasks("large", 1, "pending").remove(0);
    let message = waits["message"].as_str().unwrap();
    assert!(message.contains("insufficient resources on 2 nodes"), "{message}");
}

#[test]
fn a_node_that_is_silent_loses_its_tasks_and_stops_them_when_it_is_back() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    let silent = lab.agent("n1");
    lab.ctl().ok_with(&["create", "key", "-"], b"value");
    // A mark that no other test has.
    let script = format!(": {}; exec sleep 1000.25", lab.path().display());
    serve(&lab, "web", &["--secret", "key"], &script);
    assert_eq!(nodes(&lab, "web", 1), ["n1"]);
    let pid_of_n1 = || {
        let listed = Command::new("pgrep").args(["-f", "^sleep 1000.25$"]).output().unwrap();
        String::from_utf8(listed.stdout)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    let first = pid_of_n1();
    lab.agent("n2");
    lab.agents[silent].daemon.kill();
    assert!(pid_of_n1().is_superset(&first), "a task outlives its agent");
    lab.await_node("n1", "down");
    await_nodes(&lab, "web", &["n2"]);
    assert!(pid_of_n1().is_superset(&first), "nobody can tell it to stop");

    lab.agents[silent].daemon.start_again();
    lab.await_node("n1", "ready");
    until("the task that moved is stopped", || pid_of_n1().is_disjoint(&first).then_some(()));
    await_nodes(&lab, "web", &["n2"]);
}
