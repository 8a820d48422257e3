//! Carrying out a rotation's steps, one after the other.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use proto::id::KeyId;
use seal::LogKey;
use tokio::sync::oneshot;

use super::{KeyKeeper, Position, Step, next_step};
use crate::raft::Raft;

/// Between two looks at what another task is doing: removing records, sending them to a follower,
/// writing a file.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long one step may wait for a snapshot or a purge, before the position is worked out anew.
const PATIENCE: Duration = Duration::from_secs(10);

/// The rotation of this manager's log key; a handle.
#[derive(Clone)]
pub(crate) struct Rotation {
    raft: Raft,
    keeper: Arc<dyn KeyKeeper>,
}

impl Rotation {
    pub(crate) fn new(raft: Raft, keeper: Arc<dyn KeyKeeper>) -> Self {
        Self { raft, keeper }
    }

    /// Where this manager is. Reads headers only.
    ///
    /// # Errors
    ///
    /// If the disk cannot be read.
    pub(crate) async fn position(&self) -> io::Result<Position> {
        let Self { raft, keeper } = self.clone();
        let look = move || {
            // The state first: what changes it later has a rotation of its own.
            let listed = raft.machine.state().cluster().map(|c| c.recipients_generation);
            let sealed_anew = keeper.generation() >= listed.unwrap_or(0);
            let (kept, active) = keeper.log_ids();
            let snapshots = raft.machine.snapshots();
            // Before anything is looked at: a file that ends meanwhile is seen then.
            let old_files = snapshots.keys().old_files();
            Ok(Position {
                sealed_anew,
                kept,
                active,
                used: snapshots.keys().active().id(),
                log: raft.log.key_ids()?,
                snapshots: snapshots.key_ids()?,
                old_files,
            })
        };
        tokio::task::spawn_blocking(look).await.map_err(io::Error::other)?
    }

    /// What comes next.
    ///
    /// # Errors
    ///
    /// If the disk cannot be read.
    pub(crate) async fn next(&self, due: bool) -> io::Result<Step> {
        Ok(next_step(&self.position().await?, due))
    }

    /// Takes a step.
    ///
    /// # Errors
    ///
    /// If it failed: what comes next is worked out anew then.
    pub(crate) async fn take(&self, step: &Step) -> io::Result<()> {
        match step {
            Step::Rest => Ok(()),
            Step::MakeKey => {
                let key = Arc::new(LogKey::make());
                self.keep(move |keeper| keeper.add_log_key(key)).await
            }
            Step::Use(id) => self.use_key(*id).await,
            Step::Rewrite => self.rewrite().await,
            Step::Snapshot { covering } => self.snapshot(*covering).await,
            Step::Purge { to } => self.purge(*to).await,
            Step::Await(_) => {
                tokio::time::sleep(LOOK_AGAIN).await;
                Ok(())
            }
            Step::Destroy(gone) => {
                let ids = gone.clone();
                self.keep(move |keeper| keeper.destroy_log_keys(&ids)).await?;
                self.raft.machine.snapshots().keys().forget(gone);
                Ok(())
            }
        }
    }

    async fn keep(
        &self,
        change: impl FnOnce(&dyn KeyKeeper) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let keeper = self.keeper.clone();
        tokio::task::spawn_blocking(move || change(&*keeper)).await.map_err(io::Error::other)?
    }

    async fn use_key(&self, id: KeyId) -> io::Result<()> {
        let key = self.keeper.log_key(id);
        let key = key.ok_or_else(|| io::Error::other("the key file's active key is not in it"))?;
        self.raft.machine.snapshots().keys().use_key(key);
        // In the writer's queue behind everything that was sealed under the key before.
        self.rewrite().await
    }

    async fn rewrite(&self) -> io::Result<()> {
        let (tell, told) = oneshot::channel();
        self.raft.log.writer().rewrite(Box::new(move |outcome| drop(tell.send(outcome))));
        told.await.map_err(io::Error::other)?
    }

    /// Waits until everything under the old key is applied, then for a snapshot. One that was
    /// under way already may be under the old key, or cover too little: the next look sees that.
    async fn snapshot(&self, covering: u64) -> io::Result<()> {
        let mut applied = self.raft.machine.applied();
        let reached = applied.wait_for(|applied| *applied >= covering);
        match tokio::time::timeout(PATIENCE, reached).await {
            Ok(reached) => drop(reached.map_err(io::Error::other)?),
            // No majority commits it: the next look finds the same step.
            Err(_) => return Ok(()),
        }
        let mut written = self.raft.machine.snapshots_written();
        self.raft.inner.trigger().snapshot().await.map_err(io::Error::other)?;
        match tokio::time::timeout(PATIENCE, written.changed()).await {
            Ok(changed) => changed.map_err(io::Error::other),
            Err(_) => Ok(()),
        }
    }

    /// Purges to the snapshot itself: a follower that is further behind gets the snapshot. A leader
    /// gives up only what it is not sending.
    async fn purge(&self, to: u64) -> io::Result<()> {
        let inner = &self.raft.inner;
        let known = inner.wait(Some(PATIENCE));
        let known = known.metrics(|m| m.snapshot.is_some_and(|id| id.index >= to), "snapshot");
        if known.await.is_err() {
            return Ok(());
        }
        inner.trigger().purge_log(to).await.map_err(io::Error::other)?;
        let purged = inner.wait(Some(PATIENCE));
        let purged = purged.metrics(|m| m.purged.is_some_and(|id| id.index >= to), "purge").await;
        if purged.is_err() {
            tracing::debug!(to, "purge_waits_for_followers");
        }
        Ok(())
    }
}
