//! Draws from a generator: uniform and normal numbers, shuffles and permutations.
use rand_chacha::rand_core::Rng as _;

use crate::Rng;

/// Draws uniformly from [0, 1), with all 53 bits that an `f64` can hold.
pub fn unit(rng: &mut Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * 2f64.powi(-53)
}

/// Draws uniformly from 0, 1, .., `n` - 1, without the bias of a plain remainder.
///
/// # Panics
/// If `n` is zero.
pub fn below(rng: &mut Rng, n: u64) -> u64 {
    assert!(n > 0, "there is no number below zero");
    // The values that are left over after the last whole round of `n` would favour the small numbers.
    let n_left_over = (u64::MAX % n + 1) % n;
    loop {
        let value = rng.next_u64();
        if value <= u64::MAX - n_left_over {
            return value % n;
        }
    }
}

/// Draws uniformly from 0, 1, .., `n` - 1 by a product instead of a remainder; `n` is above zero. The numbers differ
/// from [`below`]'s: epoch orders use this one, so that old seeds keep theirs.
///
/// # References
/// Lemire, Fast Random Integer Generation in an Interval, <https://arxiv.org/abs/1805.10941>.
pub(super) fn below_by_product(rng: &mut Rng, n: u64) -> u64 {
    let unfair = n.wrapping_neg() % n;
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(n);
        if product as u64 >= unfair {
            return (product >> 64) as u64;
        }
    }
}

/// Draws a standard normal number, by the Box-Muller transform.
pub fn standard_normal(rng: &mut Rng) -> f64 {
    standard_normal_pair(rng).0
}

/// Draws two independent standard normal numbers.
pub fn standard_normal_pair(rng: &mut Rng) -> (f64, f64) {
    // 1 - u is in (0, 1], where the logarithm is finite.
    let radius = (-2. * (1. - unit(rng)).ln()).sqrt();
    let (sin, cos) = (std::f64::consts::TAU * unit(rng)).sin_cos();
    (radius * cos, radius * sin)
}

/// Shuffles items by Fisher-Yates, each order being equally likely.
pub fn shuffle<T>(rng: &mut Rng, items: &mut [T]) {
    shuffle_by(items, |n| below(rng, n));
}

/// Shuffles by Fisher-Yates with a given function for drawing below a bound.
pub(super) fn shuffle_by<T>(items: &mut [T], mut below: impl FnMut(u64) -> u64) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(last as u64 + 1) as usize);
    }
}

/// Shuffles the numbers 0, 1, .., `n` - 1.
pub fn permutation(rng: &mut Rng, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    shuffle(rng, &mut order);
    order
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;

    use super::{below, below_by_product, permutation, unit};
    use crate::chance::Noise;

    #[test]
    fn whole_numbers_are_uniform() {
        for below in [below, below_by_product] {
            let rng = &mut Noise::new(2).stream("dice", 0);
            let mut counts = [0; 6];
            (0..6 * 10_000).for_each(|_| counts[below(rng, 6) as usize] += 1);
            // Each count has standard deviation sqrt(60000 * 1/6 * 5/6) = 91.
            assert!(counts.iter().all(|&count: &i32| (count - 10_000).abs() < 5 * 91), "{counts:?}");
            assert!((0..1000).all(|_| below(rng, 1) == 0 && below(rng, u64::MAX) < u64::MAX && unit(rng) < 1.));
        }
    }

    #[test]
    fn unit_draws_are_those_of_rand() {
        let (mut ours, mut theirs) = (Noise::new(3).stream("unit", 0), Noise::new(3).stream("unit", 0));
        assert!((0..1000).all(|_| unit(&mut ours).to_bits() == theirs.random::<f64>().to_bits()));
    }

    #[test]
    fn orders_are_permutations() {
        let noise = Noise::new(9);
        let order = permutation(&mut noise.stream("epoch", 0), 50);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
        assert_eq!(order, permutation(&mut noise.stream("epoch", 0), 50));
        assert_ne!(order, permutation(&mut noise.stream("epoch", 1), 50));
        assert!(permutation(&mut noise.stream("epoch", 0), 0).is_empty());
    }
}
