//! A new life of the cluster: what it begins with.
//!
//! A cluster that lost the majority of its managers for good goes on from what one of them has, as
//! a cluster of that one. Its *incarnation* rises by one, so that nobody takes the managers of the
//! life before for the cluster any more. The command is the last entry of the snapshot that the new
//! log begins with: it is never seen without its effect. Not here: making that log (store).
//!
//! Invariant: incarnations rise by one, and with each only one member is left.

use minicbor::{Decode, Encode};
use proto::id::{Incarnation, KeyId, MemberId, Serial};

use crate::object::Certificate;

/// What a new life begins with; all of it made by the manager that is left.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BeginIncarnation {
    /// The one after the present one.
    #[n(0)]
    pub incarnation: Incarnation,
    /// The manager that is left.
    #[n(1)]
    pub member: MemberId,
    /// Serial number of its certificate of this life.
    #[n(2)]
    pub serial: Serial,
    /// That certificate.
    #[n(3)]
    pub certificate: Certificate,
    /// The log key that everything on its disk is under, made for this life.
    #[n(4)]
    pub log_key: KeyId,
    /// The root key that its key file holds.
    #[n(5)]
    pub root: KeyId,
    /// The recipients' generation that its key file is sealed for.
    #[n(6)]
    pub key_file_generation: u64,
    /// The highest format it can apply.
    #[n(7)]
    pub level_max: u16,
}
