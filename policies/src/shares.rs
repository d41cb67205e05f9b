use std::fmt;
use std::ops::Range;

/// The processes that train one policy, as each sees them before the first step.
pub trait Peers: fmt::Debug {
    /// The number of this process, from 0.
    fn rank(&self) -> usize;

    /// The bytes of every process, by its rank; all call it together.
    fn gather(&self, bytes: &[u8]) -> Vec<Vec<u8>>;
}

/// The processes that train one policy, each of which keeps the optimiser's state of its own share of every parameter.
pub trait Shares: fmt::Debug {
    /// The own share of so many numbers; those of all processes, in their order, are all of them.
    fn own(&self, len: usize) -> Range<usize>;

    /// Fills in what is not the own share: every process brings its own, and all get the same.
    fn complete(&self, values: &mut [f32]);
}
