//! Rotating log keys on real managers: under load, with one killed and one down meanwhile.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use seal::{LockedKeyFile, SlotSecretKey};
use serde_json::Value;
use tests::{Lab, Manager, until};

use crate::PROGRAMS;
use crate::faults::{Load, WRITERS, assert_all_there};

/// Exit status of what may pass later.
const LATER: i32 = 69;

/// What opens a disk, by the names it has there.
const KEY_FILES: [&str; 2] = ["keys", "unlock-seed"];

/// What `cluster keys` says, once a manager answers.
pub(crate) fn keys(lab: &Lab) -> Value {
    until("a leader tells of the keys", || {
        let ran = lab.ctl().run(&["cluster", "keys", "--json"]);
        (ran.status == 0).then(|| serde_json::from_str(&ran.stdout).unwrap())
    })
}

pub(crate) fn members(keys: &Value) -> &Vec<Value> {
    keys["members"].as_array().unwrap()
}

/// The member of `m2` for 1.
pub(crate) fn of(keys: &Value, index: usize) -> &Value {
    let hostname = format!("m{}", index + 1);
    members(keys).iter().find(|member| member["hostname"] == hostname).unwrap()
}

fn log_keys(member: &Value) -> BTreeSet<String> {
    let held = member["held"]["log_keys"].as_array().unwrap();
    held.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

pub(crate) fn await_voters(lab: &Lab) {
    until("all vote", || {
        let members = lab.members();
        members.iter().all(|member| member["state"] == "voter").then_some(())
    });
}

pub(crate) fn await_complete(lab: &Lab, number: u64) -> Value {
    until("the rotation is complete", || {
        let keys = keys(lab);
        let rotation = &keys["log_key_rotation"];
        (rotation["complete"] == true && rotation["number"] == number).then_some(keys)
    })
}

/// Everything on every disk is under one key, which is the one that the cluster recorded.
fn assert_only_new(keys: &Value, old: &BTreeSet<String>) {
    for member in members(keys) {
        let held = log_keys(member);
        assert_eq!(held.len(), 1, "{member}");
        assert!(held.is_disjoint(old), "{member}");
        let active = &member["held"]["active_log_key"];
        assert_eq!(&member["recorded_log_key"], active, "{member}");
        assert_eq!(&member["held"]["oldest_on_disk"], active, "{member}");
        assert_eq!(member["waits_for"], Value::Null, "{member}");
    }
}

/// Copies a file or a folder.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// The ids of the log keys in a stolen key file, which a slot's key opens.
pub(crate) fn open_stolen(folder: &Path, slot: &SlotSecretKey) -> BTreeSet<[u8; 16]> {
    let file = LockedKeyFile::parse(&std::fs::read(folder.join("keys")).unwrap()).unwrap();
    let contents = file.open(slot).unwrap();
    contents.logs.iter().map(|key| *key.id().as_bytes()).collect()
}

/// The key of a stolen seed.
pub(crate) fn stolen_slot(folder: &Path) -> SlotSecretKey {
    let seed: [u8; 32] = std::fs::read(folder.join("unlock-seed")).unwrap().try_into().unwrap();
    SlotSecretKey::derive_from_seed(&seed)
}

/// The key that sealed bytes of a file, from `at` on.
fn sealed_under(path: &Path, at: usize) -> [u8; 16] {
    let bytes = std::fs::read(path).unwrap();
    *seal::sealed_under(&bytes[at..]).unwrap().as_bytes()
}

/// What a thief had before: each manager's key file, and the seed if it has one.
pub(crate) fn steal_keys(lab: &Lab, name: &str) -> PathBuf {
    let stolen = lab.path().join(name);
    for (index, manager) in lab.managers.iter().enumerate() {
        let folder = stolen.join(index.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        for name in KEY_FILES.iter().filter(|name| manager.data.join(name).exists()) {
            copy(&manager.data.join(name), &folder);
        }
    }
    stolen
}

/// Every manager reads all it has, and has what the others have.
pub(crate) fn assert_all_read(lab: &Lab) {
    let verified = until("everything is read", || {
        let keys = lab.ctl().json(&["cluster", "keys", "--verify"]);
        let mut members = members(&keys).iter();
        members.all(|member| member["check"]["compared_at"].is_u64()).then_some(keys)
    });
    for member in members(&verified) {
        let check = &member["check"];
        assert_eq!((&check["damaged"], &check["diverged"]), (&Value::Null, &Value::Null));
    }
}

/// Every manager reads all it has, and the audit knows of the rotation.
fn assert_verified_and_on_record(lab: &Lab) {
    let verified = lab.ctl().json(&["cluster", "keys", "--verify"]);
    for member in members(&verified) {
        let check = &member["check"];
        assert_eq!((&check["damaged"], &check["diverged"]), (&Value::Null, &Value::Null));
        assert!(check["compared_at"].as_u64().is_some(), "{member}");
        assert!(check["snapshot_bytes"].as_u64().unwrap() > 0, "{member}");
    }
    let audit = lab.ctl().json(&["cluster", "audit", "--limit", "100000"]);
    let count = |action: &str| {
        let records = audit.as_array().unwrap().iter();
        records.filter(|record| record["action"] == action && record["outcome"] == "ok").count()
    };
    assert_eq!(count("rotate_log_keys"), 1);
    assert!(count("acknowledge_log_key") >= 3);
}

/// Nothing of what a stopped manager goes by is under keys of these ids.
pub(crate) fn assert_under_none(data: &Path, ids: &BTreeSet<[u8; 16]>) {
    let snapshots = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap());
    let snapshots: Vec<_> = snapshots
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("snapshot-"))
        .collect();
    assert_eq!(snapshots.len(), 1);
    assert!(!ids.contains(&sealed_under(&snapshots[0].path(), 36)), "the snapshot");
    for block in [0, 8 << 10] {
        assert!(!ids.contains(&sealed_under(&data.join("head"), block + 4)), "the head");
    }
}

/// Starts a manager on a copy of a data folder with stolen key files in their places.
pub(crate) fn start_on_stolen(manager: &mut Manager, stolen: &Path) {
    let theirs = manager.data.with_file_name("theirs");
    std::fs::remove_dir_all(&theirs).ok();
    copy(&manager.data, &theirs);
    for name in KEY_FILES {
        std::fs::remove_file(theirs.join(name)).ok();
        if stolen.join(name).exists() {
            copy(&stolen.join(name), &theirs.join(name));
        }
    }
    let (data, place) = (manager.data.display().to_string(), theirs.display().to_string());
    for word in manager.daemon.arguments() {
        *word = word.replace(&data, &place);
    }
    manager.daemon.start_again();
}

/// A manager stops since nothing of its disk opens; `before` is what it logged before.
pub(crate) fn assert_gives_up(manager: &mut Manager, before: &str) {
    assert!(!manager.daemon.wait().success(), "the old key opens the disk");
    let log = manager.daemon.log();
    let told = |log: &str| log.matches("failed authentication").count();
    assert!(told(&log) > told(before), "{log}");
}

/// What the thief had opens nothing of a manager's disk as it is now.
pub(crate) fn assert_nothing_opens(lab: &mut Lab, index: usize, stolen: &Path) {
    let manager = &mut lab.managers[index];
    if manager.daemon.runs() {
        manager.daemon.stop();
    }
    assert_under_none(&manager.data, &open_stolen(stolen, &stolen_slot(stolen)));
    let before = manager.daemon.log();
    start_on_stolen(manager, stolen);
    assert_gives_up(manager, &before);
}

#[test]
fn log_keys_rotate_under_load_though_one_is_killed_and_one_is_down() {
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    await_voters(&lab);
    let load = Load::start((0..WRITERS).map(|number| lab.ctl_of(number % 3)).collect(), b"value");
    load.next();
    let before = keys(&lab);
    assert_eq!(before["log_key_rotation"]["number"], 0);
    let old: BTreeSet<String> = members(&before).iter().flat_map(log_keys).collect();
    assert_eq!(old.len(), 3, "each manager has a key of its own");
    let stolen = steal_keys(&lab, "stolen");

    let leader = lab.leader();
    let down = (leader + 1) % 3;
    lab.managers[down].daemon.kill();
    lab.ctl_of(leader).ok(&["cluster", "rotate", "log-key", "--no-wait"]);
    lab.managers[leader].daemon.kill();
    lab.managers[leader].daemon.start_again();
    lab.await_socket(leader);

    let waiting = until("only the one that is down is waited for", || {
        let keys = keys(&lab);
        let behind = members(&keys).iter().filter(|member| member["rotation"] == 0);
        (behind.count() == 1).then_some(keys)
    });
    let missing = of(&waiting, down);
    assert_eq!((&missing["rotation"], &missing["reachable"]), (&0.into(), &false.into()));
    let why = missing["waits_for"].as_str().unwrap();
    assert!(why.contains("does not answer") && why.contains("once it runs"), "{why}");
    // Not for want of a leader, which a busy machine may be without for a moment.
    let refused = until("another rotation is refused", || {
        let ran = lab.ctl().run(&["cluster", "rotate", "log-key"]);
        (ran.status != LATER).then_some(ran)
    });
    assert_eq!(refused.status, 1, "{refused:?}");
    let member = &missing["member"];
    let text = format!("log key rotation 1 is in progress: it waits for manager {member}");
    assert!(refused.stderr.contains(&text), "{refused:?}");
    load.next();

    lab.managers[down].daemon.start_again();
    lab.await_socket(down);
    let after = await_complete(&lab, 1);
    assert_only_new(&after, &old);
    load.next();
    let acknowledged = load.end();
    assert_all_there(&lab, &acknowledged);

    assert_verified_and_on_record(&lab);
    for index in 0..lab.managers.len() {
        assert_nothing_opens(&mut lab, index, &stolen.join(index.to_string()));
    }
}

#[test]
fn a_rotation_is_watched_to_its_end_and_can_be_done_again() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.ctl().ok_with(&["create", "key", "-"], b"value");
    let mut old = BTreeSet::new();
    for number in 1..=3 {
        old.extend(members(&keys(&lab)).iter().flat_map(log_keys));
        let ran = lab.ctl().run(&["cluster", "rotate", "log-key"]);
        assert_eq!(ran.status, 0, "{ran:?}");
        assert_eq!(ran.stdout, format!("log key rotation {number} is complete on 1 manager\n"));
        assert!(ran.stderr.contains("does not heal"), "{ran:?}");
        assert_only_new(&await_complete(&lab, number), &old);
    }
    // All of it opens again, and nothing is begun by itself.
    lab.managers[0].daemon.kill();
    lab.managers[0].daemon.start_again();
    lab.await_socket(0);
    assert_only_new(&await_complete(&lab, 3), &old);
    assert_eq!(lab.ctl().json(&["ls"])[0]["name"], "key");
}
