//! Renewing this manager's own certificate, at a random point in 50 to 80 % of its life, or when the
//! CA or certificates are rotated.
//!
//! A cluster that was off for longer than that has managers whose certificates have ended. They carry
//! Raft all the same; each renews as soon as there is a leader, and agents come after them.
//!
//! The new private key goes into the key file before the certificate goes into use: a renewal that
//! is cut short leaves a pair that fits.

use std::sync::Arc;
use std::time::Duration;

use link::Failure;
use link::certificate::{self, PeerCertificate};
use link::rpc::enroll_client::EnrollClient;
use link::tls::OwnCertificate;
use proto::id::{RequestKey, Timestamp};
use proto::identity::Caller;
use proto::{Kind, pb};
use rustls_pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;

use super::authorities::Known;
use super::{Manager, local_failure};
use crate::ca;
use crate::keys::credentials;
use crate::raft::Purpose;
use crate::service::{Service, certified, internal, now};

/// How often the clock is looked at: it may jump.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Pause after a try that failed while the certificate has ended: nobody but managers talks to this
/// one meanwhile, and a leader is elected within a second or two.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Time for the leader's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// When to renew: between 50 and 80 % of a life, by a random number.
fn due(issued_at: Timestamp, not_after: Timestamp, random: u8) -> Timestamp {
    let life = not_after.ms_since(issued_at);
    let part = life / 2 + life / 1000 * 300 * u64::from(random) / 255;
    issued_at.after_ms(part)
}

/// Keeps the certificate fresh until `stop`.
pub(super) async fn keep_renewed(
    manager: Manager,
    service: Arc<Service>,
    own: Arc<OwnCertificate>,
    known: Arc<Known>,
    stop: CancellationToken,
) {
    let [random] = seal::random::<1>();
    loop {
        let pause = match own.says() {
            Some(says) => {
                let renewal =
                    Renewal { manager: &manager, service: &service, own: &own, known: &known };
                renewal.if_due(says, random).await
            }
            None => LOOK_EVERY,
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            () = known.is_due.notified() => {}
        }
    }
}

struct Renewal<'a> {
    manager: &'a Manager,
    service: &'a Service,
    own: &'a OwnCertificate,
    known: &'a Known,
}

impl Renewal<'_> {
    /// Renews if it is time; when to look again.
    async fn if_due(&self, says: PeerCertificate, random: u8) -> Duration {
        let issued_at = {
            let state = self.service.raft.machine.state();
            state.certificate(says.serial).map(|kept| kept.issued_at)
        };
        let has_ended = says.not_after <= now();
        // Another CA takes the place of the one that signed it, or certificates are rotated.
        let must_move = !self.known.is_of_newest() || self.service.is_to_renew(says.serial);
        // The record may not be there yet: the log is read again at start, and in a moment at
        // founding.
        let is_due = issued_at.is_some_and(|at| due(at, says.not_after, random) <= now());
        if !is_due && !has_ended && !must_move {
            return LOOK_EVERY;
        }
        match self.renew(says).await {
            Ok(()) => tracing::info!("certificate_renewed"),
            Err(failure) if has_ended || must_move => {
                tracing::warn!(%failure, has_ended, must_move, "certificate_not_renewed_yet");
                return AGAIN_AFTER;
            }
            Err(failure) => tracing::warn!(%failure, "certificate_not_renewed"),
        }
        LOOK_EVERY
    }

    async fn renew(&self, says: PeerCertificate) -> Result<(), Failure> {
        let Self { manager, service, own, known } = self;
        let pair = certificate::make_key_pair().map_err(|error| internal(&error))?;
        let request = pb::RenewRequest {
            request_key: RequestKey::from_bytes(seal::random()).as_bytes().to_vec().into(),
            public_key: pair.public.clone().into(),
            ..pb::RenewRequest::default()
        };
        let enrolled = ask(service, certified(&says), request).await?;
        let leaf = CertificateDer::from(enrolled.certificate.to_vec());
        let authorities = ca::heard(&enrolled);

        let _running = manager.0.running.lock().await;
        let folder = &manager.0.folder;
        let next = own.prepare(leaf.clone(), &authorities, &pair.private);
        let next = next.map_err(|error| internal(&error))?;
        // The leader may know of a CA that this manager has not heard of yet.
        if !known.has(&authorities) {
            known.go_by(folder, &authorities).map_err(local_failure)?;
        }
        credentials::stage(folder, &leaf).map_err(local_failure)?;
        service.keys.set_tls_key(pair.private).map_err(local_failure)?;
        // The pair is durable: what stands beside the key file goes with it.
        own.present(next);
        credentials::settle(folder).map_err(local_failure)?;
        // A connection is judged by the certificate that it began with, and these live for months.
        service.raft.pool.reconnect();
        known.presents_another();
        Ok(())
    }
}

/// Asks the leader with the old certificate, which may have expired: that is still allowed.
async fn ask(
    service: &Service,
    caller: Caller,
    request: pb::RenewRequest,
) -> Result<pb::Enrolled, Failure> {
    let leader = service.raft.leadership().borrow().leader;
    match leader {
        Some(leader) if leader != service.raft.me => {
            let channel = service.raft.pool.channel(leader, Purpose::Calls)?;
            let mut client = EnrollClient::new(channel);
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, client.renew(request)).await;
            let late = |_| Failure::new(Kind::Timeout, "the leader did not answer");
            Ok(answer.map_err(late)??.into_inner())
        }
        _ => service.route(caller, request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_between_half_and_four_fifths_of_its_life() {
        let (from, to) = (Timestamp(1_000_000), Timestamp(2_000_000));
        assert_eq!(due(from, to, 0), Timestamp(1_500_000));
        assert_eq!(due(from, to, 255), Timestamp(1_800_000));
    }
}
