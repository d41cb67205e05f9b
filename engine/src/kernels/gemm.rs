//! Matrix products on strided views, by the `gemm` crate.

use super::Real;
use gemm::Parallelism;
use std::marker::PhantomData;

/// A matrix to read.
#[derive(Debug)]
pub(crate) struct View<'a, T> {
    data: *const T,
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
    lifetime: PhantomData<&'a [T]>,
}

/// A matrix to write.
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

/// Panics unless the last element of a matrix lies inside `len`.
fn check_bounds(len: usize, offset: usize, rows: usize, columns: usize, row_stride: usize) {
    if rows > 0 && columns > 0 {
        assert!(offset + (rows - 1) * row_stride + columns <= len, "matrix view outside its slice");
    }
}

impl<'a, T: Real> View<'a, T> {
    /// A matrix with contiguous rows, all of `data`.
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
    /// A matrix with contiguous rows, all of `data`.
    pub(crate) fn new(data: &'a mut [T], rows: usize, columns: usize) -> Self {
        Self::strided(data, 0, rows, columns, columns)
    }

    /// A matrix whose rows start `row_stride` apart from `offset` on.
    ///
    /// # Panics
    ///
    /// If it leaves the slice or its rows overlap.
    pub(crate) fn strided(data: &'a mut [T], offset: usize, rows: usize, columns: usize, row_stride: usize) -> Self {
        check_bounds(data.len(), offset, rows, columns, row_stride);
        assert!(columns <= row_stride || rows <= 1, "rows of a result overlap");
        let data = data.as_mut_ptr().wrapping_add(offset);
        Self { data, rows, columns, row_stride, lifetime: PhantomData }
    }
}

/// A buffer that several threads write at once, each to its own places.
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

#[expect(unsafe_code, reason = "views of it are made by an unsafe function whose callers keep threads apart")]
unsafe impl<T: Send> Send for Shared<'_, T> {}
#[expect(unsafe_code, reason = "views of it are made by an unsafe function whose callers keep threads apart")]
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T: Real> Shared<'a, T> {
    /// Takes a buffer over.
    pub(crate) fn new(data: &'a mut [T]) -> Self {
        Self { data: data.as_mut_ptr(), len: data.len(), lifetime: PhantomData }
    }

    /// A matrix inside the buffer; see [`ViewMut::strided`].
    ///
    /// # Safety
    ///
    /// While the view lives nobody else may read or write its elements.
    #[expect(unsafe_code, reason = "hands out writable views of one buffer")]
    pub(crate) unsafe fn view(self, offset: usize, rows: usize, columns: usize, row_stride: usize) -> ViewMut<'a, T> {
        check_bounds(self.len, offset, rows, columns, row_stride);
        let data = self.data.wrapping_add(offset);
        ViewMut { data, rows, columns, row_stride, lifetime: PhantomData }
    }

    /// Part of the buffer.
    ///
    /// # Safety
    ///
    /// While the slice lives nobody else may read or write its elements.
    #[expect(unsafe_code, reason = "hands out writable slices of one buffer")]
    pub(crate) unsafe fn slice(self, offset: usize, len: usize) -> &'a mut [T] {
        check_bounds(self.len, offset, 1, len, 0);
        // SAFETY: it lies inside the buffer, and the caller keeps others away.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(offset), len) }
    }
}

/// What a product does to the numbers already in the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Into {
    /// Overwrites them.
    Replace,
    /// Adds to them.
    Add,
}

/// Who computes a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The calling thread.
    One,
    /// All of rayon's threads.
    All,
}

/// `result = scale * left * right`, or `result += ..`. Takes the only right to write `result`.
///
/// # Panics
///
/// If the shapes do not fit.
#[expect(clippy::needless_pass_by_value, reason = "a view to write through is used once")]
#[expect(unsafe_code, reason = "the gemm crate takes raw pointers; the views have checked their bounds")]
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
    let parallelism = match threads {
        Threads::One => Parallelism::None,
        Threads::All => Parallelism::Rayon(0),
    };
    // SAFETY: each view was checked to lie inside its slice, which lives as long as the view; `result` is the only
    // writable view of its elements.
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
