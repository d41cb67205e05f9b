//! What is sought: what each decision adds to the score of its episode.

mod guided;
mod log_probs;

use mdp::Mdp;
use policies::{BoxError, Proposal};

pub use guided::Guided;
pub use log_probs::LogProbs;

/// Says what each decision adds to the score of its episode, which is the sum over all decisions.
///
/// [`LogProbs`] is every weighted sum of log-probabilities (likelihood, implicit reward, weak-to-strong), [`Guided`] adds a reward
/// and a value function (Eq. 12 of the paper), [`Reward`] is any function of state and action.
///
/// # Laws
/// What a decision adds depends on the decision alone: not on the other rows, nor on the way to its state.
pub trait Score<M: Mdp> {
    /// Opens at states, beside the cursor of the policy that proposes.
    ///
    /// # Errors
    /// States that a policy behind the score can't act in.
    fn open<'a>(&'a self, mdp: &'a M, states: &[M::State]) -> Result<Box<dyn Scorer<M> + 'a>, BoxError>;
}

/// A score in the act: rows that are selected, advanced and extended together with the rows of the cursor that proposes, so
/// that whatever a policy behind it remembers branches with them.
pub trait Scorer<M: Mdp> {
    /// How many policies are asked of each state: what a state costs beside its proposals.
    fn n_policies(&self) -> usize;

    /// What each proposal of each row adds to the score of its episode.
    ///
    /// # Shapes
    /// A state and a list of at least one proposal for each row; the answer has the same lengths.
    ///
    /// # Errors
    /// What a policy behind the score refuses.
    fn gains(&mut self, states: &[M::State], proposals: &[Vec<Proposal<M::Action>>])
    -> Result<Vec<Vec<f64>>, BoxError>;

    /// Takes an action in each row.
    ///
    /// # Errors
    /// What a policy behind the score refuses.
    fn advance(&mut self, actions: &[M::Action]) -> Result<(), BoxError>;

    /// Makes row i what row `rows[i]` was.
    ///
    /// # Panics
    /// If there is no such row.
    fn select(&mut self, rows: &[usize]);

    /// Adds a row for each state, behind the others.
    ///
    /// # Errors
    /// What a policy behind the score refuses.
    fn extend(&mut self, states: &[M::State]) -> Result<(), BoxError>;
}

/// A function of state and action as a score; it asks no policy.
#[derive(Clone, Copy, Debug)]
pub struct Reward<F>(pub F);

impl<M: Mdp, F: Fn(&M::State, &M::Action) -> f64> Score<M> for Reward<F> {
    fn open<'a>(&'a self, _mdp: &'a M, _states: &[M::State]) -> Result<Box<dyn Scorer<M> + 'a>, BoxError> {
        Ok(Box::new(Reward(&self.0)))
    }
}

/// It remembers nothing, so there is nothing to move.
impl<M: Mdp, F: Fn(&M::State, &M::Action) -> f64> Scorer<M> for Reward<&F> {
    fn n_policies(&self) -> usize {
        0
    }

    fn gains(
        &mut self,
        states: &[M::State],
        proposals: &[Vec<Proposal<M::Action>>],
    ) -> Result<Vec<Vec<f64>>, BoxError> {
        let of_row = |(state, list): (&M::State, &Vec<Proposal<M::Action>>)| {
            list.iter().map(|proposal| (self.0)(state, &proposal.action)).collect()
        };
        Ok(states.iter().zip(proposals).map(of_row).collect())
    }

    fn advance(&mut self, _actions: &[M::Action]) -> Result<(), BoxError> {
        Ok(())
    }

    fn select(&mut self, _rows: &[usize]) {}

    fn extend(&mut self, _states: &[M::State]) -> Result<(), BoxError> {
        Ok(())
    }
}
