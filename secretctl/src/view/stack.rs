//! Stacks, and what was done to their parts.

use serde::Serialize;

/// A stack.
#[derive(Serialize)]
pub(crate) struct Stack {
    pub(crate) name: String,
    pub(crate) services: u64,
}

/// What was done to a part of a stack.
#[derive(Serialize)]
pub(crate) struct StackChange {
    /// `create`, `rotate`, `update` or `remove`.
    pub(crate) action: &'static str,
    /// `secret` or `service`.
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) id: String,
}
