//! A secret value in clear, and the frame that hides its length.
//!
//! The value is born in a buffer laid out for its ciphertext, `header ‖ u32 length ‖ value ‖
//! zeros ‖ tag`, encrypted there in place and opened there in place: it is never moved and never
//! grown. The frame is padded to a bucket, so that lengths of passwords do not show.
//!
//! Invariant: `expose` is the one way to the bytes, and they are wiped on drop.

use std::io::{self, Read};

use proto::limits::PAYLOAD_BYTES_MAX;
use proto::sealed::{HEADER_BYTES, TAG_BYTES};
use zeroize::Zeroizing;

use crate::OpenError;
use crate::live::Live;

/// Bytes of the length before the value.
const LENGTH_BYTES: usize = 4;

/// Where the value starts in the buffer.
const VALUE_AT: usize = HEADER_BYTES + LENGTH_BYTES;

/// The smallest frame, in bytes: every value up to 60 bytes looks alike.
const BUCKET_BYTES_MIN: usize = 64;

/// Up to here buckets are powers of two, in bytes; above, eighths of one (an eighth is lost at
/// most, and megabytes have few buckets).
const BUCKET_BYTES_COARSE: usize = 4096;

/// The padded size of a frame of `framed` bytes.
pub(crate) const fn bucket(framed: usize) -> usize {
    if framed <= BUCKET_BYTES_MIN {
        return BUCKET_BYTES_MIN;
    }
    let above = framed.next_power_of_two();
    if above <= BUCKET_BYTES_COARSE {
        return above;
    }
    let step = if above == framed { above / 8 } else { above / 16 };
    framed.div_ceil(step) * step
}

/// A secret in clear.
pub struct Plaintext {
    /// Header room, length, value, zeros, tag room.
    buffer: Zeroizing<Vec<u8>>,
    length: usize,
    live: Live,
}

/// A value's buffer in clear, laid out for encryption in place: it counts as a value until it is
/// encrypted, or wiped.
pub(crate) struct Frame {
    buffer: Zeroizing<Vec<u8>>,
    live: Live,
}

impl Frame {
    /// One that is opened in place.
    pub(crate) fn sealed(buffer: Vec<u8>) -> Self {
        Self { buffer: Zeroizing::new(buffer), live: Live::value() }
    }

    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }
}

/// Why a secret could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is nothing.
    #[error("the secret is empty")]
    Empty,
    /// There is too much.
    #[error("the secret is larger than {PAYLOAD_BYTES_MAX} bytes")]
    TooLarge,
    /// The source failed.
    #[error("the secret could not be read")]
    Io(#[source] io::Error),
}

#[expect(clippy::indexing_slicing, reason = "the buffer is made for the value, its frame and tag")]
impl Plaintext {
    /// Reads a secret to the end of `source`, straight into its final buffer: 1 byte to 1 MiB.
    ///
    /// `source` must not buffer (a `File`, not a `BufReader`): its copy would not be wiped.
    pub fn read_from(mut source: impl Read) -> Result<Self, ReadError> {
        // One byte more than is allowed fits, to tell the end from an excess.
        let room = VALUE_AT + bucket(LENGTH_BYTES + PAYLOAD_BYTES_MAX) + TAG_BYTES;
        let mut buffer = Zeroizing::new(vec![0; room]);
        let mut length = 0;
        while length <= PAYLOAD_BYTES_MAX {
            let window = &mut buffer[VALUE_AT + length..=VALUE_AT + PAYLOAD_BYTES_MAX];
            match source.read(window) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ReadError::Io(error)),
            }
        }
        match length {
            0 => Err(ReadError::Empty),
            length if length > PAYLOAD_BYTES_MAX => Err(ReadError::TooLarge),
            length => Ok(Self { buffer, length, live: Live::value() }),
        }
    }

    /// Room for a value of exactly `length` bytes, filled by `fill`: for sources that know how
    /// much they bring, such as a terminal's line or a decoder.
    ///
    /// # Errors
    ///
    /// If `length` is not from 1 byte to 1 MiB.
    pub fn born(length: usize, fill: impl FnOnce(&mut [u8])) -> Result<Self, ReadError> {
        match length {
            0 => return Err(ReadError::Empty),
            length if length > PAYLOAD_BYTES_MAX => return Err(ReadError::TooLarge),
            _ => {}
        }
        let room = HEADER_BYTES + bucket(LENGTH_BYTES + length) + TAG_BYTES;
        let mut buffer = Zeroizing::new(vec![0; room]);
        fill(&mut buffer[VALUE_AT..VALUE_AT + length]);
        Ok(Self { buffer, length, live: Live::value() })
    }

    /// The secret. The one door: a search for `.expose()` is the audit.
    pub fn expose(&self) -> &[u8] {
        &self.buffer[VALUE_AT..VALUE_AT + self.length]
    }

    /// Its length in bytes, 1 to 1 MiB.
    #[expect(clippy::len_without_is_empty, reason = "a secret is never empty")]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// The buffer laid out for encryption in place: `header ‖ frame ‖ tag`.
    pub(crate) fn into_frame(mut self) -> Frame {
        let framed = LENGTH_BYTES + self.length;
        let length = u32::try_from(self.length).expect("a secret is at most 1 MiB");
        self.buffer[HEADER_BYTES..VALUE_AT].copy_from_slice(&length.to_be_bytes());
        // What is cut off was never written: the value ends inside the bucket. One byte may
        // have been read past the bound, but then there is no `Plaintext`.
        self.buffer.truncate(HEADER_BYTES + bucket(framed) + TAG_BYTES);
        Frame { buffer: self.buffer, live: self.live }
    }

    /// Takes a decrypted buffer and checks the frame: length, bucket, zeros.
    pub(crate) fn from_frame(frame: Frame) -> Result<Self, OpenError> {
        let Frame { buffer, live } = frame;
        let end = buffer.len().checked_sub(TAG_BYTES).ok_or(OpenError)?;
        let frame = buffer.get(HEADER_BYTES..end).ok_or(OpenError)?;
        let (length, rest) = frame.split_first_chunk::<LENGTH_BYTES>().ok_or(OpenError)?;
        let length = u32::from_be_bytes(*length) as usize;
        let padding = rest.get(length..).ok_or(OpenError)?;
        let well_formed = (1..=PAYLOAD_BYTES_MAX).contains(&length)
            && frame.len() == bucket(LENGTH_BYTES + length)
            && padding.iter().all(|byte| *byte == 0);
        if well_formed { Ok(Self { buffer, length, live }) } else { Err(OpenError) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proto::limits::CIPHERTEXT_BYTES_MAX;

    use super::*;

    #[test]
    fn passwords_of_all_usual_lengths_look_alike() {
        for length in 1..=60 {
            assert_eq!(bucket(LENGTH_BYTES + length), 64);
        }
        assert_eq!(bucket(65), 128);
        assert_eq!(bucket(4096), 4096);
        assert_eq!(bucket(4097), 4608);
        assert_eq!(bucket(5000), 5120);
        assert_eq!(bucket(8192), 8192);
    }

    #[test]
    fn a_bucket_is_at_most_an_eighth_too_large() {
        for framed in (4097..200_000).step_by(7) {
            let padded = bucket(framed);
            assert!(padded >= framed && padded <= framed + framed / 8 + 1, "{framed} {padded}");
            assert_eq!(bucket(padded), padded, "{framed}");
        }
    }

    #[test]
    fn the_largest_secret_fits_the_largest_ciphertext() {
        let largest = HEADER_BYTES + bucket(LENGTH_BYTES + PAYLOAD_BYTES_MAX) + TAG_BYTES;
        assert!(largest <= CIPHERTEXT_BYTES_MAX, "{largest}");
    }

    #[test]
    fn bounds_hold_at_the_bound_and_one_past_it() {
        let bytes = vec![7; PAYLOAD_BYTES_MAX + 1];
        assert!(matches!(Plaintext::read_from(&bytes[..0]), Err(ReadError::Empty)));
        assert_eq!(Plaintext::read_from(&bytes[..1]).unwrap().expose(), [7]);
        let largest = Plaintext::read_from(&bytes[..PAYLOAD_BYTES_MAX]).unwrap();
        assert_eq!(largest.expose(), &bytes[..PAYLOAD_BYTES_MAX]);
        assert!(matches!(Plaintext::read_from(&bytes[..]), Err(ReadError::TooLarge)));
        assert!(matches!(Plaintext::born(0, |_| ()), Err(ReadError::Empty)));
        assert!(matches!(Plaintext::born(PAYLOAD_BYTES_MAX + 1, |_| ()), Err(ReadError::TooLarge)));
    }

    #[test]
    fn a_value_is_counted_while_it_is_in_a_frame() {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let counted = || COUNT.load(Ordering::Relaxed);
        let live = Live::one_of(&COUNT);
        let value = Plaintext { live, ..Plaintext::born(10, |bytes| bytes.fill(9)).unwrap() };
        let frame = value.into_frame();
        assert_eq!(counted(), 1, "on its way to be encrypted");
        let value = Plaintext::from_frame(frame).unwrap();
        assert_eq!(counted(), 1, "decrypted");
        drop(value);
        assert_eq!(counted(), 0);
    }

    #[test]
    fn a_frame_must_be_whole() {
        let frame = || Plaintext::born(10, |bytes| bytes.fill(9)).unwrap().into_frame();
        assert_eq!(Plaintext::from_frame(frame()).unwrap().expose(), [9; 10]);
        let tamper = |at: usize, to: u8| {
            let mut tampered = frame();
            tampered.buffer()[at] = to;
            Plaintext::from_frame(tampered).is_err()
        };
        assert!(tamper(HEADER_BYTES + 3, 0), "no length");
        assert!(tamper(HEADER_BYTES + 3, 61), "longer than the frame");
        assert!(tamper(HEADER_BYTES + 3, 9), "a value cut short leaves a byte in the padding");
        assert!(tamper(HEADER_BYTES + 40, 1), "padding that is not zero");
        let mut long = frame();
        long.buffer().extend_from_slice(&[0; 64]);
        assert!(Plaintext::from_frame(long).is_err(), "a bucket too large");
        assert!(Plaintext::from_frame(Frame::sealed(vec![0; 10])).is_err());
    }
}
