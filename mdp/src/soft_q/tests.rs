//! The paper's claims as properties of random finite problems.
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::token::{TokenMdp, TokenState};
use crate::{EpisodeOf, all_episodes, explore};

const PLACES: usize = 4;
const ACTIONS: usize = 3;
const HORIZON: usize = 3;
const DECISIONS: usize = (HORIZON + 1) * PLACES * ACTIONS;
const STATES: usize = (HORIZON + 1) * PLACES;

/// A problem with a reward, a reference, a pull, and a potential to shape with.
#[derive(Clone, Debug)]
struct Case {
    mdp: Finite,
    rewards: Table,
    reference: Table,
    beta: f64,
    potential: Vec<f64>,
}

impl Case {
    fn solve(&self) -> SoftQ {
        solve(&self.mdp, &self.rewards, &self.reference, self.beta).unwrap()
    }

    /// The potential, made 0 in terminal states.
    fn potential(&self, state: FiniteState) -> f64 {
        if self.mdp.is_terminal(&state) { 0.0 } else { self.potential[state.time * PLACES + state.place] }
    }

    fn episodes(&self) -> Vec<EpisodeOf<Finite>> {
        all_episodes(&self.mdp, &self.mdp.start(&0), 1000).unwrap()
    }

    fn decisions(&self) -> Vec<(FiniteState, usize, FiniteState)> {
        let live = self.mdp.states().filter(|state| !self.mdp.is_terminal(state));
        live.flat_map(|s| self.mdp.allowed(&s).into_iter().map(move |a| (s, a)))
            .map(|(s, a)| (s, a, self.mdp.step(&s, &a)))
            .collect()
    }
}

fn table(mdp: &Finite, numbers: &[f64]) -> Table {
    Table::from_fn(mdp, |state, action| numbers[(state.time * PLACES + state.place) * ACTIONS + action])
}

/// The last place is terminal; the others have one action at least; circles are welcome.
fn cases() -> impl Strategy<Value = Case> {
    let rows = vec(vec(proptest::option::weighted(0.8, 0..PLACES), ACTIONS), PLACES - 1);
    let numbers = || vec(-3.0..3.0, DECISIONS);
    (rows, numbers(), numbers(), 0.05..3.0, vec(-5.0..5.0, STATES)).prop_map(
        |(mut rows, rewards, logits, beta, potential)| {
            for row in &mut rows {
                row[0].get_or_insert(PLACES - 1);
            }
            rows.push(vec![None; ACTIONS]);
            let mdp = Finite::new(rows, HORIZON).unwrap();
            let (rewards, reference) = (table(&mdp, &rewards), table(&mdp, &logits).log_softmax(&mdp));
            Case { mdp, rewards, reference, beta, potential }
        },
    )
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 100, rng_seed: RngSeed::Fixed(2404), failure_persistence: None, ..Default::default() }
}

fn near(left: f64, right: f64) -> bool {
    (left - right).abs() < 1e-9 * (1.0 + left.abs().max(right.abs()))
}

/// Eq. 1, and its extension to ranked lists: the log-probability that the returns come in this order, best first.
fn plackett_luce(returns: &[f64]) -> f64 {
    (0..returns.len()).map(|i| returns[i] - log_sum_exp(returns[i..].iter().copied())).sum()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_optimal_policy_is_a_distribution(case in cases()) {
        let solved = case.solve();
        for state in case.mdp.states() {
            if case.mdp.is_terminal(&state) {
                prop_assert_eq!(solved.value(state), 0.0);
            } else {
                let sum: f64 = case.mdp.allowed(&state).iter().map(|a| solved.log_policy.at(state, *a).exp()).sum();
                prop_assert!(near(sum, 1.0));
            }
        }
    }

    #[test]
    fn lemma_1_reward_to_q_and_back(case in cases()) {
        let solved = case.solve();
        let back = reward_of(&case.mdp, &solved.q, &case.reference, case.beta).unwrap();
        for (state, action, _) in case.decisions() {
            prop_assert!(near(back.at(state, action), case.rewards.at(state, action)));
        }
    }

    #[test]
    fn lemma_1_any_table_is_the_q_function_of_a_reward(case in cases()) {
        // The numbers of `rewards` stand for a language model's logits here.
        let logits = &case.rewards;
        let reward = reward_of(&case.mdp, logits, &case.reference, case.beta).unwrap();
        let solved = solve(&case.mdp, &reward, &case.reference, case.beta).unwrap();
        for (state, action, _) in case.decisions() {
            prop_assert!(near(solved.q.at(state, action), logits.at(state, action)));
        }
    }

    #[test]
    fn equation_10_the_log_ratio_is_the_shaped_reward(case in cases()) {
        let solved = case.solve();
        for (state, action, next) in case.decisions() {
            let log_ratio = case.beta * (solved.log_policy.at(state, action) - case.reference.at(state, action));
            let shaped = case.rewards.at(state, action) + solved.value(next) - solved.value(state);
            prop_assert!(near(log_ratio, shaped));
            prop_assert!(near(solved.implicit_reward(state, action), shaped));
            prop_assert!(near(solved.advantage(state, action), case.beta * solved.log_policy.at(state, action)));
        }
    }

    #[test]
    fn theorem_1_shaping_leaves_the_optimal_policy_unchanged(case in cases()) {
        let shaped = shape(&case.mdp, &case.rewards, |state| case.potential(state));
        let (before, after) = (case.solve(), solve(&case.mdp, &shaped, &case.reference, case.beta).unwrap());
        for (state, action, _) in case.decisions() {
            prop_assert!(near(before.log_policy.at(state, action), after.log_policy.at(state, action)));
            prop_assert!(near(after.value(state), before.value(state) - case.potential(state)));
        }
    }

    #[test]
    fn theorem_1_shaping_leaves_every_preference_unchanged(case in cases()) {
        let shaped = shape(&case.mdp, &case.rewards, |state| case.potential(state));
        let implicit = { let solved = case.solve(); Table::from_fn(&case.mdp, |s, a| solved.implicit_reward(s, a)) };
        let episodes = case.episodes();
        let returns = |table: &Table| episodes.iter().map(|e| table.sum(&case.mdp, e)).collect::<Vec<f64>>();
        let expected = returns(&case.rewards);
        for other in [returns(&shaped), returns(&implicit)] {
            for i in 0..expected.len() {
                for j in 0..expected.len() {
                    prop_assert!(near(
                        plackett_luce(&[expected[i], expected[j]]),
                        plackett_luce(&[other[i], other[j]]),
                    ));
                }
            }
            // A ranked list of all episodes, and of each run of three.
            prop_assert!(near(plackett_luce(&expected), plackett_luce(&other)));
            prop_assert_eq!(expected.len(), other.len());
            for (left, right) in expected.windows(3).zip(other.windows(3)) {
                prop_assert!(near(plackett_luce(left), plackett_luce(right)));
            }
        }
    }

    #[test]
    fn equation_13_searching_rewards_is_searching_likelihood(case in cases(), k in 1..=HORIZON) {
        // The expansion of Eq. 12 stops after k decisions (or at an end), so it is the whole episodes of a problem
        // that is over sooner.
        let solved = case.solve();
        let sooner = case.mdp.clone().with_horizon(k);
        let mut expansions = Vec::new();
        for episode in all_episodes(&sooner, &sooner.start(&0), 1000).unwrap() {
            let (mut state, mut objective, mut likelihood) = (case.mdp.start(&0), 0.0, 0.0);
            for action in &episode.pieces[0].actions {
                objective += case.rewards.at(state, *action) + case.beta * case.reference.at(state, *action);
                likelihood += case.beta * solved.log_policy.at(state, *action);
                state = case.mdp.step(&state, action);
            }
            objective += solved.value(state);
            // The paper prints -V*(s_0); the sum telescopes to +V*(s_0). It is a constant either way.
            prop_assert!(near(objective, solved.value(case.mdp.start(&0)) + likelihood));
            expansions.push((objective, likelihood));
        }
        let by_objective = expansions.iter().max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        let by_likelihood = expansions.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        prop_assert!(near(by_objective.1, by_likelihood.1));
    }
}

#[test]
fn a_bandit_by_hand() {
    // beta = 1, a uniform reference over two arms, rewards ln 3 and 0: odds 3 to 1, and
    // V* = ln(1/2 * 3 + 1/2 * 1) = ln 2.
    let mdp = Finite::bandit(2);
    let rewards = Table::from_fn(&mdp, |_, arm| if arm == 0 { 3f64.ln() } else { 0.0 });
    let solved = solve(&mdp, &rewards, &Table::uniform(&mdp), 1.0).unwrap();
    let start = mdp.start(&0);
    assert!(near(solved.value(start), 2f64.ln()));
    assert!(near(solved.log_policy.at(start, 0).exp(), 0.75));
    assert!(near(solved.implicit_reward(start, 0), 1.5f64.ln()));
}

#[test]
fn a_potential_that_differs_between_ends_does_change_preferences() {
    let mdp = Finite::bandit(2);
    let rewards = Table::from_fn(&mdp, |_, _| 0.0);
    let shaped = shape(&mdp, &rewards, |state| if state.place == 1 { 1.0 } else { 0.0 });
    let solved = solve(&mdp, &shaped, &Table::uniform(&mdp), 1.0).unwrap();
    assert!(near(solved.log_policy.at(mdp.start(&0), 0) - solved.log_policy.at(mdp.start(&0), 1), 1.0));
}

#[test]
fn the_token_problem_is_solved_as_a_table() {
    // One nat for each `2` said before EOS (0) or the limit of three tokens after the prompt.
    let tokens = TokenMdp { vocabulary: 3, eos: vec![0], max_length: 4 };
    let explored = explore(&tokens, &[TokenState::new([1])], 1000).unwrap();
    let rewards = Table::from_fn(&explored.finite, |_, token| if token == 2 { 1.0 } else { 0.0 });
    let solved = solve(&explored.finite, &rewards, &Table::uniform(&explored.finite), 0.1).unwrap();
    let mut state = explored.finite.start(&0);
    while !explored.finite.is_terminal(&state) {
        let best = (0..3).max_by(|a, b| solved.q.at(state, *a).total_cmp(&solved.q.at(state, *b))).unwrap();
        state = explored.finite.step(&state, &best);
    }
    assert_eq!(explored.states[state.place].response, [2, 2, 2]);
}

#[test]
fn bad_input_is_refused() {
    let mdp = Finite::bandit(2);
    let (zero, uniform) = (Table::from_fn(&mdp, |_, _| 0.0), Table::uniform(&mdp));
    let error = |rewards: &Table, reference: &Table, beta| solve(&mdp, rewards, reference, beta).unwrap_err();
    assert_eq!(error(&zero, &uniform, 0.0), MdpError::Beta { beta: 0.0 });
    assert!(matches!(error(&zero, &uniform, f64::NAN), MdpError::Beta { .. }));
    assert!(matches!(error(&zero, &zero, 1.0), MdpError::NotNormalised { sum, .. } if near(sum, 2.0)));
    let nan = Table::from_fn(&mdp, |_, _| f64::NAN);
    assert!(matches!(error(&nan, &uniform, 1.0), MdpError::NotFinite { what: "reward", action: 0, .. }));
    let other = Table::uniform(&Finite::bandit(3));
    assert_eq!(error(&zero, &other, 1.0), MdpError::TableSize { what: "reference", expected: 12, got: 24 });
}
