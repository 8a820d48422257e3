//! Keys of the managers, by their ids.

use std::collections::BTreeSet;

use proto::{hex, pb};
use serde::Serialize;

use super::{CaRotation, CertificateRotation, RootRotation, Unproved, at};

/// What the managers say of their keys, beside what the cluster recorded.
#[derive(Serialize)]
pub(crate) struct ClusterKeys {
    pub(crate) root_key: String,
    pub(crate) transit_key: String,
    pub(crate) log_key_rotation: LogKeyRotation,
    /// Removed secrets that are not shredded yet.
    pub(crate) shredding: u64,
    pub(crate) root_key_rotation: Option<RootRotation>,
    pub(crate) ca_rotation: Option<CaRotation>,
    pub(crate) certificate_rotation: Option<CertificateRotation>,
    pub(crate) members: Vec<MemberKeys>,
    /// Managers whose disks are to be treated as stolen.
    pub(crate) removed_without_proof: Vec<Unproved>,
}

/// The log key rotation that was wanted last.
#[derive(Serialize)]
pub(crate) struct LogKeyRotation {
    /// How many were wanted so far.
    pub(crate) number: u64,
    pub(crate) wanted_at: Option<String>,
    pub(crate) complete: bool,
    /// The one that follows it by itself, if one does.
    pub(crate) next: Option<u64>,
}

/// One manager's keys.
#[derive(Serialize)]
pub(crate) struct MemberKeys {
    pub(crate) member: u64,
    pub(crate) hostname: String,
    pub(crate) address: String,
    /// The last log key rotation that it finished.
    pub(crate) rotation: u64,
    /// The log key it had then, as the cluster recorded it.
    pub(crate) recorded_log_key: Option<String>,
    pub(crate) recorded_at: Option<String>,
    pub(crate) reachable: bool,
    pub(crate) held: Option<Held>,
    /// What a log key rotation waits for here.
    pub(crate) waits_for: Option<String>,
    /// What a root key rotation waits for here.
    pub(crate) root_key_waits_for: Option<String>,
    pub(crate) check: Option<Check>,
}

/// What a manager holds now.
#[derive(Serialize)]
pub(crate) struct Held {
    pub(crate) root_keys: Vec<String>,
    pub(crate) active_root_key: String,
    /// Oldest first.
    pub(crate) log_keys: Vec<String>,
    pub(crate) active_log_key: String,
    /// The oldest key that anything on its disk is under.
    pub(crate) oldest_on_disk: String,
    pub(crate) on_disk: OnDisk,
}

/// Under which keys a manager's disk is.
#[derive(Serialize)]
pub(crate) struct OnDisk {
    pub(crate) oldest_record: Option<String>,
    pub(crate) small_values: Vec<String>,
    pub(crate) head: Vec<String>,
    pub(crate) snapshots: Vec<String>,
}

/// What reading every record gave.
#[derive(Serialize)]
pub(crate) struct Check {
    pub(crate) running: bool,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) records: u64,
    pub(crate) snapshot_bytes: u64,
    pub(crate) damaged: Option<String>,
    /// The record up to which the chain was compared with the leader's.
    pub(crate) compared_at: Option<u64>,
    pub(crate) diverged: Option<String>,
    pub(crate) finished_at: Option<String>,
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// An id for people; bytes that are under no key that can be read have none.
fn id(bytes: &[u8]) -> String {
    if bytes.is_empty() { "unreadable".to_owned() } else { hex::encode(bytes) }
}

fn ids(all: &[bytes::Bytes]) -> Vec<String> {
    all.iter().map(|bytes| id(bytes)).collect()
}

impl From<pb::HeldKeys> for Held {
    fn from(held: pb::HeldKeys) -> Self {
        let on_disk = OnDisk {
            oldest_record: some(hex::encode(&held.oldest_record)),
            small_values: ids(&held.small_values),
            head: ids(&held.head),
            snapshots: ids(&held.snapshots),
        };
        let log_keys = ids(&held.log_key_ids);
        let used: BTreeSet<&String> = on_disk
            .small_values
            .iter()
            .chain(&on_disk.head)
            .chain(&on_disk.snapshots)
            .chain(&on_disk.oldest_record)
            .collect();
        // What is not held is worse than the oldest that is.
        let strange = used.iter().find(|key| !log_keys.contains(key)).copied();
        let oldest = strange.or_else(|| log_keys.iter().find(|key| used.contains(key)));
        Self {
            oldest_on_disk: oldest.cloned().unwrap_or_default(),
            root_keys: ids(&held.root_key_ids),
            active_root_key: id(&held.active_root_key_id),
            active_log_key: id(&held.active_log_key_id),
            log_keys,
            on_disk,
        }
    }
}

impl From<pb::LogCheck> for Check {
    fn from(check: pb::LogCheck) -> Self {
        Self {
            running: check.running,
            first: check.first,
            last: check.last,
            records: check.records,
            snapshot_bytes: check.snapshot_bytes,
            damaged: some(check.damaged),
            compared_at: check.compared.then_some(check.link_at),
            diverged: some(check.diverged),
            finished_at: at(check.finished_at),
        }
    }
}

impl From<pb::MemberKeys> for MemberKeys {
    fn from(mut member: pb::MemberKeys) -> Self {
        let check = member.held.as_mut().and_then(|held| held.check.take());
        Self {
            member: member.member,
            hostname: member.hostname,
            address: member.address,
            rotation: member.log_key_epoch,
            recorded_log_key: some(hex::encode(&member.log_key_id)),
            recorded_at: at(member.log_key_since),
            reachable: member.held.is_some(),
            held: member.held.map(Into::into),
            waits_for: some(member.waits_for),
            root_key_waits_for: some(member.root_waits_for),
            check: check.map(Into::into),
        }
    }
}

impl From<pb::ClusterKeys> for ClusterKeys {
    fn from(keys: pb::ClusterKeys) -> Self {
        let number = keys.log_key_epoch;
        let members: Vec<MemberKeys> = keys.members.into_iter().map(Into::into).collect();
        Self {
            root_key: id(&keys.root_key_id),
            transit_key: id(&keys.transit_key_id),
            log_key_rotation: LogKeyRotation {
                number,
                wanted_at: at(keys.log_key_wanted_at),
                complete: members.iter().all(|member| member.rotation >= number),
                next: Some(keys.log_key_epoch_last).filter(|last| *last > number),
            },
            shredding: keys.shredding,
            root_key_rotation: keys.root_rotation.map(Into::into),
            ca_rotation: keys.ca_rotation.map(Into::into),
            certificate_rotation: keys.certificate_rotation.map(Into::into),
            members,
            removed_without_proof: keys.removed_without_proof.into_iter().map(Into::into).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_key_of_any_part_of_the_disk_is_shown() {
        let key = |n: u8| bytes::Bytes::from(vec![n; 16]);
        let held = pb::HeldKeys {
            log_key_ids: vec![key(1), key(2)],
            active_log_key_id: key(2),
            oldest_record: key(2),
            small_values: vec![key(2)],
            head: vec![key(2)],
            snapshots: vec![key(2)],
            ..pb::HeldKeys::default()
        };
        let oldest = |held: &pb::HeldKeys| Held::from(held.clone()).oldest_on_disk;
        assert_eq!(oldest(&held), hex::encode(&[2; 16]));
        let parts: [fn(&mut pb::HeldKeys, bytes::Bytes); 4] = [
            |held, key| held.oldest_record = key,
            |held, key| held.small_values.push(key),
            |held, key| held.head.push(key),
            |held, key| held.snapshots.push(key),
        ];
        for part in parts {
            let mut held = held.clone();
            part(&mut held, key(1));
            assert_eq!(oldest(&held), hex::encode(&[1; 16]));
            let mut strange = held.clone();
            strange.snapshots.push(key(9));
            assert_eq!(oldest(&strange), hex::encode(&[9; 16]), "a key that is not held");
            strange.snapshots.pop();
            strange.head.push(bytes::Bytes::new());
            assert_eq!(oldest(&strange), "unreadable");
        }
    }
}
