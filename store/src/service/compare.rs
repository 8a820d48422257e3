//! Whether a value is the one that is stored: a stack that is deployed again brings all of its values
//! again.
//!
//! It is compared by the tag beside its data key, so that nothing is opened. secretctl sends the tag of
//! its value, sealed; what comes in clear, over Docker's API, is tagged here (`clear`). Only for who could
//! read the value anyway, by deploying a service with it.
//!
//! Invariant: what is told of a stored value is a word; and one that is another is counted in the audit,
//! and holds up the next question.

use std::sync::Arc;
use std::time::Duration;

use link::Failure;
use proto::convert::{ParseError, bytes_16, text};
use proto::id::{KeyId, SecretId, Version};
use proto::identity::Caller;
use proto::sealed::{Encapsulation, StoredPayload, WrappedKey};
use proto::{Kind, pb};
use seal::Plaintext;
use state::{Refusal, State};
use tokio::sync::Mutex;

use super::{CallName, Service, internal, lookup, parse_failure, refused, root_keys};
use crate::keys::KeyringError;

/// Pause after a value that was another one: nobody guesses faster on one manager.
const PAUSE: Duration = Duration::from_millis(500);

/// Held while a value is compared, and while nobody may guess again.
#[derive(Default)]
pub(crate) struct Comparing(Arc<Mutex<()>>);

/// Where the current value of a secret is, for who may deploy with it.
fn current<'a>(
    state: &'a State,
    caller: Caller,
    secret: &str,
) -> Result<((SecretId, Version), &'a StoredPayload), Failure> {
    let (id, found) = lookup::secret(state, secret)?;
    if !state.may_use(caller.principal(), found) {
        return Err(refused(&Refusal::NotUsable {
            secret: found.name.to_string(),
            caller: caller.principal().to_string(),
        }));
    }
    let version = found.versions.get(&found.current).ok_or_else(|| {
        Failure::new(Kind::NotFound, format!("secret {} has no value", found.name))
    })?;
    Ok(((id, found.current), &version.payload))
}

impl Service {
    /// Whether a secret has this value, which came in clear.
    ///
    /// # Errors
    ///
    /// If the caller may not deploy with the secret, or it is not there.
    pub(crate) async fn has_value(
        &self,
        caller: Caller,
        secret: &str,
        value: &Plaintext,
    ) -> Result<bool, Failure> {
        self.barrier().await?;
        self.authorise(caller, CallName::CompareSecret)?;
        self.compared(caller, || {
            let state = self.raft.machine.state();
            let (place, stored) = current(&state, caller, secret)?;
            self.keyring.is_value(stored, place, value).map_err(failure)
        })
        .await
    }

    /// What the tag of a secret's current value is keyed with.
    pub(super) async fn get_compare_key(
        &self,
        caller: Caller,
        request: pb::GetCompareKeyRequest,
    ) -> Result<pb::CompareKey, Failure> {
        self.barrier().await?;
        let state = self.raft.machine.state();
        let (place, stored) = current(&state, caller, &request.secret)?;
        let key = self.keyring.compare_key(stored, place).map_err(failure)?;
        let (id, version) = (place.0.to_string(), place.1.0);
        Ok(pb::CompareKey { id, version, key: key.expose().to_vec().into() })
    }

    /// Whether a secret's current value has a tag.
    pub(super) async fn compare_secret(
        &self,
        caller: Caller,
        request: pb::CompareSecretRequest,
    ) -> Result<pb::CompareSecretResponse, Failure> {
        self.barrier().await?;
        let (secret, transit_key_id, encapsulation, sealed) =
            parse(&request).map_err(|error| parse_failure(&error))?;
        let cluster = self.cluster()?;
        let same = self.compared(caller, || {
            let state = self.raft.machine.state();
            let (place, stored) = current(&state, caller, secret.as_str())?;
            if place != (secret, Version(request.version)) {
                return Err(Failure::new(Kind::Conflict, "the secret has another version by now")
                    .hint("compare with that one"));
            }
            let connection = (transit_key_id, &encapsulation, caller.principal());
            self.keyring.has_tag(&cluster, connection, stored, place, &sealed).map_err(|error| {
                if matches!(error, KeyringError::Refused) {
                    self.denials.count(caller, "foreign_compare_tag");
                }
                failure(error)
            })
        });
        Ok(pb::CompareSecretResponse { same: same.await? })
    }

    /// One comparison at a time, and none for a while after one that failed.
    async fn compared(
        &self,
        caller: Caller,
        compare: impl FnOnce() -> Result<bool, Failure>,
    ) -> Result<bool, Failure> {
        let turn = self.comparing.0.clone().lock_owned().await;
        let is_same = compare()?;
        if !is_same {
            self.denials.count(caller, "another_value");
            // A task of its own: whoever hangs up does not guess again sooner.
            let pause = tokio::spawn(async move {
                tokio::time::sleep(PAUSE).await;
                drop(turn);
            });
            pause.await.map_err(|error| internal(&error))?;
        }
        Ok(is_same)
    }
}

type Asked = (SecretId, KeyId, Encapsulation, WrappedKey);

fn parse(request: &pb::CompareSecretRequest) -> Result<Asked, ParseError> {
    let transit_key_id = bytes_16("transit_key_id", &request.transit_key_id)?;
    let encapsulation = Encapsulation::new(request.encapsulation.clone());
    let encapsulation = encapsulation.map_err(|error| ParseError::new("encapsulation", error))?;
    let sealed = WrappedKey::new(request.sealed_tag.clone());
    let sealed = sealed.map_err(|error| ParseError::new("sealed_tag", error))?;
    Ok((text("secret", &request.secret)?, transit_key_id, encapsulation, sealed))
}

fn failure(error: KeyringError) -> Failure {
    match error {
        KeyringError::Refused => {
            Failure::new(Kind::Denied, "the sealed tag does not belong to this request")
                .because(
                    "it was sealed by another caller, for another secret or version, or damaged",
                )
                .hint("seal the tag anew; `secretctl stack deploy` does")
        }
        KeyringError::TransitRetired => refused(&Refusal::TransitRetired),
        KeyringError::NoRoot => root_keys::no_root_key(),
        KeyringError::Damaged => internal(&error),
    }
}

#[cfg(test)]
mod tests {
    use proto::id::Realm;
    use proto::identity::Principal;
    use proto::name::SecretName;
    use seal::{Operation, RootKey, StoredAt, TransitReceiver, TransitSecretKey, TransitSender};

    use super::*;
    use crate::keys::Keyring;

    #[test]
    fn a_value_is_told_from_another_without_being_opened() {
        let value = |byte| Plaintext::born(3, |value| value.fill(byte)).unwrap();
        let (realm, root) = (Realm::from_bytes([1; 16]), Arc::new(RootKey::make()));
        let transit = TransitSecretKey::make();
        let by = Principal::Local { uid: 0 };
        let sender = TransitSender::set_up(transit.public().clone(), realm, by).unwrap();
        let name = "db".parse::<SecretName>().unwrap().folded();
        let payload = sender.seal_key(&sender.encrypt(value(7)), Operation::Create, &name);
        let receiver = TransitReceiver::set_up(&transit, realm, by, sender.encapsulation());
        let digest = seal::ciphertext_digest(&payload.ciphertext);
        let receiver = receiver.unwrap();
        let bundle = receiver.open_dek(&payload, &digest, Operation::Create, &name).unwrap();
        let (id, version) = (SecretId::from_entropy([1; 17]), Version(1));
        let at = StoredAt { realm, secret_id: id, version, payload_id: payload.payload_id };
        let stored = StoredPayload {
            payload_id: payload.payload_id,
            wrapped_dek: root.wrap_dek(&at, &digest, &bundle),
            ciphertext: payload.ciphertext,
        };
        let keyring = Keyring::new(realm, vec![root]);
        let is = |place, byte| keyring.is_value(&stored, place, &value(byte)).ok();
        assert_eq!(is((id, version), 7), Some(true));
        assert_eq!(is((id, version), 8), Some(false));
        assert_eq!(is((id, Version(2)), 7), None, "it is of its own place only");
        let longer = Plaintext::born(4, |value| value.fill(7)).unwrap();
        assert_eq!(keyring.is_value(&stored, (id, version), &longer).ok(), Some(false));
    }
}
