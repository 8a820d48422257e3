//! The course's session, typed into the docker client at a manager, and at a swarm of Docker's own.
//!
//! What a manager answers stands in `session.txt`. Docker has to answer the same, but for what is
//! intended to be different (`DIFFERENCES`).

mod differences;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use tests::Transcript;

use crate::declared::with_front;
use crate::engine::Engine;
use crate::session::differences::{DIFFERENCES, Difference};

const SESSION: &str = "tests/containers/session.txt";

/// In the place of PostgreSQL: what it takes its name and password from, and a line when it runs.
const DATABASE: &str = "
trap 'exit 0' TERM
user=$(cat \"$POSTGRES_USER_FILE\") || user=nobody
pass=$(cat \"$POSTGRES_PASSWORD_FILE\") || exit 1
echo \"database of $user, with a password of ${#pass} characters\"
while :; do sleep 0.1; done
";

/// What is in the folder in which it is typed, besides what the session writes there.
fn prepare(transcript: &Transcript, engine: &Engine) {
    engine.import_script("postgres:latest", DATABASE);
    for (name, text) in [
        ("docker-compose.yml", include_str!("../docker/stack/docker-compose.yml")),
        ("external.yml", include_str!("../docker/stack/external.yml")),
        ("long.yml", include_str!("../docker/stack/long.yml")),
    ] {
        transcript.put(name, text);
    }
}

#[test]
fn the_course_is_typed_at_a_manager() {
    const TEST: &str = "the_course_is_typed_at_a_manager";
    let Some((rig, _)) = with_front(TEST) else { return };
    let socket = rig.lab.path().join("docker/docker.sock");
    let transcript = Transcript::new(SESSION, &rig.lab, &socket);
    prepare(&transcript, &rig.engine);
    transcript.check(|_| ());
}

#[test]
fn the_course_is_typed_at_a_swarm_of_dockers() {
    const TEST: &str = "the_course_is_typed_at_a_swarm_of_dockers";
    let Some(engine) = Engine::start_apart(TEST) else { return };
    engine.docker(&["swarm", "init", "--advertise-addr", "127.0.0.1"]);
    let socket = engine.socket();
    let transcript = Transcript::typed_in(SESSION, engine.path(), &socket);
    prepare(&transcript, &engine);
    let mut met = BTreeSet::new();
    let mut wrong = String::new();
    for (command, ours) in transcript.commands() {
        let found = transcript.typed(&command);
        let mut expected = ours;
        for (number, difference) in DIFFERENCES.iter().enumerate() {
            if difference.commands.contains(&&*command) && apply(difference, &mut expected) {
                met.insert((number, command.clone()));
            }
        }
        if found != expected {
            writeln!(wrong, "$ {command}\n{expected:#?}\nis at Docker's {found:#?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "other differences than those that are intended:\n{wrong}");
    for (number, difference) in DIFFERENCES.iter().enumerate() {
        for command in difference.commands {
            assert!(met.contains(&(number, (*command).to_owned())), "{command}: {difference:?}");
        }
    }
}

/// Makes Docker's answer of a manager's; whether the lines that are different are in it.
fn apply(difference: &Difference, lines: &mut Vec<String>) -> bool {
    let count = difference.ours.len();
    let place = lines.windows(count).position(|window| window == difference.ours);
    if let Some(place) = place {
        let dockers = difference.dockers.iter().map(|line| (*line).to_owned());
        lines.splice(place..place + count, dockers);
    }
    place.is_some()
}
