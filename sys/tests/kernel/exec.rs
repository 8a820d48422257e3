//! What a program that we become has, and what it does not.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::path::Path;

use sys::harden::{CoreLimit, NewPrivileges, harden};
use sys::process::{Exit, Program, Signals, TASK_CAPABILITIES, fork};
use sys::require::root;
use sys::user;

use crate::Test;
use crate::rootless::become_ordinary;

pub(crate) const TESTS: &[Test] = &[
    (
        "a_program_has_what_is_declared_and_nothing_else",
        a_program_has_what_is_declared_and_nothing_else,
    ),
    ("root_in_a_program_cannot_mount", root_in_a_program_cannot_mount),
    ("an_ordinary_user_starts_its_own_programs", an_ordinary_user_starts_its_own_programs),
    ("a_program_that_cannot_start_says_why", a_program_that_cannot_start_says_why),
];

fn program(script: &str, user: &user::User) -> Program {
    Program {
        argv: [c"sh", c"-c"].map(Into::into).into_iter().chain(CString::new(script)).collect(),
        env: vec![c"GREETING=hello".into(), c"PATH=/usr/bin:/bin".into()],
        dir: "/usr".into(),
        uid: user.uid,
        gid: user.gid,
        groups: user.groups.clone(),
        core_limit: CoreLimit::current(),
    }
}

fn run(program: &Program) -> Exit {
    let child = fork(&[], || {
        // Without close-on-exec, as a careless library might have opened it.
        let stray = fs::File::open("/etc/passwd").unwrap();
        rustix::io::fcntl_setfd(&stray, rustix::io::FdFlags::empty()).unwrap();
        u8::try_from(program.exec().shell_code()).unwrap()
    });
    child.unwrap().wait().unwrap()
}

/// Runs a script that writes to `$OUT`, which any user may write; returns `Key: value` lines.
fn report(temp: &Path, script: &str, user: &user::User) -> BTreeMap<String, String> {
    let out = temp.join("out");
    fs::write(&out, "").unwrap();
    for (path, mode) in [(temp, 0o755), (&out, 0o666)] {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let script = format!("exec >{}\n{script}", out.display());
    assert_eq!(run(&program(&script, user)), Exit::Code(0));
    let text = fs::read_to_string(out).unwrap();
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect()
}

const REPORT: &str = r#"
cat /proc/self/status
printf "fds: "; ls -m /proc/$$/fd
echo "env: $(tr '\0' ' ' </proc/$$/environ)"
echo "dir: $(pwd)"
echo "umask: $(umask)"
echo "core: $(ulimit -Sc)"
"#;

fn a_program_has_what_is_declared_and_nothing_else() {
    if !root("a_program_has_what_is_declared_and_nothing_else") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    CoreLimit { soft: Some(512 * 1024), hard: None }.apply().unwrap();
    let core_limit = harden(NewPrivileges::Allow).unwrap().inherited_core_limit;
    let _signals = Signals::block_all().unwrap();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let user = user::resolve("65534:65534").unwrap();
    core_limit.apply().unwrap();
    let report = report(temp.path(), REPORT, &user);
    let is = |key: &str, value: &str| assert_eq!(report[key], value, "{key}");
    is("Uid", "65534\t65534\t65534\t65534");
    is("Gid", "65534\t65534\t65534\t65534");
    is("Groups", "65534");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        is(set, "0000000000000000");
    }
    is("CapBnd", &format!("{:016x}", TASK_CAPABILITIES.bits()));
    is("NoNewPrivs", "0");
    is("SigBlk", "0000000000000000");
    is("SigIgn", "0000000000000000");
    is("fds", "0, 1, 2");
    is("env", "GREETING=hello PATH=/usr/bin:/bin");
    is("dir", "/usr");
    is("umask", "0022");
    is("core", "1024");
}

fn root_in_a_program_cannot_mount() {
    if !root("root_in_a_program_cannot_mount") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    sys::namespace::unshare_mounts().unwrap();
    let user = user::resolve("root").unwrap();
    let script = "cat /proc/self/status; mount -t tmpfs none /mnt 2>/dev/null; echo mount: $?";
    let report = report(temp.path(), script, &user);
    assert_eq!(report["CapEff"], format!("{:016x}", TASK_CAPABILITIES.bits()));
    assert_ne!(report["mount"], "0");
}

fn an_ordinary_user_starts_its_own_programs() {
    become_ordinary();
    if sys::namespace::unshare_user_and_mounts().is_err() {
        let need = sys::require::Need::UserNamespaces;
        return sys::require::skip("an_ordinary_user_starts_its_own_programs", need, "refused");
    }
    let user = user::current().unwrap();
    let own = format!("[ $(id -u) = {} ] && ! mount -t tmpfs none /mnt 2>/dev/null", user.uid);
    assert_eq!(run(&program(&own, &user)), Exit::Code(0));
    let other = user::User { uid: user.uid + 1, ..user };
    assert_eq!(run(&program("exit 0", &other)), Exit::Code(126));
}

fn a_program_that_cannot_start_says_why() {
    let temp = tempfile::tempdir().unwrap();
    let user = user::current().unwrap();
    let script = temp.path().join("script");
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    if rustix::process::geteuid().is_root() {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    } else if sys::namespace::unshare_user_and_mounts().is_err() {
        let need = sys::require::Need::UserNamespaces;
        return sys::require::skip("a_program_that_cannot_start_says_why", need, "refused");
    }
    let plain = temp.path().join("plain");
    fs::write(&plain, "").unwrap();
    let text = |path: &Path| CString::new(path.to_str().unwrap()).unwrap();
    let with =
        |argv: Vec<CString>, dir: &str| Program { argv, dir: dir.into(), ..program("", &user) };
    for (program, code, message) in [
        (
            with(vec![c"no-such-command".into()], "/"),
            127,
            "cannot find the command \"no-such-command\"",
        ),
        (with(vec![c"/no/such".into()], "/"), 127, "cannot find the command \"/no/such\""),
        (with(vec![], "/"), 126, "no command was given"),
        (with(vec![c"true".into()], "/no/dir"), 126, "cannot enter the working directory /no/dir"),
        (with(vec![text(&plain)], "/"), 126, "cannot execute"),
        (with(vec![text(&script)], "/"), 126, "cannot execute"),
    ] {
        let child = fork(&[], || {
            let error = program.exec();
            let as_said = error.to_string().starts_with(message);
            if as_said { u8::try_from(error.shell_code()).unwrap() } else { 1 }
        });
        assert_eq!(child.unwrap().wait().unwrap(), Exit::Code(code), "{message}");
    }
}
