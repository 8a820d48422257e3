//! What the kernel does for us and what it refuses, each test in a forked process of its own.
//!
//! The built-in harness runs tests on threads, and a process with threads neither forks nor makes
//! a user namespace. This one has a single thread: it forks for each test, so that a test may
//! harden, unshare and mount as it likes; nothing of it outlives the child.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests, outside of the harness that clippy knows"
)]

mod exec;
mod mounts;
mod processes;
mod rootless;

use std::process::ExitCode;

use sys::process::{Exit, fork};

type Test = (&'static str, fn());

const GROUPS: &[&[Test]] = &[mounts::TESTS, rootless::TESTS, processes::TESTS, exec::TESTS];

/// Understands as much of the harness's arguments as cargo and nextest use.
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    // nextest lists with `--format terse`.
    let names = args.iter().filter(|arg| !arg.starts_with('-') && *arg != "terse");
    let filters: Vec<&String> = names.collect();
    let wanted = |name: &str| {
        filters.is_empty()
            || filters.iter().any(|f| if has("--exact") { *f == name } else { name.contains(*f) })
    };
    let tests = GROUPS.iter().copied().flatten().filter(|(name, _)| wanted(name));
    if has("--list") {
        if !has("--ignored") {
            tests.for_each(|(name, _)| println!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, test) in tests {
        let child = fork(&[], || {
            test();
            0
        });
        let exit = child.and_then(|child| child.wait()).expect("a single-threaded process forks");
        let passed = exit == Exit::Code(0);
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    println!("\ntest result: {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
