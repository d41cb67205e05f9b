use mdp::Mdp;

use super::problems::maze;
use super::{LONG, rngs, run, untidy};
use crate::{
    Beam, BestOfN, DiverseBeam, Greedy, LeafEvaluation, LogProbs, Mcts, Method, Rerank, Reward, Sampling, Search, Smc,
};

type Maze = mdp::Finite;

/// The error of a method with an invalid parameter.
fn error_of(method: &dyn Method<Maze>) -> String {
    let mdp = maze();
    let start = mdp.start(&0);
    run((&mdp, &untidy(&mdp, &start, 1)), &LogProbs::likelihood(), method, &[start]).unwrap_err().to_string()
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let beam = Beam::new(4);
    let check = |method: &dyn Method<Maze>, expected: &str| assert_eq!(error_of(method), expected);
    check(&Beam::new(0), "the width of the beam is 0, but it must be at least 1");
    check(&Beam { n: 0, ..beam }, "the number of episodes to return is 0, but it must be at least 1");
    check(&Beam { n: 5, ..beam }, "the number of episodes to return is 5, but there are only 4 rows of the beam");
    check(&Beam { length_penalty: f64::NAN, ..beam }, "the length penalty is NaN, but it must be finite");
    check(&Beam { candidates: 0, ..beam }, "the number of candidates for each row is 0, but it must be at least 1");
    let diverse = DiverseBeam { beam, groups: 3, penalty: 1.0 };
    check(&diverse, "the number of groups is 3, but it must be a divisor of the width");
    check(&DiverseBeam { groups: 0, ..diverse }, "the number of groups is 0, but it must be at least 1");
    check(&DiverseBeam { groups: 5, ..diverse }, "the number of groups is 5, but there are only 4 rows of the beam");
    check(&Sampling { n: 0 }, "the number of samples is 0, but it must be at least 1");
    check(&BestOfN { n: 3, keep: 4 }, "the number of episodes to keep is 4, but there are only 3 samples");
    check(&BestOfN::new(0), "the number of samples is 0, but it must be at least 1");
    check(&Greedy { among: 0 }, "the number of proposals is 0, but it must be at least 1");
    check(&Smc::new(0), "the number of particles is 0, but it must be at least 1");
    let threshold = "the threshold of the effective sample size is 2, but it must be between 0 and 1";
    check(&Smc { n: 2, threshold: 2.0 }, threshold);
    check(&Mcts::new(0, 3), "the number of simulations is 0, but it must be at least 1");
    check(&Mcts::new(3, 0), "the number of proposals is 0, but it must be at least 1");
    let rollouts = LeafEvaluation::Rollouts(0);
    check(&Mcts { evaluation: rollouts, ..Mcts::new(3, 3) }, "the number of rollouts is 0, but it must be at least 1");
    let likelihood = LogProbs::likelihood();
    let rerank = Rerank { method: &Sampling { n: 2 }, score: &likelihood, keep: 0 };
    check(&rerank, "the number of episodes to keep is 0, but it must be at least 1");
}

#[test]
fn lengths_generators_and_budgets_that_do_not_fit_are_refused() {
    let mdp = maze();
    let start = mdp.start(&0);
    let (policy, likelihood) = (untidy(&mdp, &start, 1), LogProbs::likelihood());
    let search = Search::new(&mdp, &policy, &likelihood);
    let error_of = |search: Search<'_, Maze>, n_longest: usize, n_rngs: usize| {
        let found = search.run(&Greedy::default(), &[start], &vec![LONG; n_longest], &mut rngs(n_rngs, 0));
        found.unwrap_err().to_string()
    };
    assert_eq!(error_of(search, 2, 1), "lengths: expected 1, got 2");
    assert_eq!(error_of(search, 1, 0), "generators: expected 1, got 0");
    assert_eq!(error_of(search.within(0), 1, 1), "the budget of evaluations is 0, but it must be at least 1");
    assert!(search.run(&Greedy::default(), &[], &[], &mut []).unwrap().is_empty());
}

#[test]
fn numbers_that_are_not_finite_are_told_by_start_and_decision() {
    let mdp = maze();
    let start = mdp.start(&0);
    let policy = untidy(&mdp, &start, 1);
    let score = Reward(|s: &mdp::FiniteState, _: &usize| if s.time == 1 { f64::NAN } else { 0.0 });
    let methods: [&dyn Method<Maze>; 5] =
        [&Greedy::default(), &Sampling { n: 2 }, &Beam::new(2), &Smc::new(3), &Mcts::new(9, 3)];
    for method in methods {
        let message = run((&mdp, &policy), &score, method, &[start]).unwrap_err().to_string();
        assert_eq!(message, "the score of decision 1 from start 0 is NaN; it must be finite");
    }
    let rerank = Rerank { method: &Sampling { n: 2 }, score: &score, keep: 1 };
    let message = run((&mdp, &policy), &LogProbs::likelihood(), &rerank, &[start]).unwrap_err().to_string();
    assert_eq!(message, "the verifier's score of decision 1 from start 0 is NaN; it must be finite");
    let value = |_: &mdp::FiniteState| f64::INFINITY;
    let mcts = Mcts { evaluation: LeafEvaluation::Value(&value), ..Mcts::new(9, 3) };
    let message = run((&mdp, &policy), &LogProbs::likelihood(), &mcts, &[start]).unwrap_err().to_string();
    assert_eq!(message, "the value of decision 0 from start 0 is inf; it must be finite");
}

/// A policy's own error is passed on, distinct from a search's.
#[test]
fn a_state_without_an_action_is_an_error() {
    let mdp = mdp::Finite::bandit(2);
    let policy = policies::Tabular::new(&mdp::Finite::bandit(3));
    let found = run((&mdp, &policy), &LogProbs::likelihood(), &Greedy::default(), &[mdp.start(&0)]);
    assert_eq!(found.unwrap_err().to_string(), "actions of the problem: expected 3, got 2");
}
