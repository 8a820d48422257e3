//! The lines of a task in two rotated files of its folder.
//!
//! One record a line, so that `cat` shows them: `NUMBER MILLISECONDS STREAM TEXT`. The current
//! file becomes the old one when it is full, and the old one is gone then. Nothing is synced: the
//! folder is in memory, and output is no record of anything.
//!
//! Invariant: a file holds whole records only; what cannot be written whole is dropped and shows
//! as a gap in the numbers.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;

use proto::id::Timestamp;
use proto::limits::OUTPUT_LINE_BYTES_MAX;
use sys::file::{FileError, Folder, PRIVATE_FILE_MODE};

use super::{Line, Record, Selection, Selector, Stream};

const CURRENT: &str = "output";
const OLD: &str = "output.old";

/// Bytes of one file.
pub(crate) const FILE_BYTES_MAX: u64 = 8 << 20;

/// Bytes of lines read in one go.
const BATCH_BYTES: usize = 64 << 10;

/// Longest record, in bytes: two numbers of 20 digits, the stream, blanks and the line.
const RECORD_BYTES_MAX: u64 = OUTPUT_LINE_BYTES_MAX as u64 + 64;

impl Stream {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "out",
            Self::Stderr => "err",
            Self::System => "sys",
        }
    }
}

fn render(record: &Record, text: &mut Vec<u8>) {
    let head = format!("{} {} {} ", record.number, record.at, record.stream.as_str());
    text.extend_from_slice(head.as_bytes());
    text.extend_from_slice(&record.line);
    text.push(b'\n');
}

/// Reads one line of a file; `None` if it is not a record.
fn parse(line: &[u8]) -> Option<Record> {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let mut field = || fields.next();
    let number = |field: Option<&[u8]>| str::from_utf8(field?).ok()?.parse::<u64>().ok();
    Some(Record {
        number: number(field())?,
        at: Timestamp(number(field())?),
        stream: match field()? {
            b"out" => Stream::Stdout,
            b"err" => Stream::Stderr,
            b"sys" => Stream::System,
            _ => return None,
        },
        line: field()?.to_vec(),
    })
}

/// The supervisor's end.
#[derive(Debug)]
pub(crate) struct Writer {
    folder: Folder,
    file: File,
    bytes: u64,
    bytes_max: u64,
    /// Whether the last records were dropped, so that nothing shows the gap yet.
    gap: bool,
}

impl Writer {
    /// Starts a new file in a task's folder.
    pub(crate) fn create(folder: Folder) -> Result<Self, FileError> {
        Self::with_bound(folder, FILE_BYTES_MAX)
    }

    fn with_bound(folder: Folder, bytes_max: u64) -> Result<Self, FileError> {
        let file = folder.append(CURRENT, PRIVATE_FILE_MODE)?;
        Ok(Self { folder, file, bytes: 0, bytes_max, gap: false })
    }

    /// Writes records, or drops them.
    pub(crate) fn write(&mut self, records: &[Record]) {
        let mut text = Vec::new();
        for record in records {
            render(record, &mut text);
            if text.len() >= BATCH_BYTES {
                self.write_text(&text);
                text.clear();
            }
        }
        if !text.is_empty() {
            self.write_text(&text);
        }
    }

    fn write_text(&mut self, text: &[u8]) {
        let bytes = text.len() as u64;
        if self.bytes.saturating_add(bytes) > self.bytes_max && self.bytes > 0 {
            self.rotate();
        }
        self.gap = self.file.write_all(text).is_err();
        if self.gap {
            // Half a record would run into the next one. If even this fails, the reader skips the
            // line that the two make.
            self.file.set_len(self.bytes).ok();
        } else {
            self.bytes += bytes;
        }
    }

    /// Begins a new file. If it cannot, the full one goes on being written: more room is the
    /// lesser evil beside losing the lines, and the next write tries again.
    fn rotate(&mut self) {
        let renamed = self.folder.rename_unsynced(CURRENT, OLD);
        if let Ok(file) = renamed.and_then(|()| self.folder.append(CURRENT, PRIVATE_FILE_MODE)) {
            self.file = file;
            self.bytes = 0;
        }
    }

    /// Shows the gap if the last lines were dropped, now that no others will. `next` is the number
    /// after the last line's.
    pub(crate) fn finish(&mut self, next: u64, at: Timestamp) {
        if self.gap {
            let record = Record { number: next, at, stream: Stream::System, line: Vec::new() };
            self.write(&[record]);
        }
    }
}

/// The agent's end: reads what is there, and what is added later.
#[derive(Debug)]
pub(crate) struct Reader {
    folder: Folder,
    /// Oldest first; the last one is being written.
    files: VecDeque<BufReader<File>>,
    /// The beginning of a record whose end was not there yet.
    partial: Vec<u8>,
    selector: Selector,
}

impl Reader {
    /// Opens what a task's folder holds. The files may be missing: then there is no output yet.
    pub(crate) fn open(folder: Folder, selection: Selection) -> Result<Self, FileError> {
        let mut reader = Self {
            folder,
            files: VecDeque::new(),
            partial: Vec::new(),
            selector: Selector::new(selection, 0),
        };
        reader.open_files()?;
        if selection.tail.is_some() {
            let available = reader.count(&selection);
            reader.selector = Selector::new(selection, available);
        }
        Ok(reader)
    }

    /// Opens the current file and the one before it.
    fn open_files(&mut self) -> Result<(), FileError> {
        let open = |name| match self.folder.open_file(name) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        };
        // In this order: a file that is rotated in between is met twice, not missed.
        let current = open(CURRENT)?;
        let old = open(OLD)?;
        let distinct = old.filter(|old| current.as_ref().is_none_or(|c| !same_file(c, old)));
        self.files = distinct.into_iter().chain(current).map(BufReader::new).collect();
        Ok(())
    }

    /// Counts the wanted records of what is open now, and goes back to its start.
    fn count(&mut self, selection: &Selection) -> u64 {
        let mut count = 0;
        for file in &mut self.files {
            let mut line = Vec::new();
            while read_line(file, &mut line).is_ok_and(|whole| whole) {
                count += u64::from(parse(&line).is_some_and(|record| selection.wants(&record)));
                line.clear();
            }
            // A file that does not seek reads as empty.
            file.rewind().ok();
        }
        count
    }

    /// The next lines; none if there are no more now.
    ///
    /// Fails if a file cannot be read.
    pub(crate) fn read(&mut self) -> Result<Vec<Line>, FileError> {
        let mut lines = Vec::new();
        let mut bytes = 0;
        // Records that are not wanted are no reason to say that there are no more.
        while bytes < BATCH_BYTES || lines.is_empty() {
            let Some(record) = self.next_record()? else {
                break;
            };
            bytes += record.cost();
            lines.extend(self.selector.pick(record));
        }
        Ok(lines)
    }

    fn next_record(&mut self) -> Result<Option<Record>, FileError> {
        loop {
            let Some(file) = self.files.front_mut() else {
                self.open_files()?;
                if self.files.is_empty() {
                    return Ok(None);
                }
                continue;
            };
            let whole = read_line(file, &mut self.partial)
                .map_err(|source| self.folder.read_failed(CURRENT, source))?;
            if whole {
                let record = parse(&self.partial);
                self.partial.clear();
                match record {
                    Some(record) => return Ok(Some(record)),
                    None => continue,
                }
            }
            if self.files.len() > 1 {
                self.files.pop_front();
                // Half a record at its end stays half.
                self.partial.clear();
            } else if !self.follow_rotation()? {
                return Ok(None);
            }
        }
    }

    /// Queues what has taken the place of the file that was read to its end.
    fn follow_rotation(&mut self) -> Result<bool, FileError> {
        let Some(mut last) = self.files.pop_back() else {
            return Ok(false);
        };
        self.open_files()?;
        let is_last = |file: &BufReader<File>| same_file(file.get_ref(), last.get_ref());
        // Two rotations since: the old file is another one, and what was between shows as a gap.
        let rotated = !self.files.back().is_none_or(is_last);
        if !rotated {
            self.files = VecDeque::from([last]);
            return Ok(false);
        }
        if self.files.front().is_some_and(is_last) {
            self.files.pop_front();
        }
        // What was added to it before it was rotated is still to be read.
        let bytes = last.get_ref().metadata().ok().map(|metadata| metadata.len());
        if last.stream_position().ok() != bytes {
            self.files.push_front(last);
        }
        Ok(true)
    }
}

fn same_file(one: &File, other: &File) -> bool {
    let identity = |file: &File| file.metadata().ok().map(|data| (data.dev(), data.ino()));
    identity(one).is_some_and(|one| Some(one) == identity(other))
}

/// Reads up to a newline, which is taken off; says whether there was one.
fn read_line(file: &mut BufReader<File>, line: &mut Vec<u8>) -> io::Result<bool> {
    // What is longer than a record is not one of ours; its pieces will not parse.
    file.by_ref().take(RECORD_BYTES_MAX).read_until(b'\n', line)?;
    let whole = line.last() == Some(&b'\n');
    if whole {
        line.pop();
    }
    let overlong = line.len() as u64 >= RECORD_BYTES_MAX;
    Ok(whole || overlong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::create_private(temp.path().join("task")).unwrap();
        (temp, folder)
    }

    fn record(number: u64, line: &str) -> Record {
        Record { number, at: Timestamp(1_000 + number), stream: Stream::Stdout, line: line.into() }
    }

    fn texts(lines: &[Line]) -> Vec<(&str, u64)> {
        lines.iter().map(|line| (str::from_utf8(&line.line).unwrap(), line.dropped)).collect()
    }

    fn read_all(reader: &mut Reader) -> Vec<Line> {
        let mut all = Vec::new();
        loop {
            let lines = reader.read().unwrap();
            if lines.is_empty() {
                return all;
            }
            all.extend(lines);
        }
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let (_temp, folder) = folder();
        let mut writer = Writer::create(folder.try_clone().unwrap()).unwrap();
        let mut odd = record(1, "");
        odd.line = b" \xff 1 2 out \r".to_vec();
        odd.stream = Stream::Stderr;
        writer.write(&[record(0, "first"), odd.clone()]);
        let text = folder.read(CURRENT, 1_000).unwrap();
        assert!(text.starts_with(b"0 1000 out first\n1 1001 err "));
        let mut reader = Reader::open(folder, Selection::ALL).unwrap();
        let lines = read_all(&mut reader);
        assert_eq!(lines[0].line, b"first");
        assert_eq!((lines[1].stream, &lines[1].line), (Stream::Stderr, &odd.line));
        writer.write(&[record(5, "later")]);
        assert_eq!(texts(&read_all(&mut reader)), [("later", 3)]);
    }

    #[test]
    fn two_files_rotate_and_a_follower_misses_nothing() {
        let (_temp, folder) = folder();
        let mut reader = Reader::open(folder.try_clone().unwrap(), Selection::ALL).unwrap();
        assert_eq!(reader.read().unwrap(), []);
        let mut writer = Writer::with_bound(folder.try_clone().unwrap(), 100).unwrap();
        let mut read = Vec::new();
        for number in 0..50 {
            writer.write(&[record(number, "some text that fills a file")]);
            read.extend(read_all(&mut reader));
        }
        assert_eq!(read.len(), 50);
        assert!(read.iter().all(|line| line.dropped == 0));
        assert_eq!(folder.entries().unwrap(), [CURRENT, OLD]);
        for name in [CURRENT, OLD] {
            assert!(folder.read(name, 100).unwrap().len() <= 100, "a file keeps its bound");
        }
        let mut late = Reader::open(folder, Selection::ALL).unwrap();
        let late = read_all(&mut late);
        assert!((2..=4).contains(&late.len()));
        assert_eq!(late[0].dropped, 0, "what was rotated away is old, not lost");
    }

    #[test]
    fn a_reader_that_was_away_for_two_rotations_sees_the_gap() {
        let (_temp, folder) = folder();
        let mut writer = Writer::with_bound(folder.try_clone().unwrap(), 100).unwrap();
        writer.write(&[record(0, "first")]);
        let mut reader = Reader::open(folder, Selection::ALL).unwrap();
        assert_eq!(read_all(&mut reader).len(), 1);
        for number in 1..20 {
            writer.write(&[record(number, "some text that fills a file")]);
        }
        let lines = read_all(&mut reader);
        assert_eq!(lines.iter().filter(|line| line.dropped > 0).count(), 1);
        let seen: u64 = lines.iter().map(|line| line.dropped + 1).sum();
        assert_eq!(seen, 19);
    }

    #[test]
    fn tail_counts_over_both_files() {
        let (_temp, folder) = folder();
        let mut writer = Writer::with_bound(folder.try_clone().unwrap(), 100).unwrap();
        for number in 0..8 {
            writer.write(&[record(number, "0123456789")]);
        }
        let selection = Selection { tail: Some(5), ..Selection::ALL };
        let mut reader = Reader::open(folder, selection).unwrap();
        let lines = read_all(&mut reader);
        assert_eq!(
            lines.iter().map(|l| l.at.0).collect::<Vec<_>>(),
            [1003, 1004, 1005, 1006, 1007]
        );
        writer.write(&[record(8, "added")]);
        assert_eq!(read_all(&mut reader).len(), 1);
    }

    #[test]
    fn many_lines_that_are_not_wanted_do_not_end_the_reading() {
        let (_temp, folder) = folder();
        let mut writer = Writer::create(folder.try_clone().unwrap()).unwrap();
        let line = "x".repeat(1_000);
        writer.write(&(0..1_000).map(|number| record(number, &line)).collect::<Vec<_>>());
        let selection = Selection { tail: Some(1), ..Selection::ALL };
        let mut reader = Reader::open(folder, selection).unwrap();
        assert_eq!(reader.read().unwrap().len(), 1);
        assert_eq!(reader.read().unwrap(), []);
    }

    #[test]
    fn a_full_disk_drops_whole_records_and_counts_them() {
        let (_temp, folder) = folder();
        let mut writer = Writer::create(folder.try_clone().unwrap()).unwrap();
        writer.write(&[record(0, "before")]);
        // A descriptor that cannot be written stands for the full disk.
        let broken = folder.open_file(CURRENT).unwrap();
        let whole = core::mem::replace(&mut writer.file, broken);
        writer.write(&[record(1, "lost"), record(2, "lost")]);
        writer.file = whole;
        writer.write(&[record(3, "after")]);
        let mut reader = Reader::open(folder.try_clone().unwrap(), Selection::ALL).unwrap();
        assert_eq!(texts(&read_all(&mut reader)), [("before", 0), ("after", 2)]);

        let broken = folder.open_file(CURRENT).unwrap();
        let whole = core::mem::replace(&mut writer.file, broken);
        writer.write(&[record(4, "lost")]);
        writer.file = whole;
        writer.finish(5, Timestamp(0));
        assert_eq!(texts(&read_all(&mut reader)), [("", 1)]);
    }

    #[test]
    fn what_is_not_a_record_is_skipped() {
        let (_temp, folder) = folder();
        let long = "x".repeat(3 * OUTPUT_LINE_BYTES_MAX);
        let text = format!("nonsense\n0 1 out good\n{long}\n1 2 odd x\n2 2 out last\n3 3 out to");
        folder.append(CURRENT, PRIVATE_FILE_MODE).unwrap().write_all(text.as_bytes()).unwrap();
        let mut reader = Reader::open(folder.try_clone().unwrap(), Selection::ALL).unwrap();
        assert_eq!(texts(&read_all(&mut reader)), [("good", 0), ("last", 1)]);
        folder.append(CURRENT, PRIVATE_FILE_MODE).unwrap().write_all(b"rn\n").unwrap();
        assert_eq!(texts(&read_all(&mut reader)), [("torn", 0)]);
    }
}
