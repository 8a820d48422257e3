//! Stacks that are overwritten once a key was used on them.
//!
//! Primitives keep key schedules, states of hashes and scalars in local variables. What they wipe of
//! that is the last place of each: a value that was moved leaves a copy where it was, and so do
//! registers that the compiler puts aside. So each runs a known way below the frame of its caller,
//! and that part of the stack is overwritten when it is done. Not here: values that are returned,
//! which therefore lie on the heap or in the key memory (`key`).
//!
//! Invariant: when a primitive has returned, nothing that it put on the stack is left.

use core::hint::black_box;

/// What a symmetric primitive uses at most, several times over.
const SHALLOW_BYTES: usize = 8 << 10;

/// The same for operations on curves.
const DEEP_BYTES: usize = 32 << 10;

/// The same for argon2id, whose blocks of 1 KiB are kept by the dozen: it was seen to use 34 KiB.
const DEEPEST_BYTES: usize = 128 << 10;

/// Runs a symmetric primitive, and overwrites the stack that it ran on.
#[inline(never)]
pub(super) fn wiped<R>(primitive: impl FnOnce() -> R) -> R {
    let outcome = run(primitive);
    overwrite::<SHALLOW_BYTES>();
    outcome
}

/// Runs an operation on a curve, and overwrites the stack that it ran on.
#[inline(never)]
pub(super) fn wiped_deep<R>(primitive: impl FnOnce() -> R) -> R {
    let outcome = run(primitive);
    overwrite::<DEEP_BYTES>();
    outcome
}

/// Runs argon2id, and overwrites the stack that it ran on.
#[inline(never)]
pub(super) fn wiped_deepest<R>(primitive: impl FnOnce() -> R) -> R {
    let outcome = run(primitive);
    overwrite::<DEEPEST_BYTES>();
    outcome
}

/// A frame of its own, that begins where that of [`overwrite`] does.
#[inline(never)]
fn run<R>(primitive: impl FnOnce() -> R) -> R {
    primitive()
}

#[inline(never)]
fn overwrite<const BYTES: usize>() {
    let mut area = [0_u8; BYTES];
    // The compiler must take it for used.
    black_box(&mut area);
}

#[cfg(test)]
mod tests;
