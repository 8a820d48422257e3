//! Where a manager's keys live: one slab of the best memory the kernel gives.

use std::sync::OnceLock;

use seal::KeyMemory;
use sys::slab::{Protection, Slab, SlabError};

/// Keys a manager holds at a time: root, log and transit keys, and those of a rotation, with the
/// connections to the transit key. What does not fit lives in ordinary memory, wiped on drop.
const SLOTS: usize = 4_096;

struct SlabMemory(Slab);

static MEMORY: OnceLock<SlabMemory> = OnceLock::new();

impl KeyMemory for SlabMemory {
    fn take(&self) -> Option<&'static mut [u8; 32]> {
        self.0.take()
    }

    fn give_back(&self, slot: &'static mut [u8; 32]) {
        self.0.give_back(slot);
    }
}

/// Installs the slab, once a process, and says how well it is protected.
///
/// # Errors
///
/// If there is no memory at all.
pub(crate) fn install() -> Result<Protection, SlabError> {
    if MEMORY.get().is_none() {
        let slab = Slab::allocate(SLOTS)?;
        // Another thread may have been quicker: its slab serves as well.
        drop(MEMORY.set(SlabMemory(slab)));
    }
    let Some(memory) = MEMORY.get() else { return Ok(Protection::None) };
    seal::install_key_memory(memory);
    Ok(memory.0.protection())
}

/// Keys that still fit; none without a slab.
pub(crate) fn free_slots() -> Option<usize> {
    MEMORY.get().map(|memory| memory.0.available())
}
