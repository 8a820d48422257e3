//! Backups: the fake manager's, and the file that comes of one.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use link::Failure;
use proto::id::BackupId;
use proto::{Kind, pb};
use seal::{BackupCall, BackupPublicKey, BackupRoot, BackupWay};

use crate::fake::Fake;
use crate::program::{Place, Ran};
use crate::world::{World, refused};

/// Bytes of the copy, in pieces of a size of its own.
const COPY_BYTES: usize = 700_000;
const PIECE_BYTES: usize = 99_000;

const PASSPHRASE: &[u8] = b"correct horse battery staple\n";

/// How a backup that the manager sends is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BackupFault {
    /// It ends early, without an error.
    Short,
    /// The connection breaks in the middle of it.
    Breaks,
    /// Some of it is other than its digest says.
    Other,
    /// Its key is sealed for another call.
    ForeignKey,
}

fn copy() -> Vec<u8> {
    (0..=250).cycle().take(COPY_BYTES).collect()
}

impl World {
    /// Pieces of a backup, and an error where it breaks.
    pub(crate) fn back_up(
        &mut self,
        request: pb::BackUpRequest,
    ) -> Vec<Result<pb::BackupPiece, tonic::Status>> {
        if let Some(path) = &self.written_meanwhile {
            std::fs::write(path, "precious").unwrap();
        }
        let (root, copy) = (BackupRoot::make(), copy());
        let digest = seal::digest_of(&copy);
        let id = [u8::try_from(self.backups.len() + 1).unwrap(); 16];
        let fault = self.backup_fault;
        let call = BackupCall {
            realm: self.realm,
            incarnation: self.incarnation,
            backup_id: BackupId::from_bytes(id),
            copy_digest: if fault == Some(BackupFault::ForeignKey) { &[0; 32] } else { &digest },
            way: BackupWay::Out,
        };
        let to = BackupPublicKey::parse(request.public_key).unwrap();
        let (encapsulation, sealed) = call.seal(&to, &root).unwrap();
        let taken_at = self.before();
        self.backups.push(pb::BackupInfo {
            id: id.to_vec().into(),
            revision: 40,
            taken_at,
            recorded_at: taken_at,
            made_by: format!("local/{}", rustix::process::geteuid().as_raw()),
            former_ca: false,
        });
        let head = pb::BackupHead {
            format: 1,
            realm: self.realm.as_bytes().to_vec().into(),
            incarnation: self.incarnation.0,
            id: id.to_vec().into(),
            revision: 40,
            taken_at,
            level: 1,
            copy_bytes: COPY_BYTES as u64,
            copy_digest: digest.to_vec().into(),
            root_key_id: root.id().as_bytes().to_vec().into(),
            secrets: self.secrets.len() as u64,
            version: "0.1.0".into(),
            encapsulation: encapsulation.as_bytes().clone(),
            sealed_root_key: sealed.as_bytes().clone(),
            ca_digest: vec![2; 32].into(),
        };
        let piece = |piece| Ok(pb::BackupPiece { piece: Some(piece) });
        let mut pieces = vec![piece(pb::backup_piece::Piece::Head(head))];
        for bytes in copy.chunks(PIECE_BYTES) {
            let mut bytes = bytes.to_vec();
            if pieces.len() == 3 {
                match fault {
                    Some(BackupFault::Short) => break,
                    Some(BackupFault::Breaks) => {
                        pieces.push(Err(tonic::Status::unavailable("the connection broke")));
                        break;
                    }
                    Some(BackupFault::Other) => bytes[0] ^= 1,
                    _ => {}
                }
            }
            pieces.push(piece(pb::backup_piece::Piece::Copy(bytes.into())));
        }
        pieces
    }

    pub(crate) fn forget_backup(
        &mut self,
        request: &pb::ForgetBackupRequest,
    ) -> Result<pb::BackupInfo, Failure> {
        let found = self.backups.iter();
        let is_it = |it: &pb::BackupInfo| proto::hex::encode(&it.id).starts_with(&request.id);
        let Some(at) = found.clone().position(is_it) else {
            let what = format!("backup `{}` not found", request.id);
            return Err(refused(Kind::NotFound, what, "`secretctl cluster backup ls`"));
        };
        Ok(self.backups.remove(at))
    }
}

fn backed_up(place: &Place, arguments: &[&str], stdin: &[u8]) -> Ran {
    place.run(&[&["cluster", "backup"], arguments].concat(), stdin)
}

fn names(place: &Place) -> Vec<String> {
    let entries = std::fs::read_dir(place.path()).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "secretd.sock" && name != "config");
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_backup_is_one_private_file_that_opens_with_its_passphrase_only() {
    let (place, fake) = (Place::new(), Fake::new());
    let _serving = fake.serve_unix(&place.socket());
    let ran = backed_up(&place, &["--passphrase", "b.age"], PASSPHRASE);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(ran.stdout, format!("{}\n", "01".repeat(16)));
    assert_eq!(names(&place), ["b.age"], "nothing is left beside it");
    assert_eq!(mode(&place.path().join("b.age")), 0o600);

    let ran = backed_up(&place, &["check", "b.age", "--json"], PASSPHRASE);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let head: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&head["bytes"], &head["revision"]), (&COPY_BYTES.into(), &40.into()));
    let ran = backed_up(&place, &["check", "b.age"], b"correct horse battery stable\n");
    assert_eq!(ran.status, 1);
    assert!(ran.stderr.contains("because the passphrase is another one"), "{}", ran.stderr);

    // Whatever was changed, and wherever it ends: it is refused.
    let whole = std::fs::read(place.path().join("b.age")).unwrap();
    let head_bytes = whole.len() - COPY_BYTES;
    for at in [head_bytes, whole.len() / 2, whole.len() - 1] {
        let mut changed = whole.clone();
        changed[at] ^= 0x20;
        for bytes in [&changed[..], &whole[..at]] {
            std::fs::write(place.path().join("bad.age"), bytes).unwrap();
            let ran = backed_up(&place, &["check", "bad.age"], PASSPHRASE);
            assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{at}: {}", ran.stderr);
            assert!(ran.stderr.contains("error: the backup cannot be used"), "{}", ran.stderr);
        }
    }
}

#[test]
fn a_backup_that_does_not_come_whole_leaves_no_file() {
    let (place, fake) = (Place::new(), Fake::new());
    let _serving = fake.serve_unix(&place.socket());
    for (fault, told) in [
        (BackupFault::Short, "the copy is shorter than its head says"),
        (BackupFault::Breaks, "the connection broke"),
        (BackupFault::Other, "the copy is not the one that its head names"),
        (BackupFault::ForeignKey, "its key was not sealed for this call"),
    ] {
        fake.world().backup_fault = Some(fault);
        let ran = backed_up(&place, &["--passphrase", "b.age"], PASSPHRASE);
        assert!(ran.status != 0 && ran.stdout.is_empty(), "{fault:?}: {ran:?}");
        assert!(ran.stderr.contains(told), "{fault:?}: {}", ran.stderr);
        assert_eq!(names(&place), [""; 0], "{fault:?}");
    }
    // On standard output there is what came, which does not open; and an exit status.
    fake.world().backup_fault = Some(BackupFault::Short);
    let mut command = place.command();
    command.args(["cluster", "backup", "--passphrase", "-"]);
    let cut = {
        use std::io::Write as _;
        let piped = std::process::Stdio::piped;
        let mut child = command.stdin(piped()).stdout(piped()).stderr(piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(PASSPHRASE).unwrap();
        child.wait_with_output().unwrap()
    };
    assert!(!cut.status.success());
    std::fs::write(place.path().join("cut.age"), &cut.stdout).unwrap();
    let ran = backed_up(&place, &["check", "cut.age"], PASSPHRASE);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
}

#[test]
fn a_backup_replaces_nothing() {
    let (place, fake) = (Place::new(), Fake::new());
    let _serving = fake.serve_unix(&place.socket());
    std::fs::write(place.path().join("b.age"), "precious").unwrap();
    let ran = backed_up(&place, &["--passphrase", "b.age"], PASSPHRASE);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("error: b.age is there"), "{}", ran.stderr);
    assert_eq!(std::fs::read(place.path().join("b.age")).unwrap(), b"precious");
    assert!(fake.world().backups.is_empty(), "none was asked for");
    // Nor one that comes while it is taken.
    fake.world().written_meanwhile = Some(place.path().join("c.age"));
    let ran = backed_up(&place, &["--passphrase", "c.age"], PASSPHRASE);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("error: c.age is there"), "{}", ran.stderr);
    assert!(ran.stderr.contains("it was recorded all the same"), "{}", ran.stderr);
    assert_eq!(std::fs::read(place.path().join("c.age")).unwrap(), b"precious");
    assert_eq!(names(&place), ["b.age", "c.age"]);
}
