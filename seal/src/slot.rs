//! What a slot needs beside its secret, by kind: the `parameters` of a recipient, as a type.
//!
//! They stand in the state and in the header of every key file, in clear. The header is
//! authenticated, but only by opening the file, for which the parameters are needed first: until
//! then they are anybody's words. So each kind has one encoding and bounds, and what is out of
//! bounds is refused before anything is allocated, computed or run.
//!
//! Not here: using them (`passphrase.rs`, `shares.rs`, `peers.rs`), running a command (store).
//! Invariant: a value of these types is within its bounds, and has one encoding.

use minicbor::{Decode, Encode};
use proto::id::KeyId;
use proto::limits::{
    SLOT_COMMAND_BYTES_MAX, SLOT_COMMAND_SECONDS_MAX, SLOT_PARAMETERS_BYTES_MAX,
    UNLOCK_KEYS_REMEMBERED,
};

use crate::keyfile::{Recipient, SlotKind, SlotPublicKey};
use crate::passphrase::{self, CostsError, PassphraseCosts};
use crate::peers::{self, PeersParameters};
use crate::shares::{self, ShareParameters};

/// What recovering a slot's seed needs beside the secret. Public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotParameters {
    /// The unlock key is the seed; which ones came before.
    UnlockKey(UnlockKeys),
    /// Salt and costs.
    Passphrase(PassphraseCosts),
    /// The split, how many shares are needed, a hash of each.
    Shares(ShareParameters),
    /// The file is the seed, and where it lies is each manager's configuration; which unlock keys
    /// came before.
    File(UnlockKeys),
    /// What to run.
    Command(SlotCommand),
    /// Which generation of the manager's, and the half that its peers can open.
    Peers(PeersParameters),
}

/// The bytes are not parameters of the slot's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParametersError {
    /// Another encoding, another kind's, or one of a later version.
    #[error("not the parameters of a {} slot, or those of a later version", kind.as_str())]
    Form {
        /// Of which kind they should be.
        kind: SlotKind,
    },
    /// Costs of a passphrase.
    #[error(transparent)]
    Costs(#[from] CostsError),
    /// A command that is not run.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl SlotParameters {
    /// Reads the parameters of a slot of this kind.
    ///
    /// # Errors
    ///
    /// If they are out of bounds or not what [`Self::to_bytes`] writes.
    pub fn parse(kind: SlotKind, bytes: &[u8]) -> Result<Self, ParametersError> {
        let form = ParametersError::Form { kind };
        if bytes.len() > SLOT_PARAMETERS_BYTES_MAX {
            return Err(form);
        }
        match kind {
            SlotKind::UnlockKey => UnlockKeys::parse(bytes).map(Self::UnlockKey).ok_or(form),
            SlotKind::File => UnlockKeys::parse(bytes).map(Self::File).ok_or(form),
            SlotKind::Passphrase => {
                let fields: passphrase::Fields = decode(bytes).ok_or(form)?;
                Ok(Self::Passphrase(PassphraseCosts::new(fields)?))
            }
            SlotKind::Command => {
                let fields: CommandFields<'_> = decode(bytes).ok_or(form)?;
                Ok(Self::Command(SlotCommand::new(fields.path.to_owned(), fields.seconds)?))
            }
            SlotKind::Shares => {
                let fields: shares::Fields = decode(bytes).ok_or(form)?;
                ShareParameters::new(fields).map(Self::Shares).ok_or(form)
            }
            SlotKind::Peers => {
                let fields: peers::Fields = decode(bytes).ok_or(form)?;
                PeersParameters::new(&fields).map(Self::Peers).ok_or(form)
            }
        }
    }

    /// As they stand in a recipient.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::UnlockKey(keys) | Self::File(keys) => keys.to_bytes(),
            Self::Passphrase(costs) => encode(costs.fields()),
            Self::Shares(shares) => encode(shares.fields()),
            Self::Command(command) => {
                encode(&CommandFields { path: &command.path, seconds: command.seconds })
            }
            Self::Peers(peers) => encode(&peers.fields()),
        }
    }

    /// The kind of slot they are for.
    pub const fn kind(&self) -> SlotKind {
        match self {
            Self::UnlockKey(_) => SlotKind::UnlockKey,
            Self::Passphrase(_) => SlotKind::Passphrase,
            Self::Shares(_) => SlotKind::Shares,
            Self::File(_) => SlotKind::File,
            Self::Command(_) => SlotKind::Command,
            Self::Peers(_) => SlotKind::Peers,
        }
    }
}

impl Recipient {
    /// A slot as a key file is sealed to it.
    pub fn new(public: SlotPublicKey, parameters: &SlotParameters) -> Self {
        Self { kind: parameters.kind(), public, parameters: parameters.to_bytes() }
    }

    /// Its parameters; true once the key file that named them was opened.
    ///
    /// # Errors
    ///
    /// If they are not those of its kind, or out of bounds.
    pub fn slot_parameters(&self) -> Result<SlotParameters, ParametersError> {
        SlotParameters::parse(self.kind, &self.parameters)
    }
}

fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("encoding into memory cannot fail")
}

/// Decodes what [`encode`] wrote and nothing else: no second spelling, no field of a later version
/// that would be passed over.
fn decode<'b, T: Encode<()> + Decode<'b, ()>>(bytes: &'b [u8]) -> Option<T> {
    let value = minicbor::decode(bytes).ok()?;
    (encode(&value) == bytes).then_some(value)
}

/// Unlock keys that are or were in use, newest first: the generation of the recipients that each
/// came with, and its id. So an older key is told from a wrong one. At most eight.
///
/// Bytes: `generation (u64, big endian) ‖ key id (16)`, as often as there are keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnlockKeys(Vec<(u64, KeyId)>);

impl UnlockKeys {
    /// Bytes of one key.
    const BYTES: usize = 8 + 16;

    /// The first eight of these.
    pub fn new(keys: impl IntoIterator<Item = (u64, KeyId)>) -> Self {
        Self(keys.into_iter().take(UNLOCK_KEYS_REMEMBERED).collect())
    }

    /// Each with the generation it came in.
    pub fn iter(&self) -> impl Iterator<Item = (u64, KeyId)> {
        self.0.iter().copied()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (keys, rest) = bytes.as_chunks::<{ Self::BYTES }>();
        if !rest.is_empty() || keys.len() > UNLOCK_KEYS_REMEMBERED {
            return None;
        }
        let key = |bytes: &[u8; Self::BYTES]| {
            let (generation, id) = bytes.split_first_chunk::<8>()?;
            Some((u64::from_be_bytes(*generation), KeyId::try_from(id).ok()?))
        };
        keys.iter().map(key).collect::<Option<_>>().map(Self)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let key = |(generation, id): (u64, KeyId)| {
            [&generation.to_be_bytes()[..], id.as_bytes()].concat()
        };
        self.iter().flat_map(key).collect()
    }
}

/// A program that prints a slot's seed: exactly 32 bytes, within a time.
///
/// One file and no arguments: who may change what runs is then who may change that file, which the
/// manager checks, and a tampered key file cannot make a shell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotCommand {
    path: String,
    seconds: u32,
}

/// A command as it is encoded, one that may be run or not.
#[derive(Encode, Decode)]
struct CommandFields<'a> {
    #[b(0)]
    path: &'a str,
    #[n(1)]
    seconds: u32,
}

/// A command that no manager runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// What it names depends on where it is run, or is spelled in a roundabout way.
    #[error(
        "not the absolute path of a program: it starts with `/` and has no empty part, no `.` and \
         no `..`, at most {SLOT_COMMAND_BYTES_MAX} bytes"
    )]
    Path,
    /// It would be waited for too long, or not at all.
    #[error("a command has 1 to {SLOT_COMMAND_SECONDS_MAX} seconds")]
    Seconds,
}

impl SlotCommand {
    /// The command at this absolute path, given up after `seconds`.
    ///
    /// # Errors
    ///
    /// If the path is not absolute and plain, or the time out of bounds.
    pub fn new(path: String, seconds: u32) -> Result<Self, CommandError> {
        let plain = |part: &str| !matches!(part, "" | "." | "..");
        let parts = path.strip_prefix('/').filter(|_| path.len() <= SLOT_COMMAND_BYTES_MAX);
        let is_plain = parts.is_some_and(|parts| parts.split('/').all(plain));
        if !is_plain || path.chars().any(char::is_control) {
            return Err(CommandError::Path);
        }
        if !(1..=SLOT_COMMAND_SECONDS_MAX).contains(&seconds) {
            return Err(CommandError::Seconds);
        }
        Ok(Self { path, seconds })
    }

    /// The program.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// How long it may take, in seconds.
    pub const fn seconds(&self) -> u32 {
        self.seconds
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KINDS: [SlotKind; 6] = [
        SlotKind::UnlockKey,
        SlotKind::Passphrase,
        SlotKind::Shares,
        SlotKind::File,
        SlotKind::Command,
        SlotKind::Peers,
    ];

    fn costs(memory_kib: u32, passes: u32, lanes: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = minicbor::Encoder::new(&mut bytes);
        encoder.array(4).unwrap().bytes(&[7; 16]).unwrap();
        encoder.u32(memory_kib).unwrap().u32(passes).unwrap().u32(lanes).unwrap();
        bytes
    }

    fn command(path: &str, seconds: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        minicbor::Encoder::new(&mut bytes)
            .array(2)
            .unwrap()
            .str(path)
            .unwrap()
            .u32(seconds)
            .unwrap();
        bytes
    }

    fn shares(needed: u8, hashes: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = minicbor::Encoder::new(&mut bytes);
        encoder.array(3).unwrap().bytes(&[7; 8]).unwrap();
        encoder.u8(needed).unwrap().bytes(hashes).unwrap();
        bytes
    }

    fn peers(generation: u64, sealed: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = minicbor::Encoder::new(&mut bytes);
        encoder.array(2).unwrap().u64(generation).unwrap().bytes(sealed).unwrap();
        bytes
    }

    /// Laid out as a box is; it opens with no key.
    fn peer_box() -> Vec<u8> {
        let encapsulation = proto::sealed::Encapsulation::x25519(&[7; 32]);
        [encapsulation.as_bytes(), &[1, 1][..], &[9; 88]].concat()
    }

    #[test]
    fn parameters_survive_their_bytes_under_their_own_kind_only() {
        let all = [
            (SlotKind::UnlockKey, vec![]),
            (SlotKind::UnlockKey, vec![7; 2 * 24]),
            (SlotKind::File, vec![]),
            (SlotKind::File, vec![7; 24]),
            (SlotKind::Passphrase, costs(64 << 10, 3, 1)),
            (SlotKind::Shares, shares(2, &[9; 3 * 32])),
            (SlotKind::Command, command("/usr/lib/secretd/unseal", 30)),
            (SlotKind::Peers, peers(u64::MAX, &peer_box())),
        ];
        for (kind, bytes) in all {
            let parameters = SlotParameters::parse(kind, &bytes).unwrap();
            assert_eq!((parameters.kind(), parameters.to_bytes()), (kind, bytes.clone()));
            for other in KINDS {
                // Both of these remember unlock keys.
                let alike = [SlotKind::UnlockKey, SlotKind::File];
                let is_read = other == kind || alike.contains(&kind) && alike.contains(&other);
                assert_eq!(SlotParameters::parse(other, &bytes).is_ok(), is_read, "{other:?}");
            }
        }
    }

    #[test]
    fn eight_unlock_keys_are_remembered_the_newest_first() {
        let key = |n: u8| (u64::from(n), KeyId::from_bytes([n; 16]));
        let keys = UnlockKeys::new((1..=9).rev().map(key));
        assert!(keys.iter().eq((2..=9).rev().map(key)));
        let bytes = SlotParameters::UnlockKey(keys.clone()).to_bytes();
        assert_eq!(bytes.len(), 8 * 24);
        assert_eq!(bytes[..24], [&[0, 0, 0, 0, 0, 0, 0, 9], &[9; 16][..]].concat());
        let read = SlotParameters::parse(SlotKind::UnlockKey, &bytes);
        assert_eq!(read, Ok(SlotParameters::UnlockKey(keys)));
        for wrong in [1, 23, 25, 9 * 24] {
            let refused = SlotParameters::parse(SlotKind::UnlockKey, &vec![0; wrong]);
            assert_eq!(refused, Err(ParametersError::Form { kind: SlotKind::UnlockKey }));
        }
    }

    const MIB_64: u32 = 64 << 10;

    #[test]
    fn costs_are_bounded_from_both_sides() {
        let parse = |memory, passes, lanes| {
            SlotParameters::parse(SlotKind::Passphrase, &costs(memory, passes, lanes))
        };
        let refused = |memory_kib, passes, lanes| {
            let error = parse(memory_kib, passes, lanes).unwrap_err();
            assert!(matches!(error, ParametersError::Costs(_)), "{error:?}");
        };
        for (memory, passes, lanes) in [(MIB_64, 3, 1), (1 << 20, 16, 4)] {
            assert!(parse(memory, passes, lanes).is_ok());
        }
        refused(MIB_64 - 1, 3, 1);
        refused((1 << 20) + 1, 3, 1);
        refused(u32::MAX, u32::MAX, u32::MAX);
        refused(MIB_64, 2, 1);
        refused(MIB_64, 17, 1);
        refused(MIB_64, 3, 0);
        refused(MIB_64, 3, 5);
        assert_eq!(
            parse(8, 1, 1).unwrap_err().to_string(),
            "argon2id with 8 KiB, 1 passes and 1 lanes is out of bounds (65536 to 1048576 KiB, 3 \
             to 16 passes, 1 to 4 lanes)"
        );
    }

    #[test]
    fn a_command_is_an_absolute_plain_path_and_a_time() {
        let new = |path: &str, seconds| SlotCommand::new(path.into(), seconds);
        let long = format!("/{}", "x".repeat(SLOT_COMMAND_BYTES_MAX - 1));
        for path in ["/a", "/usr/bin/systemd-creds", "/opt/a b/é", "/a.b/..c", &long] {
            assert_eq!(new(path, 1).unwrap().path(), path);
        }
        let longer = format!("{long}x");
        for path in [
            "", "/", "a", "./a", "//a", "/a/", "/a//b", "/./a", "/a/..", "/../a", "/a\n", "/a\0b",
            &longer,
        ] {
            assert_eq!(new(path, 1), Err(CommandError::Path), "{path:?}");
            let error = SlotParameters::parse(SlotKind::Command, &command(path, 1)).unwrap_err();
            assert_eq!(error, CommandError::Path.into());
        }
        assert_eq!(new("/a", 0), Err(CommandError::Seconds));
        assert_eq!(new("/a", SLOT_COMMAND_SECONDS_MAX).unwrap().seconds(), 60);
        assert_eq!(new("/a", SLOT_COMMAND_SECONDS_MAX + 1), Err(CommandError::Seconds));
    }

    #[test]
    fn shares_are_two_to_sixteen_with_a_whole_hash_each() {
        let parse = |needed, hashes: usize| {
            SlotParameters::parse(SlotKind::Shares, &shares(needed, &vec![9; hashes]))
        };
        for (needed, of) in [(2, 2), (2, 16), (16, 16)] {
            let parameters = parse(needed, usize::from(of) * 32).unwrap();
            let SlotParameters::Shares(parameters) = parameters else { panic!("{parameters:?}") };
            assert_eq!((parameters.needed(), parameters.of()), (needed, of));
        }
        let form = Err(ParametersError::Form { kind: SlotKind::Shares });
        for (needed, hashes) in [
            (1, 2 * 32),
            (0, 2 * 32),
            (3, 2 * 32),
            (2, 17 * 32),
            (2, 0),
            (2, 2 * 32 + 1),
            (2, 2 * 32 - 1),
        ] {
            assert_eq!(parse(needed, hashes), form, "{needed} of {hashes} bytes");
        }
    }

    #[test]
    fn a_peers_slot_has_a_generation_and_a_whole_box() {
        let parse = |generation, sealed: &[u8]| {
            SlotParameters::parse(SlotKind::Peers, &peers(generation, sealed))
        };
        let whole = peer_box();
        assert!(parse(1, &whole).is_ok());
        let form = Err(ParametersError::Form { kind: SlotKind::Peers });
        assert_eq!(parse(0, &whole), form, "no entry of a log has the index 0");
        assert_eq!(parse(1, &whole[1..]), form);
        assert_eq!(parse(1, &[&whole[..], &[0]].concat()), form);
        assert_eq!(parse(1, &[]), form);
        for at in [0, 1, 34, 35] {
            let mut strange = whole.clone();
            strange[at] ^= 0x80;
            assert_eq!(parse(1, &strange), form, "a KEM, a format or an algorithm: {at}");
        }
    }

    #[test]
    fn there_is_one_encoding_and_no_room_for_what_is_not_known() {
        let known = costs(64 << 10, 3, 1);
        let parse = |bytes: &[u8]| SlotParameters::parse(SlotKind::Passphrase, bytes);
        assert!(parse(&known).is_ok());
        let form = Err(ParametersError::Form { kind: SlotKind::Passphrase });
        // A field more, a byte more, a longer spelling of the same number, a salt cut short.
        let mut more = known.clone();
        more[0] = 0x85;
        more.push(0);
        assert_eq!(parse(&more), form);
        assert_eq!(parse(&[&known[..], &[0]].concat()), form);
        let three = known.len() - 2;
        assert_eq!(known[three], 3);
        assert_eq!(parse(&[&known[..three], &[0x18, 3], &known[three + 1..]].concat()), form);
        assert_eq!(parse(&known[..known.len() - 1]), form);
        let mut short = known.clone();
        short[1] = 0x4f;
        short.remove(2);
        assert_eq!(parse(&short), form);
        assert_eq!(parse(&[0; SLOT_PARAMETERS_BYTES_MAX + 1]), form);
    }

    #[test]
    fn the_largest_parameters_fit() {
        let path = format!("/{}", "x".repeat(SLOT_COMMAND_BYTES_MAX - 1));
        let command = SlotCommand::new(path, SLOT_COMMAND_SECONDS_MAX).unwrap();
        let bytes = SlotParameters::Command(command).to_bytes();
        assert!(bytes.len() <= SLOT_PARAMETERS_BYTES_MAX, "{}", bytes.len());
        assert!(SlotParameters::parse(SlotKind::Command, &bytes).is_ok());
        let bytes = shares(16, &[9; 16 * 32]);
        assert!(bytes.len() <= SLOT_PARAMETERS_BYTES_MAX, "{}", bytes.len());
    }

    proptest! {
        #[test]
        fn any_bytes_are_parameters_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            kind in 0..6_usize,
        ) {
            if let Ok(parameters) = SlotParameters::parse(KINDS[kind], &bytes) {
                prop_assert_eq!(parameters.to_bytes(), bytes);
            }
        }

        #[test]
        fn a_changed_byte_is_refused_or_other_parameters(
            at in any::<proptest::sample::Index>(),
            change in 1..=u8::MAX,
            is_command in any::<bool>(),
        ) {
            let (kind, mut bytes) = if is_command {
                (SlotKind::Command, command("/usr/bin/unseal", 30))
            } else {
                (SlotKind::Passphrase, costs(65_536, 3, 1))
            };
            let before = SlotParameters::parse(kind, &bytes).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            if let Ok(parameters) = SlotParameters::parse(kind, &bytes) {
                prop_assert_ne!(&parameters, &before);
                prop_assert_eq!(parameters.to_bytes(), bytes);
            }
        }
    }
}
