//! The allocator of the program: jemalloc, which gives back what a wave of clients took.

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Read by jemalloc at its start: memory of clients that are gone returns to the system within a second, off the shards' threads.
#[expect(unsafe_code, reason = "jemalloc finds its options by the name of a symbol")]
// SAFETY: the name is jemalloc's own, and a reference to an array is the pointer to a string that it declares.
#[unsafe(export_name = "_rjem_malloc_conf")]
static OPTIONS: &[u8; 60] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";
