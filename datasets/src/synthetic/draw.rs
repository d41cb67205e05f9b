//! Chance, drawn from a named stream.

use mdp::Rng as Generator;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A generator with the few draws that grammars need.
pub(super) struct Draw(Generator);

impl Draw {
    /// The stream of draws that a problem names by `purpose` and `numbers`; different names give independent streams.
    pub(super) fn new(problem: &str, purpose: &str, numbers: &[u64]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(problem);
        hasher.update(purpose.as_bytes());
        for number in numbers {
            hasher.update(&number.to_le_bytes());
        }
        Self(Generator::from_seed(*hasher.finalize().as_bytes()))
    }

    /// A number in `0..limit`; the bias of taking 64 bits modulo a small limit is below 1e-17.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.0.next_u64() % limit as u64) as usize
    }

    /// Whether an event of the given probability happens.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        ((self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64) < probability
    }

    /// One of the items.
    pub(super) fn choose<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// One of the items, each as often as its share says; shares add up to 1.
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

    /// `count` of the items, in random order.
    pub(super) fn sample<T: Copy>(&mut self, items: &[T], count: usize) -> Vec<T> {
        let mut items = items.to_vec();
        self.shuffle(&mut items);
        items.truncate(count);
        items
    }

    /// Puts the items in random order.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
