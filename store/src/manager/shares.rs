//! Shares that holders entered, until there are enough of one slot's or their time is over.
//!
//! Each slot gathers by itself. What a share is, and which one is wrong, is `seal`'s; here is which
//! slot it belongs to, and for how long it is held. Not here: what becomes of the slot's key
//! (`unlock`).
//!
//! Invariant: no share is held for longer than [`HELD`] after the first one of its slot, nor once
//! its slot's key was made. Values lie in the slab.

use std::time::Duration;

use proto::limits::SHARES_HELD_SECONDS;
use proto::pb;
use seal::{Gathering, Recipient, Share, ShareError, SlotParameters, SlotPublicKey, SlotSecretKey};
use tokio::time::Instant;

/// How long the shares of a slot are held.
const HELD: Duration = Duration::from_secs(SHARES_HELD_SECONDS);

/// The shares of one slot.
struct Entered {
    slot: SlotPublicKey,
    gathering: Gathering,
    needed: u8,
    until: Instant,
}

/// All shares that were entered.
#[derive(Default)]
pub(super) struct Shares(Vec<Entered>);

/// What became of a share.
pub(super) enum Taken {
    /// It is held until there are enough.
    Held(pb::EnteredShares),
    /// There were enough: the slot's key. None of them is held any more.
    Opens(SlotSecretKey, pb::EnteredShares),
}

/// Why a share was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EnterError {
    /// The key file has no such slot.
    #[error("no shares open this manager")]
    NoSlot,
    /// It is wrong for the slot.
    #[error(transparent)]
    Share(#[from] ShareError),
}

impl Entered {
    fn described(&self, now: Instant) -> pb::EnteredShares {
        let left = self.until.saturating_duration_since(now).as_millis();
        pb::EnteredShares {
            slot_id: self.slot.id().as_bytes().to_vec().into(),
            numbers: self.gathering.numbers().map(u32::from).collect(),
            needed: self.needed.into(),
            forgotten_in_ms: u64::try_from(left).unwrap_or(u64::MAX),
        }
    }
}

impl Shares {
    /// Takes one share of one of these slots, and makes the slot's key if there are enough then.
    ///
    /// # Errors
    ///
    /// If it is of none of them, wrong, or there already. The others stay.
    pub(super) fn enter(
        &mut self,
        slots: &[Recipient],
        share: Share,
        now: Instant,
    ) -> Result<Taken, EnterError> {
        self.forget(now);
        let of_shares = slots.iter().filter_map(|slot| match slot.slot_parameters() {
            Ok(SlotParameters::Shares(parameters)) => Some((&slot.public, parameters)),
            _ => None,
        });
        let mut of_shares: Vec<_> = of_shares.collect();
        let of_split = of_shares.iter().position(|(_, one)| one.split() == share.split());
        // Of another split than all: the first slot says which one it wants.
        let which = of_split.unwrap_or(0);
        if which >= of_shares.len() {
            return Err(EnterError::NoSlot);
        }
        let (slot, parameters) = of_shares.swap_remove(which);
        let needed = parameters.needed();
        let known = self.0.iter().position(|entered| entered.slot == *slot);
        let mut entered = match known {
            Some(at) => self.0.swap_remove(at),
            None => Entered {
                slot: slot.clone(),
                gathering: Gathering::of(parameters),
                needed,
                until: now + HELD,
            },
        };
        let added = entered.gathering.add(share);
        let taken = match added {
            Ok(0) => {
                let key = entered.gathering.combine(slot)?;
                return Ok(Taken::Opens(key, entered.described(now)));
            }
            Ok(_) => Ok(Taken::Held(entered.described(now))),
            Err(error) => Err(error.into()),
        };
        if entered.gathering.numbers().next().is_some() {
            self.0.push(entered);
        }
        taken
    }

    /// Forgets those whose time is over.
    pub(super) fn forget(&mut self, now: Instant) {
        self.0.retain(|entered| now < entered.until);
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// When the next ones are to be forgotten.
    pub(super) fn until(&self) -> Option<Instant> {
        self.0.iter().map(|entered| entered.until).min()
    }

    /// Those that are held.
    pub(super) fn described(&self, now: Instant) -> Vec<pb::EnteredShares> {
        let held = self.0.iter().filter(|entered| now < entered.until);
        held.map(|entered| entered.described(now)).collect()
    }
}

#[cfg(test)]
mod tests;
