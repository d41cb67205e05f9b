//! The two number types of the kernels, with functions that std lacks in vectorisable form.

use candle_core::WithDType;
use std::ops::Neg;

/// `f32` or `f64`. All functions are branch-free, so that loops over them vectorise.
pub(crate) trait Real: WithDType + Default + Neg<Output = Self> {
    /// Converts from `f64` with rounding.
    fn of(x: f64) -> Self;
    /// Converts to `f64`, exactly.
    fn wide(self) -> f64;
    /// `self * a + b` with one rounding.
    fn fused(self, a: Self, b: Self) -> Self;
    /// Square root.
    fn root(self) -> Self;
    /// `e^x`; 0 where the result would be subnormal, NaN for NaN.
    fn exponential(self) -> Self;
    /// [`exponential`](Self::exponential) of a number below 88, such as a score less its largest: fewer instructions, the
    /// same bits.
    fn falling_exponential(self) -> Self;
    /// `e^(z^2) erfc(z)` for `z >= 0`, by a polynomial in `1 / (1 + 0.3 z)`.
    fn scaled_erfc(self) -> Self;

    /// The numbers as they are, if this is `f32`.
    fn singles(numbers: &[Self]) -> Option<&[f32]>;
    /// `f32` as numbers of this type.
    fn of_singles(numbers: Vec<f32>) -> Vec<Self>;

    /// The larger of two; `self` if it is NaN.
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        if other > self { other } else { self }
    }

    /// `1 / (1 + e^-x)`.
    #[inline(always)]
    fn sigmoid(self) -> Self {
        Self::one() / (Self::one() + (-self).exponential())
    }

    /// The hyperbolic tangent, to the rounding of 1.
    #[inline(always)]
    fn hyperbolic_tangent(self) -> Self {
        Self::of(2.) * (self + self).sigmoid() - Self::one()
    }

    /// The standard normal distribution function at `self`, and the density.
    #[inline(always)]
    fn normal(self) -> (Self, Self) {
        let magnitude = if self < Self::zero() { -self } else { self };
        let bell = (self * self * Self::of(-0.5)).exponential();
        // Beyond 40 density and tail are 0, and infinity times 0 must not become NaN.
        let bounded = if magnitude > Self::of(40.) { Self::of(40.) } else { magnitude };
        let tail = Self::of(0.5) * bell * (bounded * Self::of(std::f64::consts::FRAC_1_SQRT_2)).scaled_erfc();
        let distribution = if self < Self::zero() { tail } else { Self::one() - tail };
        (distribution, bell * Self::of(0.398_942_280_401_432_7))
    }
}

#[inline(always)]
fn polynomial<T: Real, const N: usize>(x: T, coefficients: [T; N]) -> T {
    let mut sum = coefficients[N - 1];
    for index in (0..N - 1).rev() {
        sum = sum.fused(x, coefficients[index]);
    }
    sum
}

/// Implements the trait. Exponentials: `x = n ln 2 + r`, a Taylor polynomial for `e^r`, `2^n` through the exponent bits;
/// adding `$shifter` (1.5 times two to the number of mantissa bits) rounds to an integer in the low bits.
macro_rules! implement {
    ($real:ty, $bits:ty, $mantissa:expr, $bias:expr, $shifter:expr, $low:expr, $high:expr,
     $ln2_high:expr, $ln2_low:expr, $taylor:expr, $erfc:expr, $singles:expr, $of_singles:expr) => {
        impl Real for $real {
            #[inline(always)]
            fn of(x: f64) -> Self {
                x as $real
            }

            #[inline(always)]
            fn wide(self) -> f64 {
                f64::from(self)
            }

            #[inline(always)]
            fn fused(self, a: Self, b: Self) -> Self {
                self.mul_add(a, b)
            }

            #[inline(always)]
            fn root(self) -> Self {
                self.sqrt()
            }

            #[inline(always)]
            fn exponential(self) -> Self {
                // Comparisons that are false for NaN keep it.
                let x = if self < $low { $low } else { self };
                let x = if x > $high { $high } else { x };
                let shifted = x.mul_add(std::f64::consts::LOG2_E as $real, $shifter);
                let n = shifted - $shifter;
                let r = n.mul_add(-$ln2_low, n.mul_add(-$ln2_high, x));
                // 2^(n - 1), doubled at the end: the exponent n may overflow by one.
                let exponent = shifted.to_bits().wrapping_sub(<$real>::to_bits($shifter)).wrapping_add($bias - 1);
                let power = <$real>::from_bits(exponent << $mantissa);
                let result = polynomial(r, $taylor) * power * 2.;
                if self < $low { 0. } else { result }
            }

            #[inline(always)]
            fn falling_exponential(self) -> Self {
                let x = if self < $low { $low } else { self };
                let shifted = x.mul_add(std::f64::consts::LOG2_E as $real, $shifter);
                let n = shifted - $shifter;
                let r = n.mul_add(-$ln2_low, n.mul_add(-$ln2_high, x));
                // The shifter's own low bits are 0, and its others leave at the top.
                let power = <$real>::from_bits(shifted.to_bits().wrapping_add($bias) << $mantissa);
                let result = polynomial(r, $taylor) * power;
                if self < $low { 0. } else { result }
            }

            #[inline(always)]
            fn scaled_erfc(self) -> Self {
                let t = 1. / self.mul_add(0.3, 1.);
                polynomial(t, $erfc) * t
            }

            fn singles(numbers: &[Self]) -> Option<&[f32]> {
                $singles(numbers)
            }

            fn of_singles(numbers: Vec<f32>) -> Vec<Self> {
                $of_singles(numbers)
            }
        }
    };
}

#[expect(clippy::excessive_precision, reason = "coefficients as the fit gave them")]
const ERFC_F32: [f32; 9] = [
    0.169_266_164,
    0.169_618_368,
    0.154_920_310,
    0.192_866_161,
    -0.049_437_642_1,
    0.489_652_932,
    -0.466_601_521,
    0.465_423_405,
    -0.125_708_163,
];
const ERFC_F64: [f64; 19] = [
    0.169_256_855_221_723_96,
    0.169_257_526_095_420_47,
    0.161_630_603_748_381_56,
    0.146_493_570_547_621_02,
    0.124_085_435_726_715_92,
    0.100_122_507_747_341_12,
    0.066_247_563_384_944_13,
    0.042_053_139_189_876_89,
    0.068_559_927_977_713_24,
    -0.192_369_544_805_877_87,
    0.516_250_883_920_858_6,
    -0.978_409_772_968_781,
    1.349_902_545_507_544_2,
    -1.403_583_978_308_761_6,
    1.060_253_251_862_676_6,
    -0.555_101_345_211_712_8,
    0.190_458_807_096_598_6,
    -0.038_636_443_337_305_724,
    0.003_528_466_605_022_759_4,
];

/// `1 / n!`.
const fn inverse_factorial(n: u32) -> f64 {
    let (mut product, mut k) = (1., 2.);
    let mut left = n;
    while left > 1 {
        product *= k;
        k += 1.;
        left -= 1;
    }
    1. / product
}

const fn taylor_f64() -> [f64; 14] {
    let mut coefficients = [0.; 14];
    let mut n = 0;
    while n < 14 {
        coefficients[n] = inverse_factorial(n as u32);
        n += 1;
    }
    coefficients
}

const TAYLOR_F64: [f64; 14] = taylor_f64();
const TAYLOR_F32: [f32; 8] = [1., 1., 0.5, 1. / 6., 1. / 24., 1. / 120., 1. / 720., 1. / 5040.];

fn no_singles(_: &[f64]) -> Option<&[f32]> {
    None
}

fn widened(numbers: Vec<f32>) -> Vec<f64> {
    numbers.into_iter().map(f64::from).collect()
}

implement!(
    f32,
    u32,
    23,
    127u32,
    12_582_912.0_f32,
    -87.0_f32,
    89.0_f32,
    355.0_f32 / 512.,
    -2.121_944_4e-4_f32,
    TAYLOR_F32,
    ERFC_F32,
    Some,
    std::convert::identity
);
implement!(
    f64,
    u64,
    52,
    1023u64,
    6_755_399_441_055_744.0_f64,
    -708.0_f64,
    710.0_f64,
    6.931_471_803_691_238e-1_f64,
    1.908_214_929_270_587_7e-10_f64,
    TAYLOR_F64,
    ERFC_F64,
    no_singles,
    widened
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_agree_with_the_standard_library() {
        for step in -8600..8870 {
            let x = f64::from(step) * 0.01;
            assert!((x.exponential() / x.exp() - 1.).abs() < 4e-16, "{x}");
            let single = x as f32;
            let exact = f64::from(single).exp();
            assert!((f64::from(single.exponential()) / exact - 1.).abs() < 1.5e-7, "{x}");
        }
        for step in -8600..8800 {
            let x = f64::from(step) * 0.01;
            assert_eq!(x.exponential(), x.falling_exponential(), "{x}");
            assert_eq!((x as f32).exponential(), (x as f32).falling_exponential(), "{x}");
        }
        assert_eq!((f32::NEG_INFINITY.falling_exponential(), f64::NEG_INFINITY.falling_exponential()), (0., 0.));
        assert!(f32::NAN.falling_exponential().is_nan() && f64::NAN.falling_exponential().is_nan());
        assert_eq!(f32::NEG_INFINITY.exponential(), 0.);
        assert_eq!(f32::INFINITY.exponential(), f32::INFINITY);
        assert_eq!(1000f64.exponential(), f64::INFINITY);
        assert_eq!((-1000f64).exponential(), 0.);
        assert!(f32::NAN.exponential().is_nan() && f64::NAN.exponential().is_nan());
    }

    #[test]
    fn the_normal_distribution_has_its_published_values() {
        // Abramowitz and Stegun, table 26.1.
        for (x, expected) in
            [(0f64, 0.5f64), (1., 0.841_344_746_068_543), (2., 0.977_249_868_051_821), (-3., 0.001_349_898_031_630_1)]
        {
            assert!((x.normal().0 / expected - 1.).abs() < 1e-14, "{x}: {}", x.normal().0);
            assert!((f64::from((x as f32).normal().0) / expected - 1.).abs() < 4e-7, "{x}");
        }
        assert_eq!(f32::NEG_INFINITY.normal(), (0., 0.));
        assert_eq!(f64::INFINITY.normal(), (1., 0.));
        assert!(f32::NAN.normal().0.is_nan());
    }
}
