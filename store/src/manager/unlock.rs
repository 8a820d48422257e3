//! Opening a locked manager with what operators bring, over the unix socket and by no other way.
//!
//! A seed, or the last share that is needed, opens the key file here and is gone; what it opened is
//! handed to the loop that serves. Slots' commands, which need no operator, open it the same way.
//! Which key was brought, which is needed and whether it is an older one is said by ids, which are
//! public: a key has 256 random bits, so nothing is given away. Not here: the key's spelling
//! (secretctl), slots (seal).
//!
//! Invariant: one try at a time, and a pause after each that failed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use link::Failure;
use proto::id::KeyId;
use proto::{Kind, pb};
use seal::{Recipient, Share, SlotParameters, SlotSecretKey};
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use super::shares::{EnterError, Shares, Taken};
use super::{Manager, local_failure, own_uid};
use crate::front::Phase;
use crate::keys::{OpeningError, Unlocked, command};

/// Pause after a try that failed: nobody types faster.
const PAUSE: Duration = Duration::from_millis(500);

/// Pauses between two tries of the slots' commands: at first, and at last. A KMS that is away for
/// long is not asked more often by many managers than it can bear.
const COMMANDS_PAUSE_MIN: Duration = Duration::from_secs(2);
const COMMANDS_PAUSE_MAX: Duration = Duration::from_secs(60);

/// What an operator opened, until it is taken.
#[derive(Default)]
pub(super) struct Opened {
    unlocked: std::sync::Mutex<Option<Box<Unlocked>>>,
    shares: std::sync::Mutex<Shares>,
    /// What came of slots' commands, by slot.
    failed_commands: std::sync::Mutex<BTreeMap<KeyId, String>>,
    /// Why peers did not open it, when they were last asked.
    peers_refusal: std::sync::Mutex<String>,
    /// The log index of the grant by which peers open it; 0 if there was none.
    grant: AtomicU64,
    news: Notify,
    /// Held for a try.
    trying: Mutex<()>,
}

impl Opened {
    fn put(&self, unlocked: Unlocked) {
        self.shares().clear();
        let mut place = self.unlocked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *place = Some(Box::new(unlocked));
        drop(place);
        self.news.notify_one();
    }

    fn shares(&self) -> std::sync::MutexGuard<'_, Shares> {
        self.shares.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The shares that were entered.
    pub(super) fn entered(&self) -> Vec<pb::EnteredShares> {
        self.shares().described(Instant::now())
    }

    fn commands(&self) -> std::sync::MutexGuard<'_, BTreeMap<KeyId, String>> {
        self.failed_commands.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The slots' commands that failed when they were last tried, and why.
    pub(super) fn failed_commands(&self) -> Vec<pb::FailedCommand> {
        let failed = self.commands();
        let failed = failed.iter().map(|(slot, reason)| pb::FailedCommand {
            slot_id: slot.as_bytes().to_vec().into(),
            reason: reason.clone(),
        });
        failed.collect()
    }

    /// Notes why peers did not open the key file.
    pub(super) fn peers_refused(&self, reason: &str) {
        let mut kept = self.peers_refusal.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        reason.clone_into(&mut kept);
    }

    /// Notes by which grant the key file is opened.
    pub(super) fn granted(&self, grant: u64) {
        self.grant.store(grant, Ordering::Relaxed);
    }

    /// The log index of the grant by which the key file was opened; 0 if there was none.
    pub(super) fn grant(&self) -> u64 {
        self.grant.load(Ordering::Relaxed)
    }

    /// Why peers did not open the key file; empty if none was asked.
    pub(super) fn peers_refusal(&self) -> String {
        self.peers_refusal.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Waits until something may have been opened, or for so long; shares whose time is over
    /// meanwhile are forgotten at that time.
    pub(super) async fn news(&self, within: Duration) {
        let shares = self.shares().until();
        let until = Instant::now() + within;
        let until = shares.map_or(until, |shares| shares.min(until));
        drop(tokio::time::timeout_at(until, self.news.notified()).await);
        self.shares().forget(Instant::now());
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
        self.open_with(uid, &slot).await
    }

    /// Takes one share of a slot's seed; with the last that is needed the manager starts to serve.
    pub(super) async fn take_share(
        &self,
        uid: u32,
        request: pb::EnterShareRequest,
    ) -> Result<pb::EnterShareResponse, Failure> {
        let shared = &self.0;
        let _one = shared.opened.trying.lock().await;
        let needed = match &*shared.phase.borrow() {
            Phase::Locked(needed) => needed.clone(),
            other => return Err(not_locked(other)),
        };
        let share = Share::parse(&request.share).map_err(|error| share_refused(&error.into()));
        drop(request);
        let taken = match share {
            Ok(share) => {
                let number = share.number();
                let taken = shared.opened.shares().enter(&needed.slots, share, Instant::now());
                taken.map_err(|error| {
                    tracing::warn!(target: "audit", action = "enter_share", uid, number, "share_refused");
                    share_refused(&error)
                })
            }
            Err(failure) => Err(failure),
        };
        match taken {
            Ok(Taken::Held(entered)) => {
                let numbers = &entered.numbers;
                tracing::info!(target: "audit", action = "enter_share", uid, ?numbers, "share_held");
                Ok(pb::EnterShareResponse { entered: Some(entered), opened: None })
            }
            Ok(Taken::Opens(slot, entered)) => {
                let opened = self.open_with(uid, &slot).await?;
                Ok(pb::EnterShareResponse { entered: Some(entered), opened: Some(opened) })
            }
            Err(failure) => {
                tokio::time::sleep(PAUSE).await;
                Err(failure)
            }
        }
    }

    /// Runs the commands of slots until one opens the key file, with ever longer pauses: a KMS may
    /// come later than this manager.
    pub(super) async fn try_commands(self, slots: Vec<Recipient>) {
        let command = |slot: &Recipient| match slot.slot_parameters() {
            Ok(SlotParameters::Command(command)) => Some((slot.public.clone(), command)),
            _ => None,
        };
        let commands: Vec<_> = slots.iter().filter_map(command).collect();
        let mut pause = COMMANDS_PAUSE_MIN;
        while !commands.is_empty() {
            for (slot, command) in &commands {
                let tried = match command::run(command, slot).await {
                    Ok(key) => self.open_with(own_uid(), &key).await.map_err(|error| error.message),
                    Err(failure) => Err(failure.to_string()),
                };
                let Err(reason) = tried else { return };
                let id = slot.id();
                let was_told = self.0.opened.commands().insert(id, reason.clone());
                if was_told.as_ref() != Some(&reason) {
                    tracing::warn!(slot = %id, path = command.path(), reason, "command_does_not_unlock");
                }
            }
            tokio::time::sleep(pause).await;
            pause = COMMANDS_PAUSE_MAX.min(pause * 2);
        }
    }

    /// Opens the key file with a slot's key, and hands it to the loop that serves.
    pub(super) async fn open_with(
        &self,
        uid: u32,
        slot: &SlotSecretKey,
    ) -> Result<pb::UnlockResponse, Failure> {
        let shared = &self.0;
        let id = slot.public().id();
        // Nobody else changes the phase meanwhile.
        let running = shared.running.lock().await;
        if !matches!(&*shared.phase.borrow(), Phase::Locked(_)) {
            return Err(not_locked(&shared.phase.borrow()));
        }
        let unlocked = match shared.key_file.unlock_with(slot) {
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

/// What an operator who would open a manager that is not locked is told.
fn not_locked(phase: &Phase) -> Failure {
    let refused = |message| Failure::new(Kind::Precondition, message);
    match phase {
        Phase::Locked(_) => Failure::new(Kind::Unavailable, "this manager was busy"),
        Phase::Serving(_) => refused("this manager is not locked")
            .hint("`secretctl cluster status` shows what it does"),
        Phase::Empty => {
            refused("this manager is part of no cluster").hint("there is nothing to unlock")
        }
        Phase::Starting => refused("this manager is starting")
            .because("it was unlocked already, or has not looked at its key file yet")
            .hint("`secretctl cluster status` shows what becomes of it"),
        Phase::Stopping => Failure::new(Kind::Unavailable, "this manager is stopping"),
    }
}

/// A share that was not taken. Which it is, and which are wanted, is not secret.
fn share_refused(error: &EnterError) -> Failure {
    let failure = Failure::new(Kind::Denied, "the share was not taken").because(error.to_string());
    match error {
        EnterError::NoSlot => failure.hint("`secretctl cluster status` shows what it waits for"),
        EnterError::Share(_) => failure
            .hint("shares that were entered before stay for their time")
            .hint("docs/operations/unlock-slots.md"),
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
