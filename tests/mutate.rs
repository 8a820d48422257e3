//! Inputs for parsers: what they take, changed at random, the same for every run of a seed.
//!
//! Part of the tests of the crates whose parsers are private (`#[path]`), so that what is tried is the
//! parser itself, thousands of times a second. An input with an outcome that was not met before joins
//! those that are changed. `SECRETD_FUZZ_SECONDS` says how long each parser is tried; else it is a few
//! thousand inputs. Not here: what is tried.
//!
//! Invariant: whatever makes a parser panic is printed as it is.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Inputs of a run without a time.
const INPUTS: u64 = 4_000;

/// Inputs that are kept for having had another outcome.
const KEPT_MAX: usize = 2_000;

/// Bytes of an input.
const INPUT_BYTES_MAX: usize = 16 << 10;

/// Pieces that mean something to one parser or another.
const PIECES: &[&str] = &[
    "\"",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\\",
    "\\u0000",
    "null",
    "true",
    "0",
    "-1",
    "1e999",
    "18446744073709551616",
    "9223372036854775807",
    "\r\n",
    "\n",
    "\0",
    "%",
    "%00",
    "%ff",
    "/",
    "//",
    "..",
    "?",
    "&",
    "=",
    "&filters=",
    "$",
    "${",
    "${A:-",
    "}",
    "&a ",
    "*a",
    "<<: ",
    "- ",
    "? ",
    "|\n",
    "!!",
    "\u{feff}",
    "\u{2028}",
    "\u{10ffff}",
    "AAAA====",
    "/v1.",
    "HTTP/1.1\r\n",
    "content-length: ",
    "transfer-encoding: chunked\r\n\r\n",
    "connection: upgrade\r\nupgrade: tcp\r\n",
];

/// Numbers at random, by xorshift64* (<https://doi.org/10.1145/2845077>).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap_or_default() % end.max(1)
    }
}

/// Says what was tried, if that ends in a panic.
struct Tried<'a>(&'a str, &'a [u8]);

impl Drop for Tried<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let shown = self.1.escape_ascii();
            sys::require::say(&format!("FUZZED {}: a panic on b\"{shown}\"", self.0));
        }
    }
}

/// Tries a parser. What it makes of an input is a word or a message, by which outcomes are told apart.
pub(crate) fn fuzz(name: &str, corpus: &[&[u8]], mut parse: impl FnMut(&[u8]) -> String) {
    let seconds = std::env::var("SECRETD_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let (began, time) = (Instant::now(), Duration::from_secs(seconds.unwrap_or_default()));
    let mut random = Random(0x5ec2_e7d5);
    let mut kept: Vec<Vec<u8>> = corpus.iter().map(|input| input.to_vec()).collect();
    let (mut met, mut count) = (BTreeSet::new(), 0);
    for input in &kept {
        let _tried = Tried(name, input);
        met.insert(parse(input));
    }
    while count < INPUTS || began.elapsed() < time {
        let input = changed(&mut random, &kept, corpus.len());
        let _tried = Tried(name, &input);
        count += 1;
        let outcome = parse(&input);
        if met.len() < KEPT_MAX && met.insert(outcome) {
            kept.push(input.clone());
        }
    }
    let (took, met) = (began.elapsed().as_secs(), met.len());
    sys::require::say(&format!("FUZZED {name}: {count} inputs in {took} s, {met} outcomes"));
}

/// One of those that are kept, changed in a few places: every other time one of the first, which are
/// whole, since most of what is kept is broken in its own way.
fn changed(random: &mut Random, kept: &[Vec<u8>], whole: usize) -> Vec<u8> {
    let among = if random.below(2) == 0 { whole } else { kept.len() };
    let mut input = kept.get(random.below(among)).cloned().unwrap_or_default();
    for _ in 0..=random.below(6) {
        let at = random.below(input.len() + 1);
        let end = (at + random.below(24)).min(input.len());
        match random.below(12) {
            0 => drop(input.drain(at..end)),
            1 => {
                let again: Vec<u8> = input.get(at..end).unwrap_or_default().to_vec();
                for _ in 0..=random.below(9) {
                    input.splice(at..at, again.iter().copied());
                }
            }
            2 | 3 => {
                let piece = PIECES.get(random.below(PIECES.len())).copied().unwrap_or_default();
                let end = if random.below(2) == 0 { at } else { end };
                input.splice(at..end, piece.bytes());
            }
            4 => {
                let other = kept.get(random.below(kept.len())).cloned().unwrap_or_default();
                let from = random.below(other.len() + 1);
                let to = (from + random.below(64)).min(other.len());
                input.splice(at..end, other.get(from..to).unwrap_or_default().iter().copied());
            }
            5 if random.below(4) == 0 => input.truncate(at),
            _ => {
                let bit = 1 << random.below(8);
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= bit;
                }
            }
        }
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}
