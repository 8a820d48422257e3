//! How a task ended: written by its supervisor by rename, once, as the last thing it does for the
//! task; read by whichever agent is there.
//!
//! Not here: states of a task that has not ended; those only its supervisor knows.

use std::fs::File;
use std::io::Write as _;

use proto::id::Timestamp;
use proto::limits::STATUS_MESSAGE_BYTES_MAX;
use proto::task::TaskState;
use sys::file::{FileError, Folder, PRIVATE_FILE_MODE, preallocate};
use sys::process::Exit;

use super::wire::{self, WireError};
use crate::plan::Report;

/// The file's name in the task's folder.
const NAME: &str = "status";

/// Largest status file, in bytes: a message and a few numbers.
const BYTES_MAX: usize = 4 * STATUS_MESSAGE_BYTES_MAX;

/// The end of a task.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Ending {
    /// How.
    #[n(0)]
    pub outcome: Outcome,
    /// When it had been started, if it was.
    #[n(1)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[n(2)]
    pub ended_at: Timestamp,
    /// Whether it had been told to stop.
    #[n(3)]
    pub was_told_to_stop: bool,
    /// What went wrong with its secrets after the end, if anything.
    #[n(4)]
    pub complaint: Option<String>,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub enum Outcome {
    /// Its program returned this.
    #[n(0)]
    Exited(#[n(0)] i32),
    /// This signal killed its program.
    #[n(1)]
    Killed(#[n(0)] i32),
    /// Its program could not be started, and why. The code is what shells would say, 127 or 126.
    #[n(2)]
    NotStarted(#[n(0)] i32, #[n(1)] String),
    /// What it needs could not be made, and why; its program was not tried.
    #[n(3)]
    Refused(#[n(0)] String),
    /// The agent went away, or gave up, before the secrets were complete.
    #[n(4)]
    Abandoned,
    /// It ran, and its supervisor or the machine went away under it.
    #[n(5)]
    Lost(#[n(0)] String),
}

impl From<Exit> for Outcome {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Code(code) => Self::Exited(code),
            Exit::Signal(number) => Self::Killed(number),
        }
    }
}

/// A status file to be, with its room reserved: a task that fills the disk still has an end.
#[derive(Debug)]
pub(super) struct Draft(File);

impl Draft {
    /// The draft's name in the task's folder.
    const NAME: &str = ".status.new";

    /// Makes the file and reserves its room.
    pub(super) fn reserve(folder: &Folder) -> Result<Self, StatusError> {
        let file = folder.create_new(Self::NAME, PRIVATE_FILE_MODE).map_err(StatusError::File)?;
        let path = folder.path().join(Self::NAME);
        preallocate(&file, &path, BYTES_MAX as u64).map_err(StatusError::File)?;
        Ok(Self(file))
    }

    /// Whether a supervisor has begun in this folder, and not come to an end.
    fn is_in(folder: &Folder) -> bool {
        folder.open_file(Self::NAME).is_ok()
    }

    /// Writes the end into its place and gives it its name.
    pub(super) fn publish(mut self, folder: &Folder, ending: &Ending) -> Result<(), StatusError> {
        let bytes = wire::encode(ending);
        let written = self.0.write_all(&bytes);
        written
            .and_then(|()| self.0.set_len(bytes.len() as u64))
            .and_then(|()| self.0.sync_all())
            .map_err(|source| StatusError::File(folder.write_failed(Self::NAME, source)))?;
        folder.rename(Self::NAME, NAME).map_err(StatusError::File)
    }
}

/// A status file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The file cannot be read or written.
    #[error("cannot use the status of the task")]
    File(#[source] FileError),
    /// The file does not hold a status.
    #[error("cannot read the status of the task")]
    Content(#[source] WireError),
}

impl Ending {
    /// An end that no supervisor wrote down.
    pub fn lost(reason: impl Into<String>, at: Timestamp) -> Self {
        Self {
            outcome: Outcome::Lost(reason.into()),
            started_at: None,
            ended_at: at,
            was_told_to_stop: false,
            complaint: None,
        }
    }

    /// Reads it from the task's folder; `None` if there is none yet.
    pub fn read(folder: &Folder) -> Result<Option<Self>, StatusError> {
        match folder.read(NAME, BYTES_MAX) {
            Ok(bytes) => wire::decode(&bytes).map(Some).map_err(StatusError::Content),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(StatusError::File(error)),
        }
    }

    /// How a task ended whose supervisor is gone: as it wrote down, or what follows from its having
    /// written nothing. `same_boot` says whether the machine has run on since.
    pub fn found(folder: &Folder, same_boot: bool, at: Timestamp) -> Self {
        match Self::read(folder) {
            Ok(Some(ending)) => ending,
            // The supervisor had not even begun.
            Ok(None) if !Draft::is_in(folder) => {
                Self { outcome: Outcome::Abandoned, ..Self::lost("", at) }
            }
            Ok(None) if same_boot => Self::lost("its supervisor died, and the task with it", at),
            Ok(None) => Self::lost("the node was restarted while it ran", at),
            Err(error) => Self::lost(explained(&error), at),
        }
    }

    /// What the cluster is told. A task that was told to stop is shut down however it ended.
    pub fn report(&self) -> Report {
        let (state, message, exit_code) = match &self.outcome {
            Outcome::Exited(0) => (TaskState::Complete, String::new(), Some(0)),
            Outcome::Exited(code) => {
                (TaskState::Failed, format!("exit status {code}"), Some(*code))
            }
            Outcome::Killed(number) => {
                (TaskState::Failed, format!("killed by signal {number}"), Some(128 + number))
            }
            Outcome::NotStarted(code, reason) => (TaskState::Rejected, reason.clone(), Some(*code)),
            Outcome::Refused(reason) => (TaskState::Rejected, reason.clone(), None),
            Outcome::Abandoned => {
                (TaskState::Rejected, "the agent went away while it was started".into(), None)
            }
            Outcome::Lost(reason) => (TaskState::Failed, reason.clone(), None),
        };
        let ran = matches!(self.outcome, Outcome::Exited(_) | Outcome::Killed(_));
        let state = if self.was_told_to_stop && ran { TaskState::Shutdown } else { state };
        let message = match &self.complaint {
            Some(complaint) if message.is_empty() => complaint.clone(),
            Some(complaint) => format!("{message}; {complaint}"),
            None => message,
        };
        Report { state, message: shortened(message), exit_code }
    }
}

/// At most as long as a status may be, cut between characters.
pub(crate) fn shortened(mut message: String) -> String {
    let mut end = message.len().min(STATUS_MESSAGE_BYTES_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.truncate(end);
    message
}

/// An error and its causes in one line.
pub(crate) fn explained(error: &dyn std::error::Error) -> String {
    let causes = core::iter::successors(error.source(), |cause| cause.source());
    let text = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
    shortened(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(outcome: Outcome, was_told_to_stop: bool) -> Ending {
        Ending {
            outcome,
            started_at: Some(Timestamp(1)),
            ended_at: Timestamp(2),
            was_told_to_stop,
            complaint: None,
        }
    }

    #[test]
    fn every_end_is_told_as_the_cluster_knows_it() {
        let told = |outcome, stopped| {
            let report = ending(outcome, stopped).report();
            (report.state, report.exit_code)
        };
        assert_eq!(told(Outcome::Exited(0), false), (TaskState::Complete, Some(0)));
        assert_eq!(told(Outcome::Exited(3), false), (TaskState::Failed, Some(3)));
        assert_eq!(told(Outcome::Killed(9), false), (TaskState::Failed, Some(137)));
        assert_eq!(told(Outcome::Killed(15), true), (TaskState::Shutdown, Some(143)));
        assert_eq!(told(Outcome::Exited(0), true), (TaskState::Shutdown, Some(0)));
        let missing = Outcome::NotStarted(127, "cannot find the command".into());
        assert_eq!(told(missing, true), (TaskState::Rejected, Some(127)));
        assert_eq!(told(Outcome::Refused("x".into()), false), (TaskState::Rejected, None));
        assert_eq!(told(Outcome::Lost("x".into()), false), (TaskState::Failed, None));
    }

    #[test]
    fn a_status_is_read_as_it_was_written() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::create_private(temp.path().join("task")).unwrap();
        assert_eq!(Ending::read(&folder).unwrap(), None);
        let found = |same_boot| Ending::found(&folder, same_boot, Timestamp(0)).outcome;
        assert_eq!(found(true), Outcome::Abandoned);
        let _draft = Draft::reserve(&folder).unwrap();
        assert_eq!(found(true), Outcome::Lost("its supervisor died, and the task with it".into()));
        assert_eq!(found(false), Outcome::Lost("the node was restarted while it ran".into()));
        folder.remove(Draft::NAME).unwrap();
        for outcome in [
            Outcome::Exited(1),
            Outcome::Killed(9),
            Outcome::NotStarted(126, "why".into()),
            Outcome::Refused("why".into()),
            Outcome::Abandoned,
            Outcome::Lost("why".into()),
        ] {
            let written = Ending { complaint: Some("c".into()), ..ending(outcome, true) };
            Draft::reserve(&folder).unwrap().publish(&folder, &written).unwrap();
            assert_eq!(Ending::read(&folder).unwrap().as_ref(), Some(&written));
            assert_eq!(Ending::found(&folder, false, Timestamp(0)), written);
        }
        folder.replace(NAME, PRIVATE_FILE_MODE, b"\x01nonsense").unwrap();
        assert!(matches!(Ending::read(&folder), Err(StatusError::Content(_))));
    }

    #[test]
    fn messages_are_cut_between_characters() {
        let long = "ü".repeat(STATUS_MESSAGE_BYTES_MAX);
        let cut = shortened(format!("x{long}"));
        assert_eq!(cut.len(), STATUS_MESSAGE_BYTES_MAX - 1);
        let report = ending(Outcome::Refused(long), false).report();
        assert_eq!(report.message.len(), STATUS_MESSAGE_BYTES_MAX);
    }
}
