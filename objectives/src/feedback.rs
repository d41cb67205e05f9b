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
    /// The weight of its loss; 1 unless the data says otherwise.
    pub weight: f64,
    /// By how much the first episode's reward should be the higher one, in the unit of rewards (beta times a return); 0
    /// unless the data says otherwise. Only losses of the difference of two rewards can use it.
    pub margin: f64,
}

impl Comparison {
    /// A comparison with a certain label.
    pub fn new(chosen: usize, rejected: usize) -> Self {
        Self { first: chosen, second: rejected, preference: 1.0, weight: 1.0, margin: 0.0 }
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

/// Feedback that can be reindexed for a batch, and knows which episodes it prefers.
pub trait Feedback: Clone {
    /// Adds `offset` to the episode indices.
    #[must_use]
    fn shifted(&self, offset: usize) -> Self;

    /// The better episode, if there is one.
    fn chosen(&self) -> Option<usize>;

    /// The worst episode, if there is one.
    fn rejected(&self) -> Option<usize>;

    /// All episodes it refers to, except those used only for a baseline.
    fn sides(&self) -> Vec<usize> {
        self.chosen().into_iter().chain(self.rejected()).collect()
    }
}

impl Feedback for Comparison {
    fn shifted(&self, offset: usize) -> Self {
        Self { first: self.first + offset, second: self.second + offset, ..*self }
    }

    fn chosen(&self) -> Option<usize> {
        Some(self.chosen())
    }

    fn rejected(&self) -> Option<usize> {
        Some(self.rejected())
    }
}

impl Feedback for Ranking {
    fn shifted(&self, offset: usize) -> Self {
        Self { best_first: self.best_first.iter().map(|i| i + offset).collect() }
    }

    fn chosen(&self) -> Option<usize> {
        self.best_first.first().copied()
    }

    fn rejected(&self) -> Option<usize> {
        self.best_first.last().copied()
    }

    fn sides(&self) -> Vec<usize> {
        self.best_first.clone()
    }
}

impl Feedback for Label {
    fn shifted(&self, offset: usize) -> Self {
        Self {
            episode: self.episode + offset,
            desirable: self.desirable,
            mismatched: self.mismatched.map(|i| i + offset),
        }
    }

    fn chosen(&self) -> Option<usize> {
        self.desirable.then_some(self.episode)
    }

    fn rejected(&self) -> Option<usize> {
        (!self.desirable).then_some(self.episode)
    }
}

impl Feedback for Demonstration {
    fn shifted(&self, offset: usize) -> Self {
        Self { episode: self.episode + offset }
    }

    fn chosen(&self) -> Option<usize> {
        Some(self.episode)
    }

    fn rejected(&self) -> Option<usize> {
        None
    }
}
