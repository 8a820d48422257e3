//! Why a command was refused, as data: the same on every manager.
//!
//! Not here: hints for people (service) and codes (proto's `Kind`).

use proto::Kind;
use proto::id::Revision;

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
    #[error("secret {name} is in use by the following {}: {}", plural(users), users.join(", "))]
    InUse {
        /// The secret.
        name: String,
        /// Names of services.
        users: Vec<String>,
        /// Whether only previous specs hold it.
        previous_only: bool,
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
            Self::InUse { .. } => Kind::InUse,
            Self::Stale { .. } | Self::RecipientsChanged { .. } | Self::TransitRetired => {
                Kind::Conflict
            }
            Self::Limit { .. } => Kind::TooLarge,
            Self::NotUsable { .. } => Kind::Denied,
            Self::Token { .. } => Kind::Unauthenticated,
            Self::Precondition { .. } => Kind::Precondition,
            Self::KeyReused | Self::PayloadReused => Kind::Invalid,
            Self::WrongRoot => Kind::Unavailable,
        }
    }
}
