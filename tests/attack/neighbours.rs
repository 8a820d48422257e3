//! Two tasks on one node, one of them with secrets: what each sees, and what is left afterwards.

use std::path::Path;

use tests::{Lab, until};

use crate::PROGRAMS;

const VALUE: &[u8] = b"between-neighbours-5e0c";

/// What a task without the secret tries. Nothing is printed by what finds nothing; the pattern does
/// not match itself.
const LOOKS: &str = "ls -A /run/secrets 2>/dev/null
    grep -h ' /run/secrets ' /proc/[0-9]*/mountinfo | cut -d ' ' -f 3 | sort -u | grep -c .
    for process in /proc/[0-9]*; do
        ls -A $process/root/run/secrets 2>/dev/null
        cat $process/root/run/secrets/* $process/environ 2>/dev/null | grep -a 'between-[n]eigh'
    done
    grep -ras -D skip 'between-[n]eigh' /run /dev/shm LAB
    echo looked
    exec sleep 1000";

fn output(lab: &Lab, service: &str, last: &str) -> String {
    until(&format!("{service} prints {last}"), || {
        let output = lab.ctl().ok(&["service", "logs", "--no-prefix", service]);
        output.lines().any(|line| line == last).then_some(output)
    })
}

/// Processes that belong to the agent, by what their arguments or their environment name, and the
/// mounts of secrets that they see.
fn left_of(agent: &Path) -> Vec<String> {
    let mut left = Vec::new();
    let agent = agent.display().to_string();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let process = entry.path();
        // A process that ends meanwhile has nothing.
        let read = |name: &str| {
            let bytes = std::fs::read(process.join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let arguments = read("cmdline");
        if !arguments.contains(&agent) && !read("environ").contains(&agent) {
            continue;
        }
        left.push(arguments);
        let mounts = read("mountinfo");
        let secrets = mounts.lines().filter(|line| line.contains(" - tmpfs secrets "));
        left.extend(secrets.map(ToOwned::to_owned));
    }
    left
}

#[test]
fn a_task_sees_its_files_and_its_neighbour_does_not() {
    if !sys::require::root("a_task_sees_its_files_and_its_neighbour_does_not") {
        return;
    }
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.agent("n1");
    let place = lab.path().join("a1");
    let ctl = lab.ctl();
    ctl.ok_with(&["create", "psql_pass", "-"], VALUE);
    ctl.ok_with(&["create", "tls_key", "-"], b"key\nwith lines\n");
    let script = "cd /run/secrets
        find . -mindepth 1 -type d -printf 'd %P %U %G %m\\n'
        find . -type f -printf 'f %P %U %G %m %s\\n' | sort
        cat db; echo; cat tls/key.pem
        grep ' /run/secrets ' /proc/self/mountinfo
        echo shown
        exec sleep 1000";
    let mark = format!("MARK={}", place.display());
    let create = ["service", "create", "--detach", "--env", &mark, "--name"];
    let secrets = [
        "--secret",
        "source=psql_pass,target=db,uid=1234,gid=4321,mode=0440",
        "--secret",
        "source=tls_key,target=tls/key.pem",
    ];
    ctl.ok(&[&create[..], &["has"], &secrets, &["--", "sh", "-c", script]].concat());
    let shown = output(&lab, "has", "shown");
    let (files, mount) = shown.split_at(shown.find(" /run/secrets ").expect("it is mounted"));
    let files: Vec<&str> = files.lines().collect();
    assert_eq!(
        files[..6],
        [
            "d tls 0 0 755",
            "f db 1234 4321 440 23",
            "f tls/key.pem 0 0 400 15",
            "between-neighbours-5e0c",
            "key",
            "with lines",
        ]
    );
    assert_eq!(files.len(), 7, "and the line of the mount: {shown}");
    assert!(mount.starts_with(" /run/secrets ro,nosuid,nodev,noexec"), "{mount}");
    assert!(mount.contains(" - tmpfs secrets ro,"), "{mount}");
    let options = mount.lines().next().unwrap();
    assert!(options.split([' ', ',']).any(|option| option == "noswap"), "{options}");

    // The neighbour has the same user and looks everywhere.
    let looks = LOOKS.replace("LAB", &lab.path().display().to_string());
    ctl.ok(&[&create[..], &["has-not", "--", "sh", "-c", &looks]].concat());
    assert_eq!(output(&lab, "has-not", "looked"), "1\nlooked\n", "its own mount, which is empty");
    // While there was something to be found: two mounts of secrets, and what waits for the tasks.
    let found = left_of(&place);
    assert!(found.iter().filter(|line| line.contains(" /run/secrets ")).count() >= 2, "{found:?}");
    assert!(found.iter().filter(|line| line.starts_with("sleep 1000")).count() == 2, "{found:?}");

    // The tasks end, and with them every trace: only the agent is left.
    for name in ["has", "has-not"] {
        ctl.ok(&["service", "rm", name]);
    }
    let left = until("nothing is mounted and no supervisor is left", || {
        Some(left_of(&place)).filter(|left| left.len() == 1)
    });
    assert!(left[0].starts_with("secret-agent "), "{left:?}");
}
