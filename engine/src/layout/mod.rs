//! The layout of rows and heads, which kernels and operations share.

mod forest;
mod forms;
mod heads;

pub use forest::{Forest, Segment};
pub use forms::{AttentionForm, LogitForm};
pub use heads::{Heads, QkvLayout};
use std::ops::Range;

/// Queries with the same keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Rows of the queries and of the result.
    pub queries: Range<usize>,
    /// Rows of the keys and values. Blocks may share them, as images with one caption do.
    pub keys: Range<usize>,
}

/// The pairing of a head's coordinates for rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// `i` with `i + rotated / 2` (GPT-NeoX, Llama in the Hugging Face layout, Qwen2).
    Halves,
    /// `2 i` with `2 i + 1` (Llama's original layout, llama2.c, GGUF's Llama).
    Interleaved,
}
