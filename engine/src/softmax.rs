//! Weights of a softmax on the host, where tokens are drawn.

use crate::kernels::Real;
use pulp::Arch;

/// Numbers per sum. Fixed, so that sums do not depend on the machine.
const CHUNK: usize = 512;

/// Logits, as the weights of a softmax at a temperature: `exp((logit - largest) / temperature)`, in `f64`.
#[derive(Debug, Clone, Copy)]
pub struct SoftmaxWeights<'a> {
    logits: &'a [f32],
    largest: f64,
    temperature: f64,
}

impl<'a> SoftmaxWeights<'a> {
    /// The weights of logits, the largest being 1.
    pub fn new(logits: &'a [f32], temperature: f64) -> Self {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        Self { logits, largest: f64::from(largest), temperature }
    }

    /// The largest logit.
    pub fn largest(&self) -> f64 {
        self.largest
    }

    /// The weight of every logit.
    pub fn all(&self) -> Vec<f64> {
        let mut weights = vec![0.; self.logits.len()];
        for (logits, weights) in self.logits.chunks(CHUNK).zip(weights.chunks_mut(CHUNK)) {
            self.fill(logits, weights);
        }
        weights
    }

    /// The sum of all weights.
    pub fn sum(&self) -> f64 {
        self.chunk_sums().iter().sum()
    }

    /// The first index at which the sum of weights exceeds `share` (from 0 to 1) of the whole, or the last index with a weight
    /// where rounding leaves none; `None` if there is no weight at all.
    pub fn index_at(&self, share: f64) -> Option<usize> {
        let sums = self.chunk_sums();
        let mut left = share * sums.iter().sum::<f64>();
        let mut buffer = [0.; CHUNK];
        for (chunk, (logits, sum)) in self.logits.chunks(CHUNK).zip(&sums).enumerate() {
            if left >= *sum {
                left -= sum;
                continue;
            }
            let weights = &mut buffer[..logits.len()];
            self.fill(logits, weights);
            let found = weights.iter().position(|weight| {
                left -= weight;
                left < 0.
            });
            if let Some(index) = found {
                return Some(chunk * CHUNK + index);
            }
        }
        self.all().iter().rposition(|weight| *weight > 0.)
    }

    fn chunk_sums(&self) -> Vec<f64> {
        let mut buffer = [0.; CHUNK];
        let sum = |logits: &[f32]| {
            let weights = &mut buffer[..logits.len()];
            self.fill(logits, weights);
            weights.iter().sum()
        };
        self.logits.chunks(CHUNK).map(sum).collect()
    }

    fn fill(&self, logits: &[f32], weights: &mut [f64]) {
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for (weight, &logit) in weights.iter_mut().zip(logits) {
                    *weight = ((f64::from(logit) - self.largest) / self.temperature).exponential();
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_those_of_the_definition() {
        let logits: Vec<f32> = (0..1300).map(|i| ((i * 37) % 101) as f32 / 9. - 3.).collect();
        for temperature in [0.3, 1., 4.] {
            let weights = SoftmaxWeights::new(&logits, temperature);
            let expected: Vec<f64> =
                logits.iter().map(|&x| ((f64::from(x) - weights.largest()) / temperature).exp()).collect();
            assert!(weights.all().iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-15 * b.max(1e-300)));
            let sum: f64 = expected.iter().sum();
            assert!((weights.sum() / sum - 1.).abs() < 1e-13);
            for share in [0., 1e-9, 0.2, 0.5, 0.77, 0.999_999] {
                let mut left = share * sum;
                let index = expected.iter().position(|weight| {
                    left -= weight;
                    left < 0.
                });
                assert_eq!(weights.index_at(share), index, "{share} at {temperature}");
            }
        }
    }

    #[test]
    fn what_rounding_leaves_goes_to_the_last_with_a_weight() {
        assert_eq!(SoftmaxWeights::new(&[0., 0., -1e9], 1.).index_at(1.), Some(1));
        assert_eq!(SoftmaxWeights::new(&[], 1.).index_at(0.5), None);
        let mut logits = vec![-1e9; 2000];
        (logits[700], logits[1500]) = (3., 3.);
        let weights = SoftmaxWeights::new(&logits, 1.);
        assert_eq!([0., 0.49, 0.5, 1.].map(|share| weights.index_at(share)), [700, 700, 1500, 1500].map(Some));
    }
}
