use mdp::{Mdp, Rng};
use policies::{BoxError, Policy};

use crate::error::{Result, SearchError, count};
use crate::{OutcomeOf, Score};

/// What is searched: a problem, the policy that proposes, and what is sought.
pub struct Search<'a, M: Mdp> {
    /// The problem.
    pub mdp: &'a M,
    /// The policy that proposes actions.
    pub policy: &'a dyn Policy<M>,
    /// What is sought.
    pub score: &'a dyn Score<M>,
    /// The most evaluations for each start; a search ends before it needs more, with the best found so far.
    pub budget: Option<usize>,
    /// Where episodes end, beside the problem's own ends.
    pub until: Option<IsEnd<'a, M::State>>,
}

/// Says where episodes end.
pub type IsEnd<'a, S> = &'a dyn Fn(&S) -> bool;

impl<'a, M: Mdp> Search<'a, M> {
    /// Without a budget, to the problem's ends.
    pub fn new(mdp: &'a M, policy: &'a dyn Policy<M>, score: &'a dyn Score<M>) -> Self {
        Self { mdp, policy, score, budget: None, until: None }
    }

    /// The same, for at most so many evaluations for each start.
    #[must_use]
    pub fn within(self, evaluations: usize) -> Self {
        Self { budget: Some(evaluations), ..self }
    }

    /// The same, to states of a kind where they come before the problem's end.
    #[must_use]
    pub fn until(self, is_end: IsEnd<'a, M::State>) -> Self {
        Self { until: Some(is_end), ..self }
    }

    /// Searches from every start, all side by side: for at most `longest[i]` decisions, with a generator of its own, so that what
    /// is found from one does not depend on the others (to rounding).
    ///
    /// # Errors
    /// Not one length and one generator for each start, a budget of 0, a setting of the method that makes no sense, a score that
    /// is not finite; what a policy refuses.
    pub fn run(
        &self,
        method: &(impl Method<M> + ?Sized),
        starts: &[M::State],
        longest: &[usize],
        rngs: &mut [Rng],
    ) -> Result<Vec<OutcomeOf<M>>> {
        self.run_watched(method, starts, longest, rngs, &mut |_| Ok(()))
    }

    /// The same, watched: `watch` sees every step after it is taken, and an error of it ends all.
    ///
    /// # Errors
    /// As [`run`](Self::run); what `watch` raises.
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

// Derived, these would ask the problem itself to be copied and printed.
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

/// What a search shows of a step once it is taken.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// How many steps were taken.
    pub step: usize,
    /// How many rows go on.
    pub n_rows: usize,
    /// How many evaluations each start has cost.
    pub evaluations: &'a [usize],
}

/// What looks on, and may end all with an error.
pub type Watch<'w> = dyn FnMut(Progress<'_>) -> std::result::Result<(), BoxError> + 'w;

/// A search with all that it takes: what a [`Method`] works on.
pub struct Task<'a, M: Mdp> {
    /// What is searched.
    pub search: Search<'a, M>,
    /// Where it starts.
    pub starts: &'a [M::State],
    /// The most decisions from each start.
    pub longest: &'a [usize],
    /// The most evaluations of each start.
    pub budgets: Vec<usize>,
    /// A generator for each start.
    pub rngs: &'a mut [Rng],
    /// What looks on.
    pub watch: &'a mut Watch<'a>,
}

impl<M: Mdp> std::fmt::Debug for Task<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").field("search", &self.search).field("longest", &self.longest).finish_non_exhaustive()
    }
}

/// A way to search. Methods differ only in which of the candidates they take: see [`Rows`](crate::Rows).
pub trait Method<M: Mdp> {
    /// An outcome for each start.
    ///
    /// # Errors
    /// As [`Search::run`].
    fn search(&self, task: Task<'_, M>) -> Result<Vec<OutcomeOf<M>>>;
}
