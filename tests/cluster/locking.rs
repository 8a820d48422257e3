//! Managers that lock: what a restart needs, what opens what, and what does not any more.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use seal::{LockedKeyFile, UnlockKey};
use tests::{Lab, until};

use crate::PROGRAMS;
use crate::rotation::{
    assert_gives_up, assert_nothing_opens, assert_under_none, await_complete, of, open_stolen,
    start_on_stolen, steal_keys,
};

/// Exit status of a refusal, and of what may pass later.
const REFUSED: i32 = 1;
const LATER: i32 = 69;

/// The unlock key among what a command printed.
pub(crate) fn key_in(stdout: &str) -> String {
    let mut words = stdout.split_whitespace().filter(|word| word.starts_with("SECKEY-1-"));
    let key = words.next().expect("it shows a key").to_owned();
    assert_eq!(words.next(), None, "it is shown once");
    key
}

pub(crate) fn id(key: &str) -> String {
    UnlockKey::parse(key.as_bytes()).unwrap().id().to_string()
}

fn seed(lab: &Lab, index: usize) -> PathBuf {
    lab.managers[index].data.join("unlock-seed")
}

pub(crate) fn start(lab: &mut Lab, index: usize) {
    lab.managers[index].daemon.start_again();
    lab.await_socket(index);
}

fn restart(lab: &mut Lab, index: usize) {
    lab.managers[index].daemon.stop();
    start(lab, index);
}

/// Three managers that vote, and said what opens them.
pub(crate) fn three() -> Lab {
    let lab = Lab::with_managers(PROGRAMS, 3);
    until("all vote, and have said what opens them", || {
        let members = lab.members();
        let mut members = members.iter();
        members.all(|m| m["state"] == "voter" && m["key_file_generation"] == 1).then_some(())
    });
    lab
}

/// What a manager says of itself over its socket, once that satisfies.
fn await_status(
    lab: &Lab,
    index: usize,
    what: &str,
    is: impl Fn(&serde_json::Value) -> bool,
) -> serde_json::Value {
    until(&format!("manager {index}: {what}"), || {
        let ran = lab.ctl_of(index).run(&["--timeout", "2s", "cluster", "status", "--json"]);
        let status = serde_json::from_str(&ran.stdout).ok()?;
        is(&status).then_some(status)
    })
}

pub(crate) fn await_locked(lab: &Lab, index: usize) -> serde_json::Value {
    await_status(lab, index, "locked", |status| status["phase"] == "locked")
}

fn await_serving(lab: &Lab, index: usize) -> serde_json::Value {
    await_status(lab, index, "serving", |status| {
        status["phase"] == "serving" && status["leader"].is_u64()
    })
}

/// What a manager is told when it is tried with a key that does not open it.
fn refused(lab: &Lab, index: usize, key: &str) -> String {
    lab.ctl_of(index).refused(REFUSED, &["cluster", "unlock"], key.as_bytes())
}

pub(crate) fn unlock(lab: &Lab, index: usize, key: &str) {
    lab.ctl_of(index).ok_with(&["cluster", "unlock"], format!("{key}\n").as_bytes());
}

/// Whether anything in a data folder that is a key file opens with a key.
pub(crate) fn opens(data: &Path, key: &str) -> bool {
    let slot = UnlockKey::parse(key.as_bytes()).unwrap().slot();
    let mut key_files = 0;
    let mut opened = false;
    for entry in std::fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        // One that was being replaced is not there any more.
        let Ok(bytes) = std::fs::read(path) else { continue };
        if let Ok(locked) = LockedKeyFile::parse(&bytes) {
            key_files += 1;
            opened |= locked.open(&slot).is_ok();
        }
    }
    assert_eq!(key_files, 1, "there is one key file");
    opened
}

/// Ports that a process listens on, by the kernel's word.
fn ports_of(pid: u32) -> Vec<u16> {
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .map(|link| link.display().to_string())
        .collect();
    let mut ports = Vec::new();
    for table in ["tcp", "tcp6"] {
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let listens = fields[3] == "0A";
            if listens && sockets.contains(&format!("socket:[{}]", fields[9])) {
                let (_, port) = fields[1].rsplit_once(':').unwrap();
                ports.push(u16::from_str_radix(port, 16).unwrap());
            }
        }
    }
    ports
}

fn http(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The files below a folder that hold one of some texts, with which.
fn files_with<'a>(folder: &Path, wanted: &[(&'a str, &[u8])]) -> Vec<(&'a str, PathBuf)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                let bytes = std::fs::read(&path).unwrap();
                let holds = |text: &[u8]| memchr::memmem::find(&bytes, text).is_some();
                let here = wanted.iter().filter(|(_, text)| holds(text));
                found.extend(here.map(|(what, _)| (*what, path.clone())));
            }
        }
    }
    found
}

/// No file of the laboratory, logs included, and no argument of its programs shows a key.
fn assert_nowhere(lab: &Lab, key: &str) {
    let parsed = UnlockKey::parse(key.as_bytes()).unwrap();
    let seed = parsed.expose_seed();
    let spelled = key.strip_prefix("SECKEY-1-").unwrap();
    let hex = proto::hex::encode(seed);
    let debug = format!("{seed:?}");
    let debug = debug.trim_matches(['[', ']']);
    let control = lab.file("control", format!("before {spelled} after").as_bytes());
    let wanted = [
        ("the word", spelled.as_bytes()),
        ("the seed", &seed[..]),
        ("the seed in hexadecimal", hex.as_bytes()),
        ("the seed as a list", debug.as_bytes()),
    ];
    assert_eq!(files_with(lab.path(), &wanted), [("the word", control.clone())]);
    std::fs::remove_file(control).unwrap();
    // So is its environment.
    let is_root = sys::require::root("locking: the environment of managers");
    let shown: &[&str] = if is_root { &["cmdline", "environ"] } else { &["cmdline"] };
    for manager in lab.managers.iter().filter(|manager| manager.daemon.runs()) {
        for of in shown {
            let bytes = std::fs::read(format!("/proc/{}/{of}", manager.daemon.pid())).unwrap();
            let shows = bytes.windows(spelled.len()).any(|window| window == spelled.as_bytes());
            assert!(!shows, "{of}");
        }
    }
}

#[test]
fn a_locked_manager_waits_for_its_key_and_then_serves_all_it_had() {
    let mut lab = Lab::new(PROGRAMS);
    // Everything that is logged at all: no key may be in it.
    lab.log = "trace".into();
    let port = free_port();
    lab.start_manager(&["--http", &format!("127.0.0.1:{port}")]);
    let made = lab.ctl_of(0).run(&["cluster", "init", "--autolock", "--hostname", "m1"]);
    assert_eq!(made.status, 0, "{made:?}");
    let key = key_in(&made.stdout);
    assert!(made.stderr.contains(&id(&key)), "its id is said: {}", made.stderr);
    assert!(!seed(&lab, 0).exists(), "there is no seed that would open it");
    assert!(opens(&lab.managers[0].data, &key));
    lab.ctl().ok_with(&["create", "db_password", "-"], b"value");
    let before = lab.ctl().json(&["ls"]);
    let address = lab.address();
    assert!(http(port, "/metrics").contains("\nsecretd_autolock 1\n"));

    restart(&mut lab, 0);
    let status = await_locked(&lab, 0);
    assert_eq!(status["unlock_key_id"], id(&key), "{status}");
    // Nothing but the unix socket, and the port that watches: no call reaches it over a network.
    assert!(TcpStream::connect(&address).is_err(), "{address} is closed");
    // What a hardened process has open is shown to root alone.
    if sys::require::root("a_locked_manager_waits_for_its_key_and_then_serves_all_it_had: ports") {
        assert_eq!(ports_of(lab.managers[0].daemon.pid()), [port]);
    }
    assert!(http(port, "/livez").starts_with("HTTP/1.1 200"));
    let ready = http(port, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("locked"), "{ready}");
    assert!(http(port, "/metrics").contains("secretd_phase{phase=\"locked\"} 1"));
    for arguments in [
        &["ls"][..],
        &["create", "other", "-"],
        &["service", "ls"],
        &["cluster", "update", "--autolock", "off"],
        &["cluster", "unlock-key", "--rotate"],
        &["cluster", "init"],
    ] {
        let said = lab.ctl_of(0).refused(LATER, arguments, b"x");
        assert!(said.contains("this manager is locked"), "{arguments:?}: {said}");
        assert!(said.contains("secretctl cluster unlock"), "{arguments:?}: {said}");
    }

    // A slip is noticed before anything is sent; a wrong key by the manager; each says what it is.
    let mut slip = key.clone().into_bytes();
    let last = slip.len() - 1;
    slip[last] = if slip[last] == b'A' { b'B' } else { b'A' };
    let said = refused(&lab, 0, std::str::from_utf8(&slip).unwrap());
    assert!(said.contains("typing slip") && said.contains("nothing was sent"), "{said}");
    assert!(!lab.managers[0].daemon.log().contains("unlock_refused"));
    let wrong = UnlockKey::make().expose().to_string();
    let said = refused(&lab, 0, &wrong);
    assert!(said.contains("does not open this manager"), "{said}");
    assert!(said.contains(&id(&wrong)) && said.contains(&id(&key)), "{said}");
    assert!(lab.managers[0].daemon.log().contains("unlock_refused"));
    assert!(lab.ctl_of(0).refused(REFUSED, &["cluster", "unlock"], b"").contains("not an unlock"));
    await_locked(&lab, 0);
    // Not as an argument, and not over a network.
    let said = lab.ctl_of(0).refused(2, &["cluster", "unlock", &key], b"");
    assert!(said.contains("never an argument") && !said.contains(&key), "{said}");

    unlock(&lab, 0, &key);
    assert_eq!(lab.ctl_of(0).json(&["ls"]), before);
    let status = await_serving(&lab, 0);
    assert_eq!(status["members"][0]["unlocked_by"], "unlock-key", "{status}");
    assert_eq!(status["unlock_key_id"], id(&key));
    let said = refused(&lab, 0, &key);
    assert!(said.contains("this manager is not locked"), "{said}");
    assert_nowhere(&lab, &key);
}

#[test]
fn autolock_is_turned_on_and_off_while_it_serves() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.ctl().ok_with(&["create", "kept", "-"], b"value");
    let ctl = lab.ctl();
    let off = |arguments: &[&str], reason: &str| {
        let said = ctl.refused(REFUSED, arguments, b"");
        assert!(said.contains(reason), "{said}");
    };
    off(&["cluster", "update", "--autolock", "off"], "autolock is off already");
    off(&["cluster", "unlock-key", "--rotate"], "autolock is off");
    off(&["cluster", "unlock-key"], "autolock is off");
    assert!(seed(&lab, 0).exists());
    let mut keys: Vec<String> = Vec::new();
    for _ in 0..2 {
        std::fs::copy(seed(&lab, 0), lab.path().join("seed")).unwrap();
        let key = key_in(&lab.ctl().ok(&["cluster", "update", "--autolock", "on"]));
        assert!(!seed(&lab, 0).exists(), "its seed is destroyed");
        assert!(opens(&lab.managers[0].data, &key));
        let status = await_serving(&lab, 0);
        assert_eq!(status["autolock"], true);
        assert_eq!(status["unlock_key_id"], id(&key));
        let said = lab.ctl().refused(REFUSED, &["cluster", "update", "--autolock", "on"], b"");
        assert!(said.contains("autolock is on already"), "{said}");
        let said = lab.ctl().refused(REFUSED, &["cluster", "unlock-key"], b"");
        assert!(said.contains("cannot be shown") && said.contains(&id(&key)), "{said}");

        // As if it had died between sealing anew and removing the seed: that opens nothing, and goes.
        lab.managers[0].daemon.stop();
        std::fs::copy(lab.path().join("seed"), seed(&lab, 0)).unwrap();
        start(&mut lab, 0);
        await_locked(&lab, 0);
        assert!(seed(&lab, 0).exists());
        // The key of the time before is told from one that was never this cluster's.
        if let Some(before) = keys.last() {
            let said = refused(&lab, 0, before);
            assert!(said.contains("this unlock key was replaced"), "{said}");
        }
        unlock(&lab, 0, &key);
        until("its seed is removed", || (!seed(&lab, 0).exists()).then_some(()));
        lab.ctl().ok(&["cluster", "update", "--autolock", "off"]);
        let (new, old) = (seed(&lab, 0), lab.path().join("seed"));
        assert_ne!(std::fs::read(new).unwrap(), std::fs::read(old).unwrap(), "it has a new seed");
        assert!(!opens(&lab.managers[0].data, &key), "and the unlock key opens nothing");
        restart(&mut lab, 0);
        let status = await_serving(&lab, 0);
        assert_eq!(status["members"][0]["unlocked_by"], "file", "{status}");
        assert_eq!(lab.ctl().json(&["ls"])[0]["name"], "kept");
        keys.push(key);
    }
    assert_ne!(keys[0], keys[1]);
    let audit = lab.ctl().json(&["cluster", "audit"]);
    let changes = audit.as_array().unwrap().iter().filter(|one| one["action"] == "set_recipients");
    assert_eq!(changes.filter(|one| one["outcome"] == "ok").count(), 4, "{audit}");
    for key in &keys {
        assert_nowhere(&lab, key);
    }
}

#[test]
fn a_manager_that_was_down_is_named_follows_once_it_starts_and_the_old_key_is_done() {
    let mut lab = three();
    lab.ctl().ok_with(&["create", "kept", "-"], b"value");
    let followed = |lab: &Lab, generation: u64| {
        await_status(lab, 0, "all key files are sealed anew", |status| {
            let mut members = status["members"].as_array().unwrap().iter();
            members.all(|member| member["key_file_generation"] == generation)
        })
    };

    // Down while locking is turned on: it still opens by itself, once, and follows.
    lab.managers[2].daemon.stop();
    let ran = lab.ctl().run(&["cluster", "update", "--autolock", "on"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.stderr.contains("(m3) was down: until it starts once, it still opens by itself"));
    let first = key_in(&ran.stdout);
    assert!(!seed(&lab, 0).exists() && !seed(&lab, 1).exists());
    assert!(seed(&lab, 2).exists());
    start(&mut lab, 2);
    await_serving(&lab, 2);
    followed(&lab, 2);
    until("its seed is destroyed", || (!seed(&lab, 2).exists()).then_some(()));

    // Down while the key is replaced: it needs the old one, once.
    lab.managers[2].daemon.stop();
    let ran = lab.ctl().run(&["cluster", "unlock-key", "--rotate"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let second = key_in(&ran.stdout);
    let named = format!(
        "(m3) was down: until it starts once, it still opens with the unlock key {}",
        id(&first)
    );
    assert!(ran.stderr.contains(&named), "{}", ran.stderr);
    let status = lab.ctl().json(&["cluster", "status"]);
    assert!(
        status["problems"].to_string().contains("it still opens with the unlock key"),
        "{status}"
    );
    for index in [0, 1] {
        assert!(!opens(&lab.managers[index].data, &first), "manager {index}");
        assert!(opens(&lab.managers[index].data, &second), "manager {index}");
    }
    assert!(opens(&lab.managers[2].data, &first));
    start(&mut lab, 2);
    let status = await_locked(&lab, 2);
    assert_eq!(status["unlock_key_id"], id(&first));
    let said = refused(&lab, 2, &second);
    assert!(said.contains("if the key was changed while this manager was down"), "{said}");
    assert!(said.contains(&id(&first)) && said.contains(&id(&second)), "{said}");
    unlock(&lab, 2, &first);
    followed(&lab, 3);

    // From now on the old key opens nothing, on any of them: not the folder, and no start.
    for index in 0..3 {
        assert!(!opens(&lab.managers[index].data, &first), "manager {index}");
    }
    restart(&mut lab, 2);
    let said = refused(&lab, 2, &first);
    assert!(said.contains("this unlock key was replaced"), "{said}");
    assert!(said.contains(&format!("needs the later key {}", id(&second))), "{said}");
    unlock(&lab, 2, &second);
    assert_eq!(lab.ctl_of(2).json(&["ls"])[0]["name"], "kept");

    // With nobody down, it says that it is done; for programs, in JSON.
    until("all answer", || {
        lab.members().iter().all(|member| member["reachable"] == true).then_some(())
    });
    let ran = lab.ctl().run(&["--json", "cluster", "unlock-key", "--rotate"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let (made, came) = ran.stdout.split_once('\n').unwrap();
    let made: serde_json::Value = serde_json::from_str(made).unwrap();
    let third = made["unlock_key"].as_str().unwrap().to_owned();
    assert_eq!(made["unlock_key_id"], id(&third));
    let came: serde_json::Value = serde_json::from_str(came).unwrap();
    assert_eq!(came["done"], true, "{came}");
    assert_eq!(came["followed"].as_array().unwrap().len(), 3);
    for index in 0..3 {
        assert!(opens(&lab.managers[index].data, &third));
        assert!(!opens(&lab.managers[index].data, &second));
    }
    for key in [&first, &second, &third] {
        assert_nowhere(&lab, key);
    }
}

/// What it missed reaches it as a snapshot: the log that had it is gone everywhere else.
#[test]
fn a_manager_that_catches_up_by_snapshot_follows_too() {
    let mut lab = three();
    lab.managers[2].daemon.stop();
    let ran = lab.ctl().run(&["cluster", "update", "--autolock", "on"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let key = key_in(&ran.stdout);
    // Log keys rotate with it, which ends on a manager when nothing of its log from before is left.
    let keys = lab.ctl().json(&["cluster", "keys"]);
    let waiting = keys["members"].as_array().unwrap().iter();
    let waiting = waiting.filter(|member| !member["waits_for"].is_null());
    assert!(waiting.eq([of(&keys, 2)]), "{keys}");
    start(&mut lab, 2);
    await_serving(&lab, 2);
    until("its seed is destroyed", || (!seed(&lab, 2).exists()).then_some(()));
    await_complete(&lab, 1);
    restart(&mut lab, 2);
    let status = await_locked(&lab, 2);
    assert_eq!(status["unlock_key_id"], id(&key));
    unlock(&lab, 2, &key);
}

/// A stolen key file opens with an unlock key of its time, and a manager on a copy of the disk as it
/// is now starts with both: nothing of that disk opens.
fn assert_key_opens_nothing(lab: &mut Lab, index: usize, stolen: &Path, key: &str) {
    let slot = UnlockKey::parse(key.as_bytes()).unwrap().slot();
    lab.managers[index].daemon.stop();
    assert_under_none(&lab.managers[index].data, &open_stolen(stolen, &slot));
    let before = lab.managers[index].daemon.log();
    start_on_stolen(&mut lab.managers[index], stolen);
    lab.await_socket(index);
    await_locked(lab, index);
    let ran = lab.ctl_of(index).run_with(&["--timeout", "5s", "cluster", "unlock"], key.as_bytes());
    assert!(ran.stderr.contains("unlocked; the manager reads its log"), "{ran:?}");
    assert_ne!(ran.status, 0, "{ran:?}");
    assert_gives_up(&mut lab.managers[index], &before);
}

#[test]
fn a_new_unlock_key_comes_with_new_log_keys_and_the_old_ones_open_nothing_new() {
    let mut lab = three();
    lab.ctl().ok_with(&["create", "kept", "-"], b"value");
    let seeds = steal_keys(&lab, "seeds");

    // One is down while locking is turned on: it is named, and what that means; then it follows.
    lab.managers[2].daemon.stop();
    let ran = lab.ctl().run(&["cluster", "update", "--autolock", "on"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let first = key_in(&ran.stdout);
    let said = &ran.stderr;
    assert!(said.contains("warning: log key rotation 1 waits for manager"), "{said}");
    assert!(said.contains("(m3): it does not answer") && said.contains("until then"), "{said}");
    assert!(said.contains("done on all managers that answer"), "{said}");
    assert!(!said.contains("is complete") && !said.contains("it heals"), "{said}");
    start(&mut lab, 2);
    await_complete(&lab, 1);
    await_status(&lab, 0, "all key files are sealed anew", |status| {
        let mut members = status["members"].as_array().unwrap().iter();
        members.all(|member| member["key_file_generation"] == 2)
    });

    // With nobody down it is done when it says so.
    let former = steal_keys(&lab, "former");
    let ran = lab.ctl().run(&["cluster", "unlock-key", "--rotate"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let second = key_in(&ran.stdout);
    let said = &ran.stderr;
    assert!(said.contains("log key rotation 2 is complete"), "{said}");
    assert!(said.contains("done: no manager opens by anything else"), "{said}");
    assert!(said.contains("it heals") && said.contains("it does not heal"), "{said}");
    let members = lab.ctl().json(&["cluster", "keys", "--verify"])["members"].clone();
    for member in members.as_array().unwrap() {
        let check = &member["check"];
        assert!(check["damaged"].is_null() && check["diverged"].is_null(), "{member}");
    }

    for index in 0..3 {
        let folder = index.to_string();
        assert!(opens(&lab.managers[index].data, &second), "manager {index}");
        assert_key_opens_nothing(&mut lab, index, &former.join(&folder), &first);
        assert_nothing_opens(&mut lab, index, &seeds.join(&folder));
    }
}

/// The ids of the root and log keys in a key file.
fn keys_in(folder: &Path, key: &str) -> BTreeSet<[u8; 16]> {
    let file = LockedKeyFile::parse(&std::fs::read(folder.join("keys")).unwrap()).unwrap();
    let contents = file.open(&UnlockKey::parse(key.as_bytes()).unwrap().slot()).unwrap();
    let roots = contents.roots.iter().map(|key| *key.id().as_bytes());
    roots.chain(contents.logs.iter().map(|key| *key.id().as_bytes())).collect()
}

#[test]
fn a_key_that_leaked_with_a_disk_takes_the_root_key_with_it_and_names_the_values() {
    let lab = three();
    let former = key_in(&lab.ctl().ok(&["cluster", "update", "--autolock", "on"]));
    for name in ["db_password", "tls_key"] {
        lab.ctl().ok_with(&["create", name, "-"], b"value");
    }
    let stolen = steal_keys(&lab, "stolen");
    let ran = lab.ctl().run(&["cluster", "unlock-key", "--rotate", "--compromised"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    for name in ["db_password", "tls_key"] {
        assert!(ran.stdout.contains(name), "its value may be known: {ran:?}");
    }
    assert!(ran.stderr.contains("root key rotation 1 is complete"), "{ran:?}");
    assert!(ran.stderr.contains("has the values of 2 secrets"), "{ran:?}");
    let key = key_in(&ran.stdout);
    for (index, manager) in lab.managers.iter().enumerate() {
        let before = keys_in(&stolen.join(index.to_string()), &former);
        let now = keys_in(&manager.data, &key);
        assert!(before.is_disjoint(&now), "manager {index} has nothing of what was in the copy");
    }
    assert_eq!(lab.ctl().json(&["ls"]).as_array().unwrap().len(), 2);
}

#[test]
fn a_key_that_goes_while_log_keys_rotate_has_a_rotation_of_its_own() {
    let mut lab = three();
    lab.ctl().ok_with(&["create", "kept", "-"], b"value");
    let seeds = steal_keys(&lab, "seeds");
    lab.managers[2].daemon.stop();
    lab.ctl().ok(&["cluster", "rotate", "log-key", "--no-wait"]);
    // Their new log keys are made, and stand in key files that the seeds open.
    until("only the one that is down is waited for", || {
        let keys = lab.ctl().json(&["cluster", "keys"]);
        let mut others = [of(&keys, 0), of(&keys, 1)].into_iter();
        others.all(|member| member["rotation"] == 1).then_some(())
    });
    let later = steal_keys(&lab, "later");
    let ran = lab.ctl().run(&["--json", "cluster", "update", "--autolock", "on"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let (_, came) = ran.stdout.split_once('\n').unwrap();
    let came: serde_json::Value = serde_json::from_str(came).unwrap();
    assert_eq!(came["done"], false, "{came}");
    let rotation = &came["log_key_rotation"];
    let state = (&rotation["number"], &rotation["begun"], &rotation["complete"]);
    assert_eq!(state, (&2.into(), &false.into(), &false.into()), "{came}");
    assert_eq!(rotation["waits_for"][0]["hostname"], "m3", "{came}");
    assert!(!seed(&lab, 0).exists(), "the locking itself does not wait");
    let keys = lab.ctl().json(&["cluster", "keys"]);
    assert_eq!(keys["log_key_rotation"]["number"], 1);
    assert_eq!(keys["log_key_rotation"]["next"], 2);

    start(&mut lab, 2);
    let keys = await_complete(&lab, 2);
    assert!(keys["log_key_rotation"]["next"].is_null(), "{keys}");
    for index in 0..3 {
        for stolen in [&seeds, &later] {
            assert_nothing_opens(&mut lab, index, &stolen.join(index.to_string()));
        }
    }
}

#[test]
fn of_several_who_change_the_key_at_a_time_one_wins_or_they_take_turns() {
    let lab = three();
    lab.ctl().ok(&["cluster", "update", "--autolock", "on"]);
    // The key that is in use was shown by a command that succeeded.
    let rotating: Vec<_> = (0..3)
        .map(|index| {
            let ctl = lab.ctl_of(index);
            std::thread::spawn(move || ctl.run(&["cluster", "unlock-key", "--rotate"]))
        })
        .collect();
    let ran: Vec<_> = rotating.into_iter().map(|thread| thread.join().unwrap()).collect();
    let in_use = lab.ctl().json(&["cluster", "status"])["unlock_key_id"].clone();
    let mut winners = Vec::new();
    for ran in &ran {
        match ran.status {
            0 => winners.push(key_in(&ran.stdout)),
            status => {
                let late = ["was changed meanwhile", "under way"];
                let late = late.iter().any(|text| ran.stderr.contains(text));
                assert!(status == REFUSED && late, "{ran:?}");
            }
        }
    }
    let winner = winners.iter().find(|key| in_use == id(key)).expect("it was shown");
    for index in 0..3 {
        assert!(opens(&lab.managers[index].data, winner), "manager {index}");
        let others = winners.iter().filter(|key| *key != winner);
        for other in others {
            assert!(!opens(&lab.managers[index].data, other), "manager {index}");
        }
    }
}

#[test]
fn an_admin_changes_the_locking_over_the_network_and_nobody_unlocks_over_it() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    let operator = |lab: &Lab, name: &str, role: &str| {
        let token = lab.ctl().ok(&["operator", "add", name, "--role", role]);
        let home = lab.path().join(name);
        std::fs::create_dir(&home).unwrap();
        let ctl = lab.ctl().at_home(&home);
        let add = ["context", "add", "here", "--token", "-", "--manager", &lab.address()];
        ctl.ok_with(&add, token.lines().next().unwrap().as_bytes());
        ctl.with_context("here")
    };
    let admin = operator(&lab, "ada", "admin");
    for role in ["deployer", "writer", "auditor"] {
        let ctl = operator(&lab, role, role);
        let ran = ctl.run(&["cluster", "update", "--autolock", "on"]);
        assert_eq!(ran.status, REFUSED, "{ran:?}");
        assert!(ran.stderr.contains("does not allow update_locking"), "{ran:?}");
        assert!(ran.stderr.contains("nothing was changed"), "{ran:?}");
        assert!(!opens(&lab.managers[0].data, &key_in(&ran.stdout)), "{role}");
    }
    let key = key_in(&admin.ok(&["cluster", "update", "--autolock", "on"]));
    assert!(opens(&lab.managers[0].data, &key));
    restart(&mut lab, 0);
    await_locked(&lab, 0);
    let said = admin.refused(REFUSED, &["cluster", "unlock"], key.as_bytes());
    assert!(said.contains("on its own machine only"), "{said}");
    unlock(&lab, 0, &key);
    admin.ok(&["cluster", "update", "--autolock", "off"]);
    let audit = lab.ctl().json(&["cluster", "audit"]).to_string();
    assert!(audit.contains("set_recipients") && audit.contains("operator/"), "{audit}");
    assert_nowhere(&lab, &key);
}

#[test]
fn a_manager_that_joins_is_locked_from_the_start_and_a_locked_one_leaves_by_force() {
    let mut lab = Lab::new(PROGRAMS);
    lab.start_manager(&[]);
    let made = lab.ctl_of(0).ok(&["cluster", "init", "--autolock", "--hostname", "m1"]);
    let key = key_in(&made);
    let joined = lab.join();
    assert!(!seed(&lab, joined).exists(), "no seed was ever made");
    assert!(opens(&lab.managers[joined].data, &key));
    await_status(&lab, 0, "it votes", |status| {
        let members = status["members"].as_array().unwrap();
        members.len() == 2 && members.iter().all(|member| member["state"] == "voter")
    });
    let id = lab.members()[1]["id"].to_string();

    restart(&mut lab, joined);
    await_locked(&lab, joined);
    let said = lab.ctl_of(joined).refused(LATER, &["cluster", "leave"], b"");
    assert!(said.contains("this manager is locked") && said.contains("--force"), "{said}");
    unlock(&lab, joined, &key);
    await_serving(&lab, joined);

    lab.ctl_of(0).ok(&["cluster", "member", "rm", &id]);
    restart(&mut lab, joined);
    await_locked(&lab, joined);
    lab.ctl_of(joined).ok(&["cluster", "leave", "--force"]);
    await_status(&lab, joined, "it is empty", |status| status["phase"] == "empty");
    lab.ctl_of(joined).ok(&["cluster", "init"]);
    assert!(seed(&lab, joined).exists(), "its new cluster does not lock");
}
