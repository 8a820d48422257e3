//! A restore that is cut short at every step, by `kill -9`, and what the next start finds.
//!
//! The test begins this test binary again in a role, which ends itself at the step it is told.

use std::path::Path;
use std::process::{Command as Process, Stdio};

use proto::pb;
use sys::file::{Folder, PRIVATE_FILE_MODE};

use super::super::incarnation::tests::{FOLDER, STEP, gate, manager, places, unlocked};
use super::super::incarnation::{self, NEXT, UNFINISHED_LIFE, read_all};
use super::*;
use crate::disk::{Presence, SledDisk};
use crate::keys::Unlocking;
use crate::raft::SNAPSHOT_PREFIX;

/// Beside the data folder: a backup's copy, and its root key. In clear: it is a test's.
const COPY: &str = "SECRETD_ROLE_COPY";

const BACKUP: BackupId = BackupId::from_bytes([7; 16]);

/// Founds a cluster and writes the copy that would be in a backup of it.
async fn back_up(data: &Path, to: &Path) {
    let manager = manager(data);
    let request = pb::InitRequest { hostname: "m1".into(), ..pb::InitRequest::default() };
    manager.found(request).await.unwrap();
    let service = {
        let running = manager.0.running.lock().await;
        running.as_ref().unwrap().serving.service.clone()
    };
    let root = BackupRoot::make();
    let mut copy = service.raft.machine.state().for_backup();
    let keyring = service.keyring.clone();
    copy.wrap_all_anew(root.id(), &mut |place| keyring.wrap_for_backup(&root, place)).unwrap();
    let mut bytes = root.expose().to_vec();
    let written = copy.write(&mut |piece| {
        bytes.extend_from_slice(piece);
        Ok::<(), ()>(())
    });
    written.unwrap();
    let (folder, name) = (to.parent().unwrap(), to.file_name().unwrap().to_str().unwrap());
    Folder::open(folder).unwrap().replace(name, PRIVATE_FILE_MODE, &bytes).unwrap();
    drop((keyring, service));
    manager.stop().await;
}

fn brought(from: &Path) -> Brought {
    let bytes = std::fs::read(from).unwrap();
    let (key, copy) = bytes.split_first_chunk::<32>().unwrap();
    let read = BackupRoot::read(|into| {
        into.copy_from_slice(key);
        Ok::<(), ()>(())
    });
    let mut reader = SnapshotReader::new();
    reader.feed(copy).unwrap();
    let root = read.ok().unwrap();
    Brought { copy: reader.finish().unwrap(), root, backup: BACKUP }
}

fn options() -> pb::RestoreOptions {
    pb::RestoreOptions { hostname: "m1".into(), ..pb::RestoreOptions::default() }
}

/// Not a test of its own: what a process of `cut_short` does.
#[test]
fn role() {
    let (Ok(data), Ok(step)) = (std::env::var(FOLDER), std::env::var(STEP)) else { return };
    let Ok(copy) = std::env::var(COPY) else { return };
    let manager = manager(Path::new(&data));
    let gate = gate(step.parse().unwrap());
    incarnation::settle(&manager.0.folder).unwrap();
    let brought = brought(Path::new(&copy));
    manager.0.build_restored(&options(), brought, "127.0.0.1:1", &gate).map(drop).unwrap();
}

/// Restores in a process that ends at a step; false if it came to its end before.
fn cut_short(data: &Path, copy: &Path, step: usize) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    let status = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "manager::restore::tests::role"])
        .env(FOLDER, data)
        .env(STEP, step.to_string())
        .env(COPY, copy)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    let killed = status.signal() == Some(9);
    assert!(killed || status.success(), "{status}");
    killed
}

/// What the next start finds: nothing, or the restored cluster, whole.
async fn is_restored(data: &Path) -> bool {
    let manager = manager(data);
    let folder = &manager.0.folder;
    incarnation::settle(folder).unwrap();
    assert!(!data.join(NEXT).exists() && !data.join(UNFINISHED_LIFE).exists());
    if matches!(manager.0.key_file.unlock().unwrap(), Unlocking::Empty) {
        assert!(SledDisk::presence(folder).unwrap() == Presence::Nothing);
        manager.0.clear_unfinished().unwrap();
        let names = folder.entries().unwrap();
        let left = names.iter().filter(|name| name.to_string_lossy() != "unlock-seed");
        assert_eq!(left.count(), 0, "an empty manager has nothing but a seed: {names:?}");
        return false;
    }
    let unlocked = unlocked(&manager);
    let disk = unlocked.owner.disk;
    let (_, own) = Chain::read(folder, &unlocked.contents.tls_key).unwrap();
    let says = own.says().unwrap();
    assert_eq!(says.identity.incarnation, disk.incarnation);
    let survivor = read_all(folder, &unlocked).await.unwrap();
    let state = &survivor.state;
    let cluster = state.cluster().unwrap();
    assert_eq!(cluster.incarnation, Incarnation(2));
    assert_eq!(state.members().keys().copied().collect::<Vec<_>>(), [disk.member]);
    assert_eq!(survivor.voters.iter().copied().collect::<Vec<_>>(), [disk.member]);
    assert!(!state.certificate(says.serial).unwrap().revoked);
    // Everything opens with the root key of its key file, and that is a new one.
    assert_eq!(state.roots_in_use(), [unlocked.contents.active_root]);
    let keyring = crate::keys::Keyring::new(disk.realm, unlocked.contents.roots.clone());
    assert!(keyring.ca_key(&cluster.authority).is_ok());
    assert!(state.backups().known().contains_key(&BACKUP));
    let snapshots = folder.entries().unwrap();
    let snapshots =
        snapshots.iter().filter(|name| name.to_string_lossy().starts_with(SNAPSHOT_PREFIX));
    assert_eq!(snapshots.count(), 1);
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_cut_short_anywhere_left_nothing_or_the_cluster() {
    let (folder, template, data) = places();
    let copy = folder.path().join("copy");
    back_up(&template, &copy).await;
    let mut restored = Vec::new();
    let mut begun = None;
    for step in 1.. {
        std::fs::remove_dir_all(&data).ok();
        let killed = cut_short(&data, &copy, step);
        if data.join(NEXT).exists() && begun.is_none() {
            begun = Some(step);
        }
        restored.push(is_restored(&data).await);
        if !killed {
            break;
        }
    }
    // It is there with one step, and no step after it takes it away.
    assert!(restored.is_sorted(), "{restored:?}");
    let empty = restored.iter().filter(|restored| !**restored).count();
    assert_eq!(empty, begun.unwrap() - 1, "{restored:?}");
    assert!(empty > 5 && restored.len() > empty + 5, "{restored:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_whole_or_not_meant_is_refused_before_anything_is_written() {
    let (folder, template, data) = places();
    let copy = folder.path().join("copy");
    back_up(&template, &copy).await;
    let manager = manager(&data);
    let refused = |options: &pb::RestoreOptions, brought: Brought| {
        let built = manager.0.build_restored(options, brought, "127.0.0.1:1", &|_| {});
        let failure = built.map(drop).unwrap_err();
        assert!(!data.join(UNFINISHED_LIFE).exists() && !data.join("keys").exists());
        failure
    };
    let another_root = Brought { root: BackupRoot::make(), ..brought(&copy) };
    let failure = refused(&options(), another_root);
    assert!(failure.because.unwrap().contains("does not open with its root key"));
    let again = pb::RestoreOptions { incarnation: 1, ..options() };
    let failure = refused(&again, brought(&copy));
    assert!(failure.message.contains("is not above that of the backup"), "{failure:?}");
    let unnameable = pb::RestoreOptions { hostname: "not a name".into(), ..options() };
    assert_eq!(refused(&unnameable, brought(&copy)).kind, Kind::Invalid);

    // What its head says is compared with what it is.
    let Brought { copy, root, .. } = brought(&copy);
    let cluster = copy.cluster().unwrap();
    let head = pb::BackupHead {
        realm: cluster.realm.as_bytes().to_vec().into(),
        incarnation: 1,
        revision: copy.index(),
        taken_at: copy.now().0,
        ..pb::BackupHead::default()
    };
    check_copy(&copy, &head, root.id()).unwrap();
    let others = [
        pb::BackupHead { realm: vec![1; 16].into(), ..head.clone() },
        pb::BackupHead { incarnation: 2, ..head.clone() },
        pb::BackupHead { revision: 1, ..head.clone() },
        pb::BackupHead { taken_at: 1, ..head.clone() },
    ];
    for other in others {
        assert!(check_copy(&copy, &other, root.id()).is_err(), "{other:?}");
    }
    assert!(check_copy(&copy, &head, BackupRoot::make().id()).is_err());
    assert!(check_copy(&State::new(), &head, root.id()).is_err());
}

#[test]
fn a_life_is_above_that_of_the_backup() {
    let asked = |incarnation| pb::RestoreOptions { incarnation, ..options() };
    let of = Incarnation(3);
    assert_eq!(incarnation_of(&asked(0), of).unwrap(), Incarnation(4));
    assert_eq!(incarnation_of(&asked(4), of).unwrap(), Incarnation(4));
    assert_eq!(incarnation_of(&asked(9), of).unwrap(), Incarnation(9));
    assert!(incarnation_of(&asked(3), of).is_err());
}
