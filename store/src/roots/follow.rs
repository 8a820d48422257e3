//! Following the rotation: one manager's own steps, and making a key that is to be announced.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use proto::id::KeyId;
use seal::RootKey;

use super::{Roots, Step, next_step};

/// How long a key that is to be made waits for the key file to be sealed anew: that takes one
/// writing of a file.
const SEALED_WITHIN: Duration = Duration::from_secs(5);

/// What became of the proposal to announce a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announced {
    /// It is announced.
    Yes,
    /// It never will be.
    No,
    /// It may yet be.
    Unknown,
}

/// A key that is being made. Whoever asked for it may give up at any moment: what was not proposed
/// by then never will be, and is destroyed like any that is not wanted.
struct Making<'a> {
    unsure: tokio::sync::MutexGuard<'a, BTreeMap<KeyId, u64>>,
    id: KeyId,
    may_be_announced: bool,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        if !self.may_be_announced {
            self.unsure.remove(&self.id);
        }
    }
}

impl Roots {
    /// Does what comes next; false if there is nothing to do, or nothing can be done now.
    ///
    /// # Errors
    ///
    /// If it failed: what comes next is worked out anew then.
    pub(crate) async fn advance(&self) -> io::Result<bool> {
        let mut unsure = self.unsure.lock().await;
        let look = |unsure: &_| {
            let Some(wanted) = self.wanted() else { return Step::Rest };
            let (held, used) = self.keeper.root_ids();
            next_step(&held, used, &wanted, unsure)
        };
        if look(&unsure) == Step::Rest {
            *self.lock() = super::RootStanding::default();
            return Ok(false);
        }
        // A state that lags must not take an older key for the wanted one, or a newer one for none.
        let term = self.term();
        if self.raft.barrier().await.is_err() {
            return Ok(false);
        }
        if let Some(wanted) = self.wanted() {
            // What a leader of a later term has not committed before its first entry never will be.
            unsure.retain(|id, made_in| !wanted.all.contains(id) && *made_in >= term);
        }
        let step = look(&unsure);
        self.does(&step);
        match &step {
            Step::Rest | Step::Await => return Ok(false),
            Step::Fetch(ids) => {
                for key in self.fetch(ids).await? {
                    self.add(Arc::new(key)).await?;
                }
            }
            Step::Settle { active, gone } => self.settle(*active, gone).await?,
        }
        let active = self.keeper.root_ids().1;
        tracing::info!(step = step.describe(), active.id = %active, "root_key_step");
        Ok(true)
    }

    fn term(&self) -> u64 {
        self.raft.leadership().borrow().term
    }

    fn does(&self, step: &Step) {
        let mut standing = self.lock();
        if standing.doing != step.describe() {
            *standing = super::RootStanding { doing: step.describe().into(), ..Default::default() };
        }
    }

    /// The step failed.
    pub(crate) fn failed(&self, why: String) {
        self.lock().failed = why;
    }

    /// Makes a root key, keeps it, and has it announced by `announce`; nothing else changes the root
    /// keys meanwhile. A key that is not announced is destroyed.
    ///
    /// # Errors
    ///
    /// If it could not be made durable, or the key file is not sealed to the present recipients and
    /// is not soon: then nothing was announced.
    pub(crate) async fn make<T>(
        &self,
        announce: impl AsyncFnOnce(KeyId) -> (T, Announced),
    ) -> io::Result<T> {
        self.await_sealed().await?;
        let key = Arc::new(RootKey::make());
        let id = key.id();
        let mut making = Making { unsure: self.unsure.lock().await, id, may_be_announced: false };
        making.unsure.insert(id, self.term());
        self.add(key).await?;
        making.may_be_announced = true;
        let (outcome, announced) = announce(id).await;
        making.may_be_announced = announced == Announced::Unknown;
        if announced == Announced::No {
            let active = self.keeper.root_ids().1;
            self.settle(active, &[id]).await?;
        }
        Ok(outcome)
    }

    /// Waits until the key file is sealed to the recipients that the state has now.
    async fn await_sealed(&self) -> io::Result<()> {
        let mut generation = self.keeper.recipients_generation();
        let is_sealed = |sealed: &u64| *sealed >= self.listed_generation();
        match tokio::time::timeout(SEALED_WITHIN, generation.wait_for(is_sealed)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(io::Error::other(
                "this manager's key file is not sealed to the present slots yet; its log says why",
            )),
        }
    }
}
