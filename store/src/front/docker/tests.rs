//! Anything at all, as a client may send it: an answer or a refusal, and never a panic. And clients
//! that take their time.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use axum::routing::{get, post};
use proptest::prelude::*;
use proto::pb;
use proto::spec::ServiceSpec;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::declaration::Declaration;
use super::{Router, Stage, Times, body, converse, filters, secrets, version};
use crate::front::Phase;

/// Pieces that real requests are made of, so that more than the first byte is reached.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("{\"Name\":\"a\",\"Data\":\"".to_owned()),
        Just("\",\"Labels\":{\"k\":\"v\"}".to_owned()),
        Just("{\"name\":{\"".to_owned()),
        Just("\":true},\"label\":[\"".to_owned()),
        Just("/v1.".to_owned()),
        Just("/secrets".to_owned()),
        "[A-Za-z0-9+/=]{0,9}",
        "[{}\\[\\]\",:\\\\]{0,3}",
        "\\PC{0,4}",
    ];
    prop::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat())
}

/// JSON of the fields that declarations have, with values that they may have and others.
fn declarations() -> impl Strategy<Value = Value> {
    const FIELDS: &[&str] = &[
        "Name",
        "Labels",
        "TaskTemplate",
        "Mode",
        "UpdateConfig",
        "RollbackConfig",
        "EndpointSpec",
        "ContainerSpec",
        "Image",
        "Command",
        "Args",
        "Env",
        "StopGracePeriod",
        "Secrets",
        "File",
        "UID",
        "SecretID",
        "SecretName",
        "Resources",
        "Reservations",
        "NanoCPUs",
        "RestartPolicy",
        "Condition",
        "Delay",
        "Placement",
        "Preferences",
        "Spread",
        "Networks",
        "Target",
        "Aliases",
        "Runtime",
        "Replicated",
        "Replicas",
        "Global",
        "FailureAction",
        "Monitor",
        "Order",
        "Parallelism",
        "MaxFailureRatio",
        "Other",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3_000_000_000_u64).prop_map(Value::from),
        // Docker has one field of fractions, which is read into a type.
        (0_u32..9).prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        prop::sample::select(&["", "a", "any", "0", "pause", "container"][..])
            .prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(4, 24, 6, |inner| {
        let field = prop::sample::select(FIELDS).prop_map(ToOwned::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(field, inner, 0..6).prop_map(Value::from_iter),
        ]
    });
    // Enough of a declaration to get past the first refusals, most of the time.
    let parts = prop::collection::vec(value, 6);
    (parts, any::<[bool; 6]>()).prop_map(|(parts, is_there)| {
        let mut body = json!({"Name": "a", "TaskTemplate": {"ContainerSpec": {"Image": "i"}}});
        let places = [
            "/TaskTemplate/ContainerSpec/Mounts",
            "/TaskTemplate/Placement",
            "/TaskTemplate/Networks",
            "/TaskTemplate/RestartPolicy",
            "/UpdateConfig",
            "/EndpointSpec",
        ];
        for ((place, part), _) in places.iter().zip(parts).zip(is_there).filter(|(_, is)| *is) {
            let (parent, field) = place.rsplit_once('/').unwrap();
            body.pointer_mut(parent).unwrap()[field] = part;
        }
        body
    })
}

fn headers() -> HeaderMap {
    let content = "application/json".parse().expect("it is a value");
    [(header::CONTENT_TYPE, content)].into_iter().collect()
}

proptest! {
    #[test]
    fn any_body_is_a_secret_or_refused(text in texts(), bytes: Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for body in [text.into_bytes(), bytes] {
            drop(runtime.block_on(body::read::<secrets::Spec>(&headers(), Body::from(body))));
        }
    }

    #[test]
    fn any_declaration_is_read_or_refused_and_comes_back(body in declarations()) {
        let Ok(declared) = serde_json::from_value::<Declaration>(body) else { return Ok(()) };
        let Ok(spec) = declared.read(None) else { return Ok(()) };
        // As it is stored.
        let Ok(spec) = ServiceSpec::try_from(spec).map(pb::ServiceSpec::from) else { return Ok(()) };
        let shown = serde_json::to_value(Declaration::of(&spec)).unwrap();
        let again: Declaration = serde_json::from_value(shown).unwrap();
        let again = again.read(Some(&spec)).map_err(|problem| problem.message().to_owned());
        let again = ServiceSpec::try_from(again.unwrap()).map(pb::ServiceSpec::from);
        prop_assert_eq!(again.unwrap(), spec);
    }

    #[test]
    fn any_filters_are_read_or_refused(text in texts()) {
        if let Ok(found) = filters::Query::of(&text).filters(&["name", "label"]) {
            prop_assert!(found.keys().all(|key| key == "name" || key == "label"));
        }
    }

    #[test]
    fn any_path_is_routed_or_refused(text in texts()) {
        let request = Request::builder().uri(format!("/{text}")).body(Body::empty());
        if let Some(routed) = request.ok().and_then(|request| version::routed(request).ok()) {
            prop_assert!(routed.uri().path().starts_with('/'));
        }
    }
}

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);

/// Bytes on their way between a client and the server.
const ON_THE_WAY: usize = 1 << 10;

/// An answer that is not on its way at once.
fn large() -> String {
    "x".repeat(64 * ON_THE_WAY)
}

/// A server of one connection, and the client's end of it.
fn connected(times: Times) -> (tokio::task::JoinHandle<()>, DuplexStream) {
    let routes = Router::new()
        .route("/large", get(async || large()))
        .route("/", post(async |headers, body| body::read::<u8>(&headers, body).await.map(drop)));
    let (_, phase) = watch::channel(Phase::Empty);
    let (client, server) = tokio::io::duplex(ON_THE_WAY);
    let stop = CancellationToken::new();
    (tokio::spawn(converse(routes, Stage::new(phase), server, times, stop)), client)
}

async fn asked(client: &mut DuplexStream, request: &str) {
    client.write_all(request.as_bytes()).await.unwrap();
}

/// Whoever writes its body after its head gets to do so, and reads the answer.
#[tokio::test]
async fn a_body_that_is_refused_unread_is_taken_before_the_answer() {
    let times = Times { head: LONG, answer: LONG, written: LONG };
    let (served, mut client) = connected(times);
    asked(&mut client, "POST /nowhere HTTP/1.1\r\nhost: d\r\ncontent-length: 4\r\n\r\n").await;
    // The server has gone as far as it goes without the body.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    asked(&mut client, "body").await;
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    served.await.unwrap();
}

#[tokio::test]
async fn who_does_not_read_an_answer_is_hung_up_on() {
    const ASKED: &str = "GET /large HTTP/1.1\r\nhost: d\r\n\r\n";
    let times = Times { head: LONG, answer: LONG, written: SHORT };
    let (served, mut client) = connected(times);
    asked(&mut client, ASKED).await;
    tokio::time::timeout(LONG / 2, served).await.expect("the connection ends").unwrap();
    // Nor does it help to read a little from time to time.
    let (served, mut client) = connected(times);
    asked(&mut client, ASKED).await;
    let (mut read, mut piece) = (0, [0; 64]);
    while let Ok(count @ 1..) = client.read(&mut piece).await {
        read += count;
        tokio::time::sleep(SHORT / 10).await;
    }
    assert!(read < 8 * ON_THE_WAY, "{read}");
    served.await.unwrap();
    // Who reads has the next answer on the same connection, whenever it asks.
    let written = Duration::from_secs(1);
    let (served, mut client) = connected(Times { written, ..times });
    for pause in [Duration::ZERO, written + SHORT] {
        tokio::time::sleep(pause).await;
        asked(&mut client, ASKED).await;
        let mut answer = Vec::new();
        while !answer.ends_with(large().as_bytes()) {
            assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0);
        }
    }
    drop(client);
    served.await.unwrap();
}

#[tokio::test]
async fn who_does_not_send_a_body_whole_has_an_answer_in_time() {
    let times = Times { head: LONG, answer: SHORT, written: LONG };
    let (served, mut client) = connected(times);
    let head = "POST / HTTP/1.1\r\nhost: d\r\ncontent-type: application/json";
    asked(&mut client, &format!("{head}\r\ncontent-length: 2\r\n\r\n1")).await;
    let mut answer = String::new();
    let read = tokio::time::timeout(LONG / 2, client.read_to_string(&mut answer));
    read.await.expect("an answer").unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("the request took too long; look whether it was done"), "{answer}");
    served.await.unwrap();
}
