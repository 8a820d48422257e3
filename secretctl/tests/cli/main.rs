//! The program as its users meet it: arguments and standard input in, standard output, standard
//! error and exit status out, with a manager at the other end that is small but takes real bytes.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::string_slice,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod backups;
mod ca_rotation;
mod certificate_rotation;
mod configs;
#[cfg(feature = "cluster")]
mod demo;
mod exec;
mod failover;
mod fake;
mod generated;
mod interrupt;
mod json;
mod local;
mod program;
mod read_back;
mod remote;
mod removed;
mod restores;
mod root_keys;
mod rotating;
mod terminal;
mod transcripts;
mod world;
