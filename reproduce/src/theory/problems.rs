//! Small problems with random rewards and references.
use mdp::chance::{named, standard_normal, unit};
use mdp::token::{TokenMdp, TokenState};
use mdp::{Enumerable as _, Finite, FiniteState, Mdp, MdpError, Rng, Table, soft_q};
use policies::Tabular;

/// A problem of known states with a reward, a reference and a strength of the KL penalty.
pub(super) struct Exact {
    pub(super) mdp: Finite,
    pub(super) rewards: Table,
    pub(super) log_reference: Table,
    pub(super) beta: f64,
}

/// The tokens of the small language: one of them ends an answer.
const VOCABULARY: u32 = 3;
/// The tokens of a prompt and its answer.
const LENGTH: usize = 5;
/// The most states of a problem.
const LIMIT: usize = 1000;

impl Exact {
    /// Every answer of up to four tokens of a language of three, each decision with its own reward.
    pub(super) fn of_tokens(seed: u64, index: u64) -> Result<Self, MdpError> {
        let words = TokenMdp { vocabulary: VOCABULARY, eos: vec![0], max_length: LENGTH };
        let explored = mdp::explore(&words, &[TokenState::new([1])], LIMIT)?;
        Ok(Self::drawn(explored.finite, &mut named("reproduce", "token problem", &[seed, index])))
    }

    /// Random ways between six places, one of which is an exit; the horizon ends the others.
    pub(super) fn of_places(seed: u64, index: u64) -> Result<Self, MdpError> {
        let rng = &mut named("reproduce", "places", &[seed, index]);
        let places = 6;
        let mut successors: Vec<Vec<Option<usize>>> = Vec::new();
        for _ in 1..places {
            let mut row: Vec<Option<usize>> = (0..3).map(|_| Some((unit(rng) * f64::from(places)) as usize)).collect();
            if unit(rng) < 0.3 {
                row[0] = None;
            }
            successors.push(row);
        }
        successors.push(vec![None; 3]);
        Ok(Self::drawn(Finite::new(successors, 4)?, rng))
    }

    fn drawn(mdp: Finite, rng: &mut Rng) -> Self {
        let rewards = random(&mdp, rng);
        let log_reference = random(&mdp, rng).log_softmax(&mdp);
        let beta = 0.2 + 1.8 * unit(rng);
        Self { mdp, rewards, log_reference, beta }
    }

    pub(super) fn start(&self) -> FiniteState {
        self.mdp.start(&0)
    }

    pub(super) fn solved(&self) -> Result<soft_q::SoftQ, MdpError> {
        soft_q::solve(&self.mdp, &self.rewards, &self.log_reference, self.beta)
    }

    /// The decisions that can be made.
    pub(super) fn decisions(&self) -> impl Iterator<Item = (FiniteState, usize)> + '_ {
        let open = self.mdp.states().filter(|state| !self.mdp.is_terminal(state));
        open.flat_map(|state| self.mdp.allowed(&state).into_iter().map(move |action| (state, action)))
    }

    /// The largest difference of two tables.
    pub(super) fn largest_difference(&self, ours: &Table, theirs: &Table) -> f64 {
        largest(self.decisions().map(|(state, action)| ours.at(state, action) - theirs.at(state, action)))
    }

    /// A policy with these log-probabilities.
    pub(super) fn policy(&self, log_probs: &Table) -> Tabular<Finite> {
        let mut policy = Tabular::new(&self.mdp);
        for state in self.mdp.states().filter(|state| !self.mdp.is_terminal(state)) {
            policy.set_logits(state, (0..self.mdp.n_actions()).map(|action| log_probs.at(state, action)).collect());
        }
        policy
    }
}

/// Standard normal numbers.
pub(super) fn random(mdp: &Finite, rng: &mut Rng) -> Table {
    Table::from_fn(mdp, |_, _| standard_normal(rng))
}

/// The largest absolute value.
pub(super) fn largest(numbers: impl Iterator<Item = f64>) -> f64 {
    numbers.fold(0.0, |most, number| if number.is_nan() { f64::NAN } else { most.max(number.abs()) })
}
