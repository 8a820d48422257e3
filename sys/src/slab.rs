//! One region of memory for 32-byte keys, out of reach of swap, core dumps and other readers.
//!
//! `memfd_secret(2)` where the kernel has it: its pages are in no other mapping, so that not even
//! root reads them through /proc/PID/mem. Else anonymous memory that is locked and left out of
//! dumps; else plain memory. Which it is, is reported, and the program decides whether that will
//! do. Not here: what the keys are for.
//!
//! The region is never given back to the kernel: keys live as long as the process, and a slab per
//! process bounds what is locked.
//!
//! Invariant: a slot is wiped before anybody else gets it, and no slot has two owners.
#![expect(unsafe_code, reason = "maps memory and hands out pieces of it")]

use core::ffi::c_void;
use core::fmt;
use core::ptr::{self, NonNull};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use zeroize::Zeroize as _;

/// Bytes of one slot.
pub const SLOT_BYTES: usize = 32;

/// How well the region is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protection {
    /// Plain memory: it may be swapped out, dumped and read by root.
    None,
    /// Locked in memory and left out of core dumps; root can read it.
    Mlocked,
    /// `memfd_secret(2)`: not even root reads it through another process.
    MemfdSecret,
}

impl Protection {
    /// The name in logs and in `cluster status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Mlocked => "mlocked",
            Self::MemfdSecret => "memfd_secret",
        }
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no memory for a slab.
#[derive(Debug, thiserror::Error)]
#[error("cannot map {bytes} bytes of memory for keys")]
pub struct SlabError {
    bytes: usize,
    #[source]
    source: std::io::Error,
}

/// A region of 32-byte slots.
#[derive(Debug)]
pub struct Slab {
    protection: Protection,
    region: NonNull<u8>,
    slots: usize,
    /// Indices of free slots; the next one taken is the last.
    free: Mutex<Vec<usize>>,
}

// JUSTIFICATION: keys are used by several threads; the pointer alone keeps the compiler from it.
// SAFETY: the region is plain memory that is never unmapped; which part of it is whose is decided
// under the mutex.
unsafe impl Send for Slab {}
// JUSTIFICATION: as above.
// SAFETY: as above.
unsafe impl Sync for Slab {}

impl Slab {
    /// Maps a region of at least `slots` slots with the best protection there is. It stays mapped
    /// for the life of the process, also when the slab is dropped.
    ///
    /// Fails if there is not even plain memory (mmap(2)). That locking is refused
    /// (`RLIMIT_MEMLOCK`, seccomp) is no error: see [`Slab::protection`].
    pub fn allocate(slots: usize) -> Result<Self, SlabError> {
        let page = rustix::param::page_size();
        let bytes = slots.max(1).saturating_mul(SLOT_BYTES).next_multiple_of(page);
        let (region, protection) = map_secret(bytes)
            .map(|region| (region, Protection::MemfdSecret))
            .or_else(|_| map_anonymous(bytes))
            .map_err(|errno| SlabError { bytes, source: errno.into() })?;
        let slots = bytes / SLOT_BYTES;
        Ok(Self { protection, region, slots, free: Mutex::new((0..slots).rev().collect()) })
    }

    /// What protects the region.
    pub const fn protection(&self) -> Protection {
        self.protection
    }

    /// A slot of zeros, or `None` if all are taken. It is the caller's until
    /// [`give_back`](Self::give_back); one that is merely dropped is never reused, nor wiped.
    pub fn take(&self) -> Option<&'static mut [u8; SLOT_BYTES]> {
        let index = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        // JUSTIFICATION: the region is raw memory from the kernel; this makes a slot of it.
        // SAFETY: `index` is below `slots`, so the offset stays within the mapping.
        let slot = unsafe { self.region.add(index * SLOT_BYTES) };
        // JUSTIFICATION: as above.
        // SAFETY: the region is readable, writable, zeroed at birth, never unmapped, and the index
        // was in the free list, so that no other reference to these bytes exists.
        Some(unsafe { slot.cast::<[u8; SLOT_BYTES]>().as_mut() })
    }

    /// Wipes the slot and frees it.
    ///
    /// Panics if the slot is not one of this slab: a key was mixed up.
    pub fn give_back(&self, slot: &'static mut [u8; SLOT_BYTES]) {
        let offset = slot.as_ptr().addr().wrapping_sub(self.region.as_ptr().addr());
        assert!(
            offset < self.slots * SLOT_BYTES && offset.is_multiple_of(SLOT_BYTES),
            "a slot goes back to the slab it came from"
        );
        slot.zeroize();
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(offset / SLOT_BYTES);
    }

    /// Slots that can be taken.
    pub fn available(&self) -> usize {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Maps `bytes` of `memfd_secret(2)`. The pages are locked by their nature and count towards
/// `RLIMIT_MEMLOCK`.
fn map_secret(bytes: usize) -> Result<NonNull<u8>, Errno> {
    // JUSTIFICATION: neither nix nor rustix wraps memfd_secret(2).
    // SAFETY: the call takes one number and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(last_errno)?;
    // JUSTIFICATION: a raw call returns a raw descriptor.
    // SAFETY: the kernel has just made it for us; nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::fs::ftruncate(&fd, bytes as u64)?;
    // JUSTIFICATION: mapping memory is what this module is for.
    // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing.
    let region = unsafe {
        rustix::mm::mmap(
            ptr::null_mut(),
            bytes,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            &fd,
            0,
        )
    }?;
    // The mapping is shared by its nature: without this a forked child would hold the keys too.
    advise(region, bytes, Advice::LinuxDontFork)?;
    touch(region, bytes)
}

/// Maps `bytes` of anonymous memory, locked if the limits allow.
fn map_anonymous(bytes: usize) -> Result<(NonNull<u8>, Protection), Errno> {
    // JUSTIFICATION: mapping memory is what this module is for.
    // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing.
    let region = unsafe {
        rustix::mm::mmap_anonymous(
            ptr::null_mut(),
            bytes,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )
    }?;
    // JUSTIFICATION: mlock(2) takes an address.
    // SAFETY: the range is the mapping made above.
    let locked = unsafe { rustix::mm::mlock(region, bytes) };
    let hidden = advise(region, bytes, Advice::LinuxDontDump)
        .and_then(|()| advise(region, bytes, Advice::LinuxDontFork));
    let protection = match locked.and(hidden) {
        Ok(()) => Protection::Mlocked,
        Err(_) => Protection::None,
    };
    Ok((touch(region, bytes)?, protection))
}

fn advise(region: *mut c_void, bytes: usize, advice: Advice) -> Result<(), Errno> {
    // JUSTIFICATION: madvise(2) takes an address.
    // SAFETY: callers pass a mapping that they have just made; neither advice drops its pages.
    unsafe { rustix::mm::madvise(region, bytes, advice) }
}

/// Writes the whole region once, so that a page the kernel cannot provide fails here, at start,
/// and not in the middle of using a key.
fn touch(region: *mut c_void, bytes: usize) -> Result<NonNull<u8>, Errno> {
    let region = NonNull::new(region.cast::<u8>()).ok_or(Errno::NOMEM)?;
    // JUSTIFICATION: only a write makes the kernel provide the page.
    // SAFETY: the mapping has `bytes` writable bytes and no other user yet.
    unsafe { region.write_bytes(0, bytes) };
    Ok(region)
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    use super::*;
    use crate::require::{Need, skip};

    fn slab_over(region: NonNull<u8>, protection: Protection, bytes: usize) -> Slab {
        let slots = bytes / SLOT_BYTES;
        Slab { protection, region, slots, free: Mutex::new((0..slots).rev().collect()) }
    }

    #[test]
    fn every_slot_is_taken_once_and_wiped_before_its_next_owner() {
        let slab = Slab::allocate(3).unwrap();
        let slots = slab.available();
        assert!(slots >= 3);
        let mut taken: Vec<_> = std::iter::from_fn(|| slab.take()).collect();
        assert_eq!(taken.len(), slots);
        for slot in &mut taken {
            assert_eq!(**slot, [0; SLOT_BYTES], "no other slot overlaps it");
            slot.fill(7);
        }
        assert!(slab.take().is_none());
        for slot in taken {
            slab.give_back(slot);
        }
        assert_eq!(slab.available(), slots);
        assert!(std::iter::from_fn(|| slab.take()).all(|slot| *slot == [0; SLOT_BYTES]));
    }

    #[test]
    #[should_panic(expected = "a slot goes back to the slab it came from")]
    fn a_slot_of_another_slab_is_not_taken_back() {
        let (one, other) = (Slab::allocate(1).unwrap(), Slab::allocate(1).unwrap());
        other.give_back(one.take().unwrap());
    }

    #[test]
    fn memfd_secret_is_not_readable_through_proc() {
        let slab = Slab::allocate(1).unwrap();
        if slab.protection() != Protection::MemfdSecret {
            return skip("memfd_secret_is_not_readable_through_proc", Need::MemfdSecret, "refused");
        }
        let slot = slab.take().unwrap();
        slot.fill(7);
        let memory = File::open("/proc/self/mem").unwrap();
        let mut byte = [0];
        let error = memory.read_at(&mut byte, slot.as_ptr().addr() as u64).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
        // The way of looking finds what is not protected.
        let control = 9_u8;
        memory.read_at(&mut byte, (&raw const control).addr() as u64).unwrap();
        assert_eq!(byte, [9]);
    }

    #[test]
    fn without_memfd_secret_the_region_is_locked_and_not_dumped() {
        let page = rustix::param::page_size();
        let (region, protection) = map_anonymous(page).unwrap();
        if protection != Protection::Mlocked {
            return skip("without_memfd_secret_the_region_is_locked", Need::Root, "RLIMIT_MEMLOCK");
        }
        let start = format!("{:x}-", region.as_ptr().addr());
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let flags = maps
            .lines()
            .skip_while(|line| !line.starts_with(&start))
            .find_map(|line| line.strip_prefix("VmFlags:"))
            .unwrap();
        for flag in ["lo", "dd", "dc"] {
            assert!(flags.split(' ').any(|f| f == flag), "{flag} in {flags}");
        }
        let slab = slab_over(region, protection, page);
        assert!(slab.take().is_some());
    }
}
