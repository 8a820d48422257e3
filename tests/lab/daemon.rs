//! A program that runs until it is ended, its log, and starting it again.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::until;

/// The end of a log that is shown when a test fails.
const TOLD_LINES: usize = 40;

/// A running program, or one that ran and can be started again.
pub struct Daemon {
    name: &'static str,
    under: Vec<String>,
    programs: PathBuf,
    arguments: Vec<String>,
    place: PathBuf,
    child: Option<Child>,
}

impl Daemon {
    /// One that is not started yet; `under` is a command that starts it, with its arguments, or nothing.
    pub(super) fn prepare(
        name: &'static str,
        under: &[&str],
        programs: &Path,
        arguments: Vec<String>,
        place: PathBuf,
    ) -> Self {
        std::fs::create_dir_all(&place).unwrap();
        let programs = programs.to_owned();
        let under = under.iter().map(ToString::to_string).collect();
        Self { name, under, programs, arguments, place, child: None }
    }

    /// Starts it with the arguments it had; its log goes on.
    pub fn start_again(&mut self) {
        assert!(!self.runs(), "{} runs already", self.name);
        let log = File::options().append(true).create(true).open(self.log_path()).unwrap();
        let mut command = self.command();
        command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    fn command(&self) -> Command {
        let Some((first, rest)) = self.under.split_first() else {
            let mut command = Command::new(&self.programs);
            command.arg0(self.name);
            return command;
        };
        // Whatever starts others gives them the name of their file.
        let named = self.place.join(self.name);
        if !named.exists() {
            std::os::unix::fs::symlink(&self.programs, &named).unwrap();
        }
        let mut command = Command::new(first);
        command.args(rest).arg(named);
        command
    }

    /// From its next start on its wall clock is ahead, and nothing else of it.
    pub fn set_clock_ahead(&mut self, library: &Path, days: u64) {
        let preload = format!("LD_PRELOAD={}", library.display());
        let ahead = format!("FAKETIME=+{days}d");
        self.under = ["env", &preload, &ahead, "DONT_FAKE_MONOTONIC=1"].map(Into::into).into();
    }

    /// The arguments it is started with next.
    pub const fn arguments(&mut self) -> &mut Vec<String> {
        &mut self.arguments
    }

    fn log_path(&self) -> PathBuf {
        self.place.join("log")
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it was started").id()
    }

    /// Whether it was started and not ended by this laboratory.
    pub const fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// Fails the test if it ended by itself.
    pub fn assert_running(&mut self) {
        let ended = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
        if let Some(status) = ended {
            self.tell();
            panic!("{} in {} ended: {status}", self.name, self.place.display());
        }
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        until(&format!("{} ends", self.name), || child.try_wait().unwrap())
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and waits until it has ended.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            self.signal_pid(child.id(), "TERM");
            until(&format!("{} stops", self.name), || child.try_wait().unwrap());
        }
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        self.signal_pid(self.pid(), name);
    }

    fn signal_pid(&self, pid: u32, name: &str) {
        let status = Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap();
        assert!(status.success(), "kill -s {name} of {}", self.name);
    }

    /// Shows the end of its log.
    #[expect(clippy::print_stderr, reason = "told when a test fails")]
    pub(super) fn tell(&self) {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        eprintln!("--- {} in {}:", self.name, self.place.display());
        for line in &lines[lines.len().saturating_sub(TOLD_LINES)..] {
            eprintln!("    {line}");
        }
    }
}

/// Kills every process whose arguments name a folder, and waits until they are gone.
pub(super) fn kill_all_of(folder: &Path) {
    let folder = folder.display().to_string();
    let look = || {
        let mut gone = true;
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().filter(|name| name.parse::<u32>().is_ok()) else {
                continue;
            };
            let Ok(arguments) = std::fs::read(entry.path().join("cmdline")) else { continue };
            if String::from_utf8_lossy(&arguments).contains(&folder) {
                // It may be gone by now.
                Command::new("kill").args(["-s", "KILL", pid]).stderr(Stdio::null()).status().ok();
                gone = false;
            }
        }
        gone.then_some(())
    };
    // A second panic while the first unwinds would hide what it has to say.
    if std::thread::panicking() {
        look();
        return;
    }
    until("the processes of the laboratory are gone", look);
}
