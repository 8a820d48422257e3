//! Secrets that were removed, and what that still takes.

use proto::{hex, pb};
use serde::Serialize;

use super::{Backup, at};

/// A removed secret.
#[derive(Serialize)]
pub(crate) struct RemovedSecret {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) versions: Vec<u64>,
    pub(crate) removed_at: Option<String>,
    pub(crate) removed_by: String,
    /// `shredding` or `shredded`.
    pub(crate) state: String,
    pub(crate) needs: Option<StillNeeded>,
    pub(crate) shredded_at: Option<String>,
    /// Of every manager of that moment.
    pub(crate) words: Vec<Word>,
    /// Managers that left with a disk on which it may still open.
    pub(crate) without_proof: Vec<u64>,
    /// Backups that may still hold it.
    pub(crate) backups: Vec<Backup>,
    /// Older ones that may, too.
    pub(crate) backups_not_remembered: u64,
}

/// What has to happen before it is shredded.
#[derive(Serialize)]
pub(crate) struct StillNeeded {
    pub(crate) at_once: bool,
    pub(crate) transit_keys: Vec<String>,
    pub(crate) log_key_rotation: u64,
    /// Whether that rotation has begun.
    pub(crate) begun: bool,
    pub(crate) begins_by: Option<String>,
    pub(crate) waits_for: Vec<Manager>,
}

/// A manager by its name.
#[derive(Serialize)]
pub(crate) struct Manager {
    pub(crate) member: u64,
    pub(crate) hostname: String,
}

/// A manager's word.
#[derive(Serialize)]
pub(crate) struct Word {
    pub(crate) member: u64,
    pub(crate) log_key_rotation: u64,
}

impl From<pb::StillNeeded> for StillNeeded {
    fn from(needs: pb::StillNeeded) -> Self {
        let waits_for = needs.waits_for.into_iter();
        Self {
            at_once: needs.at_once,
            transit_keys: needs.transit_key_ids.iter().map(|id| hex::encode(id)).collect(),
            log_key_rotation: needs.log_key_epoch,
            begun: needs.begins_by == 0,
            begins_by: at(needs.begins_by).filter(|_| !needs.at_once),
            waits_for: waits_for
                .map(|it| Manager { member: it.member, hostname: it.hostname })
                .collect(),
        }
    }
}

impl From<pb::RemovedSecret> for RemovedSecret {
    fn from(removed: pb::RemovedSecret) -> Self {
        let words = removed.words.iter();
        Self {
            id: removed.id,
            name: removed.name,
            versions: removed.versions,
            removed_at: at(removed.removed_at),
            removed_by: removed.removed_by,
            state: removed.state,
            needs: removed.needs.map(Into::into),
            shredded_at: at(removed.shredded_at),
            words: words
                .map(|word| Word { member: word.member, log_key_rotation: word.log_key_epoch })
                .collect(),
            without_proof: removed.without_proof,
            backups: removed.backups.into_iter().map(Into::into).collect(),
            backups_not_remembered: removed.backups_not_remembered,
        }
    }
}

impl StillNeeded {
    /// What it waits for, for people.
    pub(crate) fn describe(&self) -> String {
        if !self.transit_keys.is_empty() {
            let when = if self.at_once { "is being replaced" } else { "is replaced weekly" };
            return format!("its transit key, which {when}, and a log key rotation after that");
        }
        let number = self.log_key_rotation;
        let named = |it: &Manager| format!("manager {} ({})", it.member, it.hostname);
        let managers = self.waits_for.iter().map(named).collect::<Vec<_>>().join(", ");
        match (&self.begins_by, self.begun) {
            (_, true) => format!("log key rotation {number} of {managers}"),
            (_, false) if !managers.is_empty() => {
                format!("log key rotation {number}, after the one of {managers}")
            }
            (Some(by), false) => format!("log key rotation {number}, which begins by {by}"),
            (None, false) => format!("log key rotation {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_is_said_in_the_order_in_which_it_happens() {
        let needs = pb::StillNeeded {
            at_once: false,
            transit_key_ids: vec![vec![4; 16].into()],
            log_key_epoch: 3,
            begins_by: 1_700_000_000_000,
            waits_for: vec![],
        };
        let text = |change: &dyn Fn(&mut pb::StillNeeded)| {
            let mut needs = needs.clone();
            change(&mut needs);
            StillNeeded::from(needs).describe()
        };
        let weekly = "its transit key, which is replaced weekly, and a log key rotation after that";
        assert_eq!(text(&|_| ()), weekly);
        assert_eq!(text(&|it| it.begins_by = 0), weekly, "one that has begun is not enough");
        let at_once = text(&|it| it.at_once = true);
        assert!(at_once.starts_with("its transit key, which is being replaced, and "), "{at_once}");
        let by = "log key rotation 3, which begins by 2023-11-14T22:13:20.000Z";
        assert_eq!(text(&|it| it.transit_key_ids.clear()), by);
        let at_once = text(&|it| {
            it.transit_key_ids.clear();
            it.at_once = true;
        });
        assert_eq!(at_once, "log key rotation 3");
        let m2 = || vec![pb::ManagerName { member: 2, hostname: "m2".into() }];
        let after = text(&|it| {
            it.transit_key_ids.clear();
            it.waits_for = m2();
        });
        assert_eq!(after, "log key rotation 3, after the one of manager 2 (m2)");
        let begun = text(&|it| {
            it.transit_key_ids.clear();
            (it.begins_by, it.waits_for) = (0, m2());
        });
        assert_eq!(begun, "log key rotation 3 of manager 2 (m2)");
    }
}
