//! Blocks of 32 rows by 32 terms, two terms to a 32-bit number, and what they are made of.

use super::super::gemm::View;

/// Rows, columns and terms of a block.
pub(in super::super) const BLOCK: usize = 32;
/// Lines of a block: two tiles of sixteen.
pub(super) const LINES: usize = 32;
/// Lines of a tile, and numbers of a line.
pub(in super::super) const TILE: usize = 16;

/// The place of a step that has zeros only.
pub(in super::super) const NOTHING: u32 = u32::MAX;

/// Sixteen pairs of terms, in a line of the cache.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub(in super::super) struct Line(pub(in super::super) [u32; TILE]);

/// What the lines of a tile are: rows of the left operand, or pairs of terms of the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Form {
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
    pub(in super::super) fn of(view: View<'a, f32>) -> Self {
        let (data, [rows, terms], terms_lie_together, stride) = view.spread();
        Self { data, rows, terms, terms_lie_together, stride, table: None }
    }

    /// As many as `n` numbers of the contiguous axis from `first` on, at a step of the other one; none behind the end.
    #[inline]
    pub(in super::super) fn strip(&self, step: usize, first: usize, n: usize) -> &'a [f32] {
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

/// The places of the blocks of terms of a packed operand.
pub(in super::super) fn steps(n: usize) -> Vec<usize> {
    (0..n).map(|block| block * LINES).collect()
}

/// A block of rows, wherever its terms lie: a line has 32 terms of a row.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Left<'a> {
    pub(in super::super) lines: &'a [Line],
    /// The first row's line of each block of terms.
    pub(in super::super) steps: &'a [usize],
    /// Lines from row to row.
    pub(in super::super) row: usize,
}

/// A block of columns in two halves of sixteen: a line has two terms of each.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Right<'a> {
    pub(in super::super) halves: [&'a [Line]; 2],
    /// Lines from block of terms to block of terms.
    pub(in super::super) step: usize,
}

/// Whether all lines of a block lie in the operands.
pub(super) fn are_inside(left: &Left<'_>, right: &Right<'_>) -> bool {
    let Some(last) = left.steps.iter().max() else { return true };
    let of_right = (left.steps.len() - 1) * right.step + TILE;
    last + (BLOCK - 1) * left.row < left.lines.len() && right.halves.iter().all(|half| of_right <= half.len())
}

/// A product of sixteen rows with 16 columns or 32, block of terms by block of terms.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Strip<'a> {
    /// A line has 32 terms of a row.
    pub(in super::super) left: &'a [Line],
    /// Lines of the left operand from row to row.
    pub(in super::super) row: usize,
    /// Lines of the left operand from block of terms to block of terms.
    pub(in super::super) left_step: usize,
    /// A line has two terms of each of sixteen columns; those of the second sixteen columns follow.
    pub(in super::super) right: &'a [Line],
    /// Lines of the right operand from block of terms to block of terms.
    pub(in super::super) right_step: usize,
    /// Blocks of terms; one at least.
    pub(in super::super) steps: usize,
    /// Pairs of terms in all, behind which there are zeros.
    pub(in super::super) pairs: usize,
    /// Whether there are 32 columns.
    pub(in super::super) is_wide: bool,
}

impl Strip<'_> {
    /// Sums of a row, of which a narrow strip writes half.
    pub(in super::super) const WIDTH: usize = BLOCK;

    /// Whether all lines are in the operands.
    pub(super) fn is_inside(&self) -> bool {
        let last = self.steps.wrapping_sub(1);
        let columns = if self.is_wide { 2 * TILE } else { TILE };
        self.steps > 0
            && self.pairs <= self.steps * TILE
            && last * self.left_step + (TILE - 1) * self.row < self.left.len()
            && last * self.right_step + columns <= self.right.len()
    }
}
