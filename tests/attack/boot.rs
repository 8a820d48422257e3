//! A thief with a manager's boot file: one call, and nothing by it that is not that manager's.

use link::Failure;
use link::rpc::dispatcher_client::DispatcherClient;
use link::rpc::enroll_client::EnrollClient;
use link::rpc::peer_client::PeerClient;
use proto::sealed::{Encapsulation, WrappedKey};
use proto::{Kind, pb};
use seal::{PeersParameters, Release, ReleaseSecretKey, digest_of};
use serde_json::Value;
use tests::{Lab, until};
use tokio_stream::iter;

use crate::PROGRAMS;
use crate::calls::{
    Refusals, Theirs, ask_as_a_manager, ask_as_an_admin, ask_as_an_operator, refusals_on_record,
};
use crate::client::{Client, request_key};

fn request(
    generation: u64,
    sealed: &PeersParameters,
    key: &ReleaseSecretKey,
) -> pb::ReleaseRequest {
    pb::ReleaseRequest {
        generation,
        sealed: sealed.sealed().to_bytes().into(),
        public_key: key.public().as_bytes().clone(),
        nonce: vec![7; 32].into(),
        // Whoever is called writes these.
        boot_key_digest: vec![1; 32].into(),
        from: "10.0.0.1:1".into(),
    }
}

async fn ask(
    client: &Client,
    address: &str,
    request: &pb::ReleaseRequest,
) -> Result<pb::ReleaseResponse, Failure> {
    let mut peer = PeerClient::new(client.channel(address));
    Ok(peer.release(request.clone()).await?.into_inner())
}

fn audit(lab: &Lab, index: usize) -> Vec<Value> {
    let audit = lab.ctl_of(index).json(&["cluster", "audit", "--limit", "100000"]);
    audit.as_array().unwrap().clone()
}

/// Three managers that unlock one another.
fn locking() -> Lab {
    let lab = Lab::with_managers(PROGRAMS, 3);
    until("all have said what opens them", || {
        let members = lab.members();
        members.iter().all(|member| member["key_file_generation"] == 1).then_some(())
    });
    lab.ctl().ok(&["cluster", "update", "--autolock", "on"]);
    lab.ctl().ok(&["cluster", "update", "--peers", "auto"]);
    for manager in &lab.managers {
        until("it has turned", || {
            manager.daemon.log().contains("peers_slot_made_anew").then_some(())
        });
    }
    lab
}

fn address_of(lab: &Lab, index: usize) -> String {
    let members = lab.ctl_of(index).json(&["cluster", "status"])["members"].clone();
    let name = format!("m{}", index + 1);
    let mut members = members.as_array().unwrap().iter();
    let found = members.find(|member| member["hostname"] == name.as_str()).unwrap();
    found["address"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_boot_key_may_ask_for_its_own_managers_release_and_nothing_else() {
    let lab = locking();
    let victim = (lab.leader() + 1) % 3;
    let (client, file, slot) = Client::boot(&lab.managers[victim].data);
    let addresses = lab.addresses();

    // Whatever it asks beside its one call, at the leader and at others.
    let mut refusals = Refusals::default();
    for address in &addresses {
        ask_as_an_operator(&client, address, &Theirs::default(), &mut refusals).await;
        ask_as_an_admin(&client, address, &mut refusals).await;
        ask_as_a_manager(&client, address, &Theirs::default(), &mut refusals).await;
        let renewal = pb::RenewRequest {
            request_key: request_key().into(),
            public_key: client.pair.public.clone().into(),
            ..pb::RenewRequest::default()
        };
        let renewed = EnrollClient::new(client.channel(address)).renew(renewal).await;
        assert_eq!(Failure::from(renewed.unwrap_err()).kind, Kind::Denied);
        let session = pb::AgentMessage::default();
        let mut dispatcher = DispatcherClient::new(client.channel(address));
        let session = dispatcher.session(iter([session])).await;
        assert_eq!(Failure::from(session.unwrap_err()).kind, Kind::Denied);
    }
    let me = format!("boot/{}", file.disk().member);
    until("it is on record", || {
        let record = (me.clone(), "create_secret".to_owned(), "denied".to_owned());
        refusals_on_record(&lab.ctl()).contains(&record).then_some(())
    });

    // While its manager runs it is told so, and what it says of itself is not believed.
    let key = ReleaseSecretKey::make();
    let mine = request(slot.generation(), &slot, &key);
    for address in &addresses {
        let failure = ask(&client, address, &mine).await.unwrap_err();
        assert!(failure.message.contains("alive"), "{failure:?}");
    }
    let alarms = lab.ctl().json(&["cluster", "alarm", "ls"]);
    assert!(alarms[0]["from"].as_str().unwrap().starts_with("127.0.0.1:"), "{alarms}");
}

/// What a thief with a manager's whole disk gets while that is down and not removed, and with less.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_for_one_managers_disk_and_one_request() {
    let mut lab = locking();
    let victim = (lab.leader() + 1) % 3;
    let other = (lab.leader() + 2) % 3;
    let (client, file, slot) = Client::boot(&lab.managers[victim].data);
    let (_, _, others_slot) = Client::boot(&lab.managers[other].data);
    let member = file.disk().member;
    let key = ReleaseSecretKey::make();
    let mine = request(slot.generation(), &slot, &key);
    let address = address_of(&lab, other);
    lab.managers[victim].daemon.kill();
    let stale = request(slot.generation() - 1, &slot, &key);
    let failure = ask(&client, &address, &stale).await.unwrap_err();
    assert!(failure.message.contains("stale"), "{failure:?}");
    // A box of another manager: granted to who it is, and not opened.
    let swapped = request(slot.generation(), &others_slot, &key);
    let failure = ask(&client, &address, &swapped).await.unwrap_err();
    assert_eq!(failure.message, "the box does not open", "{failure:?}");
    let failure = ask(&client, &address, &mine).await.unwrap_err();
    assert!(failure.message.contains("too soon"), "{failure:?}");
    let answer = loop {
        match ask(&client, &address, &mine).await {
            Ok(answer) => break answer,
            Err(failure) => assert!(failure.message.contains("too soon"), "{failure:?}"),
        }
    };
    // The answer is for this request: another key, or another place of it, opens nothing.
    let keys = std::fs::read(lab.managers[victim].data.join("keys")).unwrap();
    let keys = seal::LockedKeyFile::parse(&keys).unwrap();
    let public = keys.recipients().iter().find(|slot| slot.kind == seal::SlotKind::Peers);
    let public = &public.unwrap().public;
    let entry = file.entry(slot.generation()).unwrap();
    let boot_key = link::certificate::public_key_of(&entry.certificate).unwrap();
    let release = Release {
        disk: *file.disk(),
        generation: slot.generation(),
        boot_key_digest: digest_of(&boot_key),
        sealed: slot.sealed().clone(),
        public_key: key.public().clone(),
        nonce: [7; 32],
        grant: answer.grant,
    };
    let encapsulation = Encapsulation::new(answer.encapsulation.clone()).unwrap();
    let sealed = WrappedKey::new(answer.sealed_half.clone()).unwrap();
    let recover = |release: &Release, key: &ReleaseSecretKey| {
        entry.own.recover(release, key, &encapsulation, &sealed, public)
    };
    assert!(recover(&release, &key).is_ok(), "this is what it is for");
    assert!(recover(&release, &ReleaseSecretKey::make()).is_err());
    assert!(recover(&Release { grant: answer.grant + 1, ..release.clone() }, &key).is_err());
    assert!(recover(&Release { nonce: [8; 32], ..release.clone() }, &key).is_err());

    // Each grant is on record, by the boot key, at the place in the log that its answer names.
    let granted = audit(&lab, other);
    let granted = granted.iter().filter(|record| record["action"] == "grant_release");
    let granted: Vec<_> = granted.filter(|record| record["outcome"] == "ok").collect();
    assert_eq!(granted.len(), 2, "{granted:?}");
    assert!(
        granted[1]["caller"].as_str().unwrap().starts_with(&format!("boot/{member}")),
        "{granted:?}"
    );
    assert_eq!(granted[1]["index"], answer.grant);

    // Removed: nothing, whoever asks.
    lab.ctl_of(other).ok(&["cluster", "member", "rm", &member.to_string()]);
    let failure = ask(&client, &address, &mine).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Evicted, "{failure:?}");
}
