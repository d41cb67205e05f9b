//! The statements of Section 4 and their equations, as the largest deviation on exact problems.
use std::collections::BTreeMap;

use mdp::chance::{named, standard_normal};
use mdp::{Episode, Finite, FiniteState, Mdp as _, Table, soft_q};
use policies::{BoxError, Policy as _};
use search::{Beam, EarlyStopping, Guided, LogProbs, Outcome, Score, Search};
use std::sync::Arc;

use super::problems::{Exact, largest, random};

/// The most episodes of a problem.
const EPISODES: usize = 1000;

/// Lemma 1, from rewards: the reward that belongs to the Q function of a reward is that reward again.
pub(super) fn reward_comes_back(exact: &Exact) -> Result<f64, BoxError> {
    let q = exact.solved()?.q;
    let back = soft_q::reward_of(&exact.mdp, &q, &exact.log_reference, exact.beta)?;
    Ok(exact.largest_difference(&back, &exact.rewards))
}

/// Lemma 1, from Q functions: any table is the optimal Q function of the reward that belongs to it.
pub(super) fn q_comes_back(exact: &Exact, index: u64) -> Result<f64, BoxError> {
    let q = random(&exact.mdp, &mut named("reproduce", "q values", &[index]));
    let rewards = soft_q::reward_of(&exact.mdp, &q, &exact.log_reference, exact.beta)?;
    let back = soft_q::solve(&exact.mdp, &rewards, &exact.log_reference, exact.beta)?.q;
    Ok(exact.largest_difference(&back, &q))
}

/// Random potentials by state; in terminal states 0 unless `everywhere`.
fn potentials(exact: &Exact, index: u64, everywhere: bool) -> BTreeMap<FiniteState, f64> {
    let mut rng = named("reproduce", "potentials", &[index]);
    let mut number = |state: FiniteState| {
        let drawn = standard_normal(&mut rng);
        (state, if everywhere || !exact.mdp.is_terminal(&state) { drawn } else { 0.0 })
    };
    exact.mdp.states().map(&mut number).collect()
}

fn shaped(exact: &Exact, index: u64, everywhere: bool) -> Table {
    let potentials = potentials(exact, index, everywhere);
    soft_q::shape(&exact.mdp, &exact.rewards, |state| potentials.get(&state).copied().unwrap_or(0.0))
}

/// Theorem 1, policies: the largest change of an optimal log-probability by potential shaping.
pub(super) fn shaping_moves_the_policy(exact: &Exact, index: u64) -> Result<f64, BoxError> {
    let rewards = shaped(exact, index, false);
    let after = soft_q::solve(&exact.mdp, &rewards, &exact.log_reference, exact.beta)?;
    Ok(exact.largest_difference(&after.log_policy, &exact.solved()?.log_policy))
}

/// Theorem 1, preferences: the largest change of a preference between two episodes (Eq. 1) by potential shaping;
/// `everywhere` shapes terminal states too, which the theorem rules out.
pub(super) fn shaping_moves_preferences(exact: &Exact, index: u64, everywhere: bool) -> Result<f64, BoxError> {
    preferences_move(exact, &shaped(exact, index, everywhere))
}

/// Theorem 1 and Eq. 8: the largest difference between the preferences of the reward and those of the implicit reward
/// of its optimal policy (Eq. 11).
pub(super) fn implicit_reward_moves_preferences(exact: &Exact) -> Result<f64, BoxError> {
    let solved = exact.solved()?;
    let implicit = Table::from_fn(&exact.mdp, |state, action| solved.implicit_reward(state, action));
    preferences_move(exact, &implicit)
}

fn preferences_move(exact: &Exact, rewards: &Table) -> Result<f64, BoxError> {
    let episodes = mdp::all_episodes(&exact.mdp, &exact.start(), EPISODES)?;
    let returns = |table: &Table| episodes.iter().map(|episode| table.sum(&exact.mdp, episode)).collect::<Vec<f64>>();
    let (before, after) = (returns(&exact.rewards), returns(rewards));
    let pairs = (0..episodes.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    Ok(largest(pairs.map(|(i, j)| sigmoid(before[i] - before[j]) - sigmoid(after[i] - after[j]))))
}

pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Eq. 10: the implicit reward less the reward plus the difference of optimal values.
pub(super) fn advantage_is_shaped_reward(exact: &Exact) -> Result<f64, BoxError> {
    let solved = exact.solved()?;
    let rest = exact.decisions().map(|(state, action)| {
        let next = exact.mdp.step(&state, &action);
        let shaped = exact.rewards.at(state, action) + solved.value(next) - solved.value(state);
        solved.implicit_reward(state, action) - shaped
    });
    Ok(largest(rest))
}

/// Eq. 14: the expected implicit reward of the reference's own action and minus beta times the divergence, which a
/// policy's own channel computes.
pub(super) fn expected_reward_is_divergence(exact: &Exact, index: u64) -> Result<f64, BoxError> {
    let log_policy = random(&exact.mdp, &mut named("reproduce", "another policy", &[index])).log_softmax(&exact.mdp);
    let reference = exact.policy(&exact.log_reference);
    let policy = exact.policy(&log_policy).with_reference(Arc::new(reference));
    let mut differences = Vec::new();
    for episode in mdp::all_episodes(&exact.mdp, &exact.start(), EPISODES)? {
        let channels = policy.score(&exact.mdp, std::slice::from_ref(&episode))?;
        let divergence = channels.divergence.ok_or("the policy measures no divergence")?;
        for (state, divergence) in states(exact, &episode).into_iter().zip(divergence.values()) {
            let expected: f64 = mdp::Enumerable::allowed(&exact.mdp, &state)
                .into_iter()
                .map(|action| (exact.log_reference.at(state, action), log_policy.at(state, action)))
                .map(|(reference, own)| reference.exp() * exact.beta * (own - reference))
                .sum();
            differences.push(expected + exact.beta * divergence);
        }
    }
    Ok(largest(differences.into_iter()))
}

/// The states in which an episode decides.
fn states(exact: &Exact, episode: &Episode<FiniteState, usize>) -> Vec<FiniteState> {
    let mut found = Vec::new();
    for piece in &episode.pieces {
        let mut state = piece.start;
        for action in &piece.actions {
            found.push(state);
            state = exact.mdp.step(&state, action);
        }
    }
    found
}

/// Eq. 12 and Eq. 13: whether the best expansion of a length by reward and value is that by the optimal policy's
/// likelihood, and by how much beta times the likelihood differs from the value of Eq. 12.
pub(super) fn reward_search_is_likelihood_search(exact: &Exact, length: usize) -> Result<(bool, f64), BoxError> {
    let solved = exact.solved()?;
    let (optimal, reference) = (exact.policy(&solved.log_policy), exact.policy(&exact.log_reference));
    let reward = |state: &FiniteState, action: &usize| exact.rewards.at(*state, *action);
    let guided = Guided::new(reward, exact.beta, &reference, |state: &FiniteState| solved.value(*state));
    let by_reward = best(exact, &reference, &guided, length)?;
    let by_likelihood = best(exact, &optimal, &LogProbs::likelihood(), length)?;
    let (reward, likelihood) = (by_reward.found.first(), by_likelihood.found.first());
    let (Some(reward), Some(likelihood)) = (reward, likelihood) else { return Err("a search found nothing".into()) };
    Ok((reward.episode == likelihood.episode, reward.score - exact.beta * likelihood.score))
}

/// An exhaustive search: a beam as wide as there are expansions.
fn best(
    exact: &Exact,
    policy: &policies::Tabular<Finite>,
    score: &dyn Score<Finite>,
    length: usize,
) -> Result<Outcome<FiniteState, usize>, BoxError> {
    let beam = Beam { length_penalty: 0.0, early_stopping: EarlyStopping::Exhausted, candidates: 3, ..Beam::new(100) };
    let rng = named("reproduce", "beam", &[]);
    let found = Search::new(&exact.mdp, policy, score).run(&beam, &[exact.start()], &[length], &mut [rng])?;
    found.into_iter().next().ok_or_else(|| "a search found nothing".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems() -> Vec<Exact> {
        let both = |index| [Exact::of_tokens(1, index).unwrap(), Exact::of_places(1, index).unwrap()];
        (0..5).flat_map(both).collect()
    }

    fn check(deviation: impl Fn(&Exact) -> Result<f64, BoxError>) {
        for exact in problems() {
            let deviation = deviation(&exact).unwrap();
            assert!(deviation < 1e-12, "{deviation}");
        }
    }

    #[test]
    fn lemma_1_holds_in_both_directions() {
        check(reward_comes_back);
        check(|exact| q_comes_back(exact, 3));
    }

    #[test]
    fn theorem_1_holds_and_needs_its_condition() {
        check(|exact| shaping_moves_the_policy(exact, 3));
        check(|exact| shaping_moves_preferences(exact, 3, false));
        check(implicit_reward_moves_preferences);
        for exact in problems() {
            assert!(shaping_moves_preferences(&exact, 3, true).unwrap() > 0.01);
        }
    }

    #[test]
    fn equation_10_holds() {
        check(advantage_is_shaped_reward);
    }

    #[test]
    fn equation_14_holds() {
        check(|exact| expected_reward_is_divergence(exact, 3));
    }

    #[test]
    fn equations_12_and_13_have_the_same_best_expansion() {
        for exact in problems() {
            for length in 1..=4 {
                let (is_same, difference) = reward_search_is_likelihood_search(&exact, length).unwrap();
                assert!(is_same && difference.abs() < 1e-12, "{difference}");
            }
        }
    }
}
