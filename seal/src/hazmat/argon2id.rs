//! Argon2id (RFC 9106), version 0x13, without secret and associated data, in memory of ours.

use std::collections::TryReserveError;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

use super::{KEY_BYTES, stack};

/// What a guess costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Costs {
    pub(crate) memory_kib: u32,
    pub(crate) passes: u32,
    pub(crate) lanes: u32,
}

/// `out = Argon2id(passphrase, salt)`.
///
/// The caller bounds the costs: memory is allocated here. It is allocated once, and wiped.
pub(crate) fn argon2id(
    costs: Costs,
    passphrase: &[u8],
    salt: &[u8],
    out: &mut [u8; KEY_BYTES],
) -> Result<(), TryReserveError> {
    let Costs { memory_kib, passes, lanes } = costs;
    let params = Params::new(memory_kib, passes, lanes, Some(KEY_BYTES))
        .expect("the costs are bounded where they are read, well within argon2's own bounds");
    stack::wiped_deepest(|| {
        let blocks = params.block_count();
        let mut memory = Zeroizing::new(Vec::new());
        memory.try_reserve_exact(blocks)?;
        memory.resize(blocks, Block::new());
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(passphrase, salt, out, &mut memory[..])
            .expect("salt, tag and memory have the lengths that argon2 wants");
        Ok(())
    })
}
