//! A cluster as its users meet it when things go wrong: real managers and agents, real faults.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests, which clippy does not take for tests"
)]

const PROGRAMS: &str = env!("CARGO_BIN_EXE_programs");

mod backup;
mod ca_rotation;
mod certificate_rotation;
mod disk;
mod exec;
mod expiry;
mod faults;
mod lifecycle;
mod locking;
mod memory;
mod peers;
mod postgres;
mod read_back;
mod recovery;
mod refusals;
mod renewal_kills;
mod root_rotation;
mod rotate_secret;
mod rotation;
mod rotation_kills;
mod shredding;
mod slots;
mod stacks;
mod swarm_locking;
mod tracer;
mod unlock_kills;
mod updates;
