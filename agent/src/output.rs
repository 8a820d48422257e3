//! What tasks print: lines with a number, an instant and a stream.
//!
//! A supervisor captures them into two rotated files ([`files`]) or a ring in its memory
//! ([`ring`]); the agent reads them back for `service logs`. Every line that a task printed has a
//! number, also one that was dropped, so that a gap in the numbers says how many lines are
//! missing. Not here: who may read them.
//!
//! Invariant: capturing never waits for a reader or a full disk; a line has at most
//! [`OUTPUT_LINE_BYTES_MAX`] bytes and no newline.

pub(crate) mod files;
pub(crate) mod lines;
pub(crate) mod ring;

use proto::id::Timestamp;
#[cfg(doc)]
use proto::limits::OUTPUT_LINE_BYTES_MAX;

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum Stream {
    /// The task's standard output.
    #[n(0)]
    Stdout,
    /// The task's standard error.
    #[n(1)]
    Stderr,
    /// Nothing the task printed: it only carries a number, so that a gap before it shows.
    #[n(2)]
    System,
}

/// A line as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Record {
    /// Its number: 0 is the first line that the task printed.
    #[n(0)]
    pub number: u64,
    /// When it was read from the task, by the node's clock.
    #[n(1)]
    pub at: Timestamp,
    /// Where it came from.
    #[n(2)]
    pub stream: Stream,
    /// The line, without its newline. Not always UTF-8.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub line: Vec<u8>,
}

impl Record {
    /// Bytes that a record takes where room is bounded: its line and, amply, all else.
    pub(crate) fn cost(&self) -> usize {
        self.line.len() + 32
    }
}

/// Which lines somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// Not before this.
    pub since: Timestamp,
    /// Only so many of the last ones that are there now; all if absent.
    pub tail: Option<u64>,
    /// Those of standard output.
    pub stdout: bool,
    /// Those of standard error.
    pub stderr: bool,
}

impl Selection {
    /// Every line.
    pub const ALL: Self = Self { since: Timestamp(0), tail: None, stdout: true, stderr: true };

    /// Whether a record is among them, `tail` aside.
    pub(crate) fn wants(&self, record: &Record) -> bool {
        record.at >= self.since
            && match record.stream {
                Stream::Stdout => self.stdout,
                Stream::Stderr => self.stderr,
                Stream::System => true,
            }
    }
}

/// A line as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it was printed, by the node's clock.
    pub at: Timestamp,
    /// Where it came from.
    pub stream: Stream,
    /// Lines lost before this one, of any stream.
    pub dropped: u64,
    /// The line, without its newline; empty if it stands only for lost ones.
    pub line: Vec<u8>,
}

/// Picks the wanted lines from records in order, and counts what is missing between them.
#[derive(Debug)]
pub(crate) struct Selector {
    selection: Selection,
    /// Wanted lines to leave out, for `tail`.
    skip: u64,
    expected: Option<u64>,
    dropped: u64,
}

impl Selector {
    /// A selector for a reader that has counted `available` wanted lines.
    pub(crate) fn new(selection: Selection, available: u64) -> Self {
        let skip = selection.tail.map_or(0, |tail| available.saturating_sub(tail));
        Self { selection, skip, expected: None, dropped: 0 }
    }

    /// The line of a record, if it is wanted.
    pub(crate) fn pick(&mut self, record: Record) -> Option<Line> {
        let expected = self.expected.replace(record.number.saturating_add(1));
        // What was rotated away before the first record is not missing, only old.
        self.dropped += expected.map_or(0, |expected| record.number.saturating_sub(expected));
        if !self.selection.wants(&record) {
            return None;
        }
        let dropped = core::mem::take(&mut self.dropped);
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        let Record { at, stream, line, .. } = record;
        Some(Line { at, stream, dropped, line })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64, stream: Stream) -> Record {
        Record { number, at: Timestamp(number * 10), stream, line: number.to_string().into() }
    }

    fn picked(selection: Selection, records: &[Record]) -> Vec<(String, u64)> {
        let available = records.iter().filter(|record| selection.wants(record)).count() as u64;
        let mut selector = Selector::new(selection, available);
        let lines = records.iter().cloned().filter_map(|record| selector.pick(record));
        lines.map(|line| (String::from_utf8(line.line).unwrap(), line.dropped)).collect()
    }

    #[test]
    fn gaps_are_counted_over_all_streams() {
        let records =
            [record(5, Stream::Stdout), record(8, Stream::Stderr), record(10, Stream::Stdout)];
        let line = |text: &str, dropped| (text.to_owned(), dropped);
        assert_eq!(picked(Selection::ALL, &records), [line("5", 0), line("8", 2), line("10", 1)]);
        let stdout = Selection { stderr: false, ..Selection::ALL };
        assert_eq!(picked(stdout, &records), [line("5", 0), line("10", 3)]);
    }

    #[test]
    fn since_and_tail_limit_what_is_picked() {
        let records: Vec<Record> = (0..5).map(|n| record(n, Stream::Stdout)).collect();
        let since = Selection { since: Timestamp(30), ..Selection::ALL };
        assert_eq!(picked(since, &records).len(), 2);
        let tail = Selection { tail: Some(3), ..Selection::ALL };
        assert_eq!(picked(tail, &records)[0].0, "2");
        assert_eq!(picked(Selection { tail: Some(0), ..Selection::ALL }, &records), []);
        assert_eq!(picked(Selection { tail: Some(9), ..Selection::ALL }, &records).len(), 5);
    }
}
