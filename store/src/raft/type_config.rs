//! openraft's types, named once.
//!
//! A proposal is its encoded envelope; its `Debug` and `Display` say how large it is and nothing else,
//! since openraft logs entries.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use openraft::vote::leader_id_adv;
use state::command::Envelope;
use state::{Outcome, Refusal};

/// A member's address and machine, as the Raft membership carries them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PeerNode {
    pub(crate) address: String,
    pub(crate) node_id: String,
}

/// A command on its way through the log.
#[derive(Clone)]
pub(crate) struct Proposal(Arc<Encoded>);

struct Encoded {
    bytes: Bytes,
    /// On the manager that proposes it, until it is applied there.
    envelope: Mutex<Option<Envelope>>,
}

impl Proposal {
    /// Encodes an envelope; the decoded form is kept beside it until it is taken.
    pub(crate) fn new(envelope: Envelope) -> Self {
        // Room for a small secret, so that encoding one does not grow and copy.
        let mut bytes = Vec::with_capacity(1 << 10);
        minicbor::encode(&envelope, &mut bytes).expect("encoding into memory cannot fail");
        Self(Arc::new(Encoded { bytes: bytes.into(), envelope: Mutex::new(Some(envelope)) }))
    }

    /// Takes an encoded envelope from a peer or the disk; it is decoded when it is applied.
    pub(crate) fn from_bytes(bytes: Bytes) -> Self {
        Self(Arc::new(Encoded { bytes, envelope: Mutex::new(None) }))
    }

    /// The encoded envelope, the same bytes on every manager.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    /// The envelope, for who applies it; none if the bytes are not one of a format this version reads.
    ///
    /// An entry stays in memory long after it was applied, its decoded form does not.
    pub(crate) fn take_envelope(&self) -> Option<Envelope> {
        let kept = self.0.envelope.lock().unwrap_or_else(PoisonError::into_inner).take();
        kept.or_else(|| minicbor::decode(&self.0.bytes).ok())
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposal({} bytes)", self.0.bytes.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What applying an entry answered, and where it stands in the log.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// None for entries that are no commands.
    pub(crate) outcome: Option<Result<Outcome, Refusal>>,
}

openraft::declare_raft_types!(
    pub(crate) TypeConfig:
        D = Proposal,
        R = Answer,
        NodeId = u64,
        Node = PeerNode,
        AsyncRuntime = openraft_rt_tokio::TokioRuntime,
);

pub(crate) type LeaderId = leader_id_adv::LeaderId<u64, u64>;
pub(crate) type LogId = openraft::LogId<LeaderId>;
pub(crate) type Vote = openraft::Vote<LeaderId>;
pub(crate) type Payload = openraft::EntryPayload<Proposal, u64, PeerNode>;
pub(crate) type Entry = openraft::Entry<LeaderId, Payload>;
pub(crate) type Membership = openraft::Membership<u64, PeerNode>;
pub(crate) type StoredMembership = openraft::StoredMembership<LeaderId, u64, PeerNode>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<LeaderId, u64, PeerNode>;
