//! Renewing the transit key: another one every week, and the one before it stays for a week.
//!
//! Which step comes next is worked out from the state alone, so a new leader goes on where the last
//! one was. Not here: transit keys that go at once, for what was removed (`shredding`).

use proto::id::{KeyId, Timestamp};
use state::command::Command;
use state::object::Cluster;

use super::Duty;
use crate::ca;
use crate::service::now;

/// Steps at a time.
const STEPS_MAX: usize = 2;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransitStep {
    /// The key before the current one has had its week.
    Retire(KeyId),
    /// Make the next one.
    Make,
}

/// What comes next; nothing for as long as the current key is younger than a week.
pub(crate) fn transit_step(cluster: &Cluster, now: Timestamp) -> Option<TransitStep> {
    let current = cluster.transit_keys.get(&cluster.current_transit)?;
    if now.ms_since(current.created_at) < ca::TRANSIT_ROTATION_MS {
        return None;
    }
    let former = cluster.transit_keys.keys().find(|id| **id != cluster.current_transit);
    Some(former.map_or(TransitStep::Make, |id| TransitStep::Retire(*id)))
}

impl Duty {
    /// Renews the key if it is time.
    pub(super) async fn rotate_transit_key(&self) {
        for _ in 0..STEPS_MAX {
            let Ok(cluster) = self.service.cluster() else { return };
            let taken = match transit_step(&cluster, now()) {
                None => return,
                Some(TransitStep::Retire(id)) => {
                    self.propose(Command::RetireTransitKey { id }).await
                }
                Some(TransitStep::Make) => self.add_transit_key(&cluster).await,
            };
            if taken.is_none() {
                return;
            }
        }
    }
}
