//! Enrolling an operator, and renewing its certificate.
//!
//! The token says which CA the cluster has: nothing is sent before the manager's certificate was
//! seen to end in it. The key pair is made here and its private half stays here. Not here: keeping
//! the result (`context`).
//!
//! Invariant: a certificate is kept only if it is for the key made here, of the cluster the token
//! or the context names, for an operator.

use std::time::Duration;

use link::Failure;
use link::certificate::{KeyPairDer, PeerCertificate, is_signed_by, make_key_pair, public_key_of};
use link::dial::{self, Patience};
use link::tls;
use link::trust;
use proto::Kind;
use proto::id::{Realm, Timestamp};
use proto::identity::Role;
use proto::pb;
use proto::token::JoinToken;
use rustls_pki_types::CertificateDer;

use crate::connection::{Connection, ask, channels, dial_all, request_key};
use crate::context::{Facts, OwnIdentity, Stored, Taken};
use crate::error::{Error, chain};
use crate::instant;

/// How long a command waits for a renewal that could as well be done by the next one.
const PATIENCE_EARLY: Duration = Duration::from_secs(3);

/// What enrolling brings.
pub(crate) struct Admitted {
    /// What is not secret of the new context.
    pub(crate) facts: Facts,
    /// The CA's certificate, DER.
    pub(crate) ca: Vec<u8>,
    /// The operator's certificate and key.
    pub(crate) identity: OwnIdentity,
    /// What the certificate says.
    pub(crate) says: PeerCertificate,
}

/// Exchanges a token for a certificate.
pub(crate) async fn enrol(
    token: &JoinToken,
    managers: &[String],
    timeout: Duration,
) -> Result<Admitted, Error> {
    let config = tls::joiner_config(token.ca_digest, token.realm).map_err(internal)?;
    let managers_dialled =
        dial_all(managers, |address| dial::channel(address, config.clone(), Patience::CLIENT))?;
    let connection = Connection::bare(managers_dialled, timeout);
    let pair = make_key_pair().map_err(internal)?;
    let request = pb::EnrollOperatorRequest {
        request_key: request_key(),
        token: Some(pb::TokenProof {
            token_id: token.id.to_string(),
            secret: token.secret.expose().to_vec().into(),
        }),
        public_key: pair.public.clone().into(),
    };
    let enrolled = ask!(connection, enrolment.enroll_operator(request))?;
    let ca = enrolled.ca_certificate.to_vec();
    if !trust::is_pinned(&ca, enrolled.authorities.as_ref(), &token.ca_digest) {
        return Err(unsound("its CA is not the one the token names"));
    }
    let says = checked(&enrolled, &pair, token.realm)?;
    let mut addresses = managers.to_vec();
    for address in enrolled.manager_addresses {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let facts = Facts {
        realm: token.realm.to_string(),
        incarnation: says.identity.incarnation.0.max(enrolled.incarnation),
        managers: addresses,
        renew_at: renew_at(&says).0,
    };
    let certificate = CertificateDer::from(enrolled.certificate.to_vec());
    Ok(Admitted { facts, ca, identity: OwnIdentity { certificate, key: pair.private }, says })
}

/// Renews a context's certificate in the second half of its life. That it cannot be done is an
/// error only when the certificate has ended.
pub(crate) async fn renew_if_due(stored: &mut Stored, timeout: Duration) -> Result<(), Error> {
    let now = instant::now();
    if now.0 < stored.facts.renew_at {
        return Ok(());
    }
    // Another process that has the context renews it, or has done so.
    let Taken::Here(_lock) = stored.take()? else { return Ok(()) };
    let ended = stored.says.not_after <= now;
    let patience = if ended { timeout } else { timeout.min(PATIENCE_EARLY) };
    match renew(stored, patience).await {
        Err(Error::Failed(mut failure)) if ended => {
            failure.because = Some(match failure.because.take() {
                Some(because) => format!("{}: {because}", failure.message),
                None => failure.message.clone(),
            });
            failure.message = format!(
                "the certificate of context `{}` has ended, and was not renewed",
                stored.name
            );
            failure = failure.hint(
                "enrol again: an admin runs `secretctl operator add`, then `secretctl context add` \
                 here",
            );
            Err(failure.into())
        }
        Err(error) if ended => Err(error),
        // There is time: the next command tries again.
        Err(_) | Ok(()) => Ok(()),
    }
}

async fn renew(stored: &mut Stored, timeout: Duration) -> Result<(), Error> {
    let connection = Connection::bare(channels(stored)?.0, timeout);
    let pair = make_key_pair().map_err(internal)?;
    let request = pb::RenewRequest {
        request_key: request_key(),
        public_key: pair.public.clone().into(),
        ..pb::RenewRequest::default()
    };
    let enrolled = ask!(connection, enrolment.renew(request))?;
    let says = checked(&enrolled, &pair, stored.realm)?;
    if says.identity.subject != stored.says.identity.subject {
        return Err(unsound("it names somebody else"));
    }
    let pinned = public_key_of(&stored.ca).map(|key| seal::digest_of(&key));
    let pinned = pinned.map_err(|_| unsound("the CA of the context is damaged"))?;
    if !trust::is_pinned(&enrolled.ca_certificate, enrolled.authorities.as_ref(), &pinned) {
        return Err(unsound("its CA does not take the place of the context's"));
    }
    let certificate = CertificateDer::from(enrolled.certificate.to_vec());
    let identity = OwnIdentity { certificate, key: pair.private };
    let ca = CertificateDer::from(enrolled.ca_certificate.to_vec());
    Ok(stored.renew(identity, ca, says, renew_at(&says))?)
}

/// Follows the cluster to the CA that takes the place of the context's, once operators are to. Says
/// whether the context has changed.
///
/// # Errors
///
/// If a manager does not answer, or what it answers is not that.
pub(crate) async fn follow_ca(stored: &mut Stored, timeout: Duration) -> Result<bool, Error> {
    let patience = timeout.min(PATIENCE_EARLY);
    let status = |stored: &Stored| {
        let connection = channels(stored).map(|(managers, _)| Connection::bare(managers, patience));
        async move { ask!(connection?, control.get_cluster_status(pb::GetClusterStatusRequest {})) }
    };
    let rotation = status(stored).await?.ca_rotation.unwrap_or_default();
    let own = public_key_of(&stored.ca).map(|key| seal::digest_of(&key));
    let has_moved = own.is_ok_and(|own| rotation.new_ca_digest[..] == own);
    if rotation.phase() == pb::CaPhase::Managers || has_moved {
        return Ok(false);
    }
    let _lock = match stored.take()? {
        Taken::Here(lock) => lock,
        Taken::Renewed => return Ok(true),
        // That process does it.
        Taken::Elsewhere => return Ok(false),
    };
    let before = stored.ca.clone();
    renew(stored, patience).await?;
    if stored.ca == before {
        return Ok(false);
    }
    // The cluster takes an operator for moved once the certificate is used.
    status(stored).await?;
    Ok(true)
}

/// Renews a context's certificate and uses it, since certificates are rotated. Says whether it has
/// another one.
///
/// # Errors
///
/// If no manager renews it, or it cannot be kept.
pub(crate) async fn renew_now(stored: &mut Stored, timeout: Duration) -> Result<bool, Error> {
    let _lock = match stored.take()? {
        Taken::Here(lock) => lock,
        Taken::Renewed => return Ok(true),
        // That process does it.
        Taken::Elsewhere => return Ok(false),
    };
    let patience = timeout.min(PATIENCE_EARLY);
    renew(stored, patience).await?;
    // What was kept counts, though the cluster takes an operator for renewed once it is used.
    let connection = Connection::bare(channels(stored)?.0, patience);
    drop(ask!(connection, control.get_cluster_status(pb::GetClusterStatusRequest {})));
    Ok(true)
}

fn checked(
    enrolled: &pb::Enrolled,
    pair: &KeyPairDer,
    realm: Realm,
) -> Result<PeerCertificate, Error> {
    let certificate = &enrolled.certificate;
    let says = PeerCertificate::parse(certificate).map_err(|error| unsound(&error.to_string()))?;
    if says.identity.realm != realm {
        return Err(unsound("it is of another cluster"));
    }
    if says.identity.subject.role() != Role::Operator {
        return Err(unsound("it is not an operator's"));
    }
    if says.key_digest != seal::digest_of(&pair.public) {
        return Err(unsound("it is for another key"));
    }
    if !is_signed_by(certificate, &enrolled.ca_certificate) {
        return Err(unsound("it is of another CA than is said"));
    }
    Ok(says)
}

/// The middle of what is left of a new certificate's life.
fn renew_at(says: &PeerCertificate) -> Timestamp {
    let now = instant::now();
    now.after_ms(says.not_after.ms_since(now) / 2)
}

fn unsound(reason: &str) -> Error {
    Failure::new(Kind::Unauthenticated, "the certificate that came cannot be used")
        .because(reason.to_owned())
        .hint("find out who answers at this address, then enrol with a new token")
        .into()
}

fn internal(error: impl std::error::Error) -> Error {
    Failure::new(Kind::Internal, "a key or a connection could not be prepared")
        .because(chain(&error))
        .hint("repeat the command; if it stays so, this is a bug")
        .into()
}
