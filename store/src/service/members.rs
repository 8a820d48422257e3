//! Managers: what they say of themselves, removing, replacing, moving one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use link::Failure;
use proto::id::MemberId;
use proto::identity::{Caller, Subject};
use proto::{Kind, pb};
use state::command::Command;
use state::object::MemberState;

use super::{Service, mark, no_leader, refused, render};
use crate::raft::{Purpose, Raft};

/// Time for a manager to answer what it is: it is on the same network.
const DESCRIBE_TIMEOUT: Duration = Duration::from_millis(700);

/// How long what a member said counts as fresh.
const FRESH: Duration = Duration::from_secs(3);

/// What members reported to this manager, and when.
#[derive(Clone, Default)]
pub(crate) struct MemberWatch(Arc<Mutex<BTreeMap<MemberId, (Instant, pb::DescribeResponse)>>>);

impl MemberWatch {
    /// Notes what a member says of itself.
    pub(crate) fn note(&self, member: MemberId, said: pb::DescribeResponse) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(member, (Instant::now(), said));
    }

    /// What members said within the last seconds.
    pub(crate) fn fresh(&self) -> BTreeMap<MemberId, pb::DescribeResponse> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = known.iter().filter(|(_, (at, _))| at.elapsed() < FRESH);
        fresh.map(|(member, (_, said))| (*member, said.clone())).collect()
    }
}

/// The members as they were found.
pub(super) struct Found {
    pub(super) members: Vec<pb::MemberInfo>,
    /// What waits for an operator's consent, by the leader's word.
    pub(super) pending_releases: Vec<pb::PendingRelease>,
    /// Members who refuse this manager because the cluster removed it. Each showed the certificate
    /// of a manager of this cluster before it was heard. It is their word: nothing but telling
    /// people may follow from it.
    pub(super) removed_by: Vec<MemberId>,
}

/// Asks a member what it is.
pub(crate) async fn describe(
    raft: &Raft,
    member: MemberId,
) -> Result<pb::DescribeResponse, Failure> {
    let mut client = raft.pool.client(member, Purpose::Calls)?;
    let call = client.describe(pb::DescribeRequest {});
    let answer = tokio::time::timeout(DESCRIBE_TIMEOUT, call).await;
    let answer =
        answer.map_err(|_| Failure::new(Kind::Timeout, format!("manager {member} is silent")))?;
    Ok(answer?.into_inner())
}

impl Service {
    /// What this manager says of itself.
    pub(crate) fn describe_self(&self) -> pb::DescribeResponse {
        pb::DescribeResponse {
            member: self.raft.me.0,
            version: env!("CARGO_PKG_VERSION").into(),
            level_max: state::command::LEVEL.into(),
            disk_free_bytes: self.disk_free_bytes(),
            memory_protection: self.local.memory_protection.clone(),
            unlocked_by: self.local.unlocked_by.clone(),
            applied_index: self.raft.applied_index(),
            flush_p99_micros: self.raft.sync_p99_micros(),
            unlock_seed_left: self.unlock_seed_left(),
            pending_releases: self.releases.pending(),
        }
    }

    /// Every member as it is known, with what those within reach say of themselves.
    pub(super) async fn describe_members(&self) -> Vec<pb::MemberInfo> {
        self.find_members().await.members
    }

    /// Who says that this manager was removed: the log that it applied, or other managers.
    pub(crate) async fn removed_by(&self) -> Vec<MemberId> {
        self.find_members().await.removed_by
    }

    /// Every member as it is known, and what those within reach say, of this manager too. Who was
    /// killed soon after it joined knows others by its log alone, and has applied nothing yet: they
    /// are asked, too, for their word of this manager.
    pub(super) async fn find_members(&self) -> Found {
        let me = self.raft.me;
        let (mut members, removed_here): (Vec<_>, _) = {
            let state = self.raft.machine.state();
            let members = state.members().iter();
            let members = members.map(|(id, member)| render::member(&state, *id, member));
            (members.collect(), state.is_removed_member(me))
        };
        let leader = self.raft.leadership().borrow().leader;
        let replication = self.raft.replication();
        let asked = members.iter().map(|member| async {
            let id = MemberId(member.id);
            if id == me {
                return Ok(self.describe_self());
            }
            describe(&self.raft, id).await
        });
        let known = |id: &MemberId| members.iter().any(|member| member.id == id.0);
        let strangers = self.raft.members().into_iter().filter(|id| *id != me && !known(id));
        let of_strangers = strangers.map(|id| async move {
            let said = describe(&self.raft, id).await;
            said.is_err_and(|failure| failure.kind == Kind::Evicted).then_some(id)
        });
        let (said, of_strangers) = tokio::join!(join_all(asked), join_all(of_strangers));
        let mut removed_by: Vec<_> = removed_here.then_some(me).into_iter().collect();
        removed_by.extend(of_strangers.into_iter().flatten());
        let mut pending_releases = Vec::new();
        for (member, said) in members.iter_mut().zip(said) {
            let id = MemberId(member.id);
            if said.as_ref().is_err_and(|failure| failure.kind == Kind::Evicted) {
                removed_by.push(id);
            }
            // Another member may answer at an address that moved.
            let said = said.ok().filter(|said| said.member == id.0);
            member.leader = leader == Some(id);
            member.matched_index = replication.get(&id).map_or(0, |r| r.matched_index);
            if let Some(said) = said {
                if member.leader {
                    pending_releases = said.pending_releases;
                }
                member.reachable = true;
                member.version = said.version;
                member.level_max = said.level_max;
                member.disk_free_bytes = said.disk_free_bytes;
                member.memory_protection = said.memory_protection;
                member.unlocked_by = said.unlocked_by;
                member.unlock_seed_left = said.unlock_seed_left;
                member.matched_index = member.matched_index.max(said.applied_index);
            }
        }
        Found { members, pending_releases, removed_by }
    }

    pub(super) fn member_info(&self, id: MemberId) -> Result<pb::MemberInfo, Failure> {
        let state = self.raft.machine.state();
        let member = state.member(id).ok_or_else(|| no_such_member(id))?;
        Ok(render::member(&state, id, member))
    }

    /// Whether the members that vote keep a reachable majority without one of them.
    async fn keeps_majority_without(&self, gone: MemberId) -> bool {
        let members = self.describe_members().await;
        let voter = pb::MemberState::Voter as i32;
        let left = members.iter().filter(|m| m.state == voter && m.id != gone.0);
        let (count, reachable) =
            left.fold((0, 0), |(n, up), m| (n + 1, up + usize::from(m.reachable)));
        count > 0 && reachable > count / 2
    }

    async fn is_reachable(&self, id: MemberId) -> bool {
        id == self.raft.me || describe(&self.raft, id).await.is_ok_and(|said| said.member == id.0)
    }

    pub(super) async fn remove_member(
        &self,
        caller: Caller,
        request: pb::RemoveMemberRequest,
    ) -> Result<pb::MemberInfo, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        let id = MemberId(request.member);
        let info = self.member_info(id)?;
        let voters = self.raft.voters();
        if voters.contains(&id) && voters.len() == 1 {
            return Err(Failure::new(Kind::Precondition, "the last manager cannot be removed")
                .hint("join another manager first, or stop this one and delete its data"));
        }
        if voters.contains(&id) && !self.keeps_majority_without(id).await {
            return Err(Failure::new(
                Kind::Precondition,
                format!("without manager {id} the others would have no majority"),
            )
            .hint("start the managers that are down first: `secretctl cluster status`"));
        }
        if id == self.raft.me {
            // Another one has to take this one out; the call finds it.
            self.raft.hand_over().await;
            return Err(no_leader());
        }
        if request.lost && self.is_reachable(id).await {
            return Err(Failure::new(Kind::Precondition, format!("manager {id} is not lost"))
                .because("it answers")
                .hint("`secretctl cluster leave` there takes it out, and destroys its keys"));
        }
        // Nobody but itself can give word that its keys are destroyed.
        let destroys =
            request.leaving && matches!(caller, Caller::Local { member, .. } if member == id);
        // The record goes first: from then on nobody accepts its certificate, and the id is spent.
        let command = Command::RemoveMember { member: id, destroys: Some(destroys) };
        self.propose(caller, Some(mark), command).await?;
        self.raft.remove(id).await.map_err(|error| membership_failed(&error))?;
        self.cut_member(id);
        tokio::time::sleep(self.raft.profile.lease()).await;
        Ok(info)
    }

    pub(crate) fn cut_member(&self, id: MemberId) {
        self.connections.cut(|subject| {
            matches!(subject, Subject::Manager(_, member) | Subject::Boot(member) if member == id)
        });
    }

    /// Cuts what began with certificates that were taken back, and removed members. Certificates that this
    /// manager does not know may be newer than its state.
    pub(crate) fn cut_revoked(&self) {
        let state = self.raft.machine.state();
        self.connections.cut_certified(|shown| match shown.identity.subject {
            Subject::Manager(_, member) | Subject::Boot(member)
                if state.is_removed_member(member) =>
            {
                true
            }
            _ => state.certificate(shown.serial).is_some_and(|known| known.revoked),
        });
    }

    pub(super) async fn replace_member(
        &self,
        caller: Caller,
        request: pb::ReplaceMemberRequest,
    ) -> Result<pb::ReplaceMemberResponse, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        let (dead, new) = (MemberId(request.dead), MemberId(request.new));
        let removed = self.member_info(dead)?;
        self.member_info(new)?;
        if dead == new || dead == self.raft.me {
            return Err(Failure::new(Kind::Invalid, "a manager cannot be replaced by itself")
                .hint("name the dead manager first, then the one that takes its place"));
        }
        if !self.raft.members().contains(&new) {
            return Err(Failure::new(
                Kind::Precondition,
                format!("manager {new} has not caught up with the log yet"),
            )
            .hint("try again in a moment: `secretctl cluster status` shows how far it is"));
        }
        if self.raft.voters().contains(&new) {
            self.raft.remove(dead).await.map_err(|error| membership_failed(&error))?;
        } else {
            self.raft.replace(dead, new).await.map_err(|error| membership_failed(&error))?;
        }
        self.propose(
            caller,
            Some(mark),
            Command::RemoveMember { member: dead, destroys: Some(false) },
        )
        .await?;
        let voter = Command::SetMemberState { member: new, state: MemberState::Voter };
        self.propose(self.cluster_caller(), None, voter).await?;
        self.cut_member(dead);
        Ok(pb::ReplaceMemberResponse {
            removed: Some(removed),
            added: Some(self.member_info(new)?),
        })
    }

    pub(super) async fn set_member_address(
        &self,
        caller: Caller,
        request: pb::SetMemberAddressRequest,
    ) -> Result<pb::MemberInfo, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        let id = MemberId(request.member);
        let info = self.member_info(id)?;
        check_address(&request.address)?;
        let command = Command::SetMemberAddress { member: id, address: request.address.clone() };
        self.propose(caller, Some(mark), command).await?;
        self.raft
            .set_address(id, &request.address, &info.node_id)
            .await
            .map_err(|error| membership_failed(&error))?;
        self.member_info(id)
    }
}

/// An address is a host and a port.
pub(crate) fn check_address(address: &str) -> Result<(), Failure> {
    let bad = || {
        Failure::new(Kind::Invalid, format!("`{address}` is not an address"))
            .hint("expected HOST:PORT, as other machines reach it")
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    let port_fits = port.parse::<u16>().is_ok_and(|port| port > 0);
    if host.is_empty() || !port_fits || address.len() > proto::limits::ADDRESS_BYTES_MAX {
        return Err(bad());
    }
    Ok(())
}

fn no_such_member(id: MemberId) -> Failure {
    refused(&state::Refusal::NotFound { what: "manager".into(), id: id.to_string() })
        .hint("`secretctl cluster member ls` lists them")
}

fn membership_failed(error: &std::io::Error) -> Failure {
    tracing::warn!(%error, "membership_not_changed");
    Failure::new(Kind::Unavailable, "the members could not be changed")
        .because(error.to_string())
        .hint("another change may be under way: try again in a moment")
}
