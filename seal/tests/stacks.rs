//! Using a key leaves no copy of it: not on the stack of the thread that used it, nor anywhere else.
//!
//! A thread does with keys what managers, agents and clients do, and then waits, so that its stack
//! stays as it is. What it used lies in memory that this test handed out; everything else of the
//! process is searched for any eight bytes of it that begin at a multiple of eight.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests, which clippy does not take for tests"
)]

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use proto::id::{
    Incarnation, MemberId, NodeId, PayloadId, Realm, SecretId, SessionId, TaskId, Version,
};
use proto::identity::Principal;
use proto::name::SecretName;
use seal::{
    Delivery, Fetch, FetchSecretKey, Gathering, KeyMemory, LiveSecrets, Operation, Passphrase,
    PassphraseCosts, Plaintext, ReadBack, ReadBackSecretKey, RootKey, SessionBinding,
    SessionReceiver, SessionSecretKey, SessionSender, Share, SlotSecretKey, Split, StoredAt,
    TransitReceiver, TransitSecretKey, TransitSender, UnlockKey,
};
use zeroize::Zeroize as _;

/// Uses of keys, each of which is looked at.
const USES: usize = 33;

const CHUNK: usize = 8;
const KEY: usize = 32;
const PIECE: usize = 1 << 20;
const MASK: u64 = 0xa5a5_5a5a_a5a5_5a5a;

/// Memory for keys that remembers where they are.
struct Places(Mutex<Vec<u64>>);

static PLACES: Places = Places(Mutex::new(Vec::new()));

impl KeyMemory for Places {
    fn take(&self) -> Option<&'static mut [u8; KEY]> {
        let slot = Box::leak(Box::new([0; KEY]));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(slot.as_ptr().addr() as u64);
        Some(slot)
    }

    fn give_back(&self, _: &'static mut [u8; KEY]) {}
}

/// What is looked for, kept in another form than that, by its first two bytes.
#[derive(Default)]
struct Wanted {
    chunks: HashMap<u64, u64>,
    begins: Vec<bool>,
}

impl Wanted {
    /// Every key that is there.
    fn of_all() -> Self {
        let memory = File::open("/proc/self/mem").unwrap();
        let mut wanted = Self { begins: vec![false; 1 << 16], ..Self::default() };
        for place in PLACES.0.lock().unwrap().iter() {
            for at in (*place..*place + KEY as u64).step_by(CHUNK) {
                let mut chunk = [0; CHUNK];
                memory.read_exact_at(&mut chunk, at).unwrap();
                if chunk != [0; CHUNK] {
                    wanted.begins[usize::from(u16::from_le_bytes([chunk[0], chunk[1]]))] = true;
                    wanted.chunks.insert(u64::from_le_bytes(chunk) ^ MASK, *place);
                }
                chunk.zeroize();
            }
        }
        wanted
    }

    /// Where chunks stand outside of the places of keys: the address, what is mapped there.
    fn found(&self) -> Vec<String> {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let memory = File::open("/proc/self/mem").unwrap();
        let places = PLACES.0.lock().unwrap();
        let is_place = |at: u64| places.iter().any(|place| (*place..place + 32).contains(&at));
        let mut buffer = vec![0; PIECE];
        let mut found = Vec::new();
        for line in maps.lines() {
            let mut words = line.split(' ');
            let (range, permissions) = (words.next().unwrap(), words.next().unwrap());
            if !permissions.starts_with("rw") {
                continue;
            }
            let (from, to) = range.split_once('-').unwrap();
            let [from, to] = [from, to].map(|at| u64::from_str_radix(at, 16).unwrap());
            let own = buffer.as_ptr().addr() as u64;
            for at in (from..to).step_by(PIECE - CHUNK) {
                let Ok(read) = memory.read_at(&mut buffer, at) else { break };
                for (offset, chunk) in buffer[..read].windows(CHUNK).enumerate() {
                    if !self.begins[usize::from(u16::from_le_bytes([chunk[0], chunk[1]]))] {
                        continue;
                    }
                    let value = u64::from_le_bytes(chunk.try_into().unwrap()) ^ MASK;
                    let place = at + offset as u64;
                    let is_own = (own..own + PIECE as u64).contains(&place);
                    if self.chunks.contains_key(&value) && !is_own && !is_place(place) {
                        found.push(format!("{place:x} in {line}"));
                    }
                }
            }
        }
        buffer.zeroize();
        found
    }
}

/// How many uses there were, and up to which the thread may go on.
static USED: AtomicUsize = AtomicUsize::new(0);
static MAY: AtomicUsize = AtomicUsize::new(0);

/// A key was used. Waits, touching no stack to speak of, until what that left was looked for.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "a frame of its own would lie where copies are looked for"
)]
fn used() {
    let number = USED.fetch_add(1, Ordering::SeqCst) + 1;
    while MAY.load(Ordering::SeqCst) < number {
        std::hint::spin_loop();
    }
}

/// What uses keys, in the order of a secret's way.
fn use_keys() {
    let realm = Realm::from_bytes([1; 16]);
    let principal = Principal::Local { uid: 0 };
    let name = "db".parse::<SecretName>().unwrap().folded();
    let transit = TransitSecretKey::make();
    used();
    let sender = TransitSender::set_up(transit.public().clone(), realm, principal).unwrap();
    used();
    let value = Plaintext::born(20, |bytes| bytes.fill(7)).unwrap();
    let encrypted = sender.encrypt(value);
    used();
    let sealed = sender.seal_key(&encrypted, Operation::Create, &name);
    used();
    let (root, next) = (RootKey::make(), RootKey::make());
    used();
    let wrapped = root.wrap_transit_key(realm, &transit);
    used();
    let id = transit.public().id();
    let transit = root.unwrap_transit_key(realm, id, &wrapped).unwrap();
    used();
    let receiver =
        TransitReceiver::set_up(&transit, realm, principal, &sealed.encapsulation).unwrap();
    used();
    let digest = seal::ciphertext_digest(&sealed.ciphertext);
    let bundle = receiver.open_dek(&sealed, &digest, Operation::Create, &name).unwrap();
    used();
    let payload_id: PayloadId = sealed.payload_id;
    let secret_id = SecretId::from_entropy([1; 17]);
    let at = StoredAt { realm, secret_id, version: Version(1), payload_id };
    let stored = root.wrap_dek(&at, &digest, &bundle);
    used();
    let again = root.unwrap_dek(&at, &digest, &stored).unwrap();
    used();
    let stored = next.wrap_dek(&at, &digest, &again);

    let session = SessionSecretKey::make();
    used();
    let binding = SessionBinding {
        realm,
        incarnation: Incarnation(1),
        node_id: NodeId::from_entropy([1; 17]),
        certificate_key_digest: [1; 32],
        session_id: SessionId::from_bytes([1; 16]),
        session_key: session.public().clone(),
    };
    let dispatcher = SessionSender::set_up(&binding).unwrap();
    used();
    let agent = SessionReceiver::set_up(&session, &binding, dispatcher.encapsulation()).unwrap();
    used();
    let delivery = Delivery {
        message_number: 1,
        task_id: TaskId::from_entropy([1; 17]),
        secret_id,
        version: Version(1),
        payload_id,
    };
    let dek = next.unwrap_dek(&at, &digest, &stored).unwrap().into_dek();
    used();
    let delivered = dispatcher.wrap(&delivery, &dek, &sealed.ciphertext);
    used();
    let received = agent.unwrap(&delivery, &delivered, &sealed.ciphertext).unwrap();
    used();
    drop(received.open(realm, payload_id, &sealed.ciphertext).unwrap());
    used();

    let fetching = FetchSecretKey::make();
    used();
    let member = MemberId(2);
    let public_key = fetching.public().clone();
    let fetch = Fetch { realm, incarnation: Incarnation(1), member, public_key };
    let (encapsulation, keys) = fetch.seal(&[&root]).unwrap();
    used();
    let fetched = fetch.open(&fetching, &encapsulation, &keys[0], root.id()).unwrap();
    used();
    let slot = use_a_seed();
    used();

    use_an_unlock_key(&sender, &receiver, &root, realm, principal);
    use_shares();
    use_a_passphrase();
    used();
    drop((slot, received, dek, fetched));
}

/// One that the cluster keeps, on its way there and back.
fn use_an_unlock_key(
    sender: &TransitSender,
    receiver: &TransitReceiver,
    root: &RootKey,
    realm: Realm,
    principal: Principal,
) {
    let key = UnlockKey::make();
    used();
    let sent = sender.seal_unlock_key(&key);
    used();
    let sent = receiver.open_unlock_key(key.id(), &sent).unwrap();
    used();
    let kept = root.wrap_unlock_key(realm, &sent);
    used();
    let kept = root.unwrap_unlock_key(realm, key.id(), &kept).unwrap();
    used();
    let reader = ReadBackSecretKey::make();
    let public_key = reader.public().clone();
    let reading = ReadBack { realm, unlock_key_id: key.id(), principal, public_key };
    let (encapsulation, read) = reading.seal(&kept).unwrap();
    used();
    let read = reading.open(&reader, &encapsulation, &read).unwrap();
    used();
    drop((sent, read));
}

fn use_shares() {
    let split = Split::make(2, 3).unwrap();
    used();
    let mut gathering = Gathering::of(split.parameters);
    for share in &split.shares[1..] {
        gathering.add(Share::parse(share.expose().as_bytes()).unwrap()).unwrap();
    }
    used();
    let combined = gathering.combine(split.slot.public()).unwrap();
    used();
    drop((combined, gathering, split.shares));
}

/// What is no key, but opens something, is looked for as well.
fn look_for(seed: &[u8; KEY]) {
    PLACES.take().unwrap().copy_from_slice(seed);
}

#[inline(never)]
fn use_a_seed() -> SlotSecretKey {
    let seed = seal::make_slot_seed();
    look_for(&seed);
    SlotSecretKey::derive_from_seed(&seed)
}

#[inline(never)]
fn use_a_passphrase() {
    let passphrase = Passphrase::parse(b"correct horse battery staple").unwrap();
    let (costs, slot) = PassphraseCosts::make_slot(&passphrase).unwrap();
    let seed = costs.expose_seed(&passphrase, slot.public()).unwrap().unwrap();
    look_for(&seed);
}

#[test]
fn using_keys_leaves_no_copy_of_them_on_a_stack_or_anywhere() {
    assert!(seal::install_key_memory(&PLACES));
    let using = std::thread::spawn(use_keys);
    for number in 1..=USES {
        while USED.load(Ordering::SeqCst) < number {
            std::thread::yield_now();
        }
        let wanted = Wanted::of_all();
        let found = wanted.found();
        assert!(found.is_empty(), "use {number}: {} copies:\n{}", found.len(), found.join("\n"));
        if number == USES {
            assert!(wanted.chunks.len() > 60, "{} pieces of keys", wanted.chunks.len());
            // A copy is found, if there is one.
            let place = *wanted.chunks.values().next().unwrap();
            let mut copy = Box::new([0; KEY]);
            File::open("/proc/self/mem").unwrap().read_exact_at(&mut *copy, place).unwrap();
            assert_eq!(wanted.found().len(), KEY / CHUNK);
            copy.zeroize();
        }
        assert_eq!(
            seal::live_secrets().data_keys > 0,
            number > 2,
            "from the first that is sealed on"
        );
        assert_eq!(seal::live_secrets().values, 0, "use {number}");
        MAY.store(number, Ordering::SeqCst);
    }
    using.join().unwrap();
    assert_eq!(USED.load(Ordering::SeqCst), USES);
    // Wiped is counted as gone.
    assert_eq!(seal::live_secrets(), LiveSecrets { data_keys: 0, values: 0 });
}
