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
    begin(&mut journal);
    write_all(&mut journal, 4..=5);
    assert_eq!(kept.open().unwrap().1, [1, 2, 3, 4, 5]);
    // The first half again: what was in it is gone, also what new frames do not cover.
    begin(&mut journal);
    write_all(&mut journal, 6..=6);
    assert_eq!(kept.open().unwrap().1, [4, 5, 6]);
}

#[test]
fn an_emptied_journal_is_empty_and_goes_on() {
    let kept = Kept::new();
    let (mut journal, _) = kept.open().unwrap();
    write_all(&mut journal, 1..=3);
    begin(&mut journal);
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
    begin(&mut journal);
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
        begin(&mut journal);
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
    begin(&mut journal);
    write_all(&mut journal, 4..=5);
    begin(&mut journal);
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
    begin(&mut journal);
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
    begin(&mut journal);
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

/// The parts of a file that a power cut keeps or loses one by one.
const SECTOR_BYTES: usize = 512;

fn changed_sectors(before: &[u8], after: &[u8]) -> Vec<usize> {
    let range = |sector: usize| sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
    let all = 0..before.len() / SECTOR_BYTES;
    all.filter(|sector| before[range(*sector)] != after[range(*sector)]).collect()
}

fn keep(before: &[u8], after: &[u8], sectors: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let mut torn = before.to_vec();
    for sector in sectors {
        let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
        torn[range.clone()].copy_from_slice(&after[range]);
    }
    torn
}

/// The first frame of a half that had frames before is the one that lies over old ones.
#[test]
fn a_first_frame_torn_anywhere_over_older_ones_leaves_the_other_half() {
    let kept = Kept::new();
    let (mut journal, _) = kept.open().unwrap();
    for number in 1..=4 {
        journal.write(&mut frame(number, 100)).unwrap();
        journal.sync().unwrap();
    }
    begin(&mut journal);
    write_all(&mut journal, 5..=6);
    begin(&mut journal);
    let before = kept.bytes();
    write_all(&mut journal, [7]);
    let after = kept.bytes();
    let changed = changed_sectors(&before, &after);
    assert!(changed.len() > 8, "{changed:?}");
    let only = changed.iter().map(|sector| vec![*sector]);
    let all_but = changed
        .iter()
        .map(|lost| changed.iter().copied().filter(|sector| sector != lost).collect());
    let page = |first: bool| {
        let at = changed.iter().copied();
        at.filter(|sector| (*sector < PAGE_BYTES / SECTOR_BYTES) == first).collect::<Vec<_>>()
    };
    for sectors in only.chain(all_but).chain([vec![], page(true), page(false)]) {
        kept.write(&keep(&before, &after, sectors.iter().copied()));
        let opened = kept.open().map(|(_, frames)| frames);
        assert_eq!(opened.ok(), Some(vec![5, 6]), "{sectors:?}");
    }
    kept.write(&after);
    assert_eq!(kept.open().unwrap().1, [5, 6, 7]);
}

/// Giving it up may be cut anywhere: what is left is all, the newer part, or nothing. The older part
/// alone would take back what came after it.
#[test]
fn a_journal_given_up_in_part_is_never_the_older_part() {
    for halves in [1, 2, 3] {
        let kept = Kept::new();
        let (mut journal, _) = kept.open().unwrap();
        let mut expected = vec![vec![]];
        for half in 0..halves {
            if half > 0 {
                begin(&mut journal);
            }
            let numbers = half * 2 + 1..=half * 2 + 2;
            write_all(&mut journal, numbers.clone());
            expected.push(numbers.collect::<Vec<u8>>());
        }
        let newest = expected.pop().unwrap();
        let all: Vec<u8> = expected.pop().into_iter().flatten().chain(newest.clone()).collect();
        // As on opening, when which half is the older one is read from the file.
        let (mut journal, _) = kept.open().unwrap();
        let mut stages = vec![kept.bytes()];
        journal.reset_by_stages(|| stages.push(kept.bytes())).unwrap();
        for pair in stages.windows(2) {
            let changed = changed_sectors(&pair[0], &pair[1]);
            let first = changed.first().copied().into_iter().collect::<Vec<_>>();
            let last = changed.last().copied().into_iter().collect::<Vec<_>>();
            for sectors in [vec![], first, last, changed.clone()] {
                kept.write(&keep(&pair[0], &pair[1], sectors.iter().copied()));
                let left = kept.open().map(|(_, frames)| frames).unwrap();
                let is_fine = left == all || left == newest || left.is_empty();
                assert!(is_fine, "{halves} {sectors:?}: {left:?}");
            }
        }
    }
}

#[test]
fn a_creation_that_was_cut_short_is_begun_anew() {
    let kept = Kept::new();
    let folder = Folder::create_private(kept.folder.path().join("data")).unwrap();
    let unfinished = format!("{NAME}{UNFINISHED}");
    drop(folder.create_new(&unfinished, PRIVATE_FILE_MODE).unwrap());
    assert!(kept.open().unwrap().1.is_empty());
    assert!(!folder.path().join(unfinished).exists());
}

/// The kernel counts lost pages as clean after a failed sync: a second one would lie.
#[test]
fn after_a_failed_write_or_sync_nothing_is_tried_again() {
    for fails_in_writing in [true, false] {
        let kept = Kept::new();
        let (mut journal, _) = kept.open().unwrap();
        if !fails_in_writing {
            journal.write(&mut frame(1, 10)).unwrap();
        }
        // A pipe takes neither.
        let (pipe, _end) = io::pipe().unwrap();
        let good = std::mem::replace(&mut journal.file, std::os::fd::OwnedFd::from(pipe).into());
        assert!(journal.write(&mut frame(2, 10)).is_err());
        journal.file = good;
        assert!(journal.sync().is_err());
        assert!(journal.write(&mut frame(2, 10)).is_err());
        assert!(journal.begin_half().is_err());
        assert!(journal.reset().is_err());
    }
}

fn begin(journal: &mut Journal) {
    journal.begin_half().unwrap();
}
