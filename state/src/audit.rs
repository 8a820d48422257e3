//! The audit: a record of every change, derived from its command, chained by hash.
//!
//! Each record's chain value is `SHA-256(previous chain ‖ encoded record)`, so a record cannot be
//! altered or left out without changing every later one. The state keeps the last
//! [`AUDIT_RECORDS_MAX`]; who exported the older ones can still check them against the chain.
//!
//! Not here: refusals before proposing (counted and committed as summaries) and deliveries
//! (recorded by the manager that delivers, before the payload leaves).

use std::collections::VecDeque;

use minicbor::{Decode, Encode};
use proto::id::Timestamp;
use proto::identity::Caller;
use proto::limits::AUDIT_RECORDS_MAX;
use sha2::Digest as _;

use crate::object::{Digest, ObjectId};

/// Room for an encoded record; one that is longer makes its buffer grow.
const RECORD_BYTES: usize = 256;

/// One change, or one summary of refusals.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AuditRecord {
    /// The log entry.
    #[n(0)]
    pub index: u64,
    /// When, by the leader's clock.
    #[n(1)]
    pub at: Timestamp,
    /// Who.
    #[n(2)]
    pub caller: Caller,
    /// What.
    #[n(3)]
    pub action: String,
    /// To what.
    #[n(4)]
    pub object: ObjectId,
    /// `ok`, or the kind of refusal.
    #[n(5)]
    pub outcome: String,
    /// How many, for summaries.
    #[n(6)]
    pub count: u64,
}

/// The last records, and the chain over all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLog {
    records: VecDeque<(AuditRecord, Digest)>,
    chain: Digest,
}

impl Default for AuditLog {
    fn default() -> Self {
        Self { records: VecDeque::new(), chain: Digest([0; 32]) }
    }
}

impl AuditLog {
    /// The chain's next value.
    pub fn link(previous: &Digest, record: &AuditRecord) -> Digest {
        let mut encoded = Vec::with_capacity(RECORD_BYTES);
        minicbor::encode(record, &mut encoded).expect("encoding into memory cannot fail");
        let mut hash = sha2::Sha256::new();
        hash.update(previous.0);
        hash.update(encoded);
        Digest(hash.finalize().into())
    }

    pub(crate) fn push(&mut self, record: AuditRecord) {
        self.chain = Self::link(&self.chain, &record);
        self.records.push_back((record, self.chain));
        while self.records.len() > AUDIT_RECORDS_MAX {
            self.records.pop_front();
        }
    }

    /// The records kept, oldest first, each with the chain's value after it.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = &(AuditRecord, Digest)> {
        self.records.iter()
    }

    /// The chain's value after the last record.
    pub const fn chain(&self) -> Digest {
        self.chain
    }

    pub(crate) fn restore(chain: Digest, records: VecDeque<(AuditRecord, Digest)>) -> Self {
        Self { records, chain }
    }
}
