//! Backups: which were made, and the copy of the state that goes into one.
//!
//! The cluster has no part in what becomes of a backup's file, so it remembers each one until an
//! operator says that the file is destroyed: whoever removes a secret is told which of them may
//! still hold it. Not here: making keys, wrapping, the file (store, seal, secretctl).
//!
//! Invariants: a backup is recorded before any of it is handed out; the copy that goes into one has
//! no transit key, no join token and no slot of a key file, and says which wraps are in it by one
//! list ([`State::wrap_all_anew`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use proto::id::{BackupId, KeyId, Revision, SecretId, Timestamp, Version};
use proto::identity::Principal;
use proto::sealed::{StoredPayload, WrappedKey};

use crate::boot::Boot;
use crate::object::Cluster;
use crate::refusal::Refusal;
use crate::state::State;

/// A backup that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Backup {
    /// The last entry that is in it.
    #[n(0)]
    pub revision: Revision,
    /// The time of that entry: what was created later is not in it.
    #[n(1)]
    pub taken_at: Timestamp,
    /// When it was recorded.
    #[n(2)]
    pub recorded_at: Timestamp,
    /// Who asked for it.
    #[n(3)]
    pub made_by: Principal,
}

/// Backups that are not remembered one by one any more, since there were too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ForgottenBackups {
    /// How many.
    #[n(0)]
    pub count: u64,
    /// When the last of them was taken.
    #[n(1)]
    pub taken_until: Timestamp,
    /// The last entry that is in any of them.
    #[n(2)]
    pub revision: Revision,
}

/// Everything that is remembered of backups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backups {
    pub(crate) known: BTreeMap<BackupId, Backup>,
    pub(crate) forgotten: Option<ForgottenBackups>,
}

impl Backups {
    /// Those whose files are not known to be destroyed.
    pub const fn known(&self) -> &BTreeMap<BackupId, Backup> {
        &self.known
    }

    /// Those beyond what is remembered.
    pub const fn forgotten(&self) -> Option<&ForgottenBackups> {
        self.forgotten.as_ref()
    }

    /// Those that may hold what was created then and, if it was, removed by that entry: oldest first.
    ///
    /// Times are those of entries, so what was created in the millisecond in which a backup was
    /// taken is said to be in it though it may not be.
    pub fn that_may_hold(
        &self,
        created_at: Timestamp,
        removed: Option<Revision>,
    ) -> Vec<(BackupId, &Backup)> {
        let holds = |backup: &Backup| {
            backup.taken_at >= created_at && removed.is_none_or(|at| backup.revision < at)
        };
        let mut found: Vec<_> =
            self.known.iter().filter(|(_, it)| holds(it)).map(|(id, it)| (*id, it)).collect();
        found.sort_by_key(|(id, it)| (it.revision, *id));
        found
    }

    /// How many of those that are not remembered may hold it: all, if one may.
    pub fn forgotten_that_may_hold(&self, created_at: Timestamp) -> u64 {
        let may = |it: &&ForgottenBackups| it.taken_until >= created_at;
        self.forgotten.as_ref().filter(may).map_or(0, |it| it.count)
    }
}

/// Where a wrap stands, with all that it is bound to.
#[derive(Debug, Clone, Copy)]
pub enum WrapPlace<'a> {
    /// The CA's key.
    Authority(&'a Cluster),
    /// The data key of a secret's version.
    Secret {
        /// Which secret.
        id: SecretId,
        /// Which of its values.
        version: Version,
        /// The value, with the wrap as it is.
        stored: &'a StoredPayload,
    },
}

impl State {
    /// What is remembered of backups.
    pub fn backups(&self) -> &Backups {
        &self.backups
    }

    /// Whether the CA was changed since a backup was taken: restored, it brings the one before back.
    pub fn is_of_former_ca(&self, backup: &Backup) -> bool {
        let former = self.ca_rotations.former.as_ref().map(|former| former.dropped);
        let made_anew = self.ca_rotations.made_anew.map(|made| made.revision);
        // None is recorded while both are there, so it has one of them.
        former.max(made_anew).is_some_and(|since| backup.revision < since)
    }

    pub(crate) fn backups_mut(&mut self) -> &mut Backups {
        Arc::make_mut(&mut self.backups)
    }

    /// Root keys that something is wrapped under.
    pub fn roots_in_use(&self) -> Vec<KeyId> {
        let cluster = self.cluster.as_deref();
        let transit = cluster.into_iter().flat_map(|cluster| cluster.transit_keys.values());
        let of_cluster = transit
            .map(|key| &key.wrapped_key)
            .chain(self.authorities().map(|authority| &authority.wrapped_key));
        let peers = self.boot.generations().map(|(_, one)| &one.made_of.wrapped_key);
        let of_cluster = of_cluster.chain(peers);
        let all = of_cluster.map(WrappedKey::key_id).chain(self.wraps_by_root.keys().copied());
        all.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    /// Why no backup can be taken of this state; none if one can.
    pub fn refuses_backup(&self) -> Option<Refusal> {
        self.ca_rotations.rotation.as_ref().map(|_| {
            Refusal::precondition(
                "a backup has one CA, and another is taking its place: wait until that is complete",
            )
        })
    }

    /// The copy that goes into a backup, its wraps still as they are.
    ///
    /// Left out, since a restored cluster makes its own: transit keys, and the payload ids that came
    /// under them; join tokens; what peers would open managers with; the slots of key files, whose parameters would let whoever opens a
    /// backup guess operators' passphrases. Answers for retries are left out, too: nobody waits for
    /// one any more.
    #[must_use]
    pub fn for_backup(&self) -> Self {
        let mut copy = self.clone();
        copy.tokens.clear();
        copy.boot = Boot::default();
        copy.payloads_seen.clear();
        copy.remembered.clear();
        copy.remembered_order.clear();
        if let Some(cluster) = &mut copy.cluster {
            let cluster = Arc::make_mut(cluster);
            cluster.transit_keys.clear();
            cluster.recipients.clear();
            cluster.slots = None;
            cluster.kept_unlock_key = None;
            cluster.announced_root = None;
        }
        copy
    }

    /// Puts every wrap under another root key, which is the active one afterwards. Only on a copy
    /// that is not a manager's state: between entries no wrap changes.
    ///
    /// # Errors
    ///
    /// The first that `wrap` returns; the copy is of no use then.
    pub fn wrap_all_anew<E>(
        &mut self,
        root: KeyId,
        wrap: &mut dyn FnMut(WrapPlace<'_>) -> Result<WrappedKey, E>,
    ) -> Result<(), E> {
        if let Some(cluster) = &mut self.cluster {
            let new = wrap(WrapPlace::Authority(cluster))?;
            let cluster = Arc::make_mut(cluster);
            cluster.authority.wrapped_key = new;
            cluster.active_root = root;
        }
        for (id, secret) in &mut self.secrets {
            for (version, value) in &mut Arc::make_mut(secret).versions {
                let stored = &value.payload;
                let place = WrapPlace::Secret { id: *id, version: *version, stored };
                value.payload.wrapped_dek = wrap(place)?;
            }
        }
        self.rebuild_indexes();
        Ok(())
    }
}
