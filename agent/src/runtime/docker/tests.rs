use proto::id::{ConfigId, Revision, SecretId, ServiceId, TaskId, Version};
use proto::spec::{FileMode, TaskSpec};
use proto::task::DesiredState;
use sys::harden::CoreLimit;

use super::*;
use crate::assignment::SecretVersion;

fn file(number: u8, target: &str) -> ResolvedReference {
    ResolvedReference {
        secret: SecretVersion {
            secret_id: SecretId::from_entropy([number; 17]),
            version: Version(1),
        },
        secret_name: format!("s{number}").parse().unwrap(),
        target: target.parse().unwrap(),
        uid: None,
        gid: None,
        mode: FileMode::OWNER_READS,
    }
}

fn assignment(declared: &str) -> Assignment {
    Assignment {
        task_id: TaskId::from_entropy([1; 17]),
        service_id: ServiceId::from_entropy([2; 17]),
        service_name: "web".parse().unwrap(),
        slot: 3,
        revision: Revision(1),
        desired: DesiredState::Running,
        spec: TaskSpec { image: "bb:1".into(), ..TaskSpec::default() },
        secrets: Vec::new(),
        declared: Some(declared.into()),
    }
}

fn node() -> Node {
    Node {
        boot_id: "boot".into(),
        core_limit: CoreLimit { soft: None, hard: None },
        hide: vec!["/run/secret-agent".into(), "/var/lib/secret-agent".into()],
        tasks: "/run/secret-agent/tasks".into(),
        engine: Some(Place {
            socket: "/run/docker.sock".into(),
            node_id: NodeId::from_entropy([4; 17]),
        }),
    }
}

fn define(assignment: &Assignment) -> Result<(Definition, Value), Refused> {
    let definition = Docker.define(assignment, &node())?;
    let body = definition.container.as_ref().map(|container| container.body.as_str());
    let body = serde_json::from_str(body.unwrap()).unwrap();
    Ok((definition, body))
}

fn refused(change: impl FnOnce(&mut Assignment)) -> String {
    let mut assignment = assignment("");
    change(&mut assignment);
    define(&assignment).unwrap_err().0
}

#[test]
fn names_and_labels_are_swarms_and_the_agents_own() {
    let (definition, body) =
        define(&assignment(r#"{"container":{"Labels":{"a":"b","secretd.node":"another"}}}"#))
            .unwrap();
    let task = TaskId::from_entropy([1; 17]);
    let node = NodeId::from_entropy([4; 17]);
    let container = definition.container.unwrap();
    assert_eq!(container.name, format!("web.3.{task}"));
    let expected = json!({
        "a": "b",
        "com.docker.swarm.node.id": node.as_str(),
        "com.docker.swarm.service.id": ServiceId::from_entropy([2; 17]).as_str(),
        "com.docker.swarm.service.name": "web",
        "com.docker.swarm.task": "",
        "com.docker.swarm.task.id": task.as_str(),
        "com.docker.swarm.task.name": format!("web.3.{task}"),
        "secretd.node": node.as_str(),
    });
    assert_eq!(body["Labels"], expected, "and no declared label stands for the agent's");
    let global = Assignment { slot: 0, ..assignment("") };
    assert_eq!(define(&global).unwrap().0.container.unwrap().name, format!("web.{node}.{task}"));
}

#[test]
fn what_is_said_in_the_spec_is_in_the_request() {
    let mut assignment = assignment("");
    assignment.spec = TaskSpec {
        command: vec!["run".into()],
        args: vec!["-v".into()],
        env: vec!["A=b".into()],
        dir: "/srv".into(),
        user: "7:8".into(),
        ..assignment.spec
    };
    let (definition, body) = define(&assignment).unwrap();
    assert_eq!((definition.uid, definition.gid), (7, 8));
    for (key, value) in [
        ("Image", json!("bb:1")),
        ("Entrypoint", json!(["run"])),
        ("Cmd", json!(["-v"])),
        ("Env", json!(["A=b"])),
        ("WorkingDir", json!("/srv")),
        ("User", json!("7:8")),
    ] {
        assert_eq!(body[key], value, "{key}");
    }
    let host = json!({
        "Mounts": [], "LogConfig": {"Type": "none"}, "RestartPolicy": {"Name": "no"},
    });
    assert_eq!(body["HostConfig"], host);
}

#[test]
fn configs_are_bound_below_the_root_folder_each_by_itself() {
    let mut assignment = assignment("");
    let config = |target: &str, mode| ConfigReference {
        config_id: ConfigId::from_entropy([5; 17]),
        config_name: "site".parse().unwrap(),
        target: target.parse().unwrap(),
        uid: Some(0),
        gid: Some(0),
        mode,
    };
    let all_read = FileMode::ALL_READ;
    let targets = ["site", "/etc/site", "/run/secrets/site"];
    assignment.spec.configs = targets.map(|target| config(target, all_read)).into();
    let (definition, body) = define(&assignment).unwrap();
    let container = definition.container.unwrap();
    assert!(container.has_secrets, "there is something to attach");
    let mounts = body["HostConfig"]["Mounts"].as_array().unwrap().iter();
    let bound: Vec<_> = mounts
        .map(|mount| {
            assert_eq!((&mount["Type"], &mount["ReadOnly"]), (&json!("bind"), &json!(true)));
            let source = mount["Source"].as_str().unwrap();
            let within = source.strip_prefix(&format!("{}/m/", container.place)).unwrap();
            (within, mount["Target"].as_str().unwrap())
        })
        .collect();
    let expected = [("files", "/run/secrets"), ("configs/0", "/site"), ("configs/1", "/etc/site")];
    assert_eq!(bound, expected);
    let placed = Docker.configs(assignment.spec.configs).unwrap();
    let placed: Vec<_> = placed.iter().map(|file| file.target.as_str()).collect();
    assert_eq!(placed, ["configs/0", "configs/1", "files/site"]);
    let odd = FileMode::new(0o4444).unwrap();
    let said = refused(|a| a.spec.configs = vec![config("site", odd)]);
    assert!(said.starts_with("the mode 4444 of config `site` has more than permissions"));
}

#[test]
fn secrets_are_bound_at_their_place_and_elsewhere() {
    let mut assignment = assignment("");
    assignment.secrets =
        vec![file(1, "db"), file(2, "/etc/app/key"), file(3, "/run/secrets/tls/key")];
    let (definition, body) = define(&assignment).unwrap();
    let at = format!("/run/secret-agent/tasks/{}/secrets", assignment.task_id);
    assert_eq!(definition.container.unwrap().place, at);
    let mounts = body["HostConfig"]["Mounts"].as_array().unwrap();
    let bound: Vec<_> = mounts
        .iter()
        .map(|mount| {
            assert_eq!((&mount["Type"], &mount["ReadOnly"]), (&json!("bind"), &json!(true)));
            (mount["Source"].as_str().unwrap(), mount["Target"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        bound,
        [
            (&*format!("{at}/m/files"), "/run/secrets"),
            (&*format!("{at}/m/others/1"), "/etc/app/key"),
        ]
    );
    let placed = Docker.files(assignment.secrets).unwrap();
    let placed: Vec<_> = placed.iter().map(|file| file.target.as_str()).collect();
    assert_eq!(placed, ["files/db", "others/1", "files/tls/key"]);
}

#[test]
fn what_docker_declares_is_in_the_request() {
    let (definition, body) = define(&assignment(
        r#"{
            "service": {"EndpointSpec": {"Mode": "vip", "Ports": [
                {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "host"},
                {"Protocol": "udp", "TargetPort": 53}
            ]}},
            "task": {"LogDriver": {"Name": "syslog"}},
            "resources": {"Limits": {"NanoCPUs": 500000000, "MemoryBytes": 1048576, "Pids": 10}},
            "placement": {"Platforms": [{"OS": "linux"}]},
            "container": {
                "Hostname": "h", "TTY": true, "ReadOnly": true, "Init": false,
                "Mounts": [{"Type": "volume", "Source": "v", "Target": "/data"}],
                "Hosts": ["10.0.0.1 one two"], "Sysctls": {"net.core.somaxconn": "9"},
                "CapabilityAdd": ["CAP_NET_ADMIN"], "CapabilityDrop": ["ALL"],
                "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}],
                "Healthcheck": {"Test": ["CMD", "true"]}, "DNSConfig": {"Nameservers": ["10.0.0.2"]}
            }
        }"#,
    ))
    .unwrap();
    assert!(definition.container.unwrap().has_terminal);
    assert_eq!((&body["Hostname"], &body["Tty"]), (&json!("h"), &json!(true)));
    assert_eq!(body["ExposedPorts"], json!({"80/tcp": {}, "53/udp": {}}));
    assert_eq!(body["Healthcheck"], json!({"Test": ["CMD", "true"]}));
    let host = json!({
        "Mounts": [{"Type": "volume", "Source": "v", "Target": "/data"}],
        "LogConfig": {"Type": "none"}, "RestartPolicy": {"Name": "no"},
        "PortBindings": {"80/tcp": [{"HostPort": "8080"}], "53/udp": [{"HostPort": ""}]},
        "ReadonlyRootfs": true, "Init": false, "ExtraHosts": ["one:10.0.0.1", "two:10.0.0.1"],
        "Sysctls": {"net.core.somaxconn": "9"}, "CapAdd": ["CAP_NET_ADMIN"], "CapDrop": ["ALL"],
        "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}], "Dns": ["10.0.0.2"],
        "NanoCpus": 500_000_000, "Memory": 1_048_576, "MemorySwap": 1_048_576,
        "PidsLimit": 10,
    });
    assert_eq!(body["HostConfig"], host);
}

/// What a stack's client sends of every container.
#[test]
fn privileges_that_say_nothing_are_none() {
    let of = |text: &str| {
        let all = r#""CredentialSpec":null,"SELinuxContext":null"#;
        let kept =
            format!(r#"{{"container":{{"Privileges":{{{all},"NoNewPrivileges":{text}}}}}}}"#);
        define(&assignment(&kept)).unwrap().1["HostConfig"]["SecurityOpt"].clone()
    };
    assert_eq!(of("false"), Value::Null);
    assert_eq!(of("true"), json!(["no-new-privileges"]));
}

#[test]
fn networks_are_joined_by_the_services_name_and_its_aliases() {
    let mut assignment = assignment(r#"{"networks":[{},{"Aliases":["db"]}]}"#);
    assignment.spec.networks = vec!["front".into(), "back".into()];
    let (definition, body) = define(&assignment).unwrap();
    assert_eq!(definition.container.unwrap().networks, ["front", "back"]);
    assert_eq!(body["HostConfig"]["NetworkMode"], "front");
    let endpoints = json!({"front": {"Aliases": ["web"]}, "back": {"Aliases": ["db", "web"]}});
    assert_eq!(body["NetworkingConfig"]["EndpointsConfig"], endpoints);
    assignment.spec.networks = vec!["host".into()];
    let (definition, body) = define(&assignment).unwrap();
    assert!(definition.container.unwrap().networks.is_empty(), "it is the engine's own");
    assert_eq!(body["HostConfig"]["NetworkMode"], "host");
}

#[test]
fn what_cannot_be_done_is_refused_by_its_name() {
    let declared = |text: &str| refused(|a| a.declared = Some(text.into()));
    assert_eq!(refused(|a| a.spec.image.clear()), "no image was declared");
    assert!(refused(|a| a.declared = None).starts_with("what its service declared"));
    let privileges = |part: &str| declared(&format!(r#"{{"container":{{"Privileges":{part}}}}}"#));
    assert!(privileges(r#"{"SELinuxContext":{"Disable":true}}"#).contains("`Privileges.SELinux"));
    assert!(privileges(r#"{"CredentialSpec":{"File":"a"}}"#).contains("`Privileges.Credential"));
    assert!(privileges(r#"{"Seccomp":{"Mode":"default"}}"#).contains("Seccomp"));
    assert!(declared(r#"{"container":{"Mount":[]}}"#).contains("Mount"));
    assert!(declared(r#"{"reservations":{"GenericResources":[]}}"#).contains("GenericResources"));
    assert!(declared("{").contains("cannot be done here"));
    assert!(declared(r#"{"container":{"Isolation":"hyperv"}}"#).contains("Windows"));
    assert!(declared(r#"{"container":{"Hosts":["10.0.0.1"]}}"#).contains("`10.0.0.1`"));
    let mount = |kind: &str, source: &str, target: &str| {
        declared(&format!(
            r#"{{"container":{{"Mounts":[{{"Type":"{kind}","Source":"{source}","Target":"{target}"}}]}}}}"#
        ))
    };
    assert_eq!(mount("npipe", "a", "/b"), "mounts of type `npipe` cannot be made here");
    assert!(mount("volume", "a", "/run/./secrets/").contains("the secrets' place"));
    for source in ["/", "/run", "/run/secret-agent/tasks/x", "/var/lib/x/../secret-agent"] {
        assert!(mount("bind", source, "/b").contains("the agent's own"), "{source}");
    }
    let mode = refused(|a| {
        a.secrets = vec![file(1, "db")];
        a.secrets[0].mode = FileMode::new(0o4500).unwrap();
    });
    assert!(mode.contains("4500"), "{mode}");
    let twice = refused(|a| a.secrets = vec![file(1, "db"), file(2, "/run/secrets/db")]);
    assert_eq!(twice, "secret `s1` as `db` and secret `s2` as `/run/secrets/db` would be one file");
    let without = Node { engine: None, ..node() };
    let error = Docker.define(&assignment(""), &without).unwrap_err();
    assert_eq!(error.0, "this node has no docker runtime");
}
