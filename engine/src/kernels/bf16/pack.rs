//! Operands in the order of use: blocks of 32 rows by 32 terms, rounded to bf16, two terms to a 32-bit number.

use super::super::convolution::NOTHING;
use super::super::gemm::View;
use super::units::Unit;
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Rows, columns and terms of a block.
pub(super) const BLOCK: usize = 32;
/// Lines of a block: two tiles of sixteen.
const LINES: usize = 32;
/// Lines of a tile, and numbers of a line.
pub(super) const TILE: usize = 16;

/// Sixteen pairs of terms, in a line of the cache.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u32; TILE]);

/// What the lines of a tile are: rows of the left operand, or pairs of terms of the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A line has the terms of a row.
    Rows,
    /// A line has a pair of terms of each row.
    Pairs,
}

/// A matrix `[rows, terms]`, one axis of which is contiguous; the steps of the other may go through a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) rows: usize,
    pub(crate) terms: usize,
    /// Whether the terms of a row lie side by side, and not the rows of a term.
    pub(crate) terms_lie_together: bool,
    /// Between steps of the other axis.
    pub(crate) stride: usize,
    /// The place of each step of the other axis, or [`NOTHING`].
    pub(crate) table: Option<&'a [u32]>,
}

impl<'a> Operand<'a> {
    pub(super) fn of(view: View<'a, f32>) -> Self {
        let (data, [rows, terms], terms_lie_together, stride) = view.spread();
        Self { data, rows, terms, terms_lie_together, stride, table: None }
    }

    /// As many as `n` numbers of the contiguous axis from `first` on, at a step of the other one; none behind the end.
    #[inline]
    pub(super) fn strip(&self, step: usize, first: usize, n: usize) -> &'a [f32] {
        let (steps, len) = if self.terms_lie_together { (self.rows, self.terms) } else { (self.terms, self.rows) };
        if step >= steps || first >= len {
            return &[];
        }
        let place = match self.table {
            None => step,
            Some(table) if table[step] == NOTHING => return &[],
            Some(table) => table[step] as usize,
        };
        &self.data[place * self.stride + first..][..n.min(len - first)]
    }
}

/// A packed operand: `[block of rows, block of terms, line]`.
#[derive(Debug)]
pub(super) struct Packed {
    lines: Vec<Line>,
    pub(super) rows: usize,
    /// Blocks of terms.
    pub(super) depth: usize,
}

impl Packed {
    /// One operand, whole.
    pub(super) fn of(unit: Unit, operand: Operand<'_>, form: Form) -> Self {
        Self::of_parts(unit, operand.rows, &[operand], form)
    }

    /// Operands one behind the other, each filled up with zeros to whole blocks of terms.
    #[expect(unsafe_code, reason = "all lines are written once, in parallel")]
    pub(super) fn of_parts(unit: Unit, rows: usize, parts: &[Operand<'_>], form: Form) -> Self {
        let depth: usize = parts.iter().map(|part| part.terms.div_ceil(BLOCK)).sum();
        let n = rows.div_ceil(BLOCK) * depth * LINES;
        let mut lines: Vec<Line> = Vec::with_capacity(n);
        let unwritten: &mut [MaybeUninit<Line>] = &mut lines.spare_capacity_mut()[..n];
        unwritten.par_chunks_mut((depth * LINES).max(1)).enumerate().for_each(|(block, lines)| {
            let mut blocks = lines.chunks_exact_mut(LINES);
            for part in parts {
                for (index, lines) in (0..part.terms.div_ceil(BLOCK)).zip(&mut blocks) {
                    let [first, second] = [0, TILE].map(|row| [block * BLOCK + row, index * BLOCK]);
                    let (upper, lower) = lines.split_at_mut(TILE);
                    unit.pack(part, first, form, upper);
                    unit.pack(part, second, form, lower);
                }
            }
        });
        // SAFETY: the parts have `depth` blocks together, so every line was written.
        unsafe { lines.set_len(n) };
        Self { lines, rows, depth }
    }

    /// The lines of an operand in [`Form::Pairs`] by sixteen rows, of which there are `n`: `[sixteen rows, pair of terms]`. Its terms are
    /// whole blocks.
    #[expect(unsafe_code, reason = "all lines are written once, in parallel")]
    pub(super) fn halves(unit: Unit, operand: &Operand<'_>, n: usize) -> Vec<Line> {
        let pairs = operand.terms / 2;
        assert!(pairs.is_multiple_of(TILE), "half a block of terms");
        let mut lines: Vec<Line> = Vec::with_capacity(n * pairs);
        let unwritten: &mut [MaybeUninit<Line>] = &mut lines.spare_capacity_mut()[..n * pairs];
        unwritten.par_chunks_exact_mut(TILE).with_min_len(16).enumerate().for_each(|(index, lines)| {
            let (half, block) = (index / (pairs / TILE), index % (pairs / TILE));
            unit.pack(operand, [half * TILE, block * BLOCK], Form::Pairs, lines);
        });
        // SAFETY: the chunks are whole, and each was written.
        unsafe { lines.set_len(n * pairs) };
        lines
    }

    /// Blocks of terms of a block of rows.
    #[inline]
    fn block(&self, block: usize, terms: Range<usize>) -> &[Line] {
        &self.lines[(block * self.depth + terms.start) * LINES..][..terms.len() * LINES]
    }

    /// [`Packed::block`] as a left operand; `steps` are [`STEPS`] of as many blocks of terms at least.
    #[inline]
    pub(super) fn left<'a>(&'a self, block: usize, terms: Range<usize>, steps: &'a [usize]) -> Left<'a> {
        Left { lines: self.block(block, terms.clone()), steps: &steps[..terms.len()], row: 1 }
    }

    /// [`Packed::block`] as a right operand.
    #[inline]
    pub(super) fn right(&self, block: usize, terms: Range<usize>) -> Right<'_> {
        let lines = self.block(block, terms);
        Right { halves: [lines, lines.get(TILE..).unwrap_or_default()], step: LINES }
    }
}

/// The places of the blocks of terms of a packed operand.
pub(super) fn steps(n: usize) -> Vec<usize> {
    (0..n).map(|block| block * LINES).collect()
}

/// A block of rows, wherever its terms lie: a line has 32 terms of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left<'a> {
    pub(super) lines: &'a [Line],
    /// The first row's line of each block of terms.
    pub(super) steps: &'a [usize],
    /// Lines from row to row.
    pub(super) row: usize,
}

/// A block of columns in two halves of sixteen: a line has two terms of each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Right<'a> {
    pub(super) halves: [&'a [Line]; 2],
    /// Lines from block of terms to block of terms.
    pub(super) step: usize,
}

/// Whether all lines of a block lie in the operands.
pub(super) fn are_inside(left: &Left<'_>, right: &Right<'_>) -> bool {
    let Some(last) = left.steps.iter().max() else { return true };
    let of_right = (left.steps.len() - 1) * right.step + TILE;
    last + (BLOCK - 1) * left.row < left.lines.len() && right.halves.iter().all(|half| of_right <= half.len())
}
