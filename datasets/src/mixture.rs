//! Several data sets in one epoch, each with a share of its examples.
use std::sync::{Arc, Mutex, PoisonError};

use mdp::chance::{Order, derived_seed};

use crate::error::DatasetError;

/// Which examples of several joined data sets an epoch has, by weights.
///
/// An epoch has as many examples as all data sets together. Each data set has its share of them, weight / sum of weights, rounded
/// so that they add up (the largest remainders upwards). It is walked in shuffled passes of its own that go on from
/// epoch to epoch: no example of it comes again before all others of it have come, so a small data set repeats within an epoch
/// and a large one continues in the next. Weights in the proportion of the sizes give every example once.
///
/// All of it is a function of the sizes, the weights and the seed.
///
/// # Examples
/// ```
/// let mixture = datasets::Mixture::new(&[2, 6], &[1.0, 1.0], 0)?;
/// assert_eq!(mixture.counts(), [4, 4]);
/// let from_the_first = (0..8).filter(|&example| mixture.index(example, 0) < 2).count();
/// assert_eq!(from_the_first, 4);
/// # Ok::<(), datasets::DatasetError>(())
/// ```
#[derive(Debug)]
pub struct Mixture {
    sizes: Vec<usize>,
    counts: Vec<usize>,
    weights: Vec<f64>,
    seed: u64,
    /// The examples of the epoch that was asked for last.
    epoch: Mutex<Option<(usize, Arc<[u32]>)>>,
}

impl Mixture {
    /// Creates the mixture of joined data sets of these sizes, in their order.
    ///
    /// # Errors
    /// A weight is not positive and finite, a data set is empty, or a share is below one example.
    ///
    /// # Panics
    /// If there are not as many weights as sizes.
    pub fn new(sizes: &[usize], weights: &[f64], seed: u64) -> Result<Self, DatasetError> {
        assert_eq!(sizes.len(), weights.len(), "one weight for each data set");
        let refused = |at: usize, hint| Err(DatasetError::Weight { position: at, weight: weights[at], hint });
        if let Some(at) = weights.iter().position(|weight| !(weight.is_finite() && *weight > 0.0)) {
            return refused(at, "it must be a positive number");
        }
        if let Some(at) = sizes.iter().position(|&size| size == 0) {
            return refused(at, "there is no example to give it to");
        }
        let counts = counts(sizes.iter().sum(), weights);
        if let Some(at) = counts.iter().position(|&count| count == 0) {
            return refused(at, "that is less than one example of an epoch");
        }
        Ok(Self { sizes: sizes.to_vec(), counts, weights: weights.to_vec(), seed, epoch: Mutex::new(None) })
    }

    /// Number of examples of each data set in an epoch.
    pub fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// The position among the joined examples of an example of an epoch.
    ///
    /// # Panics
    /// If the epoch has fewer examples.
    pub fn index(&self, example: usize, epoch: usize) -> usize {
        let mut last = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        let examples = match &*last {
            Some((known, examples)) if *known == epoch => Arc::clone(examples),
            _ => {
                let examples: Arc<[u32]> = self.examples(epoch).into();
                *last = Some((epoch, Arc::clone(&examples)));
                examples
            }
        };
        examples[example] as usize
    }

    /// What tells this mixture from others of the same data.
    pub fn identity(&self) -> String {
        format!("mixed {:?} by {:?}", self.sizes, self.weights)
    }

    /// The examples of an epoch, data set by data set.
    fn examples(&self, epoch: usize) -> Vec<u32> {
        let (mut examples, mut first) = (Vec::new(), 0);
        for (at, (&size, &count)) in self.sizes.iter().zip(&self.counts).enumerate() {
            let seed = derived_seed(self.seed, "mixture", at as u64);
            let (mut place, end) = (epoch * count, (epoch + 1) * count);
            while place < end {
                let (pass, from) = (place / size, place % size);
                let n = (size - from).min(end - place);
                let order = Order::new(seed, pass as u64, size);
                examples.extend(order.from(from).take(n).map(|index| (first + index) as u32));
                place += n;
            }
            first += size;
        }
        examples
    }
}

/// Divides a number by weights, the largest remainders upwards.
fn counts(total: usize, weights: &[f64]) -> Vec<usize> {
    let sum: f64 = weights.iter().sum();
    let shares: Vec<f64> = weights.iter().map(|weight| total as f64 * (weight / sum)).collect();
    let mut counts: Vec<usize> = shares.iter().map(|share| share.floor() as usize).collect();
    let mut by_remainder: Vec<usize> = (0..shares.len()).collect();
    by_remainder.sort_by(|&a, &b| shares[b].fract().total_cmp(&shares[a].fract()).then(a.cmp(&b)));
    let missing = total.saturating_sub(counts.iter().sum());
    by_remainder.iter().cycle().take(missing).for_each(|&at| counts[at] += 1);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(mixture: &Mixture, epoch: usize) -> Vec<usize> {
        let n: usize = mixture.counts().iter().sum();
        (0..n).map(|example| mixture.index(example, epoch)).collect()
    }

    #[test]
    fn an_epoch_has_the_shares_of_the_weights() {
        for (sizes, weights, expected) in [
            (vec![2, 6], vec![1.0, 1.0], vec![4, 4]),
            (vec![5, 5], vec![1.0, 3.0], vec![3, 7]),
            (vec![10, 20, 30], vec![1.0, 2.0, 3.0], vec![10, 20, 30]),
            (vec![3, 3, 4], vec![1.0, 1.0, 1.0], vec![4, 3, 3]),
        ] {
            let mixture = Mixture::new(&sizes, &weights, 3).unwrap();
            assert_eq!(mixture.counts(), expected, "{sizes:?} {weights:?}");
            let found = epoch(&mixture, 0);
            let mut first = 0;
            for (size, count) in sizes.iter().zip(&expected) {
                let of_it = found.iter().filter(|index| (first..first + size).contains(*index)).count();
                assert_eq!(of_it, *count);
                first += size;
            }
        }
    }

    #[test]
    fn no_example_comes_again_before_all_others_of_its_data_have_come() {
        // The first data set comes two and a half times in an epoch, the second five eighths of it.
        let mixture = Mixture::new(&[2, 8], &[1.0, 1.0], 7).unwrap();
        let epochs: Vec<usize> = (0..8).flat_map(|number| epoch(&mixture, number)).collect();
        for (range, per_epoch) in [(0..2, 5), (2..10, 5)] {
            let walked: Vec<usize> = epochs.iter().copied().filter(|index| range.contains(index)).collect();
            assert_eq!(walked.len(), 8 * per_epoch);
            for pass in walked.chunks(range.len()) {
                let mut seen = pass.to_vec();
                seen.sort_unstable();
                assert_eq!(seen, range.clone().collect::<Vec<_>>());
            }
        }
        // Weights in the proportion of the sizes: everything once.
        let mut all = epoch(&Mixture::new(&[2, 8], &[2.0, 8.0], 7).unwrap(), 5);
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn epochs_are_functions_of_the_seed_in_any_order() {
        let make = |seed| Mixture::new(&[7, 40], &[2.0, 1.0], seed).unwrap();
        let (one, same, other) = (make(1), make(1), make(2));
        let forwards: Vec<Vec<usize>> = (0..3).map(|number| epoch(&one, number)).collect();
        let backwards: Vec<Vec<usize>> = (0..3).rev().map(|number| epoch(&same, number)).collect();
        assert_eq!(forwards, backwards.into_iter().rev().collect::<Vec<_>>());
        assert_ne!(forwards[0], epoch(&other, 0));
        assert_ne!(one.identity(), Mixture::new(&[7, 40], &[2.0, 2.0], 1).unwrap().identity());
    }

    #[test]
    fn weights_without_a_meaning_are_refused() {
        for (sizes, weights, says) in [
            ([3, 3], [1.0, 0.0], "positive"),
            ([3, 3], [1.0, -2.0], "positive"),
            ([3, 3], [f64::NAN, 1.0], "positive"),
            ([3, 3], [f64::INFINITY, 1.0], "positive"),
            ([3, 0], [1.0, 1.0], "no example"),
            ([3, 3], [1.0, 1e-9], "less than one example"),
        ] {
            let error = Mixture::new(&sizes, &weights, 0).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
