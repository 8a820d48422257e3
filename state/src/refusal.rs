//! Why a command was refused, as data: the same on every manager.
//!
//! Not here: hints for people (service) and codes (proto's `Kind`).

use proto::Kind;
use proto::id::{MemberId, Revision};

/// Why a locked manager is not opened by its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseRefusal {
    /// It was removed from the cluster.
    #[error("evicted: it was removed from the cluster")]
    Evicted,
    /// Nobody is.
    #[error("off: peers do not unlock managers in this cluster")]
    Off,
    /// It named a generation that ended, or came with another key than that one's.
    #[error(
        "stale: this is not the disk that was last unlocked or served; it is an older copy, or \
         another copy was let in"
    )]
    Stale,
    /// It was away for too long.
    #[error("ended: it was down for longer than its boot certificate lives")]
    Ended,
    /// An operator's consent is missing.
    #[error("to be approved: an operator has to agree to it")]
    ToBeApproved,
    /// It was opened a moment ago.
    #[error("too soon: it was unlocked a moment ago")]
    TooSoon,
}

impl ReleaseRefusal {
    /// The kind of failure.
    const fn kind(self) -> Kind {
        match self {
            Self::Evicted => Kind::Evicted,
            Self::Off => Kind::Precondition,
            Self::Stale | Self::Ended | Self::ToBeApproved => Kind::Denied,
            Self::TooSoon => Kind::Unavailable,
        }
    }
}

/// A command was refused; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The object is not there.
    #[error("{what} {id} not found")]
    NotFound {
        /// The kind of object.
        what: String,
        /// What was asked for.
        id: String,
    },
    /// The name is taken.
    #[error("{what} {name} already exists (id {id})")]
    Exists {
        /// The kind of object.
        what: String,
        /// The name.
        name: String,
        /// Who has it.
        id: String,
    },
    /// Something still uses the object.
    #[error("{what} {name} is in use by the following {}: {}", plural(users), users.join(", "))]
    InUse {
        /// The kind of object.
        what: &'static str,
        /// Its name.
        name: String,
        /// Names of services.
        users: Vec<String>,
        /// Whether only previous specs hold it.
        previous_only: bool,
    },
    /// A service uses the network.
    #[error("network {network} is in use by service {service}")]
    NetworkInUse {
        /// Its id.
        network: String,
        /// The id of one that does.
        service: String,
    },
    /// The object changed since it was read.
    #[error("revision conflict: the object is at revision {current}")]
    Stale {
        /// Where it is now.
        current: Revision,
    },
    /// Whom key files are sealed to was changed since it was read.
    #[error(
        "whom key files are sealed to was changed meanwhile: they are at generation {generation}"
    )]
    RecipientsChanged {
        /// Counts the changes.
        generation: u64,
    },
    /// A bound was reached.
    #[error("{what} would exceed the limit of {limit}")]
    Limit {
        /// Of what.
        what: String,
        /// The bound.
        limit: u64,
    },
    /// The caller's group may not use the secret.
    #[error("secret {secret} may not be used by {caller}")]
    NotUsable {
        /// The secret's name.
        secret: String,
        /// The operator.
        caller: String,
    },
    /// The token does not admit.
    #[error("join token was not accepted: {reason}")]
    Token {
        /// Wrong, expired, used up, or for another role.
        reason: String,
    },
    /// A manager is not opened by its peers, or has no say about that.
    #[error("manager {member} is not unlocked by its peers: {reason}")]
    Release {
        /// Which.
        member: MemberId,
        /// Why not.
        reason: ReleaseRefusal,
    },
    /// The request does not fit the cluster's state.
    #[error("{reason}")]
    Precondition {
        /// Why, as a sentence.
        reason: String,
    },
    /// The same request key came with another request.
    #[error("this request key was used for another request")]
    KeyReused,
    /// A wrap in the command is not under the active key: the service wraps again.
    #[error("the payload's key is not wrapped under the active root key")]
    WrongRoot,
    /// A certificate or a transit key is of a CA that is dropped, or lacks the signature of one that
    /// is rotated in: the service signs again.
    #[error("the CA was rotated meanwhile: sign again")]
    OtherAuthority,
    /// The payload's transit key is no longer accepted.
    #[error("the transit key was retired: seal again")]
    TransitRetired,
    /// The payload id was used before.
    #[error("this sealed payload was used before")]
    PayloadReused,
}

const fn plural(users: &[String]) -> &'static str {
    if users.len() == 1 { "service" } else { "services" }
}

impl Refusal {
    pub(crate) fn not_found(what: &str, id: &impl ToString) -> Self {
        Self::NotFound { what: what.into(), id: id.to_string() }
    }

    pub(crate) fn precondition(reason: impl Into<String>) -> Self {
        Self::Precondition { reason: reason.into() }
    }

    pub(crate) fn limit(what: &str, limit: usize) -> Self {
        Self::Limit { what: what.into(), limit: limit as u64 }
    }

    /// The kind of failure.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::NotFound { .. } => Kind::NotFound,
            Self::Exists { .. } => Kind::Exists,
            Self::InUse { .. } | Self::NetworkInUse { .. } => Kind::InUse,
            Self::Stale { .. } | Self::RecipientsChanged { .. } | Self::TransitRetired => {
                Kind::Conflict
            }
            Self::Limit { .. } => Kind::TooLarge,
            Self::NotUsable { .. } => Kind::Denied,
            Self::Token { .. } => Kind::Unauthenticated,
            Self::Release { reason, .. } => reason.kind(),
            Self::Precondition { .. } => Kind::Precondition,
            Self::KeyReused | Self::PayloadReused => Kind::Invalid,
            Self::WrongRoot | Self::OtherAuthority => Kind::Unavailable,
        }
    }
}
