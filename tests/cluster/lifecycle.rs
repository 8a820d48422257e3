//! Managers and agents that die, come back, join and leave.

use std::process::Command;

use tests::{Lab, until};

use crate::PROGRAMS;

/// Runs a shell script as a service's only task.
pub(crate) fn serve(lab: &Lab, name: &str, options: &[&str], script: &str) {
    let service = ["service", "create", "--detach", "--name", name];
    lab.ctl().ok(&[&service[..], options, &["--", "sh", "-c", script]].concat());
}

pub(crate) fn output(lab: &Lab, service: &str, lines: usize) -> String {
    until(&format!("{lines} lines of {service}"), || {
        let output = lab.ctl().ok(&["service", "logs", "--no-prefix", service]);
        (output.lines().count() >= lines).then_some(output)
    })
}

#[test]
fn tasks_outlive_their_agent_and_its_successor_knows_how_they_ended() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    let agent = lab.agent("n1");
    lab.ctl().ok_with(&["create", "key", "-"], b"value");
    let go = lab.path().join("go");
    let fate = format!("until test -e {}; do sleep 0.05; done; exit 7", go.display());
    serve(&lab, "ends", &["--restart-condition", "none"], &fate);
    serve(&lab, "stays", &["--secret", "key"], "cat /run/secrets/key; echo; exec sleep 1000");
    lab.await_tasks("ends", 1, "running");
    let stays = lab.await_tasks("stays", 1, "running").remove(0);
    output(&lab, "stays", 1);

    lab.agents[agent].daemon.kill();
    lab.file("go", b"");
    // The supervisor notes the end by itself.
    let tasks = lab.agents[agent].tasks.clone();
    until("the supervisor notes how the task ended", || {
        let listing = Command::new("grep").arg("-rl").arg("ended").arg(&tasks).output().unwrap();
        let waiting = Command::new("pgrep").args(["-f", &fate]).output().unwrap();
        (listing.status.success() || waiting.stdout.is_empty()).then_some(())
    });
    lab.agents[agent].daemon.start_again();

    let ended = lab.await_tasks("ends", 1, "failed").remove(0);
    assert_eq!(ended["exit_code"], 7, "{ended}");
    let now = lab.await_tasks("stays", 1, "running").remove(0);
    assert_eq!(now["id"], stays["id"], "the task was not restarted");
    assert_eq!(output(&lab, "stays", 1), "value\n", "nor started twice");
}

#[test]
fn a_task_gets_a_secret_that_others_on_their_way_out_share() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    let agent = lab.agent("n1");
    lab.ctl().ok_with(&["create", "key", "-"], b"value");
    // They ignore their signal for longer than anybody waits here.
    let stubborn = ["--secret", "key", "--replicas", "8", "--stop-grace-period", "10m"];
    serve(&lab, "old", &stubborn, "trap '' TERM; while :; do sleep 1; done");
    lab.await_tasks("old", 8, "running");
    lab.ctl().ok(&["service", "rm", "old"]);
    // Once this one runs, the agent was told that nobody needs the secret any more.
    serve(&lab, "other", &[], "exec sleep 1000");
    lab.await_tasks("other", 1, "running");
    serve(&lab, "new", &["--secret", "key"], "cat /run/secrets/key; echo; exec sleep 1000");
    lab.await_tasks("new", 1, "running");
    assert_eq!(output(&lab, "new", 1), "value\n");
    // It would wait for them.
    lab.agents[agent].daemon.kill();
}

#[test]
fn a_dead_leader_takes_nothing_along() {
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    lab.agent("n1");
    serve(&lab, "web", &[], "echo started; exec sleep 1000");
    let task = lab.await_tasks("web", 1, "running").remove(0);
    for round in 0..3 {
        let name = format!("s{round}");
        lab.ctl().ok_with(&["create", &name, "-"], name.as_bytes());
        let leader = lab.leader();
        lab.managers[leader].daemon.kill();
        let after = format!("after{round}");
        lab.ctl().ok_with(&["create", &after, "-"], after.as_bytes());
        lab.managers[leader].daemon.start_again();
        lab.await_socket(leader);
    }
    for index in 0..3 {
        let known = lab.ctl_of(index).json(&["ls"]);
        let mut names: Vec<_> =
            known.as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, ["after0", "after1", "after2", "s0", "s1", "s2"]);
    }
    lab.await_node("n1", "ready");
    let now = lab.await_tasks("web", 1, "running").remove(0);
    assert_eq!(now["id"], task["id"], "the task was not restarted");
    assert_eq!(output(&lab, "web", 1), "started\n");
}

#[test]
fn managers_come_and_go() {
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    lab.ctl().ok_with(&["create", "kept", "-"], b"value");
    let voters = |lab: &Lab, count: usize| {
        until(&format!("{count} managers vote"), || {
            let members = lab.members();
            let ready = members.iter().filter(|m| m["state"] == "voter" && m["reachable"] == true);
            (members.len() == count && ready.count() == count).then_some(members)
        })
    };
    voters(&lab, 3);

    // One dies for good and is replaced.
    lab.managers[2].daemon.kill();
    let new = lab.start_manager(&[]);
    let token = lab.token("manager");
    let address = lab.address();
    let join = ["cluster", "join", "--token", &token, "--hostname", "m4", &address];
    lab.ctl_of(new).ok(&join);
    let id = |name: &str, lab: &Lab| {
        let members = lab.members();
        let member = members.iter().find(|member| member["hostname"] == name).unwrap();
        member["id"].to_string()
    };
    let (dead, new_id) = (id("m3", &lab), id("m4", &lab));
    lab.ctl().ok(&["cluster", "replace", &dead, &new_id]);
    let members = voters(&lab, 3);
    assert!(members.iter().all(|member| member["hostname"] != "m3"), "{members:?}");
    assert_eq!(lab.ctl_of(new).json(&["ls"])[0]["name"], "kept");

    // One leaves, and is empty afterwards.
    lab.ctl_of(1).ok(&["cluster", "leave"]);
    voters(&lab, 2);
    until("it is empty", || {
        let status = lab.ctl_of(1).run(&["cluster", "status", "--json"]);
        status.stdout.contains("\"phase\": \"empty\"").then_some(())
    });
    // It may join again, under a new id.
    let token = lab.token("manager");
    lab.ctl_of(1).ok(&["cluster", "join", "--token", &token, "--hostname", "m2", &lab.address()]);
    voters(&lab, 3);
}

#[test]
fn a_manager_that_was_removed_is_told_so() {
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    until("all vote", || {
        lab.members().iter().all(|member| member["state"] == "voter").then_some(())
    });
    let told = |lab: &Lab, index: usize| {
        until("it is told that it was removed", || {
            let ran = lab.ctl_of(index).run(&["cluster", "status"]);
            let text = ran.stdout + &ran.stderr;
            text.contains("was removed from the cluster").then_some(text)
        })
    };
    // By name, so it has to know them: who is killed before that says only which number says so.
    until("it knows the others", || {
        let status = lab.ctl_of(2).json(&["cluster", "status"]);
        (status["members"].as_array()?.len() == 3).then_some(())
    });
    // While it was away: it has nobody's word but the others'.
    lab.managers[2].daemon.kill();
    lab.ctl().ok(&["cluster", "member", "rm", "m3"]);
    lab.managers[2].daemon.start_again();
    lab.await_socket(2);
    let text = told(&lab, 2);
    assert!(text.contains("it is said by manager 1 (m1, "), "{text}");
    assert!(text.contains("docs/operations/evicted-manager.md"), "{text}");
    assert!(!text.contains("no majority"), "the others are well: {text}");
    until("its log says so", || {
        lab.managers[2].daemon.log().contains("manager_removed").then_some(())
    });
    // It runs on: a word is no proof.
    lab.managers[2].daemon.assert_running();

    // While it runs.
    lab.ctl().ok(&["cluster", "member", "rm", "m2"]);
    told(&lab, 1);
    // Who was not removed is not told so, though it may be alone.
    let status = lab.ctl().run(&["cluster", "status"]);
    assert_eq!(status.status, 0, "{status:?}");
    assert!(!status.stdout.contains("was removed"), "{status:?}");
    assert!(!lab.managers[0].daemon.log().contains("manager_removed"));

    // It can be used again.
    lab.ctl_of(2).ok(&["cluster", "leave", "--force"]);
    until("it is empty", || {
        let status = lab.ctl_of(2).run(&["cluster", "status", "--json"]);
        status.stdout.contains("\"phase\": \"empty\"").then_some(())
    });
}

#[test]
fn a_leader_that_is_stopped_hands_over_and_may_move() {
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    until("all vote", || {
        lab.members().iter().all(|member| member["state"] == "voter").then_some(())
    });
    let leader = lab.leader();
    lab.managers[leader].daemon.stop();
    let log = lab.managers[leader].daemon.log();
    assert!(log.contains("leadership_handed_over"), "{log}");
    assert_ne!(lab.leader(), leader);

    // It comes back at another address, which the others are told.
    let name = format!("m{}", leader + 1);
    let member = |lab: &Lab| {
        let status = lab.ctl_of((leader + 1) % 3).json(&["cluster", "status"]);
        let mut members = status["members"].as_array().unwrap().iter();
        members.find(|member| member["hostname"] == name.as_str()).unwrap().clone()
    };
    let id = member(&lab)["id"].to_string();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let daemon = &mut lab.managers[leader].daemon;
    let listen = daemon.arguments().iter().position(|word| word == "--listen").unwrap();
    daemon.arguments()[listen + 1].clone_from(&address);
    daemon.start_again();
    lab.await_socket(leader);
    // Asked of another one: nobody reaches this one before they know where it is.
    let other = lab.ctl_of((leader + 1) % 3);
    other.ok(&["cluster", "member", "set-address", &id, &address]);
    until("it is reached at its new address", || {
        let member = member(&lab);
        (member["address"] == address.as_str() && member["reachable"] == true).then_some(())
    });
    lab.ctl_of(leader).ok_with(&["create", "moved", "-"], b"x");
}

#[test]
fn an_evicted_node_stops_its_tasks_and_they_move() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    let evicted = lab.agent("n1");
    lab.ctl().ok_with(&["create", "key", "-"], b"value");
    serve(&lab, "web", &["--secret", "key"], "exec sleep 1000");
    let task = lab.await_tasks("web", 1, "running").remove(0);
    assert_eq!(task["node"], "n1");
    lab.agent("n2");
    let said = lab.ctl().run(&["node", "rm", "--force", "n1"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.stderr.contains("key"), "what it was given is named: {}", said.stderr);
    // The honest agent ends by itself, and says why by its exit status.
    let status = lab.agents[evicted].daemon.wait();
    assert!(!status.success());
    assert!(lab.agents[evicted].daemon.log().contains("was evicted"));
    let moved = lab.await_tasks("web", 1, "running").remove(0);
    assert_eq!(moved["node"], "n2");
}

#[test]
fn promoting_and_demoting_say_what_to_type_and_change_nothing() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.agent("n1");
    let before = lab.ctl().json(&["node", "ls"]);
    let manager = before.as_array().unwrap().iter().find(|node| !node["member"].is_null()).unwrap();
    let name = manager["hostname"].as_str().unwrap();
    let address = manager["member"]["address"].as_str().unwrap();
    let said = lab.ctl().refused(1, &["node", "promote", "n1"], b"");
    assert!(said.contains(&format!("secretctl cluster join {address} --token -")), "{said}");
    let said = lab.ctl().ok(&["node", "promote", name]);
    assert_eq!(said, format!("node {name} is a manager already\n"));
    let said = lab.ctl().refused(1, &["node", "demote", name], b"");
    assert!(said.contains(&format!("on {name}: `secretctl cluster leave`")), "{said}");
    assert_eq!(lab.ctl().ok(&["node", "demote", "n1"]), "node n1 is no manager\n");
    let roles = |nodes: &serde_json::Value| -> Vec<bool> {
        nodes.as_array().unwrap().iter().map(|node| node["member"].is_null()).collect()
    };
    assert_eq!(roles(&lab.ctl().json(&["node", "ls"])), roles(&before));
}
