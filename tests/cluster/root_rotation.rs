//! Rotating the root key on real managers: under load, with the leader killed and one down
//! meanwhile, and what the old key is worth then.

use std::collections::BTreeSet;
use std::path::Path;

use seal::LockedKeyFile;
use serde_json::Value;
use tests::{Lab, until};

use crate::PROGRAMS;
use crate::faults::{Load, WRITERS, assert_all_there};
use crate::rotation::{await_voters, keys, members, of, stolen_slot};

const REFUSED: i32 = 1;

/// Enough for several batches.
const SECRETS: usize = 1_200;

/// What any manager that serves says of the rotation.
fn rotation_by(lab: &Lab, index: usize) -> Value {
    let ran = lab.ctl_of(index).run(&["--timeout", "5s", "cluster", "status", "--json"]);
    let status: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    status["root_key_rotation"].clone()
}

fn await_complete(lab: &Lab, number: u64) -> Value {
    until("the root key rotation is complete", || {
        let keys = keys(lab);
        let rotation = &keys["root_key_rotation"];
        (rotation["complete"] == true && rotation["number"] == number).then_some(keys)
    })
}

/// Every member that answers holds this root key and no other.
fn assert_only(keys: &Value, root: &Value) {
    assert_eq!(&keys["root_key"], root);
    for member in members(keys) {
        let held = &member["held"];
        assert_eq!(held["root_keys"], Value::Array(vec![root.clone()]), "{member}");
        assert_eq!(&held["active_root_key"], root, "{member}");
        assert_eq!(member["root_key_waits_for"], Value::Null, "{member}");
    }
}

/// Ids of the root keys in a key file, which its seed opens.
fn roots_on_disk(folder: &Path) -> BTreeSet<String> {
    let file = LockedKeyFile::parse(&std::fs::read(folder.join("keys")).unwrap()).unwrap();
    let contents = file.open(&stolen_slot(folder)).unwrap();
    contents.roots.iter().map(|root| root.id().to_string()).collect()
}

/// Under which root keys the values of these secrets are.
fn roots_of<'n>(lab: &Lab, names: impl Iterator<Item = &'n String>) -> BTreeSet<String> {
    let names: Vec<_> = names.map(String::as_str).collect();
    let mut roots = BTreeSet::new();
    for some in names.chunks(200) {
        let inspected = lab.ctl().json(&[&["inspect"], some].concat());
        for secret in inspected.as_array().unwrap() {
            let versions = secret["versions"].as_array().unwrap().iter();
            roots.extend(versions.map(|one| one["root_key_id"].as_str().unwrap().to_owned()));
        }
    }
    roots
}

#[test]
fn the_root_key_rotates_under_load_though_its_leader_is_killed_and_one_is_down() {
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    await_voters(&lab);
    let load = Load::start((0..WRITERS).map(|number| lab.ctl_of(number % 3)).collect(), b"value");
    load.reach(SECRETS);
    let before = keys(&lab);
    let old = before["root_key"].clone();
    assert_eq!(before["root_key_rotation"], Value::Null);
    assert_only(&before, &old);

    let leader = lab.leader();
    let (down, third) = ((leader + 1) % 3, (leader + 2) % 3);
    let begin = lab.ctl().json(&["cluster", "status"])["applied_index"].to_string();
    lab.managers[down].daemon.kill();
    lab.ctl_of(leader).ok(&["cluster", "rotate", "root-key", "--no-wait"]);
    let seen = until("some is wrapped anew", || {
        let rotation = rotation_by(&lab, third);
        (rotation["phase"] == "active").then_some(rotation)
    });
    lab.managers[leader].daemon.kill();
    let left = seen["objects_left"].as_u64().unwrap();
    assert!(left > 0, "all was wrapped before the leader was killed: {seen}");
    lab.managers[leader].daemon.start_again();
    lab.await_socket(leader);

    let waiting = until("only the one that is down is waited for", || {
        let keys = keys(&lab);
        let rotation = &keys["root_key_rotation"];
        let wrapped = rotation["objects_left"] == 0 && rotation["phase"] == "active";
        (wrapped && rotation["waits_for"].as_array().unwrap().len() == 1).then_some(keys)
    });
    let missing = of(&waiting, down);
    let why = missing["root_key_waits_for"].as_str().unwrap();
    assert!(why.contains("does not answer") && why.contains("once it runs"), "{why}");
    let refused = lab.ctl().refused(REFUSED, &["cluster", "rotate", "root-key"], b"");
    let text =
        format!("root key rotation 1 is in progress: it waits for manager {}", missing["member"]);
    assert!(refused.contains(&text), "{refused}");
    load.next();

    // What was down has to catch up by snapshot: the others give up their logs.
    lab.ctl().ok(&["cluster", "rotate", "log-key", "--no-wait"]);
    until("the others have rotated their log keys", || {
        let keys = keys(&lab);
        let done = members(&keys).iter().filter(|member| member["rotation"] == 1).count();
        (done == 2).then_some(())
    });
    lab.managers[down].daemon.start_again();
    lab.await_socket(down);
    let after = await_complete(&lab, 1);
    let new = after["root_key"].clone();
    assert_ne!(new, old);
    assert_only(&after, &new);
    assert_eq!(after["log_key_rotation"]["number"], 2, "one of its own follows it");
    load.next();
    let acknowledged = load.end();
    assert_all_there(&lab, &acknowledged);

    let new: BTreeSet<_> = [new.as_str().unwrap().to_owned()].into();
    assert_eq!(roots_of(&lab, acknowledged.keys()), new, "no value is under another key");
    for manager in &lab.managers {
        assert_eq!(roots_on_disk(&manager.data), new);
    }
    let audit = lab.ctl().json(&["cluster", "audit", "--after", &begin, "--limit", "100000"]);
    let count = |action: &str| {
        let records = audit.as_array().unwrap().iter();
        records.filter(|record| record["action"] == action && record["outcome"] == "ok").count()
    };
    assert_eq!((count("announce_root"), count("activate_root"), count("retire_root")), (1, 1, 1));
    assert_eq!((count("acknowledge_root_destroyed"), count("rewrap")), (3, 0));
}

#[test]
fn a_manager_that_is_lost_is_removed_and_its_disk_is_counted_as_stolen() {
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    await_voters(&lab);
    lab.ctl().ok_with(&["create", "key", "-"], b"value");
    let leader = lab.leader();
    let (lost, third) = ((leader + 1) % 3, (leader + 2) % 3);
    let number = of(&keys(&lab), lost)["member"].to_string();
    let alive = of(&keys(&lab), third)["member"].to_string();
    let rm_lost = |member: &str| ["cluster", "member", "rm", "--lost", member].map(str::to_owned);
    let text = lab.ctl().refused(REFUSED, &rm_lost(&alive).each_ref().map(String::as_str), b"");
    assert!(text.contains(&format!("manager {alive} is not lost")), "{text}");

    lab.managers[lost].daemon.kill();
    lab.ctl_of(leader).ok(&["cluster", "rotate", "root-key", "--no-wait"]);
    until("only the one that is lost is waited for", || {
        let keys = keys(&lab);
        let rotation = &keys["root_key_rotation"];
        let waits_for = rotation["waits_for"].as_array().unwrap();
        (rotation["objects_left"] == 0 && waits_for.len() == 1).then_some(())
    });
    lab.ctl_of(leader).ok(&rm_lost(&number).each_ref().map(String::as_str));
    let after = await_complete(&lab, 1);
    assert_eq!(members(&after).len(), 2);
    assert_only(&after, &after["root_key"]);
    let listed = |keys: &Value| -> Vec<String> {
        let all = keys["removed_without_proof"].as_array().unwrap().iter();
        all.map(|member| member["member"].to_string()).collect()
    };
    assert_eq!(listed(&after), std::slice::from_ref(&number));
    let receipt = lab.ctl_of(leader).ok(&["cluster", "keys"]);
    let line = format!("removed without proof: manager {number} (m{}, ", lost + 1);
    assert!(receipt.contains(&line) && receipt.contains("treat its disk as stolen"), "{receipt}");

    // Who leaves destroys its keys, and says so.
    lab.ctl_of(third).ok(&["cluster", "leave"]);
    let left = until("the one that left is gone", || {
        let keys = keys(&lab);
        (members(&keys).len() == 1).then_some(keys)
    });
    assert_eq!(listed(&left), [number]);
    assert!(!lab.managers[third].data.join("keys").exists());
}

/// What was created before, by whom it is delivered after, with a manager that joined meanwhile.
#[test]
fn secrets_are_delivered_and_managers_join_after_rotations() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.agent("n1");
    lab.ctl().ok_with(&["create", "key", "-"], b"value");
    let mut roots = BTreeSet::from([keys(&lab)["root_key"].to_string()]);
    for number in 1..=2 {
        let ran = lab.ctl().run(&["cluster", "rotate", "root-key"]);
        assert_eq!(ran.status, 0, "{ran:?}");
        let members = if number == 1 { "1 manager" } else { "2 managers" };
        assert_eq!(ran.stdout, format!("root key rotation {number} is complete on {members}\n"));
        assert!(ran.stderr.contains(&format!("root key rotation {number} has begun")), "{ran:?}");
        assert!(ran.stderr.contains("it does not heal"), "{ran:?}");
        let after = await_complete(&lab, number);
        assert!(roots.insert(after["root_key"].to_string()), "it is a new one");
        assert_only(&after, &after["root_key"]);
        if number == 1 {
            lab.join();
            await_voters(&lab);
        }
    }
    let script = "test \"$(cat /run/secrets/key)\" = value && sleep 1000";
    let create = ["service", "create", "--name", "reads", "--secret", "key"];
    lab.ctl().ok(&[&create[..], &["--", "/bin/sh", "-c", script]].concat());
    lab.await_tasks("reads", 1, "running");
    // All of it opens again.
    for index in 0..2 {
        lab.managers[index].daemon.kill();
        lab.managers[index].daemon.start_again();
        lab.await_socket(index);
    }
    assert_eq!(lab.ctl().json(&["ls"])[0]["name"], "key");
    assert_only(&await_complete(&lab, 2), &keys(&lab)["root_key"]);
}

/// A manager that cannot write its key file cannot take the new root key. Should it come to lead, it
/// lets another.
#[test]
fn a_leader_that_cannot_get_the_root_key_lets_another_lead() {
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    await_voters(&lab);
    lab.ctl().ok_with(&["create", "key", "-"], b"value");
    let unable = (lab.leader() + 1) % 3;
    // In the place of the file that it writes before it renames it.
    let in_the_way = lab.managers[unable].data.join(".keys.new");
    std::fs::create_dir(&in_the_way).unwrap();
    lab.ctl().ok(&["cluster", "rotate", "root-key", "--no-wait"]);
    until("the others are under the new key", || {
        let rotation = keys(&lab)["root_key_rotation"].clone();
        (rotation["phase"] == "active" && rotation["objects_left"] == 0).then_some(())
    });
    // Who stops hands over to one that has as much of the log: to the one that is unable, in the end.
    let led = |lab: &Lab| lab.managers[unable].daemon.log().contains("leader_without_root_key");
    for _ in 0..20 {
        let leader = lab.leader();
        if leader == unable {
            until("it notices what it lacks", || led(&lab).then_some(()));
        }
        if led(&lab) {
            break;
        }
        lab.managers[leader].daemon.stop();
        lab.managers[leader].daemon.start_again();
        lab.await_socket(leader);
        await_all_answer(&lab);
    }
    assert!(led(&lab), "it never led");
    until("another leads", || (lab.leader() != unable).then_some(()));
    until("creates go on", || {
        (lab.ctl().run_with(&["create", "another", "-"], b"value").status == 0).then_some(())
    });
    let why = keys(&lab);
    let why = of(&why, unable)["root_key_waits_for"].as_str().unwrap().to_owned();
    assert!(why.contains("fetches the new root key, which failed"), "{why}");

    // Once it can, it takes the key, and the rotation ends.
    std::fs::remove_dir(&in_the_way).unwrap();
    let after = await_complete(&lab, 1);
    assert_only(&after, &after["root_key"]);
}

fn await_all_answer(lab: &Lab) {
    until("all answer", || {
        let ran = lab.ctl().run(&["--timeout", "5s", "cluster", "status", "--json"]);
        let status: Value = serde_json::from_str(&ran.stdout).ok()?;
        let mut members = status["members"].as_array()?.iter();
        members.all(|member| member["reachable"] == true).then_some(())
    });
}
