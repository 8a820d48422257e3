//! What a machine is, as its agent said when it was admitted.
//!
//! Fixed at admission, like the hostname: what an agent says of its machine later is shown at most, so
//! that an agent that lies cannot draw tasks, and with them secrets, to its node one after the other.
//! Not here: what of it is free (`schedule`).
//!
//! Invariant: nothing that is reported after the admission changes it.

use minicbor::{Decode, Encode};

/// Processors, memory and platform of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct Machine {
    /// Billionths of a processor.
    #[n(0)]
    pub nano_cpus: u64,
    /// Bytes of memory.
    #[n(1)]
    pub memory_bytes: u64,
    /// `linux`.
    #[n(2)]
    pub os: String,
    /// As uname(1) says it: `x86_64`, `aarch64`.
    #[n(3)]
    pub architecture: String,
}
