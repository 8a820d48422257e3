//! An agent without root, as a developer runs it. As root these tests run themselves again as an
//! ordinary user.

use std::os::unix::process::CommandExt as _;

use agent::supervisor::launch::Launcher;
use proto::task::TaskState;
use sys::mount::Kind;

use crate::support::{NOBODY, Rig, can_run, child, child_dir, file, is_root, secret, task, temp};

/// Whether this process is to be the rootless agent; else it has been, in another one.
fn as_an_ordinary_user(test: &str) -> Option<std::path::PathBuf> {
    if !can_run(test) {
        return None;
    }
    if let Some(dir) = child_dir() {
        return Some(dir);
    }
    let temp = temp();
    let mut command = child(&["env"], test, temp.path());
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    None
}

#[tokio::test]
async fn a_rootless_agent_runs_tasks_of_its_own_user() {
    const TEST: &str = "rootless::a_rootless_agent_runs_tasks_of_its_own_user";
    let Some(dir) = as_an_ordinary_user(TEST) else {
        return;
    };
    let mut rig = Rig::new(&dir);
    rig.vault.put(secret(1), b"value");
    let script = format!(
        "[ \"$(cat /run/secrets/db)\" = value ] && id -u >{out}/id && \
         stat -c '%u %g %a' /run/secrets/db >>{out}/id && \
         stat -f -c %T /run/secrets >>{out}/id && ls -A {out}/agent >>{out}/id",
        out = dir.display()
    );
    let mut own = task(1, &script);
    own.secrets = vec![file(1, "db")];
    let status = rig.run(own).await;
    assert_eq!(status.state, TaskState::Complete, "{status:?}");
    let user = sys::user::current().unwrap();
    let (uid, gid) = (user.uid, user.gid);
    assert_eq!(rig.read("id"), format!("{uid}\n{uid} {gid} 400\nramfs\n"));
}

#[tokio::test]
async fn a_rootless_agent_refuses_foreign_users_with_the_reason() {
    const TEST: &str = "rootless::a_rootless_agent_refuses_foreign_users_with_the_reason";
    let Some(dir) = as_an_ordinary_user(TEST) else {
        return;
    };
    let mut rig = Rig::new(&dir);
    rig.vault.put(secret(1), b"value");
    let mut foreign_file = task(1, "exit 9");
    foreign_file.secrets = vec![file(1, "db")];
    foreign_file.secrets[0].uid = Some(7);
    let status = rig.run(foreign_file).await;
    assert_eq!(status.state, TaskState::Rejected);
    let expected = "secret `s1` cannot be mounted: cannot give db to user 7 and group";
    assert!(status.message.starts_with(expected), "{status:?}");
    let hint = "an agent without root gives files to its own user only";
    assert!(status.message.ends_with(hint), "{status:?}");

    let mut foreign_user = task(2, "exit 9");
    foreign_user.spec.user = "0:0".into();
    let status = rig.run(foreign_user).await;
    assert_eq!(status.state, TaskState::Rejected);
    assert!(status.message.starts_with("cannot become user 0 with group 0"), "{status:?}");
}

#[tokio::test]
async fn an_agent_can_tell_where_it_would_mount() {
    const TEST: &str = "rootless::an_agent_can_tell_where_it_would_mount";
    let launcher = || Launcher::new(env!("CARGO_BIN_EXE_secret-agent").into(), Vec::new());
    if is_root() {
        assert_eq!(launcher().probe().unwrap(), Kind::TmpfsNoswap);
    }
    let Some(_dir) = as_an_ordinary_user(TEST) else {
        return;
    };
    assert_eq!(launcher().probe().unwrap(), Kind::Ramfs);
}
