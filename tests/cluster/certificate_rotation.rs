//! Rotating certificates on real managers and agents: under load, with the leader killed, with a
//! manager, an agent and an operator away meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tests::{Lab, until};

use crate::PROGRAMS;
use crate::ca_rotation::{operator, restart, waits_for};
use crate::faults::{Load, WRITERS, assert_all_there};
use crate::lifecycle::{output, serve};
use crate::rotation::{await_voters, keys};

const REFUSED: i32 = 1;

const SCRIPT: &str = "cat /run/secrets/key; echo; exec sleep 1000";

const ROTATE: [&str; 3] = ["cluster", "rotate", "certificates"];

fn rotation(lab: &Lab) -> Value {
    keys(lab)["certificate_rotation"].clone()
}

fn await_waits(lab: &Lab, who: [&[&str]; 3]) -> Value {
    until(&format!("it waits for {who:?}"), || {
        let rotation = rotation(lab);
        (rotation["complete"] == false && waits_for(&rotation) == who).then_some(rotation)
    })
}

fn await_complete(lab: &Lab, number: u64) -> Value {
    until("the certificate rotation is complete", || {
        let rotation = rotation(lab);
        (rotation["complete"] == true && rotation["number"] == number).then_some(rotation)
    })
}

#[test]
fn certificates_rotate_under_load_though_some_are_away_and_the_leader_is_killed() {
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    await_voters(&lab);
    lab.agent("n1");
    lab.agent("n2");
    lab.ctl().ok_with(&["create", "key", "-"], b"value");
    serve(&lab, "web", &["--secret", "key", "--constraint", "node.hostname==n1"], SCRIPT);
    let task = lab.await_tasks("web", 1, "running").remove(0);
    let olive = operator(&lab, "olive", "writer");
    let ada = operator(&lab, "ada", "admin");
    let load = Load::start((0..WRITERS).map(|number| lab.ctl_of(number % 3)).collect(), b"value");
    load.next();
    lab.agents[1].daemon.kill();
    lab.await_node("n2", "down");
    let leader = lab.leader();
    let down = (leader + 1) % 3;
    let name = format!("m{}", down + 1);
    lab.managers[down].daemon.kill();

    // An admin asks for it over the network: its own context renews with that, or, if what was seen is
    // lost with the leader, is seen in use with the next command.
    let begun = ada.json(&[&ROTATE[..], &["--no-wait"]].concat());
    assert_eq!((&begun["number"], &begun["complete"]), (&1.into(), &false.into()), "{begun}");
    restart(&mut lab, leader);
    ada.ok(&["ls"]);
    let waiting = await_waits(&lab, [&[&name], &["n2"], &["olive"]]);
    assert_eq!(waiting["waits_for"]["nodes"][0]["down"], true, "{waiting}");
    let receipt = lab.ctl().ok(&["cluster", "keys"]);
    assert!(receipt.contains("waiting for node n2, which is down: a certificate for"), "{receipt}");
    let refused = lab.ctl().refused(REFUSED, &ROTATE, b"");
    assert!(refused.contains("certificate rotation 1 is in progress: it waits for"), "{refused}");
    let cut = [&ROTATE[..], &["--cut-missing"]].concat();
    let refused = lab.ctl().refused(REFUSED, &cut, b"");
    assert!(refused.contains("managers are never left behind"), "{refused}");
    load.next();

    // The operator's next command is done, and its context renews with it.
    olive.ok_with(&["create", "renews", "-"], b"value");
    await_waits(&lab, [&[&name], &["n2"], &[]]);
    lab.managers[down].daemon.start_again();
    lab.await_socket(down);
    await_waits(&lab, [&[], &["n2"], &[]]);
    lab.agents[1].daemon.start_again();
    let done = await_complete(&lab, 1);
    assert_eq!(done["left_behind"], 0, "{done}");
    load.next();
    assert_all_there(&lab, &load.end());
    olive.ok_with(&["create", "afterwards", "-"], b"value");
    for node in ["n1", "n2"] {
        lab.await_node(node, "ready");
        let (constraint, name) = (format!("node.hostname=={node}"), format!("on-{node}"));
        serve(&lab, &name, &["--secret", "key", "--constraint", &constraint], SCRIPT);
        assert_eq!(output(&lab, &name, 1), "value\n");
    }
    let now = lab.await_tasks("web", 1, "running").remove(0);
    assert_eq!(now["id"], task["id"], "the task was not restarted");

    // All of it is durable: everybody starts with what it has.
    for index in 0..3 {
        lab.managers[index].daemon.kill();
    }
    for index in 0..3 {
        lab.managers[index].daemon.start_again();
        lab.await_socket(index);
    }
    lab.leader();
    for node in ["n1", "n2"] {
        lab.await_node(node, "ready");
    }
    olive.ok(&["ls"]);
    ada.ok(&["ls"]);
}

/// Killed at some instant of its renewal, again and again, a manager goes on from what its disk has.
#[test]
fn managers_that_are_killed_while_they_renew_go_on() {
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    await_voters(&lab);
    for number in 1..=3 {
        lab.ctl().ok(&[&ROTATE[..], &["--no-wait"]].concat());
        for index in 0..3 {
            restart(&mut lab, index);
        }
        await_complete(&lab, number);
    }
    lab.ctl().ok_with(&["create", "afterwards", "-"], b"value");
}

/// Before it has read its log, so that no certificate of before is good while it does.
#[test]
fn a_manager_starts_with_what_it_refuses() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.ctl().ok(&ROTATE);
    let kept = lab.managers[0].data.join("refused-serials");
    let serials = until("it is kept", || std::fs::read(&kept).ok());
    assert_eq!(serials.len(), 16, "one certificate of a manager was superseded");
    restart(&mut lab, 0);
    lab.ctl().ok(&["ls"]);
    assert_eq!(std::fs::read(&kept).unwrap(), serials);
    lab.managers[0].daemon.kill();
    let data = sys::file::Folder::open(&lab.managers[0].data).unwrap();
    data.replace("refused-serials", 0o600, &serials[1..]).unwrap();
    lab.managers[0].daemon.start_again();
    assert!(!lab.managers[0].daemon.wait().success());
    let log = lab.managers[0].daemon.log();
    assert!(log.contains("refused-serials, cannot be read: docs/operations/"), "{log}");
}

#[test]
fn agents_and_operators_that_are_away_can_be_left_behind() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    let away = lab.agent("n1");
    let olive = operator(&lab, "olive", "writer");
    lab.agents[away].daemon.kill();
    lab.ctl().ok(&[&ROTATE[..], &["--no-wait"]].concat());
    await_waits(&lab, [&[], &["n1"], &["olive"]]);
    let ran = lab.ctl().run(&[&ROTATE[..], &["--cut-missing"]].concat());
    assert_eq!(ran.status, 0, "{ran:?}");
    let text = "certificate rotation 1 is complete: certificates of before are refused\n";
    assert_eq!(ran.stdout, text);
    assert!(ran.stderr.contains("2 of the nodes and operators were left behind"), "{ran:?}");
    assert!(ran.stderr.contains("it does not heal: a manager's leaked key"), "{ran:?}");
    let refused = olive.refused(REFUSED, &["ls"], b"");
    assert!(refused.contains("the certificate is not in force any more"), "{refused}");
    assert!(refused.contains("docs/operations/rotate-certificates.md"), "{refused}");
    lab.agents[away].daemon.start_again();
    until("the agent is told what happened", || {
        lab.agents[away].daemon.log().contains("not in force any more").then_some(())
    });
    // It is no eviction: what runs there goes on until the node is removed.
    assert!(!lab.agents[away].daemon.log().contains("evicted"));
    lab.agents[away].daemon.kill();
    lab.ctl().ok(&["node", "rm", "--force", "n1"]);
    lab.agent("n1");
    for role in ["writer", "deployer", "auditor"] {
        let ran = operator(&lab, role, role).run(&ROTATE);
        assert!(ran.stderr.contains("does not allow rotate_certificates"), "{ran:?}");
    }
}

/// One of them renews, and what the others show is refused from then on: they take over what it got.
#[test]
fn commands_of_one_context_that_run_side_by_side_go_on() {
    let lab = Lab::with_managers(PROGRAMS, 1);
    let olive = operator(&lab, "olive", "auditor");
    let is_over = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let (olive, is_over) = (olive.clone(), is_over.clone());
            std::thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    olive.ok(&["ls"]);
                }
            })
        })
        .collect();
    for number in 1..=3 {
        lab.ctl().ok(&ROTATE);
        assert_eq!(rotation(&lab)["number"], number);
    }
    is_over.store(true, Ordering::Relaxed);
    for one in asking {
        one.join().unwrap();
    }
}
