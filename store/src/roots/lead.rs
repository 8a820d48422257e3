//! Leading the rotation: activating the announced key, having everything wrapped anew, retiring the
//! old one.
//!
//! Keys are wrapped anew in batches, one on its way at a time and with a pause after each, so that
//! what others propose goes between them. Where it is is in the state: a new leader goes on there.

use std::collections::BTreeSet;
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::id::{KeyId, MemberId, SecretId, Version};
use proto::identity::Caller;
use proto::limits::REWRAPS_MAX;
use seal::{SlotPublicKey, StoredAt};
use state::command::{Command, Envelope, Rewrap};
use state::object::{Authority, Cluster, MemberState, SecretVersion};
use state::{KeptUnlockKey, NewGeneration, Outcome, Phase, State, Wrapped, wrap_digest};

use super::Roots;
use super::follow::Announced;
use crate::raft::{ProposeError, Proposed, cluster_changed};
use crate::service::now;

/// Between two looks at what managers acknowledge.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a leader looks for an announced key that it does not hold, before it announces another.
/// Nothing is under it, so none is better than the other; who made it may be starting.
const REPLACE_AFTER: Duration = Duration::from_secs(5);

/// Secrets looked at in one go, while nothing is applied: a thousandth of a second.
const LOOKED_AT_MAX: usize = 10_000;

/// Pause after a step that failed, or came to nothing.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Longest pause after a batch: the pause is as long as the batch took, so that the rotation takes
/// half of what there is at most.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// The format of commands that this version proposes.
const COMMAND_FORMAT: u16 = 1;

/// What comes next for a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lead {
    /// Nothing that a leader does: there is no rotation, or all that is left is the managers' own.
    Rest,
    /// Wait for the managers.
    Await,
    /// Get the announced key, which this manager lacks, or announce another in its place.
    Obtain(KeyId),
    /// Make new wraps under it.
    Activate(KeyId),
    /// Wrap what is left under the old key anew.
    Rewrap(KeyId),
    /// Give up the old key.
    Retire(KeyId),
}

/// What comes next for a leader that holds these keys, durably.
fn next(state: &State, held: &[KeyId]) -> Lead {
    let Some(rotation) = &state.root_keys().rotation else { return Lead::Rest };
    let (new, old) = (rotation.id, rotation.old);
    match rotation.phase {
        Phase::Announced if !held.contains(&new) => Lead::Obtain(new),
        Phase::Announced if state.root_is_held_by_majority() => Lead::Activate(new),
        Phase::Announced => Lead::Await,
        Phase::Active if state.wraps_under(old) > 0 => Lead::Rewrap(old),
        Phase::Active => {
            let joins = state.members().values().any(|m| m.state == MemberState::Joining);
            let waits = joins || !state.root_rotation_pending().is_empty();
            if waits { Lead::Await } else { Lead::Retire(old) }
        }
        Phase::Retired | Phase::LogKeys { .. } => Lead::Rest,
    }
}

/// A key under the old root key, with all that it is bound to.
enum Old {
    Authority,
    NextAuthority(Box<Authority>),
    Transit(KeyId),
    UnlockKey(KeptUnlockKey),
    Peer { member: MemberId, generation: u64, made_of: NewGeneration },
    Secret { id: SecretId, version: Version, stored: Box<SecretVersion> },
}

/// What comes of a look.
enum Looked {
    /// A step was taken, and another one may follow.
    GoesOn,
    /// There is nothing to do now, and it is not the state alone that says when there is.
    Waits,
    /// There is nothing to do until the cluster's record changes.
    Rests,
}

/// What one leader remembers; nothing that the next one needs.
#[derive(Default)]
struct Course {
    /// The last secret that was looked at.
    at: Option<SecretId>,
    /// Since when the announced key is looked for.
    lacks_since: Option<Instant>,
}

impl Roots {
    /// Whether the active root key is held, in the end: it is looked for so long.
    pub(crate) async fn holds_active(&self, within: Duration) -> bool {
        let began = Instant::now();
        loop {
            let active = self.raft.machine.state().cluster().map(|cluster| cluster.active_root);
            if active.is_none_or(|id| self.keyring.root(id).is_ok()) {
                return true;
            }
            if began.elapsed() > within {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Drives the rotation for as long as it is polled: on the leader.
    pub(crate) async fn lead(&self) {
        let mut course = Course::default();
        let mut changes = self.raft.machine.changes();
        loop {
            let began = Instant::now();
            let pause = match self.lead_on(&mut course).await {
                Ok(Looked::GoesOn) => began.elapsed().min(PAUSE_MAX),
                Ok(Looked::Waits) => LOOK_EVERY,
                Ok(Looked::Rests) => {
                    if !cluster_changed(&mut changes).await {
                        return std::future::pending().await;
                    }
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "root_key_rotation_held_up");
                    RETRY_AFTER
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Does what comes next.
    async fn lead_on(&self, course: &mut Course) -> io::Result<Looked> {
        let step = next(&self.raft.machine.state(), &self.usable());
        if !matches!(step, Lead::Obtain(_)) {
            course.lacks_since = None;
        }
        match step {
            Lead::Rest => Ok(Looked::Rests),
            Lead::Await => Ok(Looked::Waits),
            Lead::Obtain(lost) => {
                let since = *course.lacks_since.get_or_insert_with(Instant::now);
                if since.elapsed() < REPLACE_AFTER {
                    return Ok(Looked::Waits);
                }
                self.replace(lost).await.map(|()| Looked::GoesOn)
            }
            Lead::Activate(id) => {
                // The membership that Raft goes by, beside the one that the state has heard of.
                let holders = {
                    let state = self.raft.machine.state();
                    let rotation = state.root_keys().rotation.as_ref();
                    rotation.map(|rotation| rotation.held_by.clone()).unwrap_or_default()
                };
                let voters = self.raft.voters();
                if voters.intersection(&holders).count() <= voters.len() / 2 {
                    return Ok(Looked::Waits);
                }
                self.propose(Command::ActivateRoot { id }).await?;
                tracing::info!(key.id = %id, "root_key_active");
                Ok(Looked::GoesOn)
            }
            Lead::Rewrap(old) => self.wrap_some_anew(old, course).await,
            Lead::Retire(id) => {
                self.propose(Command::RetireRoot { id }).await?;
                tracing::info!(key.id = %id, "root_key_retired");
                Ok(Looked::GoesOn)
            }
        }
    }

    async fn put(&self, body: Command) -> Result<Proposed, ProposeError> {
        let caller = Caller::Cluster { member: self.raft.me };
        let envelope = Envelope { format: COMMAND_FORMAT, request: None, caller, at: now(), body };
        self.raft.propose(envelope).await
    }

    async fn propose(&self, body: Command) -> io::Result<Outcome> {
        self.put(body).await.map_err(io::Error::other)?.map_err(io::Error::other)
    }

    /// Announces another key in the place of one that nobody can get.
    async fn replace(&self, lost: KeyId) -> io::Result<()> {
        let announce = async |id| {
            let (member, replaces) = (self.raft.me, Some(lost));
            let put = self.put(Command::AnnounceRoot { id, member, replaces }).await;
            let announced = what_became(&put, || true);
            (put, announced)
        };
        let put = self.make(announce).await?;
        put.map_err(io::Error::other)?.map_err(io::Error::other)?;
        tracing::warn!(key.id = %lost, "announced_root_key_replaced");
        Ok(())
    }

    /// Wraps the next few anew.
    async fn wrap_some_anew(&self, old: KeyId, course: &mut Course) -> io::Result<Looked> {
        let (cluster, objects, next) = {
            let state = self.raft.machine.state();
            let Some(cluster) = state.cluster().cloned() else { return Ok(Looked::Waits) };
            let (objects, next) = under(&state, &cluster, old, course.at);
            (cluster, objects, next)
        };
        if objects.is_empty() {
            // At the end: once more from the start, something that was passed over is left.
            let is_end = next == course.at;
            course.at = next.filter(|_| !is_end);
            return Ok(if is_end { Looked::Waits } else { Looked::GoesOn });
        }
        let keyring = self.keyring.clone();
        let wrap = move || {
            let anew = objects.iter().map(|object| wrap_anew(&keyring, &cluster, object));
            anew.collect::<Result<Vec<_>, _>>()
        };
        let items = tokio::task::spawn_blocking(wrap).await.map_err(io::Error::other)??;
        self.propose(Command::Rewrap(items)).await?;
        course.at = next;
        Ok(Looked::GoesOn)
    }
}

/// What a member's holding these root keys is to be recorded as, if it is news.
pub(crate) fn news_of(state: &State, member: MemberId, held: &BTreeSet<KeyId>) -> Option<Command> {
    state.member(member)?;
    let rotation = state.root_keys().rotation.as_ref().filter(|_| !held.is_empty())?;
    let (id, old) = (rotation.id, rotation.old);
    let holds = held.contains(&id) && !rotation.held_by.contains(&member);
    let is_rid_of_it = !held.contains(&old) && !rotation.destroyed_by.contains(&member);
    match rotation.phase {
        Phase::Announced | Phase::Active if holds => Some(Command::AcknowledgeRoot { member, id }),
        Phase::Retired if is_rid_of_it => {
            Some(Command::AcknowledgeRootDestroyed { member, id: old })
        }
        _ => None,
    }
}

/// What is known of an announcement by what proposing it gave; `is_there` says whether the state has
/// it, for an answer that may be of another request.
pub(crate) fn what_became(
    put: &Result<Proposed, ProposeError>,
    is_there: impl FnOnce() -> bool,
) -> Announced {
    match put {
        Ok(Ok(_)) if is_there() => Announced::Yes,
        Ok(_) | Err(ProposeError::NotLeader | ProposeError::Busy | ProposeError::TooLarge) => {
            Announced::No
        }
        Err(ProposeError::Unknown | ProposeError::Stopped) => Announced::Unknown,
    }
}

/// Some of what is under a root key, and where to go on; the cluster's own keys come first.
fn under(
    state: &State,
    cluster: &Cluster,
    old: KeyId,
    after: Option<SecretId>,
) -> (Vec<Old>, Option<SecretId>) {
    let mut objects = Vec::new();
    if cluster.authority.wrapped_key.key_id() == old {
        objects.push(Old::Authority);
    }
    let next = state.ca_rotations().rotation.as_ref().map(|rotation| &rotation.authority);
    let next = next.filter(|authority| authority.wrapped_key.key_id() == old);
    objects.extend(next.map(|authority| Old::NextAuthority(Box::new(authority.clone()))));
    let transit = cluster.transit_keys.iter();
    let transit = transit.filter(|(_, key)| key.wrapped_key.key_id() == old);
    objects.extend(transit.map(|(id, _)| Old::Transit(*id)));
    let kept = cluster.kept_unlock_key.iter();
    let kept = kept.filter(|kept| kept.wrapped_key.key_id() == old);
    objects.extend(kept.cloned().map(Old::UnlockKey));
    let generations = state.boot().generations();
    let generations = generations.filter(|(_, one)| one.made_of.wrapped_key.key_id() == old);
    objects.extend(generations.map(|(member, one)| Old::Peer {
        member,
        generation: one.number,
        made_of: one.made_of.clone(),
    }));
    let mut at = after;
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    for (id, secret) in state.secrets().range((from, Bound::Unbounded)).take(LOOKED_AT_MAX) {
        let of_it = secret.versions.iter();
        let of_it = of_it.filter(|(_, value)| value.payload.wrapped_dek.key_id() == old);
        let of_it: Vec<_> = of_it.map(|(version, value)| (*version, value.clone())).collect();
        // All versions of a secret at a time; one has far fewer than fit.
        if objects.len() + of_it.len() > REWRAPS_MAX {
            break;
        }
        let secrets = of_it.into_iter();
        objects.extend(secrets.map(|(version, stored)| Old::Secret { id: *id, version, stored }));
        at = Some(*id);
    }
    (objects, at)
}

fn wrap_anew(
    keyring: &Arc<crate::keys::Keyring>,
    cluster: &Cluster,
    object: &Old,
) -> io::Result<Rewrap> {
    let active = cluster.active_root;
    let (object, old, new) = match object {
        Old::Authority => {
            let new = keyring.wrap_ca_key_anew(active, &cluster.authority);
            (Wrapped::Authority, Some(&cluster.authority.wrapped_key), new)
        }
        Old::NextAuthority(next) => {
            let new = keyring.wrap_ca_key_anew(active, next);
            (Wrapped::NextAuthority, Some(&next.wrapped_key), new)
        }
        Old::Transit(id) => {
            let old = cluster.transit_keys.get(id).map(|key| &key.wrapped_key);
            (Wrapped::Transit(*id), old, keyring.wrap_transit_key_anew(cluster, *id))
        }
        Old::Peer { member, generation, made_of } => {
            let object = Wrapped::Peer { member: *member, generation: *generation };
            (
                object,
                Some(&made_of.wrapped_key),
                keyring.wrap_peer_key_anew(active, *member, made_of),
            )
        }
        Old::UnlockKey(kept) => {
            let public = SlotPublicKey::parse(kept.public_key.0.clone());
            let id = public.map_err(|error| io::Error::other(error.to_string()))?.id();
            let new = keyring.wrap_unlock_key_anew(active, id, &kept.wrapped_key);
            (Wrapped::UnlockKey, Some(&kept.wrapped_key), new)
        }
        Old::Secret { id, version, stored } => {
            let stored = &stored.payload;
            let at = StoredAt {
                realm: cluster.realm,
                secret_id: *id,
                version: *version,
                payload_id: stored.payload_id,
            };
            let new = keyring.wrap_dek_anew(active, &at, stored);
            (Wrapped::Secret { id: *id, version: *version }, Some(&stored.wrapped_dek), new)
        }
    };
    let new = new.map_err(|error| io::Error::other(format!("{object:?}: {error}")))?;
    let old = old.ok_or_else(|| io::Error::other(format!("{object:?} is gone")))?;
    Ok(Rewrap { object, old: wrap_digest(old), new })
}
