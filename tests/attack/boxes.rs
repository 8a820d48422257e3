//! Captured sealed payloads, sent where they do not belong.
//!
//! Two operators with the same role. What one of them sealed is taken as it went over the wire and
//! used for everything it was not sealed for.

use link::Failure;
use link::rpc::control_client::ControlClient;
use proto::identity::Principal;
use proto::name::SecretName;
use proto::{Kind, pb};
use seal::{Operation, Plaintext, TransitPublicKey, TransitSender};
use tests::{Lab, until};
use tonic::transport::Channel;

use crate::PROGRAMS;
use crate::calls::refusals_on_record;
use crate::client::{Client, request_key};

/// An operator that seals as `secretctl` does.
struct Operator {
    principal: Principal,
    control: ControlClient<Channel>,
    sender: TransitSender,
}

impl Operator {
    async fn enrol(lab: &Lab, name: &str) -> Self {
        let token = lab.ctl().ok(&["operator", "add", "--role", "writer", "--quiet", name]);
        let address = lab.address();
        let client = Client::operator(&address, &token).await;
        let mut control = client.control(&address);
        let key = control.get_transit_key(pb::GetTransitKeyRequest {}).await.unwrap().into_inner();
        let principal = Principal::Subject(client.subject());
        assert_eq!(key.caller, principal.to_string());
        let public = TransitPublicKey::parse(key.public_key).unwrap();
        let sender = TransitSender::set_up(public, client.cluster().realm, principal).unwrap();
        Self { principal, control, sender }
    }

    fn seal(&self, name: &str, value: &[u8]) -> pb::CreateSecretRequest {
        let name: SecretName = name.parse().unwrap();
        let value = Plaintext::born(value.len(), |room| room.copy_from_slice(value)).unwrap();
        let payload = self.sender.seal(value, Operation::Create, &name.folded());
        pb::CreateSecretRequest {
            request_key: request_key().into(),
            name: name.to_string(),
            payload: Some(payload.into()),
            ..pb::CreateSecretRequest::default()
        }
    }

    async fn send(&mut self, request: &pb::CreateSecretRequest) -> Result<String, Failure> {
        let answer = self.control.create_secret(request.clone()).await;
        answer.map(|answer| answer.into_inner().id).map_err(Failure::from)
    }

    /// Sends it, and is refused.
    async fn refused(&mut self, what: &str, kind: Kind, request: &pb::CreateSecretRequest) {
        match self.send(request).await {
            Ok(id) => panic!("{what}: {id} was made of it"),
            Err(failure) => assert_eq!(failure.kind, kind, "{what}: {failure:?}"),
        }
    }
}

/// The same request with something else in its payload.
fn altered(
    request: &pb::CreateSecretRequest,
    alter: impl FnOnce(&mut pb::SealedPayload),
) -> pb::CreateSecretRequest {
    let mut request = request.clone();
    request.request_key = request_key().into();
    alter(request.payload.as_mut().unwrap());
    request
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_payload_is_good_for_what_it_was_sealed_for_and_once() {
    let lab = Lab::with_managers(PROGRAMS, 1);
    let mut alice = Operator::enrol(&lab, "alice").await;
    let mut bob = Operator::enrol(&lab, "bob").await;
    let captured = alice.seal("psql_pass", b"alice's value");
    let other = alice.seal("psql_pass", b"another value!");
    let of_bob = bob.seal("psql_pass", b"bob's value");
    let (box_of, ciphertext_of) = (&captured.payload, other.payload.clone().unwrap().ciphertext);
    let sealed = box_of.clone().unwrap();

    // By another caller: as it is, with its request key and without, and with his own connection.
    bob.refused("sent by another", Kind::Denied, &captured).await;
    bob.refused("sent by another", Kind::Denied, &altered(&captured, |_| ())).await;
    let encapsulation = of_bob.payload.clone().unwrap().encapsulation;
    let connected = altered(&captured, |sealed| sealed.encapsulation = encapsulation);
    bob.refused("in another's connection", Kind::Denied, &connected).await;
    alice.refused("in another's connection", Kind::Denied, &connected).await;

    // By himself, but with another ciphertext, another id, another name, another wrap.
    let key = sealed.sealed_dek.clone();
    for (what, request) in [
        ("another ciphertext", altered(&captured, |s| s.ciphertext = ciphertext_of)),
        (
            "another's ciphertext",
            altered(&of_bob, |s| {
                s.sealed_dek.clone_from(&sealed.sealed_dek);
                s.encapsulation.clone_from(&sealed.encapsulation);
            }),
        ),
        ("another wrap", altered(&other, |s| s.sealed_dek = key)),
        ("another id", altered(&captured, |s| s.payload_id = seal::random::<16>().to_vec().into())),
        (
            "a damaged ciphertext",
            altered(&captured, |s| {
                s.ciphertext = flipped(&s.ciphertext, s.ciphertext.len() - 1).into();
            }),
        ),
        (
            "a damaged wrap",
            altered(&captured, |s| {
                s.sealed_dek = flipped(&s.sealed_dek, s.sealed_dek.len() - 1).into();
            }),
        ),
        (
            "another name",
            pb::CreateSecretRequest { name: "psql_user".into(), ..altered(&captured, |_| ()) },
        ),
    ] {
        alice.refused(what, Kind::Denied, &request).await;
    }
    let retired = altered(&captured, |s| s.transit_key_id = vec![7; 16].into());
    alice.refused("a transit key that is none", Kind::Conflict, &retired).await;
    let truncated = altered(&captured, |s| s.ciphertext = s.ciphertext.slice(..20));
    alice.refused("a cut ciphertext", Kind::Invalid, &truncated).await;
    assert_eq!(lab.ctl().ok(&["ls", "--quiet"]), "", "nothing was made of any of it");

    // The one it was sealed for still is good, for as often as it is the same request.
    let id = alice.send(&captured).await.unwrap();
    assert_eq!(alice.send(&captured).await.unwrap(), id, "a retry");
    bob.refused("sent by another, afterwards", Kind::Denied, &captured).await;
    let again = altered(&captured, |_| ());
    alice.refused("sent again", Kind::Exists, &again).await;
    let under_its_key =
        pb::CreateSecretRequest { request_key: captured.request_key.clone(), ..other };
    alice.refused("another request under its key", Kind::Invalid, &under_its_key).await;
    lab.ctl().ok(&["rm", "psql_pass"]);
    alice.refused("sent again when it was removed", Kind::Invalid, &again).await;
    assert_eq!(lab.ctl().ok(&["ls", "--quiet"]), "");

    for operator in [&alice, &bob] {
        let refusal = (
            operator.principal.to_string(),
            "foreign_sealed_payload".to_owned(),
            "denied".to_owned(),
        );
        until(&format!("{refusal:?} is on record"), || {
            refusals_on_record(&lab.ctl()).contains(&refusal).then_some(())
        });
    }
}
