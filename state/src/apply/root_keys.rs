//! Rotating the root key: announced, held by a majority, active, everything wrapped anew, retired,
//! destroyed by every member, and log keys after it.
//!
//! What comes next is decided by the leader (store) and judged here: a step that comes too early, or
//! twice, is refused or does nothing.

use std::sync::Arc;

use proto::id::{KeyId, MemberId};
use proto::limits::REWRAPS_MAX;
use proto::sealed::WrappedKey;

use super::{Applying, Context};
use crate::command::Rewrap;
use crate::object::{Cluster, Member, MemberState, ObjectId};
use crate::refusal::Refusal;
use crate::remembered::Outcome;
use crate::root_keys::{FinishedRoot, Phase, RootRotation, Unproved, Wrapped, wrap_digest};

/// Members removed without proof that are remembered: far more than a cluster loses in its life.
const UNPROVED_MAX: usize = 64;

fn names(members: &[MemberId]) -> String {
    let who = if members.len() == 1 { "manager" } else { "managers" };
    let ids: Vec<_> = members.iter().map(ToString::to_string).collect();
    format!("{who} {}", ids.join(", "))
}

impl Context<'_> {
    fn existing_cluster(&self) -> Result<Arc<Cluster>, Refusal> {
        let cluster = self.state.cluster.clone();
        cluster.ok_or_else(|| Refusal::precondition("there is no cluster yet"))
    }

    fn set_cluster(&mut self, mut cluster: Arc<Cluster>) {
        Arc::make_mut(&mut cluster).revision = self.revision();
        self.state.cluster = Some(cluster);
        self.updated(ObjectId::Cluster);
    }

    /// The rotation of this key, in one of these phases.
    fn root_rotation(&mut self, id: KeyId, phases: &[Phase]) -> Result<&mut RootRotation, Refusal> {
        let rotation = self.state.root_keys.rotation.as_mut();
        let rotation = rotation.filter(|rotation| {
            let key = if rotation.needs_old() { rotation.id } else { rotation.old };
            key == id && phases.contains(&rotation.phase)
        });
        rotation.ok_or_else(|| Refusal::precondition("the root key rotation is elsewhere by now"))
    }

    /// What a rotation that is under way waits for, for people.
    fn root_rotation_waits(&self, rotation: &RootRotation) -> String {
        let pending = self.state.root_rotation_pending();
        let left = self.state.wraps_under(rotation.old);
        let objects = (rotation.phase == Phase::Active && left > 0)
            .then(|| format!("{left} of {} objects are to be wrapped anew", rotation.objects));
        let members = (!pending.is_empty()).then(|| format!("it waits for {}", names(&pending)));
        let waits: Vec<_> = objects.into_iter().chain(members).collect();
        if waits.is_empty() { "it is about to go on".into() } else { waits.join(", ") }
    }

    fn root_key_rotates(&self, rotation: &RootRotation) -> Refusal {
        Refusal::precondition(format!(
            "root key rotation {} is in progress: {}",
            self.state.root_keys.number,
            self.root_rotation_waits(rotation)
        ))
    }

    /// Refuses while a rotation is under way.
    pub(super) fn root_key_rests(&self) -> Result<(), Refusal> {
        let rotation = self.state.root_keys.rotation.as_ref();
        rotation.map_or(Ok(()), |rotation| Err(self.root_key_rotates(rotation)))
    }

    /// A new root key is made and held by `member`; all others fetch it.
    pub(super) fn announce_root(
        &mut self,
        id: KeyId,
        member: MemberId,
        replaces: Option<KeyId>,
    ) -> Applying {
        let mut cluster = self.existing_cluster()?;
        if !self.state.members.contains_key(&member) {
            return Err(Refusal::not_found("manager", &member));
        }
        let under_way = self.state.root_keys.rotation.clone();
        if id == cluster.active_root || under_way.as_ref().is_some_and(|one| one.id == id) {
            return Err(Refusal::precondition("the root key is not a new one"));
        }
        let rotation = match (under_way, replaces) {
            (None, None) => RootRotation {
                id,
                old: cluster.active_root,
                began_at: self.now,
                asked_by: self.principal(),
                announced_by: member,
                phase: Phase::Announced,
                held_by: [member].into(),
                destroyed_by: [].into(),
                objects: 0,
            },
            // Nothing is under the key that was announced: who had it is gone, and nobody else will.
            (Some(one), Some(lost)) if one.id == lost && one.phase == Phase::Announced => {
                RootRotation { id, announced_by: member, held_by: [member].into(), ..one }
            }
            (Some(one), None) => return Err(self.root_key_rotates(&one)),
            (_, Some(_)) => {
                return Err(Refusal::precondition("another root key was announced meanwhile"));
            }
        };
        if replaces.is_none() {
            self.state.root_keys.number += 1;
        }
        self.state.root_keys.rotation = Some(rotation);
        Arc::make_mut(&mut cluster).announced_root = Some(id);
        self.set_cluster(cluster);
        Ok((Outcome::Done, ObjectId::Cluster))
    }

    /// A member holds the key that is rotated in, durably.
    pub(super) fn acknowledge_root(&mut self, member: MemberId, id: KeyId) -> Applying {
        if !self.state.members.contains_key(&member) {
            return Err(Refusal::not_found("manager", &member));
        }
        self.root_rotation(id, &[Phase::Announced, Phase::Active])?.held_by.insert(member);
        self.updated(ObjectId::Member(member));
        Ok((Outcome::Done, ObjectId::Member(member)))
    }

    /// New wraps are made under the announced key from now on.
    pub(super) fn activate_root(&mut self, id: KeyId) -> Applying {
        let mut cluster = self.existing_cluster()?;
        let objects = self.state.wraps_under(cluster.active_root);
        let is_held = self.state.root_is_held_by_majority();
        let rotation = self.root_rotation(id, &[Phase::Announced])?;
        if !is_held {
            return Err(Refusal::precondition(
                "no majority of the managers has said that it holds the root key",
            ));
        }
        rotation.phase = Phase::Active;
        rotation.objects = objects;
        let changed = Arc::make_mut(&mut cluster);
        changed.active_root = id;
        changed.announced_root = None;
        self.set_cluster(cluster);
        Ok((Outcome::Done, ObjectId::Cluster))
    }

    /// Objects get their keys under the active root key, those that still have the wrap that the
    /// new one was made from.
    pub(super) fn rewrap(&mut self, items: Vec<Rewrap>) -> Applying {
        let active = self.existing_cluster()?.active_root;
        if items.len() > REWRAPS_MAX {
            return Err(Refusal::limit("the number of keys wrapped anew at once", REWRAPS_MAX));
        }
        if items.iter().any(|item| item.new.key_id() != active) {
            return Err(Refusal::WrongRoot);
        }
        let (mut applied, mut stale) = (0, 0);
        for item in items {
            let took = match item.object {
                Wrapped::Secret { id, version } => self.rewrap_secret(id, version, &item),
                Wrapped::Authority | Wrapped::Transit(_) | Wrapped::UnlockKey => {
                    self.rewrap_of_cluster(&item)
                }
                Wrapped::Peer { member, generation } => {
                    self.state.boot.rewrap(member, generation, &item)
                }
                Wrapped::NextAuthority => self.rewrap_of_next_authority(&item),
            };
            if took { applied += 1 } else { stale += 1 }
        }
        Ok((Outcome::Steps { applied, stale }, ObjectId::Cluster))
    }

    fn rewrap_secret(
        &mut self,
        id: proto::id::SecretId,
        version: proto::id::Version,
        item: &Rewrap,
    ) -> bool {
        let wrap = self.state.wrap_of_secret(id, version);
        if wrap.is_none_or(|wrap| wrap_digest(wrap) != item.old) {
            return false;
        }
        self.state.put_wrap_of_secret(id, version, item.new.clone());
        true
    }

    fn rewrap_of_next_authority(&mut self, item: &Rewrap) -> bool {
        let rotation = self.state.ca_rotations.rotation.as_mut();
        let wrap = rotation.map(|rotation| &mut rotation.authority.wrapped_key);
        let Some(wrap) = wrap.filter(|wrap| wrap_digest(wrap) == item.old) else { return false };
        *wrap = item.new.clone();
        self.updated(ObjectId::Cluster);
        true
    }

    fn rewrap_of_cluster(&mut self, item: &Rewrap) -> bool {
        let Some(mut cluster) = self.state.cluster.clone() else { return false };
        let changed = Arc::make_mut(&mut cluster);
        let wrap: Option<&mut WrappedKey> = match item.object {
            Wrapped::Authority => Some(&mut changed.authority.wrapped_key),
            Wrapped::Transit(id) => {
                changed.transit_keys.get_mut(&id).map(|key| &mut key.wrapped_key)
            }
            Wrapped::UnlockKey => {
                changed.kept_unlock_key.as_mut().map(|kept| &mut kept.wrapped_key)
            }
            Wrapped::Secret { .. } | Wrapped::Peer { .. } | Wrapped::NextAuthority => None,
        };
        let Some(wrap) = wrap.filter(|wrap| wrap_digest(wrap) == item.old) else { return false };
        *wrap = item.new.clone();
        self.set_cluster(cluster);
        true
    }

    /// Nothing is under the old key, and every member holds the new one: members may destroy it.
    pub(super) fn retire_root(&mut self, id: KeyId) -> Applying {
        let waits =
            |what: String| Err(Refusal::precondition(format!("the root key is needed: {what}")));
        let rotation = self.state.root_keys.rotation.clone();
        let rotation = rotation.filter(|one| one.phase == Phase::Active && one.old == id);
        let Some(rotation) = rotation else {
            return Err(Refusal::precondition("the root key rotation is elsewhere by now"));
        };
        let left = self.state.wraps_under(id);
        if left > 0 {
            return waits(format!("{left} objects are under it"));
        }
        let pending = self.state.root_rotation_pending();
        if !pending.is_empty() {
            return waits(format!("{} may not hold the next one", names(&pending)));
        }
        let joins = |member: &Arc<Member>| member.state == MemberState::Joining;
        let joining = self.state.members.iter().filter(|(_, member)| joins(member));
        let joining: Vec<_> = joining.map(|(id, _)| *id).collect();
        if !joining.is_empty() {
            return waits(format!("{} may be fetching it", names(&joining)));
        }
        self.state.root_keys.rotation = Some(RootRotation { phase: Phase::Retired, ..rotation });
        self.updated(ObjectId::Cluster);
        Ok((Outcome::Done, ObjectId::Cluster))
    }

    /// A member's key file holds the old key no more, and neither does its memory.
    pub(super) fn acknowledge_root_destroyed(&mut self, member: MemberId, id: KeyId) -> Applying {
        if !self.state.members.contains_key(&member) {
            return Err(Refusal::not_found("manager", &member));
        }
        self.root_rotation(id, &[Phase::Retired])?.destroyed_by.insert(member);
        self.updated(ObjectId::Member(member));
        self.follow_root_rotation();
        Ok((Outcome::Done, ObjectId::Member(member)))
    }

    /// Goes on once nobody is waited for: with log keys, and then to the end.
    pub(super) fn follow_root_rotation(&mut self) {
        let Some(rotation) = self.state.root_keys.rotation.clone() else { return };
        if !self.state.root_rotation_pending().is_empty() || self.state.members.is_empty() {
            return;
        }
        match rotation.phase {
            Phase::Announced | Phase::Active => {}
            Phase::Retired => {
                // Logs and snapshots hold wraps under the old key until their keys are gone.
                self.rotate_log_keys_at_once_or_next();
                let epoch = self.state.log_keys.last();
                let phase = Phase::LogKeys { epoch };
                self.state.root_keys.rotation = Some(RootRotation { phase, ..rotation });
                self.updated(ObjectId::Cluster);
            }
            Phase::LogKeys { .. } => {
                let RootRotation { id, old, began_at, .. } = rotation;
                let ended_at = self.now;
                self.state.root_keys.last = Some(FinishedRoot { id, old, began_at, ended_at });
                self.state.root_keys.rotation = None;
                self.updated(ObjectId::Cluster);
            }
        }
    }

    /// Whether a member can be spared: somebody else must hold the key that everything new is under.
    pub(super) fn root_outlives(&self, member: MemberId) -> Result<(), Refusal> {
        let Some(rotation) = &self.state.root_keys.rotation else { return Ok(()) };
        let others = self.state.members.keys().any(|id| *id != member);
        let held = rotation.held_by.iter().any(|id| *id != member);
        if rotation.phase != Phase::Active || !others || held {
            return Ok(());
        }
        Err(Refusal::precondition(format!(
            "manager {member} alone is known to hold the active root key: the others fetch it"
        )))
    }

    /// A member is gone: nobody waits for it any more. `destroys` is its own word that it destroys
    /// its keys; nothing is said in logs of before.
    pub(super) fn forget_root_of(&mut self, id: MemberId, member: &Member, destroys: Option<bool>) {
        if let Some(rotation) = &mut self.state.root_keys.rotation {
            rotation.held_by.remove(&id);
            rotation.destroyed_by.remove(&id);
        }
        if destroys == Some(false) {
            let node = self.state.nodes.get(&member.node_id);
            let lost = Unproved {
                hostname: node.map(|node| node.hostname.to_string()).unwrap_or_default(),
                address: member.address.clone(),
                removed_at: self.now,
                root: self.state.cluster.as_ref().map(|cluster| cluster.active_root),
            };
            let unproved = &mut self.state.root_keys.unproved;
            unproved.insert(id, lost);
            while unproved.len() > UNPROVED_MAX {
                unproved.pop_first();
            }
        }
    }
}
