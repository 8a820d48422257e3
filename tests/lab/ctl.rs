//! The operator's tool, run to its end.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The operator's tool at one manager.
#[derive(Clone)]
pub struct Ctl {
    programs: PathBuf,
    home: PathBuf,
    options: Vec<String>,
}

/// What a run came to.
#[derive(Debug)]
pub struct Ran {
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
    /// Its exit status; -1 if a signal ended it.
    pub status: i32,
}

impl Ctl {
    pub(super) fn at(programs: &Path, home: &Path, socket: &Path) -> Self {
        let options = vec!["--socket".into(), socket.display().to_string()];
        Self { programs: programs.to_owned(), home: home.to_owned(), options }
    }

    /// The tool of somebody with a home of their own.
    #[must_use]
    pub fn at_home(&self, home: &Path) -> Self {
        Self { home: home.to_owned(), ..self.clone() }
    }

    /// The tool with a context instead of the socket.
    #[must_use]
    pub fn with_context(&self, name: &str) -> Self {
        Self { options: vec!["--context".into(), name.to_owned()], ..self.clone() }
    }

    /// The tool as a command to be started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.programs);
        command
            .arg0("secretctl")
            .args(&self.options)
            .args(arguments)
            .env_clear()
            .env("HOME", &self.home)
            .env("XDG_CONFIG_HOME", self.home.join("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs it.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, b"")
    }

    /// Runs it with something on standard input.
    pub fn run_with(&self, arguments: &[&str], stdin: &[u8]) -> Ran {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
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

    /// Runs it; it must succeed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        self.ok_with(arguments, b"")
    }

    /// Runs it with something on standard input; it must succeed.
    pub fn ok_with(&self, arguments: &[&str], stdin: &[u8]) -> String {
        let ran = self.run_with(arguments, stdin);
        assert_eq!(ran.status, 0, "secretctl {}: {}", arguments.join(" "), ran.stderr);
        ran.stdout
    }

    /// Runs it for JSON; it must succeed.
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let arguments = [&["--json"], arguments].concat();
        let text = self.ok(&arguments);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// Runs it; it must refuse with that exit status. Gives what it said.
    pub fn refused(&self, status: i32, arguments: &[&str], stdin: &[u8]) -> String {
        let ran = self.run_with(arguments, stdin);
        assert_eq!(ran.status, status, "secretctl {}: {}", arguments.join(" "), ran.stderr);
        assert_eq!(ran.stdout, "", "a refusal prints nothing");
        ran.stderr
    }
}
