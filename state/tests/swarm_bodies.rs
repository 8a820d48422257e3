//! The service bodies that the docker client sends survive: typed part and verbatim extension.
//!
//! Recorded from the real client (Docker 28.2.2, API 1.50). The Docker front will parse them; here
//! the same mapping, by hand, goes through command, log, snapshot and back.

use proto::spec::{
    Extension, FileMode, Mode, OnChange, SecretReference, ServiceSpec, VersionChoice,
};
use serde_json::Value;
use state::command::Command;
use state::{SnapshotReader, State};

use crate::world::*;

/// `docker service create --name web --replicas 2 --secret db_pw -e A=B --network … alpine:3 …`.
const CREATE: &str = include_str!("fixtures/docker_service_create.json");

/// The same without `--replicas`: the client sends null.
const CREATE_NULL_REPLICAS: &str = include_str!("fixtures/docker_service_create_null.json");

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

fn spec(body: &str) -> ServiceSpec {
    let json: Value = serde_json::from_str(body).unwrap();
    let container = &json["TaskTemplate"]["ContainerSpec"];
    let mut spec = ServiceSpec::new(text(&json["Name"]).parse().unwrap());
    spec.mode = Mode::Replicated(json["Mode"]["Replicated"]["Replicas"].as_u64().unwrap_or(1));
    spec.task.runtime = proto::spec::RuntimeKind::Docker;
    spec.task.image = text(&container["Image"]);
    spec.task.args = texts(&container["Args"]);
    spec.task.env = texts(&container["Env"]);
    spec.task.placement.constraints = texts(&json["TaskTemplate"]["Placement"]["Constraints"])
        .iter()
        .map(|c| c.parse().unwrap())
        .collect();
    spec.task.networks = json["TaskTemplate"]["Networks"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|network| text(&network["Target"]))
        .collect();
    spec.task.secrets = container["Secrets"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|secret| SecretReference {
            secret_id: text(&secret["SecretID"]).parse().unwrap(),
            secret_name: text(&secret["SecretName"]).parse().unwrap(),
            version: VersionChoice::Follow,
            target: text(&secret["File"]["Name"]).parse().unwrap(),
            uid: text(&secret["File"]["UID"]).parse().ok(),
            gid: text(&secret["File"]["GID"]).parse().ok(),
            mode: FileMode::new(secret["File"]["Mode"].as_u64().unwrap().try_into().unwrap())
                .unwrap(),
            on_change: OnChange::Restart,
        })
        .collect();
    spec.extensions.insert("docker".into(), Extension(body.as_bytes().to_vec()));
    spec
}

fn through_log_and_snapshot(spec: ServiceSpec) -> ServiceSpec {
    let mut world = World::founded();
    world.create_secret(1, "db_pw");
    let id = service_id(1);
    let command = Command::CreateService { id, spec: Box::new(spec) };
    let stored = minicbor::to_vec(world.envelope(command)).unwrap();
    let applied = world.apply(minicbor::decode(&stored).unwrap());
    applied.outcome.unwrap();
    let mut reader = SnapshotReader::new();
    reader.feed(&bytes_of(&world.state)).unwrap();
    let restored: State = reader.finish().unwrap();
    restored.service(id).unwrap().spec.clone()
}

#[test]
fn a_recorded_body_survives_whole() {
    for body in [CREATE, CREATE_NULL_REPLICAS] {
        let body = body.replace("SECRET_ID", secret_id(1).as_str());
        let spec = spec(&body);
        spec.check().unwrap();
        let back = through_log_and_snapshot(spec.clone());
        assert_eq!(back, spec);
        let verbatim = &back.extensions["docker"].0;
        assert_eq!(verbatim, body.as_bytes());
        assert_eq!(back.task.secrets[0].mode.bits(), 0o444);
        assert_eq!((back.task.secrets[0].uid, back.task.secrets[0].gid), (Some(0), Some(0)));
    }
    assert_eq!(
        spec(CREATE_NULL_REPLICAS.replace("SECRET_ID", secret_id(1).as_str()).as_str()).mode,
        Mode::Replicated(1)
    );
}

#[test]
fn a_changed_extension_makes_a_new_declaration() {
    let mut world = World::founded();
    world.create_secret(1, "db_pw");
    let body = CREATE.replace("SECRET_ID", secret_id(1).as_str());
    let id = world.create_service(1, spec(&body));
    let first = world.state.service(id).unwrap().spec_revision;
    let mut changed = spec(&body);
    changed.extensions.insert("docker".into(), Extension(b"{}".to_vec()));
    let revision = world.revision_of_service(id);
    world.did(Command::UpdateService { id, revision, spec: Box::new(changed.clone()) });
    let second = world.state.service(id).unwrap().spec_revision;
    assert!(second > first, "it is part of the dirty check");
    // A label change restarts nothing.
    changed.labels = proto::name::Labels::new([("a".to_owned(), "b".to_owned())].into()).unwrap();
    let revision = world.revision_of_service(id);
    world.did(Command::UpdateService { id, revision, spec: Box::new(changed) });
    assert_eq!(world.state.service(id).unwrap().spec_revision, second);
}
