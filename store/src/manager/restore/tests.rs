//! A restore that is cut short at every step, by `kill -9`, and what the next start finds.
//!
//! The test begins this test binary again in a role, which ends itself at the step it is told.

use std::path::Path;
use std::process::{Command as Process, Stdio};

use proto::pb;
use proto::pb::restore_request::Part;
use state::WrapPlace;
use state::object::Cluster;
use sys::file::{Folder, PRIVATE_FILE_MODE};

use super::super::Event;
use super::super::incarnation::tests::{FOLDER, STEP, gate, manager, places, unlocked};
use super::super::incarnation::{self, NEXT, UNFINISHED_LIFE, read_all};
use super::*;
use crate::disk::{Presence, SledDisk};
use crate::keys::Unlocking;
use crate::raft::SNAPSHOT_PREFIX;

/// Beside the data folder: a backup's copy, and its root key. In clear: it is a test's.
const COPY: &str = "SECRETD_ROLE_COPY";

/// Whether the cluster gets a CA of its own: `true` or `false`.
const NEW_CA: &str = "SECRETD_ROLE_NEW_CA";

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

/// The messages that bring a backup to a manager, and what makes them other than they should be.
struct Sent {
    secret: BackupSecretKey,
    root: BackupRoot,
    copy: Vec<u8>,
    head: pb::BackupHead,
}

impl Sent {
    /// Of the backup in a file of `back_up`.
    fn whole(from: &Path) -> Self {
        let copy = std::fs::read(from).unwrap().split_off(32);
        let Brought { copy: state, root, backup } = brought(from);
        let cluster = state.cluster().unwrap();
        let head = pb::BackupHead {
            format: BACKUP_FORMAT,
            realm: cluster.realm.as_bytes().to_vec().into(),
            incarnation: cluster.incarnation.0,
            id: backup.as_bytes().to_vec().into(),
            revision: state.index(),
            taken_at: state.now().0,
            level: cluster.level.into(),
            copy_bytes: copy.len() as u64,
            copy_digest: seal::digest_of(&copy).to_vec().into(),
            root_key_id: root.id().as_bytes().to_vec().into(),
            ca_digest: cluster.authority.digest.0.to_vec().into(),
            ..pb::BackupHead::default()
        };
        Self { secret: BackupSecretKey::make(), root, copy, head }.sealed(BackupWay::In)
    }

    /// With its root key sealed for what its head says.
    fn sealed(mut self, way: BackupWay) -> Self {
        let digest = self.head.copy_digest[..].try_into().unwrap();
        let call = BackupCall {
            realm: bytes_16("realm", &self.head.realm).unwrap(),
            incarnation: Incarnation(self.head.incarnation),
            backup_id: BACKUP,
            copy_digest: &digest,
            way,
        };
        let (encapsulation, sealed) = call.seal(self.secret.public(), &self.root).unwrap();
        self.head.encapsulation = encapsulation.as_bytes().clone();
        self.head.sealed_root_key = sealed.as_bytes().clone();
        self
    }

    /// With another copy than its head was made for, all else being as it would be.
    fn with_copy(mut self, copy: Vec<u8>) -> Self {
        self.head.copy_bytes = copy.len() as u64;
        self.head.copy_digest = seal::digest_of(&copy).to_vec().into();
        self.copy = copy;
        self.sealed(BackupWay::In)
    }

    fn parts(&self) -> Vec<Part> {
        let pieces = self.copy.chunks(1000).map(|piece| Part::Copy(piece.to_vec().into()));
        std::iter::once(Part::Head(self.head.clone())).chain(pieces).collect()
    }

    async fn received(&self, parts: Vec<Part>) -> Result<Brought, Failure> {
        let messages = parts.into_iter().map(|part| Ok(pb::RestoreRequest { part: Some(part) }));
        receive(&mut futures_util::stream::iter(messages), &self.secret).await
    }

    async fn is_refused(&self, parts: Vec<Part>, because: &str) {
        let failure = self.received(parts).await.map(drop).unwrap_err();
        let told = format!("{failure:?}");
        assert!(told.contains(because), "{because}: {told}");
    }
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
    let new_ca = std::env::var(NEW_CA).unwrap().parse().unwrap();
    let options = pb::RestoreOptions { new_ca, ..options() };
    manager.0.build_restored(&options, brought, "127.0.0.1:1", &gate).map(drop).unwrap();
}

/// Restores in a process that ends at a step; false if it came to its end before.
fn cut_short(data: &Path, copy: &Path, step: usize, new_ca: bool) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    let status = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "manager::restore::tests::role"])
        .env(FOLDER, data)
        .env(STEP, step.to_string())
        .env(COPY, copy)
        .env(NEW_CA, new_ca.to_string())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    let killed = status.signal() == Some(9);
    assert!(killed || status.success(), "{status}");
    killed
}

/// What the next start finds: nothing, or the restored cluster, whole, with the CA of the backup or
/// with another.
async fn is_restored(data: &Path, of_backup: &Authority, new_ca: bool) -> bool {
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
    let (chain, own) = Chain::read(folder, &unlocked.contents.tls_key).unwrap();
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
    // It goes by one CA from its first start on, of which its certificate is.
    assert_eq!(cluster.authority.digest == of_backup.digest, !new_ca);
    let known: Vec<_> = chain.authorities.trusted.iter().map(|ca| ca.to_vec()).collect();
    assert_eq!(known, [cluster.authority.certificate.0.to_vec()]);
    assert_eq!(state.authorities().count(), 1);
    assert!(chain.authorities.bridge.is_none());
    assert!(certificate::is_signed_by(&chain.leaf, &known[0]));
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
    let of_backup = brought(&copy).copy.cluster().unwrap().authority.clone();
    for new_ca in [false, true] {
        let mut restored = Vec::new();
        let mut begun = None;
        for step in 1.. {
            std::fs::remove_dir_all(&data).ok();
            let killed = cut_short(&data, &copy, step, new_ca);
            if data.join(NEXT).exists() && begun.is_none() {
                begun = Some(step);
            }
            restored.push(is_restored(&data, &of_backup, new_ca).await);
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
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_once_it_may_have_begun_ends_the_process_and_one_before_leaves_it_empty() {
    let (folder, template, data) = places();
    let copy = folder.path().join("copy");
    back_up(&template, &copy).await;
    let mut manager = manager(&data);
    let (events, mut happened) = tokio::sync::mpsc::unbounded_channel();
    Arc::get_mut(&mut manager.0).unwrap().events = events;
    let fails_at = |step: &'static str, without: &'static str| {
        let gate = |now: &'static str| {
            if now == step {
                std::fs::remove_dir_all(data.join(without)).unwrap();
            }
        };
        let built = manager.0.build_restored(&options(), brought(&copy), "127.0.0.1:1", &gate);
        built.map(drop).unwrap_err()
    };
    fails_at("write the note", UNFINISHED_LIFE);
    manager.0.must_be_empty().unwrap();
    assert!(happened.try_recv().is_err());
    let failure = fails_at("begin the new life", UNFINISHED_LIFE);
    assert!(failure.hints.contains(&MAY_BE_RESTORED.to_owned()), "{failure:?}");
    assert!(matches!(happened.try_recv(), Ok(Event::Fatal(_))));
    manager.0.phase.send_replace(Phase::Empty);
    fails_at("take a file over", NEXT);
    assert!(manager.0.must_be_empty().is_err(), "no cluster is founded that the next start ends");
    assert!(matches!(happened.try_recv(), Ok(Event::Fatal(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_whole_or_not_meant_is_refused_before_anything_is_written() {
    let (folder, template, data) = places();
    let file = folder.path().join("copy");
    back_up(&template, &file).await;
    let manager = manager(&data);
    let refused = |options: &pb::RestoreOptions, brought: Brought| {
        let built = manager.0.build_restored(options, brought, "127.0.0.1:1", &|_| {});
        let failure = built.map(drop).unwrap_err();
        assert!(!data.join(UNFINISHED_LIFE).exists() && !data.join("keys").exists());
        failure
    };
    let another_root = Brought { root: BackupRoot::make(), ..brought(&file) };
    let failure = refused(&options(), another_root);
    assert!(failure.because.unwrap().contains("does not open with its root key"));
    // Anybody can take the certificate of a CA; its key they do not have.
    let Brought { copy: mut posing, root, backup } = brought(&file);
    let another = certificate::make_key_pair().unwrap().private;
    let wrap = &mut |place: WrapPlace<'_>| match place {
        WrapPlace::Authority(Cluster { realm, authority, .. }) => {
            Ok::<_, ()>(root.root().wrap_ca_key(*realm, &authority.digest.0, &another))
        }
        WrapPlace::Secret { .. } => panic!("there is no secret"),
    };
    posing.wrap_all_anew(root.id(), wrap).unwrap();
    for new_ca in [false, true] {
        let root = brought(&file).root;
        let posing = Brought { copy: posing.clone(), root, backup };
        let failure = refused(&pb::RestoreOptions { new_ca, ..options() }, posing);
        assert!(failure.because.unwrap().contains("does not have the key of its CA"));
    }
    let again = pb::RestoreOptions { incarnation: 1, ..options() };
    let failure = refused(&again, brought(&file));
    assert!(failure.message.contains("is not above that of the backup"), "{failure:?}");
    let unnameable = pb::RestoreOptions { hostname: "not a name".into(), ..options() };
    assert_eq!(refused(&unnameable, brought(&file)).kind, Kind::Invalid);

    // What its head says is compared with what it is.
    let Brought { copy, root, .. } = brought(&file);
    let cluster = copy.cluster().unwrap();
    let head = pb::BackupHead {
        realm: cluster.realm.as_bytes().to_vec().into(),
        incarnation: 1,
        revision: copy.index(),
        taken_at: copy.now().0,
        ca_digest: cluster.authority.digest.0.to_vec().into(),
        ..pb::BackupHead::default()
    };
    check_copy(&copy, &head, root.id()).unwrap();
    let others = [
        pb::BackupHead { realm: vec![1; 16].into(), ..head.clone() },
        pb::BackupHead { incarnation: 2, ..head.clone() },
        pb::BackupHead { revision: 1, ..head.clone() },
        pb::BackupHead { taken_at: 1, ..head.clone() },
        pb::BackupHead { ca_digest: vec![1; 32].into(), ..head.clone() },
        pb::BackupHead { ca_digest: Vec::new().into(), ..head.clone() },
    ];
    for other in others {
        assert!(check_copy(&copy, &other, root.id()).is_err(), "{other:?}");
    }
    assert!(check_copy(&copy, &head, BackupRoot::make().id()).is_err());
    assert!(check_copy(&State::new(), &head, root.id()).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_in_is_whole_in_order_and_what_its_head_says() {
    let (folder, template, _) = places();
    let file = folder.path().join("copy");
    back_up(&template, &file).await;
    let whole = || Sent::whole(&file);
    let sent = whole();
    let Brought { copy, root, backup } = sent.received(sent.parts()).await.ok().unwrap();
    assert_eq!((copy.digest(), backup), (brought(&file).copy.digest(), BACKUP));
    assert_eq!(root.id(), sent.root.id());

    // Short, long, changed, in another order.
    let mut short = sent.parts();
    let last = short.pop().unwrap();
    sent.is_refused(short, "it is not what its head says").await;
    sent.is_refused(sent.parts()[..1].to_vec(), "it is not what its head says").await;
    sent.is_refused([sent.parts(), vec![last]].concat(), "it is longer than").await;
    let mut changed = whole();
    *changed.copy.last_mut().unwrap() ^= 1;
    changed.is_refused(changed.parts(), "cannot be used").await;
    let mut moved = sent.parts();
    moved.swap(1, 2);
    sent.is_refused(moved, "cannot be used").await;
    // The head alone says it.
    let mut another = whole();
    another.head.copy_digest = vec![1; 32].into();
    let another = another.sealed(BackupWay::In);
    another.is_refused(another.parts(), "it is not what its head says").await;
    let mut longer = whole();
    longer.head.copy_bytes += 1;
    longer.is_refused(longer.parts(), "it is not what its head says").await;
    longer.head.copy_bytes -= 2;
    longer.is_refused(longer.parts(), "it is longer than its head says").await;
    let mut of_another = whole();
    of_another.head.revision += 1;
    of_another.is_refused(of_another.parts(), "of something else than its head").await;

    let of_another = whole();
    let digest = of_another.head.ca_digest.to_vec();
    let mut copy = of_another.copy.clone();
    let at = copy.windows(32).position(|bytes| bytes == digest).unwrap();
    copy[at] ^= 1;
    let of_another = of_another.with_copy(copy);
    of_another.is_refused(of_another.parts(), "its CA is another one").await;

    // Messages of another order, and a call that breaks.
    let parts = sent.parts();
    let disorder = "come in another order";
    sent.is_refused(Vec::new(), disorder).await;
    sent.is_refused(parts[1..].to_vec(), disorder).await;
    sent.is_refused([&parts[..1], &parts[..]].concat(), disorder).await;
    let again = Part::Options(options());
    sent.is_refused([&parts[..2], &[again], &parts[2..]].concat(), disorder).await;
    let begun = Ok(pb::RestoreRequest { part: Some(parts[0].clone()) });
    let gone = Err(Status::unavailable("gone"));
    let mut breaks = futures_util::stream::iter([begun, gone]);
    let failure = receive(&mut breaks, &sent.secret).await.map(drop).unwrap_err();
    assert_eq!(failure.message, "the backup was cut off");

    // Its key is sealed for this call, and this way.
    let back = whole().sealed(BackupWay::Out);
    back.is_refused(back.parts(), "was not sealed for this call").await;
    let mut of_another = whole();
    of_another.head.copy_digest = vec![1; 32].into();
    of_another.is_refused(of_another.parts(), "was not sealed for this call").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_later_version_made_is_named_so_before_anything_of_it_is_read() {
    let (folder, template, _) = places();
    let file = folder.path().join("copy");
    back_up(&template, &file).await;
    let later = "made by a later version";
    let mut format = Sent::whole(&file);
    format.head.format += 1;
    format.is_refused(format.parts(), later).await;
    format.is_refused(format.parts()[..1].to_vec(), later).await;
    let mut level = Sent::whole(&file);
    level.head.level = u32::from(LEVEL) + 1;
    level.is_refused(level.parts(), later).await;
    level.is_refused(level.parts()[..1].to_vec(), later).await;
    // The first item is the head of the copy: an array, and the format in it.
    let whole = Sent::whole(&file);
    let mut copy = whole.copy.clone();
    assert_eq!((copy[0], copy[5] >> 5), (0, 4));
    copy[6] += 1;
    let copy = whole.with_copy(copy);
    copy.is_refused(copy.parts(), later).await;
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
