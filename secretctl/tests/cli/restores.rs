//! Restoring, and founding, with a new unlock key: it is shown before the manager can have it.

use std::io::Read as _;
use std::process::{Child, Stdio};
use std::sync::mpsc as std_mpsc;

use link::Failure;
use proto::{Kind, pb};
use rustix::process::{Pid, Signal, kill_process};
use seal::{SlotPublicKey, UnlockKey};
use tokio::sync::mpsc;
use tonic::Status;

use crate::fake::{Fake, Serving};
use crate::program::{Place, Ran};
use crate::world::Fault;

const PASSPHRASE: &[u8] = b"correct horse battery staple\n";

const RESTORE: &[&str] = &["cluster", "restore", "b.age", "--autolock"];
const INIT: &[&str] = &["cluster", "init", "--autolock"];

type Answers = mpsc::Sender<Result<pb::RestoreResponse, Status>>;

impl Fake {
    pub(crate) async fn restore_from(
        self,
        mut incoming: tonic::Streaming<pb::RestoreRequest>,
        answers: Answers,
    ) {
        if let Some(answer) = self.restored(&mut incoming, &answers).await {
            let part = answer.map(|part| pb::RestoreResponse { part: Some(part) });
            answers.send(part).await.ok();
        }
        // Who hears nothing stays.
        answers.closed().await;
    }

    async fn restored(
        &self,
        incoming: &mut tonic::Streaming<pb::RestoreRequest>,
        answers: &Answers,
    ) -> Option<Result<pb::restore_response::Part, Status>> {
        use pb::restore_request::Part;
        use pb::restore_response::Part as Answer;
        let first = incoming.message().await.unwrap().unwrap();
        let Some(Part::Options(options)) = first.part else { panic!("{first:?}") };
        let new_ca = options.new_ca;
        let fault = self.world().faults.pop_front();
        if let Some(Fault::Says(failure)) = fault {
            return Some(Err(failure.into()));
        }
        if !options.unlock_public_key.is_empty() {
            let public = SlotPublicKey::parse(options.unlock_public_key).unwrap();
            self.world().unlock_key_id = public.id().as_bytes().to_vec().into();
        }
        let secret = seal::BackupSecretKey::make();
        let key = Answer::PublicKey(secret.public().as_bytes().clone());
        answers.send(Ok(pb::RestoreResponse { part: Some(key) })).await.ok();
        let (mut said, mut bytes) = (0, 0);
        while let Some(piece) = incoming.message().await.ok()? {
            match piece.part.unwrap() {
                Part::Head(head) => said = head.copy_bytes,
                Part::Copy(copy) => bytes += copy.len() as u64,
                Part::Options(_) => panic!("options twice"),
            }
        }
        assert_eq!(bytes, said);
        "serving".clone_into(&mut self.world().phase);
        let has_all = self.world().restore_has_all.take();
        if let Some(has_all) = has_all {
            has_all.send(()).unwrap();
            return None;
        }
        if matches!(fault, Some(Fault::LosesAnswer)) {
            return Some(Err(Status::unavailable("connection reset")));
        }
        let world = self.world();
        Some(Ok(Answer::Restored(pb::RestoredCluster {
            realm: world.realm.as_bytes().to_vec().into(),
            incarnation: 2,
            node_id: world.members[0].node_id.clone(),
            member: 41,
            address: "10.0.0.1:7443".into(),
            ca_digest: vec![2; 32].into(),
            former_ca_digest: if new_ca { vec![3; 32].into() } else { Vec::new().into() },
            nodes_to_join: if new_ca { 2 } else { 0 },
            operators_to_enrol: u64::from(new_ca),
        })))
    }
}

/// An empty manager, and a backup's file beside it.
fn empty_manager() -> (Place, Fake, Serving) {
    let (place, fake) = (Place::new(), Fake::new());
    let serving = fake.serve_unix(&place.socket());
    let ran = place.run(&["cluster", "backup", "--passphrase", "b.age"], PASSPHRASE);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let mut world = fake.world();
    "empty".clone_into(&mut world.phase);
    world.unlock_key_id = bytes::Bytes::new();
    drop(world);
    (place, fake, serving)
}

/// That its first line shows the key that the manager has.
fn assert_shown(fake: &Fake, ran: &Ran) {
    let first = ran.stdout.lines().next().unwrap();
    let key = UnlockKey::parse(first.as_bytes()).unwrap();
    assert_eq!(fake.world().unlock_key_id, key.id().as_bytes()[..], "{ran:?}");
}

#[test]
fn a_key_is_kept_when_its_manager_did_not_answer() {
    for command in [RESTORE, INIT] {
        let (place, fake, _serving) = empty_manager();
        fake.world().faults = [Fault::None, Fault::LosesAnswer].into();
        let ran = place.run(command, PASSPHRASE);
        // Asked again, as a lost answer is, `init` is refused: nothing in that says whose key it is.
        assert_ne!(ran.status, 0, "{ran:?}");
        assert_shown(&fake, &ran);
        assert!(ran.stderr.contains("hint: keep the key that was shown"), "{}", ran.stderr);
        // And when it failed, at whatever point.
        let (place, fake, _serving) = empty_manager();
        let refusal = Failure::new(Kind::Internal, "the disk is full");
        fake.world().faults = [Fault::None, Fault::Says(refusal)].into();
        let ran = place.run(command, PASSPHRASE);
        assert_eq!(ran.status, 1, "{ran:?}");
        assert!(ran.stderr.contains("hint: keep the key that was shown"), "{}", ran.stderr);
    }
}

#[test]
fn a_key_is_kept_when_a_restore_is_interrupted() {
    let (place, fake, _serving) = empty_manager();
    let (has_all, told) = std_mpsc::channel();
    fake.world().restore_has_all = Some(has_all);
    let mut command = place.command();
    command.args(RESTORE).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    type_passphrase(&mut child);
    told.recv().unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let ran = Ran {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        status: output.status.code().unwrap(),
    };
    assert_eq!(ran.status, 130, "{ran:?}");
    assert_shown(&fake, &ran);
    assert!(ran.stderr.contains("keep the key that was shown"), "{}", ran.stderr);
}

fn type_passphrase(child: &mut Child) {
    use std::io::Write as _;
    child.stdin.take().unwrap().write_all(PASSPHRASE).unwrap();
}

#[test]
fn a_key_that_nobody_could_read_locks_nothing() {
    for command in [RESTORE, INIT] {
        let (place, fake, _serving) = empty_manager();
        let mut child = place.command();
        child.args(command).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        drop(child.stdout.take());
        type_passphrase(&mut child);
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        child.wait().unwrap();
        let world = fake.world();
        assert_eq!((&world.phase[..], world.unlock_key_id.len()), ("empty", 0), "{said}");
    }
}

#[test]
fn a_key_is_a_line_before_what_came_of_it() {
    for command in [RESTORE, INIT] {
        let (place, fake, _serving) = empty_manager();
        let ran = place.run(command, PASSPHRASE);
        assert_eq!((ran.status, ran.stdout.lines().count()), (0, 2), "{ran:?}");
        assert_shown(&fake, &ran);
        let ca = format!("with the CA {}", "02".repeat(32));
        assert!(command == INIT || ran.stderr.contains(&ca), "{}", ran.stderr);

        let (place, fake, _serving) = empty_manager();
        let ran = place.run(&[&["--json"], command].concat(), PASSPHRASE);
        let lines: Vec<serde_json::Value> =
            ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [key, came] = &lines[..] else { panic!("{ran:?}") };
        let id = proto::hex::encode(&fake.world().unlock_key_id);
        assert_eq!(
            (&key["unlock_key_id"], &came["unlock_key_id"]),
            (&id[..].into(), &id[..].into())
        );
        assert!(key["unlock_key"].as_str().unwrap().starts_with("SECKEY-1-"));
        assert!(came.get("unlock_key").is_none(), "it is shown once");
    }
    // A manager that has a cluster already is told of before a key is made.
    let (place, fake, _serving) = empty_manager();
    "serving".clone_into(&mut fake.world().phase);
    for command in [RESTORE, INIT] {
        let ran = place.run(command, PASSPHRASE);
        assert_eq!((ran.status, &ran.stdout[..]), (1, ""), "{ran:?}");
        assert!(ran.stderr.contains("part of a cluster"), "{}", ran.stderr);
    }
}
