//! Failures on the wire: `proto::Kind`, a message, a reason and hints, in a gRPC status.
//!
//! The status carries an encoded `ErrorDetail`; its own message is the first line, for clients
//! that know nothing of ours.

use prost::Message as _;
use proto::{Kind, pb};
use tonic::{Code, Status};

/// The name of an answer's metadata that asks an operator's tool to renew its certificate now.
pub const RENEW_NOW: &str = "secretd-renew-now";

/// A failed call, as either end sees it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind.
    pub kind: Kind,
    /// What happened.
    pub message: String,
    /// Why, if known.
    pub because: Option<String>,
    /// What to do next.
    pub hints: Vec<String>,
}

impl Failure {
    /// A failure with nothing but its message.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), because: None, hints: Vec::new() }
    }

    /// Adds why.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.because = Some(reason.into());
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Whether the handshake failed on the certificate of whoever answered. There is only text to
    /// tell it by: the transport hands on no types.
    pub fn is_of_foreign_peer(&self) -> bool {
        self.because.as_ref().is_some_and(|because| because.contains("invalid peer certificate"))
    }

    /// Whether whoever answered does not know the CA of the certificate that was shown.
    pub fn is_of_unknown_ca(&self) -> bool {
        self.because.as_ref().is_some_and(|because| because.contains("alert: UnknownCA"))
    }

    /// The failure as a message of its own, for forwarding.
    pub fn into_detail(self) -> pb::ErrorDetail {
        pb::ErrorDetail {
            kind: self.kind.to_string(),
            message: self.message,
            because: self.because.unwrap_or_default(),
            hints: self.hints,
        }
    }

    /// Reads a failure that was forwarded; a kind that is not known counts as internal.
    pub fn from_detail(detail: pb::ErrorDetail) -> Self {
        Self {
            kind: detail.kind.parse().unwrap_or(Kind::Internal),
            message: detail.message,
            because: Some(detail.because).filter(|because| !because.is_empty()),
            hints: detail.hints,
        }
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let code = Code::from_i32(failure.kind.grpc_code());
        let message = failure.message.clone();
        let detail = failure.into_detail().encode_to_vec();
        Self::with_details(code, message, detail.into())
    }
}

impl From<Status> for Failure {
    /// Reads a status. One without our detail was made by the transport.
    fn from(status: Status) -> Self {
        if !status.details().is_empty()
            && let Ok(detail) = pb::ErrorDetail::decode(status.details())
        {
            return Self::from_detail(detail);
        }
        let kind = match status.code() {
            // The transport failed: nothing was answered.
            Code::Unknown | Code::Cancelled => Kind::Unavailable,
            code => Kind::from_grpc_code(code.into()),
        };
        let mut failure = Self::new(kind, status.message().to_owned());
        let mut source = std::error::Error::source(&status);
        while let Some(error) = source {
            failure.because = Some(error.to_string());
            source = error.source();
        }
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_the_wire() {
        for kind in Kind::ALL {
            let failure = Failure::new(*kind, "what").because("why").hint("do").hint("or do");
            assert_eq!(Failure::from(Status::from(failure.clone())), failure);
        }
        let bare = Failure::new(Kind::Invalid, "what");
        assert_eq!(Failure::from(Status::from(bare.clone())), bare);
    }

    #[test]
    fn a_foreign_status_keeps_its_meaning() {
        assert_eq!(Failure::from(Status::not_found("x")).kind, Kind::NotFound);
        assert_eq!(Failure::from(Status::unknown("x")).kind, Kind::Unavailable);
        assert_eq!(Failure::from(Status::unimplemented("x")).kind, Kind::Unimplemented);
    }
}
