//! Shares: what k of them make, what fewer do not, and which mistake is which.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn copy_of(share: &Share) -> Share {
    Share::parse(share.expose().as_bytes()).unwrap()
}

fn gathered(split: &Split, numbers: &[u8]) -> Gathering {
    let mut gathering = Gathering::of(split.parameters.clone());
    for number in numbers {
        gathering.add(copy_of(&split.shares[usize::from(*number) - 1])).unwrap();
    }
    gathering
}

fn open(split: &Split, numbers: &[u8]) -> Result<(), ShareError> {
    gathered(split, numbers).combine(split.slot.public()).map(|_| ())
}

fn error_of<T>(result: Result<T, ShareError>) -> ShareError {
    result.map(|_| ()).unwrap_err()
}

#[test]
fn a_split_agrees_with_another_program() {
    let vector: Value = serde_json::from_str(include_str!("../../tests/data/shamir.json")).unwrap();
    let bytes = |value: &Value| hex::decode::<32>(value.as_str().unwrap()).unwrap();
    let polynomials: Vec<_> = vector["polynomial"].as_array().unwrap().iter().map(bytes).collect();
    let keys: Vec<_> =
        polynomials.iter().map(|key| KeyBytes::born(|bytes| bytes.copy_from_slice(key))).collect();
    let id = SplitId(hex::decode(vector["split"].as_str().unwrap()).unwrap());
    let split = Split::of_polynomials(id, Threshold::new(3, 5).unwrap(), &keys);
    assert_eq!(split.shares.len(), 5);
    for (share, expected) in split.shares.iter().zip(vector["shares"].as_array().unwrap()) {
        assert_eq!(u64::from(share.number), expected["number"].as_u64().unwrap());
        assert_eq!(*share.value.bytes(), bytes(&expected["value"]));
        assert_eq!(share.hash(), bytes(&expected["hash"]));
        assert_eq!(share.expose().as_str(), expected["word"].as_str().unwrap());
        assert_eq!(share.expose().len(), 98);
    }
    let seed = SlotSecretKey::derive_from_seed(&polynomials[0]);
    assert_eq!(split.slot.public(), seed.public());
    assert_eq!(open(&split, &[5, 1, 3]), Ok(()));
}

#[test]
fn every_k_of_n_shares_open_and_no_fewer() {
    for (needed, of) in [(2, 2), (2, 3), (3, 5), (5, 5), (4, 7)] {
        let split = Split::make(needed, of).unwrap();
        for chosen in 0_u32..1 << of {
            let numbers: Vec<u8> =
                (1..=of).filter(|number| chosen >> (number - 1) & 1 == 1).collect();
            let entered = u8::try_from(numbers.len()).unwrap();
            match entered {
                enough if enough == needed => assert_eq!(open(&split, &numbers), Ok(())),
                few if few < needed => {
                    let missing = ShareError::Missing { entered, needed };
                    assert_eq!(open(&split, &numbers), Err(missing));
                }
                _ => {}
            }
        }
    }
}

#[test]
fn shares_of_fewer_polynomials_than_k_make_another_seed() {
    // What `combine` would make of k - 1 shares, if it went on: not the seed.
    let split = Split::make(3, 5).unwrap();
    let points: Vec<_> =
        split.shares.iter().take(2).map(|share| (share.number, share.value.bytes())).collect();
    let seed = KeyBytes::born(|seed| hazmat::interpolate_at_zero(&points, seed));
    assert_ne!(SlotSecretKey::derive(&seed).public(), split.slot.public());
}

#[test]
fn each_byte_has_a_random_polynomial_of_its_own() {
    let values = |split: &Split| -> Vec<[u8; 32]> {
        split.shares.iter().map(|share| *share.value.bytes()).collect()
    };
    let (one, other) = (Split::make(2, 2).unwrap(), Split::make(2, 2).unwrap());
    assert_ne!(one.parameters.0.split, other.parameters.0.split);
    assert_ne!(one.slot.public(), other.slot.public());
    for split in [&one, &other] {
        // Two points of a line differ by its slope times 3: as many slopes as bytes, about.
        let [first, second] = values(split).try_into().unwrap();
        let slopes: BTreeSet<u8> = first.iter().zip(second).map(|(a, b)| a ^ b).collect();
        assert!(slopes.len() > 16, "{slopes:?}");
    }
    assert_ne!(values(&one), values(&other));
}

#[test]
fn thresholds_have_bounds() {
    for (needed, of) in [(2, 2), (2, 16), (16, 16)] {
        assert_eq!(Split::make(needed, of).unwrap().shares.len(), usize::from(of));
    }
    for (needed, of) in [(0, 0), (0, 3), (1, 1), (1, 3), (3, 2), (2, 17), (17, 17), (255, 255)] {
        assert_eq!(error_of(Split::make(needed, of)), ShareError::Threshold { needed, of });
    }
}

#[test]
fn a_share_with_impossible_numbers_is_refused() {
    let word = |number, needed, of| {
        let mut bytes = [7; Share::BYTES];
        bytes[8..11].copy_from_slice(&[number, needed, of]);
        spelling::write(&KIND, &bytes)
    };
    let parse = |number, needed, of| Share::parse(word(number, needed, of).as_bytes()).map(|_| ());
    assert_eq!(parse(1, 2, 2), Ok(()));
    assert_eq!(parse(16, 2, 16), Ok(()));
    assert_eq!(parse(0, 2, 2), Err(ShareError::Number { number: 0, of: 2 }));
    assert_eq!(parse(3, 2, 2), Err(ShareError::Number { number: 3, of: 2 }));
    assert_eq!(parse(1, 1, 2), Err(ShareError::Threshold { needed: 1, of: 2 }));
    assert_eq!(parse(1, 3, 2), Err(ShareError::Threshold { needed: 3, of: 2 }));
    assert_eq!(parse(1, 2, 17), Err(ShareError::Threshold { needed: 2, of: 17 }));
}

#[test]
fn each_mistake_has_its_name() {
    let split = Split::make(3, 5).unwrap();
    let [one, two, three, four, five] = [0, 1, 2, 3, 4].map(|at| &split.shares[at]);
    let id = split.parameters.0.split;
    let mut gathering = Gathering::of(split.parameters.clone());
    assert_eq!(gathering.missing(), 3);
    assert_eq!(gathering.add(copy_of(four)), Ok(2));

    // The same one, typed once more.
    let twice = gathering.add(copy_of(four)).unwrap_err();
    assert_eq!(twice, ShareError::Twice { number: 4, missing: 2 });
    assert_eq!(twice.to_string(), "share 4 was entered already: 2 others are needed");

    // One of another split: an older slot's, or another cluster's.
    let older = Split::make(3, 5).unwrap();
    let other = gathering.add(copy_of(&older.shares[1])).unwrap_err();
    let found = older.parameters.0.split;
    assert_eq!(other, ShareError::OtherSplit { number: 2, split: found, expected: id });
    assert_eq!(
        other.to_string(),
        format!(
            "share 2 is of split {found}, this slot needs those of split {id}: look for the share \
             that was handed out with that one"
        )
    );

    // A forged one: its checksum is right, its value is not.
    let mut forged = copy_of(two);
    forged.value = KeyBytes::make();
    let wrong = gathering.add(copy_of(&forged)).unwrap_err();
    assert_eq!(wrong, ShareError::Wrong { number: 2 });
    // The same value under another number, and with another threshold.
    let mut renumbered = copy_of(two);
    renumbered.number = 3;
    assert_eq!(error_of(gathering.add(renumbered)), ShareError::Wrong { number: 3 });
    let mut lowered = copy_of(two);
    lowered.threshold = Threshold { needed: 2, of: 5 };
    assert_eq!(error_of(gathering.add(lowered)), ShareError::Wrong { number: 2 });
    let mut beyond = copy_of(two);
    (beyond.number, beyond.threshold) = (6, Threshold { needed: 3, of: 6 });
    assert_eq!(error_of(gathering.add(beyond)), ShareError::Wrong { number: 6 });

    // None of these took the place of a right one.
    assert_eq!(gathering.numbers().collect::<Vec<_>>(), [4]);
    let missing = error_of(gathering.combine(split.slot.public()));
    assert_eq!(missing, ShareError::Missing { entered: 1, needed: 3 });
    assert_eq!(missing.to_string(), "1 of 3 shares were entered: 2 more are needed");
    assert_eq!(gathering.add(copy_of(one)), Ok(1));
    assert_eq!(gathering.add(copy_of(three)), Ok(0));
    assert_eq!(error_of(gathering.add(copy_of(five))), ShareError::Enough { needed: 3 });
    assert!(gathering.combine(split.slot.public()).is_ok());

    // Parameters and shares of one split, the public half of another slot.
    let other_key = error_of(gathering.combine(older.slot.public()));
    assert_eq!(other_key, ShareError::OtherKey);

    let slip = one.expose().replace("SECSHARE-1-", "SECSHARE-1-0");
    let length = SpellingError::Length { prefix: "SECSHARE", found: 76, expected: 75 };
    assert_eq!(error_of(Share::parse(slip.as_bytes())), length.into());
}

#[test]
fn a_wrong_share_with_its_own_hash_does_not_open() {
    // Somebody changed a share and its hash in the key file: the seed is not the slot's.
    let split = Split::make(2, 3).unwrap();
    let mut forged = copy_of(&split.shares[1]);
    forged.value = KeyBytes::make();
    let mut parameters = split.parameters.clone();
    parameters.0.hashes[32..64].copy_from_slice(&forged.hash());
    let mut gathering = Gathering::of(parameters);
    gathering.add(copy_of(&split.shares[0])).unwrap();
    gathering.add(forged).unwrap();
    assert_eq!(error_of(gathering.combine(split.slot.public())), ShareError::OtherKey);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_k_of_n_open_in_any_order(
        (needed, of) in (2_u8..=16).prop_flat_map(|of| (2..=of, Just(of))),
        order in Just((1_u8..=16).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let split = Split::make(needed, of).unwrap();
        let numbers: Vec<_> =
            order.into_iter().filter(|number| *number <= of).take(needed.into()).collect();
        prop_assert_eq!(open(&split, &numbers), Ok(()));
        let few = &numbers[1..];
        prop_assert_eq!(open(&split, few), Err(ShareError::Missing { entered: needed - 1, needed }));
    }

    #[test]
    fn any_seed_at_all_fits_k_minus_one_shares(needed in 2_u8..=16, seed in any::<[u8; 32]>()) {
        let split = Split::make(needed, needed).unwrap();
        let known: Vec<_> =
            split.shares[1..].iter().map(|share| (share.number, share.value.bytes())).collect();
        let through = |points: Vec<(u8, &[u8; 32])>| {
            let mut value = [0; 32];
            hazmat::interpolate_at_zero(&points, &mut value);
            value
        };
        // The first share that goes with them and with this seed: with every x moved by one, what
        // is at one is at zero.
        let moved = known.iter().map(|(x, value)| (*x ^ 1, *value));
        let first = through(std::iter::once((1, &seed)).chain(moved).collect());
        // And it makes the seed.
        prop_assert_eq!(through(std::iter::once((1, &first)).chain(known).collect()), seed);
    }

    #[test]
    fn anything_at_all_can_be_typed(bytes in any::<Vec<u8>>()) {
        prop_assert!(Share::parse(&bytes).is_err());
        prop_assert!(Share::parse(&[b"SECSHARE-1-", &bytes[..]].concat()).is_err());
    }
}
