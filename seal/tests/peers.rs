//! The slot that peers help to open: the whole way, and every piece of it exchanged.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not take for tests")]

use proto::id::{Incarnation, KeyId, MemberId, NodeId, Realm};
use proto::sealed::{Encapsulation, WrappedKey};
use seal::{
    Disk, KeyFileContents, KeyFileOwner, LockedKeyFile, LogKey, OpenError, PeerBox, PeerSecretKey,
    PeersSlot, Release, ReleaseSecretKey, RootKey, SigningKeyDer, SlotKind, SlotParameters,
    SlotSecretKey, seal_key_file,
};

const REALM: Realm = Realm::from_bytes([1; 16]);
const OTHER_REALM: Realm = Realm::from_bytes([2; 16]);

const fn disk(member: u64) -> Disk {
    Disk { realm: REALM, incarnation: Incarnation(1), member: MemberId(member) }
}

/// One member's generation, and what the cluster keeps for it.
struct World {
    root: RootKey,
    peer_key_id: KeyId,
    wrapped: WrappedKey,
    slot: PeersSlot,
}

impl World {
    fn of(disk: Disk, generation: u64) -> Self {
        let root = RootKey::make();
        let peer = PeerSecretKey::make();
        let wrapped = root.wrap_peer_key(disk.realm, disk.member, &peer);
        let slot = peer.public().make_slot(disk, generation).unwrap();
        Self { root, peer_key_id: peer.public().id(), wrapped, slot }
    }

    fn asks(&self, disk: Disk, generation: u64) -> (Release, ReleaseSecretKey) {
        let secret = ReleaseSecretKey::make();
        let release = Release {
            disk,
            generation,
            boot_key_digest: [3; 32],
            sealed: self.slot.parameters.sealed().clone(),
            public_key: secret.public().clone(),
            nonce: seal::random(),
            grant: 40,
        };
        (release, secret)
    }

    fn answers(&self, release: &Release) -> Result<(Encapsulation, WrappedKey), OpenError> {
        let (realm, member) = (release.disk.realm, release.member());
        self.root.unwrap_peer_key(realm, member, self.peer_key_id, &self.wrapped)?.release(release)
    }

    fn opens(
        &self,
        release: &Release,
        secret: &ReleaseSecretKey,
        (encapsulation, sealed): &(Encapsulation, WrappedKey),
    ) -> Result<SlotSecretKey, OpenError> {
        self.slot.own.recover(release, secret, encapsulation, sealed, &self.slot.public)
    }
}

/// Flips a bit of each byte.
fn damaged(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len()).map(|at| {
        let mut flipped = bytes.to_vec();
        if let Some(byte) = flipped.get_mut(at) {
            *byte ^= 1;
        }
        flipped
    })
}

fn key_file(slot: &PeersSlot, disk: Disk) -> Vec<u8> {
    let owner = KeyFileOwner { disk, node_id: NodeId::from_entropy([1; 17]), generation: 4 };
    let (root, log) = (RootKey::make(), LogKey::make());
    let contents = KeyFileContents {
        active_root: root.id(),
        active_log: log.id(),
        roots: vec![root.into()],
        logs: vec![log.into()],
        tls_key: SigningKeyDer::new(zeroize::Zeroizing::new(Box::from([9; 138]))),
    };
    seal_key_file(&owner, &[slot.recipient()], &contents).unwrap()
}

#[test]
fn a_key_file_opens_with_both_halves() {
    let world = World::of(disk(7), 30);
    let file = key_file(&world.slot, disk(7));
    // What a manager that starts has: this file, and its own half.
    let locked = LockedKeyFile::parse(&file).unwrap();
    let slot = locked.recipients().first().unwrap();
    assert_eq!(slot.kind, SlotKind::Peers);
    let Ok(SlotParameters::Peers(parameters)) = slot.slot_parameters() else {
        panic!("a slot that peers open")
    };
    assert_eq!(parameters.generation(), 30);
    let secret = ReleaseSecretKey::make();
    let release = Release {
        disk: locked.owner().disk,
        generation: parameters.generation(),
        boot_key_digest: [3; 32],
        sealed: PeerBox::parse(&parameters.sealed().to_bytes()).unwrap(),
        public_key: secret.public().clone(),
        nonce: [4; 32],
        grant: 40,
    };
    let (encapsulation, sealed) = world.answers(&release).unwrap();
    let key = world.slot.own.recover(&release, &secret, &encapsulation, &sealed, &slot.public);
    assert!(locked.open(&key.unwrap()).is_ok());
}

#[test]
fn a_box_opens_for_its_member_generation_and_key_only() {
    let world = World::of(disk(7), 30);
    let other = World::of(disk(7), 30);
    let answer = |change: &dyn Fn(&mut Release)| {
        let (mut release, _) = world.asks(disk(7), 30);
        change(&mut release);
        world.answers(&release).map(|_| ())
    };
    assert_eq!(answer(&|_| ()), Ok(()));
    let next_life = Disk { incarnation: Incarnation(2), ..disk(7) };
    let changes: [&dyn Fn(&mut Release); 6] = [
        &|r| r.disk = disk(8),
        &|r| r.disk = next_life,
        &|r| r.disk.realm = OTHER_REALM,
        &|r| r.generation = 29,
        &|r| r.generation = 31,
        // The same member and generation, to another key.
        &|r| r.sealed = other.slot.parameters.sealed().clone(),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        assert_eq!(answer(change), Err(OpenError), "change {at}");
    }
    for bytes in damaged(&world.slot.parameters.sealed().to_bytes()) {
        let Some(sealed) = PeerBox::parse(&bytes) else { continue };
        assert_eq!(answer(&|r| r.sealed = sealed.clone()), Err(OpenError));
    }
}

#[test]
fn a_peer_key_is_unwrapped_in_its_place_only() {
    let world = World::of(disk(7), 30);
    let unwrap = |root: &RootKey, realm, member, id, wrapped: &WrappedKey| {
        root.unwrap_peer_key(realm, member, id, wrapped).map(|key| key.public().id())
    };
    let (root, id, member) = (&world.root, world.peer_key_id, MemberId(7));
    assert_eq!(unwrap(root, REALM, member, id, &world.wrapped), Ok(id));
    let refused = Err(OpenError);
    assert_eq!(unwrap(&RootKey::make(), REALM, member, id, &world.wrapped), refused);
    assert_eq!(unwrap(root, OTHER_REALM, member, id, &world.wrapped), refused);
    assert_eq!(unwrap(root, REALM, MemberId(8), id, &world.wrapped), refused);
    let other_id = KeyId::from_bytes([9; 16]);
    assert_eq!(unwrap(root, REALM, member, other_id, &world.wrapped), refused);
    for bytes in damaged(world.wrapped.as_bytes()) {
        let Ok(wrapped) = WrappedKey::new(bytes.into()) else { continue };
        assert_eq!(unwrap(root, REALM, member, id, &wrapped), refused);
    }
    // Nor does it pass for the key of another use.
    assert!(root.unwrap_transit_key(REALM, id, &world.wrapped).is_err());
    assert!(root.unwrap_ca_key(REALM, &[0; 32], &world.wrapped).is_err());
}

#[test]
fn an_answer_opens_for_its_request_only() {
    let world = World::of(disk(7), 30);
    let (release, secret) = world.asks(disk(7), 30);
    let answer = world.answers(&release).unwrap();
    assert_eq!(world.opens(&release, &secret, &answer).unwrap().public(), &world.slot.public);

    let other_box = World::of(disk(7), 30).slot.parameters.sealed().clone();
    let other_key = ReleaseSecretKey::make();
    let next_life = Disk { incarnation: Incarnation(2), ..disk(7) };
    let changes: [&dyn Fn(&mut Release); 9] = [
        &|r| r.disk = disk(8),
        &|r| r.disk = next_life,
        &|r| r.disk.realm = OTHER_REALM,
        &|r| r.generation = 31,
        &|r| r.boot_key_digest = [4; 32],
        &|r| r.sealed = other_box.clone(),
        &|r| r.public_key = other_key.public().clone(),
        &|r| r.nonce = [0; 32],
        &|r| r.grant = 41,
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut wrong = release.clone();
        change(&mut wrong);
        let opened = world.opens(&wrong, &secret, &answer);
        assert_eq!(opened.err(), Some(OpenError), "change {at}");
    }
    assert_eq!(world.opens(&release, &other_key, &answer).err(), Some(OpenError), "another's key");

    // The answer to another request of the same member, whole and in parts.
    let (again, _) = world.asks(disk(7), 30);
    let replayed = world.answers(&again).unwrap();
    for mixed in [
        replayed.clone(),
        (replayed.0.clone(), answer.1.clone()),
        (answer.0.clone(), replayed.1.clone()),
    ] {
        assert_eq!(world.opens(&release, &secret, &mixed).err(), Some(OpenError));
    }
    for bytes in damaged(answer.1.as_bytes()) {
        let Ok(sealed) = WrappedKey::new(bytes.into()) else { continue };
        let damaged = (answer.0.clone(), sealed);
        assert_eq!(world.opens(&release, &secret, &damaged).err(), Some(OpenError));
    }
    for bytes in damaged(answer.0.as_bytes()) {
        let Ok(encapsulation) = Encapsulation::new(bytes.into()) else { continue };
        let damaged = (encapsulation, answer.1.clone());
        assert_eq!(world.opens(&release, &secret, &damaged).err(), Some(OpenError));
    }
}

#[test]
fn an_own_half_is_good_for_its_own_generation_only() {
    let (world, other) = (World::of(disk(7), 30), World::of(disk(7), 31));
    let (release, secret) = world.asks(disk(7), 30);
    let (encapsulation, sealed) = world.answers(&release).unwrap();
    // Whoever has the cluster's answer and another own half has nothing.
    for slot in [&world.slot.public, &other.slot.public] {
        let opened = other.slot.own.recover(&release, &secret, &encapsulation, &sealed, slot);
        assert_eq!(opened.err(), Some(OpenError));
    }
    let opened =
        world.slot.own.recover(&release, &secret, &encapsulation, &sealed, &other.slot.public);
    assert_eq!(opened.err(), Some(OpenError), "the slot of another generation");
}

#[test]
fn every_slot_is_another_one() {
    let peer = PeerSecretKey::make();
    let make = || peer.public().make_slot(disk(7), 30).unwrap();
    let (one, other) = (make(), make());
    assert_ne!(one.public, other.public);
    assert_ne!(one.parameters, other.parameters);
}

#[test]
fn a_point_that_agrees_with_nobody_is_answered_to_nobody() {
    let world = World::of(disk(7), 30);
    let (mut release, _) = world.asks(disk(7), 30);
    // Of low order (RFC 7748 §6.1): every private key agrees on zeros with it.
    let point = Encapsulation::x25519(&[0; 32]).as_bytes().clone();
    release.public_key = seal::ReleasePublicKey::parse(point.clone()).unwrap();
    assert_eq!(world.answers(&release).err(), Some(OpenError));
    let peer = seal::PeerPublicKey::parse(point).unwrap();
    assert_eq!(peer.make_slot(disk(7), 30).err(), Some(OpenError));
}
