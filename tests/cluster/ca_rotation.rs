//! Rotating the CA on real managers and agents: under load, with the leader killed, with a manager,
//! an agent and an operator away meanwhile; and what is worth what then.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tests::{Ctl, Lab, until};

use crate::PROGRAMS;
use crate::backup::{Keeper, back_up};
use crate::faults::{Load, WRITERS, assert_all_there};
use crate::lifecycle::{output, serve};
use crate::rotation::{await_voters, keys};

const REFUSED: i32 = 1;

const NODES: [&str; 5] = ["n1", "n2", "n3", "n4", "n5"];

const SCRIPT: &str = "cat /run/secrets/key; echo; exec sleep 1000";

fn rotation(lab: &Lab) -> Value {
    keys(lab)["ca_rotation"].clone()
}

/// Who is waited for, by name: managers, nodes, operators.
pub(crate) fn waits_for(rotation: &Value) -> [Vec<String>; 3] {
    ["managers", "nodes", "operators"].map(|kind| {
        let all = rotation["waits_for"][kind].as_array().unwrap().iter();
        all.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    })
}

fn await_waits(lab: &Lab, phase: &str, who: [&[&str]; 3]) -> Value {
    until(&format!("it is in phase {phase} and waits for {who:?}"), || {
        let rotation = rotation(lab);
        let waits = rotation["phase"] == phase && waits_for(&rotation) == who;
        waits.then_some(rotation)
    })
}

fn await_complete(lab: &Lab, number: u64) -> Value {
    until("the CA rotation is complete", || {
        let rotation = rotation(lab);
        (rotation["complete"] == true && rotation["number"] == number).then_some(rotation)
    })
}

/// An operator with a context of its own.
pub(crate) fn operator(lab: &Lab, name: &str, role: &str) -> Ctl {
    let token = invite(lab, name, role);
    let ctl = lab.ctl().at_home(&home(lab, name));
    let arguments = add_context(lab, "-");
    ctl.ok_with(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), token.as_bytes());
    ctl.with_context("here")
}

fn invite(lab: &Lab, name: &str, role: &str) -> String {
    let token = lab.ctl().ok(&["operator", "add", name, "--role", role]);
    token.lines().next().unwrap().to_owned()
}

fn home(lab: &Lab, name: &str) -> PathBuf {
    let home = lab.path().join(name);
    std::fs::create_dir_all(&home).unwrap();
    home
}

fn add_context(lab: &Lab, token: &str) -> Vec<String> {
    let mut arguments: Vec<_> =
        ["context", "add", "here", "--token", token].map(str::to_owned).into();
    for address in lab.addresses() {
        arguments.extend(["--manager".to_owned(), address]);
    }
    arguments
}

/// `cp` or `mv`, a folder and all.
fn command(name: &str, from: &Path, to: &Path) {
    let options: &[&str] = if name == "cp" { &["-a"] } else { &[] };
    let status = Command::new(name).args(options).arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

fn ca(lab: &Lab) -> Value {
    lab.ctl().json(&["cluster", "status"])["ca_digest"].clone()
}

/// What there was before a rotation.
struct Before {
    ca: Value,
    task: Value,
    /// The tool of an operator with a context.
    olive: Ctl,
    /// Tokens.
    agents: String,
    managers: String,
    late: String,
    /// A copy of the folder of n1's agent.
    stolen: PathBuf,
}

impl Before {
    /// Three managers, agents on n1 and n2, a task on n1.
    fn begin(lab: &mut Lab) -> Self {
        lab.agent("n1");
        lab.agent("n2");
        lab.ctl().ok_with(&["create", "key", "-"], b"value");
        serve(lab, "web", &["--secret", "key", "--constraint", "node.hostname==n1"], SCRIPT);
        let task = lab.await_tasks("web", 1, "running").remove(0);
        let stolen = lab.path().join("stolen");
        command("cp", &lab.agents[0].data, &stolen);
        Self {
            ca: ca(lab),
            task,
            olive: operator(lab, "olive", "writer"),
            agents: lab.token("agent"),
            managers: lab.token("manager"),
            late: invite(lab, "late", "auditor"),
            stolen,
        }
    }

    fn assert_task_goes_on(&self, lab: &Lab) {
        let now = lab.await_tasks("web", 1, "running").remove(0);
        assert_eq!(now["id"], self.task["id"], "the task was not restarted");
    }
}

/// Managers move first: one that is down holds up the others, and is named. Whatever else there is
/// is as good as it was.
fn managers_move_first(lab: &mut Lab, before: &Before) {
    let leader = lab.leader();
    let down = (leader + 1) % 3;
    let name = format!("m{}", down + 1);
    lab.managers[down].daemon.kill();
    let begun = lab.ctl_of(leader).json(&["cluster", "rotate", "ca", "--no-wait"]);
    assert_eq!((&begun["number"], &begun["complete"]), (&1.into(), &false.into()), "{begun}");
    restart(lab, leader);
    await_waits(lab, "managers", [&[&name], &[], &[]]);
    let refused = lab.ctl().refused(REFUSED, &["cluster", "rotate", "ca"], b"");
    assert!(refused.contains("CA rotation 1 is in progress: it waits for manager"), "{refused}");
    let drop = ["cluster", "rotate", "ca", "--drop-missing"];
    let refused = lab.ctl().refused(REFUSED, &drop, b"");
    assert!(refused.contains("managers are never left behind"), "{refused}");
    assert!(!refused.contains("--drop-missing"), "what was refused is no next step: {refused}");
    before.olive.ok_with(&["create", "during", "-"], b"value");
    lab.start_agent_by("n3", &before.agents);
    lab.await_node("n3", "ready");
    assert_eq!(ca(lab), before.ca);
    lab.managers[down].daemon.start_again();
    lab.await_socket(down);
}

pub(crate) fn restart(lab: &mut Lab, index: usize) {
    lab.managers[index].daemon.kill();
    lab.managers[index].daemon.start_again();
    lab.await_socket(index);
}

/// What was of the old CA is refused, and says why. Gives the manager that could not join.
fn what_was_before_is_refused(lab: &mut Lab, before: &Before) -> usize {
    let rotated = "the cluster's CA was rotated since it was made";
    let context = add_context(lab, "-");
    let context: Vec<_> = context.iter().map(String::as_str).collect();
    let ctl = lab.ctl().at_home(&home(lab, "late"));
    let refused = ctl.refused(REFUSED, &context, before.late.as_bytes());
    assert!(refused.contains(rotated), "{refused}");
    let newcomer = lab.start_manager(&[]);
    let join = ["cluster", "join", "--token", &before.managers, "--hostname", "m9", &lab.address()];
    let refused = lab.ctl_of(newcomer).refused(REFUSED, &join, b"");
    assert!(refused.contains(rotated), "{refused}");
    let mine = &mut lab.agents[0];
    mine.daemon.kill();
    let kept = before.stolen.with_file_name("kept");
    command("mv", &mine.data, &kept);
    command("cp", &before.stolen, &mine.data);
    mine.daemon.start_again();
    until("the old certificate is refused", || {
        mine.daemon.log().contains("certificate_of_dropped_ca").then_some(())
    });
    mine.daemon.kill();
    std::fs::remove_dir_all(&mine.data).unwrap();
    command("mv", &kept, &mine.data);
    mine.daemon.start_again();
    lab.await_node("n1", "ready");
    newcomer
}

#[test]
fn the_ca_rotates_under_load_though_managers_and_an_agent_are_away() {
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    await_voters(&lab);
    let before = Before::begin(&mut lab);
    let olive = &before.olive;
    let load = Load::start((0..WRITERS).map(|number| lab.ctl_of(number % 3)).collect(), b"value");
    load.next();
    lab.agents[1].daemon.kill();
    lab.await_node("n2", "down");
    managers_move_first(&mut lab, &before);
    load.next();

    let moving = await_waits(&lab, "clients", [&[], &["n2"], &["olive"]]);
    assert_eq!(moving["waits_for"]["nodes"][0]["down"], true, "{moving}");
    let receipt = lab.ctl().ok(&["cluster", "keys"]);
    assert!(receipt.contains("waiting for node n2, which is down"), "{receipt}");
    let status = lab.ctl().ok(&["cluster", "status"]);
    assert!(status.contains("node n2, which is down and operator olive"), "{status}");
    // Whoever leads is killed once more; a token of before admits still, and one of now as well.
    let leader = lab.leader();
    restart(&mut lab, leader);
    lab.start_agent_by("n4", &before.agents);
    lab.await_node("n4", "ready");
    lab.agent("n5");
    let joined = lab.join();
    // The operator's next command is done, and its context moves with it.
    olive.ok_with(&["create", "moves", "-"], b"value");
    await_waits(&lab, "clients", [&[], &["n2"], &[]]);
    load.next();

    lab.agents[1].daemon.start_again();
    let done = await_complete(&lab, 1);
    assert_eq!((&done["old_ca"], &done["left_behind"]), (&before.ca, &0.into()), "{done}");
    assert_eq!(ca(&lab), done["new_ca"]);
    assert_ne!(done["new_ca"], before.ca);
    load.next();
    assert_all_there(&lab, &load.end());
    lab.await_node("n2", "ready");
    before.assert_task_goes_on(&lab);
    olive.ok_with(&["create", "afterwards", "-"], b"value");
    for node in NODES {
        let constraint = format!("node.hostname=={node}");
        let name = format!("on-{node}");
        serve(&lab, &name, &["--secret", "key", "--constraint", &constraint], SCRIPT);
        assert_eq!(output(&lab, &name, 1), "value\n");
    }
    let newcomer = what_was_before_is_refused(&mut lab, &before);

    // All of it is durable: everybody starts with what it has.
    for index in (0..3).chain([joined, newcomer]) {
        lab.managers[index].daemon.kill();
    }
    for index in (0..3).chain([joined]) {
        lab.managers[index].daemon.start_again();
        lab.await_socket(index);
    }
    lab.leader();
    for node in NODES {
        lab.await_node(node, "ready");
    }
    olive.ok(&["ls"]);
    before.assert_task_goes_on(&lab);
}

#[test]
fn agents_and_operators_that_are_away_can_be_left_behind_and_managers_not() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    let away = lab.agent("n1");
    let olive = operator(&lab, "olive", "writer");
    let none = lab.ctl().refused(REFUSED, &["cluster", "rotate", "ca", "--drop-missing"], b"");
    assert!(none.contains("no CA rotation is in progress"), "{none}");
    assert!(none.contains("`secretctl cluster rotate ca` begins one"), "{none}");
    lab.agents[away].daemon.kill();
    lab.ctl().ok(&["cluster", "rotate", "ca", "--no-wait"]);
    await_waits(&lab, "clients", [&[], &["n1"], &["olive"]]);
    let keeper = Keeper::new(&lab, "keeper");
    let backup = lab.path().join("b.age");
    let take = ["cluster", "backup", backup.to_str().unwrap(), "--recipient", keeper.recipient()];
    let refused = lab.ctl().refused(REFUSED, &take, b"");
    assert!(refused.contains("a backup has one CA, and another is taking its place"), "{refused}");
    let ran = lab.ctl().run(&["cluster", "rotate", "ca", "--drop-missing"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(ran.stdout, "CA rotation 1 is complete: the old CA is dropped\n");
    assert!(ran.stderr.contains("2 of the nodes and operators were left behind"), "{ran:?}");
    assert!(ran.stderr.contains("it does not heal what was read"), "{ran:?}");
    back_up(&lab, &lab.ctl(), &keeper, "b.age");

    let refused = olive.refused(REFUSED, &["ls"], b"");
    assert!(refused.contains("does not know this context's CA any more"), "{refused}");
    assert!(refused.contains("the cluster's CA was rotated"), "{refused}");
    lab.agents[away].daemon.start_again();
    until("the agent is told what happened", || {
        let log = lab.agents[away].daemon.log();
        (log.contains("certificate_of_dropped_ca") && log.contains("rotate-ca.md")).then_some(())
    });
    // It is no eviction: what runs there goes on until the node is removed.
    assert!(!lab.agents[away].daemon.log().contains("evicted"));
    lab.agents[away].daemon.kill();
    lab.ctl().ok(&["node", "rm", "--force", "n1"]);
    lab.agent("n1");
    lab.ctl().ok(&["operator", "rm", "olive"]);
    olive.ok(&["context", "rm", "here"]);
    let olive = operator(&lab, "olive", "writer");
    olive.ok(&["ls"]);
}

/// An admin's own context moves while it watches.
#[test]
fn a_rotation_is_begun_and_watched_over_the_network() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.agent("n1");
    let admin = operator(&lab, "ada", "admin");
    let mut before = ca(&lab);
    for number in 1..=3 {
        let ran = admin.run(&["cluster", "rotate", "ca"]);
        assert_eq!(ran.status, 0, "{ran:?}");
        let text = format!("CA rotation {number} is complete: the old CA is dropped\n");
        assert_eq!(ran.stdout, text);
        assert!(ran.stderr.contains(&format!("CA rotation {number} has begun")), "{ran:?}");
        let done = await_complete(&lab, number);
        assert_eq!((&done["old_ca"], &done["left_behind"]), (&before, &0.into()));
        before = ca(&lab);
        admin.ok_with(&["create", &format!("s{number}"), "-"], b"value");
        // The keys of both CAs are wrapped anew with everything else.
        lab.ctl().ok(&["cluster", "rotate", "root-key"]);
    }
    lab.agent("n2");
    for role in ["writer", "deployer", "auditor"] {
        let ran = operator(&lab, role, role).run(&["cluster", "rotate", "ca"]);
        assert_eq!(ran.status, REFUSED, "{ran:?}");
        assert!(ran.stderr.contains("does not allow rotate_ca"), "{ran:?}");
    }
}
