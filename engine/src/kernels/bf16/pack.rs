//! Operands in the order of use, rounded to bf16.

use super::blocks::{BLOCK, Form, LINES, Left, Line, Operand, Right, TILE};
use super::units::Unit;
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// A packed operand: `[block of rows, block of terms, line]`.
#[derive(Debug)]
pub(in super::super) struct Packed {
    lines: Vec<Line>,
    pub(in super::super) rows: usize,
    /// Blocks of terms.
    pub(in super::super) depth: usize,
}

impl Packed {
    /// One operand, whole.
    pub(in super::super) fn of(unit: Unit, operand: Operand<'_>, form: Form) -> Self {
        Self::of_parts(unit, operand.rows, &[operand], form)
    }

    /// Operands one behind the other, each filled up with zeros to whole blocks of terms.
    #[expect(unsafe_code, reason = "all lines are written once, in parallel")]
    pub(in super::super) fn of_parts(unit: Unit, rows: usize, parts: &[Operand<'_>], form: Form) -> Self {
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
    pub(in super::super) fn halves(unit: Unit, operand: &Operand<'_>, n: usize) -> Vec<Line> {
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
    pub(in super::super) fn left<'a>(&'a self, block: usize, terms: Range<usize>, steps: &'a [usize]) -> Left<'a> {
        Left { lines: self.block(block, terms.clone()), steps: &steps[..terms.len()], row: 1 }
    }

    /// [`Packed::block`] as a right operand.
    #[inline]
    pub(in super::super) fn right(&self, block: usize, terms: Range<usize>) -> Right<'_> {
        let lines = self.block(block, terms);
        Right { halves: [lines, lines.get(TILE..).unwrap_or_default()], step: LINES }
    }
}
