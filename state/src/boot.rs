//! Managers that their peers may unlock: of each member, what opens its key file with the cluster's
//! help, and what was asked in its name.
//!
//! A *generation* of a member is what opens one making of its `peers` slot: a boot key, by its hash,
//! and a peer key, whose private half stands here under the root key. Its number is the log index of
//! the entry that staged it. A member has a current one, and a staged one while it turns to the next:
//! staged until it has said that its disk is of that one. Protocol and argument:
//! `docs/design/peers.md`. Not here: the cryptography (seal), who is alive (store).
//!
//! Invariants: of each member at most one current and one staged generation, the staged one with the
//! higher number; whoever is granted, or turns, names a generation that is one of these, and ends
//! every other; a member that was removed, and any while the policy is `off`, has none.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use proto::id::{MemberId, Serial, Timestamp};
use proto::limits::ALARMS_MAX;
use proto::sealed::WrappedKey;

use crate::command::{Command, Rewrap};
use crate::object::{Blob, Digest, MemberState, ObjectId};
use crate::refusal::ReleaseRefusal;
use crate::root_keys::wrap_digest;
use crate::state::State;

/// How long after a grant the same member is refused another, in milliseconds: a manager that asks
/// again because an answer was lost hardly notices, and a log cannot be filled with grants.
pub const GRANT_EVERY_MS: u64 = 2_000;

/// How long an operator's consent is good for, in milliseconds.
pub const CONSENT_MS: u64 = 600_000;

/// Whether peers unlock a manager that restarted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum PeerPolicy {
    /// They do not, and no member has a generation.
    #[default]
    #[n(0)]
    Off,
    /// With an operator's consent for each release.
    #[n(1)]
    Approve,
    /// By themselves.
    #[n(2)]
    Auto,
}

impl PeerPolicy {
    /// The name for people and in configurations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Approve => "approve",
            Self::Auto => "auto",
        }
    }
}

/// The boot key of a generation, and its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct BootKey {
    /// Serial number of the certificate.
    #[n(0)]
    pub serial: Serial,
    /// SHA-256 of the key in it.
    #[n(1)]
    pub key_digest: Digest,
    /// When the certificate ends.
    #[n(2)]
    pub not_after: Timestamp,
}

/// What a generation is made of; the member has the rest.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NewGeneration {
    /// What the member asks with.
    #[n(0)]
    pub boot: BootKey,
    /// The peer key's public half: KEM id and key.
    #[n(1)]
    pub public_key: Blob,
    /// Its private half under the active root key.
    #[n(2)]
    pub wrapped_key: WrappedKey,
}

/// A generation of a member.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BootGeneration {
    /// The log index of the entry that staged it.
    #[n(0)]
    pub number: u64,
    /// When that was.
    #[n(1)]
    pub staged_at: Timestamp,
    /// What it is made of.
    #[n(2)]
    pub made_of: NewGeneration,
}

/// A release that was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Granted {
    /// The log index of the grant.
    #[n(0)]
    pub index: u64,
    /// For which generation.
    #[n(1)]
    pub generation: u64,
    /// When.
    #[n(2)]
    pub at: Timestamp,
}

/// An operator's consent to one release.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Consent {
    /// Of which generation.
    #[n(0)]
    pub generation: u64,
    /// It is good before this time.
    #[n(1)]
    pub until: Timestamp,
    /// For who asks from there: the host that the operator saw.
    #[n(2)]
    pub host: String,
}

/// A request to be unlocked, as far as the state looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The generation that its disk is of, by its word.
    pub generation: u64,
    /// Serial number of the boot key's certificate.
    pub serial: Serial,
    /// SHA-256 of the boot key.
    pub key_digest: &'a Digest,
    /// The host that it came from.
    pub host: &'a str,
}

/// What may be asked of the slots that peers open.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum BootCommand {
    /// Whether peers unlock a manager that restarted; `off` ends every generation.
    #[n(0)]
    SetPolicy {
        /// The new policy.
        #[n(0)]
        policy: PeerPolicy,
    },
    /// A member begins to turn to another generation: its number is the index of this entry.
    #[n(1)]
    Stage {
        /// Which member.
        #[n(0)]
        member: MemberId,
        /// The generation that its key file is sealed to; none if it has no such slot.
        #[n(1)]
        held: Option<u64>,
        /// The next one.
        #[n(2)]
        made_of: Box<NewGeneration>,
        /// The generation that is staged by the member's knowledge, whose place this one takes: a
        /// request that was sent twice stages once.
        #[n(3)]
        replaces: Option<u64>,
    },
    /// A member's disk is of a generation: every other one ends.
    #[n(2)]
    Acknowledge {
        /// Which member.
        #[n(0)]
        member: MemberId,
        /// The generation.
        #[n(1)]
        generation: u64,
    },
    /// A locked member is given what opens its key file.
    #[n(3)]
    Grant {
        /// Which member.
        #[n(0)]
        member: MemberId,
        /// The generation that its disk is of.
        #[n(1)]
        generation: u64,
        /// The boot key that it asked with.
        #[n(2)]
        by: BootKey,
        /// The host that it asked from.
        #[n(3)]
        host: String,
    },
    /// An operator agrees to one release.
    #[n(4)]
    Approve {
        /// Which member.
        #[n(0)]
        member: MemberId,
        /// Of which generation.
        #[n(1)]
        generation: u64,
        /// For who asks from this host.
        #[n(2)]
        host: String,
    },
    /// Somebody asked in a member's name who cannot be it, or not alone.
    #[n(5)]
    RaiseAlarm {
        /// Which member.
        #[n(0)]
        member: MemberId,
        /// Why it is one.
        #[n(1)]
        reason: AlarmReason,
        /// The generation that was named.
        #[n(2)]
        generation: u64,
        /// From where it came.
        #[n(3)]
        from: String,
        /// How often, since the last one.
        #[n(4)]
        count: u64,
    },
    /// An admin has seen to an alarm.
    #[n(6)]
    ClearAlarm {
        /// Of which member.
        #[n(0)]
        member: MemberId,
    },
}

impl BootCommand {
    /// The name in the audit and in metrics.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::SetPolicy { .. } => "set_peer_policy",
            Self::Stage { .. } => "stage_boot",
            Self::Acknowledge { .. } => "acknowledge_boot",
            Self::Grant { .. } => "grant_release",
            Self::Approve { .. } => "approve_release",
            Self::RaiseAlarm { .. } => "raise_alarm",
            Self::ClearAlarm { .. } => "clear_alarm",
        }
    }

    /// What the command is about.
    pub(crate) const fn object(&self) -> ObjectId {
        match self {
            Self::SetPolicy { .. } => ObjectId::Cluster,
            Self::Stage { member, .. }
            | Self::Acknowledge { member, .. }
            | Self::Grant { member, .. }
            | Self::Approve { member, .. }
            | Self::RaiseAlarm { member, .. }
            | Self::ClearAlarm { member } => ObjectId::Member(*member),
        }
    }
}

impl From<BootCommand> for Command {
    fn from(command: BootCommand) -> Self {
        Self::Boot(command)
    }
}

/// What opens one member's key file with the cluster's help.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct MemberBoot {
    /// Which its disk is of, by its last word.
    #[n(0)]
    pub current: Option<BootGeneration>,
    /// Which it may be of by now.
    #[n(1)]
    pub staged: Option<BootGeneration>,
    /// The last grant.
    #[n(2)]
    pub granted: Option<Granted>,
    /// Consent that was not used yet.
    #[n(3)]
    pub consent: Option<Consent>,
}

impl MemberBoot {
    /// The generation with this number.
    pub fn generation(&self, number: u64) -> Option<&BootGeneration> {
        self.generations().find(|generation| generation.number == number)
    }

    /// The current one and the staged one.
    pub fn generations(&self) -> impl Iterator<Item = &BootGeneration> {
        self.current.iter().chain(&self.staged)
    }

    /// The member's disk is of the generation with this number: it is the current one from now on,
    /// and ends the other. False if it is neither.
    pub(crate) fn settle(&mut self, number: u64) -> bool {
        let is_it = |one: &Option<BootGeneration>| one.as_ref().is_some_and(|g| g.number == number);
        if is_it(&self.staged) {
            self.current = self.staged.take();
            self.consent = None;
        }
        if !is_it(&self.current) {
            return false;
        }
        self.staged = None;
        true
    }
}

/// Why a request in a member's name is worth an operator's look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum AlarmReason {
    /// It came of a generation that ended: a copy of the disk, or the disk of which a copy was let
    /// in.
    #[n(0)]
    Stale,
    /// The member was removed.
    #[n(1)]
    Evicted,
    /// The member runs elsewhere.
    #[n(2)]
    Alive,
    /// By the member's own word: it ran, and another disk of it was granted a release.
    #[n(3)]
    LetIn,
}

impl AlarmReason {
    /// The name for people and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Evicted => "evicted",
            Self::Alive => "alive",
            Self::LetIn => "let-in",
        }
    }
}

/// Requests in one member's name that were not its, or that it cannot be told whose they were.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Alarm {
    /// Why, the last time.
    #[n(0)]
    pub reason: AlarmReason,
    /// Which generation was named then.
    #[n(1)]
    pub generation: u64,
    /// From where that came.
    #[n(2)]
    pub from: String,
    /// When the first one was.
    #[n(3)]
    pub first_at: Timestamp,
    /// When the last one was.
    #[n(4)]
    pub last_at: Timestamp,
    /// How many.
    #[n(5)]
    pub count: u64,
}

/// All members whose peers may unlock them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Boot {
    #[n(0)]
    pub(crate) policy: PeerPolicy,
    #[n(1)]
    pub(crate) members: BTreeMap<MemberId, MemberBoot>,
    #[n(2)]
    pub(crate) alarms: BTreeMap<MemberId, Alarm>,
}

impl Boot {
    /// Whether peers unlock.
    pub const fn policy(&self) -> PeerPolicy {
        self.policy
    }

    /// What is known of a member; none if it never staged anything.
    pub fn member(&self, id: MemberId) -> Option<&MemberBoot> {
        self.members.get(&id)
    }

    /// Alarms that no admin has cleared, by the member in whose name was asked.
    pub const fn alarms(&self) -> &BTreeMap<MemberId, Alarm> {
        &self.alarms
    }

    /// Every generation, and whose it is. The peer key of each lies under a root key: a rotation
    /// wraps it anew, and a key is not retired while one is under it.
    pub fn generations(&self) -> impl Iterator<Item = (MemberId, &BootGeneration)> {
        self.members.iter().flat_map(|(id, boot)| boot.generations().map(|one| (*id, one)))
    }

    /// Puts another wrap in the place of the one that it was made from; false if that is not there.
    pub(crate) fn rewrap(&mut self, member: MemberId, generation: u64, item: &Rewrap) -> bool {
        let generations = self.members.get_mut(&member).into_iter();
        let mut generations = generations.flat_map(|boot| [&mut boot.current, &mut boot.staged]);
        let found = generations.find_map(|one| one.as_mut().filter(|one| one.number == generation));
        let wrap = found.map(|one| &mut one.made_of.wrapped_key);
        let Some(wrap) = wrap.filter(|wrap| wrap_digest(wrap) == item.old) else { return false };
        *wrap = item.new.clone();
        true
    }

    /// Whether this certificate is that of a generation that was not ended.
    pub(crate) fn stands(&self, member: MemberId, serial: Serial, key_digest: &Digest) -> bool {
        self.member(member).is_some_and(|boot| {
            boot.generations().any(|one| {
                one.made_of.boot.serial == serial && one.made_of.boot.key_digest == *key_digest
            })
        })
    }

    /// Notes an alarm; of too many, the one that is quiet longest goes.
    pub(crate) fn note(&mut self, member: MemberId, mut alarm: Alarm) {
        if let Some(known) = self.alarms.get(&member) {
            alarm.first_at = known.first_at;
            alarm.count = alarm.count.saturating_add(known.count);
        }
        self.alarms.insert(member, alarm);
        while self.alarms.len() > ALARMS_MAX {
            let quiet = self.alarms.iter().min_by_key(|(id, alarm)| (alarm.last_at, **id));
            let Some(quiet) = quiet.map(|(id, _)| *id) else { break };
            self.alarms.remove(&quiet);
        }
    }
}

impl State {
    /// Whether a member may be given what opens its key file, if it asks with this certificate at
    /// this time: checks 1 to 6 of `docs/design/peers.md`. Asked by the leader before it proposes, and
    /// by `apply` of the grant itself, where the order against everything else lies.
    ///
    /// # Errors
    ///
    /// The first of the checks that fails.
    pub fn releasable(
        &self,
        id: MemberId,
        asked: Asked<'_>,
        at: Timestamp,
    ) -> Result<&BootGeneration, ReleaseRefusal> {
        let member = self.members.get(&id).filter(|member| member.state != MemberState::Leaving);
        if member.is_none() || self.removed_members.contains(&id) {
            return Err(ReleaseRefusal::Evicted);
        }
        if self.boot.policy == PeerPolicy::Off {
            return Err(ReleaseRefusal::Off);
        }
        let boot = self.boot.member(id).ok_or(ReleaseRefusal::Stale)?;
        let known = boot.generation(asked.generation).ok_or(ReleaseRefusal::Stale)?;
        let key = &known.made_of.boot;
        if (key.serial, &key.key_digest) != (asked.serial, asked.key_digest) {
            return Err(ReleaseRefusal::Stale);
        }
        if key.not_after <= at {
            return Err(ReleaseRefusal::Ended);
        }
        let consents = |consent: &Consent| {
            consent.generation == asked.generation
                && consent.host == asked.host
                && at < consent.until
        };
        if self.boot.policy == PeerPolicy::Approve && !boot.consent.as_ref().is_some_and(consents) {
            return Err(ReleaseRefusal::ToBeApproved);
        }
        if boot.granted.is_some_and(|last| at.ms_since(last.at) < GRANT_EVERY_MS) {
            return Err(ReleaseRefusal::TooSoon);
        }
        Ok(known)
    }
}
