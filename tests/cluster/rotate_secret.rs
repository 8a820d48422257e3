//! A secret that gets another value, on real managers and agents: who reads which.
//!
//! The rules are tested on the state machine (`state/tests/rotation.rs`); here tasks read what they
//! find.

use serde_json::Value;
use tests::{Lab, until};

use crate::PROGRAMS;

/// Prints what it is given, and runs until it is stopped; ends at once if the value says so.
const READS: &str = "read value < /run/secrets/key; echo \"got $value\"; \
                     test \"$value\" != bad || exit 3; exec sleep 1000";

fn serve(lab: &Lab, name: &str, options: &[&str]) {
    let create = ["service", "create", "--name", name, "--update-monitor", "1s"];
    let command = ["--", "/bin/sh", "-c", READS];
    lab.ctl().ok(&[&create, options, &command].concat());
}

fn service(lab: &Lab, name: &str) -> Value {
    lab.ctl().json(&["service", "inspect", name]).as_array_mut().unwrap().remove(0)
}

/// How many tasks of a service that are there printed this.
fn read(lab: &Lab, name: &str, value: &str) -> usize {
    let output = lab.ctl().ok(&["service", "logs", "--no-prefix", name]);
    output.lines().filter(|line| *line == format!("got {value}")).count()
}

/// The versions that are mounted in the running tasks of a service.
fn mounted(lab: &Lab, name: &str, tasks: usize) -> Vec<u64> {
    let tasks = lab.await_tasks(name, tasks, "running");
    let versions = tasks.iter().map(|task| task["mounted"][0]["version"].as_u64().unwrap());
    versions.collect()
}

#[test]
fn a_rotation_reaches_every_task_of_the_services_that_follow_it() {
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    lab.agent("n1");
    lab.ctl().ok_with(&["create", "key", "-"], b"first\n");
    serve(&lab, "web", &["--replicas", "2", "--secret", "key"]);
    serve(&lab, "old", &["--secret", "source=key,target=key,version=1"]);
    let before = lab.await_tasks("old", 1, "running").remove(0)["id"].clone();
    until("both read the first", || (read(&lab, "web", "first") == 2).then_some(()));

    let said = lab.ctl().ok_with(&["rotate", "--wait", "KEY", "-"], b"second\n");
    assert_eq!(said, "key version 2\nredeploying web\n");
    assert_eq!(service(&lab, "web")["update"]["state"], "completed");
    until("both read the second", || (read(&lab, "web", "second") == 2).then_some(()));
    assert_eq!(mounted(&lab, "web", 2), [2, 2]);

    // Another leader knows it, too; who pins a version was left alone.
    let leader = lab.leader();
    lab.managers[leader].daemon.kill();
    until("another leads", || lab.ctl().run(&["ls"]).stdout.contains("key").then_some(()));
    lab.ctl().ok(&["service", "scale", "web=3", "--detach"]);
    assert_eq!(mounted(&lab, "web", 3), [2, 2, 2]);
    assert_eq!(lab.await_tasks("old", 1, "running")[0]["id"], before);
    assert_eq!(read(&lab, "old", "second"), 0);
}

#[test]
fn a_value_that_a_service_does_not_bear_leaves_it_with_the_one_before() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.agent("n1");
    lab.ctl().ok_with(&["create", "key", "-"], b"good\n");
    let options = ["--replicas", "2", "--secret", "key", "--update-failure-action", "rollback"];
    serve(&lab, "web", &options);

    let said = lab.ctl().run_with(&["rotate", "--wait", "key", "-"], b"bad\n");
    assert_eq!((said.status, said.stdout.as_str()), (1, "key version 2\nredeploying web\n"));
    assert!(said.stderr.contains("service web was rolled back"), "{}", said.stderr);
    assert_eq!(service(&lab, "web")["update"]["state"], "rollback_completed");
    assert_eq!(mounted(&lab, "web", 2), [1, 1]);
    assert_eq!(service(&lab, "web")["secrets"][0]["version"], 1);
    assert_eq!(lab.ctl().json(&["inspect", "key"])[0]["current_version"], 2);
    // A task that starts now reads what the declaration means.
    lab.ctl().ok(&["service", "scale", "web=3"]);
    assert_eq!(mounted(&lab, "web", 3), [1, 1, 1]);

    lab.ctl().ok_with(&["rotate", "--wait", "key", "-"], b"better\n");
    assert_eq!(mounted(&lab, "web", 3), [3, 3, 3]);
    until("all read it", || (read(&lab, "web", "better") == 3).then_some(()));
}
