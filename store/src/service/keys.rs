//! Keys, by their ids: what this manager holds, what every manager holds, rotating log keys.
//!
//! The receipt (`cluster keys`) puts beside each other what the cluster recorded and what each
//! manager says now. It is the receipt of honest managers: one that lies is not found out by it.
//! Not here: how a log key rotates (raft::rotation), what drives it (manager).
//!
//! Invariant: no key leaves, only ids.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use link::Failure;
use proto::id::{KeyId, MemberId};
use proto::identity::Caller;
use proto::{Kind, pb};
use state::MemberLogKey;
use state::command::Command;

use super::trials::Trial;
use super::{Service, ca_rotation, certificate_rotation, internal, mark, root_keys, shredding};
use crate::keys::HeldKeys;
use crate::raft::{LogChecker, Position, Purpose, Raft, Rotation};
use crate::roots::RootKeeper as _;

/// Time for a manager to look at its disk's headers.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(3);

/// What this manager tells of its log key.
#[derive(Debug, Clone, Default)]
struct Standing {
    /// The rotation it finished and its key, until the cluster has recorded that.
    word: Option<(u64, KeyId)>,
    /// The step it is at, for people.
    doing: String,
    /// Why that step failed.
    failed: String,
}

/// This manager's keys, as far as others may know of them.
pub(crate) struct KeyDesk {
    pub(crate) rotation: Rotation,
    pub(crate) checker: LogChecker,
    pub(super) trial: Trial,
    standing: Mutex<Standing>,
}

impl KeyDesk {
    pub(crate) fn new(held: Arc<HeldKeys>, raft: &Raft) -> Self {
        let rotation = Rotation::new(raft.clone(), held);
        let checker = LogChecker::new(raft.clone());
        Self { rotation, checker, trial: Trial::default(), standing: Mutex::default() }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log key that the cluster is to record, and for which rotation.
    pub(crate) fn word(&self) -> Option<(u64, KeyId)> {
        self.standing().word
    }

    /// Nothing is under way; `word` is to be told, if there is any.
    pub(crate) fn rests(&self, word: Option<(u64, KeyId)>) {
        *self.standing() = Standing { word, ..Standing::default() };
    }

    /// A step is under way.
    pub(crate) fn does(&self, step: String) {
        let mut standing = self.standing();
        if standing.doing != step {
            *standing = Standing { doing: step, ..Standing::default() };
        }
    }

    /// The step failed.
    pub(crate) fn failed(&self, why: String) {
        self.standing().failed = why;
    }
}

fn bytes(id: KeyId) -> bytes::Bytes {
    id.as_bytes().to_vec().into()
}

/// Different keys, each once; bytes that are under no key that can be read are an empty id.
fn distinct(ids: impl IntoIterator<Item = Option<KeyId>>) -> Vec<bytes::Bytes> {
    let ids: std::collections::BTreeSet<_> = ids.into_iter().collect();
    ids.into_iter().map(|id| id.map(bytes).unwrap_or_default()).collect()
}

impl Service {
    /// What this manager says of its keys.
    pub(crate) async fn describe_own_keys(
        &self,
        request: pb::DescribeKeysRequest,
    ) -> Result<pb::HeldKeys, Failure> {
        let desk = &self.key_desk;
        if request.verify {
            desk.checker.begin();
        }
        let position = desk.rotation.position().await.map_err(|error| internal(&error))?;
        let Position { kept, active, log, snapshots, .. } = position;
        let (roots, active_root) = self.keys.root_ids();
        let standing = desk.standing().clone();
        let of_root = self.roots.standing();
        Ok(pb::HeldKeys {
            member: self.raft.me.0,
            root_key_ids: roots.into_iter().map(bytes).collect(),
            active_root_key_id: bytes(active_root),
            log_key_ids: kept.into_iter().map(bytes).collect(),
            active_log_key_id: bytes(active),
            oldest_record: log.oldest_record.map(bytes).unwrap_or_default(),
            small_values: distinct(log.metas),
            head: distinct(log.heads),
            snapshots: distinct(snapshots.into_iter().map(|snapshot| snapshot.key)),
            doing: standing.doing,
            failed: standing.failed,
            check: desk.checker.told(),
            root_doing: of_root.doing,
            root_failed: of_root.failed,
        })
    }

    async fn describe_keys_of(
        &self,
        member: MemberId,
        request: pb::DescribeKeysRequest,
    ) -> Result<pb::HeldKeys, Failure> {
        if member == self.raft.me {
            return self.describe_own_keys(request).await;
        }
        let mut client = self.raft.pool.client(member, Purpose::Calls)?;
        let answer = tokio::time::timeout(DESCRIBE_TIMEOUT, client.describe_keys(request)).await;
        let silent = |_| Failure::new(Kind::Timeout, format!("manager {member} is silent"));
        let held = answer.map_err(silent)??.into_inner();
        // Another member may answer at an address that moved.
        if held.member != member.0 {
            return Err(Failure::new(Kind::Unavailable, "another manager answers there"));
        }
        Ok(held)
    }

    pub(super) async fn rotate_log_keys(
        &self,
        caller: Caller,
        request: pb::RotateLogKeysRequest,
    ) -> Result<pb::RotateLogKeysResponse, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        let done = self.propose(caller, Some(mark), Command::RotateLogKeys).await;
        done.map_err(|failure| match failure.kind {
            Kind::Precondition => failure
                .hint("`secretctl cluster keys` shows how far each manager is")
                .hint("a manager that is gone for good: `secretctl cluster member rm`"),
            _ => failure,
        })?;
        let epoch = self.raft.machine.state().log_keys().wanted;
        Ok(pb::RotateLogKeysResponse { epoch })
    }

    pub(super) async fn get_cluster_keys(
        &self,
        _: Caller,
        request: pb::GetClusterKeysRequest,
    ) -> Result<pb::ClusterKeys, Failure> {
        self.barrier().await?;
        let cluster = self.cluster()?;
        let (root_rotation, removed_without_proof, ca_rotation, certificate_rotation) = {
            let state = self.raft.machine.state();
            let unproved = root_keys::unproved(&state);
            let certificates = certificate_rotation::rotation(&state);
            (root_keys::rotation(&state), unproved, ca_rotation::rotation(&state), certificates)
        };
        let (wanted, wanted_at, last, mut members, shredding) = {
            let state = self.raft.machine.state();
            let keys = state.log_keys();
            let members = state.members().iter().map(|(id, member)| {
                let MemberLogKey { epoch, key, since } = keys.of(*id);
                let hostname = state.node(member.node_id).map(|node| node.hostname.to_string());
                pb::MemberKeys {
                    member: id.0,
                    hostname: hostname.unwrap_or_default(),
                    address: member.address.clone(),
                    log_key_epoch: epoch,
                    log_key_id: key.map(bytes).unwrap_or_default(),
                    log_key_since: since.0,
                    ..pb::MemberKeys::default()
                }
            });
            let members = members.collect::<Vec<_>>();
            let shredding = shredding::count(state.shredding());
            (keys.wanted, keys.wanted_at, keys.last(), members, shredding)
        };
        let ask = pb::DescribeKeysRequest { verify: request.verify };
        let asked = members.iter().map(|m| self.describe_keys_of(MemberId(m.member), ask));
        let said = join_all(asked).await;
        for (member, said) in members.iter_mut().zip(said) {
            let failure = said.as_ref().err().map(|failure| failure.message.clone());
            member.held = said.ok();
            if let Some(check) = member.held.as_mut().and_then(|held| held.check.as_mut()) {
                self.compare_chain(check).await;
            }
            if let Some(rotation) = &root_rotation {
                member.root_waits_for = root_keys::waits_for(rotation, member, failure.as_deref());
            }
            member.waits_for = waits_for(member, wanted, failure);
        }
        Ok(pb::ClusterKeys {
            root_key_id: bytes(cluster.active_root),
            transit_key_id: bytes(cluster.current_transit),
            log_key_epoch: wanted,
            log_key_wanted_at: wanted_at.0,
            members,
            log_key_epoch_last: last,
            shredding,
            root_rotation,
            removed_without_proof,
            ca_rotation,
            certificate_rotation,
        })
    }

    /// Compares the link that a check ended with against this manager's own, where it has one.
    async fn compare_chain(&self, check: &mut pb::LogCheck) {
        if check.running || check.link.is_empty() {
            return;
        }
        match self.raft.link_at(check.link_at).await {
            Ok(link) if link[..] == check.link[..] => check.compared = true,
            Ok(_) => {
                check.compared = true;
                check.diverged =
                    format!("its log differs from the leader's at or before {}", check.link_at);
            }
            // Given up meanwhile: there is nothing to compare with.
            Err(_) => {}
        }
    }
}

/// What a rotation waits for at one manager; nothing if it has finished the one that is wanted.
fn waits_for(member: &pb::MemberKeys, wanted: u64, failure: Option<String>) -> String {
    if member.log_key_epoch >= wanted {
        return String::new();
    }
    match (&member.held, failure) {
        (Some(held), _) if !held.failed.is_empty() => {
            format!("it {}, which failed: {}", held.doing, held.failed)
        }
        (Some(held), _) if !held.doing.is_empty() => format!("it {}", held.doing),
        (Some(_), _) => "it is about to begin, or to give word".into(),
        (None, Some(why)) => format!("it does not answer ({why}); it rotates once it runs"),
        (None, None) => "it does not answer; it rotates once it runs".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_that_is_behind_says_what_it_waits_for() {
        let held = |doing: &str, failed: &str| pb::MemberKeys {
            held: Some(pb::HeldKeys {
                doing: doing.into(),
                failed: failed.into(),
                ..pb::HeldKeys::default()
            }),
            ..pb::MemberKeys::default()
        };
        assert_eq!(waits_for(&held("makes a new log key", ""), 0, None), "");
        assert_eq!(waits_for(&held("makes a new log key", ""), 1, None), "it makes a new log key");
        assert_eq!(
            waits_for(&held("makes a new log key", "no room"), 1, None),
            "it makes a new log key, which failed: no room"
        );
        assert!(waits_for(&held("", ""), 1, None).contains("about to"));
        let silent = pb::MemberKeys::default();
        let text = waits_for(&silent, 1, Some("manager 3 is silent".into()));
        assert_eq!(text, "it does not answer (manager 3 is silent); it rotates once it runs");
    }
}
