use link::certificate;
use proto::id::{Incarnation, KeyId, NodeId, PayloadId, Realm, SecretId, Serial, Timestamp};
use proto::identity::Subject;
use proto::name::Labels;
use proto::sealed::{ALGORITHM_XCHACHA20_POLY1305, Ciphertext, FORMAT, StoredPayload, WrappedKey};
use seal::RootKey;
use state::apply;
use state::command::{Command, CreateSecret, Envelope, InitCluster, LEVEL};
use state::object::{Certificate, Digest};

use super::*;
use crate::{ca, keys::recipients};

const ME: MemberId = MemberId(1);

struct Cluster {
    state: State,
    root: KeyId,
    transit: KeyId,
}

impl Cluster {
    fn founded() -> Self {
        let realm = Realm::from_bytes([1; 16]);
        let (root, now) = (RootKey::make(), Timestamp(1));
        let founded = ca::found(realm, &root, now).unwrap();
        let (transit_id, transit) = ca::make_transit_key(realm, &root, &founded.key, now).unwrap();
        let node_id = NodeId::from_entropy([1; 17]);
        let pair = certificate::make_key_pair().unwrap();
        let mut cluster = Self { state: State::new(), root: root.id(), transit: transit_id };
        cluster.run(Command::InitCluster(Box::new(InitCluster {
            realm,
            incarnation: Incarnation(1),
            authority: founded.authority,
            root: root.id(),
            transit_id,
            transit,
            recipients: vec![recipients::own_seed()],
            payload_quota_bytes: 1 << 20,
            member: ME,
            node_id,
            hostname: "m1".parse().unwrap(),
            address: "127.0.0.1:1".into(),
            serial: Serial::from_bytes([1; 16]),
            certificate: Certificate {
                subject: Subject::Manager(node_id, ME),
                key_digest: Digest(seal::digest_of(&pair.public)),
                issued_at: now,
                not_after: Timestamp(u64::MAX),
                revoked: false,
                authority: None,
                rotation: None,
                superseded_at: None,
            },
            level_max: LEVEL,
        })));
        cluster
    }

    fn run(&mut self, body: Command) {
        let caller = Caller::Local { uid: 0, member: ME };
        let at = Timestamp(self.state.now().0 + 1);
        let envelope = Envelope { format: 1, request: None, caller, at, body };
        let index = self.state.index() + 1;
        apply(&mut self.state, index, envelope).unwrap().outcome.unwrap();
    }

    /// Creates and removes a secret.
    fn passed_by(&mut self, number: u64, name: &str) -> SecretId {
        let mut entropy = [0; 17];
        entropy[..8].copy_from_slice(&number.to_be_bytes());
        let mut payload = [0; 16];
        payload[..8].copy_from_slice(&number.to_be_bytes());
        let id = SecretId::from_entropy(entropy);
        self.run(Command::CreateSecret(CreateSecret {
            id,
            name: name.parse().unwrap(),
            labels: Labels::default(),
            usable_by: vec![],
            payload: StoredPayload {
                payload_id: PayloadId::from_bytes(payload),
                wrapped_dek: WrappedKey::new(sealed(self.root)).unwrap(),
                ciphertext: Ciphertext::new(sealed(KeyId::from_bytes([9; 16]))).unwrap(),
            },
            transit_key_id: self.transit,
        }));
        self.run(Command::RemoveSecret { id, forget_previous: false, shred: None });
        id
    }

    fn retire_transit(&mut self) {
        let id = KeyId::from_bytes([8; 16]);
        let key = self.state.cluster().unwrap().transit_keys[&self.transit].clone();
        self.run(Command::AddTransitKey { id, key });
        self.run(Command::RetireTransitKey { id: self.transit });
        self.transit = id;
    }

    fn rotate(&mut self) {
        self.run(Command::RotateLogKeys);
        let epoch = self.state.log_keys().wanted;
        let key = KeyId::from_bytes([u8::try_from(epoch).unwrap(); 16]);
        self.run(Command::AcknowledgeLogKey { member: ME, epoch, key });
    }
}

fn sealed(key: KeyId) -> bytes::Bytes {
    let mut bytes = vec![FORMAT, ALGORITHM_XCHACHA20_POLY1305];
    bytes.extend_from_slice(key.as_bytes());
    bytes.resize(42 + 64 + 16, 3);
    bytes.into()
}

#[test]
fn pages_go_from_the_newest_to_the_oldest_and_what_has_no_name_comes_last() {
    let mut cluster = Cluster::founded();
    let ids: Vec<_> = (0..=PAGE as u64).map(|n| cluster.passed_by(n, &format!("s{n}"))).collect();
    let all = pb::ListRemovedSecretsRequest::default();
    let first = page(&cluster.state, &all);
    assert_eq!(first.secrets.len(), PAGE);
    assert_eq!(first.secrets[0].id, ids[PAGE].to_string());
    let rest = page(
        &cluster.state,
        &pb::ListRemovedSecretsRequest { before: first.next_before, ..all.clone() },
    );
    let left: Vec<_> = rest.secrets.iter().map(|it| it.id.clone()).collect();
    assert_eq!((left, rest.next_before), (vec![ids[0].to_string()], 0));
    let one = page(
        &cluster.state,
        &pb::ListRemovedSecretsRequest { ids: vec![ids[7].to_string()], before: 0 },
    );
    assert_eq!((one.secrets.len(), one.next_before), (1, 0));
    assert_eq!(one.secrets[0].name, "s7");
    assert_eq!(count(cluster.state.shredding()), PAGE as u64 + 1);
}

#[test]
fn what_is_needed_is_told_until_nothing_is() {
    let mut cluster = Cluster::founded();
    cluster.passed_by(1, "gone");
    let removed = |cluster: &Cluster| {
        page(&cluster.state, &pb::ListRemovedSecretsRequest::default()).secrets.remove(0)
    };
    let told = removed(&cluster);
    let needs = told.needs.unwrap();
    assert_eq!((told.state.as_str(), needs.transit_key_ids.len()), ("shredding", 1));
    assert_eq!(needs.begins_by, told.removed_at + SHREDDING_BEGINS_WITHIN_MS);
    assert!(needs.waits_for.is_empty(), "nothing has begun");
    cluster.retire_transit();
    cluster.run(Command::RotateLogKeys);
    let needs = removed(&cluster).needs.unwrap();
    assert_eq!((needs.begins_by, needs.log_key_epoch), (0, 1));
    let waits_for = [pb::ManagerName { member: 1, hostname: "m1".into() }];
    assert_eq!(needs.waits_for, waits_for);
    // One that was removed since waits for the same rotation, and needs the next.
    cluster.passed_by(2, "later");
    let needs = removed(&cluster).needs.unwrap();
    assert_eq!((needs.log_key_epoch, &needs.waits_for[..]), (2, &waits_for[..]));
    let key = KeyId::from_bytes([1; 16]);
    cluster.run(Command::AcknowledgeLogKey { member: ME, epoch: 1, key });
    let done = page(&cluster.state, &pb::ListRemovedSecretsRequest::default()).secrets.remove(1);
    assert_eq!((done.state.as_str(), done.needs), ("shredded", None));
    assert_eq!(done.words, [pb::ShreddingWord { member: 1, log_key_epoch: 1 }]);
    assert!(done.shredded_at > done.removed_at);
}

#[test]
fn a_removed_secret_is_found_as_others_are_and_explained() {
    let mut cluster = Cluster::founded();
    let older = cluster.passed_by(1, "db");
    cluster.retire_transit();
    cluster.rotate();
    let newer = cluster.passed_by(1 << 62, "DB");
    let shredding = cluster.state.shredding();
    let id_of = |text: &str| find(shredding, text).map(|it| it.secret_id);
    assert_eq!(id_of("Db"), Some(newer), "the last one of that name");
    assert_eq!(id_of(&older.to_string()), Some(older));
    let beginning: String = older.to_string().chars().take(24).collect();
    assert_eq!(id_of(&beginning), Some(older));
    assert_eq!([id_of(""), id_of("other")], [None, None]);
    let missing = || Failure::new(Kind::NotFound, "secret db not found");
    let because = |text: &str| explain(shredding, text, missing()).because;
    assert!(because(&older.to_string()).unwrap().contains("is shredded"));
    assert!(because("db").unwrap().contains("is shredding"));
    assert_eq!(because("other"), None);
    let ambiguous = Failure::new(Kind::Invalid, "ambiguous");
    assert_eq!(explain(shredding, "db", ambiguous).because, None);
}

#[test]
fn a_manager_out_of_reach_is_named_where_something_waits_for_it() {
    let mut cluster = Cluster::founded();
    let member = |reachable| {
        [pb::MemberInfo { id: 1, hostname: "m1".into(), reachable, ..pb::MemberInfo::default() }]
    };
    cluster.run(Command::RotateLogKeys);
    assert!(problems(&cluster.state, &member(false)).is_none(), "nothing was removed");
    cluster.passed_by(1, "gone");
    assert!(problems(&cluster.state, &member(true)).is_none(), "it is at it");
    let told = problems(&cluster.state, &member(false)).unwrap().message;
    let expected = "a removed secret is shredding until manager 1 (m1) has rotated its log key";
    assert_eq!(told, expected);
    cluster.passed_by(2, "gone");
    let told = problems(&cluster.state, &member(false)).unwrap().message;
    assert!(told.starts_with("2 removed secrets are shredding"), "{told}");
}
