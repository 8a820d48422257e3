//! `/services/{id}/logs` and `/tasks/{id}/logs`: what tasks write, as the multiplexed stream that
//! Docker's clients take apart.
//!
//! A frame is one line: `stream (u8) ‖ 0 0 0 ‖ length (u32, big endian) ‖ text` (moby's
//! `pkg/stdcopy`). What the cluster has to say of it, as that a node is out of reach, comes at the end,
//! in a frame that clients take for an error: earlier, they would read no further. Not here: from where
//! output is gathered (`dispatcher`), and who may read it (`service`).

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use link::Failure;
use proto::pb;
use serde::Deserialize;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::answer::Problem;
use super::parameters::{Path, Query};
use super::{Front, is_true, services, tasks, time};

/// Streams of a frame.
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const SYSTEM_ERROR: u8 = 3;

/// Notes that are kept for the end: one for each node that is out of reach would do.
const NOTES_MAX: usize = 100;

/// What of the output is asked for.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    follow: String,
    stdout: String,
    stderr: String,
    since: String,
    timestamps: String,
    tail: String,
    details: String,
}

/// How lines are written.
#[derive(Clone, Copy)]
struct Format {
    timestamps: bool,
    details: bool,
}

impl Wanted {
    fn format(&self) -> Format {
        Format { timestamps: is_true(&self.timestamps), details: is_true(&self.details) }
    }

    pub(super) fn selector(
        &self,
        service_id: String,
        task_id: String,
    ) -> Result<pb::OutputSelector, Problem> {
        let (stdout, stderr) = (is_true(&self.stdout), is_true(&self.stderr));
        if !stdout && !stderr {
            let text = "Bad parameters: you must choose at least one stream";
            return Err(Problem::invalid(text));
        }
        let tail = match self.tail.as_str() {
            "" | "all" => None,
            number => Some(number.parse().map_err(|_| {
                Problem::invalid(format!("invalid tail {number:?}: it is no number of lines"))
            })?),
        };
        let since = since(&self.since).ok_or_else(|| {
            let text = format!("invalid since {:?}: it is no time of seconds", self.since);
            Problem::invalid(text)
        })?;
        let follow = is_true(&self.follow);
        Ok(pb::OutputSelector { service_id, task_id, follow, since, tail, stdout, stderr })
    }
}

/// Milliseconds of an instant that is written as seconds, with or without a fraction.
pub(super) fn since(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: u64 = if seconds.is_empty() { 0 } else { seconds.parse().ok()? };
    let ms: String = fraction.chars().chain("000".chars()).take(3).collect();
    seconds.checked_mul(1_000)?.checked_add(ms.parse().ok()?)
}

fn frame(stream: u8, text: &[u8]) -> Vec<u8> {
    // Lines are bounded where they are read, far below that.
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    [&[stream, 0, 0, 0], &length.to_be_bytes()[..], text].concat()
}

impl Format {
    /// One line.
    fn line(self, record: &pb::OutputRecord, service: &str) -> Vec<u8> {
        // Nanoseconds in all their digits, as clients read them.
        let at = time(record.at);
        let at = format!("{}000000Z ", at.trim_end_matches('Z'));
        let (node, task) = (&record.node_id, &record.task_id);
        let from = format!(
            "com.docker.swarm.node.id={node},com.docker.swarm.service.id={service},\
             com.docker.swarm.task.id={task} "
        );
        let (at, from) =
            (if self.timestamps { &*at } else { "" }, if self.details { &*from } else { "" });
        let stream = if record.stream() == pb::OutputStream::Stdout { STDOUT } else { STDERR };
        frame(stream, &[at.as_bytes(), from.as_bytes(), &record.line, b"\n"].concat())
    }
}

/// Output on its way to a client.
struct Reading {
    records: ReceiverStream<Result<pb::OutputRecord, Status>>,
    service: String,
    format: Format,
    notes: Vec<String>,
    stop: CancellationToken,
}

impl Reading {
    fn note(&mut self, note: String) {
        if self.notes.len() < NOTES_MAX && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// The next frame; none after the last.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let record = tokio::select! {
                record = self.records.next() => record,
                () = self.stop.cancelled() => None,
            };
            match record {
                Some(Ok(record)) => {
                    if record.dropped > 0 {
                        let (count, task) = (record.dropped, &record.task_id);
                        self.note(format!("{count} lines of task {task} were lost"));
                    }
                    if record.stream() != pb::OutputStream::System {
                        return Some(self.format.line(&record, &self.service));
                    }
                    self.note(String::from_utf8_lossy(&record.line).into_owned());
                }
                Some(Err(status)) => self.note(Failure::from(status).message),
                None => {
                    let notes = std::mem::take(&mut self.notes);
                    return (!notes.is_empty())
                        .then(|| frame(SYSTEM_ERROR, notes.join("; ").as_bytes()));
                }
            }
        }
    }
}

async fn output(
    front: &Front,
    wanted: &Wanted,
    service: String,
    task: String,
) -> Result<Response, Problem> {
    let selector = wanted.selector(service.clone(), task)?;
    let (serving, caller) = front.serving().await?;
    let id = serving.service.readable_output(caller, &selector).await?;
    let reading = Reading {
        records: serving.dispatcher.output_of_all(id, selector),
        service,
        format: wanted.format(),
        notes: Vec::new(),
        stop: front.stop.clone(),
    };
    let frames = stream::unfold(reading, async |mut reading| {
        let frame = reading.next().await?;
        Some((Ok::<_, std::convert::Infallible>(frame), reading))
    });
    let content = [(header::CONTENT_TYPE, "application/vnd.docker.multiplexed-stream")];
    Ok((StatusCode::OK, content, Body::from_stream(frames)).into_response())
}

/// `GET /services/{id}/logs`.
pub(super) async fn of_service(
    State(front): State<Front>,
    Path(service): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let found = services::get(&front, service).await?;
    output(&front, &wanted, found.id, String::new()).await
}

/// `GET /tasks/{id}/logs`.
pub(super) async fn of_task(
    State(front): State<Front>,
    Path(task): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let found = tasks::get(&front, &task).await?;
    output(&front, &wanted, found.service_id, found.id).await
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::mpsc;

    use super::*;

    fn record(stream: pb::OutputStream, line: &str) -> pb::OutputRecord {
        pb::OutputRecord {
            task_id: "t1".into(),
            node_id: "n1".into(),
            at: 1_500,
            stream: stream.into(),
            line: line.as_bytes().to_vec().into(),
            dropped: 0,
        }
    }

    #[test]
    fn a_line_is_a_frame() {
        let plain = Format { timestamps: false, details: false };
        let written = plain.line(&record(pb::OutputStream::Stderr, "oh"), "s1");
        assert_eq!(written, b"\x02\0\0\0\0\0\0\x03oh\n");
        let all = Format { timestamps: true, details: true };
        let written = all.line(&record(pb::OutputStream::Stdout, "oh"), "s1");
        let text = "1970-01-01T00:00:01.500000000Z com.docker.swarm.node.id=n1,\
                    com.docker.swarm.service.id=s1,com.docker.swarm.task.id=t1 oh\n";
        assert_eq!(written, frame(1, text.as_bytes()));
    }

    #[test]
    fn what_is_wanted_is_read_or_refused() {
        let wanted = |since: &str, tail: &str, stdout: &str| {
            let [since, tail, stdout] = [since, tail, stdout].map(ToOwned::to_owned);
            let wanted = Wanted { stdout, since, tail, ..Wanted::default() };
            wanted.selector("s".into(), String::new())
        };
        for (text, ms) in [("", 0), ("0", 0), ("7", 7_000), ("7.25", 7_250), ("7.123456789", 7_123)]
        {
            assert_eq!(wanted(text, "all", "1").unwrap().since, ms, "{text}");
        }
        assert_eq!(wanted("", "5", "true").unwrap().tail, Some(5));
        assert_eq!(wanted("", "", "1").unwrap().tail, None);
        let said = |since, tail, stdout| wanted(since, tail, stdout).unwrap_err();
        assert!(said("", "", "0").message().ends_with("choose at least one stream"));
        for since in ["x", "-1", "1.x", "99999999999999999999"] {
            assert!(said(since, "", "1").message().starts_with("invalid since"), "{since}");
        }
        assert!(said("", "-1", "1").message().starts_with("invalid tail"));
    }

    #[tokio::test]
    async fn notes_come_at_the_end_and_a_stop_ends_it() {
        let (records, stream) = mpsc::channel(9);
        let reading = |stream, stop| Reading {
            records: ReceiverStream::new(stream),
            service: "s1".into(),
            format: Format { timestamps: false, details: false },
            notes: Vec::new(),
            stop,
        };
        for _ in 0..2 {
            let note = record(pb::OutputStream::System, "n2 is out of reach");
            records.send(Ok(note)).await.unwrap();
        }
        let line = pb::OutputRecord { dropped: 3, ..record(pb::OutputStream::Stdout, "a") };
        records.send(Ok(line)).await.unwrap();
        drop(records);
        let mut read = reading(stream, CancellationToken::new());
        assert_eq!(read.next().await.unwrap(), frame(STDOUT, b"a\n"));
        let notes = b"n2 is out of reach; 3 lines of task t1 were lost";
        assert_eq!(read.next().await.unwrap(), frame(SYSTEM_ERROR, notes));
        assert_eq!(read.next().await, None);

        let (_records, stream) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let mut read = reading(stream, stop.clone());
        stop.cancel();
        assert_eq!(read.next().now_or_never(), Some(None), "though more may come");
    }
}
