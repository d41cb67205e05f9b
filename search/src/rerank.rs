use mdp::Mdp;
use policies::Proposal;

use crate::error::{Result, SearchError, at_least_one, count};
use crate::found::{Found, FoundOf, Outcome, OutcomeOf, rank};
use crate::score::{Score, Scorer};
use crate::task::{Method, Search, Task};

/// Verifier re-ranking: one method finds episodes, another score ranks them (best of n with a verifier).
///
/// With [`Sampling`](crate::Sampling) and the likelihood or implicit reward of another policy as the score this is
/// V-STaR. The method gets 1 / (1 + p) of the budget, with p policies behind the ranking score; episodes that the rest
/// of the budget can't score are dropped.
///
/// # References
/// Hosseini et al., "V-STaR: Training Verifiers for Self-Taught Reasoners", 2024.
pub struct Rerank<'a, M: Mdp> {
    /// The method that finds episodes.
    pub method: &'a dyn Method<M>,
    /// The score that ranks them.
    pub score: &'a dyn Score<M>,
    /// The number of episodes to keep.
    pub keep: usize,
}

impl<M: Mdp> std::fmt::Debug for Rerank<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rerank").field("keep", &self.keep).finish_non_exhaustive()
    }
}

impl<M: Mdp> Method<M> for Rerank<'_, M> {
    fn search(&self, task: Task<'_, M>) -> Result<Vec<OutcomeOf<M>>> {
        at_least_one("the number of episodes to keep", self.keep)?;
        let Task { search, starts, longest, budgets, rngs, watch } = task;
        let mut scorer = self.score.open(search.mdp, starts).map_err(SearchError::Policy)?;
        let n_policies = scorer.n_policies();
        let part = |budget: &usize| if *budget == usize::MAX { *budget } else { (budget / (1 + n_policies)).max(1) };
        let finding = budgets.iter().map(part).collect();
        let mut outcomes = self.method.search(Task { search, starts, longest, budgets: finding, rngs, watch })?;
        for (outcome, budget) in outcomes.iter_mut().zip(&budgets) {
            afford(outcome, n_policies, budget.saturating_sub(outcome.spent.evaluations));
        }
        score(&search, scorer.as_mut(), &mut outcomes)?;
        for outcome in &mut outcomes {
            rank(&mut outcome.found);
            outcome.found.truncate(self.keep);
        }
        Ok(outcomes)
    }
}

/// Drops episodes that the budget can't score, and counts the evaluations of the others: one for the start and each
/// later state.
fn afford<S, A>(outcome: &mut Outcome<S, A>, n_policies: usize, budget: usize) {
    let mut cost = 0;
    let mut reaches = |found: &Found<S, A>| {
        let first = if cost == 0 { n_policies } else { 0 };
        let more = found.length().checked_sub(1).map_or(0, |after| first + n_policies * after);
        let is_reached = cost + more <= budget;
        cost += if is_reached { more } else { 0 };
        is_reached
    };
    outcome.found.retain(|found| reaches(found));
    outcome.spent.evaluations += cost;
}

/// Replaces the score of every episode by the sum of another score's gains.
fn score<M: Mdp>(search: &Search<'_, M>, scorer: &mut dyn Scorer<M>, outcomes: &mut [OutcomeOf<M>]) -> Result<()> {
    // One row per start: its first actions are scored together, then it branches.
    let has_actions = |outcome: &OutcomeOf<M>| outcome.found.iter().any(|found| found.length() > 0);
    let asked: Vec<usize> = (0..outcomes.len()).filter(|&start| has_actions(&outcomes[start])).collect();
    scorer.select(&asked);
    let mut walks: Vec<Walk<M>> = Vec::new();
    for (row, &start) in asked.iter().enumerate() {
        let found = outcomes[start].found.iter().enumerate().filter(|(_, found)| found.length() > 0);
        walks.extend(found.map(|(nth, found)| Walk::new((row, start, nth), found)));
    }
    for outcome in outcomes.iter_mut() {
        outcome.found.iter_mut().for_each(|found| (found.score, found.gains) = (0.0, Vec::new()));
    }
    while !walks.is_empty() {
        step(search, scorer, &mut walks, outcomes)?;
    }
    Ok(())
}

/// An episode being scored.
struct Walk<M: Mdp> {
    /// Its row in the scorer, shared with others before the first action.
    row: usize,
    /// The index of its start and of the episode in the outcome.
    place: (usize, usize),
    state: M::State,
    left: std::vec::IntoIter<Proposal<M::Action>>,
}

impl<M: Mdp> Walk<M> {
    fn new((row, start, nth): (usize, usize, usize), found: &FoundOf<M>) -> Self {
        let actions = found.episode.pieces.iter().flat_map(|piece| piece.actions.iter().cloned());
        let proposals = actions.zip(&found.log_probs);
        let proposals: Vec<_> =
            proposals.map(|(action, &log_prob)| Proposal { action, log_prob, prior: 1.0 }).collect();
        let state = found.episode.pieces[0].start.clone();
        Self { row, place: (start, nth), state, left: proposals.into_iter() }
    }
}

/// Scores the next action of every walk, takes it, and drops finished walks.
fn step<M: Mdp>(
    search: &Search<'_, M>,
    scorer: &mut dyn Scorer<M>,
    walks: &mut Vec<Walk<M>>,
    outcomes: &mut [OutcomeOf<M>],
) -> Result<()> {
    let n_rows = walks.last().map_or(0, |walk| walk.row + 1);
    let mut states: Vec<Option<M::State>> = vec![None; n_rows];
    let (mut lists, mut actions) = (vec![Vec::new(); n_rows], Vec::new());
    for walk in walks.iter_mut() {
        states[walk.row].get_or_insert_with(|| walk.state.clone());
        let next = walk.left.next();
        actions.extend(next.as_ref().map(|proposal| proposal.action.clone()));
        lists[walk.row].extend(next);
    }
    let states: Vec<M::State> = states.into_iter().flatten().collect();
    let gains = scorer.gains(&states, &lists).map_err(SearchError::Policy)?;
    let gains: Vec<f64> = gains.into_iter().flatten().collect();
    count("gains of a verifier", walks.len(), gains.len())?;
    for (walk, gain) in walks.iter().zip(gains) {
        let (start, nth) = walk.place;
        let found = &mut outcomes[start].found[nth];
        let step = found.gains.len();
        if !gain.is_finite() {
            return Err(SearchError::NotFinite { what: "the verifier's score", start, step, value: gain });
        }
        found.gains.push(gain);
        found.score += gain;
    }
    scorer.select(&walks.iter().map(|walk| walk.row).collect::<Vec<_>>());
    scorer.advance(&actions).map_err(SearchError::Policy)?;
    let goes_on: Vec<usize> = (0..walks.len()).filter(|&row| walks[row].left.len() > 0).collect();
    scorer.select(&goes_on);
    for (walk, action) in walks.iter_mut().zip(&actions) {
        walk.state = search.mdp.step(&walk.state, action);
    }
    walks.retain(|walk| walk.left.len() > 0);
    walks.iter_mut().enumerate().for_each(|(row, walk)| walk.row = row);
    Ok(())
}
