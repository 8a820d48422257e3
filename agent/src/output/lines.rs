//! Bytes from a pipe to lines of bounded length.

use proto::limits::OUTPUT_LINE_BYTES_MAX;

/// Collects bytes until they are a line.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Takes what was read and passes on every line that is complete or full.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(Vec<u8>)) {
        while !bytes.is_empty() {
            let room = OUTPUT_LINE_BYTES_MAX - self.pending.len();
            let newline = bytes.iter().take(room + 1).position(|byte| *byte == b'\n');
            let taken = newline.unwrap_or_else(|| room.min(bytes.len()));
            let (piece, rest) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
            self.pending.extend_from_slice(piece);
            bytes = if newline.is_some() { rest.get(1..).unwrap_or_default() } else { rest };
            // A full line is split where more of it follows, not where it ends.
            let split = self.pending.len() == OUTPUT_LINE_BYTES_MAX && !bytes.is_empty();
            if newline.is_some() || split {
                line(core::mem::take(&mut self.pending));
            }
        }
    }

    /// The rest, if the task ended in the middle of a line.
    pub(crate) fn finish(&mut self) -> Option<Vec<u8>> {
        let rest = core::mem::take(&mut self.pending);
        (!rest.is_empty()).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut lines = Lines::default();
        let mut all = Vec::new();
        for piece in pieces {
            lines.push(piece, |line| all.push(line));
        }
        all.extend(lines.finish());
        all
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        assert_eq!(lines(&[b"one\ntw", b"o\n", b"\nrest"]), [&b"one"[..], b"two", b"", b"rest"]);
        assert_eq!(lines(&[b"\n"]), [b""]);
        assert_eq!(lines(&[]), [b""; 0]);
    }

    #[test]
    fn lines_are_split_at_the_bound_and_one_past_it() {
        let line = |bytes: usize| [vec![b'x'; bytes], b"\n".to_vec()].concat();
        let lengths = |bytes: &[u8]| lines(&[bytes]).iter().map(Vec::len).collect::<Vec<usize>>();
        assert_eq!(lengths(&line(OUTPUT_LINE_BYTES_MAX)), [OUTPUT_LINE_BYTES_MAX]);
        assert_eq!(lengths(&line(OUTPUT_LINE_BYTES_MAX + 1)), [OUTPUT_LINE_BYTES_MAX, 1]);
        assert_eq!(lengths(&line(2 * OUTPUT_LINE_BYTES_MAX)), [OUTPUT_LINE_BYTES_MAX; 2]);
    }

    proptest! {
        #[test]
        fn how_bytes_arrive_does_not_matter(
            pieces in prop::collection::vec(
                prop::collection::vec(prop::sample::select(b"ab\n".to_vec()), 0..40_000), 0..4),
        ) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let whole = lines(&[&pieces.concat()]);
            prop_assert_eq!(lines(&pieces), whole.clone());
            prop_assert!(whole.iter().all(|l| l.len() <= OUTPUT_LINE_BYTES_MAX && !l.contains(&b'\n')));
        }
    }
}
