//! Opening a locked manager with what an operator brings, over the unix socket and by no other way.
//!
//! The seed opens the key file here and is gone; what it opened is handed to the loop that serves.
//! Which key was brought, which is needed and whether it is an older one is said by ids, which are
//! public: a key has 256 random bits, so nothing is given away. Not here: the key's spelling
//! (secretctl), slots (seal).
//!
//! Invariant: one try at a time, and a pause after each that failed.

use std::time::Duration;

use link::Failure;
use proto::id::KeyId;
use proto::{Kind, pb};
use seal::SlotSecretKey;
use tokio::sync::{Mutex, Notify};

use super::{Manager, local_failure};
use crate::front::Phase;
use crate::keys::{OpeningError, Unlocked};

/// Pause after a try that failed: nobody types faster.
const PAUSE: Duration = Duration::from_millis(500);

/// What an operator opened, until it is taken.
#[derive(Default)]
pub(super) struct Opened {
    unlocked: std::sync::Mutex<Option<Box<Unlocked>>>,
    news: Notify,
    /// Held for a try.
    trying: Mutex<()>,
}

impl Opened {
    fn put(&self, unlocked: Unlocked) {
        let mut place = self.unlocked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *place = Some(Box::new(unlocked));
        drop(place);
        self.news.notify_one();
    }

    /// Waits until something may have been opened.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// What was opened. Whoever changes the phase asks, so that it is not looked for twice.
    pub(super) fn take(&self) -> Option<Box<Unlocked>> {
        self.unlocked.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}

impl Manager {
    /// Opens the key file; the manager starts to serve then.
    pub(super) async fn unlock_with(
        &self,
        uid: u32,
        request: pb::UnlockRequest,
    ) -> Result<pb::UnlockResponse, Failure> {
        let shared = &self.0;
        let _one = shared.opened.trying.lock().await;
        let slot = {
            let request = request;
            let seed = request.seed.as_ref().try_into();
            SlotSecretKey::derive_from_seed(
                seed.map_err(|_| Failure::new(Kind::Invalid, "a seed has 32 bytes"))?,
            )
        };
        let id = slot.public().id();
        // Nobody else changes the phase meanwhile.
        let running = shared.running.lock().await;
        match &*shared.phase.borrow() {
            Phase::Locked(_) => {}
            Phase::Serving(_) => {
                return Err(Failure::new(Kind::Precondition, "this manager is not locked")
                    .hint("`secretctl cluster status` shows what it does"));
            }
            Phase::Empty => {
                return Err(Failure::new(Kind::Precondition, "this manager is part of no cluster")
                    .hint("there is nothing to unlock"));
            }
            Phase::Starting => {
                return Err(Failure::new(Kind::Precondition, "this manager is starting")
                    .because("it was unlocked already, or has not looked at its key file yet")
                    .hint("`secretctl cluster status` shows what becomes of it"));
            }
            Phase::Stopping => {
                return Err(Failure::new(Kind::Unavailable, "this manager is stopping"));
            }
        }
        let unlocked = match shared.key_file.unlock_with(&slot) {
            Ok(unlocked) => unlocked,
            Err(OpeningError::Stranger { needed, former }) => {
                drop(running);
                tracing::warn!(target: "audit", action = "unlock", uid, key = %id, former, "unlock_refused");
                tokio::time::sleep(PAUSE).await;
                return Err(strange_key(id, needed, former));
            }
            Err(OpeningError::File(error)) => return Err(local_failure(error)),
        };
        let by = unlocked.by.as_str();
        tracing::info!(target: "audit", action = "unlock", uid, slot = by, key = %id, "key_file_unlocked");
        shared.phase.send_replace(Phase::Starting);
        shared.opened.put(unlocked);
        Ok(pb::UnlockResponse { slot: by.into(), key_id: id.as_bytes().to_vec().into() })
    }
}

/// The key is none of this manager's: which one it is, and which is needed.
fn strange_key(id: KeyId, needed: Option<KeyId>, former: bool) -> Failure {
    let Some(needed) = needed else {
        return Failure::new(Kind::Denied, "no unlock key opens this manager")
            .because("its key file is not sealed to one")
            .hint("`secretctl cluster status` shows what it waits for");
    };
    if former {
        return Failure::new(Kind::Denied, "this unlock key was replaced")
            .because(format!("it is key {id}; this manager needs the later key {needed}"))
            .hint(format!("look for the key with the id {needed} where you keep your keys"))
            .hint("docs/operations/unlock.md");
    }
    Failure::new(Kind::Denied, "this unlock key does not open this manager")
        .because(format!("it is key {id}; this manager needs key {needed}"))
        .hint(
            "if the key was changed while this manager was down, it needs the one before, once; \
             otherwise this is another cluster's",
        )
        .hint("docs/operations/unlock.md")
}
