//! A key file and its slots: each opens it, and what a slot needs cannot be changed or exchanged.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests, which clippy does not take for tests"
)]

use std::sync::LazyLock;

use proptest::prelude::*;
use proto::id::{Incarnation, MemberId, NodeId, Realm};
use seal::{
    Disk, Gathering, KeyFileContents, KeyFileOwner, LockedKeyFile, LogKey, OpenError,
    ParametersError, Passphrase, PassphraseCosts, Recipient, RootKey, Share, ShareError,
    SigningKeyDer, SlotCommand, SlotKind, SlotParameters, SlotSecretKey, Split, UnlockKey,
    UnlockKeys, make_slot_seed, seal_key_file,
};

const TYPED: &str = "correct horse battery";

fn passphrase(typed: &str) -> Passphrase<'_> {
    Passphrase::parse(typed.as_bytes()).unwrap()
}

fn key_file(recipients: &[Recipient]) -> Vec<u8> {
    let owner = KeyFileOwner {
        disk: Disk {
            realm: Realm::from_bytes([1; 16]),
            incarnation: Incarnation(1),
            member: MemberId(1),
        },
        node_id: NodeId::from_entropy([1; 17]),
        generation: 4,
    };
    let (root, log) = (RootKey::make(), LogKey::make());
    let contents = KeyFileContents {
        active_root: root.id(),
        active_log: log.id(),
        roots: vec![root.into()],
        logs: vec![log.into()],
        tls_key: SigningKeyDer::new(zeroize::Zeroizing::new(Box::from([9; 138]))),
    };
    seal_key_file(&owner, recipients, &contents).unwrap()
}

fn passphrase_slot(typed: &str) -> (Recipient, SlotSecretKey) {
    let (costs, slot) = PassphraseCosts::make_slot(&passphrase(typed)).unwrap();
    (Recipient::new(slot.public().clone(), &SlotParameters::Passphrase(costs)), slot)
}

/// The file with the one place where `from` stands changed to `to`, and the other way round.
fn exchanged(file: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    let place = |file: &[u8], bytes: &[u8]| {
        let mut places = file.windows(bytes.len()).enumerate().filter(|(_, at)| *at == bytes);
        let place = places.next().map(|(at, _)| at);
        assert_eq!(places.next(), None, "it stands there once");
        place
    };
    let (here, there) = (place(&file, from).unwrap(), place(&file, to));
    file[here..here + to.len()].copy_from_slice(to);
    if let Some(there) = there {
        file[there..there + from.len()].copy_from_slice(from);
    }
    file
}

#[test]
fn a_key_file_opens_with_what_operators_keep_of_each_slot() {
    let unlock_key = UnlockKey::make();
    let word = unlock_key.expose();
    let (by_passphrase, _) = passphrase_slot(TYPED);
    let split = Split::make(2, 3).unwrap();
    let words: Vec<_> = split.shares.iter().map(Share::expose).collect();
    let (file_seed, command_seed) = (make_slot_seed(), make_slot_seed());
    let public = |seed| SlotSecretKey::derive_from_seed(seed).public().clone();
    let command = SlotCommand::new("/usr/lib/secretd/unseal".into(), 30).unwrap();
    let former = UnlockKeys::new([(3, unlock_key.id())]);
    let file = key_file(&[
        Recipient::new(unlock_key.slot().public().clone(), &SlotParameters::UnlockKey(former)),
        by_passphrase,
        Recipient::new(
            split.slot.public().clone(),
            &SlotParameters::Shares(split.parameters.clone()),
        ),
        Recipient::new(public(&file_seed), &SlotParameters::File(UnlockKeys::default())),
        Recipient::new(public(&command_seed), &SlotParameters::Command(command)),
    ]);

    // From here on there is the file, and what operators keep.
    let locked = LockedKeyFile::parse(&file).unwrap();
    let mut opened = 0;
    for recipient in locked.recipients() {
        let slot = match recipient.slot_parameters().unwrap() {
            SlotParameters::UnlockKey(former) => {
                let key = UnlockKey::parse(word.as_bytes()).unwrap();
                assert_eq!(key.id(), recipient.public.id());
                assert!(former.iter().eq([(3, key.id())]));
                key.slot()
            }
            SlotParameters::Passphrase(costs) => costs.slot(&passphrase(TYPED)).unwrap(),
            SlotParameters::Shares(parameters) => {
                let mut gathering = Gathering::of(parameters);
                for word in [&words[2], &words[0]] {
                    gathering.add(Share::parse(word.as_bytes()).unwrap()).unwrap();
                }
                gathering.combine(&recipient.public).unwrap()
            }
            SlotParameters::File(_) => SlotSecretKey::derive_from_seed(&file_seed),
            SlotParameters::Command(command) => {
                assert_eq!((command.path(), command.seconds()), ("/usr/lib/secretd/unseal", 30));
                SlotSecretKey::derive_from_seed(&command_seed)
            }
            SlotParameters::Peers(_) => panic!("operators keep nothing of it"),
        };
        assert_eq!(slot.public(), &recipient.public);
        locked.open(&slot).unwrap();
        opened += 1;
    }
    assert_eq!(opened, 5);
}

#[test]
fn a_wrong_passphrase_and_a_foreign_unlock_key_open_nothing() {
    let (recipient, _) = passphrase_slot(TYPED);
    let locked = LockedKeyFile::parse(&key_file(&[recipient])).unwrap();
    let Ok(SlotParameters::Passphrase(costs)) = locked.recipients()[0].slot_parameters() else {
        panic!("a passphrase slot");
    };
    let wrong = costs.slot(&passphrase("correct horse battery2")).unwrap();
    assert_eq!(locked.open(&wrong).err(), Some(OpenError));
    assert_eq!(locked.open(&UnlockKey::make().slot()).err(), Some(OpenError));
}

#[test]
fn parameters_exchanged_between_two_slots_open_neither() {
    let ((one, one_key), (other, other_key)) =
        (passphrase_slot(TYPED), passphrase_slot("another long passphrase"));
    let file = key_file(&[one.clone(), other.clone()]);
    let open = |file: &[u8], slot: &SlotSecretKey| {
        LockedKeyFile::parse(file).unwrap().open(slot).map(|_| ())
    };
    assert_eq!((open(&file, &one_key), open(&file, &other_key)), (Ok(()), Ok(())));

    let mixed = exchanged(&file, &one.parameters, &other.parameters);
    let locked = LockedKeyFile::parse(&mixed).unwrap();
    assert_eq!(locked.recipients()[0].parameters, other.parameters);
    for (at, typed) in [TYPED, "another long passphrase"].into_iter().enumerate() {
        // What was typed makes another seed, which is nobody's.
        let Ok(SlotParameters::Passphrase(costs)) = locked.recipients()[at].slot_parameters()
        else {
            panic!("a passphrase slot");
        };
        let made = costs.slot(&passphrase(typed)).unwrap();
        assert_eq!(open(&mixed, &made), Err(OpenError));
    }
    // And the header is authenticated: even the right keys do not open it.
    assert_eq!(
        (open(&mixed, &one_key), open(&mixed, &other_key)),
        (Err(OpenError), Err(OpenError))
    );

    // The same with the public halves exchanged, so that parameters and keys go together again.
    let mixed = exchanged(&mixed, one.public.as_bytes(), other.public.as_bytes());
    let locked = LockedKeyFile::parse(&mixed).unwrap();
    assert_eq!(locked.recipients(), [other, one]);
    assert_eq!(
        (open(&mixed, &one_key), open(&mixed, &other_key)),
        (Err(OpenError), Err(OpenError))
    );
}

#[test]
fn parameters_that_were_changed_are_refused_or_open_nothing() {
    let (recipient, key) = passphrase_slot(TYPED);
    let file = key_file(std::slice::from_ref(&recipient));
    // `memory (u32) ‖ passes ‖ lanes` stand last: 64 MiB, three, one.
    let costs = [0x1a, 0, 1, 0, 0, 3, 1];
    assert!(recipient.parameters.ends_with(&costs));
    for (changed, is_read) in [
        ([0x1a, 0, 1, 0, 0, 4, 1], true),
        ([0x1a, 0, 1, 0, 0, 3, 2], true),
        ([0x1a, 0, 0, 0xff, 0xff, 3, 1], false),
        ([0x1a, 0, 1, 0, 0, 2, 1], false),
        ([0x1a, 0xff, 0xff, 0xff, 0xff, 3, 1], false),
    ] {
        let tampered = exchanged(&file, &costs, &changed);
        let locked = LockedKeyFile::parse(&tampered).unwrap();
        let parameters = locked.recipients()[0].slot_parameters();
        assert_eq!(parameters.is_ok(), is_read, "{changed:?}");
        if let Ok(SlotParameters::Passphrase(costs)) = parameters {
            let made = costs.slot(&passphrase(TYPED)).unwrap();
            assert_eq!(locked.open(&made).err(), Some(OpenError), "{changed:?}");
        }
        assert_eq!(locked.open(&key).err(), Some(OpenError), "{changed:?}");
    }
}

#[test]
fn a_slot_of_another_kind_than_it_was_sealed_as_does_not_open() {
    let key = UnlockKey::make();
    let slot = key.slot();
    let recipient = Recipient::new(
        slot.public().clone(),
        &SlotParameters::UnlockKey(UnlockKeys::new([(1, key.id())])),
    );
    let file = key_file(std::slice::from_ref(&recipient));
    assert!(LockedKeyFile::parse(&file).unwrap().open(&slot).is_ok());
    // A slot is `[kind, h'public key', …`: the kind stands before 34 bytes.
    let named = |kind: u8| [&[kind, 0x58, 34][..], recipient.public.as_bytes()].concat();
    for kind in 1..=5 {
        let tampered = exchanged(&file, &named(0), &named(kind));
        let locked = LockedKeyFile::parse(&tampered).unwrap();
        assert_ne!(locked.recipients()[0].kind, SlotKind::UnlockKey);
        assert_eq!(locked.open(&slot).err(), Some(OpenError), "{kind}");
        let read = locked.recipients()[0].slot_parameters();
        let refused = matches!(read, Err(ParametersError::Form { .. }));
        assert_eq!(refused, locked.recipients()[0].kind != SlotKind::File, "{kind}");
    }
}

#[test]
fn shares_do_not_open_the_slot_of_another_split() {
    let (one, other) = (Split::make(2, 3).unwrap(), Split::make(2, 3).unwrap());
    let recipient = |split: &Split| {
        let parameters = SlotParameters::Shares(split.parameters.clone());
        Recipient::new(split.slot.public().clone(), &parameters)
    };
    let (one_slot, other_slot) = (recipient(&one), recipient(&other));
    let file = key_file(&[one_slot.clone(), other_slot.clone()]);
    let mixed = exchanged(&file, &one_slot.parameters, &other_slot.parameters);
    for (file, refused) in [(&file, false), (&mixed, true)] {
        let locked = LockedKeyFile::parse(file).unwrap();
        let Ok(SlotParameters::Shares(parameters)) = locked.recipients()[0].slot_parameters()
        else {
            panic!("a slot of shares");
        };
        let mut gathering = Gathering::of(parameters);
        for share in &one.shares[..2] {
            let share = Share::parse(share.expose().as_bytes()).unwrap();
            let added = gathering.add(share);
            let is_other = matches!(added, Err(ShareError::OtherSplit { .. }));
            assert_eq!(is_other, refused);
        }
        let combined = gathering.combine(&locked.recipients()[0].public);
        assert_eq!(combined.is_err(), refused);
        // The other's shares fit the parameters, but not the public half.
        if refused {
            for share in &other.shares[..2] {
                gathering.add(Share::parse(share.expose().as_bytes()).unwrap()).unwrap();
            }
            let combined = gathering.combine(&locked.recipients()[0].public);
            assert_eq!(combined.err(), Some(ShareError::OtherKey));
        }
        assert_eq!(locked.open(&one.slot).is_err(), refused);
    }
}

/// A key file with a slot of each kind whose parameters say something.
static KEY_FILE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let (by_passphrase, _) = passphrase_slot(TYPED);
    let split = Split::make(2, 3).unwrap();
    let public = || SlotSecretKey::derive_from_seed(&make_slot_seed()).public().clone();
    let command = SlotCommand::new("/usr/lib/secretd/unseal".into(), 30).unwrap();
    key_file(&[
        by_passphrase,
        Recipient::new(public(), &SlotParameters::Shares(split.parameters)),
        Recipient::new(public(), &SlotParameters::Command(command)),
    ])
});

proptest! {
    #[test]
    fn a_damaged_header_is_read_or_refused_and_nothing_else(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let mut file = KEY_FILE.clone();
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        if let Ok(locked) = LockedKeyFile::parse(&file) {
            for recipient in locked.recipients() {
                if let Ok(parameters) = recipient.slot_parameters() {
                    prop_assert_eq!(&parameters.to_bytes(), &recipient.parameters);
                    prop_assert_eq!(parameters.kind(), recipient.kind);
                }
            }
        }
    }
}
