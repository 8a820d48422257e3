//! Every piece that is swapped, moved, cut or replayed fails, and fails the same way.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests, which clippy does not take for tests"
)]

use bytes::Bytes;
use proto::id::{
    Incarnation, KeyId, MemberId, NodeId, PayloadId, Realm, SecretId, SessionId, TaskId, Version,
};
use proto::identity::Principal;
use proto::name::{FoldedName, SecretName};
use proto::sealed::{Ciphertext, Encapsulation, HEADER_BYTES, SealedPayload, WrappedKey};
use seal::{
    Delivery, Disk, Fetch, FetchSecretKey, KeyFileContents, KeyFileOwner, LockedKeyFile, LogKey,
    Nonces, OpenError, Operation, Plaintext, Recipient, RecordPlace, RootKey, SessionBinding,
    SessionReceiver, SessionSecretKey, SessionSender, SigningKeyDer, SlotKind, SlotSecretKey,
    StoredAt, TransitReceiver, TransitSecretKey, TransitSender, ciphertext_digest, make_slot_seed,
    seal_key_file,
};

const REALM: Realm = Realm::from_bytes([1; 16]);
const OTHER_REALM: Realm = Realm::from_bytes([2; 16]);
const ALICE: Principal = Principal::Local { uid: 1000 };
const BOB: Principal = Principal::Local { uid: 1001 };

fn name(text: &str) -> FoldedName {
    text.parse::<SecretName>().unwrap().folded()
}

fn value(text: &str) -> Plaintext {
    Plaintext::read_from(text.as_bytes()).unwrap()
}

/// Flips each bit of the first and last bytes, cuts the end, and adds a byte.
fn damaged(bytes: &Bytes) -> Vec<Bytes> {
    let mut out = Vec::new();
    for at in (0..bytes.len().min(64)).chain(bytes.len().saturating_sub(20)..bytes.len()) {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 1;
        out.push(flipped.into());
    }
    for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        out.push(bytes.slice(..length));
    }
    out.push([&bytes[..], &[0]].concat().into());
    out
}

struct Transit {
    secret: TransitSecretKey,
    payload: SealedPayload,
}

impl Transit {
    fn new() -> Self {
        let secret = TransitSecretKey::make();
        let sender = TransitSender::set_up(secret.public().clone(), REALM, ALICE).unwrap();
        let payload = sender.seal(value("hunter2"), Operation::Create, &name("db"));
        Self { secret, payload }
    }

    fn open(
        &self,
        realm: Realm,
        principal: Principal,
        payload: &SealedPayload,
        operation: Operation,
        name: &FoldedName,
    ) -> Result<String, OpenError> {
        let receiver =
            TransitReceiver::set_up(&self.secret, realm, principal, &payload.encapsulation)?;
        let digest = ciphertext_digest(&payload.ciphertext);
        let bundle = receiver.open_dek(payload, &digest, operation, name)?;
        let opened = bundle.into_dek().open(realm, payload.payload_id, &payload.ciphertext)?;
        Ok(String::from_utf8(opened.expose().to_vec()).unwrap())
    }
}

#[test]
fn a_transit_box_opens_for_its_caller_name_operation_and_ciphertext_only() {
    let transit = Transit::new();
    let other = Transit::new();
    let payload = &transit.payload;
    let create = Operation::Create;
    assert_eq!(transit.open(REALM, ALICE, payload, create, &name("DB")).unwrap(), "hunter2");

    let refused = |realm, principal, payload: &SealedPayload, operation, text| {
        assert_eq!(transit.open(realm, principal, payload, operation, &name(text)), Err(OpenError));
    };
    refused(REALM, BOB, payload, create, "db");
    refused(OTHER_REALM, ALICE, payload, create, "db");
    refused(REALM, ALICE, payload, Operation::Rotate, "db");
    refused(REALM, ALICE, payload, create, "db2");
    let swap = |change: &dyn Fn(&mut SealedPayload)| {
        let mut swapped = payload.clone();
        change(&mut swapped);
        refused(REALM, ALICE, &swapped, create, "db");
    };
    swap(&|p| p.ciphertext = other.payload.ciphertext.clone());
    swap(&|p| p.sealed_dek = other.payload.sealed_dek.clone());
    swap(&|p| p.encapsulation = other.payload.encapsulation.clone());
    swap(&|p| p.payload_id = other.payload.payload_id);
    for bytes in damaged(payload.sealed_dek.as_bytes()) {
        let Ok(sealed_dek) = WrappedKey::new(bytes) else { continue };
        swap(&|p| p.sealed_dek = sealed_dek.clone());
    }
    for bytes in damaged(payload.ciphertext.as_bytes()) {
        let Ok(ciphertext) = Ciphertext::new(bytes) else { continue };
        swap(&|p| p.ciphertext = ciphertext.clone());
    }
    for bytes in damaged(payload.encapsulation.as_bytes()) {
        let Ok(encapsulation) = Encapsulation::new(bytes) else { continue };
        swap(&|p| p.encapsulation = encapsulation.clone());
    }
    assert!(other.open(REALM, ALICE, payload, create, &name("db")).is_err(), "another key");
}

/// The transit key may be retired while a payload is on its way.
#[test]
fn an_encrypted_value_can_be_sealed_to_the_next_transit_key() {
    let keys = [TransitSecretKey::make(), TransitSecretKey::make()];
    let [first, next] = [&keys[0], &keys[1]]
        .map(|key| TransitSender::set_up(key.public().clone(), REALM, ALICE).unwrap());
    let encrypted = first.encrypt(value("hunter2"));
    let sealed =
        [&first, &next].map(|sender| sender.seal_key(&encrypted, Operation::Create, &name("db")));
    assert_eq!(sealed[0].ciphertext.as_bytes(), sealed[1].ciphertext.as_bytes());
    let [first, next] = keys;
    let of = |secret, payload: &SealedPayload| Transit { secret, payload: payload.clone() };
    for (transit, other) in
        [(of(first, &sealed[0]), &sealed[1]), (of(next, &sealed[1]), &sealed[0])]
    {
        let open = |payload| transit.open(REALM, ALICE, payload, Operation::Create, &name("db"));
        assert_eq!(open(&transit.payload).unwrap(), "hunter2");
        assert_eq!(open(other), Err(OpenError), "each key has a box of its own");
    }
}

#[test]
fn a_stored_dek_opens_in_its_place_only() {
    let transit = Transit::new();
    let payload = &transit.payload;
    let digest = ciphertext_digest(&payload.ciphertext);
    let receiver =
        TransitReceiver::set_up(&transit.secret, REALM, ALICE, &payload.encapsulation).unwrap();
    let bundle = receiver.open_dek(payload, &digest, Operation::Create, &name("db")).unwrap();
    assert!(bundle.value_equals(&value("hunter2")));
    assert!(!bundle.value_equals(&value("hunter3")));

    let root = RootKey::make();
    let at = StoredAt {
        realm: REALM,
        secret_id: SecretId::from_entropy([1; 17]),
        version: Version(1),
        payload_id: payload.payload_id,
    };
    let wrapped = root.wrap_dek(&at, &digest, &bundle);
    assert_eq!(wrapped.key_id(), root.id());
    let opened = root.unwrap_dek(&at, &digest, &wrapped).unwrap();
    assert!(opened.value_equals(&value("hunter2")));

    let refused = |root: &RootKey, at: StoredAt, digest: &[u8; 32], wrapped: &WrappedKey| {
        assert_eq!(root.unwrap_dek(&at, digest, wrapped).err(), Some(OpenError));
    };
    refused(&RootKey::make(), at, &digest, &wrapped);
    refused(&root, StoredAt { realm: OTHER_REALM, ..at }, &digest, &wrapped);
    refused(
        &root,
        StoredAt { secret_id: SecretId::from_entropy([2; 17]), ..at },
        &digest,
        &wrapped,
    );
    refused(&root, StoredAt { version: Version(2), ..at }, &digest, &wrapped);
    refused(
        &root,
        StoredAt { payload_id: PayloadId::from_bytes([9; 16]), ..at },
        &digest,
        &wrapped,
    );
    refused(&root, at, &[0; 32], &wrapped);
    for bytes in damaged(wrapped.as_bytes()) {
        let Ok(wrapped) = WrappedKey::new(bytes) else { continue };
        refused(&root, at, &digest, &wrapped);
    }
}

#[test]
fn keys_of_one_use_do_not_open_as_another() {
    let root = RootKey::make();
    let transit = TransitSecretKey::make();
    let id = transit.public().id();
    let wrapped = root.wrap_transit_key(REALM, &transit);
    assert_eq!(root.unwrap_transit_key(REALM, id, &wrapped).unwrap().public(), transit.public());
    assert!(root.unwrap_transit_key(OTHER_REALM, id, &wrapped).is_err());
    assert!(root.unwrap_transit_key(REALM, KeyId::from_bytes([0; 16]), &wrapped).is_err());
    assert!(root.unwrap_ca_key(REALM, &[0; 32], &wrapped).is_err());

    let ca = SigningKeyDer::new(zeroize::Zeroizing::new(Box::from([7; 138])));
    let wrapped = root.wrap_ca_key(REALM, &[3; 32], &ca);
    assert_eq!(root.unwrap_ca_key(REALM, &[3; 32], &wrapped).unwrap().expose(), [7; 138]);
    assert!(root.unwrap_ca_key(REALM, &[4; 32], &wrapped).is_err());
    assert!(RootKey::make().unwrap_ca_key(REALM, &[3; 32], &wrapped).is_err());
}

#[test]
fn a_delivery_opens_in_its_session_as_its_message_only() {
    let transit = Transit::new();
    let payload = &transit.payload;
    let digest = ciphertext_digest(&payload.ciphertext);
    let receiver =
        TransitReceiver::set_up(&transit.secret, REALM, ALICE, &payload.encapsulation).unwrap();
    let dek =
        receiver.open_dek(payload, &digest, Operation::Create, &name("db")).unwrap().into_dek();

    let agent = SessionSecretKey::make();
    let binding = SessionBinding {
        realm: REALM,
        incarnation: Incarnation(1),
        node_id: NodeId::from_entropy([1; 17]),
        certificate_key_digest: [5; 32],
        session_id: SessionId::from_bytes([6; 16]),
        session_key: agent.public().clone(),
    };
    let sender = SessionSender::set_up(&binding).unwrap();
    let delivery = Delivery {
        message_number: 1,
        task_id: TaskId::from_entropy([1; 17]),
        secret_id: SecretId::from_entropy([1; 17]),
        version: Version(1),
        payload_id: payload.payload_id,
    };
    let wrapped = sender.wrap(&delivery, &dek, &payload.ciphertext);
    let open = |agent: &SessionSecretKey, binding: &SessionBinding, delivery: &Delivery| {
        SessionReceiver::set_up(agent, binding, sender.encapsulation())?
            .unwrap(delivery, &wrapped, &payload.ciphertext)?
            .open(REALM, delivery.payload_id, &payload.ciphertext)
            .map(|plaintext| plaintext.expose().to_vec())
    };
    assert_eq!(open(&agent, &binding, &delivery).unwrap(), b"hunter2");

    let other = Transit::new();
    for wrong in [
        Delivery { message_number: 2, ..delivery },
        Delivery { task_id: TaskId::from_entropy([2; 17]), ..delivery },
        Delivery { secret_id: SecretId::from_entropy([2; 17]), ..delivery },
        Delivery { version: Version(2), ..delivery },
        Delivery { payload_id: other.payload.payload_id, ..delivery },
    ] {
        assert_eq!(open(&agent, &binding, &wrong), Err(OpenError), "{wrong:?}");
    }
    let bindings: [&dyn Fn(&mut SessionBinding); 5] = [
        &|b| b.realm = OTHER_REALM,
        &|b| b.incarnation = Incarnation(2),
        &|b| b.node_id = NodeId::from_entropy([2; 17]),
        &|b| b.certificate_key_digest = [6; 32],
        &|b| b.session_id = SessionId::from_bytes([7; 16]),
    ];
    for change in bindings {
        let mut wrong = binding.clone();
        change(&mut wrong);
        assert_eq!(open(&agent, &wrong, &delivery), Err(OpenError));
    }
    assert_eq!(open(&SessionSecretKey::make(), &binding, &delivery), Err(OpenError));
    let receiver = SessionReceiver::set_up(&agent, &binding, sender.encapsulation()).unwrap();
    let swapped = receiver.unwrap(&delivery, &wrapped, &other.payload.ciphertext);
    assert_eq!(swapped.err(), Some(OpenError), "another ciphertext");
}

fn disk(member: u64) -> Disk {
    Disk { realm: REALM, incarnation: Incarnation(1), member: MemberId(member) }
}

#[test]
fn records_of_a_group_have_a_nonce_each_drawn_for_the_group_or_beyond_it() {
    let key = LogKey::make();
    let place = RecordPlace { term: 3, leader: MemberId(1), index: 77 };
    let mut used = std::collections::BTreeSet::new();
    for drawn in [0, 1, 3] {
        let mut nonces = Nonces::draw(drawn);
        for _ in 0..drawn + 2 {
            let sealed = key.seal_record(disk(1), place, &[4; 32], b"entry", &mut nonces);
            // Behind format, algorithm and key id.
            let nonce = sealed[18..HEADER_BYTES].to_vec();
            assert!(nonce.iter().any(|byte| *byte != 0));
            assert!(used.insert(nonce), "a nonce was given twice");
        }
    }
}

#[test]
fn a_record_opens_at_its_index_on_its_disk_only() {
    let key = LogKey::make();
    let place = RecordPlace { term: 3, leader: MemberId(1), index: 77 };
    let sealed = key.seal_record(disk(1), place, &[4; 32], b"entry", &mut Nonces::draw(1));
    assert_eq!(seal::sealed_under(&sealed), Some(key.id()));
    let open = |key: &LogKey, disk, place| {
        let mut sealed = sealed.clone();
        key.open_record(disk, place, &mut sealed).map(|(link, entry)| (*link, entry.to_vec()))
    };
    assert_eq!(open(&key, disk(1), place).unwrap(), ([4; 32], b"entry".to_vec()));
    for wrong in [
        RecordPlace { term: 4, ..place },
        RecordPlace { leader: MemberId(2), ..place },
        RecordPlace { index: 78, ..place },
    ] {
        assert_eq!(open(&key, disk(1), wrong), Err(OpenError));
    }
    let next_life = Disk { incarnation: Incarnation(2), ..disk(1) };
    for wrong in [disk(2), next_life, Disk { realm: OTHER_REALM, ..disk(1) }] {
        assert_eq!(open(&key, wrong, place), Err(OpenError));
    }
    assert_eq!(open(&LogKey::make(), disk(1), place), Err(OpenError));
    for bytes in damaged(&sealed.clone().into()) {
        assert!(key.open_record(disk(1), place, &mut bytes.to_vec()).is_err());
    }
}

#[test]
fn pieces_of_a_disk_do_not_stand_in_for_each_other() {
    let key = LogKey::make();
    let head = key.seal_head(disk(1), 0, b"head");
    assert_eq!(key.open_head(disk(1), 0, &mut head.clone()).unwrap(), b"head");
    assert!(key.open_head(disk(1), 1, &mut head.clone()).is_err());
    assert!(key.open_meta(disk(1), "head", &mut head.clone()).is_err());

    let meta = key.seal_meta(disk(1), "purged", b"9");
    assert_eq!(key.open_meta(disk(1), "purged", &mut meta.clone()).unwrap(), b"9");
    assert!(key.open_meta(disk(1), "vote", &mut meta.clone()).is_err());

    let chunk = key.seal_chunk(disk(1), &[1; 16], 3, false, b"chunk");
    let open = |snapshot: &[u8; 16], number, last| {
        key.open_chunk(disk(1), snapshot, number, last, &mut chunk.clone()).map(<[u8]>::to_vec)
    };
    assert_eq!(open(&[1; 16], 3, false).unwrap(), b"chunk");
    assert!(open(&[2; 16], 3, false).is_err(), "another snapshot");
    assert!(open(&[1; 16], 4, false).is_err(), "another place");
    assert!(open(&[1; 16], 3, true).is_err(), "a file cut short");
}

#[test]
fn the_chain_depends_on_everything_before() {
    let place = RecordPlace { term: 1, leader: MemberId(1), index: 1 };
    let link = seal::chain_link(&[0; 32], place, b"entry");
    assert_eq!(link, seal::chain_link(&[0; 32], place, b"entry"));
    assert_ne!(link, seal::chain_link(&[1; 32], place, b"entry"));
    assert_ne!(link, seal::chain_link(&[0; 32], RecordPlace { index: 2, ..place }, b"entry"));
    assert_ne!(link, seal::chain_link(&[0; 32], place, b"entrY"));
}

fn contents() -> KeyFileContents {
    let (root, log) = (RootKey::make(), LogKey::make());
    KeyFileContents {
        active_root: root.id(),
        active_log: log.id(),
        roots: vec![RootKey::make().into(), root.into()],
        logs: vec![log.into()],
        tls_key: SigningKeyDer::new(zeroize::Zeroizing::new(Box::from([9; 138]))),
    }
}

#[test]
fn a_key_file_opens_with_each_of_its_slots_and_no_other() {
    let slots = [SlotSecretKey::derive_from_seed(&make_slot_seed()), {
        let seed = make_slot_seed();
        SlotSecretKey::derive_from_seed(&seed)
    }];
    let recipients: Vec<_> = slots
        .iter()
        .map(|slot| Recipient {
            kind: SlotKind::File,
            public: slot.public().clone(),
            parameters: vec![],
        })
        .collect();
    let owner =
        KeyFileOwner { disk: disk(1), node_id: NodeId::from_entropy([1; 17]), generation: 4 };
    let contents = contents();
    let bytes = Bytes::from(seal_key_file(&owner, &recipients, &contents).unwrap());
    let locked = LockedKeyFile::parse(&bytes).unwrap();
    assert_eq!(*locked.owner(), owner);
    assert_eq!(locked.recipients(), recipients);
    for slot in &slots {
        let opened = locked.open(slot).unwrap();
        assert_eq!(opened.active_root, contents.active_root);
        assert_eq!(opened.roots[0].id(), contents.roots[0].id());
        assert_eq!(opened.logs[0].id(), contents.active_log);
        assert_eq!(opened.tls_key.expose(), [9; 138]);
    }
    let stranger = SlotSecretKey::derive_from_seed(&make_slot_seed());
    assert_eq!(locked.open(&stranger).err(), Some(OpenError));

    // Every single byte counts, the header's included.
    for at in 0..bytes.len() {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 1;
        let Ok(locked) = LockedKeyFile::parse(&flipped) else { continue };
        let opened = slots.iter().filter(|slot| locked.open(slot).is_ok()).count();
        assert_eq!(opened, 0, "byte {at}");
    }
    for length in 0..bytes.len() {
        let Ok(locked) = LockedKeyFile::parse(&bytes[..length]) else { continue };
        assert!(locked.open(&slots[0]).is_err(), "{length} bytes");
    }
}

#[test]
fn a_file_key_cannot_be_moved_to_another_generation() {
    let slot = SlotSecretKey::derive_from_seed(&make_slot_seed());
    let recipient =
        Recipient { kind: SlotKind::File, public: slot.public().clone(), parameters: vec![] };
    let owner = |generation| KeyFileOwner {
        disk: disk(1),
        node_id: NodeId::from_entropy([1; 17]),
        generation,
    };
    let one = seal_key_file(&owner(1), std::slice::from_ref(&recipient), &contents()).unwrap();
    let two = seal_key_file(&owner(1), &[recipient], &contents()).unwrap();
    // The body of one behind the header of the other: same slot, same generation.
    let header = |bytes: &[u8]| 20 + u32::from_be_bytes(bytes[16..20].try_into().unwrap()) as usize;
    let mixed = [&one[..header(&one)], &two[header(&two)..]].concat();
    let locked = LockedKeyFile::parse(&mixed).unwrap();
    assert_eq!(locked.open(&slot).err(), Some(OpenError));
}

#[test]
fn root_keys_reach_the_member_that_asked_and_nobody_else() {
    let (root, other) = (RootKey::make(), RootKey::make());
    let secret = FetchSecretKey::make();
    let fetch = Fetch {
        realm: REALM,
        incarnation: Incarnation(1),
        member: MemberId(7),
        public_key: secret.public().clone(),
    };
    let (encapsulation, sealed) = fetch.seal(&[&root, &other]).unwrap();
    assert_eq!(fetch.open(&secret, &encapsulation, &sealed[0], root.id()).unwrap().id(), root.id());
    assert!(fetch.open(&secret, &encapsulation, &sealed[1], root.id()).is_err());
    assert!(fetch.open(&secret, &encapsulation, &sealed[0], other.id()).is_err());
    assert!(fetch.open(&FetchSecretKey::make(), &encapsulation, &sealed[0], root.id()).is_err());
    let changes: [&dyn Fn(&mut Fetch); 3] =
        [&|f| f.member = MemberId(8), &|f| f.incarnation = Incarnation(2), &|f| {
            f.realm = OTHER_REALM;
        }];
    for change in changes {
        let mut wrong = fetch.clone();
        change(&mut wrong);
        assert!(wrong.open(&secret, &encapsulation, &sealed[0], root.id()).is_err());
    }
}
