//! Values that arrive in clear: over a front whose clients cannot seal.
//!
//! Here they are sealed as a client would have, to the cluster's transit key, before anything else is
//! done with them; from there on they are like any other. So a value is in clear in this process from
//! its socket to here, and in no other manager. Not here: decoding it (the front), what becomes of a
//! sealed payload (`secrets`).
//!
//! Invariant: what leaves this module is sealed.

use std::collections::BTreeMap;

use link::Failure;
use proto::identity::Caller;
use proto::name::SecretName;
use proto::{Kind, pb};
use seal::{Operation, Plaintext, TransitPublicKey, TransitSender};

use super::{Service, internal};

/// How often a value is sealed again because the transit key was retired meanwhile.
const SEALS_MAX: usize = 3;

/// A secret that is to be made.
pub(crate) struct NewValue {
    pub(crate) name: SecretName,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: Plaintext,
}

impl Service {
    /// Seals a value and has it stored, in the caller's name.
    ///
    /// # Errors
    ///
    /// As for a secret that a client sealed.
    pub(crate) async fn create_from_clear(
        &self,
        caller: Caller,
        new: NewValue,
    ) -> Result<pb::CreateSecretResponse, Failure> {
        let mut sender = self.sender(caller)?;
        let encrypted = sender.encrypt(new.value);
        for _ in 0..SEALS_MAX {
            let payload = sender.seal_key(&encrypted, Operation::Create, &new.name.folded());
            let request = pb::CreateSecretRequest {
                request_key: seal::random::<16>().to_vec().into(),
                name: new.name.to_string(),
                labels: new.labels.clone(),
                payload: Some(payload.into()),
                usable_by: Vec::new(),
            };
            let failure = match self.route(caller, request).await {
                Err(failure) if failure.kind == Kind::Conflict => failure,
                answer => return answer,
            };
            // This manager may be behind who retired the key.
            self.barrier().await?;
            let next = self.sender(caller)?;
            if next.transit_key_id() == sender.transit_key_id() {
                return Err(failure);
            }
            sender = next;
        }
        Err(Failure::new(Kind::Unavailable, "the transit key keeps changing").hint("try again"))
    }

    /// A connection to the transit key, as a client of this caller's name would set it up.
    fn sender(&self, caller: Caller) -> Result<TransitSender, Failure> {
        let cluster = self.cluster()?;
        let key = cluster.transit_keys.get(&cluster.current_transit).ok_or_else(|| {
            Failure::new(Kind::Unavailable, "the cluster has no transit key right now")
        })?;
        let key = TransitPublicKey::parse(key.public_key.0.clone()).map_err(|e| internal(&e))?;
        TransitSender::set_up(key, cluster.realm, caller.principal()).map_err(|e| internal(&e))
    }
}
