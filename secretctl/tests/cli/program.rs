//! Running `secretctl` with a home of its own, and taking down what it says.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A place to run the program in.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

/// What a run came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) status: i32,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("secretd.sock")
    }

    /// The program, with nothing of this machine's environment but this place.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_secretctl"));
        command
            .env_clear()
            .env("HOME", self.path())
            .env("XDG_CONFIG_HOME", self.path().join("config"))
            .env("SECRETD_SOCKET", self.socket())
            .current_dir(self.path());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(&self, args: &[S], stdin: &[u8]) -> Ran {
        let mut command = self.command();
        command.args(args);
        run(command, stdin)
    }

    /// What it said, without what differs from run to run.
    pub(crate) fn normal(&self, text: &str) -> String {
        let text = text.replace(&self.path().display().to_string(), "DIR");
        let text = replace_words(&text, |word| word.starts_with("SECTKN-1-"), "TOKEN");
        let text = replace_words(&text, |word| word.starts_with("SECKEY-1-"), "UNLOCKKEY");
        let text = replace_words(&text, |word| word.starts_with("SECSHARE-1-"), "SHARE");
        let text = replace_ids(&text, 16, "SPLITID");
        let text = replace_ids(&text, 32, "KEYID");
        let text = replace_instants(&text);
        let own = format!("local/{}", rustix::process::geteuid().as_raw());
        text.replace(&own, "local/UID")
    }
}

pub(crate) fn run(mut command: Command, stdin: &[u8]) -> Ran {
    let piped = || Stdio::piped();
    let mut child = command.stdin(piped()).stdout(piped()).stderr(piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    // A program that does not read its input closes it: that is no failure of the test.
    let writer = std::thread::spawn(move || pipe.write_all(&stdin).ok());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Ran {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        status: output.status.code().unwrap_or(-1),
    }
}

fn replace_words(text: &str, matches: impl Fn(&str) -> bool, with: &str) -> String {
    let is_end = |c: char| c.is_whitespace() || c == '"' || c == '`';
    text.split_inclusive(is_end)
        .map(|piece| {
            let word = piece.trim_end_matches(is_end);
            if matches(word) { format!("{with}{}", &piece[word.len()..]) } else { piece.to_owned() }
        })
        .collect()
}

/// Ids that are made anew in each run: those that do not begin with one byte four times.
fn replace_ids(text: &str, length: usize, with: &str) -> String {
    let is_id = |word: &str| {
        let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        word.len() == length && word.chars().all(is_hex) && word[..8] != word[..2].repeat(4)
    };
    text.split_inclusive(|c: char| !c.is_ascii_alphanumeric())
        .map(|piece| {
            let word = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            if is_id(word) { format!("{with}{}", &piece[word.len()..]) } else { piece.to_owned() }
        })
        .collect()
}

/// `2026-01-31T12:00:00.123Z` becomes `TIME`.
fn replace_instants(text: &str) -> String {
    const FORM: &[u8] = b"0000-00-00T00:00:00.000Z";
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let is_instant = bytes.len() >= at + FORM.len()
            && FORM.iter().zip(&bytes[at..]).all(|(form, byte)| match form {
                b'0' => byte.is_ascii_digit(),
                form => form == byte,
            });
        if is_instant {
            out.extend_from_slice(b"TIME");
            at += FORM.len();
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).unwrap()
}
