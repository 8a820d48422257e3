//! `secretd`: a manager.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use sys::alloc::ZeroizingAllocator;

#[global_allocator]
static ALLOCATOR: ZeroizingAllocator = ZeroizingAllocator::new();

fn main() -> ExitCode {
    store::main(std::env::args_os())
}
