//! Who this agent is: its certificate and key, the cluster it belongs to, and what it has learned
//! of it; and the private folder that keeps all that.
//!
//! One file holds the whole identity and is replaced as a whole, so that a crash leaves the old one
//! or the new one. Not here: getting one ([`crate::join`]) and renewing it
//! ([`crate::session::renewal`]).
//!
//! Invariants: the incarnation that is remembered never falls; what is current in memory is on
//! disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use link::certificate::{self, KeyPairDer, PeerCertificate};
use link::dial::{self, AddressError, Patience};
use link::tls::{self, Cluster, OwnCertificate, TlsError};
use link::trust;
use proto::id::{Incarnation, NodeId, Realm, RequestKey, Timestamp, TokenId};
use proto::identity::Subject;
use proto::limits::{ADDRESS_BYTES_MAX, MANAGERS_MAX};
use proto::pb;
use rustls_pki_types::CertificateDer;
use seal::SigningKeyDer;
use sys::file::{FileError, Folder, Lock, PRIVATE_FILE_MODE};
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinError, spawn_blocking};
use tonic::transport::Channel;
use zeroize::Zeroizing;

use crate::clock;
use crate::supervisor::wire::{self, WireError};

/// The file that holds the identity.
const IDENTITY: &str = "identity";

/// The file that holds an attempt to join, until it has succeeded.
const ATTEMPT: &str = "joining";

/// The file that keeps two agents from using one folder.
const LOCK: &str = "lock";

/// How patient the connections to managers are: another manager is better than a slow one.
pub(crate) const PATIENCE: Patience =
    Patience { connect: Duration::from_secs(3), ..Patience::CLIENT };

/// Largest of these files, in bytes: two certificates, a key and a few addresses have 3 KiB.
const BYTES_MAX: usize = 64 << 10;

/// The identity cannot be kept or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum IdentityError {
    /// The data folder cannot be used.
    #[error("cannot use the data folder")]
    Folder(#[source] FileError),
    /// The file does not hold an identity.
    #[error("cannot read the identity in {path}")]
    Content {
        /// Where it is.
        path: String,
        /// Why.
        #[source]
        source: WireError,
    },
    /// What a manager handed out, or what is kept, is not an identity of this agent.
    #[error("{0}")]
    Unsound(&'static str),
    /// Certificate and key do not go together.
    #[error("the certificate cannot be used")]
    Tls(#[source] TlsError),
    /// An address of a manager cannot be dialled.
    #[error("cannot dial a manager")]
    Address(#[source] AddressError),
    /// Writing was cut short by the end of this process.
    #[error("writing was cut short")]
    Cut(#[source] JoinError),
}

/// A private key as it is kept: bytes that are wiped.
struct PrivateKey(Zeroizing<Box<[u8]>>);

impl<C> minicbor::Encode<C> for PrivateKey {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for PrivateKey {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Ok(Self(Zeroizing::new(d.bytes()?.into())))
    }
}

impl From<&SigningKeyDer> for PrivateKey {
    fn from(key: &SigningKeyDer) -> Self {
        Self(Zeroizing::new(key.expose().into()))
    }
}

/// The identity as it is kept.
#[derive(minicbor::Encode, minicbor::Decode)]
struct Record {
    #[n(0)]
    token_id: TokenId,
    #[n(1)]
    key: PrivateKey,
    #[cbor(n(2), with = "minicbor::bytes")]
    certificate: Vec<u8>,
    #[cbor(n(3), with = "minicbor::bytes")]
    ca: Vec<u8>,
    #[n(4)]
    incarnation_seen: Incarnation,
    #[n(5)]
    managers: Vec<String>,
    #[n(6)]
    renew_at: Timestamp,
    #[n(7)]
    evicted: bool,
}

/// An attempt to join, as it is kept: the same request is made again after a crash, so that a token
/// of one use and a hostname are not lost on it.
#[derive(minicbor::Encode, minicbor::Decode)]
struct AttemptRecord {
    #[n(0)]
    token_id: TokenId,
    #[n(1)]
    hostname: String,
    #[n(2)]
    request_key: RequestKey,
    #[n(3)]
    key: PrivateKey,
    #[cbor(n(4), with = "minicbor::bytes")]
    public: Vec<u8>,
}

/// An attempt to join.
pub(crate) struct Attempt {
    /// By which token.
    pub(crate) token_id: TokenId,
    /// Under which name.
    pub(crate) hostname: String,
    /// The request's key, the same in every try.
    pub(crate) request_key: RequestKey,
    /// The key pair to be certified.
    pub(crate) pair: KeyPairDer,
}

/// Who this agent is. Changed by making another one.
#[derive(Clone)]
pub(crate) struct Identity {
    /// The token it joined with.
    pub(crate) token_id: TokenId,
    /// Its node.
    pub(crate) node_id: NodeId,
    /// Its cluster.
    pub(crate) realm: Realm,
    /// The highest life of the cluster it has met.
    pub(crate) incarnation_seen: Incarnation,
    /// The managers, as the cluster last listed them.
    pub(crate) managers: Vec<String>,
    /// What the certificate says.
    pub(crate) says: PeerCertificate,
    /// When the certificate is to be renewed.
    pub(crate) renew_at: Timestamp,
    /// Whether the cluster has evicted this node: then there is nothing to do with it but to join
    /// again.
    pub(crate) evicted: bool,
    certificate: CertificateDer<'static>,
    ca: CertificateDer<'static>,
    key: Arc<SigningKeyDer>,
}

impl Identity {
    /// The identity that an admission makes.
    pub(crate) fn admitted(
        token_id: TokenId,
        realm: Realm,
        pair: KeyPairDer,
        enrolled: &pb::Enrolled,
    ) -> Result<Self, IdentityError> {
        let says = certified(enrolled, &pair, realm)?;
        let Subject::Agent(node_id) = says.identity.subject else {
            return Err(IdentityError::Unsound("the certificate that came is not an agent's"));
        };
        let incarnation = Incarnation(enrolled.incarnation).max(says.identity.incarnation);
        Ok(Self {
            token_id,
            node_id,
            realm,
            incarnation_seen: incarnation,
            managers: listed(&enrolled.manager_addresses),
            renew_at: renew_at(&says, clock::now()),
            says,
            evicted: false,
            certificate: enrolled.certificate.to_vec().into(),
            ca: enrolled.ca_certificate.to_vec().into(),
            key: Arc::new(pair.private),
        })
    }

    /// This identity with its next certificate. The node stays what it is; the CA, too, or the one
    /// that takes its place by its word.
    pub(crate) fn renewed(
        &self,
        pair: KeyPairDer,
        enrolled: &pb::Enrolled,
    ) -> Result<Self, IdentityError> {
        let says = certified(enrolled, &pair, self.realm)?;
        if says.identity.subject != self.says.identity.subject {
            return Err(IdentityError::Unsound("the certificate that came names somebody else"));
        }
        let pinned = certificate::public_key_of(&self.ca).map(|key| seal::digest_of(&key));
        let pinned =
            pinned.map_err(|_| IdentityError::Unsound("the CA that is kept is damaged"))?;
        if !trust::is_pinned(&enrolled.ca_certificate, enrolled.authorities.as_ref(), &pinned) {
            return Err(IdentityError::Unsound("the CA that came does not take this one's place"));
        }
        let managers = listed(&enrolled.manager_addresses);
        Ok(Self {
            incarnation_seen: self.incarnation_seen.max(says.identity.incarnation),
            managers: if managers.is_empty() { self.managers.clone() } else { managers },
            renew_at: renew_at(&says, clock::now()),
            says,
            certificate: enrolled.certificate.to_vec().into(),
            ca: enrolled.ca_certificate.to_vec().into(),
            key: Arc::new(pair.private),
            ..self.clone()
        })
    }

    /// Whether the certificate has ended.
    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        self.says.not_after <= now
    }

    /// A channel to a manager with this certificate, which connects when it is used. Managers of
    /// another cluster, and of an earlier life of this one, are refused.
    pub(crate) fn channel(&self, address: &str) -> Result<Channel, IdentityError> {
        let own = OwnCertificate::new(self.certificate.clone(), self.ca.clone(), &self.key)
            .map_err(IdentityError::Tls)?;
        let cluster = Cluster { realm: self.realm, incarnation: self.incarnation_seen };
        let config = tls::client_config(own, &self.ca, cluster);
        let config = config.map_err(IdentityError::Tls)?;
        dial::channel(address, config, PATIENCE).map_err(IdentityError::Address)
    }

    fn record(&self) -> Record {
        Record {
            token_id: self.token_id,
            key: PrivateKey::from(&*self.key),
            certificate: self.certificate.to_vec(),
            ca: self.ca.to_vec(),
            incarnation_seen: self.incarnation_seen,
            managers: self.managers.clone(),
            renew_at: self.renew_at,
            evicted: self.evicted,
        }
    }

    fn from_record(record: Record) -> Result<Self, IdentityError> {
        let says = PeerCertificate::parse(&record.certificate)
            .map_err(|_| IdentityError::Unsound("the certificate that is kept is damaged"))?;
        let Subject::Agent(node_id) = says.identity.subject else {
            return Err(IdentityError::Unsound("the certificate that is kept is not an agent's"));
        };
        Ok(Self {
            token_id: record.token_id,
            node_id,
            realm: says.identity.realm,
            incarnation_seen: record.incarnation_seen,
            managers: record.managers,
            says,
            renew_at: record.renew_at,
            evicted: record.evicted,
            certificate: record.certificate.into(),
            ca: record.ca.into(),
            key: Arc::new(SigningKeyDer::new(record.key.0)),
        })
    }
}

/// A certificate that was handed out, if it is for the key made here and of the right cluster.
fn certified(
    enrolled: &pb::Enrolled,
    pair: &KeyPairDer,
    realm: Realm,
) -> Result<PeerCertificate, IdentityError> {
    let says = PeerCertificate::parse(&enrolled.certificate)
        .map_err(|_| IdentityError::Unsound("what came is not a certificate of a cluster"))?;
    if says.identity.realm != realm {
        return Err(IdentityError::Unsound("the certificate that came is of another cluster"));
    }
    if says.key_digest != seal::digest_of(&pair.public) {
        return Err(IdentityError::Unsound("the certificate that came is for another key"));
    }
    if !certificate::is_signed_by(&enrolled.certificate, &enrolled.ca_certificate) {
        return Err(IdentityError::Unsound("the certificate that came is of another CA"));
    }
    Ok(says)
}

/// A random point in 50 to 80 % of what is left of a certificate's life.
fn renew_at(says: &PeerCertificate, now: Timestamp) -> Timestamp {
    let life_ms = says.not_after.ms_since(now);
    let chance = u64::from_be_bytes(seal::random()) % 301;
    now.after_ms(life_ms.saturating_mul(500 + chance) / 1000)
}

/// What of a list of managers can be used.
pub(crate) fn listed(addresses: &[String]) -> Vec<String> {
    let usable = addresses.iter().filter(|address| is_address(address));
    // Twice: while managers are replaced, old and new ones are listed.
    usable.take(2 * MANAGERS_MAX).cloned().collect()
}

/// Whether a text is `HOST:PORT`.
pub(crate) fn is_address(text: &str) -> bool {
    text.len() <= ADDRESS_BYTES_MAX
        && text.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
}

/// The private folder of one agent, taken for this process alone.
pub(crate) struct DataFolder {
    folder: Folder,
    _lock: Lock,
}

impl DataFolder {
    /// Makes or opens the folder. Its parent must exist.
    pub(crate) fn open(path: &Path) -> Result<Self, IdentityError> {
        let folder = Folder::create_private(path).map_err(IdentityError::Folder)?;
        let lock = folder.lock(LOCK).map_err(IdentityError::Folder)?;
        Ok(Self { folder, _lock: lock })
    }

    fn read<T>(&self, name: &str) -> Result<Option<T>, IdentityError>
    where
        T: for<'b> minicbor::Decode<'b, ()>,
    {
        match self.folder.read_private(name, BYTES_MAX) {
            Ok(bytes) => {
                let path = || self.folder.path().join(name).display().to_string();
                wire::decode(&bytes)
                    .map(Some)
                    .map_err(|source| IdentityError::Content { path: path(), source })
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(IdentityError::Folder(error)),
        }
    }

    fn replace(&self, name: &str, record: &impl minicbor::Encode<()>) -> Result<(), IdentityError> {
        let bytes = Zeroizing::new(wire::encode(record));
        self.folder.replace(name, PRIVATE_FILE_MODE, &bytes).map_err(IdentityError::Folder)
    }

    /// The identity that is kept, if this agent has joined.
    pub(crate) fn identity(&self) -> Result<Option<Identity>, IdentityError> {
        self.read::<Record>(IDENTITY)?.map(Identity::from_record).transpose()
    }

    /// Keeps an identity in the place of the one before, durably.
    pub(crate) fn keep(&self, identity: &Identity) -> Result<(), IdentityError> {
        self.replace(IDENTITY, &identity.record())
    }

    /// An attempt to join that has not succeeded yet, if there is one.
    pub(crate) fn attempt(&self) -> Result<Option<Attempt>, IdentityError> {
        let record = self.read::<AttemptRecord>(ATTEMPT)?;
        Ok(record.map(|record| Attempt {
            token_id: record.token_id,
            hostname: record.hostname,
            request_key: record.request_key,
            pair: KeyPairDer { private: SigningKeyDer::new(record.key.0), public: record.public },
        }))
    }

    /// Keeps an attempt, durably.
    pub(crate) fn keep_attempt(&self, attempt: &Attempt) -> Result<(), IdentityError> {
        let record = AttemptRecord {
            token_id: attempt.token_id,
            hostname: attempt.hostname.clone(),
            request_key: attempt.request_key,
            key: PrivateKey::from(&attempt.pair.private),
            public: attempt.pair.public.clone(),
        };
        self.replace(ATTEMPT, &record)
    }

    /// Forgets the attempt, which has succeeded.
    pub(crate) fn forget_attempt(&self) -> Result<(), IdentityError> {
        self.folder.remove_if_there(ATTEMPT).map_err(IdentityError::Folder)
    }
}

/// The identity in use, and the one way to change it.
pub(crate) struct Own {
    folder: Arc<DataFolder>,
    current: watch::Sender<Arc<Identity>>,
    changing: Mutex<()>,
}

impl Own {
    /// An identity that is kept in `folder`.
    pub(crate) fn new(folder: DataFolder, identity: Identity) -> Self {
        let (current, _) = watch::channel(Arc::new(identity));
        Self { folder: Arc::new(folder), current, changing: Mutex::new(()) }
    }

    /// The identity now.
    pub(crate) fn current(&self) -> Arc<Identity> {
        Arc::clone(&self.current.borrow())
    }

    /// The identity, now and as it changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Identity>> {
        self.current.subscribe()
    }

    /// Changes the identity: on disk first, then here. `change` says nothing if there is nothing to
    /// change.
    pub(crate) async fn change(
        &self,
        change: impl FnOnce(&Identity) -> Result<Option<Identity>, IdentityError> + Send,
    ) -> Result<(), IdentityError> {
        let _one_at_a_time = self.changing.lock().await;
        let Some(next) = change(&self.current())? else {
            return Ok(());
        };
        let next = Arc::new(next);
        let (folder, kept) = (Arc::clone(&self.folder), Arc::clone(&next));
        spawn_blocking(move || folder.keep(&kept)).await.map_err(IdentityError::Cut)??;
        self.current.send_replace(next);
        Ok(())
    }

    /// Remembers that the cluster has come to this life.
    pub(crate) async fn remember_incarnation(
        &self,
        incarnation: Incarnation,
    ) -> Result<(), IdentityError> {
        self.change(|identity| {
            let higher = incarnation > identity.incarnation_seen;
            Ok(higher.then(|| Identity { incarnation_seen: incarnation, ..identity.clone() }))
        })
        .await
    }

    /// Remembers the managers that the cluster lists.
    pub(crate) async fn remember_managers(
        &self,
        addresses: &[String],
    ) -> Result<(), IdentityError> {
        let managers = listed(addresses);
        self.change(|identity| {
            let changed = !managers.is_empty() && managers != identity.managers;
            Ok(changed.then(|| Identity { managers, ..identity.clone() }))
        })
        .await
    }

    /// Remembers that this node was evicted.
    pub(crate) async fn remember_eviction(&self) -> Result<(), IdentityError> {
        self.change(|identity| Ok(Some(Identity { evicted: true, ..identity.clone() }))).await
    }
}

#[cfg(test)]
mod tests;
