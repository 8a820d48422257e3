//! Pages on a key that is lost, and on disks that are elsewhere, or come back.

use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{Lab, until};

use crate::desk::Desk;
use crate::losses::{alarms, joining, to_join};
use crate::pages::{
    await_phase, await_voters, first_word, key_in, locking, managers, meant, restart, serve,
};
use crate::reader::Page;

/// Exit status of what may succeed later.
const UNAVAILABLE: i32 = 69;

/// What the task of a test has, and no other process on this machine.
const OF_LOST_KEY: &str = "horse battery 7781";
const OF_STOLEN_DISK: &str = "horse battery 7782";

/// Managers that lock, with a service that has a secret.
fn with_a_task(count: usize, value: &str) -> (Lab, String) {
    let (mut lab, key) = locking(count);
    lab.agent("n1");
    lab.ctl().ok_with(&["create", "db_password", "-"], value.as_bytes());
    serve(&lab, "web", "db_password");
    (lab, key)
}

/// A process that has the secret, among those that were found.
fn holder(found: &str) -> String {
    let pids = found.lines().filter_map(|line| line.split('/').nth(2));
    let has = |pid: &&str| {
        let path = Path::new("/proc").join(pid).join("root/run/secrets/db_password");
        std::fs::read(path).is_ok_and(|value| value == OF_LOST_KEY.as_bytes())
    };
    pids.into_iter().find(has).expect("a process that has it").to_owned()
}

fn number_of(lab: &Lab, hostname: &str) -> String {
    let members = lab.members();
    members.iter().find(|member| member["hostname"] == hostname).unwrap()["id"].to_string()
}

pub(crate) fn lost_unlock_key(page: &mut Page) {
    let (mut lab, lost) = with_a_task(3, OF_LOST_KEY);
    let address = lab.address();
    let first = Desk::of_manager(&lab, 0).with("10.0.0.3", "127.0.0.1");
    lab.ctl().ok_with(&["cluster", "update", "--read-back", "on"], lost.as_bytes());
    let added = lab.ctl().ok(&["cluster", "unlock-slot", "add", "passphrase", "--generate"]);
    let passphrase = added.lines().next().unwrap().to_owned();
    lab.ctl().ok(&["cluster", "update", "--peers", "approve"]);
    until("the peers open each", || {
        lab.members().iter().all(|member| !member["peers_since"].is_null()).then_some(())
    });

    let block = page.block("secretctl cluster status");
    first.types(&mut lab, &block);
    let block = page.block("secretctl cluster unlock-key");
    assert_eq!(key_in(&first.types(&mut lab, &block)[0].stdout), lost, "it is kept");
    lab.ctl().ok(&["cluster", "update", "--read-back", "off"]);

    // One is locked while the others serve; nobody has the key from here on.
    restart(&mut lab, 2, "locked");
    let block = page.block("secretctl cluster unlock-key --rotate");
    let key = key_in(&first.types(&mut lab, &block)[0].stdout);
    assert_ne!(key, lost);
    let block = page.block("secretctl cluster unlock-slot ls");
    first.types_and_answers(&mut lab, &block, |lab, text, _| {
        meant(lab, text, "unlock-key");
        Some(key.clone())
    });
    until("it waits", || {
        lab.ctl().run(&["cluster", "status"]).stdout.contains("waits to be unlocked").then_some(())
    });
    let block = page.block("secretctl cluster approve m3");
    first.types(&mut lab, &block);
    await_phase(&lab, 2, "serving");

    let third = joining(&lab, 2, &address);
    restart(&mut lab, 2, "locked");
    let block = page.block("secretctl cluster unlock");
    third.types_and_answers(&mut lab, &block, |_, _, _| Some(passphrase.clone()));
    await_phase(&lab, 2, "serving");

    restart(&mut lab, 2, "locked");
    let block = page.block("secretctl cluster member rm --lost m3");
    let token = first_word(&first.types(&mut lab, &block)[1]);
    let block = page.block("secretctl cluster leave --force");
    third.types_and_answers(&mut lab, &block, |_, text, _| to_join(text, &token));
    await_voters(&lab, 3);
    until("the log keys of before are gone", || {
        let keys = lab.ctl().json(&["cluster", "keys"]);
        (keys["log_key_rotation"]["complete"] == true).then_some(())
    });
    let status = lab.ctl().ok(&["cluster", "status"]);
    assert!(!status.contains("still opens with"), "{status}");

    let read_back = ["cluster", "update", "--read-back", "on"];
    lab.ctl().ok_with(&read_back, key.as_bytes());
    lost_with_the_majority(page, lab, &passphrase);
}

/// Two of three are locked: what serves is of no use, another slot is, and tasks have what they had.
fn lost_with_the_majority(page: &mut Page, mut lab: Lab, passphrase: &str) {
    lab.ctl().ok(&["cluster", "update", "--peers", "off"]);
    for index in [1, 2] {
        lab.managers[index].daemon.kill();
    }
    for index in [1, 2] {
        lab.managers[index].daemon.start_again();
        lab.await_socket(index);
        await_phase(&lab, index, "locked");
    }
    let alone = lab.ctl_of(0);
    let read = ["--timeout", "2s", "cluster", "unlock-key"];
    assert_eq!(alone.run(&read).status, UNAVAILABLE, "what is kept cannot be read");
    let rotate = [&read[..], &["--rotate"]].concat();
    assert_eq!(alone.run(&rotate).status, UNAVAILABLE, "nothing can be changed");

    let found = page.block("grep -ls");
    let node = Desk::of_agent(&lab, 0);
    let ran = node.types_and_answers(&mut lab, &found, |_, text, said| {
        if let Some(said) = said.first() {
            *text = text.replace("PID", &holder(&said.stdout));
        }
        None
    });
    assert_eq!(ran[1].stdout, OF_LOST_KEY, "it runs on");

    let block = page.block("secretctl cluster unlock");
    let second = Desk::of_manager(&lab, 1);
    let ran = second.types_and_answers(&mut lab, &block, |_, text, _| {
        text.ends_with("cluster unlock").then(|| passphrase.to_owned())
    });
    let key = key_in(&ran[1].stdout);
    lab.ctl_of(2).ok_with(&["cluster", "unlock"], passphrase.as_bytes());
    await_phase(&lab, 2, "serving");
    until("all have followed", || {
        let status = lab.ctl().ok(&["cluster", "status"]);
        (!status.contains("not sealed its key file anew") && !status.contains("still opens"))
            .then_some(())
    });
    restart(&mut lab, 2, "locked");
    lab.ctl_of(2).ok_with(&["cluster", "unlock"], key.as_bytes());
}

/// A copy of a manager's whole disk.
fn steal(lab: &Lab, index: usize, to: &str) -> PathBuf {
    let copy = lab.path().join(to);
    let data = &lab.managers[index].data;
    assert!(Command::new("cp").arg("-a").arg(data).arg(&copy).status().unwrap().success());
    copy
}

/// Types the blocks of a page, in their order.
fn in_order(page: &mut Page, lab: &mut Lab, desk: &Desk, beginnings: &[&str]) {
    for beginning in beginnings {
        let block = page.block(beginning);
        desk.types(lab, &block);
    }
}

pub(crate) fn stolen_disk(page: &mut Page) {
    // Locking is on, and peers open one another: a machine is stolen, and started elsewhere.
    let (mut lab, key) = with_a_task(3, OF_STOLEN_DISK);
    lab.ctl().ok(&["cluster", "update", "--peers", "auto"]);
    until("the peers open each", || {
        lab.members().iter().all(|member| !member["peers_since"].is_null()).then_some(())
    });
    let desk = Desk::of_manager(&lab, 0).with("NUMBER", &number_of(&lab, "m3"));
    lab.managers[2].daemon.kill();
    let stolen = steal(&lab, 2, "stolen");
    let first_steps = ["secretctl cluster member rm --lost m3", "secretctl cluster token ls"];
    in_order(page, &mut lab, &desk, &first_steps);
    let thief = lab.start_manager(&["--data", stolen.to_str().unwrap(), "--listen", "127.0.0.2:0"]);
    until("an alarm", || (alarms(&lab) > 0).then_some(()));
    let told = lab.ctl_of(thief).run(&["cluster", "status"]).stdout;
    assert!(told.contains("this manager is locked"), "{told}");
    let block = page.block("secretctl cluster alarm ls");
    let ran = desk.types(&mut lab, &block);
    assert!(ran[0].stdout.contains("evicted"), "{ran:?}");
    assert!(!ran[1].stdout.contains("grant_release"), "it did not get in: {ran:?}");
    let roots = |lab: &Lab| lab.ctl().json(&["cluster", "keys"])["root_key"].clone();
    let before = roots(&lab);
    lab.ctl().ok(&["cluster", "unlock-slot", "add", "passphrase", "--generate"]);
    let block = page.block("secretctl cluster unlock-slot ls");
    desk.types_and_answers(&mut lab, &block, |lab, text, _| {
        meant(lab, text, "passphrase");
        None
    });
    let block = page.block("secretctl cluster unlock-key --rotate --compromised");
    let ran = desk.types(&mut lab, &block);
    assert_ne!(key_in(&ran[0].stdout), key);
    assert!(ran[0].stdout.contains("db_password"), "what to replace is listed: {ran:?}");
    in_order(page, &mut lab, &desk, &["secretctl cluster rotate ca"]);
    let desk = desk.with("$NEW", "another");
    in_order(page, &mut lab, &desk, &["printf %s \"$NEW\""]);
    let block = page.block("secretctl cluster join-token --quiet manager");
    let token = first_word(&desk.types(&mut lab, &block)[0]);
    lab.managers[2].daemon.start_again();
    lab.await_socket(2);
    lab.ctl_of(2).ok(&["cluster", "leave", "--force"]);
    let join = ["cluster", "join", "--token", "-", "--hostname", "m3", &lab.address()];
    lab.ctl_of(2).ok_with(&join, token.as_bytes());
    await_voters(&lab, 3);
    lab.managers[thief].daemon.kill();
    in_order(page, &mut lab, &desk, &["secretctl cluster alarm clear NUMBER"]);
    assert_eq!(alarms(&lab), 0);
    let block = page.block("secretctl cluster keys");
    let ran = desk.types(&mut lab, &block);
    let receipt = &ran[0].stdout;
    assert!(!receipt.contains("waiting for") && receipt.contains("without proof"), "{receipt}");
    let status = &ran[1].stdout;
    assert!(!status.contains("asked to be unlocked"), "{status}");
    assert_ne!(roots(&lab), before);

    in_order(page, &mut lab, &desk, &["secretctl node rm --force n1"]);
    assert_eq!(lab.agents[0].daemon.wait().code(), Some(77));
    drop(lab);

    // Locking is off: a copy of the disk, with the seed, opens by itself.
    let mut lab = managers(3);
    lab.ctl().ok_with(&["create", "db_password", "-"], OF_STOLEN_DISK.as_bytes());
    lab.managers[2].daemon.kill();
    lab.ctl().ok(&["cluster", "member", "rm", "--lost", "m3"]);
    let desk = Desk::of_manager(&lab, 0);
    let block = page.block("secretctl cluster rotate root-key");
    let ran = desk.types(&mut lab, &block);
    assert!(ran[1].stdout.contains("db_password"), "{ran:?}");
}

pub(crate) fn evicted_manager(page: &mut Page) {
    let (mut lab, key) = locking(3);
    let first = Desk::of_manager(&lab, 0);
    lab.ctl().ok(&["cluster", "update", "--peers", "auto"]);
    until("the peers open each", || {
        lab.members().iter().all(|member| !member["peers_since"].is_null()).then_some(())
    });

    // One that runs while it is removed.
    lab.ctl().ok(&["cluster", "member", "rm", "m3"]);
    until("it says so", || {
        let text = lab.ctl_of(2).run(&["cluster", "status"]).stdout;
        (text.contains("was removed from the cluster; it is said by ")
            && text.contains("docs/operations/evicted-manager.md"))
        .then_some(())
    });
    until("its log, too", || {
        lab.managers[2].daemon.log().contains("manager_removed").then_some(())
    });
    let block = page.block("secretctl cluster status");
    let ran = first.types(&mut lab, &block);
    assert!(!ran[0].stdout.contains("m3"), "{ran:?}");
    let third = joining(&lab, 2, &lab.address());
    let leave = page.block("secretctl cluster leave --force");
    third.types(&mut lab, &leave);
    let block = page.block("secretctl cluster join-token --quiet manager");
    let token = first_word(&first.types(&mut lab, &block)[0]);
    let block = page.block("secretctl cluster join 10.0.0.5:7443");
    third.types_and_answers(&mut lab, &block, |_, text, _| to_join(text, &token));
    await_voters(&lab, 3);
    until("its peers open it", || {
        lab.members().iter().all(|member| !member["peers_since"].is_null()).then_some(())
    });

    // One that is down while it is removed.
    let number = number_of(&lab, "m3");
    lab.managers[2].daemon.kill();
    lab.ctl().ok(&["cluster", "member", "rm", "--lost", "m3"]);
    lab.managers[2].daemon.start_again();
    lab.await_socket(2);
    await_phase(&lab, 2, "locked");
    until("an alarm", || (alarms(&lab) > 0).then_some(()));
    let told = lab.ctl().ok(&["cluster", "status"]);
    let asked = format!("a disk of manager {number} (removed) asked to be unlocked");
    assert!(told.contains(&asked), "{told}");
    let told = lab.ctl_of(2).run(&["cluster", "status"]).stdout;
    assert!(told.contains("evicted: it was removed from the cluster"), "{told}");
    in_order(page, &mut lab, &first, &["secretctl cluster alarm ls"]);
    let token = lab.token("manager");
    let block = page.block("secretctl cluster leave --force");
    third.types_and_answers(&mut lab, &block, |_, text, _| to_join(text, &token));
    await_voters(&lab, 3);
    let cleared = first.with("NUMBER", &number);
    in_order(page, &mut lab, &cleared, &["secretctl cluster alarm clear NUMBER"]);
    assert_eq!(alarms(&lab), 0);

    // One of the life before.
    for index in [1, 2] {
        lab.managers[index].daemon.kill();
    }
    lab.managers[0].daemon.stop();
    lab.managers[0].daemon.arguments().push("--force-new-cluster".into());
    lab.managers[0].daemon.start_again();
    lab.await_socket(0);
    lab.ctl_of(0).ok_with(&["cluster", "unlock"], key.as_bytes());
    await_phase(&lab, 0, "serving");
    lab.managers[1].daemon.start_again();
    lab.await_socket(1);
    // It may be told before it has read its log to the end.
    lab.ctl_of(1).run_with(&["cluster", "unlock"], key.as_bytes());
    assert_eq!(lab.managers[1].daemon.wait().code(), Some(77));
    let second = joining(&lab, 1, &lab.address());
    let block = page.block("systemctl status secretd");
    second.types(&mut lab, &block);
    let token = lab.token("manager");
    let block = page.block("systemctl stop secretd");
    second.types_and_answers(&mut lab, &block, |_, text, _| to_join(text, &token));
    await_voters(&lab, 2);
}
