//! What only the docker client can declare: it is honoured, or told.

use std::path::PathBuf;
use std::process::Command;

use tests::{Lab, until};

use crate::engine::{Engine, IMAGE};
use crate::{PROGRAMS, Rig};

/// A cluster with the Docker front, and what is typed at it.
pub(crate) fn with_front(test: &str) -> Option<(Rig, impl Fn(&[&str]) -> String)> {
    let engine = Engine::start(test)?;
    let socket = engine.socket();
    Some(front(engine, socket))
}

/// The same; the agent asks the engine at that socket.
pub(crate) fn front(engine: Engine, asked_at: PathBuf) -> (Rig, impl Fn(&[&str]) -> String) {
    let mut lab = Lab::new(PROGRAMS);
    let own = asked_at.display().to_string();
    lab.engine = Some(asked_at);
    let socket = lab.path().join("docker/docker.sock").display().to_string();
    lab.start_manager(&["--docker-socket", &socket, "--docker-engine", &own]);
    lab.ctl().ok(&["cluster", "init", "--hostname", "m1"]);
    lab.agent("node1");
    let docker = move |arguments: &[&str]| {
        let host = format!("unix://{socket}");
        let ran = Command::new("docker").args(arguments).env("DOCKER_HOST", host).output().unwrap();
        assert!(ran.status.success(), "{arguments:?}: {ran:?}");
        String::from_utf8(ran.stdout).unwrap() + &String::from_utf8(ran.stderr).unwrap()
    };
    (Rig { lab, engine }, docker)
}

#[test]
fn what_docker_declares_of_a_container_is_done() {
    let Some((rig, docker)) = with_front("what_docker_declares_of_a_container_is_done") else {
        return;
    };
    rig.lab.ctl().ok_with(&["create", "key", "-"], b"open sesame");
    let create = ["service", "create", "--detach", "--name", "web"];
    let said = docker(
        &[
            &create[..],
            &["--secret", "source=key,target=/etc/app/key,mode=0400", "--secret", "key"],
            &["--hostname", "box", "--read-only", "--container-label", "tier=front", "--init"],
            &[
                "--mount",
                "type=tmpfs,target=/scratch",
                "--mount",
                "type=volume,source=vol,target=/v",
            ],
            &[
                "--user",
                "7:8",
                "--workdir",
                "/tmp",
                "--cap-drop",
                "ALL",
                "--host",
                "other:10.1.2.3",
            ],
            &["--limit-memory", "64m", "--publish", "8080:80"],
            &["--log-driver", "syslog", "--env", "A=b", IMAGE, "sleep", "1000"],
        ]
        .concat(),
    );
    assert!(said.contains("port 8080 is published on the nodes that run a task"), "{said}");
    assert!(said.contains("the log driver syslog is not used"), "{said}");
    rig.lab.await_tasks("web", 1, "running");
    let container = rig.engine.only();
    let exec = |script: &str| rig.engine.exec(&container, &["sh", "-c", script]);
    assert_eq!(exec("id -u; id -g; echo $PWD $A").trim(), "7\n8\n/tmp b");
    assert_eq!(
        exec("cat /proc/sys/kernel/hostname; cat /run/secrets/key").trim(),
        "box\nopen sesame"
    );
    assert!(exec("ls -ln /etc/app/key").starts_with("-r--------    1 0        0 "));
    assert_eq!(exec("ls /run/secrets").trim(), "key", "what is elsewhere is not there too");
    let flags = exec("grep -E ' /(etc/app/key|run/secrets) ' /proc/self/mountinfo");
    assert_eq!(
        flags.matches(" ro,nosuid,nodev,noexec,relatime,nosymfollow ").count(),
        2,
        "{flags}"
    );
    assert!(exec("grep ' / ' /proc/self/mountinfo").contains(" / ro,"));
    assert!(exec("grep 10.1.2.3 /etc/hosts").contains("other"));
    assert!(exec("ls -d /scratch /v").contains("/v"));
    assert!(exec("grep CapEff /proc/self/status").contains("0000000000000000"));
    let record: serde_json::Value =
        serde_json::from_str(&rig.engine.docker(&["inspect", &container])).unwrap();
    let record = &record[0];
    assert_eq!(record["Config"]["Labels"]["tier"], "front");
    assert_eq!(record["HostConfig"]["Memory"], 64 << 20);
    assert_eq!(record["HostConfig"]["Init"], true);
    assert_eq!(record["HostConfig"]["PortBindings"]["80/tcp"][0]["HostPort"], "8080");
}

#[test]
fn a_config_is_a_file_of_its_container() {
    let Some((rig, docker)) = with_front("a_config_is_a_file_of_its_container") else { return };
    let file = rig.lab.file("site.conf", b"listen 80;").display().to_string();
    docker(&["config", "create", "site", &file]);
    docker(&["config", "create", "unused", &file]);
    let create = ["service", "create", "--detach", "--no-resolve-image", "--name", "web"];
    let configs = [
        ["--config", "site"],
        ["--config", "source=site,target=/etc/app/site.conf,uid=7,gid=8,mode=0440"],
        ["--config", "source=site,target=/run/secrets/site.conf"],
    ];
    docker(&[&create[..], &configs.concat(), &["--read-only", IMAGE, "sleep", "1000"]].concat());
    rig.lab.await_tasks("web", 1, "running");
    let container = rig.engine.only();
    let exec = |script: &str| rig.engine.exec(&container, &["sh", "-c", script]);
    for place in ["/site", "/etc/app/site.conf", "/run/secrets/site.conf"] {
        assert_eq!(exec(&format!("cat {place}")), "listen 80;", "{place}");
    }
    assert!(exec("ls -ln /site").starts_with("-r--r--r--    1 0        0 "));
    assert!(exec("ls -ln /etc/app/site.conf").starts_with("-r--r-----    1 7        8 "));
    let flags = exec("grep -E ' /(site|etc/app/site.conf|run/secrets) ' /proc/self/mountinfo");
    let restricted = " ro,nosuid,nodev,noexec,relatime,nosymfollow ";
    assert_eq!(flags.matches(restricted).count(), 3, "{flags}");
    assert_eq!(exec("echo x > /site || echo refused").trim(), "refused");
    // Another value is another config, and another task.
    let file = rig.lab.file("site2.conf", b"listen 81;").display().to_string();
    docker(&["config", "create", "site-2", &file]);
    let update = ["service", "update", "--detach", "--config-rm", "site"];
    docker(&[&update[..], &["--config-add", "source=site-2,target=/site", "web"]].concat());
    let other = until("another container runs", || {
        Some(rig.engine.only()).filter(|name| *name != container)
    });
    assert_eq!(rig.engine.exec(&other, &["cat", "/site"]), "listen 81;");
}

#[test]
fn a_network_is_a_bridge_of_the_nodes_engine() {
    let Some((rig, docker)) = with_front("a_network_is_a_bridge_of_the_nodes_engine") else {
        return;
    };
    docker(&["network", "create", "--driver", "overlay", "back"]);
    let create = ["service", "create", "--detach", "--no-resolve-image", "--name", "web"];
    let attached = ["--network", "name=back,alias=db", IMAGE, "sleep", "1000"];
    let said = docker(&[&create[..], &attached].concat());
    assert!(said.contains("network back is a bridge on each node"), "{said}");
    rig.lab.await_tasks("web", 1, "running");
    let record = rig.engine.docker(&["inspect", &rig.engine.only()]);
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let network = &record[0]["NetworkSettings"]["Networks"]["back"];
    let aliases = network["Aliases"].as_array().unwrap();
    assert!(aliases.contains(&"db".into()) && aliases.contains(&"web".into()), "{network}");

    docker(&["service", "rm", "web"]);
    until("the container is gone", || rig.engine.containers().is_empty().then_some(()));
    until("and so is its network", || {
        let networks = rig.engine.docker(&["network", "ls", "--format", "{{.Name}}"]);
        (!networks.lines().any(|name| name == "back")).then_some(())
    });

    // The engine's own network, by the id that docker has for it.
    let create = ["service", "create", "--detach", "--no-resolve-image", "--name", "own"];
    docker(&[&create[..], &["--network", "host", IMAGE, "sleep", "1000"]].concat());
    rig.lab.await_tasks("own", 1, "running");
    let mode = ["inspect", "--format", "{{.HostConfig.NetworkMode}}", &rig.engine.only()];
    assert_eq!(rig.engine.docker(&mode).trim(), "host");
}

#[test]
fn what_cannot_be_honoured_refuses_the_task() {
    let Some((rig, docker)) = with_front("what_cannot_be_honoured_refuses_the_task") else {
        return;
    };
    let data = rig.lab.agents[0].data.display().to_string();
    let bind = format!("type=bind,source={data},target=/x");
    for (name, options, why) in [
        ("own", ["--mount", &*bind], "which is the agent's own"),
        ("generic", ["--generic-resource", "gpu=1"], "GenericResources"),
    ] {
        let create = ["service", "create", "--detach", "--name", name];
        docker(&[&create[..], &options, &[IMAGE, "sleep", "1000"]].concat());
        let over = rig.ended(name);
        assert_eq!(over["state"], "rejected", "{over}");
        assert!(over["message"].as_str().unwrap().contains(why), "{over}");
    }
}
