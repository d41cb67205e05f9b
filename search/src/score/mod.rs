//! Scores of decisions.

mod guided;
mod log_probs;

use mdp::Mdp;
use policies::{PolicyError, Proposal};

pub use guided::Guided;
pub use log_probs::LogProbs;

/// The score of an episode: the sum of the gains of its decisions.
///
/// [`LogProbs`] is every weighted sum of log-probabilities (likelihood, implicit reward, weak-to-strong), [`Guided`] adds a reward
/// and a value function (Eq. 12 of the paper), [`Reward`] is any function of state and action.
///
/// # Laws
/// The gain of a decision depends on state and action alone: not on the other rows, nor on the path to the state.
pub trait Score<M: Mdp> {
    /// Opens a scorer at states, to follow the cursor of the proposing policy.
    ///
    /// # Errors
    /// States in which a policy behind the score can't act.
    fn open<'a>(&'a self, mdp: &'a M, states: &[M::State]) -> Result<Box<dyn Scorer<M> + 'a>, PolicyError>;
}

/// A running score: its rows are selected, advanced and extended with those of the proposing cursor, so that the caches
/// of its policies branch with them.
pub trait Scorer<M: Mdp> {
    /// The number of policies evaluated in each state, besides the proposing one.
    fn n_policies(&self) -> usize;

    /// The gain of each proposal of each row.
    ///
    /// # Shapes
    /// A state and a list of at least one proposal per row; the result has the same lengths.
    ///
    /// # Errors
    /// Errors of a policy behind the score.
    fn gains(
        &mut self,
        states: &[M::State],
        proposals: &[Vec<Proposal<M::Action>>],
    ) -> Result<Vec<Vec<f64>>, PolicyError>;

    /// Takes an action in each row.
    ///
    /// # Errors
    /// Errors of a policy behind the score.
    fn advance(&mut self, actions: &[M::Action]) -> Result<(), PolicyError>;

    /// Row i becomes the former row `rows[i]`.
    ///
    /// # Panics
    /// An index out of range.
    fn select(&mut self, rows: &[usize]);

    /// Appends a row for each state.
    ///
    /// # Errors
    /// Errors of a policy behind the score.
    fn extend(&mut self, states: &[M::State]) -> Result<(), PolicyError>;
}

/// A function of state and action as a score; it evaluates no policy.
#[derive(Clone, Copy, Debug)]
pub struct Reward<F>(pub F);

impl<M: Mdp, F: Fn(&M::State, &M::Action) -> f64> Score<M> for Reward<F> {
    fn open<'a>(&'a self, _mdp: &'a M, _states: &[M::State]) -> Result<Box<dyn Scorer<M> + 'a>, PolicyError> {
        Ok(Box::new(Reward(&self.0)))
    }
}

/// Stateless: there are no caches to move.
impl<M: Mdp, F: Fn(&M::State, &M::Action) -> f64> Scorer<M> for Reward<&F> {
    fn n_policies(&self) -> usize {
        0
    }

    fn gains(
        &mut self,
        states: &[M::State],
        proposals: &[Vec<Proposal<M::Action>>],
    ) -> Result<Vec<Vec<f64>>, PolicyError> {
        let of_row = |(state, list): (&M::State, &Vec<Proposal<M::Action>>)| {
            list.iter().map(|proposal| (self.0)(state, &proposal.action)).collect()
        };
        Ok(states.iter().zip(proposals).map(of_row).collect())
    }

    fn advance(&mut self, _actions: &[M::Action]) -> Result<(), PolicyError> {
        Ok(())
    }

    fn select(&mut self, _rows: &[usize]) {}

    fn extend(&mut self, _states: &[M::State]) -> Result<(), PolicyError> {
        Ok(())
    }
}
