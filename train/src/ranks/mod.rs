//! Processes that train one policy together.
mod exchange;
mod orders;
mod threads;

use std::fmt;
use std::ops::Range;

pub(crate) use exchange::{Numbers, exchange, join_measures};
pub(crate) use orders::{Leader, Order, receive};
use policies::{Peers, Shares};
pub use threads::Threads;

/// The processes that take every step together, each with its own copy of the policy, as one of them sees them.
///
/// All call the same functions in the same order. What they return is the same everywhere, to the bit, so that copies that were
/// equal before a step are equal after it. A process that ends takes the others with it: that is the business of what started
/// them, and no function here fails.
pub trait Ranks: fmt::Debug {
    /// The number of this process, from 0. Rank 0 leads: it decides, samples, and writes files.
    fn rank(&self) -> usize;

    /// The number of processes.
    fn size(&self) -> usize;

    /// Replaces each value by its sum over all processes, which is taken in the order of their ranks.
    fn sum(&self, values: &mut [f64]);

    /// As [`sum`](Self::sum), of values that travel in `f32`: they are summed in `f64`, and the sum is rounded once.
    fn sum_single(&self, values: &mut [f32]);

    /// Fills in what is not [`own`](Self::own): every process brings its own part, and all get the same.
    fn complete(&self, values: &mut [f32]);

    /// The values of every process by its rank; their numbers may differ.
    fn gather(&self, values: &[f64]) -> Vec<Vec<f64>>;

    /// Replaces the bytes by those of rank 0.
    fn broadcast(&self, bytes: &mut Vec<u8>);

    /// Returns when all processes have called it.
    fn barrier(&self);

    /// The bytes that this process has sent to each other one, summed over them; 0 where nothing travels.
    fn sent(&self) -> u64 {
        0
    }

    /// The part of so many values that is this process's own: all have parts of one size, but for the last ones.
    fn own(&self, len: usize) -> Range<usize> {
        let part = len.div_ceil(self.size());
        (self.rank() * part).min(len)..((self.rank() + 1) * part).min(len)
    }

    /// Whether this process leads.
    fn is_leader(&self) -> bool {
        self.rank() == 0
    }
}

/// Ranks as those who share an optimiser's state, and whose policies join.
#[derive(Debug)]
pub(crate) struct Sharing<'r>(pub(crate) &'r dyn Ranks);

impl Shares for Sharing<'_> {
    fn own(&self, len: usize) -> Range<usize> {
        self.0.own(len)
    }

    fn complete(&self, values: &mut [f32]) {
        self.0.complete(values);
    }
}

impl Peers for Sharing<'_> {
    fn rank(&self) -> usize {
        self.0.rank()
    }

    fn gather(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let numbers: Vec<f64> = bytes.iter().map(|byte| f64::from(*byte)).collect();
        let bytes = |numbers: Vec<f64>| numbers.into_iter().map(|number| number as u8).collect();
        self.0.gather(&numbers).into_iter().map(bytes).collect()
    }
}

/// One process by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alone;

impl Ranks for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn sum(&self, _: &mut [f64]) {}

    fn sum_single(&self, _: &mut [f32]) {}

    fn complete(&self, _: &mut [f32]) {}

    fn gather(&self, values: &[f64]) -> Vec<Vec<f64>> {
        vec![values.to_vec()]
    }

    fn broadcast(&self, _: &mut Vec<u8>) {}

    fn barrier(&self) {}
}
