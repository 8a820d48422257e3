//! A database in a container that gets its password the way people's databases do.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sys::require::{self, Need};
use tests::{set_mode, until};

use crate::declared::with_front;
use crate::engine::IMAGE;

const TEST: &str = "a_database_in_a_container_takes_its_password_from_run_secrets";

/// The user `nobody`, here and in the image: PostgreSQL refuses to run as root.
const NOBODY: u32 = 65534;

/// Where Debian puts a server's programs: the newest version there is.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let programs = versions.flatten().map(|version| version.path().join("bin"));
    programs.filter(|bin| bin.join("initdb").exists() && bin.join("psql").exists()).max()
}

fn ask(bin: &Path, folder: &Path, password: &str) -> Output {
    Command::new(bin.join("psql"))
        .args(["--no-psqlrc", "--tuples-only", "--no-align", "--command", "select 6 * 7"])
        .args(["--username", "keeper", "--dbname", "postgres", "--host"])
        .arg(folder)
        .env("PGPASSWORD", password)
        .output()
        .unwrap()
}

#[test]
fn a_database_in_a_container_takes_its_password_from_run_secrets() {
    let Some(bin) = programs() else {
        return require::skip(TEST, Need::Postgres, "there is no /usr/lib/postgresql/*/bin/initdb");
    };
    let Some((rig, docker)) = with_front(TEST) else { return };
    let ctl = rig.lab.ctl();
    ctl.ok_with(&["create", "psql_user", "-"], b"keeper");
    ctl.ok_with(&["create", "psql_pass", "-"], b"open sesame 4711");
    let folder = rig.lab.path().join("db");
    std::fs::create_dir(&folder).unwrap();
    std::os::unix::fs::chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
    set_mode(rig.lab.path(), 0o711);
    // The programs are the host's own; no registry is asked.
    let shared = format!("type=bind,source={},target=/db", folder.display());
    let script = format!(
        "set -e; umask 077; export PGDATA=/db/data; \
         {bin}/initdb --auth=scram-sha-256 --no-sync \
             --username=\"$(cat /run/secrets/psql_user)\" --pwfile=/run/secrets/psql_pass; \
         exec {bin}/postgres -k /db -c listen_addresses=''",
        bin = bin.display(),
    );
    docker(
        &[
            &["service", "create", "--detach", "--name", "db", "--user", "65534:65534"][..],
            &["--secret", "psql_user", "--secret", "psql_pass", "--mount", &shared],
            &["--mount", "type=bind,source=/usr,target=/usr,readonly"],
            &["--mount", "type=bind,source=/etc,target=/etc,readonly"],
            &["--stop-signal", "SIGINT", IMAGE, "sh", "-c", &script],
        ]
        .concat(),
    );
    until("the right password opens the database", || {
        let opened = ask(&bin, &folder, "open sesame 4711");
        (opened.status.success() && opened.stdout == b"42\n").then_some(())
    });
    let refused = ask(&bin, &folder, "open sesame 4712");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("password authentication failed"), "{said}");
    docker(&["service", "rm", "db"]);
    until("the database has stopped in order", || {
        (!folder.join("data/postmaster.pid").exists()).then_some(())
    });
}
