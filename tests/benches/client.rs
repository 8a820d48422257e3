//! A client that creates secrets as `secretctl` does, over TLS with an operator's certificate and
//! sealing every value, but for long and from many tasks.

use std::sync::Arc;
use std::time::Instant;

use link::certificate::{PeerCertificate, make_key_pair, public_key_of};
use link::dial::{self, Patience};
use link::rpc::control_client::ControlClient;
use link::rpc::enroll_client::EnrollClient;
use link::tls::{self, Cluster, OwnCertificate};
use proto::id::{Incarnation, Realm};
use proto::identity::Principal;
use proto::name::SecretName;
use proto::pb;
use proto::token::JoinToken;
use rustls_pki_types::CertificateDer;
use seal::{Operation, Plaintext, TransitPublicKey, TransitSender};
use tests::Lab;
use tonic::transport::Channel;

/// An operator, enrolled.
pub(crate) struct Operator {
    config: Arc<rustls::ClientConfig>,
    principal: Principal,
}

impl Operator {
    /// Adds an operator to the cluster and exchanges its token for a certificate.
    pub(crate) async fn enrol(lab: &Lab) -> Self {
        let token = lab.ctl().json(&["operator", "add", "bench", "--role", "admin"]);
        let token: JoinToken = token["token"].as_str().unwrap().parse().unwrap();
        let joiner = tls::joiner_config(token.ca_digest, token.realm).unwrap();
        let channel = dial::channel(&lab.address(), joiner, Patience::CLIENT).unwrap();
        let pair = make_key_pair().unwrap();
        let request = pb::EnrollOperatorRequest {
            request_key: key(),
            token: Some(pb::TokenProof {
                token_id: token.id.to_string(),
                secret: token.secret.expose().to_vec().into(),
            }),
            public_key: pair.public.clone().into(),
        };
        let enrolled = EnrollClient::new(channel).enroll_operator(request).await.unwrap();
        let enrolled = enrolled.into_inner();
        let ca = CertificateDer::from(enrolled.ca_certificate.to_vec());
        assert_eq!(seal::digest_of(&public_key_of(&ca).unwrap()), token.ca_digest);
        let leaf = CertificateDer::from(enrolled.certificate.to_vec());
        let says = PeerCertificate::parse(&leaf).unwrap();
        let own = OwnCertificate::new(leaf, ca.clone(), &pair.private).unwrap();
        let cluster = Cluster { realm: token.realm, incarnation: Incarnation(1) };
        let config = tls::client_config(own, &ca, cluster).unwrap();
        Self { config, principal: Principal::Subject(says.identity.subject) }
    }

    /// A connection of its own to a manager, with a transit sender set up.
    pub(crate) async fn connect(&self, address: &str) -> Connection {
        let channel = dial::channel(address, self.config.clone(), Patience::CLIENT).unwrap();
        let mut client = ControlClient::new(channel);
        let key = client.get_transit_key(pb::GetTransitKeyRequest {}).await.unwrap().into_inner();
        let public = TransitPublicKey::parse(key.public_key).unwrap();
        let realm = Realm::from_bytes(key.realm.as_ref().try_into().unwrap());
        let sender = TransitSender::set_up(public, realm, self.principal).unwrap();
        Connection { client, sender: Arc::new(sender) }
    }
}

/// A connection that any number of clients share.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) client: ControlClient<Channel>,
    sender: Arc<TransitSender>,
}

impl Connection {
    /// Seals a value of 32 bytes for a create under that name; says how long sealing took.
    pub(crate) fn seal(&self, name: &str) -> (pb::CreateSecretRequest, std::time::Duration) {
        let began = Instant::now();
        let value = Plaintext::born(32, |bytes| bytes.fill(7)).unwrap();
        let request = self.seal_value(name, value, || {});
        (request, began.elapsed())
    }

    /// Seals a value for a create under that name; `meanwhile` runs while its data key is there.
    pub(crate) fn seal_value(
        &self,
        name: &str,
        value: Plaintext,
        meanwhile: impl FnOnce(),
    ) -> pb::CreateSecretRequest {
        let parsed: SecretName = name.parse().unwrap();
        let encrypted = self.sender.encrypt(value);
        meanwhile();
        let payload = self.sender.seal_key(&encrypted, Operation::Create, &parsed.folded());
        pb::CreateSecretRequest {
            request_key: key(),
            name: name.to_owned(),
            payload: Some(payload.into()),
            ..pb::CreateSecretRequest::default()
        }
    }
}

pub(crate) fn key() -> bytes::Bytes {
    seal::random::<16>().to_vec().into()
}
