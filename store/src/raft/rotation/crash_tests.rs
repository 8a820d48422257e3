//! A rotation that is cut short at every durable step, restarted, and goes on.
//!
//! One run on the simulated disk, key file included, keeps what a power cut at each durable
//! operation would leave; every one of these disks is then opened and the rotation gone on with.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt as _;
use link::certificate;
use link::tls::{self, Cluster, OwnCertificate};
use proto::id::{Incarnation, MemberId, NodeId, Realm, Timestamp};
use proto::identity::{Caller, Subject};
use rustls_pki_types::CertificateDer;
use seal::{
    KeyFileContents, KeyFileOwner, LockedKeyFile, Recipient, RootKey, SlotKind, SlotSecretKey,
};
use state::command::{Command, Denial, Envelope, InitCluster, LEVEL};

use super::*;
use crate::ca;
use crate::disk::{Cut, Disk as _, SimulatedDisk};
use crate::keys::recipients;
use crate::raft::snapshot::Snapshots;
use crate::raft::{LogKeys, Pool, Profile, Raft, Start};

const ME: MemberId = MemberId(1);
const KEYS: &str = "keys";

/// More records than one removal of a purge takes.
const BEFORE: u64 = 600;

fn place() -> seal::Disk {
    seal::Disk { realm: Realm::from_bytes([1; 16]), incarnation: Incarnation(1), member: ME }
}

fn slot() -> SlotSecretKey {
    SlotSecretKey::derive_from_seed(&[7; 32])
}

/// A key file on the simulated disk.
struct Keeper {
    disk: SimulatedDisk,
    contents: Mutex<KeyFileContents>,
    /// Of the recipients it is sealed to.
    generation: AtomicU64,
}

impl Keeper {
    fn make(disk: &SimulatedDisk) -> Self {
        let (root, log) = (RootKey::make(), LogKey::make());
        let contents = KeyFileContents {
            active_root: root.id(),
            roots: vec![root.into()],
            active_log: log.id(),
            logs: vec![log.into()],
            tls_key: seal::SigningKeyDer::new(Box::<[u8]>::from([7; 64]).into()),
        };
        let keeper = Self::with(disk, contents);
        keeper.write();
        keeper
    }

    fn open(disk: &SimulatedDisk) -> Self {
        let mut bytes = Vec::new();
        let mut file = disk.open_file(KEYS).unwrap().unwrap();
        io::Read::read_to_end(&mut file, &mut bytes).unwrap();
        let contents = LockedKeyFile::parse(&bytes).unwrap().open(&slot()).unwrap();
        Self::with(disk, contents)
    }

    fn with(disk: &SimulatedDisk, contents: KeyFileContents) -> Self {
        let contents = Mutex::new(contents);
        Self { disk: disk.clone(), contents, generation: AtomicU64::new(1) }
    }

    fn write(&self) {
        let owner =
            KeyFileOwner { disk: place(), node_id: NodeId::from_entropy([1; 17]), generation: 1 };
        let slot = Recipient {
            kind: SlotKind::File,
            public: slot().public().clone(),
            parameters: Vec::new(),
        };
        let sealed = seal::seal_key_file(&owner, &[slot], &self.contents.lock().unwrap()).unwrap();
        let mut file = self.disk.create_file(KEYS).unwrap();
        file.write(&sealed).unwrap();
        file.finish().unwrap();
    }

    fn keys(&self) -> Arc<LogKeys> {
        let contents = self.contents.lock().unwrap();
        Arc::new(LogKeys::new(place(), contents.logs.clone(), contents.active_log))
    }
}

impl KeyKeeper for Keeper {
    fn log_ids(&self) -> (Vec<KeyId>, KeyId) {
        let contents = self.contents.lock().unwrap();
        (contents.logs.iter().map(|key| key.id()).collect(), contents.active_log)
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn log_key(&self, id: KeyId) -> Option<Arc<LogKey>> {
        self.contents.lock().unwrap().logs.iter().find(|key| key.id() == id).cloned()
    }

    fn add_log_key(&self, key: Arc<LogKey>) -> io::Result<()> {
        let mut contents = self.contents.lock().unwrap();
        contents.active_log = key.id();
        contents.logs.push(key);
        drop(contents);
        self.write();
        Ok(())
    }

    fn destroy_log_keys(&self, gone: &[KeyId]) -> io::Result<()> {
        self.contents.lock().unwrap().logs.retain(|key| !gone.contains(&key.id()));
        self.write();
        Ok(())
    }
}

/// What a manager needs to speak to others; this one has none.
fn pool() -> Arc<Pool> {
    let (realm, incarnation, now) = (place().realm, place().incarnation, Timestamp(1_000));
    let founded = ca::found(realm, &RootKey::make(), now).unwrap();
    let pair = certificate::make_key_pair().unwrap();
    let request = ca::For {
        realm,
        incarnation,
        subject: Subject::Manager(NodeId::from_entropy([1; 17]), ME),
        public_key: &pair.public,
        now,
    };
    let authority = founded.authority.certificate.0;
    let issued = ca::sign(&authority, &founded.key, request).unwrap();
    let ca = CertificateDer::from(authority.to_vec());
    let own = OwnCertificate::new(issued.der, ca.clone(), &pair.private).unwrap();
    let cluster = Cluster { realm, incarnation };
    Pool::new(ME, tls::client_config(own, &ca, cluster).unwrap())
}

/// A manager alone, on a simulated disk.
struct Alone {
    raft: Raft,
    keeper: Arc<Keeper>,
    rotation: Rotation,
}

impl Alone {
    async fn start(disk: &SimulatedDisk, keeper: Keeper, pool: Arc<Pool>) -> Self {
        let start = Start {
            disk: Arc::new(disk.clone()),
            keys: keeper.keys(),
            pool,
            profile: Profile::Lan,
            fatal: Box::new(|error| panic!("the disk failed: {error}")),
        };
        let raft = Raft::start(start).await.unwrap();
        let keeper = Arc::new(keeper);
        let rotation = Rotation::new(raft.clone(), keeper.clone());
        Self { raft, keeper, rotation }
    }

    async fn leads(&self) {
        self.raft.leadership().wait_for(|now| now.leading).await.unwrap();
    }

    /// Proposes something that stays in the state, and waits until it is acknowledged.
    async fn write(&self, number: u64) {
        let caller = Caller::Cluster { member: ME };
        let denial = Denial { caller, action: number.to_string(), count: 1 };
        self.propose(Command::RecordDenials(vec![denial])).await;
    }

    async fn propose(&self, body: Command) {
        let caller = Caller::Cluster { member: ME };
        let envelope = Envelope { format: 1, request: None, caller, at: Timestamp(1), body };
        self.raft.propose(envelope).await.unwrap().unwrap();
    }

    /// What was written, by the state.
    fn written(&self) -> BTreeSet<u64> {
        let state = self.raft.machine.state();
        state.audit().records().map(|(record, _)| record.action.parse().unwrap()).collect()
    }

    /// Finishes what was begun; the steps that took.
    async fn finish(&self) -> Vec<Step> {
        let mut taken = Vec::new();
        loop {
            let step = self.rotation.next(false).await.unwrap();
            if step == Step::Rest {
                return taken;
            }
            self.rotation.take(&step).await.unwrap();
            taken.push(step);
        }
    }

    async fn assert_clean(&self) {
        let at = self.rotation.position().await.unwrap();
        assert_eq!(at.kept, [at.active], "{at:?}");
        let all = at.log.metas.iter().chain(&at.log.heads);
        let snapshots = at.snapshots.iter().map(|snapshot| &snapshot.key);
        for key in all.chain(snapshots) {
            assert_eq!(*key, Some(at.active), "{at:?}");
        }
        assert!(at.log.oldest_record.is_none_or(|key| key == at.active), "{at:?}");
        assert!(!at.log.leftovers);
    }
}

fn name(step: &Step) -> &'static str {
    match step {
        Step::Rest => "rest",
        Step::MakeKey => "make",
        Step::Use(_) => "use",
        Step::Rewrite => "rewrite",
        Step::Snapshot { .. } => "snapshot",
        Step::Purge { .. } => "purge",
        Step::Await(_) => "await",
        Step::Destroy(_) => "destroy",
    }
}

/// A whole rotation under writes.
struct Run {
    disk: SimulatedDisk,
    cuts: Vec<Cut>,
    old: Arc<LogKey>,
    new: KeyId,
}

async fn rotate_once(pool: Arc<Pool>) -> Run {
    let disk = SimulatedDisk::new();
    let alone = Alone::start(&disk, Keeper::make(&disk), pool).await;
    alone.raft.found("127.0.0.1:1", "node").await.unwrap();
    for number in 0..BEFORE {
        alone.write(number).await;
    }
    let old = alone.keeper.log_key(alone.keeper.log_ids().1).unwrap();

    let acknowledged = Arc::new(AtomicU64::new(BEFORE));
    disk.record_cuts(acknowledged.clone());
    let (mut due, mut next) = (true, BEFORE);
    loop {
        let step = alone.rotation.next(due).await.unwrap();
        if step == Step::Rest {
            break;
        }
        due = false;
        let writing = async {
            for number in next..next + 2 {
                alone.write(number).await;
                acknowledged.store(number + 1, Ordering::SeqCst);
            }
        };
        let (taken, ()) = tokio::join!(alone.rotation.take(&step), writing);
        taken.unwrap();
        next += 2;
    }
    let cuts = disk.cuts();
    alone.assert_clean().await;
    alone.raft.shut_down().await;
    let new = alone.keeper.log_ids().1;
    assert_ne!(new, old.id());
    Run { disk, cuts, old, new }
}

/// How a restart after a power cut went.
struct Resumed {
    /// What it went on with.
    first: Step,
    /// The key it has in the end.
    key: KeyId,
}

async fn resume(left: SimulatedDisk, acknowledged: u64, pool: Arc<Pool>) -> Resumed {
    let again = Alone::start(&left, Keeper::open(&left), pool).await;
    let first = again.rotation.next(false).await.unwrap();
    again.leads().await;
    let steps = again.finish().await;
    assert!(!steps.contains(&Step::MakeKey), "no restart begins a rotation by itself");
    let written = again.written();
    for number in 0..acknowledged {
        assert!(written.contains(&number), "{number} of {acknowledged} is lost, at {first:?}");
    }
    again.assert_clean().await;
    again.write(1_000_000).await;
    again.raft.shut_down().await;
    Resumed { first, key: again.keeper.log_ids().1 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_cut_short_at_any_durable_step_ends_complete_or_not_begun() {
    let pool = pool();
    let Run { disk, cuts, old, new } = rotate_once(pool.clone()).await;
    assert!(cuts.len() > 12, "{} cuts", cuts.len());
    let cases = cuts.iter().flat_map(|cut| {
        let survivors: BTreeSet<_> = [0, cut.pending() / 2, cut.pending()].into();
        survivors.into_iter().map(|survivors| (cut.note, cut.disk(survivors)))
    });
    let resumed = futures_util::stream::iter(cases.collect::<Vec<_>>())
        .map(|(note, left)| tokio::spawn(resume(left, note, pool.clone())));
    let ended: Vec<_> = resumed.buffer_unordered(16).map(Result::unwrap).collect().await;

    let firsts: BTreeSet<_> = ended.iter().map(|resumed| name(&resumed.first)).collect();
    // Opening removes what a purge had not got to: nobody waits for that after a restart.
    assert_eq!(firsts, ["destroy", "purge", "rest", "rewrite", "snapshot"].into());
    let keys: BTreeSet<_> = ended.iter().map(|resumed| resumed.key).collect();
    assert_eq!(keys, [old.id(), new].into(), "some were not begun, the others are complete");
    assert_nothing_under(&old, &disk.cut(usize::MAX));
}

/// What a founder commits first; whom key files are sealed to is of generation 1 by that.
fn first_command() -> Command {
    let (realm, root, now) = (place().realm, RootKey::make(), Timestamp(1_000));
    let founded = ca::found(realm, &root, now).unwrap();
    let (transit_id, transit) = ca::make_transit_key(realm, &root, &founded.key, now).unwrap();
    let node_id = NodeId::from_entropy([1; 17]);
    let subject = Subject::Manager(node_id, ME);
    let pair = certificate::make_key_pair().unwrap();
    let (incarnation, public_key) = (place().incarnation, &pair.public);
    let request = ca::For { realm, incarnation, subject, public_key, now };
    let issued = ca::sign(&founded.authority.certificate.0, &founded.key, request).unwrap();
    Command::InitCluster(Box::new(InitCluster {
        realm,
        incarnation,
        authority: founded.authority,
        root: root.id(),
        transit_id,
        transit,
        recipients: vec![recipients::own_seed()],
        payload_quota_bytes: 1 << 20,
        member: ME,
        node_id,
        hostname: "node".parse().unwrap(),
        address: "127.0.0.1:1".into(),
        serial: issued.serial,
        certificate: issued.record,
        level_max: LEVEL,
    }))
}

/// The key file is compared with the state of this manager, whatever way that came to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_file_that_is_behind_the_list_gets_no_new_key_until_it_is_sealed_anew() {
    let disk = SimulatedDisk::new();
    let alone = Alone::start(&disk, Keeper::make(&disk), pool()).await;
    alone.raft.found("127.0.0.1:1", "node").await.unwrap();
    alone.propose(first_command()).await;
    assert_eq!(alone.rotation.next(true).await.unwrap(), Step::MakeKey);
    alone.keeper.generation.store(0, Ordering::SeqCst);
    let step = alone.rotation.next(true).await.unwrap();
    assert!(matches!(step, Step::Await(_)), "{step:?}");
    alone.rotation.take(&step).await.unwrap();
    assert_eq!(alone.keeper.log_ids().0.len(), 1, "none was made");
    // Ahead, as while the log is read at start, it is sealed to those who come later.
    alone.keeper.generation.store(2, Ordering::SeqCst);
    assert_eq!(alone.rotation.next(true).await.unwrap(), Step::MakeKey);
    alone.raft.shut_down().await;
}

/// A key opens nothing of a disk.
fn assert_nothing_under(key: &Arc<LogKey>, disk: &SimulatedDisk) {
    let stolen = Arc::new(LogKeys::new(place(), vec![key.clone()], key.id()));
    let snapshots = Snapshots::new(Arc::new(disk.clone()), stolen.clone());
    let name = snapshots.newest().unwrap().unwrap();
    assert!(snapshots.open(&name).is_err());
    for at in disk.keys() {
        let value = disk.get(at).unwrap().unwrap();
        let found = value.windows(16).any(|window| window == key.id().as_bytes());
        assert!(!found, "{at:?} is under the key");
    }
    let fatal = Box::new(|_: &crate::raft::LogError| {});
    assert!(crate::raft::log::open(Arc::new(disk.clone()), stolen, fatal).is_err());
}
