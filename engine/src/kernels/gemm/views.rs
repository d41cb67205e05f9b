//! Strided views of matrices, and buffers that several threads write.

use super::super::Real;
use candle_core::DType;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// A read-only matrix view.
///
/// # Safety invariants
///
/// All of its elements lie in a slice borrowed for `'a`.
#[derive(Debug)]
pub(crate) struct View<'a, T> {
    pub(super) data: *const T,
    pub(in super::super) rows: usize,
    pub(in super::super) columns: usize,
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
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
    pub(super) data: *mut T,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
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

    /// Itself, if its numbers are `f32`.
    pub(in super::super) fn singles(self) -> Option<View<'a, f32>> {
        let Self { data, rows, columns, row_stride, column_stride, lifetime: _ } = self;
        let data = (T::DTYPE == DType::F32).then(|| data.cast())?;
        Some(View { data, rows, columns, row_stride, column_stride, lifetime: PhantomData })
    }

    /// The numbers from the first to the last, the shape `[rows, columns]`, whether the numbers of a row lie side by side (those of
    /// a column do otherwise), and the distance of rows (columns otherwise).
    #[expect(unsafe_code, reason = "the slice that the view was made of")]
    pub(crate) fn spread(self) -> (&'a [T], [usize; 2], bool, usize) {
        let Self { data, rows, columns, row_stride, column_stride, .. } = self;
        let by_rows = column_stride == 1;
        let (steps, width, stride) = if by_rows { (rows, columns, row_stride) } else { (columns, rows, column_stride) };
        let len = if steps == 0 || width == 0 { 0 } else { (steps - 1) * stride + width };
        // SAFETY: the elements lie in one slice borrowed for `'a`, so do the gaps between them, and the bounds were checked.
        (unsafe { std::slice::from_raw_parts(data, len) }, [rows, columns], by_rows, stride)
    }
}

impl<'a, T: Real> ViewMut<'a, T> {
    /// A matrix with contiguous rows that spans `data`.
    pub(crate) fn new(data: &'a mut [T], rows: usize, columns: usize) -> Self {
        Self::strided(data, 0, rows, columns, columns)
    }

    /// A matrix with contiguous rows in memory that nothing was written to: only for what writes it before it reads.
    pub(super) fn unwritten(data: &'a mut [MaybeUninit<T>], rows: usize, columns: usize) -> Self {
        check_result(data.len(), 0, rows, columns, columns);
        Self { data: data.as_mut_ptr().cast(), rows, columns, row_stride: columns, lifetime: PhantomData }
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

    /// Itself, if its numbers are `f32`.
    pub(in super::super) fn singles(self) -> Result<ViewMut<'a, f32>, Self> {
        let Self { data, rows, columns, row_stride, lifetime: _ } = self;
        if T::DTYPE != DType::F32 {
            return Err(self);
        }
        Ok(ViewMut { data: data.cast(), rows, columns, row_stride, lifetime: PhantomData })
    }

    /// The buffer for several threads, and the distance of rows. What lies between the columns and the next row is in it, and belongs
    /// to others.
    pub(crate) fn shared(self) -> (Shared<'a, T>, usize) {
        let len = if self.rows == 0 { 0 } else { (self.rows - 1) * self.row_stride + self.columns };
        (Shared { data: self.data, len, lifetime: PhantomData }, self.row_stride)
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

    /// Itself, if its numbers are `f32`.
    pub(in super::super) fn singles(self) -> Option<Shared<'a, f32>> {
        let Self { data, len, lifetime: _ } = self;
        (T::DTYPE == DType::F32).then(|| Shared { data: data.cast(), len, lifetime: PhantomData })
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

    /// The address of part of the buffer, in which nothing need have been written yet.
    ///
    /// # Panics
    ///
    /// If the part leaves the buffer.
    pub(crate) fn part(self, offset: usize, len: usize) -> *mut T {
        check_bounds(self.len, offset, 1, len, 0);
        self.data.wrapping_add(offset)
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
