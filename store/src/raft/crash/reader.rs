//! The role that opens what is left, as a manager does, and tells what it found.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc;

use super::super::log::{self, LogReader, LogWriter, Opened};
use super::super::machine::Machine;
use super::super::snapshot::Snapshots;
use super::super::storage::Anchors;
use super::{Load, Role, Told, numbers, open_keys, role_folder};
use crate::disk::{Disk, SledDisk};

/// Entries that are appended to what was found, to show that it goes on.
const FURTHER: u64 = 3;

/// The term of those: later than every other.
const FURTHER_TERM: u64 = 1 << 20;

type Parts = (Machine, (Opened, LogWriter, LogReader));

/// What a reader told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Why it did not open.
    pub(super) refused: Option<String>,
    pub(super) first: u64,
    pub(super) end: u64,
    pub(super) vote: u64,
    /// The last entry in the snapshot.
    pub(super) applied: u64,
    /// Terms of the records, whose bytes are right.
    pub(super) records: BTreeMap<u64, u64>,
    pub(super) problems: Vec<String>,
}

impl Found {
    /// Reads a reader's report to its end.
    pub(super) fn gather(role: &mut Role) -> Self {
        let mut found = Self::default();
        loop {
            let Some(line) = role.next_line() else {
                found.problems.push(format!("the reader ended: {}", role.errors()));
                break;
            };
            if line == "done" {
                break;
            }
            if let Some(refused) = line.strip_prefix("refused ") {
                found.refused = Some(refused.to_owned());
            } else if let Some(at) = numbers(&line, "record") {
                found.records.insert(at[0], at[1]);
            } else if let Some(opened) = numbers(&line, "opened") {
                (found.first, found.end) = (opened[0], opened[1]);
                (found.vote, found.applied) = (opened[2], opened[3]);
            } else if line != "went on true" {
                found.problems.push(line);
            }
        }
        if found.refused.is_none() && !found.records.keys().copied().eq(found.first..found.end) {
            found.problems.push("its records are not contiguous".into());
        }
        found
    }
}

#[test]
#[ignore = "a role that the tests beside it start"]
fn reader() {
    let Some(told) = Told::connect() else { return };
    crate::panics::install_hook();
    match open() {
        Ok((machine, (opened, writer, reader))) => {
            let load = Load::of_role();
            report(&told, load, &machine, &opened, &reader);
            go_on(&opened, &writer, load);
            drop((machine, writer, reader));
            let (_, (again, ..)) = open().unwrap();
            let last = again.last.map(|place| place.index);
            let expected = opened.last.map_or(0, |place| place.index + 1) + FURTHER - 1;
            told.tell(&format!("went on {}", last == Some(expected)));
        }
        Err(error) => told.tell(&format!("refused {error}")),
    }
    told.tell("done");
}

fn open() -> Result<Parts, String> {
    let folder = role_folder();
    let keys = open_keys(&folder)?;
    let disk = SledDisk::open(folder).map_err(|error| crate::chain(&error))?;
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let snapshots = Snapshots::new(disk.clone(), keys.clone());
    let anchors = Anchors::default();
    // The role of a manager in the crash tests has no snapshot; where there is one, it is whole.
    if snapshots.newest().map_err(|error| crate::chain(&error))?.is_some() {
        super::super::open(snapshots, anchors, disk, keys, fatal())
            .map_err(|error| crate::chain(&error))
    } else {
        let machine = Machine::open(snapshots, anchors).map_err(|error| crate::chain(&error))?;
        let log = log::open(disk, keys, fatal()).map_err(|error| crate::chain(&error))?;
        Ok((machine, log))
    }
}

fn fatal() -> log::Fatal {
    Box::new(|error: &log::LogError| panic!("the disk failed: {error}"))
}

fn report(told: &Told, load: Load, machine: &Machine, opened: &Opened, reader: &LogReader) {
    let first = opened.purged.map_or(0, |place| place.index + 1);
    let end = opened.last.map_or(0, |place| place.index + 1);
    let vote =
        opened.vote.as_deref().map_or(0, |vote| u64::from_be_bytes(vote.try_into().unwrap()));
    told.tell(&format!("opened {first} {end} {vote} {}", *machine.applied().borrow()));
    for index in first..end {
        match reader.read(index) {
            Ok(Some((entry, _))) => {
                let term = entry.place.term;
                let right = entry == load.entry_at(index, term);
                told.tell(&format!("{} {index} {term}", if right { "record" } else { "wrong" }));
            }
            other => told.tell(&format!("unreadable {index} {:?}", other.map(|_| ()))),
        }
    }
}

fn go_on(opened: &Opened, writer: &LogWriter, load: Load) {
    let first = opened.last.map_or(0, |place| place.index + 1);
    let entries = (first..first + FURTHER).map(|index| load.entry_at(index, FURTHER_TERM));
    let (tell, told) = mpsc::channel();
    let done = move |outcome: io::Result<()>| drop(tell.send(outcome));
    writer.append(entries.collect(), Box::new(done));
    told.recv().unwrap().unwrap();
    writer.stop();
}
