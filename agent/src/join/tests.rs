//! Joining at managers that are what they should be, and at some that are not.

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use link::accept::{Connections, Peer, accept_tls};
use link::certificate::{KeyPairDer, NewCertificate, issue, make_ca, make_key_pair, make_serial};
use link::rpc::enroll_server::{Enroll, EnrollServer};
use link::tls::{Cluster, OwnCertificate, server_config};
use proto::Kind;
use proto::id::{Incarnation, MemberId, NodeId, Realm, TokenId};
use proto::identity::{Identity as Named, Subject};
use proto::token::TokenSecret;
use rustls_pki_types::CertificateDer;
use tokio::net::TcpListener;
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Request, Response};

use super::*;
use crate::clock;

const REALM: Realm = Realm::from_bytes([1; 16]);
const LIFE: Incarnation = Incarnation(1);
const SECRET: [u8; 32] = [7; 32];

/// A cluster's CA.
struct Ca {
    key: KeyPairDer,
    certificate: CertificateDer<'static>,
}

impl Ca {
    fn new() -> Self {
        let key = make_key_pair().unwrap();
        let now = clock::now();
        let end = now.after_ms(1_000_000_000);
        let certificate = make_ca(&key.private, now, end).unwrap();
        Self { key, certificate }
    }

    fn issue(&self, subject: Subject, public_key: &[u8]) -> CertificateDer<'static> {
        let now = clock::now();
        let new = NewCertificate {
            identity: Named { realm: REALM, incarnation: LIFE, subject },
            public_key,
            serial: make_serial(),
            now,
            not_after: now.after_ms(100_000_000),
        };
        issue(&self.certificate, &self.key.private, &new).unwrap()
    }

    /// A token of this CA's cluster.
    fn token(&self) -> JoinToken {
        JoinToken {
            id: TokenId::from_entropy([9; 17]),
            role: Role::Agent,
            realm: REALM,
            ca_digest: seal::digest_of(&self.key.public),
            secret: TokenSecret::new(Box::new(SECRET)),
        }
    }
}

/// What a manager was sent, and how many clients it shook hands with.
#[derive(Default)]
struct Seen {
    connections: usize,
    requests: Vec<pb::EnrollAgentRequest>,
}

/// A manager that admits whoever asks.
struct Manager {
    signs: Arc<Ca>,
    hands_out: CertificateDer<'static>,
    seen: Arc<Mutex<Seen>>,
}

impl Manager {
    /// Serves with a certificate that `signs` signed, shown with the certificate of `shows`; what
    /// it hands out is said to be of `hands_out`. Gives its address and what it sees.
    async fn start(signs: &Arc<Ca>, shows: &Ca, hands_out: &Ca) -> (String, Arc<Mutex<Seen>>) {
        let pair = make_key_pair().unwrap();
        let subject = Subject::Manager(NodeId::from_entropy([1; 17]), MemberId(1));
        let leaf = signs.issue(subject, &pair.public);
        let own = OwnCertificate::new(leaf, shows.certificate.clone(), &pair.private).unwrap();
        let cluster = Cluster { realm: REALM, incarnation: LIFE };
        let config = server_config(own, &signs.certificate, cluster).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let config = Arc::new(ArcSwap::new(config));
        let accepted = accept_tls(listener, config, Connections::new(), CancellationToken::new());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let counted = Arc::clone(&seen);
        let accepted = accepted.map(move |connection| {
            let peer = connection.as_ref().unwrap().peer();
            assert!(matches!(peer, Peer::Remote { certificate: None, .. }));
            counted.lock().unwrap().connections += 1;
            connection
        });
        let manager = Self {
            signs: Arc::clone(signs),
            hands_out: hands_out.certificate.clone(),
            seen: Arc::clone(&seen),
        };
        let server = Server::builder().add_service(EnrollServer::new(manager));
        tokio::spawn(server.serve_with_incoming(accepted));
        (address, seen)
    }
}

type Answer = Result<Response<pb::Enrolled>, Status>;

#[tonic::async_trait]
impl Enroll for Manager {
    async fn enroll_agent(&self, request: Request<pb::EnrollAgentRequest>) -> Answer {
        let request = request.into_inner();
        let subject = Subject::Agent(NodeId::from_entropy([2; 17]));
        let certificate = self.signs.issue(subject, &request.public_key);
        self.seen.lock().unwrap().requests.push(request);
        Ok(Response::new(pb::Enrolled {
            certificate: certificate.to_vec().into(),
            ca_certificate: self.hands_out.to_vec().into(),
            subject: subject.to_string(),
            realm: REALM.as_bytes().to_vec().into(),
            incarnation: LIFE.0,
            not_after: clock::now().after_ms(100_000_000).0,
            manager_addresses: Vec::new(),
            authorities: None,
        }))
    }

    async fn enroll_manager(&self, _: Request<pb::EnrollManagerRequest>) -> Answer {
        Err(Failure::new(Kind::Denied, "not here").into())
    }

    async fn enroll_operator(&self, _: Request<pb::EnrollOperatorRequest>) -> Answer {
        Err(Failure::new(Kind::Denied, "not here").into())
    }

    async fn renew(&self, _: Request<pb::RenewRequest>) -> Answer {
        Err(Failure::new(Kind::Denied, "not here").into())
    }
}

fn data() -> (tempfile::TempDir, DataFolder) {
    let parent = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(&parent.path().join("data")).unwrap();
    (parent, folder)
}

#[tokio::test]
async fn the_manager_that_the_token_names_gets_its_secret() {
    let ca = Arc::new(Ca::new());
    let (address, seen) = Manager::start(&ca, &ca, &ca).await;
    let (_parent, folder) = data();
    let identity = join(&folder, &ca.token(), &[address], "n1").await.unwrap();
    assert_eq!(identity.node_id, NodeId::from_entropy([2; 17]));
    assert_eq!(folder.identity().unwrap().unwrap().node_id, identity.node_id);
    // The way of looking finds what is sent.
    let seen = seen.lock().unwrap();
    assert_eq!((seen.connections, seen.requests.len()), (1, 1));
    assert_eq!(seen.requests[0].token.as_ref().unwrap().secret, SECRET.to_vec());
    assert_eq!(seen.requests[0].machine, Some(machine::of_this_process()));
}

#[tokio::test]
async fn a_manager_of_another_ca_is_sent_nothing() {
    let (ca, other) = (Arc::new(Ca::new()), Arc::new(Ca::new()));
    // Another cluster; and somebody who shows the public certificate of the right CA beside his.
    for shown in [&other, &ca] {
        let (address, seen) = Manager::start(&other, shown, shown).await;
        let (_parent, folder) = data();
        let refused = join(&folder, &ca.token(), std::slice::from_ref(&address), "n1").await;
        assert!(matches!(refused, Err(JoinError::Foreign(at)) if at == address));
        assert!(folder.identity().unwrap().is_none());
        // Not even the handshake ended: there was no connection to send anything over.
        let seen = seen.lock().unwrap();
        assert_eq!((seen.connections, seen.requests.len()), (0, 0));
    }
}

#[tokio::test]
async fn a_foreign_manager_among_others_is_passed_over() {
    let (ca, other) = (Arc::new(Ca::new()), Arc::new(Ca::new()));
    let (foreign, seen) = Manager::start(&other, &other, &other).await;
    let (right, _) = Manager::start(&ca, &ca, &ca).await;
    for managers in [[foreign.clone(), right.clone()], [right, foreign]] {
        let (_parent, folder) = data();
        join(&folder, &ca.token(), &managers, "n1").await.unwrap();
    }
    assert_eq!(seen.lock().unwrap().connections, 0);
}

#[tokio::test]
async fn a_ca_that_is_not_the_tokens_is_not_kept() {
    let (ca, other) = (Arc::new(Ca::new()), Ca::new());
    let (address, _) = Manager::start(&ca, &ca, &other).await;
    let (_parent, folder) = data();
    let refused = join(&folder, &ca.token(), &[address], "n1").await;
    assert!(matches!(refused, Err(JoinError::Identity(IdentityError::Unsound(_)))));
    assert!(folder.identity().unwrap().is_none());
}

#[tokio::test]
async fn a_token_for_somebody_else_is_not_shown_to_anybody() {
    let ca = Arc::new(Ca::new());
    let (address, seen) = Manager::start(&ca, &ca, &ca).await;
    let (_parent, folder) = data();
    for role in [Role::Manager, Role::Operator] {
        let token = JoinToken { role, ..ca.token() };
        let refused = join(&folder, &token, std::slice::from_ref(&address), "n1").await;
        assert!(matches!(refused, Err(JoinError::Role(_))));
    }
    assert_eq!(seen.lock().unwrap().connections, 0);
}
