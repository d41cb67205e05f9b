use mdp::token::TokenState;

use super::problems::{Counting, words};
use super::{LONG, rngs, run, untidy};
use crate::{Beam, BestOfN, DiverseBeam, Greedy, LogProbs, Mcts, Method, Rerank, Sampling, Search, Smc};

type Words = mdp::token::TokenMdp;

/// Checks one of every method, by name.
pub(super) fn with_methods(verifier_score: &LogProbs<'_, Words>, mut check: impl FnMut(&str, &dyn Method<Words>)) {
    let beam = Beam { n: 2, length_penalty: 0.5, ..Beam::new(4) };
    check("greedy", &Greedy { among: 2 });
    check("sampling", &Sampling { n: 3 });
    check("best of n", &BestOfN::new(5));
    check("beam", &beam);
    check("diverse beam", &DiverseBeam { beam, groups: 2, penalty: 0.7 });
    check("tree", &Mcts::new(12, 3));
    check("particles", &Smc::new(6));
    check("verifier", &Rerank { method: &Sampling { n: 4 }, score: verifier_score, keep: 2 });
}

#[test]
fn every_evaluation_is_counted_once() {
    let mdp = words(4, 6);
    let starts = [TokenState::new([1]), TokenState::new([2, 3])];
    let policy = Counting::new(untidy(&mdp, &starts[0], 1));
    let reference = Counting::new(untidy(&mdp, &starts[0], 2));
    let verifier = Counting::new(untidy(&mdp, &starts[0], 3));
    let verifier_score = LogProbs::likelihood_of(&verifier);
    with_methods(&verifier_score, |name, method| {
        for cell in [&policy.asked, &reference.asked, &verifier.asked] {
            cell.set(0);
        }
        let score = LogProbs::implicit_reward(0.3, &reference);
        let outcomes = run((&mdp, &policy), &score, method, &starts).unwrap();
        let asked = policy.asked.get() + reference.asked.get() + verifier.asked.get();
        let spent: usize = outcomes.iter().map(|outcome| outcome.spent.evaluations).sum();
        assert_eq!(spent, asked, "{name}");
        assert!(policy.asked.get() == reference.asked.get() && spent > 0, "{name}");
    });
}

#[test]
fn a_search_ends_before_its_budget_does() {
    let mdp = words(4, 6);
    let starts = [TokenState::new([1]), TokenState::new([2, 3])];
    let [policy, reference, verifier] = [1, 2, 3].map(|seed| untidy(&mdp, &starts[0], seed));
    let score = LogProbs::implicit_reward(0.3, &reference);
    let verifier_score = LogProbs::likelihood_of(&verifier);
    with_methods(&verifier_score, |name, method| {
        let whole = run((&mdp, &policy), &score, method, &starts).unwrap();
        let most = whole.iter().map(|outcome| outcome.spent.evaluations).max().unwrap();
        for budget in (1..most + 4).chain([10 * most]) {
            let search = Search::new(&mdp, &policy, &score).within(budget);
            let found = search.run(method, &starts, &[LONG; 2], &mut rngs(2, 0)).unwrap();
            assert!(found.iter().all(|outcome| outcome.spent.evaluations <= budget), "{name} {budget}");
            if budget == 10 * most {
                assert_eq!(found, whole, "{name}");
            } else if name != "verifier" {
                assert!(found.iter().all(|outcome| !outcome.found.is_empty()), "{name} {budget}");
            }
        }
    });
}

#[test]
fn a_beam_costs_no_more_than_its_width_for_every_step() {
    let (width, length) = (5, 30);
    let mdp = words(6, length + 1);
    let mdp = Words { eos: Vec::new(), ..mdp };
    let policy = Counting::new(policies::Tabular::new(&mdp));
    let beam = Beam::new(width);
    let outcome = run((&mdp, &policy), &LogProbs::likelihood(), &beam, &[TokenState::new([1])]).unwrap().remove(0);
    assert_eq!(outcome.spent.evaluations, 1 + width * (length - 1));
    assert_eq!(policy.asked.get(), outcome.spent.evaluations);
    assert_eq!(outcome.found[0].length(), length);
}
