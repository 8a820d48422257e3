//! Raft: openraft behind a facade; nothing outside this folder names it.
//!
//! What the rest of a manager needs is small: propose a command, pass a read barrier, know who
//! leads, change the members, stop. What openraft needs is here: its log over our sealed one
//! (`storage`, `log`), its state machine over ours (`machine`, `snapshot`), its network over gRPC
//! (`network`, `pipeline`, `receive`).
//!
//! Invariants: a member id is never used twice; a write is answered after a majority made it
//! durable; a read barrier is confirmed by a majority after it began, or rests on a lease that no
//! restarted voter can have forgotten.

mod codec;
mod incarnation;
mod log;
mod machine;
mod network;
mod pipeline;
mod proposals;
mod receive;
pub(crate) mod rotation;
mod snapshot;
mod storage;
mod type_config;
mod verify;

#[cfg(test)]
pub(crate) mod crash;
#[cfg(test)]
mod suite;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::RaftError;
use openraft::raft::linearizable_read::{Linearizer, LinearizerOption};
use openraft::{ChangeMembers, Config, SnapshotPolicy};
use proto::id::MemberId;
use proto::limits::COMMAND_BYTES_MAX;
use state::command::Envelope;
use state::{Outcome, Refusal};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use self::codec::log_id_to_pb;
pub(crate) use self::incarnation::{Left, Survivor, read as read_survivor};
pub use self::log::LogError;
pub(crate) use self::log::{Fatal, LogKeys};
use self::log::{LogReader, LogWriter, Opened};
pub(crate) use self::machine::{Changes, Machine, cluster_changed};
use self::network::Network;
pub(crate) use self::network::{PEER_MESSAGE_BYTES_MAX, Pool, Purpose};
use self::proposals::Proposals;
use self::receive::VoteGuard;
pub(crate) use self::rotation::{KeyKeeper, Owes, Position, Rotation, Step, owes};
pub(crate) use self::snapshot::PREFIX as SNAPSHOT_PREFIX;
pub use self::snapshot::SnapshotFileError;
use self::snapshot::Snapshots;
use self::storage::{Anchors, LogStore};
use self::type_config::{PeerNode, Proposal, TypeConfig};
pub(crate) use self::verify::LogChecker;
use crate::disk::Disk;

/// Bytes of commands a leader has taken and not yet committed; more is refused as `unavailable`.
const UNCOMMITTED_KIB_MAX: u32 = 64 << 10;

/// How long a proposal may take. An isolated leader's proposals hang until it hears of another.
const PROPOSAL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a proposal waits for a majority that does not answer: several elections.
const MAJORITY_LOST_AFTER: Duration = Duration::from_secs(3);

/// How long a read barrier may take: a few elections.
const BARRIER_TIMEOUT: Duration = Duration::from_secs(3);

/// Time for another to take over at a graceful stop.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(2);

/// How patient elections are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// One room: 150 to 300 ms.
    Lan,
    /// Several sites: 1 to 2 s.
    Wan,
}

impl Profile {
    const fn election_ms(self) -> (u64, u64) {
        match self {
            Self::Lan => (150, 300),
            Self::Wan => (1_000, 2_000),
        }
    }

    const fn heartbeat_ms(self) -> u64 {
        match self {
            Self::Lan => 50,
            Self::Wan => 250,
        }
    }

    /// How long a majority's acknowledgement keeps a leader: openraft's lease.
    pub(crate) const fn lease(self) -> Duration {
        Duration::from_millis(self.election_ms().1)
    }

    /// A lease less a margin for clocks that run at different speeds.
    const fn safe_lease(self) -> Duration {
        Duration::from_millis(self.election_ms().1 * 4 / 5)
    }

    fn config(self) -> Result<Config, StartError> {
        let (election_timeout_min, election_timeout_max) = self.election_ms();
        let config = Config {
            cluster_name: "secretd".into(),
            election_timeout_min,
            election_timeout_max,
            heartbeat_interval: self.heartbeat_ms(),
            install_snapshot_timeout: 60_000,
            max_payload_entries: 1024,
            // Only says when a learner counts as caught up.
            replication_lag_threshold: 100_000,
            // Snapshots and purges are made by size, here, not by openraft's counts.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            api_channel_size: Some(4096),
            enable_pre_vote: Some(true),
            backoff: "20ms 40ms 80ms 160ms 250ms".parse().map_err(config_error)?,
            // A restarted leader is elected like everybody else.
            enable_leader_restore: Some(false),
            ..Config::default()
        };
        config.validate().map_err(config_error)
    }
}

fn config_error(error: impl std::fmt::Display) -> StartError {
    StartError::Config(error.to_string())
}

/// Raft could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log is damaged.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The snapshot is damaged.
    #[error(transparent)]
    Snapshot(#[from] SnapshotFileError),
    /// Something else failed.
    #[error("raft could not be started")]
    Io(#[from] io::Error),
    /// Its configuration is not one.
    #[error("raft's configuration is wrong: {0}")]
    Config(String),
}

/// A proposal was not carried out, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProposeError {
    /// Another manager leads, or nobody does; nothing was appended.
    #[error("this manager does not lead")]
    NotLeader,
    /// Too much waits already; nothing was appended.
    #[error("too many changes are waiting to be committed")]
    Busy,
    /// The log would not read it back; nothing was appended.
    #[error("the change is larger than an entry of the log, {COMMAND_BYTES_MAX} bytes")]
    TooLarge,
    /// Whether it was done is not known: a retry with the same key finds out.
    #[error("the change may or may not have been made")]
    Unknown,
    /// Raft has stopped.
    #[error("this manager is stopping")]
    Stopped,
}

/// A read barrier was not passed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BarrierError {
    /// There is no leader that a majority confirms.
    #[error("there is no leader that a majority confirms")]
    NoLeader,
    /// Raft has stopped.
    #[error("this manager is stopping")]
    Stopped,
}

/// Who leads, as this manager sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Leadership {
    pub(crate) term: u64,
    pub(crate) leader: Option<MemberId>,
    /// Whether it is this manager, with an entry of its own term applied.
    pub(crate) leading: bool,
    /// Whether this manager is the only one that votes: nobody can elect another.
    alone: bool,
}

/// What a command did, once a majority holds it.
pub(crate) type Proposed = Result<Outcome, Refusal>;

/// How a member stands with the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Replication {
    pub(crate) matched_index: u64,
}

/// Opens the newest snapshot and the log that goes on from it.
///
/// # Errors
///
/// If anything is missing or damaged, or the two leave a gap between them.
fn open(
    snapshots: Snapshots,
    anchors: Anchors,
    disk: Arc<dyn Disk>,
    keys: Arc<LogKeys>,
    fatal: Fatal,
) -> Result<(Machine, (Opened, LogWriter, LogReader)), StartError> {
    let machine = Machine::open(snapshots, anchors)?;
    let (opened, writer, reader) = log::open(disk, keys, fatal)?;
    match opened.purged.map(|place| place.index) {
        Some(purged) if *machine.applied().borrow() < purged => {
            Err(LogError::NoSnapshot { purged }.into())
        }
        _ => Ok((machine, (opened, writer, reader))),
    }
}

/// Whether a leader's majority counts as lost, so long after it last confirmed it.
const fn is_lost(unconfirmed_for: Duration) -> bool {
    unconfirmed_for.as_nanos() >= MAJORITY_LOST_AFTER.as_nanos()
}

/// A handle to Raft.
#[derive(Clone)]
pub(crate) struct Raft {
    inner: openraft::Raft<TypeConfig, Machine>,
    pub(crate) machine: Machine,
    log: LogStore,
    pub(crate) pool: Arc<Pool>,
    pub(crate) me: MemberId,
    pub(crate) profile: Profile,
    guard: Arc<VoteGuard>,
    room: Arc<Semaphore>,
    proposals: Arc<Proposals>,
    leadership: watch::Receiver<Leadership>,
    stop: CancellationToken,
}

/// What Raft is started with.
pub(crate) struct Start {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) keys: Arc<LogKeys>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) profile: Profile,
    pub(crate) fatal: Fatal,
}

impl Raft {
    /// Opens log and snapshot, and takes part.
    ///
    /// # Errors
    ///
    /// If anything on disk is missing or damaged.
    pub(crate) async fn start(start: Start) -> Result<Self, StartError> {
        let Start { disk, keys, pool, profile, fatal } = start;
        let anchors = Anchors::default();
        let snapshots = Snapshots::new(disk.clone(), keys.clone());
        let opening = {
            let (snapshots, anchors) = (snapshots.clone(), anchors.clone());
            tokio::task::spawn_blocking(move || open(snapshots, anchors, disk, keys, fatal))
        };
        let (machine, (opened, writer, reader)) = opening.await.map_err(io::Error::other)??;
        let had_log = opened.last.is_some();
        let log = LogStore::new(&opened, writer, reader, anchors)?;
        let machine = machine.with_log(log.clone());
        let me = pool.me;
        let config = Arc::new(profile.config()?);
        let network = Network::new(pool.clone(), snapshots);
        let inner = openraft::Raft::build(me.0, config, network, log.clone(), machine.clone())
            .await
            .map_err(io::Error::other)?;
        let wait = if had_log { profile.lease() } else { Duration::ZERO };
        let (tell, leadership) = watch::channel(Leadership::default());
        let raft = Self {
            proposals: Arc::new(Proposals::new(inner.clone())),
            inner,
            machine,
            log,
            pool,
            me,
            profile,
            guard: Arc::new(VoteGuard::new(Instant::now() + wait)),
            room: Arc::new(Semaphore::new(UNCOMMITTED_KIB_MAX as usize)),
            leadership,
            stop: CancellationToken::new(),
        };
        raft.run(wait, tell);
        Ok(raft)
    }

    fn run(&self, wait: Duration, tell: watch::Sender<Leadership>) {
        if !wait.is_zero() {
            // See `receive::VoteGuard`: neither grant a vote nor ask for one.
            self.inner.runtime_config().elect(false);
            let inner = self.inner.clone();
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                inner.runtime_config().elect(true);
            });
        }
        self.inner.run();
        tokio::spawn(self.clone().follow_metrics(tell));
        tokio::spawn(self.clone().make_snapshots());
    }

    /// Turns openraft's metrics into who leads, and where members are reached.
    async fn follow_metrics(self, tell: watch::Sender<Leadership>) {
        let mut metrics = self.inner.metrics();
        loop {
            let now = metrics.borrow_watched().clone();
            for (member, node) in now.membership_config.membership().nodes() {
                self.pool.set_address(MemberId(*member), &node.address);
            }
            let own_term_applied = now.last_applied.is_some_and(|id| {
                id.leader_id.term == now.current_term && id.leader_id.node_id == self.me.0
            });
            let mut voters = now.membership_config.membership().voter_ids();
            let leadership = Leadership {
                alone: voters.next() == Some(self.me.0) && voters.next().is_none(),
                term: now.current_term,
                leader: now.current_leader.map(MemberId),
                leading: now.state.is_leader() && own_term_applied,
            };
            tell.send_if_modified(|known| {
                let changed = *known != leadership;
                *known = leadership;
                changed
            });
            tokio::select! {
                () = self.stop.cancelled() => return,
                changed = metrics.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Makes a snapshot when enough log has gathered, and gives up the log it covers but for what
    /// is in memory anyway: followers that are near get entries, not snapshots.
    async fn make_snapshots(self) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.machine.snapshot_wanted() => {}
            }
            if let Err(error) = self.snapshot().await {
                tracing::warn!(%error, "snapshot_failed");
            }
        }
    }

    /// Makes a snapshot of what is applied now, and purges.
    pub(crate) async fn snapshot(&self) -> io::Result<()> {
        let applied = self.metrics().last_applied.map_or(0, |id| id.index);
        self.inner.trigger().snapshot().await.map_err(io::Error::other)?;
        let wait = self.inner.wait(Some(Duration::from_secs(600)));
        let made = wait
            .metrics(|m| m.snapshot.is_some_and(|id| id.index >= applied), "snapshot")
            .await
            .map_err(io::Error::other)?;
        let covered = made.snapshot.map_or(0, |id| id.index);
        let keep_from = self.log.first_in_memory().unwrap_or(covered + 1);
        let purge_to = covered.min(keep_from.saturating_sub(1));
        self.inner.trigger().purge_log(purge_to).await.map_err(io::Error::other)
    }

    fn metrics(&self) -> openraft::RaftMetrics<TypeConfig> {
        self.inner.metrics().borrow_watched().clone()
    }

    /// Who leads, to be watched.
    pub(crate) fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Whether this manager leads now and a majority said so within the lease.
    pub(crate) fn is_leading(&self) -> bool {
        use openraft::Instant as _;
        let known = *self.leadership.borrow();
        if !known.leading || known.alone {
            // openraft asks nobody when there is nobody to ask, so the time of the last
            // acknowledgement stands still.
            return known.leading;
        }
        let Ok(leader) = self.inner.as_leader() else { return false };
        leader.last_quorum_acked().is_some_and(|at| at.elapsed() < self.profile.safe_lease())
    }

    /// How far each member has the log, by the leader.
    pub(crate) fn replication(&self) -> BTreeMap<MemberId, Replication> {
        let metrics = self.metrics();
        let members = metrics.replication.into_iter().flatten();
        members
            .map(|(member, matched)| {
                let matched_index = matched.map_or(0, |id| id.index);
                (MemberId(member), Replication { matched_index })
            })
            .collect()
    }

    /// When a member last acknowledged anything to this manager, which leads: when what it
    /// acknowledged was sent.
    pub(crate) fn heard_from(&self, member: MemberId) -> Option<Instant> {
        use openraft::Instant as _;
        let heard = self.metrics().heartbeat?;
        let at = heard.get(&member.0).copied().flatten()?;
        Instant::now().checked_sub(at.into_inner().elapsed())
    }

    /// The last index that was applied here.
    pub(crate) fn applied_index(&self) -> u64 {
        *self.machine.applied().borrow()
    }

    /// The term and the index of the last entry of this manager's log: of two managers, the one where
    /// they are higher has all that the other has.
    pub(crate) fn last_entry(&self) -> (u64, u64) {
        self.log.last_entry()
    }

    /// The 99th percentile of the last syncs of the log, in microseconds.
    pub(crate) fn sync_p99_micros(&self) -> u64 {
        self.log.writer().stats.sync_p99_micros()
    }

    /// Figures of proposing and applying, by their names in the metrics.
    pub(crate) fn figures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.proposals.figures().into_iter().chain(self.machine.figures())
    }

    /// Figures of the log's writer, by their names in the metrics.
    pub(crate) fn log_figures(&self) -> [(&'static str, u64); 6] {
        self.log.writer().stats.counts()
    }

    /// Makes this manager the only member of a new cluster.
    pub(crate) async fn found(&self, address: &str, node_id: &str) -> io::Result<()> {
        let node = PeerNode { address: address.into(), node_id: node_id.into() };
        let members = BTreeMap::from([(self.me.0, node)]);
        self.inner.initialize(members).await.map_err(io::Error::other)?;
        let mut leadership = self.leadership();
        leadership.wait_for(|now| now.leading).await.map_err(io::Error::other)?;
        Ok(())
    }

    /// Proposes a command and waits until it is applied here.
    pub(crate) async fn propose(&self, envelope: Envelope) -> Result<Proposed, ProposeError> {
        let proposal = Proposal::new(envelope);
        if proposal.bytes().len() > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLarge);
        }
        let kib = u32::try_from(proposal.bytes().len() / 1024 + 1).unwrap_or(u32::MAX);
        let room = self.room.clone().try_acquire_many_owned(kib.min(UNCOMMITTED_KIB_MAX));
        let room = room.map_err(|_| ProposeError::Busy)?;
        let written = self.proposals.write(proposal, room);
        tokio::select! {
            written = tokio::time::timeout(PROPOSAL_TIMEOUT, written) => {
                written.unwrap_or(Err(ProposeError::Unknown))
            }
            () = self.majority_lost() => Err(ProposeError::Unknown),
        }
    }

    /// Returns when no majority has confirmed this leader for a while: whoever waits for a
    /// proposal is better told now.
    async fn majority_lost(&self) {
        let mut confirmed_at = Instant::now();
        while !is_lost(confirmed_at.elapsed()) {
            tokio::time::sleep(self.profile.lease()).await;
            if self.is_leading() {
                confirmed_at = Instant::now();
            }
        }
    }

    /// Confirms, on the leader, that it still leads: by a majority's acknowledgement younger than
    /// the safe part of its lease, else by asking now.
    async fn confirm(&self) -> Result<Linearizer<TypeConfig>, BarrierError> {
        let option = LinearizerOption::new(Some(self.profile.safe_lease()), true)
            .with_wait_timeout(BARRIER_TIMEOUT);
        match self.inner.get_read_linearizer(option).await {
            Ok(linearizer) => Ok(linearizer),
            Err(RaftError::APIError(_)) => Err(BarrierError::NoLeader),
            Err(RaftError::Fatal(_)) => Err(BarrierError::Stopped),
        }
    }

    /// Waits until this manager's state holds everything that was acknowledged before the call.
    /// Returns when the barrier began: what is read after it is at least as new as that.
    ///
    /// # Errors
    ///
    /// If no leader is confirmed by a majority in time.
    pub(crate) async fn barrier(&self) -> Result<Instant, BarrierError> {
        let began = Instant::now();
        let passed = tokio::time::timeout(BARRIER_TIMEOUT, self.pass_barrier());
        passed.await.map_err(|_| BarrierError::NoLeader)??;
        Ok(began)
    }

    async fn pass_barrier(&self) -> Result<(), BarrierError> {
        let index = if self.leadership.borrow().leader == Some(self.me) {
            let linearizer = self.confirm().await?;
            linearizer.read_log_id().index()
        } else {
            self.ask_read_index().await?
        };
        let mut applied = self.machine.applied();
        applied.wait_for(|applied| *applied >= index).await.map_err(|_| BarrierError::Stopped)?;
        Ok(())
    }

    async fn ask_read_index(&self) -> Result<u64, BarrierError> {
        let leader = self.leadership.borrow().leader.ok_or(BarrierError::NoLeader)?;
        let client = self.pool.client(leader, Purpose::Heartbeat);
        let mut client = client.map_err(|_| BarrierError::NoLeader)?;
        let request = proto::pb::ReadIndexRequest {};
        let answer = tokio::time::timeout(self.profile.lease(), client.read_index(request)).await;
        let answer = answer.map_err(|_| BarrierError::NoLeader)?;
        let answer = answer.map_err(|_| BarrierError::NoLeader)?.into_inner();
        answer.id.map(|id| id.index).ok_or(BarrierError::NoLeader)
    }

    /// Adds a member that follows without a vote, and waits until it has caught up.
    pub(crate) async fn add_learner(
        &self,
        member: MemberId,
        address: &str,
        node_id: &str,
    ) -> io::Result<()> {
        let node = PeerNode { address: address.into(), node_id: node_id.into() };
        self.inner.add_learner(member.0, node, false).await.map_err(io::Error::other)?;
        Ok(())
    }

    /// Gives members a vote.
    pub(crate) async fn promote(&self, member: MemberId) -> io::Result<()> {
        self.change(ChangeMembers::AddVoterIds([member.0].into()), true).await
    }

    /// Takes a member out, vote and all.
    pub(crate) async fn remove(&self, member: MemberId) -> io::Result<()> {
        let members: BTreeSet<u64> = [member.0].into();
        if self.voters().contains(&member) {
            self.change(ChangeMembers::RemoveVoters(members.clone()), false).await?;
        }
        if self.members().contains(&member) {
            self.change(ChangeMembers::RemoveNodes(members), false).await?;
        }
        Ok(())
    }

    /// Exchanges a voter for a learner in one change.
    pub(crate) async fn replace(&self, dead: MemberId, new: MemberId) -> io::Result<()> {
        let changes = vec![
            ChangeMembers::RemoveVoters([dead.0].into()),
            ChangeMembers::AddVoterIds([new.0].into()),
        ];
        self.change(ChangeMembers::Batch(changes), false).await
    }

    /// A member is reached elsewhere.
    pub(crate) async fn set_address(
        &self,
        member: MemberId,
        address: &str,
        node_id: &str,
    ) -> io::Result<()> {
        let node = PeerNode { address: address.into(), node_id: node_id.into() };
        self.change(ChangeMembers::SetNodes([(member.0, node)].into()), true).await
    }

    async fn change(&self, change: ChangeMembers<u64, PeerNode>, retain: bool) -> io::Result<()> {
        self.inner.change_membership(change, retain).await.map_err(io::Error::other)?;
        Ok(())
    }

    /// Members that vote.
    pub(crate) fn voters(&self) -> BTreeSet<MemberId> {
        let metrics = self.metrics();
        metrics.membership_config.membership().voter_ids().map(MemberId).collect()
    }

    /// Members, with and without a vote.
    pub(crate) fn members(&self) -> BTreeSet<MemberId> {
        let metrics = self.metrics();
        metrics.membership_config.membership().nodes().map(|(id, _)| MemberId(*id)).collect()
    }

    /// Waits until Raft has stopped by itself: the disk failed, or an entry cannot be applied.
    pub(crate) async fn failed(&self) -> String {
        let mut metrics = self.inner.metrics();
        loop {
            let state = metrics.borrow_watched().running_state.clone();
            if let Err(fatal) = state {
                return fatal.to_string();
            }
            if metrics.changed().await.is_err() {
                return "raft has stopped".into();
            }
        }
    }

    /// Hands leadership to the member with the most log, if this manager leads and is not alone.
    pub(crate) async fn hand_over(&self) {
        if !self.leadership.borrow().leading {
            return;
        }
        let voters = self.voters();
        let replication = self.replication().into_iter();
        let best = replication
            .filter(|(member, _)| *member != self.me && voters.contains(member))
            .max_by_key(|(_, replication)| replication.matched_index);
        let Some((member, _)) = best else { return };
        if let Err(error) = self.inner.trigger().transfer_leader(member.0).await {
            tracing::warn!(%error, "leadership_not_handed_over");
            return;
        }
        let mut leadership = self.leadership();
        let gone = leadership.wait_for(|now| now.leader != Some(self.me));
        if tokio::time::timeout(TRANSFER_TIMEOUT, gone).await.is_ok() {
            tracing::info!(to = %member, "leadership_handed_over");
        } else {
            tracing::warn!(to = %member, "leadership_not_handed_over");
        }
    }

    /// Stops taking part. What was acknowledged stays; the log's writer finishes what is queued.
    pub(crate) async fn shut_down(&self) {
        self.stop.cancel();
        if let Err(error) = self.inner.shutdown().await {
            tracing::warn!(%error, "raft_shutdown_failed");
        }
        let log = self.log.clone();
        if tokio::task::spawn_blocking(move || log.writer().stop()).await.is_err() {
            tracing::warn!("log_writer_not_stopped");
        }
    }
}

impl From<BarrierError> for tonic::Status {
    fn from(error: BarrierError) -> Self {
        let kind = match error {
            BarrierError::NoLeader => proto::Kind::NoLeader,
            BarrierError::Stopped => proto::Kind::Unavailable,
        };
        link::Failure::new(kind, error.to_string()).into()
    }
}
