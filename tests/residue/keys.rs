//! Keys are in the slab, an unlock key is with its operators, and no core has any of it.
//!
//! What is looked for are the keys that stand in managers' key files, which this test opens as an
//! operator could, and the unlock key, as text and as the seed that it spells. Not here: TLS keys,
//! which the TLS library holds in ordinary memory, and keys that live for one operation.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use seal::{KeyMemory, LockedKeyFile, UnlockKey};
use tests::{Lab, until};

use crate::search::Search;
use crate::wire::Wire;
use crate::{PROGRAMS, WIRE, assert_nowhere};

const TEST: &str = "keys_are_in_the_slab_and_an_unlock_key_is_nowhere";

/// Memory that remembers where keys were put, so that they can be looked for elsewhere.
pub(crate) struct Places(Mutex<Vec<usize>>);

static PLACES: Places = Places(Mutex::new(Vec::new()));

impl KeyMemory for Places {
    fn take(&self) -> Option<&'static mut [u8; 32]> {
        let slot = Box::leak(Box::new([0; 32]));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(slot.as_ptr().addr());
        Some(slot)
    }

    fn give_back(&self, _: &'static mut [u8; 32]) {}
}

impl Places {
    /// The one of this process, where its keys are from now on.
    pub(crate) fn installed() -> &'static Self {
        // By another test of this process, if not now.
        seal::install_key_memory(&PLACES);
        &PLACES
    }

    /// Every key of this process that is not wiped yet, as the kernel shows it.
    pub(crate) fn keys(&self) -> Vec<[u8; 32]> {
        let mut memory = File::open("/proc/self/mem").unwrap();
        let mut keys = Vec::new();
        for place in self.0.lock().unwrap().iter() {
            let mut key = [0; 32];
            memory.seek(SeekFrom::Start(*place as u64)).unwrap();
            memory.read_exact(&mut key).unwrap();
            if key != [0; 32] {
                keys.push(key);
            }
        }
        keys
    }
}

/// The keys in a manager's key file.
fn keys_of(data: &Path, key: &UnlockKey) -> Vec<[u8; 32]> {
    let file = LockedKeyFile::parse(&std::fs::read(data.join("keys")).unwrap()).unwrap();
    let before = PLACES.keys();
    let contents = file.open(&key.slot()).unwrap();
    let mut keys = PLACES.keys();
    keys.retain(|key| !before.contains(key));
    assert!(keys.len() >= contents.roots.len() + contents.logs.len(), "they are found here");
    drop(contents);
    keys
}

#[test]
fn keys_are_in_the_slab_and_an_unlock_key_is_nowhere() {
    if !sys::require::root(TEST) {
        return;
    }
    let _one = WIRE.lock().unwrap_or_else(PoisonError::into_inner);
    Places::installed();
    let wire = Wire::listen();
    let mut lab = Lab::new(PROGRAMS);
    "trace".clone_into(&mut lab.log);
    "trace".clone_into(&mut lab.agents_log);
    lab.found();
    lab.join();
    lab.join();
    lab.agent("n1");
    lab.agent("n2");
    until("all vote, and have said what opens them", || {
        let members = lab.members();
        let mut members = members.iter();
        members.all(|m| m["state"] == "voter" && m["key_file_generation"] == 1).then_some(())
    });
    if !protects_keys(&lab, TEST) {
        return;
    }
    let made = lab.ctl().ok(&["cluster", "update", "--autolock", "on"]);
    let word = made.split_whitespace().find(|word| word.starts_with("SECKEY-1-")).unwrap();
    let key = UnlockKey::parse(word.as_bytes()).unwrap();
    lab.ctl().ok_with(&["create", "kept", "-"], b"value");

    // One starts again, and is opened; the root key changes, and log keys with it.
    lab.managers[2].daemon.stop();
    lab.managers[2].daemon.start_again();
    lab.await_socket(2);
    until("it is opened", || {
        let ran = lab.ctl_of(2).run_with(&["cluster", "unlock"], word.as_bytes());
        (ran.status == 0).then_some(())
    });
    let mut keys = vec![*key.expose_seed()];
    let mut collect = |lab: &Lab| {
        for manager in &lab.managers {
            keys.extend(keys_of(&manager.data, &key));
        }
    };
    collect(&lab);
    lab.ctl().ok(&["cluster", "rotate", "root-key"]);
    collect(&lab);
    keys.sort_unstable();
    keys.dedup();
    assert!(keys.len() >= 9, "the unlock key's, two root keys, two log keys of each manager");
    for manager in &lab.managers {
        assert_slab_cannot_be_read(manager.daemon.pid());
    }
    let search = Search::of(&[keys.as_flattened(), word.as_bytes()].concat());
    assert_nowhere(&search, &lab, 0, "keys");
    let captured = wire.end();
    assert_eq!(search.bytes(&mut captured.as_slice(), "the wire"), Vec::<String>::new());
}

/// Whether keys lie where root does not read them.
pub(crate) fn protects_keys(lab: &Lab, test: &str) -> bool {
    let protection = lab.members()[0]["memory_protection"].clone();
    let protects = protection == "memfd_secret";
    if !protects {
        let reason = format!("keys lie in memory that root reads ({protection})");
        sys::require::skip(test, sys::require::Need::MemfdSecret, &reason);
    }
    protects
}

/// A program's keys lie where not even root's tools read them.
pub(crate) fn assert_slab_cannot_be_read(pid: u32) {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let slabs: Vec<_> = maps.lines().filter(|line| line.contains("secretmem")).collect();
    assert!(!slabs.is_empty(), "process {pid} has its keys in memfd_secret(2)");
    let mut memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    for slab in slabs {
        let start = slab.split_once('-').unwrap().0;
        let start = u64::from_str_radix(start, 16).unwrap();
        memory.seek(SeekFrom::Start(start)).unwrap();
        let error = memory.read(&mut [0; 32]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::EIO as i32), "{slab}");
    }
}

#[test]
fn no_program_leaves_a_core_whatever_its_limits_are() {
    const TEST: &str = "no_program_leaves_a_core_whatever_its_limits_are";
    if !sys::require::root(TEST) {
        return;
    }
    // A program like any other leaves one here, if the kernel writes any at all.
    let folder = tempfile::tempdir().unwrap();
    let mut other = Command::new("sleep").arg("1000").current_dir(folder.path()).spawn().unwrap();
    let ended = abort(other.id(), || other.wait().unwrap());
    if !ended.core_dumped() {
        println!("{TEST}: not shown here: this machine writes no cores for any program");
        return;
    }
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.agent("n1");
    let manager = &mut lab.managers[0].daemon;
    let (pid, ended) = (manager.pid(), abort(manager.pid(), || manager.wait()));
    assert!(!ended.core_dumped(), "manager {pid}: {ended}");
    let agent = &mut lab.agents[0].daemon;
    let (pid, ended) = (agent.pid(), abort(agent.pid(), || agent.wait()));
    assert!(!ended.core_dumped(), "agent {pid}: {ended}");
}

/// Lifts the limit on a child's core, and has the kernel end it as after a fault.
fn abort(pid: u32, wait: impl FnOnce() -> ExitStatus) -> ExitStatus {
    let lift = ["--pid", &pid.to_string(), "--core=unlimited:unlimited"];
    assert!(Command::new("prlimit").args(lift).status().unwrap().success());
    assert!(Command::new("kill").args(["-ABRT", &pid.to_string()]).status().unwrap().success());
    let ended = wait();
    assert!(ended.signal().is_some(), "{ended}");
    ended
}
