//! What requests did, remembered so that a retry after an unknown outcome gets the first answer.
//!
//! Bounded, evicted in log order; objects that a request created keep its mark beyond that. No
//! answer holds a wrap or a payload.

use minicbor::{Decode, Encode};
use proto::id::{
    ConfigId, MemberId, NetworkId, NodeId, OperatorId, SecretId, ServiceId, TokenId, Version,
};

use crate::object::Digest;

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    /// It is done; there is nothing to say.
    #[n(0)]
    Done,
    /// A secret has this version now.
    #[n(1)]
    Secret {
        /// Which.
        #[n(0)]
        id: SecretId,
        /// Its current version.
        #[n(1)]
        version: Version,
    },
    /// A service was made or changed.
    #[n(2)]
    Service {
        /// Which.
        #[n(0)]
        id: ServiceId,
    },
    /// A node was admitted or changed.
    #[n(3)]
    Node {
        /// Which.
        #[n(0)]
        id: NodeId,
    },
    /// A member was admitted.
    #[n(4)]
    Member {
        /// Its id: the index of the entry.
        #[n(0)]
        id: MemberId,
        /// Its machine.
        #[n(1)]
        node_id: NodeId,
    },
    /// A token was made.
    #[n(5)]
    Token {
        /// Which.
        #[n(0)]
        id: TokenId,
    },
    /// An operator was added.
    #[n(6)]
    Operator {
        /// Which.
        #[n(0)]
        id: OperatorId,
    },
    /// So many steps of a plan took effect; the others were stale.
    #[n(7)]
    Steps {
        /// How many.
        #[n(0)]
        applied: u64,
        /// How many not.
        #[n(1)]
        stale: u64,
    },
    /// A config was made.
    #[n(120)]
    Config {
        /// Which.
        #[n(0)]
        id: ConfigId,
    },
    /// A network was made.
    #[n(110)]
    Network {
        /// Which.
        #[n(0)]
        id: NetworkId,
    },
    /// What was done is known by its place in the log: a generation, a grant.
    #[n(60)]
    Entry {
        /// The index of the entry.
        #[n(0)]
        index: u64,
    },
}

/// What a request did. Refusals are not remembered: a retry is judged anew.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Remembered {
    /// SHA-256 of the request.
    #[n(0)]
    pub(crate) digest: Digest,
    /// What it did.
    #[n(1)]
    pub(crate) outcome: Outcome,
}
