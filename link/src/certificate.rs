//! Certificates: what one says, and making them.
//!
//! X.509 v3, ECDSA P-256. The identity is one SAN URI (see `proto::identity`); nothing else of a
//! certificate is believed. From a request only the public key is taken: everything in the
//! certificate is decided here.
//!
//! Not here: whether the cluster stands by a certificate (state), when one is issued (store).

use proto::id::{Serial, Timestamp};
use proto::identity::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
    SubjectPublicKeyInfo,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use seal::SigningKeyDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

/// How long before now a certificate begins, in milliseconds: clocks may differ by minutes.
const BACKDATE_MS: u64 = 3600 * 1000;

/// Largest certificate read from a peer, in bytes. Ours have about 600.
const CERTIFICATE_BYTES_MAX: usize = 8 << 10;

/// A certificate cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It does not parse, or names nobody of a secretd cluster.
    #[error("not a certificate of a secretd cluster")]
    Foreign,
    /// A key is not one that can be certified.
    #[error("not a public key for ECDSA on P-256")]
    Key,
    /// Making it failed.
    #[error("the certificate could not be made: {0}")]
    Make(String),
}

impl From<rcgen::Error> for CertificateError {
    fn from(error: rcgen::Error) -> Self {
        Self::Make(error.to_string())
    }
}

/// What a peer's certificate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Whom it names.
    pub identity: Identity,
    /// Which certificate it is.
    pub serial: Serial,
    /// SHA-256 of its public key (SubjectPublicKeyInfo, DER).
    pub key_digest: [u8; 32],
    /// When it ends.
    pub not_after: Timestamp,
}

impl PeerCertificate {
    /// Reads a certificate. Its signature is not checked here.
    ///
    /// # Errors
    ///
    /// If it is not one of a secretd cluster.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(CertificateError::Foreign);
        }
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| CertificateError::Foreign)?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.ok_or(CertificateError::Foreign)?;
        let [GeneralName::URI(uri)] = names.value.general_names.as_slice() else {
            return Err(CertificateError::Foreign);
        };
        let not_after = certificate.validity().not_after.timestamp();
        let not_after = u64::try_from(not_after).map_err(|_| CertificateError::Foreign)?;
        if !rest.is_empty() {
            return Err(CertificateError::Foreign);
        }
        Ok(Self {
            identity: uri.parse().map_err(|_| CertificateError::Foreign)?,
            serial: read_serial(certificate.raw_serial()).ok_or(CertificateError::Foreign)?,
            key_digest: seal::digest_of(certificate.public_key().raw),
            not_after: Timestamp(not_after.saturating_mul(1000)),
        })
    }
}

/// A serial number of up to 16 bytes; DER drops leading zeros and may add one.
fn read_serial(raw: &[u8]) -> Option<Serial> {
    let significant = raw.iter().position(|byte| *byte != 0).unwrap_or(raw.len());
    let digits = raw.get(significant..)?;
    let mut bytes = [0; 16];
    let start = bytes.len().checked_sub(digits.len())?;
    bytes.get_mut(start..)?.copy_from_slice(digits);
    Some(Serial::from_bytes(bytes))
}

/// The public key of a certificate (SubjectPublicKeyInfo, DER).
///
/// # Errors
///
/// If the certificate does not parse.
pub fn public_key_of(certificate: &[u8]) -> Result<Vec<u8>, CertificateError> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::Foreign)?;
    Ok(certificate.public_key().raw.to_vec())
}

/// The subject of a certificate (Name, DER).
///
/// # Errors
///
/// If the certificate does not parse.
pub fn subject_of(certificate: &[u8]) -> Result<Vec<u8>, CertificateError> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::Foreign)?;
    Ok(certificate.subject().as_raw().to_vec())
}

/// A key pair for a certificate: the private key, and the public one (SubjectPublicKeyInfo, DER).
pub struct KeyPairDer {
    /// PKCS#8.
    pub private: SigningKeyDer,
    /// SubjectPublicKeyInfo.
    pub public: Vec<u8>,
}

/// Makes a key pair for a certificate: ECDSA on P-256.
///
/// # Errors
///
/// If the provider cannot make one.
pub fn make_key_pair() -> Result<KeyPairDer, CertificateError> {
    use rcgen::PublicKeyData as _;
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let private = Zeroizing::new(pair.serialize_der().into_boxed_slice());
    Ok(KeyPairDer { private: SigningKeyDer::new(private), public: pair.subject_public_key_info() })
}

fn read_key(key: &SigningKeyDer) -> Result<KeyPair, CertificateError> {
    let der = PrivatePkcs8KeyDer::from(key.expose());
    Ok(KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256)?)
}

fn at(timestamp: Timestamp) -> Result<time::OffsetDateTime, CertificateError> {
    let seconds = i64::try_from(timestamp.0 / 1000).unwrap_or(i64::MAX);
    time::OffsetDateTime::from_unix_timestamp(seconds)
        .map_err(|error| CertificateError::Make(error.to_string()))
}

/// Certificates that stand one after the other, DER; none if anything else is among them.
pub fn split(mut bytes: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (rest, _) = X509Certificate::from_der(bytes).ok()?;
        let (one, _) = bytes.split_at_checked(bytes.len().checked_sub(rest.len())?)?;
        all.push(CertificateDer::from(one.to_vec()));
        bytes = rest;
    }
    Some(all)
}

/// Whether a certificate is a CA's.
pub fn is_authority(certificate: &[u8]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    certificate.is_ca()
}

/// Whether a certificate carries the signature of a CA's key, made over what it says.
pub fn is_signed_by(certificate: &[u8], ca: &[u8]) -> bool {
    let (Ok((_, certificate)), Ok(key)) =
        (X509Certificate::from_der(certificate), public_key_of(ca))
    else {
        return false;
    };
    verify(&key, certificate.tbs_certificate.as_ref(), &certificate.signature_value.data)
}

fn ca_params(now: Timestamp, not_after: Timestamp) -> Result<CertificateParams, CertificateError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("secretd-ca");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.not_before = at(Timestamp(now.0.saturating_sub(BACKDATE_MS)))?;
    params.not_after = at(not_after)?;
    params.serial_number = Some(SerialNumber::from_slice(&positive(seal::random())));
    Ok(params)
}

/// Makes a CA's certificate, signed by its own key. Its path length is 1: below it stand leaves,
/// and the CA that takes its place.
///
/// # Errors
///
/// If the key is not one of [`make_key_pair`]'s, or signing fails.
pub fn make_ca(
    key: &SigningKeyDer,
    now: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateDer<'static>, CertificateError> {
    let mut params = ca_params(now, not_after)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    Ok(params.self_signed(&read_key(key)?)?.into())
}

/// Makes a bridge: the certificate of a new CA's key, signed by the CA whose place it takes. Its
/// path length is 0: leaves only.
///
/// # Errors
///
/// If the keys are not ones of [`make_key_pair`]'s, or signing fails.
pub fn make_bridge(
    former: &CertificateDer<'_>,
    former_key: &SigningKeyDer,
    next_public_key: &[u8],
    now: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateDer<'static>, CertificateError> {
    let public =
        SubjectPublicKeyInfo::from_der(next_public_key).map_err(|_| CertificateError::Key)?;
    let mut params = ca_params(now, not_after)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let issuer = Issuer::from_ca_cert_der(former, read_key(former_key)?)?;
    Ok(params.signed_by(&public, &issuer)?.into())
}

/// What a new certificate says.
pub struct NewCertificate<'a> {
    /// Whom it names.
    pub identity: Identity,
    /// Whose public key it is for (SubjectPublicKeyInfo, DER).
    pub public_key: &'a [u8],
    /// Its serial number.
    pub serial: Serial,
    /// When it is issued.
    pub now: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}

/// Signs a certificate with the CA's key.
///
/// # Errors
///
/// If the public key is not on P-256, or signing fails.
pub fn issue(
    ca_certificate: &CertificateDer<'_>,
    ca_key: &SigningKeyDer,
    new: &NewCertificate<'_>,
) -> Result<CertificateDer<'static>, CertificateError> {
    use rcgen::PublicKeyData as _;
    let public =
        SubjectPublicKeyInfo::from_der(new.public_key).map_err(|_| CertificateError::Key)?;
    if *public.algorithm() != PKCS_ECDSA_P256_SHA256 {
        return Err(CertificateError::Key);
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(&new.identity.subject.to_string());
    let uri = new.identity.to_string().try_into()?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params.is_ca = IsCa::ExplicitNoCa;
    params.not_before = at(Timestamp(new.now.0.saturating_sub(BACKDATE_MS)))?;
    params.not_after = at(new.not_after)?;
    params.serial_number = Some(SerialNumber::from_slice(new.serial.as_bytes()));
    let issuer = Issuer::from_ca_cert_der(ca_certificate, read_key(ca_key)?)?;
    Ok(params.signed_by(&public, &issuer)?.into())
}

/// Signs a certificate for a server that is known by names and addresses, for clients of another
/// protocol than ours. It names nobody of the cluster, so nobody of it takes it for one of theirs.
///
/// # Errors
///
/// If a name or the public key is none, or signing fails.
pub fn issue_for_names(
    ca_certificate: &CertificateDer<'_>,
    ca_key: &SigningKeyDer,
    names: &[String],
    public_key: &[u8],
    (now, not_after): (Timestamp, Timestamp),
) -> Result<CertificateDer<'static>, CertificateError> {
    let public = SubjectPublicKeyInfo::from_der(public_key).map_err(|_| CertificateError::Key)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("secretd");
    let named = names.iter().map(|name| match name.parse() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => name.as_str().try_into().map(SanType::DnsName),
    });
    params.subject_alt_names = named.collect::<Result<_, _>>()?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.is_ca = IsCa::ExplicitNoCa;
    params.not_before = at(Timestamp(now.0.saturating_sub(BACKDATE_MS)))?;
    params.not_after = at(not_after)?;
    params.serial_number = Some(SerialNumber::from_slice(&positive(seal::random())));
    let issuer = Issuer::from_ca_cert_der(ca_certificate, read_key(ca_key)?)?;
    Ok(params.signed_by(&public, &issuer)?.into())
}

/// A fresh serial number, positive and of full length, so that it reads back as it is.
pub fn make_serial() -> Serial {
    Serial::from_bytes(positive(seal::random()))
}

/// RFC 5280 §4.1.2.2: serial numbers are positive.
const fn positive(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[0] = bytes[0] & 0x7f | 0x40;
    bytes
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// Signs a message: ECDSA on P-256 with SHA-256, the signature in DER.
///
/// # Errors
///
/// If the key is not one of [`make_key_pair`]'s.
pub fn sign(key: &SigningKeyDer, message: &[u8]) -> Result<Vec<u8>, CertificateError> {
    use rcgen::SigningKey as _;
    Ok(read_key(key)?.sign(message)?)
}

/// Checks a signature made by [`sign`], by public key (SubjectPublicKeyInfo, DER).
pub fn verify(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Ok((_, info)) = x509_parser::x509::SubjectPublicKeyInfo::from_der(public_key) else {
        return false;
    };
    let key = info.subject_public_key.data;
    webpki::aws_lc_rs::ECDSA_P256_SHA256.verify_signature(&key, message, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use proto::id::{Incarnation, NodeId, Realm};
    use proto::identity::Subject;

    use super::*;

    fn identity() -> Identity {
        Identity {
            realm: Realm::from_bytes([1; 16]),
            incarnation: Incarnation(1),
            subject: Subject::Agent(NodeId::from_entropy([1; 17])),
        }
    }

    #[test]
    fn a_certificate_says_what_it_was_given() {
        let ca = make_key_pair().unwrap();
        let ca_certificate = make_ca(&ca.private, Timestamp(0), Timestamp(10_000_000_000)).unwrap();
        let key = make_key_pair().unwrap();
        for serial in [make_serial(), Serial::from_bytes([0x40; 16])] {
            let new = NewCertificate {
                identity: identity(),
                public_key: &key.public,
                serial,
                now: Timestamp(4_000_000),
                not_after: Timestamp(9_000_000),
            };
            let certificate = issue(&ca_certificate, &ca.private, &new).unwrap();
            let said = PeerCertificate::parse(&certificate).unwrap();
            assert_eq!(said.identity, identity());
            assert_eq!(said.serial, serial);
            assert_eq!(said.key_digest, seal::digest_of(&key.public));
            assert_eq!(said.not_after, Timestamp(9_000_000));
            assert_eq!(public_key_of(&certificate).unwrap(), key.public);
        }
        assert!(PeerCertificate::parse(&ca_certificate).is_err(), "a CA is nobody");
        assert!(PeerCertificate::parse(b"").is_err());
    }

    #[test]
    fn only_keys_on_p256_are_certified() {
        let ca = make_key_pair().unwrap();
        let ca_certificate = make_ca(&ca.private, Timestamp(0), Timestamp(10_000_000_000)).unwrap();
        let other = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let other = rcgen::PublicKeyData::subject_public_key_info(&other);
        for public_key in [other.as_slice(), b"", b"junk"] {
            let new = NewCertificate {
                identity: identity(),
                public_key,
                serial: make_serial(),
                now: Timestamp(0),
                not_after: Timestamp(9_000_000),
            };
            let refused = issue(&ca_certificate, &ca.private, &new).unwrap_err();
            assert_eq!(refused, CertificateError::Key);
        }
    }

    #[test]
    fn a_certificate_for_names_is_nobodys_of_the_cluster() {
        let (ca, key) = (make_key_pair().unwrap(), make_key_pair().unwrap());
        let ca_certificate = make_ca(&ca.private, Timestamp(0), Timestamp(10_000_000_000)).unwrap();
        let names = ["m1.example", "192.0.2.1", "2001:db8::1"].map(str::to_owned);
        let times = (Timestamp(4_000_000), Timestamp(9_000_000));
        let made =
            issue_for_names(&ca_certificate, &ca.private, &names, &key.public, times).unwrap();
        assert!(is_signed_by(&made, &ca_certificate));
        assert_eq!(PeerCertificate::parse(&made), Err(CertificateError::Foreign));
        let (_, made) = X509Certificate::from_der(&made).unwrap();
        let found = made.subject_alternative_name().unwrap().unwrap();
        assert_eq!(found.value.general_names.len(), names.len());
        assert!(found.value.general_names.contains(&GeneralName::DNSName("m1.example")));
        assert!(found.value.general_names.contains(&GeneralName::IPAddress(&[192, 0, 2, 1])));
    }

    #[test]
    fn a_signature_is_checked() {
        let (key, other) = (make_key_pair().unwrap(), make_key_pair().unwrap());
        let signature = sign(&key.private, b"message").unwrap();
        assert!(verify(&key.public, b"message", &signature));
        assert!(!verify(&key.public, b"messagE", &signature));
        assert!(!verify(&other.public, b"message", &signature));
        assert!(!verify(b"junk", b"message", &signature));
        assert!(!verify(&key.public, b"message", b""));
    }
}
