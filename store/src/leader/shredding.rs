//! What was removed leaves the managers' disks: the keys that this takes, replaced in order.
//!
//! Which step comes next is worked out from the state alone ([`state::shredding_step`]); here it is
//! carried out. Not here: what makes something shredded (state), how a log key rotates (raft).

use state::command::Command;
use state::object::Cluster;
use state::{Outcome, ShreddingStep};

use super::Duty;
use crate::ca;
use crate::service::now;

/// Steps at a time: transit keys make room for each other, and then a rotation. What is left has
/// its turn at the next look.
const STEPS_MAX: usize = 8;

impl Duty {
    /// Goes on until it waits for somebody, or for time alone.
    pub(super) async fn shred(&self) {
        for _ in 0..STEPS_MAX {
            let step = state::shredding_step(&self.service.raft.machine.state(), now());
            let Some(step) = step else { return };
            tracing::info!(?step, "shredding_step");
            let taken = match step {
                ShreddingStep::RetireTransitKey(id) => {
                    self.propose(Command::RetireTransitKey { id }).await
                }
                ShreddingStep::MakeTransitKey => {
                    let Ok(cluster) = self.service.cluster() else { return };
                    self.add_transit_key(&cluster).await
                }
                ShreddingStep::RotateLogKeys => self.propose(Command::RotateLogKeys).await,
            };
            if taken.is_none() {
                return;
            }
        }
    }

    /// Makes a transit key and has it taken in as the current one.
    pub(super) async fn add_transit_key(&self, cluster: &Cluster) -> Option<Outcome> {
        let keyring = &self.service.keyring;
        let keys = keyring.root(cluster.active_root);
        let keys = keys.and_then(|root| Ok((root, keyring.ca_key(&cluster.authority)?)));
        let made = keys.map_err(ca::CaError::from).and_then(|(root, key)| {
            let (id, mut transit) = ca::make_transit_key(cluster.realm, &root, &key, now())?;
            let state = self.service.raft.machine.state();
            ca::sign_by_all(&state, keyring, id, &mut transit)?;
            Ok((id, transit))
        });
        match made {
            Ok((id, key)) => self.propose(Command::AddTransitKey { id, key }).await,
            Err(error) => {
                tracing::error!(%error, "transit_key_not_made");
                None
            }
        }
    }
}
