//! The backward pass of a tile, which recomputes each block of probabilities from the normalisers of the forward pass.

use super::super::Vectorised;
use super::blocks::{KeyBlock, blocks, panels, scores};
use super::plan::Tile;
use super::products::{KEYS, QUERIES, across, gather, spread};
use super::{Attention, Operand, Target};
use pulp::{Arch, Simd, WithSimd};

/// What is known of a tile after the forward pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a, T> {
    pub(super) output: Operand<'a, T>,
    pub(super) gradient: Operand<'a, T>,
    pub(super) normalisers: &'a [T],
}

/// Adds the gradients of a tile in a head.
///
/// `heads` are the query head and its key head.
///
/// # Safety
///
/// No other reference may access the rows of the tile's queries in the query head of the first target during the call,
/// nor the rows visible to it in the key head of the others.
#[expect(unsafe_code, reason = "writes parts of shared matrices")]
pub(super) unsafe fn attend<T: Vectorised>(
    attention: &Attention<'_, T>,
    tile: &Tile,
    heads: [usize; 2],
    known: Known<'_, T>,
    targets: [Option<Target<'_, T>>; 3],
    buffers: &mut Vec<Vec<T>>,
) {
    buffers.resize_with(7, Vec::new);
    Arch::new().dispatch(Backward { attention, tile, heads, known, targets, buffers });
}

/// # Safety invariants
///
/// While it lives no other reference accesses the rows of the tile's queries in the query head of the first target, nor
/// the rows visible to it in the key head of the others.
struct Backward<'a, T> {
    attention: &'a Attention<'a, T>,
    tile: &'a Tile,
    heads: [usize; 2],
    known: Known<'a, T>,
    targets: [Option<Target<'a, T>>; 3],
    buffers: &'a mut [Vec<T>],
}

/// Numbers of each query: its normaliser, and the sum of its result times its gradient.
struct Levels<T, const W: usize> {
    normaliser: [T; W],
    level: [T; W],
}

impl<T: Vectorised> WithSimd for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (lanes, size) = (T::lanes_of(simd), self.attention.heads.size);
        match (lanes, lanes * size_of::<T>() >= 64, size <= lanes) {
            (16, _, true) => self.compute::<S, 12, 8, 32, 1>(simd),
            (16, _, false) => self.compute::<S, 12, 8, 32, 2>(simd),
            (8, true, true) => self.compute::<S, 12, 8, 16, 1>(simd),
            (8, true, false) => self.compute::<S, 12, 8, 16, 2>(simd),
            (8, false, _) => self.compute::<S, 4, 4, 16, 2>(simd),
            (4, ..) => self.compute::<S, 4, 4, 8, 2>(simd),
            (2, ..) => self.compute::<S, 4, 4, 4, 2>(simd),
            (1, ..) => self.compute::<S, 4, 4, 2, 2>(simd),
            (lanes, ..) => unreachable!("vectors of {lanes} numbers"),
        }
    }
}

impl<T: Vectorised> Backward<'_, T> {
    #[inline(always)]
    fn compute<S: Simd, const ROWS: usize, const DEEP: usize, const W: usize, const VECTORS: usize>(self, simd: S) {
        let (attention, tile, [head, key_head]) = (self.attention, self.tile, self.heads);
        let [queries, upstream, weights, slopes, query_strips, upstream_strips, sums] = self.buffers else {
            unreachable!("seven buffers")
        };
        let (size, width) = (attention.heads.size, VECTORS * T::lanes_of(simd));
        let own = attention.queries.rows(head, tile.queries, size);
        let gradient = self.known.gradient.rows(head, tile.queries, size);
        own.pack_columns::<W>(queries, attention.scale());
        gradient.pack_columns::<W>(upstream, T::one());
        own.pack_strips(simd, query_strips, width);
        gradient.pack_strips(simd, upstream_strips, width);
        for products in [&mut *weights, slopes] {
            products.resize(QUERIES * KEYS, T::zero());
        }
        sums.clear();
        sums.resize(QUERIES * size, T::zero());
        let levels = Self::levels::<W>(self.known, head, tile, size);
        let [to_queries, to_keys, to_values] = self.targets;
        for block in blocks(tile) {
            scores::<T, S, ROWS, W>(simd, attention, weights, tile, block, key_head, queries);
            let values = attention.values.rows(key_head, block.keys, size);
            across::<T, S, ROWS, W>(simd, slopes, values, upstream);
            attention.slopes(weights, slopes, block, &levels);
            // No closure: one would be compiled without the vector instructions.
            for (target, weights, strips) in
                [(to_values, &*weights, &*upstream_strips), (to_keys, &*slopes, &*query_strips)]
            {
                let Some(target) = target else { continue };
                // SAFETY: by the invariant of `Backward`, for both targets.
                #[expect(unsafe_code, reason = "writes parts of shared matrices")]
                unsafe {
                    spread::<T, S, ROWS, W, VECTORS>(simd, weights, strips, (target, key_head, size), block.keys);
                }
            }
            gather::<T, S, DEEP, W>(simd, sums, attention.keys.rows(key_head, block.keys, size), slopes);
        }
        if let Some(target) = to_queries {
            // SAFETY: by the invariant of `Backward`.
            #[expect(unsafe_code, reason = "writes one part of a shared matrix")]
            unsafe {
                write::<T, W>(target, head, tile, sums, size);
            }
        }
    }

    #[inline(always)]
    fn levels<const W: usize>(known: Known<'_, T>, head: usize, tile: &Tile, size: usize) -> Vec<Levels<T, W>> {
        let [output, gradient] = [known.output, known.gradient].map(|rows| rows.rows(head, tile.queries, size));
        let mut levels = Vec::with_capacity(QUERIES / W);
        levels.resize_with(QUERIES / W, || Levels { normaliser: [T::zero(); W], level: [T::zero(); W] });
        for (query, &normaliser) in known.normalisers.iter().enumerate() {
            let products = output.row(query).iter().zip(gradient.row(query));
            let levels = &mut levels[query / W];
            levels.normaliser[query % W] = normaliser;
            levels.level[query % W] = products.fold(T::zero(), |sum, (&a, &b)| a.fused(b, sum));
        }
        levels
    }
}

impl<T: Vectorised> Attention<'_, T> {
    /// Scores to probabilities, and their gradients to `scale weights (slopes - level)`: back through the softmax, and
    /// the soft bound, whose slope at a bounded score is `1 - (score / cap)^2`.
    #[inline(always)]
    fn slopes<const W: usize>(&self, weights: &mut [T], slopes: &mut [T], block: KeyBlock, levels: &[Levels<T, W>]) {
        let scale = self.scale();
        let share = self.form.cap.map(|cap| T::of(1. / cap));
        let pairs = panels(weights, block.keys.len, W).zip(panels(slopes, block.keys.len, W));
        for ((weights, slopes), Levels { normaliser, level }) in pairs.zip(levels) {
            let rows = weights.as_chunks_mut::<W>().0.iter_mut().zip(slopes.as_chunks_mut::<W>().0);
            for (weights, slopes) in rows {
                let scores = *weights;
                for query in 0..W {
                    weights[query] = (weights[query] - normaliser[query]).falling_exponential();
                    slopes[query] = scale * weights[query] * (slopes[query] - level[query]);
                }
                if let Some(share) = share {
                    for query in 0..W {
                        // Hidden scores are infinite; their slopes are 0 already.
                        let tangent = scores[query] * share;
                        let bend = T::one() - tangent * tangent;
                        slopes[query] = if weights[query] == T::zero() { T::zero() } else { slopes[query] * bend };
                    }
                }
            }
        }
    }
}

/// Adds the gradients of a tile's queries, `[panel, coordinate, query]`, to their rows.
///
/// # Safety
///
/// No other reference may access these rows of this head during the call.
#[expect(unsafe_code, reason = "writes one part of a shared matrix")]
unsafe fn write<T: Vectorised, const W: usize>(
    target: Target<'_, T>,
    head: usize,
    tile: &Tile,
    sums: &[T],
    size: usize,
) {
    for query in 0..tile.queries.len {
        let sums = sums[query / W * W * size..].chunks_exact(W).map(|column| column[query % W]);
        // SAFETY: passed on to the caller, and there is one slice at a time.
        let row = unsafe { target.row(head, tile.queries.start + query, size) };
        row.iter_mut().zip(sums).for_each(|(row, sum)| *row += sum);
    }
}
