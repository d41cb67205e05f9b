//! The `hybrid-dpo` command.

use std::num::NonZero;

/// A quarter of a training step is allocation with the system's allocator, which gives large blocks back at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    candle_threads_sleep();
    keep_pages();
    #[expect(clippy::disallowed_methods, reason = "the program's own arguments enter here")]
    bins::main(std::env::args_os())
}

/// Has candle's own threads, which add up gradients, sleep while they wait.
///
/// By default they spin: beside the engine's threads, on cores that something else uses too, a step took more than twice as
/// long. Sums are bound by memory, which a few threads use up.
#[expect(clippy::disallowed_methods, reason = "the program's own environment is arranged here")]
fn candle_threads_sleep() {
    let of_engine = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse::<NonZero<usize>>().ok());
    let n = of_engine.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZero::get).min(8);
    for (name, value) in [("CANDLE_NUM_THREADS", n.to_string()), ("CANDLE_BARRIER_POOL_SPIN_LIMIT", "1".to_owned())] {
        if std::env::var_os(name).is_none() {
            // SAFETY: `main` calls this first, so there is no other thread yet that could read the environment meanwhile.
            #[expect(unsafe_code, reason = "the standard library has no safe way to set a variable")]
            unsafe {
                std::env::set_var(name, value);
            }
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
