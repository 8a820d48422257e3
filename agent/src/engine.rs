//! A container engine, Docker's or Podman's, asked over its unix socket.
//!
//! One request, one connection: an engine may restart at any time, and nothing is lost with a
//! connection. Paths name no version of the API, so that each engine takes them as of its own newest;
//! what is asked has been in all of them for years. Not here: what a container is to be
//! ([`crate::runtime::docker`]) and when it is asked for ([`crate::supervisor`]).
//!
//! Invariants: every answer is bounded; no request holds a secret.

pub(crate) mod presence;

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Largest answer that is read, in bytes: a container's whole record, or a list of thousands.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Longest line that is read of what an engine tells of its progress with an image.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Longest message of an engine that is passed on: a status has no room for more.
const MESSAGE_CHARS_MAX: usize = 400;

/// What Docker's engine does not say.
const PODMANS_HEADER: &str = "libpod-api-version";

/// How long an engine may take for what it does at once. Removing a container of many layers takes
/// seconds; an engine that does not answer at all is as good as gone.
const CALL_WITHIN: Duration = Duration::from_secs(60);

/// The engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// Nobody listens.
    #[error("the container engine at {} cannot be reached", socket.display())]
    Unreachable {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended, or hung up, in the middle.
    #[error("the container engine hung up")]
    HungUp(#[source] hyper::Error),
    /// It took too long.
    #[error("the container engine did not answer within {} seconds", CALL_WITHIN.as_secs())]
    Late,
    /// It said no.
    #[error("{message}")]
    Refused {
        /// HTTP's number.
        status: u16,
        /// Its own words.
        message: String,
    },
    /// What it said is not an answer.
    #[error("the container engine answered with {0}")]
    Malformed(&'static str),
}

impl EngineError {
    /// Whether it may be asked again: it is away, or was while it was asked.
    pub(crate) const fn is_away(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::HungUp(_) | Self::Late)
    }

    /// Whether it knows nothing of what it was asked about.
    pub(crate) const fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether what was asked about is in another state, such as being removed already.
    pub(crate) const fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }
}

/// An engine, by its socket.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    socket: PathBuf,
}

/// The body of a request that has none.
pub(crate) const NOTHING: Option<Vec<u8>> = None;

impl Engine {
    pub(crate) fn at(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    async fn connect(&self) -> Result<UnixStream, EngineError> {
        let failed = |source| EngineError::Unreachable { socket: self.socket.clone(), source };
        UnixStream::connect(&self.socket).await.map_err(failed)
    }

    /// The process that listens: the engine, or who listens in its place, as systemd does. What it
    /// mounts is where this process has its files.
    pub(crate) async fn process(&self) -> Result<i32, EngineError> {
        let credentials = self.connect().await?.peer_cred().ok().and_then(|peer| peer.pid());
        let pid = credentials.filter(|pid| *pid > 0);
        pid.ok_or(EngineError::Malformed("no process that can be seen from here"))
    }

    /// Asks, and gives the answer as soon as it begins.
    async fn open(
        &self,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Response<Incoming>, EngineError> {
        let stream = self.connect().await?;
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(EngineError::HungUp)?;
        // It ends with the answer; how is told there.
        tokio::spawn(async move { connection.await.ok() });
        let mut request = Request::builder().method(method).uri(path).header("Host", "engine");
        if body.is_some() {
            request = request.header("Content-Type", "application/json");
        }
        let body = Full::new(Bytes::from(body.unwrap_or_default()));
        let request = request.body(body).map_err(|_| EngineError::Malformed("nothing: no path"))?;
        let answer = sender.send_request(request).await.map_err(EngineError::HungUp)?;
        if answer.status().is_success() || answer.status() == StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        Err(refusal(answer).await)
    }

    /// Asks for what is done at once; the answer is JSON, or nothing.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Value, EngineError> {
        let called = timeout(CALL_WITHIN, async {
            json(&whole(self.open(method, path, body).await?).await?)
        });
        called.await.map_err(|_| EngineError::Late)?
    }

    /// Whether it is Podman, whose every answer says so.
    pub(crate) async fn is_podman(&self) -> Result<bool, EngineError> {
        let opened = timeout(CALL_WITHIN, self.open("GET", "/_ping", NOTHING)).await;
        let answer = opened.map_err(|_| EngineError::Late)??;
        Ok(answer.headers().contains_key(PODMANS_HEADER))
    }

    /// Asks for what takes as long as it takes.
    pub(crate) async fn wait(&self, method: &str, path: &str) -> Result<Value, EngineError> {
        json(&whole(self.open(method, path, NOTHING).await?).await?)
    }

    /// Asks for what comes in pieces.
    pub(crate) async fn follow(&self, method: &str, path: &str) -> Result<Pieces, EngineError> {
        let opened = timeout(CALL_WITHIN, self.open(method, path, NOTHING)).await;
        opened.map_err(|_| EngineError::Late)?.map(|answer| Pieces(answer.into_body()))
    }

    /// Asks for what goes both ways from then on: the connection is the answer.
    pub(crate) async fn hijack(
        &self,
        method: &str,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(ReadHalf, WriteHalf), EngineError> {
        let opened = timeout(CALL_WITHIN, async {
            let stream = self.connect().await?;
            let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
            let (mut sender, connection) = shaken.map_err(EngineError::HungUp)?;
            tokio::spawn(async move { connection.with_upgrades().await.ok() });
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header("Host", "engine")
                .header("Content-Type", "application/json")
                .header("Connection", "Upgrade")
                .header("Upgrade", "tcp")
                .body(Full::new(Bytes::from(body)))
                .map_err(|_| EngineError::Malformed("nothing: no path"))?;
            let answer = sender.send_request(request).await.map_err(EngineError::HungUp)?;
            if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                return Err(refusal(answer).await);
            }
            hyper::upgrade::on(answer).await.map_err(EngineError::HungUp)
        });
        let upgraded = opened.await.map_err(|_| EngineError::Late)??;
        let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
        Ok((ReadHalf(reader), WriteHalf(writer)))
    }

    /// Has the engine fetch an image, and waits for that.
    pub(crate) async fn pull(&self, image: &str) -> Result<(), EngineError> {
        let path = format!("/images/create?fromImage={}", encoded(&with_tag(image)));
        let mut pieces = Pieces(self.open("POST", &path, NOTHING).await?.into_body());
        let mut line = Vec::new();
        while let Some(piece) = pieces.next().await? {
            for byte in piece {
                if byte == b'\n' {
                    refused_by(&line)?;
                    line.clear();
                } else if line.len() < LINE_BYTES_MAX {
                    line.push(byte);
                }
            }
        }
        refused_by(&line)
    }
}

/// An answer that is none of success.
async fn refusal(answer: Response<Incoming>) -> EngineError {
    let status = answer.status().as_u16();
    let said = whole(answer).await.ok().and_then(|bytes| message_of(&bytes));
    let message = said.unwrap_or_else(|| format!("the container engine answered {status}"));
    EngineError::Refused { status, message }
}

type Both = TokioIo<hyper::upgrade::Upgraded>;

/// What an engine sends on a connection that is the answer.
pub(crate) struct ReadHalf(tokio::io::ReadHalf<Both>);

/// What it is sent.
pub(crate) struct WriteHalf(tokio::io::WriteHalf<Both>);

impl ReadHalf {
    /// Reads some; nothing at the end.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).await
    }
}

impl WriteHalf {
    /// Writes all of it.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await?;
        self.0.flush().await
    }

    /// Says that nothing more comes; the other half goes on.
    pub(crate) async fn close(mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}

/// An answer that comes in pieces.
pub(crate) struct Pieces(Incoming);

impl Pieces {
    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, EngineError> {
        while let Some(frame) = self.0.frame().await {
            if let Ok(data) = frame.map_err(EngineError::HungUp)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

/// A whole answer, if it is not too large.
async fn whole(answer: Response<Incoming>) -> Result<Vec<u8>, EngineError> {
    let (mut pieces, mut bytes) = (Pieces(answer.into_body()), Vec::new());
    while let Some(piece) = pieces.next().await? {
        if bytes.len().saturating_add(piece.len()) > ANSWER_BYTES_MAX {
            return Err(EngineError::Malformed("more than it may"));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

fn json(bytes: &[u8]) -> Result<Value, EngineError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    serde_json::from_slice(bytes).map_err(|_| EngineError::Malformed("something that is not JSON"))
}

/// What an engine says when it refuses.
fn message_of(bytes: &[u8]) -> Option<String> {
    let said: Value = serde_json::from_slice(bytes).ok()?;
    Some(cut(said.get("message")?.as_str()?))
}

/// In a line of progress, that there will be none.
fn refused_by(line: &[u8]) -> Result<(), EngineError> {
    let said: Value = serde_json::from_slice(line).unwrap_or_default();
    match said.get("error").and_then(Value::as_str) {
        Some(message) => Err(EngineError::Refused { status: 500, message: cut(message) }),
        None => Ok(()),
    }
}

fn cut(message: &str) -> String {
    message.trim().chars().take(MESSAGE_CHARS_MAX).collect()
}

/// A reference that names one image: an engine takes one without a tag for all tags there are.
pub(crate) fn with_tag(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

/// A text as a part of a path or query.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => {
                encoded.push(byte.into());
            }
            _ => {
                // Writing to a string cannot fail.
                write!(encoded, "%{byte:02X}").ok();
            }
        }
    }
    encoded
}

/// Takes apart what an engine sends of a container's two streams: eight bytes before each piece, the
/// first of which says which stream, the last four how long (big endian). With a terminal there is one
/// stream and no such bytes.
#[derive(Debug, Default)]
pub(crate) struct Demultiplexer {
    header: Vec<u8>,
    is_error: bool,
    left: usize,
}

impl Demultiplexer {
    /// Takes a piece as it came; `sink` gets what it holds, and whether that is of standard error.
    pub(crate) fn take(&mut self, mut piece: &[u8], mut sink: impl FnMut(bool, &[u8])) {
        while let Some(first) = piece.first() {
            if self.left > 0 {
                let (data, rest) = piece.split_at(self.left.min(piece.len()));
                sink(self.is_error, data);
                self.left -= data.len();
                piece = rest;
                continue;
            }
            self.header.push(*first);
            piece = piece.get(1..).unwrap_or_default();
            if let [stream, _, _, _, length @ ..] = self.header.as_slice()
                && let Ok(length) = length.try_into()
            {
                self.is_error = *stream == 2;
                self.left = u32::from_be_bytes(length) as usize;
                self.header.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_told_apart_however_they_are_cut() {
        let mut sent = Vec::new();
        for (stream, text) in [(1, "one\n"), (2, ""), (2, "two"), (1, "three")] {
            sent.extend([stream, 0, 0, 0, 0, 0, 0, u8::try_from(text.len()).unwrap()]);
            sent.extend(text.as_bytes());
        }
        for size in 1..=sent.len() {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut demultiplexer = Demultiplexer::default();
            for piece in sent.chunks(size) {
                demultiplexer.take(piece, |is_error, data| {
                    if is_error { &mut err } else { &mut out }.extend_from_slice(data);
                });
            }
            assert_eq!((out.as_slice(), err.as_slice()), (&b"one\nthree"[..], &b"two"[..]));
        }
    }

    #[test]
    fn a_reference_names_one_image() {
        for (image, one) in [
            ("postgres", "postgres:latest"),
            ("postgres:16", "postgres:16"),
            ("registry:5000/a/b", "registry:5000/a/b:latest"),
            ("a@sha256:00", "a@sha256:00"),
        ] {
            assert_eq!(with_tag(image), one);
        }
    }

    #[test]
    fn what_is_asked_for_cannot_change_the_question() {
        assert_eq!(encoded("a/b:1"), "a/b:1");
        assert_eq!(encoded("a?x=1&y#z %\n"), "a%3Fx%3D1%26y%23z%20%25%0A");
    }

    #[test]
    fn an_engines_own_words_are_passed_on() {
        assert_eq!(message_of(br#"{"message":" no such image "}"#).unwrap(), "no such image");
        assert_eq!(message_of(b"<html>"), None);
        let error = refused_by(br#"{"errorDetail":{},"error":"denied"}"#).unwrap_err();
        assert_eq!(error.to_string(), "denied");
        assert!(refused_by(br#"{"status":"Pulling"}"#).is_ok());
        let long = format!(r#"{{"message":"{}"}}"#, "x".repeat(MESSAGE_CHARS_MAX + 1));
        assert_eq!(message_of(long.as_bytes()).unwrap().len(), MESSAGE_CHARS_MAX);
    }
}
