use mdp::{Enumerable, FiniteState, Mdp, Table, soft_q};
use policies::{Policy, Tabular};

use super::problems::maze;
use super::{brute_force, run, score_of, untidy};
use crate::{Beam, EarlyStopping, Guided, LogProbs};

/// The policy with these log-probabilities.
fn table(mdp: &mdp::Finite, log_probs: &Table) -> Tabular<mdp::Finite> {
    let mut policy = Tabular::new(mdp);
    for state in mdp.states().filter(|state| !mdp.is_terminal(state)) {
        policy.set_logits(state, (0..mdp.n_actions()).map(|action| log_probs.at(state, action)).collect());
    }
    policy
}

/// Guided decoding with the optimal value function (Eq. 12) is likelihood search on the optimal policy (Eq. 13).
#[test]
fn reward_search_is_likelihood_search_on_the_optimal_policy() {
    let mdp = maze();
    let (start, beta) = (mdp.start(&0), 0.7);
    let rewards = Table::from_fn(&mdp, |s, a| ((s.place * 7 + s.time * 3 + a * 5) % 11) as f64 / 4.0);
    let logits = Table::from_fn(&mdp, |s, a| ((s.place + 2 * a + s.time) % 4) as f64 / 2.0);
    let log_reference = logits.log_softmax(&mdp);
    let solved = soft_q::solve(&mdp, &rewards, &log_reference, beta).unwrap();
    let (optimal, reference) = (table(&mdp, &solved.log_policy), table(&mdp, &log_reference));
    let reward = |s: &FiniteState, a: &usize| rewards.at(*s, *a);
    let guided = Guided::new(reward, beta, &reference, |s| solved.value(*s));
    for (score, episode) in brute_force(&mdp, &optimal, &guided, &start) {
        let likelihood = score_of(&mdp, &optimal, &LogProbs::likelihood(), &episode);
        assert!((score - beta * likelihood).abs() < 1e-9);
        // The whole score is the reward plus the reference term minus the constant V(s_0).
        let pull: f64 = beta
            * reference.score(&mdp, std::slice::from_ref(&episode)).unwrap().log_probs.values().iter().sum::<f64>();
        assert!((score - (rewards.sum(&mdp, &episode) + pull - solved.value(start))).abs() < 1e-9);
    }
    // For any proposer, and at every width that considers all actions: prefixes are ranked alike.
    for width in [2, 3, 5, 9] {
        let beam = Beam { n: width, candidates: 3, early_stopping: EarlyStopping::Never, ..Beam::new(width) };
        let by_reward = run((&mdp, &reference), &guided, &beam, &[start]).unwrap().remove(0).found;
        let by_likelihood = run((&mdp, &optimal), &LogProbs::likelihood(), &beam, &[start]).unwrap().remove(0).found;
        let episodes =
            |found: Vec<crate::FoundOf<mdp::Finite>>| found.into_iter().map(|found| found.episode).collect::<Vec<_>>();
        assert_eq!(episodes(by_reward), episodes(by_likelihood), "width {width}");
    }
}

#[test]
fn sums_of_log_probabilities_are_as_written() {
    let mdp = maze();
    let start = mdp.start(&0);
    let [strong, tuned, untuned] = [1, 2, 3].map(|seed| untidy(&mdp, &start, seed));
    let scores = [
        (LogProbs::likelihood(), [1.0, 0.0, 0.0]),
        (LogProbs::likelihood_of(&tuned), [0.0, 1.0, 0.0]),
        (LogProbs::implicit_reward(0.2, &untuned), [0.2, 0.0, -0.2]),
        (LogProbs::implicit_reward_of(0.2, &tuned, &untuned), [0.0, 0.2, -0.2]),
        (LogProbs::weak_to_strong(1.5, &tuned, &untuned), [1.0, 1.5, -1.5]),
    ];
    for (score, weights) in scores {
        for (found, episode) in brute_force(&mdp, &strong, &score, &start) {
            let log_prob = |policy: &Tabular<_>| -> f64 {
                policy.score(&mdp, std::slice::from_ref(&episode)).unwrap().log_probs.values().iter().sum()
            };
            let expected: f64 = [&strong, &tuned, &untuned].map(log_prob).iter().zip(weights).map(|(n, w)| n * w).sum();
            assert!((found - expected).abs() < 1e-9, "{score:?}");
        }
    }
}
