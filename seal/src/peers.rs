//! The slot that a manager's peers help to open: two halves, of which each side has one.
//!
//! A slot of a member and a *generation*. Its seed is `HKDF(own half, peers' half, context)`. The
//! own half lies outside the key file, on the member's disk. The peers' half is drawn here, sealed
//! to the generation's peer key (the *box*, in the slot's parameters), and forgotten: it has no
//! type outside this file. The cluster keeps the peer key's private half under its root key. So a
//! disk does not open without the cluster, and the cluster opens none without the disk.
//!
//! To open, the member makes a key pair for one request; the leader opens the box and seals what is
//! in it to that key, in the context of the whole request and of the log entry that granted it.
//! Protocol and argument: `docs/design/peers.md`. Not here: who may ask, and when (state, store).
//!
//! Invariant: a box opens for its member, generation and key only; an answer for its request only;
//! and what either is exchanged with fails like everything else.

use minicbor::{Decode, Encode};
use proto::id::MemberId;
use proto::sealed::{
    ALGORITHM_XCHACHA20_POLY1305, Encapsulation, FORMAT, HEADER_BYTES, TAG_BYTES, WrappedKey,
};

use crate::context::{Context, Disk};
use crate::hazmat::{self, KEY_BYTES};
use crate::key::{KeyBytes, key_pair};
use crate::keyfile::{Recipient, SlotPublicKey, SlotSecretKey};
use crate::slot::SlotParameters;
use crate::{OpenError, digest_of};

/// Bytes of an encapsulation: KEM id and key.
const ENCAPSULATION_BYTES: usize = 2 + 32;

/// Bytes of a box: `encapsulation ‖ header ‖ half ‖ tag`.
const BOX_BYTES: usize = ENCAPSULATION_BYTES + HEADER_BYTES + KEY_BYTES + TAG_BYTES;

key_pair!(
    /// The cluster's key for one generation of one member's slot; wrapped under the root key at
    /// rest. It opens the box, and only to seal what is in it to who asked.
    PeerSecretKey,
    PeerPublicKey,
    "peer"
);

key_pair!(
    /// A locked member's key for one request; it is not used for another one.
    ReleaseSecretKey,
    ReleasePublicKey,
    "release"
);

impl PeerPublicKey {
    /// The slot of a member's disk and a generation, made afresh: both halves are new.
    ///
    /// # Errors
    ///
    /// If the key is not one that can be agreed with.
    pub fn make_slot(&self, disk: Disk, generation: u64) -> Result<PeersSlot, OpenError> {
        self.slot_of(disk, generation, OwnHalf(KeyBytes::make()), &PeersHalf(KeyBytes::make()))
    }

    fn slot_of(
        &self,
        disk: Disk,
        generation: u64,
        own: OwnHalf,
        peers: &PeersHalf,
    ) -> Result<PeersSlot, OpenError> {
        let context = Context::PeerBox { disk, generation, peer_key_id: self.id() }.encode();
        let (encapsulation, sealed) = peers.seal_to(self.key(), &context)?;
        let public = own.slot(disk, generation, peers).public().clone();
        Ok(PeersSlot {
            own,
            parameters: PeersParameters {
                generation,
                sealed: PeerBox { encapsulation, sealed_half: sealed },
            },
            public,
        })
    }
}

impl PeerSecretKey {
    /// The pair of a private key that was unwrapped.
    pub(crate) fn from_private(private: KeyBytes) -> Self {
        let public = PeerPublicKey::of(&hazmat::public_key_of(private.bytes()));
        Self { bytes: private, public }
    }

    /// Opens the box of a request that was granted, and seals what is in it to who asked.
    ///
    /// # Errors
    ///
    /// Always the same one, whatever is wrong: a box of another member, generation or key, a
    /// damaged one, a key that cannot be agreed with.
    pub fn release(&self, release: &Release) -> Result<(Encapsulation, WrappedKey), OpenError> {
        let context = Context::PeerBox {
            disk: release.disk,
            generation: release.generation,
            peer_key_id: self.public.id(),
        };
        let half = PeersHalf::open(
            &self.bytes,
            &context.encode(),
            &release.sealed.encapsulation,
            &release.sealed.sealed_half,
        )?;
        half.seal_to(release.public_key.key(), &release.context())
    }
}

/// The half of a slot's seed that the member itself keeps, outside its key file.
pub struct OwnHalf(KeyBytes);

impl OwnHalf {
    pub(crate) const fn of(bytes: KeyBytes) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        self.0.bytes()
    }

    /// Of the answer to a request, makes the key of the slot with this public half.
    ///
    /// # Errors
    ///
    /// Always the same one, whatever is wrong: the answer to another request, the half of another
    /// generation, or a half that is not the slot's.
    pub fn recover(
        &self,
        release: &Release,
        secret: &ReleaseSecretKey,
        encapsulation: &Encapsulation,
        sealed: &WrappedKey,
        slot: &SlotPublicKey,
    ) -> Result<SlotSecretKey, OpenError> {
        let peers = PeersHalf::open(&secret.bytes, &release.context(), encapsulation, sealed)?;
        let key = self.slot(release.disk, release.generation, &peers);
        if key.public() == slot { Ok(key) } else { Err(OpenError) }
    }

    fn slot(&self, disk: Disk, generation: u64, peers: &PeersHalf) -> SlotSecretKey {
        let context = Context::PeerSlot { disk, generation }.encode();
        let seed = KeyBytes::born(|seed| {
            hazmat::hkdf_of_two(self.0.bytes(), peers.0.bytes(), &context, seed);
        });
        SlotSecretKey::derive(&seed)
    }
}

/// The half that the member's peers can open.
struct PeersHalf(KeyBytes);

impl PeersHalf {
    /// Seals the half to a public key (HPKE), in a context.
    fn seal_to(
        &self,
        public: &[u8],
        context: &[u8],
    ) -> Result<(Encapsulation, WrappedKey), OpenError> {
        let mut encapsulated = [0; 32];
        let key = KeyBytes::try_born(|key| {
            encapsulated = hazmat::encapsulate(public, context, key)?;
            Ok(())
        })?;
        let sealed = hazmat::encrypt(key.bytes(), key.id("peers"), context, &[self.0.bytes()]);
        let sealed =
            WrappedKey::new(sealed.into()).expect("what was just wrapped has a whole header");
        Ok((Encapsulation::x25519(&encapsulated), sealed))
    }

    fn open(
        private: &KeyBytes,
        context: &[u8],
        encapsulation: &Encapsulation,
        sealed: &WrappedKey,
    ) -> Result<Self, OpenError> {
        let key = KeyBytes::try_born(|key| {
            hazmat::decapsulate(private.bytes(), encapsulation.key(), context, key)
        })?;
        let bytes = hazmat::decrypt_exact::<KEY_BYTES>(key.bytes(), context, sealed.as_bytes())?;
        Ok(Self(KeyBytes::born(|half| half.copy_from_slice(&**bytes))))
    }
}

/// A slot that was just made.
pub struct PeersSlot {
    /// What the member keeps.
    pub own: OwnHalf,
    /// What goes into its key file.
    pub parameters: PeersParameters,
    /// Whom the key file is sealed to.
    pub public: SlotPublicKey,
}

impl PeersSlot {
    /// As the key file is sealed to it.
    pub fn recipient(&self) -> Recipient {
        Recipient::new(self.public.clone(), &SlotParameters::Peers(self.parameters.clone()))
    }
}

/// The peers' half as the member has it: sealed to the peer key. Public.
///
/// Bytes: `KEM id ‖ encapsulated key ‖ header ‖ half ‖ tag`, 124 of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerBox {
    encapsulation: Encapsulation,
    sealed_half: WrappedKey,
}

impl PeerBox {
    /// Reads a box: whether it opens is not known yet. None if it is not one of this version.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BOX_BYTES] = bytes.try_into().ok()?;
        let (encapsulation, sealed) = bytes.split_first_chunk::<ENCAPSULATION_BYTES>()?;
        let [FORMAT, ALGORITHM_XCHACHA20_POLY1305, ..] = sealed else { return None };
        Some(Self {
            encapsulation: Encapsulation::new(encapsulation.to_vec().into()).ok()?,
            sealed_half: WrappedKey::new(sealed.to_vec().into()).ok()?,
        })
    }

    /// As it travels, and as it is kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.encapsulation.as_bytes()[..], self.sealed_half.as_bytes()].concat()
    }
}

/// What a member needs of its slot beside its own half and its peers: in its key file, in clear.
///
/// Bytes: the CBOR array `[generation, box]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeersParameters {
    generation: u64,
    sealed: PeerBox,
}

/// The parameters as they are encoded, well formed or not.
#[derive(Encode, Decode)]
pub(crate) struct Fields {
    #[n(0)]
    generation: u64,
    #[cbor(n(1), with = "minicbor::bytes")]
    sealed: Vec<u8>,
}

impl PeersParameters {
    pub(crate) fn new(fields: &Fields) -> Option<Self> {
        let sealed = PeerBox::parse(&fields.sealed)?;
        (fields.generation > 0).then_some(Self { generation: fields.generation, sealed })
    }

    pub(crate) fn fields(&self) -> Fields {
        Fields { generation: self.generation, sealed: self.sealed.to_bytes() }
    }

    /// Which generation it is: the log index of the entry that staged it.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// What the peers open.
    pub const fn sealed(&self) -> &PeerBox {
        &self.sealed
    }
}

/// A request of a locked member that was granted: what its answer is bound to.
#[derive(Clone)]
pub struct Release {
    /// Whose disk it is.
    pub disk: Disk,
    /// Of which generation.
    pub generation: u64,
    /// SHA-256 of the public key in the certificate it asked with.
    pub boot_key_digest: [u8; 32],
    /// What it would have opened.
    pub sealed: PeerBox,
    /// The key it made for this request.
    pub public_key: ReleasePublicKey,
    /// Random, of this request.
    pub nonce: [u8; 32],
    /// The log index of the entry that granted it.
    pub grant: u64,
}

impl Release {
    /// The member that asked.
    pub const fn member(&self) -> MemberId {
        self.disk.member
    }

    fn context(&self) -> Vec<u8> {
        Context::Release {
            disk: self.disk,
            generation: self.generation,
            boot_key_digest: &self.boot_key_digest,
            box_digest: &digest_of(&self.sealed.to_bytes()),
            public_key: self.public_key.as_bytes(),
            nonce: &self.nonce,
            grant: self.grant,
        }
        .encode()
    }
}

#[cfg(test)]
mod tests {
    use proto::hex;
    use proto::id::{Incarnation, Realm};

    use super::*;

    fn key(fill: u8) -> KeyBytes {
        KeyBytes::born(|bytes| bytes.fill(fill))
    }

    fn bytes(text: &str) -> Vec<u8> {
        let pairs = text.as_bytes().chunks(2);
        pairs.map(|pair| hex::decode::<1>(str::from_utf8(pair).unwrap()).unwrap()[0]).collect()
    }

    const DISK: Disk = Disk {
        realm: Realm::from_bytes([4; 16]),
        incarnation: Incarnation(5),
        member: MemberId(6),
    };

    const KNOWN_PEER_KEY: &str = "d8d9d5a81f85e5b7cf045fc4279f0303";
    const KNOWN_SLOT: &str = "594d0e7ce85b645b521a4bb484b9be09";
    const KNOWN_BOX: &str = "\
        002039e3bc7ded7129d15381efdaa47eb780229ea0386e9898abf6e79523d4bf5e470101b5e3cbaf\
        a6f7d67bfd704f5e16476737d5d7c57d450782e6e559a5a150a0e9c053a854ccd0e0dd386c65b86b\
        0d120ebabcd7503e1647907513d6b831fed956f7b3c4f040b7037f0481799c3b319879ae99ff5eed\
        8fb3014d";
    const KNOWN_ANSWER: &str = "\
        0020d5279a82e7c8976744675b734572fb74b8e51e8d2e7e88286543ea542ae4282f010147de695e\
        ff13022b7495cc0671529d67b0e30d586de4d3385df127fd0c8a84b52f7f1644acd83514b140de18\
        e961957c11e6d4bff6b618c1902832a0d6929e608539cdea827b6936f5a579829d970c38e7d94a9d\
        0f83c119";

    /// What a version once wrote is read by all later ones: nothing in this test is drawn anew.
    #[test]
    fn known_values_stay_what_they_were() {
        let peer = PeerSecretKey::derive(&key(1));
        let (own, peers) = (OwnHalf(key(2)), PeersHalf(key(3)));
        assert_eq!(peer.public().id().to_string(), KNOWN_PEER_KEY);
        let slot = own.slot(DISK, 7, &peers);
        assert_eq!(slot.public().id().to_string(), KNOWN_SLOT);

        let asked = ReleaseSecretKey::derive(&key(8));
        let release = Release {
            disk: DISK,
            generation: 7,
            boot_key_digest: [10; 32],
            sealed: PeerBox::parse(&bytes(KNOWN_BOX)).unwrap(),
            public_key: asked.public().clone(),
            nonce: [9; 32],
            grant: 11,
        };
        assert!(peer.release(&release).is_ok(), "the known box opens");
        let answer = bytes(KNOWN_ANSWER);
        let (encapsulation, sealed) = answer.split_at(ENCAPSULATION_BYTES);
        let encapsulation = Encapsulation::new(encapsulation.to_vec().into()).unwrap();
        let sealed = WrappedKey::new(sealed.to_vec().into()).unwrap();
        let opened = own.recover(&release, &asked, &encapsulation, &sealed, slot.public());
        assert_eq!(opened.unwrap().public(), slot.public());
    }

    #[test]
    fn a_box_has_the_bytes_that_parsing_takes() {
        let peer = PeerSecretKey::make();
        let slot = peer.public().make_slot(DISK, 7).unwrap();
        let sealed = slot.parameters.sealed().to_bytes();
        assert_eq!(sealed.len(), BOX_BYTES);
        assert_eq!(PeerBox::parse(&sealed).as_ref(), Some(slot.parameters.sealed()));
    }

    #[test]
    fn neither_half_stands_in_for_the_other() {
        let slot = |own, peers| {
            let slot = OwnHalf(key(own)).slot(DISK, 7, &PeersHalf(key(peers)));
            slot.public().id()
        };
        assert_eq!(slot(2, 3), slot(2, 3));
        for (own, peers) in [(3, 2), (2, 2), (3, 3), (2, 4), (4, 3)] {
            assert_ne!(slot(own, peers), slot(2, 3), "{own}, {peers}");
        }
    }
}
