//! Joining: a token for a certificate.
//!
//! The token says which CA the cluster has: nothing is sent before the manager's certificate was
//! seen to end in it. The key pair is made here and its private half stays here. Key pair and
//! request key are kept before the request is sent, so that a crash at any instant costs neither
//! the token nor the hostname: the next start makes the same request again. Not here: joining
//! under the node of a manager on the same machine; the request has room for it.
//!
//! Invariant: an identity is kept only if its certificate is for the key made here, an agent's, and
//! of the cluster and the CA that the token names.

use std::time::Duration;

use link::Failure;
use link::certificate::{self, CertificateError};
use link::dial;
use link::rpc::enroll_client::EnrollClient;
use link::tls::{self, TlsError};
use link::trust;
use proto::id::RequestKey;
use proto::identity::Role;
use proto::pb;
use proto::token::JoinToken;
use tokio::time::Instant;
use tonic::Status;

use crate::enrol::{self, Unanswered};
use crate::identity::{Attempt, DataFolder, Identity, IdentityError, PATIENCE};
use crate::machine;
use crate::session::schedule::{Backoff, Random};

/// How long managers are tried. Whoever starts the agent tries again.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

/// Waits between two rounds over all managers.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(4));

/// This agent could not join.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    /// The token admits somebody else.
    #[error("this join token admits a node as {0}, not as an agent")]
    Role(Role),
    /// There is nobody to ask.
    #[error("no manager is named")]
    NoManager,
    /// Whoever answers has another CA.
    #[error("whoever answers at {0} is not of the cluster that the join token names")]
    Foreign(String),
    /// A manager said no.
    #[error("the cluster did not admit this node")]
    Refused(#[source] Failure),
    /// Nobody answered in time.
    #[error("no manager admitted this node within {} seconds", GIVE_UP_AFTER.as_secs())]
    Unavailable(#[source] Failure),
    /// What came, or the folder, cannot be used.
    #[error("the identity cannot be kept")]
    Identity(#[from] IdentityError),
    /// A key pair could not be made.
    #[error("a key could not be made")]
    Key(#[source] CertificateError),
    /// TLS could not be set up.
    #[error("a connection could not be prepared")]
    Tls(#[source] TlsError),
}

/// Exchanges a token for an identity, which is kept in `folder`.
pub(crate) async fn join(
    folder: &DataFolder,
    token: &JoinToken,
    managers: &[String],
    hostname: &str,
) -> Result<Identity, JoinError> {
    if token.role != Role::Agent {
        return Err(JoinError::Role(token.role));
    }
    if managers.is_empty() {
        return Err(JoinError::NoManager);
    }
    let attempt = attempt(folder, token, hostname)?;
    let enrolled = ask(token, &attempt, managers).await?;
    let (ca, told) = (&enrolled.ca_certificate, enrolled.authorities.as_ref());
    if !trust::is_pinned(ca, told, &token.ca_digest) {
        return Err(
            IdentityError::Unsound("the CA that came is not the one the token names").into()
        );
    }
    let identity = Identity::admitted(token.id, token.realm, attempt.pair, &enrolled)?;
    folder.keep(&identity)?;
    folder.forget_attempt()?;
    Ok(identity)
}

/// The attempt that was begun before, if it was the same; else a new one.
fn attempt(folder: &DataFolder, token: &JoinToken, hostname: &str) -> Result<Attempt, JoinError> {
    let before = folder.attempt()?;
    if let Some(before) = before.filter(|b| b.token_id == token.id && b.hostname == hostname) {
        return Ok(before);
    }
    let attempt = Attempt {
        token_id: token.id,
        hostname: hostname.to_owned(),
        request_key: RequestKey::from_bytes(seal::random()),
        pair: certificate::make_key_pair().map_err(JoinError::Key)?,
    };
    folder.keep_attempt(&attempt)?;
    Ok(attempt)
}

/// Asks until the time is up.
async fn ask(
    token: &JoinToken,
    attempt: &Attempt,
    managers: &[String],
) -> Result<pb::Enrolled, JoinError> {
    let config = tls::joiner_config(token.ca_digest, token.realm).map_err(JoinError::Tls)?;
    // Once: a retry is the same request.
    let machine = machine::of_this_process();
    let request = || pb::EnrollAgentRequest {
        request_key: attempt.request_key.as_bytes().to_vec().into(),
        token: Some(pb::TokenProof {
            token_id: token.id.to_string(),
            secret: token.secret.expose().to_vec().into(),
        }),
        public_key: attempt.pair.public.clone().into(),
        hostname: attempt.hostname.clone(),
        // A node of its own.
        node_id: String::new(),
        node_proof: bytes::Bytes::new(),
        machine: Some(machine.clone()),
    };
    let deadline = Instant::now() + GIVE_UP_AFTER;
    let mut pauses = PAUSES;
    loop {
        let round = enrol::round(managers, |address| {
            let (request, config) = (request(), config.clone());
            async move {
                let channel = dial::channel(&address, config, PATIENCE)
                    .map_err(|error| Status::unavailable(error.to_string()))?;
                EnrollClient::new(channel).enroll_agent(request).await
            }
        })
        .await;
        let failure = match round {
            Ok(enrolled) => return Ok(enrolled),
            Err(Unanswered::Refused(failure)) => return Err(JoinError::Refused(failure)),
            // Time does not heal it.
            Err(Unanswered::Foreign(addresses)) => return Err(JoinError::Foreign(addresses)),
            Err(Unanswered::Unavailable(failure)) => failure,
        };
        let pause = pauses.pause(&mut Random);
        if Instant::now() + pause >= deadline {
            return Err(JoinError::Unavailable(failure));
        }
        tracing::info!(error = enrol::told(&failure), "join_not_answered_yet");
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests;
