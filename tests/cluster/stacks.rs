//! A compose file without docker, on a real manager and agent.
//!
//! What compose files mean is tested in secretctl; here the stack runs.

use std::path::Path;

use tests::Lab;

use crate::PROGRAMS;

/// The file of a Swarm course's chapter on secrets, as a process: it reads both secrets, and runs.
const FILE: &str = r#"version: "3.1"

services:
  psql:
    x-secretd: {runtime: process}
    command:
      - /bin/sh
      - -c
      - 'echo "$$(cat "$$USER_FILE") $$(cat "$$PASSWORD_FILE") ${GREETING:-hello}"; exec sleep 1000'
    secrets:
      - psql_user
      - source: psql_password
        mode: 0440
    environment:
      PASSWORD_FILE: /run/secrets/psql_password
      USER_FILE: /run/secrets/psql_user
    deploy:
      replicas: 2
      update_config: {monitor: 1s, failure_action: rollback}

secrets:
  psql_user:
    file: ./psql_user.txt
  psql_password:
    file: ./psql_password.txt
"#;

/// How many lines of the service say this.
fn said(lab: &Lab, line: &str) -> usize {
    let output = lab.ctl().ok(&["service", "logs", "--no-prefix", "mydb_psql"]);
    output.lines().filter(|it| *it == line).count()
}

#[test]
fn a_compose_file_runs_is_changed_and_is_gone() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.agent("n1");
    let write = |name: &str, text: &str| lab.file(name, text.as_bytes());
    write("psql_user.txt", "admin");
    write("psql_password.txt", "first");
    let compose = write("docker-compose.yml", FILE);
    let compose: &Path = compose.as_ref();
    let compose = compose.to_str().unwrap();
    let deploy = ["stack", "deploy", "-c", compose, "--wait"];
    let deploy = |options: &[&str]| lab.ctl().ok(&[&deploy[..], options, &["mydb"]].concat());

    let made = deploy(&[]);
    assert_eq!(
        made,
        "Creating secret mydb_psql_password\nCreating secret mydb_psql_user\n\
         Creating service mydb_psql\n"
    );
    assert_eq!(said(&lab, "admin first hello"), 2);
    let task = lab.await_tasks("mydb_psql", 2, "running").remove(0);
    assert_eq!(task["secrets"][1]["mode"], "0440", "{task}");
    let ids = |lab: &Lab| {
        let tasks = lab.await_tasks("mydb_psql", 2, "running");
        let mut ids: Vec<_> = tasks.iter().map(|task| task["id"].to_string()).collect();
        ids.sort_unstable();
        ids
    };
    let before = ids(&lab);

    // Again: nothing is to be done, also where the file of a secret is not.
    assert_eq!(deploy(&["--prune"]), "");
    std::fs::remove_file(lab.path().join("psql_user.txt")).unwrap();
    assert_eq!(deploy(&[]), "");
    assert_eq!(ids(&lab), before);
    let kept = lab.ctl().run(&[&["stack", "deploy", "-c", compose][..], &["mydb"]].concat());
    assert!(kept.stderr.contains("secret mydb_psql_user keeps its value: cannot open"), "{kept:?}");
    let asked = [&["stack", "deploy", "-c", compose][..], &["--rotate-secrets", "mydb"]].concat();
    let refused = lab.ctl().refused(1, &asked, b"");
    assert!(refused.contains("cannot open"), "{refused}");
    // Another value is noticed, and every one becomes a version where that is said.
    write("psql_user.txt", "admin");
    write("psql_password.txt", "second");
    assert_eq!(deploy(&[]), "Rotating secret mydb_psql_password\n");
    assert_eq!(said(&lab, "admin second hello"), 2);
    assert_eq!(deploy(&[]), "");
    let rotated = deploy(&["--rotate-secrets"]);
    assert_eq!(rotated, "Rotating secret mydb_psql_password\nRotating secret mydb_psql_user\n");
    let audit = lab.ctl().ok(&["cluster", "audit"]);
    assert!(audit.contains("another_value"), "{audit}");

    let changed = write("over.yml", "services: {psql: {command: [/bin/sleep, '1000']}}");
    let changed = ["-c", changed.to_str().unwrap()];
    let updated = deploy(&changed);
    assert!(updated.starts_with("Updating service mydb_psql (id: "), "{updated}");
    assert_eq!(lab.ctl().json(&["service", "inspect", "mydb_psql"])[0]["command"][0], "/bin/sleep");

    assert_eq!(lab.ctl().json(&["stack", "ls"])[0]["name"], "mydb");
    assert_eq!(lab.ctl().json(&["stack", "services", "mydb"])[0]["name"], "mydb_psql");
    let removed = lab.ctl().ok(&["stack", "rm", "mydb"]);
    assert_eq!(
        removed,
        "Removing service mydb_psql\nRemoving secret mydb_psql_password\n\
         Removing secret mydb_psql_user\n"
    );
    let gone = lab.ctl().refused(1, &["stack", "ps", "mydb"], b"");
    assert!(gone.contains("nothing found in stack: mydb"), "{gone}");
    assert_eq!(lab.ctl().json(&["ls"]).as_array().unwrap().len(), 0);
}

#[test]
fn a_config_is_a_file_of_a_process_and_of_a_stack() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.agent("n1");
    let file = lab.file("site.conf", b"listen 80;").display().to_string();
    lab.ctl().ok(&["config", "create", "--label", "tier=web", "site", &file]);
    let create = ["service", "create", "--name", "web", "--config", "site"];
    let script = "stat -c %a /run/secrets/site; cat /run/secrets/site; echo; exec sleep 1000";
    lab.ctl().ok(&[&create[..], &["--", "sh", "-c", script]].concat());
    let output = lab.ctl().ok(&["service", "logs", "--no-prefix", "web"]);
    assert_eq!(output, "444\nlisten 80;\n");
    let shown = lab.ctl().json(&["config", "inspect", "site"]);
    assert_eq!(shown[0]["data"], "listen 80;");
    assert_eq!(shown[0]["used_by"], serde_json::json!(["web"]));
    let refused = lab.ctl().refused(1, &["config", "rm", "site"], b"");
    assert!(refused.contains("config site is in use by the following service: web"), "{refused}");
    // A process has no other place of its own.
    let elsewhere = ["service", "update", "--config-add", "source=site,target=/etc/site", "web"];
    let refused = lab.ctl().refused(1, &elsewhere, b"");
    assert!(refused.contains("config `site` cannot be at /etc/site for a process"), "{refused}");
    assert!(refused.contains("target=/run/secrets/site"), "{refused}");

    let text = "services:\n  web:\n    x-secretd: {runtime: process}\n    command: [sh, -c, 'cat \
                /run/secrets/greeting; exec sleep 1000']\n    configs: [greeting]\nconfigs:\n  \
                greeting: {content: \"hello\\n\"}\n";
    let compose = lab.file("compose.yml", text.as_bytes()).display().to_string();
    let deploy = || lab.ctl().ok(&["stack", "deploy", "-c", &compose, "--wait", "s"]);
    assert_eq!(deploy(), "Creating config s_greeting\nCreating service s_web\n");
    assert_eq!(deploy(), "", "it is as declared");
    assert_eq!(lab.ctl().ok(&["service", "logs", "--no-prefix", "s_web"]), "hello\n");
    lab.file("compose.yml", text.replace("hello", "goodbye").as_bytes());
    let refused = lab.ctl().refused(1, &["stack", "deploy", "-c", &compose, "s"], b"");
    assert!(refused.contains("config s_greeting is there with another value"), "{refused}");
    let removed = lab.ctl().ok(&["stack", "rm", "s"]);
    assert_eq!(removed, "Removing service s_web\nRemoving config s_greeting\n");
}
