use proptest::prelude::*;
use rand::SeedableRng as _;

use super::*;
use crate::token::{TokenMdp, TokenState};
use crate::{Rng, Table, all_episodes, explore, laws, soft_q};

/// What was said becomes the next problem's prompt.
#[derive(Clone, Copy, Debug)]
struct Said;

impl Handoff<TokenMdp, TokenMdp> for Said {
    fn enter(&self, outer: &[&TokenState]) -> Result<Vec<std::sync::Arc<[u32]>>, HandoffError> {
        Ok(outer.iter().map(|state| state.response.clone().into()).collect())
    }
}

type Two = Hybrid<TokenMdp, TokenMdp, Said>;
type Left = Hybrid<Two, TokenMdp, OfInner>;
type Right = Hybrid<TokenMdp, Two, Said>;

/// The hand-off after two problems: what the second of them said.
#[derive(Clone, Copy, Debug)]
struct OfInner;

impl Handoff<Two, TokenMdp> for OfInner {
    fn enter(&self, outer: &[&Half<TokenState, TokenState>]) -> Result<Vec<std::sync::Arc<[u32]>>, HandoffError> {
        let said = |half: &&Half<TokenState, TokenState>| match half {
            Half::Outer(state) | Half::Inner(state) => state.response.clone().into(),
        };
        Ok(outer.iter().map(said).collect())
    }
}

impl Handoff<TokenMdp, Two> for Said {
    fn enter(&self, outer: &[&TokenState]) -> Result<Vec<std::sync::Arc<[u32]>>, HandoffError> {
        Ok(outer.iter().map(|state| state.response.clone().into()).collect())
    }
}

/// `more` tokens after the prompt at most.
fn words(vocabulary: u32, max_length: usize) -> TokenMdp {
    TokenMdp { vocabulary, eos: vec![0], max_length }
}

fn two(outer: TokenMdp, inner: TokenMdp) -> Two {
    Hybrid { outer, inner, handoff: Said }
}

fn prompt() -> std::sync::Arc<[u32]> {
    [1].into()
}

#[test]
fn the_hand_off_happens_at_eos_and_at_the_length_limit() {
    let mdp = two(words(3, 4), words(2, 6));
    let start = mdp.start(&prompt());
    let after = |actions: &[u32]| actions.iter().fold(start.clone(), |state, a| mdp.step(&state, &Half::Outer(*a)));
    assert!(matches!(after(&[1, 2]), Half::Outer(_)));
    assert_eq!(after(&[1, 0]), Half::Inner(TokenState::new([1, 0])));
    assert_eq!(after(&[1, 2, 2]), Half::Inner(TokenState::new([1, 2, 2])));
    assert!(!mdp.is_terminal(&after(&[1, 0])));
    assert!(!mdp.allows(&after(&[1, 0]), &Half::Outer(1)) && !mdp.allows(&start, &Half::Inner(1)));
    // What is not allowed moves nothing.
    assert_eq!(mdp.step(&start, &Half::Inner(1)), start);
}

#[test]
fn hybrids_are_lawful_nested_ones_too() {
    let mut rng = Rng::seed_from_u64(0);
    let walks = laws::Walks::default();
    laws::check_enumerable(&two(words(3, 4), words(2, 6)), &[prompt()], walks, &mut rng).unwrap();
    let left = Left { outer: two(words(3, 3), words(2, 4)), inner: words(2, 5), handoff: OfInner };
    laws::check_enumerable(&left, &[prompt()], walks, &mut rng).unwrap();
    let right = Right { outer: words(3, 3), inner: two(words(2, 4), words(2, 5)), handoff: Said };
    laws::check_enumerable(&right, &[prompt()], walks, &mut rng).unwrap();
}

#[test]
fn an_idle_half_changes_nothing() {
    // The prompt is as long as the outer problem may get: it is over before it begins.
    let idle_outer = two(words(3, 1), words(2, 3));
    let episodes = all_episodes(&idle_outer, &idle_outer.start(&prompt()), 100).unwrap();
    let alone = words(2, 3);
    let expected = all_episodes(&alone, &TokenState::new([]), 100).unwrap();
    let found: Vec<_> = episodes.iter().map(|episode| idle_outer.split(episode).unwrap().1).collect();
    assert_eq!(found, expected);

    let idle_inner = two(words(3, 3), words(2, 0));
    let episodes = all_episodes(&idle_inner, &idle_inner.start(&prompt()), 100).unwrap();
    let expected = all_episodes(&words(3, 3), &TokenState::new([1]), 100).unwrap();
    let found: Vec<_> = episodes.iter().map(|episode| idle_inner.split(episode).unwrap().0).collect();
    assert_eq!(found, expected);
}

#[test]
fn nesting_to_the_left_and_to_the_right_is_the_same_problem() {
    let (a, b, c) = (words(2, 3), words(2, 3), words(2, 4));
    let left = Left { outer: two(a.clone(), b.clone()), inner: c.clone(), handoff: OfInner };
    let right = Right { outer: a, inner: two(b, c), handoff: Said };
    let of_left = |action: &Half<Half<u32, u32>, u32>| match action {
        Half::Outer(Half::Outer(a)) => (0, *a),
        Half::Outer(Half::Inner(a)) => (1, *a),
        Half::Inner(a) => (2, *a),
    };
    let of_right = |action: &Half<u32, Half<u32, u32>>| match action {
        Half::Outer(a) => (0, *a),
        Half::Inner(Half::Outer(a)) => (1, *a),
        Half::Inner(Half::Inner(a)) => (2, *a),
    };
    let lefts = all_episodes(&left, &left.start(&prompt()), 1000).unwrap();
    let rights = all_episodes(&right, &right.start(&prompt()), 1000).unwrap();
    let lefts: Vec<Vec<_>> = lefts.iter().map(|e| e.pieces[0].actions.iter().map(of_left).collect()).collect();
    let rights: Vec<Vec<_>> = rights.iter().map(|e| e.pieces[0].actions.iter().map(of_right).collect()).collect();
    assert!(lefts.len() > 10);
    assert_eq!(lefts, rights);
}

/// The value of a hybrid is that of the outer problem whose reward at its end is the value of the inner problem that
/// follows: soft Bellman over the hand-off, which has no decision of its own.
#[test]
fn values_go_through_the_hand_off() {
    let mdp = two(words(3, 3), words(2, 4));
    let explored = explore(&mdp, &[mdp.start(&prompt())], 1000).unwrap();
    let reward_of = |state: &TokenState| state.tokens().map(|t| 0.3 + f64::from(t)).product::<f64>();
    let finite = &explored.finite;
    let rewards = Table::from_fn(finite, |s, a| {
        let next = &explored.states[finite.step(&s, &a).place];
        match next {
            Half::Inner(state) if mdp.inner.is_terminal(state) => reward_of(state),
            _ => 0.0,
        }
    });
    let beta = 0.7;
    let solved = soft_q::solve(finite, &rewards, &Table::uniform(finite), beta).unwrap();

    // By hand: episodes of the whole, each with the probability that uniform choices give it.
    let total: f64 = all_episodes(&mdp, &mdp.start(&prompt()), 1000)
        .unwrap()
        .iter()
        .map(|episode| {
            let piece = &episode.pieces[0];
            let (mut state, mut probability) = (piece.start.clone(), 1.0);
            for action in &piece.actions {
                probability /= mdp.allowed(&state).len() as f64;
                state = mdp.step(&state, action);
            }
            let Half::Inner(last) = state else { panic!("ends in the inner problem") };
            probability * (reward_of(&last) / beta).exp()
        })
        .sum();
    assert!((solved.value(finite.start(&0)) - beta * total.ln()).abs() < 1e-9);
}

proptest! {
    #[test]
    fn joining_is_undone_by_splitting(outer in prop::collection::vec(1_u32..9, 0..5), inner in prop::collection::vec(1_u32..9, 1..5), beta in 0.1..3.0, gamma in 0.1..3.0) {
        let mdp = two(words(9, 9), words(9, 9));
        let outer = Episode::whole(TokenState::new([1]), outer);
        let inner = Episode { pieces: inner.iter().map(|a| Piece { start: TokenState::new([*a]), actions: vec![*a], weight: 0.5 }).collect() };
        let joined = mdp.join(outer.clone(), inner.clone(), (beta, gamma));
        prop_assert_eq!(joined.n_decisions(), outer.n_decisions() + inner.n_decisions());
        let weights: Vec<f64> = outer.weights().iter().map(|w| beta * w).chain(inner.weights().iter().map(|w| gamma * w)).collect();
        prop_assert_eq!(joined.weights(), weights);
        let (o, i) = mdp.split(&joined).unwrap();
        prop_assert_eq!(&o.pieces[0].actions, &outer.pieces[0].actions);
        prop_assert_eq!(i.pieces.len(), inner.pieces.len());
    }
}

#[test]
fn a_piece_that_crosses_the_hand_off_is_not_split() {
    let episode: EpisodeOf<Two> =
        Episode::whole(Half::Outer(TokenState::new([1])), vec![Half::Outer(0), Half::Inner(1)]);
    assert_eq!(two(words(3, 3), words(2, 4)).split(&episode), None);
}

#[test]
fn an_episode_that_crosses_the_hand_off_is_cut_there() {
    let mdp = two(words(3, 3), words(2, 4));
    let start = mdp.start(&prompt());
    for episode in all_episodes(&mdp, &start, 1000).unwrap() {
        let actions = episode.pieces[0].actions.clone();
        let cut = mdp.cut(episode).unwrap();
        assert_eq!(cut.pieces.iter().flat_map(|piece| piece.actions.clone()).collect::<Vec<_>>(), actions);
        let (outer, inner) = mdp.split(&cut).expect("no piece crosses");
        assert_eq!(inner.pieces[0].start.prompt[..], outer.pieces[0].actions[..]);
        assert_eq!(mdp.cut(cut.clone()).unwrap(), cut);
    }
}
