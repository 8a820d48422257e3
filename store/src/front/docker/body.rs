//! Bodies of requests: bounded, JSON, and where a value is in one, decoded into its final buffer.

use std::error::Error;
use std::fmt;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use base64ct::{Base64, Encoding as _};
use seal::{Plaintext, ReadError};
use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use tokio_stream::StreamExt as _;

use super::answer::Problem;

/// Bytes of a body: the largest value that Docker takes in Base64, several times.
pub(super) const BODY_BYTES_MAX: usize = 4 << 20;

/// Bytes of a service's declaration: all texts and all of the rest that may be kept, escaped here and
/// there. Less than of a body: what is not known is read into trees, many times as large.
pub(super) const DECLARATION_BYTES_MAX: usize = 512 << 10;

/// Bytes of what is declared of a network: what may be kept of it, with what is not.
pub(super) const NETWORK_BYTES_MAX: usize = 64 << 10;

/// Bytes of what is asked of the swarm: its configuration, as it is shown.
pub(super) const SWARM_BYTES_MAX: usize = 64 << 10;

/// Reads a body whole, and what it says.
pub(super) async fn read<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Problem> {
    read_up_to(BODY_BYTES_MAX, headers, body).await
}

/// As [`read`], of fewer bytes.
pub(super) async fn read_up_to<T: DeserializeOwned>(
    bytes_max: usize,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Problem> {
    let content = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = content.and_then(|content| content.split(';').next()).map(str::trim);
    match media {
        Some("application/json") => {}
        Some(other) => {
            let text =
                format!("unsupported Content-Type header ({other}): must be 'application/json'");
            return Err(Problem::invalid(text));
        }
        None => {
            let text = "unsupported Content-Type header (): must be 'application/json'";
            return Err(Problem::invalid(text));
        }
    }
    // What says its length is refused before it is read.
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if announced.and_then(|length| length.parse().ok()).is_some_and(|n: u64| n > bytes_max as u64) {
        return Err(Problem::too_large());
    }
    let bytes = whole(bytes_max, body).await?;
    // Where it went wrong is told, and never what stood there: it may be a part of a value.
    serde_json::from_slice(&bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Problem::invalid(format!("invalid JSON: at line {line}, column {column} of the body"))
    })
}

/// All of a body that is not too large.
async fn whole(bytes_max: usize, body: Body) -> Result<Vec<u8>, Problem> {
    let mut pieces = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| {
            Problem::invalid(format!("the body cannot be read: {}", innermost(&error)))
        })?;
        if bytes.len() + piece.len() > bytes_max {
            return Err(Problem::too_large());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// What an error comes from: the outer ones only say whose it is.
fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

/// A value as Docker's messages carry it: Base64 with padding, of any bytes.
#[derive(Default)]
pub(super) enum Data {
    /// Nothing, or a text of length 0.
    #[default]
    Empty,
    /// More than any value may have.
    TooLarge,
    /// No Base64.
    Malformed,
    /// A value.
    Value(Plaintext),
}

impl Data {
    /// Decodes a text straight into the buffer that the value is encrypted in. The decoder's time
    /// does not depend on what it reads.
    fn decode(text: &str) -> Self {
        let padding = text.bytes().rev().take(2).take_while(|byte| *byte == b'=').count();
        if text.is_empty() {
            return Self::Empty;
        }
        let Some(length) = (text.len() / 4 * 3).checked_sub(padding) else {
            return Self::Malformed;
        };
        let mut is_whole = false;
        let value = Plaintext::born(length, |value| {
            is_whole = Base64::decode(text, value).is_ok_and(|decoded| decoded.len() == length);
        });
        match value {
            Ok(value) if is_whole => Self::Value(value),
            Ok(_) | Err(ReadError::Empty | ReadError::Io(_)) => Self::Malformed,
            Err(ReadError::TooLarge) => Self::TooLarge,
        }
    }
}

impl<'de> de::Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Data;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("Base64")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Data, E> {
                Ok(Data::decode(text))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Data, E> {
                Ok(Data::Empty)
            }
        }

        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Data {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn data_is_any_bytes_in_base64_with_its_padding() {
        for (text, value) in [
            (r#""bXlEQnBhc3NXT1JECg==""#, &b"myDBpassWORD\n"[..]),
            (r#""AP8A""#, &[0, 255, 0]),
            (r#""+/8=""#, &[0xfb, 0xff]),
            // A client may escape what it likes.
            (r#""\u0041P8A""#, &[0, 255, 0]),
        ] {
            assert!(matches!(of(text), Data::Value(found) if found.expose() == value), "{text}");
        }
        assert!(matches!(of(r#""""#), Data::Empty));
        assert!(matches!(of("null"), Data::Empty));
        for wrong in ["a", "ab", "abc", "====", "=", "ab==cd==", "-_8=", "AP8A\\n", "AB=="] {
            assert!(matches!(of(&format!("\"{wrong}\"")), Data::Malformed), "{wrong}");
        }
        let over = format!("\"{}\"", "A".repeat((proto::limits::PAYLOAD_BYTES_MAX + 3) / 3 * 4));
        assert!(matches!(of(&over), Data::TooLarge));
        assert!(serde_json::from_str::<Data>("7").is_err());
    }

    fn headers(content: Option<&str>) -> HeaderMap {
        let content = content.map(|content| (header::CONTENT_TYPE, content.parse().unwrap()));
        content.into_iter().collect()
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_not_called_too_large() {
        let broken = Err(std::io::Error::other("no such size of a chunk"));
        let pieces = [Ok(&b"[1"[..]), broken];
        let body = Body::from_stream(tokio_stream::iter(pieces));
        let said = read::<Vec<u8>>(&headers(Some("application/json")), body).await.unwrap_err();
        assert_eq!(said.message(), "the body cannot be read: no such size of a chunk");
    }

    #[tokio::test]
    async fn a_body_is_json_says_so_and_is_bounded() {
        let json = headers(Some("application/json; charset=utf-8"));
        let read = |headers: HeaderMap, body: Vec<u8>| async move {
            read::<Vec<u8>>(&headers, Body::from(body)).await
        };
        assert_eq!(read(json.clone(), b"[1, 2]".to_vec()).await.unwrap(), [1, 2]);
        let filled = |size: usize| [b"[1]".to_vec(), vec![b' '; size - 3]].concat();
        assert!(read(json.clone(), filled(BODY_BYTES_MAX)).await.is_ok());
        let over = read(json.clone(), filled(BODY_BYTES_MAX + 1)).await.unwrap_err();
        assert_eq!(over.message(), "http: request body too large");
        let few = async |max| read_up_to::<Vec<u8>>(max, &json, Body::from("[1]")).await;
        assert!(few(3).await.is_ok() && few(2).await.is_err());
        let mut announced = json.clone();
        announced.insert(header::CONTENT_LENGTH, (BODY_BYTES_MAX + 1).into());
        assert!(read(announced, b"[1]".to_vec()).await.is_err());
        let wrong = read(json, b"[1, secret".to_vec()).await.unwrap_err();
        assert_eq!(wrong.message(), "invalid JSON: at line 1, column 5 of the body");
        for content in [None, Some("text/plain")] {
            let said = read(headers(content), b"[1]".to_vec()).await.unwrap_err();
            assert!(said.message().ends_with("must be 'application/json'"), "{}", said.message());
        }
    }
}
