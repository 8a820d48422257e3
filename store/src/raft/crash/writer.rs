//! The role that writes, and tells what was acknowledged to it.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};

use bytes::Bytes;

use super::super::log::{self, Done, LogError, LogWriter};
use super::super::snapshot::Snapshots;
use super::super::type_config::{
    LeaderId, LogId, Membership, PeerNode, SnapshotMeta, StoredMembership,
};
use super::{Load, ROLE_SEED, Random, Told, make_keys, open_keys, place_at, role_folder};
use crate::disk::{Disk, SledDisk};

/// Bytes of entries that may wait for their acknowledgement.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// Bytes of entries after which the log is purged at the latest.
const PURGE_AFTER_BYTES: usize = 6 << 20;

/// Something was made durable.
enum Event {
    Appended { last: u64, term: u64, bytes: usize },
    Failed,
}

struct Writing {
    writer: LogWriter,
    told: Told,
    load: Load,
    random: Random,
    events: (Sender<Event>, Receiver<Event>),
    /// Terms of the entries that may be in the log.
    terms: BTreeMap<u64, u64>,
    next: u64,
    term: u64,
    durable: Option<u64>,
    waiting_bytes: usize,
    unpurged_bytes: usize,
    votes: u64,
}

#[test]
#[ignore = "a role that the tests beside it start"]
fn writer() {
    let Some(told) = Told::connect() else { return };
    crate::panics::install_hook();
    let load = Load::of_role();
    let folder = role_folder();
    make_keys(&folder);
    let keys = open_keys(&folder).unwrap();
    let disk: std::sync::Arc<dyn Disk> =
        std::sync::Arc::new(SledDisk::open(folder.try_clone().unwrap()).unwrap());
    let fatal = {
        let told = told.clone();
        Box::new(move |error: &LogError| told.tell(&format!("fatal {}", crate::chain(error))))
    };
    let (_, writer, _) = log::open(disk.clone(), keys.clone(), fatal).unwrap();
    let mut writing = Writing {
        writer,
        told,
        load,
        random: Random(std::env::var(ROLE_SEED).unwrap().parse().unwrap()),
        events: mpsc::channel(),
        terms: BTreeMap::new(),
        next: 0,
        term: 1,
        durable: None,
        waiting_bytes: 0,
        unpurged_bytes: 0,
        votes: 0,
    };
    match load {
        Load::Closed => writing.closed(&Snapshots::new(disk, keys)),
        Load::Counted => writing.counted(),
        _ => while writing.step() {},
    }
    writing.writer.stop();
    writing.told.tell("stopped");
}

impl Writing {
    /// Something at random; false once the disk has failed.
    fn step(&mut self) -> bool {
        if self.random.one_in(50) {
            self.vote();
        }
        if self.load == Load::Turbulent && self.random.one_in(6) {
            self.truncate();
        }
        if self.unpurged_bytes > PURGE_AFTER_BYTES || self.random.one_in(80) {
            let keep = self.random.below(40);
            self.purge(keep);
        }
        let count = 1 + self.random.below(if self.load == Load::Large { 2 } else { 8 });
        self.append(count);
        // Sometimes everything is waited for, so that groups of one are tried too.
        let enough = if self.random.one_in(10) { 0 } else { WAITING_BYTES_MAX };
        self.heed(enough)
    }

    fn append(&mut self, count: u64) {
        let (first, term) = (self.next, self.term);
        let entries: Vec<_> =
            (first..first + count).map(|index| self.load.entry_at(index, term)).collect();
        let bytes = entries.iter().map(|entry| entry.bytes.len()).sum();
        self.terms.extend((first..first + count).map(|index| (index, term)));
        self.next += count;
        self.waiting_bytes += bytes;
        self.unpurged_bytes += bytes;
        let last = first + count - 1;
        let (told, events) = (self.told.clone(), self.events.0.clone());
        let done: Done = Box::new(move |outcome: io::Result<()>| {
            let event = match outcome {
                Ok(()) => {
                    told.tell(&format!("acked {first} {last} {term}"));
                    Event::Appended { last, term, bytes }
                }
                Err(_) => Event::Failed,
            };
            drop(events.send(event));
        });
        self.writer.append(entries, done);
    }

    /// Waits until no more than so many bytes are waiting.
    fn heed(&mut self, waiting_bytes_max: usize) -> bool {
        loop {
            let event = if self.waiting_bytes > waiting_bytes_max {
                self.events.1.recv().unwrap()
            } else if let Ok(event) = self.events.1.try_recv() {
                event
            } else {
                return true;
            };
            match event {
                Event::Appended { last, term, bytes } => {
                    self.waiting_bytes -= bytes;
                    // One that was truncated meanwhile is not there to be committed.
                    if self.terms.get(&last) == Some(&term) {
                        self.durable = self.durable.max(Some(last));
                        self.writer.save_committed(place_at(last, term));
                    }
                }
                Event::Failed => return false,
            }
        }
    }

    fn told_when_done(&self, line: String) -> Done {
        let told = self.told.clone();
        Box::new(move |outcome: io::Result<()>| {
            if outcome.is_ok() {
                told.tell(&line);
            }
        })
    }

    fn vote(&mut self) {
        self.votes += 1;
        let vote = self.votes;
        self.told.tell(&format!("voting {vote}"));
        let bytes = Bytes::copy_from_slice(&vote.to_be_bytes());
        self.writer.save_vote(bytes, self.told_when_done(format!("voted {vote}")));
    }

    /// What another leader's log does not have goes; only what is not durable yet, or was
    /// acknowledged without being committed: a follower's lot.
    fn truncate(&mut self) {
        let first = *self.terms.first_key_value().map_or(&self.next, |(index, _)| index);
        let room = self.next - first;
        if room < 3 {
            return;
        }
        let last = self.next - 1 - self.random.below(room.min(20) - 1);
        let term = self.terms[&(last - 1)];
        self.term += 1;
        self.told.tell(&format!("truncating {} {}", last - 1, self.term));
        let done = self.told_when_done(format!("truncated {} {}", last - 1, self.term));
        self.writer.truncate_after(Some(place_at(last - 1, term)), done);
        self.terms.split_off(&last);
        self.next = last;
        self.durable = self.durable.min(Some(last - 1));
    }

    fn purge(&mut self, keep: u64) {
        let Some(last) = self.durable.and_then(|durable| durable.checked_sub(keep)) else { return };
        let Some(term) = self.terms.get(&last).copied() else { return };
        self.told.tell(&format!("purging {last}"));
        let done = self.told_when_done(format!("purged {last}"));
        self.writer.purge(place_at(last, term), None, done);
        self.terms = self.terms.split_off(&(last + 1));
        self.unpurged_bytes = 0;
    }

    /// A log with everything in it, and a snapshot that it goes on from.
    fn closed(&mut self, snapshots: &Snapshots) {
        for _ in 0..20 {
            self.append(5);
            self.vote();
        }
        self.heed(0);
        let (tell, told) = mpsc::channel();
        let last = 30;
        self.writer.link_at(
            last,
            Box::new(move |link| {
                let _unheard = tell.send(link);
            }),
        );
        let nodes = (1..4).map(|member| {
            (member, PeerNode { address: format!("127.0.0.1:{member}"), node_id: "x".into() })
        });
        let membership = Membership::new(vec![[1, 2, 3].into()], nodes.collect::<BTreeMap<_, _>>());
        let place = place_at(last, self.terms[&last]);
        let log_id = LogId::new(LeaderId { term: place.term, node_id: place.leader.0 }, last);
        let meta = SnapshotMeta {
            last_log_id: Some(log_id),
            last_membership: StoredMembership::new(Some(log_id), membership.unwrap()),
        };
        let mut file = snapshots.create(&meta, told.recv().unwrap().unwrap()).unwrap();
        state::State::new().write(&mut |piece| file.write(piece)).unwrap();
        file.finish().unwrap();
        self.told.tell(&format!("purging {last}"));
        let done = self.told_when_done(format!("purged {last}"));
        self.writer.purge(place, None, done);
        self.append(5);
        self.heed(0);
    }

    fn counted(&mut self) {
        for _ in 0..10 {
            self.append(1);
            self.heed(0);
        }
        self.told.tell("burst");
        for _ in 0..64 {
            self.append(1);
        }
        self.heed(0);
        self.told.tell("burst over");
    }
}
