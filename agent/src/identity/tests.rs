use std::os::unix::fs::PermissionsExt as _;

use link::certificate::{NewCertificate, issue, make_bridge, make_ca, make_key_pair, make_serial};
use proto::id::MemberId;
use proto::identity::Identity as Named;

use super::*;

const REALM: Realm = Realm::from_bytes([1; 16]);

struct Ca {
    pair: KeyPairDer,
    certificate: CertificateDer<'static>,
}

impl Ca {
    fn new() -> Self {
        let pair = make_key_pair().unwrap();
        let now = clock::now();
        let certificate = make_ca(&pair.private, now, now.after_ms(1 << 40)).unwrap();
        Self { pair, certificate }
    }

    fn enrolled(&self, subject: Subject, realm: Realm, public_key: &[u8]) -> pb::Enrolled {
        let now = clock::now();
        let new = NewCertificate {
            identity: Named { realm, incarnation: Incarnation(2), subject },
            public_key,
            serial: make_serial(),
            now,
            not_after: now.after_ms(1_000_000),
        };
        pb::Enrolled {
            certificate: issue(&self.certificate, &self.pair.private, &new)
                .unwrap()
                .to_vec()
                .into(),
            ca_certificate: self.certificate.to_vec().into(),
            subject: subject.to_string(),
            realm: realm.as_bytes().to_vec().into(),
            incarnation: 2,
            not_after: 0,
            manager_addresses: vec!["10.0.0.4:7443".into(), "nonsense".into()],
            authorities: None,
        }
    }
}

fn token_id() -> TokenId {
    TokenId::from_entropy([5; 17])
}

fn agent(number: u8) -> Subject {
    Subject::Agent(NodeId::from_entropy([number; 17]))
}

fn admitted(ca: &Ca) -> Identity {
    let pair = make_key_pair().unwrap();
    let enrolled = ca.enrolled(agent(1), REALM, &pair.public);
    Identity::admitted(token_id(), REALM, pair, &enrolled).unwrap()
}

#[test]
fn an_identity_is_read_as_it_was_kept() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("data");
    let folder = DataFolder::open(&path).unwrap();
    assert!(folder.identity().unwrap().is_none());
    let identity = admitted(&Ca::new());
    folder.keep(&identity).unwrap();
    let read = folder.identity().unwrap().unwrap();
    assert_eq!(read.node_id, identity.node_id);
    assert_eq!((read.realm, read.incarnation_seen), (REALM, Incarnation(2)));
    assert_eq!(read.managers, ["10.0.0.4:7443"], "what is no address is left out");
    assert_eq!(read.says, identity.says);
    assert_eq!((read.renew_at, read.evicted), (identity.renew_at, false));
    assert_eq!(read.key.expose(), identity.key.expose());
    assert_eq!(read.certificate, identity.certificate);
    assert_eq!(read.ca, identity.ca);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&path), mode(&path.join("identity"))), (0o700, 0o600));
    let error = DataFolder::open(&path).err().unwrap();
    assert!(explain(&error).contains("is in use by process"), "{}", explain(&error));
}

fn explain(error: &IdentityError) -> String {
    crate::supervisor::status::explained(error)
}

#[test]
fn an_attempt_is_read_as_it_was_kept_and_forgotten() {
    let temp = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(&temp.path().join("data")).unwrap();
    assert!(folder.attempt().unwrap().is_none());
    let attempt = Attempt {
        token_id: token_id(),
        hostname: "node-1".into(),
        request_key: RequestKey::from_bytes([3; 16]),
        pair: make_key_pair().unwrap(),
    };
    folder.keep_attempt(&attempt).unwrap();
    let read = folder.attempt().unwrap().unwrap();
    assert_eq!((read.token_id, read.hostname), (attempt.token_id, attempt.hostname));
    assert_eq!(read.request_key, attempt.request_key);
    assert_eq!(read.pair.private.expose(), attempt.pair.private.expose());
    assert_eq!(read.pair.public, attempt.pair.public);
    folder.forget_attempt().unwrap();
    assert!(folder.attempt().unwrap().is_none());
}

#[test]
fn a_damaged_identity_is_named() {
    let temp = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(&temp.path().join("data")).unwrap();
    for bytes in [&b""[..], b"\x02", b"\x01\xff"] {
        folder.folder.replace(IDENTITY, PRIVATE_FILE_MODE, bytes).unwrap();
        let error = folder.identity().err().unwrap();
        assert!(explain(&error).contains("data/identity"), "{}", explain(&error));
    }
    folder.folder.replace(IDENTITY, 0o644, b"x").unwrap();
    let error = folder.identity().err().unwrap();
    assert!(explain(&error).contains("open to other users"), "{}", explain(&error));
}

#[test]
fn a_certificate_of_somebody_or_something_else_is_refused() {
    let ca = Ca::new();
    let refused = |subject, realm, other_key: bool| {
        let pair = make_key_pair().unwrap();
        let public = if other_key { make_key_pair().unwrap().public } else { pair.public.clone() };
        let enrolled = ca.enrolled(subject, realm, &public);
        let admission = Identity::admitted(token_id(), REALM, pair, &enrolled);
        admission.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let manager = Subject::Manager(NodeId::from_entropy([1; 17]), MemberId(1));
    assert!(refused(manager, REALM, false).contains("not an agent's"));
    assert!(refused(agent(1), Realm::from_bytes([9; 16]), false).contains("another cluster"));
    assert!(refused(agent(1), REALM, true).contains("another key"));

    let identity = admitted(&ca);
    let pair = make_key_pair().unwrap();
    let enrolled = ca.enrolled(agent(2), REALM, &pair.public);
    let error = identity.renewed(pair, &enrolled).err().unwrap();
    assert!(error.to_string().contains("somebody else"), "{error}");
}

#[test]
fn another_ca_is_taken_by_the_word_of_the_one_that_is_kept() {
    let (old, new) = (Ca::new(), Ca::new());
    let identity = admitted(&old);
    let next = |ca: &Ca, authorities: Option<pb::Authorities>| {
        let pair = make_key_pair().unwrap();
        let enrolled = ca.enrolled(agent(1), REALM, &pair.public);
        identity.renewed(pair, &pb::Enrolled { authorities, ..enrolled })
    };
    let over = |from: &Ca, to: &Ca| {
        let now = clock::now();
        let end = now.after_ms(1 << 40);
        let bridge = make_bridge(&from.certificate, &from.pair.private, &to.pair.public, now, end);
        pb::Authorities {
            trusted: Vec::new(),
            bridge: bridge.unwrap().to_vec().into(),
            former: from.certificate.to_vec().into(),
        }
    };
    let same = next(&old, None).unwrap();
    assert_eq!(same.ca, identity.ca);
    let moved = next(&new, Some(over(&old, &new))).unwrap();
    assert_ne!(moved.ca, identity.ca);
    assert_eq!(moved.ca, new.certificate);
    let other = Ca::new();
    for (ca, authorities) in [
        (&new, None),
        (&new, Some(over(&other, &new))),
        (&new, Some(over(&old, &other))),
        (&other, Some(over(&old, &new))),
    ] {
        let error = next(ca, authorities).err().unwrap().to_string();
        assert!(error.contains("does not take this one's place"), "{error}");
    }
    // What is handed out as one CA's was signed by another.
    let pair = make_key_pair().unwrap();
    let enrolled = other.enrolled(agent(1), REALM, &pair.public);
    let ca_certificate = old.certificate.to_vec().into();
    let posing = identity.renewed(pair, &pb::Enrolled { ca_certificate, ..enrolled });
    assert!(posing.err().unwrap().to_string().contains("of another CA"));
}

#[test]
fn a_certificate_is_renewed_within_50_to_80_percent_of_its_life() {
    let ca = Ca::new();
    let pair = make_key_pair().unwrap();
    let says = PeerCertificate::parse(&ca.enrolled(agent(1), REALM, &pair.public).certificate);
    let says = PeerCertificate { not_after: Timestamp(1_000_000), ..says.unwrap() };
    let points: std::collections::BTreeSet<u64> =
        (0..1_000).map(|_| renew_at(&says, Timestamp(0)).0).collect();
    assert!(points.iter().all(|point| (500_000..=800_000).contains(point)));
    assert!(points.len() > 100);
    assert_eq!(renew_at(&says, Timestamp(2_000_000)), Timestamp(2_000_000), "at once");
}

#[tokio::test]
async fn what_is_remembered_is_on_disk_first() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("data");
    let identity = admitted(&Ca::new());
    let folder = DataFolder::open(&path).unwrap();
    folder.keep(&identity).unwrap();
    let own = Own::new(folder, identity);
    own.remember_incarnation(Incarnation(7)).await.unwrap();
    own.remember_incarnation(Incarnation(3)).await.unwrap();
    own.remember_managers(&["a:1".into(), "b:2".into()]).await.unwrap();
    own.remember_managers(&[]).await.unwrap();
    own.remember_managers(&["nonsense".into()]).await.unwrap();
    own.remember_eviction().await.unwrap();
    let now = own.current();
    drop(own);
    let read = DataFolder::open(&path).unwrap().identity().unwrap().unwrap();
    for identity in [&*now, &read] {
        assert_eq!(identity.incarnation_seen, Incarnation(7), "it never falls");
        assert_eq!(identity.managers, ["a:1", "b:2"]);
        assert!(identity.evicted);
    }
}

#[test]
fn addresses_are_hosts_with_ports() {
    for good in ["127.0.0.1:7443", "host.example:1", "[::1]:7443"] {
        assert!(is_address(good), "{good}");
    }
    for bad in ["", "host", ":7443", "host:", "host:0", "host:70000", "host:http"] {
        assert!(!is_address(bad), "{bad}");
    }
    let name = |bytes: usize| format!("{}:1", "x".repeat(bytes - 2));
    assert!(is_address(&name(ADDRESS_BYTES_MAX)));
    assert!(!is_address(&name(ADDRESS_BYTES_MAX + 1)));
    let many: Vec<String> = (1..=50).map(|port| format!("h:{port}")).collect();
    assert_eq!(listed(&many).len(), 2 * MANAGERS_MAX);
}
