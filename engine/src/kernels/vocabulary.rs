//! Log-probabilities of tokens from hidden states and a vocabulary matrix, tile by tile of the vocabulary.
//!
//! The forward pass keeps a running maximum and running sums per row (in `f64`); the backward pass recomputes each tile
//! of logits. At most about a million logits are in memory.

use super::Real;
use super::gemm::{Into, Threads, View, ViewMut};
use super::parallel::simd;
use super::products::multiply;
use super::quantised::MatrixRows;
use super::rows::{maximum, sum_of, sum_of_pairs};
use super::soft_cap::{cap_slopes, soft_cap};
use crate::layout::LogitForm;
use rayon::prelude::*;

/// Logits in a tile: 4 MB of `f32`, which stay in the cache between the product and its use.
const TILE: usize = 1 << 20;

/// Logits that a thread bounds at once.
const CAPPED: usize = 1 << 14;

/// Terms that are summed in the kernel's own precision before they go to `f64`.
const BLOCK: usize = 512;

/// Numbers per row: log-probability, divergence, entropy, mean logit, whether the target is the argmax, collision.
pub(crate) const COLUMNS: usize = 6;

/// One model's operands of the logits: hidden states of the scored rows `[n, width]`, vocabulary matrix `[V, width]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogitOperands<'a, T> {
    pub(crate) hidden: &'a [T],
    pub(crate) matrix: MatrixRows<'a, T>,
    pub(crate) width: usize,
    pub(crate) form: LogitForm,
}

/// The operands of a scoring pass.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scoring<'a, T> {
    pub(crate) policy: LogitOperands<'a, T>,
    pub(crate) reference: Option<LogitOperands<'a, T>>,
    pub(crate) targets: &'a [u32],
    pub(crate) vocabulary: usize,
    /// Whether the diagnostics are computed: entropy, mean logit, argmax.
    pub(crate) diagnostics: bool,
    /// Whether the collision is computed.
    pub(crate) collision: bool,
}

/// Log-sum-exp of each row, for the backward pass.
#[derive(Debug, Clone, Default)]
pub(crate) struct Normalisers {
    policy: Vec<f64>,
    reference: Vec<f64>,
}

/// Running sums over the tiles of one row's logits x (and reference logits y).
#[derive(Debug, Clone, Copy)]
struct Running {
    /// Largest x, sum of `e^(x - max)`, sum of `e^(x - max) x`.
    policy: [f64; 3],
    /// Largest y, sum of `e^(y - max)`, sum of `e^(y - max) (y - x)`.
    reference: [f64; 3],
    target: f64,
    /// Sum of x.
    sum: f64,
    /// Sum of `e^(2 (x - max))`.
    squares: f64,
}

impl Running {
    const START: Self = Self {
        policy: [f64::NEG_INFINITY, 0., 0.],
        reference: [f64::NEG_INFINITY, 0., 0.],
        target: f64::NAN,
        sum: 0.,
        squares: 0.,
    };

    fn normaliser(sums: [f64; 3]) -> f64 {
        sums[0] + sums[1].ln()
    }
}

impl<T: Real> LogitOperands<'_, T> {
    /// Logits of tokens `start..end`, `[n, end - start]`.
    fn logits(self, tile: &mut [T], n: usize, start: usize, end: usize) {
        debug_assert_eq!(tile.len(), n * (end - start));
        self.matrix.times(tile, T::of(self.form.scale), self.hidden, self.width, start..end);
        if let Some(cap) = self.form.cap {
            tile.par_chunks_mut(CAPPED).for_each(|tile| soft_cap(tile, cap));
        }
    }

    /// The slopes of the soft bound at a tile of bounded logits; none without a cap.
    fn bends(&self, bends: &mut Vec<T>, tile: &[T]) {
        bends.clear();
        if let Some(cap) = self.form.cap {
            bends.extend_from_slice(tile);
            bends.par_chunks_mut(CAPPED).for_each(|bends| cap_slopes(bends, cap));
        }
    }
}

impl<T: Real> Scoring<'_, T> {
    /// Calls `f(first token, policy's logits, reference's logits, tile width)` for each tile.
    fn for_tiles(&self, mut f: impl FnMut(usize, &mut [T], &[T], usize)) {
        let n = self.targets.len();
        if n == 0 {
            return;
        }
        let width = (TILE / n).clamp(128, 8192).min(self.vocabulary);
        let mut policy = vec![T::zero(); n * width];
        let mut reference = vec![T::zero(); if self.reference.is_some() { n * width } else { 0 }];
        for start in (0..self.vocabulary).step_by(width.max(1)) {
            let end = (start + width).min(self.vocabulary);
            let used = n * (end - start);
            self.policy.logits(&mut policy[..used], n, start, end);
            let reference = match self.reference {
                Some(side) => {
                    side.logits(&mut reference[..used], n, start, end);
                    &reference[..used]
                }
                None => &[],
            };
            f(start, &mut policy[..used], reference, end - start);
        }
    }

    /// `[n, COLUMNS]`: log-probability, KL(reference || policy), entropy, mean logit, 1 if the target is the argmax, and the
    /// logarithm of the sum of squared probabilities; and the normalisers for the backward pass.
    pub(crate) fn forward(&self) -> (Vec<T>, Normalisers) {
        let mut running = vec![Running::START; self.targets.len()];
        self.for_tiles(|start, policy, reference, width| {
            let rows = running.par_iter_mut().zip(self.targets).zip(policy.par_chunks(width)).enumerate();
            rows.with_min_len(4).for_each(|(row, ((running, &target), x))| {
                let y = reference.get(row * width..(row + 1) * width);
                if let Some(logit) = (target as usize).checked_sub(start).and_then(|index| x.get(index)) {
                    running.target = logit.wide();
                }
                simd(
                    #[inline(always)]
                    || self.add(running, x, y),
                );
            });
        });
        self.finish(&running)
    }

    /// Adds a tile of a row's logits, and of the reference's.
    #[inline(always)]
    fn add(&self, running: &mut Running, x: &[T], y: Option<&[T]>) {
        let before = running.policy[0];
        accumulate(
            &mut running.policy,
            x,
            x,
            self.diagnostics,
            #[inline(always)]
            |x, _| x,
        );
        if self.diagnostics {
            running.sum += total(x);
        }
        if self.collision {
            let largest = running.policy[0];
            let kept = if largest == before { 1. } else { (before - largest).exp() };
            running.squares = running.squares * kept * kept + squares(x, T::of(largest));
        }
        if let Some(y) = y {
            accumulate(
                &mut running.reference,
                y,
                x,
                true,
                #[inline(always)]
                |y, x| y - x,
            );
        }
    }

    fn finish(&self, running: &[Running]) -> (Vec<T>, Normalisers) {
        let mut columns = Vec::with_capacity(COLUMNS * running.len());
        let mut normalisers = Normalisers::default();
        for row in running {
            let policy = Running::normaliser(row.policy);
            let mut divergence = 0.;
            if self.reference.is_some() {
                let reference = Running::normaliser(row.reference);
                divergence = row.reference[2] / row.reference[1] - reference + policy;
                normalisers.reference.push(reference);
            }
            let diagnostics = if self.diagnostics { self.diagnostics_of(row, policy) } else { [0.; 3] };
            // The logarithm of the sum of squared probabilities.
            let collision = if self.collision { row.squares.ln() - 2. * row.policy[1].ln() } else { 0. };
            let numbers = [row.target - policy, divergence].into_iter().chain(diagnostics).chain([collision]);
            columns.extend(numbers.map(T::of));
            normalisers.policy.push(policy);
        }
        (columns, normalisers)
    }

    /// Entropy, mean logit, whether the target is the argmax.
    fn diagnostics_of(&self, row: &Running, normaliser: f64) -> [f64; 3] {
        let entropy = normaliser - row.policy[2] / row.policy[1];
        let is_likeliest = if row.target >= row.policy[0] { 1. } else { 0. };
        [entropy, row.sum / self.vocabulary.max(1) as f64, is_likeliest]
    }

    /// Gradients for the scored hidden states `[n, width]` and, if required, for the matrix `[V, width]`, given those
    /// of [`Scoring::forward`]'s columns.
    ///
    /// The gradient of the log-probability for logit `v` is `[v is the target] - p(v)`, that of the divergence is
    /// `p(v) - r(v)`, p and r being the policy's and the reference's probabilities; the soft bound's slope multiplies both.
    pub(crate) fn backward(&self, gradient: &[T], normalisers: &Normalisers, wants_matrix: bool) -> (Vec<T>, Vec<T>) {
        let (n, inner) = (self.targets.len(), self.policy.width);
        let mut to_hidden = vec![T::zero(); n * inner];
        let mut to_matrix = vec![T::zero(); if wants_matrix { self.vocabulary * inner } else { 0 }];
        let (scale, mut bends) = (T::of(self.policy.form.scale), Vec::new());
        self.for_tiles(|start, policy, reference, width| {
            self.policy.bends(&mut bends, policy);
            policy.par_chunks_mut(width).enumerate().with_min_len(4).for_each(|(row, x)| {
                let (likelihood, divergence) = (gradient[COLUMNS * row], gradient[COLUMNS * row + 1]);
                let normaliser = split::<T>(normalisers.policy[row]);
                simd(
                    #[inline(always)]
                    || match reference.get(row * width..(row + 1) * width) {
                        None => weighted_probabilities(x, normaliser, -likelihood),
                        Some(y) => {
                            let other = split::<T>(normalisers.reference[row]);
                            probability_differences(x, y, [normaliser, other], [divergence - likelihood, divergence]);
                        }
                    },
                );
                let target = (self.targets[row] as usize).checked_sub(start);
                if let Some(logit) = target.and_then(|index| x.get_mut(index)) {
                    *logit += likelihood;
                }
                let bends = bends.get(row * width..(row + 1) * width).unwrap_or_default();
                x.iter_mut().zip(bends).for_each(|(x, &bend)| *x *= bend);
            });
            self.policy.matrix.add_back(&mut to_hidden, scale, policy, inner, start..start + width);
            if wants_matrix {
                let slopes = View::new(policy, n, width);
                let hidden = View::new(self.policy.hidden, n, inner);
                let words = ViewMut::new(&mut to_matrix[start * inner..(start + width) * inner], width, inner);
                multiply(words, Into::Replace, scale, slopes.t(), hidden, Threads::All);
            }
        });
        (to_hidden, to_matrix)
    }
}

/// Adds a tile to `[max, sum e^(x - max), sum e^(x - max) f(x, y)]`, the last only if required.
#[inline(always)]
fn accumulate<T: Real>(sums: &mut [f64; 3], x: &[T], y: &[T], wants_mean: bool, f: impl Fn(T, T) -> T) {
    let largest = T::of(sums[0]).larger(maximum(x));
    let kept = if largest.wide() == sums[0] { 1. } else { (sums[0] - largest.wide()).exp() };
    sums[0] = largest.wide();
    sums[1] *= kept;
    sums[2] *= kept;
    for (x, y) in x.chunks(BLOCK).zip(y.chunks(BLOCK)) {
        sums[1] += sum_of(
            x,
            #[inline(always)]
            |x| (x - largest).exponential(),
        )
        .wide();
        if wants_mean {
            sums[2] += sum_of_pairs(
                x,
                y,
                #[inline(always)]
                |x, y| (x - largest).exponential() * f(x, y),
            )
            .wide();
        }
    }
}

/// The sum of `e^(2 (x - largest))` of a tile.
#[inline(always)]
fn squares<T: Real>(x: &[T], largest: T) -> f64 {
    let block = |x: &[T]| {
        sum_of(
            x,
            #[inline(always)]
            |x| {
                let share = (x - largest).exponential();
                share * share
            },
        )
        .wide()
    };
    x.chunks(BLOCK).map(block).sum()
}

/// The sum of a tile.
#[inline(always)]
fn total<T: Real>(x: &[T]) -> f64 {
    let block = |x: &[T]| {
        sum_of(
            x,
            #[inline(always)]
            |x| x,
        )
        .wide()
    };
    x.chunks(BLOCK).map(block).sum()
}

/// A number as a sum of two, to lose little precision when it is subtracted from logits near it.
fn split<T: Real>(x: f64) -> [T; 2] {
    let high = T::of(x);
    [high, T::of(x - high.wide())]
}

#[inline(always)]
fn weighted_probabilities<T: Real>(x: &mut [T], normaliser: [T; 2], weight: T) {
    for x in x {
        *x = weight * (*x - normaliser[0] - normaliser[1]).exponential();
    }
}

#[inline(always)]
fn probability_differences<T: Real>(x: &mut [T], y: &[T], normalisers: [[T; 2]; 2], weights: [T; 2]) {
    let [policy, reference] = normalisers;
    for (x, &y) in x.iter_mut().zip(y) {
        let probability = (*x - policy[0] - policy[1]).exponential();
        let other = (y - reference[0] - reference[1]).exponential();
        *x = weights[0] * probability - weights[1] * other;
    }
}
