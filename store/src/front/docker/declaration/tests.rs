//! What is declared with docker, read and shown again.

use proto::spec::ServiceSpec;

use super::*;

/// What the client of 28.2 sends for a service with everything on.
const BODY: &str = r#"{
    "Name": "web", "Labels": {"tier": "front"},
    "TaskTemplate": {
        "ContainerSpec": {
            "Image": "alpine:3", "Args": ["sleep", "100"], "Env": ["A=B"], "Init": false,
            "DNSConfig": {}, "Dir": "/srv", "User": "1000", "StopSignal": "SIGINT",
            "StopGracePeriod": 20000000000, "TTY": true,
            "Mounts": [{"Type": "tmpfs", "Target": "/tmp"}],
            "Secrets": [
                {"File": {"Name": "pw", "UID": "0", "GID": "7", "Mode": 292},
                 "SecretID": "2l3kmcw9ch0vgsl0x47v7rk3e", "SecretName": "db_pw"}
            ],
            "Configs": [
                {"File": {"Name": "/etc/site", "UID": "0", "GID": "7", "Mode": 292},
                 "ConfigID": "2l3kmcw9ch0vgsl0x47v7rk3e", "ConfigName": "site"}
            ]
        },
        "Resources": {
            "Limits": {"MemoryBytes": 1073741824},
            "Reservations": {"NanoCPUs": 500000000, "MemoryBytes": 8388608}
        },
        "RestartPolicy": {
            "Condition": "on-failure", "Delay": 1000000000, "MaxAttempts": 3,
            "Window": 60000000000
        },
        "Placement": {
            "Constraints": ["node.role==worker"],
            "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.zone"}}],
            "MaxReplicas": 2, "Platforms": [{"Architecture": "amd64", "OS": "linux"}]
        },
        "Networks": [{"Target": "front"}, {"Target": "back", "Aliases": ["web"]}],
        "ForceUpdate": 3
    },
    "Mode": {"Replicated": {"Replicas": 2}},
    "UpdateConfig": {
        "Parallelism": 2, "Delay": 3000000000, "FailureAction": "rollback",
        "Monitor": 7000000000, "MaxFailureRatio": 0.25, "Order": "start-first"
    },
    "RollbackConfig": {"Parallelism": 0, "MaxFailureRatio": 0},
    "EndpointSpec": {"Mode": "vip", "Ports": [{"TargetPort": 80, "PublishedPort": 8080}]}
}"#;

fn declared(body: &str) -> Declaration {
    serde_json::from_str(body).unwrap()
}

fn said(body: &str) -> String {
    declared(body).read(None).unwrap_err().message().to_owned()
}

/// What is stored has been through the types of all fronts.
fn stored(spec: pb::ServiceSpec) -> pb::ServiceSpec {
    ServiceSpec::try_from(spec).unwrap().into()
}

#[test]
fn what_is_read_and_rendered_is_what_was_declared() {
    let spec = stored(declared(BODY).read(None).unwrap());
    let task = spec.task.as_ref().unwrap();
    assert_eq!((task.image.as_str(), task.runtime()), ("alpine:3", pb::RuntimeKind::Docker));
    assert_eq!(task.networks, ["front", "back"]);
    assert_eq!(task.stop_grace_ms, Some(20_000));
    assert_eq!((task.secrets[0].uid, task.secrets[0].gid), (Some(0), Some(7)));
    assert_eq!((task.configs[0].gid, task.configs[0].target.as_str()), (Some(7), "/etc/site"));
    let update = spec.update.as_ref().unwrap();
    assert_eq!((update.failure_ratio_millionths_max, update.delay_ms), (250_000, 3_000));
    assert_eq!(spec.rollback.as_ref().unwrap().monitor_ms, 5_000, "Swarm's default");
    let shown = serde_json::to_value(Declaration::of(&spec)).unwrap();
    let mut expected: Value = serde_json::from_str(BODY).unwrap();
    // What Docker fills in, and what says nothing.
    expected["TaskTemplate"]["Runtime"] = "container".into();
    expected["TaskTemplate"]["ContainerSpec"].as_object_mut().unwrap().remove("DNSConfig");
    expected["RollbackConfig"] = serde_json::json!({
        "Parallelism": 0, "Delay": 0, "FailureAction": "pause", "Monitor": 5_000_000_000_u64,
        "MaxFailureRatio": 0.0, "Order": "stop-first",
    });
    assert_eq!(shown, expected);
}

#[test]
fn a_declaration_that_comes_back_as_it_was_shown_changes_nothing() {
    let first = stored(declared(BODY).read(None).unwrap());
    let mut native = first.clone();
    native.extensions.clear();
    let task = native.task.as_mut().unwrap();
    (task.image, task.runtime) = (String::new(), pb::RuntimeKind::Process.into());
    task.command = vec!["sleep".to_owned()];
    task.logs = pb::LogPolicy::Memory.into();
    native.update.as_mut().unwrap().monitor_ms = 0;
    let task = native.task.as_mut().unwrap();
    let reference = &mut task.secrets[0];
    (reference.pinned_version, reference.uid, reference.mode) = (4, None, None);
    let minimal = pb::ServiceSpec {
        name: "m".into(),
        task: Some(pb::TaskSpec { command: vec!["x".into()], ..Default::default() }),
        ..Default::default()
    };
    for spec in [first, stored(native), stored(minimal)] {
        let shown = serde_json::to_string(&Declaration::of(&spec)).unwrap();
        assert_eq!(stored(declared(&shown).read(Some(&spec)).unwrap()), spec, "{shown}");
    }
}

/// Whoever can declare a service can put anything into what a front keeps.
#[test]
fn what_is_kept_does_not_speak_for_what_has_a_type() {
    let native = pb::ServiceSpec {
        name: "web".into(),
        task: Some(pb::TaskSpec { command: vec!["x".into()], ..Default::default() }),
        extensions: [(
            DOCKER_EXTENSION.to_owned(),
            r#"{
                "service": {"Name": "other", "name": "other"},
                "task": {"forceUpdate": 7, "ContainerSpec": {"Image": "evil"}},
                "container": {
                    "Image": "evil", "secrets": [{"SecretID": "s"}], "Secrets": [{}],
                    "\u017fecrets": [{"SecretID": "s"}], "TTY": true
                },
                "placement": {"CONSTRAINTS": ["node.id==x"]}
            }"#
            .as_bytes()
            .to_vec()
            .into(),
        )]
        .into(),
        ..Default::default()
    };
    let shown = serde_json::to_value(Declaration::of(&native)).unwrap();
    assert_eq!(shown["Name"], "web");
    let container = serde_json::json!({ "Image": "", "Command": ["x"], "TTY": true });
    assert_eq!(shown["TaskTemplate"]["ContainerSpec"], container);
    assert_eq!(shown["TaskTemplate"]["ForceUpdate"], 0);
    assert_eq!(shown["TaskTemplate"]["Placement"], serde_json::json!({}));
    assert_eq!(shown.get("name"), None);
    let text = shown.to_string();
    assert!(!text.contains("ecrets") && !text.contains("evil"), "{text}");
}

#[test]
fn what_clients_of_other_languages_write_is_read() {
    let global = r#"{"Name":"a","TaskTemplate":{"ContainerSpec":{"Image":"i"}},
        "Mode":{"global":{}}}"#;
    let five = global.replace(r#""global":{}"#, r#""replicated":{"Replicas":5}"#);
    let mode = |body: &str| declared(body).read(None).unwrap().mode;
    assert_eq!(mode(global), Some(pb::service_spec::Mode::Global(true)));
    assert_eq!(mode(&five), Some(pb::service_spec::Mode::Replicas(5)));
    let unknown = global.replace("global", "many");
    assert!(serde_json::from_str::<Declaration>(&unknown).is_err(), "not one replica instead");
    let image = global.replace(r#""Image":"i""#, r#""Image":"i","image":"j""#);
    assert!(said(&image).contains("spelled in another way"));
    // What says nothing inside of what is kept.
    let with = |check: &str| {
        let more = format!(r#""Image":"i","Healthcheck":{check},"Mounts":[{{"A":null}},7]"#);
        declared(&global.replace(r#""Image":"i""#, &more)).read(None).unwrap()
    };
    let full = with(r#"{"Test":["CMD"],"Retries":null,"More":{"Deep":[]}}"#);
    assert_eq!(full, with(r#"{"Test":["CMD"]}"#));
}

#[test]
fn numbers_are_ones_that_clients_can_read() {
    let restart = pb::RestartPolicy { window_ms: u64::MAX, ..Default::default() };
    let resources = pb::Resources { reserved_nano_cpus: 1, reserved_memory_bytes: u64::MAX };
    let task =
        pb::TaskSpec { restart: Some(restart), resources: Some(resources), ..Default::default() };
    let spec = pb::ServiceSpec { task: Some(task), ..Default::default() };
    let shown = serde_json::to_value(Declaration::of(&spec)).unwrap();
    let task = &shown["TaskTemplate"];
    assert_eq!(task["RestartPolicy"]["Window"], i64::MAX);
    assert_eq!(task["Resources"]["Reservations"]["MemoryBytes"], i64::MAX);
}

#[test]
fn null_and_nothing_are_the_same() {
    let bare = r#"{"Name":"a","TaskTemplate":{"ContainerSpec":{"Image":"i"}}}"#;
    let nameless = r#"{"Name":null,"TaskTemplate":{"ContainerSpec":{"Image":"i","Dir":null}}}"#;
    assert_eq!(declared(nameless).name(), "");
    let nulls = r#"{"Name":"a","Labels":null,"TaskTemplate":{"ContainerSpec":{"Image":"i",
        "Args":null,"Env":null,"Secrets":null,"Configs":null,"Mounts":null},"Resources":null,
        "Placement":null,"Networks":null,"RestartPolicy":null},
        "Mode":{"Replicated":{"Replicas":null}},"UpdateConfig":null,"EndpointSpec":null}"#;
    let [bare, nulls] = [bare, nulls].map(|body| declared(body).read(None).unwrap());
    assert_eq!(bare, nulls);
    assert_eq!(bare.mode, Some(pb::service_spec::Mode::Replicas(1)));
    assert!(bare.extensions.is_empty());
}

#[test]
fn what_cannot_be_is_refused_in_dockers_words() {
    let with = |container: &str, task: &str, rest: &str| {
        format!(r#"{{"Name":"a","TaskTemplate":{{"ContainerSpec":{{{container}}}{task}}}{rest}}}"#)
    };
    let image = r#""Image":"i""#;
    for (body, words) in [
        (with("", "", ""), "ContainerSpec: image reference must be provided"),
        (with(image, r#","Runtime":"plugin""#, ""), "not plugins"),
        (with(r#""Image":"i","Configs":[{}]"#, "", ""), "malformed config reference, no target"),
        (with(r#""Image":"i","Configs":[{"Runtime":{}}]"#, "", ""), "mounts configs"),
        (with(r#""Image":"i","Secrets":[{"SecretID":"x"}]"#, "", ""), "no target"),
        (with(image, r#","RestartPolicy":{"Condition":"often"}"#, ""), "RestartCondition"),
        (with(image, "", r#","Mode":{"Global":{},"Replicated":{}}"#), "only one service mode"),
        (with(image, "", r#","Mode":{"ReplicatedJob":{}}"#), "not jobs"),
        (with(image, "", r#","UpdateConfig":{"Order":"both"}"#), "unrecognized update order"),
        (
            with(image, "", r#","RollbackConfig":{"FailureAction":"rollback"}"#),
            "unrecognized rollback failure action rollback",
        ),
        (with(image, "", r#","UpdateConfig":{"MaxFailureRatio":1.1}"#), "bigger than 1"),
        (with(image, "", r#","UpdateConfig":{"MaxFailureRatio":-0.1}"#), "less than 0"),
    ] {
        assert!(said(&body).contains(words), "{body}: {}", said(&body));
    }
    let owner = r#""Image":"i","Secrets":[{"File":{"Name":"a","UID":"root"}}]"#;
    assert!(said(&with(owner, "", "")).contains(r#"invalid UID "root""#));
}
