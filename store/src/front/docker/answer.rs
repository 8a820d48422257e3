//! Docker's answers: JSON bodies, codes and texts of errors, the headers of each answer.
//!
//! The codes are those of moby's `api/server/httpstatus`; a text that came from swarm's own API
//! begins with `rpc error`, and clients look for that.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use link::Failure;
use proto::Kind;
use serde::Serialize;

use super::version::API;
use crate::front::Phase;

/// What follows where nobody knows whether a request was done. Here one that is sent again is another
/// one: it brings no key by which the first would be known.
const LOOK_FIRST: &str = "look whether it was done before you send it again";

/// An answer that is an error.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    message: String,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    message: &'a str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        json(self.status, &ErrorBody { message: &self.message })
    }
}

impl Problem {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// What it says.
    #[cfg(test)]
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn page_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "page not found")
    }

    /// A request that is none.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// What is not there.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// What there is already.
    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// What cannot be done as this manager stands.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// What was typed does not open this manager.
    pub(super) fn wrong_key(failure: Failure) -> Self {
        let why = Self::from(failure).message;
        let message = format!("swarm could not be unlocked: invalid key provided: {why}");
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    /// What nobody may.
    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// A body that is larger than any that is served.
    pub(super) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "http: request body too large")
    }

    pub(super) fn timed_out() -> Self {
        let message = format!("the request took too long; {LOOK_FIRST}");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// What swarm's own API refuses.
    pub(super) fn of_swarm(code: Code, message: &str) -> Self {
        Self::new(code.status(), format!("rpc error: code = {} desc = {message}", code.as_str()))
    }

    /// What is to be changed is not what it was; clients look for the text.
    pub(super) fn out_of_sequence() -> Self {
        Self::of_swarm(Code::Unknown, "update out of sequence")
    }

    pub(super) fn unimplemented(message: &str) -> Self {
        Self::of_swarm(Code::Unimplemented, message)
    }

    /// What a manager that does not serve says.
    pub(super) fn of_phase(phase: &Phase) -> Self {
        let message = match phase {
            Phase::Empty => {
                "This node is not a swarm manager. Use \"secretctl cluster init\" or \"secretctl \
                 cluster join\" to connect this node to swarm and try again."
            }
            Phase::Locked(_) => {
                "Swarm is encrypted and needs to be unlocked before it can be used. Please use \
                 \"docker swarm unlock\" to unlock it."
            }
            Phase::Starting | Phase::Serving(_) | Phase::Stopping => {
                "This node is not a swarm manager. Manager is being prepared or has trouble \
                 connecting to the cluster."
            }
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }
}

/// Codes of swarm's own API that errors are told with (gRPC's).
#[derive(Debug, Clone, Copy)]
pub(super) enum Code {
    InvalidArgument,
    AlreadyExists,
    FailedPrecondition,
    Unimplemented,
    Unknown,
}

impl Code {
    const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "InvalidArgument",
            Self::AlreadyExists => "AlreadyExists",
            Self::FailedPrecondition => "FailedPrecondition",
            Self::Unimplemented => "Unimplemented",
            Self::Unknown => "Unknown",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::InvalidArgument | Self::FailedPrecondition => StatusCode::BAD_REQUEST,
            Self::AlreadyExists => StatusCode::CONFLICT,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// What the service layer refuses and Docker has no text of its own for: all of it in one line, as
/// the client shows no more than a message.
impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let status = StatusCode::from_u16(failure.kind.http_status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut message = failure.message;
        if let Some(because) = failure.because {
            message = format!("{message} because {because}");
        }
        // What was meant for clients whose requests have keys is not passed on.
        let hints = match failure.kind {
            Kind::Timeout => vec![LOOK_FIRST.to_owned()],
            _ => failure.hints,
        };
        for hint in hints {
            message = format!("{message}; {hint}");
        }
        Self::new(status, message)
    }
}

/// A body of JSON.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            let content = HeaderValue::from_static("application/json");
            (status, [(header::CONTENT_TYPE, content)], bytes).into_response()
        }
        // What is rendered has no map with keys that are not text.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// No body.
pub(super) fn empty(status: StatusCode) -> Response {
    (status, Body::empty()).into_response()
}

/// How this manager stands, in Docker's words.
pub(super) const fn state_of(phase: &Phase) -> &'static str {
    match phase {
        Phase::Starting => "pending",
        Phase::Empty => "inactive",
        Phase::Locked(_) => "locked",
        Phase::Serving(_) => "active",
        Phase::Stopping => "error",
    }
}

/// What is on every answer: without the first the client takes the server for one of 2016.
pub(super) fn with_headers(mut response: Response, phase: &Phase) -> Response {
    let mut put = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    };
    put("api-version", &format!("1.{API}"));
    put("docker-experimental", "false");
    put("ostype", "linux");
    put("server", concat!("Docker/", env!("CARGO_PKG_VERSION"), " (linux)"));
    let swarm = match phase {
        Phase::Serving(_) => "active/manager",
        other => state_of(other),
    };
    put("swarm", swarm);
    response
}

/// Answers that must not be kept by anything between.
pub(super) fn uncached(headers: &mut HeaderMap) {
    let never = HeaderValue::from_static("no-cache, no-store, must-revalidate");
    headers.insert(header::CACHE_CONTROL, never);
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::ProposeError;
    use crate::service::not_proposed;

    #[test]
    fn nobody_is_told_that_sending_it_again_is_safe() {
        let problem = Problem::from(not_proposed(&ProposeError::Unknown));
        assert_eq!(
            problem.message(),
            "the change may or may not have been made because no majority of managers confirmed it \
             in time; look whether it was done before you send it again"
        );
        assert!(Problem::timed_out().message().ends_with(LOOK_FIRST));
        let busy = Problem::from(not_proposed(&ProposeError::Busy));
        assert!(busy.message().ends_with("; try again in a moment"), "{}", busy.message());
    }
}
