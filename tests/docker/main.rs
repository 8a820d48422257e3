//! The unmodified docker client at a manager's socket, and what it would not send.
//!
//! What is typed, and what comes of it, stands in the text files beside this one, once for both
//! clients that were tried: Debian's of 2023 and one of 2025. Not here: what else is true of a secret
//! once it is stored (`cluster`), and that its value is nowhere else (`residue`).
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod events;
mod raw;
mod tls;

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sys::require::{Need, skip};
use tests::{Lab, Transcript, set_mode, until};

const PROGRAMS: &str = env!("CARGO_BIN_EXE_programs");

/// A manager with the Docker front, that is a cluster, and where its socket is.
fn founded() -> (Lab, PathBuf) {
    let (lab, socket) = empty();
    lab.ctl().ok(&["cluster", "init", "--hostname", "m1"]);
    (lab, socket)
}

/// As [`founded`], with a node that runs tasks, where root may type into the docker client.
fn with_node(test: &str) -> Option<(Lab, PathBuf)> {
    if !sys::require::root(test) || !has_docker(test) {
        return None;
    }
    let (mut lab, socket) = founded();
    lab.agent("n1");
    Some((lab, socket))
}

/// A manager with the Docker front, that is part of no cluster.
fn empty() -> (Lab, PathBuf) {
    let mut lab = Lab::new(PROGRAMS);
    let socket = lab.path().join("docker/docker.sock");
    lab.start_manager(&["--docker-socket", &socket.display().to_string()]);
    await_docker(&socket);
    (lab, socket)
}

/// Waits until a manager listens for docker: it does so after its own socket is there.
fn await_docker(socket: &Path) {
    until("it listens for docker", || UnixStream::connect(socket).ok().map(drop));
}

/// The most memory that the manager ever had.
fn peak_kib(lab: &Lab) -> u64 {
    let pid = lab.managers[0].daemon.pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn has_docker(test: &str) -> bool {
    let version = Command::new("docker").arg("--version").output();
    let is_there = version.is_ok_and(|version| version.status.success());
    if !is_there {
        skip(test, Need::Docker, "there is no program `docker`");
    }
    is_there
}

/// The course's session as far as secrets go, as it is typed, and what goes wrong in it.
#[test]
fn the_docker_client_keeps_its_secrets_here() {
    if !has_docker("the_docker_client_keeps_its_secrets_here") {
        return;
    }
    let (lab, socket) = founded();
    let transcript = Transcript::new("tests/docker/secrets.txt", &lab, &socket);
    let ctl = lab.ctl();
    transcript.check(|service| {
        let create = ["service", "create", "--detach", "--name", service, "--secret", "psql_pass"];
        ctl.ok(&[&create[..], &["--", "sleep", "1000"]].concat());
    });
    let audit = ctl.json(&["cluster", "audit"]).to_string();
    assert!(audit.contains("create_secret"), "it is on record like any other: {audit}");
}

/// Configs are made, shown, used by services and stacks, and not removed from under them.
#[test]
fn the_docker_client_keeps_its_configs_here() {
    const TEST: &str = "the_docker_client_keeps_its_configs_here";
    if !has_docker(TEST) {
        return;
    }
    let (lab, socket) = founded();
    let transcript = Transcript::new("tests/docker/configs.txt", &lab, &socket);
    transcript.put("configs.yml", include_str!("stack/configs.yml"));
    transcript.check(|_| ());
    let audit = lab.ctl().json(&["cluster", "audit"]).to_string();
    assert!(audit.contains("create_config") && audit.contains("remove_config"), "{audit}");
    // Labels change, of the version that was seen; nothing else does.
    let made = raw::post(&socket, "/configs/create", br#"{"Name":"create","Data":"AP8A"}"#);
    assert_eq!(made.status, 201, "{}", made.body);
    let shown = || -> serde_json::Value {
        let found = raw::ask(&socket, "GET", "/v1.41/configs/create");
        serde_json::from_str(&found.body).unwrap()
    };
    let seen = shown()["Version"]["Index"].as_u64().unwrap();
    let update = |version: &str, body: &[u8]| {
        let answer = raw::post(&socket, &format!("/configs/create/update?version={version}"), body);
        (answer.status, answer.body)
    };
    let labelled = br#"{"Name":"create","Labels":{"a":"b"},"Data":"AP8A"}"#;
    for (version, body, status, said) in [
        ("", &labelled[..], 400, "invalid config version ''"),
        ("1", labelled, 500, "update out of sequence"),
        (&seen.to_string(), br#"{"Name":"create","Data":"AP8B"}"#, 400, "only updates to Labels"),
        (&seen.to_string(), br#"{"Name":"other"}"#, 400, "only updates to Labels"),
        (&seen.to_string(), labelled, 200, ""),
    ] {
        let answer = update(version, body);
        assert_eq!(answer.0, status, "{}", answer.1);
        assert!(answer.1.contains(said), "{}", answer.1);
    }
    assert_eq!(shown()["Spec"]["Labels"]["a"], "b");
    assert_eq!(shown()["Spec"]["Data"], "AP8A");
    let list = raw::ask(&socket, "GET", "/configs");
    assert!(!list.body.contains("Data"), "a list has no values: {}", list.body);
}

/// Nodes are looked at, labelled, drained and evicted; what they are is not for docker to say.
#[test]
fn the_docker_client_looks_after_nodes() {
    const TEST: &str = "the_docker_client_looks_after_nodes";
    let Some((lab, socket)) = with_node(TEST) else { return };
    Transcript::new("tests/docker/nodes.txt", &lab, &socket).check(|_| ());
    // Who changes what has changed meanwhile is told so, in the words that clients look for.
    let body = br#"{"Labels":{},"Role":"manager","Availability":"drain"}"#;
    for (version, status, said) in [
        ("1", 500, "update out of sequence"),
        ("0", 400, "invalid node version '0'"),
        ("", 400, "invalid node version ''"),
    ] {
        let answer = raw::post(&socket, &format!("/nodes/m1/update?version={version}"), body);
        assert_eq!(answer.status, status, "{}", answer.body);
        assert!(answer.body.contains(said), "{}", answer.body);
    }
    assert_eq!(lab.ctl().json(&["node", "inspect", "m1"])[0]["availability"], "active");
}

/// Services are declared, looked at, changed in part and removed, whoever declared them.
#[test]
fn the_docker_client_declares_services() {
    const TEST: &str = "the_docker_client_declares_services";
    let Some((lab, socket)) = with_node(TEST) else { return };
    let ctl = lab.ctl();
    Transcript::new("tests/docker/services.txt", &lab, &socket).check(|service| {
        let create = ["service", "create", "--detach", "--name", service, "--"];
        ctl.ok(&[&create[..], &["sh", "-c", "echo one; echo two; exec sleep 1000"]].concat());
    });
}

/// Networks are made, found, listed and removed, and not from under a service.
#[test]
fn the_docker_client_keeps_its_networks_here() {
    const TEST: &str = "the_docker_client_keeps_its_networks_here";
    let Some((lab, socket)) = with_node(TEST) else { return };
    Transcript::new("tests/docker/networks.txt", &lab, &socket).check(|_| ());
    let audit = lab.ctl().json(&["cluster", "audit"]).to_string();
    assert!(audit.contains("create_network") && audit.contains("remove_network"), "{audit}");
}

/// The course's stack: from files, with secrets that are there, and with owners and modes.
#[test]
fn the_docker_client_deploys_stacks() {
    const TEST: &str = "the_docker_client_deploys_stacks";
    let Some((lab, socket)) = with_node(TEST) else { return };
    let transcript = Transcript::new("tests/docker/stacks.txt", &lab, &socket);
    for (name, text) in [
        ("docker-compose.yml", include_str!("stack/docker-compose.yml")),
        ("external.yml", include_str!("stack/external.yml")),
        ("long.yml", include_str!("stack/long.yml")),
        ("networks.yml", include_str!("stack/networks.yml")),
    ] {
        transcript.put(name, text);
    }
    transcript.check(|_| ());
    // A value that was another one is on record; those that were the same are not.
    until("the audit has it", || {
        let audit = lab.ctl().json(&["cluster", "audit"]).to_string();
        audit.contains("another_value").then_some(())
    });
}

/// Join tokens, locking and unlocking, and another CA, as docker has them typed.
#[test]
fn the_docker_client_looks_after_the_swarm() {
    const TEST: &str = "the_docker_client_looks_after_the_swarm";
    let Some((mut lab, socket)) = with_node(TEST) else { return };
    Transcript::new("tests/docker/swarm.txt", &lab, &socket).check(|what| {
        if what == "tokens" {
            let alive = lab.ctl().json(&["cluster", "token", "ls"]);
            let alive = alive.as_array().unwrap().iter();
            let mut roles: Vec<_> = alive.map(|token| token["role"].as_str().unwrap()).collect();
            roles.sort_unstable();
            assert_eq!(roles, ["agent", "manager"], "those before a rotation are ended");
        } else {
            lab.managers[0].daemon.kill();
            lab.managers[0].daemon.start_again();
            await_docker(&socket);
            until("it serves, or waits for a key", || {
                let ping = raw::ask(&socket, "HEAD", "/_ping");
                let stands = ["swarm: active/manager", "swarm: locked"];
                stands.iter().any(|standing| ping.head.contains(standing)).then_some(())
            });
        }
    });
    let log = lab.managers[0].daemon.log();
    assert!(log.contains("unlock_key_made_here") && log.contains("unlock_key_shown"), "{log}");
    assert!(!log.contains("SECKEY-1-") && !log.contains("SECTKN-1-"), "and never the key itself");
}

/// What may open something is in an answer: nothing of it stays in a buffer for the next one.
#[test]
fn an_answer_with_a_key_or_tokens_ends_its_connection() {
    let (_lab, socket) = founded();
    for path in ["/swarm", "/swarm/unlockkey"] {
        let answer = raw::ask_open(&socket, path);
        assert_eq!((answer.status, answer.is_closed), (200, true), "{path}: {}", answer.body);
        assert!(answer.head.contains("cache-control: no-cache, no-store"), "{}", answer.head);
    }
}

/// Who follows the output of a service reads what comes, and does not keep a manager from stopping.
#[test]
fn a_docker_client_follows_output_until_the_manager_stops() {
    const TEST: &str = "a_docker_client_follows_output_until_the_manager_stops";
    let Some((mut lab, socket)) = with_node(TEST) else { return };
    let create = ["service", "create", "--name", "web", "--"];
    lab.ctl().ok(&[&create[..], &["sh", "-c", "echo first; exec sleep 1000"]].concat());
    let mut following = Command::new("docker")
        .args(["service", "logs", "--follow", "--raw", "web"])
        .env("DOCKER_HOST", format!("unix://{}", socket.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "first");
    lab.managers[0].daemon.stop();
    assert!(lines.next().is_none(), "the output ends");
    following.wait().unwrap();
}

/// What docker brought is what a task reads.
#[test]
fn a_task_reads_what_docker_brought() {
    const TEST: &str = "a_task_reads_what_docker_brought";
    if !sys::require::root(TEST) {
        return;
    }
    let (mut lab, socket) = founded();
    lab.agent("n1");
    let body = br#"{"Name":"psql_pass","Labels":{},"Data":"bXlEQnBhc3NXT1JECgD/"}"#;
    let answer = raw::post(&socket, "/v1.41/secrets/create", body);
    assert_eq!(answer.status, 201, "{}", answer.body);
    let ctl = lab.ctl();
    let script = "sha256sum < /run/secrets/psql_pass; exec sleep 1000";
    let service = ["service", "create", "--name", "reader", "--secret", "psql_pass"];
    ctl.ok(&[&service[..], &["--", "sh", "-c", script]].concat());
    let value = b"myDBpassWORD\n\x00\xff";
    let digest = proto::hex::encode(&seal::digest_of(value));
    until("the task has read it", || {
        ctl.ok(&["service", "logs", "--no-prefix", "reader"]).contains(&digest).then_some(())
    });
}

/// The word that the API has at a secret's place is a name like any other.
#[test]
fn a_secret_may_be_named_as_a_route_is() {
    let (_lab, socket) = founded();
    let made = raw::post(&socket, "/secrets/create", br#"{"Name":"create","Data":"AP8A"}"#);
    assert_eq!(made.status, 201, "{}", made.body);
    let found = raw::ask(&socket, "GET", "/v1.41/secrets/create");
    assert_eq!(found.status, 200, "{}", found.body);
    assert!(found.body.contains(r#""Name":"create""#), "{}", found.body);
    let update = "/secrets/create/update?version=1";
    let updated = raw::post(&socket, update, br#"{"Name":"create","Labels":{}}"#);
    assert_eq!(updated.status, 200, "{}", updated.body);
    assert_eq!(raw::ask(&socket, "DELETE", "/secrets/create").status, 204);
    assert_eq!(raw::ask(&socket, "GET", "/secrets/create").status, 404);
}

/// Filters as docker's programs write them by hand: a key without values asks for nothing.
#[test]
fn a_filter_without_values_is_none() {
    let (_lab, socket) = founded();
    let made = raw::post(&socket, "/secrets/create", br#"{"Name":"a","Data":"AP8A"}"#);
    assert_eq!(made.status, 201, "{}", made.body);
    // {"name":{}}, {"name":[]}, {"name":{"a":false}}, {"name":{"m":false}}, {"name":{"x":false}}
    for (filters, secrets, nodes) in [
        ("%7B%22name%22:%7B%7D%7D", 1, 1),
        ("%7B%22name%22:[]%7D", 1, 1),
        ("%7B%22name%22:%7B%22a%22:false%7D%7D", 1, 0),
        ("%7B%22name%22:%7B%22m%22:false%7D%7D", 0, 1),
        ("%7B%22name%22:%7B%22x%22:false%7D%7D", 0, 0),
    ] {
        let count = |list: &str| {
            let answer = raw::ask(&socket, "GET", &format!("/{list}?filters={filters}"));
            let found: Vec<serde_json::Value> = serde_json::from_str(&answer.body).unwrap();
            found.len()
        };
        assert_eq!((count("secrets"), count("nodes")), (secrets, nodes), "{filters}");
    }
}

/// Bodies, versions and routes that are none get Docker's errors, and the manager goes on.
#[test]
fn what_is_no_request_is_refused_in_dockers_words() {
    let (lab, socket) = founded();
    let said = |answer: &raw::Answer| -> String {
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        body["message"].as_str().unwrap().to_owned()
    };
    for (method, path, status, message) in [
        ("GET", "/nothing", 404, "page not found"),
        ("GET", "/v1.41/", 404, "page not found"),
        ("POST", "/secrets", 404, "page not found"),
        (
            "GET",
            "/v1.99/secrets",
            400,
            "client version 1.99 is too new. Maximum supported API version is 1.50",
        ),
        (
            "GET",
            "/volumes/data",
            501,
            "rpc error: code = Unimplemented desc = /volumes is not swarm's: start secretd with \
             --docker-engine FILE, this machine's own engine, to have it passed on",
        ),
        ("GET", "/services/none/logs?stdout=1", 404, "service none not found"),
        ("GET", "/tasks/none/logs?stdout=1", 404, "task none not found"),
        ("POST", "/services/none", 404, "page not found"),
        ("GET", "/secrets/%00", 404, "secret \0 not found"),
        ("GET", "/secrets?filters=%7B", 400, "invalid filter: it is not JSON of keys and values"),
        ("GET", "/secrets/%ff", 400, "Invalid URL: Invalid UTF-8 in `id`"),
        ("DELETE", "/nodes/%ff", 400, "Invalid URL: Invalid UTF-8 in `id`"),
        (
            "GET",
            "/nodes?filters=&filters=",
            400,
            "Failed to deserialize query string: duplicate field `filters`",
        ),
        ("POST", "/secrets/other", 404, "page not found"),
        ("PUT", "/_ping", 404, "page not found"),
        ("GET", "/secrets/a/update", 404, "page not found"),
    ] {
        let answer = raw::ask(&socket, method, path);
        assert_eq!((answer.status, said(&answer).as_str()), (status, message), "{method} {path}");
    }
    let create = |body: &[u8]| raw::post(&socket, "/secrets/create", body);
    let size = "rpc error: code = InvalidArgument desc = secret data must be larger than 0 and less than 512000 bytes";
    for (body, message) in [
        (&b"{"[..], "invalid JSON: at line 1, column 1 of the body"),
        (b"[]", "rpc error: code = InvalidArgument desc = name must be provided"),
        (br#"{"Name":"a"}"#, size),
        (br#"{"Name":"a","Data":""}"#, size),
        (br#"{"Name":"a","Data":"!!!!"}"#, "illegal base64 data"),
    ] {
        let answer = create(body);
        let text = String::from_utf8_lossy(body).into_owned();
        assert_eq!((answer.status, said(&answer).as_str()), (400, message), "{text}");
        assert!(answer.is_closed, "who brought a body is not kept: {text}");
    }
    let broken = raw::post_broken(&socket, "/secrets/create");
    assert_eq!(broken.status, 400, "{}", broken.body);
    assert!(said(&broken).starts_with("the body cannot be read: "), "{}", broken.body);
    let ping = raw::ask(&socket, "GET", "/_ping");
    assert_eq!((ping.status, ping.body.as_str()), (200, "OK"));
    for header in ["api-version: 1.50", "ostype: linux", "swarm: active/manager"] {
        assert!(ping.head.contains(header), "{}", ping.head);
    }
    assert_eq!(lab.ctl().json(&["ls"]), serde_json::json!([]), "nothing came of it");
}

/// The folder of the socket keeps others out; where one got hold of it, the manager does.
#[test]
fn another_user_gets_nothing_at_the_socket() {
    const TEST: &str = "another_user_gets_nothing_at_the_socket";
    if !sys::require::root(TEST) || !has_docker(TEST) {
        return;
    }
    let (lab, socket) = founded();
    let folder = socket.parent().unwrap();
    assert_eq!(folder.metadata().unwrap().mode() & 0o777, 0o700);
    assert_eq!(socket.metadata().unwrap().mode() & 0o777, 0o600);
    for path in [lab.path(), folder] {
        set_mode(path, 0o755);
    }
    set_mode(&socket, 0o666);
    let asked = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .args(["docker", "secret", "ls"])
        .env("DOCKER_HOST", format!("unix://{}", socket.display()))
        .env("DOCKER_CONFIG", "/nonexistent")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(said.contains("uid 65534 may not use this manager's socket"), "{said}");
}

/// A body without end is refused at the bound, whether it says its length or not.
#[test]
fn a_body_of_a_hundred_megabytes_is_refused_and_is_not_kept() {
    const HUGE: usize = 100 << 20;
    let (mut lab, socket) = founded();
    let before = peak_kib(&lab);
    for announced in [true, false] {
        let answer = raw::post_zeros(&socket, "/secrets/create", HUGE, announced);
        assert_eq!(answer.status, 413, "{}", answer.body);
        assert!(answer.body.contains("request body too large"), "{}", answer.body);
    }
    lab.managers[0].daemon.assert_running();
    let grown = peak_kib(&lab) - before;
    assert!(grown < 40 << 10, "{grown} KiB more than before");
}

/// Every phase has an answer, of which clients know what to do.
#[test]
fn a_manager_of_no_cluster_and_a_locked_one_say_so() {
    let (mut lab, socket) = empty();
    let standing = || {
        let ping = raw::ask(&socket, "HEAD", "/_ping");
        let swarm = ping.head.lines().find_map(|line| line.strip_prefix("swarm: "));
        (swarm.unwrap_or_default().to_owned(), raw::ask(&socket, "GET", "/secrets"))
    };
    let unlock = |key: &str| {
        let body = serde_json::json!({ "UnlockKey": key }).to_string();
        let answer = raw::post(&socket, "/swarm/unlock", body.as_bytes());
        (answer.status, answer.body)
    };
    let (swarm, list) = standing();
    assert_eq!((swarm.as_str(), list.status), ("inactive", 503));
    assert!(list.body.contains("This node is not a swarm manager."), "{}", list.body);
    let made = raw::post(&socket, "/swarm/init", b"{}");
    assert_eq!(made.status, 501, "{}", made.body);
    assert!(made.body.contains("secretctl cluster init"), "{}", made.body);
    assert_eq!(unlock("x").0, 503);
    lab.ctl_of(0).ok(&["cluster", "init", "--hostname", "m1", "--autolock"]);
    let (swarm, list) = standing();
    assert_eq!((swarm.as_str(), list.status, list.body.as_str()), ("active/manager", 200, "[]"));
    lab.managers[0].daemon.kill();
    lab.managers[0].daemon.start_again();
    await_docker(&socket);
    let (swarm, list) = until("it is locked", || {
        let (swarm, list) = standing();
        (swarm == "locked").then_some((swarm, list))
    });
    assert_eq!((swarm.as_str(), list.status), ("locked", 503));
    assert!(list.body.contains("Swarm is encrypted and needs to be unlocked"), "{}", list.body);
    let (status, body) = unlock("SWMKEY-1-abc");
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("invalid key string: not an unlock key"), "{body}");
    let (status, body) = unlock(&seal::UnlockKey::make().expose());
    assert_eq!(status, 401, "{body}");
    assert!(body.contains("swarm could not be unlocked: invalid key provided"), "{body}");
    // Bodies are not looked at, nor are versions.
    for path in ["/secrets/create", "/secrets/a/update", "/nodes/a/update", "/swarm/update"] {
        let answer = raw::post(&socket, path, b"{");
        assert_eq!(answer.status, 503, "{path}: {}", answer.body);
        assert!(answer.body.contains("Swarm is encrypted"), "{path}: {}", answer.body);
    }
    assert_eq!(raw::ask(&socket, "GET", "/info").status, 200);
}
