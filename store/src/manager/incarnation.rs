//! A new life of the cluster from this manager alone: `--force-new-cluster`.
//!
//! For a cluster that lost the majority of its managers for good. What this manager's disk holds
//! becomes a data folder of a cluster of one, in the next incarnation, with a log key and a
//! certificate made for it. That folder is built beside the files in use, in
//! `unfinished-incarnation`; renaming it to `next-incarnation` is the one moment at which the new
//! life begins. From then on every start first takes its files over, each in place of the one
//! before, and the log of the old life is removed with it: nothing can open that by accident, and
//! nothing that is removed later lives on in it. Not here: what is read and written (raft), what
//! begins (state).
//!
//! Invariant: at every instant a start finds the old life whole or the new one whole.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use link::Failure;
use link::certificate;
use link::dial::{self, Patience};
use link::rpc::peer_client::PeerClient;
use link::tls::{self, Cluster};
use proto::id::{Incarnation, MemberId};
use proto::identity::{Caller, Role, Subject};
use proto::{Kind, pb};
use seal::{KeyFileContents, KeyFileOwner, LogKey, Recipient};
use state::BeginIncarnation;
use state::command::{Command, Envelope};
use sys::file::{FileError, Folder, PRIVATE_FILE_MODE};
use tokio::sync::watch;

use super::serve::open_disk;
use super::{Event, ManagerError, Shared, read_text};
use crate::ca;
use crate::disk::{Disk, SledDisk};
use crate::front::Phase;
use crate::keys::{Chain, KeyFile, Keyring, Unlocked, credentials};
use crate::raft::{Left, LogKeys, SNAPSHOT_PREFIX, StartError, Survivor, read_survivor};
use crate::service::now;

/// The folder of a new life while it is built: thrown away by the next start.
pub(super) const UNFINISHED_LIFE: &str = "unfinished-incarnation";

/// The folder of a new life that has begun: its files take the place of those before.
pub(super) const NEXT: &str = "next-incarnation";

/// Which incarnation `--force-new-cluster` led to, until a start without it: given once, it is
/// carried out once, whatever restarts the manager.
const FORCED: &str = "forced";

/// The incarnation of this manager and the later one that it met.
const SUPERSEDED: &str = "superseded";

/// Time for another manager to answer, before it is taken for gone.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Told before every step that a crash must not tear; tests end the process there.
pub(super) type Gate<'a> = &'a dyn Fn(&'static str);

/// What the folder of a new life gets, beside its log.
pub(super) struct Life<'a> {
    pub(super) owner: &'a KeyFileOwner,
    pub(super) recipients: &'a [Recipient],
    pub(super) contents: &'a KeyFileContents,
    pub(super) chain: &'a Chain,
    /// A small file of this way to begin: its name, and what it says.
    pub(super) note: (&'static str, String),
}

fn not_forced(why: impl Into<String>) -> ManagerError {
    ManagerError::NotForced(why.into())
}

fn keys_failed(error: impl std::error::Error + Send + Sync + 'static) -> ManagerError {
    ManagerError::Keys(Box::new(error))
}

/// Brings a folder to one life: takes over one that has begun, throws away one that has not.
///
/// # Errors
///
/// If a file cannot be moved or removed; the next start goes on.
pub(super) fn settle(folder: &Folder) -> Result<(), FileError> {
    remove_tree(folder, UNFINISHED_LIFE)?;
    take_over(folder, &|_| {})
}

fn remove_tree(folder: &Folder, name: &str) -> Result<(), FileError> {
    match std::fs::remove_dir_all(folder.path().join(name)) {
        Ok(()) => folder.sync(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(folder.write_failed(name, source)),
    }
}

/// Puts every file of the new life in the place of the one before. What has been moved is not there
/// any more, so that going on after a crash removes nothing of the new life.
fn take_over(folder: &Folder, gate: Gate<'_>) -> Result<(), FileError> {
    let next = match folder.private_folder(NEXT) {
        Ok(next) => next,
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error),
    };
    let names: Vec<String> =
        next.entries()?.into_iter().filter_map(|name| name.into_string().ok()).collect();
    if names.iter().any(|name| name.starts_with(SNAPSHOT_PREFIX)) {
        let old = folder.entries()?.into_iter().filter_map(|name| name.into_string().ok());
        for name in old.filter(|name| name.starts_with(SNAPSHOT_PREFIX)) {
            gate("remove an old snapshot");
            folder.remove(&name)?;
        }
    }
    credentials::unstage(folder)?;
    for name in &names {
        if next.path().join(name).is_dir() {
            gate("remove the old log");
            remove_tree(folder, name)?;
        }
        gate("take a file over");
        folder.take_from(&next, name)?;
    }
    gate("remove the empty folder");
    remove_tree(folder, NEXT)?;
    tracing::info!("incarnation_taken_over");
    Ok(())
}

/// From now on `--force-new-cluster` may be given again.
pub(super) fn forget_forced(folder: &Folder) -> Result<(), FileError> {
    folder.remove_if_there(FORCED)
}

/// Refuses to start a manager that has met a later life of its cluster.
pub(super) fn check_not_superseded(folder: &Folder) -> Result<(), ManagerError> {
    let Some(text) = read_text(folder, SUPERSEDED)? else { return Ok(()) };
    let (own, now) = text.split_once(' ').unwrap_or((&text, "a later one"));
    Err(ManagerError::Superseded { own: own.into(), now: now.into() })
}

/// Notes that this manager met a later life of its cluster: it must not serve any more.
pub(super) fn supersede(folder: &Folder, own: Incarnation, now: Incarnation) -> ManagerError {
    let text = format!("{own} {now}");
    if let Err(error) = folder.replace(SUPERSEDED, PRIVATE_FILE_MODE, text.as_bytes()) {
        tracing::error!(%error, "superseded_not_noted");
    }
    ManagerError::Superseded { own: own.to_string(), now: now.to_string() }
}

impl Shared {
    /// What was unlocked, or what a new cluster of this manager alone begins with, if that was
    /// asked for and is to be.
    pub(super) async fn forced_if_asked(
        &self,
        unlocked: Box<Unlocked>,
    ) -> Result<Box<Unlocked>, ManagerError> {
        let folder = &self.folder;
        if !self.options.force_new_cluster {
            forget_forced(folder)?;
            return Ok(unlocked);
        }
        if let Some(incarnation) = read_text(folder, FORCED)? {
            // A unit file that still has the option must not do it again at every restart.
            let remedy = "start without --force-new-cluster";
            tracing::warn!(incarnation, remedy, "new_cluster_forced_before");
            return Ok(unlocked);
        }
        let seal::Disk { incarnation, member: me, .. } = unlocked.owner.disk;
        let survivor = read_all(folder, &unlocked).await?;
        check_is_member(&survivor, me)?;
        if survivor.voters.iter().all(|voter| *voter == me) {
            let done = incarnation.to_string();
            folder.replace(FORCED, PRIVATE_FILE_MODE, done.as_bytes())?;
            let remedy = "start without --force-new-cluster";
            tracing::warn!(%incarnation, remedy, "no_other_manager_votes");
            return Ok(unlocked);
        }
        check_others_are_gone(folder, &unlocked, &survivor).await?;
        let last = survivor.last.map_or(0, |place| place.index);
        let (uncommitted, voters) = (survivor.uncommitted, survivor.voters.clone());
        let begun = self.begin_life(*unlocked, survivor, &|_| {})?;
        let gone: Vec<_> = voters.iter().filter(|voter| **voter != me).map(|v| v.0).collect();
        tracing::warn!(
            target: "audit", action = "begin_incarnation", member = %me,
            incarnation = %begun.owner.disk.incarnation, last_entry = last, uncommitted,
            ?gone, "cluster_forced"
        );
        Ok(Box::new(begun))
    }

    /// Builds the folder of the new life, and lets it take the place of the old one.
    fn begin_life(
        &self,
        unlocked: Unlocked,
        survivor: Survivor,
        gate: Gate<'_>,
    ) -> Result<Unlocked, ManagerError> {
        let Unlocked { owner, contents, by, brought, .. } = unlocked;
        let seal::Disk { realm, incarnation, member: me } = owner.disk;
        let no_state = || not_forced("this manager knows of no cluster: it never finished to join");
        let cluster = survivor.state.cluster().cloned().ok_or_else(no_state)?;
        let member = survivor.state.member(me).cloned().ok_or_else(no_state)?;
        let root = cluster.active_root;
        if !contents.roots.iter().any(|held| held.id() == root) {
            return Err(not_forced(format!(
                "this manager does not hold the root key {root}, which the cluster's secrets are \
                 under: begin with another manager that is left"
            )));
        }
        let list = &cluster.recipients;
        let recipients = self.key_file.recipients(list, me)?;
        let incarnation = Incarnation(incarnation.0.saturating_add(1));
        let disk = seal::Disk { realm, incarnation, member: me };
        let generation = cluster.recipients_generation;
        let owner = KeyFileOwner { disk, node_id: owner.node_id, generation };

        let at = now();
        let pair = certificate::make_key_pair().map_err(keys_failed)?;
        let issuer = survivor.state.issuer(Role::Manager).unwrap_or(&cluster.authority);
        let ca_key = Keyring::new(realm, contents.roots.clone()).ca_key(issuer);
        let issued = ca::sign(
            &issuer.certificate.0,
            &ca_key.map_err(keys_failed)?,
            ca::For {
                realm,
                incarnation,
                subject: Subject::Manager(owner.node_id, me),
                public_key: &pair.public,
                now: at,
            },
        );
        let issued = issued.map_err(keys_failed)?;
        let authorities = ca::authorities(&survivor.state).ok_or_else(no_state)?;
        let chain = Chain { leaf: issued.der, authorities };
        let log = Arc::new(LogKey::make());
        let begin = BeginIncarnation {
            incarnation,
            member: me,
            serial: issued.serial,
            certificate: issued.record,
            log_key: log.id(),
            root,
            key_file_generation: generation,
            level_max: state::command::LEVEL,
        };
        let begin = Envelope {
            format: cluster.level,
            request: None,
            caller: Caller::Cluster { member: me },
            at,
            body: Command::BeginIncarnation(Box::new(begin)),
        };
        let contents = KeyFileContents {
            active_root: root,
            roots: contents.roots,
            active_log: log.id(),
            logs: vec![log.clone()],
            tls_key: pair.private,
        };

        let life = Life {
            owner: &owner,
            recipients: &recipients,
            contents: &contents,
            chain: &chain,
            note: (FORCED, incarnation.to_string()),
        };
        let left = Left { member: me, address: &member.address, node_id: member.node_id.as_str() };
        let write_log = |disk, keys| survivor.begin(disk, keys, &left, begin);
        self.begin_folder(&life, write_log, gate)?;
        Ok(Unlocked { owner, recipients, contents, by, brought })
    }

    /// Builds the folder of a new life beside what is there, whose place it takes in one step.
    ///
    /// # Errors
    ///
    /// If it could not be built; what was there stays. If it has begun all the same, this ends the
    /// process, and the next start goes on.
    pub(super) fn begin_folder(
        &self,
        life: &Life<'_>,
        write_log: impl FnOnce(Arc<dyn Disk>, Arc<LogKeys>) -> Result<(), StartError>,
        gate: Gate<'_>,
    ) -> Result<(), ManagerError> {
        gate("begin the folder");
        remove_tree(&self.folder, UNFINISHED_LIFE)?;
        let folder = self.folder.create_private_folder(UNFINISHED_LIFE)?;
        gate("write the log");
        let files = SledDisk::open(folder.try_clone()?).map_err(|e| StartError::Log(e.into()))?;
        let KeyFileContents { logs, active_log, .. } = life.contents;
        let keys = Arc::new(LogKeys::new(life.owner.disk, logs.clone(), *active_log));
        write_log(Arc::new(files), keys)?;
        gate("write the certificate");
        life.chain.write(&folder)?;
        gate("write the note");
        let (name, text) = &life.note;
        folder.replace(name, PRIVATE_FILE_MODE, text.as_bytes())?;
        gate("write the key file");
        let sealed = KeyFile::seal(life.owner, life.recipients, life.contents)?;
        KeyFile::new(folder, self.options.unlock_seed.clone()).write(&sealed)?;
        gate("begin the new life");
        let begun = self.folder.rename(UNFINISHED_LIFE, NEXT);
        let begun = begun.and_then(|()| take_over(&self.folder, gate));
        // It may have begun. Nothing else may begin here before a start has looked.
        Ok(begun.inspect_err(|error| self.end(error.to_string()))?)
    }

    /// Ends the process for an error, and serves nothing more until it has ended.
    pub(super) fn end(&self, reason: String) {
        self.phase.send_replace(Phase::Stopping);
        drop(self.events.send(Event::Fatal(reason)));
    }
}

/// Reads all that this manager has, off the runtime. Nobody has the disk open when it returns.
pub(super) async fn read_all(
    folder: &Folder,
    unlocked: &Unlocked,
) -> Result<Survivor, ManagerError> {
    let disk = open_disk(folder.try_clone()?).await?;
    let KeyFileContents { logs, active_log, .. } = &unlocked.contents;
    let keys = Arc::new(LogKeys::new(unlocked.owner.disk, logs.clone(), *active_log));
    let reading = tokio::task::spawn_blocking(move || read_survivor(disk, keys)).await;
    Ok(reading.map_err(|error| ManagerError::Stopped(error.to_string()))??)
}

fn check_is_member(survivor: &Survivor, me: MemberId) -> Result<(), ManagerError> {
    if survivor.state.is_removed_member(me) {
        return Err(not_forced(format!(
            "manager {me}, which this is, was removed from the cluster"
        )));
    }
    if survivor.state.member(me).is_none() {
        return Err(not_forced("this manager knows of no cluster: it never finished to join"));
    }
    Ok(())
}

/// Refuses where a majority is there: two clusters would go on from one state.
async fn check_others_are_gone(
    folder: &Folder,
    unlocked: &Unlocked,
    survivor: &Survivor,
) -> Result<(), ManagerError> {
    let seal::Disk { realm, incarnation, member: me } = unlocked.owner.disk;
    let (chain, own) = Chain::read(folder, &unlocked.contents.tls_key)?;
    let met = watch::Sender::new(incarnation);
    let cluster = Cluster { realm, incarnation };
    let trust = credentials::trust(folder, &chain.authorities)?;
    let config = tls::peer_config(own, trust, cluster, met.clone()).map_err(keys_failed)?;
    let others = survivor.state.members().iter().filter(|(id, _)| **id != me);
    let asked = others.map(|(id, member)| {
        let (id, channel) = (*id, dial::channel(&member.address, config.clone(), Patience::PEER));
        async move {
            let mut client = PeerClient::new(channel.ok()?);
            let call = client.describe(pb::DescribeRequest {});
            let answer = tokio::time::timeout(ANSWER_WITHIN, call).await.ok()?;
            Some((id, answer.map(|said| said.into_inner().member).map_err(Failure::from)))
        }
    });
    let answers: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
    let highest = *met.borrow();
    if highest > incarnation {
        return Err(supersede(folder, incarnation, highest));
    }
    let mut there = BTreeSet::from([me]);
    for (id, answer) in answers {
        match answer {
            Ok(said) if said == id.0 => drop(there.insert(id)),
            Err(failure) if failure.kind == Kind::Evicted => {
                return Err(not_forced(format!("manager {id} answers: {failure}")));
            }
            // Nobody, or another one at that address.
            _ => {}
        }
    }
    let (count, all) = (there.intersection(&survivor.voters).count(), survivor.voters.len());
    if count > all / 2 {
        let named: Vec<_> = there.iter().map(ToString::to_string).collect();
        return Err(not_forced(format!(
            "{count} of {all} managers are there (manager {}), which is a majority: start without \
             it; if they find no leader: docs/operations/lost-quorum.md",
            named.join(", ")
        )));
    }
    Ok(())
}

#[cfg(test)]
mod power_cuts;
#[cfg(test)]
pub(super) mod tests;
