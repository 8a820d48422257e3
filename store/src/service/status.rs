//! The cluster's status: what is wrong first, then how it is.
//!
//! Answered by any manager, with or without a leader: when something is wrong is when it is asked.

use link::Failure;
use proto::id::{KeyId, MemberId, Timestamp};
use proto::identity::Caller;
use proto::pb;
use proto::task::{DesiredState, TaskState};
use state::object::{Cluster, NodeState};

use super::members::Found;
use super::slots::in_status;
use super::{Service, ca_rotation, certificate_rotation, now, releases, root_keys, shredding};
use crate::keys::recipients;

/// A disk with less room is a problem.
const DISK_LOW_BYTES: u64 = 1 << 30;

/// A certificate that ends sooner was not renewed in time.
const EXPIRY_NEAR_MS: u64 = 7 * 24 * 3600 * 1000;

/// A rotation of keys that takes longer waits for somebody.
const ROTATION_LONG_MS: u64 = 3600 * 1000;

pub(super) fn problem(severity: &str, message: impl Into<String>, hints: &[&str]) -> pb::Problem {
    let hints = hints.iter().map(|hint| (*hint).to_owned()).collect();
    pb::Problem { severity: severity.into(), message: message.into(), hints }
}

impl Service {
    pub(crate) async fn get_cluster_status(
        &self,
        _: Caller,
        _: pb::GetClusterStatusRequest,
    ) -> Result<pb::ClusterStatus, Failure> {
        let cluster = self.cluster()?;
        let Found { members, pending_releases, removed_by } = self.find_members().await;
        let leadership = *self.raft.leadership().borrow();
        let confirmed = self.raft.barrier().await.is_ok();
        let mut status = {
            let state = self.raft.machine.state();
            pb::ClusterStatus {
                realm: cluster.realm.as_bytes().to_vec().into(),
                incarnation: cluster.incarnation.0,
                created_at: cluster.created_at.0,
                leader: leadership.leader.filter(|_| confirmed).map_or(0, |id| id.0),
                term: leadership.term,
                applied_index: state.index(),
                answered_by: self.raft.me.0,
                members: Vec::new(),
                problems: object_problems(&state, now()),
                secrets: state.secrets().len() as u64,
                services: state.services().len() as u64,
                tasks: state.tasks().values().filter(|task| task.is_live()).count() as u64,
                nodes: state.nodes().len() as u64,
                payload_bytes: state.payload_bytes(),
                payload_quota_bytes: cluster.payload_quota_bytes,
                level: cluster.level.into(),
                autolock: recipients::locks(&cluster.recipients),
                recipients_generation: cluster.recipients_generation,
                unlock_key_id: recipients::unlock_key(&cluster.recipients)
                    .map(|id| id.as_bytes().to_vec().into())
                    .unwrap_or_default(),
                ca_digest: cluster.authority.digest.0.to_vec().into(),
                root_key_id: cluster.active_root.as_bytes().to_vec().into(),
                transit_key_id: cluster.current_transit.as_bytes().to_vec().into(),
                slots: cluster.recipients.iter().map(|slot| in_status(&cluster, slot)).collect(),
                root_rotation: root_keys::rotation(&state),
                unlock_key_readable: cluster.kept_unlock_key.is_some(),
                peers: Some(releases::in_status(&state, pending_releases)),
                ca_rotation: ca_rotation::rotation(&state),
                certificate_rotation: certificate_rotation::rotation(&state),
            }
        };
        let mut members = members;
        if !confirmed {
            for member in &mut members {
                member.leader = false;
            }
        }
        // A leader that a majority confirms to this manager is better than anybody's word.
        let mut problems = if confirmed || removed_by.is_empty() {
            member_problems(&members, confirmed)
        } else {
            vec![removal(self.raft.me, &members, &removed_by)]
        };
        problems.extend(locking_problems(&members, &cluster));
        problems.extend(slot_problems(&cluster));
        problems.extend(status.peers.iter().flat_map(|peers| peer_problems(peers, &members)));
        problems.extend(shredding::problems(&self.raft.machine.state(), &members));
        problems.append(&mut status.problems);
        if !status.autolock {
            problems.push(problem(
                "note",
                "managers open their own key files at start: the `file` slot is in use",
                &[
                    "whoever copies a manager's disk and its unlock seed reads everything; keep \
                   the seed on another mount, in a credential or on a TPM",
                    "or lock the managers: docs/operations/lock.md",
                ],
            ));
        }
        if status.unlock_key_readable {
            problems.push(problem(
                "note",
                "admins can read the unlock key back: it is kept under the root key",
                &["to end that: `secretctl cluster update --read-back off`"],
            ));
        }
        status.members = members;
        status.problems = problems;
        Ok(status)
    }
}

/// Rotations of the CA, or of certificates, that wait for somebody for long.
fn holders_problems(state: &state::State, at: Timestamp) -> Vec<pb::Problem> {
    let ca = state.ca_rotations().rotation.as_ref().map(|one| one.began_at);
    let certificates = state.certificate_rotations().rotation.as_ref().map(|one| one.began_at);
    let rotations = [
        ("CA", ca, state.ca_rotation_pending()),
        ("certificate", certificates, state.certificate_rotation_pending()),
    ];
    let is_long = |began: Timestamp| at.ms_since(began) > ROTATION_LONG_MS;
    let wait = rotations
        .into_iter()
        .filter(|(_, began, pending)| began.is_some_and(is_long) && !pending.is_empty());
    wait.map(|(what, _, pending)| {
        let count = pending.members.len() + pending.nodes.len() + pending.operators.len();
        let text = format!("a {what} rotation waits for {count} managers, nodes and operators");
        problem("warning", text, &["`secretctl cluster keys` names them"])
    })
    .collect()
}

/// Who has not followed the last change of the locking, and what that means.
fn locking_problems(members: &[pb::MemberInfo], cluster: &Cluster) -> Vec<pb::Problem> {
    let mut problems = Vec::new();
    for member in members {
        let name = format!("manager {} ({})", member.id, member.hostname);
        // Who is joining has no key file yet.
        let joins = member.state == pb::MemberState::Joining as i32;
        if !joins && member.key_file_generation < cluster.recipients_generation {
            let opens = match KeyId::try_from(&*member.unlock_key_id) {
                Ok(id) => format!("with the unlock key {id}"),
                Err(_) if member.key_file_generation == 0 => "as when it joined".to_owned(),
                // Which unlock keys there were is forgotten with the last of them.
                Err(_) if locks_by_others(cluster) => "with what opened it then".to_owned(),
                Err(_) => "by itself, with its seed".to_owned(),
            };
            let text = if member.reachable {
                format!("{name} has not sealed its key file anew yet")
            } else {
                format!("{name} was down when the locking changed: it still opens {opens}")
            };
            let hint = "once it has started, it follows by itself; see its log if it does not";
            problems.push(problem("warning", text, &[hint]));
        }
        if !member.unlock_seed_left.is_empty() {
            let text = format!("{name} could not remove its seed: {}", member.unlock_seed_left);
            let hint = "remove it by hand: it opens older copies of the key file";
            problems.push(problem("warning", text, &[hint]));
        }
    }
    problems
}

fn locks_by_others(cluster: &Cluster) -> bool {
    recipients::locks(&cluster.recipients) && recipients::unlock_key(&cluster.recipients).is_none()
}

/// Who asked in a manager's name, and who waits for consent.
fn peer_problems(peers: &pb::PeersStatus, members: &[pb::MemberInfo]) -> Vec<pb::Problem> {
    let name = |id: u64| match members.iter().find(|member| member.id == id) {
        Some(member) => format!("manager {id} ({})", member.hostname),
        None => format!("manager {id} (removed)"),
    };
    let alarm = |alarm: &pb::ReleaseAlarm| {
        let name = name(alarm.member);
        let what = match alarm.reason.as_str() {
            "stale" => format!(
                "a disk of {name} asked to be unlocked that is not its last one: it is an older \
                 copy, or another copy was let in"
            ),
            "alive" => format!("a copy of the disk of {name} asked to be unlocked while it ran"),
            "let-in" => {
                format!("{name} ran when another disk of it was unlocked: a copy has all keys")
            }
            _ => format!("a disk of {name} asked to be unlocked"),
        };
        let times = if alarm.count == 1 { "once" } else { "more than once" };
        let text = match alarm.from.as_str() {
            "" => what,
            from => format!("{what}; it came from {from}, {times}"),
        };
        let hints = [
            "somebody has that disk, or it was restored: docs/operations/peers.md".to_owned(),
            format!("once you have seen to it: `secretctl cluster alarm clear {}`", alarm.member),
        ];
        let hints: Vec<&str> = hints.iter().map(String::as_str).collect();
        problem("error", text, &hints)
    };
    let waits = |waits: &pb::PendingRelease| {
        let text =
            format!("{} waits to be unlocked; it asks from {}", name(waits.member), waits.from);
        let hints = [
            format!(
                "if you know that it was restarted, and that this is its host: `secretctl cluster \
                 approve {} --from {}`",
                waits.member,
                releases::host_of(&waits.from)
            ),
            "if not, somebody may have its disk: docs/operations/peers.md".to_owned(),
        ];
        let hints: Vec<&str> = hints.iter().map(String::as_str).collect();
        problem("warning", text, &hints)
    };
    let alarms = peers.alarms.iter().map(alarm);
    alarms.chain(peers.pending.iter().map(waits)).collect()
}

/// Slots that nobody has opened anything with since they were added.
fn slot_problems(cluster: &Cluster) -> impl Iterator<Item = pb::Problem> {
    let unproved = cluster.recipients.iter().filter(|slot| !cluster.slot_works(slot));
    unproved.map(|slot| {
        let id = recipients::id_of(slot).map(|id| id.to_string()).unwrap_or_default();
        let text = format!("the {} slot {id} was never opened since it was added", slot.kind);
        let hint =
            format!("try it while a manager serves: `secretctl cluster unlock-slot prove {id}`");
        problem("warning", text, &[&hint])
    })
}

fn object_problems(state: &state::State, at: Timestamp) -> Vec<pb::Problem> {
    let mut problems = Vec::new();
    if let Some(cluster) = state.cluster()
        && state.payload_bytes() > cluster.payload_quota_bytes / 10 * 9
    {
        let text = "more than nine tenths of the payload quota are used";
        problems.push(problem("warning", text, &["remove secrets that nothing uses"]));
    }
    let down = state.nodes().values().filter(|node| node.state == NodeState::Down);
    for node in down {
        let text = format!("node {} is down", node.hostname);
        problems.push(problem("warning", text, &["its tasks were placed elsewhere"]));
    }
    let pending = state.tasks().iter().filter(|(_, task)| {
        task.status.state == TaskState::Pending && task.desired == DesiredState::Running
    });
    for (_, task) in pending.take(10) {
        let text =
            format!("task {}.{} is pending: {}", task.service_name, task.slot, task.status.message);
        problems.push(problem("warning", text, &[]));
    }
    let pending = state.log_keys_pending();
    if !pending.is_empty() && at.ms_since(state.log_keys().wanted_at) > ROTATION_LONG_MS {
        let who: Vec<_> = pending.iter().map(ToString::to_string).collect();
        let text = format!("a log key rotation waits for manager {}", who.join(", "));
        let hint = "`secretctl cluster keys` says what for";
        problems.push(problem("warning", text, &[hint]));
    }
    let rotation = state.root_keys().rotation.as_ref();
    let is_long = rotation.is_some_and(|one| at.ms_since(one.began_at) > ROTATION_LONG_MS);
    let pending = state.root_rotation_pending();
    if is_long && !pending.is_empty() {
        let who: Vec<_> = pending.iter().map(ToString::to_string).collect();
        let text = format!("a root key rotation waits for manager {}", who.join(", "));
        let hint = "`secretctl cluster keys` says what for";
        problems.push(problem("warning", text, &[hint]));
    }
    problems.extend(holders_problems(state, at));
    let lapsing = state.certificates().values().filter(|certificate| {
        !certificate.revoked
            && certificate.superseded_at.is_none()
            && certificate.not_after.ms_since(at) < EXPIRY_NEAR_MS
    });
    for certificate in lapsing.take(10) {
        let newer = state.certificates().values().any(|other| {
            other.subject == certificate.subject && other.not_after > certificate.not_after
        });
        if !newer {
            let text = format!("the certificate of {} ends soon", certificate.subject);
            let hint = "it renews by itself while its owner reaches a manager";
            problems.push(problem("warning", text, &[hint]));
        }
    }
    problems
}

fn name_of(member: &pb::MemberInfo) -> String {
    format!("manager {} ({}, {})", member.id, member.hostname, member.address)
}

/// This manager was removed, as `by` say. What else it knows of the others is old.
fn removal(me: MemberId, members: &[pb::MemberInfo], by: &[MemberId]) -> pb::Problem {
    let says = |id: &MemberId| match members.iter().find(|member| member.id == id.0) {
        _ if *id == me => "its own log".to_owned(),
        Some(member) => name_of(member),
        None => format!("manager {id}"),
    };
    let by = by.iter().map(says).collect::<Vec<_>>().join(", ");
    let text = format!("this manager, {me}, was removed from the cluster; it is said by {by}");
    let hints = [
        "it takes part no more; what is listed here is what it knew",
        "to use this machine again: `secretctl cluster leave --force` here, then join it anew",
        "docs/operations/evicted-manager.md",
    ];
    problem("error", text, &hints)
}

fn member_problems(members: &[pb::MemberInfo], confirmed: bool) -> Vec<pb::Problem> {
    let mut problems = Vec::new();
    let voter = pb::MemberState::Voter as i32;
    let voters: Vec<_> = members.iter().filter(|member| member.state == voter).collect();
    let reachable = voters.iter().filter(|member| member.reachable).count();
    let needed = voters.len() / 2 + 1;
    if reachable < needed {
        let missing: Vec<_> =
            voters.iter().filter(|member| !member.reachable).map(|m| name_of(m)).collect();
        let text = format!(
            "no majority: {reachable} of {} managers reachable, {needed} needed; missing: {}",
            voters.len(),
            missing.join(", ")
        );
        let hints = ["start one of them", "docs/operations/lost-quorum.md"];
        problems.push(problem("error", text, &hints));
    } else if !confirmed {
        let hints = ["an election may be under way: look again in a second"];
        problems.push(problem("error", "there is no leader", &hints));
    }
    for member in members {
        if !member.reachable && reachable >= needed {
            let text = format!("{} is not reachable", name_of(member));
            let hint = "if it is gone for good: `secretctl cluster replace DEAD NEW`";
            problems.push(problem("warning", text, &[hint]));
        }
        if member.reachable && member.disk_free_bytes > 0 && member.disk_free_bytes < DISK_LOW_BYTES
        {
            let text = format!("the disk of {} is nearly full", name_of(member));
            problems.push(problem("warning", text, &["docs/operations/disk-full.md"]));
        }
    }
    if voters.len() == 2 {
        let text = "two managers survive no failure of one: join a third";
        problems.push(problem("warning", text, &["`secretctl cluster join-token manager`"]));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, reachable: bool) -> pb::MemberInfo {
        pb::MemberInfo {
            id,
            hostname: format!("m{id}"),
            address: format!("10.0.0.{id}:7443"),
            state: pb::MemberState::Voter.into(),
            reachable,
            ..pb::MemberInfo::default()
        }
    }

    #[test]
    fn who_was_removed_is_told_by_whom_and_what_to_do() {
        let members = [member(1, false), member(4, true), member(9, false)];
        let problem = removal(MemberId(4), &members, &[MemberId(1), MemberId(9)]);
        assert_eq!(
            problem.message,
            "this manager, 4, was removed from the cluster; it is said by manager 1 (m1, \
             10.0.0.1:7443), manager 9 (m9, 10.0.0.9:7443)"
        );
        assert!(problem.hints.iter().any(|hint| hint.contains("leave --force")));
        let problem = removal(MemberId(4), &members, &[MemberId(4)]);
        assert!(problem.message.ends_with("it is said by its own log"), "{}", problem.message);
    }

    #[test]
    fn a_majority_is_missing_below_half_and_one() {
        let text = |reachable: [bool; 3]| {
            let members =
                [1, 2, 3].map(|id| member(id, reachable[usize::try_from(id - 1).unwrap()]));
            member_problems(&members, false).remove(0).message
        };
        assert_eq!(text([true, true, false]), "there is no leader");
        let missing = text([true, false, false]);
        assert!(missing.starts_with("no majority: 1 of 3 managers reachable, 2 needed"));
        assert!(missing.contains("manager 2 (m2, 10.0.0.2:7443), manager 3"), "{missing}");
    }
}
