//! Shares that are entered, forgotten, and enough.

use seal::Split;

use super::*;

fn slot(split: &Split) -> Recipient {
    let parameters = SlotParameters::Shares(split.parameters.clone());
    Recipient::new(split.slot.public().clone(), &parameters)
}

/// A share, as somebody who holds it enters it.
fn typed(split: &Split, number: usize) -> Share {
    Share::parse(split.shares[number - 1].expose().as_bytes()).unwrap()
}

fn held(taken: Result<Taken, EnterError>) -> Vec<u32> {
    match taken.unwrap() {
        Taken::Held(entered) => entered.numbers,
        Taken::Opens(..) => Vec::new(),
    }
}

#[test]
fn enough_shares_of_one_slot_make_its_key_and_are_forgotten() {
    let (one, other) = (Split::make(2, 3).unwrap(), Split::make(3, 3).unwrap());
    let slots = [slot(&one), slot(&other)];
    let now = Instant::now();
    let mut shares = Shares::default();
    assert_eq!(held(shares.enter(&slots, typed(&other, 3), now)), [3]);
    assert_eq!(held(shares.enter(&slots, typed(&one, 2), now)), [2]);
    assert_eq!(held(shares.enter(&slots, typed(&other, 1), now)), [3, 1]);
    assert_eq!(shares.described(now).len(), 2);
    let opened = match shares.enter(&slots, typed(&one, 1), now).unwrap() {
        Taken::Opens(key, entered) => Some((key.public().clone(), entered.numbers)),
        Taken::Held(_) => None,
    };
    assert_eq!(opened, Some((one.slot.public().clone(), vec![2, 1])), "two are enough");
    let left = shares.described(now);
    assert_eq!(left.len(), 1, "those of the other slot stay");
    assert_eq!(left[0].numbers, [3, 1]);
}

#[test]
fn what_is_wrong_is_named_and_the_others_stay() {
    let (split, foreign) = (Split::make(2, 3).unwrap(), Split::make(2, 3).unwrap());
    let slots = [slot(&split)];
    let now = Instant::now();
    let mut shares = Shares::default();
    let refused = |taken: Result<Taken, EnterError>| taken.err().unwrap();
    assert_eq!(refused(shares.enter(&[], typed(&split, 1), now)), EnterError::NoSlot);
    let error = refused(shares.enter(&slots, typed(&foreign, 1), now));
    assert!(matches!(error, EnterError::Share(ShareError::OtherSplit { number: 1, .. })));
    assert!(shares.described(now).is_empty());
    assert_eq!(held(shares.enter(&slots, typed(&split, 1), now)), [1]);
    let error = refused(shares.enter(&slots, typed(&split, 1), now));
    assert_eq!(error, ShareError::Twice { number: 1, missing: 1 }.into());
    assert_eq!(shares.described(now)[0].numbers, [1]);
}

#[test]
fn they_are_held_for_ten_minutes_after_the_first_and_no_longer() {
    let split = Split::make(3, 3).unwrap();
    let slots = [slot(&split)];
    let now = Instant::now();
    let mut shares = Shares::default();
    assert_eq!(shares.until(), None);
    shares.enter(&slots, typed(&split, 1), now).ok().unwrap();
    let late = now + HELD - Duration::from_millis(1);
    assert_eq!(held(shares.enter(&slots, typed(&split, 2), late)), [1, 2], "just in time");
    assert_eq!(shares.described(late)[0].forgotten_in_ms, 1, "the second wins no time");
    let over = now + HELD;
    assert_eq!(shares.until(), Some(over));
    assert!(shares.described(over).is_empty());
    assert_eq!(held(shares.enter(&slots, typed(&split, 3), over)), [3], "it is the first now");
    shares.clear();
    assert!(shares.described(over).is_empty());
}
