//! Renewing the certificate: at a random point in 50 to 80 % of its life, or when a manager says
//! so.
//!
//! The next certificate is kept before it is used, and is used from the next connection on; the
//! session that is open is opened anew with it. An agent whose certificate has ended can do nothing
//! but renew it. Not here: what the certificate is for ([`super`]).
//!
//! Invariant: each renewal has a key pair of its own.

use std::time::Duration;

use link::Failure;
use link::certificate;
use link::rpc::enroll_client::EnrollClient;
use proto::id::RequestKey;
use proto::{Kind, pb};
use tonic::Status;

use super::Local;
use super::schedule::{Backoff, Random};
use crate::clock;
use crate::enrol::{self, Unanswered};
use crate::identity::{Identity, IdentityError};
use crate::supervisor::status::explained;

/// Waits between attempts while the certificate is good, and when it has ended.
const PAUSES: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(600));
const PAUSES_EXPIRED: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(8));

/// The longest wait for an instant of the wall clock, which may be set meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

/// At least so far apart: a manager that asks again and again fills the state with certificates.
const APART: Duration = Duration::from_secs(5);

/// Why there is no next certificate.
#[derive(Debug, thiserror::Error)]
enum RenewError {
    #[error("the key pair could not be made")]
    Key(#[source] certificate::CertificateError),
    #[error("no manager renewed the certificate")]
    Unavailable(#[source] Failure),
    #[error("the cluster does not renew the certificate")]
    Refused(#[source] Failure),
    #[error("whoever answers at {0} is not of this cluster, or of an earlier life of it")]
    Foreign(String),
    #[error("the certificate that came cannot be kept")]
    Identity(#[source] IdentityError),
}

/// Renews whenever it is time, until this node is evicted; returns what the cluster said then.
pub(crate) async fn keep(local: &Local) -> Failure {
    let (mut pauses, mut pauses_expired) = (PAUSES, PAUSES_EXPIRED);
    loop {
        until_due(local).await;
        match renew(local).await {
            Ok(identity) => {
                (pauses, pauses_expired) = (PAUSES, PAUSES_EXPIRED);
                tracing::info!(
                    node.id = %identity.node_id,
                    certificate.serial = %identity.says.serial,
                    "certificate_renewed"
                );
                tokio::time::sleep(APART).await;
            }
            Err(RenewError::Refused(failure)) if failure.kind == Kind::Evicted => return failure,
            Err(error) => {
                let error = explained(&error);
                let pause = if local.own.current().has_expired(clock::now()) {
                    tracing::error!(error, "expired_certificate_not_renewed");
                    pauses_expired.pause(&mut Random)
                } else {
                    tracing::warn!(error, "certificate_not_renewed");
                    pauses.pause(&mut Random)
                };
                tokio::time::sleep(pause).await;
                // What was asked for is still to be done.
                local.renew.notify_one();
            }
        }
    }
}

async fn until_due(local: &Local) {
    loop {
        let left_ms = local.own.current().renew_at.ms_since(clock::now());
        if left_ms == 0 {
            return;
        }
        let wait = Duration::from_millis(left_ms).min(LOOK_AGAIN);
        tokio::select! {
            () = local.renew.notified() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn renew(local: &Local) -> Result<Identity, RenewError> {
    let pair = certificate::make_key_pair().map_err(RenewError::Key)?;
    let request = pb::RenewRequest {
        request_key: RequestKey::from_bytes(seal::random()).as_bytes().to_vec().into(),
        public_key: pair.public.clone().into(),
        ..pb::RenewRequest::default()
    };
    let own = local.own.current();
    let round = enrol::round(&local.managers(), |address| {
        let (request, own) = (request.clone(), own.clone());
        async move {
            let channel =
                own.channel(&address).map_err(|error| Status::unavailable(explained(&error)))?;
            EnrollClient::new(channel).renew(request).await
        }
    })
    .await;
    let enrolled = round.map_err(|unanswered| match unanswered {
        Unanswered::Refused(failure) => RenewError::Refused(failure),
        Unanswered::Unavailable(failure) => RenewError::Unavailable(failure),
        Unanswered::Foreign(addresses) => RenewError::Foreign(addresses),
    })?;
    local
        .own
        .change(|identity| identity.renewed(pair, &enrolled).map(Some))
        .await
        .map_err(RenewError::Identity)?;
    Ok((*local.own.current()).clone())
}
