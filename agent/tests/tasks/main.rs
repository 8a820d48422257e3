//! Real tasks under real supervisors: what a task sees, how it ends, what an agent finds again.
//!
//! The test process is the agent; supervisors are the crate's own binary. Tests that need an agent
//! to be killed, another user, or another `/run`, start this very program again as the agent
//! ([`support::child`]). Nothing is mounted in the host's namespace.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod endings;
mod exec;
mod filesystem;
mod isolation;
mod output;
mod rootless;
mod support;
mod takeover;
