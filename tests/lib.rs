//! A laboratory: managers, agents and the operator's tool as real processes on this machine.
//!
//! Every laboratory has a folder of its own, unix sockets in it, and ports that the kernel chose;
//! any number of them live beside each other. What a test starts is gone when its laboratory is
//! dropped, tasks and their mounts included. Not here: what is tested.
//!
//! Invariant: nothing is waited for by time alone; what does not come within [`PATIENCE`] fails the
//! test with what the programs said.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this crate is part of tests, which clippy does not take for tests"
)]

mod lab;

pub use lab::{
    Agent, Ctl, Daemon, Lab, Manager, PATIENCE, Ran, Transcript, faketime, set_mode, until,
};
