//! The backward pass, which recomputes each block of probabilities from the normalisers of the forward pass.

use super::super::super::bf16::{Levels, Line, PANEL, Strip, TILE, column_of};
use super::super::super::parallel::zeros;
use super::super::plan::Tile;
use super::super::{Operand, Target};
use super::pack::Keys;
use super::windows::{Block, Seen, WINDOW};
use super::{KEYS, Rounded};
use rayon::prelude::*;
use std::array;

/// A tile and the blocks of keys that it sees.
type Sighted<'a> = (&'a Tile, Vec<Block>);

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
}

/// Gradients of the keys and values that a group sees, in which a task adds up those of all its tiles and heads.
struct Gathered {
    windows: Seen,
    /// Of keys and of values: `[block of coordinates, window, key, coordinate]`.
    gradients: [Vec<f32>; 2],
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
        let with_blocks = groups.iter().map(|group| {
            first += group.len();
            let tiles = group.iter().map(|tile| (tile, self.windows.blocks(tile)));
            (first - group.len(), tiles.collect())
        });
        let groups: Vec<(usize, Vec<Sighted<'_>>)> = with_blocks.collect();
        let tasks = (0..groups.len() * heads.key_value).into_par_iter().with_max_len(1);
        tasks.for_each(|task| {
            let ((first, tiles), key_head) = (&groups[task / heads.key_value], task % heads.key_value);
            let (mut buffers, mut gathered) = (Buffers::default(), self.gathered(tiles));
            self.unit.run(|| {
                for head in self.attention.group(key_head) {
                    for (index, (tile, blocks)) in tiles.iter().enumerate() {
                        let normalisers = normalisers[(first + index) * heads.query + head];
                        let known = Known { tile, head, key_head, output, gradient, normalisers };
                        // SAFETY: no other group has these queries, no other task this group and this key head or a query head that
                        // reads it, and the caller has verified that heads are disjoint.
                        #[expect(unsafe_code, reason = "tasks write disjoint parts of the targets")]
                        unsafe {
                            self.attend_back(known, blocks, &sides, targets, &mut buffers, &mut gathered);
                        }
                    }
                }
            });
            for ((target, gradients), scale) in
                targets[1..].iter().zip(&gathered.gradients).zip([self.attention.scale(), 1.])
            {
                let Some(target) = *target else { continue };
                // SAFETY: as above, and no other group sees these keys.
                #[expect(unsafe_code, reason = "tasks write disjoint parts of the targets")]
                unsafe {
                    self.write(&gathered.windows, gradients, (target, key_head), scale);
                }
            }
        });
    }

    /// Zeros for the gradients of the keys and values that tiles see.
    fn gathered(&self, tiles: &[Sighted<'_>]) -> Gathered {
        let windows = Seen::of(&tiles.iter().flat_map(|(_, blocks)| blocks).collect::<Vec<_>>());
        let n = windows.len() * WINDOW * self.depth()[0] * Strip::WIDTH;
        Gathered { windows, gradients: [zeros(n), zeros(n)] }
    }

    /// Adds the gradients of a tile in a head: those of its queries to the target, the others to what is gathered.
    ///
    /// # Safety
    ///
    /// No other reference may access the rows of the tile's queries in the query head of the first target during the call.
    #[expect(unsafe_code, reason = "writes parts of shared matrices")]
    unsafe fn attend_back(
        &self,
        known: Known<'_>,
        blocks: &[Block],
        sides: &Sides,
        [to_queries, to_keys, to_values]: [Option<Target<'_, f32>>; 3],
        buffers: &mut Buffers,
        gathered: &mut Gathered,
    ) {
        let Known { tile, head, .. } = known;
        let n_panels = self.prepare(known, sides, buffers);
        let levels = self.levels(known);
        let scale = self.attention.scale();
        for block in blocks {
            for (panel, levels) in levels.iter().enumerate() {
                self.panel_back(known, block, (panel, n_panels), levels, sides, buffers);
            }
            let Buffers { by_queries: [queries, upstream], weight_rows, slope_rows, .. } = buffers;
            let Gathered { windows, gradients: [of_keys, of_values] } = gathered;
            let place = [windows.place(block.window()), windows.len()];
            if to_values.is_some() {
                self.spread(of_values, block, place, weight_rows, (upstream, n_panels));
            }
            if to_keys.is_some() {
                self.spread(of_keys, block, place, slope_rows, (queries, n_panels));
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

    /// Adds to rows of gradients, one for each key, the queries' rows, each times its weight.
    fn spread(
        &self,
        gradients: &mut [f32],
        block: &Block,
        [place, n_windows]: [usize; 2],
        rows: &[Line],
        (right, n_panels): (&[Line], usize),
    ) {
        let lines = n_panels * 2 * TILE;
        let by_coordinates = gradients.chunks_exact_mut(n_windows * WINDOW * Strip::WIDTH);
        for (index, (gradients, right)) in by_coordinates.zip(right.chunks_exact(lines)).enumerate() {
            let is_wide = self.attention.heads.size > index * Strip::WIDTH + TILE;
            let of_block = &mut gradients[place * WINDOW * Strip::WIDTH..][..block.n_windows() * WINDOW * Strip::WIDTH];
            for (sixteen, sums) in of_block.chunks_exact_mut(TILE * Strip::WIDTH).enumerate() {
                let strip = Strip {
                    left: &rows[sixteen * TILE..],
                    row: 1,
                    left_step: KEYS,
                    right,
                    right_step: 2 * TILE,
                    steps: n_panels,
                    pairs: n_panels * TILE,
                    is_wide,
                };
                self.unit.strip(&strip, sums, true);
            }
        }
    }

    /// Adds the gradients of keys that are seen, times `scale`, to their rows of a target.
    ///
    /// # Safety
    ///
    /// No other reference may access these rows of this head during the call.
    #[expect(unsafe_code, reason = "writes one part of a shared matrix")]
    unsafe fn write(
        &self,
        windows: &Seen,
        gradients: &[f32],
        (target, key_head): (Target<'_, f32>, usize),
        scale: f32,
    ) {
        let size = self.attention.heads.size;
        for (place, row) in windows.rows(&self.windows) {
            // SAFETY: passed on to the caller, and there is one slice at a time.
            let row = unsafe { target.row(key_head, row, size) };
            let by_coordinates = gradients.chunks_exact(windows.len() * WINDOW * Strip::WIDTH);
            for (row, gradients) in row.chunks_mut(Strip::WIDTH).zip(by_coordinates) {
                let gradients = &gradients[place * Strip::WIDTH..];
                row.iter_mut().zip(gradients).for_each(|(to, gradient)| *to += scale * gradient);
            }
        }
    }
}
