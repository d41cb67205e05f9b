//! The forward pass: tiles of queries in each head.

use super::super::super::bf16::{Follow, Line, PANEL, Running, Strip, TILE, column_of};
use super::super::super::gemm::Shared;
use super::super::super::parallel::zeros;
use super::super::plan::Tile;
use super::super::{Normalisers, Target};
use super::pack::Keys;
use super::windows::Block;
use super::{KEYS, Rounded};
use crate::layout::Heads;
use rayon::prelude::*;

/// Memory of a task.
#[derive(Debug, Default)]
struct Buffers {
    queries: Vec<Line>,
    scores: Vec<f32>,
    pairs: Vec<Line>,
    sums: Vec<f32>,
}

impl Rounded<'_> {
    /// Result `[T, query * size]` and normalisers, as of [`super::super::Attention::forward`].
    pub(super) fn forward(&self) -> (Vec<f32>, Normalisers<f32>) {
        let Heads { query, key_value, size } = self.attention.heads;
        let mut output = zeros(self.attention.plan.n_queries * query * size);
        let target = Target { data: Shared::new(&mut output), columns: self.attention.output_columns() };
        let keys = self.keys(self.attention.keys, [true, false]);
        let values = self.keys(self.attention.values, [false, true]);
        let tiles: Vec<(&Tile, Vec<Block>)> = {
            let tiles = self.attention.plan.groups().iter().flatten();
            tiles.map(|tile| (tile, self.windows.blocks(tile))).collect()
        };
        let tasks = (0..tiles.len() * query).into_par_iter();
        let normalisers = tasks.map_init(Buffers::default, |buffers, task| {
            let ((tile, blocks), head) = (&tiles[task / query], task % query);
            let heads = [head, head / (query / key_value)];
            let mut normalisers = Vec::new();
            self.unit.run(|| {
                // SAFETY: no other tile has these queries, no other task this tile and head, and `output_columns` keeps heads apart.
                #[expect(unsafe_code, reason = "tasks write disjoint parts of one matrix")]
                unsafe {
                    self.attend(tile, blocks, heads, [&keys, &values], target, buffers, &mut normalisers);
                }
            });
            normalisers
        });
        let normalisers = normalisers.collect();
        (output, normalisers)
    }

    /// Writes the result of a tile's queries in a head, and appends the logarithms of their sums of exponentials.
    ///
    /// # Safety
    ///
    /// No other reference may access the rows of the tile's queries in this head of the target during the call.
    #[expect(unsafe_code, reason = "writes one part of a shared matrix")]
    #[expect(clippy::too_many_arguments, reason = "operands, result and memory")]
    unsafe fn attend(
        &self,
        tile: &Tile,
        blocks: &[Block],
        [head, key_head]: [usize; 2],
        [keys, values]: [&Keys; 2],
        target: Target<'_, f32>,
        buffers: &mut Buffers,
        normalisers: &mut Vec<f32>,
    ) {
        let size = self.attention.heads.size;
        self.by_coordinates(self.attention.queries, head, tile.queries, &mut buffers.queries);
        let n_panels = tile.queries.len.div_ceil(PANEL);
        for panel in 0..n_panels {
            let running = self.panel(tile, blocks, (panel, n_panels), key_head, [keys, values], buffers);
            let queries = panel * PANEL..tile.queries.len.min(panel * PANEL + PANEL);
            for query in queries.clone() {
                let (column, share) = (column_of(query % PANEL), running.sum[query % PANEL].recip());
                // SAFETY: passed on to the caller, and there is one slice at a time.
                let row = unsafe { target.row(head, tile.queries.start + query, size) };
                for (to, sums) in row.iter_mut().zip(buffers.sums.chunks_exact(PANEL)) {
                    *to = sums[column] * share;
                }
            }
            let factor = self.factor() / std::f32::consts::LOG2_E;
            let normaliser = |query: usize| {
                let (largest, sum) = (running.largest[query % PANEL], running.sum[query % PANEL]);
                (f64::from(largest) * f64::from(factor) + f64::from(sum).ln()) as f32
            };
            normalisers.extend(queries.map(normaliser));
        }
    }

    /// The softmax of a panel of queries, with its sums of values in the buffers: `[coordinate, column]`.
    fn panel(
        &self,
        tile: &Tile,
        blocks: &[Block],
        (panel, n_panels): (usize, usize),
        key_head: usize,
        [keys, values]: [&Keys; 2],
        Buffers { queries, scores, pairs, sums }: &mut Buffers,
    ) -> Running {
        let queries = &queries[queries.len() / n_panels * panel..][..queries.len() / n_panels];
        scores.resize(KEYS * PANEL, 0.);
        pairs.resize(KEYS, Line::default());
        sums.clear();
        sums.resize(values.height() * PANEL, 0.);
        let mut running = Running::default();
        for block in blocks {
            let (window, n_windows) = (block.window(), block.n_windows());
            let scores = &mut scores[..n_windows * KEYS / 2 * PANEL];
            self.across(scores, keys, [key_head, window], queries);
            self.finish(scores, tile, block, panel);
            self.unit.follow(&mut Follow { scores, factor: self.factor(), sums }, &mut running, pairs);
            self.gather(sums, values, [key_head, window, n_windows], pairs);
        }
        running
    }

    /// Adds to `[coordinate, column]` the coordinates of windows of keys, each times its key's weights.
    pub(super) fn gather(
        &self,
        sums: &mut [f32],
        keys: &Keys,
        [key_head, window, n_windows]: [usize; 3],
        pairs: &[Line],
    ) {
        for (index, sums) in sums.chunks_exact_mut(TILE * PANEL).enumerate() {
            let strip = Strip {
                left: keys.coordinates(key_head, window, index),
                row: 1,
                left_step: keys.height(),
                right: pairs,
                right_step: 2 * TILE,
                steps: n_windows,
                pairs: n_windows * TILE,
                is_wide: true,
            };
            self.unit.strip(&strip, sums, true);
        }
    }
}
