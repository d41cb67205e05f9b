//! Loops over plain slices: vectorised for the host CPU, parallel on rayon's threads, generic over `f32` and `f64`.
//!
//! Work is cut into pieces whose size depends on shapes only, and partial sums are added in piece order, so results do
//! not depend on scheduling.

#![expect(clippy::inline_always, reason = "loops must be inlined where the vector instructions are turned on")]

pub(crate) mod adaptive;
pub(crate) mod attention;
pub(crate) mod bf16;
pub(crate) mod cached;
pub(crate) mod columns;
pub(crate) mod convolution;
pub(crate) mod elementwise;
pub(crate) mod few_rows;
pub(crate) mod gemm;
pub(crate) mod group_norm;
pub(crate) mod norm;
mod parallel;
pub(crate) mod pixels;
pub(crate) mod products;
pub(crate) mod quantised;
pub(crate) mod rope;
pub(crate) mod rows;
mod scalar;
mod soft_cap;
pub(crate) mod upsample;
mod vectors;
pub(crate) mod vocabulary;

pub(crate) use parallel::{copy_of, zeros};
pub(crate) use scalar::Real;
pub(crate) use vectors::Vectorised;
