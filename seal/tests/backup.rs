//! A backup's root key opens for the call that it was sealed for, and for no other.

use proto::id::{BackupId, Incarnation, KeyId, PayloadId, Realm, SecretId, Version};
use proto::sealed::{Encapsulation, WrappedKey};
use seal::{
    BackupCall, BackupRoot, BackupSecretKey, BackupWay, DigestOfPieces, RootKey, SigningKeyDer,
    StoredAt,
};

const CALL: BackupCall<'static> = BackupCall {
    realm: Realm::from_bytes([1; 16]),
    incarnation: Incarnation(3),
    backup_id: BackupId::from_bytes([2; 16]),
    copy_digest: &[4; 32],
    way: BackupWay::Out,
};

fn sealed(
    to: &BackupSecretKey,
    root: &BackupRoot,
) -> Result<(Encapsulation, WrappedKey), seal::OpenError> {
    CALL.seal(to.public(), root)
}

#[test]
fn a_backups_root_key_opens_in_its_call_only() {
    let (secret, root) = (BackupSecretKey::make(), BackupRoot::make());
    let (encapsulation, key) = sealed(&secret, &root).unwrap();
    let opened = CALL.open(&secret, &encapsulation, &key, root.id()).unwrap();
    assert!(opened.expose() == root.expose() && opened.id() == root.id());

    let other_calls = [
        BackupCall { realm: Realm::from_bytes([9; 16]), ..CALL },
        BackupCall { incarnation: Incarnation(4), ..CALL },
        BackupCall { backup_id: BackupId::from_bytes([9; 16]), ..CALL },
        BackupCall { copy_digest: &[9; 32], ..CALL },
        BackupCall { way: BackupWay::In, ..CALL },
    ];
    for call in other_calls {
        assert!(call.open(&secret, &encapsulation, &key, root.id()).is_err(), "{call:?}");
    }
    let another = BackupSecretKey::make();
    assert!(CALL.open(&another, &encapsulation, &key, root.id()).is_err());
    let another_id = KeyId::from_bytes([7; 16]);
    assert!(CALL.open(&secret, &encapsulation, &key, another_id).is_err());
    let (other_encapsulation, other_key) = sealed(&secret, &root).unwrap();
    assert!(CALL.open(&secret, &other_encapsulation, &key, root.id()).is_err());
    assert!(CALL.open(&secret, &encapsulation, &other_key, root.id()).is_err());
}

#[test]
fn a_backups_root_key_is_read_from_its_file_and_opens_nothing_of_a_live_one() {
    let root = BackupRoot::make();
    let read = BackupRoot::read(|bytes| {
        bytes.copy_from_slice(root.expose());
        Ok::<_, ()>(())
    });
    assert!(read.is_ok_and(|read| read.id() == root.id()));
    assert!(BackupRoot::read(|_| Err(())).is_err());

    let (realm, ca) = (Realm::from_bytes([1; 16]), [6; 32]);
    let key = SigningKeyDer::new(vec![8; 138].into_boxed_slice().into());
    let live = RootKey::make();
    let under_live = live.wrap_ca_key(realm, &ca, &key);
    let under_backup = root.root().wrap_ca_key(realm, &ca, &key);
    assert_eq!(under_backup.key_id(), root.id());
    assert!(root.root().unwrap_ca_key(realm, &ca, &under_live).is_err());
    assert!(live.unwrap_ca_key(realm, &ca, &under_backup).is_err());
    assert!(root.root().unwrap_ca_key(realm, &ca, &under_backup).is_ok());
    let at = StoredAt {
        realm,
        secret_id: SecretId::from_entropy([1; 17]),
        version: Version(1),
        payload_id: PayloadId::from_bytes([1; 16]),
    };
    assert!(root.root().unwrap_dek(&at, &ca, &under_backup).is_err(), "a wrap of another kind");
}

#[test]
fn the_digest_of_pieces_is_that_of_the_whole() {
    let whole: Vec<u8> = (0..=255).collect();
    let mut pieces = DigestOfPieces::default();
    whole.chunks(7).for_each(|piece| pieces.add(piece));
    assert_eq!(pieces.finish(), seal::digest_of(&whole));
}
