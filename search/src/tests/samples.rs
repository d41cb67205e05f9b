use mdp::Mdp;
use mdp::token::TokenState;

use super::problems::{maze, words};
use super::{brute_force, rngs, run, score_of, untidy};
use crate::{BestOfN, Greedy, LogProbs, Rerank, Reward, Sampling, Search};

#[test]
fn samples_follow_the_policy() {
    let mdp = words(3, 4);
    let start = TokenState::new([1]);
    let policy = untidy(&mdp, &start, 1);
    let n = 20_000;
    let found = run((&mdp, &policy), &LogProbs::likelihood(), &Sampling { n }, std::slice::from_ref(&start))
        .unwrap()
        .remove(0)
        .found;
    for (log_prob, episode) in brute_force(&mdp, &policy, &LogProbs::likelihood(), &start) {
        let (p, n) = (log_prob.exp(), n as f64);
        let share = found.iter().filter(|found| found.episode == episode).count() as f64 / n;
        // Five standard deviations.
        assert!((share - p).abs() < 5.0 * (p * (1.0 - p) / n).sqrt(), "{share} {p}");
    }
}

#[test]
fn the_best_of_n_are_the_best_of_the_same_samples() {
    let mdp = maze();
    let start = mdp.start(&0);
    let policy = untidy(&mdp, &start, 1);
    let score = Reward(|s: &mdp::FiniteState, a: &usize| (s.place + 2 * a + s.time) as f64 / 3.0);
    let mut samples = run((&mdp, &policy), &score, &Sampling { n: 8 }, &[start]).unwrap().remove(0).found;
    samples.sort_by(|a, b| b.score.total_cmp(&a.score));
    let best = run((&mdp, &policy), &score, &BestOfN { n: 8, keep: 3 }, &[start]).unwrap().remove(0).found;
    assert_eq!(best, samples[..3]);
}

/// V-STaR: one policy proposes, another's implicit reward ranks.
#[test]
fn a_verifier_ranks_what_another_policy_proposed() {
    let mdp = words(4, 5);
    let start = TokenState::new([1]);
    let [policy, verifier, reference] = [1, 2, 3].map(|seed| untidy(&mdp, &start, seed));
    let verifier_score = LogProbs::implicit_reward_of(0.5, &verifier, &reference);
    let rerank = Rerank { method: &Sampling { n: 30 }, score: &verifier_score, keep: 30 };
    let starts = [start.clone(), TokenState::new([2, 0]), start];
    let ranked = run((&mdp, &policy), &LogProbs::likelihood(), &rerank, &starts).unwrap();
    let plain = run((&mdp, &policy), &LogProbs::likelihood(), &Sampling { n: 30 }, &starts).unwrap();
    for (ranked, plain) in ranked.iter().zip(&plain) {
        assert!(ranked.found.windows(2).all(|pair| pair[0].score >= pair[1].score));
        assert_eq!(ranked.found.len(), plain.found.len());
        for found in &ranked.found {
            assert!((found.score - score_of(&mdp, &policy, &verifier_score, &found.episode)).abs() < 1e-9);
            assert!((found.gains.iter().sum::<f64>() - found.score).abs() < 1e-12);
            assert!(plain.found.iter().any(|sample| sample.log_probs == found.log_probs));
        }
        assert_eq!(ranked.spent.evaluations, 3 * plain.spent.evaluations);
    }
}

#[test]
fn greedy_takes_what_adds_most_among_the_proposals() {
    let mdp = maze();
    let start = mdp.start(&0);
    let policy = untidy(&mdp, &start, 4);
    let score = Reward(|_: &mdp::FiniteState, a: &usize| *a as f64);
    let found = run((&mdp, &policy), &score, &Greedy { among: 3 }, &[start]).unwrap().remove(0).found.remove(0);
    let mut state = start;
    for action in &found.episode.pieces[0].actions {
        assert_eq!(Some(action), mdp::Enumerable::allowed(&mdp, &state).last());
        state = mdp.step(&state, action);
    }
    assert!(mdp.is_terminal(&state) && found.is_finished);
}

#[test]
fn episodes_are_as_long_as_they_may_be_and_over_where_they_are() {
    let mdp = words(3, 9);
    let starts = [TokenState::new([1]), TokenState::new([1; 9])];
    let policy = untidy(&mdp, &starts[0], 5);
    let (likelihood, mut rngs) = (LogProbs::likelihood(), rngs(2, 0));
    let search = Search::new(&mdp, &policy, &likelihood);
    let outcomes = search.run(&Sampling { n: 40 }, &starts, &[2, 5], &mut rngs).unwrap();
    assert!(outcomes[0].found.iter().all(|found| found.length() <= 2 && found.is_finished));
    // The other start is terminal: one empty episode, at no cost.
    let nothing = &outcomes[1];
    assert_eq!((nothing.found.len(), nothing.found[0].length(), nothing.spent.evaluations), (1, 0, 0));
}
