//! The order in which an epoch visits its examples.
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A shuffle of `0..n` that is a pure function of `(seed, epoch, n)`.
///
/// It costs four bytes an example and no look at the data. To resume in the middle of an epoch, make the same order
/// again and go on at [`Order::at`] of the next position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    shuffled: Vec<u32>,
}

impl Order {
    /// The order of one epoch: a Fisher-Yates shuffle drawn from ChaCha8, keyed by the seed, one stream per epoch.
    ///
    /// # Panics
    /// If there are more than `u32::MAX` examples.
    pub fn new(seed: u64, epoch: u64, n_examples: usize) -> Self {
        let n_examples = u32::try_from(n_examples).expect("an order has at most u32::MAX examples");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(epoch);
        let mut shuffled: Vec<u32> = (0..n_examples).collect();
        for last in (1..shuffled.len()).rev() {
            shuffled.swap(last, below(&mut rng, last as u64 + 1) as usize);
        }
        Self { shuffled }
    }

    /// The examples as they lie in the file.
    ///
    /// # Panics
    /// If there are more than `u32::MAX` examples.
    pub fn sequential(n_examples: usize) -> Self {
        let n_examples = u32::try_from(n_examples).expect("an order has at most u32::MAX examples");
        Self { shuffled: (0..n_examples).collect() }
    }

    /// The example at a position of the epoch; `None` past its end.
    pub fn at(&self, position: usize) -> Option<usize> {
        self.shuffled.get(position).map(|&example| example as usize)
    }

    /// How many examples there are.
    pub fn len(&self) -> usize {
        self.shuffled.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.shuffled.is_empty()
    }

    /// The examples from a position of the epoch on.
    pub fn from(&self, position: usize) -> impl Iterator<Item = usize> + '_ {
        self.shuffled.iter().skip(position).map(|&example| example as usize)
    }
}

/// A number in `0..bound` without bias: draws that would favour small numbers are thrown away.
fn below(rng: &mut ChaCha8Rng, bound: u64) -> u64 {
    let unfair = bound.wrapping_neg() % bound;
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(bound);
        if product as u64 >= unfair {
            return (product >> 64) as u64;
        }
    }
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
    fn an_order_can_be_taken_up_anywhere() {
        let order = Order::new(1, 2, 50);
        let whole: Vec<usize> = order.from(0).collect();
        assert_eq!(Order::new(1, 2, 50).from(20).collect::<Vec<_>>(), whole[20..]);
        assert_eq!(order.at(20), Some(whole[20]));
        assert_eq!(order.at(50), None);
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
