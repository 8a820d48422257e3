//! What Docker Swarm's own tests ask of locking and unlocking, row by row.
//!
//! | Swarm's test | Swarm | here | test |
//! | --- | --- | --- | --- |
//! | `manager_test.go` ManagerLockUnlock | locking encrypts the key file and replaces the data key of the log, once; unlocking leaves key and data key in clear | the key file is encrypted always, locked or not: what changes is what opens it; log keys are replaced by locking, by unlocking and with each new unlock key, the old ones destroyed, and what was stored before is read under the new ones | `locking::autolock_is_turned_on_and_off_while_it_serves`, `locking::a_new_unlock_key_comes_with_new_log_keys_and_the_old_ones_open_nothing_new` |
//! | `integration_test.go` AutolockManagers | on gives a key, rotating another, off none; managers start again with the key | the same; the key is shown once, made by the client, and is nowhere in the cluster | `locking::autolock_is_turned_on_and_off_while_it_serves`, `locking::a_manager_that_was_down_is_named_follows_once_it_starts_and_the_old_key_is_done` |
//! | `docker_cli_swarm_test.go` UnlockEngineAndUnlockedSwarm | texts where there is no swarm, and where it is not locked | the same, each with what to do next | [`commands_say_that_there_is_no_cluster_or_no_lock`] |
//! | SwarmInitLocked | a wrong key is `invalid key`; the right one opens; after unlocking it starts by itself | the same; a slip, an older key and another cluster's are told apart | `locking::a_locked_manager_waits_for_its_key_and_then_serves_all_it_had`, `locking::autolock_is_turned_on_and_off_while_it_serves` |
//! | SwarmLeaveLocked | a locked manager leaves by force only, and may begin anew | the same | [`the_only_manager_leaves_by_force_when_it_is_locked_and_founds_another_cluster`] |
//! | LockUnlockCluster | who was down during locking starts unlocked and catches up, and the other way round; who joins later is not locked | the same, and the manager that was down is named until it has followed | `locking::a_manager_that_was_down_is_named_follows_once_it_starts_and_the_old_key_is_done`, [`who_was_down_while_locking_was_turned_off_needs_its_key_once_and_who_joins_later_none`] |
//! | JoinPromoteLocked | workers are never locked; who joins as a manager, or becomes one, is; who is none any more is not | an agent has no key file; a manager that joins is sealed to the list from the start; one that left has no key file | [`an_agent_is_never_locked_and_a_manager_that_left_is_not_any_more`], `locking::a_manager_that_joins_is_locked_from_the_start_and_a_locked_one_leaves_by_force` |
//! | RotateUnlockKey, ClusterRotateUnlockKey | after each of three rotations the old key is refused by all managers; a manager may take the old one for a while | the same without that while: when the command says `done` the old key opens none | [`after_each_of_three_rotations_every_manager_refuses_the_key_of_before`] |
//! | AlternateLockUnlock | locking on and off twice in one life of the process | the same | [`locking_is_turned_on_and_off_twice_in_one_life_of_a_manager`] |

use seal::UnlockKey;
use tests::{Lab, until};

use crate::PROGRAMS;
use crate::locking::{await_locked, id, key_in, opens, start, three, unlock};
use crate::rotation::await_voters;

/// Exit status of a refusal.
const REFUSED: i32 = 1;

fn stop(lab: &mut Lab, index: usize) {
    lab.managers[index].daemon.stop();
}

/// Waits until it serves, by itself.
fn await_serving(lab: &Lab, index: usize) {
    until(&format!("manager {index} serves"), || {
        let ran = lab.ctl_of(index).run(&["--timeout", "2s", "cluster", "status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&ran.stdout).ok()?;
        (status["phase"] == "serving" && status["leader"].is_u64()).then_some(())
    });
}

/// Waits until every member's key file is sealed to the list of now.
fn await_followed(lab: &Lab) {
    until("all have followed", || {
        let status = lab.ctl().json(&["cluster", "status"]);
        let generation = &status["recipients_generation"];
        let mut members = status["members"].as_array()?.iter();
        members.all(|member| &member["key_file_generation"] == generation).then_some(())
    });
}

#[test]
fn commands_say_that_there_is_no_cluster_or_no_lock() {
    let mut lab = Lab::new(PROGRAMS);
    lab.start_manager(&[]);
    let key = UnlockKey::make();
    let key = key.expose();
    let told = |lab: &Lab, arguments: &[&str], what: &str, next: &str| {
        let said = lab.ctl_of(0).refused(REFUSED, arguments, key.as_bytes());
        assert!(said.contains(what) && said.contains(next), "{arguments:?}: {said}");
    };
    let none = "this manager is not part of a cluster yet";
    told(&lab, &["cluster", "unlock"], "this manager is part of no cluster", "nothing to unlock");
    told(&lab, &["cluster", "unlock-key"], none, "secretctl cluster init");
    told(&lab, &["cluster", "unlock-key", "--rotate"], none, "secretctl cluster join");
    told(&lab, &["cluster", "update", "--autolock", "on"], none, "secretctl cluster init");
    told(&lab, &["cluster", "unlock-slot", "ls"], none, "secretctl cluster init");

    lab.ctl_of(0).ok(&["cluster", "init"]);
    told(&lab, &["cluster", "unlock"], "this manager is not locked", "cluster status");
    told(&lab, &["cluster", "unlock-key"], "autolock is off", "--autolock on");
    told(&lab, &["cluster", "unlock-key", "--rotate"], "autolock is off", "--autolock on");
    // Whether it is locked counts before what was typed does.
    let said = lab.ctl_of(0).refused(REFUSED, &["cluster", "unlock"], b"no key at all");
    assert!(said.contains("this manager is not locked"), "{said}");
}

#[test]
fn the_only_manager_leaves_by_force_when_it_is_locked_and_founds_another_cluster() {
    let mut lab = Lab::new(PROGRAMS);
    lab.start_manager(&[]);
    let init = ["cluster", "init", "--autolock", "--hostname", "m1"];
    let first = key_in(&lab.ctl_of(0).ok(&init));
    lab.ctl().ok_with(&["create", "of_before", "-"], b"value");
    let realm = lab.ctl().json(&["cluster", "status"])["realm"].clone();
    stop(&mut lab, 0);
    start(&mut lab, 0);
    await_locked(&lab, 0);
    let ran = lab.ctl_of(0).run(&["cluster", "leave"]);
    assert_ne!(ran.status, 0, "{ran:?}");
    assert!(ran.stderr.contains("this manager is locked"), "{ran:?}");
    assert!(lab.managers[0].data.join("keys").exists(), "nothing was done");
    await_locked(&lab, 0);
    lab.ctl_of(0).ok(&["cluster", "leave", "--force"]);
    until("it is part of no cluster", || {
        let status = lab.ctl_of(0).run(&["cluster", "status", "--json"]);
        status.stdout.contains("\"empty\"").then_some(())
    });
    assert!(!lab.managers[0].data.join("keys").exists(), "what opens its disk is gone");
    let second = key_in(&lab.ctl_of(0).ok(&init));
    assert_ne!(lab.ctl().json(&["cluster", "status"])["realm"], realm);
    assert_eq!(lab.ctl().json(&["ls"]).as_array().unwrap().len(), 0);
    stop(&mut lab, 0);
    start(&mut lab, 0);
    assert_eq!(await_locked(&lab, 0)["unlock_key_id"], id(&second));
    let said = lab.ctl_of(0).refused(REFUSED, &["cluster", "unlock"], first.as_bytes());
    assert!(said.contains("does not open this manager"), "{said}");
    unlock(&lab, 0, &second);
}

#[test]
fn who_was_down_while_locking_was_turned_off_needs_its_key_once_and_who_joins_later_none() {
    let mut lab = three();
    let key = key_in(&lab.ctl().ok(&["cluster", "update", "--autolock", "on"]));
    await_followed(&lab);
    stop(&mut lab, 2);
    let ran = lab.ctl().run(&["cluster", "update", "--autolock", "off"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let named = format!("still opens with the unlock key {}", id(&key));
    assert!(ran.stderr.contains("(m3) was down") && ran.stderr.contains(&named), "{ran:?}");
    // The others start by themselves.
    stop(&mut lab, 1);
    start(&mut lab, 1);
    await_serving(&lab, 1);

    start(&mut lab, 2);
    assert_eq!(await_locked(&lab, 2)["unlock_key_id"], id(&key));
    unlock(&lab, 2, &key);
    await_followed(&lab);
    assert!(!opens(&lab.managers[2].data, &key), "it has a seed of its own");
    stop(&mut lab, 2);
    start(&mut lab, 2);
    await_serving(&lab, 2);

    let joined = lab.join();
    await_voters(&lab);
    stop(&mut lab, joined);
    start(&mut lab, joined);
    await_serving(&lab, joined);
}

#[test]
fn an_agent_is_never_locked_and_a_manager_that_left_is_not_any_more() {
    let mut lab = Lab::with_managers(PROGRAMS, 2);
    await_voters(&lab);
    await_followed(&lab);
    let agent = lab.agent("n1");
    let key = key_in(&lab.ctl().ok(&["cluster", "update", "--autolock", "on"]));
    await_followed(&lab);
    lab.agents[agent].daemon.kill();
    lab.await_node("n1", "down");
    lab.agents[agent].daemon.start_again();
    lab.await_node("n1", "ready");

    stop(&mut lab, 1);
    start(&mut lab, 1);
    await_locked(&lab, 1);
    unlock(&lab, 1, &key);
    await_serving(&lab, 1);
    lab.ctl_of(1).ok(&["cluster", "leave"]);
    stop(&mut lab, 1);
    start(&mut lab, 1);
    until("it is part of no cluster", || {
        let status = lab.ctl_of(1).run(&["cluster", "status", "--json"]);
        status.stdout.contains("\"empty\"").then_some(())
    });
}

#[test]
fn after_each_of_three_rotations_every_manager_refuses_the_key_of_before() {
    let mut lab = three();
    let mut key = key_in(&lab.ctl().ok(&["cluster", "update", "--autolock", "on"]));
    await_followed(&lab);
    for round in 1..=3 {
        let ran = lab.ctl().run(&["cluster", "unlock-key", "--rotate"]);
        assert_eq!(ran.status, 0, "{ran:?}");
        assert!(ran.stderr.contains("done: no manager opens by anything else"), "{ran:?}");
        let former = std::mem::replace(&mut key, key_in(&ran.stdout));
        for index in 0..3 {
            stop(&mut lab, index);
            start(&mut lab, index);
            await_locked(&lab, index);
            let said =
                lab.ctl_of(index).refused(REFUSED, &["cluster", "unlock"], former.as_bytes());
            assert!(said.contains("this unlock key was replaced"), "{round}, {index}: {said}");
            unlock(&lab, index, &key);
            await_serving(&lab, index);
        }
        until("all answer", || {
            lab.members().iter().all(|member| member["reachable"] == true).then_some(())
        });
    }
}

#[test]
fn locking_is_turned_on_and_off_twice_in_one_life_of_a_manager() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.ctl().ok_with(&["create", "kept", "-"], b"value");
    let data = lab.managers[0].data.clone();
    let mut keys = Vec::new();
    for _ in 0..2 {
        let key = key_in(&lab.ctl().ok(&["cluster", "update", "--autolock", "on"]));
        assert!(opens(&data, &key) && !data.join("unlock-seed").exists());
        lab.ctl().ok(&["cluster", "update", "--autolock", "off"]);
        assert!(!opens(&data, &key) && data.join("unlock-seed").exists());
        keys.push(key);
    }
    assert_ne!(keys[0], keys[1]);
    stop(&mut lab, 0);
    start(&mut lab, 0);
    await_serving(&lab, 0);
    // And once more, to a start that is locked.
    let key = key_in(&lab.ctl().ok(&["cluster", "update", "--autolock", "on"]));
    stop(&mut lab, 0);
    start(&mut lab, 0);
    await_locked(&lab, 0);
    for former in &keys {
        let said = lab.ctl_of(0).refused(REFUSED, &["cluster", "unlock"], former.as_bytes());
        assert!(said.contains("this unlock key was replaced"), "{said}");
    }
    unlock(&lab, 0, &key);
    assert_eq!(lab.ctl().json(&["ls"])[0]["name"], "kept");
}
