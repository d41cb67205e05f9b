//! The `hybrid-dpo` command.

/// A quarter of a training step is allocation with the system's allocator, which gives large blocks back at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    one_pool_of_threads();
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
