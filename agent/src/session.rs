//! The session with a manager: what to run comes down, what became of it goes up.
//!
//! One connection at a time, to any manager; when it fails, the next manager is tried. Tasks know
//! nothing of it: what is in force ([`sets::Holdings`]) outlives sessions, and a new one begins by
//! saying what that is. Sets of assignments are taken by [`sets`], statuses are told by
//! [`statuses`], output goes through [`output`], operators' commands through [`execs`]; [`schedule`] says whom to try when; [`renewal`]
//! renews the certificate beside it all. Not here: carrying assignments out ([`crate::worker`]).
//!
//! Invariant: nothing that a manager sends after a violation of the protocol is taken, and nothing
//! of the set it was in.

pub(crate) mod execs;
pub(crate) mod output;
pub(crate) mod renewal;
pub(crate) mod schedule;
pub(crate) mod sets;
pub(crate) mod statuses;
pub(crate) mod stream;

use std::sync::Arc;

use link::Failure;
use proto::pb;
use seal::Dek;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::clock;
use crate::identity::Own;
use crate::supervisor::status::explained;
use crate::vault::Vault;
use crate::worker::Handle;
use schedule::{Random, SETTLED, Schedule};
use sets::Holdings;
use stream::SessionError;

/// What to do with an agent that was away while the CA was rotated, to the end.
const LEFT_BEHIND: &str = "docs/operations/rotate-ca.md";

/// What a session needs of this agent.
pub(crate) struct Local {
    /// Who it is.
    pub(crate) own: Own,
    /// Managers that its owner named, beside those that the cluster lists.
    pub(crate) named_managers: Vec<String>,
    /// Where secrets are held.
    pub(crate) vault: Arc<Vault>,
    /// Where assignments are carried out.
    pub(crate) worker: Handle,
    /// What is said of this machine, now and as it changes.
    pub(crate) report: watch::Receiver<pb::Report>,
    /// The kernel's boot.
    pub(crate) boot_id: String,
    /// The certificate is to be renewed now.
    pub(crate) renew: Notify,
}

impl Local {
    /// Every manager that is known, the cluster's own list first.
    pub(crate) fn managers(&self) -> Vec<String> {
        let mut managers = self.own.current().managers.clone();
        let further = self.named_managers.iter().filter(|named| !managers.contains(named));
        let further: Vec<String> = further.cloned().collect();
        managers.extend(further);
        managers
    }
}

/// Keeps a session and the certificate, until this node is evicted; returns what the cluster said
/// then. Ends the session when it is dropped.
pub(crate) async fn keep(local: &Local) -> Failure {
    tokio::select! {
        evicted = Box::pin(keep_session(local)) => evicted,
        evicted = Box::pin(renewal::keep(local)) => evicted,
    }
}

async fn keep_session(local: &Local) -> Failure {
    let mut holdings = Holdings::<Dek>::default();
    let mut schedule = Schedule::new(&mut Random);
    loop {
        until_certified(local).await;
        let managers = local.managers();
        let (address, opened_at) = match schedule.current(&managers) {
            Some(address) => (address.as_str(), Instant::now()),
            None => ("", Instant::now()),
        };
        let (error, was_open) = match stream::open(local, address, &holdings).await {
            Ok(session) => (stream::exchange(session, local, &mut holdings).await, true),
            Err(error) => (error, false),
        };
        if let SessionError::Evicted(failure) = error {
            return failure;
        }
        if matches!(error, SessionError::Moved | SessionError::Outdated) {
            // The manager is as good as it was.
            tracing::info!(peer.addr = address, because = %error, "session_opened_anew");
            continue;
        }
        let settled = was_open && opened_at.elapsed() >= SETTLED;
        let pause = schedule.next(managers.len(), settled, &mut Random);
        let told = explained(&error);
        if error.is_violation() {
            tracing::error!(peer.addr = address, error = told, "session_ended_by_violation");
        } else if was_open {
            tracing::info!(peer.addr = address, error = told, "session_ended");
        } else if schedule.round_is_over() {
            tracing::warn!(peer.addr = address, error = told, "no_session_with_any_manager");
        } else {
            tracing::debug!(peer.addr = address, error = told, "session_not_opened");
        }
        if error.is_of_dropped_ca() {
            tracing::error!(
                peer.addr = address,
                runbook = LEFT_BEHIND,
                "certificate_of_dropped_ca"
            );
        }
        if error.is_unauthenticated() {
            // By the manager's clock the certificate may have ended; by ours it has not.
            local.renew.notify_one();
        }
        tokio::time::sleep(pause).await;
    }
}

/// With an expired certificate there is nothing to do but wait for the next one.
async fn until_certified(local: &Local) {
    let mut identities = local.own.watch();
    let good = |identity: &Arc<crate::identity::Identity>| !identity.has_expired(clock::now());
    // The sender is in `local`.
    drop(identities.wait_for(good).await);
}
