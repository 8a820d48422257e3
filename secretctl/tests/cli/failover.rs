//! What happens to a request when managers fail: it is done once, by whoever answers.

use link::Failure;
use proto::Kind;

use crate::fake::Fake;
use crate::program::Place;
use crate::remote::{enrolled, manager_options, remote};
use crate::world::Fault;

#[test]
fn a_lost_answer_is_asked_for_again_under_the_same_key() {
    let (place, fake) = (Place::new(), Fake::new());
    let _serving = fake.serve_unix(&place.socket());
    // The first call fetches the transit key.
    fake.world().faults.extend([Fault::Says(Failure::new(Kind::Unavailable, "busy"))]);
    let ran = place.run(&["create", "first", "-"], b"one");
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    fake.world().faults.clear();

    fake.world().faults.extend([Fault::None, Fault::LosesAnswer]);
    let ran = place.run(&["create", "db", "-"], b"hunter2");
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    let world = fake.world();
    assert_eq!(world.values["db"], b"hunter2");
    let id = &world.secrets.values().find(|secret| secret.name == "db").unwrap().id;
    assert_eq!(ran.stdout, format!("{id}\n"));
    let keys: Vec<_> = world.seen.iter().skip(1).collect();
    assert_eq!(keys.len(), 2, "one request, two attempts");
    assert_eq!(keys[0], keys[1], "under one request key");
    assert_ne!(keys[0], &world.seen[0], "another request has another key");
}

#[test]
fn a_value_is_sealed_again_when_the_transit_key_was_retired_meanwhile() {
    let (place, fake) = (Place::new(), Fake::new());
    let _serving = fake.serve_unix(&place.socket());
    let retired = || [Fault::None, Fault::RetiresTransitKey];
    fake.world().faults.extend(retired().into_iter().chain(retired()));
    let ran = place.run(&["create", "db", "-"], b"hunter2");
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    assert_eq!(fake.world().values["db"], b"hunter2");
    // A refusal that is no news of the key is told as it is.
    let refused = Fault::Says(Failure::new(Kind::Conflict, "not now"));
    fake.world().faults.extend([Fault::None, refused]);
    let ran = place.run(&["create", "other", "-"], b"hunter2");
    assert_eq!(ran.status, 1);
    assert!(ran.stderr.starts_with("secretctl: error: not now\n"), "{}", ran.stderr);
    // It does not go on for ever.
    fake.world().faults.extend(std::iter::repeat_with(retired).take(9).flatten());
    let ran = place.run(&["create", "third", "-"], b"hunter2");
    assert_eq!(ran.status, 69);
    assert!(ran.stderr.contains("transit key keeps changing"), "{}", ran.stderr);
}

#[test]
fn the_next_manager_is_asked_when_one_is_gone() {
    let (place, fake) = (Place::new(), Fake::new());
    let (first, one) = fake.serve_tls();
    let (_second, other) = fake.serve_tls();
    enrolled(&place, &fake, &[&one, &other]);
    drop(first);
    let ran = remote(&place, &["create", "db", "-"], b"hunter2");
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    assert_eq!(fake.world().values["db"], b"hunter2");
}

#[test]
fn the_next_manager_is_asked_when_one_has_no_leader() {
    let (place, minority) = (Place::new(), Fake::new());
    let (_first, one) = minority.serve_tls();
    enrolled(&place, &minority, &[&one]);
    let no_leader = || Fault::Says(Failure::new(Kind::NoLeader, "no leader: 1 of 3 reachable"));
    minority.world().faults.extend(std::iter::repeat_with(no_leader).take(1_000));
    let ran = remote(&place, &["ls", "--timeout", "300ms"], b"");
    assert_eq!(ran.status, 69);
    assert_eq!(
        ran.stderr,
        "secretctl: error: no leader: 1 of 3 reachable\n\
         secretctl: hint: nothing was changed; start the managers that are missing, then repeat \
         the command\n"
    );
}

#[test]
fn who_is_out_of_reach_is_named() {
    let (place, fake) = (Place::new(), Fake::new());
    let (first, one) = fake.serve_tls();
    let (second, other) = fake.serve_tls();
    enrolled(&place, &fake, &[&one, &other]);
    drop((first, second));
    let ran = remote(&place, &["ls", "--timeout", "300ms"], b"");
    assert_eq!(ran.status, 69, "{}", ran.stderr);
    assert!(
        ran.stderr.starts_with("secretctl: error: cannot reach any manager\n"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains(&one) && ran.stderr.contains(&other), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("secretctl: hint: check that secretd runs there"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_locked_manager_is_not_asked_until_the_deadline() {
    let (place, fake) = (Place::new(), Fake::new());
    let _serving = fake.serve_unix(&place.socket());
    let locked = Failure::new(Kind::Locked, "manager m1 is locked").hint("unlock it on m1");
    fake.world().faults.push_back(Fault::Says(locked));
    // One answer is enough: a second attempt would succeed.
    let ran = place.run(&["ls"], b"");
    assert_eq!(ran.status, 69);
    assert_eq!(
        ran.stderr,
        "secretctl: error: manager m1 is locked\nsecretctl: hint: unlock it on m1\n"
    );
}

#[test]
fn addresses_must_be_addresses() {
    let place = Place::new();
    let token = "SECTKN-1-x";
    let mut args = vec!["context", "add", "prod", "--token", token];
    args.extend(manager_options(&["nowhere"]));
    let ran = place.run(&args, b"");
    assert_eq!(ran.status, 1, "the token is looked at first: {}", ran.stderr);
    assert!(ran.stderr.contains("checksum"), "{}", ran.stderr);
}
