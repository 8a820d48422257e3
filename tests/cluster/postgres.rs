//! A database that gets its password the way people's databases do: Debian's PostgreSQL, made and
//! run by a service, with its user name and password from `/run/secrets`.

use std::path::{Path, PathBuf};
use std::process::Command;

use sys::require::{self, Need};
use tests::{Lab, set_mode, until};

use crate::PROGRAMS;

const TEST: &str = "a_database_takes_its_password_from_run_secrets";

/// Where Debian puts a server's programs: the newest version there is.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let programs = versions.flatten().map(|version| version.path().join("bin"));
    programs.filter(|bin| bin.join("initdb").exists() && bin.join("psql").exists()).max()
}

#[test]
fn a_database_takes_its_password_from_run_secrets() {
    let Some(bin) = programs() else {
        return require::skip(TEST, Need::Postgres, "there is no /usr/lib/postgresql/*/bin/initdb");
    };
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    lab.agent("n1");
    let ctl = lab.ctl();
    ctl.ok_with(&["create", "psql_user", "-"], b"keeper");
    ctl.ok_with(&["create", "psql_pass", "-"], b"open sesame 4711");

    // PostgreSQL refuses to run as root.
    let folder = lab.path().join("db");
    std::fs::create_dir(&folder).unwrap();
    let mut options = vec!["service", "create", "--name", "db"];
    if sys::user::current_uid() == 0 {
        let nobody = sys::user::resolve("nobody").unwrap();
        std::os::unix::fs::chown(&folder, Some(nobody.uid), Some(nobody.gid)).unwrap();
        set_mode(lab.path(), 0o711);
        options.extend(["--user", "nobody"]);
    }
    let script = format!(
        "set -e; umask 077; \
         {bin}/initdb --pgdata={db}/data --auth=scram-sha-256 --no-sync \
             --username=\"$(cat /run/secrets/psql_user)\" --pwfile=/run/secrets/psql_pass; \
         exec {bin}/postgres -D {db}/data -k {db} -c listen_addresses=''",
        bin = bin.display(),
        db = folder.display()
    );
    options.extend(["--secret", "psql_user", "--secret", "psql_pass", "--", "sh", "-c", &script]);
    ctl.ok(&options);

    until("the right password opens the database", || {
        let opened = ask(&bin, &folder, "keeper", "open sesame 4711");
        (opened.status.success() && opened.stdout == b"42\n").then_some(())
    });
    let refused = ask(&bin, &folder, "keeper", "open sesame 4712");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("password authentication failed"), "{said}");

    // It stops in order when its service goes.
    ctl.ok(&["service", "rm", "db"]);
    until("the database has stopped", || {
        (!folder.join("data/postmaster.pid").exists()).then_some(())
    });
}

fn ask(bin: &Path, folder: &Path, user: &str, password: &str) -> std::process::Output {
    Command::new(bin.join("psql"))
        .args(["--no-psqlrc", "--tuples-only", "--no-align", "--command", "select 6 * 7"])
        .args(["--username", user, "--dbname", "postgres", "--host"])
        .arg(folder)
        .env("PGPASSWORD", password)
        .output()
        .unwrap()
}
