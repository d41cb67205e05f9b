//! Which rows attend to which, in tiles of queries.

use crate::ops::{Block, Forest};

/// Queries per tile.
const TILE: usize = 64;

/// Consecutive rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows {
    pub(super) start: usize,
    pub(super) len: usize,
}

/// A few queries: their rows, and the runs of rows that they see, in causal attention their own last.
#[derive(Debug)]
pub(crate) struct Tile {
    pub(super) queries: Rows,
    pub(super) seen: Vec<Rows>,
    pub(super) n_seen: usize,
    is_causal: bool,
}

impl Tile {
    fn new(queries: Rows, seen: Vec<Rows>, is_causal: bool) -> Self {
        let n_seen = seen.iter().map(|rows| rows.len).sum();
        Self { queries, seen, n_seen, is_causal }
    }

    /// Number of keys that query `index` of the tile sees, from the first on.
    pub(super) fn n_visible(&self, index: usize) -> usize {
        if self.is_causal { self.n_seen - self.queries.len + index + 1 } else { self.n_seen }
    }

    /// Runs with the column at which each starts in a matrix of scores.
    pub(super) fn runs(&self) -> impl Iterator<Item = (usize, Rows)> {
        self.seen.iter().scan(0, |column, &rows| {
            let start = *column;
            *column += rows.len;
            Some((start, rows))
        })
    }
}

/// All queries in tiles, put together so that no two groups share a key.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) groups: Vec<Vec<Tile>>,
    pub(crate) n_queries: usize,
}

impl Plan {
    /// Each token sees itself, those before it in its segment and its segment's ancestors; a group is a tree.
    pub(crate) fn of_forest(forest: &Forest) -> Self {
        let mut groups: Vec<Vec<Tile>> = Vec::new();
        let mut tree_of = Vec::with_capacity(forest.segments.len());
        for (index, segment) in forest.segments.iter().enumerate() {
            let tree = segment.parent.map_or(groups.len(), |parent| tree_of[parent]);
            tree_of.push(tree);
            if tree == groups.len() {
                groups.push(Vec::new());
            }
            let path = forest.path(index);
            let above = path[..path.len() - 1].iter().map(|&s| &forest.segments[s]);
            let above: Vec<Rows> = above.filter(|s| s.len > 0).map(|s| Rows { start: s.start, len: s.len }).collect();
            for (first, len) in tiles(segment.len) {
                let mut seen = above.clone();
                seen.push(Rows { start: segment.start, len: first + len });
                groups[tree].push(Tile::new(Rows { start: segment.start + first, len }, seen, true));
            }
        }
        Self { groups, n_queries: forest.n_rows() }
    }

    /// Each query of a block sees all keys of the block.
    pub(crate) fn of_blocks(blocks: &[Block]) -> Self {
        let mut by_keys: Vec<&Block> = blocks.iter().filter(|block| !block.queries.is_empty()).collect();
        // Stable, so that blocks with the same keys stay in their order.
        by_keys.sort_by_key(|block| block.keys.start);
        let (mut groups, mut end) = (Vec::<Vec<Tile>>::new(), 0);
        for block in by_keys {
            if block.keys.start >= end || groups.is_empty() {
                groups.push(Vec::new());
            }
            end = end.max(block.keys.end);
            let keys = Rows { start: block.keys.start, len: block.keys.len() };
            let of_block = tiles(block.queries.len()).map(|(first, len)| {
                let queries = Rows { start: block.queries.start + first, len };
                Tile::new(queries, vec![keys], false)
            });
            if let Some(group) = groups.last_mut() {
                group.extend(of_block);
            }
        }
        Self { groups, n_queries: blocks.last().map_or(0, |block| block.queries.end) }
    }
}

/// Starts and lengths that cut `len` queries into tiles.
fn tiles(len: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..len).step_by(TILE).map(move |first| (first, TILE.min(len - first)))
}
