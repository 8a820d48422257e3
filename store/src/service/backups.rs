//! Backups: taking one, and those that were taken.
//!
//! Whoever is asked takes it: a read barrier, then a copy of the state, which is wrapped anew under
//! a root key made for it, recorded by the leader, and streamed. The key goes sealed to the key pair
//! that the caller made for the call. Not here: the file (secretctl), what the copy leaves out and
//! what is remembered (state).
//!
//! Invariants: nothing of a backup leaves before it is recorded, and nothing in it was removed before
//! that; nothing in it is under a live root
//! key; no root key is held while a client is slow, since everything is wrapped before the first
//! piece is sent; payloads stay sealed.

use std::sync::Arc;

use link::Failure;
use proto::id::{BackupId, KeyId, Revision, Timestamp};
use proto::identity::Caller;
use proto::limits::BACKUP_CHUNK_BYTES;
use proto::{Kind, pb};
use seal::{BackupCall, BackupPublicKey, BackupRoot, BackupWay, DigestOfPieces};
use state::State;
use state::command::Command;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::Status;

use super::{CallName, Service, cluster_of, internal, mark, parse_failure, refused, root_keys};
use crate::keys::{Keyring, KeyringError};

/// Format of the head, and of what follows it.
pub(crate) const BACKUP_FORMAT: u32 = 1;

/// Pieces of a backup that are on their way at a time.
const PIECES_MAX: usize = 4;

/// Copies that are taken for a backup, one after another, while secrets are removed meanwhile.
const COPIES_MAX: usize = 5;

/// Where backups are taken, one at a time: each holds a copy of the state, whose payloads the
/// cluster may have given up meanwhile.
pub(crate) struct BackupDesk(Arc<Semaphore>);

impl Default for BackupDesk {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

/// A copy of the state that is ready to go.
struct Taken {
    copy: State,
    root: BackupRoot,
    bytes: u64,
    digest: [u8; 32],
}

/// Pieces of a backup, or why there are no more.
type Pieces = mpsc::Receiver<Result<pb::BackupPiece, Status>>;

impl Service {
    /// Takes a backup. It is recorded when this returns, and its first piece is ready.
    ///
    /// # Errors
    ///
    /// If the caller may not; if another one is being taken here; without a majority, or a root key
    /// that something is wrapped under; while the CA rotates; if the caller's key is not one to seal to.
    pub(crate) async fn back_up(
        &self,
        caller: Caller,
        request: pb::BackUpRequest,
    ) -> Result<Pieces, Failure> {
        anew_if_removed(|| self.back_up_once(caller, &request)).await
    }

    async fn back_up_once(
        &self,
        caller: Caller,
        request: &pb::BackUpRequest,
    ) -> Result<Pieces, Failure> {
        self.barrier().await?;
        self.authorise(caller, CallName::BackUp)?;
        let unusable = || {
            Failure::new(Kind::Invalid, "the key to seal the backup's root key to is not one")
                .hint("`secretctl cluster backup` makes one for each backup")
        };
        let to = BackupPublicKey::parse(request.public_key.clone()).map_err(|_| unusable())?;
        let permit = self.backup_desk.0.clone().try_acquire_owned().map_err(|_| {
            Failure::new(Kind::Unavailable, "this manager is taking another backup")
                .hint("try again when that is done")
        })?;
        let copy = {
            let state = self.raft.machine.state();
            if let Some(refusal) = state.refuses_backup() {
                return Err(refused(&refusal));
            }
            state.for_backup()
        };
        // The copy's own: the CA may be another one by now.
        let cluster = cluster_of(&copy)?;
        let keyring = self.keyring.clone();
        let (taken, permit) = holding(permit, move || take(&keyring, copy)).await?;
        let taken = taken.map_err(|error| match error {
            TakeError::Keyring(KeyringError::NoRoot) => root_keys::no_root_key(),
            error => internal(&error),
        })?;
        let id = BackupId::from_bytes(seal::random());
        let (revision, taken_at) = (taken.copy.index(), taken.copy.now().0);
        let call = BackupCall {
            realm: cluster.realm,
            incarnation: cluster.incarnation,
            backup_id: id,
            copy_digest: &taken.digest,
            way: BackupWay::Out,
        };
        let (encapsulation, sealed) = call.seal(&to, &taken.root).map_err(|_| unusable())?;
        let record =
            pb::RecordBackupRequest { id: id.as_bytes().to_vec().into(), revision, taken_at };
        self.route(caller, record).await?;
        tracing::info!(
            target: "audit", action = "back_up", backup.id = %id, revision,
            bytes = taken.bytes, "backup_taken"
        );
        let head = pb::BackupHead {
            format: BACKUP_FORMAT,
            realm: cluster.realm.as_bytes().to_vec().into(),
            incarnation: cluster.incarnation.0,
            id: id.as_bytes().to_vec().into(),
            revision,
            taken_at,
            level: cluster.level.into(),
            copy_bytes: taken.bytes,
            copy_digest: taken.digest.to_vec().into(),
            root_key_id: taken.root.id().as_bytes().to_vec().into(),
            secrets: taken.copy.secrets().len() as u64,
            version: env!("CARGO_PKG_VERSION").into(),
            encapsulation: encapsulation.as_bytes().clone(),
            sealed_root_key: sealed.as_bytes().clone(),
            ca_digest: cluster.authority.digest.0.to_vec().into(),
        };
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        // Where there is no room yet the head would not wait: it is the first.
        drop(sender.try_send(Ok(piece(pb::backup_piece::Piece::Head(head)))));
        tokio::task::spawn_blocking(move || send(&taken.copy, &sender, &permit));
        Ok(pieces)
    }

    /// Records one, for the manager that has taken it.
    pub(super) async fn record_backup(
        &self,
        caller: Caller,
        request: pb::RecordBackupRequest,
    ) -> Result<pb::RecordBackupResponse, Failure> {
        // Asked again after an answer that was lost, it is the same request.
        let mark = mark(&caller, &request.id, &request)?;
        let id = proto::convert::bytes_16("id", &request.id).map_err(|e| parse_failure(&e))?;
        let revision = Revision(request.revision);
        let taken_at = Timestamp(request.taken_at);
        let command = Command::RecordBackup { id, revision, taken_at };
        self.propose(caller, Some(mark), command).await?;
        Ok(pb::RecordBackupResponse {})
    }

    pub(super) async fn list_backups(
        &self,
        _: Caller,
        _: pb::ListBackupsRequest,
    ) -> Result<pb::ListBackupsResponse, Failure> {
        self.barrier().await?;
        let state = self.raft.machine.state();
        let backups = state.backups();
        let forgotten = backups.forgotten();
        Ok(pb::ListBackupsResponse {
            backups: described(&state, backups.that_may_hold(Timestamp(0), None)),
            not_remembered: forgotten.map_or(0, |it| it.count),
            not_remembered_until: forgotten.map_or(0, |it| it.taken_until.0),
        })
    }

    pub(super) async fn forget_backup(
        &self,
        caller: Caller,
        request: pb::ForgetBackupRequest,
    ) -> Result<pb::BackupInfo, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        let (id, info) = {
            let state = self.raft.machine.state();
            find(&state, &request.id)?
        };
        self.propose(caller, Some(mark), Command::ForgetBackup { id }).await?;
        Ok(info)
    }
}

/// Works off the runtime with a permit, which comes back when the work is done: whoever asked may be
/// gone before that, and the work goes on.
async fn holding<T: Send + 'static>(
    permit: OwnedSemaphorePermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<(T, OwnedSemaphorePermit), Failure> {
    let working = tokio::task::spawn_blocking(move || (work(), permit)).await;
    working.map_err(|error| internal(&error))
}

/// Takes a backup, and another one if something was removed between its copy and its record: whoever
/// removed it was not told of that copy, so none of it may leave.
async fn anew_if_removed<T, F>(once: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    for _ in 0..COPIES_MAX {
        match once().await {
            Err(failure) if failure.kind == Kind::Conflict => {
                tracing::info!("backup_taken_anew");
            }
            taken => return taken,
        }
    }
    Err(Failure::new(Kind::Unavailable, "secrets are being removed while the backup is taken")
        .hint("try again when that is done"))
}

const fn piece(piece: pb::backup_piece::Piece) -> pb::BackupPiece {
    pb::BackupPiece { piece: Some(piece) }
}

/// A copy cannot be taken.
#[derive(Debug, thiserror::Error)]
enum TakeError {
    #[error("a key cannot be wrapped anew")]
    Keyring(#[from] KeyringError),
    #[error("something in the copy is still under the root key {0}")]
    StillUnder(KeyId),
}

/// Wraps everything in the copy anew, and looks at all of it once.
fn take(keyring: &Keyring, mut copy: State) -> Result<Taken, TakeError> {
    let root = BackupRoot::make();
    copy.wrap_all_anew(root.id(), &mut |place| keyring.wrap_for_backup(&root, place))?;
    if let Some(live) = keyring.root_ids().into_iter().find(|id| copy.wraps_under(*id) > 0) {
        return Err(TakeError::StillUnder(live));
    }
    let (mut digest, mut bytes) = (DigestOfPieces::default(), 0);
    let read = copy.write(&mut |piece| {
        digest.add(piece);
        bytes += piece.len() as u64;
        Ok::<(), std::convert::Infallible>(())
    });
    match read {
        Ok(()) => Ok(Taken { copy, root, bytes, digest: digest.finish() }),
        Err(never) => match never {},
    }
}

/// Sends the copy in pieces of one size, as fast as they are taken.
fn send(
    copy: &State,
    to: &mpsc::Sender<Result<pb::BackupPiece, Status>>,
    _permit: &OwnedSemaphorePermit,
) {
    let mut waiting = Vec::with_capacity(BACKUP_CHUNK_BYTES);
    let send = |bytes: Vec<u8>| {
        let copy = pb::backup_piece::Piece::Copy(bytes.into());
        to.blocking_send(Ok(piece(copy))).map_err(drop)
    };
    let written = copy.write(&mut |mut bytes| {
        while !bytes.is_empty() {
            let room = BACKUP_CHUNK_BYTES - waiting.len();
            let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            waiting.extend_from_slice(now);
            bytes = later;
            if waiting.len() == BACKUP_CHUNK_BYTES {
                send(std::mem::replace(&mut waiting, Vec::with_capacity(BACKUP_CHUNK_BYTES)))?;
            }
        }
        Ok(())
    });
    let ended = written.and_then(|()| if waiting.is_empty() { Ok(()) } else { send(waiting) });
    if ended.is_err() {
        tracing::info!("backup_not_taken_to_its_end");
    }
}

/// Backups as operators see them.
pub(super) fn described(
    state: &State,
    backups: Vec<(BackupId, &state::Backup)>,
) -> Vec<pb::BackupInfo> {
    backups.into_iter().map(|(id, backup)| describe(state, id, backup)).collect()
}

fn describe(state: &State, id: BackupId, backup: &state::Backup) -> pb::BackupInfo {
    pb::BackupInfo {
        id: id.as_bytes().to_vec().into(),
        revision: backup.revision.0,
        taken_at: backup.taken_at.0,
        recorded_at: backup.recorded_at.0,
        made_by: backup.made_by.to_string(),
        former_ca: state.is_of_former_ca(backup),
    }
}

/// A backup by its id, or a unique beginning of that.
fn find(state: &State, text: &str) -> Result<(BackupId, pb::BackupInfo), Failure> {
    let known = state.backups().known().iter();
    let mut found = known.filter(|(id, _)| !text.is_empty() && id.to_string().starts_with(text));
    let hint = "`secretctl cluster backup ls` lists those that are known";
    match (found.next(), found.next()) {
        (Some((id, backup)), None) => Ok((*id, describe(state, *id, backup))),
        (Some(_), Some(_)) => {
            let what = format!("several backups have an id that begins with `{text}`");
            Err(Failure::new(Kind::Invalid, what).hint(hint))
        }
        (None, _) => {
            Err(Failure::new(Kind::NotFound, format!("backup `{text}` not found")).hint(hint))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_backup_whose_asker_is_gone_is_the_one_that_is_taken_until_it_is_done() {
        let desk = BackupDesk::default();
        let (end, until) = std::sync::mpsc::channel::<()>();
        let permit = desk.0.clone().try_acquire_owned().unwrap();
        let mut asked = Box::pin(holding(permit, move || until.recv()));
        assert!(futures_util::poll!(&mut asked).is_pending(), "it has begun");
        drop(asked);
        assert!(desk.0.clone().try_acquire_owned().is_err(), "it is not done");
        end.send(()).unwrap();
        drop(desk.0.acquire().await.unwrap());
    }

    #[tokio::test]
    async fn a_copy_that_something_was_removed_from_is_taken_anew_a_few_times() {
        let taken = Cell::new(0);
        let removed_until = |copies: usize, kind: Kind| {
            taken.set(0);
            let taken = &taken;
            anew_if_removed(move || async move {
                taken.set(taken.get() + 1);
                if taken.get() < copies { Err(Failure::new(kind, "removed")) } else { Ok(()) }
            })
        };
        removed_until(3, Kind::Conflict).await.unwrap();
        assert_eq!(taken.get(), 3);
        let failure = removed_until(usize::MAX, Kind::Conflict).await.unwrap_err();
        assert_eq!((failure.kind, taken.get()), (Kind::Unavailable, COPIES_MAX));
        let failure = removed_until(2, Kind::Precondition).await.unwrap_err();
        assert_eq!((failure.kind, taken.get()), (Kind::Precondition, 1), "that does not pass");
    }
}
