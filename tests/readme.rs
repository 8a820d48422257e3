//! The README's quickstart, typed as it stands.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use tests::Lab;

const PROGRAMS: &str = env!("CARGO_BIN_EXE_programs");

/// What a reader would type: the lines after `$ ` of its console blocks.
fn typed(readme: &str) -> String {
    let mut lines = String::new();
    let mut in_console = false;
    for line in readme.lines() {
        if let Some(fence) = line.strip_prefix("```") {
            in_console = fence == "console";
        } else if in_console && let Some(command) = line.strip_prefix("$ ") {
            lines.push_str(command);
            lines.push('\n');
        }
    }
    lines
}

#[test]
fn the_quickstart_works_as_it_stands() {
    let lab = Lab::new(PROGRAMS);
    let programs = lab.path().join("bin");
    std::fs::create_dir(&programs).unwrap();
    for name in ["secretd", "secret-agent", "secretctl"] {
        std::os::unix::fs::symlink(PROGRAMS, programs.join(name)).unwrap();
    }
    let script = typed(include_str!("../README.md"));
    assert!(script.lines().count() > 20, "the quickstart was found: {script}");
    let path = std::env::var("PATH").unwrap();
    let child = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("HOME", lab.path())
        .env("TMPDIR", lab.path())
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("SECRETD_SOCKET")
        .env_remove("SECRETD_CONTEXT")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let group = format!("-{}", child.id());
    let output = child.wait_with_output().unwrap();
    // Whatever a script that failed left running.
    Command::new("kill").args(["-s", "KILL", "--", &group]).stderr(Stdio::null()).status().unwrap();
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    // What the README shows of it.
    for shown in ["correct horse", "/run/secrets ro,nosuid,nodev,noexec", "refused"] {
        assert!(stdout.contains(shown), "{shown:?} in {stdout}");
    }
    assert!(stderr.contains("secret db_password is in use by the following service: web"));
    assert!(stdout.contains("(m1, "), "the dead manager is named: {stdout}");
}
