use mdp::Mdp;
use mdp::hybrid::Half;
use mdp::token::TokenState;
use policies::{Pair, Policy, Tabular};

use super::problems::{Two, two};
use super::{LONG, brute_force, rngs, run, untidy};
use crate::{Beam, EarlyStopping, LogProbs, Refinements, Sampling, Search};

type Tables = Pair<Tabular<mdp::token::TokenMdp>, Tabular<mdp::token::TokenMdp>>;

fn tables(mdp: &Two, seed: u64) -> Tables {
    let outer = untidy(&mdp.outer, &TokenState::new([2]), seed);
    let mut inner = Tabular::new(&mdp.inner);
    for (i, prompt) in [[0].as_slice(), &[1, 0], &[2, 0], &[1, 1], &[1, 2], &[2, 1]].into_iter().enumerate() {
        inner.set_logits(TokenState::new(prompt), vec![0.4 * i as f64, -0.3]);
    }
    Pair::new(outer, inner)
}

#[test]
fn every_refinement_has_its_results_below_it() {
    let mdp = two();
    let start = mdp.start(&[2].into());
    let (pair, reference) = (tables(&mdp, 1), tables(&mdp, 2));
    let score = LogProbs::implicit_reward(0.5, &reference);
    let method = Refinements { outer: &Beam { n: 3, ..Beam::new(4) }, inner: &Sampling { n: 5 } };
    let outcome = run((&mdp, &pair), &score, &method, &[start]).unwrap().remove(0);
    assert_eq!(outcome.found.len(), 15);
    assert!(outcome.found.windows(2).all(|pair| pair[0].score >= pair[1].score));
    let mut refinements = std::collections::BTreeMap::new();
    for found in &outcome.found {
        // One piece per half, as policies require.
        let (outer, inner) = mdp.split(&found.episode).expect("no piece crosses the hand-off");
        assert_eq!(inner.pieces[0].start.prompt[..], outer.pieces[0].actions[..]);
        *refinements.entry(outer.pieces[0].actions.clone()).or_insert(0) += 1;
        let numbers = pair.score(&mdp, std::slice::from_ref(&found.episode)).unwrap().log_probs;
        assert!(numbers.values().iter().zip(&found.log_probs).all(|(one, other)| (one - other).abs() < 1e-12));
        let expected = super::score_of(&mdp, &pair, &score, &found.episode);
        assert!((found.score - expected).abs() < 1e-9 && found.is_finished);
    }
    assert!(refinements.len() == 3 && refinements.values().all(|n| *n == 5), "{refinements:?}");
}

#[test]
fn with_full_width_in_both_halves_it_is_brute_force() {
    let mdp = two();
    let start = mdp.start(&[2].into());
    let pair = tables(&mdp, 3);
    let full = Beam { n: 50, length_penalty: 0.0, early_stopping: EarlyStopping::Exhausted, ..Beam::new(50) };
    let method = Refinements { outer: &full, inner: &full };
    let found =
        run((&mdp, &pair), &LogProbs::likelihood(), &method, std::slice::from_ref(&start)).unwrap().remove(0).found;
    let expected = brute_force(&mdp, &pair, &LogProbs::likelihood(), &start);
    assert_eq!(found.len(), expected.len());
    for (found, (score, _)) in found.iter().zip(&expected) {
        assert!((found.score - score).abs() < 1e-9);
    }
}

#[test]
fn a_budget_holds_for_both_halves_together() {
    let mdp = two();
    let start = mdp.start(&[2].into());
    let pair = tables(&mdp, 4);
    let method = Refinements { outer: &Beam { n: 3, ..Beam::new(3) }, inner: &Sampling { n: 2 } };
    let likelihood = LogProbs::likelihood();
    for budget in 1..40 {
        let search = Search::new(&mdp, &pair, &likelihood).within(budget);
        let outcome = search.run(&method, std::slice::from_ref(&start), &[LONG], &mut rngs(1, 0)).unwrap().remove(0);
        assert!(outcome.spent.evaluations <= budget && !outcome.found.is_empty(), "{budget}");
        // Finished episodes come first.
        for found in &outcome.found {
            let last = &found.episode.pieces[found.episode.pieces.len() - 1];
            let end = last.actions.iter().fold(last.start.clone(), |state, action| mdp.step(&state, action));
            assert_eq!(found.is_finished, mdp.is_terminal(&end));
        }
        assert!(outcome.found.windows(2).all(|pair| pair[0].is_finished >= pair[1].is_finished));
    }
    assert!(matches!(start, Half::Outer(_)));
}
