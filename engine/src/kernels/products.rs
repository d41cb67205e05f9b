//! Matrix products in the precision of the process.

use super::gemm::{self, Into, Threads, View, ViewMut};
use super::{Real, bf16};
use crate::Precision;

/// `result = scale * left * right`, or `result += ..`, in the process's [`Precision`] if it has enough rows, columns and terms.
/// Takes `result` by value, the only access to its elements.
///
/// # Panics
///
/// If the shapes do not fit.
pub(crate) fn multiply<T: Real>(
    result: ViewMut<'_, T>,
    into: Into,
    scale: T,
    left: View<'_, T>,
    right: View<'_, T>,
    threads: Threads,
) {
    gemm::assert_fit(&result, left, right);
    if threads == Threads::All
        && Precision::of_process() == Precision::Bf16
        && bf16::fits(left.rows, right.columns, left.columns)
        && let (Some(left), Some(right)) = (left.singles(), right.singles())
    {
        match result.singles() {
            Ok(result) => bf16::multiply(result, into, scale.wide() as f32, left, right),
            Err(_) => unreachable!("operands of another type"),
        }
        return;
    }
    gemm::multiply(result, into, scale, left, right, threads);
}

/// `scale * left * right` in rows, by all threads: [`multiply`] into memory that nothing was written to before.
///
/// # Panics
///
/// If the shapes do not fit.
#[expect(unsafe_code, reason = "the product writes all of the memory")]
pub(crate) fn product_of<T: Real>(scale: T, left: View<'_, T>, right: View<'_, T>) -> Vec<T> {
    if left.columns == 0 {
        return vec![T::zero(); left.rows * right.columns];
    }
    // SAFETY: a product that replaces its result reads none of it and writes every number.
    unsafe {
        gemm::written(left.rows, right.columns, |result| {
            multiply(result, Into::Replace, scale, left, right, Threads::All);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::checks;

    #[test]
    fn products_in_new_memory_are_those_in_old() {
        let (left, right) = (checks::numbers(5, 12), checks::numbers(6, 20));
        let mut old = vec![f64::NAN; 15];
        let (left, right) = (View::new(&left, 4, 3).t(), View::new(&right, 4, 5));
        multiply(ViewMut::new(&mut old, 3, 5), Into::Replace, 2., left, right, Threads::All);
        assert_eq!(product_of(2., left, right), old);
        // A sum of no terms is 0.
        assert_eq!(product_of(2., View::new(&[0f64; 0], 2, 0), View::new(&[], 0, 3)), [0.; 6]);
    }
}
