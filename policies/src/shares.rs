use std::fmt;
use std::ops::Range;

/// The processes that train one policy, each of which keeps the optimiser's state of its own share of every parameter.
pub trait Shares: fmt::Debug {
    /// The own share of so many numbers; those of all processes, in their order, are all of them.
    fn own(&self, len: usize) -> Range<usize>;

    /// Fills in what is not the own share: every process brings its own, and all get the same.
    fn complete(&self, values: &mut [f32]);
}
