//! The service layer: the one place that decides whether a caller may, and what a request means.
//!
//! Fronts parse and render; state decides what depends on the state alone. In between, here: who
//! the caller is, what its role allows (one table), names to ids, sealing boxes to wraps, ids and
//! proposals, and failures with what to do next.
//!
//! Invariant: every call of [`Service::call`] is authorised by the table before anything else, and
//! every refusal is counted.

mod authorise;
mod backups;
mod ca_rotation;
mod calls;
mod certificate_rotation;
mod clear;
mod compare;
mod configs;
mod containers;
mod denials;
mod enroll;
mod execs;
mod figures;
mod keys;
mod locking;
mod lookup;
mod made_keys;
mod members;
pub(crate) mod networks;
mod nodes;
mod operators;
mod read_back;
mod releases;
mod render;
mod root_keys;
mod route;
mod secrets;
mod services;
mod shredding;
mod slots;
mod status;
mod tokens;
mod trials;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use link::Failure;
use link::accept::{Connections, Peer};
use link::certificate::PeerCertificate;
use prost::Message;
use proto::Kind;
use proto::convert::ParseError;
use proto::id::{Incarnation, RequestKey, Timestamp};
use proto::identity::{Caller, Role, Subject};
use state::command::{Command, Envelope};
use state::object::{Cluster, Digest, RequestMark};
use state::{Outcome, Refusal, Standing, State};

pub(crate) use self::authorise::CallName;
pub(crate) use self::backups::{BACKUP_FORMAT, BackupDesk};
pub(crate) use self::ca_rotation::{Moves, TlsAnchor};
pub(crate) use self::calls::{Call, forwarded};
pub(crate) use self::clear::NewValue;
pub(crate) use self::compare::Comparing;
pub(crate) use self::denials::Denials;
pub(crate) use self::figures::Figures;
pub(crate) use self::keys::KeyDesk;
pub(crate) use self::locking::unlock_key;
pub(crate) use self::made_keys::MadeKeys;
pub(crate) use self::members::{MemberWatch, check_address, describe};
pub(crate) use self::releases::Releases;
pub(crate) use self::render::update_state;
use crate::keys::{HeldKeys, Keyring};
use crate::raft::{BarrierError, ProposeError, Proposed, Raft};
use crate::roots::Roots;

/// The format of commands that this version proposes.
const COMMAND_FORMAT: u16 = 1;

/// What a manager does for its callers, once it is unlocked.
pub(crate) struct Service {
    pub(crate) raft: Raft,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) roots: Roots,
    /// What the key file holds, and for whom.
    pub(crate) keys: Arc<HeldKeys>,
    pub(crate) key_desk: KeyDesk,
    pub(crate) backup_desk: BackupDesk,
    pub(crate) denials: Arc<Denials>,
    /// Remote connections, to be cut when their subject is evicted.
    pub(crate) connections: Connections,
    pub(crate) members: MemberWatch,
    pub(crate) releases: Releases,
    /// Uid of the daemon: admin on its own socket, beside root.
    pub(crate) own_uid: u32,
    pub(crate) disk: DiskRoom,
    pub(crate) figures: Figures,
    pub(crate) moves: Moves,
    pub(crate) comparing: Comparing,
    pub(crate) local: LocalFacts,
}

/// Room on this manager's disk, as last seen.
#[derive(Debug, Default)]
pub(crate) struct DiskRoom {
    /// Bytes that may still be used.
    pub(crate) free_bytes: AtomicU64,
    /// Whether commands that grow the state are refused: this disk or a majority's is nearly full.
    pub(crate) full: AtomicBool,
}

/// What this manager says of itself.
#[derive(Debug, Clone)]
pub(crate) struct LocalFacts {
    pub(crate) memory_protection: String,
    pub(crate) unlocked_by: String,
    /// The life of the cluster that it is of.
    pub(crate) incarnation: Incarnation,
    /// The slot that an operator opened the key file with, if one did.
    pub(crate) brought: Option<seal::SlotPublicKey>,
}

/// The wall clock, for what people and certificates need; Raft never looks at it.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Service {
    /// Who is at the other end of a connection, if it may call at all.
    ///
    /// # Errors
    ///
    /// If it has no certificate, an expired one, or one the cluster does not stand by.
    pub(crate) async fn authenticate(&self, peer: &Peer) -> Result<Caller, Failure> {
        match peer {
            Peer::Local { uid } if *uid == 0 || *uid == self.own_uid => {
                Ok(Caller::Local { uid: *uid, member: self.raft.me })
            }
            Peer::Local { uid } => {
                self.denials.count(Caller::Local { uid: *uid, member: self.raft.me }, "socket");
                Err(Failure::new(
                    Kind::Denied,
                    format!("uid {uid} may not use this manager's socket"),
                )
                .hint(format!("run the command as root or as uid {}", self.own_uid))
                .hint("or enrol as an operator: `secretctl operator add` on the manager"))
            }
            Peer::Remote { certificate: None, .. } => {
                Err(Failure::new(Kind::Unauthenticated, "a client certificate is needed")
                    .hint("enrol with `secretctl context add NAME --token TOKEN`"))
            }
            Peer::Remote { certificate: Some(certificate), .. } => {
                self.check_standing(certificate).await?;
                if certificate.not_after <= now() {
                    self.denials.count(certified(certificate), "expired_certificate");
                    return Err(Failure::new(Kind::Unauthenticated, "the certificate has expired")
                        .hint("renew it: any other call is refused until then"));
                }
                self.note_use(certificate);
                Ok(certified(certificate))
            }
        }
    }

    /// The cluster stands by a certificate, though it may have expired.
    pub(crate) async fn check_standing(
        &self,
        certificate: &PeerCertificate,
    ) -> Result<(), Failure> {
        let mut standing = self.standing(certificate);
        if standing == Standing::Unknown {
            // It may have been issued a moment ago, and this manager lags.
            self.barrier().await?;
            standing = self.standing(certificate);
        }
        if standing == Standing::Unknown && certificate.not_after > now() {
            // A restored cluster lost the records of what was issued after its backup.
            let identity = certificate.identity;
            let state = self.raft.machine.state();
            standing = state.standing_without_record(
                identity.subject,
                identity.incarnation,
                certificate.not_after,
            );
        }
        self.judge(certified(certificate), standing)
    }

    /// Refuses a caller by whose certificate the cluster does not stand. Who was removed is told so,
    /// and an agent stops its tasks then: nobody else is.
    fn judge(&self, caller: Caller, standing: Standing) -> Result<(), Failure> {
        match standing {
            Standing::Good => Ok(()),
            Standing::Unknown => {
                self.denials.count(caller, "unknown_certificate");
                Err(Failure::new(
                    Kind::Unauthenticated,
                    "the certificate is not one that the cluster stands by",
                ))
            }
            Standing::Superseded => {
                self.denials.count(caller, "superseded_certificate");
                Err(Failure::new(Kind::Unauthenticated, "the certificate is not in force any more")
                    .because(
                        "certificates were rotated: another one took its place, or the rotation ended \
                         without it",
                    )
                    .hint("docs/operations/rotate-certificates.md"))
            }
            Standing::Revoked => {
                self.denials.count(caller, "revoked_certificate");
                let subject = caller.principal();
                Err(Failure::new(Kind::Evicted, format!("{subject} was removed from the cluster")))
            }
        }
    }

    /// The certificate that a caller showed stands by what is known by now: whoever looked at it first
    /// may have lagged. One without a record was judged then.
    ///
    /// # Errors
    ///
    /// If it was superseded or its holder removed.
    pub(crate) fn still_stands(&self, caller: Caller) -> Result<(), Failure> {
        let Caller::Certified { subject, serial } = caller else { return Ok(()) };
        let state = self.raft.machine.state();
        let known = state.certificates().get(&serial);
        let standing = known.map(|known| state.standing(serial, subject, &known.key_digest));
        standing.map_or(Ok(()), |standing| self.judge(caller, standing))
    }

    fn standing(&self, certificate: &PeerCertificate) -> Standing {
        let subject = certificate.identity.subject;
        let digest = Digest(certificate.key_digest);
        self.raft.machine.state().standing(certificate.serial, subject, &digest)
    }

    /// A caller that must be the agent of a node.
    pub(crate) async fn authenticate_as(
        &self,
        peer: &Peer,
        role: Role,
    ) -> Result<PeerCertificate, Failure> {
        let caller = self.authenticate(peer).await?;
        match peer {
            Peer::Remote { certificate: Some(certificate), .. }
                if certificate.identity.subject.role() == role =>
            {
                Ok(*certificate)
            }
            _ => {
                self.denials.count(caller, role.as_str());
                Err(Failure::new(Kind::Denied, format!("this call is for a {role}")))
            }
        }
    }

    /// Carries out a call on the leader: authorised, then done.
    ///
    /// # Errors
    ///
    /// What the caller is told; `NoLeader` if this manager does not lead with a majority.
    pub(crate) async fn call<C: Call>(
        &self,
        caller: Caller,
        request: C,
    ) -> Result<C::Response, Failure> {
        if !self.raft.is_leading() {
            return Err(no_leader());
        }
        self.still_stands(caller)?;
        if let Some(call) = C::ROLES {
            self.authorise(caller, call)?;
        }
        C::run(self, caller, request).await
    }

    /// Whether a caller may, of which nothing is counted.
    pub(crate) fn may(&self, caller: Caller, call: CallName) -> bool {
        let role = self.raft.machine.state().operator_role(caller.principal());
        authorise::is_allowed(role, call)
    }

    /// Whether a caller is an admin.
    pub(crate) fn is_admin(&self, caller: Caller) -> bool {
        let role = self.raft.machine.state().operator_role(caller.principal());
        role == Some(state::object::OperatorRole::Admin)
    }

    /// Looks the call up in the table.
    pub(crate) fn authorise(&self, caller: Caller, call: CallName) -> Result<(), Failure> {
        if self.may(caller, call) {
            return Ok(());
        }
        let role = self.raft.machine.state().operator_role(caller.principal());
        self.denials.count(caller, call.as_str());
        let failure = match role {
            Some(role) => Failure::new(
                Kind::Denied,
                format!("the role {} does not allow {}", role.as_str(), call.as_str()),
            )
            .hint(format!("roles that do: {}", authorise::roles_for(call))),
            None => Failure::new(Kind::Denied, format!("{} is for operators", call.as_str())),
        };
        Err(failure)
    }

    /// Waits until everything acknowledged so far can be read here.
    pub(crate) async fn barrier(&self) -> Result<(), Failure> {
        self.raft.barrier().await.map(|_| ()).map_err(|error| match error {
            BarrierError::NoLeader => no_leader(),
            BarrierError::Stopped => Failure::new(Kind::Unavailable, error.to_string()),
        })
    }

    /// The cluster as it is now.
    pub(crate) fn cluster(&self) -> Result<Arc<Cluster>, Failure> {
        cluster_of(&self.raft.machine.state())
    }

    /// Proposes a command for a caller's request.
    pub(crate) async fn propose(
        &self,
        caller: Caller,
        request: Option<RequestMark>,
        body: Command,
    ) -> Result<Outcome, Failure> {
        self.propose_raw(caller, request, body).await?.map_err(|r| refused(&r))
    }

    /// Proposes a command and leaves its refusal to whoever asked.
    pub(crate) async fn propose_raw(
        &self,
        caller: Caller,
        request: Option<RequestMark>,
        body: Command,
    ) -> Result<Proposed, Failure> {
        if body.grows() && self.is_full() {
            return Err(Failure::new(Kind::Full, "the disk of a manager is nearly full")
                .because("a change that makes the cluster's state larger was refused")
                .hint("make room: docs/operations/disk-full.md; removals still work"));
        }
        self.put(caller, request, body).await.map_err(|error| not_proposed(&error))
    }

    /// Proposes a command that does not make the state larger.
    async fn put(
        &self,
        caller: Caller,
        request: Option<RequestMark>,
        body: Command,
    ) -> Result<Proposed, ProposeError> {
        let envelope = Envelope { format: COMMAND_FORMAT, request, caller, at: now(), body };
        self.raft.propose(envelope).await
    }

    /// Whether commands that grow the state are refused.
    pub(crate) fn is_full(&self) -> bool {
        self.disk.full.load(Ordering::Relaxed)
    }

    /// Bytes that may still be used on this manager's disk.
    pub(crate) fn disk_free_bytes(&self) -> u64 {
        self.disk.free_bytes.load(Ordering::Relaxed)
    }

    /// The caller a manager is for what the cluster decides itself.
    pub(crate) const fn cluster_caller(&self) -> Caller {
        Caller::Cluster { member: self.raft.me }
    }
}

/// The cluster that a state is of.
fn cluster_of(state: &State) -> Result<Arc<Cluster>, Failure> {
    state.cluster().cloned().ok_or_else(|| {
        Failure::new(Kind::Precondition, "this manager is not part of a cluster yet")
    })
}

/// A command that was not proposed, or of which nobody knows what became.
pub(crate) fn not_proposed(error: &ProposeError) -> Failure {
    match error {
        ProposeError::NotLeader => no_leader(),
        ProposeError::Busy => {
            Failure::new(Kind::Unavailable, error.to_string()).hint("try again in a moment")
        }
        ProposeError::TooLarge => Failure::new(Kind::TooLarge, error.to_string()),
        ProposeError::Unknown => Failure::new(Kind::Timeout, error.to_string())
            .because("no majority of managers confirmed it in time")
            .hint("retrying the same request is safe"),
        ProposeError::Stopped => Failure::new(Kind::Unavailable, error.to_string()),
    }
}

/// The mark of a request: who asked, with which key, what.
pub(crate) fn mark(
    caller: &Caller,
    key: &[u8],
    request: &impl Message,
) -> Result<RequestMark, Failure> {
    let key: RequestKey = proto::convert::request_key(key).map_err(|e| parse_failure(&e))?;
    let digest = Digest(seal::digest_of(&request.encode_to_vec()));
    Ok(RequestMark { principal: caller.principal(), key, digest })
}

/// The caller that a certificate stands for.
pub(crate) const fn certified(certificate: &PeerCertificate) -> Caller {
    Caller::Certified { subject: certificate.identity.subject, serial: certificate.serial }
}

/// The node of an agent's certificate.
pub(crate) const fn agent_node(certificate: &PeerCertificate) -> Option<proto::id::NodeId> {
    match certificate.identity.subject {
        Subject::Agent(node) => Some(node),
        Subject::Manager(..) | Subject::Operator(_) | Subject::Boot(_) => None,
    }
}

pub(crate) fn no_leader() -> Failure {
    Failure::new(Kind::NoLeader, "there is no leader that a majority of the managers confirms")
        .hint("nothing was changed; `secretctl cluster status` shows who is missing")
        .hint("docs/operations/lost-quorum.md")
}

/// A request's field is not what it is for.
pub(crate) fn parse_failure(error: &ParseError) -> Failure {
    Failure::new(Kind::Invalid, error.reason.clone())
        .because(format!("the field `{}` of the request", error.field))
}

/// A refusal of the state, with what to do next.
pub(crate) fn refused(refusal: &Refusal) -> Failure {
    let failure = Failure::new(refusal.kind(), refusal.to_string());
    match refusal {
        Refusal::Exists { what, name, .. } if what == "secret" => failure
            .hint(format!("to start over, `secretctl rm {name}`"))
            .hint("names are compared without regard to case"),
        Refusal::Exists { what, .. } if what == "config" => failure
            .hint("a config's value never changes: make another one, and have services use that")
            .hint("names are compared without regard to case"),
        Refusal::Exists { what, .. } if what == "node" => failure
            .hint("give this machine another name with `--hostname`")
            .hint("a node that is gone for good: `secretctl node rm`"),
        Refusal::InUse { what, name, previous_only: true, .. } => {
            let rm = if *what == "config" { "config rm" } else { "rm" };
            failure
                .because("a previous spec, to which the service could be rolled back, refers to it")
                .hint(format!("`secretctl {rm} --forget-previous {name}` gives those specs up"))
        }
        Refusal::InUse { .. } => failure.hint("remove it from those services first"),
        Refusal::Stale { .. } => {
            failure.hint("somebody else changed it meanwhile: look at it again, then retry")
        }
        Refusal::NotUsable { .. } => {
            failure.hint("ask an admin, or have it created anew with `--usable-by`")
        }
        Refusal::Token { .. } => failure.hint("make a new one: `secretctl cluster join-token`"),
        Refusal::Limit { .. } => failure.hint("docs/operations/limits.md"),
        Refusal::RecipientsChanged { .. } => {
            failure.hint("somebody else changed the locking meanwhile: `secretctl cluster status`")
        }
        Refusal::TransitRetired => failure.hint("run the command again: it seals anew"),
        _ => failure,
    }
}

/// An error that is a fault of ours: an incident number for the caller, the chain for the log.
pub(crate) fn internal(error: &dyn std::error::Error) -> Failure {
    let incident = proto::hex::encode(&seal::random::<4>());
    let mut chain = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        chain.push_str(": ");
        chain.push_str(&error.to_string());
        source = error.source();
    }
    tracing::error!(incident, error = chain, "internal_error");
    Failure::new(Kind::Internal, format!("internal error, incident {incident}"))
        .hint("the manager's log has the details under that number")
}
