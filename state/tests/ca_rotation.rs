//! Rotating the CA: managers first, then everybody else, nobody left behind unasked.

use bytes::Bytes;
use proptest::prelude::*;
use proto::id::{
    BackupId, KeyId, MemberId, NodeId, OperatorId, Revision, Serial, Timestamp, TokenId,
};
use proto::identity::{Caller, Role, Subject};
use proto::limits::{MOVES_MAX, TOKENS_MAX};
use proto::sealed::WrappedKey;
use state::command::{AdmitAgent, Command, CreateToken, Rewrap};
use state::object::{Authority, Blob, Certificate, Digest, OperatorRole, TransitKey};
use state::{
    BeginCaRotation, BootCommand, CaPending, CaPhase, Outcome, PeerPolicy, Phase, Refusal,
    SnapshotReader, Standing, State, Wrapped, wrap_digest,
};

use crate::backup::{backup_id, taken};
use crate::world::*;

const FOUNDER: MemberId = MemberId(1);
const OLD: Digest = Digest([1; 32]);

fn digest(n: u8) -> Digest {
    Digest([n; 32])
}

fn begin(from: Digest, n: u8, transit: &[KeyId]) -> Command {
    begin_under(ROOT, from, n, transit)
}

pub(crate) fn begin_under(root: KeyId, from: Digest, n: u8, transit: &[KeyId]) -> Command {
    let signature = |id: &KeyId| (*id, Blob(vec![n, id.as_bytes()[0]].into()));
    Command::BeginCaRotation(Box::new(BeginCaRotation {
        from,
        authority: Authority {
            certificate: Blob(vec![n, 0xca].into()),
            digest: digest(n),
            wrapped_key: WrappedKey::new(sealed(root, n, 138)).unwrap(),
        },
        bridge: Blob(vec![n, 0xbb].into()),
        signatures: transit.iter().map(signature).collect(),
    }))
}

fn serial(n: u8) -> Serial {
    Serial::from_bytes([n; 16])
}

/// Issues a certificate of a CA.
fn issue(world: &mut World, n: u8, subject: Subject, authority: Option<Digest>) -> Command {
    let certificate = Certificate { authority, ..certificate(subject) };
    let command = Command::IssueCertificate { serial: serial(n), certificate };
    world.did(command.clone());
    command
}

/// A subject gets a certificate of a CA and is seen to use it.
fn moves(world: &mut World, n: u8, subject: Subject, to: u8) {
    issue(world, n, subject, Some(digest(to)));
    world.did(Command::NoteMoves(vec![serial(n)]));
}

fn manager(world: &World, member: MemberId) -> Subject {
    Subject::Manager(world.state.member(member).unwrap().node_id, member)
}

fn agent(n: u8) -> Subject {
    Subject::Agent(node_id(n))
}

fn phase(world: &World) -> Option<CaPhase> {
    world.state.ca_rotations().rotation.as_ref().map(|rotation| rotation.phase)
}

fn pending(world: &World) -> CaPending {
    world.state.ca_rotation_pending()
}

fn refused(world: &mut World, command: Command) -> Refusal {
    let before = objects(&world.state);
    let refusal = world.run(command).outcome.unwrap_err();
    assert_eq!(objects(&world.state), before, "what is refused changes nothing");
    refusal
}

fn reason(world: &mut World, command: Command) -> String {
    refused(world, command).to_string()
}

fn present(world: &World) -> Digest {
    world.state.cluster().unwrap().authority.digest
}

fn enrolled(world: &mut World, n: u8) -> OperatorId {
    let operator = world.operator(n, OperatorRole::Writer, "team");
    let Caller::Certified { subject: Subject::Operator(id), serial } = operator else {
        panic!("operators are certified")
    };
    world.did(Command::EnrollOperator {
        token_id: TokenId::from_entropy([n; 17]),
        hash: digest(n),
        serial,
        certificate: certificate(Subject::Operator(id)),
    });
    id
}

#[test]
fn managers_move_first_and_then_everybody_else_and_the_old_ca_is_dropped_when_all_have() {
    let mut world = World::founded();
    let second = world.join_manager(8);
    world.add_node(1, &[]);
    world.add_node(2, &[]);
    let operator = enrolled(&mut world, 9);
    world.did(begin(OLD, 5, &[TRANSIT]));
    let of = |members: &[MemberId], nodes: &[NodeId], operators: &[OperatorId]| CaPending {
        members: members.to_vec(),
        nodes: nodes.to_vec(),
        operators: operators.to_vec(),
    };
    assert_eq!(pending(&world), of(&[FOUNDER, second], &[], &[]));
    let issuer = |world: &World, role| world.state.issuer(role).unwrap().digest;
    assert_eq!(issuer(&world, Role::Manager), digest(5));
    assert_eq!(issuer(&world, Role::Boot), digest(5));
    assert_eq!(issuer(&world, Role::Agent), OLD);
    assert_eq!(issuer(&world, Role::Operator), OLD);
    assert_eq!(world.state.pinned_authority().unwrap().digest, OLD);
    assert_eq!(world.state.authorities().count(), 2);

    // One that was issued may never have arrived: what counts is that it is used.
    let founder = manager(&world, FOUNDER);
    issue(&mut world, 20, founder, Some(digest(5)));
    assert_eq!(pending(&world).members, [FOUNDER, second]);
    world.did(Command::NoteMoves(vec![serial(20), serial(0), serial(99)]));
    assert_eq!(pending(&world).members, [second]);
    assert_eq!(phase(&world), Some(CaPhase::Managers));
    let second_is = manager(&world, second);
    issue(&mut world, 21, second_is, Some(digest(5)));
    let applied = world.did(Command::NoteMoves(vec![serial(21)]));
    assert_eq!(phase(&world), Some(CaPhase::Clients));
    for n in [1, 2] {
        let told = state::Change::Assignments(node_id(n));
        assert!(applied.changes.contains(&told), "its session tells the agent");
    }
    assert_eq!(pending(&world), of(&[], &[node_id(1), node_id(2)], &[operator]));
    assert_eq!(issuer(&world, Role::Agent), digest(5));
    assert_eq!(issuer(&world, Role::Operator), digest(5));
    assert_eq!(world.state.pinned_authority().unwrap().digest, digest(5));

    moves(&mut world, 22, agent(1), 5);
    moves(&mut world, 23, Subject::Operator(operator), 5);
    assert_eq!(pending(&world), of(&[], &[node_id(2)], &[]));
    assert_eq!(present(&world), OLD);
    let before = world.state.now();
    moves(&mut world, 24, agent(2), 5);
    assert_eq!(phase(&world), None);
    assert_eq!(present(&world), digest(5));
    let former = world.state.ca_rotations().former.clone().unwrap();
    assert_eq!((former.digest, former.left_behind), (OLD, 0));
    assert!(former.dropped_at > before);
    // What was of the old one is nobody's.
    let all: Vec<_> = world.state.certificates().keys().copied().collect();
    assert_eq!(all, [20, 21, 22, 23, 24].map(serial));
    let standing = |n, subject| world.state.standing(serial(n), subject, &Digest([9; 32]));
    assert_eq!(standing(1, agent(1)), Standing::Unknown);
    assert_eq!(standing(22, agent(1)), Standing::Good);
}

#[test]
fn a_second_rotation_is_refused_and_says_who_is_waited_for() {
    let mut world = World::founded();
    world.add_node(1, &[]);
    enrolled(&mut world, 9);
    world.did(begin(OLD, 5, &[TRANSIT]));
    let again = |world: &mut World| reason(world, begin(OLD, 6, &[TRANSIT]));
    assert_eq!(again(&mut world), "CA rotation 1 is in progress: it waits for manager 1");
    let dropped = reason(&mut world, Command::DropFormerCa);
    assert_eq!(dropped, "CA rotation 1 waits for manager 1: managers are never left behind");
    let founder = manager(&world, FOUNDER);
    moves(&mut world, 20, founder, 5);
    let text = "CA rotation 1 is in progress: it waits for node node-1; operator op-9";
    assert_eq!(again(&mut world), text);
    world.did(Command::DropFormerCa);
    let former = world.state.ca_rotations().former.clone().unwrap();
    assert_eq!((former.digest, former.left_behind), (OLD, 2));
    assert_eq!(present(&world), digest(5));
    let none = reason(&mut world, Command::DropFormerCa);
    assert_eq!(none, "no CA rotation is in progress");
    // The next one begins at the one that is present now.
    let stale = refused(&mut world, begin(OLD, 6, &[TRANSIT]));
    assert!(matches!(stale, Refusal::Stale { .. }), "{stale}");
    let back = reason(&mut world, begin(digest(5), 1, &[TRANSIT]));
    assert_eq!(back, "the CA's key is not a new one", "it is the one that was dropped");
    world.did(begin(digest(5), 6, &[TRANSIT]));
    assert_eq!(world.state.ca_rotations().number, 2);
}

#[test]
fn a_rotation_begins_with_a_new_key_under_the_active_root_key_that_signed_every_transit_key() {
    let mut world = World::founded();
    let refusal = refused(&mut world, begin(OLD, 1, &[TRANSIT]));
    assert!(refusal.to_string().contains("not a new one"), "{refusal}");
    for transit in [&[][..], &[KeyId::from_bytes([9; 16])], &[TRANSIT, KeyId::from_bytes([9; 16])]]
    {
        let refusal = refused(&mut world, begin(OLD, 5, transit));
        assert!(matches!(refusal, Refusal::Stale { .. }), "{refusal}");
    }
    let mut other_root = begin(OLD, 5, &[TRANSIT]);
    if let Command::BeginCaRotation(begin) = &mut other_root {
        let wrapped = sealed(KeyId::from_bytes([8; 16]), 5, 138);
        begin.authority.wrapped_key = WrappedKey::new(wrapped).unwrap();
    }
    assert_eq!(refused(&mut world, other_root), Refusal::WrongRoot);
    assert_eq!(world.state.ca_rotations().number, 0);
}

#[test]
fn a_certificate_of_a_ca_that_is_not_trusted_is_not_put_down() {
    let mut world = World::founded();
    world.add_node(1, &[]);
    enrolled(&mut world, 9);
    let of = |n, authority| Command::IssueCertificate {
        serial: serial(n),
        certificate: Certificate { authority, ..certificate(agent(1)) },
    };
    let other = "the CA was rotated meanwhile: sign again";
    assert_eq!(reason(&mut world, of(30, Some(digest(5)))), other);
    world.did(begin(OLD, 5, &[TRANSIT]));
    for (n, authority) in [(31, None), (32, Some(OLD)), (33, Some(digest(5)))] {
        world.did(of(n, authority));
    }
    let founder = manager(&world, FOUNDER);
    moves(&mut world, 20, founder, 5);
    world.did(Command::DropFormerCa);
    for (n, authority) in [(34, None), (35, Some(OLD)), (36, Some(digest(6)))] {
        assert_eq!(reason(&mut world, of(n, authority)), other);
    }
    world.did(of(37, Some(digest(5))));
    // So it is with whoever joins.
    world.did(token(40, Role::Agent));
    let admit = Command::AdmitAgent(AdmitAgent {
        token_id: TokenId::from_entropy([40; 17]),
        hash: digest(40),
        node_id: node_id(40),
        same_node: false,
        hostname: "node-40".parse().unwrap(),
        serial: serial(40),
        certificate: Certificate { authority: Some(OLD), ..certificate(agent(40)) },
        machine: None,
    });
    assert_eq!(reason(&mut world, admit), other);
}

fn token(n: u8, role: Role) -> Command {
    Command::CreateToken(CreateToken {
        id: TokenId::from_entropy([n; 17]),
        role,
        hash: digest(n),
        expires_at: Timestamp(u64::MAX),
        uses: 10,
    })
}

fn admit(n: u8, authority: Digest, by: u8) -> Command {
    Command::AdmitAgent(AdmitAgent {
        token_id: TokenId::from_entropy([by; 17]),
        hash: digest(by),
        node_id: node_id(n),
        same_node: false,
        hostname: format!("node-{n}").parse().unwrap(),
        serial: serial(n),
        certificate: Certificate { authority: Some(authority), ..certificate(agent(n)) },
        machine: None,
    })
}

#[test]
fn tokens_of_before_admit_until_the_old_ca_is_dropped_and_say_why_they_do_not_afterwards() {
    let mut world = World::founded();
    world.did(token(40, Role::Agent));
    world.did(begin(OLD, 5, &[TRANSIT]));
    world.did(token(41, Role::Agent));
    let founder = manager(&world, FOUNDER);
    issue(&mut world, 20, founder, Some(digest(5)));
    world.did(admit(50, OLD, 40));
    world.did(Command::NoteMoves(vec![serial(20)]));
    assert_eq!(phase(&world), Some(CaPhase::Clients));
    world.did(token(42, Role::Agent));
    world.did(admit(51, digest(5), 40));
    world.did(admit(52, digest(5), 41));
    // Who joins meanwhile is waited for like others: until it uses what it got.
    assert_eq!(pending(&world).nodes, [50, 51, 52].map(node_id));
    world.did(Command::DropFormerCa);
    for by in [40, 41] {
        let text = reason(&mut world, admit(53, digest(5), by));
        let rotated = "join token was not accepted: the cluster's CA was rotated since it was made";
        assert_eq!(text, rotated, "token {by} names the old one");
    }
    world.did(admit(53, digest(5), 42));
    let names = |n| {
        let token = world.state.token(TokenId::from_entropy([n; 17]));
        token.is_some_and(|token| world.state.leads_here(token))
    };
    assert_eq!([40, 41, 42].map(names), [false, false, true]);
    // The next rotation forgets what names a CA that was dropped before, and nothing else.
    world.did(begin(digest(5), 6, &[TRANSIT]));
    moves(&mut world, 21, founder, 6);
    world.did(Command::DropFormerCa);
    let there = |n| world.state.token(TokenId::from_entropy([n; 17])).is_some();
    assert_eq!([40, 41, 42].map(there), [false, false, true]);
}

#[test]
fn tokens_that_are_kept_to_say_that_their_ca_was_dropped_take_no_room() {
    let mut world = World::founded();
    for n in 0..TOKENS_MAX {
        let mut entropy = [0; 17];
        entropy[..8].copy_from_slice(&n.to_be_bytes());
        let Command::CreateToken(made) = token(1, Role::Agent) else { panic!("it makes a token") };
        let id = TokenId::from_entropy(entropy);
        world.did(Command::CreateToken(CreateToken { id, ..made }));
    }
    let refusal = refused(&mut world, token(200, Role::Agent));
    assert!(matches!(refusal, Refusal::Limit { .. }), "{refusal}");
    world.did(begin(OLD, 5, &[TRANSIT]));
    let founder = manager(&world, FOUNDER);
    moves(&mut world, 20, founder, 5);
    assert_eq!(world.state.tokens().len(), TOKENS_MAX);
    world.did(token(200, Role::Agent));
}

fn transit_key(signatures: Option<&[(Digest, u8)]>) -> TransitKey {
    let signature = |(digest, n): &(Digest, u8)| (*digest, Blob(vec![*n].into()));
    TransitKey {
        public_key: Blob(Bytes::from_static(b"public")),
        wrapped_key: WrappedKey::new(sealed(ROOT, 4, 32)).unwrap(),
        created_at: Timestamp(0),
        not_after: Timestamp(1_000_000_000),
        signature: Blob::default(),
        signatures: signatures.map(|all| all.iter().map(signature).collect()),
    }
}

#[test]
fn every_transit_key_has_the_signature_of_each_ca_that_somebody_goes_by() {
    let mut world = World::founded();
    world.did(begin(OLD, 5, &[TRANSIT]));
    let key = world.state.cluster().unwrap().transit_keys[&TRANSIT].clone();
    let by = |ca: Digest| key.signature_of(&ca, &OLD).map(|blob| blob.0.clone());
    assert_eq!(by(OLD).unwrap(), b"signature"[..]);
    assert_eq!(by(digest(5)).unwrap(), [5, 2][..]);
    assert_eq!(by(digest(6)), None);

    let id = KeyId::from_bytes([60; 16]);
    let add =
        |signatures: Option<&[_]>| Command::AddTransitKey { id, key: transit_key(signatures) };
    let other = "the CA was rotated meanwhile: sign again";
    for lacking in [None, Some(&[(OLD, 1)][..]), Some(&[(digest(5), 2)]), Some(&[])] {
        assert_eq!(reason(&mut world, add(lacking)), other);
    }
    world.did(add(Some(&[(OLD, 1), (digest(5), 2), (digest(6), 3)])));
    let key = |world: &World| world.state.cluster().unwrap().transit_keys[&id].clone();
    assert_eq!(key(&world).signature.0[..], [1]);
    assert_eq!(key(&world).signatures.unwrap().len(), 2, "of nobody else");
    let founder = manager(&world, FOUNDER);
    moves(&mut world, 20, founder, 5);
    assert_eq!(phase(&world), None);
    assert_eq!(key(&world).signature.0[..], [2]);
    assert_eq!(key(&world).signature_of(&OLD, &digest(5)), None);
    // One that was on its way is of the CA of before.
    world.did(Command::RetireTransitKey { id: TRANSIT });
    let id = KeyId::from_bytes([61; 16]);
    let late = |all: &[_]| Command::AddTransitKey { id, key: transit_key(Some(all)) };
    assert_eq!(reason(&mut world, late(&[(OLD, 1)])), other);
    world.did(late(&[(digest(5), 7)]));
    assert_eq!(world.state.cluster().unwrap().transit_keys[&id].signature.0[..], [7]);
}

/// The key of the next CA is one of the things that a root key wraps.
#[test]
fn both_cas_keys_are_wrapped_anew_when_the_root_key_rotates() {
    let mut world = World::founded();
    world.did(begin(OLD, 5, &[TRANSIT]));
    let new = KeyId::from_bytes([70; 16]);
    world.did(Command::AnnounceRoot { id: new, member: FOUNDER, replaces: None });
    world.did(Command::ActivateRoot { id: new });
    assert_eq!(world.state.wraps_under(ROOT), 3, "two CAs, a transit key");
    let next = world.state.ca_rotations().rotation.as_ref().unwrap().authority.wrapped_key.clone();
    let cluster = world.state.cluster().unwrap().clone();
    let items = [
        (Wrapped::Authority, &cluster.authority.wrapped_key, 138),
        (Wrapped::NextAuthority, &next, 138),
        (Wrapped::Transit(TRANSIT), &cluster.transit_keys[&TRANSIT].wrapped_key, 32),
    ];
    let items = items.map(|(object, wrap, length)| Rewrap {
        object,
        old: wrap_digest(wrap),
        new: WrappedKey::new(sealed(new, 71, length)).unwrap(),
    });
    let [present, _, transit] = items.clone();
    world.did(Command::Rewrap(vec![present, transit]));
    assert_eq!(world.state.roots_in_use(), [ROOT, new], "the next CA's key is under the old one");
    let rewrap = Command::Rewrap(items.to_vec());
    assert_eq!(world.did(rewrap.clone()).outcome, Ok(Outcome::Steps { applied: 1, stale: 2 }));
    assert_eq!(world.did(rewrap).outcome, Ok(Outcome::Steps { applied: 0, stale: 3 }));
    assert_eq!(world.state.wraps_under(ROOT), 0);
    world.did(Command::RetireRoot { id: ROOT });
    let rotation = world.state.root_keys().rotation.as_ref().map(|rotation| rotation.phase);
    assert_eq!(rotation, Some(Phase::Retired));
}

#[test]
fn a_manager_that_joins_last_holds_up_the_drop_like_the_others() {
    let mut world = World::founded();
    world.add_node(1, &[]);
    world.did(begin(OLD, 5, &[TRANSIT]));
    let founder = manager(&world, FOUNDER);
    moves(&mut world, 20, founder, 5);
    assert_eq!(phase(&world), Some(CaPhase::Clients));
    let second = world.join_manager(8);
    let waits = format!(
        "CA rotation 1 waits for manager {second}; node node-1: managers are never left behind"
    );
    assert_eq!(reason(&mut world, Command::DropFormerCa), waits);
    let second_is = manager(&world, second);
    moves(&mut world, 21, second_is, 5);
    world.did(Command::DropFormerCa);
}

#[test]
fn no_backup_is_recorded_while_a_ca_takes_the_place_of_another() {
    let mut world = World::founded();
    let record = |world: &World, n: u8| Command::RecordBackup {
        id: BackupId::from_bytes([n; 16]),
        revision: Revision(world.state.index()),
        taken_at: world.state.now(),
    };
    world.did(record(&world, 1));
    world.did(begin(OLD, 5, &[TRANSIT]));
    let why = "a backup has one CA, and another is taking its place: wait until that is complete";
    let command = record(&world, 2);
    assert_eq!(reason(&mut world, command), why);
    assert_eq!(world.state.refuses_backup().unwrap().to_string(), why);
    let founder = manager(&world, FOUNDER);
    moves(&mut world, 20, founder, 5);
    assert_eq!(phase(&world), None);
    assert_eq!(world.state.refuses_backup(), None);
    world.did(record(&world, 2));
}

#[test]
fn who_is_removed_is_not_waited_for() {
    let mut world = World::founded();
    let second = world.join_manager(8);
    world.add_node(1, &[]);
    let operator = enrolled(&mut world, 9);
    world.did(begin(OLD, 5, &[TRANSIT]));
    let founder = manager(&world, FOUNDER);
    moves(&mut world, 20, founder, 5);
    assert_eq!(phase(&world), Some(CaPhase::Managers));
    world.did(Command::RemoveMember { member: second, destroys: Some(false) });
    assert_eq!(phase(&world), Some(CaPhase::Clients));
    world.did(Command::RemoveOperator { id: operator });
    assert_eq!(pending(&world).nodes, [node_id(1)]);
    issue(&mut world, 21, agent(1), Some(digest(5)));
    world.add_node(2, &[]);
    world.did(Command::RemoveNode { id: node_id(1), force: true });
    let late = world.did(Command::NoteMoves(vec![serial(21)])).outcome;
    assert_eq!(late, Ok(Outcome::Steps { applied: 0, stale: 1 }), "nor has it moved");
    world.did(Command::RemoveNode { id: node_id(2), force: true });
    assert_eq!(phase(&world), None);
    assert_eq!(world.state.ca_rotations().former.as_ref().unwrap().left_behind, 0);
}

/// An operator who has nothing but a certificate that ended would have to enrol anew anyway.
#[test]
fn an_operator_is_waited_for_until_its_certificate_ends() {
    let mut world = World::founded();
    let operator = enrolled(&mut world, 9);
    world.did(begin(OLD, 5, &[TRANSIT]));
    let founder = manager(&world, FOUNDER);
    moves(&mut world, 20, founder, 5);
    assert_eq!(pending(&world).operators, [operator]);
    world.now = 1_000_000_000;
    world.did(Command::NoteMoves(vec![]));
    assert_eq!(phase(&world), None);
}

#[test]
fn so_many_moves_fit_in_one_entry_and_no_more() {
    let mut world = World::founded();
    world.did(Command::NoteMoves(vec![serial(1); MOVES_MAX]));
    let refusal = refused(&mut world, Command::NoteMoves(vec![serial(1); MOVES_MAX + 1]));
    assert!(matches!(refusal, Refusal::Limit { .. }), "{refusal}");
}

#[derive(Debug, Clone)]
enum Act {
    Begin,
    Issue { who: u8, next: bool },
    Use { n: u8 },
    AddNode { n: u8 },
    RemoveNode { n: u8 },
    Join,
    Leave { pick: u8 },
    Drop,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => Just(Act::Begin),
        8 => (0_u8..6, any::<bool>()).prop_map(|(who, next)| Act::Issue { who, next }),
        8 => (0_u8..60).prop_map(|n| Act::Use { n }),
        1 => (0_u8..4).prop_map(|n| Act::AddNode { n }),
        1 => (0_u8..4).prop_map(|n| Act::RemoveNode { n }),
        1 => Just(Act::Join),
        1 => (0_u8..4).prop_map(|pick| Act::Leave { pick }),
        1 => Just(Act::Drop),
    ]
}

/// A subject that there is, by a number.
fn subject(state: &State, who: u8) -> Option<Subject> {
    if who < 3 {
        let (id, member) = state.members().iter().nth(who.into())?;
        return Some(Subject::Manager(member.node_id, *id));
    }
    let agents = state.nodes().iter().filter(|(_, node)| node.has_agent);
    agents.map(|(id, _)| Subject::Agent(*id)).nth(usize::from(who - 3))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_happens_only_certificates_of_trusted_cas_stand(
        acts in prop::collection::vec(act(), 1..80),
    ) {
        let mut world = World::founded();
        let (mut cas, mut issued) = (100_u8, 0_u8);
        for act in acts {
            let before = world.state.clone();
            let command = match act {
                Act::Begin => {
                    cas += 1;
                    Some(begin(present(&world), cas, &[TRANSIT]))
                }
                Act::Issue { who, next } => subject(&world.state, who).map(|subject| {
                    let newest = world.state.authorities().last().unwrap().digest;
                    let authority = if next { newest } else { present(&world) };
                    let authority = Some(authority);
                    issued += 1;
                    Command::IssueCertificate {
                        serial: serial(100 + issued),
                        certificate: Certificate { authority, ..certificate(subject) },
                    }
                }),
                Act::Use { n } => Some(Command::NoteMoves(vec![serial(100 + n)])),
                Act::AddNode { n } => {
                    let is_new = world.state.node(node_id(n)).is_none();
                    // Admitted with a certificate that does not name a CA: good for the first only.
                    if is_new && world.state.ca_rotations().former.is_none() {
                        world.add_node(n, &[]);
                    }
                    None
                }
                Act::RemoveNode { n } => Some(Command::RemoveNode { id: node_id(n), force: true }),
                Act::Join => {
                    if world.state.members().len() < 3 && world.state.ca_rotations().former.is_none() {
                        let n = 150 + world.state.index().to_le_bytes()[0] % 40;
                        if world.state.node(node_id(n)).is_none() {
                            world.join_manager(n);
                        }
                    }
                    None
                }
                Act::Leave { pick } => {
                    let member = world.state.members().keys().nth(pick.into()).copied();
                    let member = member.filter(|_| world.state.members().len() > 1);
                    member.map(|member| Command::RemoveMember { member, destroys: Some(false) })
                }
                Act::Drop => Some(Command::DropFormerCa),
            };
            let forced = matches!(command, Some(Command::DropFormerCa));
            if let Some(command) = command {
                world.run(command);
            }
            let state = &world.state;
            let trusted: Vec<_> = state.authorities().map(|ca| Some(ca.digest)).collect();
            for certificate in state.certificates().values() {
                let stands = trusted.contains(&certificate.authority)
                    || (certificate.authority.is_none() && state.ca_rotations().former.is_none());
                prop_assert!(stands, "{certificate:?}");
            }
            let dropped = before.ca_rotations().rotation.as_ref().filter(|_| {
                before.ca_rotations().former != state.ca_rotations().former
            });
            if let Some(rotation) = dropped {
                prop_assert_eq!(present(&world), rotation.authority.digest);
                // Every manager has a certificate to go on with; unless forced, so has every agent.
                let stands_one = |subject| {
                    state.certificates().values().any(|c| c.subject == subject && !c.revoked)
                };
                for (id, member) in state.members() {
                    prop_assert!(stands_one(Subject::Manager(member.node_id, *id)));
                }
                let agents = state.nodes().iter().filter(|(_, node)| node.has_agent);
                for (id, _) in agents {
                    prop_assert!(forced || stands_one(Subject::Agent(*id)));
                }
            }
            let mut reader = SnapshotReader::new();
            reader.feed(&bytes_of(state)).unwrap();
            prop_assert_eq!(bytes_of(&reader.finish().unwrap()), bytes_of(state));
        }
    }
}

/// A locked manager asks its peers with a certificate, too: one of the CA that goes would be refused
/// when it is needed.
#[test]
fn a_manager_that_its_peers_may_open_has_turned_before_the_old_ca_is_dropped() {
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
    assert!(!world.state.asks_by_former_ca(FOUNDER), "there is one CA");
    world.did(begin(OLD, 5, &[TRANSIT]));
    let founder = manager(&world, FOUNDER);
    issue(&mut world, 20, founder, Some(digest(5)));
    world.did(Command::NoteMoves(vec![serial(20)]));
    assert_eq!(pending(&world).members, [FOUNDER], "its boot key is of the CA that goes");
    assert!(world.state.asks_by_former_ca(FOUNDER));
    // Also if the log's clock stands still, since who led before was ahead.
    stage(&mut world, Some(held), 4);
    assert_eq!(pending(&world).members, []);
    let early = reason(&mut world, Command::DropFormerCa);
    assert!(early.contains("managers are never left behind"), "nobody else was asked: {early}");
    world.did(Command::NoteMoves(vec![]));
    assert_eq!(phase(&world), None, "that was all there was to wait for");
    assert!(!world.state.asks_by_former_ca(FOUNDER));
}

#[test]
fn a_backup_from_before_the_ca_was_changed_is_told_apart() {
    let mut world = World::founded();
    let before = taken(&world, 1);
    world.did(before);
    let of_former = |world: &World, n| {
        world.state.is_of_former_ca(&world.state.backups().known()[&backup_id(n)])
    };
    world.did(begin(OLD, 5, &[TRANSIT]));
    assert!(!of_former(&world, 1), "the old one is there until it is dropped");
    let founder = manager(&world, FOUNDER);
    moves(&mut world, 7, founder, 5);
    assert_eq!(present(&world), digest(5));
    // The very entry that dropped the old one is in it.
    let after = taken(&world, 2);
    world.did(after);
    assert_eq!([of_former(&world, 1), of_former(&world, 2)], [true, false]);
}
