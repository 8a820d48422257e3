//! The three programs in one, for the tests that span crates: which one it is, is its name.
//!
//! Cargo builds a test's own package before the test and nothing else for certain; a binary of
//! this package is never stale. Each program is called as its own binary calls it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

/// What is freed is wiped.
#[global_allocator]
static ALLOCATOR: sys::alloc::ZeroizingAllocator = sys::alloc::ZeroizingAllocator::new();

/// The word after which an agent's own children hand over to it: they are started by the
/// program's file, not by a name.
const AGENT: &str = "agent";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let name = arguments.first().and_then(|name| Path::new(name).file_name());
    match name.and_then(OsStr::to_str) {
        Some("secretd") => store::main(arguments),
        Some("secretctl") => secretctl::main(),
        _ => {
            let own = usize::from(arguments.get(1).is_some_and(|word| word == AGENT));
            let program = agent::Program { args: vec![AGENT.into()], core_limit: None };
            agent::run(arguments.into_iter().skip(1 + own), program)
        }
    }
}
