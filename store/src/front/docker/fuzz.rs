//! The front's parsers, each with inputs that no client would send: an answer or a refusal, never a panic.
//!
//! Whole requests as bytes, as they come in; and bodies past what a manager asks first, which needs a
//! cluster. For as long as `SECRETD_FUZZ_SECONDS` says: CONTRIBUTING.md.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Query;
use axum::http::{HeaderMap, header};
use link::accept::Peer;
use proto::pb;
use proto::spec::ServiceSpec;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::mutate::fuzz;
use super::answer::Problem;
use super::declaration::Declaration;
use super::swarm::{self, Desk};
use super::{
    Engine, Front, Stage, Times, body, configs, converse, events, filters, logs, networks, nodes,
};
use super::{routes, secrets};
use crate::front::Phase;

#[path = "../../../../tests/mutate.rs"]
mod mutate;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// What came of it, in a word: messages name what was sent and where, so only their beginning counts, and
/// no number.
fn outcome<T>(result: Result<T, Problem>) -> String {
    match result {
        Ok(_) => "taken".to_owned(),
        Err(problem) => {
            problem.message().chars().filter(|it| !it.is_ascii_digit()).take(40).collect()
        }
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let content = [(header::CONTENT_TYPE, "application/json".parse().unwrap())];
    let headers: HeaderMap = content.into_iter().collect();
    runtime().block_on(body::read(&headers, Body::from(bytes.to_vec())))
}

#[test]
fn requests() {
    let corpus: &[&[u8]] = &[
        b"GET /v1.41/secrets?filters=%7B%22name%22%3A%7B%22a%22%3Atrue%7D%7D HTTP/1.1\r\nhost: d\r\n\r\n",
        b"POST /secrets/create HTTP/1.1\r\nhost: d\r\ncontent-type: application/json\r\n\
          content-length: 23\r\n\r\n{\"Name\":\"a\",\"Data\":\"AA\"}",
        b"POST /services/a/update?version=7&rollback=previous HTTP/1.1\r\nhost: d\r\n\
          transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"GET /v1.24/services/a/logs?stdout=1&since=1.5&tail=3 HTTP/1.1\r\nhost: d\r\n\r\n",
        b"GET /events?since=1&until=2.5&filters={\"type\":[\"node\"]} HTTP/1.1\r\nhost: d\r\n\r\n",
        b"POST /v1.50/exec/a/start HTTP/1.1\r\nhost: d\r\nconnection: Upgrade\r\nupgrade: tcp\r\n\
          content-length: 2\r\n\r\n{}",
        b"HEAD /_ping HTTP/1.1\r\nhost: d\r\n\r\nGET /info HTTP/1.1\r\nhost: d\r\n\r\n",
        b"DELETE /networks/a HTTP/1.0\r\n\r\n",
        b"POST /swarm/unlock HTTP/1.1\r\ncontent-length: 16\r\n\r\n{\"UnlockKey\":\"\"}",
        b"POST /networks/prune?filters={\"until\":[\"1\"]} HTTP/1.1\r\nhost: d\r\n\r\n",
    ];
    let runtime = runtime();
    fuzz("requests", corpus, |bytes| {
        runtime.block_on(async {
            let (_, phase) = watch::channel(Phase::Empty);
            let (stage, stop) = (Stage::new(phase), CancellationToken::new());
            let peer = Peer::Local { uid: 0 };
            let (desk, engine) = (Desk::idle(), Engine::at(None));
            let front = Front { stage: stage.clone(), peer, desk, engine, stop: stop.clone() };
            let short = Duration::from_secs(1);
            let times = Times { head: short, answer: short, written: short };
            let (mut client, server) = tokio::io::duplex(64 << 10);
            let served = tokio::spawn(converse(routes(front), stage, server, times, stop));
            // It may have hung up.
            drop(client.write_all(bytes).await);
            drop(client.shutdown().await);
            let mut answer = Vec::new();
            drop(client.read_to_end(&mut answer).await);
            served.await.unwrap();
            let answer = String::from_utf8_lossy(&answer);
            let line = answer.lines().next().unwrap_or_default().to_owned();
            let body = answer.lines().last().unwrap_or_default();
            line + &body.chars().take(60).collect::<String>()
        })
    });
}

#[test]
fn secrets_bodies() {
    let secret = br#"{"Name":"a","Labels":{"k":"v"},"Data":"bXlEQnBhc3M=","Driver":null}"#;
    fuzz("secrets", &[secret], |bytes| outcome(read::<secrets::Spec>(bytes)));
}

#[test]
fn configs_bodies() {
    let config = br#"{"Name":"a","Labels":{"k":"v"},"Data":"bGlzdGVuIDgw","Templating":null}"#;
    fuzz("configs", &[config], |bytes| outcome(read::<configs::Spec>(bytes)));
}

#[test]
fn networks_bodies() {
    let network = br#"{"Name":"n","Driver":"overlay","IPAM":{"Config":[{"Subnet":"10.0.0.0/24"}]},
        "Labels":{"a":"b"},"Options":{"x":"y"},"Ingress":false,"ConfigFrom":{"Network":""}}"#;
    fuzz("networks", &[network], |bytes| {
        outcome(read::<networks::Declared>(bytes).and_then(networks::Declared::read))
    });
}

#[test]
fn nodes_bodies() {
    let node = br#"{"Labels":{"a":"b"},"Role":"worker","Availability":"drain"}"#;
    fuzz("nodes", &[node], |bytes| outcome(read::<nodes::Spec>(bytes)));
}

#[test]
fn swarm_bodies() {
    let status = pb::ClusterStatus { realm: vec![1; 16].into(), ..Default::default() };
    let before = swarm::Spec::of(&status);
    fuzz("swarm", &[&serde_json::to_vec(&before).unwrap()], |bytes| {
        outcome(read::<swarm::Spec>(bytes).and_then(|new| before.changes(&new)))
    });
}

#[test]
fn unlocking_bodies() {
    let unlock = br#"{"UnlockKey":"SECKEY-1-AAAA"}"#;
    fuzz("unlocking", &[unlock], |bytes| outcome(read::<swarm::Unlocking>(bytes)));
}

#[test]
fn services_bodies() {
    let service =
        br#"{"Name":"web","Labels":{"a":"b"},"TaskTemplate":{"ContainerSpec":{"Image":"i",
        "Command":["sh"],"Args":["-c"],"Env":["A=b"],"User":"7","StopGracePeriod":1000000000,
        "Secrets":[{"File":{"Name":"k","UID":"0","GID":"0","Mode":292},"SecretID":"x",
        "SecretName":"k"}],"Mounts":[{"Type":"bind","Source":"/","Target":"/x"}]},
        "Resources":{"Reservations":{"NanoCPUs":1}},"RestartPolicy":{"Condition":"any","Delay":5},
        "Placement":{"Constraints":["node.hostname==a"],"Preferences":[{"Spread":
        {"SpreadDescriptor":"node.labels.z"}}]},"Networks":[{"Target":"n","Aliases":["w"]}],
        "ForceUpdate":1},"Mode":{"Replicated":{"Replicas":2}},"UpdateConfig":{"Parallelism":1,
        "Delay":1,"FailureAction":"pause","Monitor":5,"MaxFailureRatio":0.5,"Order":"stop-first"},
        "EndpointSpec":{"Mode":"vip","Ports":[{"TargetPort":80,"PublishedPort":8080}]}}"#;
    fuzz("services", &[service], |bytes| {
        outcome(read::<Declaration>(bytes).and_then(|it| it.read(None)).map(ServiceSpec::try_from))
    });
}

#[test]
fn queries() {
    let corpus: &[&[u8]] = &[
        b"filters={\"name\":{\"a\":true},\"label\":[\"k=v\"]}",
        b"since=1.5&until=2&filters={\"type\":[\"secret\"],\"event\":[\"create\"]}",
        b"follow=1&stdout=true&stderr=0&since=7.25&tail=all&timestamps=1&details=1",
    ];
    fuzz("queries", corpus, |bytes| {
        let query = String::from_utf8_lossy(bytes);
        let Ok(uri) = format!("/?{query}").parse() else { return "no address".to_owned() };
        let filters = Query::<filters::Query>::try_from_uri(&uri)
            .map(|Query(query)| outcome(query.filters(&["name", "label"])));
        let events = Query::<events::Asked>::try_from_uri(&uri).map(|Query(it)| outcome(it.read()));
        let logs = Query::<logs::Wanted>::try_from_uri(&uri)
            .map(|Query(it)| outcome(it.selector("s".into(), "t".into())));
        let said = [filters, events, logs].map(|said| said.unwrap_or_else(|_| "no query".into()));
        said.join(" | ")
    });
}
