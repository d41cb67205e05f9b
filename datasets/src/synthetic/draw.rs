//! Random draws of the embedded problems.
use mdp::Rng;
use mdp::chance::{below, named, shuffle, unit};

/// A generator with the draws that grammars need.
pub(super) struct RandomDraws(Rng);

impl RandomDraws {
    /// The stream that a problem names by `purpose` and `numbers`; different names give independent streams.
    pub(super) fn new(problem: &str, purpose: &str, numbers: &[u64]) -> Self {
        Self(named(problem, purpose, numbers))
    }

    /// Draws a number in `0..limit`.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        below(&mut self.0, limit as u64) as usize
    }

    /// Draws an event of the given probability.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        unit(&mut self.0) < probability
    }

    /// Draws one of the items uniformly.
    pub(super) fn choose<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// Draws one of the items by shares that add up to 1.
    pub(super) fn choose_by<T: Copy>(&mut self, items: &[T], shares: &[f64]) -> T {
        let last = items.len() - 1;
        let mut left = 1.0;
        for (item, share) in items[..last].iter().zip(shares) {
            if self.chance(share / left) {
                return *item;
            }
            left -= share;
        }
        items[last]
    }

    /// Draws `count` of the items, in random order.
    pub(super) fn sample<T: Copy>(&mut self, items: &[T], count: usize) -> Vec<T> {
        let mut items = items.to_vec();
        self.shuffle(&mut items);
        items.truncate(count);
        items
    }

    /// Shuffles the items.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        shuffle(&mut self.0, items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_frozen() {
        // A change of these changes all embedded problems.
        let mut draw = RandomDraws::new("a problem", "purpose", &[1, 2]);
        assert_eq!([0; 5].map(|_| draw.below(10)), [4, 3, 4, 1, 6]);
        assert_eq!([0; 5].map(|_| draw.chance(0.5)), [false; 5]);
        assert_eq!(draw.sample(&[0, 1, 2, 3, 4, 5, 6], 4), [3, 0, 4, 2]);
        assert_eq!(draw.choose_by(&[1, 2, 3], &[0.2, 0.3, 0.5]), 2);
    }
}
