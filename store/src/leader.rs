//! What only the leader does: plan, judge liveness, commit what managers report, follow up members.
//!
//! The duties start when an entry of the leader's own term is applied and stop when it leads no
//! more. All decisions are pure functions of the state (`state::plan`, `state::liveness`) and each
//! proposal names the revisions it was computed from: a duty that runs a moment too long does no
//! harm. Nothing is remembered here that a new leader could not work out again.

mod shredding;
mod transit;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use link::Failure;
use proto::id::{MemberId, NodeId, Serial, ServiceId, TaskId, Timestamp};
use proto::identity::Caller;
use proto::limits::{MOVES_MAX, NODE_NEWS_MAX};
use proto::task::TaskStatus;
use proto::{Kind, pb};
use state::command::{Command, Denial, NodeStatuses};
use state::object::{Blob, MemberState, NodeReport, SlotRecipient};
use state::{Change, Observed, Outcome, Scope};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

#[cfg(test)]
pub(crate) use self::transit::{TransitStep, transit_step};
use crate::roots;
use crate::service::{Service, describe, now};

/// How often the duties look around though nothing changed, and how long one of them, planning, has
/// before the others have their turn.
const TICK: Duration = Duration::from_millis(500);

/// How long a member's report counts: a few missed ones are no silence.
const REPORT_FRESH: Duration = Duration::from_secs(4);

/// How far behind a learner may be when it gets its vote, in entries.
const LAG_MAX: u64 = 1_000;

/// Pause after a plan of which nothing took effect: should planning and applying ever disagree, the
/// log must not fill with it. Then the other duties have their turn.
const STALE_PAUSE: Duration = Duration::from_millis(10);

/// Pause after a proposal that failed: an election may be under way.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// How long a new leader looks for the active root key.
const ROOT_KEY_WITHIN: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Heard {
    /// Nodes whose sessions each member holds, and when it said so.
    in_touch: BTreeMap<MemberId, (Instant, BTreeSet<NodeId>)>,
    out_of_touch: BTreeMap<NodeId, Timestamp>,
    reports: BTreeMap<NodeId, NodeReport>,
}

/// What the leader hears from the managers, itself included.
#[derive(Default)]
pub(crate) struct Inbox {
    heard: Mutex<Heard>,
    news: Notify,
}

fn malformed(what: &str) -> Failure {
    Failure::new(Kind::Invalid, format!("malformed report: {what}"))
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a report: what belongs in the log is committed before this returns.
    pub(crate) async fn take(
        &self,
        service: &Service,
        from: MemberId,
        report: pb::ReportRequest,
    ) -> Result<(), Failure> {
        let nodes = |texts: &[String]| -> Result<BTreeSet<NodeId>, Failure> {
            texts.iter().map(|text| text.parse().map_err(|_| malformed("node id"))).collect()
        };
        let in_touch = nodes(&report.ready_nodes)?;
        let gone = nodes(&report.gone_nodes)?;
        {
            let mut heard = self.lock();
            for node in &in_touch {
                heard.out_of_touch.remove(node);
            }
            heard.in_touch.insert(from, (Instant::now(), in_touch));
            let known: BTreeSet<_> =
                heard.in_touch.values().flat_map(|(_, nodes)| nodes.iter().copied()).collect();
            for node in gone.difference(&known) {
                heard.out_of_touch.entry(*node).or_insert_with(now);
            }
            for said in &report.reports {
                let node = said.node_id.parse().map_err(|_| malformed("node id"))?;
                heard.reports.insert(
                    node,
                    NodeReport {
                        message: said.message.clone(),
                        agent_version: said.agent_version.clone(),
                        has_engine: crate::report::has_engine(&said.runtimes),
                    },
                );
            }
        }
        self.news.notify_one();
        let facts = Acknowledged::of(&report)?;
        let log_key = log_key(&report)?;
        let opened = Blob(report.opened_slot.clone());
        let held = root_keys(&report)?;
        let used = used_certificates(&report)?;
        if let Some(said) = report.reporter {
            service.members.note(from, said);
        }
        commit_statuses(service, report.statuses).await?;
        commit_denials(service, report.denials).await?;
        facts.commit(service, from).await?;
        commit_root_keys(service, from, &held).await?;
        commit_log_key(service, from, log_key).await?;
        commit_moves(service, used).await?;
        commit_opened_slot(service, from, opened).await
    }

    /// What is known of the nodes' sessions.
    fn observed(&self, leading_since: Timestamp) -> Observed {
        let heard = self.lock();
        let fresh = heard.in_touch.values().filter(|(at, _)| at.elapsed() < REPORT_FRESH);
        Observed {
            leading_since,
            in_touch: fresh.flat_map(|(_, nodes)| nodes.iter().copied()).collect(),
            out_of_touch: heard.out_of_touch.clone(),
            reports: heard.reports.clone(),
        }
    }

    /// Nodes that have a session, and with which member.
    pub(crate) fn forget_all(&self) {
        *self.lock() = Heard::default();
    }
}

async fn commit_statuses(
    service: &Service,
    statuses: Vec<pb::NodeStatuses>,
) -> Result<(), Failure> {
    let mut reports = Vec::with_capacity(statuses.len());
    for of_node in statuses {
        let node_id = of_node.node_id.parse().map_err(|_| malformed("node id"))?;
        let statuses = of_node.statuses.into_iter().map(TaskStatus::try_from);
        let statuses = statuses.collect::<Result<_, _>>().map_err(|_| malformed("status"))?;
        reports.push(NodeStatuses { node_id, statuses });
    }
    for command in Command::report_tasks(reports) {
        service.propose(service.cluster_caller(), None, command).await?;
    }
    Ok(())
}

async fn commit_denials(service: &Service, denials: Vec<pb::Denials>) -> Result<(), Failure> {
    let denials = denials.into_iter().map(|denial| {
        let caller: Caller = minicbor::decode(&denial.caller).map_err(|_| malformed("caller"))?;
        Ok(Denial { caller, action: denial.action, count: denial.count })
    });
    let denials: Vec<_> = denials.collect::<Result<_, Failure>>()?;
    if denials.is_empty() {
        return Ok(());
    }
    let caller = service.cluster_caller();
    service.propose(caller, None, Command::RecordDenials(denials)).await.map(|_| ())
}

/// What a member says it holds durably.
struct Acknowledged {
    root: Option<proto::id::KeyId>,
    key_file_generation: u64,
    level_max: u16,
}

impl Acknowledged {
    fn of(report: &pb::ReportRequest) -> Result<Self, Failure> {
        let root = match report.root_key_id.as_ref() {
            [] => None,
            id => Some(id.try_into().map_err(|_| malformed("key id"))?),
        };
        let level = report.reporter.as_ref().map_or(0, |said| said.level_max);
        Ok(Self {
            root,
            key_file_generation: report.key_file_generation,
            level_max: u16::try_from(level).unwrap_or(u16::MAX),
        })
    }

    async fn commit(self, service: &Service, member: MemberId) -> Result<(), Failure> {
        let Some(root) = self.root else { return Ok(()) };
        let known = {
            let state = service.raft.machine.state();
            state.member(member).is_none_or(|member| {
                member.acknowledged_root == Some(root)
                    && member.key_file_generation == self.key_file_generation
                    && member.level_max == self.level_max
            })
        };
        if known {
            return Ok(());
        }
        let command = Command::AcknowledgeKeys {
            member,
            root,
            key_file_generation: self.key_file_generation,
            level_max: self.level_max,
        };
        service.propose(service.cluster_caller(), None, command).await.map(|_| ())
    }
}

/// The log key that a member gives word of, and for which rotation.
fn log_key(report: &pb::ReportRequest) -> Result<Option<(u64, proto::id::KeyId)>, Failure> {
    match report.log_key_id.as_ref() {
        [] => Ok(None),
        id => {
            let id = id.try_into().map_err(|_| malformed("key id"))?;
            Ok(Some((report.log_key_epoch, id)))
        }
    }
}

async fn commit_log_key(
    service: &Service,
    member: MemberId,
    word: Option<(u64, proto::id::KeyId)>,
) -> Result<(), Failure> {
    let Some((epoch, key)) = word else { return Ok(()) };
    let known = {
        let state = service.raft.machine.state();
        let known = state.log_keys().of(member);
        state.member(member).is_none() || (known.epoch, known.key) == (epoch, Some(key))
    };
    if known {
        return Ok(());
    }
    let command = Command::AcknowledgeLogKey { member, epoch, key };
    let outcome = service.propose_raw(service.cluster_caller(), None, command).await?;
    if let Err(refusal) = outcome {
        // Nothing else of the report is held up by it.
        tracing::warn!(%member, %refusal, "log_key_word_refused");
    }
    Ok(())
}

/// The root keys that a member holds; none if it does not say.
fn root_keys(report: &pb::ReportRequest) -> Result<BTreeSet<proto::id::KeyId>, Failure> {
    let ids = report.held_root_key_ids.iter();
    ids.map(|id| id.as_ref().try_into().map_err(|_| malformed("key id"))).collect()
}

/// A member holds the root key that is rotated in, or the one that is rotated out no longer.
async fn commit_root_keys(
    service: &Service,
    member: MemberId,
    held: &BTreeSet<proto::id::KeyId>,
) -> Result<(), Failure> {
    let news = roots::news_of(&service.raft.machine.state(), member, held);
    let Some(command) = news else { return Ok(()) };
    let outcome = service.propose_raw(service.cluster_caller(), None, command).await?;
    if let Err(refusal) = outcome {
        // The rotation went on meanwhile; nothing else of the report is held up by it.
        tracing::debug!(%member, %refusal, "root_key_word_refused");
    }
    Ok(())
}

/// Certificates that a member saw in use.
fn used_certificates(report: &pb::ReportRequest) -> Result<Vec<Serial>, Failure> {
    let serials = report.used_certificates.iter().take(MOVES_MAX);
    let serial = |bytes: &bytes::Bytes| {
        let bytes = bytes.as_ref().try_into().map_err(|_| malformed("serial number"))?;
        Ok(Serial::from_bytes(bytes))
    };
    serials.map(serial).collect()
}

/// Certificates of the CA that is rotated in, or of the rotation of certificates, are in use.
async fn commit_moves(service: &Service, mut used: Vec<Serial>) -> Result<(), Failure> {
    {
        let state = service.raft.machine.state();
        used.retain(|serial| state.certificate(*serial).is_some_and(|kept| state.is_move(kept)));
    }
    if used.is_empty() {
        return Ok(());
    }
    service.propose(service.cluster_caller(), None, Command::NoteMoves(used)).await.map(|_| ())
}

/// An operator opened a member's key file with a slot: it counts as working from now on, if it did
/// not yet.
async fn commit_opened_slot(
    service: &Service,
    member: MemberId,
    public_key: Blob,
) -> Result<(), Failure> {
    let is_news = {
        let state = service.raft.machine.state();
        state.cluster().is_some_and(|cluster| {
            let mut slots = cluster.recipients.iter();
            let slot = slots.find(|slot| slot.public_key == public_key);
            let is_own = |kind: &str| kind == SlotRecipient::FILE;
            let slot = slot.filter(|slot| !is_own(&slot.kind));
            slot.is_some_and(|slot| cluster.record_of(slot).opened_at.is_none())
        })
    };
    if !is_news {
        return Ok(());
    }
    let command = Command::ProveSlot { public_key };
    let outcome = service.propose_raw(service.cluster_caller(), None, command).await?;
    if let Err(refusal) = outcome {
        tracing::warn!(%member, %refusal, "opened_slot_refused");
    }
    Ok(())
}

/// The leader's duties, for as long as this manager runs.
pub(crate) async fn duties(service: Arc<Service>, inbox: Arc<Inbox>, stop: CancellationToken) {
    let mut leadership = service.raft.leadership();
    loop {
        let leading = leadership.wait_for(|now| now.leading);
        tokio::select! {
            () = stop.cancelled() => return,
            leading = leading => if leading.is_err() { return },
        }
        tracing::info!(raft.term = leadership.borrow().term, "leadership_taken");
        inbox.forget_all();
        let duty = Duty {
            service: service.clone(),
            inbox: inbox.clone(),
            leading_since: now(),
            no_room_told: AtomicBool::new(false),
        };
        let lost = async { drop(leadership.wait_for(|now| !now.leading).await) };
        tokio::select! {
            () = stop.cancelled() => return,
            () = lost => tracing::info!("leadership_lost"),
            () = lead(&service, &duty) => {}
        }
    }
}

/// The duties, once the active root key is held: without it nothing can be wrapped. Who cannot get it
/// lets another lead.
async fn lead(service: &Service, duty: &Duty) {
    if !service.roots.holds_active(ROOT_KEY_WITHIN).await {
        tracing::warn!("leader_without_root_key");
        return service.raft.hand_over().await;
    }
    tokio::join!(duty.perform(), service.roots.lead());
}

struct Duty {
    service: Arc<Service>,
    inbox: Arc<Inbox>,
    leading_since: Timestamp,
    no_room_told: AtomicBool,
}

/// What to plan for next.
#[derive(Default)]
struct Agenda {
    everything: bool,
    services: BTreeSet<ServiceId>,
}

impl Agenda {
    fn add(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Replan(Some(service)) => {
                    self.services.insert(*service);
                }
                Change::Replan(None) => self.everything = true,
                _ => {}
            }
        }
    }

    /// What is next in a turn that began so long ago. Once it has been a tick the rest stays: where
    /// services come and go all the time there is always something to plan.
    fn take(&mut self, elapsed: Duration) -> Option<Scope> {
        if elapsed >= TICK {
            return None;
        }
        let agenda = std::mem::take(self);
        if agenda.everything {
            return Some(Scope::Everything);
        }
        (!agenda.services.is_empty()).then_some(Scope::Services(agenda.services))
    }
}

impl Duty {
    async fn perform(&self) {
        let mut changes = self.service.raft.machine.changes();
        let mut agenda = Agenda { everything: true, ..Agenda::default() };
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Kept over whatever else happens in between: what waits for time waits for nothing else.
        let mut wake_at: Option<Timestamp> = None;
        loop {
            let next = self.plan(&mut agenda, &mut changes).await;
            wake_at =
                wake_at.map_or(next, |known| Some(next.map_or(known, |next| next.min(known))));
            let timer = async {
                match wake_at {
                    Some(at) => tokio::time::sleep(until(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // In order of how seldom they are due, so that none waits for one that always is. After
                // a turn that left something to plan the tick is due, so there is no waiting.
                biased;
                _ = tick.tick() => {
                    self.judge_liveness().await;
                    self.follow_up_members().await;
                    self.rotate_transit_key().await;
                    self.shred().await;
                    self.finish_rotations().await;
                    self.raise_level().await;
                    self.propose_digest().await;
                }
                () = self.inbox.news.notified() => self.judge_liveness().await,
                () = timer => {
                    wake_at = None;
                    agenda.everything = true;
                }
                next = changes.recv() => match next {
                    Ok(changes) => agenda.add(&changes),
                    Err(broadcast::error::RecvError::Lagged(_)) => agenda.everything = true,
                    Err(broadcast::error::RecvError::Closed) => return,
                },
            }
        }
    }

    /// Proposes a command of the cluster's own; none if that failed, after a pause.
    async fn propose(&self, command: Command) -> Option<Outcome> {
        let name = command.name();
        match self.service.propose(self.service.cluster_caller(), None, command).await {
            Ok(outcome) => Some(outcome),
            Err(failure) => {
                tracing::debug!(command = name, %failure, "duty_not_done");
                tokio::time::sleep(RETRY_AFTER).await;
                None
            }
        }
    }

    /// Plans until nothing is left to do, nothing comes of it, or the turn is over; says when time alone
    /// will make a difference.
    async fn plan(
        &self,
        agenda: &mut Agenda,
        changes: &mut broadcast::Receiver<crate::raft::Changes>,
    ) -> Option<Timestamp> {
        let mut wake_at: Option<Timestamp> = None;
        let begun = Instant::now();
        while let Some(scope) = agenda.take(begun.elapsed()) {
            let plan = {
                let state = self.service.raft.machine.state();
                let mut ids = || TaskId::from_entropy(seal::random());
                state::plan(&state, now(), &scope, &mut ids)
            };
            wake_at = match (wake_at, plan.wake_at) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            agenda.everything |= plan.more;
            self.tell_of_room(scope == Scope::Everything, plan.no_room_for);
            if !plan.steps.is_empty() {
                let outcome = self.propose(Command::Plan(plan.steps)).await;
                // A step that was stale is planned anew from what made it so.
                agenda.everything |= !matches!(outcome, Some(Outcome::Steps { stale: 0, .. }));
                if is_in_vain(outcome.as_ref()) {
                    tokio::time::sleep(STALE_PAUSE).await;
                    return wake_at;
                }
            }
            // What the steps themselves changed comes now, or is waited for by who called.
            loop {
                match changes.try_recv() {
                    Ok(changes) => agenda.add(&changes),
                    Err(broadcast::error::TryRecvError::Lagged(_)) => agenda.everything = true,
                    Err(_) => break,
                }
            }
        }
        wake_at
    }

    /// Says once that tasks are not made for want of room, until there is room for all.
    fn tell_of_room(&self, is_all: bool, missing: u64) {
        if missing > 0 && !self.no_room_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(tasks.missing = missing, "no_room_for_tasks");
        } else if missing == 0 && is_all {
            self.no_room_told.store(false, Ordering::Relaxed);
        }
    }

    async fn judge_liveness(&self) {
        let observed = self.inbox.observed(self.leading_since);
        loop {
            let (news, _) = {
                let state = self.service.raft.machine.state();
                state::liveness(&state, &observed, now())
            };
            let is_all = news.len() < NODE_NEWS_MAX;
            if news.is_empty() || self.propose(Command::ReportNodes(news)).await.is_none() || is_all
            {
                return;
            }
        }
    }

    /// Takes new members in: a learner once it answers, a voter once it has caught up.
    async fn follow_up_members(&self) {
        let waiting: Vec<_> = {
            let state = self.service.raft.machine.state();
            let waiting = state.members().iter().filter(|(_, member)| {
                matches!(member.state, MemberState::Joining | MemberState::Learner)
            });
            waiting.map(|(id, member)| (*id, (**member).clone())).collect()
        };
        for (id, member) in waiting {
            let outcome = match member.state {
                MemberState::Joining => self.take_in(id, &member).await,
                _ => self.promote(id).await,
            };
            if let Err(failure) = outcome {
                tracing::debug!(member = %id, %failure, "member_not_followed_up");
            }
        }
    }

    async fn take_in(&self, id: MemberId, member: &state::object::Member) -> Result<(), Failure> {
        let raft = &self.service.raft;
        raft.pool.set_address(id, &member.address);
        let said = describe(raft, id).await?;
        if said.member != id.0 {
            return Err(Failure::new(Kind::Precondition, "another manager answers there"));
        }
        let node = member.node_id.to_string();
        let added = raft.add_learner(id, &member.address, &node).await;
        added.map_err(|error| Failure::new(Kind::Unavailable, error.to_string()))?;
        tracing::info!(member = %id, "member_follows");
        self.propose(Command::SetMemberState { member: id, state: MemberState::Learner }).await;
        Ok(())
    }

    async fn promote(&self, id: MemberId) -> Result<(), Failure> {
        let raft = &self.service.raft;
        if !raft.voters().contains(&id) {
            let matched = raft.replication().get(&id).map_or(0, |r| r.matched_index);
            if matched + LAG_MAX < raft.applied_index() {
                return Ok(());
            }
            let promoted = raft.promote(id).await;
            promoted.map_err(|error| Failure::new(Kind::Unavailable, error.to_string()))?;
        }
        tracing::info!(member = %id, "member_votes");
        self.propose(Command::SetMemberState { member: id, state: MemberState::Voter }).await;
        Ok(())
    }

    /// Nobody is waited for any more, and no entry has said so: time went by.
    async fn finish_rotations(&self) {
        let is_over = {
            let state = self.service.raft.machine.state();
            let (ca, certificates) = (state.ca_rotations(), state.certificate_rotations());
            ca.rotation.is_some() && state.ca_rotation_pending().is_empty()
                || certificates.rotation.is_some()
                    && state.certificate_rotation_pending().is_empty()
        };
        if is_over {
            self.propose(Command::NoteMoves(Vec::new())).await;
        }
    }

    /// Raises the format of commands once every member can apply a higher one.
    async fn raise_level(&self) {
        let level = {
            let state = self.service.raft.machine.state();
            let Some(cluster) = state.cluster() else { return };
            let common = state.members().values().map(|member| member.level_max).min();
            common.map(|level| level.min(state::command::LEVEL)).filter(|l| *l > cluster.level)
        };
        if let Some(level) = level {
            self.propose(Command::RaiseLevel { level }).await;
        }
    }

    /// Lets every manager compare its state with the leader's, now and then.
    async fn propose_digest(&self) {
        let Some((index, digest)) = self.service.raft.machine.digest_to_propose() else { return };
        self.propose(Command::CheckDigest { index, digest }).await;
    }
}

/// Whether nothing of a plan took effect, for all that is known.
const fn is_in_vain(outcome: Option<&Outcome>) -> bool {
    !matches!(outcome, Some(Outcome::Steps { applied: 1.., .. } | Outcome::Steps { stale: 0, .. }))
}

fn until(at: Timestamp) -> Duration {
    Duration::from_millis(at.ms_since(now()).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_duties_have_their_turn_after_a_tick_and_nothing_is_forgotten() {
        let service = ServiceId::from_entropy([1; 17]);
        let mut agenda = Agenda::default();
        agenda.add(&[Change::Replan(Some(service))]);
        assert_eq!(agenda.take(TICK), None);
        let within = TICK.saturating_sub(Duration::from_nanos(1));
        assert_eq!(agenda.take(within), Some(Scope::Services([service].into())));
        assert_eq!(agenda.take(within), None);
        agenda.add(&[Change::Replan(None)]);
        assert_eq!(agenda.take(TICK), None);
        assert_eq!(agenda.take(within), Some(Scope::Everything));
    }

    #[test]
    fn other_duties_have_their_turn_once_a_plan_is_in_vain() {
        let steps = |applied, stale| is_in_vain(Some(&Outcome::Steps { applied, stale }));
        assert!(!steps(2, 0));
        assert!(!steps(1, 1_000), "what took effect may be what made the rest stale");
        assert!(steps(0, 1));
        assert!(is_in_vain(None), "it was not carried out");
    }
}
