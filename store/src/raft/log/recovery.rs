//! Opening the log: every record is read before the manager may serve.
//!
//! What a crash leaves (pieces of a record that was never finished, records that a purge had not
//! got to) is told from damage and removed. Not here: writing.
//!
//! Invariant: a log that opens is contiguous, authentic, chained, and reaches as far as its head
//! says; everything else is an error with the record's index.

use std::sync::{Arc, mpsc};
use std::time::Instant;

use bytes::Bytes;

use super::{
    Anchor, Committed, Fatal, GENESIS, Head, Link, LogError, LogKeys, LogReader, LogStats,
    LogWriter, META_COMMITTED, META_PURGED, META_VOTE, Opened, PURGE_RECORDS, StoredPlace,
    StoredVote, Writer,
};
use crate::disk::{Disk, DiskError, Key};

/// Records read at a time while opening.
const SCAN_KEYS: usize = 4096;

/// Opens the log, checks every record of it, and starts its writer.
///
/// # Errors
///
/// If anything is missing or damaged: the manager must not start.
pub(crate) fn open(
    disk: Arc<dyn Disk>,
    keys: Arc<LogKeys>,
    fatal: Fatal,
) -> Result<(Opened, LogWriter, LogReader), LogError> {
    let reader = LogReader { disk: disk.clone(), keys: keys.clone() };
    let head = reader.head()?;
    let is_new = head.is_none();
    let head = head.unwrap_or_default();
    let vote: Option<StoredVote> = reader.meta(META_VOTE)?;
    if vote.as_ref().map_or(0, |vote| vote.number) < head.vote_number {
        return Err(LogError::Meta { name: META_VOTE });
    }
    let purged: Option<Anchor> = reader.meta(META_PURGED)?;
    let purged_index = purged.map(|anchor| anchor.place.index);
    if purged_index < head.purged.map(|anchor| anchor.place.index) {
        return Err(LogError::Meta { name: META_PURGED });
    }
    let committed: Option<StoredPlace> = reader.meta(META_COMMITTED)?;
    let scanned = scan(&reader, purged, head.last.map(|anchor| anchor.place.index))?;
    if is_new && (vote.is_some() || scanned.last.is_some()) {
        return Err(LogError::Head);
    }
    if let Some(expected) = head.last {
        let found = scanned.last.map_or(0, |last| last.place.index);
        if scanned.last.is_none() || found < expected.place.index {
            return Err(LogError::TailLost { found, expected: expected.place.index });
        }
        if scanned.link_at_head.is_some_and(|link| link != expected.link) {
            return Err(LogError::Chain { index: expected.place.index });
        }
    }
    for some in scanned.leftovers.chunks(PURGE_RECORDS) {
        disk.remove(some.to_vec())?;
        disk.sync()?;
    }
    let opened = Opened {
        purged: purged.map(|anchor| anchor.place.into()),
        last: scanned.last.map(|anchor| anchor.place.into()),
        vote: vote.as_ref().map(|vote| Bytes::from(vote.vote.clone())),
        committed: committed.map(Into::into),
        bytes: scanned.bytes,
    };
    let stats = Arc::new(LogStats::default());
    let (jobs, queue) = mpsc::channel();
    let noted = Arc::new(Committed::default());
    let mut writer = Writer {
        head: Head {
            counter: head.counter,
            last: scanned.last,
            purged,
            vote_number: vote.as_ref().map_or(0, |vote| vote.number),
            vote: vote.map(|vote| vote.vote).unwrap_or_default(),
        },
        disk,
        keys,
        reader: reader.clone(),
        stats: stats.clone(),
        fatal,
        head_written_at: Instant::now(),
        head_dirty: false,
        to_purge: None,
        records_put: 0,
        group: Vec::new(),
        group_bytes: 0,
        waiting: Vec::new(),
        committed: noted.clone(),
        carried_out: 0,
    };
    if is_new {
        // From now on a log without its head is a damaged one.
        writer.write_head()?;
    }
    let thread = std::thread::Builder::new()
        .name("log-writer".into())
        .spawn(move || writer.run(&queue))
        .map_err(|source| {
            LogError::Disk(DiskError::Io { operation: "write", path: "log".into(), source })
        })?;
    Ok((opened, LogWriter::new(jobs, noted, thread, stats), reader))
}

struct Scanned {
    last: Option<Anchor>,
    /// The link of the record that the head names.
    link_at_head: Option<Link>,
    leftovers: Vec<Key>,
    bytes: u64,
}

/// Reads the whole log: contiguous, authentic, chained. Pieces of a record that was never
/// finished, and records that a purge had not got to, are leftovers.
fn scan(
    reader: &LogReader,
    purged: Option<Anchor>,
    head: Option<u64>,
) -> Result<Scanned, LogError> {
    let mut scanned = Scanned { last: purged, link_at_head: None, leftovers: Vec::new(), bytes: 0 };
    let first = purged.map_or(0, |anchor| anchor.place.index + 1);
    let mut next = first;
    let mut from = 0;
    loop {
        let keys = reader.disk.log_keys(from, SCAN_KEYS)?;
        let Some((last_key, _)) = keys.last().copied() else { break };
        let whole = keys.len() < SCAN_KEYS;
        // The last record of a full batch may have more pieces in the next one.
        let taken: Vec<_> =
            keys.iter().filter(|(index, _)| whole || *index < last_key).copied().collect();
        for (index, piece) in taken {
            if index < first {
                scanned.leftovers.push(Key::Log { index, piece });
                continue;
            }
            if piece != 0 {
                // Pieces follow piece 0 in key order: without it they were never finished.
                if next <= index {
                    scanned.leftovers.push(Key::Log { index, piece });
                }
                continue;
            }
            if index != next {
                return Err(LogError::Gap { index: next });
            }
            let Some((entry, link)) = reader.read(index)? else {
                return Err(LogError::Gap { index });
            };
            let previous = scanned.last.map_or(GENESIS, |anchor| anchor.link);
            if seal::chain_link(&previous, entry.place, &entry.bytes) != link {
                return Err(LogError::Chain { index });
            }
            scanned.last = Some(Anchor { place: entry.place.into(), link });
            scanned.bytes += entry.bytes.len() as u64;
            if head == Some(index) {
                scanned.link_at_head = Some(link);
            }
            next = index + 1;
        }
        if whole {
            break;
        }
        from = last_key;
    }
    Ok(scanned)
}
