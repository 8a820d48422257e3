//! The log under power cuts and damage, for real: sled on a filesystem, in processes of their own.
//!
//! A test starts this test binary again in a role: `writer` fills a log and reports, over a unix
//! socket, what was acknowledged to it, `reader` opens what is left and reports what it found. The
//! test compares the two. What an entry holds follows from its place, so that a wrong byte is told
//! without keeping the right one. Not here: the simulated disk (log::tests).
//!
//! `SECRETD_FULL=1` runs the full form; `SECRETD_SEED=N` repeats the choices of an earlier run
//! (each test prints its seed).

mod calls;
mod damage;
pub(crate) mod images;
mod reader;
mod writer;

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proto::id::{Incarnation, MemberId, Realm};
use seal::{KeyFileContents, KeyFileOwner, RecordPlace};
use sys::file::Folder;

use super::log::{LogEntry, LogKeys};
use crate::keys::{KeyFile, Unlocking, made_contents};

/// What a role is told, in its environment.
const ROLE_FOLDER: &str = "SECRETD_ROLE_FOLDER";
const ROLE_SOCKET: &str = "SECRETD_ROLE_SOCKET";
const ROLE_LOAD: &str = "SECRETD_ROLE_LOAD";
const ROLE_SEED: &str = "SECRETD_ROLE_SEED";

/// Roles, by their names as tests of this binary.
const WRITER: &str = "raft::crash::writer::writer";
const READER: &str = "raft::crash::reader::reader";

/// How long a role may be silent: opening a log takes a second or two.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Whether the full form of a test is asked for.
fn is_full() -> bool {
    std::env::var_os("SECRETD_FULL").is_some_and(|value| value == "1")
}

/// The seed of a test: the one asked for, or a fresh one; printed either way.
fn seed_of(test: &str) -> u64 {
    let asked = std::env::var("SECRETD_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = asked.unwrap_or_else(|| u64::from_be_bytes(seal::random()));
    say(&format!("{test}: SECRETD_SEED={seed}"));
    seed
}

/// A line for whoever reads a test's output, shown whether or not it passes.
fn say(line: &str) {
    writeln!(io::stderr(), "{line}").unwrap();
}

/// Numbers that follow from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

/// What a writer writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// Values of 200 bytes.
    Small,
    /// Values of 16 KiB.
    Medium,
    /// Values of 1 MiB.
    Large,
    /// All three.
    Mixed,
    /// All three, and truncations: leaders change.
    Turbulent,
    /// A fixed set of small, medium and large values, then an orderly end.
    Closed,
    /// Ten entries one after the other, then 64 at once.
    Counted,
}

impl Load {
    const ALL: [Self; 7] = [
        Self::Small,
        Self::Medium,
        Self::Large,
        Self::Mixed,
        Self::Turbulent,
        Self::Closed,
        Self::Counted,
    ];

    fn name(self) -> String {
        format!("{self:?}")
    }

    fn of_role() -> Self {
        let name = std::env::var(ROLE_LOAD).unwrap();
        Self::ALL.into_iter().find(|load| load.name() == name).unwrap()
    }

    /// Bytes of the entry at a place.
    fn size_at(self, index: u64, term: u64) -> usize {
        match self {
            Self::Small | Self::Counted => 200,
            Self::Medium => 16 << 10,
            Self::Large => 1 << 20,
            Self::Closed => match index {
                50 => 1 << 20,
                _ if index % 10 == 3 => 16 << 10,
                _ => 200,
            },
            Self::Mixed | Self::Turbulent => match Random((index << 8) ^ term).below(20) {
                0 => 1 << 20,
                1..=3 => 16 << 10,
                _ => 200,
            },
        }
    }

    /// The entry at a place: its bytes follow from where it stands.
    fn entry_at(self, index: u64, term: u64) -> LogEntry {
        let mut random = Random(index.wrapping_mul(31).wrapping_add(term));
        let size = self.size_at(index, term);
        let mut bytes = Vec::with_capacity(size + 8);
        while bytes.len() < size {
            bytes.extend_from_slice(&random.next().to_be_bytes());
        }
        bytes.truncate(size);
        LogEntry { place: place_at(index, term), bytes: bytes.into() }
    }
}

fn place_at(index: u64, term: u64) -> RecordPlace {
    RecordPlace { term, leader: MemberId(term % 3), index }
}

/// Whose disk it is.
fn owner() -> KeyFileOwner {
    KeyFileOwner {
        disk: seal::Disk {
            realm: Realm::from_bytes([1; 16]),
            incarnation: Incarnation(1),
            member: MemberId(1),
        },
        node_id: "0000000000000000000000000".parse().unwrap(),
        generation: 1,
    }
}

/// A folder's key file; its seed stands beside the folder.
fn key_file(folder: &Folder) -> KeyFile {
    let seed = folder.path().with_file_name("seed");
    KeyFile::new(folder.try_clone().unwrap(), seed)
}

/// Makes the keys of a new folder.
fn make_keys(folder: &Folder) {
    let file = key_file(folder);
    let slot = file.file_slot(Vec::new()).unwrap();
    file.write(&KeyFile::seal(&owner(), &[slot], &made_contents()).unwrap()).unwrap();
}

/// Opens a folder's keys.
fn open_keys(folder: &Folder) -> Result<Arc<LogKeys>, String> {
    match key_file(folder).unlock().map_err(|error| crate::chain(&error))? {
        Unlocking::Unlocked(unlocked) => {
            let KeyFileContents { logs, active_log, .. } = unlocked.contents;
            Ok(Arc::new(LogKeys::new(unlocked.owner.disk, logs, active_log)))
        }
        Unlocking::Empty | Unlocking::Locked(_) => Err("the key file is not there".into()),
    }
}

/// The role's end of the socket to the test.
#[derive(Clone)]
pub(crate) struct Told(Arc<Mutex<UnixStream>>);

impl Told {
    /// None where this is not a role: the test binary was started by hand.
    pub(crate) fn connect() -> Option<Self> {
        let socket = std::env::var_os(ROLE_SOCKET)?;
        Some(Self(Arc::new(Mutex::new(UnixStream::connect(socket).unwrap()))))
    }

    pub(crate) fn tell(&self, line: &str) {
        let mut stream = self.0.lock().unwrap();
        // One write for a line, so that a trace of system calls shows it as one.
        stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Tells a line and waits until the test lets it go on.
    pub(crate) fn tell_and_wait(&self, line: &str) {
        self.tell(line);
        let mut stream = self.0.lock().unwrap();
        stream.read_exact(&mut [0]).unwrap();
    }
}

pub(crate) fn role_folder() -> Folder {
    Folder::create_private(PathBuf::from(std::env::var_os(ROLE_FOLDER).unwrap())).unwrap()
}

/// A process of this test binary in a role; killed when it is let go.
pub(crate) struct Role {
    pub(crate) child: Child,
    stream: UnixStream,
    unread: Vec<u8>,
    /// What it has told and nobody took yet.
    lines: VecDeque<String>,
    ended: bool,
    errors: PathBuf,
}

impl Role {
    /// Starts `role` (a test of this binary) on the folder `data` in `base`.
    ///
    /// `before` goes in front of the command: a tracer, or what mounts a filesystem first.
    fn start(
        role: &str,
        before: &[&str],
        base: &Path,
        data: &Path,
        load: Load,
        seed: u64,
    ) -> Result<Self, String> {
        let socket = base.join("socket");
        // There from the role before, or not at all.
        drop(std::fs::remove_file(&socket));
        let listener = UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let binary = std::env::current_exe().unwrap();
        let mut words = before.iter().map(|word| std::ffi::OsString::from(*word));
        let mut command = match words.next() {
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(&binary);
                command
            }
            None => Command::new(&binary),
        };
        let errors = base.join("stderr");
        let mut child = command
            .args([role, "--exact", "--ignored", "--nocapture"])
            .args(["--test-threads", "1"])
            .env(ROLE_FOLDER, data)
            .env(ROLE_SOCKET, &socket)
            .env(ROLE_LOAD, load.name())
            .env(ROLE_SEED, seed.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&errors).unwrap())
            .spawn()
            .map_err(|error| error.to_string())?;
        let deadline = Instant::now() + SILENCE_MAX;
        loop {
            // Asked first: one that has ended may have connected before.
            let ended = child.try_wait().unwrap();
            match (listener.accept(), ended) {
                (Ok((stream, _)), _) => {
                    let (unread, lines) = (Vec::new(), VecDeque::new());
                    return Ok(Self { child, stream, unread, lines, ended: false, errors });
                }
                (Err(error), None) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                (Err(_), Some(status)) => {
                    let errors = std::fs::read_to_string(errors).unwrap();
                    return Err(format!("{role} ended with {status}: {}", errors.trim()));
                }
            }
            assert!(Instant::now() < deadline, "{role} did not connect");
            std::thread::yield_now();
        }
    }

    /// Reads what has been told, waiting at most `wait` for the first of it.
    fn listen(&mut self, wait: Duration) {
        if wait.is_zero() {
            self.stream.set_nonblocking(true).unwrap();
        } else {
            self.stream.set_nonblocking(false).unwrap();
            self.stream.set_read_timeout(Some(wait)).unwrap();
        }
        let mut bytes = [0; 16 << 10];
        match self.stream.read(&mut bytes) {
            Ok(0) => self.ended = true,
            Ok(read) => self.unread.extend_from_slice(&bytes[..read]),
            // A child of another test that ends interrupts a read with a limit (signal(7)).
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::TimedOut
                        | io::ErrorKind::Interrupted
                ),
                "{error}"
            ),
        }
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            self.lines.push_back(String::from_utf8(line).unwrap().trim_end().to_owned());
        }
    }

    /// Reads all that has been told; to be used while it is stopped.
    fn drain(&mut self) {
        loop {
            let before = (self.unread.len(), self.lines.len());
            self.listen(Duration::ZERO);
            if self.ended || before == (self.unread.len(), self.lines.len()) {
                return;
            }
        }
    }

    /// The next line; none once it has ended.
    pub(crate) fn next_line(&mut self) -> Option<String> {
        let deadline = Instant::now() + SILENCE_MAX;
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.ended {
                return None;
            }
            assert!(Instant::now() < deadline, "a role said nothing for {SILENCE_MAX:?}");
            self.listen(Duration::from_millis(200));
        }
    }

    /// What it wrote to its standard error.
    pub(crate) fn errors(&self) -> String {
        std::fs::read_to_string(&self.errors).unwrap()
    }

    /// Lets it go on, where it waits for that.
    pub(crate) fn let_go(&mut self) {
        self.stream.write_all(b".").unwrap();
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        // The shell has a `kill` of its own; the program is not everywhere.
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
    }

    /// Waits for its end.
    fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // Already ended is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What follows a word in a line, as numbers.
fn numbers(line: &str, word: &str) -> Option<Vec<u64>> {
    let rest = line.strip_prefix(word)?.strip_prefix(' ')?;
    Some(rest.split(' ').map(|number| number.parse().unwrap()).collect())
}
