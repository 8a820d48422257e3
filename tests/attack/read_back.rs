//! An admin's reading of the unlock key, sent again as it was.
//!
//! Not here: when a key is kept, and for how long (`tests/cluster/read_back.rs`).

use link::rpc::control_client::ControlClient;
use proto::identity::Principal;
use proto::pb;
use proto::sealed::{Encapsulation, WrappedKey};
use seal::{ReadBack, ReadBackSecretKey, UnlockKey};
use tests::{Ctl, Lab};
use tonic::transport::Channel;

use crate::PROGRAMS;
use crate::client::Client;

/// The unlock key that a command of `secretctl` showed.
fn shown(stdout: &str) -> UnlockKey {
    let text = stdout.split_whitespace().find(|word| word.starts_with("SECKEY-1-"));
    UnlockKey::parse(text.expect("it shows a key").as_bytes()).unwrap()
}

fn readings(ctl: &Ctl) -> usize {
    let audit = ctl.json(&["cluster", "audit"]);
    let records = audit.as_array().unwrap().iter();
    records.filter(|r| r["action"] == "read_unlock_key" && r["outcome"] == "ok").count()
}

/// A request for the key, and what opens the answers to it.
struct Reader {
    client: Client,
    control: ControlClient<Channel>,
    secret: ReadBackSecretKey,
    request: pb::ReadUnlockKeyRequest,
}

impl Reader {
    async fn enrol(lab: &Lab) -> Self {
        let token = lab.ctl().ok(&["operator", "add", "--role", "admin", "--quiet", "mallory"]);
        let client = Client::operator(&lab.address(), &token).await;
        let control = client.control(&lab.address());
        let secret = ReadBackSecretKey::make();
        let public_key = secret.public().as_bytes().clone();
        Self { client, control, secret, request: pb::ReadUnlockKeyRequest { public_key } }
    }

    /// Sends the request, which is always the same one.
    async fn read(&mut self) -> UnlockKey {
        let answer = self.control.read_unlock_key(self.request.clone()).await.unwrap().into_inner();
        let call = ReadBack {
            realm: self.client.cluster().realm,
            unlock_key_id: answer.unlock_key_id[..].try_into().unwrap(),
            principal: Principal::Subject(self.client.subject()),
            public_key: self.secret.public().clone(),
        };
        let encapsulation = Encapsulation::new(answer.encapsulation).unwrap();
        let sealed = WrappedKey::new(answer.sealed_key).unwrap();
        call.open(&self.secret, &encapsulation, &sealed).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_of_the_unlock_key_that_is_sent_again_is_on_record_again() {
    let lab = Lab::with_managers(PROGRAMS, 1);
    let ctl = lab.ctl();
    let first = shown(&ctl.ok(&["cluster", "update", "--autolock", "on"]));
    ctl.ok_with(&["cluster", "update", "--read-back", "on"], first.expose().as_bytes());
    let mut reader = Reader::enrol(&lab).await;
    assert_eq!(reader.read().await.id(), first.id());
    assert_eq!(readings(&ctl), 1);
    assert_eq!(reader.read().await.id(), first.id());
    assert_eq!(readings(&ctl), 2, "sent again");

    let second = shown(&ctl.ok(&["cluster", "unlock-key", "--rotate"]));
    assert_eq!(reader.read().await.id(), second.id(), "the key of now");
    assert_eq!(readings(&ctl), 3, "sent again after a rotation");
}
