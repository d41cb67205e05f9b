use std::sync::Arc;

use mdp::hybrid::HandoffError;
use mdp::token::{TokenMdp, TokenState};
use rand::SeedableRng as _;

use super::*;
use crate::Tabular;
use crate::laws::{check_cursor, check_gradient, check_learner, check_policy, check_proposals};
use crate::policy::{Learner, Persist as _, VisitGradient};

/// A hand-off that passes the response on as the next problem's prompt.
struct ResponseAsPrompt;

impl Handoff<TokenMdp, TokenMdp> for ResponseAsPrompt {
    fn enter(&self, outer: &[&TokenState]) -> Result<Vec<Arc<[u32]>>, HandoffError> {
        Ok(outer.iter().map(|state| state.response.clone().into()).collect())
    }
}

type Two = Hybrid<TokenMdp, TokenMdp, ResponseAsPrompt>;
type Tables = Pair<Tabular<TokenMdp>, Tabular<TokenMdp>>;

fn problem() -> Two {
    let words = |vocabulary, max_length| TokenMdp { vocabulary, eos: vec![0], max_length };
    Hybrid { outer: words(3, 4), inner: words(2, 5), handoff: ResponseAsPrompt }
}

fn starts(n: usize) -> Vec<Half<TokenState, TokenState>> {
    let mut starts = vec![Half::Outer(TokenState::new([1])); n];
    // One start is already past the hand-off.
    starts.push(Half::Inner(TokenState::new([2, 0])));
    starts
}

/// Tables that are not uniform.
fn tables() -> Tables {
    let mdp = problem();
    let (mut outer, mut inner) = (Tabular::new(&mdp.outer), Tabular::new(&mdp.inner));
    outer.set_logits(TokenState::new([1]), vec![-0.5, 0.3, 1.1]);
    inner.set_logits(TokenState::new([2, 0]), vec![0.2, -0.7]);
    Pair::new(outer, inner).named(["refiner", "generator"])
}

fn episodes(n: usize) -> Vec<EpisodeOf<Two>> {
    tables().rollout(&problem(), &starts(n), &mut Rng::seed_from_u64(3)).unwrap()
}

#[test]
fn a_pair_of_lawful_policies_is_lawful() {
    let mdp = problem();
    let episodes = check_policy(&mdp, &tables(), &starts(12), 0, 1e-12).unwrap();
    assert!(episodes.iter().all(|episode| mdp.split(episode).is_some()), "a piece crosses the hand-off");
    check_proposals(&mdp, &tables(), &starts(3), 2, 1e-12).unwrap();
    check_learner(&mdp, &mut tables(), &episodes, 0, 1e-12).unwrap();
    check_gradient(&mdp, tables, &episodes, 0, 1e-5, 1e-6).unwrap();
}

#[test]
fn a_pairs_cursor_goes_over_the_hand_off() {
    let mdp = problem();
    check_cursor(&mdp, &tables(), &starts(4), 0, 6, 1e-12).unwrap();
    // Rows pass the hand-off at different steps, and each keeps its place.
    let (pair, all) = (tables(), starts(3));
    let mut cursor = pair.cursor(&mdp, &all).unwrap();
    let word = Half::Outer;
    cursor.advance(&[word(1), word(0), word(2), Half::Inner(1)]).unwrap();
    let state = |prompt: &[u32], response: &[u32]| TokenState { prompt: prompt.into(), response: response.to_vec() };
    let expected = [
        Half::Outer(state(&[1], &[1])),
        Half::Inner(state(&[0], &[])),
        Half::Outer(state(&[1], &[2])),
        Half::Inner(state(&[2, 0], &[1])),
    ];
    assert_eq!(cursor.states(), expected);
    cursor.advance(&[word(0), Half::Inner(1), word(2), Half::Inner(0)]).unwrap();
    assert_eq!(cursor.states()[0], Half::Inner(state(&[1, 0], &[])));
    cursor.select(&[2, 0, 0]);
    assert_eq!(cursor.states()[1..], [Half::Inner(state(&[1, 0], &[])), Half::Inner(state(&[1, 0], &[]))]);
    cursor.advance(&[word(1), Half::Inner(0), Half::Inner(1)]).unwrap();
    assert_eq!(cursor.states()[0], Half::Inner(state(&[2, 2, 1], &[])));
}

#[test]
fn a_hand_off_that_fails_says_why() {
    struct Refuses;
    impl Handoff<TokenMdp, TokenMdp> for Refuses {
        fn enter(&self, _outer: &[&TokenState]) -> Result<Vec<Arc<[u32]>>, HandoffError> {
            Err("nobody listens".into())
        }
    }
    let Two { outer, inner, .. } = problem();
    let mdp = Hybrid { outer, inner, handoff: Refuses };
    let start = [Half::Outer(TokenState::new([1]))];
    let message = tables().rollout(&mdp, &start, &mut Rng::seed_from_u64(0)).unwrap_err().to_string();
    assert_eq!(message, "nobody listens");
    let pair = tables();
    let mut cursor = pair.cursor(&mdp, &start).unwrap();
    assert_eq!(cursor.advance(&[Half::Outer(0)]).unwrap_err().to_string(), "nobody listens");
    // `step` itself returns a terminal state without successors.
    let stuck = mdp.step(&start[0], &Half::Outer(0));
    assert!(!mdp.is_terminal(&stuck) && !mdp.allows(&stuck, &Half::Outer(1)));
    assert_eq!(mdp.step(&stuck, &Half::Outer(1)), stuck);
}

/// Each half receives its own rows' generators in order and is called once.
#[test]
fn halves_act_in_turn_from_states_that_are_theirs() {
    let (mdp, starts) = (problem(), starts(2));
    let whole = |start: &TokenState, tokens: &[u32]| Episode::whole(start.clone(), tokens.to_vec());
    let mut asked = Vec::new();
    let refined = |states: &[TokenState]| {
        assert_eq!(states.len(), 2);
        Ok(vec![whole(&states[0], &[2, 0]), whole(&states[1], &[0])])
    };
    let episodes = act_in_turn(&mdp, &starts, refined, |states| {
        asked.extend(states.iter().map(|state| state.prompt.to_vec()));
        Ok(states.iter().map(|state| whole(state, &[1, 0])).collect())
    });
    assert_eq!(asked, [vec![2, 0], vec![0], vec![2, 0]]);
    let n_decisions: Vec<usize> = episodes.unwrap().iter().map(Episode::n_decisions).collect();
    assert_eq!(n_decisions, [4, 3, 2]);
}

#[test]
fn a_half_that_stops_before_its_end_or_answers_too_little_is_refused() {
    let (mdp, starts) = (problem(), starts(1));
    let refusal = |outer: &[&[u32]], n_inner: usize| {
        let whole = |state: &TokenState, tokens: &[u32]| Episode::whole(state.clone(), tokens.to_vec());
        let acted = act_in_turn(
            &mdp,
            &starts,
            |states| Ok(outer.iter().map(|tokens| whole(&states[0], tokens)).collect()),
            |states| Ok(states[..n_inner].iter().map(|state| whole(state, &[0])).collect()),
        );
        acted.err().map(|error| error.to_string())
    };
    assert_eq!(refusal(&[&[1, 0]], 2), None);
    for (outer, n_inner, says) in [
        (&[&[1][..]][..], 2, "stops before"),
        (&[], 2, "episodes of the outer half"),
        (&[&[0][..]][..], 1, "episodes of the inner half"),
    ] {
        let message = refusal(outer, n_inner).unwrap();
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn an_episode_has_a_piece_for_each_half_and_their_scores_in_turn() {
    let (mdp, pair) = (problem(), tables());
    for episode in episodes(8) {
        let whole = pair.score(&mdp, std::slice::from_ref(&episode)).unwrap().log_probs;
        let (outer, inner) = mdp.split(&episode).unwrap();
        let of_outer = pair.outer.score(&mdp.outer, &[outer]).unwrap().log_probs;
        let of_inner = pair.inner.score(&mdp.inner, &[inner]).unwrap().log_probs;
        assert_eq!(whole.values(), [of_outer.values(), of_inner.values()].concat());
    }
}

/// -log sigmoid of the margin of the first episode over the second, with an offset, and its slope.
fn logistic(numbers: &Steps, weights: &Steps, offset: f64) -> (f64, Steps) {
    assert!(numbers.same_shape(weights));
    let total =
        |i: usize| numbers.row(i).iter().zip(weights.row(i)).map(|(number, weight)| number * weight).sum::<f64>();
    let margin = total(0) - total(1) + offset;
    let slope = -1.0 / (1.0 + margin.exp());
    let mut slopes = weights.clone();
    slopes.row_mut(0).iter_mut().for_each(|weight| *weight *= slope);
    slopes.row_mut(1).iter_mut().for_each(|weight| *weight *= -slope);
    (total(0) - total(1), slopes)
}

/// Eq. 15: one loss of the sum of both halves' log-ratios. A half's gradient is the one it has alone, with the other
/// half's margin as an offset.
#[test]
fn each_half_learns_as_if_alone_with_the_others_margin_as_an_offset() {
    let (mdp, (beta, gamma)) = (problem(), (0.7, 1.9));
    let drawn = episodes(2);
    let weighted: Vec<_> = drawn[..2]
        .iter()
        .map(|episode| {
            let (outer, inner) = mdp.split(episode).unwrap();
            mdp.join(outer, inner, (beta, gamma))
        })
        .collect();
    assert_ne!(weighted[0], weighted[1]);
    let mut pair = tables();
    let (numbers, tape) = pair.forward(&mdp, &weighted).unwrap();
    let (_, slopes) = logistic(&numbers.log_probs, &mdp::weights(&weighted), 0.0);
    Learner::<Two>::backward(&mut pair, tape, &slopes.into()).unwrap();

    let halves: Vec<_> = weighted.iter().map(|episode| mdp.split(episode).unwrap()).collect();
    let (outer, inner): (Vec<_>, Vec<_>) = halves.into_iter().unzip();
    let (mut alone_outer, mut alone_inner) = (tables().outer, tables().inner);
    let (of_outer, outer_tape) = alone_outer.forward(&mdp.outer, &outer).unwrap();
    let (of_inner, inner_tape) = alone_inner.forward(&mdp.inner, &inner).unwrap();
    let outer_margin = logistic(&of_outer.log_probs, &mdp::weights(&outer), 0.0).0;
    let inner_margin = logistic(&of_inner.log_probs, &mdp::weights(&inner), 0.0).0;
    let outer_slopes = logistic(&of_outer.log_probs, &mdp::weights(&outer), inner_margin).1;
    let inner_slopes = logistic(&of_inner.log_probs, &mdp::weights(&inner), outer_margin).1;
    alone_outer.backward(outer_tape, &outer_slopes.into()).unwrap();
    alone_inner.backward(inner_tape, &inner_slopes.into()).unwrap();

    assert!(outer_margin != 0.0 && inner_margin != 0.0);
    Learner::<Two>::update(&mut pair, 0.1, None).unwrap();
    alone_outer.update(0.1, None).unwrap();
    alone_inner.update(0.1, None).unwrap();
    assert_close(&mdp.outer, &pair.outer, &alone_outer);
    assert_close(&mdp.inner, &pair.inner, &alone_inner);
}

fn assert_close(mdp: &TokenMdp, one: &Tabular<TokenMdp>, other: &Tabular<TokenMdp>) {
    for state in [TokenState::new([1]), TokenState::new([2, 0])] {
        let (one, other) = (one.log_probs(mdp, &state).unwrap(), other.log_probs(mdp, &state).unwrap());
        assert_eq!(one.len(), other.len());
        assert!(one.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-12), "{one:?} {other:?}");
    }
}

fn gathered(pair: &mut Tables) {
    let (mdp, episodes) = (problem(), episodes(6));
    let (numbers, tape) = pair.forward(&mdp, &episodes).unwrap();
    Learner::<Two>::backward(pair, tape, &numbers.log_probs.filled(-1.0).into()).unwrap();
}

fn norm(pair: &Tables) -> f64 {
    Learner::<Two>::gradient_norm(pair).unwrap()
}

#[test]
fn a_half_that_does_not_learn_keeps_its_weights() {
    for (learns, outer_moves, inner_moves) in
        [(TrainedHalf::Both, true, true), (TrainedHalf::Outer, true, false), (TrainedHalf::Inner, false, true)]
    {
        let mut pair = tables().learning(learns);
        gathered(&mut pair);
        Learner::<Two>::update(&mut pair, 0.1, None).unwrap();
        assert_eq!(pair.outer != tables().outer, outer_moves, "{learns:?}");
        assert_eq!(pair.inner != tables().inner, inner_moves, "{learns:?}");
    }
}

#[test]
fn the_gradient_is_clipped_as_one() {
    let mut whole = tables();
    gathered(&mut whole);
    let norms = Learner::<Two>::gradient_norms(&whole).unwrap();
    assert_eq!(norms.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["refiner", "generator"]);
    let total = norm(&whole);
    assert!((norms[0].1.hypot(norms[1].1) - total).abs() < 1e-12 && norms.iter().all(|(_, norm)| *norm > 0.0));

    // A step clipped to half of the norm equals a step at half the rate.
    let mut clipped = whole.clone();
    assert_eq!(Learner::<Two>::update(&mut clipped, 0.2, Some(total / 2.0)).unwrap(), total);
    Learner::<Two>::update(&mut whole, 0.1, None).unwrap();
    assert_close(&problem().outer, &clipped.outer, &whole.outer);
    assert_close(&problem().inner, &clipped.inner, &whole.inner);
    assert_eq!(norm(&clipped), 0.0);
}

#[test]
fn each_half_may_have_its_own_rate() {
    let mut pair = Pair { rates: (0.0, 2.0), ..tables() };
    gathered(&mut pair);
    let mut plain = pair.clone();
    plain.rates = (1.0, 1.0);
    Learner::<Two>::update(&mut pair, 0.1, None).unwrap();
    Learner::<Two>::update(&mut plain, 0.2, None).unwrap();
    assert_close(&problem().inner, &pair.inner, &plain.inner);
    assert_close(&problem().outer, &pair.outer, &tables().outer);
}

#[test]
fn halves_are_kept_and_exported_in_folders_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut pair = tables();
    gathered(&mut pair);
    Learner::<Two>::update(&mut pair, 0.3, None).unwrap();
    pair.save_checkpoint(folder.path()).unwrap();
    let mut back = tables();
    back.restore_checkpoint(folder.path()).unwrap();
    assert_eq!(back, pair);
    assert_eq!(back.fingerprint().unwrap(), pair.fingerprint().unwrap());
    let exported = folder.path().join("model");
    pair.export(&exported).unwrap();
    assert!(exported.join("refiner").is_dir() && exported.join("generator").is_dir());
}

#[test]
fn an_episode_that_crosses_the_hand_off_is_refused() {
    let episode: EpisodeOf<Two> =
        Episode::whole(Half::Outer(TokenState::new([1])), vec![Half::Outer(0), Half::Inner(1)]);
    let error = tables().score(&problem(), &[episode]).unwrap_err().to_string();
    assert!(error.contains("hand-off"), "{error}");
}

/// A table that may sum its gradient itself: by two processes with the same one.
struct Doubling(Tabular<TokenMdp>, bool);

impl Policy<TokenMdp> for Doubling {
    fn propose(
        &self,
        mdp: &TokenMdp,
        states: &[TokenState],
        k: usize,
        rng: &mut Rng,
    ) -> Result<Vec<Vec<Proposal<u32>>>, PolicyError> {
        self.0.propose(mdp, states, k, rng)
    }

    fn sample(&self, mdp: &TokenMdp, states: &[TokenState], rng: &mut Rng) -> Result<Vec<u32>, PolicyError> {
        self.0.sample(mdp, states, rng)
    }

    fn score(&self, mdp: &TokenMdp, episodes: &[EpisodeOf<TokenMdp>]) -> Result<Channels, PolicyError> {
        self.0.score(mdp, episodes)
    }
}

impl Learner<TokenMdp> for Doubling {
    type Tape = <Tabular<TokenMdp> as Learner<TokenMdp>>::Tape;

    fn forward(&self, mdp: &TokenMdp, episodes: &[EpisodeOf<TokenMdp>]) -> Result<(Channels, Self::Tape), PolicyError> {
        self.0.forward(mdp, episodes)
    }

    fn backward(&mut self, tape: Self::Tape, slopes: &Channels) -> Result<(), PolicyError> {
        self.0.backward(tape, slopes)
    }

    fn visit_gradients(&mut self, visit: &mut VisitGradient<'_>) -> Result<(), PolicyError> {
        self.0.visit_gradients(visit)
    }

    fn sums_gradient(&self) -> bool {
        self.1
    }

    fn sum_gradient(&mut self) -> Result<(), PolicyError> {
        self.0.scale_gradient(2.0)
    }

    fn gradient_norm(&self) -> Result<f64, PolicyError> {
        self.0.gradient_norm()
    }

    fn update(&mut self, rate: f64, max_gradient_norm: Option<f64>) -> Result<f64, PolicyError> {
        self.0.update(rate, max_gradient_norm)
    }
}

#[test]
fn a_pair_sums_its_gradient_itself_where_all_that_learns_of_it_does() {
    let (mdp, episodes) = (problem(), episodes(6));
    for (sums, sides, expected) in [
        ([true, true], TrainedHalf::Both, true),
        ([true, false], TrainedHalf::Both, false),
        ([false, true], TrainedHalf::Both, false),
        ([true, false], TrainedHalf::Outer, true),
        ([true, false], TrainedHalf::Inner, false),
    ] {
        let Pair { outer, inner, .. } = tables();
        let mut pair = Pair::new(Doubling(outer, sums[0]), Doubling(inner, sums[1])).learning(sides);
        assert_eq!(Learner::<Two>::sums_gradient(&pair), expected);
        let (numbers, tape) = pair.forward(&mdp, &episodes).unwrap();
        Learner::<Two>::backward(&mut pair, tape, &numbers.log_probs.filled(1.0).into()).unwrap();
        let norm = Learner::<Two>::gradient_norm(&pair).unwrap();
        Learner::<Two>::sum_gradient(&mut pair).unwrap();
        assert!((Learner::<Two>::gradient_norm(&pair).unwrap() - 2.0 * norm).abs() < 1e-12);
    }
    let message = Learner::<TokenMdp>::sum_gradient(&mut tables().outer).unwrap_err().to_string();
    assert!(message.contains("over processes"), "{message}");
}
