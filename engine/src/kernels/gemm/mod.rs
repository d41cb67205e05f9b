//! Matrix products on strided views, by the `gemm` crate.

mod views;

pub(crate) use views::{Shared, View, ViewMut};

use super::Real;

/// Whether a product overwrites the result or accumulates into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Into {
    /// Overwrites them.
    Replace,
    /// Adds to them.
    Add,
}

/// The threads that compute a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The calling thread.
    #[cfg_attr(not(test), expect(dead_code, reason = "tasks that multiply on a thread of their own"))]
    One,
    /// All of rayon's threads.
    All,
}

/// The matrix in rows that `write` fills: memory that nothing was written to before.
///
/// # Safety
///
/// `write` must write every number of the view before it reads it.
#[expect(unsafe_code, reason = "the caller writes all of the memory")]
pub(super) unsafe fn written<T: Real>(rows: usize, columns: usize, write: impl FnOnce(ViewMut<'_, T>)) -> Vec<T> {
    let n = rows.checked_mul(columns).expect("a product that fits in memory");
    let mut numbers = Vec::with_capacity(n);
    write(ViewMut::unwritten(&mut numbers.spare_capacity_mut()[..n], rows, columns));
    // SAFETY: promised by the caller.
    unsafe { numbers.set_len(n) };
    numbers
}

/// Panics unless the shapes of a product fit.
pub(super) fn assert_fit<T>(result: &ViewMut<'_, T>, left: View<'_, T>, right: View<'_, T>) {
    assert!(
        result.rows == left.rows && result.columns == right.columns && left.columns == right.rows,
        "a product of shapes that do not fit"
    );
}

/// `result = scale * left * right`, or `result += ..`, in the precision of its numbers. Takes `result` by value, the only access to its
/// elements.
///
/// # Panics
///
/// If the shapes do not fit.
#[expect(clippy::needless_pass_by_value, reason = "a view to write through is used once")]
#[expect(unsafe_code, reason = "the product takes raw pointers; the views have checked their bounds")]
pub(crate) fn multiply<T: Real>(
    result: ViewMut<'_, T>,
    into: Into,
    scale: T,
    left: View<'_, T>,
    right: View<'_, T>,
    threads: Threads,
) {
    assert_fit(&result, left, right);
    // SAFETY: by the invariants of the views, and with matching shapes, all reads and writes lie in slices borrowed for
    // the call, and `result` is the only access to its elements, none of which alias. Strides were checked to be
    // positive as `isize` too.
    unsafe { product(&result, into, scale, left, right, threads) }
}

/// [`multiply`] by the `gemm` crate.
///
/// # Safety
///
/// The shapes must fit, and the views keep their invariants.
#[cfg(not(miri))]
#[expect(unsafe_code, reason = "the gemm crate takes raw pointers")]
unsafe fn product<T: Real>(
    result: &ViewMut<'_, T>,
    into: Into,
    scale: T,
    left: View<'_, T>,
    right: View<'_, T>,
    threads: Threads,
) {
    let parallelism = match threads {
        Threads::One => gemm::Parallelism::None,
        Threads::All => gemm::Parallelism::Rayon(0),
    };
    // SAFETY: promised by the caller.
    unsafe {
        gemm::gemm(
            result.rows,
            result.columns,
            left.columns,
            result.data,
            1,
            result.row_stride as isize,
            into == Into::Add,
            left.data,
            left.column_stride as isize,
            left.row_stride as isize,
            right.data,
            right.column_stride as isize,
            right.row_stride as isize,
            T::one(),
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// [`multiply`] term by term, for Miri: it accesses the same elements as the `gemm` crate through the same pointers, in
/// a second instead of minutes.
///
/// # Safety
///
/// The shapes must fit, and the views keep their invariants.
#[cfg(miri)]
#[expect(unsafe_code, reason = "reads and writes by the pointers of the views")]
unsafe fn product<T: Real>(
    result: &ViewMut<'_, T>,
    into: Into,
    scale: T,
    left: View<'_, T>,
    right: View<'_, T>,
    _threads: Threads,
) {
    // SAFETY: promised by the caller.
    let at = |view: View<'_, T>, row: usize, column: usize| unsafe {
        *view.data.add(row * view.row_stride + column * view.column_stride)
    };
    for row in 0..result.rows {
        for column in 0..result.columns {
            let terms = (0..left.columns).map(|inner| at(left, row, inner) * at(right, inner, column));
            let sum = scale * terms.fold(T::zero(), |sum, term| sum + term);
            // SAFETY: promised by the caller.
            unsafe {
                let place = result.data.add(row * result.row_stride + column);
                *place = if into == Into::Add { *place + sum } else { sum };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::checks;
    use proptest::prelude::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// The panic message of a call.
    fn refusal<R>(call: impl FnOnce() -> R) -> Option<String> {
        let panic = catch_unwind(AssertUnwindSafe(call)).err()?;
        panic.downcast_ref::<&str>().map(|message| (*message).to_owned())
    }

    /// Small numbers, and numbers whose sums and products overflow.
    fn extents() -> impl Strategy<Value = usize> {
        let huge = prop_oneof![0..4usize, Just(isize::MAX as usize), Just(1 << 63), Just(1 << 32)];
        prop_oneof![4 => 0..7usize, 1 => huge.prop_map(|small| usize::MAX - small)]
    }

    proptest! {
        #![proptest_config(checks::config())]

        #[test]
        fn views_are_refused_exactly_if_they_leave_their_slice(
            offset in extents(), rows in extents(), columns in extents(), row_stride in extents()
        ) {
            let mut data = [0f64; 12];
            let last = (rows as u128).saturating_sub(1) * row_stride as u128;
            let length = if columns == 0 { 0 } else { last + if rows == 0 { 0 } else { columns as u128 } };
            let outside = offset as u128 + length > 12 || row_stride > isize::MAX as usize;
            let read = refusal(|| View::strided(&data, offset, rows, columns, row_stride));
            prop_assert_eq!(read.is_some(), outside, "{:?}", read);
            let overlap = rows > 1 && columns > row_stride;
            let write = refusal(|| ViewMut::strided(&mut data, offset, rows, columns, row_stride));
            prop_assert_eq!(write.is_some(), outside || overlap, "{:?}", write);
            let shared = Shared::new(&mut data);
            // SAFETY: one view at a time, and it is not used.
            #[expect(unsafe_code, reason = "what is refused is tested")]
            let view = refusal(|| unsafe { shared.view(offset, rows, columns, row_stride) });
            prop_assert_eq!(view, write);
            // SAFETY: one slice at a time.
            #[expect(unsafe_code, reason = "what is refused is tested")]
            let slice = refusal(|| unsafe { shared.slice(offset, columns) });
            prop_assert_eq!(slice.is_some(), offset as u128 + columns as u128 > 12);
        }
    }

    #[test]
    fn views_that_wrap_around_are_outside() {
        let data = [0f64; 4];
        for (offset, rows, columns, row_stride) in
            [(usize::MAX, 2, 1, 1), (1, 2, 1, usize::MAX), (2, 3, 1, 1 << 63), (1, 1, usize::MAX, 0), (5, 0, 1, 1)]
        {
            let refusal = refusal(|| View::strided(&data, offset, rows, columns, row_stride));
            assert_eq!(refusal.as_deref(), Some("matrix view outside its slice"), "{offset} {rows} {columns}");
        }
    }

    #[test]
    fn threads_write_parts_of_one_buffer() {
        // Two rows of four blocks, each `[2, 3] [3, 2]` and written by its own task.
        let (left, right) = (checks::numbers(1, 24), checks::numbers(2, 24));
        let mut result = vec![7.; 32];
        let shared = Shared::new(&mut result);
        let block = |index: usize| {
            (View::new(&left[index % 4 * 6..][..6], 2, 3), View::new(&right[index / 4 * 6..][..6], 3, 2))
        };
        rayon::scope(|scope| {
            for index in 0..8 {
                scope.spawn(move |_| {
                    let (left, right) = block(index);
                    // SAFETY: each task has its own block.
                    #[expect(unsafe_code, reason = "tasks write disjoint blocks of one buffer")]
                    let part = unsafe { shared.view(index / 4 * 16 + index % 4 * 2, 2, 2, 8) };
                    multiply(part, Into::Replace, 2., left, right, Threads::One);
                });
            }
        });
        for (place, value) in result.into_iter().enumerate() {
            let (row, column) = (place / 8, place % 8);
            let (left, right) = (&left[column / 2 * 6 + row % 2 * 3..][..3], &right[row / 2 * 6 + column % 2..]);
            let expected: f64 = left.iter().zip(right.iter().step_by(2)).map(|(a, b)| a * b).sum();
            assert!((value - 2. * expected).abs() < 1e-12, "{place}: {value} for {expected}");
        }
    }

    #[test]
    fn products_go_by_the_transpose_and_may_be_added() {
        let (left, right) = (checks::numbers(3, 12), checks::numbers(4, 20));
        // `[4, 3]^T [4, 5]`; after every row of the result there is a number that must not change.
        let mut result = vec![1.; 18];
        let view = ViewMut::strided(&mut result, 0, 3, 5, 6);
        multiply(view, Into::Add, 1., View::new(&left, 4, 3).t(), View::new(&right, 4, 5), Threads::All);
        for (place, value) in result.into_iter().enumerate() {
            let (row, column) = (place / 6, place % 6);
            let expected: f64 =
                if column < 5 { (0..4).map(|k| left[k * 3 + row] * right[k * 5 + column]).sum() } else { 0. };
            assert!((value - 1. - expected).abs() < 1e-12, "{place}");
        }
    }
}
