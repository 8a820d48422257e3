//! Changes of the unlock key and of slots that are cut short at every durable step, restarted, and
//! go on.
//!
//! One run on the simulated disk, key file and seed included, keeps what a power cut at each durable
//! operation would leave; every one of these disks is then opened, with the keys that an operator
//! has, and gone on with. By the code that managers run; what a report says is committed here.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt as _;
use proto::id::{KeyId, NodeId};
use seal::{
    KeyFileContents, KeyFileOwner, LockedKeyFile, Recipient, SlotCommand, SlotParameters,
    SlotSecretKey,
};
use state::command::Command;
use state::object::{Blob, Cluster, SlotRecipient};

use super::*;
use crate::disk::{Cut, Disk as _, SimulatedDisk};
use crate::keys::{KeyFile, Keyring, SimulatedPlace, Unlocked, Unlocking, made_contents};
use crate::raft::rotation::alone::{Alone, ME, first_command, place, pool};
use crate::raft::{KeyKeeper as _, LogKeys, Pool};
use crate::roots::{Announced, RootKeeper as _, Roots, news_of};

/// More records than one removal of a purge takes.
const BEFORE: u64 = 600;

/// What an operator has: the key of the seed of so many bytes of this number.
fn slot(number: u8) -> SlotSecretKey {
    SlotSecretKey::derive_from_seed(&[number; 32])
}

/// The unlock key of before, the one of after, and a slot beside them.
const KEY: u8 = 1;
const NEXT: u8 = 2;
const BESIDE: u8 = 3;

/// What operators change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    LockOn,
    LockOff,
    Rotate,
    /// `unlock-key --rotate --compromised`: the root key, too.
    Compromised,
    AddSlot,
    RemoveSlot,
}

impl Change {
    /// The slots before and after; none where managers open by their own seeds.
    const fn slots(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::LockOn => (&[], &[NEXT]),
            Self::LockOff => (&[KEY], &[]),
            Self::Rotate | Self::Compromised => (&[KEY], &[NEXT]),
            Self::AddSlot => (&[KEY], &[KEY, BESIDE]),
            Self::RemoveSlot => (&[KEY, BESIDE], &[KEY]),
        }
    }

    /// Slots that open nothing any more afterwards.
    fn former(self) -> impl Iterator<Item = u8> {
        let (before, after) = self.slots();
        before.iter().copied().filter(|slot| !after.contains(slot))
    }

    fn takes_away(self) -> bool {
        self == Self::LockOn || self.former().next().is_some()
    }
}

fn beside() -> SlotRecipient {
    let command = SlotCommand::new("/usr/bin/true".into(), 1).unwrap();
    let slot = Recipient::new(slot(BESIDE).public().clone(), &SlotParameters::Command(command));
    SlotRecipient {
        kind: slot.kind.as_str().into(),
        member: None,
        public_key: Blob(slot.public.as_bytes().clone()),
        parameters: Blob(slot.parameters.into()),
    }
}

/// A manager alone, with all that keeps its keys.
struct Manager {
    alone: Alone<HeldKeys>,
    roots: Roots,
}

impl Manager {
    async fn found(disk: &SimulatedDisk, pool: Arc<Pool>) -> Self {
        let contents = made_contents();
        let first = first_command(&contents.roots[0]);
        let file = KeyFile::on_simulated(disk);
        let recipients = file.recipients(&[recipients::own_seed()], ME).unwrap();
        let node_id = NodeId::from_entropy([1; 17]);
        let owner = KeyFileOwner { disk: place(), node_id, generation: 1 };
        file.write(&KeyFile::seal(&owner, &recipients, &contents).unwrap()).unwrap();
        let manager = Self::start(disk, pool, file, owner, recipients, contents).await;
        manager.alone.raft.found("127.0.0.1:1", "node").await.unwrap();
        manager.alone.propose(first).await;
        manager
    }

    /// Starts one as a manager does, opened with what an operator has if it is locked.
    async fn open(disk: &SimulatedDisk, pool: Arc<Pool>) -> Self {
        let file = KeyFile::on_simulated(disk);
        file.remove_leftovers().unwrap();
        assert!(!SimulatedPlace::new(disk).has_leftovers());
        let unlocked = match file.unlock().unwrap() {
            Unlocking::Unlocked(unlocked) => *unlocked,
            Unlocking::Locked(needed) => {
                let ids: BTreeSet<_> = needed.slots.iter().map(|slot| slot.public.id()).collect();
                let mut opened = None;
                for slot in [KEY, NEXT, BESIDE].map(slot) {
                    let outcome = file.unlock_with(&slot);
                    assert_eq!(outcome.is_ok(), ids.contains(&slot.public().id()));
                    opened = outcome.ok().or(opened);
                }
                opened.expect("somebody has what opens it")
            }
            Unlocking::Empty => panic!("there is a key file"),
        };
        let Unlocked { owner, recipients, contents, .. } = unlocked;
        Self::start(disk, pool, file, owner, recipients, contents).await
    }

    async fn start(
        disk: &SimulatedDisk,
        pool: Arc<Pool>,
        file: KeyFile,
        owner: KeyFileOwner,
        recipients: Vec<Recipient>,
        contents: KeyFileContents,
    ) -> Self {
        let keyring = Arc::new(Keyring::new(owner.disk.realm, contents.roots.clone()));
        let keys = LogKeys::new(owner.disk, contents.logs.clone(), contents.active_log);
        let held = HeldKeys::new(Arc::new(file), owner, recipients, contents);
        let alone = Alone::start_with(disk, held, Arc::new(keys), pool).await;
        let roots = Roots::new(alone.raft.clone(), keyring, alone.keeper.clone());
        Self { alone, roots }
    }

    fn cluster(&self) -> Arc<Cluster> {
        self.alone.raft.machine.state().cluster().unwrap().clone()
    }

    fn generation(&self) -> u64 {
        self.cluster().recipients_generation
    }

    /// Changes the list, as the service does.
    async fn list(&self, change: impl FnOnce(&[SlotRecipient], u64) -> Vec<SlotRecipient>) {
        let (generation, list) = (self.generation(), self.cluster().recipients.clone());
        let recipients = change(&list, generation + 1);
        self.alone.propose(Command::SetRecipients { generation, recipients }).await;
    }

    async fn change(&self, change: Change) {
        let unlock_key =
            |list: &[_], at| recipients::with_unlock_key(list, slot(NEXT).public(), at);
        match change {
            Change::LockOn | Change::Rotate | Change::Compromised => self.list(unlock_key).await,
            Change::LockOff => self.list(|list, _| recipients::with_own_seeds(list)).await,
            Change::AddSlot => self.list(|list, _| [list, &[beside()]].concat()).await,
            Change::RemoveSlot => {
                let others = |list: &[SlotRecipient], _| {
                    let others = list.iter().filter(|slot| slot.kind != beside().kind);
                    others.cloned().collect()
                };
                self.list(others).await;
            }
        }
        if change == Change::Compromised {
            // Asked for before the key file is sealed anew, it waits for that.
            let mut making = std::pin::pin!(self.make_root_key());
            assert!(futures_util::poll!(&mut making).is_pending());
            assert_eq!(self.alone.keeper.root_ids().0.len(), 1, "no former slot opens a new one");
            assert!(seal_anew(&self.alone.raft, &self.alone.keeper).unwrap());
            making.await;
        }
    }

    async fn make_root_key(&self) {
        let announce = async |id| {
            let command = Command::AnnounceRoot { id, member: ME, replaces: None };
            self.alone.propose(command).await;
            ((), Announced::Yes)
        };
        self.roots.make(announce).await.unwrap();
    }

    /// One round of what a manager, and its leader, do by themselves; whether there is no more. What
    /// keeps keys has its turn before the key file is sealed anew: it has to wait for that.
    async fn go_on(&self) -> bool {
        let Alone { raft, keeper, .. } = &self.alone;
        let mut rests = !self.alone.follow_log_key().await;
        rests &= !self.roots.advance().await.unwrap();
        let news = news_of(&raft.machine.state(), ME, &self.roots.held());
        if let Some(command) = news {
            self.alone.propose(command).await;
            rests = false;
        }
        rests &= !seal_anew(raft, keeper).unwrap();
        let held = keeper.identity();
        let told = raft.machine.state().member(ME).unwrap().key_file_generation;
        if told != held.generation {
            let word = Command::AcknowledgeKeys {
                member: ME,
                root: held.root,
                key_file_generation: held.generation,
                level_max: state::command::LEVEL,
            };
            self.alone.propose(word).await;
            rests = false;
        }
        let state = raft.machine.state();
        rests && state.root_keys().rotation.is_none() && state.log_keys_pending().is_empty()
    }

    /// Until there is no more to do.
    async fn finish(&self) {
        let follow = async { while !self.go_on().await {} };
        tokio::select! {
            () = follow => {}
            () = self.roots.lead() => panic!("a leader leads on"),
        }
    }

    fn log_key(&self) -> KeyId {
        self.alone.keeper.log_ids().1
    }

    /// Where a change is, by what is durable.
    fn phase(&self, before: u64) -> &'static str {
        let listed = self.generation();
        let state = self.alone.raft.machine.state();
        if listed == before {
            "not begun"
        } else if self.alone.keeper.identity().generation < listed {
            "listed"
        } else if self.alone.keeper.log_ids().0.len() > 1 {
            "two log keys"
        } else if !state.log_keys_pending().is_empty() {
            "sealed anew"
        } else {
            "complete"
        }
    }
}

/// The key file and the seed of a disk.
struct Thief {
    file: LockedKeyFile,
    seed: Option<SlotSecretKey>,
}

impl Thief {
    fn at(disk: &SimulatedDisk) -> Self {
        let read = |name| {
            let mut bytes = Vec::new();
            let mut file = disk.open_file(name).unwrap()?;
            std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
            Some(bytes)
        };
        let seed = read("unlock-seed").map(|seed| <[u8; 32]>::try_from(seed).unwrap());
        Self {
            file: LockedKeyFile::parse(&read("keys").unwrap()).unwrap(),
            seed: seed.map(|seed| SlotSecretKey::derive_from_seed(&seed)),
        }
    }

    /// Ids of the root and log keys that a slot opens here.
    fn opened_by(&self, slot: &SlotSecretKey) -> BTreeSet<KeyId> {
        let Ok(contents) = self.file.open(slot) else { return BTreeSet::new() };
        let logs = contents.logs.iter().map(|key| key.id());
        logs.chain(contents.roots.iter().map(|key| key.id())).collect()
    }
}

/// A whole change under writes.
struct Run {
    change: Change,
    cuts: Vec<Cut>,
    /// The generation of before.
    before: u64,
    log_key: KeyId,
    root: KeyId,
    /// What opened it before by itself, if something did.
    seed: Option<SlotSecretKey>,
}

impl Run {
    /// What a former slot opens of a disk.
    fn exposed(&self, disk: &SimulatedDisk) -> BTreeSet<KeyId> {
        let thief = Thief::at(disk);
        let of_seed = self.seed.iter().filter(|_| self.change == Change::LockOn);
        let mut all: BTreeSet<_> = of_seed.flat_map(|seed| thief.opened_by(seed)).collect();
        all.extend(self.change.former().flat_map(|former| thief.opened_by(&slot(former))));
        all
    }
}

async fn change_once(change: Change, pool: Arc<Pool>) -> Run {
    let disk = SimulatedDisk::new();
    let manager = Manager::found(&disk, pool).await;
    manager.finish().await;
    if change != Change::LockOn {
        let key = |list: &[_], at| recipients::with_unlock_key(list, slot(KEY).public(), at);
        manager.list(key).await;
    }
    manager.finish().await;
    if change == Change::RemoveSlot {
        manager.list(|list, _| [list, &[beside()]].concat()).await;
        let public_key = beside().public_key;
        manager.alone.propose(Command::ProveSlot { public_key }).await;
    }
    for number in 0..BEFORE {
        manager.alone.write(number).await;
    }
    manager.finish().await;
    let mut run = Run {
        change,
        cuts: Vec::new(),
        before: manager.generation(),
        log_key: manager.log_key(),
        root: manager.cluster().active_root,
        seed: Thief::at(&disk).seed,
    };
    assert_eq!(run.seed.is_some(), change == Change::LockOn);

    let acknowledged = Arc::new(AtomicU64::new(BEFORE));
    disk.record_cuts(acknowledged.clone());
    let mut changes = manager.alone.raft.machine.changes();
    let writing = async {
        for next in BEFORE.. {
            manager.alone.write(next).await;
            acknowledged.store(next + 1, Ordering::SeqCst);
            // Every cut is an image to be opened: a write after each of its steps is enough. Writes
            // change nothing that is told here.
            changes.recv().await.unwrap();
        }
    };
    let changing = async {
        manager.change(change).await;
        manager.finish().await;
    };
    tokio::select! {
        // What was acknowledged is noted before the next step.
        biased;
        () = writing => panic!("writing goes on"),
        () = changing => {}
    }
    run.cuts = disk.cuts();
    assert!(acknowledged.load(Ordering::SeqCst) > BEFORE + 1, "it was written to meanwhile");
    assert_eq!(manager.phase(run.before), "complete");
    manager.assert_ended(&run, &disk, &BTreeSet::new()).await;
    // What a former slot opened at any instant is worth nothing now.
    let now = [manager.log_key(), manager.cluster().active_root];
    let root_stays = change != Change::Compromised;
    for cut in &run.cuts {
        let exposed = run.exposed(&cut.disk(usize::MAX));
        assert!(!exposed.contains(&now[0]), "{change:?}");
        assert!(root_stays || !exposed.contains(&now[1]), "{change:?}");
    }
    manager.alone.raft.shut_down().await;
    run
}

impl Manager {
    /// The change is complete, or was not begun; `exposed` are the keys that its former slots opened
    /// before.
    async fn assert_ended(&self, run: &Run, disk: &SimulatedDisk, exposed: &BTreeSet<KeyId>) {
        let change = run.change;
        let has_begun = self.generation() > run.before;
        let (before, after) = change.slots();
        let slots = if has_begun { after } else { before };
        let thief = Thief::at(disk);
        for number in [KEY, NEXT, BESIDE] {
            let opens = !thief.opened_by(&slot(number)).is_empty();
            assert_eq!(opens, slots.contains(&number), "{change:?}: slot {number}");
        }
        // It opens by itself, or no seed is left that ever opened anything.
        assert_eq!(thief.seed.is_some(), slots.is_empty(), "{change:?}");
        if let Some(seed) = &thief.seed {
            assert!(!thief.opened_by(seed).is_empty(), "{change:?}");
        }
        if change == Change::LockOff && has_begun {
            assert!(thief.seed.is_some(), "a seed of its own was made");
        }
        let is_new = self.log_key() != run.log_key;
        assert_eq!(is_new, has_begun && change.takes_away(), "{change:?}");
        if is_new {
            assert!(!exposed.contains(&self.log_key()), "{change:?}: a former slot opened it");
        }
        let root_begun = self.alone.raft.machine.state().root_keys().number > 0;
        let root = self.alone.keeper.root_ids();
        assert_eq!(root, (vec![root.1], self.cluster().active_root), "{change:?}");
        assert_eq!(root.1 != run.root, root_begun, "{change:?}");
        assert!(!root_begun || change == Change::Compromised);
        if root_begun {
            assert!(!exposed.contains(&root.1), "{change:?}: a former slot opened it");
        }
        self.alone.assert_clean().await;
    }
}

/// A restart after a power cut; what it went on with, and whether the change is complete.
async fn resume(
    run: Arc<Run>,
    cut: Cut,
    survivors: usize,
    pool: Arc<Pool>,
) -> (&'static str, bool) {
    let left = cut.disk(survivors);
    let exposed = run.exposed(&left);
    let again = Manager::open(&left, pool).await;
    again.alone.leads().await;
    again.alone.raft.barrier().await.unwrap();
    let first = again.phase(run.before);
    again.finish().await;
    again.assert_ended(&run, &left, &exposed).await;
    let written = again.alone.written();
    for number in 0..cut.note {
        assert!(written.contains(&number), "{number} of {} is lost, at {first:?}", cut.note);
    }
    // Every record that is left opens, and so does one more.
    again.alone.write(1_000_000).await;
    assert!(!again.alone.records().is_empty());
    again.alone.raft.shut_down().await;
    (first, again.generation() > run.before)
}

/// Cuts one change short everywhere.
async fn cut_short(change: Change) {
    let pool = pool();
    let mut run = change_once(change, pool.clone()).await;
    let cuts = std::mem::take(&mut run.cuts);
    let run = Arc::new(run);
    let cases = cuts.into_iter().flat_map(|cut| {
        let survivors: BTreeSet<_> = [0, cut.pending() / 2, cut.pending()].into();
        survivors.into_iter().map(move |survivors| (cut.clone(), survivors))
    });
    let cases: Vec<_> = cases.collect();
    let count = cases.len();
    assert!(count > if change.takes_away() { 20 } else { 5 }, "{count} cases of {change:?}");
    let resumed = futures_util::stream::iter(cases)
        .map(|(cut, survivors)| tokio::spawn(resume(run.clone(), cut, survivors, pool.clone())));
    let ended: Vec<_> = resumed.buffer_unordered(16).map(Result::unwrap).collect().await;

    let firsts: BTreeSet<_> = ended.iter().map(|(first, _)| *first).collect();
    let all: &[&str] = if change.takes_away() {
        &["complete", "listed", "not begun", "sealed anew", "two log keys"]
    } else {
        &["complete", "listed", "not begun"]
    };
    assert!(firsts.iter().eq(all), "every phase of {change:?} is gone on from: {firsts:?}");
    assert!(ended.iter().any(|(_, begun)| *begun) && ended.iter().any(|(_, begun)| !begun));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locking_that_is_turned_on_or_off_and_cut_short_anywhere_is_complete_or_not_begun() {
    cut_short(Change::LockOn).await;
    cut_short(Change::LockOff).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unlock_key_that_is_replaced_and_cut_short_anywhere_is_the_new_one_or_the_old_one() {
    cut_short(Change::Rotate).await;
    cut_short(Change::Compromised).await;
}

/// Announced by another manager while this one was down: nothing is fetched for a file that a slot
/// which was taken away opens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_file_that_is_behind_the_list_gets_no_root_key_until_it_is_sealed_anew() {
    let manager = Manager::found(&SimulatedDisk::new(), pool()).await;
    manager.finish().await;
    let announced = KeyId::from_bytes([9; 16]);
    let key = |list: &[_], at| recipients::with_unlock_key(list, slot(KEY).public(), at);
    manager.list(key).await;
    let command = Command::AnnounceRoot { id: announced, member: ME, replaces: None };
    manager.alone.propose(command).await;
    assert!(!manager.roots.advance().await.unwrap());
    assert_eq!(manager.roots.standing().doing, "waits until its key file is sealed anew");
    assert!(seal_anew(&manager.alone.raft, &manager.alone.keeper).unwrap());
    // Now it is looked for, though nobody has it.
    let error = manager.roots.advance().await.unwrap_err().to_string();
    assert!(error.contains("got from nobody"), "{error}");
    manager.alone.raft.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_comes_or_goes_and_is_cut_short_anywhere_is_there_or_not() {
    cut_short(Change::AddSlot).await;
    cut_short(Change::RemoveSlot).await;
}
