//! Values that arrive in clear: over a front whose clients cannot seal.
//!
//! Here they are sealed as a client would have, to the cluster's transit key, before anything else is
//! done with them; from there on they are like any other. So a value is in clear in this process and in
//! no other manager: decoded until it gets here, and as it came in the buffers of its connection, until
//! the front has answered the request and closed it. Not here: decoding it, and how long an answer may
//! take (the front), what becomes of a sealed payload (`secrets`), comparing one (`compare`).
//!
//! Invariant: what leaves this module is sealed.

use std::collections::BTreeMap;

use link::Failure;
use proto::identity::Caller;
use proto::name::{FoldedName, SecretName};
use proto::sealed::SealedPayload;
use proto::{Kind, pb};
use seal::{Encrypted, Operation, Plaintext, TransitPublicKey, TransitSender};

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
        let sender = self.sender(caller)?;
        let encrypted = sender.encrypt(new.value);
        let name = new.name.folded();
        let send = |payload: SealedPayload| {
            let request = pb::CreateSecretRequest {
                request_key: seal::random::<16>().to_vec().into(),
                name: new.name.to_string(),
                labels: new.labels.clone(),
                payload: Some(payload.into()),
                usable_by: Vec::new(),
            };
            self.route(caller, request)
        };
        let anew = || async move {
            // This manager may be behind who retired the key.
            self.barrier().await?;
            self.sender(caller)
        };
        until_taken(sender, &encrypted, &name, send, anew).await
    }

    /// A connection to the transit key of this moment, as a client of this caller's name would set it up.
    pub(super) fn sender(&self, caller: Caller) -> Result<TransitSender, Failure> {
        let cluster = self.cluster()?;
        let key = cluster.transit_keys.get(&cluster.current_transit).ok_or_else(|| {
            Failure::new(Kind::Unavailable, "the cluster has no transit key right now")
        })?;
        let key = TransitPublicKey::parse(key.public_key.0.clone()).map_err(|e| internal(&e))?;
        TransitSender::set_up(key, cluster.realm, caller.principal()).map_err(|e| internal(&e))
    }
}

/// Seals the key of an encrypted value and sends it: to another transit key, if the one that it was
/// sealed to was retired meanwhile.
async fn until_taken<T, Sent, Anew>(
    mut sender: TransitSender,
    encrypted: &Encrypted,
    name: &FoldedName,
    send: impl Fn(SealedPayload) -> Sent,
    anew: impl Fn() -> Anew,
) -> Result<T, Failure>
where
    Sent: Future<Output = Result<T, Failure>>,
    Anew: Future<Output = Result<TransitSender, Failure>>,
{
    for _ in 0..SEALS_MAX {
        let payload = sender.seal_key(encrypted, Operation::Create, name);
        let failure = match send(payload).await {
            Err(failure) if failure.kind == Kind::Conflict => failure,
            answer => return answer,
        };
        let next = anew().await?;
        if next.transit_key_id() == sender.transit_key_id() {
            return Err(failure);
        }
        sender = next;
    }
    Err(Failure::new(Kind::Unavailable, "the transit key keeps changing").hint("try again"))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::ready;

    use proto::id::{KeyId, Realm};
    use proto::identity::Principal;
    use seal::TransitSecretKey;
    use state::Refusal;

    use super::*;
    use crate::service::refused;

    fn connection(key: &TransitPublicKey) -> TransitSender {
        let (realm, root) = (Realm::from_bytes([1; 16]), Principal::Local { uid: 0 });
        TransitSender::set_up(key.clone(), realm, root).unwrap()
    }

    /// What comes of a value where only one key still stands, and each look at the cluster shows the
    /// next key of a list; and which keys it was sealed to.
    async fn sealed(keys: &[TransitPublicKey], stands: KeyId) -> (Result<(), Kind>, Vec<KeyId>) {
        let (tried, mut keys) = (RefCell::new(Vec::new()), keys.iter());
        let first = connection(keys.next().unwrap());
        let encrypted = first.encrypt(Plaintext::born(3, |_| {}).unwrap());
        let keys = RefCell::new(keys);
        let send = |payload: SealedPayload| {
            tried.borrow_mut().push(payload.transit_key_id);
            let stands = payload.transit_key_id == stands;
            ready(if stands { Ok(()) } else { Err(refused(&Refusal::TransitRetired)) })
        };
        let anew = || ready(Ok(connection(keys.borrow_mut().next().unwrap())));
        let name = "db".parse::<SecretName>().unwrap().folded();
        let taken = until_taken(first, &encrypted, &name, send, anew).await;
        (taken.map_err(|failure| failure.kind), tried.into_inner())
    }

    #[tokio::test]
    async fn a_value_is_sealed_anew_when_its_transit_key_was_retired() {
        let key = |_| TransitSecretKey::make().public().clone();
        let keys: Vec<_> = (0..=SEALS_MAX).map(key).collect();
        let ids: Vec<KeyId> = keys.iter().map(TransitPublicKey::id).collect();
        let last = SEALS_MAX - 1;
        assert_eq!(sealed(&keys, ids[0]).await, (Ok(()), ids[..1].to_vec()));
        assert_eq!(sealed(&keys, ids[last]).await, (Ok(()), ids[..SEALS_MAX].to_vec()));
        let one_past = sealed(&keys, ids[SEALS_MAX]).await;
        assert_eq!(one_past, (Err(Kind::Unavailable), ids[..SEALS_MAX].to_vec()));
        // If the key is the same as before, it was about something else.
        let same = [keys[0].clone(), keys[0].clone()];
        assert_eq!(sealed(&same, ids[1]).await, (Err(Kind::Conflict), ids[..1].to_vec()));
    }
}
