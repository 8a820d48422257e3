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
//! Ids, instants and ages are names, and gaps of tables are three blanks wide. With
//! `SECRETD_REGENERATE=1` the file is written as it is found.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::Lab;

/// Characters of an object's id.
const ID_CHARS: usize = 25;

pub(crate) struct Transcript {
    file: PathBuf,
    folder: PathBuf,
    socket: PathBuf,
}

impl Transcript {
    /// One that is in a file of the tree, typed in a folder of a laboratory, at a socket.
    pub(crate) fn new(file: &str, lab: &Lab, socket: &Path) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let folder = lab.path().join("here");
        std::fs::create_dir(&folder).unwrap();
        Self { file: root.join(file), folder, socket: socket.to_owned() }
    }

    /// Puts a file where it is typed.
    pub(crate) fn put(&self, name: &str, text: &str) {
        let folder = sys::file::Folder::open(&self.folder).unwrap();
        folder.replace(name, sys::file::PRIVATE_FILE_MODE, text.as_bytes()).unwrap();
    }

    /// Types it all, and compares.
    pub(crate) fn check(&self, mut happen: impl FnMut(&str)) {
        let expected = std::fs::read_to_string(&self.file).unwrap();
        let mut found = String::new();
        for line in expected.lines() {
            if let Some(what) = line.strip_prefix("% ") {
                happen(what);
            } else if let Some(command) = line.strip_prefix("$ ") {
                writeln!(found, "{line}").unwrap();
                found.push_str(&self.typed(command));
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

    fn typed(&self, command: &str) -> String {
        let ran = Command::new("bash")
            .args(["-c", command])
            .current_dir(&self.folder)
            .env("DOCKER_HOST", format!("unix://{}", self.socket.display()))
            .env("DOCKER_CONFIG", &self.folder)
            .env("DOCKER_CLI_HINTS", "false")
            .output()
            .unwrap();
        let mut text = String::new();
        for (sign, stream) in [('>', &ran.stdout), ('!', &ran.stderr)] {
            for line in String::from_utf8_lossy(stream).lines() {
                writeln!(text, "{}", format!("{sign} {}", masked(line)).trim_end()).unwrap();
            }
        }
        match ran.status.code().unwrap() {
            0 => text,
            code => text + &format!("= {code}\n"),
        }
    }
}

/// A line in which what differs from run to run is named.
fn masked(line: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '.');
    let mut text = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(is_word) {
        let (before, tail) = rest.split_at(start);
        let end = tail.find(|c| !is_word(c)).unwrap_or(tail.len());
        let (word, after) = tail.split_at(end);
        text.push_str(before);
        let is_id = word.len() == ID_CHARS
            && word.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
        let is_instant = word.len() > 20 && word.ends_with('Z') && word.contains('T');
        text.push_str(if is_id {
            "ID"
        } else if is_instant {
            "TIME"
        } else {
            word
        });
        rest = after;
    }
    text.push_str(rest);
    gaps(&ages(&numbered(&text)))
}

/// Places in the log, and instants as Go writes them.
fn numbered(line: &str) -> String {
    if let Some((before, _)) = line.split_once("\"Index\": ") {
        return format!("{before}\"Index\": INDEX");
    }
    match line.split_once("at:") {
        Some((before, _)) if line.ends_with(" utc") => format!("{before}at: TIME"),
        _ => line.to_owned(),
    }
}

/// `3 seconds ago` and its like are `AGO`.
fn ages(line: &str) -> String {
    let mut cells: Vec<String> = line.split("   ").map(ToOwned::to_owned).collect();
    for cell in &mut cells {
        if cell.trim().ends_with(" ago") {
            *cell = " AGO ".into();
        }
    }
    cells.join("   ")
}

/// Columns are as wide as what is in them today.
fn gaps(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    let (before, rest) = line.split_at(indent);
    let cells = rest.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
    before.to_owned() + &cells.collect::<Vec<_>>().join("   ")
}
