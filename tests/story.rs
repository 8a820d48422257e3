//! The path of one secret, from an operator's standard input to `/run/secrets`, on real parts.
//!
//! Three managers, two agents, each a process with its own certificate and folder. Read it top to
//! bottom: it follows ARCHITECTURE.md, "The path of a secret", step by step. Not here: what goes
//! wrong on that path (`cluster/`).
#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not take for tests")]

use tests::{Lab, until};

const PROGRAMS: &str = env!("CARGO_BIN_EXE_programs");

/// The value: nothing else in the world looks like it.
const VALUE: &[u8] = b"correct-horse-4f1c9e07-battery-staple";

/// Neither does its label.
const LABEL: &str = "treasurer-2b6d51c8";

#[test]
fn a_secret_travels_from_standard_input_to_its_task_and_nowhere_else() {
    // Three managers agree on a log; two nodes have an agent each.
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    lab.agent("n1");
    lab.agent("n2");
    let ctl = lab.ctl();

    // 1, 2. The operator's tool reads the value from standard input and seals it. It prints the
    // secret's id and nothing else.
    let label = format!("owner={LABEL}");
    let id = ctl.ok_with(&["create", "db_password", "-", "--label", &label], VALUE);
    let id = id.trim();
    assert_eq!(id.len(), 25, "an id: {id}");

    // 3 to 6. A manager took it in and all of them hold it: each answers, from its own state.
    for index in 0..3 {
        let secret = lab.ctl_of(index).json(&["inspect", "db_password"]);
        assert_eq!(secret[0]["id"], id);
        assert_eq!(secret[0]["current_version"], 1);
        assert_eq!(secret[0]["labels"]["owner"], LABEL);
    }

    // 7. A service uses it: tasks are made, placed, and their node is entitled to the secret.
    let script = "sha256sum </run/secrets/db_password; stat -c '%a %u %g %n' /run/secrets/*; \
                  grep ' /run/secrets ' /proc/self/mountinfo; exec sleep 1000";
    let service = ["service", "create", "--name", "db", "--constraint", "node.hostname==n1"];
    let command = ["--secret", "db_password", "--", "sh", "-c", script];
    ctl.ok(&[&service[..], &command].concat());
    let task = lab.await_tasks("db", 1, "running").remove(0);
    assert_eq!(task["node"], "n1");
    // 8 to 10. The manager that holds n1's session delivered this version, and the agent mounted it.
    assert_eq!(task["mounted"][0]["secret_id"], id, "{task}");
    assert_eq!(task["mounted"][0]["version"], 1, "{task}");

    // 11. The task reads it: its bytes, its owner, its mode, on a filesystem that is in memory only
    // and cannot be written.
    let output = until("the task's output", || {
        let output = ctl.ok(&["service", "logs", "--no-prefix", "db"]);
        (output.lines().count() >= 3).then_some(output)
    });
    let sys::user::User { uid, gid, .. } = sys::user::current().unwrap();
    assert!(output.contains(&hex_of_sha256(VALUE)), "{output}");
    assert!(output.contains(&format!("400 {uid} {gid} /run/secrets/db_password")), "{output}");
    let mount = output.lines().find(|line| line.contains(" /run/secrets ")).unwrap();
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(mount.split([' ', ',']).any(|word| word == option), "{option} in {mount}");
    }

    // Nowhere else: the other node never had it, no manager's disk shows value, name or label,
    // and it cannot be removed while it is used.
    let other = ctl.json(&["node", "inspect", "n2"]);
    assert_eq!(other[0]["hostname"], "n2");
    for folder in lab.data_folders() {
        assert_eq!(files_with(&folder, VALUE), Vec::<String>::new());
        assert_eq!(files_with(&folder, b"db_password"), Vec::<String>::new());
        assert_eq!(files_with(&folder, LABEL.as_bytes()), Vec::<String>::new());
    }
    let said = ctl.refused(1, &["rm", "db_password"], b"");
    assert!(said.contains("in use by the following service: db"), "{said}");

    // The service goes, its task with it, and the secret can go.
    ctl.ok(&["service", "rm", "db"]);
    until("the secret is free", || (ctl.run(&["rm", "db_password"]).status == 0).then_some(()));
    assert_eq!(ctl.ok(&["ls", "--quiet"]), "");
}

/// The files below a folder that hold some bytes; the search itself is tried first.
fn files_with(folder: &std::path::Path, wanted: &[u8]) -> Vec<String> {
    let holds = |bytes: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    assert!(holds(&[b"before ", wanted, b" after"].concat()));
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            if holds(&std::fs::read(&path).unwrap()) {
                found.push(path.display().to_string());
            }
        }
    }
    assert!(files > 3, "a manager's folder has files");
    found
}

fn hex_of_sha256(bytes: &[u8]) -> String {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut command = Command::new("sha256sum");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}
