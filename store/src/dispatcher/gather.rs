//! Output of a service's tasks from all managers, as one bounded stream.
//!
//! Each manager is asked for the nodes whose sessions it holds. While somebody follows, a manager
//! that was lost, or has just joined, is asked again, from where the output stood: a reader may see
//! the lines of the last millisecond twice, and misses none that an agent still has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proto::id::{MemberId, ServiceId};
use proto::pb;
use state::object::NodeState;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Dispatcher;
use crate::raft::Purpose;
use crate::service::now;

/// Records on their way to one reader.
const RECORDS_MAX: usize = 256;

/// Pause before a manager that was lost is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Time for a manager to begin answering.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

type Records = mpsc::Sender<Result<pb::OutputRecord, Status>>;

/// The newest time that was passed on, for each stream of each task.
type Progress = Arc<Mutex<BTreeMap<(String, i32), u64>>>;

/// One reader's wish.
#[derive(Clone)]
struct Gathering {
    dispatcher: Arc<Dispatcher>,
    service: ServiceId,
    selector: pb::OutputSelector,
    records: Records,
    progress: Progress,
}

impl Dispatcher {
    /// Output of a service's tasks, wherever they run.
    pub(crate) fn output_of_all(
        self: &Arc<Self>,
        service: ServiceId,
        mut selector: pb::OutputSelector,
    ) -> ReceiverStream<Result<pb::OutputRecord, Status>> {
        let (records, stream) = mpsc::channel(RECORDS_MAX);
        selector.service_id = service.to_string();
        let dispatcher = self.clone();
        let gathering =
            Gathering { dispatcher, service, selector, records, progress: Progress::default() };
        tokio::spawn(gathering.run());
        ReceiverStream::new(stream)
    }

    /// Nodes that have tasks of the service and no session anywhere.
    fn out_of_reach(&self, service: ServiceId) -> Vec<String> {
        let state = self.service.raft.machine.state();
        let nodes: BTreeSet<_> =
            state.tasks_of_service(service).filter_map(|(_, task)| task.node_id).collect();
        let silent = nodes.iter().filter_map(|id| state.node(*id));
        let silent = silent.filter(|node| node.state != NodeState::Ready);
        silent.map(|node| node.hostname.to_string()).collect()
    }
}

impl Gathering {
    async fn run(self) {
        for node in self.dispatcher.out_of_reach(self.service) {
            self.note(format!("node {node} is out of reach: its output is missing")).await;
        }
        let mut sources = JoinSet::new();
        let mut asked = BTreeSet::new();
        let mut again = self.clone();
        again.selector.since = again.selector.since.max(now().0);
        again.selector.tail = None;
        let mut first = true;
        loop {
            for member in self.members() {
                if asked.insert(member) {
                    let gathering = if first { self.clone() } else { again.clone() };
                    sources.spawn(async move {
                        gathering.read(member, first).await;
                        member
                    });
                }
            }
            first = false;
            let ended = tokio::select! {
                () = self.records.closed() => return,
                ended = sources.join_next() => ended,
                () = tokio::time::sleep(ASK_AGAIN_AFTER), if self.selector.follow => continue,
            };
            match ended {
                Some(Ok(member)) if self.selector.follow => {
                    tokio::time::sleep(ASK_AGAIN_AFTER).await;
                    asked.remove(&member);
                }
                Some(_) => {}
                None if self.selector.follow => {}
                None => return,
            }
        }
    }

    fn members(&self) -> BTreeSet<MemberId> {
        self.dispatcher.service.raft.members()
    }

    /// Passes on what one manager has to say.
    async fn read(&self, member: MemberId, say_if_lost: bool) {
        let outcome = if member == self.dispatcher.service.raft.me {
            self.read_own().await
        } else {
            self.read_peer(member).await
        };
        if let Err(status) = outcome
            && say_if_lost
        {
            tracing::debug!(%status, member = %member, "output_not_gathered");
            self.note(format!("manager {member} is out of reach: output may be missing")).await;
        }
    }

    async fn read_own(&self) -> Result<(), Status> {
        let mut records = self.dispatcher.output(self.service, self.selector.clone())?;
        while let Some(record) = records.recv().await {
            if !self.pass_on(record).await {
                break;
            }
        }
        Ok(())
    }

    async fn read_peer(&self, member: MemberId) -> Result<(), Status> {
        let mut client = self.dispatcher.service.raft.pool.client(member, Purpose::Calls)?;
        let request = pb::PeerOutputRequest { selector: Some(self.selector.clone()) };
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, client.stream_output(request));
        let late = |_| Status::deadline_exceeded("no answer");
        let mut records = answer.await.map_err(late)??.into_inner();
        while let Some(record) = records.message().await? {
            if !self.pass_on(record).await {
                break;
            }
        }
        Ok(())
    }

    /// Passes a record on unless it is older than what the reader has; false when nobody reads.
    async fn pass_on(&self, record: pb::OutputRecord) -> bool {
        {
            let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
            let newest = progress.entry((record.task_id.clone(), record.stream)).or_default();
            if record.at < *newest {
                return true;
            }
            *newest = record.at;
        }
        self.records.send(Ok(record)).await.is_ok()
    }

    async fn note(&self, text: String) {
        let record = pb::OutputRecord {
            at: now().0,
            stream: pb::OutputStream::System.into(),
            line: text.into(),
            ..pb::OutputRecord::default()
        };
        // Nobody reads any more.
        drop(self.records.send(Ok(record)).await);
    }
}
