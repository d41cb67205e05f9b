//! The `hybrid-dpo` command.

/// A quarter of a training step is allocation with the system's allocator, which gives large blocks back at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    one_pool_of_threads();
    keep_pages();
    #[expect(clippy::disallowed_methods, reason = "the program's own arguments enter here")]
    bins::main(std::env::args_os())
}

/// Leaves all cores to the kernels of `engine`.
///
/// Candle has a pool of its own for sums of gradients, whose threads spin while they wait: beside the engine's threads,
/// on cores that something else uses too, a step took more than twice as long.
#[expect(clippy::disallowed_methods, reason = "the program's own environment is arranged here")]
fn one_pool_of_threads() {
    if std::env::var_os("CANDLE_NUM_THREADS").is_none() {
        // SAFETY: `main` calls this first, so there is no other thread yet that could read the environment meanwhile.
        #[expect(unsafe_code, reason = "the standard library has no safe way to set a variable")]
        unsafe {
            std::env::set_var("CANDLE_NUM_THREADS", "1");
        }
    }
}

/// Keeps the pages of freed memory for what is allocated next.
///
/// A step of training frees what it allocates, and the next one asks for the same again. Pages that were given back in
/// between come cleared, which took a sixth of a step.
fn keep_pages() {
    use std::ffi::{c_int, c_long};

    /// `mi_option_purge_delay` of mimalloc's versions 2 and 3: milliseconds until freed pages are given back, -1 for never.
    const PURGE_DELAY: c_int = 15;
    // SAFETY: the declaration is that of `mimalloc.h`.
    #[expect(unsafe_code, reason = "the allocator's options have no safe interface")]
    unsafe extern "C" {
        safe fn mi_option_set_default(option: c_int, value: c_long);
    }
    mi_option_set_default(PURGE_DELAY, -1);
}
