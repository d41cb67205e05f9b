//! Feedback on episodes: comparisons, rankings, thumbs up or down, demonstrations. Relations are explicit row indices,
//! never positions.

/// Two episodes with the same start, and the probability that the first is the better one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Row of the first episode.
    pub first: usize,
    /// Row of the second episode.
    pub second: usize,
    /// P(first is better): 1 for a clean label, 0.5 for a tie.
    pub preference: f64,
}

impl Comparison {
    /// A comparison with a certain label.
    pub fn new(chosen: usize, rejected: usize) -> Self {
        Self { first: chosen, second: rejected, preference: 1.0 }
    }

    /// The episode more likely to be better; the first of a tie.
    pub fn chosen(&self) -> usize {
        if self.preference < 0.5 { self.second } else { self.first }
    }

    /// The other episode.
    pub fn rejected(&self) -> usize {
        if self.preference < 0.5 { self.first } else { self.second }
    }
}

/// Two or more episodes with the same start, in order of preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranking {
    /// Rows of the episodes, best first, each once.
    pub best_first: Vec<usize>,
}

/// One episode and whether it was liked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Row of the episode.
    pub episode: usize,
    /// Whether it was liked.
    pub desirable: bool,
    /// An episode with the same start and the actions of an unrelated one, from which [`Kto`](crate::Kto) estimates its
    /// baseline.
    pub mismatched: Option<usize>,
}

/// An episode to imitate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demonstration {
    /// Row of the episode.
    pub episode: usize,
}
