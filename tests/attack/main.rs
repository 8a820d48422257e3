//! What somebody gets who keeps to no rules: nothing, and it is on record.
//!
//! The attacker is a client of this test with a valid certificate of its own: every call, every
//! message, every captured box where it does not belong. Beside it, what holds without an attacker:
//! an old leader that nobody hears delivers nothing, and tasks on one node do not see each other.
//! Not here: the cryptography by itself (`seal`), mounts by themselves (`agent`).
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests, which clippy does not take for tests"
)]

const PROGRAMS: &str = env!("CARGO_BIN_EXE_programs");

mod boot;
mod boxes;
mod calls;
mod client;
mod expired;
mod former_ca;
mod neighbours;
mod new_ca;
mod old_certificate;
mod partition;
mod read_back;
mod renewal;
mod session;
