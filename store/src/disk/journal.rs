//! The journal: what sled does not hold durably yet, one write and one sync a group.
//!
//! A flush of sled costs several times what the disk needs. So a group of changes goes into one
//! frame of this preallocated file first, and is durable with it; sled takes the changes over
//! later, many groups at a time (disk::settle). The file has two halves. While the changes of one
//! are taken over, frames go into the other; a half is begun anew only when nothing in it is
//! needed any more.
//!
//! ```text
//! frame  = header (64) ‖ changes ‖ zeros up to a whole page
//! header = "secretd journal1" (16) ‖ epoch (8) ‖ number (8) ‖ before (8) ‖ length (4) ‖ zeros (4)
//!          ‖ check (16)
//! change = tree (1) ‖ put or remove (1) ‖ key length (2) ‖ value length (4) ‖ key ‖ value
//! ```
//!
//! The epoch rises whenever a half is begun, so that old frames behind new ones are told from
//! them; `before` is how many frames the epoch before had; `check` is the start of a SHA-256 and
//! tells a torn frame. A frame starts on a page of its
//! own: writing one never rewrites, and so never tears, one that was acknowledged. A half whose
//! first header is zeros is *void*: it is made so, durably and within one sector, before it is
//! begun anew. When the journal is given up, the older half is void before the newer one is: the
//! older alone would take back what came after it.
//!
//! Not here: what a change means; secrecy and authenticity (values are sealed records).
//!
//! Invariant: after [`Journal::sync`] every frame written is read back by the next
//! [`Journal::open`], in order. Of the frame that was being written all or nothing is.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use sys::file::{Folder, PRIVATE_FILE_MODE};

use super::{DiskError, UNFINISHED};

/// Its name in the data folder.
pub(super) const NAME: &str = "journal";

/// Frames start at multiples of this: what the kernel and the disk write as one.
const PAGE_BYTES: usize = 4 << 10;

/// Bytes of one half: sixteen groups of the largest size, or a thousand of one small entry.
pub(super) const HALF_BYTES: usize = 4 << 20;

const HALVES: usize = 2;

const MAGIC: &[u8; 16] = b"secretd journal1";
const HEADER_BYTES: usize = 64;
const CHECKED_BYTES: usize = 48;

/// What happens to one key of one tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// Which tree.
    pub(super) tree: u8,
    pub(super) key: Vec<u8>,
    /// Its new value, or none if it is removed.
    pub(super) value: Option<Vec<u8>>,
}

/// Where a frame stands among all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    epoch: u64,
    /// Counts the frames of this epoch.
    number: u64,
    /// How many frames the epoch before had.
    before: u64,
}

/// A frame that is being put together.
#[derive(Default)]
pub(super) struct Frame {
    bytes: Vec<u8>,
}

impl Frame {
    /// Forgets what was in it, and keeps the room.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.resize(HEADER_BYTES, 0);
    }

    /// Adds a change.
    ///
    /// # Panics
    ///
    /// If a key or value is longer than any that is made here.
    pub(super) fn add(&mut self, tree: u8, key: &[u8], value: Option<&[u8]>) {
        let key_length = u16::try_from(key.len()).expect("keys have a few bytes");
        let length = value.map_or(0, <[u8]>::len);
        let length = u32::try_from(length).expect("values have at most a page");
        self.bytes.push(tree);
        self.bytes.push(value.is_some().into());
        self.bytes.extend_from_slice(&key_length.to_be_bytes());
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
    }

    /// Bytes it takes in the file.
    pub(super) fn size(&self) -> usize {
        self.bytes.len().next_multiple_of(PAGE_BYTES)
    }

    fn finish(&mut self, place: Place) -> &[u8] {
        let length = self.bytes.len().saturating_sub(HEADER_BYTES);
        let length = u32::try_from(length).expect("a frame fits a half");
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&place.epoch.to_be_bytes());
        header.extend_from_slice(&place.number.to_be_bytes());
        header.extend_from_slice(&place.before.to_be_bytes());
        header.extend_from_slice(&length.to_be_bytes());
        header.resize(CHECKED_BYTES, 0);
        if let Some((start, changes)) = self.bytes.split_at_mut_checked(HEADER_BYTES) {
            header.extend_from_slice(&check(&header, changes));
            start.copy_from_slice(&header);
        }
        self.bytes.resize(self.size(), 0);
        &self.bytes
    }
}

/// The start of SHA-256: enough to tell a torn frame from a whole one.
fn check(header: &[u8], changes: &[u8]) -> [u8; 16] {
    let digest = seal::digest_of_parts(&[header, changes]);
    *digest.first_chunk().expect("a digest has 32 bytes")
}

/// A frame as found in the file.
struct Found<'a> {
    place: Place,
    changes: &'a [u8],
}

impl Found<'_> {
    /// The whole frame at the start of `bytes`, if one is there.
    fn at(bytes: &[u8]) -> Option<Found<'_>> {
        let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
        let (checked, expected) = header.split_at_checked(CHECKED_BYTES)?;
        let fields = checked.strip_prefix(MAGIC)?;
        let (epoch, fields) = fields.split_first_chunk::<8>()?;
        let (number, fields) = fields.split_first_chunk::<8>()?;
        let (before, fields) = fields.split_first_chunk::<8>()?;
        let (length, _) = fields.split_first_chunk::<4>()?;
        let changes = rest.get(..u32::from_be_bytes(*length) as usize)?;
        let place = Place {
            epoch: u64::from_be_bytes(*epoch),
            number: u64::from_be_bytes(*number),
            before: u64::from_be_bytes(*before),
        };
        (check(checked, changes) == expected).then_some(Found { place, changes })
    }

    fn size(&self) -> usize {
        (HEADER_BYTES + self.changes.len()).next_multiple_of(PAGE_BYTES)
    }

    fn read(&self) -> Option<Vec<Change>> {
        let mut rest = self.changes;
        let mut changes = Vec::new();
        while let Some(((tree, put), more)) = rest.split_first_chunk::<2>().map(|(head, more)| {
            let [tree, put] = *head;
            ((tree, put == 1), more)
        }) {
            let (key_length, more) = more.split_first_chunk::<2>()?;
            let (value_length, more) = more.split_first_chunk::<4>()?;
            let (key, more) = more.split_at_checked(u16::from_be_bytes(*key_length).into())?;
            let (value, more) = more.split_at_checked(u32::from_be_bytes(*value_length) as usize)?;
            changes.push(Change { tree, key: key.to_vec(), value: put.then(|| value.to_vec()) });
            rest = more;
        }
        rest.is_empty().then_some(changes)
    }
}

/// What one half holds.
#[derive(Default)]
struct Half {
    /// The place of its first frame; none if it has none.
    first: Option<Place>,
    frames: Vec<Vec<Change>>,
    /// The highest epoch of whole frames behind the last one that follows.
    behind: Option<u64>,
    /// Its first header is zeros: it was given up as a whole.
    is_void: bool,
}

impl Half {
    fn read(bytes: &[u8]) -> Self {
        let is_void = bytes.iter().take(HEADER_BYTES).all(|byte| *byte == 0);
        let mut half = Self { is_void, ..Self::default() };
        if is_void {
            half.behind = highest(bytes);
            return half;
        }
        let mut at = 0;
        while let Some(found) = bytes.get(at..).and_then(Found::at) {
            let next = half.frames.len() as u64;
            let follows = found.place.number == next
                && half.first.is_none_or(|first| first.epoch == found.place.epoch);
            let Some(changes) = found.read().filter(|_| follows) else { break };
            half.first.get_or_insert(found.place);
            half.frames.push(changes);
            at += found.size();
        }
        half.behind = bytes.get(at..).and_then(highest);
        half
    }

    fn epoch(&self) -> Option<u64> {
        self.first.map(|first| first.epoch)
    }

    /// Whether a frame is lost that was durable once: one frame at a time is on its way to the
    /// disk, so that behind a torn one there is none of its epoch, and a half is begun only where
    /// the other one is newer than all that is in it.
    fn lost_one(&self, other: &Self) -> bool {
        let (behind, epoch) = (self.behind, self.epoch());
        let newer_than = |other: &Self| other.epoch().map(|epoch| epoch + 1);
        let from_its_middle = behind.is_some() && behind >= epoch.or_else(|| newer_than(other));
        let from_its_end = other.first.is_some_and(|next| {
            epoch.is_some_and(|epoch| epoch + 1 == next.epoch)
                && next.before != self.frames.len() as u64
        });
        !self.is_void && (from_its_middle || from_its_end)
    }
}

/// The highest epoch of the whole frames in there.
fn highest(bytes: &[u8]) -> Option<u64> {
    let pages = (0..bytes.len()).step_by(PAGE_BYTES).filter_map(|at| bytes.get(at..));
    pages.filter_map(Found::at).map(|found| found.place.epoch).max()
}

/// An open journal.
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    /// Where the next frame goes.
    half: usize,
    offset: usize,
    next: Place,
    is_dirty: bool,
    /// A write or a sync failed. The kernel counts lost pages as clean then: nothing is tried again.
    has_failed: bool,
}

impl Journal {
    /// Opens the journal, or makes it; gives what it holds, in order.
    ///
    /// # Errors
    ///
    /// If the file cannot be used, or a frame that was durable cannot be read.
    pub(super) fn open(folder: &Folder) -> Result<(Self, Vec<Vec<Change>>), DiskError> {
        let path = folder.path().join(NAME);
        let failed = |operation| {
            let path = path.clone();
            move |source| DiskError::Io { operation, path, source }
        };
        let file = match folder.open_file(NAME) {
            Ok(_) => open_for_update(&path).map_err(failed("open"))?,
            // Under another name until it is whole: what is cut short is begun anew.
            Err(error) if error.is_not_found() => {
                let unfinished = format!("{NAME}{UNFINISHED}");
                folder.remove_if_there(&unfinished)?;
                let file = folder.create_new(&unfinished, PRIVATE_FILE_MODE)?;
                // Zeros, not a hole: later writes change no metadata, so syncing them is cheap.
                let zeros = vec![0; HALF_BYTES];
                for half in 0..HALVES {
                    let at = (half * HALF_BYTES) as u64;
                    file.write_all_at(&zeros, at).map_err(failed("write"))?;
                }
                file.sync_all().map_err(failed("make durable"))?;
                folder.rename(&unfinished, NAME)?;
                open_for_update(&path).map_err(failed("open"))?
            }
            Err(error) => return Err(error.into()),
        };
        let read = |half: usize| {
            let mut bytes = vec![0; HALF_BYTES];
            match file.read_exact_at(&mut bytes, (half * HALF_BYTES) as u64) {
                Ok(()) => Ok(Half::read(&bytes)),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Err(DiskError::Journal { path: path.clone() })
                }
                Err(source) => Err(failed("read")(source)),
            }
        };
        let mut halves = [read(0)?, read(1)?];
        let [one, other] = &halves;
        if one.lost_one(other) || other.lost_one(one) {
            return Err(DiskError::Journal { path });
        }
        let epochs = halves.iter().flat_map(|half| [half.epoch(), half.behind]);
        let epoch = epochs.flatten().max().unwrap_or(0) + 1;
        // Given up in this order: see `reset`.
        let older = usize::from(one.epoch() > other.epoch());
        halves.sort_by_key(Half::epoch);
        let frames = halves.into_iter().flat_map(|half| half.frames).collect();
        let next = Place { epoch, number: 0, before: 0 };
        let (is_dirty, has_failed) = (false, false);
        Ok((Self { file, path, half: older, offset: 0, next, is_dirty, has_failed }, frames))
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(io::Error) -> DiskError {
        let path = self.path.clone();
        move |source| DiskError::Io { operation, path, source }
    }

    /// Whether a frame still fits the half that is being written.
    pub(super) fn has_room(&self, frame: &Frame) -> bool {
        self.offset + frame.size() <= HALF_BYTES
    }

    /// Goes on in the other half; nothing that is in it may be needed any more.
    pub(super) fn begin_half(&mut self) -> Result<(), DiskError> {
        self.sync()?;
        self.turn();
        // Else a first frame that is torn would leave old frames on both sides of the tear.
        self.void(self.half)
    }

    fn turn(&mut self) {
        self.half = (self.half + 1) % HALVES;
        self.offset = 0;
        self.next = Place { epoch: self.next.epoch + 1, number: 0, before: self.next.number };
    }

    /// Zeros over the header of a half's first frame, durably: within one sector, so that it is
    /// done or not.
    fn void(&mut self, half: usize) -> Result<(), DiskError> {
        self.put(&[0; HEADER_BYTES], half * HALF_BYTES)?;
        self.sync()
    }

    fn put(&mut self, bytes: &[u8], at: usize) -> Result<(), DiskError> {
        self.refuse_failed()?;
        let written = self.file.write_all_at(bytes, at as u64);
        self.has_failed = written.is_err();
        self.is_dirty = true;
        written.map_err(self.failed("write"))
    }

    fn refuse_failed(&self) -> Result<(), DiskError> {
        if self.has_failed {
            let earlier = io::Error::other("an earlier write or sync failed");
            return Err(self.failed("make durable")(earlier));
        }
        Ok(())
    }

    /// Writes a frame; durable after the next [`Self::sync`].
    ///
    /// # Panics
    ///
    /// If there is no room for it: the caller asked.
    pub(super) fn write(&mut self, frame: &mut Frame) -> Result<(), DiskError> {
        assert!(self.has_room(frame), "a half is begun before a frame that does not fit");
        // One at a time: what opening relies on.
        self.sync()?;
        let bytes = frame.finish(self.next);
        self.put(bytes, self.half * HALF_BYTES + self.offset)?;
        self.offset += bytes.len();
        self.next.number += 1;
        Ok(())
    }

    /// Makes everything written survive a power cut.
    pub(super) fn sync(&mut self) -> Result<(), DiskError> {
        self.refuse_failed()?;
        if self.is_dirty {
            let synced = self.file.sync_data();
            self.has_failed = synced.is_err();
            synced.map_err(self.failed("make durable"))?;
            self.is_dirty = false;
        }
        Ok(())
    }

    /// Gives up everything in it, durably: sled holds it. To be called on a journal that was just
    /// opened, or whose half was just begun: the half it stands in is the older one.
    pub(super) fn reset(&mut self) -> Result<(), DiskError> {
        self.reset_by_stages(|| {})
    }

    /// As [`Self::reset`]; `durable` is called after each of its syncs.
    fn reset_by_stages(&mut self, mut durable: impl FnMut()) -> Result<(), DiskError> {
        let older = self.half;
        for half in [older, (older + 1) % HALVES] {
            self.void(half)?;
            durable();
        }
        let zeros = vec![0; HALF_BYTES];
        for half in 0..HALVES {
            self.put(&zeros, half * HALF_BYTES)?;
        }
        self.sync()?;
        durable();
        self.turn();
        Ok(())
    }
}

fn open_for_update(path: &std::path::Path) -> io::Result<File> {
    std::fs::OpenOptions::new().read(true).write(true).open(path)
}

#[cfg(test)]
mod tests;
