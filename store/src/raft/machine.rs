//! openraft's state machine over ours: applying, snapshots, and telling everybody what changed.
//!
//! The state lives in memory behind one lock that is held for one entry, or for copying pointers.
//! It is rebuilt from the last snapshot and the log. Not here: what a command does (`state`).
//!
//! Invariant: an entry that cannot be applied stops the manager; it is never skipped.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use futures_util::{Stream, StreamExt as _};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use state::command::Command;
use state::object::Digest;
use state::object::ObjectId;
use state::{Applied, Change, State, Unapplicable};
use tokio::sync::{Notify, broadcast, watch};

use super::log::Link;
use super::snapshot::{SnapshotData, SnapshotFileError, Snapshots};
use super::storage::{Anchors, LogStore};
use super::type_config::{
    Answer, Entry, LeaderId, LogId, PeerNode, Proposal, SnapshotMeta, StoredMembership, TypeConfig,
};
use crate::events::Events;

/// Messages of changes that wait for a slow listener; one that falls behind computes everything anew.
/// Under load each has some hundred changes: ten megabytes.
const CHANGES_KEPT: usize = 1024;

/// Log bytes after which a snapshot is made, at least; more if the last snapshot was larger.
const SNAPSHOT_AFTER_BYTES: u64 = 64 << 20;

/// So many changes are told before the next entry is applied: what follows them is not kept waiting for
/// a long batch.
const CHANGES_AT_ONCE: usize = 256;

/// Every so many entries the state's digest is compared with the leader's, or, where the state is
/// large, less often: see [`digest_every`].
const DIGEST_EVERY: u64 = 10_000;

/// Objects of a state whose digest costs about as much as applying [`DIGEST_EVERY`] entries.
const DIGEST_OBJECTS: u64 = 5_000;

/// Digests kept for comparison: a proposal is a few thousand entries late at most.
const DIGESTS_KEPT: usize = 4;

/// What changed with entries that were applied together.
pub(crate) type Changes = Arc<[Change]>;

/// Waits until the cluster's own record changed, or all was replaced by a snapshot; false if nothing
/// will change any more.
pub(crate) async fn cluster_changed(changes: &mut broadcast::Receiver<Changes>) -> bool {
    loop {
        match changes.recv().await {
            Ok(changes) => {
                let of_cluster = |change: &Change| {
                    matches!(
                        change,
                        Change::Created(ObjectId::Cluster)
                            | Change::Updated(ObjectId::Cluster)
                            | Change::Replan(None)
                    )
                };
                if changes.iter().any(of_cluster) {
                    return true;
                }
            }
            Err(broadcast::error::RecvError::Lagged(_)) => return true,
            Err(broadcast::error::RecvError::Closed) => return false,
        }
    }
}

struct Machinery {
    state: RwLock<State>,
    position: RwLock<Position>,
    applied: watch::Sender<u64>,
    changes: broadcast::Sender<Changes>,
    /// Who is told what happened, if anybody is to follow it.
    events: OnceLock<Arc<Events>>,
    snapshots: Snapshots,
    anchors: Anchors,
    log_bytes: AtomicU64,
    snapshot_bytes: AtomicU64,
    snapshot_wanted: Notify,
    /// Counts snapshots that were made, whatever they cover.
    snapshots_written: watch::Sender<u64>,
    digests: Mutex<Digests>,
    /// Entries applied since this manager started, and what that took.
    entries: AtomicU64,
    apply_nanos: AtomicU64,
}

/// How often a state's digest is made: it reads every object, so its share of an entry stays the
/// same however many there are. A step of two, so that the multiples of one are those of the other.
fn digest_every(state: &State) -> u64 {
    let objects = state.secrets().len() + state.services().len() + state.tasks().len();
    DIGEST_EVERY * (objects as u64 / DIGEST_OBJECTS + 1).next_power_of_two()
}

/// Digests of this manager's state after certain entries.
#[derive(Default)]
struct Digests {
    by_index: BTreeMap<u64, Digest>,
    proposed: u64,
}

#[derive(Clone, Default)]
struct Position {
    last: Option<LogId>,
    membership: StoredMembership,
}

/// The state machine; a handle.
#[derive(Clone)]
pub(crate) struct Machine {
    shared: Arc<Machinery>,
    log: Option<LogStore>,
}

type Snapshot = openraft::Snapshot<LeaderId, u64, PeerNode, SnapshotData>;

impl Machine {
    /// Loads the newest snapshot, if there is one.
    pub(crate) fn open(snapshots: Snapshots, anchors: Anchors) -> Result<Self, SnapshotFileError> {
        let mut state = State::new();
        let mut position = Position::default();
        let mut snapshot_bytes = 0;
        if let Some(name) = snapshots.newest()? {
            let (head, loaded, bytes) = snapshots.load(&name)?;
            if let Some(last) = head.meta.last_log_id {
                anchors.set(last.index, head.link);
            }
            position =
                Position { last: head.meta.last_log_id, membership: head.meta.last_membership };
            (state, snapshot_bytes) = (loaded, bytes);
        }
        let applied = watch::Sender::new(position.last.map_or(0, |id| id.index));
        let shared = Machinery {
            state: RwLock::new(state),
            position: RwLock::new(position),
            applied,
            changes: broadcast::Sender::new(CHANGES_KEPT),
            events: OnceLock::new(),
            snapshots,
            anchors,
            log_bytes: AtomicU64::new(0),
            snapshot_bytes: AtomicU64::new(snapshot_bytes),
            snapshot_wanted: Notify::new(),
            snapshots_written: watch::Sender::new(0),
            digests: Mutex::default(),
            entries: AtomicU64::new(0),
            apply_nanos: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared), log: None })
    }

    /// Gives the machine the log, whose chain links stand in its snapshots.
    #[must_use]
    pub(crate) fn with_log(mut self, log: LogStore) -> Self {
        self.log = Some(log);
        self
    }

    /// The state, for as long as a look takes: never across a suspension.
    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.shared.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index of the last applied entry, to be waited for.
    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.shared.applied.subscribe()
    }

    /// What changes from now on.
    pub(crate) fn changes(&self) -> broadcast::Receiver<Changes> {
        self.shared.changes.subscribe()
    }

    /// Tells what happens from now on; once.
    pub(crate) fn tell(&self, events: Arc<Events>) {
        let state = self.shared.state.write().unwrap_or_else(PoisonError::into_inner);
        events.look(&state);
        // Set once, where a manager starts to serve.
        drop(self.shared.events.set(events));
    }

    /// Snapshot files, for sending and receiving.
    pub(crate) fn snapshots(&self) -> &Snapshots {
        &self.shared.snapshots
    }

    /// How many snapshots were made since this manager started, to be waited for.
    pub(crate) fn snapshots_written(&self) -> watch::Receiver<u64> {
        self.shared.snapshots_written.subscribe()
    }

    /// Waits until enough log has gathered for a snapshot.
    pub(crate) async fn snapshot_wanted(&self) {
        self.shared.snapshot_wanted.notified().await;
    }

    /// Counts since this manager started, by their names in the metrics.
    pub(crate) fn figures(&self) -> [(&'static str, u64); 2] {
        [
            ("applied", self.shared.entries.load(Ordering::Relaxed)),
            ("apply_nanoseconds", self.shared.apply_nanos.load(Ordering::Relaxed)),
        ]
    }

    fn position(&self) -> Position {
        self.shared.position.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Applies entries until one cannot be; what is not told yet is left in `changes`.
    async fn apply_each(
        &self,
        mut entries: impl Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>>
        + Unpin
        + OptionalSend,
        changes: &mut Vec<Change>,
    ) -> io::Result<()> {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let began = Instant::now();
            let answer = self.apply_entry(&entry, changes)?;
            if changes.len() >= CHANGES_AT_ONCE {
                self.tell_changes(changes);
            }
            let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.shared.apply_nanos.fetch_add(took, Ordering::Relaxed);
            self.shared.entries.fetch_add(1, Ordering::Relaxed);
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }

    /// Applies an entry; what it changed is added to what is to be told.
    fn apply_entry(&self, entry: &Entry, changes: &mut Vec<Change>) -> io::Result<Answer> {
        let index = entry.log_id.index;
        let mut membership = None;
        let mut state = self.shared.state.write().unwrap_or_else(PoisonError::into_inner);
        let applied = match &entry.payload {
            EntryPayload::Normal(proposal) => {
                Some(self.apply_command(&mut state, index, proposal)?)
            }
            EntryPayload::Blank => {
                state::pass(&mut state, index);
                None
            }
            EntryPayload::Membership(changed) => {
                state::pass(&mut state, index);
                membership = Some(StoredMembership::new(Some(entry.log_id), changed.clone()));
                None
            }
        };
        if let (Some(events), Some(applied)) = (self.shared.events.get(), &applied) {
            events.note(&state, &applied.changes);
        }
        if index.is_multiple_of(digest_every(&state)) {
            self.note_digest(index, state.clone());
        }
        drop(state);
        let mut position = self.shared.position.write().unwrap_or_else(PoisonError::into_inner);
        position.last = Some(entry.log_id);
        if let Some(membership) = membership {
            position.membership = membership;
        }
        drop(position);
        let outcome = applied.map(|Applied { outcome, changes: made }| {
            changes.extend(made);
            outcome
        });
        Ok(Answer { outcome })
    }

    /// Tells what changed, to everybody who follows: one waking for all of it.
    fn tell_changes(&self, changes: &mut Vec<Change>) {
        if !changes.is_empty() {
            // Nobody listening is fine.
            drop(self.shared.changes.send(std::mem::take(changes).into()));
        }
    }

    fn apply_command(
        &self,
        state: &mut State,
        index: u64,
        proposal: &Proposal,
    ) -> io::Result<Applied> {
        let Some(envelope) = proposal.take_envelope() else {
            tracing::error!(raft.index = index, "entry_unreadable");
            return Err(io::Error::other(format!(
                "log entry {index} is not a command this version reads: docs/operations/upgrade.md"
            )));
        };
        self.count(proposal.bytes().len() as u64);
        self.compare_digest(&envelope.body)?;
        state::apply(state, index, envelope).map_err(|error| {
            tracing::error!(raft.index = index, %error, "entry_unapplicable");
            let page = match error {
                Unapplicable::Format { .. } => "upgrade",
                Unapplicable::Diverged { .. } => "replace-manager",
            };
            io::Error::other(format!("{error}: docs/operations/{page}.md"))
        })
    }

    /// Works out the state's digest after an entry, off the way.
    fn note_digest(&self, index: u64, state: State) {
        let machine = self.clone();
        tokio::task::spawn_blocking(move || {
            let digest = state.digest();
            let mut digests = machine.digests();
            digests.by_index.insert(index, digest);
            while digests.by_index.len() > DIGESTS_KEPT {
                digests.by_index.pop_first();
            }
        });
    }

    fn digests(&self) -> MutexGuard<'_, Digests> {
        self.shared.digests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A digest that the leader has not proposed yet.
    pub(crate) fn digest_to_propose(&self) -> Option<(u64, Digest)> {
        let mut digests = self.digests();
        let (index, digest) = digests.by_index.last_key_value().map(|(i, d)| (*i, *d))?;
        if index <= digests.proposed {
            return None;
        }
        digests.proposed = index;
        Some((index, digest))
    }

    /// A manager whose state differs from its leader's stops. One that has no digest of that entry
    /// (it was not running then) has nothing to compare.
    fn compare_digest(&self, command: &Command) -> io::Result<()> {
        let Command::CheckDigest { index, digest } = command else { return Ok(()) };
        let own = self.digests().by_index.get(index).copied();
        if own.is_some_and(|own| own != *digest) {
            let error = Unapplicable::Diverged { index: *index };
            tracing::error!(%error, "state_diverged");
            let text = format!("{error}: docs/operations/replace-manager.md");
            return Err(io::Error::other(text));
        }
        Ok(())
    }

    /// Counts log bytes towards the next snapshot.
    fn count(&self, bytes: u64) {
        let shared = &self.shared;
        let gathered = shared.log_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let wanted = shared.snapshot_bytes.load(Ordering::Relaxed).max(SNAPSHOT_AFTER_BYTES);
        if gathered >= wanted {
            shared.log_bytes.store(0, Ordering::Relaxed);
            shared.snapshot_wanted.notify_one();
        }
    }

    fn tell_applied(&self) {
        let index = self.position().last.map_or(0, |id| id.index);
        self.shared.applied.send_if_modified(|applied| {
            let moved = *applied < index;
            *applied = index.max(*applied);
            moved
        });
    }

    fn install(&self, meta: &SnapshotMeta, snapshot: SnapshotData) -> io::Result<()> {
        let shared = &self.shared;
        let state = match snapshot.state {
            Some(state) => *state,
            None => snapshot.place.load(&snapshot.name)?.1,
        };
        let mut name = snapshot.name;
        if !shared.snapshots.is_same_place(&snapshot.place) {
            // Sealed for another disk: seal it for this one.
            let mut file = shared.snapshots.create(meta, snapshot.link)?;
            state.write(&mut |piece| file.write(piece))?;
            name = file.finish()?.name;
        }
        if let Some(last) = meta.last_log_id {
            shared.anchors.set(last.index, snapshot.link);
        }
        shared.snapshots.remove_older(&name)?;
        shared.snapshot_bytes.store(snapshot.bytes, Ordering::Relaxed);
        shared.log_bytes.store(0, Ordering::Relaxed);
        let mut current = shared.state.write().unwrap_or_else(PoisonError::into_inner);
        *current = state;
        if let Some(events) = shared.events.get() {
            events.leap(&current);
        }
        drop(current);
        *shared.position.write().unwrap_or_else(PoisonError::into_inner) =
            Position { last: meta.last_log_id, membership: meta.last_membership.clone() };
        // Everything may have changed: listeners compute anew.
        drop(shared.changes.send(Arc::new([Change::Replan(None)])));
        Ok(())
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let position = self.position();
        Ok((position.last, position.membership))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut changes = Vec::new();
        let outcome = self.apply_each(entries, &mut changes).await;
        self.tell_changes(&mut changes);
        if outcome.is_ok() {
            self.tell_applied();
        }
        outcome
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Builder> {
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        // Pointers are copied under the lock; the view is consistent since nothing is applied now.
        let state = self.state().clone();
        Builder { machine: self.clone(), position: self.position(), state: Some(state) }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        let (machine, meta) = (self.clone(), meta.clone());
        tokio::task::spawn_blocking(move || machine.install(&meta, snapshot))
            .await
            .map_err(io::Error::other)??;
        self.tell_applied();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let Some((name, head)) = self.shared.snapshots.head_of_newest()? else { return Ok(None) };
        let bytes = self.shared.snapshot_bytes.load(Ordering::Relaxed);
        let place = self.shared.snapshots.clone();
        let snapshot = SnapshotData { place, name, bytes, state: None, link: head.link };
        Ok(Some(Snapshot { meta: head.meta, snapshot }))
    }
}

/// A view of the state that is about to be written.
pub(crate) struct Builder {
    machine: Machine,
    position: Position,
    state: Option<State>,
}

impl Builder {
    async fn link(&self) -> io::Result<Link> {
        match (&self.position.last, &self.machine.log) {
            (Some(last), Some(log)) => log.link_at(last.index).await,
            _ => Ok([0; 32]),
        }
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let link = self.link().await?;
        let state = self.state.take().unwrap_or_default();
        let meta = SnapshotMeta {
            last_log_id: self.position.last,
            last_membership: self.position.membership.clone(),
        };
        let machine = self.machine.clone();
        tokio::task::spawn_blocking(move || {
            let snapshots = &machine.shared.snapshots;
            let mut file = snapshots.create(&meta, link)?;
            state.write(&mut |piece| file.write(piece))?;
            let snapshot = file.finish()?;
            // A newer one may have been installed meanwhile: the newest stays.
            snapshots.newest()?;
            machine.shared.snapshot_bytes.store(snapshot.bytes, Ordering::Relaxed);
            machine.shared.snapshots_written.send_modify(|count| *count += 1);
            Ok(Snapshot { meta, snapshot })
        })
        .await
        .map_err(io::Error::other)?
        .map_err(|error: crate::disk::DiskError| error.into())
    }
}
