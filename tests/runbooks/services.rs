//! Pages on services and stacks.

use tests::{Lab, until};

use crate::PROGRAMS;
use crate::desk::Desk;
use crate::reader::Page;

/// Exit status of a refusal, or of what failed.
const FAILED: i32 = 1;

/// The stack that the page has.
const STACK: &str = r#"version: "3.1"
services:
  psql:
    x-secretd: {runtime: process}
    command: ["sh", "-c", "exec sleep 1000"]
    secrets: [psql_user, psql_password]
secrets:
  psql_user:
    file: ./psql_user.txt
  psql_password:
    file: ./psql_password.txt
"#;

/// An update that is paused, and says so in the words of the page.
fn fails(lab: &Lab, update: &[&str]) {
    let ran = lab.ctl().run(update);
    assert_eq!(ran.status, FAILED, "{ran:?}");
    for words in ["the update of service web is paused", "update paused due to failure or early"] {
        assert!(ran.stderr.contains(words), "{ran:?}");
    }
}

pub(crate) fn update_service(page: &mut Page) {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.agent("n1");
    for name in ["db_password", "db_password_2"] {
        lab.ctl().ok_with(&["create", name, "-"], name.as_bytes());
    }
    let create =
        ["service", "create", "--name", "web", "--replicas", "2", "--secret", "db_password"];
    let options = ["--update-monitor", "1s", "--update-delay", "100ms", "--"];
    let script = "cat /run/secrets/db_password; echo; exec sleep 1000";
    lab.ctl().ok(&[&create[..], &options, &["sh", "-c", script]].concat());
    let desk = Desk::of_manager(&lab, 0).with("NODE", "n1");
    let block = page.block("secretctl service update web --secret-rm");
    desk.types(&mut lab, &block);
    let output = lab.ctl().ok(&["service", "logs", "--no-prefix", "web"]);
    assert_eq!(output.lines().filter(|line| *line == "db_password_2").count(), 2, "{output}");

    // What it needs is not there, and then it is.
    let needed = lab.path().join("needed");
    let script = format!("test -e {} || exit 3; exec sleep 1000", needed.display());
    fails(&lab, &["service", "update", "web", "--", "sh", "-c", &script]);
    let block = page.block("secretctl service inspect web");
    let ran = desk.types(&mut lab, &block);
    assert!(ran[1].stdout.contains("exit status 3"), "{ran:?}");
    lab.file("needed", b"");
    let block = page.block("secretctl service update web");
    desk.types(&mut lab, &block);
    lab.await_tasks("web", 2, "running");

    fails(&lab, &["service", "update", "web", "--", "sh", "-c", "exit 3"]);
    let block = page.block("secretctl service rollback web");
    desk.types(&mut lab, &block);
    lab.await_tasks("web", 2, "running");

    lab.ctl().ok(&["node", "update", "n1", "--availability", "pause"]);
    lab.ctl().ok(&["service", "update", "--detach", "--replicas", "3", "web"]);
    until("one is pending, and says why", || {
        let tasks = lab.ctl().json(&["service", "ps", "web"]);
        let mut tasks = tasks.as_array().unwrap().iter();
        tasks.find(|task| task["message"].as_str().is_some_and(|why| !why.is_empty())).map(drop)
    });
    let block = page.block("secretctl service ps web");
    desk.types(&mut lab, &block);
    lab.ctl().ok(&["node", "update", "n1", "--availability", "active"]);
    lab.await_tasks("web", 3, "running");
    lab.ctl().ok(&["service", "update", "--force", "web"]);
    let block = page.block("secretctl service inspect web");
    desk.types(&mut lab, &block);
}

pub(crate) fn stacks(page: &mut Page) {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.agent("n1");
    let desk = Desk::of_manager(&lab, 0);
    let files = [
        ("docker-compose.yml", STACK),
        ("psql_user.txt", "admin"),
        ("psql_password.txt", "myDBpassWORD"),
    ];
    for (name, text) in files {
        std::fs::write(desk.folder().join(name), text).unwrap();
    }
    let block = page.block("secretctl stack deploy");
    desk.types(&mut lab, &block);
    lab.await_tasks("mydb_psql", 1, "running");
    let block = page.block("secretctl stack ls");
    let ran = desk.types(&mut lab, &block);
    assert!(ran[0].stdout.contains("mydb"), "{ran:?}");
    assert!(ran[1].stdout.contains("mydb_psql.1"), "{ran:?}");
    assert!(ran[2].stdout.contains("mydb_psql"), "{ran:?}");
    assert_eq!(lab.ctl().json(&["service", "ls"]), serde_json::json!([]));
}
