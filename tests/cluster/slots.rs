//! Slots of operators: a manager that a passphrase opens, and a way in that is never lost.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use seal::{LockedKeyFile, Passphrase, SlotKind, SlotParameters, SlotSecretKey};
use sys::file::Folder;
use tests::{Lab, until};

use crate::PROGRAMS;
use crate::locking::three;
use crate::rotation::{assert_under_none, await_complete, open_stolen, steal_keys};

const REFUSED: i32 = 1;
const PASSPHRASE: &str = "correct horse battery";

fn status(lab: &Lab, index: usize) -> serde_json::Value {
    let ran = lab.ctl_of(index).run(&["--timeout", "2s", "cluster", "status", "--json"]);
    serde_json::from_str(&ran.stdout).unwrap_or_default()
}

fn await_phase(lab: &Lab, index: usize, phase: &str) {
    until(&format!("manager {index} is {phase}"), || {
        let status = status(lab, index);
        let leads = phase != "serving" || status["leader"].is_u64();
        (status["phase"] == phase && leads).then_some(())
    });
}

fn restart_locked(lab: &mut Lab, index: usize) {
    lab.managers[index].daemon.stop();
    lab.managers[index].daemon.start_again();
    lab.await_socket(index);
    await_phase(lab, index, "locked");
}

fn locked() -> (Lab, String) {
    let mut lab = Lab::new(PROGRAMS);
    lab.start_manager(&[]);
    let made = lab.ctl_of(0).ok(&["cluster", "init", "--autolock", "--hostname", "m1"]);
    let mut words = made.split_whitespace();
    let key = words.find(|word| word.starts_with("SECKEY-1-")).unwrap().to_owned();
    (lab, key)
}

fn slots(lab: &Lab) -> Vec<serde_json::Value> {
    lab.ctl().json(&["cluster", "unlock-slot", "ls"]).as_array().unwrap().clone()
}

fn slot(lab: &Lab, kind: &str) -> serde_json::Value {
    slots(lab).into_iter().find(|slot| slot["kind"] == kind).expect("there is one")
}

/// What the key file on a manager's disk is sealed to.
fn sealed_to(lab: &Lab, index: usize) -> Vec<(SlotKind, String)> {
    let bytes = std::fs::read(lab.managers[index].data.join("keys")).unwrap();
    let file = LockedKeyFile::parse(&bytes).unwrap();
    file.recipients().iter().map(|slot| (slot.kind, slot.public.id().to_string())).collect()
}

/// The key that the passphrase gives, by what a key file says of its slot.
fn passphrase_slot(folder: &Path) -> SlotSecretKey {
    let file = LockedKeyFile::parse(&std::fs::read(folder.join("keys")).unwrap()).unwrap();
    let costs = file.recipients().iter().find_map(|slot| {
        match SlotParameters::parse(slot.kind, &slot.parameters) {
            Ok(SlotParameters::Passphrase(costs)) => Some(costs),
            _ => None,
        }
    });
    costs.unwrap().slot(&Passphrase::parse(PASSPHRASE.as_bytes()).unwrap()).unwrap()
}

fn add(lab: &Lab, passphrase: &str) -> String {
    let add = ["cluster", "unlock-slot", "add", "passphrase"];
    let id = lab.ctl().ok_with(&add, format!("{passphrase}\n").as_bytes()).trim().to_owned();
    assert!(sealed_to(lab, 0).contains(&(SlotKind::Passphrase, id.clone())), "it is waited for");
    id
}

#[test]
fn a_passphrase_opens_a_locked_manager_and_counts_as_working_from_then_on() {
    let (mut lab, key) = locked();
    lab.ctl().ok_with(&["create", "kept", "-"], b"value");
    let id = add(&lab, PASSPHRASE);
    let added = slot(&lab, "passphrase");
    assert_eq!((&added["works"], &added["opened_at"]), (&false.into(), &serde_json::Value::Null));
    assert_eq!(added["parameters"], "argon2id, 64 MiB, 3 passes, 1 lane");
    let problems = status(&lab, 0)["problems"].to_string();
    assert!(problems.contains(&format!("passphrase slot {id} was never opened")), "{problems}");

    restart_locked(&mut lab, 0);
    // What is wrong is said before anything is sent, and a slip in a key is told from a passphrase.
    let unlock = ["cluster", "unlock"];
    let said = lab.ctl().refused(REFUSED, &unlock, b"correct horse batterz");
    assert!(said.contains("does not open the slot") && said.contains(&id), "{said}");
    assert!(said.contains("nothing was sent"), "{said}");
    let (most, last) = key.split_at(key.len() - 1);
    let slip = format!("{most}{}", if last == "0" { '1' } else { '0' });
    let said = lab.ctl().refused(REFUSED, &unlock, slip.as_bytes());
    assert!(said.contains("typing slip"), "{said}");
    let foreign = seal::UnlockKey::make();
    let said = lab.ctl().refused(REFUSED, &unlock, foreign.expose().as_bytes());
    assert!(said.contains("this unlock key does not open this manager"), "{said}");
    await_phase(&lab, 0, "locked");

    lab.ctl().ok_with(&unlock, format!("{PASSPHRASE}\n").as_bytes());
    await_phase(&lab, 0, "serving");
    assert_eq!(status(&lab, 0)["members"][0]["unlocked_by"], "passphrase");
    assert_eq!(lab.ctl().json(&["ls"])[0]["name"], "kept");
    until("it counts as working", || (slot(&lab, "passphrase")["works"] == true).then_some(()));
    let problems = status(&lab, 0)["problems"].to_string();
    assert!(!problems.contains("was never opened"), "{problems}");

    // The unlock key is as good as before.
    restart_locked(&mut lab, 0);
    lab.ctl().ok_with(&unlock, format!("{key}\n").as_bytes());
    await_phase(&lab, 0, "serving");

    // Taken away, it opens nothing.
    lab.ctl().ok(&["cluster", "unlock-slot", "rm", id.split_at(8).0]);
    assert!(sealed_to(&lab, 0).iter().all(|(kind, _)| *kind == SlotKind::UnlockKey));
    restart_locked(&mut lab, 0);
    let said = lab.ctl().refused(REFUSED, &unlock, PASSPHRASE.as_bytes());
    assert!(said.contains("not an unlock key"), "{said}");
    lab.ctl().ok_with(&unlock, key.as_bytes());
    await_phase(&lab, 0, "serving");
}

#[test]
fn the_last_slot_that_works_is_not_removed_until_another_one_is_proved() {
    let (mut lab, key) = locked();
    let key_slot = slot(&lab, "unlock-key")["id"].as_str().unwrap().to_owned();
    assert_eq!(slot(&lab, "unlock-key")["works"], true, "it was shown");
    let rm = ["cluster", "unlock-slot", "rm", &key_slot];
    let said = lab.ctl().refused(REFUSED, &rm, b"");
    assert!(said.contains("nothing else opens the managers"), "{said}");
    let id = add(&lab, PASSPHRASE);
    let said = lab.ctl().refused(REFUSED, &rm, b"");
    assert!(said.contains("the last slot that counts as working stays"), "{said}");
    assert!(said.contains(&format!("never opened since it was added: passphrase {id}")), "{said}");

    let prove = ["cluster", "unlock-slot", "prove", &id];
    let said = lab.ctl().refused(REFUSED, &prove, b"correct horse batterz");
    assert!(said.contains("does not open the slot"), "{said}");
    let said = lab.ctl().refused(REFUSED, &prove, key.as_bytes());
    assert!(said.contains("this is the unlock key"), "{said}");
    assert_eq!(slot(&lab, "passphrase")["works"], false);
    lab.ctl().ok_with(&prove, PASSPHRASE.as_bytes());
    assert_eq!(slot(&lab, "passphrase")["works"], true);
    let audit = lab.ctl().json(&["cluster", "audit"]).to_string();
    assert!(audit.contains("prove_slot"), "{audit}");

    lab.ctl().ok(&rm);
    assert_eq!(sealed_to(&lab, 0), [(SlotKind::Passphrase, id.clone())]);
    let status_now = status(&lab, 0);
    assert_eq!(status_now["autolock"], true);
    assert!(status_now["unlock_key_id"].is_null(), "{status_now}");
    restart_locked(&mut lab, 0);
    let unlock = ["cluster", "unlock"];
    let said = lab.ctl().refused(REFUSED, &unlock, key.as_bytes());
    assert!(said.contains("no unlock key opens this manager"), "{said}");
    lab.ctl().ok_with(&unlock, PASSPHRASE.as_bytes());
    await_phase(&lab, 0, "serving");

    // An unlock key comes back beside it.
    let made = lab.ctl().ok(&["cluster", "unlock-key", "--rotate"]);
    assert!(made.contains("SECKEY-1-"), "{made}");
    assert_eq!(slots(&lab).len(), 2);
}

#[test]
fn shares_open_a_locked_manager_together_and_what_is_wrong_is_named() {
    let (mut lab, key) = locked();
    let add = ["cluster", "unlock-slot", "add", "shares", "--threshold", "2", "--shares", "3"];
    let made = lab.ctl().ok(&add);
    let shares: Vec<&str> = made.lines().collect();
    assert_eq!(shares.len(), 3, "{made}");
    assert!(shares.iter().all(|share| share.starts_with("SECSHARE-1-")), "{made}");
    let added = slot(&lab, "shares");
    assert_eq!(added["works"], false, "{added}");
    let id = added["id"].as_str().unwrap();
    let prove = ["cluster", "unlock-slot", "prove", id];
    let said = lab.ctl().refused(REFUSED, &prove, shares[0].as_bytes());
    assert!(said.contains("too few shares"), "{said}");
    lab.ctl().ok_with(&prove, format!("{}\n{}\n", shares[0], shares[2]).as_bytes());
    assert_eq!(slot(&lab, "shares")["works"], true);

    restart_locked(&mut lab, 0);
    let unlock = ["cluster", "unlock"];
    let entered = |lab: &Lab| status(lab, 0)["entered_shares"].clone();
    let ran = lab.ctl().run_with(&unlock, shares[1].as_bytes());
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.stderr.contains("share 2 is taken: 1 of 2 are there (2)"), "{ran:?}");
    assert_eq!(entered(&lab)[0]["numbers"], serde_json::json!([2]));
    assert_eq!(entered(&lab)[0]["slot_id"], id);
    let said = lab.ctl().refused(REFUSED, &unlock, shares[1].as_bytes());
    assert!(said.contains("share 2 was entered already"), "{said}");
    let foreign = seal::Split::make(2, 3).unwrap().shares.remove(2).expose();
    let said = lab.ctl().refused(REFUSED, &unlock, foreign.as_bytes());
    assert!(said.contains("share 3 is of split"), "{said}");
    await_phase(&lab, 0, "locked");
    lab.ctl().ok_with(&unlock, shares[2].as_bytes());
    await_phase(&lab, 0, "serving");
    assert_eq!(status(&lab, 0)["members"][0]["unlocked_by"], "shares");

    // Both at once; and a restart forgets what was entered before.
    restart_locked(&mut lab, 0);
    lab.ctl().ok_with(&unlock, shares[0].as_bytes());
    restart_locked(&mut lab, 0);
    assert_eq!(entered(&lab), serde_json::json!([]));
    lab.ctl().ok_with(&unlock, format!("{}\n{}\n", shares[2], shares[0]).as_bytes());
    await_phase(&lab, 0, "serving");
    restart_locked(&mut lab, 0);
    lab.ctl().ok_with(&unlock, key.as_bytes());
    await_phase(&lab, 0, "serving");
}

/// A program that prints a seed, as a KMS's or a TPM's would.
fn program(lab: &Lab, name: &str, does: &str) -> PathBuf {
    let folder = Folder::open(lab.path().canonicalize().unwrap()).unwrap();
    folder.replace(name, 0o700, format!("#!/bin/sh\n{does}\n").as_bytes()).unwrap();
    folder.path().join(name)
}

#[test]
fn a_command_opens_managers_without_anybody_once_it_was_tried_on_each() {
    let mut lab = three();
    let seed = seal::make_slot_seed();
    Folder::open(lab.path()).unwrap().replace("kept-elsewhere", 0o600, &**seed).unwrap();
    let print = format!("exec cat {}", lab.path().join("kept-elsewhere").display());
    let path = program(&lab, "seed", &print);
    let shown = path.to_str().unwrap();
    lab.ctl().ok(&["cluster", "update", "--autolock", "on"]);
    let add = ["cluster", "unlock-slot", "add", "command", shown, "--give-up-after", "5s"];
    let id = lab.ctl().ok_with(&add, &**seed).trim().to_owned();
    assert_eq!(slot(&lab, "command")["works"], false);

    // It fails: each manager says why, and the slot does not count.
    program(&lab, "seed", "echo 'no such key' >&2; exit 4");
    let prove = ["cluster", "unlock-slot", "prove", &id];
    let said = lab.ctl().refused(REFUSED, &prove, b"");
    assert_eq!(said.matches("failed (exit status: 4): no such key").count(), 3, "{said}");
    assert_eq!(slot(&lab, "command")["works"], false);
    program(&lab, "seed", &print);
    let ran = lab.ctl().run_with(&prove, b"");
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(ran.stderr.matches("it opens").count(), 3, "{ran:?}");
    assert_eq!(slot(&lab, "command")["works"], true);

    // A manager that starts opens by itself.
    lab.managers[2].daemon.stop();
    lab.managers[2].daemon.start_again();
    lab.await_socket(2);
    await_phase(&lab, 2, "serving");
    until("it said what opened it", || {
        let members = status(&lab, 2)["members"].clone();
        let opened = members.as_array()?.iter().find(|one| one["hostname"] == "m3")?;
        (opened["unlocked_by"] == "command").then_some(())
    });

    // It waits where it fails, says so, and tries again.
    program(&lab, "seed", "exit 5");
    restart_locked(&mut lab, 2);
    until("it says why its command fails", || {
        let status = status(&lab, 2);
        let reason = status["failed_commands"][0]["reason"].as_str()?;
        reason.contains("exit status: 5").then_some(())
    });
    program(&lab, "seed", &print);
    await_phase(&lab, 2, "serving");

    // What others could have changed is not run.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    restart_locked(&mut lab, 2);
    until("it says that others could change it", || {
        let status = status(&lab, 2);
        let reason = status["failed_commands"][0]["reason"].as_str()?;
        reason.contains("others could change what runs").then_some(())
    });
}

/// Adds a slot while a manager is down, and takes it away while another one is.
#[test]
fn managers_that_were_down_follow_when_they_start_and_are_named_until_then() {
    let mut lab = three();
    let made = lab.ctl().ok(&["cluster", "update", "--autolock", "on"]);
    let key = made.split_whitespace().find(|word| word.starts_with("SECKEY-1-")).unwrap();
    let start = |lab: &mut Lab, opens_with: &str| {
        lab.managers[2].daemon.start_again();
        lab.await_socket(2);
        await_phase(lab, 2, "locked");
        lab.ctl_of(2).ok_with(&["cluster", "unlock"], opens_with.as_bytes());
        await_phase(lab, 2, "serving");
    };
    let has_slot = |lab: &Lab, id: &str| sealed_to(lab, 2).iter().any(|(_, slot)| slot == id);

    lab.managers[2].daemon.stop();
    let add = ["cluster", "unlock-slot", "add", "passphrase"];
    let ran = lab.ctl().run_with(&add, PASSPHRASE.as_bytes());
    assert!(ran.stderr.contains("manager 3") || ran.stderr.contains("was down"), "{ran:?}");
    let id = ran.stdout.trim().to_owned();
    lab.ctl().ok_with(&["cluster", "unlock-slot", "prove", &id], PASSPHRASE.as_bytes());
    assert!(!has_slot(&lab, &id), "it is down");
    // Which key it needs stands beside the unlock key, so that one stays.
    let key_slot = slot(&lab, "unlock-key")["id"].as_str().unwrap().to_owned();
    let said = lab.ctl().refused(REFUSED, &["cluster", "unlock-slot", "rm", &key_slot], b"");
    assert!(said.contains("the unlock key is still needed"), "{said}");
    assert!(said.contains("has not followed the last change"), "{said}");
    start(&mut lab, key);
    until("it has followed", || has_slot(&lab, &id).then_some(()));

    let stolen = steal_keys(&lab, "stolen");
    lab.managers[2].daemon.stop();
    let ran = lab.ctl().run_with(&["cluster", "unlock-slot", "rm", &id], b"");
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.stderr.contains(&format!("slot {id} still opens it")), "{ran:?}");
    assert!(ran.stderr.contains("waits for manager"), "{ran:?}");
    assert!(has_slot(&lab, &id));
    start(&mut lab, PASSPHRASE);
    until("it has followed", || (!has_slot(&lab, &id)).then_some(()));
    await_complete(&lab, 2);
    for index in [0, 2] {
        lab.managers[index].daemon.stop();
        let stolen = stolen.join(index.to_string());
        let ids = open_stolen(&stolen, &passphrase_slot(&stolen));
        assert_under_none(&lab.managers[index].data, &ids);
    }
}

#[test]
fn a_weak_passphrase_is_refused_and_a_generated_one_opens() {
    let (mut lab, _) = locked();
    let add = ["cluster", "unlock-slot", "add", "passphrase"];
    let said = lab.ctl().refused(REFUSED, &add, b"thirteen chrs");
    assert!(said.contains("14 are needed") && said.contains("--generate"), "{said}");
    assert_eq!(slots(&lab).len(), 1);
    let made = lab.ctl().ok(&[&add[..], &["--generate"]].concat());
    let made = made.trim();
    assert_eq!(made.len(), 35, "{made}");
    restart_locked(&mut lab, 0);
    lab.ctl().ok_with(&["cluster", "unlock"], made.as_bytes());
    await_phase(&lab, 0, "serving");
    // Nothing that was typed or shown is on the disk or in the log.
    for entry in std::fs::read_dir(&lab.managers[0].data).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(memchr::memmem::find(&bytes, made.as_bytes()).is_none(), "{path:?}");
        }
    }
}

#[test]
fn only_admins_see_and_change_slots() {
    let lab = Lab::with_managers(PROGRAMS, 1);
    for role in ["deployer", "writer", "auditor"] {
        let token = lab.ctl().ok(&["operator", "add", role, "--role", role]);
        let home = lab.path().join(role);
        std::fs::create_dir(&home).unwrap();
        let ctl = lab.ctl().at_home(&home);
        let address = lab.address();
        let context = ["context", "add", "here", "--token", "-", "--manager", &address];
        ctl.ok_with(&context, token.lines().next().unwrap().as_bytes());
        let ctl = ctl.with_context("here");
        let said = ctl.refused(REFUSED, &["cluster", "unlock-slot", "ls"], b"");
        assert!(said.contains("does not allow list_slots"), "{said}");
        let status = ctl.json(&["cluster", "status"]);
        assert_eq!(status["slots"][0]["kind"], "file", "{status}");
        assert!(!status["slots"].to_string().contains("public_key"), "{status}");
    }
}
