//! An agent's session, used for more than it is for.
//!
//! The client is a node's agent and has a task and a secret of its own, so that what it is refused
//! is not what nobody gets. Everything it receives is searched for what is not its own.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use link::rpc::dispatcher_client::DispatcherClient;
use proto::convert::EnumField as _;
use proto::pb::agent_message::Message as Up;
use proto::pb::manager_message::Message as Down;
use proto::{Kind, pb};
use tests::{Lab, until};

use crate::PROGRAMS;
use crate::calls::refusals_on_record;
use crate::client::{Client, Session, receive};

const OWN_VALUE: &[u8] = b"what n2 may have";

/// A cluster where n1 runs `theirs` with its secret, and this client is n2 and has `own`.
struct Scene {
    lab: Lab,
    address: String,
    client: Client,
    /// Names and ids that n2 has no business with.
    words: Vec<String>,
    task: String,
}

impl Scene {
    async fn new(script: &str) -> Self {
        let mut lab = Lab::with_managers(PROGRAMS, 1);
        lab.agent("n1");
        let ctl = lab.ctl();
        let secret = ctl.ok_with(&["create", "psql_pass", "-"], b"what n2 may not have");
        ctl.ok_with(&["create", "own", "-"], OWN_VALUE);
        let address = lab.address();
        let client = Client::agent(&address, &lab.token("agent"), "n2").await;
        let service = serve(&lab, "theirs", "n1", "psql_pass", script);
        serve(&lab, "mine", "n2", "own", "true");
        let task = lab.await_tasks("theirs", 1, "running").remove(0);
        let task = task["id"].as_str().unwrap().to_owned();
        let words = ["psql_pass".to_owned(), secret.trim().to_owned(), service, task.clone()];
        Self { lab, address, client, words: words.to_vec(), task }
    }

    fn assert_own(&self, messages: &[Down]) {
        for message in messages {
            let text = format!("{message:?}");
            for word in &self.words {
                assert!(!text.contains(word), "{word} in {text}");
            }
        }
    }

    /// A session that has received its first set, once there is something in it.
    async fn open(&self) -> (Session, pb::SecretDelivery) {
        let mut session = self.client.open(&self.address).await.unwrap();
        loop {
            let set = session.set().await;
            self.assert_own(&set);
            let delivery = set.into_iter().find_map(|message| match message {
                Down::Secret(delivery) => Some(delivery),
                _ => None,
            });
            if let Some(delivery) = delivery {
                return (session, delivery);
            }
        }
    }

    fn await_refusals(&self, actions: &[&str]) {
        let me = self.client.subject().to_string();
        for action in actions {
            until(&format!("{action} is on record"), || {
                let refusal = (me.clone(), (*action).to_owned(), "denied".to_owned());
                refusals_on_record(&self.lab.ctl()).contains(&refusal).then_some(())
            });
        }
    }
}

/// Runs a script with a secret on a node; gives the service's id.
fn serve(lab: &Lab, name: &str, node: &str, secret: &str, script: &str) -> String {
    let node = format!("node.hostname=={node}");
    let service = ["service", "create", "--detach", "--name", name, "--constraint", &node];
    let task = ["--secret", secret, "--", "sh", "-c", script];
    lab.ctl().ok(&[&service[..], &task].concat()).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_opens_in_its_own_session_and_nowhere_else() {
    let scene = Scene::new("exec sleep 1000").await;
    let (mut first, delivery) = scene.open().await;
    let opened = first.open_delivery(&scene.client, &delivery).unwrap();
    assert_eq!(opened.expose(), OWN_VALUE);
    let (second, again) = scene.open().await;
    assert_eq!(second.open_delivery(&scene.client, &again).unwrap().expose(), OWN_VALUE);
    assert_eq!(again.payload_id, delivery.payload_id);

    // A node has one session: the older one is over.
    let ended = loop {
        match first.next().await {
            Ok(Some(_)) => {}
            ended => break ended,
        }
    };
    assert!(ended.as_ref().map_or_else(|f| f.kind == Kind::Unavailable, |_| true), "{ended:?}");

    // What was recorded there opens nothing here, and nothing opens as something else.
    let sealed_dek = delivery.sealed_dek.clone();
    let other_task = scene.task.clone();
    for (what, altered) in [
        ("another session's", delivery),
        ("another session's key", pb::SecretDelivery { sealed_dek, ..again.clone() }),
        ("another number", pb::SecretDelivery { message_number: 2, ..again.clone() }),
        ("another task", pb::SecretDelivery { task_id: other_task, ..again.clone() }),
        ("another version", pb::SecretDelivery { version: 2, ..again.clone() }),
    ] {
        assert!(second.open_delivery(&scene.client, &altered).is_err(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_lives_for_as_long_as_it_beats() {
    let scene = Scene::new("exec sleep 1000").await;
    let (mut session, _) = scene.open().await;
    // An agent that heard nothing for three beats would take its manager for dead.
    let mut answers = 0;
    while answers < 5 {
        match session.next().await.unwrap().expect("the session is open") {
            Down::Beat(_) => answers += 1,
            other => scene.assert_own(&[other]),
        }
    }
    // Nor has the agent of n1 opened more sessions than its first.
    let log = scene.lab.agents[0].daemon.log();
    assert_eq!(log.matches("session_opened").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_lies_about_itself_gets_nothing_more() {
    let scene = Scene::new("exec sleep 1000").await;
    let (key, open) = scene.client.opening();
    let mut session = scene
        .client
        .open_with(
            &scene.address,
            key,
            pb::Open {
                tasks: vec![pb::HeldTask { task_id: scene.task.clone(), revision: 1 }],
                secrets: vec![pb::HeldSecret {
                    secret_id: scene.words[1].clone(),
                    version: 1,
                    payload_id: seal::random::<16>().to_vec().into(),
                }],
                report: Some(pb::Report {
                    hostname: "n1".into(),
                    runtimes: vec!["process".into()],
                    nano_cpus: u64::MAX,
                    memory_bytes: u64::MAX,
                    ..pb::Report::default()
                }),
                ..open
            },
        )
        .await
        .unwrap();
    scene.assert_own(&session.set().await);
    until("the lie is shown", || {
        let node = scene.lab.ctl().json(&["node", "inspect", "n2"]);
        node[0]["message"].as_str().is_some_and(|m| m.contains("n1, not n2")).then_some(())
    });
    // Where a task may run is judged by the record.
    serve(&scene.lab, "theirs2", "n1", "psql_pass", "exec sleep 1000");
    let task = scene.lab.await_tasks("theirs2", 1, "running").remove(0);
    assert_eq!(task["node"], "n1");
    for _ in 0..3 {
        session.say(Up::WantEverything(pb::WantEverything {})).await;
        let set = session.set().await;
        scene.assert_own(&set);
        assert!(!format!("{set:?}").contains("theirs2"), "{set:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_speaks_for_its_own_tasks_only() {
    let go = tempfile::Builder::new().prefix("go").tempdir_in("/tmp").unwrap();
    let real = go.path().join("real");
    let script = format!(
        "echo begun; until test -e {}; do sleep 0.05; done; echo real; exec sleep 1000",
        real.display()
    );
    let scene = Scene::new(&script).await;
    let (mut session, own) = scene.open().await;

    // That the other's task had failed.
    let status = |task_id: &str| pb::TaskStatus {
        task_id: task_id.into(),
        state: pb::TaskState::Failed.into(),
        at: 1,
        message: "forged".into(),
        exit_code: Some(1),
        mounted: Vec::new(),
    };
    let forged = pb::Statuses { number: 7, statuses: vec![status(&scene.task)] };
    session.say(Up::Statuses(forged.clone())).await;
    session.say(Up::Statuses(forged)).await;
    scene.assert_own(&session.until_acknowledged(7).await);

    // That the other's task had printed something, to somebody who reads along.
    let mut reader = scene.lab.ctl().command(&["service", "logs", "--no-prefix", "-f", "theirs"]);
    let mut reader = reader.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(reader.stdout.take().unwrap()).lines();
    let mut next_line = || output.next().unwrap().unwrap();
    assert_eq!(next_line(), "begun");
    let line = |task_id: &str| pb::OutputRecord {
        task_id: task_id.into(),
        node_id: "n1".into(),
        at: 1,
        line: b"forged".as_slice().into(),
        ..pb::OutputRecord::default()
    };
    let records = vec![line(&scene.task), line(&own.task_id)];
    // Nobody told it that somebody reads, nor under which number.
    for subscription in 0..4 {
        let chunk = pb::OutputChunk { subscription, records: records.clone(), end: false };
        session.say(Up::Output(chunk)).await;
    }
    // Taken by now: messages of a session are taken in order.
    session.say(Up::WantEverything(pb::WantEverything {})).await;
    let everything = session.set().await;
    scene.assert_own(&everything);
    let is_delivered = everything.iter().any(|message| matches!(message, Down::Secret(_)));
    assert!(is_delivered, "what was delivered before may have been passed over: {everything:?}");
    sys::file::Folder::open(go.path()).unwrap().replace("real", 0o600, b"").unwrap();
    // While somebody reads along, a session begins as any other.
    scene.open().await;
    assert_eq!(next_line(), "real");
    reader.kill().unwrap();
    reader.wait().unwrap();
    let now = scene.lab.await_tasks("theirs", 1, "running").remove(0);
    assert_eq!(now["id"], scene.task.as_str(), "nobody believed that it failed");
    scene.await_refusals(&["foreign_status", "foreign_output"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_out_of_order_is_closed() {
    let scene = Scene::new("exec sleep 1000").await;
    let opening = || scene.client.opening().1;
    let too_much = (0..=10_000).map(|_| pb::HeldTask::default()).collect();
    for (what, kind, messages) in [
        ("a beat first", Kind::Invalid, vec![Up::Beat(pb::Beat {})]),
        ("everything first", Kind::Invalid, vec![Up::WantEverything(pb::WantEverything {})]),
        (
            "no key",
            Kind::Invalid,
            vec![Up::Open(pb::Open { session_public_key: vec![0; 34].into(), ..opening() })],
        ),
        ("too much", Kind::Invalid, vec![Up::Open(pb::Open { tasks: too_much, ..opening() })]),
        (
            "a life to come",
            Kind::Precondition,
            vec![Up::Open(pb::Open { incarnation_seen: u64::MAX, ..opening() })],
        ),
        ("opened twice", Kind::Invalid, vec![Up::Open(opening()), Up::Open(opening())]),
    ] {
        let (_up, mut down) = scene.client.begin(&scene.address, messages).await.unwrap();
        let failure = loop {
            match receive(&mut down).await {
                Ok(Some(message)) => scene.assert_own(&[message]),
                Ok(None) => panic!("{what}: closed without a word"),
                Err(failure) => break failure,
            }
        };
        assert_eq!(failure.kind, kind, "{what}: {failure:?}");
    }
    scene.await_refusals(&["session"]);
    // Nothing of that is held against who behaves.
    scene.open().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_answers_only_commands_that_it_was_asked_for() {
    use proto::pb::exec_output::Output;
    let scene = Scene::new("exec sleep 1000").await;
    let channel = scene.client.channel(&scene.address);
    let answer = async |output: Option<Output>| {
        let mut client = DispatcherClient::new(channel.clone());
        let first = pb::ExecOutput { output };
        let answered = client.exec(tokio_stream::iter([first])).await;
        link::Failure::from(answered.expect_err("nobody asked for it")).kind
    };
    // While one is under way, in the other node's task.
    let ctl = scene.lab.ctl();
    let exec = ["task", "exec", "theirs.1", "--", "sh", "-c", "echo there; exec sleep 1000"];
    let mut child = ctl.command(&exec).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    for id in [&[0; 16][..], &[0; 15], &[]] {
        let id = Output::ExecId(id.to_vec().into());
        assert_eq!(answer(Some(id)).await, Kind::NotFound);
    }
    let early = Output::Ended(pb::ExecEnded::default());
    assert_eq!(answer(Some(early)).await, Kind::Invalid);
    assert_eq!(answer(None).await, Kind::Invalid);
    // A command in its own task, which it never answers: this client does not say that it knows of them.
    let (mut session, own) = scene.open().await;
    let runs = pb::TaskStatus {
        task_id: own.task_id,
        state: proto::task::TaskState::Running.number(),
        at: 1,
        ..pb::TaskStatus::default()
    };
    session.say(Up::Statuses(pb::Statuses { number: 1, statuses: vec![runs] })).await;
    session.until_acknowledged(1).await;
    let said = ctl.refused(1, &["task", "exec", "mine.1", "--", "true"], b"");
    assert!(said.contains("of an earlier version, which runs no commands"), "{said}");
    scene.await_refusals(&["exec"]);
    child.kill().unwrap();
    child.wait().unwrap();
}
