//! Differentiable layers: one function each, fused on the CPU, composed of plain candle ops on other devices.
//!
//! Activations are `[T, width]`, T packed tokens. A weight that is a plain tensor rather than a `Var` gets no gradient
//! and costs none. Every function of this module gives the same numbers, to rounding, as its namesake in [`composed`].

mod adaptive;
mod attention;
mod axial_rope;
mod cached;
mod columns;
pub mod composed;
mod convolution;
mod elementwise;
mod embedding;
mod full_attention;
mod fused;
mod grid;
mod group_norm;
mod images;
mod linear;
mod matrix;
mod norm;
mod paged;
mod remade;
mod rope;
mod slices;
mod timestep;
mod turns;
mod upsample;
mod variable_gradients;
mod vocabulary;

pub use crate::layout::{AttentionForm, Block, Forest, Heads, LogitForm, Pairing, QkvLayout, Segment};
pub use adaptive::{adaptive_layer_norm, gated_add};
pub use attention::{forest_attention, forest_attention_packed};
pub use axial_rope::{AxialRope, axial_rope};
pub use cached::{CacheBlock, CachePool, CacheStep, CachedSequence, cached_attention};
pub use columns::scale_columns;
pub use convolution::{Convolution, Padding, conv2d};
pub use elementwise::{add, add_both, add_into, geglu, gelu, gelu_tanh, quick_gelu, silu, swiglu, tanh};
pub use embedding::embedding;
pub use full_attention::block_attention;
pub use grid::Grid;
pub use group_norm::{NormActivation, group_norm};
pub use images::{add_onto_images, add_per_image, concat, squared_errors};
pub use linear::{WeightLayout, linear};
pub use matrix::Matrix;
pub use norm::{layer_norm, rms_norm};
pub use remade::{let_go, remade};
pub use rope::{Rope, RopeScaling, rope, rope_packed};
pub use timestep::TimestepEmbedding;
pub use upsample::upsample_nearest;
pub use variable_gradients::backward;
pub use vocabulary::{LogitQuery, VOCABULARY_NUMBERS, VocabularyQuery, logit_log_prob, vocabulary_log_prob};

#[cfg(test)]
mod cached_tests;
#[cfg(test)]
pub(crate) mod checks;
#[cfg(test)]
mod convolution_tests;
#[cfg(test)]
mod image_tests;
#[cfg(test)]
mod precision_tests;
#[cfg(test)]
mod tests;
