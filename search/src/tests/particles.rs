use mdp::Mdp;
use mdp::hybrid::Half;
use mdp::token::TokenState;
use mdp::{Enumerable, FiniteState};
use policies::{Pair, Policy, Tabular};

use super::problems::{maze, two, words};
use super::{brute_force, run, untidy};
use crate::{LogProbs, Reward, Score, Smc};

/// Compares the mean of many estimates with the exact normaliser: within five standard errors, which must be small.
fn check_unbiased<M: Enumerable>(mdp: &M, policy: &dyn Policy<M>, score: &dyn Score<M>, start: &M::State, smc: Smc) {
    let likelihood = LogProbs::likelihood();
    let exact: f64 = brute_force(mdp, policy, &likelihood, start)
        .iter()
        .map(|(log_prob, episode)| (log_prob + super::score_of(mdp, policy, score, episode)).exp())
        .sum();
    let n = 4000;
    let outcomes = run((mdp, policy), score, &smc, &vec![start.clone(); n]).unwrap();
    let estimates: Vec<f64> = outcomes.iter().map(|outcome| outcome.estimate.unwrap().exp()).collect();
    let mean = estimates.iter().sum::<f64>() / n as f64;
    let variance = estimates.iter().map(|estimate| (estimate - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
    let error = (variance / n as f64).sqrt();
    assert!((mean - exact).abs() < 5.0 * error, "{mean} +- {error}, exactly {exact}");
    assert!(error < 0.02 * exact, "{mean} +- {error}");
    for outcome in &outcomes {
        let total: f64 = outcome.found.iter().map(|found| found.weight).sum();
        assert!(outcome.found.len() == smc.n && (total - 1.0).abs() < 1e-9);
    }
}

#[test]
fn the_normaliser_is_unbiased_with_resampling_and_without() {
    let mdp = maze();
    let start = mdp.start(&0);
    let (policy, other) = (untidy(&mdp, &start, 1), untidy(&mdp, &start, 2));
    let reward = Reward(|s: &FiniteState, a: &usize| ((s.place * 5 + a * 3 + s.time) % 4) as f64 / 4.0);
    for threshold in [0.0, 0.5, 1.0] {
        check_unbiased(&mdp, &policy, &reward, &start, Smc { n: 8, threshold });
        check_unbiased(&mdp, &policy, &LogProbs::implicit_reward(0.4, &other), &start, Smc { n: 8, threshold });
    }
}

#[test]
fn the_normaliser_is_unbiased_in_words_and_over_a_hand_off() {
    let mdp = words(3, 5);
    let start = TokenState::new([1]);
    let (policy, other) = (untidy(&mdp, &start, 3), untidy(&mdp, &start, 4));
    check_unbiased(&mdp, &policy, &LogProbs::implicit_reward(0.4, &other), &start, Smc::new(8));
    let mdp = two();
    let start = mdp.start(&[2].into());
    let Half::Outer(outer) = &start else { panic!("there are words to say") };
    let (one, other) = (untidy(&mdp.outer, outer, 5), untidy(&mdp.outer, outer, 6));
    let (one, other) = (Pair::new(one, Tabular::new(&mdp.inner)), Pair::new(other, Tabular::new(&mdp.inner)));
    let reference = LogProbs::implicit_reward(0.5, &other);
    check_unbiased(&mdp, &one, &reference, &start, Smc::new(8));
}

/// The weighted particles follow the normalised pi exp(score).
#[test]
fn particles_follow_the_weighed_policy() {
    let mdp = words(3, 4);
    let start = TokenState::new([1]);
    let policy = untidy(&mdp, &start, 1);
    let score = Reward(|_: &TokenState, token: &u32| f64::from(*token) / 2.0);
    let smc = Smc { n: 20_000, threshold: 0.9 };
    let outcome = run((&mdp, &policy), &score, &smc, std::slice::from_ref(&start)).unwrap().remove(0);
    let all = brute_force(&mdp, &policy, &score, &start);
    let weight = |(score, episode): &(f64, mdp::EpisodeOf<mdp::token::TokenMdp>)| {
        (score + super::score_of(&mdp, &policy, &LogProbs::likelihood(), episode)).exp()
    };
    let normaliser: f64 = all.iter().map(weight).sum();
    assert!((outcome.estimate.unwrap() - normaliser.ln()).abs() < 0.02);
    for one in &all {
        let of_episode = outcome.found.iter().filter(|found| found.episode == one.1);
        let share: f64 = of_episode.map(|found| found.weight).sum();
        assert!((share - weight(one) / normaliser).abs() < 0.02, "{share}");
    }
}
