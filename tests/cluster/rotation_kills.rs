//! Every rotation on a real manager, with `kill -9` at each durable step of it.
//!
//! The steps are the system calls themselves: what the manager makes durable, renames and removes in its
//! data folder, in the order of all its threads (`tracer`). For n = 1, 2, 3 … one more rotation of a kind
//! is begun, and the manager is killed at the entry of its n-th call; in the full form
//! (`SECRETD_FULL=1`), by another walk, at the exit of it as well. It is started again, and the rotation
//! has to complete by itself, or was not begun: that only if nobody was told otherwise. The walk ends with
//! a whole rotation that needs fewer calls. Followers of three managers, which also have boot files, are
//! killed at every third step only, but in the full form. Calls that belong to no rotation (a create that is under way,
//! what the log's threads do later) are among them, and killed at, too: they come in between.
//!
//! Not here: agents and operators that are killed (`renewal_kills`); with what was not synced lost, on a
//! simulated disk: `store/src/raft/rotation/crash_tests.rs`, `store/src/roots/crash_tests.rs`,
//! `store/src/manager/reseal/crash_tests.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::time::Duration;

use serde_json::Value;
use sys::require::{Need, root, skip};
use tests::{Ctl, Lab, Ran, until};

use crate::PROGRAMS;
use crate::ca_rotation::operator;
use crate::faults::{assert_all_there, form};
use crate::lifecycle::{output, serve};
use crate::locking::{await_locked, id, key_in, opens, start, unlock};
use crate::peers::locking;
use crate::rotation::assert_all_read;
use crate::tracer::{Moment, Tracer};

/// More calls than any rotation makes.
const STEPS_MAX: usize = 400;

/// Between two looks at whether a command has ended.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Looks at a rotation that takes its time, until it is told how far it is: some ten seconds.
const LOOKS_BETWEEN_WORDS: usize = 100;

/// Values that are read by a task in the end: the first of them and the last.
const READ_AT_EACH_END: usize = 4;

/// Runs the operator's tool; at a manager that is traced for as long as that is there, since the tool
/// would go on trying.
pub(crate) struct Asking<'a> {
    lab: &'a Lab,
    ctl: Ctl,
    tracer: Option<&'a Tracer>,
}

impl<'a> Asking<'a> {
    pub(crate) fn of(lab: &'a Lab, manager: usize) -> Self {
        Self { lab, ctl: lab.ctl_of(manager), tracer: None }
    }

    /// What it came to; its status is -1 if the manager was killed meanwhile.
    fn run(&self, ctl: &Ctl, arguments: &[&str], stdin: &[u8]) -> Ran {
        let Some(tracer) = self.tracer else { return ctl.run_with(arguments, stdin) };
        let name = format!("stdin-{:?}", std::thread::current().id());
        let stdin = File::open(self.lab.file(&name, stdin)).unwrap();
        let mut child = ctl.command(arguments).stdin(stdin).spawn().unwrap();
        while child.try_wait().unwrap().is_none() {
            if tracer.has_ended() {
                // What it has said by now counts all the same.
                child.kill().unwrap();
                break;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let output = child.wait_with_output().unwrap();
        Ran {
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            status: output.status.code().unwrap_or(-1),
        }
    }

    /// What it printed, if it succeeded.
    fn json(&self, arguments: &[&str]) -> Option<Value> {
        let arguments = [&["--timeout", "5s", "--json"], arguments].concat();
        let ran = self.run(&self.ctl, &arguments, b"");
        (ran.status == 0).then(|| serde_json::from_str(&ran.stdout).unwrap())
    }

    /// The record of a rotation, as it stands.
    pub(crate) fn standing(&self, rotation: &str) -> Option<Standing> {
        let keys = self.json(&["cluster", "keys"])?;
        let number = |record: &str| keys[record]["number"].as_u64().unwrap_or(0);
        let rests = |record: &str| {
            let of_one = &keys[record];
            number(record) == 0 || of_one["complete"] == true && of_one["next"].is_null()
        };
        // Log keys rotate after the root key.
        let complete = rests(rotation) && rests("log_key_rotation");
        Some(Standing { number: number(rotation), complete })
    }
}

/// How far a cluster is with rotations of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// How many were begun.
    pub(crate) number: u64,
    /// Whether none is in progress.
    pub(crate) complete: bool,
}

/// A kind of rotation.
trait Rotation {
    /// Makes what the next one is about.
    fn prepare(&mut self, _: &Lab, _step: usize) {}

    /// What is typed to begin it.
    fn begin(&self, step: usize) -> Vec<String>;

    /// What was printed by that, as far as it came.
    fn printed(&mut self, _stdout: &str) {}

    fn standing(&self, asking: &Asking<'_>) -> Option<Standing>;

    fn start_again(&mut self, lab: &mut Lab, index: usize) {
        start(lab, index);
    }

    /// What has to hold once it is complete, or was not begun.
    fn assert_settled(&mut self, _: &Lab) {}
}

/// A walk from the first step to the last.
struct Walk {
    test: &'static str,
    lab: Lab,
    /// Who is killed, and who is asked: the same if there is one manager only.
    victim: usize,
    asked: usize,
    moment: Moment,
    /// From each step that it is killed at to the next.
    stride: usize,
    acknowledged: BTreeMap<String, String>,
    /// Kills after which no rotation was begun, and after which one was, and ended by itself.
    not_begun: usize,
    completed: usize,
    /// The steps of the last rotation, which was whole.
    steps: Vec<String>,
}

impl Walk {
    /// The only manager is killed; or one that follows, and another is asked.
    fn of(test: &'static str, lab: Lab, moment: Moment) -> Self {
        let count = lab.managers.len();
        let victim = (lab.leader() + 1) % count;
        let asked = (victim + 1) % count;
        Self {
            test,
            lab,
            victim,
            asked,
            moment,
            stride: 1,
            acknowledged: BTreeMap::new(),
            not_begun: 0,
            completed: 0,
            steps: Vec::new(),
        }
    }

    /// Kills at each step; none, and it is said, if this process may trace nobody.
    fn walk(mut self, rotation: &mut dyn Rotation) -> Option<Self> {
        for step in (1..).step_by(self.stride) {
            assert!(step < STEPS_MAX, "a rotation has an end: {:?}", self.steps);
            rotation.prepare(&self.lab, step);
            if !self.kill_at(step, rotation)? {
                break;
            }
        }
        let Self { test, not_begun, completed, steps, .. } = &self;
        tell(&format!("{test}: {not_begun} not begun, {completed} completed, of {steps:?}"));
        Some(self)
    }

    /// Whether the manager took that many steps, and so was killed.
    fn kill_at(&mut self, step: usize, rotation: &mut dyn Rotation) -> Option<bool> {
        let manager = &self.lab.managers[self.victim];
        let mut asking = Asking::of(&self.lab, self.asked);
        let before = until("how far it is", || rotation.standing(&asking));
        let tracer = match Tracer::attach(manager.daemon.pid(), &manager.data, step, self.moment) {
            Ok(tracer) => tracer,
            Err(errno) => {
                skip(self.test, Need::Strace, &format!("a manager cannot be traced: {errno}"));
                return None;
            }
        };
        if self.asked == self.victim {
            asking.tracer = Some(&tracer);
        }
        // One whole create before it, so that the first steps are none of the rotation's.
        self.acknowledged.extend(create(&asking, &format!("before-{step}")));
        let (begun, meanwhile) = std::thread::scope(|scope| {
            let creating = scope.spawn(|| create(&asking, &format!("meanwhile-{step}")));
            let begin = rotation.begin(step);
            let begin: Vec<_> = begin.iter().map(String::as_str).collect();
            (asking.run(&asking.ctl, &begin, b""), creating.join().unwrap())
        });
        self.acknowledged.extend(meanwhile);
        let is_told = begun.status == 0;
        assert!(is_told || tracer.has_ended(), "step {step}: {begun:?}");
        rotation.printed(&begun.stdout);
        until(&format!("it is killed at step {step}, or the rotation is complete"), || {
            let standing = rotation.standing(&asking);
            let is_done = standing.is_some_and(|it| it.complete && it.number > before.number);
            (is_done || tracer.has_ended()).then_some(())
        });
        let trace = tracer.end();
        self.steps = trace.steps;
        if trace.killed {
            self.lab.managers[self.victim].daemon.kill();
            rotation.start_again(&mut self.lab, self.victim);
        }
        self.settle(step, before, is_told, trace.killed, rotation);
        Some(trace.killed)
    }

    /// Waits until it is complete, or was not begun; then everything is there.
    fn settle(
        &mut self,
        step: usize,
        before: Standing,
        is_told: bool,
        killed: bool,
        rotation: &mut dyn Rotation,
    ) {
        let place = format!("step {step}, {:?}", self.steps.last());
        let asking = Asking::of(&self.lab, self.asked);
        let mut looks = 0;
        let now = until(&format!("no rotation is in progress after {place}"), || {
            let standing = rotation.standing(&asking).filter(|standing| standing.complete);
            looks += 1;
            if standing.is_none() && looks % LOOKS_BETWEEN_WORDS == 0 {
                // Whoever has to find out why wants to know who is waited for.
                let keys = asking.ctl.run(&["--timeout", "5s", "cluster", "keys"]);
                tell(&format!("{}, {place}: {}{}", self.test, keys.stdout, keys.stderr));
            }
            standing
        });
        let begun = now.number - before.number;
        assert!(begun <= 1, "{place}: {begun} rotations");
        assert!(begun == 1 || !is_told, "{place}: it was said to have begun");
        if killed && begun == 1 {
            self.completed += 1;
        } else if killed {
            self.not_begun += 1;
        }
        rotation.assert_settled(&self.lab);
        assert_all_there(&self.lab, &self.acknowledged);
        assert_all_read(&self.lab);
    }

    /// The walk was one, both ends occurred, and values are what they were.
    fn assert_whole(mut self, steps_min: usize, among: &[&str]) {
        assert!(self.steps.len() >= steps_min, "{} steps: {:?}", self.steps.len(), self.steps);
        let taken: BTreeSet<_> = self.steps.iter().map(String::as_str).collect();
        for step in among {
            assert!(taken.contains(step), "no `{step}` among {taken:?}");
        }
        assert!(self.completed > 0, "no rotation completed after a kill");
        if self.asked == self.victim {
            assert!(self.not_begun > 0, "each kill came after a rotation was begun");
        }
        self.lab.agent("reads");
        let names: Vec<_> = self.acknowledged.keys().collect();
        let (first, last) = names.split_at(READ_AT_EACH_END);
        let some = first.iter().chain(&last[last.len() - READ_AT_EACH_END..]);
        let some: Vec<_> = some.map(|name| name.as_str()).collect();
        let options: Vec<_> = some.iter().flat_map(|name| ["--secret", name]).collect();
        let options = [&options[..], &["--constraint", "node.hostname==reads"]].concat();
        let script = "cd /run/secrets; for name in *; do cat $name; echo; done; exec sleep 1000";
        serve(&self.lab, "reads", &options, script);
        let mut wanted: Vec<_> = some.iter().map(|name| value_of(name)).collect();
        wanted.sort_unstable();
        let printed = output(&self.lab, "reads", wanted.len());
        let mut read: Vec<_> = printed.lines().collect();
        read.sort_unstable();
        assert_eq!(read, wanted);
    }
}

fn value_of(name: &str) -> String {
    format!("the value of {name}")
}

/// Creates a secret; gives its name and id if that was acknowledged.
fn create(asking: &Asking<'_>, name: &str) -> Option<(String, String)> {
    let ran = asking.run(&asking.ctl, &["create", name, "-"], value_of(name).as_bytes());
    (ran.status == 0).then(|| (name.to_owned(), ran.stdout.trim().to_owned()))
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[expect(clippy::print_stderr, reason = "how many steps were walked")]
fn tell(line: &str) {
    eprintln!("{line}");
}

/// One that `cluster keys` has a record of, and that nobody else takes part in.
struct Recorded {
    begin: &'static str,
    record: &'static str,
}

impl Rotation for Recorded {
    fn begin(&self, _: usize) -> Vec<String> {
        words(self.begin)
    }

    fn standing(&self, asking: &Asking<'_>) -> Option<Standing> {
        asking.standing(self.record)
    }
}

/// Of a walk, and where it was asked for of the same with kills at the exits of calls.
fn moments() -> &'static [Moment] {
    form(&[Moment::Before], &[Moment::Before, Moment::After])
}

#[test]
fn a_manager_that_is_killed_at_any_step_of_a_log_key_rotation_goes_on() {
    let test = "a_manager_that_is_killed_at_any_step_of_a_log_key_rotation_goes_on";
    if !root(test) {
        return;
    }
    for moment in moments() {
        let begin = "cluster rotate log-key --no-wait";
        let mut rotation = Recorded { begin, record: "log_key_rotation" };
        let lab = Lab::with_managers(PROGRAMS, 1);
        let Some(walk) = Walk::of(test, lab, *moment).walk(&mut rotation) else { return };
        walk.assert_whole(20, &["fsync .keys.new", "rename .keys.new keys", "fdatasync journal"]);
    }
}

#[test]
fn a_manager_that_is_killed_at_any_step_of_a_root_key_rotation_goes_on() {
    let test = "a_manager_that_is_killed_at_any_step_of_a_root_key_rotation_goes_on";
    if !root(test) {
        return;
    }
    for moment in moments() {
        let begin = "cluster rotate root-key --no-wait";
        let mut rotation = Recorded { begin, record: "root_key_rotation" };
        let lab = Lab::with_managers(PROGRAMS, 1);
        let Some(walk) = Walk::of(test, lab, *moment).walk(&mut rotation) else { return };
        walk.assert_whole(30, &["fsync .keys.new", "rename .keys.new keys", "fdatasync journal"]);
    }
}

/// The transit key goes, and every log key with it, when what came under it is to be shredded.
struct Shredding;

impl Shredding {
    fn name(step: usize) -> String {
        format!("gone-{step}")
    }
}

impl Rotation for Shredding {
    fn prepare(&mut self, lab: &Lab, step: usize) {
        lab.ctl().ok_with(&["create", &Self::name(step), "-"], b"value");
    }

    fn begin(&self, step: usize) -> Vec<String> {
        [words("rm --shred --no-wait"), vec![Self::name(step)]].concat()
    }

    fn standing(&self, asking: &Asking<'_>) -> Option<Standing> {
        let removed = asking.json(&["ls", "--removed"])?;
        let removed = removed.as_array().unwrap();
        let complete = removed.iter().all(|secret| secret["state"] == "shredded");
        Some(Standing { number: removed.len().try_into().unwrap(), complete })
    }
}

#[test]
fn a_manager_that_is_killed_at_any_step_of_shredding_goes_on() {
    let test = "a_manager_that_is_killed_at_any_step_of_shredding_goes_on";
    if !root(test) {
        return;
    }
    for moment in moments() {
        let lab = Lab::with_managers(PROGRAMS, 1);
        let Some(walk) = Walk::of(test, lab, *moment).walk(&mut Shredding) else { return };
        walk.assert_whole(20, &["fsync .keys.new", "rename .keys.new keys", "fdatasync journal"]);
    }
}

/// Of a manager that locks: after a kill it waits for the key that it names.
struct UnlockKey {
    /// The one in use.
    key: String,
    /// Those that were shown since.
    shown: Vec<String>,
}

impl UnlockKey {
    fn of(&self, id_in_use: &Value) -> &String {
        let mut all = self.shown.iter().chain([&self.key]);
        all.find(|key| id_in_use == &id(key)).expect("one that was shown is in use")
    }
}

impl Rotation for UnlockKey {
    fn begin(&self, _: usize) -> Vec<String> {
        words("cluster unlock-key --rotate")
    }

    fn printed(&mut self, stdout: &str) {
        // It is shown before anything is sent.
        if !stdout.is_empty() {
            self.shown.push(key_in(stdout));
        }
    }

    fn standing(&self, asking: &Asking<'_>) -> Option<Standing> {
        let log_keys = asking.standing("log_key_rotation")?;
        let status = asking.json(&["cluster", "status"])?;
        let generation = &status["recipients_generation"];
        let mut members = status["members"].as_array()?.iter();
        let follows = members.all(|member| &member["key_file_generation"] == generation);
        Some(Standing { number: generation.as_u64()?, complete: follows && log_keys.complete })
    }

    fn start_again(&mut self, lab: &mut Lab, index: usize) {
        start(lab, index);
        let needed = await_locked(lab, index)["unlock_key_id"].clone();
        let right = self.of(&needed);
        for key in self.shown.iter().chain([&self.key]) {
            assert_eq!(opens(&lab.managers[index].data, key), key == right);
        }
        unlock(lab, index, right);
    }

    fn assert_settled(&mut self, lab: &Lab) {
        let in_use = lab.ctl().json(&["cluster", "status"])["unlock_key_id"].clone();
        self.key = self.of(&in_use).clone();
        for key in &self.shown {
            assert_eq!(opens(&lab.managers[0].data, key), *key == self.key);
        }
        self.shown.clear();
    }
}

#[test]
fn a_manager_that_is_killed_at_any_step_of_a_new_unlock_key_goes_on() {
    let test = "a_manager_that_is_killed_at_any_step_of_a_new_unlock_key_goes_on";
    if !root(test) {
        return;
    }
    for moment in moments() {
        let lab = Lab::with_managers(PROGRAMS, 1);
        let key = key_in(&lab.ctl().ok(&["cluster", "update", "--autolock", "on"]));
        let mut rotation = UnlockKey { key, shown: Vec::new() };
        let Some(walk) = Walk::of(test, lab, *moment).walk(&mut rotation) else { return };
        walk.assert_whole(30, &["fsync .keys.new", "rename .keys.new keys", "fdatasync journal"]);
    }
}

/// Agents and operators take part in these: a task has to go on, and a context to be of use.
struct Certified {
    rotation: Recorded,
    olive: Ctl,
    /// The id of a task, where there is an agent to run it.
    task: Option<Value>,
}

impl Certified {
    fn new(lab: &mut Lab, rotation: Recorded, has_agent: bool) -> Self {
        let task = has_agent.then(|| {
            lab.agent("n1");
            serve(lab, "web", &["--constraint", "node.hostname==n1"], "exec sleep 1000");
            lab.await_tasks("web", 1, "running").remove(0)["id"].clone()
        });
        Self { rotation, olive: operator(lab, "olive", "writer"), task }
    }
}

impl Rotation for Certified {
    fn begin(&self, step: usize) -> Vec<String> {
        self.rotation.begin(step)
    }

    fn standing(&self, asking: &Asking<'_>) -> Option<Standing> {
        let standing = self.rotation.standing(asking)?;
        if !standing.complete {
            // Its context moves, or renews, with what it is used for.
            asking.run(&self.olive, &["--timeout", "5s", "ls"], b"");
        }
        Some(standing)
    }

    fn assert_settled(&mut self, lab: &Lab) {
        self.olive.ok(&["ls"]);
        if let Some(task) = &self.task {
            lab.await_node("n1", "ready");
            let now = lab.await_tasks("web", 1, "running").remove(0);
            assert_eq!(&now["id"], task, "the task was not restarted");
        }
    }
}

/// In the short form at each step with an operator, and at every fourth with an agent as well, which
/// takes seconds to be back each time.
fn kill_with_clients(
    test: &'static str,
    begin: &'static str,
    record: &'static str,
    steps_min: usize,
    among: &[&str],
) {
    if !root(test) {
        return;
    }
    let short = [(Moment::Before, false, 1), (Moment::Before, true, 4)];
    let full = [(Moment::Before, true, 1), (Moment::After, true, 1)];
    for (moment, has_agent, stride) in form(short, full) {
        let mut lab = Lab::with_managers(PROGRAMS, 1);
        let mut rotation = Certified::new(&mut lab, Recorded { begin, record }, has_agent);
        let walk = Walk { stride, ..Walk::of(test, lab, moment) };
        let Some(walk) = walk.walk(&mut rotation) else { return };
        walk.assert_whole(steps_min, among);
    }
}

#[test]
fn a_manager_that_is_killed_at_any_step_of_a_ca_rotation_goes_on() {
    let test = "a_manager_that_is_killed_at_any_step_of_a_ca_rotation_goes_on";
    let among = ["rename .ca.der.new ca.der", "rename .keys.new keys"];
    kill_with_clients(test, "cluster rotate ca --no-wait", "ca_rotation", 20, &among);
}

#[test]
fn a_manager_that_is_killed_at_any_step_of_a_certificate_rotation_goes_on() {
    let test = "a_manager_that_is_killed_at_any_step_of_a_certificate_rotation_goes_on";
    let among = ["rename .keys.new keys", "rename .refused-serials.new refused-serials"];
    let begin = "cluster rotate certificates --no-wait";
    kill_with_clients(test, begin, "certificate_rotation", 15, &among);
}

/// A manager of three that follows and locks, and that its peers unlock: what they need for that is made
/// anew in the same rotation. In the short form it is killed at every third step.
fn kill_followers(test: &'static str, begin: &'static str, record: &'static str, among: &[&str]) {
    if !root(test) {
        return;
    }
    let (lab, _key) = locking("auto");
    let mut rotation = Recorded { begin, record };
    let walk = Walk { stride: form(3, 1), ..Walk::of(test, lab, Moment::Before) };
    let Some(walk) = walk.walk(&mut rotation) else { return };
    walk.assert_whole(15, among);
}

#[test]
fn a_follower_that_is_killed_at_steps_of_a_ca_rotation_goes_on() {
    let test = "a_follower_that_is_killed_at_steps_of_a_ca_rotation_goes_on";
    let among = ["rename .ca.der.new ca.der", "rename .boot.new boot", "rename .keys.new keys"];
    kill_followers(test, "cluster rotate ca --no-wait", "ca_rotation", &among);
}

#[test]
fn a_follower_that_is_killed_at_steps_of_a_certificate_rotation_goes_on() {
    let test = "a_follower_that_is_killed_at_steps_of_a_certificate_rotation_goes_on";
    let among = ["rename .boot.new boot", "rename .keys.new keys"];
    kill_followers(test, "cluster rotate certificates --no-wait", "certificate_rotation", &among);
}
