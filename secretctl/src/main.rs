//! `secretctl`: the operator's tool of secretd.

/// What is freed is wiped.
#[global_allocator]
static ALLOCATOR: sys::alloc::ZeroizingAllocator = sys::alloc::ZeroizingAllocator::new();

fn main() -> std::process::ExitCode {
    secretctl::main()
}
