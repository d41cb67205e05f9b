//! Threads, vector instructions and new memory.

use rayon::prelude::*;
use std::array;
use std::mem::MaybeUninit;
use std::ptr;

/// Elements per piece: large against the scheduling overhead, small against a cache.
pub(super) const PIECE: usize = 16 * 1024;

/// Runs `f` compiled for the widest vector instructions of this CPU.
#[inline(always)]
pub(super) fn simd<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// Calls `f(first row, rows)` on blocks of whole rows of `data`, in parallel.
pub(super) fn for_row_pieces<T: Send>(data: &mut [T], width: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let rows = (PIECE / width.max(1)).max(1);
    if data.len() <= rows * width {
        return f(0, data);
    }
    data.par_chunks_mut(rows * width).enumerate().for_each(|(piece, chunk)| f(piece * rows, chunk));
}

/// N vectors in parts of given lengths, which `fill(index of the part, its place in each vector)` writes in parallel, and what it
/// returns of each part.
///
/// A thread zeroes a part just before it fills it, so that the zeros stay in its cache: `vec![0; n]` sends them through memory
/// first, on one thread.
#[expect(unsafe_code, reason = "what is zeroed part by part has a length at the end")]
pub(super) fn filled_parts<T: Copy + Default + Send, R: Send, const N: usize>(
    lens: impl Iterator<Item = usize> + Clone,
    fill: impl Fn(usize, [&mut [T]; N]) -> R + Sync,
) -> ([Vec<T>; N], Vec<R>) {
    let n = lens.clone().sum();
    let mut vectors: [Vec<T>; N] = array::from_fn(|_| Vec::with_capacity(n));
    let mut rest = vectors.each_mut().map(|vector| &mut vector.spare_capacity_mut()[..n]);
    let parts: Vec<[&mut [MaybeUninit<T>]; N]> = lens
        .map(|len| rest.each_mut().map(|rest| rest.split_off_mut(..len).expect("the sum of all lengths")))
        .collect();
    let results = parts.into_par_iter().enumerate().map(|(index, part)| fill(index, part.map(zeroed))).collect();
    for vector in &mut vectors {
        // SAFETY: the parts are the first `n` numbers, as many as the capacity has, and each was zeroed.
        unsafe { vector.set_len(n) };
    }
    (vectors, results)
}

#[expect(unsafe_code, reason = "memory that was just written")]
fn zeroed<T: Copy + Default>(numbers: &mut [MaybeUninit<T>]) -> &mut [T] {
    for number in &mut *numbers {
        number.write(T::default());
    }
    // SAFETY: every number was written, and the layout is the same.
    unsafe { &mut *(ptr::from_mut(numbers) as *mut [T]) }
}

/// A vector in parts of `part` numbers, by [`filled_parts`].
pub(super) fn filled_with<T: Copy + Default + Send, R: Send>(
    n: usize,
    part: usize,
    fill: impl Fn(usize, &mut [T]) -> R + Sync,
) -> (Vec<T>, Vec<R>) {
    assert!(part > 0 || n == 0, "parts of nothing");
    let lens = (0..n).step_by(part.max(1)).map(|first| part.min(n - first));
    let ([vector], results) = filled_parts(lens, |index, [part]| fill(index, part));
    (vector, results)
}

/// A vector in parts of `part` numbers, which `fill(index of the part, part)` writes in parallel.
pub(super) fn filled<T: Copy + Default + Send>(n: usize, part: usize, fill: impl Fn(usize, &mut [T]) + Sync) -> Vec<T> {
    filled_with(n, part, fill).0
}

/// A vector of `n` numbers in rows, which `fill(first row, rows)` writes in parallel, some whole rows at a time.
pub(super) fn filled_rows<T: Copy + Default + Send>(
    n: usize,
    width: usize,
    fill: impl Fn(usize, &mut [T]) + Sync,
) -> Vec<T> {
    let rows = (PIECE / width.max(1)).max(1);
    filled(n, rows * width, |part, chunk| fill(part * rows, chunk))
}

/// Zeros, written by all threads.
pub(crate) fn zeros<T: Copy + Default + Send>(n: usize) -> Vec<T> {
    filled(n, PIECE, |_, _| ())
}

/// The numbers, copied by all threads.
pub(crate) fn copy_of<T: Copy + Default + Send + Sync>(numbers: &[T]) -> Vec<T> {
    filled(numbers.len(), PIECE, |part, copy| copy.copy_from_slice(&numbers[part * PIECE..][..copy.len()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_fill_all_vectors() {
        let ([twice, square], lens) =
            filled_parts([2, 0, 3].into_iter(), |part, [twice, square]: [&mut [usize]; 2]| {
                assert!(twice.iter().chain(&*square).all(|&number| number == 0), "not zeroed");
                twice.fill(2 * part);
                square.fill(part * part);
                twice.len()
            });
        assert_eq!((twice, square, lens), (vec![0, 0, 4, 4, 4], vec![0, 0, 4, 4, 4], vec![2, 0, 3]));
        assert_eq!(filled(5, 2, |part, numbers| numbers.fill(part)), [0, 0, 1, 1, 2]);
        assert!(filled(0, 0, |_, numbers: &mut [f32]| numbers.fill(1.)).is_empty());
        assert_eq!(filled_rows(6, 2, |first, rows| rows.fill(first)), [0; 6]);
        assert_eq!((zeros::<f64>(3), copy_of(&[1, 2])), (vec![0.; 3], vec![1, 2]));
    }
}
