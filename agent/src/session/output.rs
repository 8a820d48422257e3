//! What tasks print, for whoever asks through the manager: subscriptions of a session.
//!
//! Each subscription has a task of its own, which reads the output of the tasks that match. All of
//! them share one place to put the next chunk; the session takes it when it has nothing else to
//! send. Not here: reading ([`crate::logs`]), and who may ask (the managers).
//!
//! Invariant: between a task's files and the transport there are at most one chunk of the session
//! and two batches of each task that is being read, so that a slow manager slows its readers down,
//! and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message as _;
use proto::id::{NodeId, ServiceId, TaskId, Timestamp};
use proto::pb;
use proto::task::TaskState;
use sys::file::Folder;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::clock;
use crate::logs::{self, LogsError};
use crate::output::{Line, Selection, Stream};
use crate::supervisor::status::explained;
use crate::worker::{Assigned, Handle, Statuses};

/// Subscriptions of one session at a time.
const SUBSCRIPTIONS_MAX: usize = 64;

/// Tasks that are read at a time, over all subscriptions of a session; more wait for their turn.
const READERS_MAX: usize = 256;

/// Bytes of records in one chunk, but for the last one in it.
const CHUNK_BYTES: usize = 256 << 10;

/// What is wanted of one subscription.
struct Wanted {
    subscription: u64,
    /// All tasks of this service, or, without one, of any.
    service_id: Option<ServiceId>,
    /// Only this task.
    task_id: Option<TaskId>,
    follow: bool,
    selection: Selection,
}

impl Wanted {
    /// Reads a request; none if it names nothing that could be read.
    fn parse(wanted: &pb::OutputWanted) -> Option<Self> {
        let selector = wanted.selector.as_ref()?;
        let service_id = match selector.service_id.as_str() {
            "" => None,
            id => Some(id.parse().ok()?),
        };
        let task_id = match selector.task_id.as_str() {
            "" => None,
            id => Some(id.parse().ok()?),
        };
        if service_id.is_none() && task_id.is_none() {
            return None;
        }
        Some(Self {
            subscription: wanted.subscription,
            service_id,
            task_id,
            follow: selector.follow,
            selection: Selection {
                since: Timestamp(selector.since),
                tail: selector.tail,
                stdout: selector.stdout,
                stderr: selector.stderr,
            },
        })
    }

    /// The tasks that match and have been started, so that there is something to read.
    fn readable(&self, assigned: &Assigned, statuses: &Statuses) -> BTreeSet<TaskId> {
        let matching = assigned.values().filter(|assignment| {
            self.service_id.is_none_or(|id| assignment.service_id == id)
                && self.task_id.is_none_or(|id| assignment.task_id == id)
        });
        let ids = matching.map(|assignment| assignment.task_id);
        ids.filter(|id| statuses.get(id).is_some_and(|s| s.state >= TaskState::Running)).collect()
    }

    /// Whether tasks that match may still come, or start.
    fn may_grow(&self, assigned: &Assigned, statuses: &Statuses) -> bool {
        self.follow
            && self.task_id.is_none_or(|id| {
                assigned.contains_key(&id)
                    && statuses.get(&id).is_none_or(|status| status.state < TaskState::Running)
            })
    }
}

/// What reading needs of this agent.
#[derive(Clone)]
struct Source {
    node_id: NodeId,
    worker: Handle,
    readers: Arc<Semaphore>,
    chunks: mpsc::Sender<pb::OutputChunk>,
}

/// The subscriptions of one session. They end with it.
pub(crate) struct Subscriptions {
    source: Source,
    chunks: mpsc::Receiver<pb::OutputChunk>,
    running: JoinSet<()>,
    by_number: BTreeMap<u64, tokio::task::AbortHandle>,
}

impl Subscriptions {
    /// None yet.
    pub(crate) fn new(worker: &Handle, node_id: NodeId) -> Self {
        let (sender, chunks) = mpsc::channel(1);
        let source = Source {
            node_id,
            worker: worker.clone(),
            readers: Arc::new(Semaphore::new(READERS_MAX)),
            chunks: sender,
        };
        Self { source, chunks, running: JoinSet::new(), by_number: BTreeMap::new() }
    }

    /// Begins a subscription, in the place of one of the same number.
    pub(crate) fn want(&mut self, wanted: pb::OutputWanted) {
        self.unwant(wanted.subscription);
        while self.running.try_join_next().is_some() {}
        self.by_number.retain(|_, running| !running.is_finished());
        let source = self.source.clone();
        let subscription = wanted.subscription;
        let is_room = self.by_number.len() < SUBSCRIPTIONS_MAX;
        let serve = async move {
            match Wanted::parse(&wanted).filter(|_| is_room) {
                Some(wanted) => serve(&wanted, &source).await,
                None => {
                    tracing::warn!(subscription = wanted.subscription, "output_not_served");
                }
            }
            let end = pb::OutputChunk {
                subscription: wanted.subscription,
                records: Vec::new(),
                end: true,
            };
            // Without a session there is nobody to tell.
            source.chunks.send(end).await.ok();
        };
        let running = self.running.spawn(serve);
        self.by_number.insert(subscription, running);
    }

    /// Ends a subscription.
    pub(crate) fn unwant(&mut self, subscription: u64) {
        if let Some(running) = self.by_number.remove(&subscription) {
            running.abort();
        }
    }

    /// The next chunk of any subscription that is still wanted. Waits for ever if there is none.
    pub(crate) async fn next(&mut self) -> pb::OutputChunk {
        loop {
            match self.chunks.recv().await {
                Some(chunk) if self.by_number.contains_key(&chunk.subscription) => return chunk,
                // Of one that was ended meanwhile.
                Some(_) => {}
                // Not as long as this holds a sender of its own.
                None => std::future::pending().await,
            }
        }
    }
}

/// Reads what matches until all of it was read, and with `follow` until nothing more can come.
async fn serve(wanted: &Wanted, source: &Source) {
    let mut assigned = source.worker.assigned();
    let mut statuses = source.worker.statuses();
    let mut begun = BTreeSet::new();
    let mut readers = JoinSet::new();
    let Ok(tasks) = source.worker.tasks().try_clone().map(Arc::new) else {
        return tracing::warn!("output_not_served");
    };
    loop {
        let may_grow = {
            let (assigned, statuses) = (assigned.borrow_and_update(), statuses.borrow_and_update());
            let none = Assigned::new();
            let assigned = assigned.as_deref().unwrap_or(&none);
            let new = wanted.readable(assigned, &statuses);
            for task_id in new.into_iter().filter(|task_id| begun.insert(*task_id)) {
                let (subscription, follow) = (wanted.subscription, wanted.follow);
                let reader = Reader { subscription, task_id, follow, source: source.clone() };
                readers.spawn(reader.read(Arc::clone(&tasks), wanted.selection));
            }
            wanted.may_grow(assigned, &statuses)
        };
        if readers.is_empty() && !may_grow {
            return;
        }
        tokio::select! {
            Some(_) = readers.join_next() => {}
            changed = changed(&mut assigned, &mut statuses), if may_grow => if !changed { return },
        }
    }
}

/// Waits for either; false if there is no worker any more.
async fn changed(
    assigned: &mut watch::Receiver<Option<Arc<Assigned>>>,
    statuses: &mut watch::Receiver<Statuses>,
) -> bool {
    tokio::select! {
        changed = assigned.changed() => changed.is_ok(),
        changed = statuses.changed() => changed.is_ok(),
    }
}

/// Reads one task for one subscription.
struct Reader {
    subscription: u64,
    task_id: TaskId,
    follow: bool,
    source: Source,
}

impl Reader {
    async fn read(self, tasks: Arc<Folder>, selection: Selection) {
        // Not closed as long as this has it.
        let Ok(_turn) = self.source.readers.acquire().await else { return };
        let (sender, mut batches) = mpsc::channel(1);
        let read = logs::read(&tasks, self.task_id, selection, self.follow, sender);
        let this = &self;
        // Owns its end, so that the reading ends with it.
        let pass_on = async move {
            while let Some(lines) = batches.recv().await {
                if !this.send(lines).await {
                    return;
                }
            }
        };
        let (result, ()) = tokio::join!(read, pass_on);
        match result {
            Ok(()) => {}
            // It was never started, or was forgotten just now: there is nothing to read.
            Err(LogsError::Folder { source, .. }) if source.is_not_found() => {}
            Err(error) => {
                let line = explained(&error).into_bytes();
                let stream = Stream::System;
                self.send(vec![Line { at: clock::now(), stream, dropped: 0, line }]).await;
            }
        }
    }

    /// Sends lines in chunks; false if nobody takes them any more.
    async fn send(&self, lines: Vec<Line>) -> bool {
        let records = lines.into_iter().map(|line| self.record(line));
        for records in chunks(records) {
            let chunk = pb::OutputChunk { subscription: self.subscription, records, end: false };
            if self.source.chunks.send(chunk).await.is_err() {
                return false;
            }
        }
        true
    }

    fn record(&self, line: Line) -> pb::OutputRecord {
        let stream = match line.stream {
            Stream::Stdout => pb::OutputStream::Stdout,
            Stream::Stderr => pb::OutputStream::Stderr,
            Stream::System => pb::OutputStream::System,
        };
        pb::OutputRecord {
            task_id: self.task_id.to_string(),
            node_id: self.source.node_id.to_string(),
            at: line.at.0,
            stream: stream.into(),
            line: line.line.into(),
            dropped: line.dropped,
        }
    }
}

/// Groups records of about [`CHUNK_BYTES`].
fn chunks(
    records: impl Iterator<Item = pb::OutputRecord>,
) -> impl Iterator<Item = Vec<pb::OutputRecord>> {
    let mut records = records.peekable();
    std::iter::from_fn(move || {
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        while let Some(record) = records.next_if(|_| bytes < CHUNK_BYTES) {
            bytes += record.encoded_len();
            chunk.push(record);
        }
        (!chunk.is_empty()).then_some(chunk)
    })
}
