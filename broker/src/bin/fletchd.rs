//! The daemon's entry point, and its allocator.

use std::ffi::c_char;
use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// A pointer that the allocator reads before `main`.
#[repr(transparent)]
struct Options(*const c_char);

// SAFETY: it points to a literal, which nothing writes.
unsafe impl Sync for Options {}

/// The allocator's options. A drained queue gives its memory back to the system: pages that are free
/// go after about a second (`dirty_decay_ms`), all the way (`muzzy_decay_ms:0`), and without an
/// allocation to trigger it (`background_thread`), because a drained broker may be an idle one.
/// Each processor has its arena (`percpu_arena`): their number does not grow with helper threads,
/// and a pinned shard shares its arena with nobody.
// SAFETY: jemalloc declares this symbol as a weak `const char *` for the program to define; nobody else does.
#[unsafe(export_name = "_rjem_malloc_conf")]
static MALLOC_CONF: Options = Options(
    c"background_thread:true,percpu_arena:percpu,dirty_decay_ms:1000,muzzy_decay_ms:0".as_ptr(),
);

fn main() -> ExitCode {
    fletch::daemon::main()
}
