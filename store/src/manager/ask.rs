//! A locked manager asks its peers for what opens its key file.
//!
//! It has no state and no key of its own but the boot key; whom it asks, it knows from the address
//! book. Each request has a key pair of its own, whose private half never leaves this process. Who
//! answers needs no trust: what it gives either makes the seed of the slot or does not. Protocol and
//! argument: `docs/design/peers.md`. Not here: who is answered (`service::releases`), turning to
//! another generation afterwards (`turn`).
//!
//! Invariant: nothing of the boot file's own half is sent, nor kept in memory between two requests.

use std::sync::Arc;
use std::time::Duration;

use link::Failure;
use link::dial::{self, Patience};
use link::rpc::peer_client::PeerClient;
use link::tls::{self, Cluster, OwnCertificate};
use proto::sealed::{Encapsulation, WrappedKey};
use proto::{Kind, pb};
use rustls_pki_types::CertificateDer;
use seal::{
    Disk, OwnHalf, PeersParameters, Recipient, Release, ReleaseSecretKey, SlotParameters,
    SlotSecretKey, digest_of,
};

use tokio::sync::watch;

use super::{Manager, own_uid};
use crate::keys::{AddressBook, credentials};

/// Pauses between two rounds of requests, at first and at last: an election takes less than a
/// second; consent takes an operator minutes.
const PAUSE_MIN: Duration = Duration::from_millis(300);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Time for an answer: the manager that is asked may look for a leader for five seconds, who looks
/// for signs of life for as long as an election takes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a request came to nothing. Another time, or another manager, may do better: who answers may
/// itself have been removed, and says of this manager what the others say of it.
struct Refused {
    reason: String,
    /// Whether the answer was that somebody was removed, which is likelier to be why than what else
    /// there is.
    evicted: bool,
}

fn for_now(error: impl std::fmt::Display) -> Refused {
    Refused { reason: error.to_string(), evicted: false }
}

/// What is asked with, read anew for each request.
struct Asking {
    config: Arc<rustls::ClientConfig>,
    own: OwnHalf,
    boot_key_digest: [u8; 32],
}

impl Manager {
    /// Asks the managers of the address book, in turn, until one opens the key file.
    pub(super) async fn ask_peers(self, slots: Vec<Recipient>, disk: Disk) {
        let of_peers = |slot: &Recipient| match slot.slot_parameters() {
            Ok(SlotParameters::Peers(parameters)) => Some((slot.clone(), parameters)),
            _ => None,
        };
        let Some((slot, parameters)) = slots.iter().find_map(of_peers) else { return };
        let mut pause = PAUSE_MIN;
        let mut told = String::new();
        loop {
            let refused = match self.ask_all(&slot, &parameters, disk).await {
                Ok(()) => return,
                Err(refused) => refused,
            };
            let reason = refused.reason.as_str();
            self.0.opened.peers_refused(reason);
            if reason != told {
                tracing::warn!(
                    reason,
                    runbook = "docs/operations/peers.md",
                    "not_unlocked_by_peers"
                );
                reason.clone_into(&mut told);
            }
            tokio::time::sleep(pause).await;
            pause = PAUSE_MAX.min(pause * 2);
        }
    }

    async fn ask_all(
        &self,
        slot: &Recipient,
        parameters: &PeersParameters,
        disk: Disk,
    ) -> Result<(), Refused> {
        let book = AddressBook::read(&self.0.folder).map_err(for_now)?;
        let mut last = for_now("it knows no other manager");
        for address in book.0.values() {
            match self.ask_one(address, slot, parameters, disk).await {
                Ok((key, grant)) => {
                    self.0.opened.granted(grant);
                    let opened = self.open_with(own_uid(), &key).await;
                    return opened.map(drop).map_err(for_now);
                }
                Err(refused) if last.evicted && !refused.evicted => {}
                Err(Refused { reason, evicted }) => {
                    last = Refused { reason: format!("{address}: {reason}"), evicted };
                }
            }
        }
        Err(last)
    }

    /// What the boot file has of the key file's generation.
    fn asking(&self, generation: u64, disk: Disk) -> Result<Asking, Refused> {
        let place = &self.0.boot;
        let path = place.path().display();
        let file = place.read().map_err(for_now)?;
        let file = file.ok_or_else(|| for_now(format!("there is no boot file, {path}")))?;
        if *file.disk() != disk {
            return Err(for_now(format!("{path} is another manager's, or of another life of it")));
        }
        let entry = file.into_entry(generation).ok_or_else(|| {
            for_now(format!("{path} is older or newer than the key file (generation {generation})"))
        })?;
        let authorities = credentials::authorities(&self.0.folder).map_err(for_now)?;
        let certificate = CertificateDer::from(entry.certificate.to_vec());
        let boot_key_digest = link::certificate::public_key_of(&certificate)
            .map(|public| digest_of(&public))
            .map_err(for_now)?;
        let own = OwnCertificate::of(certificate, &authorities, &entry.key).map_err(for_now)?;
        let cluster = Cluster { realm: disk.realm, incarnation: disk.incarnation };
        let trust = credentials::trust(&self.0.folder, &authorities).map_err(for_now)?;
        let met = watch::Sender::new(disk.incarnation);
        let config = tls::peer_config(own, trust, cluster, met).map_err(for_now)?;
        Ok(Asking { config, own: entry.own, boot_key_digest })
    }

    async fn ask_one(
        &self,
        address: &str,
        slot: &Recipient,
        parameters: &PeersParameters,
        disk: Disk,
    ) -> Result<(SlotSecretKey, u64), Refused> {
        let Asking { config, own, boot_key_digest } = self.asking(parameters.generation(), disk)?;
        let channel = dial::channel(address, config, Patience::PEER).map_err(for_now)?;
        let secret = ReleaseSecretKey::make();
        let mut release = Release {
            disk,
            generation: parameters.generation(),
            boot_key_digest,
            sealed: parameters.sealed().clone(),
            public_key: secret.public().clone(),
            nonce: seal::random(),
            grant: 0,
        };
        let request = pb::ReleaseRequest {
            generation: release.generation,
            sealed: release.sealed.to_bytes().into(),
            public_key: secret.public().as_bytes().clone(),
            nonce: release.nonce.to_vec().into(),
            ..pb::ReleaseRequest::default()
        };
        let mut client = PeerClient::new(channel);
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, client.release(request)).await;
        let answer = answer.map_err(|_| for_now("it did not answer in time"))?;
        let answer = answer.map_err(|status| refused(Failure::from(status)))?.into_inner();
        let malformed = |_| for_now("its answer is not one");
        let encapsulation = Encapsulation::new(answer.encapsulation).map_err(malformed)?;
        let sealed = WrappedKey::new(answer.sealed_half).map_err(malformed)?;
        release.grant = answer.grant;
        own.recover(&release, &secret, &encapsulation, &sealed, &slot.public)
            .map(|key| (key, release.grant))
            .map_err(|_| for_now("what it gave does not open the key file"))
    }
}

fn refused(failure: Failure) -> Refused {
    Refused { evicted: failure.kind == Kind::Evicted, reason: failure.message }
}
