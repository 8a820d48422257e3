//! `demo` and `dev` with real managers, a real agent and real mounts; and that nothing is left of
//! them, whichever way they end.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sys::require::{Need, root, skip};

use crate::program::{Place, Ran, run};

/// An ordinary user.
const NOBODY: u32 = 65_534;

/// A place whose folder for temporary files is everybody's, like /tmp.
fn place() -> Place {
    let place = Place::new();
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    std::fs::create_dir(place.path().join("t")).unwrap();
    open(place.path(), 0o755);
    open(&place.path().join("t"), 0o1777);
    place
}

/// The program in its place, or another program that is to start it.
fn command(place: &Place, before: &[&str], program: &Path, args: &[&str]) -> Command {
    let mut command = match before.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
            command
        }
        None => Command::new(program),
    };
    command.args(args).env("TMPDIR", place.path().join("t")).current_dir("/");
    command
}

fn own_program() -> PathBuf {
    env!("CARGO_BIN_EXE_secretctl").into()
}

/// A copy that everybody may execute, wherever this tree is.
fn copied_program(place: &Place) -> PathBuf {
    let copy = place.path().join("secretctl");
    std::fs::copy(own_program(), &copy).unwrap();
    copy
}

/// Nothing of a cluster is there: no folder, no process that names one, nothing mounted for it.
fn nothing_is_left(place: &Place) {
    let left: Vec<_> = std::fs::read_dir(place.path().join("t")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    let folder = place.path().join("t").display().to_string();
    for (pid, name, text) in process_files() {
        // The one who looks has it in its arguments, if at all.
        let is_own = pid == std::process::id();
        assert!(is_own || !text.contains(&folder), "process {pid} names it in {name}: {text}");
    }
}

/// Arguments and mounts of every process.
fn process_files() -> Vec<(u32, &'static str, String)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let entry = entry.unwrap();
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        for name in ["cmdline", "mountinfo"] {
            // Processes come and go.
            let bytes = std::fs::read(entry.path().join(name)).unwrap_or_default();
            files.push((pid, name, String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    files
}

/// What `demo --json` saw, having held.
fn seen(place: &Place, ran: &Ran) -> Value {
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    nothing_is_left(place);
    let seen: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(seen["task"]["value_is_the_one_stored"], true);
    assert_eq!(seen["disk"]["is_found"], false);
    assert!(seen["disk"]["bytes"].as_u64().unwrap() > 100_000, "{seen}");
    seen
}

fn has_options(seen: &Value, options: &[&str]) {
    let all = seen["task"]["options"].as_array().unwrap();
    for option in options {
        assert!(all.iter().any(|one| one == option), "{option}: {all:?}");
    }
}

#[test]
fn root_sees_a_secret_in_a_real_mount_and_nowhere_else() {
    if !root("demo::root_sees_a_secret_in_a_real_mount_and_nowhere_else") {
        return;
    }
    let place = place();
    let ran = run(command(&place, &[], &own_program(), &["demo", "--json"]), b"");
    let seen = seen(&place, &ran);
    assert_eq!((&seen["mode"], &seen["managers"]), (&"root".into(), &3.into()));
    assert_eq!(seen["weaker"], Value::Array(Vec::new()), "{seen}");
    assert_eq!(seen["secret"]["is_made"], true);
    has_options(&seen, &["ro", "nosuid", "nodev", "noexec", "noswap"]);
    assert_eq!(seen["task"]["filesystem"], "tmpfs");
    assert_eq!(seen["memory"]["is_found"], false);
    assert!(seen["memory"]["bytes"].as_u64().unwrap() > 10_000_000, "{seen}");
}

#[test]
fn a_piped_secret_is_used_and_never_printed() {
    const VALUE: &str = "correct horse battery staple";
    let place = place();
    let ran =
        run(command(&place, &[], &own_program(), &["demo", "--managers", "1"]), VALUE.as_bytes());
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    nothing_is_left(&place);
    assert!(ran.stdout.contains("28 bytes, from standard input, not shown"), "{}", ran.stdout);
    let digest = proto::hex::encode(&seal::digest_of(VALUE.as_bytes()));
    for text in [&ran.stdout, &ran.stderr] {
        assert!(!text.contains("horse") && !text.contains(&digest), "{text}");
    }
    // Without anything piped one is made, and shown.
    let mut made = command(&place, &[], &own_program(), &["demo", "--managers", "1"]);
    let made = made.stdin(Stdio::null()).output().unwrap();
    let made = String::from_utf8(made.stdout).unwrap();
    assert!(made.contains("32 bytes, made here: "), "{made}");
}

#[test]
fn a_value_that_is_found_by_chance_is_not_looked_for() {
    let values: [(&[u8], &str); 2] = [
        (b"short", "a value of less than 8 bytes is found by chance"),
        (&[0; 16], "the value was there before it was stored: finding it would say nothing"),
    ];
    for (value, because) in values {
        let place = place();
        let args = ["demo", "--managers", "1", "--json"];
        let ran = run(command(&place, &[], &own_program(), &args), value);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        let seen: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(seen["disk"]["is_searched"], false);
        assert_eq!(seen["disk"]["because"], because);
        nothing_is_left(&place);
    }
}

/// Arguments that make what follows an ordinary user's, if this one is not.
fn as_nobody() -> Vec<&'static str> {
    if sys::user::current_uid() != 0 {
        return Vec::new();
    }
    vec!["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
}

/// Whether an ordinary user can make a user namespace; else that is said.
fn can_unshare(test: &str) -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--mount", "true"]);
    if sys::user::current_uid() == 0 {
        unshare.uid(NOBODY).gid(NOBODY);
    }
    let can = unshare.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !can {
        skip(test, Need::UserNamespaces, "an ordinary user cannot make a user namespace here");
    }
    can
}

/// Whether tasks can have secrets here; else that is said.
fn can_mount(test: &str) -> bool {
    sys::user::current_uid() == 0 || can_unshare(test)
}

#[test]
fn an_ordinary_user_sees_it_in_a_user_namespace_and_is_told_what_is_weaker() {
    if !can_unshare("demo::an_ordinary_user_sees_it_in_a_user_namespace") {
        return;
    }
    let place = place();
    let program = copied_program(&place);
    let ran = run(command(&place, &as_nobody(), &program, &["demo", "--json"]), b"");
    let seen = seen(&place, &ran);
    assert_eq!(seen["mode"], "user_namespace");
    assert!(seen["weaker"].as_array().unwrap().len() >= 2, "{seen}");
    has_options(&seen, &["ro", "nosuid", "nodev", "noexec"]);
    // The managers hide it from their own user, too.
    assert_eq!(seen["memory"]["is_searched"], false);
}

#[test]
fn where_nothing_can_be_mounted_each_lost_property_is_named() {
    if !can_unshare("demo::where_nothing_can_be_mounted_each_lost_property_is_named") {
        return;
    }
    let place = place();
    let program = copied_program(&place);
    // In a user namespace that allows no further one, without a right to mount.
    let denied = "echo 0 >/proc/sys/user/max_user_namespaces && \
                  exec setpriv --ambient-caps=-all --inh-caps=-all \"$@\"";
    let mut before = as_nobody();
    before.extend(["unshare", "--user", "--map-user=1000", "--map-group=1000", "--keep-caps"]);
    before.extend(["sh", "-c", denied, "sh"]);
    let ran = run(command(&place, &before, &program, &["demo", "--json"]), b"");
    let seen = seen(&place, &ran);
    assert_eq!(seen["mode"], "folder");
    let weaker = seen["weaker"].to_string();
    for lost in ["cannot be mounted here", "can read them", "read-only", "swapped", "namespace"] {
        assert!(weaker.contains(lost), "{lost}: {weaker}");
    }
    assert_eq!(seen["task"]["filesystem"], Value::Null);
    let left = std::fs::read_dir("/dev/shm").unwrap().filter_map(Result::ok);
    let left: Vec<_> = left.filter(|entry| is_nobodys(&entry.path())).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn is_nobodys(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let is_ours =
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("secretd-"));
    is_ours && path.metadata().is_ok_and(|metadata| metadata.uid() == NOBODY)
}

/// `dev`, with a task that has a secret.
struct Dev {
    child: Child,
    stderr: BufReader<ChildStderr>,
    socket: String,
    folder: PathBuf,
}

impl Dev {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let facts: Value = serde_json::from_str(&line).unwrap();
        let text = |key: &str| facts[key].as_str().unwrap().to_owned();
        Self { child, stderr, socket: text("socket"), folder: text("folder").into() }
    }

    /// `secretctl` as it says.
    fn talk(&self, args: &[&str], stdin: &[u8]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_secretctl"));
        command.args(args).env_clear().env("SECRETD_SOCKET", &self.socket);
        let ran = run(command, stdin);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
    }

    /// Runs a task with a secret that does not end by itself; returns a word of its command.
    fn run_task(&self) -> String {
        // No other cluster's task sleeps as long.
        let folder = self.folder.file_name().unwrap().to_str().unwrap();
        let number = u32::from_str_radix(folder.strip_prefix("secretd-").unwrap(), 16).unwrap();
        let seconds = format!("1{number:010}");
        self.talk(&["create", "db", "-"], b"value");
        // It says so once it has its secret.
        let script = format!("test -s /run/secrets/db && echo ready && sleep {seconds}");
        let words = ["service", "create", "--name", "s", "--secret", "db", "--update-monitor"];
        self.talk(&[&words[..], &["0s", "--", "/bin/sh", "-c", &script]].concat(), b"");
        let mut logs = Command::new(env!("CARGO_BIN_EXE_secretctl"));
        logs.args(["service", "logs", "--follow", "--no-prefix", "s"]).env_clear();
        logs.env("SECRETD_SOCKET", &self.socket).stdout(Stdio::piped());
        let mut logs = logs.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(logs.stdout.take().unwrap()).read_line(&mut line).unwrap();
        logs.kill().unwrap();
        logs.wait().unwrap();
        assert_eq!(line, "ready\n");
        seconds
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end, and for that of whoever keeps the cluster and has the same standard
    /// error; returns the exit status.
    fn end(mut self) -> Option<i32> {
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Dev {
    /// Of a test that failed nothing stays either.
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Whether a process has this word in its arguments.
fn runs(word: &str) -> bool {
    process_files().iter().any(|(_, name, text)| *name == "cmdline" && text.contains(word))
}

#[test]
fn nothing_is_left_of_a_cluster_that_is_interrupted() {
    if !can_mount("demo::nothing_is_left_of_a_cluster_that_is_interrupted") {
        return;
    }
    for signal in [Signal::INT, Signal::TERM] {
        let place = place();
        let dev = Dev::start(command(&place, &[], &own_program(), &["dev", "--json"]));
        assert!(dev.folder.starts_with(place.path()), "{}", dev.folder.display());
        let task = dev.run_task();
        dev.signal(signal);
        assert_eq!(dev.end(), Some(0), "{signal:?}");
        assert!(!runs(&task), "{signal:?}");
        nothing_is_left(&place);
    }
}

#[test]
fn nothing_is_left_of_a_cluster_whose_owner_is_killed() {
    if !can_mount("demo::nothing_is_left_of_a_cluster_whose_owner_is_killed") {
        return;
    }
    let place = place();
    let dev = Dev::start(command(&place, &[], &own_program(), &["dev", "--json"]));
    let task = dev.run_task();
    dev.signal(Signal::KILL);
    assert_eq!(dev.end(), None);
    assert!(!runs(&task));
    nothing_is_left(&place);
}

#[test]
fn nothing_is_left_of_a_task_whose_agent_was_killed() {
    if !can_mount("demo::nothing_is_left_of_a_task_whose_agent_was_killed") {
        return;
    }
    let place = place();
    let dev = Dev::start(command(&place, &[], &own_program(), &["dev", "--json"]));
    let task = dev.run_task();
    let agent = process_files().into_iter().find(|(_, name, text)| {
        *name == "cmdline"
            && text.contains("\0agent\0")
            && text.contains(&dev.folder.display().to_string())
    });
    let pid = Pid::from_raw(i32::try_from(agent.unwrap().0).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    // The task outlives its agent, and not the cluster.
    assert!(runs(&task));
    dev.signal(Signal::INT);
    assert_eq!(dev.end(), Some(0));
    assert!(!runs(&task));
    nothing_is_left(&place);
}

#[test]
fn a_demonstration_that_is_interrupted_leaves_nothing() {
    let place = place();
    let mut command = command(&place, &[], &own_program(), &["demo"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    // In the middle of making the cluster.
    while !line.contains("m1 made a cluster") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended too soon");
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    nothing_is_left(&place);
}

#[test]
fn a_keeper_takes_no_folder_that_holds_something() {
    let place = place();
    let folder = place.path().join("t/secretd-1");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    let kept = folder.join("kept");
    std::fs::File::create(&kept).unwrap();
    for folder in [&folder, &place.path().join("t")] {
        let args = ["daemon", "keeper", &folder.display().to_string()];
        let ran = run(command(&place, &[], &own_program(), &args), b"");
        assert_eq!(ran.status, 1, "{}", ran.stdout);
        assert!(ran.stdout.starts_with("left "), "{}", ran.stdout);
        assert!(kept.exists());
    }
}

#[test]
fn a_useless_tmpdir_is_passed_over() {
    let place = place();
    for odd in
        ["/nowhere/at/all".to_owned(), format!("{}/{}", place.path().display(), "x".repeat(90))]
    {
        std::fs::create_dir_all(place.path().join("x".repeat(90))).unwrap();
        let mut command = command(&place, &[], &own_program(), &["dev", "--json"]);
        command.env("TMPDIR", odd);
        let dev = Dev::start(command);
        assert!(dev.folder.exists() && dev.socket.len() <= 107, "{}", dev.socket);
        dev.talk(&["node", "inspect", "node1"], b"");
        let folder = dev.folder.clone();
        dev.signal(Signal::INT);
        assert_eq!(dev.end(), Some(0));
        assert!(!folder.exists());
    }
}
