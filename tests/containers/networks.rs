//! Networks of the node's engine: what the agent makes is its own, and what it has not made is not.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::between::{Between, Fate};
use crate::declared::{front, with_front};
use crate::engine::{Engine, IMAGE};

/// Types that a service is to run on a network.
fn serve(docker: &impl Fn(&[&str]) -> String, name: &str, network: &str) {
    docker(&["network", "create", "--driver", "overlay", network]);
    let create = ["service", "create", "--detach", "--no-resolve-image", "--name", name];
    docker(&[&create[..], &["--network", network, IMAGE, "sleep", "1000"]].concat());
}

/// The network that a container is on, as the engine tells it.
fn network_of(engine: &Engine, container: &str, network: &str) -> Value {
    let record: Value = serde_json::from_str(&engine.docker(&["inspect", container])).unwrap();
    record[0]["NetworkSettings"]["Networks"][network].clone()
}

#[test]
fn a_network_of_somebody_else_is_neither_joined_nor_removed() {
    let Some((rig, docker)) =
        with_front("a_network_of_somebody_else_is_neither_joined_nor_removed")
    else {
        return;
    };
    let foreign = rig.engine.docker(&["network", "create", "back"]).trim().to_owned();
    serve(&docker, "web", "back");
    let over = rig.ended("web");
    assert_eq!(over["state"], "rejected", "{over}");
    let message = over["message"].as_str().unwrap();
    assert!(message.contains("a network `back` that was not made for the cluster"), "{message}");
    docker(&["service", "rm", "web"]);
    assert_eq!(
        rig.engine.docker(&["network", "inspect", "--format", "{{.Id}}", "back"]).trim(),
        foreign
    );

    // A name that is the beginning of another network's id.
    let name = foreign.get(..6).unwrap();
    serve(&docker, "api", name);
    rig.lab.await_tasks("api", 1, "running");
    let joined = network_of(&rig.engine, &rig.engine.only(), name);
    assert!(joined["NetworkID"].is_string() && joined["NetworkID"] != *foreign, "{joined}");
}

#[test]
fn a_network_that_goes_before_the_start_is_made_again() {
    let test = "a_network_that_goes_before_the_start_is_made_again";
    let Some(engine) = Engine::start(test) else { return };
    let host = format!("unix://{}", engine.socket().display());
    let is_gone = AtomicBool::new(false);
    let between = Between::start(&engine, move |question| {
        if question.contains("/start ") && !is_gone.swap(true, Ordering::Relaxed) {
            // As the end of another task on it does, if that comes now.
            let mut docker = Command::new("docker");
            let removed = docker.args(["network", "rm", "back"]).env("DOCKER_HOST", &host).output();
            assert!(removed.unwrap().status.success());
        }
        Fate::Answered
    });
    let (rig, docker) = front(engine, between.socket());
    serve(&docker, "web", "back");
    rig.lab.await_tasks("web", 1, "running");
    let joined = network_of(&rig.engine, &rig.engine.only(), "back");
    assert!(joined["EndpointID"].as_str().is_some_and(|id| !id.is_empty()), "{joined}");
    let tasks = rig.lab.ctl().json(&["service", "ps", "--all", "web"]);
    assert_eq!(tasks.as_array().unwrap().len(), 1, "{tasks}");
}
