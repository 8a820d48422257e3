//! Managers that unlock one another.

use proto::pb;
use serde::Serialize;

use super::at;

/// The name of a policy.
pub(crate) const fn policy(policy: pb::PeerPolicy) -> &'static str {
    match policy {
        pb::PeerPolicy::Unspecified | pb::PeerPolicy::Off => "off",
        pb::PeerPolicy::Approve => "approve",
        pb::PeerPolicy::Auto => "auto",
    }
}

/// The policy that was set.
#[derive(Serialize)]
pub(crate) struct PeerPolicy {
    pub(crate) peers: &'static str,
}

/// A locked manager that waits for consent.
#[derive(Serialize)]
pub(crate) struct PendingRelease {
    pub(crate) member: u64,
    pub(crate) generation: u64,
    pub(crate) from: String,
    pub(crate) asked_at: Option<String>,
}

impl From<&pb::PendingRelease> for PendingRelease {
    fn from(pending: &pb::PendingRelease) -> Self {
        Self {
            member: pending.member,
            generation: pending.generation,
            from: pending.from.clone(),
            asked_at: at(pending.asked_at),
        }
    }
}

/// Somebody asked in a manager's name who cannot be it, or not alone.
#[derive(Serialize)]
pub(crate) struct ReleaseAlarm {
    pub(crate) member: u64,
    /// `stale`, `evicted`, `alive` or `let-in`.
    pub(crate) reason: String,
    pub(crate) generation: u64,
    pub(crate) from: String,
    pub(crate) first_at: Option<String>,
    pub(crate) last_at: Option<String>,
    pub(crate) count: u64,
}

impl From<&pb::ReleaseAlarm> for ReleaseAlarm {
    fn from(alarm: &pb::ReleaseAlarm) -> Self {
        Self {
            member: alarm.member,
            reason: alarm.reason.clone(),
            generation: alarm.generation,
            from: alarm.from.clone(),
            first_at: at(alarm.first_at),
            last_at: at(alarm.last_at),
            count: alarm.count,
        }
    }
}

/// Whether managers unlock one another, and what came of it.
#[derive(Serialize)]
pub(crate) struct Peers {
    pub(crate) policy: &'static str,
    pub(crate) pending: Vec<PendingRelease>,
    pub(crate) alarms: Vec<ReleaseAlarm>,
}

impl From<&pb::PeersStatus> for Peers {
    fn from(peers: &pb::PeersStatus) -> Self {
        Self {
            policy: policy(peers.policy()),
            pending: peers.pending.iter().map(Into::into).collect(),
            alarms: peers.alarms.iter().map(Into::into).collect(),
        }
    }
}
