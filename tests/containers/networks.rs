//! Networks of the node's engine: what the agent makes is its own, and what it has not made is not.

use serde_json::Value;

use crate::declared::with_front;
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
    let name = &foreign[..6];
    serve(&docker, "api", name);
    rig.lab.await_tasks("api", 1, "running");
    let joined = network_of(&rig.engine, &rig.engine.only(), name);
    assert!(joined["NetworkID"].is_string() && joined["NetworkID"] != *foreign, "{joined}");
}
