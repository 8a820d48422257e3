//! Turns: what opens this manager's key file with its peers' help is made anew as soon as it serves,
//! and every week.
//!
//! The steps, and what a crash after each leaves: `docs/design/peers.md`. The key file says by itself
//! which generation this disk is of; the boot file is ahead of it, never behind. What comes next is a
//! pure function of that and of the state ([`next`]). A turn that fails on the way goes on where it
//! failed: a disk that is full costs no entry of the log. Not here: asking to be opened (`ask`), what
//! the leader does (`service::releases`).
//!
//! Invariants: nothing is decided on a state that a majority did not confirm, since the log is read
//! again at start; the key file is sealed to a generation only when the boot file that goes with it is
//! durable.

use std::sync::Arc;
use std::time::Duration;

use link::Failure;
use link::certificate;
use proto::id::{MemberId, Timestamp};
use proto::{Kind, pb};
use seal::{BootEntry, BootFile, Disk, PeerPublicKey, Recipient};
use state::object::ObjectId;
use state::{Change, MemberBoot, PeerPolicy};
use sys::file::Folder;
use tokio::sync::broadcast;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::Event;
use crate::keys::{AddressBook, BootPlace, recipients};
use crate::raft::Changes;
use crate::service::{Service, internal};

/// How old a generation is replaced: well within the life of its certificate, so that a manager may
/// be down for three weeks and still be opened.
const TURN_EVERY_MS: u64 = 7 * 24 * 3600 * 1000;

/// How often the clock is looked at: it may jump.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// Pause after a failure: there is no leader for a moment, or the disk is full.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Nothing.
    Rest,
    /// Peers do not unlock any more: what they helped to open goes.
    Forget,
    /// Another generation.
    Turn,
    /// Another disk of this manager was let in: one of the two is not it.
    Stop,
}

/// How this manager stands when that is asked.
#[derive(Debug, Clone, Copy)]
struct Own {
    /// The generation that the key file is sealed to.
    held: Option<u64>,
    /// Whether it turned to that since it was started.
    turned: bool,
    /// The log index of the grant that opened it; 0 if something else did.
    opened_by: u64,
    /// Whether it has a boot file; asked where peers do not unlock.
    has_file: bool,
    /// Whether a turn was begun and has not come to its end.
    is_turning: bool,
    /// Whether its boot key's certificate is of a CA that another took the place of.
    is_of_former_ca: bool,
}

/// What comes next for this manager, of which the state has `known`.
fn next(
    policy: PeerPolicy,
    locks: bool,
    known: Option<&MemberBoot>,
    own: Own,
    at: Timestamp,
) -> Next {
    let Own { held, turned, opened_by, has_file, is_turning, is_of_former_ca } = own;
    if policy == PeerPolicy::Off {
        return if held.is_some() || has_file { Next::Forget } else { Next::Rest };
    }
    // What it turned to was never asked with; what opened it was asked with by it until then.
    let was_let_in = known.and_then(|known| known.granted).is_some_and(|granted| {
        Some(granted.generation) == held && (turned || (opened_by > 0 && granted.index > opened_by))
    });
    if was_let_in {
        return Next::Stop;
    }
    let current = known.and_then(|known| known.current.as_ref());
    let is_known = |number| known.is_some_and(|known| known.generation(number).is_some());
    let is_anothers = match held {
        // Without a current one nobody was let in: at most a turn of this disk was begun.
        None => current.is_some(),
        Some(held) => known.is_some_and(|k| k.generations().next().is_some()) && !is_known(held),
    };
    if is_anothers {
        return Next::Stop;
    }
    // What was begun is ended: until then two generations are in the boot file, and in memory.
    if is_turning {
        return Next::Turn;
    }
    // A disk that opens by itself asks nobody; but the CA that it would ask by has to go.
    if !locks {
        return if is_of_former_ca { Next::Turn } else { Next::Rest };
    }
    let is_old = |staged_at: Timestamp| at.ms_since(staged_at) >= TURN_EVERY_MS;
    let is_due = current.is_none_or(|one| Some(one.number) != held || is_old(one.staged_at));
    if !turned || is_due || is_of_former_ca { Next::Turn } else { Next::Rest }
}

/// A turn that was begun: what is known to the state, and has yet to be on this disk.
struct Begun {
    generation: u64,
    /// None only while it is in a file that is written.
    entry: Option<BootEntry>,
    recipient: Recipient,
}

/// What turning needs.
pub(super) struct Turning {
    pub(super) service: Arc<Service>,
    pub(super) place: BootPlace,
    pub(super) folder: Folder,
    pub(super) events: UnboundedSender<Event>,
    /// The log index of the grant that opened this manager; 0 if something else did.
    pub(super) opened_by: u64,
}

/// What was done since this manager was started.
#[derive(Default)]
struct Done {
    /// It turned to the generation that it holds.
    turned: bool,
    /// It is on the way to another one.
    begun: Option<Begun>,
    /// The addresses that were written.
    book: AddressBook,
}

/// Turns when it is time to, and keeps the address book, until `stop`.
pub(super) async fn follow(turning: Turning, stop: CancellationToken) {
    let mut changes = turning.service.raft.machine.changes();
    let mut leadership = turning.service.raft.leadership();
    let mut done = Done::default();
    let mut told = String::new();
    loop {
        match turning.pass(&mut done).await {
            Ok(()) => told.clear(),
            Err(failure) => {
                let text = failure.to_string();
                let needs_leader = failure.kind == Kind::NoLeader;
                if !needs_leader && text != told {
                    tracing::warn!(%failure, "peers_slot_not_made_anew");
                    told = text;
                }
                // Whatever else changes meanwhile: what failed may have changed it.
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(AGAIN_AFTER) => {}
                    Ok(()) = leadership.changed(), if needs_leader => {}
                }
                continue;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
            known = members_changed(&mut changes, turning.service.raft.me) => if !known { return },
        }
    }
}

/// Waits until the cluster or the list of members changed, or what is known of this one's slot; false
/// if nothing will change any more.
async fn members_changed(changes: &mut broadcast::Receiver<Changes>, me: MemberId) -> bool {
    let matters = |change: &Change| match change {
        Change::Created(id) | Change::Updated(id) | Change::Removed(id) => match id {
            ObjectId::Cluster => true,
            // A turn of another member changes no address.
            ObjectId::Member(member) => *member == me || !matches!(change, Change::Updated(_)),
            _ => false,
        },
        Change::Replan(None) => true,
        _ => false,
    };
    loop {
        match changes.recv().await {
            Ok(changes) if changes.iter().any(matters) => return true,
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(_)) => return true,
            Err(broadcast::error::RecvError::Closed) => return false,
        }
    }
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::new(Kind::Internal, crate::chain(error))
}

impl Turning {
    /// Does what is to be done now.
    async fn pass(&self, done: &mut Done) -> Result<(), Failure> {
        self.service.barrier().await?;
        self.keep_book(&mut done.book)?;
        let held = self.service.keys.peers_generation();
        let Some(next) = self.next(held, done) else { return Ok(()) };
        match next {
            Next::Rest => Ok(()),
            Next::Forget => {
                done.begun = None;
                self.forget(held)
            }
            Next::Turn => {
                let generation = self.turn(held, &mut done.begun).await?;
                done.turned = true;
                tracing::info!(target: "audit", action = "turn", generation, "peers_slot_made_anew");
                Ok(())
            }
            Next::Stop => {
                self.end(held).await;
                Ok(())
            }
        }
    }

    /// None for who is no member: what is to become of it is not decided here.
    fn next(&self, held: Option<u64>, done: &Done) -> Option<Next> {
        let policy = self.service.raft.machine.state().boot().policy();
        // Not under the state's lock: it may be on a mount that does not answer.
        let has_file = policy == PeerPolicy::Off && self.place.is_there();
        let state = self.service.raft.machine.state();
        let me = self.service.raft.me;
        state.member(me)?;
        let locks = recipients::locks(&state.cluster()?.recipients);
        let boot = state.boot();
        let is_of_former_ca = state.owes_turn(me);
        let own = Own {
            held,
            turned: done.turned,
            opened_by: self.opened_by,
            has_file,
            is_turning: done.begun.is_some(),
            is_of_former_ca,
        };
        // By the log's clock, as generations are dated: this machine's may be ahead.
        Some(next(boot.policy(), locks, boot.member(me), own, state.now()))
    }

    /// Writes the address book anew if it is another one.
    fn keep_book(&self, known: &mut AddressBook) -> Result<(), Failure> {
        let now = {
            let state = self.service.raft.machine.state();
            let others = state.members().iter().filter(|(id, _)| **id != self.service.raft.me);
            AddressBook(others.map(|(id, member)| (*id, member.address.clone())).collect())
        };
        if now != *known {
            now.write(&self.folder).map_err(|error| failed(&error))?;
            *known = now;
        }
        Ok(())
    }

    fn forget(&self, held: Option<u64>) -> Result<(), Failure> {
        if held.is_some() {
            self.service.keys.set_peers_slot(None).map_err(|error| failed(&error))?;
        }
        self.place.remove().map_err(|error| failed(&error))?;
        tracing::info!(target: "audit", action = "forget_peers_slot", "peers_slot_removed");
        Ok(())
    }

    /// The other disk may be the true one: this manager must not go on as if it were.
    async fn end(&self, held: Option<u64>) {
        let word = pb::ReportCopyRequest { generation: held.unwrap_or(0) };
        if let Err(failure) = self.service.route(self.service.cluster_caller(), word).await {
            tracing::warn!(%failure, "alarm_not_kept");
        }
        let held = held.map_or_else(|| "none".to_owned(), |held| held.to_string());
        let reason = format!(
            "another disk of this manager was unlocked by its peers (this one is of generation \
             {held}); one of the two is a copy: docs/operations/peers.md"
        );
        tracing::error!(reason, "another_disk_of_this_manager");
        // Nobody listens when the manager is stopping anyway.
        drop(self.events.send(Event::Fatal(reason)));
    }

    /// Turns from what this disk is of to another generation, which it gives. `begun` is what an
    /// earlier try of it left.
    async fn turn(&self, held: Option<u64>, begun: &mut Option<Begun>) -> Result<u64, Failure> {
        let (staged, known) = {
            let state = self.service.raft.machine.state();
            let boot = state.boot().member(self.service.raft.me);
            let is_known = |begun: &mut Begun| {
                boot.is_some_and(|boot| boot.generation(begun.generation).is_some())
            };
            let staged = boot.and_then(|boot| boot.staged.as_ref()).map(|staged| staged.number);
            (staged, begun.take_if(is_known))
        };
        let turn = begun.insert(match known {
            Some(turn) => turn,
            None => self.begin(held, staged).await?,
        });
        let generation = turn.generation;
        // The boot file of both, then the key file of the next.
        write(&self.place, self.service.keys.disk(), held, turn)?;
        if held != Some(generation) {
            let slot = Some(turn.recipient.clone());
            self.service.keys.set_peers_slot(slot).map_err(|error| failed(&error))?;
        }
        let word = pb::AcknowledgeBootRequest { generation };
        self.service.route(self.service.cluster_caller(), word).await?;
        self.keep_only(generation)?;
        *begun = None;
        Ok(generation)
    }

    /// Another generation becomes known, in the place of the one that is `staged`.
    async fn begin(&self, held: Option<u64>, staged: Option<u64>) -> Result<Begun, Failure> {
        let service = &self.service;
        let pair = certificate::make_key_pair().map_err(|error| internal(&error))?;
        let request = pb::StageBootRequest {
            held: held.unwrap_or(0),
            public_key: pair.public.clone().into(),
            replaces: staged.unwrap_or(0),
        };
        let staged = service.route(service.cluster_caller(), request).await?;
        let malformed = || Failure::new(Kind::Internal, "the leader's answer is not one");
        let disk = service.keys.disk();
        let public = PeerPublicKey::parse(staged.peer_public_key).map_err(|_| malformed())?;
        let generation = staged.generation;
        let slot = public.make_slot(disk, generation).map_err(|_| malformed())?;
        let recipient = slot.recipient();
        let entry = BootEntry {
            generation,
            own: slot.own,
            key: pair.private,
            certificate: staged.certificate,
        };
        Ok(Begun { generation, entry: Some(entry), recipient })
    }

    fn keep_only(&self, generation: u64) -> Result<(), Failure> {
        let file = kept(&self.place, self.service.keys.disk())?;
        let file = file.and_then(|file| file.turned(generation));
        match file {
            Some(file) => self.place.write(&file).map_err(|error| failed(&error)),
            None => Err(Failure::new(Kind::Internal, "the boot file was changed by somebody else")),
        }
    }
}

/// Writes the boot file of what is held and the next: of what is there now, each time that it is tried.
fn write(
    place: &BootPlace,
    disk: Disk,
    held: Option<u64>,
    turn: &mut Begun,
) -> Result<(), Failure> {
    let kept = kept(place, disk)?;
    let Some(entry) = turn.entry.take() else { return Ok(()) };
    let file = match kept {
        Some(file) => file.turning(held, entry),
        None => BootFile::new(disk, entry),
    };
    let written = place.write(&file);
    turn.entry = file.into_entry(turn.generation);
    written.map_err(|error| failed(&error))
}

/// What the boot file has of this disk. One that is damaged, or of another life, opens nothing; one
/// that cannot be read may.
fn kept(place: &BootPlace, disk: Disk) -> Result<Option<BootFile>, Failure> {
    match place.read() {
        Ok(file) => Ok(file.filter(|file| *file.disk() == disk)),
        Err(error) if error.may_pass() => Err(failed(&error)),
        Err(error) => {
            let error = crate::chain(&error);
            tracing::warn!(path = %place.path().display(), error, "boot_file_written_over");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::id::Serial;
    use proto::sealed::WrappedKey;
    use state::object::{Blob, Digest};
    use state::{BootGeneration, BootKey, Granted, NewGeneration};

    use super::*;

    const NOW: Timestamp = Timestamp(10 * TURN_EVERY_MS);

    fn generation(number: u64) -> BootGeneration {
        let realm = proto::id::Realm::from_bytes([1; 16]);
        let peer = seal::PeerSecretKey::make();
        let wrapped_key: WrappedKey =
            seal::RootKey::make().wrap_peer_key(realm, MemberId(2), &peer);
        let boot = BootKey {
            serial: Serial::from_bytes([1; 16]),
            key_digest: Digest([1; 32]),
            not_after: NOW,
        };
        let public_key = Blob(peer.public().as_bytes().clone());
        let made_of = NewGeneration { boot, public_key, wrapped_key };
        BootGeneration { number, staged_at: NOW, made_of }
    }

    fn known(current: Option<u64>, staged: Option<u64>) -> MemberBoot {
        MemberBoot {
            current: current.map(generation),
            staged: staged.map(generation),
            ..MemberBoot::default()
        }
    }

    fn own(held: Option<u64>, turned: bool, opened_by: u64) -> Own {
        Own { held, turned, opened_by, has_file: false, is_turning: false, is_of_former_ca: false }
    }

    /// A turn that was begun, to be on a disk.
    fn begun(disk: Disk, generation: u64) -> Begun {
        let slot = seal::PeerSecretKey::make().public().make_slot(disk, generation).unwrap();
        let recipient = slot.recipient();
        let key = certificate::make_key_pair().unwrap().private;
        let entry = BootEntry { generation, own: slot.own, key, certificate: vec![1].into() };
        Begun { generation, entry: Some(entry), recipient }
    }

    /// The mount is away when a turn begins, say: what is held is on it when that is back.
    #[test]
    fn a_turn_that_is_tried_again_keeps_what_is_held_as_it_is_then() {
        let temp = tempfile::tempdir().unwrap();
        let there = temp.path().join("boot");
        let folder = Folder::create_private(&there).unwrap();
        let place = BootPlace::new(there.join("file"), None);
        let away = BootPlace::new(temp.path().join("away").join("file"), None);
        let disk = Disk {
            realm: proto::id::Realm::from_bytes([1; 16]),
            incarnation: proto::id::Incarnation(1),
            member: MemberId(2),
        };
        write(&place, disk, None, &mut begun(disk, 3)).unwrap();
        let mut turn = begun(disk, 5);
        assert!(write(&away, disk, Some(3), &mut turn).is_err());
        for _ in 0..2 {
            write(&place, disk, Some(3), &mut turn).unwrap();
            let file = place.read().unwrap().unwrap();
            assert!(file.entry(3).is_some() && file.entry(5).is_some());
        }
        // One that cannot be read now may be read later, and is not written over.
        let sealed = BootPlace::new(there.join("file"), Some(temp.path().join("no-key")));
        assert!(kept(&sealed, disk).unwrap().is_some(), "it is in clear");
        folder.replace("file", 0o600, b"something else").unwrap();
        assert!(kept(&place, disk).unwrap().is_none(), "that opens nothing");
        place.remove().unwrap();
        assert!(folder.read("file", 20).is_ok(), "what is no boot file is not ours to remove");
    }

    #[test]
    fn a_manager_turns_when_it_begins_to_serve_and_then_every_week() {
        let next = |known: &MemberBoot, held, turned, at| {
            next(PeerPolicy::Auto, true, Some(known), own(held, turned, 0), at)
        };
        let nothing = known(None, None);
        assert_eq!(next(&nothing, None, false, NOW), Next::Turn, "for the first time");
        assert_eq!(next(&nothing, Some(3), false, NOW), Next::Turn, "peers began anew");
        assert_eq!(next(&nothing, Some(3), true, NOW), Next::Turn, "while it serves, too");
        let g = known(Some(3), None);
        assert_eq!(next(&g, Some(3), false, NOW), Next::Turn, "it was started");
        assert_eq!(next(&g, Some(3), true, NOW), Next::Rest);
        assert_eq!(next(&g, Some(3), true, NOW.after_ms(TURN_EVERY_MS - 1)), Next::Rest);
        assert_eq!(next(&g, Some(3), true, NOW.after_ms(TURN_EVERY_MS)), Next::Turn);
        let of_former_ca = Own { is_of_former_ca: true, ..own(Some(3), true, 0) };
        for locks in [true, false] {
            let moved = super::next(PeerPolicy::Auto, locks, Some(&g), of_former_ca, NOW);
            assert_eq!(moved, Next::Turn, "the CA was rotated, and waits for this one");
        }
        let on_its_way = Own { is_turning: true, ..own(Some(3), true, 0) };
        for locks in [true, false] {
            let ends = super::next(PeerPolicy::Auto, locks, Some(&g), on_its_way, NOW);
            assert_eq!(ends, Next::Turn, "its end failed, and is tried again");
        }
        // A turn that was cut short, before and after the key file was sealed to it.
        let both = known(Some(3), Some(5));
        assert_eq!(next(&both, Some(3), false, NOW), Next::Turn);
        assert_eq!(next(&both, Some(5), false, NOW), Next::Turn);
        assert_eq!(next(&both, Some(5), true, NOW), Next::Turn, "its word was lost");
        assert_eq!(next(&known(None, Some(5)), None, false, NOW), Next::Turn);
    }

    #[test]
    fn a_manager_stops_when_another_disk_of_it_was_let_in() {
        let next = |known: &MemberBoot, held, policy| {
            let step = |locks| next(policy, locks, Some(known), own(held, true, 0), NOW);
            assert_eq!(step(true), step(false), "whether it locks or not");
            step(true)
        };
        // It turned, and this one did not.
        assert_eq!(next(&known(Some(9), None), Some(3), PeerPolicy::Auto), Next::Stop);
        assert_eq!(next(&known(Some(9), Some(11)), Some(3), PeerPolicy::Approve), Next::Stop);
        assert_eq!(next(&known(Some(3), None), Some(5), PeerPolicy::Auto), Next::Stop);
        assert_eq!(next(&known(Some(9), None), None, PeerPolicy::Auto), Next::Stop);
        // It began to turn: it is not known whose word will count.
        assert_eq!(next(&known(Some(3), Some(9)), Some(3), PeerPolicy::Auto), Next::Rest);
    }

    /// A copy does not have to turn: what the grant gave it opens all.
    #[test]
    fn a_manager_stops_when_another_disk_was_granted_what_only_it_holds() {
        let granted = |generation, index| MemberBoot {
            granted: Some(Granted { index, generation, at: NOW }),
            ..known(Some(3), None)
        };
        let next = |known: &MemberBoot, turned, opened_by| {
            next(PeerPolicy::Auto, true, Some(known), own(Some(3), turned, opened_by), NOW)
        };
        assert_eq!(next(&granted(3, 8), true, 0), Next::Stop, "it turned to that one itself");
        assert_eq!(next(&granted(2, 8), true, 8), Next::Rest, "that opened it");
        assert_eq!(next(&granted(3, 8), false, 8), Next::Turn, "it has yet to turn");
        assert_eq!(next(&granted(3, 9), false, 8), Next::Stop, "somebody asked after it");
        // It was opened so, ended before it turned, and was opened by an operator then.
        assert_eq!(next(&granted(3, 8), false, 0), Next::Turn);
    }

    #[test]
    fn without_peers_there_is_nothing_to_keep() {
        let of = |policy, locks, held| next(policy, locks, None, own(held, false, 0), NOW);
        assert_eq!(of(PeerPolicy::Off, true, Some(3)), Next::Forget);
        assert_eq!(of(PeerPolicy::Off, true, None), Next::Rest);
        let cut_short = Own { has_file: true, ..own(None, false, 0) };
        let left = next(PeerPolicy::Off, true, None, cut_short, NOW);
        assert_eq!(left, Next::Forget, "the power went between the key file and the boot file");
        assert_eq!(of(PeerPolicy::Auto, false, None), Next::Rest, "it opens by itself");
        assert_eq!(of(PeerPolicy::Auto, true, None), Next::Turn);
    }
}
