//! What is asked for and cannot be: a precise refusal, the right exit status, nothing changed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;

use tests::{Lab, set_mode};

use crate::PROGRAMS;

/// Exit status of a refusal, of a mistake in the command line, and of what may pass later.
const REFUSED: i32 = 1;
const USAGE: i32 = 2;
const LATER: i32 = 69;

#[test]
fn bad_secrets_are_refused_and_the_largest_is_not() {
    const MAX: usize = proto::limits::PAYLOAD_BYTES_MAX;
    let lab = Lab::with_managers(PROGRAMS, 1);
    let ctl = lab.ctl();
    let refused = |status, arguments: &[&str], stdin: &[u8], reason: &str| {
        let said = ctl.refused(status, arguments, stdin);
        assert!(said.contains(reason), "{reason:?} in {said:?}");
        assert!(said.contains("hint: "), "a next step in {said:?}");
    };
    // Sizes: none, one, the largest, one more.
    refused(REFUSED, &["create", "empty", "-"], b"", "the secret is empty");
    ctl.ok_with(&["create", "one", "-"], b"x");
    ctl.ok_with(&["create", "largest", "-"], &vec![7; MAX]);
    refused(REFUSED, &["create", "larger", "-"], &vec![7; MAX + 1], "1048576");
    // Names: at the bound and one past it, forms, case.
    ctl.ok_with(&["create", &"n".repeat(64), "-"], b"x");
    refused(USAGE, &["create", &"n".repeat(65), "-"], b"x", "64");
    for name in ["", ".hidden", "trailing.", "sp ace", "sl/ash", "ümlaut"] {
        refused(USAGE, &["create", name, "-"], b"x", "name");
    }
    refused(REFUSED, &["create", "ONE", "-"], b"x", "already exists");
    let mut command = ctl.command(&["create"]);
    let output = command.arg(OsStr::from_bytes(b"\xff\xfe")).arg("-").output().unwrap();
    assert_eq!(output.status.code(), Some(USAGE), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("UTF-8"), "{said}");
    // Who is not there.
    refused(REFUSED, &["rm", "nobody"], b"", "secret nobody not found");
    refused(REFUSED, &["inspect", "nobody"], b"", "secret nobody not found");
    let names = ctl.json(&["ls"]);
    assert_eq!(names.as_array().unwrap().len(), 3, "nothing else was made: {names}");
}

#[test]
fn bad_services_are_refused() {
    let lab = Lab::with_managers(PROGRAMS, 1);
    let ctl = lab.ctl();
    ctl.ok_with(&["create", "key", "-"], b"x");
    ctl.ok_with(&["create", "other", "-"], b"x");
    let refused = |status, secrets: &[&str], reason: &str| {
        let mut arguments = vec!["service", "create", "--detach", "--name", "web"];
        for secret in secrets {
            arguments.extend(["--secret", secret]);
        }
        arguments.extend(["--", "true"]);
        let said = ctl.refused(status, &arguments, b"");
        assert!(said.contains(reason), "{reason:?} in {said:?}");
        assert!(said.contains("hint: "), "a next step in {said:?}");
    };
    refused(REFUSED, &["nobody"], "nobody");
    refused(USAGE, &["source=key,target=../etc/passwd"], "..");
    refused(USAGE, &["source=key,target=/etc/passwd"], "/etc/passwd");
    refused(USAGE, &["source=key,mode=1777777"], "mode");
    refused(USAGE, &["source=key,mode=0888"], "mode");
    refused(USAGE, &["source=key,colour=red"], "colour");
    refused(REFUSED, &["source=key,version=9"], "9");
    let twice = ["source=key,target=same", "source=other,target=same"];
    refused(USAGE, &twice, "same");
    assert_eq!(ctl.ok(&["service", "ls", "--quiet"]), "");

    ctl.ok(&["service", "create", "--detach", "--name", "web", "--secret", "key", "--", "true"]);
    let said = ctl.refused(REFUSED, &["rm", "key"], b"");
    assert!(said.contains("secret key is in use by the following service: web"), "{said}");
    ctl.ok(&["inspect", "key"]);
    let said =
        ctl.refused(REFUSED, &["service", "create", "--detach", "--name", "WEB", "--", "a"], b"");
    assert!(said.contains("already exists"), "{said}");
}

#[test]
fn tokens_that_do_not_admit_say_why() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    let joiner = lab.start_manager(&[]);
    let other = Lab::with_managers(PROGRAMS, 1);
    let address = lab.address();
    let join = |lab: &Lab, token: &str| {
        let said = lab.ctl_of(joiner).run(&["cluster", "join", "--token", token, &address]);
        assert_ne!(said.status, 0, "{said:?}");
        said.stderr
    };
    // Not a token; one with a slip; one for agents.
    assert!(join(&lab, "hunter2").contains("not"), "it is no token");
    let good = lab.token("manager");
    let mut slip = good.clone().into_bytes();
    let last = slip.len() - 1;
    slip[last] = if slip[last] == b'a' { b'b' } else { b'a' };
    let slip = String::from_utf8(slip).unwrap();
    assert!(join(&lab, &slip).contains("checksum"), "{}", join(&lab, &slip));
    let said = join(&lab, &lab.token("agent"));
    assert!(said.contains("it was made for an agent"), "{said}");
    // Another cluster's: the CA is not the one that the token names, and nothing is sent.
    let said = join(&lab, &other.token("manager"));
    assert!(said.contains("certificate"), "{said}");
    // Revoked, and expired.
    let revoked = lab.ctl().json(&["cluster", "join-token", "manager"]);
    lab.ctl().ok(&["cluster", "token", "rm", revoked["id"].as_str().unwrap()]);
    let said = join(&lab, revoked["token"].as_str().unwrap());
    assert!(said.contains("token"), "{said}");
    let short = lab.ctl().ok(&["cluster", "join-token", "manager", "--expires", "1s", "--quiet"]);
    let tokens = lab.ctl();
    tests::until("the token expires", || {
        let tokens = tokens.json(&["cluster", "token", "ls"]);
        let id = short.trim().split('-').nth(2).unwrap();
        let expired = tokens.as_array().unwrap().iter().all(|token| token["id"] != id);
        let past = tokens
            .as_array()
            .unwrap()
            .iter()
            .any(|token| token["id"] == id && token["expired"] == true);
        (expired || past).then_some(())
    });
    let said = join(&lab, short.trim());
    assert!(said.contains("expired") || said.contains("not known"), "{said}");
    assert_eq!(lab.members().len(), 1, "nobody came in");
    // The good one is still good, once.
    let named = ["cluster", "join", "--hostname", "m2", "--token", &good, &address];
    lab.ctl_of(joiner).ok(&named);
    let late = lab.start_manager(&[]);
    let used =
        lab.ctl_of(late).refused(REFUSED, &["cluster", "join", "--token", &good, &address], b"");
    assert!(used.contains("used"), "{used}");
    assert_eq!(lab.members().len(), 2);
}

#[test]
fn without_a_majority_nothing_changes_and_it_is_said_who_is_missing() {
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    lab.ctl().ok_with(&["create", "before", "-"], b"x");
    lab.managers[1].daemon.kill();
    lab.managers[2].daemon.kill();
    let ctl = lab.ctl_of(0);
    // What is proposed before it knows may still come to be, and is told so.
    tests::until("the last one knows", || {
        ctl.run(&["cluster", "status"]).stdout.contains("no majority").then_some(())
    });
    let said = ctl.refused(LATER, &["create", "lost", "-"], b"x");
    assert!(said.contains("majority") || said.contains("leader"), "{said}");
    let said = ctl.refused(LATER, &["ls"], b"");
    assert!(said.contains("majority") || said.contains("leader"), "{said}");
    let status = ctl.run(&["cluster", "status"]);
    assert!(status.stdout.contains("no majority: 1 of 3 managers reachable"), "{status:?}");
    assert!(status.stdout.contains("(m2, ") && status.stdout.contains("(m3, "), "{status:?}");
    for index in [1, 2] {
        lab.managers[index].daemon.start_again();
        lab.await_socket(index);
    }
    let names = tests::until("a majority is back", || {
        let ran = lab.ctl().run(&["ls", "--json"]);
        (ran.status == 0).then_some(ran.stdout)
    });
    assert!(names.contains("\"before\"") && !names.contains("\"lost\""), "{names}");
}

#[test]
fn a_nearly_full_disk_refuses_what_grows_and_recovers_by_itself() {
    let mut lab = Lab::new(PROGRAMS);
    lab.found();
    lab.ctl().ok_with(&["create", "before", "-"], b"x");
    // No disk has that much room; the watermark is what is asked about.
    let manager = &mut lab.managers[0].daemon;
    manager.stop();
    manager.arguments().extend(["--disk-reserve-mib".into(), "1000000000000".into()]);
    manager.start_again();
    lab.await_socket(0);
    let full = tests::until("the watermark is noticed", || {
        let ran = lab.ctl().run_with(&["create", "more", "-"], b"x");
        if ran.status == 0 {
            lab.ctl().ok(&["rm", "more"])
        } else {
            return Some(ran);
        };
        None
    });
    assert_eq!(full.status, LATER, "{full:?}");
    assert!(full.stderr.contains("nearly full"), "{full:?}");
    assert!(full.stderr.contains("docs/operations/disk-full.md"), "{full:?}");
    lab.ctl().ok(&["rm", "before"]);
    let manager = &mut lab.managers[0].daemon;
    manager.stop();
    let usual = manager.arguments().len() - 2;
    manager.arguments().truncate(usual);
    manager.start_again();
    lab.await_socket(0);
    lab.ctl().ok_with(&["create", "after", "-"], b"x");
}

#[test]
fn operators_may_what_their_role_says_and_no_more() {
    let lab = Lab::with_managers(PROGRAMS, 1);
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
    let deploy = ["service", "create", "--detach", "--name", "web", "--secret", "key", "--", "a"];
    for (who, ctl) in [("writer", &writer), ("stranger", &stranger), ("auditor", &auditor)] {
        let said = ctl.refused(REFUSED, &deploy, b"");
        assert!(
            said.contains("may not be used") || said.contains("does not allow"),
            "{who}: {said}"
        );
    }
    auditor.refused(REFUSED, &["create", "other", "-"], b"x");
    deployer.refused(REFUSED, &["operator", "ls"], b"");
    deployer.ok(&deploy);
    // Who may remove may not make every manager rotate its keys for it.
    writer.ok_with(&["create", "short", "-"], b"x");
    let said = writer.refused(REFUSED, &["rm", "--shred", "short"], b"");
    assert!(said.contains("does not allow rotate_log_keys"), "{said}");
    assert_eq!(writer.ok(&["rm", "short"]), "short\n");
    writer.refused(REFUSED, &["rm", "--shred", "short"], b"");
    let removed = auditor.json(&["ls", "--removed"]);
    assert_eq!(
        (&removed[0]["name"], &removed[0]["needs"]["at_once"]),
        (&"short".into(), &false.into())
    );
    // Removed, its certificate is worth nothing, though it has not ended.
    lab.ctl().ok(&["operator", "rm", "wanda"]);
    writer.refused(REFUSED, &["ls"], b"");
    let audit = lab.ctl().json(&["cluster", "audit"]).to_string();
    assert!(audit.contains("create_service") && audit.contains("denied"), "{audit}");
}

#[test]
fn the_socket_is_for_its_owner_and_root() {
    let lab = Lab::with_managers(PROGRAMS, 1);
    let socket = &lab.managers[0].socket;
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(socket), 0o600);
    assert_eq!(mode(socket.parent().unwrap()), 0o700);
    if !sys::require::root("the_socket_is_for_its_owner_and_root") {
        return;
    }
    // Even where the files would let somebody in, the kernel's word for who it is counts.
    for path in [lab.path(), socket.parent().unwrap().parent().unwrap(), socket.parent().unwrap()] {
        set_mode(path, 0o755);
    }
    set_mode(socket, 0o666);
    let mut command = lab.ctl().command(&["ls", "--timeout", "2s"]);
    let output = command.uid(65534).gid(65534).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(REFUSED), "{said}");
    assert!(said.contains("uid 65534 may not use this manager's socket"), "{said}");
}
