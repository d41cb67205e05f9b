//! The order in which an epoch visits its examples, and seeded subsets.
use rand_chacha::rand_core::SeedableRng;

use super::derived_seed;
use super::draws::{below_by_product, shuffle_by};
use crate::Rng;

/// A shuffle of `0..n` that is a pure function of `(seed, epoch, n)`.
///
/// It takes four bytes per example and does not read the data. To resume in mid-epoch, make the same order again and
/// continue with [`Order::at`] the next position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    shuffled: Vec<u32>,
}

impl Order {
    /// Shuffles the examples of one epoch by Fisher-Yates, with the stream of this seed and epoch.
    ///
    /// # Panics
    /// If there are more than `u32::MAX` examples.
    pub fn new(seed: u64, epoch: u64, n_examples: usize) -> Self {
        let n_examples = u32::try_from(n_examples).expect("an order has at most u32::MAX examples");
        let mut rng = Rng::seed_from_u64(seed);
        rng.set_stream(epoch);
        let mut shuffled: Vec<u32> = (0..n_examples).collect();
        shuffle_by(&mut shuffled, |n| below_by_product(&mut rng, n));
        Self { shuffled }
    }

    /// The example at a position of the epoch; `None` past its end.
    pub fn at(&self, position: usize) -> Option<usize> {
        self.shuffled.get(position).map(|&example| example as usize)
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.shuffled.len()
    }

    /// Whether there are no examples.
    pub fn is_empty(&self) -> bool {
        self.shuffled.is_empty()
    }

    /// The examples from a position of the epoch to its end.
    pub fn from(&self, position: usize) -> impl Iterator<Item = usize> + '_ {
        self.shuffled.iter().skip(position).map(|&example| example as usize)
    }
}

/// Draws `n` different positions below `of`, in ascending order; all of them if `n` is at least `of`.
///
/// The subset is a function of the seed, the purpose and the two numbers. Use it instead of the first `n` entries of a
/// file, because files are often sorted.
///
/// # Panics
/// If there are more than `u32::MAX` positions.
pub fn drawn(seed: u64, purpose: &str, n: usize, of: usize) -> Vec<usize> {
    if n >= of {
        return (0..of).collect();
    }
    let mut drawn: Vec<usize> = Order::new(derived_seed(seed, purpose, 0), 0, of).from(0).take(n).collect();
    drawn.sort_unstable();
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_visits_everything_once_and_depends_on_seed_and_epoch() {
        for n in [0, 1, 2, 3, 100, 1000] {
            let order = Order::new(7, 0, n);
            let mut seen: Vec<usize> = order.from(0).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..n).collect::<Vec<_>>());
            assert_eq!(order, Order::new(7, 0, n));
        }
        assert_ne!(Order::new(7, 0, 100), Order::new(7, 1, 100));
        assert_ne!(Order::new(7, 0, 100), Order::new(8, 0, 100));
    }

    #[test]
    fn orders_are_frozen() {
        // A change of these changes every seeded run.
        assert_eq!(Order::new(7, 3, 12).from(0).collect::<Vec<_>>(), [8, 6, 4, 0, 10, 5, 7, 11, 3, 9, 1, 2]);
        assert_eq!(Order::new(0, 0, 5).from(0).collect::<Vec<_>>(), [4, 0, 2, 1, 3]);
        assert_eq!(drawn(3, "look", 5, 1000), [482, 599, 609, 750, 835]);
        let mut all = blake3::Hasher::new();
        for seed in 0..200 {
            for n in [0, 1, 2, 3, 7, 100, 1000, 4097] {
                for example in Order::new(seed, seed % 5, n).from(0).chain(drawn(seed, "x", n / 3, n)) {
                    all.update(&(example as u64).to_le_bytes());
                }
            }
        }
        let found = all.finalize().to_hex();
        assert_eq!(found.as_str(), "fc5e0c4dac1fb0924f34a67a5d9d54411673742a81933fed00a5162ac9c36265");
    }

    #[test]
    fn an_order_can_be_taken_up_anywhere() {
        let order = Order::new(1, 2, 50);
        let whole: Vec<usize> = order.from(0).collect();
        assert_eq!(Order::new(1, 2, 50).from(20).collect::<Vec<_>>(), whole[20..]);
        assert_eq!(order.at(20), Some(whole[20]));
        assert_eq!(order.at(50), None);
    }

    #[test]
    fn what_is_drawn_is_different_positions_of_all_of_them() {
        let ten = drawn(3, "look", 10, 1000);
        assert!(ten.windows(2).all(|pair| pair[0] < pair[1]), "{ten:?}");
        // All within the first tenth: once in 10^10 draws.
        assert!(ten[9] >= 100, "{ten:?}");
        assert_eq!(ten, drawn(3, "look", 10, 1000));
        for other in [drawn(4, "look", 10, 1000), drawn(3, "other", 10, 1000)] {
            assert_ne!(ten, other);
        }
        assert_eq!(drawn(3, "look", 4, 4), [0, 1, 2, 3]);
        assert_eq!(drawn(3, "look", 9, 4), [0, 1, 2, 3]);
        assert!(drawn(3, "look", 0, 4).is_empty());
    }

    #[test]
    fn every_position_is_drawn_about_as_often() {
        let mut counts = [0; 10];
        for seed in 0..3000 {
            for position in drawn(seed, "look", 3, 10) {
                counts[position] += 1;
            }
        }
        // 900 expected, standard deviation 25.
        assert!(counts.iter().all(|count| (800..1000).contains(count)), "{counts:?}");
    }

    #[test]
    fn every_permutation_of_three_is_about_as_common() {
        let mut counts = std::collections::BTreeMap::new();
        for seed in 0..6000 {
            *counts.entry(Order::new(seed, 0, 3).shuffled).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        // 1000 expected, standard deviation 29.
        assert!(counts.values().all(|&count| (850..1150).contains(&count)), "{counts:?}");
    }
}
