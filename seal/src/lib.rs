#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod backup;
mod boot_file;
mod compare;
mod context;
mod disk;
mod hazmat;
mod key;
mod keyfile;
mod live;
mod passphrase;
mod payload;
mod peers;
mod plaintext;
mod read_back;
mod root;
mod session;
mod shares;
mod slot;
mod spelling;
mod transit;
mod unlock_key;

use proto::id::{Realm, TokenId};
use proto::token::{TOKEN_SECRET_BYTES, TokenSecret};

pub use crate::backup::{BackupCall, BackupPublicKey, BackupRoot, BackupSecretKey, DigestOfPieces};
pub use crate::boot_file::{
    BOOT_FILE_BYTES_MAX, BOOT_FILE_SECRET_BYTES, BootEntry, BootFile, BootFileKey, NotABootFile,
};
pub use crate::compare::{CompareKey, CompareTag};
pub use crate::context::{BackupWay, Context, Disk, Operation};
pub use crate::disk::{
    LINK_BYTES, LogKey, RecordPlace, SEALED_OVERHEAD_BYTES, chain_link, sealed_under,
};
pub use crate::hazmat::Nonces;
pub use crate::key::{KeyMemory, install_key_memory};
pub use crate::keyfile::{
    KEY_FILE_BYTES_MAX, KEYS_MAX, KeyFileContents, KeyFileOwner, LockedKeyFile, NotAKeyFile,
    Recipient, SLOTS_MAX, SlotKind, SlotPublicKey, SlotSecretKey, make_slot_seed,
    seal as seal_key_file,
};
pub use crate::live::{LiveSecrets, live_secrets};
pub use crate::passphrase::{
    CostsError, NewPassphraseError, NoMemory, Passphrase, PassphraseCosts, PassphraseError,
    make_passphrase,
};
pub use crate::payload::{Dek, DekBundle, Encrypted, ciphertext_digest};
pub use crate::peers::{
    OwnHalf, PeerBox, PeerPublicKey, PeerSecretKey, PeersParameters, PeersSlot, Release,
    ReleasePublicKey, ReleaseSecretKey,
};
pub use crate::plaintext::{Plaintext, ReadError};
pub use crate::read_back::{ReadBack, ReadBackPublicKey, ReadBackSecretKey};
pub use crate::root::{Fetch, FetchPublicKey, FetchSecretKey, RootKey, SigningKeyDer, StoredAt};
pub use crate::session::{
    Delivery, SessionBinding, SessionPublicKey, SessionReceiver, SessionSecretKey, SessionSender,
};
pub use crate::shares::{Gathering, Share, ShareError, ShareParameters, Split, SplitId};
pub use crate::slot::{CommandError, ParametersError, SlotCommand, SlotParameters, UnlockKeys};
pub use crate::spelling::SpellingError;
pub use crate::transit::{TransitPublicKey, TransitReceiver, TransitSecretKey, TransitSender};
pub use crate::unlock_key::UnlockKey;

/// Something did not open. There is no reason: whoever could probe learns nothing, and whoever
/// operates the system learns it from the place that knows the path, the slot or the checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot be opened: wrong key, wrong place, or damaged")]
pub struct OpenError;

/// SHA-256 (FIPS 180-4) of public bytes: certificates' keys, ciphertexts, snapshots.
pub fn digest_of(bytes: &[u8]) -> [u8; 32] {
    hazmat::sha256(&[bytes])
}

/// SHA-256 of public parts, one after the other; the caller knows where one ends.
pub fn digest_of_parts(parts: &[&[u8]]) -> [u8; 32] {
    hazmat::sha256(parts)
}

/// SHA-256 of several public parts, each within a context that makes the whole injective.
pub fn digest_in(context: &Context<'_>, bytes: &[u8]) -> [u8; 32] {
    hazmat::sha256(&[&context.encode(), bytes])
}

/// A fresh random token secret.
pub fn make_token_secret() -> TokenSecret {
    let mut bytes = Box::new([0; TOKEN_SECRET_BYTES]);
    hazmat::fill_random(&mut *bytes);
    TokenSecret::new(bytes)
}

/// What the state keeps of a token's secret: 256 random bits need no slow hash.
pub fn token_hash(realm: Realm, token_id: TokenId, secret: &TokenSecret) -> [u8; 32] {
    digest_in(&Context::Token { realm, token_id }, secret.expose())
}

/// Equality in constant time, for hashes of secrets.
pub fn equal(one: &[u8], other: &[u8]) -> bool {
    hazmat::equal(one, other)
}

/// Random bytes for ids: not a key, but unpredictable.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    hazmat::fill_random(&mut bytes);
    bytes
}
