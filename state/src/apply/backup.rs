//! Recording that a backup was made, and that its file is destroyed.

use std::ops::Bound;

use proto::id::{BackupId, Revision, Timestamp};
use proto::limits::BACKUPS_MAX;

use super::{Applying, Context};
use crate::backup::{Backup, ForgottenBackups};
use crate::object::ObjectId;
use crate::refusal::Refusal;
use crate::remembered::Outcome;

impl Context<'_> {
    /// Before any of it is handed out. It was taken from a state of before this entry.
    pub(super) fn record_backup(
        &mut self,
        id: BackupId,
        revision: Revision,
        taken_at: Timestamp,
    ) -> Applying {
        if self.state.cluster.is_none() {
            return Err(Refusal::precondition("there is no cluster yet"));
        }
        if revision >= self.revision() || taken_at > self.now {
            return Err(Refusal::precondition("the backup is of a state that is still to come"));
        }
        if let Some(refusal) = self.state.refuses_backup() {
            return Err(refusal);
        }
        // Whoever removed something since, that it holds, was not told so.
        let after = (Bound::Excluded(revision), Bound::Unbounded);
        let mut removed = self.state.shredding.tombstones.range(after);
        if let Some((current, _)) = removed.find(|(_, it)| it.created_at <= taken_at) {
            return Err(Refusal::Stale { current: *current });
        }
        if self.state.backups.known.contains_key(&id) {
            return Err(Refusal::Exists {
                what: "backup".into(),
                name: id.to_string(),
                id: id.to_string(),
            });
        }
        self.put_backup(id, revision, taken_at);
        self.updated(ObjectId::Cluster);
        Ok((Outcome::Done, ObjectId::Cluster))
    }

    /// The oldest makes room; that there was one stays known.
    pub(super) fn put_backup(&mut self, id: BackupId, revision: Revision, taken_at: Timestamp) {
        let (recorded_at, made_by) = (self.now, self.principal());
        let backups = self.state.backups_mut();
        backups.known.insert(id, Backup { revision, taken_at, recorded_at, made_by });
        while backups.known.len() > BACKUPS_MAX {
            let oldest = backups.known.iter().min_by_key(|(id, it)| (it.revision, **id));
            let Some((id, oldest)) = oldest.map(|(id, it)| (*id, *it)) else { break };
            backups.known.remove(&id);
            let before = backups.forgotten.unwrap_or(ForgottenBackups {
                count: 0,
                taken_until: Timestamp(0),
                revision: Revision(0),
            });
            backups.forgotten = Some(ForgottenBackups {
                count: before.count + 1,
                taken_until: before.taken_until.max(oldest.taken_at),
                revision: before.revision.max(oldest.revision),
            });
        }
    }

    /// An operator says that the file is destroyed.
    pub(super) fn forget_backup(&mut self, id: BackupId) -> Applying {
        if !self.state.backups.known.contains_key(&id) {
            return Err(Refusal::not_found("backup", &id));
        }
        self.state.backups_mut().known.remove(&id);
        self.updated(ObjectId::Cluster);
        Ok((Outcome::Done, ObjectId::Cluster))
    }
}
