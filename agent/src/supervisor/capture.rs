//! The task's output, from its pipes to where it is kept.
//!
//! Invariant: reading the pipes waits for nobody; what cannot be kept is dropped, and its numbers
//! with it.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};

use proto::id::Timestamp;
use proto::spec::LogPolicy;
use sys::file::{FileError, Folder};

use super::protocol::{OUTPUT_BYTES_MAX, Output};
use crate::clock;
use crate::output::files::Writer;
use crate::output::lines::Lines;
use crate::output::ring::Ring;
use crate::output::{Record, Stream};

/// Bytes read from a pipe before others get their turn: the default size of a pipe.
const READ_BYTES: usize = 64 << 10;

/// The most that a pipe can hold when its writers are gone (`fs.pipe-max-size` of an ordinary user,
/// which a task may set).
const PIPE_BYTES_MAX: usize = 1 << 20;

/// Where the lines go.
enum Sink {
    Files(Writer),
    Memory(Ring),
    Nowhere,
}

/// One of the task's two streams.
struct Source {
    stream: Stream,
    /// The read end of the pipe, until the task has closed its own.
    pipe: Option<File>,
    lines: Lines,
}

/// The task's output.
pub(super) struct Capture {
    sink: Sink,
    sources: [Source; 2],
    /// The next line's number.
    next: u64,
    ended: bool,
}

impl Capture {
    /// Prepares to keep output as the policy says. The pipes come with [`connect`](Self::connect).
    pub(super) fn new(policy: LogPolicy, folder: &Folder) -> Result<Self, FileError> {
        let sink = match policy {
            LogPolicy::Files => Sink::Files(Writer::create(folder.try_clone()?)?),
            LogPolicy::Memory => Sink::Memory(Ring::default()),
            LogPolicy::None => Sink::Nowhere,
        };
        let source = |stream| Source { stream, pipe: None, lines: Lines::default() };
        let sources = [source(Stream::Stdout), source(Stream::Stderr)];
        Ok(Self { sink, sources, next: 0, ended: false })
    }

    /// Takes the read ends of the task's pipes; they must not block.
    pub(super) fn connect(&mut self, stdout: File, stderr: File) {
        let [out, err] = &mut self.sources;
        out.pipe = Some(stdout);
        err.pipe = Some(stderr);
    }

    /// The pipes to wait for.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sources.iter().filter_map(|source| source.pipe.as_ref()).map(|pipe| pipe.as_fd())
    }

    /// Takes what is in the pipes now, a bounded amount; says whether there may be more.
    pub(super) fn read(&mut self) -> bool {
        let mut more = false;
        let mut buffer = vec![0; READ_BYTES];
        for source in &mut self.sources {
            let Some(pipe) = &mut source.pipe else {
                continue;
            };
            let (lines, end) = match pipe.read(&mut buffer) {
                Ok(count) if count > 0 => {
                    let mut lines = Vec::new();
                    let bytes = buffer.get(..count).unwrap_or_default();
                    source.lines.push(bytes, |line| lines.push(line));
                    (lines, false)
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
                {
                    continue;
                }
                // The end of the pipe, or nothing more to be had from it.
                Ok(_) | Err(_) => (source.lines.finish().into_iter().collect(), true),
            };
            if end {
                source.pipe = None;
            }
            more |= !end;
            self.next = keep(&mut self.sink, self.next, source.stream, lines);
        }
        more
    }

    /// Takes the rest after the task has ended. A pipe that some process outside of the task still
    /// holds open, and perhaps goes on writing to, is left.
    pub(super) fn finish(&mut self) {
        let mut turns = (0..PIPE_BYTES_MAX / READ_BYTES).take_while(|_| self.read());
        while turns.next().is_some() {}
        for source in &mut self.sources {
            source.pipe = None;
            let rest = source.lines.finish().into_iter().collect();
            self.next = keep(&mut self.sink, self.next, source.stream, rest);
        }
        if let Sink::Files(writer) = &mut self.sink {
            writer.finish(self.next, clock::now());
        }
        self.ended = true;
    }

    /// Answers for records from number `from` on; `None` if there are none yet and `wait`.
    pub(super) fn answer(&self, from: u64, wait: bool) -> Option<Output> {
        let records = match &self.sink {
            Sink::Memory(ring) => ring.read(from, OUTPUT_BYTES_MAX),
            Sink::Files(_) | Sink::Nowhere => Vec::new(),
        };
        let next = records.last().map_or(self.next, |record| record.number.saturating_add(1));
        let end = self.ended && next >= self.next;
        (next > from || end || !wait).then_some(Output { records, next, end })
    }

    /// Whether somebody may still want the output from this process's memory.
    pub(super) const fn is_in_memory(&self) -> bool {
        matches!(self.sink, Sink::Memory(_))
    }
}

/// Numbers the lines and keeps them; returns the next number.
fn keep(sink: &mut Sink, first: u64, stream: Stream, lines: Vec<Vec<u8>>) -> u64 {
    let next = first.saturating_add(lines.len() as u64);
    let at: Timestamp = clock::now();
    let records = (first..).zip(lines).map(|(number, line)| Record { number, at, stream, line });
    match sink {
        Sink::Files(writer) => writer.write(&records.collect::<Vec<_>>()),
        Sink::Memory(ring) => records.for_each(|record| ring.push(record)),
        Sink::Nowhere => {}
    }
    next
}
