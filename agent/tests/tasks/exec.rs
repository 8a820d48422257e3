//! Commands beside a task's program: where they are, how they end, and what ends them.

use std::os::fd::AsFd as _;
use std::process::Command;

use agent::exec::{self, Begun, Event, ExecError, Running, Stream};
use agent::supervisor::definition::Definition;
use agent::supervisor::protocol::{Phase, Reply, Request};
use proto::id::Timestamp;
use proto::limits::{EXEC_DATA_BYTES_MAX, EXECS_OF_TASK_MAX};
use proto::task::{DesiredState, TaskState};
use sys::poll::readable;
use sys::socket::Listener;

use crate::support::{Gate, Rig, can_run, file, secret, task, task_id, temp};

async fn begin(rig: &Rig, words: &[&str], takes_input: bool) -> Result<Begun, ExecError> {
    let argv = words.iter().map(ToString::to_string).collect();
    exec::start(rig.handle.tasks(), task_id(1), argv, takes_input).await
}

async fn running(rig: &Rig, words: &[&str], takes_input: bool) -> Running {
    match begin(rig, words, takes_input).await.unwrap() {
        Begun::Running(running) => running,
        Begun::NotStarted(code, why) => panic!("{code}: {why}"),
    }
}

/// All that a command prints, and its code.
async fn to_the_end(mut running: Running) -> (String, String, i32) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match running.next(EXEC_DATA_BYTES_MAX).await.unwrap() {
            Event::Printed(Stream::Stdout, bytes) => out.extend_from_slice(&bytes),
            Event::Printed(Stream::Stderr, bytes) => err.extend_from_slice(&bytes),
            Event::Ended(code) => {
                let text = |bytes| String::from_utf8(bytes).unwrap();
                return (text(out), text(err), code);
            }
        }
    }
}

async fn run(rig: &Rig, words: &[&str]) -> (String, String, i32) {
    to_the_end(running(rig, words, false).await).await
}

/// An agent with a task that waits, and its gate.
async fn with_a_task(dir: &std::path::Path) -> (Rig, Gate) {
    let mut rig = Rig::new(dir);
    rig.vault.put(secret(1), b"value");
    let go = Gate::new(dir, "go");
    let mut own = task(1, &format!("read _ <{}/go; exit 3", dir.display()));
    own.secrets = vec![file(1, "db")];
    rig.assign(own);
    rig.until_state(1, TaskState::Running).await;
    (rig, go)
}

#[tokio::test]
async fn a_command_has_its_streams_and_its_end() {
    if !can_run("a_command_has_its_streams_and_its_end") {
        return;
    }
    let temp = temp();
    let (rig, go) = with_a_task(temp.path()).await;
    let (out, err, code) =
        run(&rig, &["sh", "-c", "cat /run/secrets/db; echo complaint >&2; exit 5"]).await;
    assert_eq!((&*out, &*err, code), ("value", "complaint\n", 5));
    let mut typed = running(&rig, &["cat"], true).await;
    let mut input = typed.take_input().unwrap();
    assert!(typed.take_input().is_none());
    input.write(b"typed").await.unwrap();
    assert_eq!(
        typed.next(3).await.unwrap(),
        Event::Printed(Stream::Stdout, b"typ".as_slice().into()),
        "no more than there is room for"
    );
    input.close().await;
    assert_eq!(to_the_end(typed).await, ("ed".into(), String::new(), 0));
    let Begun::NotStarted(code, why) = begin(&rig, &["no-such-command"], false).await.unwrap()
    else {
        panic!("there is none")
    };
    assert_eq!((code, &*why), (127, "cannot find the command \"no-such-command\""));
    go.open().await;
}

#[tokio::test]
async fn what_is_dropped_is_killed_and_what_ends_the_task_ends_it() {
    if !can_run("what_is_dropped_is_killed_and_what_ends_the_task_ends_it") {
        return;
    }
    let temp = temp();
    let (mut rig, go) = with_a_task(temp.path()).await;
    let words = format!("777.{}", std::process::id());
    let script = format!("sleep {words} & echo there; exec sleep {words}");
    let sleeping = || {
        let found = Command::new("pgrep").args(["-f", &format!("^sleep {words}$")]).output();
        String::from_utf8(found.unwrap().stdout).unwrap().lines().count()
    };
    let started = async |rig: &Rig| {
        let mut running = running(rig, &["sh", "-c", &script], false).await;
        running.next(EXEC_DATA_BYTES_MAX).await.unwrap();
        while sleeping() < 2 {
            tokio::task::yield_now().await;
        }
        running
    };
    drop(started(&rig).await);
    while sleeping() > 0 {
        tokio::task::yield_now().await;
    }
    let running = started(&rig).await;
    go.open().await;
    assert_eq!(to_the_end(running).await.2, 137);
    let over = rig.until_state(1, TaskState::Failed).await;
    assert_eq!(over.exit_code, Some(3), "the task's own end is told");
    assert_eq!(sleeping(), 0);
    let gone = begin(&rig, &["true"], false).await;
    assert!(gone.is_err(), "it is over");
}

#[tokio::test]
async fn a_task_that_is_stopped_takes_its_commands_along() {
    if !can_run("a_task_that_is_stopped_takes_its_commands_along") {
        return;
    }
    let temp = temp();
    let (mut rig, _go) = with_a_task(temp.path()).await;
    let mut stuck = running(&rig, &["sh", "-c", "trap '' TERM; echo x; sleep 1000"], false).await;
    // It is as far as that.
    let there = Event::Printed(Stream::Stdout, b"x\n".as_slice().into());
    assert_eq!(stuck.next(EXEC_DATA_BYTES_MAX).await.unwrap(), there);
    rig.want(1, DesiredState::Shutdown);
    assert_eq!(to_the_end(stuck).await, (String::new(), String::new(), 137));
    rig.until_state(1, TaskState::Shutdown).await;
}

#[tokio::test]
async fn a_task_has_room_for_so_many_commands() {
    if !can_run("a_task_has_room_for_so_many_commands") {
        return;
    }
    let temp = temp();
    let (rig, go) = with_a_task(temp.path()).await;
    let mut sleepers = Vec::new();
    for _ in 0..EXECS_OF_TASK_MAX {
        sleepers.push(running(&rig, &["sleep", "1000"], false).await);
    }
    let Err(refused) = begin(&rig, &["true"], false).await else { panic!("there is no room") };
    assert_eq!(refused.to_string(), "4 commands are run in the task already");
    sleepers.pop();
    // As soon as that one is dead.
    loop {
        match begin(&rig, &["true"], false).await {
            Ok(Begun::Running(running)) => break assert_eq!(to_the_end(running).await.2, 0),
            Ok(Begun::NotStarted(code, why)) => panic!("{code}: {why}"),
            Err(_) => tokio::task::yield_now().await,
        }
    }
    go.open().await;
}

/// A supervisor of before there were commands: it closes the connection on what it does not know.
fn be_an_earlier_supervisor(listener: &Listener) {
    let mut buffer = [0; 4096];
    for _ in 0..2 {
        readable(&[listener.as_fd()], None).unwrap();
        let connection = listener.accept().unwrap().unwrap();
        let packet = connection.receive(&mut buffer).unwrap().unwrap();
        let bytes = &buffer[1..packet.bytes];
        if let Ok(Request::Query) = minicbor::decode(bytes) {
            let phase = Phase::Running { since: Timestamp(1) };
            let reply = minicbor::to_vec(Reply::Phase(phase)).unwrap();
            connection.send(&[&[1], &reply[..]].concat(), &[]).unwrap();
        }
    }
}

#[tokio::test]
async fn a_task_of_an_earlier_agent_says_that_it_runs_no_commands() {
    if !can_run("a_task_of_an_earlier_agent_says_that_it_runs_no_commands") {
        return;
    }
    let temp = temp();
    let (rig, go) = with_a_task(temp.path()).await;
    let tasks = rig.handle.tasks();
    let definition = Definition::read(&tasks.private_folder(task_id(1).as_str()).unwrap()).unwrap();
    let folder = tasks.create_private_folder(task_id(2).as_str()).unwrap();
    definition.write(&folder).unwrap();
    let listener = Listener::bind(&folder, "control.sock").unwrap();
    let supervisor = std::thread::spawn(move || be_an_earlier_supervisor(&listener));
    let begun = exec::start(tasks, task_id(2), vec!["true".into()], false).await;
    assert!(matches!(begun, Err(ExecError::Earlier)), "{:?}", begun.err());
    supervisor.join().unwrap();
    // One that has gone is no earlier one, and one that never was is none.
    let begun = exec::start(tasks, task_id(2), vec!["true".into()], false).await;
    assert!(matches!(begun, Err(ExecError::Connect(_))), "{:?}", begun.err());
    let begun = exec::start(tasks, task_id(3), vec!["true".into()], false).await;
    assert!(matches!(begun, Err(ExecError::Folder { .. })), "{:?}", begun.err());
    go.open().await;
}
