//! Programs whose keys the kernel will neither hide nor lock: refused, unless that was asked for.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tests::{Lab, until};

use crate::PROGRAMS;

/// Starts a program by its name, by a command that starts others.
fn start(lab: &Lab, under: &[&str], name: &str, arguments: &[&str]) -> (Child, PathBuf) {
    let program = lab.path().join(name);
    if !program.exists() {
        symlink(PROGRAMS, &program).unwrap();
    }
    let log = lab.path().join(format!("{name}.log"));
    let file = File::create(&log).unwrap();
    let child = Command::new("env")
        .args(under)
        .arg(&program)
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .unwrap();
    (child, log)
}

/// The command that starts another with no memory that it could lock, nor the right to lock more.
/// `memfd_secret(2)` counts towards the same limit.
fn unable() -> Vec<&'static str> {
    let mut words = vec!["prlimit", "--memlock=0:0"];
    if sys::user::current_uid() == 0 {
        words.extend(["setpriv", "--bounding-set", "-ipc_lock"]);
    }
    words
}

/// Whether a manager can lock what it needs here; an ordinary user may not be allowed to.
fn locks_memory(test: &str) -> bool {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let limit = limits.lines().find(|line| line.starts_with("Max locked memory")).unwrap();
    let soft = limit.split_whitespace().nth(3).unwrap();
    let enough = soft.parse::<u64>().map_or(soft == "unlimited", |bytes| bytes >= 1 << 20);
    if !enough && sys::user::current_uid() != 0 {
        sys::require::skip(test, sys::require::Need::MemfdSecret, limit);
        return false;
    }
    true
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// It ends by itself, with what it said.
fn refused(mut child: Child, log: &Path) -> String {
    let status = until("the program refuses to start", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(1), "{}", text(log));
    text(log)
}

#[test]
fn a_manager_without_protected_memory_starts_only_if_told_to() {
    let lab = Lab::new(PROGRAMS);
    let data = lab.path().join("data");
    let socket = lab.path().join("run/s.sock");
    let (at, socket) = (data.display().to_string(), socket.display().to_string());
    let usual = ["--data", &at, "--socket", &socket, "--listen", "127.0.0.1:0", "--http", "none"];
    let (child, log) = start(&lab, &unable(), "secretd", &usual);
    let said = refused(child, &log);
    assert!(said.contains("keys can be neither hidden nor locked in memory"), "{said}");
    assert!(said.contains("LimitMEMLOCK="), "{said}");
    assert!(said.contains("--allow-unlocked-memory"), "{said}");
    assert!(!data.exists(), "nothing was begun");
    // It was for that alone.
    if !locks_memory("a_manager_without_protected_memory_starts_only_if_told_to") {
        return;
    }
    let (mut child, log) = start(&lab, &[], "secretd", &usual);
    until("it is ready", || text(&log).contains("manager_empty").then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!text(&log).contains("memory_protection=\"none\""), "{}", text(&log));
}

#[test]
fn how_well_keys_are_protected_is_told() {
    let mut lab = Lab::new(PROGRAMS);
    // Every manager of the laboratory is started with --allow-unlocked-memory.
    let index = lab.start_manager_under(&unable(), &[]);
    lab.ctl_of(index).ok(&["cluster", "init", "--hostname", "m1"]);
    assert_eq!(lab.members()[0]["memory_protection"], "none");
    let log = lab.managers[index].daemon.log();
    assert!(log.contains("memory_protection=\"none\""), "{log}");
}

#[test]
fn an_agent_without_protected_memory_starts_only_if_told_to() {
    let mut lab = Lab::new(PROGRAMS);
    lab.found();
    let token = lab.token("agent");
    let token = lab.file("token", token.as_bytes()).display().to_string();
    let place = |name: &str| lab.path().join(name).display().to_string();
    let (data, tasks, address) = (place("a-data"), place("a-tasks"), lab.address());
    let usual = [
        "--data",
        &data,
        "--tasks",
        &tasks,
        "--join-file",
        &token,
        "--manager",
        &address,
        "--hostname",
        "n1",
        "--log-level",
        "info",
    ];
    let (child, log) = start(&lab, &unable(), "secret-agent", &usual);
    let said = refused(child, &log);
    assert!(said.contains("keys can be neither hidden nor locked in memory"), "{said}");
    assert!(said.contains("--allow-unlocked-memory"), "{said}");
    assert!(!Path::new(&data).exists(), "nothing was begun, nobody was asked");
    let allowed = [&usual[..], &["--allow-unlocked-memory"]].concat();
    let (mut child, log) = start(&lab, &unable(), "secret-agent", &allowed);
    until("it has joined", || text(&log).contains("agent_started").then_some(()));
    assert!(text(&log).contains("key_memory=none"), "{}", text(&log));
    child.kill().unwrap();
    child.wait().unwrap();
}
