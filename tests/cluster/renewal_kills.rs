//! Agents and operators' tools with `kill -9` at each durable step that they take for a rotation.
//!
//! When the CA or certificates are rotated they keep another certificate. The n-th call that makes
//! something durable, renames or removes in their folder is the end of them (`tracer`), for n = 1, 2, 3 …
//! until one lives through it all. What is left is the certificate of before or the new one; either is
//! good, and the rotation completes with it. Not here: managers (`rotation_kills`).

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use serde_json::Value;
use sys::require::{Need, root, skip};
use tests::{Ctl, Lab, until};

use crate::PROGRAMS;
use crate::ca_rotation::{operator, waits_for};
use crate::lifecycle::{output, serve};
use crate::rotation::keys;
use crate::rotation_kills::{Asking, Standing};
use crate::tracer::{Moment, Trace, Tracer};

/// More calls than a renewal makes.
const STEPS_MAX: usize = 40;

/// How often what was left after a kill was the certificate of before, and how often the new one.
#[derive(Debug, Default, PartialEq, Eq)]
struct Left {
    old: usize,
    new: usize,
}

impl Left {
    fn count(&mut self, before: &[u8], after: &[u8]) {
        *(if before == after { &mut self.old } else { &mut self.new }) += 1;
    }
}

fn cannot(test: &str, errno: Errno) {
    skip(test, Need::Strace, &format!("a process cannot be traced: {errno}"));
}

fn standing(lab: &Lab, record: &str) -> Standing {
    until("how far it is", || Asking::of(lab, 0).standing(record))
}

fn begin(lab: &Lab, what: &str) {
    lab.ctl().ok(&["cluster", "rotate", what, "--no-wait"]);
}

/// An agent is killed at each step of a rotation, with a task that has to go on.
fn kill_agents(test: &str, what: &str, record: &str) {
    if !root(test) {
        return;
    }
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.agent("n1");
    lab.ctl().ok_with(&["create", "key", "-"], b"value");
    serve(&lab, "web", &[], "exec sleep 1000");
    let task = lab.await_tasks("web", 1, "running").remove(0)["id"].clone();
    let identity = lab.agents[0].data.join("identity");
    let mut left = Left::default();
    for step in 1.. {
        assert!(step < STEPS_MAX, "a renewal has an end");
        let number = standing(&lab, record).number + 1;
        let is_complete = |lab: &Lab| standing(lab, record) == Standing { number, complete: true };
        let before = std::fs::read(&identity).unwrap();
        let agent = &lab.agents[0];
        let tracer = Tracer::attach(agent.daemon.pid(), &agent.data, step, Moment::Before);
        let tracer = match tracer {
            Ok(tracer) => tracer,
            Err(errno) => return cannot(test, errno),
        };
        begin(&lab, what);
        until(&format!("it is killed at step {step}, or the rotation is complete"), || {
            (tracer.has_ended() || is_complete(&lab)).then_some(())
        });
        let Trace { steps, killed } = tracer.end();
        if killed {
            lab.agents[0].daemon.kill();
            left.count(&before, &std::fs::read(&identity).unwrap());
            lab.agents[0].daemon.start_again();
        }
        // It waits for this agent, until its new certificate is seen in use.
        until(&format!("the rotation completes after {steps:?}"), || {
            lab.agents[0].daemon.assert_running();
            is_complete(&lab).then_some(())
        });
        lab.await_node("n1", "ready");
        let now = lab.await_tasks("web", 1, "running").remove(0);
        assert_eq!(now["id"], task, "the task was not restarted, after {steps:?}");
        if !killed {
            assert_eq!(steps.last().map(String::as_str), Some("fsync ."), "{steps:?}");
            break;
        }
    }
    assert!(left.old >= 2 && left.new >= 1, "{left:?}");
    serve(&lab, "reads", &["--secret", "key"], "cat /run/secrets/key; echo; exec sleep 1000");
    assert_eq!(output(&lab, "reads", 1), "value\n");
}

#[test]
fn an_agent_that_is_killed_at_any_step_of_a_certificate_rotation_goes_on() {
    let test = "an_agent_that_is_killed_at_any_step_of_a_certificate_rotation_goes_on";
    kill_agents(test, "certificates", "certificate_rotation");
}

#[test]
fn an_agent_that_is_killed_at_any_step_of_a_ca_rotation_goes_on() {
    let test = "an_agent_that_is_killed_at_any_step_of_a_ca_rotation_goes_on";
    kill_agents(test, "ca", "ca_rotation");
}

/// Runs the operator's tool under a tracer from its first instant on.
fn run_traced(lab: &Lab, ctl: &Ctl, folder: &Path, step: usize) -> Result<Trace, Errno> {
    let command = ctl.command(&["ls"]);
    // Whatever starts others gives them the name of their file.
    let named = lab.path().join("secretctl");
    if !named.exists() {
        std::os::unix::fs::symlink(command.get_program(), &named).unwrap();
    }
    let environment: BTreeMap<_, _> =
        command.get_envs().filter_map(|(name, value)| Some((name, value?))).collect();
    let mut child = Command::new("/bin/sh")
        .args(["-c", "read -r go && exec \"$@\"", "sh"])
        .arg(named)
        .args(command.get_args())
        .env_clear()
        .envs(environment)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let tracer = match Tracer::attach(child.id(), folder, step, Moment::Before) {
        Ok(tracer) => tracer,
        Err(errno) => {
            child.kill().unwrap();
            child.wait().unwrap();
            return Err(errno);
        }
    };
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    until("the tool has ended", || tracer.has_ended().then_some(()));
    let trace = tracer.end();
    // Of one that has ended the tracer was told, and nobody else is.
    child.wait().ok();
    Ok(trace)
}

/// The tool of an operator is killed at each step of what it keeps in its context.
fn kill_tools(test: &str, what: &str, record: &str, among: &[&str]) {
    if !root(test) {
        return;
    }
    let lab = Lab::with_managers(PROGRAMS, 1);
    let olive = operator(&lab, "olive", "writer");
    let folder = lab.path().join("olive/config/secretd/contexts/here");
    let mut left = Left::default();
    for step in 1.. {
        assert!(step < STEPS_MAX, "a renewal has an end");
        let number = standing(&lab, record).number + 1;
        begin(&lab, what);
        until("it waits for the operator", || {
            let record: &Value = &keys(&lab)[record];
            let waits = waits_for(record) == [vec![], vec![], vec!["olive".to_owned()]];
            waits.then_some(())
        });
        let identity = || std::fs::read(folder.join("identity.der")).unwrap();
        let before = identity();
        let Trace { steps, killed } = match run_traced(&lab, &olive, &folder, step) {
            Ok(trace) => trace,
            Err(errno) => return cannot(test, errno),
        };
        if killed {
            left.count(&before, &identity());
        } else {
            assert_ne!(before, identity(), "it renewed");
        }
        until(&format!("the rotation completes after {steps:?}"), || {
            olive.ok(&["ls"]);
            (standing(&lab, record) == Standing { number, complete: true }).then_some(())
        });
        olive.ok_with(&["create", &format!("s{step}"), "-"], b"value");
        if !killed {
            for step in among {
                assert!(steps.iter().any(|taken| taken == step), "no `{step}` among {steps:?}");
            }
            break;
        }
    }
    assert!(left.old >= 2 && left.new >= 3, "{left:?}");
}

#[test]
fn a_context_whose_tool_is_killed_at_any_step_of_a_certificate_rotation_is_of_use() {
    let test = "a_context_whose_tool_is_killed_at_any_step_of_a_certificate_rotation_is_of_use";
    let among = ["rename .identity.der.new identity.der", "rename .context.json.new context.json"];
    kill_tools(test, "certificates", "certificate_rotation", &among);
}

#[test]
fn a_context_whose_tool_is_killed_at_any_step_of_a_ca_rotation_is_of_use() {
    let test = "a_context_whose_tool_is_killed_at_any_step_of_a_ca_rotation_is_of_use";
    let among = ["rename .identity.der.new identity.der", "rename .ca.der.new ca.der"];
    kill_tools(test, "ca", "ca_rotation", &among);
}
