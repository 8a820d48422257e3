//! Our own forms of what Raft sends and stores, built from openraft's public constructors.
//!
//! openraft's serde layout is not persisted and not sent. Not here: transport, disk.
//!
//! Invariant: what a peer sent is checked before openraft sees it (entries are consecutive, votes
//! and ids are there); openraft only asserts such things.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, VoteRequest, VoteResponse,
};
use prost::Message as _;
use proto::id::MemberId;
use proto::pb;
use seal::RecordPlace;

use super::log::LogEntry;
use super::type_config::{
    Entry, LeaderId, LogId, Membership, Payload, PeerNode, Proposal, StoredMembership, TypeConfig,
    Vote,
};

/// First byte of a stored entry.
mod entry_kind {
    pub(super) const BLANK: u8 = 0;
    pub(super) const COMMAND: u8 = 1;
    pub(super) const MEMBERSHIP: u8 = 2;
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed {what}"))
}

pub(crate) fn log_id_to_pb(id: &LogId) -> pb::LogId {
    pb::LogId { term: id.leader_id.term, leader: id.leader_id.node_id, index: id.index }
}

pub(crate) fn log_id_from_pb(id: pb::LogId) -> LogId {
    LogId::new(LeaderId { term: id.term, node_id: id.leader }, id.index)
}

pub(crate) fn place_of(id: &LogId) -> RecordPlace {
    RecordPlace { term: id.leader_id.term, leader: MemberId(id.leader_id.node_id), index: id.index }
}

pub(crate) fn log_id_of(place: RecordPlace) -> LogId {
    LogId::new(LeaderId { term: place.term, node_id: place.leader.0 }, place.index)
}

pub(crate) fn vote_to_pb(vote: &Vote) -> pb::Vote {
    pb::Vote {
        term: vote.leader_id.term,
        leader: vote.leader_id.node_id,
        committed: vote.committed,
    }
}

pub(crate) fn vote_from_pb(vote: Option<pb::Vote>) -> io::Result<Vote> {
    let vote = vote.ok_or_else(|| malformed("message: it has no vote"))?;
    Ok(if vote.committed {
        Vote::new_committed(vote.term, vote.leader)
    } else {
        Vote::new(vote.term, vote.leader)
    })
}

pub(crate) fn membership_to_pb(membership: &Membership) -> pb::Membership {
    let configs = membership.get_joint_config().iter();
    pb::Membership {
        configs: configs
            .map(|config| pb::MemberSet { members: config.iter().copied().collect() })
            .collect(),
        nodes: membership
            .nodes()
            .map(|(member, node)| pb::PeerNode {
                member: *member,
                address: node.address.clone(),
                node_id: node.node_id.clone(),
            })
            .collect(),
    }
}

pub(crate) fn membership_from_pb(membership: pb::Membership) -> io::Result<Membership> {
    let configs: Vec<BTreeSet<u64>> =
        membership.configs.into_iter().map(|set| set.members.into_iter().collect()).collect();
    let nodes: BTreeMap<u64, PeerNode> = membership
        .nodes
        .into_iter()
        .map(|node| (node.member, PeerNode { address: node.address, node_id: node.node_id }))
        .collect();
    // Every voter has a node, no configuration is empty.
    Membership::new(configs, nodes).map_err(|_| malformed("membership"))
}

pub(crate) fn stored_membership_from_pb(
    id: Option<pb::LogId>,
    membership: Option<pb::Membership>,
) -> io::Result<StoredMembership> {
    let membership = membership_from_pb(membership.unwrap_or_default())?;
    Ok(StoredMembership::new(id.map(log_id_from_pb), membership))
}

/// An entry as it is stored: a kind and what goes with it; the same bytes on every manager.
pub(crate) fn entry_to_log(entry: &Entry) -> LogEntry {
    let bytes = match &entry.payload {
        Payload::Blank => Bytes::from_static(&[entry_kind::BLANK]),
        Payload::Normal(proposal) => {
            let mut bytes = Vec::with_capacity(1 + proposal.bytes().len());
            bytes.push(entry_kind::COMMAND);
            bytes.extend_from_slice(proposal.bytes());
            bytes.into()
        }
        Payload::Membership(membership) => {
            let mut bytes = vec![entry_kind::MEMBERSHIP];
            bytes.extend_from_slice(&membership_to_pb(membership).encode_to_vec());
            bytes.into()
        }
    };
    LogEntry { place: place_of(&entry.log_id), bytes }
}

pub(crate) fn entry_from_log(logged: &LogEntry) -> io::Result<Entry> {
    let (kind, rest) = logged.bytes.split_first().ok_or_else(|| malformed("log entry"))?;
    let payload = match *kind {
        entry_kind::BLANK if rest.is_empty() => Payload::Blank,
        entry_kind::COMMAND => Payload::Normal(Proposal::from_bytes(logged.bytes.slice(1..))),
        entry_kind::MEMBERSHIP => {
            let membership =
                pb::Membership::decode(rest).map_err(|_| malformed("membership entry"))?;
            Payload::Membership(membership_from_pb(membership)?)
        }
        _ => return Err(malformed("log entry of an unknown kind")),
    };
    Ok(Entry { log_id: log_id_of(logged.place), payload })
}

fn entry_to_pb(entry: &Entry) -> pb::Entry {
    let payload = match &entry.payload {
        Payload::Blank => pb::entry::Payload::Blank(true),
        Payload::Normal(proposal) => pb::entry::Payload::Command(proposal.bytes().clone()),
        Payload::Membership(membership) => {
            pb::entry::Payload::Membership(membership_to_pb(membership))
        }
    };
    pb::Entry { id: Some(log_id_to_pb(&entry.log_id)), payload: Some(payload) }
}

fn entry_from_pb(entry: pb::Entry) -> io::Result<Entry> {
    let id = entry.id.ok_or_else(|| malformed("entry: it has no id"))?;
    let payload = match entry.payload {
        Some(pb::entry::Payload::Blank(_)) => Payload::Blank,
        // It stays in the tail: as a slice it would keep the buffer of the whole message.
        Some(pb::entry::Payload::Command(bytes)) => {
            Payload::Normal(Proposal::from_bytes(Bytes::copy_from_slice(&bytes)))
        }
        Some(pb::entry::Payload::Membership(membership)) => {
            Payload::Membership(membership_from_pb(membership)?)
        }
        None => return Err(malformed("entry: it has no payload")),
    };
    Ok(Entry { log_id: log_id_from_pb(id), payload })
}

pub(crate) fn append_to_pb(
    request: &AppendEntriesRequest<TypeConfig>,
    target: u64,
) -> pb::AppendRequest {
    pb::AppendRequest {
        vote: Some(vote_to_pb(&request.vote)),
        previous: request.prev_log_id.as_ref().map(log_id_to_pb),
        commit: request.leader_commit.as_ref().map(log_id_to_pb),
        entries: request.entries.iter().map(entry_to_pb).collect(),
        target,
    }
}

pub(crate) fn append_from_pb(
    request: pb::AppendRequest,
) -> io::Result<AppendEntriesRequest<TypeConfig>> {
    let previous = request.previous.map(log_id_from_pb);
    let mut before = previous.as_ref().map(|id| id.index);
    let mut entries = Vec::with_capacity(request.entries.len());
    for entry in request.entries {
        let entry = entry_from_pb(entry)?;
        // Checked: a peer may say that the entry before has the largest index there is.
        let next = before.map_or(Some(0), |index| index.checked_add(1));
        if Some(entry.log_id.index) != next {
            return Err(malformed("append: its entries are not consecutive"));
        }
        before = next;
        entries.push(entry);
    }
    Ok(AppendEntriesRequest {
        vote: vote_from_pb(request.vote)?,
        prev_log_id: previous,
        leader_commit: request.commit.map(log_id_from_pb),
        entries,
    })
}

pub(crate) fn append_result_to_pb(result: &StreamAppendResult<TypeConfig>) -> pb::AppendResult {
    use pb::append_result::Result as Outcome;
    let outcome = match result {
        Ok(id) => Outcome::Matched(pb::Matched { id: id.as_ref().map(log_id_to_pb) }),
        Err(StreamAppendError::Conflict(id)) => Outcome::Conflict(log_id_to_pb(id)),
        Err(StreamAppendError::HigherVote(vote)) => Outcome::HigherVote(vote_to_pb(vote)),
    };
    pb::AppendResult { result: Some(outcome) }
}

pub(crate) fn append_result_from_pb(
    result: pb::AppendResult,
) -> io::Result<StreamAppendResult<TypeConfig>> {
    use pb::append_result::Result as Outcome;
    Ok(match result.result.ok_or_else(|| malformed("append result"))? {
        Outcome::Matched(matched) => Ok(matched.id.map(log_id_from_pb)),
        Outcome::Conflict(id) => Err(StreamAppendError::Conflict(log_id_from_pb(id))),
        Outcome::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote_from_pb(Some(vote))?)),
    })
}

pub(crate) fn vote_request_to_pb(
    request: &VoteRequest<TypeConfig>,
    target: u64,
) -> pb::VoteRequest {
    pb::VoteRequest {
        vote: Some(vote_to_pb(&request.vote)),
        last: request.last_log_id.as_ref().map(log_id_to_pb),
        leadership_transfer: request.leadership_transfer,
        target,
    }
}

pub(crate) fn vote_request_from_pb(
    request: pb::VoteRequest,
) -> io::Result<VoteRequest<TypeConfig>> {
    let vote = vote_from_pb(request.vote)?;
    let mut made = VoteRequest::new(vote, request.last.map(log_id_from_pb));
    made.leadership_transfer = request.leadership_transfer;
    Ok(made)
}

pub(crate) fn vote_response_to_pb(response: &VoteResponse<TypeConfig>) -> pb::VoteResponse {
    pb::VoteResponse {
        vote: Some(vote_to_pb(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(log_id_to_pb),
    }
}

pub(crate) fn vote_response_from_pb(
    response: pb::VoteResponse,
) -> io::Result<VoteResponse<TypeConfig>> {
    let vote = vote_from_pb(response.vote)?;
    Ok(VoteResponse::new(vote, response.last.map(log_id_from_pb), response.granted))
}

pub(crate) fn transfer_to_pb(
    request: &TransferLeaderRequest<TypeConfig>,
) -> pb::TransferLeaderRequest {
    pb::TransferLeaderRequest {
        from: Some(vote_to_pb(request.from_leader())),
        to: *request.to_node_id(),
        last: request.last_log_id().map(log_id_to_pb),
    }
}

pub(crate) fn transfer_from_pb(
    request: pb::TransferLeaderRequest,
) -> io::Result<TransferLeaderRequest<TypeConfig>> {
    let from = vote_from_pb(request.from)?;
    Ok(TransferLeaderRequest::new(from, request.to, request.last.map(log_id_from_pb)))
}

/// A refusal of a transfer only matters to the log: the leader goes on leading.
pub(crate) fn transfer_response_to_pb(
    response: Result<(), TransferLeaderError<TypeConfig>>,
) -> pb::TransferLeaderResponse {
    let refused = response.err().map(|error| error.to_string()).unwrap_or_default();
    pb::TransferLeaderResponse { refused }
}

pub(crate) fn vote_to_bytes(vote: &Vote) -> Bytes {
    vote_to_pb(vote).encode_to_vec().into()
}

pub(crate) fn vote_from_bytes(bytes: &[u8]) -> io::Result<Vote> {
    vote_from_pb(Some(pb::Vote::decode(bytes).map_err(|_| malformed("stored vote"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(term: u64, index: u64) -> LogId {
        LogId::new(LeaderId { term, node_id: 1 }, index)
    }

    fn membership() -> Membership {
        let node = |n: u64| PeerNode { address: format!("127.0.0.1:{n}"), node_id: "x".into() };
        let nodes: BTreeMap<_, _> = [(1, node(1)), (2, node(2)), (9, node(9))].into();
        Membership::new(vec![[1].into(), [1, 2].into()], nodes).unwrap()
    }

    fn entries() -> Vec<Entry> {
        let proposal = Proposal::from_bytes(Bytes::from_static(b"envelope"));
        vec![
            Entry { log_id: id(1, 5), payload: Payload::Blank },
            Entry { log_id: id(1, 6), payload: Payload::Normal(proposal) },
            Entry { log_id: id(2, 7), payload: Payload::Membership(membership()) },
        ]
    }

    fn same(one: &Entry, other: &Entry) -> bool {
        one.log_id == other.log_id && entry_to_log(one) == entry_to_log(other)
    }

    #[test]
    fn entries_survive_log_and_wire() {
        for entry in entries() {
            assert!(same(&entry_from_log(&entry_to_log(&entry)).unwrap(), &entry));
            assert!(same(&entry_from_pb(entry_to_pb(&entry)).unwrap(), &entry));
        }
        for bad in [&b""[..], &[9], &[0, 1], &[2, 0xff]] {
            let logged =
                LogEntry { place: place_of(&id(1, 1)), bytes: Bytes::copy_from_slice(bad) };
            assert!(entry_from_log(&logged).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_append_with_a_hole_is_refused() {
        let request = AppendEntriesRequest {
            vote: Vote::new_committed(2, 1),
            prev_log_id: Some(id(1, 4)),
            leader_commit: Some(id(1, 3)),
            entries: entries(),
        };
        let sent = append_to_pb(&request, 2);
        let back = append_from_pb(sent.clone()).unwrap();
        assert_eq!(back.entries.len(), 3);
        assert_eq!((back.vote, back.prev_log_id), (request.vote, request.prev_log_id));
        let mut hole = sent.clone();
        hole.entries.remove(1);
        assert!(append_from_pb(hole).is_err());
        let mut shifted = sent.clone();
        shifted.previous = Some(log_id_to_pb(&id(1, 3)));
        assert!(append_from_pb(shifted).is_err());
        let mut voteless = sent;
        voteless.vote = None;
        assert!(append_from_pb(voteless).is_err());
    }

    #[test]
    fn votes_survive() {
        for vote in [Vote::new(3, 2), Vote::new_committed(4, 1)] {
            assert_eq!(vote_from_bytes(&vote_to_bytes(&vote)).unwrap(), vote);
        }
        let mut request = VoteRequest::<TypeConfig>::new(Vote::new(3, 2), Some(id(1, 4)));
        request.leadership_transfer = true;
        assert_eq!(vote_request_from_pb(vote_request_to_pb(&request, 1)).unwrap(), request);
        let response = VoteResponse::<TypeConfig>::new(Vote::new(3, 2), None, true);
        assert_eq!(vote_response_from_pb(vote_response_to_pb(&response)).unwrap(), response);
    }

    #[test]
    fn a_membership_without_its_nodes_is_refused() {
        let mut sent = membership_to_pb(&membership());
        assert_eq!(membership_from_pb(sent.clone()).unwrap(), membership());
        sent.nodes.clear();
        assert!(membership_from_pb(sent).is_err());
    }
}
