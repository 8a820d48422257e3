//! Command slots: a program of this host that prints a slot's seed.
//!
//! Whoever keeps the seed (a KMS, a TPM, systemd's credentials) hands it out by a program, and who
//! may change that program may open the manager. So it is run only if nobody but root and the
//! manager's user could have changed it (`sys::program`); with no shell, no argument, no
//! environment, nothing to read, a time to end in; and what it prints counts only if it is the
//! slot's. Not here: when it is tried (`manager::unlock`, `service::trials`).
//!
//! Invariant: exactly 32 bytes are read, into memory that is wiped; when this returns, the program
//! and whatever it started in its process group are gone.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use seal::{SlotCommand, SlotPublicKey, SlotSecretKey};
use sys::program::ProgramError;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use zeroize::Zeroizing;

/// Bytes of a seed.
const SEED_BYTES: usize = 32;

/// Bytes of a program's standard error that are told when it fails.
const SAID_BYTES_MAX: usize = 512;

/// Why a command did not open its slot. None of it is secret, if the program keeps its seed off its
/// standard error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandFailure {
    /// Somebody else could have changed it, or it is not there.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// It could not be started.
    #[error("cannot run {path}: {source}")]
    Start { path: String, source: io::Error },
    /// It was given up.
    #[error("{path} did not end within {seconds} s and was killed")]
    Slow { path: String, seconds: u32 },
    /// It failed.
    #[error("{path} failed ({status}){}", said_of(said))]
    Failed { path: String, status: std::process::ExitStatus, said: String },
    /// It printed something else.
    #[error("{path} printed {}, a seed has {SEED_BYTES} bytes", printed_of(*printed))]
    Length { path: String, printed: usize },
    /// It printed another seed.
    #[error("{path} printed 32 bytes that are not this slot's seed")]
    OtherSeed { path: String },
}

fn said_of(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

fn printed_of(printed: usize) -> String {
    if printed > SEED_BYTES { "more".to_owned() } else { format!("{printed} bytes") }
}

/// Kills a program with what it started when it is dropped.
struct Group(Child);

impl Group {
    /// Waits until the program has ended, and kills what it left behind.
    async fn end(&mut self) -> io::Result<std::process::ExitStatus> {
        let leader = self.leader().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let ended = move || sys::process::wait_for_end(leader);
        tokio::task::spawn_blocking(ended).await?.map_err(io::Error::other)?;
        sys::process::kill_group(leader).map_err(io::Error::other)?;
        self.0.wait().await
    }

    /// The number of the program and its group, as long as it is nobody else's.
    fn leader(&self) -> Option<i32> {
        self.0.id().and_then(|id| i32::try_from(id).ok())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.leader()
            && let Err(error) = sys::process::kill_group(leader)
        {
            tracing::warn!(%error, "command_not_killed");
        }
    }
}

/// Runs a slot's command and makes the slot's key of what it prints.
pub(crate) async fn run(
    command: &SlotCommand,
    slot: &SlotPublicKey,
) -> Result<SlotSecretKey, CommandFailure> {
    let path = command.path();
    sys::program::check(Path::new(path), sys::user::current_uid())?;
    let failed = |source| CommandFailure::Start { path: path.into(), source };
    let child = Command::new(path)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut group = Group(child);
    let limit = Duration::from_secs(command.seconds().into());
    // One more than fits, so that what is too long is seen to be.
    let mut printed = Zeroizing::new([0; SEED_BYTES + 1]);
    let mut said = [0; SAID_BYTES_MAX];
    let ended = async {
        let (stdout, stderr) = (group.0.stdout.take(), group.0.stderr.take());
        let (length, said) =
            tokio::try_join!(fill(stdout, &mut *printed), all_of(stderr, &mut said))?;
        // What prints too much may go on for ever.
        if length > SEED_BYTES {
            return Ok((length, said, None));
        }
        Ok((length, said, Some(group.end().await?)))
    };
    let ended = tokio::time::timeout(limit, ended).await;
    let slow = |_| CommandFailure::Slow { path: path.into(), seconds: command.seconds() };
    let (length, said, status) = ended.map_err(slow)?.map_err(failed)?;
    if let Some(status) = status.filter(|status| !status.success()) {
        return Err(CommandFailure::Failed { path: path.into(), status, said });
    }
    let seed: Option<&[u8; SEED_BYTES]> = printed.first_chunk().filter(|_| length == SEED_BYTES);
    let seed = seed.ok_or_else(|| CommandFailure::Length { path: path.into(), printed: length })?;
    let key = SlotSecretKey::derive_from_seed(seed);
    if key.public() != slot {
        return Err(CommandFailure::OtherSeed { path: path.into() });
    }
    Ok(key)
}

/// Reads until the end, or until the buffer is full; how much it was.
async fn fill(from: Option<impl AsyncRead + Unpin>, buffer: &mut [u8]) -> io::Result<usize> {
    let Some(mut from) = from else { return Ok(0) };
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match from.read(rest).await? {
            0 => break,
            count => length += count,
        }
    }
    Ok(length)
}

/// The beginning of what a program says, as one line of text; the rest is passed over.
async fn all_of(from: Option<impl AsyncRead + Unpin>, buffer: &mut [u8]) -> io::Result<String> {
    let Some(mut from) = from else { return Ok(String::new()) };
    let length = fill(Some(&mut from), buffer).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    let said = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
    let line = |c: char| if c.is_control() { ' ' } else { c };
    Ok(said.trim().chars().map(line).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use sys::file::{Folder, PRIVATE_FILE_MODE};

    use super::*;

    struct Place {
        _folder: tempfile::TempDir,
        path: PathBuf,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().canonicalize().unwrap();
            Self { _folder: folder, path }
        }

        /// A program of `/bin/sh` that does this.
        fn program(&self, does: &str) -> SlotCommand {
            let text = format!("#!/bin/sh\n{does}\n");
            Folder::open(&self.path).unwrap().replace("program", 0o700, text.as_bytes()).unwrap();
            SlotCommand::new(self.path.join("program").display().to_string(), 1).unwrap()
        }

        fn file(&self, name: &str, bytes: &[u8]) -> String {
            Folder::open(&self.path).unwrap().replace(name, PRIVATE_FILE_MODE, bytes).unwrap();
            self.path.join(name).display().to_string()
        }
    }

    async fn told(command: &SlotCommand, slot: &SlotPublicKey) -> String {
        run(command, slot).await.err().unwrap().to_string()
    }

    #[tokio::test]
    async fn what_it_prints_opens_its_slot_and_only_that() {
        let place = Place::new();
        let seed = seal::make_slot_seed();
        let slot = SlotSecretKey::derive_from_seed(&seed).public().clone();
        let right = place.file("seed", &**seed);
        let command = place.program(&format!("exec cat {right}"));
        assert_eq!(run(&command, &slot).await.ok().unwrap().public(), &slot);

        let other = place.file("other", &[7; 32]);
        let said = told(&place.program(&format!("exec cat {other}")), &slot).await;
        assert!(said.ends_with("printed 32 bytes that are not this slot's seed"), "{said}");
        let short = place.file("short", &seed[..31]);
        let said = told(&place.program(&format!("exec cat {short}")), &slot).await;
        assert!(said.ends_with("printed 31 bytes, a seed has 32 bytes"), "{said}");
        // With a newline at its end, and one that never ends.
        let said = told(&place.program(&format!("cat {right}; echo")), &slot).await;
        assert!(said.ends_with("printed more, a seed has 32 bytes"), "{said}");
        let said = told(&place.program("exec cat /dev/zero"), &slot).await;
        assert!(said.ends_with("printed more, a seed has 32 bytes"), "{said}");
        // What is right does not count if the program says that it failed.
        let said =
            told(&place.program(&format!("cat {right}; echo 'no\ttoken' >&2; exit 3")), &slot)
                .await;
        assert!(said.ends_with("failed (exit status: 3): no token"), "{said}");
    }

    #[tokio::test]
    async fn it_has_no_environment_no_input_and_no_argument() {
        let place = Place::new();
        let slot = SlotSecretKey::derive_from_seed(&[1; 32]).public().clone();
        let show = "echo \"[$#] [$(pwd)] [$(cat)] [$(/usr/bin/env | cut -d= -f1 | sort | tr '\\n' ' ')]\" >&2; \
                    exit 1";
        let said = told(&place.program(show), &slot).await;
        // What a shell sets by itself.
        assert!(said.contains("[0] [/] []"), "{said}");
        let set = said.rsplit('[').next().unwrap().trim_end_matches(']').split(' ');
        assert!(
            set.filter(|v| !v.is_empty()).all(|v| ["PWD", "SHLVL", "_"].contains(&v)),
            "{said}"
        );
    }

    #[tokio::test]
    async fn one_that_does_not_end_is_killed_with_what_it_started() {
        let place = Place::new();
        let slot = SlotSecretKey::derive_from_seed(&[1; 32]).public().clone();
        let pid = place.path.join("pid").display().to_string();
        let command = place.program(&format!("sleep 1000 & echo $! > {pid}; wait"));
        let said = told(&command, &slot).await;
        assert!(said.ends_with("did not end within 1 s and was killed"), "{said}");
        is_killed(&pid).await;
    }

    #[tokio::test]
    async fn what_one_that_ended_left_behind_is_killed() {
        let place = Place::new();
        let seed = seal::make_slot_seed();
        let slot = SlotSecretKey::derive_from_seed(&seed).public().clone();
        let (right, pid) =
            (place.file("seed", &**seed), place.path.join("pid").display().to_string());
        let leaves = format!("sleep 1000 >/dev/null 2>&1 & echo $! > {pid}; exec cat {right}");
        run(&place.program(&leaves), &slot).await.ok().unwrap();
        is_killed(&pid).await;
    }

    /// Waits until the process whose number is in a file is dead.
    async fn is_killed(pid: &str) {
        let child = std::fs::read_to_string(pid).unwrap();
        let stat = PathBuf::from(format!("/proc/{}/stat", child.trim()));
        // Killed is not reaped; whoever does that may take its time.
        let is_gone = || {
            std::fs::read_to_string(&stat).map_or(true, |stat| {
                stat.rsplit(')')
                    .next()
                    .is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X']))
            })
        };
        while !is_gone() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn one_that_others_could_change_is_not_run() {
        let place = Place::new();
        let slot = SlotSecretKey::derive_from_seed(&[1; 32]).public().clone();
        let mark = place.path.join("ran");
        let command = place.program(&format!("touch {}", mark.display()));
        std::fs::set_permissions(command.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let said = told(&command, &slot).await;
        assert!(said.contains("others could change what runs"), "{said}");
        assert!(!mark.exists());
    }
}
