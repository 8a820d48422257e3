//! A slot that k of n people open together: shares of its random seed.
//!
//! secretctl makes the seed, splits it (Shamir's scheme over the field of 256 elements, a fresh
//! random polynomial for each byte), shows each share once as a word, `SECSHARE-1-…`, and forgets
//! the seed. Fewer than k shares say nothing of it. The field has a byte for an element, so nothing
//! has to be rounded or retried, and its arithmetic is a few lines in constant time; what n could
//! gain by a larger field (more than 255 shares) nobody needs.
//!
//! A share names its split, its number, k and n, so that it can be said what is missing and what
//! does not belong. The slot's parameters have a hash of each share, so that a wrong one is named
//! when it is entered, not when all are. **The hash needs no salt**: a share is 32 uniform random
//! bytes, there is nothing to guess. With k - 1 shares and the hashes, a seed can be checked, not
//! found: the slot's public key, which is just as public, allows the same.
//!
//! Not here: entering shares one at a time and forgetting them after a while (store), printing
//! them (secretctl).
//! Invariant: a share's value is wiped on drop and leaves as text by [`Share::expose`] only; a
//! seed is made of exactly k shares of one split, and is the slot's or is not handed out.

use core::fmt;

use minicbor::{Decode, Encode};
use proto::hex;
use proto::limits::SHARES_MAX;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::hazmat::{self, KEY_BYTES};
use crate::key::KeyBytes;
use crate::keyfile::{SlotPublicKey, SlotSecretKey};
use crate::spelling::{self, Kind, SpellingError};
use crate::{digest_in, equal, random};

const KIND: Kind = Kind { prefix: "SECSHARE", name: "a share" };

/// Fewest shares that open a slot: one that is enough alone is an unlock key.
const SHARES_MIN: u8 = 2;

const HASH_BYTES: usize = 32;

/// Which split a share is of: random, no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct SplitId(#[cbor(n(0), with = "minicbor::bytes")] [u8; 8]);

impl fmt::Display for SplitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

/// How many shares there are and how many open the slot: 2 ≤ `needed` ≤ `of` ≤ 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Threshold {
    needed: u8,
    of: u8,
}

impl Threshold {
    fn new(needed: u8, of: u8) -> Option<Self> {
        let is_bounded = SHARES_MIN <= needed && needed <= of && of <= SHARES_MAX;
        is_bounded.then_some(Self { needed, of })
    }
}

/// One share of a seed.
pub struct Share {
    split: SplitId,
    threshold: Threshold,
    number: u8,
    value: KeyBytes,
}

/// Why shares do not open a slot, or cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// It is no share, or has a slip in it.
    #[error(transparent)]
    Spelling(#[from] SpellingError),
    /// Too few would be needed, or too many made.
    #[error(
        "{needed} of {of} shares: {SHARES_MIN} or more are needed, of at most {SHARES_MAX}, and no \
         more are needed than there are"
    )]
    Threshold {
        /// k.
        needed: u8,
        /// n.
        of: u8,
    },
    /// It is not one of 1 to n.
    #[error("share {number} of {of}: shares are numbered from 1; this one was not made here")]
    Number {
        /// Its number.
        number: u8,
        /// n.
        of: u8,
    },
    /// It opens another slot, or an older one.
    #[error(
        "share {number} is of split {split}, this slot needs those of split {expected}: look for \
         the share that was handed out with that one"
    )]
    OtherSplit {
        /// Its number.
        number: u8,
        /// What it is of.
        split: SplitId,
        /// What the slot's are of.
        expected: SplitId,
    },
    /// It says it is of this split, but is not what was handed out.
    #[error(
        "share {number} is wrong: it is not the one that was handed out for this slot; ask another \
         holder for theirs"
    )]
    Wrong {
        /// Its number.
        number: u8,
    },
    /// The same share, once more.
    #[error("share {number} was entered already: {missing} others are needed")]
    Twice {
        /// Its number.
        number: u8,
        /// How many are still missing.
        missing: u8,
    },
    /// There are enough already.
    #[error("{needed} shares were entered, no more are needed")]
    Enough {
        /// k.
        needed: u8,
    },
    /// There are too few.
    #[error("{entered} of {needed} shares were entered: {} more are needed", needed - entered)]
    Missing {
        /// How many there are.
        entered: u8,
        /// k.
        needed: u8,
    },
    /// Each is what its hash says, but the seed is not the slot's.
    #[error(
        "the shares are right but do not make this slot's key: the key file was changed; unlock \
         with another slot, and replace this one"
    )]
    OtherKey,
}

impl Share {
    /// Bytes of a share in its word: split id, number, k, n, value.
    const BYTES: usize = 8 + 3 + KEY_BYTES;

    /// Reads what [`Self::expose`] wrote and somebody copied or typed.
    ///
    /// The text is the caller's to wipe.
    ///
    /// # Errors
    ///
    /// If it is no share, incomplete, or has a slip in it.
    pub fn parse(text: &[u8]) -> Result<Self, ShareError> {
        let mut bytes = Zeroizing::new([0; Self::BYTES]);
        spelling::read(&KIND, text, &mut bytes)?;
        let (split, rest) = bytes.split_first_chunk().expect("a share starts with eight bytes");
        let ([number, needed, of], value) =
            rest.split_first_chunk().expect("a share has three numbers");
        let (number, needed, of) = (*number, *needed, *of);
        let threshold = Threshold::new(needed, of).ok_or(ShareError::Threshold { needed, of })?;
        if !(1..=of).contains(&number) {
            return Err(ShareError::Number { number, of });
        }
        let value = KeyBytes::born(|bytes| bytes.copy_from_slice(value));
        Ok(Self { split: SplitId(*split), threshold, number, value })
    }

    /// The share in clear, 98 characters: to be shown once, to its holder.
    pub fn expose(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; Self::BYTES]);
        let (split, rest) = bytes.split_at_mut(8);
        let (numbers, value) = rest.split_at_mut(3);
        split.copy_from_slice(&self.split.0);
        numbers.copy_from_slice(&[self.number, self.threshold.needed, self.threshold.of]);
        value.copy_from_slice(self.value.bytes());
        spelling::write(&KIND, &bytes)
    }

    /// Which of n it is, from 1.
    pub const fn number(&self) -> u8 {
        self.number
    }

    /// How many are needed.
    pub const fn needed(&self) -> u8 {
        self.threshold.needed
    }

    /// How many there are.
    pub const fn of(&self) -> u8 {
        self.threshold.of
    }

    /// The split it is of.
    pub const fn split(&self) -> SplitId {
        self.split
    }

    fn hash(&self) -> [u8; HASH_BYTES] {
        let (split, number) = (&self.split.0, self.number.into());
        let Threshold { needed, of } = self.threshold;
        let context = Context::Share { split, number, needed: needed.into(), of: of.into() };
        digest_in(&context, self.value.bytes())
    }
}

/// Parameters as they are encoded, within their bounds or not.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Fields {
    #[n(0)]
    split: SplitId,
    #[n(1)]
    needed: u8,
    #[cbor(n(2), with = "minicbor::bytes")]
    hashes: Vec<u8>,
}

/// What recovering the seed needs beside the shares. Public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareParameters(Fields);

impl ShareParameters {
    /// The split the shares are of.
    pub const fn split(&self) -> SplitId {
        self.0.split
    }

    /// How many shares are needed.
    pub const fn needed(&self) -> u8 {
        self.0.needed
    }

    /// How many there are.
    pub fn of(&self) -> u8 {
        u8::try_from(self.0.hashes.len() / HASH_BYTES).unwrap_or(u8::MAX)
    }

    /// What was decoded, if it is within the bounds: whole hashes, 2 ≤ k ≤ n ≤ 16.
    pub(crate) fn new(fields: Fields) -> Option<Self> {
        let parameters = Self(fields);
        let (needed, of) = (parameters.needed(), parameters.of());
        let is_whole = parameters.0.hashes.len() == usize::from(of) * HASH_BYTES;
        let threshold = Threshold::new(needed, of).filter(|_| is_whole);
        threshold.map(|_| parameters)
    }

    pub(crate) const fn fields(&self) -> &Fields {
        &self.0
    }

    /// Whether a share is the one that was handed out under its number.
    ///
    /// # Errors
    ///
    /// If it is of another split, or wrong.
    pub fn knows(&self, share: &Share) -> Result<(), ShareError> {
        let (number, split, expected) = (share.number, share.split, self.split());
        if split != expected {
            return Err(ShareError::OtherSplit { number, split, expected });
        }
        let hash = self.hash_of(number).ok_or(ShareError::Wrong { number })?;
        if equal(&share.hash(), hash) { Ok(()) } else { Err(ShareError::Wrong { number }) }
    }

    fn hash_of(&self, number: u8) -> Option<&[u8]> {
        self.0.hashes.chunks_exact(HASH_BYTES).nth(usize::from(number).checked_sub(1)?)
    }
}

/// A new slot and the shares that open it.
pub struct Split {
    /// The slot.
    pub slot: SlotSecretKey,
    /// What its recipient says of the shares.
    pub parameters: ShareParameters,
    /// One for each holder, in order.
    pub shares: Vec<Share>,
}

impl Split {
    /// Makes a random seed and `of` shares, any `needed` of which make it again.
    ///
    /// # Errors
    ///
    /// If not 2 ≤ `needed` ≤ `of` ≤ 16.
    pub fn make(needed: u8, of: u8) -> Result<Self, ShareError> {
        let threshold = Threshold::new(needed, of).ok_or(ShareError::Threshold { needed, of })?;
        let polynomials: Vec<_> = (0..needed).map(|_| KeyBytes::make()).collect();
        Ok(Self::of_polynomials(SplitId(random()), threshold, &polynomials))
    }

    /// The seed is what the polynomials are at zero: their first coefficients.
    fn of_polynomials(split: SplitId, threshold: Threshold, polynomials: &[KeyBytes]) -> Self {
        let share = |number| Share {
            split,
            threshold,
            number,
            value: KeyBytes::born(|value| {
                hazmat::evaluate(polynomials.iter().map(KeyBytes::bytes), number, value);
            }),
        };
        let shares: Vec<_> = (1..=threshold.of).map(share).collect();
        let hashes = shares.iter().flat_map(Share::hash).collect();
        let seed = polynomials.first().expect("a threshold is two or more");
        Self {
            slot: SlotSecretKey::derive(seed),
            parameters: ShareParameters(Fields { split, needed: threshold.needed, hashes }),
            shares,
        }
    }
}

/// Shares that were entered, until there are enough.
pub struct Gathering {
    parameters: ShareParameters,
    shares: Vec<Share>,
}

impl Gathering {
    /// None yet, of a slot with these parameters.
    pub fn of(parameters: ShareParameters) -> Self {
        let shares = Vec::with_capacity(usize::from(parameters.needed()));
        Self { parameters, shares }
    }

    /// Takes one share and says how many are still missing.
    ///
    /// # Errors
    ///
    /// If it is of another split, wrong, there already, or one too many. The others stay.
    pub fn add(&mut self, share: Share) -> Result<u8, ShareError> {
        self.parameters.knows(&share)?;
        let (number, missing, needed) = (share.number, self.missing(), self.parameters.needed());
        if missing == 0 {
            return Err(ShareError::Enough { needed });
        }
        if self.numbers().any(|entered| entered == number) {
            return Err(ShareError::Twice { number, missing });
        }
        self.shares.push(share);
        Ok(self.missing())
    }

    /// How many are still missing.
    pub fn missing(&self) -> u8 {
        self.parameters.needed().saturating_sub(self.entered())
    }

    /// The numbers of those that were entered, in that order.
    pub fn numbers(&self) -> impl Iterator<Item = u8> {
        self.shares.iter().map(Share::number)
    }

    fn entered(&self) -> u8 {
        u8::try_from(self.shares.len()).unwrap_or(u8::MAX)
    }

    /// Makes the slot's key of the shares.
    ///
    /// # Errors
    ///
    /// If shares are missing, or what they make is not the slot with this public half.
    pub fn combine(&self, public: &SlotPublicKey) -> Result<SlotSecretKey, ShareError> {
        if self.missing() > 0 {
            let (entered, needed) = (self.entered(), self.parameters.needed());
            return Err(ShareError::Missing { entered, needed });
        }
        let points: Vec<_> =
            self.shares.iter().map(|share| (share.number, share.value.bytes())).collect();
        let seed = KeyBytes::born(|seed| hazmat::interpolate_at_zero(&points, seed));
        let slot = SlotSecretKey::derive(&seed);
        if slot.public() == public { Ok(slot) } else { Err(ShareError::OtherKey) }
    }
}

#[cfg(test)]
mod tests;
