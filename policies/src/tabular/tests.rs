use mdp::token::{TokenMdp, TokenState};
use mdp::{Enumerable, Episode, EpisodeOf, Finite, FiniteState, Mdp, Table, all_episodes, soft_q, weights};
use rand::SeedableRng as _;

use super::*;
use crate::{act, laws};

/// Two choices out of three, one after the other.
fn two_step_bandit() -> Finite {
    let leads = |from: usize| (0..3).map(|arm| Some(3 * from + arm + 1)).collect();
    let mut places: Vec<Vec<Option<usize>>> = (0..4).map(leads).collect();
    places.extend(vec![vec![None; 3]; 9]);
    Finite::new(places, 2).unwrap()
}

/// Logits for every state of a problem, all different.
fn untidy(mdp: &Finite) -> Tabular<Finite> {
    let mut policy = Tabular::new(mdp);
    for (i, state) in mdp.states().enumerate() {
        policy.set_logits(state, (0..mdp.n_actions()).map(|action| ((i * 7 + action * 3) % 5) as f64 * 0.4).collect());
    }
    policy
}

/// The paper's Eq. 9 for one pair (first better), as a loss and slopes.
fn logistic(beta: f64, policy: &Steps, reference: &Steps, weights: &Steps) -> (f64, Channels) {
    assert!(policy.same_shape(reference) && policy.same_shape(weights));
    let score = |i: usize| {
        let ratios = policy.row(i).iter().zip(reference.row(i)).zip(weights.row(i));
        ratios.map(|((p, r), w)| w * (p - r)).sum::<f64>()
    };
    let margin = beta * (score(0) - score(1));
    let slope = -beta / (1.0 + margin.exp());
    let mut slopes = weights.clone();
    slopes.row_mut(0).iter_mut().for_each(|w| *w *= slope);
    slopes.row_mut(1).iter_mut().for_each(|w| *w *= -slope);
    ((-margin).exp().ln_1p(), slopes.into())
}

/// Trains on one pair, first better; the loss of each step.
fn train<M: Enumerable>(
    mdp: &M,
    learner: &mut Tabular<M>,
    pair: &[EpisodeOf<M>; 2],
    beta: f64,
    n_steps: usize,
) -> Vec<f64>
where
    M::State: Ord,
{
    let reference = learner.score(mdp, pair).unwrap().log_probs;
    let step = |_| {
        let (numbers, tape) = learner.forward(mdp, pair).unwrap();
        let (loss, slopes) = logistic(beta, &numbers.log_probs, &reference, &weights(pair));
        learner.backward(tape, &slopes).unwrap();
        learner.update(1.0, None).unwrap();
        loss
    };
    (0..n_steps).map(step).collect()
}

#[test]
fn a_two_armed_bandit_starts_at_ln_2_and_learns() {
    let mdp = Finite::bandit(2);
    let mut learner = Tabular::new(&mdp);
    let arm = |arm| Episode::whole(mdp.start(&0), vec![arm]);
    let losses = train(&mdp, &mut learner, &[arm(1), arm(0)], 0.5, 200);
    assert!((losses[0] - std::f64::consts::LN_2).abs() < 1e-12);
    assert!(losses.windows(2).all(|two| two[1] < two[0]));
    assert!(losses[199] < 0.1, "{}", losses[199]);
    let best = learner.propose(&mdp, &[mdp.start(&0)], 1, &mut Rng::seed_from_u64(0)).unwrap();
    assert_eq!(best[0][0].action, 1);
}

#[test]
fn one_step_by_hand() {
    // Slope -beta sigma(-0) = -1/2 on the better arm and +1/2 on the other; d log pi(i) / d logit(j) = [i = j] - 1/2.
    // So the logits move by rate * (1/2 * (1 - 1/2) + 1/2 * 1/2) = 1/2 each way.
    let mdp = Finite::bandit(2);
    let mut learner = Tabular::new(&mdp);
    let arm = |arm| Episode::whole(mdp.start(&0), vec![arm]);
    train(&mdp, &mut learner, &[arm(0), arm(1)], 1.0, 1);
    assert_eq!(learner.logits(&mdp.start(&0)).unwrap(), [0.5, -0.5]);
}

#[test]
fn two_steps_learn_from_the_end_alone() {
    let mdp = two_step_bandit();
    let mut learner = untidy(&mdp);
    let choices = |choices: [usize; 2]| Episode::whole(mdp.start(&0), choices.to_vec());
    let pair = [choices([0, 1]), choices([2, 2])];
    let losses = train(&mdp, &mut learner, &pair, 0.5, 200);
    assert!((losses[0] - std::f64::consts::LN_2).abs() < 1e-12);
    assert!(losses[199] < 0.1, "{}", losses[199]);
    // What neither episode met is as it was.
    let untouched = FiniteState { time: 1, place: 2 };
    assert_eq!(learner.logits(&untouched), untidy(&mdp).logits(&untouched));
}

#[test]
fn preferences_of_a_reward_teach_its_optimal_policy() {
    // Theorem 1, learned: clean soft labels for all pairs of episodes have one minimum, the soft-Q policy.
    let (mdp, beta) = (two_step_bandit(), 0.7);
    let rewards = Table::from_fn(&mdp, |state, action| ((state.place * 5 + action * 3) % 4) as f64 * 0.3);
    let solved = soft_q::solve(&mdp, &rewards, &Table::uniform(&mdp), beta).unwrap();
    let episodes = all_episodes(&mdp, &mdp.start(&0), 100).unwrap();
    let returns: Vec<f64> = episodes.iter().map(|episode| rewards.sum(&mdp, episode)).collect();
    let mut learner = Tabular::new(&mdp);
    let reference = learner.score(&mdp, &episodes).unwrap().log_probs;
    let total = |steps: &Steps, i: usize| steps.row(i).iter().sum::<f64>();
    for _ in 0..400 {
        let (numbers, tape) = learner.forward(&mdp, &episodes).unwrap();
        let score = |i: usize| beta * (total(&numbers.log_probs, i) - total(&reference, i));
        let mut slopes = numbers.log_probs.filled(0.0);
        for (i, better) in returns.iter().enumerate() {
            let sigmoid = |margin: f64| 1.0 / (1.0 + (-margin).exp());
            let slope = |(j, worse): (usize, &f64)| sigmoid(score(i) - score(j)) - sigmoid(better - worse);
            let slope: f64 = returns.iter().enumerate().map(slope).sum();
            slopes.row_mut(i).fill(beta * slope / returns.len() as f64);
        }
        learner.backward(tape, &slopes.into()).unwrap();
        learner.update(1.0, None).unwrap();
    }
    for state in mdp.states().filter(|state| state.time < 2 && !mdp.is_terminal(state)) {
        // Only place 0 at time 0 and its children at time 1 are ever met.
        if (state.time == 0) == (state.place == 0) {
            let learned = learner.log_probs(&mdp, &state).unwrap();
            for (action, log_prob) in learned.iter().enumerate() {
                assert!((log_prob - solved.log_policy.at(state, action)).abs() < 1e-3, "{state:?} {action}");
            }
        }
    }
}

#[test]
fn it_keeps_the_laws() {
    let mdp = two_step_bandit();
    let reference = Arc::new(Tabular::new(&mdp));
    let fresh = || untidy(&mdp).with_reference(Arc::clone(&reference)).with_entropy();
    let starts = [mdp.start(&0); 5];
    let episodes = laws::check_policy(&mdp, &fresh(), &starts, 3, 1e-12).unwrap();
    laws::check_proposals(&mdp, &fresh(), &starts, 2, 1e-12).unwrap();
    laws::check_learner(&mdp, &mut fresh(), &episodes, 4, 1e-12).unwrap();
    laws::check_gradient(&mdp, fresh, &episodes, 5, 1e-5, 1e-8).unwrap();
}

#[test]
fn every_logit_has_the_right_slope() {
    let mdp = two_step_bandit();
    let fresh = || untidy(&mdp).with_reference(Arc::new(Tabular::new(&mdp)));
    let episodes = [Episode::whole(mdp.start(&0), vec![0, 2]), Episode::whole(mdp.start(&0), vec![1, 1])];
    let (numbers, tape) = fresh().forward(&mdp, &episodes).unwrap();
    let slopes = laws::random_slopes(&numbers, &mut Rng::seed_from_u64(8));
    let mut learner = fresh();
    learner.backward(tape, &slopes).unwrap();
    for (state, row) in learner.gradient.clone() {
        for (action, slope) in row.into_iter().enumerate() {
            let loss = |moved: f64| {
                let mut policy = fresh();
                policy.logits.get_mut(&state).unwrap()[action] += moved;
                let numbers = policy.score(&mdp, &episodes)?;
                let divergence = numbers.divergence.unwrap();
                let dot = |a: &Steps, b: &Steps| {
                    assert!(a.same_shape(b));
                    a.values().iter().zip(b.values()).map(|(a, b)| a * b).sum::<f64>()
                };
                Ok(dot(&slopes.log_probs, &numbers.log_probs) + dot(slopes.divergence.as_ref().unwrap(), &divergence))
            };
            laws::check_slope(loss, slope, 1e-5, 1e-9).unwrap();
        }
    }
}

#[test]
fn equation_14_the_reference_expects_no_reward() {
    let mdp = two_step_bandit();
    let (policy, reference) = (untidy(&mdp), Arc::new(Tabular::new(&mdp)));
    let start = mdp.start(&0);
    let log_ratio = |action: usize| {
        policy.log_probs(&mdp, &start).unwrap()[action] - reference.log_probs(&mdp, &start).unwrap()[action]
    };
    let expected: f64 = (0..3).map(|action| log_ratio(action) / 3.0).sum();
    let episode = [Episode::whole(start, vec![0])];
    let divergence = policy.clone().with_reference(Arc::clone(&reference)).score(&mdp, &episode).unwrap().divergence;
    assert!((divergence.unwrap().values()[0] + expected).abs() < 1e-12);
    assert!(expected < 0.0);
}

#[test]
fn samples_follow_the_probabilities() {
    let mdp = Finite::bandit(3);
    let mut policy = Tabular::new(&mdp);
    policy.set_logits(mdp.start(&0), vec![0.5f64.ln(), 0.3f64.ln(), 0.2f64.ln()]);
    let drawn = policy.sample(&mdp, &vec![mdp.start(&0); 20_000], &mut Rng::seed_from_u64(9)).unwrap();
    for (arm, expected) in [0.5, 0.3, 0.2].into_iter().enumerate() {
        let share = drawn.iter().filter(|drawn| **drawn == arm).count() as f64 / drawn.len() as f64;
        // Four standard errors are 0.014.
        assert!((share - expected).abs() < 0.014, "{arm}: {share}");
    }
}

#[test]
fn actions_that_are_not_allowed_have_no_probability() {
    let mdp = Finite::new(vec![vec![Some(1), None], vec![None, None]], 1).unwrap();
    let mut policy = Tabular::new(&mdp);
    policy.set_logits(mdp.start(&0), vec![0.0, 100.0]);
    assert_eq!(policy.log_probs(&mdp, &mdp.start(&0)).unwrap(), [0.0, f64::NEG_INFINITY]);
    assert_eq!(policy.sample(&mdp, &[mdp.start(&0)], &mut Rng::seed_from_u64(0)).unwrap(), [0]);
    let error = policy.score(&mdp, &[Episode::whole(mdp.start(&0), vec![1])]).unwrap_err();
    assert_eq!(error.to_string(), "decision 0 of episode 0: expected an action its state allows, got one it does not");
}

#[test]
fn the_gradient_is_cut_to_length() {
    let mdp = Finite::bandit(2);
    let mut learner = Tabular::new(&mdp);
    let episode = [Episode::whole(mdp.start(&0), vec![0])];
    let (numbers, tape) = learner.forward(&mdp, &episode).unwrap();
    learner.backward(tape, &numbers.log_probs.filled(-10.0).into()).unwrap();
    // The gradient is -10 * (1/2, -1/2): its length is 10 / sqrt(2).
    let norm = learner.update(1.0, Some(1.0)).unwrap();
    assert!((norm - 10.0 / 2f64.sqrt()).abs() < 1e-12);
    let moved = learner.logits(&mdp.start(&0)).unwrap();
    assert!((moved[0].hypot(moved[1]) - 1.0).abs() < 1e-12);
}

#[test]
fn slopes_of_another_shape_are_refused() {
    let mdp = Finite::bandit(2);
    let mut learner = Tabular::new(&mdp);
    let episode = [Episode::whole(mdp.start(&0), vec![0])];
    let (_, tape) = learner.forward(&mdp, &episode).unwrap();
    let slopes: Steps = [vec![1.0, 2.0]].into_iter().collect();
    assert!(learner.backward(tape, &slopes.into()).is_err());
}

#[test]
fn a_checkpoint_brings_every_bit_back() {
    let mdp = two_step_bandit();
    let mut learner = untidy(&mdp);
    learner.set_logits(mdp.start(&0), vec![0.1 + 0.2, 1.0 / 3.0, -1e-300]);
    let folder = tempfile::tempdir().unwrap();
    learner.save_checkpoint(folder.path()).unwrap();
    let mut other = Tabular::new(&mdp);
    other.restore_checkpoint(folder.path()).unwrap();
    assert_eq!(other, learner);
    assert_eq!(other.fingerprint().unwrap(), learner.fingerprint().unwrap());
    other.set_logits(mdp.start(&0), vec![0.0; 3]);
    assert_ne!(other.fingerprint().unwrap(), learner.fingerprint().unwrap());
    let error = Tabular::new(&Finite::bandit(4)).restore_checkpoint(folder.path()).unwrap_err();
    assert!(error.to_string().ends_with("a row has 3 logits, but the table has 4 actions"), "{error}");
}

#[test]
fn token_problems_have_tables_too() {
    let mdp = TokenMdp { vocabulary: 4, eos: vec![0], max_length: 6 };
    let mut learner = Tabular::new(&mdp);
    let start = TokenState::new([1, 2]);
    let pair = [Episode::whole(start.clone(), vec![3, 0]), Episode::whole(start.clone(), vec![3, 3, 0])];
    let losses = train(&mdp, &mut learner, &pair, 1.0, 50);
    assert!(losses[49] < 0.1);
    laws::check_policy(&mdp, &learner, &vec![start; 3], 1, 1e-12).unwrap();
}

#[test]
fn it_can_cross_threads() {
    fn check<T: Send + Sync>() {}
    check::<Tabular<Finite>>();
}

#[test]
fn a_table_acts_step_by_step() {
    let mdp = two_step_bandit();
    let policy = untidy(&mdp);
    laws::check_cursor(&mdp, &policy, &[mdp.start(&0); 3], 7, 4, 1e-12).unwrap();
    // An episode's draws are its own generator's: the others change nothing.
    let acted = |n: usize| {
        let starts = vec![mdp.start(&0); n];
        let mut rngs: Vec<Rng> = (0..n as u64).map(Rng::seed_from_u64).collect();
        let cursor = policy.cursor(&mdp, &starts).unwrap();
        act(&mdp, cursor, &vec![usize::MAX; n], &mut rngs, &mut |_| Ok(())).unwrap()
    };
    assert_eq!(acted(9)[..4], acted(4));
    // As many decisions as are asked for, and no more.
    let cursor = policy.cursor(&mdp, &[mdp.start(&0); 3]).unwrap();
    let mut rngs: Vec<Rng> = (0..3).map(Rng::seed_from_u64).collect();
    let mut seen = Vec::new();
    let episodes = act(&mdp, cursor, &[0, 1, 9], &mut rngs, &mut |taking| {
        seen.push((taking.step, taking.episodes.to_vec(), taking.cursor.log_probs(taking.actions)?.len()));
        Ok(())
    });
    assert_eq!(episodes.unwrap().iter().map(Episode::n_decisions).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(seen, [(0, vec![1, 2], 2), (1, vec![2], 1)]);
    // What watches may end it.
    let cursor = policy.cursor(&mdp, &[mdp.start(&0)]).unwrap();
    let ended = act(&mdp, cursor, &[9], &mut rngs[..1], &mut |_| Err("enough".into()));
    assert_eq!(ended.unwrap_err().to_string(), "enough");
    let cursor = policy.cursor(&mdp, &[mdp.start(&0)]).unwrap();
    assert!(act(&mdp, cursor, &[9], &mut rngs, &mut |_| Ok(())).unwrap_err().to_string().contains("generators"));
}
