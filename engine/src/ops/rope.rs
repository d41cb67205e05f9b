//! Rotary position embedding.

use super::fused::{Backward, Fused, Gradient, Input, unary};
use super::slices::fused_or;
use super::turns::DeviceTurns;
use super::{Heads, Pairing, QkvLayout, composed};
use crate::kernels::rope::{Angles, Turn, turn};
use crate::kernels::{Real, copy_of};
use crate::transfer::from_host;
use candle_core::{Result, Tensor, bail};
use std::f64::consts::TAU;
use std::sync::{Arc, Mutex, PoisonError};

/// The scaling of the frequencies for contexts longer than the trained one.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// No scaling.
    None,
    /// All frequencies divided by `factor`.
    Linear {
        /// The scaling factor.
        factor: f64,
    },
    /// Llama 3's: low frequencies divided by `factor`, high ones kept, a linear blend between.
    Llama3 {
        /// The scaling factor of the low frequencies.
        factor: f64,
        /// Wavelengths longer than `original_context / low_frequency` are scaled in full.
        low_frequency: f64,
        /// Wavelengths shorter than `original_context / high_frequency` are kept.
        high_frequency: f64,
        /// The context length of pre-training.
        original_context: f64,
    },
    /// YaRN: frequencies of few rotations over the context divided by `factor`, those of many kept, a linear blend between.
    ///
    /// # References
    ///
    /// Peng et al., *YaRN: Efficient Context Window Extension of Large Language Models* (2023).
    Yarn {
        /// The scaling factor of the low frequencies.
        factor: f64,
        /// Rotations over the original context from which on a frequency is kept.
        fast: f64,
        /// Rotations up to which a frequency is scaled in full.
        slow: f64,
        /// The context length of pre-training.
        original_context: f64,
        /// Whether the ends of the blend are rounded to whole pairs.
        rounded: bool,
    },
    /// LongRoPE: each frequency divided by its own factor.
    ///
    /// # References
    ///
    /// Ding et al., *LongRoPE: Extending LLM Context Window Beyond 2 Million Tokens* (2024).
    Divided {
        /// The divisors, one for each pair.
        factors: Vec<f64>,
    },
}

/// Angles of a rotary embedding: coordinate pair `i` of `rotated / 2` rotates by `position * base^(-2 i / width)`.
///
/// The width is the requested number of coordinates. An odd one rotates one more, as in transformers, and keeps its own
/// frequencies.
///
/// # References
///
/// Su et al., *RoFormer* (2021).
#[derive(Debug, Clone)]
pub struct Rope {
    /// The number of leading coordinates of each head that rotate; even, at most the head's size.
    pub rotated: usize,
    /// The pairing of the coordinates.
    pub pairing: Pairing,
    frequencies: Vec<f64>,
    /// The factor of cosines and sines.
    magnitude: f64,
    turns: Arc<Mutex<Turns>>,
    device_turns: DeviceTurns,
}

/// Cosines and sines of the first positions, `[n, rotated / 2]` each, shared by all layers and steps.
#[derive(Debug, Default)]
struct Turns {
    cos: Vec<f64>,
    sin: Vec<f64>,
}

impl Rope {
    /// Frequencies for `width` coordinates; `base` is usually 10,000.
    pub fn new(base: f64, width: usize, pairing: Pairing, scaling: &RopeScaling) -> Self {
        let frequency = |i: usize| base.powf(-2. * i as f64 / width as f64);
        let frequencies = (0..width.div_ceil(2)).map(|i| scaling.apply(frequency(i), i, base, width)).collect();
        let (turns, device_turns) = (Arc::default(), DeviceTurns::default());
        Self { rotated: width.next_multiple_of(2), pairing, frequencies, magnitude: 1., turns, device_turns }
    }

    /// Multiplies rotated coordinates by a factor, which YaRN and LongRoPE do to sharpen attention over long contexts.
    #[must_use]
    pub fn with_magnitude(self, magnitude: f64) -> Self {
        Self { magnitude, turns: Arc::default(), device_turns: DeviceTurns::default(), ..self }
    }

    /// Radians per position of each coordinate pair.
    pub fn frequencies(&self) -> &[f64] {
        &self.frequencies
    }

    /// Cosines and sines, `[positions, rotated / 2]` each.
    pub(crate) fn table(&self, positions: &[u32]) -> (Vec<f64>, Vec<f64>) {
        let angles = positions.iter().flat_map(|&p| self.frequencies.iter().map(move |f| f64::from(p) * f));
        angles.map(|angle| (angle.cos() * self.magnitude, angle.sin() * self.magnitude)).unzip()
    }

    /// [`Rope::table`] as tensors like `x`, kept on its device for all layers and steps.
    pub(super) fn turns_on(&self, positions: &[u32], x: &Tensor) -> Result<[Tensor; 2]> {
        let half = self.frequencies.len();
        if positions.iter().any(|&position| position as usize >= LONGEST_TABLE) {
            let (cos, sin) = self.table(positions);
            let on_device = |values| from_host(values, (positions.len(), half), x.device())?.to_dtype(x.dtype());
            return Ok([on_device(cos)?, on_device(sin)?]);
        }
        self.device_turns.of_rows(positions, half, x, |n| self.table(&(0..n as u32).collect::<Vec<u32>>()))
    }

    /// [`Rope::table`] of positions `0..n`, computed once.
    fn first_turns<T: Real>(&self, n: usize) -> (Vec<T>, Vec<T>) {
        let len = n * self.frequencies.len();
        // Each table is assigned whole, so it is valid even if another thread panicked.
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.cos.len() < len {
            let positions: Vec<u32> = (0..n as u32).collect();
            (turns.cos, turns.sin) = self.table(&positions);
        }
        let rounded = |values: &[f64]| values[..len].iter().map(|&x| T::of(x)).collect();
        (rounded(&turns.cos), rounded(&turns.sin))
    }

    pub(crate) fn check(&self, head_size: usize) -> Result<()> {
        if self.rotated > head_size || !self.rotated.is_multiple_of(2) {
            bail!("{} rotated coordinates do not fit heads of {head_size}", self.rotated);
        }
        Ok(())
    }
}

impl RopeScaling {
    /// The scaled frequency of pair `i` of an embedding of this base and width.
    fn apply(&self, frequency: f64, i: usize, base: f64, width: usize) -> f64 {
        match *self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 { factor, low_frequency, high_frequency, original_context } => {
                let turns = original_context * frequency / TAU;
                let kept = ((turns - low_frequency) / (high_frequency - low_frequency)).clamp(0., 1.);
                frequency * (kept + (1. - kept) / factor)
            }
            Self::Yarn { factor, fast, slow, original_context, rounded } => {
                // The pair that rotates so often over the original context.
                let pair = |turns: f64| width as f64 * (original_context / (turns * TAU)).ln() / (2. * base.ln());
                let (low, high) =
                    if rounded { (pair(fast).floor(), pair(slow).ceil()) } else { (pair(fast), pair(slow)) };
                let (low, high) = (low.max(0.), high.min(width as f64 - 1.));
                let width_of_blend = if low == high { 1e-3 } else { high - low };
                let scaled = ((i as f64 - low) / width_of_blend).clamp(0., 1.);
                frequency * (scaled / factor + (1. - scaled))
            }
            Self::Divided { ref factors } => frequency / factors.get(i).copied().unwrap_or(1.),
        }
    }
}

/// Rotates every head of `x` by the angles of its row's position.
///
/// # Shapes
///
/// `x` and the result `[T, n_heads * head_size]`, T positions.
pub fn rope(x: &Tensor, positions: &[u32], n_heads: usize, head_size: usize, rope: &Rope) -> Result<Tensor> {
    rope.check(head_size)?;
    if x.dims() != [positions.len(), n_heads * head_size] {
        bail!("{:?} for {} positions and {n_heads} heads of {head_size}", x.dims(), positions.len());
    }
    let heads = (0..n_heads).map(|head| head * head_size).collect();
    fused_or!(
        &[x],
        T => unary(Turning::<T>::new(rope, positions, heads), x),
        composed::rope(x, positions, n_heads, head_size, rope)
    )
}

/// Rotates queries and keys inside a packed projection; values are unchanged.
///
/// # Shapes
///
/// `qkv` and the result `[T, (query + 2 key_value) * size]`, T positions.
pub fn rope_packed(qkv: &Tensor, positions: &[u32], heads: Heads, layout: QkvLayout, rope: &Rope) -> Result<Tensor> {
    rope.check(heads.size)?;
    heads.check_packed(positions.len(), qkv, layout)?;
    let columns = match layout {
        QkvLayout::PerHead => (0..heads.query).flat_map(|head| [3 * head, 3 * head + 1]).collect::<Vec<_>>(),
        QkvLayout::Blocks => (0..heads.query + heads.key_value).collect(),
    };
    let columns = columns.into_iter().map(|column| column * heads.size).collect();
    fused_or!(
        &[qkv],
        T => unary(Turning::<T>::new(rope, positions, columns), qkv),
        composed::rope_packed(qkv, positions, heads, layout, rope)
    )
}

/// The number of positions whose cosines and sines are cached.
const LONGEST_TABLE: usize = 1 << 15;

pub(super) struct Turning<T> {
    pub(super) angles: Angles<T>,
    pub(super) pairing: Pairing,
    /// The first column of each rotated head.
    pub(super) heads: Vec<usize>,
}

impl<T: Real> Turning<T> {
    fn new(rope: &Rope, positions: &[u32], heads: Vec<usize>) -> Self {
        // Packed rows share positions: equal positions share a table row.
        let n = positions.iter().max().map_or(0, |&largest| largest as usize + 1);
        let half = rope.rotated / 2;
        let angles = if n <= LONGEST_TABLE {
            let (cos, sin) = rope.first_turns(n);
            Angles { cos, sin, rows: positions.to_vec(), half }
        } else {
            let (cos, sin) = rope.table(positions);
            let rounded = |values: Vec<f64>| values.into_iter().map(T::of).collect();
            Angles { cos: rounded(cos), sin: rounded(sin), rows: (0..positions.len() as u32).collect(), half }
        };
        Self { angles, pairing: rope.pairing, heads }
    }

    fn turned(&self, x: &[T], way: Turn) -> Vec<T> {
        let mut result = copy_of(x);
        let width = x.len() / self.angles.rows.len().max(1);
        turn(&mut result, width, &self.heads, &self.angles, self.pairing, way);
        result
    }
}

impl<T: Real> Fused<T, 1> for Turning<T> {
    const NAME: &'static str = "rope";

    fn forward(&self, [x]: [Input<'_, T>; 1]) -> Result<Vec<T>> {
        Ok(self.turned(x.data, Turn::Forward))
    }

    fn reads(&self, _: [bool; 1]) -> [bool; 1] {
        [false]
    }

    fn backward(&self, pass: &Backward<'_, T, 1>) -> Result<[Gradient<T>; 1]> {
        Ok([Gradient::Values(self.turned(pass.gradient, Turn::Back))])
    }
}
