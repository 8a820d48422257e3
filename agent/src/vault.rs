//! The secrets that this node holds: sealed, each with its key, until a task is started with it. And its
//! configs, which are in clear.
//!
//! The payload is opened when its file is written, and wiped before this module returns; keys live
//! in the key memory ([`crate::memory`]). Not here: which secrets those are
//! ([`crate::session`]).
//!
//! Invariant: plaintext exists only within [`SecretSource::open`].

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use proto::id::{ConfigId, Realm, TaskId};
use proto::limits::PAYLOAD_BYTES_MAX;
use proto::sealed::{HEADER_BYTES, TAG_BYTES};
use seal::Dek;

use crate::assignment::SecretVersion;
use crate::mount::{SecretSource, SourceError, Write};
use crate::session::sets::{HeldConfigs, HeldSecrets};

/// What is held, as of the last set of assignments.
pub(crate) struct Vault {
    realm: Realm,
    held: Mutex<Arc<HeldSecrets<Dek>>>,
    configs: Mutex<Arc<HeldConfigs>>,
}

impl Vault {
    /// An empty one.
    pub(crate) fn new(realm: Realm) -> Self {
        let held = Mutex::new(Arc::new(HeldSecrets::new()));
        Self { realm, held, configs: Mutex::default() }
    }

    /// Holds these configs from now on, and no others.
    pub(crate) fn hold_configs(&self, configs: Arc<HeldConfigs>) {
        *self.configs.lock().unwrap_or_else(PoisonError::into_inner) = configs;
    }

    fn current_configs(&self) -> Arc<HeldConfigs> {
        Arc::clone(&self.configs.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Holds these from now on, and nothing else. What is not among them is wiped as soon as
    /// nobody is opening it.
    pub(crate) fn hold(&self, held: Arc<HeldSecrets<Dek>>) {
        let secrets = held.len();
        let before = {
            let mut place = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *place, held)
        };
        drop(before);
        let live = seal::live_secrets();
        tracing::debug!(
            secrets,
            live.data_keys = live.data_keys,
            live.values = live.values,
            "secrets_held"
        );
    }

    /// Drops everything.
    pub(crate) fn wipe(&self) {
        self.hold(Arc::new(HeldSecrets::new()));
        self.hold_configs(Arc::default());
    }

    fn current(&self) -> Arc<HeldSecrets<Dek>> {
        Arc::clone(&self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl SecretSource for Vault {
    fn held(&self) -> BTreeSet<SecretVersion> {
        self.current().keys().copied().collect()
    }

    fn bytes_max(&self, secret: SecretVersion) -> Option<u64> {
        let held = self.current();
        let framed = held.get(&secret)?.ciphertext.as_bytes().len();
        // The frame's length and padding are in it too; a bound need not be tight.
        let bytes = framed.saturating_sub(HEADER_BYTES + TAG_BYTES).min(PAYLOAD_BYTES_MAX);
        Some(bytes as u64)
    }

    fn configs(&self) -> BTreeSet<ConfigId> {
        self.current_configs().keys().copied().collect()
    }

    fn config(&self, id: ConfigId) -> Option<Bytes> {
        self.current_configs().get(&id).cloned()
    }

    fn open(&self, _: TaskId, secret: SecretVersion, write: Write<'_>) -> Result<(), SourceError> {
        let held = self.current().get(&secret).cloned().ok_or(SourceError::NotHeld)?;
        let value = held
            .key
            .open(self.realm, held.payload_id, &held.ciphertext)
            .map_err(|_| SourceError::CannotOpen)?;
        write(value.expose()).map_err(SourceError::Write)
    }
}

#[cfg(test)]
mod tests {
    use proto::id::{SecretId, Version};
    use proto::identity::Principal;
    use proto::name::SecretName;
    use seal::{
        Operation, Plaintext, TransitReceiver, TransitSecretKey, TransitSender, ciphertext_digest,
    };

    use super::*;
    use crate::session::sets::Held;

    const REALM: Realm = Realm::from_bytes([1; 16]);

    fn secret(number: u8) -> SecretVersion {
        SecretVersion { secret_id: SecretId::from_entropy([number; 17]), version: Version(1) }
    }

    fn sealed(value: &[u8]) -> Arc<Held<Dek>> {
        let caller = Principal::Local { uid: 0 };
        let name = "db".parse::<SecretName>().unwrap().folded();
        let transit = TransitSecretKey::make();
        let sender = TransitSender::set_up(transit.public().clone(), REALM, caller).unwrap();
        let value = Plaintext::read_from(value).unwrap();
        let payload = sender.seal(value, Operation::Create, &name);
        let receiver =
            TransitReceiver::set_up(&transit, REALM, caller, &payload.encapsulation).unwrap();
        let digest = ciphertext_digest(&payload.ciphertext);
        let bundle = receiver.open_dek(&payload, &digest, Operation::Create, &name).unwrap();
        let (payload_id, ciphertext) = (payload.payload_id, payload.ciphertext);
        Arc::new(Held { payload_id, ciphertext, key: bundle.into_dek() })
    }

    fn opened(vault: &Vault, number: u8) -> Result<Vec<u8>, String> {
        let mut values = Vec::new();
        let mut write = |value: &[u8]| {
            values.push(value.to_vec());
            Ok(())
        };
        let task_id = TaskId::from_entropy([1; 17]);
        vault.open(task_id, secret(number), &mut write).map_err(|error| error.to_string())?;
        assert_eq!(values.len(), 1, "handed over once");
        Ok(values.remove(0))
    }

    #[test]
    fn a_held_secret_opens_and_a_dropped_one_does_not() {
        let vault = Vault::new(REALM);
        assert_eq!(opened(&vault, 1).unwrap_err(), "it is not held by this node");
        let large = vec![7; PAYLOAD_BYTES_MAX];
        let held = [(secret(1), sealed(b"hunter2")), (secret(2), sealed(&large))];
        vault.hold(Arc::new(HeldSecrets::from(held)));
        assert_eq!(vault.held(), BTreeSet::from([secret(1), secret(2)]));
        assert_eq!(opened(&vault, 1).unwrap(), b"hunter2");
        assert_eq!(opened(&vault, 2).unwrap(), large);
        assert!((7..100).contains(&vault.bytes_max(secret(1)).unwrap()));
        assert_eq!(vault.bytes_max(secret(2)), Some(PAYLOAD_BYTES_MAX as u64));
        assert_eq!(vault.bytes_max(secret(3)), None);
        vault.wipe();
        assert!(opened(&vault, 1).is_err());
        assert_eq!(vault.held(), BTreeSet::new());
    }

    #[test]
    fn configs_are_those_of_the_last_set() {
        let vault = Vault::new(REALM);
        let id = |number| ConfigId::from_entropy([number; 17]);
        let hold = |number, data: &'static [u8]| {
            vault.hold_configs(Arc::new([(id(number), Bytes::from_static(data))].into()));
        };
        hold(1, b"one");
        hold(2, b"two");
        assert_eq!(vault.configs(), BTreeSet::from([id(2)]));
        assert_eq!((vault.config(id(1)), vault.config(id(2))), (None, Some("two".into())));
        vault.wipe();
        assert_eq!(vault.config(id(2)), None);
    }

    #[test]
    fn a_payload_that_is_not_the_keys_own_does_not_open() {
        let vault = Vault::new(REALM);
        let (one, other) = (sealed(b"one"), sealed(b"other"));
        let one = Arc::into_inner(one).unwrap();
        let mixed = Held { ciphertext: other.ciphertext.clone(), ..one };
        vault.hold(Arc::new(HeldSecrets::from([(secret(1), Arc::new(mixed))])));
        assert_eq!(opened(&vault, 1).unwrap_err(), "it cannot be opened");
    }
}
