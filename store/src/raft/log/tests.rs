//! The log on a disk that forgets: groups, crashes at every change, every kind of damage.

use std::sync::mpsc::{self, Receiver};

use proto::id::{Incarnation, Realm};
use seal::LogKey;

use super::*;
use crate::disk::SimulatedDisk;

fn keys() -> Arc<LogKeys> {
    let key = LogKey::make();
    let (id, disk) = (key.id(), seal_disk(1));
    Arc::new(LogKeys::new(disk, vec![key.into()], id))
}

fn seal_disk(member: u64) -> seal::Disk {
    seal::Disk {
        realm: Realm::from_bytes([1; 16]),
        incarnation: Incarnation(1),
        member: MemberId(member),
    }
}

fn entry(index: u64, size: usize) -> LogEntry {
    let place = RecordPlace { term: 1, leader: MemberId(1), index };
    LogEntry { place, bytes: vec![u8::try_from(index % 251).unwrap(); size].into() }
}

struct Log {
    disk: SimulatedDisk,
    keys: Arc<LogKeys>,
    opened: Opened,
    writer: LogWriter,
    reader: LogReader,
    fatal: Receiver<String>,
}

impl Log {
    fn open(disk: &SimulatedDisk, keys: &Arc<LogKeys>) -> Result<Self, LogError> {
        let (tell, fatal) = mpsc::channel();
        let fatal_hook = Box::new(move |error: &LogError| drop(tell.send(error.to_string())));
        let (opened, writer, reader) = open(Arc::new(disk.clone()), keys.clone(), fatal_hook)?;
        Ok(Self { disk: disk.clone(), keys: keys.clone(), opened, writer, reader, fatal })
    }

    fn new() -> Self {
        Self::open(&SimulatedDisk::new(), &keys()).unwrap()
    }

    fn wait(&self, job: impl FnOnce(&LogWriter, Done)) -> io::Result<()> {
        let (tell, told) = mpsc::channel();
        job(&self.writer, Box::new(move |outcome| drop(tell.send(outcome))));
        told.recv().unwrap()
    }

    fn append(&self, entries: Vec<LogEntry>) {
        self.wait(|writer, done| writer.append(entries, done)).unwrap();
    }

    fn vote(&self, vote: &'static [u8]) {
        self.wait(|writer, done| writer.save_vote(Bytes::from_static(vote), done)).unwrap();
    }

    fn truncate(&self, last: Option<u64>) {
        let last = last.map(|index| entry(index, 0).place);
        self.wait(|writer, done| writer.truncate_after(last, done)).unwrap();
    }

    fn purge(&self, index: u64, link: Option<Link>) {
        let place = entry(index, 0).place;
        self.wait(|writer, done| writer.purge(place, link, done)).unwrap();
    }

    fn link(&self, index: u64) -> Link {
        let (tell, told) = mpsc::channel();
        self.writer.link_at(
            index,
            Box::new(move |link| {
                let _unheard = tell.send(link);
            }),
        );
        told.recv().unwrap().unwrap()
    }

    /// Stops the writer, so that the head is written, and opens the disk again.
    fn reopen(self) -> Self {
        let Self { disk, keys, writer, .. } = self;
        writer.stop();
        Self::open(&disk, &keys).unwrap()
    }

    fn closed(self) -> (SimulatedDisk, Arc<LogKeys>) {
        self.writer.stop();
        (self.disk, self.keys)
    }
}

fn indexes(log: &Log) -> Vec<u64> {
    let first = log.opened.purged.map_or(0, |place| place.index + 1);
    let last = log.opened.last.map_or(0, |place| place.index + 1);
    (first..last).collect()
}

#[test]
fn entries_of_every_size_come_back() {
    let log = Log::new();
    let piece = VALUE_BYTES_MAX;
    let sizes = [0, 1, 200, piece - 200, piece, piece + 1, 3 * piece, GROUP_BYTES_MAX, 1 << 20];
    let entries: Vec<_> = (0..).zip(sizes).map(|(i, size)| entry(i, size)).collect();
    log.append(entries.clone());
    let log = log.reopen();
    assert_eq!(log.opened.last, entries.last().map(|entry| entry.place));
    for entry in entries {
        assert_eq!(log.reader.read(entry.place.index).unwrap().unwrap().0, entry);
    }
    assert!(log.reader.read(99).unwrap().is_none());
}

#[test]
fn waiting_jobs_share_a_sync() {
    let log = Log::new();
    let before = log.disk.syncs();
    // The first job holds the writer's attention while the others queue up behind it.
    let (tell, told) = mpsc::channel();
    for index in 0..64 {
        let tell = tell.clone();
        let done = Box::new(move |outcome: io::Result<()>| drop(tell.send(outcome)));
        log.writer.append(vec![entry(index, 200)], done);
    }
    drop(tell);
    assert_eq!(told.iter().flatten().count(), 64);
    let syncs = log.disk.syncs() - before;
    assert!(syncs < 32, "{syncs} syncs for 64 entries");
}

#[test]
fn nothing_is_reported_before_a_sync() {
    let log = Log::new();
    for index in 0..20 {
        let before = log.disk.syncs();
        log.append(vec![entry(index, 100)]);
        assert!(log.disk.syncs() > before);
        // What was reported survives a power cut that keeps nothing unsynced.
        let after = Log::open(&log.disk.cut(0), &log.keys).unwrap();
        assert_eq!(after.opened.last.unwrap().index, index);
    }
}

#[test]
fn a_large_group_is_synced_in_bounded_steps() {
    let log = Log::new();
    let before = log.disk.syncs();
    log.append(vec![entry(0, 2 << 20)]);
    let syncs = log.disk.syncs() - before;
    assert!(syncs >= 8, "{syncs} syncs for 2 MiB");
}

#[test]
fn votes_and_committed_survive() {
    let log = Log::new();
    log.vote(b"one");
    log.append(vec![entry(0, 10)]);
    log.vote(b"two");
    log.writer.save_committed(entry(0, 0).place);
    let log = log.reopen();
    assert_eq!(log.opened.vote.as_deref(), Some(&b"two"[..]));
    assert_eq!(log.opened.committed, Some(entry(0, 0).place));
}

#[test]
fn a_truncated_log_goes_on_from_there() {
    let log = Log::new();
    log.append((0..10).map(|i| entry(i, 5000)).collect());
    log.truncate(Some(4));
    let other = LogEntry {
        place: RecordPlace { term: 2, leader: MemberId(2), index: 5 },
        bytes: Bytes::from_static(b"other"),
    };
    log.append(vec![other.clone()]);
    let log = log.reopen();
    assert_eq!(indexes(&log), (0..=5).collect::<Vec<_>>());
    assert_eq!(log.reader.read(5).unwrap().unwrap().0, other);
    log.truncate(None);
    let log = log.reopen();
    assert_eq!(log.opened.last, None);
    assert_eq!(log.disk.keys().iter().filter(|k| matches!(k, Key::Log { .. })).count(), 0);
}

#[test]
fn a_power_cut_in_a_truncation_leaves_a_whole_log() {
    // More pieces than one removal takes: the cuts fall inside of records.
    for removals in 0..3 {
        let log = Log::new();
        log.append((0..6).map(|i| entry(i, 1 << 20)).collect());
        log.disk.fail_after(removals);
        let last = Some(entry(1, 0).place);
        assert!(log.wait(|writer, done| writer.truncate_after(last, done)).is_err());
        for survivors in 0..=log.disk.pending() {
            let after = Log::open(&log.disk.cut(survivors), &log.keys).unwrap();
            let end = after.opened.last.unwrap().index;
            assert!((1..6).contains(&end), "{removals} removals, {survivors} survivors: {end}");
            after.append(vec![entry(end + 1, 10)]);
            assert_eq!(after.reopen().opened.last.unwrap().index, end + 1);
        }
    }
}

#[test]
fn how_far_it_is_committed_goes_with_the_head_and_at_the_end() {
    let log = Log::new();
    log.append(vec![entry(0, 10)]);
    log.writer.save_committed(entry(0, 0).place);
    let log = log.reopen();
    assert_eq!(log.opened.committed, Some(entry(0, 0).place), "stopping keeps it");

    log.append(vec![entry(1, 10)]);
    log.writer.save_committed(entry(1, 0).place);
    let began = Instant::now();
    loop {
        let after = Log::open(&log.disk.cut(0), &log.keys).unwrap();
        if after.opened.committed == Some(entry(1, 0).place) {
            break;
        }
        assert!(began.elapsed().as_secs() < 60, "the next look at the head keeps it");
    }
}

#[test]
fn a_purged_log_keeps_its_chain() {
    let log = Log::new();
    log.append((0..2000).map(|i| entry(i, 20)).collect());
    let link = log.link(1500);
    log.purge(1500, None);
    let log = log.reopen();
    assert_eq!(indexes(&log), (1501..2000).collect::<Vec<_>>());
    assert_eq!(log.link(1500), link);
    log.append(vec![entry(2000, 1)]);
    let log = log.reopen();
    let kept = log.disk.keys().iter().filter(|k| matches!(k, Key::Log { .. })).count();
    assert_eq!(kept, 500);
}

/// Appends entries of 1 MiB up to `end`, each of which queues the next but one.
fn append_without_rest(writer: &Arc<LogWriter>, index: u64, end: u64, tell: Sender<()>) {
    let again = writer.clone();
    let done = move |outcome: io::Result<()>| {
        outcome.unwrap();
        if index == end {
            tell.send(()).unwrap();
        } else if index + 2 <= end {
            append_without_rest(&again, index + 2, end, tell);
        }
    };
    writer.append(vec![entry(index, 1 << 20)], Box::new(done));
}

#[test]
fn a_purge_ends_though_the_writer_never_rests() {
    let log = Log::new();
    log.append((0..20).map(|i| entry(i, 1 << 20)).collect());
    let last = entry(18, 0).place;
    let Log { writer, disk, fatal: _fatal, .. } = log;
    let writer = Arc::new(writer);
    let (tell, told) = mpsc::channel();
    writer.purge(last, None, Box::new(|outcome| outcome.unwrap()));
    append_without_rest(&writer, 20, 60, tell.clone());
    append_without_rest(&writer, 21, 60, tell);
    told.recv().unwrap();
    let kept = |key: &Key| matches!(key, Key::Log { index, .. } if *index <= last.index);
    assert_eq!(disk.keys().iter().filter(|key| kept(key)).count(), 0);
}

#[test]
fn a_snapshot_beyond_the_log_starts_it_anew() {
    let log = Log::new();
    log.append((0..5).map(|i| entry(i, 20)).collect());
    log.purge(100, Some([7; 32]));
    log.append(vec![entry(101, 3)]);
    let log = log.reopen();
    assert_eq!(indexes(&log), [101]);
    assert_eq!(log.link(100), [7; 32]);
    assert_eq!(
        log.link(101),
        seal::chain_link(&[7; 32], entry(101, 3).place, &entry(101, 3).bytes)
    );
}

#[test]
fn a_power_cut_at_any_change_loses_nothing_that_was_reported() {
    let log = Log::new();
    log.append((0..5).map(|i| entry(i, 100)).collect());
    // Large enough for several puts, none of which is reported.
    let (tell, told) = mpsc::channel();
    log.disk.fail_after(2);
    let done = Box::new(move |outcome: io::Result<()>| {
        let _unheard = tell.send(outcome.is_ok());
    });
    log.writer.append((5..8).map(|i| entry(i, 300_000)).collect(), done);
    assert!(!told.recv().unwrap());
    assert!(log.fatal.recv().unwrap().contains("make durable"));
    for survivors in 0..=log.disk.pending() {
        let after = Log::open(&log.disk.cut(survivors), &log.keys).unwrap();
        let last = after.opened.last.unwrap().index;
        assert!(last >= 4, "{survivors} survivors: {last}");
        for index in 0..=last {
            assert_eq!(after.reader.read(index).unwrap().unwrap().0.place.index, index);
        }
        // What was cut short does not stand in the way of what comes next.
        after.append(vec![entry(last + 1, 10)]);
        assert_eq!(after.reopen().opened.last.unwrap().index, last + 1);
    }
}

#[test]
fn a_failed_sync_is_the_end() {
    let log = Log::new();
    log.append(vec![entry(0, 10)]);
    log.disk.fail_after(0);
    assert!(log.wait(|writer, done| writer.append(vec![entry(1, 10)], done)).is_err());
    assert!(log.fatal.recv().unwrap().contains("make durable"));
    // Nothing is tried again, even if it would work now.
    log.disk.fail_after(1000);
    assert!(log.wait(|writer, done| writer.append(vec![entry(1, 10)], done)).is_err());
    assert_eq!(Log::open(&log.disk.cut(0), &log.keys).unwrap().opened.last.unwrap().index, 0);
}

#[test]
fn every_damaged_byte_is_noticed() {
    let log = Log::new();
    log.vote(b"vote");
    log.append((0..3).map(|i| entry(i, 50)).collect());
    log.append(vec![entry(3, 20_000)]);
    log.purge(0, None);
    let (disk, keys) = log.closed();
    let mut tried = 0;
    for key in disk.keys() {
        for at in (0..64).chain((64..9000).step_by(997)) {
            let copy = disk.cut(0);
            let before = copy.get(key).unwrap().unwrap();
            if at >= before.len() {
                continue;
            }
            copy.damage(key, at);
            assert!(Log::open(&copy, &keys).is_err(), "{key:?} byte {at}");
            tried += 1;
        }
    }
    assert!(tried > 200, "{tried}");
}

#[test]
fn a_lost_tail_a_hole_and_a_lost_vote_are_told() {
    let log = Log::new();
    log.vote(b"vote");
    log.append((0..10).map(|i| entry(i, 50)).collect());
    let (disk, keys) = log.closed();
    let lost = |indexes: std::ops::Range<u64>| {
        let copy = disk.cut(0);
        copy.lose(&indexes.map(|index| Key::Log { index, piece: 0 }).collect::<Vec<_>>());
        Log::open(&copy, &keys).map(|_| ()).unwrap_err().to_string()
    };
    assert!(lost(8..10).starts_with("the log ends at record 7 though record 9 was durable"));
    assert!(lost(0..10).contains("though record 9 was durable"));
    assert!(lost(4..6).starts_with("log record 4 is missing"));
    for text in [lost(8..10), lost(4..6)] {
        assert!(text.contains("docs/operations/replace-manager.md"), "{text}");
    }
    let copy = disk.cut(0);
    copy.lose(&[Key::Meta(META_VOTE)]);
    let text = Log::open(&copy, &keys).map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("`vote` value"), "{text}");
}

#[test]
fn a_log_without_its_head_is_not_taken_for_a_new_one() {
    let log = Log::new();
    log.append(vec![entry(0, 10)]);
    let (disk, keys) = log.closed();
    for block in 0..HEAD_BLOCKS {
        disk.write_head(block, &[]).unwrap();
    }
    assert!(matches!(Log::open(&disk, &keys), Err(LogError::Head)));
    for block in 0..HEAD_BLOCKS {
        disk.write_head(block, &[9; 500]).unwrap();
    }
    assert!(matches!(Log::open(&disk, &keys), Err(LogError::Head)));
}

#[test]
fn a_torn_head_block_leaves_the_other() {
    for torn in 0..HEAD_BLOCKS {
        let log = Log::new();
        for index in 0..5 {
            log.vote(b"x");
            log.append(vec![entry(index, 10)]);
        }
        let (disk, keys) = log.closed();
        let mut block = disk.read_head(torn).unwrap();
        block[40] ^= 1;
        disk.write_head(torn, &block).unwrap();
        assert_eq!(Log::open(&disk, &keys).unwrap().opened.last.unwrap().index, 4);
    }
}

#[test]
fn another_managers_disk_does_not_open() {
    let log = Log::new();
    log.append(vec![entry(0, 10)]);
    let (disk, keys) = log.closed();
    let key = LogKey::make();
    let id = key.id();
    let strange = Arc::new(LogKeys::new(seal_disk(1), vec![key.into()], id));
    assert!(Log::open(&disk, &strange).is_err(), "another key");
    drop(keys);
}

#[test]
fn records_swapped_between_places_are_noticed() {
    let log = Log::new();
    log.append((0..3).map(|i| entry(i, 50)).collect());
    let (disk, keys) = log.closed();
    let (one, two) = (Key::Log { index: 1, piece: 0 }, Key::Log { index: 2, piece: 0 });
    let (first, second) = (disk.get(one).unwrap().unwrap(), disk.get(two).unwrap().unwrap());
    disk.put(vec![(one, second), (two, first)]).unwrap();
    disk.sync().unwrap();
    assert!(matches!(Log::open(&disk, &keys), Err(LogError::Damaged { index: 1 })));
}

#[test]
fn after_a_rewrite_only_records_are_under_the_key_before() {
    let (old, new) = (Arc::new(LogKey::make()), Arc::new(LogKey::make()));
    let keys = Arc::new(LogKeys::new(seal_disk(1), vec![old.clone()], old.id()));
    let log = Log::open(&SimulatedDisk::new(), &keys).unwrap();
    log.vote(b"vote");
    log.append((0..40).map(|i| entry(i, 5000)).collect());
    log.purge(2, None);
    log.writer.save_committed(entry(30, 0).place);
    // It waits in the queue, sealed by nothing yet, when the key changes.
    let (tell, told) = mpsc::channel();
    let done = Box::new(move |outcome: io::Result<()>| drop(tell.send(outcome)));
    log.writer.append(vec![entry(40, 10)], done);
    keys.use_key(new.clone());
    log.wait(LogWriter::rewrite).unwrap();
    told.recv().unwrap().unwrap();
    log.append(vec![entry(41, 10)]);

    let ids = log.reader.key_ids(Some(2), Some(41)).unwrap();
    assert_eq!(ids.metas, [Some(new.id()); 3]);
    assert_eq!(ids.heads, [Some(new.id()); HEAD_BLOCKS]);
    assert_eq!(ids.oldest_record, Some(old.id()));
    let end = ids.last_old_record.unwrap();
    assert!((39..=40).contains(&end), "{end}");
    // With both keys all of it opens, with either alone it does not.
    let (disk, _) = log.closed();
    let both = Arc::new(LogKeys::new(seal_disk(1), vec![old.clone(), new.clone()], new.id()));
    let again = Log::open(&disk, &both).unwrap();
    assert_eq!(indexes(&again), (3..=41).collect::<Vec<_>>());
    assert_eq!(again.opened.vote.as_deref(), Some(&b"vote"[..]));
    assert_eq!(again.opened.committed, Some(entry(30, 0).place));
    again.purge(end, None);
    let (disk, _) = again.closed();
    for (key, opens) in [(old, false), (new, true)] {
        let alone = Arc::new(LogKeys::new(seal_disk(1), vec![key.clone()], key.id()));
        assert_eq!(Log::open(&disk, &alone).is_ok(), opens);
    }
}

#[test]
fn the_chain_is_the_same_on_every_manager() {
    let link = |entries: std::ops::Range<u64>| {
        let log = Log::new();
        log.append(entries.map(|i| entry(i, 50)).collect());
        log.link(4)
    };
    assert_eq!(link(0..5), link(0..9));
}
