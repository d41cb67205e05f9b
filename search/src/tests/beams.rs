use std::collections::BTreeSet;

use mdp::hybrid::Half;
use mdp::token::TokenState;
use mdp::{Enumerable, Mdp};
use policies::{Pair, Policy};

use super::problems::{River, maze, two, words};
use super::{brute_force, run, untidy};
use crate::{Beam, DiverseBeam, EarlyStopping, Greedy, LogProbs, Reward, Score};

/// A beam wide enough for all episodes, run to exhaustion.
fn full(n: usize) -> Beam {
    Beam { n, length_penalty: 0.0, early_stopping: EarlyStopping::Exhausted, ..Beam::new(n) }
}

/// Compares an exhaustive beam with brute force.
fn check_full<M>(mdp: &M, policy: &dyn Policy<M>, score: &dyn Score<M>, start: M::State)
where
    M: Enumerable<State: PartialEq + std::fmt::Debug, Action: PartialEq + std::fmt::Debug>,
{
    let expected = brute_force(mdp, policy, score, &start);
    let outcome = run((mdp, policy), score, &full(expected.len()), &[start]).unwrap().remove(0);
    assert_eq!(outcome.found.len(), expected.len());
    for (found, (score, episode)) in outcome.found.iter().zip(&expected) {
        assert!((found.score - score).abs() < 1e-9 && found.is_finished, "{} {score}", found.score);
        assert!((found.gains.iter().sum::<f64>() - score).abs() < 1e-9);
        assert_eq!((&found.episode, found.length()), (episode, episode.n_decisions()));
    }
}

#[test]
fn a_full_width_beam_is_brute_force() {
    let mdp = maze();
    let start = mdp.start(&0);
    let (policy, reference) = (untidy(&mdp, &start, 1), untidy(&mdp, &start, 2));
    check_full(&mdp, &policy, &LogProbs::likelihood(), start);
    check_full(&mdp, &policy, &LogProbs::implicit_reward(0.3, &reference), start);
    let reward = Reward(|s: &mdp::FiniteState, a: &usize| (1.0 + (s.place * 5 + a * 3 + s.time) as f64).sqrt());
    check_full(&mdp, &policy, &reward, start);
}

#[test]
fn a_full_width_beam_is_brute_force_in_words_in_two_problems_in_a_row_and_in_ones_own() {
    let mdp = words(3, 4);
    let start = TokenState::new([2]);
    check_full(&mdp, &untidy(&mdp, &start, 3), &LogProbs::likelihood(), start);
    let mdp = two();
    let start = mdp.start(&[2].into());
    let Half::Outer(outer) = &start else { panic!("there are words to say") };
    let mut inner = policies::Tabular::new(&mdp.inner);
    for prompt in [[0].as_slice(), &[1, 0], &[2, 0]] {
        inner.set_logits(TokenState::new(prompt), vec![0.3 * prompt.len() as f64, -0.4]);
    }
    let pair = Pair::new(untidy(&mdp.outer, outer, 4), inner);
    check_full(&mdp, &pair, &LogProbs::likelihood(), start);
    let mdp = River { length: 4, width: 3 };
    let start = mdp.start(&1);
    check_full(&mdp, &untidy(&mdp, &start, 5), &LogProbs::likelihood(), start);
}

#[test]
fn a_beam_of_one_is_greedy() {
    let mdp = maze();
    for seed in 0..20 {
        let start = mdp.start(&0);
        let policy = untidy(&mdp, &start, seed);
        let greedy = run((&mdp, &policy), &LogProbs::likelihood(), &Greedy::default(), &[start]).unwrap();
        // With one candidate per row an ended row has no replacement: a second candidate would continue below it.
        let beam = Beam { candidates: 1, early_stopping: EarlyStopping::WhenFull, ..Beam::new(1) };
        let beam = run((&mdp, &policy), &LogProbs::likelihood(), &beam, &[start]).unwrap();
        assert_eq!(beam[0].found[0].episode, greedy[0].found[0].episode, "seed {seed}");
    }
}

/// A wider beam never finds a less likely episode, on this problem and run to exhaustion.
#[test]
fn wider_beams_find_likelier_episodes() {
    let mdp = words(6, 6);
    let start = TokenState::new([1]);
    let policy = untidy(&mdp, &start, 9);
    let best = |width| {
        let beam = Beam { width, ..full(width) };
        run((&mdp, &policy), &LogProbs::likelihood(), &beam, std::slice::from_ref(&start)).unwrap()[0].found[0].score
    };
    let scores: Vec<f64> = [1, 4, 16, 4000].map(best).into();
    assert!(scores.windows(2).all(|pair| pair[0] <= pair[1]), "{scores:?}");
    assert!(scores[0] < scores[3], "{scores:?}");
}

#[test]
fn the_length_penalty_favours_long_episodes() {
    let mdp = words(4, 8);
    let start = TokenState::new([1]);
    let policy = untidy(&mdp, &start, 2);
    let length = |length_penalty| {
        let beam = Beam { length_penalty, ..full(4000) };
        run((&mdp, &policy), &LogProbs::likelihood(), &Beam { n: 1, ..beam }, std::slice::from_ref(&start)).unwrap()[0]
            .found[0]
            .length()
    };
    let lengths: Vec<usize> = [-4.0, 0.0, 1.0, 4.0].map(length).into();
    assert!(lengths.windows(2).all(|pair| pair[0] <= pair[1]) && lengths[0] < lengths[3], "{lengths:?}");
}

#[test]
fn groups_of_a_diverse_beam_differ() {
    let mdp = words(5, 6);
    let start = TokenState::new([1]);
    let policy = untidy(&mdp, &start, 6);
    let firsts = |penalty: f64| -> BTreeSet<u32> {
        let beam = Beam { n: 4, length_penalty: 0.0, ..Beam::new(4) };
        let diverse = DiverseBeam { beam, groups: 4, penalty };
        let found = run((&mdp, &policy), &LogProbs::likelihood(), &diverse, std::slice::from_ref(&start))
            .unwrap()
            .remove(0)
            .found;
        assert_eq!(found.len(), 4);
        found.iter().map(|found| found.episode.pieces[0].actions[0]).collect()
    };
    assert_eq!(firsts(100.0).len(), 4);
    // Without a penalty all groups find the same beam.
    assert_eq!(firsts(0.0).len(), 1);
}

#[test]
fn one_group_is_a_beam_and_scores_are_told_without_the_penalty() {
    let mdp = maze();
    let start = mdp.start(&0);
    let policy = untidy(&mdp, &start, 7);
    let beam = Beam { n: 3, ..Beam::new(6) };
    let one = DiverseBeam { beam, groups: 1, penalty: 5.0 };
    let search =
        |method: &dyn crate::Method<_>| run((&mdp, &policy), &LogProbs::likelihood(), method, &[start]).unwrap();
    assert_eq!(search(&one), search(&beam));
    let outcome = search(&DiverseBeam { beam, groups: 3, penalty: 5.0 }).remove(0);
    for found in outcome.found {
        assert!((found.score - found.log_prob() / found.length() as f64).abs() < 1e-12);
    }
}
