//! Blocks of keys of a tile: their scores, and the keys that queries do not see.

use super::super::Vectorised;
use super::super::soft_cap::soft_cap;
use super::Attention;
use super::plan::{Rows, Tile};
use super::products::{KEYS, across};
use pulp::Simd;
use std::ops::Range;

/// Consecutive keys of a tile, and their first column among all that are visible to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyBlock {
    pub(super) column: usize,
    pub(super) keys: Rows,
}

/// The blocks that some query of the tile sees.
pub(super) fn blocks(tile: &Tile) -> impl Iterator<Item = KeyBlock> {
    let seen = tile.visible(0).start..tile.visible(tile.queries.len - 1).end;
    let of_run = |(column, rows): (usize, Rows)| {
        (0..rows.len).step_by(KEYS).map(move |first| KeyBlock {
            column: column + first,
            keys: Rows { start: rows.start + first, len: KEYS.min(rows.len - first) },
        })
    };
    tile.runs()
        .flat_map(of_run)
        .filter(move |block| block.column < seen.end && block.column + block.keys.len > seen.start)
}

/// The rows of a panel that belong to the block's keys.
pub(super) fn panels<T>(products: &mut [T], n_keys: usize, width: usize) -> impl Iterator<Item = &mut [T]> {
    products.chunks_exact_mut(KEYS * width).map(move |panel| &mut panel[..n_keys * width])
}

/// Scores of a block, `[panel, key, query]`: minus infinity for keys that their query does not see, softly bounded where
/// there is a cap.
#[inline(always)]
pub(super) fn scores<T: Vectorised, S: Simd, const ROWS: usize, const W: usize>(
    simd: S,
    attention: &Attention<'_, T>,
    scores: &mut [T],
    tile: &Tile,
    block: KeyBlock,
    key_head: usize,
    queries: &[T],
) {
    let keys = attention.keys.rows(key_head, block.keys, attention.heads.size);
    across::<T, S, ROWS, W>(simd, scores, keys, queries);
    if let Some(cap) = attention.form.cap {
        panels(scores, block.keys.len, W).for_each(|panel| soft_cap(panel, cap));
    }
    let columns = block.column..block.column + block.keys.len;
    // The first and the last query see all keys between those that single queries see first and last.
    let (start, end) = (tile.visible(tile.queries.len - 1).start, tile.visible(0).end);
    if start <= columns.start && columns.end <= end {
        return;
    }
    for query in 0..tile.queries.len {
        hide::<T, W>(&mut scores[query / W * KEYS * W..], query % W, &columns, &tile.visible(query));
    }
}

/// Sets the scores of the columns outside `visible` to minus infinity.
#[inline(always)]
fn hide<T: Vectorised, const W: usize>(panel: &mut [T], query: usize, columns: &Range<usize>, visible: &Range<usize>) {
    let before = columns.start..columns.end.min(visible.start);
    let after = columns.start.max(visible.end)..columns.end;
    for column in before.chain(after) {
        panel[(column - columns.start) * W + query] = T::of(f64::NEG_INFINITY);
    }
}
