//! What a task sees and has, and what it does not.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use agent::output::Selection;
use proto::spec::FileMode;
use proto::task::TaskState;
use sys::require::root;

use crate::support::{
    Gate, NOBODY, Rig, can_run, child, child_dir, file, is_root, secret, task, temp,
    until_no_process_names,
};

#[tokio::test]
async fn a_task_sees_exactly_its_files() {
    if !can_run("a_task_sees_exactly_its_files") {
        return;
    }
    let temp = temp();
    let mut rig = Rig::new(temp.path());
    for (number, value) in [(1, &b"correct horse"[..]), (2, b"key\nwith lines\n"), (3, b"other")] {
        rig.vault.put(secret(number), value);
    }
    let script = format!(
        "cd /run/secrets && out={} && cat db >$out/db && cat tls/key.pem >$out/key && \
         find . -type f -printf '%P %U %G %m %s\\n' | sort >$out/list && \
         stat -c '%n %u %g %a' . * >$out/entries && \
         grep ' /run/secrets ' /proc/self/mountinfo >$out/mountinfo",
        rig.dir.display()
    );
    let mut own = task(1, &script);
    own.secrets = vec![file(1, "db"), file(2, "tls/key.pem")];
    own.secrets[1].mode = FileMode::new(0o440).unwrap();
    let (uid, gid) = if is_root() {
        own.secrets[1].uid = Some(0);
        (NOBODY, NOBODY)
    } else {
        let user = sys::user::current().unwrap();
        (user.uid, user.gid)
    };
    let key_uid = own.secrets[1].uid.unwrap_or(uid);
    let status = rig.run(own).await;
    assert_eq!((status.state, status.exit_code), (TaskState::Complete, Some(0)), "{status:?}");
    assert_eq!(rig.read("db"), "correct horse");
    assert_eq!(rig.read("key"), "key\nwith lines\n");
    let list = format!("db {uid} {gid} 400 13\ntls/key.pem {key_uid} {gid} 440 15\n");
    assert_eq!(rig.read("list"), list);
    // The folders are the agent's own, and there is nothing else.
    let (own_uid, own_gid) = if is_root() { (0, 0) } else { (uid, gid) };
    let entries =
        format!(". {own_uid} {own_gid} 755\ndb {uid} {gid} 400\ntls {own_uid} {own_gid} 755\n");
    assert_eq!(rig.read("entries"), entries);
    let mountinfo = rig.read("mountinfo");
    assert!(mountinfo.contains(" ro,nosuid,nodev,noexec,"), "{mountinfo}");
    assert!(mountinfo.contains("nosymfollow"), "{mountinfo}");
    if is_root() {
        assert!(mountinfo.contains(" - tmpfs secrets ro,"), "{mountinfo}");
        assert!(mountinfo.trim_end().ends_with("noswap"), "{mountinfo}");
    } else {
        assert!(mountinfo.contains(" - ramfs secrets ro\n"), "{mountinfo}");
    }
}

#[tokio::test]
async fn a_task_cannot_change_its_secrets() {
    if !can_run("a_task_cannot_change_its_secrets") {
        return;
    }
    let temp = temp();
    let mut rig = Rig::new(temp.path());
    rig.vault.put(secret(1), b"value");
    let script = "cd /run/secrets || exit 1
        (echo x >db) 2>/dev/null && exit 2
        rm -f db 2>/dev/null && exit 3
        (echo x >new) 2>/dev/null && exit 4
        mount -o remount,rw /run/secrets 2>/dev/null && exit 5
        mount -o remount,bind,rw /run/secrets 2>/dev/null && exit 6
        umount /run/secrets 2>/dev/null && exit 7
        chmod 777 db 2>/dev/null && exit 8
        mv db other 2>/dev/null && exit 9
        [ \"$(cat db)\" = value ]";
    let users: &[&str] = if is_root() { &["65534:65534", "root"] } else { &[""] };
    for (number, user) in (1..).zip(users) {
        let mut task = task(number, script);
        task.spec.user = (*user).into();
        task.secrets = vec![file(1, "db")];
        let status = rig.run(task).await;
        assert_eq!(status.state, TaskState::Complete, "{user}: {status:?}");
    }
}

#[tokio::test]
async fn tasks_do_not_see_each_other_or_the_agent() {
    if !can_run("tasks_do_not_see_each_other_or_the_agent") {
        return;
    }
    let temp = temp();
    let mut rig = Rig::new(temp.path());
    rig.vault.put(secret(1), b"first");
    rig.vault.put(secret(2), b"second");
    let (ready, go) = (Gate::new(&rig.dir, "ready"), Gate::new(&rig.dir, "go"));
    let dir = rig.dir.display().to_string();
    let waits = format!("echo >{dir}/ready; read _ <{dir}/go");
    let mut first = task(1, &waits);
    first.secrets = vec![file(1, "first")];
    rig.assign(first);
    ready.passed().await;
    let status = rig.until_state(1, TaskState::Running).await;
    assert_eq!(status.mounted.len(), 1);
    assert_eq!(status.mounted[0].secret_id, secret(1).secret_id);
    assert!(status.mounted[0].since <= status.at);

    let looks = format!(
        "ls /run/secrets >{dir}/files; ls /proc | grep -c '^[0-9]' >{dir}/pids; \
         ls -A {dir}/agent >{dir}/agents 2>&1; (echo x >{dir}/agent/x) 2>/dev/null && exit 9; \
         cat /proc/1/cmdline >{dir}/init; ls /proc/1/fd >/dev/null 2>&1 && exit 8; exit 0"
    );
    let mut second = task(2, &looks);
    second.secrets = vec![file(2, "second")];
    let status = rig.run(second).await;
    assert_eq!(status.state, TaskState::Complete, "{status:?}");
    assert_eq!(rig.read("files"), "second\n");
    // Init, the shell, and the two of the pipe.
    assert!(rig.read("pids").trim().parse::<u32>().unwrap() <= 4);
    assert_eq!(rig.read("agents"), "");

    assert!(fs::read_to_string("/proc/self/mountinfo").unwrap().lines().all(|line| {
        line.split(' ').nth(4) != Some("/run/secrets") && !line.contains(" secrets ")
    }));
    go.open().await;
    rig.until_state(1, TaskState::Complete).await;
    rig.unassign(1);
    rig.until_forgotten(1).await;
    until_no_process_names(&rig.dir).await;
}

#[tokio::test]
async fn no_secret_is_left_in_the_agents_folder() {
    if !can_run("no_secret_is_left_in_the_agents_folder") {
        return;
    }
    let temp = temp();
    let mut rig = Rig::new(temp.path());
    rig.vault.put(secret(1), b"canary-7d1f0c5e2b");
    let mut task = task(1, "cat /run/secrets/db >/dev/null; echo planted-control");
    task.secrets = vec![file(1, "db")];
    assert_eq!(rig.run(task).await.state, TaskState::Complete);
    let found = |what: &str| {
        let root = temp.path().join("agent");
        let found = Command::new("grep").args(["-rlaF", what]).arg(root).output().unwrap();
        String::from_utf8(found.stdout).unwrap()
    };
    assert_eq!(found("canary-7d1f0c5e2b"), "");
    assert!(found("planted-control").contains("output"), "the search finds what is there");
}

#[tokio::test]
async fn nothing_of_the_agent_leaks_into_a_task() {
    const TEST: &str = "isolation::nothing_of_the_agent_leaks_into_a_task";
    if !can_run(TEST) {
        return;
    }
    let Some(dir) = child_dir() else {
        let temp = temp();
        // A strange agent: variables, umask, an open descriptor, ignored signals, a core limit.
        let wrapper = [
            "sh",
            "-c",
            "umask 077; trap '' USR1 HUP; exec 9</etc/passwd; ulimit -Sc 0; exec \"$@\"",
            "sh",
        ];
        let mut command = child(&wrapper, TEST, temp.path());
        let output = command.env("AGENT_SECRET", "leak").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        return;
    };
    let mut rig = Rig::new(&dir);
    let script = format!(
        "tr '\\0' '\\n' </proc/$$/environ | sort >{out}/env; cat /proc/self/status >{out}/status; \
         ls -m /proc/$$/fd; readlink /proc/$$/fd/0 >{out}/stdin; pwd >{out}/dir; \
         umask >{out}/umask; ps -o sid= -p $$ >{out}/session 2>/dev/null; exit 0",
        out = dir.display()
    );
    let mut task = task(1, &script);
    task.spec.env = vec!["GREETING=hello world".into(), "PATH=/usr/bin:/bin".into()];
    task.spec.dir = "/usr".into();
    let status = rig.run(task).await;
    assert_eq!(status.state, TaskState::Complete, "{status:?}");
    let env = rig.read("env");
    let names: Vec<&str> = env.lines().filter_map(|line| line.split('=').next()).collect();
    // The shell itself sets these two.
    let names: Vec<&str> = names.into_iter().filter(|n| !["OLDPWD", "PWD"].contains(n)).collect();
    assert_eq!(names, ["GREETING", "HOME", "PATH"], "{env}");
    assert!(env.contains("GREETING=hello world\n") && env.contains("PATH=/usr/bin:/bin\n"));
    let report = rig.read("status");
    let field = |name: &str| {
        let line = report.lines().find(|line| line.starts_with(&format!("{name}:")));
        line.unwrap().split_once(':').unwrap().1.trim().to_owned()
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb", "SigBlk", "SigIgn"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("CapBnd"), format!("{:016x}", sys::process::TASK_CAPABILITIES.bits()));
    assert_eq!(field("NoNewPrivs"), "0");
    let lines = rig.output(1, Selection::ALL).await;
    assert_eq!(lines[0].line, b"0, 1, 2");
    assert_eq!(rig.read("stdin"), "/dev/null\n");
    assert_eq!(rig.read("dir"), "/usr\n");
    assert_eq!(rig.read("umask"), "0022\n");
}

/// Runs a task on a host whose `/run` is made by `prepare`; returns the child's output.
fn on_a_host_with(prepare: &str, test: &str) -> std::process::Output {
    let temp = temp();
    let script = format!("mount -t tmpfs none /run && {prepare} && exec \"$@\"");
    let wrapper = ["unshare", "-m", "sh", "-c", &script, "sh"];
    child(&wrapper, test, temp.path()).output().unwrap()
}

#[tokio::test]
async fn a_symlink_at_run_secrets_is_refused() {
    const TEST: &str = "isolation::a_symlink_at_run_secrets_is_refused";
    if !root(TEST) {
        return;
    }
    let Some(dir) = child_dir() else {
        let output = on_a_host_with("ln -s /tmp /run/secrets", TEST);
        assert!(output.status.success(), "{output:?}");
        return;
    };
    let mut rig = Rig::new(&dir);
    let status = rig.run(task(1, "true")).await;
    assert_eq!(status.state, TaskState::Rejected);
    assert_eq!(
        status.message,
        "/run/secrets is a symlink or lies behind one, which is never followed"
    );
    assert_eq!(status.exit_code, None);
}

#[tokio::test]
async fn an_existing_run_secrets_is_mounted_over() {
    const TEST: &str = "isolation::an_existing_run_secrets_is_mounted_over";
    if !root(TEST) {
        return;
    }
    let Some(dir) = child_dir() else {
        let output = on_a_host_with("mkdir /run/secrets && touch /run/secrets/hosts", TEST);
        assert!(output.status.success(), "{output:?}");
        return;
    };
    let mut rig = Rig::new(&dir);
    rig.vault.put(secret(1), b"value");
    let mut task =
        task(1, "[ \"$(ls /run/secrets)\" = db ] && [ \"$(cat /run/secrets/db)\" = value ]");
    task.secrets = vec![file(1, "db")];
    let status = rig.run(task).await;
    assert_eq!(status.state, TaskState::Complete, "{status:?}");
    assert!(fs::exists("/run/secrets/hosts").unwrap());
}

#[tokio::test]
async fn what_is_beside_run_secrets_stays() {
    if !can_run("what_is_beside_run_secrets_stays") {
        return;
    }
    let temp = temp();
    let mut rig = Rig::new(temp.path());
    let script = format!("ls -A /run | sort >{}/run", rig.dir.display());
    assert_eq!(rig.run(task(1, &script)).await.state, TaskState::Complete);
    let mut before: Vec<String> = fs::read_dir("/run")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .chain(["secrets".into()])
        .collect();
    before.sort();
    before.dedup();
    let mut after: Vec<String> = rig.read("run").lines().map(Into::into).collect();
    after.sort();
    assert_eq!(after, before);
}

#[tokio::test]
async fn an_agents_folder_is_hidden_by_whatever_name() {
    if !can_run("an_agents_folder_is_hidden_by_whatever_name") {
        return;
    }
    let temp = temp();
    fs::create_dir(temp.path().join("real")).unwrap();
    symlink("real", temp.path().join("link")).unwrap();
    let mut rig = Rig::new(&temp.path().join("link"));
    let script =
        format!("ls -A {dir}/real/agent {dir}/link/agent >{dir}/list", dir = temp.path().display());
    let mut task = task(1, &script);
    // As the agent's own user: for others the folder's mode would do.
    task.spec.user = String::new();
    let status = rig.run(task).await;
    assert_eq!(status.state, TaskState::Complete, "{status:?}");
    let list = fs::read_to_string(temp.path().join("list")).unwrap();
    assert!(list.lines().all(|line| line.is_empty() || line.ends_with(':')), "{list}");
}
