//! Backups: which are remembered, what they may hold, and what is in the copy that goes into one.

use std::convert::Infallible;

use proto::id::{BackupId, KeyId, MemberId, Revision, Timestamp, Version};
use proto::identity::Role;
use proto::limits::BACKUPS_MAX;
use proto::sealed::WrappedKey;
use state::command::{Command, CreateToken};
use state::object::{Blob, Digest, SlotRecipient};
use state::{BootCommand, PeerPolicy, Refusal, SnapshotReader, State, WrapPlace, wrap_digest};

use crate::world::*;

const BACKUP_ROOT: KeyId = KeyId::from_bytes([80; 16]);

pub(crate) fn backup_id(n: u64) -> BackupId {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    BackupId::from_bytes(id)
}

/// Of what the world is now.
pub(crate) fn taken(world: &World, n: u64) -> Command {
    let (revision, taken_at) = (Revision(world.state.index()), world.state.now());
    Command::RecordBackup { id: backup_id(n), revision, taken_at }
}

fn holders(state: &State, created_at: Timestamp, removed: Option<Revision>) -> Vec<BackupId> {
    state.backups().that_may_hold(created_at, removed).into_iter().map(|(id, _)| id).collect()
}

#[test]
fn a_secret_is_in_the_backups_that_were_taken_while_it_was_there() {
    let mut world = World::founded();
    let before = taken(&world, 1);
    world.did(before);
    let secret = world.create_secret(1, "db_password");
    let created_at = world.state.secret(secret).unwrap().created_at;
    let during = taken(&world, 2);
    world.did(during);
    let again = taken(&world, 3);
    world.did(again);
    assert_eq!(holders(&world.state, created_at, None), [backup_id(2), backup_id(3)]);
    world.did(Command::RemoveSecret { id: secret, forget_previous: false, shred: None });
    let after = taken(&world, 4);
    world.did(after);
    let (removed, tombstone) = world.state.shredding().of(secret).unwrap();
    assert_eq!(
        holders(&world.state, tombstone.created_at, Some(removed)),
        [backup_id(2), backup_id(3)],
        "one that was taken after the removal does not have it"
    );
    world.did(Command::ForgetBackup { id: backup_id(2) });
    let (removed, tombstone) = world.state.shredding().of(secret).unwrap();
    assert_eq!(holders(&world.state, tombstone.created_at, Some(removed)), [backup_id(3)]);
    let (last, _) = world.state.audit().records().next_back().unwrap();
    assert_eq!((last.action.as_str(), last.outcome.as_str()), ("forget_backup", "ok"));
}

#[test]
fn a_backup_is_of_the_past_and_has_an_id_of_its_own() {
    let mut world = World::founded();
    let first = taken(&world, 1);
    world.did(first);
    let mut refused = |revision: u64, taken_at: u64, id: u64| {
        let before = objects(&world.state);
        let (revision, taken_at) = (Revision(revision), Timestamp(taken_at));
        let command = Command::RecordBackup { id: backup_id(id), revision, taken_at };
        let refusal = world.run(command).outcome.unwrap_err();
        assert_eq!(objects(&world.state), before, "a refusal changes nothing");
        refusal
    };
    assert!(matches!(refused(1, 0, 1), Refusal::Exists { .. }));
    assert!(matches!(refused(1_000, 0, 2), Refusal::Precondition { .. }));
    assert!(matches!(refused(1, 1_000_000_000, 3), Refusal::Precondition { .. }));
    let refusal = world.run(Command::ForgetBackup { id: backup_id(9) }).outcome.unwrap_err();
    assert!(matches!(refusal, Refusal::NotFound { .. }), "{refusal:?}");
}

#[test]
fn a_copy_from_before_a_removal_is_recorded_no_more() {
    let mut world = World::founded();
    let secret = world.create_secret(1, "db_password");
    let during = taken(&world, 1);
    world.did(Command::RemoveSecret { id: secret, forget_previous: false, shred: None });
    let at = Revision(world.state.index());
    assert_eq!(world.run(during).outcome.unwrap_err(), Refusal::Stale { current: at });
    assert!(world.state.backups().known().is_empty(), "whoever removed it was told of no backup");
    let after = taken(&world, 1);
    world.did(after);
    // What was not there yet is not in it, however much of it comes and goes meanwhile.
    let during = taken(&world, 2);
    world.now += 1;
    let passing = world.create_secret(2, "passing");
    world.did(Command::RemoveSecret { id: passing, forget_previous: false, shred: None });
    world.did(during);
}

#[test]
fn as_many_as_the_bound_are_named_and_older_ones_counted() {
    let mut world = World::founded();
    let secret = world.create_secret(1, "db_password");
    let created_at = world.state.secret(secret).unwrap().created_at;
    for n in 1..=BACKUPS_MAX as u64 {
        let backup = taken(&world, n);
        world.did(backup);
    }
    assert_eq!(world.state.backups().known().len(), BACKUPS_MAX);
    assert!(world.state.backups().forgotten().is_none());
    let one_more = taken(&world, 0);
    world.did(one_more);
    assert_eq!(world.state.backups().known().len(), BACKUPS_MAX);
    assert!(!world.state.backups().known().contains_key(&backup_id(1)), "the oldest went");
    assert_eq!(world.state.backups().forgotten().unwrap().count, 1);
    assert_eq!(world.state.backups().forgotten_that_may_hold(created_at), 1);
    let later = world.create_secret(2, "later");
    let created_at = world.state.secret(later).unwrap().created_at;
    assert_eq!(world.state.backups().forgotten_that_may_hold(created_at), 0);
}

/// The copy that goes into a backup, wrapped anew under a root key.
pub(crate) fn copy_under(state: &State, root: KeyId) -> State {
    copy_said_to_be_under(state, root, root)
}

/// One whose active root key is another than that of the wraps.
pub(crate) fn copy_said_to_be_under(state: &State, active: KeyId, root: KeyId) -> State {
    let mut copy = state.for_backup();
    let wrap = &mut |place: WrapPlace<'_>| {
        let length = match place {
            WrapPlace::Authority(_) => 138,
            WrapPlace::Secret { .. } => 64,
        };
        Ok::<_, Infallible>(WrappedKey::new(sealed(root, 5, length)).unwrap())
    };
    copy.wrap_all_anew(active, wrap).unwrap();
    copy
}

#[test]
fn the_copy_has_every_wrap_anew_and_nothing_that_a_restored_cluster_makes_itself() {
    let mut world = World::founded();
    let secret = world.create_secret(1, "db_password");
    world.create_secret(2, "other");
    world.did(Command::CreateToken(CreateToken {
        id: proto::id::TokenId::from_entropy([7; 17]),
        role: Role::Agent,
        hash: Digest([7; 32]),
        expires_at: Timestamp(1_000_000),
        uses: 2,
    }));
    world.did(BootCommand::SetPolicy { policy: PeerPolicy::Auto });
    let made_of = Box::new(new_generation(3));
    world.did(BootCommand::Stage { member: MemberId(1), held: None, made_of, replaces: None });
    let recipients = vec![SlotRecipient {
        kind: "unlock-key".into(),
        member: None,
        public_key: Blob(vec![6; 34].into()),
        parameters: Blob(vec![7; 24].into()),
    }];
    let generation = world.state.cluster().unwrap().recipients_generation;
    world.did(Command::SetRecipients { generation, recipients });
    let id = KeyId::from_bytes([70; 16]);
    world.did(Command::AnnounceRoot { id, member: MemberId(1), replaces: None });
    let mut asked = world.envelope(Command::SetQuota { payload_bytes: 90_000 });
    asked.request = Some(world.mark(1));
    world.apply(asked).outcome.unwrap();
    let before = world.state.digest();
    let old = world.state.wrap_of_secret(secret, Version(1)).map(wrap_digest);
    let copy = copy_under(&world.state, BACKUP_ROOT);
    copy.check();
    assert_eq!(world.state.digest(), before, "the state itself is as it was");
    assert_eq!(copy.roots_in_use(), [BACKUP_ROOT]);
    assert_eq!(copy.wraps_under(ROOT), 0);
    assert_eq!(copy.wraps_under(BACKUP_ROOT), 3, "two secrets and the CA's key");
    assert_eq!(copy.cluster().unwrap().active_root, BACKUP_ROOT);
    assert_ne!(copy.wrap_of_secret(secret, Version(1)).map(wrap_digest), old);
    // Tokens, payload ids that were seen, answers for retries: see `snapshot::kind`.
    let left_out = |state: &State| {
        let kinds = [7, 13, 14].into_iter();
        let is_in = |kind: &u8| objects(state).iter().any(|item| item[0] == *kind);
        kinds.filter(is_in).collect::<Vec<_>>()
    };
    assert_eq!((left_out(&world.state), left_out(&copy)), (vec![7, 13, 14], vec![]));
    let of_slots = |state: &State| {
        let cluster = state.cluster().unwrap();
        [!cluster.recipients.is_empty(), cluster.slots.is_some(), cluster.announced_root.is_some()]
    };
    assert_eq!((of_slots(&world.state), of_slots(&copy)), ([true; 3], [false; 3]));
    assert!(copy.boot().generations().next().is_none());
    assert!(copy.tokens().is_empty());
    assert!(copy.cluster().unwrap().transit_keys.is_empty());
    assert_eq!(copy.secrets().len(), 2);
    let payload = |state: &State| {
        state.secret(secret).unwrap().versions[&Version(1)].payload.ciphertext.clone()
    };
    assert_eq!(payload(&copy), payload(&world.state));

    // And it is read back as it was written, in pieces of any size.
    let mut reader = SnapshotReader::new();
    for piece in bytes_of(&copy).chunks(7) {
        reader.feed(piece).unwrap();
    }
    assert_eq!(reader.finish().unwrap().digest(), copy.digest());
}

#[test]
fn what_is_remembered_of_backups_is_in_snapshots() {
    let mut world = World::founded();
    for n in 0..=BACKUPS_MAX as u64 {
        let backup = taken(&world, n);
        world.did(backup);
    }
    let mut reader = SnapshotReader::new();
    reader.feed(&bytes_of(&world.state)).unwrap();
    let read = reader.finish().unwrap();
    assert_eq!(read.backups(), world.state.backups());
    assert!(read.backups().forgotten().is_some());
}
