//! A secret is in clear in its task's filesystem and nowhere else: not while it is used, and not
//! after.
//!
//! One value that looks like nothing else lives a whole life, with everything logged that can be:
//! it is created, delivered, read, kept through a change of leader, of log keys and of the root key,
//! and removed.
//! Meanwhile and afterwards, with connections still open, the memory of every process of ours is
//! searched, every file, and everything that went over the loopback. Each search must also find
//! what was planted for it. Keys and cores: `keys`; data keys, and values while others create fifty
//! secrets a second: `data_keys`; what docker brought: `docker`. Not here: nodes that were told to keep
//! a value.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests, which clippy does not take for tests"
)]

#[path = "../benches/client.rs"]
mod client;
mod data_keys;
mod docker;
mod keys;
mod others;
mod search;
mod wire;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use search::Search;
use tests::{Lab, until};
use wire::Wire;

const PROGRAMS: &str = env!("CARGO_BIN_EXE_programs");

/// Held by a test that captures: each captures everything that goes over the loopback.
static WIRE: Mutex<()> = Mutex::new(());

const TEST: &str = "a_value_is_in_its_tasks_filesystem_and_nowhere_else";

/// Everything the programs would ever tell.
const LOG: &str = "trace";

#[test]
fn a_value_is_in_its_tasks_filesystem_and_nowhere_else() {
    if !sys::require::root(TEST) {
        return;
    }
    let _one = WIRE.lock().unwrap_or_else(PoisonError::into_inner);
    let value = seal::random::<64>();
    let search = Search::of(&value);
    let wire = Wire::listen();
    let mut lab = Lab::new(PROGRAMS);
    LOG.clone_into(&mut lab.log);
    LOG.clone_into(&mut lab.agents_log);
    let ports = found_with_metrics(&mut lab, 3);
    lab.agent("n1");
    lab.agent("n2");
    let ctl = lab.ctl();

    // Created, delivered, read.
    ctl.ok_with(&["create", "canary", "-"], &value);
    // Like no other process of this machine.
    let sleep = format!("sleep 1000.{}", std::process::id());
    let script = format!("sha256sum /run/secrets/canary; exec {sleep}");
    let service = ["service", "create", "--name", "reader", "--secret", "canary"];
    ctl.ok(&[&service[..], &["--", "sh", "-c", &script]].concat());
    lab.await_tasks("reader", 1, "running");
    until("the task has read it", || {
        ctl.ok(&["service", "logs", "--no-prefix", "reader"]).contains("canary").then_some(())
    });
    // There it is, so the search works on what it is for.
    let task = processes().into_iter().find(|process| process.is(&sleep)).unwrap();
    let mounted = Path::new("/proc").join(task.pid.to_string()).join("root/run/secrets/canary");
    assert_eq!(std::fs::read(mounted).unwrap(), value);
    assert!(held_by_agents(&lab).contains(&(1, 1)), "an agent holds its data key, and says so");
    assert_nowhere(&search, &lab, 1, "while its task runs");

    // The leader goes; the log keys change, and the root key.
    let leader = lab.leader();
    lab.managers[leader].daemon.kill();
    let ctl = lab.ctl();
    until("another leads", || {
        (ctl.run_with(&["create", "another", "-"], b"one").status == 0).then_some(())
    });
    lab.managers[leader].daemon.start_again();
    lab.await_socket(leader);
    ctl.ok(&["cluster", "rotate", "log-key"]);
    ctl.ok(&["cluster", "rotate", "root-key"]);
    assert_nowhere(&search, &lab, 1, "after a change of leader, of log keys and of the root key");

    // The task goes, and the secret.
    ctl.ok(&["service", "rm", "reader"]);
    until("the secret is free", || (ctl.run(&["rm", "canary"]).status == 0).then_some(()));
    until("the task is gone", || {
        (!processes().iter().any(|process| process.pid == task.pid)).then_some(())
    });
    assert_nowhere(&search, &lab, 0, "after it was removed");
    assert_key_memory_is_empty(&lab, &ports);

    let captured = wire.end();
    assert!(captured.len() > 100_000, "{} bytes went over the loopback", captured.len());
    assert_eq!(search.bytes(&mut captured.as_slice(), "the wire"), Vec::<String>::new());
    let wire = Wire::listen();
    wire::send(&value);
    let found = search.bytes(&mut wire.end().as_slice(), "the wire");
    assert!(!found.is_empty(), "what is sent in clear is found among what is captured");
}

/// Managers of one cluster that show figures; gives the ports of these.
fn found_with_metrics(lab: &mut Lab, count: usize) -> Vec<u16> {
    let mut ports = Vec::new();
    for number in 1..=count {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let join = (number > 1).then(|| (lab.token("manager"), lab.address()));
        let index = lab.start_manager(&["--http", &format!("127.0.0.1:{port}")]);
        let name = format!("m{number}");
        match &join {
            None => lab.ctl_of(index).ok(&["cluster", "init", "--hostname", &name]),
            Some((token, address)) => {
                let join = ["cluster", "join", "--token", token, "--hostname", &name, address];
                lab.ctl_of(index).ok(&join)
            }
        };
        ports.push(port);
    }
    ports
}

/// Secrets and data keys that each agent holds, by its last word.
fn held_by_agents(lab: &Lab) -> Vec<(usize, usize)> {
    let last = |log: &str| -> Option<(usize, usize)> {
        let line = log.lines().rfind(|line| line.contains("secrets_held"))?;
        let number = |name: &str| -> Option<usize> {
            line.split(' ').find_map(|word| word.strip_prefix(name))?.parse().ok()
        };
        assert_eq!(number("live.values="), Some(0), "{line}");
        Some((number("secrets=")?, number("live.data_keys=")?))
    };
    lab.agents.iter().filter_map(|agent| last(&agent.daemon.log())).collect()
}

/// Key memory, which cannot be read, holds no data key and no value: by the programs' own count. A
/// manager never has a value, and data keys only for the time of a wrap.
fn assert_key_memory_is_empty(lab: &Lab, ports: &[u16]) {
    let figure = |port: &u16, name: &str| -> u64 {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", *port)).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut page = String::new();
        std::io::Read::read_to_string(&mut stream, &mut page).unwrap();
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.expect(name).parse().unwrap()
    };
    for port in ports {
        assert!(figure(port, "secretd_key_memory_free") > 0);
        until("no data key is left", || {
            (figure(port, "secretd_live_data_keys") == 0).then_some(())
        });
        assert_eq!(figure(port, "secretd_live_values"), 0);
    }
    until("no agent holds anything", || {
        held_by_agents(lab).iter().all(|held| *held == (0, 0)).then_some(())
    });
    if keys::protects_keys(lab, TEST) {
        let managers = lab.managers.iter().map(|manager| &manager.daemon);
        for daemon in managers.chain(lab.agents.iter().map(|agent| &agent.daemon)) {
            keys::assert_slab_cannot_be_read(daemon.pid());
        }
    }
}

/// Searches every process and every file of a laboratory in which so many tasks run, and which now
/// has both a process and a file that hold the value.
fn assert_nowhere(search: &Search, lab: &Lab, tasks: usize, when: &str) {
    let mut control = Command::new("sh")
        .args(["-c", "read -r value; echo there; read -r never", lab.path().to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let planted = search.planted();
    let mut stdin = control.stdin.take().unwrap();
    writeln!(stdin, "{planted}").unwrap();
    let mut stdout = control.stdout.take().unwrap();
    std::io::Read::read_exact(&mut stdout, &mut [0; 5]).unwrap();
    let file = lab.file("planted", planted.as_bytes());

    let folder = lab.path().to_str().unwrap();
    let ours: Vec<_> = processes().into_iter().filter(|process| process.is(folder)).collect();
    // Managers, agents, the control, and the supervisor of each task that runs.
    let least = lab.managers.len() + lab.agents.len() + 1 + tasks;
    assert!(ours.len() >= least, "{when}: {} processes", ours.len());
    let mut found = Vec::new();
    for process in &ours {
        let places = search.process(process.pid);
        if process.pid == control.id() {
            assert!(!places.is_empty(), "{when}: what was planted in a process is found");
            continue;
        }
        let name = process.arguments.replace('\0', " ");
        found.extend(places.into_iter().map(|place| format!("{place} of {name}")));
    }
    drop(stdin);
    control.kill().unwrap();
    control.wait().unwrap();

    let mut planted = false;
    search.folder(lab.path(), &mut |path: &Path, place| {
        planted |= path == file;
        if path != file {
            found.push(place);
        }
    });
    assert!(planted, "{when}: what was planted in a file is found");
    std::fs::remove_file(file).unwrap();
    assert!(found.is_empty(), "{when}:\n{}", found.join("\n"));
}

/// A process of this machine.
struct Process {
    pid: u32,
    arguments: String,
}

impl Process {
    fn is(&self, words: &str) -> bool {
        self.arguments.replace('\0', " ").contains(words)
    }
}

fn processes() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let of = |pid| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some(Process { pid, arguments: String::from_utf8_lossy(&arguments).into_owned() })
    };
    pids.filter_map(of).collect()
}
