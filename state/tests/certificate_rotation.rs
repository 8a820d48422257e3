//! Rotating certificates: everybody renews, in whatever order; of each holder one certificate is left.

use proptest::prelude::*;
use proto::id::{Incarnation, KeyId, MemberId, Serial, Timestamp, TokenId};
use proto::identity::{Caller, Subject};
use state::command::Command;
use state::object::{Digest, OperatorRole};
use state::{BootCommand, CaPending, Outcome, PeerPolicy, Standing, State};

use crate::backup::copy_under;
use crate::ca_rotation::begin_under;
use crate::restore::{restore, restored as restored_as};
use crate::world::*;

const FOUNDER: MemberId = MemberId(1);

fn serial(n: u8) -> Serial {
    Serial::from_bytes([n; 16])
}

fn agent(n: u8) -> Subject {
    Subject::Agent(node_id(n))
}

fn manager(world: &World, member: MemberId) -> Subject {
    Subject::Manager(world.state.member(member).unwrap().node_id, member)
}

/// Somebody gets a certificate, as number `n`.
fn issue(world: &mut World, n: u8, subject: Subject) {
    let certificate = certificate(subject);
    world.did(Command::IssueCertificate { serial: serial(n), certificate });
}

fn is_used(world: &mut World, n: u8) -> Outcome {
    world.did(Command::NoteMoves(vec![serial(n)])).outcome.unwrap()
}

/// Somebody renews, and uses it.
fn renew(world: &mut World, n: u8, subject: Subject) {
    issue(world, n, subject);
    is_used(world, n);
}

fn standing(state: &State, n: u8, subject: Subject) -> Standing {
    state.standing(serial(n), subject, &Digest([9; 32]))
}

fn pending(world: &World) -> CaPending {
    world.state.certificate_rotation_pending()
}

fn is_under_way(world: &World) -> bool {
    world.state.certificate_rotations().rotation.is_some()
}

fn reason(world: &mut World, command: Command) -> String {
    let before = objects(&world.state);
    let refusal = world.run(command).outcome.unwrap_err();
    assert_eq!(objects(&world.state), before, "what is refused changes nothing");
    refusal.to_string()
}

fn enrolled(world: &mut World, n: u8) -> Subject {
    let operator = world.operator(n, OperatorRole::Writer, "team");
    let Caller::Certified { subject, serial } = operator else { panic!("it is certified") };
    world.did(Command::EnrollOperator {
        token_id: TokenId::from_entropy([n; 17]),
        hash: Digest([n; 32]),
        serial,
        certificate: certificate(subject),
    });
    subject
}

/// Two managers, an agent and an operator, as numbers 0, 40, 1 and 9.
struct Holders {
    founder: Subject,
    second: Subject,
    operator: Subject,
}

impl Holders {
    fn of(world: &mut World) -> Self {
        let (member, _) = world.certified_manager(40);
        world.add_node(1, &[]);
        let operator = enrolled(world, 9);
        let (founder, second) = (manager(world, FOUNDER), manager(world, member));
        Self { founder, second, operator }
    }
}

#[test]
fn whoever_renews_has_one_certificate_from_then_on_and_when_all_have_it_is_complete() {
    let mut world = World::founded();
    let Holders { founder, second, operator } = Holders::of(&mut world);
    let (Subject::Manager(_, second_id), Subject::Operator(operator_id)) = (second, operator)
    else {
        panic!("they are what they are")
    };
    world.did(Command::BeginCertificateRotation);
    assert_eq!(world.state.certificate_rotations().number, 1);
    let (members, nodes) = (vec![FOUNDER, second_id], vec![node_id(1)]);
    let everybody = CaPending { members, nodes, operators: vec![operator_id] };
    assert_eq!(pending(&world), everybody);
    for n in [0, 40, 1] {
        assert!(world.state.owes_renewal(serial(n)), "{n}");
    }
    assert!(world.state.owes_renewal(serial(200)), "one that is not known is of before");

    // That it is issued is not enough, nor that one of before is in use.
    issue(&mut world, 21, agent(1));
    assert_eq!(is_used(&mut world, 1), Outcome::Steps { applied: 0, stale: 1 });
    assert_eq!(pending(&world), everybody);
    assert!(!world.state.owes_renewal(serial(21)));
    for n in [1, 21] {
        assert_eq!(standing(&world.state, n, agent(1)), Standing::Good, "{n}");
    }
    // Once it is, it is the only one: what somebody else renewed with the key of before goes, too.
    issue(&mut world, 22, agent(1));
    assert_eq!(is_used(&mut world, 21), Outcome::Steps { applied: 1, stale: 0 });
    assert_eq!(standing(&world.state, 21, agent(1)), Standing::Good);
    for n in [1, 22] {
        assert_eq!(standing(&world.state, n, agent(1)), Standing::Superseded, "{n}");
        assert_eq!(is_used(&mut world, n), Outcome::Steps { applied: 0, stale: 1 });
    }
    assert!(pending(&world).nodes.is_empty());
    // It renews as ever afterwards.
    issue(&mut world, 23, agent(1));
    assert_eq!(standing(&world.state, 23, agent(1)), Standing::Good);
    assert_eq!(standing(&world.state, 21, agent(1)), Standing::Good);

    renew(&mut world, 50, second);
    renew(&mut world, 51, operator);
    assert_eq!(standing(&world.state, 0, founder), Standing::Good);
    assert!(is_under_way(&world));
    renew(&mut world, 52, founder);
    assert!(!is_under_way(&world), "nobody is waited for");
    let last = world.state.certificate_rotations().last.unwrap();
    assert_eq!((last.left_behind, last.ended_at), (0, world.state.now()));
    for (n, subject) in [(0, founder), (40, second), (1, agent(1))] {
        assert_eq!(standing(&world.state, n, subject), Standing::Superseded, "{n}");
    }
    for (n, subject) in [(52, founder), (50, second), (23, agent(1)), (51, operator)] {
        assert_eq!(standing(&world.state, n, subject), Standing::Good, "{n}");
    }
    assert!(!world.state.owes_renewal(serial(23)));
    let restored = restored(&world.state);
    assert_eq!(restored.digest(), world.state.digest());
}

#[test]
fn one_is_under_way_at_a_time_and_none_while_the_ca_rotates() {
    let mut world = World::founded();
    let Holders { founder, second, .. } = Holders::of(&mut world);
    let none = reason(&mut world, Command::CutFormerCertificates);
    assert!(none.contains("no certificate rotation is in progress"), "{none}");
    world.did(Command::BeginCertificateRotation);
    let waits = reason(&mut world, Command::BeginCertificateRotation);
    assert!(
        waits.contains("certificate rotation 1 is in progress: it waits for manager"),
        "{waits}"
    );
    assert!(waits.contains("node node-1"), "{waits}");
    let never = reason(&mut world, Command::CutFormerCertificates);
    assert!(never.contains("managers are never left behind"), "{never}");
    renew(&mut world, 50, founder);
    renew(&mut world, 51, second);
    world.did(Command::CutFormerCertificates);
    let last = world.state.certificate_rotations().last.unwrap();
    assert_eq!(last.left_behind, 2);
    assert_eq!(standing(&world.state, 1, agent(1)), Standing::Superseded);
    // Another one begins after it, and asks of everybody again.
    world.did(Command::BeginCertificateRotation);
    assert_eq!(world.state.certificate_rotations().number, 2);
    assert!(world.state.owes_renewal(serial(50)));
    let mut world = World::founded();
    let from = world.state.cluster().unwrap().authority.digest;
    world.did(begin_under(ROOT, from, 81, &[TRANSIT]));
    let waits = reason(&mut world, Command::BeginCertificateRotation);
    assert!(waits.contains("CA rotation 1 is in progress, which replaces every"), "{waits}");
}

#[test]
fn who_is_removed_is_not_waited_for_and_who_joins_is() {
    let mut world = World::founded();
    let Holders { founder, second, operator } = Holders::of(&mut world);
    world.did(Command::BeginCertificateRotation);
    renew(&mut world, 50, founder);
    let (Subject::Manager(_, second_id), Subject::Operator(id)) = (second, operator) else {
        panic!("they are what they are")
    };
    world.add_node(2, &[]);
    world.did(Command::RemoveMember { member: second_id, destroys: Some(false) });
    world.did(Command::RemoveOperator { id });
    world.did(Command::RemoveNode { id: node_id(1), force: true });
    assert_eq!(pending(&world), CaPending { nodes: vec![node_id(2)], ..CaPending::default() });
    // Its first certificate is of now.
    assert!(!world.state.owes_renewal(serial(2)));
    is_used(&mut world, 2);
    assert!(!is_under_way(&world));
    assert_eq!(
        standing(&world.state, 1, agent(1)),
        Standing::Revoked,
        "it was removed, and is told"
    );
}

#[test]
fn a_member_turns_to_another_boot_key_as_well() {
    let mut world = World::founded();
    world.did(BootCommand::SetPolicy { policy: PeerPolicy::Auto });
    let stage = |world: &mut World, held, n| {
        let made_of = Box::new(new_generation(n));
        world.did(BootCommand::Stage { member: FOUNDER, held, made_of, replaces: None });
        let generation = world.state.index();
        world.did(BootCommand::Acknowledge { member: FOUNDER, generation });
        generation
    };
    let held = stage(&mut world, None, 3);
    world.did(Command::BeginCertificateRotation);
    let founder = manager(&world, FOUNDER);
    renew(&mut world, 50, founder);
    assert_eq!(pending(&world).members, [FOUNDER], "its boot key is of before");
    assert!(world.state.owes_turn(FOUNDER) && !world.state.asks_by_former_ca(FOUNDER));
    stage(&mut world, Some(held), 4);
    assert!(!world.state.owes_turn(FOUNDER));
    world.did(Command::NoteMoves(vec![]));
    assert!(!is_under_way(&world));
}

/// Raft takes a manager's certificate that the state does not know.
#[test]
fn superseded_certificates_of_managers_are_known_for_as_long_as_others_that_ended() {
    let mut world = World::founded();
    let founder = manager(&world, FOUNDER);
    for n in 50..53 {
        world.did(Command::BeginCertificateRotation);
        renew(&mut world, n, founder);
    }
    let refused =
        |world: &World| world.state.superseded().map(|(serial, _)| serial).collect::<Vec<_>>();
    let all = [0, 50, 51].map(serial);
    assert_eq!(refused(&world), all);
    world.now = certificate(founder).not_after.0 + 1;
    issue(&mut world, 53, founder);
    assert_eq!(refused(&world), all, "though they have ended");
    world.now += 366 * 24 * 3600 * 1000;
    issue(&mut world, 54, founder);
    assert!(refused(&world).is_empty());
    // Of an agent those that have not ended are.
    let mut world = World::founded();
    world.add_node(1, &[]);
    for n in 60..63 {
        world.did(Command::BeginCertificateRotation);
        renew(&mut world, n, agent(1));
        renew(&mut world, n + 10, founder);
    }
    let of_agent = world.state.superseded().filter(|(_, of)| *of == agent(1));
    assert_eq!(of_agent.map(|(serial, _)| serial).collect::<Vec<_>>(), [1, 60, 61].map(serial));
}

/// Every entry of a rotation, the cluster cut off after each: whoever leads then goes on from what the
/// log has, and everybody from the certificate that they have, of before or of now.
#[test]
fn a_rotation_that_is_cut_short_after_any_entry_goes_on_to_its_end() {
    let mut world = World::founded();
    let Holders { founder, second, operator } = Holders::of(&mut world);
    let holders = [founder, second, agent(1), operator];
    let mut steps = vec![Command::BeginCertificateRotation];
    for (n, subject) in (50..).zip(holders) {
        let certificate = certificate(subject);
        steps.push(Command::IssueCertificate { serial: serial(n), certificate });
        steps.push(Command::NoteMoves(vec![serial(n)]));
    }
    for count in 0..=steps.len() {
        let mut world = World::founded();
        Holders::of(&mut world);
        for step in &steps[..count] {
            world.did(step.clone());
        }
        world.state = restored(&world.state);
        if count == 0 {
            assert!(!is_under_way(&world), "it was not begun");
            world.did(Command::BeginCertificateRotation);
        }
        let used = steps[..count].iter().filter(|step| matches!(step, Command::NoteMoves(_)));
        let renewed = world.state.certificate_rotations().rotation.as_ref();
        assert_eq!(renewed.map_or(holders.len(), |one| one.renewed.len()), used.count());
        for (n, subject) in (70..).zip(holders) {
            let waits = world.state.certificate_rotations().rotation.as_ref();
            if waits.is_some_and(|one| !one.renewed.contains(&subject)) {
                // The answer may have been lost: by the one of before it is asked for again.
                assert!(!good(&world.state, subject).is_empty(), "{subject} after {count}");
                renew(&mut world, n, subject);
            }
        }
        assert!(!is_under_way(&world), "after {count}");
        for subject in holders {
            assert_eq!(good(&world.state, subject), [1], "{subject} after {count}");
        }
    }
}

/// Of a restored cluster, whose records of what came after the backup are lost.
#[test]
fn a_certificate_without_a_record_stands_until_its_subject_has_renewed() {
    const NEW_ROOT: KeyId = KeyId::from_bytes([90; 16]);
    let mut world = World::founded();
    Holders::of(&mut world);
    world.add_node(2, &[]);
    world.did(Command::BeginCertificateRotation);
    let copy = copy_under(&world.state, NEW_ROOT);
    let state = restored_as(&world, copy.clone(), restore(&copy, 2));
    assert!(state.certificate_rotations().rotation.is_none(), "it is over");
    let member = *state.members().keys().next().unwrap();
    let mut world = World::founded();
    (world.now, world.state) = (state.now().0 + 1, state);
    let founder = manager(&world, member);
    let stands = |world: &World, subject| {
        let state = &world.state;
        state.standing_without_record(subject, Incarnation(1), Timestamp(0)) == Standing::Good
    };
    world.did(Command::BeginCertificateRotation);
    assert!(stands(&world, agent(1)) && stands(&world, agent(2)), "they may renew by it");
    renew(&mut world, 50, agent(1));
    assert!(!stands(&world, agent(1)) && stands(&world, agent(2)));
    renew(&mut world, 51, founder);
    world.did(Command::CutFormerCertificates);
    assert!(!stands(&world, agent(1)) && !stands(&world, agent(2)), "left behind");
}

/// The certificates of a subject that stand: which rotation each is of.
fn good(state: &State, subject: Subject) -> Vec<u64> {
    let of_it = state.certificates().iter().filter(|(_, kept)| kept.subject == subject);
    let stand = of_it.filter(|(serial, kept)| {
        state.standing(**serial, subject, &kept.key_digest) == Standing::Good
    });
    stand.map(|(_, kept)| kept.rotation.unwrap_or(0)).collect()
}

/// What happens to one of three holders: the founder, and the agents of two nodes.
#[derive(Debug, Clone)]
enum Act {
    Begin,
    Cut,
    Issue { holder: u8 },
    Use { nth: u8 },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        1 => Just(Act::Begin),
        1 => Just(Act::Cut),
        4 => (0..3_u8).prop_map(|holder| Act::Issue { holder }),
        4 => any::<u8>().prop_map(|nth| Act::Use { nth }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is issued, used and cut in whatever order, by the holder or by who has its key: after
    /// each rotation one line of certificates is left of each holder that was not left behind, and all
    /// of it was issued since.
    #[test]
    fn of_each_holder_one_line_of_certificates_outlives_a_rotation(
        acts in prop::collection::vec(act(), 0..60),
    ) {
        let mut world = World::founded();
        world.add_node(1, &[]);
        world.add_node(2, &[]);
        let holders = [manager(&world, FOUNDER), agent(1), agent(2)];
        let mut next = 50_u8;
        for act in acts {
            let before = world.state.clone();
            let command = match act {
                Act::Begin => Command::BeginCertificateRotation,
                Act::Cut => Command::CutFormerCertificates,
                Act::Issue { holder } => {
                    next += 1;
                    let certificate = certificate(holders[usize::from(holder)]);
                    Command::IssueCertificate { serial: serial(next), certificate }
                }
                Act::Use { nth } => {
                    let used = 50 + nth % (next - 49);
                    Command::NoteMoves(vec![serial(used)])
                }
            };
            world.run(command);
            let (was, now) = (before.certificate_rotations(), world.state.certificate_rotations());
            prop_assert!(!good(&world.state, holders[0]).is_empty(), "a manager is left behind");
            if was.rotation.is_some() && now.rotation.is_none() {
                let of_now = |holder| {
                    good(&world.state, holder).iter().all(|rotation| *rotation == now.number)
                };
                prop_assert!(holders.into_iter().all(of_now));
            }
            let has_renewed = |state: &State, holder| {
                let rotation = state.certificate_rotations().rotation.as_ref();
                rotation.is_some_and(|one| one.renewed.contains(&holder))
            };
            for holder in holders {
                if has_renewed(&world.state, holder) && !has_renewed(&before, holder) {
                    prop_assert_eq!(good(&world.state, holder).len(), 1);
                }
            }
            if let Some(rotation) = &now.rotation {
                let waits = holders.into_iter().filter(|it| !rotation.renewed.contains(it));
                for holder in waits {
                    let had_one = !good(&before, holder).is_empty();
                    let has_one = !good(&world.state, holder).is_empty();
                    prop_assert!(has_one || !had_one, "it is cut off before it has renewed");
                }
            }
            prop_assert_eq!(restored(&world.state).digest(), world.state.digest());
        }
    }
}
