//! An agent is killed, and the next one finds what it has left.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use agent::output::Selection;
use agent::supervisor::client::Supervised;
use agent::supervisor::protocol::{Phase, Reply};
use agent::worker::OpenError;
use proto::task::{DesiredState, TaskState};
use sys::file::Folder;

use crate::support::{
    Gate, Rig, SIGN, can_run, child, child_dir, file, secret, task, task_id, temp,
};

/// What every agent of these tests is assigned.
fn assigned(dir: &Path) -> agent::assignment::Assignment {
    let dir = dir.display();
    let script = format!(
        "echo before; echo >{dir}/ready; read _ <{dir}/go; cat /run/secrets/db >{dir}/db; exit 7"
    );
    let mut task = task(1, &script);
    task.secrets = vec![file(1, "db")];
    task
}

/// The part of the child: an agent that starts the task, says so, and goes on for ever.
async fn be_the_first_agent(dir: &Path) {
    let mut rig = Rig::new(dir);
    rig.vault.put(secret(1), b"value");
    rig.assign(assigned(dir));
    rig.until_state(1, TaskState::Running).await;
    println!("{SIGN}");
    std::future::pending::<()>().await;
}

/// Starts the first agent and waits until its task runs.
fn first_agent(test: &str, dir: &Path) -> Child {
    let mut agent = child(&["env"], test, dir).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(agent.stdout.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    assert!(lines.any(|line| line.contains(SIGN)), "the first agent failed");
    agent
}

#[tokio::test]
async fn a_killed_agents_task_goes_on_and_is_taken_over() {
    const TEST: &str = "takeover::a_killed_agents_task_goes_on_and_is_taken_over";
    if !can_run(TEST) {
        return;
    }
    if let Some(dir) = child_dir() {
        return be_the_first_agent(&dir).await;
    }
    let temp = temp();
    let dir = temp.path();
    let (ready, go) = (Gate::new(dir, "ready"), Gate::new(dir, "go"));
    let mut agent = first_agent(TEST, dir);
    ready.passed().await;
    agent.kill().unwrap();
    agent.wait().unwrap();

    let mut rig = Rig::new(dir);
    rig.assign(assigned(dir));
    // Nothing is held, and nothing is started again: what runs is what was started.
    let status = rig.until_state(1, TaskState::Running).await;
    assert_eq!(status.mounted.len(), 1);
    assert_eq!(rig.output(1, Selection::ALL).await[0].line, b"before");
    go.open().await;
    let status = rig.until_state(1, TaskState::Failed).await;
    assert_eq!(status.exit_code, Some(7));
    assert_eq!(rig.read("db"), "value");
}

#[tokio::test]
async fn the_exit_code_of_a_task_that_ended_meanwhile_is_found() {
    const TEST: &str = "takeover::the_exit_code_of_a_task_that_ended_meanwhile_is_found";
    if !can_run(TEST) {
        return;
    }
    if let Some(dir) = child_dir() {
        return be_the_first_agent(&dir).await;
    }
    let temp = temp();
    let dir = temp.path();
    let (ready, go) = (Gate::new(dir, "ready"), Gate::new(dir, "go"));
    let mut agent = first_agent(TEST, dir);
    ready.passed().await;
    agent.kill().unwrap();
    agent.wait().unwrap();

    // Nobody but this onlooker is connected when the task ends.
    let folder = dir.join("agent/tasks").join(task_id(1).as_str());
    let onlooker = Supervised::connect(&Folder::open_private(&folder).unwrap()).unwrap();
    go.open().await;
    let Some(Reply::Phase(Phase::Over(ending))) = onlooker.next().await.unwrap() else {
        panic!("the supervisor tells the end")
    };
    assert_eq!(onlooker.next().await.unwrap(), None);
    assert_eq!(ending.complaint, None, "the secrets were overwritten without an agent");

    let mut rig = Rig::new(dir);
    rig.assign(assigned(dir));
    let status = rig.until_state(1, TaskState::Failed).await;
    assert_eq!((status.exit_code, &*status.message), (Some(7), "exit status 7"));
    rig.unassign(1);
    rig.until_forgotten(1).await;
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_task_that_is_not_wanted_any_more_is_stopped_by_the_next_agent() {
    const TEST: &str = "takeover::a_task_that_is_not_wanted_any_more_is_stopped_by_the_next_agent";
    if !can_run(TEST) {
        return;
    }
    if let Some(dir) = child_dir() {
        return be_the_first_agent(&dir).await;
    }
    let temp = temp();
    let dir = temp.path();
    let (ready, _go) = (Gate::new(dir, "ready"), Gate::new(dir, "go"));
    let mut agent = first_agent(TEST, dir);
    ready.passed().await;
    agent.kill().unwrap();
    agent.wait().unwrap();
    let mut rig = Rig::new(dir);
    let mut unwanted = assigned(dir);
    unwanted.desired = DesiredState::Remove;
    rig.assign(unwanted);
    let status = rig.until_state(1, TaskState::Shutdown).await;
    assert_eq!(status.exit_code, Some(143));
}

#[tokio::test]
async fn a_start_that_was_cut_short_is_made_again() {
    const TEST: &str = "takeover::a_start_that_was_cut_short_is_made_again";
    if !can_run(TEST) {
        return;
    }
    if let Some(dir) = child_dir() {
        let mut rig = Rig::new(&dir);
        rig.vault.put(secret(1), b"blocks");
        rig.assign(assigned(&dir));
        return std::future::pending().await;
    }
    let temp = temp();
    let dir = temp.path();
    let (ready, go) = (Gate::new(dir, "ready"), Gate::new(dir, "go"));
    let mut agent = first_agent(TEST, dir);
    agent.kill().unwrap();
    agent.wait().unwrap();
    let mut rig = Rig::new(dir);
    rig.vault.put(secret(1), b"value");
    rig.assign(assigned(dir));
    ready.passed().await;
    go.open().await;
    let status = rig.until_state(1, TaskState::Failed).await;
    assert_eq!(status.exit_code, Some(7), "{status:?}");
    assert_eq!(rig.read("db"), "value");
}

#[tokio::test]
async fn a_task_of_an_earlier_boot_is_lost() {
    if !can_run("a_task_of_an_earlier_boot_is_lost") {
        return;
    }
    let temp = temp();
    let dir = temp.path();
    let ready = Gate::new(dir, "ready");
    let tasks = {
        let mut rig = Rig::new(dir);
        rig.vault.put(secret(1), b"value");
        let go = Gate::new(dir, "go");
        rig.assign(assigned(dir));
        ready.passed().await;
        go.open().await;
        rig.until_state(1, TaskState::Failed).await;
        dir.join("agent/tasks")
    };
    let folder = Folder::open_private(tasks.join(task_id(1).as_str())).unwrap();
    let mut definition = agent::supervisor::definition::Definition::read(&folder).unwrap();
    definition.boot_id = "another".into();
    definition.write(&folder).unwrap();
    // As if its supervisor had not come to writing its end.
    folder.rename("status", ".status.new").unwrap();
    // The first worker ends when its last handle is dropped, and frees the folder.
    let mut rig = loop {
        match Rig::try_new(dir) {
            Ok(rig) => break rig,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    rig.assign(assigned(dir));
    let status = rig.until_state(1, TaskState::Failed).await;
    assert_eq!(status.message, "the node was restarted while it ran");
    assert_eq!(status.exit_code, None);
}

#[tokio::test]
async fn two_agents_do_not_share_a_folder() {
    let temp = temp();
    let _first = Rig::new(temp.path());
    let Err(error) = Rig::try_new(temp.path()) else { panic!("the folder is locked") };
    let OpenError::Folder(error) = error else { panic!("{error:?}") };
    let expected = format!("is in use by process {}", std::process::id());
    assert!(error.to_string().ends_with(&expected), "{error}");
}
