//! An unlock key that the cluster keeps: where it opens, and where not.

use proto::id::{KeyId, NodeId, Realm};
use proto::identity::{Principal, Subject};
use seal::{
    ReadBack, ReadBackSecretKey, RootKey, TransitReceiver, TransitSecretKey, TransitSender,
    UnlockKey,
};

const REALM: Realm = Realm::from_bytes([1; 16]);
const OTHER: Realm = Realm::from_bytes([2; 16]);
const NOBODY: KeyId = KeyId::from_bytes([3; 16]);

fn principal(n: u8) -> Principal {
    Principal::Subject(Subject::Agent(NodeId::from_entropy([n; 17])))
}

#[test]
fn an_unlock_key_goes_to_the_cluster_in_its_connection_only() {
    let transit = TransitSecretKey::make();
    let sender = TransitSender::set_up(transit.public().clone(), REALM, principal(1)).unwrap();
    let encapsulation = sender.encapsulation();
    let receiver = |realm, principal| {
        TransitReceiver::set_up(&transit, realm, principal, encapsulation).unwrap()
    };
    let key = UnlockKey::make();
    let sealed = sender.seal_unlock_key(&key);
    let opened = receiver(REALM, principal(1)).open_unlock_key(key.id(), &sealed).unwrap();
    assert_eq!(*opened.expose(), *key.expose());
    assert!(receiver(REALM, principal(1)).open_unlock_key(NOBODY, &sealed).is_err());
    assert!(receiver(REALM, principal(2)).open_unlock_key(key.id(), &sealed).is_err());
    assert!(receiver(OTHER, principal(1)).open_unlock_key(key.id(), &sealed).is_err());
}

#[test]
fn a_kept_unlock_key_opens_under_its_root_key_in_its_cluster_only() {
    let root = RootKey::make();
    let (key, other) = (UnlockKey::make(), UnlockKey::make());
    let kept = root.wrap_unlock_key(REALM, &key);
    let opened = root.unwrap_unlock_key(REALM, key.id(), &kept).unwrap();
    assert_eq!(*opened.expose(), *key.expose());
    assert!(root.unwrap_unlock_key(OTHER, key.id(), &kept).is_err());
    assert!(root.unwrap_unlock_key(REALM, other.id(), &kept).is_err());
    assert!(RootKey::make().unwrap_unlock_key(REALM, key.id(), &kept).is_err());
}

#[test]
fn an_unlock_key_is_read_back_by_its_call_only() {
    let (secret, other) = (ReadBackSecretKey::make(), ReadBackSecretKey::make());
    let key = UnlockKey::make();
    let call = |realm, id, who, secret: &ReadBackSecretKey| ReadBack {
        realm,
        unlock_key_id: id,
        principal: principal(who),
        public_key: secret.public().clone(),
    };
    let mine = call(REALM, key.id(), 1, &secret);
    let (encapsulation, sealed) = mine.seal(&key).unwrap();
    assert_eq!(*mine.open(&secret, &encapsulation, &sealed).unwrap().expose(), *key.expose());
    for wrong in [
        call(OTHER, key.id(), 1, &secret),
        call(REALM, NOBODY, 1, &secret),
        call(REALM, key.id(), 2, &secret),
        call(REALM, key.id(), 1, &other),
    ] {
        assert!(wrong.open(&secret, &encapsulation, &sealed).is_err());
    }
    assert!(mine.open(&other, &encapsulation, &sealed).is_err());
}
