//! Matrix products on strided views, by the `gemm` crate.

use super::Real;
use std::marker::PhantomData;

/// A read-only matrix view.
///
/// # Safety invariants
///
/// All of its elements lie in a slice borrowed for `'a`.
#[derive(Debug)]
pub(crate) struct View<'a, T> {
    data: *const T,
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
    lifetime: PhantomData<&'a [T]>,
}

/// A mutable matrix view.
///
/// # Safety invariants
///
/// All of its elements lie in a slice borrowed for `'a`, no two of them alias, and no other reference accesses them
/// while the view lives.
#[derive(Debug)]
pub(crate) struct ViewMut<'a, T> {
    data: *mut T,
    rows: usize,
    columns: usize,
    row_stride: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for View<'_, T> {}

/// Panics unless a matrix lies inside `len`; an empty one may start right after it.
///
/// Strides must fit the signed ones of the `gemm` crate, even without a second row.
fn check_bounds(len: usize, offset: usize, rows: usize, columns: usize, row_stride: usize) {
    let last_row = if columns == 0 { Some(0) } else { rows.saturating_sub(1).checked_mul(row_stride) };
    let length = last_row.and_then(|row| row.checked_add(if rows == 0 { 0 } else { columns }));
    let end = length.and_then(|length| length.checked_add(offset));
    assert!(end.is_some_and(|end| end <= len), "matrix view outside its slice");
    assert!(isize::try_from(row_stride).is_ok(), "rows of a matrix too far apart");
}

/// [`check_bounds`] for a mutable matrix, whose rows must not overlap either.
fn check_result(len: usize, offset: usize, rows: usize, columns: usize, row_stride: usize) {
    check_bounds(len, offset, rows, columns, row_stride);
    assert!(columns <= row_stride || rows <= 1, "rows of a result overlap");
}

impl<'a, T: Real> View<'a, T> {
    /// A matrix with contiguous rows that spans `data`.
    pub(crate) fn new(data: &'a [T], rows: usize, columns: usize) -> Self {
        Self::strided(data, 0, rows, columns, columns)
    }

    /// A matrix whose rows start `row_stride` apart from `offset` on.
    ///
    /// # Panics
    ///
    /// If it leaves the slice.
    pub(crate) fn strided(data: &'a [T], offset: usize, rows: usize, columns: usize, row_stride: usize) -> Self {
        check_bounds(data.len(), offset, rows, columns, row_stride);
        let data = data.as_ptr().wrapping_add(offset);
        Self { data, rows, columns, row_stride, column_stride: 1, lifetime: PhantomData }
    }

    /// The transpose.
    pub(crate) fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

impl<'a, T: Real> ViewMut<'a, T> {
    /// A matrix with contiguous rows that spans `data`.
    pub(crate) fn new(data: &'a mut [T], rows: usize, columns: usize) -> Self {
        Self::strided(data, 0, rows, columns, columns)
    }

    /// A matrix whose rows start `row_stride` apart from `offset` on.
    ///
    /// # Panics
    ///
    /// If it leaves the slice or its rows overlap.
    pub(crate) fn strided(data: &'a mut [T], offset: usize, rows: usize, columns: usize, row_stride: usize) -> Self {
        check_result(data.len(), offset, rows, columns, row_stride);
        let data = data.as_mut_ptr().wrapping_add(offset);
        Self { data, rows, columns, row_stride, lifetime: PhantomData }
    }
}

/// A buffer that several threads write concurrently, at disjoint places.
///
/// # Safety invariants
///
/// The `len` numbers from `data` on are borrowed for `'a` by this value and its copies only.
#[derive(Debug)]
pub(crate) struct Shared<'a, T> {
    data: *mut T,
    len: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

impl<T> Clone for Shared<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Shared<'_, T> {}

// SAFETY: it stands for a `&mut [T]`, which is `Send` if `T` is.
#[expect(unsafe_code, reason = "views of it are made by an unsafe function whose callers keep threads apart")]
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: through a shared reference a thread reaches elements only by `view` and `slice`, whose callers guarantee
// exclusive access. So an element is never shared, only sent: `T: Send` is enough.
#[expect(unsafe_code, reason = "views of it are made by an unsafe function whose callers keep threads apart")]
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T: Real> Shared<'a, T> {
    /// Takes a mutable buffer.
    pub(crate) fn new(data: &'a mut [T]) -> Self {
        Self { data: data.as_mut_ptr(), len: data.len(), lifetime: PhantomData }
    }

    /// The address of its first number, if it has any; distinct for distinct buffers.
    pub(crate) fn place(self) -> Option<*const T> {
        (self.len > 0).then_some(self.data.cast_const())
    }

    /// A matrix inside the buffer; see [`ViewMut::strided`].
    ///
    /// # Panics
    ///
    /// If it leaves the buffer or its rows overlap.
    ///
    /// # Safety
    ///
    /// No other reference may access its elements while the view lives.
    #[cfg_attr(not(test), expect(dead_code, reason = "tasks that multiply into parts of one buffer"))]
    #[expect(unsafe_code, reason = "hands out writable views of one buffer")]
    pub(crate) unsafe fn view(self, offset: usize, rows: usize, columns: usize, row_stride: usize) -> ViewMut<'a, T> {
        check_result(self.len, offset, rows, columns, row_stride);
        let data = self.data.wrapping_add(offset);
        ViewMut { data, rows, columns, row_stride, lifetime: PhantomData }
    }

    /// Part of the buffer.
    ///
    /// # Panics
    ///
    /// If it leaves the buffer.
    ///
    /// # Safety
    ///
    /// No other reference may access its elements while the slice lives.
    #[expect(unsafe_code, reason = "hands out writable slices of one buffer")]
    pub(crate) unsafe fn slice(self, offset: usize, len: usize) -> &'a mut [T] {
        check_bounds(self.len, offset, 1, len, 0);
        // SAFETY: it was checked to lie inside the buffer, also when empty, and the caller guarantees exclusive access.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(offset), len) }
    }
}

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

/// `result = scale * left * right`, or `result += ..`. Takes `result` by value, the only access to its elements.
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
    assert!(
        result.rows == left.rows && result.columns == right.columns && left.columns == right.rows,
        "a product of shapes that do not fit"
    );
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
