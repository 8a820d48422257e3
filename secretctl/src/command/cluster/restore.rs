//! `cluster restore`: a cluster of this machine's manager alone, out of a backup's file.
//!
//! The file is opened here, with its identity or passphrase; the copy of the state that is in it is
//! sent to the manager over its unix socket, and the backup's root key sealed to a key pair that the
//! manager makes for the call. Not here: what the manager makes of it.
//!
//! Invariants: the whole file is read and authenticated before the manager has all of it, which goes
//! on by itself then; an unlock key is shown before anything is sent.

use std::time::Duration;

use proto::convert::bytes_16;
use proto::id::{BackupId, Incarnation, Realm};
use proto::{Kind, hex, pb};
use seal::{BackupCall, BackupPublicKey, BackupWay, UnlockKey};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::super::{Session, counted};
use super::backup::open::{Opened, damaged};
use super::locking;
use crate::backup_file::BackupError;
use crate::cli::RestoreArgs;
use crate::connection::{Connection, ask, local};
use crate::error::Error;
use crate::view;

/// Pieces that are on their way to the manager.
const PIECES_MAX: usize = 4;

/// How long the manager may take for its first answer, and for all of it after the last piece: it
/// wraps a key for every secret, and writes everything.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const RESTORED_WITHIN: Duration = Duration::from_secs(600);

/// The manager's end of the call.
struct Call {
    pieces: mpsc::Sender<pb::RestoreRequest>,
    answers: tonic::Streaming<pb::RestoreResponse>,
}

pub(super) async fn run(session: &Session, args: RestoreArgs) -> Result<(), Error> {
    check_empty(session).await?;
    let mut opened = Opened::at(&args.file, args.identity.as_deref())?;
    // A connection of its own: one that was open while somebody typed would have been closed.
    let connection = Connection::own_machine(&session.global)?;
    let key = args.autolock.then(UnlockKey::make);
    if let Some(key) = &key {
        locking::show(session, key, false)?;
    }
    let new_ca = args.new_ca;
    if new_ca {
        session.printer.warning(
            "with a new CA nothing that the backup's CA signed is trusted any more: agents, managers \
             and operators of before are refused until they join, or enrol, anew",
        );
    }
    let options = pb::RestoreOptions {
        advertise_address: args.advertise_address,
        hostname: args.hostname,
        unlock_public_key: key.as_ref().map(locking::public_half).unwrap_or_default(),
        incarnation: args.incarnation,
        new_ca,
    };
    let restored = tokio::select! {
        restored = restore(&connection, options, &mut opened) => restored,
        _ = tokio::signal::ctrl_c() => Err(interrupted(key.as_ref())),
    };
    let restored = restored.map_err(|error| locking::may_be_in_use(error, key.as_ref()))?;
    tell(session, &opened, restored, key.as_ref())
}

fn interrupted(key: Option<&UnlockKey>) -> Error {
    let goes_on =
        "a manager that has all of the backup goes on by itself: `secretctl cluster status`";
    let keep = if key.is_some() { "; keep the key that was shown: it may be in use" } else { "" };
    Error::Interrupted(Some(format!("{goes_on}{keep}")))
}

/// A manager that cannot take a backup says so before a passphrase is asked for.
async fn check_empty(session: &Session) -> Result<(), Error> {
    let connection = Connection::own_machine(&session.global)?;
    let request = pb::GetLocalStatusRequest {};
    let status = ask!(connection, local.get_local_status(request))?;
    if status.phase == "empty" { Ok(()) } else { Err(not_empty(&status.phase)) }
}

fn not_empty(phase: &str) -> Error {
    let failure = Error::failed(Kind::Precondition, "a backup is restored on an empty manager");
    let failure = match phase {
        "serving" => failure
            .because("this manager is part of a cluster already")
            .hint("restore on another machine; or, if its cluster is gone for good, stop it and empty its data folder"),
        "locked" => failure
            .because("this manager is locked: it is part of a cluster already")
            .hint("restore on another machine; or, if its cluster is gone for good, stop it and empty its data folder"),
        _ => failure.because(format!("this manager is {phase}")).hint("try again in a moment"),
    };
    failure.hint("docs/operations/restore.md").into()
}

async fn restore(
    connection: &Connection,
    options: pb::RestoreOptions,
    opened: &mut Opened,
) -> Result<pb::RestoredCluster, Error> {
    use pb::restore_request::Part;
    use pb::restore_response::Part as Answer;
    let (pieces, outgoing) = mpsc::channel(PIECES_MAX);
    let began = pieces.try_send(pb::RestoreRequest { part: Some(Part::Options(options)) });
    began.map_err(|_| Error::failed(Kind::Internal, "the call cannot begin"))?;
    let mut client = local(connection.only());
    let answers =
        client.restore(ReceiverStream::new(outgoing)).await.map_err(link::Failure::from)?;
    let mut call = Call { pieces, answers: answers.into_inner() };
    let Answer::PublicKey(public) = call.answer(ANSWER_WITHIN).await? else {
        return Err(unexpected());
    };
    let head = sealed_head(opened, public)?;
    call.send(Part::Head(head)).await?;
    while let Some(piece) = opened.next_piece()? {
        call.send(Part::Copy(piece.into())).await?;
    }
    // All of it was authenticated: its end says that there is no more.
    let Call { pieces, mut answers } = call;
    drop(pieces);
    match answer(&mut answers, RESTORED_WITHIN).await? {
        Answer::Restored(restored) => Ok(restored),
        Answer::PublicKey(_) => Err(unexpected()),
    }
}

/// The head, with the backup's root key sealed to the manager's key of this call.
fn sealed_head(opened: &Opened, public: bytes::Bytes) -> Result<pb::BackupHead, Error> {
    let head = &opened.head;
    let id: BackupId = bytes_16("id", &head.id)?;
    let realm: Realm = bytes_16("realm", &head.realm)?;
    let digest: &[u8; 32] = head.copy_digest[..]
        .try_into()
        .map_err(|_| damaged(&BackupError::Damaged("its head has no digest")))?;
    let call = BackupCall {
        realm,
        incarnation: Incarnation(head.incarnation),
        backup_id: id,
        copy_digest: digest,
        way: BackupWay::In,
    };
    let to = BackupPublicKey::parse(public).map_err(|_| unexpected())?;
    let (encapsulation, sealed) = call.seal(&to, &opened.root).map_err(|_| unexpected())?;
    Ok(pb::BackupHead {
        encapsulation: encapsulation.as_bytes().clone(),
        sealed_root_key: sealed.as_bytes().clone(),
        ..head.clone()
    })
}

fn unexpected() -> Error {
    Error::failed(Kind::Internal, "the manager's answer cannot be read")
        .hint("it may be of another version: compare `secretctl --version` with its log")
        .into()
}

async fn answer(
    answers: &mut tonic::Streaming<pb::RestoreResponse>,
    within: Duration,
) -> Result<pb::restore_response::Part, Error> {
    let answer = tokio::time::timeout(within, answers.message()).await.map_err(|_| {
        Error::failed(Kind::Timeout, "the manager does not answer")
            .hint("see its log, and `secretctl cluster status`, before repeating the command")
    })?;
    let answer = answer.map_err(link::Failure::from)?;
    answer.and_then(|answer| answer.part).ok_or_else(unexpected)
}

impl Call {
    async fn answer(&mut self, within: Duration) -> Result<pb::restore_response::Part, Error> {
        answer(&mut self.answers, within).await
    }

    /// Sends the next part. A manager that does not want it any more has said why.
    async fn send(&mut self, part: pb::restore_request::Part) -> Result<(), Error> {
        let request = pb::RestoreRequest { part: Some(part) };
        if self.pieces.send(request).await.is_ok() {
            return Ok(());
        }
        self.answer(ANSWER_WITHIN).await.and_then(|_| Err(unexpected()))
    }
}

fn tell(
    session: &Session,
    opened: &Opened,
    restored: pb::RestoredCluster,
    key: Option<&UnlockKey>,
) -> Result<(), Error> {
    let view = view::Restored {
        realm: view::some_hex(&restored.realm),
        incarnation: restored.incarnation,
        node_id: restored.node_id,
        member: restored.member,
        address: restored.address,
        ca_digest: view::some_hex(&restored.ca_digest),
        former_ca_digest: view::some_hex(&restored.former_ca_digest),
        nodes_to_join: restored.nodes_to_join,
        operators_to_enrol: restored.operators_to_enrol,
        backup: opened.id(),
        unlock_key_id: key.map(|key| key.id().to_string()),
    };
    if session.printer.json {
        return locking::json_after(session, key, &view);
    }
    session.printer.data(&view.node_id)?;
    session.printer.progress(&format!(
        "this machine is manager {} of the cluster {}, restored from backup {}, at {}, in \
         incarnation {}, with the CA {}",
        view.member,
        hex::encode(&restored.realm),
        view.backup,
        view.address,
        view.incarnation,
        hex::encode(&restored.ca_digest)
    ));
    if view.former_ca_digest.is_some() {
        tell_of_new_ca(session, &view);
    }
    session.printer.hint(
        "admit managers with `secretctl cluster join-token manager`; what was made, evicted or \
         removed after the backup is as it was before: docs/operations/restore.md",
    );
    Ok(())
}

/// Who is shut out, and how each comes in again.
fn tell_of_new_ca(session: &Session, view: &view::Restored) {
    let many = |number, what| counted(usize::try_from(number).unwrap_or(usize::MAX), what);
    let former = view.former_ca_digest.as_deref().unwrap_or_default();
    session.printer.progress(&format!(
        "that CA is a new one: whatever the backup's, {former}, signed is refused; {} and {} of before \
         have to join, or enrol, anew",
        many(view.nodes_to_join, "node"),
        many(view.operators_to_enrol, "operator"),
    ));
    if view.nodes_to_join > 0 {
        session.printer.hint(
            "nodes: `secretctl node ls` shows those without an agent; make a token with `secretctl \
             cluster join-token agent`, and on each machine end the agent, remove its data folder, and \
             join under the same hostname: it is the same node then, labels included",
        );
    }
    if view.operators_to_enrol > 0 {
        session.printer.hint(
            "operators: for each of `secretctl operator ls`, `secretctl operator rm` and `operator add` \
             with its role; where it works, `secretctl context rm` and `context add` with the new token",
        );
    }
}
