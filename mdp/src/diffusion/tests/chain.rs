//! The paper's claims for the diffusion problem, on a chain of one number that takes a few values only: small enough to
//! be solved exactly, and with a reference that is the exact reverse of its noising.
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::finite::log_sum_exp;
use crate::soft_q::{SoftQ, reward_of, shape, solve};
use crate::{Enumerable, Explored, FiniteState, Mdp, Rng, Table, explore};

const VALUES: [f32; 4] = [-1.5, -0.5, 0.5, 1.5];
const STEPS: usize = 3;

/// The denoising problem where every latent is one of [`VALUES`].
struct Chain(DenoisingMdp<()>);

/// Decisions behind it, and the index of the latent's value.
type Place = (usize, Option<usize>);

impl Chain {
    fn new(schedule: NoiseSchedule) -> Self {
        Self(DenoisingMdp::full(Arc::new(schedule), 1))
    }

    fn state((done, value): Place) -> DenoisingState<()> {
        DenoisingState { context: (), latent: value.map(|value| [VALUES[value]].into()), done }
    }

    fn place(state: &DenoisingState<()>) -> Place {
        let index = |latent: &Latent| VALUES.iter().position(|value| *value == latent[0]).unwrap();
        (state.done, state.latent.as_ref().map(index))
    }

    fn next(value: usize) -> DenoisingAction {
        DenoisingAction::Next([VALUES[value]].into())
    }
}

impl Mdp for Chain {
    type Context = ();
    type State = Place;
    type Action = usize;
    fn start(&self, (): &()) -> Place {
        Self::place(&self.0.start(&()))
    }
    fn step(&self, place: &Place, value: &usize) -> Place {
        Self::place(&self.0.step(&Self::state(*place), &Self::next(*value)))
    }
    fn is_terminal(&self, place: &Place) -> bool {
        self.0.is_terminal(&Self::state(*place))
    }
    fn allows(&self, place: &Place, value: &usize) -> bool {
        *value < VALUES.len() && self.0.allows(&Self::state(*place), &Self::next(*value))
    }
}

impl Enumerable for Chain {
    fn n_actions(&self) -> usize {
        VALUES.len()
    }
    fn action(&self, index: usize) -> usize {
        index
    }
    fn action_index(&self, value: &usize) -> usize {
        *value
    }
}

/// A distribution over [`VALUES`], in logarithms.
type Row = [f64; VALUES.len()];

fn normalised(logits: Row) -> Row {
    let sum = log_sum_exp(logits.iter().copied());
    logits.map(|logit| logit - sum)
}

/// The noising of data: log q(x_0) and, per timestep, log q(x_t | x_{t-1}) by the value it comes from.
#[derive(Debug)]
struct Noising {
    data: Row,
    transitions: Vec<[Row; VALUES.len()]>,
}

impl Noising {
    fn new(data: Row, betas: &[f64]) -> Self {
        let row = |beta: f64, from: f32| {
            let mean = (1.0 - beta).sqrt() * f64::from(from);
            normalised(VALUES.map(|to| -(f64::from(to) - mean).powi(2) / (2.0 * beta)))
        };
        Self { data: normalised(data), transitions: betas.iter().map(|b| VALUES.map(|from| row(*b, from))).collect() }
    }

    /// log q of the value after `t` noisings.
    fn marginal(&self, t: usize) -> Row {
        self.transitions[..t].iter().fold(self.data, |before, transition| {
            std::array::from_fn(|to| log_sum_exp((0..VALUES.len()).map(|from| before[from] + transition[from][to])))
        })
    }

    /// The exact reverse, by Bayes' rule: x_T from its marginal, then q(x_{t-1} | x_t).
    fn reverse(&self, (done, value): Place) -> Row {
        let Some(value) = value else { return self.marginal(STEPS) };
        let (t, before) = (STEPS - done, self.marginal(STEPS - done - 1));
        normalised(std::array::from_fn(|from| before[from] + self.transitions[t - 1][from][value]))
    }
}

/// A chain with a reward on every decision, a pull, and a potential to shape with.
#[derive(Debug)]
struct Case {
    explored: Explored<Place>,
    noising: Noising,
    reference: Table,
    rewards: Table,
    beta: f64,
    potential: Vec<f64>,
}

impl Case {
    fn solve(&self) -> SoftQ {
        solve(&self.explored.finite, &self.rewards, &self.reference, self.beta).unwrap()
    }

    fn decisions(&self) -> Vec<(FiniteState, usize, FiniteState)> {
        let mdp = &self.explored.finite;
        let live = mdp.states().filter(|state| !mdp.is_terminal(state) && self.is_met(*state));
        live.flat_map(|s| mdp.allowed(&s).into_iter().map(move |a| (s, a)))
            .map(|(s, a)| (s, a, mdp.step(&s, &a)))
            .collect()
    }

    /// Whether a place is reached at that time; the table has every place at every time.
    fn is_met(&self, state: FiniteState) -> bool {
        let (done, value) = self.explored.states[state.place];
        state.time == done + usize::from(value.is_some())
    }

    fn start(&self) -> FiniteState {
        self.explored.finite.start(&0)
    }

    /// Every way from `state` to an image: its reward, its log-probability under the reference and its last value.
    fn paths(&self, state: FiniteState) -> Vec<(f64, f64, usize)> {
        let mdp = &self.explored.finite;
        if mdp.is_terminal(&state) {
            return vec![(0.0, 0.0, self.explored.states[state.place].1.unwrap())];
        }
        let mut found = Vec::new();
        for action in mdp.allowed(&state) {
            let (reward, log_prob) = (self.rewards.at(state, action), self.reference.at(state, action));
            let rest = self.paths(mdp.step(&state, &action));
            found.extend(rest.into_iter().map(|(r, l, value)| (reward + r, log_prob + l, value)));
        }
        found
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let row = || proptest::array::uniform4(-2.0..2.0);
    let rewards = proptest::array::uniform16(row());
    (row(), vec(0.1..0.9, STEPS), rewards, 0.1..3.0, vec(-4.0..4.0, 1 + 4 * (STEPS + 1))).prop_map(
        |(data, betas, rewards, beta, potential)| {
            let chain = Chain::new(NoiseSchedule::from_betas(&betas).unwrap());
            let noising = Noising::new(data, &betas);
            let explored = explore(&chain, &[chain.start(&())], 100).unwrap();
            let reference =
                Table::from_fn(&explored.finite, |s, value| noising.reverse(explored.states[s.place])[value]);
            // The start is place 0; no decision is made in the last four.
            let rewards = Table::from_fn(&explored.finite, |s, value| rewards[s.place][value]);
            Case { explored, noising, reference, rewards, beta, potential }
        },
    )
}

fn close(left: f64, right: f64) -> bool {
    (left - right).abs() < 1e-9 * (1.0 + left.abs().max(right.abs()))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_reference_is_the_reverse_of_noising(case in cases()) {
        // One start, four latents before each of three decisions, four images.
        prop_assert_eq!(case.explored.states.len(), 1 + 4 * (STEPS + 1));
        prop_assert_eq!(case.explored.finite.horizon(), STEPS + 1);
        let paths = case.paths(case.start());
        for value in 0..VALUES.len() {
            let ends = paths.iter().filter(|(_, _, end)| *end == value).map(|(_, log_prob, _)| *log_prob);
            prop_assert!(close(log_sum_exp(ends), case.noising.data[value]));
        }
    }

    #[test]
    fn lemma_2_reward_to_q_and_back(case in cases()) {
        let solved = case.solve();
        let back = reward_of(&case.explored.finite, &solved.q, &case.reference, case.beta).unwrap();
        for (state, action, _) in case.decisions() {
            prop_assert!(close(back.at(state, action), case.rewards.at(state, action)));
        }
    }

    #[test]
    fn lemma_2_any_critic_is_the_q_function_of_one_reward(case in cases()) {
        // The numbers of `rewards` stand for any critic here.
        let (mdp, critic) = (&case.explored.finite, &case.rewards);
        let reward = reward_of(mdp, critic, &case.reference, case.beta).unwrap();
        let solved = solve(mdp, &reward, &case.reference, case.beta).unwrap();
        for (state, action, _) in case.decisions() {
            prop_assert!(close(solved.q.at(state, action), critic.at(state, action)));
        }
    }

    #[test]
    fn equation_7_and_the_values_behind_it(case in cases()) {
        let solved = case.solve();
        for (state, action, next) in case.decisions() {
            let bellman = case.rewards.at(state, action)
                + case.beta * case.reference.at(state, action)
                + solved.value(next);
            prop_assert!(close(solved.q.at(state, action), bellman));
            let numbers = (0..VALUES.len()).map(|a| solved.q.at(state, a) / case.beta);
            prop_assert!(close(solved.value(state), case.beta * log_sum_exp(numbers)));
            // Eq. 11 and 10: what preferences see of a decision.
            let shaped = case.rewards.at(state, action) + solved.value(next) - solved.value(state);
            prop_assert!(close(solved.implicit_reward(state, action), shaped));
        }
    }

    #[test]
    fn the_recursion_is_the_sum_over_all_paths(case in cases()) {
        // V*(s) = beta log E_ref exp(reward to the end / beta), nothing recursive.
        let solved = case.solve();
        for state in case.explored.finite.states().filter(|state| case.is_met(*state)) {
            let paths = case.paths(state).into_iter().map(|(reward, log_prob, _)| reward / case.beta + log_prob);
            prop_assert!(close(solved.value(state), case.beta * log_sum_exp(paths)));
        }
    }

    #[test]
    fn shaping_leaves_the_optimal_denoiser_unchanged(case in cases()) {
        let mdp = &case.explored.finite;
        let potential = |s: FiniteState| if mdp.is_terminal(&s) { 0.0 } else { case.potential[s.place] };
        let shaped = shape(mdp, &case.rewards, potential);
        let (before, after) = (case.solve(), solve(mdp, &shaped, &case.reference, case.beta).unwrap());
        for (state, action, _) in case.decisions() {
            prop_assert!(close(before.log_policy.at(state, action), after.log_policy.at(state, action)));
        }
    }
}

#[test]
fn the_chain_is_lawful() {
    let chain = Chain::new(NoiseSchedule::from_betas(&[0.1, 0.2, 0.3]).unwrap());
    laws::check_enumerable(&chain, &[()], Walks::default(), &mut Rng::seed_from_u64(3)).unwrap();
}
