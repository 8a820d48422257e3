//! Where this program's keys live: a slab from the kernel, out of reach of swap and dumps.
//!
//! The seam between [`sys::slab`], which has the memory, and [`seal`], which has the keys.

use std::sync::OnceLock;

use sys::slab::{Protection, SLOT_BYTES, Slab, SlabError};

/// Keys that fit: one for each held secret, a few for the session. 64 KiB, which is what an
/// ordinary user may lock at least; more keys live in ordinary memory, wiped all the same.
const SLOTS: usize = 2_048;

struct KeySlab(Slab);

static SLAB: OnceLock<KeySlab> = OnceLock::new();

impl seal::KeyMemory for KeySlab {
    fn take(&self) -> Option<&'static mut [u8; SLOT_BYTES]> {
        self.0.take()
    }

    fn give_back(&self, slot: &'static mut [u8; SLOT_BYTES]) {
        self.0.give_back(slot);
    }
}

/// Makes all keys of this process live in a slab, and says how well that is protected.
///
/// A program that embeds the agent may have installed its own before; that one stays, and the
/// program knows what it is.
pub(crate) fn install() -> Result<Protection, SlabError> {
    let slab = if let Some(slab) = SLAB.get() {
        slab
    } else {
        let slab = KeySlab(Slab::allocate(SLOTS)?);
        SLAB.get_or_init(|| slab)
    };
    seal::install_key_memory(slab);
    Ok(slab.0.protection())
}
