//! Crypto-shredding on real managers: what is shredded opens with no current key, on no disk.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use proto::id::{KeyId, SecretId};
use serde_json::Value;
use tests::{Lab, until};

use crate::PROGRAMS;
use crate::disk::{Loot, rob};
use crate::rotation::{await_complete, await_voters, keys, of};

/// More than one bucket of padding, so that nothing is like it by chance.
const IN_SNAPSHOT: &[u8] = b"canary in a snapshot: Zurich 1291 / 6f1c0be1a7d24b27";
const IN_LOG: &[u8] = b"canary in the log: Helvetia 1848 / 1d9e7c5203ab48f6";

/// What is looked for.
struct Prey {
    secrets: Vec<SecretId>,
    /// The transit key they came under.
    transit: Vec<KeyId>,
}

fn transit_key(lab: &Lab) -> KeyId {
    let id = keys(lab)["transit_key"].as_str().unwrap().to_owned();
    KeyId::from_bytes(proto::hex::decode::<16>(&id).unwrap())
}

fn create(lab: &Lab, name: &str, value: &[u8]) -> SecretId {
    lab.ctl().ok_with(&["create", name, "-"], value).trim().parse().unwrap()
}

/// A manager's files, copied while it runs, and what opens of them with the keys it has now.
fn image(lab: &Lab, index: usize, name: &str, prey: &Prey) -> Loot {
    let copy = lab.path().join(format!("{name}-{index}"));
    let data: &PathBuf = &lab.managers[index].data;
    let status = lab.ctl().json(&["cluster", "status"]);
    let last = status["applied_index"].as_u64().unwrap() + 100;
    // What is caught half written, or replaced meanwhile, is copied again.
    until("a copy in which all that is under the manager's keys opens", || {
        std::fs::remove_dir_all(&copy).ok();
        let copied = Command::new("cp").arg("-a").arg(data).arg(&copy).output().unwrap();
        let loot =
            copied.status.success().then(|| rob(&copy, &prey.secrets, &prey.transit, last))?;
        loot.strange.is_empty().then_some(loot)
    })
}

fn removed(lab: &Lab) -> Vec<Value> {
    lab.ctl().json(&["ls", "--removed"]).as_array().unwrap().clone()
}

fn members(waiting: &Value, key: &str) -> BTreeSet<u64> {
    let all = waiting[key].as_array().unwrap().iter();
    all.map(|it| it["member"].as_u64().unwrap()).collect()
}

fn assert_recovers_all(loot: &Loot, prey: &Prey, whose: &str) {
    for value in [IN_SNAPSHOT, IN_LOG] {
        assert!(loot.values.contains_key(value), "{whose}: the search misses what is there");
    }
    assert!(prey.transit.iter().all(|id| loot.transit.contains(id)), "{whose}: its transit key");
}

/// Nothing opens of what was removed, and not for want of trying.
fn assert_recovers_nothing(loot: &Loot, whose: &str) {
    assert!(loot.records > 0 && loot.chunks > 0, "{whose}: {} records", loot.records);
    let found: Vec<_> = loot.values.keys().map(|value| String::from_utf8_lossy(value)).collect();
    assert!(found.is_empty(), "{whose}: {found:?}");
    assert!(loot.transit.is_empty(), "{whose}: the transit key");
}

#[test]
fn what_is_shredded_opens_with_no_key_that_any_manager_has() {
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    await_voters(&lab);
    let first = create(&lab, "in-snapshot", IN_SNAPSHOT);
    // A snapshot on every manager holds the first; the log alone the second.
    lab.ctl().ok(&["cluster", "rotate", "log-key"]);
    let second = create(&lab, "in-log", IN_LOG);
    let prey = Prey { secrets: vec![first, second], transit: vec![transit_key(&lab)] };
    // At a start sled takes over what the journal has.
    for index in 0..3 {
        lab.managers[index].daemon.kill();
        lab.managers[index].daemon.start_again();
        lab.await_socket(index);
        await_voters(&lab);
    }
    for index in 0..3 {
        let loot = until("a thief with all keys has both", || {
            // Followers write at their own pace.
            let loot = image(&lab, index, "before", &prey);
            (loot.values.len() == 2).then_some(loot)
        });
        assert_recovers_all(&loot, &prey, &format!("m{}", index + 1));
        assert!(loot.values[IN_SNAPSHOT].iter().any(|file| file.starts_with("snapshot-")));
        assert!(loot.values[IN_LOG].contains("db"), "{:?}", loot.values[IN_LOG]);
    }

    // One is down: it is waited for, and named.
    let down = (lab.leader() + 1) % 3;
    lab.managers[down].daemon.kill();
    lab.ctl().ok(&["rm", "--shred", "--no-wait", "in-snapshot", "in-log"]);
    let down_id = of(&keys(&lab), down)["member"].as_u64().unwrap();
    let waiting = until("only the one that is down is waited for", || {
        let removed = removed(&lab);
        let waits = |it: &Value| {
            it["needs"]["begun"] == true
                && it["needs"]["transit_keys"].as_array().is_some_and(Vec::is_empty)
                && members(&it["needs"], "waits_for") == BTreeSet::from([down_id])
        };
        removed.iter().all(waits).then_some(removed)
    });
    assert!(waiting.iter().all(|it| it["state"] == "shredding"), "{waiting:?}");
    assert_eq!(keys(&lab)["shredding"], 2);
    let problems = lab.ctl().json(&["cluster", "status"])["problems"].clone();
    let text = format!("2 removed secrets are shredding until manager {down_id} (m{})", down + 1);
    assert!(problems.to_string().contains(&text), "{problems}");
    let gone = lab.ctl().run(&["inspect", "in-log"]);
    assert_eq!(gone.status, 1);
    assert!(gone.stderr.contains("it was removed, and is shredding"), "{gone:?}");
    for index in (0..3).filter(|index| *index != down) {
        let loot = image(&lab, index, "gave-word", &prey);
        assert_recovers_nothing(&loot, &format!("m{}, which gave word", index + 1));
    }
    let loot = image(&lab, down, "down", &prey);
    assert_recovers_all(&loot, &prey, "the one that is down");

    // It starts, and gives word. What was removed before can be watched.
    lab.managers[down].daemon.start_again();
    lab.await_socket(down);
    let ran = lab.ctl().run(&["rm", "--shred", "in-log"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (0, "in-log\n"), "{ran:?}");
    assert!(ran.stderr.contains("in-log is shredded, by the word of managers"), "{ran:?}");
    let all: BTreeSet<u64> =
        lab.members().iter().map(|member| member["id"].as_u64().unwrap()).collect();
    for it in removed(&lab) {
        assert_eq!((&it["state"], &it["needs"]), (&"shredded".into(), &Value::Null), "{it}");
        assert_eq!(members(&it, "words"), all, "{it}");
        assert_eq!(it["without_proof"], Value::Array(vec![]));
    }
    for index in 0..3 {
        let loot = image(&lab, index, "after", &prey);
        assert_recovers_nothing(&loot, &format!("m{}", index + 1));
    }
    assert_ne!(transit_key(&lab), prey.transit[0]);
    // Life goes on: the name is free, and what is there is found.
    let third = create(&lab, "in-log", IN_LOG);
    let prey = Prey { secrets: vec![third], transit: vec![transit_key(&lab)] };
    let loot = image(&lab, lab.leader(), "next", &prey);
    assert!(loot.values.contains_key(IN_LOG), "the search still finds what is there");
    assert!(loot.transit.contains(&prey.transit[0]));
}

/// It is sent the log, or a snapshot, of one that may have it.
#[test]
fn who_joins_before_the_last_word_gives_word_too() {
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    await_voters(&lab);
    let secret = create(&lab, "gone", IN_LOG);
    let prey = Prey { secrets: vec![secret], transit: vec![transit_key(&lab)] };
    let down = (lab.leader() + 1) % 3;
    lab.managers[down].daemon.kill();
    lab.ctl().ok(&["rm", "--shred", "--no-wait", "gone"]);
    until("the rotation has begun", || (removed(&lab)[0]["needs"]["begun"] == true).then_some(()));
    let late = lab.join();
    let member = until("it has given word", || {
        let keys = keys(&lab);
        let of_late = of(&keys, late);
        (of_late["rotation"] == 1 && of_late["reachable"] == true).then(|| of_late.clone())
    });
    let log = lab.managers[late].daemon.log();
    assert!(log.contains("log_key_rotated"), "it made a key for the rotation: {log}");
    assert_eq!(member["held"]["log_keys"].as_array().unwrap().len(), 1, "{member}");
    assert_eq!(member["recorded_log_key"], member["held"]["active_log_key"], "{member}");
    assert_recovers_nothing(&image(&lab, late, "late", &prey), "who joined");
    assert_eq!(removed(&lab)[0]["state"], "shredding");
    lab.managers[down].daemon.start_again();
    lab.await_socket(down);
    let done = until("it is shredded", || {
        let removed = removed(&lab).remove(0);
        (removed["state"] == "shredded").then_some(removed)
    });
    let late_id = member["member"].as_u64().unwrap();
    let words = members(&done, "words");
    assert!(words.contains(&late_id) && words.len() == 4, "{done}");
}

#[test]
fn a_rotation_of_any_kind_completes_what_was_removed_before_it() {
    let lab = Lab::with_managers(PROGRAMS, 1);
    create(&lab, "gone", b"value");
    let ran = lab.ctl().run(&["rm", "gone"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (0, "gone\n"));
    assert!(ran.stderr.contains("secretctl ls --removed"), "{ran:?}");
    lab.ctl().ok(&["cluster", "rotate", "log-key"]);
    await_complete(&lab, 1);
    let it = removed(&lab).remove(0);
    assert_eq!(it["state"], "shredding", "its transit key is in use: {it}");
    assert_eq!(it["needs"]["transit_keys"].as_array().unwrap().len(), 1);
    // Wanted now, it takes another one.
    lab.ctl().ok(&["rm", "--shred", "gone"]);
    await_complete(&lab, 2);
    let it = removed(&lab).remove(0);
    assert_eq!(
        (&it["state"], &it["words"][0]["log_key_rotation"]),
        (&"shredded".into(), &2.into())
    );
    let gone = lab.ctl().run(&["inspect", "gone"]);
    assert!(gone.stderr.contains("every manager gave word that it is gone"), "{gone:?}");
}
