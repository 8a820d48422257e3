//! Room on the disk: growing changes are refused before there is none, and a ballast gives the
//! others some.
//!
//! The leader refuses while its own disk, or the disks of a majority, are below the reserve;
//! removals, status and rotation still pass. When even the reserve runs out, the ballast file is
//! given up for them; it is made again when there is room.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proto::id::MemberId;
use sys::file::{FileError, Folder, PRIVATE_FILE_MODE};
use tokio_util::sync::CancellationToken;

use crate::disk::Disk;
use crate::service::Service;

/// How often the disk is looked at: at the speed of a fast disk, a fraction of the reserve.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A file of nothing that can be given up.
const BALLAST: &str = "ballast";

/// Growing changes are taken again once there is a quarter more room than the reserve: not at
/// every removed file.
const fn enough_again(reserve: u64) -> u64 {
    reserve / 4 * 5
}

/// Watches one manager's disk.
pub(super) struct Room {
    disk: Arc<dyn Disk>,
    folder: Folder,
    reserve: u64,
}

impl Room {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        folder: &Folder,
        reserve: u64,
    ) -> Result<Self, FileError> {
        Ok(Self { disk, folder: folder.try_clone()?, reserve })
    }

    /// Looks around until `stop`.
    pub(super) async fn watch(self, service: Arc<Service>, stop: CancellationToken) {
        loop {
            let free = self.disk.space().map_or(0, |space| space.available_bytes);
            service.disk.free_bytes.store(free, Ordering::Relaxed);
            let others = others(&service);
            let voters = service.raft.voters().len();
            let was_full = service.is_full();
            let full = is_full(free, &others, voters, self.reserve, was_full);
            service.disk.full.store(full, Ordering::Relaxed);
            if full != was_full {
                tracing::warn!(full, free_bytes = free, "disk_room_changed");
            }
            if let Err(error) = self.tend_ballast(free) {
                tracing::debug!(%error, "ballast_not_tended");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    fn tend_ballast(&self, free: u64) -> Result<(), FileError> {
        let size = self.reserve / 8;
        let there = match self.folder.open_file(BALLAST) {
            Ok(_) => true,
            Err(error) if error.is_not_found() => false,
            Err(error) => return Err(error),
        };
        if there && free < self.reserve / 2 {
            tracing::warn!(bytes = size, "ballast_given_up");
            return self.folder.remove(BALLAST);
        }
        if !there && free > enough_again(self.reserve) + size {
            let file = self.folder.create_new(BALLAST, PRIVATE_FILE_MODE)?;
            sys::file::preallocate(&file, &self.folder.path().join(BALLAST), size)?;
        }
        Ok(())
    }
}

/// What the other voters last said of their disks.
fn others(service: &Service) -> BTreeMap<MemberId, u64> {
    let voters = service.raft.voters();
    let said = service.members.fresh().into_iter();
    said.filter(|(member, _)| *member != service.raft.me && voters.contains(member))
        .map(|(member, said)| (member, said.disk_free_bytes))
        .collect()
}

/// Whether growing changes are refused: this disk is low, or so many others that no majority would
/// have room.
fn is_full(
    own: u64,
    others: &BTreeMap<MemberId, u64>,
    voters: usize,
    reserve: u64,
    was_full: bool,
) -> bool {
    let enough = if was_full { enough_again(reserve) } else { reserve };
    let low = others.values().filter(|free| **free < enough).count();
    own < enough || low > (voters.max(1) - 1) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESERVE: u64 = 1000;

    fn others(free: &[u64]) -> BTreeMap<MemberId, u64> {
        (2..).map(MemberId).zip(free.iter().copied()).collect()
    }

    #[test]
    fn one_low_disk_of_three_does_not_stop_the_others() {
        assert!(!is_full(RESERVE, &others(&[RESERVE, 0]), 3, RESERVE, false));
        assert!(is_full(RESERVE, &others(&[0, RESERVE - 1]), 3, RESERVE, false));
        assert!(is_full(RESERVE - 1, &others(&[RESERVE, RESERVE]), 3, RESERVE, false));
    }

    #[test]
    fn a_single_manager_goes_by_its_own_disk() {
        assert!(!is_full(RESERVE, &others(&[]), 1, RESERVE, false));
        assert!(is_full(RESERVE - 1, &others(&[]), 1, RESERVE, false));
    }

    #[test]
    fn a_disk_that_was_full_has_to_gain_some_room_first() {
        assert!(is_full(RESERVE + 249, &others(&[]), 1, RESERVE, true));
        assert!(!is_full(RESERVE + 250, &others(&[]), 1, RESERVE, true));
    }
}
