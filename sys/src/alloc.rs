//! A global allocator that wipes what is freed.
//!
//! Buffers that we do not own (h2, rustls, prost) may have held ciphertext, keys in transit or
//! fragments of either; with this allocator they do not outlive their owner. Not here: memory that
//! is still in use, and stacks; those are the business of `seal` and of the programs' hardening.
//!
//! Invariant: no byte that this allocator handed out reaches the inner allocator's free list
//! unwiped, growth included.
#![expect(unsafe_code, reason = "GlobalAlloc is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::{c_int, c_long};
use std::time::Duration;

use libmimalloc_sys::{mi_free, mi_malloc, mi_malloc_aligned, mi_zalloc, mi_zalloc_aligned};

/// What every block of mimalloc is aligned to: it hands out whole words.
const WORD_BYTES: usize = size_of::<usize>();

/// mimalloc, asked for an alignment only where that is more than a word: when it is asked, sizes other
/// than powers of two take its slow path each time, and blocks of another size than is wanted.
#[derive(Debug)]
pub struct Mimalloc;

// JUSTIFICATION: an allocator of the C library's kind has no other interface.
// SAFETY: mimalloc's functions are malloc(3)'s: a block of at least the size, aligned to a word or to
// what was asked for (a power of two, by `Layout`), or null; `mi_free` takes blocks of all four.
unsafe impl GlobalAlloc for Mimalloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= WORD_BYTES {
            // JUSTIFICATION: the trait's contract.
            // SAFETY: any size will do.
            unsafe { mi_malloc(layout.size()) }.cast()
        } else {
            // JUSTIFICATION: the trait's contract.
            // SAFETY: the alignment is a power of two.
            unsafe { mi_malloc_aligned(layout.size(), layout.align()) }.cast()
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= WORD_BYTES {
            // JUSTIFICATION: as above.
            // SAFETY: as above.
            unsafe { mi_zalloc(layout.size()) }.cast()
        } else {
            // JUSTIFICATION: as above.
            // SAFETY: as above.
            unsafe { mi_zalloc_aligned(layout.size(), layout.align()) }.cast()
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // JUSTIFICATION: the trait's contract.
        // SAFETY: the block came from one of the functions above.
        unsafe { mi_free(block.cast()) }
    }
}

/// `mi_option_purge_delay` of mimalloc.h: milliseconds.
const PURGE_DELAY: c_int = 15;

// JUSTIFICATION: the crate declares these beside much else, at the price of another crate.
// SAFETY: mimalloc.h's own declarations; the options are plain numbers, which any number may be.
unsafe extern "C" {
    fn mi_option_set(option: c_int, value: c_long);
}

/// Has mimalloc give back to the kernel what is free at that moment, so often and not oftener. At the
/// beginning of a program, while it has one thread.
///
/// For a program that frees and takes the same megabytes all the time: the kernel clears each page that
/// it hands out again. What is kept is wiped already.
pub fn keep_freed(period: Duration) {
    let milliseconds = c_long::try_from(period.as_millis()).unwrap_or(c_long::MAX);
    // JUSTIFICATION: mimalloc takes its options in no other way but from the environment.
    // SAFETY: no other thread reads options meanwhile, by this function's own condition; at worst one
    // would see the number before.
    unsafe { mi_option_set(PURGE_DELAY, milliseconds) };
}

/// Wipes each block before it goes back to the inner allocator. Declare it as
/// `#[global_allocator]` in a program's `main.rs`.
pub struct ZeroizingAllocator<A = Mimalloc>(A);

impl ZeroizingAllocator {
    /// Over mimalloc.
    pub const fn new() -> Self {
        Self(Mimalloc)
    }
}

impl<A> std::fmt::Debug for ZeroizingAllocator<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ZeroizingAllocator")
    }
}

impl Default for ZeroizingAllocator {
    fn default() -> Self {
        Self::new()
    }
}

// JUSTIFICATION: wiping at free time is possible only inside the allocator.
// SAFETY: every call is passed on with the arguments it came with, so the inner allocator's
// contract is the caller's; the wipe writes only inside the block, which is still ours then.
// `realloc` is the trait's own: it allocates, copies, and calls `dealloc`, which wipes.
unsafe impl<A: GlobalAlloc> GlobalAlloc for ZeroizingAllocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // JUSTIFICATION: the trait's contract.
        // SAFETY: the caller's promise on `layout` is passed on.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // JUSTIFICATION: the inner allocator can have zeroed pages at no cost.
        // SAFETY: the caller's promise on `layout` is passed on.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // JUSTIFICATION: a plain fill before `free` is a dead store that compilers remove;
        // explicit_bzero(3) is the C library's promise not to, at the speed of memset.
        // SAFETY: the caller hands over a block of `layout.size()` bytes that nobody else uses.
        unsafe { libc::explicit_bzero(block.cast(), layout.size()) };
        // JUSTIFICATION: the trait's contract.
        // SAFETY: the block came from the same inner allocator with the same layout.
        unsafe { self.0.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::System;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts the bytes that come back unwiped.
    struct Inspector {
        dirty: AtomicUsize,
        freed: AtomicUsize,
    }

    // JUSTIFICATION: only an allocator sees what is given back to it.
    // SAFETY: all calls go to the system's allocator as they are.
    unsafe impl GlobalAlloc for Inspector {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // JUSTIFICATION: the trait's contract.
            // SAFETY: passed on.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // JUSTIFICATION: reading what is about to be freed is the test.
            // SAFETY: the block is `size` initialised bytes that nobody else uses.
            let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            let dirty = bytes.iter().filter(|byte| **byte != 0).count();
            self.dirty.fetch_add(dirty, Ordering::Relaxed);
            self.freed.fetch_add(layout.size(), Ordering::Relaxed);
            // JUSTIFICATION: the trait's contract.
            // SAFETY: passed on.
            unsafe { System.dealloc(block, layout) }
        }
    }

    #[test]
    fn freed_memory_is_given_back_as_often_as_said() {
        unsafe extern "C" {
            fn mi_option_get(option: c_int) -> c_long;
        }
        // JUSTIFICATION: an option has no other reader.
        // SAFETY: the number is that of an option.
        let delay = || unsafe { mi_option_get(PURGE_DELAY) };
        // Only this option has this default: the number is still the right one.
        assert_eq!(delay(), 1_000);
        keep_freed(Duration::from_secs(7));
        assert_eq!(delay(), 7_000);
    }

    #[test]
    fn blocks_are_aligned_as_asked() {
        for align in [1, 2, 4, 8, 16, 64, 4096] {
            for size in (1..=300).chain([1_000, 1_025, 5_000, 70_001, 1 << 20]) {
                let layout = Layout::from_size_align(size, align).unwrap();
                // JUSTIFICATION: the allocator is exercised as a program would.
                // SAFETY: the layout is not empty.
                let plain = unsafe { Mimalloc.alloc(layout) };
                // JUSTIFICATION: as above.
                // SAFETY: as above.
                let zeroed = unsafe { Mimalloc.alloc_zeroed(layout) };
                for block in [plain, zeroed] {
                    assert!(!block.is_null());
                    assert_eq!(block.addr() % align, 0, "{size} bytes at {align}");
                    // JUSTIFICATION: as above.
                    // SAFETY: the block has `size` bytes.
                    unsafe { block.write_bytes(0xa5, size) };
                    // JUSTIFICATION: as above.
                    // SAFETY: the block came from this allocator with this layout.
                    unsafe { Mimalloc.dealloc(block, layout) };
                }
            }
        }
    }

    #[test]
    fn what_is_freed_or_outgrown_is_wiped() {
        let inspector = Inspector { dirty: AtomicUsize::new(0), freed: AtomicUsize::new(0) };
        let allocator = ZeroizingAllocator(inspector);
        let small = Layout::array::<u8>(1_000).unwrap();
        // JUSTIFICATION: the allocator is exercised as a program would.
        // SAFETY: the layout is not empty.
        let block = unsafe { allocator.alloc(small) };
        assert!(!block.is_null());
        // JUSTIFICATION: as above.
        // SAFETY: the block has 1,000 bytes.
        unsafe { block.write_bytes(0xa5, 1_000) };
        // JUSTIFICATION: as above.
        // SAFETY: the block came from this allocator with this layout; 5,000 is not 0.
        let grown = unsafe { allocator.realloc(block, small, 5_000) };
        assert!(!grown.is_null());
        // JUSTIFICATION: as above.
        // SAFETY: `realloc` kept the first 1,000 bytes.
        assert_eq!(unsafe { grown.cast::<[u8; 1_000]>().read() }, [0xa5; 1_000]);
        // JUSTIFICATION: as above.
        // SAFETY: the block has 5,000 bytes.
        unsafe { grown.write_bytes(0x5a, 5_000) };
        // JUSTIFICATION: as above.
        // SAFETY: the block came from this allocator and now has 5,000 bytes.
        unsafe { allocator.dealloc(grown, Layout::array::<u8>(5_000).unwrap()) };
        assert_eq!(allocator.0.freed.load(Ordering::Relaxed), 6_000);
        assert_eq!(allocator.0.dirty.load(Ordering::Relaxed), 0);
    }
}
