//! The unlock key: a slot's seed that an operator keeps, as one word.
//!
//! secretctl makes it, prints it once and sends only its slot's public half; managers never see
//! it but when an operator unlocks one, wants it kept (`read_back`), or has one make it for the docker
//! client. Its key id is that of the slot's public half, which stands in every key file and in the
//! state: so it can be said which key was typed and which is needed. How it is spelled, and why, stands
//! in `spelling.rs`.
//!
//! Not here: asking for it and printing it (secretctl), keeping it (nobody; `read_back`).
//! Invariant: the seed is wiped on drop, has no `Debug`, `Clone` or `Display`, and leaves as text
//! by [`UnlockKey::expose`] only, as bytes by [`UnlockKey::expose_seed`].

use proto::id::KeyId;
use zeroize::Zeroizing;

use crate::hazmat::KEY_BYTES;
use crate::key::KeyBytes;
use crate::keyfile::SlotSecretKey;
use crate::spelling::{self, Kind, SpellingError};

const KIND: Kind = Kind { prefix: "SECKEY", name: "an unlock key" };

/// What opens the key file of a locked manager: 32 random bytes.
pub struct UnlockKey {
    seed: KeyBytes,
}

impl UnlockKey {
    /// A fresh random key.
    pub fn make() -> Self {
        Self { seed: KeyBytes::make() }
    }

    pub(crate) const fn of(seed: KeyBytes) -> Self {
        Self { seed }
    }

    /// Reads what [`Self::expose`] wrote and somebody copied or typed: case, dashes and white space
    /// do not count, and characters that look alike are alike.
    ///
    /// The text is the caller's to wipe.
    ///
    /// # Errors
    ///
    /// If it is something else, incomplete, or has a slip in it. A key that reads well may still be
    /// an old or a foreign one: compare [`Self::id`].
    pub fn parse(text: &[u8]) -> Result<Self, SpellingError> {
        let mut outcome = Ok(());
        let seed = KeyBytes::born(|seed| outcome = spelling::read(&KIND, text, seed));
        outcome.map(|()| Self { seed })
    }

    /// The key in clear, 76 characters that fit one line of a terminal: to be shown once.
    pub fn expose(&self) -> Zeroizing<String> {
        spelling::write(&KIND, self.seed.bytes())
    }

    /// The seed in clear, for the manager that it is to open: over its own machine's socket only.
    pub fn expose_seed(&self) -> &[u8; KEY_BYTES] {
        self.seed.bytes()
    }

    /// The slot that it opens.
    pub fn slot(&self) -> SlotSecretKey {
        SlotSecretKey::derive(&self.seed)
    }

    /// The slot's key id, which is public: "this is key X, this manager needs key Y".
    pub fn id(&self) -> KeyId {
        self.slot().public().id()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn of(seed: [u8; 32]) -> UnlockKey {
        UnlockKey { seed: KeyBytes::born(|bytes| *bytes = seed) }
    }

    fn read(text: &str) -> Result<[u8; 32], SpellingError> {
        UnlockKey::parse(text.as_bytes()).map(|key| *key.seed.bytes())
    }

    fn body(word: &str) -> String {
        word.strip_prefix("SECKEY-1-").unwrap().replace('-', "")
    }

    const SLIP: SpellingError = SpellingError::Checksum { prefix: "SECKEY" };

    #[test]
    fn the_spelling_and_the_id_never_change() {
        // Both were worked out by another program, from BIP 350 and RFC 9180 §7.1.3.
        let key = of(std::array::from_fn(|at| u8::try_from(at).unwrap()));
        let word = "SECKEY-1-000G40-R40M30-E20918-5GR38E-1W8124-GK2GAH-C5RR34-D1P70X-3RFG0R-R0E0";
        assert_eq!(*key.expose(), word);
        assert_eq!(key.id().to_string(), "95db0ab91eaa0797d05c784d1cb07b97");
    }

    #[test]
    fn keys_are_random_and_their_id_is_the_slots() {
        let keys: Vec<_> = (0..20).map(|_| UnlockKey::make()).collect();
        let words: BTreeSet<_> = keys.iter().map(|key| key.expose().to_string()).collect();
        assert_eq!(words.len(), keys.len());
        for key in &keys {
            assert_eq!(key.id(), SlotSecretKey::derive_from_seed(key.seed.bytes()).public().id());
        }
    }

    #[test]
    fn each_mistake_has_its_message() {
        let word = of([7; 32]).expose().to_string();
        let foreign = SpellingError::Prefix { name: "an unlock key", prefix: "SECKEY" };
        let version = SpellingError::Version { prefix: "SECKEY" };
        let length = |found| SpellingError::Length { prefix: "SECKEY", found, expected: 58 };
        let at = |group, place| SpellingError::Character { prefix: "SECKEY", group, place };
        for (text, error) in [
            (String::new(), foreign),
            ("SECKEY".into(), foreign),
            ("SECKEY-".into(), foreign),
            ("SECKEY-1".into(), foreign),
            ("SECKEY--".into(), foreign),
            ("SECKEY-x-".into(), foreign),
            ("SECKEY-1000-".into(), foreign),
            ("SWMKEY-1-7K8Ko".into(), foreign),
            (word.replace("SECKEY", "SECSHARE"), foreign),
            (body(&word), foreign),
            (word.replace("Y-1-", "Y-2-"), version),
            (word.replace("Y-1-", "Y-10-"), version),
            ("SECKEY-1-".into(), length(0)),
            (format!("{word}0"), length(59)),
            (format!("{word}-{}", body(&word)), length(116)),
            (word.split_at(75).0.into(), length(57)),
            (word.replacen("SECKEY-1-", "SECKEY-1-U", 1), at(1, 1)),
            (format!("{}ß", word.split_at(17).0), at(2, 2)),
            (format!("{word}!"), at(10, 5)),
        ] {
            assert_eq!(read(&text), Err(error), "{text}");
        }
        let messages =
            [foreign, version, length(57), at(2, 2), SLIP].map(|error| error.to_string());
        assert_eq!(
            messages,
            [
                "not an unlock key: expected a word that starts with SECKEY-1-",
                "SECKEY of another version: use the version of secretctl that made it, or a later one",
                "57 characters after SECKEY-1-, 58 are needed (dashes and spaces do not count); copy \
             it again, whole",
                "group 2 after SECKEY-1-: its character 2 is not one that is used (0-9 and A-Z \
             without U); copy it again",
                "SECKEY with a typing slip: its checksum does not match; compare it group by group",
            ]
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_key_survives_its_text_however_it_is_typed(seed in any::<[u8; 32]>()) {
            let word = of(seed).expose().to_string();
            prop_assert_eq!(word.len(), 76);
            let folded = word.replace('0', "o").replace("-1-", "-l-").replace('1', "I");
            for text in [
                word.clone(),
                word.to_lowercase(),
                format!(" {word}\r\n"),
                format!("SECKEY-1-{}", body(&word)),
                word.replacen("SECKEY-1-", "seckey-1-  ", 1).replace('-', " ").replacen(
                    "seckey 1 ", "seckey-1-", 1),
                format!("{}\n  {}", word.split_at(40).0, word.split_at(40).1),
                folded.to_lowercase(),
                folded,
            ] {
                prop_assert_eq!(read(&text), Ok(seed), "{}", text);
            }
        }

        #[test]
        fn every_slip_of_one_character_is_noticed(seed in any::<[u8; 32]>()) {
            let good = body(&of(seed).expose());
            let mut slips = 0;
            for at in 0..good.len() {
                for wrong in "0123456789ABCDEFGHJKMNPQRSTVWXYZ".bytes() {
                    let mut typed = good.clone().into_bytes();
                    if typed[at] != wrong {
                        typed[at] = wrong;
                        let typed = String::from_utf8(typed).unwrap();
                        prop_assert_eq!(read(&format!("SECKEY-1-{typed}")), Err(SLIP));
                        slips += 1;
                    }
                }
            }
            prop_assert_eq!(slips, 58 * 31);
        }

        #[test]
        fn every_exchange_of_neighbours_is_noticed(seed in any::<[u8; 32]>()) {
            let good = body(&of(seed).expose());
            for at in 1..good.len() {
                let mut typed = good.clone().into_bytes();
                typed.swap(at - 1, at);
                let typed = String::from_utf8(typed).unwrap();
                let expected = if typed == good { Ok(seed) } else { Err(SLIP) };
                prop_assert_eq!(read(&format!("SECKEY-1-{typed}")), expected);
            }
        }

        #[test]
        fn anything_at_all_can_be_typed(bytes in any::<Vec<u8>>(), start in 0..3_usize) {
            let start: &[u8] = [&b""[..], b"SECKEY-1-", b"SECKEY-"][start];
            prop_assert!(UnlockKey::parse(&[start, &bytes].concat()).is_err());
        }
    }
}
