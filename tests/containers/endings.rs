//! How containers end, whoever is killed meanwhile: the status is true, and nothing is left.

use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex};

use tests::{Lab, until};

use crate::between::{Between, Fate};
use crate::engine::{Engine, IMAGE};
use crate::{PROGRAMS, Rig, rig};

/// The processes that keep a task: its supervisor, and what drives its container.
fn keepers(task: &str) -> Vec<String> {
    let mut keepers = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments);
        if arguments.contains("supervise") && arguments.contains(task) {
            keepers.push(entry.file_name().to_str().unwrap().to_owned());
        }
    }
    keepers
}

fn kill(pids: &[String]) {
    let killed = Command::new("kill").args(["-s", "KILL"]).args(pids).status().unwrap();
    assert!(killed.success());
}

fn task_of(container: &str) -> &str {
    container.rsplit('.').next().unwrap()
}

impl Rig {
    fn restart_agent(&mut self) {
        self.lab.agents[0].daemon.start_again();
    }
}

#[test]
fn an_exit_code_outlives_the_agent() {
    let Some(mut rig) = rig("an_exit_code_outlives_the_agent") else { return };
    exit_code_without_an_agent(&mut rig);
}

pub(crate) fn exit_code_without_an_agent(rig: &mut Rig) {
    let script = "until [ -e /tmp/go ]; do sleep 0.1; done; exit 7";
    let options = ["--restart-condition", "none"];
    let container = rig.run("web", &options, script);
    rig.lab.agents[0].daemon.kill();
    rig.engine.exec(&container, &["touch", "/tmp/go"]);
    until("the container is removed", || rig.engine.containers().is_empty().then_some(()));
    rig.restart_agent();
    let over = rig.ended("web");
    assert_eq!((&over["state"], &over["exit_code"]), (&"failed".into(), &7.into()), "{over}");
}

/// Some of them are over before anybody has looked at them.
#[test]
fn a_program_that_ends_at_once_has_run() {
    let Some(rig) = rig("a_program_that_ends_at_once_has_run") else { return };
    short_programs(&rig);
}

pub(crate) fn short_programs(rig: &Rig) {
    let ctl = rig.lab.ctl();
    ctl.ok_with(&["create", "db", "-"], b"correct horse");
    for number in 0..8 {
        let name = format!("short{number}");
        let create = ["service", "create", "--detach", "--name", &name, "--image", IMAGE];
        let options = ["--secret", "db", "--restart-condition", "none", "--", "sh", "-c", "exit 0"];
        ctl.ok(&[&create[..], &options].concat());
    }
    for number in 0..8 {
        let over = rig.ended(&format!("short{number}"));
        assert_eq!(over["state"], "complete", "{over}");
    }
    rig.assert_nothing_mounted();
}

#[test]
fn a_container_is_stopped_by_its_signal_and_after_its_grace() {
    let Some(rig) = rig("a_container_is_stopped_by_its_signal_and_after_its_grace") else { return };
    signals_and_grace(&rig);
}

pub(crate) fn signals_and_grace(rig: &Rig) {
    let ctl = rig.lab.ctl();
    let polite = "trap 'echo asked; exit 5' USR1; while :; do sleep 0.1; done";
    let first = rig.run("polite", &["--stop-signal", "USR1"], polite);
    ctl.ok(&["service", "update", "--detach", "--force", "polite"]);
    let over = rig.ended("polite");
    assert_eq!((&over["state"], &over["exit_code"]), (&"shutdown".into(), &5.into()), "{over}");
    until("it is removed", || (!rig.engine.containers().contains(&first)).then_some(()));
    ctl.ok(&["service", "rm", "polite"]);
    until("all is removed", || rig.engine.containers().is_empty().then_some(()));

    let deaf = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
    let first = rig.run("deaf", &["--stop-grace-period", "500ms"], deaf);
    until("it is deaf", || {
        ctl.ok(&["service", "logs", "deaf"]).contains("| ready\n").then_some(())
    });
    ctl.ok(&["service", "update", "--detach", "--force", "deaf"]);
    let over = rig.ended("deaf");
    assert_eq!((&over["state"], &over["exit_code"]), (&"shutdown".into(), &137.into()), "{over}");
    until("it is removed", || (!rig.engine.containers().contains(&first)).then_some(()));
}

#[test]
fn a_killed_supervisor_leaves_no_container() {
    let Some(rig) = rig("a_killed_supervisor_leaves_no_container") else { return };
    killed_supervisors(&rig);
}

pub(crate) fn killed_supervisors(rig: &Rig) {
    rig.lab.ctl().ok_with(&["create", "db", "-"], b"correct horse");
    let options = ["--secret", "db", "--restart-delay", "0s"];
    let mut container = rig.run("web", &options, "exec sleep 1000");
    // The driver alone, the supervisor alone, both.
    for killed in [&[1][..], &[0], &[0, 1]] {
        let keepers = keepers(task_of(&container));
        assert_eq!(keepers.len(), 2, "a supervisor and a driver: {keepers:?}");
        kill(&killed.iter().map(|index| keepers[*index].clone()).collect::<Vec<_>>());
        let next = until("another container runs, alone", || {
            let names = rig.engine.containers();
            let [name] = names.as_slice() else { return None };
            (*name != container).then(|| name.clone())
        });
        let tasks = rig.lab.ctl().json(&["service", "ps", "--all", "web"]);
        let mut tasks = tasks.as_array().unwrap().iter();
        let over = tasks.find(|task| task["id"] == task_of(&container)).unwrap();
        assert_eq!(over["state"], "failed", "{over}");
        container = next;
        rig.lab.await_tasks("web", 1, "running");
        rig.assert_nothing_mounted();
    }
}

#[test]
fn what_a_crash_left_is_removed_and_nothing_else() {
    let Some(mut rig) = rig("what_a_crash_left_is_removed_and_nothing_else") else { return };
    rig.lab.ctl().ok_with(&["create", "db", "-"], b"correct horse");
    let container = rig.run("web", &["--secret", "db", "--restart-delay", "0s"], "exec sleep 1000");
    let labels = ["--label", "secretd.node=another", "--label", "com.docker.swarm.task.id=x"];
    rig.engine.docker(
        &[&["run", "-d", "--name", "foreign"], &labels[..], &[IMAGE, "sleep", "1000"]].concat(),
    );
    // The machine goes down: nobody is there, and the folder in memory is gone.
    rig.lab.agents[0].daemon.kill();
    let folder = rig.lab.agents[0].tasks.join("tasks").join(task_of(&container));
    kill(&keepers(task_of(&container)));
    until("they are dead", || keepers(task_of(&container)).is_empty().then_some(()));
    assert!(rig.engine.containers().contains(&container), "it runs on");
    // And it went down between mounting the secrets for the engine and unmounting them.
    let place = folder.join("secrets");
    fs::create_dir(&place).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "left"]).arg(&place).status().unwrap();
    assert!(mounted.success());
    rig.restart_agent();
    until("the leftover is gone, and another is there", || {
        let names = rig.engine.containers();
        (names.len() == 2 && !names.contains(&container)).then_some(())
    });
    rig.lab.await_tasks("web", 1, "running");
    until("the folder is gone", || (!folder.exists()).then_some(()));
    rig.assert_nothing_mounted();
    assert!(rig.engine.containers().contains(&"foreign".to_owned()));

    // The same after a restart of the machine, which keeps no folder.
    let container =
        until("it runs", || rig.engine.containers().into_iter().find(|name| name != "foreign"));
    rig.lab.agents[0].daemon.kill();
    kill(&keepers(task_of(&container)));
    until("they are dead", || keepers(task_of(&container)).is_empty().then_some(()));
    fs::remove_dir_all(rig.lab.agents[0].tasks.join("tasks")).unwrap();
    rig.restart_agent();
    until("the leftover is gone", || (!rig.engine.containers().contains(&container)).then_some(()));
    assert!(rig.engine.containers().contains(&"foreign".to_owned()));
    rig.engine.docker(&["rm", "-f", "foreign"]);
}

#[test]
fn an_engine_that_dies_in_a_start_leaves_no_secrets_and_no_container() {
    let test = "an_engine_that_dies_in_a_start_leaves_no_secrets_and_no_container";
    let Some(engine) = Engine::start(test) else { return };
    let dies_at = Arc::new(Mutex::new(None::<&str>));
    let armed = Arc::clone(&dies_at);
    let between = Between::start(&engine, move |question| {
        let mut armed = armed.lock().unwrap();
        match *armed {
            Some(last) if question.contains(last) => {
                *armed = None;
                Fate::Unheard
            }
            _ => Fate::Answered,
        }
    });
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.engine = Some(between.socket());
    lab.agent("n1");
    let rig = Rig { lab, engine };
    let ctl = rig.lab.ctl();
    ctl.ok_with(&["create", "db", "-"], b"correct horse");
    for (service, question) in [("made", "/containers/create?"), ("started", "/start ")] {
        *dies_at.lock().unwrap() = Some(question);
        let create = ["service", "create", "--detach", "--name", service, "--image", IMAGE];
        let options = ["--secret", "db", "--restart-condition", "none", "--", "sleep", "1000"];
        ctl.ok(&[&create[..], &options].concat());
        until("the engine is away", || (!between.is_there()).then_some(()));
        until("what it would have bound is taken away", || rig.mounted().is_empty().then_some(()));
        assert_eq!(rig.engine.containers().len(), 1, "it is there, and nobody can be asked");
        between.come_back();
        // Not as rejected: the cluster may start another only when this one is gone.
        let over = rig.ended(service);
        assert_eq!(over["state"], "failed", "{over}");
        assert_eq!(rig.engine.containers(), [""; 0], "{over}");
        ctl.ok(&["service", "rm", service]);
        until("its folder is gone", || {
            let tasks = rig.lab.agents[0].tasks.join("tasks");
            fs::read_dir(tasks).unwrap().next().is_none().then_some(())
        });
    }
}

#[test]
fn an_evicted_node_whose_engine_is_away_wipes_its_keys_and_can_be_ended() {
    let test = "an_evicted_node_whose_engine_is_away_wipes_its_keys_and_can_be_ended";
    let Some(engine) = Engine::start(test) else { return };
    let between = Between::start(&engine, |_| Fate::Answered);
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.engine = Some(between.socket());
    lab.agents_log = "debug".into();
    lab.agent("n1");
    let mut rig = Rig { lab, engine };
    rig.lab.ctl().ok_with(&["create", "db", "-"], b"correct horse");
    let options = ["--secret", "db", "--stop-grace-period", "100ms"];
    rig.run("web", &options, "exec sleep 1000");
    between.go_away();
    rig.lab.ctl().ok(&["node", "rm", "--force", "n1"]);
    let agent = &mut rig.lab.agents[0].daemon;
    until("its keys are wiped, with a task that cannot be stopped", || {
        let log = agent.log();
        let (_, since) = log.split_once("node_evicted")?;
        since.lines().any(|line| line.contains("secrets_held")).then_some(())
    });
    assert!(!agent.log().contains("tasks_stopped"), "{}", agent.log());
    agent.signal("TERM");
    assert_eq!(agent.wait().code(), Some(77), "{}", agent.log());
    assert!(agent.log().contains("tasks_left_running"), "{}", agent.log());
    between.come_back();
    until("the task was told to stop", || rig.engine.containers().is_empty().then_some(()));
}
