//! The backward pass, which recomputes each block of probabilities from the normalisers of the forward pass.

use super::super::super::bf16::{Levels, Line, PANEL, Strip, TILE, column_of};
use super::super::plan::Tile;
use super::super::{Operand, Target};
use super::pack::Keys;
use super::windows::Block;
use super::{KEYS, Rounded};
use rayon::prelude::*;
use std::array;

/// Keys by rows and by coordinates, and values by rows.
struct Sides {
    keys: Keys,
    values: Keys,
}

/// A tile in a head, and what is known of it after the forward pass.
#[derive(Clone, Copy)]
struct Known<'a> {
    tile: &'a Tile,
    head: usize,
    key_head: usize,
    output: Operand<'a, f32>,
    gradient: Operand<'a, f32>,
    normalisers: &'a [f32],
}

/// Memory of a task.
#[derive(Debug, Default)]
struct Buffers {
    /// Queries and their gradients, paired by coordinates, and by queries.
    by_coordinates: [Vec<Line>; 2],
    by_queries: [Vec<Line>; 2],
    scores: Vec<f32>,
    slopes: Vec<f32>,
    /// Weights and gradients of scores: `[panel, key]`.
    weight_rows: Vec<Line>,
    slope_rows: Vec<Line>,
    pairs: Vec<Line>,
    /// Gradients of the queries: `[panel, coordinate, column]`.
    sums: Vec<f32>,
    strip: Vec<f32>,
}

impl Rounded<'_> {
    /// Adds the gradients of queries, keys and values to targets, where given, which were checked.
    pub(super) fn backward(
        &self,
        [output, gradient]: [Operand<'_, f32>; 2],
        normalisers: &[&[f32]],
        targets: [Option<Target<'_, f32>>; 3],
    ) {
        let sides = Sides {
            keys: self.keys(self.attention.keys, [true, true]),
            values: self.keys(self.attention.values, [true, false]),
        };
        let (groups, heads) = (self.attention.plan.groups(), self.attention.heads);
        let mut first = 0;
        let groups: Vec<(usize, Vec<(&Tile, Vec<Block>)>)> = groups.iter().map(|group| {
            first += group.len();
            (first - group.len(), group.iter().map(|tile| (tile, self.windows.blocks(tile))).collect())
        }).collect();
        let tasks = (0..groups.len() * heads.key_value).into_par_iter().with_max_len(1);
        tasks.for_each(|task| {
            let ((first, tiles), key_head) = (&groups[task / heads.key_value], task % heads.key_value);
            let mut buffers = Buffers::default();
            self.unit.run(|| {
                for head in self.attention.group(key_head) {
                    for (index, (tile, blocks)) in tiles.iter().enumerate() {
                        let normalisers = normalisers[(first + index) * heads.query + head];
                        let known = Known { tile, head, key_head, output, gradient, normalisers };
                        // SAFETY: no other group has these queries or sees these keys, no other task has this group and this key
                        // head or a query head that reads it, and the caller has verified that heads are disjoint.
                        #[expect(unsafe_code, reason = "tasks write disjoint parts of the targets")]
                        unsafe {
                            self.attend_back(known, blocks, &sides, targets, &mut buffers);
                        }
                    }
                }
            });
        });
    }

    /// Adds the gradients of a tile in a head.
    ///
    /// # Safety
    ///
    /// No other reference may access the rows of the tile's queries in the query head of the first target during the call, nor the
    /// rows visible to it in the key head of the others.
    #[expect(unsafe_code, reason = "writes parts of shared matrices")]
    unsafe fn attend_back(
        &self,
        known: Known<'_>,
        blocks: &[Block],
        sides: &Sides,
        [to_queries, to_keys, to_values]: [Option<Target<'_, f32>>; 3],
        buffers: &mut Buffers,
    ) {
        let Known { tile, head, key_head, .. } = known;
        let n_panels = self.prepare(known, sides, buffers);
        let levels = self.levels(known);
        let scale = self.attention.scale();
        for block in blocks {
            for (panel, levels) in levels.iter().enumerate() {
                self.panel_back(known, block, (panel, n_panels), levels, sides, buffers);
            }
            let Buffers { by_queries: [queries, upstream], weight_rows, slope_rows, strip, .. } = buffers;
            for (target, rows, right, scale) in
                [(to_values, &*weight_rows, &*upstream, 1.), (to_keys, &*slope_rows, &*queries, scale)]
            {
                let Some(target) = target else { continue };
                // SAFETY: passed on to the caller, for both targets.
                unsafe { self.spread((target, key_head), block, rows, (right, n_panels, scale), strip) };
            }
        }
        let Some(target) = to_queries else { return };
        for query in 0..tile.queries.len {
            let sums = &buffers.sums[query / PANEL * sides.keys.height() * PANEL..];
            let column = column_of(query % PANEL);
            // SAFETY: passed on to the caller, and there is one slice at a time.
            let row = unsafe { target.row(head, tile.queries.start + query, self.attention.heads.size) };
            for (to, sums) in row.iter_mut().zip(sums.chunks_exact(PANEL)) {
                *to += scale * sums[column];
            }
        }
    }

    /// Packs a tile's queries and gradients, and returns its number of panels.
    fn prepare(&self, known: Known<'_>, sides: &Sides, buffers: &mut Buffers) -> usize {
        let Known { tile, head, gradient, .. } = known;
        for (index, operand) in [self.attention.queries, gradient].into_iter().enumerate() {
            self.by_coordinates(operand, head, tile.queries, &mut buffers.by_coordinates[index]);
            self.by_queries(operand, head, tile.queries, &mut buffers.by_queries[index]);
        }
        let n_panels = tile.queries.len.div_ceil(PANEL);
        buffers.scores.resize(KEYS * PANEL, 0.);
        buffers.slopes.resize(KEYS * PANEL, 0.);
        buffers.pairs.resize(KEYS, Line::default());
        for rows in [&mut buffers.weight_rows, &mut buffers.slope_rows] {
            rows.resize(n_panels * KEYS, Line::default());
        }
        buffers.sums.clear();
        buffers.sums.resize(n_panels * sides.keys.height() * PANEL, 0.);
        buffers.strip.resize(TILE * Strip::WIDTH, 0.);
        n_panels
    }

    /// The levels of each panel of a tile's queries.
    fn levels(&self, known: Known<'_>) -> Vec<Levels> {
        let size = self.attention.heads.size;
        let [output, gradient] =
            [known.output, known.gradient].map(|operand| operand.rows(known.head, known.tile.queries, size));
        let of_panel = |(panel, normalisers): (usize, &[f32])| {
            let level = |query: usize| {
                let rows = [output, gradient].map(|operand| operand.row(panel * PANEL + query));
                rows[0].iter().zip(rows[1]).map(|(a, b)| a * b).sum::<f32>()
            };
            Levels {
                factor: self.factor(),
                normaliser: array::from_fn(|query| {
                    normalisers.get(query).map_or(0., |normaliser| normaliser * std::f32::consts::LOG2_E)
                }),
                level: array::from_fn(|query| if query < normalisers.len() { level(query) } else { 0. }),
                share: self.attention.form.cap.map(|cap| (1. / cap) as f32),
            }
        };
        known.normalisers.chunks(PANEL).enumerate().map(of_panel).collect()
    }

    /// Weights and gradients of scores of a block and a panel, in rows; adds the gradients of the queries.
    fn panel_back(
        &self,
        known: Known<'_>,
        block: &Block,
        (panel, n_panels): (usize, usize),
        levels: &Levels,
        sides: &Sides,
        buffers: &mut Buffers,
    ) {
        let Buffers { by_coordinates, scores, slopes, weight_rows, slope_rows, pairs, sums, .. } = buffers;
        let (window, n_windows) = (block.window(), block.n_windows());
        let n = n_windows * KEYS / 2;
        let [queries, upstream] = by_coordinates.each_ref().map(|lines| {
            let len = lines.len() / n_panels;
            &lines[len * panel..][..len]
        });
        let (scores, slopes) = (&mut scores[..n * PANEL], &mut slopes[..n * PANEL]);
        self.across(scores, &sides.keys, [known.key_head, window], queries);
        self.across(slopes, &sides.values, [known.key_head, window], upstream);
        self.finish(scores, known.tile, block, panel);
        let rows = [weight_rows, slope_rows].map(|rows| &mut rows[panel * KEYS..][..n]);
        self.unit.slopes([scores, slopes], levels, rows, pairs);
        let height = sides.keys.height() * PANEL;
        self.gather(&mut sums[panel * height..][..height], &sides.keys, [known.key_head, window, n_windows], pairs);
    }

    /// Adds to rows of a target, one for each key that is seen, the queries' rows, each times its weight and all times `scale`.
    ///
    /// # Safety
    ///
    /// No other reference may access these rows of this head during the call.
    #[expect(unsafe_code, reason = "writes one part of a shared matrix")]
    unsafe fn spread(
        &self,
        (target, key_head): (Target<'_, f32>, usize),
        block: &Block,
        rows: &[Line],
        (right, n_panels, scale): (&[Line], usize, f32),
        sums: &mut [f32],
    ) {
        let size = self.attention.heads.size;
        let width = right.len() / self.depth()[0];
        for (index, right) in right.chunks_exact(width).enumerate() {
            let coordinates = index * Strip::WIDTH..size.min(index * Strip::WIDTH + Strip::WIDTH);
            let mut seen = block.rows().peekable();
            for first in (0..block.n_windows() * KEYS / 2).step_by(TILE) {
                let strip = Strip {
                    left: &rows[first..],
                    row: 1,
                    left_step: KEYS,
                    right,
                    right_step: 2 * TILE,
                    steps: n_panels,
                    pairs: n_panels * TILE,
                    is_wide: coordinates.len() > TILE,
                };
                self.unit.strip(&strip, sums, false);
                while let Some((place, row)) = seen.next_if(|&(place, _)| place < first + TILE) {
                    let sums = &sums[(place - first) * Strip::WIDTH..][..coordinates.len()];
                    // SAFETY: passed on to the caller, and there is one slice at a time.
                    let row = unsafe { target.row(key_head, row, size) };
                    // SAFETY: the part of the row has as many numbers as the sums, and was written before.
                    unsafe { self.unit.store(row[coordinates.clone()].as_mut_ptr(), sums, true, scale) };
                }
            }
        }
    }
}
