//! Whom key files are sealed to: the replicated list, as one manager follows it.
//!
//! A slot of the list is the same for all managers, but for one kind: `file` is a policy. Each
//! manager has a seed of its own for it, so the list says that there is such a slot, and each seals
//! to its own. The list also remembers which unlock keys came before, by id, in the parameters of
//! the slot that took their place: so a locked manager, which has no state, can tell an older key
//! from a wrong one, and the cluster can say which key a member that was down still needs.
//!
//! Not here: when a manager seals anew (`manager::reseal`), who may change the list (service).

use proto::id::{KeyId, MemberId};
use proto::limits::UNLOCK_KEYS_REMEMBERED;
use seal::{Recipient, SlotKind, SlotPublicKey};
use state::object::{Blob, SlotRecipient};

use super::key_file::{KeyFile, KeyFileError};

// The list, and the `peers` slot of this manager, which is not on it.
const _: () = assert!(proto::limits::RECIPIENTS_MAX < seal::SLOTS_MAX);

/// Bytes of one remembered unlock key: the generation it came in, its id.
const REMEMBERED_BYTES: usize = 8 + 16;

/// Unlock keys by the generation they came in, newest first. In parameters: `generation (u64, big
/// endian) ‖ key id (16)`, as often as there are keys.
pub(crate) struct UnlockKeys;

impl UnlockKeys {
    /// Reads them from a slot's parameters; what is no such list has none.
    pub(crate) fn read(parameters: &[u8]) -> Vec<(u64, KeyId)> {
        let (whole, rest) = parameters.as_chunks::<REMEMBERED_BYTES>();
        if !rest.is_empty() {
            return Vec::new();
        }
        let one = |bytes: &[u8; REMEMBERED_BYTES]| {
            let (generation, id) = bytes.split_first_chunk::<8>()?;
            Some((u64::from_be_bytes(*generation), KeyId::try_from(id).ok()?))
        };
        whole.iter().filter_map(one).collect()
    }

    fn write(keys: &[(u64, KeyId)]) -> Vec<u8> {
        let kept = keys.iter().take(UNLOCK_KEYS_REMEMBERED);
        kept.flat_map(|(generation, id)| [&generation.to_be_bytes()[..], id.as_bytes()].concat())
            .collect()
    }

    /// Those of the whole list.
    pub(crate) fn of(recipients: &[SlotRecipient]) -> Vec<(u64, KeyId)> {
        let slots = recipients.iter().filter(|slot| is_own(slot) || is_unlock_key(slot));
        slots.flat_map(|slot| Self::read(&slot.parameters.0)).collect()
    }
}

fn is_own(slot: &SlotRecipient) -> bool {
    slot.kind == SlotKind::File.as_str()
}

fn is_unlock_key(slot: &SlotRecipient) -> bool {
    slot.kind == SlotKind::UnlockKey.as_str()
}

/// Whether a manager that follows the list needs somebody to open its key file.
pub(crate) fn locks(recipients: &[SlotRecipient]) -> bool {
    !recipients.iter().any(is_own)
}

/// The unlock key in use.
pub(crate) fn unlock_key(recipients: &[SlotRecipient]) -> Option<KeyId> {
    recipients.iter().find(|slot| is_unlock_key(slot)).and_then(id_of)
}

/// The unlock key that a key file of a generation needs; none if it opens by itself, or if that is
/// forgotten.
pub(crate) fn unlock_key_at(recipients: &[SlotRecipient], generation: u64) -> Option<KeyId> {
    UnlockKeys::of(recipients).into_iter().find(|(from, _)| *from <= generation).map(|(_, id)| id)
}

/// The id of a slot's public key; none for the `file` slot, of which each manager has its own.
pub(crate) fn id_of(slot: &SlotRecipient) -> Option<KeyId> {
    SlotPublicKey::parse(slot.public_key.0.clone()).ok().map(|public| public.id())
}

/// The slot of managers that open their own key files, in a cluster that has no unlock key yet.
pub(crate) fn own_seed() -> SlotRecipient {
    SlotRecipient {
        kind: SlotKind::File.as_str().into(),
        member: None,
        public_key: Blob::default(),
        parameters: Blob::default(),
    }
}

/// The list with an unlock key in place of the `file` slot and of the unlock key before.
pub(crate) fn with_unlock_key(
    recipients: &[SlotRecipient],
    public: &SlotPublicKey,
    generation: u64,
) -> Vec<SlotRecipient> {
    let known = [vec![(generation, public.id())], UnlockKeys::of(recipients)].concat();
    let slot = SlotRecipient {
        kind: SlotKind::UnlockKey.as_str().into(),
        member: None,
        public_key: Blob(public.as_bytes().clone()),
        parameters: Blob(UnlockKeys::write(&known).into()),
    };
    in_their_place(recipients, slot)
}

/// The list with the `file` slot in place of the unlock key.
pub(crate) fn with_own_seeds(recipients: &[SlotRecipient]) -> Vec<SlotRecipient> {
    let known = Blob(UnlockKeys::write(&UnlockKeys::of(recipients)).into());
    in_their_place(recipients, SlotRecipient { parameters: known, ..own_seed() })
}

fn in_their_place(recipients: &[SlotRecipient], slot: SlotRecipient) -> Vec<SlotRecipient> {
    let others = recipients.iter().filter(|slot| !is_own(slot) && !is_unlock_key(slot));
    std::iter::once(slot).chain(others.cloned()).collect()
}

impl KeyFile {
    /// The list as this manager seals to it. For the `file` slot its own seed is made if need be.
    pub(crate) fn recipients(
        &self,
        list: &[SlotRecipient],
        me: MemberId,
    ) -> Result<Vec<Recipient>, KeyFileError> {
        let mine = list.iter().filter(|slot| is_own(slot) || slot.member.is_none_or(|m| m == me));
        let recipient = |slot: &SlotRecipient| {
            let parameters = slot.parameters.0.to_vec();
            if is_own(slot) {
                return self.file_slot(parameters);
            }
            let unknown = || KeyFileError::UnknownSlot(slot.kind.clone());
            Ok(Recipient {
                kind: SlotKind::of_name(&slot.kind).ok_or_else(unknown)?,
                public: SlotPublicKey::parse(slot.public_key.0.clone()).map_err(|_| unknown())?,
                parameters,
            })
        };
        mine.map(recipient).collect()
    }
}

#[cfg(test)]
mod tests {
    use seal::SlotSecretKey;
    use sys::file::{Folder, PRIVATE_FILE_MODE};

    use super::*;

    fn public() -> SlotPublicKey {
        SlotSecretKey::derive_from_seed(&seal::make_slot_seed()).public().clone()
    }

    #[test]
    fn unlock_keys_come_and_go_and_are_remembered() {
        let list = vec![own_seed()];
        assert!(!locks(&list));
        assert_eq!(unlock_key(&list), None);
        let (a, b) = (public(), public());
        let on = with_unlock_key(&list, &a, 2);
        assert!(locks(&on));
        assert_eq!(unlock_key(&on), Some(a.id()));
        let rotated = with_unlock_key(&on, &b, 3);
        assert_eq!(rotated.len(), 1, "the key before is no recipient any more");
        assert_eq!(unlock_key(&rotated), Some(b.id()));
        assert_eq!(UnlockKeys::of(&rotated), [(3, b.id()), (2, a.id())]);
        // A member that was down since then needs the key of its time.
        assert_eq!(unlock_key_at(&rotated, 1), None, "it opens by itself");
        assert_eq!(unlock_key_at(&rotated, 2), Some(a.id()));
        assert_eq!(unlock_key_at(&rotated, 7), Some(b.id()));
        let off = with_own_seeds(&rotated);
        assert!(!locks(&off));
        assert_eq!(unlock_key(&off), None);
        assert_eq!(unlock_key_at(&off, 2), Some(a.id()), "they are remembered all the same");
        assert_eq!(with_unlock_key(&off, &a, 5).len(), 1);
    }

    #[test]
    fn so_many_unlock_keys_are_remembered_and_no_more() {
        let mut list = vec![own_seed()];
        for generation in 2..30 {
            list = with_unlock_key(&list, &public(), generation);
        }
        assert_eq!(UnlockKeys::of(&list).len(), UNLOCK_KEYS_REMEMBERED);
        assert_eq!(UnlockKeys::of(&list)[0].0, 29);
        assert!(list[0].parameters.0.len() <= proto::limits::SLOT_PARAMETERS_BYTES_MAX);
        assert!(UnlockKeys::read(&[1; REMEMBERED_BYTES + 1]).is_empty(), "no such list");
    }

    #[test]
    fn the_state_knows_the_kinds_that_work_from_the_start_by_these_names() {
        assert_eq!(SlotRecipient::FILE, SlotKind::File.as_str());
        assert_eq!(SlotRecipient::UNLOCK_KEY, SlotKind::UnlockKey.as_str());
    }

    #[test]
    fn other_slots_stay() {
        let other = SlotRecipient {
            kind: SlotKind::Passphrase.as_str().into(),
            member: None,
            public_key: Blob(public().as_bytes().clone()),
            parameters: Blob(vec![7; 24].into()),
        };
        let on = with_unlock_key(&[own_seed(), other.clone()], &public(), 2);
        assert_eq!(on[1..], *std::slice::from_ref(&other));
        assert_eq!(with_own_seeds(&on)[1..], [other]);
    }

    #[test]
    fn each_manager_has_a_seed_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let place = Folder::create_private(folder.path().join(name)).unwrap();
            let seed = place.path().join("seed");
            KeyFile::new(place, seed)
        };
        let (one, other) = (file("one"), file("other"));
        let list = [own_seed()];
        let of = |file: &KeyFile, me| file.recipients(&list, MemberId(me)).unwrap().remove(0);
        assert_eq!(of(&one, 1), of(&one, 1), "a seed that is there is kept");
        assert_ne!(of(&one, 1).public, of(&other, 2).public);
        assert!(one.has_seed());
        assert!(one.destroy_seed().unwrap());
        assert!(!one.has_seed());
        assert!(!one.destroy_seed().unwrap(), "there is none any more");
        // One that was overwritten, and not removed before the power went, is none.
        let zeros = KeyFile::new(Folder::create_private(folder.path().join("zeros")).unwrap(), {
            let place = Folder::open(folder.path().join("zeros")).unwrap();
            place.replace("seed", PRIVATE_FILE_MODE, &[0; 32]).unwrap();
            place.path().join("seed")
        });
        let known = SlotSecretKey::derive_from_seed(&[0; 32]);
        assert_ne!(of(&zeros, 3).public, *known.public(), "everybody knows that one");
        assert_eq!(of(&zeros, 3), of(&zeros, 3));
        // A slot of a later version is told, not left out: who relies on it would be locked out.
        let strange = SlotRecipient { kind: "later".into(), ..own_seed() };
        assert!(matches!(
            one.recipients(&[strange], MemberId(1)),
            Err(KeyFileError::UnknownSlot(kind)) if kind == "later"
        ));
    }
}
