use mdp::token::TokenState;
use mdp::{FiniteState, Mdp};

use super::problems::{River, maze, words};
use super::{brute_force, run, untidy};
use crate::{LeafEvaluation, LogProbs, Mcts, Reward};

/// The tree finds the best episode, and its mean approaches the best score as simulations grow.
#[test]
fn a_tree_search_converges_to_the_exact_value() {
    let mdp = maze();
    let start = mdp.start(&0);
    let policy = untidy(&mdp, &start, 1);
    let reward = Reward(|s: &FiniteState, a: &usize| ((s.place * 5 + a * 3 + s.time * 2) % 7) as f64);
    let all = brute_force(&mdp, &policy, &reward, &start);
    let (best, worst) = (all[0].0, all[all.len() - 1].0);
    let mut gaps = Vec::new();
    for simulations in [30, 300, 3000, 30_000] {
        let outcome = run((&mdp, &policy), &reward, &Mcts::new(simulations, 3), &[start]).unwrap().remove(0);
        gaps.push((best - outcome.estimate.unwrap()) / (best - worst));
        if simulations > 30 {
            assert!((outcome.found[0].score - best).abs() < 1e-9);
        }
    }
    assert!(gaps.windows(2).all(|pair| pair[0] > pair[1]) && gaps[3] < 0.03 && gaps[3] >= 0.0, "{gaps:?}");
}

#[test]
fn a_tree_search_finds_the_likeliest_words_and_crossings() {
    let mdp = words(4, 5);
    let start = TokenState::new([1]);
    let policy = untidy(&mdp, &start, 2);
    let expected = brute_force(&mdp, &policy, &LogProbs::likelihood(), &start);
    let mcts = Mcts { n: 2, ..Mcts::new(2000, 4) };
    let outcome = run((&mdp, &policy), &LogProbs::likelihood(), &mcts, &[start]).unwrap().remove(0);
    assert_eq!(outcome.found[0].episode, expected[0].1);
    assert!(outcome.found[0].score > outcome.found[1].score);
    let river = River { length: 5, width: 4 };
    let start = river.start(&2);
    let policy = untidy(&river, &start, 3);
    let best = brute_force(&river, &policy, &LogProbs::likelihood(), &start).remove(0).1;
    let outcome = run((&river, &policy), &LogProbs::likelihood(), &Mcts::new(500, 3), &[start]).unwrap().remove(0);
    assert_eq!(outcome.found[0].episode, best);
}

/// With the exact value of every state the tree needs no rollouts and descends to the best episode at once.
#[test]
fn a_value_function_stands_in_for_rollouts() {
    let mdp = maze();
    let start = mdp.start(&0);
    // All actions are equally likely, so the value alone guides.
    let policy = policies::Tabular::new(&mdp);
    let reward = Reward(|s: &FiniteState, a: &usize| ((s.place + a * 3 + s.time) % 5) as f64);
    let exact = |state: &FiniteState| brute_force(&mdp, &policy, &reward, state)[0].0;
    let mcts = Mcts { evaluation: LeafEvaluation::Value(&exact), ..Mcts::new(60, 3) };
    let outcome = run((&mdp, &policy), &reward, &mcts, &[start]).unwrap().remove(0);
    assert!((outcome.found[0].score - exact(&start)).abs() < 1e-9);
    // One evaluation per opened state, so no more than opened states.
    assert!(outcome.spent.evaluations <= 60);
    // Before an episode ends, the result is the most visited path.
    let outcome = run((&mdp, &policy), &reward, &Mcts { simulations: 1, ..mcts }, &[start]).unwrap().remove(0);
    assert!(!outcome.found[0].is_finished);
}
