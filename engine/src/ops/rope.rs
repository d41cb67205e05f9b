//! Rotary position embedding.

use super::{Heads, QkvLayout, composed};
use candle_core::{Result, Tensor, bail};
use std::f64::consts::TAU;

/// Which two coordinates of a head turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// `i` with `i + rotated / 2` (GPT-NeoX, Llama in the Hugging Face layout, Qwen2).
    Halves,
    /// `2 i` with `2 i + 1` (Llama's original layout, llama2.c, GGUF's Llama).
    Interleaved,
}

/// How the frequencies are stretched for contexts longer than the trained one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// As trained.
    None,
    /// All frequencies divided by `factor`.
    Linear {
        /// The stretch.
        factor: f64,
    },
    /// Llama 3's: low frequencies divided by `factor`, high ones kept, a linear blend between.
    Llama3 {
        /// The stretch of the low frequencies.
        factor: f64,
        /// Wavelengths longer than `original_context / low_frequency` are stretched in full.
        low_frequency: f64,
        /// Wavelengths shorter than `original_context / high_frequency` are kept.
        high_frequency: f64,
        /// Context length the model was first trained with.
        original_context: f64,
    },
}

/// Angles of a rotary embedding: coordinate pair `i` of `rotated / 2` turns by `position * base^(-2 i / rotated)`.
///
/// # References
///
/// Su et al., *RoFormer* (2021).
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Number of leading coordinates of each head that turn; even, at most the head's size.
    pub rotated: usize,
    /// Which coordinates turn together.
    pub pairing: Pairing,
    frequencies: Vec<f64>,
}

impl Rope {
    /// Frequencies for `rotated` coordinates; `base` is usually 10,000.
    pub fn new(base: f64, rotated: usize, pairing: Pairing, scaling: RopeScaling) -> Self {
        let frequency = |i: usize| base.powf(-2. * i as f64 / rotated as f64);
        let frequencies = (0..rotated / 2).map(|i| scaling.apply(frequency(i))).collect();
        Self { rotated, pairing, frequencies }
    }

    /// Radians per position of each coordinate pair.
    pub fn frequencies(&self) -> &[f64] {
        &self.frequencies
    }

    /// Cosines and sines, `[positions, rotated / 2]` each.
    pub(crate) fn table(&self, positions: &[u32]) -> (Vec<f64>, Vec<f64>) {
        let angles = positions.iter().flat_map(|&p| self.frequencies.iter().map(move |f| f64::from(p) * f));
        angles.map(|angle| (angle.cos(), angle.sin())).unzip()
    }

    pub(crate) fn check(&self, head_size: usize) -> Result<()> {
        if self.rotated > head_size || self.rotated % 2 != 0 {
            bail!("{} rotated coordinates do not fit heads of {head_size}", self.rotated);
        }
        Ok(())
    }
}

impl RopeScaling {
    fn apply(self, frequency: f64) -> f64 {
        match self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 { factor, low_frequency, high_frequency, original_context } => {
                let turns = original_context * frequency / TAU;
                let kept = ((turns - low_frequency) / (high_frequency - low_frequency)).clamp(0., 1.);
                frequency * (kept + (1. - kept) / factor)
            }
        }
    }
}

/// Turns every head of `x` by the angles of its row's position.
///
/// # Shapes
///
/// `x` and the result `[T, n_heads * head_size]`, T positions.
pub fn rope(x: &Tensor, positions: &[u32], n_heads: usize, head_size: usize, rope: &Rope) -> Result<Tensor> {
    composed::rope(x, positions, n_heads, head_size, rope)
}

/// Turns queries and keys inside a packed projection and leaves the values as they are.
///
/// # Shapes
///
/// `qkv` and the result `[T, (query + 2 key_value) * size]`, T positions.
pub fn rope_packed(qkv: &Tensor, positions: &[u32], heads: Heads, layout: QkvLayout, rope: &Rope) -> Result<Tensor> {
    composed::rope_packed(qkv, positions, heads, layout, rope)
}
