//! What all fuzzing binaries share: a target of `kmend::fuzzing`, run with its memory counted.
//!
//! An input may make kmend hold no more than its limits say, and a little for each of its bytes.
//! The counting allocator is the only unsafe code; none of this is part of kmend.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn took(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(live, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came; only sums are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        took(size);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Runs a target. `base`: bytes that it may hold at once, whatever its input; besides, `factor` for
/// each byte of input.
pub fn run(target: fn(&[u8]), data: &[u8], base: usize, factor: usize) {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    target(data);
    let held = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    assert!(held <= base + factor * data.len(), "{held} bytes were held at once for an input of {}", data.len());
}

/// The binary of one target of `kmend::fuzzing`.
#[macro_export]
macro_rules! target {
    ($name:ident, $base:expr, $factor:expr) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| {
            $crate::run(kmend::fuzzing::$name, data, $base, $factor);
        });
    };
}
