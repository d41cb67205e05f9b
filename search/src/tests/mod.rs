//! Searches of small problems against exact answers.

mod batches;
mod beams;
mod budgets;
mod particles;
mod peers;
mod problems;
mod refinements;
mod refusals;
mod samples;
mod scores;
mod trees;
mod worlds;

use mdp::{Enumerable, EpisodeOf, Mdp, Rng, all_episodes};
use policies::{Policy, Tabular};
use rand::SeedableRng as _;

use crate::{Method, OutcomeOf, Result, Score, Search};

/// More decisions than any episode here has.
const LONG: usize = 50;

fn rngs(n: usize, seed: u64) -> Vec<Rng> {
    (0..n as u64).map(|i| Rng::seed_from_u64(seed + i)).collect()
}

/// Searches from starts with the seeds 0, 1, ..
fn run<M: Mdp>(
    (mdp, policy): (&M, &dyn Policy<M>),
    score: &dyn Score<M>,
    method: &dyn Method<M>,
    starts: &[M::State],
) -> Result<Vec<OutcomeOf<M>>> {
    let longest = vec![LONG; starts.len()];
    Search::new(mdp, policy, score).run(method, starts, &longest, &mut rngs(starts.len(), 0))
}

/// The gains of an episode's decisions, by a separate walk.
fn score_of<M: Mdp>(mdp: &M, policy: &dyn Policy<M>, score: &dyn Score<M>, episode: &EpisodeOf<M>) -> f64 {
    let start = episode.pieces[0].start.clone();
    let mut cursor = policy.cursor(mdp, std::slice::from_ref(&start)).unwrap();
    let mut scorer = score.open(mdp, &[start]).unwrap();
    let mut total = 0.0;
    for action in episode.pieces.iter().flat_map(|piece| &piece.actions) {
        let actions = [action.clone()];
        let log_prob = cursor.log_probs(&actions).unwrap()[0];
        let proposal = policies::Proposal { action: action.clone(), log_prob, prior: 1.0 };
        total += scorer.gains(cursor.states(), &[vec![proposal]]).unwrap()[0][0];
        cursor.advance(&actions).unwrap();
        scorer.advance(&actions).unwrap();
    }
    total
}

/// Every episode with its score, best first.
fn brute_force<M: Enumerable>(
    mdp: &M,
    policy: &dyn Policy<M>,
    score: &dyn Score<M>,
    start: &M::State,
) -> Vec<(f64, EpisodeOf<M>)> {
    let all = all_episodes(mdp, start, 10_000).unwrap();
    let mut scored: Vec<_> = all.into_iter().map(|episode| (score_of(mdp, policy, score, &episode), episode)).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored
}

/// Logits that differ in every state, from a seed.
fn untidy<M: Enumerable<State: Ord>>(mdp: &M, start: &M::State, seed: u64) -> Tabular<M> {
    let mut policy = Tabular::new(mdp);
    let rng = &mut Rng::seed_from_u64(seed);
    let mut open = vec![start.clone()];
    while let Some(state) = open.pop() {
        if !mdp.is_terminal(&state) && policy.logits(&state).is_none() {
            let logits = (0..mdp.n_actions()).map(|_| 1.5 * mdp::chance::standard_normal(rng)).collect();
            policy.set_logits(state.clone(), logits);
            open.extend(mdp.allowed(&state).into_iter().map(|action| mdp.step(&state, &mdp.action(action))));
        }
    }
    policy
}
