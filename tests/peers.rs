//! Peers unlock a manager: real keys and the real record of the state, a crash at every step.
//!
//! A disk is two files, as bytes; a cluster is its state and its root key; a leader is a function.
//! Of `docs/design/peers.md`, step by step. Not here: processes, sockets, and who is alive.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy does not take for tests"
)]

use std::sync::Arc;

use proto::id::{Incarnation, MemberId, NodeId, Realm, Serial, Timestamp};
use proto::identity::{Caller, Subject};
use proto::sealed::{Encapsulation, WrappedKey};
use seal::{
    BootEntry, BootFile, Disk, KeyFileContents, KeyFileOwner, LockedKeyFile, LogKey, PeerPublicKey,
    PeerSecretKey, Release, ReleaseSecretKey, RootKey, SigningKeyDer, SlotParameters,
    TransitSecretKey, UnlockKey, UnlockKeys, seal_key_file,
};
use state::command::{Command, Envelope, InitCluster, LEVEL};
use state::object::{Authority, Blob, Certificate, Digest, TransitKey};
use state::{
    BootCommand, BootKey, NewGeneration, Outcome, PeerPolicy, Refusal, ReleaseRefusal, State, apply,
};

const REALM: Realm = Realm::from_bytes([1; 16]);
const ME: MemberId = MemberId(1);
const DISK: Disk = Disk { realm: REALM, incarnation: Incarnation(1), member: ME };

/// Steps of a turn, each of which makes something durable.
const STEPS: u8 = 5;

fn node_id() -> NodeId {
    NodeId::from_entropy([1; 17])
}

fn der(bytes: &[u8]) -> SigningKeyDer {
    SigningKeyDer::new(zeroize::Zeroizing::new(Box::from(bytes)))
}

/// The living majority.
struct Cluster {
    state: State,
    root: Arc<RootKey>,
    now: u64,
}

impl Cluster {
    fn new() -> Self {
        let root = RootKey::make();
        let transit = TransitSecretKey::make();
        let subject = Subject::Manager(node_id(), ME);
        let init = InitCluster {
            realm: REALM,
            incarnation: Incarnation(1),
            authority: Authority {
                certificate: Blob::default(),
                digest: Digest([1; 32]),
                wrapped_key: root.wrap_ca_key(REALM, &[1; 32], &der(&[1; 138])),
            },
            root: root.id(),
            transit_id: transit.public().id(),
            transit: TransitKey {
                public_key: Blob(transit.public().as_bytes().clone()),
                wrapped_key: root.wrap_transit_key(REALM, &transit),
                created_at: Timestamp(0),
                not_after: Timestamp(u64::MAX),
                signature: Blob::default(),
                signatures: None,
            },
            recipients: vec![],
            payload_quota_bytes: 1 << 20,
            member: ME,
            node_id: node_id(),
            hostname: "mgr-1".parse().unwrap(),
            address: "127.0.0.1:7443".into(),
            serial: Serial::from_bytes([1; 16]),
            certificate: Certificate {
                subject,
                key_digest: Digest([1; 32]),
                issued_at: Timestamp(0),
                not_after: Timestamp(u64::MAX),
                revoked: false,
                authority: None,
                rotation: None,
                superseded_at: None,
            },
            level_max: LEVEL,
        };
        let mut cluster = Self { state: State::new(), root: root.into(), now: 1 };
        cluster.commit(Command::InitCluster(Box::new(init))).unwrap();
        cluster.commit(BootCommand::SetPolicy { policy: PeerPolicy::Auto }).unwrap();
        cluster
    }

    fn commit(&mut self, body: impl Into<Command>) -> Result<Outcome, Refusal> {
        // Long after the last grant.
        self.now += 10_000;
        let envelope = Envelope {
            format: LEVEL,
            request: None,
            caller: Caller::Cluster { member: ME },
            at: Timestamp(self.now),
            body: body.into(),
        };
        let index = self.state.index() + 1;
        apply(&mut self.state, index, envelope).unwrap().outcome
    }

    /// The leader stages a generation for a boot key.
    fn stage(&mut self, held: Option<u64>, boot: BootKey) -> Result<(u64, PeerPublicKey), Refusal> {
        let peer = PeerSecretKey::make();
        let made_of = NewGeneration {
            boot,
            public_key: Blob(peer.public().as_bytes().clone()),
            wrapped_key: self.root.wrap_peer_key(REALM, ME, &peer),
        };
        let staged = self.state.boot().member(ME).and_then(|boot| boot.staged.as_ref());
        let replaces = staged.map(|staged| staged.number);
        let stage = BootCommand::Stage { member: ME, held, made_of: Box::new(made_of), replaces };
        let Outcome::Entry { index } = self.commit(stage)? else { panic!("it is an entry") };
        Ok((index, peer.public().clone()))
    }

    /// The leader grants a request that came with a boot key, and answers it.
    fn release(
        &mut self,
        boot: BootKey,
        mut release: Release,
    ) -> Result<(Release, Encapsulation, WrappedKey), Refusal> {
        let generation = release.generation;
        let host = "10.0.0.3".into();
        let grant = BootCommand::Grant { member: ME, generation, by: boot, host };
        let Outcome::Entry { index } = self.commit(grant)? else { panic!("it is an entry") };
        release.grant = index;
        let kept = self.state.boot().member(ME).unwrap().generation(generation).unwrap();
        let public = PeerPublicKey::parse(kept.made_of.public_key.0.clone()).unwrap();
        let wrapped = &kept.made_of.wrapped_key;
        let peer = self.root.unwrap_peer_key(REALM, ME, public.id(), wrapped).unwrap();
        let (encapsulation, sealed) = peer.release(&release).unwrap();
        Ok((release, encapsulation, sealed))
    }
}

/// The boot key of a certificate; here the certificate is its serial number.
fn boot_key(certificate: &[u8]) -> BootKey {
    BootKey {
        serial: Serial::from_bytes(certificate.try_into().unwrap()),
        key_digest: Digest(seal::digest_of(certificate)),
        not_after: Timestamp(u64::MAX),
    }
}

/// What is on a manager's disk.
#[derive(Clone)]
struct Image {
    key_file: Vec<u8>,
    boot_file: Option<Vec<u8>>,
}

/// A manager that serves: what it holds, and its disk.
struct Manager {
    contents: KeyFileContents,
    unlock_key: UnlockKey,
    disk: Image,
}

impl Manager {
    fn new(cluster: &Cluster) -> Self {
        let log = LogKey::make();
        let contents = KeyFileContents {
            active_root: cluster.root.id(),
            active_log: log.id(),
            roots: vec![Arc::clone(&cluster.root)],
            logs: vec![log.into()],
            tls_key: der(&[9; 138]),
        };
        let disk = Image { key_file: Vec::new(), boot_file: None };
        let mut manager = Self { contents, unlock_key: UnlockKey::make(), disk };
        manager.disk.key_file = manager.key_file(None);
        manager
    }

    fn key_file(&self, peers: Option<seal::Recipient>) -> Vec<u8> {
        let owner = KeyFileOwner { disk: DISK, node_id: node_id(), generation: 4 };
        let operators = seal::Recipient::new(
            self.unlock_key.slot().public().clone(),
            &SlotParameters::UnlockKey(UnlockKeys::default()),
        );
        let slots: Vec<_> = std::iter::once(operators).chain(peers).collect();
        seal_key_file(&owner, &slots, &self.contents).unwrap()
    }

    /// Turns to another generation, up to a step; the generation it was to be.
    fn turn(&mut self, cluster: &mut Cluster, steps: u8) -> u64 {
        let held = peers_slot(&self.disk).map(|(_, parameters)| parameters.generation());
        let boot_file = || BootFile::parse(self.disk.boot_file.as_ref()?).ok();
        // 1. Its next generation is staged.
        let certificate = seal::random::<16>();
        let (generation, peer) = cluster.stage(held, boot_key(&certificate)).unwrap();
        let slot = peer.make_slot(DISK, generation).unwrap();
        let recipient = slot.recipient();
        let next = BootEntry {
            generation,
            own: slot.own,
            key: der(&[8; 138]),
            certificate: certificate.to_vec().into(),
        };
        if steps >= 2 {
            let turning = match boot_file() {
                Some(file) => file.turning(held, next),
                None => BootFile::new(DISK, next),
            };
            self.disk.boot_file = Some(turning.to_bytes().to_vec());
        }
        if steps >= 3 {
            self.disk.key_file = self.key_file(Some(recipient));
        }
        if steps >= 4 {
            cluster.commit(BootCommand::Acknowledge { member: ME, generation }).unwrap();
        }
        if steps >= 5 {
            let file = BootFile::parse(self.disk.boot_file.as_ref().unwrap()).unwrap();
            let turned = file.turned(generation).unwrap();
            self.disk.boot_file = Some(turned.to_bytes().to_vec());
        }
        generation
    }
}

/// The slot of a key file that peers open.
fn peers_slot(disk: &Image) -> Option<(seal::SlotPublicKey, seal::PeersParameters)> {
    let locked = LockedKeyFile::parse(&disk.key_file).unwrap();
    locked.recipients().iter().find_map(|slot| match slot.slot_parameters() {
        Ok(SlotParameters::Peers(parameters)) => Some((slot.public.clone(), parameters)),
        _ => None,
    })
}

/// A manager starts with nothing but this disk, and asks its peers.
fn start(cluster: &mut Cluster, disk: &Image) -> Result<KeyFileContents, Refusal> {
    let (public, parameters) = peers_slot(disk).unwrap();
    let generation = parameters.generation();
    let boot_file = BootFile::parse(disk.boot_file.as_ref().unwrap()).unwrap();
    let entry = boot_file.entry(generation).expect("the boot file is never behind the key file");
    let boot = boot_key(&entry.certificate);
    let secret = ReleaseSecretKey::make();
    let request = Release {
        disk: *boot_file.disk(),
        generation,
        boot_key_digest: boot.key_digest.0,
        sealed: parameters.sealed().clone(),
        public_key: secret.public().clone(),
        nonce: seal::random(),
        grant: 0,
    };
    let (release, encapsulation, sealed) = cluster.release(boot, request)?;
    let key = entry.own.recover(&release, &secret, &encapsulation, &sealed, &public).unwrap();
    Ok(LockedKeyFile::parse(&disk.key_file).unwrap().open(&key).unwrap())
}

fn is_stale(outcome: Result<KeyFileContents, Refusal>) -> bool {
    let stale = Refusal::Release { member: ME, reason: ReleaseRefusal::Stale };
    outcome.err() == Some(stale)
}

#[test]
fn a_manager_that_crashes_at_any_step_of_a_turn_is_opened_and_copies_from_before_are_not() {
    for steps in 1..=STEPS {
        let mut cluster = Cluster::new();
        let mut manager = Manager::new(&cluster);
        manager.turn(&mut cluster, STEPS);
        let before = manager.disk.clone();
        let staged = manager.turn(&mut cluster, steps);
        // It is killed here.
        let opened = start(&mut cluster, &manager.disk).unwrap();
        assert_eq!(opened.active_log, manager.contents.active_log, "after step {steps}");
        let (_, slot) = peers_slot(&manager.disk).unwrap();
        assert_eq!(slot.generation() == staged, steps >= 3, "the key file decides");
        // From the grant on, or from the turn that follows, the copy is of no use.
        assert_eq!(is_stale(start(&mut cluster, &before)), steps >= 3, "after step {steps}");
        manager.turn(&mut cluster, STEPS);
        assert!(is_stale(start(&mut cluster, &before)), "after step {steps}");
        start(&mut cluster, &manager.disk).unwrap();
    }
}

#[test]
fn the_first_turn_may_be_cut_short_as_well() {
    for steps in 1..=STEPS {
        let mut cluster = Cluster::new();
        let mut manager = Manager::new(&cluster);
        manager.turn(&mut cluster, steps);
        assert_eq!(peers_slot(&manager.disk).is_some(), steps >= 3);
        if steps >= 3 {
            start(&mut cluster, &manager.disk).unwrap();
        }
        // Else an operator opened it.
        let locked = LockedKeyFile::parse(&manager.disk.key_file).unwrap();
        assert!(locked.open(&manager.unlock_key.slot()).is_ok());
        manager.turn(&mut cluster, STEPS);
        start(&mut cluster, &manager.disk).unwrap();
    }
}

#[test]
fn of_a_disk_and_its_copy_the_one_that_is_let_in_and_turns_is_the_only_one() {
    let mut cluster = Cluster::new();
    let mut manager = Manager::new(&cluster);
    manager.turn(&mut cluster, STEPS);
    let mut thief = Manager::new(&cluster);
    thief.disk = manager.disk.clone();
    // While its owner is down it is let in: the price of `auto`.
    start(&mut cluster, &thief.disk).unwrap();
    thief.turn(&mut cluster, STEPS);
    assert!(is_stale(start(&mut cluster, &manager.disk)), "and is noticed");

    // Removed first, neither is.
    cluster.commit(Command::RemoveMember { member: ME, destroys: None }).unwrap();
    for disk in [&manager.disk, &thief.disk] {
        let evicted = Refusal::Release { member: ME, reason: ReleaseRefusal::Evicted };
        assert_eq!(start(&mut cluster, disk).err(), Some(evicted));
    }
}

#[test]
fn a_boot_file_and_a_key_file_of_two_generations_open_nothing() {
    let mut cluster = Cluster::new();
    let mut manager = Manager::new(&cluster);
    manager.turn(&mut cluster, STEPS);
    let before = manager.disk.clone();
    manager.turn(&mut cluster, STEPS);
    let has_own_half = |boot: &Image, keys: &Image| {
        let (_, parameters) = peers_slot(keys).unwrap();
        let file = BootFile::parse(boot.boot_file.as_ref().unwrap()).unwrap();
        file.entry(parameters.generation()).is_some()
    };
    assert!(has_own_half(&manager.disk, &manager.disk));
    assert!(!has_own_half(&before, &manager.disk));
    assert!(!has_own_half(&manager.disk, &before));
}
