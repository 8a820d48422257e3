//! Records of the log, several to one value of sled.
//!
//! What sled does for a value costs more than what it does for a byte, and most records are small.
//! So neighbours share a value, up to its bound. A pack stands under the key of its first record;
//! all that it holds comes before the next pack.
//!
//! ```text
//! pack   = records, in the order of their keys
//! record = index (8) ‖ piece (2) ‖ length (2) ‖ bytes
//! ```
//!
//! Not here: sled (disk::records).
//!
//! Invariant: with what [`plan`] says done, in its order and even if only some first groups of it
//! are, each record that it does not change is where [`Pack::get`] of the last pack at or before its
//! key finds it, and planning the same changes again makes up for the rest.

use std::collections::BTreeMap;

use super::VALUE_BYTES_MAX;

/// A record's place in the log: index and piece.
pub(super) type LogKey = (u64, u16);

const HEADER_BYTES: usize = 12;

/// Bytes of the largest pack: one record of the largest size.
pub(super) const PACK_BYTES_MAX: usize = VALUE_BYTES_MAX + HEADER_BYTES;

/// A log key as sled has it.
pub(super) fn key_bytes((index, piece): LogKey) -> [u8; 10] {
    let mut bytes = [0; 10];
    let (first, second) = bytes.split_at_mut(8);
    first.copy_from_slice(&index.to_be_bytes());
    second.copy_from_slice(&piece.to_be_bytes());
    bytes
}

/// A log key from its bytes.
pub(super) fn log_key(bytes: &[u8]) -> Option<LogKey> {
    let (index, piece) = bytes.split_first_chunk::<8>()?;
    let piece: &[u8; 2] = piece.try_into().ok()?;
    Some((u64::from_be_bytes(*index), u16::from_be_bytes(*piece)))
}

/// The records of a pack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pack<'a>(BTreeMap<LogKey, &'a [u8]>);

impl<'a> Pack<'a> {
    /// Reads a pack; none if it is not one.
    pub(super) fn read(mut bytes: &'a [u8]) -> Option<Self> {
        let mut records = BTreeMap::new();
        while !bytes.is_empty() {
            let (index, rest) = bytes.split_first_chunk::<8>()?;
            let (piece, rest) = rest.split_first_chunk::<2>()?;
            let (length, rest) = rest.split_first_chunk::<2>()?;
            let (value, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
            let key = (u64::from_be_bytes(*index), u16::from_be_bytes(*piece));
            if records.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return None;
            }
            records.insert(key, value);
            bytes = rest;
        }
        Some(Self(records))
    }

    pub(super) fn get(&self, key: LogKey) -> Option<&'a [u8]> {
        self.0.get(&key).copied()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = LogKey> {
        self.0.keys().copied()
    }
}

/// What is to be done in sled: a pack put under a key, or what is there removed.
pub(super) type Step = (LogKey, Option<Vec<u8>>);

/// Steps of which all are done or none; of two under one key, the later one holds.
pub(super) type Group = Vec<Step>;

type Records<'a> = BTreeMap<LogKey, &'a [u8]>;

/// What sled has at and after a key.
#[derive(Debug, Default)]
pub(super) struct Around {
    /// The last pack at or before it.
    pub(super) before: Option<(LogKey, Vec<u8>)>,
    /// Where the next pack begins.
    pub(super) next: Option<LogKey>,
}

/// Works out what to do in sled so that changes to records, in the order of their keys, are made.
///
/// # Errors
///
/// Those of `around`; none of its own, but a pack that cannot be read is left to `damaged`.
pub(super) fn plan<'a, E>(
    changes: impl Iterator<Item = (LogKey, Option<&'a [u8]>)>,
    mut around: impl FnMut(LogKey) -> Result<Around, E>,
    damaged: impl Fn() -> E,
) -> Result<Vec<Group>, E> {
    let mut groups = Vec::new();
    let mut changes = changes.peekable();
    while let Some((first, _)) = changes.peek().copied() {
        let Around { before, next } = around(first)?;
        let (mut kept, mut replaced) = (Records::new(), None);
        if let Some((key, bytes)) = &before {
            let Pack(found) = Pack::read(bytes).ok_or_else(&damaged)?;
            // What only comes behind it leaves it as it is.
            if found.last_key_value().is_some_and(|(last, _)| *last >= first) {
                (kept, replaced) = (found, Some(*key));
            }
        }
        let mut new = Records::new();
        while let Some((key, value)) =
            changes.next_if(|(key, _)| next.is_none_or(|next| *key < next))
        {
            kept.remove(&key);
            if let Some(value) = value {
                new.insert(key, value);
            }
        }
        // First what is kept makes room, in pieces that are small together; then what is new goes
        // in between. It is missing meanwhile, not wrong.
        let put = |(key, pack)| (key, Some(pack));
        if let Some(key) = replaced {
            let mut group = Group::from([(key, None)]);
            group.extend(packed(&kept, &new).into_iter().map(put));
            groups.push(group);
        }
        groups.extend(packed(&new, &kept).into_iter().map(|pack| Group::from([put(pack)])));
    }
    Ok(groups)
}

/// Records as packs, as full as they get with none of `others` in between.
fn packed(records: &Records<'_>, others: &Records<'_>) -> Vec<(LogKey, Vec<u8>)> {
    let mut packs: Vec<(LogKey, Vec<u8>)> = Vec::new();
    let mut last = None;
    for (key, value) in records {
        let is_apart = last.is_some_and(|last| others.range(last..*key).next().is_some());
        let has_room = |pack: &Vec<u8>| pack.len() + HEADER_BYTES + value.len() <= PACK_BYTES_MAX;
        if is_apart || !packs.last().is_some_and(|(_, pack)| has_room(pack)) {
            packs.push((*key, Vec::with_capacity(PACK_BYTES_MAX)));
        }
        if let Some((_, pack)) = packs.last_mut() {
            let length = u16::try_from(value.len()).expect("values have at most a page");
            pack.extend_from_slice(&key_bytes(*key));
            pack.extend_from_slice(&length.to_be_bytes());
            pack.extend_from_slice(value);
        }
        last = Some(*key);
    }
    packs
}

#[cfg(test)]
mod tests;
