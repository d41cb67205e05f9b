//! Attention, tile by tile of queries and block by block of keys: of the scores there is only one block at a time.
//!
//! A task of the backward pass is one group of tiles and one key head: it writes rows of that group in columns of that
//! head only, in a fixed order; a task of the forward pass is a tile and a query head. That tasks write disjoint
//! elements follows from [`Plan`] for rows and [`check_apart`] for columns. The backward pass recomputes each tile of
//! probabilities from the normalisers of the forward pass.

mod backward;
mod blocks;
mod forward;
mod plan;
mod products;
mod rounded;
#[cfg(test)]
mod tests;

use super::gemm::Shared;
use super::parallel::zeros;
use super::{Real, Vectorised};
use crate::layout::{AttentionForm, Heads};
use backward::Known;
use plan::{Rows, Tile};
use products::HeadRows;
use rayon::prelude::*;

pub(crate) use plan::Plan;

/// Where the heads of queries, keys or values lie in a row-major matrix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns {
    pub(crate) offset: usize,
    pub(crate) head_stride: usize,
    pub(crate) row_stride: usize,
}

impl Columns {
    /// The first number of a head in a row; an out-of-bounds index on overflow.
    fn start(self, head: usize, row: usize) -> usize {
        let column = head.saturating_mul(self.head_stride).saturating_add(self.offset);
        row.saturating_mul(self.row_stride).saturating_add(column)
    }
}

/// Queries, keys or values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) columns: Columns,
}

impl<'a, T: Vectorised> Operand<'a, T> {
    fn rows(self, head: usize, rows: Rows, size: usize) -> HeadRows<'a, T> {
        HeadRows::new(self.data, self.columns, head, rows, size)
    }
}

/// A gradient buffer of queries, keys or values, which may be shared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a, T> {
    pub(crate) data: Shared<'a, T>,
    pub(crate) columns: Columns,
}

impl<'a, T: Real> Target<'a, T> {
    /// # Safety
    ///
    /// No other reference may access this row of this head while the slice lives.
    #[inline(always)]
    #[expect(unsafe_code, reason = "tasks write disjoint parts of one matrix")]
    unsafe fn row(self, head: usize, row: usize, size: usize) -> &'a mut [T] {
        // SAFETY: passed on to the caller.
        unsafe { self.data.slice(self.columns.start(head, row), size) }
    }
}

/// Attention of all heads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attention<'a, T> {
    pub(crate) queries: Operand<'a, T>,
    pub(crate) keys: Operand<'a, T>,
    pub(crate) values: Operand<'a, T>,
    pub(crate) heads: Heads,
    /// The form of the scores; its window is the plan's.
    pub(crate) form: AttentionForm,
    pub(crate) plan: &'a Plan,
}

/// Logarithms of the sums of exponentials of each tile's rows, by tile and query head.
pub(crate) type Normalisers<T> = Vec<Vec<T>>;

impl<T: Vectorised> Attention<'_, T> {
    fn scale(&self) -> T {
        T::of(self.form.scale.unwrap_or_else(|| 1. / (self.heads.size as f64).sqrt()))
    }

    fn output_columns(&self) -> Columns {
        Columns { offset: 0, head_stride: self.heads.size, row_stride: self.heads.query * self.heads.size }
    }

    /// Query heads of a key head.
    fn group(&self, key_head: usize) -> std::ops::Range<usize> {
        let group = self.heads.query / self.heads.key_value;
        key_head * group..(key_head + 1) * group
    }

    /// Result `[T, query * size]` and normalisers.
    #[expect(unsafe_code, reason = "tasks write disjoint parts of one matrix")]
    pub(crate) fn forward(&self) -> (Vec<T>, Normalisers<T>) {
        if let Some(found) = rounded::forward(self) {
            return found;
        }
        let Heads { query, key_value, size } = self.heads;
        let mut output = zeros(self.plan.n_queries * query * size);
        let target = Target { data: Shared::new(&mut output), columns: self.output_columns() };
        let tiles: Vec<&Tile> = self.plan.groups().iter().flatten().collect();
        let tasks = (0..tiles.len() * query).into_par_iter();
        let normalisers = tasks
            .map_init(Vec::new, |buffers, task| {
                let (tile, head) = (tiles[task / query], task % query);
                let key_head = head / (query / key_value);
                // SAFETY: no other tile has these queries, no other task this tile and head, and `output_columns` keeps
                // heads apart.
                unsafe { forward::attend(self, tile, [head, key_head], target, buffers) }
            })
            .collect();
        (output, normalisers)
    }

    /// Writes gradients of queries, keys and values into zeroed targets, where given.
    ///
    /// # Panics
    ///
    /// If heads of the targets share columns.
    #[expect(unsafe_code, reason = "tasks write disjoint parts of the targets")]
    pub(crate) fn backward(
        &self,
        output: &[T],
        normalisers: &Normalisers<T>,
        gradient: &[T],
        targets: [Option<Target<'_, T>>; 3],
    ) {
        check_apart(targets, self.heads);
        let [output, gradient] = [output, gradient].map(|data| Operand { data, columns: self.output_columns() });
        if rounded::backward(self, [output, gradient], normalisers, targets) {
            return;
        }
        let (groups, key_heads) = (self.plan.groups(), self.heads.key_value);
        let firsts = groups.iter().scan(0, |first, group| {
            *first += group.len();
            Some(*first - group.len())
        });
        let firsts: Vec<usize> = firsts.collect();
        (0..groups.len() * key_heads).into_par_iter().with_max_len(1).for_each(|task| {
            let (group, key_head) = (task / key_heads, task % key_heads);
            let mut buffers = Vec::new();
            for head in self.group(key_head) {
                for (index, tile) in groups[group].iter().enumerate() {
                    let normalisers = &normalisers[(firsts[group] + index) * self.heads.query + head];
                    let known = Known { output, gradient, normalisers };
                    // SAFETY: no other group has these queries or sees these keys, no other task has this group and
                    // this key head or a query head that reads it, and `check_apart` has verified that heads are
                    // disjoint.
                    unsafe { backward::attend(self, tile, [head, key_head], known, targets, &mut buffers) };
                }
            }
        });
    }
}

/// Panics unless all heads of the targets have disjoint columns.
fn check_apart<T: Real>(targets: [Option<Target<'_, T>>; 3], heads: Heads) {
    let mut places = Vec::new();
    for (target, n_heads) in targets.iter().zip([heads.query, heads.key_value, heads.key_value]) {
        let Some(Target { data, columns }) = target else { continue };
        let Some(buffer) = data.place() else { continue };
        places.extend((0..n_heads).map(|head| (buffer, columns.row_stride, columns.start(head, 0))));
    }
    places.sort_unstable();
    for (index, &(buffer, row_stride, start)) in places.iter().enumerate() {
        let end = match places.get(index + 1) {
            Some(&(next_buffer, next_stride, next)) if next_buffer == buffer => {
                assert!(next_stride == row_stride, "gradients in one buffer have rows of two lengths");
                next
            }
            _ => row_stride,
        };
        assert!(start.saturating_add(heads.size) <= end, "heads of gradients share columns");
    }
}
