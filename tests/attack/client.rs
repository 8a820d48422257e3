//! A client with a certificate of its own, and nobody's manners.

use std::path::Path;
use std::sync::Arc;

use link::Failure;
use link::certificate::{KeyPairDer, PeerCertificate, make_key_pair};
use link::dial::{self, Patience};
use link::rpc::control_client::ControlClient;
use link::rpc::dispatcher_client::DispatcherClient;
use link::rpc::enroll_client::EnrollClient;
use link::rpc::peer_client::PeerClient;
use link::tls::{self, Cluster, OwnCertificate};
use link::trust::Authorities;
use proto::id::{Incarnation, NodeId, Serial, SessionId};
use proto::identity::Subject;
use proto::pb;
use proto::pb::agent_message::Message as Up;
use proto::pb::manager_message::Message as Down;
use proto::sealed::{Ciphertext, Encapsulation, WrappedKey};
use proto::token::JoinToken;
use rustls_pki_types::{CertificateDer, UnixTime};
use seal::{
    BootFile, Delivery, LockedKeyFile, OpenError, PeersParameters, Plaintext, SessionBinding,
    SessionReceiver, SessionSecretKey, SlotParameters, SlotSecretKey,
};
use tests::PATIENCE;
use tokio::sync::mpsc;
use tokio::time::{Duration, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// Within the silence after which a manager gives a session up.
const BEAT_EVERY: Duration = Duration::from_secs(1);

/// Messages of this client that wait for the transport.
const UP_MAX: usize = 64;

/// A clock that is ahead.
#[derive(Debug)]
struct Ahead(Duration);

impl rustls::time_provider::TimeProvider for Ahead {
    fn current_time(&self) -> Option<UnixTime> {
        let now = UnixTime::now().as_secs();
        Some(UnixTime::since_unix_epoch(Duration::from_secs(now) + self.0))
    }
}

/// A client and its certificate.
pub(crate) struct Client {
    own: Arc<OwnCertificate>,
    ca: CertificateDer<'static>,
    cluster: Cluster,
    says: PeerCertificate,
    /// How far its clock is ahead.
    ahead: Duration,
    /// Its key pair.
    pub(crate) pair: KeyPairDer,
}

/// A connection without a certificate, of somebody who has a token.
pub(crate) fn bare_channel(address: &str, token: &JoinToken) -> Channel {
    let config = tls::joiner_config(token.ca_digest, token.realm).unwrap();
    dial::channel(address, config, Patience::CLIENT).unwrap()
}

/// Enrolment with a token.
pub(crate) fn joiner(address: &str, token: &JoinToken) -> EnrollClient<Channel> {
    EnrollClient::new(bare_channel(address, token))
}

/// The part of an enrolment that a token proves.
pub(crate) fn proof(token: &JoinToken) -> pb::TokenProof {
    pb::TokenProof { token_id: token.id.to_string(), secret: token.secret.expose().to_vec().into() }
}

/// A key for a request that was never made before.
pub(crate) fn request_key() -> Vec<u8> {
    seal::random::<16>().to_vec()
}

impl Client {
    /// Enrols a node, as its agent does.
    pub(crate) async fn agent(address: &str, token: &str, hostname: &str) -> Self {
        let token: JoinToken = token.parse().unwrap();
        let pair = make_key_pair().unwrap();
        let request = pb::EnrollAgentRequest {
            request_key: request_key().into(),
            token: Some(proof(&token)),
            public_key: pair.public.clone().into(),
            hostname: hostname.into(),
            ..pb::EnrollAgentRequest::default()
        };
        let enrolled = joiner(address, &token).enroll_agent(request).await.unwrap();
        Self::of(&enrolled.into_inner(), pair)
    }

    /// Enrols an operator.
    pub(crate) async fn operator(address: &str, token: &str) -> Self {
        let token: JoinToken = token.parse().unwrap();
        let pair = make_key_pair().unwrap();
        let request = pb::EnrollOperatorRequest {
            request_key: request_key().into(),
            token: Some(proof(&token)),
            public_key: pair.public.clone().into(),
        };
        let enrolled = joiner(address, &token).enroll_operator(request).await.unwrap();
        Self::of(&enrolled.into_inner(), pair)
    }

    fn of(enrolled: &pb::Enrolled, pair: KeyPairDer) -> Self {
        let certificate = CertificateDer::from(enrolled.certificate.to_vec());
        let ca = CertificateDer::from(enrolled.ca_certificate.to_vec());
        let says = PeerCertificate::parse(&certificate).unwrap();
        let own = OwnCertificate::new(certificate, ca.clone(), &pair.private).unwrap();
        let cluster =
            Cluster { realm: says.identity.realm, incarnation: Incarnation(enrolled.incarnation) };
        Self { own, ca, cluster, says, ahead: Duration::ZERO, pair }
    }

    /// Whom its certificate names.
    pub(crate) const fn subject(&self) -> Subject {
        self.says.identity.subject
    }

    /// The number of its certificate.
    pub(crate) const fn serial(&self) -> Serial {
        self.says.serial
    }

    /// The cluster it knows.
    pub(crate) const fn cluster(&self) -> Cluster {
        self.cluster
    }

    /// Its node, if it is an agent.
    pub(crate) fn node(&self) -> NodeId {
        match self.subject() {
            Subject::Agent(node) => node,
            other => panic!("{other} has no node"),
        }
    }

    /// The name of its node; none if it has none.
    pub(crate) fn own_node(&self) -> String {
        match self.subject() {
            Subject::Agent(node) => node.to_string(),
            _ => String::new(),
        }
    }

    /// Whoever has a stolen boot file.
    pub(crate) fn boot(data: &Path) -> (Self, BootFile, PeersParameters) {
        let file = BootFile::parse(&std::fs::read(data.join("boot")).unwrap()).unwrap();
        let keys = LockedKeyFile::parse(&std::fs::read(data.join("keys")).unwrap()).unwrap();
        let mut slots = keys.recipients().iter().map(|slot| slot.slot_parameters().unwrap());
        let parameters = slots.find_map(|slot| match slot {
            SlotParameters::Peers(parameters) => Some(parameters),
            _ => None,
        });
        let parameters = parameters.expect("a slot that peers help to open");
        let entry = file.entry(parameters.generation()).unwrap();
        let certificate = CertificateDer::from(entry.certificate.to_vec());
        let ca = CertificateDer::from(std::fs::read(data.join("ca.der")).unwrap());
        let says = PeerCertificate::parse(&certificate).unwrap();
        let own = OwnCertificate::new(certificate, ca.clone(), &entry.key).unwrap();
        let cluster =
            Cluster { realm: says.identity.realm, incarnation: says.identity.incarnation };
        // A pair for what it would like certified; the boot key's own stays in the file.
        let pair = make_key_pair().unwrap();
        (Self { own, ca, cluster, says, ahead: Duration::ZERO, pair }, file, parameters)
    }

    /// Whoever has a manager's disk, and with it what that manager presents.
    pub(crate) fn manager(data: &Path) -> Self {
        let read = |name| std::fs::read(data.join(name)).unwrap();
        let seed: [u8; 32] = read("unlock-seed").try_into().unwrap();
        let slot = SlotSecretKey::derive_from_seed(&seed);
        let keys = LockedKeyFile::parse(&read("keys")).unwrap().open(&slot).unwrap();
        let certificate = CertificateDer::from(read("certificate.der"));
        let authorities = Authorities::from_bytes(&read("ca.der")).unwrap();
        let ca = authorities.trusted[0].clone();
        let says = PeerCertificate::parse(&certificate).unwrap();
        let own = OwnCertificate::of(certificate, &authorities, &keys.tls_key).unwrap();
        let cluster =
            Cluster { realm: says.identity.realm, incarnation: says.identity.incarnation };
        let pair = make_key_pair().unwrap();
        Self { own, ca, cluster, says, ahead: Duration::ZERO, pair }
    }

    /// The same client, which goes by the CA that is kept so: whoever answers decides then.
    pub(crate) fn that_trusts(self, authorities: &[u8]) -> Self {
        let authorities = Authorities::from_bytes(authorities).unwrap();
        Self { ca: authorities.trusted[0].clone(), ..self }
    }

    /// A connection of its own to a manager.
    pub(crate) fn channel(&self, address: &str) -> Channel {
        let config = tls::client_config(self.own.clone(), &self.ca, self.cluster).unwrap();
        let mut config = (*config).clone();
        config.time_provider = Arc::new(Ahead(self.ahead));
        dial::channel(address, Arc::new(config), Patience::CLIENT).unwrap()
    }

    /// Sets its clock ahead.
    pub(crate) const fn set_clock_ahead(&mut self, ahead: Duration) {
        self.ahead = ahead;
    }

    /// Asks for its next certificate, with the one it has; the client with that.
    pub(crate) async fn renewed(&self, address: &str) -> Result<Self, Failure> {
        let pair = make_key_pair().unwrap();
        let request = pb::RenewRequest {
            request_key: request_key().into(),
            public_key: pair.public.clone().into(),
            ..pb::RenewRequest::default()
        };
        let enrolled = EnrollClient::new(self.channel(address)).renew(request).await?;
        Ok(Self { ahead: self.ahead, ..Self::of(&enrolled.into_inner(), pair) })
    }

    /// The operators' calls.
    pub(crate) fn control(&self, address: &str) -> ControlClient<Channel> {
        ControlClient::new(self.channel(address))
    }

    /// The managers' calls.
    pub(crate) fn peer(&self, address: &str) -> PeerClient<Channel> {
        PeerClient::new(self.channel(address))
    }

    /// An opening that is right in every field.
    pub(crate) fn opening(&self) -> (SessionSecretKey, pb::Open) {
        let key = SessionSecretKey::make();
        let open = pb::Open {
            session_public_key: key.public().as_bytes().clone(),
            boot_id: "00000000-0000-0000-0000-000000000000".into(),
            report: Some(pb::Report { hostname: "n2".into(), ..pb::Report::default() }),
            incarnation_seen: self.cluster.incarnation.0,
            ..pb::Open::default()
        };
        (key, open)
    }

    /// Begins a session with those messages, whatever they are.
    pub(crate) async fn begin(
        &self,
        address: &str,
        messages: Vec<Up>,
    ) -> Result<(mpsc::Sender<pb::AgentMessage>, Streaming<pb::ManagerMessage>), Failure> {
        let (up, queue) = mpsc::channel(UP_MAX);
        for message in messages {
            up.send(pb::AgentMessage { message: Some(message) }).await.unwrap();
        }
        let mut client = DispatcherClient::new(self.channel(address));
        let answer = timeout(PATIENCE, client.session(ReceiverStream::new(queue)));
        let down = answer.await.expect("a session is answered").map_err(Failure::from)?;
        Ok((up, down.into_inner()))
    }

    /// Opens a session and keeps it open.
    pub(crate) async fn open(&self, address: &str) -> Result<Session, Failure> {
        let (key, open) = self.opening();
        self.open_with(address, key, open).await
    }

    /// Opens a session with that opening and keeps it open.
    pub(crate) async fn open_with(
        &self,
        address: &str,
        key: SessionSecretKey,
        open: pb::Open,
    ) -> Result<Session, Failure> {
        let (up, mut down) = self.begin(address, vec![Up::Open(open)]).await?;
        let Some(Down::Opened(opened)) = receive(&mut down).await? else {
            panic!("a session begins with `opened`");
        };
        assert_eq!(opened.node_id, self.node().to_string(), "who it is, is in its certificate");
        let session_id = SessionId::from_bytes(opened.session_id[..].try_into().unwrap());
        let binding = SessionBinding {
            realm: self.cluster.realm,
            incarnation: self.cluster.incarnation,
            node_id: self.node(),
            certificate_key_digest: self.says.key_digest,
            session_id,
            session_key: key.public().clone(),
        };
        let encapsulation = Encapsulation::new(opened.encapsulation).unwrap();
        let receiver = SessionReceiver::set_up(&key, &binding, &encapsulation).unwrap();
        let beats = up.clone();
        tokio::spawn(async move {
            let beat = || pb::AgentMessage { message: Some(Up::Beat(pb::Beat {})) };
            while beats.send(beat()).await.is_ok() {
                tokio::time::sleep(BEAT_EVERY).await;
            }
        });
        Ok(Session { up, down, receiver })
    }
}

/// The next message of a manager; none when it closed the session.
pub(crate) async fn receive(
    down: &mut Streaming<pb::ManagerMessage>,
) -> Result<Option<Down>, Failure> {
    let next = timeout(PATIENCE, down.message()).await.expect("a manager says something");
    Ok(next.map_err(Failure::from)?.map(|message| message.message.expect("it has a kind")))
}

/// Asks until it is told why the handshake fails: who sent more before it knew that finds a connection
/// that is closed. Whatever it is told, it is never let in.
pub(crate) async fn refused_in_the_handshake<T>(
    ask: impl AsyncFn() -> Result<T, Failure>,
    alert: &str,
) {
    let told = async {
        loop {
            let failure = ask().await.err().expect("it is refused");
            if failure.because.is_some_and(|because| because.contains(alert)) {
                return;
            }
        }
    };
    timeout(PATIENCE, told).await.expect("it is told why");
}

/// An open session.
pub(crate) struct Session {
    up: mpsc::Sender<pb::AgentMessage>,
    down: Streaming<pb::ManagerMessage>,
    receiver: SessionReceiver,
}

impl Session {
    /// Says something.
    pub(crate) async fn say(&self, message: Up) {
        self.up.send(pb::AgentMessage { message: Some(message) }).await.unwrap();
    }

    /// The next message; none when the manager closed the session.
    pub(crate) async fn next(&mut self) -> Result<Option<Down>, Failure> {
        receive(&mut self.down).await
    }

    /// Everything up to the end of the next set.
    pub(crate) async fn set(&mut self) -> Vec<Down> {
        let mut messages = Vec::new();
        loop {
            match self.next().await.unwrap().expect("the session is open") {
                Down::End(_) => return messages,
                message => messages.push(message),
            }
        }
    }

    /// Everything until statuses of that number are acknowledged.
    pub(crate) async fn until_acknowledged(&mut self, number: u64) -> Vec<Down> {
        let mut messages = Vec::new();
        loop {
            match self.next().await.unwrap().expect("the session is open") {
                Down::Acknowledged(told) if told.number == number => return messages,
                message => messages.push(message),
            }
        }
    }

    /// Opens a delivery as the one it says it is.
    pub(crate) fn open_delivery(
        &self,
        client: &Client,
        said: &pb::SecretDelivery,
    ) -> Result<Plaintext, OpenError> {
        let delivery = Delivery {
            message_number: said.message_number,
            task_id: said.task_id.parse().unwrap(),
            secret_id: said.secret_id.parse().unwrap(),
            version: proto::id::Version(said.version),
            payload_id: said.payload_id[..].try_into().unwrap(),
        };
        let sealed_dek = WrappedKey::new(said.sealed_dek.clone()).unwrap();
        let ciphertext = Ciphertext::new(said.ciphertext.clone()).unwrap();
        let dek = self.receiver.unwrap(&delivery, &sealed_dek, &ciphertext)?;
        dek.open(client.cluster.realm, delivery.payload_id, &ciphertext)
    }
}
