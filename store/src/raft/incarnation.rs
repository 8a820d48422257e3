//! A new life of the cluster out of one manager's disk, or out of a backup's copy: reading all that
//! the disk has, and beginning another log with it.
//!
//! Read is every entry of the survivor's log, whether or not it is known to be committed: this
//! manager may not have heard yet that a majority held an entry when its client was told. What it
//! never received is lost. The new log begins with a snapshot, whose last two entries are the
//! command that began the new life and a membership of one voter; so there is no moment at which a
//! log of the new life has a state of the old one. Indexes go on from where they were. Not here:
//! keys, files, and how the one folder takes the place of the other (manager::incarnation).
//!
//! Invariant: the disk that is read from is not changed but for what every start removes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::mpsc;

use bytes::Bytes;
use proto::id::MemberId;
use seal::{LINK_BYTES, RecordPlace};
use state::State;
use state::command::Envelope;

use super::StartError;
use super::codec::{entry_from_log, entry_to_log, place_of, vote_from_bytes, vote_to_bytes};
use super::log::{self, Done, Link, LogError, LogKeys, LogReader, Opened};
use super::snapshot::Snapshots;
use super::type_config::{
    Entry, LeaderId, LogId, Membership, Payload, PeerNode, Proposal, SnapshotMeta,
    StoredMembership, Vote,
};
use crate::disk::Disk;

/// All that a manager's disk holds.
pub(crate) struct Survivor {
    /// After the last entry of its log.
    pub(crate) state: State,
    /// The members that vote, by the last change of the membership in its log.
    pub(crate) voters: BTreeSet<MemberId>,
    /// Where its log ends; none if it is empty.
    pub(crate) last: Option<RecordPlace>,
    /// How many entries at its end it does not know to be committed.
    pub(crate) uncommitted: u64,
    link: Link,
    /// The highest term that it voted in, or has an entry of.
    term: u64,
}

/// The manager that is left, as the new membership carries it.
pub(crate) struct Left<'a> {
    pub(crate) member: MemberId,
    pub(crate) address: &'a str,
    pub(crate) node_id: &'a str,
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StartError {
    StartError::Io(io::Error::other(error))
}

/// Nothing is waited for that a failed disk could hold up: whoever waits is told.
fn told(error: &LogError) {
    tracing::error!(%error, runbook = error.runbook(), "log_failed");
}

/// Reads everything on a disk.
///
/// # Errors
///
/// If anything is missing or damaged, or an entry is of a later version.
pub(crate) fn read(disk: Arc<dyn Disk>, keys: Arc<LogKeys>) -> Result<Survivor, StartError> {
    let snapshots = Snapshots::new(disk.clone(), keys.clone());
    let (opened, writer, reader) = log::open(disk, keys, Box::new(told))?;
    let survivor = replayed(&snapshots, &opened, &reader);
    writer.stop();
    survivor
}

fn replayed(
    snapshots: &Snapshots,
    opened: &Opened,
    reader: &LogReader,
) -> Result<Survivor, StartError> {
    let mut survivor = Survivor {
        state: State::new(),
        voters: BTreeSet::new(),
        last: None,
        uncommitted: 0,
        link: [0; LINK_BYTES],
        term: match &opened.vote {
            Some(vote) => vote_from_bytes(vote)?.leader_id.term,
            None => 0,
        },
    };
    if let Some(name) = snapshots.newest().map_err(LogError::from)? {
        let (head, state, _) = snapshots.load(&name)?;
        survivor.state = state;
        survivor.link = head.link;
        survivor.last = head.meta.last_log_id.as_ref().map(place_of);
        survivor.voters = voters_of(head.meta.last_membership.membership());
    }
    let covered = survivor.last.map(|place| place.index);
    if let Some(purged) = opened.purged.map(|place| place.index)
        && covered < Some(purged)
    {
        return Err(LogError::NoSnapshot { purged }.into());
    }
    let committed = opened.committed.map(|place| place.index).max(covered);
    let first = covered.map_or(0, |index| index + 1);
    let end = opened.last.map_or(0, |place| place.index + 1);
    for index in first..end {
        let (logged, link) = reader.read(index)?.ok_or(LogError::Gap { index })?;
        survivor.replay(&entry_from_log(&logged)?)?;
        survivor.link = link;
        survivor.last = Some(logged.place);
        survivor.uncommitted += u64::from(Some(index) > committed);
    }
    survivor.term = survivor.term.max(survivor.last.map_or(0, |place| place.term));
    Ok(survivor)
}

fn voters_of(membership: &Membership) -> BTreeSet<MemberId> {
    // Of a change that was under way, the members it was to lead to.
    let configs = membership.get_joint_config();
    configs.last().into_iter().flatten().copied().map(MemberId).collect()
}

impl Survivor {
    /// A copy of a state, without a log that it came from.
    pub(crate) fn of_copy(state: State) -> Self {
        let leader = MemberId(state.index());
        let last = Some(RecordPlace { term: 0, leader, index: state.index() });
        Self {
            state,
            voters: BTreeSet::new(),
            last,
            uncommitted: 0,
            link: [0; LINK_BYTES],
            term: 0,
        }
    }

    fn replay(&mut self, entry: &Entry) -> Result<(), StartError> {
        let index = entry.log_id.index;
        match &entry.payload {
            Payload::Blank => state::pass(&mut self.state, index),
            Payload::Membership(membership) => {
                state::pass(&mut self.state, index);
                self.voters = voters_of(membership);
            }
            Payload::Normal(proposal) => {
                let envelope = proposal.take_envelope().ok_or_else(|| {
                    failed(format!(
                        "log entry {index} is not a command this version reads: \
                         docs/operations/upgrade.md"
                    ))
                })?;
                // What a command was refused for then it is refused for now.
                state::apply(&mut self.state, index, envelope).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// The next entry of the log, in the name of the manager that is left.
    fn next(&mut self, me: MemberId, payload: Payload) -> Entry {
        let index = self.last.map_or(0, |place| place.index + 1);
        let leader_id = LeaderId { term: self.term, node_id: me.0 };
        let entry = Entry { log_id: LogId::new(leader_id, index), payload };
        let logged = entry_to_log(&entry);
        self.link = seal::chain_link(&self.link, logged.place, &logged.bytes);
        self.last = Some(logged.place);
        entry
    }

    /// Begins another log, on an empty disk, with what this one came to and a command that begins
    /// the new life. When it returns all of it is durable.
    ///
    /// # Errors
    ///
    /// If the command is refused, or the disk fails.
    pub(crate) fn begin(
        mut self,
        disk: Arc<dyn Disk>,
        keys: Arc<LogKeys>,
        left: &Left<'_>,
        begin: Envelope,
    ) -> Result<(), StartError> {
        let me = left.member;
        self.term += 1;
        let entry = self.next(me, Payload::Normal(Proposal::new(begin.clone())));
        let applied = state::apply(&mut self.state, entry.log_id.index, begin).map_err(failed)?;
        applied.outcome.map_err(failed)?;
        let node = PeerNode { address: left.address.into(), node_id: left.node_id.into() };
        let membership =
            Membership::new(vec![[me.0].into()], BTreeMap::from([(me.0, node)])).map_err(failed)?;
        let entry = self.next(me, Payload::Membership(membership.clone()));
        state::pass(&mut self.state, entry.log_id.index);

        let meta = SnapshotMeta {
            last_log_id: Some(entry.log_id),
            last_membership: StoredMembership::new(Some(entry.log_id), membership),
        };
        let snapshots = Snapshots::new(disk.clone(), keys.clone());
        let mut file = snapshots.create(&meta, self.link).map_err(LogError::from)?;
        self.state.write(&mut |piece| file.write(piece)).map_err(LogError::from)?;
        file.finish().map_err(LogError::from)?;
        let vote = vote_to_bytes(&Vote::new_committed(self.term, me.0));
        begin_log(disk, keys, place_of(&entry.log_id), self.link, vote)
    }
}

/// Makes a log that goes on from a snapshot, as if it had been purged to there.
fn begin_log(
    disk: Arc<dyn Disk>,
    keys: Arc<LogKeys>,
    last: RecordPlace,
    link: Link,
    vote: Bytes,
) -> Result<(), StartError> {
    let (_, writer, _) = log::open(disk, keys, Box::new(told))?;
    let (tell, outcomes) = mpsc::channel();
    let done = || -> Done {
        let tell = tell.clone();
        Box::new(move |outcome| drop(tell.send(outcome)))
    };
    writer.save_vote(vote, done());
    writer.save_committed(last);
    writer.purge(last, Some(link), done());
    drop(tell);
    let outcomes: Result<Vec<()>, io::Error> = outcomes.iter().take(2).collect();
    // What was committed goes to the disk with the end of the writer.
    writer.stop();
    outcomes?;
    Ok(())
}

#[cfg(test)]
mod tests;
