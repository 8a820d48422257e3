//! A new life that is cut short at every step, by `kill -9`, and what the next start finds.
//!
//! The test begins this test binary again in a role, which ends itself at the step it is told.

use std::cell::Cell;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use proto::pb;
use tokio::sync::{Mutex, mpsc};

use super::super::{Manager, unlock};
use super::*;
use crate::config::Options;
use crate::front::Phase;
use crate::keys::Unlocking;
use crate::raft::Profile;

pub(in super::super) const FOLDER: &str = "SECRETD_ROLE_FOLDER";
pub(in super::super) const STEP: &str = "SECRETD_ROLE_STEP";

/// A mark that was made in the state before.
const QUOTA: u64 = 77 << 20;

pub(in super::super) fn manager(data: &Path) -> Manager {
    let options = Options {
        data: data.to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        advertise: None,
        socket: data.join("s.sock"),
        docker_socket: None,
        docker_address: None,
        docker_engine: None,
        http: None,
        unlock_seed: data.join("unlock-seed"),
        boot_file: data.join("boot"),
        boot_file_key: None,
        profile: Profile::Lan,
        disk_reserve_bytes: 0,
        allow_unlocked_memory: true,
        force_new_cluster: true,
        log_json: false,
        log: String::new(),
    };
    let folder = Folder::create_private(data).unwrap();
    let key_file = KeyFile::new(folder.try_clone().unwrap(), options.unlock_seed.clone());
    Manager(Arc::new(Shared {
        boot: crate::keys::BootPlace::new(options.boot_file.clone(), None),
        options,
        protection: String::new(),
        folder,
        key_file: Arc::new(key_file),
        phase: watch::Sender::new(Phase::Empty),
        running: Mutex::new(None),
        events: mpsc::unbounded_channel().0,
        opened: unlock::Opened::default(),
    }))
}

pub(in super::super) fn unlocked(manager: &Manager) -> Unlocked {
    match manager.0.key_file.unlock().unwrap() {
        Unlocking::Unlocked(unlocked) => *unlocked,
        _ => panic!("its own seed opens it"),
    }
}

/// The folder of a manager that founded a cluster and was stopped.
pub(super) async fn found(data: &Path) {
    let manager = manager(data);
    let request = pb::InitRequest { hostname: "m1".into(), ..pb::InitRequest::default() };
    manager.found(request).await.unwrap();
    let service = {
        let running = manager.0.running.lock().await;
        running.as_ref().unwrap().serving.service.clone()
    };
    let command = Command::SetQuota { payload_bytes: QUOTA };
    service.propose(service.cluster_caller(), None, command).await.unwrap();
    drop(service);
    manager.stop().await;
}

fn copy(from: &Path, to: &Path) {
    std::fs::remove_dir_all(to).ok();
    let copied = Process::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

/// Ends this process at a step, as `kill -9` does: nothing is unwound, nothing flushed.
pub(in super::super) fn gate(at: usize) -> impl Fn(&'static str) {
    let passed = Cell::new(0);
    move |step| {
        passed.set(passed.get() + 1);
        if passed.get() == at {
            let me = std::process::id().to_string();
            Process::new("kill").args(["-s", "KILL", &me]).status().unwrap();
            panic!("not killed at `{step}`");
        }
    }
}

/// Not a test of its own: what a process of `cut_short` does. Goes on with a life that has begun, or
/// begins one.
#[test]
fn role() {
    let (Ok(data), Ok(step)) = (std::env::var(FOLDER), std::env::var(STEP)) else { return };
    let manager = manager(Path::new(&data));
    let folder = &manager.0.folder;
    let gate = gate(step.parse().unwrap());
    if folder.path().join(NEXT).exists() {
        take_over(folder, &gate).unwrap();
        return;
    }
    settle(folder).unwrap();
    let unlocked = unlocked(&manager);
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let survivor = runtime.block_on(read_all(folder, &unlocked)).unwrap();
    manager.0.begin_life(unlocked, survivor, &gate).unwrap();
}

/// Begins a life in a process that ends at a step; false if it came to its end before.
fn cut_short(data: &Path, step: usize) -> bool {
    let exe = std::env::current_exe().unwrap();
    let role = "manager::incarnation::tests::role";
    let status = Process::new(exe)
        .args(["--exact", role])
        .env(FOLDER, data)
        .env(STEP, step.to_string())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    let killed = status.signal() == Some(9);
    assert!(killed || status.success(), "{status}");
    killed
}

/// What the next start finds: a life, whole.
pub(super) async fn life_of(data: &Path) -> u64 {
    let manager = manager(data);
    let folder = &manager.0.folder;
    settle(folder).unwrap();
    let unlocked = unlocked(&manager);
    let incarnation = unlocked.owner.disk.incarnation;
    // The certificate goes with the key; log, head and snapshot with the key file.
    let (_, own) = Chain::read(folder, &unlocked.contents.tls_key).unwrap();
    assert_eq!(own.says().unwrap().identity.incarnation, incarnation);
    let survivor = read_all(folder, &unlocked).await.unwrap();
    let cluster = survivor.state.cluster().unwrap();
    assert_eq!(cluster.incarnation, incarnation);
    assert_eq!(cluster.payload_quota_bytes, QUOTA, "nothing that was written is lost");
    let serial = own.says().unwrap().serial;
    assert!(!survivor.state.certificate(serial).unwrap().revoked);
    let stray = |name: &str| folder.path().join(name).exists();
    assert!(!stray(NEXT) && !stray(UNFINISHED_LIFE));
    let snapshots = folder.entries().unwrap();
    let snapshots =
        snapshots.iter().filter(|name| name.to_string_lossy().starts_with(SNAPSHOT_PREFIX));
    let is_new = incarnation == Incarnation(2);
    assert_eq!(
        snapshots.count(),
        usize::from(is_new),
        "the old life had none, the new one has one"
    );
    assert_eq!(stray(FORCED), is_new);
    incarnation.0
}

pub(in super::super) fn places() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (template, data) = (folder.path().join("template"), folder.path().join("data"));
    (folder, template, data)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_that_is_cut_short_anywhere_is_the_old_one_or_the_new_one() {
    let (_folder, template, data) = places();
    found(&template).await;
    let mut lives = Vec::new();
    let mut begun = None;
    for step in 1.. {
        copy(&template, &data);
        let killed = cut_short(&data, step);
        if data.join(NEXT).exists() && begun.is_none() {
            begun = Some(step);
        }
        lives.push(life_of(&data).await);
        if !killed {
            break;
        }
    }
    // It begins with one step, and no step after it goes back.
    assert!(lives.is_sorted(), "{lives:?}");
    let old = lives.iter().filter(|life| **life == 1).count();
    assert_eq!(old, begun.unwrap() - 1, "{lives:?}");
    assert!(lives.len() > old + 5, "the taking over has steps of its own: {lives:?}");

    // Cut short again and again while it takes over: it gets there all the same.
    copy(&template, &data);
    assert!(cut_short(&data, begun.unwrap()));
    let mut rounds = 0;
    while data.join(NEXT).exists() {
        // Each gets a file further than the one before: a folder takes two steps.
        cut_short(&data, 3);
        rounds += 1;
        assert!(rounds < 100, "it gets no further");
    }
    assert!(rounds > 3, "{rounds}");
    assert_eq!(life_of(&data).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_active_root_key_nothing_is_begun() {
    let (_folder, data, _) = places();
    found(&data).await;
    let manager = manager(&data);
    let mut unlocked = unlocked(&manager);
    let other = seal::RootKey::make();
    unlocked.contents.active_root = other.id();
    unlocked.contents.roots = vec![other.into()];
    let survivor = read_all(&manager.0.folder, &unlocked).await.unwrap();
    let error = manager.0.begin_life(unlocked, survivor, &|_| {}).err().unwrap();
    assert!(error.to_string().contains("does not hold the root key"), "{error}");
    assert_eq!(life_of(&data).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_met_a_later_life_never_starts_again() {
    let (_folder, data, _) = places();
    let folder = Folder::create_private(&data).unwrap();
    check_not_superseded(&folder).unwrap();
    drop(supersede(&folder, Incarnation(3), Incarnation(5)));
    let error = check_not_superseded(&folder).unwrap_err().to_string();
    assert!(error.contains("belongs to incarnation 3; the cluster is now 5"), "{error}");
}
