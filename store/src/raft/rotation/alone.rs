//! A manager alone on a simulated disk, key file included: for tests that cut rotations short.

use std::collections::BTreeSet;
use std::sync::Mutex;

use link::certificate;
use link::tls::{self, Cluster, OwnCertificate};
use proto::id::{Incarnation, MemberId, NodeId, Realm, Timestamp};
use proto::identity::{Caller, Subject};
use rustls_pki_types::CertificateDer;
use seal::{
    KeyFileContents, KeyFileOwner, LockedKeyFile, Recipient, RootKey, SlotKind, SlotSecretKey,
};
use state::command::{Command, Denial, Envelope, InitCluster, LEVEL};
use tokio::sync::watch;

use super::*;
use crate::ca;
use crate::disk::{Disk as _, SimulatedDisk};
use crate::keys::{made_contents, recipients};
use crate::raft::{LogKeys, Pool, Profile, Raft, Start};
use crate::roots::RootKeeper;

pub(crate) const ME: MemberId = MemberId(1);
const KEYS: &str = "keys";

pub(crate) fn place() -> seal::Disk {
    seal::Disk { realm: Realm::from_bytes([1; 16]), incarnation: Incarnation(1), member: ME }
}

fn slot() -> SlotSecretKey {
    SlotSecretKey::derive_from_seed(&[7; 32])
}

/// A key file on the simulated disk.
pub(crate) struct Keeper {
    disk: SimulatedDisk,
    contents: Mutex<KeyFileContents>,
    /// Of the recipients it is sealed to.
    pub(crate) generation: watch::Sender<u64>,
}

impl Keeper {
    pub(crate) fn make(disk: &SimulatedDisk) -> Self {
        let keeper = Self::with(disk, made_contents());
        keeper.write();
        keeper
    }

    pub(crate) fn open(disk: &SimulatedDisk) -> Self {
        let mut bytes = Vec::new();
        let mut file = disk.open_file(KEYS).unwrap().unwrap();
        io::Read::read_to_end(&mut file, &mut bytes).unwrap();
        let contents = LockedKeyFile::parse(&bytes).unwrap().open(&slot()).unwrap();
        Self::with(disk, contents)
    }

    fn with(disk: &SimulatedDisk, contents: KeyFileContents) -> Self {
        let contents = Mutex::new(contents);
        Self { disk: disk.clone(), contents, generation: watch::Sender::new(1) }
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

    /// The root key that new wraps are made under.
    pub(crate) fn root(&self) -> Arc<RootKey> {
        let contents = self.contents.lock().unwrap();
        let mut roots = contents.roots.iter();
        roots.find(|root| root.id() == contents.active_root).unwrap().clone()
    }

    /// Every root key in the file.
    pub(crate) fn roots(&self) -> Vec<Arc<RootKey>> {
        self.contents.lock().unwrap().roots.clone()
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
        *self.generation.borrow()
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

impl RootKeeper for Keeper {
    fn root_ids(&self) -> (Vec<KeyId>, KeyId) {
        let contents = self.contents.lock().unwrap();
        (contents.roots.iter().map(|key| key.id()).collect(), contents.active_root)
    }

    fn recipients_generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    fn add_root_key(&self, key: Arc<RootKey>) -> io::Result<()> {
        self.contents.lock().unwrap().roots.push(key);
        self.write();
        Ok(())
    }

    fn settle_root_keys(&self, active: KeyId, gone: &[KeyId]) -> io::Result<()> {
        let mut contents = self.contents.lock().unwrap();
        contents.roots.retain(|key| !gone.contains(&key.id()));
        contents.active_root = active;
        drop(contents);
        self.write();
        Ok(())
    }
}

/// What a manager needs to speak to others; this one has none.
pub(crate) fn pool() -> Arc<Pool> {
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
pub(crate) struct Alone<K = Keeper> {
    pub(crate) raft: Raft,
    pub(crate) keeper: Arc<K>,
    pub(crate) rotation: Rotation,
}

impl Alone {
    pub(crate) async fn start(disk: &SimulatedDisk, keeper: Keeper, pool: Arc<Pool>) -> Self {
        let keys = keeper.keys();
        Self::start_with(disk, keeper, keys, pool).await
    }
}

impl<K: KeyKeeper> Alone<K> {
    /// Starts one whose keys are kept by somebody else.
    pub(crate) async fn start_with(
        disk: &SimulatedDisk,
        keeper: K,
        keys: Arc<LogKeys>,
        pool: Arc<Pool>,
    ) -> Self {
        let start = Start {
            disk: Arc::new(disk.clone()),
            keys,
            pool,
            profile: Profile::Lan,
            fatal: Box::new(|error| panic!("the disk failed: {error}")),
        };
        let raft = Raft::start(start).await.unwrap();
        let keeper = Arc::new(keeper);
        let rotation = Rotation::new(raft.clone(), keeper.clone());
        Self { raft, keeper, rotation }
    }

    pub(crate) async fn leads(&self) {
        self.raft.leadership().wait_for(|now| now.leading).await.unwrap();
    }

    /// Proposes something that stays in the state, and waits until it is acknowledged.
    pub(crate) async fn write(&self, number: u64) {
        let caller = Caller::Cluster { member: ME };
        let denial = Denial { caller, action: number.to_string(), count: 1 };
        self.propose(Command::RecordDenials(vec![denial])).await;
    }

    pub(crate) async fn propose(&self, body: Command) {
        let caller = Caller::Cluster { member: ME };
        let envelope = Envelope { format: 1, request: None, caller, at: Timestamp(1), body };
        self.raft.propose(envelope).await.unwrap().unwrap();
    }

    /// What was written, by the state.
    pub(crate) fn written(&self) -> BTreeSet<u64> {
        let state = self.raft.machine.state();
        state.audit().records().filter_map(|(record, _)| record.action.parse().ok()).collect()
    }

    /// What a manager does for its log key by itself, one step of it, and the leader for its word;
    /// whether there was something to do.
    pub(crate) async fn follow_log_key(&self) -> bool {
        let (kept, held) = self.keeper.log_ids();
        let (wanted, told) = {
            let state = self.raft.machine.state();
            let told = state.log_keys().of(ME);
            (state.log_keys().wanted, (told.epoch, told.key))
        };
        let owes = owes(wanted, told, held, None);
        if kept.len() == 1
            && let Owes::Word(epoch) = owes
        {
            self.propose(Command::AcknowledgeLogKey { member: ME, epoch, key: held }).await;
            return true;
        }
        let due = matches!(owes, Owes::Rotation(_)) && kept.len() == 1;
        if kept.len() == 1 && !due {
            return false;
        }
        let step = self.rotation.next(due).await.unwrap();
        self.rotation.take(&step).await.unwrap();
        true
    }

    /// Finishes what was begun; the steps that took.
    pub(crate) async fn finish(&self) -> Vec<Step> {
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

    /// What the records hold that are in the log, each of which opens.
    pub(crate) fn records(&self) -> Vec<bytes::Bytes> {
        let (purged, last) = self.raft.log.bounds();
        let (first, last) = (purged.map_or(0, |purged| purged + 1), last.unwrap_or(0));
        let read = |index| self.raft.log.read_record(index).unwrap().map(|(entry, _)| entry.bytes);
        (first..=last).map(|index| read(index).expect("the log has no holes")).collect()
    }

    pub(crate) async fn assert_clean(&self) {
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

/// What a founder commits first; whom key files are sealed to is of generation 1 by that.
pub(crate) fn first_command(root: &RootKey) -> Command {
    let (realm, now) = (place().realm, Timestamp(1_000));
    let founded = ca::found(realm, root, now).unwrap();
    let (transit_id, transit) = ca::make_transit_key(realm, root, &founded.key, now).unwrap();
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
