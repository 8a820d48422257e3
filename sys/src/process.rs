//! Starting, watching and becoming processes, for a supervisor that has one thread.
//!
//! Not here: who is started and when. The agent itself has threads and never forks; it re-executes
//! its own program as the supervisor, which does.
//!
//! Invariant: a child that is forked never returns into its parent's code, and a program that is
//! executed by [`Program::exec`] has no descriptor, capability, signal mask or limit of ours.
#![expect(unsafe_code, reason = "fork, _exit, and calls that have no wrapper")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{ForkResult, Gid, Uid};
use rustix::fs::{Dir, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions};
use rustix::thread::CapabilitySet;

use crate::harden::{CoreLimit, HardenError};
use crate::poll::readable;

/// A call about processes failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// A process with several threads must not fork: locks held by the others stay held.
    #[error("cannot fork: this process has {0} threads")]
    Threads(usize),
    /// fork(2) failed, or what comes with it.
    #[error("cannot start a process")]
    Fork(#[source] io::Error),
    /// A signal could not be sent.
    #[error("cannot send signal {number}")]
    Signal {
        /// Which.
        number: u8,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The end of a child could not be learned.
    #[error("cannot wait for a process")]
    Wait(#[source] io::Error),
    /// Signals could not be blocked or read.
    #[error("cannot take over signals")]
    Signals(#[source] io::Error),
    /// A setting of this process was refused.
    #[error("cannot {what}")]
    Setting {
        /// Which.
        what: &'static str,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
}

fn setting(what: &'static str) -> impl FnOnce(Errno) -> ProcessError {
    move |errno| ProcessError::Setting { what, source: errno.into() }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It returned this.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

impl Exit {
    /// The one number that shells make of it: the exit code, or 128 and the signal's number.
    pub const fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(number) => 128 + number,
        }
    }
}

/// The end of any process, which is another's child. A number may be another process's by the time that
/// this is made: the caller has to look again afterwards.
#[derive(Debug)]
pub struct End(OwnedFd);

impl End {
    /// Of the process with that number (pidfd_open(2)).
    ///
    /// Fails if there is none.
    pub fn of(pid: i32) -> io::Result<Self> {
        // rustix takes a negative number for its caller's mistake, and panics.
        let pid = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self(rustix::process::pidfd_open(pid, PidfdFlags::empty())?))
    }

    /// Whether it has ended.
    pub fn has_come(&self) -> bool {
        readable(&[self.0.as_fd()], Some(Duration::ZERO)).is_ok_and(|ended| ended == [true])
    }
}

/// A child process, held by a descriptor: its number cannot be mistaken for a later process's.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    pidfd: OwnedFd,
}

impl AsFd for Child {
    /// The pidfd: readable once the process has ended (pidfd_open(2)).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Child {
    /// Its number in the caller's pid namespace.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Sends it a signal by number, real-time ones included (pidfd_send_signal(2)). That it has
    /// ended already is no error.
    pub fn signal(&self, number: u8) -> Result<(), ProcessError> {
        // JUSTIFICATION: rustix has no safe value for real-time signals.
        // SAFETY: the descriptor is open and ours; no memory is passed.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.pidfd.as_raw_fd(),
                libc::c_int::from(number),
                core::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        match io::Error::last_os_error() {
            _ if result == 0 => Ok(()),
            error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            source => Err(ProcessError::Signal { number, source }),
        }
    }

    /// Waits until it has ended and takes its status (waitid(2)).
    pub fn wait(&self) -> Result<Exit, ProcessError> {
        loop {
            if let Some(exit) = self.wait_with(WaitIdOptions::EXITED)? {
                return Ok(exit);
            }
        }
    }

    /// Takes its status if it has ended.
    pub fn try_wait(&self) -> Result<Option<Exit>, ProcessError> {
        self.wait_with(WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
    }

    fn wait_with(&self, options: WaitIdOptions) -> Result<Option<Exit>, ProcessError> {
        let status = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options)
        })
        .map_err(|errno| ProcessError::Wait(errno.into()))?;
        Ok(status.and_then(|status| {
            let code = status.exit_status().map(Exit::Code);
            code.or_else(|| status.terminating_signal().map(Exit::Signal))
        }))
    }
}

/// A process that is no child of this one, held by a descriptor.
#[derive(Debug)]
pub struct Held(Child);

impl Held {
    /// By its number in this process's pid namespace. Whether it is still the one that was meant is for the
    /// caller to find out, once it is held.
    pub fn open(pid: i32) -> Result<Self, ProcessError> {
        let failed = |source| ProcessError::Signal { number: 9, source };
        let pid = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        rustix::process::pidfd_open(pid, PidfdFlags::empty())
            .map(|pidfd| Self(Child { pid, pidfd }))
            .map_err(|errno| failed(errno.into()))
    }

    /// Kills it, and its process group if it leads one. That it has ended is no error.
    pub fn kill_with_group(&self) -> Result<(), ProcessError> {
        let group = rustix::process::getpgid(Some(self.0.pid));
        // It may end by itself before the next line, and its number be given out again: that takes the
        // kernel a whole round of numbers. (It has no call yet that signals a group by a descriptor.)
        if group == Ok(self.0.pid) {
            kill_group(self.0.pid())?;
        }
        self.0.signal(9)
    }
}

/// Takes the status of any one child that has ended, of whatever process group, for a PID 1 that
/// reaps what it inherits (waitpid(2)). `None` if none has, or there is no child.
pub fn reap_any() -> Result<Option<(i32, Exit)>, ProcessError> {
    match rustix::io::retry_on_intr(|| rustix::process::wait(WaitOptions::NOHANG)) {
        Ok(Some((pid, status))) => {
            let code = status.exit_status().map(Exit::Code);
            let exit = code.or_else(|| status.terminating_signal().map(Exit::Signal));
            Ok(exit.map(|exit| (pid.as_raw_nonzero().get(), exit)))
        }
        Ok(None) | Err(Errno::CHILD) => Ok(None),
        Err(errno) => Err(ProcessError::Wait(errno.into())),
    }
}

/// Forks; the child runs `child` and exits with what it returns (101 if it panics). Of the open
/// descriptors the child keeps 0 to 2 and `keep`; using or dropping another one in `child` is a
/// bug, so it should only borrow.
///
/// Fails if this process has more than one thread, or /proc is not one that it is in.
pub fn fork(keep: &[BorrowedFd<'_>], child: impl FnOnce() -> u8) -> Result<Child, ProcessError> {
    Threads::of_this_process()?.fork(keep, child)
}

/// The threads of this process, held open: a process that has made a pid namespace sees the /proc of
/// that later, and is itself not in it.
#[derive(Debug)]
pub struct Threads(OwnedFd);

impl Threads {
    /// To be called while /proc is still one that this process is in.
    pub fn of_this_process() -> Result<Self, ProcessError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open("/proc/self/task", flags, Mode::empty())
            .map(Self)
            .map_err(|errno| ProcessError::Fork(errno.into()))
    }

    fn count(&self) -> Result<usize, ProcessError> {
        let counted = || -> Result<usize, Errno> {
            let mut count = 0;
            for entry in Dir::read_from(&self.0)? {
                let name = entry?.file_name().to_bytes().first().copied();
                count += usize::from(name.is_some_and(|byte| byte.is_ascii_digit()));
            }
            Ok(count)
        };
        counted().map_err(|errno| ProcessError::Fork(errno.into()))
    }

    /// As [`fork`], wherever /proc is by now.
    pub fn fork(
        &self,
        keep: &[BorrowedFd<'_>],
        child: impl FnOnce() -> u8,
    ) -> Result<Child, ProcessError> {
        match self.count()? {
            1 => fork_one_thread(keep, child),
            threads => Err(ProcessError::Threads(threads)),
        }
    }
}

/// Forks a process that is known to have one thread.
fn fork_one_thread(
    keep: &[BorrowedFd<'_>],
    child: impl FnOnce() -> u8,
) -> Result<Child, ProcessError> {
    // JUSTIFICATION: a pid namespace gets its PID 1 by fork; there is no safe fork.
    // SAFETY: this process has one thread, so that no lock of the allocator or of std is held by a
    // thread that the child lacks. The child never returns from this function.
    match unsafe { nix::unistd::fork() } {
        Ok(ForkResult::Child) => {
            close_all_but(keep);
            let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or(101);
            // JUSTIFICATION: exit handlers and buffers belong to the parent.
            // SAFETY: _exit(2) ends this process; nothing runs after it.
            unsafe { libc::_exit(code.into()) }
        }
        Ok(ForkResult::Parent { child }) => {
            let failed = || ProcessError::Fork(io::ErrorKind::InvalidData.into());
            let pid = Pid::from_raw(child.as_raw()).ok_or_else(failed)?;
            // Nobody else waits for children here, so the number is still this child's.
            match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
                Ok(pidfd) => Ok(Child { pid, pidfd }),
                Err(errno) => {
                    // One that nobody holds must not run on: nobody would reap it, and the end of its
                    // namespace waits for that.
                    rustix::process::kill_process(pid, Signal::KILL).ok();
                    rustix::process::waitpid(Some(pid), WaitOptions::empty()).ok();
                    Err(ProcessError::Fork(errno.into()))
                }
            }
        }
        Err(errno) => Err(ProcessError::Fork(errno.into())),
    }
}

/// Closes every descriptor above 2 that is not in `keep`.
fn close_all_but(keep: &[BorrowedFd<'_>]) {
    let mut kept: Vec<u32> =
        keep.iter().filter_map(|fd| u32::try_from(fd.as_raw_fd()).ok()).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept.into_iter().filter(|fd| *fd >= 3) {
        close_range(first, fd.saturating_sub(1), 0);
        first = fd.saturating_add(1);
    }
    close_range(first, u32::MAX, 0);
}

/// Closes every descriptor but 0 to 2: those that a careless parent left open. To be called before
/// anything is opened; what was opened earlier is lost to its owner.
pub fn close_inherited() {
    close_all_but(&[]);
}

/// close_range(2); an empty range is none.
fn close_range(first: u32, last: u32, flags: u32) {
    if first > last {
        return;
    }
    // JUSTIFICATION: descriptors that a library opened are known to nobody, and a child must not
    // have them. No crate wraps close_range(2), as it closes what others own.
    // SAFETY: called only in a forked child that uses what it kept and then ends, at the very
    // start of a program, or with CLOSE_RANGE_CLOEXEC, which closes nothing here. No memory is
    // passed. A kernel without the call (before 5.9) has no MOUNT_ATTR_NOSYMFOLLOW either and is
    // refused elsewhere.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
}

/// Files and folders that this process makes are for its own user only (umask(2)).
pub fn make_files_private() {
    rustix::process::umask(Mode::from_raw_mode(0o077));
}

/// Makes this process the leader of a new session, away from any terminal (setsid(2)).
pub fn new_session() -> Result<(), ProcessError> {
    rustix::process::setsid().map(drop).map_err(setting("start a session"))
}

/// Has the kernel kill this process when its parent ends (`PR_SET_PDEATHSIG`). The parent may have
/// ended before: the caller must check that it still lives.
pub fn die_with_parent() -> Result<(), ProcessError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(setting("tie this process to its parent"))
}

/// Makes this process the parent of its descendants' orphans (`PR_SET_CHILD_SUBREAPER`).
pub fn adopt_orphans() -> Result<(), ProcessError> {
    // The number only says "on".
    rustix::process::set_child_subreaper(Some(Pid::INIT)).map_err(setting("adopt orphans"))
}

/// The children of this process's first thread, adopted ones included (proc(5), `children`). Those
/// that have ended are among them until their status is taken.
///
/// Fails where the kernel does not tell, or /proc is not mounted.
pub fn children() -> Result<Vec<i32>, ProcessError> {
    let path = format!("/proc/self/task/{}/children", std::process::id());
    let text = std::fs::read_to_string(path)
        .map_err(|source| ProcessError::Setting { what: "list the children", source })?;
    Ok(text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect())
}

/// Sends a signal to a child by its number (kill(2)). Only for a child whose status was not taken
/// yet: until then its number is nobody else's. That it has ended is no error.
pub fn signal_child(pid: i32, number: u8) -> Result<(), ProcessError> {
    let failed = |source| ProcessError::Signal { number, source };
    let unknown = || failed(io::ErrorKind::InvalidInput.into());
    let signal = Signal::from_named_raw(number.into()).ok_or_else(unknown)?;
    // Zero and negative numbers would mean groups of processes.
    let pid = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw).ok_or_else(unknown)?;
    match rustix::process::kill_process(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// Waits until a child has ended, and leaves its status to be taken (waitid(2), `WNOWAIT`): until
/// that is done its number is nobody else's.
pub fn wait_for_end(pid: i32) -> Result<(), ProcessError> {
    let unknown = || ProcessError::Wait(io::ErrorKind::InvalidInput.into());
    let pid = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw).ok_or_else(unknown)?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    loop {
        match rustix::process::waitid(WaitId::Pid(pid), options) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(ProcessError::Wait(errno.into())),
        }
    }
}

/// Kills all processes of a group (kill(2)), by the number of the child that began it. Only while
/// that child's status was not taken yet, as for [`signal_child`]. That all have ended is no error.
pub fn kill_group(leader: i32) -> Result<(), ProcessError> {
    let failed = |source| ProcessError::Signal { number: 9, source };
    let group = Some(leader).filter(|pid| *pid > 0).and_then(Pid::from_raw);
    let group = group.ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    match rustix::process::kill_process_group(group, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// Makes three descriptors the standard input, output and error of this process (dup2(2)).
pub fn replace_stdio(
    input: BorrowedFd<'_>,
    output: BorrowedFd<'_>,
    error: BorrowedFd<'_>,
) -> Result<(), ProcessError> {
    rustix::stdio::dup2_stdin(input)
        .and_then(|()| rustix::stdio::dup2_stdout(output))
        .and_then(|()| rustix::stdio::dup2_stderr(error))
        .map_err(setting("replace standard input and output"))
}

/// A pipe, close-on-exec: what is written to the second can be read from the first (pipe2(2)).
/// Reading does not block if `nonblocking`.
pub fn pipe(nonblocking: bool) -> Result<(File, File), ProcessError> {
    let made = || -> Result<(OwnedFd, OwnedFd), Errno> {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&reader, nonblocking)?;
        Ok((reader, writer))
    };
    let (reader, writer) = made().map_err(setting("make a pipe"))?;
    Ok((reader.into(), writer.into()))
}

/// Signals of this process as a stream: blocked, and read from a descriptor (signalfd(2)).
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks every signal that can be blocked. Reading does not block.
    pub fn block_all() -> Result<Self, ProcessError> {
        let all = SigSet::all();
        all.thread_block().map_err(|errno| ProcessError::Signals(errno.into()))?;
        SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map(Self)
            .map_err(|errno| ProcessError::Signals(errno.into()))
    }

    /// The next pending signal's number, if there is one.
    pub fn next_pending(&self) -> Result<Option<u8>, ProcessError> {
        match self.0.read_signal() {
            Ok(signal) => Ok(signal.and_then(|signal| u8::try_from(signal.ssi_signo).ok())),
            Err(errno) => Err(ProcessError::Signals(errno.into())),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Blocks no signal: a program that is started by one that blocks them inherits that.
pub fn unblock_signals() -> Result<(), ProcessError> {
    SigSet::empty().thread_set_mask().map_err(|errno| ProcessError::Signals(errno.into()))
}

/// What a task's program may at most do beyond an ordinary user's rights, should it run as root or
/// start a setuid program: the capabilities that Docker leaves to a container. Mounting, loading
/// modules, tracing other processes and configuring the network are not among them.
pub const TASK_CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// Where a program is looked for when its environment does not say.
pub const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program to become: everything it has is named here, nothing is inherited but 0 to 2.
#[derive(Debug, Clone)]
pub struct Program {
    /// The program and its arguments. One without a slash is looked for in the `PATH` of `env`.
    pub argv: Vec<CString>,
    /// Its environment, `KEY=VALUE` each.
    pub env: Vec<CString>,
    /// Its working directory.
    pub dir: PathBuf,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Every group it is in.
    pub groups: Vec<u32>,
    /// Its limit on core dumps.
    pub core_limit: CoreLimit,
}

/// This process could not become the program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// There is nothing to execute.
    #[error("no command was given")]
    NoCommand,
    /// The core limit could not be restored.
    #[error("cannot restore the core limit")]
    CoreLimit(#[source] HardenError),
    /// Capabilities could not be given up.
    #[error("cannot give up capabilities")]
    Capabilities(#[source] io::Error),
    /// The user or its groups could not be taken on.
    #[error("cannot become user {uid} with group {gid}")]
    BecomeUser {
        /// The user.
        uid: u32,
        /// Its group.
        gid: u32,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The working directory is not there, or not for this user.
    #[error("cannot enter the working directory {}", dir.display())]
    EnterDir {
        /// The directory.
        dir: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// Signals could not be set back.
    #[error("cannot reset signals")]
    Signals(#[source] io::Error),
    /// There is no such program.
    #[error("cannot find the command {0:?}")]
    NotFound(CString),
    /// The program is there and cannot be executed.
    #[error("cannot execute {program:?}")]
    Execute {
        /// The program.
        program: CString,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
}

impl ExecError {
    /// The exit code that shells give for it: 127 for a command that is not there, else 126.
    pub const fn shell_code(&self) -> i32 {
        match self {
            Self::NotFound(_) => 127,
            _ => 126,
        }
    }
}

impl Program {
    /// Becomes the program (execve(2)); returns only if that fails, and the process is then good
    /// for nothing but to say so and exit.
    pub fn exec(&self) -> ExecError {
        match self.prepare() {
            Ok(()) => self.execute(),
            Err(error) => error,
        }
    }

    fn prepare(&self) -> Result<(), ExecError> {
        self.core_limit.apply().map_err(ExecError::CoreLimit)?;
        limit_capabilities().map_err(|errno| ExecError::Capabilities(errno.into()))?;
        self.become_user().map_err(|errno| ExecError::BecomeUser {
            uid: self.uid,
            gid: self.gid,
            source: errno.into(),
        })?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        // As the user: entering it must not need a right that the program lacks.
        rustix::process::chdir(&self.dir)
            .map_err(|errno| ExecError::EnterDir { dir: self.dir.clone(), source: errno.into() })?;
        reset_signals().map_err(|errno| ExecError::Signals(errno.into()))?;
        close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        Ok(())
    }

    fn become_user(&self) -> Result<(), nix::Error> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
        let unchanged = Uid::effective() == uid && Gid::effective() == gid;
        match nix::unistd::setgroups(&groups) {
            // A rootless agent may not change its groups; a task of its own user keeps them.
            Err(nix::Error::EPERM) if unchanged => {}
            result => result?,
        }
        nix::unistd::setresgid(gid, gid, gid)?;
        nix::unistd::setresuid(uid, uid, uid)
    }

    fn execute(&self) -> ExecError {
        let Some(command) = self.argv.first() else {
            return ExecError::NoCommand;
        };
        let mut denied = None;
        for program in self.candidates(command) {
            let Err(errno) = nix::unistd::execve(&program, &self.argv, &self.env);
            match errno {
                // It is what the script names in its first line that is not there.
                nix::Error::ENOENT if rustix::fs::stat(&program).is_ok() => {
                    let source = io::Error::other("its interpreter is missing");
                    return ExecError::Execute { program, source };
                }
                nix::Error::ENOENT | nix::Error::ENOTDIR => {}
                // Another folder may have one that can be executed (execvp(3)).
                nix::Error::EACCES => denied = Some(program),
                errno => {
                    return ExecError::Execute { program, source: errno.into() };
                }
            }
        }
        match denied {
            Some(program) => {
                ExecError::Execute { program, source: io::ErrorKind::PermissionDenied.into() }
            }
            None => ExecError::NotFound(command.clone()),
        }
    }

    fn candidates(&self, command: &CString) -> Vec<CString> {
        let name = command.as_bytes();
        if name.is_empty() || name.contains(&b'/') {
            return vec![command.clone()];
        }
        let path = self.env.iter().find_map(|entry| entry.as_bytes().strip_prefix(b"PATH="));
        let path = path.unwrap_or(PATH_DEFAULT.as_bytes());
        let candidates = path.split(|byte| *byte == b':').map(|folder| {
            let folder = if folder.is_empty() { b"." } else { folder };
            // Pieces of C strings hold no NUL.
            CString::new([folder, b"/", name].concat()).unwrap_or_default()
        });
        candidates.collect()
    }
}

/// Limits what this process and its descendants can ever have to [`TASK_CAPABILITIES`]
/// (capabilities(7)): bounding, inheritable and ambient sets.
fn limit_capabilities() -> Result<(), Errno> {
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if TASK_CAPABILITIES.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // One past the last that this kernel knows.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    rustix::thread::clear_ambient_capability_set()?;
    let mut sets = rustix::thread::capabilities(None)?;
    sets.inheritable = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, sets)
}

/// Every signal to its default action, none blocked. Rust's runtime ignores SIGPIPE, and what is
/// ignored stays ignored across exec.
fn reset_signals() -> Result<(), nix::Error> {
    /// The kernel's `struct sigaction` of SIG_DFL: zeros throughout, on every architecture.
    const DEFAULT: [u64; 4] = [0; 4];
    for number in 1..=64 {
        // JUSTIFICATION: nix knows no real-time signals, and the C library keeps two for itself
        // that it resets for nobody.
        // SAFETY: the structure is at least as long as the kernel's and is only read; SIG_DFL is
        // no handler of ours that could run. SIGKILL and SIGSTOP are refused, which is as well.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                DEFAULT.as_ptr(),
                core::ptr::null_mut::<u64>(),
                size_of::<u64>(),
            )
        };
    }
    SigSet::empty().thread_set_mask()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(path: Option<&str>) -> Program {
        let env = path.map(|path| CString::new(format!("PATH={path}")).unwrap());
        Program {
            argv: vec![c"tool".into()],
            env: env.into_iter().collect(),
            dir: "/".into(),
            uid: 0,
            gid: 0,
            groups: vec![],
            core_limit: CoreLimit { soft: None, hard: None },
        }
    }

    #[test]
    fn a_bare_name_is_looked_for_in_the_declared_path() {
        let given = program(Some("/a::/b"));
        assert_eq!(given.candidates(&c"tool".into()), [c"/a/tool", c"./tool", c"/b/tool"]);
        assert_eq!(given.candidates(&c"./tool".into()), [c"./tool"]);
        assert_eq!(given.candidates(&c"".into()), [c""]);
        let none = program(None);
        assert_eq!(none.candidates(&c"tool".into()).len(), 6);
    }

    #[test]
    fn a_process_with_threads_does_not_fork() {
        // The test harness has at least two.
        let error = fork(&[], || 0).unwrap_err();
        assert!(matches!(error, ProcessError::Threads(threads) if threads > 1), "{error}");
    }

    #[test]
    fn exits_are_told_as_shells_tell_them() {
        assert_eq!(Exit::Code(3).shell_code(), 3);
        assert_eq!(Exit::Signal(9).shell_code(), 137);
    }
}
