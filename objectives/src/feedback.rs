//! What is known of some episodes. Relations are explicit indices of rows, never positions.

/// Two episodes with the same start, and how likely the first is the better one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// An episode.
    pub first: usize,
    /// Another.
    pub second: usize,
    /// P(first is better): 1 for a clean label, 0.5 for a tie.
    pub preference: f64,
}

impl Comparison {
    /// A clean label.
    pub fn new(chosen: usize, rejected: usize) -> Self {
        Self { first: chosen, second: rejected, preference: 1.0 }
    }

    /// The episode that is likelier to be the better one; the first of a tie.
    pub fn chosen(&self) -> usize {
        if self.preference < 0.5 { self.second } else { self.first }
    }

    /// The other one.
    pub fn rejected(&self) -> usize {
        if self.preference < 0.5 { self.first } else { self.second }
    }
}

/// Two or more episodes with the same start, in order of preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranking {
    /// Each once, the best first.
    pub best_first: Vec<usize>,
}

/// One episode and whether it was liked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// The episode.
    pub episode: usize,
    /// A thumb up or down.
    pub desirable: bool,
    /// An episode with the same start and the actions of an unrelated one: what [`Kto`](crate::Kto) estimates its
    /// baseline from.
    pub mismatched: Option<usize>,
}

/// One episode to imitate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demonstration {
    /// The episode.
    pub episode: usize,
}
