//! What happens to a cluster's objects, as `docker events` follows it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tests::until;

use super::{await_docker, raw, with_node};

fn docker(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments).env("DOCKER_HOST", format!("unix://{}", socket.display()));
    command
}

fn ok(socket: &Path, arguments: &[&str]) -> String {
    let ran = docker(socket, arguments).output().unwrap();
    assert!(ran.status.success(), "{arguments:?}: {ran:?}");
    String::from_utf8(ran.stdout).unwrap()
}

/// An event in a line: kind, action, and what it says of the object.
fn told(event: &Value) -> String {
    let attributes = event["Actor"]["Attributes"].as_object().unwrap();
    let attributes = attributes.iter().map(|(key, value)| {
        assert!(value.is_string(), "{event}");
        format!(" {key}={}", value.as_str().unwrap())
    });
    let (kind, action) = (event["Type"].as_str().unwrap(), event["Action"].as_str().unwrap());
    format!("{kind} {action}{}", attributes.collect::<String>())
}

#[test]
fn the_docker_client_follows_what_happens() {
    const TEST: &str = "the_docker_client_follows_what_happens";
    let Some((mut lab, socket)) = with_node(TEST) else { return };
    let follow = ["events", "--since", "0", "--format", "{{json .}}"];
    let mut following = docker(&socket, &follow).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let mut events = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());

    let made = raw::post(&socket, "/secrets/create", br#"{"Name":"key","Data":"AP8A"}"#);
    assert_eq!(made.status, 201, "{}", made.body);
    ok(&socket, &["network", "create", "--driver", "overlay", "back"]);
    let create = ["service", "create", "--detach", "--no-resolve-image", "--name", "web"];
    ok(&socket, &[&create[..], &["--constraint", "node.labels.x==y", "img:1"]].concat());
    let update = ["service", "update", "--detach", "--no-resolve-image", "web"];
    ok(&socket, &[&update[..], &["--replicas", "3", "--image", "img:2"]].concat());
    ok(&socket, &["node", "update", "--availability", "drain", "n1"]);
    ok(&socket, &["service", "rm", "web"]);
    ok(&socket, &["network", "rm", "back"]);
    ok(&socket, &["secret", "rm", "key"]);
    let mut found = Vec::new();
    let mut last = Value::Null;
    while found.last().is_none_or(|event| event != "secret remove name=key") {
        last = events.next().expect("an event");
        assert_eq!(last["scope"], "swarm");
        found.push(told(&last));
    }
    let begin = found.iter().position(|event| event == "secret create name=key").unwrap();
    // How far an update gets is for the leader to say.
    let expected = |event: &&String| {
        !event.starts_with("service update name=web updatestate") && !event.contains(" state.")
    };
    let since: Vec<_> = found[begin..].iter().filter(expected).collect();
    assert_eq!(
        since,
        [
            "secret create name=key",
            "network create name=back",
            "service create name=web",
            "service update image.new=img:2 image.old=img:1 name=web replicas.new=3 replicas.old=1 \
             updatestate.new=updating",
            "node update availability.new=drain availability.old=active name=n1",
            "service remove name=web",
            "network remove name=back",
            "secret remove name=key",
        ],
        "{found:#?}"
    );
    assert!(found[..begin].contains(&"node create name=n1".to_owned()), "{found:#?}");
    let nanos = last["timeNano"].as_u64().unwrap();
    assert_eq!(last["time"].as_u64().unwrap(), nanos / 1_000_000_000);

    // What is past is told to who asks for it, and it ends when it is to.
    let end = (nanos / 1_000_000_000 + 1).to_string();
    let past = ["events", "--since", "0", "--until", &end, "--format", "{{.Type}} {{.Action}}"];
    let of = |filters: &[&str]| {
        let filters = filters.iter().flat_map(|filter| ["--filter", filter]);
        ok(&socket, &past.into_iter().chain(filters).collect::<Vec<_>>())
    };
    assert_eq!(of(&["secret=key"]), "secret create\nsecret remove\n");
    assert_eq!(of(&["type=network", "event=remove"]), "network remove\n");
    assert_eq!(of(&["type=service", "label=image.new=img:2"]), "service update\n");
    assert_eq!(of(&["scope=local"]), "");
    let none = ["events", "--since", &end, "--until", &end];
    assert_eq!(ok(&socket, &none), "");

    // It goes on, without anything that happens; and ends with the manager.
    ok(&socket, &["node", "update", "--availability", "active", "n1"]);
    let next = events.find(|event| told(event).contains("availability.new=active"));
    assert!(next.is_some());
    lab.managers[0].daemon.stop();
    assert_eq!(events.count(), 0);
    following.wait().unwrap();

    // A manager that starts has nothing yet, and refuses what it would refuse later.
    lab.managers[0].daemon.start_again();
    await_docker(&socket);
    let asked = "/events?since=0&until=1&filters=%7B%22colour%22:[%22red%22]%7D";
    let refused = until("it serves", || {
        let answer = raw::ask(&socket, "GET", asked);
        (answer.status != 503).then_some(answer)
    });
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert!(refused.body.contains("invalid filter 'colour'"), "{}", refused.body);
}
