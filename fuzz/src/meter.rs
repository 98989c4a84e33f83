//! How much memory a call takes: the allocator of every target counts.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(live, Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What a call took, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// At the worst moment.
    pub peak: usize,
    /// Still held afterwards; negative when more was freed.
    pub kept: isize,
}

/// Runs `call` and says what it took. Targets run in one thread.
pub fn measure<T>(call: impl FnOnce() -> T) -> (T, Measured) {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let result = call();
    let peak = PEAK.load(Relaxed) - before;
    (result, Measured { peak, kept: LIVE.load(Relaxed).wrapping_sub(before).cast_signed() })
}
