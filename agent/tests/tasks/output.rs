//! What tasks print: kept, rotated, read back, followed, dropped.

use std::fs;

use agent::logs::{self, LogsError};
use agent::output::{Line, Selection, Stream};
use proto::spec::LogPolicy;
use proto::task::TaskState;
use sys::require::root;
use tokio::sync::mpsc;

use crate::support::{Gate, Rig, can_run, child, child_dir, task, task_id, temp};

fn texts(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| str::from_utf8(&line.line).unwrap()).collect()
}

#[tokio::test]
async fn lines_are_kept_with_their_stream_and_instant() {
    if !can_run("lines_are_kept_with_their_stream_and_instant") {
        return;
    }
    for (number, policy) in [(1, LogPolicy::Files), (2, LogPolicy::Memory)] {
        let temp = temp();
        let mut rig = Rig::new(temp.path());
        let mut task = task(number, "echo one; echo two >&2; printf 'three\\nfour'");
        task.spec.logs = policy;
        let status = rig.run(task).await;
        assert_eq!(status.state, TaskState::Complete, "{status:?}");
        let lines = rig.output(number, Selection::ALL).await;
        let mut sorted = texts(&lines);
        sorted.sort_unstable();
        assert_eq!(sorted, ["four", "one", "three", "two"], "{policy:?}");
        let two = lines.iter().find(|line| line.line == b"two").unwrap();
        assert_eq!(two.stream, Stream::Stderr);
        assert!(lines.iter().all(|line| line.dropped == 0 && line.at <= status.at));
        let stdout = Selection { stderr: false, tail: Some(2), ..Selection::ALL };
        assert_eq!(texts(&rig.output(number, stdout).await), ["three", "four"]);
        let later = Selection { since: status.at.after_ms(1), ..Selection::ALL };
        assert_eq!(rig.output(number, later).await, []);
        // A supervisor that keeps a ring goes when it is forgotten.
        rig.unassign(number);
        rig.until_forgotten(number).await;
        assert_eq!(fs::read_dir(rig.dir.join("agent/tasks")).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn no_output_is_kept_where_none_is_wanted() {
    if !can_run("no_output_is_kept_where_none_is_wanted") {
        return;
    }
    let temp = temp();
    let mut rig = Rig::new(temp.path());
    let mut task = task(1, "echo lost; [ \"$(readlink /proc/$$/fd/1)\" = /dev/null ]");
    task.spec.logs = LogPolicy::None;
    assert_eq!(rig.run(task).await.state, TaskState::Complete);
    let (sender, _receiver) = mpsc::channel(1);
    let read = logs::read(rig.handle.tasks(), task_id(1), Selection::ALL, false, sender);
    assert!(matches!(read.await, Err(LogsError::NotKept)));
}

#[tokio::test]
async fn a_follower_sees_lines_as_they_are_printed_until_the_end() {
    if !can_run("a_follower_sees_lines_as_they_are_printed_until_the_end") {
        return;
    }
    for (number, policy) in [(1, LogPolicy::Files), (2, LogPolicy::Memory)] {
        let temp = temp();
        let mut rig = Rig::new(temp.path());
        let gates = ["first", "second", "third"].map(|name| Gate::new(&rig.dir, name));
        let dir = rig.dir.display();
        let script =
            format!("for line in first second third; do read _ <{dir}/$line; echo $line; done");
        let mut task = task(number, &script);
        task.spec.logs = policy;
        rig.assign(task);
        rig.until_state(number, TaskState::Running).await;
        let (sender, mut receiver) = mpsc::channel(1);
        let tasks = rig.handle.tasks().try_clone().unwrap();
        let follow = tokio::spawn(async move {
            logs::read(&tasks, task_id(number), Selection::ALL, true, sender).await
        });
        for (gate, line) in gates.iter().zip(["first", "second", "third"]) {
            gate.open().await;
            assert_eq!(texts(&receiver.recv().await.unwrap()), [line], "{policy:?}");
            let tail = rig.output(number, Selection { tail: Some(1), ..Selection::ALL }).await;
            assert_eq!(texts(&tail), [line]);
        }
        assert_eq!(receiver.recv().await, None, "the end of the task ends the stream");
        follow.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_does_not_disturb_the_task() {
    if !can_run("a_reader_that_goes_away_does_not_disturb_the_task") {
        return;
    }
    let temp = temp();
    let mut rig = Rig::new(temp.path());
    let (ready, go) = (Gate::new(&rig.dir, "ready"), Gate::new(&rig.dir, "go"));
    let dir = rig.dir.display().to_string();
    rig.assign(task(1, &format!("echo first; echo >{dir}/ready; read _ <{dir}/go; exit 4")));
    ready.passed().await;
    let (sender, mut receiver) = mpsc::channel(1);
    let tasks = rig.handle.tasks().try_clone().unwrap();
    let follow =
        tokio::spawn(
            async move { logs::read(&tasks, task_id(1), Selection::ALL, true, sender).await },
        );
    assert_eq!(texts(&receiver.recv().await.unwrap()), ["first"]);
    drop(receiver);
    follow.await.unwrap().unwrap();
    go.open().await;
    assert_eq!(rig.until_state(1, TaskState::Failed).await.exit_code, Some(4));
}

#[tokio::test]
async fn two_files_bound_what_is_kept_and_nothing_blocks_the_task() {
    if !can_run("two_files_bound_what_is_kept_and_nothing_blocks_the_task") {
        return;
    }
    let temp = temp();
    let mut rig = Rig::new(temp.path());
    // 30 MB, with nobody reading.
    let script = "i=0; line=$(printf '%0999d' 0); \
                  yes $line | head -n 30000; echo the last line";
    let status = rig.run(task(1, script)).await;
    assert_eq!(status.state, TaskState::Complete, "{status:?}");
    let folder = rig.dir.join("agent/tasks").join(task_id(1).as_str());
    for name in ["output", "output.old"] {
        let bytes = fs::metadata(folder.join(name)).unwrap().len();
        assert!(bytes <= 8 << 20, "{name}: {bytes}");
    }
    let old = fs::metadata(folder.join("output.old")).unwrap().len();
    assert!(old > 7 << 20, "a file is filled before it is rotated: {old}");
    let tail = rig.output(1, Selection { tail: Some(2), ..Selection::ALL }).await;
    assert_eq!(tail.len(), 2);
    assert_eq!(tail[1].line, b"the last line");
    let all = rig.output(1, Selection::ALL).await;
    assert!(all.len() > 7_000 && all.iter().all(|line| line.dropped == 0));
}

#[tokio::test]
async fn a_full_disk_drops_lines_and_neither_blocks_the_task_nor_loses_its_end() {
    const TEST: &str =
        "output::a_full_disk_drops_lines_and_neither_blocks_the_task_nor_loses_its_end";
    if !root(TEST) {
        return;
    }
    let Some(dir) = child_dir() else {
        let temp = temp();
        let script = format!(
            "mount -t tmpfs -o size=1m,mode=777 none {} && exec \"$@\"",
            temp.path().display()
        );
        let wrapper = ["unshare", "-m", "sh", "-c", &script, "sh"];
        let output = child(&wrapper, TEST, temp.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        return;
    };
    let mut rig = Rig::new(&dir);
    let script = "line=$(printf '%0999d' 0); yes $line | head -n 5000; exit 6";
    let status = rig.run(task(1, script)).await;
    assert_eq!((status.state, status.exit_code), (TaskState::Failed, Some(6)), "{status:?}");
    let lines = rig.output(1, Selection::ALL).await;
    assert!(lines.len() < 1_200, "{}", lines.len());
    assert!(lines.iter().all(|line| line.dropped > 0 || line.line.len() == 999));
}
