//! openraft's storage suite on our storage: with the simulated disk, and with sled on a real one.

use std::sync::Arc;

use openraft::testing::log::{StoreBuilder, Suite};
use proto::id::{Incarnation, MemberId, Realm};
use seal::LogKey;
use sys::file::Folder;

use super::log::{self, LogKeys};
use super::machine::Machine;
use super::snapshot::Snapshots;
use super::storage::{Anchors, LogStore};
use super::type_config::TypeConfig;
use crate::disk::{Disk, SimulatedDisk, SledDisk};

type Built = (LogStore, Machine);

fn build(disk: Arc<dyn Disk>) -> Built {
    let key = LogKey::make();
    let id = key.id();
    let place = seal::Disk {
        realm: Realm::from_bytes([1; 16]),
        incarnation: Incarnation(1),
        member: MemberId(0),
    };
    let keys = Arc::new(LogKeys::new(place, vec![key.into()], id));
    let anchors = Anchors::default();
    // The suite purges past the end of a log; the links that a snapshot would have brought.
    for index in 0..100 {
        anchors.set(index, [7; 32]);
    }
    let snapshots = Snapshots::new(disk.clone(), keys.clone());
    let machine = Machine::open(snapshots, anchors.clone()).unwrap();
    let fatal = Box::new(|error: &log::LogError| panic!("the disk failed: {error}"));
    let (opened, writer, reader) = log::open(disk, keys, fatal).unwrap();
    let store = LogStore::new(&opened, writer, reader, anchors).unwrap();
    let machine = machine.with_log(store.clone());
    (store, machine)
}

struct Simulated;

impl StoreBuilder<TypeConfig, LogStore, Machine> for Simulated {
    async fn build(&self) -> Result<((), LogStore, Machine), openraft::StorageError<TypeConfig>> {
        let (log, machine) = build(Arc::new(SimulatedDisk::new()));
        Ok(((), log, machine))
    }
}

struct Real;

impl StoreBuilder<TypeConfig, LogStore, Machine, tempfile::TempDir> for Real {
    async fn build(
        &self,
    ) -> Result<(tempfile::TempDir, LogStore, Machine), openraft::StorageError<TypeConfig>> {
        let folder = tempfile::tempdir().unwrap();
        let disk = SledDisk::open(Folder::create_private(folder.path().join("data")).unwrap());
        let (log, machine) = build(Arc::new(disk.unwrap()));
        Ok((folder, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_suite_passes_on_the_simulated_disk() {
    Suite::test_all(Simulated).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_suite_passes_on_the_real_disk() {
    Suite::test_all(Real).await.unwrap();
}
