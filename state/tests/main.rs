//! The state machine from outside: examples, properties, fixtures.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod backup;
mod boot;
mod bounds;
mod ca_rotation;
mod certificate_rotation;
mod configs;
mod examples;
mod exec;
mod fixtures;
mod global;
mod incarnation;
mod log_keys;
mod networks;
mod placement;
mod properties;
mod read_back;
mod restarts;
mod restore;
mod root_keys;
mod rotation;
mod shredding;
mod slots;
mod swarm_bodies;
mod updates;
mod way_back;
mod world;
