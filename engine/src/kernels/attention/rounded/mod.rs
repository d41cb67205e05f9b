//! Attention whose products have operands rounded to bf16, with sums, softmaxes and gradients in `f32`.
//!
//! Scores are products of keys with queries, `[key, query]`: a softmax over keys is a loop over rows, and its weights, rounded and
//! paired, are the right operand of the next product without being turned. Keys and values are packed once for all tiles; a tile
//! packs its own queries.

mod backward;
mod forward;
mod pack;
#[cfg(all(test, target_arch = "x86_64", not(miri)))]
mod tests;
mod windows;

use super::super::bf16::{PANEL, Strip, TILE, Unit};
use super::super::soft_cap::soft_cap;
use super::plan::Tile;
use super::{Attention, Normalisers, Operand, Target};
use crate::Precision;
use crate::kernels::Real;
use crate::layout::Heads;
use pack::Keys;
use windows::{Block, WINDOW, Windows};

/// Keys of a block: its products stay in the innermost cache.
const KEYS: usize = 2 * WINDOW;

/// Attention of `f32` on a CPU that has instructions for bf16.
#[derive(Debug)]
pub(super) struct Rounded<'a> {
    unit: Unit,
    attention: Attention<'a, f32>,
    windows: Windows,
}

impl<'a> Rounded<'a> {
    /// Attention in the process's precision, where that is bf16.
    pub(super) fn of<T: Real>(attention: &Attention<'a, T>) -> Option<Self> {
        let unit = (Precision::of_process() == Precision::Bf16).then(Unit::of_this_cpu).flatten()?;
        Self::by(unit, attention)
    }

    /// Attention of `f32` whose scores grow with products.
    fn by<T: Real>(unit: Unit, attention: &Attention<'a, T>) -> Option<Self> {
        let single = |operand: Operand<'a, T>| {
            let data = T::singles(operand.data)?;
            Some(Operand { data, columns: operand.columns })
        };
        let [queries, keys, values] = [attention.queries, attention.keys, attention.values].map(single);
        let Attention { heads, form, plan, .. } = *attention;
        let attention = Attention { queries: queries?, keys: keys?, values: values?, heads, form, plan };
        (attention.scale() > 0.).then(|| Self { unit, attention, windows: Windows::of(plan) })
    }

    /// Blocks of coordinates in products over them, and sixteens of them in products with them as rows.
    fn depth(&self) -> [usize; 2] {
        let Heads { size, .. } = self.attention.heads;
        [size.div_ceil(2 * TILE), size.div_ceil(TILE)]
    }

    /// Of scores as [`Rounded::scores`] leaves them, to logarithms to base 2.
    fn factor(&self) -> f32 {
        let scale = if self.attention.form.cap.is_some() { 1. } else { self.attention.scale() };
        scale * std::f32::consts::LOG2_E
    }

    /// Products of a block's keys (or values) with a panel of a tile's queries (or gradients): `[key, query]`.
    fn across(
        &self,
        products: &mut [f32],
        keys: &Keys,
        [key_head, window]: [usize; 2],
        panel: &[super::super::bf16::Line],
    ) {
        let [steps, _] = self.depth();
        for (index, products) in products.chunks_exact_mut(TILE * PANEL).enumerate() {
            let strip = Strip {
                left: &keys.rows(key_head, window + index / 2)[index % 2 * TILE..],
                row: 1,
                left_step: WINDOW,
                right: panel,
                right_step: 2 * TILE,
                steps,
                pairs: self.attention.heads.size.div_ceil(2),
                is_wide: true,
            };
            self.unit.strip(&strip, products, false);
        }
    }

    /// Bounds a panel's scores softly where there is a cap, and hides those of keys that queries do not see.
    fn finish(&self, scores: &mut [f32], tile: &Tile, block: &Block, panel: usize) {
        if let Some(cap) = self.attention.form.cap {
            let scale = self.attention.scale();
            for score in &mut *scores {
                *score *= scale;
            }
            soft_cap(scores, cap);
        }
        let of_panel = panel * PANEL..panel * PANEL + PANEL;
        block.hidden(tile, |keys, queries| {
            let queries = queries.start.max(of_panel.start)..queries.end.min(of_panel.end);
            if queries.start < queries.end {
                let columns = queries.start - of_panel.start..queries.end - of_panel.start;
                for row in scores.chunks_exact_mut(PANEL).take(keys.end).skip(keys.start) {
                    row[columns.clone()].fill(f32::NEG_INFINITY);
                }
            }
        });
    }
}

/// Results and normalisers of attention in the precision of the process, if that is bf16 and the CPU has it.
pub(super) fn forward<T: Real>(attention: &Attention<'_, T>) -> Option<(Vec<T>, Normalisers<T>)> {
    let (output, normalisers) = Rounded::of(attention)?.forward();
    Some((T::of_singles(output), normalisers.into_iter().map(T::of_singles).collect()))
}

/// Adds the gradients of [`forward`] to the targets, which were checked, if it was there that the results came from: of the output
/// and its gradient.
pub(super) fn backward<T: Real>(
    attention: &Attention<'_, T>,
    known: [Operand<'_, T>; 2],
    normalisers: &Normalisers<T>,
    targets: [Option<Target<'_, T>>; 3],
) -> bool {
    let Some(rounded) = Rounded::of(attention) else { return false };
    let known = known.map(|operand| Operand { data: single(operand.data), columns: operand.columns });
    let normalisers: Vec<&[f32]> = normalisers.iter().map(|numbers| single(numbers)).collect();
    let targets = targets.map(|target| {
        let Target { data, columns } = target?;
        Some(Target { data: data.singles()?, columns })
    });
    rounded.backward(known, &normalisers, targets);
    true
}

fn single<T: Real>(numbers: &[T]) -> &[f32] {
    T::singles(numbers).unwrap_or_default()
}
