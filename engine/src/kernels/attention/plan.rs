//! The sparsity pattern of attention, in tiles of queries.

use crate::layout::{Block, Forest};
use std::ops::Range;

/// Queries per tile; few under Miri, which is slow and should still see several tiles.
const TILE: usize = if cfg!(miri) { 2 } else { 64 };

/// Consecutive rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows {
    pub(super) start: usize,
    pub(super) len: usize,
}

/// Some queries: their rows, and the runs of rows visible to them, in causal attention their own last.
#[derive(Debug)]
pub(crate) struct Tile {
    pub(super) queries: Rows,
    pub(super) seen: Vec<Rows>,
    pub(super) n_seen: usize,
    sight: Sight,
}

/// The keys that a query of a tile sees, of those visible to the tile.
#[derive(Debug, Clone, Copy)]
enum Sight {
    /// All.
    All,
    /// Those up to its own, the last of them only where there is a window.
    Causal { window: usize },
}

impl Tile {
    fn new(queries: Rows, seen: Vec<Rows>, sight: Sight) -> Self {
        let seen = match sight {
            Sight::All => seen,
            Sight::Causal { window } => last(seen, queries.len.saturating_add(window - 1)),
        };
        let n_seen = seen.iter().map(|rows| rows.len).sum();
        Self { queries, seen, n_seen, sight }
    }

    /// The columns of the score matrix that query `index` of the tile sees.
    pub(super) fn visible(&self, index: usize) -> Range<usize> {
        match self.sight {
            Sight::All => 0..self.n_seen,
            Sight::Causal { window } => {
                let end = self.n_seen - self.queries.len + index + 1;
                end.saturating_sub(window)..end
            }
        }
    }

    /// Runs with the column at which each starts in the score matrix.
    pub(super) fn runs(&self) -> impl Iterator<Item = (usize, Rows)> {
        self.seen.iter().scan(0, |column, &rows| {
            let start = *column;
            *column += rows.len;
            Some((start, rows))
        })
    }
}

/// All queries in tiles, in groups.
///
/// # Safety invariants
///
/// Threads write gradients concurrently, each for the rows of one group or tile. So no two tiles share a query, and no
/// two groups share a visible row.
#[derive(Debug)]
pub(crate) struct Plan {
    groups: Vec<Vec<Tile>>,
    pub(crate) n_queries: usize,
    /// The rows that runs of keys begin with where no window cuts them, in order.
    starts: Vec<usize>,
}

impl Plan {
    /// # Panics
    ///
    /// If tiles share queries or groups keys.
    fn new(groups: Vec<Vec<Tile>>, n_queries: usize, mut starts: Vec<usize>) -> Self {
        let tiles = || groups.iter().enumerate().flat_map(|(group, tiles)| tiles.iter().map(move |tile| (group, tile)));
        let queries = tiles().enumerate().map(|(index, (_, tile))| (tile.queries, index));
        assert!(are_apart(queries.collect()), "two tiles share queries");
        let keys = tiles().flat_map(|(group, tile)| tile.seen.iter().map(move |&rows| (rows, group)));
        assert!(are_apart(keys.collect()), "two groups share keys");
        starts.sort_unstable();
        starts.dedup();
        Self { groups, n_queries, starts }
    }

    pub(super) fn starts(&self) -> &[usize] {
        &self.starts
    }

    pub(super) fn groups(&self) -> &[Vec<Tile>] {
        &self.groups
    }

    /// Each token sees itself, earlier tokens of its segment and the segment's ancestors, of all these the last `window`;
    /// a group is a tree.
    ///
    /// # Panics
    ///
    /// If the segments share rows, as in a forest that fails its check, or the window is 0.
    pub(crate) fn of_forest(forest: &Forest, window: Option<usize>) -> Self {
        let window = window.unwrap_or(usize::MAX);
        assert!(window > 0, "a token sees itself at least");
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
                groups[tree].push(Tile::new(
                    Rows { start: segment.start + first, len },
                    seen,
                    Sight::Causal { window },
                ));
            }
        }
        let starts = forest.segments.iter().map(|segment| segment.start).collect();
        Self::new(groups, forest.n_rows(), starts)
    }

    /// Each query of a block sees all keys of the block.
    ///
    /// # Panics
    ///
    /// If the blocks share queries.
    pub(crate) fn of_blocks(blocks: &[Block]) -> Self {
        let mut by_keys: Vec<&Block> = blocks.iter().filter(|block| !block.queries.is_empty()).collect();
        // The sort is stable, so blocks with the same keys keep their order.
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
                Tile::new(queries, vec![keys], Sight::All)
            });
            if let Some(group) = groups.last_mut() {
                group.extend(of_block);
            }
        }
        let starts = blocks.iter().map(|block| block.keys.start).collect();
        Self::new(groups, blocks.last().map_or(0, |block| block.queries.end), starts)
    }
}

/// Whether rows of different owners are disjoint.
fn are_apart(mut runs: Vec<(Rows, usize)>) -> bool {
    runs.retain(|(rows, _)| rows.len > 0);
    runs.sort_unstable_by_key(|&(rows, _)| rows.start);
    let (mut end, mut last) = (0, None);
    runs.into_iter().all(|(rows, owner)| {
        // Overlapping runs have had one owner so far, so comparing with the last one suffices.
        let is_apart = rows.start >= end || last == Some(owner);
        (end, last) = (end.max(rows.start.saturating_add(rows.len)), Some(owner));
        is_apart
    })
}

/// The last `n` rows of runs.
fn last(mut runs: Vec<Rows>, n: usize) -> Vec<Rows> {
    let mut excess = runs.iter().map(|rows| rows.len).sum::<usize>().saturating_sub(n);
    for rows in &mut runs {
        let cut = excess.min(rows.len);
        (rows.start, rows.len, excess) = (rows.start + cut, rows.len - cut, excess - cut);
    }
    runs.retain(|rows| rows.len > 0);
    runs
}

/// Starts and lengths that cut `len` queries into tiles.
fn tiles(len: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..len).step_by(TILE).map(move |first| (first, TILE.min(len - first)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::checks;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Forests whose segments continue one of the few before them, or start a tree.
    fn forests() -> impl Strategy<Value = Forest> {
        vec((proptest::option::of(0..4usize), 0..150usize), 0..8).prop_map(|segments| {
            let mut forest = Forest::default();
            for (index, (back, len)) in segments.into_iter().enumerate() {
                forest.push(back.and_then(|back| index.checked_sub(back + 1)), len);
            }
            forest
        })
    }

    /// Blocks over 40 keys, with arbitrary overlaps.
    fn blocks() -> impl Strategy<Value = Vec<Block>> {
        vec((0..150usize, 0..30usize, 1..11usize), 0..6).prop_map(|blocks| {
            let next = |end: &mut usize, (queries, first, keys)| {
                *end += queries;
                Some(Block { queries: *end - queries..*end, keys: first..first + keys })
            };
            blocks.into_iter().scan(0, next).collect()
        })
    }

    fn range(rows: Rows) -> Range<usize> {
        rows.start..rows.start + rows.len
    }

    /// Checks the invariants, and returns the keys visible to each query.
    fn lawful(plan: &Plan, n_keys: usize) -> Vec<Vec<usize>> {
        let mut group_of = vec![None; n_keys];
        let mut visible = vec![None; plan.n_queries];
        for (group, tiles) in plan.groups().iter().enumerate() {
            for tile in tiles {
                let seen: Vec<usize> = tile.seen.iter().copied().flat_map(range).collect();
                assert_eq!(seen.len(), tile.n_seen);
                for &key in &seen {
                    assert!(
                        group_of[key].replace(group).is_none_or(|other| other == group),
                        "two groups see row {key}"
                    );
                }
                for (index, query) in range(tile.queries).enumerate() {
                    let keys = seen[tile.visible(index)].to_vec();
                    assert!(visible[query].replace(keys).is_none(), "two tiles have query {query}");
                }
            }
        }
        visible.into_iter().map(|keys| keys.expect("a query that no tile has")).collect()
    }

    proptest! {
        #![proptest_config(checks::config())]

        #[cfg_attr(miri, ignore = "safe code alone, and slow there")]
        #[test]
        fn tokens_see_their_ancestors_and_threads_stay_apart(
            forest in forests(), window in proptest::option::of(1..200usize)
        ) {
            let visible = lawful(&Plan::of_forest(&forest, window), forest.n_rows());
            for (index, segment) in forest.segments.iter().enumerate() {
                let path = forest.path(index).into_iter().map(|s| forest.segments[s]);
                let above: Vec<usize> = path.flat_map(|s| s.start..s.start + s.len).collect();
                for (place, row) in (segment.start..segment.start + segment.len).enumerate() {
                    let before = &above[..=above.len() - segment.len + place];
                    let first = before.len().saturating_sub(window.unwrap_or(usize::MAX));
                    prop_assert_eq!(&visible[row][..], &before[first..]);
                }
            }
        }

        #[cfg_attr(miri, ignore = "safe code alone, and slow there")]
        #[test]
        fn queries_see_the_keys_of_their_block_and_threads_stay_apart(blocks in blocks()) {
            let visible = lawful(&Plan::of_blocks(&blocks), 40);
            for block in &blocks {
                for row in block.queries.clone() {
                    prop_assert_eq!(&visible[row], &block.keys.clone().collect::<Vec<_>>());
                }
            }
        }

        #[cfg_attr(miri, ignore = "safe code alone, and slow there")]
        #[test]
        fn owners_are_apart_exactly_if_no_row_has_two(runs in vec((0..20usize, 0..5usize, 0..3usize), 0..6)) {
            let mut owners = [None; 25];
            let mut rows = runs.iter().flat_map(|&(start, len, owner)| (start..start + len).map(move |row| (row, owner)));
            let expected = rows.all(|(row, owner)| owners[row].replace(owner).is_none_or(|other| other == owner));
            let runs = runs.into_iter().map(|(start, len, owner)| (Rows { start, len }, owner));
            prop_assert_eq!(are_apart(runs.collect()), expected);
        }
    }

    #[test]
    #[should_panic(expected = "two tiles share queries")]
    fn blocks_that_share_queries_are_refused() {
        Plan::of_blocks(&[Block { queries: 0..3, keys: 0..2 }, Block { queries: 2..4, keys: 2..4 }]);
    }

    #[test]
    #[should_panic(expected = "two tiles share queries")]
    fn forests_that_fail_their_check_are_refused() {
        let mut forest = Forest::chains(&[3, 2]);
        forest.segments[1].start = 2;
        Plan::of_forest(&forest, None);
    }

    #[test]
    #[should_panic(expected = "two groups share keys")]
    fn groups_that_share_keys_are_refused() {
        let tile = |query, seen| Tile::new(Rows { start: query, len: 1 }, vec![seen], Sight::All);
        let (all, second) = (Rows { start: 0, len: 2 }, Rows { start: 1, len: 1 });
        Plan::new(vec![vec![tile(0, all)], vec![tile(1, second)]], 2, vec![0, 1]);
    }
}
