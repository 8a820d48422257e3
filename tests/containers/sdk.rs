//! Docker's SDK of Rust, bollard, at a manager: a program of its own (`tests/sdk`), which is built here,
//! beside the workspace and not in it.

use std::path::Path;
use std::process::Command;

use sys::require::{Need, skip};

use crate::declared::with_front;
use crate::engine::IMAGE;

/// Builds the program; none, and it is said, where its crates cannot be had.
fn built(test: &str) -> Option<Command> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let manifest = root.join("tests/sdk/Cargo.toml");
    let target = root.join("target/sdk");
    let cargo = |word: &str, more: &[&std::ffi::OsStr]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.arg(word).args(["--locked", "--manifest-path"]).arg(&manifest).args(more);
        cargo.env_remove("CARGO_TARGET_DIR").output().unwrap()
    };
    let fetched = cargo("fetch", &[]);
    if !fetched.status.success() {
        let why = String::from_utf8_lossy(&fetched.stderr);
        let why = why.lines().find(|line| line.starts_with("error")).unwrap_or("it was killed");
        skip(test, Need::Crates, &format!("bollard cannot be fetched: {why}"));
        return None;
    }
    let made = cargo("build", &["--target-dir".as_ref(), target.as_os_str()]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some(Command::new(target.join("debug/sdk")))
}

#[test]
fn a_program_with_bollard_deploys_a_service_with_a_secret() {
    const TEST: &str = "a_program_with_bollard_deploys_a_service_with_a_secret";
    // Before it is built for nothing.
    if !sys::require::root(TEST) {
        return;
    }
    let Some(mut program) = built(TEST) else { return };
    let Some((rig, _)) = with_front(TEST) else { return };
    let socket = rig.lab.path().join("docker/docker.sock");
    let mut timed = Command::new("timeout");
    timed.arg(tests::PATIENCE.as_secs().to_string()).arg(program.get_program());
    program = timed;
    let ran = program.arg(&socket).arg(IMAGE).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let expected = "\
version 1.50
server secretd
secret sdk_db data None
service warnings 0
running 1
output read 11 characters
running 2
replicas Some(2) of Some(2)
node m1
node node1
refused Docker responded with status code 400: rpc error: code = InvalidArgument desc = secret \
'sdk_db' is in use by the following service: sdk_web
event create sdk_db
event remove sdk_db
";
    assert_eq!(said, expected, "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{ran:?}");
}
