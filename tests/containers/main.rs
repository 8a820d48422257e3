//! Services with an image, as containers of an engine that the test starts.
//!
//! Each test has an engine, a manager and an agent of its own. Not here: what an engine is told, which
//! the agent's own tests compare; the docker client at a manager without an engine (`docker`).
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod between;
mod database;
mod declared;
mod endings;
mod engine;
mod exec;
mod networks;
mod passed;
mod podman;
mod sdk;
mod session;

use std::fs;
use std::path::Path;

use tests::{Lab, until};

use crate::engine::{Engine, IMAGE};

const PROGRAMS: &str = env!("CARGO_BIN_EXE_programs");

/// A cluster whose one agent has an engine. The agent stops its tasks before the engine goes.
struct Rig {
    lab: Lab,
    engine: Engine,
}

/// None, and it is said, where no engine can be.
fn rig(test: &str) -> Option<Rig> {
    Some(Rig::of(Engine::start(test)?))
}

impl Rig {
    fn of(engine: Engine) -> Self {
        let mut lab = Lab::with_managers(PROGRAMS, 1);
        lab.engine = Some(engine.socket());
        lab.agent("n1");
        Self { lab, engine }
    }

    /// Declares a service that runs a shell script in a container, and waits until it runs.
    fn run(&self, name: &str, options: &[&str], script: &str) -> String {
        let create = ["service", "create", "--detach", "--name", name, "--image", IMAGE];
        self.lab.ctl().ok(&[&create[..], options, &["--", "sh", "-c", script]].concat());
        self.lab.await_tasks(name, 1, "running");
        self.engine.only()
    }

    /// How the last task of a service that is over ended.
    fn ended(&self, service: &str) -> serde_json::Value {
        until(&format!("a task of {service} is over"), || {
            let tasks = self.lab.ctl().json(&["service", "ps", "--all", service]);
            let mut tasks = tasks.as_array().unwrap().iter();
            let over = ["complete", "failed", "rejected", "shutdown"];
            tasks.find(|task| over.iter().any(|state| task["state"] == *state)).cloned()
        })
    }

    /// What of tasks' secrets is mounted for the host and for the engine.
    fn mounted(&self) -> Vec<String> {
        let tasks = self.lab.agents[0].tasks.display().to_string();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        mounts.lines().filter(|line| line.contains(&tasks)).map(str::to_owned).collect()
    }

    /// Nothing of a task's secrets is mounted for the host or for the engine.
    fn assert_nothing_mounted(&self) {
        assert_eq!(self.mounted(), [""; 0]);
    }
}

fn contains(folder: &Path, value: &[u8]) -> bool {
    fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            contains(&entry.path(), value)
        } else {
            // A pipe would be waited for. What is removed meanwhile holds nothing.
            let bytes = || fs::read(entry.path()).unwrap_or_default();
            kind.is_file() && bytes().windows(value.len()).any(|window| window == value)
        }
    })
}

#[test]
fn a_container_has_its_secrets_and_nobody_else_has() {
    let Some(rig) = rig("a_container_has_its_secrets_and_nobody_else_has") else { return };
    secrets_of_a_container(&rig);
}

/// A container has its secrets as declared, and nobody else has them, whichever engine it is of.
fn secrets_of_a_container(rig: &Rig) {
    const VALUE: &[u8] = b"correct horse 8813";
    let (ctl, engine) = (rig.lab.ctl(), &rig.engine);
    ctl.ok_with(&["create", "db", "-"], VALUE);
    ctl.ok_with(&["create", "key", "-"], b"a key");
    let key = "source=key,target=tls/key,uid=7,gid=8,mode=0440";
    let script = "cat /run/secrets/db; echo; echo complaint >&2; exec sleep 1000";
    let container = rig.run("web", &["--secret", "db", "--secret", key, "--env", "A=b c"], script);

    let task = ctl.json(&["service", "ps", "web"])[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(container, format!("web.1.{task}"));
    let listed = engine.exec(&container, &["ls", "-ln", "/run/secrets", "/run/secrets/tls"]);
    let has = |begin: &str, end: &str| {
        listed.lines().any(|line| line.starts_with(begin) && line.ends_with(end))
    };
    assert!(has("-r--------    1 0        0 ", " db"), "{listed}");
    assert!(has("-r--r-----    1 7        8 ", " key"), "{listed}");
    assert_eq!(engine.exec(&container, &["cat", "/run/secrets/db"]).as_bytes(), VALUE);
    let mounted = engine.exec(&container, &["grep", " /run/secrets ", "/proc/self/mountinfo"]);
    assert!(
        mounted
            .contains(" /files /run/secrets ro,nosuid,nodev,noexec,relatime,nosymfollow - tmpfs"),
        "{mounted}"
    );
    assert!(mounted.contains("noswap") && mounted.contains("size="), "{mounted}");

    // Another container, which was started while the first has them, with all of the host's mounts.
    let tasks = rig.lab.agents[0].tasks.display().to_string();
    let bound = format!("{}:/host", rig.lab.path().display());
    let other = ["run", "--rm", "-v", &bound, IMAGE, "sh", "-c"];
    let seen = engine
        .docker(&[&other[..], &["cat /proc/self/mountinfo; ls -lnR /host/a1/tasks /run"]].concat());
    assert!(!seen.contains(" /files ") && !seen.contains(" db\n"), "{seen}");
    rig.assert_nothing_mounted();
    assert!(!engine.docker(&["inspect", &container]).contains("correct horse"));
    for folder in [engine.path(), Path::new(&tasks)] {
        let output_is_kept = folder == Path::new(&tasks);
        assert_eq!(contains(folder, VALUE), output_is_kept, "{}", folder.display());
    }

    let logs = ctl.run(&["service", "logs", "web"]);
    assert!(logs.stdout.contains("| correct horse 8813\n"), "{logs:?}");
    assert!(logs.stderr.contains("| complaint\n"), "{logs:?}");

    ctl.ok(&["service", "rm", "web"]);
    until("the container is gone", || engine.containers().is_empty().then_some(()));
    until("the task's folder is gone", || {
        fs::read_dir(Path::new(&tasks).join("tasks")).unwrap().next().is_none().then_some(())
    });
    rig.assert_nothing_mounted();
}

#[test]
fn an_image_waits_for_a_node_with_an_engine() {
    let Some(mut rig) = rig("an_image_waits_for_a_node_with_an_engine") else { return };
    let ctl = rig.lab.ctl();
    // What runs stays what it is while the engine is away.
    let first = rig.run("first", &[], "exec sleep 1000");
    let task = ctl.json(&["service", "ps", "first"])[0]["id"].clone();
    rig.engine.kill();
    let create = ["service", "create", "--detach", "--name", "second", "--image", IMAGE];
    let why = until("the engine is known to be away", || {
        let ran = ctl.run(&[&create[..], &["--", "sleep", "1000"]].concat());
        if ran.status == 0 {
            assert!(
                ran.stderr.contains("no node has a container engine") || {
                    ctl.ok(&["service", "rm", "second"]);
                    return None;
                }
            );
        }
        let tasks = ctl.json(&["service", "ps", "second"]);
        tasks[0]["message"].as_str().filter(|why| !why.is_empty()).map(str::to_owned)
    });
    assert_eq!(
        why,
        "no suitable node (1 node not available for new tasks: without an agent; \
                     no docker runtime on 1 node)"
    );
    rig.engine.start_again().unwrap();
    rig.lab.await_tasks("second", 1, "running");
    // dockerd ends what it finds running, unless it is told to let it be: true is told of it.
    let over = rig.ended("first");
    assert_eq!((&over["id"], &over["state"]), (&task, &"failed".into()), "{over}");
    rig.lab.await_tasks("first", 1, "running");
    until("two containers, each of another task", || {
        let names = rig.engine.containers();
        (names.len() == 2 && !names.contains(&first)).then_some(())
    });
}

#[test]
fn an_image_that_is_not_there_is_told_in_swarms_words() {
    let Some(rig) = rig("an_image_that_is_not_there_is_told_in_swarms_words") else { return };
    let create = ["service", "create", "--detach", "--name", "web", "--image", "localhost:1/nope"];
    rig.lab.ctl().ok(&create);
    let over = rig.ended("web");
    assert_eq!(over["state"], "rejected", "{over}");
    let message = over["message"].as_str().unwrap();
    assert!(message.starts_with("No such image: localhost:1/nope:latest; "), "{message}");
}
