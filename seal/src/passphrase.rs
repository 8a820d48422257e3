//! A slot that a passphrase opens: argon2id (RFC 9106) makes its seed.
//!
//! The costs and the salt stand in the key file, which is not authenticated before it is opened:
//! they are bounded from both sides when they are read. So a tampered file can neither make a
//! passphrase cheap to guess nor a manager run out of memory, and a wrong salt or cost gives a
//! seed that opens nothing.
//!
//! A passphrase is taken as it is typed, byte for byte. Under 14 characters none is taken; whether
//! a longer one is good cannot be measured, so a generated one is offered.
//!
//! Not here: asking for it (secretctl).
//! Invariant: `PassphraseCosts` are within their bounds; the passphrase, the working memory and the
//! seed are wiped.

use minicbor::{Decode, Encode};
use proto::limits::{
    ARGON2_LANES_MAX, ARGON2_MEMORY_KIB_MAX, ARGON2_MEMORY_KIB_MIN, ARGON2_PASSES_MAX,
    ARGON2_PASSES_MIN, PASSPHRASE_BYTES_MAX, PASSPHRASE_CHARACTERS_MIN,
};
use zeroize::Zeroizing;

use crate::hazmat::{self, Costs, KEY_BYTES};
use crate::key::KeyBytes;
use crate::keyfile::{SlotPublicKey, SlotSecretKey};

/// Bytes of a salt: RFC 9106 (section 3.1) recommends 16.
const SALT_BYTES: usize = 16;

/// Syllables of a generated passphrase, 16 bits each: 96 bits, which no search exhausts.
const SYLLABLES: usize = 6;

/// A passphrase in somebody's buffer, which is theirs to wipe.
pub struct Passphrase<'a>(&'a str);

/// Why a text is not a passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseError {
    /// There is nothing.
    #[error("the passphrase is empty")]
    Empty,
    /// It is too long to be one.
    #[error("the passphrase is longer than {PASSPHRASE_BYTES_MAX} bytes")]
    TooLong,
    /// It could not be typed again: not UTF-8, or a line's end or another control character in it.
    #[error("the passphrase is not one line of text: it could not be typed at a prompt")]
    NotTypable,
}

/// Why a new slot, or a backup, cannot have a passphrase. One that is there may be opened by it all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NewPassphraseError {
    /// It can be guessed.
    #[error(
        "the passphrase has {characters} characters, {PASSPHRASE_CHARACTERS_MIN} are needed: take \
         a longer one, or one that is generated"
    )]
    TooShort {
        /// How many it has.
        characters: usize,
    },
    /// Its seed could not be made.
    #[error(transparent)]
    NoMemory(#[from] NoMemory),
}

/// The working memory of argon2id could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no memory for a passphrase: {memory_kib} KiB are needed; free them, then try again")]
pub struct NoMemory {
    /// How much, in KiB.
    pub memory_kib: u32,
}

impl<'a> Passphrase<'a> {
    /// Whether something new may be protected by it.
    ///
    /// # Errors
    ///
    /// If it has fewer than 14 characters.
    pub fn check_new(&self) -> Result<(), NewPassphraseError> {
        let characters = self.0.chars().count();
        if characters < PASSPHRASE_CHARACTERS_MIN {
            return Err(NewPassphraseError::TooShort { characters });
        }
        Ok(())
    }

    /// Takes a passphrase as it was typed, without the line's end.
    ///
    /// # Errors
    ///
    /// If it is empty, longer than 1,024 bytes or not one line of text.
    pub fn parse(typed: &'a [u8]) -> Result<Self, PassphraseError> {
        match typed.len() {
            0 => return Err(PassphraseError::Empty),
            length if length > PASSPHRASE_BYTES_MAX => return Err(PassphraseError::TooLong),
            _ => {}
        }
        let text = str::from_utf8(typed).map_err(|_| PassphraseError::NotTypable)?;
        if text.chars().any(char::is_control) {
            return Err(PassphraseError::NotTypable);
        }
        Ok(Self(text))
    }
}

/// A fresh passphrase of 96 random bits that can be read out and typed: `lusab-babad-gutih-…`.
///
/// Proquints (D. S. Wilkerson, arXiv:0901.4016): each syllable group has 16 bits, in letters that
/// are not taken for one another.
pub fn make_passphrase() -> Zeroizing<String> {
    let mut random = Zeroizing::new([0; 2 * SYLLABLES]);
    hazmat::fill_random(&mut *random);
    proquints(&random)
}

fn proquints(bytes: &[u8; 2 * SYLLABLES]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(6 * SYLLABLES - 1));
    let capacity = text.capacity();
    for pair in bytes.chunks_exact(2) {
        let bits = pair.iter().fold(0_u16, |bits, byte| bits << 8 | u16::from(*byte));
        if !text.is_empty() {
            text.push('-');
        }
        for (letters, shift) in [
            ("bdfghjklmnprstvz", 12),
            ("aiou", 10),
            ("bdfghjklmnprstvz", 6),
            ("aiou", 4),
            ("bdfghjklmnprstvz", 0),
        ] {
            let place = usize::from(bits >> shift) % letters.len();
            text.push(letters.chars().nth(place).expect("a place within the letters"));
        }
    }
    assert_eq!(text.capacity(), capacity, "a buffer of secrets is never grown");
    text
}

/// Salt and costs as they are encoded, within their bounds or not.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Fields {
    #[cbor(n(0), with = "minicbor::bytes")]
    salt: [u8; SALT_BYTES],
    #[n(1)]
    memory_kib: u32,
    #[n(2)]
    passes: u32,
    #[n(3)]
    lanes: u32,
}

/// What recovering a passphrase's seed needs beside the passphrase. Public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassphraseCosts(Fields);

/// Costs that are out of bounds: they are not taken, and no memory for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "argon2id with {memory_kib} KiB, {passes} passes and {lanes} lanes is out of bounds \
     ({ARGON2_MEMORY_KIB_MIN} to {ARGON2_MEMORY_KIB_MAX} KiB, {ARGON2_PASSES_MIN} to \
     {ARGON2_PASSES_MAX} passes, 1 to {ARGON2_LANES_MAX} lanes)"
)]
pub struct CostsError {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl PassphraseCosts {
    /// A new passphrase slot: fresh salt, the least costs that are allowed (64 MiB, three passes,
    /// one lane: a fifth of a second).
    ///
    /// # Errors
    ///
    /// If the passphrase has fewer than 14 characters, or memory is short.
    pub fn make_slot(
        passphrase: &Passphrase<'_>,
    ) -> Result<(Self, SlotSecretKey), NewPassphraseError> {
        passphrase.check_new()?;
        let mut fields = Fields {
            salt: [0; SALT_BYTES],
            memory_kib: ARGON2_MEMORY_KIB_MIN,
            passes: ARGON2_PASSES_MIN,
            lanes: 1,
        };
        hazmat::fill_random(&mut fields.salt);
        let costs = Self(fields);
        let slot = costs.slot(passphrase)?;
        Ok((costs, slot))
    }

    /// The slot that the passphrase opens with these costs. A wrong passphrase gives another slot:
    /// compare its public half.
    ///
    /// # Errors
    ///
    /// If memory is short.
    pub fn slot(&self, passphrase: &Passphrase<'_>) -> Result<SlotSecretKey, NoMemory> {
        self.recover(passphrase).map(|seed| SlotSecretKey::derive(&seed))
    }

    /// The seed in clear, for the manager that it is to open: over its own machine's socket only. On
    /// the heap, so that returning it leaves no copy on the stack.
    /// None if it is not the seed of the slot with this public half: a wrong passphrase leaves this
    /// machine no more than a right one.
    ///
    /// # Errors
    ///
    /// If memory is short.
    pub fn expose_seed(
        &self,
        passphrase: &Passphrase<'_>,
        public: &SlotPublicKey,
    ) -> Result<Option<Box<Zeroizing<[u8; KEY_BYTES]>>>, NoMemory> {
        let seed = self.recover(passphrase)?;
        if SlotSecretKey::derive(&seed).public() != public {
            return Ok(None);
        }
        let mut exposed = Box::new(Zeroizing::new([0; KEY_BYTES]));
        exposed.copy_from_slice(seed.bytes());
        Ok(Some(exposed))
    }

    fn recover(&self, passphrase: &Passphrase<'_>) -> Result<KeyBytes, NoMemory> {
        let Fields { salt, memory_kib, passes, lanes } = self.0;
        let costs = Costs { memory_kib, passes, lanes };
        let mut outcome = Ok(());
        let seed = KeyBytes::born(|seed| {
            outcome = hazmat::argon2id(costs, passphrase.0.as_bytes(), &salt, seed);
        });
        outcome.map(|()| seed).map_err(|_| NoMemory { memory_kib })
    }

    /// Memory in KiB, passes and lanes: for people.
    pub const fn costs(&self) -> (u32, u32, u32) {
        (self.0.memory_kib, self.0.passes, self.0.lanes)
    }

    /// What was decoded, if it is within the bounds.
    pub(crate) fn new(fields: Fields) -> Result<Self, CostsError> {
        let Fields { memory_kib, passes, lanes, .. } = fields;
        let within = (ARGON2_MEMORY_KIB_MIN..=ARGON2_MEMORY_KIB_MAX).contains(&memory_kib)
            && (ARGON2_PASSES_MIN..=ARGON2_PASSES_MAX).contains(&passes)
            && (1..=ARGON2_LANES_MAX).contains(&lanes);
        if within { Ok(Self(fields)) } else { Err(CostsError { memory_kib, passes, lanes }) }
    }

    pub(crate) const fn fields(&self) -> &Fields {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn passphrase(text: &str) -> Passphrase<'_> {
        Passphrase::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_slot_opens_with_its_passphrase_and_its_salt_only() {
        let typed = "correct horse battery";
        let (costs, slot) = PassphraseCosts::make_slot(&passphrase(typed)).unwrap();
        assert_eq!(costs.slot(&passphrase(typed)).unwrap().public(), slot.public());
        assert!(PassphraseCosts::new(costs.0.clone()).is_ok(), "what is made can be read");
        let seed = costs.expose_seed(&passphrase(typed), slot.public()).unwrap().unwrap();
        assert_eq!(SlotSecretKey::derive_from_seed(&seed).public(), slot.public());
        for wrong in ["correct horse batterz", "Correct horse battery", "correct horse battery "] {
            assert_ne!(costs.slot(&passphrase(wrong)).unwrap().public(), slot.public());
            assert!(costs.expose_seed(&passphrase(wrong), slot.public()).unwrap().is_none());
        }
        let other_salt = PassphraseCosts(Fields { salt: [0; SALT_BYTES], ..costs.0.clone() });
        assert_ne!(other_salt.slot(&passphrase(typed)).unwrap().public(), slot.public());
        let other_costs = PassphraseCosts(Fields { passes: 4, ..costs.0 });
        assert_ne!(other_costs.slot(&passphrase(typed)).unwrap().public(), slot.public());
    }

    #[test]
    fn two_slots_of_one_passphrase_have_nothing_in_common() {
        let make = || PassphraseCosts::make_slot(&passphrase("correct horse battery")).unwrap();
        let ((one, one_slot), (other, other_slot)) = (make(), make());
        assert_ne!(one.0.salt, other.0.salt);
        assert_ne!(one_slot.public(), other_slot.public());
    }

    #[test]
    fn thirteen_characters_are_too_few_for_a_new_slot() {
        // Characters, not bytes: these are 26.
        let weak = passphrase("äöüäöüäöüäöüä");
        let error = PassphraseCosts::make_slot(&weak).map(|_| ()).unwrap_err();
        assert_eq!(error, NewPassphraseError::TooShort { characters: 13 });
        assert_eq!(
            error.to_string(),
            "the passphrase has 13 characters, 14 are needed: take a longer one, or one that is \
             generated"
        );
        assert!(PassphraseCosts::make_slot(&passphrase("äöüäöüäöüäöüäö")).is_ok());
    }

    #[test]
    fn a_passphrase_is_one_line_of_text() {
        let parse = |bytes: &[u8]| Passphrase::parse(bytes).map(|_| ());
        assert_eq!(parse(b"x"), Ok(()));
        assert_eq!(parse(&[b'x'; PASSPHRASE_BYTES_MAX]), Ok(()));
        assert_eq!(parse(&[b'x'; PASSPHRASE_BYTES_MAX + 1]), Err(PassphraseError::TooLong));
        assert_eq!(parse(b""), Err(PassphraseError::Empty));
        for strange in [&b"two\nlines"[..], b"end\r", b"tab\t", b"nul\0", b"\xff\xfe", b"\x7f"] {
            assert_eq!(parse(strange), Err(PassphraseError::NotTypable), "{strange:?}");
        }
    }

    #[test]
    fn generated_passphrases_are_long_random_proquints() {
        // The addresses and words of arXiv:0901.4016.
        let bytes = [127, 0, 0, 1, 63, 84, 220, 193, 63, 118, 7, 35];
        assert_eq!(*proquints(&bytes), "lusab-babad-gutih-tugad-gutuk-bisog");
        let made: Vec<_> = (0..100).map(|_| make_passphrase()).collect();
        assert_eq!(made.iter().map(|text| text.as_str()).collect::<BTreeSet<_>>().len(), 100);
        for text in made {
            assert!(passphrase(&text).0.len() >= PASSPHRASE_CHARACTERS_MIN);
        }
    }
}
