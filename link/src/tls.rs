//! TLS: the one place where rustls is configured.
//!
//! TLS 1.3 only, hybrid post-quantum key exchange first, no resumption (a revoked node must not
//! come back with a ticket), ALPN `h2`. A server presents its certificate and what leads to it from
//! the CA ([`crate::trust`]), so that a joiner can compare that with its token before it sends
//! anything. A client certificate is
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
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};
use seal::SigningKeyDer;
use tokio::sync::watch;

use crate::certificate::PeerCertificate;
use crate::trust::{self, Authorities, Checked, Trust};

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
        Self::of(certificate, &Authorities::first(ca), key)
    }

    /// A certificate of one of a cluster's CAs, and its key.
    ///
    /// # Errors
    ///
    /// If certificate and key do not go together.
    pub fn of(
        certificate: CertificateDer<'static>,
        authorities: &Authorities,
        key: &SigningKeyDer,
    ) -> Result<Arc<Self>, TlsError> {
        let provider = provider();
        let certified = certify(&provider, certificate, authorities, key)?;
        Ok(Arc::new(Self { current: ArcSwap::from_pointee(certified), provider }))
    }

    /// Makes ready to present another certificate.
    ///
    /// # Errors
    ///
    /// If certificate and key do not go together.
    pub fn prepare(
        &self,
        certificate: CertificateDer<'static>,
        authorities: &Authorities,
        key: &SigningKeyDer,
    ) -> Result<Prepared, TlsError> {
        certify(&self.provider, certificate, authorities, key).map(Prepared)
    }

    /// Presents what was prepared, from the next handshake on.
    pub fn present(&self, Prepared(certified): Prepared) {
        self.current.store(Arc::new(certified));
    }

    /// Shows what leads to the certificate in use, by these CAs, from the next handshake on.
    pub fn show(&self, authorities: &Authorities) {
        let current = self.current.load();
        let Some(leaf) = current.cert.first() else { return };
        let certified = CertifiedKey {
            cert: chain(leaf.clone(), authorities),
            key: current.key.clone(),
            ocsp: None,
        };
        self.current.store(Arc::new(certified));
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

/// A certificate that can be presented: it goes with its key.
pub struct Prepared(CertifiedKey);

fn chain(leaf: CertificateDer<'static>, authorities: &Authorities) -> Vec<CertificateDer<'static>> {
    let shown = authorities.shown_with(&leaf);
    std::iter::once(leaf).chain(shown).collect()
}

fn certify(
    provider: &CryptoProvider,
    certificate: CertificateDer<'static>,
    authorities: &Authorities,
    key: &SigningKeyDer,
) -> Result<CertifiedKey, TlsError> {
    let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.expose().to_vec()));
    CertifiedKey::from_der(chain(certificate, authorities), der, provider)
        .map_err(TlsError::Certificate)
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
    trust: Trust,
    cluster: Cluster,
    /// Whether a handshake without a certificate comes to nothing.
    mandatory: bool,
    /// The only role that is let in, if it is one.
    role: Option<Role>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        shown: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let usage = webpki::KeyUsage::client_auth();
        let said = self.trust.check(&self.algorithms, leaf, shown, usage, now)?.says;
        let known = said.identity.realm == self.cluster.realm
            && said.identity.incarnation <= self.cluster.incarnation
            && self.role.is_none_or(|role| said.identity.subject.role() == role);
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
    /// The CAs it has, the cluster it knows.
    Cluster { trust: Trust, cluster: Cluster },
    /// The digest in its token; the CA comes with the chain.
    Digest { ca_digest: [u8; 32], realm: Realm },
}

#[derive(Debug)]
struct ServerVerifier {
    expectation: Expectation,
    expired_is_accepted: bool,
    /// Told of the lives that servers are of.
    met: Option<watch::Sender<Incarnation>>,
    /// Told that a server's CA is one that the CA which is trusted has signed.
    bridged: Option<watch::Sender<bool>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        shown: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unacceptable =
            || rustls::Error::from(rustls::CertificateError::ApplicationVerificationFailure);
        let usage = webpki::KeyUsage::server_auth();
        let Checked { says: said, over_bridge } = match &self.expectation {
            Expectation::Cluster { trust, cluster } => {
                let checked = trust.check(&self.algorithms, leaf, shown, usage, now)?;
                let Cluster { realm, incarnation } = *cluster;
                let said = checked.says.identity;
                if said.realm != realm || said.incarnation < incarnation {
                    return Err(unacceptable());
                }
                checked
            }
            Expectation::Digest { ca_digest, realm } => {
                let anchor = trust::anchor_of(shown, ca_digest)
                    .ok_or(rustls::CertificateError::UnknownIssuer)?;
                let anchors = std::slice::from_ref(&anchor);
                let checked =
                    trust::check_chain(&self.algorithms, anchors, leaf, shown, usage, now)?;
                if checked.says.identity.realm != *realm {
                    return Err(unacceptable());
                }
                checked
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
        if let Some(bridged) = self.bridged.as_ref().filter(|_| over_bridge) {
            bridged.send_replace(true);
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
    manager_config(own, Trust::new([ca])?, cluster)
}

/// A manager's configuration as a server: its certificate, and the CAs whose clients it knows.
///
/// # Errors
///
/// If the provider lacks TLS 1.3.
pub fn manager_config(
    own: Arc<OwnCertificate>,
    trust: Trust,
    cluster: Cluster,
) -> Result<Arc<ServerConfig>, TlsError> {
    server(own, trust, cluster, &Port { alpn: b"h2", strangers: true, role: None })
}

/// A manager's configuration for the docker client: HTTP/1.1, under a certificate with the names that
/// such clients look for, for operators of the cluster and nobody else.
///
/// # Errors
///
/// If the provider lacks TLS 1.3.
pub fn docker_config(
    own: Arc<OwnCertificate>,
    trust: Trust,
    cluster: Cluster,
) -> Result<Arc<ServerConfig>, TlsError> {
    server(
        own,
        trust,
        cluster,
        &Port { alpn: b"http/1.1", strangers: false, role: Some(Role::Operator) },
    )
}

/// What is particular to a port.
struct Port {
    alpn: &'static [u8],
    /// Whether clients without a certificate get to it: whoever enrols has none.
    strangers: bool,
    /// Whom else it is for alone.
    role: Option<Role>,
}

fn server(
    own: Arc<OwnCertificate>,
    trust: Trust,
    cluster: Cluster,
    port: &Port,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let (mandatory, role) = (!port.strangers, port.role);
    let verifier = ClientVerifier { trust, cluster, mandatory, role, algorithms };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Certificate)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(own);
    config.alpn_protocols = vec![port.alpn.to_vec()];
    // A resumed session would skip the verifier: a revoked node could come back with a ticket.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

fn client_builder(
    expectation: Expectation,
    expired_is_accepted: bool,
    met: Option<watch::Sender<Incarnation>>,
    bridged: Option<watch::Sender<bool>>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, TlsError> {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let verifier = ServerVerifier { expectation, expired_is_accepted, met, bridged, algorithms };
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
    let expectation = Expectation::Cluster { trust: Trust::new([ca])?, cluster };
    let builder = client_builder(expectation, false, None, None)?;
    Ok(finish(builder.with_client_cert_resolver(own)))
}

/// As [`client_config`], and `bridged` becomes true when a manager is met whose CA is not the one
/// that is trusted, but one that it has signed: it takes that one's place.
///
/// # Errors
///
/// If the CA's certificate cannot be used.
pub fn noting_client_config(
    own: Arc<OwnCertificate>,
    ca: &CertificateDer<'_>,
    cluster: Cluster,
    bridged: watch::Sender<bool>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let expectation = Expectation::Cluster { trust: Trust::new([ca])?, cluster };
    let builder = client_builder(expectation, false, None, Some(bridged))?;
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
/// If the provider lacks TLS 1.3.
pub fn peer_config(
    own: Arc<OwnCertificate>,
    trust: Trust,
    cluster: Cluster,
    met: watch::Sender<Incarnation>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let expectation = Expectation::Cluster { trust, cluster };
    let builder = client_builder(expectation, true, Some(met), None)?;
    Ok(finish(builder.with_client_cert_resolver(own)))
}

/// A joiner's configuration: no certificate yet, and the CA's digest from its token.
///
/// # Errors
///
/// If the provider lacks TLS 1.3.
pub fn joiner_config(ca_digest: [u8; 32], realm: Realm) -> Result<Arc<ClientConfig>, TlsError> {
    let expectation = Expectation::Digest { ca_digest, realm };
    Ok(finish(client_builder(expectation, false, None, None)?.with_no_client_auth()))
}

#[cfg(test)]
pub(crate) mod tests;
