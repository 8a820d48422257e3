//! Following the list of recipients: the key file is sealed anew when it is behind the state.
//!
//! After every change of the list, and at start: so a member that was down meanwhile needs no
//! operator beyond the one who opens it. The seed of the `file` slot is destroyed once the key file
//! that no longer has the slot is durable. Not here: who changes the list (service).
//!
//! Invariants: a generation is reported only when the key file of it is durable; a key file never
//! goes back to an earlier one, though the log is replayed at start.

use std::sync::Arc;
use std::time::Duration;

use state::Change;
use state::object::ObjectId;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::keys::{KeyFileError, recipients};
use crate::report::Outbox;
use crate::service::Service;

/// Pause after a failure: a disk that is full may have room again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Follows the list until `stop`.
pub(super) async fn follow(service: Arc<Service>, outbox: Arc<Outbox>, stop: CancellationToken) {
    let mut changes = service.raft.machine.changes();
    loop {
        let again = match seal_anew(&service) {
            Ok(changed) => {
                if changed {
                    outbox.tell();
                }
                None
            }
            Err(error) => {
                let error = crate::chain(&error);
                tracing::error!(error, "key_file_not_sealed_anew");
                Some(RETRY_AFTER)
            }
        };
        let retry = async {
            match again {
                Some(after) => tokio::time::sleep(after).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = retry => {}
            known = cluster_changed(&mut changes) => if !known { return },
        }
    }
}

/// Waits until the cluster's own record changed, or all was replaced by a snapshot; false if nothing
/// will change any more.
pub(super) async fn cluster_changed(
    changes: &mut broadcast::Receiver<crate::raft::Changes>,
) -> bool {
    loop {
        match changes.recv().await {
            Ok(changes) => {
                let of_cluster = |change: &Change| {
                    matches!(
                        change,
                        Change::Created(ObjectId::Cluster)
                            | Change::Updated(ObjectId::Cluster)
                            | Change::Replan(None)
                    )
                };
                if changes.iter().any(of_cluster) {
                    return true;
                }
            }
            Err(broadcast::error::RecvError::Lagged(_)) => return true,
            Err(broadcast::error::RecvError::Closed) => return false,
        }
    }
}

/// Seals the key file to the list as this manager knows it; whether that changed anything.
fn seal_anew(service: &Service) -> Result<bool, KeyFileError> {
    let Ok(cluster) = service.cluster() else { return Ok(false) };
    let holds = service.keys.identity();
    let file = service.keys.file();
    let generation = cluster.recipients_generation;
    let is_behind = holds.generation < generation;
    if is_behind {
        let list = file.recipients(&cluster.recipients, service.raft.me)?;
        service.keys.seal_to(generation, list)?;
        tracing::info!(target: "audit", action = "seal_key_file", generation, "key_file_sealed_anew");
    }
    // Also where the last start was cut short between the two.
    let is_current = is_behind || holds.generation == generation;
    if is_current && recipients::locks(&cluster.recipients) {
        match file.destroy_seed() {
            Ok(true) => tracing::info!("unlock_seed_destroyed"),
            Ok(false) => {}
            Err(error) => {
                let path = file.seed_path().display();
                let error = crate::chain(&error);
                tracing::warn!(%path, error, "unlock_seed_not_destroyed");
            }
        }
    }
    Ok(is_behind)
}
