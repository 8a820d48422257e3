//! A value that the docker client brought in clear: once it is stored it is in no process and no file.
//!
//! It is decoded by the manager whose socket was used, here not the one that leads, and each of its
//! buffers is wiped when it is freed. Bodies of all alignments, of refused requests and of one that was
//! broken off; connections are closed by the manager, not by who asked.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use tests::{Lab, until};

use super::search::Search;
use super::{LOG, PROGRAMS, assert_nowhere};

const TEST: &str = "what_docker_brought_is_nowhere_once_it_is_stored";

fn base64(value: &[u8]) -> String {
    let mut child = Command::new("base64")
        .arg("--wrap=0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(value).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// Sends a body, or as much of it, and keeps the connection for as long as the manager does.
fn send(socket: &Path, body: &str, sent: usize) -> String {
    send_to(socket, "/secrets/create", body, sent)
}

fn send_to(socket: &Path, path: &str, body: &str, sent: usize) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /v1.41{path} HTTP/1.1\r\nhost: d\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{}",
        body.get(..sent).unwrap()
    )
    .unwrap();
    if sent < length {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn what_docker_brought_is_nowhere_once_it_is_stored() {
    if !sys::require::root(TEST) {
        return;
    }
    let value = seal::random::<64>();
    let search = Search::of(&value);
    let mut lab = Lab::new(PROGRAMS);
    LOG.clone_into(&mut lab.log);
    lab.found();
    let (token, address) = (lab.token("manager"), lab.address());
    let socket = lab.path().join("docker/docker.sock");
    let index = lab.start_manager(&["--docker-socket", &socket.display().to_string()]);
    let join = ["cluster", "join", "--token", &token, "--hostname", "m2", &address];
    lab.ctl_of(index).ok(&join);
    until("it serves", || {
        let mut stream = UnixStream::connect(&socket).unwrap();
        write!(stream, "GET /secrets HTTP/1.1\r\nhost: d\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.starts_with("HTTP/1.1 200").then_some(())
    });

    for (number, lead) in ["", "a", "ab"].into_iter().enumerate() {
        let data = base64(&[lead.as_bytes(), &value].concat());
        let body = format!(r#"{{"Name":"canary{number}","Labels":{{}},"Data":"{data}"}}"#);
        let answer = send(&socket, &body, body.len());
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        // The name is taken now; that name is none; what stands there is no JSON.
        let answer = send(&socket, &body, body.len());
        assert!(answer.starts_with("HTTP/1.1 409"), "{answer}");
        let unnamed = body.replace("canary", "-");
        let answer = send(&socket, &unnamed, unnamed.len());
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        let broken = body.replace(r#"","Labels"#, r#"","#);
        let answer = send(&socket, &broken, broken.len());
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        send(&socket, &body, body.len() - 10);
        // As a stack that is deployed again brings it: the same value, and another one.
        let revision = &lab.ctl().json(&["inspect", &format!("canary{number}")])[0]["revision"];
        let update = format!("/secrets/canary{number}/update?version={revision}");
        let answer = send_to(&socket, &update, &body, body.len());
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        let other = body.replace(&data, &base64(&[lead.as_bytes(), b"not ", &value].concat()));
        let answer = send_to(&socket, &update, &other, other.len());
        assert!(answer.contains("only updates to Labels are allowed"), "{answer}");
    }
    assert_eq!(lab.ctl().json(&["ls"]).as_array().unwrap().len(), 3);
    assert_nowhere(&search, &lab, 0, "once it is stored");

    lab.agent("n1");
    let service = ["service", "create", "--name", "reader", "--secret", "canary0"];
    lab.ctl().ok(&[&service[..], &["--", "sleep", "1000"]].concat());
    lab.await_tasks("reader", 1, "running");
    assert_nowhere(&search, &lab, 1, "while its task runs");
}
