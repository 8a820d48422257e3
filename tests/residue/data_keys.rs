//! Data keys are in key memory for as long as they are needed, and in no other memory, file or
//! packet: not on the stack of a thread that unwrapped one, either.
//!
//! What is looked for are values that this test seals itself, as a client does, and their keys. They
//! are taken in, stored, delivered, wrapped anew under another root key, and read by a task, while
//! others create fifty a second. Not here: what each use of a key leaves on a stack
//! (`seal/tests/stacks.rs`); everything logged that can be (`main`: this much would be gigabytes).

use std::sync::PoisonError;

use seal::Plaintext;
use tests::{Lab, until};
use tokio::runtime::Runtime;

use crate::keys::{Places, protects_keys};
use crate::others::{Others, connect};
use crate::search::Search;
use crate::wire::Wire;
use crate::{PROGRAMS, WIRE, assert_nowhere};

const TEST: &str = "data_keys_are_in_key_memory_and_nowhere_else";

/// Values whose keys are looked for.
const VALUES: usize = 6;

#[test]
fn data_keys_are_in_key_memory_and_nowhere_else() {
    if !sys::require::root(TEST) {
        return;
    }
    let _one = WIRE.lock().unwrap_or_else(PoisonError::into_inner);
    let places = Places::installed();
    let wire = Wire::listen();
    let mut lab = Lab::new(PROGRAMS);
    "debug".clone_into(&mut lab.agents_log);
    lab.found();
    lab.join();
    lab.join();
    lab.agent("n1");
    if !protects_keys(&lab, TEST) {
        return;
    }
    let runtime = Runtime::new().unwrap();
    let mut connections = connect(&lab, &runtime);
    let (mut keys, mut sought) = (Vec::new(), Vec::new());
    let mut service = vec!["service", "create", "--name", "reader"];
    let names: Vec<_> = (0..VALUES).map(|number| format!("canary{number}")).collect();
    for (name, connection) in names.iter().zip((0..).map(|number| number % 3)) {
        let before = places.keys();
        let value = seal::random::<32>();
        sought.push(value);
        let value = Plaintext::born(32, |bytes| bytes.copy_from_slice(&value)).unwrap();
        let connection = &mut connections[connection];
        let request = connection.seal_value(name, value, || {
            keys.extend(places.keys().into_iter().filter(|key| !before.contains(key)));
        });
        runtime.block_on(connection.client.create_secret(request)).unwrap();
        service.extend(["--secret", name]);
    }
    assert_eq!(keys.len(), VALUES);
    sought.extend(keys);
    let search = Search::of(sought.as_flattened());
    let others = Others::start(runtime, connections);
    others.go_on();

    let script = "cat /run/secrets/* > /dev/null; exec sleep 1000";
    lab.ctl().ok(&[&service[..], &["--", "sh", "-c", script]].concat());
    lab.await_tasks("reader", 1, "running");
    others.go_on();
    assert_nowhere(&search, &lab, 1, "delivered, while others create");

    let leader = lab.leader();
    lab.managers[leader].daemon.kill();
    lab.managers[leader].daemon.start_again();
    lab.await_socket(leader);
    until("the root key rotates", || {
        (lab.ctl().run(&["cluster", "rotate", "root-key"]).status == 0).then_some(())
    });
    others.go_on();
    assert_nowhere(&search, &lab, 1, "wrapped anew, while others create");

    lab.ctl().ok(&["service", "rm", "reader"]);
    let agent = &lab.agents[0].daemon;
    until("the agent holds no data key any more", || {
        let log = agent.log();
        let last = log.lines().rfind(|line| line.contains("secrets_held"))?.to_owned();
        (last.contains("secrets=0") && last.contains("live.data_keys=0")).then_some(())
    });
    let held = format!("secrets={VALUES} live.data_keys={VALUES} live.values=0");
    assert!(agent.log().contains(&held), "it held them, and said so");
    drop(others);
    assert_nowhere(&search, &lab, 0, "removed");
    let captured = wire.end();
    assert_eq!(search.bytes(&mut captured.as_slice(), "the wire"), Vec::<String>::new());
}
