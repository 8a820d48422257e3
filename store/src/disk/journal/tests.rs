//! Frames written, torn, damaged, given up: what is read back.

use super::*;

struct Kept {
    folder: tempfile::TempDir,
}

impl Kept {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("data").join(NAME)
    }

    fn open(&self) -> Result<(Journal, Vec<u8>), DiskError> {
        let folder = Folder::create_private(self.folder.path().join("data")).unwrap();
        let (journal, frames) = Journal::open(&folder)?;
        Ok((journal, frames.iter().map(|changes| number_of(changes)).collect()))
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.path()).unwrap()
    }

    fn write(&self, bytes: &[u8]) {
        let file = File::options().write(true).truncate(true).open(self.path()).unwrap();
        file.write_all_at(bytes, 0).unwrap();
    }

    fn refused(&self) {
        let Err(error) = self.open() else { panic!("it opens") };
        assert!(matches!(error, DiskError::Journal { .. }), "{error}");
    }
}

/// A frame with one put whose value tells its number, and one removal.
fn frame(number: u8, bytes: usize) -> Frame {
    let mut frame = Frame::default();
    frame.clear();
    frame.add(0, &[number], Some(&vec![number; bytes]));
    frame.add(1, b"gone", None);
    frame
}

fn number_of(changes: &[Change]) -> u8 {
    let [put, removed] = changes else { panic!("{changes:?}") };
    assert_eq!(*removed, Change { tree: 1, key: b"gone".to_vec(), value: None });
    assert_eq!(put.tree, 0);
    let number = put.key[0];
    assert!(put.value.as_ref().unwrap().iter().all(|byte| *byte == number));
    number
}

fn write_all(journal: &mut Journal, numbers: impl IntoIterator<Item = u8>) {
    for number in numbers {
        journal.write(&mut frame(number, 5000)).unwrap();
        journal.sync().unwrap();
    }
}

#[test]
fn what_was_written_is_read_back_in_order() {
    let kept = Kept::new();
    let (mut journal, frames) = kept.open().unwrap();
    assert!(frames.is_empty());
    write_all(&mut journal, 1..=3);
    journal.begin_half();
    write_all(&mut journal, 4..=5);
    assert_eq!(kept.open().unwrap().1, [1, 2, 3, 4, 5]);
    // The first half again: what was in it is gone, also what new frames do not cover.
    journal.begin_half();
    write_all(&mut journal, 6..=6);
    assert_eq!(kept.open().unwrap().1, [4, 5, 6]);
}

#[test]
fn an_emptied_journal_is_empty_and_goes_on() {
    let kept = Kept::new();
    let (mut journal, _) = kept.open().unwrap();
    write_all(&mut journal, 1..=3);
    journal.begin_half();
    write_all(&mut journal, 4..=5);
    journal.reset().unwrap();
    assert!(kept.bytes().iter().all(|byte| *byte == 0));
    write_all(&mut journal, 6..=7);
    assert_eq!(kept.open().unwrap().1, [6, 7]);
}

#[test]
fn a_half_takes_what_fits_and_not_a_page_more() {
    let kept = Kept::new();
    let (mut journal, _) = kept.open().unwrap();
    let pages = HALF_BYTES / PAGE_BYTES;
    for _ in 1..pages {
        journal.write(&mut frame(1, 100)).unwrap();
    }
    assert!(!journal.has_room(&frame(2, PAGE_BYTES)));
    assert!(journal.has_room(&frame(2, 100)));
    journal.write(&mut frame(2, 100)).unwrap();
    assert!(!journal.has_room(&frame(3, 100)));
    journal.begin_half();
    write_all(&mut journal, 3..=3);
    let (_, frames) = kept.open().unwrap();
    assert_eq!((frames.len(), frames[pages - 1], frames[pages]), (pages + 1, 2, 3));
}

/// A power cut while the last frame was written: any of its pages may be old or new.
#[test]
fn a_torn_frame_is_as_if_it_had_not_been_written() {
    let kept = Kept::new();
    let (mut journal, _) = kept.open().unwrap();
    for (whole, last) in [(vec![1, 2], 3), (vec![2, 3, 4], 5), (vec![4, 5, 6, 7], 8)] {
        // Each round begins a half, the third one over what the first one left.
        write_all(&mut journal, whole.iter().skip(1).copied());
        let before = kept.bytes();
        write_all(&mut journal, [last]);
        let after = kept.bytes();
        let changed: Vec<_> = (0..before.len() / 512)
            .filter(|sector| {
                let range = sector * 512..(sector + 1) * 512;
                before[range.clone()] != after[range]
            })
            .collect();
        let only = changed.iter().map(|sector| vec![*sector]);
        let all_but = changed.iter().map(|lost| {
            changed.iter().copied().filter(|sector| sector != lost).collect::<Vec<_>>()
        });
        for survivors in only.chain(all_but).chain([vec![], changed.clone()]) {
            let mut torn = before.clone();
            for sector in &survivors {
                let range = sector * 512..(sector + 1) * 512;
                torn[range.clone()].copy_from_slice(&after[range]);
            }
            kept.write(&torn);
            let (_, frames) = kept.open().unwrap();
            assert_eq!(frames.last() == Some(&last), torn == after, "{survivors:?}: {frames:?}");
        }
        kept.write(&after);
        journal = reopened(&kept, journal);
        journal.begin_half();
    }
}

/// The same journal on the file as it is now.
fn reopened(kept: &Kept, journal: Journal) -> Journal {
    Journal { file: open_for_update(&kept.path()).unwrap(), ..journal }
}

#[test]
fn a_first_frame_that_is_torn_leaves_the_other_half() {
    let kept = Kept::new();
    let (mut journal, _) = kept.open().unwrap();
    write_all(&mut journal, 1..=3);
    journal.begin_half();
    write_all(&mut journal, 4..=5);
    journal.begin_half();
    let before = kept.bytes();
    write_all(&mut journal, [6]);
    let after = kept.bytes();
    for end in [24, 40, 64, 512, 4096] {
        let mut torn = before.clone();
        torn[..end].copy_from_slice(&after[..end]);
        kept.write(&torn);
        assert_eq!(kept.open().unwrap().1, [4, 5], "{end}");
    }
}

#[test]
fn a_frame_lost_from_the_middle_is_told() {
    let kept = Kept::new();
    let (mut journal, _) = kept.open().unwrap();
    write_all(&mut journal, 1..=3);
    let whole = kept.bytes();
    for at in [0, 17, 50, 70, 5000, 8192, 8192 + 30, 8192 + 64] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        kept.write(&damaged);
        kept.refused();
    }
}

#[test]
fn a_last_frame_lost_from_the_older_half_is_told() {
    let kept = Kept::new();
    let (mut journal, _) = kept.open().unwrap();
    write_all(&mut journal, 1..=2);
    journal.begin_half();
    write_all(&mut journal, 3..=3);
    let mut damaged = kept.bytes();
    damaged[8192 + 100] ^= 1;
    kept.write(&damaged);
    kept.refused();
}

#[test]
fn a_first_frame_lost_from_the_newer_half_is_told() {
    let kept = Kept::new();
    let (mut journal, _) = kept.open().unwrap();
    write_all(&mut journal, 1..=2);
    journal.begin_half();
    write_all(&mut journal, 3..=4);
    let mut damaged = kept.bytes();
    damaged[HALF_BYTES + 100] ^= 1;
    kept.write(&damaged);
    kept.refused();
}

#[test]
fn a_shorter_file_is_refused() {
    let kept = Kept::new();
    drop(kept.open().unwrap());
    let bytes = kept.bytes();
    assert_eq!(bytes.len(), HALVES * HALF_BYTES);
    kept.write(&bytes[1..]);
    kept.refused();
}
