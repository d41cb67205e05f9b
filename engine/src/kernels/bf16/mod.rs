//! Products of `f32` matrices whose operands are rounded to bf16, with sums in `f32`.
//!
//! The operands are packed in the order of use, which rounds them, and met block by block by [`units`]: the tiles of AMX, or the
//! dot products of AVX512-BF16. A CPU with neither rounds the operands and multiplies in `f32`: the same numbers but for the
//! order of sums, and no faster.

mod blocks;
mod pack;
mod units;

use super::gemm::{self, Into, Shared, Threads, View, ViewMut};
pub(super) use blocks::{BLOCK, Form, Left, Line, NOTHING, Operand, Right, Strip, TILE, steps};
pub(super) use pack::Packed;
use rayon::prelude::*;
pub(super) use units::{Follow, Levels, PANEL, Running, Sums, Unit, column_of};

/// A product with fewer rows, columns or terms than this stays in `f32`: it is bound by memory, which packing only adds to.
const FEWEST: usize = 16;

/// Blocks of terms that a task multiplies at once, and of columns: with as many rows they stay in the cache.
const DEPTH: usize = 32;
const COLUMNS: usize = 8;
const ROWS: usize = 8;
/// Tasks that a product should have.
const TASKS: usize = 8;

/// Whether a product of these sizes is computed in bf16 where bf16 is asked for.
pub(crate) fn fits(rows: usize, columns: usize, terms: usize) -> bool {
    rows.min(columns).min(terms) >= FEWEST
}

/// `result = scale * left * right`, or `result += ..`.
///
/// Each number is one sum in a fixed order, so it does not depend on the number of threads.
pub(crate) fn multiply(result: ViewMut<'_, f32>, into: Into, scale: f32, left: View<'_, f32>, right: View<'_, f32>) {
    if let Some(unit) = Unit::of_this_cpu() {
        let left = Packed::of(unit, Operand::of(left), Form::Rows);
        let right = Packed::of(unit, Operand::of(right.t()), Form::Pairs);
        return Product { unit, left: &left, right: &right, into, scale }.compute(&Output::of(result));
    }
    let ([left, right], [[rows, terms], [_, columns]]) = rounded([left, right]);
    let (left, right) = (View::new(&left, rows, terms), View::new(&right, terms, columns));
    gemm::multiply(result, into, scale, left, right, Threads::All);
}

/// Matrices in rows with their numbers rounded to bf16, and their shapes.
fn rounded<const N: usize>(views: [View<'_, f32>; N]) -> ([Vec<f32>; N], [[usize; 2]; N]) {
    let rounded = views.map(|view| {
        let (data, shape, by_rows, stride) = view.spread();
        let at = |row: usize, column: usize| data[if by_rows { row * stride + column } else { column * stride + row }];
        let row = |row: usize| (0..shape[1]).map(move |column| round(at(row, column)));
        (0..shape[0]).flat_map(row).collect()
    });
    (rounded, views.map(|view| view.spread().1))
}

/// Numbers rounded to bf16.
pub(crate) fn rounded_numbers(numbers: &[f32]) -> Vec<f32> {
    numbers.iter().map(|&x| round(x)).collect()
}

/// To the nearest number of bf16, of two as near to the even one.
fn round(x: f32) -> f32 {
    half::bf16::from_f32(x).to_f32()
}

/// A matrix that tasks write at disjoint places.
#[derive(Clone, Copy)]
pub(super) struct Output<'a> {
    data: Shared<'a, f32>,
    offset: usize,
    row_stride: usize,
}

impl<'a> Output<'a> {
    pub(super) fn of(view: ViewMut<'a, f32>) -> Self {
        let (data, row_stride) = view.shared();
        Self { data, offset: 0, row_stride }
    }

    /// The columns from this one on.
    pub(super) fn at_column(self, column: usize) -> Self {
        Self { offset: column, ..self }
    }
}

/// Blocks of rows and of columns of a task: few enough that every thread has some of a small product.
fn task_size(rows: usize, columns: usize) -> [usize; 2] {
    let mut size = [ROWS, COLUMNS];
    while rows.div_ceil(size[0]) * columns.div_ceil(size[1]) < TASKS && size != [1, 1] {
        let larger = usize::from(size[1] >= size[0]);
        size[larger] /= 2;
    }
    size
}

/// A product of packed operands.
pub(super) struct Product<'a> {
    pub(super) unit: Unit,
    pub(super) left: &'a Packed,
    pub(super) right: &'a Packed,
    pub(super) into: Into,
    pub(super) scale: f32,
}

impl Product<'_> {
    pub(super) fn compute(&self, result: &Output<'_>) {
        let [rows, columns] = [self.left, self.right].map(|side| side.rows.div_ceil(BLOCK));
        let [high, wide] = task_size(rows, columns);
        let by_column = columns.div_ceil(wide);
        (0..rows.div_ceil(high) * by_column).into_par_iter().with_max_len(1).for_each(|task| {
            let (row, column) = (task / by_column * high, task % by_column * wide);
            self.unit.run(|| self.part(result, row..rows.min(row + high), column..columns.min(column + wide)));
        });
    }

    /// Some blocks of rows and columns; only one task has them.
    fn part(&self, result: &Output<'_>, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>) {
        let depth = self.left.depth;
        let (mut sums, steps) = (Sums::default(), steps(DEPTH));
        for first in (0..depth).step_by(DEPTH) {
            let terms = first..depth.min(first + DEPTH);
            let into = if first == 0 { self.into } else { Into::Add };
            for column in columns.clone() {
                for row in rows.clone() {
                    self.unit.block(
                        self.left.left(row, terms.clone(), &steps),
                        self.right.right(column, terms.clone()),
                        &mut sums,
                    );
                    self.store(result, [row * BLOCK, column * BLOCK], into, &sums);
                }
            }
        }
    }

    fn store(&self, result: &Output<'_>, [row, column]: [usize; 2], into: Into, sums: &Sums) {
        let n_columns = BLOCK.min(self.right.rows - column);
        for (index, sums) in sums.rows().take(self.left.rows - row).enumerate() {
            store(self.unit, result, [row + index, column], &sums[..n_columns], (into, self.scale));
        }
    }
}

/// Writes sums, scaled, to a row of the result from a column on, or adds them. Only one task has this part.
#[expect(unsafe_code, reason = "writes part of a matrix that other threads write other parts of")]
pub(super) fn store(
    unit: Unit,
    result: &Output<'_>,
    [row, column]: [usize; 2],
    sums: &[f32],
    (into, scale): (Into, f32),
) {
    let to = result.data.part(result.offset + row * result.row_stride + column, sums.len());
    // SAFETY: the part has as many numbers as the sums, and is one task's alone; where it is added to, the caller's view or an earlier
    // block of terms has written it.
    unsafe { unit.store(to, sums, into == Into::Add, scale) };
}

/// Whether this CPU has instructions for bf16.
pub(crate) fn is_fast() -> bool {
    Unit::of_this_cpu().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::checks::numbers;

    fn singles(seed: u64, n: usize) -> Vec<f32> {
        numbers(seed, n).into_iter().map(|x| x as f32).collect()
    }

    /// `[rows, terms]` times `[terms, columns]` of rounded numbers in f64, with the sum of sizes of the terms.
    fn expected(left: &[f32], right: &[f32], terms: usize, columns: usize) -> Vec<[f64; 2]> {
        let at = |place: usize| {
            let (row, column) = (place / columns, place % columns);
            let term = |term: usize| {
                f64::from(round(left[row * terms + term])) * f64::from(round(right[term * columns + column]))
            };
            (0..terms).map(term).fold([0., 0.], |[sum, size], x| [sum + x, size + x.abs()])
        };
        (0..left.len() / terms * columns).map(at).collect()
    }

    fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
        let rows = matrix.len() / columns;
        (0..matrix.len()).map(|place| matrix[place % rows * columns + place / rows]).collect()
    }

    const SHAPES: [[usize; 3]; 5] = [[16, 16, 16], [33, 40, 17], [64, 1100, 70], [300, 64, 290], [31, 65, 1]];

    #[test]
    fn products_are_those_of_rounded_numbers_however_the_operands_lie() {
        for [rows, terms, columns] in SHAPES {
            let (left, right) = (singles(1, rows * terms), singles(2, terms * columns));
            let (left_turned, right_turned) = (transposed(&left, terms), transposed(&right, columns));
            let expected = expected(&left, &right, terms, columns);
            for form in 0..4 {
                let a = if form % 2 == 0 {
                    View::new(&left, rows, terms)
                } else {
                    View::new(&left_turned, terms, rows).t()
                };
                let b = if form / 2 == 0 {
                    View::new(&right, terms, columns)
                } else {
                    View::new(&right_turned, columns, terms).t()
                };
                // Behind every row there is a number that must not change.
                let mut found = vec![1f32; rows * (columns + 1)];
                multiply(ViewMut::strided(&mut found, 0, rows, columns, columns + 1), Into::Replace, 2., a, b);
                multiply(ViewMut::strided(&mut found, 0, rows, columns, columns + 1), Into::Add, -1., a, b);
                for (row, (found, expected)) in
                    found.chunks_exact(columns + 1).zip(expected.chunks_exact(columns)).enumerate()
                {
                    assert_eq!(found[columns], 1.);
                    for (found, [sum, size]) in found.iter().zip(expected) {
                        let error = (f64::from(*found) - sum).abs();
                        assert!(
                            error <= 1e-6 * size + 1e-30,
                            "{rows} {terms} {columns}, row {row}: off by {error} of {size}"
                        );
                    }
                }
            }
        }
    }

    /// Every unit of this CPU, on one thread and on three: the same sums, and the same bits.
    #[cfg(not(miri))]
    #[test]
    fn units_agree_and_threads_give_the_same_bits() {
        for [rows, terms, columns] in SHAPES {
            let (left, right) = (singles(3, rows * terms), singles(4, terms * columns));
            let expected = expected(&left, &right, terms, columns);
            for unit in Unit::all() {
                let run = |threads: usize| {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    let mut found = vec![0f32; rows * columns];
                    pool.install(|| {
                        let left = Packed::of(unit, Operand::of(View::new(&left, rows, terms)), Form::Rows);
                        let right = Packed::of(unit, Operand::of(View::new(&right, terms, columns).t()), Form::Pairs);
                        let product = Product { unit, left: &left, right: &right, into: Into::Replace, scale: 1. };
                        product.compute(&Output::of(ViewMut::new(&mut found, rows, columns)));
                    });
                    found
                };
                let found = run(1);
                assert!(found == run(3));
                for (found, [sum, size]) in found.iter().zip(&expected) {
                    assert!(
                        (f64::from(*found) - sum).abs() <= 1e-6 * size + 1e-30,
                        "{unit:?} {rows} {terms} {columns}"
                    );
                }
            }
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_and_keeps_what_is_no_number() {
        for (x, rounded) in [
            (1f32, 1f32),
            (1. + 1. / 512., 1.),
            (1. + 1. / 256., 1.),
            (1. + 3. / 256., 1. + 1. / 64.),
            (f32::INFINITY, f32::INFINITY),
        ] {
            assert_eq!(round(x), rounded);
        }
        assert!(round(f32::NAN).is_nan());
        let data = [f32::NAN; 16 * 16];
        let mut result = [0.; 16 * 16];
        let ones = [1.; 16 * 16];
        multiply(
            ViewMut::new(&mut result, 16, 16),
            Into::Replace,
            1.,
            View::new(&data, 16, 16),
            View::new(&ones, 16, 16),
        );
        assert!(result.iter().all(|x| x.is_nan()));
    }
}
