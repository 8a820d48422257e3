//! `apply`: the one place where the state changes.
//!
//! Total, deterministic, no clock (`now = max(state.now, at)`), no randomness, no I/O. Uniqueness,
//! in-use, quota and compare-and-set are decided here alone. What changed comes out as
//! [`Change`]s: the one source for dispatcher, watches, events and metrics.
//!
//! Invariant: a refused command changes nothing but the index and the time.

mod backup;
mod boot;
mod ca_rotation;
mod certificate_rotation;
mod cluster;
mod config;
mod exec;
mod identity;
mod incarnation;
mod log_keys;
mod network;
mod node;
mod read_back;
mod restore;
mod root_keys;
mod secret;
mod service;
mod shredding;
mod task;

pub(crate) use self::task::truncate;

use proto::id::{NodeId, Revision, ServiceId, TaskId, Timestamp};
use proto::identity::{Caller, Principal};
use proto::limits::REMEMBERED_REQUESTS_MAX;

use crate::audit::AuditRecord;
use crate::command::{Command, Envelope, LEVEL};
use crate::object::{ObjectId, RequestMark};
use crate::refusal::Refusal;
use crate::remembered::{Outcome, Remembered};
use crate::state::State;

/// What applying one entry did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The answer to whoever proposed it.
    pub outcome: Result<Outcome, Refusal>,
    /// What is different now.
    pub changes: Vec<Change>,
}

/// One thing that is different now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// An object was made.
    Created(ObjectId),
    /// An object changed.
    Updated(ObjectId),
    /// An object is gone.
    Removed(ObjectId),
    /// What a node may have is different: its assignments must be computed anew.
    Assignments(NodeId),
    /// A service's tasks, or where they could go, are different: plan again.
    Replan(Option<ServiceId>),
}

/// An entry that this version cannot apply: the manager must stop, never skip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unapplicable {
    /// It is of a later format.
    #[error("log entry {index} has format {format}, this version applies up to {LEVEL}")]
    Format {
        /// Which entry.
        index: u64,
        /// Its format.
        format: u16,
    },
    /// The leader's state was another one.
    #[error("after log entry {index} this manager's state differs from its leader's")]
    Diverged {
        /// After which entry.
        index: u64,
    },
}

/// One entry on its way through: the state, where and when it is, what has changed so far.
pub(crate) struct Context<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) index: u64,
    pub(crate) now: Timestamp,
    pub(crate) caller: Caller,
    pub(crate) request: Option<RequestMark>,
    pub(crate) changes: Vec<Change>,
}

type Applying = Result<(Outcome, ObjectId), Refusal>;

/// Applies one entry.
///
/// # Errors
///
/// If the entry cannot be applied by this version, or says that this manager has gone astray. The
/// state is unchanged then and the manager must stop.
pub fn apply(state: &mut State, index: u64, envelope: Envelope) -> Result<Applied, Unapplicable> {
    assert!(index > state.index, "entries are applied once, in order");
    if envelope.format > LEVEL {
        return Err(Unapplicable::Format { index, format: envelope.format });
    }
    if let Command::CheckDigest { index: at, digest } = &envelope.body
        && *at == state.index
        && *digest != state.digest()
    {
        return Err(Unapplicable::Diverged { index: *at });
    }
    let now = state.now.max(envelope.at);
    state.index = index;
    state.now = now;
    if let Some(answer) = answered_before(state, envelope.request.as_ref()) {
        return Ok(Applied { outcome: answer, changes: Vec::new() });
    }
    let action = envelope.body.name();
    let asked_for = envelope.body.object();
    let routine = is_routine(&envelope.body);
    let mut context = Context {
        state,
        index,
        now,
        caller: envelope.caller,
        request: envelope.request,
        changes: Vec::new(),
    };
    let result = context.carry_out(envelope.body);
    let changes = std::mem::take(&mut context.changes);
    assert!(result.is_ok() || changes.is_empty(), "a refused command changes nothing");
    if let (Ok((outcome, _)), Some(mark)) = (&result, envelope.request) {
        remember(state, mark, outcome.clone());
    }
    if !routine {
        let (object, outcome) = match &result {
            Ok((_, object)) => (*object, "ok".to_owned()),
            Err(refusal) => (asked_for, refusal.kind().as_str().to_owned()),
        };
        let caller = envelope.caller;
        let action = action.to_owned();
        state.audit.push(AuditRecord { index, at: now, caller, action, object, outcome, count: 1 });
    }
    Ok(Applied { outcome: result.map(|(outcome, _)| outcome), changes })
}

/// Notes an entry that is no command: a leader's first, a change of the Raft membership.
pub fn pass(state: &mut State, index: u64) {
    // Entry 0 is the founding membership: before it the index is 0, too.
    assert!(index > state.index || index == 0, "entries are applied once, in order");
    state.index = index;
}

/// What the cluster does all the time by itself is not for the audit.
const fn is_routine(command: &Command) -> bool {
    matches!(
        command,
        Command::Plan(_)
            | Command::ReportTasks(_)
            | Command::ReportNodes(_)
            | Command::CheckDigest { .. }
            | Command::AcknowledgeKeys { .. }
            | Command::RecordDenials(_)
            | Command::Rewrap(_)
            | Command::NoteMoves(_)
    )
}

/// The answer to a request that was carried out before; a refusal if its key came with another.
fn answered_before(state: &State, mark: Option<&RequestMark>) -> Option<Result<Outcome, Refusal>> {
    let mark = mark?;
    let key = (mark.principal, mark.key);
    if let Some(remembered) = state.remembered.get(&key) {
        let same = remembered.digest == mark.digest;
        return Some(if same { Ok(remembered.outcome.clone()) } else { Err(Refusal::KeyReused) });
    }
    // The table is bounded; a created secret keeps its mark for as long as it lives.
    let id = *state.secrets_by_request.get(&key)?;
    let secret = state.secrets.get(&id)?;
    let same = secret.request.is_some_and(|made_by| made_by.digest == mark.digest);
    let outcome = Outcome::Secret { id, version: proto::id::Version(1) };
    Some(if same { Ok(outcome) } else { Err(Refusal::KeyReused) })
}

fn remember(state: &mut State, mark: RequestMark, outcome: Outcome) {
    let key = (mark.principal, mark.key);
    state.remembered.insert(key, Remembered { digest: mark.digest, outcome });
    state.remembered_order.push_back(key);
    while state.remembered_order.len() > REMEMBERED_REQUESTS_MAX {
        if let Some(oldest) = state.remembered_order.pop_front() {
            state.remembered.remove(&oldest);
        }
    }
}

impl Context<'_> {
    #[expect(clippy::too_many_lines, reason = "one arm for each command")]
    fn carry_out(&mut self, command: Command) -> Applying {
        match command {
            Command::InitCluster(init) => self.init_cluster(*init),
            Command::CreateSecret(create) => self.create_secret(create),
            Command::RotateSecret(rotate) => self.rotate_secret(rotate),
            Command::RemoveSecret { id, forget_previous, shred } => {
                self.remove_secret(id, forget_previous, shred == Some(true))
            }
            Command::CreateService { id, spec } => self.create_service(id, *spec),
            Command::UpdateService { id, revision, spec } => {
                self.update_service(id, revision, *spec)
            }
            Command::RemoveService { id } => self.remove_service(id),
            Command::RollBackService { id, revision } => self.roll_back_service(id, revision),
            Command::Plan(steps) => Ok(self.follow_plan(steps)),
            Command::ReportTasks(reports) => Ok(self.report_tasks(reports)),
            Command::ReportNodes(news) => Ok(self.report_nodes(news)),
            Command::UpdateNode(update) => self.update_node(update),
            Command::RemoveNode { id, force } => self.remove_node(id, force),
            Command::AdmitAgent(admit) => self.admit_agent(admit),
            Command::AdmitManager(admit) => self.admit_manager(admit),
            Command::IssueCertificate { serial, certificate } => {
                self.issue_certificate(serial, certificate)
            }
            Command::CreateToken(token) => self.create_token(&token),
            Command::RevokeToken { id } => self.revoke_token(id),
            Command::AddOperator(add) => self.add_operator(add),
            Command::EnrollOperator { token_id, hash, serial, certificate } => {
                self.enroll_operator(token_id, hash, serial, certificate)
            }
            Command::RemoveOperator { id } => self.remove_operator(id),
            Command::AcknowledgeKeys { member, root, key_file_generation, level_max } => {
                self.acknowledge_keys(member, root, key_file_generation, level_max)
            }
            Command::SetMemberState { member, state } => self.set_member_state(member, state),
            Command::SetMemberAddress { member, address } => {
                self.set_member_address(member, address)
            }
            Command::RemoveMember { member, destroys } => self.remove_member(member, destroys),
            Command::RecordDenials(denials) => Ok(self.record_denials(denials)),
            Command::RaiseLevel { level } => self.raise_level(level),
            Command::CheckDigest { .. } => Ok((Outcome::Done, ObjectId::Cluster)),
            Command::AddTransitKey { id, key } => self.add_transit_key(id, key),
            Command::RetireTransitKey { id } => self.retire_transit_key(id),
            Command::SetQuota { payload_bytes } => self.set_quota(payload_bytes),
            Command::RotateLogKeys => self.rotate_log_keys(),
            Command::AcknowledgeLogKey { member, epoch, key } => {
                self.acknowledge_log_key(member, epoch, key)
            }
            Command::SetRecipients { generation, recipients } => {
                self.set_recipients(generation, recipients)
            }
            Command::ProveSlot { public_key } => self.prove_slot(&public_key),
            Command::ShredSecret { id } => self.shred_secret(id),
            Command::BeginIncarnation(begin) => self.begin_incarnation(*begin),
            Command::AnnounceRoot { id, member, replaces } => {
                self.announce_root(id, member, replaces)
            }
            Command::AcknowledgeRoot { member, id } => self.acknowledge_root(member, id),
            Command::ActivateRoot { id } => self.activate_root(id),
            Command::Rewrap(items) => self.rewrap(items),
            Command::RetireRoot { id } => self.retire_root(id),
            Command::AcknowledgeRootDestroyed { member, id } => {
                self.acknowledge_root_destroyed(member, id)
            }
            Command::Boot(command) => self.boot(command),
            Command::ReadBack(command) => self.read_back(command),
            Command::RecordBackup { id, revision, taken_at } => {
                self.record_backup(id, revision, taken_at)
            }
            Command::ForgetBackup { id } => self.forget_backup(id),
            Command::RestoreCluster(restore) => self.restore_cluster(*restore),
            Command::BeginCaRotation(begin) => self.begin_ca_rotation(*begin),
            Command::NoteMoves(serials) => self.note_moves(&serials),
            Command::DropFormerCa => self.drop_former_ca(),
            Command::BeginCertificateRotation => self.begin_certificate_rotation(),
            Command::CutFormerCertificates => self.cut_former_certificates(),
            Command::CreateConfig(create) => self.create_config(create),
            Command::UpdateConfigLabels { id, revision, labels } => {
                self.update_config_labels(id, revision, labels)
            }
            Command::RemoveConfig { id, forget_previous } => {
                self.remove_config(id, forget_previous)
            }
            Command::CreateNetwork(create) => self.create_network(create),
            Command::RemoveNetwork { id } => self.remove_network(id),
            Command::RecordExec { task } => self.record_exec(task),
        }
    }

    pub(crate) const fn revision(&self) -> Revision {
        Revision(self.index)
    }

    pub(crate) fn principal(&self) -> Principal {
        self.caller.principal()
    }

    pub(crate) fn created(&mut self, object: ObjectId) {
        self.changes.push(Change::Created(object));
    }

    pub(crate) fn updated(&mut self, object: ObjectId) {
        self.changes.push(Change::Updated(object));
    }

    pub(crate) fn removed(&mut self, object: ObjectId) {
        self.changes.push(Change::Removed(object));
    }

    pub(crate) fn assignments(&mut self, node: Option<NodeId>) {
        if let Some(node) = node {
            self.changes.push(Change::Assignments(node));
        }
    }

    pub(crate) fn replan(&mut self, service: Option<ServiceId>) {
        self.changes.push(Change::Replan(service));
    }

    /// The object is at the revision that the command was computed from.
    pub(crate) fn expect_revision(current: Revision, expected: Revision) -> Result<(), Refusal> {
        if current == expected { Ok(()) } else { Err(Refusal::Stale { current }) }
    }

    pub(crate) fn task_id_free(&self, id: TaskId) -> bool {
        !self.state.tasks.contains_key(&id)
    }
}
