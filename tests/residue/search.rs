//! Looking for any 16 bytes of a value: as they are, in hexadecimal, in base64, and both in UTF-16.
//!
//! Sixteen bytes in a row hold eight that begin at a multiple of eight, so those eights are what is
//! looked for. Eight random bytes are found by chance in one of 2^30 gigabytes; the nine digits
//! that they have in base64 whatever stands beside them, in one of 2^20. Not here: what of it is
//! searched.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek as _, SeekFrom};
use std::path::Path;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use proto::hex::encode;

/// Bytes that are looked for together.
const PIECE_BYTES: usize = 8;

/// Read at a time.
const CHUNK_BYTES: usize = 4 << 20;

/// Longer than the longest form of a piece.
const OVERLAP_BYTES: usize = 64;

const DIGITS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A search for one value.
pub(crate) struct Search {
    pieces: AhoCorasick,
    forms: Vec<String>,
    hex: String,
}

impl Search {
    pub(crate) fn of(value: &[u8]) -> Self {
        let (mut pieces, mut forms) = (Vec::new(), Vec::new());
        for (number, piece) in value.chunks_exact(PIECE_BYTES).enumerate() {
            let mut add = |form: &str, bytes: Vec<u8>| {
                pieces.push(bytes);
                forms.push(format!("piece {number} {form}"));
            };
            add("as it is", piece.to_vec());
            let mut texts = vec![encode(piece), encode(piece).to_uppercase()];
            for shift in 0..3 {
                texts.extend([*b"+/", *b"-_"].map(|last| base64_within(piece, shift, last)));
            }
            for text in texts {
                let utf16 = text.encode_utf16().flat_map(u16::to_le_bytes);
                add(&format!("as UTF-16 text {text}"), utf16.collect());
                add(&format!("as text {text}"), text.into_bytes());
            }
        }
        let kind = Some(AhoCorasickKind::DFA);
        let pieces = AhoCorasick::builder().kind(kind).build(pieces).unwrap();
        Self { pieces, forms, hex: encode(value) }
    }

    /// The value in a form that is found.
    pub(crate) fn planted(&self) -> &str {
        &self.hex
    }

    /// Everything that can be read; where something is found, a line each.
    pub(crate) fn bytes(&self, from: &mut impl Read, place: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut buffer = vec![0; OVERLAP_BYTES + CHUNK_BYTES];
        let mut kept = 0;
        loop {
            let read = match from.read(&mut buffer[kept..]) {
                Ok(0) => return found,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // Given back meanwhile, or what even root cannot read: see memfd_secret(2).
                Err(_) => return found,
            };
            let filled = kept + read;
            for hit in self.pieces.find_iter(&buffer[..filled]) {
                // What was found in the overlap before is not told twice.
                if hit.end() > kept {
                    found.push(format!("{} in {place}", self.forms[hit.pattern().as_usize()]));
                }
            }
            kept = filled.min(OVERLAP_BYTES);
            buffer.copy_within(filled - kept..filled, 0);
        }
    }

    /// All readable memory of a process (proc(5)); none of one that has ended meanwhile.
    pub(crate) fn process(&self, pid: u32) -> Vec<String> {
        let mut found = Vec::new();
        let folder = Path::new("/proc").join(pid.to_string());
        let (memory, maps) = (folder.join("mem"), std::fs::read_to_string(folder.join("maps")));
        let (Ok(mut memory), Ok(maps)) = (File::open(memory), maps) else {
            let state = std::fs::read_to_string(folder.join("status")).unwrap_or_default();
            let has_ended = state.is_empty() || state.contains("State:\tZ");
            assert!(has_ended, "the memory of process {pid} can be read");
            return found;
        };
        for line in maps.lines() {
            let mut words = line.split_ascii_whitespace();
            let (range, may) = (words.next().unwrap(), words.next().unwrap());
            let (start, end) = range.split_once('-').unwrap();
            let address = |text| u64::from_str_radix(text, 16).unwrap();
            if !may.starts_with('r') || line.contains("[vsyscall]") || line.contains("[vvar") {
                continue;
            }
            memory.seek(SeekFrom::Start(address(start))).unwrap();
            let mut range = Read::take(&mut memory, address(end) - address(start));
            found.extend(self.bytes(&mut range, &format!("process {pid}: {line}")));
        }
        found
    }

    /// All files of a folder; `tell` hears of each piece.
    pub(crate) fn folder(&self, folder: &Path, tell: &mut impl FnMut(&Path, String)) {
        // What is removed meanwhile is not there.
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
            if kind.is_dir() {
                self.folder(&path, tell);
            } else if kind.is_file()
                && let Ok(file) = File::open(&path)
            {
                // As long as it is now: a log grows while it is read.
                let mut file = file.take(entry.metadata().map_or(0, |found| found.len()));
                for place in self.bytes(&mut file, &path.display().to_string()) {
                    tell(&path, place);
                }
            }
        }
    }
}

/// The digits of base64 that depend on these bytes alone, where they stand `shift` bytes into a
/// group of three.
fn base64_within(bytes: &[u8], shift: usize, last: [u8; 2]) -> String {
    let digit = |value: usize| char::from(*DIGITS.get(value).unwrap_or(&last[value & 1]));
    let bit = |at: usize| usize::from(bytes[at / 8 - shift] >> (7 - at % 8) & 1);
    let digits = (8 * shift).div_ceil(6)..8 * (shift + bytes.len()) / 6;
    let value = |number: usize| (6 * number..6 * number + 6).fold(0, |all, at| all << 1 | bit(at));
    digits.map(|number| digit(value(number))).collect()
}
