//! The `hybrid-dpo` command.

/// A quarter of a training step is allocation with the system's allocator, which gives large blocks back at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    #[expect(clippy::disallowed_methods, reason = "the program's own arguments enter here")]
    bins::main(std::env::args_os())
}
