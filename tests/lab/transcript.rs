//! What is typed into a shell, and what comes of it, as a file.
//!
//! ```text
//! $ a command, for bash
//! > a line on standard output
//! ! a line on standard error
//! = exit status, if it is not 0
//! % something happens meanwhile, by its name
//! ```
//!
//! What differs from run to run is named (`masks`). With `SECRETD_REGENERATE=1` the file is written
//! as it is found.

mod masks;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Lab, PATIENCE};

/// One file, and where it is typed.
pub struct Transcript {
    file: PathBuf,
    folder: PathBuf,
    socket: PathBuf,
}

impl Transcript {
    /// One that is in a file of the tree, typed in a folder of a laboratory, at a socket.
    pub fn new(file: &str, lab: &Lab, socket: &Path) -> Self {
        Self::typed_in(file, lab.path(), socket)
    }

    /// As [`Self::new`], in any folder.
    pub fn typed_in(file: &str, place: &Path, socket: &Path) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let folder = place.join("here");
        std::fs::create_dir(&folder).unwrap();
        Self { file: root.join(file), folder, socket: socket.to_owned() }
    }

    /// Puts a file where it is typed.
    pub fn put(&self, name: &str, text: &str) {
        let folder = sys::file::Folder::open(&self.folder).unwrap();
        folder.replace(name, sys::file::PRIVATE_FILE_MODE, text.as_bytes()).unwrap();
    }

    /// Types it all, and compares.
    ///
    /// # Panics
    ///
    /// If anything is not as it stands in the file.
    pub fn check(&self, mut happen: impl FnMut(&str)) {
        let expected = std::fs::read_to_string(&self.file).unwrap();
        let mut found = String::new();
        for line in expected.lines() {
            if let Some(what) = line.strip_prefix("% ") {
                happen(what);
            } else if let Some(command) = line.strip_prefix("$ ") {
                writeln!(found, "{line}").unwrap();
                for line in self.typed(command) {
                    writeln!(found, "{line}").unwrap();
                }
                continue;
            } else if !line.starts_with('#') && !line.is_empty() {
                continue;
            }
            writeln!(found, "{line}").unwrap();
        }
        if std::env::var_os("SECRETD_REGENERATE").is_some() {
            let folder = sys::file::Folder::open(self.file.parent().unwrap()).unwrap();
            let name = self.file.file_name().unwrap().to_str().unwrap();
            folder.replace(name, 0o644, found.as_bytes()).unwrap();
            return;
        }
        for (number, (is, should)) in found.lines().zip(expected.lines()).enumerate() {
            assert_eq!(is, should, "line {} of {}", number + 1, self.file.display());
        }
        assert_eq!(found, expected, "{}", self.file.display());
    }

    /// The commands in the file, each with the lines that stand there.
    pub fn commands(&self) -> Vec<(String, Vec<String>)> {
        let mut commands: Vec<(String, Vec<String>)> = Vec::new();
        for line in std::fs::read_to_string(&self.file).unwrap().lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                commands.push((command.to_owned(), Vec::new()));
            } else if line.starts_with(['>', '!', '=']) {
                commands.last_mut().expect("a command before its answer").1.push(line.to_owned());
            }
        }
        commands
    }

    /// Types one command. One that does not end within [`PATIENCE`] has the exit status 124.
    pub fn typed(&self, command: &str) -> Vec<String> {
        let mut shell = Command::new("timeout");
        let ran = shell
            .args([&PATIENCE.as_secs().to_string(), "bash", "-c", command])
            .current_dir(&self.folder)
            .env("DOCKER_HOST", at(&self.socket))
            .env("DOCKER_CONFIG", &self.folder)
            .env("DOCKER_CLI_HINTS", "false")
            .output()
            .unwrap();
        let mut lines = Vec::new();
        for (sign, stream) in [('>', &ran.stdout), ('!', &ran.stderr)] {
            let masked = masks::masked(&String::from_utf8_lossy(stream));
            lines.extend(masked.iter().map(|line| format!("{sign} {line}").trim_end().to_owned()));
        }
        let code = ran.status.code().unwrap();
        lines.extend((code != 0).then(|| format!("= {code}")));
        lines
    }
}

fn at(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}
