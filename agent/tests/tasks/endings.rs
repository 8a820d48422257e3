//! How tasks end, and how they do not begin.

use std::fs;

use proto::spec::Signal;
use proto::task::{DesiredState, TaskState};

use crate::support::{
    Gate, Rig, can_run, file, is_root, secret, task, task_id, temp, until_no_process_names,
};

#[tokio::test]
async fn a_task_ends_with_its_exit_code_or_signal() {
    if !can_run("a_task_ends_with_its_exit_code_or_signal") {
        return;
    }
    let temp = temp();
    let mut rig = Rig::new(temp.path());
    for (number, script, state, code, message) in [
        (1, "exit 0", TaskState::Complete, 0, ""),
        (2, "exit 3", TaskState::Failed, 3, "exit status 3"),
        (3, "kill -KILL $$", TaskState::Failed, 137, "killed by signal 9"),
        (4, "kill -TERM $$", TaskState::Failed, 143, "killed by signal 15"),
        (5, "exec /no/such/program", TaskState::Failed, 127, "exit status 127"),
    ] {
        let status = rig.run(task(number, script)).await;
        assert_eq!((status.state, status.exit_code), (state, Some(code)), "{script}");
        assert_eq!(status.message, message);
        assert_eq!(status.mounted, []);
    }
}

#[tokio::test]
async fn a_task_that_cannot_start_says_why() {
    if !can_run("a_task_that_cannot_start_says_why") {
        return;
    }
    let temp = temp();
    let mut rig = Rig::new(temp.path());
    let mut missing = task(1, "");
    missing.spec.command = vec!["no-such-command".into()];
    let status = rig.run(missing).await;
    assert_eq!((status.state, status.exit_code), (TaskState::Rejected, Some(127)));
    assert_eq!(status.message, "cannot find the command \"no-such-command\"");

    let mut not_executable = task(2, "");
    not_executable.spec.command = vec!["/etc/passwd".into()];
    let status = rig.run(not_executable).await;
    assert_eq!((status.state, status.exit_code), (TaskState::Rejected, Some(126)));
    assert!(status.message.starts_with("cannot execute \"/etc/passwd\""), "{status:?}");

    let mut no_dir = task(3, "");
    no_dir.spec.dir = "/no/such/dir".into();
    let status = rig.run(no_dir).await;
    assert_eq!((status.state, status.exit_code), (TaskState::Rejected, Some(126)));
    assert!(status.message.starts_with("cannot enter the working directory /no/such/dir"));

    let mut no_user = task(4, "");
    no_user.spec.user = "no-such-user".into();
    let status = rig.run(no_user).await;
    assert_eq!((status.state, status.exit_code), (TaskState::Rejected, None));
    assert_eq!(status.message, "there is no user `no-such-user` on this host");

    let mut absolute = task(5, "");
    rig.vault.put(secret(1), b"x");
    absolute.secrets = vec![file(1, "/etc/key")];
    let status = rig.run(absolute).await;
    assert_eq!(status.state, TaskState::Rejected);
    assert!(status.message.starts_with("secret `s1` cannot be mounted at /etc/key"), "{status:?}");
}

#[tokio::test]
async fn a_task_without_its_secret_waits_or_is_rejected_and_is_never_given_an_empty_file() {
    if !can_run("a_task_without_its_secret_waits") {
        return;
    }
    let temp = temp();
    let mut rig = Rig::new(temp.path());
    let marker = rig.dir.join("started");
    let script = format!("touch {}; [ \"$(cat /run/secrets/db)\" = late ]", marker.display());
    let mut waiting = task(1, &script);
    waiting.secrets = vec![file(1, "db")];
    rig.assign(waiting);
    let status = rig.until_state(1, TaskState::Preparing).await;
    assert_eq!(status.message, "waits for secret `s1` version 1, which no manager has delivered");
    assert!(!marker.exists());
    rig.vault.put(secret(1), b"late");
    rig.handle.held_has_changed();
    rig.until_state(1, TaskState::Complete).await;
    assert!(marker.exists());

    for (number, value, why) in
        [(2, &b"cannot be opened"[..], "it cannot be opened"), (3, b"", "it cannot be written")]
    {
        let mut refused = task(number, "exit 9");
        rig.vault.put(secret(number), value);
        refused.secrets = vec![file(number, "db")];
        let status = rig.run(refused).await;
        assert_eq!(status.state, TaskState::Rejected);
        let expected = format!("secret `s{number}` version 1 cannot be mounted: {why}");
        assert!(status.message.starts_with(&expected), "{status:?}");
        let folder = rig.dir.join("agent/tasks").join(status.task_id.as_str());
        assert!(!folder.exists(), "a start that fails leaves nothing");
    }
}

#[tokio::test]
async fn the_largest_secrets_fit() {
    if !can_run("the_largest_secrets_fit") {
        return;
    }
    let temp = temp();
    let mut rig = Rig::new(temp.path());
    let mut task = task(1, "[ $(cat /run/secrets/* | wc -c) = 3145728 ]");
    for number in 1..=3 {
        rig.vault.put(secret(number), &vec![number; 1 << 20]);
        task.secrets.push(file(number, &format!("file-{number}")));
    }
    let status = rig.run(task).await;
    assert_eq!(status.state, TaskState::Complete, "{status:?}");
}

#[tokio::test]
async fn a_task_is_stopped_by_its_declared_signal() {
    if !can_run("a_task_is_stopped_by_its_declared_signal") {
        return;
    }
    let temp = temp();
    let mut rig = Rig::new(temp.path());
    let ready = Gate::new(&rig.dir, "ready");
    let block = Gate::new(&rig.dir, "block");
    let (dir, _block) = (rig.dir.display().to_string(), block);
    for (number, signal, trap, code) in
        [(1, None, "TERM", 4), (2, Some("USR1"), "USR1", 4), (3, Some("40"), "40", 4)]
    {
        let script =
            format!("trap 'exit 4' {trap}; echo >{dir}/ready; read _ <{dir}/block; exit 5");
        let mut task = task(number, &script);
        task.spec.stop_signal = signal.map(|signal| signal.parse::<Signal>().unwrap());
        rig.assign(task);
        ready.passed().await;
        rig.until_state(number, TaskState::Running).await;
        rig.want(number, DesiredState::Shutdown);
        let status = rig.until_state(number, TaskState::Shutdown).await;
        assert_eq!(status.exit_code, Some(code), "{signal:?}");
    }
}

#[tokio::test]
async fn a_task_can_be_stopped_while_it_is_started() {
    if !can_run("a_task_can_be_stopped_while_it_is_started") {
        return;
    }
    let temp = temp();
    let mut rig = Rig::new(temp.path());
    let _block = Gate::new(&rig.dir, "block");
    let script = format!("read _ <{}/block", rig.dir.display());
    for number in 1..=20 {
        rig.assign(task(number, &script));
        rig.until(task_id(number), |status| status.state >= TaskState::Starting).await;
        rig.want(number, DesiredState::Shutdown);
        let status = rig.until_state(number, TaskState::Shutdown).await;
        assert_eq!(status.exit_code, Some(143), "{status:?}");
    }
}

#[tokio::test]
async fn a_task_that_ignores_its_signal_is_killed_with_all_it_started() {
    if !can_run("a_task_that_ignores_its_signal_is_killed_with_all_it_started") {
        return;
    }
    let temp = temp();
    let mut rig = Rig::new(temp.path());
    let ready = Gate::new(&rig.dir, "ready");
    let _block = Gate::new(&rig.dir, "block");
    let dir = rig.dir.display().to_string();
    let script = format!(
        "trap '' TERM
         (setsid sh -c 'trap \"\" TERM; read _ <{dir}/block' &)
         echo >{dir}/ready; read _ <{dir}/block"
    );
    let mut task = task(1, &script);
    task.spec.stop_grace_ms = Some(50);
    rig.assign(task);
    ready.passed().await;
    rig.want(1, DesiredState::Shutdown);
    let status = rig.until_state(1, TaskState::Shutdown).await;
    assert_eq!(status.exit_code, Some(137));
    assert_eq!(status.message, "killed by signal 9");
    rig.unassign(1);
    rig.until_forgotten(1).await;
    until_no_process_names(&rig.dir).await;
}

#[tokio::test]
async fn orphans_are_reaped_and_killed_at_the_end() {
    if !can_run("orphans_are_reaped_and_killed_at_the_end") {
        return;
    }
    let temp = temp();
    let mut rig = Rig::new(temp.path());
    let _block = Gate::new(&rig.dir, "block");
    let dir = rig.dir.display().to_string();
    // Twenty orphans end and are reaped by init; one goes on and is killed when the task ends.
    let script = format!(
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do (true &); done
         (sh -c 'read _ <{dir}/block' &)
         n=0; while grep -qs '^State:.Z' /proc/[0-9]*/status; do
             n=$((n+1)); [ $n -gt 1000 ] && exit 9; done
         exit 0"
    );
    let status = rig.run(task(1, &script)).await;
    assert_eq!(status.exit_code, Some(0), "{status:?}");
    rig.unassign(1);
    rig.until_forgotten(1).await;
    until_no_process_names(&rig.dir).await;
}

#[tokio::test]
async fn what_is_not_assigned_any_more_is_stopped_and_forgotten() {
    if !can_run("what_is_not_assigned_any_more_is_stopped_and_forgotten") {
        return;
    }
    let temp = temp();
    let mut rig = Rig::new(temp.path());
    let ready = Gate::new(&rig.dir, "ready");
    let _block = Gate::new(&rig.dir, "block");
    let dir = rig.dir.display().to_string();
    rig.assign(task(1, &format!("echo >{dir}/ready; read _ <{dir}/block")));
    ready.passed().await;
    rig.until_state(1, TaskState::Running).await;
    rig.unassign(1);
    rig.until_forgotten(1).await;
    let tasks = rig.dir.join("agent/tasks");
    assert_eq!(fs::read_dir(tasks).unwrap().count(), 0);
}

#[tokio::test]
async fn a_task_is_made_ready_and_started_later_or_never() {
    if !can_run("a_task_is_made_ready_and_started_later_or_never") {
        return;
    }
    let temp = temp();
    let mut rig = Rig::new(temp.path());
    for number in [1, 2] {
        let mut task = task(number, "exit 0");
        task.desired = DesiredState::Ready;
        rig.assign(task);
        rig.until_state(number, TaskState::Ready).await;
    }
    rig.want(1, DesiredState::Running);
    rig.until_state(1, TaskState::Complete).await;
    rig.want(2, DesiredState::Shutdown);
    let status = rig.until_state(2, TaskState::Shutdown).await;
    assert_eq!(status.message, "stopped before it was started");
    rig.want(2, DesiredState::Running);
    rig.assign(task(3, "exit 0"));
    rig.until_state(3, TaskState::Complete).await;
    rig.until_state(2, TaskState::Shutdown).await;
}

#[tokio::test]
async fn a_killed_supervisor_takes_its_task_along_and_is_noticed() {
    if !can_run("a_killed_supervisor_takes_its_task_along_and_is_noticed") {
        return;
    }
    let temp = temp();
    let mut rig = Rig::new(temp.path());
    let ready = Gate::new(&rig.dir, "ready");
    let _block = Gate::new(&rig.dir, "block");
    let dir = rig.dir.display().to_string();
    let script = format!("echo >{dir}/ready; read _ <{dir}/block");
    rig.assign(task(1, &script));
    ready.passed().await;
    rig.until_state(1, TaskState::Running).await;
    for pid in supervisors(&rig) {
        let killed = std::process::Command::new("kill").args(["-KILL", &pid]).status().unwrap();
        assert!(killed.success());
    }
    let status = rig.until_state(1, TaskState::Failed).await;
    assert_eq!(status.message, "its supervisor died, and the task with it");
    until_no_process_names(&rig.dir).await;
}

/// The processes that were started as supervisors of a rig's tasks.
fn supervisors(rig: &Rig) -> Vec<String> {
    let tasks = rig.dir.join("agent/tasks").display().to_string();
    let pids = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let mut found: Vec<u32> = pids
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.contains("supervise") && line.contains(&tasks)
        })
        .collect();
    // Init is a fork of it, so the first one is the supervisor.
    found.sort_unstable();
    found.truncate(1);
    assert_eq!(found.len(), 1, "as root or as its user: {}", is_root());
    found.into_iter().map(|pid| pid.to_string()).collect()
}
