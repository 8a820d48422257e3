//! Managers that their peers unlock: the leader's answer to a locked one, turns of one that serves,
//! and what operators say to it.
//!
//! Protocol and argument: `docs/design/peers.md`; the record, and the order of a grant against
//! everything else: state. Here are the checks that need more than the state: whether the member runs
//! elsewhere, how often alarms are proposed, what waits for consent. Not here: the member's own side
//! (`manager::ask`, `manager::turn`).
//!
//! Invariant: a box is opened only after a grant for this very request was applied here, with the
//! key that the state has then.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use link::Failure;
use proto::id::{MemberId, Serial, Timestamp};
use proto::identity::{Caller, Subject};
use proto::limits::{ADDRESS_BYTES_MAX, ALARMS_MAX, ASKING_HOSTS_MAX};
use proto::{Kind, pb};
use seal::{Disk, PeerBox, PeerSecretKey, Release, ReleasePublicKey};
use state::object::{Blob, Digest};
use state::{
    AlarmReason, Asked, BootCommand, BootKey, NewGeneration, Outcome, PeerPolicy, Refusal,
    ReleaseRefusal,
};

use super::secrets::unexpected;
use super::{Service, internal, mark, now, refused, root_keys};
use crate::keys::KeyringError;

/// Between two proposals of one alarm, at first and at last: it is told at once, and a copy that asks
/// for weeks fills neither the log nor the audit.
const ALARM_EVERY_MIN: Duration = Duration::from_secs(60);
const ALARM_EVERY_MAX: Duration = Duration::from_secs(3600);

/// How long a request waits for consent without being repeated: a few pauses of who asks.
const PENDING: Duration = Duration::from_secs(60);

/// Who asks: in which member's name, and from which host.
type Asker = (MemberId, String);

/// Alarms of one kind as the leader last proposed one.
struct Told {
    at: Instant,
    again_after: Duration,
    /// Requests since then.
    since: u64,
    /// The last of them.
    last: Instant,
}

/// A request that waits for consent.
struct Waiting {
    info: pb::PendingRelease,
    last: Instant,
}

/// What the leader remembers of requests to be unlocked; another leader begins anew.
#[derive(Default)]
pub(crate) struct Releases {
    /// Those that wait for a sign of life of the member.
    asking: Mutex<BTreeSet<Asker>>,
    /// Whatever generation is asked with: who asks may name any.
    told: Mutex<BTreeMap<(MemberId, AlarmReason), Told>>,
    waiting: Mutex<BTreeMap<Asker, Waiting>>,
}

/// A request that is looked at, while this is held.
struct Asking<'a> {
    releases: &'a Releases,
    who: Asker,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.releases.asking().remove(&self.who);
    }
}

impl Releases {
    fn asking(&self) -> MutexGuard<'_, BTreeSet<Asker>> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<Asker, Waiting>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, one| one.last.elapsed() < PENDING);
        waiting
    }

    /// What waits for an operator's consent.
    pub(crate) fn pending(&self) -> Vec<pb::PendingRelease> {
        self.waiting().values().map(|one| one.info.clone()).collect()
    }

    /// One request at a time of each host, and of so many hosts in one member's name: who floods
    /// hinders the member that it asks for, which it could be anyway, and no other.
    fn look_at(&self, who: Asker) -> Result<Asking<'_>, Failure> {
        let mut asking = self.asking();
        let hosts = asking.iter().filter(|(member, _)| *member == who.0).count();
        if hosts >= ASKING_HOSTS_MAX || !asking.insert(who.clone()) {
            let text = format!("a request in the name of manager {} is looked at already", who.0);
            return Err(Failure::new(Kind::Unavailable, text));
        }
        Ok(Asking { releases: self, who })
    }

    /// Keeps who asks for an operator to see; of too many hosts, the one that is quiet longest goes.
    fn wait(&self, request: &Request) {
        let member = request.member();
        let (generation, from) = (request.release.generation, request.from.clone());
        let mut waiting = self.waiting();
        let known = waiting.get(&request.asker()).map(|one| &one.info);
        let known = known.filter(|known| known.generation == generation);
        let asked_at = known.map_or_else(|| now().0, |known| known.asked_at);
        let info = pb::PendingRelease { member: member.0, generation, from, asked_at };
        waiting.insert(request.asker(), Waiting { info, last: Instant::now() });
        let of_member = waiting.iter().filter(|((of, _), _)| *of == member);
        if of_member.clone().count() > ASKING_HOSTS_MAX {
            let quiet = of_member.min_by_key(|(_, one)| one.last).map(|(asker, _)| asker.clone());
            quiet.map(|asker| waiting.remove(&asker));
        }
    }

    /// Counts a request; how many to tell of now, if it is time to.
    fn count(&self, member: MemberId, reason: AlarmReason) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let last = Instant::now();
        let (since, again_after) = match told.get_mut(&(member, reason)) {
            Some(known) if known.at.elapsed() < known.again_after => {
                known.since = known.since.saturating_add(1);
                known.last = last;
                return None;
            }
            Some(known) => {
                (known.since.saturating_add(1), ALARM_EVERY_MAX.min(known.again_after * 2))
            }
            None => (1, ALARM_EVERY_MIN),
        };
        told.insert((member, reason), Told { at: last, again_after, since: 0, last });
        if told.len() > ALARMS_MAX {
            let quiet = told.iter().min_by_key(|(_, told)| told.last).map(|(what, _)| *what);
            quiet.map(|what| told.remove(&what));
        }
        Some(since)
    }
}

/// The host of an address: what an operator's consent is for. Ports change with each connection.
pub(super) fn host_of(address: &str) -> String {
    let ip = address.parse::<SocketAddr>().map(|address| address.ip());
    match ip.or_else(|_| address.parse::<IpAddr>()) {
        Ok(ip) => ip.to_canonical().to_string(),
        Err(_) => address.to_owned(),
    }
}

/// A request that is well formed.
struct Request {
    release: Release,
    serial: Serial,
    from: String,
}

impl Request {
    const fn member(&self) -> MemberId {
        self.release.disk.member
    }

    fn host(&self) -> String {
        host_of(&self.from)
    }

    fn asker(&self) -> Asker {
        (self.member(), self.host())
    }

    fn parse(disk: Disk, serial: Serial, request: pb::ReleaseRequest) -> Result<Self, Failure> {
        let malformed = || Failure::new(Kind::Invalid, "this is no request to be unlocked");
        let mut from = request.from;
        while from.len() > ADDRESS_BYTES_MAX {
            from.pop();
        }
        let digest = <[u8; 32]>::try_from(&*request.boot_key_digest).map_err(|_| malformed())?;
        let release = Release {
            disk,
            generation: request.generation,
            boot_key_digest: digest,
            sealed: PeerBox::parse(&request.sealed).ok_or_else(malformed)?,
            public_key: ReleasePublicKey::parse(request.public_key).map_err(|_| malformed())?,
            nonce: <[u8; 32]>::try_from(&*request.nonce).map_err(|_| malformed())?,
            grant: 0,
        };
        Ok(Self { release, serial, from })
    }
}

/// A manager that asks for itself.
fn of_manager(caller: Caller) -> Result<MemberId, Failure> {
    match caller {
        Caller::Cluster { member } => Ok(member),
        _ => Err(Failure::new(Kind::Denied, "this call is for a manager")),
    }
}

impl Service {
    /// Gives a locked manager what opens its key file: the peers' half of its slot's seed, sealed to
    /// the key of the request.
    pub(super) async fn release(
        &self,
        caller: Caller,
        request: pb::ReleaseRequest,
    ) -> Result<pb::ReleaseResponse, Failure> {
        let asked_at = Instant::now();
        let Caller::Certified { subject: Subject::Boot(member), serial } = caller else {
            self.denials.count(caller, "release");
            return Err(Failure::new(Kind::Denied, "this call is for a manager's boot key"));
        };
        self.barrier().await?;
        let cluster = self.cluster()?;
        let disk = Disk { realm: cluster.realm, incarnation: cluster.incarnation, member };
        let mut request = Request::parse(disk, serial, request)?;
        let admitted = match self.admitted(&request) {
            // An operator is asked only about a member that does not run.
            admitted @ (Ok(_) | Err(ReleaseRefusal::ToBeApproved)) => admitted,
            Err(reason) => return Err(self.turned_down(&request, reason).await),
        };
        let _one = self.releases.look_at(request.asker())?;
        if self.is_alive(member, asked_at).await {
            self.alarm(&request, AlarmReason::Alive).await;
            let text = format!(
                "manager {member} is not unlocked by its peers: alive: it runs, and this is another"
            );
            return Err(Failure::new(Kind::Denied, text).hint(PEERS_RUNBOOK));
        }
        let by = match admitted {
            Ok(by) => by,
            Err(reason) => return Err(self.turned_down(&request, reason).await),
        };
        let (generation, host) = (request.release.generation, request.host());
        let command = BootCommand::Grant { member, generation, by, host };
        request.release.grant = match self.propose_raw(caller, None, command.into()).await? {
            Ok(Outcome::Entry { index }) => index,
            Ok(other) => return Err(unexpected(&other)),
            Err(Refusal::Release { reason, .. }) => {
                return Err(self.turned_down(&request, reason).await);
            }
            Err(refusal) => return Err(refused(&refusal)),
        };
        self.hand_out(&request).await
    }

    /// The boot key of a request that the state has nothing against.
    fn admitted(&self, request: &Request) -> Result<BootKey, ReleaseRefusal> {
        let digest = Digest(request.release.boot_key_digest);
        let state = self.raft.machine.state();
        let asked = Asked {
            generation: request.release.generation,
            serial: request.serial,
            key_digest: &digest,
            host: &request.host(),
        };
        state.releasable(request.member(), asked, now()).map(|one| one.made_of.boot)
    }

    /// Opens the box, once the grant was applied here.
    async fn hand_out(&self, request: &Request) -> Result<pb::ReleaseResponse, Failure> {
        let (member, release) = (request.member(), &request.release);
        let made_of = {
            let state = self.raft.machine.state();
            let boot = state.boot().member(member);
            boot.and_then(|boot| boot.generation(release.generation)).map(|one| one.made_of.clone())
        };
        let Some(made_of) = made_of else {
            return Err(self.turned_down(request, ReleaseRefusal::Evicted).await);
        };
        let (encapsulation, sealed) =
            self.keyring.release(&made_of, release).map_err(|error| match error {
                KeyringError::NoRoot => root_keys::no_root_key(),
                KeyringError::Refused => Failure::new(Kind::Denied, "the box does not open")
                    .because("it was made for another manager or generation, or is damaged"),
                error => internal(&error),
            })?;
        self.releases.waiting().retain(|(of, _), _| *of != member);
        tracing::warn!(
            target: "audit", action = "release", member = %member,
            generation = release.generation, from = request.from, grant = release.grant,
            "manager_unlocked_by_peers"
        );
        Ok(pb::ReleaseResponse {
            grant: release.grant,
            encapsulation: encapsulation.as_bytes().clone(),
            sealed_half: sealed.as_bytes().clone(),
        })
    }

    /// Whether a member gives a sign of life after a request in its name came: the leader is the
    /// member itself, or hears from it what it said since. A connection that was open when the
    /// power went is none.
    async fn is_alive(&self, member: MemberId, asked_at: Instant) -> bool {
        if member == self.raft.me {
            return true;
        }
        tokio::time::sleep(self.raft.profile.lease()).await;
        self.raft.heard_from(member).is_some_and(|at| at > asked_at)
    }

    /// What who asks is told, and who else is.
    async fn turned_down(&self, request: &Request, reason: ReleaseRefusal) -> Failure {
        match reason {
            ReleaseRefusal::Evicted => self.alarm(request, AlarmReason::Evicted).await,
            ReleaseRefusal::Stale if self.has_generations(request.member()) => {
                self.alarm(request, AlarmReason::Stale).await;
            }
            ReleaseRefusal::ToBeApproved => self.releases.wait(request),
            ReleaseRefusal::Stale
            | ReleaseRefusal::Off
            | ReleaseRefusal::Ended
            | ReleaseRefusal::TooSoon => {}
        }
        let failure = refused(&Refusal::Release { member: request.member(), reason });
        match reason {
            ReleaseRefusal::ToBeApproved => {
                let (member, host) = (request.member(), request.host());
                failure.hint(format!("`secretctl cluster approve {member} --from {host}`"))
            }
            ReleaseRefusal::TooSoon => failure,
            _ => failure.hint(PEERS_RUNBOOK),
        }
    }

    /// Since peers began to unlock anew, every disk without a generation of then is like any other:
    /// it says nothing of copies.
    fn has_generations(&self, member: MemberId) -> bool {
        let state = self.raft.machine.state();
        state.boot().member(member).is_some_and(|boot| boot.generations().next().is_some())
    }

    /// Puts an alarm into the state, now and then.
    async fn alarm(&self, request: &Request, reason: AlarmReason) {
        let (member, generation) = (request.member(), request.release.generation);
        let was_here = {
            let state = self.raft.machine.state();
            state.member(member).is_some() || state.is_removed_member(member)
        };
        let count = was_here.then(|| self.releases.count(member, reason)).flatten();
        let Some(count) = count else { return };
        let from = request.from.clone();
        tracing::error!(
            target: "audit", action = "release", member = %member, reason = reason.as_str(),
            generation, from, "manager_not_unlocked_by_peers"
        );
        let command = BootCommand::RaiseAlarm { member, reason, generation, from, count };
        if let Err(failure) = self.propose(self.cluster_caller(), None, command.into()).await {
            tracing::error!(%failure, "alarm_not_kept");
        }
    }

    /// A manager begins to turn to another generation.
    pub(super) async fn stage_boot(
        &self,
        caller: Caller,
        request: pb::StageBootRequest,
    ) -> Result<pb::StageBootResponse, Failure> {
        self.barrier().await?;
        let member = of_manager(caller)?;
        let cluster = self.cluster()?;
        let (subject, key) = (Subject::Boot(member), &request.public_key);
        let issued = self.issue(subject, key, now())?;
        let peer = PeerSecretKey::make();
        let root = self.keyring.root(cluster.active_root);
        let root = root.map_err(|_| root_keys::no_root_key())?;
        let made_of = NewGeneration {
            boot: BootKey {
                serial: issued.serial,
                key_digest: issued.record.key_digest,
                not_after: issued.record.not_after,
            },
            public_key: Blob(peer.public().as_bytes().clone()),
            wrapped_key: root.wrap_peer_key(cluster.realm, member, &peer),
        };
        let held = Some(request.held).filter(|held| *held > 0);
        let replaces = Some(request.replaces).filter(|replaces| *replaces > 0);
        let command = BootCommand::Stage { member, held, made_of: Box::new(made_of), replaces };
        match self.propose(caller, None, command.into()).await? {
            Outcome::Entry { index } => Ok(pb::StageBootResponse {
                generation: index,
                certificate: issued.der.to_vec().into(),
                peer_public_key: peer.public().as_bytes().clone(),
            }),
            other => Err(unexpected(&other)),
        }
    }

    /// A manager's disk is of a generation.
    pub(super) async fn acknowledge_boot(
        &self,
        caller: Caller,
        request: pb::AcknowledgeBootRequest,
    ) -> Result<pb::AcknowledgeBootResponse, Failure> {
        let member = of_manager(caller)?;
        let generation = request.generation;
        let command = BootCommand::Acknowledge { member, generation };
        self.propose(caller, None, command.into()).await?;
        Ok(pb::AcknowledgeBootResponse {})
    }

    /// A manager that runs found that another disk of it was let in.
    pub(super) async fn report_copy(
        &self,
        caller: Caller,
        request: pb::ReportCopyRequest,
    ) -> Result<pb::ReportCopyResponse, Failure> {
        let member = of_manager(caller)?;
        let command = BootCommand::RaiseAlarm {
            member,
            reason: AlarmReason::LetIn,
            generation: request.generation,
            from: String::new(),
            count: 1,
        };
        self.propose(caller, None, command.into()).await?;
        Ok(pb::ReportCopyResponse {})
    }

    pub(super) async fn update_peers(
        &self,
        caller: Caller,
        request: pb::UpdatePeersRequest,
    ) -> Result<pb::UpdatePeersResponse, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        let policy = match request.policy() {
            pb::PeerPolicy::Off => PeerPolicy::Off,
            pb::PeerPolicy::Approve => PeerPolicy::Approve,
            pb::PeerPolicy::Auto => PeerPolicy::Auto,
            pb::PeerPolicy::Unspecified => {
                return Err(Failure::new(Kind::Invalid, "the policy is not said")
                    .hint("off, approve or auto"));
            }
        };
        self.propose(caller, Some(mark), BootCommand::SetPolicy { policy }.into()).await?;
        Ok(pb::UpdatePeersResponse {})
    }

    /// An operator agrees to a request that waits, from the host where it was seen to come from: one
    /// from elsewhere, since then or at the same time, is not what was looked at.
    pub(super) async fn approve_release(
        &self,
        caller: Caller,
        request: pb::ApproveReleaseRequest,
    ) -> Result<pb::PendingRelease, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        let member = MemberId(request.member);
        self.member_info(member)?;
        if request.from.is_empty() {
            return Err(Failure::new(Kind::Invalid, "the host that asks is not said"));
        }
        let host = host_of(&request.from);
        let asker = (member, host.clone());
        let waits = self.releases.waiting().get(&asker).map(|one| one.info.clone());
        let waits = waits.ok_or_else(|| {
            let text = format!("manager {member} does not wait for consent at {host}");
            Failure::new(Kind::Precondition, text)
                .because("nothing asked in its name from there within the last minute")
                .hint("`secretctl cluster status` shows who asks, and from where")
        })?;
        let command = BootCommand::Approve { member, generation: waits.generation, host };
        self.propose(caller, Some(mark), command.into()).await?;
        Ok(waits)
    }

    pub(super) async fn clear_alarm(
        &self,
        caller: Caller,
        request: pb::ClearAlarmRequest,
    ) -> Result<pb::ClearAlarmResponse, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        let command = BootCommand::ClearAlarm { member: MemberId(request.member) };
        self.propose(caller, Some(mark), command.into()).await?;
        Ok(pb::ClearAlarmResponse {})
    }
}

const PEERS_RUNBOOK: &str = "docs/operations/peers.md";

/// How managers unlock one another, for the status.
pub(super) fn in_status(state: &state::State, pending: Vec<pb::PendingRelease>) -> pb::PeersStatus {
    let boot = state.boot();
    let policy = match boot.policy() {
        PeerPolicy::Off => pb::PeerPolicy::Off,
        PeerPolicy::Approve => pb::PeerPolicy::Approve,
        PeerPolicy::Auto => pb::PeerPolicy::Auto,
    };
    let alarms = boot.alarms().iter().map(|(member, alarm)| pb::ReleaseAlarm {
        member: member.0,
        reason: alarm.reason.as_str().into(),
        generation: alarm.generation,
        from: alarm.from.clone(),
        first_at: alarm.first_at.0,
        last_at: alarm.last_at.0,
        count: alarm.count,
    });
    pb::PeersStatus { policy: policy.into(), pending, alarms: alarms.collect() }
}

/// When a member's peers were last given what opens it.
pub(super) fn since(state: &state::State, member: MemberId) -> Option<Timestamp> {
    let current = state.boot().member(member)?.current.as_ref()?;
    Some(current.staged_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_told_at_once_and_then_ever_more_seldom() {
        let releases = Releases::default();
        let (member, stale) = (MemberId(3), AlarmReason::Stale);
        assert_eq!(releases.count(member, stale), Some(1));
        assert_eq!(releases.count(member, stale), None);
        assert_eq!(releases.count(member, stale), None);
        // Another one is news, and does not make the first one news again.
        assert_eq!(releases.count(member, AlarmReason::Alive), Some(1));
        assert_eq!(releases.count(MemberId(4), stale), Some(1));
        assert_eq!(releases.count(member, stale), None);

        let mut told = releases.told.lock().unwrap();
        let known = told.get_mut(&(member, stale)).unwrap();
        known.again_after = Duration::ZERO;
        known.since = 5;
        drop(told);
        assert_eq!(releases.count(member, stale), Some(6));
    }

    #[test]
    fn of_too_many_alarms_the_one_that_is_quiet_longest_is_forgotten() {
        let releases = Releases::default();
        let count = |id: u64| releases.count(MemberId(id), AlarmReason::Stale);
        let last = u64::try_from(ALARMS_MAX).unwrap();
        for id in 1..=last {
            assert_eq!(count(id), Some(1));
        }
        assert_eq!(count(1), None, "it is loud");
        assert_eq!(count(last + 1), Some(1));
        assert_eq!(releases.told.lock().unwrap().len(), ALARMS_MAX);
        assert_eq!(count(1), None);
        assert_eq!(count(2), Some(1), "it was forgotten");
    }

    fn disk() -> Disk {
        Disk {
            realm: proto::id::Realm::from_bytes([1; 16]),
            incarnation: proto::id::Incarnation(1),
            member: MemberId(3),
        }
    }

    fn message(from: &str) -> pb::ReleaseRequest {
        let slot = PeerSecretKey::make().public().make_slot(disk(), 7).unwrap();
        pb::ReleaseRequest {
            generation: 7,
            sealed: slot.parameters.sealed().to_bytes().into(),
            public_key: seal::ReleaseSecretKey::make().public().as_bytes().clone(),
            nonce: vec![1; 32].into(),
            boot_key_digest: vec![2; 32].into(),
            from: from.into(),
        }
    }

    fn parse(message: pb::ReleaseRequest) -> Result<Request, Failure> {
        Request::parse(disk(), Serial::from_bytes([5; 16]), message)
    }

    fn request(from: &str) -> Request {
        parse(message(from)).unwrap()
    }

    fn host(number: usize) -> String {
        format!("10.0.0.{number}")
    }

    #[test]
    fn each_host_that_asks_waits_for_a_consent_of_its_own() {
        let releases = Releases::default();
        releases.wait(&request("10.0.0.3:1"));
        let first = releases.pending();
        assert_eq!((first.len(), first[0].member, &*first[0].from), (1, 3, "10.0.0.3:1"));
        let asker = (MemberId(3), "10.0.0.3".to_owned());
        releases.waiting().get_mut(&asker).unwrap().info.asked_at = 1;
        releases.wait(&request("10.0.0.3:2"));
        let again = releases.pending();
        assert_eq!((again.len(), &*again[0].from), (1, "10.0.0.3:2"));
        assert_eq!(again[0].asked_at, 1, "since when it waits");
        releases.wait(&request("10.6.6.6:1"));
        assert_eq!(releases.pending().len(), 2, "that is another one");
        releases.waiting().get_mut(&asker).unwrap().last -= PENDING;
        let left = releases.pending();
        assert_eq!((left.len(), &*left[0].from), (1, "10.6.6.6:1"), "who is silent is forgotten");
    }

    #[test]
    fn so_many_hosts_wait_in_one_members_name() {
        let releases = Releases::default();
        for number in 1..=ASKING_HOSTS_MAX {
            releases.wait(&request(&host(number)));
        }
        releases.wait(&request(&host(1)));
        assert_eq!(releases.pending().len(), ASKING_HOSTS_MAX);
        releases.wait(&request(&host(99)));
        let left: Vec<_> = releases.pending().into_iter().map(|one| one.from).collect();
        assert_eq!(left.len(), ASKING_HOSTS_MAX);
        assert!(left.contains(&host(1)) && left.contains(&host(99)) && !left.contains(&host(2)));
    }

    #[test]
    fn a_host_is_answered_one_request_at_a_time_and_hinders_no_other_member() {
        let releases = Releases::default();
        let member = MemberId(3);
        let of_host = |number| releases.look_at((member, host(number)));
        let first = of_host(1).ok().unwrap();
        assert_eq!(of_host(1).err().unwrap().kind, Kind::Unavailable);
        let others: Vec<_> = (2..=ASKING_HOSTS_MAX).map(|n| of_host(n).ok().unwrap()).collect();
        assert_eq!(of_host(99).err().unwrap().kind, Kind::Unavailable);
        assert!(releases.look_at((MemberId(4), host(1))).is_ok());
        drop(first);
        assert!(of_host(99).is_ok());
        drop(others);
        assert!(releases.asking().is_empty());
    }

    #[test]
    fn a_host_is_the_same_one_however_it_is_written() {
        for written in ["10.0.0.3:4711", "10.0.0.3", "[::ffff:10.0.0.3]:1", "::ffff:10.0.0.3"] {
            assert_eq!(host_of(written), "10.0.0.3", "{written}");
        }
        assert_eq!(host_of("[fd00::0:1]:1"), "fd00::1");
        assert_eq!(host_of("unix"), "unix");
    }

    #[test]
    fn a_request_is_whole_or_none() {
        let good = message(&"é".repeat(ADDRESS_BYTES_MAX));
        let parsed = parse(good.clone()).unwrap();
        assert!(parsed.from.len() <= ADDRESS_BYTES_MAX, "what is shown of it is bounded");
        let changes: [fn(&mut pb::ReleaseRequest); 4] = [
            |request| request.sealed = vec![1; 124].into(),
            |request| request.public_key = vec![1; 3].into(),
            |request| request.nonce = vec![1; 31].into(),
            |request| request.boot_key_digest = vec![1; 33].into(),
        ];
        for change in changes {
            let mut wrong = good.clone();
            change(&mut wrong);
            assert!(parse(wrong).is_err_and(|failure| failure.kind == Kind::Invalid));
        }
    }
}
