use mdp::{EpisodeOf, Mdp};
use objectives::{Comparison, Demonstration, Label, Ranking, Scores};
use policies::BoxError;

use crate::Measures;
use crate::step::Slice;

/// One example: some episodes and what is known of them.
pub struct Item<M: Mdp, F> {
    /// The episodes; feedback indexes them from 0.
    pub episodes: Vec<EpisodeOf<M>>,
    /// The feedback, usually one.
    pub feedback: Vec<F>,
    /// How much work it is, in the problem's own unit ([`Source::UNIT`]), for throughput.
    pub size: usize,
}

impl<M: Mdp, F> std::fmt::Debug for Item<M, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Item").field("episodes", &self.episodes.len()).field("size", &self.size).finish_non_exhaustive()
    }
}

/// Examples by position.
pub trait Source {
    /// The problem the episodes belong to.
    type Mdp: Mdp;
    /// What is known of them.
    type Feedback: Sides;

    /// How many examples there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The example at `index`: the same every time.
    fn item(&self, index: usize) -> Result<Item<Self::Mdp, Self::Feedback>, BoxError>;

    /// What [`Item::size`] counts, as `tokens`.
    const UNIT: &'static str;

    /// What one decision is, as `token`: the name of its reward in the records.
    const DECISION: &'static str;

    /// The index that example `example` has in epoch `epoch`: another one where an epoch looks at an example in its own
    /// way, such as with noise of its own.
    fn index_in_epoch(&self, example: usize, _epoch: usize) -> usize {
        example
    }

    /// How much of what the problem counts is in a slice, where it counts something: the records have the sum over a run's
    /// training as `num_tokens`.
    fn n_tokens(&self, _slice: &Slice<Self::Mdp, Self::Feedback>) -> Option<usize> {
        None
    }

    /// What the problem itself measures on scored examples, beside the objective's metrics.
    fn measure(&self, _slice: &Slice<Self::Mdp, Self::Feedback>, _scores: Scores<'_>) -> Measures {
        Measures::default()
    }
}

/// Feedback that can be moved to a batch, and tells which episodes it prefers.
pub trait Sides: Clone {
    /// The same feedback where episode 0 has become episode `offset`.
    #[must_use]
    fn shifted(&self, offset: usize) -> Self;

    /// The better episode, where there is one.
    fn chosen(&self) -> Option<usize>;

    /// The worst episode, where there is one.
    fn rejected(&self) -> Option<usize>;

    /// All episodes it is about, those left out that only a baseline is estimated from.
    fn sides(&self) -> Vec<usize> {
        self.chosen().into_iter().chain(self.rejected()).collect()
    }
}

impl Sides for Comparison {
    fn shifted(&self, offset: usize) -> Self {
        Self { first: self.first + offset, second: self.second + offset, ..*self }
    }

    fn chosen(&self) -> Option<usize> {
        Some(if self.preference >= 0.5 { self.first } else { self.second })
    }

    fn rejected(&self) -> Option<usize> {
        Some(if self.preference >= 0.5 { self.second } else { self.first })
    }
}

impl Sides for Ranking {
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

impl Sides for Label {
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

impl Sides for Demonstration {
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
