//! Slots that peers open: one generation is granted at a time, and none after a removal.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proto::Kind;
use proto::id::{MemberId, Serial, Timestamp};
use proto::identity::Subject;
use proto::limits::{ADDRESS_BYTES_MAX, ALARMS_MAX};
use state::command::Command;
use state::object::{Digest, MemberState};
use state::{
    AlarmReason, BootCommand, BootKey, CONSENT_MS, GRANT_EVERY_MS, NewGeneration, PeerPolicy,
    Refusal, ReleaseRefusal, SnapshotReader, Standing, State,
};

use crate::world::*;

const ME: MemberId = MemberId(1);

/// Where it is.
const HOST: &str = "192.0.2.1";

fn founded(policy: PeerPolicy) -> World {
    let mut world = World::founded();
    world.did(BootCommand::SetPolicy { policy });
    world
}

fn run(world: &mut World, command: impl Into<Command>) -> Result<(), Refusal> {
    world.run(command).outcome.map(|_| ())
}

/// The generation that was staged, and its boot key.
fn stage(
    world: &mut World,
    member: MemberId,
    held: Option<u64>,
    n: u8,
) -> Result<(u64, BootKey), Refusal> {
    let made_of = new_generation(n);
    let by = made_of.boot;
    let replaces = numbers(&world.state, member).1;
    let made_of = Box::new(made_of);
    run(world, BootCommand::Stage { member, held, made_of, replaces })?;
    Ok((world.state.index(), by))
}

fn acknowledge(world: &mut World, member: MemberId, generation: u64) -> Result<(), Refusal> {
    run(world, BootCommand::Acknowledge { member, generation })
}

fn grant_from(
    world: &mut World,
    (generation, by): (u64, BootKey),
    host: &str,
) -> Result<(), Refusal> {
    run(world, BootCommand::Grant { member: ME, generation, by, host: host.into() })
}

fn grant(world: &mut World, generation: (u64, BootKey)) -> Result<(), Refusal> {
    grant_from(world, generation, HOST)
}

/// As [`grant`], once the last grant is long ago.
fn grant_later(world: &mut World, generation: (u64, BootKey)) -> Result<(), Refusal> {
    world.now += GRANT_EVERY_MS;
    grant(world, generation)
}

fn why(refused: Result<impl std::fmt::Debug, Refusal>) -> ReleaseRefusal {
    match refused.unwrap_err() {
        Refusal::Release { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

/// Numbers of the current and the staged generation.
fn numbers(state: &State, member: MemberId) -> (Option<u64>, Option<u64>) {
    let boot = state.boot().member(member);
    let number = |one: &Option<state::BootGeneration>| one.as_ref().map(|one| one.number);
    boot.map_or((None, None), |boot| (number(&boot.current), number(&boot.staged)))
}

fn read_back(world: &World) -> State {
    let mut reader = SnapshotReader::new();
    world.state.write(&mut |piece| reader.feed(piece)).unwrap();
    reader.finish().unwrap()
}

#[test]
fn a_turn_that_is_cut_short_anywhere_leaves_the_generation_of_the_disk() {
    // After step 1 or 2 of a turn the disk is of the former generation, after 3 of the next one.
    for is_written in [false, true] {
        let mut world = founded(PeerPolicy::Auto);
        let first = stage(&mut world, ME, None, 1).unwrap();
        acknowledge(&mut world, ME, first.0).unwrap();
        let next = stage(&mut world, ME, Some(first.0), 2).unwrap();
        assert_eq!(numbers(&world.state, ME), (Some(first.0), Some(next.0)));
        let (mine, other) = if is_written { (next, first) } else { (first, next) };
        grant(&mut world, mine).unwrap();
        assert_eq!(numbers(&world.state, ME), (Some(mine.0), None), "the other one ended");
        assert_eq!(why(grant_later(&mut world, other)), ReleaseRefusal::Stale);
        grant_later(&mut world, mine).unwrap();
        // It turns then, as it would after any start.
        assert!(stage(&mut world, ME, Some(other.0), 3).is_err());
        let third = stage(&mut world, ME, Some(mine.0), 3).unwrap();
        acknowledge(&mut world, ME, third.0).unwrap();
        assert_eq!(numbers(&world.state, ME), (Some(third.0), None));
        assert_eq!(why(grant_later(&mut world, mine)), ReleaseRefusal::Stale);
    }
}

#[test]
fn a_turn_that_was_never_heard_of_again_is_begun_anew() {
    let mut world = founded(PeerPolicy::Auto);
    // The first one: nobody has a generation yet.
    let lost = stage(&mut world, ME, None, 1).unwrap();
    let first = stage(&mut world, ME, None, 2).unwrap();
    assert_eq!(why(acknowledge(&mut world, ME, lost.0)), ReleaseRefusal::Stale);
    acknowledge(&mut world, ME, first.0).unwrap();
    acknowledge(&mut world, ME, first.0).unwrap();
    // It was written, its word was lost, and an operator opened the disk.
    let written = stage(&mut world, ME, Some(first.0), 3).unwrap();
    let next = stage(&mut world, ME, Some(written.0), 4).unwrap();
    assert_eq!(numbers(&world.state, ME), (Some(written.0), Some(next.0)));
    assert_eq!(why(grant(&mut world, first)), ReleaseRefusal::Stale);
    assert_eq!(why(stage(&mut world, ME, None, 5)), ReleaseRefusal::Stale, "it has one");
}

/// What was sent again because an answer was late may come in the other order.
#[test]
fn a_request_to_stage_that_was_sent_twice_stages_once() {
    let mut world = founded(PeerPolicy::Auto);
    let request = |held, n, replaces| {
        let made_of = Box::new(new_generation(n));
        BootCommand::Stage { member: ME, held, made_of, replaces }
    };
    world.did(request(None, 1, None));
    let answered = world.state.index();
    let late = run(&mut world, request(None, 2, None));
    assert!(matches!(late, Err(Refusal::Precondition { .. })), "{late:?}");
    acknowledge(&mut world, ME, answered).unwrap();
    world.did(request(Some(answered), 3, None));
    let lost = world.state.index();
    // It asks again, and knows of the other one by now.
    assert!(run(&mut world, request(Some(answered), 4, Some(answered))).is_err());
    world.did(request(Some(answered), 4, Some(lost)));
    assert_eq!(numbers(&world.state, ME), (Some(answered), Some(world.state.index())));
}

#[test]
fn each_refusal_says_which_it_is() {
    let mut world = World::founded();
    assert_eq!(why(stage(&mut world, ME, None, 1)), ReleaseRefusal::Off, "it is the default");
    world.did(BootCommand::SetPolicy { policy: PeerPolicy::Auto });
    let mine = stage(&mut world, ME, None, 1).unwrap();

    let with = |change: &dyn Fn(&mut BootKey)| {
        let mut by = mine.1;
        change(&mut by);
        (mine.0, by)
    };
    for other in [
        with(&|by| by.serial = Serial::from_bytes([9; 16])),
        with(&|by| by.key_digest = Digest([9; 32])),
        with(&|by| by.not_after = Timestamp(u64::MAX)),
        (mine.0 + 1, mine.1),
    ] {
        assert_eq!(why(grant(&mut world, other)), ReleaseRefusal::Stale);
    }
    let unknown = MemberId(77);
    let (generation, by) = mine;
    let command = BootCommand::Grant { member: unknown, generation, by, host: HOST.into() };
    assert_eq!(why(run(&mut world, command)), ReleaseRefusal::Evicted);

    grant(&mut world, mine).unwrap();
    let granted = world.state.boot().member(ME).unwrap().granted.unwrap();
    assert_eq!((granted.index, granted.generation), (world.state.index(), generation));
    world.now = granted.at.0 + GRANT_EVERY_MS - 2;
    assert_eq!(why(grant(&mut world, mine)), ReleaseRefusal::TooSoon);
    assert_eq!(world.state.now().0, granted.at.0 + GRANT_EVERY_MS - 1);
    grant(&mut world, mine).unwrap();

    world.now = by.not_after.0 - 2;
    grant(&mut world, mine).unwrap();
    assert_eq!(why(grant_later(&mut world, mine)), ReleaseRefusal::Ended);
    // Whoever opens it otherwise goes on from there.
    assert!(
        matches!(stage(&mut world, ME, Some(generation), 2), Err(Refusal::Precondition { .. })),
        "that one has ended, too"
    );
    acknowledge(&mut world, ME, generation).unwrap();

    world.did(Command::SetMemberState { member: ME, state: MemberState::Leaving });
    assert_eq!(why(grant(&mut world, mine)), ReleaseRefusal::Evicted);
    world.did(Command::RemoveMember { member: ME, destroys: None });
    assert_eq!(why(grant(&mut world, mine)), ReleaseRefusal::Evicted);
    assert_eq!(why(stage(&mut world, ME, None, 3)), ReleaseRefusal::Evicted);
    assert_eq!(why(acknowledge(&mut world, ME, generation)), ReleaseRefusal::Evicted);

    let texts = [
        (ReleaseRefusal::Evicted, "evicted: ", Kind::Evicted),
        (ReleaseRefusal::Off, "off: ", Kind::Precondition),
        (ReleaseRefusal::Stale, "stale: ", Kind::Denied),
        (ReleaseRefusal::Ended, "ended: ", Kind::Denied),
        (ReleaseRefusal::ToBeApproved, "to be approved: ", Kind::Denied),
        (ReleaseRefusal::TooSoon, "too soon: ", Kind::Unavailable),
    ];
    for (reason, begins, kind) in texts {
        assert!(reason.to_string().starts_with(begins));
        let refusal = Refusal::Release { member: ME, reason };
        assert_eq!(refusal.kind(), kind);
        assert!(refusal.to_string().contains(begins), "{refusal}");
    }
}

#[test]
fn consent_is_for_one_release_of_one_generation_and_for_ten_minutes() {
    let mut world = founded(PeerPolicy::Approve);
    let mine = stage(&mut world, ME, None, 1).unwrap();
    acknowledge(&mut world, ME, mine.0).unwrap();
    let approve_from = |generation, host: &str| {
        let host = host.to_owned();
        BootCommand::Approve { member: ME, generation, host }
    };
    let approve = |generation| approve_from(generation, HOST);
    assert_eq!(why(grant(&mut world, mine)), ReleaseRefusal::ToBeApproved);
    assert_eq!(why(run(&mut world, approve(mine.0 + 9))), ReleaseRefusal::Stale);
    world.did(approve(mine.0));
    grant(&mut world, mine).unwrap();
    assert_eq!(why(grant_later(&mut world, mine)), ReleaseRefusal::ToBeApproved, "it was used");

    world.did(approve(mine.0));
    let until = world.now + CONSENT_MS;
    world.now = until - 1;
    assert_eq!(why(grant(&mut world, mine)), ReleaseRefusal::ToBeApproved, "it ended");
    world.did(approve(mine.0));
    world.now += CONSENT_MS - 2;
    grant(&mut world, mine).unwrap();

    // For who asks from where the operator saw.
    world.did(approve(mine.0));
    let elsewhere = grant_from(&mut world, mine, "192.0.2.66");
    assert_eq!(why(elsewhere), ReleaseRefusal::ToBeApproved);
    grant_later(&mut world, mine).unwrap();
    assert!(run(&mut world, approve_from(mine.0, &"h".repeat(ADDRESS_BYTES_MAX))).is_ok());
    let too_long = approve_from(mine.0, &"h".repeat(ADDRESS_BYTES_MAX + 1));
    assert!(matches!(run(&mut world, too_long), Err(Refusal::Limit { .. })));

    // Of another generation.
    let next = stage(&mut world, ME, Some(mine.0), 2).unwrap();
    world.did(approve(mine.0));
    assert_eq!(why(grant_later(&mut world, next)), ReleaseRefusal::ToBeApproved);
    acknowledge(&mut world, ME, next.0).unwrap();
    assert_eq!(world.state.boot().member(ME).unwrap().consent, None);
    // A change of the policy takes it back.
    world.did(approve(next.0));
    world.did(BootCommand::SetPolicy { policy: PeerPolicy::Approve });
    assert_eq!(why(grant_later(&mut world, next)), ReleaseRefusal::ToBeApproved);
    world.did(BootCommand::SetPolicy { policy: PeerPolicy::Auto });
    assert!(matches!(run(&mut world, approve(next.0)), Err(Refusal::Precondition { .. })));
    grant_later(&mut world, next).unwrap();
}

#[test]
fn off_ends_every_generation_for_ever() {
    let mut world = founded(PeerPolicy::Auto);
    let other = world.join_manager(2);
    let mine = stage(&mut world, ME, None, 1).unwrap();
    acknowledge(&mut world, ME, mine.0).unwrap();
    stage(&mut world, other, None, 2).unwrap();
    assert_eq!(world.state.boot().generations().count(), 2);
    world.did(BootCommand::SetPolicy { policy: PeerPolicy::Off });
    assert_eq!(world.state.boot().generations().count(), 0, "nothing opens the boxes any more");
    assert_eq!(why(grant(&mut world, mine)), ReleaseRefusal::Off);
    world.did(BootCommand::SetPolicy { policy: PeerPolicy::Auto });
    assert_eq!(why(grant(&mut world, mine)), ReleaseRefusal::Stale);
    // Its key file may still have the slot of then.
    let next = stage(&mut world, ME, Some(mine.0), 3).unwrap();
    assert!(next.0 > mine.0);
    assert_eq!(why(grant(&mut world, mine)), ReleaseRefusal::Stale);
}

#[test]
fn a_generation_is_under_the_active_root_key_and_within_bounds() {
    let mut world = founded(PeerPolicy::Auto);
    let stage = |world: &mut World, change: &dyn Fn(&mut NewGeneration)| {
        let mut made_of = new_generation(1);
        change(&mut made_of);
        let made_of = Box::new(made_of);
        run(world, BootCommand::Stage { member: ME, held: None, made_of, replaces: None })
    };
    let other_root = sealed(proto::id::KeyId::from_bytes([66; 16]), 1, 32);
    let other_root = proto::sealed::WrappedKey::new(other_root).unwrap();
    let refused = stage(&mut world, &|made_of| made_of.wrapped_key = other_root.clone());
    assert_eq!(refused, Err(Refusal::WrongRoot));
    let sized = |size: usize| {
        move |made_of: &mut NewGeneration| {
            made_of.public_key = state::object::Blob(vec![1; size].into());
        }
    };
    assert!(matches!(stage(&mut world, &sized(2049)), Err(Refusal::Limit { limit: 2048, .. })));
    stage(&mut world, &sized(2048)).unwrap();
    let under: Vec<_> =
        world.state.boot().generations().map(|(_, one)| one.made_of.wrapped_key.key_id()).collect();
    assert_eq!(under, [ROOT]);
}

#[test]
fn a_boot_certificate_stands_as_long_as_its_generation() {
    let mut world = founded(PeerPolicy::Auto);
    let first = stage(&mut world, ME, None, 1).unwrap();
    let standing = |world: &World, member, (_, by): (u64, BootKey)| {
        world.state.standing(by.serial, Subject::Boot(member), &by.key_digest)
    };
    assert_eq!(standing(&world, ME, first), Standing::Good);
    assert_eq!(standing(&world, MemberId(2), first), Standing::Revoked, "another's");
    let foreign = (0, BootKey { key_digest: Digest([9; 32]), ..first.1 });
    assert_eq!(standing(&world, ME, foreign), Standing::Revoked);
    let next = stage(&mut world, ME, Some(first.0), 2).unwrap();
    assert_eq!(standing(&world, ME, first), Standing::Good);
    assert_eq!(standing(&world, ME, next), Standing::Good);
    acknowledge(&mut world, ME, next.0).unwrap();
    assert_eq!(standing(&world, ME, first), Standing::Revoked);
    world.did(Command::RemoveMember { member: ME, destroys: None });
    assert_eq!(standing(&world, ME, next), Standing::Revoked);
    // By no other way does one come to stand.
    let mut world = founded(PeerPolicy::Auto);
    let (serial, certificate) = (Serial::from_bytes([5; 16]), certificate(Subject::Boot(ME)));
    let refused = run(&mut world, Command::IssueCertificate { serial, certificate });
    assert!(matches!(refused, Err(Refusal::Precondition { .. })), "{refused:?}");
}

fn alarm(world: &mut World, member: MemberId, reason: AlarmReason) -> Result<(), Refusal> {
    let from = "192.0.2.7:7443".to_owned();
    run(world, BootCommand::RaiseAlarm { member, reason, generation: 4, from, count: 3 })
}

#[test]
fn alarms_stand_until_they_are_cleared_also_of_members_that_were_removed() {
    let mut world = founded(PeerPolicy::Auto);
    alarm(&mut world, ME, AlarmReason::Stale).unwrap();
    let first_at = world.state.now();
    world.did(Command::RemoveMember { member: ME, destroys: None });
    alarm(&mut world, ME, AlarmReason::Evicted).unwrap();
    let read = read_back(&world);
    assert_eq!(read.boot(), world.state.boot(), "a snapshot knows of it");
    let known = &read.boot().alarms()[&ME];
    assert_eq!((known.reason, known.count), (AlarmReason::Evicted, 6));
    assert_eq!((known.first_at, known.last_at), (first_at, world.state.now()));
    world.did(BootCommand::ClearAlarm { member: ME });
    assert!(world.state.boot().alarms().is_empty());
    assert!(run(&mut world, BootCommand::ClearAlarm { member: ME }).is_err());
    assert!(matches!(
        alarm(&mut world, MemberId(77), AlarmReason::Stale),
        Err(Refusal::NotFound { .. })
    ));
    let long = BootCommand::RaiseAlarm {
        member: ME,
        reason: AlarmReason::Stale,
        generation: 1,
        from: "x".repeat(ADDRESS_BYTES_MAX + 1),
        count: 1,
    };
    assert!(matches!(run(&mut world, long), Err(Refusal::Limit { .. })));
}

#[test]
fn of_too_many_alarms_the_one_that_is_quiet_longest_goes() {
    let mut world = founded(PeerPolicy::Auto);
    let mut members = Vec::new();
    let last = u8::try_from(ALARMS_MAX).unwrap();
    for n in 0..=last {
        let member = world.join_manager(n + 2);
        alarm(&mut world, member, AlarmReason::Stale).unwrap();
        world.did(Command::RemoveMember { member, destroys: None });
        members.push(member);
        // The first one is heard again and again, until there is one too many.
        if n < last {
            alarm(&mut world, members[0], AlarmReason::Evicted).unwrap();
        }
    }
    let alarms = world.state.boot().alarms();
    assert_eq!(alarms.len(), ALARMS_MAX);
    assert!(alarms.contains_key(&members[0]));
    assert!(!alarms.contains_key(&members[1]), "it was quiet longest");
    assert!(alarms.contains_key(&members[2]));
}

#[derive(Debug, Clone)]
enum Act {
    Policy(u8),
    /// A disk's next turn, up to this step; of the disks there are, copies included.
    Turn {
        disk: prop::sample::Index,
        steps: u8,
    },
    /// A disk asks to be opened, and turns then, up to this step.
    Ask {
        disk: prop::sample::Index,
        steps: u8,
    },
    Approve(prop::sample::Index),
    /// A disk is copied as it is.
    Copy(prop::sample::Index),
    Join,
    Remove(prop::sample::Index),
    Wait(u16),
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        1 => (0_u8..6).prop_map(Act::Policy),
        6 => (index(), 1_u8..4).prop_map(|(disk, steps)| Act::Turn { disk, steps }),
        6 => (index(), 0_u8..4).prop_map(|(disk, steps)| Act::Ask { disk, steps }),
        3 => index().prop_map(Act::Approve),
        2 => index().prop_map(Act::Copy),
        1 => Just(Act::Join),
        1 => index().prop_map(Act::Remove),
        4 => (0_u16..5_000).prop_map(Act::Wait),
        1 => Just(Act::Restart),
    ]
}

/// A disk as a manager or a thief has it.
#[derive(Debug, Clone)]
struct DiskImage {
    member: MemberId,
    /// What its key file is of.
    holds: Option<(u64, BootKey)>,
}

/// The world, and who has what of it.
struct Try {
    world: World,
    disks: Vec<DiskImage>,
    made: u8,
    /// By member: the highest generation that was said to be on its disk.
    settled: BTreeMap<MemberId, u64>,
    removed: Vec<MemberId>,
}

impl Try {
    /// A turn of one disk: 1 is staged, 2 is written to the disk, 3 is acknowledged.
    fn turn(&mut self, at: usize, steps: u8) {
        let DiskImage { member, holds } = self.disks[at].clone();
        self.made = self.made.wrapping_add(1);
        let held = holds.map(|(number, _)| number);
        let Ok(next) = stage(&mut self.world, member, held, self.made) else { return };
        if let Some(held) = held {
            let (current, _) = numbers(&self.world.state, member);
            // Where peers did not unlock meanwhile, what is held is nobody's any more.
            if current == Some(held) {
                self.settles(member, held);
            }
        }
        if steps >= 2 {
            self.disks[at].holds = Some(next);
        }
        if steps >= 3 && acknowledge(&mut self.world, member, next.0).is_ok() {
            self.settles(member, next.0);
        }
    }

    fn settles(&mut self, member: MemberId, generation: u64) {
        let before = self.settled.insert(member, generation);
        assert!(before.is_none_or(|before| before <= generation), "generations only rise");
    }

    /// A disk asks; whether it was opened.
    fn ask(&mut self, at: usize) -> bool {
        let DiskImage { member, holds } = self.disks[at].clone();
        let Some((generation, by)) = holds else { return false };
        let policy = self.world.state.boot().policy();
        let consent = self.world.state.boot().member(member).and_then(|boot| boot.consent.clone());
        let others: Vec<_> = self.others(member, generation);
        let host = HOST.to_owned();
        let command = BootCommand::Grant { member, generation, by, host };
        if run(&mut self.world, command).is_err() {
            return false;
        }
        assert!(!self.removed.contains(&member), "it was removed");
        assert!(self.settled.get(&member).is_none_or(|last| generation >= *last), "an older one");
        match policy {
            PeerPolicy::Off => panic!("nobody is unlocked"),
            PeerPolicy::Approve => {
                assert_eq!(consent.map(|consent| consent.generation), Some(generation));
            }
            PeerPolicy::Auto => {}
        }
        self.settles(member, generation);
        // Whoever holds another generation is out, however long it waits.
        for (other, by) in others {
            self.world.now += GRANT_EVERY_MS;
            let host = HOST.to_owned();
            let command = BootCommand::Grant { member, generation: other, by, host };
            assert_eq!(why(run(&mut self.world, command)), ReleaseRefusal::Stale);
        }
        true
    }

    /// What else is held of a member.
    fn others(&self, member: MemberId, but: u64) -> Vec<(u64, BootKey)> {
        let of = self.disks.iter().filter(|disk| disk.member == member);
        of.filter_map(|disk| disk.holds).filter(|(number, _)| *number != but).collect()
    }
}

proptest! {
    /// Whatever managers and copies of their disks do: what the module promises.
    #[test]
    fn at_most_one_generation_is_granted_and_none_that_ended(
        acts in prop::collection::vec(act(), 1..80),
    ) {
        let mut t = Try {
            world: founded(PeerPolicy::Auto),
            disks: vec![DiskImage { member: ME, holds: None }],
            made: 0,
            settled: BTreeMap::new(),
            removed: Vec::new(),
        };
        let mut joined = 2_u8;
        for act in acts {
            match act {
                Act::Policy(n) => {
                    let policy = match n {
                        0 => PeerPolicy::Off,
                        1 | 2 => PeerPolicy::Approve,
                        _ => PeerPolicy::Auto,
                    };
                    t.world.did(BootCommand::SetPolicy { policy });
                }
                Act::Turn { disk, steps } => {
                    let at = disk.index(t.disks.len());
                    t.turn(at, steps);
                }
                Act::Ask { disk, steps } => {
                    let at = disk.index(t.disks.len());
                    if t.ask(at) && steps > 0 {
                        t.turn(at, steps);
                    }
                }
                Act::Approve(disk) => {
                    let DiskImage { member, holds } = t.disks[disk.index(t.disks.len())];
                    if let Some((generation, _)) = holds {
                        let host = HOST.to_owned();
                        t.world.run(BootCommand::Approve { member, generation, host });
                    }
                }
                Act::Copy(disk) => {
                    let copy = t.disks[disk.index(t.disks.len())].clone();
                    t.disks.push(copy);
                }
                Act::Join => {
                    if t.world.state.members().len() < 4 {
                        let member = t.world.join_manager(joined);
                        joined += 1;
                        t.disks.push(DiskImage { member, holds: None });
                    }
                }
                Act::Remove(pick) => {
                    let members: Vec<_> = t.world.state.members().keys().copied().collect();
                    if members.len() > 1 {
                        let member = *pick.get(&members);
                        t.world.did(Command::RemoveMember { member, destroys: None });
                        t.removed.push(member);
                    }
                }
                Act::Wait(ms) => t.world.now += u64::from(ms),
                Act::Restart => t.world.state = read_back(&t.world),
            }
            let boot = t.world.state.boot();
            for member in t.world.state.members().keys() {
                let (current, staged) = numbers(&t.world.state, *member);
                prop_assert!(staged.is_none() || staged > current, "{current:?}, {staged:?}");
                let last = t.settled.get(member).copied();
                prop_assert!(current.is_none() || current >= last, "{current:?}, {last:?}");
            }
            for gone in &t.removed {
                prop_assert_eq!(numbers(&t.world.state, *gone), (None, None));
            }
            let is_off = boot.policy() == PeerPolicy::Off;
            prop_assert!(!is_off || boot.generations().next().is_none());
        }
        // A disk that a manager turns to the end is one that opens.
        t.world.did(BootCommand::SetPolicy { policy: PeerPolicy::Auto });
        t.world.now += GRANT_EVERY_MS;
        let alive: Vec<_> = t.world.state.members().keys().copied().collect();
        for member in alive {
            let (current, _) = numbers(&t.world.state, member);
            let opens = |disk: &DiskImage| {
                disk.member == member && disk.holds.map(|(number, _)| number) == current
            };
            if let Some(at) = t.disks.iter().position(opens) {
                t.turn(at, 3);
                t.world.now += GRANT_EVERY_MS;
                prop_assert!(t.ask(at), "{:?}", t.disks[at]);
            }
        }
    }
}
