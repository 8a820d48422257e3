//! The docker client on another machine, as an operator: over TLS, with the certificate that
//! `secretctl context export-docker` writes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tests::{Ctl, Lab, until};

use super::{PROGRAMS, has_docker};

/// A cluster whose first manager has a port for docker, and where that is.
fn with_port(lab: &mut Lab) -> String {
    lab.start_manager(&["--docker-address", "127.0.0.1:0"]);
    lab.ctl().ok(&["cluster", "init", "--hostname", "m1"]);
    port_of(lab)
}

fn port_of(lab: &Lab) -> String {
    until("the manager has a port for docker", || {
        let log = lab.managers[0].daemon.log();
        let line = log.lines().rfind(|line| line.contains("docker_port_listening"))?;
        let address = line.split("listen=").nth(1)?.split(' ').next()?;
        Some(format!("tcp://{address}"))
    })
}

/// An operator, with its tool, and its files for docker.
fn operator(lab: &Lab, name: &str, role: &str) -> (Ctl, PathBuf) {
    let token = lab.ctl().ok(&["operator", "add", name, "--role", role]);
    let home = lab.path().join(name);
    std::fs::create_dir(&home).unwrap();
    let ctl = lab.ctl().at_home(&home);
    let add = ["context", "add", "here", "--token", "-", "--manager", &lab.address()];
    ctl.ok_with(&add, token.lines().next().unwrap().as_bytes());
    let (ctl, folder) = (ctl.with_context("here"), home.join("docker"));
    let shown = folder.display().to_string();
    assert_eq!(ctl.ok(&["context", "export-docker", &shown]).trim(), shown);
    (ctl, folder)
}

fn docker(host: &str, certificates: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command
        .args(arguments)
        .env("DOCKER_HOST", host)
        .env("DOCKER_TLS_VERIFY", "1")
        .env("DOCKER_CERT_PATH", certificates);
    command
}

fn typed(host: &str, certificates: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = docker(host, certificates, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who is refused does not listen.
    drop(child.stdin.take().unwrap().write_all(input));
    child.wait_with_output().unwrap()
}

fn ok(host: &str, certificates: &Path, arguments: &[&str], input: &[u8]) -> String {
    let ran = typed(host, certificates, arguments, input);
    assert!(ran.status.success(), "{arguments:?}: {ran:?}");
    String::from_utf8(ran.stdout).unwrap()
}

fn refused(host: &str, certificates: &Path, arguments: &[&str]) -> String {
    let ran = typed(host, certificates, arguments, b"a value");
    assert!(!ran.status.success(), "{arguments:?}: {ran:?}");
    String::from_utf8(ran.stderr).unwrap()
}

/// A folder with some of the files of others.
fn mixed(lab: &Lab, name: &str, files: &[(&Path, &str)]) -> PathBuf {
    let folder = lab.path().join(name);
    std::fs::create_dir(&folder).unwrap();
    for (from, file) in files {
        std::fs::copy(from.join(file), folder.join(file)).unwrap();
    }
    folder
}

#[test]
fn an_operator_types_into_docker_on_another_machine() {
    const TEST: &str = "an_operator_types_into_docker_on_another_machine";
    if !sys::require::root(TEST) || !has_docker(TEST) {
        return;
    }
    let mut lab = Lab::new(PROGRAMS);
    let host = with_port(&mut lab);
    lab.agent("n1");
    let (_, admin) = operator(&lab, "ada", "admin");

    // A value comes in clear, is sealed by who got it, in the operator's name, and read by a task.
    ok(&host, &admin, &["secret", "create", "key", "-"], b"open sesame");
    assert!(ok(&host, &admin, &["secret", "ls"], b"").contains("key"));
    let audit = lab.ctl().json(&["cluster", "audit"]);
    let of_ada =
        audit.as_array().unwrap().iter().find(|record| record["action"] == "create_secret");
    assert!(of_ada.unwrap().to_string().contains("operator/"), "{audit}");
    let create = ["service", "create", "--name", "web", "--secret", "key"];
    let script = "sha256sum < /run/secrets/key; exec sleep 1000";
    lab.ctl().ok(&[&create[..], &["--", "sh", "-c", script]].concat());
    let digest = proto::hex::encode(&seal::digest_of(b"open sesame"));
    until("the task has read it", || {
        ok(&host, &admin, &["service", "logs", "--raw", "web"], b"").contains(&digest).then_some(())
    });
    // What secretd has no words for itself is an admin's to declare, from here as well.
    let create = ["service", "create", "--detach", "--no-resolve-image", "--name"];
    ok(&host, &admin, &[&create[..], &["pic", "--hostname", "box", "img:1"]].concat(), b"");
    ok(&host, &admin, &["node", "ls"], b"");
    // The machine's name is one of the names, too; a foreign one is not.
    let port = host.rsplit(':').next().unwrap();
    let said = refused(&format!("tcp://localhost:{port}"), &admin, &["secret", "ls"]);
    assert!(said.contains("certificate is valid for m1, not localhost"), "{said}");

    // Nothing is passed to an engine from here, whoever asks.
    let said = refused(&host, &admin, &["ps"]);
    assert!(said.contains("is passed to a manager's own engine at its own socket only"), "{said}");

    // Roles are those of the other port.
    let (_, auditor) = operator(&lab, "audrey", "auditor");
    assert!(ok(&host, &auditor, &["secret", "ls"], b"").contains("key"));
    let said = refused(&host, &auditor, &["secret", "create", "other", "-"]);
    assert!(said.contains("the role auditor does not allow"), "{said}");
    let (_, deployer) = operator(&lab, "dora", "deployer");
    let own = [&create[..], &["own", "--mount", "type=bind,source=/,target=/x", "img:1"]].concat();
    let said = refused(&host, &deployer, &own);
    assert!(said.contains("only admins declare what secretd itself has no words for"), "{said}");

    // Removed, it is nobody: what it follows ends, and nothing more is answered.
    let follow = ["events", "--since", "0"];
    let mut following = docker(&host, &auditor, &follow)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    assert!(lines.next().is_some_and(|line| line.is_ok()));
    lab.ctl().ok(&["operator", "rm", "audrey"]);
    assert!(!following.wait().unwrap().success());
    let said = refused(&host, &auditor, &["secret", "ls"]);
    assert!(said.contains("was removed from the cluster"), "{said}");
    // The certificate is another one after a start, of the same CA.
    lab.managers[0].daemon.stop();
    lab.managers[0].daemon.start_again();
    let again = until("the port is there again", || {
        let again = port_of(&lab);
        (again != host).then_some(again)
    });
    until("it serves again", || {
        typed(&again, &admin, &["secret", "ls"], b"").status.success().then_some(())
    });
}

#[test]
fn who_is_not_of_the_cluster_gets_no_answer_at_dockers_port() {
    const TEST: &str = "who_is_not_of_the_cluster_gets_no_answer_at_dockers_port";
    if !has_docker(TEST) {
        return;
    }
    let (mut lab, mut other) = (Lab::new(PROGRAMS), Lab::new(PROGRAMS));
    let host = with_port(&mut lab);
    with_port(&mut other);
    let (_, own) = operator(&lab, "ada", "admin");
    let (_, foreign) = operator(&other, "ada", "admin");
    assert_eq!(ok(&host, &own, &["secret", "ls", "--quiet"], b""), "");

    let ca = (own.as_path(), "ca.pem");
    let none = mixed(&lab, "none", &[ca]);
    let from_elsewhere = [ca, (foreign.as_path(), "cert.pem"), (foreign.as_path(), "key.pem")];
    let from_elsewhere = mixed(&lab, "from-elsewhere", &from_elsewhere);
    for (certificates, why) in [
        (&none, "certificate required"),
        (&from_elsewhere, "tls: unknown certificate authority"),
        (&foreign, "certificate signed by unknown authority"),
    ] {
        let said = refused(&host, certificates, &["secret", "create", "key", "-"]);
        assert!(said.contains(why), "{why}: {said}");
    }
    // Nor in clear.
    let clear = Command::new("docker")
        .args(["secret", "ls"])
        .env("DOCKER_HOST", &host)
        .env_remove("DOCKER_TLS_VERIFY")
        .output()
        .unwrap();
    assert!(!clear.status.success(), "{clear:?}");
    assert_eq!(lab.ctl().json(&["ls"]), serde_json::json!([]), "nothing came of it");
    for folder in [&own] {
        for file in ["ca.pem", "cert.pem", "key.pem"] {
            use std::os::unix::fs::MetadataExt as _;
            assert_eq!(folder.join(file).metadata().unwrap().mode() & 0o777, 0o600, "{file}");
        }
    }
}
