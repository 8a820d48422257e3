//! Anything at all, as a client may send it: an answer or a refusal, and never a panic.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use proptest::prelude::*;

use super::{body, filters, secrets, version};

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

fn json() -> HeaderMap {
    let content = "application/json".parse().expect("it is a value");
    [(header::CONTENT_TYPE, content)].into_iter().collect()
}

proptest! {
    #[test]
    fn any_body_is_a_secret_or_refused(text in texts(), bytes: Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for body in [text.into_bytes(), bytes] {
            drop(runtime.block_on(body::read::<secrets::Spec>(&json(), Body::from(body))));
        }
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
