//! Keys in windows of 32, which are the terms of a block of products.

use super::super::plan::{Plan, Rows, Tile};
use std::ops::Range;

/// Keys of a window.
pub(super) const WINDOW: usize = 32;

/// All rows of keys, cut where runs begin and every [`WINDOW`] rows from there: so rows that are seen together lie in the same places
/// of their windows, wherever they are in the matrix.
#[derive(Debug)]
pub(super) struct Windows {
    cells: Vec<Cell>,
}

/// Rows from one beginning to the next, and their first window.
#[derive(Debug, Clone, Copy)]
struct Cell {
    rows: Rows,
    window: usize,
}

/// Keys that a tile sees of a window.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    window: usize,
    /// The places in the window.
    places: Range<usize>,
    /// The column of the first among all that are visible to the tile.
    column: usize,
}

/// One window or two that follow each other, with the keys that a tile sees of them.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pieces: Vec<Piece>,
}

impl Windows {
    /// Those of the keys that the plan's tiles see.
    pub(super) fn of(plan: &Plan) -> Self {
        let seen = || plan.groups().iter().flatten().flat_map(|tile| &tile.seen);
        let end = seen().map(|rows| rows.start + rows.len).max().unwrap_or(0);
        let starts: Vec<usize> = plan.starts().iter().copied().filter(|&start| start < end).collect();
        let ends = starts.iter().skip(1).copied().chain([end]);
        let mut n = 0;
        let cells = starts.iter().zip(ends).map(|(&start, end)| {
            let cell = Cell { rows: Rows { start, len: end - start }, window: n };
            n += cell.rows.len.div_ceil(WINDOW);
            cell
        });
        Self { cells: cells.collect() }
    }

    /// The rows of each window.
    pub(super) fn rows(&self) -> Vec<Rows> {
        let of_cell = |cell: &Cell| {
            let Rows { start, len } = cell.rows;
            (0..len).step_by(WINDOW).map(move |first| Rows { start: start + first, len: WINDOW.min(len - first) })
        };
        self.cells.iter().flat_map(of_cell).collect()
    }

    /// The blocks that some query of the tile sees.
    pub(super) fn blocks(&self, tile: &Tile) -> Vec<Block> {
        let seen = tile.visible(0).start..tile.visible(tile.queries.len - 1).end;
        let pieces = tile.runs().flat_map(|(column, rows)| self.pieces(column, rows));
        let pieces = pieces.filter(|piece| piece.column < seen.end && piece.column + piece.places.len() > seen.start);
        let mut blocks: Vec<Block> = Vec::new();
        for piece in pieces {
            match blocks.last_mut() {
                Some(Block { pieces }) if pieces.len() == 1 && pieces[0].window + 1 == piece.window => {
                    pieces.push(piece);
                }
                _ => blocks.push(Block { pieces: vec![piece] }),
            }
        }
        blocks
    }

    /// The windows of a run of rows, the first of which has a column.
    fn pieces(&self, column: usize, rows: Rows) -> Vec<Piece> {
        let end = rows.start + rows.len;
        let first = self.cells.partition_point(|cell| cell.rows.start + cell.rows.len <= rows.start);
        let cells = self.cells[first..].iter().take_while(|cell| cell.rows.start < end);
        let mut pieces = Vec::new();
        for Cell { rows: of_cell, window } in cells {
            let places =
                rows.start.max(of_cell.start) - of_cell.start..end.min(of_cell.start + of_cell.len) - of_cell.start;
            for index in places.start / WINDOW..places.end.div_ceil(WINDOW) {
                let first = index * WINDOW;
                let inside = places.start.max(first) - first..places.end.min(first + WINDOW) - first;
                let row = of_cell.start + first + inside.start;
                pieces.push(Piece { window: window + index, places: inside, column: column + row - rows.start });
            }
        }
        pieces
    }
}

impl Block {
    /// The first window.
    pub(super) fn window(&self) -> usize {
        self.pieces[0].window
    }

    /// Windows: 1 or 2.
    pub(super) fn n_windows(&self) -> usize {
        self.pieces.len()
    }

    /// Calls with each range of keys of the block, and that of queries of the tile, whose scores are hidden.
    pub(super) fn hidden(&self, tile: &Tile, mut hide: impl FnMut(Range<usize>, Range<usize>)) {
        let n_queries = tile.queries.len;
        // The first and the last query see all keys between those that single queries see first and last.
        let (start, end) = (tile.visible(n_queries - 1).start, tile.visible(0).end);
        for (index, Piece { places, column, .. }) in self.pieces.iter().enumerate() {
            let base = index * WINDOW;
            for outside in [0..places.start, places.end..WINDOW] {
                if !outside.is_empty() {
                    hide(base + outside.start..base + outside.end, 0..n_queries);
                }
            }
            let columns = *column..column + places.len();
            if start <= columns.start && columns.end <= end {
                continue;
            }
            for query in 0..n_queries {
                let visible = tile.visible(query);
                let place = |column: usize| base + places.start + (column - columns.start);
                let before = columns.start..columns.end.min(visible.start);
                let after = columns.start.max(visible.end)..columns.end;
                for hidden in [before, after] {
                    if hidden.start < hidden.end {
                        hide(place(hidden.start)..place(hidden.end), query..query + 1);
                    }
                }
            }
        }
    }
}

/// The windows from the first that some blocks have to the last, and which of their keys are seen.
#[derive(Debug)]
pub(super) struct Seen {
    first: usize,
    /// A bit for each place of a window.
    places: Vec<u32>,
}

impl Seen {
    /// Those of some blocks.
    pub(super) fn of(blocks: &[&Block]) -> Self {
        let pieces = || blocks.iter().flat_map(|block| &block.pieces);
        let first = pieces().map(|piece| piece.window).min().unwrap_or(0);
        let end = pieces().map(|piece| piece.window + 1).max().unwrap_or(first);
        let mut places = vec![0; end - first];
        for Piece { window, places: seen, .. } in pieces() {
            let up_to = |n: usize| ((1u64 << n) - 1) as u32;
            places[window - first] |= up_to(seen.end) & !up_to(seen.start);
        }
        Self { first, places }
    }

    /// Windows.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// A window's place among them.
    pub(super) fn place(&self, window: usize) -> usize {
        window - self.first
    }

    /// The keys that are seen: their places among those of all windows, and their rows.
    pub(super) fn rows(&self, windows: &Windows) -> Vec<(usize, usize)> {
        let rows = &windows.rows()[self.first..];
        let of_window = |(index, (seen, rows)): (usize, (&u32, &Rows))| {
            let (seen, start) = (*seen, rows.start);
            let places = (0..WINDOW).filter(move |place| seen >> place & 1 == 1);
            places.map(move |place| (index * WINDOW + place, start + place))
        };
        self.places.iter().zip(rows).enumerate().flat_map(of_window).collect()
    }
}
