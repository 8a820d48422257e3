//! Handshakes in memory, at a time of the tests' own: what is agreed, and who is refused.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proto::id::{MemberId, NodeId, OperatorId, Timestamp};
use proto::identity::{Identity, Subject};
use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConnection, Error, HandshakeKind, NamedGroup, ProtocolVersion,
    ServerConnection,
};

use super::*;
use crate::certificate::{
    KeyPairDer, NewCertificate, issue, make_bridge, make_ca, make_key_pair, make_serial,
};

/// When certificates are issued, when they end, and when these handshakes are, unless told
/// otherwise: milliseconds.
const ISSUED: u64 = 1_800_000_000_000;
const ENDS: u64 = ISSUED + 1_000_000;
pub(crate) const NOW: u64 = ISSUED + 500_000;

pub(crate) const REALM: Realm = Realm::from_bytes([1; 16]);
const OTHER_REALM: Realm = Realm::from_bytes([2; 16]);

#[derive(Debug)]
struct At(u64);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.0)))
    }
}

/// A cluster's CA.
pub(crate) struct Ca {
    key: KeyPairDer,
    certificate: CertificateDer<'static>,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let key = make_key_pair().unwrap();
        let end = Timestamp(ISSUED + 10_000_000_000);
        let certificate = make_ca(&key.private, Timestamp(0), end).unwrap();
        Self { key, certificate }
    }

    /// Its certificate.
    pub(crate) const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The bridge from this CA to another.
    pub(crate) fn bridge_to(&self, next: &Self) -> CertificateDer<'static> {
        self.bridge_until(next, ISSUED + 10_000_000_000)
    }

    /// That bridge, which ends at a moment.
    pub(crate) fn bridge_until(&self, next: &Self, end: u64) -> CertificateDer<'static> {
        let (now, end) = (Timestamp(ISSUED), Timestamp(end));
        make_bridge(&self.certificate, &self.key.private, &next.key.public, now, end).unwrap()
    }

    /// A certificate that this CA signed, and its key.
    pub(crate) fn signs(&self, identity: Identity) -> (CertificateDer<'static>, KeyPairDer) {
        let pair = make_key_pair().unwrap();
        let new = NewCertificate {
            identity,
            public_key: &pair.public,
            serial: make_serial(),
            now: Timestamp(ISSUED),
            not_after: Timestamp(ENDS),
        };
        (issue(&self.certificate, &self.key.private, &new).unwrap(), pair)
    }

    pub(crate) fn digest(&self) -> [u8; 32] {
        seal::digest_of(&self.key.public)
    }

    /// A certificate that this CA signed, shown together with the certificate of `shown`.
    fn shown_with(&self, shown: &Self, identity: Identity) -> Arc<OwnCertificate> {
        let (certificate, pair) = self.signs(identity);
        OwnCertificate::new(certificate, shown.certificate.clone(), &pair.private).unwrap()
    }

    pub(crate) fn own(&self, identity: Identity) -> Arc<OwnCertificate> {
        self.shown_with(self, identity)
    }

    /// A server with a certificate of this CA.
    pub(crate) fn server(&self, identity: Identity) -> Arc<ServerConfig> {
        self.server_at(identity, NOW)
    }

    fn server_at(&self, identity: Identity, now: u64) -> Arc<ServerConfig> {
        let config = server_config(self.own(identity), &self.certificate, CLUSTER).unwrap();
        serving_at(&config, now)
    }

    /// A client that has a token of this CA's cluster, and no certificate.
    pub(crate) fn joiner(&self) -> Arc<ClientConfig> {
        calling_at(&joiner_config(self.digest(), REALM).unwrap(), NOW)
    }

    /// A client with a certificate of this CA, which expects `CLUSTER`.
    pub(crate) fn client(&self, identity: Identity) -> Arc<ClientConfig> {
        self.client_at(identity, NOW, false)
    }

    fn client_at(&self, identity: Identity, now: u64, between: bool) -> Arc<ClientConfig> {
        let own = self.own(identity);
        let config = if between {
            let met = watch::Sender::new(CLUSTER.incarnation);
            peer_config(own, Trust::new([&self.certificate]).unwrap(), CLUSTER, met)
        } else {
            client_config(own, &self.certificate, CLUSTER)
        };
        calling_at(&config.unwrap(), now)
    }
}

pub(crate) fn serving_at(config: &ServerConfig, now: u64) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.time_provider = Arc::new(At(now));
    Arc::new(config)
}

pub(crate) fn calling_at(config: &ClientConfig, now: u64) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.time_provider = Arc::new(At(now));
    Arc::new(config)
}

pub(crate) const CLUSTER: Cluster = Cluster { realm: REALM, incarnation: Incarnation(5) };

fn identity(subject: Subject) -> Identity {
    Identity { realm: REALM, incarnation: CLUSTER.incarnation, subject }
}

pub(crate) fn manager() -> Identity {
    identity(Subject::Manager(NodeId::from_entropy([1; 17]), MemberId(1)))
}

pub(crate) fn agent() -> Identity {
    identity(Subject::Agent(NodeId::from_entropy([2; 17])))
}

fn operator() -> Identity {
    identity(Subject::Operator(OperatorId::from_entropy([3; 17])))
}

/// Both ends after a handshake, and what each said of it.
pub(crate) struct Shaken {
    client: ClientConnection,
    server: ServerConnection,
    client_ended: Result<(), Error>,
    server_ended: Result<(), Error>,
}

impl Shaken {
    /// Both ends took the other.
    #[track_caller]
    pub(crate) fn agreed(self) -> Self {
        assert_eq!(self.client_ended, Ok(()));
        assert_eq!(self.server_ended, Ok(()));
        assert!(!self.client.is_handshaking() && !self.server.is_handshaking());
        self
    }

    fn group(&self) -> NamedGroup {
        let group = self.client.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(self.server.negotiated_key_exchange_group().unwrap().name(), group);
        group
    }
}

/// Carries records between two ends until nobody has any.
pub(crate) fn shake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Shaken {
    let name = ServerName::try_from("secretd").unwrap();
    let mut client = ClientConnection::new(client.clone(), name).unwrap();
    let mut server = ServerConnection::new(server.clone()).unwrap();
    let (mut client_ended, mut server_ended) = (Ok(()), Ok(()));
    loop {
        let mut moved = 0;
        let mut bytes = Vec::new();
        while client.wants_write() {
            moved += client.write_tls(&mut bytes).unwrap();
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() && server_ended.is_ok() {
            server.read_tls(&mut rest).unwrap();
            server_ended = server.process_new_packets().map(|_| ());
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            moved += server.write_tls(&mut bytes).unwrap();
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() && client_ended.is_ok() {
            client.read_tls(&mut rest).unwrap();
            client_ended = client.process_new_packets().map(|_| ());
        }
        if moved == 0 {
            return Shaken { client, server, client_ended, server_ended };
        }
    }
}

/// The client turned the server away, and did not show who it is.
#[track_caller]
pub(crate) fn server_refused(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    why: CertificateError,
) {
    let shaken = shake(client, server);
    assert_eq!(shaken.client_ended, Err(why.into()));
    assert!(matches!(shaken.server_ended, Err(Error::AlertReceived(_))));
    assert!(shaken.server.is_handshaking() && shaken.server.peer_certificates().is_none());
}

/// The server turned the client away.
#[track_caller]
pub(crate) fn client_refused(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    why: CertificateError,
) {
    let shaken = shake(client, server);
    assert_eq!(shaken.server_ended, Err(why.into()));
    assert!(matches!(shaken.client_ended, Err(Error::AlertReceived(_))));
}

/// A ClientHello (RFC 8446 §4.1.2) by hand, in a record of its own; with TLS 1.3 if asked.
fn client_hello(with_tls13: bool) -> Vec<u8> {
    fn sized(bytes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        [&length[..], bytes].concat()
    }
    let mut extensions = Vec::new();
    let mut extension = |number: u16, body: &[u8]| {
        extensions.extend([&number.to_be_bytes()[..], &sized(body)].concat());
    };
    // Supported groups: X25519. Signatures: ECDSA on P-256. Points: uncompressed. ALPN: h2.
    extension(10, &sized(&[0x00, 0x1d]));
    extension(13, &sized(&[0x04, 0x03]));
    extension(11, &[1, 0]);
    extension(16, &sized(b"\x02h2"));
    // Extended master secret (RFC 7627).
    extension(23, &[]);
    if with_tls13 {
        extension(43, &[2, 0x03, 0x04]);
        let mut share = vec![0x00, 0x1d];
        // The base point is a public key like another.
        share.extend(sized(&[&[9][..], &[0; 31]].concat()));
        extension(51, &sized(&share));
    } else {
        extension(43, &[2, 0x03, 0x03]);
    }
    let mut body = vec![0x03, 0x03];
    body.extend([7; 32]);
    body.push(0);
    // AES-128-GCM and AES-256-GCM, of TLS 1.3 and of 1.2 with ECDSA.
    body.extend(sized(&[0x13, 0x01, 0x13, 0x02, 0xc0, 0x2b, 0xc0, 0x2c]));
    body.extend([1, 0]);
    body.extend(sized(&extensions));
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let handshake = [&[1][..], &length[1..], &body].concat();
    [&[22, 0x03, 0x01][..], &sized(&handshake)].concat()
}

/// The first record a server answers with.
fn first_answer(config: &Arc<ServerConfig>, hello: &[u8]) -> Vec<u8> {
    let mut server = ServerConnection::new(config.clone()).unwrap();
    server.read_tls(&mut &*hello).unwrap();
    let refused = server.process_new_packets().is_err();
    let mut answer = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut answer).unwrap();
    }
    let length = usize::from(u16::from_be_bytes([answer[3], answer[4]]));
    answer.truncate(5 + length);
    assert_eq!(refused, answer[0] == 21, "an alert, and nothing else, goes with a refusal");
    answer
}

#[test]
fn tls_1_2_is_neither_spoken_nor_offered() {
    let ca = Ca::new();
    let server = ca.server(manager());
    // Alert, fatal, protocol_version (RFC 8446 §6.2).
    assert_eq!(first_answer(&server, &client_hello(false)), [21, 3, 3, 0, 2, 2, 70]);
    // The same with TLS 1.3 is answered by a ServerHello.
    let answer = first_answer(&server, &client_hello(true));
    assert_eq!((answer[0], answer[5]), (22, 2), "{answer:?}");

    let name = ServerName::try_from("secretd").unwrap();
    let mut client = ClientConnection::new(ca.client(agent()), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    let only_tls13 = [0x00, 43, 0, 3, 2, 0x03, 0x04];
    assert!(hello.windows(only_tls13.len()).any(|window| window == only_tls13));
}

#[test]
fn both_ends_speak_tls_1_3_and_h2_in_a_handshake_of_their_own() {
    let ca = Ca::new();
    let shaken = shake(&ca.client(agent()), &ca.server(manager())).agreed();
    assert_eq!(shaken.client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(shaken.client.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(shaken.client.handshake_kind(), Some(HandshakeKind::Full));
    let leaf = shaken.server.peer_certificates().unwrap().first().unwrap();
    assert_eq!(PeerCertificate::parse(leaf).unwrap().identity, agent());
}

#[test]
fn the_hybrid_key_exchange_goes_first() {
    let ca = Ca::new();
    let (client, server) = (ca.client(agent()), ca.server(manager()));
    let shaken = shake(&client, &server).agreed();
    assert_eq!(shaken.group(), NamedGroup::X25519MLKEM768);
    // Without another round trip: the client's first guess is the server's first choice.
    assert_eq!(shaken.server.handshake_kind(), Some(HandshakeKind::Full));

    // Any other client gets what it guesses first: it is served, not sent back.
    let with_groups = |wanted: &[NamedGroup]| {
        let mut provider = CryptoProvider::clone(client.crypto_provider());
        let all = rustls::crypto::aws_lc_rs::ALL_KX_GROUPS;
        let group = |name| *all.iter().find(|group| group.name() == name).unwrap();
        provider.kx_groups = wanted.iter().map(|name| group(*name)).collect();
        let verifier = ServerVerifier {
            expectation: Expectation::Cluster {
                trust: Trust::new([&ca.certificate]).unwrap(),
                cluster: CLUSTER,
            },
            expired_is_accepted: false,
            met: None,
            bridged: None,
            algorithms: provider.signature_verification_algorithms,
        };
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(ca.own(agent()));
        calling_at(&finish(config), NOW)
    };
    let reluctant = with_groups(&[NamedGroup::X25519, NamedGroup::X25519MLKEM768]);
    assert_eq!(shake(&reluctant, &server).agreed().group(), NamedGroup::X25519);
    let shaken = shake(&with_groups(&[NamedGroup::X25519]), &server).agreed();
    assert_eq!(shaken.group(), NamedGroup::X25519);
}

/// A client's memory of sessions that counts what it was given.
#[derive(Debug)]
struct Tickets {
    given: AtomicUsize,
    early_data: Mutex<Vec<u32>>,
    kept: ClientSessionMemoryCache,
}

impl Tickets {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            given: AtomicUsize::new(0),
            early_data: Mutex::default(),
            kept: ClientSessionMemoryCache::new(8),
        })
    }

    fn given(&self) -> usize {
        self.given.load(Ordering::Relaxed)
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.kept.set_kx_hint(server_name, group);
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.kept.kx_hint(server_name)
    }

    fn set_tls12_session(
        &self,
        _: ServerName<'static>,
        _: rustls::client::Tls12ClientSessionValue,
    ) {
        self.given.fetch_add(1, Ordering::Relaxed);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<rustls::client::Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(
        &self,
        server_name: ServerName<'static>,
        value: rustls::client::Tls13ClientSessionValue,
    ) {
        self.given.fetch_add(1, Ordering::Relaxed);
        self.early_data.lock().unwrap().push(value.max_early_data_size());
        self.kept.insert_tls13_ticket(server_name, value);
    }

    fn take_tls13_ticket(
        &self,
        server_name: &ServerName<'static>,
    ) -> Option<rustls::client::Tls13ClientSessionValue> {
        self.kept.take_tls13_ticket(server_name)
    }
}

#[test]
fn no_session_is_resumed_and_nothing_is_sent_early() {
    let ca = Ca::new();
    let (client, server) = (ca.client(agent()), ca.server(manager()));
    let eager = |tickets: &Arc<Tickets>| {
        let mut config = ClientConfig::clone(&client);
        config.resumption = Resumption::store(tickets.clone());
        config.enable_early_data = true;
        Arc::new(config)
    };
    let mut generous = ServerConfig::clone(&server);
    generous.session_storage = rustls::server::ServerSessionMemoryCache::new(8);
    generous.send_tls13_tickets = 2;
    generous.max_early_data_size = 1024;
    let generous = Arc::new(generous);

    // Where both want to, a session is resumed: the way of looking finds it.
    let tickets = Tickets::new();
    shake(&eager(&tickets), &generous).agreed();
    assert_eq!(tickets.given(), 2);
    let resumed = shake(&eager(&tickets), &generous).agreed();
    assert_eq!(resumed.server.handshake_kind(), Some(HandshakeKind::Resumed));

    // Our server gives an eager client nothing to come back with, and does not take what another
    // one gave it.
    let fresh = Tickets::new();
    for _ in 0..2 {
        let shaken = shake(&eager(&fresh), &server).agreed();
        assert_eq!(shaken.server.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(fresh.given(), 0);
    }
    assert!(tickets.kept.kx_hint(&ServerName::try_from("secretd").unwrap()).is_some());
    let shaken = shake(&eager(&tickets), &server).agreed();
    assert_eq!(shaken.server.handshake_kind(), Some(HandshakeKind::Full));
    assert_eq!(server.max_early_data_size, 0);

    // Our client does not come back with what a generous server gives it.
    for _ in 0..2 {
        let shaken = shake(&client, &generous).agreed();
        assert_eq!(shaken.server.handshake_kind(), Some(HandshakeKind::Full));
        assert!(!shaken.client.is_early_data_accepted());
    }
    assert!(!client.enable_early_data);
}

#[test]
fn a_server_of_another_cluster_or_life_is_refused() {
    let (ca, other) = (Ca::new(), Ca::new());
    let client = ca.client(agent());
    let unacceptable = || CertificateError::ApplicationVerificationFailure;
    shake(&client, &ca.server(manager())).agreed();
    server_refused(&client, &other.server(manager()), CertificateError::UnknownIssuer);
    // Another CA's certificate beside the right CA's is still another CA's.
    let own = other.shown_with(&ca, manager());
    let posing = serving_at(&server_config(own, &ca.certificate, CLUSTER).unwrap(), NOW);
    server_refused(&client, &posing, CertificateError::UnknownIssuer);

    let elsewhere = Identity { realm: OTHER_REALM, ..manager() };
    server_refused(&client, &ca.server(elsewhere), unacceptable());
    let life = |incarnation| Identity { incarnation: Incarnation(incarnation), ..manager() };
    server_refused(&client, &ca.server(life(4)), unacceptable());
    // A later life is believed: the CA vouches for it.
    shake(&client, &ca.server(life(6))).agreed();
    for nobody in [agent(), operator()] {
        server_refused(&client, &ca.server(nobody), unacceptable());
    }
}

#[test]
fn a_manager_notes_the_latest_life_that_a_managers_certificate_speaks_of() {
    let (ca, other) = (Ca::new(), Ca::new());
    let met = watch::Sender::new(CLUSTER.incarnation);
    let seen = met.subscribe();
    let own = ca.own(manager());
    let trust = Trust::new([&ca.certificate]).unwrap();
    let peer = calling_at(&peer_config(own, trust, CLUSTER, met).unwrap(), NOW);
    let life = |incarnation| Identity { incarnation: Incarnation(incarnation), ..manager() };
    shake(&peer, &ca.server(manager())).agreed();
    // Nobody else's word counts: another CA's, an agent's, another cluster's.
    server_refused(&peer, &other.server(life(9)), CertificateError::UnknownIssuer);
    let unacceptable = || CertificateError::ApplicationVerificationFailure;
    let of_agent = Identity { incarnation: Incarnation(9), ..agent() };
    server_refused(&peer, &ca.server(of_agent), unacceptable());
    let elsewhere = Identity { realm: OTHER_REALM, ..life(9) };
    server_refused(&peer, &ca.server(elsewhere), unacceptable());
    assert!(!seen.has_changed().unwrap());
    shake(&peer, &ca.server(life(7))).agreed();
    shake(&peer, &ca.server(life(6))).agreed();
    assert_eq!(*seen.borrow(), Incarnation(7));
}

#[test]
fn a_servers_certificate_is_good_between_its_beginning_and_its_end() {
    let ca = Ca::new();
    let server = ca.server(manager());
    let at = |now, between| ca.client_at(manager(), now, between);
    // A certificate begins an hour before it is issued, and ends at a whole second.
    let begins = ISSUED - 3_600_000;
    server_refused(&at(begins - 1000, false), &server, CertificateError::NotValidYet);
    server_refused(&at(begins - 1000, true), &server, CertificateError::NotValidYet);
    shake(&at(begins, false), &server).agreed();
    shake(&at(ENDS, false), &server).agreed();
    server_refused(&at(ENDS + 1000, false), &server, CertificateError::Expired);
    // Managers who slept past it must be able to elect a leader, and renew.
    shake(&at(ENDS + 1000, true), &server).agreed();
}

#[test]
fn a_client_of_another_cluster_or_life_is_refused() {
    let (ca, other) = (Ca::new(), Ca::new());
    let server = ca.server(manager());
    for somebody in [agent(), operator(), manager()] {
        shake(&ca.client(somebody), &server).agreed();
    }
    let unacceptable = || CertificateError::ApplicationVerificationFailure;
    let show = |own| calling_at(&client_config(own, &ca.certificate, CLUSTER).unwrap(), NOW);
    client_refused(&show(other.own(agent())), &server, CertificateError::UnknownIssuer);
    let posing = show(other.shown_with(&ca, agent()));
    client_refused(&posing, &server, CertificateError::UnknownIssuer);
    let elsewhere = Identity { realm: OTHER_REALM, ..agent() };
    client_refused(&ca.client(elsewhere), &server, unacceptable());
    // Of an earlier life it carries on, as far as the state stands by it; nobody is of a later one.
    for somebody in [agent(), operator(), manager()] {
        let life = |incarnation| Identity { incarnation: Incarnation(incarnation), ..somebody };
        shake(&ca.client(life(4)), &server).agreed();
        client_refused(&ca.client(life(6)), &server, unacceptable());
    }
    // Expired, it is let in to renew; what it may do is decided at each call.
    let late = ca.server_at(manager(), ENDS + 1000);
    shake(&ca.client_at(agent(), NOW, false), &late).agreed();
    let early = ca.server_at(manager(), ISSUED - 3_601_000);
    client_refused(&ca.client(agent()), &early, CertificateError::NotValidYet);
}

#[test]
fn a_joiner_talks_to_whom_its_token_names_and_shows_no_certificate() {
    let (ca, other) = (Ca::new(), Ca::new());
    let server = ca.server(manager());
    let joiner = |digest, realm| calling_at(&joiner_config(digest, realm).unwrap(), NOW);
    let shaken = shake(&ca.joiner(), &server).agreed();
    assert!(shaken.server.peer_certificates().is_none(), "whoever has none is nobody");

    let unacceptable = || CertificateError::ApplicationVerificationFailure;
    server_refused(&joiner(other.digest(), REALM), &server, CertificateError::UnknownIssuer);
    server_refused(&joiner(ca.digest(), OTHER_REALM), &server, unacceptable());
    // The CA's certificate is public: to show it is not to be signed by it.
    let own = other.shown_with(&ca, manager());
    let posing = serving_at(&server_config(own, &ca.certificate, CLUSTER).unwrap(), NOW);
    server_refused(&joiner(ca.digest(), REALM), &posing, CertificateError::UnknownIssuer);
    // Nor is an agent's certificate a manager's.
    server_refused(&joiner(ca.digest(), REALM), &ca.server(agent()), unacceptable());
    let late = calling_at(&joiner_config(ca.digest(), REALM).unwrap(), ENDS + 1000);
    server_refused(&late, &server, CertificateError::Expired);
}

#[test]
fn the_docker_clients_port_is_for_operators() {
    let ca = Ca::new();
    let trust = Trust::new([ca.certificate()]).unwrap();
    let server = serving_at(&docker_config(ca.own(manager()), trust, CLUSTER).unwrap(), NOW);
    let client = |config: Arc<ClientConfig>| {
        let mut config = ClientConfig::clone(&config);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    };
    shake(&client(ca.client(operator())), &server).agreed();
    for other in [agent(), manager()] {
        let unacceptable = CertificateError::ApplicationVerificationFailure;
        client_refused(&client(ca.client(other)), &server, unacceptable);
    }
    let shaken = shake(&client(ca.joiner()), &server);
    assert_eq!(shaken.server_ended, Err(Error::NoCertificatesPresented));
}
