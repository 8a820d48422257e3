//! Driving this manager's log key rotation: when one is owed, and until it is finished.
//!
//! A rotation that the key file says has begun is finished whatever the cluster thinks; a new one
//! is begun only on a state that a majority confirmed, and only once the key file is sealed to the
//! recipients of that state. Its word travels with the reports to the leader. Not here: the steps
//! (raft::rotation), sealing anew (reseal).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use proto::id::KeyId;
use tokio_util::sync::CancellationToken;

use crate::raft::{KeyKeeper as _, Owes, Step, owes};
use crate::service::Service;

/// How often a manager looks whether a rotation is wanted.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Rotates the log key whenever the cluster wants that, until `stop`.
pub(super) async fn keep_log_key(service: Arc<Service>, stop: CancellationToken) {
    let mut driver = Driver { service, finished: None };
    loop {
        let more = tokio::select! {
            () = stop.cancelled() => return,
            more = driver.advance() => more,
        };
        match more {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "log_key_step_failed");
                driver.service.key_desk.failed(error.to_string());
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

struct Driver {
    service: Arc<Service>,
    /// The last rotation that was finished since this manager started, and its key.
    finished: Option<(u64, KeyId)>,
}

impl Driver {
    /// Does what comes next; false if there is nothing to do.
    async fn advance(&mut self) -> io::Result<bool> {
        let desk = &self.service.key_desk;
        let (kept, active) = self.service.keys.log_ids();
        let mut due = false;
        if kept.len() == 1 {
            match self.owes(active) {
                Owes::Nothing => {
                    desk.rests(None);
                    return Ok(false);
                }
                Owes::Word(epoch) => {
                    desk.rests(Some((epoch, active)));
                    return Ok(false);
                }
                Owes::Rotation(epoch) => {
                    // A manager that lags must not take an old rotation for a new one.
                    let current = self.service.raft.barrier().await.is_ok();
                    due = current && self.owes(active) == Owes::Rotation(epoch);
                    if !due {
                        return Ok(false);
                    }
                }
            }
        }
        let step = desk.rotation.next(due).await?;
        desk.does(step.describe());
        desk.rotation.take(&step).await?;
        match &step {
            Step::Rest => {}
            Step::Await(_) => tracing::debug!(step = step.describe(), "log_key_step"),
            _ => tracing::info!(step = step.describe(), "log_key_step"),
        }
        if matches!(step, Step::Destroy(_)) {
            let wanted = self.service.raft.machine.state().log_keys().wanted;
            self.finished = Some((wanted, active));
            tracing::info!(key.id = %active, "log_key_rotated");
        }
        Ok(true)
    }

    fn owes(&self, held: KeyId) -> Owes {
        let state = self.service.raft.machine.state();
        let me = self.service.raft.me;
        if state.member(me).is_none() {
            return Owes::Nothing;
        }
        let told = state.log_keys().of(me);
        owes(state.log_keys().wanted, (told.epoch, told.key), held, self.finished)
    }
}
