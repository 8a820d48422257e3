//! A tracer: `kill -9` of a process at the n-th of its calls that make something durable.
//!
//! It follows every thread of the process by ptrace(2) and counts the entries of these calls over all of
//! them, in their order: syncs, and what changes names, of files in one folder that are there. strace
//! counts those of each thread for itself, which enumerates nothing. Whose turn it is stands still while
//! the process is killed: the call is not carried out (or has been, for [`Moment::After`]); the other
//! threads are wherever they are. Writes with `O_DSYNC` are not looked for: nothing of ours makes any.
//!
//! Not here: what a process has to make of it (`rotation_kills`, `renewal_kills`).
//!
//! Invariant: the traced process is left to its parent to be waited for; nobody asks after it before
//! [`Tracer::end`], since who waits for a traced child is told of its stops.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Longest path that is read from a process.
const PATH_BYTES_MAX: usize = 4096;

/// When the process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// At the entry of the call: nothing of it is done.
    Before,
    /// At its exit: all of it is done, and nothing that follows.
    After,
}

/// What was seen.
#[derive(Debug)]
pub(crate) struct Trace {
    /// The calls, in their order: what, and on which files.
    pub(crate) steps: Vec<String>,
    /// Whether the process was killed, at the last of them.
    pub(crate) killed: bool,
}

/// A process that is followed.
pub(crate) struct Tracer {
    pid: Pid,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Trace>>,
}

impl Tracer {
    /// Follows a process from now on, and kills it at its `at`-th step in `folder`.
    ///
    /// # Errors
    ///
    /// If the kernel does not let this process trace it.
    pub(crate) fn attach(
        pid: u32,
        folder: &Path,
        at: usize,
        moment: Moment,
    ) -> Result<Self, Errno> {
        let pid = Pid::from_raw(pid.try_into().unwrap());
        let is_over = Arc::new(AtomicBool::new(false));
        let (attached, is_attached) = channel();
        let folder = folder.to_owned();
        let stop = Arc::clone(&is_over);
        // Whoever seizes a thread is the only one that may ask the kernel anything about it.
        let thread = std::thread::spawn(move || {
            let trace = Trace { steps: Vec::new(), killed: false };
            Following { pid, folder, at, moment, is_over: stop, due: None, trace }.follow(&attached)
        });
        match is_attached.recv() {
            Ok(Ok(())) => Ok(Self { pid, is_over, thread: Some(thread) }),
            Ok(Err(errno)) => Err(errno),
            // It ended by itself before it could be followed.
            Err(_) => {
                thread.join().unwrap();
                Err(Errno::ESRCH)
            }
        }
    }

    /// Whether nothing is followed any more: it was killed, or has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Lets the process go on alone, if it still runs.
    pub(crate) fn end(mut self) -> Trace {
        self.let_go().expect("it is let go once").unwrap()
    }

    fn let_go(&mut self) -> Option<std::thread::Result<Trace>> {
        self.is_over.store(true, Ordering::Release);
        let thread = self.thread.take()?;
        if !thread.is_finished() {
            // It may be at rest; to who is traced even a signal that means nothing is a stop.
            kill(self.pid, Signal::SIGCONT).ok();
        }
        Some(thread.join())
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// The side of the thread that traces.
struct Following {
    pid: Pid,
    folder: PathBuf,
    at: usize,
    moment: Moment,
    is_over: Arc<AtomicBool>,
    /// The thread whose step is the last one, and that is killed when it has taken it.
    due: Option<Pid>,
    trace: Trace,
}

impl Following {
    /// Follows until it is over. That this thread ends then lets every other one go on.
    fn follow(mut self, attached: &Sender<Result<(), Errno>>) -> Trace {
        let mut awaited = match self.seize_all() {
            Ok(threads) => threads,
            Err(errno) => {
                attached.send(Err(errno)).ok();
                return self.trace;
            }
        };
        let mut counts = false;
        while !self.is_over.load(Ordering::Acquire) {
            // This thread's alone: others of this process wait for children of their own.
            let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
            let stopped = match waitpid(None, Some(flags)) {
                Ok(stopped) => stopped,
                Err(Errno::EINTR) => continue,
                Err(errno) => {
                    assert_eq!(errno, Errno::ECHILD);
                    break;
                }
            };
            let Some(thread) = stopped.pid() else { continue };
            if counts && self.is_the_end(&stopped, thread) {
                self.trace.killed = true;
                kill(self.pid, Signal::SIGKILL).unwrap();
                break;
            }
            resume(&stopped, thread);
            // Each of those there were has to stop once, or its calls are not seen.
            awaited.remove(&thread);
            if awaited.is_empty() && !counts {
                counts = true;
                attached.send(Ok(())).ok();
            }
        }
        self.trace
    }

    /// Every thread there is; those that they make are followed from their first instant on.
    fn seize_all(&self) -> Result<BTreeSet<Pid>, Errno> {
        let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE;
        let mut seen = BTreeSet::new();
        let mut seized = BTreeSet::new();
        loop {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid));
            let tasks = tasks.map_err(|_| Errno::ESRCH)?.flatten();
            let ids = tasks.filter_map(|task| task.file_name().to_str()?.parse().ok());
            let new: Vec<_> = ids.map(Pid::from_raw).filter(|id| seen.insert(*id)).collect();
            if new.is_empty() {
                return Ok(seized);
            }
            for thread in new {
                match ptrace::seize(thread, options) {
                    Ok(()) => {
                        ptrace::interrupt(thread).ok();
                        seized.insert(thread);
                    }
                    // One that a seized one has made is followed already; one may have ended.
                    Err(Errno::EPERM | Errno::ESRCH) if !seized.is_empty() => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
    }

    /// Whether a stop is the one that is waited for; steps are noted on the way.
    fn is_the_end(&mut self, stopped: &WaitStatus, thread: Pid) -> bool {
        if !matches!(stopped, WaitStatus::PtraceSyscall(_)) {
            return false;
        }
        let Ok(info) = ptrace::syscall_info(thread) else { return false };
        if info.op == libc::PTRACE_SYSCALL_INFO_EXIT {
            return self.due == Some(thread);
        }
        let Some(step) = Entry::of(thread).and_then(|entry| entry.step(thread, &self.folder))
        else {
            return false;
        };
        if self.due.is_some() {
            return false;
        }
        self.trace.steps.push(step);
        let is_due = self.trace.steps.len() == self.at;
        if is_due && self.moment == Moment::After {
            self.due = Some(thread);
        }
        is_due && self.moment == Moment::Before
    }
}

/// Lets a thread go on to its next call, with the signal that it was to get.
fn resume(stopped: &WaitStatus, thread: Pid) {
    let signal = match stopped {
        WaitStatus::Stopped(_, signal) => Some(*signal),
        WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return,
        _ => None,
    };
    // It may have been killed meanwhile, by whoever ends the process.
    ptrace::syscall(thread, signal).ok();
}

/// A call that was entered, as the kernel tells of it in /proc.
struct Entry {
    number: i64,
    arguments: Vec<u64>,
}

impl Entry {
    fn of(thread: Pid) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{thread}/syscall")).ok()?;
        let mut words = text.split_whitespace();
        let number = words.next()?.parse().ok()?;
        let argument = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
        Some(Self { number, arguments: words.filter_map(argument).collect() })
    }

    /// What it does to files of a folder, if it makes something durable or changes names there.
    fn step(&self, thread: Pid, folder: &Path) -> Option<String> {
        let file = |at: usize| descriptor(thread, *self.arguments.get(at)?);
        let named = |at: usize| path(thread, self.arguments.get(at..at + 2)?);
        // Old calls, which some machines do not have, take their names from where the process is.
        let here = |at: usize| path(thread, &[at_cwd(), *self.arguments.get(at)?]);
        let (call, paths) = match self.number {
            libc::SYS_fsync => ("fsync", vec![file(0)?]),
            libc::SYS_fdatasync => ("fdatasync", vec![file(0)?]),
            libc::SYS_sync_file_range => ("sync_file_range", vec![file(0)?]),
            libc::SYS_syncfs => ("syncfs", vec![file(0)?]),
            libc::SYS_renameat | libc::SYS_renameat2 => ("rename", vec![named(0)?, named(2)?]),
            libc::SYS_linkat => ("link", vec![named(0)?, named(2)?]),
            libc::SYS_unlinkat => ("unlink", vec![named(0)?]),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_rename => ("rename", vec![here(0)?, here(1)?]),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_unlink => ("unlink", vec![here(0)?]),
            _ => return None,
        };
        // Nothing happens to what is not there.
        let first = paths.first().filter(|first| first.symlink_metadata().is_ok())?;
        first.strip_prefix(folder).ok()?;
        let names = paths.iter().map(|path| {
            let name = path.strip_prefix(folder).unwrap_or(path).display().to_string();
            let name = if name.is_empty() { "." } else { &name };
            // Numbers differ from time to time.
            name.split(|c: char| c.is_ascii_digit()).next().unwrap_or_default().to_owned()
        });
        Some([call.to_owned()].into_iter().chain(names).collect::<Vec<_>>().join(" "))
    }
}

/// `AT_FDCWD`, as an argument: an int, whatever the upper half of its place holds.
fn at_cwd() -> u64 {
    u64::from(libc::AT_FDCWD.cast_unsigned())
}

fn descriptor(thread: Pid, number: u64) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{thread}/fd/{number}")).ok()
}

/// A path in the memory of a process, relative to a folder that it has open.
fn path(thread: Pid, arguments: &[u64]) -> Option<PathBuf> {
    let [folder, at] = arguments else { return None };
    let memory = File::open(format!("/proc/{thread}/mem")).ok()?;
    let mut bytes = vec![0; PATH_BYTES_MAX];
    let length = memory.read_at(&mut bytes, *at).ok()?;
    let end = bytes.get(..length)?.iter().position(|byte| *byte == 0)?;
    let name = String::from_utf8(bytes.get(..end)?.to_vec()).ok()?;
    let folder = folder & u64::from(u32::MAX);
    let folder = if folder == at_cwd() {
        std::fs::read_link(format!("/proc/{thread}/cwd")).ok()?
    } else {
        descriptor(thread, folder)?
    };
    Some(folder.join(name))
}
