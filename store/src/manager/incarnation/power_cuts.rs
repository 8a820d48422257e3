//! A new life that is cut short at every step by a power cut: what was not made durable is lost.
//!
//! The data folder is on ext4 in a file. A process begins the new life in it and waits at every step;
//! the file is copied there, and once more at a moment between that step and the next, and each copy
//! is mounted and opened: it is what a power cut at that moment would have left. Not here: `kill -9`,
//! which loses nothing that was written (`tests`).

use std::time::{Duration, Instant};

use super::tests::{found, life_of, manager, unlocked};
use super::*;
use crate::raft::crash::images::{Image, MOUNTED, can_run, wait_stopped};
use crate::raft::crash::{Load, Role, Told, role_folder};

const IMAGE_MIB: u64 = 128;

const BEGINS: &str = "manager::incarnation::power_cuts::begins";
const OPENS: &str = "manager::incarnation::power_cuts::opens";

#[test]
#[ignore = "a role that the test below starts"]
fn begins() {
    let Some(told) = Told::connect() else { return };
    let manager = manager(role_folder().path());
    settle(&manager.0.folder).unwrap();
    let unlocked = unlocked(&manager);
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let survivor = runtime.block_on(read_all(&manager.0.folder, &unlocked)).unwrap();
    manager.0.begin_life(unlocked, survivor, &|step| told.tell_and_wait(step)).unwrap();
    told.tell_and_wait("begun");
}

#[test]
#[ignore = "a role that the test below starts"]
fn opens() {
    let Some(told) = Told::connect() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let life = runtime.block_on(life_of(role_folder().path()));
    told.tell(&life.to_string());
}

/// The life that a power cut now would leave, whole.
fn life_after_a_power_cut(image: &Image, when: &str) -> u64 {
    let kept = tempfile::tempdir().unwrap();
    let copy = image.copy(kept.path());
    let mut reader = copy.start(OPENS, MOUNTED, Load::Closed, 0).unwrap();
    let line = reader.next_line();
    line.unwrap_or_else(|| panic!("{when}: {}", reader.errors())).parse().unwrap()
}

/// The life that it would leave at a moment after a step was let go.
fn life_in_between(image: &Image, role: &mut Role, after: Duration, when: &str) -> u64 {
    role.let_go();
    let moment = Instant::now() + after;
    while Instant::now() < moment {
        std::thread::yield_now();
    }
    role.signal("STOP");
    wait_stopped(role.child.id());
    let life = life_after_a_power_cut(image, when);
    role.signal("CONT");
    life
}

#[test]
fn a_life_that_a_power_cut_ends_anywhere_is_the_old_one_or_the_new_one() {
    if !can_run("a_life_that_a_power_cut_ends_anywhere_is_the_old_one_or_the_new_one") {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let template = base.path().join("template");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(found(&template));
    let image = Image::make(base.path(), IMAGE_MIB).unwrap();
    let script = format!(
        "mount -o loop \"$1\" \"$2\"; cp -a '{}' \"$2/data\"; sync; shift 2; exec \"$@\"",
        template.display()
    );
    let mut role = image.start(BEGINS, &script, Load::Closed, 0).unwrap();
    let (mut lives, mut steps) = (Vec::new(), Vec::new());
    loop {
        let step = role.next_line().unwrap_or_else(|| panic!("{}", role.errors()));
        lives.push(life_after_a_power_cut(&image, &step));
        if step == "begun" {
            break;
        }
        // Most steps take a few syncs of a fifth of a millisecond, the log takes longer.
        let after = Duration::from_micros(if step == "write the log" { 5_000 } else { 300 });
        lives.push(life_in_between(&image, &mut role, after, &step));
        steps.push(step);
    }
    assert!(lives.is_sorted(), "no step goes back: {lives:?}");
    assert_eq!((lives.first(), lives.last()), (Some(&1), Some(&2)), "{lives:?}");
    // It begins with the renaming, and nothing before that is the new life.
    let begins = steps.iter().position(|step| step == "begin the new life").unwrap();
    assert_eq!(lives.get(2 * begins), Some(&1), "{steps:?}: {lives:?}");
    assert_eq!(lives.get(2 * begins + 2), Some(&2), "{steps:?}: {lives:?}");
    assert!(steps.len() > begins + 5, "the taking over has steps of its own: {steps:?}");
}
