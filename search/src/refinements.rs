use mdp::chance::fork;
use mdp::hybrid::{Half, Handoff, Hybrid};
use mdp::{Mdp, Rng};

use crate::error::{Result, count};
use crate::found::{Found, FoundOf, OutcomeOf, rank};
use crate::task::{Method, Search, Task};

/// Nested search of a hybrid problem: one method searches to the hand-off, another continues from each refinement
/// found.
///
/// A beam over prompts with a few [`Sampling`](crate::Sampling) rollouts of images for each is `Refinements { outer:
/// &Beam::new(4), inner: &Sampling { n: 2 } }`. Episodes are ranked by the score of the whole. The budget left by the
/// outer method is divided equally among the refinements.
pub struct Refinements<'a, M: Mdp> {
    /// Searches the outer problem.
    pub outer: &'a dyn Method<M>,
    /// Searches the inner one, from each of the outer method's results.
    pub inner: &'a dyn Method<M>,
}

impl<M: Mdp> std::fmt::Debug for Refinements<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refinements").finish_non_exhaustive()
    }
}

impl<A: Mdp, B: Mdp, H: Handoff<A, B>> Method<Hybrid<A, B, H>> for Refinements<'_, Hybrid<A, B, H>> {
    fn search(&self, task: Task<'_, Hybrid<A, B, H>>) -> Result<Vec<OutcomeOf<Hybrid<A, B, H>>>> {
        let Task { search, starts, longest, budgets, rngs, watch } = task;
        let is_handed_over = |state: &Half<A::State, B::State>| matches!(state, Half::Inner(_));
        let is_end = |state: &_| is_handed_over(state) || search.until.is_some_and(|is_end| is_end(state));
        let to_hand_off = Search { until: Some(&is_end), ..search };
        let (budgets, rooms) = (budgets.clone(), budgets);
        let outer = Task { search: to_hand_off, starts, longest, budgets, rngs: &mut *rngs, watch: &mut *watch };
        let mut outcomes = self.outer.search(outer)?;
        let mut refined = Refined::of(&search, &mut outcomes, (starts, longest), &rooms, rngs);
        let inner = Task {
            search,
            starts: &refined.states,
            longest: &refined.longest,
            budgets: std::mem::take(&mut refined.budgets),
            rngs: &mut refined.rngs,
            watch,
        };
        let followed = self.inner.search(inner)?;
        count("outcomes of the inner search", refined.found.len(), followed.len())?;
        for ((start, outer), below) in refined.found.into_iter().zip(followed) {
            outcomes[start].spent.evaluations += below.spent.evaluations;
            outcomes[start].found.extend(below.found.into_iter().map(|inner| joined(&outer, inner)));
        }
        for outcome in &mut outcomes {
            rank(&mut outcome.found);
        }
        Ok(outcomes)
    }
}

/// Results of the outer search as starts of the inner one.
struct Refined<M: Mdp> {
    found: Vec<(usize, FoundOf<M>)>,
    states: Vec<M::State>,
    longest: Vec<usize>,
    budgets: Vec<usize>,
    rngs: Vec<Rng>,
}

impl<M: Mdp> Refined<M> {
    /// Takes the results that can be continued; those that the budget stopped, or can't cover, stay in the outcomes.
    fn of(
        search: &Search<'_, M>,
        outcomes: &mut [OutcomeOf<M>],
        (starts, longest): (&[M::State], &[usize]),
        budgets: &[usize],
        rngs: &mut [Rng],
    ) -> Self {
        let mut refined =
            Self { found: Vec::new(), states: Vec::new(), longest: Vec::new(), budgets: Vec::new(), rngs: Vec::new() };
        for (start, outcome) in outcomes.iter_mut().enumerate() {
            let room = budgets[start].saturating_sub(outcome.spent.evaluations);
            let room = if budgets[start] == usize::MAX { usize::MAX } else { room / outcome.found.len().max(1) };
            for mut found in std::mem::take(&mut outcome.found) {
                let n_left = longest[start].saturating_sub(found.length());
                let state = found.episode.end(search.mdp).unwrap_or_else(|| starts[start].clone());
                let is_whole = n_left == 0 || search.mdp.is_terminal(&state);
                if room == 0 || is_whole || !found.is_finished {
                    found.is_finished &= is_whole;
                    outcome.found.push(found);
                    continue;
                }
                refined.states.push(state);
                refined.longest.push(n_left);
                refined.budgets.push(room);
                refined.rngs.push(fork(&mut rngs[start]));
                refined.found.push((start, found));
            }
        }
        refined
    }
}

/// Joins an episode and its continuation.
fn joined<S: Clone, A: Clone>(outer: &Found<S, A>, inner: Found<S, A>) -> Found<S, A> {
    let mut whole = outer.clone();
    whole.episode.pieces.extend(inner.episode.pieces);
    whole.log_probs.extend(inner.log_probs);
    whole.gains.extend(inner.gains);
    whole.score = whole.gains.iter().sum();
    whole.weight = outer.weight * inner.weight;
    whole.is_finished = inner.is_finished;
    whole
}
