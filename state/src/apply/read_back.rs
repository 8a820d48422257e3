//! An unlock key that is kept: when it is, and that it goes with its slot.

use std::sync::Arc;

use super::{Applying, Context};
use crate::object::ObjectId;
use crate::read_back::{KeptUnlockKey, ReadBackCommand};
use crate::refusal::Refusal;
use crate::remembered::Outcome;

impl Context<'_> {
    pub(super) fn read_back(&mut self, command: ReadBackCommand) -> Applying {
        match command {
            ReadBackCommand::Keep(kept) => self.keep_unlock_key(kept)?,
            ReadBackCommand::Forget => self.forget_unlock_key()?,
            ReadBackCommand::Read { public_key } => {
                let kept = self.cluster()?.kept_unlock_key.as_ref();
                if kept.is_none_or(|kept| kept.public_key != public_key) {
                    return Err(Refusal::precondition("the unlock key is not kept"));
                }
            }
        }
        Ok((Outcome::Done, ObjectId::Cluster))
    }

    /// Not while keys rotate: the log that this is in would still lie under keys that are in older key
    /// files, and what opens those has leaked, perhaps.
    fn keep_unlock_key(&mut self, kept: KeptUnlockKey) -> Result<(), Refusal> {
        let cluster = self.cluster()?;
        if !cluster.has_unlock_key(&kept.public_key) {
            return Err(Refusal::precondition("this is not the unlock key that is in use"));
        }
        self.root_key_rests()?;
        self.log_keys_rest()?;
        if kept.wrapped_key.key_id() != cluster.active_root {
            return Err(Refusal::WrongRoot);
        }
        self.cluster_mut()?.kept_unlock_key = Some(kept);
        self.updated(ObjectId::Cluster);
        Ok(())
    }

    /// Logs and snapshots of before have it: they go with their keys.
    fn forget_unlock_key(&mut self) -> Result<(), Refusal> {
        if self.cluster_mut()?.kept_unlock_key.take().is_none() {
            return Err(Refusal::precondition("the unlock key is not kept"));
        }
        self.updated(ObjectId::Cluster);
        self.rotate_log_keys_at_once_or_next();
        Ok(())
    }

    /// What is kept goes with the slot that it opens.
    pub(super) fn forget_replaced_unlock_key(&mut self) {
        let Some(cluster) = &mut self.state.cluster else { return };
        let kept = cluster.kept_unlock_key.as_ref();
        if kept.is_some_and(|kept| !cluster.has_unlock_key(&kept.public_key)) {
            Arc::make_mut(cluster).kept_unlock_key = None;
        }
    }
}
