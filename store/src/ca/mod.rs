//! The certificate authority: founding it, and the certificates it issues.
//!
//! A certificate is handed out only after the cluster has committed that it stands by it; what it
//! says is decided here, and from a request only the public key is taken. Lives: agents and
//! managers 30 days, operators 90, the CA 20 years; clients renew at a random point in 50 to 80 %.
//!
//! Not here: who may have one (service), X.509 itself (link).

mod rotation;

use link::certificate::{self, CertificateError, NewCertificate};
use proto::id::{Incarnation, KeyId, Realm, Serial, Timestamp};
use proto::identity::{Identity, Subject};
use rustls_pki_types::CertificateDer;
use seal::{Context, RootKey, SigningKeyDer, TransitSecretKey};
use state::object::{Authority, Blob, Certificate, Cluster, Digest, TransitKey};

pub(crate) use self::rotation::{authorities, heard, sign_by_all, succeed, told};
use crate::keys::{Keyring, KeyringError};

const DAY_MS: u64 = 24 * 3600 * 1000;

/// Life of the CA: longer than the hardware.
const CA_LIFE_MS: u64 = 20 * 365 * DAY_MS;

/// Life of a transit key: it rotates weekly, and the one before is accepted for a week more.
const TRANSIT_LIFE_MS: u64 = 21 * DAY_MS;

/// How old a transit key is replaced.
pub(crate) const TRANSIT_ROTATION_MS: u64 = 7 * DAY_MS;

/// A certificate could not be issued.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaError {
    /// The CA's key is not at hand.
    #[error("the CA's key cannot be used")]
    Key(#[from] KeyringError),
    /// Making the certificate failed.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// A new CA, its key wrapped.
pub(crate) struct Founded {
    pub(crate) authority: Authority,
    pub(crate) key: SigningKeyDer,
}

/// Founds a CA.
pub(crate) fn found(realm: Realm, root: &RootKey, now: Timestamp) -> Result<Founded, CaError> {
    let pair = certificate::make_key_pair()?;
    let der = certificate::make_ca(&pair.private, now, now.after_ms(CA_LIFE_MS))?;
    let digest = seal::digest_of(&pair.public);
    let authority = Authority {
        certificate: Blob(der.to_vec().into()),
        digest: Digest(digest),
        wrapped_key: root.wrap_ca_key(realm, &digest, &pair.private),
    };
    Ok(Founded { authority, key: pair.private })
}

/// A certificate that was signed and is to be committed before it is handed out.
pub(crate) struct Issued {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) serial: Serial,
    pub(crate) record: Certificate,
}

/// What a certificate is issued for.
#[derive(Clone, Copy)]
pub(crate) struct For<'a> {
    pub(crate) realm: Realm,
    pub(crate) incarnation: Incarnation,
    pub(crate) subject: Subject,
    pub(crate) public_key: &'a [u8],
    pub(crate) now: Timestamp,
}

/// Signs a certificate with a CA key that is at hand.
pub(crate) fn sign(
    ca_certificate: &[u8],
    ca_key: &SigningKeyDer,
    what: For<'_>,
) -> Result<Issued, CaError> {
    let serial = certificate::make_serial();
    let not_after = what.now.after_ms(Certificate::life_ms(what.subject.role()));
    let identity =
        Identity { realm: what.realm, incarnation: what.incarnation, subject: what.subject };
    let new =
        NewCertificate { identity, public_key: what.public_key, serial, now: what.now, not_after };
    let der = certificate::issue(&CertificateDer::from(ca_certificate), ca_key, &new)?;
    let ca_key_digest = seal::digest_of(&certificate::public_key_of(ca_certificate)?);
    let record = Certificate {
        subject: what.subject,
        key_digest: Digest(seal::digest_of(what.public_key)),
        issued_at: what.now,
        not_after,
        revoked: false,
        authority: Some(Digest(ca_key_digest)),
        rotation: None,
        superseded_at: None,
    };
    Ok(Issued { der, serial, record })
}

/// Signs a certificate with a CA of the cluster.
pub(crate) fn issue(
    keyring: &Keyring,
    cluster: &Cluster,
    issuer: &Authority,
    subject: Subject,
    public_key: &[u8],
    now: Timestamp,
) -> Result<Issued, CaError> {
    let ca_key = keyring.ca_key(issuer)?;
    let what =
        For { realm: cluster.realm, incarnation: cluster.incarnation, subject, public_key, now };
    sign(&issuer.certificate.0, &ca_key, what)
}

/// A certificate for a server that clients of another protocol know by these names, signed with a CA of
/// the cluster: of no record, and nobody of the cluster by it.
pub(crate) fn issue_for_names(
    keyring: &Keyring,
    issuer: &Authority,
    names: &[String],
    public_key: &[u8],
    (now, not_after): (Timestamp, Timestamp),
) -> Result<CertificateDer<'static>, CaError> {
    let ca_key = keyring.ca_key(issuer)?;
    let ca = CertificateDer::from(&*issuer.certificate.0);
    let times = (now, not_after);
    Ok(certificate::issue_for_names(&ca, &ca_key, names, public_key, times)?)
}

/// A new transit key: wrapped, announced by the CA.
pub(crate) fn make_transit_key(
    realm: Realm,
    root: &RootKey,
    ca_key: &SigningKeyDer,
    now: Timestamp,
) -> Result<(KeyId, TransitKey), CaError> {
    let secret = TransitSecretKey::make();
    let id = secret.public().id();
    let not_after = now.after_ms(TRANSIT_LIFE_MS);
    let mut key = TransitKey {
        public_key: Blob(secret.public().as_bytes().clone()),
        wrapped_key: root.wrap_transit_key(realm, &secret),
        created_at: now,
        not_after,
        signature: Blob::default(),
        signatures: None,
    };
    key.signature = announce(realm, id, &key, ca_key)?;
    Ok((id, key))
}

/// A CA's signature over a transit key.
fn announce(
    realm: Realm,
    id: KeyId,
    key: &TransitKey,
    ca_key: &SigningKeyDer,
) -> Result<Blob, CaError> {
    let announcement = Context::TransitAnnouncement {
        realm,
        transit_key_id: id,
        public_key: &key.public_key.0,
        not_after_ms: key.not_after.0,
    };
    Ok(Blob(certificate::sign(ca_key, &announcement.encode())?.into()))
}
