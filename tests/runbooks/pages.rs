//! Pages on keys and secrets, while nothing is lost.

use serde_json::Value;
use tests::{Lab, Ran, until};

use crate::PROGRAMS;
use crate::desk::Desk;
use crate::reader::Page;

/// Managers that vote, and said what opens them.
pub(crate) fn managers(count: usize) -> Lab {
    let lab = Lab::with_managers(PROGRAMS, count);
    await_voters(&lab, count);
    lab
}

pub(crate) fn await_voters(lab: &Lab, count: usize) {
    until("all vote, and have said what opens them", || {
        let members = lab.members();
        let ready =
            |m: &&Value| m["state"] == "voter" && m["key_file_generation"].as_u64() >= Some(1);
        (members.iter().filter(ready).count() == count && members.len() == count).then_some(())
    });
}

/// Managers that lock, and their unlock key.
pub(crate) fn locking(count: usize) -> (Lab, String) {
    let lab = managers(count);
    let key = key_in(&lab.ctl().ok(&["cluster", "update", "--autolock", "on"]));
    (lab, key)
}

/// The unlock key among what was printed.
pub(crate) fn key_in(stdout: &str) -> String {
    let mut words = stdout.split_whitespace();
    words.find(|word| word.starts_with("SECKEY-1-")).expect("it shows a key").to_owned()
}

/// Waits until a manager says that it is in a phase.
pub(crate) fn await_phase(lab: &Lab, index: usize, phase: &str) {
    until(&format!("manager {index} is {phase}"), || {
        let ran = lab.ctl_of(index).run(&["--timeout", "2s", "cluster", "status", "--json"]);
        let status: Value = serde_json::from_str(&ran.stdout).ok()?;
        let leads = phase != "serving" || status["leader"].is_u64();
        (status["phase"] == phase && leads).then_some(())
    });
}

pub(crate) fn restart(lab: &mut Lab, index: usize, phase: &str) {
    lab.managers[index].daemon.stop();
    lab.managers[index].daemon.start_again();
    lab.await_socket(index);
    await_phase(lab, index, phase);
}

/// The answer to a command that asks for an unlock key.
fn to_unlock(text: &str, key: &str) -> Option<String> {
    text.contains("cluster unlock").then(|| key.to_owned())
}

pub(crate) fn first_word(ran: &Ran) -> String {
    ran.stdout.split_whitespace().next().expect("it prints something").to_owned()
}

pub(crate) fn serve(lab: &Lab, name: &str, secret: &str) {
    let service = ["service", "create", "--detach", "--name", name, "--secret", secret];
    lab.ctl().ok(&[&service[..], &["--", "sh", "-c", "exec sleep 1000"]].concat());
    lab.await_tasks(name, 1, "running");
}

/// An operator at a machine of their own, with a context.
pub(crate) fn operator(lab: &mut Lab, name: &str, context: &str) -> Desk {
    let token = lab.ctl().ok(&["operator", "add", name, "--role", "writer"]);
    let desk = Desk::of_operator(lab, name, context);
    let token = token.lines().next().unwrap();
    let address = lab.address();
    let words = ["context", "add", context, "--token", token, "--manager", &address];
    let home = desk.folder().to_owned();
    let ran = std::process::Command::new(home.join("bin/secretctl"))
        .args(words)
        .env("HOME", &home)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    desk
}

pub(crate) fn lock(page: &mut Page) {
    let mut lab = Lab::new(PROGRAMS);
    lab.start_manager(&[]);
    let first = Desk::of_manager(&lab, 0);
    let block = page.block("secretctl cluster init --autolock");
    key_in(&first.types(&mut lab, &block)[0].stdout);
    drop(lab);

    let mut lab = managers(3);
    let desk = Desk::of_manager(&lab, 0);
    let block = page.block("secretctl cluster update --autolock on");
    let key = key_in(&desk.types(&mut lab, &block)[0].stdout);
    let block = page.block("systemctl restart secretd");
    let ran = desk.types_and_answers(&mut lab, &block, |_, text, _| to_unlock(text, &key));
    let status = &ran[2].stdout;
    assert!(status.contains("unlock-key"), "{status}");
    let block = page.block("secretctl cluster update --read-back on");
    let ran = desk.types_and_answers(&mut lab, &block, |_, text, _| {
        text.contains("--read-back").then(|| key.clone())
    });
    assert_eq!(key_in(&ran[1].stdout), key);
    let block = page.block("secretctl cluster update --autolock off");
    desk.types(&mut lab, &block);
    restart(&mut lab, 0, "serving");
}

pub(crate) fn unlock(page: &mut Page) {
    let (mut lab, key) = locking(1);
    let desk = Desk::of_manager(&lab, 0);
    for beginning in ["secretctl cluster status", "pass show"] {
        restart(&mut lab, 0, "locked");
        let block = page.block(beginning);
        desk.types_and_answers(&mut lab, &block, |_, text, _| to_unlock(text, &key));
        await_phase(&lab, 0, "serving");
    }
}

pub(crate) fn rotate_log_key(page: &mut Page) {
    let mut lab = managers(3);
    let block = page.block("secretctl cluster keys");
    let ran = Desk::of_manager(&lab, 1).types(&mut lab, &block);
    assert!(ran[1].stdout.contains("log key rotation 1 is complete on 3 managers"), "{ran:?}");
}

pub(crate) fn rotate_root_key(page: &mut Page) {
    let (mut lab, key) = locking(3);
    let desk = Desk::of_manager(&lab, 1);
    let block = page.block("secretctl cluster keys");
    let ran = desk.types(&mut lab, &block);
    assert!(ran[1].stdout.contains("root key rotation 1 is complete on 3 managers"), "{ran:?}");

    lab.ctl().ok_with(&["cluster", "update", "--read-back", "on"], format!("{key}\n").as_bytes());
    let block = page.block("secretctl cluster update --read-back off");
    desk.types_and_answers(&mut lab, &block, |_, text, said| {
        text.contains("--read-back on").then(|| key_in(&said[1].stdout))
    });
}

pub(crate) fn rotate_unlock_key(page: &mut Page) {
    let (mut lab, key) = locking(3);
    let (first, third) = (Desk::of_manager(&lab, 0), Desk::of_manager(&lab, 2));
    lab.managers[2].daemon.stop();
    let block = page.block("secretctl cluster unlock-key --rotate");
    let new = key_in(&first.types(&mut lab, &block)[0].stdout);
    assert_ne!(key, new);

    let compromised = page.block("secretctl cluster unlock-key --rotate --compromised");
    lab.managers[2].daemon.start_again();
    lab.await_socket(2);
    await_phase(&lab, 2, "locked");
    let block = page.block("secretctl cluster unlock");
    third.types_and_answers(&mut lab, &block, |_, text, _| to_unlock(text, &key));
    until("it has followed", || {
        let status = lab.ctl_of(0).ok(&["cluster", "keys"]);
        (!status.contains("in progress")).then_some(())
    });
    first.types(&mut lab, &compromised);
}

pub(crate) fn rotate_ca(page: &mut Page) {
    let mut lab = managers(1);
    let agent = lab.agent("n2");
    let address = lab.address();
    let olive = operator(&mut lab, "olive", "prod");
    let desk = Desk::of_manager(&lab, 0);
    // The command waits for all operators, and nobody is there to use this one's context.
    lab.ctl().ok(&["operator", "rm", "olive"]);
    let block = page.block("secretctl cluster keys");
    desk.types(&mut lab, &block);

    lab.ctl().ok(&["operator", "add", "olive", "--role", "writer"]);
    lab.agents[agent].daemon.stop();
    lab.ctl().ok(&["cluster", "rotate", "ca", "--no-wait"]);
    let block = page.block("secretctl cluster rotate ca --drop-missing");
    until("agents and operators are waited for", || {
        let keys = lab.ctl().json(&["cluster", "keys"]);
        (keys["ca_rotation"]["phase"] == "clients").then_some(())
    });
    desk.types(&mut lab, &block);

    lab.agents[agent].daemon.start_again();
    left_behind(page, &mut lab, "secretctl node rm --force n2");
    let block = page.block("secretctl operator rm olive");
    let token = first_word(&desk.types(&mut lab, &block)[1]);
    let olive = olive.with("TOKEN", &token).with("10.0.0.1:7443", &address);
    let block = page.block("secretctl context rm prod");
    olive.types(&mut lab, &block);
}

/// A node is removed by a manager, and its folder by whoever sits at it.
fn left_behind(page: &mut Page, lab: &mut Lab, beginning: &str) {
    let block = page.block(beginning);
    Desk::of_agent(lab, 0).typed_by(&Desk::of_manager(lab, 0)).types(lab, &block);
}

pub(crate) fn rotate_certificates(page: &mut Page) {
    let mut lab = managers(1);
    let agent = lab.agent("n2");
    let desk = Desk::of_manager(&lab, 0);
    let block = page.block("secretctl cluster rotate certificates");
    desk.types(&mut lab, &block);
    operator(&mut lab, "olive", "prod");
    lab.agents[agent].daemon.stop();
    lab.ctl().ok(&["cluster", "rotate", "certificates", "--no-wait"]);
    let block = page.block("secretctl cluster rotate certificates --cut-missing");
    until("agents and operators are waited for", || {
        let rotation = lab.ctl().json(&["cluster", "keys"])["certificate_rotation"].clone();
        let managers = rotation["waits_for"]["managers"].as_array()?;
        (rotation["number"] == 2 && managers.is_empty()).then_some(())
    });
    desk.types(&mut lab, &block);
    for beginning in ["secretctl node rm --force n2", "secretctl operator rm olive"] {
        let block = page.block(beginning);
        desk.types(&mut lab, &block);
    }
}

/// The slot of a kind.
fn slot(lab: &Lab, kind: &str) -> String {
    let slots = lab.ctl().json(&["cluster", "unlock-slot", "ls"]);
    let mut slots = slots.as_array().unwrap().iter();
    let slot = slots.find(|slot| slot["kind"] == kind).expect("there is one");
    slot["id"].as_str().unwrap().to_owned()
}

/// Fills in which slot is meant.
pub(crate) fn meant(lab: &Lab, text: &mut String, kind: &str) {
    if text.contains("SLOT") {
        *text = text.replace("SLOT", &slot(lab, kind));
    }
}

pub(crate) fn unlock_slots(page: &mut Page) {
    let (mut lab, _) = locking(1);
    let seed: [u8; 32] = std::array::from_fn(|place| u8::try_from(place * 7 + 1).unwrap());
    let seed = lab.file("run-seed", &seed);
    let program =
        lab.file("seed", format!("#!/bin/sh\nexec cat {0}.kept\n", seed.display()).as_bytes());
    tests::set_mode(&program, 0o755);
    std::fs::copy(&seed, format!("{}.kept", seed.display())).unwrap();
    let desk = Desk::of_manager(&lab, 0)
        .with("/usr/local/lib/secretd/seed", program.to_str().unwrap())
        .with("/run/seed", seed.to_str().unwrap());

    let block = page.block("secretctl cluster unlock-slot add passphrase");
    let added = desk.types(&mut lab, &block);
    let block = page.block("secretctl cluster unlock-slot ls");
    desk.types_and_answers(&mut lab, &block, |lab, text, _| {
        meant(lab, text, "passphrase");
        Some(added[0].stdout.lines().next().unwrap().to_owned())
    });
    let block = page.block("secretctl cluster unlock-slot add shares");
    desk.types_and_answers(&mut lab, &block, |lab, text, said| {
        meant(lab, text, "shares");
        Some(said.first()?.stdout.lines().take(3).collect::<Vec<_>>().join("\n"))
    });
    page.not_typed("umask 077", "seals a seed to the machine, with systemd");
    let block = page.block("secretctl cluster unlock-slot add command");
    desk.types_and_answers(&mut lab, &block, |lab, text, _| {
        meant(lab, text, "command");
        None
    });
    assert!(!seed.exists(), "the seed is shredded");
    let block = page.block("secretctl cluster unlock-slot rm");
    desk.types_and_answers(&mut lab, &block, |lab, text, _| {
        meant(lab, text, "passphrase");
        None
    });
}

pub(crate) fn shred_secret(page: &mut Page) {
    let mut lab = managers(3);
    for name in ["db-password", "old-token"] {
        lab.ctl().ok_with(&["create", name, "-"], b"value");
    }
    lab.ctl().ok(&["rm", "old-token"]);
    let block = page.block("secretctl rm --shred db-password");
    let ran = Desk::of_manager(&lab, 0).types(&mut lab, &block);
    assert_eq!(ran[2].stdout.matches(" shredded ").count(), 2, "{ran:?}");
}

pub(crate) fn rotate_secret(page: &mut Page) {
    let mut lab = managers(1);
    lab.agent("n1");
    lab.ctl().ok_with(&["create", "db_password", "-"], b"value");
    serve(&lab, "web", "db_password");
    let block = page.block("printf %s \"$BETTER\"");
    let desk = Desk::of_manager(&lab, 0).with("$BETTER", "better");
    let ran = desk.types(&mut lab, &block);
    assert!(ran[0].stdout.contains("db_password version 2"), "{ran:?}");
}
