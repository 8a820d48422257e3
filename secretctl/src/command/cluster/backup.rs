//! `cluster backup`: a copy of the whole cluster in one encrypted file; `ls`, `forget`.
//!
//! The manager streams a copy of its state, wrapped under a root key of the backup's own, which it
//! seals to a key pair that is made here for the call. Here it is opened and goes, with the copy,
//! into an age file. Not here: the two formats (`backup_file`, `age_file`).
//!
//! Invariant: under the name that was asked for there is a whole backup or nothing: it is written
//! beside, made durable, and renamed; nothing that has the name, whenever it came, is replaced.

pub(super) mod open;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use link::Failure;
use proto::convert::bytes_16;
use proto::id::{BackupId, Incarnation, KeyId, Realm};
use proto::sealed::{Encapsulation, WrappedKey};
use proto::{Kind, hex, pb};
use seal::{BackupCall, BackupRoot, BackupSecretKey, BackupWay};
use sys::file::{FileError, Folder, PRIVATE_FILE_MODE};

use self::open::Opened;
use super::super::{Session, counted};
use super::typed;
use crate::age_file::{Lock, Sealing};
use crate::backup_file::{self, BackupError, Passing};
use crate::cli::{BackupArgs, BackupCheckArgs, BackupCommand};
use crate::connection::{Connection, ask, request_key};
use crate::error::{Error, chain};
use crate::message::{self, Printer};
use crate::table::{Card, Table};
use crate::transit::Trust;
use crate::view;

/// How long a manager may take until the copy is ready: it wraps a key for every secret, and reads
/// all payloads twice.
const READY_WITHIN: Duration = Duration::from_secs(600);

/// How long the next piece may take.
const PIECE_WITHIN: Duration = Duration::from_secs(60);

pub(super) async fn run(session: &Session, args: BackupArgs) -> Result<(), Error> {
    match args.command {
        Some(BackupCommand::Ls) => return ls(session).await,
        Some(BackupCommand::Check(args)) => return check(session, &args),
        Some(BackupCommand::Forget { id }) => return forget(session, id).await,
        None => {}
    }
    let Some(file) = args.file else {
        return Err(Error::Usage(Error::usage("where to write the backup is missing")));
    };
    let lock = if args.passphrase {
        let typed = typed::new_passphrase()?;
        let weak = |error: seal::NewPassphraseError| {
            Error::failed(Kind::Invalid, error.to_string()).hint("no backup was made")
        };
        typed::parse(typed.line())?.check_new().map_err(weak)?;
        Lock::under(typed.line())?
    } else {
        Lock::to(&args.recipients)?
    };
    let mut target = Target::at(&file, session.printer)?;
    // Before a manager is asked: the work of a passphrase would hold the connection up.
    let sealing = target.writer().and_then(|writer| lock.begin(writer)).map_err(|error| {
        Error::failed(Kind::Precondition, "the backup could not be written")
            .because(error.to_string())
            .hint("no backup was made")
    })?;
    let mut connection = session.connect().await?;
    tokio::select! {
        taken = take(session, &mut connection, sealing, target, &file) => taken,
        // What was begun is removed: whoever drops the target does that.
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted(Some(
            "no backup was written; one may be recorded: `secretctl cluster backup ls`".into(),
        ))),
    }
}

/// Where a backup goes.
enum Target {
    Stdout,
    File(Unfinished),
}

/// A file beside the one that is wanted, removed unless it is finished.
struct Unfinished {
    folder: Folder,
    beside: String,
    name: String,
    file: Option<File>,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // A rest that cannot be removed is not under the name that was asked for.
        self.folder.remove_if_there(&self.beside).ok();
    }
}

fn is_there(path: &Path) -> Failure {
    Error::failed(Kind::Exists, format!("{} is there", path.display()))
        .because("a backup replaces no file")
        .hint("give another name, or move that one away")
}

fn unwritten(error: &FileError, path: &Path) -> Error {
    Error::failed(Kind::Precondition, format!("cannot write {}", path.display()))
        .because(chain(error))
        .hint("give a name in a folder that this user may write to")
        .into()
}

impl Target {
    fn at(path: &Path, printer: Printer) -> Result<Self, Error> {
        if path.as_os_str() == "-" {
            if printer.json {
                let failure =
                    Error::usage("`--json` and a backup on standard output exclude each other");
                return Err(Error::Usage(failure.hint("give the backup's file a name")));
            }
            if message::shows_on_terminal() {
                let failure = Error::usage("a backup is not for a terminal");
                return Err(Error::Usage(failure.hint("redirect it, pipe it, or name a file")));
            }
            return Ok(Self::Stdout);
        }
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
            let failure = Error::usage(format!("`{}` is not the name of a file", path.display()));
            Error::Usage(failure.hint("give the backup's file a name"))
        })?;
        if path.symlink_metadata().is_ok() {
            return Err(is_there(path).into());
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = Folder::open(parent.unwrap_or_else(|| Path::new(".")));
        let folder = folder.map_err(|error| unwritten(&error, path))?;
        let beside = format!(".{name}.{}.unfinished", hex::encode(&seal::random::<4>()));
        let file = folder.create_new(&beside, PRIVATE_FILE_MODE);
        let file = Some(file.map_err(|error| unwritten(&error, path))?);
        Ok(Self::File(Unfinished { folder, beside, name: name.to_owned(), file }))
    }

    /// What is written to; for a file, at once.
    fn writer(&mut self) -> io::Result<Box<dyn Write>> {
        match self {
            Self::Stdout => message::raw_stdout().map(|out| Box::new(out) as Box<dyn Write>),
            Self::File(unfinished) => {
                let file = unfinished.file.as_ref().map(File::try_clone);
                file.unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()))
                    .map(|file| Box::new(io::BufWriter::new(file)) as Box<dyn Write>)
            }
        }
    }

    /// Everything was written: it gets its name.
    fn finish(self) -> Result<(), FileError> {
        let Self::File(mut unfinished) = self else { return Ok(()) };
        let Unfinished { folder, beside, name, file } = &mut unfinished;
        if let Some(file) = file.take() {
            file.sync_all().map_err(|error| folder.write_failed(beside, error))?;
        }
        folder.rename_new(beside, name)
    }
}

fn not_written(error: &io::Error) -> Error {
    Error::failed(Kind::Precondition, "the backup could not be written")
        .because(error.to_string())
        .hint("there is no file under the name that was asked for")
        .hint("it was recorded all the same: `secretctl cluster backup ls`, `… forget`")
        .into()
}

fn not_whole(error: &BackupError) -> Error {
    Error::failed(Kind::Internal, "the manager did not send a whole backup")
        .because(chain(error))
        .hint("there is no file under the name that was asked for; try again")
        .into()
}

async fn take(
    session: &Session,
    connection: &mut Connection,
    mut file: Sealing<Box<dyn Write>>,
    target: Target,
    name: &Path,
) -> Result<(), Error> {
    let secret = BackupSecretKey::make();
    let request = pb::BackUpRequest { public_key: secret.public().as_bytes().clone() };
    connection.wait_at_least(READY_WITHIN);
    let mut pieces = ask!(connection, control.back_up(request))?;
    let Some(pb::backup_piece::Piece::Head(mut head)) = next(&mut pieces).await? else {
        return Err(not_whole(&BackupError::Damaged("it did not begin with a head")));
    };
    let root = opened(&head, &secret)?;
    if let Trust::Pinned { realm, .. } = connection.trust()
        && realm.as_bytes()[..] != head.realm[..]
    {
        return Err(not_whole(&BackupError::Damaged("it is of another cluster")));
    }
    connection.saw(Incarnation(head.incarnation))?;
    // In the file the key stands beside the head, under the file's own encryption.
    (head.encapsulation, head.sealed_root_key) = (bytes::Bytes::new(), bytes::Bytes::new());

    let mut passing = Passing::of(&head);
    backup_file::begin(&mut file, &head, &root).map_err(|error| not_written(&error))?;
    drop(root);
    while let Some(piece) = next(&mut pieces).await? {
        let pb::backup_piece::Piece::Copy(piece) = piece else {
            return Err(not_whole(&BackupError::Damaged("it has two heads")));
        };
        passing.pass(&piece).map_err(|error| not_whole(&error))?;
        file.write_all(&piece).map_err(|error| not_written(&error))?;
    }
    passing.end().map_err(|error| not_whole(&error))?;
    let written = file.finish().and_then(|mut file| file.flush());
    written.map_err(|error| not_written(&error))?;
    target.finish().map_err(|error| {
        if !error.is_taken() {
            return unwritten(&error, name);
        }
        is_there(name)
            .hint("it was recorded all the same: `secretctl cluster backup ls`, `… forget`")
            .into()
    })?;
    tell(session, &head, name)
}

async fn next(
    pieces: &mut tonic::Streaming<pb::BackupPiece>,
) -> Result<Option<pb::backup_piece::Piece>, Error> {
    let piece = tokio::time::timeout(PIECE_WITHIN, pieces.message()).await.map_err(|_| {
        let failure = Error::failed(Kind::Timeout, "the manager stopped sending the backup");
        Error::from(failure.hint("there is no file under the name that was asked for; try again"))
    })?;
    let piece = piece.map_err(Failure::from)?;
    Ok(piece.and_then(|piece| piece.piece))
}

/// The backup's root key, from the manager's box.
fn opened(head: &pb::BackupHead, secret: &BackupSecretKey) -> Result<BackupRoot, Error> {
    let id: BackupId = bytes_16("id", &head.id)?;
    let realm: Realm = bytes_16("realm", &head.realm)?;
    let root_id: KeyId = bytes_16("root_key_id", &head.root_key_id)?;
    let malformed = |what| not_whole(&BackupError::Damaged(what));
    let digest: &[u8; 32] =
        head.copy_digest[..].try_into().map_err(|_| malformed("its head has no digest"))?;
    let call = BackupCall {
        realm,
        incarnation: Incarnation(head.incarnation),
        backup_id: id,
        copy_digest: digest,
        way: BackupWay::Out,
    };
    let encapsulation = Encapsulation::new(head.encapsulation.clone());
    let encapsulation = encapsulation.map_err(|_| malformed("its key is not sealed"))?;
    let sealed = WrappedKey::new(head.sealed_root_key.clone());
    let sealed = sealed.map_err(|_| malformed("its key is not sealed"))?;
    call.open(secret, &encapsulation, &sealed, root_id)
        .map_err(|_| malformed("its key was not sealed for this call"))
}

fn tell(session: &Session, head: &pb::BackupHead, name: &Path) -> Result<(), Error> {
    let id = hex::encode(&head.id);
    let printer = session.printer;
    if printer.json {
        return printer.json(&view::BackupMade {
            id: Some(id),
            revision: head.revision,
            taken_at: view::at(head.taken_at),
            file: name.display().to_string(),
            bytes: head.copy_bytes,
            secrets: head.secrets,
            ca_digest: view::some_hex(&head.ca_digest),
        });
    }
    let secrets = counted(usize::try_from(head.secrets).unwrap_or(usize::MAX), "secret");
    if name.as_os_str() == "-" {
        printer.progress(&format!("backup {id} with {secrets} was written to standard output"));
    } else {
        printer.data(&id)?;
        printer.progress(&format!("{} is a backup with {secrets}", name.display()));
    }
    printer.progress(&format!("its CA is {}", hex::encode(&head.ca_digest)));
    printer.hint(
        "note its id and its CA where nobody who can write to the file can: a restore is compared \
         with them",
    );
    printer.hint(
        "whoever opens it has every secret of the cluster, and its CA: keep what opens it \
         elsewhere; docs/operations/backup.md",
    );
    Ok(())
}

async fn ls(session: &Session) -> Result<(), Error> {
    let connection = session.connect().await?;
    let answer = ask!(connection, control.list_backups(pb::ListBackupsRequest {}))?;
    if session.printer.json {
        return session.printer.json(&view::Backups::from(answer));
    }
    if session.printer.quiet {
        let ids = answer.backups.iter().map(|backup| hex::encode(&backup.id));
        return super::super::secret::ids(session, ids);
    }
    let mut of_former_ca = 0;
    let mut table = Table::new(&["ID", "TAKEN", "REVISION", "CA", "MADE BY"]);
    for backup in answer.backups {
        of_former_ca += usize::from(backup.former_ca);
        table.row(vec![
            hex::encode(&backup.id),
            session.ago(backup.taken_at),
            backup.revision.to_string(),
            if backup.former_ca { "former" } else { "" }.to_owned(),
            backup.made_by,
        ]);
    }
    session.printer.data(&table.render())?;
    if of_former_ca > 0 {
        session.printer.warning(&format!(
            "restoring {} from before the CA was changed brings the former CA back, which agents \
             and operators refuse: docs/operations/restore.md",
            counted(of_former_ca, "backup")
        ));
    }
    if answer.not_remembered > 0 {
        let many = counted(usize::try_from(answer.not_remembered).unwrap_or(usize::MAX), "backup");
        session.printer.warning(&format!(
            "{many} more, the last taken {}, not remembered one by one",
            session.ago(answer.not_remembered_until)
        ));
    }
    Ok(())
}

/// Reads a file to its end, as restoring would, and sends nothing.
fn check(session: &Session, args: &BackupCheckArgs) -> Result<(), Error> {
    let mut opened = Opened::at(&args.file, args.identity.as_deref())?;
    while opened.next_piece()?.is_some() {}
    let head = &opened.head;
    if session.printer.json {
        return session.printer.json(&view::BackupChecked {
            id: Some(opened.id()),
            realm: view::some_hex(&head.realm),
            incarnation: head.incarnation,
            revision: head.revision,
            taken_at: view::at(head.taken_at),
            bytes: head.copy_bytes,
            secrets: head.secrets,
            version: head.version.clone(),
            ca_digest: view::some_hex(&head.ca_digest),
        });
    }
    let mut card = Card::new(&opened.id());
    card.line("realm", hex::encode(&head.realm));
    card.line("incarnation", head.incarnation.to_string());
    card.line("CA", hex::encode(&head.ca_digest));
    card.line("taken", view::at(head.taken_at).unwrap_or_default());
    card.line("revision", head.revision.to_string());
    card.line("secrets", head.secrets.to_string());
    card.line("bytes", head.copy_bytes.to_string());
    card.line("made by", format!("secretd {}", head.version));
    session.printer.data(&card.render())?;
    session.printer.progress(&format!("{} opens, and is whole", args.file.display()));
    Ok(())
}

async fn forget(session: &Session, id: String) -> Result<(), Error> {
    let connection = session.connect().await?;
    let request = pb::ForgetBackupRequest { request_key: request_key(), id };
    let forgotten = ask!(connection, control.forget_backup(request))?;
    if session.printer.json {
        return session.printer.json(&view::Backup::from(forgotten));
    }
    session.printer.data(&hex::encode(&forgotten.id))?;
    session.printer.hint("every copy of its file has to be destroyed: nothing revokes a backup");
    Ok(())
}

/// What `rm` says of backups that may still hold something.
pub(crate) fn may_hold(
    session: &Session,
    name: &str,
    backups: &[view::Backup],
    not_remembered: u64,
) {
    let ids: Vec<String> = backups.iter().filter_map(|backup| backup.id.clone()).collect();
    let mut known = ids;
    if not_remembered > 0 {
        let many = usize::try_from(not_remembered).unwrap_or(usize::MAX);
        known.push(format!("{} that are not remembered", counted(many, "older backup")));
    }
    if known.is_empty() {
        return;
    }
    let what = if known.len() == 1 && not_remembered == 0 { "the backup" } else { "the backups" };
    session.printer.warning(&format!(
        "{name} can still be read from {what} {}, by who opens the file: `secretctl cluster backup \
         ls`",
        super::super::listed(&known)
    ));
}
