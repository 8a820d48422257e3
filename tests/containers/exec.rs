//! Commands in containers, by `task exec`: the engine runs them, and what it does not do, the agent does.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command};

use tests::{Ctl, until};

use crate::rig;

fn exec<'a>(command: &[&'a str]) -> Vec<&'a str> {
    [&["task", "exec", "web.1", "--"], command].concat()
}

/// Processes of this machine whose arguments are those.
fn sleeping(seconds: &str) -> usize {
    let found = Command::new("pgrep").args(["-f", &format!("^sleep {seconds}$")]).output().unwrap();
    String::from_utf8(found.stdout).unwrap().lines().count()
}

/// Begins one that sleeps beside a child of its own, and waits until both do.
fn begin(ctl: &Ctl, seconds: &str) -> Child {
    let script = format!("sleep {seconds} & echo there; exec sleep {seconds}");
    let mut child = ctl.command(&exec(&["sh", "-c", &script])).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "there\n");
    until("both sleep", || (sleeping(seconds) == 2).then_some(()));
    child
}

#[test]
fn a_command_runs_in_its_container() {
    const VALUE: &str = "correct horse 4471";
    let Some(rig) = rig("a_command_runs_in_its_container") else { return };
    let ctl = rig.lab.ctl();
    ctl.ok_with(&["create", "db", "-"], VALUE.as_bytes());
    let container = rig.run("web", &["--secret", "db", "--env", "A=b c"], "exec sleep 1000");
    assert_eq!(ctl.ok(&exec(&["cat", "/run/secrets/db"])), VALUE);
    // Where `docker exec` is.
    let what = ["sh", "-c", "hostname; echo $A; id; pwd; grep Cap /proc/self/status"];
    assert_eq!(ctl.ok(&exec(&what)), rig.engine.exec(&container, &what));
    // How it ends, and its streams.
    let apart = ctl.run(&exec(&["sh", "-c", "echo out; echo err >&2; exit 7"]));
    assert_eq!((apart.status, &*apart.stdout, &*apart.stderr), (7, "out\n", "err\n"));
    assert_eq!(ctl.run(&exec(&["sh", "-c", "kill -9 $$"])).status, 137);
    let nothing = ctl.run(&exec(&["no-such-command"]));
    assert!([126, 127].contains(&nothing.status), "{nothing:?}");
    assert!(nothing.stdout.contains("no-such-command"), "in the engine's words: {nothing:?}");
    let piped = ctl.run_with(&exec(&["cat"]), b"not for it");
    assert_eq!((piped.status, &*piped.stdout), (0, ""));
    let text: Vec<u8> = (0..10_000_000_u32).map(|n| b'a' + (n * 7 % 26) as u8).collect();
    let back = ctl.run_with(&["task", "exec", "-i", "web.1", "--", "cat"], &text);
    assert_eq!((back.status, &*back.stderr), (0, ""));
    assert!(back.stdout.as_bytes() == text, "what came back is what went in");

    // Who hangs up takes it along, though the engine would let it be.
    let seconds = format!("7471.{}", std::process::id());
    let mut child = begin(&ctl, &seconds);
    child.kill().unwrap();
    child.wait().unwrap();
    until("both have ended", || (sleeping(&seconds) == 0).then_some(()));
    rig.lab.await_tasks("web", 1, "running");
    // And it ends with its task.
    let child = begin(&ctl, &seconds);
    ctl.ok(&["service", "rm", "web"]);
    let ended = child.wait_with_output().unwrap();
    assert_ne!(ended.status.code(), Some(0), "{ended:?}");
    until("both have ended", || (sleeping(&seconds) == 0).then_some(()));
    until("the container is gone", || rig.engine.containers().is_empty().then_some(()));
}
