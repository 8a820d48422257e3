//! Raft as a whole, on simulated disks: what a restart must not forget or do, and how long a
//! leader without its majority keeps others waiting.

use openraft::ChangeMembers;
use proto::id::{Incarnation, Realm, Timestamp};
use proto::identity::Caller;
use proto::pb;
use seal::LogKey;
use state::command::Command;

use super::*;
use crate::disk::SimulatedDisk;

/// What should happen does so long before this.
const PATIENCE: Duration = Duration::from_secs(60);

const ME: MemberId = MemberId(1);
const OTHER: MemberId = MemberId(2);

/// An address where nobody answers: a port that no program gets (TCPMUX).
const NOWHERE: &str = "127.0.0.1:1";

/// One manager's disk and keys.
struct Place {
    disk: SimulatedDisk,
    keys: Arc<LogKeys>,
}

impl Place {
    fn new() -> Self {
        let key = LogKey::make();
        let id = key.id();
        let realm = Realm::from_bytes([1; 16]);
        let place = seal::Disk { realm, incarnation: Incarnation(1), member: ME };
        let keys = Arc::new(LogKeys::new(place, vec![key.into()], id));
        Self { disk: SimulatedDisk::new(), keys }
    }

    async fn try_start(&self, profile: Profile) -> Result<Raft, StartError> {
        let config = link::tls::joiner_config([0; 32], Realm::from_bytes([1; 16])).unwrap();
        Raft::start(Start {
            disk: Arc::new(self.disk.clone()),
            keys: self.keys.clone(),
            pool: Pool::new(ME, config),
            profile,
            fatal: Box::new(|error| panic!("the disk failed: {error}")),
        })
        .await
    }

    async fn start(&self, profile: Profile) -> Raft {
        self.try_start(profile).await.unwrap()
    }

    /// A cluster of one, which leads.
    async fn found(profile: Profile) -> (Self, Raft) {
        let place = Self::new();
        let raft = place.start(profile).await;
        soon(raft.found(NOWHERE, "node")).await.unwrap();
        (place, raft)
    }

    /// The files of snapshots, by name.
    fn snapshots(&self) -> Vec<String> {
        self.disk.files(SNAPSHOT_PREFIX).unwrap()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut file = self.disk.open_file(name).unwrap().unwrap();
        io::Read::read_to_end(&mut file, &mut bytes).unwrap();
        bytes
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let mut file = self.disk.create_file(name).unwrap();
        file.write(bytes).unwrap();
        file.finish().unwrap();
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it should have happened by now")
}

/// Any command will do: it is applied, or refused by every manager alike.
fn command() -> Envelope {
    Envelope {
        format: 1,
        request: None,
        caller: Caller::Local { uid: 0, member: ME },
        at: Timestamp(1),
        body: Command::Plan(Vec::new()),
    }
}

async fn grow(raft: &Raft) {
    for _ in 0..3 {
        soon(raft.propose(command())).await.unwrap().ok();
    }
}

fn vote_request(for_transfer: bool) -> pb::VoteRequest {
    pb::VoteRequest {
        vote: Some(pb::Vote { term: 1_000, leader: OTHER.0, committed: false }),
        last: None,
        leadership_transfer: for_transfer,
        target: ME.0,
    }
}

#[test]
fn a_vote_is_allowed_from_the_end_of_the_lease_on() {
    let begin = Instant::now();
    let end = begin + Duration::from_secs(10);
    let guard = VoteGuard::new(end);
    let instant = Duration::from_nanos(1);
    assert!(!guard.allows(begin, false));
    assert!(!guard.allows(end.checked_sub(instant).unwrap(), false));
    assert!(guard.allows(end, false));
    assert!(guard.allows(end + instant, false));
    // The leader that hands over gives its lease up.
    assert!(guard.allows(end.checked_sub(instant).unwrap(), true));
}

#[tokio::test]
async fn a_restarted_voter_waits_out_the_lease_it_may_have_acknowledged() {
    for profile in [Profile::Lan, Profile::Wan] {
        let place = Place::new();
        // Who has no log has acknowledged nothing.
        let raft = place.start(profile).await;
        assert!(raft.guard.allows(Instant::now(), false));
        soon(raft.found(NOWHERE, "node")).await.unwrap();
        raft.shut_down().await;

        let before = Instant::now();
        let raft = place.start(profile).await;
        let lease_before = before + profile.lease();
        let too_soon = lease_before.checked_sub(Duration::from_nanos(1)).unwrap();
        assert!(!raft.guard.allows(too_soon, false));
        assert!(raft.guard.allows(Instant::now() + profile.lease(), false));
        // Nor does it ask for votes sooner, though nobody else could give one.
        let mut leadership = raft.leadership();
        soon(leadership.wait_for(|now| now.leading)).await.unwrap();
        assert!(Instant::now() >= lease_before, "it led within the lease");
        raft.shut_down().await;
    }
}

#[tokio::test]
async fn no_candidate_gets_a_vote_while_the_guard_holds() {
    let (_place, mut raft) = Place::found(Profile::Lan).await;
    let lease = "the lease of a leader before the restart is not over yet";
    raft.guard = Arc::new(VoteGuard::new(Instant::now() + Duration::from_secs(3_600)));
    // The last: a candidate's word that it was handed leadership is no vote asked beforehand.
    for (for_transfer, pre_vote) in [(false, false), (false, true), (true, true)] {
        let asked = raft.receive_vote(OTHER, vote_request(for_transfer), pre_vote);
        assert_eq!(soon(asked).await.unwrap_err().message(), lease);
    }
    let asked = raft.receive_vote(OTHER, vote_request(true), false);
    assert!(soon(asked).await.is_ok(), "it was answered by what Raft thinks of it");
    raft.guard = Arc::new(VoteGuard::new(Instant::now()));
    for pre_vote in [false, true] {
        assert!(soon(raft.receive_vote(OTHER, vote_request(false), pre_vote)).await.is_ok());
    }
    raft.shut_down().await;
}

#[tokio::test]
async fn a_purged_log_opens_with_the_snapshot_that_reaches_it_and_no_other() {
    let (place, raft) = Place::found(Profile::Lan).await;
    grow(&raft).await;
    soon(raft.snapshot()).await.unwrap();
    let [older] = place.snapshots().try_into().unwrap();
    let older_bytes = place.read(&older);
    grow(&raft).await;
    soon(raft.snapshot()).await.unwrap();
    let reached = raft.applied_index();
    // What is in memory is kept for followers; here it goes, up to where the snapshot ends.
    raft.inner.trigger().purge_log(reached).await.unwrap();
    let wait = raft.inner.wait(Some(PATIENCE));
    wait.metrics(|m| m.purged.is_some_and(|id| id.index == reached), "purge").await.unwrap();
    grow(&raft).await;
    let applied = raft.applied_index();
    raft.shut_down().await;

    let raft = place.start(Profile::Lan).await;
    let mut index = raft.machine.applied();
    soon(index.wait_for(|index| *index >= applied)).await.unwrap();
    raft.shut_down().await;

    let [newer] = place.snapshots().try_into().unwrap();
    assert_ne!(newer, older);
    place.disk.remove_file(&newer).unwrap();
    let refused = |started: Result<Raft, StartError>| match started {
        Err(StartError::Log(LogError::NoSnapshot { purged })) => purged,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it started"),
    };
    assert_eq!(refused(place.try_start(Profile::Lan).await), reached);
    // One that ends before the log begins leaves a gap.
    place.write(&older, &older_bytes);
    assert_eq!(refused(place.try_start(Profile::Lan).await), reached);
    let error = LogError::NoSnapshot { purged: reached }.to_string();
    assert!(error.contains("no snapshot reaches it"), "{error}");
    assert!(error.contains("docs/operations/replace-manager.md"), "{error}");
}

#[test]
fn a_majority_is_lost_after_its_time_and_not_before() {
    let instant = Duration::from_nanos(1);
    assert!(!is_lost(Duration::ZERO));
    assert!(!is_lost(MAJORITY_LOST_AFTER.checked_sub(instant).unwrap()));
    assert!(is_lost(MAJORITY_LOST_AFTER));
    assert!(is_lost(MAJORITY_LOST_AFTER + instant));
    // Several elections fit: a leader that is merely slow is waited for.
    for profile in [Profile::Lan, Profile::Wan] {
        assert!(MAJORITY_LOST_AFTER > profile.lease());
    }
}

#[tokio::test]
async fn a_leader_whose_majority_is_gone_notices_and_takes_no_more() {
    let (_place, raft) = Place::found(Profile::Lan).await;
    assert!(raft.is_leading(), "a lone voter is its own majority");
    // A second member that votes and never answers: from now on one of two confirms.
    soon(raft.add_learner(OTHER, NOWHERE, "other")).await.unwrap();
    let changing = raft.clone();
    let change = tokio::spawn(async move {
        let voters = ChangeMembers::AddVoterIds([OTHER.0].into());
        changing.inner.change_membership(voters, true).await.is_ok()
    });
    soon(raft.majority_lost()).await;
    assert!(!raft.is_leading());
    // Nothing is begun that nobody could finish.
    assert_eq!(soon(raft.propose(command())).await, Err(ProposeError::NotLeader));
    raft.shut_down().await;
    assert!(!soon(change).await.unwrap(), "nobody agreed to it");
}

/// A value of its own each, so that an outcome given to another proposal shows.
fn numbered(number: u64) -> Envelope {
    Envelope { at: Timestamp(number), ..command() }
}

#[tokio::test]
async fn proposals_that_wait_for_one_another_share_groups() {
    let (_place, raft) = Place::found(Profile::Lan).await;
    let groups = |raft: &Raft| {
        let figures: BTreeMap<_, _> = raft.log_figures().into_iter().collect();
        (figures["groups"], figures["entries"])
    };
    let before = groups(&raft);
    let all = (0..200).map(|number| raft.propose(numbered(number)));
    let outcomes = soon(futures_util::future::join_all(all)).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let after = groups(&raft);
    assert_eq!(after.1 - before.1, 200);
    // The first goes at once; what came meanwhile goes together.
    assert!(after.0 - before.0 <= 20, "{} groups", after.0 - before.0);
}

#[tokio::test]
async fn a_proposal_that_was_given_up_keeps_its_room_for_as_long_as_it_goes_on() {
    let (_place, raft) = Place::found(Profile::Lan).await;
    let room = raft.room.available_permits();
    let (first, second) = (raft.propose(numbered(1)), raft.propose(numbered(2)));
    let mut given_up = Box::pin(async { tokio::join!(first, second) });
    // Both are on their way: one in a group, one in the queue behind it.
    std::future::poll_fn(|cx| {
        drop(given_up.as_mut().poll(cx));
        std::task::Poll::Ready(())
    })
    .await;
    // What is on its way keeps its room, whoever gave up.
    drop(given_up);
    assert_eq!(raft.room.available_permits(), room - 2);
    soon(raft.propose(numbered(3))).await.unwrap().ok();
    while raft.room.available_permits() < room {
        tokio::task::yield_now().await;
    }
}

/// A command of so many bytes as it stands in the log.
fn sized(bytes: usize) -> Envelope {
    let of = |message: usize| {
        let id = proto::id::TaskId::from_entropy([1; 17]);
        let revision = proto::id::Revision(1);
        let message = "x".repeat(message);
        let steps = vec![state::command::Step::ExplainPending { id, revision, message }];
        Envelope { body: Command::Plan(steps), ..command() }
    };
    let around = Proposal::new(of(bytes)).bytes().len() - bytes;
    of(bytes - around)
}

#[tokio::test]
async fn what_the_log_would_not_read_back_is_not_written() {
    let (place, raft) = Place::found(Profile::Lan).await;
    let largest = sized(COMMAND_BYTES_MAX);
    assert_eq!(Proposal::new(largest.clone()).bytes().len(), COMMAND_BYTES_MAX);
    soon(raft.propose(largest)).await.unwrap().unwrap();
    let applied = raft.applied_index();
    let refused = soon(raft.propose(sized(COMMAND_BYTES_MAX + 1))).await;
    assert_eq!(refused, Err(ProposeError::TooLarge));
    assert_eq!(raft.last_entry().1, applied);
    raft.shut_down().await;
    // What was written is read back.
    let raft = place.start(Profile::Lan).await;
    let mut index = raft.machine.applied();
    soon(index.wait_for(|index| *index >= applied)).await.unwrap();
    raft.shut_down().await;
}
