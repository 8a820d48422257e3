//! Looking for a secret where it must not be: in the managers' files and memory.
//!
//! It is looked for as it is, in hexadecimal and in base64. That a search which finds nothing
//! proves something is shown each time: the same pass must find what is known to be there. Not
//! here: that, and what is made of the outcome.
//!
//! Invariant: every readable byte of the given files and processes is compared, across the ends of
//! what is read at a time too.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use memchr::memmem::Finder;
use zeroize::Zeroizing;

/// The shortest value that is looked for, in bytes: a shorter one is found by chance.
pub(super) const VALUE_BYTES_MIN: usize = 8;

/// The longest that is looked for in one piece.
const WHOLE_BYTES_MAX: usize = 256;

/// Of a longer one, pieces of this length are: its beginning, its middle and its end.
const PIECE_BYTES: usize = 64;

/// Read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// One thing to look for.
pub(super) struct Needle {
    /// How it is written: `raw`, `hex`, `base64`, or what the caller says.
    pub(super) form: &'static str,
    bytes: Zeroizing<Vec<u8>>,
}

impl Needle {
    /// These very bytes.
    pub(super) fn exactly(form: &'static str, bytes: &[u8]) -> Self {
        Self { form, bytes: Zeroizing::new(bytes.to_vec()) }
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Every way in which a value would be written in clear.
    pub(super) fn forms(value: &[u8]) -> Vec<Self> {
        let mut needles = Vec::new();
        for piece in pieces(value) {
            needles.push(Self::exactly("raw", piece));
            let hex = Zeroizing::new(proto::hex::encode(piece));
            needles.push(Self::exactly("hex", hex.as_bytes()));
            let upper = Zeroizing::new(hex.to_ascii_uppercase());
            needles.push(Self::exactly("hex", upper.as_bytes()));
            for shift in 0..3 {
                for last in [*b"+/", *b"-_"] {
                    let bytes = base64_within(piece, shift, last);
                    needles.push(Self { form: "base64", bytes });
                }
            }
        }
        needles
    }
}

/// A short value whole; of a long one what would be found if any good part of it was there.
fn pieces(value: &[u8]) -> Vec<&[u8]> {
    if value.len() <= WHOLE_BYTES_MAX {
        return vec![value];
    }
    let middle = (value.len() - PIECE_BYTES) / 2;
    let starts = [0, middle, value.len() - PIECE_BYTES];
    starts.iter().filter_map(|start| value.get(*start..start + PIECE_BYTES)).collect()
}

/// The digits that `bytes` have in base64 wherever they stand `shift` bytes into a group of three,
/// without those that depend on their neighbours. `last` are the digits 62 and 63.
fn base64_within(bytes: &[u8], shift: usize, last: [u8; 2]) -> Zeroizing<Vec<u8>> {
    const DIGITS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let digit = |value: u8| {
        let beyond = || last.get(usize::from(value & 1)).copied();
        DIGITS.get(usize::from(value)).copied().or_else(beyond).unwrap_or_default()
    };
    let bit = |index: usize| {
        let byte = (index / 8).checked_sub(shift).and_then(|at| bytes.get(at));
        byte.map_or(0, |byte| byte >> (7 - index % 8) & 1)
    };
    let first_digit = (8 * shift).div_ceil(6);
    let end_digit = 8 * (shift + bytes.len()) / 6;
    let digits = first_digit..end_digit;
    let value =
        |number: usize| (6 * number..6 * number + 6).fold(0, |value, at| value << 1 | bit(at));
    Zeroizing::new(digits.map(|number| digit(value(number))).collect())
}

/// What a search came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Needles that were found, by their place in the list, and where first.
    pub(super) found: BTreeMap<usize, String>,
    /// Bytes that were compared.
    pub(super) bytes: u64,
    /// Files that were read.
    pub(super) files: usize,
}

/// A search for several needles at once.
pub(super) struct Search<'a> {
    finders: Vec<Finder<'a>>,
    overlap: usize,
    outcome: Outcome,
}

impl<'a> Search<'a> {
    pub(super) fn new(needles: &'a [Needle]) -> Self {
        let longest = needles.iter().map(|needle| needle.bytes.len()).max().unwrap_or_default();
        Self {
            finders: needles.iter().map(|needle| Finder::new(needle.bytes())).collect(),
            overlap: longest.saturating_sub(1),
            outcome: Outcome::default(),
        }
    }

    pub(super) fn end(self) -> Outcome {
        self.outcome
    }

    /// Every file in a folder, and in those below it. What is no file has no bytes.
    pub(super) fn folder(&mut self, folder: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            // Of the entry itself: links are not followed.
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.folder(&entry.path())?;
            } else if kind.is_file() {
                match File::open(entry.path()) {
                    Ok(file) => self.file(file, &entry.path().display().to_string())?,
                    // Removed meanwhile: managers clear up.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, mut file: File, place: &str) -> io::Result<()> {
        self.outcome.files += 1;
        let mut window = Window::new(self.overlap);
        loop {
            let read = file.read(window.room())?;
            if read == 0 {
                return Ok(());
            }
            self.compare(&mut window, read, place);
        }
    }

    /// Everything that can be read of a process's memory (proc(5)).
    pub(super) fn process(&mut self, pid: u32) -> io::Result<()> {
        let memory = File::open(format!("/proc/{pid}/mem"))?;
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
        for line in maps.lines() {
            let Some((start, end)) = readable_range(line) else { continue };
            let mut window = Window::new(self.overlap);
            let mut at = start;
            while at < end {
                let left = usize::try_from(end - at).unwrap_or(usize::MAX);
                let room = window.room();
                let length = room.len().min(left);
                let Some(room) = room.get_mut(..length) else { break };
                // Memory that even root cannot read (memfd_secret(2)), or beyond a file's end, or
                // given back meanwhile.
                let Ok(read @ 1..) = memory.read_at(room, at) else { break };
                self.compare(&mut window, read, &format!("the memory of process {pid}"));
                at += read as u64;
            }
        }
        Ok(())
    }

    fn compare(&mut self, window: &mut Window, read: usize, place: &str) {
        self.outcome.bytes += read as u64;
        let bytes = window.filled(read);
        for (number, finder) in self.finders.iter().enumerate() {
            let found = &mut self.outcome.found;
            if !found.contains_key(&number) && finder.find(bytes).is_some() {
                found.insert(number, place.to_owned());
            }
        }
        window.advance(read);
    }
}

/// The range of a line of /proc/PID/maps, if the process itself may read there.
fn readable_range(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let may_read = fields.next()?.starts_with('r');
    // The kernel's own pages.
    let is_kernels = ["[vvar", "[vsyscall]"].iter().any(|name| line.contains(name));
    let address = |text| u64::from_str_radix(text, 16).ok();
    Some((address(start)?, address(end)?)).filter(|_| may_read && !is_kernels)
}

/// What was read last, after the end of what was read before it.
struct Window {
    buffer: Zeroizing<Vec<u8>>,
    overlap: usize,
    kept: usize,
}

impl Window {
    fn new(overlap: usize) -> Self {
        Self { buffer: Zeroizing::new(vec![0; overlap + CHUNK_BYTES]), overlap, kept: 0 }
    }

    fn room(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.kept..).unwrap_or_default()
    }

    fn filled(&self, read: usize) -> &[u8] {
        self.buffer.get(..self.kept + read).unwrap_or_default()
    }

    fn advance(&mut self, read: usize) {
        let filled = self.kept + read;
        let keep = filled.min(self.overlap);
        self.buffer.copy_within(filled - keep..filled, 0);
        self.kept = keep;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Write as _;

    use super::*;

    fn found(needles: &[Needle], contents: &[u8]) -> BTreeSet<usize> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(contents).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        let mut search = Search::new(needles);
        search.file(file, "here").unwrap();
        search.end().found.into_keys().collect()
    }

    #[test]
    fn base64_is_found_wherever_it_begins() {
        // base64 of "hunter2!" after zero, one and two bytes, from coreutils.
        for (shift, text) in [(0, "aHVudGVyMiE="), (1, "eGh1bnRlcjIh"), (2, "eHhodW50ZXIyIQ==")] {
            let needle = base64_within(b"hunter2!", shift, *b"+/");
            assert!(needle.len() >= 9, "{shift}");
            let needle = str::from_utf8(&needle).unwrap();
            assert!(text.contains(needle), "{needle} in {text}");
        }
        assert_eq!(base64_within(&[0xff; 3], 0, *b"-_").as_slice(), b"____");
        assert_eq!(base64_within(&[0xfb; 3], 0, *b"+/").as_slice(), b"+/v7");
    }

    #[test]
    fn every_form_is_found_and_nothing_else() {
        let needles = Needle::forms(b"correct horse \xff");
        assert_eq!(needles.len(), 9);
        assert_eq!(found(&needles, &vec![7; 100_000]), BTreeSet::new());
        for (number, needle) in needles.iter().enumerate() {
            let contents = [b"before ", needle.bytes(), b" after"].concat();
            assert!(found(&needles, &contents).contains(&number), "{number}");
        }
    }

    #[test]
    fn what_lies_across_two_reads_is_found() {
        let needles = [Needle::exactly("raw", b"needle"), Needle::exactly("raw", b"other one")];
        for before in [CHUNK_BYTES - 3, CHUNK_BYTES, CHUNK_BYTES + 6, 2 * CHUNK_BYTES - 1] {
            let mut contents = vec![b'.'; before];
            contents.extend_from_slice(b"needle....");
            assert_eq!(found(&needles, &contents), BTreeSet::from([0]), "{before}");
        }
    }

    #[test]
    fn a_process_has_in_memory_what_it_holds() {
        let held = proto::hex::encode(&seal::random::<16>());
        // Whatever is looked for is in this process, and nowhere in its child, which is another
        // program.
        let needles = [Needle::exactly("held", held.as_bytes())];
        let found_in = |pid| {
            let mut search = Search::new(&needles);
            search.process(pid).unwrap();
            let outcome = search.end();
            assert!(outcome.bytes > 10_000);
            !outcome.found.is_empty()
        };
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // Once it has answered it is the other program.
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        assert!(found_in(std::process::id()));
        assert!(!found_in(child.id()));
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn of_a_long_value_three_pieces_are_looked_for() {
        let value: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let pieces = pieces(&value);
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces[2], &value[1000 - PIECE_BYTES..]);
        assert!(Needle::forms(&value).len() == 27);
    }
}
