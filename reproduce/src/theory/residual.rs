//! The Bellman residual of a policy that learned by DPO.
use mdp::chance::{named, unit};
use mdp::{EpisodeOf, Finite, FiniteState, Mdp as _, Table};
use objectives::{Logistic, Pairwise};
use policies::{BoxError, Policy as _, Tabular};
use train::{Decay, Preferences, Settings, Training};

use super::checks::sigmoid;
use super::problems::Exact;

/// Preferences to learn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Data {
    /// So many pairs of the reference's own episodes, each judged once by the Bradley-Terry model.
    Drawn(usize),
    /// Every pair of episodes, with the probability that one is preferred.
    All,
}

/// Trains a policy from its reference and returns its residual: the root mean square, over the decisions that the
/// reference makes, of the difference between the two sides of Eq. 10, with the exact values of the known reward.
pub(super) fn after(exact: &Exact, data: Data, steps: usize, seed: u64) -> Result<f64, BoxError> {
    let reference = exact.policy(&exact.log_reference);
    let preferences = preferences(exact, &reference, data, seed)?;
    let objective = Pairwise::new(Logistic::new(exact.beta)?);
    let settings = Settings {
        seed,
        batch_size: 64,
        micro_batch_size: 64,
        max_steps: Some(steps),
        // Half of what the curvature of the loss, at most beta squared over 2 a decision, lets a step be.
        rate: 2.0 / exact.beta.powi(2),
        warmup_steps: 0,
        decay: Decay::Cosine,
        max_gradient_norm: None,
        eval_examples: 0,
        beta: exact.beta,
        ..Settings::default()
    };
    let training = Training::new(&exact.mdp, &preferences, &objective).reference(&reference).settings(settings);
    let mut policy = reference.clone();
    for step in training.steps(&mut policy)? {
        step?;
    }
    of(exact, &policy)
}

fn preferences(
    exact: &Exact,
    reference: &Tabular<Finite>,
    data: Data,
    seed: u64,
) -> Result<Preferences<Finite>, BoxError> {
    let mut found = Preferences::new();
    let preference = |first: &EpisodeOf<Finite>, second: &EpisodeOf<Finite>| {
        sigmoid(exact.rewards.sum(&exact.mdp, first) - exact.rewards.sum(&exact.mdp, second))
    };
    match data {
        Data::All => {
            let all = mdp::all_episodes(&exact.mdp, &exact.start(), 1000)?;
            for (index, first) in all.iter().enumerate() {
                for second in &all[..index] {
                    found.push(first.clone(), second.clone(), preference(first, second));
                }
            }
        }
        Data::Drawn(n) => {
            let mut rng = named("reproduce", "preferences", &[seed]);
            let drawn = reference.rollout(&exact.mdp, &vec![exact.start(); 2 * n], &mut rng)?;
            for pair in drawn.chunks_exact(2) {
                let is_first = unit(&mut rng) < preference(&pair[0], &pair[1]);
                found.push(pair[0].clone(), pair[1].clone(), f64::from(u8::from(is_first)));
            }
        }
    }
    Ok(found)
}

/// The residual of a policy, weighted by how often the reference makes each decision.
fn of(exact: &Exact, policy: &Tabular<Finite>) -> Result<f64, BoxError> {
    let solved = exact.solved()?;
    let visits = visits(exact);
    let (mut sum, mut weight) = (0.0, 0.0);
    for (state, action) in exact.decisions() {
        let visit = visits.at(state, action);
        if visit == 0.0 {
            continue;
        }
        let next = exact.mdp.step(&state, &action);
        let shaped = exact.rewards.at(state, action) + solved.value(next) - solved.value(state);
        let own = policy.log_probs(&exact.mdp, &state)?[action] - exact.log_reference.at(state, action);
        sum += visit * (exact.beta * own - shaped).powi(2);
        weight += visit;
    }
    Ok((sum / weight).sqrt())
}

/// How often the reference makes each decision from the start.
fn visits(exact: &Exact) -> Table {
    let mut visits = Table::from_fn(&exact.mdp, |_, _| 0.0);
    let mut open: Vec<(FiniteState, f64)> = vec![(exact.start(), 1.0)];
    while let Some((state, probability)) = open.pop() {
        if exact.mdp.is_terminal(&state) {
            continue;
        }
        for action in mdp::Enumerable::allowed(&exact.mdp, &state) {
            let reached = probability * exact.log_reference.at(state, action).exp();
            *visits.at_mut(state, action) += reached;
            open.push((exact.mdp.step(&state, &action), reached));
        }
    }
    visits
}

/// The slope of a least-squares line.
pub(super) fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / n, y + point.1 / n));
    let over: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let under: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    over / under
}

/// The residual of the reference itself, where training begins.
pub(super) fn before(exact: &Exact) -> Result<f64, BoxError> {
    of(exact, &exact.policy(&exact.log_reference))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_optimal_policy_has_no_residual() {
        let exact = Exact::of_tokens(0, 0).unwrap();
        let optimal = exact.policy(&exact.solved().unwrap().log_policy);
        assert!(of(&exact, &optimal).unwrap() < 1e-12);
        assert!(before(&exact).unwrap() > 0.1);
    }

    #[test]
    fn all_preferences_leave_less_residual_than_a_few() {
        let exact = Exact::of_tokens(0, 0).unwrap();
        let [few, all] = [Data::Drawn(64), Data::All].map(|data| after(&exact, data, 300, 0).unwrap());
        assert!(all < 0.5 * few, "{all} {few}");
    }

    #[test]
    fn a_line_has_its_slope() {
        assert!((slope(&[(0.0, 1.0), (1.0, -1.0), (2.0, -3.0)]) + 2.0).abs() < 1e-12);
    }
}
