//! A rotation that is cut short at every durable step, restarted, and goes on.
//!
//! One run on the simulated disk, key file included, keeps what a power cut at each durable
//! operation would leave; every one of these disks is then opened and the rotation gone on with.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt as _;

use super::alone::{Alone, Keeper, first_command, place, pool};
use super::*;
use crate::disk::{Cut, Disk as _, SimulatedDisk};
use crate::raft::snapshot::Snapshots;
use crate::raft::{LogKeys, Pool};

/// More records than one removal of a purge takes.
const BEFORE: u64 = 600;

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

/// The key file is compared with the state of this manager, whatever way that came to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_file_that_is_behind_the_list_gets_no_new_key_until_it_is_sealed_anew() {
    let disk = SimulatedDisk::new();
    let alone = Alone::start(&disk, Keeper::make(&disk), pool()).await;
    alone.raft.found("127.0.0.1:1", "node").await.unwrap();
    alone.propose(first_command(&alone.keeper.root())).await;
    assert_eq!(alone.rotation.next(true).await.unwrap(), Step::MakeKey);
    alone.keeper.generation.send_replace(0);
    let step = alone.rotation.next(true).await.unwrap();
    assert!(matches!(step, Step::Await(_)), "{step:?}");
    alone.rotation.take(&step).await.unwrap();
    assert_eq!(alone.keeper.log_ids().0.len(), 1, "none was made");
    // Ahead, as while the log is read at start, it is sealed to those who come later.
    alone.keeper.generation.send_replace(2);
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
