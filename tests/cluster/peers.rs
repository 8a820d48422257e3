//! Managers that unlock one another: who gets in with nobody there, and which disks do not.

use std::path::{Path, PathBuf};
use std::process::Command;

use seal::{LockedKeyFile, SlotKind};
use serde_json::Value;
use tests::{Lab, until};

use crate::locking::{await_locked, key_in, three, unlock};

/// Exit status of a refusal.
const REFUSED: i32 = 1;

/// Three managers that lock, and what opens them.
pub(crate) fn locking(policy: &str) -> (Lab, String) {
    let lab = three();
    let ctl = lab.ctl();
    let key = key_in(&ctl.ok(&["cluster", "update", "--autolock", "on"]));
    ctl.ok(&["cluster", "update", "--peers", policy]);
    for index in 0..3 {
        await_turned(&lab, index, None);
    }
    (lab, key)
}

fn name(index: usize) -> String {
    format!("m{}", index + 1)
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// The generation of the slot that peers help to open, by the key file; none if it has none.
fn generation(data: &Path) -> Option<Vec<u8>> {
    let bytes = std::fs::read(data.join("keys")).unwrap();
    let file = LockedKeyFile::parse(&bytes).unwrap();
    let slot = file.recipients().iter().find(|slot| slot.kind == SlotKind::Peers)?;
    Some(slot.parameters.clone())
}

/// Waits until a manager has turned from a generation to another, and all know of it.
fn await_turned(lab: &Lab, index: usize, from: Option<&Vec<u8>>) -> Vec<u8> {
    until(&format!("{} has turned", name(index)), || {
        let now = generation(&lab.managers[index].data)?;
        let log = lab.managers[index].daemon.log();
        let said = log.matches("peers_slot_made_anew").count();
        let starts = log.matches("manager_serving").count();
        (from != Some(&now) && said >= 1 && said + 1 >= starts).then_some(now)
    })
}

fn kill_and_start(lab: &mut Lab, index: usize) {
    lab.managers[index].daemon.kill();
    lab.managers[index].daemon.start_again();
    lab.await_socket(index);
}

fn await_unlocked_by(lab: &Lab, index: usize, slot: &str) {
    until(&format!("{} is unlocked by {slot}", name(index)), || {
        let status = lab.ctl_of(index).run(&["--timeout", "2s", "cluster", "status", "--json"]);
        let status: Value = serde_json::from_str(&status.stdout).ok()?;
        let mut members = status["members"].as_array()?.iter();
        let found = members.find(|m| m["hostname"] == *name(index))?;
        (found["unlocked_by"] == slot && found["reachable"] == true).then_some(())
    });
}

/// A manager on a copy of a data folder, at an address of its own.
fn start_on(lab: &mut Lab, copied: &Path) -> usize {
    let data = copied.display().to_string();
    lab.start_manager(&["--data", &data, "--listen", "127.0.0.2:0"])
}

/// Why a locked manager's peers did not open it, once that has the word.
fn await_refusal(lab: &Lab, index: usize, word: &str) -> String {
    until(&format!("a refusal with `{word}`"), || {
        let status = await_locked(lab, index);
        let refusal = status["peers_refusal"].as_str()?;
        refusal.contains(word).then(|| refusal.to_owned())
    })
}

fn await_alarm(lab: &Lab, reason: &str) -> Value {
    until(&format!("an alarm, {reason}"), || {
        let alarms = lab.ctl().json(&["cluster", "alarm", "ls"]);
        alarms.as_array().unwrap().iter().find(|alarm| alarm["reason"] == reason).cloned()
    })
}

/// A copy of a manager's whole disk as it is, the boot file included.
fn steal(lab: &Lab, index: usize, to: &str) -> PathBuf {
    let stolen = lab.path().join(to);
    copy(&lab.managers[index].data, &stolen);
    stolen
}

fn create(lab: &Lab, secret: &str) {
    lab.ctl().ok_with(&["create", secret, "-"], b"value");
}

/// A manager that was killed serves again with nobody there, the one that led as well; older copies
/// of its disk, copies of the present one while it runs, and all disks together open nothing.
#[test]
fn a_killed_manager_is_unlocked_by_its_peers_and_copies_of_its_disk_are_not() {
    let (mut lab, _key) = locking("auto");
    create(&lab, "before");
    let leader = lab.leader();
    let old: Vec<_> = (0..3).map(|index| steal(&lab, index, &format!("old{index}"))).collect();
    for index in [leader, (leader + 1) % 3] {
        let held = generation(&lab.managers[index].data);
        kill_and_start(&mut lab, index);
        await_unlocked_by(&lab, index, "peers");
        await_turned(&lab, index, held.as_ref());
        create(&lab, &format!("after-{index}"));
    }
    let status = lab.ctl().json(&["cluster", "status"]);
    assert_eq!(status["peers"]["policy"], "auto");
    assert_eq!(status["peers"]["alarms"], serde_json::json!([]), "all were true managers");

    // The disk as it was before the manager turned.
    let copied = start_on(&mut lab, &old[leader]);
    await_refusal(&lab, copied, "stale");
    let alarm = await_alarm(&lab, "stale");
    assert!(alarm["from"].as_str().unwrap().starts_with("127.0.0."), "{alarm}");
    lab.managers[copied].daemon.kill();
    let text = lab.ctl().ok(&["cluster", "status"]);
    assert!(text.contains("asked to be unlocked that is not its last one"), "{text}");
    let number = alarm["member"].to_string();
    lab.ctl().ok(&["cluster", "alarm", "clear", &number]);
    assert_eq!(lab.ctl().json(&["cluster", "alarm", "ls"]), serde_json::json!([]));
    lab.ctl().refused(REFUSED, &["cluster", "alarm", "clear", &number], b"");

    // The disk as it is, while the manager runs.
    let present = steal(&lab, leader, "present");
    let copied = start_on(&mut lab, &present);
    await_refusal(&lab, copied, "alive");
    await_alarm(&lab, "alive");
    assert!(await_locked(&lab, copied)["slots"].as_array().unwrap().contains(&"peers".into()));
    lab.managers[copied].daemon.kill();

    // All disks in a thief's house: the managers that were would answer, and are not there.
    for index in 0..3 {
        lab.managers[index].daemon.kill();
    }
    for index in 0..3 {
        lab.managers[index].daemon.start_again();
        lab.await_socket(index);
    }
    for index in 0..3 {
        await_refusal(&lab, index, ":");
        assert_eq!(await_locked(&lab, index)["phase"], "locked");
    }
}

/// Whoever removes a manager in time has nothing to fear of its disk, and it is said why.
#[test]
fn a_manager_that_was_removed_stays_locked_and_says_why() {
    let (mut lab, _key) = locking("auto");
    let gone = (lab.leader() + 1) % 3;
    lab.managers[gone].daemon.kill();
    let stays = (gone + 1) % 3;
    lab.ctl_of(stays).ok(&["cluster", "member", "rm", &name(gone)]);
    lab.managers[gone].daemon.start_again();
    lab.await_socket(gone);
    let refusal = await_refusal(&lab, gone, "evicted");
    assert!(refusal.contains("was removed from the cluster"), "{refusal}");
    let local = lab.ctl_of(gone).run(&["cluster", "status"]).stdout;
    assert!(local.contains("evicted: it was removed from the cluster"), "{local}");
    let alarms = until("the alarm", || {
        let alarms = lab.ctl_of(stays).json(&["cluster", "alarm", "ls"]);
        (alarms[0]["reason"] == "evicted").then_some(alarms)
    });
    assert_eq!(alarms.as_array().unwrap().len(), 1);
    let text = lab.ctl_of(stays).ok(&["cluster", "status"]);
    assert!(text.contains("(removed) asked to be unlocked"), "{text}");
}

/// Under `approve` nothing is given without an operator, once for each time.
#[test]
fn an_operator_consents_to_each_release() {
    let (mut lab, _key) = locking("approve");
    let index = (lab.leader() + 1) % 3;
    let asks = lab.ctl_of((index + 1) % 3);
    let said =
        asks.refused(REFUSED, &["cluster", "approve", &name(index), "--from", "127.0.0.1"], b"");
    assert!(said.contains("does not wait for consent"), "{said}");
    for _ in 0..2 {
        kill_and_start(&mut lab, index);
        await_refusal(&lab, index, "to be approved");
        let status = asks.json(&["cluster", "status"]);
        let pending = &status["peers"]["pending"];
        assert_eq!(pending.as_array().unwrap().len(), 1, "{pending}");
        assert!(pending[0]["from"].as_str().unwrap().starts_with("127.0.0.1:"), "{pending}");
        let text = asks.ok(&["cluster", "status"]);
        assert!(text.contains("waits to be unlocked; it asks from 127.0.0.1:"), "{text}");
        assert!(text.contains("--from 127.0.0.1`"), "{text}");
        asks.ok(&["cluster", "approve", &name(index), "--from", "127.0.0.1"]);
        await_unlocked_by(&lab, index, "peers");
        until("it has turned", || {
            let log = lab.managers[index].daemon.log();
            let (_, since) = log.rsplit_once("manager_serving").unwrap();
            since.contains("peers_slot_made_anew").then_some(())
        });
        assert_eq!(asks.json(&["cluster", "status"])["peers"]["pending"], serde_json::json!([]));
    }
    // Nobody is asked whether a manager that runs may be unlocked.
    let copied = steal(&lab, index, "copied");
    start_on(&mut lab, &copied);
    await_alarm(&lab, "alive");
    let asks = lab.ctl_of((index + 1) % 3);
    assert_eq!(asks.json(&["cluster", "status"])["peers"]["pending"], serde_json::json!([]));
    let approve = ["cluster", "approve", &name(index), "--from", "127.0.0.1"];
    let said = asks.refused(REFUSED, &approve, b"");
    assert!(said.contains("does not wait for consent"), "{said}");
}

/// A disk that does not take the boot file holds up the turn, which goes on where it stopped.
#[test]
fn a_boot_file_that_cannot_be_written_costs_one_entry_of_the_log() {
    let (mut lab, key) = locking("auto");
    let index = 1;
    let held = generation(&lab.managers[index].data);
    let turns = |lab: &Lab| {
        let audit = lab.ctl_of(0).json(&["cluster", "audit", "--limit", "100000"]);
        let records = audit.as_array().unwrap().iter();
        records.filter(|one| one["action"] == "stage_boot" && one["outcome"] == "ok").count()
    };
    let before = turns(&lab);
    lab.managers[index].daemon.kill();
    let place = lab.managers[index].data.join("boot");
    std::fs::remove_file(&place).unwrap();
    std::fs::create_dir(&place).unwrap();
    lab.managers[index].daemon.start_again();
    lab.await_socket(index);
    await_locked(&lab, index);
    unlock(&lab, index, &key);
    until("the turn failed", || {
        lab.managers[index].daemon.log().contains("peers_slot_not_made_anew").then_some(())
    });
    assert_eq!(generation(&lab.managers[index].data), held);
    std::fs::remove_dir(&place).unwrap();
    await_turned(&lab, index, held.as_ref());
    assert_eq!(turns(&lab), before + 1);
    kill_and_start(&mut lab, index);
    await_unlocked_by(&lab, index, "peers");
}

/// Off is not a pause: what was sealed so far opens nothing, also when the policy changes again.
#[test]
fn without_peers_a_manager_needs_its_key_again() {
    let (mut lab, key) = locking("auto");
    let old = steal(&lab, 1, "old");
    lab.ctl().ok(&["cluster", "update", "--peers", "off"]);
    for index in 0..3 {
        until("the slot and the boot file are gone", || {
            let data = &lab.managers[index].data;
            (generation(data).is_none() && !data.join("boot").exists()).then_some(())
        });
    }
    kill_and_start(&mut lab, 1);
    let status = await_locked(&lab, 1);
    assert_eq!(status["slots"], serde_json::json!(["unlock-key"]));
    unlock(&lab, 1, &key);
    await_unlocked_by(&lab, 1, "unlock-key");

    lab.ctl().ok(&["cluster", "update", "--peers", "auto"]);
    for index in 0..3 {
        until("it has turned again", || generation(&lab.managers[index].data));
    }
    let copied = start_on(&mut lab, &old);
    await_refusal(&lab, copied, "stale");
}

/// The price of `auto`: a disk with its boot file is let in while its owner is away. It is noticed
/// when the owner comes back, by the owner itself.
#[test]
fn a_copy_that_was_let_in_is_noticed_when_its_owner_comes_back() {
    let (mut lab, _key) = locking("auto");
    let index = (lab.leader() + 1) % 3;
    let present = steal(&lab, index, "present");
    lab.managers[index].daemon.signal("STOP");
    let copied = start_on(&mut lab, &present);
    until("the copy is let in", || {
        lab.managers[copied].daemon.log().contains("key_file_unlocked").then_some(())
    });
    lab.managers[copied].daemon.kill();
    lab.managers[index].daemon.signal("CONT");
    let status = lab.managers[index].daemon.wait();
    assert!(!status.success());
    let log = lab.managers[index].daemon.log();
    assert!(log.contains("another disk of this manager was unlocked by its peers"), "{log}");
    let other = lab.ctl_of((index + 1) % 3);
    let alarm = until("the alarm", || {
        let alarms = other.json(&["cluster", "alarm", "ls"]);
        alarms.as_array()?.iter().find(|alarm| alarm["reason"] == "let-in").cloned()
    });
    assert!(alarm["member"].is_u64());
    let text = other.ok(&["cluster", "status"]);
    assert!(text.contains("a copy has all keys"), "{text}");
}

/// Peers open a disk as it is sealed now; the list of slots may change as it likes.
#[test]
fn the_slot_outlives_changes_of_the_locking_and_of_root_keys() {
    let (mut lab, _key) = locking("auto");
    let index = (lab.leader() + 1) % 3;
    lab.managers[index].daemon.kill();
    let held = generation(&lab.managers[index].data);
    let ctl = lab.ctl_of((index + 1) % 3);
    ctl.ok(&["cluster", "rotate", "root-key", "--no-wait"]);
    lab.managers[index].daemon.start_again();
    lab.await_socket(index);
    await_unlocked_by(&lab, index, "peers");
    until("the root key's rotation is complete", || {
        let keys = ctl.json(&["cluster", "keys"]);
        (keys["root_key_rotation"]["complete"] == true).then_some(())
    });
    let before = await_turned(&lab, index, held.as_ref());
    ctl.ok(&["cluster", "unlock-key", "--rotate"]);
    assert_eq!(generation(&lab.managers[index].data).as_ref(), Some(&before), "it is its own");
    kill_and_start(&mut lab, index);
    await_unlocked_by(&lab, index, "peers");

    // A boot key is certified by the CA that there is: managers turn before the old one is dropped.
    let before = await_turned(&lab, index, Some(&before));
    ctl.ok(&["cluster", "rotate", "ca"]);
    assert_ne!(generation(&lab.managers[index].data), Some(before), "it turned");
    kill_and_start(&mut lab, index);
    await_unlocked_by(&lab, index, "peers");
}

/// A boot file under a key that lies elsewhere, in a TPM say, is of no use without that.
#[test]
fn a_sealed_boot_file_needs_its_key() {
    let (mut lab, _key) = locking("auto");
    let index = (lab.leader() + 1) % 3;
    let key = lab.file("boot-key", &[7; 32]);
    let held = generation(&lab.managers[index].data);
    let option = ["--boot-file-key".to_owned(), key.display().to_string()];
    lab.managers[index].daemon.arguments().extend(option);
    kill_and_start(&mut lab, index);
    await_unlocked_by(&lab, index, "peers");
    await_turned(&lab, index, held.as_ref());
    until("the boot file is sealed", || {
        let file = std::fs::read(lab.managers[index].data.join("boot")).unwrap();
        seal::BootFile::is_sealed(&file).then_some(())
    });
    // A thief has the disk, and not what the key is in.
    let folder = sys::file::Folder::open(lab.path()).unwrap();
    folder.rename("boot-key", "in-the-tpm").unwrap();
    kill_and_start(&mut lab, index);
    await_refusal(&lab, index, "boot-key");
    folder.rename("in-the-tpm", "boot-key").unwrap();
    await_unlocked_by(&lab, index, "peers");
}
