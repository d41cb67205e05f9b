//! Vector registers for products that accumulate in registers.

use super::Real;
use pulp::bytemuck::cast;
use pulp::{Arch, Simd, WithSimd};

/// A number type with vectors of the CPU's width.
pub(crate) trait Vectorised: Real {
    /// A vector register.
    type Vector<S: Simd>: Copy;

    /// A slice as whole vectors, without the remainder.
    fn vectors<S: Simd>(simd: S, data: &[Self]) -> &[Self::Vector<S>];
    /// [`Vectorised::vectors`], mutable.
    fn vectors_mut<S: Simd>(simd: S, data: &mut [Self]) -> &mut [Self::Vector<S>];
    /// The numbers of a slice shorter than a vector, or as long, then zeros.
    fn partial<S: Simd>(simd: S, data: &[Self]) -> Self::Vector<S>;
    /// Stores the first lanes of a vector in a slice shorter than one, or as long.
    fn store_partial<S: Simd>(simd: S, data: &mut [Self], vector: Self::Vector<S>);
    /// One number in every lane.
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;
    /// The first of two numbers in even lanes, the second in odd ones.
    fn splat_pair<S: Simd>(simd: S, pair: [Self; 2]) -> Self::Vector<S>;
    /// `a * b + c`, fused where the CPU supports it.
    fn multiply_add<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, c: Self::Vector<S>) -> Self::Vector<S>;
    /// `a + b`.
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a - b`.
    fn minus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a * b`.
    fn times<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// The larger of `a` and `b`; either if one is NaN.
    fn larger_of<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;

    /// The number of lanes.
    #[inline(always)]
    fn lanes_of<S: Simd>(_simd: S) -> usize {
        size_of::<Self::Vector<S>>() / size_of::<Self>()
    }

    /// The number of lanes on this machine.
    fn lanes() -> usize {
        struct Lanes<T>(std::marker::PhantomData<T>);
        impl<T: Vectorised> WithSimd for Lanes<T> {
            type Output = usize;

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) -> usize {
                T::lanes_of(simd)
            }
        }
        Arch::new().dispatch(Lanes::<Self>(std::marker::PhantomData))
    }
}

macro_rules! implement {
    ($real:ty, $vector:ident, $as_simd:ident, $as_mut_simd:ident, $splat:ident, $multiply_add:ident,
     $partial_load:ident, $partial_store:ident, $add:ident, $subtract:ident, $times:ident, $larger_of:ident,
     $splat_pair:ident) => {
        impl Vectorised for $real {
            type Vector<S: Simd> = S::$vector;

            #[inline(always)]
            fn vectors<S: Simd>(_simd: S, data: &[Self]) -> &[S::$vector] {
                S::$as_simd(data).0
            }

            #[inline(always)]
            fn vectors_mut<S: Simd>(_simd: S, data: &mut [Self]) -> &mut [S::$vector] {
                S::$as_mut_simd(data).0
            }

            #[inline(always)]
            fn partial<S: Simd>(simd: S, data: &[Self]) -> S::$vector {
                simd.$partial_load(data)
            }

            #[inline(always)]
            fn store_partial<S: Simd>(simd: S, data: &mut [Self], vector: S::$vector) {
                simd.$partial_store(data, vector);
            }

            #[inline(always)]
            fn splat<S: Simd>(simd: S, value: Self) -> S::$vector {
                simd.$splat(value)
            }

            #[inline(always)]
            fn splat_pair<S: Simd>(simd: S, pair: [Self; 2]) -> S::$vector {
                $splat_pair(simd, pair)
            }

            #[inline(always)]
            fn multiply_add<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
                simd.$multiply_add(a, b, c)
            }

            #[inline(always)]
            fn plus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }

            #[inline(always)]
            fn minus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$subtract(a, b)
            }

            #[inline(always)]
            fn times<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$times(a, b)
            }

            #[inline(always)]
            fn larger_of<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$larger_of(a, b)
            }
        }
    };
}

/// The bits of both numbers as one of twice the width, which a load spreads over the lanes.
#[inline(always)]
fn splat_pair_f32<S: Simd>(simd: S, pair: [f32; 2]) -> S::f32s {
    if size_of::<S::f32s>() == size_of::<S::u64s>() {
        cast(simd.splat_u64s(cast(pair)))
    } else {
        simd.splat_f32s(pair[0])
    }
}

#[inline(always)]
fn splat_pair_f64<S: Simd>(simd: S, [even, odd]: [f64; 2]) -> S::f64s {
    let lanes = [even, odd, even, odd, even, odd, even, odd];
    simd.partial_load_f64s(&lanes[..f64::lanes_of(simd)])
}

implement!(
    f32,
    f32s,
    as_simd_f32s,
    as_mut_simd_f32s,
    splat_f32s,
    mul_add_e_f32s,
    partial_load_f32s,
    partial_store_f32s,
    add_f32s,
    sub_f32s,
    mul_f32s,
    max_f32s,
    splat_pair_f32
);
implement!(
    f64,
    f64s,
    as_simd_f64s,
    as_mut_simd_f64s,
    splat_f64s,
    mul_add_e_f64s,
    partial_load_f64s,
    partial_store_f64s,
    add_f64s,
    sub_f64s,
    mul_f64s,
    max_f64s,
    splat_pair_f64
);

/// Adds the products of rows with a matrix `[width, VECTORS * lanes]`, each sum in the order of the rows' numbers.
#[inline(always)]
#[expect(unsafe_code, reason = "the compiler keeps the checks of all rows in the innermost loop: a tenth of the time")]
pub(super) fn accumulate<T: Vectorised, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut [[T::Vector<S>; VECTORS]; ROWS],
    inputs: [&[T]; ROWS],
    matrix: &[T::Vector<S>],
) {
    let width = matrix.len() / VECTORS;
    assert!(inputs.iter().all(|input| input.len() == width), "a row of another width");
    let mut local = *sums;
    for (column, matrix) in (0..width).zip(matrix.chunks_exact(VECTORS)) {
        for row in 0..ROWS {
            // SAFETY: `column` is below `width`, the length that every row was checked to have.
            let value = T::splat(simd, unsafe { *inputs[row].get_unchecked(column) });
            for vector in 0..VECTORS {
                local[row][vector] = T::multiply_add(simd, value, matrix[vector], local[row][vector]);
            }
        }
    }
    *sums = local;
}
