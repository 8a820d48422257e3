//! Trust: which CAs a side goes by, and what it shows for the one that signed its own certificate.
//!
//! A cluster has one CA, and while that is replaced, two. The next one's key is signed by the one
//! before (the *bridge*), so that whoever knows the one before only can follow a chain from it to a
//! certificate of the next. Not here: when a CA comes and goes (state), making one
//! ([`crate::certificate`]).
//!
//! Invariant: a certificate passes only if one of the CAs that are trusted at that moment signed it,
//! or signed the CA that did, and if it is not refused by its number.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use proto::id::Serial;
use proto::pb;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};

use crate::certificate::{self, PeerCertificate};
use crate::tls::TlsError;

/// Certificates looked at beside the leaf in what a peer shows: a bridge and the CA it begins at.
const SHOWN_MAX: usize = 4;

/// The CAs that a side goes by, and certificates of theirs that it refuses all the same: swapped while
/// it serves, and shared by all that look at them.
#[derive(Clone)]
pub struct Trust {
    anchors: Arc<ArcSwap<Vec<TrustAnchor<'static>>>>,
    refused: Arc<ArcSwap<BTreeSet<Serial>>>,
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trust({} CAs)", self.anchors.load().len())
    }
}

fn anchors<'a>(
    cas: impl IntoIterator<Item = &'a CertificateDer<'a>>,
) -> Result<Vec<TrustAnchor<'static>>, TlsError> {
    let anchor = |ca| {
        let anchor = webpki::anchor_from_trusted_cert(ca);
        anchor.map(|anchor| anchor.to_owned()).map_err(TlsError::Authority)
    };
    cas.into_iter().map(anchor).collect()
}

impl Trust {
    /// Trusts these CAs.
    ///
    /// # Errors
    ///
    /// If one is not a certificate.
    pub fn new<'a>(
        cas: impl IntoIterator<Item = &'a CertificateDer<'a>>,
    ) -> Result<Self, TlsError> {
        let anchors = Arc::new(ArcSwap::from_pointee(anchors(cas)?));
        Ok(Self { anchors, refused: Arc::default() })
    }

    /// Trusts these from the next handshake on, and no others.
    ///
    /// # Errors
    ///
    /// If one is not a certificate; what was trusted stays.
    pub fn replace<'a>(
        &self,
        cas: impl IntoIterator<Item = &'a CertificateDer<'a>>,
    ) -> Result<(), TlsError> {
        self.anchors.store(Arc::new(anchors(cas)?));
        Ok(())
    }

    /// Refuses these from the next handshake on, and no others.
    pub fn refuse(&self, serials: BTreeSet<Serial>) {
        self.refused.store(Arc::new(serials));
    }

    /// What is refused.
    pub fn refused(&self) -> Arc<BTreeSet<Serial>> {
        self.refused.load_full()
    }

    /// Checks that a leaf was signed by a CA that is trusted, or over a bridge from one, and is none
    /// that is refused.
    pub(crate) fn check(
        &self,
        algorithms: &WebPkiSupportedAlgorithms,
        leaf: &CertificateDer<'_>,
        shown: &[CertificateDer<'_>],
        usage: webpki::KeyUsage,
        now: UnixTime,
    ) -> Result<Checked, rustls::Error> {
        let checked = check_chain(algorithms, &self.anchors.load(), leaf, shown, usage, now)?;
        if self.refused.load().contains(&checked.says.serial) {
            return Err(rustls::Error::InvalidCertificate(rustls::CertificateError::Revoked));
        }
        Ok(checked)
    }
}

/// A certificate whose chain was checked.
pub(crate) struct Checked {
    pub(crate) says: PeerCertificate,
    /// Whether the chain went over a bridge: the signer's own CA is not trusted itself.
    pub(crate) over_bridge: bool,
}

/// Checks that a leaf was signed for TLS by one of the anchors, or by a CA of `shown` that one of
/// them signed, at a moment of its own validity: an end that has passed is for the caller to judge.
pub(crate) fn check_chain(
    algorithms: &WebPkiSupportedAlgorithms,
    anchors: &[TrustAnchor<'_>],
    leaf: &CertificateDer<'_>,
    shown: &[CertificateDer<'_>],
    usage: webpki::KeyUsage,
    now: UnixTime,
) -> Result<Checked, rustls::Error> {
    let bad = |error: rustls::CertificateError| rustls::Error::InvalidCertificate(error);
    let says = PeerCertificate::parse(leaf)
        .map_err(|_| bad(rustls::CertificateError::ApplicationVerificationFailure))?;
    let end = UnixTime::since_unix_epoch(std::time::Duration::from_millis(says.not_after.0));
    let at = if now.as_secs() > end.as_secs() { end } else { now };
    let certificate = webpki::EndEntityCert::try_from(leaf)
        .map_err(|_| bad(rustls::CertificateError::BadEncoding))?;
    let verify = |between: &[CertificateDer<'_>]| {
        let path =
            certificate.verify_for_usage(algorithms.all, anchors, between, at, usage, None, None);
        path.map(|_| ())
    };
    let direct = match verify(&[]) {
        Ok(()) => return Ok(Checked { says, over_bridge: false }),
        Err(error) => error,
    };
    if verify(shown.get(..SHOWN_MAX.min(shown.len())).unwrap_or_default()).is_ok() {
        return Ok(Checked { says, over_bridge: true });
    }
    Err(match direct {
        webpki::Error::CertNotValidYet { .. } => bad(rustls::CertificateError::NotValidYet),
        // All CAs have one name: one that is not known shows by its signature.
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
            bad(rustls::CertificateError::UnknownIssuer)
        }
        _ => bad(rustls::CertificateError::BadSignature),
    })
}

/// The anchor of a joiner: whichever of the certificates shown has the key that its token names.
pub(crate) fn anchor_of(
    shown: &[CertificateDer<'_>],
    ca_digest: &[u8; 32],
) -> Option<TrustAnchor<'static>> {
    let has_key = |ca: &&CertificateDer<'_>| {
        let public = certificate::public_key_of(ca);
        public.is_ok_and(|public| seal::equal(&seal::digest_of(&public), ca_digest))
    };
    let ca = shown.iter().take(SHOWN_MAX).find(has_key)?;
    webpki::anchor_from_trusted_cert(ca).ok().map(|anchor| anchor.to_owned())
}

/// How whoever knows a CA of before gets to the newest one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// The newest CA's key, signed by the one before.
    pub certificate: CertificateDer<'static>,
    /// The one before.
    pub former: CertificateDer<'static>,
}

/// The CAs of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorities {
    /// Those that certificates are checked against, the newest last: one, or two while one takes
    /// the place of the other.
    pub trusted: Vec<CertificateDer<'static>>,
    /// How to get to the newest from the one before it; none for a cluster's first.
    pub bridge: Option<Bridge>,
}

impl Authorities {
    /// A cluster's first CA.
    pub fn first(ca: CertificateDer<'static>) -> Self {
        Self { trusted: vec![ca], bridge: None }
    }

    /// As they are kept: DER, one after the other: those that are trusted, then the bridge and where
    /// it begins.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bridge = self.bridge.iter().flat_map(|bridge| [&bridge.certificate, &bridge.former]);
        self.trusted.iter().chain(bridge).flat_map(|ca| ca.iter().copied()).collect()
    }

    /// Reads what [`Self::to_bytes`] wrote; none if it is something else. How many there are says
    /// what they are: one CA; one and a bridge; two and a bridge.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut all = certificate::split(bytes)?;
        let bridge = match all.len() {
            1 => None,
            3 | 4 => {
                let former = all.pop()?;
                Some(Bridge { certificate: all.pop()?, former })
            }
            _ => return None,
        };
        Some(Self { trusted: all, bridge })
    }

    /// The CA of these that signed a certificate.
    pub fn issuer_of(&self, leaf: &CertificateDer<'_>) -> Option<&CertificateDer<'static>> {
        self.trusted.iter().find(|ca| certificate::is_signed_by(leaf, ca))
    }

    /// Whether the newest of them signed a certificate.
    pub fn is_of_newest(&self, leaf: &CertificateDer<'_>) -> bool {
        self.trusted.last().is_some_and(|ca| certificate::is_signed_by(leaf, ca))
    }

    /// What is shown together with a certificate: who trusts the CA of before, or has a token that
    /// names it, gets from there to the certificate.
    pub fn shown_with(&self, leaf: &CertificateDer<'_>) -> Vec<CertificateDer<'static>> {
        match (&self.bridge, self.issuer_of(leaf)) {
            (Some(bridge), _) if self.is_of_newest(leaf) => {
                vec![bridge.certificate.clone(), bridge.former.clone()]
            }
            (_, Some(issuer)) => vec![issuer.clone()],
            // Nobody will take it; why is told at the other end.
            (_, None) => self.trusted.clone(),
        }
    }
}

/// Whether a CA is the one that is pinned by its key's digest, or takes its place by its word, which
/// came with it.
pub fn is_pinned(ca: &[u8], told: Option<&pb::Authorities>, pinned: &[u8; 32]) -> bool {
    let has_key = |ca: &[u8]| {
        let public = certificate::public_key_of(ca);
        public.is_ok_and(|public| seal::equal(&seal::digest_of(&public), pinned))
    };
    has_key(ca)
        || told
            .is_some_and(|told| has_key(&told.former) && succeeds(&told.former, &told.bridge, ca))
}

/// Whether a CA takes the place of another by that one's word: the bridge is signed by the former
/// and is for the key of the next.
pub fn succeeds(former: &[u8], bridge: &[u8], next: &[u8]) -> bool {
    let key_of = |certificate| certificate::public_key_of(certificate).ok();
    let same_key = key_of(bridge).is_some_and(|key| Some(key) == key_of(next));
    same_key && certificate::is_authority(bridge) && certificate::is_signed_by(bridge, former)
}

#[cfg(test)]
mod tests;
