//! Requests that the docker client would not send, written by hand.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// An answer, whole.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Status and headers, in small letters.
    pub(crate) head: String,
    pub(crate) body: String,
    /// Whether the server said that it closes the connection.
    pub(crate) is_closed: bool,
}

/// A request without a body.
pub(crate) fn ask(socket: &Path, method: &str, path: &str) -> Answer {
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: d\r\nconnection: close\r\n\r\n").unwrap();
    answered(stream)
}

/// A request that leaves it to the server to go on with its connection.
pub(crate) fn ask_open(socket: &Path, path: &str) -> Answer {
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: d\r\n\r\n").unwrap();
    answered(stream)
}

/// A request with a body of JSON.
pub(crate) fn post(socket: &Path, path: &str, body: &[u8]) -> Answer {
    let mut stream = UnixStream::connect(socket).unwrap();
    let length = format!("content-length: {}", body.len());
    write_head(&mut stream, path, &length);
    stream.write_all(body).unwrap();
    answered(stream)
}

/// A request with a body of so many zeros, as long as the server takes them.
pub(crate) fn post_zeros(socket: &Path, path: &str, count: usize, announced: bool) -> Answer {
    let piece = vec![b'0'; 64 << 10];
    let mut stream = UnixStream::connect(socket).unwrap();
    if announced {
        write_head(&mut stream, path, &format!("content-length: {count}"));
    } else {
        write_head(&mut stream, path, "transfer-encoding: chunked");
    }
    for _ in 0..count / piece.len() {
        let frame = if announced { String::new() } else { format!("{:x}\r\n", piece.len()) };
        let end: &[u8] = if announced { b"" } else { b"\r\n" };
        // It hangs up when it has read enough.
        let sent = stream.write_all(frame.as_bytes()).and_then(|()| stream.write_all(&piece));
        if sent.and_then(|()| stream.write_all(end)).is_err() {
            break;
        }
    }
    answered(stream)
}

/// A request whose body ends in a piece that says of itself that it has `zz` bytes.
pub(crate) fn post_broken(socket: &Path, path: &str) -> Answer {
    let mut stream = UnixStream::connect(socket).unwrap();
    write_head(&mut stream, path, "transfer-encoding: chunked");
    stream.write_all(b"1\r\n{\r\nzz\r\n").unwrap();
    answered(stream)
}

fn write_head(stream: &mut UnixStream, path: &str, length: &str) {
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: d\r\ncontent-type: application/json\r\n{length}\r\n\r\n"
    )
    .unwrap();
}

fn answered(mut stream: UnixStream) -> Answer {
    let mut bytes = Vec::new();
    // What is left of a request that was not read whole ends the connection with a reset.
    drop(stream.read_to_end(&mut bytes));
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let head = head.to_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Answer {
        status: status.expect("an answer"),
        is_closed: head.contains("\r\nconnection: close"),
        body: body.to_owned(),
        head,
    }
}
