//! Operands in lines of bf16.

use super::super::super::bf16::{self, Form, Line, PANEL, TILE};
use super::super::Operand;
use super::super::plan::Rows;
use super::Rounded;
use super::windows::WINDOW;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// All keys, or all values, of all heads.
#[derive(Debug)]
pub(super) struct Keys {
    /// `[head, window, block of coordinates, key]`: a line has 32 coordinates.
    by_row: Vec<Line>,
    /// `[head, window, coordinate]`: a line has the keys of a window.
    by_coordinate: Vec<Line>,
    n_windows: usize,
    depth: [usize; 2],
}

impl Keys {
    /// The keys of a window: `[block of coordinates, key]`.
    pub(super) fn rows(&self, head: usize, window: usize) -> &[Line] {
        let lines = self.depth[0] * WINDOW;
        &self.by_row[(head * self.n_windows + window) * lines..][..lines]
    }

    /// The coordinates of the windows from one on, sixteen of which are `index`; from window to window there are [`Keys::height`] lines.
    pub(super) fn coordinates(&self, head: usize, window: usize, index: usize) -> &[Line] {
        &self.by_coordinate[(head * self.n_windows + window) * self.height() + index * TILE..]
    }

    /// Coordinates in whole tiles.
    pub(super) fn height(&self) -> usize {
        self.depth[1] * TILE
    }
}

/// Writes the lines of some rows of a head.
type Write<'a> = dyn Fn(usize, Rows, &mut [MaybeUninit<Line>]) + Sync + 'a;

impl Rounded<'_> {
    /// Packs keys or values, by rows, by coordinates, or both.
    pub(super) fn keys(&self, operand: Operand<'_, f32>, [by_row, by_coordinate]: [bool; 2]) -> Keys {
        let (windows, depth) = (self.windows.rows(), self.depth());
        let n_heads = self.attention.heads.key_value;
        let all = |lines: usize, write: &Write<'_>| {
            let mut packed = Vec::new();
            written(&mut packed, n_heads * windows.len() * lines, |packed| {
                packed.par_chunks_exact_mut(lines).with_min_len(16).enumerate().for_each(|(index, lines)| {
                    write(index / windows.len(), windows[index % windows.len()], lines);
                });
            });
            packed
        };
        let rows = |head: usize, rows: Rows, lines: &mut [MaybeUninit<Line>]| {
            let operand = self.by_row(operand, head, rows);
            for (index, lines) in lines.chunks_exact_mut(TILE).enumerate() {
                self.unit.pack(&operand, [index % 2 * TILE, index / 2 * 2 * TILE], Form::Rows, lines);
            }
        };
        let coordinates = |head: usize, rows: Rows, lines: &mut [MaybeUninit<Line>]| {
            let operand = self.by_coordinate(operand, head, rows);
            for (index, lines) in lines.chunks_exact_mut(TILE).enumerate() {
                self.unit.pack(&operand, [index * TILE, 0], Form::Rows, lines);
            }
        };
        Keys {
            by_row: if by_row { all(depth[0] * WINDOW, &rows) } else { Vec::new() },
            by_coordinate: if by_coordinate { all(depth[1] * TILE, &coordinates) } else { Vec::new() },
            n_windows: windows.len(),
            depth,
        }
    }

    /// A tile's queries or gradients as the right operand of products over coordinates: `[panel, block of coordinates, half, pair]`.
    pub(super) fn by_coordinates(&self, operand: Operand<'_, f32>, head: usize, rows: Rows, lines: &mut Vec<Line>) {
        let [steps, _] = self.depth();
        let operand = self.by_row(operand, head, rows);
        written(lines, rows.len.div_ceil(PANEL) * steps * 2 * TILE, |lines| {
            for (index, lines) in lines.chunks_exact_mut(TILE).enumerate() {
                let (panel, step, half) = (index / 2 / steps, index / 2 % steps, index % 2);
                self.unit.pack(&operand, [panel * PANEL + half * TILE, step * 2 * TILE], Form::Pairs, lines);
            }
        });
    }

    /// A tile's queries or gradients as the right operand of products over queries: `[block of coordinates, panel, half, pair]`.
    pub(super) fn by_queries(&self, operand: Operand<'_, f32>, head: usize, rows: Rows, lines: &mut Vec<Line>) {
        let ([steps, _], panels) = (self.depth(), rows.len.div_ceil(PANEL));
        let operand = self.by_coordinate(operand, head, rows);
        written(lines, panels * steps * 2 * TILE, |lines| {
            for (index, lines) in lines.chunks_exact_mut(TILE).enumerate() {
                let (step, panel, half) = (index / 2 / panels, index / 2 % panels, index % 2);
                self.unit.pack(&operand, [(2 * step + half) * TILE, panel * PANEL], Form::Pairs, lines);
            }
        });
    }

    /// Rows of a head, whose terms are coordinates.
    fn by_row<'a>(&self, operand: Operand<'a, f32>, head: usize, rows: Rows) -> bf16::Operand<'a> {
        let data = &operand.data[operand.columns.start(head, rows.start)..];
        let (terms, stride) = (self.attention.heads.size, operand.columns.row_stride);
        bf16::Operand { data, rows: rows.len, terms, terms_lie_together: true, stride, table: None }
    }

    /// Coordinates of a head, whose terms are rows.
    fn by_coordinate<'a>(&self, operand: Operand<'a, f32>, head: usize, rows: Rows) -> bf16::Operand<'a> {
        let operand = self.by_row(operand, head, rows);
        bf16::Operand { rows: operand.terms, terms: operand.rows, terms_lie_together: false, ..operand }
    }
}

/// Makes this the lines, all of which `write` must write.
#[expect(unsafe_code, reason = "memory that was not written before")]
fn written(lines: &mut Vec<Line>, n: usize, write: impl FnOnce(&mut [MaybeUninit<Line>])) {
    lines.clear();
    lines.reserve(n);
    write(&mut lines.spare_capacity_mut()[..n]);
    // SAFETY: the callers here write whole chunks that divide `n`, each by [`Unit::pack`], which writes all of its lines.
    unsafe { lines.set_len(n) };
}
