//! What a manager tells the leader: sessions it holds, statuses, refusals, itself.
//!
//! Statuses are gathered for a moment (50 ms) and acknowledged to their agents once the leader
//! has committed them; until then they are kept, through elections and outages. Heartbeats never
//! enter the log: only the leader decides which change does.
//!
//! Invariant: a status is acknowledged only after it was committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::id::{MemberId, NodeId};
use proto::pb;
use proto::task::TaskStatus;
use state::command::cut_status;
use state::object::NodeReport;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::leader::Inbox;
use crate::raft::Purpose;
use crate::service::Service;

/// How often a manager reports though nothing happened.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// How long statuses are gathered: many tasks start at once.
const GATHER: Duration = Duration::from_millis(50);

/// Statuses in one report: with the most that is kept of each, 7 MiB, which a message between managers
/// has room for. A report that is larger would be tried again for ever, and nothing after it told.
const STATUSES_MAX: usize = 1_000;

/// What agents say of themselves, in one report: 310 KiB, if each says what it may. The rest is told
/// once these are known.
const SAID_MAX: usize = 500;

/// The runtimes of nodes, as agents and managers call them.
const PROCESS: &str = "process";
const ENGINE: &str = "docker";

/// Whether runtimes that were told have a container engine among them; none if none were told.
pub(crate) fn has_engine(runtimes: &[String]) -> Option<bool> {
    (!runtimes.is_empty()).then(|| runtimes.iter().any(|name| name == ENGINE))
}

/// Time for the leader to commit a report.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

type Done = Box<dyn FnOnce() + Send>;

struct Pending {
    node: NodeId,
    statuses: Vec<TaskStatus>,
    done: Done,
}

#[derive(Default)]
struct Gathered {
    in_touch: BTreeSet<NodeId>,
    gone: BTreeSet<NodeId>,
    /// Of nodes that have a session here, until the state has it: told again until then, since a
    /// leader may end before it has committed it.
    said: BTreeMap<NodeId, NodeReport>,
    statuses: Vec<Pending>,
}

/// What waits to be told to the leader.
#[derive(Default)]
pub(crate) struct Outbox {
    gathered: Mutex<Gathered>,
    news: Notify,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn node_is_in_touch(&self, node: NodeId) {
        let mut gathered = self.lock();
        gathered.gone.remove(&node);
        gathered.in_touch.insert(node);
        drop(gathered);
        self.news.notify_one();
    }

    pub(crate) fn node_is_gone(&self, node: NodeId) {
        let mut gathered = self.lock();
        gathered.in_touch.remove(&node);
        gathered.gone.insert(node);
        // What it says next it may say to another manager, and this must not come after that.
        gathered.said.remove(&node);
        drop(gathered);
        self.news.notify_one();
    }

    pub(crate) fn node_says(&self, node: NodeId, mut report: NodeReport) {
        report.cut();
        self.lock().said.insert(node, report);
        self.news.notify_one();
    }

    /// There is something to tell that is not kept here: what keys this manager holds.
    pub(crate) fn tell(&self) {
        self.news.notify_one();
    }

    /// Queues statuses; `done` is called once they are committed.
    pub(crate) fn statuses(&self, node: NodeId, mut statuses: Vec<TaskStatus>, done: Done) {
        statuses.iter_mut().for_each(cut_status);
        self.lock().statuses.push(Pending { node, statuses, done });
        self.news.notify_one();
    }

    /// What agents say of themselves and the state, as this manager has it, does not; what it does is
    /// forgotten, and so is what nodes said that are not there any more.
    fn said(&self, known: impl Fn(NodeId) -> Option<NodeReport>) -> Vec<(NodeId, NodeReport)> {
        let mut gathered = self.lock();
        gathered.said.retain(|node, said| known(*node).is_some_and(|known| known != *said));
        let said = gathered.said.iter().take(SAID_MAX);
        said.map(|(node, said)| (*node, said.clone())).collect()
    }

    fn take_statuses(&self) -> Vec<Pending> {
        let mut gathered = self.lock();
        let mut count = 0;
        let fits = gathered.statuses.iter().take_while(|pending| {
            let first = count == 0;
            count += pending.statuses.len();
            first || count <= STATUSES_MAX
        });
        let fits = fits.count();
        gathered.statuses.drain(..fits).collect()
    }

    fn put_back(&self, mut pending: Vec<Pending>) {
        let mut gathered = self.lock();
        pending.append(&mut gathered.statuses);
        gathered.statuses = pending;
    }
}

/// Reports until `stop`: at once when something happened, else every second.
pub(crate) async fn report(
    service: Arc<Service>,
    outbox: Arc<Outbox>,
    inbox: Arc<Inbox>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = outbox.news.notified() => tokio::time::sleep(GATHER).await,
            () = service.moves.news.notified() => tokio::time::sleep(GATHER).await,
            () = tokio::time::sleep(REPORT_EVERY) => {}
        }
        let pending = outbox.take_statuses();
        let denials = service.denials.take();
        let request = request(&service, &outbox, &pending, &denials);
        let told = tokio::time::timeout(REPORT_TIMEOUT, tell(&service, &inbox, request)).await;
        match told {
            Ok(Ok(())) => pending.into_iter().for_each(|pending| (pending.done)()),
            other => {
                tracing::debug!(failed = ?other, "report_not_taken");
                outbox.put_back(pending);
                service.denials.put_back(denials);
            }
        }
    }
}

fn request(
    service: &Service,
    outbox: &Outbox,
    pending: &[Pending],
    denials: &[state::command::Denial],
) -> pb::ReportRequest {
    let word = service.key_desk.word();
    let holds = service.keys.identity();
    let opened = service.local.brought.as_ref();
    let held = service.roots.held();
    let (used, said) = {
        let state = service.raft.machine.state();
        let said = outbox.said(|node| state.node(node).map(|node| node.report.clone()));
        (service.moves.pending(&state), said)
    };
    let gathered = outbox.lock();
    let texts = |nodes: &BTreeSet<NodeId>| nodes.iter().map(ToString::to_string).collect();
    pb::ReportRequest {
        ready_nodes: texts(&gathered.in_touch),
        gone_nodes: texts(&gathered.gone),
        statuses: pending
            .iter()
            .map(|pending| pb::NodeStatuses {
                node_id: pending.node.to_string(),
                statuses: pending.statuses.iter().cloned().map(Into::into).collect(),
            })
            .collect(),
        denials: denials
            .iter()
            .map(|denial| pb::Denials {
                caller: minicbor::to_vec(denial.caller).unwrap_or_default().into(),
                action: denial.action.clone(),
                count: denial.count,
            })
            .collect(),
        reports: said.into_iter().map(node_report).collect(),
        reporter: Some(service.describe_self()),
        root_key_id: holds.root.as_bytes().to_vec().into(),
        key_file_generation: holds.generation,
        opened_slot: opened.map(|public| public.as_bytes().clone()).unwrap_or_default(),
        log_key_id: word.map(|(_, key)| key.as_bytes().to_vec().into()).unwrap_or_default(),
        log_key_epoch: word.map_or(0, |(epoch, _)| epoch),
        held_root_key_ids: held.iter().map(|id| id.as_bytes().to_vec().into()).collect(),
        used_certificates: used.iter().map(|id| id.as_bytes().to_vec().into()).collect(),
    }
}

fn node_report((node, said): (NodeId, NodeReport)) -> pb::NodeReport {
    pb::NodeReport {
        node_id: node.to_string(),
        message: said.message,
        agent_version: said.agent_version,
        runtimes: match said.has_engine {
            Some(true) => vec![PROCESS.to_owned(), ENGINE.to_owned()],
            Some(false) => vec![PROCESS.to_owned()],
            None => Vec::new(),
        },
        ..pb::NodeReport::default()
    }
}

/// Hands a report to the leader, which may be this manager.
async fn tell(
    service: &Service,
    inbox: &Inbox,
    request: pb::ReportRequest,
) -> Result<(), link::Failure> {
    let me = service.raft.me;
    let leadership = *service.raft.leadership().borrow();
    if leadership.leading {
        return inbox.take(service, me, request).await;
    }
    let leader: MemberId = leadership.leader.ok_or_else(crate::service::no_leader)?;
    let mut client = service.raft.pool.client(leader, Purpose::Calls)?;
    client.report(request).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use proto::id::{SecretId, TaskId, Timestamp, Version};
    use proto::limits::{
        AGENT_VERSION_BYTES_MAX, NODES_MAX, REFERENCES_MAX, STATUS_MESSAGE_BYTES_MAX,
    };
    use proto::task::{Mounted, TaskState};

    use super::*;
    use crate::raft::PEER_MESSAGE_BYTES_MAX;

    /// Nodes that are there, and of which the state has nothing that their agents said.
    const NOTHING_KNOWN: fn(NodeId) -> Option<NodeReport> = |_| Some(NodeReport::default());

    fn numbered(number: usize) -> NodeId {
        let mut entropy = [0; 17];
        entropy[9..].copy_from_slice(&number.to_be_bytes());
        NodeId::from_entropy(entropy)
    }

    #[test]
    fn what_a_node_says_is_told_until_it_is_known_or_the_node_is_gone() {
        let outbox = Outbox::default();
        let [one, other] = [numbered(1), numbered(2)];
        let version = |text: &str| NodeReport { agent_version: text.into(), ..Default::default() };
        outbox.node_says(one, version("1"));
        outbox.node_says(other, version("1"));
        let told = [(one, version("1")), (other, version("1"))];
        assert_eq!(outbox.said(NOTHING_KNOWN), told);
        assert_eq!(outbox.said(NOTHING_KNOWN), told, "it may have been lost with a leader");
        let of_one = |node: NodeId| Some(version(if node == one { "1" } else { "" }));
        assert_eq!(outbox.said(of_one), told[1..]);
        // Known as something else since, by another manager: that is newer.
        assert_eq!(outbox.said(NOTHING_KNOWN), told[1..], "what was known is forgotten");
        outbox.node_is_gone(other);
        assert_eq!(outbox.said(NOTHING_KNOWN), []);
        outbox.node_says(other, version("2"));
        assert_eq!(outbox.said(|_| None), [], "it was removed");
        assert!(outbox.lock().said.is_empty());
    }

    #[test]
    fn what_many_nodes_say_is_told_a_report_full_at_a_time() {
        let outbox = Outbox::default();
        let said = NodeReport { message: "m".into(), agent_version: "1".into(), has_engine: None };
        let say =
            |count| (0..count).for_each(|number| outbox.node_says(numbered(number), said.clone()));
        say(SAID_MAX);
        assert_eq!(outbox.said(NOTHING_KNOWN).len(), SAID_MAX);
        say(SAID_MAX + 1);
        let first = outbox.said(NOTHING_KNOWN);
        assert_eq!(first.len(), SAID_MAX);
        let first: BTreeMap<_, _> = first.into_iter().collect();
        let known = |node: NodeId| Some(first.get(&node).cloned().unwrap_or_default());
        assert_eq!(outbox.said(known).len(), 1);
    }

    #[test]
    fn what_liars_say_at_length_leaves_room_for_what_others_say() {
        let outbox = Outbox::default();
        let node = NodeId::from_entropy([1; 17]);
        let at = Timestamp(u64::MAX);
        let secret_id = SecretId::from_entropy([1; 17]);
        let value = Mounted { secret_id, version: Version(u64::MAX), since: at };
        let status = TaskStatus {
            task_id: TaskId::from_entropy([1; 17]),
            state: TaskState::Running,
            at,
            message: "x".repeat(STATUS_MESSAGE_BYTES_MAX + 1),
            exit_code: Some(i32::MIN),
            mounted: vec![value; REFERENCES_MAX + 1],
        };
        outbox.statuses(node, vec![status; STATUSES_MAX], Box::new(|| ()));
        let long = || "x".repeat(1 << 20);
        outbox.node_says(
            node,
            NodeReport { message: long(), agent_version: long(), has_engine: None },
        );
        let [(_, said)] = outbox.said(NOTHING_KNOWN).try_into().unwrap();
        assert_eq!(said.message.len(), STATUS_MESSAGE_BYTES_MAX);
        assert_eq!(said.agent_version.len(), AGENT_VERSION_BYTES_MAX);
        let [pending] = outbox.take_statuses().try_into().ok().unwrap();
        assert_eq!(pending.statuses[0].message.len(), STATUS_MESSAGE_BYTES_MAX);
        assert_eq!(pending.statuses[0].mounted.len(), REFERENCES_MAX);
        let statuses = pending.statuses.into_iter().map(Into::into).collect();
        let statuses = vec![pb::NodeStatuses { node_id: node.to_string(), statuses }];
        // Beside all that others may say of themselves, in a cluster of as many nodes as there may be.
        let reports = (0..SAID_MAX).map(|_| node_report((node, said.clone()))).collect();
        let ready_nodes = vec![node.to_string(); NODES_MAX];
        let report =
            pb::ReportRequest { statuses, reports, ready_nodes, ..pb::ReportRequest::default() };
        let bytes = report.encoded_len();
        assert!(bytes < PEER_MESSAGE_BYTES_MAX, "{bytes} bytes");
    }
}
