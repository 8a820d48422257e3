//! A rotation of the root key that is cut short at every durable step, restarted, and goes on.
//!
//! One run on the simulated disk, key file included, keeps what a power cut at each durable
//! operation would leave; every one of these disks is then opened and the rotation gone on with. By
//! the code that managers run, log keys included; what a report says is committed here.

use std::collections::BTreeSet;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt as _;
use proto::id::{SecretId, Timestamp, Version};
use proto::identity::Caller;
use proto::limits::REWRAPS_MAX;
use proto::name::{Labels, SecretName};
use proto::sealed::{ALGORITHM_XCHACHA20_POLY1305, FORMAT};
use seal::{Operation, Plaintext, StoredAt, TransitPublicKey, TransitSender};
use state::command::{Command, CreateSecret, Envelope};
use state::object::Cluster;
use state::{Phase, Refusal};

use super::*;
use crate::ca;
use crate::disk::{Cut, SimulatedDisk};
use crate::keys::AcceptedFor;
use crate::leader::{TransitStep, transit_step};
use crate::raft::rotation::alone::{Alone, Keeper, ME, first_command, place, pool};
use crate::raft::{Pool, cluster_changed};

/// Two batches of keys to wrap anew, and a few.
const BEFORE: u64 = REWRAPS_MAX as u64 * 2 + 10;

const CALLER: Caller = Caller::Local { uid: 0, member: ME };

fn value(number: u64) -> Plaintext {
    Plaintext::born(8, |bytes| bytes.copy_from_slice(&number.to_be_bytes())).unwrap()
}

fn name(number: u64) -> SecretName {
    format!("s{number}").parse().unwrap()
}

fn secret_id(number: u64) -> SecretId {
    let mut entropy = [0; 17];
    entropy[..8].copy_from_slice(&number.to_be_bytes());
    SecretId::from_entropy(entropy)
}

/// A manager alone, with what it serves secrets by.
struct Serving {
    alone: Alone,
    keyring: Arc<Keyring>,
    roots: Roots,
}

impl Serving {
    async fn found(disk: &SimulatedDisk, pool: Arc<Pool>) -> Self {
        let keeper = Keeper::make(disk);
        let first = first_command(&keeper.root());
        let serving = Self::start(disk, keeper, pool).await;
        serving.alone.raft.found("127.0.0.1:1", "node").await.unwrap();
        serving.alone.propose(first).await;
        serving
    }

    async fn start(disk: &SimulatedDisk, keeper: Keeper, pool: Arc<Pool>) -> Self {
        let keyring = Arc::new(Keyring::new(place().realm, keeper.roots()));
        let alone = Alone::start(disk, keeper, pool).await;
        let roots = Roots::new(alone.raft.clone(), keyring.clone(), alone.keeper.clone());
        Self { alone, keyring, roots }
    }

    fn cluster(&self) -> Arc<Cluster> {
        self.alone.raft.machine.state().cluster().unwrap().clone()
    }

    /// Creates a secret as a client and the service do, again if the root key changed meanwhile.
    async fn create(&self, number: u64) {
        loop {
            let cluster = self.cluster();
            let principal = CALLER.principal();
            let transit_id = cluster.current_transit;
            let public = cluster.transit_keys[&transit_id].public_key.0.clone();
            let public = TransitPublicKey::parse(public).unwrap();
            let sender = TransitSender::set_up(public, cluster.realm, principal).unwrap();
            let name = name(number);
            let sealed = sender.seal(value(number), Operation::Create, &name.folded());
            let at = StoredAt {
                realm: cluster.realm,
                secret_id: secret_id(number),
                version: Version(1),
                payload_id: sealed.payload_id,
            };
            let folded = name.folded();
            let request =
                AcceptedFor { principal, operation: Operation::Create, name: &folded, at };
            let create = CreateSecret {
                id: secret_id(number),
                name,
                labels: Labels::default(),
                usable_by: vec![],
                payload: self.keyring.accept(&cluster, sealed, &request).unwrap(),
                transit_key_id: transit_id,
            };
            match self.put(Command::CreateSecret(create)).await {
                Ok(()) => return,
                Err(Refusal::WrongRoot) => {}
                Err(other) => panic!("{other}"),
            }
        }
    }

    async fn put(&self, body: Command) -> Result<(), Refusal> {
        let at = Timestamp(1);
        let envelope = Envelope { format: 1, request: None, caller: CALLER, at, body };
        self.alone.raft.propose(envelope).await.unwrap().map(drop)
    }

    /// Asks for a rotation, as the service does.
    async fn begin(&self) -> KeyId {
        let announce = async |id| {
            let command = Command::AnnounceRoot { id, member: ME, replaces: None };
            self.put(command).await.unwrap();
            (id, Announced::Yes)
        };
        self.roots.make(announce).await.unwrap()
    }

    /// One round of what a manager and the leader do by themselves; whether there is no more to do.
    async fn go_on(&self) -> bool {
        let mut rests = !self.roots.advance().await.unwrap();
        let news = {
            let state = self.alone.raft.machine.state();
            news_of(&state, ME, &self.roots.held())
        };
        if let Some(command) = news {
            self.put(command).await.unwrap();
            rests = false;
        }
        rests &= !self.alone.follow_log_key().await;
        rests && self.alone.raft.machine.state().root_keys().rotation.is_none()
    }

    /// Until there is no more to do.
    async fn finish(&self) {
        let follow = async { while !self.go_on().await {} };
        tokio::select! {
            () = follow => {}
            () = self.roots.lead() => panic!("a leader leads on"),
        }
    }

    fn state(&self) -> state::State {
        self.alone.raft.machine.state().clone()
    }

    fn phase(&self) -> &'static str {
        let state = self.alone.raft.machine.state();
        let keys = state.root_keys();
        match keys.rotation.as_ref().map(|rotation| rotation.phase) {
            None if keys.last.is_some() => "complete",
            None => "not begun",
            Some(Phase::Announced) => "announced",
            Some(Phase::Active) => "active",
            Some(Phase::Retired) => "retired",
            Some(Phase::LogKeys { .. }) => "log keys",
        }
    }

    /// Every secret up to `count` is there and opens, and so does what else is wrapped; everything
    /// is under the one root key that is held.
    fn assert_whole(&self, count: u64) {
        let state = self.alone.raft.machine.state();
        let cluster = self.cluster();
        let root = self.alone.keeper.root();
        assert_eq!(self.alone.keeper.root_ids(), (vec![root.id()], root.id()));
        assert_eq!(self.keyring.root_ids(), [root.id()]);
        assert_eq!(cluster.active_root, root.id());
        for number in 0..count {
            let id = secret_id(number);
            let secret = state.secret(id).unwrap_or_else(|| panic!("{number} of {count} is lost"));
            let stored = &secret.versions[&Version(1)].payload;
            let at = StoredAt {
                realm: cluster.realm,
                secret_id: id,
                version: Version(1),
                payload_id: stored.payload_id,
            };
            let digest = seal::ciphertext_digest(&stored.ciphertext);
            let bundle = root.unwrap_dek(&at, &digest, &stored.wrapped_dek).unwrap();
            assert!(bundle.value_equals(&value(number)));
            let dek = bundle.into_dek();
            dek.open(cluster.realm, stored.payload_id, &stored.ciphertext).unwrap();
        }
        let realm = cluster.realm;
        for authority in state.authorities() {
            root.unwrap_ca_key(realm, &authority.digest.0, &authority.wrapped_key).unwrap();
        }
        for (id, key) in &cluster.transit_keys {
            root.unwrap_transit_key(realm, *id, &key.wrapped_key).unwrap();
        }
    }
}

/// No wrap under a root key is in what a manager's disk holds for who has its log key of now: the
/// state and its snapshot, which are the same bytes, and the log.
fn assert_no_wrap_under(serving: &Serving, old: KeyId) {
    // A wrap begins with its format, its algorithm, and the key's id.
    let head = [&[FORMAT, ALGORITHM_XCHACHA20_POLY1305][..], old.as_bytes()].concat();
    let has_wrap = |bytes: &[u8]| bytes.windows(head.len()).any(|window| window == head);
    let snapshots = serving.alone.raft.machine.snapshots();
    let newest = snapshots.newest().unwrap().expect("new log keys made one");
    for state in [snapshots.load(&newest).unwrap().1, serving.state()] {
        state
            .write(&mut |piece| if has_wrap(piece) { Err(piece.to_vec()) } else { Ok(()) })
            .unwrap();
    }
    for record in serving.alone.records() {
        assert!(!has_wrap(&record));
    }
}

/// A whole rotation under writes.
struct Run {
    cuts: Vec<Cut>,
    old: KeyId,
    new: KeyId,
}

async fn rotate_once(pool: Arc<Pool>) -> Run {
    let disk = SimulatedDisk::new();
    let serving = Serving::found(&disk, pool).await;
    // The CA is rotated meanwhile: two more keys are wrapped.
    let begin = ca::succeed(&serving.keyring, &serving.cluster(), Timestamp(1)).unwrap();
    serving.alone.propose(Command::BeginCaRotation(Box::new(begin))).await;
    assert_eq!(serving.state().authorities().count(), 2);
    for number in 0..BEFORE {
        serving.create(number).await;
    }
    while serving.alone.follow_log_key().await {}
    let old = Arc::downgrade(&serving.alone.keeper.root());

    let acknowledged = Arc::new(AtomicU64::new(BEFORE));
    disk.record_cuts(acknowledged.clone());
    let new = serving.begin().await;
    let mut next = BEFORE;
    let mut changes = serving.alone.raft.machine.changes();
    let writing = async {
        loop {
            serving.create(next).await;
            next += 1;
            acknowledged.store(next, Ordering::SeqCst);
            // Every cut is an image to be opened: a write after each of its steps is enough.
            assert!(cluster_changed(&mut changes).await);
        }
    };
    let old_id = old.upgrade().unwrap().id();
    tokio::select! {
        // What was acknowledged is noted before the next step.
        biased;
        () = writing => panic!("writing goes on"),
        () = serving.finish() => {}
    }
    let cuts = disk.cuts();
    assert_eq!(serving.phase(), "complete");
    let acknowledged = acknowledged.load(Ordering::SeqCst);
    assert!(acknowledged > BEFORE + 1, "it was written to meanwhile");
    serving.assert_whole(acknowledged);
    assert_eq!(serving.alone.keeper.root().id(), new);
    assert!(Weak::upgrade(&old).is_none(), "somebody keeps the old root key alive");
    assert_no_wrap_under(&serving, old_id);
    serving.alone.raft.shut_down().await;
    Run { cuts, old: old_id, new }
}

/// How a restart after a power cut went: what it went on with, and the root key in the end.
async fn resume(left: SimulatedDisk, count: u64, pool: Arc<Pool>) -> (&'static str, KeyId) {
    let again = Serving::start(&left, Keeper::open(&left), pool).await;
    again.alone.leads().await;
    again.alone.raft.barrier().await.unwrap();
    let first = again.phase();
    again.finish().await;
    again.assert_whole(count);
    again.create(1_000_000).await;
    let is_begun = again.alone.raft.machine.state().root_keys().number > 0;
    assert_eq!(again.phase(), if is_begun { "complete" } else { "not begun" });
    again.alone.raft.shut_down().await;
    (first, again.alone.keeper.root().id())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_key_rotation_cut_short_at_any_durable_step_ends_complete_or_not_begun() {
    let pool = pool();
    let Run { cuts, old, new } = rotate_once(pool.clone()).await;
    assert!(cuts.len() > 20, "{} cuts", cuts.len());
    let cases = cuts.iter().flat_map(|cut| {
        let survivors: BTreeSet<_> = [0, cut.pending()].into();
        survivors.into_iter().map(|survivors| (cut.note, cut.disk(survivors)))
    });
    let resumed = futures_util::stream::iter(cases.collect::<Vec<_>>())
        .map(|(note, left)| tokio::spawn(resume(left, note, pool.clone())));
    let ended: Vec<_> = resumed.buffer_unordered(16).map(Result::unwrap).collect().await;

    let firsts: BTreeSet<_> = ended.iter().map(|(first, _)| *first).collect();
    let all = ["active", "announced", "complete", "log keys", "not begun", "retired"];
    assert_eq!(firsts, all.into(), "every phase is gone on from");
    let keys: BTreeSet<_> = ended.iter().map(|(_, key)| *key).collect();
    assert_eq!(keys, [old, new].into(), "some were not begun, the others are complete");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_not_announced_is_destroyed_and_one_that_may_be_is_kept() {
    let disk = SimulatedDisk::new();
    let serving = Serving::found(&disk, pool()).await;
    let active = serving.cluster().active_root;
    let held = || serving.alone.keeper.root_ids().0;
    for (announced, count) in [(Announced::No, 1), (Announced::Unknown, 2)] {
        serving.roots.make(async |id| (id, announced)).await.unwrap();
        assert_eq!(held().len(), count);
        serving.roots.advance().await.unwrap();
        assert_eq!(held().len(), count, "{announced:?}");
    }
    // After a restart what a majority confirms says that it never was.
    let keyring = serving.keyring.clone();
    let again = Roots::new(serving.alone.raft.clone(), keyring, serving.alone.keeper.clone());
    assert!(again.advance().await.unwrap());
    assert_eq!((held(), serving.keyring.root_ids()), (vec![active], vec![active]));
    serving.alone.raft.shut_down().await;
}

/// Weeks after the cluster was founded.
fn week(number: u64) -> Timestamp {
    Timestamp(1_000 + number * ca::TRANSIT_ROTATION_MS)
}

impl Serving {
    /// What a leader does for the transit key at a time.
    async fn renew_transit_key(&self, now: Timestamp) {
        while let Some(step) = transit_step(&self.cluster(), now) {
            let command = match step {
                TransitStep::Retire(id) => Command::RetireTransitKey { id },
                TransitStep::Make => {
                    let (cluster, root) = (self.cluster(), self.alone.keeper.root());
                    let authority = self.keyring.ca_key(&cluster.authority).unwrap();
                    let made = ca::make_transit_key(cluster.realm, &root, &authority, now);
                    let (id, key) = made.unwrap();
                    Command::AddTransitKey { id, key }
                }
            };
            self.put(command).await.unwrap();
        }
    }

    /// The transit keys, newest first.
    fn transit_keys(&self) -> Vec<(Timestamp, KeyId)> {
        let cluster = self.cluster();
        let keys = cluster.transit_keys.iter().map(|(id, key)| (key.created_at, *id));
        let mut keys: Vec<_> = keys.collect();
        keys.sort_unstable_by(|one, other| other.cmp(one));
        assert_eq!(keys.first().map(|(_, id)| *id), Some(cluster.current_transit));
        keys
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transit_key_rotation_cut_short_at_any_durable_step_is_gone_on_with() {
    let (disk, pool) = (SimulatedDisk::new(), pool());
    let serving = Serving::found(&disk, pool.clone()).await;
    serving.renew_transit_key(week(1)).await;
    serving.create(0).await;
    let before = serving.transit_keys();
    let acknowledged = Arc::new(AtomicU64::new(1));
    disk.record_cuts(acknowledged.clone());
    serving.renew_transit_key(week(2)).await;
    serving.create(1).await;
    acknowledged.store(2, Ordering::SeqCst);
    let cuts = disk.cuts();
    assert_eq!(serving.transit_keys()[1], before[0], "the one of before stays for a week");
    serving.assert_whole(2);
    serving.alone.raft.shut_down().await;

    let mut found = BTreeSet::new();
    for cut in cuts {
        for survivors in BTreeSet::from([0, cut.pending()]) {
            let left = cut.disk(survivors);
            let again = Serving::start(&left, Keeper::open(&left), pool.clone()).await;
            again.alone.leads().await;
            again.alone.raft.barrier().await.unwrap();
            found.insert(match again.transit_keys()[..] {
                [(at, _), _] if at == week(1) => "not begun",
                [(at, _)] if at == week(1) => "one is retired",
                [(at, _), _] if at == week(2) => "complete",
                _ => "something else",
            });
            again.renew_transit_key(week(2)).await;
            let keys = again.transit_keys();
            assert_eq!((keys[0].0, keys[1]), (week(2), before[0]));
            assert_eq!(keys.len(), 2);
            again.create(2).await;
            again.assert_whole(cut.note);
            again.alone.raft.shut_down().await;
        }
    }
    assert_eq!(found, ["complete", "not begun", "one is retired"].into());
}

/// A slot that was taken away opens no file with a key that was made later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_made_once_the_key_file_is_sealed_to_the_present_slots_and_not_before() {
    let disk = SimulatedDisk::new();
    let serving = Serving::found(&disk, pool()).await;
    let (generation, before) = (&serving.alone.keeper.generation, serving.cluster().active_root);
    generation.send_replace(0);
    let making = serving.roots.make(async |id| {
        assert_eq!(*generation.borrow(), 1, "nothing is announced before");
        (id, Announced::Unknown)
    });
    let sealing = async {
        while generation.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(serving.alone.keeper.root_ids().0, [before]);
        generation.send_replace(1);
    };
    let (made, ()) = tokio::join!(making, sealing);
    assert_eq!(serving.alone.keeper.root_ids().0, [before, made.unwrap()]);
    serving.alone.raft.shut_down().await;
}

/// An operator who gives up while the leader writes the key has announced nothing.
#[test]
fn a_key_whose_asker_gives_up_before_it_is_proposed_is_destroyed() {
    // What writes is one thread, which the test keeps busy until the operator has given up.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).max_blocking_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let disk = SimulatedDisk::new();
        let serving = Serving::found(&disk, pool()).await;
        let active = serving.cluster().active_root;
        let held = || serving.alone.keeper.root_ids().0;
        let (begins, begun) = tokio::sync::oneshot::channel();
        let (ends, end) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || {
            begins.send(()).unwrap();
            end.recv()
        });
        begun.await.unwrap();
        {
            let unheard = async |_| -> ((), Announced) { panic!("nothing is proposed") };
            let mut making = std::pin::pin!(serving.roots.make(unheard));
            assert!(futures_util::poll!(&mut making).is_pending());
        }
        ends.send(()).unwrap();
        busy.await.unwrap().unwrap();
        while held().len() == 1 {
            tokio::task::yield_now().await;
        }
        assert!(serving.roots.advance().await.unwrap());
        assert_eq!(held(), [active]);
        serving.alone.raft.shut_down().await;
    });
}

/// Counts how often a future asks to be looked at again.
#[derive(Default)]
struct Woken(AtomicU64);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A leader that has nothing to do sleeps, and wakes by a rotation that begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_a_rotation_looks_when_one_begins_and_not_before() {
    let disk = SimulatedDisk::new();
    let serving = Serving::found(&disk, pool()).await;
    let woken = Arc::new(Woken::default());
    let waker = woken.clone().into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut leading = std::pin::pin!(serving.roots.lead());
    // Where there are no timers: whoever waits for a time panics here.
    let timeless = tokio::runtime::Builder::new_current_thread().build().unwrap();
    {
        let _inside = timeless.enter();
        assert!(leading.as_mut().poll(&mut context).is_pending());
    }
    timeless.shutdown_background();
    assert_eq!(woken.0.load(Ordering::SeqCst), 0);
    serving.begin().await;
    while woken.0.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let active = serving.cluster().active_root;
    let all = async { while !serving.go_on().await {} };
    tokio::select! {
        () = all => {}
        () = leading => panic!("a leader leads on"),
    }
    assert_ne!(serving.cluster().active_root, active);
    serving.alone.raft.shut_down().await;
}

/// Who announced it died before anybody had it: nothing is under it, and another takes its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_announced_key_that_nobody_has_is_replaced_and_the_rotation_goes_on() {
    let disk = SimulatedDisk::new();
    let serving = Serving::found(&disk, pool()).await;
    serving.create(0).await;
    while serving.alone.follow_log_key().await {}
    let lost = KeyId::from_bytes([9; 16]);
    let announce = Command::AnnounceRoot { id: lost, member: ME, replaces: None };
    serving.put(announce).await.unwrap();
    // It cannot be got, and is not made up.
    serving.roots.advance().await.unwrap_err();
    let mut changes = serving.alone.raft.machine.changes();
    let replaced = async {
        while serving.cluster().announced_root == Some(lost) {
            changes.recv().await.unwrap();
        }
    };
    tokio::select! {
        () = serving.roots.lead() => {}
        () = replaced => {}
    }
    serving.finish().await;
    assert_eq!(serving.phase(), "complete");
    assert_ne!(serving.cluster().active_root, lost);
    serving.assert_whole(1);
    serving.alone.raft.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_active_root_key_is_not_ready_to_lead() {
    let disk = SimulatedDisk::new();
    let keeper = Keeper::make(&disk);
    let root = keeper.root();
    let first = first_command(&root);
    let serving = Serving::start(&disk, keeper, pool()).await;
    let within = std::time::Duration::from_millis(1);
    assert!(serving.roots.holds_active(within).await, "there is no cluster yet");
    serving.alone.raft.found("127.0.0.1:1", "node").await.unwrap();
    serving.alone.propose(first).await;
    assert!(serving.roots.holds_active(within).await);
    serving.keyring.forget_roots(&[root.id()]);
    assert!(!serving.roots.holds_active(within).await);
    // It is fetched in the end, while it is looked for.
    let fetched = async {
        tokio::task::yield_now().await;
        serving.keyring.add_root(root);
    };
    let held = serving.roots.holds_active(std::time::Duration::from_secs(60));
    assert!(tokio::join!(held, fetched).0);
    serving.alone.raft.shut_down().await;
}
