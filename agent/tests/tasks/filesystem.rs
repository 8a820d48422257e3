//! The secrets filesystem between agent, supervisor and task: filled once, overwritten at the end.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use agent::runtime::process::Process;
use agent::runtime::{Node, Runtime as _};
use agent::supervisor::client::Supervised;
use agent::supervisor::launch::{LaunchError, Launched, Launcher};
use agent::supervisor::protocol::{Phase, Reply};
use agent::supervisor::status::{Ending, Outcome};
use sys::file::Folder;
use sys::harden::CoreLimit;
use sys::mount::SecretsMount;

use crate::support::{can_run, task, temp};

/// Starts a task that runs `script`, with one file that `fill` makes with the owner it is given.
fn launch(
    dir: &Path,
    script: &str,
    fill: impl FnOnce(&SecretsMount, (u32, u32)) -> Result<(), String>,
) -> Result<Launched, LaunchError> {
    let folder = Folder::create_private(dir.join("tasks")).unwrap();
    let node = Node {
        boot_id: sys::host::boot_id().unwrap(),
        core_limit: CoreLimit::current(),
        hide: Vec::new(),
        tasks: dir.join("tasks"),
        engine: None,
    };
    let mut definition = Process.define(&task(1, script), &node).unwrap();
    definition.mount_bytes_max = sys::host::page_bytes();
    definition.mount_inodes_max = 2;
    let owner = (definition.uid, definition.gid);
    let launcher = Launcher::new(env!("CARGO_BIN_EXE_secret-agent").into(), Vec::new());
    launcher.launch(&folder, &definition, |mount| fill(mount, owner))
}

async fn until_over(launched: Launched) -> Ending {
    let (supervised, mut process) = Supervised::of(launched).unwrap();
    let ending = loop {
        match supervised.next().await.unwrap() {
            Some(Reply::Phase(Phase::Over(ending))) => break ending,
            Some(_) => {}
            None => panic!("the supervisor tells the end"),
        }
    };
    assert!(process.wait().unwrap().success());
    ending
}

fn create(mount: &SecretsMount, (uid, gid): (u32, u32)) -> File {
    let mut file = mount.create_file(Path::new("db"), uid, gid, 0o400).unwrap();
    file.write_all(b"value").unwrap();
    file
}

/// A descriptor that still reads the file when it is mounted nowhere any more.
fn open_to_read(mount: &SecretsMount) -> File {
    File::open(format!("/proc/self/fd/{}/db", mount.as_fd().as_raw_fd())).unwrap()
}

fn contents(file: Option<File>) -> Vec<u8> {
    let mut contents = Vec::new();
    file.unwrap().read_to_end(&mut contents).unwrap();
    contents
}

#[tokio::test]
async fn a_descriptor_that_is_closed_late_does_not_spoil_the_start() {
    if !can_run("a_descriptor_that_is_closed_late_does_not_spoil_the_start") {
        return;
    }
    let temp = temp();
    let mut late = None;
    // As if another thread were between fork and exec.
    let launched = launch(temp.path(), "cat /run/secrets/db", |mount, owner| {
        late = Some(create(mount, owner));
        Ok(())
    });
    drop(late);
    assert_eq!(until_over(launched.unwrap()).await.outcome, Outcome::Exited(0));
}

#[tokio::test]
async fn the_secrets_are_overwritten_when_the_task_is_over() {
    if !can_run("the_secrets_are_overwritten_when_the_task_is_over") {
        return;
    }
    let temp = temp();
    let mut onlooker = None;
    let launched = launch(temp.path(), "[ $(cat /run/secrets/db) = value ]", |mount, owner| {
        create(mount, owner);
        onlooker = Some(open_to_read(mount));
        Ok(())
    });
    let ending = until_over(launched.unwrap()).await;
    assert_eq!((ending.outcome, ending.complaint), (Outcome::Exited(0), None));
    assert_eq!(contents(onlooker), [0; 5]);
}

#[tokio::test]
async fn a_start_that_fails_overwrites_what_was_filled_and_leaves_nothing() {
    if !can_run("a_start_that_fails_overwrites_what_was_filled_and_leaves_nothing") {
        return;
    }
    let temp = temp();
    let mut onlooker = None;
    let launched = launch(temp.path(), "exit 9", |mount, owner| {
        create(mount, owner);
        onlooker = Some(open_to_read(mount));
        Err("the second secret does not open".into())
    });
    assert_eq!(launched.unwrap_err().to_string(), "the second secret does not open");
    assert_eq!(contents(onlooker), [0; 5]);
    let folder = Folder::open_private(temp.path().join("tasks")).unwrap();
    assert_eq!(folder.entries().unwrap(), Vec::<std::ffi::OsString>::new());
}

#[tokio::test]
async fn a_task_is_not_launched_twice() {
    if !can_run("a_task_is_not_launched_twice") {
        return;
    }
    let temp = temp();
    let first = launch(temp.path(), "exit 3", |_, _| Ok(())).unwrap();
    let second = launch(temp.path(), "exit 4", |_, _| Ok(()));
    assert!(matches!(second, Err(LaunchError::Exists)));
    assert_eq!(until_over(first).await.outcome, Outcome::Exited(3));
}
