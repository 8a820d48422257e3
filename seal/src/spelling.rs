//! How secrets are spelled for people: `SECKEY-1-K7WQ4M-…`, copied, printed, read out and typed.
//!
//! ```text
//! word = prefix "-1-" groups of six characters, dashes between     five bits a character
//!        bytes, zero bits to fill the last character, checksum of six characters
//! ```
//!
//! **Alphabet**: Crockford's base 32, digits and letters without I, L, O and U. Case does not
//! count, O is read as 0, I and L as 1: what looks alike is alike. Hexadecimal would be a quarter
//! longer, and base64 (Docker's `SWMKEY`) has letters in two cases and no checksum.
//!
//! **Checksum**: that of Bech32m (BIP 350, as age's keys have one of BIP 173), a BCH code over the
//! same five-bit characters: up to four wrong characters, wherever they are, are always noticed,
//! two exchanged neighbours among them, and one word of 2^30 beyond that passes. It covers the
//! prefix, so a word of one kind never passes for one of another. A CRC counts bits, where people
//! err in characters. It is not a key's hash: it is 30 linear bits of what it stands behind, so it
//! is never shown or kept apart from it.
//!
//! Not here: what the bytes mean. Nor constant time: a word is written and read once, where its
//! owner sits.
//!
//! Invariant: a word has one meaning, and what is written is the one spelling of it that this
//! module writes; what was read or written is left nowhere but in the caller's hands.

use zeroize::Zeroizing;

/// Crockford's base 32; a character's place is its value.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Characters of a group.
const GROUP: usize = 6;

/// Characters of the checksum.
const CHECKSUM: usize = 6;

/// Most characters of a word after its prefix: up to here the checksum keeps its promise.
const CHARACTERS_MAX: usize = 89;

/// A kind of word.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// What it starts with, in capitals; `-1-` follows.
    pub(crate) prefix: &'static str,
    /// What it is called in messages.
    pub(crate) name: &'static str,
}

/// Why a text is not a word of its kind. None of these says anything of the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpellingError {
    /// It starts otherwise: something else was typed.
    #[error("not {name}: expected a word that starts with {prefix}-1-")]
    Prefix {
        /// What was expected, with its article.
        name: &'static str,
        /// What that starts with.
        prefix: &'static str,
    },
    /// Its version is not 1.
    #[error(
        "{prefix} of another version: use the version of secretctl that made it, or a later one"
    )]
    Version {
        /// What it starts with.
        prefix: &'static str,
    },
    /// A character is none that words are written with.
    #[error(
        "group {group} after {prefix}-1-: its character {place} is not one that is used (0-9 and A-Z \
         without U); copy it again"
    )]
    Character {
        /// What the word starts with.
        prefix: &'static str,
        /// The group of six, from 1.
        group: usize,
        /// The place within it, from 1.
        place: usize,
    },
    /// Something is missing, or there is too much.
    #[error(
        "{found} characters after {prefix}-1-, {expected} are needed (dashes and spaces do not \
         count); copy it again, whole"
    )]
    Length {
        /// What the word starts with.
        prefix: &'static str,
        /// Characters that were found.
        found: usize,
        /// Characters that there must be.
        expected: usize,
    },
    /// A slip of the hand: the checksum does not match.
    #[error("{prefix} with a typing slip: its checksum does not match; compare it group by group")]
    Checksum {
        /// What the word starts with.
        prefix: &'static str,
    },
}

/// Characters of `bytes` bytes, the checksum included.
const fn characters(bytes: usize) -> usize {
    (8 * bytes).div_ceil(5) + CHECKSUM
}

/// The word of `bytes`, in a buffer made once.
pub(crate) fn write<const N: usize>(kind: &Kind, bytes: &[u8; N]) -> Zeroizing<String> {
    const { assert!(characters(N) <= CHARACTERS_MAX, "longer than the checksum is good for") };
    let length = characters(N);
    let capacity = kind.prefix.len() + "-1".len() + length + length.div_ceil(GROUP);
    let mut word = Zeroizing::new(String::with_capacity(capacity));
    word.push_str(kind.prefix);
    word.push_str("-1");
    let mut written = 0;
    let mut push = |value: u8| {
        if written % GROUP == 0 {
            word.push('-');
        }
        word.push(char::from(character_of(value)));
        written += 1;
    };
    let mut checksum = Checksum::of(kind);
    five_bits_each(bytes, |value| {
        checksum.absorb(value);
        push(value);
    });
    for value in checksum.finish() {
        push(value);
    }
    assert_eq!(word.len(), capacity, "a buffer of secrets is never grown");
    word
}

/// Reads a word of `N` bytes into `bytes`, which hold nothing of use if it fails.
///
/// Dashes and white space do not count after the prefix; case does not count.
pub(crate) fn read<const N: usize>(
    kind: &Kind,
    text: &[u8],
    bytes: &mut [u8; N],
) -> Result<(), SpellingError> {
    const { assert!(characters(N) <= CHARACTERS_MAX, "longer than the checksum is good for") };
    let prefix = kind.prefix;
    let mut values = Zeroizing::new([0; CHARACTERS_MAX]);
    let mut found = 0;
    for character in after_prefix(kind, text)? {
        if *character == b'-' || character.is_ascii_whitespace() {
            continue;
        }
        let (group, place) = (found / GROUP + 1, found % GROUP + 1);
        let value =
            value_of(*character).ok_or(SpellingError::Character { prefix, group, place })?;
        if let Some(free) = values.get_mut(found) {
            *free = value;
        }
        found += 1;
    }
    let expected = characters(N);
    let values = values.get(..expected).filter(|_| found == expected);
    let values = values.ok_or(SpellingError::Length { prefix, found, expected })?;
    let mut checksum = Checksum::of(kind);
    for value in values {
        checksum.absorb(*value);
    }
    if checksum.holds() && eight_bits_each(values, bytes) {
        Ok(())
    } else {
        Err(SpellingError::Checksum { prefix })
    }
}

/// What follows `prefix "-1-"`.
fn after_prefix<'a>(kind: &Kind, text: &'a [u8]) -> Result<&'a [u8], SpellingError> {
    let Kind { prefix, name } = *kind;
    let foreign = SpellingError::Prefix { name, prefix };
    let text = text.trim_ascii();
    let (start, rest) = text.split_at_checked(prefix.len()).ok_or(foreign)?;
    let rest = rest.strip_prefix(b"-").filter(|_| start.eq_ignore_ascii_case(prefix.as_bytes()));
    let rest = rest.ok_or(foreign)?;
    let end = rest.iter().position(|character| *character == b'-').ok_or(foreign)?;
    match rest.split_at_checked(end).ok_or(foreign)? {
        ([version], body) if value_of(*version) == Some(1) => Ok(body),
        ([_, ..], _) if end <= 3 && rest.iter().take(end).all(u8::is_ascii_digit) => {
            Err(SpellingError::Version { prefix })
        }
        _ => Err(foreign),
    }
}

fn character_of(value: u8) -> u8 {
    *ALPHABET.get(usize::from(value)).expect("five bits are one of thirty-two characters")
}

fn value_of(character: u8) -> Option<u8> {
    let character = match character.to_ascii_uppercase() {
        b'O' => b'0',
        b'I' | b'L' => b'1',
        other => other,
    };
    let place = ALPHABET.iter().position(|known| *known == character)?;
    u8::try_from(place).ok()
}

/// The bits of `bytes` in fives, most significant first, zeros behind the last.
fn five_bits_each(bytes: &[u8], mut each: impl FnMut(u8)) {
    let (mut bits, mut count) = (0_u32, 0_u32);
    for byte in bytes {
        bits = (bits << 8 | u32::from(*byte)) & 0xfff;
        count += 8;
        while count >= 5 {
            count -= 5;
            each(low_five(bits >> count));
        }
    }
    if count > 0 {
        each(low_five(bits << (5 - count)));
    }
}

/// The first bits of `values` as `bytes`; false if a bit behind the last of them is set.
fn eight_bits_each(values: &[u8], bytes: &mut [u8]) -> bool {
    let mut values = values.iter();
    let (mut bits, mut count) = (0_u32, 0_u32);
    for byte in bytes {
        while count < 8 {
            bits = (bits << 5 | u32::from(*values.next().unwrap_or(&0))) & 0xfff;
            count += 5;
        }
        count -= 8;
        *byte = u8::try_from(bits >> count & 0xff).expect("eight bits");
    }
    bits & ((1 << count) - 1) == 0
}

fn low_five(bits: u32) -> u8 {
    u8::try_from(bits & 0x1f).expect("five bits")
}

/// The state of a Bech32m checksum, which depends on all that it absorbed.
struct Checksum(Zeroizing<u32>);

impl Checksum {
    /// The generator of the code (BIP 173).
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];

    /// What a whole word leaves (BIP 350).
    const WHOLE: u32 = 0x2bc8_30a3;

    /// With the prefix and its version absorbed, in small letters, as BIP 173 does.
    fn of(kind: &Kind) -> Self {
        let mut checksum = Self(Zeroizing::new(1));
        let prefix = || kind.prefix.bytes().chain(*b"-1").map(|byte| byte.to_ascii_lowercase());
        for byte in prefix() {
            checksum.absorb(byte >> 5);
        }
        checksum.absorb(0);
        for byte in prefix() {
            checksum.absorb(byte & 0x1f);
        }
        checksum
    }

    fn absorb(&mut self, value: u8) {
        let top = *self.0 >> 25;
        *self.0 = (*self.0 & 0x01ff_ffff) << 5 ^ u32::from(value);
        for (bit, generator) in Self::GENERATOR.iter().enumerate() {
            *self.0 ^= (top >> bit & 1).wrapping_neg() & generator;
        }
    }

    fn finish(mut self) -> [u8; CHECKSUM] {
        for _ in 0..CHECKSUM {
            self.absorb(0);
        }
        let sum = *self.0 ^ Self::WHOLE;
        [25, 20, 15, 10, 5, 0].map(|shift| low_five(sum >> shift))
    }

    fn holds(&self) -> bool {
        *self.0 == Self::WHOLE
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const KIND: Kind = Kind { prefix: "SECTEST", name: "a test" };

    fn is_whole(bech32: &str) -> bool {
        let bech32 = bech32.to_ascii_lowercase();
        let (prefix, body) = bech32.rsplit_once('1').unwrap();
        let mut checksum = Checksum(Zeroizing::new(1));
        prefix.bytes().for_each(|byte| checksum.absorb(byte >> 5));
        checksum.absorb(0);
        prefix.bytes().for_each(|byte| checksum.absorb(byte & 0x1f));
        for character in body.chars() {
            let value = "qpzry9x8gf2tvdw0s3jn54khce6mua7l".find(character).unwrap();
            checksum.absorb(u8::try_from(value).unwrap());
        }
        checksum.holds()
    }

    #[test]
    fn the_checksum_agrees_with_bip_350() {
        let vectors: Value =
            serde_json::from_str(include_str!("../tests/data/bip350.json")).unwrap();
        for (list, whole) in [("valid", true), ("invalid", false)] {
            for bech32 in vectors[list].as_array().unwrap() {
                assert_eq!(is_whole(bech32.as_str().unwrap()), whole, "{bech32}");
            }
        }
    }

    #[test]
    fn the_prefix_is_absorbed_as_bip_173_does() {
        // A word is a Bech32m string in other clothes: prefix "sectest-1", another alphabet.
        let word = write(&KIND, &[0xa5; 32]);
        let body = word.strip_prefix("SECTEST-1-").unwrap().replace('-', "");
        let bech32: String = body
            .bytes()
            .map(|c| "qpzry9x8gf2tvdw0s3jn54khce6mua7l".chars().nth(value_of(c).unwrap().into()))
            .map(Option::unwrap)
            .collect();
        assert!(is_whole(&format!("sectest-11{bech32}")));
    }

    #[test]
    fn what_looks_alike_is_alike_and_no_character_has_two_values() {
        for (value, character) in (0..).zip(ALPHABET) {
            assert_eq!(character_of(value), *character);
            assert_eq!(value_of(*character), Some(value));
            assert_eq!(value_of(character.to_ascii_lowercase()), Some(value));
        }
        for (typed, meant) in [(b'o', 0), (b'O', 0), (b'i', 1), (b'I', 1), (b'l', 1), (b'L', 1)] {
            assert_eq!(value_of(typed), Some(meant));
        }
        let known = (0..=u8::MAX).filter(|byte| value_of(*byte).is_some()).count();
        assert_eq!(known, 10 + 2 * 22 + 6);
    }

    #[test]
    fn bits_behind_the_last_byte_are_zero() {
        // 32 bytes end one bit into a character: the other four have one spelling.
        let mut values = vec![0; 52];
        let mut bytes = [0; 32];
        assert!(eight_bits_each(&values, &mut bytes));
        values[51] = 0x10;
        assert!(eight_bits_each(&values, &mut bytes));
        assert_eq!(bytes[31], 1);
        for spare in 1..0x10 {
            values[51] = spare;
            assert!(!eight_bits_each(&values, &mut bytes), "{spare}");
        }
    }

    #[test]
    fn a_second_spelling_of_the_same_bytes_is_refused() {
        let spell = |last: u8| {
            let mut values = vec![0; 51];
            values.push(last);
            let mut checksum = Checksum::of(&KIND);
            for value in &values {
                checksum.absorb(*value);
            }
            values.extend(checksum.finish());
            let body: String = values.into_iter().map(|v| char::from(character_of(v))).collect();
            read(&KIND, format!("SECTEST-1-{body}").as_bytes(), &mut [0; 32])
        };
        assert_eq!(spell(0x10), Ok(()));
        assert_eq!(spell(0x11), Err(SpellingError::Checksum { prefix: "SECTEST" }));
    }

    proptest! {
        #[test]
        fn bytes_of_all_lengths_survive_fives(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
            let mut values = Vec::new();
            five_bits_each(&bytes, |value| values.push(value));
            prop_assert_eq!(values.len(), (8 * bytes.len()).div_ceil(5));
            let mut read = vec![0; bytes.len()];
            prop_assert!(eight_bits_each(&values, &mut read));
            prop_assert_eq!(read, bytes);
        }

        #[test]
        fn up_to_four_wrong_characters_are_always_noticed(
            bytes in any::<[u8; 43]>(),
            slips in proptest::collection::btree_map(0_usize..75, 1_u8..32, 1..=4),
        ) {
            let word = write(&KIND, &bytes);
            let mut body = word.strip_prefix("SECTEST-1-").unwrap().replace('-', "").into_bytes();
            for (at, slip) in slips {
                body[at] = character_of(value_of(body[at]).unwrap() ^ slip);
            }
            let text = format!("SECTEST-1-{}", String::from_utf8(body).unwrap());
            let slip = SpellingError::Checksum { prefix: "SECTEST" };
            prop_assert_eq!(read(&KIND, text.as_bytes(), &mut [0; 43]), Err(slip));
        }

        #[test]
        fn a_word_of_one_kind_is_none_of_another(bytes in any::<[u8; 32]>()) {
            let word = write(&KIND, &bytes).replace("SECTEST", "SECKEYS");
            let kind = Kind { prefix: "SECKEYS", name: "another" };
            let slip = SpellingError::Checksum { prefix: "SECKEYS" };
            prop_assert_eq!(read(&kind, word.as_bytes(), &mut [0; 32]), Err(slip));
        }
    }
}
