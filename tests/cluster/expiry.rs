//! A cluster that was off for longer than its certificates live.

use tests::{Lab, faketime, until};

use crate::PROGRAMS;
use crate::lifecycle::{output, serve};
use crate::rotation::await_voters;

/// Twice as long as certificates of managers and agents live.
const DAYS: u64 = 60;

const TEST: &str = "a_cluster_that_was_off_for_longer_than_its_certificates_live_comes_back";

#[test]
fn a_cluster_that_was_off_for_longer_than_its_certificates_live_comes_back() {
    let Some(library) = faketime(TEST) else { return };
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    await_voters(&lab);
    let agent = lab.agent("n1");
    lab.ctl().ok_with(&["create", "key", "-"], b"value");
    serve(&lab, "web", &["--secret", "key"], "cat /run/secrets/key; echo; exec sleep 1000");
    let task = lab.await_tasks("web", 1, "running").remove(0);
    output(&lab, "web", 1);

    lab.agents[agent].daemon.kill();
    for manager in &mut lab.managers {
        manager.daemon.kill();
    }
    // All of them wake up two months later; tasks went on without their agent.
    lab.agents[agent].daemon.set_clock_ahead(&library, DAYS);
    lab.agents[agent].daemon.start_again();
    for index in 0..3 {
        lab.managers[index].daemon.set_clock_ahead(&library, DAYS);
        lab.managers[index].daemon.start_again();
        lab.await_socket(index);
    }
    // Managers elect a leader with certificates that have ended, and renew them.
    lab.leader();
    for index in 0..3 {
        until(&format!("manager {index} has renewed"), || {
            lab.managers[index].daemon.log().contains("certificate_renewed").then_some(())
        });
    }
    // So does the agent, then it is what it was.
    until("the agent has renewed", || {
        lab.agents[agent].daemon.log().contains("certificate_renewed").then_some(())
    });
    lab.await_node("n1", "ready");
    let now = lab.await_tasks("web", 1, "running").remove(0);
    assert_eq!(now["id"], task["id"], "the task was not restarted");
    // The transit key had ended, too.
    for index in 0..3 {
        let name = format!("new{index}");
        lab.ctl_of(index).ok_with(&["create", &name, "-"], b"new value");
    }
    serve(&lab, "next", &["--secret", "new2"], "cat /run/secrets/new2; echo; exec sleep 1000");
    assert_eq!(output(&lab, "next", 1), "new value\n");
}
