//! Commands in tasks (`task exec`): what they see, how they end, who may, and what stays of them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proto::limits::{EXEC_ARGUMENTS_MAX, EXEC_WINDOW_BYTES, EXECS_OF_TASK_MAX};
use tests::{Ctl, Lab, until};

use crate::PROGRAMS;
use crate::lifecycle::serve;

const REFUSED: i32 = 1;
const USAGE: i32 = 2;
const LATER: i32 = 69;

/// So many looks at what must not grow, once it has begun.
const LOOKS: usize = 40;

/// What is on its way at most: a window, a pipe, what the tool has read, and room to spare.
const HELD_UP_AT: usize = 8 * EXEC_WINDOW_BYTES as usize;

fn exec<'a>(task: &'a str, command: &[&'a str]) -> Vec<&'a str> {
    [&["task", "exec", task, "--"], command].concat()
}

/// Processes of this machine with that in their arguments.
fn processes(words: &str) -> usize {
    let found = Command::new("pgrep").args(["-f", "--", words]).output().unwrap();
    String::from_utf8(found.stdout).unwrap().lines().count()
}

/// Begins one that sleeps with a child of its own, and waits until both do; its words are like no other's.
fn begin(ctl: &Ctl, task: &str, words: &str) -> Child {
    let script = format!("sleep 9{words} & echo there; exec sleep 8{words}");
    let mut child = ctl.command(&exec(task, &["sh", "-c", &script])).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "there\n");
    until("both sleep", || (processes(&format!("^sleep [89]{words}$")) == 2).then_some(()));
    child
}

fn await_end(words: &str) {
    until("both have ended", || (processes(&format!("^sleep [89]{words}$")) == 0).then_some(()));
}

#[test]
fn a_command_is_where_its_task_is_and_no_more_than_it() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.agent("n1");
    let ctl = lab.ctl();
    ctl.ok_with(&["create", "key", "-"], b"a value");
    let what = "id; pwd; echo $GREETING; umask; ulimit -a; cat /proc/self/cgroup; \
                for ns in mnt pid net user; do readlink /proc/self/ns/$ns; done; \
                grep -E '^(Uid|Gid|Groups|Cap|NoNew|Sig(Blk|Ign|Cgt)|Seccomp:)' /proc/self/status";
    let service =
        ["service", "create", "--name", "web", "--secret", "key", "--update-monitor", "0s"];
    let root = sys::user::current().unwrap().uid == 0;
    let user: &[&str] = if root { &["--user", "daemon"] } else { &[] };
    let declared = ["--env", "GREETING=hello", "--workdir", "/usr"];
    let script = format!("{what}; exec sleep 1000");
    ctl.ok(&[&service[..], user, &declared, &["--", "sh", "-c", &script]].concat());
    let own = until("the task has told all", || {
        let told = ctl.ok(&["service", "logs", "--no-prefix", "web"]);
        told.contains("Seccomp").then_some(told)
    });
    assert_eq!(ctl.ok(&exec("web.1", &["cat", "/run/secrets/key"])), "a value");
    assert_eq!(ctl.ok(&exec("web.1", &["sh", "-c", what])), own);
    // The agent's own folder is hidden from it as from its task.
    let tasks = lab.agents[0].tasks.display().to_string();
    let hidden = ctl.run(&exec("web.1", &["ls", &tasks]));
    assert_eq!(hidden.stdout, "", "{hidden:?}");
    // It is in the task's pid namespace, with the task's program.
    let listed = ctl.ok(&exec("web.1", &["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]));
    assert!(listed.contains("sleep 1000"), "{listed}");
    assert!(!listed.contains("secretd"), "{listed}");
    // Nothing is open but its streams, and the folder that is listed.
    assert_eq!(ctl.ok(&exec("web.1", &["ls", "/proc/self/fd"])), "0\n1\n2\n3\n");
    // By its id, or the beginning of it.
    let id = ctl.json(&["service", "ps", "web"])[0]["id"].as_str().unwrap().to_owned();
    for task in [id.as_str(), id.get(..10).expect("an id is longer")] {
        assert_eq!(ctl.ok(&exec(task, &["echo", "x"])), "x\n");
    }
}

#[test]
fn a_command_ends_as_a_shell_would_tell_it() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.agent("n1");
    serve(&lab, "web", &[], "exec sleep 1000");
    lab.await_tasks("web", 1, "running");
    let ctl = lab.ctl();
    let run = |command: &[&str]| {
        let ran = ctl.run(&exec("web.1", command));
        (ran.status, ran.stdout, ran.stderr)
    };
    let apart = run(&["sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(apart, (7, "out\n".into(), "err\n".into()));
    assert_eq!(run(&["true"]), (0, String::new(), String::new()));
    assert_eq!(run(&["sh", "-c", "kill -9 $$"]).0, 137);
    assert_eq!(run(&["sh", "-c", "kill -TERM $$"]).0, 143);
    let (status, stdout, stderr) = run(&["no-such-command"]);
    assert_eq!((status, &*stdout), (127, ""));
    assert!(stderr.contains("cannot find the command \"no-such-command\""), "{stderr}");
    let (status, _, stderr) = run(&["/etc/passwd"]);
    assert_eq!(status, 126);
    assert!(stderr.contains("cannot execute \"/etc/passwd\""), "{stderr}");
    // Without -i it has no input, whatever is piped; with it, all.
    let piped = ctl.run_with(&exec("web.1", &["cat"]), b"not for it");
    assert_eq!((piped.status, &*piped.stdout), (0, ""));
    let typed = ctl.run_with(&["task", "exec", "-i", "web.1", "--", "cat"], b"for it");
    assert_eq!((typed.status, &*typed.stdout), (0, "for it"));
    // What reads no more of its input, or has left something running, ends all the same.
    let much = vec![b'x'; 3 * EXEC_WINDOW_BYTES as usize];
    let headed = ctl.run_with(&["task", "exec", "-i", "web.1", "--", "head", "-c", "3"], &much);
    assert_eq!((headed.status, &*headed.stdout), (0, "xxx"));
    assert_eq!(run(&["sh", "-c", "sleep 1000 & echo left"]), (0, "left\n".into(), String::new()));
    assert_eq!(run(&["sh", "-c", "yes & exit 3"]).0, 3, "also what prints for ever");
    // Its last words are heard, however many.
    let (status, stdout, _) = run(&["sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x"]);
    assert_eq!((status, stdout.len()), (0, 1_000_000));
    // Bounds, and one past them.
    let mut words = vec!["true"];
    words.resize(EXEC_ARGUMENTS_MAX, "a");
    assert_eq!(run(&words).0, 0);
    words.push("a");
    let said = ctl.refused(USAGE, &exec("web.1", &words), b"");
    assert!(said.contains("more than 256 arguments"), "{said}");
}

#[test]
fn ten_megabytes_go_through_and_come_back() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.agent("n1");
    serve(&lab, "web", &[], "exec sleep 1000");
    lab.await_tasks("web", 1, "running");
    let mut text: Vec<u8> = (0..10_000_000_u32).map(|n| b'a' + (n * 7 % 26) as u8).collect();
    text[5_000_000] = b'\n';
    let ctl = lab.ctl();
    let back = ctl.run_with(&["task", "exec", "-i", "web.1", "--", "cat"], &text);
    assert_eq!((back.status, &*back.stderr), (0, ""));
    assert!(back.stdout.as_bytes() == text, "what came back is what went in");
}

#[test]
fn who_does_not_read_is_waited_for_and_nothing_grows() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.agent("n1");
    serve(&lab, "web", &[], "exec sleep 1000");
    lab.await_tasks("web", 1, "running");
    let ctl = lab.ctl();

    // A command that does not read: who types is held up.
    let go = lab.path().join("go");
    let script = format!("until test -e {}; do sleep 0.05; done; wc -c", go.display());
    let typing = ["task", "exec", "-i", "web.1", "--", "sh", "-c", &script];
    let mut child = ctl.command(&typing).stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let typed = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&typed);
    let typist = std::thread::spawn(move || {
        for _ in 0..10_000 {
            stdin.write_all(&[b'x'; 1_000]).unwrap();
            counted.fetch_add(1_000, Ordering::Relaxed);
        }
    });
    let window = EXEC_WINDOW_BYTES as usize;
    until("a window was typed", || (typed.load(Ordering::Relaxed) > window).then_some(()));
    look_often(|| {
        let typed = typed.load(Ordering::Relaxed);
        assert!(typed < HELD_UP_AT, "{typed} bytes were typed, and nobody read");
    });
    lab.file("go", b"");
    let counted = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&counted.stdout).trim(), "10000000");
    typist.join().unwrap();

    // Nobody reads what a command prints: it is held up.
    let progress = lab.path().join("progress");
    lab.file("progress", b"");
    tests::set_mode(&progress, 0o666);
    let script =
        format!("while head -c 50000 /dev/zero; do printf x >>{}; done", progress.display());
    let mut child = ctl.command(&exec("web.1", &["sh", "-c", &script])).spawn().unwrap();
    let printed = || std::fs::read(&progress).unwrap().len() * 50_000;
    until("something was printed", || (printed() > window).then_some(()));
    look_often(|| {
        assert!(printed() < HELD_UP_AT, "{} bytes were printed, and nobody read", printed());
    });
    // And goes on when somebody does.
    let mut stdout = child.stdout.take().unwrap().take(5_000_000);
    std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
    assert!(printed() >= 4_000_000);
    child.kill().unwrap();
    child.wait().unwrap();
    until("the command ends with its reader", || {
        (processes(&progress.display().to_string()) == 0).then_some(())
    });
}

/// Between the looks something may go on that should not: what is found is a fault, whenever it is.
fn look_often(look: impl Fn()) {
    let mut looks = 0;
    until("it was looked often enough", || {
        look();
        looks += 1;
        (looks > LOOKS).then_some(())
    });
}

#[test]
fn who_hangs_up_takes_the_command_along() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.agent("n1");
    serve(&lab, "web", &[], "exec sleep 1000");
    lab.await_tasks("web", 1, "running");
    let words = format!("000.1{}", std::process::id());
    let mut child = begin(&lab.ctl(), "web.1", &words);
    child.kill().unwrap();
    child.wait().unwrap();
    await_end(&words);
    let mut child = begin(&lab.ctl(), "web.1", &words);
    let interrupted = Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status();
    assert!(interrupted.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    await_end(&words);
    lab.await_tasks("web", 1, "running");
}

#[test]
fn a_command_ends_with_its_task() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.agent("n1");
    // A program that ignores its signal is killed, and so is one that ends by itself.
    let go = lab.path().join("go");
    let fate = format!("until test -e {}; do sleep 0.05; done; exit 7", go.display());
    serve(&lab, "ends", &["--restart-condition", "none"], &fate);
    serve(&lab, "goes", &["--stop-grace-period", "1ms"], "trap '' TERM; while :; do sleep 1; done");
    lab.await_tasks("ends", 1, "running");
    lab.await_tasks("goes", 1, "running");
    let words = format!("000.4{}", std::process::id());
    let child = begin(&lab.ctl(), "ends.1", &words);
    lab.file("go", b"");
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(137), "{ended:?}");
    await_end(&words);
    let over = lab.await_tasks("ends", 1, "failed").remove(0);
    assert_eq!(over["exit_code"], 7, "{over}");
    let child = begin(&lab.ctl(), "goes.1", &words);
    lab.ctl().ok(&["service", "rm", "goes"]);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(137), "{ended:?}");
    await_end(&words);
    until("nothing is left of it", || {
        std::fs::read_dir(lab.agents[0].tasks.join("tasks")).unwrap().count().eq(&1).then_some(())
    });
}

#[test]
fn who_may_not_deploy_with_a_tasks_secrets_may_not_run_commands_in_it() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.agent("n1");
    let operator = |name: &str, role: &str, group: &str| {
        let token = lab.ctl().ok(&["operator", "add", name, "--role", role, "--group", group]);
        let home = lab.path().join(name);
        std::fs::create_dir(&home).unwrap();
        let ctl = lab.ctl().at_home(&home);
        let add = ["context", "add", "here", "--token", "-", "--manager", &lab.address()];
        ctl.ok_with(&add, token.lines().next().unwrap().as_bytes());
        ctl.with_context("here")
    };
    let writer = operator("wanda", "writer", "team");
    let deployer = operator("dora", "deployer", "team");
    let stranger = operator("sam", "deployer", "others");
    let auditor = operator("audrey", "auditor", "team");
    writer.ok_with(&["create", "key", "-"], b"value");
    let deploy =
        ["service", "create", "--name", "web", "--update-monitor", "0s", "--secret", "key"];
    deployer.ok(&[&deploy[..], &["--", "sleep", "1000"]].concat());
    let read = exec("web.1", &["cat", "/run/secrets/key"]);
    for (ctl, why) in [
        (&writer, "the role writer does not allow exec_task"),
        (&auditor, "the role auditor does not allow exec_task"),
        (&stranger, "may not be used"),
    ] {
        let said = ctl.refused(REFUSED, &read, b"");
        assert!(said.contains(why), "{why}: {said}");
    }
    // Over the network.
    assert_eq!(deployer.ok(&read), "value");
    // A service without the secret is the stranger's to look into, its next version not.
    let other = ["service", "create", "--name", "other", "--update-monitor", "0s"];
    lab.ctl().ok(&[&other[..], &["--", "sleep", "1000"]].concat());
    assert_eq!(stranger.ok(&exec("other.1", &["echo", "x"])), "x\n");
    let with = ["service", "update", "other", "--detach", "--secret-add", "key"];
    lab.ctl().ok(&with);
    stranger.refused(REFUSED, &exec("other.1", &["echo", "x"]), b"");

    // Each is on record, with its caller and its task, and nothing of the command.
    let id = lab.ctl().json(&["service", "ps", "web"])[0]["id"].as_str().unwrap().to_owned();
    let audit = until("all is on record", || {
        let audit = lab.ctl().json(&["cluster", "audit"]);
        let of = |outcome: &str| {
            let records = audit.as_array().unwrap().iter();
            records
                .filter(|it| it["action"] == "exec_task")
                .filter(|it| it["outcome"].as_str().unwrap().starts_with(outcome))
                .count()
        };
        (of("ok") == 2 && of("denied") >= 4).then_some(audit)
    });
    let records = audit.as_array().unwrap().iter();
    let run = records.filter(|it| it["action"] == "exec_task" && it["outcome"] == "ok");
    let run: Vec<_> = run.map(|it| it["object"].as_str().unwrap()).collect();
    assert!(run.contains(&&*format!("task/{id}")), "{run:?}");
    assert!(!audit.to_string().contains("/run/secrets/key"), "{audit}");
}

#[test]
fn what_cannot_be_run_says_why() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    let agent = lab.agent("n1");
    let ctl = lab.ctl();
    let refused = |status, task: &str, reason: &str| {
        let said = ctl.refused(status, &exec(task, &["echo", "x"]), b"");
        assert!(said.contains(reason), "{reason:?} in {said}");
        assert!(said.contains("hint: "), "a next step in {said}");
    };
    refused(REFUSED, "web.1", "no such task: web.1");
    serve(&lab, "waits", &["--constraint", "node.hostname==nowhere"], "exec sleep 1000");
    lab.await_tasks("waits", 1, "pending");
    refused(REFUSED, "waits.1", "the task does not run: it is pending");
    serve(&lab, "over", &["--restart-condition", "none"], "exit 0");
    until("it is over", || {
        let tasks = ctl.json(&["service", "ps", "--all", "over"]);
        (tasks[0]["state"] == "complete").then_some(())
    });
    refused(REFUSED, "over.1", "the task does not run: it is complete");

    // As many as a task has room for, and one more.
    serve(&lab, "web", &[], "exec sleep 1000");
    let task = lab.await_tasks("web", 1, "running").remove(0);
    let words = |n: usize| format!("00{n}.2{}", std::process::id());
    let mut running: Vec<Child> =
        (0..EXECS_OF_TASK_MAX).map(|n| begin(&ctl, "web.1", &words(n))).collect();
    refused(LATER, "web.1", "4 commands are run in the task already");
    let mut first = running.remove(0);
    first.kill().unwrap();
    first.wait().unwrap();
    await_end(&words(0));
    until("there is room again", || {
        (ctl.run(&exec("web.1", &["echo", "x"])).stdout == "x\n").then_some(())
    });

    // The agent dies: what it ran dies too, and is told so; the task does not.
    lab.agents[agent].daemon.kill();
    for (n, child) in running.into_iter().enumerate() {
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "nothing says that it may be run again: {said}");
        assert!(said.contains("the command was cut off"), "{said}");
        assert!(said.contains("look before it is run again"), "{said}");
        await_end(&words(n + 1));
    }
    refused(LATER, "web.1", "node n1 is out of reach");
    lab.agents[agent].daemon.start_again();
    until("the agent is back", || {
        let ran = ctl.run(&exec("web.1", &["echo", "x"]));
        (ran.stdout == "x\n").then_some(())
    });
    assert_eq!(lab.await_tasks("web", 1, "running")[0]["id"], task["id"]);
}

#[test]
fn any_manager_can_be_asked_and_keeps_nothing() {
    let mut lab = Lab::new(PROGRAMS);
    lab.log = "trace,openraft=error".into();
    lab.agents_log = "trace".into();
    lab.found();
    lab.join();
    lab.join();
    lab.agent("n1");
    serve(&lab, "web", &[], "exec sleep 1000");
    lab.await_tasks("web", 1, "running");
    for index in 0..3 {
        let ctl = lab.ctl_of(index);
        let back = ctl.run_with(
            &["task", "exec", "-i", "web.1", "--", "sh", "-c", "cat; echo argument-canary"],
            &vec![b'i'; 600_000],
        );
        assert_eq!((back.status, back.stdout.len()), (0, 600_016), "{index}: {}", back.stderr);
        // Who hangs up there takes it along as well.
        let words = format!("00{index}.3{}", std::process::id());
        let mut child = begin(&ctl, "web.1", &words);
        child.kill().unwrap();
        child.wait().unwrap();
        await_end(&words);
    }
    let managers = lab.managers.iter().map(|manager| &manager.daemon);
    for daemon in managers.chain(lab.agents.iter().map(|agent| &agent.daemon)) {
        let log = daemon.log();
        assert!(!log.contains("argument-canary"), "arguments and output are in no log");
        assert!(!log.contains("iiiiiiii"), "nor is what was typed");
    }
    // Once the leader is another one.
    let leader = lab.leader();
    lab.managers[leader].daemon.kill();
    let ctl = lab.ctl();
    until("another leads", || {
        (ctl.run(&exec("web.1", &["echo", "x"])).stdout == "x\n").then_some(())
    });
}
