//! Unlock keys that are made here, for a front whose clients cannot make one, and shown there.
//!
//! secretctl makes a key, shows it, and sends its public half. The docker client has a manager make it
//! and fetches it afterwards. So it is here, among the keys in memory, from before anything is locked
//! with it until its time is over; who had it made fetches it in that time. Where the cluster keeps its
//! unlock key for admins to read back, this one is kept as well, once it may be, and read back later.
//!
//! Not here: what a change of the locking means (`locking`), a key that is kept (`read_back`).
//! Invariants: a key that may be in use is here until its time is over; it is shown to who had it made,
//! and only while it is the one in use.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use link::Failure;
use proto::id::KeyId;
use proto::identity::{Caller, Principal};
use proto::sealed::{Encapsulation, WrappedKey};
use proto::{Kind, pb};
use seal::{ReadBack, ReadBackPublicKey, ReadBackSecretKey, UnlockKey};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{CallName, Service, internal};
use crate::keys::recipients;

/// How long a key is here: time to write it down, and to ask again for one that was lost on its way.
const HELD_FOR: Duration = Duration::from_secs(600);

/// Keys at a time. Nobody changes an unlock key so often; one that may be in use makes no room.
const KEYS_MAX: usize = 8;

/// How long it is waited for that the managers are sealed anew, and between two looks: whoever is told
/// that the key was changed may restart one at once.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Between two tries to have a key kept: it may be once log keys have rotated.
const KEEP_EVERY: Duration = Duration::from_secs(1);

struct Made {
    key: UnlockKey,
    by: Principal,
    until: Instant,
    /// It is to be kept by the cluster, in the place of one that was.
    is_to_be_kept: bool,
}

/// The keys that were made.
#[derive(Clone, Default)]
pub(crate) struct MadeKeys(Arc<Mutex<Vec<Made>>>);

impl MadeKeys {
    fn lock(&self) -> MutexGuard<'_, Vec<Made>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a key in, for its time.
    fn hold(&self, key: UnlockKey, by: Principal, is_to_be_kept: bool) -> Result<(), Failure> {
        let until = Instant::now() + HELD_FOR;
        self.put(Made { key, by, until, is_to_be_kept })?;
        let keys = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            keys.expire(until);
        });
        Ok(())
    }

    fn put(&self, key: Made) -> Result<(), Failure> {
        let mut made = self.lock();
        if made.len() >= KEYS_MAX {
            return Err(Failure::new(Kind::Unavailable, "the unlock key was changed too often")
                .because(format!("{KEYS_MAX} keys were made here within ten minutes"))
                .hint("wait until the first of them has gone, or use secretctl"));
        }
        made.push(key);
        drop(made);
        Ok(())
    }

    /// Drops those whose time is over at an instant.
    fn expire(&self, at: Instant) {
        self.lock().retain(|made| made.until > at);
    }

    fn has(&self, id: KeyId) -> bool {
        self.lock().iter().any(|made| made.key.id() == id)
    }

    /// Whether the cluster is to keep one of them.
    fn are_to_be_kept(&self) -> bool {
        self.lock().iter().any(|made| made.is_to_be_kept)
    }

    /// Drops a key that is certainly not in use.
    fn forget(&self, id: KeyId) {
        self.lock().retain(|made| made.key.id() != id);
    }

    /// A key, for who had it made.
    fn shown(&self, id: KeyId, to: Principal) -> Option<Zeroizing<String>> {
        let made = self.lock();
        let found = made.iter().find(|made| made.key.id() == id && made.by == to);
        found.map(|made| made.key.expose())
    }
}

impl Service {
    /// Turns locking on, or replaces the unlock key, with a key that is made here.
    ///
    /// It goes on when the caller hangs up: the key may be in use by then.
    ///
    /// # Errors
    ///
    /// If the change is refused, or nobody knows whether it was made: the key is shown then, too, once it
    /// is in use.
    pub(crate) async fn lock_with_made_key(
        self: &Arc<Self>,
        caller: Caller,
        made: &MadeKeys,
        change: pb::LockingChange,
        generation: u64,
    ) -> Result<(), Failure> {
        let (service, made) = (self.clone(), made.clone());
        let change =
            async move { service.change_to_made_key(caller, made, change, generation).await };
        tokio::spawn(change).await.map_err(|error| internal(&error))?
    }

    async fn change_to_made_key(
        self: Arc<Self>,
        caller: Caller,
        made: MadeKeys,
        change: pb::LockingChange,
        generation: u64,
    ) -> Result<(), Failure> {
        // One that was made here a moment ago may not be kept yet.
        let is_to_be_kept = self.cluster()?.kept_unlock_key.is_some() || made.are_to_be_kept();
        let key = UnlockKey::make();
        let id = key.id();
        let request = pb::UpdateLockingRequest {
            request_key: seal::random::<16>().to_vec().into(),
            change: change.into(),
            unlock_public_key: key.slot().public().as_bytes().clone(),
            recipients_generation: generation,
        };
        made.hold(key, caller.principal(), is_to_be_kept)?;
        let changed = self.route(caller, request).await;
        if let Err(failure) = &changed
            && self.is_certainly_not_used(failure.kind, id).await
        {
            made.forget(id);
            return changed.map(drop);
        }
        if is_to_be_kept {
            tokio::spawn(self.clone().keep_made(caller, made, id));
        }
        if let Err(failure) = changed {
            tracing::warn!(target: "audit", %caller, key = %id, "unlock_key_may_be_in_use");
            return Err(failure.hint(
                "within ten minutes: `docker swarm unlock-key` shows the new key if it is in use",
            ));
        }
        tracing::warn!(target: "audit", %caller, key = %id, "unlock_key_made_here");
        self.await_followed(generation + 1).await;
        Ok(())
    }

    /// Whether a change that failed came to nothing, whichever try it was of. Only a few failures say
    /// so: one without a leader, say, may follow a try whose answer was lost.
    async fn is_certainly_not_used(&self, failed: Kind, id: KeyId) -> bool {
        match failed {
            Kind::Denied | Kind::Invalid => true,
            // Another change was first; or this one, at a try before.
            Kind::Conflict => self.barrier().await.is_ok() && !self.is_in_use(id),
            _ => false,
        }
    }

    fn is_in_use(&self, id: KeyId) -> bool {
        let used = self.cluster().ok().and_then(|it| recipients::unlock_key(&it.recipients));
        used == Some(id)
    }

    /// Turns locking off.
    ///
    /// # Errors
    ///
    /// If the change is refused, or nobody knows whether it was made.
    pub(crate) async fn stop_locking(
        &self,
        caller: Caller,
        generation: u64,
    ) -> Result<(), Failure> {
        let request = pb::UpdateLockingRequest {
            request_key: seal::random::<16>().to_vec().into(),
            change: pb::LockingChange::Off.into(),
            recipients_generation: generation,
            ..pb::UpdateLockingRequest::default()
        };
        self.route(caller, request).await?;
        self.await_followed(generation + 1).await;
        Ok(())
    }

    /// Waits for the managers that answer, as long as anybody would. Who is still behind opens as before,
    /// and `cluster status` names it.
    async fn await_followed(&self, generation: u64) {
        let until = Instant::now() + FOLLOWED_WITHIN;
        while Instant::now() < until && self.must_be_followed(generation).await.is_err() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Has a key that was made here kept, in the place of the one before: while it is here, and not
    /// before it may be, since what is refused is on record.
    async fn keep_made(self: Arc<Self>, caller: Caller, made: MadeKeys, id: KeyId) {
        while made.has(id) {
            if self.is_in_use(id)
                && self.raft.machine.state().log_keys_pending().is_empty()
                && let Some(request) = self.keeping(caller, &made, id)
            {
                match self.route(caller, request).await {
                    Ok(_) => return,
                    Err(failure) => tracing::debug!(%failure, "unlock_key_not_kept_yet"),
                }
            }
            tokio::time::sleep(KEEP_EVERY).await;
        }
        tracing::warn!(key = %id, "unlock_key_not_kept");
    }

    /// What has a key kept, if it is here and can be sealed.
    fn keeping(
        &self,
        caller: Caller,
        made: &MadeKeys,
        id: KeyId,
    ) -> Option<pb::KeepUnlockKeyRequest> {
        let sender = self.sender(caller).ok()?;
        let made = made.lock();
        let key = &made.iter().find(|made| made.key.id() == id)?.key;
        Some(pb::KeepUnlockKeyRequest {
            request_key: seal::random::<16>().to_vec().into(),
            unlock_public_key: key.slot().public().as_bytes().clone(),
            transit_key_id: sender.transit_key_id().as_bytes().to_vec().into(),
            encapsulation: sender.encapsulation().as_bytes().clone(),
            sealed_key: sender.seal_unlock_key(key).as_bytes().clone(),
        })
    }

    /// The unlock key in clear: one that was made here for this caller, or one that is kept. None if no
    /// unlock key is in use.
    ///
    /// # Errors
    ///
    /// If the caller may not read it, or it is not to be had.
    pub(crate) async fn shown_unlock_key(
        &self,
        caller: Caller,
        made: &MadeKeys,
    ) -> Result<Option<Zeroizing<String>>, Failure> {
        self.barrier().await?;
        self.authorise(caller, CallName::ReadUnlockKey)?;
        let cluster = self.cluster()?;
        let Some(id) = recipients::unlock_key(&cluster.recipients) else { return Ok(None) };
        if let Some(key) = made.shown(id, caller.principal()) {
            tracing::warn!(target: "audit", %caller, key = %id, "unlock_key_shown");
            return Ok(Some(key));
        }
        let secret = ReadBackSecretKey::make();
        let public_key: ReadBackPublicKey = secret.public().clone();
        let request = pb::ReadUnlockKeyRequest { public_key: public_key.as_bytes().clone() };
        let answer = self.route(caller, request).await?;
        let wrong = || Failure::new(Kind::Internal, "the unlock key that is kept does not open");
        let call = ReadBack {
            realm: cluster.realm,
            unlock_key_id: KeyId::try_from(&*answer.unlock_key_id).map_err(|_| wrong())?,
            principal: caller.principal(),
            public_key,
        };
        let encapsulation = Encapsulation::new(answer.encapsulation).map_err(|_| wrong())?;
        let sealed = WrappedKey::new(answer.sealed_key).map_err(|_| wrong())?;
        let key = call.open(&secret, &encapsulation, &sealed).map_err(|_| wrong())?;
        Ok(Some(key.expose()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Principal = Principal::Local { uid: 0 };

    fn make(made: &MadeKeys, until: Instant) -> KeyId {
        let key = UnlockKey::make();
        let id = key.id();
        made.put(Made { key, by: ROOT, until, is_to_be_kept: false }).unwrap();
        id
    }

    #[test]
    fn a_key_is_shown_to_who_had_it_made_for_its_time() {
        let (made, until) = (MadeKeys::default(), Instant::now() + HELD_FOR);
        let id = make(&made, until);
        let shown = made.shown(id, ROOT).unwrap();
        assert_eq!(UnlockKey::parse(shown.as_bytes()).unwrap().id(), id);
        assert!(made.shown(id, Principal::Local { uid: 1 }).is_none(), "another caller");
        assert!(made.shown(UnlockKey::make().id(), ROOT).is_none(), "another key");
        made.expire(until - Duration::from_millis(1));
        assert!(made.shown(id, ROOT).is_some());
        made.expire(until);
        assert!(made.lock().is_empty(), "it is gone, not only hidden");
    }

    #[test]
    fn keys_are_bounded_and_none_makes_room_but_what_is_not_in_use() {
        let (made, until) = (MadeKeys::default(), Instant::now() + HELD_FOR);
        let ids: Vec<KeyId> = (0..KEYS_MAX).map(|_| make(&made, until)).collect();
        let another = || Made { key: UnlockKey::make(), by: ROOT, until, is_to_be_kept: true };
        assert_eq!(made.put(another()).unwrap_err().kind, Kind::Unavailable);
        assert!(ids.iter().all(|id| made.has(*id)) && !made.are_to_be_kept());
        made.forget(ids[2]);
        made.put(another()).unwrap();
        let there: Vec<bool> = ids.iter().map(|id| made.has(*id)).collect();
        assert_eq!(there.iter().filter(|is_there| **is_there).count(), KEYS_MAX - 1);
        assert!(!there[2] && made.are_to_be_kept());
    }
}
