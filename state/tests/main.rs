//! The state machine from outside: examples, properties, fixtures.

mod examples;
mod fixtures;
mod properties;
mod swarm_bodies;
mod world;
