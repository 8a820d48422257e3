//! The same by Podman: what differs from dockerd is what its tests here are about.

use std::sync::{Arc, Mutex};

use tests::{Lab, until};

use crate::between::{Between, Fate};
use crate::engine::{Engine, IMAGE};
use crate::{PROGRAMS, Rig, endings, secrets_of_a_container};

fn rig(test: &str) -> Option<Rig> {
    Some(Rig::of(Engine::start_podman(test)?))
}

#[test]
fn podman_gives_a_container_its_secrets_and_nobody_else() {
    let Some(rig) = rig("podman_gives_a_container_its_secrets_and_nobody_else") else { return };
    secrets_of_a_container(&rig);
}

#[test]
fn a_killed_supervisor_leaves_no_container_of_podmans() {
    let Some(rig) = rig("a_killed_supervisor_leaves_no_container_of_podmans") else { return };
    endings::killed_supervisors(&rig);
}

/// Nothing of Podman's runs beside its containers: one that is killed takes none along.
#[test]
fn containers_run_on_while_podmans_service_is_away() {
    let Some(mut rig) = rig("containers_run_on_while_podmans_service_is_away") else { return };
    let script = "until [ -e /tmp/go ]; do sleep 0.1; done; echo went; sleep 1; exit 7";
    let container = rig.run("web", &["--restart-condition", "none"], script);
    rig.engine.kill();
    until("the agent knows", || {
        rig.lab.agents[0].daemon.log().contains("container_engine_gone").then_some(())
    });
    rig.engine.start_again().unwrap();
    rig.engine.exec(&container, &["touch", "/tmp/go"]);
    let over = rig.ended("web");
    assert_eq!((&over["state"], &over["exit_code"]), (&"failed".into(), &7.into()), "{over}");
    until("the container is removed", || rig.engine.containers().is_empty().then_some(()));
}

/// Asked to wait for a container, Podman 4 looks without a pause, and takes a processor for it: it is
/// asked once the container has ended.
#[test]
fn podman_is_asked_how_a_container_ended_only_once_it_has() {
    let test = "podman_is_asked_how_a_container_ended_only_once_it_has";
    let Some(engine) = Engine::start_podman(test) else { return };
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    let between = Between::start(&engine, move |question| {
        heard.lock().unwrap().push(question.to_owned());
        Fate::Answered
    });
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.engine = Some(between.socket());
    lab.agent("n1");
    let rig = Rig { lab, engine };
    let count = |word: &str| asked.lock().unwrap().iter().filter(|one| one.contains(word)).count();
    let container = rig.run("web", &["--restart-condition", "none"], "exec sleep 1000");
    // What an agent asks every five seconds.
    let before = count("/containers/json?");
    until("two more looks", || (count("/containers/json?") >= before + 2).then_some(()));
    assert_eq!(count("/wait?"), 0, "{asked:?}");

    // Somebody else's removal is a failure, though Podman has a code of zero for it.
    rig.engine.docker(&["rm", "--force", &container]);
    let over = rig.ended("web");
    assert_eq!(over["state"], "failed", "{over}");
    assert!(count("/wait?") > 0);
}

#[test]
fn an_image_that_podman_has_not_is_told() {
    let Some(rig) = rig("an_image_that_podman_has_not_is_told") else { return };
    let create = ["service", "create", "--detach", "--restart-condition", "none"];
    let image = ["--name", "web", "--image", "localhost:1/nope"];
    rig.lab.ctl().ok(&[&create[..], &image].concat());
    let over = rig.ended("web");
    assert_eq!(over["state"], "rejected", "{over}");
    let message = over["message"].as_str().unwrap();
    assert!(message.starts_with("No such image: localhost:1/nope:latest; "), "{message}");
    let missing = [&create[..], &["--name", "none", "--image", IMAGE, "--", "nope"]].concat();
    rig.lab.ctl().ok(&missing);
    let over = rig.ended("none");
    assert_eq!(over["exit_code"], 127, "{over}");
    assert!(over["message"].as_str().unwrap().contains("executable file not found"), "{over}");
}
