//! `^C` while waiting: the waiting ends, what was asked for stays.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use proto::task::TaskState;
use rustix::process::{Pid, Signal, kill_process};

use crate::fake::Fake;
use crate::program::Place;

#[test]
fn an_interrupt_ends_the_waiting_not_the_service() {
    let (place, fake) = (Place::new(), Fake::new());
    let _serving = fake.serve_unix(&place.socket());
    fake.world().script = vec![(TaskState::Pending, "no suitable node".into())];
    let mut command = place.command();
    command.args(["service", "create", "--name", "web", "--", "/bin/web"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    // Once it tells what it waits for, it listens for the interrupt.
    stderr.read_line(&mut line).unwrap();
    assert_eq!(line, "secretctl: web.1: pending: no suitable node\n");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    let id = fake.world().services.keys().next().unwrap().clone();
    let told = format!(
        "secretctl: error: interrupted\nsecretctl: hint: the service goes on without being \
         watched: `secretctl service ps {id}`\n"
    );
    assert!(rest.ends_with(&told), "{rest}");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
