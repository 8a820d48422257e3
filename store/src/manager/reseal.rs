//! Following the list of recipients: the key file is sealed anew when it is behind the state.
//!
//! After every change of the list, and at start: so a member that was down meanwhile needs no
//! operator beyond the one who opens it. The seed of the `file` slot is destroyed once the key file
//! that no longer has the slot is durable. Not here: who changes the list (service).
//!
//! Invariants: a generation is reported only when the key file of it is durable; a key file never
//! goes back to an earlier one, though the log is replayed at start.

#[cfg(test)]
mod crash_tests;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::keys::{HeldKeys, KeyFileError, recipients};
use crate::raft::{Raft, cluster_changed};
use crate::report::Outbox;
use crate::service::Service;

/// Pause after a failure: a disk that is full may have room again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Follows the list until `stop`.
pub(super) async fn follow(service: Arc<Service>, outbox: Arc<Outbox>, stop: CancellationToken) {
    let mut changes = service.raft.machine.changes();
    loop {
        let again = match seal_anew(&service.raft, &service.keys) {
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

/// Seals the key file to the list as this manager knows it; whether that changed anything.
fn seal_anew(raft: &Raft, keys: &HeldKeys) -> Result<bool, KeyFileError> {
    let Some(cluster) = raft.machine.state().cluster().cloned() else { return Ok(false) };
    let holds = keys.identity();
    let file = keys.file();
    let generation = cluster.recipients_generation;
    let is_behind = holds.generation < generation;
    if is_behind {
        let list = file.recipients(&cluster.recipients, raft.me)?;
        keys.seal_to(generation, list)?;
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
