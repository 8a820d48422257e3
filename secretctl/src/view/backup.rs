//! Backups.

use proto::pb;
use serde::Serialize;

use super::{at, some_hex};

/// A backup that was made, as the cluster recorded it.
#[derive(Serialize)]
pub(crate) struct Backup {
    pub(crate) id: Option<String>,
    /// The last entry that is in it.
    pub(crate) revision: u64,
    pub(crate) taken_at: Option<String>,
    pub(crate) recorded_at: Option<String>,
    pub(crate) made_by: String,
    /// Whether the CA was changed since.
    pub(crate) former_ca: bool,
}

impl From<pb::BackupInfo> for Backup {
    fn from(info: pb::BackupInfo) -> Self {
        Self {
            id: some_hex(&info.id),
            revision: info.revision,
            taken_at: at(info.taken_at),
            recorded_at: at(info.recorded_at),
            made_by: info.made_by,
            former_ca: info.former_ca,
        }
    }
}

/// The backups that are known.
#[derive(Serialize)]
pub(crate) struct Backups {
    #[expect(clippy::struct_field_names, reason = "the name in JSON")]
    pub(crate) backups: Vec<Backup>,
    /// Older ones that were made, too.
    pub(crate) not_remembered: u64,
    pub(crate) not_remembered_until: Option<String>,
}

impl From<pb::ListBackupsResponse> for Backups {
    fn from(answer: pb::ListBackupsResponse) -> Self {
        Self {
            backups: answer.backups.into_iter().map(Into::into).collect(),
            not_remembered: answer.not_remembered,
            not_remembered_until: at(answer.not_remembered_until),
        }
    }
}

/// A backup that was written.
#[derive(Serialize)]
pub(crate) struct BackupMade {
    pub(crate) id: Option<String>,
    pub(crate) revision: u64,
    pub(crate) taken_at: Option<String>,
    pub(crate) file: String,
    /// Of the copy of the state; the file has a little more.
    pub(crate) bytes: u64,
    pub(crate) secrets: u64,
    pub(crate) ca_digest: Option<String>,
}

/// What a backup's file says of itself, once it was read to its end.
#[derive(Serialize)]
pub(crate) struct BackupChecked {
    pub(crate) id: Option<String>,
    pub(crate) realm: Option<String>,
    pub(crate) incarnation: u64,
    pub(crate) revision: u64,
    pub(crate) taken_at: Option<String>,
    pub(crate) bytes: u64,
    pub(crate) secrets: u64,
    /// Of the manager that made it.
    pub(crate) version: String,
    pub(crate) ca_digest: Option<String>,
}

/// A secret that was removed, and the backups that may still hold it.
#[derive(Serialize)]
pub(crate) struct RemovedFromAllBut {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) backups: Vec<Backup>,
    /// Older ones that may, too.
    pub(crate) backups_not_remembered: u64,
}

/// A cluster that was restored.
#[derive(Serialize)]
pub(crate) struct Restored {
    pub(crate) realm: Option<String>,
    pub(crate) incarnation: u64,
    pub(crate) node_id: String,
    pub(crate) member: u64,
    pub(crate) address: String,
    pub(crate) ca_digest: Option<String>,
    /// That of the backup, if the cluster has another one.
    pub(crate) former_ca_digest: Option<String>,
    /// Then, who comes in anew.
    pub(crate) nodes_to_join: u64,
    pub(crate) operators_to_enrol: u64,
    pub(crate) backup: String,
    /// Of the key that was shown before.
    pub(crate) unlock_key_id: Option<String>,
}
