//! Root keys of the cluster: how this manager follows their rotation, and how the leader drives it.
//!
//! Every manager holds the root keys that the state wants (`State::root_keys_wanted`), and no
//! others: it fetches what it lacks from another manager, makes it durable in its key file, and
//! destroys what is no longer wanted (`follow`, `fetch`). The leader makes the new key, has it
//! activated when a majority holds it, has everything wrapped anew, and has the old one retired
//! (`lead`). What comes next is a pure function of what is durable and of the state, here and
//! there: whoever was killed, and whoever leads next, goes on where that says it is. Not here: what
//! is accepted (state), telling the leader what is held (report), the call (service).
//!
//! Invariants: a root key is announced, and acknowledged, only when it is durable here; one is
//! destroyed only by a state that a majority confirmed, and never while it may yet be announced; none
//! is kept before the key file is sealed to the present recipients, so that no slot that was taken
//! away before ever opens a file that it stands in.

#[cfg(test)]
mod crash_tests;
mod fetch;
mod follow;
mod lead;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::id::KeyId;
use seal::RootKey;
use tokio::sync::watch;

pub(crate) use self::fetch::open as open_fetched;
#[cfg(test)]
pub(crate) use self::follow::Announced;
pub(crate) use self::lead::{news_of, what_became};
use crate::keys::Keyring;
use crate::raft::Raft;

/// Where root keys are kept: the key file.
pub(crate) trait RootKeeper: Send + Sync + 'static {
    /// Ids of the root keys that are kept, and the one that new wraps are made under.
    fn root_ids(&self) -> (Vec<KeyId>, KeyId);

    /// The generation of the recipients that the keys are sealed to, durably, and its changes.
    fn recipients_generation(&self) -> watch::Receiver<u64>;

    /// Keeps one more, durably.
    ///
    /// # Errors
    ///
    /// If it could not be made durable: it must not be used.
    fn add_root_key(&self, key: Arc<RootKey>) -> io::Result<()>;

    /// Keeps these no longer, durably; new wraps are made under `active`.
    ///
    /// # Errors
    ///
    /// If that could not be made durable.
    fn settle_root_keys(&self, active: KeyId, gone: &[KeyId]) -> io::Result<()>;
}

/// What comes next for one manager.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Nothing: it holds what is wanted.
    Rest,
    /// Wait until the key file is sealed to the present recipients.
    Await,
    /// Get these from another manager, and keep them.
    Fetch(BTreeSet<KeyId>),
    /// Make new wraps under this one, and keep those no longer.
    Settle {
        /// The active one.
        active: KeyId,
        /// Those that are not wanted.
        gone: Vec<KeyId>,
    },
}

impl Step {
    /// What it does, for people.
    fn describe(&self) -> &'static str {
        match self {
            Self::Rest => "",
            Self::Await => "waits until its key file is sealed anew",
            Self::Fetch(_) => "fetches the new root key",
            Self::Settle { gone, .. } if gone.is_empty() => "takes the new root key into use",
            Self::Settle { .. } => "destroys a root key",
        }
    }
}

/// What the state wants of every manager.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    active: KeyId,
    all: BTreeSet<KeyId>,
    /// Whether the key file is sealed to the recipients of this state.
    sealed_anew: bool,
}

/// What comes next for a manager that holds `held`, of which its key file says that `used` is the
/// active one; `unsure` are those that it made and that may yet be announced.
fn next_step(held: &[KeyId], used: KeyId, wanted: &Wanted, unsure: &BTreeMap<KeyId, u64>) -> Step {
    let Wanted { active, all, sealed_anew } = wanted;
    let is_gone = |id: &&KeyId| !all.contains(id) && !unsure.contains_key(id);
    let gone: Vec<_> = held.iter().filter(is_gone).copied().collect();
    if held.contains(active) && (used != *active || !gone.is_empty()) {
        return Step::Settle { active: *active, gone };
    }
    let missing: BTreeSet<_> = all.iter().filter(|id| !held.contains(id)).copied().collect();
    match missing.is_empty() {
        true => Step::Rest,
        false if !sealed_anew => Step::Await,
        false => Step::Fetch(missing),
    }
}

/// What this manager tells of its root keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct RootStanding {
    /// The step it is at, for people.
    pub(crate) doing: String,
    /// Why that step failed.
    pub(crate) failed: String,
}

/// The root keys of this manager.
pub(crate) struct Roots {
    raft: Raft,
    keyring: Arc<Keyring>,
    keeper: Arc<dyn RootKeeper>,
    standing: Mutex<RootStanding>,
    /// Held while the key file's root keys change. Keys that were made to be announced, of which it
    /// is not known whether they will be, and the term of then: under a leader of a later term, or
    /// after a restart, a state that a majority confirms says so.
    unsure: tokio::sync::Mutex<BTreeMap<KeyId, u64>>,
}

impl Roots {
    pub(crate) fn new(raft: Raft, keyring: Arc<Keyring>, keeper: Arc<dyn RootKeeper>) -> Self {
        let standing = Mutex::default();
        Self { raft, keyring, keeper, standing, unsure: tokio::sync::Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, RootStanding> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this manager is at.
    pub(crate) fn standing(&self) -> RootStanding {
        self.lock().clone()
    }

    /// Says when the key file is sealed to other recipients.
    pub(crate) fn sealed_anew(&self) -> watch::Receiver<u64> {
        self.keeper.recipients_generation()
    }

    fn wanted(&self) -> Option<Wanted> {
        // Before the state is read: who waits for it asks the state.
        let sealed_to = *self.keeper.recipients_generation().borrow();
        let state = self.raft.machine.state();
        state.member(self.raft.me)?;
        let cluster = state.cluster()?;
        let sealed_anew = sealed_to >= cluster.recipients_generation;
        let (active, all) = (cluster.active_root, state.root_keys_wanted());
        Some(Wanted { active, all, sealed_anew })
    }

    /// The generation of the recipients that the state has now.
    fn listed_generation(&self) -> u64 {
        self.raft.machine.state().cluster().map_or(0, |cluster| cluster.recipients_generation)
    }

    /// Every root key that is on this manager's disk or in its memory.
    pub(crate) fn held(&self) -> BTreeSet<KeyId> {
        let kept = self.keeper.root_ids().0;
        kept.into_iter().chain(self.keyring.root_ids()).collect()
    }

    /// Root keys that are durable here and in use: a manager may acknowledge these.
    fn usable(&self) -> Vec<KeyId> {
        let kept = self.keeper.root_ids().0;
        kept.into_iter().filter(|id| self.keyring.root(*id).is_ok()).collect()
    }

    async fn keep(
        &self,
        change: impl FnOnce(&dyn RootKeeper) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let keeper = self.keeper.clone();
        tokio::task::spawn_blocking(move || change(&*keeper)).await.map_err(io::Error::other)?
    }

    async fn add(&self, key: Arc<RootKey>) -> io::Result<()> {
        let kept = key.clone();
        self.keep(move |keeper| keeper.add_root_key(kept)).await?;
        self.keyring.add_root(key);
        Ok(())
    }

    async fn settle(&self, active: KeyId, gone: &[KeyId]) -> io::Result<()> {
        let ids = gone.to_vec();
        self.keep(move |keeper| keeper.settle_root_keys(active, &ids)).await?;
        self.keyring.forget_roots(gone);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: KeyId = KeyId::from_bytes([1; 16]);
    const B: KeyId = KeyId::from_bytes([2; 16]);
    const C: KeyId = KeyId::from_bytes([3; 16]);

    fn wanted(active: KeyId, all: &[KeyId]) -> Wanted {
        Wanted { active, all: all.iter().copied().collect(), sealed_anew: true }
    }

    fn next(held: &[KeyId], used: KeyId, wanted: &Wanted) -> Step {
        next_step(held, used, wanted, &BTreeMap::new())
    }

    #[test]
    fn a_manager_gets_what_is_wanted_uses_what_is_active_and_destroys_the_rest() {
        let settle = |active, gone: &[KeyId]| Step::Settle { active, gone: gone.to_vec() };
        assert_eq!(next(&[A], A, &wanted(A, &[A])), Step::Rest);
        assert_eq!(next(&[A], A, &wanted(A, &[A, B])), Step::Fetch([B].into()));
        assert_eq!(next(&[A, B], A, &wanted(A, &[A, B])), Step::Rest, "it is not active yet");
        assert_eq!(next(&[A, B], A, &wanted(B, &[A, B])), settle(B, &[]));
        assert_eq!(next(&[A, B], B, &wanted(B, &[A, B])), Step::Rest, "something is under A");
        assert_eq!(next(&[A, B], B, &wanted(B, &[B])), settle(B, &[A]));
        assert_eq!(next(&[A, B], A, &wanted(B, &[B])), settle(B, &[A]), "both at once");
        assert_eq!(next(&[B], B, &wanted(B, &[B])), Step::Rest);
        // Another key was announced in the place of one that it holds.
        assert_eq!(next(&[A, B], A, &wanted(A, &[A, C])), settle(A, &[B]));
    }

    /// Whatever else it lacks, a manager never gives up keys while it lacks the active one.
    #[test]
    fn nothing_is_destroyed_by_who_lacks_the_active_key() {
        assert_eq!(next(&[A, C], A, &wanted(B, &[B])), Step::Fetch([B].into()));
        assert_eq!(next(&[A], A, &wanted(B, &[A, B])), Step::Fetch([B].into()));
    }

    /// A slot that was taken away opens the key file until it is sealed anew.
    #[test]
    fn no_key_is_got_for_a_file_that_former_recipients_open() {
        let wanted = Wanted { sealed_anew: false, ..wanted(A, &[A, B]) };
        assert_eq!(next(&[A], A, &wanted), Step::Await);
        // What it has is settled all the same.
        let step = Step::Settle { active: B, gone: vec![A] };
        assert_eq!(next(&[A, B], A, &Wanted { active: B, all: [B].into(), ..wanted }), step);
    }

    #[test]
    fn a_key_that_may_yet_be_announced_is_kept() {
        let unsure = [(B, 1)].into();
        assert_eq!(next_step(&[A, B], A, &wanted(A, &[A]), &unsure), Step::Rest);
        let step = next_step(&[A, B, C], A, &wanted(A, &[A]), &unsure);
        assert_eq!(step, Step::Settle { active: A, gone: vec![C] });
    }
}
