//! Following the root key's rotation: this manager's own part of it, from start to end.
//!
//! After every change of the cluster's record, when the key file is sealed anew, and now and then, since
//! a manager that was asked for a key may not have had it yet. What is held is told to the leader with
//! the reports. Not here: the steps, and the leader's part (roots).

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::raft::cluster_changed;
use crate::report::Outbox;
use crate::service::Service;

/// How often a manager looks whether it holds what is wanted.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Follows until `stop`.
pub(super) async fn follow(service: Arc<Service>, outbox: Arc<Outbox>, stop: CancellationToken) {
    let mut changes = service.raft.machine.changes();
    let mut sealed = service.roots.sealed_anew();
    loop {
        let more = tokio::select! {
            () = stop.cancelled() => return,
            more = service.roots.advance() => more,
        };
        let failed = more.is_err();
        match more {
            Ok(true) => {
                outbox.tell();
                continue;
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "root_key_step_failed");
                service.roots.failed(error.to_string());
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
            Ok(()) = sealed.changed(), if !failed => {}
            known = cluster_changed(&mut changes), if !failed => if !known { return },
        }
    }
}
