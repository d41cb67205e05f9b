use mdp::{EpisodeOf, Mdp};
use objectives::Comparison;
use policies::BoxError;

use crate::{Item, Source};

/// In-memory preference pairs of episodes.
///
/// Collect it from pairs (preferred, other), or [`push`](Self::push) pairs with a soft preference.
pub struct Preferences<M: Mdp> {
    pairs: Vec<([EpisodeOf<M>; 2], f64)>,
}

impl<M: Mdp> Preferences<M> {
    /// No pairs.
    pub fn new() -> Self {
        Self { pairs: Vec::new() }
    }

    /// Adds a pair; `preference`, from 0 to 1, is the probability that the first is better.
    pub fn push(&mut self, first: EpisodeOf<M>, second: EpisodeOf<M>, preference: f64) {
        self.pairs.push(([first, second], preference));
    }
}

impl<M: Mdp> Default for Preferences<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Mdp> std::fmt::Debug for Preferences<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Preferences").field("pairs", &self.pairs.len()).finish()
    }
}

impl<M: Mdp> FromIterator<(EpisodeOf<M>, EpisodeOf<M>)> for Preferences<M> {
    fn from_iter<I: IntoIterator<Item = (EpisodeOf<M>, EpisodeOf<M>)>>(pairs: I) -> Self {
        Self { pairs: pairs.into_iter().map(|(preferred, other)| ([preferred, other], 1.0)).collect() }
    }
}

impl<M: Mdp> Source for Preferences<M> {
    type Mdp = M;
    type Feedback = Comparison;
    const UNIT: &'static str = "decisions";
    const DECISION: &'static str = "decision";

    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn item(&self, index: usize) -> Result<Item<M, Comparison>, BoxError> {
        let (episodes, preference) = self.pairs.get(index).ok_or_else(|| format!("there is no pair {index}"))?;
        let size = episodes.iter().map(EpisodeOf::<M>::n_decisions).sum();
        let feedback = vec![Comparison { preference: *preference, ..Comparison::new(0, 1) }];
        Ok(Item { episodes: episodes.to_vec(), feedback, size })
    }
}
