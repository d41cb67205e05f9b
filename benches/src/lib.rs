//! Benchmarks, in a crate of their own: `cargo test` builds neither them nor what they are measured with.
//!
//! `cargo bench -p benches` runs all; `benches/peers` measures other implementations on the same shapes.
