//! TLS: the one place where rustls is configured.
//!
//! TLS 1.3 only, hybrid post-quantum key exchange first, no resumption (a revoked node must not
//! come back with a ticket), ALPN `h2`. A server presents its certificate and the CA's, so that a
//! joiner can compare the CA with its token before it sends anything. A client certificate is
//! asked for, not required: enrolment has none.
//!
//! What is checked here: chain, key usage, realm, role, incarnation. A server of an earlier life of
//! the cluster is refused. A client's certificate may be of an earlier one: agents and operators
//! carry on with theirs until they renew, and a manager is told why it is refused. An expired
//! certificate passes the handshake and is marked (`PeerCertificate::not_after`): whoever has a
//! standing record may renew, and between managers it still carries Raft, so that a cluster which
//! slept past its expiry recovers. Not here: standing and authority, which come from the state at
//! each call.

use std::sync::Arc;

use arc_swap::ArcSwap;
use proto::id::{Incarnation, Realm};
use proto::identity::Role;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, TrustAnchor, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};
use seal::SigningKeyDer;
use tokio::sync::watch;

use crate::certificate::{PeerCertificate, public_key_of};

/// A TLS configuration cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The CA's certificate does not serve as a trust anchor.
    #[error("the CA's certificate cannot be used")]
    Authority(#[source] webpki::Error),
    /// Certificate and key do not go together.
    #[error("the certificate or its key cannot be used")]
    Certificate(#[source] rustls::Error),
}

/// What a program presents as its own, swapped while it serves when a certificate is renewed.
pub struct OwnCertificate {
    current: ArcSwap<CertifiedKey>,
    provider: Arc<CryptoProvider>,
}

impl std::fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnCertificate")
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

impl OwnCertificate {
    /// A certificate, the CA that signed it, and its key.
    ///
    /// # Errors
    ///
    /// If they do not go together.
    pub fn new(
        certificate: CertificateDer<'static>,
        ca: CertificateDer<'static>,
        key: &SigningKeyDer,
    ) -> Result<Arc<Self>, TlsError> {
        let provider = provider();
        let certified = certify(&provider, certificate, ca, key)?;
        Ok(Arc::new(Self { current: ArcSwap::from_pointee(certified), provider }))
    }

    /// Presents another certificate from the next handshake on.
    ///
    /// # Errors
    ///
    /// If certificate and key do not go together; the old one stays.
    pub fn replace(
        &self,
        certificate: CertificateDer<'static>,
        ca: CertificateDer<'static>,
        key: &SigningKeyDer,
    ) -> Result<(), TlsError> {
        let certified = certify(&self.provider, certificate, ca, key)?;
        self.current.store(Arc::new(certified));
        Ok(())
    }

    /// What the certificate in use says; none if it is not one of a cluster.
    pub fn says(&self) -> Option<PeerCertificate> {
        let current = self.current.load();
        PeerCertificate::parse(current.cert.first()?).ok()
    }

    /// The certificate in use.
    pub fn certificate(&self) -> Option<CertificateDer<'static>> {
        self.current.load().cert.first().cloned()
    }
}

fn certify(
    provider: &CryptoProvider,
    certificate: CertificateDer<'static>,
    ca: CertificateDer<'static>,
    key: &SigningKeyDer,
) -> Result<CertifiedKey, TlsError> {
    let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.expose().to_vec()));
    CertifiedKey::from_der(vec![certificate, ca], der, provider).map_err(TlsError::Certificate)
}

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl rustls::client::ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Checks that a leaf was signed by the CA for TLS, at a moment of its own validity: an end that
/// has passed is for the caller to judge.
fn check_chain(
    algorithms: &WebPkiSupportedAlgorithms,
    anchor: &TrustAnchor<'_>,
    leaf: &CertificateDer<'_>,
    usage: webpki::KeyUsage,
    now: UnixTime,
) -> Result<PeerCertificate, rustls::Error> {
    let bad = |error: rustls::CertificateError| rustls::Error::InvalidCertificate(error);
    let said = PeerCertificate::parse(leaf)
        .map_err(|_| bad(rustls::CertificateError::ApplicationVerificationFailure))?;
    let end = UnixTime::since_unix_epoch(std::time::Duration::from_millis(said.not_after.0));
    let certificate = webpki::EndEntityCert::try_from(leaf)
        .map_err(|_| bad(rustls::CertificateError::BadEncoding))?;
    certificate
        .verify_for_usage(
            algorithms.all,
            std::slice::from_ref(anchor),
            &[],
            if now.as_secs() > end.as_secs() { end } else { now },
            usage,
            None,
            None,
        )
        .map_err(|error| match error {
            webpki::Error::CertNotValidYet { .. } => bad(rustls::CertificateError::NotValidYet),
            webpki::Error::UnknownIssuer => bad(rustls::CertificateError::UnknownIssuer),
            _ => bad(rustls::CertificateError::BadSignature),
        })?;
    Ok(said)
}

macro_rules! signature_checks {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Err(rustls::Error::PeerIncompatible(rustls::PeerIncompatible::Tls13RequiredForQuic))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            rustls::crypto::verify_tls13_signature(
                message,
                certificate,
                signature,
                &self.algorithms,
            )
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

/// Which cluster, in which life, to talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cluster {
    /// For ever.
    pub realm: Realm,
    /// The highest life seen: a lower one is refused.
    pub incarnation: Incarnation,
}

#[derive(Debug)]
struct ClientVerifier {
    anchor: TrustAnchor<'static>,
    cluster: Cluster,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let usage = webpki::KeyUsage::client_auth();
        let said = check_chain(&self.algorithms, &self.anchor, leaf, usage, now)?;
        let known = said.identity.realm == self.cluster.realm
            && said.identity.incarnation <= self.cluster.incarnation;
        if known {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(rustls::CertificateError::ApplicationVerificationFailure.into())
        }
    }

    signature_checks!();
}

/// How a client knows the server it talks to.
#[derive(Debug, Clone)]
enum Expectation {
    /// The CA it has, the cluster it knows.
    Cluster { anchor: TrustAnchor<'static>, cluster: Cluster },
    /// The digest in its token; the CA comes with the chain.
    Digest { ca_digest: [u8; 32], realm: Realm },
}

#[derive(Debug)]
struct ServerVerifier {
    expectation: Expectation,
    expired_is_accepted: bool,
    /// Told of the lives that servers are of.
    met: Option<watch::Sender<Incarnation>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unacceptable =
            || rustls::Error::from(rustls::CertificateError::ApplicationVerificationFailure);
        let usage = webpki::KeyUsage::server_auth();
        let said = match &self.expectation {
            Expectation::Cluster { anchor, cluster } => {
                let said = check_chain(&self.algorithms, anchor, leaf, usage, now)?;
                if said.identity.realm != cluster.realm
                    || said.identity.incarnation < cluster.incarnation
                {
                    return Err(unacceptable());
                }
                said
            }
            Expectation::Digest { ca_digest, realm } => {
                let ca = chain.last().ok_or_else(unacceptable)?;
                let public = public_key_of(ca).map_err(|_| unacceptable())?;
                if !seal::equal(&seal::digest_of(&public), ca_digest) {
                    return Err(rustls::CertificateError::UnknownIssuer.into());
                }
                let anchor = webpki::anchor_from_trusted_cert(ca).map_err(|_| unacceptable())?;
                let said = check_chain(&self.algorithms, &anchor, leaf, usage, now)?;
                if said.identity.realm != *realm {
                    return Err(unacceptable());
                }
                said
            }
        };
        if said.identity.subject.role() != Role::Manager {
            return Err(unacceptable());
        }
        let expired = said.not_after.0 < now.as_secs().saturating_mul(1000);
        if expired && !self.expired_is_accepted {
            return Err(rustls::CertificateError::Expired.into());
        }
        if let Some(met) = &self.met {
            met.send_if_modified(|highest| {
                let is_later = said.identity.incarnation > *highest;
                *highest = said.identity.incarnation.max(*highest);
                is_later
            });
        }
        Ok(ServerCertVerified::assertion())
    }

    signature_checks!();
}

/// A server's configuration: its certificate, and the CA whose clients it knows.
///
/// # Errors
///
/// If the CA's certificate cannot be used.
pub fn server_config(
    own: Arc<OwnCertificate>,
    ca: &CertificateDer<'_>,
    cluster: Cluster,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let verifier = ClientVerifier {
        anchor: anchor(ca)?,
        cluster,
        algorithms: provider.signature_verification_algorithms,
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Certificate)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(own);
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would skip the verifier: a revoked node could come back with a ticket.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

fn anchor(ca: &CertificateDer<'_>) -> Result<TrustAnchor<'static>, TlsError> {
    webpki::anchor_from_trusted_cert(ca)
        .map(|anchor| anchor.to_owned())
        .map_err(TlsError::Authority)
}

fn client_builder(
    expectation: Expectation,
    expired_is_accepted: bool,
    met: Option<watch::Sender<Incarnation>>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, TlsError> {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let verifier = ServerVerifier { expectation, expired_is_accepted, met, algorithms };
    Ok(ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Certificate)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier)))
}

fn finish(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_early_data = false;
    Arc::new(config)
}

/// A client's configuration: its certificate, and the cluster it talks to.
///
/// # Errors
///
/// If the CA's certificate cannot be used.
pub fn client_config(
    own: Arc<OwnCertificate>,
    ca: &CertificateDer<'_>,
    cluster: Cluster,
) -> Result<Arc<ClientConfig>, TlsError> {
    let expectation = Expectation::Cluster { anchor: anchor(ca)?, cluster };
    let builder = client_builder(expectation, false, None)?;
    Ok(finish(builder.with_client_cert_resolver(own)))
}

/// A manager's configuration for talking to the others.
///
/// An expired certificate is accepted, so that a cluster which slept past its expiry can elect a
/// leader and renew. `met` rises to the highest life that a manager's certificate speaks of: a
/// manager that meets a later one than its own is of the past.
///
/// # Errors
///
/// If the CA's certificate cannot be used.
pub fn peer_config(
    own: Arc<OwnCertificate>,
    ca: &CertificateDer<'_>,
    cluster: Cluster,
    met: watch::Sender<Incarnation>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let expectation = Expectation::Cluster { anchor: anchor(ca)?, cluster };
    let builder = client_builder(expectation, true, Some(met))?;
    Ok(finish(builder.with_client_cert_resolver(own)))
}

/// A joiner's configuration: no certificate yet, and the CA's digest from its token.
///
/// # Errors
///
/// If the provider lacks TLS 1.3.
pub fn joiner_config(ca_digest: [u8; 32], realm: Realm) -> Result<Arc<ClientConfig>, TlsError> {
    let expectation = Expectation::Digest { ca_digest, realm };
    Ok(finish(client_builder(expectation, false, None)?.with_no_client_auth()))
}

#[cfg(test)]
pub(crate) mod tests;
