use mdp::{Mdp, Rng};
use policies::{Policy, PolicyError};

use crate::error::{Result, SearchError, count};
use crate::{OutcomeOf, Score};

/// A search: a problem, the proposing policy, and the score to maximise.
pub struct Search<'a, M: Mdp> {
    /// The problem.
    pub mdp: &'a M,
    /// The proposing policy.
    pub policy: &'a dyn Policy<M>,
    /// The score to maximise.
    pub score: &'a dyn Score<M>,
    /// The maximum number of evaluations per start; a search stops before it exceeds them, with the best found so far.
    pub budget: Option<usize>,
    /// A stopping condition on states, besides the problem's terminal ones.
    pub until: Option<IsEnd<'a, M::State>>,
}

/// A stopping condition on states.
pub type IsEnd<'a, S> = &'a dyn Fn(&S) -> bool;

impl<'a, M: Mdp> Search<'a, M> {
    /// A search without a budget, to terminal states.
    pub fn new(mdp: &'a M, policy: &'a dyn Policy<M>, score: &'a dyn Score<M>) -> Self {
        Self { mdp, policy, score, budget: None, until: None }
    }

    /// Sets the maximum number of evaluations per start.
    #[must_use]
    pub fn within(self, evaluations: usize) -> Self {
        Self { budget: Some(evaluations), ..self }
    }

    /// Sets a stopping condition on states.
    #[must_use]
    pub fn until(self, is_end: IsEnd<'a, M::State>) -> Self {
        Self { until: Some(is_end), ..self }
    }

    /// Searches from all starts in parallel, for at most `longest[i]` decisions, with a generator per start, so that
    /// the result of a start does not depend on the others (to rounding).
    ///
    /// # Errors
    /// Another number of lengths or generators than of starts, a budget of 0, an invalid parameter of the method, a
    /// non-finite score, errors of a policy.
    pub fn run(
        &self,
        method: &(impl Method<M> + ?Sized),
        starts: &[M::State],
        longest: &[usize],
        rngs: &mut [Rng],
    ) -> Result<Vec<OutcomeOf<M>>> {
        self.run_watched(method, starts, longest, rngs, &mut |_| Ok(()))
    }

    /// As [`run`](Self::run), with a callback after every step, whose error ends the search.
    ///
    /// # Errors
    /// As [`run`](Self::run); errors of `watch`.
    pub fn run_watched(
        &self,
        method: &(impl Method<M> + ?Sized),
        starts: &[M::State],
        longest: &[usize],
        rngs: &mut [Rng],
        watch: &mut Watch<'_>,
    ) -> Result<Vec<OutcomeOf<M>>> {
        count("lengths", starts.len(), longest.len())?;
        count("generators", starts.len(), rngs.len())?;
        if self.budget == Some(0) {
            return Err(SearchError::Zero { what: "the budget of evaluations" });
        }
        let budgets = vec![self.budget.unwrap_or(usize::MAX); starts.len()];
        method.search(Task { search: *self, starts, longest, budgets, rngs, watch })
    }
}

// Derived impls would require the problem itself to be `Clone` and `Debug`.
impl<M: Mdp> Clone for Search<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Mdp> Copy for Search<'_, M> {}

impl<M: Mdp> std::fmt::Debug for Search<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Search").field("budget", &self.budget).finish_non_exhaustive()
    }
}

/// The progress of a search after a step.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The number of steps taken.
    pub step: usize,
    /// The number of unfinished rows.
    pub n_rows: usize,
    /// Evaluations spent per start.
    pub evaluations: &'a [usize],
}

/// A progress callback, whose error ends the search.
pub type Watch<'w> = dyn FnMut(Progress<'_>) -> std::result::Result<(), PolicyError> + 'w;

/// A search with all its inputs: the argument of a [`Method`].
pub struct Task<'a, M: Mdp> {
    /// The search.
    pub search: Search<'a, M>,
    /// The start states.
    pub starts: &'a [M::State],
    /// The maximum number of decisions per start.
    pub longest: &'a [usize],
    /// The maximum number of evaluations per start.
    pub budgets: Vec<usize>,
    /// A generator for each start.
    pub rngs: &'a mut [Rng],
    /// The progress callback.
    pub watch: &'a mut Watch<'a>,
}

impl<M: Mdp> std::fmt::Debug for Task<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").field("search", &self.search).field("longest", &self.longest).finish_non_exhaustive()
    }
}

/// A search method. Methods differ only in the candidates they take: see [`Rows`](crate::Rows).
pub trait Method<M: Mdp> {
    /// Searches from all starts; one outcome each.
    ///
    /// # Errors
    /// As [`Search::run`].
    fn search(&self, task: Task<'_, M>) -> Result<Vec<OutcomeOf<M>>>;
}
