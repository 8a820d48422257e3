//! A change of the unlock key on managers under load, with `kill -9` of one at each durable step.
//!
//! The steps are what the kernel tells of the files in that manager's data folder: one is made,
//! written, takes another's place, or goes. The manager is killed as soon as the n-th of them is seen,
//! for every n until a change needs fewer; it may have taken the next ones by then. Exact to the single write, and with what was not synced lost, is the same on
//! the simulated disk: `store/src/manager/reseal/crash_tests.rs`. Not here: what else is asked of
//! changes of the unlock key (`locking`).

use std::path::Path;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde_json::Value;
use tests::{Lab, until};

use crate::PROGRAMS;
use crate::faults::{Load, WRITERS, assert_all_there, form};
use crate::locking::{await_locked, id, key_in, opens, start, three, unlock};
use crate::rotation::{assert_all_read, keys};

/// More steps than a change has: a key file sealed anew, one with a new log key, a snapshot, an old
/// one that goes, a key file without the old log key.
const STEPS_MAX: usize = 60;

/// What happens to the files of a folder.
struct Steps {
    inotify: Inotify,
    seen: usize,
}

impl Steps {
    fn of(folder: &Path) -> Self {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).unwrap();
        let steps = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE;
        inotify.add_watch(folder, steps).unwrap();
        Self { inotify, seen: 0 }
    }

    /// Whether so many have been taken by now.
    fn reached(&mut self, count: usize) -> bool {
        match self.inotify.read_events() {
            Ok(events) => self.seen += events.len(),
            Err(errno) => assert_eq!(errno, Errno::EAGAIN),
        }
        self.seen >= count
    }
}

/// Every manager has followed the list, and has rotated its log key after it; gives the unlock key's
/// id that is in use.
fn await_settled(lab: &Lab) -> String {
    until("all have followed", || {
        let ran = lab.ctl().run(&["--timeout", "5s", "cluster", "status", "--json"]);
        let status: Value = serde_json::from_str(&ran.stdout).ok()?;
        let generation = &status["recipients_generation"];
        let members = status["members"].as_array()?;
        let follows = |member: &Value| {
            member["reachable"] == true && &member["key_file_generation"] == generation
        };
        members.iter().all(follows).then_some(())?;
        let keys = keys(lab);
        let rotation = &keys["log_key_rotation"];
        let rests = rotation["complete"] == true && rotation["next"].is_null();
        rests.then(|| status["unlock_key_id"].as_str().unwrap().to_owned())
    })
}

/// Replaces the unlock key, and kills a manager at its n-th step; false if it had fewer.
fn rotate_and_kill(lab: &mut Lab, key: &mut String, victim: usize, step: usize) -> bool {
    let mut steps = Steps::of(&lab.managers[victim].data);
    let ctl = lab.ctl_of((victim + 1) % 3);
    let rotating = std::thread::spawn(move || {
        ctl.run(&["cluster", "unlock-key", "--rotate", "--timeout", "30s"])
    });
    let mut killed = false;
    while !killed {
        let ended = rotating.is_finished();
        killed = steps.reached(step);
        if killed {
            lab.managers[victim].daemon.kill();
        } else if ended {
            break;
        }
        std::thread::yield_now();
    }
    let ran = rotating.join().unwrap();
    // It is shown before anything is sent, so whoever asked has it whatever became of it.
    let new = key_in(&ran.stdout);
    if killed {
        start(lab, victim);
        let needed = await_locked(lab, victim)["unlock_key_id"].clone();
        let (right, wrong) = if needed == id(&new) { (&new, &*key) } else { (&*key, &new) };
        assert_eq!(needed, id(right), "step {step} of manager {victim}");
        assert!(opens(&lab.managers[victim].data, right));
        assert!(!opens(&lab.managers[victim].data, wrong));
        unlock(lab, victim, right);
    } else {
        assert_eq!(ran.status, 0, "{ran:?}");
    }
    let in_use = await_settled(lab);
    let former = if in_use == id(&new) { std::mem::replace(key, new) } else { new };
    assert_eq!(in_use, id(key), "step {step} of manager {victim}: {ran:?}");
    for manager in &lab.managers {
        assert!(opens(&manager.data, key), "step {step} of manager {victim}");
        assert!(!opens(&manager.data, &former), "step {step} of manager {victim}");
    }
    killed
}

#[test]
fn a_manager_that_is_killed_at_any_step_of_a_new_unlock_key_follows_and_loses_nothing() {
    let mut lab = three();
    let mut key = key_in(&lab.ctl().ok(&["cluster", "update", "--autolock", "on"]));
    await_settled(&lab);
    let clients = (0..WRITERS).map(|number| lab.ctl_of(number % 3)).collect();
    let load = Load::start(clients, b"value");
    load.next();
    // In the short form one manager at each step, in turn; in the full form each.
    let each = form(1, 3);
    let mut steps = 0;
    'steps: for step in 1.. {
        assert!(step < STEPS_MAX, "a change has an end");
        for turn in 0..each {
            // Whether it leads or follows.
            let victim = (lab.leader() + step + turn) % 3;
            if !rotate_and_kill(&mut lab, &mut key, victim, step) {
                break 'steps;
            }
            load.next();
        }
        steps = step;
    }
    assert!(steps > 10, "{steps} steps");
    let acknowledged = load.end();
    assert_all_there(&lab, &acknowledged);
    assert_all_read(&lab);
}

#[test]
fn what_a_power_cut_left_of_a_key_file_or_a_seed_is_gone_when_a_manager_starts() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    let data = lab.managers[0].data.clone();
    lab.managers[0].daemon.stop();
    for name in ["keys", "unlock-seed"] {
        std::fs::copy(data.join(name), data.join(format!(".{name}.new"))).unwrap();
    }
    start(&mut lab, 0);
    lab.members();
    for name in [".keys.new", ".unlock-seed.new"] {
        assert!(!data.join(name).exists(), "{name}");
    }
    assert!(data.join("keys").exists() && data.join("unlock-seed").exists());
}
