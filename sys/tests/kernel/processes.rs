//! Forked children, signals, pid namespaces, hardening.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sys::harden::{CoreLimit, NewPrivileges, harden};
use sys::process::{self, End, Exit, Signals, fork};
use sys::require::root;
use sys::slab::Slab;
use sys::{namespace, socket};

use crate::Test;
use crate::rootless::become_ordinary;

pub(crate) const TESTS: &[Test] = &[
    ("a_child_is_watched_by_descriptor", a_child_is_watched_by_descriptor),
    ("the_end_of_any_process_is_seen", the_end_of_any_process_is_seen),
    ("a_child_keeps_only_what_it_is_given", a_child_keeps_only_what_it_is_given),
    ("what_a_careless_parent_left_open_is_closed", what_a_careless_parent_left_open_is_closed),
    ("a_child_dies_with_its_parent", a_child_dies_with_its_parent),
    ("orphans_are_listed_and_ended", orphans_are_listed_and_ended),
    ("blocked_signals_can_be_unblocked", blocked_signals_can_be_unblocked),
    ("signals_are_read_as_a_stream", signals_are_read_as_a_stream),
    ("a_pid_namespace_dies_with_its_init", a_pid_namespace_dies_with_its_init),
    ("hardening_is_complete_and_not_inherited", hardening_is_complete_and_not_inherited),
    ("new_privileges_are_given_up_only_where_asked", new_privileges_are_given_up_only_where_asked),
    ("a_forked_child_has_no_keys", a_forked_child_has_no_keys),
];

const KILL: u8 = 9;
const TERM: u8 = 15;

fn readable(fd: &impl std::os::fd::AsFd) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
}

/// Blocks until the other end is closed.
fn wait_for_close(mut fd: &File) {
    let _count = fd.read(&mut [0]).unwrap();
}

fn pipe() -> (File, File) {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    (reader.into(), writer.into())
}

fn a_child_is_watched_by_descriptor() {
    let (reader, writer) = pipe();
    let child = fork(&[reader.as_fd()], || {
        wait_for_close(&reader);
        7
    })
    .unwrap();
    assert!(!readable(&child));
    assert_eq!(child.try_wait().unwrap(), None);
    drop(writer);
    assert_eq!(child.wait().unwrap(), Exit::Code(7));
    assert!(readable(&child));
    child.signal(TERM).expect("a signal to one that has ended is no error");

    let (reader, _writer) = pipe();
    let child = fork(&[reader.as_fd()], || {
        wait_for_close(&reader);
        0
    })
    .unwrap();
    assert!(child.signal(65).is_err(), "there is no such signal");
    child.signal(TERM).unwrap();
    assert_eq!(child.wait().unwrap(), Exit::Signal(15));

    let child = fork(&[], || panic!("this panic is part of the test")).unwrap();
    assert_eq!(child.wait().unwrap(), Exit::Code(101));
}

fn the_end_of_any_process_is_seen() {
    let (reader, writer) = pipe();
    let child = fork(&[reader.as_fd()], || {
        wait_for_close(&reader);
        0
    })
    .unwrap();
    let pid = child.pid();
    let end = End::of(pid).unwrap();
    assert!(!end.has_come());
    drop(writer);
    child.wait().unwrap();
    assert!(end.has_come());
    assert!(End::of(pid).is_err(), "there is none of that number any more");
    assert!(End::of(0).is_err() && End::of(-1).is_err());
}

fn a_child_keeps_only_what_it_is_given() {
    let files: Vec<File> = (0..5).map(|_| File::open("/dev/null").unwrap()).collect();
    let child = fork(&[files[3].as_fd(), files[1].as_fd()], || {
        let open = |fd: &File| rustix::io::fcntl_getfd(fd).is_ok();
        let kept: Vec<bool> = files.iter().map(open).collect();
        u8::from(kept != [false, true, false, true, false])
    })
    .unwrap();
    assert_eq!(child.wait().unwrap(), Exit::Code(0));
}

fn what_a_careless_parent_left_open_is_closed() {
    let stray = File::open("/dev/null").unwrap();
    let number = std::os::fd::IntoRawFd::into_raw_fd(stray);
    assert!(fs::exists(format!("/proc/self/fd/{number}")).unwrap());
    process::close_inherited();
    assert!(!fs::exists(format!("/proc/self/fd/{number}")).unwrap());
}

fn a_child_dies_with_its_parent() {
    process::adopt_orphans().unwrap();
    let (reader, _writer) = pipe();
    let (told, tell) = socket::pair().unwrap();
    let parent = fork(&[reader.as_fd(), told.as_fd(), tell.as_fd()], || {
        let child = fork(&[reader.as_fd(), tell.as_fd()], || {
            process::die_with_parent().unwrap();
            tell.send(b"tied", &[]).unwrap();
            wait_for_close(&reader);
            0
        });
        let _child = child.unwrap();
        told.receive(&mut [0; 8]).unwrap();
        0
    })
    .unwrap();
    // It ends once its child is tied to it; the orphan becomes ours, killed.
    assert_eq!(parent.wait().unwrap(), Exit::Code(0));
    let (_, status) =
        rustix::process::wait(rustix::process::WaitOptions::empty()).unwrap().unwrap();
    assert_eq!(status.terminating_signal(), Some(9));

    assert_eq!(process::reap_any().unwrap(), None);
    let child = fork(&[], || {
        // It is ours whatever its process group.
        process::new_session().unwrap();
        5
    })
    .unwrap();
    poll(&mut [PollFd::new(&child, PollFlags::IN)], None).unwrap();
    assert_eq!(process::reap_any().unwrap(), Some((child.pid(), Exit::Code(5))));
}

fn orphans_are_listed_and_ended() {
    process::adopt_orphans().unwrap();
    assert_eq!(process::children().unwrap(), []);
    let (reader, _writer) = pipe();
    let (go, stay) = pipe();
    let parent = fork(&[reader.as_fd(), go.as_fd()], || {
        let child = fork(&[reader.as_fd()], || {
            wait_for_close(&reader);
            0
        });
        wait_for_close(&go);
        u8::from(child.is_err())
    })
    .unwrap();
    // While it lives its child is its own.
    assert_eq!(process::children().unwrap(), [parent.pid()]);
    drop(stay);
    assert_eq!(parent.wait().unwrap(), Exit::Code(0));
    let orphans = process::children().unwrap();
    assert_eq!(orphans.len(), 1);
    process::signal_child(orphans[0], TERM).unwrap();
    rustix::process::waitid(
        rustix::process::WaitId::All,
        rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT,
    )
    .unwrap();
    // It is there until its status is taken.
    assert_eq!(process::children().unwrap(), orphans);
    process::signal_child(orphans[0], KILL).unwrap();
    assert_eq!(process::reap_any().unwrap(), Some((orphans[0], Exit::Signal(15))));
    assert_eq!(process::children().unwrap(), []);
    for group in [0, -1] {
        assert!(process::signal_child(group, TERM).is_err());
    }
}

fn blocked_signals_can_be_unblocked() {
    let child = fork(&[], || {
        let _signals = Signals::block_all().unwrap();
        process::unblock_signals().unwrap();
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)
            .unwrap();
        0
    });
    assert_eq!(child.unwrap().wait().unwrap(), Exit::Signal(15));
}

fn signals_are_read_as_a_stream() {
    let signals = Signals::block_all().unwrap();
    assert_eq!(signals.next_pending().unwrap(), None);
    let own = std::process::id().to_string();
    for signal in ["-TERM", "-USR1", "-40"] {
        let status = std::process::Command::new("kill").args([signal, &own]).status().unwrap();
        assert!(status.success());
    }
    assert!(readable(&signals));
    let mut seen: Vec<u8> = std::iter::from_fn(|| signals.next_pending().unwrap()).collect();
    seen.retain(|number| *number != 17);
    seen.sort_unstable();
    assert_eq!(seen, [10, 15, 40]);
}

fn a_pid_namespace_dies_with_its_init() {
    if !root("a_pid_namespace_dies_with_its_init") {
        return;
    }
    namespace::unshare_mounts().unwrap();
    namespace::unshare_pids().unwrap();
    let (one, other) = socket::pair().unwrap();
    let init = fork(&[other.as_fd()], || {
        assert_eq!(std::process::id(), 1);
        namespace::mount_proc().unwrap();
        let mut pids: Vec<String> = fs::read_dir("/proc")
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.parse::<u32>().is_ok())
            .collect();
        assert_eq!(pids.pop().as_deref(), Some("1"));
        assert!(pids.is_empty());
        let grandchild = fork(&[other.as_fd()], || {
            other.send(b"ready", &[]).unwrap();
            // Held open by this process alone; its end says that the process is gone.
            other.receive(&mut [0; 8]).unwrap();
            0
        });
        u8::from(grandchild.unwrap().wait().is_err())
    })
    .unwrap();
    drop(other);
    assert!(one.receive(&mut [0; 8]).unwrap().is_some());
    init.signal(KILL).unwrap();
    assert_eq!(init.wait().unwrap(), Exit::Signal(9));
    assert!(one.receive(&mut [0; 8]).unwrap().is_none(), "the kernel killed the grandchild");
}

fn hardening_is_complete_and_not_inherited() {
    // Some machines start everything with a hard limit of 0, which only root can raise.
    let inherited = CoreLimit::current();
    let before = CoreLimit { soft: inherited.hard, hard: inherited.hard };
    before.apply().unwrap();
    become_ordinary();
    let hardened = harden(NewPrivileges::Allow).unwrap();
    assert_eq!(hardened.to_string(), "core limit 0, not dumpable");
    assert_eq!(hardened.inherited_core_limit, before);
    assert_eq!(CoreLimit::current(), CoreLimit { soft: Some(0), hard: before.hard });
    assert_eq!(
        rustix::process::dumpable_behavior().unwrap(),
        rustix::process::DumpableBehavior::NotDumpable
    );
    // What is not dumpable belongs to root in /proc; a program started from here is its user's.
    assert_eq!(fs::metadata("/proc/self/environ").unwrap().uid(), 0);
    let own = rustix::process::geteuid().as_raw();
    let child = std::process::Command::new("stat").args(["-c%u", "/proc/self/environ"]).output();
    assert_eq!(String::from_utf8(child.unwrap().stdout).unwrap().trim(), own.to_string());
    // The agent starts its supervisors in this way, also without root.
    let again = std::process::Command::new("/proc/self/exe").args(["--list", "none"]).status();
    assert!(again.unwrap().success());
    hardened.inherited_core_limit.apply().unwrap();
    assert_eq!(CoreLimit::current(), before);
    let above = CoreLimit { soft: None, hard: None };
    if before.hard.is_some() {
        assert!(above.apply().is_err(), "an ordinary user does not raise the hard limit");
    }
}

fn new_privileges_are_given_up_only_where_asked() {
    harden(NewPrivileges::Allow).unwrap();
    assert!(!rustix::thread::no_new_privs().unwrap());
    let hardened = harden(NewPrivileges::Deny).unwrap();
    assert!(rustix::thread::no_new_privs().unwrap());
    assert_eq!(hardened.to_string(), "core limit 0, not dumpable, no new privileges");
}

fn a_forked_child_has_no_keys() {
    let slab = Slab::allocate(1).unwrap();
    let slot = slab.take().unwrap();
    slot.fill(7);
    let child = fork(&[], || slot[0]).unwrap();
    assert_eq!(child.wait().unwrap(), Exit::Signal(11), "the region is not mapped there");
    assert_eq!(slot[0], 7);
}
