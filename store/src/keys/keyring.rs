//! The keyring: root keys and what hangs from them, while the manager is unlocked.
//!
//! Every operation takes sealed things in and gives sealed things out; only data keys exist here
//! for a moment, never a payload. Connections to the transit key are remembered, since setting one
//! up is the expensive part.
//!
//! Invariant: nothing outside this file unwraps a data key on a manager.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use proto::id::{KeyId, MemberId, Realm, SecretId, Version};
use proto::identity::Principal;
use proto::name::FoldedName;
use proto::sealed::{Encapsulation, SealedPayload, StoredPayload, WrappedKey};
use seal::{
    BackupRoot, CompareKey, DekBundle, Delivery, Operation, PeerPublicKey, PeerSecretKey,
    Plaintext, ReadBack, Release, RootKey, SessionSender, SigningKeyDer, StoredAt, TransitReceiver,
    TransitSecretKey,
};
use state::object::{Authority, Cluster};
use state::{NewGeneration, WrapPlace};

/// Connections to the transit key that are remembered: clients and follower managers at a time.
const CONNECTIONS_MAX: usize = 1024;

/// A sealed thing did not open, or its key is not held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyringError {
    /// The transit key is not one of the cluster's, or was retired.
    #[error("the transit key is not accepted any more")]
    TransitRetired,
    /// The root key that wraps it is not held here.
    #[error("a root key is not held by this manager")]
    NoRoot,
    /// It does not open: it was sealed for another caller, name, operation or ciphertext.
    #[error("the sealed payload does not belong to this request")]
    Refused,
    /// What the cluster itself stored does not open.
    #[error("a stored key does not open")]
    Damaged,
}

type ConnectionKey = (Vec<u8>, Principal);

#[derive(Default)]
struct Connections {
    by_key: BTreeMap<ConnectionKey, Arc<TransitReceiver>>,
    order: VecDeque<ConnectionKey>,
}

/// Root keys and what hangs from them.
pub(crate) struct Keyring {
    realm: Realm,
    roots: RwLock<BTreeMap<KeyId, Arc<RootKey>>>,
    transit: Mutex<BTreeMap<KeyId, Arc<TransitSecretKey>>>,
    connections: Mutex<Connections>,
}

impl Keyring {
    /// A keyring with the root keys of the key file.
    pub(crate) fn new(realm: Realm, roots: Vec<Arc<RootKey>>) -> Self {
        let roots = roots.into_iter().map(|root| (root.id(), root)).collect();
        Self {
            realm,
            roots: RwLock::new(roots),
            transit: Mutex::default(),
            connections: Mutex::default(),
        }
    }

    /// A root key by id.
    pub(crate) fn root(&self, id: KeyId) -> Result<Arc<RootKey>, KeyringError> {
        let roots = self.roots.read().unwrap_or_else(PoisonError::into_inner);
        roots.get(&id).cloned().ok_or(KeyringError::NoRoot)
    }

    /// Ids of the root keys held.
    pub(crate) fn root_ids(&self) -> Vec<KeyId> {
        self.roots.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// Holds one more, which is durable by now.
    pub(crate) fn add_root(&self, root: Arc<RootKey>) {
        self.roots.write().unwrap_or_else(PoisonError::into_inner).insert(root.id(), root);
    }

    /// Holds these no longer. Who uses one at this moment is the last; then it is wiped.
    pub(crate) fn forget_roots(&self, gone: &[KeyId]) {
        let mut roots = self.roots.write().unwrap_or_else(PoisonError::into_inner);
        roots.retain(|id, _| !gone.contains(id));
    }

    /// Every root key held.
    pub(crate) fn roots(&self) -> Vec<Arc<RootKey>> {
        self.roots.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Takes a payload that a client sealed for this request, for its place in the state: its data
    /// key is unwrapped and wrapped again, its ciphertext passes through untouched.
    pub(crate) fn accept(
        &self,
        cluster: &Cluster,
        payload: SealedPayload,
        request: &AcceptedFor<'_>,
    ) -> Result<StoredPayload, KeyringError> {
        let (id, encapsulation) = (payload.transit_key_id, &payload.encapsulation);
        let receiver = self.receiver(cluster, id, encapsulation, request.principal)?;
        let digest = seal::ciphertext_digest(&payload.ciphertext);
        let bundle = receiver
            .open_dek(&payload, &digest, request.operation, request.name)
            .map_err(|_| KeyringError::Refused)?;
        let root = self.root(cluster.active_root)?;
        let wrapped_dek = root.wrap_dek(&request.at, &digest, &bundle);
        Ok(StoredPayload {
            payload_id: payload.payload_id,
            wrapped_dek,
            ciphertext: payload.ciphertext,
        })
    }

    fn receiver(
        &self,
        cluster: &Cluster,
        transit_key_id: KeyId,
        encapsulation: &Encapsulation,
        principal: Principal,
    ) -> Result<Arc<TransitReceiver>, KeyringError> {
        let transit = self.transit_key(cluster, transit_key_id)?;
        // Keys of the map start with the transit key's id: an encapsulation belongs to one key.
        let mut key = transit_key_id.as_bytes().to_vec();
        key.extend_from_slice(encapsulation.as_bytes());
        let key: ConnectionKey = (key, principal);
        let known = {
            let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
            connections.by_key.get(&key).cloned()
        };
        if let Some(receiver) = known {
            return Ok(receiver);
        }
        let receiver = TransitReceiver::set_up(&transit, self.realm, principal, encapsulation)
            .map_err(|_| KeyringError::Refused)?;
        let receiver = Arc::new(receiver);
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.order.push_back(key.clone());
        connections.by_key.insert(key, receiver.clone());
        while connections.order.len() > CONNECTIONS_MAX {
            if let Some(oldest) = connections.order.pop_front() {
                connections.by_key.remove(&oldest);
            }
        }
        Ok(receiver)
    }

    fn transit_key(
        &self,
        cluster: &Cluster,
        id: KeyId,
    ) -> Result<Arc<TransitSecretKey>, KeyringError> {
        let stored = cluster.transit_keys.get(&id).ok_or(KeyringError::TransitRetired)?;
        let mut transit = self.transit.lock().unwrap_or_else(PoisonError::into_inner);
        transit.retain(|id, _| cluster.transit_keys.contains_key(id));
        if let Some(key) = transit.get(&id) {
            return Ok(key.clone());
        }
        let root = self.root(stored.wrapped_key.key_id())?;
        let key = root
            .unwrap_transit_key(self.realm, id, &stored.wrapped_key)
            .map_err(|_| KeyringError::Damaged)?;
        let key = Arc::new(key);
        transit.insert(id, key.clone());
        Ok(key)
    }

    /// Whether a stored value is this one: by the tag beside its data key, without opening it.
    ///
    /// # Errors
    ///
    /// If the data key is not to be had.
    pub(crate) fn is_value(
        &self,
        stored: &StoredPayload,
        place: (SecretId, Version),
        candidate: &Plaintext,
    ) -> Result<bool, KeyringError> {
        Ok(self.bundle(stored, place)?.value_equals(candidate))
    }

    /// What the tag of a stored value is keyed with.
    ///
    /// # Errors
    ///
    /// If the data key is not to be had.
    pub(crate) fn compare_key(
        &self,
        stored: &StoredPayload,
        place: (SecretId, Version),
    ) -> Result<CompareKey, KeyringError> {
        Ok(self.bundle(stored, place)?.compare_key())
    }

    /// Whether a stored value has the tag that a client sealed.
    ///
    /// # Errors
    ///
    /// If the tag was sealed for something else, or the data key is not to be had.
    pub(crate) fn has_tag(
        &self,
        cluster: &Cluster,
        (transit_key_id, encapsulation, principal): (KeyId, &Encapsulation, Principal),
        stored: &StoredPayload,
        place: (SecretId, Version),
        sealed: &WrappedKey,
    ) -> Result<bool, KeyringError> {
        let receiver = self.receiver(cluster, transit_key_id, encapsulation, principal)?;
        let tag = receiver.open_tag(place.0, place.1, sealed).map_err(|_| KeyringError::Refused)?;
        Ok(self.bundle(stored, place)?.has_tag(&tag))
    }

    fn bundle(
        &self,
        stored: &StoredPayload,
        (secret_id, version): (SecretId, Version),
    ) -> Result<DekBundle, KeyringError> {
        let root = self.root(stored.wrapped_dek.key_id())?;
        let payload_id = stored.payload_id;
        let at = StoredAt { realm: self.realm, secret_id, version, payload_id };
        let digest = seal::ciphertext_digest(&stored.ciphertext);
        let bundle = root.unwrap_dek(&at, &digest, &stored.wrapped_dek);
        bundle.map_err(|_| KeyringError::Damaged)
    }

    /// Wraps a stored payload's data key for one delivery in one session.
    pub(crate) fn deliver(
        &self,
        stored: &StoredPayload,
        sender: &SessionSender,
        delivery: &Delivery,
    ) -> Result<WrappedKey, KeyringError> {
        let root = self.root(stored.wrapped_dek.key_id())?;
        let at = StoredAt {
            realm: self.realm,
            secret_id: delivery.secret_id,
            version: delivery.version,
            payload_id: stored.payload_id,
        };
        let digest = seal::ciphertext_digest(&stored.ciphertext);
        let bundle = root
            .unwrap_dek(&at, &digest, &stored.wrapped_dek)
            .map_err(|_| KeyringError::Damaged)?;
        Ok(sender.wrap(delivery, &bundle.into_dek(), &stored.ciphertext))
    }

    /// Wraps a stored data key under another root key, for the same place.
    pub(crate) fn wrap_dek_anew(
        &self,
        root: KeyId,
        at: &StoredAt,
        stored: &StoredPayload,
    ) -> Result<WrappedKey, KeyringError> {
        let (old, new) = (self.root(stored.wrapped_dek.key_id())?, self.root(root)?);
        let digest = seal::ciphertext_digest(&stored.ciphertext);
        let bundle =
            old.unwrap_dek(at, &digest, &stored.wrapped_dek).map_err(|_| KeyringError::Damaged)?;
        Ok(new.wrap_dek(at, &digest, &bundle))
    }

    /// Wraps what stands at a place under the root key of a backup.
    pub(crate) fn wrap_for_backup(
        &self,
        root: &BackupRoot,
        place: WrapPlace<'_>,
    ) -> Result<WrappedKey, KeyringError> {
        let old = match place {
            WrapPlace::Authority(cluster) => cluster.authority.wrapped_key.key_id(),
            WrapPlace::Secret { stored, .. } => stored.wrapped_dek.key_id(),
        };
        wrap_anew(self.realm, &*self.root(old)?, root.root(), place)
    }

    /// Wraps a CA's key under another root key.
    pub(crate) fn wrap_ca_key_anew(
        &self,
        root: KeyId,
        authority: &Authority,
    ) -> Result<WrappedKey, KeyringError> {
        let key = self.ca_key(authority)?;
        Ok(self.root(root)?.wrap_ca_key(self.realm, &authority.digest.0, &key))
    }

    /// Wraps a transit key under the active root key.
    pub(crate) fn wrap_transit_key_anew(
        &self,
        cluster: &Cluster,
        id: KeyId,
    ) -> Result<WrappedKey, KeyringError> {
        let key = self.transit_key(cluster, id)?;
        Ok(self.root(cluster.active_root)?.wrap_transit_key(self.realm, &key))
    }

    /// Wraps a member's peer key under a root key.
    pub(crate) fn wrap_peer_key_anew(
        &self,
        root: KeyId,
        member: MemberId,
        made_of: &NewGeneration,
    ) -> Result<WrappedKey, KeyringError> {
        let key = self.peer_key(member, made_of)?;
        Ok(self.root(root)?.wrap_peer_key(self.realm, member, &key))
    }

    fn peer_key(
        &self,
        member: MemberId,
        made_of: &NewGeneration,
    ) -> Result<PeerSecretKey, KeyringError> {
        let public = PeerPublicKey::parse(made_of.public_key.0.clone());
        let id = public.map_err(|_| KeyringError::Damaged)?.id();
        let root = self.root(made_of.wrapped_key.key_id())?;
        let key = root.unwrap_peer_key(self.realm, member, id, &made_of.wrapped_key);
        key.map_err(|_| KeyringError::Damaged)
    }

    /// Opens the box of a release that was granted, and seals what is in it to who asked.
    pub(crate) fn release(
        &self,
        made_of: &NewGeneration,
        release: &Release,
    ) -> Result<(Encapsulation, WrappedKey), KeyringError> {
        let key = self.peer_key(release.member(), made_of)?;
        key.release(release).map_err(|_| KeyringError::Refused)
    }

    /// Wraps an unlock key that a client sealed under the active root key.
    pub(crate) fn keep_unlock_key(
        &self,
        cluster: &Cluster,
        (transit_key_id, encapsulation, principal): (KeyId, &Encapsulation, Principal),
        id: KeyId,
        sealed: &WrappedKey,
    ) -> Result<WrappedKey, KeyringError> {
        let receiver = self.receiver(cluster, transit_key_id, encapsulation, principal)?;
        let key = receiver.open_unlock_key(id, sealed).map_err(|_| KeyringError::Refused)?;
        Ok(self.root(cluster.active_root)?.wrap_unlock_key(self.realm, &key))
    }

    /// Wraps an unlock key that is kept under another root key.
    pub(crate) fn wrap_unlock_key_anew(
        &self,
        root: KeyId,
        id: KeyId,
        kept: &WrappedKey,
    ) -> Result<WrappedKey, KeyringError> {
        let key = self.root(kept.key_id())?.unwrap_unlock_key(self.realm, id, kept);
        let key = key.map_err(|_| KeyringError::Damaged)?;
        Ok(self.root(root)?.wrap_unlock_key(self.realm, &key))
    }

    /// Seals an unlock key that is kept to who reads it back.
    pub(crate) fn read_unlock_key(
        &self,
        kept: &WrappedKey,
        call: &ReadBack,
    ) -> Result<(Encapsulation, WrappedKey), KeyringError> {
        let root = self.root(kept.key_id())?;
        let key = root.unwrap_unlock_key(self.realm, call.unlock_key_id, kept);
        let key = key.map_err(|_| KeyringError::Damaged)?;
        call.seal(&key).map_err(|_| KeyringError::Refused)
    }

    /// A CA's private key, for the signature that is about to be made.
    pub(crate) fn ca_key(&self, authority: &Authority) -> Result<SigningKeyDer, KeyringError> {
        let root = self.root(authority.wrapped_key.key_id())?;
        root.unwrap_ca_key(self.realm, &authority.digest.0, &authority.wrapped_key)
            .map_err(|_| KeyringError::Damaged)
    }
}

/// Wraps what stands at a place under another root key.
pub(crate) fn wrap_anew(
    realm: Realm,
    old: &RootKey,
    new: &RootKey,
    place: WrapPlace<'_>,
) -> Result<WrappedKey, KeyringError> {
    match place {
        WrapPlace::Authority(cluster) => {
            let authority = &cluster.authority;
            let digest = &authority.digest.0;
            let key = old.unwrap_ca_key(realm, digest, &authority.wrapped_key);
            Ok(new.wrap_ca_key(realm, digest, &key.map_err(|_| KeyringError::Damaged)?))
        }
        WrapPlace::Secret { id, version, stored } => {
            let payload_id = stored.payload_id;
            let at = StoredAt { realm, secret_id: id, version, payload_id };
            let digest = seal::ciphertext_digest(&stored.ciphertext);
            let bundle = old.unwrap_dek(&at, &digest, &stored.wrapped_dek);
            Ok(new.wrap_dek(&at, &digest, &bundle.map_err(|_| KeyringError::Damaged)?))
        }
    }
}

/// The request that a payload must have been sealed for, and the place it is going to.
pub(crate) struct AcceptedFor<'a> {
    /// Who asked, as authenticated.
    pub(crate) principal: Principal,
    /// For what.
    pub(crate) operation: Operation,
    /// Under which name.
    pub(crate) name: &'a FoldedName,
    /// Its place in the state.
    pub(crate) at: StoredAt,
}
