//! The kernel boundary: locked memory, tmpfs, namespaces, process hardening, durable file writes.
//!
//! What the programs of secretd ask of Linux beyond plain files goes through here, so that each
//! sharp edge is met once. It is the only crate where `unsafe` may stand, and only in the modules
//! that announce it; each use says why it is needed (JUSTIFICATION) and why it is sound (SAFETY).
//!
//! Not here: decisions. What should be mounted, started or stored is the callers' business; this
//! crate knows no secret, no task and no cluster, and imports nothing of ours.
//!
//! Invariant: what the kernel refuses comes back as a typed error that names the operation and
//! what it was about. Capabilities are tried, never inferred.

pub mod alloc;
pub mod file;
pub mod harden;
pub mod host;
pub mod mount;
pub mod mountpoint;
pub mod namespace;
pub mod notify;
pub mod poll;
pub mod process;
pub mod program;
pub mod require;
pub mod slab;
pub mod socket;
pub mod tty;
pub mod user;
