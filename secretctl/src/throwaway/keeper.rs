//! The process that keeps a throwaway cluster: the parent of its managers and its agent.
//!
//! It has one thread and a session of its own, so that an interrupt at the terminal reaches only
//! whoever asked for the cluster. Orphans of its descendants, such as the supervisors of tasks,
//! become its children. It is told what to start on standard input, a line each, and tells on
//! standard output what was started and what ended. When standard input ends, whether its owner
//! closed it or was killed, the cluster ends. Not here: what a cluster is made of
//! ([`super::cluster`]).
//!
//! Invariant: it ends only when it has no child any more, and removes the folder then.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use sys::file::Folder;
use sys::poll::readable;
use sys::process::{self, Exit, Signals};

use super::{AGENT, ALSO, DAEMON, FOLDER_PREFIX, Layout, MANAGER};
use crate::error::chain;

/// How long the agent may take to stop its tasks.
const AGENT_WITHIN: Duration = Duration::from_secs(5);

/// How long supervisors that lost their agent may take.
const ORPHANS_WITHIN: Duration = Duration::from_secs(2);

/// How often the children are looked at while they end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Longest line of standard input, in bytes.
const LINE_BYTES_MAX: usize = 4096;

/// Numbers of signals (signal(7)).
const SIGHUP: u8 = 1;
const SIGINT: u8 = 2;
const SIGKILL: u8 = 9;
const SIGTERM: u8 = 15;

type Failed = Box<dyn std::error::Error>;

/// Runs as the keeper of the cluster in `folder`.
pub(super) fn run(folder: &Path) -> ExitCode {
    match keep(folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whoever reads it may be gone.
            tell(&format!("left {}", chain(&*error))).ok();
            ExitCode::FAILURE
        }
    }
}

fn keep(folder: &Path) -> Result<(), Failed> {
    process::close_inherited();
    must_be_ours(folder)?;
    process::new_session()?;
    process::adopt_orphans()?;
    let signals = Signals::block_all()?;
    let layout = Layout { folder: folder.to_owned() };
    let mut keeper = Keeper { layout, signals, running: BTreeMap::new(), also: None };
    // Whatever went wrong, everything is ended.
    let kept = keeper.serve();
    keeper.end()?;
    for folder in keeper.also.iter().map(PathBuf::as_path).chain([folder]) {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    kept
}

/// Refuses a folder that this program has not just made: what is in it will be removed.
fn must_be_ours(folder: &Path) -> Result<(), Failed> {
    let name = folder.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let is_empty = Folder::open_private(folder)?.entries()?.is_empty();
    if is_empty && name.starts_with(FOLDER_PREFIX) {
        return Ok(());
    }
    Err(format!("{} is not an empty folder of a throwaway cluster", folder.display()).into())
}

/// A line for whoever asked for the cluster.
fn tell(line: &str) -> io::Result<()> {
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    output.write_all(format!("{line}\n").as_bytes())
}

struct Running {
    name: String,
    is_agent: bool,
}

struct Keeper {
    layout: Layout,
    signals: Signals,
    /// The processes that were asked for, by number.
    running: BTreeMap<i32, Running>,
    /// A folder elsewhere that is to be removed too.
    also: Option<PathBuf>,
}

impl Keeper {
    /// Starts what it is told to, until it is to end.
    fn serve(&mut self) -> Result<(), Failed> {
        let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let mut line = Vec::new();
        let mut buffer = [0; LINE_BYTES_MAX];
        loop {
            let ready = readable(&[input.as_fd(), self.signals.as_fd()], None)?;
            while let Some(number) = self.signals.next_pending()? {
                if matches!(number, SIGHUP | SIGINT | SIGTERM) {
                    return Ok(());
                }
            }
            self.reap()?;
            if ready.first() != Some(&true) {
                continue;
            }
            let read = input.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            for byte in buffer.iter().take(read) {
                if *byte == b'\n' {
                    self.start(str::from_utf8(&line)?)?;
                    line.clear();
                } else {
                    line.push(*byte);
                }
            }
        }
    }

    /// `manager NAME`, `agent NAME ADDRESS`, or `also PATH`: a folder that is to be removed too.
    fn start(&mut self, line: &str) -> Result<(), Failed> {
        if let Some(path) = line.strip_prefix(ALSO).and_then(|line| line.strip_prefix(' ')) {
            must_be_ours(Path::new(path))?;
            self.also = Some(path.into());
            // No process: the answer is that it was taken.
            return Ok(tell("started also 0")?);
        }
        let words: Vec<&str> = line.split(' ').collect();
        let (what, name) = match words.as_slice() {
            [what, name, ..] => (*what, *name),
            _ => return Err(format!("cannot start `{line}`").into()),
        };
        let options = match words.as_slice() {
            [MANAGER, name] => self.manager_options(name),
            [AGENT, name, address] => self.agent_options(name, address),
            _ => return Err(format!("cannot start `{line}`").into()),
        };
        let folder = Folder::create_private(self.layout.of(name))?;
        let log = folder.append("log", 0o600)?;
        let child = Command::new("/proc/self/exe")
            .arg0("secretctl")
            .args([DAEMON, what, &std::process::id().to_string()])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .current_dir("/")
            .spawn()?;
        let running = Running { name: name.to_owned(), is_agent: what == AGENT };
        self.running.insert(i32::try_from(child.id())?, running);
        Ok(tell(&format!("started {name} {}", child.id()))?)
    }

    fn manager_options(&self, name: &str) -> Vec<OsString> {
        let pairs: [(&str, OsString); 6] = [
            ("--data", self.layout.data(name).into()),
            ("--listen", "127.0.0.1:0".into()),
            ("--socket", self.layout.socket(name).into()),
            ("--http", "none".into()),
            ("--disk-reserve-mib", "16".into()),
            // Not the one of a manager that is installed here.
            ("--config", "/dev/null".into()),
        ];
        pairs.into_iter().flat_map(|(option, value)| [option.into(), value]).collect()
    }

    fn agent_options(&self, name: &str, address: &str) -> Vec<OsString> {
        let pairs: [(&str, OsString); 5] = [
            ("--data", self.layout.data(name).into()),
            ("--tasks", self.layout.tasks(name).into()),
            ("--join-file", self.layout.token(name).into()),
            ("--manager", address.into()),
            ("--hostname", name.into()),
        ];
        let flags = ["--stop-tasks-on-exit", "--allow-unlocked-memory"];
        let pairs = pairs.into_iter().flat_map(|(option, value)| [option.into(), value]);
        pairs.chain(flags.map(OsString::from)).collect()
    }

    /// Takes the status of whoever ended.
    fn reap(&mut self) -> Result<(), Failed> {
        while let Some((pid, exit)) = process::reap_any()? {
            if let Some(Running { name, .. }) = self.running.remove(&pid) {
                let how = match exit {
                    Exit::Code(code) => format!("exit code {code}"),
                    Exit::Signal(number) => format!("signal {number}"),
                };
                // Whoever reads it may be gone.
                tell(&format!("ended {name} {how}")).ok();
            }
        }
        Ok(())
    }

    /// Ends everything. The agent first, which stops its tasks; the managers have nothing that is
    /// to be kept.
    fn end(&mut self) -> Result<(), Failed> {
        for (pid, running) in &self.running {
            process::signal_child(*pid, if running.is_agent { SIGTERM } else { SIGKILL })?;
        }
        if self.ended_within(AGENT_WITHIN)? {
            return Ok(());
        }
        // An agent that hangs, or supervisors of one that was killed.
        signal_all(SIGTERM)?;
        for pid in self.running.keys() {
            process::signal_child(*pid, SIGKILL)?;
        }
        if self.ended_within(ORPHANS_WITHIN)? {
            return Ok(());
        }
        loop {
            signal_all(SIGKILL)?;
            if self.ended_within(LOOK_EVERY)? {
                return Ok(());
            }
        }
    }

    /// Whether all children have ended in that time; at once if only those remain that nobody
    /// told to end.
    fn ended_within(&mut self, limit: Duration) -> Result<bool, Failed> {
        let until = Instant::now() + limit;
        let had_running = !self.running.is_empty();
        loop {
            while self.signals.next_pending()?.is_some() {}
            self.reap()?;
            if process::children()?.is_empty() {
                return Ok(true);
            }
            let only_orphans = had_running && self.running.is_empty();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || only_orphans {
                return Ok(false);
            }
            // A child that ends is a signal; an orphan that arrives is none.
            readable(&[self.signals.as_fd()], Some(left.min(LOOK_EVERY)))?;
        }
    }
}

/// To every child, adopted ones included.
fn signal_all(number: u8) -> Result<(), Failed> {
    for pid in process::children()? {
        process::signal_child(pid, number)?;
    }
    Ok(())
}
