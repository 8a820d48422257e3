//! What is not swarm's, typed at a manager's socket: it is the engine of its machine that answers.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tests::until;

use crate::declared::with_front;
use crate::engine::IMAGE;

/// The docker client at a socket.
fn docker(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments).env("DOCKER_HOST", format!("unix://{}", socket.display()));
    command
}

/// What it prints, given something on standard input.
fn fed(mut command: Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let feeding = std::thread::spawn(move || stdin.write_all(&input));
    let ran = child.wait_with_output().unwrap();
    // Who is refused does not listen to the end.
    drop(feeding.join().unwrap());
    ran
}

fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn docker_reaches_the_engine_over_a_managers_socket() {
    let Some((mut rig, ok)) = with_front("docker_reaches_the_engine_over_a_managers_socket") else {
        return;
    };
    let socket = rig.lab.path().join("docker/docker.sock");
    let typed = |arguments: &[&str]| docker(&socket, arguments);
    rig.lab.ctl().ok_with(&["create", "db", "-"], b"open sesame");
    let create = ["service", "create", "--detach", "--no-resolve-image", "--name", "web"];
    ok(&[&create[..], &["--secret", "db", IMAGE, "sleep", "1000"]].concat());
    rig.lab.await_tasks("web", 1, "running");
    let container = rig.engine.only();

    // What is looked at.
    assert_eq!(ok(&["ps", "--format", "{{.Names}}"]).trim(), container);
    assert_eq!(ok(&["exec", &container, "ls", "/run/secrets"]), "db\n");
    assert_eq!(ok(&["inspect", "--format", "{{.State.Running}}", &container]), "true\n");
    assert!(ok(&["images", "--format", "{{.Repository}}"]).contains("bb"));
    assert!(ok(&["system", "df"]).contains("Images"));
    assert!(ok(&["stats", "--no-stream", "--format", "{{.Name}}"]).contains(&container));

    // A stream both ways: what goes in ends, and what comes out goes on; exit codes come back.
    let long = vec![b'x'; 3 << 20];
    let exec = ["exec", "-i", &container, "sh", "-c", "cat; echo over >&2; exit 7"];
    let ran = fed(typed(&exec), &long);
    assert_eq!((ran.status.code(), &*ran.stderr), (Some(7), &b"over\n"[..]));
    assert!(ran.stdout == long, "{} bytes came back", ran.stdout.len());
    // With a terminal, of which `script` makes one.
    let exec = format!("docker exec -it {container} sh -c 'read line; echo got $line'");
    let mut with_terminal = Command::new("script");
    with_terminal.args(["--quiet", "--return", "--command", &exec, "/dev/null"]);
    with_terminal.env("DOCKER_HOST", format!("unix://{}", socket.display()));
    let ran = fed(with_terminal, b"something\n");
    assert!(String::from_utf8_lossy(&ran.stdout).contains("got something"), "{ran:?}");

    // A container of its own: created, attached to, waited for, and its output followed.
    let run = ["run", "--rm", "-i", "--network", "none", IMAGE, "sh", "-c", "cat; exit 3"];
    let ran = fed(typed(&run), b"in and out");
    assert_eq!((ran.status.code(), &*ran.stdout), (Some(3), &b"in and out"[..]), "{ran:?}");
    ok(&["volume", "create", "vol"]);
    assert!(ok(&["volume", "ls", "--quiet"]).contains("vol"));
    let script =
        "echo first; while ! test -e /on; do sleep 0.1; done; echo second; exec sleep 1000";
    ok(&["run", "--detach", "--name", "own", "--network", "none", IMAGE, "sh", "-c", script]);
    let mut following = typed(&["logs", "--follow", "own"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "first");
    ok(&["exec", "own", "touch", "/on"]);
    assert_eq!(lines.next().unwrap().unwrap(), "second");

    // Bodies of any length, in both directions, of which the manager holds a piece.
    let folder = rig.engine.path().join("root");
    let large = sys::file::Folder::open(&folder).unwrap();
    large.replace("large", 0o644, &vec![b'l'; 120 << 20]).unwrap();
    let pid = rig.lab.managers[0].daemon.pid();
    let before = peak_kib(pid);
    let script = format!("tar -c -C {} . | docker import - large:1", folder.display());
    let pipe = |script: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).env("DOCKER_HOST", format!("unix://{}", socket.display()));
        let ran = shell.output().unwrap();
        assert!(ran.status.success(), "{script}: {ran:?}");
        String::from_utf8(ran.stdout).unwrap()
    };
    assert!(pipe(&script).starts_with("sha256:"));
    let count: u64 = pipe("docker save large:1 | wc -c").trim().parse().unwrap();
    assert!(count > 120 << 20, "{count}");
    let grown = peak_kib(pid) - before;
    assert!(grown < 20 << 10, "{grown} KiB for images of 120 MiB");
    let refused = typed(&["exec", "nobody", "ls"]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("No such container: nobody"), "{said}");

    // A manager that stops ends what is followed; one whose engine is away says so.
    rig.lab.managers[0].daemon.stop();
    assert!(!following.wait().unwrap().success(), "nobody takes it for the end of the output");
    assert!(lines.next().is_none_or(|line| line.is_err()));
    rig.lab.managers[0].daemon.start_again();
    until("the manager answers", || {
        typed(&["node", "ls"]).output().unwrap().status.success().then_some(())
    });
    rig.engine.docker(&["rm", "--force", "own"]);
    rig.lab.ctl().ok(&["service", "rm", "web"]);
    until("the containers are gone", || rig.engine.containers().is_empty().then_some(()));
    rig.engine.kill();
    let away = typed(&["ps"]).output().unwrap();
    let said = String::from_utf8_lossy(&away.stderr).into_owned();
    assert!(said.contains("s.sock does not answer: "), "{said}");
    assert!(typed(&["service", "ls"]).output().unwrap().status.success());
}
