use std::sync::Arc;

use datasets::{Example, ExampleKind};
use mdp::hybrid::HandoffError;
use mdp::token::{TokenMdp, TokenState};
use objectives::{ChosenLikelihood, Comparison, Logistic, Pairwise, WeightedSum};
use policies::{Pair, Policy, Tabular, TrainedHalf};

use super::*;
use crate::step::{Loss, Reference, StepAt, learn};
use crate::token::TokenSource;
use crate::{ReferenceCache, step};

/// What was said becomes the next problem's prompt.
struct Said;

impl Handoff<TokenMdp, TokenMdp> for Said {
    fn enter(&self, outer: &[&TokenState]) -> Result<Vec<Arc<[u32]>>, HandoffError> {
        Ok(outer.iter().map(|state| state.response.clone().into()).collect())
    }
}

type Two = Hybrid<TokenMdp, TokenMdp, Said>;
type Tables = Pair<Tabular<TokenMdp>, Tabular<TokenMdp>>;

const WEIGHTS: (f64, f64) = (0.5, 2.0);

fn mdp() -> Two {
    let words = |vocabulary| TokenMdp { vocabulary, eos: vec![0], max_length: 6 };
    Hybrid { outer: words(3), inner: words(4), handoff: Said }
}

/// Pairs of one half.
fn examples(pairs: [[&[u32]; 2]; 2]) -> Vec<Example> {
    let example = |(index, responses): (usize, [&[u32]; 2])| {
        let responses = responses.map(|response| response.to_vec().into()).into();
        Example::new(index as u64, Arc::from([1]), responses, ExampleKind::Pair)
    };
    pairs.into_iter().enumerate().map(example).collect()
}

fn halves() -> (Vec<Example>, Vec<Example>) {
    (examples([[&[2, 0], &[1, 0]], [&[2, 2, 0], &[0]]]), examples([[&[3, 0], &[1, 0]], [&[3, 1, 0], &[2, 0]]]))
}

fn source<'a>(
    mdp: &'a Two,
    (outer, inner): &'a (Vec<Example>, Vec<Example>),
) -> HybridSource<'a, TokenSource<'a, Comparison>, TokenSource<'a, Comparison>, Said> {
    let (outer, inner) = (TokenSource::new(outer, 6), TokenSource::new(inner, 6));
    HybridSource::new(mdp, (outer, inner), WEIGHTS, ["words", "strokes"]).unwrap()
}

fn tables(mdp: &Two) -> Tables {
    Pair::new(Tabular::new(&mdp.outer), Tabular::new(&mdp.inner)).named(["words", "strokes"])
}

/// So many steps on all pairs; what the last one showed.
fn trained(learner: &mut Tables, steps: usize) -> step::Learned {
    let (mdp, halves) = (mdp(), halves());
    let source = source(&mdp, &halves);
    let start = tables(&mdp);
    let mut reference = Reference { policy: Some(&start as &dyn Policy<Two>), cache: ReferenceCache::default() };
    let objective = Pairwise::new(Logistic::new(1.0).unwrap());
    let measure = |slice: &Slice<Two, Comparison>, scores: Scores<'_>| source.measure(slice, scores);
    let loss = Loss { objective: &objective, measure: &measure };
    let mut learned = step::Learned::default();
    for step in 0..steps {
        let slices: Vec<_> = (0..2).map(|i| Slice::new([(i, source.item(i).unwrap())])).collect();
        let at = StepAt { step, rate: 0.5, ..StepAt::default() };
        learned = learn(&mdp, learner, &mut reference, loss, &slices, at).unwrap();
    }
    learned
}

#[test]
fn weights_are_beta_for_the_outer_and_gamma_for_the_inner_half() {
    let (mdp, halves) = (mdp(), halves());
    let item = source(&mdp, &halves).item(0).unwrap();
    assert_eq!(item.episodes[0].weights(), [0.5, 0.5, 2.0, 2.0]);
    assert_eq!(item.feedback, [Comparison::new(0, 1)]);
    // Each side has its own words and what was made of them.
    let (chosen, rejected) = (mdp.split(&item.episodes[0]).unwrap(), mdp.split(&item.episodes[1]).unwrap());
    assert_eq!((&chosen.0.pieces[0].actions[..], &chosen.1.pieces[0].actions[..]), (&[2, 0][..], &[3, 0][..]));
    assert_eq!((&rejected.0.pieces[0].actions[..], &rejected.1.pieces[0].actions[..]), (&[1, 0][..], &[1, 0][..]));
}

#[test]
fn the_first_loss_is_ln_2_and_both_halves_learn() {
    let mut learner = tables(&mdp());
    assert!((trained(&mut learner, 1).loss - 2f64.ln()).abs() < 1e-12);
    let learned = trained(&mut learner, 20);
    assert!(learned.loss < 0.5, "{}", learned.loss);
    let names: Vec<_> = learned.gradient_norms.iter().map(|(name, norm)| (*name, *norm > 0.0)).collect();
    assert_eq!(names, [("words", true), ("strokes", true)]);
    let measures: std::collections::BTreeMap<_, _> = learned.measures.means().collect();
    assert!(measures["margins/words"] > 0.0 && measures["margins/strokes"] > 0.0);
    let whole = learned.metrics["rewards/margins"];
    assert!((measures["margins/words"] + measures["margins/strokes"] - whole).abs() < 1e-12);
    assert!((measures["margin_share/words"] + measures["margin_share/strokes"] - 1.0).abs() < 1e-12);
    assert_eq!(measures["length/words"], 2.0);
}

#[test]
fn a_half_alone_learns_against_the_others_frozen_numbers() {
    let mdp = mdp();
    let mut learner = tables(&mdp).learning(TrainedHalf::Inner);
    let learned = trained(&mut learner, 5);
    assert_eq!(learner.outer, tables(&mdp).outer);
    assert_ne!(learner.inner, tables(&mdp).inner);
    let measures: std::collections::BTreeMap<_, _> = learned.measures.means().collect();
    assert_eq!(measures["margins/words"], 0.0);
    assert_eq!(learned.gradient_norms.len(), 1);
}

/// Examples without answers.
struct Given(Vec<Example>);

impl crate::token::Examples for Given {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn example(&self, index: usize) -> Result<Example, BoxError> {
        self.0.example(index)
    }

    fn given(&self, _index: usize) -> Result<Vec<bool>, BoxError> {
        Ok(vec![true, true])
    }
}

#[test]
fn what_was_given_teaches_its_half_nothing_whatever_the_loss() {
    let (mdp, (outer, inner)) = (mdp(), halves());
    let outer = Given(outer);
    let (outer, inner) = (TokenSource::new(&outer, 6), TokenSource::new(&inner, 6));
    let source = HybridSource::new(&mdp, (outer, inner), WEIGHTS, ["words", "strokes"]).unwrap();
    let start = tables(&mdp);
    let mut learner = tables(&mdp);
    let mut reference = Reference { policy: Some(&start as &dyn Policy<Two>), cache: ReferenceCache::default() };
    let dpo = Pairwise::new(Logistic::new(1.0).unwrap());
    let objective =
        WeightedSum::new(vec![(1.0, Box::new(dpo) as _), (0.5, Box::new(Pairwise::new(ChosenLikelihood)) as _)])
            .unwrap();
    let measure = |slice: &Slice<Two, Comparison>, scores: Scores<'_>| source.measure(slice, scores);
    let loss = Loss { objective: &objective, measure: &measure };
    let slices: Vec<_> = (0..2).map(|i| Slice::new([(i, source.item(i).unwrap())])).collect();
    let at = StepAt { step: 0, rate: 0.5, ..StepAt::default() };
    let learned = learn(&mdp, &mut learner, &mut reference, loss, &slices, at).unwrap();
    assert_eq!(learned.gradient_norms[0], ("words", 0.0), "{:?}", learned.gradient_norms);
    assert_ne!(learner.inner, start.inner);
    let measures: std::collections::BTreeMap<_, _> = learned.measures.means().collect();
    assert!(!measures.contains_key("length/words") && !measures.contains_key("accuracies/words"), "{measures:?}");
    assert!(measures.contains_key("accuracies/strokes"));
}

#[test]
fn halves_of_other_lengths_are_refused() {
    let (mdp, (outer, mut inner)) = (mdp(), halves());
    inner.pop();
    let (outer, inner) = (TokenSource::<Comparison>::new(&outer, 6), TokenSource::<Comparison>::new(&inner, 6));
    assert!(HybridSource::new(&mdp, (outer, inner), WEIGHTS, ["words", "strokes"]).is_err());
}
